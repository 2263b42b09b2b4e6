SELECT
    CAST(DB_NAME() AS sysname) AS PROCEDURE_QUALIFIER,
    CAST(TABLE_OWNER AS sysname) AS PROCEDURE_OWNER,
    CAST(TABLE_NAME + N';1' AS nvarchar(134)) AS PROCEDURE_NAME,
    CAST(COLUMN_NAME AS sysname) AS COLUMN_NAME,
    CAST(CASE WHEN described.column_id = 0 THEN 5 WHEN p.is_output = 1 THEN 2 ELSE 1 END AS smallint) AS COLUMN_TYPE,
    CAST(DATA_TYPE AS smallint) AS DATA_TYPE,
    CAST(TYPE_NAME AS sysname) AS TYPE_NAME,
    CAST(described.PRECISION AS int) AS PRECISION,
    CAST(LENGTH AS int) AS LENGTH,
    CAST(described.SCALE AS smallint) AS SCALE,
    CAST(RADIX AS smallint) AS RADIX,
    CAST(NULLABLE AS smallint) AS NULLABLE,
    CAST(NULL AS varchar(254)) AS REMARKS,
    CAST(NULL AS nvarchar(4000)) AS COLUMN_DEF,
    CAST(SQL_DATA_TYPE AS smallint) AS SQL_DATA_TYPE,
    CAST(SQL_DATETIME_SUB AS smallint) AS SQL_DATETIME_SUB,
    CAST(CHAR_OCTET_LENGTH AS int) AS CHAR_OCTET_LENGTH,
    CAST(described.column_id AS int) AS ORDINAL_POSITION,
    CAST(described.IS_NULLABLE AS varchar(254)) AS IS_NULLABLE,
    /* extensions */
    CAST(SS_DATA_TYPE AS tinyint) AS SS_DATA_TYPE
FROM described
LEFT JOIN sys.all_parameters AS p
    ON p.object_id = described.object_id AND p.parameter_id = described.column_id
WHERE (@procedure_name IS NULL
       OR @fUsePattern = 1 AND TABLE_NAME LIKE @procedure_name
       OR TABLE_NAME = @procedure_name)
  AND (@procedure_owner IS NULL
       OR @fUsePattern = 1 AND TABLE_OWNER LIKE @procedure_owner
       OR TABLE_OWNER = @procedure_owner)
  AND (@column_name IS NULL OR COLUMN_NAME LIKE @column_name)
ORDER BY PROCEDURE_OWNER, PROCEDURE_NAME, ORDINAL_POSITION
