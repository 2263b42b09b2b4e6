//! Apply, from an embedded log that is already filled into PostgreSQL, beside one plain COPY.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use lockstep_apply::ApplySettings;
use lockstep_common::config::{self, Durability, EmbeddedLog};
use lockstep_common::entry::SchemaEntry;
use lockstep_common::status::ApplyStatus;
use lockstep_common::{FailPoints, Position, Shutdown};
use lockstep_log::{Entry, Log, Stream};
use lockstep_servers::Postgres;
use tokio::sync::watch;

use super::figures::{Report, per_second};
use super::{Options, logs, row};

pub(super) async fn measure(
    options: &Options,
    report: &mut Report,
    postgres: &Postgres,
    limit: f64,
) -> Result<()> {
    report.part("apply, inserts, one PostgreSQL transaction each, checkpoint inside");
    for (rows, transactions) in [(1, 60_000), (10, 40_000), (100, 6_000), (1000, 600)] {
        for durability in [Durability::Group, Durability::Strict] {
            let transactions = options.scaled(transactions);
            let time = one(postgres, rows, transactions, durability).await?;
            let name = format!("{rows} rows a transaction, {durability:?}");
            report.rate_of(&name, (transactions * rows, "rows", time), limit);
            report.line("", &format!("{:.0} tx/s", per_second(transactions, time)));
        }
    }
    Ok(())
}

/// Applies `transactions` of `rows` inserts and returns the time from start to the last commit.
async fn one(
    postgres: &Postgres,
    rows: u64,
    transactions: u64,
    durability: Durability,
) -> Result<Duration> {
    let directory = tempfile::tempdir()?;
    let log =
        config::Log::Embedded(EmbeddedLog { path: directory.path().join("log"), retention: None });
    let log = lockstep_log::open(&log, "bench").await?;
    let end = fill(log.as_ref(), rows, transactions).await?;

    let database = format!("apply_{rows}_{durability:?}").to_lowercase();
    postgres.create_database(&database)?;
    let settings = ApplySettings {
        name: "bench".to_owned(),
        pipeline: "bench".to_owned(),
        config: target(postgres, &database, &directory.path().join("spool"), durability)?,
    };
    let (status, seen) = watch::channel(ApplyStatus::default());
    let shutdown = Shutdown::new();
    let started = Instant::now();
    let log: Arc<dyn Log> = log;
    let service =
        lockstep_apply::run(settings, log, status, FailPoints::default(), shutdown.clone());
    let watch_end = async {
        let mut seen = seen;
        seen.wait_for(|status| status.position >= end).await.map(|_| ())
    };
    let time = tokio::select! {
        result = service => {
            result?;
            anyhow::bail!("apply ended before the log's end");
        }
        reached = watch_end => {
            reached?;
            started.elapsed()
        }
    };
    Ok(time)
}

/// Writes the table's version and the transactions; returns the last position.
async fn fill(log: &dyn Log, rows: u64, transactions: u64) -> Result<Position> {
    let (mut writer, tail) = log.writer().await?;
    let table = SchemaEntry::Table(row::table());
    let entry = |stream, key, headers, payload| Entry { stream, key, headers, payload };
    let key = Some(table.key().into());
    writer.append(vec![entry(Stream::Schemas, key, None, table.encode().into())]).await?;
    writer.commit().await?;
    for n in 1..=transactions {
        let payload = logs::payload(tail.log_id, tail.epoch + 1, n, rows);
        let headers = Some((row::position(n), 0));
        writer.append(vec![entry(Stream::Transactions, None, headers, payload)]).await?;
        if n % 500 == 0 {
            writer.commit().await?;
        }
    }
    writer.commit().await?;
    Ok(row::position(transactions))
}

fn target(
    postgres: &Postgres,
    database: &str,
    spool: &std::path::Path,
    durability: Durability,
) -> Result<config::Apply> {
    let text = format!(
        "host = {:?}\nport = {}\ndatabase = {database:?}\nuser = {:?}\npassword = {:?}\n\
         spool = {:?}\nstart = \"earliest\"\ntls = \"disable\"",
        postgres.host(),
        postgres.port(),
        postgres.user(),
        postgres.password(),
        spool.display().to_string(),
    );
    let mut config: config::Apply = toml::from_str(&text)?;
    config.durability = durability;
    Ok(config)
}
