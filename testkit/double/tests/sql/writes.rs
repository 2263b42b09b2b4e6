//! INSERT, UPDATE, DELETE, constraints, transactions, control flow, rights.

use super::fixture::{param, server};
use mssql_double::{Param, Request, SqlType, Value};

#[test]
fn rows_come_change_and_go() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int IDENTITY(10,5) PRIMARY KEY, a varchar(5) NOT NULL DEFAULT ('x'), b int, c AS (b * 2) PERSISTED)");
    assert_eq!(c.ok("INSERT INTO t (b) VALUES (1), (2), (3)").counts, [Some(3)]);
    c.ok("INSERT t DEFAULT VALUES");
    assert_eq!(c.eval("SCOPE_IDENTITY()"), "25");
    assert_eq!(
        c.rows("SELECT * FROM t ORDER BY id"),
        ["10|x|1|2", "15|x|2|4", "20|x|3|6", "25|x|NULL|NULL"]
    );
    assert_eq!(c.ok("UPDATE t SET b += 10, a = 'y' WHERE id > 10").counts, [Some(3)]);
    assert_eq!(c.eval("@@ROWCOUNT"), "3");
    assert_eq!(c.rows("DELETE FROM t OUTPUT deleted.id, deleted.c WHERE b = 12"), ["15|24"]);
    assert_eq!(
        c.rows("UPDATE t SET b = 0 OUTPUT inserted.id, deleted.b, inserted.c WHERE id = 20"),
        ["20|13|0"]
    );
    assert_eq!(
        c.rows("INSERT t (a, b) OUTPUT inserted.* SELECT 'z', b FROM t WHERE id = 10"),
        ["30|z|1|2"]
    );
    assert_eq!(c.ok("SET NOCOUNT ON; DELETE t").counts, [None, None]);
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "0");
}

#[test]
fn updates_join() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int)");
    c.ok("INSERT a VALUES (1,1),(2,2),(3,3); INSERT b VALUES (2,20),(3,30),(4,40)");
    c.ok("UPDATE x SET v = y.v FROM a AS x JOIN b AS y ON y.id = x.id");
    assert_eq!(c.rows("SELECT id, v FROM a ORDER BY id"), ["1|1", "2|20", "3|30"]);
    c.ok("UPDATE a SET v = b.v + 1 FROM b WHERE b.id = a.id AND b.id = 3");
    assert_eq!(c.rows("SELECT v FROM a WHERE id = 3"), ["31"]);
    c.ok("DELETE a FROM a LEFT JOIN b ON b.id = a.id WHERE b.id IS NULL");
    assert_eq!(c.rows("SELECT id FROM a ORDER BY id"), ["2", "3"]);
    c.ok("DELETE TOP (1) FROM b");
    assert_eq!(c.value("SELECT COUNT(*) FROM b"), "2");
    c.ok("UPDATE a SET id = id + 1");
    assert_eq!(c.rows("SELECT id FROM a ORDER BY id"), ["3", "4"]);
    assert_eq!(c.rows("DECLARE @v int; UPDATE a SET @v = v = 7 WHERE id = 3; SELECT @v"), ["7"]);
}

#[test]
fn constraints_hold() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE p (id int NOT NULL CONSTRAINT pk_p PRIMARY KEY, u varchar(5) UNIQUE)");
    c.ok("CREATE TABLE k (id int PRIMARY KEY, p int NULL CONSTRAINT fk REFERENCES p(id), q int CHECK (q > 0))");
    c.ok("INSERT p VALUES (1, 'a'), (2, NULL)");
    for (sql, number) in [
        ("INSERT p VALUES (1, 'b')", 2627),
        ("INSERT p VALUES (3, 'A ')", 2627),
        ("INSERT p VALUES (3, NULL)", 2627),
        ("INSERT p VALUES (NULL, 'c')", 515),
        ("INSERT p VALUES (3, 'toolong')", 2628),
        ("INSERT k VALUES (1, 9, 1)", 547),
        ("INSERT k VALUES (1, 1, 0)", 547),
        ("INSERT k VALUES (1, 1)", 213),
        ("INSERT p (id, id) VALUES (1, 1)", 264),
        ("UPDATE p SET nope = 1", 207),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("INSERT k VALUES (1, 1, 5), (2, NULL, NULL)");
    assert_eq!(c.error("DELETE p WHERE id = 1"), 547);
    assert_eq!(c.error("UPDATE p SET id = 8 WHERE id = 1"), 547);
    assert_eq!(c.error("UPDATE k SET p = 3 WHERE id = 1"), 547);
    c.ok("DELETE p WHERE id = 2; UPDATE k SET p = NULL; DELETE p");
    assert_eq!(c.error("DROP TABLE p"), 3726);
    c.ok("DROP TABLE k, p; DROP TABLE IF EXISTS p");
}

#[test]
fn a_failed_statement_leaves_nothing() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY)");
    assert_eq!(c.error("INSERT t VALUES (1), (2), (1)"), 2627);
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "0");
    // The batch goes on behind it, and so does the transaction.
    let kept = c.run("BEGIN TRAN; INSERT t VALUES (1); INSERT t VALUES (1); INSERT t VALUES (2); COMMIT; SELECT id FROM t");
    assert_eq!(kept.rows, ["1", "2"]);
    // XACT_ABORT ON undoes everything.
    c.run("SET XACT_ABORT ON; BEGIN TRAN; INSERT t VALUES (3); INSERT t VALUES (1); COMMIT");
    assert_eq!(c.eval("@@TRANCOUNT"), "0");
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "2");
    c.ok("SET XACT_ABORT OFF");
    // A failed conversion ends batch and transaction.
    let kept = c.run("BEGIN TRAN; INSERT t VALUES (4); SELECT CAST('x' AS int); SELECT 1");
    assert!(kept.rows.is_empty(), "{kept:?}");
    assert_eq!(c.eval("@@TRANCOUNT"), "0");
    // A name that does not exist ends the batch only.
    c.run("BEGIN TRAN; INSERT t VALUES (5); SELECT * FROM nowhere; SELECT 1");
    assert_eq!(c.eval("@@TRANCOUNT"), "1");
    c.ok("ROLLBACK");
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "2");
}

#[test]
fn transactions_nest_and_save() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY)");
    c.ok("BEGIN TRAN; INSERT t VALUES (1); BEGIN TRAN; INSERT t VALUES (2); COMMIT; SAVE TRAN s; INSERT t VALUES (3); ROLLBACK TRAN s; COMMIT");
    assert_eq!(c.rows("SELECT id FROM t ORDER BY id"), ["1", "2"]);
    c.ok("BEGIN TRAN; BEGIN TRAN; DELETE t; ROLLBACK");
    assert_eq!(c.eval("@@TRANCOUNT"), "0");
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "2");
    assert_eq!(c.error("COMMIT"), 3902);
    assert_eq!(c.error("ROLLBACK"), 3903);
    assert_eq!(c.error("BEGIN TRAN; ROLLBACK TRAN nope"), 6401);
}

#[test]
fn two_sessions() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.ok("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT t VALUES (1, 1), (2, 2)");
    a.ok("BEGIN TRAN; UPDATE t SET v = 10 WHERE id = 1");
    // Readers do not wait and see what is committed; NOLOCK sees more.
    assert_eq!(b.rows("SELECT v FROM t WHERE id = 1"), ["1"]);
    assert_eq!(b.rows("SELECT v FROM t WITH (NOLOCK) WHERE id = 1"), ["10"]);
    // Another row is free.
    b.ok("UPDATE t SET v = 20 WHERE id = 2");
    assert_eq!(b.error("SET LOCK_TIMEOUT 50; UPDATE t SET v = 0 WHERE id = 1"), 1222);
    b.ok("SET LOCK_TIMEOUT -1");
    let waiting = b.spawn("UPDATE t SET v = v + 1 WHERE id = 1");
    a.ok("COMMIT");
    let (mut b, kept) = waiting.finish();
    assert_eq!(kept.counts, [Some(1)]);
    assert_eq!(b.rows("SELECT v FROM t ORDER BY id"), ["11", "20"]);
    // SNAPSHOT reads stay, and conflicting writes fail.
    b.ok("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT v FROM t");
    a.ok("UPDATE t SET v = 12 WHERE id = 1");
    assert_eq!(b.rows("SELECT v FROM t WHERE id = 1"), ["11"]);
    assert_eq!(b.error("UPDATE t SET v = 13 WHERE id = 1"), 3960);
    assert_eq!(b.eval("@@TRANCOUNT"), "0");
}

#[test]
fn a_deadlock_has_one_victim() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.ok("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT t VALUES (1, 1), (2, 2)");
    a.ok("BEGIN TRAN; UPDATE t SET v = 10 WHERE id = 1");
    b.ok("SET DEADLOCK_PRIORITY LOW; BEGIN TRAN; UPDATE t SET v = 20 WHERE id = 2");
    let waiting = b.spawn("UPDATE t SET v = 21 WHERE id = 1");
    a.ok("UPDATE t SET v = 11 WHERE id = 2; COMMIT");
    let (mut b, kept) = waiting.finish();
    assert_eq!(kept.messages[0].number, 1205);
    assert_eq!(b.eval("@@TRANCOUNT"), "0");
    assert_eq!(b.rows("SELECT v FROM t ORDER BY id"), ["10", "11"]);
}

#[test]
fn control_flow_and_errors() {
    let server = server();
    let mut c = server.connect();
    assert_eq!(
        c.rows("DECLARE @i int = 0, @s varchar(20) = ''; WHILE @i < 5 BEGIN SET @i += 1; IF @i = 2 CONTINUE; IF @i = 4 BREAK; SET @s = @s + CAST(@i AS varchar) END; SELECT @i, @s"),
        ["4|13"]
    );
    assert_eq!(
        c.rows("BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_SEVERITY(), ERROR_MESSAGE() END CATCH"),
        ["8134|16|Divide by zero error encountered."]
    );
    assert_eq!(c.error("BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH THROW END CATCH; SELECT 1"), 8134);
    assert_eq!(c.error("THROW 50001, 'mine', 3"), 50001);
    let kept = c.run("RAISERROR('n %d of %s', 16, 1, 3, N'x'); SELECT @@ERROR");
    assert_eq!((kept.messages[0].message.as_str(), kept.rows[0].as_str()), ("n 3 of x", "50000"));
    let kept = c.ok("RAISERROR('only told', 10, 1); PRINT 'and this'; SELECT 2");
    assert_eq!(kept.messages.len(), 2);
    // A conversion error dooms the transaction within TRY.
    c.ok("CREATE TABLE t (id int)");
    assert_eq!(
        c.rows("BEGIN TRAN; BEGIN TRY SELECT CAST('x' AS int) END TRY BEGIN CATCH SELECT XACT_STATE(); ROLLBACK END CATCH; SELECT @@TRANCOUNT"),
        ["-1", "0"]
    );
    assert_eq!(
        c.rows("DECLARE @a int; SELECT @a = id FROM (VALUES (1),(2)) v(id) ORDER BY id; SELECT @a"),
        ["2"]
    );
    assert_eq!(c.rows("EXEC('SELECT 1; SELECT 2')"), ["1", "2"]);
    assert_eq!(c.rows("DECLARE @o int; EXEC sp_executesql N'SET @x = @y * 2', N'@x int OUTPUT, @y int', @x = @o OUTPUT, @y = 21; SELECT @o"), ["42"]);
    assert_eq!(c.rows("IF EXISTS (SELECT 1 FROM t) SELECT 'some' ELSE SELECT 'none'"), ["none"]);
}

#[test]
fn parameters_go_both_ways() {
    let server = server();
    let mut c = server.connect();
    let out = Param { output: true, ..param("@o", SqlType::NVarChar(Some(10)), Value::Null) };
    let kept = c.call(
        "SET @o = @a + N'!'",
        vec![param("@a", SqlType::NVarChar(Some(4)), Value::text("hello")), out],
    );
    assert_eq!(kept.values[0].value, Value::text("hell!"));
}

#[test]
fn tables_change_shape() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a varchar(5)); INSERT t VALUES (1, '12'), (2, NULL)");
    c.ok("ALTER TABLE t ADD b int NOT NULL CONSTRAINT d DEFAULT 7, e AS (id + 1)");
    assert_eq!(c.rows("SELECT * FROM t ORDER BY id"), ["1|12|7|2", "2|NULL|7|3"]);
    c.ok("ALTER TABLE t ALTER COLUMN a int NULL");
    assert_eq!(c.rows("SELECT a + 1 FROM t WHERE id = 1"), ["13"]);
    assert_eq!(c.error("ALTER TABLE t DROP COLUMN b"), 5074);
    c.ok("ALTER TABLE t DROP CONSTRAINT d; ALTER TABLE t DROP COLUMN b");
    assert_eq!(c.rows("SELECT * FROM t ORDER BY id"), ["1|12|2", "2|NULL|3"]);
    assert_eq!(c.error("ALTER TABLE t ADD CONSTRAINT ck CHECK (a > 100)"), 547);
    c.ok("ALTER TABLE t ADD CONSTRAINT ck CHECK (a < 100)");
    c.ok("CREATE UNIQUE INDEX ix ON t (a)");
    assert_eq!(c.error("INSERT t (id, a) VALUES (3, 12)"), 2601);
    c.ok("DROP INDEX ix ON t; EXEC sp_rename 't', 'u'; TRUNCATE TABLE u");
    assert_eq!(c.value("SELECT COUNT(*) FROM u"), "0");
    c.ok("CREATE SCHEMA s");
    c.ok("CREATE TABLE s.v (a int); DROP TABLE s.v; DROP SCHEMA s");
}

#[test]
fn rights_are_checked() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int); CREATE TABLE u (a int); INSERT t VALUES (1)");
    c.ok("CREATE LOGIN reader WITH PASSWORD = 'pw'; CREATE USER reader FOR LOGIN reader; GRANT SELECT ON dbo.t TO reader");
    assert_eq!(server.server.login("reader", "wrong", "").err().map(|e| e.number), Some(18456));
    assert_eq!(server.server.login("reader", "pw", "nope").err().map(|e| e.number), Some(4060));
    let session = server.server.login("READER", "pw", "shop").expect("a user");
    let mut r = super::fixture::Client { session };
    assert_eq!(r.rows("SELECT a FROM t"), ["1"]);
    assert_eq!(r.error("SELECT a FROM u"), 229);
    assert_eq!(r.error("INSERT t VALUES (2)"), 229);
    assert_eq!(r.error("CREATE TABLE x (a int)"), 262);
    assert_eq!(r.rows("SELECT name FROM sys.tables"), ["t"]);
    assert_eq!(r.eval("HAS_PERMS_BY_NAME('dbo.t', 'OBJECT', 'SELECT')"), "1");
    c.ok("DENY SELECT ON t TO reader");
    assert_eq!(r.error("SELECT a FROM t"), 229);
    c.ok("REVOKE SELECT ON t FROM reader; ALTER ROLE db_datareader ADD MEMBER reader");
    assert_eq!(r.rows("SELECT a FROM t"), ["1"]);
    // Rights on columns.
    c.ok("ALTER ROLE db_datareader DROP MEMBER reader");
    c.ok("CREATE TABLE w (a int, b int, c int); INSERT w VALUES (1, 2, 3); GRANT SELECT ON w (a, b) TO reader");
    assert_eq!(r.rows("SELECT a, b FROM w WHERE a = 1"), ["1|2"]);
    assert_eq!(r.rows("SELECT COUNT(*) FROM w"), ["1"]);
    for sql in [
        "SELECT c FROM w",
        "SELECT * FROM w",
        "SELECT a FROM w WHERE c = 3",
        "SELECT a FROM w ORDER BY c",
        "SELECT (SELECT MAX(w.c) FROM w)",
    ] {
        assert_eq!(r.error(sql), 230, "{sql}");
    }
    c.ok(
        "GRANT SELECT ON w TO reader; DENY SELECT ON w (b) TO reader; GRANT INSERT ON w TO reader",
    );
    assert_eq!(r.rows("SELECT a, c FROM w"), ["1|3"]);
    assert_eq!(r.error("SELECT b FROM w"), 230);
    assert_eq!(r.error("INSERT w OUTPUT inserted.b VALUES (4, 5, 6)"), 230);
    assert_eq!(c.rows("SELECT permission_name, minor_id, state FROM sys.database_permissions WHERE major_id = OBJECT_ID('w') ORDER BY 1, 2"), ["INSERT|0|G", "SELECT|0|G", "SELECT|1|G", "SELECT|2|D"]);
    c.ok("REVOKE SELECT ON w FROM reader; ALTER ROLE db_datareader ADD MEMBER reader");
    assert_eq!(r.rows("SELECT b FROM w"), ["2"]);
    // EXECUTE AS, and back.
    c.ok("ALTER ROLE db_datareader DROP MEMBER reader");
    assert_eq!(c.error("EXECUTE AS USER = 'reader'; SELECT a FROM t"), 229);
    c.ok("REVERT; SELECT a FROM t");
}

#[test]
fn a_cancelled_request_stops() {
    let server = server();
    let mut c = server.connect();
    let mut kept = super::fixture::Kept { cancel_at: Some(3), ..Default::default() };
    let sql = "WHILE 1 = 1 SELECT 1";
    assert!(c.session.execute(Request::Batch(sql.into()), &mut kept).is_err());
    assert_eq!(kept.rows.len(), 3);
}
