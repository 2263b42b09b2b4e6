//! Somebody else's locks: they are waited for, and end nothing.

use std::sync::Arc;

use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, Task};
use lockstep_common::service::status::CaptureStatus;
use lockstep_common::{FailPoints, Shutdown};
use tokio::sync::watch;

use crate::contents::{self, Contents};
use crate::server::Server;
use crate::service::{Bed, Running, capture};

/// Everything that the stream reads of CDC. (The mapping is what the job's open scan holds first.)
const OBJECTS: [&str; 4] =
    ["cdc.lsn_time_mapping", "cdc.dbo_t_CT", "cdc.change_tables", "cdc.ddl_history"];

async fn locked(server: &mut Server, object: &str, number: u32, skip: u32, times: u32) {
    server
        .admin
        .run(&format!(
            "EXEC [double].set_fault @name = N'error', @value = N'{number},{skip},{times}', \
             @object = N'{object}'"
        ))
        .await;
}

fn ids(contents: &Contents) -> Vec<usize> {
    contents.transactions.iter().map(|t| t.changes.len()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_the_capture_job_end_no_attempt() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    // Over streams of their own, and in pages of two rows over one connection.
    let streams = capture();
    let pages = config::Capture { max_connections: 1, page_rows: 2, ..capture() };
    let mut id = 0;
    for (settings, number) in [(streams, 1222), (pages, 1205)] {
        let bed = Bed::new().await;
        server.captured(&format!("INSERT INTO dbo.t VALUES ({id}, 0)")).await;
        let mut running = server.follow_with(&bed.log, settings, FailPoints::default());
        running.reaches(server.newest().await).await;
        let mut expected = ids(&contents::read(bed.log.as_ref()).await);
        let begun = expected.len() as u64 - running.status.borrow().transactions;
        for object in OBJECTS {
            for skip in [0, 1] {
                locked(&mut server, object, number, skip, 7).await;
                id += 10;
                let rows = (1..8).map(|n| format!("({}, {n})", id + n)).collect::<Vec<_>>();
                let rows = rows.join(", ");
                server.admin.run(&format!("INSERT INTO dbo.t VALUES {rows}")).await;
                server.captured("UPDATE dbo.t SET v = v + 1 WHERE id % 10 IN (3, 4)").await;
                expected.extend([7, 2 * (id / 10)]);
                let wanted = expected.len() as u64 - begun;
                running.shows("the commits", |status| status.transactions == wanted).await;
                server.fault("clear_errors", "").await;
            }
        }
        assert!(running.status.borrow().last_error.is_none());
        running.stop().await.expect("it stops as asked");
        let contents = contents::read(bed.log.as_ref()).await;
        assert_eq!(contents.epochs.len(), 1, "{number}");
        assert_eq!(ids(&contents), expected, "{number}");
    }
}

/// Chunks are begun again as often as it takes, and those in flight live on.
#[tokio::test(flavor = "multi_thread")]
async fn locks_end_no_load() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    for id in 0..60 {
        server.admin.run(&format!("INSERT INTO dbo.t VALUES ({id}, 0)")).await;
    }
    server.scan().await;
    let bed = Bed::new().await;
    let (sender, status) = watch::channel(CaptureStatus::default());
    let shutdown = Shutdown::new();
    let settings = CaptureSettings {
        pipeline: "test".to_owned(),
        task: Task::FullLoad,
        source: server.source(),
        capture: config::Capture { chunk_rows: 7, load_readers: 3, ..capture() },
        reloads: Default::default(),
    };
    for (object, times) in [("dbo.t", 60), ("cdc.lsn_time_mapping", 5), ("cdc.dbo_t_CT", 5)] {
        // The start itself reads what there is once.
        locked(&mut server, object, 1222, 6, times).await;
    }
    let log = Arc::clone(&bed.log);
    let service =
        lockstep_capture::run(settings, log, sender, FailPoints::default(), shutdown.clone());
    let seen = status.clone();
    let running = Running::of(service, status, shutdown);
    let mut ended = std::pin::pin!(running.ends());
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(100));
    let mut writer = server.session().await;
    loop {
        tokio::select! {
            result = &mut ended => break result.expect("the task ends"),
            _ = pace.tick() => {}
        }
        // The lock is in the writer's way, too.
        if writer.try_run("UPDATE dbo.t SET v = v + 1 WHERE id = 3").await.is_ok() {
            server.scan().await;
        }
    }
    let status = seen.borrow();
    assert_eq!((status.epoch, &status.last_error), (1, &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_never_given_up_does_not_keep_capture_from_stopping() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    server.captured("INSERT INTO dbo.t VALUES (1)").await;
    let bed = Bed::new().await;
    let mut running = server.follow(&bed.log);
    running.reaches(server.newest().await).await;
    locked(&mut server, "cdc.dbo_t_CT", 1222, 0, 1_000_000).await;
    server.captured("INSERT INTO dbo.t VALUES (2)").await;
    let polled = running.status.borrow().source_position;
    let newest = server.newest().await;
    assert!(polled < newest);
    running.stop().await.expect("it stops as asked");
    server.fault("clear_errors", "").await;
    assert_eq!(server.run_through(&bed).await.transactions.len(), 2);
}

/// A scan of the capture job that is open for longer than anybody waits for a lock.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_scan_is_waited_for_as_long_as_it_takes() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    server
        .admin
        .run("ALTER DATABASE shop SET READ_COMMITTED_SNAPSHOT OFF WITH ROLLBACK IMMEDIATE")
        .await;
    server.captured("INSERT INTO dbo.t VALUES (1, 0)").await;
    let bed = Bed::new().await;
    let mut running = server.follow(&bed.log);
    running.reaches(server.newest().await).await;
    server.fault("scan_open", "on").await;
    server.admin.run("INSERT INTO dbo.t VALUES (2, 0), (3, 0)").await;
    let mut scanner = server.session().await;
    let scanning = tokio::spawn(async move { scanner.run("EXEC sys.sp_cdc_scan").await.len() });
    let database = server.double.server().storage().database("shop").expect("it is there");
    // A poll waits for it, gives up, and the next one waits.
    for waits in [true, false, true] {
        while database.blocked().is_empty() == waits {
            tokio::task::yield_now().await;
        }
    }
    server.fault("scan_open", "off").await;
    scanning.await.expect("the scan ends");
    running.reaches(server.newest().await).await;
    {
        let status = running.status.borrow();
        assert_eq!((status.epoch, &status.last_error), (1, &None));
    }
    running.stop().await.expect("it stops as asked");
    assert_eq!(ids(&contents::read(bed.log.as_ref()).await), [1, 2]);
}
