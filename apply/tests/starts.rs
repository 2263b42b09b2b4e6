//! Start points, and what they refuse.

use lockstep_apply::testing::Memory;
use lockstep_common::FailPoints;
use lockstep_common::config::ConflictPolicy;
use lockstep_common::service::status::TaskState;

use crate::bed::{Apply, Bed, Target};
use crate::source::{account, accounts, at, insert, update};

const IDS: &str = "SELECT id FROM accounts ORDER BY id";

async fn bed_of(transactions: i64) -> Bed<Memory> {
    filled(Bed::in_memory().await, transactions).await
}

async fn database_of(transactions: i64) -> Bed {
    filled(Bed::new().await, transactions).await
}

async fn filled<T: Target>(mut bed: Bed<T>, transactions: i64) -> Bed<T> {
    let a = bed.source.table(&accounts()).await;
    for i in 1..=transactions {
        bed.source.commit(&[insert(a, account(i, "x", 1))]).await;
    }
    bed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_start_point_starts_there() {
    // Offset 0 is the epoch record.
    let starts = [
        ("earliest", vec!["1", "2", "3", "4"]),
        ("offset:3", vec!["3", "4"]),
        ("position:1/00000000:00000001", vec!["2", "3", "4"]),
        ("time:1970-01-01T00:00:04Z", vec!["4"]),
    ];
    for (start, ids) in starts {
        let bed = bed_of(4).await;
        let mut settings = bed.settings();
        settings.config.start = Some(start.to_owned());
        bed.catch_up_with(settings).await;
        assert_eq!(bed.ids(), ids, "{start}");
    }
}

/// What is committed after the first attach is not passed over, however often apply is started again before
/// it commits anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn now_is_the_end_of_the_log_at_the_first_attach() {
    let mut bed = bed_of(3).await;
    let a = bed.source.table(&accounts()).await;
    let mut settings = bed.settings();
    settings.config.start = Some("now".to_owned());
    let mut running = bed.start_with(settings.clone(), FailPoints::default());
    running.until("it runs", |status| status.state == TaskState::Running).await;
    running.stop().await;
    bed.source.commit(&[insert(a, account(4, "x", 1))]).await;
    bed.catch_up_with(settings.clone()).await;
    assert_eq!(bed.ids(), ["4"]);
    bed.source.commit(&[insert(a, account(5, "x", 1))]).await;
    bed.catch_up_with(settings).await;
    assert_eq!(bed.ids(), ["4", "5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_obeyed_may_stay_another_is_refused() {
    let mut bed = database_of(4).await;
    let mut settings = bed.settings();
    settings.config.start = Some("offset:3".into());
    bed.catch_up_with(settings.clone()).await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(5, "x", 1))]).await;
    bed.catch_up_with(settings.clone()).await;
    assert_eq!(bed.query(IDS).await, ["3", "4", "5"]);
    settings.config.start = Some("earliest".into());
    let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.start");
    assert!(failure.message.contains(&at(5).to_string()), "{failure}");
    // Reset, and the other start is obeyed: rows that are there conflict.
    lockstep_apply::reset(&settings).await.unwrap();
    let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
    assert!(failure.message.contains("23505"), "{failure}");
    settings.config.on_conflict = ConflictPolicy::Converge;
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query(IDS).await, ["1", "2", "3", "4", "5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_start_halts_on_what_is_missing_and_converges_where_allowed() {
    let mut bed = database_of(3).await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[update(a, account(1, "x", 1), account(1, "y", 2))]).await;
    let mut settings = bed.settings();
    settings.config.start = Some("offset:3".into());
    let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
    assert!(failure.message.contains("LS001"), "{failure}");
    settings.config.on_conflict = ConflictPolicy::Converge;
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query(IDS).await, ["1", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_inside_a_transaction_leaves_it_out() {
    let mut bed = bed_of(1).await;
    let a = bed.source.table(&accounts()).await;
    let changes: Vec<_> = (10..20).map(|i| insert(a, account(i, "x", 1))).collect();
    bed.source.commit_in_fragments(&changes, 3).await;
    bed.source.commit(&[insert(a, account(30, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.start = Some("offset:4".into());
    let status = bed.catch_up_with(settings).await;
    assert_eq!(bed.ids(), ["30"]);
    assert!(status.notices.iter().any(|n| n.contains(&at(2).to_string())), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_targets_follow_one_log() {
    let bed = bed_of(3).await;
    let other = Memory::new();
    let mut settings = bed.settings();
    settings.name = "second".into();
    settings.config.spool = bed.spool("second");
    let mut first = bed.start();
    let mut second = Apply::start_on(&other, settings, &bed.log, FailPoints::default());
    first.reaches(3).await;
    second.reaches(3).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(other.rows("accounts"), bed.database.rows("accounts"));
    assert_eq!(bed.ids(), ["1", "2", "3"]);
}
