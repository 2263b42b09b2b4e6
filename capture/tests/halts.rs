//! What stops capture, and what the operator reads.

use lockstep_common::config::{self, Secret};
use lockstep_common::{Disposition, FailPoints, Failure};

use crate::contents;
use crate::server::{Server, follow};
use crate::service::{Bed, Running, capture};

async fn with_a_row() -> (Server, Bed) {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1)").await;
    (server, Bed::new().await)
}

async fn halts(running: Running, code: &str, says: &[&str]) -> Failure {
    let failure = running.ends().await.expect_err("it halts");
    let line = failure.to_string();
    assert_eq!((failure.code.as_str(), failure.disposition()), (code, Disposition::Halt), "{line}");
    assert!(!line.contains('\n') && !failure.remedy.is_empty(), "{line}");
    for word in says {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    failure
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_that_overtook_a_stopped_reader_is_a_gap_with_its_range() {
    let (mut server, bed) = with_a_row().await;
    server.run_through(&bed).await;
    let from = server.newest().await;
    server.captured("INSERT INTO dbo.t VALUES (2, 2)").await;
    server.captured("INSERT INTO dbo.t VALUES (3, 3)").await;
    for calls in ["on", "off"] {
        // First the low-water mark moves and the rows are still there; then they go.
        server.fault("cleanup_in_two_calls", calls).await;
        server
            .admin
            .run(
                "DECLARE @mark binary(10) = (SELECT MAX(start_lsn) FROM cdc.lsn_time_mapping); \
                 EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_t', \
                 @low_water_mark = @mark",
            )
            .await;
        let failure = halts(server.follow(&bed.log), "source.gap", &["dbo.t", "dbo_t"]).await;
        let lsn = from.to_string();
        let next = &lsn[2..lsn.len() - 4];
        assert!(failure.message.contains(next), "{next} in {failure}");
    }
    assert_eq!(contents::read(bed.log.as_ref()).await.transactions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_is_another_history() {
    let (mut server, bed) = with_a_row().await;
    let storage = std::sync::Arc::clone(server.double.server().storage());
    storage.backup("shop", "shop.bak").expect("a backup");
    server.captured("INSERT INTO dbo.t VALUES (2, 2)").await;
    server.run_through(&bed).await;
    storage.restore("shop", "shop.bak", true).expect("the backup is restored");
    server.admin = server.session().await;
    server.stop_job().await;
    halts(server.follow(&bed.log), "source.rewound", &["restored"]).await;
    // It goes another way and comes past the cursor: its row there is not ours.
    for n in 10..20 {
        server.captured(&format!("INSERT INTO dbo.t VALUES ({n}, 0)")).await;
    }
    halts(server.follow(&bed.log), "source.rewound", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_dropped_or_made_anew_halts() {
    const DROP: &str = "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', \
         @source_name = N't', @capture_instance = N'all'";
    // While capture runs.
    let (mut server, bed) = with_a_row().await;
    server.table("other", "id int NOT NULL PRIMARY KEY").await;
    let mut running = server.follow(&bed.log);
    running.reaches(server.newest().await).await;
    server.admin.run(DROP).await;
    halts(running, "source.instance", &["dbo.t"]).await;
    // And while it does not; made anew it has not what came between.
    server.capture("t", "dbo_t").await;
    server.captured("INSERT INTO dbo.t VALUES (2, 2)").await;
    halts(server.follow(&bed.log), "source.gap", &["dbo.t"]).await;
    server.admin.run("DROP TABLE dbo.t").await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    halts(server.follow(&bed.log), "source.instance", &["dbo.t", "anew"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_data_capture_switched_off_halts() {
    let (mut server, bed) = with_a_row().await;
    let mut running = server.follow(&bed.log);
    running.reaches(server.newest().await).await;
    server.admin.run("EXEC sys.sp_cdc_disable_db").await;
    halts(running, "source.cdc_off", &["shop", "sp_cdc_enable_db"]).await;
    halts(server.follow(&bed.log), "source.cdc_off", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_of_a_captured_column_halts_with_everything_before_it_in_the_log() {
    for ddl in [
        "ALTER TABLE dbo.t ALTER COLUMN v bigint NULL",
        "ALTER TABLE dbo.t ALTER COLUMN v int NOT NULL",
        "ALTER TABLE dbo.t DROP COLUMN v",
    ] {
        let mut server = Server::new().await;
        server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
        server.captured("INSERT INTO dbo.t VALUES (1, 1)").await;
        let bed = Bed::new().await;
        let mut running = server.follow(&bed.log);
        running.reaches(server.newest().await).await;
        server.captured("INSERT INTO dbo.t VALUES (2, 2)").await;
        running.reaches(server.newest().await).await;
        server.captured(ddl).await;
        let failure = running.ends().await.expect_err("it halts");
        assert!(
            ["source.ddl", "source.shape"].contains(&failure.code.as_str()),
            "{ddl}: {failure}"
        );
        let contents = contents::read(bed.log.as_ref()).await;
        assert_eq!(contents.transactions.len(), 2, "{ddl}");
        // Nor does a restart pass it.
        let failure = server.follow(&bed.log).ends().await.expect_err("it halts");
        assert!(
            ["source.ddl", "source.shape"].contains(&failure.code.as_str()),
            "{ddl}: {failure}"
        );
        assert!(failure.message.contains("dbo.t"), "{failure}");
    }
}

fn changed(server: &Server, change: impl Fn(&mut config::Source)) -> config::Source {
    let mut source = server.source();
    change(&mut source);
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_settings_halt_with_one_line_that_names_them() {
    let (mut server, bed) = with_a_row().await;
    let start = |source| follow(source, &bed.log, capture(), FailPoints::default());
    let wrong_password = changed(&server, |s| s.password = Some(Secret::new("wrong")));
    halts(start(wrong_password), "source.login", &["18456", "source.password"]).await;
    let no_database = changed(&server, |s| s.database = "nowhere".to_owned());
    halts(start(no_database), "source.database", &["nowhere"]).await;
    let no_table = changed(&server, |s| s.tables = vec!["dbo.t".into(), "dbo.none".into()]);
    halts(start(no_table), "source.instance", &["dbo.none"]).await;
    let no_file = changed(&server, |s| {
        s.password = None;
        s.password_file = Some("/nonexistent/password".into());
    });
    halts(start(no_file), "source.password", &["/nonexistent/password"]).await;
    let bad_start = config::Capture { start: Some("yesterday".to_owned()), ..capture() };
    let running = server.follow_with(&bed.log, bad_start, FailPoints::default());
    halts(running, "config.start", &["yesterday"]).await;
    // Corrected, it starts.
    assert_eq!(server.run_through(&bed).await.transactions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_named_and_retried() {
    let (server, bed) = with_a_row().await;
    let nobody = changed(&server, |s| s.port = 1);
    let mut running = follow(nobody, &bed.log, capture(), FailPoints::default());
    running
        .shows("to say so", |status| {
            status.last_error.as_ref().is_some_and(|error| error.contains("127.0.0.1:1"))
        })
        .await;
    running.stop().await.expect("it stops as asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_or_taken_away_is_named() {
    let (mut server, bed) = with_a_row().await;
    server.admin.run("REVOKE SELECT ON cdc.dbo_t_CT FROM reader").await;
    halts(server.follow(&bed.log), "source.no_instances", &["dbo_t", "GRANT SELECT"]).await;
    server.admin.run("GRANT SELECT ON cdc.dbo_t_CT TO reader").await;
    let mut running = server.follow(&bed.log);
    running.reaches(server.newest().await).await;
    server.admin.run("REVOKE SELECT ON cdc.dbo_t_CT FROM reader").await;
    server.captured("INSERT INTO dbo.t VALUES (2, 2)").await;
    let failure = running.ends().await.expect_err("it halts");
    assert_eq!(failure.disposition(), Disposition::Halt);
    assert!(failure.to_string().contains("dbo_t"), "{failure}");
    server.admin.run("GRANT SELECT ON cdc.dbo_t_CT TO reader").await;
    let contents = server.run_through(&bed).await;
    assert_eq!(contents.transactions.len(), 2);
}
