//! Snapshots of one position: under writers they are the source at exactly that position.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use lockstep_capture::source::load::Frozen;
use lockstep_common::model::load::ChunkRange;
use lockstep_common::{Disposition, Failure, Position, Value, config};

use crate::load_bed::{Loading, Row, drain, see_positions, whole};
use crate::server::{Server, Session};
use crate::service::capture;

const SEED: u64 = 404;
const ACCOUNTS: i64 = 12;
const TOTAL: i64 = ACCOUNTS * 100;

/// Two tables whose values add up to [`TOTAL`] at every commit.
async fn accounts(server: &mut Server) {
    server.admin.run("ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON").await;
    for name in ["one", "two"] {
        server.table(name, "id int NOT NULL PRIMARY KEY, v int NOT NULL").await;
    }
    let values: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, 100)")).collect();
    server.admin.run(&format!("INSERT INTO dbo.one VALUES {}", values.join(", "))).await;
}

async fn signal_table(server: &mut Server) {
    server.table("signals", "id varchar(64) NOT NULL PRIMARY KEY").await;
    server.admin.run("GRANT INSERT, DELETE ON dbo.signals TO reader").await;
}

/// Moves value between rows of the two tables, rows from one to the other, and back.
async fn transfer(session: &mut Session, r: &mut StdRng) {
    let (from, to) = if r.random() { ("one", "two") } else { ("two", "one") };
    let id = r.random_range(0..ACCOUNTS);
    let sql = if r.random_range(0..3) == 0 {
        format!(
            "SET XACT_ABORT ON; BEGIN TRANSACTION; INSERT INTO dbo.{to} SELECT id + 1000, v FROM dbo.{from} WITH (UPDLOCK) WHERE id = {id}; \
             DELETE FROM dbo.{from} WHERE id = {id} AND EXISTS (SELECT 1 FROM dbo.{to} WHERE id = {id} + 1000); \
             UPDATE dbo.{to} SET id = {id} WHERE id = {id} + 1000; COMMIT TRANSACTION"
        )
    } else {
        let amount = r.random_range(1..9);
        format!(
            "BEGIN TRANSACTION; DECLARE @n int; UPDATE TOP (1) dbo.{from} SET v = v - {amount}; \
             SET @n = @@ROWCOUNT; IF @n = 1 UPDATE TOP (1) dbo.{to} SET v = v + {amount}; \
             IF @n = 1 AND @@ROWCOUNT = 1 COMMIT TRANSACTION ELSE ROLLBACK TRANSACTION"
        )
    };
    // Two of them may meet in a deadlock, in a key, or wait for the freeze for too long.
    if session.try_run(&sql).await.is_err() {
        let _ = session.try_run("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION").await;
    }
}

/// Writers at work until they are told to stop.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    async fn start(server: &Server, n: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for i in 0..n {
            let mut session = server.session().await;
            let stop = Arc::clone(&stop);
            tasks.push(tokio::spawn(async move {
                let mut r = StdRng::seed_from_u64(SEED + i);
                while !stop.load(Ordering::Relaxed) {
                    transfer(&mut session, &mut r).await;
                }
            }));
        }
        Writers { stop, tasks }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer ends");
        }
    }
}

/// What a snapshot has of a table, read in chunks of `rows`.
async fn snapshot(
    loading: &Loading,
    frozen: &mut Frozen,
    reader: usize,
    name: &str,
    rows: u32,
) -> BTreeMap<i64, i64> {
    let table = loading.table(name);
    let snapshot = &mut frozen.snapshots[reader];
    let (mut lower, mut all) = (None, Vec::new());
    for chunk in 0.. {
        let upper = snapshot.boundary(table, lower.as_deref(), rows).await.expect("a boundary");
        let range = ChunkRange { chunk, lower, upper: upper.clone() };
        let mut reading = snapshot.rows(table, &range).await.expect("rows");
        all.extend(drain(reading.as_mut()).await.expect("rows"));
        if upper.is_none() {
            break;
        }
        lower = upper;
    }
    let pair = |row: &Row| match row.as_slice() {
        [Value::I64(id), Value::I64(v)] => (*id, *v),
        other => panic!("no such row: {other:?}"),
    };
    let map: BTreeMap<i64, i64> = all.iter().map(pair).collect();
    assert_eq!(map.len(), all.len(), "a row came twice");
    map
}

/// What the change table says of a table at a position: it was captured from its first row on.
async fn at(server: &mut Server, name: &str, position: &Position) -> BTreeMap<i64, i64> {
    let lsn: String = position.source().iter().map(|byte| format!("{byte:02x}")).collect();
    let rows = server
        .admin
        .run(&format!(
            "SELECT __$operation, id, v FROM cdc.dbo_{name}_CT WHERE __$start_lsn <= 0x{lsn} \
             ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation"
        ))
        .await;
    let mut state = BTreeMap::new();
    for row in rows {
        let number = |i| i64::from(row.get::<i32, _>(i).expect("an int"));
        match number(0) {
            2 | 4 => drop(state.insert(number(1), number(2))),
            _ => drop(state.remove(&number(1))),
        }
    }
    state
}

/// Freezes, with the capture job at work, as capture does it: a lost race for the locks is tried
/// again.
async fn freeze(
    server: &mut Server,
    loading: &Loading,
    names: &[&str],
    readers: usize,
) -> Result<Frozen, Failure> {
    loop {
        match freeze_once(server, loading, names, readers).await {
            Err(failure) if failure.disposition() == Disposition::Retry => println!("{failure}"),
            other => return other,
        }
    }
}

async fn freeze_once(
    server: &mut Server,
    loading: &Loading,
    names: &[&str],
    readers: usize,
) -> Result<Frozen, Failure> {
    let tables: Vec<_> = names.iter().map(|name| loading.table(name).clone()).collect();
    let loader = Arc::clone(&loading.loader);
    let freezing = tokio::spawn(async move { loader.freeze(&tables, readers).await });
    while !freezing.is_finished() {
        server.scan().await;
    }
    freezing.await.expect("it does not panic")
}

/// Freezes under writers again and again; every snapshot is the source at its position.
async fn frozen_under_writers(server: &mut Server, loading: &Loading, names: &[&str]) {
    println!("seed {SEED}");
    let writers = Writers::start(server, 3).await;
    let mut last = None;
    for round in 0..6 {
        let mut frozen = freeze(server, loading, names, 3).await.expect("it freezes");
        assert_eq!(frozen.snapshots.len(), 3);
        server.scan().await;
        let (one, two) =
            (at(server, "one", &frozen.position).await, at(server, "two", &frozen.position).await);
        for reader in 0..3 {
            let rows = [1, 5, 100][(round + reader) % 3];
            let first = snapshot(loading, &mut frozen, reader, "one", rows).await;
            let second = snapshot(loading, &mut frozen, reader, "two", rows).await;
            let total: i64 = first.values().chain(second.values()).sum();
            assert_eq!(total, TOTAL, "round {round}");
            assert_eq!(first, one, "round {round}, dbo.one at {}", frozen.position);
            assert_eq!(second, two, "round {round}, dbo.two at {}", frozen.position);
        }
        assert!(last < Some(frozen.position), "positions go on");
        last = Some(frozen.position);
    }
    writers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_the_source_at_their_position() {
    let mut server = Server::new().await;
    accounts(&mut server).await;
    see_positions(&mut server).await;
    let loading = Loading::new(&server).await;
    frozen_under_writers(&mut server, &loading, &["one", "two"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_tells_the_position_without_the_right_to_see_it() {
    let mut server = Server::new().await;
    accounts(&mut server).await;
    signal_table(&mut server).await;
    let settings = config::Capture { signal_table: Some("dbo.signals".to_owned()), ..capture() };
    let loading = Loading::with(&server, settings).await;
    // The signal table itself among the frozen.
    frozen_under_writers(&mut server, &loading, &["one", "signals", "two"]).await;
    let left = server.admin.run("SELECT id FROM dbo.signals").await;
    assert!(left.is_empty(), "no signal stays behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_tables_freeze_too() {
    let mut server = Server::new().await;
    accounts(&mut server).await;
    see_positions(&mut server).await;
    server.table("empty", "id int NOT NULL, v int NOT NULL").await;
    let loading = Loading::new(&server).await;
    let table = loading.table("empty").clone();
    let mut frozen = freeze(&mut server, &loading, &["empty"], 2).await.expect("it freezes");
    server.captured("INSERT INTO dbo.empty VALUES (1, 1)").await;
    assert!(frozen.position < server.newest().await);
    for snapshot in &mut frozen.snapshots {
        let mut rows = snapshot.rows(&table, &whole()).await.expect("rows");
        assert_eq!(drain(rows.as_mut()).await.expect("rows"), [] as [Row; 0]);
    }
}

fn code(result: Result<Frozen, Failure>) -> (&'static str, Disposition) {
    let failure = result.err().expect("it does not freeze");
    assert_eq!(failure.disposition() == Disposition::Halt, !failure.remedy.is_empty(), "{failure}");
    (failure.code.as_str(), failure.disposition())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_for_a_freeze_is_said() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    let loading = Loading::new(&server).await;
    let nothing = freeze(&mut server, &loading, &["t"], 1).await;
    assert_eq!(code(nothing), ("source.freeze", Disposition::Halt));
    see_positions(&mut server).await;
    let no_snapshots = freeze(&mut server, &loading, &["t"], 1).await;
    assert_eq!(code(no_snapshots), ("source.snapshot_isolation", Disposition::Halt));
    server.admin.run("ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON").await;
    freeze(&mut server, &loading, &["t"], 1).await.expect("now it freezes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_does_not_end_is_waited_for_and_no_lock_stays_behind() {
    let mut server = Server::new().await;
    accounts(&mut server).await;
    see_positions(&mut server).await;
    let settings = config::Capture { lock_timeout: Duration::from_millis(100), ..capture() };
    let loading = Loading::with(&server, settings).await;
    let mut writer = server.session().await;
    writer
        .run("BEGIN TRANSACTION; UPDATE dbo.two SET v = v; INSERT INTO dbo.two VALUES (500, 0)")
        .await;
    let tables = [loading.table("one").clone(), loading.table("two").clone()];
    let failure = loading.loader.freeze(&tables, 1).await.err().expect("it is locked out");
    assert_eq!((failure.code.as_str(), failure.disposition()), ("source.busy", Disposition::Retry));
    assert!(failure.message.contains("dbo.two"), "{failure}");
    // The lock on the other table went with the failure.
    server.admin.run("SET LOCK_TIMEOUT 20000; UPDATE dbo.one SET v = v").await;
    writer.run("COMMIT TRANSACTION").await;
    loading.loader.freeze(&tables, 1).await.expect("it freezes");
    server.admin.run("UPDATE dbo.one SET v = v").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_gives_up_loses_its_snapshot_and_no_other() {
    let mut server = Server::new().await;
    accounts(&mut server).await;
    see_positions(&mut server).await;
    let loading = Loading::new(&server).await;
    let table = loading.table("one").clone();
    let mut frozen = freeze(&mut server, &loading, &["one"], 2).await.expect("it freezes");
    drop(frozen.snapshots[0].rows(&table, &whole()).await.expect("rows"));
    let lost = frozen.snapshots[0].rows(&table, &whole()).await.err().expect("it is gone");
    assert_eq!(lost.disposition(), Disposition::Retry);
    let other = snapshot(&loading, &mut frozen, 1, "one", 5).await;
    assert_eq!(i64::try_from(other.len()), Ok(ACCOUNTS));
}
