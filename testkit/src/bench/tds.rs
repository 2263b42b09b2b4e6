//! Reading change rows over TDS, beside a client that only drains them: of one table over one
//! connection, and of two tables, merged, over two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, EmbeddedLog};
use lockstep_common::service::status::CaptureStatus;
use lockstep_common::{FailPoints, Shutdown};
use lockstep_log::Log;
use lockstep_servers::{Double, DoubleOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::figures::{Report, per_second, processor_time};
use super::{Options, row};
use crate::source::{Connection, Source};

/// Rows of one INSERT statement and of one source transaction.
pub(super) const ROWS_PER_TRANSACTION: u64 = 100;

/// How often each is measured; the best is the figure.
const ROUNDS: usize = 3;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let each = 2 * ROWS_PER_TRANSACTION;
    let rows = options.scaled(300_000).next_multiple_of(each);
    for (tables, over) in [(&["bench"][..], "one TDS connection"), (&["bench", "second"], "two")] {
        report.part(&format!("read of change rows of ten columns over {over}"));
        let double = Double::start(DoubleOptions::default())?;
        let source = prepare(&double, tables, rows).await?;
        let (mut drained, mut captured) = (Best::default(), Best::default());
        for _ in 0..ROUNDS {
            drained.round(drain(&source, tables, rows)).await?;
            captured.round(capture(&source, rows)).await?;
        }
        report.rate("limit: tiberius drains the change rows", rows, "rows", drained.time);
        report.processor(rows, drained.processor);
        let limit = per_second(rows, drained.time);
        let figure = (rows, "rows", captured.time);
        report.rate_of("capture into the embedded log", figure, limit);
        report.processor(rows, captured.processor);
    }
    Ok(())
}

/// The least time and processor time of some rounds.
struct Best {
    time: Duration,
    processor: Duration,
}

impl Default for Best {
    fn default() -> Self {
        Best { time: Duration::MAX, processor: Duration::MAX }
    }
}

impl Best {
    async fn round(&mut self, work: impl Future<Output = Result<Duration>>) -> Result<()> {
        let before = processor_time()?;
        self.time = self.time.min(work.await?);
        self.processor = self.processor.min(processor_time()?.saturating_sub(before));
        Ok(())
    }
}

/// A database with `rows` captured inserts, all of them in the change tables: transactions that go
/// to one of the tables after the other.
async fn prepare(double: &Double, tables: &[&str], rows: u64) -> Result<Source> {
    let master = Source::on(double, "master");
    master.connect().await?.run("CREATE DATABASE bench").await?;
    let source = master.with_database("bench");
    let mut connection = source.connect().await?;
    connection.run("EXEC sys.sp_cdc_enable_db").await?;
    for table in tables {
        connection.run(&row::CREATE.replace("dbo.bench", &format!("dbo.{table}"))).await?;
        connection
            .run(&format!(
                "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{table}', \
                 @role_name = NULL, @supports_net_changes = 0"
            ))
            .await?;
    }
    // Scanned by hand below, so that the figure has no waiting in it.
    connection.run("EXEC sys.sp_cdc_stop_job @job_type = N'capture'").await?;
    let mut first = 0;
    for table in tables.iter().cycle() {
        if first == rows {
            break;
        }
        connection.run(&insert_into(table, first)).await?;
        first += ROWS_PER_TRANSACTION;
    }
    // A second, later transaction closes the last one for any reader.
    scan(&mut connection).await?;
    Ok(source)
}

/// Inserts so many rows from `first` on.
pub(super) fn insert(first: u64) -> String {
    insert_into("bench", first)
}

fn insert_into(table: &str, first: u64) -> String {
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
    format!("INSERT INTO dbo.{table} VALUES {}", rows.join(", "))
}

async fn scan(connection: &mut Connection) -> Result<()> {
    connection.run("EXEC sys.sp_cdc_scan @maxtrans = 1000000, @maxscans = 100").await?;
    Ok(())
}

/// Reads the whole change tables as capture orders them, each over its connection, and looks at
/// nothing.
async fn drain(source: &Source, tables: &[&str], rows: u64) -> Result<Duration> {
    let mut connections = Vec::new();
    for _ in tables {
        connections.push(source.connect().await?);
    }
    let started = Instant::now();
    let mut drains = JoinSet::new();
    for (mut connection, table) in connections.into_iter().zip(tables) {
        let sql = format!(
            "SELECT * FROM cdc.[dbo_{table}_CT] ORDER BY [__$start_lsn], [__$command_id], \
             [__$seqval], [__$operation]"
        );
        drains.spawn(async move { connection.drain(&sql).await });
    }
    let mut seen = 0;
    while let Some(drained) = drains.join_next().await {
        seen += drained.context("a drain panicked")??;
    }
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
