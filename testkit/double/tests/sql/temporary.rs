//! Temporary tables and SELECT … INTO.

use super::fixture::server;

#[test]
fn a_temporary_table_is_its_session_s_own() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.ok("CREATE TABLE #t (id int IDENTITY PRIMARY KEY, v varchar(10) NOT NULL UNIQUE)");
    a.ok("INSERT #t VALUES ('x'), ('y'); CREATE INDEX ix ON #t (v)");
    assert_eq!(b.error("SELECT * FROM #t"), 208);
    b.ok("CREATE TABLE #t (other int); INSERT #t VALUES (7)");
    assert_eq!(a.rows("SELECT id, v FROM tempdb..#t ORDER BY id"), ["1|x", "2|y"]);
    assert_eq!(b.rows("SELECT * FROM #t"), ["7"]);
    assert_eq!(a.error("INSERT #t VALUES ('x')"), 2627);
    assert_eq!(a.error("CREATE TABLE #t (a int)"), 2714);
    a.ok("UPDATE #t SET v = 'z' WHERE id = 1; DELETE #t WHERE v = 'y'; ALTER TABLE #t ADD w int NULL");
    assert_eq!(a.rows("SELECT * FROM #t"), ["1|z|NULL"]);
    assert_eq!(a.value("SELECT COUNT(*) FROM sys.tables WHERE name LIKE '#%'"), "0");
    assert_eq!(a.eval("CASE WHEN OBJECT_ID('tempdb..#t') IS NULL THEN 0 ELSE 1 END"), "1");
    assert_eq!(a.eval("CASE WHEN OBJECT_ID('tempdb..#u') IS NULL THEN 0 ELSE 1 END"), "0");
    a.ok("BEGIN TRAN; CREATE TABLE #u (a int); ROLLBACK");
    assert_eq!(a.error("SELECT * FROM #u"), 208);
    a.ok("INSERT INTO #t (v) EXEC ('SELECT 5')");
    a.ok("DROP TABLE #t; DROP TABLE IF EXISTS #t");
    assert_eq!(a.error("SELECT * FROM #t"), 208);
    a.ok("CREATE TABLE #gone (a int)");
    a.session.reset(false);
    assert_eq!(a.error("SELECT * FROM #gone"), 208);
    drop(b);
    a.ok("CREATE TABLE dbo.t (a int); DROP TABLE dbo.t");
}

#[test]
fn whoever_may_log_in_may_have_temporary_tables() {
    let server = server();
    let mut admin = server.connect();
    admin.ok("CREATE LOGIN l WITH PASSWORD = 'x'; CREATE USER l FOR LOGIN l");
    let session = server.server.login("l", "x", "shop").expect("logs in");
    let mut c = super::fixture::Client { session };
    assert_eq!(c.error("CREATE TABLE t (a int)"), 262);
    c.ok("CREATE TABLE #t (a int PRIMARY KEY); INSERT #t OUTPUT inserted.a VALUES (1)");
    assert_eq!(c.rows("SELECT a FROM #t"), ["1"]);
    c.ok("UPDATE #t SET a = 2; DELETE #t; TRUNCATE TABLE #t; DROP TABLE #t");
}

#[test]
fn select_into_makes_a_table_of_the_query() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int IDENTITY(5, 5) PRIMARY KEY, a decimal(9, 2) NOT NULL, b nvarchar(20) NULL)");
    c.ok("INSERT t VALUES (1.5, N'x'), (2.5, NULL)");
    assert_eq!(c.ok("SELECT * INTO u FROM t").counts, [Some(2)]);
    assert_eq!(c.eval("@@ROWCOUNT"), "2");
    c.ok("INSERT u VALUES (3, N'z')");
    assert_eq!(c.rows("SELECT * FROM u ORDER BY id"), ["5|1.50|x", "10|2.50|NULL", "15|3.00|z"]);
    assert_eq!(
        c.rows("SELECT name, TYPE_NAME(system_type_id), is_nullable, is_identity FROM sys.columns WHERE object_id = OBJECT_ID('u') ORDER BY column_id"),
        ["id|int|0|1", "a|decimal|0|0", "b|nvarchar|1|0"]
    );
    assert_eq!(
        c.value("SELECT COUNT(*) FROM sys.key_constraints WHERE parent_object_id = OBJECT_ID('u')"),
        "0"
    );
    c.ok("SELECT TOP (1) x.id, x.a * 2 AS twice INTO #s FROM t AS x JOIN u ON u.id = x.id ORDER BY x.id DESC");
    assert_eq!(c.rows("SELECT id, twice FROM #s"), ["10|5.00"]);
    assert_eq!(c.error("SELECT id INTO u FROM t"), 2714);
    assert_eq!(c.error("SELECT id + 1 INTO v FROM t"), 1038);
    assert_eq!(c.error("SELECT id, a AS id INTO v FROM t"), 2705);
    c.ok("SELECT id INTO empty FROM t WHERE 1 = 0");
    assert_eq!(c.value("SELECT COUNT(*) FROM empty"), "0");
}

#[test]
fn names_that_are_not_there_have_their_errors() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int NOT NULL, d AS id * 2)");
    assert_eq!(c.error("SELECT x.nope FROM t AS x"), 207);
    assert_eq!(c.error("SELECT y.id FROM t AS x"), 4104);
    assert_eq!(c.error("SELECT (SELECT x.nope) FROM t AS x"), 207);
    // An overflow could make it NULL.
    assert_eq!(
        c.value(
            "SELECT is_nullable FROM sys.columns WHERE name = 'd' AND object_id = OBJECT_ID('t')"
        ),
        "1"
    );
    assert!(c.ok("SELECT id + 1 AS x FROM t").columns[0][0].nullable);
}

#[test]
fn columns_and_indexes_are_renamed_unless_something_hangs_on_them() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int CONSTRAINT pk PRIMARY KEY, a int, b int CHECK (b > 0), d int, e int)");
    c.ok("CREATE INDEX ix ON t (a); INSERT t VALUES (1, 2, 3, 4, 5)");
    c.ok("EXEC sp_rename 't.a', 'aa', 'COLUMN'; EXEC sp_rename 'dbo.t.ix', 'ix2', 'INDEX'");
    assert_eq!(c.rows("SELECT aa FROM t WHERE aa = 2"), ["2"]);
    assert_eq!(c.value("SELECT COUNT(*) FROM sys.indexes WHERE name = 'ix2'"), "1");
    assert_eq!(c.error("EXEC sp_rename 't.b', 'bb', 'COLUMN'"), 15336);
    assert_eq!(c.error("EXEC sp_rename 't.aa', 'd', 'COLUMN'"), 15335);
    assert_eq!(c.error("EXEC sp_rename 't.nope', 'x', 'COLUMN'"), 15248);
    // The name alone may say what is meant.
    c.ok("EXEC sp_rename 't.aa', 'ab'; EXEC sp_rename 'dbo.t.ix2', 'ix3'; EXEC sp_rename 'pk', 'pk2'");
    c.ok("EXEC sp_rename 'dbo.pk2', 'pk3', 'OBJECT'; EXEC sp_rename @objname = '[t].[ab]', @newname = 'ac'");
    assert_eq!(c.rows("SELECT ac FROM t"), ["2"]);
    assert_eq!(
        c.rows("SELECT name FROM sys.indexes WHERE object_id = OBJECT_ID('t') ORDER BY name"),
        ["ix3", "pk3"]
    );
    assert_eq!(c.error("EXEC sp_rename 't.nope', 'x'"), 15225);
    assert_eq!(c.error("EXEC sp_rename 't.ac', 'x', 'INDEX'"), 15248);
    assert_eq!(c.error("EXEC sp_rename 'pk3', 't'"), 15335);
    c.ok("CREATE INDEX d ON t (e)");
    assert_eq!(c.error("EXEC sp_rename 't.d', 'x'"), 15248);
    c.ok("DROP INDEX d ON t");
    c.ok("EXEC sys.sp_cdc_enable_db");
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL, @captured_column_list = 'id,d'");
    assert_eq!(c.error("EXEC sp_rename 't.d', 'dd', 'COLUMN'"), 4928);
    c.ok("EXEC sp_rename 't.e', 'ee', 'COLUMN'");
}

#[test]
fn global_temporary_tables_are_everybodys_until_their_maker_goes() {
    let server = server();
    let (mut maker, mut other) = (server.connect(), server.connect());
    maker.ok("CREATE TABLE ##g (id int IDENTITY CONSTRAINT pk PRIMARY KEY, v int); INSERT ##g (v) VALUES (1)");
    other.ok("INSERT tempdb..##G (v) SELECT v + 1 FROM ##g");
    assert_eq!(maker.rows("SELECT id, v FROM ##g ORDER BY id"), ["1|1", "2|2"]);
    assert_eq!(other.error("CREATE TABLE ##g (id int)"), 2714);
    assert_eq!(other.eval("CASE WHEN OBJECT_ID('tempdb..##g') > 0 THEN 1 END"), "1");
    // Not the same as a session's own of nearly that name.
    other.ok("CREATE TABLE #g (id int)");
    assert_eq!(maker.error("SELECT * FROM #g"), 208);
    other.ok("SELECT v INTO ##h FROM ##g; UPDATE ##g SET v = 7 WHERE id = 1");
    drop(maker);
    assert_eq!(other.error("SELECT * FROM ##g"), 208);
    assert_eq!(other.rows("SELECT v FROM ##h ORDER BY v"), ["1", "2"]);
    other.ok("CREATE TABLE ##g (id int); DROP TABLE ##g, ##h");
}
