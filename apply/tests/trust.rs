//! A schema `lockstep` that others had a hand in, and what is stored in it.

use lockstep_apply::ApplySettings;
use lockstep_common::FailPoints;
use lockstep_common::service::check::Verdict;

use crate::bed::{Bed, connect};
use crate::source::{account, accounts, insert};

const IDS: &str = "SELECT id FROM accounts ORDER BY id";

/// Somebody who may create schemas, and a function of theirs that leaves a trace which no rollback takes
/// away.
async fn mallory(bed: &Bed) -> String {
    let (database, role) = (&bed.database.name, format!("mallory_{}", bed.database.name));
    bed.query(&format!(
        "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {database} TO {role}; \
         CREATE SEQUENCE called; GRANT ALL ON SEQUENCE called TO PUBLIC; \
         CREATE FUNCTION trap() RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM nextval('public.called'); RETURN true; END $$; \
         CREATE FUNCTION trapped() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM nextval('public.called'); RETURN NEW; END $$"
    ))
    .await;
    role
}

/// It is refused, by `check` too, and nothing was called.
async fn refused(bed: &Bed, settings: &ApplySettings, word: &str) {
    let results = lockstep_apply::check(settings).await;
    let named = results.iter().find(|r| r.detail.contains(word));
    assert_eq!(named.map(|r| r.verdict), Some(Verdict::Fail), "{word}: {results:#?}");
    let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.untrusted", "{word}: {failure}");
    assert!(failure.message.contains(word), "{word}: {failure}");
    assert_eq!(bed.query("SELECT is_called FROM called").await, ["f"], "{word}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_somebody_made_before_is_not_used() {
    for ordinary in [false, true] {
        let mut bed = Bed::new().await;
        let mut settings = bed.settings();
        let mallory = mallory(&bed).await;
        if ordinary {
            let role = format!("apply_{}", bed.database.name);
            bed.query(&format!(
                "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {} TO {role}; \
                 GRANT ALL ON SCHEMA public TO {role}",
                bed.database.name
            ))
            .await;
            settings.config.user = role;
        }
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        let theirs = connect(bed.database.port, &bed.database.name, &mallory).await;
        theirs
            .batch_execute(
                "CREATE SCHEMA lockstep; CREATE TABLE lockstep.checkpoint (pipeline text PRIMARY KEY, \
                 epoch bigint NOT NULL DEFAULT 0, seq bigint NOT NULL DEFAULT 0, log_id uuid, \
                 position text, next_offset bigint, commit_time timestamptz, start text, apply text, \
                 instance uuid, backend_pid integer, backend_start timestamptz); \
                 CREATE TRIGGER trapped BEFORE INSERT OR UPDATE ON lockstep.checkpoint \
                 FOR EACH ROW EXECUTE FUNCTION public.trapped(); \
                 GRANT ALL ON SCHEMA lockstep TO PUBLIC; GRANT ALL ON lockstep.checkpoint TO PUBLIC",
            )
            .await
            .unwrap();
        refused(&bed, &settings, &mallory).await;
        refused(&bed, &settings, "DROP TRIGGER trapped").await;
        // An empty one is no better: its owner may come back.
        theirs.batch_execute("DROP TABLE lockstep.checkpoint").await.unwrap();
        refused(&bed, &settings, &mallory).await;
        bed.query("DROP SCHEMA lockstep CASCADE").await;
        bed.catch_up_with(settings).await;
        assert_eq!(bed.query(IDS).await, ["1"]);
    }
}

/// Whatever may run beside, put there later by whoever could.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_its_own_is_refused_at_the_next_start() {
    let mut bed = Bed::new().await;
    let mallory = mallory(&bed).await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up().await;
    let settings = bed.settings();
    for (done, word, undone) in [
        (
            "CREATE TRIGGER trapped BEFORE INSERT ON lockstep.tables FOR EACH ROW \
             EXECUTE FUNCTION trapped(); ALTER TABLE lockstep.tables ENABLE ALWAYS TRIGGER trapped",
            "trigger trapped",
            "DROP TRIGGER trapped ON lockstep.tables",
        ),
        (
            "CREATE RULE traps AS ON UPDATE TO lockstep.load DO ALSO SELECT trap()",
            "rule traps",
            "DROP RULE traps ON lockstep.load",
        ),
        (
            "ALTER TABLE lockstep.exceptions ALTER sqlstate SET DEFAULT trap()::text",
            "a default of lockstep.exceptions",
            "ALTER TABLE lockstep.exceptions ALTER sqlstate DROP DEFAULT",
        ),
        (
            "ALTER TABLE lockstep.checkpoint ADD CONSTRAINT traps CHECK (trap() OR true) NOT VALID",
            "constraint traps",
            "ALTER TABLE lockstep.checkpoint DROP CONSTRAINT traps",
        ),
        (
            "CREATE INDEX traps ON lockstep.checkpoint ((lower(start)))",
            "lockstep.traps",
            "DROP INDEX lockstep.traps",
        ),
        (
            "CREATE POLICY traps ON lockstep.checkpoint USING (trap()); \
             ALTER TABLE lockstep.checkpoint ENABLE ROW LEVEL SECURITY",
            "policy traps",
            "DROP POLICY traps ON lockstep.checkpoint; \
             ALTER TABLE lockstep.checkpoint DISABLE ROW LEVEL SECURITY",
        ),
        ("CREATE TABLE heir () INHERITS (lockstep.checkpoint)", "heir inherits", "DROP TABLE heir"),
        (
            "ALTER TABLE lockstep.checkpoint SET UNLOGGED",
            "lockstep.checkpoint is no table",
            "ALTER TABLE lockstep.checkpoint SET LOGGED",
        ),
        (
            "ALTER TABLE lockstep.load_object OWNER TO MALLORY",
            "lockstep.load_object belongs to role",
            "ALTER TABLE lockstep.load_object OWNER TO postgres",
        ),
        (
            "ALTER FUNCTION lockstep.expect_rows(bigint, bigint) OWNER TO MALLORY",
            "function lockstep.expect_rows(bigint,bigint) belongs",
            "ALTER FUNCTION lockstep.expect_rows(bigint, bigint) OWNER TO postgres",
        ),
        (
            "CREATE FUNCTION lockstep.expect_rows(bigint, integer) RETURNS void LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM public.trap(); END $$; \
             ALTER FUNCTION lockstep.expect_rows(bigint, integer) OWNER TO MALLORY",
            "function lockstep.expect_rows(bigint,integer) belongs",
            "DROP FUNCTION lockstep.expect_rows(bigint, integer)",
        ),
        (
            "ALTER SCHEMA lockstep OWNER TO MALLORY",
            "it belongs to role",
            "ALTER SCHEMA lockstep OWNER TO postgres",
        ),
    ] {
        bed.query(&done.replace("MALLORY", &mallory)).await;
        refused(&bed, &settings, word).await;
        bed.query(undone).await;
        bed.catch_up().await;
    }
}

/// While apply runs, somebody who may create functions in the schema makes one that fits better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_name_the_functions_that_they_mean() {
    let mut bed = Bed::new().await;
    mallory(&bed).await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up().await;
    bed.query(
        "DO $$ DECLARE t text; u text; BEGIN \
         FOREACH t IN ARRAY ARRAY['int8', 'int4', 'numeric', 'text'] LOOP \
         FOREACH u IN ARRAY ARRAY['int4', 'int2', 'numeric', 'text', 'oid'] LOOP \
         EXECUTE format('CREATE FUNCTION lockstep.expect_rows(%s, %s) RETURNS void LANGUAGE plpgsql \
         AS $f$ BEGIN PERFORM public.trap(); END $f$', t, u); END LOOP; END LOOP; END $$",
    )
    .await;
    // Each statement that meets no row: it has to fail, and nothing else.
    bed.source.commit(&[crate::source::delete(a, account(7, "x", 1))]).await;
    let failure = bed.start().halts().await;
    assert!(failure.message.contains("LS001"), "{failure}");
    bed.query("DELETE FROM lockstep.checkpoint").await;
    assert_eq!(bed.query("SELECT is_called FROM called").await, ["f"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_apply_is_a_member_of_may_own_it() {
    let mut bed = Bed::new().await;
    let name = bed.database.name.clone();
    bed.query(&format!(
        "CREATE ROLE owner_{name}; CREATE ROLE apply_{name} LOGIN IN ROLE owner_{name}; \
         GRANT CREATE ON DATABASE {name} TO owner_{name}; GRANT ALL ON SCHEMA public TO apply_{name}; \
         SET ROLE owner_{name}; CREATE SCHEMA lockstep; RESET ROLE"
    ))
    .await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.user = format!("apply_{name}");
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query(IDS).await, ["1"]);
}
