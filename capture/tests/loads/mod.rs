//! Full loads from a source that changes while it is read: whatever crashes, the log says from
//! `consistent` on what the source held, commit by commit.

mod held;
mod replica;
mod server;
mod tasks;
mod world;

use lockstep_capture::{CaptureOptions, fail_points};
use lockstep_common::Code;
use lockstep_common::config::{self, Task};
use lockstep_common::model::load::Handoff;
use lockstep_common::service::reload::Reloads;
use lockstep_common::{FailPoints, Failure};
use proptest::prelude::*;

use self::replica::Replica;
use self::world::{Plan, World};
use crate::service::{Bed, Running, capture};

/// Capture that loads, in chunks of few rows.
fn settings(task: Task, handoff: Handoff) -> CaptureOptions {
    let capture = config::Capture {
        handoff,
        load_readers: 3,
        chunk_rows: 7,
        poll_interval: std::time::Duration::from_millis(1),
        ..capture()
    };
    CaptureOptions { task, capture, reloads: Reloads::default() }
}

fn start(world: &World, settings: &CaptureOptions, bed: &Bed, fail: FailPoints) -> Running {
    Running::start_task(world.source(), settings.clone(), &bed.log, fail)
}

/// Every place where a crash may come.
const POINTS: [&str; 15] = [
    fail_points::WINDOW_PLANNED,
    fail_points::FRAGMENT_APPENDED,
    fail_points::COMMIT_BEFORE,
    fail_points::COMMIT_AFTER,
    fail_points::EPOCH_WRITTEN,
    fail_points::LOAD_CHUNK_BEGUN,
    fail_points::LOAD_ROWS_APPENDED,
    fail_points::LOAD_CHUNK_ENDED,
    fail_points::LOAD_TABLE_READ,
    fail_points::LOAD_COMMIT_BEFORE,
    fail_points::LOAD_COMMIT_AFTER,
    fail_points::LOAD_FROZEN,
    fail_points::LOAD_CLOCK_TAKEN,
    fail_points::LOAD_END_APPENDED,
    fail_points::TASK_END_APPENDED,
];

/// Runs a full load to its end through crashes, then follows the changes; the log must say what
/// happened. Gives the failures met.
async fn load(
    plan: Plan,
    handoff: Handoff,
    crashes: &[(&'static str, u64)],
) -> (Replica, Vec<Failure>) {
    let (world, bed) = (World::new(plan), Bed::new().await);
    let full_load = settings(Task::FullLoad, handoff);
    let mut failures = Vec::new();
    for (point, hit) in crashes {
        let fail = FailPoints::armed(point, *hit);
        match start(&world, &full_load, &bed, fail).ends().await {
            Ok(()) => {}
            Err(failure) => failures.push(failure),
        }
        // What is in the log by now is right as far as it goes.
        replica::read(bed.log.as_ref(), &world).await;
    }
    start(&world, &full_load, &bed, FailPoints::default()).ends().await.expect("the task ends");
    let loaded = replica::read(bed.log.as_ref(), &world).await;
    assert!(loaded.task_end && loaded.open.is_empty());
    assert_eq!(loaded.ended.len(), 1);

    let follow = settings(Task::FullLoadAndCdc, handoff);
    world.stir(20);
    let mut running = start(&world, &follow, &bed, FailPoints::default());
    let after = crate::scripted::position(world.commits() + 30);
    running.reaches(after).await;
    running.stop().await.expect("it stops as asked");
    let replica = replica::read(bed.log.as_ref(), &world).await;
    assert_eq!((replica.ended.len(), replica.task_end), (1, false));
    (replica, failures)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all();
    runtime.build().expect("a runtime").block_on(work)
}

async fn crash_everywhere(handoff: Handoff) {
    // With exact tables alone no clock is needed.
    let needed =
        |point: &str| handoff == Handoff::Bracketed || point != fail_points::LOAD_CLOCK_TAKEN;
    for (i, point) in POINTS.into_iter().filter(|point| needed(point)).enumerate() {
        for hit in [1, 3] {
            let plan = Plan::new(i as u64 * 10 + hit);
            let (_, failures) = load(plan, handoff, &[(point, hit)]).await;
            let codes: Vec<_> = failures.iter().map(|failure| failure.code).collect();
            // Some places are passed once.
            let expected = if hit == 1 { vec![Code::Failpoint] } else { codes.clone() };
            assert_eq!(codes, expected, "{point}:{hit}");
            assert!(
                codes.iter().all(|code| *code == Code::Failpoint),
                "{codes:?} at {point}:{hit}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_place_of_a_bracketed_load_loses_and_doubles_nothing() {
    crash_everywhere(Handoff::Bracketed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_place_of_an_exact_load_loses_and_doubles_nothing() {
    crash_everywhere(Handoff::Exact).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 8, ..ProptestConfig::default() })]

    #[test]
    fn a_load_is_consistent_whatever_happens_meanwhile(
        seed in any::<u64>(),
        tables in (0..4usize, 0..3usize),
        rows in prop_oneof![Just(0i64), 1..60i64],
        transactions in 0..150usize,
        signals in any::<bool>(),
        exact in any::<bool>(),
        crashes in prop::collection::vec((0..POINTS.len(), 1..12u64), 0..4),
    ) {
        let tables = (tables.0, if tables.0 == 0 { tables.1.max(1) } else { tables.1 });
        let signals = signals && tables.0 > 0;
        let plan = Plan { tables, rows, transactions, signals, ..Plan::new(seed) };
        let handoff = if exact { Handoff::Exact } else { Handoff::Bracketed };
        let crashes: Vec<_> = crashes.into_iter().map(|(i, hit)| (POINTS[i], hit)).collect();
        run(load(plan, handoff, &crashes));
    }
}
