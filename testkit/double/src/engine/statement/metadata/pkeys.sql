SELECT
    CAST(DB_NAME() AS sysname) AS TABLE_QUALIFIER,
    CAST(s.name AS sysname) AS TABLE_OWNER,
    CAST(t.name AS sysname) AS TABLE_NAME,
    CAST(c.name AS sysname) AS COLUMN_NAME,
    CAST(k.key_ordinal AS smallint) AS KEY_SEQ,
    CAST(i.name AS sysname) AS PK_NAME
FROM sys.tables AS t
INNER JOIN sys.schemas AS s ON s.schema_id = t.schema_id
INNER JOIN sys.indexes AS i ON i.object_id = t.object_id AND i.is_primary_key = 1
INNER JOIN sys.index_columns AS k
    ON k.object_id = i.object_id AND k.index_id = i.index_id AND k.key_ordinal > 0
INNER JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id
WHERE t.name = @table_name
  AND (s.name = @table_owner
       OR @table_owner IS NULL AND t.object_id = OBJECT_ID(QUOTENAME(@table_name)))
ORDER BY TABLE_OWNER, TABLE_NAME, KEY_SEQ
