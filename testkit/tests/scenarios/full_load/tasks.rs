//! Task types: a full load that ends by itself, and changes between two points.

use anyhow::{Context, Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::config::Task;
use lockstep_testkit::harness::{LogKind, Pipeline};

use super::super::support::{ITEMS, add, administer, delete, insert, insert_rows, items};
use super::{loading, many};

crate::over_each_log!(
    a_full_load_ends_by_itself_and_nothing_repeats_it,
    changes_between_two_points,
);

async fn a_full_load_ends_by_itself_and_nothing_repeats_it(log: LogKind) -> Result<()> {
    let mut pipeline = loading(log, many()).task(Task::FullLoad).signal().build().await?;
    let mut session = pipeline.session();
    insert_rows(&mut session, 200).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    capture.ended().await?.expect_stopped();
    apply.ended().await?.expect_stopped();
    ensure!(pipeline.is_first_loaded().await?, "the target does not say that it is loaded");
    pipeline.compare("target").await?;

    // Started again, it has nothing to do.
    let loaded = "SELECT count(*), max(noted_at) FROM lockstep.load_object";
    let before = pipeline.query_target("target", loaded)?;
    session.run(&insert(1001..=1003, 1)).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    capture.ended().await?.expect_stopped();
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    apply.ended().await?.expect_stopped();
    ensure!(pipeline.query_target("target", loaded)? == before, "something was made again");

    // Another task follows the source from there.
    pipeline.change_task(Task::FullLoadAndCdc);
    session.run(&add(1..=50, 1)).await?;
    session.run(&delete(51)).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_arrived(&mut apply).await?;
    apply.finish().await?;
    capture.finish().await
}

/// From a time or a position to a time or a position: what was committed before and after is not in
/// the target, what was between is.
async fn changes_between_two_points(log: LogKind) -> Result<()> {
    for by_time in [false, true] {
        let mut pipeline = Pipeline::builder(log, items()).build().await?;
        pipeline.session().run(&insert(1..=3, 1)).await?;
        let start = point(&pipeline, by_time).await?;
        // Each part has sessions of its own, which change no row of the part before.
        let mut session = pipeline.session();
        session.run(&insert(11..=13, 2)).await?;
        session.run(&add(11..=12, 1)).await?;
        let stop = point(&pipeline, by_time).await?;
        pipeline.session().run(&insert(21..=23, 3)).await?;
        pipeline.session().run(&delete(11)).await?;
        pipeline.await_captured_by_source().await?;
        pipeline.change_capture(|capture| {
            capture.start = Some(start);
            capture.stop = Some(stop);
        });
        let mut capture = pipeline.start_capture(FailPoints::default()).await?;
        let mut apply = pipeline.start_apply(FailPoints::default()).await?;
        capture.ended().await?.expect_stopped();
        apply.ended().await?.expect_stopped();
        let found = pipeline.query_target(
            "target",
            "SELECT string_agg(id || ':' || v, ' ' ORDER BY id) FROM dbo.items",
        )?;
        ensure!(found.trim() == "11:3 12:3 13:2", "{ITEMS} by time {by_time}: {found}");
    }
    Ok(())
}

/// Now at the source, with nothing at the same time.
async fn point(pipeline: &Pipeline, by_time: bool) -> Result<String> {
    let newest = pipeline.await_captured_by_source().await?;
    if !by_time {
        return Ok(format!("1/{newest}"));
    }
    // Times of commits are local to the server and rounded to 1/300 s: a point between two of them.
    administer(pipeline, "WAITFOR DELAY '00:00:00.020'").await?;
    let mut source = pipeline.source().connect().await?;
    let rows = source.rows("SELECT CONVERT(nvarchar(40), SYSUTCDATETIME(), 126)").await?;
    let time: &str = rows.first().and_then(|row| row.get(0)).context("the server has a clock")?;
    administer(pipeline, "WAITFOR DELAY '00:00:00.020'").await?;
    Ok(format!("time:{time}Z"))
}
