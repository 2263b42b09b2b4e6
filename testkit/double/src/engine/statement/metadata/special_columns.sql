, best AS (
    -- The primary key, else the first unique index whose columns are all NOT NULL, else (where NULL
    -- may be in it) the first unique one.
    SELECT TOP (1) i.object_id, i.index_id
    FROM sys.indexes AS i
    WHERE i.is_unique = 1 AND i.has_filter = 0
      AND i.object_id = ISNULL(
          OBJECT_ID(QUOTENAME(ISNULL(@table_owner, SCHEMA_NAME())) + N'.' + QUOTENAME(@table_name)), 0)
      AND (@nullable = 'U' OR NOT EXISTS (
          SELECT 1 FROM sys.index_columns AS k
          INNER JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id
          WHERE k.object_id = i.object_id AND k.index_id = i.index_id AND k.key_ordinal > 0
            AND c.is_nullable = 1))
    ORDER BY i.is_primary_key DESC, i.index_id
)
SELECT
    -- SQL_SCOPE_TRANSACTION; a row version has no scope.
    CAST(CASE WHEN @col_type = 'R' THEN 1 END AS smallint) AS SCOPE,
    CAST(d.COLUMN_NAME AS sysname) AS COLUMN_NAME,
    CAST(d.DATA_TYPE AS smallint) AS DATA_TYPE,
    CAST(d.TYPE_NAME AS sysname) AS TYPE_NAME,
    CAST(d.PRECISION AS int) AS PRECISION,
    CAST(d.LENGTH AS int) AS LENGTH,
    CAST(d.SCALE AS smallint) AS SCALE,
    -- SQL_PC_NOT_PSEUDO
    CAST(1 AS smallint) AS PSEUDO_COLUMN
FROM described AS d
WHERE @col_type = 'R' AND EXISTS (
        SELECT 1 FROM best AS b
        INNER JOIN sys.index_columns AS k ON k.object_id = b.object_id AND k.index_id = b.index_id
        WHERE k.key_ordinal > 0 AND k.object_id = d.object_id AND k.column_id = d.column_id)
   OR @col_type = 'V' AND d.base_name = N'timestamp' AND d.object_id = ISNULL(
        OBJECT_ID(QUOTENAME(ISNULL(@table_owner, SCHEMA_NAME())) + N'.' + QUOTENAME(@table_name)), 0)
ORDER BY d.column_id
