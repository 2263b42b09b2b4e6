//! Disks that are full: somebody is waited for, nothing is lost, and apply goes on by itself.

use bytesize::ByteSize;
use lockstep_common::FailPoints;
use lockstep_common::service::status::{ApplyStatus, TaskState};

use crate::bed::Bed;
use crate::disk::Disk;
use crate::source::{account, accounts, insert};
use lockstep_servers::cluster::{Cluster, Kind, NOBODY};

fn waits(status: &ApplyStatus, code: &str) -> bool {
    let said = status.last_error.as_deref().is_some_and(|error| error.contains(code));
    status.state == TaskState::Waiting && said
}

/// Attempts at a full target come seldom, however long it lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_room_is_waited_for() {
    let Some(disk) = Disk::new(32, NOBODY) else { return };
    let cluster = Cluster::new(Kind::Quick);
    let mut bed = Bed::on(&cluster).await;
    let place = disk.path().display();
    bed.query(&format!("CREATE TABLESPACE small LOCATION '{place}'")).await;
    bed.query(
        "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int) TABLESPACE small; \
         CREATE TABLE other (id int PRIMARY KEY, owner text, balance int)",
    )
    .await;
    let (a, mut of_others) = (bed.source.table(&accounts()).await, accounts());
    of_others.name.table = "other".into();
    let o = bed.source.table(&of_others).await;
    bed.source.commit(&[insert(a, account(0, "x", 1)), insert(o, account(0, "x", 1))]).await;
    let mut apply = bed.start();
    apply.reaches(1).await;
    // All but a few pages.
    bed.query(
        "CREATE TABLE filler (t text) TABLESPACE small; \
         DO $$ BEGIN LOOP INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 50); \
         END LOOP; EXCEPTION WHEN disk_full THEN NULL; END $$; \
         ALTER TABLE filler SET (autovacuum_enabled = off)",
    )
    .await;
    // The statement that failed was undone, its pages were not.
    let room =
        "DO $$ BEGIN LOOP INSERT INTO filler VALUES (repeat('x', 1000)); COMMIT; END LOOP; END $$";
    let full = bed.database.refused(room).await;
    assert_eq!(full, "53100");
    let long = "y".repeat(1000);
    let ids = 1..=2000;
    let rows: Vec<_> = ids.map(|id| vec![insert(a, account(id, &long, 1))]).collect();
    let n = bed.source.commit_all(&rows).await;
    let first = apply.until("the shortage", |s| waits(s, "apply.target_full")).await;
    let error = first.last_error.expect("an error");
    assert!(error.contains("53100") && error.contains("by itself"), "{error}");
    // It says so all the while that it tries again, not only between attempts.
    let began = std::time::Instant::now();
    let mut attempts = apply.status.clone();
    let mut last = first.epoch;
    while last < first.epoch + 4 {
        attempts.changed().await.expect("apply runs");
        let status = attempts.borrow_and_update().clone();
        assert!(waits(&status, "apply.target_full"), "{status:?}");
        last = status.epoch;
    }
    // Each pause is half its step at least: 100, 200, 400, 800 ms.
    assert!(began.elapsed().as_millis() >= 700, "{:?}", began.elapsed());
    bed.query("DROP TABLE filler; CHECKPOINT").await;
    let status = apply.reaches(n).await;
    assert_eq!(status.state, TaskState::Running, "{status:?}");
    apply.stop().await;
    assert_eq!(bed.query("SELECT count(*), count(DISTINCT id) FROM accounts").await, ["2001|2001"]);
    drop((bed, cluster));
}

/// What is in memory is applied; the log is read no further, and the spool's database is never met full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_without_room_is_waited_for() {
    let Some(disk) = Disk::new(160, 0) else { return };
    for held_for_long in [false, true] {
        let mut bed = Bed::new().await;
        let a = bed.source.table(&accounts()).await;
        let mut settings = bed.settings();
        settings.config.spool = disk.path().join(format!("spool-{held_for_long}"));
        settings.config.memory = ByteSize::kib(256);
        bed.source.commit(&[insert(a, account(0, "x", 1))]).await;
        let mut apply = bed.start_with(settings, FailPoints::default());
        apply.reaches(1).await;
        let mut other =
            crate::bed::connect(bed.database.port, &bed.database.name, "postgres").await;
        let lock = other.transaction().await.expect("a transaction");
        lock.batch_execute("LOCK TABLE accounts IN SHARE MODE").await.expect("the lock");
        let long = "y".repeat(1000);
        let mut write = async |ids: std::ops::RangeInclusive<i64>| {
            let rows: Vec<_> = ids.map(|id| vec![insert(a, account(id, &long, 1))]).collect();
            bed.source.commit_all(&rows).await
        };
        if held_for_long {
            // Something is in the spool already, and goes through it.
            write(1..=1000).await;
            apply.until("the spool", |s| s.spool_bytes > 500_000).await;
        }
        disk.fill(120);
        let n = write(1001..=3000).await;
        let status = apply.until("the shortage", |s| waits(s, "apply.spool_full")).await;
        assert!(status.back_pressure && status.memory_bytes < 4 << 20, "{status:?}");
        if held_for_long {
            disk.empty();
            let recovers =
                |s: &ApplyStatus| s.state == TaskState::Running && s.spool_bytes > 2_500_000;
            apply.until("room again", recovers).await;
            lock.rollback().await.expect("undone");
        } else {
            // The target takes what memory has, and makes room there.
            lock.rollback().await.expect("undone");
        }
        let status = apply.reaches(n).await;
        assert_eq!(status.state, TaskState::Running, "{status:?}");
        apply.stop().await;
        let rows = if held_for_long { 3001 } else { 2001 };
        let counted = "SELECT count(*), count(DISTINCT id) FROM accounts";
        assert_eq!(bed.query(counted).await, [format!("{rows}|{rows}")]);
        if !held_for_long {
            disk.empty();
        }
    }
}
