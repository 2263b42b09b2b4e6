//! What others do to a table that is followed, and that changes nothing of what is replicated: nothing
//! halts, nothing begins anew, and a restart goes on as well.

use lockstep_common::model::record::Change;
use lockstep_common::service::status::{CaptureStatus, TaskState};

use crate::contents;
use crate::server::Server;
use crate::service::{Bed, Running};

/// `dbo.t (id, v)` is captured, `other` is not; `dbo.p` is something to refer to.
async fn server() -> Server {
    let mut server = Server::new().await;
    server.admin.run("CREATE TABLE dbo.p (id int NOT NULL PRIMARY KEY)").await;
    server.admin.run("INSERT INTO dbo.p VALUES (1)").await;
    let columns = "id int NOT NULL CONSTRAINT pk PRIMARY KEY, v int NOT NULL, other int NULL, \
        u int NOT NULL CONSTRAINT uq UNIQUE, CONSTRAINT ck CHECK (v < 1000)";
    server.admin.run(&format!("CREATE TABLE dbo.t ({columns})")).await;
    server.admin.run("CREATE INDEX ix ON dbo.t (v)").await;
    enable(&mut server, "dbo_t", "id,v").await;
    server.admin.run("GRANT SELECT ON dbo.t TO reader").await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1, 0, 1)").await;
    server
}

async fn enable(server: &mut Server, instance: &str, columns: &str) {
    server
        .admin
        .run(&format!(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', \
             @capture_instance = N'{instance}', @role_name = NULL, @supports_net_changes = 0, \
             @captured_column_list = N'{columns}'"
        ))
        .await;
    server.stop_job().await;
    server.admin.run(&format!("GRANT SELECT ON cdc.[{instance}_CT] TO reader")).await;
    server.scan().await;
}

/// Inserts rows under the table's present name until an inspection has come after one of them.
async fn goes_on(server: &mut Server, running: &mut Running, table: &str, id: &mut i64) {
    for _ in 0..3 {
        *id += 1;
        let row = format!("INSERT INTO {table} (id, v, u) VALUES ({id}, 1, {id})");
        server.captured(&row).await;
        running.reaches(server.newest().await).await;
    }
}

/// Runs `ddl` while capture runs and while it stands; every row must be in the log once, and no attempt
/// end. `notice` must then be in the status.
async fn passes(ddl: &[&str], table: &str, notice: Option<&str>) {
    for running_meanwhile in [true, false] {
        let what = format!("{ddl:?}, running: {running_meanwhile}");
        let (mut server, bed) = (server().await, Bed::new().await);
        let mut id = 1;
        let mut running = server.follow(&bed.log);
        goes_on(&mut server, &mut running, "dbo.t", &mut id).await;
        let running = match running_meanwhile {
            true => Some(running),
            false => running.stop().await.map(|()| None).expect("it stops as asked"),
        };
        for statement in ddl {
            server.captured(statement).await;
        }
        id += 1;
        server.captured(&format!("INSERT INTO {table} (id, v, u) VALUES ({id}, 1, {id})")).await;
        let mut running = running.unwrap_or_else(|| server.follow(&bed.log));
        running.shows("to run", |status| status.state == TaskState::Running).await;
        let epoch = running.status.borrow().epoch;
        goes_on(&mut server, &mut running, table, &mut id).await;
        if let Some(notice) = notice {
            let says = |s: &CaptureStatus| s.notices.iter().any(|n| n.contains(notice));
            running.shows(&format!("a notice of {what}"), says).await;
        }
        let status = running.status.borrow().clone();
        assert_eq!((status.state, status.epoch), (TaskState::Running, epoch), "{what}: {status:?}");
        running.stop().await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        let mut running = server.follow(&bed.log);
        goes_on(&mut server, &mut running, table, &mut id).await;
        running.stop().await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        let contents = contents::read(bed.log.as_ref()).await;
        let changes: Vec<&Change<'_>> =
            contents.transactions.iter().flat_map(|t| &t.changes).collect();
        assert_eq!(changes.len(), usize::try_from(id).unwrap(), "{what}");
        assert_eq!(contents.versions.len(), 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_come_and_go() {
    let notice = Some("nothing that is replicated changed");
    passes(&["ALTER TABLE dbo.t ADD CONSTRAINT c2 CHECK (v > 0)"], "dbo.t", notice).await;
    passes(&["ALTER TABLE dbo.t DROP CONSTRAINT ck"], "dbo.t", notice).await;
    passes(&["ALTER TABLE dbo.t NOCHECK CONSTRAINT ck"], "dbo.t", notice).await;
    passes(&["ALTER TABLE dbo.t ADD CONSTRAINT df DEFAULT 7 FOR v"], "dbo.t", notice).await;
    let foreign = "ALTER TABLE dbo.t ADD CONSTRAINT fk FOREIGN KEY (v) REFERENCES dbo.p (id)";
    passes(&[foreign, "ALTER TABLE dbo.t DROP CONSTRAINT fk"], "dbo.t", notice).await;
    passes(&["ALTER TABLE dbo.t DROP CONSTRAINT uq"], "dbo.t", notice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_come_and_go() {
    passes(&["CREATE UNIQUE INDEX ux ON dbo.t (v, id)"], "dbo.t", None).await;
    passes(&["ALTER INDEX ix ON dbo.t DISABLE"], "dbo.t", None).await;
    passes(&["ALTER INDEX ix ON dbo.t REBUILD", "DROP INDEX ix ON dbo.t"], "dbo.t", None).await;
    passes(&["ALTER INDEX uq ON dbo.t DISABLE"], "dbo.t", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_not_captured_come_change_and_go() {
    let notice = Some("nothing that is replicated changed");
    passes(&["ALTER TABLE dbo.t ALTER COLUMN other bigint NULL"], "dbo.t", notice).await;
    passes(&["EXEC sp_rename 'dbo.t.other', 'another', 'COLUMN'"], "dbo.t", None).await;
    passes(&["ALTER TABLE dbo.t DROP COLUMN other"], "dbo.t", notice).await;
    let pending = Some("does not have: extra");
    passes(&["ALTER TABLE dbo.t ADD extra int NULL"], "dbo.t", pending).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_gets_another_name() {
    let notice = Some("renamed to dbo.t2");
    passes(&["EXEC sp_rename 'dbo.t', 't2'"], "dbo.t2", notice).await;
}

/// Instances that another tool makes, narrower and wider, and with the same columns.
#[tokio::test(flavor = "multi_thread")]
async fn another_tool_makes_an_instance_of_its_own() {
    for columns in ["id", "id,v,other", "id,u", "id,v"] {
        let (mut server, bed) = (server().await, Bed::new().await);
        let mut id = 1;
        let mut running = server.follow(&bed.log);
        goes_on(&mut server, &mut running, "dbo.t", &mut id).await;
        enable(&mut server, "tool", columns).await;
        goes_on(&mut server, &mut running, "dbo.t", &mut id).await;
        running.stop().await.unwrap_or_else(|failure| panic!("{columns}: {failure}"));
        for _ in 0..2 {
            let mut running = server.follow(&bed.log);
            goes_on(&mut server, &mut running, "dbo.t", &mut id).await;
            running.stop().await.unwrap_or_else(|failure| panic!("{columns}: {failure}"));
        }
        let contents = contents::read(bed.log.as_ref()).await;
        let changes = contents.transactions.iter().map(|t| t.changes.len()).sum::<usize>();
        assert_eq!(changes, usize::try_from(id).unwrap(), "{columns}");
        assert_eq!(contents.versions.len(), 1, "{columns}");
    }
}
