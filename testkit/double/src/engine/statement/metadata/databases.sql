SELECT
    CAST(d.name AS sysname) AS DATABASE_NAME,
    -- Kilobytes; the sizes of files mean nothing here.
    CAST(8192 AS int) AS DATABASE_SIZE,
    CAST(NULL AS varchar(254)) AS REMARKS
FROM sys.databases AS d
WHERE HAS_DBACCESS(d.name) = 1
ORDER BY DATABASE_NAME
