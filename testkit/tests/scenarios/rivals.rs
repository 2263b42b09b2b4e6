//! Two of the same: the older is fenced, or they do not meet.

use anyhow::Result;
use lockstep_common::FailPoints;
use lockstep_common::failure::exit;
use lockstep_testkit::harness::{LogKind, Pipeline, shared_postgres};

use super::support::{add, insert, items};

crate::over_each_log!(two_captures, two_applies_on_one_target, two_targets_on_one_log);

async fn two_captures(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let mut older = pipeline.start_capture(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let epoch = older.status().epoch;

    let mut younger = pipeline.start_capture(FailPoints::default()).await?;
    younger.until("the younger writes", |s| s.epoch > epoch).await?;
    session.run(&add(1..=3, 1)).await?;
    let failure = older.ended().await?.expect_fenced();
    assert_eq!(
        (failure.code.as_str(), failure.exit_code()),
        ("log.fenced", exit::FENCED),
        "{failure}"
    );
    session.run(&add(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    younger.finish().await
}

async fn two_applies_on_one_target(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut older = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut older).await?;
    let epoch = older.status().epoch;

    pipeline.change_apply("target", |apply| apply.spool = apply.spool.with_extension("rival"))?;
    let mut younger = pipeline.start_apply(FailPoints::default()).await?;
    younger.until("the younger has the target", |s| s.epoch > epoch).await?;
    session.run(&add(1..=3, 1)).await?;
    let failure = older.ended().await?.expect_fenced();
    assert_eq!(
        (failure.code.as_str(), failure.exit_code()),
        ("apply.fenced", exit::FENCED),
        "{failure}"
    );
    session.run(&add(1..=3, 1)).await?;
    pipeline.await_arrived(&mut younger).await?;

    younger.finish().await?;
    capture.finish().await
}

/// Each at its own pace.
async fn two_targets_on_one_log(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    pipeline.add_target("second", shared_postgres()?)?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut first = pipeline.start_apply(FailPoints::default()).await?;
    let mut second = pipeline.start_apply_to("second", FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut first).await?;
    pipeline.await_arrived_at("second", &mut second).await?;

    second.crash().await;
    session.run(&add(1..=3, 1)).await?;
    pipeline.await_arrived(&mut first).await?;
    first.finish().await?;
    session.run(&add(2..=3, 1)).await?;
    let mut second = pipeline.start_apply_to("second", FailPoints::default()).await?;
    pipeline.await_arrived_at("second", &mut second).await?;
    let mut first = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_arrived(&mut first).await?;

    first.finish().await?;
    second.finish().await?;
    capture.finish().await
}
