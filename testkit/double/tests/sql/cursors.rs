//! Cursors of T-SQL and of clients.

use mssql_double::{Param, Request, SqlType, Value};

use super::fixture::{Client, Kept, server};

#[test]
fn a_script_walks_over_rows() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a varchar(5)); INSERT t VALUES (1, 'x'), (2, 'y'), (3, NULL)");
    let kept = c.ok("SET NOCOUNT ON;
        DECLARE @least int = 2, @id int, @a varchar(5), @all varchar(100) = '';
        DECLARE walk CURSOR LOCAL FAST_FORWARD FOR SELECT id, a FROM t WHERE id >= @least ORDER BY id;
        SET @least = 99;
        OPEN walk;
        FETCH NEXT FROM walk INTO @id, @a;
        WHILE @@FETCH_STATUS = 0
        BEGIN
            SET @all += CONCAT(@id, ISNULL(@a, '-'), ';');
            FETCH NEXT FROM walk INTO @id, @a;
        END;
        CLOSE walk;
        DEALLOCATE walk;
        SELECT @all, @@FETCH_STATUS, @id");
    assert_eq!(kept.rows, ["2y;3-;|-1|3"]);
}

#[test]
fn cursors_scroll_and_live_in_their_scopes() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY); INSERT t VALUES (1), (2), (3), (4)");
    c.ok("DECLARE c SCROLL CURSOR STATIC FOR SELECT id FROM t ORDER BY id FOR READ ONLY; OPEN c");
    assert_eq!(c.value("SELECT @@CURSOR_ROWS"), "4");
    // What a static cursor has, it keeps.
    c.ok("DELETE t WHERE id = 2");
    assert_eq!(
        c.rows("FETCH LAST FROM c; FETCH PRIOR FROM c; FETCH ABSOLUTE 2 FROM c; FETCH RELATIVE -1 FROM c; FETCH ABSOLUTE -1 FROM c; FETCH FIRST FROM c; FETCH c"),
        ["4", "3", "2", "1", "4", "1", "2"]
    );
    assert!(c.rows("FETCH ABSOLUTE 9 FROM c").is_empty());
    assert_eq!(c.value("SELECT @@FETCH_STATUS"), "-1");
    assert_eq!(c.value("FETCH PRIOR FROM c"), "4");
    assert_eq!(c.eval("CURSOR_STATUS('global', 'c')"), "1");
    assert_eq!(c.error("OPEN c"), 16905);
    assert_eq!(c.error("DECLARE c CURSOR FOR SELECT 1 AS a"), 16915);
    c.ok("CLOSE c");
    assert_eq!(c.eval("CURSOR_STATUS('global', 'c')"), "-1");
    assert_eq!(c.error("FETCH c"), 16917);
    c.ok("DEALLOCATE c");
    assert_eq!(c.eval("CURSOR_STATUS('global', 'c')"), "-3");
    assert_eq!(c.error("OPEN c"), 16916);
    c.ok("DECLARE l CURSOR LOCAL FOR SELECT id FROM t; OPEN l; FETCH l");
    assert_eq!(c.error("FETCH l"), 16916);
}

#[test]
fn what_would_follow_changes_is_refused() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int); CREATE TABLE other (id int); INSERT t VALUES (1), (2)");
    c.ok("DECLARE c CURSOR FOR SELECT id FROM t; OPEN c; FETCH c");
    c.ok("INSERT other VALUES (1)");
    c.ok("FETCH c");
    c.ok("UPDATE t SET id = 5");
    assert_eq!(c.error("FETCH c"), 102);
    c.ok("CLOSE c; OPEN c");
    assert_eq!(c.rows("FETCH c"), ["5"]);
    c.ok("BEGIN TRAN; ROLLBACK");
    assert_eq!(c.error("FETCH c"), 16917);
    for (sql, number) in [
        ("DECLARE d CURSOR DYNAMIC FOR SELECT id FROM t", 102),
        ("DECLARE d CURSOR KEYSET FOR SELECT id FROM t", 102),
        ("DECLARE d CURSOR FOR SELECT id FROM t FOR UPDATE", 102),
        ("DECLARE d CURSOR FOR SELECT id FROM nosuch", 208),
        ("DECLARE d CURSOR FOR SELECT id FROM t; OPEN d; FETCH FIRST FROM d", 16911),
        ("DECLARE @a int, @b int; FETCH d INTO @a, @b", 16924),
        ("DECLARE @c CURSOR", 102),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("SET CURSOR_CLOSE_ON_COMMIT ON; DECLARE s CURSOR STATIC FOR SELECT id FROM t; OPEN s");
    c.ok("BEGIN TRAN; FETCH s; COMMIT");
    assert_eq!(c.error("FETCH s"), 16917);
    c.ok("SET CURSOR_CLOSE_ON_COMMIT OFF; OPEN s; BEGIN TRAN; COMMIT; FETCH s");
    c.session.reset(false);
    assert_eq!(c.error("OPEN c"), 16916);
}

#[test]
fn cursors_close_with_their_transaction_where_told() {
    let server = server();
    let mut c = server.connect();
    c.ok("DECLARE c CURSOR STATIC FOR SELECT 1 AS a; BEGIN TRAN; OPEN c; COMMIT");
    assert_eq!(c.eval("CURSOR_STATUS('global', 'c')"), "1");
    c.ok("SET CURSOR_CLOSE_ON_COMMIT ON; BEGIN TRAN; COMMIT");
    assert_eq!(c.eval("CURSOR_STATUS('global', 'c')"), "-1");
    c.ok("BEGIN TRAN; OPEN c; ROLLBACK");
    assert_eq!(c.eval("CURSOR_STATUS('global', 'c')"), "-1");
    c.ok("SET CURSOR_CLOSE_ON_COMMIT OFF; BEGIN TRAN; OPEN c; ROLLBACK");
    assert_eq!(c.eval("CURSOR_STATUS('global', 'c')"), "1");
}

/// Calls a procedure as a client does; integers and one text.
fn call(c: &mut Client, name: &str, arguments: &[Value]) -> Kept {
    let mut kept = Kept::default();
    let params = arguments
        .iter()
        .map(|value| Param {
            name: String::new(),
            ty: match value {
                Value::NString(_) => SqlType::NVarChar(None),
                _ => SqlType::Int,
            },
            value: value.clone(),
            output: *value == Value::Null,
        })
        .collect();
    let request = Request::Procedure { name: name.to_owned(), params };
    c.session.execute(request, &mut kept).expect("not cancelled");
    kept
}

#[test]
fn server_cursors_go_to_blocks() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY); INSERT t VALUES (1), (2), (3), (4), (5), (6), (7)");
    let open = |c: &mut Client, sql: &str, scroll: i32| {
        let arguments =
            [Value::Null, Value::text(sql), Value::Int(scroll), Value::Int(0x2001), Value::Null];
        call(c, "sp_cursoropen", &arguments)
    };
    let opened = open(&mut c, "SELECT id FROM t ORDER BY id", 8);
    let names: Vec<&str> = opened.columns[0].iter().map(|column| column.name.as_str()).collect();
    assert_eq!((names, opened.rows.len(), opened.status), (vec!["id", "ROWSTAT"], 0, Some(0)));
    let [handle, count] = &opened.values[..] else { panic!("two values: {opened:?}") };
    assert_eq!(count.value, Value::Int(7));
    let handle = handle.value.clone();
    let mut fetch = |kind: i32, number: i32, rows: i32| {
        let arguments = [handle.clone(), Value::Int(kind), Value::Int(number), Value::Int(rows)];
        let kept = call(&mut c, "sp_cursorfetch", &arguments);
        assert!(kept.messages.is_empty(), "{:?}", kept.messages);
        (kept.rows.join(" "), kept.status.unwrap_or(-1))
    };
    let block = |rows: &str, status: i32| (rows.to_owned(), status);
    assert_eq!(fetch(2, 0, 3), block("1|1 2|1 3|1", 0));
    assert_eq!(fetch(2, 0, 3), block("4|1 5|1 6|1", 0));
    assert_eq!(fetch(0x80, 0, 0), block("4|1 5|1 6|1", 0));
    assert_eq!(fetch(0x200, 0, 2), block("2|1 3|1", 0));
    assert_eq!(fetch(0x200, 0, 2), block("1|1", 0));
    assert_eq!(fetch(0x200, 0, 2), block("", 0));
    assert_eq!(fetch(2, 0, 2), block("1|1 2|1", 0));
    assert_eq!(fetch(0x10, 6, 5), block("6|1 7|1", 0));
    assert_eq!(fetch(2, 0, 5), block("", 0));
    assert_eq!(fetch(0x20, -2, 1), block("6|1", 0));
    assert_eq!(fetch(0x20, -9, 2), block("1|1 2|1", 2), "it would have stood before the first row");
    assert_eq!(fetch(0x10, -1, 1), block("7|1", 0));
    assert_eq!(fetch(8, 0, 2), block("6|1 7|1", 0));
    assert_eq!(fetch(1, 0, 0), block("", 0));
    assert_eq!(fetch(2, 0, 1), block("1|1", 0));
    assert_eq!(fetch(8, 0, 0), block("", 0));
    assert_eq!(fetch(0x200, 0, 1), block("7|1", 0));
    assert_eq!(call(&mut c, "sp_cursorclose", std::slice::from_ref(&handle)).status, Some(0));
    let gone = call(&mut c, "sp_cursorclose", &[handle]);
    assert_eq!(gone.messages[0].number, 16909);

    let opened = open(&mut c, "SELECT id FROM t", 16);
    assert_eq!(opened.values[1].value, Value::Int(-1));
    let handle = opened.values[0].value.clone();
    c.ok("DELETE t WHERE id = 7");
    let stale = call(&mut c, "sp_cursorfetch", &[handle, Value::Int(2)]);
    assert_eq!(stale.messages[0].number, 102);
    let direct = open(&mut c, "DELETE t WHERE id = 6", 8);
    assert_eq!((direct.messages[0].number, direct.counts), (16954, vec![Some(1)]));
    let updatable =
        [Value::Null, Value::text("SELECT id FROM t"), Value::Int(1), Value::Int(0x4004)];
    assert_eq!(call(&mut c, "sp_cursoropen", &updatable).messages[0].number, 102);
}
