//! Full loads that break: crashes, rivals, and logs that have lost something.

use lockstep_apply::failpoints;
use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::{FailPoints, TableId};
use lockstep_log::Stream;

use crate::bed::{Bed, connect};
use crate::loads::LOAD;
use crate::source::{INT, account, accounts, at, delete, insert, int, table, update};

const ROWS: &str = "SELECT id, owner, balance FROM accounts ORDER BY id";
/// A loader waits for a chunk's row.
const WAITING: &str = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
    AND query LIKE '%claim_chunk%' AND datname = current_database()";
const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };

/// A load of three chunks with changes between, up to its end.
async fn load(bed: &mut Bed) -> TableId {
    let a = bed.source.defined(&accounts()).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    for chunk in 0..3_u32 {
        let first = i64::from(chunk) * 10;
        bed.source.chunk_begin((LOAD, a, chunk), PLAIN).await;
        bed.source
            .commit(&[
                delete(a, account(first, "x", 0)),
                update(a, account(first + 1, "x", 0), account(first + 1, "y", 1)),
            ])
            .await;
        let rows: Vec<_> = (first..first + 10).map(|i| account(i, "x", 0)).collect();
        let offsets = bed.source.chunk_rows((LOAD, a, chunk), chunk, &rows, 3).await;
        bed.source.chunk_end((LOAD, a, chunk), chunk, offsets, 10).await;
        bed.source.commit(&[delete(a, account(first + 2, "x", 0))]).await;
    }
    bed.source.table_read(LOAD, a, 3, 30).await;
    bed.source.end_load(LOAD).await;
    bed.source.commit(&[insert(a, account(100, "z", 3))]).await;
    a
}

fn expected() -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for i in 0..30 {
        match i % 10 {
            0 | 2 => {}
            1 => rows.push(format!("{i}|y|1")),
            _ => rows.push(format!("{i}|x|0")),
        }
    }
    rows.push("100|z|3".into());
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_fail_point_of_a_load_changes_nothing() {
    for point in failpoints::LOAD {
        let mut bed = Bed::new().await;
        load(&mut bed).await;
        let failure = bed.start_with(bed.settings(), FailPoints::armed(point, 1)).fails().await;
        assert_eq!(failure.code.as_str(), "failpoint", "{point}: {failure}");
        bed.catch_up().await;
        assert_eq!(bed.query(ROWS).await, expected(), "{point}");
        let done = "SELECT count(*), sum(rows) FROM lockstep.load_chunk WHERE state = 'done'";
        assert_eq!(bed.query(done).await, ["3|30"], "{point}");
    }
}

/// A loader of an apply that is gone still has the chunk in hand: the next one waits for it, and what
/// it has committed is not done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_left_behind_keeps_others_out_until_it_ends() {
    for commits in [true, false] {
        let mut bed = Bed::new().await;
        load(&mut bed).await;
        let point = FailPoints::armed(failpoints::CHUNK_NOTED, 1);
        bed.start_with(bed.settings(), point).fails().await;
        let zombie = connect(bed.database.port, &bed.database.name, "postgres").await;
        let claim = "BEGIN; SELECT lockstep.claim_chunk(pipeline, load, version, chunk, \
                     (SELECT epoch FROM lockstep.checkpoint)) FROM lockstep.load_chunk \
                     WHERE state = 'pending'";
        zombie.batch_execute(claim).await.unwrap();
        let mut apply = bed.start();
        apply.until("its epoch", |status| status.epoch == 2).await;
        bed.database.shows(WAITING, &["t"]).await;
        if commits {
            // It has overlaid the notes, as the rule says.
            let rows = "INSERT INTO accounts SELECT i, 'x', 0 FROM generate_series(2, 9) AS i; \
                        UPDATE lockstep.load_chunk SET state = 'done' WHERE state = 'pending'; \
                        COMMIT";
            zombie.batch_execute(rows).await.unwrap();
        } else {
            zombie.batch_execute("ROLLBACK").await.unwrap();
        }
        apply.reaches(bed.source.at).await;
        apply.stop().await;
        assert_eq!(bed.query(ROWS).await, expected(), "commits: {commits}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_of_an_older_epoch_does_nothing() {
    let mut bed = Bed::new().await;
    load(&mut bed).await;
    let point = FailPoints::armed(failpoints::CHUNK_NOTED, 1);
    bed.start_with(bed.settings(), point).fails().await;
    let claim = |epoch: &str| {
        format!(
            "SELECT lockstep.claim_chunk(pipeline, load, version, chunk, (SELECT {epoch} FROM \
             lockstep.checkpoint)) FROM lockstep.load_chunk WHERE state = 'pending'"
        )
    };
    let client = connect(bed.database.port, &bed.database.name, "postgres").await;
    client.batch_execute(&claim("epoch")).await.unwrap();
    let refused = client.batch_execute(&claim("epoch - 1")).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("LS003"));
}

/// While rows of a chunk are on their way, transactions that name its table wait, and others do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_waits_for_chunks_of_the_tables_it_names() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    let other = bed.source.defined(&table("other", 1, &[("id", INT)])).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, a, 0), PLAIN, &[account(1, "x", 0), account(2, "x", 0)]).await;
    let point = FailPoints::armed(failpoints::CHUNK_NOTED, 1);
    bed.start_with(bed.settings(), point).fails().await;
    let client = connect(bed.database.port, &bed.database.name, "postgres").await;
    let hold = "BEGIN; SELECT FROM lockstep.load_chunk WHERE state = 'pending' FOR UPDATE";
    client.batch_execute(hold).await.unwrap();
    let mut apply = bed.start();
    bed.database.shows(WAITING, &["t"]).await;
    let n = bed.source.commit(&[insert(other, vec![int(1)])]).await;
    let next = apply.reaches(n).await.next_offset;
    assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["0"]);
    let both = [insert(other, vec![int(2)]), delete(a, account(1, "x", 0))];
    let waits = bed.source.commit(&both).await;
    // With each one behind it that is read, apply says anew how many have not been begun. Once that is
    // all but the first, it stays so.
    let (mut last, mut behind, mut rounds) = (waits, 0, 0);
    while rounds < 5 {
        behind += 1;
        last = bed.source.commit(&[insert(other, vec![int(2 + behind)])]).await;
        let end = next + 1 + u64::try_from(behind).unwrap();
        let status = apply.until("the next one", |status| status.fetched_offset >= end).await;
        assert_eq!(status.position, at(waits - 1));
        let begun = status.waiting_transactions < end - next;
        assert!(rounds == 0 || begun, "{status:?}");
        rounds += u32::from(begun);
    }
    assert_eq!(apply.status.borrow().waiting_transactions, u64::try_from(behind).unwrap());
    let locks = "SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock' \
                 AND relation = 'other'::regclass";
    assert_eq!(bed.query(locks).await, ["0"], "it waits before its first statement");
    client.batch_execute("COMMIT").await.unwrap();
    apply.reaches(last).await;
    apply.stop().await;
    assert_eq!(bed.query(ROWS).await, ["2|x|0"]);
}

/// A chunk's connection may be lost at any moment: it is done again, beside the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_is_tried_again_without_the_stream() {
    let mut bed = Bed::new().await;
    load(&mut bed).await;
    // Holds the chunk up where its connection can be met.
    let client = connect(bed.database.port, &bed.database.name, "postgres").await;
    let point = FailPoints::armed(failpoints::CHUNK_NOTED, 1);
    bed.start_with(bed.settings(), point).fails().await;
    client
        .batch_execute("BEGIN; SELECT FROM lockstep.load_chunk WHERE state = 'pending' FOR UPDATE")
        .await
        .unwrap();
    let mut apply = bed.start();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE wait_event_type = 'Lock' AND query LIKE '%claim_chunk%' \
               AND datname = current_database()";
    bed.database.shows(end, &["1"]).await;
    client.batch_execute("COMMIT").await.unwrap();
    let status = apply.reaches(bed.source.at).await;
    assert_eq!(status.epoch, 2, "the stream's connection stays");
    apply.stop().await;
    assert_eq!(bed.query(ROWS).await, expected());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_began_before_the_start_point_is_passed_over() {
    let mut bed = Bed::new().await;
    let a = load(&mut bed).await;
    let n = bed.source.commit(&[insert(a, account(101, "z", 4))]).await;
    // The operator says that the target is at position 3, and has its rows.
    bed.query("CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int)").await;
    bed.query("INSERT INTO accounts SELECT i, 'x', 0 FROM generate_series(10, 30) AS i").await;
    let mut settings = bed.settings();
    settings.config.start = Some(format!("position:{}", at(3)));
    let mut apply = bed.start_with(settings, FailPoints::default());
    let status = apply.reaches(n).await;
    assert!(status.notices.iter().any(|notice| notice.contains("passed over")), "{status:?}");
    assert_eq!(status.load, None);
    apply.stop().await;
    let count = "SELECT count(*) FROM accounts WHERE id >= 100";
    assert_eq!(bed.query(count).await, ["2"]);
    assert_eq!(bed.query("SELECT owner FROM accounts WHERE id = 11").await, ["y"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_the_load_it_continues_halts() {
    let mut bed = Bed::new().await;
    load(&mut bed).await;
    // The first bracket of the second chunk is the oldest record left: epoch, progress, the load's
    // begin, and two brackets and two transactions of the first chunk are gone.
    bed.log.trim(Stream::Transactions, 7).await.unwrap();
    assert_eq!(bed.start().halts().await.code.as_str(), "apply.load.gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_the_log_has_lost_halt() {
    let mut bed = Bed::new().await;
    load(&mut bed).await;
    bed.log.trim(Stream::Snapshot(1), 2).await.unwrap();
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.load.lost");
    assert!(failure.message.contains("chunk 1 of dbo.accounts"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_are_not_what_their_end_says_halt() {
    for (rows, cut, code) in [(11, 0, "damaged"), (9, 0, "damaged"), (10, 1, "damaged")] {
        let mut bed = Bed::new().await;
        let a = bed.source.defined(&accounts()).await;
        bed.source.progress().await;
        bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
        bed.source.chunk_begin((LOAD, a, 0), PLAIN).await;
        let ten: Vec<_> = (0..10).map(|i| account(i, "x", 0)).collect();
        let (first, last) = bed.source.chunk_rows((LOAD, a, 0), 0, &ten, 3).await.unwrap();
        bed.source.chunk_end((LOAD, a, 0), 0, Some((first + cut, last)), rows).await;
        bed.source.progress().await;
        let failure = bed.start().halts().await;
        assert_eq!(failure.code.as_str(), format!("apply.load.{code}"), "{rows} {cut}: {failure}");
        assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["0"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_chunks_have_not_all_come_halts() {
    for (chunks, rows) in [(2, 1), (1, 2), (0, 0)] {
        let mut bed = Bed::new().await;
        let a = bed.source.defined(&accounts()).await;
        bed.source.progress().await;
        bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
        bed.source.chunk((LOAD, a, 0), PLAIN, &[account(1, "a", 1)]).await;
        bed.source.table_read(LOAD, a, chunks, rows).await;
        assert_eq!(bed.start().halts().await.code.as_str(), "apply.load.gap", "{chunks} {rows}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_before_its_tables_are_read_halts() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    bed.source.end_load(LOAD).await;
    assert_eq!(bed.start().halts().await.code.as_str(), "apply.disorder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_the_target_cannot_hold_halts() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, a, 0), PLAIN, &[account(1, "a\0b", 1)]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.load.value");
    assert!(!failure.to_string().contains("a\0b"));
}

/// A schema of an earlier version is brought up to this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_from_before_loads_is_brought_up() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(200, "old", 1))]).await;
    bed.catch_up().await;
    bed.query(
        "DROP TABLE lockstep.load, lockstep.load_table, lockstep.load_chunk, lockstep.load_object; \
         DROP FUNCTION lockstep.claim_chunk",
    )
    .await;
    bed.source.commit(&[insert(a, account(201, "new", 1))]).await;
    bed.catch_up().await;
    assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["2"]);
    assert_eq!(bed.query("SELECT count(*) FROM lockstep.load_chunk").await, ["0"]);
}
