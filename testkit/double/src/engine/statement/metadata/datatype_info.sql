-- MONEY, AUTO_INCREMENT and the rest as Microsoft documents them; order: by code, then by how
-- near the type is to the code's meaning.
SELECT
    CAST(name AS sysname) AS TYPE_NAME,
    CAST(code AS smallint) AS DATA_TYPE,
    CAST(precision AS int) AS PRECISION,
    CAST(prefix AS varchar(32)) AS LITERAL_PREFIX,
    CAST(CASE WHEN prefix = '0x' THEN NULL WHEN prefix = '$' THEN NULL WHEN prefix IS NULL THEN NULL ELSE '''' END AS varchar(32)) AS LITERAL_SUFFIX,
    CAST(params AS varchar(32)) AS CREATE_PARAMS,
    CAST(nullable AS smallint) AS NULLABLE,
    CAST(0 AS smallint) AS CASE_SENSITIVE,
    CAST(searchable AS smallint) AS SEARCHABLE,
    CAST(unsigned AS smallint) AS UNSIGNED_ATTRIBUTE,
    CAST(money AS smallint) AS MONEY,
    CAST(auto AS smallint) AS AUTO_INCREMENT,
    CAST(name AS sysname) AS LOCAL_TYPE_NAME,
    CAST(least_scale AS smallint) AS MINIMUM_SCALE,
    CAST(most_scale AS smallint) AS MAXIMUM_SCALE,
    CAST(CASE WHEN code IN (91, 93) THEN 9 ELSE code END AS smallint) AS SQL_DATA_TYPE,
    CAST(CASE code WHEN 91 THEN 1 WHEN 93 THEN 3 END AS smallint) AS SQL_DATETIME_SUB,
    CAST(radix AS int) AS NUM_PREC_RADIX,
    CAST(NULL AS smallint) AS INTERVAL_PRECISION,
    CAST(usertype AS smallint) AS USERTYPE
FROM (
    SELECT
        name,
        -- The codes of ODBC 2: SQL_DATE and SQL_TIMESTAMP.
        CASE WHEN @ODBCVer < 3 AND odbc = 91 THEN 9 WHEN @ODBCVer < 3 AND odbc = 93 THEN 11 ELSE odbc END AS code,
        rank, precision, prefix, params, nullable, searchable, unsigned, money, auto, least_scale,
        most_scale, radix, usertype
    FROM (VALUES
        (N'datetimeoffset', -155, 1, 34, '''', 'scale', 1, 3, NULL, 0, NULL, 0, 7, NULL, 0),
        (N'time', -154, 1, 16, '''', 'scale', 1, 3, NULL, 0, NULL, 0, 7, NULL, 0),
        (N'xml', -152, 1, 0, 'N''', NULL, 1, 1, NULL, 0, NULL, NULL, NULL, NULL, 0),
        (N'sql_variant', -150, 1, 8000, NULL, NULL, 1, 2, NULL, 0, NULL, 0, 0, 10, 39),
        (N'uniqueidentifier', -11, 1, 36, '''', NULL, 1, 2, NULL, 0, NULL, NULL, NULL, NULL, 37),
        (N'ntext', -10, 1, 1073741823, 'N''', NULL, 1, 1, NULL, 0, NULL, NULL, NULL, NULL, 0),
        (N'nvarchar', -9, 1, 4000, 'N''', 'max length', 1, 3, NULL, 0, NULL, NULL, NULL, NULL, 0),
        (N'sysname', -9, 2, 128, 'N''', NULL, 0, 3, NULL, 0, NULL, NULL, NULL, NULL, 18),
        (N'nchar', -8, 1, 4000, 'N''', 'length', 1, 3, NULL, 0, NULL, NULL, NULL, NULL, 0),
        (N'bit', -7, 1, 1, NULL, NULL, 1, 2, NULL, 0, NULL, 0, 0, NULL, 16),
        (N'tinyint', -6, 1, 3, NULL, NULL, 1, 2, 1, 0, 0, 0, 0, 10, 5),
        (N'tinyint identity', -6, 2, 3, NULL, NULL, 0, 2, 1, 0, 1, 0, 0, 10, 5),
        (N'bigint', -5, 1, 19, NULL, NULL, 1, 2, 0, 0, 0, 0, 0, 10, 0),
        (N'bigint identity', -5, 2, 19, NULL, NULL, 0, 2, 0, 0, 1, 0, 0, 10, 0),
        (N'image', -4, 1, 2147483647, '0x', NULL, 1, 0, NULL, 0, NULL, NULL, NULL, NULL, 20),
        (N'varbinary', -3, 1, 8000, '0x', 'max length', 1, 2, NULL, 0, NULL, NULL, NULL, NULL, 4),
        (N'binary', -2, 1, 8000, '0x', 'length', 1, 2, NULL, 0, NULL, NULL, NULL, NULL, 3),
        (N'timestamp', -2, 2, 8, '0x', NULL, 0, 2, NULL, 0, NULL, NULL, NULL, NULL, 80),
        (N'text', -1, 1, 2147483647, '''', NULL, 1, 1, NULL, 0, NULL, NULL, NULL, NULL, 19),
        (N'char', 1, 1, 8000, '''', 'length', 1, 3, NULL, 0, NULL, NULL, NULL, NULL, 1),
        (N'numeric', 2, 1, 38, NULL, 'precision,scale', 1, 2, 0, 0, 0, 0, 38, 10, 10),
        (N'numeric() identity', 2, 2, 38, NULL, 'precision', 0, 2, 0, 0, 1, 0, 0, 10, 10),
        (N'decimal', 3, 1, 38, NULL, 'precision,scale', 1, 2, 0, 0, 0, 0, 38, 10, 24),
        (N'money', 3, 2, 19, '$', NULL, 1, 2, 0, 1, 0, 4, 4, 10, 11),
        (N'smallmoney', 3, 3, 10, '$', NULL, 1, 2, 0, 1, 0, 4, 4, 10, 21),
        (N'decimal() identity', 3, 4, 38, NULL, 'precision', 0, 2, 0, 0, 1, 0, 0, 10, 24),
        (N'int', 4, 1, 10, NULL, NULL, 1, 2, 0, 0, 0, 0, 0, 10, 7),
        (N'int identity', 4, 2, 10, NULL, NULL, 0, 2, 0, 0, 1, 0, 0, 10, 7),
        (N'smallint', 5, 1, 5, NULL, NULL, 1, 2, 0, 0, 0, 0, 0, 10, 6),
        (N'smallint identity', 5, 2, 5, NULL, NULL, 0, 2, 0, 0, 1, 0, 0, 10, 6),
        (N'float', 6, 1, 53, NULL, NULL, 1, 2, 0, 0, 0, NULL, NULL, 2, 8),
        (N'real', 7, 1, 24, NULL, NULL, 1, 2, 0, 0, 0, NULL, NULL, 2, 23),
        (N'varchar', 12, 1, 8000, '''', 'max length', 1, 3, NULL, 0, NULL, NULL, NULL, NULL, 2),
        (N'date', 91, 1, 10, '''', NULL, 1, 3, NULL, 0, NULL, 0, 0, NULL, 0),
        (N'datetime2', 93, 1, 27, '''', 'scale', 1, 3, NULL, 0, NULL, 0, 7, NULL, 0),
        (N'datetime', 93, 2, 23, '''', NULL, 1, 3, NULL, 0, NULL, 3, 3, NULL, 12),
        (N'smalldatetime', 93, 3, 16, '''', NULL, 1, 3, NULL, 0, NULL, 0, 0, NULL, 22)
    ) AS known (name, odbc, rank, precision, prefix, params, nullable, searchable, unsigned, money, auto, least_scale, most_scale, radix, usertype)
) AS types
WHERE @data_type = 0 OR code = @data_type
ORDER BY code, rank
