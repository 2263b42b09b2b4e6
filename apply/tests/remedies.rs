//! The remedies of halts, followed: each ends in a pipeline that runs, with the rows of the source.
//!
//! `common/tests/main/remedies.tsv` says which test follows which code's.

use lockstep_apply::ApplySettings;
use lockstep_common::config::{Prepare, Task, TriggerPolicy};
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::{FailPoints, TableId, Value};
use lockstep_log::Stream;
use uuid::Uuid;

use crate::bed::Bed;
use crate::loads::LOAD;
use crate::source::{account, accounts, at, change, delete, insert, int, update};

const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };
const IDS: &str = "SELECT id FROM accounts ORDER BY id";

fn loading(bed: &Bed) -> ApplySettings {
    ApplySettings { task: Task::FullLoadAndCdc, ..bed.settings() }
}

/// A load of one table, in chunks of these rows.
async fn load(bed: &mut Bed, table: TableId, load: Uuid, reload: bool, chunks: &[&[i64]]) {
    let tables = vec![(table, Handoff::Bracketed)];
    bed.source.marker(LoadMarker::Begin { load, reload, tables }).await;
    let mut total = 0;
    for (number, ids) in chunks.iter().enumerate() {
        let rows: Vec<_> = ids.iter().map(|id| account(*id, "loaded", 0)).collect();
        bed.source.chunk((load, table, number as u32), PLAIN, &rows).await;
        total += rows.len() as u64;
    }
    bed.source.table_read(load, table, chunks.len() as u32, total).await;
    bed.source.end_load(load).await;
}

/// What ends a load for good, before anything of the source is wrong: rows that the log lost, that are not
/// what their end says, of which some never came, that the target cannot hold, or that have no place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Lost,
    Damaged,
    Gap,
    Value,
    Refused,
    Unplaced,
    Incomplete,
    Restart,
}

impl Fault {
    fn code(self) -> &'static str {
        match self {
            Fault::Lost => "apply.load.lost",
            Fault::Damaged => "apply.load.damaged",
            Fault::Gap => "apply.load.gap",
            Fault::Value => "apply.load.value",
            Fault::Refused => "apply.load.refused",
            Fault::Unplaced => "apply.load.unplaced",
            Fault::Incomplete => "apply.load.incomplete",
            Fault::Restart => "apply.load.restart",
        }
    }

    /// A load that comes to it, of a table whose target `made` has made.
    async fn happen(self, bed: &mut Bed, a: TableId) {
        let handoff = match self {
            Fault::Restart => Handoff::Exact,
            _ => Handoff::Bracketed,
        };
        let tables = vec![(a, handoff)];
        bed.source.marker(LoadMarker::Begin { load: LOAD, reload: false, tables }).await;
        let row = |id| account(id, "loaded", 0);
        let first = (LOAD, a, 0);
        match self {
            Fault::Lost => {
                bed.source.chunk(first, PLAIN, &[row(1), row(2)]).await;
                bed.log.trim(Stream::Snapshot(0), 1).await.expect("trimmed");
            }
            Fault::Damaged => {
                bed.source.chunk_begin(first, PLAIN).await;
                let offsets = bed.source.chunk_rows(first, 0, &[row(1), row(2)], 1).await;
                bed.source.chunk_end(first, 0, offsets, 3).await;
            }
            Fault::Gap => {
                bed.source.chunk(first, PLAIN, &[row(1)]).await;
                bed.source.table_read(LOAD, a, 2, 2).await;
            }
            Fault::Value => bed.source.chunk(first, PLAIN, &[account(1, "a\0b", 1)]).await,
            Fault::Refused => bed.source.chunk(first, PLAIN, &[account(1, "refused", 1)]).await,
            Fault::Unplaced => bed.source.chunk(first, PLAIN, &[account(1, "dropped", 1)]).await,
            Fault::Incomplete => {
                bed.source.chunk(first, PLAIN, &[]).await;
                let after = vec![int(1), Value::Unavailable, int(1)];
                let before = Before::Key(vec![int(9)]);
                bed.source.commit(&[change(a, Operation::Update, before, after)]).await;
                bed.source.table_read(LOAD, a, 1, 0).await;
                bed.source.end_load(LOAD).await;
            }
            Fault::Restart => {
                let from = ChunkAttributes { from: Some(at(bed.source.at)), ..PLAIN };
                bed.source.chunk(first, from, &[row(1)]).await;
                let again = ChunkAttributes { restart: true, ..from };
                bed.source.chunk(first, again, &[row(1)]).await;
            }
        }
        bed.source.progress().await;
    }

    /// What is done about the cause, as the remedy says first.
    async fn mend(self, bed: &Bed) {
        match self {
            Fault::Refused => drop(bed.query("ALTER TABLE accounts DROP CONSTRAINT picky").await),
            Fault::Unplaced => drop(bed.query("DROP TRIGGER drops ON accounts").await),
            _ => {}
        }
    }
}

/// "Load the table again", after the apply has halted on its load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_came_to_nothing_is_made_again() {
    for fault in [
        Fault::Lost,
        Fault::Damaged,
        Fault::Gap,
        Fault::Value,
        Fault::Refused,
        Fault::Unplaced,
        Fault::Incomplete,
        Fault::Restart,
    ] {
        let mut bed = Bed::new().await;
        let a = bed.source.defined(&accounts()).await;
        bed.source.progress().await;
        bed.query(
            "CREATE TABLE accounts (id int PRIMARY KEY, owner text \
                 CONSTRAINT picky CHECK (owner <> 'refused'), balance int); \
             CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.owner = 'dropped' THEN RETURN NULL; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER drops BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION drops(); \
             ALTER TABLE accounts ENABLE ALWAYS TRIGGER drops",
        )
        .await;
        let mut settings = loading(&bed);
        settings.config.triggers = TriggerPolicy::Allow;
        settings.config.prepare = Prepare::Keep;
        fault.happen(&mut bed, a).await;
        let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
        assert_eq!(failure.code.as_str(), fault.code(), "{failure}");
        // Again, as long as nothing is done.
        let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
        assert_eq!(failure.code.as_str(), fault.code(), "{failure}");
        fault.mend(&bed).await;
        bed.source.commit(&[insert(a, account(3, "before the later load", 0))]).await;
        load(&mut bed, a, Uuid::new_v4(), true, &[&[1, 2], &[3]]).await;
        let change = update(a, account(3, "loaded", 0), account(3, "changed", 0));
        let n = bed.source.commit(&[change, delete(a, account(1, "loaded", 0))]).await;
        let mut apply = bed.start_with(settings.clone(), FailPoints::default());
        let status = apply.reaches(n).await;
        assert!(status.held.is_empty(), "{fault:?}: {status:?}");
        apply.stop().await;
        let rows = "SELECT id, owner FROM accounts ORDER BY id";
        assert_eq!(bed.query(rows).await, ["2|loaded", "3|changed"], "{fault:?}");
        // A restart goes on.
        bed.source.commit(&[insert(a, account(4, "new", 0))]).await;
        bed.catch_up_with(settings).await;
        assert_eq!(bed.query(IDS).await, ["2", "3", "4"], "{fault:?}");
    }
}
