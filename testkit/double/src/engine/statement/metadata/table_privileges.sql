WITH granted AS (
    -- The owner has every privilege.
    SELECT o.object_id, N'dbo' AS grantee, p.privilege, 'YES' AS grantable
    FROM sys.objects AS o
    CROSS JOIN (VALUES (N'DELETE'), (N'INSERT'), (N'REFERENCES'), (N'SELECT'), (N'UPDATE')) AS p (privilege)
    WHERE o.type IN ('U', 'V')
    UNION ALL
    SELECT p.major_id, u.name, p.permission_name, 'NO'
    FROM sys.database_permissions AS p
    INNER JOIN sys.database_principals AS u ON u.principal_id = p.grantee_principal_id
    WHERE p.class = 1 AND p.minor_id = 0 AND p.state = 'G'
      AND p.permission_name IN (N'DELETE', N'INSERT', N'REFERENCES', N'SELECT', N'UPDATE')
)
SELECT
    CAST(DB_NAME() AS sysname) AS TABLE_QUALIFIER,
    CAST(s.name AS sysname) AS TABLE_OWNER,
    CAST(o.name AS sysname) AS TABLE_NAME,
    CAST(N'dbo' AS sysname) AS GRANTOR,
    CAST(g.grantee AS sysname) AS GRANTEE,
    CAST(g.privilege AS varchar(32)) AS PRIVILEGE,
    CAST(g.grantable AS varchar(3)) AS IS_GRANTABLE
FROM sys.objects AS o
INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id
INNER JOIN granted AS g ON g.object_id = o.object_id
WHERE (@fUsePattern = 1 AND o.name LIKE @table_name OR o.name = @table_name)
  AND (@table_owner IS NULL OR @fUsePattern = 1 AND s.name LIKE @table_owner OR s.name = @table_owner)
ORDER BY TABLE_OWNER, TABLE_NAME, PRIVILEGE, GRANTEE
