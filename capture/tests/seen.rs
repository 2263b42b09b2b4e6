//! Which tables are seen: what the login may not read is named, and names mean what the server says.

use lockstep_capture::check;
use lockstep_common::config;
use lockstep_common::service::check::{CheckResult, Verdict};
use lockstep_common::{Disposition, FailPoints};

use crate::server::{Server, follow};
use crate::service::{Bed, Running, capture};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, v int NULL";

/// Five captured tables, of which the reader may read one; each of the others lacks something else.
async fn server() -> Server {
    let mut server = Server::new().await;
    for name in ["plain", "denied", "part", "gated", "changes"] {
        server.table(name, COLUMNS).await;
    }
    server.admin.run("CREATE ROLE gate").await;
    server.admin.run("EXEC sys.sp_cdc_disable_table N'dbo', N'gated', N'all'").await;
    server
        .admin
        .run(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'gated', \
             @role_name = N'gate', @supports_net_changes = 0",
        )
        .await;
    server.admin.run("GRANT SELECT ON cdc.dbo_gated_CT TO reader").await;
    server.admin.run("DENY SELECT ON dbo.denied TO reader").await;
    server.admin.run("DENY SELECT ON dbo.part (v) TO reader").await;
    server.admin.run("REVOKE SELECT ON cdc.dbo_changes_CT FROM reader").await;
    server.admin.run("GRANT SELECT ON cdc.change_tables TO reader").await;
    server.admin.run("GRANT SELECT ON cdc.captured_columns TO reader").await;
    server.captured("INSERT INTO dbo.plain VALUES (1, 1)").await;
    server
}

/// Table, its name where the login sees it, and what lets it be read.
const GRANTS: [(&str, &str, &str); 4] = [
    ("dbo.denied", "capture instance dbo_denied", "WHERE capture_instance = N'dbo_denied'"),
    ("dbo.part", "dbo.part", "GRANT SELECT ON [dbo].[part] ([v]) TO [reader]"),
    ("dbo.gated", "dbo.gated", "ALTER ROLE [gate] ADD MEMBER [reader]"),
    ("dbo.changes", "dbo.changes", "GRANT SELECT ON cdc.[dbo_changes_CT] TO [reader]"),
];

#[tokio::test(flavor = "multi_thread")]
async fn captured_tables_that_may_not_be_read_are_named_with_what_lets_them_be() {
    let mut server = server().await;
    let bed = Bed::new().await;
    let results = check(&server.source()).await;
    let mut fixes = Vec::new();
    for (table, name, grant) in GRANTS {
        let named = |r: &&CheckResult| r.name.ends_with(name) && r.fix.contains(grant);
        let found = results.iter().find(named).unwrap_or_else(|| panic!("{table}: {results:#?}"));
        fixes.push(found.fix.clone());
    }
    let mut running = server.follow(&bed.log);
    running.reaches(server.newest().await).await;
    for (table, name, grant) in GRANTS {
        running
            .shows(&format!("{table} in a notice"), |status| {
                status.notices.iter().any(|n| n.contains(name) && n.contains(grant))
            })
            .await;
    }
    running.stop().await.expect("it stops as asked");
    // Asked for by name, it halts.
    for (table, _, _) in GRANTS {
        let source = config::Source { tables: vec![table.to_owned()], ..server.source() };
        let bed = Bed::new().await;
        let running = follow(source, &bed.log, capture(), FailPoints::default());
        let failure = running.ends().await.expect_err("it halts");
        assert_eq!(failure.disposition(), Disposition::Halt, "{failure}");
    }
    // The grants are what was missing.
    for fix in &fixes {
        server.admin.run(fix).await;
    }
    let results = check(&server.source()).await;
    for (table, _, _) in GRANTS {
        let passed = |r: &&CheckResult| r.name == table && r.verdict == Verdict::Pass;
        assert!(results.iter().any(|r| passed(&r)), "{table}: {results:#?}");
    }
}

/// The minimal rights show less, and still a table of which some right is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_gated_table_is_named_without_any_right_on_the_catalogue() {
    let mut server = server().await;
    server.admin.run("REVOKE SELECT ON cdc.change_tables FROM reader").await;
    server.admin.run("REVOKE SELECT ON cdc.captured_columns FROM reader").await;
    let results = check(&server.source()).await;
    let gated = results.iter().find(|r| r.name == "dbo.gated").expect("it is named");
    assert!(gated.fix.contains("gating role"), "{gated:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_a_change_table_that_is_denied_fails_the_check() {
    let mut server = Server::new().await;
    server.table("t", COLUMNS).await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1)").await;
    server.admin.run("DENY SELECT ON cdc.dbo_t_CT (v) TO reader").await;
    let results = check(&server.source()).await;
    let failed = |r: &&CheckResult| r.name == "dbo.t" && r.verdict == Verdict::Fail;
    let failed = results.iter().find(failed).unwrap_or_else(|| panic!("{results:#?}"));
    assert!(failed.fix.contains("cdc.[dbo_t_CT]"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_captured_are_counted_and_named_with_the_statement() {
    let mut server = Server::new().await;
    server.table("t", COLUMNS).await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1)").await;
    server.admin.run(&format!("CREATE TABLE dbo.[it's] ({COLUMNS})")).await;
    server.admin.run(&format!("CREATE TABLE dbo.free ({COLUMNS})")).await;
    server.admin.run("GRANT SELECT ON SCHEMA::dbo TO reader").await;
    let results = check(&server.source()).await;
    let found = results.iter().find(|r| r.name == "tables that are not captured");
    let found = found.unwrap_or_else(|| panic!("{results:#?}"));
    assert_eq!(found.detail, "2 tables: dbo.free, dbo.it's");
    let (_, statement) = found.fix.split_once("db_owner: ").expect("a statement");
    server.admin.run(statement).await;
    server.admin.run(&statement.replace("free", "it''s")).await;
    let results = check(&server.source()).await;
    assert!(results.iter().all(|r| r.name != "tables that are not captured"), "{results:#?}");
}

/// Right after enabling, the job has not come: that is no fault. Later it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_right_after_enabling_passes() {
    let mut server = Server::new().await;
    server.admin.run(&format!("CREATE TABLE dbo.t ({COLUMNS})")).await;
    server.admin.run("GRANT SELECT ON dbo.t TO reader").await;
    server.fault("stalled", "on").await;
    server
        .admin
        .run(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', \
             @role_name = NULL, @supports_net_changes = 0",
        )
        .await;
    server.admin.run("GRANT SELECT ON cdc.dbo_t_CT TO reader").await;
    let verdicts = async |server: &Server| {
        let results = check(&server.source()).await;
        let of = |name: &str| {
            let mut of = results.iter().filter(|r| r.name == name).map(|r| r.verdict);
            of.all(|verdict| verdict == Verdict::Pass)
        };
        (of("capture progress"), of("dbo.t"))
    };
    assert_eq!(verdicts(&server).await, (true, true));
    server.fault("clock_advance", "3600").await;
    assert_eq!(verdicts(&server).await, (false, false));
}

/// Two projects' suites show a fresh instance above the newest row of `cdc.lsn_time_mapping`.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_before_an_instance_begins_is_no_other_history() {
    for fresh in ["unmapped", "at_once"] {
        let (mut server, bed) = (Server::new().await, Bed::new().await);
        server.table("old", COLUMNS).await;
        server.captured("INSERT INTO dbo.old VALUES (1, 1)").await;
        server.admin.run("EXEC sys.sp_cdc_disable_table N'dbo', N'old', N'all'").await;
        server.fault("fresh_start_lsn", fresh).await;
        server.table("t", COLUMNS).await;
        let start = config::Capture { start: Some("earliest".to_owned()), ..capture() };
        let mut running = server.follow_with(&bed.log, start, FailPoints::default());
        running.shows("to run", |status| status.epoch > 0).await;
        server.captured("INSERT INTO dbo.t VALUES (1, 1)").await;
        running.reaches(server.newest().await).await;
        running.stop().await.unwrap_or_else(|failure| panic!("{fresh}: {failure}"));
    }
}

fn only(server: &Server, bed: &Bed, tables: &[&str]) -> Running {
    let tables = tables.iter().map(|table| (*table).to_owned()).collect();
    let source = config::Source { tables, ..server.source() };
    follow(source, &bed.log, capture(), FailPoints::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_tables_compare_as_the_database_does() {
    let mut server = Server::new().await;
    server.table("Orders", COLUMNS).await;
    server.captured("INSERT INTO dbo.Orders VALUES (1, 1)").await;
    for name in ["dbo.Orders", "DBO.ORDERS", "dbo.orders"] {
        let bed = Bed::new().await;
        let mut running = only(&server, &bed, &[name]);
        running.reaches(server.newest().await).await;
        running.stop().await.expect("it stops as asked");
        let source = config::Source { tables: vec![name.to_owned()], ..server.source() };
        let results = check(&source).await;
        assert!(results.iter().all(|r| r.verdict != Verdict::Fail), "{name}: {results:#?}");
    }
    let bed = Bed::new().await;
    let failure = only(&server, &bed, &["Shop.dbo.Orders"]).ends().await.expect_err("it halts");
    assert!(failure.message.contains("write schema.table: dbo.Orders"), "{failure}");
}
