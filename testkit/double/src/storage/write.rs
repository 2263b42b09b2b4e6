//! Row changes.
//!
//! Every change waits until nobody else stands against it, then in one step under the mutex
//! takes the next LSN, puts its version at the head of the chain and notes how to undo it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::database::Attempt;
use super::log::{Change, LogRecord};
use super::packed::Packed;
use super::state::{Redo, State, Undo};
use super::table::{KeyConflict, Table, row_bytes};
use super::{
    ColumnDef, ColumnId, IndexKind, Micros, ObjectId, Pieces, Row, RowId, RowLock, TableLock, Txn,
    TxnId, invalid_object,
};
use crate::{IsolationLevel, SqlError, SqlType, Value};

impl Txn {
    /// Takes the next identity value of a table. Not undone by a rollback.
    ///
    /// # Errors
    /// 208; 8115 when the type is used up.
    pub fn next_identity(&mut self, table: ObjectId) -> Result<i64, SqlError> {
        let mut state = self.database.lock();
        let found =
            state.tables.get_mut(&table).ok_or_else(|| invalid_object(&table.to_string()))?;
        let column = found.def.columns.iter().find_map(|column| Some((column, column.identity?)));
        let Some((column, identity)) = column else {
            return Err(invalid_object(&found.def.full_name()));
        };
        let next = match found.identity {
            None => Some(identity.seed),
            Some(last) => last.checked_add(identity.increment),
        };
        match next.filter(|value| identity_fits(&column.ty, *value)) {
            Some(value) => {
                found.identity = Some(value);
                Ok(value)
            }
            None => Err(SqlError::new(
                8115,
                16,
                1,
                "Arithmetic overflow error converting IDENTITY to data type of the column.",
            )),
        }
    }

    /// Tells of an explicit identity value (SET IDENTITY_INSERT ON): later ones continue behind
    /// it.
    pub fn note_identity(&mut self, table: ObjectId, value: i64) {
        if let Some(found) = self.database.lock().tables.get_mut(&table) {
            found.note_identity(value);
        }
    }

    /// `IDENT_CURRENT`: the last value handed out, the seed before the first.
    pub fn identity_current(&self, table: ObjectId) -> Option<i64> {
        let state = self.database.lock();
        let found = state.tables.get(&table)?;
        let identity = found.def.columns.iter().find_map(|column| column.identity)?;
        Some(found.identity.unwrap_or(identity.seed))
    }

    /// DBCC CHECKIDENT with RESEED: the next value is one increment behind this one.
    pub fn reseed_identity(&mut self, table: ObjectId, value: i64) {
        if let Some(found) = self.database.lock().tables.get_mut(&table) {
            found.identity = Some(value);
        }
    }

    /// Inserts a row (already of the table's types).
    ///
    /// # Errors
    /// 2627 or 2601 for a duplicate key (after waiting for another transaction that holds the
    /// key), 7139 for a captured value that is too long, 208, 1205, 1222, [`ATTENTION`](super::ATTENTION).
    pub fn insert(&mut self, table: ObjectId, row: Row) -> Result<RowId, SqlError> {
        self.check_captured_length(table, &row, None)?;
        self.insert_accepted(table, row)
    }

    /// Inserts a row whose values have been looked at.
    fn insert_accepted(&mut self, table: ObjectId, row: Row) -> Result<RowId, SqlError> {
        self.lock_table(table, TableLock::IntentExclusive)?;
        let (me, now) = (self.id(), self.now());
        let logs = self.logs_everything();
        self.fix_snapshot(&mut self.database.lock())?;
        let outcome = self.database.wait_for(&self.waiter, |state| {
            let found =
                state.tables.get_mut(&table).ok_or_else(|| invalid_object(&table.to_string()))?;
            match found.conflict(None, &row, me) {
                Some(KeyConflict::Wait(other)) => return Ok(Attempt::Blocked(vec![other])),
                Some(KeyConflict::Duplicate(error)) => return Err(error),
                None => {}
            }
            if let Some(conflict) = key_conflict(state, me, table, None, &row) {
                state.abort(me, now);
                return Err(conflict);
            }
            let Some(found) = state.tables.get_mut(&table) else {
                return Err(invalid_object(&table.to_string()));
            };
            let id = found.take_row_id();
            let change = Change::Insert { row: row.clone() };
            write(state, Writer { txn: me, now, logs }, (table, id), Some(row.clone()), change);
            Ok(Attempt::Done(id))
        });
        if outcome.is_err() {
            self.database.notify();
        }
        outcome
    }

    /// The changes of one UPDATE statement: every row it changes with its new content, and the
    /// positions of the columns in its SET list. What goes into the log depends on the whole
    /// statement: one row whose primary key or clustered unique key changes is logged as one key
    /// update; where unique keys change in a statement of many rows, the rows concerned are
    /// deleted first and inserted last, each change with a record of its own. A row set to the
    /// values it has is logged like any other (the documents leave it open; a reader must cope).
    ///
    /// # Errors
    /// As [`insert`](Txn::insert), and 3960. On an error some rows may have changed: roll back
    /// to the statement's savepoint.
    pub fn update(
        &mut self,
        table: ObjectId,
        rows: Vec<(RowId, Row)>,
        set: &[usize],
    ) -> Result<(), SqlError> {
        self.lock_table(table, TableLock::IntentExclusive)?;
        let def =
            self.database.peek_table(table).ok_or_else(|| invalid_object(&table.to_string()))?;
        // Every change sets the row's version, too.
        let set: Arc<[ColumnId]> = set
            .iter()
            .copied()
            .chain(def.row_version())
            .filter_map(|at| Some(def.columns.get(at)?.id))
            .collect();
        if let [(id, row)] = rows.as_slice() {
            return self.update_in_place(table, *id, row, &set, &Pieces::default());
        }
        let mut moved = Vec::new();
        let mut stay = Vec::new();
        for (id, row) in rows {
            if self.moves_unique_key(table, id, &row) { &mut moved } else { &mut stay }
                .push((id, row));
        }
        for (id, _) in &moved {
            self.delete(table, *id)?;
        }
        for (id, row) in &stay {
            self.update_in_place(table, *id, row, &set, &Pieces::default())?;
        }
        for (_, row) in moved {
            self.check_captured_length(table, &row, Some(&set))?;
            self.insert_accepted(table, row)?;
        }
        Ok(())
    }

    /// The change of one row by an UPDATE with `.WRITE`: `pieces` are the columns written so, and what
    /// was written.
    ///
    /// # Errors
    /// As [`update`](Txn::update).
    pub fn update_in_part(
        &mut self,
        table: ObjectId,
        (id, row): (RowId, &Row),
        set: &[usize],
        pieces: &Pieces,
    ) -> Result<(), SqlError> {
        self.lock_table(table, TableLock::IntentExclusive)?;
        let def =
            self.database.peek_table(table).ok_or_else(|| invalid_object(&table.to_string()))?;
        let set = set.iter().copied().chain(def.row_version());
        let set: Arc<[ColumnId]> = set.filter_map(|at| Some(def.columns.get(at)?.id)).collect();
        self.update_in_place(table, id, row, &set, pieces)
    }

    /// A change of a row that capture finds nothing in: WRITETEXT and UPDATETEXT.
    ///
    /// # Errors
    /// As [`update`](Txn::update).
    pub fn update_unseen(&mut self, table: ObjectId, id: RowId, row: &Row) -> Result<(), SqlError> {
        self.lock_table(table, TableLock::IntentExclusive)?;
        self.update_in_place(table, id, row, &Arc::default(), &Pieces::default())
    }

    fn update_in_place(
        &mut self,
        table: ObjectId,
        id: RowId,
        after: &Row,
        set: &Arc<[ColumnId]>,
        pieces: &Pieces,
    ) -> Result<(), SqlError> {
        self.check_captured_length(table, after, Some(set))?;
        self.change(table, id, |table, before| {
            let (before, after, set) = (before.clone(), after.clone(), set.clone());
            let key_moves = table.moves(&before, &after, |index| {
                index.kind == IndexKind::PrimaryKey || (index.clustered && index.unique)
            });
            let change = if key_moves {
                Change::KeyUpdate { before, after: after.clone(), set }
            } else {
                Change::Update { before, after: after.clone(), set, pieces: pieces.clone() }
            };
            (Some(after), change)
        })
        .map(drop)
    }

    /// Deletes a row; false if it is gone already.
    ///
    /// # Errors
    /// 208, 1205, 1222, 3960, [`ATTENTION`](super::ATTENTION).
    pub fn delete(&mut self, table: ObjectId, id: RowId) -> Result<bool, SqlError> {
        self.lock_table(table, TableLock::IntentExclusive)?;
        self.change(table, id, |_, before| (None, Change::Delete { row: before.clone() }))
    }

    /// Changes an existing row once nobody stands against it; false if it is gone.
    fn change(
        &mut self,
        table: ObjectId,
        id: RowId,
        make: impl Fn(&Table, &Row) -> (Option<Row>, Change),
    ) -> Result<bool, SqlError> {
        let (me, now) = (self.id(), self.now());
        let logs = self.logs_everything();
        self.fix_snapshot(&mut self.database.lock())?;
        let outcome = self.database.wait_for(&self.waiter, |state| {
            let blockers = state.row_blockers(table, id, me, RowLock::Exclusive);
            if !blockers.is_empty() {
                return Ok(Attempt::Blocked(blockers));
            }
            if let Some(conflict) = snapshot_conflict(state, me, table, id) {
                state.abort(me, now);
                return Err(conflict);
            }
            let found =
                state.tables.get(&table).ok_or_else(|| invalid_object(&table.to_string()))?;
            let before = found.chain(id).and_then(|chain| chain.head().row.as_ref());
            let Some(before) = before.map(Packed::row) else {
                return Ok(Attempt::Done(false));
            };
            let (after, change) = make(found, &before);
            if let Some(after) = &after {
                match found.conflict(Some(id), after, me) {
                    Some(KeyConflict::Wait(other)) => return Ok(Attempt::Blocked(vec![other])),
                    Some(KeyConflict::Duplicate(error)) => return Err(error),
                    None => {}
                }
                if let Some(conflict) = key_conflict(state, me, table, Some(id), after) {
                    state.abort(me, now);
                    return Err(conflict);
                }
            }
            write(state, Writer { txn: me, now, logs }, (table, id), after, change);
            Ok(Attempt::Done(true))
        });
        if outcome.is_err() {
            self.database.notify();
        }
        outcome
    }

    /// Whether a row's new content has another key in any unique index than it has now.
    fn moves_unique_key(&self, table: ObjectId, id: RowId, after: &Row) -> bool {
        let state = self.database.lock();
        state.tables.get(&table).is_some_and(|found| {
            let before = found.chain(id).and_then(|chain| chain.head().row.as_ref());
            before
                .map(Packed::row)
                .is_some_and(|before| found.moves(&before, after, |index| index.unique))
        })
    }

    /// Records that nobody will read (no file, not captured) are not kept.
    fn logs_everything(&self) -> bool {
        self.database.wal.is_some()
    }

    /// Error 7139: a MAX value that the statement adds to a captured column, beyond
    /// `max text repl size`. One that is stored already does not count.
    /// <https://learn.microsoft.com/sql/database-engine/configure-windows/configure-the-max-text-repl-size-server-configuration-option>
    fn check_captured_length(
        &self,
        table: ObjectId,
        row: &Row,
        set: Option<&[ColumnId]>,
    ) -> Result<(), SqlError> {
        let limit = self.database.shared.max_text_repl_size.load(Ordering::Relaxed);
        let Ok(limit) = u64::try_from(limit) else {
            return Ok(());
        };
        let Some(def) = self.database.peek_table(table).filter(|def| def.tracked_by_cdc()) else {
            return Ok(());
        };
        let is_captured = |column: &ColumnDef| {
            let mut tables = def.captures.iter().filter_map(|id| self.database.peek_table(*id));
            tables.any(|changes| changes.column(&column.name).is_some())
        };
        let too_long = def.columns.iter().zip(row.iter()).find_map(|(column, value)| {
            let written = set.is_none_or(|set| set.contains(&column.id));
            let length = max_length(&column.ty, value).filter(|length| *length > limit)?;
            (written && is_captured(column)).then_some(length)
        });
        match too_long {
            None => Ok(()),
            Some(length) => Err(SqlError::new(
                7139,
                16,
                1,
                format!(
                    "Length of LOB data ({length}) to be replicated exceeds configured maximum {limit}. Use the stored procedure sp_configure to increase the configured maximum value for max text repl size option, which defaults to 65536. A configured value of -1 indicates no limit, other that the limit imposed by the data type."
                ),
            )),
        }
    }
}

/// Bytes of a value of a type without a limit.
fn max_length(ty: &SqlType, value: &Value) -> Option<u64> {
    match value {
        _ if !ty.is_lob() => None,
        Value::String(bytes) | Value::Binary(bytes) => Some(bytes.len() as u64),
        Value::NString(units) => Some(2 * units.len() as u64),
        _ => None,
    }
}

/// Whether an identity value fits its column.
fn identity_fits(ty: &SqlType, value: i64) -> bool {
    match ty {
        SqlType::TinyInt => u8::try_from(value).is_ok(),
        SqlType::SmallInt => i16::try_from(value).is_ok(),
        SqlType::Int => i32::try_from(value).is_ok(),
        SqlType::Decimal { precision, .. } | SqlType::Numeric { precision, .. } => 10i128
            .checked_pow(u32::from(*precision))
            .is_none_or(|limit| i128::from(value).abs() < limit),
        _ => true,
    }
}

/// Error 3960: under SNAPSHOT the row's newest version is newer than the snapshot.
fn snapshot_conflict(state: &mut State, me: TxnId, table: ObjectId, id: RowId) -> Option<SqlError> {
    let seen = snapshot_of(state, me)?;
    let found = state.tables.get(&table)?;
    let newest = found.chain(id)?.head().txn.committed()?;
    (newest > seen).then(|| update_conflict(state, table))
}

/// Error 3960: under SNAPSHOT the key is free only because another transaction has deleted or
/// moved the row that this one still sees under it.
fn key_conflict(
    state: &mut State,
    me: TxnId,
    table: ObjectId,
    id: Option<RowId>,
    row: &Row,
) -> Option<SqlError> {
    snapshot_of(state, me)?;
    let sight = state.sight(me);
    let seen = state.tables.get(&table)?.key_seen(id, row, &sight);
    seen.then(|| update_conflict(state, table))
}

fn snapshot_of(state: &mut State, me: TxnId) -> Option<u64> {
    let txn = state.txn(me)?;
    txn.snapshot.filter(|_| txn.isolation == IsolationLevel::Snapshot)
}

fn update_conflict(state: &State, table: ObjectId) -> SqlError {
    let name = state.tables.get(&table).map_or_else(String::new, |table| table.def.full_name());
    SqlError::new(
        3960,
        16,
        2,
        format!(
            "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access table '{name}' directly or indirectly in database '{}' to update, delete, or insert the row that has been modified or deleted by another transaction. Retry the transaction or change the isolation level for the update/delete statement.",
            state.info.name
        ),
    )
}

#[derive(Clone, Copy)]
struct Writer {
    txn: TxnId,
    now: Micros,
    /// Whether the record is kept for the log file, captured or not.
    logs: bool,
}

/// The step itself.
fn write(state: &mut State, by: Writer, at: (ObjectId, RowId), row: Option<Row>, change: Change) {
    let (table, id) = at;
    let bytes = 100 + row.as_ref().map_or(0, |row| row_bytes(row));
    let lsn = state.write_log(by.txn, bytes, by.now);
    state.writes += 1;
    let (Some(found), Some(txn)) = (state.tables.get_mut(&table), state.txns.get_mut(&by.txn))
    else {
        return;
    };
    if by.logs || found.def.tracked_by_cdc() {
        let record = LogRecord { lsn, table: found.def.clone(), row: id, change };
        txn.redo.push(Redo::Row(record));
    }
    found.push(id, &txn.cell, state.writes, row);
    txn.undo.push(Undo::Row { table, row: id });
}
