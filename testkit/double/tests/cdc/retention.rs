//! Dummy rows, cleanup, time and LSN.

use std::time::Duration;

use mssql_double::Value;
use mssql_double::storage::{Lsn, datetime};

use super::fixture::*;

#[test]
fn dummy_rows_come_after_five_idle_minutes() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    let clock = server.storage.clock();
    clock.advance(Duration::from_secs(299));
    assert!(!server.scan().dummy);
    clock.advance(Duration::from_secs(1));
    assert!(server.scan().dummy);
    assert!(!server.scan().dummy);
    let mapping = server.rows("lsn_time_mapping");
    let dummy = mapping.last().expect("it is there").clone();
    assert_eq!((dummy[3].clone(), lsn(&dummy[4])), (Value::binary(&[0]), Lsn::ZERO));
    assert_eq!(server.call("sys.fn_cdc_get_max_lsn", &[]), Ok(dummy[0].clone()));
    let (_, commit) = server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    assert!(lsn(&dummy[0]) < commit);
    clock.advance(Duration::from_secs(600));
    assert!(!server.scan().dummy, "there was something to capture");
}

#[test]
fn times_map_to_lsns() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    let clock = server.storage.clock();
    let mut commits = Vec::new();
    for k in 0..4 {
        // Two commits share a time.
        if k % 2 == 0 {
            clock.advance(Duration::from_secs(60));
        }
        let (_, commit) = server.commit(|txn| txn.insert(table, t(k, 1, "")).expect("a new key"));
        commits.push((clock.local_now(), commit));
    }
    server.scan();
    let map = |operator: &str, at: i64| {
        server.call("sys.fn_cdc_map_time_to_lsn", &[Value::text(operator), datetime(at)])
    };
    let (early, late) = (commits[0].0, commits[2].0);
    assert_eq!(map("largest less than or equal", early), Ok(commits[1].1.to_value()));
    assert_eq!(map("largest less than", late), Ok(commits[1].1.to_value()));
    assert_eq!(map("smallest greater than", early), Ok(commits[2].1.to_value()));
    assert_eq!(map("smallest greater than or equal", late), Ok(commits[2].1.to_value()));
    assert_eq!(map("smallest greater than", late), Ok(Value::Null));
    assert_eq!(map("nonsense", late), Ok(Value::Null));
}

#[test]
fn cleanup_moves_the_floor_first() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    let commits: Vec<Lsn> = (0..6)
        .map(|k| server.commit(|txn| txn.insert(table, t(k, 1, "")).expect("a new key")).1)
        .collect();
    server.scan();
    let clean = |mark: Lsn, threshold: i64| {
        server.run(
            "sp_cdc_cleanup_change_table",
            &[
                ("@capture_instance", Value::text("dbo_t")),
                ("@low_water_mark", mark.to_value()),
                ("@threshold", Value::BigInt(threshold)),
                ("@fCleanupFailed", Value::Null),
            ],
        )
    };
    assert_eq!(number(clean(commits[0].increment(), 10)), Some(22964));
    assert_eq!(number(clean(commits[5].increment(), 10)), Some(22957));
    server.fault("cleanup_in_two_calls", "on");
    clean(commits[3], 2).expect("the floor moves");
    let min = || server.call("sys.fn_cdc_get_min_lsn", &[Value::text("dbo_t")]);
    assert_eq!(min(), Ok(commits[3].to_value()));
    assert_eq!(server.rows("dbo_t_CT").len(), 6, "the rows are still there");
    let kept = clean(commits[3], 2).expect("the rows go");
    assert_eq!(kept.values[0].value, Value::Bit(false));
    assert_eq!(
        server.rows("dbo_t_CT").iter().map(|row| lsn(&row[0])).collect::<Vec<_>>(),
        commits[3..]
    );
    let left: Vec<Lsn> = server.rows("lsn_time_mapping").iter().map(|row| lsn(&row[0])).collect();
    assert_eq!(left, commits[3..]);
    assert_eq!(number(clean(commits[2], 10)), Some(22957), "the floor never goes back");
}

#[test]
fn the_cleanup_job_counts_back_from_the_newest_row() {
    let server = Server::enabled();
    let table = server.create_t();
    server.fault("agent", "on");
    server.enable("t", None).expect("it is enabled");
    server.job.stop();
    server.scan();
    let clock = server.storage.clock();
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.scan();
    // Idle for longer than the retention: only dummies are new.
    clock.advance(Duration::from_secs(4320 * 60));
    assert!(server.scan().dummy);
    let cleanup = [("@job_type", Value::text("cleanup"))];
    clock.advance(Duration::from_secs(301));
    assert!(server.scan().dummy);
    server.run("sp_cdc_start_job", &cleanup).expect("it runs");
    // The bound is a little over the real row: that one is the mark, and stays.
    assert_eq!(server.rows("dbo_t_CT").len(), 1);
    clock.advance(Duration::from_secs(4320 * 60 + 600));
    assert!(server.scan().dummy);
    server.run("sp_cdc_start_job", &cleanup).expect("it runs");
    assert!(server.rows("dbo_t_CT").is_empty());
    assert!(server.real_mappings().is_empty());
    let floor = server.call("sys.fn_cdc_get_min_lsn", &[Value::text("dbo_t")]).expect("it answers");
    assert_eq!(floor, server.rows("lsn_time_mapping")[0][0]);
}
