//! Consistent reads of the target.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::history::{Lsn, TableState, grouped};
use crate::render::{self, Row};
use crate::shape::Table;
use crate::workload::order_entry::conditions::Condition;

/// The target database, asked by a client of its own.
#[derive(Clone, Debug)]
pub struct Target {
    config: Config,
    pipeline: String,
}

impl Target {
    /// The database at `postgres://…`, where the pipeline `pipeline` applies.
    ///
    /// # Errors
    /// When the text is not a connection string.
    pub fn new(url: &str, pipeline: &str) -> Result<Self> {
        let mut config: Config = url.parse().context("the target URL is not a PostgreSQL URL")?;
        config.connect_timeout(Duration::from_secs(5)).application_name("lockstep-oracle");
        Ok(Target { config, pipeline: pipeline.to_owned() })
    }

    /// Opens a snapshot: everything read from it is as of one instant.
    ///
    /// # Errors
    /// When the target is away.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let client = self.connect().await?;
        client
            .batch_execute(
                "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET bytea_output = 'hex'; \
                 SET extra_float_digits = 1; SET statement_timeout = '300s'; \
                 BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            )
            .await?;
        let mut snapshot = Snapshot {
            client,
            position: None,
            loads: 0,
            converging: BTreeSet::new(),
            server_start: String::new(),
        };
        snapshot.position = snapshot.checkpoint(&self.pipeline).await?;
        snapshot.read_loads(&self.pipeline).await?;
        snapshot.server_start = snapshot.text(SERVER_START).await?;
        Ok(snapshot)
    }

    /// Runs statements outside any snapshot, as an operator would.
    ///
    /// # Errors
    /// The server's.
    pub async fn run(&self, sql: &str) -> Result<()> {
        Ok(self.connect().await?.batch_execute(sql).await?)
    }

    /// Connects. A server that says it is recovering from a crash is waited for: it is not away.
    async fn connect(&self) -> Result<Client> {
        let deadline = tokio::time::Instant::now() + RECOVERY;
        loop {
            match self.config.connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return Ok(client);
                }
                Err(error)
                    if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW)
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(RECOVERY_POLL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How long a recovering server is waited for, and how often it is asked.
const RECOVERY: Duration = Duration::from_secs(30);
const RECOVERY_POLL: Duration = Duration::from_millis(50);

/// When the server began to live. A server process that is killed makes all others begin anew under
/// the same postmaster, so that the checkpointer's start tells more, to those who may see it.
const SERVER_START: &str = "SELECT coalesce((SELECT max(backend_start) FROM pg_stat_activity \
    WHERE backend_type = 'checkpointer'), pg_postmaster_start_time())";

/// One instant of the target.
#[derive(Debug)]
pub struct Snapshot {
    client: Client,
    position: Option<Lsn>,
    loads: usize,
    converging: BTreeSet<String>,
    server_start: String,
}

impl Snapshot {
    /// The checkpoint's position; none before the pipeline has one.
    pub fn position(&self) -> Option<Lsn> {
        self.position
    }

    /// Tables (by name, without the schema) of full loads that are not consistent yet: the target
    /// does not claim that they equal the source.
    pub fn converging(&self) -> &BTreeSet<String> {
        &self.converging
    }

    /// How many tables were ever loaded, or are.
    pub fn loads(&self) -> usize {
        self.loads
    }

    /// When the server began to live: tells one life of it from the next.
    pub fn server_start(&self) -> &str {
        &self.server_start
    }

    /// All rows of `table`; none where the table does not exist yet.
    ///
    /// # Errors
    /// When the target goes away, or a value is not in the form its type has.
    pub async fn table(&self, table: &Table) -> Result<TableState> {
        let name = format!("\"dbo\".\"{}\"", table.name);
        if !self.exists(&name).await? {
            return Ok(TableState::new());
        }
        let columns: Vec<String> =
            table.columns.iter().map(|c| format!("\"{}\"", c.name)).collect();
        let sql = format!("SELECT {} FROM {name}", columns.join(", "));
        let rows: Result<Vec<Row>> =
            self.rows(&sql).await?.iter().map(|row| target_row(table, row)).collect();
        Ok(grouped(table, rows?))
    }

    /// Hands over all rows of `table`, one by one; there must be one.
    ///
    /// # Errors
    /// When the target goes away, or a value is not in the form its type has.
    pub async fn each(&self, table: &Table, mut take: impl FnMut(Row)) -> Result<()> {
        let columns: Vec<String> =
            table.columns.iter().map(|c| format!("\"{}\"", c.name)).collect();
        let sql = format!("SELECT {} FROM \"dbo\".\"{}\"", columns.join(", "), table.name);
        let mut messages = std::pin::pin!(self.client.simple_query_raw(&sql).await?);
        while let Some(message) = messages.try_next().await? {
            if let SimpleQueryMessage::Row(row) = message {
                take(target_row(table, &row)?);
            }
        }
        Ok(())
    }

    /// Whether a condition holds.
    ///
    /// # Errors
    /// When the target goes away.
    pub async fn holds(&self, condition: &Condition) -> Result<bool> {
        Ok(self.text(condition.sql).await? == "0")
    }

    /// Whether a table exists.
    ///
    /// # Errors
    /// When the target goes away.
    pub async fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.text(&format!("SELECT to_regclass('{name}') IS NOT NULL")).await? == "t")
    }

    async fn checkpoint(&self, pipeline: &str) -> Result<Option<Lsn>> {
        if !self.exists("lockstep.checkpoint").await? {
            return Ok(None);
        }
        let pipeline = pipeline.replace('\'', "''");
        let sql = format!("SELECT position FROM lockstep.checkpoint WHERE pipeline = '{pipeline}'");
        match self.rows(&sql).await?.as_slice() {
            [] => Ok(None),
            [row] => row.get(0).map(Lsn::of_position).transpose(),
            rows => bail!("{} checkpoints of one pipeline", rows.len()),
        }
    }

    async fn read_loads(&mut self, pipeline: &str) -> Result<()> {
        if !self.exists("lockstep.load").await? {
            return Ok(());
        }
        let pipeline = pipeline.replace('\'', "''");
        let sql = format!(
            "SELECT t.source, l.state FROM lockstep.load l \
             JOIN lockstep.load_table t USING (pipeline, load) \
             WHERE pipeline = '{pipeline}' AND t.state <> 'superseded'"
        );
        for row in self.rows(&sql).await? {
            let (source, state) = (row.get(0), row.get(1));
            self.loads += 1;
            if !matches!(state, Some("consistent" | "done")) {
                let source = source.context("a table of a load has a name")?;
                let table = source.rsplit('.').next().unwrap_or(source);
                self.converging.insert(table.to_owned());
            }
        }
        Ok(())
    }

    /// The one value that a query gives.
    ///
    /// # Errors
    /// When the target goes away, or there is none.
    pub async fn text(&self, sql: &str) -> Result<String> {
        let rows = self.rows(sql).await?;
        let value = rows.first().and_then(|row| row.get(0));
        Ok(value.with_context(|| format!("no value from {sql}"))?.to_owned())
    }

    /// Rows in PostgreSQL's own text.
    async fn rows(&self, sql: &str) -> Result<Vec<tokio_postgres::SimpleQueryRow>> {
        let messages = self.client.simple_query(sql).await?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }
}

fn target_row(table: &Table, row: &tokio_postgres::SimpleQueryRow) -> Result<Row> {
    let cells: Result<Vec<Option<Box<str>>>> = table
        .columns
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let text = row.get(i).map(|text| render::target_cell(column.ty, text)).transpose();
            text.with_context(|| format!("{}.{}", table.name, column.name))
                .map(|text| text.map(String::into_boxed_str))
        })
        .collect();
    Ok(Row(cells?.into()))
}
