//! The boundary of full loads: what a source says of its tables' rows, beside its changes.
//!
//! The contract that the handoffs rest on:
//!
//! - rows that [`Rows`] gives of a chunk are those that were committed in the source at some moment
//!   after [`Loader::rows`] was called (each row at a moment of its own, none uncommitted);
//! - rows that a [`Snapshot`] gives are those of [`Frozen::position`], all of them;
//! - chunks whose ranges tile the key space give every row that was there all the time exactly once;
//! - when [`Loader::proves`] says so, the commit lies after the moment of the clock.

use async_trait::async_trait;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::ChunkRange;
use lockstep_common::{Failure, Position, TableId, Value};

use super::{Head, Table};

/// Takes rows as they come, in column order. Computed columns are
/// [`Value::Unavailable`], as in the stream.
pub trait RowSink: Send {
    /// One row of about `size` bytes.
    fn row(&mut self, row: &mut Vec<Value<'_>>, size: usize);
}

/// The rows of a range. Dropping it ends the read.
#[async_trait]
pub trait Rows: Send {
    /// The next few; `false` at the end.
    async fn next(&mut self, sink: &mut dyn RowSink) -> Result<bool, Failure>;
}

/// What can be said of a table before it is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The table.
    pub table: TableId,
    /// Rows, as the source estimates.
    pub rows: Option<u64>,
    /// Bytes of them in the source.
    pub bytes: Option<u64>,
    /// Why it cannot be cut into ranges of its key; none when it can.
    pub unranged: Option<String>,
}

/// A moment of the source's clock, in its own words. Comparable by [`Loader::proves`] only.
pub type Clock = String;

/// How a [`Loader::mark`] begins. A clock may end with one; a mark alone is no clock.
pub const SEEN: &str = "seen ";

/// Reads rows. Calls may come from several tasks at once: each has a connection of its own.
///
/// A failure leaves it usable.
#[async_trait]
pub trait Loader: Send + Sync {
    /// What `tables` have beside their shapes.
    async fn definitions(&self, tables: &[Table]) -> Result<Vec<Definition>, Failure>;

    /// Estimates, and which tables can be cut into ranges.
    async fn survey(&self, tables: &[Table]) -> Result<Vec<Survey>, Failure>;

    /// The key of the `rows`th row above `lower` (of the first row on, when there is none), in the
    /// server's own order; none when fewer remain.
    async fn boundary(
        &self,
        table: &Table,
        lower: Option<&[Value<'static>]>,
        rows: u32,
    ) -> Result<Option<Vec<Value<'static>>>, Failure>;

    /// Begins to read the committed rows of a range.
    async fn rows(&self, table: &Table, range: &ChunkRange) -> Result<Box<dyn Rows>, Failure>;

    /// The source's clock now.
    async fn clock(&self) -> Result<Clock, Failure>;

    /// The newest that the source has shown, in its own words: to be kept with rows that were read by now.
    fn mark(&self) -> Option<Clock> {
        None
    }

    /// Proves that the source has still what it had shown when `mark` was taken, as far as that can be
    /// proved. Returns what is still good of it: of a clock that cannot be compared with the source's any
    /// more, the mark that it ends with.
    ///
    /// # Errors
    /// `Halt` when it is another history: rows that were read may be of commits that are gone.
    async fn recognise(&self, mark: &Clock) -> Result<Clock, Failure> {
        Ok(mark.clone())
    }

    /// Whether everything that was committed before `clock` was read lies at or before `head`.
    fn proves(&self, head: &Head, clock: &Clock) -> bool;

    /// Makes a commit that the stream will show, if it may; none when it may not. Everything that
    /// was committed before this call lies before the change of the signal table that carries the
    /// returned text in any of its columns.
    async fn signal(&self) -> Result<Option<String>, Failure>;

    /// Stops writers of `tables` for a moment and opens `readers` snapshots of one position.
    ///
    /// # Errors
    /// `Halt` with what is missing when the source does not allow it; `Retry` when a writer holds
    /// its locks for too long.
    async fn freeze(&self, tables: &[Table], readers: usize) -> Result<Frozen, Failure>;
}

/// Snapshots of one position.
pub struct Frozen {
    /// Everything committed at or before it is in the snapshots, nothing after it.
    pub position: Position,
    /// They; each holds a connection.
    pub snapshots: Vec<Box<dyn Snapshot>>,
}

/// A picture of the source at one position, over one connection. It dies with the connection.
#[async_trait]
pub trait Snapshot: Send {
    /// As [`Loader::boundary`].
    async fn boundary(
        &mut self,
        table: &Table,
        lower: Option<&[Value<'static>]>,
        rows: u32,
    ) -> Result<Option<Vec<Value<'static>>>, Failure>;

    /// Begins to read all rows of a range.
    async fn rows<'a>(
        &'a mut self,
        table: &Table,
        range: &ChunkRange,
    ) -> Result<Box<dyn Rows + 'a>, Failure>;
}
