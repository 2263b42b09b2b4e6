//! A target that does not answer: said in the status while it lasts, and forgotten afterwards.

use lockstep_common::service::status::TaskState;

use crate::bed::{Bed, connect};
use crate::source::{account, accounts, insert};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_waits_for_a_lock_is_not_called_running() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut apply = bed.start();
    apply.reaches(1).await;
    let holder = connect(bed.database.port, &bed.database.name, "postgres").await;
    holder.batch_execute("BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE").await.unwrap();
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let status = apply.until("it says so", |status| status.state == TaskState::Retrying).await;
    let error = status.last_error.unwrap_or_default();
    assert!(error.contains("[apply.silent]") && error.contains("process"), "{error}");
    holder.batch_execute("COMMIT").await.unwrap();
    apply.reaches(2).await;
    apply.until("it runs again", |s| s.state == TaskState::Running && s.last_error.is_none()).await;
    // A quiet spell is no silence: nothing is due.
    bed.source.commit(&[insert(a, account(3, "x", 1))]).await;
    apply.reaches(3).await;
    apply.stop().await;
}
