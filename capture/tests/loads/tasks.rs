//! What tasks do: where they begin and end, loads again, failures, and what is shown.

use lockstep_capture::{CaptureOptions, fail_points};
use lockstep_common::Code;
use lockstep_common::config::{self, Task};
use lockstep_common::model::load::Handoff;
use lockstep_common::service::reload::Refused;
use lockstep_common::service::status::{LoadState, TableLoadState, TaskState};
use lockstep_common::{Disposition, FailPoints, Failure};

use super::replica::{self, Replica};
use super::world::{Plan, World};
use super::{load, settings, start};
use crate::scripted::position;
use crate::service::{Bed, Running};

fn with(task: Task, change: impl Fn(&mut config::Capture)) -> CaptureOptions {
    let mut settings = settings(task, Handoff::Bracketed);
    change(&mut settings.capture);
    settings
}

fn run(world: &World, settings: &CaptureOptions, bed: &Bed) -> Running {
    start(world, settings, bed, FailPoints::default())
}

async fn read(bed: &Bed, world: &World) -> Replica {
    replica::read(bed.log.as_ref(), world).await
}

async fn halts(running: Running, code: &str) -> Failure {
    let failure = running.ends().await.expect_err("it halts");
    assert_eq!(
        (failure.code.as_str(), failure.disposition()),
        (code, Disposition::Halt),
        "{failure}"
    );
    failure
}

fn away() -> Failure {
    Failure::new(Code::SourceUnavailable, "the world is away")
}

fn gone() -> Failure {
    Failure::new(Code::SourceMissing, "a table was dropped").remedy("load the target anew")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_for_now_is_begun_again() {
    let (world, bed) = (World::new(Plan { tables: (2, 0), ..Plan::new(1) }), Bed::new().await);
    world.fail([away as fn() -> Failure; 4]);
    let running = run(&world, &settings(Task::FullLoad, Handoff::Bracketed), &bed);
    let status = running.status.clone();
    running.ends().await.expect("the task ends");
    let replica = read(&bed, &world).await;
    assert_eq!((replica.ended.len(), status.borrow().epoch), (1, 1));
}

/// Rows may be of commits that the source has lost: whenever that shows, the load is not called consistent.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_from_a_source_that_has_lost_commits_does_not_end() {
    for point in [None, Some(fail_points::LOAD_CLOCK_TAKEN), Some(fail_points::LOAD_END_APPENDED)] {
        let (world, bed) = (World::new(Plan { tables: (2, 0), ..Plan::new(3) }), Bed::new().await);
        let full_load = settings(Task::FullLoad, Handoff::Bracketed);
        if let Some(point) = point {
            let fail = FailPoints::armed(point, 1);
            start(&world, &full_load, &bed, fail).ends().await.expect_err("it crashes");
        }
        world.forget();
        halts(run(&world, &full_load, &bed), "source.rewound").await;
        assert!(read(&bed, &world).await.ended.is_empty(), "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_keep_failing_end_the_attempt_and_the_next_one_goes_on() {
    let (world, bed) = (World::new(Plan { tables: (1, 0), ..Plan::new(2) }), Bed::new().await);
    world.fail([away as fn() -> Failure; 6]);
    let running = run(&world, &settings(Task::FullLoad, Handoff::Bracketed), &bed);
    let status = running.status.clone();
    running.ends().await.expect("the task ends");
    assert!(status.borrow().epoch > 1);
    let replica = read(&bed, &world).await;
    assert_eq!(replica.ended.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_fail_now_and_then_are_loaded_all_the_same() {
    for handoff in [Handoff::Bracketed, Handoff::Exact] {
        load(Plan { failing: 61, ..Plan::new(3) }, handoff, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_of_a_read_halts_and_nothing_is_marked_read() {
    let (world, bed) = (World::new(Plan::new(4)), Bed::new().await);
    for handoff in [Handoff::Bracketed, Handoff::Exact] {
        let full_load = settings(Task::FullLoad, handoff);
        world.fail([gone as fn() -> Failure]);
        let failure = halts(run(&world, &full_load, &bed), "source.missing").await;
        assert!(failure.message.contains("dropped"), "{failure}");
        let replica = read(&bed, &world).await;
        assert_eq!((replica.ended.len(), replica.open.len()), (0, 1));
    }
    run(&world, &settings(Task::FullLoad, Handoff::Bracketed), &bed).ends().await.expect("it ends");
    assert_eq!(read(&bed, &world).await.ended.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_values_go_ahead_of_their_rows() {
    for (seed, handoff) in [(5, Handoff::Bracketed), (6, Handoff::Exact)] {
        let plan = Plan { rows: 8, transactions: 0, length: 300_000, ..Plan::new(seed) };
        let (world, bed) = (World::new(plan), Bed::new().await);
        let running = run(&world, &settings(Task::FullLoad, handoff), &bed);
        running.ends().await.expect("the task ends");
        assert_eq!(read(&bed, &world).await.ended.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_a_load_until_it_is_consistent() {
    let (world, bed) = (World::new(Plan::new(7)), Bed::new().await);
    let mut running = run(&world, &settings(Task::FullLoadAndCdc, Handoff::Bracketed), &bed);
    let done = |state| {
        move |s: &lockstep_common::service::status::CaptureStatus| {
            s.load.as_ref().is_some_and(|load| load.state == state)
        }
    };
    running.shows("for the load to be consistent", done(LoadState::Done)).await;
    let status = running.status.borrow().clone();
    running.stop().await.expect("it stops as asked");
    let (load, replica) = (status.load.expect("a load"), read(&bed, &world).await);
    assert_eq!(load.consistent, Some(replica.ended[0].consistent));
    assert_eq!(load.id, replica.ended[0].load.to_string());
    assert_eq!((load.tables.len(), load.waiting), (3, None));
    for table in load.tables.values() {
        assert_eq!((table.state, table.chunks_total), (TableLoadState::Loaded, Some(table.chunks)));
        assert!(table.rows > 0 && table.bytes > 0 && table.chunks > 0 && table.started > 0);
    }
    let chunks: u32 = load.tables.values().map(|table| table.chunks).sum();
    assert_eq!(chunks as usize, replica.ends);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_goes_on_where_a_stop_interrupted_it() {
    let plan = Plan { rows: 300, tables: (2, 0), permits: Some(0), ..Plan::new(8) };
    let (world, bed) = (World::new(plan), Bed::new().await);
    let both = settings(Task::FullLoadAndCdc, Handoff::Bracketed);
    let mut begun = 0;
    for _ in 0..3 {
        let mut running = run(&world, &both, &bed);
        // Some chunks end, then the readers are held up in others.
        world.permit(40);
        running
            .shows("for chunks to end", |status| {
                status.load.as_ref().is_some_and(|load| {
                    load.tables.values().map(|table| table.chunks as usize).sum::<usize>() > begun
                })
            })
            .await;
        running.stop().await.expect("it stops as asked");
        let replica = read(&bed, &world).await;
        assert!(replica.ends > begun && replica.open.len() == 1);
        begun = replica.ends;
    }
    world.permit(1 << 20);
    // The task may be another by now: what has begun goes on.
    let mut running = run(&world, &settings(Task::Cdc, Handoff::Exact), &bed);
    running
        .shows("for the load to be consistent", |status| {
            status.load.as_ref().is_some_and(|load| load.state == LoadState::Done)
        })
        .await;
    running.stop().await.expect("it stops as asked");
    let replica = read(&bed, &world).await;
    assert_eq!(replica.ended.len(), 1);
    assert!(replica.begins < replica.ends + 20, "{} of {}", replica.ends, replica.begins);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_full_load_ends_again_at_once() {
    let (world, bed) = (World::new(Plan::new(9)), Bed::new().await);
    let full_load = settings(Task::FullLoad, Handoff::Bracketed);
    run(&world, &full_load, &bed).ends().await.expect("the task ends");
    let first = read(&bed, &world).await;
    run(&world, &full_load, &bed).ends().await.expect("the task ends again");
    let second = read(&bed, &world).await;
    assert!(second.task_end);
    assert_eq!((first.begins, first.end), (second.begins, second.end));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_follows_changes_is_not_loaded_by_itself() {
    let (world, bed) = (World::new(Plan { rows: 0, ..Plan::new(10) }), Bed::new().await);
    let mut running = run(&world, &settings(Task::Cdc, Handoff::Bracketed), &bed);
    running.reaches(position(3)).await;
    running.stop().await.expect("it stops as asked");
    halts(run(&world, &settings(Task::FullLoad, Handoff::Bracketed), &bed), "config.task").await;
    let mut running = run(&world, &settings(Task::FullLoadAndCdc, Handoff::Bracketed), &bed);
    running.reaches(position(world.commits() + 20)).await;
    running.stop().await.expect("it stops as asked");
    let replica = read(&bed, &world).await;
    assert_eq!((replica.begins, replica.ended.len(), replica.open.len()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_and_stops_that_cannot_be_are_refused() {
    let (world, bed) = (World::new(Plan::new(11)), Bed::new().await);
    for start in ["earliest", "time:2026-11-23T10:00:00Z", "1/00000000:00000000:0001"] {
        for task in [Task::FullLoad, Task::FullLoadAndCdc] {
            let settings = with(task, |capture| capture.start = Some(start.to_owned()));
            halts(run(&world, &settings, &bed), "config.start").await;
        }
    }
    let yesterday = with(Task::Cdc, |capture| capture.stop = Some("yesterday".to_owned()));
    halts(run(&world, &yesterday, &bed), "config.stop").await;
    // A stop that comes before the load is consistent; the load goes on without it.
    let early = with(Task::FullLoadAndCdc, |c| c.stop = Some(position(2).to_string()));
    halts(run(&world, &early, &bed), "config.stop").await;
    let now = with(Task::FullLoad, |capture| capture.start = Some("now".to_owned()));
    run(&world, &now, &bed).ends().await.expect("the task ends");
    assert_eq!(read(&bed, &world).await.ended.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_ends_at_its_stop() {
    let stops = [position(7).to_string(), "time:1970-01-01T00:00:07Z".to_owned()];
    for stop in stops {
        let (world, bed) = (World::new(Plan { rows: 0, ..Plan::new(12) }), Bed::new().await);
        let cdc = with(Task::Cdc, |capture| capture.stop = Some(stop.clone()));
        for _ in 0..2 {
            run(&world, &cdc, &bed).ends().await.expect("it ends at its stop");
            let replica = read(&bed, &world).await;
            assert!(replica.task_end);
            assert_eq!(replica.end, position(7), "{stop}");
        }
        // A later stop goes on from there.
        let later = with(Task::Cdc, |c| c.stop = Some(position(9).to_string()));
        run(&world, &later, &bed).ends().await.expect("it ends at its stop");
        assert_eq!(read(&bed, &world).await.end, position(9));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed_from_a_time_on() {
    let (world, bed) = (World::new(Plan::new(13)), Bed::new().await);
    let other = Bed::new().await;
    let all = with(Task::Cdc, |c| c.stop = Some(position(20).to_string()));
    run(&world, &all, &bed).ends().await.expect("it ends at its stop");
    let settings = with(Task::Cdc, |capture| {
        capture.start = Some("time:1970-01-01T00:00:12Z".to_owned());
        capture.stop = Some(position(20).to_string());
    });
    run(&world, &settings, &other).ends().await.expect("it ends at its stop");
    let (all, some) = (
        crate::contents::read_markers_aside(bed.log.as_ref()).await,
        crate::contents::read_markers_aside(other.log.as_ref()).await,
    );
    let later: Vec<_> =
        all.transactions.into_iter().filter(|t| t.position > position(12)).collect();
    assert_eq!(some.transactions, later);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_loaded_again_while_the_stream_goes_on() {
    let (world, bed) = (World::new(Plan::new(14)), Bed::new().await);
    let both = settings(Task::FullLoadAndCdc, Handoff::Bracketed);
    let ask = |table: &'static str| {
        let reloads = both.reloads.clone();
        async move { reloads.ask(table).await }
    };
    assert!(matches!(ask("dbo.t1").await, Err(Refused::NotRunning(_))));
    let mut running = run(&world, &both, &bed);
    running.shows("to run", |status| status.state == TaskState::Running).await;
    assert_eq!(ask("dbo.t9").await, Err(Refused::UnknownTable("dbo.t9".into())));
    let done = |id: String| {
        move |status: &lockstep_common::service::status::CaptureStatus| {
            status.load.as_ref().is_some_and(|load| load.state == LoadState::Done && load.id == id)
        }
    };
    running
        .shows("for the first load", |status| {
            status.load.as_ref().is_some_and(|load| load.state == LoadState::Done)
        })
        .await;
    // Keyed beside the stream, keyless frozen; asked for twice at once, one of them is refused or
    // comes after the other has ended.
    for table in ["dbo.t1", "dbo.t3", "dbo.t1"] {
        world.stir(30);
        let (one, two) = tokio::join!(ask(table), ask(table));
        let (mut ids, mut refused) = (Vec::new(), 0);
        for answer in [one, two] {
            match answer {
                Ok(id) => ids.push(id),
                Err(Refused::AlreadyLoading(name)) if name == table => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ids.len() + refused, 2);
        let last = ids.last().expect("one at least").to_string();
        running.shows("for a reload", done(last)).await;
    }
    running.stop().await.expect("it stops as asked");
    assert!(matches!(ask("dbo.t1").await, Err(Refused::NotRunning(_))));
    let replica = read(&bed, &world).await;
    assert!(replica.ended.len() >= 4 && replica.open.is_empty());
    assert!(replica.ended[1..].iter().all(|ended| ended.reload && ended.tables.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_crashes_has_begun_or_has_not() {
    let points = [
        (fail_points::LOAD_BEGIN_APPENDED, 1, 0),
        (fail_points::LOAD_COMMIT_BEFORE, 1, 0),
        (fail_points::LOAD_COMMIT_AFTER, 1, 1),
        (fail_points::LOAD_CHUNK_BEGUN, 2, 1),
        (fail_points::LOAD_TABLE_READ, 1, 1),
    ];
    for (point, hit, reloads) in points {
        let (world, bed) = (World::new(Plan::new(15)), Bed::new().await);
        let full_load = settings(Task::FullLoad, Handoff::Bracketed);
        run(&world, &full_load, &bed).ends().await.expect("the task ends");
        let both = settings(Task::FullLoadAndCdc, Handoff::Bracketed);
        world.stir(30);
        let mut running = start(&world, &both, &bed, FailPoints::armed(point, hit));
        running.shows("to run", |status| status.state == TaskState::Running).await;
        let answer = both.reloads.ask("dbo.t2").await;
        let crash = running.ends().await.expect_err("it crashes");
        assert_eq!(crash.code.as_str(), "failpoint", "{point}");
        if reloads == 0 {
            assert!(matches!(answer, Err(Refused::NotRunning(_))), "{point}: {answer:?}");
        }
        // What is being loaded goes on; when that is over, the task ends.
        run(&world, &full_load, &bed).ends().await.expect("the task ends");
        let replica = read(&bed, &world).await;
        assert_eq!(replica.ended.len(), 1 + reloads, "{point}");
    }
}
