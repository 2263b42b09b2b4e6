SELECT
    CAST(DB_NAME() AS sysname) AS TABLE_QUALIFIER,
    CAST(found.TABLE_OWNER AS sysname) AS TABLE_OWNER,
    CAST(found.TABLE_NAME AS sysname) AS TABLE_NAME,
    CAST(found.NON_UNIQUE AS smallint) AS NON_UNIQUE,
    CAST(found.INDEX_QUALIFIER AS sysname) AS INDEX_QUALIFIER,
    CAST(found.INDEX_NAME AS sysname) AS INDEX_NAME,
    CAST(found.TYPE AS smallint) AS TYPE,
    CAST(found.SEQ_IN_INDEX AS smallint) AS SEQ_IN_INDEX,
    CAST(found.COLUMN_NAME AS sysname) AS COLUMN_NAME,
    CAST(found.COLLATION AS char(1)) AS COLLATION,
    CAST(found.CARDINALITY AS int) AS CARDINALITY,
    CAST(found.PAGES AS int) AS PAGES,
    CAST(NULL AS varchar(128)) AS FILTER_CONDITION
FROM (
    SELECT
        s.name AS TABLE_OWNER, t.name AS TABLE_NAME, t.object_id,
        CASE WHEN i.is_unique = 1 THEN 0 ELSE 1 END AS NON_UNIQUE,
        t.name AS INDEX_QUALIFIER, i.name AS INDEX_NAME,
        CASE i.type WHEN 1 THEN 1 ELSE 3 END AS TYPE,
        CAST(k.key_ordinal AS int) AS SEQ_IN_INDEX, c.name AS COLUMN_NAME,
        CASE WHEN k.is_descending_key = 1 THEN 'D' ELSE 'A' END AS COLLATION,
        p.row_count AS CARDINALITY, p.used_page_count AS PAGES
    FROM sys.tables AS t
    INNER JOIN sys.schemas AS s ON s.schema_id = t.schema_id
    INNER JOIN sys.indexes AS i ON i.object_id = t.object_id AND i.index_id > 0
    INNER JOIN sys.index_columns AS k
        ON k.object_id = i.object_id AND k.index_id = i.index_id AND k.key_ordinal > 0
    INNER JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id
    LEFT JOIN sys.dm_db_partition_stats AS p ON p.object_id = i.object_id AND p.index_id = i.index_id
    WHERE i.name LIKE @index_name AND (@is_unique <> 'Y' OR i.is_unique = 1)
    UNION ALL
    -- The table's own row.
    SELECT s.name, t.name, t.object_id, NULL, NULL, NULL, 0, NULL, NULL, NULL, p.row_count, p.used_page_count
    FROM sys.tables AS t
    INNER JOIN sys.schemas AS s ON s.schema_id = t.schema_id
    LEFT JOIN sys.dm_db_partition_stats AS p ON p.object_id = t.object_id AND p.index_id < 2
) AS found
WHERE found.TABLE_NAME = @table_name
  AND (found.TABLE_OWNER = @table_owner
       OR @table_owner IS NULL AND found.object_id = OBJECT_ID(QUOTENAME(@table_name)))
ORDER BY NON_UNIQUE, TYPE, INDEX_NAME, SEQ_IN_INDEX
