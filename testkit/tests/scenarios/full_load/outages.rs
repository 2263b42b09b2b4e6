//! Peers that go away in the middle of a load, and come back.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::config::Handoff;
use lockstep_common::service::status::{LoadState, LoadStatus, TaskState};
use lockstep_servers::{Double, DoubleOptions, Postgres, PostgresOptions, Scratch, Stop};
use lockstep_testkit::harness::{LogKind, Pipeline, PipelineBuilder, skipped};
use tokio::task::block_in_place;

use super::super::support::{add, insert_rows};
use super::{loading, many};

crate::over_each_log!(
    the_source_dies_in_the_middle,
    the_source_dies_in_the_middle_of_an_exact_load,
    the_target_dies_in_the_middle,
);

const ROWS: i64 = 3000;

async fn the_source_dies_in_the_middle(log: LogKind) -> Result<()> {
    the_source_dies("the_source_dies_in_the_middle", loading(log, many())).await
}

async fn the_source_dies_in_the_middle_of_an_exact_load(log: LogKind) -> Result<()> {
    let builder = loading(log, many()).capture(|capture| capture.handoff = Handoff::Exact);
    the_source_dies("the_source_dies_in_the_middle_of_an_exact_load", builder).await
}

async fn the_source_dies(scenario: &str, builder: PipelineBuilder) -> Result<()> {
    if skipped(scenario, "a server of its own") {
        return Ok(());
    }
    let data = Scratch::new("lockstep-test-source-")?;
    let options = DoubleOptions { data: Some(data.path().to_owned()), ..Default::default() };
    let mut double = Arc::new(block_in_place(|| Double::start(options))?);
    let mut pipeline = builder.double(Arc::clone(&double)).build().await?;
    let double = Arc::get_mut(&mut double).context("the pipeline keeps no hold of it")?;
    insert_rows(&mut pipeline.session(), ROWS).await?;
    let watching = pipeline.start_watching("target")?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;

    for chunks in [3, 100] {
        capture.until("some chunks are read", |s| chunks_of(&s.load) >= chunks).await?;
        block_in_place(|| double.kill());
        let away = capture.until("the source is away", |s| s.state == TaskState::Retrying).await?;
        let load = away.load.context("there is a load")?;
        ensure!(load.state == LoadState::Loading, "killed too late: {load:?}");
        ensure!(load.tables.values().any(|t| t.rows < 3000), "no table is read: {load:?}");
        block_in_place(|| double.restart())?;
        // The source goes on as it likes.
        pipeline.session().run(&add(1..=ROWS, 1)).await?;
    }
    pipeline.await_loaded(&mut apply).await?;
    pipeline.session().run(&add(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    watching.stop().await?;
    apply.finish().await?;
    capture.finish().await
}

fn chunks_of(load: &Option<LoadStatus>) -> u32 {
    load.iter().flat_map(|load| load.tables.values()).map(|table| table.chunks).sum()
}

async fn the_target_dies_in_the_middle(log: LogKind) -> Result<()> {
    let postgres = block_in_place(|| Postgres::start(PostgresOptions::default()))?;
    let mut pipeline: Pipeline = loading(log, many()).postgres(Arc::new(postgres)).build().await?;
    insert_rows(&mut pipeline.session(), ROWS).await?;
    let watching = pipeline.start_watching("target")?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;

    for (chunks, how) in [(3, Stop::Immediate), (100, Stop::Fast)] {
        apply.until("some chunks are loaded", |s| chunks_of(&s.load) >= chunks).await?;
        block_in_place(|| pipeline.target_server("target")?.stop(how))?;
        apply.until("the target is away", |s| s.state == TaskState::Retrying).await?;
        pipeline.session().run(&add(1..=ROWS, 1)).await?;
        block_in_place(|| pipeline.target_server("target")?.start_again())?;
    }
    pipeline.await_loaded(&mut apply).await?;
    pipeline.session().run(&add(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    watching.stop().await?;
    apply.finish().await?;
    capture.finish().await
}
