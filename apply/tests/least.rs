//! An ordinary role with what `lockstep schema --grants` gives it, and nothing else.

use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::service::check::Verdict;
use lockstep_common::service::status::LoadState;
use lockstep_common::{FailPoints, TableName};

use crate::bed::Bed;
use crate::loads::LOAD;
use crate::source::{account, accounts, insert, update};

const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };

fn named(table: &str) -> TableName {
    TableName { schema: "dbo".into(), table: table.into() }
}

/// `check` misses no right, and finds none too many.
async fn nothing_is_missing(settings: &lockstep_apply::ApplySettings) {
    let results = lockstep_apply::check(settings).await;
    assert!(results.iter().all(|r| r.verdict != Verdict::Fail), "{results:#?}");
    for name in ["role", "triggers and foreign keys", "full loads", "schema lockstep"] {
        let mut named = results.iter().filter(|r| r.name == name);
        assert!(named.all(|r| r.verdict == Verdict::Pass), "{results:#?}");
    }
}

/// From 15 on by a grant, before, and on those too, by a setting of the role.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_is_enough_for_loads_and_changes() {
    let server = Bed::new().await.major().await;
    for version in std::collections::BTreeSet::from([server, server.min(14)]) {
        let mut bed = Bed::new().await;
        // A table of the operator's, with a trigger that would drop every row.
        bed.query(
            "CREATE TABLE lines (id int PRIMARY KEY, owner text, balance int); \
             CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RETURN NULL; END $$; \
             CREATE TRIGGER drops BEFORE INSERT ON lines FOR EACH ROW EXECUTE FUNCTION drops()",
        )
        .await;
        let mut settings = bed.settings();
        settings.config.user = format!("least \"{version}\" {}", bed.database.name);
        // As an administrator who knows no better: `public` is nobody's to create in.
        bed.query("REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
        bed.query(&format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", bed.database.name)).await;
        let (first, second) = (named("accounts"), named("lines"));
        let script = lockstep_apply::grants(&settings.config, version, &[&first, &second]);
        bed.query(&script).await;
        bed.query(&script).await;
        nothing_is_missing(&settings).await;

        let a = bed.source.defined(&accounts()).await;
        let mut of_operator = accounts();
        of_operator.name.table = "lines".into();
        let l = bed.source.table(&of_operator).await;
        bed.source.progress().await;
        bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
        bed.source.chunk_begin((LOAD, a, 0), PLAIN).await;
        bed.source.commit(&[update(a, account(1, "old", 1), account(1, "new", 10))]).await;
        let rows: Vec<_> = (1..=3).map(|i| account(i, "old", i)).collect();
        let offsets = bed.source.chunk_rows((LOAD, a, 0), 0, &rows, 2).await;
        bed.source.chunk_end((LOAD, a, 0), 0, offsets, 3).await;
        bed.source.table_read(LOAD, a, 1, 3).await;
        bed.source.end_load(LOAD).await;
        let n = bed
            .source
            .commit(&[insert(l, account(1, "x", 1)), insert(a, account(9, "x", 9))])
            .await;
        let mut apply = bed.start_with(settings.clone(), FailPoints::default());
        apply.reaches(n).await;
        let done = |s: &lockstep_common::service::status::ApplyStatus| {
            s.load.as_ref().is_some_and(|load| load.state == LoadState::Done)
        };
        apply.until("the load's end", done).await;
        let status = apply.stop().await;
        let of_triggers = status.notices.iter().filter(|notice| notice.contains("trigger"));
        assert_eq!(of_triggers.count(), 0, "{version}: {status:?}");
        assert_eq!(
            bed.query("SELECT id, owner FROM accounts ORDER BY id").await,
            ["1|new", "2|old", "3|old", "9|x"]
        );
        assert_eq!(bed.query("SELECT id FROM lines").await, ["1"], "{version}");
        nothing_is_missing(&settings).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_a_superuser_means() {
    let bed = Bed::new().await;
    let results = lockstep_apply::check(&bed.settings()).await;
    let role = results.iter().find(|r| r.name == "role").expect("a result");
    assert_eq!(role.verdict, Verdict::Warn);
    assert!(role.fix.contains("--grants"), "{role:?}");
}

/// A pipeline of another role does not get at the first one's rows, nor trusts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_of_another_role_keeps_away_from_the_first() {
    let mut bed = Bed::new().await;
    let table = named("accounts");
    let (mut first, mut second) = (bed.settings(), bed.settings());
    first.config.user = format!("first_{}", bed.database.name);
    second.config.user = format!("second_{}", bed.database.name);
    second.pipeline = "other".into();
    second.config.spool = bed.spool("other");
    let version = bed.major().await;
    for settings in [&first, &second] {
        bed.query(&lockstep_apply::grants(&settings.config, version, &[&table])).await;
    }
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up_with(first.clone()).await;
    let failure = bed.start_with(second.clone(), FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.untrusted", "{failure}");
    assert!(failure.message.contains(&first.config.user), "{failure}");
    let other =
        crate::bed::connect(bed.database.port, &bed.database.name, &second.config.user).await;
    for sql in [
        "UPDATE lockstep.checkpoint SET epoch = 0",
        "DELETE FROM lockstep.tables",
        "DELETE FROM public.accounts",
    ] {
        let refused = other.batch_execute(sql).await.expect_err(sql);
        assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{sql}");
    }
    bed.catch_up_with(first).await;
}
