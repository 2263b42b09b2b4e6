//! From a change row's becoming visible in the change table to its commit in PostgreSQL, at a steady
//! rate, through `lockstep run` over the embedded log.
//!
//! The capture job is stopped and the scan called by hand, so that the moment of becoming visible is
//! known: the scan's return. The moment of the commit is when a look at the target, two milliseconds
//! after the one before, first finds the row; so a figure is too high by at most such a look.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_servers::{Double, DoubleOptions, Postgres, Process};
use tokio::time::{self, MissedTickBehavior};
use tokio_postgres::{Client, NoTls};

use super::figures::Report;
use super::product::Product;
use super::{Options, row};
use crate::compare::percentile;
use crate::source::{Connection, Source};

/// Transactions a second, of one change each.
const RATE: f64 = 1000.0;
/// Seconds of them at full size.
const SECONDS: u64 = 20;
/// Between two scans, and hence between two bursts of visible rows.
const SCAN_EVERY: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(2);
/// Awaited commits for the limit.
const COMMITS: u64 = 2000;
const WITHIN: Duration = Duration::from_secs(120);

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    report.part("latency, from a change row's becoming visible to its commit in PostgreSQL");
    let mut postgres = super::postgres()?;
    postgres.create_database("latency")?;
    let limit = commits(&connect(&postgres, "latency").await?, options.scaled(COMMITS)).await?;
    shown(report, "limit: BEGIN, INSERT, COMMIT, awaited and flushed", &limit);
    for poll in [250, 20] {
        let poll = Duration::from_millis(poll);
        let double = Double::start(DoubleOptions::default())?;
        let source = prepare(&double).await?;
        let database = format!("poll_{}", poll.as_millis());
        postgres.create_database(&database)?;
        let directory = tempfile::tempdir()?;
        let mut lockstep = Product {
            source: &source,
            postgres: &postgres,
            pipeline: "bench",
            database: &database,
            directory: directory.path(),
            brokers: None,
            task: "cdc",
            capture: &format!("start = \"earliest\"\npoll_interval = \"{}ms\"", poll.as_millis()),
            apply: "start = \"earliest\"",
        }
        .start()?;
        let duration = Duration::from_secs(options.scaled(SECONDS));
        let client = connect(&postgres, &database).await?;
        let (found, rate) = run(&source, client, &mut lockstep, duration).await?;
        let name = format!("poll_interval {} ms, {rate:.0} transactions/s", poll.as_millis());
        shown(report, &name, &found);
        let over = |share| percentile(&found, share).saturating_sub(poll);
        let over = [0.5, 0.99, 0.999].map(over).map(ms).join(" / ");
        report.line("  over the poll interval, p50 / p99 / p99.9", &format!("{over} ms"));
        lockstep.terminate()?;
        lockstep.wait(WITHIN)?;
    }
    postgres.stop(lockstep_servers::Stop::Fast)?;
    Ok(())
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

fn shown(report: &mut Report, name: &str, sorted: &[Duration]) {
    let figures = [0.5, 0.99, 0.999].map(|share| ms(percentile(sorted, share))).join(" / ");
    report.line(&format!("{name}, p50 / p99 / p99.9"), &format!("{figures} ms"));
}

async fn connect(postgres: &Postgres, database: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&postgres.url(database), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Times of awaited transactions of one insert, sorted.
async fn commits(client: &Client, count: u64) -> Result<Vec<Duration>> {
    client.batch_execute("CREATE TABLE awaited (id bigint PRIMARY KEY)").await?;
    let mut times = Vec::new();
    for id in 0..count {
        let began = Instant::now();
        client.batch_execute(&format!("BEGIN; INSERT INTO awaited VALUES ({id}); COMMIT")).await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// A database with the captured table and no capture job.
pub(super) async fn prepare(double: &Double) -> Result<Source> {
    let master = Source::on(double, "master");
    master.connect().await?.run("CREATE DATABASE bench").await?;
    let source = master.with_database("bench");
    let mut connection = source.connect().await?;
    for statement in [
        row::CREATE,
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'bench', \
         @role_name = NULL, @supports_net_changes = 0",
        "EXEC sys.sp_cdc_stop_job @job_type = N'capture'",
    ] {
        connection.run(statement).await.with_context(|| statement.to_owned())?;
    }
    Ok(source)
}

pub(super) async fn scan(connection: &mut Connection) -> Result<()> {
    connection.run("EXEC sys.sp_cdc_scan @maxtrans = 1000000, @maxscans = 100").await?;
    Ok(())
}

/// Latencies of all rows, sorted, and the transactions a second that there were.
async fn run(
    source: &Source,
    target: Client,
    lockstep: &mut Process,
    duration: Duration,
) -> Result<(Vec<Duration>, f64)> {
    let mut writer = source.connect().await?;
    // The first row waits for everything to start; it is not counted.
    write(&mut writer, 0, 1).await?;
    scan(&mut writer).await?;
    let newest = newest(&target, lockstep).await?;
    let feed = tokio::spawn(feed(writer, duration));
    let (mut arrived, mut visible, mut time) = (vec![Instant::now()], None, None);
    let mut feed = std::pin::pin!(feed);
    let mut end = None::<Instant>;
    loop {
        if visible.is_none() {
            // A look at the target and at the writer in turns.
            tokio::select! {
                written = &mut feed => {
                    let (rows, took) = written.context("the writer panicked")??;
                    visible = Some(rows);
                    time = Some(took);
                    end = Some(Instant::now() + WITHIN);
                }
                () = time::sleep(LOOK) => {}
            }
        } else {
            time::sleep(LOOK).await;
        }
        let id: i64 = target.query_one(&newest, &[]).await?.get(0);
        let at = Instant::now();
        while (arrived.len() as i64) <= id {
            arrived.push(at);
        }
        if let Some(visible) = visible.as_ref().filter(|rows| rows.len() < arrived.len()) {
            let pairs = visible.iter().zip(&arrived[1..]);
            let mut found: Vec<Duration> =
                pairs.map(|(seen, there)| there.saturating_duration_since(*seen)).collect();
            found.sort_unstable();
            let rate = found.len() as f64 / time.context("a time")?.as_secs_f64();
            return Ok((found, rate));
        }
        if let Some(status) = lockstep.exited() {
            bail!("lockstep ended with {status}:\n{}", lockstep.output());
        }
        anyhow::ensure!(end.is_none_or(|end| Instant::now() < end), "the rows do not arrive");
    }
}

/// Waits for the first row, and returns the statement that looks for the newest.
async fn newest(target: &Client, lockstep: &mut Process) -> Result<tokio_postgres::Statement> {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Ok(statement) = target.prepare("SELECT max(id) FROM dbo.bench").await
            && target.query_one(&statement, &[]).await?.get::<_, Option<i64>>(0).is_some()
        {
            return Ok(statement);
        }
        if let Some(status) = lockstep.exited() {
            bail!("lockstep ended with {status}:\n{}", lockstep.output());
        }
        anyhow::ensure!(Instant::now() < deadline, "the first row does not arrive");
        time::sleep(LOOK).await;
    }
}

/// Writes rows from 1 on at the rate; returns when each became visible, and how long it took.
async fn feed(mut writer: Connection, duration: Duration) -> Result<(Vec<Instant>, Duration)> {
    let (began, mut visible) = (Instant::now(), Vec::new());
    let mut ticks = time::interval(SCAN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while began.elapsed() < duration {
        ticks.tick().await;
        let due = rows_due(began.elapsed());
        let written = visible.len() as u64;
        if due > written {
            write(&mut writer, written + 1, due - written).await?;
            scan(&mut writer).await?;
            visible.resize(due as usize, Instant::now());
        }
    }
    Ok((visible, began.elapsed()))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive")]
fn rows_due(elapsed: Duration) -> u64 {
    (elapsed.as_secs_f64() * RATE) as u64
}

/// So many transactions of one row each, in one batch.
pub(super) async fn write(connection: &mut Connection, first: u64, count: u64) -> Result<()> {
    let row = |id| {
        format!(
            "INSERT dbo.bench VALUES ({id}, 1, 2, 3.5, 4.5, '2026-11-01 10:00:00.000001', \
             '2026-11-01 10:00:00.000001 +01:00', 'a name of some thirty letters.', \
             N'a note that is a little longer than the name above', 1);"
        )
    };
    let batch: String = (first..first + count).map(row).collect();
    connection.run(&format!("SET NOCOUNT ON;{batch}")).await?;
    Ok(())
}
