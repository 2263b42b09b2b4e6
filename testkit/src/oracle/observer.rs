//! The observer: reads the target again and again, at its own pace, and judges every snapshot.
//!
//! A snapshot is one REPEATABLE READ transaction that reads the checkpoint and all tables. It is
//! right when the tables hold exactly the source's state at the checkpoint's position, the position
//! is not below one seen before, every transaction is counted exactly once, and the workload's own
//! conditions hold.
//!
//! While a full load is on its way, the target says of its tables that they are converging, in the
//! same snapshot: their rows are not judged until it says that they are consistent, and from then on
//! like all others. The position is judged throughout.
//!
//! One step back is allowed: a crash of the server takes back the commits it had not flushed, data
//! and checkpoint together. So after the server has been started anew, a lower position is judged
//! like any other, and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lockstep_common::Shutdown;
use tokio::sync::watch;

use crate::history::{History, Lsn, Model, TableState, grouped};
use crate::oracle::compare::{Difference, compare};
use crate::oracle::target::{Snapshot, Target};
use crate::render;
use crate::shape::Table;
use crate::source::{Connection, Source};
use crate::workload::order_entry::conditions::Condition;

/// Findings kept; after a first torn state more of them say little.
const MOST_FINDINGS: usize = 20;

/// What an observer looks at.
#[derive(Clone, Debug)]
pub struct ObserverOptions {
    /// The target.
    pub target: Target,
    /// The source, whose ledger it reads.
    pub source: Source,
    /// The source's history.
    pub history: Arc<History>,
    /// What else must hold in every snapshot.
    pub conditions: &'static [Condition],
    /// Least pause between two snapshots.
    pub pause: Duration,
}

/// Something that must never be seen.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The checkpoint's position in the snapshot.
    pub position: Lsn,
    /// What was wrong.
    pub what: String,
}

/// What an observer has seen.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    /// Snapshots compared in full.
    pub snapshots: u64,
    /// Snapshots with tables of a full load that was not consistent, which were not judged.
    pub converging: u64,
    /// Snapshots at a position not seen before.
    pub positions: u64,
    /// Times the target could not be read.
    pub unreachable: u64,
    /// Times that a new start of the target's server showed it further back: its crash had taken
    /// unflushed commits with it.
    pub taken_back: u64,
    /// Position of the newest snapshot.
    pub position: Lsn,
    /// Transactions the target showed in the newest snapshot.
    pub transactions: usize,
    /// What must never be seen.
    pub findings: Vec<Finding>,
}

/// The observer.
#[derive(Debug)]
pub struct Observer {
    options: ObserverOptions,
    model: Model,
    seen: Observations,
    /// The position the model is at: that of the newest snapshot, judged to its end or not.
    reached: Lsn,
    server_start: String,
    shown: watch::Sender<Observations>,
}

impl Observer {
    /// An observer that has seen nothing yet.
    pub fn new(options: ObserverOptions) -> Self {
        let model = Model::new(Arc::clone(&options.history));
        Observer {
            options,
            model,
            seen: Observations::default(),
            reached: Lsn::default(),
            server_start: String::new(),
            shown: watch::Sender::default(),
        }
    }

    /// What it has seen so far.
    pub fn observations(&self) -> &Observations {
        &self.seen
    }

    /// What it has seen, while it runs.
    pub fn watch(&self) -> watch::Receiver<Observations> {
        self.shown.subscribe()
    }

    /// Observes until stopped; returns itself with what it has seen.
    pub async fn run(mut self, stop: Shutdown) -> Self {
        while !stop.is_cancelled() {
            let began = Instant::now();
            // An unreachable server is part of the exercise; it is counted and tried again.
            if let Err(error) = self.observe().await {
                tracing::debug!(error = format!("{error:#}"), "no observation");
                self.seen.unreachable += 1;
            }
            self.shown.send_replace(self.seen.clone());
            // Half of the time at most, so that observing does not starve what is observed.
            let pause = self.options.pause.max(began.elapsed());
            let _ = tokio::time::timeout(pause, stop.cancelled()).await;
        }
        self
    }

    /// Takes and judges one snapshot.
    ///
    /// # Errors
    /// When a server cannot be read; a wrong state is no error but a finding.
    pub async fn observe(&mut self) -> Result<()> {
        let snapshot = self.options.target.snapshot().await?;
        let Some(position) = snapshot.position() else { return Ok(()) };
        let new_life = self.server_start != snapshot.server_start();
        snapshot.server_start().clone_into(&mut self.server_start);
        if position < self.reached {
            if !new_life {
                let what = format!("the position went back from {}", self.reached);
                self.find(position, what);
                return Ok(());
            }
            self.seen.taken_back += 1;
            self.model = Model::new(Arc::clone(&self.options.history));
        }
        self.reached = position;
        self.learn(position).await?;
        self.model.advance(position);
        self.check_tables(&snapshot, position).await?;
        if snapshot.converging().is_empty() {
            self.check_conditions(&snapshot, position).await?;
            self.seen.snapshots += 1;
        } else {
            self.seen.converging += 1;
        }
        if position > self.seen.position {
            self.seen.positions += 1;
        }
        self.seen.position = position;
        self.seen.transactions = self.model.transactions();
        Ok(())
    }

    /// Compares the source's own tables, the recorded history and the target, once everything has
    /// arrived and nobody writes any more. Returns the rows compared.
    ///
    /// # Errors
    /// When a server cannot be read.
    pub async fn compare_all(&mut self) -> Result<u64> {
        let snapshot = self.options.target.snapshot().await?;
        let position = snapshot.position().context("the target has no checkpoint")?;
        let mut source = self.options.source.connect().await?;
        self.options.history.learn(&mut source).await?;
        self.model.advance(position);
        let history = Arc::clone(&self.options.history);
        let mut rows = 0;
        for (i, table) in history.tables().iter().enumerate() {
            let in_source = source_rows(&mut source, table).await?;
            let in_target = snapshot.table(table).await?;
            if let Some(difference) = compare(table, &in_source, &in_target) {
                self.find(position, format!("the target differs from the source: {difference}"));
            }
            if let Some(difference) = compare(table, &in_source, self.model.table(i)) {
                self.find(position, format!("the history differs from the source: {difference}"));
            }
            rows += count(&in_target);
        }
        Ok(rows)
    }

    /// Compares one table of source and target as they are now.
    ///
    /// # Errors
    /// When a server cannot be read.
    pub async fn compare_one(&mut self, index: usize) -> Result<Option<Difference>> {
        let snapshot = self.options.target.snapshot().await?;
        let mut source = self.options.source.connect().await?;
        let table = &self.options.history.tables()[index];
        let in_source = source_rows(&mut source, table).await?;
        Ok(compare(table, &in_source, &snapshot.table(table).await?))
    }

    /// Reads the ledger until it covers `position`: at once, since what the target shows has been
    /// in the change tables before.
    async fn learn(&self, position: Lsn) -> Result<()> {
        if self.options.history.newest() < position {
            let mut source = self.options.source.connect().await?;
            self.options.history.learn(&mut source).await?;
        }
        Ok(())
    }

    async fn check_tables(&mut self, snapshot: &Snapshot, position: Lsn) -> Result<()> {
        let history = Arc::clone(&self.options.history);
        for (i, table) in history.tables().iter().enumerate() {
            if snapshot.converging().contains(&table.name) {
                continue;
            }
            let actual = snapshot.table(table).await?;
            if let Some(difference) = compare(table, self.model.table(i), &actual) {
                self.find(position, format!("torn state: {difference}"));
            }
            if i == history.ledger() && count(&actual) != as_count(self.model.transactions()) {
                let what = format!(
                    "{} transactions in the ledger, {} committed",
                    count(&actual),
                    self.model.transactions()
                );
                self.find(position, what);
            }
        }
        Ok(())
    }

    async fn check_conditions(&mut self, snapshot: &Snapshot, position: Lsn) -> Result<()> {
        if self.model.transactions() == 0 {
            return Ok(());
        }
        if snapshot.exists("dbo.sessions").await? && !snapshot.holds(&EXACTLY_ONCE).await? {
            self.find(position, EXACTLY_ONCE.name.to_owned());
        }
        for condition in self.options.conditions {
            // Tables come into being with their first row.
            match snapshot.holds(condition).await {
                Ok(true) => {}
                Ok(false) => self.find(position, format!("violated: {}", condition.name)),
                Err(error) if is_undefined_table(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn find(&mut self, position: Lsn, what: String) {
        tracing::error!(%position, what, "wrong state in the target");
        if self.seen.findings.len() < MOST_FINDINGS {
            self.seen.findings.push(Finding { position, what });
        }
    }
}

async fn source_rows(source: &mut Connection, table: &Table) -> Result<TableState> {
    let rows = source.rows(&table.select_sql()).await?;
    let rows: Result<Vec<_>> = rows.iter().map(|row| render::source_row(table, row)).collect();
    Ok(grouped(table, rows?))
}

/// Every session's counter, its rows in the ledger and nothing else, without a look at the model.
const EXACTLY_ONCE: Condition = Condition {
    name: "a session has committed as many transactions as it counts",
    sql: "SELECT count(*) FROM dbo.sessions FULL JOIN \
          (SELECT l_session, count(*) AS n FROM dbo.ledger GROUP BY 1) l ON l_session = s_session \
          WHERE s_count IS DISTINCT FROM n",
};

fn is_undefined_table(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(|e| e.code());
    code == Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE)
}

fn count(state: &TableState) -> u64 {
    state.values().map(|rows| as_count(rows.len())).sum()
}

fn as_count(n: usize) -> u64 {
    u64::try_from(n).expect("a count fits 64 bits")
}
