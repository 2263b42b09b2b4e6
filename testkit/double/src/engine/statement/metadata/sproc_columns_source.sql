(
        SELECT
            object_id, name, parameter_id AS column_id, system_type_id, user_type_id, max_length,
            precision, scale, 1 AS is_nullable, 0 AS is_identity, 0 AS is_computed, 0 AS default_object_id
        FROM sys.all_parameters
        UNION ALL
        SELECT object_id, N'@RETURN_VALUE', 0, 56, 56, 4, 10, 0, 0, 0, 0, 0
        FROM sys.all_objects
        WHERE type = 'P'
    )
