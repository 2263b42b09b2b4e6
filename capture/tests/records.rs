//! What stands in the log.

use std::sync::{Arc, Mutex};

use lockstep_common::Code;
use lockstep_common::{Disposition, FailPoints, Failure};

use crate::contents::{self, Contents};
use crate::scripted::{Script, Scripted, Shared, insert, position};
use crate::service::{Bed, Running, capture};

pub fn script(transactions: Vec<Vec<lockstep_common::model::record::Change<'static>>>) -> Shared {
    Arc::new(Mutex::new(Script { transactions, window: 4, ..Script::default() }))
}

pub async fn run_through(bed: &Bed, script: &Shared) -> Contents {
    let last = script.lock().unwrap().transactions.len();
    let source = Box::new(Scripted(Arc::clone(script)));
    let mut running = Running::start(source, capture(), &bed.log, FailPoints::default());
    running.reaches(position(last)).await;
    running.stop().await.expect("it stops as asked");
    contents::read(bed.log.as_ref()).await
}

pub fn expect_script(contents: &Contents, script: &Shared) {
    let script = script.lock().unwrap();
    let expected: Vec<_> = script
        .transactions
        .iter()
        .enumerate()
        .filter(|(_, changes)| !changes.is_empty())
        .map(|(i, changes)| (position(i + 1), Some(vec![(i + 1) as u8]), changes.clone()))
        .collect();
    let found: Vec<_> = contents
        .transactions
        .iter()
        .map(|t| (t.position, t.id.clone(), t.changes.clone()))
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_is_there_whole_and_in_order() {
    let bed = Bed::new().await;
    let script =
        script((0..20).map(|i| (0..i % 5).map(|j| insert(i * 10 + j, 10)).collect()).collect());
    let contents = run_through(&bed, &script).await;
    expect_script(&contents, &script);
    assert_eq!(contents.epochs, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_comes_in_fragments_of_bounded_size_and_long_values_in_parts() {
    let bed = Bed::new().await;
    let mut large: Vec<_> = (0..100).map(|i| insert(i, 100_000)).collect();
    large.insert(50, insert(1000, 3_000_000));
    let script =
        script(vec![vec![insert(1, 1)], large, vec![insert(2, 262_144), insert(3, 262_145)]]);
    let contents = run_through(&bed, &script).await;
    expect_script(&contents, &script);
    assert!(contents.fragments[&position(2)] > 20, "{:?}", contents.fragments);
    assert!(contents.sizes.iter().all(|size| *size <= 512 << 10), "{:?}", contents.sizes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_moves_the_position_and_a_restart_goes_on_from_there() {
    let bed = Bed::new().await;
    let script = script(vec![vec![insert(1, 1)], vec![], vec![], vec![], vec![], vec![]]);
    let first = run_through(&bed, &script).await;
    assert_eq!(first.end, position(6));
    assert!(first.progress.contains(&position(6)));
    script.lock().unwrap().transactions.push(vec![insert(2, 1)]);
    let second = run_through(&bed, &script).await;
    expect_script(&second, &script);
    assert_eq!(second.epochs, [1, 2]);
}

fn gap() -> Failure {
    Failure::new(Code::SourceGap, "cleanup passed")
}

fn lost() -> Failure {
    Failure::new(Code::SourceConnection, "the connection is gone")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_window_that_cannot_be_verified_is_ever_seen() {
    for at in [1, 2, 5] {
        let bed = Bed::new().await;
        // Large enough that a window is verified several times.
        let script = script((0..8).map(|_| (0..60).map(|i| insert(i, 60_000)).collect()).collect());
        script.lock().unwrap().verify = Some((at, gap));
        let source = Box::new(Scripted(Arc::clone(&script)));
        let running = Running::start(source, capture(), &bed.log, FailPoints::default());
        let failure = running.ends().await.expect_err("it halts");
        assert_eq!(
            (failure.code.as_str(), failure.disposition()),
            ("source.gap", Disposition::Halt)
        );
        let before = contents::read(bed.log.as_ref()).await;
        if at == 1 {
            assert_eq!(before.transactions.len(), 0);
        }
        let after = run_through(&bed, &script).await;
        expect_script(&after, &script);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_within_a_window_is_read_again_from_the_cursor() {
    for at in 1..12 {
        let bed = Bed::new().await;
        let script =
            script((0..10).map(|_| (0..5).map(|i| insert(i, 300_000)).collect()).collect());
        script.lock().unwrap().read = Some((at, lost));
        let contents = run_through(&bed, &script).await;
        expect_script(&contents, &script);
        assert_eq!(script.lock().unwrap().connects, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_leaves_whole_transactions_and_a_second_start_goes_on() {
    let bed = Bed::new().await;
    let script =
        script((0..200).map(|i| (0..20).map(|j| insert(i * 100 + j, 5_000)).collect()).collect());
    script.lock().unwrap().window = 200;
    let source = Box::new(Scripted(Arc::clone(&script)));
    let mut running = Running::start(source, capture(), &bed.log, FailPoints::default());
    running.shows("to begin", |status| status.epoch == 1).await;
    running.stop().await.expect("it stops as asked");
    let part = contents::read(bed.log.as_ref()).await;
    assert_eq!(part.end, part.transactions.last().map_or(position(0), |t| t.position));
    expect_script(&run_through(&bed, &script).await, &script);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_capture_fences_the_first() {
    let bed = Bed::new().await;
    let script = script(vec![vec![insert(1, 1)]]);
    let start = || {
        let source = Box::new(Scripted(Arc::clone(&script)));
        Running::start(source, capture(), &bed.log, FailPoints::default())
    };
    let mut first = start();
    first.reaches(position(1)).await;
    let mut second = start();
    second.shows("to begin", |status| status.epoch == 2).await;
    script.lock().unwrap().transactions.push(vec![insert(2, 1)]);
    let failure = first.ends().await.expect_err("it is fenced");
    assert_eq!(failure.disposition(), Disposition::Fenced);
    second.reaches(position(2)).await;
    second.stop().await.expect("it stops as asked");
    expect_script(&contents::read(bed.log.as_ref()).await, &script);
}
