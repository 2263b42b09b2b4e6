//! READ COMMITTED without row versions: a scan that locks.
//!
//! It takes a shared lock on each row as it comes to it, waits for whoever writes it, and gives the
//! lock back as soon as the row is read. The locks of rows with large values that the query reads
//! are kept to the end of the statement, since such values are not copied when the row is (C.
//! Freedman, Read Committed Isolation Level). From 5,000 locks of a statement on the table on, and at
//! each 1,250 more, they are exchanged for a lock on the table if nobody stands against that
//! (Microsoft, Transaction locking and row versioning guide, lock escalation).
//!
//! The scan walks its index entry by entry: an entry that moves behind it is missed, one that moves
//! ahead of it is met twice.

use super::packed::Packed;
use super::table::Position;
use super::{
    Direction, IndexId, KeyRange, ObjectId, Row, RowId, RowLock, TableLock, Txn, invalid_object,
};
use crate::SqlError;

/// Locks of one statement on one table at which they are exchanged for one on the table.
pub const ESCALATION: usize = 5_000;
/// Further locks after which that is tried again.
const AGAIN: usize = 1_250;

/// A running scan; see [`Txn::scan_committed`].
pub struct CommittedScan {
    table: ObjectId,
    index: Option<IndexId>,
    range: KeyRange,
    direction: Direction,
    after: Option<Position>,
    /// Positions of columns whose values, where there are any, keep a row locked.
    large: Vec<usize>,
    kept: usize,
    escalate_at: usize,
    escalated: bool,
}

impl Txn {
    /// Walks rows as READ COMMITTED does without row versions. `large` are the positions of columns
    /// that are read and whose values are not copied.
    ///
    /// # Errors
    /// 208; 1205 and 1222 of locking the table.
    pub fn scan_committed(
        &mut self,
        table: ObjectId,
        index: Option<IndexId>,
        range: KeyRange,
        direction: Direction,
        large: Vec<usize>,
    ) -> Result<CommittedScan, SqlError> {
        self.lock_table_for_statement(table, TableLock::IntentShared)?;
        let state = self.database.lock();
        let found = state.tables.get(&table).ok_or_else(|| invalid_object(&table.to_string()))?;
        Ok(CommittedScan {
            table,
            index: found.resolve_index(index),
            range,
            direction,
            after: None,
            large,
            kept: 0,
            escalate_at: ESCALATION,
            escalated: false,
        })
    }

    /// Locks a table instead of a statement's rows, unless somebody stands against it; whether it did.
    pub fn escalate(&mut self, table: ObjectId, lock: TableLock, for_statement: bool) -> bool {
        let me = self.id();
        let mut state = self.database.lock();
        let granted = state.locks.lock_table(table, me, lock);
        if granted.is_err() {
            state.locks.give_up_table(table, me);
        }
        let (Ok(true), Some(txn)) = (&granted, state.txn(me)) else {
            return granted.is_ok();
        };
        match for_statement {
            true => txn.statement_locks.push((table, lock)),
            false => txn.table_locks.push((table, lock)),
        }
        true
    }

    /// Gives the rows back that its statement has kept locked in a table.
    fn release_statement_rows(&mut self, table: ObjectId) {
        let me = self.id();
        let mut state = self.database.lock();
        let Some(txn) = state.txn(me) else {
            return;
        };
        let (given, kept) =
            std::mem::take(&mut txn.statement_rows).into_iter().partition(|(of, _)| *of == table);
        txn.statement_rows = kept;
        let given: Vec<(ObjectId, RowId)> = given;
        for row in given {
            state.locks.unlock_row(row, me);
        }
        drop(state);
        self.database.notify();
    }

    /// The latest row lock is its statement's, no longer the transaction's.
    fn keep_for_statement(&mut self, row: (ObjectId, RowId)) {
        let me = self.id();
        let mut state = self.database.lock();
        if let Some(txn) = state.txn(me)
            && txn.row_locks.last() == Some(&row)
        {
            txn.row_locks.pop();
            txn.statement_rows.push(row);
        }
    }
}

impl CommittedScan {
    /// The next row.
    ///
    /// # Errors
    /// 1205, 1222, [`ATTENTION`](super::ATTENTION), 208.
    pub fn next(&mut self, txn: &mut Txn) -> Result<Option<(RowId, Row)>, SqlError> {
        while let Some(at) = self.step(txn)? {
            let id = at.row_id();
            let found = match self.escalated {
                true => self.read_unlocked(txn, &at),
                false => self.read(txn, &at)?,
            };
            if let Some(row) = found {
                return Ok(Some((id, row)));
            }
        }
        Ok(None)
    }

    /// The next entry of the index as it is now.
    fn step(&mut self, txn: &Txn) -> Result<Option<Position>, SqlError> {
        let state = txn.database().lock();
        let found =
            state.tables.get(&self.table).ok_or_else(|| invalid_object(&self.table.to_string()))?;
        loop {
            let steps = found.walk(self.index, &self.range, self.direction, self.after.as_ref(), 1);
            let Some(step) = steps.into_iter().next() else {
                return Ok(None);
            };
            self.after = Some(step.at.clone());
            // Entries that only old views still see are nothing to this reader.
            if found.current_at(self.index, &step.at) {
                return Ok(Some(step.at));
            }
        }
    }

    fn read(&mut self, txn: &mut Txn, at: &Position) -> Result<Option<Row>, SqlError> {
        let id = at.row_id();
        let (row, new) = txn.take_row(self.table, id, RowLock::Shared)?;
        // It may have moved while this waited.
        let found = row.filter(|row| {
            let state = txn.database().lock();
            let table = state.tables.get(&self.table);
            table.is_some_and(|table| table.row_at(self.index, at, row))
        });
        let keeps =
            found.as_ref().is_some_and(|row| self.large.iter().any(|at| !row[*at].is_null()));
        if new && !keeps {
            txn.release_row(self.table, id);
        } else if new {
            txn.keep_for_statement((self.table, id));
            self.kept += 1;
            if self.kept >= self.escalate_at {
                self.escalate_at += AGAIN;
                self.escalated = txn.escalate(self.table, TableLock::Shared, true);
                if self.escalated {
                    txn.release_statement_rows(self.table);
                }
            }
        }
        Ok(found)
    }

    /// Under a lock on the table nobody else can be writing.
    fn read_unlocked(&self, txn: &Txn, at: &Position) -> Option<Row> {
        let state = txn.database().lock();
        let table = state.tables.get(&self.table)?;
        let row = table.chain(at.row_id())?.head().row.as_ref().map(Packed::row)?;
        table.row_at(self.index, at, &row).then_some(row)
    }
}
