//! What a transaction holds: row and table locks, and the definitions it has looked up.

use std::sync::Arc;

use super::database::Attempt;
use super::packed::Packed;
use super::table::Table;
use super::{ObjectId, Row, RowId, RowLock, TableDef, TableLock, Txn, TypeDef, invalid_object};
use crate::SqlError;

impl Txn {
    /// Locks one row to the end of the transaction and answers it as it is now; `None` if it is
    /// gone.
    ///
    /// # Errors
    /// 1205, 1222, 208, `ATTENTION`.
    pub fn lock_row(
        &mut self,
        table: ObjectId,
        id: RowId,
        lock: RowLock,
    ) -> Result<Option<Row>, SqlError> {
        self.take_row(table, id, lock).map(|(row, _)| row)
    }

    /// As [`lock_row`](Txn::lock_row), and whether the lock is new.
    pub(super) fn take_row(
        &mut self,
        table: ObjectId,
        id: RowId,
        lock: RowLock,
    ) -> Result<(Option<Row>, bool), SqlError> {
        let me = self.id();
        self.database.wait_for(&self.waiter, |state| {
            let blockers = state.row_blockers(table, id, me, lock);
            if !blockers.is_empty() {
                return Ok(Attempt::Blocked(blockers));
            }
            let found =
                state.tables.get(&table).ok_or_else(|| invalid_object(&table.to_string()))?;
            let Some(chain) = found.chain(id) else {
                return Ok(Attempt::Done((None, false)));
            };
            let row = chain.head().row.as_ref().map(Packed::row);
            // A row this transaction has written is locked by that already.
            let new = chain.writer() != Some(me)
                && state.locks.lock_row((table, id), me, lock) == Ok(true);
            if new && let Some(txn) = state.txn(me) {
                txn.row_locks.push((table, id));
            }
            Ok(Attempt::Done((row, new)))
        })
    }

    /// Gives back the lock of a row that [`scan_for_update`](Txn::scan_for_update) handed out
    /// and that did not qualify. Call it at once, before the next row: only the latest lock is
    /// given back, and one that an earlier statement took stays.
    pub fn release_row(&mut self, table: ObjectId, id: RowId) {
        let me = self.id();
        let mut state = self.database.lock();
        let Some(txn) = state.txn(me) else {
            return;
        };
        if txn.row_locks.len() > txn.kept_rows && txn.row_locks.last() == Some(&(table, id)) {
            txn.row_locks.pop();
            state.locks.unlock_row((table, id), me);
            drop(state);
            self.database.notify();
        }
    }

    /// Locks a table to the end of the transaction.
    ///
    /// # Errors
    /// 1205, 1222, 208.
    pub fn lock_table(&mut self, table: ObjectId, lock: TableLock) -> Result<(), SqlError> {
        self.take_table(table, lock, lock == TableLock::SchemaStability)
    }

    /// Locks a table until [`end_statement`](Txn::end_statement), unless the transaction holds the lock already.
    ///
    /// # Errors
    /// 1205, 1222, 208.
    pub fn lock_table_for_statement(
        &mut self,
        table: ObjectId,
        lock: TableLock,
    ) -> Result<(), SqlError> {
        self.take_table(table, lock, true)
    }

    fn take_table(
        &mut self,
        table: ObjectId,
        lock: TableLock,
        for_statement: bool,
    ) -> Result<(), SqlError> {
        let me = self.id();
        let granted = self.database.wait_for(&self.waiter, |state| {
            let found =
                state.tables.get(&table).ok_or_else(|| invalid_object(&table.to_string()))?;
            if found.dropped_by == Some(me) {
                return Err(invalid_object(&found.def.full_name()));
            }
            match state.locks.lock_table(table, me, lock) {
                Ok(new) => {
                    if new && let Some(txn) = state.txn(me) {
                        match for_statement {
                            true => txn.statement_locks.push((table, lock)),
                            false => txn.table_locks.push((table, lock)),
                        }
                    } else if !for_statement && let Some(txn) = state.txn(me) {
                        // Held for the statement so far, from now on to the end.
                        let before = txn.statement_locks.len();
                        txn.statement_locks.retain(|held| *held != (table, lock));
                        if txn.statement_locks.len() < before {
                            txn.table_locks.push((table, lock));
                        }
                    }
                    Ok(Attempt::Done(()))
                }
                Err(blockers) => Ok(Attempt::Blocked(blockers)),
            }
        });
        if granted.is_err() {
            // Out of the queue, or it would hold others back for ever.
            self.database.lock().locks.give_up_table(table, me);
            self.database.notify();
        }
        granted
    }

    /// A table by name, as this transaction sees the catalogue; waits while another transaction
    /// changes it, and keeps it from being changed until [`end_statement`](Txn::end_statement).
    ///
    /// # Errors
    /// 1205, 1222, `ATTENTION`.
    pub fn table(&mut self, schema: &str, name: &str) -> Result<Option<Arc<TableDef>>, SqlError> {
        Ok(self.object(schema, name)?.filter(|object| object.module.is_none()))
    }

    /// The same, views and procedures among the answers.
    ///
    /// # Errors
    /// 1205, 1222, `ATTENTION`.
    pub fn object(&mut self, schema: &str, name: &str) -> Result<Option<Arc<TableDef>>, SqlError> {
        loop {
            let found = self.database.lock().find_table(schema, name, self.id());
            let Some(id) = found else {
                return Ok(None);
            };
            match self.table_by_id(id)? {
                // It may have been renamed or replaced while this waited.
                Some(def) if def.is_named(schema, name) => return Ok(Some(def)),
                _ => self.end_statement(),
            }
        }
    }

    /// The same by `object_id`.
    ///
    /// # Errors
    /// 1205, 1222, `ATTENTION`.
    pub fn table_by_id(&mut self, id: ObjectId) -> Result<Option<Arc<TableDef>>, SqlError> {
        match self.lock_table(id, TableLock::SchemaStability) {
            Ok(()) => Ok(self.database.peek_table(id)),
            Err(error) if error.number == 208 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All tables, without locks: this transaction's own DDL and what others have committed.
    pub fn tables(&self) -> Vec<Arc<TableDef>> {
        let mut tables = self.objects();
        tables.retain(|object| object.module.is_none());
        tables
    }

    /// The same, views and procedures among them.
    pub fn objects(&self) -> Vec<Arc<TableDef>> {
        let state = self.database.lock();
        let mut tables: Vec<Arc<TableDef>> = state
            .tables
            .values()
            .filter(|table| self.lists(table))
            .map(|table| table.def.clone())
            .collect();
        tables.sort_by_key(|table| table.id);
        tables
    }

    /// One of [`Txn::tables`].
    pub fn listed_table(&self, id: ObjectId) -> Option<Arc<TableDef>> {
        let state = self.database.lock();
        let table = state.tables.get(&id).filter(|table| self.lists(table))?;
        table.def.module.is_none().then(|| table.def.clone())
    }

    fn lists(&self, table: &Table) -> bool {
        let me = self.id();
        table.created_by.is_none_or(|by| by == me) && table.dropped_by != Some(me)
    }

    /// The rows of a table as they stand, without locks, open transactions' own among them: what
    /// the catalogue counts.
    pub fn each_current_row(&self, table: ObjectId, mut read: impl FnMut(&Row)) {
        let state = self.database.lock();
        let Some(table) = state.tables.get(&table) else {
            return;
        };
        for (_, chain) in table.chains() {
            if let Some(row) = chain.head().row.as_ref() {
                read(&row.row());
            }
        }
    }

    /// Alias types, by id.
    pub fn types(&self) -> Vec<TypeDef> {
        self.database.lock().types.clone()
    }

    /// Schemas: (`schema_id`, name).
    pub fn schemas(&self) -> Vec<(i32, String)> {
        self.database.lock().schemas.clone()
    }
}
