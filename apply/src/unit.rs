//! What travels from the log to the target: a unit is a complete transaction, progress, or a record of
//! a full load.
//!
//! Units are ordered by their [`Place`]: the position, then the offset behind them. Transactions and
//! progress have a position of their own; a record of a load repeats the position before it, and
//! only its offset tells it from its neighbours.

use std::sync::Arc;

use bytes::Bytes;
use lockstep_common::Position;
use uuid::Uuid;

/// A place in the log that everything up to has been reached: a checkpoint, or the end of what is
/// buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Identity of the log.
    pub(crate) log_id: Uuid,
    /// Everything at or below it is done.
    pub(crate) position: Position,
    /// Where reading goes on; a hint, the position is the truth.
    pub(crate) next_offset: u64,
    /// Commit time in the source, 100 ns since 1970-01-01Z.
    pub(crate) time: i64,
}

/// Where a unit ends, in the order of the log: everything at or below it is done.
pub(crate) type Place = (Position, u64);

impl Mark {
    /// Where it is in the order of units.
    pub(crate) fn place(&self) -> Place {
        (self.position, self.next_offset)
    }
}

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitKind {
    /// The source had nothing up to here.
    Progress,
    /// A transaction of the source.
    Transaction,
    /// A bracket or a marker of a full load: one record.
    Load,
}

/// One complete unit.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// What it is.
    pub(crate) kind: UnitKind,
    /// The place it brings the target to.
    pub(crate) mark: Mark,
    /// The position of the complete unit before it in the log.
    pub(crate) after: Position,
    /// Offset of its first record.
    pub(crate) first_offset: u64,
    /// Bytes of its records.
    pub(crate) bytes: u64,
    /// Its records.
    pub(crate) body: Body,
}

/// Where a unit's records are.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// There are none.
    Progress,
    /// Here.
    Memory(Arc<[Bytes]>),
    /// In the spool, between the unit's first and next offset: too large to be held whole.
    Spooled,
}

/// What a unit costs in memory beside its bytes.
const OVERHEAD: u64 = 256;

impl Unit {
    /// What it costs to hold.
    pub(crate) fn weight(&self) -> u64 {
        self.bytes + OVERHEAD
    }
}
