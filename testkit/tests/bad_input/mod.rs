//! Wrong configurations and unfit servers, seen as an operator sees them: the real programs end with
//! the documented exit code, and the last line says what is wrong and what to do. (What each of them
//! says in detail, and that nothing is lost, is tested in `capture`, `apply` and `log`.)

mod files;
mod full_load;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::failure::exit;
use lockstep_servers::{Program, beside_current_exe};
use lockstep_testkit::harness::{LogKind, Pipeline, Statements};
use lockstep_testkit::shape::{Key, Table, Type, column};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

const WITHIN: Duration = Duration::from_secs(60);

fn rows() -> Vec<Table> {
    let columns = vec![column("id", Type::Int), column("text", Type::NVarCharMax)];
    vec![Table::keyed("rows", 1, columns)]
}

/// The pipeline's configuration with `change` made to its text, and the program that reads it.
fn program(
    pipeline: &Pipeline,
    name: &str,
    change: impl FnOnce(String) -> String,
) -> Result<Program> {
    let path = pipeline.write_config()?;
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, change(text))?;
    let program = Program::new(beside_current_exe(name)?).arg("--config").arg(path);
    Ok(program
        .env("LOCKSTEP_SOURCE__PASSWORD", pipeline.source().password.clone())
        .env("LOCKSTEP_APPLY__TARGET__PASSWORD", pipeline.target_password("target")?))
}

/// Runs a program to its end and checks how it ended and what its output says.
fn ends(program: &Program, code: u8, says: &[&str]) -> Result<()> {
    let mut process = program.start()?;
    let status = process.wait(WITHIN)?;
    // The last of what a process wrote may come after its end.
    for text in says {
        process.wait_for_line(|line| line.contains(text), WITHIN).context(format!("`{text}`"))?;
    }
    let output = process.output();
    ensure!(status.code() == Some(i32::from(code)), "ended with {status}, not {code}:\n{output}");
    Ok(())
}

/// One blocking test body on a pipeline over the embedded log that no service in here holds.
async fn pipeline() -> Result<Pipeline> {
    Pipeline::builder(LogKind::Embedded, rows()).build().await
}

async fn pipeline_over_kafka() -> Result<Pipeline> {
    Pipeline::builder(LogKind::Kafka, rows()).build().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_and_a_missing_file_are_usage_errors() {
    let pipeline = pipeline().await.unwrap();
    let unknown = |text: String| text.replace("[capture]", "[capture]\npoll_intervall = \"1s\"");
    let run = program(&pipeline, "lockstep", unknown).unwrap().arg("run");
    ends(&run, exit::USAGE, &["poll_intervall"]).unwrap();
    let nowhere = Program::new(beside_current_exe("lockstep").unwrap())
        .arg("--config")
        .arg("nowhere.toml")
        .arg("run");
    ends(&nowhere, exit::USAGE, &["nowhere.toml"]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_halts_and_is_not_printed() {
    let pipeline = pipeline().await.unwrap();
    let run = program(&pipeline, "lockstep-capture", |text| text)
        .unwrap()
        .env("LOCKSTEP_SOURCE__PASSWORD", "wr0ng-one");
    let mut process = run.start().unwrap();
    let status = process.wait(WITHIN).unwrap();
    process.wait_for_line(|line| line.contains("18456") && line.contains("sa"), WITHIN).unwrap();
    let output = process.output();
    assert_eq!(status.code(), Some(i32::from(exit::HALT)), "{output}");
    assert!(!output.contains("wr0ng-one"), "{output}");

    let run = program(&pipeline, "lockstep-apply", |text| text)
        .unwrap()
        .arg("--name")
        .arg("target")
        .env("LOCKSTEP_APPLY__TARGET__PASSWORD", "wr0ng-one");
    ends(&run, exit::HALT, &["28P01"]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_prints_every_failure_with_its_fix() {
    let pipeline = pipeline().await.unwrap();
    let all_well = program(&pipeline, "lockstep", |text| text).unwrap().arg("check");
    ends(&all_well, exit::OK, &["ok   source: login", "ok   apply.target: connection"]).unwrap();

    let port = format!("port = {}", pipeline.source().port);
    let closed = format!("port = {}", lockstep_servers::free_port());
    let host = closed.replace("port = ", "127.0.0.1:");
    let moved = program(&pipeline, "lockstep", |text| text.replace(&port, &closed)).unwrap();
    let says = ["FAIL source", host.as_str(), "fix:", "ok   apply.target: connection"];
    ends(&moved.arg("check"), exit::CHECK, &says).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_cdc_is_named() {
    let pipeline = pipeline().await.unwrap();
    let database = format!("database = \"{}\"", pipeline.source().database);
    let run = program(&pipeline, "lockstep-capture", |text| {
        text.replacen(&database, "database = \"tempdb\"", 1)
    });
    ends(&run.unwrap(), exit::HALT, &["tempdb", "sp_cdc_enable_db"]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_two_partitions_is_refused() {
    let pipeline = pipeline_over_kafka().await.unwrap();
    let lockstep_common::config::Log::Kafka(kafka) = pipeline.log_config() else {
        panic!("the pipeline is over Kafka")
    };
    let admin: AdminClient<DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &kafka.brokers).create().unwrap();
    let topic = format!("{}.transactions", pipeline.name());
    let two = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
    admin.create_topics([&two], &AdminOptions::new()).await.unwrap();
    let run = program(&pipeline, "lockstep-capture", |text| text).unwrap();
    ends(&run, exit::HALT, &[&topic, "2 partitions"]).unwrap();
}

/// Capture in this process, everything in the log, the log let go of.
async fn filled(mut pipeline: Pipeline, rows: i64, bytes: usize) -> Result<Pipeline> {
    let mut session = pipeline.session();
    for id in 0..rows {
        let sql = format!("INSERT INTO dbo.rows VALUES ({id}, N'{}')", unlike(id, bytes));
        session.run(&Statements::new().then(0, [Key::of([id])], sql)).await?;
    }
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let newest = pipeline.await_captured_by_source().await?;
    let written = |status: &lockstep_common::service::status::CaptureStatus| {
        status.position.source() >= newest.0.as_slice()
    };
    capture.until("everything is in the log", written).await.context("fill the log")?;
    capture.finish().await?;
    pipeline.close_log();
    Ok(pipeline)
}

/// Text that does not compress.
fn unlike(seed: i64, length: usize) -> String {
    let mut state = seed.unsigned_abs().wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).expect("below 26"))
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfit_target_table_is_named_with_all_that_is_wrong() {
    let pipeline = filled(pipeline().await.unwrap(), 1, 10).await.unwrap();
    let table = "CREATE TABLE dbo.rows (id text PRIMARY KEY)";
    pipeline.query_target_as_apply("target", table).unwrap();
    let run =
        program(&pipeline, "lockstep-apply", |text| text).unwrap().arg("--name").arg("target");
    let says = ["rows", "column \"text\" is missing", "column \"id\" has type text"];
    ends(&run, exit::HALT, &says).unwrap();
}

/// The spool's disk is full: here, a file of it may grow no further (RLIMIT_FSIZE), which the kernel
/// says by the same failed write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_spool_halts_and_nothing_is_lost() {
    // Over Kafka, so that the spool's are the only files there are.
    let pipeline = pipeline_over_kafka().await.unwrap();
    let mut pipeline = filled(pipeline, 120, 30_000).await.unwrap();
    // The target makes no way: another session holds the table that apply has to write.
    let table = "CREATE TABLE dbo.rows (id integer PRIMARY KEY, text text)";
    pipeline.query_target_as_apply("target", table).unwrap();
    let held = pipeline.hold_target("target", "LOCK TABLE dbo.rows").await.unwrap();
    let small = |text: String| {
        text.lines()
            .map(|line| if line.starts_with("memory") { "memory = \"1 MiB\"" } else { line })
            .collect::<Vec<_>>()
            .join("\n")
    };
    let path = beside_current_exe("lockstep-apply").unwrap();
    let config = program(&pipeline, "lockstep-apply", small).unwrap();
    drop(config);
    let limited = Program::new("/bin/sh")
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 2048; exec \"$0\" --config \"$1\" --name target")
        .arg(path)
        .arg(pipeline.config_path())
        .env("LOCKSTEP_APPLY__TARGET__PASSWORD", pipeline.target_password("target").unwrap());
    ends(&limited, exit::HALT, &["apply.spool", "make room"]).unwrap();
    drop(held);

    // With room again everything arrives.
    let mut apply = pipeline.start_apply(FailPoints::default()).await.unwrap();
    pipeline.await_arrived(&mut apply).await.unwrap();
    apply.finish().await.unwrap();
}
