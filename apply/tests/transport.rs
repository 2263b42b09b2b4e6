//! Who is told the password, and whose word a certificate is.

use std::path::PathBuf;

use lockstep_apply::{ApplySettings, check};
use lockstep_common::FailPoints;
use lockstep_common::config::{Secret, TargetTls};
use lockstep_common::service::check::Verdict;

use crate::bed::{Bed, connect};
use crate::middle::{AS_MD5, IN_THE_CLEAR, Middle, NOTHING, Offer};
use crate::source::{account, accounts, insert};
use lockstep_servers::cluster::{Cluster, Kind};

const PASSWORD: &str = "s3same-0pen";

fn towards(bed: &Bed, port: u16, tls: TargetTls, ca_file: Option<PathBuf>) -> ApplySettings {
    let mut settings = bed.settings();
    let config = &mut settings.config;
    (config.host, config.port) = ("localhost".into(), port);
    (config.tls, config.ca_file) = (tls, ca_file);
    (config.user, config.password) = ("guarded".into(), Some(Secret::new(PASSWORD)));
    settings
}

/// Roles that prove themselves by each method of passwords.
async fn make_roles(bed: &Bed) {
    for (role, method) in
        [("guarded", "scram-sha-256"), ("hashed", "md5"), ("plain", "scram-sha-256")]
    {
        bed.query(&format!(
            "SET password_encryption = '{method}'; CREATE ROLE {role} LOGIN SUPERUSER PASSWORD \
             '{PASSWORD}'"
        ))
        .await;
    }
}

/// Without a word in the configuration, and with the weaker ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_is_not_told_the_password() {
    let bed = Bed::new().await;
    let defaults = TargetTls::default();
    assert_eq!(defaults, TargetTls::VerifyFull);
    for asks in [IN_THE_CLEAR, AS_MD5] {
        for offer in [Offer::Nothing, Offer::OwnCertificate] {
            let middle = Middle::impostor(offer, asks).await;
            for tls in [defaults, TargetTls::Require, TargetTls::Prefer, TargetTls::Disable] {
                let settings = towards(&bed, middle.port, tls, None);
                let failure = bed.start_with(settings, FailPoints::default()).halts().await;
                assert_eq!(
                    failure.code.as_str(),
                    "apply.transport",
                    "{tls:?}, {offer:?}: {failure}"
                );
                assert!(!failure.to_string().contains(PASSWORD), "{failure}");
                assert_eq!(middle.heard(), b"", "{tls:?}, {offer:?}");
            }
        }
    }
}

/// Whoever lets everybody in gets nothing under the default, or under a `ca_file`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_that_asks_for_nothing_gets_nothing() {
    let bed = Bed::new().await;
    let authority = bed.spool("ca.pem");
    std::fs::write(&authority, lockstep_servers::cluster::self_signed("localhost").0).unwrap();
    for offer in [Offer::Nothing, Offer::OwnCertificate] {
        let middle = Middle::impostor(offer, NOTHING).await;
        for (tls, ca_file) in [
            (TargetTls::default(), None),
            (TargetTls::Require, Some(authority.clone())),
            (TargetTls::Prefer, Some(authority.clone())),
        ] {
            let settings = towards(&bed, middle.port, tls, ca_file);
            let failure = bed.start_with(settings, FailPoints::default()).halts().await;
            assert_eq!(failure.code.as_str(), "apply.transport", "{tls:?}, {offer:?}: {failure}");
            assert_eq!(middle.heard(), b"", "{tls:?}, {offer:?}");
        }
    }
}

/// SCRAM is bound to the certificate: whoever passes it on is found out, also where no certificate is
/// verified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_stands_between_scram() {
    let cluster = tokio::task::block_in_place(|| Cluster::new(Kind::Encrypted));
    let mut bed = Bed::on(&cluster).await;
    make_roles(&bed).await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let middle = Middle::relay(cluster.port).await;
    let settings = towards(&bed, middle.port, TargetTls::Require, None);
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert!(failure.to_string().contains("channel binding"), "{failure}");
    bed.catch_up_with(towards(&bed, cluster.port, TargetTls::Require, None)).await;
    assert_eq!(bed.query("SELECT id FROM accounts").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_told_over_verified_connections_only() {
    let cluster = tokio::task::block_in_place(|| Cluster::new(Kind::Encrypted));
    let mut bed = Bed::on(&cluster).await;
    make_roles(&bed).await;
    let a = bed.source.table(&accounts()).await;
    let authority = Some(cluster.directory.join("ca.pem"));
    let mut rows = 0;
    for (role, tls, ca_file, told) in [
        ("guarded", TargetTls::Disable, None, true),
        ("guarded", TargetTls::Require, None, true),
        ("hashed", TargetTls::Disable, None, false),
        ("hashed", TargetTls::Require, None, false),
        ("hashed", TargetTls::Require, authority.clone(), true),
        ("plain", TargetTls::Prefer, None, false),
        ("plain", TargetTls::Require, None, false),
        ("plain", TargetTls::VerifyFull, authority.clone(), true),
    ] {
        rows += 1;
        bed.source.commit(&[insert(a, account(rows, "x", 1))]).await;
        let mut settings = towards(&bed, cluster.port, tls, ca_file);
        settings.config.user = role.into();
        if told {
            bed.catch_up_with(settings).await;
        } else {
            let failure = bed.start_with(settings, FailPoints::default()).halts().await;
            assert_eq!(failure.code.as_str(), "apply.transport", "{role}, {tls:?}: {failure}");
        }
    }
    // A local socket is the server's own.
    for role in ["hashed", "plain"] {
        rows += 1;
        bed.source.commit(&[insert(a, account(rows, "x", 1))]).await;
        let mut settings = towards(&bed, cluster.port, TargetTls::default(), None);
        settings.config.host = cluster.directory.display().to_string();
        settings.config.user = role.into();
        bed.catch_up_with(settings).await;
    }
    assert_eq!(bed.query("SELECT count(*) FROM accounts").await, [rows.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_logs_in() {
    let cluster = tokio::task::block_in_place(|| Cluster::new(Kind::Encrypted));
    let mut bed = Bed::on(&cluster).await;
    bed.query("CREATE ROLE certified LOGIN SUPERUSER").await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let authority = Some(cluster.directory.join("ca.pem"));
    let mut settings = towards(&bed, cluster.port, TargetTls::VerifyFull, authority);
    (settings.config.user, settings.config.password) = ("certified".into(), None);
    bed.start_with(settings.clone(), FailPoints::default()).halts().await;
    settings.config.cert_file = Some(cluster.directory.join("client.pem"));
    settings.config.key_file = Some(cluster.directory.join("client.key"));
    bed.catch_up_with(settings.clone()).await;
    assert_eq!(bed.query("SELECT id FROM accounts").await, ["1"]);
    settings.config.key_file = Some(cluster.directory.join("ca.pem"));
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.config", "{failure}");
    assert!(failure.message.contains("key_file"), "{failure}");
}

/// Files are read at each connection: another password, another authority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_read_at_each_connection() {
    let cluster = tokio::task::block_in_place(|| Cluster::new(Kind::Encrypted));
    let mut bed = Bed::on(&cluster).await;
    make_roles(&bed).await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let (password, authority) = (bed.spool("password"), bed.spool("ca.pem"));
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    std::fs::copy(cluster.directory.join("ca.pem"), &authority).unwrap();
    let mut settings = towards(&bed, cluster.port, TargetTls::VerifyFull, Some(authority.clone()));
    settings.config.password = None;
    settings.config.password_file = Some(password.clone());
    let mut apply = bed.start_with(settings, FailPoints::default());
    let epoch = apply.reaches(1).await.epoch;
    std::fs::write(&password, "an0ther-0ne\n").unwrap();
    bed.query("ALTER ROLE guarded PASSWORD 'an0ther-0ne'").await;
    cluster.renew_certificate();
    std::fs::copy(cluster.directory.join("ca.pem"), &authority).unwrap();
    // As an administrator does, or a failover.
    let admin = connect(cluster.port, "postgres", "postgres").await;
    admin
        .batch_execute(
            "SELECT pg_reload_conf(); SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE usename = 'guarded'",
        )
        .await
        .unwrap();
    apply.until("another connection", |status| status.epoch > epoch).await;
    let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    apply.reaches(n).await;
    apply.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weaker_transport_is_shown() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let status = bed.catch_up().await;
    assert!(status.notices.iter().any(|n| n.contains("tls = \"disable\"")), "{status:?}");
    let found = check(&bed.settings()).await;
    let shown = found.iter().find(|result| result.name == "transport").expect("it is shown");
    assert_eq!(shown.verdict, Verdict::Warn, "{shown:?}");
    let mut settings = bed.settings();
    settings.config.host = lockstep_servers::cluster::shared().directory.display().to_string();
    let found = check(&settings).await;
    assert!(found.iter().all(|result| result.name != "transport"), "{found:?}");
}
