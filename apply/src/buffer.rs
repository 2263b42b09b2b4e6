//! The buffer between log and target: complete units in order, in memory first, on disk when that is
//! not enough.
//!
//! It holds everything from its *base* (a checkpoint that the target has flushed) to its *end*
//! without a hole: units not yet written, units on the wire, and units committed but not flushed. So
//! whatever a new connection's epoch says of the checkpoint, if it lies between base and end, writing
//! goes on from there without the log being read again; if not (a target restored from a backup,
//! another apply that got further), everything is dropped and read from the checkpoint on.
//!
//! In order: units on disk, then units in memory, then the fragments of an unfinished transaction.
//! When memory is full, all of it moves to disk, piece by piece and from the front, so that it is never
//! held twice; while something on disk waits, memory only gathers what is worth a write; units go to
//! memory again once everything on disk has been handed out. What the disk refuses stays where it was,
//! and the end does not move. A transaction that outgrows memory is on disk before it is complete and is
//! never held whole. When the disk is at its budget too, `room` waits, and the log is not read.

mod held;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use lockstep_common::Code;
use lockstep_common::service::limits::Room;
use lockstep_common::{FailPoints, Failure, Position};
use tokio::sync::Notify;

use crate::assemble::Completed;
use crate::failpoints;
use crate::spool::{Contents, SharedSpool, Spool, Spooled, blocking};
use crate::unit::{Body, Mark, Unit, UnitKind};
use held::{Disk, Held, Pending};

/// What may be held where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes in memory.
    pub(crate) memory: u64,
    /// Bytes on disk.
    pub(crate) disk: u64,
}

impl Limits {
    /// Bytes in memory behind something on disk.
    fn gathered(&self) -> u64 {
        self.memory.min(GATHERED_BYTES)
    }
}

/// Units read from the disk at once.
const READ_AHEAD: u64 = 1 << 20;
/// Flushed bytes on disk that are worth a trim.
const TRIM_BYTES: u64 = 8 << 20;
/// What is to go to disk is gathered to this much.
const GATHERED_BYTES: u64 = 1 << 20;

/// How often a full disk is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) units: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) spool_bytes: u64,
}

pub(crate) struct Buffer {
    held: Mutex<Held>,
    spool: SharedSpool,
    /// Of the spool.
    disk: Room,
    limits: Limits,
    fail: FailPoints,
    /// There is a unit more, or the end.
    arrived: Notify,
    /// There is room again.
    room: Notify,
}

impl Buffer {
    /// Over a spool, with what it held.
    pub(crate) fn new(
        spool: Spool,
        contents: Option<Contents>,
        limits: Limits,
        fail: FailPoints,
    ) -> Self {
        Buffer {
            held: Mutex::new(Held::new(contents.as_ref())),
            disk: Room::of(spool.path()),
            spool: Arc::new(spool),
            limits,
            fail,
            arrived: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Where reading the log goes on; none while there is no checkpoint to go on from.
    pub(crate) fn end(&self) -> Option<Mark> {
        self.lock().end
    }

    pub(crate) fn levels(&self) -> Levels {
        let held = self.lock();
        Levels {
            units: (held.memory.len() - held.handed) as u64 + held.disk.waiting(),
            memory_bytes: held.memory_bytes + held.pending.bytes,
            spool_bytes: held.disk.bytes() + held.pending.spooled.map_or(0, |(_, bytes)| bytes),
        }
    }

    // --- The log's side -------------------------------------------------------------------------

    /// Whether more can be taken now: all that is held may have to go to disk, and where that has no
    /// room, all has to stay in memory.
    pub(crate) fn has_room(&self) -> bool {
        let held = self.lock();
        let all = held.disk.bytes() + held.memory_bytes + held.pending.total();
        if all >= self.limits.disk.max(self.limits.memory) {
            return false;
        }
        // What comes next may be the one that memory does not hold: there is half of it for that.
        let in_memory = held.memory_bytes + held.pending.bytes < self.limits.memory / 2;
        let spilling = held.disk.next.is_some() || held.pending.spooled.is_some();
        in_memory && !spilling || self.disk.is_left()
    }

    /// Waits for [`Buffer::has_room`]; `waits` is told what of the disk it waits for.
    ///
    /// # Errors
    /// `Halt` when a single transaction is larger than the budget: it will never fit.
    pub(crate) async fn room(&self, mut waits: impl FnMut(Failure)) -> Result<(), Failure> {
        loop {
            let waiting = self.room.notified();
            if self.has_room() {
                return Ok(());
            }
            if !self.disk.is_left() {
                waits(Failure::new(Code::ApplySpoolFull, self.disk.shortage()).remedy(
                    "make room on that disk, or lower `spool_budget`: apply goes on by itself, and \
                     nothing is lost",
                ));
                // Nothing tells of room on a disk.
                tokio::select! {
                    () = waiting => {}
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                continue;
            }
            let pending = self.lock().pending.total();
            if pending >= self.limits.disk {
                return Err(Failure::new(
                    Code::ApplySpoolBudget,
                    format!(
                        "a transaction is larger than the spool's budget of {} bytes",
                        self.limits.disk
                    ),
                )
                .remedy("raise `spool_budget`; nothing of it was applied"));
            }
            waiting.await;
        }
    }

    /// Keeps a fragment of an unfinished transaction.
    ///
    /// # Errors
    /// `Halt` when the disk does not take it, or the crash of a fail point.
    pub(crate) fn keep(&self, offset: u64, payload: Bytes) -> Result<(), Failure> {
        let mut held = self.lock();
        held.pending.push(offset, payload);
        let spill = match held.pending.spooled {
            Some(_) => held.pending.bytes >= GATHERED_BYTES,
            None => held.memory_bytes + held.pending.bytes > self.limits.memory,
        };
        if spill { self.spill(&mut held, None) } else { Ok(()) }
    }

    /// Drops the fragments of an unfinished transaction.
    ///
    /// # Errors
    /// `Halt` when the disk refuses.
    pub(crate) fn void(&self) -> Result<(), Failure> {
        let mut held = self.lock();
        let pending = std::mem::take(&mut held.pending);
        if let Some((first, _)) = pending.spooled {
            blocking(|| self.spool.drop_from(first))?;
        }
        drop(held);
        self.room.notify_one();
        Ok(())
    }

    /// Takes a unit that is complete, with its last record. Progress is all in its mark.
    ///
    /// # Errors
    /// As [`Buffer::keep`].
    pub(crate) fn complete(
        &self,
        completed: &Completed,
        last: (u64, Bytes),
    ) -> Result<(), Failure> {
        let mut held = self.lock();
        let progress = completed.kind == UnitKind::Progress;
        if !progress {
            let (offset, payload) = last;
            held.pending.push(offset, payload);
        }
        let mut unit = Unit {
            kind: completed.kind,
            mark: completed.mark,
            after: completed.after,
            first_offset: completed.first_offset,
            bytes: held.pending.total(),
            body: if progress { Body::Progress } else { Body::Spooled },
        };
        let most =
            if held.disk.next.is_some() { self.limits.gathered() } else { self.limits.memory };
        let fits = held.pending.spooled.is_none() && held.memory_bytes + unit.weight() <= most;
        if fits {
            if !progress {
                let records = std::mem::take(&mut held.pending).records;
                unit.body = Body::Memory(records.into_iter().map(|(_, payload)| payload).collect());
            }
            held.memory_bytes += unit.weight();
            held.memory.push_back(unit);
        } else {
            self.spill(&mut held, Some(unit))?;
        }
        held.end = Some(completed.mark);
        drop(held);
        self.arrived.notify_one();
        Ok(())
    }

    /// Moves memory, then the pending fragments, then `unit`'s index entry to disk. Of what the disk has
    /// not taken nothing changes here: it is still held.
    fn spill(&self, held: &mut Held, unit: Option<Unit>) -> Result<(), Failure> {
        if let (Some(base), None) = (held.base, held.disk.next) {
            // Without a base what is there is not known again.
            blocking(|| self.spool.set_base(&base))?;
        }
        while !held.memory.is_empty() {
            let load = held.load(GATHERED_BYTES);
            blocking(|| self.spool.append(&load.records, &load.units))?;
            held.moved(&load.units);
        }
        let unit = unit.map(|unit| Spooled { tally: held.disk.last.with(&unit), unit });
        blocking(|| self.spool.append(&held.pending.records, unit.as_slice()))?;
        held.pending.moved();
        if let Some(unit) = unit {
            held.pending = Pending::default();
            held.disk.add(&unit, false);
        }
        self.fail.hit(failpoints::SPOOL_WRITTEN)?;
        Ok(())
    }

    /// Waits until the target has flushed everything that is here, and then lets what comes next begin
    /// at `offset`: the log gives offsets again that it had given to records it has lost.
    ///
    /// # Errors
    /// `Halt` when the disk refuses.
    pub(crate) async fn renumber(&self, offset: u64) -> Result<(), Failure> {
        loop {
            let flushed = self.room.notified();
            {
                let mut held = self.lock();
                let Some(end) = held.end else { return Ok(()) };
                if held.base.is_some_and(|base| base.place() == end.place()) {
                    blocking(|| self.spool.clear())?;
                    let mark = Mark { next_offset: offset, ..end };
                    blocking(|| self.spool.set_base(&mark))?;
                    let (closed, caught_up) = (held.closed, held.caught_up);
                    *held = Held {
                        base: Some(mark),
                        end: Some(mark),
                        renumbered: Some((end.place(), mark.place())),
                        closed,
                        caught_up,
                        ..Held::default()
                    };
                    return Ok(());
                }
            }
            flushed.await;
        }
    }

    /// More may come.
    pub(crate) fn open(&self) {
        let mut held = self.lock();
        (held.closed, held.caught_up) = (false, false);
    }

    /// Whether the log had nothing more when it was last read.
    pub(crate) fn set_caught_up(&self, caught_up: bool) {
        self.lock().caught_up = caught_up;
        if caught_up {
            self.arrived.notify_one();
        }
    }

    /// Whether everything that the log holds now has been given out.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_drained() && self.lock().caught_up
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    // --- The target's side ----------------------------------------------------------------------

    /// The next unit, if there is one now.
    ///
    /// # Errors
    /// `Halt` when the disk cannot be read.
    pub(crate) fn take(&self) -> Result<Option<Unit>, Failure> {
        let mut held = self.lock();
        if held.disk.read.is_empty()
            && let (Some(from), Some(end)) = (held.disk.next, held.end)
        {
            held.disk.read =
                blocking(|| self.spool.units_from(end.log_id, from, READ_AHEAD))?.into();
            if held.disk.read.is_empty() {
                held.disk.next = None;
            }
        }
        if let Some(spooled) = held.disk.read.pop_front() {
            let more = spooled.tally.units < held.disk.last.units;
            held.disk.next = more.then_some(spooled.unit.mark.next_offset);
            held.disk.give(&spooled);
            return Ok(Some(spooled.unit));
        }
        let unit = held.memory.get(held.handed).cloned();
        held.handed += usize::from(unit.is_some());
        Ok(unit)
    }

    /// Whether a unit waits.
    pub(crate) fn is_drained(&self) -> bool {
        let held = self.lock();
        held.disk.is_given() && held.handed == held.memory.len()
    }

    /// Whether everything there will ever be has been given out.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_drained() && self.lock().closed
    }

    /// Waits for a unit, or for the end.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The records of a spooled unit in `offsets`, about a megabyte of them.
    ///
    /// # Errors
    /// `Halt` when the disk cannot be read.
    pub(crate) fn records(&self, offsets: Range<u64>) -> Result<Vec<(u64, Bytes)>, Failure> {
        blocking(|| self.spool.records_in(offsets, READ_AHEAD))
    }

    /// The target has flushed everything up to `mark`: it is not needed any more.
    ///
    /// # Errors
    /// `Halt` when the disk refuses.
    pub(crate) fn flushed(&self, mark: &Mark) -> Result<(), Failure> {
        let mut held = self.lock();
        if held.base.replace(*mark).is_none() {
            blocking(|| self.spool.set_base(mark))?;
        }
        held.disk.flushed(mark.place());
        while held.handed > 0
            && held.memory.front().is_some_and(|unit| unit.mark.place() <= mark.place())
            && let Some(unit) = held.memory.pop_front()
        {
            held.memory_bytes -= unit.weight();
            held.handed -= 1;
        }
        let Disk { trimmed, flushed, last, .. } = held.disk;
        let gone = flushed.weight - trimmed.weight;
        if gone >= TRIM_BYTES || (gone > 0 && flushed == last) {
            blocking(|| self.spool.trim(mark))?;
            held.disk.trimmed = flushed;
        }
        drop(held);
        self.room.notify_one();
        Ok(())
    }

    /// Writes the base to disk, so that a restart without the target can go on from it.
    ///
    /// # Errors
    /// `Halt` when the disk refuses.
    pub(crate) fn save_base(&self) -> Result<(), Failure> {
        match self.lock().base {
            Some(base) => blocking(|| self.spool.set_base(&base)),
            None => Ok(()),
        }
    }

    /// Makes what lies after `checkpoint` the next to be given out; `false` when the buffer does not
    /// cover it.
    ///
    /// # Errors
    /// `Halt` when the disk cannot be read.
    pub(crate) fn rewind(&self, checkpoint: Option<&Mark>) -> Result<bool, Failure> {
        let mut held = self.lock();
        let moved = checkpoint.map(|at| held.renumber(at));
        let checkpoint = moved.as_ref();
        let covered = match (checkpoint, held.base, held.end) {
            (None, None, _) => true,
            (Some(at), Some(base), Some(end)) => {
                at.log_id == base.log_id && base.place() <= at.place() && at.place() <= end.place()
            }
            (Some(at), None, Some(end)) => {
                // The first commits of a chosen start: their reply was lost.
                at.log_id == end.log_id && at.place() <= end.place()
            }
            _ => false,
        };
        if !covered {
            return Ok(false);
        }
        let at = checkpoint.map_or((Position::ORIGIN, 0), Mark::place);
        if let Some(end) = held.end {
            let next = blocking(|| self.spool.above(end.log_id, at))?;
            if next.as_ref().is_some_and(|next| next.unit.after > at.0) {
                return Ok(false);
            }
            let given = next.as_ref().map_or(held.disk.last, Spooled::before);
            held.disk.rewind(at, given, next.map(|next| next.unit.first_offset));
        }
        held.handed = held.memory.partition_point(|unit| unit.mark.place() <= at);
        drop(held);
        self.arrived.notify_one();
        Ok(true)
    }

    /// Drops everything and begins anew after `base`.
    ///
    /// # Errors
    /// `Halt` when the disk refuses.
    pub(crate) fn reset(&self, base: Option<Mark>) -> Result<(), Failure> {
        let mut held = self.lock();
        blocking(|| self.spool.clear())?;
        let (closed, caught_up) = (held.closed, held.caught_up);
        *held = Held { base, end: base, closed, caught_up, ..Held::default() };
        drop(held);
        self.save_base()
    }
}

#[cfg(test)]
mod tests;
