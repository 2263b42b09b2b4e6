//! From records to complete units. Pure: no log, no store, no target.
//!
//! Why nothing is lost, doubled or torn: every record names the position it leads to and the
//! position of the complete record `after` which it comes. The assembler knows the place it has
//! reached and
//!
//! - passes over records at or below it (they are duplicates: the target has them),
//! - halts on a record whose `after` lies beyond it (something between is gone), naming the range,
//! - gives a transaction out only when all its fragments, from the first to the last, came from one
//!   epoch in unbroken order.
//!
//! A record of a higher epoch voids an unfinished transaction before it: its writer died, and the
//! next one writes it again from its first fragment. A lower epoch after a higher one is a fenced
//! writer's record that must not be there. The number of changes is checked against the totals by
//! whoever decodes them, before the commit.
//!
//! A record of a full load is a unit by itself. It repeats the position of the complete record before
//! it, so its offset decides whether it is done: offsets of one log rise, and a log that was made
//! anew has another id. Inside a transaction there is none; one there halts.

use lockstep_common::Code;
use lockstep_common::codec::{FragmentHeader, Header, Kind};
use lockstep_common::{Failure, Position};
use uuid::Uuid;

use crate::unit::{Mark, Place, UnitKind};

/// What to do with a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The fragments kept so far are void: drop them before anything else.
    pub(crate) voided: bool,
    /// What to do with the record itself.
    pub(crate) action: Action,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    Skip,
    /// Keep it: its transaction is not complete.
    Keep,
    /// A unit is complete with it: a transaction, or one that is this record alone.
    Complete(Completed),
}

/// A complete unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    /// What it is.
    pub(crate) kind: UnitKind,
    /// The place it brings the target to.
    pub(crate) mark: Mark,
    /// The position of the complete unit before it in the log.
    pub(crate) after: Position,
    /// Offset of its first record.
    pub(crate) first_offset: u64,
}

/// The transaction being put together.
#[derive(Debug)]
struct Pending {
    position: Position,
    first_offset: u64,
    next_index: u32,
    changes_before: u64,
}

impl Pending {
    /// Takes the next fragment; gives the offset of the first.
    fn take(
        &mut self,
        offset: u64,
        header: &Header,
        fragment: FragmentHeader,
    ) -> Result<u64, Failure> {
        let in_order = self.position == header.position
            && self.next_index == fragment.index
            && self.changes_before <= fragment.changes_before;
        if !in_order {
            return Err(disorder(
                offset,
                format!(
                    "expected fragment {} of transaction {}, found fragment {} of {}",
                    self.next_index, self.position, fragment.index, header.position
                ),
            ));
        }
        self.next_index += 1;
        self.changes_before = fragment.changes_before;
        Ok(self.first_offset)
    }
}

#[derive(Debug)]
pub(crate) struct Assembler {
    /// The log it must be; none until the first record says.
    log_id: Option<Uuid>,
    /// Highest epoch seen.
    epoch: u64,
    /// Everything up to here is done or given out; none until the first record says. The offset is 0
    /// while nothing of its position has been given out.
    reached: Option<Place>,
    pending: Option<Pending>,
    /// A transaction that the chosen start point cuts in two; none of it is applied.
    cut: Option<Position>,
    /// The start is this time, and the log has lost what lies before its first record.
    since: Option<i64>,
}

impl Assembler {
    /// Goes on from `mark`; without one, from the first record that comes (a chosen start point).
    pub(crate) fn new(mark: Option<&Mark>) -> Self {
        Assembler {
            log_id: mark.map(|m| m.log_id),
            epoch: 0,
            reached: mark.map(Mark::place),
            pending: None,
            cut: None,
            since: None,
        }
    }

    /// Begins behind a chosen position: what the log has lost after it is missing.
    pub(crate) fn after(position: Position) -> Self {
        Assembler { reached: Some((position, 0)), ..Assembler::new(None) }
    }

    /// Begins at a chosen time (100 ns since 1970-01-01Z) with the first record that a trimmed log
    /// still has: transactions since that time may be among those it lost.
    pub(crate) fn since(time: i64) -> Self {
        Assembler { since: Some(time), ..Assembler::new(None) }
    }

    /// The transaction that the start point cut, once, when all of it has been passed over.
    pub(crate) fn take_cut(&mut self) -> Option<Position> {
        self.cut.take_if(|cut| self.reached.is_some_and(|(reached, _)| reached >= *cut))
    }

    /// Takes the record at `offset`; `load` says that it is one of a full load.
    ///
    /// # Errors
    /// `Halt` when the log is another one, has lost something, or is not in order.
    pub(crate) fn push(
        &mut self,
        offset: u64,
        header: &Header,
        load: bool,
    ) -> Result<Outcome, Failure> {
        if *self.log_id.get_or_insert(header.log_id) != header.log_id {
            return Err(another_log(offset, self.log_id, header.log_id));
        }
        if header.epoch < self.epoch {
            return Err(disorder(
                offset,
                format!(
                    "epoch {} follows epoch {}: a fenced writer's record",
                    header.epoch, self.epoch
                ),
            ));
        }
        if let Some(time) = self.since.take()
            && header.time > time
            && header.after > Position::ORIGIN
        {
            return Err(trimmed(offset, header));
        }
        let voided = header.epoch > self.epoch && self.pending.take().is_some();
        self.epoch = header.epoch;
        let action = if load { self.load(offset, header)? } else { self.act(offset, header)? };
        Ok(Outcome { voided, action })
    }

    fn act(&mut self, offset: u64, header: &Header) -> Result<Action, Failure> {
        match (header.kind, header.fragment) {
            (Kind::Fragment, Some(fragment)) => self.fragment(offset, header, fragment),
            (Kind::Progress, _) => self.progress(offset, header),
            (Kind::Epoch | Kind::Marker, _) => {
                self.check_gap(offset, header)?;
                Ok(Action::Skip)
            }
            (Kind::Timeline | Kind::SchemaChange, _)
                if self.reached.is_some_and(|(reached, _)| header.position < reached) =>
            {
                Ok(Action::Skip)
            }
            _ if header.skippable => Ok(Action::Skip),
            (kind, _) => Err(unfollowed(offset, header, kind)),
        }
    }

    fn progress(&mut self, offset: u64, header: &Header) -> Result<Action, Failure> {
        if self.is_done(header) {
            return Ok(Action::Skip);
        }
        self.check_nothing_pending("progress", offset, header)?;
        self.check_gap(offset, header)?;
        Ok(Action::Complete(self.complete(UnitKind::Progress, offset, offset, header)))
    }

    fn load(&mut self, offset: u64, header: &Header) -> Result<Action, Failure> {
        if self.reached.is_some_and(|reached| (header.position, offset + 1) <= reached) {
            return Ok(Action::Skip);
        }
        self.check_nothing_pending("a record of a load", offset, header)?;
        self.check_gap(offset, header)?;
        Ok(Action::Complete(self.complete(UnitKind::Load, offset, offset, header)))
    }

    fn fragment(
        &mut self,
        offset: u64,
        header: &Header,
        fragment: FragmentHeader,
    ) -> Result<Action, Failure> {
        if self.is_done(header) {
            return Ok(Action::Skip);
        }
        let first_offset = if let Some(pending) = &mut self.pending {
            pending.take(offset, header, fragment)?
        } else if fragment.index == 0 {
            self.check_gap(offset, header)?;
            self.pending = Some(Pending {
                position: header.position,
                first_offset: offset,
                next_index: 1,
                changes_before: 0,
            });
            offset
        } else if self.starts_inside(header) {
            if fragment.last {
                self.reached = Some((header.position, offset + 1));
            }
            return Ok(Action::Skip);
        } else {
            return Err(disorder(
                offset,
                format!(
                    "fragment {} of transaction {} without the ones before it",
                    fragment.index, header.position
                ),
            ));
        };
        if !fragment.last {
            return Ok(Action::Keep);
        }
        self.pending = None;
        Ok(Action::Complete(self.complete(UnitKind::Transaction, first_offset, offset, header)))
    }

    /// Whether the chosen start point lies inside this record's transaction.
    fn starts_inside(&mut self, header: &Header) -> bool {
        if self.reached.is_none() {
            self.cut = Some(header.position);
            self.reached = Some((header.after, 0));
        }
        self.cut == Some(header.position)
    }

    fn complete(
        &mut self,
        kind: UnitKind,
        first_offset: u64,
        offset: u64,
        header: &Header,
    ) -> Completed {
        let mark = Mark {
            log_id: header.log_id,
            position: header.position,
            next_offset: offset + 1,
            time: header.time,
        };
        self.reached = Some(mark.place());
        Completed { kind, mark, after: header.after, first_offset }
    }

    fn is_done(&self, header: &Header) -> bool {
        self.reached.is_some_and(|(reached, _)| header.position <= reached)
    }

    fn check_nothing_pending(
        &self,
        what: &str,
        offset: u64,
        header: &Header,
    ) -> Result<(), Failure> {
        match &self.pending {
            None => Ok(()),
            Some(pending) => Err(disorder(
                offset,
                format!("{what} at {} inside transaction {}", header.position, pending.position),
            )),
        }
    }

    fn check_gap(&mut self, offset: u64, header: &Header) -> Result<(), Failure> {
        let (reached, _) = *self.reached.get_or_insert((header.after, 0));
        if header.after <= reached {
            return Ok(());
        }
        Err(Failure::new(Code::ApplyGap, format!(
                "the log has lost what lies after {reached} up to {}: the record at offset \
                 {offset} continues from there",
                header.after
            )).remedy("restore the log's missing records, or load the target anew (reset, then a start point)"))
    }
}

fn another_log(offset: u64, expected: Option<Uuid>, found: Uuid) -> Failure {
    Failure::new(
        Code::ApplyAnotherLog,
        format!(
            "the record at offset {offset} belongs to log {found}, the target follows log {}",
            expected.map(|id| id.to_string()).unwrap_or_default()
        ),
    )
    .remedy(
        "the log was re-created or this is another pipeline's: restore the log, or reset the \
         target and choose a start point",
    )
}

fn trimmed(offset: u64, header: &Header) -> Failure {
    Failure::new(Code::ApplyGap, format!(
            "the log begins later than the chosen time, at offset {offset} after position {}: it has \
             lost what lies before",
            header.after
        )).remedy("restore the log's missing records, or choose a start point that the log still has")
}

fn disorder(offset: u64, what: String) -> Failure {
    Failure::new(Code::ApplyDisorder, format!("the log is out of order at offset {offset}: {what}"))
        .remedy("something other than one fenced writer wrote to the log; restore it")
}

fn unfollowed(offset: u64, header: &Header, kind: Kind) -> Failure {
    Failure::new(
        Code::ApplyUnfollowed,
        format!(
            "the log holds a {} record at offset {offset}, position {}, which this version of \
             apply does not follow",
            kind.name(),
            header.position
        ),
    )
    .remedy("upgrade apply, or load the target anew from behind that record")
}

#[cfg(test)]
mod tests;
