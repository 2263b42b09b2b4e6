//! The contract of a destination, held by PostgreSQL and by the one in memory alike.

use bytesize::ByteSize;
use lockstep_apply::failpoints;
use lockstep_apply::testing::Line;
use lockstep_common::config::ConflictPolicy;
use lockstep_common::service::status::TaskState;
use lockstep_common::{Disposition, FailPoints};

use crate::bed::{Bed, DEADLINE, PIPELINE, Target};
use crate::source::{account, accounts, at, delete, insert, update};

/// The same test of both.
macro_rules! both {
    ($($(#[$doc:meta])* $name:ident)*) => {
        mod postgres {
            use crate::bed::Bed;
            $(
                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(Bed::new).await;
                }
            )*
        }
        mod memory {
            use crate::bed::Bed;
            $(
                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(Bed::in_memory).await;
                }
            )*
        }
    };
}

both! {
    each_transaction_is_committed_once_whatever_crashes
    the_next_epoch_fences_the_one_before
    a_refused_transaction_leaves_nothing_and_stops_at_its_place
    a_refused_transaction_is_set_aside_with_its_checkpoint
    rows_are_what_the_changes_say
}

/// Its rows and its checkpoint are of one commit, at every fail point of the stream.
async fn each_transaction_is_committed_once_whatever_crashes<T: Target>(
    bed: impl AsyncFn() -> Bed<T>,
) {
    for point in failpoints::ALL {
        let mut bed = bed().await;
        let a = bed.source.table(&accounts()).await;
        let long = "x".repeat(1000);
        for first in [0, 20] {
            let ids = first..first + 20;
            let transactions: Vec<_> = ids.map(|i| vec![insert(a, account(i, &long, 1))]).collect();
            bed.source.commit_all(&transactions).await;
        }
        let mut settings = bed.settings();
        // So little that the spool is used too.
        settings.config.memory = ByteSize::kib(4);
        let apply = bed.start_with(settings.clone(), FailPoints::armed(point, 1));
        let failure = apply.fails().await;
        assert_eq!(failure.code.as_str(), "failpoint", "{point}: {failure}");
        // What is there is what the checkpoint says, and nothing of what follows.
        let (rows, reached) = bed.database.moment().await;
        assert_eq!(reached, (rows > 0).then(|| at(rows).to_string()), "{point}");
        bed.catch_up_with(settings).await;
        assert_eq!(bed.database.accounts().await.len(), 40, "{point}");
        assert_eq!(bed.database.checkpoint().await, Some(at(40).to_string()), "{point}");
    }
}

async fn the_next_epoch_fences_the_one_before<T: Target>(bed: impl AsyncFn() -> Bed<T>) {
    let mut bed = bed().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut older = bed.start();
    older.reaches(1).await;
    let mut settings = bed.settings();
    settings.config.spool = bed.spool("other");
    let mut younger = bed.start_with(settings, FailPoints::default());
    younger.until("its epoch", |status| status.epoch == 2).await;
    let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let failure = older.fails().await;
    assert_eq!(failure.disposition(), Disposition::Fenced, "{failure}");
    younger.reaches(n).await;
    younger.stop().await;
    assert_eq!(bed.database.accounts().await, ["1|x|1", "2|x|1"]);
}

/// A transaction of two changes whose second one meets a row that is there.
async fn refused<T: Target>(bed: &mut Bed<T>) {
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.source.commit(&[insert(a, account(2, "x", 1)), insert(a, account(1, "y", 1))]).await;
    bed.source.commit(&[insert(a, account(3, "x", 1))]).await;
}

async fn a_refused_transaction_leaves_nothing_and_stops_at_its_place<T: Target>(
    bed: impl AsyncFn() -> Bed<T>,
) {
    let mut bed = bed().await;
    refused(&mut bed).await;
    // As often as it is started.
    for _ in 0..2 {
        let failure = bed.start().halts().await;
        assert_eq!(failure.code.as_str(), "apply.conflict", "{failure}");
        assert!(failure.message.contains(&at(2).to_string()), "{failure}");
        assert!(failure.message.contains("dbo.accounts"), "{failure}");
        assert_eq!(bed.database.accounts().await, ["1|x|1"]);
        assert_eq!(bed.database.checkpoint().await, Some(at(1).to_string()));
    }
}

async fn a_refused_transaction_is_set_aside_with_its_checkpoint<T: Target>(
    bed: impl AsyncFn() -> Bed<T>,
) {
    let mut bed = bed().await;
    refused(&mut bed).await;
    let mut settings = bed.settings();
    settings.config.on_conflict = ConflictPolicy::Exceptions;
    let status = bed.catch_up_with(settings).await;
    assert!(status.diverged && status.exceptions == 1, "{status:?}");
    assert_eq!(bed.database.accounts().await, ["1|x|1", "3|x|1"]);
    assert_eq!(bed.database.exceptions().await, [at(2).to_string()]);
    assert_eq!(bed.database.checkpoint().await, Some(at(3).to_string()));
}

async fn rows_are_what_the_changes_say<T: Target>(bed: impl AsyncFn() -> Bed<T>) {
    let mut bed = bed().await;
    let a = bed.source.table(&accounts()).await;
    let changes = [
        insert(a, account(1, "x", 1)),
        insert(a, account(2, "x", 1)),
        update(a, account(1, "x", 1), account(1, "y", 2)),
        // A key that changes, and one that is there again after it was gone.
        update(a, account(2, "x", 1), account(5, "x", 1)),
        insert(a, account(2, "z", 9)),
        insert(a, account(3, "x", 1)),
        delete(a, account(3, "x", 1)),
    ];
    bed.source.commit(&changes).await;
    bed.catch_up().await;
    assert_eq!(bed.database.accounts().await, ["1|y|2", "2|z|9", "5|x|1"]);
    // What is not there cannot be changed.
    bed.source.commit(&[delete(a, account(3, "x", 1))]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.conflict", "{failure}");
    assert_eq!(bed.database.checkpoint().await, Some(at(1).to_string()));
}

/// Commits whose confirmations do not come are not repeated, and those that a crash took are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_heard_and_what_is_not_flushed_in_memory() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.durability = lockstep_common::config::Durability::Group;
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.reaches(1).await;
    bed.database.set_line(Line::Mute);
    let transactions: Vec<_> = (2..=40).map(|i| vec![insert(a, account(i, "x", 1))]).collect();
    let n = bed.source.commit_all(&transactions).await;
    let committed = bed.database.shows("accounts", 40);
    tokio::time::timeout(DEADLINE, committed).await.expect("they are committed");
    assert_eq!(apply.status.borrow().position, at(1));
    bed.database.set_line(Line::Down);
    apply.until("the outage", |status| status.state == TaskState::Retrying).await;
    bed.database.set_line(Line::Up);
    apply.reaches(n).await;
    let transactions: Vec<_> = (41..=90).map(|i| vec![insert(a, account(i, "x", 1))]).collect();
    let n = bed.source.commit_all(&transactions).await;
    bed.database.crash();
    apply.reaches(n).await;
    apply.stop().await;
    assert_eq!(bed.ids().len(), 90);
    // Each once, in the source's order.
    let commits = bed.database.commits();
    assert!(commits.is_sorted() && commits.windows(2).all(|two| two[0] != two[1]), "{commits:?}");
    assert_eq!(bed.database.checkpoint(PIPELINE), Some(at(90)));
}
