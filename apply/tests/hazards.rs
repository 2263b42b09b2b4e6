//! What of the target loses or alters rows, and is found: triggers, rules, tables that do not keep them.

use lockstep_apply::ApplySettings;
use lockstep_common::config::{ConflictPolicy, Prepare, Task, TriggerPolicy};
use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::service::check::{CheckResult, Verdict};
use lockstep_common::service::status::ApplyStatus;
use lockstep_common::{FailPoints, Value};

use crate::bed::Bed;
use crate::loads::LOAD;
use crate::source::{account, accounts, change, insert, int, update};

const IDS: &str = "SELECT id FROM accounts ORDER BY id";
const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };

const TABLE: &str = "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int);";
/// Drops the row with id 3.
const DROPS: &str = "CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$; \
    CREATE TRIGGER drops BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION drops();";

fn noticed(status: &ApplyStatus, word: &str) -> bool {
    status.notices.iter().any(|notice| notice.contains(word))
}

async fn checked(bed: &Bed) -> Vec<CheckResult> {
    lockstep_apply::check(&bed.settings()).await
}

/// Triggers may fire.
fn allowing(bed: &Bed) -> ApplySettings {
    let mut settings = bed.settings();
    settings.config.triggers = TriggerPolicy::Allow;
    settings
}

/// However the row is written: alone, among others, as an upsert, by an update, in a replacement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_a_trigger_drops_halts_before_its_commit_and_again_after_a_restart() {
    let many: Vec<i64> = (1..=5).collect();
    for (ids, policy) in [
        (vec![3], ConflictPolicy::Halt),
        (many.clone(), ConflictPolicy::Halt),
        (vec![3], ConflictPolicy::Converge),
        (many, ConflictPolicy::Converge),
    ] {
        let mut bed = Bed::new().await;
        bed.query(&format!("{TABLE} {DROPS} ALTER TABLE accounts ENABLE ALWAYS TRIGGER drops"))
            .await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(10, "x", 1))]).await;
        let rows: Vec<_> = ids.iter().map(|id| insert(a, account(*id, "x", 1))).collect();
        bed.source.commit(&rows).await;
        let mut settings = allowing(&bed);
        settings.config.on_conflict = policy;
        for _ in 0..2 {
            let apply = bed.start_with(settings.clone(), FailPoints::default());
            let status = apply.status.clone();
            let failure = apply.halts().await;
            assert!(failure.message.contains("LS001"), "{ids:?} {policy:?}: {failure}");
            assert!(noticed(&status.borrow(), "drops of public.accounts (before each row"));
            assert_eq!(bed.query(IDS).await, ["10"], "{ids:?} {policy:?}");
        }
        // The trigger is named by `check`; without it everything arrives.
        let results = lockstep_apply::check(&settings).await;
        let named = results.iter().find(|r| r.detail.contains("drops of public.accounts"));
        assert_eq!(named.map(|r| r.verdict), Some(Verdict::Warn), "{results:#?}");
        bed.query("ALTER TABLE accounts DISABLE TRIGGER drops").await;
        let status = bed.catch_up_with(settings).await;
        assert!(!noticed(&status, "drops"));
        assert_eq!(
            bed.query("SELECT count(*) FROM accounts WHERE id < 10").await,
            [ids.len().to_string()]
        );
    }
}

/// Where the role may not keep triggers from firing, each of the usual kind fires; and on a partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_of_partitions_and_of_roles_without_the_right_are_found() {
    let mut bed = Bed::new().await;
    bed.query(
        "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int) PARTITION BY RANGE (id); \
         CREATE TABLE low PARTITION OF accounts FOR VALUES FROM (0) TO (100); \
         CREATE FUNCTION alters() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.owner := 'somebody else'; RETURN NEW; END $$; \
         CREATE TRIGGER alters BEFORE INSERT ON low FOR EACH ROW EXECUTE FUNCTION alters()",
    )
    .await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1)), insert(a, account(2, "x", 1))]).await;
    // In a replica's session it sleeps.
    let status = bed.catch_up().await;
    assert!(!noticed(&status, "alters"), "{status:?}");
    assert_eq!(bed.query("SELECT DISTINCT owner FROM accounts").await, ["x"]);
    let role = format!("plain_{}", bed.database.name);
    bed.query(&format!(
        "CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public, lockstep TO {role}; \
         GRANT USAGE ON SCHEMA lockstep TO {role}"
    ))
    .await;
    let mut settings = allowing(&bed);
    settings.config.user = role.clone();
    let results = lockstep_apply::check(&settings).await;
    let named = results.iter().find(|r| r.detail.contains("alters of public.low"));
    assert_eq!(named.map(|r| r.verdict), Some(Verdict::Warn), "{results:#?}");
    // Unless it is allowed, it is refused by check and start.
    let refusing = ApplySettings {
        config: lockstep_common::config::Apply {
            triggers: TriggerPolicy::Refuse,
            ..settings.config.clone()
        },
        ..settings.clone()
    };
    let results = lockstep_apply::check(&refusing).await;
    let named = results.iter().find(|r| r.detail.contains("alters of public.low"));
    assert_eq!(named.map(|r| r.verdict), Some(Verdict::Fail), "{results:#?}");
    let failure = bed.start_with(refusing, FailPoints::default()).halts().await;
    assert!(failure.message.contains("alters of public.low"), "{failure}");
    assert!(failure.remedy.contains("DISABLE TRIGGER"), "{failure}");
    bed.source.commit(&[insert(a, account(3, "x", 1)), insert(a, account(4, "x", 1))]).await;
    let status = bed.catch_up_with(settings.clone()).await;
    assert!(noticed(&status, "alters of public.low (before each row"), "{status:?}");
    bed.query("ALTER TABLE low ENABLE REPLICA TRIGGER alters").await;
    let status = bed.catch_up_with(settings).await;
    assert!(!noticed(&status, "alters"), "{status:?}");
    let status = bed.catch_up_with(allowing(&bed)).await;
    assert!(noticed(&status, "alters"), "{status:?}");
}

/// What comes while apply runs: nothing that it may have altered or dropped goes by unseen, whatever
/// statements met it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fires_from_now_on_is_found_while_apply_runs() {
    const ALTERS: &str = "CREATE FUNCTION alters() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN NEW.owner := 'somebody else'; RETURN NEW; END $$; \
        CREATE TRIGGER alters BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION \
        alters(); ALTER TABLE accounts ENABLE ALWAYS TRIGGER alters";
    const DELETES: &str = "CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN RETURN NULL; END $$; \
        CREATE TRIGGER keeps BEFORE DELETE ON accounts FOR EACH ROW EXECUTE FUNCTION keeps(); \
        ALTER TABLE accounts ENABLE REPLICA TRIGGER keeps";
    const AFTER: &str = "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN UPDATE public.accounts SET balance = 0 WHERE id = NEW.id; RETURN NULL; END $$; \
        CREATE TRIGGER later AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION later(); \
        ALTER TABLE accounts ENABLE ALWAYS TRIGGER later";
    const RULE: &str = "CREATE RULE turns AS ON DELETE TO accounts DO INSTEAD NOTHING; \
        ALTER TABLE accounts ENABLE ALWAYS RULE turns";
    use TriggerPolicy::{Allow, Refuse};
    for (made, name, triggers, policy) in [
        (ALTERS, "alters", Refuse, ConflictPolicy::Halt),
        (ALTERS, "alters", Allow, ConflictPolicy::Converge),
        (DELETES, "keeps", Allow, ConflictPolicy::Converge),
        (AFTER, "later", Refuse, ConflictPolicy::Halt),
        (RULE, "turns", Allow, ConflictPolicy::Converge),
    ] {
        let mut bed = Bed::new().await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        let mut settings = allowing(&bed);
        settings.config.on_conflict = policy;
        settings.config.triggers = triggers;
        let mut apply = bed.start_with(settings.clone(), FailPoints::default());
        apply.reaches(1).await;
        bed.query(made).await;
        let gone = change(a, Operation::Delete, Before::Full(account(1, "x", 1)), Vec::new());
        let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
        if policy == ConflictPolicy::Converge {
            bed.source.commit(&[gone]).await;
        } else {
            // Nothing fails of itself.
            apply.reaches(n).await;
        }
        let failure = apply.halts().await;
        assert_eq!(failure.code.as_str(), "apply.rows", "{name}: {failure}");
        assert!(failure.message.contains(name), "{failure}");
        // No later start passes over it, until its remedy is followed.
        bed.query("DROP RULE IF EXISTS turns ON accounts; DROP FUNCTION IF EXISTS alters, keeps, later CASCADE")
            .await;
        let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
        assert!(failure.message.contains(name), "{failure}");
        bed.query("UPDATE lockstep.exceptions SET resolved_at = now() WHERE kind = 'rows'").await;
        bed.catch_up_with(settings).await;
    }
}

/// What is allowed, and what comes or goes without a word about rows, does not end anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_beside_the_rows_may_come_and_go_where_triggers_are_allowed() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut apply = bed.start_with(allowing(&bed), FailPoints::default());
    apply.reaches(1).await;
    bed.query(
        "CREATE TABLE heard (id bigint); CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO public.heard VALUES (NEW.id); RETURN NULL; END $$; \
         CREATE TRIGGER hear AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION hear(); \
         ALTER TABLE accounts ENABLE ALWAYS TRIGGER hear",
    )
    .await;
    let epoch = apply.until("the trigger is named", |s| noticed(s, "hear")).await.epoch;
    let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    assert_eq!(apply.reaches(n).await.epoch, epoch);
    assert_eq!(bed.query("SELECT id FROM heard").await, ["2"]);
    apply.stop().await;
}

/// Nothing brings the rows of a table back in a task without loads: apply says so and stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_replaced_while_apply_runs_halts_where_nothing_loads() {
    for made in ["", "; CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int)"] {
        let mut bed = Bed::new().await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        let settings = ApplySettings { task: Task::Cdc, ..bed.settings() };
        let mut apply = bed.start_with(settings, FailPoints::default());
        apply.reaches(1).await;
        bed.query(&format!("BEGIN; DROP TABLE accounts{made}; COMMIT")).await;
        let failure = apply.halts().await;
        assert_eq!(failure.code.as_str(), "apply.table", "{failure}");
        assert!(failure.message.contains("while apply ran"), "{failure}");
    }
}

/// A trigger that comes while apply runs: the count comes with the reply, behind the commit. It halts,
/// and no later start passes over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_dropped_by_a_trigger_that_came_meanwhile_are_not_forgotten() {
    for ids in [vec![3], vec![2, 3, 4]] {
        let mut bed = Bed::new().await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        let mut apply = bed.start();
        apply.reaches(1).await;
        bed.query(&format!("{DROPS} ALTER TABLE accounts ENABLE ALWAYS TRIGGER drops")).await;
        let rows: Vec<_> = ids.iter().map(|id| insert(a, account(*id, "x", 1))).collect();
        bed.source.commit(&rows).await;
        let failure = apply.halts().await;
        assert_eq!(failure.code.as_str(), "apply.rows", "{failure}");
        assert!(failure.message.contains("insert on dbo.accounts"), "{failure}");
        bed.query("DROP TRIGGER drops ON accounts").await;
        let failure = bed.start().halts().await;
        assert_eq!(failure.code.as_str(), "apply.rows", "{failure}");
        // As its remedy says.
        bed.query("INSERT INTO accounts VALUES (3, 'x', 1)").await;
        bed.query("UPDATE lockstep.exceptions SET resolved_at = now() WHERE kind = 'rows'").await;
        bed.source.commit(&[update(a, account(3, "x", 1), account(3, "y", 1))]).await;
        bed.catch_up().await;
        assert_eq!(bed.query("SELECT owner FROM accounts WHERE id = 3").await, ["y"]);
    }
}

/// A load counts before it commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_does_not_lose_rows_to_a_trigger() {
    for touched in [false, true] {
        let mut bed = Bed::new().await;
        bed.query(&format!("{TABLE} {DROPS} ALTER TABLE accounts ENABLE ALWAYS TRIGGER drops"))
            .await;
        let a = bed.source.defined(&accounts()).await;
        bed.source.progress().await;
        bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
        bed.source.chunk_begin((LOAD, a, 0), PLAIN).await;
        if touched {
            let after = vec![int(3), Value::Unavailable, int(30)];
            let partial = change(a, Operation::Update, Before::Key(vec![int(3)]), after);
            bed.source.commit(&[partial]).await;
        }
        let rows: Vec<_> = (1..=4).map(|i| account(i, "old", i)).collect();
        let offsets = bed.source.chunk_rows((LOAD, a, 0), 0, &rows, 4).await;
        bed.source.chunk_end((LOAD, a, 0), 0, offsets, 4).await;
        bed.source.table_read(LOAD, a, 1, 4).await;
        bed.source.end_load(LOAD).await;
        bed.source.progress().await;
        let mut settings = allowing(&bed);
        settings.config.prepare = Prepare::Truncate;
        for _ in 0..2 {
            let apply = bed.start_with(settings.clone(), FailPoints::default());
            let failure = apply.halts().await;
            assert!(
                failure.message.contains("row(s)") || failure.message.contains("LS0"),
                "{failure}"
            );
            assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["0"], "{touched}");
        }
        bed.query("ALTER TABLE accounts DISABLE TRIGGER drops").await;
        bed.catch_up_with(settings).await;
        assert_eq!(bed.query(IDS).await, ["1", "2", "3", "4"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_do_not_keep_rows_are_refused() {
    let policy = "ALTER TABLE accounts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;";
    for (made, word) in [
        (TABLE.replace("TABLE", "UNLOGGED TABLE"), "SET LOGGED"),
        (format!("{TABLE} CREATE TABLE heir () INHERITS (accounts)"), "NO INHERIT"),
        (
            format!("{TABLE} CREATE RULE turns AS ON INSERT TO accounts DO ALSO NOTHING; \
                     ALTER TABLE accounts ENABLE ALWAYS RULE turns"),
            "turns of public.accounts",
        ),
        (
            "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int) \
             PARTITION BY RANGE (id); CREATE UNLOGGED TABLE low PARTITION OF accounts \
             FOR VALUES FROM (0) TO (100)"
                .to_owned(),
            "public.low is UNLOGGED",
        ),
        (
            "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw; \
             CREATE TABLE accounts (id int, owner text, balance int) PARTITION BY RANGE (id); \
             CREATE FOREIGN TABLE away PARTITION OF accounts FOR VALUES FROM (0) TO (100) SERVER far"
                .to_owned(),
            "public.away is a foreign table",
        ),
        (format!("{TABLE} {policy}"), ""),
    ] {
        let mut bed = Bed::new().await;
        bed.query(&made).await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        if word.is_empty() {
            // A superuser is above policies.
            bed.catch_up().await;
            continue;
        }
        let failure = bed.start().halts().await;
        assert_eq!(failure.code.as_str(), "apply.table", "{failure}");
        assert!(failure.message.contains(word), "{failure}");
        assert_eq!(bed.query("SELECT count(*) FROM ONLY accounts").await, ["0"]);
        // Claimed it is, and `check` and every start say the same.
        let results = checked(&bed).await;
        let named = results.iter().find(|r| r.detail.contains(word));
        assert_eq!(named.map(|r| r.verdict), Some(Verdict::Fail), "{results:#?}");
        assert!(bed.start().halts().await.message.contains(word));
    }
}

/// What is changed under a pipeline that has run for long is found by its next start, change or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_looks_at_all_tables_of_the_pipeline() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up().await;
    bed.query("ALTER TABLE accounts SET UNLOGGED").await;
    let failure = bed.start().halts().await;
    assert!(failure.message.contains("SET LOGGED"), "{failure}");
    bed.query("ALTER TABLE accounts SET LOGGED").await;
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    bed.catch_up().await;
    // A rule of the usual kind sleeps in a replica's session.
    bed.query("CREATE RULE turns AS ON UPDATE TO accounts DO INSTEAD NOTHING").await;
    bed.source.commit(&[update(a, account(2, "x", 1), account(2, "y", 1))]).await;
    bed.catch_up().await;
    assert_eq!(bed.query("SELECT owner FROM accounts WHERE id = 2").await, ["y"]);
    // A policy hides rows from a role that does not own the table: an error, not fewer rows.
    let role = format!("hidden_{}", bed.database.name);
    bed.query(&format!(
        "DROP RULE turns ON accounts; ALTER TABLE accounts ENABLE ROW LEVEL SECURITY; \
         CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public, lockstep TO {role}; \
         GRANT USAGE ON SCHEMA lockstep TO {role}"
    ))
    .await;
    let mut settings = bed.settings();
    settings.config.user = role;
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert!(failure.message.contains("row-level security"), "{failure}");
}
