//! The same log read again, from its beginning or from a later place.

use anyhow::{Context, Result};
use lockstep_common::FailPoints;
use lockstep_common::config::ConflictPolicy;
use lockstep_common::service::status::ApplyStatus;
use lockstep_testkit::harness::{LogKind, Pipeline, shared_postgres};
use lockstep_testkit::workload::random::RandomWork;
use lockstep_testkit::workload::{self, Workload};
use rand::SeedableRng;

use super::support::{ITEMS, add, assert_says, delete, insert, items};

crate::over_each_log!(
    from_earliest_an_empty_target_equals_the_source,
    a_later_start_into_an_empty_target_halts_or_converges,
    a_later_start_onto_a_restored_base_equals_the_source,
);

async fn from_earliest_an_empty_target_equals_the_source(log: LogKind) -> Result<()> {
    let work = RandomWork::new(23, 1);
    let mut pipeline = Pipeline::builder(log, work.tables()).build().await?;
    let mut session = pipeline.session();
    workload::populate(&work, 23, &mut session).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut rng = rand::rngs::StdRng::seed_from_u64(23);
    for _ in 0..30 {
        session.run(&work.next(0, &mut rng)).await?;
    }
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_arrived(&mut apply).await?;

    for (name, start) in [("by_default", None), ("by_name", Some("earliest".to_owned()))] {
        pipeline.add_target(name, shared_postgres()?)?;
        pipeline.change_apply(name, |apply| apply.start = start)?;
        let mut replay = pipeline.start_apply_to(name, FailPoints::default()).await?;
        pipeline.await_arrived_at(name, &mut replay).await?;
        replay.finish().await?;
    }

    apply.finish().await?;
    capture.finish().await
}

/// Three ways to say: after the transaction that this status has committed.
fn starts_after(pipeline: &Pipeline, status: &ApplyStatus) -> Result<[(&'static str, String); 3]> {
    // PostgreSQL's clock has microseconds; the next one is after it and before any other commit.
    let micros = status.commit_time / 10 + 1;
    let time = pipeline.query_target(
        "target",
        &format!(
            "SELECT to_char(timestamp '1970-01-01' + {micros} * interval '1 microsecond', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        ),
    )?;
    Ok([
        ("offset", format!("offset:{}", status.next_offset)),
        ("position", format!("position:{}", status.position)),
        ("time", format!("time:{time}")),
    ])
}

/// Runs until a transaction is committed at another time than the one of `status`: commits within
/// one tick of the source's clock (1/300 s) have one time.
async fn tick(
    pipeline: &mut Pipeline,
    session: &mut lockstep_testkit::session::Session,
    apply: &mut lockstep_testkit::harness::Service<ApplyStatus>,
) -> Result<ApplyStatus> {
    loop {
        let before = apply.status();
        session.run(&add(1..=1, 1)).await?;
        pipeline.await_position(apply).await?;
        if apply.status().commit_time > before.commit_time {
            return Ok(before);
        }
    }
}

async fn a_later_start_into_an_empty_target_halts_or_converges(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=6, 1)).await?;
    pipeline.await_position(&mut apply).await?;
    let from = tick(&mut pipeline, &mut session, &mut apply).await?;
    let first = pipeline.await_captured_by_source().await?;
    // Every row that is left is changed once more.
    session.run(&delete(6)).await?;
    session.run(&add(1..=5, 1)).await?;
    session.run(&insert(7..=8, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    for (how, start) in starts_after(&pipeline, &from)? {
        let (halting, converging) = (format!("{how}_halts"), format!("{how}_converges"));
        pipeline.add_target(&halting, shared_postgres()?)?;
        pipeline.change_apply(&halting, |apply| apply.start = Some(start.clone()))?;
        let mut replay = pipeline.start_apply_to(&halting, FailPoints::default()).await?;
        let failure = replay.ended().await?.expect_halted();
        assert_says(&failure, "apply.conflict", &[&first.to_string(), "dbo."]);

        pipeline.add_target(&converging, shared_postgres()?)?;
        pipeline.change_apply(&converging, |apply| {
            apply.start = Some(start);
            apply.on_conflict = ConflictPolicy::Converge;
        })?;
        let mut replay = pipeline.start_apply_to(&converging, FailPoints::default()).await?;
        pipeline.await_position(&mut replay).await.context(how)?;
        pipeline.compare_table(&converging, ITEMS).await.context(how)?;
        replay.finish().await?;
    }

    apply.finish().await?;
    capture.finish().await
}

/// The base is the target as it was there, without a checkpoint, as a dump would have it.
async fn a_later_start_onto_a_restored_base_equals_the_source(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=6, 1)).await?;
    session.run(&add(1..=6, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let from = apply.status();
    apply.finish().await?;
    pipeline.copy_target("target", "dump")?;
    pipeline.query_target("dump", "DROP SCHEMA lockstep CASCADE")?;

    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&delete(6)).await?;
    pipeline.await_position(&mut apply).await?;
    // Otherwise `time` would begin one transaction too late.
    assert!(apply.status().commit_time > from.commit_time, "a copy takes longer than a tick");
    session.run(&add(1..=5, 1)).await?;
    session.run(&insert(6..=8, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    for (how, start) in starts_after(&pipeline, &from)? {
        pipeline.copy_target("dump", how)?;
        pipeline.change_apply(how, |apply| apply.start = Some(start))?;
        let mut replay = pipeline.start_apply_to(how, FailPoints::default()).await?;
        pipeline.await_arrived_at(how, &mut replay).await.context(how)?;
        replay.finish().await?;
    }

    apply.finish().await?;
    capture.finish().await
}
