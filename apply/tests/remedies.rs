//! The remedies of halts, followed: each ends in a pipeline that runs, with the rows of the source.
//!
//! `common/tests/main/remedies.tsv` says which test follows which code's.

use lockstep_apply::ApplySettings;
use lockstep_common::config::{ConflictPolicy, Prepare, TargetTls, Task, TriggerPolicy};
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::service::status::{ApplyStatus, TaskState};
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

// --- The target's own ------------------------------------------------------------------------------

/// A target with one row, of an ordinary role, and what it is written with.
async fn of_a_role() -> (Bed, TableId, ApplySettings) {
    let mut bed = Bed::new().await;
    let mut settings = bed.settings();
    settings.config.user = format!("role_{}", bed.database.name);
    let table = accounts().name;
    let grants = lockstep_apply::grants(&settings.config, bed.major().await, &[&table]);
    bed.query(&grants).await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up_with(settings.clone()).await;
    (bed, a, settings)
}

/// It halts with that code, again as long as nothing is done; after the remedy it goes on.
async fn halts_until(bed: &Bed, settings: &ApplySettings, code: &str, remedy: &str) {
    for _ in 0..2 {
        let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
        assert_eq!(failure.code.as_str(), code, "{failure}");
    }
    bed.query(remedy).await;
    bed.catch_up_with(settings.clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_given_back_end_the_halt() {
    let (mut bed, a, settings) = of_a_role().await;
    let role = settings.config.user.clone();
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    let n = bed.source.commit(&[insert(a, account(9, "x", 1))]).await;
    apply.reaches(n).await;
    bed.query(&format!("REVOKE INSERT ON accounts FROM {role}")).await;
    bed.source.commit(&[insert(a, account(10, "x", 1))]).await;
    let failure = apply.halts().await;
    assert_eq!(failure.code.as_str(), "apply.target", "{failure}");
    let grant = format!("GRANT INSERT ON accounts TO {role}");
    halts_until(&bed, &settings, "apply.table", &grant).await;
    for (code, right) in [
        ("apply.schema", "SELECT ON lockstep.exceptions"),
        ("apply.epoch", "UPDATE ON lockstep.checkpoint"),
    ] {
        bed.query(&format!("REVOKE {right} FROM {role}")).await;
        let id = 20 + bed.source.at as i64;
        bed.source.commit(&[insert(a, account(id, "x", 1))]).await;
        halts_until(&bed, &settings, code, &format!("GRANT {right} TO {role}")).await;
    }
    bed.query(&format!("REVOKE UPDATE ON lockstep.checkpoint FROM {role}")).await;
    let failure = lockstep_apply::reset(&settings).await.expect_err("it may not");
    assert_eq!(failure.code.as_str(), "apply.reset", "{failure}");
    bed.query(&format!("GRANT UPDATE ON lockstep.checkpoint TO {role}")).await;
    assert!(lockstep_apply::reset(&settings).await.expect("it may").is_some());
    assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_allowed_again_is_used_by_itself() {
    let (mut bed, a, settings) = of_a_role().await;
    let role = settings.config.user.clone();
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    apply.reaches(n).await;
    bed.query(&format!(
        "ALTER ROLE {role} NOLOGIN; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    ))
    .await;
    let refused = |s: &ApplyStatus| {
        let said = s.last_error.as_deref().is_some_and(|e| e.contains("apply.connect_refused"));
        s.state == TaskState::Waiting && said
    };
    apply.until("the refusal", refused).await;
    bed.query(&format!("ALTER ROLE {role} LOGIN")).await;
    let n = bed.source.commit(&[insert(a, account(3, "x", 1))]).await;
    apply.reaches(n).await;
    apply.stop().await;
    // A first start with a login that is refused is a mistake, and corrected.
    bed.query(&format!("ALTER ROLE {role} NOLOGIN")).await;
    halts_until(&bed, &settings, "apply.connect", &format!("ALTER ROLE {role} LOGIN")).await;
    assert_eq!(bed.query(IDS).await, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lockstep_keeps_is_restored() {
    let (mut bed, a, settings) = of_a_role().await;
    bed.query("CREATE TABLE saved AS SELECT * FROM lockstep.checkpoint").await;
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    apply.until("it runs", |s| s.state == TaskState::Running).await;
    bed.query("DELETE FROM lockstep.checkpoint").await;
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let failure = apply.halts().await;
    assert_eq!(failure.code.as_str(), "apply.checkpoint_gone", "{failure}");
    // The start that failed has left a new row.
    bed.query(
        "DELETE FROM lockstep.checkpoint; INSERT INTO lockstep.checkpoint SELECT * FROM saved",
    )
    .await;
    bed.catch_up_with(settings.clone()).await;
    assert_eq!(bed.query(IDS).await, ["1", "2"]);
    let position = bed.query("SELECT position FROM lockstep.checkpoint").await.remove(0);
    bed.query("UPDATE lockstep.checkpoint SET position = 'nowhere'").await;
    let remedy = format!("UPDATE lockstep.checkpoint SET position = '{position}'");
    halts_until(&bed, &settings, "apply.checkpoint", &remedy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_corrected_end_a_conflict() {
    let (mut bed, a, settings) = of_a_role().await;
    bed.query("DELETE FROM accounts").await;
    bed.source.commit(&[update(a, account(1, "x", 1), account(1, "y", 2))]).await;
    let remedy = "INSERT INTO accounts VALUES (1, 'x', 1)";
    halts_until(&bed, &settings, "apply.conflict", remedy).await;
    assert_eq!(bed.query("SELECT owner FROM accounts").await, ["y"]);
    // Or another policy.
    bed.query("DELETE FROM accounts").await;
    bed.source.commit(&[update(a, account(1, "y", 2), account(1, "z", 3))]).await;
    let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.conflict", "{failure}");
    let mut converging = settings;
    converging.config.on_conflict = ConflictPolicy::Converge;
    bed.catch_up_with(converging).await;
    assert_eq!(bed.query("SELECT owner FROM accounts").await, ["z"]);
}

/// Of what the configuration says: it is corrected, and apply starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_corrected_starts() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let good = bed.settings();
    let with = |change: fn(&mut lockstep_common::config::Apply)| {
        let mut settings = good.clone();
        change(&mut settings.config);
        settings
    };
    for (code, settings) in [
        ("apply.connect", with(|c| c.database = "nowhere".into())),
        ("apply.transport", with(|c| c.tls = TargetTls::VerifyFull)),
        ("apply.config", with(|c| c.password_file = Some("/nowhere/password".into()))),
        ("apply.start", with(|c| c.start = Some("somewhere".into()))),
        ("apply.types", with(|c| drop(c.types.insert("nvarchar".into(), "no_such_type".into())))),
    ] {
        let failure = bed.start_with(settings, FailPoints::default()).halts().await;
        assert_eq!(failure.code.as_str(), code, "{failure}");
        let n = bed.source.commit(&[insert(a, account(bed.source.at as i64 + 1, "x", 1))]).await;
        bed.catch_up_with(good.clone()).await;
        assert_eq!(bed.query("SELECT count(*) FROM accounts").await, [n.to_string()], "{code}");
    }
}

// --- The log ---------------------------------------------------------------------------------------

/// A log that is lost is brought back; or the target begins anew with the one that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_the_targets_is_restored_or_followed_anew() {
    for restored in [true, false] {
        for trimmed in [true, false] {
            let (mut bed, a, settings) = of_a_role().await;
            bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
            bed.source.commit(&[insert(a, account(3, "x", 1))]).await;
            bed.copy_log("backup");
            let code = if trimmed {
                let mut reader = bed.log.reader(Stream::Transactions).await.expect("a reader");
                let end = reader.bounds().await.expect("its bounds").end;
                bed.log.trim(Stream::Transactions, end - 1).await.expect("trimmed");
                std::fs::remove_dir_all(bed.spool("spool")).expect("removed");
                "apply.gap"
            } else {
                bed.replace_log("another").await;
                let a = bed.source.table(&accounts()).await;
                for id in 1..=3 {
                    bed.source.commit(&[insert(a, account(id, "other", 1))]).await;
                }
                "apply.another_log"
            };
            for _ in 0..2 {
                let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
                assert_eq!(failure.code.as_str(), code, "{failure}");
            }
            if restored {
                bed.replace_log("backup").await;
                let mut apply = bed.start_with(settings.clone(), FailPoints::default());
                apply.reaches(3).await;
                apply.stop().await;
                assert_eq!(bed.query(IDS).await, ["1", "2", "3"], "{code}");
                continue;
            }
            // What the target has is another state than the log begins with: it goes.
            bed.query("DROP TABLE accounts").await;
            lockstep_apply::reset(&settings).await.expect("reset");
            let mut apply = bed.start_with(settings, FailPoints::default());
            apply.reaches(3).await;
            apply.stop().await;
            let left: &[&str] = if trimmed { &["3"] } else { &["1", "2", "3"] };
            assert_eq!(bed.query(IDS).await, left, "{code}");
        }
    }
}
