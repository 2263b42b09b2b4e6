SELECT
    CAST(DB_NAME() AS sysname) AS PKTABLE_QUALIFIER,
    CAST(ps.name AS sysname) AS PKTABLE_OWNER,
    CAST(p.name AS sysname) AS PKTABLE_NAME,
    CAST(pc.name AS sysname) AS PKCOLUMN_NAME,
    CAST(DB_NAME() AS sysname) AS FKTABLE_QUALIFIER,
    CAST(fs.name AS sysname) AS FKTABLE_OWNER,
    CAST(f.name AS sysname) AS FKTABLE_NAME,
    CAST(fc.name AS sysname) AS FKCOLUMN_NAME,
    CAST(k.constraint_column_id AS smallint) AS KEY_SEQ,
    -- ODBC has 0 for CASCADE and 1 for NO ACTION, the catalogue the other way round.
    CAST(CASE x.update_referential_action WHEN 0 THEN 1 WHEN 1 THEN 0
         ELSE x.update_referential_action END AS smallint) AS UPDATE_RULE,
    CAST(CASE x.delete_referential_action WHEN 0 THEN 1 WHEN 1 THEN 0
         ELSE x.delete_referential_action END AS smallint) AS DELETE_RULE,
    CAST(x.name AS sysname) AS FK_NAME,
    CAST(i.name AS sysname) AS PK_NAME,
    -- SQL_NOT_DEFERRABLE
    CAST(7 AS smallint) AS DEFERRABILITY
FROM sys.foreign_keys AS x
INNER JOIN sys.foreign_key_columns AS k ON k.constraint_object_id = x.object_id
INNER JOIN sys.tables AS f ON f.object_id = x.parent_object_id
INNER JOIN sys.schemas AS fs ON fs.schema_id = f.schema_id
INNER JOIN sys.tables AS p ON p.object_id = x.referenced_object_id
INNER JOIN sys.schemas AS ps ON ps.schema_id = p.schema_id
INNER JOIN sys.columns AS fc ON fc.object_id = f.object_id AND fc.column_id = k.parent_column_id
INNER JOIN sys.columns AS pc ON pc.object_id = p.object_id AND pc.column_id = k.referenced_column_id
LEFT JOIN sys.indexes AS i ON i.object_id = p.object_id AND i.index_id = x.key_index_id
WHERE (@pktable_name IS NULL
       OR p.name = @pktable_name
          AND (ps.name = @pktable_owner
               OR @pktable_owner IS NULL AND p.object_id = OBJECT_ID(QUOTENAME(@pktable_name))))
  AND (@fktable_name IS NULL
       OR f.name = @fktable_name
          AND (fs.name = @fktable_owner
               OR @fktable_owner IS NULL AND f.object_id = OBJECT_ID(QUOTENAME(@fktable_name))))
-- By the other side's table, as documented: foreign keys of a primary key, or the reverse.
ORDER BY
    CASE WHEN @fktable_name IS NULL THEN fs.name ELSE ps.name END,
    CASE WHEN @fktable_name IS NULL THEN f.name ELSE p.name END,
    x.name,
    KEY_SEQ
