//! What a service says of itself: the one source of `/status`, `/metrics`, `/readyz`, the dashboard
//! and the demo's live view.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

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
    /// Something outside has to be seen to, which the last error names; tried again until it is.
    Waiting,
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
        match failure.disposition() {
            Disposition::Fenced => TaskState::Fenced,
            Disposition::Halt | Disposition::Wait | Disposition::Retry => TaskState::Halted,
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
    /// Seconds that the log is behind the source: 0 when nothing newer is known, growing since the last
    /// successful look. Computed when asked, by [`CaptureStatus::now`]; none before the first look.
    pub lag_seconds: Option<f64>,
    /// The last successful look at the source.
    #[serde(skip)]
    pub looked: Option<Look>,
    /// The newest full load, if there is one.
    #[serde(default)]
    pub load: Option<LoadStatus>,
    /// Captured tables of which nothing is written.
    #[serde(default)]
    pub held: Vec<HeldTable>,
    /// Anything an operator should know that is not a failure.
    pub notices: Vec<String>,
}

/// A successful look at the source for something newer.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When.
    pub at: Instant,
    /// How far the log was behind then; 0 when nothing newer was there.
    pub behind: Duration,
    /// When the next look is due.
    pub next: Duration,
}

/// How late a look may be before nothing newer being known says nothing any more.
const LATE: Duration = Duration::from_secs(1);

impl Look {
    fn seconds(&self) -> f64 {
        let since = self.at.elapsed();
        let caught_up = self.behind.is_zero() && since <= self.next + LATE;
        if caught_up { 0.0 } else { (self.behind + since).as_secs_f64() }
    }
}

impl CaptureStatus {
    /// As it is at this moment.
    #[must_use]
    pub fn now(mut self) -> Self {
        self.lag_seconds = self.looked.map(|look| look.seconds());
        self
    }

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
    /// Rows that the `converge` policy found otherwise than the source had them, and forced in.
    #[serde(default)]
    pub forced: u64,
    /// Whether the target may differ from every state of the source.
    pub diverged: bool,
    /// Characters that PostgreSQL cannot store and U+FFFD was written for, since start.
    #[serde(default)]
    pub replaced_characters: u64,
    /// Seconds that the target is behind the log: 0 when nothing newer is known, growing while the log or
    /// the target is away. Computed when asked, by [`ApplyStatus::now`]; none when unknown.
    pub lag_seconds: Option<f64>,
    /// Seconds since the source was as the target is, at most: now less `commit_time`. Grows on an idle
    /// source, too, until it says that nothing came. Computed when asked; none when unknown.
    #[serde(default)]
    pub staleness_seconds: Option<f64>,
    /// Since when it is not running.
    #[serde(skip)]
    pub away: Option<Instant>,
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
    /// As it is at this moment.
    #[must_use]
    pub fn now(mut self) -> Self {
        self.staleness_seconds = since(self.commit_time);
        self.lag_seconds = match self.away {
            // What waits is newer than the checkpoint, and how much is known by its time only.
            _ if self.waiting_transactions > 0 => self.staleness_seconds,
            None if self.state == TaskState::Starting => None,
            None => Some(0.0),
            Some(away) => Some(away.elapsed().as_secs_f64()),
        };
        self
    }

    /// Sets the state, and remembers since when it is another than running.
    pub fn enter(&mut self, state: TaskState) {
        self.state = state;
        match state {
            TaskState::Running => self.away = None,
            _ => self.away = self.away.or_else(|| Some(Instant::now())),
        }
    }

    /// The service has ended in `failure`, if it has not said so itself.
    pub fn ended(&mut self, failure: &Failure) {
        self.enter(TaskState::after(failure));
        self.last_error = Some(failure.to_string());
    }
}

/// Seconds since a time in 100 ns; none for 0, which is no time.
fn since(ticks: i64) -> Option<f64> {
    let then = u64::try_from(ticks).ok().filter(|ticks| *ticks > 0)?;
    let then = Duration::new(then / 10_000_000, (then % 10_000_000) as u32 * 100);
    Some(UNIX_EPOCH.elapsed().ok()?.saturating_sub(then).as_secs_f64())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(ago: u64, behind: u64) -> Option<f64> {
        let at = Instant::now().checked_sub(Duration::from_secs(ago)).unwrap();
        let next = Duration::from_millis(250);
        let look = Look { at, behind: Duration::from_secs(behind), next };
        CaptureStatus { looked: Some(look), ..CaptureStatus::default() }.now().lag_seconds
    }

    #[test]
    fn capture_is_behind_by_what_it_knows_and_by_how_long_it_has_not_looked() {
        assert_eq!(CaptureStatus::default().now().lag_seconds, None);
        assert_eq!(looked(0, 0), Some(0.0));
        assert!(looked(40, 0).unwrap() >= 40.0, "the source has not answered for 40 s");
        assert!((7.0..8.0).contains(&looked(0, 7).unwrap()));
        assert!(looked(40, 7).unwrap() >= 47.0);
    }

    fn ticks(ago: u64) -> i64 {
        i64::try_from((UNIX_EPOCH.elapsed().unwrap().as_secs() - ago) * 10_000_000).unwrap()
    }

    #[test]
    fn an_apply_is_behind_by_what_waits_and_by_how_long_it_is_away() {
        let mut status = ApplyStatus::default();
        let lag = |status: &ApplyStatus| status.clone().now().lag_seconds;
        let stale = |status: &ApplyStatus| status.clone().now().staleness_seconds;
        // No 57 years: nothing is known before the first transaction.
        assert_eq!((lag(&status), stale(&status)), (None, None));
        status.enter(TaskState::Running);
        assert_eq!((lag(&status), stale(&status)), (Some(0.0), None));
        status.waiting_transactions = 3;
        assert_eq!(lag(&status), None);
        status.commit_time = ticks(100);
        assert!(lag(&status).unwrap() >= 100.0 && stale(&status).unwrap() >= 100.0);
        status.waiting_transactions = 0;
        assert_eq!(lag(&status), Some(0.0));
        assert!(stale(&status).unwrap() >= 100.0, "the end-to-end delay is no lag of the target");
        status.enter(TaskState::Retrying);
        status.away = Instant::now().checked_sub(Duration::from_secs(30));
        status.enter(TaskState::Starting);
        assert!(lag(&status).unwrap() >= 30.0, "away for 30 s, in whatever words");
        status.enter(TaskState::Running);
        assert_eq!(lag(&status), Some(0.0));
    }
}
