//! Targets: a second one that loads from the log, and tables that are there already.

use anyhow::{Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::config::Prepare;
use lockstep_testkit::harness::{LogKind, Pipeline, shared_postgres};
use lockstep_testkit::workload::random::RandomWork;

use super::super::support::{ITEMS, add, delete, insert, insert_rows};
use super::{filled, loading, many};

crate::over_each_log!(
    a_second_target_loads_from_the_log,
    a_later_start_passes_over_the_load,
    tables_that_are_there_are_prepared,
);

/// The source is away all the while: everything is in the log.
async fn a_second_target_loads_from_the_log(log: LogKind) -> Result<()> {
    let work = RandomWork::every_key(41, 2, 40, 60);
    let (mut pipeline, work) = filled(work, 41, |tables| loading(log, tables).signal()).await?;
    let mut working = pipeline.start_work(&work, 2, 41);
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_loaded(&mut apply).await?;
    working.commit(20).await?;
    working.stop().await?;
    pipeline.await_arrived(&mut apply).await?;
    capture.finish().await?;

    pipeline.add_target("second", shared_postgres()?)?;
    let watching = pipeline.start_watching("second")?;
    for n in [3, 9] {
        // It may die on the way as often as it likes.
        let fail = FailPoints::armed(lockstep_apply::failpoints::COMMIT_ACKNOWLEDGED, n);
        let mut second = pipeline.start_apply_to("second", fail).await?;
        second.ended().await?.expect_crashed();
    }
    let mut second = pipeline.start_apply_to("second", FailPoints::default()).await?;
    pipeline.await_arrived_at("second", &mut second).await?;
    ensure!(pipeline.is_loaded("second").await?, "the second target is not loaded");
    watching.stop().await?;
    second.finish().await?;
    apply.finish().await
}

/// A target that an operator says is at a position behind the load.
async fn a_later_start_passes_over_the_load(log: LogKind) -> Result<()> {
    let mut pipeline = loading(log, many()).signal().build().await?;
    let mut session = pipeline.session();
    insert_rows(&mut session, 100).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_loaded(&mut apply).await?;
    session.run(&add(1..=100, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let from = apply.status();
    apply.finish().await?;
    pipeline.copy_target("target", "dump")?;
    pipeline.query_target("dump", "DROP SCHEMA lockstep CASCADE")?;

    session.run(&add(1..=50, 1)).await?;
    session.run(&delete(60)).await?;
    for (name, start) in [
        ("by_position", format!("position:{}", from.position)),
        ("by_offset", format!("offset:{}", from.next_offset)),
    ] {
        pipeline.copy_target("dump", name)?;
        pipeline.change_apply(name, |apply| apply.start = Some(start))?;
        let mut replay = pipeline.start_apply_to(name, FailPoints::default()).await?;
        pipeline.await_arrived_at(name, &mut replay).await?;
        replay.finish().await?;
    }
    capture.finish().await
}

/// Each way to prepare, on a target with a table of ours and rows in it that are not.
async fn tables_that_are_there_are_prepared(log: LogKind) -> Result<()> {
    let mut pipeline = loading(log, many()).signal().build().await?;
    let mut session = pipeline.session();
    insert_rows(&mut session, 60).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    session.run(&insert(61..=70, 1)).await?;
    session.run(&add(1..=10, 1)).await?;

    for (name, prepare) in [
        ("emptied", Prepare::Truncate),
        ("dropped", Prepare::DropAndCreate),
        ("kept", Prepare::Keep),
    ] {
        pipeline.add_target(name, shared_postgres()?)?;
        let extra = if prepare == Prepare::DropAndCreate { ", extra int" } else { "" };
        pipeline.query_target_as_apply(
            name,
            &format!(
                "CREATE TABLE dbo.items (id integer PRIMARY KEY, v integer NOT NULL, \
                 note varchar(4000){extra}); \
                 INSERT INTO dbo.items VALUES (5, -1, 'old'), (5000, -1, 'old')"
            ),
        )?;
        pipeline.change_apply(name, |apply| {
            apply.prepare = prepare;
            apply.drop_tables = prepare == Prepare::DropAndCreate;
        })?;
        let mut apply = pipeline.start_apply_to(name, FailPoints::default()).await?;
        loaded(&mut pipeline, name, &mut apply).await?;
        let left = pipeline.query_target(name, "SELECT count(*) FROM dbo.items WHERE v = -1")?;
        if prepare == Prepare::Keep {
            // Only the row that the source never had.
            ensure!(left.trim() == "1", "{name}: {left} old rows");
            pipeline.query_target(name, "DELETE FROM dbo.items WHERE id = 5000")?;
            pipeline.forget_observations(name)?;
        }
        pipeline.compare_table(name, ITEMS).await?;
        apply.finish().await?;
    }
    capture.finish().await
}

async fn loaded(
    pipeline: &mut Pipeline,
    name: &str,
    apply: &mut lockstep_testkit::harness::Service<lockstep_common::service::status::ApplyStatus>,
) -> Result<()> {
    pipeline.await_loaded(apply).await?;
    pipeline.await_position(apply).await?;
    ensure!(pipeline.is_loaded(name).await?, "{name} is not loaded");
    Ok(())
}
