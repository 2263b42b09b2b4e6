//! From the buffer into the target, over one connection or several.
//!
//! On one connection transactions are sent one behind the other without waiting; confirmations come
//! back in the same order. On several, statements of the next commits are sent while the oldest is not
//! confirmed, and only the oldest may commit: confirmations still come in order. (What may be executed
//! side by side is argued in `destination::postgres::run::claims`.)
//!
//! A unit leaves the buffer only when a commit that the target has *flushed* is at or behind it. What a
//! crash at each step does:
//!
//! - before its commit is sent: the target rolls it back; the next connection sends it again;
//! - between commit and confirmation: the next connection's epoch returns the checkpoint, which tells
//!   whether it was committed, and writing goes on behind it;
//! - after the confirmation, before the trim: the buffer still has it and passes over it;
//! - the target crashes after confirming commits it had not flushed: data and checkpoint come back
//!   together as of an earlier unit, which the buffer still has.
//!
//! A commit is of one unit, or, where the configuration lets them share one while apply catches up, of
//! several (`group`): what is said above of a unit then holds of them together.
//!
//! Records of full loads are units among the others (`load`): nothing is in flight when one is written.

mod again;
mod changes;
mod group;
mod load;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lockstep_common::Code;
use lockstep_common::config::Durability;
use lockstep_common::failure::Disposition;
use lockstep_common::{FailPoints, Failure, Position, Shutdown};
use lockstep_log::Log;

use crate::buffer::Buffer;
use crate::destination::{Refusal, Session, Trouble};
use crate::failpoints;
use crate::report::Progress;
use crate::schemas::LogSchemas;
use crate::unit::{Mark, Place, Unit, UnitKind};
use group::Group;
pub(crate) use group::Sharing;

/// Transactions on the wire without confirmation.
const WINDOW: usize = 4096;
/// Bytes of them.
const WINDOW_BYTES: u64 = 8 << 20;
/// In `group` durability every n-th commit is flushed,
const FLUSH_EVERY: u32 = 100;
/// and one this long after the last flush; and any that nothing follows.
const FLUSH_AFTER: Duration = Duration::from_millis(20);
/// The buffer's base goes to disk this often.
const SAVE_BASE: Duration = Duration::from_secs(1);

/// How often the target's tables are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How writing ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As asked.
    Shutdown,
    /// The log gave its last unit and the target has it.
    Finished,
    /// The log's task has ended, and nothing follows.
    Complete,
}

/// How it did not.
#[derive(Debug)]
pub(crate) enum Stopped {
    Failure(Failure),
    /// The target refuses this unit; the conflict policy decides.
    Refused {
        unit: Mark,
        first_offset: u64,
        refusal: Box<Refusal>,
    },
    /// A commit that several units share came to nothing: up to here they are to go one at a time,
    /// which tells whose fault it is.
    Shared {
        until: Place,
        why: String,
    },
}

impl Stopped {
    /// Whether the target may have refused something because its tables are not what they were.
    fn may_be_the_tables(&self) -> bool {
        match self {
            Stopped::Failure(failure) => {
                failure.disposition() == Disposition::Halt
                    && ![Code::Failpoint, Code::ApplyRows].contains(&failure.code)
            }
            Stopped::Refused { .. } | Stopped::Shared { .. } => true,
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Stopped::Failure(failure)
    }
}

/// What is to be done differently after a refusal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Care {
    /// Units up to here go one at a time, one row to a statement.
    pub(crate) until: Option<Place>,
    /// This unit is set aside.
    pub(crate) condemned: Option<(Place, Refusal)>,
}

/// What outlives a connection.
pub(crate) struct Context {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) schemas: LogSchemas,
    pub(crate) progress: Progress,
    pub(crate) durability: Durability,
    pub(crate) sharing: Sharing,
    pub(crate) flushed_offset: Arc<AtomicU64>,
    pub(crate) fail: FailPoints,
    pub(crate) care: Care,
    /// Commits that the target has confirmed.
    pub(crate) commits: u64,
}

pub(crate) struct Writer<'a, S> {
    context: &'a mut Context,
    session: S,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: u64,
    /// The commit being gathered: its units are written, its checkpoint is not.
    open: Option<Group>,
    /// The connection that has it.
    lane: usize,
    /// Commits confirmed and accounted for.
    settled: u64,
    unflushed: u32,
    flushed_at: Instant,
    saved_at: Instant,
    looked_at: Instant,
    /// The position last handed to the target; none until its first unit.
    reached: Option<Position>,
    /// The unit being written, which is not in flight yet.
    current: Option<(Mark, u64)>,
    /// The start point is the log's beginning: it has every load whole.
    earliest: bool,
    /// The unit written last ends the log's task.
    task_ended: bool,
    shutdown: Shutdown,
}

struct InFlight {
    group: Group,
    /// Number of the connection that has it.
    lane: usize,
    /// Its checkpoint is written; whether it is flushed.
    committing: Option<bool>,
}

/// Why a unit could not be written to its end.
enum Broken {
    /// It, or the connection, is at fault.
    Trouble(Trouble),
    /// Writing ends.
    Stopped(Stopped),
}

impl<T: Into<Trouble>> From<T> for Broken {
    fn from(trouble: T) -> Self {
        Broken::Trouble(trouble.into())
    }
}

impl From<Stopped> for Broken {
    fn from(stopped: Stopped) -> Self {
        Broken::Stopped(stopped)
    }
}

impl<'a, S: Session> Writer<'a, S> {
    /// Over a connection whose target is at `reached`; `earliest` says that it has followed the log from
    /// its beginning.
    pub(crate) fn new(
        context: &'a mut Context,
        session: S,
        reached: Option<Position>,
        earliest: bool,
        shutdown: Shutdown,
    ) -> Self {
        Writer {
            context,
            session,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            open: None,
            lane: 0,
            settled: 0,
            unflushed: 0,
            flushed_at: Instant::now(),
            saved_at: Instant::now(),
            looked_at: Instant::now(),
            reached,
            current: None,
            earliest,
            task_ended: false,
            shutdown,
        }
    }

    /// Writes until shutdown, the end of the buffer, or trouble. `at` is where the target is.
    ///
    /// # Errors
    /// What stopped it; the connection is of no further use.
    pub(crate) async fn run(mut self, at: Option<&Mark>) -> Result<Ended, Stopped> {
        self.resume_loads(at).await?;
        let mut ended = self.write_all().await;
        if let Err(stopped) = &ended
            && stopped.may_be_the_tables()
            && let Err(failure) = self.look_again().await
        {
            ended = Err(failure.into());
        }
        if let Err(Stopped::Failure(failure)) = &ended
            && again::ends_a_load(failure.code)
        {
            tracing::warn!(error = %failure, "a load has failed: looking for a later one");
            match self.load_again(at).await {
                Ok(None) => {}
                Ok(Some(later)) | Err(later) => ended = Err(later.into()),
            }
        }
        if let Err(Stopped::Failure(failure)) = &ended
            && failure.code == Code::ApplyRows
        {
            self.remember_lost(failure).await;
        }
        let ended = ended?;
        self.end_loads().await?;
        Ok(ended)
    }

    /// Rows are missing in what is committed: no later start may pass over that.
    async fn remember_lost(&self, failure: &Failure) {
        let first = self.in_flight.front().map(|InFlight { group, .. }| group.mark);
        let at = first.or(self.current.map(|(mark, _)| mark)).map(|mark| mark.position);
        let at = at.or(self.reached).unwrap_or(Position::ORIGIN);
        if let Err(error) = self.session.remember_lost(at, failure).await {
            tracing::error!(%error, "the missing rows cannot be written down in the target");
        }
    }

    /// Looks whether the target's tables are what they were.
    async fn look_again(&mut self) -> Result<(), Failure> {
        self.looked_at = Instant::now();
        self.session.look_again(self.reached.unwrap_or(Position::ORIGIN)).await?;
        if let Some((exceptions, forced)) = self.session.told().await? {
            self.context.progress.told(exceptions, forced);
        }
        Ok(())
    }

    async fn write_all(&mut self) -> Result<Ended, Stopped> {
        loop {
            if self.session.has_tables() && self.looked_at.elapsed() >= LOOK_AGAIN {
                self.look_again().await?;
            }
            self.settle()?;
            if self.commit_next() {
                self.flush().await?;
            }
            self.take_finished().await?;
            if !self.shutdown.is_cancelled()
                && self.has_window()
                && let Some(unit) = self.context.buffer.take()?
            {
                self.write(&unit).await?;
                continue;
            }
            self.close().await?;
            self.flush().await?;
            if self.in_flight.is_empty() {
                if self.shutdown.is_cancelled() {
                    return Ok(Ended::Shutdown);
                }
                if self.context.buffer.is_finished() {
                    return Ok(Ended::Finished);
                }
                if self.has_ended_task() {
                    return Ok(Ended::Complete);
                }
                if self.context.buffer.is_at_end() {
                    // The target has all there is.
                    self.context.progress.calm();
                }
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), Failure> {
        let (window, stopping) = (self.has_window(), self.shutdown.is_cancelled());
        let buffer = &self.context.buffer;
        let (looks, next_look) = (self.session.has_tables(), self.looked_at + LOOK_AGAIN);
        tokio::select! {
            () = self.shutdown.cancelled(), if !stopping => Ok(()),
            changed = self.session.changed() => changed,
            () = buffer.arrived(), if window && !stopping => Ok(()),
            () = tokio::time::sleep_until(next_look.into()), if looks => Ok(()),
        }
    }

    fn has_window(&self) -> bool {
        let window = match self.session.lanes() {
            _ if self.is_careful() => 1,
            1 => WINDOW,
            // Each has at most one in flight: the next is begun on one that has none.
            lanes => lanes,
        };
        self.in_flight.len() < window
            && (self.in_flight.is_empty() || self.in_flight_bytes < WINDOW_BYTES)
    }

    fn is_careful(&self) -> bool {
        self.context.care.until.is_some()
    }

    // --- Confirmations --------------------------------------------------------------------------

    /// Accounts for the commits confirmed since the last time and for chunks that have come, then for
    /// the connection's error.
    fn settle(&mut self) -> Result<(), Stopped> {
        self.take_chunks()?;
        for notice in self.session.take_notices() {
            self.context.progress.notice(&notice);
        }
        let committed = self.session.committed();
        let before = self.settled;
        let mut flushed = None;
        while self.settled < committed
            && let Some(InFlight { group, committing, .. }) = self.in_flight.pop_front()
        {
            self.settled += 1;
            self.context.commits += 1;
            self.session.settled();
            self.in_flight_bytes -= group.weight;
            flushed = if committing == Some(true) { Some(group.mark) } else { flushed };
            self.passed(&group);
            self.context.progress.committed(group.mark, &group.counts, group.transactions);
        }
        if self.settled > before {
            self.context.fail.hit(failpoints::COMMIT_ACKNOWLEDGED).map_err(Failure::from)?;
            self.trim(flushed)?;
            let levels = self.context.buffer.levels();
            self.context.progress.publish(self.in_flight.is_empty(), levels);
        }
        self.session.check().map_err(|trouble| self.stopped(trouble))
    }

    /// Leaves what was done for one unit's sake behind it.
    fn passed(&mut self, group: &Group) {
        if group.set_aside {
            self.context.care.condemned = None;
            self.context.progress.set_aside();
        }
        if self.context.care.until.is_some_and(|until| until <= group.mark.place()) {
            self.context.care.until = None;
            self.session.set_careful(false);
        }
    }

    fn trim(&mut self, flushed: Option<Mark>) -> Result<(), Failure> {
        let Some(mark) = flushed else { return Ok(()) };
        self.context.buffer.flushed(&mark)?;
        self.context.flushed_offset.store(mark.next_offset, Ordering::Relaxed);
        if self.saved_at.elapsed() >= SAVE_BASE {
            self.context.buffer.save_base()?;
            self.saved_at = Instant::now();
        }
        Ok(self.context.fail.hit(failpoints::TRIMMED)?)
    }

    /// What a trouble means for the unit it is about: the first without confirmation, which is the one
    /// being written when all before it are confirmed.
    fn stopped(&self, trouble: Trouble) -> Stopped {
        match trouble {
            Trouble::Failure(failure) => Stopped::Failure(failure),
            Trouble::Refused(refusal) => {
                if let Some(until) = self.is_unclear() {
                    return Stopped::Shared { until, why: refusal.to_string() };
                }
                let first = self.in_flight.front().map(|InFlight { group, .. }| group);
                let first = first.map(|group| (group.mark, group.first_offset));
                match first.or(self.current) {
                    Some((unit, first_offset)) => {
                        Stopped::Refused { unit, first_offset, refusal: Box::new(refusal) }
                    }
                    None => Stopped::Failure(
                        Failure::new(
                            Code::ApplyProtocol,
                            format!("the target refuses what was not sent: {refusal}"),
                        )
                        .remedy("report this with the log"),
                    ),
                }
            }
        }
    }

    // --- Sending --------------------------------------------------------------------------------

    async fn flush(&mut self) -> Result<(), Stopped> {
        self.commit_next();
        if let Err(trouble) = self.session.flush().await {
            // Confirmations that came before the error count.
            self.settle()?;
            return Err(self.stopped(trouble));
        }
        if self.in_flight.len() as u64 > 0 {
            self.context.fail.hit(failpoints::COMMIT_SENT).map_err(Failure::from)?;
        }
        Ok(())
    }

    async fn write(&mut self, unit: &Unit) -> Result<(), Stopped> {
        let gap = follows(self.reached, unit);
        if gap.is_err() || !self.may_join(unit) {
            self.close().await?;
        }
        self.current = Some((unit.mark, unit.first_offset));
        if let Err(gap) = gap {
            return Err(self.abandon(gap.into()).await);
        }
        match unit.kind {
            UnitKind::Load => return self.write_load(unit).await,
            UnitKind::Transaction if !self.await_chunks_of(unit).await? => return Ok(()),
            UnitKind::Transaction | UnitKind::Progress => {}
        }
        self.write_plain(unit).await
    }

    /// Writes a unit behind those in flight, as part of the open commit if there is one.
    async fn write_plain(&mut self, unit: &Unit) -> Result<(), Stopped> {
        let condemned = match &self.context.care.condemned {
            Some((at, refusal)) if *at == unit.mark.place() => Some(refusal.clone()),
            _ => None,
        };
        self.task_ended = false;
        if self.open.is_none() {
            self.lane = self.session.begin();
        }
        self.session.go_to(&unit.mark);
        let counts = match &condemned {
            Some(refusal) => {
                self.session.set_aside(refusal, &unit.mark, unit.first_offset);
                Vec::new()
            }
            None => match self.changes(unit).await {
                Ok(counts) => counts,
                Err(Broken::Trouble(trouble)) => return Err(self.abandon(trouble).await),
                Err(Broken::Stopped(stopped)) => return Err(stopped),
            },
        };
        self.join(unit, condemned.is_some(), &counts);
        if self.is_complete() { self.close().await } else { Ok(()) }
    }

    /// A unit could not be written to its end. Nothing of it is committed: its Sync was never sent.
    /// What was sent before it still counts, and an error among that came first.
    async fn abandon(&mut self, trouble: Trouble) -> Stopped {
        let connection_works = match &trouble {
            Trouble::Refused(_) => true,
            Trouble::Failure(failure) => {
                failure.disposition() == Disposition::Halt && failure.code != Code::Failpoint
            }
        };
        if connection_works && let Err(stopped) = self.quiesce().await {
            return stopped;
        }
        match &self.open {
            Some(group) if connection_works => {
                let until = self.current.map_or(group.mark.place(), |(mark, _)| mark.place());
                Stopped::Shared { until, why: trouble.to_string() }
            }
            _ => self.stopped(trouble),
        }
    }

    fn is_flush_due(&mut self) -> bool {
        self.unflushed += 1;
        let due = self.context.durability == Durability::Strict
            || self.unflushed >= FLUSH_EVERY
            || self.flushed_at.elapsed() >= FLUSH_AFTER
            || self.is_careful()
            || self.context.buffer.is_drained();
        if due {
            self.unflushed = 0;
            self.flushed_at = Instant::now();
        }
        due
    }
}

/// Holds a unit against the position that the target is at: whatever went wrong on the way here,
/// nothing is written behind a hole.
fn follows(reached: Option<Position>, unit: &Unit) -> Result<(), Failure> {
    match reached {
        Some(reached) if unit.after > reached => Err(Failure::new(
            Code::ApplyGap,
            format!(
                "what lies after {reached} up to {} did not reach the target: transaction {} \
                 continues from there",
                unit.after, unit.mark.position
            ),
        )
        .remedy(
            "start apply again, which reads it from the log; if it halts again, delete the spool's \
             directory",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::unit::Body;

    #[test]
    fn nothing_is_written_behind_a_hole() {
        let at = |n: u64| Position::new(1, &n.to_be_bytes()).expect("eight bytes fit");
        let mark = Mark { log_id: Uuid::nil(), position: at(5), next_offset: 9, time: 0 };
        let (kind, body) = (UnitKind::Progress, Body::Progress);
        let unit = Unit { kind, mark, after: at(4), first_offset: 8, bytes: 0, body };
        assert!(follows(None, &unit).is_ok());
        assert!(follows(Some(at(4)), &unit).is_ok());
        let failure = follows(Some(at(3)), &unit).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.disposition()),
            ("apply.gap", Disposition::Halt)
        );
        for end in [at(3), at(4)] {
            assert!(failure.message.contains(&end.to_string()), "{failure}");
        }
    }
}
