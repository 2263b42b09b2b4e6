//! The boundary to a source database: coarse calls (a poll, a window, a batch of changes), neutral
//! types. Nothing outside a source module knows how the source numbers its transactions.
//!
//! The contract that everything else rests on: when [`Source::poll`] gave a [`Window`], the rows
//! that [`Source::read`] gave for it *up to some moment* are all there are once a
//! [`Source::verify`] begun after that moment has succeeded. Only then may they be written down.

pub mod load;
pub mod sqlserver_cdc;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use lockstep_common::model::record::{Change, SourceTime};
use lockstep_common::service::status::HeldTable;
use lockstep_common::{Failure, Position, TableId, TableVersion};

/// A place in the source's order that capture has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to it is in the log.
    pub position: Position,
    /// The source's own row for that place as the log kept it: what proves that the source is still
    /// the one that was read. None at a place no row was read from (a chosen start).
    pub fingerprint: Option<CommitFingerprint>,
}

/// What a source says of one of its transactions, beside its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFingerprint {
    /// The source's identifier of the transaction, none where the source has no transaction there.
    pub transaction_id: Option<Vec<u8>>,
    /// The source's raw time of it.
    pub source_time: SourceTime,
}

/// Where a new log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After everything the source has captured.
    Now,
    /// With the oldest change the source still has.
    Earliest,
    /// After this position.
    After(Position),
    /// With the first change that was committed at or after this time, 100 ns since 1970-01-01Z.
    Time(i64),
    /// As [`Start::Now`], for a log whose tables are loaded from then on: no table's capture begins
    /// later. What was committed before it need not have been captured: the load will have it.
    Load,
}

/// One closed place of the source's order: a transaction, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its position.
    pub position: Position,
    /// Its commit time, 100 ns since 1970-01-01Z, by the UTC offset in force now; not monotonic.
    pub time: i64,
    /// What the source says of it.
    pub fingerprint: CommitFingerprint,
}

/// A range of the source's order of which everything is known to be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// It begins after this position,
    pub after: Position,
    /// and holds these places in order, at least one; the last is its end.
    pub heads: Vec<Head>,
    /// The source has more than the window could hold.
    pub more: bool,
}

impl Window {
    /// The last position in it.
    pub fn through(&self) -> Position {
        self.heads.last().map_or(self.after, |head| head.position)
    }
}

/// What a poll found.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Something new, if there is.
    pub window: Option<Window>,
    /// The newest position the source shows, closed or not.
    pub newest: Option<Position>,
    /// The source's clock, 100 ns since 1970-01-01Z, where it is known.
    pub clock: Option<i64>,
}

/// A change and the place it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct LocatedChange {
    /// Index into [`Window::heads`].
    pub head: usize,
    /// The change.
    pub change: Change<'static>,
    /// About how many bytes it holds.
    pub size: usize,
}

/// A table that is followed.
#[derive(Clone, Debug)]
pub struct Table {
    /// Identity of `version`.
    pub id: TableId,
    /// Its shape.
    pub version: Arc<TableVersion>,
}

/// What becomes of tables that the log does not have, and what the log knows of loads of the others;
/// tables by the source's identity of them.
#[derive(Clone, Debug, Default)]
pub struct NewTables {
    /// They are held: nothing is read of them before [`Source::admit`]. Else they are followed from
    /// where their capture begins.
    pub hold: bool,
    /// The log is new: those that have begun where it begins belong to it.
    pub new_log: bool,
    /// The log lacks changes of these, in whatever version it has them.
    pub held: HashSet<i64>,
    /// Changes of these are wanted from here on, where that is after the cursor.
    pub begins: HashMap<i64, Position>,
}

/// A table that was held, to be loaded.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The table, as its changes will be reported from now on.
    pub table: Table,
    /// Where its changes begin, if that lies after the place asked for.
    pub begins: Option<Position>,
}

/// A database that changes can be read from.
///
/// Every failure leaves the source usable: after `Retry`, begin again with [`Source::resume`].
#[async_trait]
pub trait Source: Send {
    /// Connects, or connects anew, and says what is there, for people (server and database).
    async fn connect(&mut self) -> Result<String, Failure>;

    /// The log shows that this source was followed before: what refuses a connection now, other than
    /// credentials, is an outage and no mistake of the configuration.
    fn captured_before(&mut self) {}

    /// Finds the cursor of a new log.
    async fn locate(&mut self, start: Start) -> Result<Cursor, Failure>;

    /// Proves that the source is still the one that `cursor` was read from and still has
    /// everything after it; settles which tables are followed. `known` are the table versions that
    /// the log holds, oldest first: a table among them must still have the shape of its last one.
    async fn resume(&mut self, cursor: &Cursor, known: &[TableVersion]) -> Result<(), Failure>;

    /// Says what [`Source::resume`] does with tables that the log does not have.
    fn expect_new_tables(&mut self, _new_tables: NewTables) {}

    /// The tables that are held, as last seen.
    fn held(&self) -> Vec<HeldTable> {
        Vec::new()
    }

    /// Follows a held table after `after`; none when no such table is held. Its rows must be loaded
    /// from now on, or it be [dismissed](Source::dismiss).
    async fn admit(&mut self, _name: &str, _after: Position) -> Result<Option<Admitted>, Failure> {
        Ok(None)
    }

    /// Holds a table again that was admitted last.
    fn dismiss(&mut self, _table: TableId) {}

    /// The tables whose changes may come in a window that ends at `through`.
    fn tables(&self, through: Position) -> Vec<Table>;

    /// Looks for something after `after`.
    async fn poll(&mut self, after: Position) -> Result<Poll, Failure>;

    /// Begins to read the changes of a window.
    async fn read(&mut self, window: &Window) -> Result<Box<dyn Changes>, Failure>;

    /// Proves that what was received of `window` before this call is complete and was read in the
    /// shape that [`Source::tables`] says.
    async fn verify(&mut self, window: &Window) -> Result<(), Failure>;

    /// So many rows of a table more (inserts less deletes) are in the log by its changes.
    fn count_logged_rows(&mut self, _table: TableId, _more: i64) {}

    /// What reads rows of full loads, over connections of its own. To be asked for again after
    /// [`Source::connect`].
    fn loader(&self) -> Arc<dyn load::Loader>;

    /// Looks at what changes rarely (tables, shapes, whether the source still captures) and returns
    /// notices for the operator.
    async fn inspect(&mut self, after: Position) -> Result<Vec<String>, Failure>;
}

/// The changes of a window, in order. Dropping it ends the read.
#[async_trait]
pub trait Changes: Send {
    /// The next few, none at the end.
    async fn next(&mut self) -> Result<Option<Vec<LocatedChange>>, Failure>;
}
