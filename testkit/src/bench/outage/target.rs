//! The target as others see it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lockstep_common::Shutdown;
use lockstep_servers::Postgres;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::super::limits;
use super::super::services::Services;
use super::WITHIN;
use super::source::{Feed, PARTS};
use crate::source::Source;

/// Between two looks for the newest row.
const LOOK: Duration = Duration::from_millis(1);
/// Between two looks of the observer.
const OBSERVE: Duration = Duration::from_millis(20);
/// The observer counts so many of the newest rows.
const NEWEST: i64 = 2000;
/// Rows whose payloads are compared.
const COMPARED: u64 = 200;

/// A connection to the target.
pub(super) struct Target {
    client: Client,
}

/// A look at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) at: Instant,
    /// Number of the newest transaction.
    pub(super) newest: u64,
}

impl Target {
    pub(super) async fn connect(postgres: &Postgres, database: &str) -> Result<Self> {
        Ok(Target { client: limits::connect(postgres, database).await? })
    }

    /// Waits for a transaction.
    pub(super) async fn reaches(&mut self, n: u64, services: &mut Services) -> Result<Reached> {
        let began = Instant::now();
        loop {
            let newest = newest(&self.client).await?;
            if newest >= n {
                return Ok(Reached { at: Instant::now(), newest });
            }
            services.check()?;
            ensure!(began.elapsed() < WITHIN, "transaction {n} does not arrive");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Fails unless everything that was written is there, and nothing else.
    pub(super) async fn has_all(&self, source: &Source, written: u64) -> Result<()> {
        let rows = written * PARTS;
        let question = "SELECT count(*), count(DISTINCT id), min(id), max(id), \
                        count(*) FILTER (WHERE id = (n - 1) * $1 + part) FROM dbo.entry";
        let parts = i64::try_from(PARTS)?;
        let row = self.client.query_one(question, &[&parts]).await?;
        let found: [i64; 5] = [row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)];
        let all = i64::try_from(rows)?;
        ensure!(found == [all, all, 0, all - 1, all], "of {rows} rows the target has {found:?}");
        let mut connection = source.connect().await?;
        for id in (0..rows).step_by(usize::try_from((rows / COMPARED).max(1))?) {
            let question = "SELECT payload::text FROM dbo.entry WHERE id = $1";
            let row = self.client.query_one(question, &[&i64::try_from(id)?]).await?;
            let payload = Feed::payload(&mut connection, id).await?;
            ensure!(row.get::<_, &str>(0) == payload, "row {id} is another one");
        }
        Ok(())
    }
}

async fn newest(client: &Client) -> Result<u64> {
    let question = "SELECT coalesce(max(id) + 1, 0)::bigint FROM dbo.entry";
    match client.query_one(question, &[]).await {
        Ok(row) => Ok(u64::try_from(row.get::<_, i64>(0))? / PARTS),
        // The table is made by apply.
        Err(error) if is_absent(&error) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn is_absent(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME))
}

/// Looks until it is ended.
pub(super) struct Observer {
    stop: Shutdown,
    task: JoinHandle<Result<u64>>,
}

/// Begins to observe a target that has its tables.
pub(super) async fn observe(postgres: &Postgres, database: &str) -> Result<Observer> {
    let client = limits::connect(postgres, database).await?;
    let stop = Shutdown::new();
    let task = tokio::spawn(look(client, stop.clone()));
    Ok(Observer { stop, task })
}

impl Observer {
    /// How often it looked; fails on a state that must never be seen.
    pub(super) async fn end(self) -> Result<u64> {
        self.stop.cancel();
        self.task.await.context("the observer panicked")?
    }
}

async fn look(client: Client, stop: Shutdown) -> Result<u64> {
    let (mut looks, mut before) = (0, 0);
    let parts = i64::try_from(PARTS)?;
    let question = format!(
        "SELECT top, (SELECT count(*) FROM dbo.entry WHERE id >= top - {NEWEST}) \
         FROM (SELECT coalesce(max(id) + 1, 0)::bigint AS top FROM dbo.entry) AS newest"
    );
    while !stop.is_cancelled() {
        let row = client.query_one(&question, &[]).await.context("observe")?;
        let (top, newest): (i64, i64) = (row.get(0), row.get(1));
        ensure!(top % parts == 0, "part of a transaction is visible: {top} rows");
        ensure!(newest == top.min(NEWEST), "of {top} rows the newest have holes: {newest}");
        ensure!(top >= before, "the target went back from {before} to {top} rows");
        (looks, before) = (looks + 1, top);
        let _ = tokio::time::timeout(OBSERVE, stop.cancelled()).await;
    }
    Ok(looks)
}
