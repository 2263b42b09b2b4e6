//! A log that lost something, or is another one, stops apply; duplicates and voided fragments do not.

use lockstep_common::codec::FragmentWriter;
use lockstep_common::model::record::{Body, SchemaChange};
use lockstep_common::{TableName, Value};
use lockstep_log::Stream;

use crate::bed::Bed;
use crate::source::{Source, account, accounts, at, entry, insert, int, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_halts_naming_the_range_and_what_came_before_is_applied() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.source.at += 1;
    bed.source.commit(&[insert(a, account(3, "x", 1))]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.gap");
    let (from, to) = (at(1).to_string(), at(2).to_string());
    assert!(failure.message.contains(&from) && failure.message.contains(&to), "{failure}");
    assert_eq!(bed.ids(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_passed_over() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    bed.source.at = 1;
    bed.source.epoch += 1;
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    bed.source.commit(&[insert(a, account(3, "x", 1))]).await;
    let status = bed.catch_up().await;
    assert_eq!(status.transactions, 3);
    assert_eq!(bed.ids(), ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_epoch_voids_unfinished_fragments() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    let changes: Vec<_> = (1..=6).map(|i| insert(a, account(i, "x", 1))).collect();
    let mut entries = bed.source.fragments(&changes, 2);
    entries.pop();
    bed.source.append(entries).await;
    // Its writer died; the next one writes the transaction again, otherwise cut.
    let mut next = Source::new(&bed.log).await;
    assert_eq!((next.at, next.epoch), (0, 2));
    next.commit_in_fragments(&changes, 5).await;
    bed.source = next;
    let status = bed.catch_up().await;
    assert_eq!(status.transactions, 1);
    assert_eq!(bed.ids().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lower_epoch_after_a_higher_one_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.epoch = 5;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.source.epoch = 4;
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.disorder");
    assert_eq!(bed.ids(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_fragment_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(0, "x", 1))]).await;
    let changes: Vec<_> = (1..=6).map(|i| insert(a, account(i, "x", 1))).collect();
    let mut entries = bed.source.fragments(&changes, 2);
    entries.remove(1);
    bed.source.append(entries).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.disorder");
    assert_eq!(bed.ids(), ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_that_do_not_add_up_halt() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(0, "x", 1))]).await;
    // A fragment of another transaction of the same position and size, with other contents.
    bed.source.at += 1;
    let head = bed.source.head(2, 1);
    let mut whole = FragmentWriter::new(&head);
    whole.push_change(&insert(a, account(1, "x", 1)));
    whole.push_change(&insert(a, account(2, "x", 1)));
    let first = whole.cut();
    let mut short = FragmentWriter::new(&head);
    short.push_change(&insert(a, account(1, "x", 1)));
    let _ = short.cut();
    short.push_change(&insert(a, account(3, "x", 1)));
    bed.source.append(vec![entry(2, 0, first), entry(2, 1, short.finish())]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.damaged");
    assert_eq!(bed.ids(), ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up().await;
    bed.replace_log("other").await;
    let a = bed.source.table(&accounts()).await;
    for i in 1..=5 {
        bed.source.commit(&[insert(a, account(i, "x", 1))]).await;
    }
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.another_log", "{failure}");
    assert_eq!(bed.ids(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_log_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    for i in 1..=5 {
        bed.source.commit(&[insert(a, account(i, "x", 1))]).await;
    }
    bed.catch_up().await;
    // Re-created: shorter than what the target has been given.
    bed.replace_log("new").await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.another_log", "{failure}");
}

/// The log as it was after `kept` of five transactions is put in the place of the one that the target
/// has followed to its end; its writers read on, `reread` transactions before apply is started.
async fn a_log_without_its_end(kept: u64, writers: usize, reread: u64) {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    let row = |n: u64| insert(a, account(i64::try_from(n).unwrap(), "x", 1));
    for n in 1..=5 {
        if n == kept + 1 {
            bed.copy_log("copy");
        }
        bed.source.commit(&[row(n)]).await;
    }
    bed.catch_up().await;
    bed.replace_log("copy").await;
    for _ in 1..writers {
        bed.source = Source::new(&bed.log).await;
    }
    assert_eq!(bed.source.at, kept);
    for n in kept + 1..=kept + reread {
        bed.source.commit(&[row(n)]).await;
    }
    let mut apply = bed.start();
    let case = format!("{kept} kept, {writers} writers, {reread} read again");
    if kept + reread < 5 {
        apply.until(&case, |status| status.notices.iter().any(|n| n.contains("has lost"))).await;
    }
    for n in kept + reread + 1..=8 {
        bed.source.commit(&[row(n)]).await;
    }
    apply.reaches(8).await;
    let status = apply.stop().await;
    assert_eq!(status.transactions, 3, "{case}");
    assert_eq!(bed.ids(), ["1", "2", "3", "4", "5", "6", "7", "8"], "{case}");
    // And once more from the checkpoint that it has now.
    bed.source.commit(&[row(9)]).await;
    assert_eq!(bed.catch_up().await.transactions, 1, "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_its_end_is_joined_again_wherever_its_writer_is() {
    for (kept, writers, reread) in
        [(0, 1, 0), (3, 1, 0), (3, 1, 1), (3, 1, 2), (3, 1, 4), (3, 3, 0), (1, 2, 6), (4, 2, 2)]
    {
        a_log_without_its_end(kept, writers, reread).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_a_log_that_lost_its_end_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.copy_log("copy");
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    bed.catch_up().await;
    bed.replace_log("copy").await;
    bed.source.at = 3;
    bed.source.commit(&[insert(a, account(4, "x", 1))]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.gap", "{failure}");
    assert_eq!(bed.ids(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_trimmed_past_the_checkpoint_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up().await;
    for i in 2..=9 {
        bed.source.commit(&[insert(a, account(i, "x", 1))]).await;
    }
    let mut reader = bed.log.reader(Stream::Transactions).await.unwrap();
    let end = reader.bounds().await.unwrap().end;
    bed.log.trim(Stream::Transactions, end - 2).await.unwrap();
    std::fs::remove_dir_all(bed.spool("spool")).unwrap();
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.gap", "{failure}");
    assert!(failure.message.contains(&at(1).to_string()), "{failure}");
    // All of it gone: nothing follows that could tell.
    bed.log.trim(Stream::Transactions, end).await.unwrap();
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.gap", "{failure}");
    assert_eq!(bed.ids(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_moves_the_checkpoint() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.progress().await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.source.progress().await;
    let status = bed.catch_up().await;
    assert_eq!((status.position, status.transactions), (at(3), 1));
    bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    bed.catch_up().await;
    assert_eq!(bed.ids(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_apply_does_not_follow_halts_by_name() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let change = SchemaChange {
        table: TableName { schema: "dbo".into(), table: "accounts".into() },
        old: Some(a),
        new: None,
        ddl: "DROP TABLE dbo.accounts".into(),
    };
    bed.source.append_body(2, 1, Body::SchemaChange(change)).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.unfollowed");
    assert!(failure.message.contains("SchemaChange"), "{failure}");
    assert_eq!(bed.ids(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_names_no_row_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let nameless = vec![Value::Unavailable, text("x"), int(1)];
    bed.source.commit(&[crate::source::delete(a, nameless)]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.unidentified", "{failure}");
    assert_eq!(bed.ids(), ["1"]);
}
