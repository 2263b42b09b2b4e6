//! Target tables that lack the rows that changes are made to: in a task that loads, they are never made
//! empty and followed.

use lockstep_apply::{ApplySettings, failpoints};
use lockstep_common::FailPoints;
use lockstep_common::TableId;
use lockstep_common::config::Task;
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::service::status::ApplyStatus;
use uuid::Uuid;

use crate::bed::Bed;
use crate::source::{INT, account, accounts, insert, int, table, update};

const ROWS: &str = "SELECT id, owner, balance FROM accounts ORDER BY id";
const OTHER: &str = "SELECT id FROM other ORDER BY id";
const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };

fn loading(bed: &Bed) -> ApplySettings {
    ApplySettings { task: Task::FullLoadAndCdc, ..bed.settings() }
}

/// A load of one table with one chunk of these rows.
async fn load(bed: &mut Bed, table: TableId, reload: bool, ids: &[i64]) -> Uuid {
    let load = Uuid::new_v4();
    let tables = vec![(table, Handoff::Bracketed)];
    bed.source.marker(LoadMarker::Begin { load, reload, tables }).await;
    let rows: Vec<_> = ids.iter().map(|id| account(*id, "loaded", 0)).collect();
    bed.source.chunk((load, table, 0), PLAIN, &rows).await;
    bed.source.table_read(load, table, 1, ids.len() as u64).await;
    bed.source.end_load(load).await;
    load
}

fn held(status: &ApplyStatus) -> Vec<&str> {
    status.held.iter().map(|held| held.table.as_str()).collect()
}

/// A target with `accounts` loaded and a change behind it, and `other`, which stays as it is.
async fn loaded() -> (Bed, TableId, TableId) {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    let o = bed.source.defined(&table("other", 1, &[("id", INT)])).await;
    bed.source.progress().await;
    let first = Uuid::new_v4();
    let tables = vec![(a, Handoff::Bracketed), (o, Handoff::Bracketed)];
    bed.source.marker(LoadMarker::Begin { load: first, reload: false, tables }).await;
    let rows = [account(1, "loaded", 0), account(2, "loaded", 0)];
    bed.source.chunk((first, a, 0), PLAIN, &rows).await;
    bed.source.table_read(first, a, 1, 2).await;
    bed.source.chunk((first, o, 0), PLAIN, &[vec![int(1)]]).await;
    bed.source.table_read(first, o, 1, 1).await;
    bed.source.end_load(first).await;
    bed.source.commit(&[insert(a, account(3, "new", 0)), insert(o, vec![int(2)])]).await;
    bed.catch_up_with(loading(&bed)).await;
    assert_eq!(bed.query(ROWS).await.len(), 3);
    (bed, a, o)
}

/// The rest of it: changes of the held table are passed over, over restarts too; the others go on; a
/// load brings it in again.
async fn held_until_loaded(bed: &mut Bed, settings: ApplySettings, a: TableId, o: TableId) {
    for id in [10, 11] {
        bed.source
            .commit(&[insert(a, account(id, "passed over", 0)), insert(o, vec![int(id)])])
            .await;
        let status = bed.catch_up_with(settings.clone()).await;
        let kept = bed.query("SELECT * FROM lockstep.tables").await;
        assert_eq!(held(&status), ["dbo.accounts"], "{id} {kept:?}");
        assert_eq!(status.held[0].command, "lockstep reload dbo.accounts");
        assert!(bed.query(OTHER).await.contains(&id.to_string()));
        let checked = lockstep_apply::check(&settings).await;
        let named = checked.iter().find(|result| result.name == "dbo.accounts");
        assert!(
            named.is_some_and(|r| r.fix.contains("lockstep reload dbo.accounts")),
            "{checked:#?}"
        );
    }
    load(bed, a, true, &[1, 2, 3, 10, 11]).await;
    // It crashes before the begin is written down, and behind it.
    for point in [failpoints::LOAD_BEGIN, failpoints::CHUNK_NOTED] {
        let apply = bed.start_with(settings.clone(), FailPoints::armed(point, 1));
        apply.fails().await;
    }
    let loaded = account(1, "loaded", 0);
    bed.source.commit(&[update(a, loaded, account(1, "after", 7))]).await;
    let status = bed.catch_up_with(settings).await;
    assert_eq!(held(&status), [] as [&str; 0]);
    let expected = ["1|after|7", "2|loaded|0", "3|loaded|0", "10|loaded|0", "11|loaded|0"];
    assert_eq!(bed.query(ROWS).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_dropped_is_held_until_it_is_loaded() {
    let (mut bed, a, o) = loaded().await;
    bed.query("DROP TABLE accounts").await;
    let settings = loading(&bed);
    held_until_loaded(&mut bed, settings, a, o).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_made_anew_and_is_empty_is_held_until_it_is_loaded() {
    let (mut bed, a, o) = loaded().await;
    bed.query("CREATE TABLE copy (LIKE accounts INCLUDING ALL)").await;
    bed.query("DROP TABLE accounts").await;
    bed.query("ALTER TABLE copy RENAME TO accounts").await;
    let settings = loading(&bed);
    held_until_loaded(&mut bed, settings, a, o).await;
}

/// While apply runs: gone, or in another's place, written or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_or_replaced_while_apply_runs_is_held_until_it_is_loaded() {
    const COPY: &str = "CREATE TABLE copy (LIKE accounts INCLUDING ALL);";
    const SWAP: &str = "DROP TABLE accounts; ALTER TABLE copy RENAME TO accounts;";
    for (changed, written) in [
        ("DROP TABLE accounts".to_owned(), true),
        ("DROP TABLE accounts".to_owned(), false),
        ("ALTER TABLE accounts RENAME TO aside".to_owned(), true),
        ("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE other (id int PRIMARY KEY)"
            .to_owned(), true),
        (format!("{COPY} {SWAP}"), true),
        (format!("{COPY} INSERT INTO copy SELECT * FROM accounts; {SWAP}"), true),
    ] {
        let (mut bed, a, o) = loaded().await;
        let mut apply = bed.start_with(loading(&bed), FailPoints::default());
        let n = bed.source.commit(&[insert(a, account(4, "new", 0))]).await;
        apply.reaches(n).await;
        bed.query(&changed).await;
        if written {
            bed.source.commit(&[insert(a, account(5, "new", 0)), insert(o, vec![int(5)])]).await;
        }
        let of_accounts = |s: &ApplyStatus| held(s).contains(&"dbo.accounts");
        apply.until("the table is held", of_accounts).await;
        // The others go on, and the load brings it in, while apply runs.
        let of_other = !changed.contains("SCHEMA");
        let n = bed.source.commit(&[insert(a, account(6, "new", 0)), insert(o, vec![int(6)])]).await;
        apply.reaches(n).await;
        if of_other {
            assert!(bed.query(OTHER).await.contains(&"6".to_owned()), "{changed}");
        } else {
            assert!(held(&apply.status.borrow()).contains(&"dbo.other"), "{changed}");
        }
        load(&mut bed, a, true, &[1, 2, 3, 4, 5, 6]).await;
        let loaded = account(1, "loaded", 0);
        let n = bed.source.commit(&[update(a, loaded, account(1, "after", 7))]).await;
        let status = apply.reaches(n).await;
        assert!(!held(&status).contains(&"dbo.accounts"), "{changed}");
        apply.stop().await;
        assert_eq!(bed.query(ROWS).await.len(), 6, "{changed}");
        assert_eq!(bed.query(ROWS).await[0], "1|after|7", "{changed}");
    }
}

/// The remedy of a table that does not fit: it is dropped, and loaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_out_of_a_table_that_does_not_fit_is_gone() {
    let (mut bed, a, o) = loaded().await;
    bed.query("ALTER TABLE accounts DROP COLUMN owner").await;
    bed.source.commit(&[insert(a, account(4, "new", 0))]).await;
    let failure = bed.start_with(loading(&bed), FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.table");
    assert!(failure.remedy.contains("lockstep reload"), "{failure}");
    bed.query("DROP TABLE accounts").await;
    let settings = loading(&bed);
    held_until_loaded(&mut bed, settings, a, o).await;
}

/// Another schema, and back again: what was passed over meanwhile is not in the old table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_goes_elsewhere_is_held_there_and_when_it_comes_back() {
    let (mut bed, a, o) = loaded().await;
    let mut elsewhere = loading(&bed);
    elsewhere.config.schemas = [("dbo".to_owned(), "elsewhere".to_owned())].into();
    bed.source.commit(&[insert(a, account(4, "passed over", 0))]).await;
    let status = bed.catch_up_with(elsewhere).await;
    assert_eq!(held(&status), ["dbo.accounts", "dbo.other"]);
    assert_eq!(bed.query("SELECT to_regclass('elsewhere.accounts') IS NULL").await, ["t"]);
    let settings = loading(&bed);
    let status = bed.catch_up_with(settings.clone()).await;
    assert_eq!(held(&status), ["dbo.accounts", "dbo.other"]);
    let id = Uuid::new_v4();
    let tables = vec![(o, Handoff::Bracketed)];
    bed.source.marker(LoadMarker::Begin { load: id, reload: true, tables }).await;
    bed.source.chunk((id, o, 0), PLAIN, &[vec![int(1)], vec![int(2)]]).await;
    bed.source.table_read(id, o, 1, 2).await;
    bed.source.end_load(id).await;
    held_until_loaded(&mut bed, settings, a, o).await;
}

/// Somebody moved the very table: it has its rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_moved_with_its_rows_is_followed_there() {
    let (mut bed, a, _) = loaded().await;
    bed.query("CREATE SCHEMA elsewhere").await;
    bed.query("ALTER TABLE accounts SET SCHEMA elsewhere").await;
    let mut elsewhere = loading(&bed);
    elsewhere.config.schemas = [("dbo".to_owned(), "elsewhere".to_owned())].into();
    bed.source.commit(&[insert(a, account(4, "new", 0))]).await;
    let status = bed.catch_up_with(elsewhere).await;
    assert!(!held(&status).contains(&"dbo.accounts"), "{:?}", status.held);
    assert_eq!(bed.query("SELECT count(*) FROM elsewhere.accounts").await, ["4"]);
}

/// A target that was never loaded, of a log that has no load of the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_a_log_without_a_load_is_held_where_tables_come_by_loads() {
    let mut bed = Bed::new().await;
    let a = bed.source.defined(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "new", 0))]).await;
    let status = bed.catch_up_with(loading(&bed)).await;
    assert_eq!(held(&status), ["dbo.accounts"]);
    assert_eq!(bed.query("SELECT to_regclass('accounts') IS NULL").await, ["t"]);
}

/// What has come of a table is gone while its load goes on; apply runs, or is stopped meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_within_its_load_is_held() {
    for running in [false, true] {
        dropped_within_its_load(running).await;
    }
}

async fn dropped_within_its_load(running: bool) {
    let (mut bed, a, o) = loaded().await;
    let id = Uuid::new_v4();
    let tables = vec![(a, Handoff::Bracketed)];
    bed.source.marker(LoadMarker::Begin { load: id, reload: true, tables }).await;
    bed.source.chunk((id, a, 0), PLAIN, &[account(1, "loaded", 0)]).await;
    let mut apply = bed.start_with(loading(&bed), FailPoints::default());
    let read = |s: &ApplyStatus| {
        let load = s.load.as_ref().filter(|load| load.id == id.to_string());
        load.is_some_and(|load| load.tables["dbo.accounts"].rows == 1)
    };
    apply.until("the chunk is in", read).await;
    if running {
        bed.query("DROP TABLE accounts").await;
    } else {
        apply.stop().await;
        bed.query("DROP TABLE accounts").await;
        apply = bed.start_with(loading(&bed), FailPoints::default());
    }
    bed.source.chunk((id, a, 1), PLAIN, &[account(2, "loaded", 0)]).await;
    bed.source.table_read(id, a, 2, 2).await;
    bed.source.end_load(id).await;
    apply.until("the table is held", |s| held(s) == ["dbo.accounts"]).await;
    apply.stop().await;
    let settings = loading(&bed);
    held_until_loaded(&mut bed, settings, a, o).await;
}
