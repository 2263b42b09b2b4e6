//! What clients ask about statements and procedures before they run them.

use super::fixture::server;

#[test]
fn results_are_described_without_running() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int IDENTITY NOT NULL, a varchar(10) NULL, d decimal(9,2) NOT NULL)");
    let kept = c.ok("EXEC sp_describe_first_result_set N'DECLARE @x int = 1; INSERT t (d) VALUES (1); SELECT id, a, d, GETDATE() FROM t WHERE id = @p', N'@p int'");
    assert_eq!(kept.columns[0].len(), 39);
    let rows: Vec<String> =
        kept.rows.iter().map(|row| row.split('|').take(10).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(
        rows,
        [
            "0|1|id|0|56|int|4|10|0|NULL",
            "0|2|a|1|167|varchar(10)|10|0|0|SQL_Latin1_General_CP1_CI_AS",
            "0|3|d|0|106|decimal(9,2)|5|9|2|NULL",
            "0|4|NULL|0|61|datetime|8|23|3|NULL",
        ]
    );
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "0");
    assert!(c.rows("EXEC sp_describe_first_result_set N'PRINT 1'").is_empty());
    assert_eq!(c.error("EXEC sp_describe_first_result_set N'IF 1 = 1 SELECT 1'"), 102);
    assert_eq!(c.error("EXEC sp_describe_first_result_set N'SELECT nosuch FROM t'"), 207);
}

#[test]
fn parameters_take_the_types_they_stand_beside() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int IDENTITY, a varchar(10), d decimal(9,2))");
    let mut suggested = |sql: &str| -> Vec<String> {
        let call = format!("EXEC sp_describe_undeclared_parameters N'{sql}', N'@known int'");
        let rows = c.rows(&call);
        rows.iter()
            .map(|row| row.split('|').collect::<Vec<_>>())
            .map(|row| format!("{} {} {}", row[0], row[1], row[3]))
            .collect()
    };
    assert_eq!(
        suggested(
            "SELECT TOP (@n) * FROM t WHERE (a = @a OR a LIKE @b) AND id IN (1, @c) AND @d < d AND id = @known"
        ),
        ["1 @n bigint", "2 @a varchar(10)", "3 @b varchar(10)", "4 @c int", "5 @d decimal(9,2)"]
    );
    assert_eq!(
        suggested("INSERT t (d, a) VALUES (@x, @y)"),
        ["1 @x decimal(9,2)", "2 @y varchar(10)"]
    );
    assert_eq!(suggested("INSERT t VALUES (@x, 1)"), ["1 @x varchar(10)"]);
    assert_eq!(
        suggested("UPDATE t SET a = @a, d += @d WHERE id BETWEEN @x AND 9"),
        ["1 @a varchar(10)", "2 @d decimal(9,2)", "3 @x int"]
    );
    assert_eq!(suggested("DELETE FROM t WHERE NOT id = @x"), ["1 @x int"]);
    assert_eq!(c.error("EXEC sp_describe_undeclared_parameters N'SELECT @x'"), 11502);
}

#[test]
fn procedures_privileges_and_the_server_are_listed() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE PROC p @a int, @b nvarchar(10) = N'x', @c decimal(9,2) OUTPUT AS RETURN 1");
    let short = |rows: Vec<String>, width: usize| -> Vec<String> {
        rows.iter().map(|row| row.split('|').take(width).collect::<Vec<_>>().join("|")).collect()
    };
    assert_eq!(
        short(c.rows("EXEC sp_sproc_columns_100 N'p', N'dbo', NULL, NULL, 3"), 11),
        [
            "shop|dbo|p;1|@RETURN_VALUE|5|4|int|10|4|0|10",
            "shop|dbo|p;1|@a|1|4|int|10|4|0|10",
            "shop|dbo|p;1|@b|1|-9|nvarchar|10|20|NULL|NULL",
            "shop|dbo|p;1|@c|2|3|decimal|9|11|2|10",
        ]
    );
    assert_eq!(c.rows("EXEC sp_sproc_columns @column_name = '@b'").len(), 1);
    assert_eq!(short(c.rows("EXEC sp_stored_procedures 'p'"), 3), ["shop|dbo|p;1"]);
    c.ok("CREATE TABLE t (a int, b int); CREATE USER u WITHOUT LOGIN");
    c.ok("GRANT SELECT ON t (b) TO u; GRANT UPDATE ON t TO u; DENY DELETE ON t TO u");
    assert_eq!(
        c.rows("EXEC sp_table_privileges 't'"),
        [
            "shop|dbo|t|dbo|dbo|DELETE|YES",
            "shop|dbo|t|dbo|dbo|INSERT|YES",
            "shop|dbo|t|dbo|dbo|REFERENCES|YES",
            "shop|dbo|t|dbo|dbo|SELECT|YES",
            "shop|dbo|t|dbo|dbo|UPDATE|YES",
            "shop|dbo|t|dbo|u|UPDATE|NO",
        ]
    );
    assert_eq!(
        c.rows("EXEC sp_column_privileges 't', @column_name = 'b'"),
        [
            "shop|dbo|t|b|dbo|dbo|INSERT|YES",
            "shop|dbo|t|b|dbo|dbo|REFERENCES|YES",
            "shop|dbo|t|b|dbo|dbo|SELECT|YES",
            "shop|dbo|t|b|dbo|u|SELECT|NO",
            "shop|dbo|t|b|dbo|dbo|UPDATE|YES",
            "shop|dbo|t|b|dbo|u|UPDATE|NO",
        ]
    );
    assert_eq!(c.rows("EXEC sp_server_info").len(), 29);
    assert_eq!(c.rows("EXEC sp_server_info 1"), ["1|DBMS_NAME|Microsoft SQL Server"]);
}
