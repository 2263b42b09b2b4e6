//! Views and stored procedures.

use super::fixture::server;

#[test]
fn views_are_read_like_tables() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a varchar(10) NOT NULL, b int NULL)");
    c.ok("INSERT t VALUES (1, 'x', 10), (2, 'y', NULL), (3, 'z', 30)");
    c.ok("-- all of them\nCREATE VIEW dbo.v AS SELECT id, a, b * 2 AS twice FROM t WHERE id > 1;");
    assert_eq!(c.rows("SELECT * FROM v ORDER BY id"), ["2|y|NULL", "3|z|60"]);
    assert_eq!(
        c.rows("SELECT dbo.v.a, t.b FROM dbo.v JOIN t ON t.id = v.id WHERE twice = 60"),
        ["z|30"]
    );
    assert_eq!(c.rows("SELECT x.a FROM shop.dbo.v AS x WITH (NOLOCK) WHERE x.id = 2"), ["y"]);
    // Nothing of the statement around is seen inside.
    c.ok("CREATE VIEW w (n) AS SELECT COUNT(*) FROM v");
    assert_eq!(c.value("WITH v AS (SELECT 1 AS one) SELECT n FROM w"), "2");
    assert_eq!(c.value("SELECT (SELECT n FROM w) + 1"), "3");
    c.ok("ALTER VIEW w AS SELECT MAX(id) AS m FROM v");
    assert_eq!(c.value("SELECT m FROM w"), "3");
    c.ok("CREATE OR ALTER VIEW w AS SELECT MIN(id) AS m FROM v WITH CHECK OPTION");
    assert_eq!(c.value("SELECT m FROM w"), "2");
    assert_eq!(
        c.rows("SELECT name, type, type_desc, OBJECT_ID(name) - object_id FROM sys.objects WHERE type = 'V' ORDER BY name"),
        ["v|V |VIEW|0", "w|V |VIEW|0"]
    );
    assert_eq!(
        c.rows("SELECT name, with_check_option FROM sys.views ORDER BY name"),
        ["v|0", "w|1"]
    );
    assert_eq!(
        c.value("SELECT definition FROM sys.sql_modules WHERE object_id = OBJECT_ID('v', 'V')"),
        "-- all of them\nCREATE VIEW dbo.v AS SELECT id, a, b * 2 AS twice FROM t WHERE id > 1;"
    );
    assert_eq!(
        c.value("SELECT OBJECT_DEFINITION(OBJECT_ID('w'))"),
        "CREATE   VIEW w AS SELECT MIN(id) AS m FROM v WITH CHECK OPTION"
    );
    assert_eq!(
        c.rows("SELECT name, column_id, TYPE_NAME(user_type_id), is_nullable FROM sys.columns WHERE object_id = OBJECT_ID('v') ORDER BY column_id"),
        ["id|1|int|0", "a|2|varchar|0", "twice|3|int|1"]
    );
    assert_eq!(
        c.rows("SELECT TABLE_NAME, TABLE_TYPE FROM INFORMATION_SCHEMA.TABLES ORDER BY TABLE_NAME"),
        ["t|BASE TABLE", "v|VIEW", "w|VIEW"]
    );
    assert_eq!(
        c.rows("SELECT TABLE_NAME, CHECK_OPTION, IS_UPDATABLE FROM INFORMATION_SCHEMA.VIEWS ORDER BY TABLE_NAME"),
        ["v|NONE|NO", "w|CASCADE|NO"]
    );
    assert_eq!(
        c.rows("EXEC sp_tables @table_owner = 'dbo', @table_type = '''VIEW'''"),
        ["shop|dbo|v|VIEW|NULL", "shop|dbo|w|VIEW|NULL"]
    );
    assert_eq!(c.rows("SELECT name FROM sys.tables"), ["t"]);
    assert_eq!(
        c.value("SELECT COUNT(*) FROM sys.partitions WHERE object_id = OBJECT_ID('v')"),
        "0"
    );
    c.ok("DROP VIEW v, w");
    c.ok("DROP VIEW IF EXISTS v");
    assert_eq!(c.value("SELECT COUNT(*) FROM sys.views"), "0");
}

#[test]
fn views_keep_their_columns_when_tables_change() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int, b int); INSERT t VALUES (1, 2)");
    c.ok("CREATE VIEW v AS SELECT * FROM t");
    c.ok("ALTER TABLE t ADD c int NOT NULL DEFAULT 3");
    assert_eq!(c.rows("SELECT * FROM v"), ["1|2"]);
    assert_eq!(c.error("SELECT c FROM v"), 207);
    c.ok("ALTER TABLE t ALTER COLUMN b bigint");
    assert_eq!(c.rows("SELECT * FROM v"), ["1|2"]);
    c.ok("EXEC sp_refreshview 'dbo.v'");
    assert_eq!(c.rows("SELECT * FROM v"), ["1|2|3"]);
    c.ok("ALTER TABLE t DROP COLUMN b");
    assert_eq!(c.error("SELECT * FROM v"), 4502);
    c.ok("DROP TABLE t");
    assert_eq!(c.error("SELECT * FROM v"), 208);
}

#[test]
fn views_are_refused_where_sql_server_refuses_them() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int, b int)");
    c.ok("CREATE TABLE #t (a int)");
    c.ok("CREATE VIEW v AS SELECT a FROM t");
    for (sql, number) in [
        ("SELECT 1; CREATE VIEW x AS SELECT 1 AS a", 111),
        ("CREATE VIEW x AS SELECT 1 AS a; SELECT 2", 156),
        ("CREATE VIEW x AS SELECT 1", 4511),
        ("CREATE VIEW x AS SELECT a, b AS a FROM t", 4506),
        ("CREATE VIEW x (p) AS SELECT a, b FROM t", 8158),
        ("CREATE VIEW x (p, q, r) AS SELECT a, b FROM t", 8159),
        ("CREATE VIEW x AS SELECT a FROM t ORDER BY a", 1033),
        ("CREATE VIEW x AS SELECT a FROM #t", 4508),
        ("CREATE VIEW x AS SELECT a FROM nosuch", 208),
        ("CREATE VIEW x AS SELECT nosuch FROM t", 207),
        ("CREATE VIEW x AS SELECT @p AS a", 137),
        ("CREATE VIEW v AS SELECT 1 AS a", 2714),
        ("CREATE TABLE v (a int)", 2714),
        ("CREATE VIEW t AS SELECT 1 AS a", 2714),
        ("CREATE VIEW nosuch.x AS SELECT 1 AS a", 2760),
        ("CREATE VIEW shop.dbo.x AS SELECT 1 AS a", 166),
        ("ALTER VIEW x AS SELECT 1 AS a", 208),
        ("ALTER VIEW t AS SELECT 1 AS a", 2010),
        ("DROP VIEW x", 3701),
        ("DROP VIEW t", 3705),
        ("DROP TABLE v", 3705),
        ("ALTER TABLE v ADD c int", 4902),
        ("TRUNCATE TABLE v", 4708),
        ("INSERT v VALUES (1)", 102),
        ("UPDATE v SET a = 1", 102),
        ("DELETE v", 102),
        ("CREATE VIEW x WITH SCHEMABINDING AS SELECT a FROM dbo.t", 102),
        ("CREATE FUNCTION f () RETURNS int AS BEGIN RETURN 1 END", 102),
        ("CREATE TRIGGER tr ON t AFTER INSERT AS PRINT 'x'", 102),
        ("DROP FUNCTION f", 3701),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("DROP TRIGGER IF EXISTS tr; DROP FUNCTION IF EXISTS f; DROP PROC IF EXISTS p");
}

#[test]
fn the_right_to_read_a_view_is_enough() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int, secret int); INSERT t VALUES (1, 2)");
    c.ok("CREATE VIEW v AS SELECT a, secret FROM t");
    c.ok("CREATE VIEW w AS SELECT a FROM v");
    c.ok("CREATE USER u WITHOUT LOGIN; GRANT SELECT ON w TO u; GRANT SELECT ON v (a) TO u");
    c.ok("EXECUTE AS USER = 'u'");
    assert_eq!(c.rows("SELECT a FROM w"), ["1"]);
    assert_eq!(c.rows("SELECT a FROM v"), ["1"]);
    assert_eq!(c.error("SELECT secret FROM v"), 230);
    assert_eq!(c.error("SELECT a FROM t"), 229);
    assert_eq!(c.rows("SELECT name FROM sys.views ORDER BY name"), ["v", "w"]);
    assert_eq!(c.rows("SELECT definition FROM sys.sql_modules"), ["NULL", "NULL"]);
    assert_eq!(c.error("CREATE VIEW x AS SELECT 1 AS a"), 262);
    assert_eq!(c.error("DROP VIEW v"), 3701);
}

#[test]
fn views_go_with_their_transaction_and_stand_in_their_schema() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE SCHEMA s");
    c.ok("CREATE TABLE t (a int); CREATE TABLE s.t (a int); INSERT t VALUES (1); INSERT s.t VALUES (2)");
    c.ok("BEGIN TRAN");
    c.ok("CREATE VIEW s.v AS SELECT a FROM t");
    assert_eq!(c.rows("SELECT a FROM s.v"), ["2"]);
    c.ok("ROLLBACK");
    assert_eq!(c.error("SELECT a FROM s.v"), 208);
    c.ok("CREATE VIEW s.v AS SELECT a FROM t");
    assert_eq!(c.error("DROP SCHEMA s"), 3729);
    let mut other = server.connect_to("master");
    assert_eq!(other.rows("SELECT a FROM shop.s.v"), ["2"]);
    c.ok("EXEC sp_rename 's.v', 'vv'");
    assert_eq!(c.rows("SELECT a FROM s.vv"), ["2"]);
}

#[test]
fn procedures_are_kept_and_not_run() {
    let server = server();
    let mut c = server.connect();
    let text = "CREATE PROC dbo.p @a int, @b nvarchar(10) = N'x', @c datetime2(3) OUTPUT\nWITH RECOMPILE\nAS\nSELECT whatever FROM nowhere;\nRETURN 1";
    c.ok(text);
    assert_eq!(c.error("EXEC p 1"), 102);
    assert_eq!(c.error("EXEC nosuch"), 2812);
    assert_eq!(
        c.rows("SELECT name, type, type_desc FROM sys.procedures"),
        ["p|P |SQL_STORED_PROCEDURE"]
    );
    assert_eq!(c.value("SELECT OBJECT_DEFINITION(OBJECT_ID('dbo.p', 'P'))"), text);
    assert_eq!(c.value("SELECT OBJECTPROPERTY(OBJECT_ID('p'), 'IsProcedure')"), "1");
    assert_eq!(
        c.rows("SELECT name, parameter_id, TYPE_NAME(user_type_id), max_length, is_output FROM sys.parameters"),
        ["@a|1|int|4|0", "@b|2|nvarchar|20|0", "@c|3|datetime2|7|1"]
    );
    assert_eq!(
        c.rows("EXEC sp_helptext 'dbo.p'"),
        text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>()
    );
    assert_eq!(c.error("EXEC sp_helptext 'nosuch'"), 15009);
    assert_eq!(c.error("SELECT * FROM p"), 2809);
    assert_eq!(c.error("DROP VIEW p"), 3705);
    c.ok("ALTER PROCEDURE p AS RETURN 2");
    assert_eq!(
        c.value("SELECT OBJECT_DEFINITION(OBJECT_ID('p'))"),
        "CREATE PROCEDURE p AS RETURN 2"
    );
    c.ok("DROP PROCEDURE p");
    assert_eq!(c.error("EXEC p"), 2812);
}
