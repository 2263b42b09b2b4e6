//! Rows that come and go by ALTER TABLE ... SWITCH, which no change tells of.

use lockstep_capture::check;
use lockstep_common::{FailPoints, config};

use crate::server::Server;
use crate::service::{Bed, capture};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, v int NULL";

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_switched_are_noticed_by_their_number() {
    let mut server = Server::new().await;
    server.table("t", COLUMNS).await;
    server.table("quiet", COLUMNS).await;
    server.admin.run(&format!("CREATE TABLE dbo.other ({COLUMNS})")).await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1), (2, 2), (3, 3)").await;
    let bed = Bed::new().await;
    let settings =
        config::Capture { progress_interval: std::time::Duration::from_millis(20), ..capture() };
    let mut running = server.follow_with(&bed.log, settings, FailPoints::default());
    // Commits move the stream on past what the catalogue said; the table's own are followed.
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
    let mut n = 0;
    for step in
        ["", "ALTER TABLE dbo.t SWITCH TO dbo.other", "ALTER TABLE dbo.other SWITCH TO dbo.t"]
    {
        if step.is_empty() {
            server
                .captured("DELETE FROM dbo.t WHERE id = 3; INSERT INTO dbo.t VALUES (4, 4)")
                .await;
        } else {
            server.admin.run(step).await;
        }
        let missing = step.ends_with("dbo.other");
        let deadline = tokio::time::Instant::now() + crate::service::PATIENCE;
        let mut judged = 0;
        loop {
            pace.tick().await;
            assert!(tokio::time::Instant::now() < deadline, "{step}: nothing was noticed");
            n += 1;
            server.fault("clock_advance", "2").await;
            server
                .captured(&format!(
                    "UPDATE dbo.quiet SET v = {n}; INSERT INTO dbo.quiet VALUES ({n}, 0)"
                ))
                .await;
            running.reaches(server.newest().await).await;
            let notices = running.status.borrow().notices.clone();
            let noticed = notices.iter().any(|text| {
                text.contains("dbo.t has 3 rows fewer") && text.contains("lockstep reload dbo.t")
            });
            assert!(notices.iter().all(|text| !text.contains("dbo.quiet has")), "{notices:?}");
            judged = if noticed == missing { judged + 1 } else { 0 };
            if judged > 20 {
                break;
            }
        }
    }
    running.stop().await.expect("it stops as asked");
    let results = check(&server.source()).await;
    assert!(results.iter().any(|result| result.name == "ALTER TABLE ... SWITCH"), "{results:#?}");
}
