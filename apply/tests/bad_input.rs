//! Wrong configurations and unfit targets: one clear line each, nothing written.

use lockstep_common::FailPoints;
use lockstep_common::config::{Secret, TargetTls};
use lockstep_common::service::check::Verdict;
use lockstep_common::service::status::TaskState;

use crate::bed::Bed;
use crate::source::{BIGINT, INT, TEXT, account, accounts, bare, insert, int, table, text};
use lockstep_servers::cluster::{self, Cluster, Kind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfit_table_halts_with_everything_that_is_wrong() {
    let mut bed = Bed::new().await;
    bed.query(
        "CREATE TABLE accounts (id bigint, balance smallint, extra int NOT NULL, \
         fine int NOT NULL DEFAULT 0)",
    )
    .await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.table");
    let wrong = [
        "column \"owner\" is missing",
        "column \"balance\" has type smallint",
        "needs integer",
        "\"extra\" is NOT NULL",
        "no primary key or unique index on (\"id\")",
    ];
    for what in wrong {
        assert!(failure.message.contains(what), "{what}: {failure}");
    }
    assert!(!failure.message.contains("fine"), "{failure}");
    assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["0"]);
    assert_eq!(bed.query("SELECT seq FROM lockstep.checkpoint").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wider_types_and_other_keys_fit() {
    let mut bed = Bed::new().await;
    bed.query(
        "CREATE TABLE accounts (balance numeric(12,2), id bigint NOT NULL, owner varchar); \
         CREATE UNIQUE INDEX ON accounts (id) INCLUDE (owner)",
    )
    .await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1)), insert(a, account(2, "y", 2))]).await;
    bed.catch_up().await;
    assert_eq!(
        bed.query("SELECT id, owner, balance FROM accounts WHERE id = 2").await,
        ["2|y|2.00"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_table_halts_unless_it_may_be_created() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.create_tables = false;
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert!(failure.message.contains("does not exist"), "{failure}");
    assert!(failure.remedy.contains("create_tables"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn computed_columns_are_left_out() {
    let mut bed = Bed::new().await;
    let mut version = table("lines", 1, &[("id", INT), ("total", BIGINT), ("what", TEXT)]);
    version.columns[1].computed = true;
    let t = bed.source.table(&version).await;
    let row = |id, what: &str| vec![int(id), lockstep_common::Value::Unavailable, text(what)];
    bed.source.commit(&[insert(t, row(1, "a")), insert(t, row(2, "b"))]).await;
    bed.source.commit(&[crate::source::update(t, row(1, "a"), row(1, "c"))]).await;
    bed.catch_up().await;
    assert_eq!(bed.query("SELECT * FROM lines ORDER BY id").await, ["1|c", "2|b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_checked_by_scram_and_md5() {
    for (role, method) in [("guarded", "scram-sha-256"), ("hashed", "md5")] {
        let mut bed = Bed::new().await;
        bed.query(&format!(
            "SET password_encryption = '{method}'; \
             DO $$ BEGIN CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'sésame'; \
             EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        ))
        .await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        let mut settings = bed.settings();
        if method == "md5" {
            settings.config.host = cluster::shared().directory.display().to_string();
        }
        settings.config.user = role.into();
        settings.config.password = Some(Secret::new("wrong"));
        let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
        assert!(failure.message.contains("28P01"), "{failure}");
        assert!(failure.message.contains(role), "{failure}");
        assert!(failure.remedy.contains("password"), "{failure}");
        assert!(!failure.to_string().contains("wrong"), "{failure}");
        settings.config.password = Some(Secret::new("sésame"));
        bed.catch_up_with(settings).await;
        assert_eq!(bed.query("SELECT id FROM accounts").await, ["1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_database_halts_and_tls_that_is_not_there_too() {
    let bed = Bed::new().await;
    let mut settings = bed.settings();
    settings.config.database = "nowhere".into();
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert!(failure.message.contains("3D000") && failure.message.contains("nowhere"), "{failure}");
    let mut settings = bed.settings();
    settings.config.tls = TargetTls::Require;
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert!(failure.message.contains("TLS"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_is_named_and_tried_again() {
    let bed = Bed::new().await;
    let mut settings = bed.settings();
    settings.config.port = 1;
    let mut apply = bed.start_with(settings, FailPoints::default());
    let status = apply.until("an error", |status| status.last_error.is_some()).await;
    assert_eq!(status.state, TaskState::Retrying);
    let error = status.last_error.unwrap_or_default();
    assert!(error.contains("cannot reach PostgreSQL at 127.0.0.1:1"), "{error}");
    apply.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_start_is_named() {
    let bed = Bed::in_memory().await;
    let mut settings = bed.settings();
    settings.config.start = Some("yesterday".into());
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert!(failure.message.contains("yesterday"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_used_and_verified_as_configured() {
    let cluster = tokio::task::block_in_place(|| Cluster::new(Kind::Encrypted));
    let mut bed = Bed::on(&cluster).await;
    let a = bed.source.table(&accounts()).await;
    let authority = Some(cluster.directory.join("ca.pem"));
    let accepted = [
        (TargetTls::Disable, None, "f"),
        (TargetTls::Prefer, None, "t"),
        (TargetTls::Require, None, "t"),
        (TargetTls::VerifyFull, authority.clone(), "t"),
    ];
    for (i, (tls, ca_file, encrypted)) in accepted.into_iter().enumerate() {
        bed.source.commit(&[insert(a, account(i as i64, "x", 1))]).await;
        let mut settings = bed.settings();
        settings.config.host = "localhost".into();
        (settings.config.tls, settings.config.ca_file) = (tls, ca_file);
        let mut apply = bed.start_with(settings, FailPoints::default());
        apply.reaches(bed.source.at).await;
        let found = bed
            .query(
                "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE application_name LIKE 'lockstep-apply/%'",
            )
            .await;
        assert_eq!(found, [encrypted], "{tls:?}");
        apply.stop().await;
    }
    // Nobody vouches for the certificate; or it is another host's.
    for (host, tls, ca_file) in [
        ("localhost", TargetTls::VerifyFull, None),
        ("127.0.0.1", TargetTls::VerifyFull, authority.clone()),
        ("127.0.0.1", TargetTls::Require, authority),
    ] {
        let mut settings = bed.settings();
        settings.config.host = host.into();
        (settings.config.tls, settings.config.ca_file) = (tls, ca_file);
        let failure = bed.start_with(settings, FailPoints::default()).halts().await;
        assert!(failure.message.contains("TLS"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_directory_is_a_host_too() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.host = cluster::shared().directory.display().to_string();
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query("SELECT id FROM accounts").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_is_there_and_what_is_missing() {
    use lockstep_common::service::check::{CheckResult, Verdict};
    let mut bed = Bed::new().await;
    let results = lockstep_apply::check(&bed.settings()).await;
    // The tests' role is a superuser, over connections that nothing protects.
    let known = |r: &CheckResult| r.name == "transport" || r.name == "role";
    let fine = |r: &CheckResult| r.verdict == Verdict::Pass || known(r);
    assert!(results.iter().all(fine), "{results:#?}");
    assert!(bed.query("SELECT 1 FROM pg_namespace WHERE nspname = 'lockstep'").await.is_empty());
    bed.source.progress().await;
    bed.catch_up().await;
    let role = format!("checked_{}", bed.database.name);
    bed.query(&format!("CREATE ROLE {role} LOGIN")).await;
    let mut settings = bed.settings();
    settings.config.user = role;
    settings.config.start = Some("tomorrow".into());
    let results = lockstep_apply::check(&settings).await;
    let of = |verdict| {
        let named = results.iter().filter(move |r| r.verdict == verdict);
        named.map(|r| r.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Verdict::Fail), ["start point", "schema lockstep", "checkpoint"], "{results:#?}");
    let warned = ["transport", "full loads", "triggers and foreign keys"];
    assert_eq!(of(Verdict::Warn), warned, "{results:#?}");
    assert!(results.iter().all(|r| (r.verdict == Verdict::Pass) == r.fix.is_empty()));
    settings.config.port = 1;
    let results = lockstep_apply::check(&settings).await;
    assert!(results.iter().any(|r| r.detail.contains("127.0.0.1:1")), "{results:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_with_rights_on_prepared_schemas_only_is_enough() {
    let mut bed = Bed::new().await;
    let role = format!("least_{}", bed.database.name);
    bed.query(&format!(
        "CREATE ROLE {role} LOGIN; CREATE SCHEMA lockstep; \
         GRANT USAGE, CREATE ON SCHEMA lockstep, public TO {role}"
    ))
    .await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1)), insert(a, account(2, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.user = role;
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["2"]);
}

/// What `check` says of the target's tables, and how bad it is: each with what it contains.
async fn told(settings: &lockstep_apply::ApplySettings) -> Vec<(Verdict, String)> {
    let tables = [(accounts().into(), bare(&accounts()))];
    let results = lockstep_apply::check_types(settings, &tables).await;
    let of_table = |r: &lockstep_common::service::check::CheckResult| r.name == "tables";
    results.into_iter().filter(of_table).map(|r| (r.verdict, r.detail)).collect()
}

/// Before the first start as after others, with what the load would say; and of tables that are followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_tables_that_are_not_empty_or_do_not_fit() {
    use lockstep_common::config::{Prepare, Task};
    const GOOD: &str = "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int);";
    const ROW: &str = "INSERT INTO accounts VALUES (1, 'x', 1);";
    let cases = [
        ("", Prepare::Create, None),
        (GOOD, Prepare::Create, None),
        (&format!("{GOOD}{ROW}"), Prepare::Create, Some("is not empty")),
        (&format!("{GOOD}{ROW}"), Prepare::Keep, None),
        (&format!("{GOOD}{ROW}"), Prepare::Truncate, None),
        (GOOD, Prepare::DropAndCreate, Some("dropping it needs `drop_tables = true`")),
        (
            &format!("{GOOD} CREATE TABLE others (id int REFERENCES accounts);"),
            Prepare::Truncate,
            Some("drop public.others.others_id_fkey"),
        ),
        (
            "CREATE TABLE accounts (id int PRIMARY KEY, owner int, balance int)",
            Prepare::Create,
            Some("column \"owner\""),
        ),
        (
            "CREATE TABLE accounts (id int PRIMARY KEY, owner text)",
            Prepare::Truncate,
            Some("column \"balance\""),
        ),
        ("CREATE TABLE accounts (id int, owner text, balance int)", Prepare::Keep, Some("key")),
        ("CREATE VIEW accounts AS SELECT 1 AS id", Prepare::Create, Some("it is not a table")),
    ];
    for (made, prepare, wrong) in cases {
        let mut bed = Bed::new().await;
        bed.query(made).await;
        let mut settings = bed.settings();
        settings.task = Task::FullLoadAndCdc;
        settings.config.prepare = prepare;
        for started_before in [false, true] {
            if started_before {
                // Lockstep's own tables are there, and none of them has this one.
                bed.source.progress().await;
                bed.catch_up_with(settings.clone()).await;
            }
            let told = told(&settings).await;
            let case = format!("{made} {prepare:?}: {told:#?}");
            match wrong {
                None => assert!(told.is_empty(), "{case}"),
                Some(what) => {
                    assert!(told.iter().all(|(v, _)| *v == Verdict::Fail), "{case}");
                    let named: Vec<_> = told.iter().filter(|(_, d)| d.contains(what)).collect();
                    assert_eq!(named.len(), 1, "{case}");
                    assert!(named[0].1.starts_with("dbo.accounts: "), "{case}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_what_has_become_of_tables_that_are_followed() {
    use lockstep_common::config::Task;
    let mut bed = Bed::new().await;
    let mut settings = bed.settings();
    settings.config.create_tables = false;
    let absent = told(&settings).await;
    assert!(absent.len() == 1 && absent[0].1.contains("does not exist"), "{absent:#?}");
    settings.config.create_tables = true;
    assert!(told(&settings).await.is_empty());
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, vec![int(1), text("x"), int(1)])]).await;
    bed.catch_up_with(settings.clone()).await;
    for task in [Task::Cdc, Task::FullLoadAndCdc] {
        settings.task = task;
        assert!(told(&settings).await.is_empty(), "it has rows, which are its own");
    }
    bed.query("ALTER TABLE accounts DROP COLUMN owner").await;
    for task in [Task::Cdc, Task::FullLoadAndCdc] {
        settings.task = task;
        let told = told(&settings).await;
        assert!(told.len() == 1 && told[0].1.contains("\"owner\""), "{told:#?}");
        assert_eq!(told[0].0, Verdict::Fail);
    }
    // What would refuse rows while they converge only, is warned of.
    let bed = Bed::new().await;
    bed.query("CREATE TABLE accounts (id int PRIMARY KEY, owner text UNIQUE, balance int)").await;
    let mut settings = bed.settings();
    settings.task = Task::FullLoadAndCdc;
    let told = told(&settings).await;
    assert!(told.len() == 1 && told[0].1.contains("accounts_owner_key"), "{told:#?}");
    assert_eq!(told[0].0, Verdict::Warn);
}
