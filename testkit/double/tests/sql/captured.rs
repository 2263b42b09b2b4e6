//! Captured tables through T-SQL: what DDL does to their instances, line by line as Microsoft
//! documents it and measurements have shown it; changes by MERGE; the fault switches.

use super::fixture::{Client, Fixture, server};

/// A database with change data capture whose log is scanned only when a test says so.
fn captured() -> (Fixture, Client) {
    let fixture = server();
    let mut c = fixture.connect();
    c.ok("EXEC [double].set_fault 'agent', 'off'; EXEC sys.sp_cdc_enable_db");
    c.ok("CREATE TABLE t (k int NOT NULL CONSTRAINT pk_t PRIMARY KEY, v varchar(10) NULL, n int NULL)");
    (fixture, c)
}

fn enable(c: &mut Client, table: &str, instance: &str) {
    c.ok(&format!(
        "EXEC sys.sp_cdc_enable_table @source_schema = 'dbo', @source_name = '{table}', @role_name = NULL, @capture_instance = '{instance}'"
    ));
}

fn scan(c: &mut Client) {
    c.ok("EXEC sys.sp_cdc_scan");
}

/// Operations and values of a change table.
fn changes(c: &mut Client, instance: &str) -> Vec<String> {
    let columns = c.value(&format!(
        "SELECT STRING_AGG(QUOTENAME(name), ',') WITHIN GROUP (ORDER BY column_id) FROM sys.columns
         WHERE object_id = OBJECT_ID('cdc.{instance}_CT') AND name NOT LIKE '[_][_]$%'"
    ));
    c.rows(&format!(
        "SELECT __$operation, {columns} FROM cdc.{instance}_CT ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation"
    ))
}

/// `required_column_update` and the command of each row of `cdc.ddl_history`.
fn history(c: &mut Client) -> Vec<String> {
    c.rows("SELECT required_column_update, ddl_command FROM cdc.ddl_history ORDER BY ddl_lsn, object_id")
}

#[test]
fn an_added_column_is_not_captured() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("INSERT t VALUES (1, 'a', 1)");
    c.ok("ALTER TABLE t ADD extra int NOT NULL DEFAULT 7");
    c.ok("UPDATE t SET extra = 8");
    c.ok("UPDATE t SET extra = 9, n = 2");
    scan(&mut c);
    assert_eq!(changes(&mut c, "i"), ["2|1|a|1", "3|1|a|1", "4|1|a|2"]);
    assert_eq!(history(&mut c), ["0|ALTER TABLE t ADD extra int NOT NULL DEFAULT 7"]);
    assert_eq!(c.value("SELECT COUNT(*) FROM cdc.captured_columns"), "3");
    // A second instance has it, from its own start on.
    enable(&mut c, "t", "j");
    c.ok("UPDATE t SET extra = 10");
    scan(&mut c);
    assert_eq!(changes(&mut c, "j"), ["3|1|a|2|9", "4|1|a|2|10"]);
    assert_eq!(changes(&mut c, "i").len(), 3);
}

#[test]
fn a_dropped_column_stays_in_the_change_table() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("INSERT t VALUES (1, 'a', 1)");
    c.ok("ALTER TABLE t DROP COLUMN v");
    c.ok("UPDATE t SET n = 2");
    scan(&mut c);
    assert_eq!(changes(&mut c, "i"), ["2|1|a|1", "3|1|NULL|1", "4|1|NULL|2"]);
    assert_eq!(history(&mut c), ["0|ALTER TABLE t DROP COLUMN v"]);
    assert_eq!(c.value("SELECT COUNT(*) FROM cdc.captured_columns"), "3");
    // The same name again is another column, by its number.
    c.ok("ALTER TABLE t ADD v int NULL");
    c.ok("UPDATE t SET v = 5, n = 3");
    scan(&mut c);
    assert_eq!(changes(&mut c, "i")[3..], ["3|1|NULL|2", "4|1|NULL|3"]);
    assert_eq!(
        c.rows("SELECT column_name, column_id, column_type FROM cdc.captured_columns ORDER BY column_ordinal"),
        ["k|1|int", "v|2|varchar", "n|3|int"]
    );
    assert_eq!(
        c.value(
            "SELECT column_id FROM sys.columns WHERE object_id = OBJECT_ID('t') AND name = 'v'"
        ),
        "4"
    );
}

#[test]
fn a_new_type_comes_to_the_change_tables_when_capture_does() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    enable(&mut c, "t", "j");
    c.ok("INSERT t VALUES (1, 'a', 1)");
    c.ok("ALTER TABLE t ALTER COLUMN n bigint NULL");
    c.ok("UPDATE t SET n = 5000000000");
    let types = |c: &mut Client| {
        c.rows("SELECT TYPE_NAME(system_type_id) FROM sys.columns WHERE name = 'n' AND OBJECT_SCHEMA_NAME(object_id) = 'cdc'")
    };
    assert_eq!(types(&mut c), ["int", "int"]);
    assert!(history(&mut c).is_empty());
    scan(&mut c);
    assert_eq!(types(&mut c), ["bigint", "bigint"]);
    for instance in ["i", "j"] {
        assert_eq!(changes(&mut c, instance), ["2|1|a|1", "3|1|a|1", "4|1|a|5000000000"]);
    }
    let command = "1|ALTER TABLE t ALTER COLUMN n bigint NULL";
    assert_eq!(history(&mut c), [command, command]);
    assert_eq!(
        c.rows("SELECT column_type FROM cdc.captured_columns WHERE column_name = 'n'"),
        ["bigint", "bigint"]
    );
    assert_eq!(
        c.rows("EXEC sys.sp_cdc_get_ddl_history 'i'").len(),
        1,
        "the procedure answers for one instance"
    );
}

#[test]
fn a_narrower_type_stops_capture_over_wider_values() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("INSERT t VALUES (1, 'abcdefgh', 1)");
    c.ok("UPDATE t SET v = 'ab'");
    c.ok("ALTER TABLE t ALTER COLUMN v varchar(3) NULL");
    c.ok("INSERT t VALUES (2, 'x', 2)");
    assert_eq!(c.error("EXEC sys.sp_cdc_scan"), 2628);
    assert!(changes(&mut c, "i").is_empty(), "a scan comes whole or not at all");
}

#[test]
fn nullability_and_constraints_are_recorded_and_change_nothing() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("INSERT t VALUES (1, 'a', 1)");
    c.ok("ALTER TABLE t ALTER COLUMN n int NOT NULL");
    c.ok("ALTER TABLE t ADD CONSTRAINT positive CHECK (n > 0)");
    c.ok("ALTER TABLE t DROP CONSTRAINT positive");
    scan(&mut c);
    assert_eq!(
        history(&mut c),
        [
            "0|ALTER TABLE t ALTER COLUMN n int NOT NULL",
            "0|ALTER TABLE t ADD CONSTRAINT positive CHECK (n > 0)",
            "0|ALTER TABLE t DROP CONSTRAINT positive",
        ]
    );
    assert_eq!(
        c.value("SELECT MIN(CAST(is_nullable AS int)) FROM sys.columns WHERE object_id = OBJECT_ID('cdc.i_CT') AND name NOT LIKE '[_][_]$%'"),
        "1"
    );
}

#[test]
fn names_change_only_where_nothing_captured_has_them() {
    let (_fixture, mut c) = captured();
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL, @capture_instance = 'i', @captured_column_list = 'k, v'");
    assert_eq!(c.error("EXEC sp_rename 'dbo.t.v', 'w', 'COLUMN'"), 4928);
    c.ok("EXEC sp_rename 'dbo.t.n', 'm', 'COLUMN'");
    c.ok("EXEC sp_rename 'dbo.t', 'tt'");
    c.ok("INSERT tt VALUES (1, 'a', 1)");
    scan(&mut c);
    assert_eq!(changes(&mut c, "i"), ["2|1|a"]);
    assert!(history(&mut c).is_empty());
    assert_eq!(
        c.value(
            "SELECT OBJECT_NAME(source_object_id) + ' ' + capture_instance FROM cdc.change_tables"
        ),
        "tt i"
    );
}

#[test]
fn what_would_break_capture_is_refused() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("CREATE TABLE u (k int NOT NULL, v int NULL); CREATE UNIQUE INDEX ux ON u (k)");
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 'u', @role_name = NULL, @index_name = 'ux'");
    for (sql, number) in [
        ("TRUNCATE TABLE t", 4711),
        ("ALTER TABLE t DROP CONSTRAINT pk_t", 22983),
        ("DROP INDEX ux ON u", 22979),
        ("ALTER INDEX ux ON u DISABLE", 22979),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("INSERT t VALUES (1, 'a', 1)");
    c.ok("DROP TABLE t");
    assert_eq!(c.error("SELECT * FROM cdc.i_CT"), 208);
    assert_eq!(c.value("SELECT COUNT(*) FROM cdc.change_tables"), "1");
    scan(&mut c);
}

#[test]
fn two_instances_split_the_changes_at_the_seconds_start() {
    let (fixture, mut c) = captured();
    enable(&mut c, "t", "v1");
    c.ok("INSERT t VALUES (1, 'a', 0)");
    let mut writer = fixture.connect();
    // A writer at work while the second instance comes.
    let mut written = 0;
    for round in 0..40 {
        writer.ok("UPDATE t SET n = n + 1");
        written += 1;
        if round == 20 {
            enable(&mut c, "t", "v2");
        }
        if round % 7 == 0 {
            scan(&mut c);
        }
    }
    scan(&mut c);
    let start = "(SELECT start_lsn FROM cdc.change_tables WHERE capture_instance = 'v2')";
    assert_eq!(
        c.value(&format!(
            "SELECT COUNT(*) FROM cdc.v1_CT AS a FULL JOIN cdc.v2_CT AS b
                 ON b.__$start_lsn = a.__$start_lsn AND b.__$operation = a.__$operation
             WHERE a.__$start_lsn IS NULL
                OR (CASE WHEN a.__$start_lsn >= {start} THEN 1 ELSE 0 END) <> (CASE WHEN b.__$start_lsn IS NULL THEN 0 ELSE 1 END)"
        )),
        "0"
    );
    assert_eq!(
        c.value("SELECT COUNT(*) FROM cdc.v1_CT WHERE __$operation = 4"),
        written.to_string()
    );
    assert_eq!(c.value("SELECT COUNT(*) FROM cdc.v2_CT WHERE __$operation = 4"), "19");
    assert_eq!(
        c.error(
            "EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL, @capture_instance = 'v3'"
        ),
        22962
    );
}

#[test]
fn merge_is_captured_as_what_it_does() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("INSERT t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)");
    scan(&mut c);
    c.ok("MERGE t USING (VALUES (2, 'x'), (9, 'y')) AS s (k, v) ON s.k = t.k
          WHEN MATCHED THEN UPDATE SET v = s.v
          WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)
          WHEN NOT MATCHED BY SOURCE AND t.k = 3 THEN DELETE;");
    scan(&mut c);
    assert_eq!(changes(&mut c, "i")[3..], ["1|3|c|3", "3|2|b|2", "4|2|x|2", "2|9|y|NULL"]);
    assert_eq!(
        c.value("SELECT COUNT(DISTINCT __$start_lsn) FROM cdc.i_CT"),
        "2",
        "one transaction, one LSN"
    );
    assert_eq!(c.value("SELECT __$update_mask FROM cdc.i_CT WHERE __$operation = 4"), "0x02");
}

#[test]
fn the_switches_of_ddl_history_are_there_for_both_readings() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("EXEC [double].set_fault 'ddl_history_lag', '1'");
    c.ok("ALTER TABLE t ADD x int NULL");
    c.ok("INSERT t VALUES (1, 'a', 1, 1)");
    scan(&mut c);
    assert_eq!(changes(&mut c, "i").len(), 1);
    assert!(history(&mut c).is_empty(), "the change is there before the row of its DDL");
    scan(&mut c);
    assert_eq!(history(&mut c).len(), 1);
    enable(&mut c, "t", "j");
    assert_eq!(history(&mut c).len(), 1, "a new instance starts without history");
    c.ok("EXEC sys.sp_cdc_disable_table 'dbo', 't', 'j'");
    c.ok("EXEC [double].set_fault 'ddl_history_backfill', 'on'");
    enable(&mut c, "t", "j");
    assert_eq!(history(&mut c).len(), 2, "unless the switch says otherwise");
}

#[test]
fn errors_come_where_a_test_wants_them() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("INSERT t VALUES (1, 'a', 1)");
    scan(&mut c);
    for number in [1205, 1222, 22903, 313, 208, 229, 207] {
        c.ok(&format!("EXEC [double].set_fault 'error', '{number},1,2', 'cdc.i_CT'"));
        c.ok("SELECT * FROM cdc.i_CT");
        assert_eq!(c.error("SELECT * FROM cdc.i_CT"), number);
        assert_eq!(c.error("SELECT * FROM cdc.i_CT"), number);
        c.ok("SELECT * FROM cdc.i_CT");
    }
    c.ok("EXEC [double].set_fault 'error', '1222', 'cdc.i_CT'; EXEC [double].set_fault 'clear_errors'");
    c.ok("SELECT * FROM cdc.i_CT");
    // A view or an instance's function reads the same table.
    c.ok("CREATE VIEW seen AS SELECT * FROM cdc.i_CT");
    c.ok("EXEC [double].set_fault 'error', '1205', 'cdc.i_CT'");
    assert_eq!(c.error("SELECT * FROM seen"), 1205);
    assert_eq!(c.error("EXEC [double].set_fault 'nothing'"), 50_000);
    assert_eq!(c.error("EXEC [double].set_fault 'clock', 'backward'"), 50_000);
}

#[test]
fn the_clock_and_the_log_jump_when_told() {
    let (_fixture, mut c) = captured();
    enable(&mut c, "t", "i");
    c.ok("INSERT t VALUES (1, 'a', 1)");
    scan(&mut c);
    c.ok("EXEC [double].set_fault 'clock', 'freeze'");
    assert_eq!(c.value("DECLARE @now datetime2 = SYSDATETIME(); WAITFOR DELAY '00:00:00.01'; SELECT DATEDIFF(microsecond, @now, SYSDATETIME())"), "0");
    c.ok("EXEC [double].set_fault 'utc_offset', '-330'");
    assert_eq!(c.eval("DATEDIFF(minute, GETUTCDATE(), GETDATE())"), "-330");
    c.ok("EXEC [double].set_fault 'utc_offset', '0'");
    // An idle capture writes a dummy row after the time that is set.
    let mappings = "SELECT COUNT(*) FROM cdc.lsn_time_mapping WHERE tran_id = 0x00";
    let before: i32 = c.value(mappings).parse().expect("a number");
    c.ok("EXEC [double].set_fault 'dummy_after', '20'; EXEC [double].set_fault 'clock_advance', '19'");
    scan(&mut c);
    assert_eq!(c.value(mappings), before.to_string());
    c.ok("EXEC [double].set_fault 'clock_advance', '1'");
    scan(&mut c);
    assert_eq!(c.value(mappings), (before + 1).to_string());
    c.ok("EXEC [double].set_fault 'clock', 'thaw'; EXEC [double].set_fault 'advance_vlf', '5'");
    c.ok("INSERT t VALUES (2, 'b', 2)");
    scan(&mut c);
    assert_eq!(
        c.value("SELECT CAST(SUBSTRING(MAX(__$start_lsn), 1, 4) AS int) - CAST(SUBSTRING(MIN(__$start_lsn), 1, 4) AS int) FROM cdc.i_CT"),
        "5"
    );
}
