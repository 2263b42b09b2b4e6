//! The contract of live chunks, beside writers: a row that a chunk gives was committed at some moment
//! after the chunk was asked for, and a row that was there all the time comes exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use lockstep_common::Value;

use crate::load_bed::{Loading, Row};
use crate::server::{Server, Session};

const SEED: u64 = 71;
const KEYS: i64 = 60;

/// When versions of rows were there, by a count of events. A version is `(key, serial)`; serials are
/// never used again.
#[derive(Default)]
struct History {
    now: u64,
    /// From the event before its commit, to the event after its end.
    versions: BTreeMap<(i64, i64), (u64, Option<u64>)>,
}

type Shared = Arc<Mutex<History>>;

fn tick(history: &Shared) -> u64 {
    let mut history = history.lock().expect("no panic");
    history.now += 1;
    history.now
}

/// One committed change of one row at random: what it ends, what it begins.
async fn change(
    session: &mut Session,
    history: &Shared,
    present: &mut BTreeMap<i64, i64>,
    serial: &mut i64,
    r: &mut StdRng,
) {
    let (key, other) = (r.random_range(0..KEYS) * 2 + 1, r.random_range(0..KEYS) * 2 + 1);
    *serial += 1;
    let new = *serial;
    let (sql, ends, begins) = match present.get(&key).copied() {
        None => (
            format!("INSERT INTO dbo.t VALUES ({}, {}, {new})", key / 10, key % 10),
            None,
            Some((key, new)),
        ),
        Some(old) => match r.random_range(0..3) {
            0 => (format!("DELETE FROM dbo.t WHERE {}", at(key)), Some((key, old)), None),
            1 if !present.contains_key(&other) => (
                format!(
                    "UPDATE dbo.t SET a = {}, b = {}, v = {new} WHERE {}",
                    other / 10,
                    other % 10,
                    at(key)
                ),
                Some((key, old)),
                Some((other, new)),
            ),
            _ => (
                format!("UPDATE dbo.t SET v = {new} WHERE {}", at(key)),
                Some((key, old)),
                Some((key, new)),
            ),
        },
    };
    // It may be seen from just before the commit, and the old one until just after it.
    if let Some(begins) = begins {
        let now = tick(history);
        history.lock().expect("no panic").versions.insert(begins, (now, None));
        present.insert(begins.0, begins.1);
    }
    session.run(&sql).await;
    if let Some(ends) = ends {
        let now = tick(history);
        if let Some(version) = history.lock().expect("no panic").versions.get_mut(&ends) {
            version.1 = Some(now);
        }
        if begins.is_none_or(|begins| begins.0 != ends.0) {
            present.remove(&ends.0);
        }
    }
}

fn at(key: i64) -> String {
    format!("a = {} AND b = {}", key / 10, key % 10)
}

fn version(row: &Row) -> (i64, i64) {
    match row.as_slice() {
        [Value::I64(a), Value::I64(b), Value::I64(v)] => (a * 10 + b, *v),
        other => panic!("no such row: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_chunks_keep_their_contract_beside_writers() {
    println!("seed {SEED}");
    let mut server = Server::new().await;
    server.table("t", "a int NOT NULL, b int NOT NULL, v int NOT NULL, PRIMARY KEY (a, b)").await;
    // Even keys stay as they are; odd ones come, go and move.
    let steady: BTreeSet<(i64, i64)> = (0..KEYS).map(|i| (2 * i, -i - 1)).collect();
    for (key, v) in &steady {
        server
            .admin
            .run(&format!("INSERT INTO dbo.t VALUES ({}, {}, {v})", key / 10, key % 10))
            .await;
    }
    let loading = Loading::new(&server).await;
    let table = loading.table("t");
    let history = Shared::default();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (history, stop) = (Arc::clone(&history), Arc::clone(&stop));
        let mut session = server.session().await;
        tokio::spawn(async move {
            let mut r = StdRng::seed_from_u64(SEED);
            let (mut present, mut serial, mut changes) = (BTreeMap::new(), 0, 0);
            while !stop.load(Ordering::Relaxed) {
                change(&mut session, &history, &mut present, &mut serial, &mut r).await;
                changes += 1;
            }
            changes
        })
    };
    let mut moved = 0;
    for size in [1, 3, 10, 25, 200, 2, 5] {
        let (mut lower, mut seen) = (None, Vec::new());
        for chunk in 0.. {
            let upper =
                loading.loader.boundary(table, lower.as_deref(), size).await.expect("a boundary");
            let range =
                lockstep_common::model::load::ChunkRange { chunk, lower, upper: upper.clone() };
            let asked = tick(&history);
            let rows = loading.rows(table, &range).await.expect("rows");
            let ended = tick(&history);
            let history = history.lock().expect("no panic");
            for row in &rows {
                let version = version(row);
                if steady.contains(&version) {
                    continue;
                }
                let found = history.versions.get(&version);
                let (from, until) = found.unwrap_or_else(|| panic!("never written: {version:?}"));
                assert!(
                    *from <= ended && until.is_none_or(|until| until >= asked),
                    "{version:?} was there from {from} until {until:?}, read from {asked} until {ended}"
                );
                moved += 1;
            }
            seen.extend(rows.iter().map(version));
            if upper.is_none() {
                break;
            }
            lower = upper;
        }
        let there: Vec<_> = seen.iter().filter(|version| steady.contains(version)).collect();
        assert!(there.iter().copied().eq(&steady), "chunks of {size}: {there:?}");
    }
    stop.store(true, Ordering::Relaxed);
    let changes = writer.await.expect("the writer ends");
    assert!(changes > 10 && moved > 0, "{changes} changes, {moved} of them seen");
}
