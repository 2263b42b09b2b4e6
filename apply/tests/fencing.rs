//! One apply on a target at a time; commits whose outcome nobody heard of.

use lockstep_apply::failpoints;
use lockstep_common::config::{self, Secret};
use lockstep_common::{Disposition, FailPoints};

use crate::bed::{Apply, Bed, PIPELINE};
use crate::proxy::{Line, Proxy};
use crate::source::{account, accounts, insert};

const COUNT: &str = "SELECT count(*), coalesce(sum(balance), 0) FROM accounts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_of_two_applies_is_fenced() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut older = bed.start();
    older.reaches(1).await;
    let mut settings = bed.settings();
    settings.config.spool = bed.spool("other");
    let mut younger = bed.start_with(settings, FailPoints::default());
    younger.until("its epoch", |status| status.epoch == 2).await;
    let failure = older.fails().await;
    assert_eq!(failure.disposition(), Disposition::Fenced, "{failure}");
    assert_eq!(failure.exit_code(), lockstep_common::failure::exit::FENCED);
    let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    younger.reaches(n).await;
    younger.stop().await;
    assert_eq!(bed.query(COUNT).await, ["2|2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_broken_in_the_target_fences() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut apply = bed.start();
    apply.reaches(1).await;
    // Another instance's epoch, without ending the connection.
    bed.query("UPDATE lockstep.checkpoint SET epoch = epoch + 1, instance = NULL").await;
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let failure = apply.fails().await;
    assert_eq!(failure.disposition(), Disposition::Fenced, "{failure}");
    assert_eq!(bed.query(COUNT).await, ["1|1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_checkpoint_row_commits_nothing() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut apply = bed.start();
    apply.reaches(1).await;
    bed.query("DELETE FROM lockstep.checkpoint").await;
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let failure = apply.halts().await;
    assert_eq!(failure.code.as_str(), "apply.checkpoint_gone", "{failure}");
    assert_eq!(bed.query(COUNT).await, ["1|1"]);
}

/// A second apply whose log it cannot open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_without_its_log_fences_nobody() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut healthy = bed.start();
    let epoch = healthy.reaches(1).await.epoch;
    let properties = [("security.protocol", "ssl"), ("socket.connection.setup.timeout.ms", "1000")];
    let log = config::Log::Kafka(config::KafkaLog {
        // Nobody there speaks TLS.
        brokers: format!("127.0.0.1:{}", bed.database.port),
        properties: properties.map(|(name, value)| (name.to_owned(), Secret::new(value))).into(),
        ..config::KafkaLog::default()
    });
    let log = lockstep_log::open(&log, PIPELINE).await.expect("it connects to nothing yet");
    let mut settings = bed.settings();
    settings.config.spool = bed.spool("second");
    let mut second = Apply::start(settings, &log, FailPoints::default());
    second.until("its trouble", |status| status.last_error.is_some()).await;
    let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    assert_eq!(healthy.reaches(n).await.epoch, epoch);
    second.kill().await;
    healthy.stop().await;
    assert_eq!(bed.query("SELECT epoch FROM lockstep.checkpoint").await, [epoch.to_string()]);
}

/// A second apply on a copy of the log that ends before what the target has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_on_an_older_copy_of_the_log_fences_nobody() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.copy_log("copy");
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let mut healthy = bed.start();
    let epoch = healthy.reaches(2).await.epoch;
    let copy = bed.open_log("copy").await;
    let mut settings = bed.settings();
    settings.config.spool = bed.spool("second");
    let mut second = Apply::start_on(&bed.database, settings, &copy, FailPoints::default());
    let status = second.until("its trouble", |status| status.last_error.is_some()).await;
    let error = status.last_error.unwrap_or_default();
    assert!(error.contains("apply.log_behind"), "{error}");
    let n = bed.source.commit(&[insert(a, account(3, "x", 1))]).await;
    assert_eq!(healthy.reaches(n).await.epoch, epoch);
    second.stop().await;
    healthy.stop().await;
    assert_eq!(bed.ids(), ["1", "2", "3"]);
}

/// The target as it was before apply's newest epoch: a standby that lacked it, a backup. With the
/// connection lost, as a failover does, and under a running one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_went_back_is_followed_from_its_checkpoint() {
    for ends_connections in [true, false] {
        let mut bed = Bed::new().await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        bed.catch_up().await;
        bed.query("CREATE TABLE before AS SELECT * FROM lockstep.checkpoint").await;
        bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
        let mut apply = bed.start();
        apply.reaches(2).await;
        let put_back = "BEGIN; DELETE FROM accounts WHERE id = 2; DELETE FROM lockstep.checkpoint; \
            INSERT INTO lockstep.checkpoint SELECT * FROM before; COMMIT";
        bed.query(put_back).await;
        if ends_connections {
            bed.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name LIKE 'lockstep-apply/%'",
            )
            .await;
        }
        let n = bed.source.commit(&[insert(a, account(3, "x", 1))]).await;
        let status = apply.reaches(n).await;
        assert!(status.epoch > 2, "{status:?}");
        apply.stop().await;
        assert_eq!(bed.query(COUNT).await, ["3|3"], "ends connections: {ends_connections}");
    }
}

/// Commits arrive, their replies do not: the next epoch says what happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_decided_by_the_next_epoch() {
    let mut bed = Bed::new().await;
    let proxy = Proxy::new(bed.database.port).await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(0, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.port = proxy.port;
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.reaches(1).await;
    proxy.set(Line::Mute);
    let transactions: Vec<_> = (1..=20).map(|i| vec![insert(a, account(i, "x", 1))]).collect();
    let n = bed.source.commit_all(&transactions).await;
    bed.database.shows(COUNT, &["21|21"]).await;
    assert_eq!(apply.status.borrow().position, crate::source::at(1));
    proxy.set(Line::Down);
    apply.until("the outage", |status| status.last_error.is_some()).await;
    proxy.set(Line::Up);
    let status = apply.reaches(n).await;
    assert!(status.epoch >= 2);
    let n = bed.source.commit(&[insert(a, account(99, "x", 1))]).await;
    apply.reaches(n).await;
    apply.stop().await;
    assert_eq!(bed.query(COUNT).await, ["22|22"]);
    let seq = bed.query("SELECT seq FROM lockstep.checkpoint").await;
    assert_eq!(seq, ["22"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pipelines_share_a_target_but_no_table() {
    let mut bed = Bed::new().await;
    let mut other = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up().await;
    let b = other.source.table(&accounts()).await;
    other.source.commit(&[insert(b, account(2, "x", 1))]).await;
    let mut settings = other.settings();
    settings.pipeline = "second".into();
    settings.config.database = bed.database.name.clone();
    let failure = other.start_with(settings.clone(), FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.claimed");
    assert!(failure.message.contains(PIPELINE), "{failure}");
    settings.config.schemas = [("dbo".to_owned(), "second".to_owned())].into();
    other.catch_up_with(settings).await;
    assert_eq!(bed.query("SELECT id FROM accounts").await, ["1"]);
    assert_eq!(bed.query("SELECT id FROM second.accounts").await, ["2"]);
    assert_eq!(bed.query("SELECT count(*) FROM lockstep.checkpoint").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_fences_who_still_runs() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut apply = Apply::start(bed.settings(), &bed.log, FailPoints::default());
    apply.reaches(1).await;
    let removed = lockstep_apply::reset(&bed.settings()).await.unwrap();
    assert_eq!(removed.as_deref(), Some("1/00000000:00000001"));
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let failure = apply.fails().await;
    assert_eq!(failure.disposition(), Disposition::Fenced, "{failure}");
    assert_eq!(bed.query(COUNT).await, ["1|1"]);
    assert!(failpoints::ALL.contains(&failpoints::COMMIT_SENT));
}
