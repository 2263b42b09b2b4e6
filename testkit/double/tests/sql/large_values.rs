//! MAX values changed in part, text pointers, and transactions that the Log Reader Agent divides: what
//! is done, and what capture may make of it.

use super::fixture::{Client, Fixture, server};

fn captured() -> (Fixture, Client) {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a varchar(max) NULL, n nvarchar(max) NULL, b varbinary(max) NULL, x text NULL, v int NULL)");
    c.ok("EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL; EXEC sys.sp_cdc_stop_job 'capture'");
    c.ok("INSERT t VALUES (1, 'abcdef', N'abcdef', 0x010203, 'some text', 0)");
    c.ok("EXEC sys.sp_cdc_scan");
    (server, c)
}

#[test]
fn write_changes_a_value_in_part() {
    let (_server, mut c) = captured();
    c.ok("UPDATE t SET a.WRITE('XY', 2, 3), n.WRITE(N'!', NULL, 0), b.WRITE(0xFF, 1, NULL), v = 1 WHERE id = 1");
    assert_eq!(c.rows("SELECT a, n, b, v FROM t"), ["abXYf|abcdef!|0x01FF|1"]);
    c.ok("UPDATE t SET a.WRITE(NULL, 2, 0), n.WRITE(N'', 0, 3)");
    assert_eq!(c.rows("SELECT a, n FROM t"), ["ab|def!"]);
    c.ok("DECLARE @p varchar(max) = 'head '; UPDATE x SET a.WRITE(@p, 0, 0) FROM t AS x WHERE x.id = 1");
    assert_eq!(c.rows("SELECT a FROM t"), ["head ab"]);
    assert_eq!(c.error("UPDATE t SET v.WRITE(1, 0, 0)"), 8141);
    assert_eq!(c.error("UPDATE t SET a = NULL; UPDATE t SET a.WRITE('x', 0, 0)"), 102);
}

#[test]
fn capture_of_a_part_is_what_the_switch_says() {
    let (_server, mut c) = captured();
    // Before-image, after-image and mask; the mask's bits are 2 for a, 32 for v.
    let cases = [
        ("full", vec!["3|0x02|abcdef|0", "4|0x02|abXf|0"]),
        ("null", vec!["3|0x02|NULL|0", "4|0x02|NULL|0"]),
        ("piece", vec!["3|0x02|NULL|0", "4|0x02|X|0"]),
        ("unmarked", vec!["3|0x00|NULL|0", "4|0x00|abXf|0"]),
        ("unmarked_null", vec!["3|0x00|NULL|0", "4|0x00|NULL|0"]),
        ("lost", vec![]),
    ];
    for (switch, wanted) in cases {
        c.ok(&format!("EXEC [double].set_fault 'max_write', '{switch}'"));
        c.ok("UPDATE t SET a = 'abcdef', v = 0 WHERE id = 1; EXEC sys.sp_cdc_scan");
        c.ok("DECLARE @last binary(10) = sys.fn_cdc_get_max_lsn(); UPDATE t SET a.WRITE('X', 2, 3) WHERE id = 1; EXEC sys.sp_cdc_scan; SELECT @last AS l INTO #last");
        let rows = c.rows("SELECT __$operation, __$update_mask, a, v FROM cdc.dbo_t_CT WHERE __$start_lsn > (SELECT l FROM #last) ORDER BY __$operation");
        assert_eq!(rows, wanted, "{switch}");
        c.ok("DROP TABLE #last");
    }
    // Another column that is set is captured whatever becomes of the part.
    c.ok("UPDATE t SET a.WRITE('Y', 0, 0), v = 9 WHERE id = 1; EXEC sys.sp_cdc_scan");
    assert_eq!(
        c.rows("SELECT __$operation, __$update_mask FROM cdc.dbo_t_CT WHERE v = 9"),
        ["4|0x20"]
    );
}

#[test]
fn key_updates_may_lack_large_values_that_were_not_touched() {
    let (_server, mut c) = captured();
    c.ok("UPDATE t SET a = REPLICATE(CAST('x' AS varchar(max)), 9000), n = N'short' WHERE id = 1; EXEC sys.sp_cdc_scan");
    let inserted = "SELECT DATALENGTH(a), n FROM cdc.dbo_t_CT WHERE __$operation = 2 AND id = ";
    c.ok("UPDATE t SET id = 2; EXEC sys.sp_cdc_scan");
    assert_eq!(c.rows(&format!("{inserted} 2")), ["9000|short"]);
    c.ok("EXEC [double].set_fault 'key_update_max_null', 'on'");
    c.ok("UPDATE t SET id = 3; EXEC sys.sp_cdc_scan");
    assert_eq!(c.rows(&format!("{inserted} 3")), ["NULL|short"]);
    // A value that is set is there.
    c.ok(
        "UPDATE t SET id = 4, a = REPLICATE(CAST('y' AS varchar(max)), 9000); EXEC sys.sp_cdc_scan",
    );
    assert_eq!(c.rows(&format!("{inserted} 4")), ["9000|short"]);
}

#[test]
fn text_is_written_through_pointers_and_not_captured() {
    let (_server, mut c) = captured();
    c.ok("INSERT t (id, x) VALUES (2, NULL); EXEC sys.sp_cdc_scan");
    let before = c.value("SELECT COUNT(*) FROM cdc.dbo_t_CT");
    c.ok("DECLARE @p varbinary(16); SELECT @p = TEXTPTR(x) FROM t WHERE id = 1; WRITETEXT t.x @p 'other text'");
    assert_eq!(c.value("SELECT x FROM t WHERE id = 1"), "other text");
    c.ok("DECLARE @p varbinary(16); SELECT @p = TEXTPTR(x) FROM dbo.t WHERE id = 1; UPDATETEXT dbo.t.x @p 0 5 WITH LOG 'more'; UPDATETEXT dbo.t.x @p NULL 0 '!'");
    assert_eq!(c.value("SELECT x FROM t WHERE id = 1"), "more text!");
    c.ok("DECLARE @p varbinary(16); SELECT @p = TEXTPTR(x) FROM dbo.t WHERE id = 1; UPDATETEXT dbo.t.x @p 4 5");
    assert_eq!(c.value("SELECT x FROM t WHERE id = 1"), "more!");
    c.ok("EXEC sys.sp_cdc_scan");
    assert_eq!(c.value("SELECT COUNT(*) FROM cdc.dbo_t_CT"), before);
    assert_eq!(c.rows("SELECT TEXTPTR(x) FROM t WHERE id = 2"), ["NULL"]);
    assert_eq!(c.error("WRITETEXT t.x 0x00 'x'"), 7123);
    assert_eq!(c.error("SELECT TEXTPTR(a) FROM t"), 102);
}

#[test]
fn transactions_are_divided_in_published_databases() {
    let (_server, mut c) = captured();
    let published = "SELECT is_published FROM sys.databases WHERE name = DB_NAME()";
    assert_eq!(c.value(published), "0");
    c.ok("EXEC [double].set_fault 'split_transactions', 'same,2'");
    c.ok("INSERT t (id) VALUES (10), (11), (12); EXEC sys.sp_cdc_scan");
    assert_eq!(c.value("SELECT COUNT(*) FROM cdc.dbo_t_CT WHERE id >= 10"), "3");
    c.ok("EXEC sp_replicationdboption N'shop', N'publish', N'true'");
    assert_eq!(c.value(published), "1");
    // All parts have the commit's LSN: rows come under one that was to be seen before.
    c.ok("INSERT t (id) VALUES (20), (21), (22)");
    let scan = "EXEC sys.sp_cdc_scan @maxtrans = 1, @maxscans = 1";
    let rows = "SELECT id, __$command_id, CASE WHEN __$start_lsn = sys.fn_cdc_get_max_lsn() THEN 1 ELSE 0 END FROM cdc.dbo_t_CT WHERE id BETWEEN 20 AND 39 ORDER BY id";
    c.ok(scan);
    assert_eq!(c.rows(rows), ["20|1|1", "21|2|1"]);
    c.ok(scan);
    assert_eq!(c.rows(rows), ["20|1|1", "21|2|1", "22|3|1"]);
    // Each part has an LSN of its own.
    c.ok("EXEC [double].set_fault 'split_transactions', 'own,2'; INSERT t (id) VALUES (30), (31), (32)");
    c.ok(scan);
    c.ok(scan);
    assert_eq!(
        c.value("SELECT COUNT(DISTINCT __$start_lsn) FROM cdc.dbo_t_CT WHERE id BETWEEN 30 AND 39"),
        "2"
    );
    assert_eq!(
        c.value("SELECT COUNT(*) FROM cdc.lsn_time_mapping m WHERE m.start_lsn IN (SELECT __$start_lsn FROM cdc.dbo_t_CT WHERE id BETWEEN 30 AND 39)"),
        "2"
    );
    c.ok("INSERT t (id) VALUES (40)");
    c.ok(scan);
    assert_eq!(c.value("SELECT COUNT(*) FROM cdc.dbo_t_CT WHERE id = 40"), "1");
}
