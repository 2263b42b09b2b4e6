//! Views and scans.

use std::ops::Bound;

use super::{IndexId, ObjectId, Row, Txn};
use crate::{SqlError, Value};

/// A row's identity in its table, stable over updates (but a set-based change of keys deletes
/// and inserts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub u64);

/// Which way to walk an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending.
    Forward,
    /// Descending.
    Backward,
}

/// A range of an index by prefixes of its key (in [`Value::compare`] order): `Included` bounds
/// take every key that begins with the prefix, `Excluded` ones none of them.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRange {
    /// Lower bound.
    pub lower: Bound<Vec<Value>>,
    /// Upper bound.
    pub upper: Bound<Vec<Value>>,
}

impl KeyRange {
    /// Everything.
    pub fn all() -> KeyRange {
        KeyRange { lower: Bound::Unbounded, upper: Bound::Unbounded }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: Vec<Value>) -> KeyRange {
        KeyRange { lower: Bound::Included(prefix.clone()), upper: Bound::Included(prefix) }
    }
}

/// What one statement (or a SNAPSHOT transaction) sees. Holds old versions back while it lives;
/// owned, so a statement may stream from it while its transaction writes (its own later writes
/// are not in it, which is the protection a changing scan needs).
pub struct View {
}

impl View {
    /// Walks an index, or with `None` the clustered index (a heap: in insertion order), in
    /// batches: nothing is held between two rows.
    ///
    /// # Errors
    /// 208 if the table is gone, 3961 if DDL has changed it since a SNAPSHOT view was fixed.
    pub fn scan(
        &self,
        table: ObjectId,
        index: Option<IndexId>,
        range: KeyRange,
        direction: Direction,
    ) -> Result<Scan, SqlError> {
        let _ = (table, index, range, direction);
        unimplemented!()
    }

    /// One row by id, if this view sees it.
    pub fn row(&self, table: ObjectId, id: RowId) -> Result<Option<Row>, SqlError> {
        let _ = (table, id);
        unimplemented!()
    }
}

/// A running scan. An error ends it.
pub struct Scan {
}

impl Iterator for Scan {
    type Item = Result<(RowId, Row), SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}

/// A scan that locks each row before handing it out; see [`Txn::scan_for_update`].
pub struct UpdateScan {
}

impl UpdateScan {
    /// The next row: waits for another transaction's write to it, locks it, and answers it as
    /// it is now (READ COMMITTED) or as the snapshot has it (SNAPSHOT).
    ///
    /// # Errors
    /// 1205, 1222, 3960, [`ATTENTION`](super::ATTENTION).
    pub fn next(&mut self, txn: &mut Txn) -> Result<Option<(RowId, Row)>, SqlError> {
        let _ = txn;
        unimplemented!()
    }
}
