//! Masks and security policies: what they hide is never copied.

use lockstep_capture::source::Source;
use lockstep_capture::source::sqlserver_cdc::prerequisites::check_load;
use lockstep_capture::{CaptureSettings, check};
use lockstep_common::config::{self, Task};
use lockstep_common::service::check::Verdict;
use lockstep_common::service::status::CaptureStatus;
use lockstep_common::{Disposition, FailPoints, Failure, Shutdown};
use std::sync::Arc;
use tokio::sync::watch;

use crate::load_bed::{Loading, whole};
use crate::server::Server;
use crate::service::{Bed, Running, capture};

const MASKED: &str = "id int NOT NULL PRIMARY KEY, \
     name nvarchar(40) MASKED WITH (FUNCTION = 'partial(1, \"x\", 0)') NULL, \
     born date MASKED WITH (FUNCTION = 'default()') NULL, \
     pay money MASKED WITH (FUNCTION = 'random(1, 5)') NULL, \
     mail varchar(40) MASKED WITH (FUNCTION = 'email()') NULL, v int NULL";

fn load(source: config::Source, bed: &Bed) -> Running {
    let (sender, status) = watch::channel(CaptureStatus::default());
    let shutdown = Shutdown::new();
    let settings = CaptureSettings {
        pipeline: "test".to_owned(),
        task: Task::FullLoadAndCdc,
        source,
        capture: config::Capture { chunk_rows: 40, ..capture() },
        reloads: Default::default(),
    };
    let log = Arc::clone(&bed.log);
    let fail = FailPoints::default();
    let service = lockstep_capture::run(settings, log, sender, fail, shutdown.clone());
    Running::of(service, status, shutdown)
}

/// What every way in says.
async fn refused(server: &Server, code: &str, says: &[&str]) {
    let source = server.source();
    let bed = Bed::new().await;
    for task in ["cdc", "full_load_and_cdc"] {
        let running = match task {
            "cdc" => server.follow(&bed.log),
            _ => load(source.clone(), &bed),
        };
        let failure = running.ends().await.expect_err("it halts");
        is(&failure, code, says);
    }
    let results = check(&source).await;
    let failed: Vec<_> = results.iter().filter(|r| r.verdict == Verdict::Fail).collect();
    let text = format!("{failed:?}");
    for word in says {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

fn is(failure: &Failure, code: &str, says: &[&str]) {
    let line = failure.to_string();
    assert_eq!((failure.code.as_str(), failure.disposition()), (code, Disposition::Halt), "{line}");
    for word in says {
        assert!(line.contains(word), "{word:?} is not in {line}");
    }
}

async fn runs(server: &mut Server) {
    let bed = Bed::new().await;
    server.run_through(&bed).await;
    let results = check_load(&server.source(), &capture()).await;
    assert!(results.iter().all(|r| r.verdict != Verdict::Fail), "{results:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_columns_halt_until_unmask_is_granted_at_any_level() {
    for grant in [
        "UNMASK TO reader",
        "UNMASK ON SCHEMA::dbo TO reader; GRANT UNMASK ON SCHEMA::cdc TO reader",
        "UNMASK ON dbo.t TO reader; GRANT UNMASK ON cdc.dbo_t_CT TO reader",
        "UNMASK ON dbo.t (name, born, pay, mail) TO reader; \
         GRANT UNMASK ON cdc.dbo_t_CT (name, born, pay, mail) TO reader",
    ] {
        let mut server = Server::new().await;
        server.table("t", MASKED).await;
        server.captured("INSERT INTO dbo.t VALUES (1, N'a', '2001-02-03', 4, 'a@b', 5)").await;
        let says = ["name, born, pay, mail", "dbo.t", "GRANT UNMASK"];
        refused(&server, "source.masked", &says).await;
        server.admin.run(&format!("GRANT {grant}")).await;
        runs(&mut server).await;
    }
}

/// A change table has the masks that its columns had when it was made: UNMASK on the table is not enough.
#[tokio::test(flavor = "multi_thread")]
async fn masks_of_change_tables_halt_too() {
    let mut server = Server::new().await;
    server.table("t", MASKED).await;
    server.captured("INSERT INTO dbo.t (id) VALUES (1)").await;
    server.admin.run("GRANT UNMASK ON dbo.t TO reader").await;
    refused(&server, "source.masked", &["cdc.dbo_t_CT", "name, born, pay, mail"]).await;
    // The table's own mask is gone, and the change table's is not.
    for column in ["name", "born", "pay", "mail"] {
        server.admin.run(&format!("ALTER TABLE dbo.t ALTER COLUMN {column} DROP MASKED")).await;
    }
    refused(&server, "source.masked", &["cdc.dbo_t_CT"]).await;
    server.admin.run("GRANT UNMASK ON cdc.dbo_t_CT TO reader").await;
    runs(&mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_of_columns_that_are_not_captured_are_of_no_matter() {
    let mut server = Server::new().await;
    server.admin.run(&format!("CREATE TABLE dbo.t ({MASKED})")).await;
    server
        .admin
        .run(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', \
             @role_name = NULL, @supports_net_changes = 0, @captured_column_list = N'id, v'",
        )
        .await;
    server.stop_job().await;
    server.admin.run("GRANT SELECT ON dbo.t TO reader").await;
    server.admin.run("GRANT SELECT ON cdc.dbo_t_CT TO reader").await;
    server.scan().await;
    server.captured("INSERT INTO dbo.t (id) VALUES (1)").await;
    runs(&mut server).await;
}

async fn filtered(server: &mut Server, state: &str) {
    server.admin.run("CREATE SCHEMA rls").await;
    server
        .admin
        .run(
            "CREATE FUNCTION rls.odd (@id AS int) RETURNS TABLE WITH SCHEMABINDING AS \
             RETURN SELECT 1 AS result WHERE @id % 2 = 1",
        )
        .await;
    server
        .admin
        .run(&format!(
            "CREATE SECURITY POLICY rls.odds ADD FILTER PREDICATE rls.odd(id) ON dbo.t \
             WITH (STATE = {state})"
        ))
        .await;
}

async fn with_rows() -> Server {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    for id in 1..=9 {
        server.admin.run(&format!("INSERT INTO dbo.t VALUES ({id}, 0)")).await;
    }
    server.scan().await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enabled_filter_halts_who_sees_it_and_a_disabled_one_does_not() {
    for right in ["VIEW DEFINITION", "ALTER ANY SECURITY POLICY", ""] {
        let mut server = with_rows().await;
        match right {
            "" => server.admin.run("ALTER ROLE db_owner ADD MEMBER reader").await,
            right => server.admin.run(&format!("GRANT {right} TO reader")).await,
        };
        filtered(&mut server, "ON").await;
        let says = ["[rls].[odds]", "dbo.t", "DROP FILTER PREDICATE"];
        refused(&server, "source.filtered", &says).await;
        server.admin.run("ALTER SECURITY POLICY rls.odds WITH (STATE = OFF)").await;
        runs(&mut server).await;
    }
}

/// With the documented rights alone a login sees no policy, but it can count.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_cannot_be_seen_is_told_by_its_rows() {
    let mut server = with_rows().await;
    filtered(&mut server, "ON").await;
    let bed = Bed::new().await;
    let failure = load(server.source(), &bed).ends().await.expect_err("it halts");
    is(&failure, "source.filtered", &["dbo.t", "9 rows", "shows 5", "VIEW DEFINITION"]);
    let results = check_load(&server.source(), &capture()).await;
    assert!(results.iter().any(|r| r.verdict == Verdict::Fail && r.name == "load of dbo.t"));
    let results = check(&server.source()).await;
    let policies = results.iter().find(|r| r.name == "security policies").expect("it is examined");
    assert_eq!(policies.verdict, Verdict::Warn);
    server.admin.run("ALTER SECURITY POLICY rls.odds WITH (STATE = OFF)").await;
    runs(&mut server).await;
}

/// Rows that are not committed are held and not shown: that is no policy.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_open_transaction_are_not_taken_for_filtered_ones() {
    let server = with_rows().await;
    let mut writer = server.session().await;
    writer.run("BEGIN TRANSACTION; INSERT INTO dbo.t VALUES (10, 0), (11, 0)").await;
    let loading = Loading::new(&server).await;
    let surveying = loading.loader.survey(&loading.tables);
    let mut surveying = std::pin::pin!(surveying);
    tokio::select! {
        biased;
        surveyed = &mut surveying => panic!("it does not wait for the writer: {surveyed:?}"),
        () = std::future::ready(()) => {}
    }
    let ended = async { writer.run("COMMIT").await };
    let (surveyed, _) = tokio::join!(surveying, ended);
    assert_eq!(surveyed.expect("the rows are there").len(), 1);
}

/// A mask or a policy that comes while the table is read.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_hide_rows_or_values_while_they_are_read_halts() {
    for (code, sql) in [
        (
            "source.masked",
            "ALTER TABLE dbo.t ALTER COLUMN v ADD MASKED WITH (FUNCTION = 'default()')",
        ),
        ("source.filtered", "ALTER SECURITY POLICY rls.odds WITH (STATE = ON)"),
    ] {
        let mut server = with_rows().await;
        server.admin.run("GRANT VIEW DEFINITION TO reader").await;
        filtered(&mut server, "OFF").await;
        let mut loading = Loading::new(&server).await;
        server.admin.run(sql).await;
        let failure = loading.rows(loading.table("t"), &whole()).await.expect_err("it halts");
        is(&failure, code, &["dbo.t"]);
        let survey = loading.loader.survey(&loading.tables).await;
        is(&survey.expect_err("it halts"), code, &["dbo.t"]);
        let newest = server.newest().await;
        is(&loading.source.inspect(newest).await.expect_err("it halts"), code, &["dbo.t"]);
    }
}

/// Block predicates hide nothing from a reader.
#[tokio::test(flavor = "multi_thread")]
async fn block_predicates_and_policies_of_other_tables_are_of_no_matter() {
    let mut server = with_rows().await;
    server.admin.run("GRANT VIEW DEFINITION TO reader").await;
    server.admin.run("CREATE TABLE dbo.other (id int PRIMARY KEY)").await;
    server.admin.run("CREATE SCHEMA rls").await;
    server
        .admin
        .run(
            "CREATE FUNCTION rls.odd (@id AS int) RETURNS TABLE WITH SCHEMABINDING AS \
             RETURN SELECT 1 AS result WHERE @id % 2 = 1",
        )
        .await;
    server
        .admin
        .run(
            "CREATE SECURITY POLICY rls.p ADD FILTER PREDICATE rls.odd(id) ON dbo.other, \
             ADD BLOCK PREDICATE rls.odd(id) ON dbo.t AFTER INSERT WITH (STATE = ON)",
        )
        .await;
    runs(&mut server).await;
}
