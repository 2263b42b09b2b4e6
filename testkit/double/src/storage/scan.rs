//! Views and scans.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use super::chain::Sight;
use super::packed::{self, Packed};
use super::table::Position;
use super::{Database, IndexId, ObjectId, Row, RowLock, Txn, invalid_object};
use crate::{SqlError, Value};

/// Rows fetched under the mutex at a time.
const BATCH: usize = 256;

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
    inner: Arc<Registered>,
}

/// A view's registration with the garbage collection; scans share it.
struct Registered {
    database: Arc<Database>,
    sight: Sight,
    incarnation: u64,
    /// Whether DDL behind the view is an error (3961) rather than simply seen.
    snapshot: bool,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut state = self.database.lock();
        if state.incarnation == self.incarnation {
            state.release_view(self.sight.seq);
        }
    }
}

impl View {
    /// A view of what `sight` says, already registered.
    pub(super) fn registered(
        database: Arc<Database>,
        sight: Sight,
        incarnation: u64,
        snapshot: bool,
    ) -> View {
        View { inner: Arc::new(Registered { database, sight, incarnation, snapshot }) }
    }

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
        let state = self.inner.database.lock();
        let found = state.tables.get(&table).ok_or_else(|| gone(table))?;
        let snapshot = self.inner.snapshot && found.created_by != Some(self.inner.sight.txn);
        if snapshot && found.changed > self.inner.sight.seq {
            return Err(changed_since(&state.info.name));
        }
        Ok(Scan {
            view: self.inner.clone(),
            table,
            index: found.resolve_index(index),
            range,
            direction,
            content: Vec::new(),
            batch: VecDeque::new(),
            start: 0,
            after: None,
            ended: false,
        })
    }

    /// One row by id, if this view sees it.
    ///
    /// # Errors
    /// 208 if the table is gone.
    pub fn row(&self, table: ObjectId, id: RowId) -> Result<Option<Row>, SqlError> {
        let state = self.inner.database.lock();
        let found = state.tables.get(&table).ok_or_else(|| gone(table))?;
        Ok(found.chain(id).and_then(|chain| chain.seen(&self.inner.sight)).map(Packed::row))
    }
}

fn gone(table: ObjectId) -> SqlError {
    invalid_object(&format!("#{table}"))
}

fn changed_since(database: &str) -> SqlError {
    SqlError::new(
        3961,
        16,
        1,
        format!(
            "Snapshot isolation transaction failed in database '{database}' because the object accessed by the statement has been modified by a DDL statement in another concurrent transaction since the start of this transaction. It is disallowed because the metadata is not versioned. A concurrent update to metadata can lead to inconsistency if mixed with snapshot isolation."
        ),
    )
}

/// A running scan. An error ends it.
pub struct Scan {
    view: Arc<Registered>,
    table: ObjectId,
    index: Option<IndexId>,
    range: KeyRange,
    direction: Direction,
    /// Rows as they are stored, one behind the other, and where each one ends.
    content: Vec<u8>,
    batch: VecDeque<(RowId, usize)>,
    /// Where the next row begins.
    start: usize,
    after: Option<Position>,
    ended: bool,
}

impl Scan {
    fn fetch(&mut self) -> Result<(), SqlError> {
        let state = self.view.database.lock();
        let found = state.tables.get(&self.table).ok_or_else(|| gone(self.table))?;
        // The first batch is small: many scans want one row.
        let limit = if self.after.is_some() { BATCH } else { 8 };
        let steps = found.walk(self.index, &self.range, self.direction, self.after.as_ref(), limit);
        self.ended = steps.len() < limit;
        // Copied as they are: what they say is read without the mutex.
        self.content.clear();
        self.start = 0;
        for step in steps {
            if let Some(row) = found.seen_at(self.index, &step, &self.view.sight) {
                self.content.extend_from_slice(row.bytes());
                self.batch.push_back((step.row(), self.content.len()));
            }
            self.after = Some(step.at);
        }
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<(RowId, Row), SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.batch.is_empty() && !self.ended {
            if let Err(error) = self.fetch() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        let (id, end) = self.batch.pop_front()?;
        let row = packed::row(&self.content[self.start..end]);
        self.start = end;
        Some(Ok((id, row)))
    }
}

/// A scan that locks each row before handing it out; see [`Txn::scan_for_update`].
pub struct UpdateScan {
    pub(super) table: ObjectId,
    pub(super) index: Option<IndexId>,
    pub(super) range: KeyRange,
    pub(super) direction: Direction,
    pub(super) lock: RowLock,
    pub(super) after: Option<Position>,
    /// Steps read ahead; each row is looked at anew when its turn comes.
    pub(super) ahead: VecDeque<Position>,
    pub(super) ended: bool,
    /// Rows this statement writes itself later are not met again.
    pub(super) sight: Sight,
    pub(super) snapshot: bool,
}

impl UpdateScan {
    /// The next row: waits for another transaction's write to it, locks it, and answers it as
    /// it is now (READ COMMITTED) or as the snapshot has it (SNAPSHOT, where another's change
    /// since is error 3960 only once the row is written).
    ///
    /// # Errors
    /// 1205, 1222, 3960, [`ATTENTION`](super::ATTENTION).
    pub fn next(&mut self, txn: &mut Txn) -> Result<Option<(RowId, Row)>, SqlError> {
        loop {
            if self.ahead.is_empty() {
                if self.ended {
                    return Ok(None);
                }
                self.read_ahead(txn.database())?;
                continue;
            }
            let Some(at) = self.ahead.pop_front() else {
                return Ok(None);
            };
            if let Some(found) = self.visit(txn, &at)? {
                return Ok(Some(found));
            }
        }
    }

    fn read_ahead(&mut self, database: &Arc<Database>) -> Result<(), SqlError> {
        let state = database.lock();
        let found = state.tables.get(&self.table).ok_or_else(|| gone(self.table))?;
        let steps = found.walk(self.index, &self.range, self.direction, self.after.as_ref(), BATCH);
        self.ended = steps.len() < BATCH;
        self.after = steps.last().map(|step| step.at.clone()).or(self.after.take());
        self.ahead.extend(steps.into_iter().map(|step| step.at));
        Ok(())
    }

    fn visit(&self, txn: &mut Txn, at: &Position) -> Result<Option<(RowId, Row)>, SqlError> {
        let id = at.row_id();
        if self.snapshot {
            // Rows the snapshot does not have are not locked either.
            let state = txn.database().lock();
            let row = state.tables.get(&self.table).and_then(|table| {
                let row = table.chain(id)?.seen(&self.sight)?;
                table.found_at(self.index, at, row).then(|| row.row())
            });
            return Ok(row.map(|row| (id, row)));
        }
        if !self.is_current(txn, at) {
            return Ok(None);
        }
        let (row, new) = txn.take_row(self.table, id, self.lock)?;
        // It may have moved while this waited.
        let found = row.filter(|row| {
            let state = txn.database().lock();
            let table = state.tables.get(&self.table);
            table.is_some_and(|table| table.row_at(self.index, at, row))
        });
        if found.is_none() && new {
            txn.release_row(self.table, id);
        }
        Ok(found.map(|row| (id, row)))
    }

    fn is_current(&self, txn: &Txn, at: &Position) -> bool {
        let state = txn.database().lock();
        state.tables.get(&self.table).is_some_and(|table| table.current_at(self.index, at))
    }
}
