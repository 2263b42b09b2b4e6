//! Loads under work: tables of every kind of key, whose rows are inserted, changed, deleted, made
//! again and moved from range to range while they are read. The observer judges every state of the
//! target from `consistent` on.

use anyhow::{Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::config::Handoff;
use lockstep_common::service::status::TableLoadState;
use lockstep_testkit::harness::{LogKind, Pipeline};
use lockstep_testkit::workload::random::RandomWork;

use super::{filled, loading};

crate::over_each_log!(bracketed_with_a_signal_table, bracketed_by_the_clock, exact);

const SESSIONS: usize = 2;

async fn bracketed_with_a_signal_table(log: LogKind) -> Result<()> {
    let work = RandomWork::every_key(31, SESSIONS, 90, 130);
    let (pipeline, work) = filled(work, 31, |tables| loading(log, tables).signal()).await?;
    under_work(pipeline, work, 31).await
}

async fn bracketed_by_the_clock(log: LogKind) -> Result<()> {
    let work = RandomWork::every_key(32, SESSIONS, 90, 130);
    let (pipeline, work) = filled(work, 32, |tables| loading(log, tables)).await?;
    under_work(pipeline, work, 32).await
}

async fn exact(log: LogKind) -> Result<()> {
    let work = RandomWork::every_key(33, SESSIONS, 90, 130);
    let exact = |tables| loading(log, tables).capture(|c| c.handoff = Handoff::Exact);
    let (pipeline, work) = filled(work, 33, exact).await?;
    under_work(pipeline, work, 33).await
}

async fn under_work(
    mut pipeline: Pipeline,
    work: std::sync::Arc<RandomWork>,
    seed: u64,
) -> Result<()> {
    let watching = pipeline.start_watching("target")?;
    let mut working = pipeline.start_work(&work, SESSIONS, seed);
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let load = pipeline.await_loaded(&mut apply).await?;
    for (name, table) in &load.tables {
        ensure!(table.state == TableLoadState::Loaded, "{name} is {table:?}");
    }
    ensure!(load.tables.values().map(|table| table.rows).sum::<u64>() > 300, "{load:?}");
    ensure!(pipeline.is_first_loaded().await?, "the target does not say that it is loaded");

    working.commit(20).await?;
    working.stop().await?;
    pipeline.await_arrived(&mut apply).await?;
    let seen = watching.stop().await?;
    ensure!(seen.converging > 0 && seen.snapshots > 0, "{seen:?}");
    apply.finish().await?;
    capture.finish().await
}
