//! Wrong configurations and unfit targets: one clear line each, nothing written.

use lockstep_common::FailPoints;
use lockstep_common::config::{Secret, TargetTls};
use lockstep_common::service::status::TaskState;

use crate::bed::Bed;
use crate::cluster::{self, Cluster, Kind};
use crate::source::{BIGINT, INT, TEXT, account, accounts, insert, int, table, text};

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
    let bed = Bed::new().await;
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
