//! What a service says of itself: the one source of `/status`, `/metrics`, `/readyz`, the dashboard
//! and the demo's live view.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Disposition, Failure, Position};

/// What a service is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Not yet connected.
    #[default]
    Starting,
    /// Doing its work, or idle with nothing to do.
    Running,
    /// A peer is away; trying again.
    Retrying,
    /// Stopped: an operator must act.
    Halted,
    /// Another instance took over.
    Fenced,
    /// Stopped as asked.
    Stopped,
}

impl TaskState {
    /// That of a service which has ended in `failure`.
    fn after(failure: &Failure) -> Self {
        match failure.disposition {
            Disposition::Fenced => TaskState::Fenced,
            Disposition::Halt | Disposition::Retry => TaskState::Halted,
        }
    }
}

/// Changes counted by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Inserts.
    pub inserts: u64,
    /// Updates.
    pub updates: u64,
    /// Deletes.
    pub deletes: u64,
}

/// Capture's status.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CaptureStatus {
    /// What it is doing.
    pub state: TaskState,
    /// The last failure, with its remedy.
    pub last_error: Option<String>,
    /// Its epoch in the log.
    pub epoch: u64,
    /// Position of the newest complete record in the log.
    pub position: Position,
    /// Commit time at that position, 100 ns since 1970-01-01Z.
    pub commit_time: i64,
    /// Source transactions written since start.
    pub transactions: u64,
    /// Changes written since start, per table.
    pub tables: BTreeMap<String, Counts>,
    /// Bytes written since start.
    pub bytes: u64,
    /// Newest LSN of the source as a position, complete or not.
    pub source_position: Position,
    /// Seconds between the source's clock and `commit_time` when last polled; none before.
    pub lag_seconds: Option<f64>,
    /// The newest full load, if there is one.
    #[serde(default)]
    pub load: Option<LoadStatus>,
    /// Captured tables of which nothing is written.
    #[serde(default)]
    pub held: Vec<HeldTable>,
    /// Anything an operator should know that is not a failure.
    pub notices: Vec<String>,
}

impl CaptureStatus {
    /// The service has ended in `failure`, if it has not said so itself.
    pub fn ended(&mut self, failure: &Failure) {
        self.state = TaskState::after(failure);
        self.last_error = Some(failure.to_string());
    }
}

/// Apply's status.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ApplyStatus {
    /// What it is doing.
    pub state: TaskState,
    /// The last failure, with its remedy.
    pub last_error: Option<String>,
    /// Its epoch in the target.
    pub epoch: u64,
    /// Position of the checkpoint: committed in the target.
    pub position: Position,
    /// Commit time of that position in the source, 100 ns since 1970-01-01Z.
    pub commit_time: i64,
    /// Next log offset to read after the checkpoint.
    pub next_offset: u64,
    /// Log offset read up to.
    pub fetched_offset: u64,
    /// Source transactions committed since start.
    pub transactions: u64,
    /// Changes committed since start, per table.
    pub tables: BTreeMap<String, Counts>,
    /// Transactions waiting in memory and spool.
    pub waiting_transactions: u64,
    /// Bytes waiting in memory.
    pub memory_bytes: u64,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Reading from the log is stopped because the spool is at its budget.
    pub back_pressure: bool,
    /// Transactions set aside under the `exceptions` policy: the target has diverged.
    pub exceptions: u64,
    /// Whether the target may differ from every state of the source.
    pub diverged: bool,
    /// Characters that PostgreSQL cannot store and U+FFFD was written for, since start.
    #[serde(default)]
    pub replaced_characters: u64,
    /// Seconds between now and `commit_time` while transactions wait, 0 when caught up.
    pub lag_seconds: Option<f64>,
    /// The newest full load, if there is one.
    #[serde(default)]
    pub load: Option<LoadStatus>,
    /// Tables whose changes are passed over.
    #[serde(default)]
    pub held: Vec<HeldTable>,
    /// Anything an operator should know that is not a failure.
    pub notices: Vec<String>,
}

/// A table that is left alone until an operator acts: to go on with it would lose rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTable {
    /// The source table.
    pub table: String,
    /// Why.
    pub reason: String,
    /// What to run so that it is followed.
    pub command: String,
}

impl HeldTable {
    /// A table that a load brings in.
    pub fn until_loaded(table: impl Into<String>, reason: impl Into<String>) -> Self {
        let table = table.into();
        HeldTable { command: format!("lockstep reload {table}"), table, reason: reason.into() }
    }
}

impl std::fmt::Display for HeldTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let HeldTable { table, reason, command } = self;
        write!(f, "table {table} is held: {reason}; run: {command}")
    }
}

impl ApplyStatus {
    /// The service has ended in `failure`, if it has not said so itself.
    pub fn ended(&mut self, failure: &Failure) {
        self.state = TaskState::after(failure);
        self.last_error = Some(failure.to_string());
    }
}

/// A full load, as the service sees it: capture reads it from the source, apply writes it to the
/// target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadStatus {
    /// The load's id.
    pub id: String,
    /// How far it is.
    pub state: LoadState,
    /// Each table of it, by source name.
    pub tables: BTreeMap<String, TableLoadStatus>,
    /// The position from which the target equals the source, once it is known.
    pub consistent: Option<Position>,
    /// What it waits for, for people.
    pub waiting: Option<String>,
    /// When it began, 100 ns since 1970-01-01Z.
    pub started: i64,
}

/// How far a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadState {
    /// Rows are on their way.
    #[default]
    Loading,
    /// All rows are there; the stream has not reached `consistent` yet.
    Converging,
    /// The target equals the source; indexes and constraints are being made.
    Finishing,
    /// All is done.
    Done,
}

/// A table of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableLoadStatus {
    /// How far it is.
    pub state: TableLoadState,
    /// Rows done with.
    pub rows: u64,
    /// Rows there are, as the source estimates; none when unknown.
    pub rows_expected: Option<u64>,
    /// Bytes of the rows in the log.
    pub bytes: u64,
    /// Chunks done with.
    pub chunks: u32,
    /// Chunks there are, once that is known.
    pub chunks_total: Option<u32>,
    /// When its first chunk began, 100 ns since 1970-01-01Z; 0 before.
    pub started: i64,
    /// Seconds from its first chunk to its last, or until now.
    pub seconds: f64,
}

/// How far a table of a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableLoadState {
    /// Not begun.
    #[default]
    Waiting,
    /// Rows are on their way.
    Loading,
    /// All its rows are there.
    Loaded,
}

/// The writing end of a status; cheap to clone.
pub type StatusSender<T> = watch::Sender<T>;

/// The reading end.
pub type StatusReceiver<T> = watch::Receiver<T>;
