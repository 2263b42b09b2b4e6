//! Several sessions write at once while the job captures; the change table, replayed, is the
//! table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use mssql_double::storage::*;
use mssql_double::{SqlError, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::fixture::*;

const KEYS: i32 = 40;

fn small(value: &Value) -> i32 {
    i32::try_from(int(value)).expect("an int")
}

/// One random statement; rows it changed.
fn statement(txn: &mut Txn, table: ObjectId, random: &mut StdRng) -> Result<usize, SqlError> {
    let (k, v) = (random.random_range(0..KEYS), random.random_range(0..1000));
    if random.random_bool(0.4) {
        return txn.insert(table, t(k, v, &v.to_string())).map(|_| 1);
    }
    // Up to three rows from k on.
    let range = KeyRange {
        lower: std::ops::Bound::Included(vec![Value::Int(k)]),
        upper: std::ops::Bound::Included(vec![Value::Int(k + random.random_range(0..3))]),
    };
    let mut scan = txn.scan_for_update(table, None, range, Direction::Forward, RowLock::Update)?;
    let mut rows = Vec::new();
    while let Some(found) = scan.next(txn)? {
        rows.push(found);
    }
    let count = rows.len();
    match random.random_range(0..4) {
        0 => {
            for (id, _) in rows {
                txn.delete(table, id)?;
            }
        }
        1 => {
            let moved = |row: &Row| -> Row {
                [Value::Int(small(&row[0]) + 1), row[1].clone(), row[2].clone()].into()
            };
            txn.update(table, rows.iter().map(|(id, row)| (*id, moved(row))).collect(), &[0])?;
        }
        2 => {
            let set = |row: &Row| -> Row { [row[0].clone(), Value::Int(v), row[2].clone()].into() };
            txn.update(table, rows.iter().map(|(id, row)| (*id, set(row))).collect(), &[1])?;
        }
        _ => {
            let set = |row: &Row| -> Row {
                [row[0].clone(), row[1].clone(), Value::text(&v.to_string())].into()
            };
            txn.update(table, rows.iter().map(|(id, row)| (*id, set(row))).collect(), &[2])?;
        }
    }
    Ok(count)
}

fn transaction(server: &Server, table: ObjectId, random: &mut StdRng) {
    let mut txn = server.begin();
    for _ in 0..random.random_range(1..5) {
        let saved = txn.savepoint();
        match statement(&mut txn, table, random) {
            Ok(_) => txn.end_statement(),
            Err(error) if error.number == 1205 => return,
            Err(error) => {
                assert_eq!(error.number, 2627);
                txn.rollback_to(saved);
            }
        }
    }
    if random.random_bool(0.15) {
        txn.rollback();
    } else {
        txn.commit().expect("it commits");
    }
}

/// Applies change rows in order, checking every before-image.
fn replay(rows: &[Row]) -> BTreeMap<i64, (i64, Option<String>)> {
    let mut table = BTreeMap::new();
    let mut before: Option<(i64, i64)> = None;
    for row in rows {
        let (key, content) = (int(&row[5]), (int(&row[6]), row[7].to_text()));
        match int(&row[3]) {
            1 => assert_eq!(table.remove(&key), Some(content), "a delete of what was there"),
            2 => assert_eq!(table.insert(key, content), None, "an insert where nothing was"),
            3 => {
                let old = table.get(&key).expect("an update of what was there");
                assert_eq!(old.0, content.0);
                assert!(content.1.is_none() || content.1 == old.1);
                before = Some((key, int(row.last().expect("a command id"))));
            }
            _ => {
                assert_eq!(before.take(), Some((key, int(row.last().expect("a command id")))));
                table.insert(key, content);
            }
        }
    }
    table
}

#[test]
fn concurrent_sessions_are_captured_whole_and_in_order() {
    for seed in 0..6u64 {
        let server = Server::enabled();
        let table = server.create_t();
        server.fault("agent", "on");
        server.enable("t", None).expect("it is enabled");
        server
            .run(
                "sp_cdc_change_job",
                &[("@pollinginterval", Value::BigInt(0)), ("@maxtrans", Value::Int(7))],
            )
            .expect("it is changed");
        server.job.stop();
        server.job.start().expect("it starts");
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (server, done) = (&server, &done);
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed * 100 + thread);
                    for _ in 0..150 {
                        transaction(server, table, &mut random);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // Whatever is published is a prefix: it replays without a gap.
            while done.load(Ordering::Relaxed) < 600 {
                replay(&server.rows("dbo_t_CT"));
            }
        });
        server.job.stop();
        server.scan();
        let rows = server.rows("dbo_t_CT");
        let mut txn = server.begin();
        let view = txn.statement_view().expect("READ COMMITTED needs nothing");
        let now: BTreeMap<i64, (i64, Option<String>)> = view
            .scan(table, None, KeyRange::all(), Direction::Forward)
            .expect("it is there")
            .map(|row| row.map(|(_, row)| (int(&row[0]), (int(&row[1]), row[2].to_text()))))
            .collect::<Result<_, _>>()
            .expect("a scan does not fail");
        assert_eq!(replay(&rows), now, "seed {seed}");
        let captured: BTreeSet<Lsn> = rows.iter().map(|row| lsn(&row[0])).collect();
        let mapped: BTreeSet<Lsn> = server.real_mappings().iter().map(|row| lsn(&row[0])).collect();
        assert_eq!(captured, mapped, "seed {seed}");
        check_commands(&rows);
    }
}

/// Command ids count from 1 in each transaction.
fn check_commands(rows: &[Row]) {
    let mut last = (Lsn::ZERO, 0);
    for row in rows {
        let (commit, command) = (lsn(&row[0]), int(row.last().expect("a command id")));
        if commit == last.0 {
            let step = i64::from(int(&row[3]) != 4);
            assert_eq!(command, last.1 + step);
        } else {
            assert_eq!(command, 1);
        }
        last = (commit, command);
    }
}
