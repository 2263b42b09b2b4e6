//! Tables that come to a loading pipeline late: nothing of them is in the log before a load of them.

use std::sync::Arc;
use std::time::Duration;

use lockstep_capture::{CaptureSettings, fail_points};
use lockstep_common::config::{self, Task};
use lockstep_common::model::record::Change;
use lockstep_common::service::reload::{Refused, Reloads};
use lockstep_common::service::status::{CaptureStatus, LoadState, TaskState};
use lockstep_common::{FailPoints, Shutdown, Value};
use lockstep_log::Schemas;
use tokio::sync::watch;
use uuid::Uuid;

use super::replica;
use super::world::{Row, sorted};
use crate::contents;
use crate::server::{Server, text};
use crate::service::{Bed, Running, capture};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL";

struct Late {
    server: Server,
    bed: Bed,
    reloads: Reloads,
    task: Task,
    tables: Vec<String>,
    commits: i64,
}

impl Late {
    /// `dbo.t` with two rows.
    async fn new() -> Self {
        let mut server = Server::new().await;
        server.table("t", COLUMNS).await;
        server.captured("INSERT INTO dbo.t VALUES (1, N'one'), (2, N'two')").await;
        let (bed, reloads) = (Bed::new().await, Reloads::default());
        Late { server, bed, reloads, task: Task::FullLoadAndCdc, tables: Vec::new(), commits: 0 }
    }

    fn start(&self, fail: FailPoints) -> Running {
        let (sender, status) = watch::channel(CaptureStatus::default());
        let shutdown = Shutdown::new();
        let source = config::Source { tables: self.tables.clone(), ..self.server.source() };
        let settings = CaptureSettings {
            pipeline: "test".to_owned(),
            task: self.task,
            source,
            capture: config::Capture { chunk_rows: 2, ..capture() },
            reloads: self.reloads.clone(),
        };
        let log = Arc::clone(&self.bed.log);
        let service = lockstep_capture::run(settings, log, sender, fail, shutdown.clone());
        Running::of(service, status, shutdown)
    }

    /// Commits to `dbo.t`, by the double's clock two seconds later.
    async fn commit(&mut self) {
        self.commits += 1;
        self.server.fault("clock_advance", "2").await;
        let v = self.commits;
        self.server.captured(&format!("UPDATE dbo.t SET v = N'v{v}' WHERE id = 1")).await;
    }

    /// Goes on until the load that is asked for has ended.
    async fn loaded(&mut self, running: &mut Running, id: Option<Uuid>) {
        let done = |status: &CaptureStatus| {
            let load = status.load.as_ref();
            load.is_some_and(|l| {
                l.state == LoadState::Done && id.is_none_or(|id| l.id == id.to_string())
            })
        };
        for _ in 0..200 {
            self.commit().await;
            let waited = running.status.wait_for(done);
            if tokio::time::timeout(Duration::from_millis(100), waited).await.is_ok() {
                // The status may be ahead of the commit of the load's end.
                self.commit().await;
                running.reaches(self.server.newest().await).await;
                return;
            }
        }
        panic!("the load does not end: {:?}", *running.status.borrow());
    }

    /// Makes `dbo.<name>` with rows, captures it, and adds another row.
    async fn late_table(&mut self, name: &str) {
        self.server.admin.run(&format!("CREATE TABLE dbo.{name} ({COLUMNS})")).await;
        let rows: Vec<_> = (1..=9).map(|n| format!("({n}, N'before')")).collect();
        self.server.admin.run(&format!("INSERT INTO dbo.{name} VALUES {}", rows.join(", "))).await;
        self.server.admin.run(&format!("GRANT SELECT ON dbo.{name} TO reader")).await;
        self.server.capture(name, &format!("dbo_{name}")).await;
        self.server.captured(&format!("INSERT INTO dbo.{name} VALUES (10, N'after')")).await;
        self.server.captured(&format!("UPDATE dbo.{name} SET v = N'new' WHERE id = 3")).await;
    }

    /// What an apply would have of a table; none before a load of it has begun.
    async fn replicated(&self, name: &str) -> Option<Vec<Row>> {
        let schemas = Schemas::open(self.bed.log.as_ref()).await.expect("readable");
        let replica = replica::read_log(self.bed.log.as_ref()).await;
        let of =
            |id| schemas.tables().any(|(other, version)| other == id && version.name.table == name);
        let rows = replica.tables.into_iter().find(|(id, _)| of(*id)).map(|(_, rows)| rows);
        rows.map(sorted)
    }

    /// What the source has.
    async fn source(&mut self, name: &str) -> Vec<Row> {
        let rows = self.server.admin.run(&format!("SELECT id, v FROM dbo.{name}")).await;
        let row = |row: &tiberius::Row| {
            let id: i32 = row.get(0).expect("not null");
            vec![Value::I64(id.into()), row.get::<&str, _>(1).map_or(Value::Null, text)]
        };
        sorted(rows.iter().map(row).collect())
    }

    async fn same(&mut self, running: &mut Running, name: &str) {
        running.reaches(self.server.newest().await).await;
        let source = self.source(name).await;
        assert_eq!(self.replicated(name).await, Some(source), "{name}");
    }
}

fn held(status: &CaptureStatus) -> Vec<&str> {
    status.held.iter().map(|held| held.table.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_captured_while_capture_runs_is_held_until_it_is_loaded() {
    let mut late = Late::new().await;
    let mut running = late.start(FailPoints::default());
    late.loaded(&mut running, None).await;
    let epoch = running.status.borrow().epoch;
    late.late_table("b").await;
    late.commit().await;
    running.shows("dbo.b as held", |status| held(status) == ["dbo.b"]).await;
    running.reaches(late.server.newest().await).await;
    let status = running.status.borrow().clone();
    assert_eq!(status.held[0].command, "lockstep reload dbo.b");
    assert_eq!((status.state, status.epoch), (TaskState::Running, epoch), "no attempt ended");
    assert_eq!(late.replicated("b").await, None);

    // Whatever its case, and while it goes on changing.
    let id = late.reloads.ask("DBO.B").await.expect("it is loaded");
    assert_eq!(held(&running.status.borrow()), [] as [&str; 0]);
    assert!(matches!(late.reloads.ask("dbo.b").await, Err(Refused::AlreadyLoading(_))));
    late.server.captured("DELETE FROM dbo.b WHERE id = 4").await;
    late.loaded(&mut running, Some(id)).await;
    late.server.captured("UPDATE dbo.b SET v = N'later' WHERE id < 5").await;
    late.same(&mut running, "b").await;
    assert_eq!(running.status.borrow().epoch, epoch);
    running.stop().await.expect("it stops as asked");

    // It belongs to the log now.
    let mut running = late.start(FailPoints::default());
    late.server.captured("DELETE FROM dbo.b WHERE id = 5").await;
    late.same(&mut running, "b").await;
    late.same(&mut running, "t").await;
    running.stop().await.expect("it stops as asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_captured_while_capture_stands_is_held_and_loaded_through_crashes() {
    let mut late = Late::new().await;
    let mut running = late.start(FailPoints::default());
    late.loaded(&mut running, None).await;
    running.stop().await.expect("it stops as asked");
    late.late_table("b").await;
    // Before the load's begin is in the log the table is held again; after it the load goes on.
    let mut begun = false;
    for (point, hit) in [
        (fail_points::LOAD_BEGIN_APPENDED, 1),
        (fail_points::LOAD_COMMIT_BEFORE, 1),
        (fail_points::LOAD_COMMIT_AFTER, 1),
        (fail_points::LOAD_CHUNK_BEGUN, 2),
        (fail_points::LOAD_ROWS_APPENDED, 3),
        (fail_points::LOAD_CHUNK_ENDED, 2),
        (fail_points::LOAD_TABLE_READ, 1),
    ] {
        let mut running = late.start(FailPoints::armed(point, hit));
        if !begun {
            running.shows("dbo.b as held", |status| held(status) == ["dbo.b"]).await;
            assert_eq!(late.replicated("b").await.unwrap_or_default(), [] as [Row; 0], "{point}");
            let answer = late.reloads.ask("dbo.b").await;
            assert!(matches!(answer, Err(Refused::NotRunning(_))), "{point}: {answer:?}");
            begun = point == fail_points::LOAD_COMMIT_AFTER;
        }
        assert_eq!(
            running.ends().await.expect_err("it crashes").code.as_str(),
            "failpoint",
            "{point}"
        );
        late.server.captured("UPDATE dbo.b SET v = v + N'.' WHERE id % 2 = 0").await;
    }
    let mut running = late.start(FailPoints::default());
    late.loaded(&mut running, None).await;
    late.same(&mut running, "b").await;
    assert_eq!(held(&running.status.borrow()), [] as [&str; 0]);
    running.stop().await.expect("it stops as asked");
}

/// An instance that begins above everything that the mapping shows: the log's end lies before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_capture_begins_after_the_logs_end_is_loaded_at_once() {
    let mut late = Late::new().await;
    let mut running = late.start(FailPoints::default());
    late.loaded(&mut running, None).await;
    late.server.fault("fresh_start_lsn", "at_once").await;
    late.server.admin.run(&format!("CREATE TABLE dbo.b ({COLUMNS})")).await;
    late.server.admin.run("INSERT INTO dbo.b VALUES (1, N'a'), (2, N'b'), (3, N'c')").await;
    late.server.admin.run("GRANT SELECT ON dbo.b TO reader").await;
    late.server.capture("b", "dbo_b").await;
    running.shows("dbo.b as held", |status| held(status) == ["dbo.b"]).await;
    running.stop().await.expect("it stops as asked");

    let mut running = late.start(FailPoints::armed(fail_points::LOAD_COMMIT_AFTER, 1));
    running.shows("dbo.b as held", |status| held(status) == ["dbo.b"]).await;
    let _ = late.reloads.ask("dbo.b").await;
    assert_eq!(running.ends().await.expect_err("it crashes").code.as_str(), "failpoint");
    let mut running = late.start(FailPoints::default());
    late.loaded(&mut running, None).await;
    late.server.captured("UPDATE dbo.b SET v = N'z' WHERE id = 2").await;
    late.same(&mut running, "b").await;
    running.stop().await.expect("it stops as asked");
}

/// What passes while a table is left out of `source.tables` is not in the log: it does not come back as
/// if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_left_out_for_a_while_is_held() {
    let mut late = Late::new().await;
    late.server.table("b", COLUMNS).await;
    late.server.captured("INSERT INTO dbo.b VALUES (1, N'x')").await;
    let mut running = late.start(FailPoints::default());
    late.loaded(&mut running, None).await;
    late.same(&mut running, "b").await;
    running.stop().await.expect("it stops as asked");

    late.tables = vec!["dbo.t".to_owned()];
    let mut running = late.start(FailPoints::default());
    late.server.captured("UPDATE dbo.b SET v = N'missed'").await;
    late.same(&mut running, "t").await;
    running.stop().await.expect("it stops as asked");

    late.tables.clear();
    let mut running = late.start(FailPoints::default());
    running.shows("dbo.b as held", |status| held(status) == ["dbo.b"]).await;
    late.server.captured("UPDATE dbo.b SET v = v + N'!'").await;
    late.same(&mut running, "t").await;
    assert_ne!(late.replicated("b").await, Some(late.source("b").await));
    let id = late.reloads.ask("dbo.b").await.expect("it is loaded");
    late.loaded(&mut running, Some(id)).await;
    late.same(&mut running, "b").await;
    running.stop().await.expect("it stops as asked");
}

/// Without loads there is nothing that could bring rows in: late tables are followed as ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_loads_follows_late_tables() {
    let mut late = Late::new().await;
    late.task = Task::Cdc;
    let mut running = late.start(FailPoints::default());
    running.reaches(late.server.newest().await).await;
    late.server.table("b", COLUMNS).await;
    late.server.captured("INSERT INTO dbo.b VALUES (1, N'x')").await;
    running.reaches(late.server.newest().await).await;
    assert_eq!(held(&running.status.borrow()), [] as [&str; 0]);
    running.stop().await.expect("it stops as asked");
    let contents = contents::read(late.bed.log.as_ref()).await;
    let of = |change: &Change<'_>| contents.versions[&change.table].name.table == "b";
    let changes = contents.transactions.iter().flat_map(|t| &t.changes);
    assert_eq!(changes.filter(|change| of(change)).count(), 1);
}
