//! Tables that are loaded again beside the stream.

use anyhow::{Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::service::reload::Refused;
use lockstep_common::service::status::{ApplyStatus, LoadState};
use lockstep_testkit::harness::{LogKind, Pipeline, Service};
use lockstep_testkit::workload::random::RandomWork;
use uuid::Uuid;

use super::super::support::{ITEMS, add, insert_rows};
use super::{filled, loading, many};

crate::over_each_log!(tables_are_loaded_again_under_work, what_somebody_broke_is_mended);

/// With a key and without; the others are judged all the while, and this one again when it is done.
async fn tables_are_loaded_again_under_work(log: LogKind) -> Result<()> {
    let work = RandomWork::every_key(51, 2, 40, 60);
    let keyless = work.tables_with_key().len();
    let (mut pipeline, work) = filled(work, 51, |tables| loading(log, tables).signal()).await?;
    let watching = pipeline.start_watching("target")?;
    let mut working = pipeline.start_work(&work, 2, 51);
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_loaded(&mut apply).await?;
    working.commit(5).await?;
    let names: Vec<String> =
        pipeline.history().tables().iter().map(|t| format!("dbo.{}", t.name)).collect();
    for index in [0, 3, keyless] {
        let load = pipeline.reload(&names[index]).await?;
        if index == 3 {
            // It dies in the middle of it, and knows the load again.
            apply.until("the load has begun", |s| is_load(s, load)).await?;
            apply.crash().await;
            apply = pipeline.start_apply(FailPoints::default()).await?;
        }
        reloaded(&mut pipeline, &mut apply, load).await?;
        working.commit(5).await?;
    }
    working.stop().await?;
    pipeline.await_arrived(&mut apply).await?;
    let seen = watching.stop().await?;
    ensure!(seen.snapshots > 0, "{seen:?}");

    // Another target makes all of them again from the log.
    let second = lockstep_testkit::harness::shared_postgres()?;
    pipeline.add_target("second", second)?;
    let mut second = pipeline.start_apply_to("second", FailPoints::default()).await?;
    pipeline.await_arrived_at("second", &mut second).await?;
    second.finish().await?;
    apply.finish().await?;
    capture.finish().await
}

fn is_load(status: &ApplyStatus, load: Uuid) -> bool {
    status.load.as_ref().is_some_and(|l| l.id == load.to_string())
}

async fn reloaded(
    pipeline: &mut Pipeline,
    apply: &mut Service<ApplyStatus>,
    load: Uuid,
) -> Result<()> {
    apply.until("the load has begun", |status| is_load(status, load)).await?;
    let done = pipeline.await_load_state(apply, LoadState::Done).await?;
    ensure!(done.id == load.to_string() && done.tables.len() == 1, "{done:?}");
    Ok(())
}

/// What a reload is for. A table that is not followed, or is being loaded, is refused.
async fn what_somebody_broke_is_mended(log: LogKind) -> Result<()> {
    let mut pipeline = loading(log, many()).signal().build().await?;
    let mut session = pipeline.session();
    insert_rows(&mut session, 1000).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_loaded(&mut apply).await?;
    pipeline.query_target(
        "target",
        "DELETE FROM dbo.items WHERE id < 50; UPDATE dbo.items SET v = -1 WHERE id % 7 = 0; \
         INSERT INTO dbo.items VALUES (5000, 0, 'stray')",
    )?;
    let refused = pipeline.reloads().ask("dbo.nothing").await;
    ensure!(matches!(refused, Err(Refused::UnknownTable(_))), "{refused:?}");
    let load = pipeline.reload("dbo.items").await?;
    let refused = pipeline.reloads().ask("dbo.items").await;
    ensure!(matches!(refused, Err(Refused::AlreadyLoading(_))), "{refused:?}");
    reloaded(&mut pipeline, &mut apply, load).await?;
    session.run(&add(1..=1000, 1)).await?;
    pipeline.await_position(&mut apply).await?;
    pipeline.compare_table("target", ITEMS).await?;
    apply.finish().await?;
    capture.finish().await?;
    let refused = pipeline.reloads().ask("dbo.items").await;
    ensure!(matches!(refused, Err(Refused::NotRunning(_))), "{refused:?}");
    Ok(())
}
