//! T-SQL cursors.

use super::fixture::server;

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
