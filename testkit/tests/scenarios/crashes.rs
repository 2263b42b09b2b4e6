//! Services that die at the worst moments.

use std::collections::BTreeSet;

use anyhow::Result;
use bytesize::ByteSize;
use lockstep_apply::failpoints;
use lockstep_capture::fail_points;
use lockstep_common::FailPoints;
use lockstep_testkit::harness::{LogKind, Pipeline};

use super::support::{add, insert, items, records, work_until_ended};
use super::tables::{insert_pages, pages};

crate::over_each_log!(
    capture_is_killed_inside_a_large_transaction,
    apply_is_killed_between_commit_and_reply,
);

/// What a dead capture left of the transaction is in the log for all to read; nobody ever shows it.
async fn capture_is_killed_inside_a_large_transaction(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, pages())
        .apply(|apply| apply.memory = ByteSize::mib(1))
        .build()
        .await?;
    let mut session = pipeline.session();
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    insert_pages(&mut session, 0, 1).await?;
    pipeline.await_arrived(&mut apply).await?;
    capture.finish().await?;
    // Ten megabytes are handed to the log in three parts, committed each on its own.
    insert_pages(&mut session, 1, 500).await?;
    pipeline.await_captured_by_source().await?;
    for n in 2..=4 {
        let fail = FailPoints::armed(fail_points::FRAGMENT_APPENDED, n);
        let mut capture = pipeline.start_capture(fail).await?;
        capture.ended().await?.expect_crashed();
        pipeline.observe().await?;
    }
    let left: BTreeSet<_> = unfinished(&mut pipeline).await?;
    assert!(left.len() >= 2, "several attempts left something in the log: {left:?}");

    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    pipeline.await_arrived(&mut apply).await?;
    // Another target reads past the remains too.
    pipeline.add_target("second", lockstep_testkit::harness::shared_postgres()?)?;
    let mut second = pipeline.start_apply_to("second", FailPoints::default()).await?;
    pipeline.await_arrived_at("second", &mut second).await?;

    second.finish().await?;
    apply.finish().await?;
    capture.finish().await
}

/// Epochs whose records end in the middle of a transaction.
async fn unfinished(pipeline: &mut Pipeline) -> Result<BTreeSet<u64>> {
    let mut open = BTreeSet::new();
    for (_, header) in records(pipeline).await? {
        match header.fragment {
            Some(fragment) if !fragment.last => open.insert(header.epoch),
            _ => open.remove(&header.epoch),
        };
    }
    Ok(open)
}

/// Whether the commit came through only the target knows, and it is asked.
async fn apply_is_killed_between_commit_and_reply(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    session.run(&insert(1..=5, 0)).await?;
    for n in 1..=4 {
        let fail = FailPoints::armed(failpoints::COMMIT_SENT, n);
        let mut apply = pipeline.start_apply(fail).await?;
        // Not idempotent: done twice it shows.
        let plan = add(1..=5, 1);
        let ended = work_until_ended(&pipeline, &mut session, &plan, &mut apply).await?;
        ended.expect_crashed();
        pipeline.observe().await?;
    }
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_arrived(&mut apply).await?;
    apply.finish().await?;
    capture.finish().await
}
