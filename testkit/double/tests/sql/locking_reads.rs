//! READ COMMITTED without row versions, hints of indexes, and plans that read another index.

use super::fixture::{Client, Fixture, server};

/// A database whose readers lock.
fn locking() -> (Fixture, Client) {
    let server = server();
    let mut c = server.connect();
    assert_eq!(versions(&mut c), "1");
    c.ok("ALTER DATABASE shop SET READ_COMMITTED_SNAPSHOT OFF WITH ROLLBACK IMMEDIATE");
    assert_eq!(versions(&mut c), "0");
    c.ok("CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL, note nvarchar(max) NULL, INDEX_KEY int NOT NULL)");
    c.ok("CREATE INDEX by_v ON t (v)");
    c.ok("INSERT t VALUES (1, 10, NULL, 1), (2, 20, N'two', 2), (3, 30, NULL, 3)");
    (server, c)
}

fn versions(c: &mut Client) -> String {
    c.value("SELECT is_read_committed_snapshot_on FROM sys.databases WHERE name = 'shop'")
}

#[test]
fn readers_wait_for_writers_and_writers_do_not_wait_for_rows_that_were_read() {
    let (server, mut writer) = locking();
    let mut reader = server.connect();
    writer.ok("BEGIN TRAN; UPDATE t SET v = 21 WHERE id = 2");
    reader.ok("SET LOCK_TIMEOUT 0");
    assert_eq!(reader.error("SELECT v FROM t"), 1222);
    assert_eq!(reader.rows("SELECT v FROM t WHERE id = 1"), ["10"]);
    assert_eq!(reader.rows("SELECT v FROM t WITH (NOLOCK) WHERE id = 2"), ["21"]);
    reader.ok("SET TRANSACTION ISOLATION LEVEL SNAPSHOT");
    assert_eq!(reader.rows("SELECT v FROM t WHERE id = 2"), ["20"]);
    reader.ok("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCK_TIMEOUT -1");
    // It waits, and sees what was committed.
    let waiting = reader.spawn("SELECT v FROM t");
    writer.ok("COMMIT");
    let (mut reader, kept) = waiting.finish();
    assert_eq!(kept.rows, ["10", "21", "30"]);
    // In a transaction, too, a row that was read is not locked any more.
    reader.ok("BEGIN TRAN");
    assert_eq!(reader.value("SELECT COUNT(*) FROM t WHERE note IS NOT NULL"), "1");
    writer.ok("SET LOCK_TIMEOUT 0; UPDATE t SET v = 22 WHERE id = 2");
    reader.ok("ROLLBACK");
    // An insert or delete that is not committed is waited for as well.
    writer.ok("BEGIN TRAN; DELETE t WHERE id = 3");
    reader.ok("SET LOCK_TIMEOUT 0");
    assert_eq!(reader.error("SELECT COUNT(*) FROM t"), 1222);
    writer.ok("ROLLBACK; ALTER DATABASE shop SET READ_COMMITTED_SNAPSHOT ON");
    assert_eq!(versions(&mut writer), "1");
    writer.ok("BEGIN TRAN; DELETE t WHERE id = 3");
    assert_eq!(reader.value("SELECT COUNT(*) FROM t"), "3");
    // The hint asks for locks where rows have versions.
    assert_eq!(reader.error("SELECT COUNT(*) FROM t WITH (READCOMMITTEDLOCK)"), 1222);
}

/// A reader that stands at row `id` until it is let go on: it waits for a row that another session
/// has locked.
fn stopped(
    server: &Fixture,
    query: &'static str,
    table: &str,
    id: i32,
) -> (Client, super::fixture::Running) {
    let mut holder = server.connect();
    holder.ok(&format!("BEGIN TRAN; UPDATE {table} SET v = v WHERE id = {id}"));
    let reader = server.connect();
    let running = reader.spawn(query);
    let database = server.server.storage().database("shop").expect("it is there");
    while database.blocked().is_empty() {
        std::thread::yield_now();
    }
    (holder, running)
}

#[test]
fn locks_of_rows_with_large_values_stay_to_the_end_of_the_statement() {
    let (server, mut writer) = locking();
    writer.ok("SET LOCK_TIMEOUT 0");
    let (mut holder, running) = stopped(&server, "SELECT id, note FROM t", "t", 3);
    writer.ok("UPDATE t SET v = 11 WHERE id = 1");
    assert_eq!(writer.error("UPDATE t SET v = 21 WHERE id = 2"), 1222);
    holder.ok("COMMIT");
    assert_eq!(running.finish().1.rows, ["1|NULL", "2|two", "3|NULL"]);
    // Not where the value is not read.
    let (mut holder, running) = stopped(&server, "SELECT id, v FROM t", "t", 3);
    writer.ok("UPDATE t SET INDEX_KEY = 21 WHERE id = 2");
    holder.ok("COMMIT");
    running.finish();
}

#[test]
fn many_kept_locks_become_one_on_the_table() {
    let (server, mut writer) = locking();
    writer.ok("DECLARE @i int = 10; WHILE @i < 5012 BEGIN INSERT t VALUES (@i, @i, N'x', @i); SET @i += 1 END; SET LOCK_TIMEOUT 0");
    writer.ok("CREATE TABLE u (id int PRIMARY KEY, v int); INSERT u VALUES (1, 1)");
    // The reader has read all of t when it waits for u. 4,999 rows with a value: others are free.
    let both = "SELECT id, note FROM t WHERE id < 5008 UNION ALL SELECT id, NULL FROM u";
    let (mut holder, running) = stopped(&server, both, "u", 1);
    writer.ok("UPDATE t SET v = 11 WHERE id = 1");
    holder.ok("COMMIT");
    running.finish();
    // From 5,000 on nobody writes any row.
    let both = "SELECT id, note FROM t UNION ALL SELECT id, NULL FROM u";
    let (mut holder, running) = stopped(&server, both, "u", 1);
    assert_eq!(writer.error("UPDATE t SET v = 11 WHERE id = 1"), 1222);
    assert_eq!(writer.error("INSERT t VALUES (9000, 1, NULL, 1)"), 1222);
    holder.ok("COMMIT");
    let (mut reader, kept) = running.finish();
    assert_eq!(kept.rows.len(), 5006);
    writer.ok("UPDATE t SET v = 12 WHERE id = 1");
    // A writer's own 5,000 rows lock the table for everybody else.
    writer.ok("BEGIN TRAN; UPDATE t SET INDEX_KEY = 0 WHERE id >= 10");
    reader.ok("SET LOCK_TIMEOUT 0");
    assert_eq!(reader.error("SELECT v FROM t WHERE id = 1"), 1222);
    assert_eq!(reader.error("UPDATE t SET v = 1 WHERE id = 1"), 1222);
    writer.ok("ROLLBACK");
    assert_eq!(reader.rows("SELECT v FROM t WHERE id = 1"), ["12"]);
}

#[test]
fn rows_that_move_during_a_scan_are_missed_or_met_twice_unless_the_key_is_read() {
    let (server, mut c) = locking();
    c.ok("EXEC [double].set_fault 'covering_scan', 'on'");
    let mut moving = |query: &'static str, change: &str| {
        c.ok("DELETE t; INSERT t VALUES (1, 10, NULL, 1), (2, 20, NULL, 2), (3, 30, NULL, 3)");
        let (mut holder, running) = stopped(&server, query, "t", 2);
        c.ok(change);
        holder.ok("COMMIT");
        running.finish().1.rows
    };
    // The index over v is read, which has the key, too: the row moves behind the scan.
    let scan = "SELECT id FROM t WHERE id > 0 ORDER BY id";
    assert_eq!(moving(scan, "UPDATE t SET v = 5 WHERE id = 3"), ["1", "2"]);
    assert_eq!(moving(scan, "UPDATE t SET v = 50 WHERE id = 1"), ["1", "1", "2", "3"]);
    let hinted = "SELECT id FROM t WITH (INDEX(1)) WHERE id > 0 ORDER BY id";
    assert_eq!(moving(hinted, "UPDATE t SET v = 5 WHERE id = 3"), ["1", "2", "3"]);
    let sought = "SELECT id FROM t WITH (FORCESEEK) WHERE id > 0 ORDER BY id";
    assert_eq!(moving(sought, "UPDATE t SET v = 50 WHERE id = 1"), ["1", "2", "3"]);
    // An index that lacks a column is not read.
    let wide = "SELECT id FROM t WHERE id > 0 AND INDEX_KEY > 0 ORDER BY id";
    assert_eq!(moving(wide, "UPDATE t SET v = 5 WHERE id = 3"), ["1", "2", "3"]);
}

#[test]
fn hints_name_indexes() {
    let (_server, mut c) = locking();
    for hint in ["INDEX(by_v)", "INDEX = by_v", "INDEX = (2)", "INDEX(0)", "FORCESEEK (by_v (v))"] {
        let query = format!("SELECT id FROM t WITH ({hint}, NOLOCK) WHERE v >= 20 ORDER BY id");
        assert_eq!(c.rows(&query), ["2", "3"], "{hint}");
    }
    assert_eq!(c.error("SELECT id FROM t WITH (INDEX(nothing))"), 308);
    assert_eq!(c.error("SELECT id FROM t WITH (INDEX(7))"), 308);
    assert_eq!(c.error("SELECT id FROM t WITH (FORCESEEK)"), 8622);
    assert_eq!(c.error("SELECT id FROM t WITH (FORCESEEK (by_v (v))) WHERE id = 1"), 8622);
}

#[test]
fn new_databases_have_the_option_of_model() {
    let (_server, mut c) = locking();
    c.ok("ALTER DATABASE model SET READ_COMMITTED_SNAPSHOT OFF");
    c.ok("CREATE DATABASE boxed");
    assert_eq!(
        c.value("SELECT is_read_committed_snapshot_on FROM sys.databases WHERE name = 'boxed'"),
        "0"
    );
}
