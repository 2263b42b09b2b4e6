//! Full loads: chunks beside the stream, exact ones, loads again, other targets.

use lockstep_common::FailPoints;
use lockstep_common::config::Prepare;
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::service::status::{LoadState, TableLoadState};
use lockstep_common::{LongKind, LongValue, TableId, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::bed::Bed;
use crate::source::{
    INT, TEXT, account, accounts, at, change, delete, insert, int, table, text, update,
};

pub const LOAD: Uuid = Uuid::from_u128(7);
const ROWS: &str = "SELECT id, owner, balance FROM accounts ORDER BY id";
const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };

fn exact(n: u64, restart: bool) -> ChunkAttributes {
    ChunkAttributes { from: Some(at(n)), restart }
}

/// An update that says nothing of the owner.
fn partial(
    table: TableId,
    id: i64,
    balance: i64,
) -> lockstep_common::model::record::Change<'static> {
    let before = Before::Key(vec![int(id)]);
    change(table, Operation::Update, before, vec![int(id), Value::Unavailable, int(balance)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_and_stream_come_together() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    let mut apply = bed.start();
    // Read from the source before what the stream says of it comes: 1 is gone, 2 has another balance,
    // 3 is whole and new, 4 went and came again.
    bed.source.chunk_begin((LOAD, a, 0), PLAIN).await;
    bed.source
        .commit(&[
            delete(a, account(1, "a", 1)),
            partial(a, 2, 20),
            update(a, account(3, "c", 3), account(3, "C", 30)),
            delete(a, account(4, "d", 4)),
            insert(a, account(4, "D", 40)),
        ])
        .await;
    let rows: Vec<_> = (1..=6).map(|i| account(i, "old", i)).collect();
    let offsets = bed.source.chunk_rows((LOAD, a, 0), 0, &rows, 4).await;
    bed.source.chunk_end((LOAD, a, 0), 0, offsets, 6).await;
    bed.source.commit(&[partial(a, 5, 50), delete(a, account(6, "old", 6))]).await;
    bed.source.chunk((LOAD, a, 1), PLAIN, &[account(7, "g", 7)]).await;
    bed.source.chunk((LOAD, a, 2), PLAIN, &[]).await;
    bed.source.table_read(LOAD, a, 3, 7).await;
    bed.source.commit(&[insert(a, account(8, "h", 8))]).await;
    bed.source.end_load(LOAD).await;
    let n = bed.source.commit(&[update(a, account(8, "h", 8), account(8, "h", 80))]).await;
    apply.reaches(n).await;
    let done = |s: &lockstep_common::service::status::ApplyStatus| {
        s.load.as_ref().is_some_and(|load| load.state == LoadState::Done)
    };
    apply.until("the load's end", done).await;
    let status = apply.stop().await;
    let expected = ["2|old|20", "3|C|30", "4|D|40", "5|old|50", "7|g|7", "8|h|80"];
    assert_eq!(bed.query(ROWS).await, expected);
    let load = status.load.expect("a load");
    let table = &load.tables["dbo.accounts"];
    assert_eq!((table.rows, table.chunks, table.chunks_total), (7, 3, Some(3)));
    assert_eq!(table.state, TableLoadState::Loaded);
    assert_eq!(load.consistent, Some(at(4)));
    assert_eq!(status.exceptions, 0);
    let kept = bed.query("SELECT state, consistent FROM lockstep.load").await;
    assert_eq!(kept, [format!("done|{}", at(4))]);
    let notes = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'notes%'";
    assert_eq!(bed.query(notes).await, ["0"]);
    // From the load's end on, what does not fit is a conflict again.
    bed.source.commit(&[delete(a, account(99, "x", 1))]).await;
    assert_eq!(bed.start().halts().await.code.as_str(), "apply.conflict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_many_chunks_and_records_arrive_with_long_values() {
    let mut bed = Bed::new().await;
    let version = table("docs", 1, &[("id", INT), ("body", TEXT)]);
    let d = bed.source.defined(&version).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(d, Handoff::Bracketed)]).await;
    let mut total = 0;
    for chunk in 0..6_u32 {
        bed.source.chunk_begin((LOAD, d, chunk), PLAIN).await;
        // One key of each chunk has been touched: it goes the second way.
        let first = i64::from(chunk) * 1000;
        bed.source
            .commit(&[change(
                d,
                Operation::Update,
                Before::Key(vec![int(first)]),
                vec![int(first), Value::Unavailable],
            )])
            .await;
        let filler = "x".repeat(600);
        let rows: Vec<_> = (0..1000).map(|i| vec![int(first + i), text(&filler)]).collect();
        let offsets = bed.source.chunk_rows((LOAD, d, chunk), chunk % 2, &rows, 50).await;
        bed.source.chunk_end((LOAD, d, chunk), chunk % 2, offsets, rows.len()).await;
        total += 1000;
    }
    let long = "y".repeat(700_000);
    let mut writer = lockstep_common::codec::ChunkWriter::new(&bed.source.chunk_head(LOAD, d, 6));
    bed.source.chunk_begin((LOAD, d, 6), PLAIN).await;
    let mut payloads = Vec::new();
    for data in long.as_bytes().chunks(256 << 10) {
        writer.push_part(&lockstep_common::model::record::Part { id: 0, data: data.into() });
        payloads.push(writer.cut());
    }
    let digest = Sha256::digest(long.as_bytes()).into();
    let value = LongValue { id: 0, length: 700_000, digest, kind: LongKind::Text };
    writer.push_row(&[int(-1), Value::Long(value)]);
    payloads.push(writer.cut());
    let offsets = bed.source.chunk_records(1, payloads).await;
    bed.source.chunk_end((LOAD, d, 6), 1, offsets, 1).await;
    bed.source.table_read(LOAD, d, 7, total + 1).await;
    bed.source.end_load(LOAD).await;
    bed.source.progress().await;
    bed.catch_up().await;
    let sums = "SELECT count(*), sum(length(body)), min(id) FROM docs";
    assert_eq!(bed.query(sums).await, ["6001|4300000|-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exact_table_is_of_its_position_and_is_read_anew_after_a_break() {
    let mut bed = Bed::new().await;
    let keyless = table("events", 0, &[("what", TEXT)]);
    let a = bed.source.defined(&accounts()).await;
    let e = bed.source.defined(&keyless).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Exact), (e, Handoff::Exact)]).await;
    // The stream is behind the frozen position 4: these are in the rows.
    bed.source.commit(&[insert(a, account(1, "a", 1)), insert(e, vec![text("one")])]).await;
    bed.source.chunk((LOAD, e, 0), exact(4, true), &[vec![text("one")], vec![text("two")]]).await;
    bed.source.table_read(LOAD, e, 1, 2).await;
    bed.source.chunk((LOAD, a, 0), exact(4, true), &[account(1, "a", 1)]).await;
    // The source's snapshot broke: the stream goes on, then `accounts` is read anew as of 5.
    let apply = bed.start();
    bed.source.commit(&[insert(a, account(2, "b", 2))]).await;
    bed.source.commit(&[insert(e, vec![text("two")])]).await;
    bed.source.commit(&[insert(e, vec![text("three")])]).await;
    let rows = [account(1, "a", 1), account(2, "b", 2)];
    bed.source.chunk((LOAD, a, 0), exact(6, true), &rows).await;
    bed.source.chunk((LOAD, a, 1), exact(6, false), &[account(3, "c", 3)]).await;
    bed.source.table_read(LOAD, a, 2, 3).await;
    bed.source.commit(&[insert(a, account(3, "c", 3))]).await;
    bed.source.end_load(LOAD).await;
    let n = bed.source.commit(&[update(a, account(3, "c", 3), account(3, "c", 30))]).await;
    let mut apply = apply;
    apply.reaches(n).await;
    apply.stop().await;
    assert_eq!(bed.query(ROWS).await, ["1|a|1", "2|b|2", "3|c|30"]);
    let events = "SELECT what FROM events ORDER BY what";
    assert_eq!(bed.query(events).await, ["one", "three", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_target_loads_from_the_same_log() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, a, 0), PLAIN, &[account(1, "a", 1), account(2, "b", 2)]).await;
    bed.source.table_read(LOAD, a, 1, 2).await;
    bed.source.end_load(LOAD).await;
    bed.source.commit(&[delete(a, account(1, "a", 1))]).await;
    bed.catch_up().await;
    let second = crate::bed::Database::new(bed.database.port).await;
    let mut settings = bed.settings();
    settings.config.database = second.name.clone();
    settings.config.spool = bed.spool("second");
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query(ROWS).await, ["2|b|2"]);
    assert_eq!(second.query(ROWS).await, ["2|b|2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_loaded_again_beside_the_running_stream() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    let other = bed.source.defined(&table("other", 1, &[("id", INT)])).await;
    bed.source.commit(&[insert(a, account(1, "a", 1)), insert(other, vec![int(1)])]).await;
    let mut apply = bed.start();
    apply.reaches(1).await;
    // Somebody's hand: the target has diverged.
    bed.query("DELETE FROM accounts; INSERT INTO accounts VALUES (9, 'stray', 9)").await;
    let reload =
        LoadMarker::Begin { load: LOAD, reload: true, tables: vec![(a, Handoff::Bracketed)] };
    bed.source.marker(reload).await;
    bed.source.chunk_begin((LOAD, a, 0), PLAIN).await;
    bed.source.commit(&[partial(a, 1, 10), insert(other, vec![int(2)])]).await;
    let offsets = bed.source.chunk_rows((LOAD, a, 0), 0, &[account(1, "a", 1)], 2).await;
    bed.source.chunk_end((LOAD, a, 0), 0, offsets, 1).await;
    bed.source.table_read(LOAD, a, 1, 1).await;
    bed.source.end_load(LOAD).await;
    let n = bed.source.commit(&[partial(a, 1, 11)]).await;
    apply.reaches(n).await;
    apply.stop().await;
    assert_eq!(bed.query(ROWS).await, ["1|a|11"]);
    assert_eq!(bed.query("SELECT id FROM other ORDER BY id").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_kept_are_replaced_by_those_of_the_load() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.query(
        "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int); \
         INSERT INTO accounts SELECT i, 'stale', 0 FROM generate_series(1, 9) AS i",
    )
    .await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    bed.source.chunk_begin((LOAD, a, 0), PLAIN).await;
    bed.source
        .commit(&[
            partial(a, 1, 10),
            update(a, account(2, "b", 2), account(2, "B", 20)),
            delete(a, account(3, "c", 3)),
            update(a, account(4, "d", 4), account(14, "d", 4)),
        ])
        .await;
    let rows: Vec<_> = (1..=5).map(|i| account(i, "new", i)).collect();
    let offsets = bed.source.chunk_rows((LOAD, a, 0), 0, &rows, 2).await;
    bed.source.chunk_end((LOAD, a, 0), 0, offsets, 5).await;
    bed.source.table_read(LOAD, a, 1, 5).await;
    bed.source.end_load(LOAD).await;
    bed.source.progress().await;
    let mut settings = bed.settings();
    settings.config.prepare = Prepare::Keep;
    bed.catch_up_with(settings).await;
    let kept = (6..=9).map(|i| format!("{i}|stale|0"));
    let expected: Vec<String> = ["1|new|10", "2|B|20", "5|new|5"]
        .map(str::to_owned)
        .into_iter()
        .chain(kept)
        .chain(["14|d|4".to_owned()])
        .collect();
    assert_eq!(bed.query(ROWS).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_task_ends_apply() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, a, 0), PLAIN, &[account(1, "a", 1)]).await;
    bed.source.table_read(LOAD, a, 1, 1).await;
    bed.source.end_load(LOAD).await;
    // An end that something follows is none.
    bed.source.marker(LoadMarker::TaskEnd).await;
    bed.source.commit(&[insert(a, account(2, "b", 2))]).await;
    bed.source.marker(LoadMarker::TaskEnd).await;
    let status = bed.start().ends().await;
    assert_eq!(status.load.map(|load| load.state), Some(LoadState::Done));
    assert_eq!(bed.query(ROWS).await, ["1|a|1", "2|b|2"]);
    // Started again, it follows what may come.
    let mut apply = bed.start();
    let n = bed.source.commit(&[insert(a, account(3, "c", 3))]).await;
    apply.reaches(n).await;
    apply.stop().await;
}

/// A key may change without its row being given whole: where the row is, it moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_changes_in_part_moves_its_row() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    let moved = |old: i64, new: i64, balance: i64| {
        let before = Before::Key(vec![int(old)]);
        change(a, Operation::Update, before, vec![int(new), Value::Unavailable, int(balance)])
    };
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    let rows = [account(1, "a", 1), account(2, "b", 2), account(13, "c", 3)];
    bed.source.chunk((LOAD, a, 0), PLAIN, &rows).await;
    // 1 is there and moves; 3 was read under its new key already; 4 is read after it moved.
    bed.source.commit(&[moved(1, 11, 10), moved(3, 13, 30), moved(4, 14, 40)]).await;
    bed.source.chunk((LOAD, a, 1), PLAIN, &[account(14, "d", 40)]).await;
    bed.source.table_read(LOAD, a, 2, 4).await;
    bed.source.end_load(LOAD).await;
    let n = bed.source.progress().await;
    let mut apply = bed.start();
    apply.reaches(n).await;
    assert_eq!(bed.query(ROWS).await, ["2|b|2", "11|a|10", "13|c|30", "14|d|40"]);
    apply.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_never_came_whole_halts_the_load() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, a, 0), PLAIN, &[]).await;
    let before = Before::Key(vec![int(9)]);
    let after = vec![int(1), Value::Unavailable, int(1)];
    bed.source.commit(&[change(a, Operation::Update, before, after)]).await;
    bed.source.table_read(LOAD, a, 1, 0).await;
    bed.source.end_load(LOAD).await;
    assert_eq!(bed.start().halts().await.code.as_str(), "apply.load.incomplete");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_forgets_the_loads() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, a, 0), PLAIN, &[account(1, "a", 1)]).await;
    let n = bed.source.progress().await;
    let mut apply = bed.start_with(bed.settings(), FailPoints::default());
    apply.reaches(n).await;
    apply.stop().await;
    lockstep_apply::reset(&bed.settings()).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM lockstep.load) + (SELECT count(*) FROM \
                lockstep.load_table) + (SELECT count(*) FROM lockstep.load_chunk) + \
                (SELECT count(*) FROM pg_tables WHERE tablename LIKE 'notes%')";
    assert_eq!(bed.query(left).await, ["0"]);
    bed.source.table_read(LOAD, a, 1, 1).await;
    bed.source.end_load(LOAD).await;
    bed.source.progress().await;
    let mut settings = bed.settings();
    settings.config.prepare = Prepare::Truncate;
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query(ROWS).await, ["1|a|1"]);
}
