//! Memory over a long run: the real program follows a double through a million changes.

use std::time::Duration;

use anyhow::{Context, Result};
use lockstep_servers::{Double, DoubleOptions, Postgres, PostgresOptions};

use super::figures::Report;
use super::product::Product;
use super::watch::resident;
use super::{Options, row};
use crate::source::{Connection, Source};

const ROWS_PER_TRANSACTION: u64 = 100;

/// The keys are few, so that tables stay small and what grows is a leak.
const KEYS: u64 = 10_000;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let changes = options.scaled(1_000_000).next_multiple_of(KEYS);
    report.part(&format!("soak, {changes} changes through `lockstep run`"));
    let double = Double::start(DoubleOptions::default())?;
    let postgres = Postgres::start(PostgresOptions::default())?;
    postgres.create_database("soak")?;
    let mut connection = prepare(&double).await?;
    let directory = tempfile::tempdir()?;
    let program = Product {
        source: &Source::on(&double, "soak"),
        postgres: &postgres,
        pipeline: "bench",
        database: "soak",
        directory: directory.path(),
        brokers: None,
        task: "cdc",
        capture: "start = \"earliest\"",
        apply: "start = \"earliest\"",
    }
    .start()?;

    let mut done = 0;
    let mut marks =
        [10, 25, 50, 75, 100].into_iter().map(|percent| changes * percent / 100).peekable();
    while done < changes {
        done += round(&mut connection, done).await?;
        while marks.next_if(|mark| done >= *mark).is_some() {
            applied(&postgres, done).await?;
            let name = format!("resident memory after {done} changes");
            report.line(&name, &format!("{} MiB", resident(program.pid())? >> 20));
        }
    }
    Ok(())
}

async fn prepare(double: &Double) -> Result<Connection> {
    let master = Source::on(double, "master");
    master.connect().await?.run("CREATE DATABASE soak").await?;
    let mut connection = master.with_database("soak").connect().await?;
    connection.run(row::CREATE).await?;
    for statement in [
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'bench', \
         @role_name = NULL, @supports_net_changes = 0",
        "EXEC sys.sp_cdc_change_job @job_type = N'capture', @pollinginterval = 1",
        "EXEC sys.sp_cdc_stop_job @job_type = N'capture'",
        "EXEC sys.sp_cdc_start_job @job_type = N'capture'",
    ] {
        connection.run(statement).await.with_context(|| statement.to_owned())?;
    }
    Ok(connection)
}

/// One statement's transaction of [`ROWS_PER_TRANSACTION`] changes: inserts while the keys are new,
/// updates after that. Returns how many changes it made.
async fn round(connection: &mut Connection, done: u64) -> Result<u64> {
    let first = done % KEYS;
    if done < KEYS {
        let rows: Vec<String> = (first..first + ROWS_PER_TRANSACTION)
            .map(|id| format!("({id}, 0, 0, 0, 0, NULL, NULL, 'name', N'note', 0)"))
            .collect();
        connection.run(&format!("INSERT INTO dbo.bench VALUES {}", rows.join(", "))).await?;
    } else {
        let last = first + ROWS_PER_TRANSACTION;
        let update = format!("UPDATE dbo.bench SET a = {done} WHERE id >= {first} AND id < {last}");
        connection.run(&update).await?;
    }
    Ok(ROWS_PER_TRANSACTION)
}

/// Waits until the target holds what the last of `done` changes wrote.
async fn applied(postgres: &Postgres, done: u64) -> Result<()> {
    let wanted = if done <= KEYS {
        format!("SELECT count(*) = {done} FROM dbo.bench")
    } else {
        let last = done - ROWS_PER_TRANSACTION;
        format!("SELECT max(a) = {last} FROM dbo.bench")
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
    while postgres.psql("soak", &wanted).ok().as_deref().map(str::trim) != Some("t") {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "{done} changes did not arrive");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
