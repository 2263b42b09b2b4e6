WITH types AS (
    -- Name, system_type_id, ODBC type of version 3, PRECISION (NULL: the column's), LENGTH (NULL:
    -- the column's), SCALE (NULL: none, -1: the column's), RADIX, SS_DATA_TYPE of a column that is
    -- NOT NULL and of one that is not.
    SELECT * FROM (VALUES
        (N'bit', 104, -7, 1, 1, NULL, NULL, 50, 50),
        (N'tinyint', 48, -6, 3, 1, 0, 10, 48, 38),
        (N'smallint', 52, 5, 5, 2, 0, 10, 52, 38),
        (N'int', 56, 4, 10, 4, 0, 10, 56, 38),
        (N'bigint', 127, -5, 19, 8, 0, 10, 63, 108),
        (N'decimal', 106, 3, NULL, NULL, -1, 10, 55, 106),
        (N'numeric', 108, 2, NULL, NULL, -1, 10, 63, 108),
        (N'money', 60, 3, 19, 21, 4, 10, 60, 110),
        (N'smallmoney', 122, 3, 10, 12, 4, 10, 122, 110),
        (N'real', 59, 7, 24, 4, NULL, 2, 59, 109),
        (N'float', 62, 6, 53, 8, NULL, 2, 62, 109),
        (N'char', 175, 1, NULL, NULL, NULL, NULL, 47, 39),
        (N'varchar', 167, 12, NULL, NULL, NULL, NULL, 39, 39),
        (N'text', 35, -1, 2147483647, 2147483647, NULL, NULL, 35, 35),
        (N'nchar', 239, -8, NULL, NULL, NULL, NULL, 39, 39),
        (N'nvarchar', 231, -9, NULL, NULL, NULL, NULL, 39, 39),
        (N'ntext', 99, -10, 1073741823, 2147483646, NULL, NULL, 35, 35),
        (N'binary', 173, -2, NULL, NULL, NULL, NULL, 45, 37),
        (N'varbinary', 165, -3, NULL, NULL, NULL, NULL, 37, 37),
        (N'image', 34, -4, 2147483647, 2147483647, NULL, NULL, 34, 34),
        (N'date', 40, 91, 10, 6, 0, NULL, 0, 0),
        (N'time', 41, -154, NULL, 10, -1, NULL, 0, 0),
        (N'smalldatetime', 58, 93, 16, 16, 0, NULL, 58, 111),
        (N'datetime', 61, 93, 23, 16, 3, NULL, 61, 111),
        (N'datetime2', 42, 93, NULL, 16, -1, NULL, 0, 0),
        (N'datetimeoffset', 43, -155, NULL, 20, -1, NULL, 0, 0),
        (N'uniqueidentifier', 36, -11, 36, 16, NULL, NULL, 37, 37),
        (N'timestamp', 189, -2, 8, 8, NULL, NULL, 45, 45),
        (N'sql_variant', 98, -150, 8000, 8000, NULL, NULL, 39, 39),
        (N'xml', 241, -152, 0, 0, NULL, NULL, 0, 0),
        -- As an older client gets them.
        (N'json', 244, -9, 0, 0, NULL, NULL, 39, 39),
        (N'vector', 255, 12, 0, 0, NULL, NULL, 39, 39),
        (N'udt', 240, -151, NULL, NULL, NULL, NULL, 23, 23)
    ) AS t (name, system_type_id, odbc, precision, length, scale, radix, ss_fixed, ss_nullable)
),
described AS (
    SELECT
        s.name AS TABLE_OWNER,
        o.name AS TABLE_NAME,
        c.name AS COLUMN_NAME,
        -- The codes of ODBC 2: SQL_DATE and SQL_TIMESTAMP.
        CASE WHEN @ODBCVer < 3 AND t.odbc = 91 THEN 9
             WHEN @ODBCVer < 3 AND t.odbc = 93 THEN 11
             ELSE t.odbc END AS DATA_TYPE,
        CASE WHEN c.is_identity = 0 THEN ISNULL(TYPE_NAME(c.user_type_id), t.name)
             WHEN t.name IN (N'decimal', N'numeric') THEN t.name + N'() identity'
             ELSE t.name + N' identity' END AS TYPE_NAME,
        CASE WHEN t.name IN (N'nchar', N'nvarchar') AND c.max_length > 0 THEN c.max_length / 2
             WHEN c.max_length = -1 THEN 0
             WHEN t.name IN (N'time', N'datetime2', N'datetimeoffset', N'decimal', N'numeric') THEN CAST(c.precision AS int)
             ELSE ISNULL(t.precision, c.max_length) END AS PRECISION,
        CASE WHEN t.name IN (N'decimal', N'numeric') THEN c.precision + 2
             WHEN c.max_length = -1 THEN 0
             ELSE ISNULL(t.length, c.max_length) END AS LENGTH,
        CASE t.scale WHEN -1 THEN CAST(c.scale AS int) ELSE t.scale END AS SCALE,
        t.radix AS RADIX,
        CASE WHEN c.is_nullable = 1 THEN 1 ELSE 0 END AS NULLABLE,
        d.definition AS COLUMN_DEF,
        CASE WHEN t.odbc IN (91, 93) THEN 9 ELSE t.odbc END AS SQL_DATA_TYPE,
        CASE t.odbc WHEN 91 THEN 1 WHEN 93 THEN 3 END AS SQL_DATETIME_SUB,
        CASE WHEN t.name IN (N'char', N'varchar', N'nchar', N'nvarchar', N'binary', N'varbinary')
                 THEN CASE WHEN c.max_length = -1 THEN 0 ELSE c.max_length END
             WHEN t.name IN (N'text', N'ntext', N'image', N'timestamp', N'sql_variant') THEN t.length
             WHEN t.name IN (N'xml', N'udt') THEN 0
             END AS CHAR_OCTET_LENGTH,
        ROW_NUMBER() OVER (PARTITION BY c.object_id ORDER BY c.column_id) AS ORDINAL_POSITION,
        CASE WHEN c.is_nullable = 1 THEN 'YES' ELSE 'NO' END AS IS_NULLABLE,
        c.is_computed,
        c.is_identity,
        CASE WHEN c.is_nullable = 1 THEN t.ss_nullable ELSE t.ss_fixed END AS SS_DATA_TYPE,
        t.name AS base_name,
        c.object_id,
        c.column_id
    FROM sys.all_columns AS c
    INNER JOIN sys.all_objects AS o ON o.object_id = c.object_id
    INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id
    INNER JOIN types AS t ON t.system_type_id = c.system_type_id
    LEFT JOIN sys.default_constraints AS d ON d.object_id = c.default_object_id
    WHERE o.type IN ('U', 'V', 'S')
)
