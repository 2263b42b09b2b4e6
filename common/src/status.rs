//! What a service says of itself: the one source of `/status`, `/metrics`, `/readyz`, the dashboard
//! and the demo's live view.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Position;

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
    /// Anything an operator should know that is not a failure.
    pub notices: Vec<String>,
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
    /// Seconds between now and `commit_time` while transactions wait, 0 when caught up.
    pub lag_seconds: Option<f64>,
    /// Anything an operator should know that is not a failure.
    pub notices: Vec<String>,
}

/// The writing end of a status; cheap to clone.
pub type StatusSender<T> = watch::Sender<T>;

/// The reading end.
pub type StatusReceiver<T> = watch::Receiver<T>;
