//! A full load of the table of ten columns from the double into PostgreSQL: each half and the whole,
//! beside draining the same SELECT and beside COPY of the same rows from a file.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_apply::ApplySettings;
use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, EmbeddedLog, Task};
use lockstep_common::service::reload::Reloads;
use lockstep_common::service::status::{ApplyStatus, CaptureStatus, LoadState, LoadStatus};
use lockstep_common::{FailPoints, Shutdown};
use lockstep_log::Log;
use lockstep_servers::{Double, DoubleOptions, Postgres, Process};
use tokio::sync::watch;

use super::figures::{Report, per_second};
use super::product::Product;
use super::watch::resident;
use super::{Options, limits, row};
use crate::demo::ask;
use crate::source::{Connection, Source};

/// Rows that one INSERT makes of those before.
const AT_ONCE: u64 = 100_000;
/// Between two looks at a process's memory.
const SAMPLE: Duration = Duration::from_millis(100);

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let rows = options.scaled(1_000_000);
    report.part(&format!("full load of {rows} rows of ten columns"));
    let double = Double::start(DoubleOptions::default())?;
    let source = prepare(&double, rows).await?;
    let mut postgres = super::postgres()?;

    let started = Instant::now();
    let drained = source.connect().await?.drain("SELECT * FROM dbo.bench").await?;
    anyhow::ensure!(drained == rows, "{drained} rows of {rows}");
    let (drain, time) = (per_second(rows, started.elapsed()), started.elapsed());
    report.rate("limit: tiberius drains the same SELECT", rows, "rows", time);
    let time = limits::copy_from_file(&postgres, rows).await?;
    let copy = per_second(rows, time);
    report.rate("limit: one binary COPY from a file", rows, "rows", time);

    for connections in [1, 2, 4] {
        let directory = tempfile::tempdir()?;
        let log = embedded(directory.path());
        let opened = lockstep_log::open(&log, "bench").await?;
        let time = into_log(&source, Arc::clone(&opened), rows, connections).await?;
        report.rate_of(
            &format!("source to log, {connections} readers"),
            (rows, "rows", time),
            drain,
        );
        let settings =
            target(&postgres, &format!("from_log_{connections}"), directory.path(), connections)?;
        let time = from_log(settings, opened, rows).await?;
        let name = format!("log to PostgreSQL, {connections} connections");
        report.rate_of(&name, (rows, "rows", time), copy);
    }
    for readers in [1, 2, 4] {
        let whole = whole(&source, &postgres, rows, readers).await?;
        let name = format!("the whole way, {readers} readers and connections");
        report.rate_of(&format!("{name}, of COPY"), (rows, "rows", whole.time), copy);
        report.rate_of(&format!("{name}, of the drain"), (rows, "rows", whole.time), drain);
        report.line("  resident memory of the process, at most", &mib(whole.peak));
    }
    // A quarter of the rows: what memory grows by with their number.
    let quarter = (rows / 4).max(1);
    let mut connection = source.connect().await?;
    connection.run(&format!("DELETE FROM dbo.bench WHERE id > {quarter}")).await?;
    let whole = whole(&source, &postgres, quarter, 4).await?;
    let name = format!("  resident memory with {quarter} rows, 4 readers, at most");
    report.line(&name, &mib(whole.peak));
    postgres.stop(lockstep_servers::Stop::Fast)?;
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// A database with `rows` rows that no change table has.
async fn prepare(double: &Double, rows: u64) -> Result<Source> {
    let master = Source::on(double, "master");
    master.connect().await?.run("CREATE DATABASE bench").await?;
    let source = master.with_database("bench");
    let mut connection = source.connect().await?;
    connection.run("EXEC sys.sp_cdc_enable_db").await?;
    connection.run(row::CREATE).await?;
    fill(&mut connection, rows).await.context("fill the table")?;
    for statement in [
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'bench', \
         @role_name = NULL, @supports_net_changes = 0",
        "EXEC sys.sp_cdc_change_job @job_type = N'capture', @pollinginterval = 0",
        "EXEC sys.sp_cdc_stop_job @job_type = N'capture'",
        "EXEC sys.sp_cdc_start_job @job_type = N'capture'",
    ] {
        connection.run(statement).await.with_context(|| statement.to_owned())?;
    }
    Ok(source)
}

async fn fill(connection: &mut Connection, rows: u64) -> Result<()> {
    let first = rows.min(super::tds::ROWS_PER_TRANSACTION);
    connection.run(&super::tds::insert(0)).await?;
    connection.run(&format!("DELETE FROM dbo.bench WHERE id >= {first}")).await?;
    let mut filled = first;
    while filled < rows {
        let more = filled.min(rows - filled).min(AT_ONCE);
        connection
            .run(&format!(
                "INSERT INTO dbo.bench SELECT TOP ({more}) id + {filled}, (a + {filled}) % 1000003, \
                 (b + {filled}) % 30011, amount + {filled}, ratio + {filled}, made, seen, name, \
                 note, flag FROM dbo.bench WHERE id < {more}"
            ))
            .await?;
        filled += more;
    }
    Ok(())
}

fn embedded(directory: &Path) -> config::Log {
    config::Log::Embedded(EmbeddedLog { path: directory.join("log"), retention: None })
}

/// Time until all rows are in the log.
async fn into_log(
    source: &Source,
    log: Arc<dyn Log>,
    rows: u64,
    readers: usize,
) -> Result<Duration> {
    let text = format!(
        "host = {:?}\nport = {}\ndatabase = {:?}\nuser = {:?}\npassword = {:?}\nencrypt = \"off\"",
        source.host, source.port, source.database, source.user, source.password
    );
    let settings = CaptureSettings {
        pipeline: "bench".to_owned(),
        task: Task::FullLoadAndCdc,
        source: toml::from_str(&text)?,
        capture: config::Capture { load_readers: readers, ..Default::default() },
        reloads: Reloads::default(),
    };
    let (status, mut seen) = watch::channel(CaptureStatus::default());
    let (shutdown, started) = (Shutdown::new(), Instant::now());
    let service =
        lockstep_capture::run(settings, log, status, FailPoints::default(), shutdown.clone());
    let mut service = std::pin::pin!(service);
    let time = tokio::select! {
        result = &mut service => {
            result?;
            bail!("capture ended before the load");
        }
        reached = seen.wait_for(|status| all_there(&status.load, rows)) => {
            reached.context("capture's status")?;
            started.elapsed()
        }
    };
    // What it proves now is no part of the figure, but the next half needs the load's end.
    let end = async {
        loop {
            if seen.borrow().load.as_ref().is_some_and(|load| load.state == LoadState::Done) {
                return anyhow::Ok(());
            }
            let mut connection = source.connect().await?;
            connection.run("EXEC [double].set_fault 'clock_advance', '2'").await?;
            connection.run("UPDATE dbo.bench SET flag = flag WHERE id = 0").await?;
            let _ = tokio::time::timeout(SAMPLE, seen.changed()).await;
        }
    };
    tokio::select! {
        result = &mut service => {
            result?;
            bail!("capture ended before the load's end");
        }
        ended = end => ended?,
    }
    shutdown.cancel();
    service.await?;
    Ok(time)
}

/// Time until all rows are in the target.
async fn from_log(settings: config::Apply, log: Arc<dyn Log>, rows: u64) -> Result<Duration> {
    let settings = ApplySettings {
        name: "bench".to_owned(),
        pipeline: "bench".to_owned(),
        task: lockstep_common::config::Task::FullLoad,
        config: settings,
    };
    let (status, mut seen) = watch::channel(ApplyStatus::default());
    let (shutdown, started) = (Shutdown::new(), Instant::now());
    let service =
        lockstep_apply::run(settings, log, status, FailPoints::default(), shutdown.clone());
    let mut service = std::pin::pin!(service);
    let time = tokio::select! {
        result = &mut service => {
            result?;
            bail!("apply ended before the load");
        }
        reached = seen.wait_for(|status| all_there(&status.load, rows)) => {
            reached.context("apply's status")?;
            started.elapsed()
        }
    };
    shutdown.cancel();
    service.await?;
    Ok(time)
}

fn all_there(load: &Option<LoadStatus>, rows: u64) -> bool {
    let loaded = load.iter().flat_map(|load| load.tables.values()).map(|table| table.rows);
    loaded.sum::<u64>() >= rows
}

fn target(
    postgres: &Postgres,
    database: &str,
    directory: &Path,
    connections: usize,
) -> Result<config::Apply> {
    postgres.create_database(database)?;
    let text = format!(
        "host = {:?}\nport = {}\ndatabase = {database:?}\nuser = {:?}\npassword = {:?}\n\
         spool = {:?}\ntls = \"disable\"\nload_connections = {connections}",
        postgres.host(),
        postgres.port(),
        postgres.user(),
        postgres.password(),
        directory.join("spool").display().to_string(),
    );
    Ok(toml::from_str(&text)?)
}

struct Whole {
    time: Duration,
    peak: u64,
}

/// `lockstep run` from its start until all rows are in the target, and its memory meanwhile.
async fn whole(source: &Source, postgres: &Postgres, rows: u64, readers: usize) -> Result<Whole> {
    let directory = tempfile::tempdir()?;
    let database = format!("whole_{rows}_{readers}");
    postgres.create_database(&database)?;
    let started = Instant::now();
    let configured = Product {
        source,
        postgres,
        pipeline: "bench",
        database: &database,
        directory: directory.path(),
        brokers: None,
        task: "full_load_and_cdc",
        capture: &format!("load_readers = {readers}"),
        apply: &format!("load_connections = {readers}"),
    }
    .configure()?;
    watch_process(configured.run()?, configured.apply_http, rows, started).await
}

async fn watch_process(
    mut process: Process,
    http: SocketAddr,
    rows: u64,
    started: Instant,
) -> Result<Whole> {
    let (mut peak, mut samples) = (0, tokio::time::interval(SAMPLE));
    loop {
        samples.tick().await;
        if let Some(status) = process.exited() {
            bail!("lockstep ended with {status}:\n{}", process.output());
        }
        peak = peak.max(resident(process.pid())?);
        // Not listening yet, or busy: the next look will tell.
        let Ok(answer) = ask(http).await else { continue };
        let load = &answer["apply"]["main"]["load"];
        let load: Option<LoadStatus> = serde_json::from_value(load.clone())?;
        if all_there(&load, rows) {
            return Ok(Whole { time: started.elapsed(), peak });
        }
        anyhow::ensure!(started.elapsed() < Duration::from_secs(900), "the load does not end");
    }
}
