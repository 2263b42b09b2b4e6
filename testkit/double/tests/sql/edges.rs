//! Corners where an engine most easily gives a wrong answer.

use super::fixture::{param, server};
use mssql_double::{Request, SqlType, Value};

/// The same questions with and without an index must have the same answers.
#[test]
fn an_index_changes_no_answer() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE h (a int, b varchar(5), d decimal(8,2), n nvarchar(5))");
    c.ok("INSERT h VALUES (NULL,'x',1.50,N'é'), (1,'X ',2,N'E'), (2,NULL,NULL,NULL), (2,'y',-1,N'e'), (3,'x',1.5,N'f'), (-1,'',0,N'')");
    c.ok("CREATE TABLE i (a int, b varchar(5), d decimal(8,2), n nvarchar(5))");
    c.ok("CREATE CLUSTERED INDEX ia ON i (a, b); CREATE INDEX ib ON i (b); CREATE INDEX id ON i (d); CREATE INDEX inn ON i (n)");
    c.ok("INSERT i SELECT * FROM h");
    for condition in [
        "a = 2",
        "a > 1",
        "a < 2",
        "a <= 2 AND a > -5",
        "a >= 1 AND b = 'x'",
        "a = NULL",
        "a <> 2",
        "NOT a = 2",
        "a IN (1, 3, NULL)",
        "a NOT IN (1, 3)",
        "a BETWEEN 3 AND 1",
        "b = 'X'",
        "b = N'x  '",
        "b > ''",
        "b LIKE 'x%'",
        "b IS NULL",
        "d = 1.5",
        "d > 1",
        "d = 2",
        "CAST(2 AS bigint) = d",
        "a = 2.0",
        "a < 2.5",
        "a = '2'",
        "a = CAST(2 AS tinyint)",
        "n = 'e'",
        "n = N'É'",
        "n < N'f'",
        "a = 2 OR b = 'x'",
        "a > 1 AND a > 2",
        "2 < a",
    ] {
        let ask = |table: &str| {
            format!("SELECT a, b, d, n FROM {table} WHERE {condition} ORDER BY a, b, d, n")
        };
        assert_eq!(c.rows(&ask("h")), c.rows(&ask("i")), "{condition}");
        let count = |table: &str| format!("SELECT COUNT(*) FROM {table} WHERE {condition}");
        assert_eq!(c.value(&count("h")), c.value(&count("i")), "{condition}");
    }
    for order in ["a, b", "a DESC, b DESC", "a, b DESC", "b, a", "a, b, d", "d DESC", "n"] {
        let ask = |table: &str| format!("SELECT a, b FROM {table} ORDER BY {order}, a, b, d, n");
        assert_eq!(c.rows(&ask("h")), c.rows(&ask("i")), "{order}");
    }
}

/// Every way to join must give what the definition of the join gives.
#[test]
fn join_methods_agree() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE l (k int, v int); CREATE TABLE r (k int, w int)");
    c.ok("CREATE TABLE lk (k int, v int); CREATE CLUSTERED INDEX i1 ON lk (k)");
    c.ok("CREATE TABLE rk (k int, w int); CREATE CLUSTERED INDEX i2 ON rk (k)");
    c.ok("INSERT l VALUES (1,1),(1,2),(2,3),(NULL,4),(5,5); INSERT r VALUES (1,10),(2,20),(2,21),(NULL,30),(7,70)");
    c.ok("INSERT lk SELECT * FROM l; INSERT rk SELECT * FROM r");
    for kind in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
        for on in
            ["l.k = r.k", "l.k = r.k AND r.w > 15", "l.k = r.k AND l.v > 1", "l.k < r.k", "l.v = 1"]
        {
            for filter in ["1 = 1", "r.w IS NULL", "l.v > 1", "r.w > 15 OR l.k IS NULL"] {
                let ask = |left: &str, right: &str| {
                    format!(
                        "SELECT l.k, l.v, r.k, r.w FROM {left} l {kind} {right} r ON {on} WHERE {filter} ORDER BY l.k, l.v, r.k, r.w"
                    )
                };
                let expected = c.rows(&ask("l", "r"));
                for (left, right) in [("lk", "r"), ("l", "rk"), ("lk", "rk")] {
                    assert_eq!(
                        c.rows(&ask(left, right)),
                        expected,
                        "{left} {kind} {right} ON {on} WHERE {filter}"
                    );
                }
            }
        }
    }
    assert_eq!(c.value("SELECT COUNT(*) FROM l FULL JOIN r ON l.k = r.k"), "8");
    assert_eq!(c.value("SELECT COUNT(*) FROM l, r WHERE l.k = r.k"), "4");
    // Three tables, joined in whatever order.
    assert_eq!(
        c.rows("SELECT l.v, r.w, x.v FROM l JOIN (r JOIN lk x ON x.k = r.k) ON l.k = r.k WHERE l.v = 3 ORDER BY r.w"),
        ["3|20|3", "3|21|3"]
    );
    assert_eq!(
        c.rows("SELECT l.v FROM l LEFT JOIN r ON r.k = l.k LEFT JOIN rk ON rk.k = r.k WHERE rk.w IS NULL ORDER BY l.v"),
        ["4", "5"]
    );
}

#[test]
fn unknown_is_not_false() {
    let server = server();
    let mut c = server.connect();
    let truth = |condition: &str| {
        format!("SELECT CASE WHEN {condition} THEN 1 WHEN NOT ({condition}) THEN 0 ELSE 2 END")
    };
    for (condition, expected) in [
        ("NULL = NULL", "2"),
        ("1 = 1 OR NULL = 1", "1"),
        ("1 = 2 AND NULL = 1", "0"),
        ("1 = 1 AND NULL = 1", "2"),
        ("NOT NULL = 1", "2"),
        ("1 IN (2, NULL)", "2"),
        ("1 NOT IN (1, NULL)", "0"),
        ("NULL IS NULL", "1"),
        ("'a' LIKE NULL", "2"),
        ("NULL BETWEEN 1 AND 2", "2"),
        ("5 BETWEEN NULL AND 2", "0"),
        ("EXISTS (SELECT NULL)", "1"),
        ("1 IN (SELECT NULL)", "2"),
        ("1 IN (SELECT 1 WHERE 1 = 0)", "0"),
        ("NULL IN (SELECT 1 WHERE 1 = 0)", "0"),
    ] {
        assert_eq!(c.value(&truth(condition)), expected, "{condition}");
    }
}

/// A statement does not meet its own changes.
#[test]
fn changes_do_not_chase_themselves() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE INDEX iv ON t (v)");
    c.ok("INSERT t VALUES (1, 1), (2, 2), (3, 3)");
    c.ok("UPDATE t SET id = id + 10 WHERE id > 0");
    assert_eq!(c.rows("SELECT id FROM t ORDER BY id"), ["11", "12", "13"]);
    c.ok("UPDATE t SET v = v + 1 WHERE v >= 1");
    assert_eq!(c.rows("SELECT v FROM t ORDER BY v"), ["2", "3", "4"]);
    c.ok("INSERT t SELECT id + 100, v FROM t WITH (UPDLOCK)");
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "6");
    // A key may pass from one row to another within a statement.
    c.ok("UPDATE t SET id = CASE id WHEN 11 THEN 12 ELSE 11 END WHERE id IN (11, 12)");
    assert_eq!(c.rows("SELECT id, v FROM t WHERE id < 20 ORDER BY id"), ["11|3", "12|2", "13|4"]);
}

#[test]
fn own_writes_are_seen() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.ok("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT t VALUES (1, 1)");
    a.ok("BEGIN TRAN; INSERT t VALUES (2, 2); UPDATE t SET v = 9 WHERE id = 1; DELETE t WHERE id = 1; INSERT t VALUES (3, 3)");
    assert_eq!(a.rows("SELECT id FROM t ORDER BY id"), ["2", "3"]);
    assert_eq!(b.rows("SELECT id, v FROM t ORDER BY id"), ["1|1"]);
    a.ok("ROLLBACK");
    assert_eq!(a.rows("SELECT id, v FROM t"), ["1|1"]);
    // A SNAPSHOT transaction sees its own writes over its snapshot.
    a.ok("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT * FROM t");
    b.ok("INSERT t VALUES (5, 5)");
    a.ok("INSERT t VALUES (6, 6)");
    assert_eq!(a.rows("SELECT id FROM t ORDER BY id"), ["1", "6"]);
    a.ok("COMMIT; SET TRANSACTION ISOLATION LEVEL READ COMMITTED");
    assert_eq!(a.rows("SELECT id FROM t ORDER BY id"), ["1", "5", "6"]);
    // SNAPSHOT is fixed at the first data access, not at BEGIN.
    a.ok("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN");
    b.ok("INSERT t VALUES (7, 7)");
    assert_eq!(a.value("SELECT COUNT(*) FROM t"), "4");
    a.ok("COMMIT");
}

#[test]
fn a_table_lock_waits_for_writers() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.ok("CREATE TABLE t (id int PRIMARY KEY)");
    a.ok("BEGIN TRAN; INSERT t VALUES (1)");
    assert_eq!(
        b.error(
            "SET LOCK_TIMEOUT 50; BEGIN TRAN; SELECT TOP (1) 1 FROM t WITH (TABLOCK, HOLDLOCK)"
        ),
        1222
    );
    a.ok("COMMIT");
    b.ok("SELECT TOP (1) 1 FROM t WITH (TABLOCK, HOLDLOCK)");
    assert_eq!(a.error("SET LOCK_TIMEOUT 50; INSERT t VALUES (2)"), 1222);
    assert_eq!(a.rows("SELECT id FROM t"), ["1"]);
    b.ok("ROLLBACK");
    a.ok("INSERT t VALUES (2)");
}

#[test]
fn references_hold_between_sessions() {
    let server = server();
    let (mut a, b) = (server.connect(), server.connect());
    a.ok("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE k (id int PRIMARY KEY, p int REFERENCES p(id)); INSERT p VALUES (1), (2)");
    // The parent goes while the child comes: one of the two must fail.
    a.ok("BEGIN TRAN; INSERT k VALUES (1, 1)");
    let waiting = b.spawn("DELETE p WHERE id = 1");
    a.ok("COMMIT");
    let (b, kept) = waiting.finish();
    assert_eq!(kept.messages[0].number, 547);
    a.ok("BEGIN TRAN; DELETE p WHERE id = 2");
    let waiting = b.spawn("INSERT k VALUES (2, 2)");
    a.ok("COMMIT");
    let (mut b, kept) = waiting.finish();
    assert_eq!(kept.messages[0].number, 547);
    // Many children of one parent at once, and the parent changes otherwise: no deadlock.
    a.ok("BEGIN TRAN; INSERT k VALUES (3, 1)");
    b.ok("BEGIN TRAN; INSERT k VALUES (4, 1); COMMIT");
    a.ok("COMMIT");
    assert_eq!(b.value("SELECT COUNT(*) FROM k"), "3");
}

#[test]
fn row_counts_and_errors_are_told() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY)");
    assert_eq!(
        c.rows("INSERT t VALUES (1), (2); SELECT @@ROWCOUNT; SELECT @@ROWCOUNT"),
        ["2", "1"]
    );
    assert_eq!(c.rows("DECLARE @x int = 1; SELECT @@ROWCOUNT"), ["1"]);
    assert_eq!(c.rows("DELETE t; IF 1 = 1 SELECT @@ROWCOUNT"), ["0"]);
    let kept = c.run("SELECT 1/0; SELECT @@ERROR; SELECT @@ERROR");
    assert_eq!(kept.rows, ["8134", "0"]);
    let kept = c.run("SELECT 1;\n\nSELECT 1/0");
    assert_eq!(kept.messages[0].line, 3);
    assert_eq!(c.rows("BEGIN TRY EXEC('SELECT * FROM nowhere') END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH"), ["208"]);
    assert_eq!(
        c.error("BEGIN TRY SELECT * FROM nowhere END TRY BEGIN CATCH SELECT 1 END CATCH"),
        208
    );
    assert_eq!(c.error("DECLARE @a int; DECLARE @A int"), 134);
}

#[test]
fn values_fit_their_columns() {
    let server = server();
    let mut c = server.connect();
    for (expression, ty) in [
        ("REPLACE(REPLICATE('a', 8000), 'a', 'bb')", SqlType::VarChar(Some(8000))),
        ("CONCAT(REPLICATE('a', 8000), 'x')", SqlType::VarChar(Some(8000))),
        ("STUFF(REPLICATE(N'a', 4000), 1, 0, N'xyz')", SqlType::NVarChar(Some(4000))),
    ] {
        assert_eq!(c.type_of(expression), ty);
        let length: usize = c.eval(&format!("LEN({expression})")).parse().expect("a number");
        let limit = if ty.to_string().starts_with('n') { 4000 } else { 8000 };
        assert_eq!(length, limit, "{expression}");
    }
    assert_eq!(c.eval("CAST('ab' AS char(4)) + '|'"), "ab  |");
    assert_eq!(c.eval("CAST(0x01 AS binary(3))"), "0x010000");
    assert_eq!(c.eval("CAST(1 AS binary(3))"), "0x000001");
    assert_eq!(c.eval("LEN(REPLICATE(CAST(N'y' AS nvarchar(max)), 700000))"), "700000");
}

#[test]
fn transactions_of_the_protocol() {
    use mssql_double::{EnvChange, TransactionRequest};
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY)");
    let ask = |c: &mut super::fixture::Client, request: TransactionRequest| {
        let mut kept = super::fixture::Kept::default();
        c.session.execute(Request::Transaction(request), &mut kept).expect("not cancelled");
        assert!(kept.messages.is_empty(), "{:?}", kept.messages);
        kept.changes
    };
    let begun = ask(&mut c, TransactionRequest::Begin(None));
    assert!(matches!(begun[..], [EnvChange::TransactionBegun(_)]));
    c.ok("INSERT t VALUES (1)");
    ask(&mut c, TransactionRequest::Save("s".into()));
    c.ok("INSERT t VALUES (2)");
    assert!(
        ask(&mut c, TransactionRequest::Rollback { savepoint: "s".into(), begin_again: false })
            .is_empty()
    );
    let changes = ask(&mut c, TransactionRequest::Commit { begin_again: true });
    assert!(matches!(
        changes[..],
        [EnvChange::TransactionCommitted(_), EnvChange::TransactionBegun(_)]
    ));
    c.ok("INSERT t VALUES (3)");
    ask(&mut c, TransactionRequest::Rollback { savepoint: String::new(), begin_again: false });
    assert_eq!(c.rows("SELECT id FROM t"), ["1"]);
    assert_eq!(c.eval("@@TRANCOUNT"), "0");
}

#[test]
fn backups_restore() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY); INSERT t VALUES (1)");
    c.ok("BACKUP DATABASE shop TO DISK = 'shop.bak' WITH INIT");
    c.ok("INSERT t VALUES (2)");
    let mut master = server.connect_to("master");
    assert_eq!(master.error("RESTORE DATABASE shop FROM DISK = 'shop.bak'"), 3159);
    master.ok("RESTORE DATABASE shop FROM DISK = N'shop.bak' WITH REPLACE");
    assert_eq!(c.rows("SELECT id FROM t"), ["1"]);
    master.ok("EXEC sp_configure 'max text repl size', -1; RECONFIGURE");
}

/// Rows stream: a client may stop in the middle.
#[test]
fn rows_stream() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY)");
    c.ok("DECLARE @i int = 0; BEGIN TRAN; WHILE @i < 1000 BEGIN INSERT t VALUES (@i); SET @i += 1 END; COMMIT");
    let mut kept = super::fixture::Kept { cancel_at: Some(10), ..Default::default() };
    let sql = "SELECT a.id FROM t a CROSS JOIN t b CROSS JOIN t c CROSS JOIN t d";
    assert!(c.session.execute(Request::Batch(sql.into()), &mut kept).is_err());
    assert_eq!(kept.rows.len(), 10);
    let kept = c.call(
        "SELECT TOP (@n) id FROM t WHERE id > @from ORDER BY id",
        vec![
            param("@n", SqlType::Int, Value::Int(2)),
            param("@from", SqlType::BigInt, Value::BigInt(500)),
        ],
    );
    assert_eq!(kept.rows, ["501", "502"]);
}

/// Long chains must not exhaust the stack of the thread that runs them.
#[test]
fn long_statements() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY); INSERT t VALUES (1), (2), (3)");
    let chain = |word: &str, op: &str, count: usize| {
        let terms: Vec<String> = (0..count).map(|n| format!("id {op} {}", n + 2)).collect();
        format!("SELECT id FROM t WHERE {} ORDER BY id", terms.join(word))
    };
    assert_eq!(c.rows(&chain(" OR ", "=", 20_000)), ["2", "3"]);
    assert_eq!(c.rows(&chain(" AND ", "<>", 20_000)), ["1"]);
    let sum = format!("SELECT {}", vec!["1"; 200].join("+"));
    assert_eq!(c.rows(&sum), ["200"]);
    let sum = format!("SELECT {}", vec!["1"; 100_000].join("+"));
    assert_eq!(c.error(&sum), 191);
    let union = format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(100_000));
    assert_eq!(c.error(&union), 191);
    let nested = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(c.error(&nested), 191);
    let signs = format!("SELECT {}1", "- ".repeat(100_000));
    assert_eq!(c.error(&signs), 191);
}
