//! Peers that go away and come back, and services that do.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use lockstep_common::FailPoints;
use lockstep_common::service::status::TaskState;
use lockstep_servers::{Double, DoubleOptions, Kafka, Postgres, PostgresOptions, Scratch, Stop};
use lockstep_testkit::harness::{LogKind, Pipeline, skipped};
use tokio::task::block_in_place;

use super::support::{add, insert, insert_with, items};

crate::over_each_log!(
    the_target_is_down_for_a_while,
    the_source_is_down_for_a_while,
    the_log_is_away_for_a_while,
    both_restart_at_idle,
);

/// What arrives meanwhile goes to the spool, without another look at the source.
async fn the_target_is_down_for_a_while(log: LogKind) -> Result<()> {
    let postgres = block_in_place(|| Postgres::start(PostgresOptions::default()))?;
    let mut pipeline = Pipeline::builder(log, items())
        .postgres(Arc::new(postgres))
        .apply(|apply| apply.memory = ByteSize::kib(32))
        .build()
        .await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    for (round, how) in (1..).zip([Stop::Immediate, Stop::Fast]) {
        block_in_place(|| pipeline.target_server("target")?.stop(how))?;
        let note = "REPLICATE(N'x', 4000)";
        for n in 0..20 {
            let id = round * 100 + n;
            session.run(&insert_with(id..=id, 0, note)).await?;
        }
        let waits = |s: &lockstep_common::service::status::ApplyStatus| {
            s.spool_bytes > 0 && s.waiting_transactions >= 20 && s.state == TaskState::Retrying
        };
        apply.until("the spool holds what the target cannot take", waits).await?;
        block_in_place(|| pipeline.target_server("target")?.start_again())?;
        session.run(&add(1..=3, 1)).await?;
        pipeline.await_arrived(&mut apply).await?;
    }

    apply.finish().await?;
    capture.finish().await
}

async fn the_source_is_down_for_a_while(log: LogKind) -> Result<()> {
    if skipped("the_source_is_down_for_a_while", "a server of its own") {
        return Ok(());
    }
    let data = Scratch::new("lockstep-test-source-")?;
    let options = DoubleOptions { data: Some(data.path().to_owned()), ..Default::default() };
    let mut double = Arc::new(block_in_place(|| Double::start(options))?);
    let mut pipeline = Pipeline::builder(log, items()).double(Arc::clone(&double)).build().await?;
    let double = Arc::get_mut(&mut double).context("the pipeline keeps no hold of it")?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.session().run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    for round in 1..=2 {
        let mut session = pipeline.session();
        // Committed, and perhaps not captured yet, when the server dies.
        session.run(&insert(10 * round..=10 * round + 3, 0)).await?;
        block_in_place(|| double.kill());
        capture.until("the source is away", |s| s.state == TaskState::Retrying).await?;
        block_in_place(|| double.restart())?;
        pipeline.session().run(&add(1..=3, round)).await?;
        pipeline.await_arrived(&mut apply).await?;
    }

    apply.finish().await?;
    capture.finish().await
}

/// A broker dies and comes back under running services; the embedded log is closed by the death of
/// its process and opened by the next.
async fn the_log_is_away_for_a_while(log: LogKind) -> Result<()> {
    let mut builder = Pipeline::builder(log, items());
    let broker = match log {
        LogKind::Embedded => None,
        LogKind::Kafka => Some(Arc::new(block_in_place(Kafka::start_private)?)),
    };
    if let Some(broker) = &broker {
        builder = builder.kafka(Arc::clone(broker));
    }
    let mut pipeline = builder.build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    match broker {
        Some(broker) => {
            block_in_place(|| broker.kill())?;
            session.run(&add(1..=3, 1)).await?;
            capture.until("the broker is away", |s| s.state == TaskState::Retrying).await?;
            block_in_place(|| broker.start_again())?;
            session.run(&add(1..=3, 1)).await?;
            pipeline.await_arrived(&mut apply).await?;
        }
        None => {
            session.run(&add(1..=3, 1)).await?;
            capture.crash().await;
            apply.crash().await;
            pipeline.close_log();
            session.run(&add(1..=3, 1)).await?;
            capture = pipeline.start_capture(FailPoints::default()).await?;
            apply = pipeline.start_apply(FailPoints::default()).await?;
            pipeline.await_arrived(&mut apply).await?;
        }
    }

    apply.finish().await?;
    capture.finish().await
}

/// Stopped as asked or killed, with nothing to do or with work while they are away: nothing is lost.
async fn both_restart_at_idle(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    session.run(&insert(1..=3, 1)).await?;
    for round in 0..4 {
        let mut capture = pipeline.start_capture(FailPoints::default()).await?;
        let mut apply = pipeline.start_apply(FailPoints::default()).await?;
        pipeline.await_arrived(&mut apply).await?;
        session.run(&add(1..=3, 1)).await?;
        pipeline.await_arrived(&mut apply).await?;
        if round % 2 == 0 {
            apply.finish().await?;
            capture.finish().await?;
        } else {
            apply.crash().await;
            capture.crash().await;
        }
        pipeline.close_log();
        if round >= 2 {
            session.run(&add(1..=3, 10)).await?;
        }
    }
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_arrived(&mut apply).await?;
    apply.finish().await?;
    capture.finish().await
}
