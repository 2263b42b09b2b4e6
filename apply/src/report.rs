//! What apply says of itself, gathered where it happens and published seldom enough to cost nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lockstep_common::model::record::Operation;
use lockstep_common::service::status::{
    ApplyStatus, Counts, HeldTable, LoadStatus, StatusSender, TaskState,
};
use lockstep_common::{Disposition, Failure, TableId};

use crate::buffer::Levels;
use crate::destination::Attached;
use crate::unit::Mark;

/// Between two publications while there is work.
const INTERVAL: Duration = Duration::from_millis(50);

/// A peer of apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Log,
    Target,
}

/// What each peer's trouble is, until something got through to it.
#[derive(Debug, Default)]
struct Troubles {
    log: Option<(TaskState, String)>,
    target: Option<(TaskState, String)>,
    /// The target has been taken up.
    attached: bool,
}

impl Troubles {
    fn of(&mut self, side: Side) -> &mut Option<(TaskState, String)> {
        match side {
            Side::Log => &mut self.log,
            Side::Target => &mut self.target,
        }
    }

    fn show(&self, status: &mut ApplyStatus) {
        let trouble = self.target.as_ref().or(self.log.as_ref());
        status.last_error = trouble.map(|(_, what)| what.clone());
        status.enter(match trouble {
            Some((state, _)) => *state,
            None if self.attached => TaskState::Running,
            None => TaskState::Starting,
        });
    }
}

/// The status of one apply.
#[derive(Clone)]
pub(crate) struct Report(StatusSender<ApplyStatus>, Arc<Mutex<Troubles>>);

impl Report {
    pub(crate) fn new(sender: StatusSender<ApplyStatus>) -> Self {
        Report(sender, Arc::default())
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.1.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn state(&self, state: TaskState) {
        self.0.send_modify(|status| status.enter(state));
    }

    /// A failure of a peer that is being retried.
    pub(crate) fn trouble(&self, side: Side, failure: &Failure) {
        let state = match failure.disposition() {
            Disposition::Wait => TaskState::Waiting,
            _ => TaskState::Retrying,
        };
        let mut troubles = self.troubles();
        *troubles.of(side) = Some((state, failure.to_string()));
        self.0.send_modify(|status| troubles.show(status));
    }

    /// The last failure.
    pub(crate) fn failed(&self, state: TaskState, failure: &Failure) {
        self.0.send_modify(|status| {
            status.enter(state);
            status.last_error = Some(failure.to_string());
        });
    }

    /// A peer does its work again: a record of the log was read, a commit of the target confirmed.
    pub(crate) fn recovered(&self, side: Side) {
        let mut troubles = self.troubles();
        if troubles.of(side).take().is_some() {
            self.0.send_modify(|status| troubles.show(status));
        }
    }

    pub(crate) fn notice(&self, notice: &str) {
        tracing::warn!("{notice}");
        self.0.send_modify(|status| {
            if !status.notices.iter().any(|n| n == notice) {
                status.notices.push(notice.to_owned());
            }
        });
    }

    /// A session has begun.
    pub(crate) fn attached(&self, attached: &Attached) {
        attached.notices.iter().for_each(|notice| self.notice(notice));
        let mut troubles = self.troubles();
        troubles.attached = true;
        self.0.send_modify(|status| {
            // What stopped the connection before is over when a commit got through.
            troubles.show(status);
            status.epoch = attached.epoch;
            diverged(status, attached.exceptions, attached.forced);
            if let Some(mark) = &attached.mark {
                reached(status, mark);
            }
        });
    }

    /// What of the target was found to be other than the source.
    pub(crate) fn told(&self, exceptions: u64, forced: u64) {
        self.0.send_if_modified(|status| {
            let before = (status.exceptions, status.forced);
            diverged(status, exceptions, forced);
            before != (exceptions, forced)
        });
    }

    /// A transaction was set aside.
    pub(crate) fn set_aside(&self) {
        self.0.send_modify(|status| {
            status.exceptions += 1;
            status.diverged = true;
        });
    }

    /// The same, but only every so many offsets: for the hot path.
    pub(crate) fn fetched_lazily(&self, offset: u64, levels: impl FnOnce() -> Levels) {
        const STEP: u64 = 256;
        if offset.is_multiple_of(STEP) {
            self.fetched(offset, levels(), false);
        }
    }

    /// How far the newest full load is.
    pub(crate) fn load(&self, load: Option<LoadStatus>) {
        self.0.send_if_modified(|status| {
            let changed = status.load != load;
            status.load = load;
            changed
        });
    }

    /// The tables whose changes are passed over.
    pub(crate) fn held(&self, held: Vec<HeldTable>) {
        self.0.send_if_modified(|status| {
            let changed = status.held != held;
            status.held = held;
            changed
        });
    }

    /// The log has been read up to `offset`.
    pub(crate) fn fetched(&self, offset: u64, levels: Levels, back_pressure: bool) {
        self.0.send_modify(|status| {
            status.fetched_offset = offset;
            status.back_pressure = back_pressure;
            show_levels(status, levels);
        });
    }
}

fn diverged(status: &mut ApplyStatus, exceptions: u64, forced: u64) {
    (status.exceptions, status.forced) = (exceptions, forced);
    status.diverged = exceptions > 0 || forced > 0;
}

/// Commits since the last publication.
pub(crate) struct Progress {
    report: Report,
    names: HashMap<TableId, Arc<str>>,
    tables: HashMap<TableId, Counts>,
    transactions: u64,
    mark: Option<Mark>,
    published: Instant,
    /// Characters that were replaced.
    replaced: Option<Arc<AtomicU64>>,
}

impl Progress {
    pub(crate) fn new(report: Report, replaced: Option<Arc<AtomicU64>>) -> Self {
        Progress {
            report,
            names: HashMap::new(),
            tables: HashMap::new(),
            transactions: 0,
            mark: None,
            published: Instant::now(),
            replaced,
        }
    }

    /// A table's name, once.
    pub(crate) fn name(&mut self, id: TableId, name: &str) {
        self.names.entry(id).or_insert_with(|| name.into());
    }

    /// A transaction was set aside.
    pub(crate) fn set_aside(&self) {
        self.report.set_aside();
    }

    /// What of the target was found to be other than the source.
    pub(crate) fn told(&self, exceptions: u64, forced: u64) {
        self.report.told(exceptions, forced);
    }

    /// Something an operator should know.
    pub(crate) fn notice(&self, notice: &str) {
        self.report.notice(notice);
    }

    /// How far the newest full load is.
    pub(crate) fn load(&self, load: Option<LoadStatus>) {
        self.report.load(load);
    }

    /// The tables whose changes are passed over.
    pub(crate) fn held(&self, held: Vec<HeldTable>) {
        self.report.held(held);
    }

    /// Units up to `mark` were committed.
    pub(crate) fn committed(
        &mut self,
        mark: Mark,
        counts: &[(TableId, Counts)],
        transactions: u64,
    ) {
        self.mark = Some(mark);
        self.transactions += transactions;
        for (id, counts) in counts {
            add(self.tables.entry(*id).or_default(), counts);
        }
    }

    /// The target has everything there is.
    pub(crate) fn calm(&self) {
        self.report.recovered(Side::Target);
    }

    /// Publishes when it is due, or when there is nothing more to wait for.
    pub(crate) fn publish(&mut self, idle: bool, levels: Levels) {
        if self.mark.is_none() || !(idle || self.published.elapsed() >= INTERVAL) {
            return;
        }
        self.report.recovered(Side::Target);
        self.report.0.send_modify(|status| {
            status.transactions += std::mem::take(&mut self.transactions);
            for (id, counts) in self.tables.drain() {
                let name = self.names.get(&id).map_or_else(|| id.to_string(), |n| n.to_string());
                add(status.tables.entry(name).or_default(), &counts);
            }
            if let Some(mark) = self.mark.take() {
                reached(status, &mark);
            }
            if let Some(replaced) = &self.replaced {
                status.replaced_characters = replaced.load(Ordering::Relaxed);
            }
            show_levels(status, levels);
        });
        self.published = Instant::now();
    }
}

/// Counts a change of one table.
pub(crate) fn count(counts: &mut Counts, operation: Operation) {
    match operation {
        Operation::Insert => counts.inserts += 1,
        Operation::Update => counts.updates += 1,
        Operation::Delete | Operation::Truncate => counts.deletes += 1,
    }
}

/// Adds counts up.
pub(crate) fn add(to: &mut Counts, counts: &Counts) {
    to.inserts += counts.inserts;
    to.updates += counts.updates;
    to.deletes += counts.deletes;
}

fn reached(status: &mut ApplyStatus, mark: &Mark) {
    status.position = mark.position;
    status.commit_time = mark.time;
    status.next_offset = mark.next_offset;
}

fn show_levels(status: &mut ApplyStatus, levels: Levels) {
    status.waiting_transactions = levels.units;
    status.memory_bytes = levels.memory_bytes;
    status.spool_bytes = levels.spool_bytes;
}
