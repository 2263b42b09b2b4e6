IF @table_qualifier = N'%' AND @table_owner = N'' AND @table_name = N''
    SELECT
        CAST(name AS sysname) AS TABLE_QUALIFIER,
        CAST(NULL AS sysname) AS TABLE_OWNER,
        CAST(NULL AS sysname) AS TABLE_NAME,
        CAST(NULL AS varchar(32)) AS TABLE_TYPE,
        CAST(NULL AS varchar(254)) AS REMARKS
    FROM sys.databases
    ORDER BY TABLE_QUALIFIER
ELSE IF @table_owner = N'%' AND @table_name = N'' AND ISNULL(@table_qualifier, N'') = N''
    SELECT
        CAST(NULL AS sysname) AS TABLE_QUALIFIER,
        CAST(name AS sysname) AS TABLE_OWNER,
        CAST(NULL AS sysname) AS TABLE_NAME,
        CAST(NULL AS varchar(32)) AS TABLE_TYPE,
        CAST(NULL AS varchar(254)) AS REMARKS
    FROM sys.schemas
    ORDER BY TABLE_OWNER
ELSE IF @table_type = '%' AND @table_name = N'' AND ISNULL(@table_qualifier, N'') = N'' AND ISNULL(@table_owner, N'') = N''
    SELECT
        CAST(NULL AS sysname) AS TABLE_QUALIFIER,
        CAST(NULL AS sysname) AS TABLE_OWNER,
        CAST(NULL AS sysname) AS TABLE_NAME,
        CAST(kind AS varchar(32)) AS TABLE_TYPE,
        CAST(NULL AS varchar(254)) AS REMARKS
    FROM (VALUES ('SYSTEM TABLE'), ('TABLE'), ('VIEW')) AS kinds (kind)
    ORDER BY TABLE_TYPE
ELSE
    SELECT
        CAST(DB_NAME() AS sysname) AS TABLE_QUALIFIER,
        CAST(found.owner AS sysname) AS TABLE_OWNER,
        CAST(found.name AS sysname) AS TABLE_NAME,
        CAST(found.kind AS varchar(32)) AS TABLE_TYPE,
        CAST(NULL AS varchar(254)) AS REMARKS
    FROM (
        SELECT
            s.name AS owner, o.name,
            CASE o.type WHEN 'S' THEN 'SYSTEM TABLE' WHEN 'U' THEN 'TABLE' ELSE 'VIEW' END AS kind
        FROM sys.all_objects AS o
        INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id
        WHERE o.type IN ('S', 'U', 'V')
    ) AS found
    WHERE (@table_name IS NULL OR @fUsePattern = 1 AND found.name LIKE @table_name OR found.name = @table_name)
      AND (@table_owner IS NULL OR @fUsePattern = 1 AND found.owner LIKE @table_owner OR found.owner = @table_owner)
      -- A list of quoted words: 'TABLE','VIEW'.
      AND (@table_type IS NULL OR @table_type LIKE '%''' + found.kind + '''%')
    ORDER BY TABLE_TYPE, TABLE_QUALIFIER, TABLE_OWNER, TABLE_NAME
