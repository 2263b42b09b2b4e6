//! Keeps the service's status: what `/status`, `/metrics` and the dashboard show.
//!
//! Counts are of what is committed in the log: those of a window are added when it is.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::time::{Duration, Instant};

use lockstep_common::Code;
use lockstep_common::model::record::Operation;
use lockstep_common::service::status::{
    CaptureStatus, Counts, HeldTable, Look, StatusSender, TaskState,
};
use lockstep_common::{Disposition, Failure, Position, TableId};

use crate::output::Output;
use crate::source::{Poll, Table};

/// Keeps a status.
pub struct Reporter {
    sender: StatusSender<CaptureStatus>,
    /// Notices that hold as long as it runs.
    standing: Vec<String>,
    names: HashMap<TableId, String>,
    window: WindowCounts,
    /// Bytes of earlier outputs.
    bytes: u64,
}

#[derive(Default)]
struct WindowCounts {
    transactions: u64,
    changes: HashMap<TableId, Counts>,
}

impl Reporter {
    /// Over the sending end, whose notices stay.
    pub fn new(sender: StatusSender<CaptureStatus>) -> Self {
        let standing = sender.borrow().notices.clone();
        Reporter {
            sender,
            standing,
            names: HashMap::new(),
            window: WindowCounts::default(),
            bytes: 0,
        }
    }

    /// The sending end, for what the loads say.
    pub fn sender(&self) -> StatusSender<CaptureStatus> {
        self.sender.clone()
    }

    /// The position last committed.
    pub fn position(&self) -> Position {
        self.sender.borrow().position
    }

    /// Sets the state.
    pub fn state(&self, state: TaskState) {
        self.sender.send_modify(|status| status.state = state);
    }

    /// An attempt ended.
    pub fn failed(&self, failure: &Failure) {
        self.sender.send_modify(|status| {
            status.last_error = Some(failure.to_string());
            status.state = match failure.disposition() {
                Disposition::Retry => TaskState::Retrying,
                Disposition::Wait => TaskState::Waiting,
                Disposition::Halt => TaskState::Halted,
                Disposition::Fenced => TaskState::Fenced,
            };
        });
    }

    /// An attempt has written its epoch.
    pub fn began(&mut self, epoch: u64, output: &Output) {
        self.window = WindowCounts::default();
        self.bytes = self.sender.borrow().bytes;
        self.sender.send_modify(|status| {
            status.state = TaskState::Running;
            status.last_error = None;
            status.epoch = epoch;
            status.position = output.position();
            status.commit_time = output.time();
        });
    }

    /// Learns the tables' names.
    pub fn know(&mut self, tables: &[Table]) {
        for table in tables {
            self.names.entry(table.id).or_insert_with(|| table.version.name.to_string());
        }
    }

    /// A transaction begins.
    pub fn transaction(&mut self) {
        self.window.transactions += 1;
    }

    /// A change was written.
    pub fn change(&mut self, table: TableId, operation: Operation) {
        let counts = self.window.changes.entry(table).or_default();
        match operation {
            Operation::Insert => counts.inserts += 1,
            Operation::Update => counts.updates += 1,
            Operation::Delete | Operation::Truncate => counts.deletes += 1,
        }
    }

    /// What was counted is committed. Returns how many rows more each table has by it.
    pub fn committed(&mut self, output: &Output) -> Vec<(TableId, i64)> {
        let window = std::mem::take(&mut self.window);
        let more = |(table, counts): (&TableId, &Counts)| {
            (*table, counts.inserts.cast_signed() - counts.deletes.cast_signed())
        };
        let more = window.changes.iter().map(more).collect();
        self.sender.send_modify(|status| {
            status.position = output.position();
            status.commit_time = output.time();
            status.bytes = self.bytes + output.written();
            status.transactions += window.transactions;
            for (table, counts) in window.changes {
                let name = self.names.get(&table).cloned().unwrap_or_else(|| table.to_string());
                add(&mut status.tables, name, counts);
            }
        });
        more
    }

    /// The source was polled, and what that found is in the log; `more` says that it has more, and
    /// `next` when it is looked at again.
    pub fn polled(&self, poll: &Poll, output: &Output, more: bool, next: Duration) {
        self.sender.send_modify(|status| {
            if let Some(newest) = poll.newest {
                status.source_position = newest;
            }
            // A look in vain tells nothing newer, and nothing of how far behind the log is.
            let in_vain = poll.newest.is_none() && status.source_position > Position::ORIGIN;
            let behind = match poll.clock {
                _ if in_vain => return,
                _ if !more => Duration::ZERO,
                Some(clock) if output.time() != 0 => ticks(clock.saturating_sub(output.time())),
                _ => return,
            };
            status.looked = Some(Look { at: Instant::now(), behind, next });
        });
    }

    /// The tables of which nothing is written.
    pub fn held(&self, held: Vec<HeldTable>) {
        self.sender.send_if_modified(|status| {
            let changed = status.held != held;
            for table in held.iter().filter(|table| !status.held.contains(table)) {
                tracing::warn!("{table}");
            }
            status.held = held;
            changed
        });
    }

    /// Things an operator should know.
    pub fn notices(&self, notices: Vec<String>) {
        let notices: Vec<String> = self.standing.iter().cloned().chain(notices).collect();
        self.sender.send_if_modified(|status| {
            let changed = status.notices != notices;
            for notice in notices.iter().filter(|notice| !status.notices.contains(notice)) {
                tracing::warn!("{notice}");
            }
            status.notices = notices;
            changed
        });
    }
}

/// A time in 100 ns; none before its beginning.
fn ticks(ticks: i64) -> Duration {
    Duration::from_nanos(u64::try_from(ticks).unwrap_or(0).saturating_mul(100))
}

/// Waits for the source, and says so in the status while that takes long.
pub async fn watch<T>(
    sender: StatusSender<CaptureStatus>,
    what: &'static str,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    match tokio::time::timeout(SILENCE, &mut work).await {
        Ok(done) => return done,
        Err(_) => stalled(&sender, what),
    }
    let done = work.await;
    moving(&sender);
    done
}

/// How long the source may be silent before the status says so.
const SILENCE: Duration = Duration::from_secs(10);
const STALLED: &str = "the source has not answered for";

fn stalled(sender: &StatusSender<CaptureStatus>, what: &str) {
    let seconds = SILENCE.as_secs();
    let text = format!("[{}] {STALLED} {seconds} s: {what}", Code::SourceSilent);
    tracing::warn!("{text}");
    sender.send_modify(|status| {
        status.state = TaskState::Retrying;
        status.last_error = Some(text);
    });
}

/// What has failed meanwhile stays.
fn moving(sender: &StatusSender<CaptureStatus>) {
    sender.send_if_modified(|status| {
        let stalled = status.last_error.as_deref().is_some_and(|error| error.contains(STALLED));
        if stalled {
            status.state = TaskState::Running;
            status.last_error = None;
        }
        stalled
    });
}

fn add(tables: &mut BTreeMap<String, Counts>, name: String, counts: Counts) {
    let total = tables.entry(name).or_default();
    total.inserts += counts.inserts;
    total.updates += counts.updates;
    total.deletes += counts.deletes;
}
