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
//! When memory is full, all of it moves to disk; units go to memory again once everything on disk has
//! been handed out; what the disk refuses stays where it was, and the end does not move. A transaction
//! that outgrows memory is on disk before it is complete and is never
//! held whole. When the disk is at its budget too, `room` waits, and the log is not read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use lockstep_common::{FailPoints, Failure, Position};
use tokio::sync::Notify;

use crate::assemble::Completed;
use crate::failpoints;
use crate::spool::{Contents, SharedSpool, Spool, blocking};
use crate::unit::{Body, Mark, Place, Unit, UnitKind};

/// What may be held where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes in memory.
    pub(crate) memory: u64,
    /// Bytes on disk.
    pub(crate) disk: u64,
}

/// Units read from the disk at once.
const READ_AHEAD: u64 = 1 << 20;
/// Flushed bytes on disk that are worth a trim.
const TRIM_BYTES: u64 = 8 << 20;
/// Fragments of an unfinished transaction on disk are gathered to this much.
const PENDING_BYTES: u64 = 1 << 20;

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) units: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) spool_bytes: u64,
}

pub(crate) struct Buffer {
    inner: Mutex<Inner>,
    spool: SharedSpool,
    limits: Limits,
    fail: FailPoints,
    /// There is a unit more, or the end.
    arrived: Notify,
    /// There is room again.
    room: Notify,
}

struct Inner {
    /// None until the first unit of a target without checkpoint is flushed.
    base: Option<Mark>,
    /// Position and offset up to which units are complete here.
    end: Option<Mark>,
    disk: Disk,
    /// Units behind those on disk; the first `handed` of them have been given out.
    memory: VecDeque<Unit>,
    handed: usize,
    memory_bytes: u64,
    pending: Pending,
    /// Nothing more will come.
    closed: bool,
    /// The log has nothing more now.
    caught_up: bool,
}

#[derive(Default)]
struct Disk {
    /// Bytes of the units there, flushed ones not yet trimmed included.
    bytes: u64,
    /// First offset of the next unit to give out, while there is one.
    next: Option<u64>,
    /// Units read but not given out.
    read: VecDeque<Unit>,
    /// Units given out and not flushed: where they end and how many bytes they have.
    given: VecDeque<(Place, u64)>,
    /// Bytes of flushed units not yet trimmed.
    flushed_bytes: u64,
    /// Number of units not given out.
    units: u64,
}

/// Fragments of the transaction that is not complete.
#[derive(Default)]
struct Pending {
    records: Vec<(u64, Bytes)>,
    bytes: u64,
    /// First offset and bytes of what is on disk of it already.
    spooled: Option<(u64, u64)>,
}

impl Pending {
    fn total(&self) -> u64 {
        self.bytes + self.spooled.map_or(0, |(_, bytes)| bytes)
    }
}

impl Inner {
    /// The disk has memory, the pending fragments and `unit`, which may complete them.
    fn spilled(&mut self, unit: Option<Unit>) {
        let mut next = self.memory.get(self.handed).map(|u| u.first_offset);
        for (index, unit) in self.memory.drain(..).enumerate() {
            self.disk.bytes += unit.weight();
            if index < self.handed {
                self.disk.given.push_back((unit.mark.place(), unit.weight()));
            } else {
                self.disk.units += 1;
            }
        }
        (self.handed, self.memory_bytes) = (0, 0);
        let pending = std::mem::take(&mut self.pending);
        if let Some(unit) = unit {
            self.disk.bytes += unit.weight();
            self.disk.units += 1;
            next = next.or(Some(unit.first_offset));
        } else {
            let first_pending = pending.records.first().map(|(offset, _)| *offset);
            let first = pending.spooled.map(|(first, _)| first).or(first_pending);
            self.pending.spooled = first.map(|first| (first, pending.total()));
        }
        if self.disk.next.is_none() {
            self.disk.next = next;
        }
    }
}

impl Buffer {
    /// Over a spool, with what it held.
    pub(crate) fn new(
        spool: Spool,
        contents: Option<Contents>,
        limits: Limits,
        fail: FailPoints,
    ) -> Self {
        let disk = match contents {
            Some(Contents { base, units: units @ 1.., bytes, .. }) => {
                Disk { bytes, units, next: Some(base.next_offset), ..Disk::default() }
            }
            _ => Disk::default(),
        };
        let inner = Inner {
            base: contents.map(|c| c.base),
            end: contents.map(|c| c.end),
            disk,
            memory: VecDeque::new(),
            handed: 0,
            memory_bytes: 0,
            pending: Pending::default(),
            closed: false,
            caught_up: false,
        };
        Buffer {
            inner: Mutex::new(inner),
            spool: Arc::new(spool),
            limits,
            fail,
            arrived: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Where reading the log goes on; none while there is no checkpoint to go on from.
    pub(crate) fn end(&self) -> Option<Mark> {
        self.lock().end
    }

    pub(crate) fn levels(&self) -> Levels {
        let inner = self.lock();
        Levels {
            units: (inner.memory.len() - inner.handed) as u64 + inner.disk.units,
            memory_bytes: inner.memory_bytes + inner.pending.bytes,
            spool_bytes: inner.disk.bytes + inner.pending.spooled.map_or(0, |(_, bytes)| bytes),
        }
    }

    // --- The log's side -------------------------------------------------------------------------

    /// Whether more can be taken now.
    pub(crate) fn has_room(&self) -> bool {
        let inner = self.lock();
        inner.disk.bytes + inner.pending.total() < self.limits.disk
            || (inner.disk.next.is_none()
                && inner.pending.spooled.is_none()
                && inner.memory_bytes + inner.pending.bytes < self.limits.memory)
    }

    /// Waits for [`Buffer::has_room`].
    ///
    /// # Errors
    /// `Halt` when a single transaction is larger than the budget: it will never fit.
    pub(crate) async fn room(&self) -> Result<(), Failure> {
        loop {
            let waiting = self.room.notified();
            if self.has_room() {
                return Ok(());
            }
            let pending = self.lock().pending.total();
            if pending >= self.limits.disk {
                return Err(Failure::halt(
                    "apply.spool_budget",
                    format!(
                        "a transaction is larger than the spool's budget of {} bytes",
                        self.limits.disk
                    ),
                    "raise `spool_budget`; nothing of it was applied",
                ));
            }
            waiting.await;
        }
    }

    /// Keeps a fragment of an unfinished transaction.
    ///
    /// # Errors
    /// `Halt` when the disk does not take it, or the crash of a fail point.
    pub(crate) fn keep(&self, offset: u64, payload: Bytes) -> Result<(), Failure> {
        let mut inner = self.lock();
        inner.pending.bytes += payload.len() as u64;
        inner.pending.records.push((offset, payload));
        let memory = inner.memory_bytes + inner.pending.bytes;
        let spill = match inner.pending.spooled {
            Some(_) => inner.pending.bytes >= PENDING_BYTES,
            None => memory > self.limits.memory,
        };
        if spill { self.spill(&mut inner, None) } else { Ok(()) }
    }

    /// Drops the fragments of an unfinished transaction.
    ///
    /// # Errors
    /// `Halt` when the disk refuses.
    pub(crate) fn void(&self) -> Result<(), Failure> {
        let mut inner = self.lock();
        let pending = std::mem::take(&mut inner.pending);
        if let Some((first, _)) = pending.spooled {
            blocking(|| self.spool.discard(first..u64::MAX))?;
        }
        drop(inner);
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
        let mut inner = self.lock();
        let progress = completed.kind == UnitKind::Progress;
        if !progress {
            let (offset, payload) = last;
            inner.pending.bytes += payload.len() as u64;
            inner.pending.records.push((offset, payload));
        }
        let bytes = inner.pending.total();
        let mut unit = Unit {
            kind: completed.kind,
            mark: completed.mark,
            after: completed.after,
            first_offset: completed.first_offset,
            bytes,
            body: if progress { Body::Progress } else { Body::Spooled },
        };
        let fits = inner.disk.next.is_none()
            && inner.pending.spooled.is_none()
            && inner.memory_bytes + unit.weight() <= self.limits.memory;
        if fits {
            if !progress {
                let records = std::mem::take(&mut inner.pending).records;
                unit.body = Body::Memory(records.into_iter().map(|(_, payload)| payload).collect());
            }
            inner.memory_bytes += unit.weight();
            inner.memory.push_back(unit);
        } else {
            self.spill(&mut inner, Some(unit))?;
        }
        inner.end = Some(completed.mark);
        drop(inner);
        self.arrived.notify_one();
        Ok(())
    }

    /// Moves memory, then the pending fragments, then `unit`'s index entry to disk. Nothing here
    /// changes before the disk has taken them: what it refuses is still held.
    fn spill(&self, inner: &mut Inner, unit: Option<Unit>) -> Result<(), Failure> {
        let mut records: Vec<(u64, Bytes)> = Vec::new();
        for unit in &inner.memory {
            if let Body::Memory(fragments) = &unit.body {
                // Offsets within a unit only have to rise: fragments of one unit are neighbours.
                records.extend((unit.first_offset..).zip(fragments.iter().cloned()));
            }
        }
        records.extend(inner.pending.records.iter().cloned());
        let units: Vec<Unit> = inner.memory.iter().chain(&unit).cloned().collect();
        blocking(|| self.spool.append(&records, &units))?;
        inner.spilled(unit);
        self.fail.hit(failpoints::SPOOL_WRITTEN)?;
        Ok(())
    }

    /// More may come.
    pub(crate) fn open(&self) {
        let mut inner = self.lock();
        (inner.closed, inner.caught_up) = (false, false);
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
        let mut inner = self.lock();
        if inner.disk.read.is_empty()
            && let (Some(from), Some(end)) = (inner.disk.next, inner.end)
        {
            inner.disk.read =
                blocking(|| self.spool.units_from(end.log_id, from, READ_AHEAD))?.into();
            if inner.disk.read.is_empty() {
                inner.disk.next = None;
            }
        }
        if let Some(unit) = inner.disk.read.pop_front() {
            inner.disk.given.push_back((unit.mark.place(), unit.weight()));
            inner.disk.units = inner.disk.units.saturating_sub(1);
            let at_end = inner.end.is_some_and(|end| end.place() == unit.mark.place());
            inner.disk.next = if at_end { None } else { Some(unit.mark.next_offset) };
            return Ok(Some(unit));
        }
        let unit = inner.memory.get(inner.handed).cloned();
        inner.handed += usize::from(unit.is_some());
        Ok(unit)
    }

    /// Whether a unit waits.
    pub(crate) fn is_drained(&self) -> bool {
        let inner = self.lock();
        inner.disk.next.is_none()
            && inner.disk.read.is_empty()
            && inner.handed == inner.memory.len()
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
        let mut inner = self.lock();
        inner.base = Some(*mark);
        while let Some((place, bytes)) = inner.disk.given.front().copied()
            && place <= mark.place()
        {
            inner.disk.given.pop_front();
            inner.disk.flushed_bytes += bytes;
        }
        while inner.handed > 0
            && inner.memory.front().is_some_and(|unit| unit.mark.place() <= mark.place())
            && let Some(unit) = inner.memory.pop_front()
        {
            inner.memory_bytes -= unit.weight();
            inner.handed -= 1;
        }
        let disk_done = inner.disk.given.is_empty() && inner.disk.next.is_none();
        if inner.disk.flushed_bytes >= TRIM_BYTES || (disk_done && inner.disk.bytes > 0) {
            blocking(|| self.spool.trim(mark))?;
            let left = inner.disk.bytes.saturating_sub(inner.disk.flushed_bytes);
            inner.disk.bytes = if disk_done { 0 } else { left };
            inner.disk.flushed_bytes = 0;
        }
        drop(inner);
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
        let mut inner = self.lock();
        let covered = match (checkpoint, inner.base, inner.end) {
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
        if !self.rewind_disk(&mut inner, at)? {
            return Ok(false);
        }
        inner.handed = inner.memory.partition_point(|unit| unit.mark.place() <= at);
        drop(inner);
        self.arrived.notify_one();
        Ok(true)
    }

    fn rewind_disk(&self, inner: &mut Inner, at: Place) -> Result<bool, Failure> {
        inner.disk.read.clear();
        inner.disk.given.clear();
        inner.disk.flushed_bytes = 0;
        inner.disk.next = None;
        inner.disk.units = 0;
        if inner.disk.bytes == 0 {
            return Ok(true);
        }
        let Some(end) = inner.end else { return Ok(true) };
        let mut from = 0;
        let mut reached = false;
        // The index alone is read: units at or below the checkpoint are few, those above counted.
        loop {
            let heads = blocking(|| self.spool.heads_from(end.log_id, from))?;
            let Some(last) = heads.last() else { return Ok(true) };
            from = last.mark.next_offset;
            for unit in heads {
                if unit.mark.place() <= at {
                    inner.disk.given.push_back((unit.mark.place(), unit.weight()));
                    continue;
                }
                if !reached {
                    if unit.after > at.0 {
                        return Ok(false);
                    }
                    reached = true;
                    inner.disk.next = Some(unit.first_offset);
                }
                inner.disk.units += 1;
            }
        }
    }

    /// Drops everything and begins anew after `base`.
    ///
    /// # Errors
    /// `Halt` when the disk refuses.
    pub(crate) fn reset(&self, base: Option<Mark>) -> Result<(), Failure> {
        let mut inner = self.lock();
        blocking(|| self.spool.clear())?;
        inner.base = base;
        inner.end = base;
        inner.disk = Disk::default();
        inner.memory.clear();
        (inner.handed, inner.memory_bytes) = (0, 0);
        inner.pending = Pending::default();
        drop(inner);
        self.save_base()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn completed(n: u64) -> Completed {
        let at = |n: u64| Position::new(1, &n.to_be_bytes()).expect("eight bytes fit");
        let mark = Mark { log_id: Uuid::nil(), position: at(n), next_offset: n + 1, time: 0 };
        Completed { kind: UnitKind::Transaction, mark, after: at(n - 1), first_offset: n }
    }

    #[test]
    fn what_the_disk_refuses_is_neither_lost_nor_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::read_only(directory.path());
        let limits = Limits { memory: 1500, disk: 1 << 20 };
        let buffer = Buffer::new(spool, None, limits, FailPoints::default());
        let payload = || Bytes::from(vec![7; 1000]);
        buffer.complete(&completed(1), (1, payload())).unwrap();
        let failure = buffer.complete(&completed(2), (2, payload())).unwrap_err();
        assert_eq!(failure.code, "apply.spool");
        assert_eq!(buffer.end(), Some(completed(1).mark));
        assert_eq!(buffer.levels().units, 1);
        assert_eq!(buffer.take().unwrap().map(|unit| unit.mark), Some(completed(1).mark));
        assert!(buffer.is_drained());
    }
}
