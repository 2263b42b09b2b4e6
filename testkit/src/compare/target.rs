//! The target as others see it: when something arrives, and whether what is seen holds together.
//!
//! Nothing here knows who writes the target: both systems are watched by the same statements.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lockstep_common::Shutdown;
use tokio::task::JoinHandle;
use tokio::time;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::feed::Visible;
use super::shop::{CONDITIONS, Totals};

/// Pause between two looks at how far the tables are.
const LOOK: Duration = Duration::from_millis(2);
/// Pause between two questions whether everything is there: it reads whole tables.
const ASK: Duration = Duration::from_millis(100);
/// Least pause between two samples.
const SAMPLE: Duration = Duration::from_millis(100);
/// The observer rests so many times as long as a sample takes, so that it costs little.
const REST: u32 = 4;

pub(super) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the target ended");
        }
    });
    Ok(client)
}

/// How far the tables were at a moment: the newest key of each that is keyed by transaction.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    newest: [i64; 3],
}

/// Looks again and again.
pub(super) struct Arrivals {
    stop: Shutdown,
    task: JoinHandle<Result<Vec<Look>>>,
}

impl Arrivals {
    pub(super) async fn watch(url: &str) -> Result<Self> {
        let client = connect(url).await?;
        let stop = Shutdown::new();
        let task = tokio::spawn(look(client, stop.clone()));
        Ok(Arrivals { stop, task })
    }

    /// The time from each order's becoming visible in the source to the first look that found it, its
    /// lines and its journal entry in the target; sorted. Fails when one never arrived.
    pub(super) async fn latencies(self, visible: &[Visible]) -> Result<Vec<Duration>> {
        self.stop.cancel();
        let looks = self.task.await.context("the watcher panicked")??;
        let (mut latencies, mut next) = (Vec::with_capacity(visible.len()), 0);
        for order in visible {
            while looks.get(next).is_some_and(|look| look.newest.iter().any(|n| *n < order.n)) {
                next += 1;
            }
            let look = looks.get(next).with_context(|| format!("order {} not seen", order.n))?;
            latencies.push(look.at.saturating_duration_since(order.at));
        }
        latencies.sort_unstable();
        Ok(latencies)
    }
}

async fn look(client: Client, stop: Shutdown) -> Result<Vec<Look>> {
    let mut looks: Vec<Look> = Vec::new();
    let newest = client
        .prepare(
            "SELECT coalesce((SELECT max(n) FROM dbo.journal), 0)::bigint, \
             coalesce((SELECT max(id) FROM dbo.orders), 0)::bigint, \
             coalesce((SELECT max(order_id) FROM dbo.lines), 0)::bigint",
        )
        .await?;
    while !stop.is_cancelled() {
        let row = client.query_one(&newest, &[]).await?;
        let look = Look { at: Instant::now(), newest: [row.get(0), row.get(1), row.get(2)] };
        if looks.last().is_none_or(|last| last.newest != look.newest) {
            looks.push(look);
        }
        let _ = time::timeout(LOOK, stop.cancelled()).await;
    }
    Ok(looks)
}

/// When the first transaction was in the target, and when all were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) first: Instant,
    pub(super) all: Instant,
}

/// How far the target is on its way to having everything.
pub(super) struct Progress {
    client: Client,
    totals: Totals,
    began: Instant,
    first: Option<Instant>,
}

impl Progress {
    pub(super) async fn of(url: &str, totals: Totals) -> Result<Self> {
        Ok(Progress { client: connect(url).await?, totals, began: Instant::now(), first: None })
    }

    /// One look, with a pause behind it unless everything is there. Fails when it is not `within`
    /// that time.
    pub(super) async fn look(&mut self, within: Duration) -> Result<Option<Reached>> {
        const NEWEST: &str = "SELECT coalesce(max(n), 0)::bigint FROM dbo.journal";
        let (client, wanted) = (&self.client, self.totals.transactions);
        let newest = one::<i64>(client, NEWEST).await?.unwrap_or(0);
        if newest > 0 {
            self.first.get_or_insert_with(Instant::now);
        }
        if newest == wanted && one::<bool>(client, &self.totals.reached_sql()).await? == Some(true)
        {
            let all = Instant::now();
            return Ok(Some(Reached { first: self.first.unwrap_or(all), all }));
        }
        ensure!(
            self.began.elapsed() < within,
            "{newest} of {wanted} transactions are in the target after {within:?}, or not whole"
        );
        time::sleep(ASK).await;
        Ok(None)
    }
}

/// One value; none while a table is missing or the query gives NULL.
async fn one<T>(client: &Client, sql: &str) -> Result<Option<T>>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    match client.query_one(sql, &[]).await {
        Ok(row) => Ok(row.try_get(0)?),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_absent(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME))
}

/// What the observer has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Samples {
    /// Snapshots judged.
    pub(super) taken: u64,
    /// Those in which a condition did not hold, which holds in every state of the source.
    pub(super) torn: u64,
}

/// Samples the target beside the work, each time in one REPEATABLE READ transaction.
pub(super) struct Observer {
    stop: Shutdown,
    task: JoinHandle<Result<Samples>>,
}

impl Observer {
    pub(super) async fn watch(url: &str) -> Result<Self> {
        let client = connect(url).await?;
        let stop = Shutdown::new();
        let task = tokio::spawn(observe(client, stop.clone()));
        Ok(Observer { stop, task })
    }

    pub(super) async fn end(self) -> Result<Samples> {
        self.stop.cancel();
        self.task.await.context("the observer panicked")?
    }
}

async fn observe(client: Client, stop: Shutdown) -> Result<Samples> {
    let mut samples = Samples::default();
    while !stop.is_cancelled() {
        let began = Instant::now();
        match sample(&client).await {
            Ok(holds) => {
                samples.taken += 1;
                samples.torn += u64::from(!holds);
            }
            // A target without all of its tables yet is no sample.
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let pause = SAMPLE.max(began.elapsed() * REST);
        let _ = time::timeout(pause, stop.cancelled()).await;
    }
    Ok(samples)
}

async fn sample(client: &Client) -> Result<bool, tokio_postgres::Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let outcome = conditions(client).await;
    client.batch_execute("ROLLBACK").await?;
    outcome
}

async fn conditions(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let mut holds = true;
    for condition in CONDITIONS {
        let violations: i64 = client.query_one(condition.sql, &[]).await?.try_get(0)?;
        if violations > 0 {
            tracing::debug!(condition = condition.name, violations, "a torn state");
        }
        holds &= violations == 0;
    }
    Ok(holds)
}
