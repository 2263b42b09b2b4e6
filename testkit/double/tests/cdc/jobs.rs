//! The capture job, scans by hand, restarts.

use std::time::{Duration, Instant};

use mssql_double::Value;
use mssql_double::cdc::JobKind;
use mssql_double::storage::StorageOptions;

use super::fixture::*;

fn until(what: &str, ready: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn jobs_come_with_the_first_table() {
    let server = Server::enabled();
    assert!(server.run("sp_cdc_help_jobs", &[]).expect("it answers").rows.is_empty());
    server.create_t();
    server.enable("t", None).expect("it is enabled");
    let jobs = server.run("sp_cdc_help_jobs", &[]).expect("it answers");
    let types: Vec<Option<String>> = jobs.rows.iter().map(|row| row[1].to_text()).collect();
    assert_eq!(types, [Some("capture".to_owned()), Some("cleanup".to_owned())]);
    assert_eq!(
        jobs.rows[0][3..7],
        [Value::Int(500), Value::Int(10), Value::Bit(true), Value::BigInt(5)]
    );
    assert_eq!(jobs.rows[1][7..], [Value::BigInt(4320), Value::BigInt(5000)]);
    let change = [("@pollinginterval", Value::BigInt(0)), ("@maxtrans", Value::Int(3))];
    server.run("sp_cdc_change_job", &change).expect("it is changed");
    let jobs = server.run("sp_cdc_help_jobs", &[]).expect("it answers");
    assert_eq!(
        jobs.rows[0][3..7],
        [Value::Int(3), Value::Int(10), Value::Bit(true), Value::BigInt(0)]
    );
    assert_eq!(
        number(server.run("sp_cdc_change_job", &[("@retention", Value::BigInt(5))])),
        Some(22994)
    );
    server.run("sp_cdc_drop_job", &[("@job_type", Value::text("capture"))]).expect("it is dropped");
    assert_eq!(server.run("sp_cdc_help_jobs", &[]).expect("it answers").rows.len(), 1);
    assert_eq!(JobKind::Cleanup.name(), "cleanup");
}

#[test]
fn the_job_follows_the_log_on_the_servers_clock() {
    let server = Server::enabled();
    let table = server.create_t();
    server.fault("agent", "on");
    server.enable("t", None).expect("it is enabled");
    assert!(server.job.is_running());
    // Its first scan may have been before the commit, and the next is when the clock has moved.
    server.run("sp_cdc_stop_job", &[]).expect("it is stopped");
    server.run("sp_cdc_start_job", &[]).expect("it starts");
    until("the enabling is captured", || !server.rows("lsn_time_mapping").is_empty());
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    // It sleeps until the clock moves, and holds the log-scan session meanwhile.
    assert_eq!(number(server.run("sp_cdc_scan", &[])), Some(22903));
    assert_eq!(server.rows("dbo_t_CT").len(), 0);
    until("the change is captured", || {
        server.storage.clock().advance(Duration::from_secs(5));
        !server.rows("dbo_t_CT").is_empty()
    });
    server.run("sp_cdc_stop_job", &[]).expect("it is stopped");
    assert!(!server.job.is_running());
    assert_eq!(number(server.run("sp_cdc_stop_job", &[])), Some(22022));
    server.commit(|txn| txn.insert(table, t(2, 1, "")).expect("a new key"));
    server.run("sp_cdc_scan", &[]).expect("the session is free");
    assert_eq!(server.rows("dbo_t_CT").len(), 2);
    server.run("sp_cdc_start_job", &[]).expect("it starts");
    assert_eq!(number(server.run("sp_cdc_start_job", &[])), Some(22022));
    server.run("sp_cdc_disable_db", &[]).expect("CDC goes off");
    assert!(!server.job.is_running());
}

#[test]
fn without_the_agent_nothing_starts() {
    let server = Server::enabled();
    server.create_t();
    server.enable("t", None).expect("enabling needs no Agent");
    assert!(!server.job.is_running());
    assert_eq!(number(server.run("sp_cdc_start_job", &[])), Some(22022));
    server.run("sp_cdc_scan", &[]).expect("a scan by hand needs no Agent");
}

#[test]
fn what_is_committed_but_not_captured_survives_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for checkpoint_bytes in [None, Some(1)] {
        let data = folder.path().join(format!("{checkpoint_bytes:?}"));
        let options = StorageOptions { data: Some(data), checkpoint_bytes, ..Default::default() };
        let first;
        {
            let server = Server::open(options.clone());
            server.run("sp_cdc_enable_db", &[]).expect("CDC goes on");
            let table = server.create_t();
            server.enable("t", None).expect("it is enabled");
            server.scan();
            first = server.commit(|txn| txn.insert(table, t(1, 1, "a")).expect("a new key")).1;
            server.scan();
            server.commit(|txn| {
                let id = txn.insert(table, t(2, 1, "b")).expect("a new key");
                txn.update(table, vec![(id, t(2, 2, "b"))], &[1]).expect("it is there");
            });
            server.commit(|txn| txn.insert(table, t(3, 1, "c")).expect("a new key"));
        }
        let server = Server::open(options);
        assert_eq!(server.database.log_tail_len(), 2);
        server.scan();
        let rows = server.rows("dbo_t_CT");
        assert_eq!(commands(&rows), [(2, 1), (2, 1), (3, 2), (4, 2), (2, 1)]);
        assert_eq!(lsn(&rows[0][0]), first);
        assert_eq!((rows[2][7].clone(), int(&rows[2][6]), int(&rows[3][6])), (Value::Null, 1, 2));
        assert_eq!(server.real_mappings().len(), 3);
    }
}
