//! Reads beside writers in a database without READ_COMMITTED_SNAPSHOT: what is read, and what is locked
//! meanwhile.

use std::collections::BTreeSet;

use lockstep_capture::source::Source;
use lockstep_capture::source::sqlserver_cdc::prerequisites::check_load;
use lockstep_common::Position;
use lockstep_common::service::check::Verdict;

use crate::load_bed::{Keep, Loading, Row, drain, integers, whole};
use crate::server::Server;
use crate::service::capture;

const SNAPSHOT: &str = "ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON";

/// As a server is installed.
async fn boxed() -> Server {
    let mut server = Server::new().await;
    server
        .admin
        .run("ALTER DATABASE shop SET READ_COMMITTED_SNAPSHOT OFF WITH ROLLBACK IMMEDIATE")
        .await;
    server
}

/// Waits until somebody waits for a lock.
async fn somebody_waits(server: &Server) {
    let database = server.double.server().storage().database("shop").expect("it is there");
    while database.blocked().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Rows with a MAX value each, so that their locks are kept: as many as become a lock of the table, and then
/// more bytes than fit between a server and a client that does not read.
const SMALL: i64 = 5200;
const LARGE: i64 = 2000;

async fn many(server: &mut Server) {
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NOT NULL, note nvarchar(max) NULL").await;
    server
        .admin
        .run(&format!(
            "SET NOCOUNT ON; DECLARE @i int = 0; BEGIN TRAN; WHILE @i < {} BEGIN \
             INSERT INTO dbo.t VALUES (@i, 0, REPLICATE(N'x', CASE WHEN @i < {SMALL} THEN 1 ELSE 4000 END)); \
             SET @i += 1 END; COMMIT",
            SMALL + LARGE
        ))
        .await;
    server.scan().await;
}

/// An index that has all that is captured, over a column that is not: a row whose entry moves there behind
/// the scan would not be met, and no change would ever tell of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_met_whatever_moves_in_other_indexes() {
    for snapshots in [false, true] {
        let mut server = boxed().await;
        if snapshots {
            server.admin.run(SNAPSHOT).await;
        }
        server
            .admin
            .run(
                "CREATE TABLE dbo.t (id int PRIMARY KEY, a int NULL, b int NULL, hot int NOT NULL)",
            )
            .await;
        server.admin.run("CREATE INDEX ix ON dbo.t (hot) INCLUDE (a, b)").await;
        server
            .admin
            .run(
                "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', \
                 @role_name = NULL, @supports_net_changes = 0, @captured_column_list = N'id, a, b'",
            )
            .await;
        server.stop_job().await;
        server.admin.run("GRANT SELECT ON dbo.t TO reader").await;
        server.admin.run("GRANT SELECT ON cdc.dbo_t_CT TO reader").await;
        server
            .admin
            .run("INSERT INTO dbo.t VALUES (1, 1, 1, 100), (2, 2, 2, 200), (3, 3, 3, 900)")
            .await;
        server.scan().await;
        server.fault("covering_scan", "on").await;
        let loading = Loading::new(&server).await;
        let mut holder = server.session().await;
        holder.run("BEGIN TRAN; UPDATE dbo.t SET a = 7 WHERE id = 2").await;
        let range = whole();
        let reading = loading.rows(loading.table("t"), &range);
        let moving = async {
            if !snapshots {
                somebody_waits(&server).await;
            }
            let mut other = server.session().await;
            other.run("UPDATE dbo.t SET hot = 1 WHERE id = 3").await;
            holder.run("COMMIT").await;
        };
        let (rows, ()) = tokio::join!(reading, moving);
        let ids = integers(&rows.expect("the rows"), 0);
        assert_eq!(ids, [1, 2, 3], "snapshots {snapshots}");
    }
}

/// Small statements tile a range as one statement does, whatever the key.
#[tokio::test(flavor = "multi_thread")]
async fn small_statements_read_every_row_once() {
    let mut server = boxed().await;
    server
        .table(
            "t",
            "name nvarchar(9) COLLATE Latin1_General_CI_AS NOT NULL, n int NOT NULL, \
             at datetime2(7) NOT NULL, twice AS (n * 2), note nvarchar(max) NULL, \
             PRIMARY KEY (name, n DESC, at)",
        )
        .await;
    for (i, name) in ["a", "A", "b", "ab", "aB"].iter().enumerate() {
        let rows: Vec<String> = (0..60)
            .map(|k| {
                let n = k % 7 + if i % 2 == 0 { 0 } else { 100 };
                format!(
                    "(N'{name}', {n}, '2026-01-01 00:00:00.000000{}', REPLICATE(N'x', {}))",
                    k / 7,
                    k
                )
            })
            .collect();
        server
            .admin
            .run(&format!("INSERT INTO dbo.t (name, n, at, note) VALUES {}", rows.join(", ")))
            .await;
    }
    let loading = Loading::new(&server).await;
    let table = loading.table("t");
    let key = |row: &Row| format!("{:?}", &row[..3]);
    let all = loading.rows(table, &whole()).await.expect("rows");
    let expected: BTreeSet<String> = all.iter().map(key).collect();
    assert_eq!((all.len(), expected.len()), (300, 300));
    for rows in [7, 40, 299] {
        let mut read = Vec::new();
        for chunk in loading.chunks(table, rows).await {
            read.extend(loading.rows(table, &chunk).await.expect("rows"));
        }
        assert_eq!(read.len(), 300, "chunks of {rows}");
        assert_eq!(read.iter().map(key).collect::<BTreeSet<_>>(), expected, "chunks of {rows}");
        assert_eq!(read[0][4], all[0][4]);
    }
}

/// However slow the log is, writers wait for a statement of few rows at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_waits_for_the_log_keeps_no_writer_waiting() {
    for snapshots in [false, true] {
        let mut server = boxed().await;
        if snapshots {
            server.admin.run(SNAPSHOT).await;
        }
        many(&mut server).await;
        let loading = Loading::new(&server).await;
        let mut reading = loading.loader.rows(loading.table("t"), &whole()).await.expect("rows");
        let mut keep = Keep::default();
        assert!(reading.next(&mut keep).await.expect("some rows"));
        // Nobody takes the others, and every row can be written.
        server
            .admin
            .run("SET LOCK_TIMEOUT 5000; UPDATE dbo.t SET v = v + 1 WHERE id % 50 = 0")
            .await;
        let rows = drain(reading.as_mut()).await.expect("the rest");
        let mut ids = integers(&keep.0, 0);
        ids.extend(integers(&rows, 0));
        assert_eq!(ids, (0..SMALL + LARGE).collect::<Vec<i64>>());
    }
}

/// The same of the stream: the capture job must be able to write to the change table that is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_waits_for_the_log_does_not_keep_the_capture_job_waiting() {
    let mut server = boxed().await;
    many(&mut server).await;
    let loading = Loading::new(&server).await;
    let mut source = loading.source;
    let begin = Position::new(1, &[0; 10]).expect("ten bytes");
    let window = source.poll(begin).await.expect("a poll").window.expect("commits");
    let mut reading = source.read(&window).await.expect("changes");
    let mut changes = reading.next().await.expect("changes").expect("some").len();
    // Nor the cleanup job, which writes to rows that have been read.
    server
        .admin
        .run("SET LOCK_TIMEOUT 5000; UPDATE cdc.dbo_t_CT SET [__$end_lsn] = NULL WHERE id < 9")
        .await;
    server.captured("UPDATE dbo.t SET v = 1 WHERE id = 1").await;
    while let Some(more) = reading.next().await.expect("changes") {
        changes += more.len();
    }
    assert_eq!(changes as i64, SMALL + LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_how_rows_are_read() {
    let mut server = boxed().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    let mut found = Vec::new();
    for sql in ["", SNAPSHOT, "ALTER DATABASE shop SET READ_COMMITTED_SNAPSHOT ON"] {
        if !sql.is_empty() {
            server.admin.run(sql).await;
        }
        let results = check_load(&server.source(), &capture()).await;
        let result = results.into_iter().find(|r| r.name == "reads beside writers");
        let result = result.expect("it is examined");
        found.push((result.verdict, result.detail));
    }
    assert!(found[0].0 == Verdict::Warn && found[0].1.contains("small statements"), "{found:?}");
    assert!(found[1].0 == Verdict::Pass && found[1].1.contains("SNAPSHOT is allowed"), "{found:?}");
    assert!(found[2].0 == Verdict::Pass && found[2].1.contains("is on"), "{found:?}");
}
