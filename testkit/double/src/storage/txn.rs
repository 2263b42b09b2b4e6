//! Transactions.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Database, Direction, IndexId, KeyRange, Lsn, Micros, ObjectId, Row, RowId, TableDef,
    UpdateScan, View,
};
use crate::{IsolationLevel, SqlError, Value};

/// Number of the error a wait ends with when its [`CancelHandle`] is used. It never goes to a
/// client: attention is answered by the wire.
pub const ATTENTION: i32 = 3617;

/// `transaction_id`, unique on the server.
pub type TxnId = u64;

/// Locks on a table, in SQL Server's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableLock {
    /// Sch-S: taken by [`Txn::table`], until [`Txn::end_statement`].
    SchemaStability,
    /// IX: taken by every write.
    IntentExclusive,
    /// S: TABLOCK with HOLDLOCK; also REPEATABLE READ and SERIALIZABLE reads (coarser than SQL
    /// Server's key ranges, never laxer).
    Shared,
    /// X: TABLOCKX.
    Exclusive,
    /// Sch-M: taken by DDL.
    SchemaModification,
}

/// Explicit row locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowLock {
    /// S
    Shared,
    /// U (UPDLOCK, and what an UPDATE or DELETE takes while it decides)
    Update,
    /// X (XLOCK)
    Exclusive,
}

/// A point to roll back to. Valid until the transaction ends or rolls back behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(usize);

/// What the dynamic views say of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnInfo {
    /// `transaction_id`
    pub id: TxnId,
    /// Server-local time of the first log record, or of the beginning if there is none.
    pub begin_time: Micros,
    /// `database_transaction_begin_lsn`: none before the first write.
    pub begin_lsn: Option<Lsn>,
    /// `database_transaction_last_lsn`
    pub last_lsn: Option<Lsn>,
    /// `database_transaction_most_recent_savepoint_lsn`
    pub savepoint_lsn: Option<Lsn>,
    /// `database_transaction_log_record_count`
    pub log_records: u64,
    /// Whether it reads SNAPSHOT.
    pub snapshot: bool,
}

/// Interrupts a transaction's lock waits from another thread.
#[derive(Clone)]
pub struct CancelHandle {
}

impl CancelHandle {
    /// Ends the wait under way, or the next one, with [`ATTENTION`].
    pub fn cancel(&self) {
        unimplemented!()
    }

    /// Takes a cancellation back that found nothing to interrupt.
    pub fn reset(&self) {
        unimplemented!()
    }
}

/// A transaction in one database. Dropping it rolls it back.
pub struct Txn {
}

impl Txn {
    /// `transaction_id`
    pub fn id(&self) -> TxnId {
        unimplemented!()
    }

    /// Its database.
    pub fn database(&self) -> &Arc<Database> {
        unimplemented!()
    }

    /// Whether it can still be used; false once a deadlock or an update conflict has rolled it
    /// back.
    pub fn is_active(&self) -> bool {
        unimplemented!()
    }

    /// Whether it has written anything.
    pub fn has_written(&self) -> bool {
        unimplemented!()
    }

    /// What the dynamic views say.
    pub fn info(&self) -> TxnInfo {
        unimplemented!()
    }

    /// SET LOCK_TIMEOUT: `None` waits for ever, zero not at all.
    pub fn set_lock_timeout(&mut self, timeout: Option<Duration>) {
        let _ = timeout;
        unimplemented!()
    }

    /// SET DEADLOCK_PRIORITY, -10 to 10.
    pub fn set_deadlock_priority(&mut self, priority: i8) {
        let _ = priority;
        unimplemented!()
    }

    /// SET TRANSACTION ISOLATION LEVEL within the transaction.
    ///
    /// # Errors
    /// 3951 for SNAPSHOT in a transaction that began under another level.
    pub fn set_isolation(&mut self, level: IsolationLevel) -> Result<(), SqlError> {
        let _ = level;
        unimplemented!()
    }

    /// Interrupts this transaction's waits.
    pub fn cancel_handle(&self) -> CancelHandle {
        unimplemented!()
    }

    // ---- catalogue -------------------------------------------------------------------------

    /// A table by name, as this transaction sees the catalogue; waits while another transaction
    /// changes it, and keeps it from being changed until [`end_statement`](Txn::end_statement).
    ///
    /// # Errors
    /// 1205, 1222.
    pub fn table(&mut self, schema: &str, name: &str) -> Result<Option<Arc<TableDef>>, SqlError> {
        let _ = (schema, name);
        unimplemented!()
    }

    /// The same by `object_id`.
    ///
    /// # Errors
    /// 1205, 1222.
    pub fn table_by_id(&mut self, id: ObjectId) -> Result<Option<Arc<TableDef>>, SqlError> {
        let _ = id;
        unimplemented!()
    }

    /// All tables, without locks: this transaction's own DDL and what others have committed.
    pub fn tables(&self) -> Vec<Arc<TableDef>> {
        unimplemented!()
    }

    /// Schemas: (`schema_id`, name).
    pub fn schemas(&self) -> Vec<(i32, String)> {
        unimplemented!()
    }

    /// CREATE SCHEMA.
    ///
    /// # Errors
    /// 2714 if it exists.
    pub fn create_schema(&mut self, name: &str) -> Result<(), SqlError> {
        let _ = name;
        unimplemented!()
    }

    /// DROP SCHEMA.
    ///
    /// # Errors
    /// 15151 if there is none, 3729 if it is not empty.
    pub fn drop_schema(&mut self, name: &str) -> Result<(), SqlError> {
        let _ = name;
        unimplemented!()
    }

    /// CREATE TABLE: numbers the table, its columns (by position), indexes and constraints.
    ///
    /// # Errors
    /// 2714 if the name is taken, 2760 for an unknown schema, 2705 for a column named twice.
    pub fn create_table(&mut self, table: TableDef) -> Result<Arc<TableDef>, SqlError> {
        let _ = table;
        unimplemented!()
    }

    /// DROP TABLE. A captured table's instances go with it, at once.
    ///
    /// # Errors
    /// 208; 3726 while a foreign key of another table refers to it.
    pub fn drop_table(&mut self, id: ObjectId) -> Result<(), SqlError> {
        let _ = id;
        unimplemented!()
    }

    /// ALTER TABLE, CREATE INDEX, DROP INDEX: puts `new` (the old definition, changed; new
    /// columns, indexes and constraints with id 0) in the place of the table. Where columns are
    /// added, dropped or retyped, `rewrite` makes each stored row fit and answers errors of its
    /// own (8115, 515 …). `command` is the statement's text, for `cdc.ddl_history`.
    ///
    /// # Errors
    /// 208; 1505 if a new unique index meets duplicates; 22979/22983 if an index that CDC uses
    /// would change; 4928 for the rename of a captured column; what `rewrite` answers.
    pub fn alter_table(
        &mut self,
        new: TableDef,
        command: &str,
        rewrite: Option<&mut dyn FnMut(&Row) -> Result<Row, SqlError>>,
    ) -> Result<Arc<TableDef>, SqlError> {
        let _ = (new, command, rewrite);
        unimplemented!()
    }

    /// `sp_rename` of a table: allowed on a captured table, and recorded nowhere.
    ///
    /// # Errors
    /// 208, 15335 if the name is taken.
    pub fn rename_table(&mut self, id: ObjectId, name: &str) -> Result<(), SqlError> {
        let _ = (id, name);
        unimplemented!()
    }

    /// TRUNCATE TABLE. Identity starts again at its seed.
    ///
    /// # Errors
    /// 208; 4711 for a captured table; 4712 for one that a foreign key refers to.
    pub fn truncate(&mut self, id: ObjectId) -> Result<(), SqlError> {
        let _ = id;
        unimplemented!()
    }

    // ---- reading ---------------------------------------------------------------------------

    /// What a statement that starts now may see: this transaction's writes so far, and what was
    /// committed by now (READ COMMITTED and above) or at the first data access (SNAPSHOT).
    ///
    /// # Errors
    /// 3952 for SNAPSHOT in a database that does not allow it.
    pub fn statement_view(&mut self) -> Result<View, SqlError> {
        unimplemented!()
    }

    /// What NOLOCK sees: everybody's latest writes, committed or not.
    pub fn dirty_view(&mut self) -> View {
        unimplemented!()
    }

    /// Walks rows to be changed (or read with UPDLOCK/XLOCK), locking each with `lock`.
    ///
    /// # Errors
    /// 208, 3952, and of locking the table 1205 and 1222.
    pub fn scan_for_update(
        &mut self,
        table: ObjectId,
        index: Option<IndexId>,
        range: KeyRange,
        direction: Direction,
        lock: RowLock,
    ) -> Result<UpdateScan, SqlError> {
        let _ = (table, index, range, direction, lock);
        unimplemented!()
    }

    /// Locks one row to the end of the transaction and answers it as it is now.
    ///
    /// # Errors
    /// 1205, 1222, 3960.
    pub fn lock_row(&mut self, table: ObjectId, id: RowId, lock: RowLock) -> Result<Option<Row>, SqlError> {
        let _ = (table, id, lock);
        unimplemented!()
    }

    /// Gives back the lock of a row that [`scan_for_update`](Txn::scan_for_update) handed out
    /// and that did not qualify. Without effect if the row was locked before or changed.
    pub fn release_row(&mut self, table: ObjectId, id: RowId) {
        let _ = (table, id);
        unimplemented!()
    }

    /// Locks a table to the end of the transaction.
    ///
    /// # Errors
    /// 1205, 1222, 208.
    pub fn lock_table(&mut self, table: ObjectId, lock: TableLock) -> Result<(), SqlError> {
        let _ = (table, lock);
        unimplemented!()
    }

    // ---- writing ---------------------------------------------------------------------------

    /// Takes the next identity value of a table. Not undone by a rollback.
    ///
    /// # Errors
    /// 208; 8115 when the type is used up.
    pub fn next_identity(&mut self, table: ObjectId) -> Result<i64, SqlError> {
        let _ = table;
        unimplemented!()
    }

    /// Tells of an explicit identity value (SET IDENTITY_INSERT ON): later ones continue behind
    /// it.
    pub fn note_identity(&mut self, table: ObjectId, value: i64) {
        let _ = (table, value);
        unimplemented!()
    }

    /// `IDENT_CURRENT`; also the target of DBCC CHECKIDENT with `Some`.
    pub fn identity_current(&self, table: ObjectId) -> Option<i64> {
        let _ = table;
        unimplemented!()
    }

    /// Inserts a row (already of the table's types).
    ///
    /// # Errors
    /// 2627 or 2601 for a duplicate key (after waiting for another transaction that holds the
    /// key), 1205, 1222, 3960.
    pub fn insert(&mut self, table: ObjectId, row: Row) -> Result<RowId, SqlError> {
        let _ = (table, row);
        unimplemented!()
    }

    /// The changes of one UPDATE statement: every row it changes with its new content, and the
    /// positions of the columns in its SET list. What goes into the log depends on the whole
    /// statement: one row whose primary or clustered key changes is logged as one key update;
    /// where keys change in a statement of many rows, all deletes come first, then all inserts.
    ///
    /// # Errors
    /// As [`insert`](Txn::insert). On an error some rows may have changed: roll back to the
    /// statement's savepoint.
    pub fn update(&mut self, table: ObjectId, rows: Vec<(RowId, Row)>, set: &[usize]) -> Result<(), SqlError> {
        let _ = (table, rows, set);
        unimplemented!()
    }

    /// Deletes a row; false if it is gone already.
    ///
    /// # Errors
    /// 1205, 1222, 3960.
    pub fn delete(&mut self, table: ObjectId, id: RowId) -> Result<bool, SqlError> {
        let _ = (table, id);
        unimplemented!()
    }

    // ---- the end ---------------------------------------------------------------------------

    /// A point to roll back to: for each statement, to undo it alone. Writes no log record.
    pub fn savepoint(&mut self) -> Savepoint {
        unimplemented!()
    }

    /// SAVE TRANSACTION: as [`savepoint`](Txn::savepoint), and a log record whose LSN
    /// `most_recent_savepoint_lsn` then shows, in a transaction that has not written too.
    pub fn save(&mut self) -> Savepoint {
        unimplemented!()
    }

    /// Undoes everything after the savepoint. Locks stay.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        let _ = savepoint;
        unimplemented!()
    }

    /// A statement is over: lets go of what it held for itself (Sch-S). To be called after
    /// each statement; the end of the transaction does it too.
    pub fn end_statement(&mut self) {
        unimplemented!()
    }

    /// Commits: returns once it is durable and visible. Answers the commit LSN, none if nothing
    /// was written.
    ///
    /// # Errors
    /// 3902 if a deadlock has ended it already, 9001 if the log cannot be written.
    pub fn commit(self) -> Result<Option<Lsn>, SqlError> {
        unimplemented!()
    }

    /// Rolls back.
    pub fn rollback(self) {
        unimplemented!()
    }

    #[allow(dead_code)]
    fn _unused(_: &Value) {}
}
