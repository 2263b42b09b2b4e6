//! The disk of the embedded log is full: somebody is waited for, and nothing is lost or doubled.

use std::sync::Arc;

use lockstep_common::FailPoints;
use lockstep_common::service::status::TaskState;

use crate::contents;
use crate::disk::Disk;
use crate::records::{expect_script, script};
use crate::scripted::{Scripted, insert, position};
use crate::service::{Bed, Running, capture};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_room_is_waited_for() {
    let Some(disk) = Disk::new(160, 0) else { return };
    let bed = Bed::with_log(|_| disk.path().join("log")).await;
    let script = script((0..10).map(|i| vec![insert(i, 100)]).collect());
    let source = || Box::new(Scripted(Arc::clone(&script)));
    let mut running = Running::start(source(), capture(), &bed.log, FailPoints::default());
    running.reaches(position(10)).await;
    disk.fill(120);
    let full = |status: &lockstep_common::service::status::CaptureStatus| {
        let said = status.last_error.as_deref().is_some_and(|e| e.contains("log.full"));
        status.state == TaskState::Waiting && said
    };
    script.lock().unwrap().transactions.extend((10..60).map(|i| vec![insert(i, 1000)]));
    running.shows("the shortage", full).await;
    // What the log has is read meanwhile, and a start waits, too.
    assert_eq!(contents::read(bed.log.as_ref()).await.transactions.len(), 10);
    running.stop().await.expect("it stops as asked");
    let mut running = Running::start(source(), capture(), &bed.log, FailPoints::default());
    running.shows("the shortage after a start", full).await;
    disk.empty();
    running.reaches(position(60)).await;
    running.shows("to run", |s| s.state == TaskState::Running && s.last_error.is_none()).await;
    running.stop().await.expect("it stops as asked");
    expect_script(&contents::read(bed.log.as_ref()).await, &script);
}
