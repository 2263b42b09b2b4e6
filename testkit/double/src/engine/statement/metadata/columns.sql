SELECT
    CAST(DB_NAME() AS sysname) AS TABLE_QUALIFIER,
    CAST(TABLE_OWNER AS sysname) AS TABLE_OWNER,
    CAST(TABLE_NAME AS sysname) AS TABLE_NAME,
    CAST(COLUMN_NAME AS sysname) AS COLUMN_NAME,
    CAST(DATA_TYPE AS smallint) AS DATA_TYPE,
    CAST(TYPE_NAME AS sysname) AS TYPE_NAME,
    CAST(PRECISION AS int) AS PRECISION,
    CAST(LENGTH AS int) AS LENGTH,
    CAST(SCALE AS smallint) AS SCALE,
    CAST(RADIX AS smallint) AS RADIX,
    CAST(NULLABLE AS smallint) AS NULLABLE,
    CAST(NULL AS varchar(254)) AS REMARKS,
    CAST(COLUMN_DEF AS nvarchar(4000)) AS COLUMN_DEF,
    CAST(SQL_DATA_TYPE AS smallint) AS SQL_DATA_TYPE,
    CAST(SQL_DATETIME_SUB AS smallint) AS SQL_DATETIME_SUB,
    CAST(CHAR_OCTET_LENGTH AS int) AS CHAR_OCTET_LENGTH,
    CAST(ORDINAL_POSITION AS int) AS ORDINAL_POSITION,
    CAST(IS_NULLABLE AS varchar(254)) AS IS_NULLABLE,
    /* extensions */
    CAST(SS_DATA_TYPE AS tinyint) AS SS_DATA_TYPE
FROM described
WHERE TABLE_NAME LIKE @table_name
  AND (@column_name IS NULL OR COLUMN_NAME LIKE @column_name)
  -- Without an owner: the table that the bare name means to the caller, else all of that name.
  AND (TABLE_OWNER LIKE @table_owner
       OR @table_owner IS NULL AND object_id = ISNULL(OBJECT_ID(QUOTENAME(@table_name)), object_id))
ORDER BY TABLE_OWNER, TABLE_NAME, ORDINAL_POSITION
