//! A crash at any place, then another start: the log says the same as if nothing had happened.

use std::sync::Arc;

use lockstep_capture::fail_points;
use lockstep_common::FailPoints;

use crate::contents;
use crate::records::{expect_script, run_through, script};
use crate::scripted::{Scripted, insert, position};
use crate::service::{Bed, Running, capture};

pub const POINTS: [&str; 5] = [
    fail_points::WINDOW_PLANNED,
    fail_points::FRAGMENT_APPENDED,
    fail_points::COMMIT_BEFORE,
    fail_points::COMMIT_AFTER,
    fail_points::EPOCH_WRITTEN,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_place_is_as_if_nothing_had_happened() {
    for point in POINTS {
        for hit in 1..=4 {
            let bed = Bed::new().await;
            // The second window's transactions are larger than what is appended at a time.
            let size = |i: i64| if (4..6).contains(&i) { 100_000 } else { 100 };
            let script = script(
                (0..18)
                    .map(|i| {
                        (0..if (4..6).contains(&i) { 90 } else { i % 4 })
                            .map(|j| insert(i * 100 + j, size(i)))
                            .collect()
                    })
                    .collect(),
            );
            let source = Box::new(Scripted(Arc::clone(&script)));
            let fail = FailPoints::armed(point, hit);
            let mut running = Running::start(source, capture(), &bed.log, fail);
            let epoch_hit_again = point == fail_points::EPOCH_WRITTEN && hit > 1;
            if epoch_hit_again {
                // One epoch to a start: the point is not passed again.
                running.reaches(position(18)).await;
                running.stop().await.expect("it stops as asked");
            } else {
                let crash = running.ends().await.expect_err("it crashes");
                assert_eq!(crash.code.as_str(), "failpoint", "{point}:{hit}: {crash}");
            }
            contents::read(bed.log.as_ref()).await;
            let contents = run_through(&bed, &script).await;
            expect_script(&contents, &script);
            // What is appended first is the epoch record itself: then that epoch never was.
            let never_began = point == fail_points::FRAGMENT_APPENDED && hit == 1;
            let epochs = if never_began { vec![1] } else { vec![1, 2] };
            assert_eq!(contents.epochs, epochs, "{point}:{hit}");
        }
    }
}
