//! What an earlier build left behind is taken over: its log, its spool, its target in mid life.
//!
//! `fixtures/README.md` says what is there and how it was made.

use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep_apply::ApplySettings;
use lockstep_common::FailPoints;
use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::service::status::{ApplyStatus, LoadState, TaskState};
use lockstep_common::{LogicalType, TableVersion, Value};
use uuid::Uuid;

use crate::bed::Bed;
use crate::offsets::events;
use crate::proxy::{Line, Proxy};
use crate::source::{
    INT, TEXT, account, accounts, change, delete, insert, int, table, text, typed, update,
};

const LOAD: Uuid = Uuid::from_u128(7);
/// Units that the fixture's spool holds: three transactions, and three that belong to the load.
const SPOOLED: u64 = 6;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn settings(bed: &Bed) -> ApplySettings {
    let mut settings = bed.settings();
    settings.config.offset_columns = Some("_offset".into());
    settings
}

/// `moments(at datetime2(7) key, what nvarchar(max))`
fn moments() -> TableVersion {
    let columns = [
        ("at", "datetime2(7)", LogicalType::Timestamp { digits: 7 }),
        ("what", "nvarchar(max)", TEXT),
    ];
    typed("moments", 1, &columns)
}

fn orders() -> TableVersion {
    table("orders", 1, &[("id", INT), ("note", TEXT)])
}

fn order(id: i64, note: &str) -> Vec<Value<'static>> {
    vec![int(id), text(note)]
}

fn moment(ticks: i64, what: &str) -> Vec<Value<'static>> {
    vec![Value::Timestamp(ticks), text(what)]
}

fn event(id: i64, offset: i16) -> Vec<Value<'static>> {
    vec![int(id), Value::TimestampTz { ticks: 0, offset }, Value::Null, text("e")]
}

/// Whether apply holds the fixture's spool, and has no target.
fn spooled(status: &ApplyStatus) -> bool {
    status.waiting_transactions == SPOOLED && status.state == TaskState::Retrying
}

/// What the source has at the end of the log.
async fn is_whole(bed: &Bed) {
    let rows = "SELECT id, owner, balance FROM accounts ORDER BY id";
    assert_eq!(bed.query(rows).await, ["1|a|100", "3|c|3"]);
    let rows = "SELECT id, at_offset, until_offset FROM events ORDER BY id";
    assert_eq!(bed.query(rows).await, ["1|90|NULL", "2|-60|NULL"]);
    let rows =
        "SELECT extract(microseconds FROM at)::int, at_100ns, what FROM moments ORDER BY 1, 2";
    assert_eq!(bed.query(rows).await, ["0|1|first", "0|2|SECOND"]);
    let rows = "SELECT id, note FROM orders ORDER BY id";
    assert_eq!(bed.query(rows).await, ["1|one", "2|TWO", "3|three", "4|four"]);
    let states = "SELECT state FROM lockstep.load";
    assert_eq!(bed.query(states).await, ["done"]);
    // Of tables of such a log no more is recorded than their number.
    let unnamed = "SELECT count(*) FROM lockstep.tables WHERE source_ref IS DISTINCT FROM '1'";
    assert_eq!(bed.query(unnamed).await, ["0"]);
}

fn loaded(status: &ApplyStatus) -> bool {
    status.load.as_ref().is_some_and(|load| load.state == LoadState::Done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_of_an_earlier_build_goes_on_from_mid_life() {
    let bed = Bed::restored(&fixture("v1")).await;
    let proxy = Proxy::new(bed.database.port).await;
    let mut settings = settings(&bed);
    settings.config.port = proxy.port;
    // Without the target, only the spool tells where it stands.
    proxy.set(Line::Down);
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.until("what the spool holds", spooled).await;
    proxy.set(Line::Up);
    apply.reaches(bed.source.at).await;
    apply.until("the load's end", loaded).await;
    apply.stop().await;
    is_whole(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_of_an_earlier_build_goes_on_without_its_spool_and_takes_new_changes() {
    let mut bed = Bed::restored(&fixture("v1")).await;
    let mut settings = settings(&bed);
    settings.config.spool = bed.spool("another");
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.reaches(bed.source.at).await;
    apply.until("the load's end", loaded).await;
    is_whole(&bed).await;
    let a = accounts().id();
    let n = bed.source.commit(&[delete(a, account(1, "a", 100))]).await;
    apply.reaches(n).await;
    apply.stop().await;
    assert_eq!(bed.query("SELECT id FROM accounts").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_an_earlier_build_is_read_from_its_start() {
    let bed = Bed::of_log(&fixture("v1")).await;
    let mut apply = bed.start_with(settings(&bed), FailPoints::default());
    apply.reaches(bed.source.at).await;
    apply.until("the load's end", loaded).await;
    apply.stop().await;
    is_whole(&bed).await;
}

/// Makes `fixtures/next`; `fixtures/README.md` says when.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes fixtures"]
async fn make_fixtures() {
    let folder = fixture("next");
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut bed = Bed::new().await;
    let proxy = Proxy::new(bed.database.port).await;
    let mut settings = settings(&bed);
    settings.config.port = proxy.port;
    let a = bed.source.table(&accounts()).await;
    let e = bed.source.table(&events(1)).await;
    let m = bed.source.table(&moments()).await;
    let o = bed.source.defined(&orders()).await;
    bed.source.commit(&[insert(a, account(1, "a", 1)), insert(a, account(2, "b", 2))]).await;
    bed.source.commit(&[insert(e, event(1, 60)), insert(e, event(2, -60))]).await;
    bed.source.commit(&[insert(m, moment(1, "first")), insert(m, moment(2, "second"))]).await;
    let plain = ChunkAttributes { from: None, restart: false };
    bed.source.begin_load(LOAD, &[(o, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, o, 0), plain, &[order(1, "one")]).await;
    bed.source.chunk_begin((LOAD, o, 1), plain).await;
    let key = Before::Key(vec![int(2)]);
    let n = bed.source.commit(&[change(o, Operation::Update, key, order(2, "TWO"))]).await;
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    apply.reaches(n).await;
    let first = "SELECT state FROM lockstep.load_chunk WHERE chunk = 0";
    bed.database.shows(first, &["done"]).await;
    apply.stop().await;
    bed.dump(&folder.join("target.sql"));
    proxy.set(Line::Down);
    let rows = [order(2, "two"), order(3, "three")];
    let offsets = bed.source.chunk_rows((LOAD, o, 1), 1, &rows, 2).await;
    bed.source.chunk_end((LOAD, o, 1), 1, offsets, rows.len()).await;
    bed.source.table_read(LOAD, o, 2, 3).await;
    bed.source.end_load(LOAD).await;
    bed.source
        .commit(&[
            update(a, account(1, "a", 1), account(1, "a", 100)),
            delete(a, account(2, "b", 2)),
            insert(a, account(3, "c", 3)),
        ])
        .await;
    bed.source
        .commit(&[
            update(e, event(1, 60), event(1, 90)),
            update(m, moment(2, "second"), moment(2, "SECOND")),
        ])
        .await;
    bed.source.commit(&[insert(o, order(4, "four"))]).await;
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.until("all of it in the spool", spooled).await;
    apply.stop().await;
    bed.keep(&folder);
}

impl Bed {
    /// A database as `pg_dump` makes it, without what only `psql` understands.
    fn dump(&self, to: &Path) {
        let out = Command::new("pg_dump")
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "--no-owner",
                "--no-privileges",
                "--inserts",
            ])
            .args(["-p", &self.database.port.to_string(), &self.database.name])
            .output()
            .expect("pg_dump runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("the dump is text");
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with('\\'));
        std::fs::write(to, lines.map(|line| format!("{line}\n")).collect::<String>())
            .expect("written");
    }
}
