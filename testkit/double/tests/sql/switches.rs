//! What tests of a reader set going: SWITCH, compatibility levels, scans that stay open, old images
//! without a value, a forced failover with loss.

use super::fixture::{Client, Fixture, server};

fn captured() -> (Fixture, Client) {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int NOT NULL PRIMARY KEY, v varchar(10) NOT NULL)");
    c.ok("EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL; EXEC sys.sp_cdc_stop_job 'capture'");
    c.ok("INSERT t VALUES (1, 'one'), (2, 'two'); EXEC sys.sp_cdc_scan");
    (server, c)
}

#[test]
fn switch_moves_rows_and_capture_sees_nothing() {
    let (_server, mut c) = captured();
    let changes = "SELECT COUNT(*) FROM cdc.dbo_t_CT";
    let counts = "SELECT OBJECT_NAME(object_id), row_count FROM sys.dm_db_partition_stats WHERE object_id IN (OBJECT_ID('t'), OBJECT_ID('other')) ORDER BY 1";
    c.ok("CREATE TABLE other (id int NOT NULL PRIMARY KEY, v varchar(10) NOT NULL)");
    assert_eq!(c.rows(counts), ["other|0", "t|2"]);
    let before = c.value(changes);
    c.ok("BEGIN TRAN; ALTER TABLE t SWITCH TO other; ROLLBACK");
    assert_eq!(c.rows(counts), ["other|0", "t|2"]);
    c.ok("ALTER TABLE t SWITCH TO dbo.other");
    assert_eq!(c.rows("SELECT * FROM other ORDER BY id"), ["1|one", "2|two"]);
    assert_eq!(c.rows(counts), ["other|2", "t|0"]);
    c.ok("INSERT t VALUES (3, 'three'); EXEC sys.sp_cdc_scan");
    assert_eq!(c.error("ALTER TABLE other SWITCH TO t"), 4905);
    c.ok("DELETE t; EXEC sys.sp_cdc_scan; ALTER TABLE other SWITCH TO t; UPDATE t SET v = 'new' WHERE id = 2; EXEC sys.sp_cdc_scan");
    assert_eq!(c.rows("SELECT * FROM t ORDER BY id"), ["1|one", "2|new"]);
    let after: i32 = c.value(changes).parse().expect("a number");
    assert_eq!(after, before.parse::<i32>().expect("a number") + 4);
    for (columns, number) in [
        ("id int NOT NULL PRIMARY KEY", 4943),
        ("id int NOT NULL PRIMARY KEY, w varchar(10) NOT NULL", 4957),
        ("id int NOT NULL PRIMARY KEY, v varchar(11) NOT NULL", 4944),
        ("id int NOT NULL PRIMARY KEY, v varchar(10) NOT NULL UNIQUE", 4947),
    ] {
        c.ok(&format!("CREATE TABLE misfit ({columns})"));
        assert_eq!(c.error("ALTER TABLE t SWITCH TO misfit"), number);
        c.ok("DROP TABLE misfit");
    }
    c.ok("CREATE TABLE child (id int REFERENCES t (id)); CREATE TABLE third (id int NOT NULL PRIMARY KEY, v varchar(10) NOT NULL)");
    assert_eq!(c.error("ALTER TABLE t SWITCH TO third"), 4967);
    // The setting means nothing for a table that is not partitioned.
    let kept = c.run("EXEC sys.sp_cdc_enable_table 'dbo', 'third', @role_name = NULL, @allow_partition_switch = 0");
    assert_eq!(kept.messages.iter().map(|m| m.number).filter(|n| *n == 22857).count(), 1);
    assert_eq!(c.rows("SELECT DISTINCT partition_switch FROM cdc.change_tables"), ["1"]);
}

#[test]
fn row_counts_need_a_permission() {
    let (_server, mut c) = captured();
    c.ok(
        "CREATE USER reader WITHOUT LOGIN; GRANT SELECT ON t TO reader; EXECUTE AS USER = 'reader'",
    );
    assert_eq!(c.error("SELECT row_count FROM sys.dm_db_partition_stats"), 262);
    c.ok("REVERT; GRANT VIEW DATABASE STATE TO reader; EXECUTE AS USER = 'reader'");
    assert_eq!(
        c.rows("SELECT row_count FROM sys.dm_db_partition_stats WHERE object_id = OBJECT_ID('t')"),
        ["2"]
    );
}

#[test]
fn compatibility_levels_know_fewer_functions() {
    let (_server, mut c) = captured();
    let level = "SELECT compatibility_level FROM sys.databases WHERE name = 'shop'";
    assert_eq!(c.value(level), "160");
    assert_eq!(c.eval("TRY_CONVERT(int, 'x')"), "NULL");
    c.ok("ALTER DATABASE shop SET COMPATIBILITY_LEVEL = 100");
    assert_eq!(c.value(level), "100");
    assert_eq!(c.error("SELECT TRY_CONVERT(int, 'x')"), 195);
    assert_eq!(c.eval("TRY_CAST('x' AS int)"), "NULL");
    assert_eq!(c.eval("CONVERT(int, '1')"), "1");
    // Thirds of a hundredth are seen from level 130 on.
    let digits = "CONVERT(varchar(30), CAST(CAST('2024-01-02T03:04:05.003' AS datetime) AS datetime2(7)), 121)";
    assert_eq!(c.eval(digits), "2024-01-02 03:04:05.0030000");
    c.ok("ALTER DATABASE shop SET COMPATIBILITY_LEVEL = 130");
    assert_eq!(c.eval(digits), "2024-01-02 03:04:05.0033333");
    c.ok("ALTER DATABASE CURRENT SET COMPATIBILITY_LEVEL = 110");
    assert_eq!(c.eval("TRY_CONVERT(int, '7')"), "7");
    assert_eq!(c.error("ALTER DATABASE shop SET COMPATIBILITY_LEVEL = 90"), 15048);
    assert_eq!(c.error("ALTER DATABASE shop SET COMPATIBILITY_LEVEL = 170"), 15048);
}

#[test]
fn scans_stay_open_as_long_as_they_are_told_to() {
    let (server, mut c) = captured();
    c.ok("ALTER DATABASE shop SET READ_COMMITTED_SNAPSHOT OFF; EXEC [double].set_fault 'scan_open', 'on'");
    c.ok("INSERT t VALUES (5, 'five')");
    let scanning = server.connect().spawn("EXEC sys.sp_cdc_scan");
    let mut reader = server.connect();
    reader.ok("SET LOCK_TIMEOUT 0");
    // The reader of commits waits for the scan's rows.
    let commits = "SELECT COUNT(*) FROM cdc.lsn_time_mapping";
    while reader.run(commits).messages.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(reader.error(commits), 1222);
    assert_eq!(reader.rows("SELECT COUNT(*) FROM cdc.dbo_t_CT WHERE id = 1"), ["1"]);
    c.ok("EXEC [double].set_fault 'scan_open', 'off'");
    scanning.finish();
    reader.ok(commits);
    assert_eq!(reader.value("SELECT COUNT(*) FROM cdc.dbo_t_CT WHERE id = 5"), "1");
}

#[test]
fn old_images_may_lack_a_value() {
    let (_server, mut c) = captured();
    c.ok("EXEC [double].set_fault 'null_in_old_image', 'v'");
    c.ok("UPDATE t SET v = 'x' WHERE id = 1; DELETE t WHERE id = 2; EXEC sys.sp_cdc_scan");
    assert_eq!(
        c.rows(
            "SELECT __$operation, id, v FROM cdc.dbo_t_CT WHERE __$operation <> 2 ORDER BY 1, 2"
        ),
        ["1|2|NULL", "3|1|NULL", "4|1|x"]
    );
    c.ok("EXEC [double].set_fault 'null_in_old_image', 'off'; DELETE t WHERE id = 1; EXEC sys.sp_cdc_scan");
    assert_eq!(c.rows("SELECT v FROM cdc.dbo_t_CT WHERE __$operation = 1 AND id = 1"), ["x"]);
}

#[test]
fn a_failover_loses_what_came_behind_its_mark() {
    let (server, mut c) = captured();
    let fork =
        "SELECT recovery_fork_guid FROM sys.database_recovery_status WHERE database_id = DB_ID()";
    let max = "SELECT sys.fn_cdc_get_max_lsn()";
    let (before, mark) = (c.value(fork), c.value(max));
    c.ok("EXEC [double].set_fault 'failover_mark'");
    c.ok("INSERT t VALUES (6, 'lost'); UPDATE t SET v = 'lost' WHERE id = 1; EXEC sys.sp_cdc_scan");
    let lost = c.value(max);
    assert!(lost > mark);
    let mut other = server.connect();
    other.ok("BEGIN TRAN; INSERT t VALUES (7, 'open')");
    c.ok("EXEC [double].set_fault 'failover'; EXEC [double].set_fault 'server_name', 'standby'; EXEC [double].set_fault 'clock_back', '3600'");
    assert_eq!(c.rows("SELECT * FROM t ORDER BY id"), ["1|one", "2|two"]);
    assert_eq!(c.rows("SELECT COUNT(*) FROM cdc.dbo_t_CT"), ["2"]);
    assert_eq!(c.value(max), mark);
    assert_ne!(c.value(fork), before);
    assert_eq!(
        c.value("SELECT CONCAT(@@SERVERNAME, CONVERT(sysname, SERVERPROPERTY('ServerName')))"),
        "STANDBYSTANDBY"
    );
    // What was open is gone, and the log goes on where LSNs have been before.
    assert_eq!(other.error("COMMIT"), 3902);
    // The job has come up with the database.
    c.ok("EXEC sys.sp_cdc_stop_job 'capture'; INSERT t VALUES (8, 'new'); EXEC sys.sp_cdc_scan");
    assert_eq!(c.value("SELECT COUNT(*) FROM cdc.dbo_t_CT WHERE id = 8"), "1");
    assert_eq!(c.rows("SELECT * FROM t ORDER BY id"), ["1|one", "2|two", "8|new"]);
    assert!(c.value("SELECT MIN(__$start_lsn) FROM cdc.dbo_t_CT WHERE id = 8") <= lost);
}
