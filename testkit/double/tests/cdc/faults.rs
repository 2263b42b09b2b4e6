//! The switches.

use std::time::Duration;

use mssql_double::Value;
use mssql_double::storage::{Injection, Row};

use super::fixture::*;

/// A captured table with one captured row, idle for five minutes, and a commit in the log.
fn idle_with_a_commit() -> (Server, mssql_double::storage::Lsn) {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    server.storage.clock().advance(Duration::from_secs(300));
    server.fault("dummy_meets_commit", "on");
    let (_, commit) = server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    (server, commit)
}

#[test]
fn a_dummy_may_take_the_lsn_of_a_later_captured_commit() {
    let (server, commit) = idle_with_a_commit();
    assert!(server.scan().dummy);
    assert_eq!(server.call("sys.fn_cdc_get_max_lsn", &[]), Ok(commit.to_value()));
    assert!(server.rows("dbo_t_CT").is_empty());
    server.scan();
    let rows = server.rows("dbo_t_CT");
    assert_eq!(lsn(&rows[0][0]), commit);
    assert_eq!(server.real_mappings().len(), 1, "the commit's own row takes the dummy's place");
}

#[test]
fn a_commit_may_stay_hidden_behind_its_dummy() {
    let (server, commit) = idle_with_a_commit();
    server.fault("hide_commit_behind_dummy", "on");
    server.scan();
    server.scan();
    assert_eq!(server.rows("dbo_t_CT").len(), 1);
    assert!(server.real_mappings().is_empty());
    let newest = server.rows("lsn_time_mapping").pop().expect("it is there");
    assert_eq!(lsn(&newest[0]), commit);
}

#[test]
fn a_stalled_capture_says_nothing() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    server.fault("stalled", "on");
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.storage.clock().advance(Duration::from_secs(900));
    assert_eq!(server.scan().transactions, 0);
    assert_eq!(server.rows("lsn_time_mapping").len(), 1);
    server.fault("stalled", "off");
    assert_eq!(server.scan().transactions, 1);
}

#[test]
fn seqvals_may_run_backwards() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.fault("seqval_backwards", "on");
    let (_, commit) = server.commit(|txn| {
        for k in 0..5 {
            txn.insert(table, t(k, 1, "")).expect("a new key");
        }
    });
    server.scan();
    let rows = server.rows("dbo_t_CT");
    let keys: Vec<i64> = rows.iter().map(|row| int(&row[5])).collect();
    assert_eq!(keys, [0, 1, 2, 3, 4], "the command id still is the order");
    assert!(rows.windows(2).all(|pair| lsn(&pair[0][2]) > lsn(&pair[1][2])));
    assert!(rows.iter().all(|row| lsn(&row[2]) < commit));
}

#[test]
fn an_idle_purge_takes_every_real_mapping() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.scan();
    server.storage.clock().advance(Duration::from_secs(300));
    server.scan();
    server.fault("idle_purge", "");
    let mapping = server.rows("lsn_time_mapping");
    assert_eq!(mapping.len(), 1);
    assert_eq!(mapping[0][3], Value::binary(&[0]));
    let floor = server.call("sys.fn_cdc_get_min_lsn", &[Value::text("dbo_t")]);
    assert_eq!(floor, Ok(mapping[0][0].clone()));
    assert!(server.rows("dbo_t_CT").is_empty());
}

#[test]
fn ddl_history_may_lag() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.fault("ddl_history_lag", "2");
    server.commit(|txn| {
        let def = (*txn.table_by_id(table).expect("no wait").expect("it is there")).clone();
        txn.alter_table(def, "ALTER TABLE t ...", None).expect("nothing changes");
    });
    for expected in [0, 0, 1] {
        server.scan();
        assert_eq!(server.rows("ddl_history").len(), expected);
    }
    server.fault("ddl_history_backfill", "on");
    server.enable("t", Some("v2")).expect("it is enabled");
    assert_eq!(server.rows("ddl_history").len(), 2);
}

#[test]
fn statements_fail_on_demand() {
    let server = Server::enabled();
    let touch = |object: &str| number(server.storage.touch("D", object));
    server
        .run(
            "double.set_fault",
            &[
                ("@name", Value::text("error")),
                ("@value", Value::text("1205,1,2")),
                ("@object", Value::text("cdc.dbo_t_CT")),
            ],
        )
        .expect("there is such a switch");
    assert_eq!(touch("dbo.t"), None);
    let touched: Vec<_> = (0..4).map(|_| touch("cdc.DBO_T_ct")).collect();
    assert_eq!(touched, [None, Some(1205), Some(1205), None]);
    let error = mssql_double::SqlError::new(229, 14, 5, "denied");
    server.storage.inject(Injection {
        database: "d".into(),
        object: "*".into(),
        skip: 0,
        times: 9,
        error,
    });
    assert_eq!(touch("anything"), Some(229));
    server.fault("clear_errors", "");
    assert_eq!(touch("anything"), None);
    let nobody = Rights::default();
    let refused = server.run_as(&nobody, "double.set_fault", &[("@name", Value::text("stalled"))]);
    assert_eq!(number(refused), Some(50_000));
}

#[test]
fn a_restore_rewinds_what_was_captured() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.scan();
    let before: Vec<Row> = server.rows("dbo_t_CT");
    let newest = server.call("sys.fn_cdc_get_max_lsn", &[]);
    server.storage.backup("d", "d.bak").expect("it is written");
    server.commit(|txn| txn.insert(table, t(2, 1, "")).expect("a new key"));
    server.scan();
    let later = server.call("sys.fn_cdc_get_max_lsn", &[]).expect("it answers");
    server.storage.restore("d", "d.bak", false).expect("nobody is in it");
    assert_eq!(server.rows("dbo_t_CT"), before);
    assert_eq!(server.call("sys.fn_cdc_get_max_lsn", &[]), newest);
    // Another history takes the same LSNs.
    let (_, commit) = server.commit(|txn| txn.insert(table, t(9, 9, "")).expect("a new key"));
    assert!(commit <= lsn(&later).increment());
    server.scan();
    assert_eq!(server.rows("dbo_t_CT").len(), 2);
    server.storage.restore("other", "d.bak", false).expect("a new name");
    let other = server.storage.database("other").expect("it is there");
    assert!(!other.info().cdc_enabled, "CDC goes with another name");
}

#[test]
fn virtual_log_files_can_be_skipped() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (_, first) = server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.fault("advance_vlf", "3");
    let (_, second) = server.commit(|txn| txn.insert(table, t(2, 1, "")).expect("a new key"));
    assert!(second.vlf() >= first.vlf() + 3);
}
