//! What goes wrong under a load is said, by table; nothing is passed over.

use lockstep_capture::source::sqlserver_cdc::prerequisites::check_load;
use lockstep_common::model::load::{ChunkRange, Handoff};
use lockstep_common::service::check::Verdict;
use lockstep_common::{Disposition, Failure, Value, config};

use crate::load_bed::{Keep, Loading, see_positions, whole};
use crate::server::Server;
use crate::service::capture;

fn halts(result: Result<Vec<Vec<Value<'static>>>, Failure>, code: &str, table: &str) {
    let failure = result.expect_err("it fails");
    assert_eq!(
        (failure.code.as_str(), failure.disposition()),
        (code, Disposition::Halt),
        "{failure}"
    );
    assert!(failure.to_string().contains(table) && !failure.remedy.is_empty(), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_or_altered_halts() {
    let mut server = Server::new().await;
    for name in ["dropped", "wider", "narrower", "again"] {
        server.table(name, "id int NOT NULL PRIMARY KEY, v varchar(2) NULL, w int NULL").await;
        server.admin.run(&format!("INSERT INTO dbo.{name} VALUES (1, 'ab', 1)")).await;
    }
    let loading = Loading::new(&server).await;
    for name in ["dropped", "wider", "narrower", "again"] {
        assert_eq!(loading.rows(loading.table(name), &whole()).await.expect("rows").len(), 1);
    }
    server.admin.run("DROP TABLE dbo.dropped").await;
    halts(loading.rows(loading.table("dropped"), &whole()).await, "source.shape", "dbo.dropped");
    let boundary = loading.loader.boundary(loading.table("dropped"), None, 1).await;
    halts(boundary.map(|_| Vec::new()), "source.shape", "dbo.dropped");
    // A value that the settled shape would cut.
    server.admin.run("ALTER TABLE dbo.wider ALTER COLUMN v varchar(9) NULL").await;
    server.admin.run("UPDATE dbo.wider SET v = 'abcdef'").await;
    halts(loading.rows(loading.table("wider"), &whole()).await, "source.shape", "dbo.wider");
    server.admin.run("ALTER TABLE dbo.narrower DROP COLUMN w").await;
    halts(loading.rows(loading.table("narrower"), &whole()).await, "source.shape", "dbo.narrower");
    server.admin.run("DROP TABLE dbo.again").await;
    server
        .admin
        .run("CREATE TABLE dbo.again (id int NOT NULL PRIMARY KEY, v varchar(2) NULL, w int NULL)")
        .await;
    server.admin.run("GRANT SELECT ON dbo.again TO reader").await;
    halts(loading.rows(loading.table("again"), &whole()).await, "source.shape", "dbo.again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_halts_with_the_grant() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    let loading = Loading::new(&server).await;
    server.admin.run("REVOKE SELECT ON dbo.t FROM reader").await;
    let failure = loading.rows(loading.table("t"), &whole()).await.expect_err("it may not");
    assert_eq!(
        (failure.code.as_str(), failure.disposition()),
        ("source.permission", Disposition::Halt)
    );
    assert!(failure.remedy.contains("GRANT SELECT ON [dbo].[t]"), "{failure}");
    // A failure leaves the loader usable.
    server.admin.run("GRANT SELECT ON dbo.t TO reader").await;
    loading.rows(loading.table("t"), &whole()).await.expect("now it may");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_retried_and_never_an_end() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v varchar(8000) NULL").await;
    for id in 0..200 {
        server.admin.run(&format!("INSERT INTO dbo.t VALUES ({id}, REPLICATE('x', 8000))")).await;
    }
    let loading = Loading::new(&server).await;
    let table = loading.table("t");
    let mut reading = loading.loader.rows(table, &whole()).await.expect("rows");
    let mut keep = Keep::default();
    assert!(reading.next(&mut keep).await.expect("some rows"));
    server.double.stop().await;
    let failure = loop {
        match reading.next(&mut keep).await {
            Ok(true) => {}
            Ok(false) => panic!("an end after {} rows", keep.0.len()),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_are_dropped_leave_room_for_others() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v varchar(8000) NULL").await;
    for id in 0..100 {
        server.admin.run(&format!("INSERT INTO dbo.t VALUES ({id}, REPLICATE('x', 8000))")).await;
    }
    let settings = config::Capture { load_readers: 1, ..capture() };
    let loading = Loading::with(&server, settings).await;
    for _ in 0..10 {
        let mut reading = loading.loader.rows(loading.table("t"), &whole()).await.expect("rows");
        assert!(reading.next(&mut Keep::default()).await.expect("some"));
    }
    assert_eq!(loading.rows(loading.table("t"), &whole()).await.expect("rows").len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_another_key_is_refused() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    let loading = Loading::new(&server).await;
    let wrong = ChunkRange { chunk: 0, lower: Some(vec![Value::String("1".into())]), upper: None };
    let failure = loading.rows(loading.table("t"), &wrong).await.expect_err("no key of the table");
    assert_eq!((failure.code.as_str(), failure.disposition()), ("source.load", Disposition::Halt));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_a_load_lacks() {
    let mut server = Server::new().await;
    server.table("keyed", "id int NOT NULL PRIMARY KEY").await;
    let settings = capture();
    let verdicts = async |server: &Server, settings: &config::Capture| -> Vec<(String, Verdict)> {
        let results = check_load(&server.source(), settings).await;
        assert!(
            results.iter().all(|r| r.verdict == Verdict::Pass || !r.fix.is_empty()),
            "{results:#?}"
        );
        results.into_iter().map(|result| (result.name, result.verdict)).collect()
    };
    let named = |name: &str, verdict| (name.to_owned(), verdict);
    assert_eq!(
        verdicts(&server, &settings).await,
        [named("load of dbo.keyed", Verdict::Pass), named("reads beside writers", Verdict::Pass)]
    );
    server.table("heap", "id int NOT NULL").await;
    assert_eq!(
        verdicts(&server, &settings).await,
        [
            named("load of dbo.heap", Verdict::Warn),
            named("load of dbo.keyed", Verdict::Pass),
            named("reads beside writers", Verdict::Pass),
            named("snapshot isolation", Verdict::Fail),
            named("position of a snapshot", Verdict::Fail),
        ]
    );
    server.admin.run("DROP TABLE dbo.heap").await;
    see_positions(&mut server).await;
    server.admin.run("ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON").await;
    server.table("signals", "id varchar(64) NOT NULL PRIMARY KEY").await;
    let exact = config::Capture {
        handoff: Handoff::Exact,
        signal_table: Some("dbo.signals".to_owned()),
        ..capture()
    };
    let expected = |signal| {
        [
            named("load of dbo.keyed", Verdict::Pass),
            named("load of dbo.signals", Verdict::Pass),
            named("reads beside writers", Verdict::Pass),
            named("snapshot isolation", Verdict::Pass),
            named("position of a snapshot", Verdict::Pass),
            named("signal table", signal),
        ]
    };
    assert_eq!(verdicts(&server, &exact).await, expected(Verdict::Fail));
    server.admin.run("GRANT INSERT, DELETE ON dbo.signals TO reader").await;
    assert_eq!(verdicts(&server, &exact).await, expected(Verdict::Pass));
}
