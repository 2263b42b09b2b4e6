//! Databases and targets that a full load cannot be made of, or into: the program says so before it
//! writes anything.

use anyhow::{Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::config::{Handoff, Task};
use lockstep_common::failure::exit;
use lockstep_servers::Program;
use lockstep_testkit::harness::{LogKind, Pipeline, PipelineBuilder, Statements};
use lockstep_testkit::shape::{Key, Table, Type, column};

use super::{ends, program, rows};

fn loading(tables: Vec<Table>) -> PipelineBuilder {
    Pipeline::builder(LogKind::Embedded, tables).task(Task::FullLoadAndCdc)
}

/// A pipeline with `count` rows of `dbo.rows`.
async fn filled(builder: PipelineBuilder, count: i64) -> Result<Pipeline> {
    let mut pipeline = builder.build().await?;
    let values: Vec<String> = (1..=count).map(|id| format!("({id}, N'row {id}')")).collect();
    let sql = format!("INSERT INTO dbo.rows VALUES {}", values.join(", "));
    let keys = (1..=count).map(|id| Key::of([id]));
    pipeline.session().run(&Statements::new().then(0, keys, sql)).await?;
    Ok(pipeline)
}

fn run(pipeline: &Pipeline, change: impl FnOnce(String) -> String) -> Result<Program> {
    Ok(program(pipeline, "lockstep", change)?.arg("run"))
}

/// Nobody has made a table of the source's in the target.
fn untouched(pipeline: &Pipeline) -> Result<()> {
    let made = pipeline
        .query_target("target", "SELECT count(*) FROM pg_tables WHERE schemaname = 'dbo'")?;
    ensure!(made.trim() == "0", "{} tables were made", made.trim());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_change_data_capture_is_named() {
    let pipeline = filled(loading(rows()), 3).await.unwrap();
    let mut source = pipeline.source().connect().await.unwrap();
    source.run("CREATE TABLE dbo.plain (id int NOT NULL PRIMARY KEY)").await.unwrap();
    let named =
        |text: String| text.replace("tables = []", "tables = [\"dbo.rows\", \"dbo.plain\"]");
    let says = ["dbo.plain", "sp_cdc_enable_table"];
    ends(&run(&pipeline, named).unwrap(), exit::HALT, &says).unwrap();
    untouched(&pipeline).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_are_not_empty_or_do_not_fit_are_all_named() {
    let other = Table::keyed("other", 1, vec![column("id", Type::Int), column("n", Type::Int)]);
    let third = Table::keyed("third", 1, vec![column("id", Type::Int), column("n", Type::Int)]);
    let tables = rows().into_iter().chain([other, third]).collect();
    let pipeline = filled(loading(tables), 3).await.unwrap();
    pipeline
        .query_target_as_apply(
            "target",
            "CREATE TABLE dbo.rows (id integer PRIMARY KEY, text text NOT NULL); \
             INSERT INTO dbo.rows VALUES (4711, 'mine'); \
             CREATE TABLE dbo.other (id integer PRIMARY KEY, n text NOT NULL)",
        )
        .unwrap();
    let says = ["rows", "not empty", "other", "column \"n\" has type text", "truncate"];
    ends(&run(&pipeline, |text| text).unwrap(), exit::HALT, &says).unwrap();
    let left = pipeline.query_target(
        "target",
        "SELECT count(*), min(id), to_regclass('dbo.third') IS NULL FROM dbo.rows",
    );
    assert_eq!(left.unwrap().trim(), "1|4711|t");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_not_dropped_by_accident() {
    let pipeline = filled(loading(rows()), 3).await.unwrap();
    let drop = |text: String| text.replace("prepare = \"create\"", "prepare = \"drop_and_create\"");
    let says = ["apply.target.prepare", "drop_tables = true"];
    ends(&run(&pipeline, drop).unwrap(), exit::USAGE, &says).unwrap();
    let task = |text: String| text.replace("task = \"full_load_and_cdc\"", "task = \"everything\"");
    let says = ["everything", "full_load_and_cdc"];
    ends(&run(&pipeline, task).unwrap(), exit::USAGE, &says).unwrap();
    let start = |text: String| text.replace("[capture]", "[capture]\nstart = \"earliest\"");
    ends(&run(&pipeline, start).unwrap(), exit::HALT, &["capture.start", "cdc"]).unwrap();
    untouched(&pipeline).unwrap();
}

/// It may read the change table, and not the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_on_a_table_is_named() {
    let pipeline = filled(loading(rows()), 3).await.unwrap();
    let mut source = pipeline.source().connect().await.unwrap();
    let login = format!("reader_{}", pipeline.name());
    for sql in [
        format!("CREATE LOGIN [{login}] WITH PASSWORD = 'Reader-1-password', CHECK_POLICY = OFF"),
        format!("CREATE USER [{login}] FOR LOGIN [{login}]"),
        format!("GRANT SELECT ON SCHEMA::cdc TO [{login}]"),
        format!("GRANT SELECT ON dbo.ledger TO [{login}]"),
        format!("GRANT SELECT ON dbo.sessions TO [{login}]"),
    ] {
        source.run(&sql).await.unwrap();
    }
    let as_reader = |text: String| {
        let tables = "tables = [\"dbo.rows\", \"dbo.ledger\", \"dbo.sessions\"]";
        let text = text.replacen("user = \"sa\"", &format!("user = \"{login}\""), 1);
        text.replace("tables = []", tables)
    };
    let run =
        run(&pipeline, as_reader).unwrap().env("LOCKSTEP_SOURCE__PASSWORD", "Reader-1-password");
    ends(&run, exit::HALT, &["dbo.rows", "GRANT SELECT"]).unwrap();
    untouched(&pipeline).unwrap();
}

/// A table without a key can only be loaded from a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_snapshots_is_named_where_one_is_needed() {
    let heap = Table::keyless("heap", vec![column("bucket", Type::Int), column("n", Type::Int)]);
    let builder = loading(rows().into_iter().chain([heap]).collect()).without_snapshots();
    let pipeline = filled(builder, 3).await.unwrap();
    let says = ["ALTER DATABASE", "ALLOW_SNAPSHOT_ISOLATION ON"];
    ends(&run(&pipeline, |text| text).unwrap(), exit::HALT, &says).unwrap();
    // Without that table, or with every table exact, likewise.
    let pipeline = filled(loading(rows()).without_snapshots(), 3).await.unwrap();
    let exact = |text: String| text.replace("handoff = \"bracketed\"", "handoff = \"exact\"");
    ends(&run(&pipeline, exact).unwrap(), exit::HALT, &says).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_during_its_load_is_named() {
    for handoff in [Handoff::Bracketed, Handoff::Exact] {
        let builder = loading(rows()).capture(|capture| {
            capture.chunk_rows = 2;
            capture.handoff = handoff;
        });
        let mut pipeline = filled(builder, 900).await.unwrap();
        let mut capture = pipeline.start_capture(FailPoints::default()).await.unwrap();
        let some = |status: &lockstep_common::service::status::CaptureStatus| {
            let load = status.load.iter().flat_map(|load| load.tables.values());
            load.map(|table| table.chunks).sum::<u32>() >= 3
        };
        capture.until("some chunks are read", some).await.unwrap();
        let mut source = pipeline.source().connect().await.unwrap();
        source.run("DROP TABLE dbo.rows").await.unwrap();
        let failure = capture.ended().await.unwrap().expect_halted();
        assert!(failure.to_string().contains("dbo.rows"), "{handoff:?}: {failure}");
        assert!(!failure.remedy.is_empty(), "{failure}");
    }
}
