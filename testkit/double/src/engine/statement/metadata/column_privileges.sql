WITH granted AS (
    SELECT c.object_id, c.column_id, N'dbo' AS grantee, p.privilege, 'YES' AS grantable
    FROM sys.columns AS c
    CROSS JOIN (VALUES (N'INSERT'), (N'REFERENCES'), (N'SELECT'), (N'UPDATE')) AS p (privilege)
    UNION
    SELECT c.object_id, c.column_id, u.name, p.permission_name, 'NO'
    FROM sys.database_permissions AS p
    INNER JOIN sys.database_principals AS u ON u.principal_id = p.grantee_principal_id
    INNER JOIN sys.columns AS c
        ON c.object_id = p.major_id AND (p.minor_id = 0 OR p.minor_id = c.column_id)
    WHERE p.class = 1 AND p.state = 'G'
      AND p.permission_name IN (N'INSERT', N'REFERENCES', N'SELECT', N'UPDATE')
)
SELECT
    CAST(DB_NAME() AS sysname) AS TABLE_QUALIFIER,
    CAST(s.name AS sysname) AS TABLE_OWNER,
    CAST(o.name AS sysname) AS TABLE_NAME,
    CAST(c.name AS sysname) AS COLUMN_NAME,
    CAST(N'dbo' AS sysname) AS GRANTOR,
    CAST(g.grantee AS sysname) AS GRANTEE,
    CAST(g.privilege AS varchar(32)) AS PRIVILEGE,
    CAST(g.grantable AS varchar(3)) AS IS_GRANTABLE
FROM sys.objects AS o
INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id
INNER JOIN sys.columns AS c ON c.object_id = o.object_id
INNER JOIN granted AS g ON g.object_id = c.object_id AND g.column_id = c.column_id
WHERE o.name = @table_name
  AND o.type IN ('U', 'V')
  AND (s.name = @table_owner
       OR @table_owner IS NULL AND o.object_id = OBJECT_ID(QUOTENAME(@table_name)))
  AND (@column_name IS NULL OR c.name LIKE @column_name)
ORDER BY COLUMN_NAME, PRIVILEGE, GRANTEE
