//! Full loads from the SQL Server double, changed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use lockstep_capture::{CaptureSettings, fail_points};
use lockstep_common::config::Task;
use lockstep_common::service::status::CaptureStatus;
use lockstep_common::{FailPoints, Shutdown, Value, config};
use tokio::sync::watch;

use super::replica;
use super::world::sorted;
use crate::load_bed::{Loading, integers, see_positions};
use crate::server::{Server, text};
use crate::service::{Bed, Running, capture};

fn start(server: &Server, bed: &Bed, fail: FailPoints) -> Running {
    let (sender, status) = watch::channel(CaptureStatus::default());
    let shutdown = Shutdown::new();
    let capture = config::Capture { chunk_rows: 40, load_readers: 3, ..capture() };
    let settings = CaptureSettings {
        pipeline: "test".to_owned(),
        task: Task::FullLoad,
        source: server.source(),
        capture,
        reloads: Default::default(),
    };
    let log = Arc::clone(&bed.log);
    let service = lockstep_capture::run(settings, log, sender, fail, shutdown.clone());
    Running::of(service, status, shutdown)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_have_just_been_enabled_are_loaded_through_crashes() {
    let mut server = Server::new().await;
    let columns = "id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL";
    server.admin.run(&format!("CREATE TABLE dbo.t ({columns})")).await;
    for block in 0..4 {
        let rows: Vec<_> =
            (0..100).map(|i| format!("({}, N'row {i}')", (block * 100 + i) * 10)).collect();
        server.admin.run(&format!("INSERT INTO dbo.t VALUES {}", rows.join(", "))).await;
    }
    server.admin.run("GRANT SELECT ON dbo.t TO reader").await;
    server.capture("t", "dbo_t").await;
    server.table("empty", columns).await;

    let bed = Bed::new().await;
    for (point, hit) in [
        (fail_points::EPOCH_WRITTEN, 1),
        (fail_points::LOAD_ROWS_APPENDED, 3),
        (fail_points::LOAD_CHUNK_ENDED, 4),
        (fail_points::LOAD_TABLE_READ, 2),
    ] {
        let running = start(&server, &bed, FailPoints::armed(point, hit));
        assert_eq!(
            running.ends().await.expect_err("it crashes").code.as_str(),
            "failpoint",
            "{point}"
        );
        server.admin.run("UPDATE dbo.t SET v = N'between' WHERE id % 70 = 0").await;
    }
    let running = start(&server, &bed, FailPoints::default());
    let mut ended = std::pin::pin!(running.ends());
    // Commits that prove that the rows are from before: those of more than a second later.
    let mut n = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            result = &mut ended => break result.expect("the task ends"),
            _ = pace.tick() => {}
        }
        n += 1;
        server
            .captured(&format!(
                "BEGIN TRAN; INSERT INTO dbo.t VALUES ({}, N'new'); DELETE FROM dbo.t WHERE id = {n}0; \
                 UPDATE dbo.t SET v = N'{n}' WHERE id % 30 = 0 AND id < 10000; COMMIT",
                10_000 + n
            ))
            .await;
    }
    let replica = replica::read_log(bed.log.as_ref()).await;
    assert!(replica.task_end && replica.ended.len() == 1 && replica.ended[0].tables.len() == 2);
    let loaded: Vec<_> = replica.tables.values().filter(|rows| !rows.is_empty()).collect();
    let [rows] = loaded.as_slice() else { panic!("one table has rows") };
    // The log ends where the task did: at one of the commits made above.
    let last = rows.iter().filter(|row| row[1] == text("new")).count();
    let mut expected = Vec::new();
    for id in (0..400).map(|i| i * 10).filter(|id| *id == 0 || *id > last as i64 * 10) {
        let v = if id % 30 == 0 {
            last.to_string()
        } else if id % 70 == 0 {
            "between".to_owned()
        } else {
            format!("row {}", id / 10 % 100)
        };
        expected.push(vec![Value::I64(id), text(&v)]);
    }
    expected.extend((1..=last as i64).map(|n| vec![Value::I64(10_000 + n), text("new")]));
    assert_eq!(sorted((*rows).clone()), sorted(expected));
}

/// A key that is there but has no ranges (its values go to the server in no form that it orders): one
/// pass, frozen at one position, whatever handoff was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn tables_whose_key_has_no_ranges_are_loaded_in_one_frozen_pass() {
    let mut server = Server::new().await;
    server.admin.run("ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON").await;
    see_positions(&mut server).await;
    let keys = [
        ("timestamp", "rowversion"),
        ("sql_variant", "sql_variant"),
        ("hierarchyid", "hierarchyid"),
    ];
    for (name, ty) in keys {
        server.table(name, &format!("id int NOT NULL, k {ty} NOT NULL PRIMARY KEY")).await;
    }
    for id in 0..120 {
        server.admin.run(&format!("INSERT INTO dbo.timestamp (id) VALUES ({id})")).await;
        let k = if id % 2 == 0 { format!("N'{id}'") } else { id.to_string() };
        server.admin.run(&format!("INSERT INTO dbo.sql_variant VALUES ({id}, {k})")).await;
        server.admin.run(&format!("INSERT INTO dbo.hierarchyid VALUES ({id}, '/{id}/')")).await;
    }
    server.scan().await;
    let loading = Loading::new(&server).await;
    let surveys = loading.loader.survey(&loading.tables).await.expect("surveys");
    for (table, survey) in loading.tables.iter().zip(&surveys) {
        let ty = &table.version.name.table;
        let why = survey.unranged.as_deref().unwrap_or_else(|| panic!("{ty} has ranges"));
        assert!(why.contains("key column k") && why.contains(ty.as_str()), "{why}");
        assert_eq!(table.version.key, [1]);
    }

    let bed = Bed::new().await;
    let running = start(&server, &bed, FailPoints::default());
    let mut ended = std::pin::pin!(running.ends());
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut n = 0;
    loop {
        tokio::select! {
            result = &mut ended => break result.expect("the task ends"),
            _ = pace.tick() => {}
        }
        // A row version, and so its row's key, changes with the row.
        server
            .captured(&format!(
                "UPDATE dbo.timestamp SET id = id + 1000 WHERE id = {n}; \
                 UPDATE dbo.sql_variant SET id = id + 1000 WHERE id = {n}"
            ))
            .await;
        n += 1;
    }
    let replica = replica::read_log(bed.log.as_ref()).await;
    assert!(replica.task_end && replica.ended.len() == 1 && replica.ended[0].tables.len() == 3);
    assert_eq!(replica.tables.len(), 3);
    for rows in replica.tables.values() {
        let mut ids: Vec<i64> = integers(rows, 0).into_iter().map(|id| id % 1000).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..120).collect::<Vec<_>>(), "every row once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_begins_at_a_time() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    server.captured("INSERT INTO dbo.t VALUES (1)").await;
    let time = server
        .admin
        .run("SELECT CONVERT(varchar(30), DATEADD(millisecond, 40, SYSUTCDATETIME()), 126)")
        .await;
    let time: &str = time[0].get(0).expect("a time");
    // The server's clock has to pass it.
    server
        .admin
        .run(&format!("WHILE SYSUTCDATETIME() <= '{time}' WAITFOR DELAY '00:00:00.005'"))
        .await;
    server.captured("INSERT INTO dbo.t VALUES (2)").await;
    server.captured("INSERT INTO dbo.t VALUES (3)").await;
    let starts = |start: &str| config::Capture { start: Some(start.to_owned()), ..capture() };
    let bed = Bed::new().await;
    let contents = server.run_through_with(&bed, starts(&format!("time:{time}Z"))).await;
    let ids: Vec<_> = contents.transactions.iter().map(|t| t.changes[0].after.clone()).collect();
    assert_eq!(ids, [vec![Value::I64(2)], vec![Value::I64(3)]]);

    let other = Bed::new().await;
    let long_ago = starts("time:2000-01-01T00:00:00Z");
    let running = server.follow_with(&other.log, long_ago, FailPoints::default());
    assert_eq!(running.ends().await.expect_err("it halts").code.as_str(), "source.start_time");
}
