//! `check`: every prerequisite, at once.

use lockstep_capture::check;
use lockstep_common::config::Secret;
use lockstep_common::service::check::{CheckResult, Verdict};

use crate::server::Server;

fn find<'r>(results: &'r [CheckResult], name: &str) -> &'r CheckResult {
    let found = results.iter().find(|result| result.name == name);
    found.unwrap_or_else(|| panic!("no result {name:?} in {results:#?}"))
}

fn fails(results: &[CheckResult]) -> Vec<&str> {
    let failed = results.iter().filter(|result| result.verdict == Verdict::Fail);
    failed.map(|result| result.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_ready_passes_with_the_least_rights() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1)").await;
    let results = check(&server.source()).await;
    assert_eq!(fails(&results), [] as [&str; 0], "{results:#?}");
    for name in ["login", "database", "change data capture", "capture progress", "dbo.t"] {
        assert_eq!(find(&results, name).verdict, Verdict::Pass, "{name}");
    }
    assert!(
        results.iter().all(|r| r.verdict == Verdict::Pass || !r.fix.is_empty()),
        "{results:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_reported_at_once() {
    let mut server = Server::new().await;
    server.table("good", "id int NOT NULL PRIMARY KEY").await;
    server.table("keyless", "id int NOT NULL").await;
    server.table("closed", "id int NOT NULL PRIMARY KEY").await;
    server.admin.run("REVOKE SELECT ON cdc.dbo_closed_CT FROM reader").await;
    server.admin.run("CREATE TABLE dbo.free (id int NOT NULL PRIMARY KEY)").await;
    server.fault("clock_advance", "3600").await;
    let mut source = server.source();
    let tables = ["dbo.good", "dbo.keyless", "dbo.closed", "dbo.free"];
    source.tables = tables.map(str::to_owned).to_vec();
    let results = check(&source).await;
    let failed = fails(&results);
    for name in ["capture progress", "dbo.closed", "dbo.free"] {
        assert!(failed.contains(&name), "{name}: {results:#?}");
    }
    assert!(!failed.contains(&"dbo.good"), "{results:#?}");
    let keyless = |r: &&CheckResult| r.name == "dbo.keyless" && r.verdict == Verdict::Warn;
    assert!(results.iter().find(keyless).is_some_and(|r| r.detail.contains("key")), "{results:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_whose_values_may_not_all_arrive_are_named() {
    let mut server = Server::of_2025().await;
    server
        .table(
            "t",
            "id int NOT NULL PRIMARY KEY, twice AS (id * 2), old ntext NULL, \
             greek varchar(10) COLLATE Greek_CI_AS NULL, latin varchar(10) NULL, \
             v vector(3) NULL, x sql_variant NULL, g geometry NULL, j json NULL",
        )
        .await;
    server.captured("INSERT INTO dbo.t (id) VALUES (1)").await;
    let results = check(&server.source()).await;
    assert_eq!(fails(&results), [] as [&str; 0], "{results:#?}");
    let warned: Vec<(&str, &str)> = results
        .iter()
        .filter(|result| result.name == "dbo.t" && result.verdict == Verdict::Warn)
        .filter_map(|result| result.detail.rsplit_once(": "))
        .collect();
    let columns = |of: &str| {
        let found = warned.iter().find(|(detail, _)| detail.starts_with(of));
        found.map(|(_, columns)| *columns)
    };
    assert_eq!(columns("computed"), Some("twice"), "{results:#?}");
    assert_eq!(columns("text, ntext and image"), Some("old"), "{results:#?}");
    assert_eq!(columns("columns with another code page"), Some("greek"), "{results:#?}");
    assert_eq!(columns("vector"), Some("v"), "{results:#?}");
    assert_eq!(warned.len(), 4, "{results:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_is_seen_by_who_may_see_it() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    let mut source = server.source();
    source.user = "sa".to_owned();
    source.password = Some(Secret::new("Sa-Passw0rd!"));
    assert_eq!(find(&check(&source).await, "SQL Server Agent").verdict, Verdict::Pass);
    server.fault("agent", "off").await;
    let results = check(&source).await;
    assert_eq!(find(&results, "SQL Server Agent").verdict, Verdict::Fail, "{results:#?}");
    assert_eq!(find(&check(&server.source()).await, "SQL Server Agent").verdict, Verdict::Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_and_a_database_without_cdc_are_told_apart() {
    let mut server = Server::new().await;
    let mut source = server.source();
    source.password = Some(Secret::new("wrong"));
    assert_eq!(fails(&check(&source).await), ["login"]);
    server.admin.run("EXEC sys.sp_cdc_disable_db").await;
    assert_eq!(fails(&check(&server.source()).await), ["change data capture"]);
}
