//! Reading change rows over TDS, beside a client that only drains them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, EmbeddedLog};
use lockstep_common::status::CaptureStatus;
use lockstep_common::{FailPoints, Shutdown};
use lockstep_log::Log;
use lockstep_servers::{Double, DoubleOptions};
use tokio::sync::watch;

use super::figures::{Report, per_second};
use super::{Options, row};
use crate::source::{Connection, Source};

/// Rows of one INSERT statement and of one source transaction.
pub(super) const ROWS_PER_TRANSACTION: u64 = 100;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    report.part("read of a change table of ten columns over one TDS connection");
    let double = Double::start(DoubleOptions::default())?;
    let rows = options.scaled(300_000).next_multiple_of(ROWS_PER_TRANSACTION);
    let source = prepare(&double, rows).await?;

    let time = drain(&source, rows).await?;
    report.rate("limit: tiberius drains the change table", rows, "rows", time);
    let time_captured = capture(&source, rows).await?;
    let figure = (rows, "rows", time_captured);
    report.rate_of("capture into the embedded log", figure, per_second(rows, time));
    Ok(())
}

/// A database with `rows` captured inserts, all of them in the change table.
async fn prepare(double: &Double, rows: u64) -> Result<Source> {
    let master = Source::on(double, "master");
    master.connect().await?.run("CREATE DATABASE bench").await?;
    let source = master.with_database("bench");
    let mut connection = source.connect().await?;
    connection.run(row::CREATE).await?;
    connection.run("EXEC sys.sp_cdc_enable_db").await?;
    connection
        .run(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'bench', \
             @role_name = NULL, @supports_net_changes = 0",
        )
        .await?;
    // Scanned by hand below, so that the figure has no waiting in it.
    connection.run("EXEC sys.sp_cdc_stop_job @job_type = N'capture'").await?;
    let mut first = 0;
    while first < rows {
        connection.run(&insert(first)).await?;
        first += ROWS_PER_TRANSACTION;
    }
    // A second, later transaction closes the last one for any reader.
    scan(&mut connection).await?;
    Ok(source)
}

/// Inserts so many rows from `first` on.
pub(super) fn insert(first: u64) -> String {
    let row = |id: u64| {
        format!(
            "({id}, {}, {}, {}.{:04}, {:e}, '2023-11-14 22:13:20.000001', \
             '2023-11-14 22:13:20.000001 +01:00', 'a name of some thirty letters.', \
             N'a note that is a little longer than the name above', {})",
            id % 1_000_003,
            id % 30_011,
            id * 7 / 10_000,
            id * 7 % 10_000,
            id as f64 / 3.0,
            id % 2,
        )
    };
    let rows: Vec<String> = (first..first + ROWS_PER_TRANSACTION).map(row).collect();
    format!("INSERT INTO dbo.bench VALUES {}", rows.join(", "))
}

async fn scan(connection: &mut Connection) -> Result<()> {
    connection.run("EXEC sys.sp_cdc_scan @maxtrans = 1000000, @maxscans = 100").await?;
    Ok(())
}

/// Reads the whole change table as capture orders it and looks at nothing.
async fn drain(source: &Source, rows: u64) -> Result<Duration> {
    let mut connection = source.connect().await?;
    let started = Instant::now();
    let seen = connection
        .drain(
            "SELECT * FROM cdc.[dbo_bench_CT] ORDER BY [__$start_lsn], [__$command_id], \
             [__$seqval], [__$operation]",
        )
        .await?;
    let time = started.elapsed();
    anyhow::ensure!(seen == rows, "{seen} change rows of {rows}");
    Ok(time)
}

async fn capture(source: &Source, rows: u64) -> Result<Duration> {
    let directory = tempfile::tempdir()?;
    let log =
        config::Log::Embedded(EmbeddedLog { path: directory.path().join("log"), retention: None });
    let log: Arc<dyn Log> = lockstep_log::open(&log, "bench").await?;
    let text = format!(
        "host = {:?}\nport = {}\ndatabase = {:?}\nuser = {:?}\npassword = {:?}\nencrypt = \"off\"",
        source.host, source.port, source.database, source.user, source.password
    );
    let settings = CaptureSettings {
        pipeline: "bench".to_owned(),
        task: config::Task::Cdc,
        source: toml::from_str(&text)?,
        capture: config::Capture { start: Some("earliest".to_owned()), ..Default::default() },
        reloads: Default::default(),
    };
    let (status, mut seen) = watch::channel(CaptureStatus::default());
    let started = Instant::now();
    let service =
        lockstep_capture::run(settings, log, status, FailPoints::default(), Shutdown::new());
    let all = seen
        .wait_for(|status| status.tables.values().map(|table| table.inserts).sum::<u64>() >= rows);
    tokio::select! {
        result = service => {
            result?;
            anyhow::bail!("capture ended before the change table's end");
        }
        reached = all => {
            reached.context("capture's status")?;
            Ok(started.elapsed())
        }
    }
}
