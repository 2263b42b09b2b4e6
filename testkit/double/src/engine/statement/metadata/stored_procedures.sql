SELECT
    CAST(DB_NAME() AS sysname) AS PROCEDURE_QUALIFIER,
    CAST(s.name AS sysname) AS PROCEDURE_OWNER,
    CAST(o.name + N';1' AS nvarchar(134)) AS PROCEDURE_NAME,
    CAST(-1 AS int) AS NUM_INPUT_PARAMS,
    CAST(-1 AS int) AS NUM_OUTPUT_PARAMS,
    CAST(-1 AS int) AS NUM_RESULT_SETS,
    CAST(NULL AS varchar(254)) AS REMARKS,
    CAST(2 AS smallint) AS PROCEDURE_TYPE
FROM sys.all_objects AS o
INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id
WHERE o.type IN ('P', 'X', 'PC')
  AND (@sp_name IS NULL OR @fUsePattern = 1 AND o.name LIKE @sp_name OR o.name = @sp_name)
  AND (@sp_owner IS NULL OR @fUsePattern = 1 AND s.name LIKE @sp_owner OR s.name = @sp_owner)
ORDER BY PROCEDURE_OWNER, PROCEDURE_NAME
