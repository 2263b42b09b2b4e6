//! A log that no longer has what a reader needs, and targets that are taken back.

use lockstep_common::Code;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use lockstep_common::FailPoints;
use lockstep_log::{Bounds, Stream};
use lockstep_servers::{Postgres, PostgresOptions, Stop};
use lockstep_testkit::harness::{LogKind, Pipeline};
use tokio::task::block_in_place;

use super::support::{add, assert_says, insert, insert_with, items, records, work_until_ended};

crate::over_each_log!(
    trimmed_past_a_stopped_apply,
    emptied_under_both,
    emptied_and_followed_on_by_its_remedy,
    made_anew_under_an_apply,
    a_target_restored_from_a_backup,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trimmed_under_a_running_reader() {
    trimmed_while_an_apply_waits().await.unwrap();
}

async fn bounds(pipeline: &mut Pipeline) -> Result<Bounds> {
    Ok(pipeline.log().await?.reader(Stream::Transactions).await?.bounds().await?)
}

/// Three transactions more, in the log but not in the stopped target; gives the offset of the last.
async fn fall_behind(
    pipeline: &mut Pipeline,
    session: &mut lockstep_testkit::session::Session,
    capture: &mut lockstep_testkit::harness::Service<
        lockstep_common::service::status::CaptureStatus,
    >,
) -> Result<u64> {
    for _ in 0..3 {
        session.run(&add(1..=3, 1)).await?;
    }
    let newest = pipeline.await_captured_by_source().await?;
    capture.until("all is in the log", |s| s.position.source() >= newest.0.as_slice()).await?;
    let records = records(pipeline).await?;
    let of_newest = records.iter().find(|(_, header)| header.position.source() == newest.0);
    of_newest.map(|(offset, _)| *offset).context("the newest transaction is in the log")
}

async fn trimmed_past_a_stopped_apply(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let at = apply.status().position.to_string();
    apply.finish().await?;

    let last = fall_behind(&mut pipeline, &mut session, &mut capture).await?;
    let before = records(&mut pipeline).await?;
    let (_, header) = before.iter().find(|(offset, _)| *offset == last).context("it is there")?;
    let missing_up_to = header.after.to_string();
    pipeline.log().await?.trim(Stream::Transactions, last).await?;
    for _ in 0..2 {
        let mut apply = pipeline.start_apply(FailPoints::default()).await?;
        let failure = apply.ended().await?.expect_halted();
        assert_says(&failure, "apply.gap", &[&at, &missing_up_to]);
        pipeline.observe().await?;
    }
    // Capture needs the end only: it goes on.
    session.run(&add(1..=3, 1)).await?;
    let newest = pipeline.await_captured_by_source().await?;
    capture.until("it goes on", |s| s.position.source() >= newest.0.as_slice()).await?;
    capture.finish().await
}

async fn emptied_under_both(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let at = apply.status().position.to_string();
    apply.finish().await?;
    fall_behind(&mut pipeline, &mut session, &mut capture).await?;
    capture.finish().await?;

    let Bounds { end, .. } = bounds(&mut pipeline).await?;
    pipeline.log().await?.trim(Stream::Transactions, end).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let failure = apply.ended().await?.expect_halted();
    assert_says(&failure, "apply.gap", &[&at, &end.to_string()]);
    pipeline.observe().await?;
    // The source still has everything, but nobody said that targets may miss what was in the log.
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let failure = capture.ended().await?.expect_halted();
    assert_says(&failure, "log.emptied", &["capture.start", "1/"]);
    Ok(())
}

/// Every target has what was in it, so the remedy that capture names is all there is to do.
async fn emptied_and_followed_on_by_its_remedy(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    session.run(&add(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    apply.finish().await?;
    capture.finish().await?;
    pipeline.empty_log().await?;

    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let failure = capture.ended().await?.expect_halted();
    assert_says(&failure, "log.emptied", &["capture.start"]);
    let start = failure.remedy.split_whitespace().find(|word| word.starts_with("1/"));
    let start = start.context("the remedy names a position")?.to_owned();
    pipeline.change_capture(|capture| capture.start = Some(start));
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&add(1..=3, 1)).await?;
    session.run(&insert(4..=5, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    pipeline.observe().await?;
    apply.finish().await?;
    capture.finish().await
}

/// The new log has the same transactions at other places, and is another log.
async fn made_anew_under_an_apply(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let next = apply.status().next_offset;
    apply.finish().await?;
    capture.finish().await?;

    pipeline.delete_log().await?;
    // Capture that begins after what the target has, as an operator might tell it to.
    let start = pipeline.await_captured_by_source().await?;
    pipeline.change_capture(|capture| capture.start = Some(format!("1/{start}")));
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    capture.until("the new log has begun", |s| s.epoch > 0).await?;
    loop {
        // As long as the new log is too short to hold the checkpoint's offset, that is what halts.
        let mut apply = pipeline.start_apply(FailPoints::default()).await?;
        let plan = add(1..=3, 1);
        let ended = work_until_ended(&pipeline, &mut session, &plan, &mut apply).await?;
        let failure = ended.expect_halted();
        pipeline.observe().await?;
        if failure.code == Code::ApplyLogShorter {
            assert_says(&failure, "apply.log_shorter", &[&next.to_string()]);
        } else {
            assert_says(&failure, "apply.another_log", &["re-created"]);
            break;
        }
    }
    capture.finish().await
}

/// A target goes on from the checkpoint that came back with it, as long as the log reaches there.
async fn a_target_restored_from_a_backup(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let at = apply.status().position.to_string();
    apply.finish().await?;
    pipeline.copy_target("target", "backup")?;

    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&add(1..=3, 1)).await?;
    session.run(&insert(4..=5, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    apply.finish().await?;
    pipeline.restore_target("target", "backup")?;
    pipeline.observe().await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_arrived(&mut apply).await?;
    apply.crash().await;

    let last = fall_behind(&mut pipeline, &mut session, &mut capture).await?;
    pipeline.log().await?.trim(Stream::Transactions, last).await?;
    pipeline.restore_target("target", "backup")?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let failure = apply.ended().await?.expect_halted();
    assert_says(&failure, "apply.gap", &[&at]);
    pipeline.observe().await?;
    capture.finish().await
}

/// Only the embedded log can be cut off right before a reader: Kafka's client has read ahead.
async fn trimmed_while_an_apply_waits() -> Result<()> {
    let postgres = block_in_place(|| Postgres::start(PostgresOptions::default()))?;
    let mut pipeline = Pipeline::builder(LogKind::Embedded, items())
        .postgres(Arc::new(postgres))
        .apply(|apply| {
            apply.memory = ByteSize::kib(32);
            apply.spool_budget = ByteSize::kib(64);
        })
        .build()
        .await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    block_in_place(|| pipeline.target_server("target")?.stop(Stop::Fast))?;
    for id in 10..70 {
        let note = "REPLICATE(N'x', 4000)";
        session.run(&insert_with(id..=id, 0, note)).await?;
    }
    apply.until("apply reads no further", |s| s.back_pressure).await?;
    let last = fall_behind(&mut pipeline, &mut session, &mut capture).await?;
    pipeline.log().await?.trim(Stream::Transactions, last).await?;
    block_in_place(|| pipeline.target_server("target")?.start_again())?;
    let failure = apply.ended().await?.expect_halted();
    assert_says(&failure, "log.gap", &[&format!("to {}", last - 1)]);
    // What had been read before is in the target, whole.
    pipeline.observe().await?;
    capture.finish().await
}
