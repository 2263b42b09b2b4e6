//! Transactions: their settings, what they may see, locks, and their end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::database::{Waiter, no_transaction};
use super::state::{Pending, State, Undo};
use super::{
    Database, Direction, IndexId, KeyRange, Lsn, Micros, ObjectId, UpdateScan, View,
    invalid_object, redo,
};
use crate::{IsolationLevel, SqlError};

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
    /// IS: taken by reads that lock rows, until [`Txn::end_statement`].
    IntentShared,
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
pub struct Savepoint {
    undo: usize,
    redo: usize,
}

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
    database: Arc<Database>,
    cancelled: Arc<AtomicBool>,
}

impl CancelHandle {
    /// Ends the wait under way, or the next one, with [`ATTENTION`].
    pub fn cancel(&self) {
        // Under the mutex, or a wait that is just beginning could miss it.
        let state = self.database.lock();
        self.cancelled.store(true, Ordering::Relaxed);
        drop(state);
        self.database.notify();
    }

    /// Takes a cancellation back that found nothing to interrupt.
    pub fn reset(&self) {
        self.cancelled.store(false, Ordering::Relaxed);
    }
}

/// A transaction in one database. Dropping it rolls it back.
pub struct Txn {
    pub(super) database: Arc<Database>,
    pub(super) waiter: Waiter,
    over: bool,
}

impl Txn {
    pub(super) fn new(database: Arc<Database>, id: TxnId) -> Txn {
        let waiter = Waiter {
            txn: id,
            timeout: None,
            priority: 0,
            cancelled: Arc::new(AtomicBool::new(false)),
        };
        Txn { database, waiter, over: false }
    }

    /// `transaction_id`
    pub fn id(&self) -> TxnId {
        self.waiter.txn
    }

    /// Its database.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Whether it can still be used; false once a deadlock or an update conflict has rolled it
    /// back.
    pub fn is_active(&self) -> bool {
        self.database.lock().txns.contains_key(&self.id())
    }

    /// Whether it has written anything.
    pub fn has_written(&self) -> bool {
        self.info().is_some_and(|info| info.begin_lsn.is_some())
    }

    /// What the dynamic views say; `None` once it is over.
    pub fn info(&self) -> Option<TxnInfo> {
        self.database.lock().txn(self.id()).map(|txn| txn.info())
    }

    /// SET LOCK_TIMEOUT: `None` waits for ever, zero not at all.
    pub fn set_lock_timeout(&mut self, timeout: Option<Duration>) {
        self.waiter.timeout = timeout;
    }

    /// SET DEADLOCK_PRIORITY, -10 to 10.
    pub fn set_deadlock_priority(&mut self, priority: i8) {
        self.waiter.priority = priority;
    }

    /// Its isolation level.
    pub fn isolation(&self) -> IsolationLevel {
        let mut state = self.database.lock();
        state.txn(self.id()).map_or(IsolationLevel::ReadCommitted, |txn| txn.isolation)
    }

    /// SET TRANSACTION ISOLATION LEVEL within the transaction.
    ///
    /// # Errors
    /// 3951 for SNAPSHOT in a transaction that began under another level.
    pub fn set_isolation(&mut self, level: IsolationLevel) -> Result<(), SqlError> {
        let mut state = self.database.lock();
        let name = state.info.name.clone();
        let txn = state.txn(self.waiter.txn).ok_or_else(no_transaction)?;
        if level == IsolationLevel::Snapshot && txn.began_as != IsolationLevel::Snapshot {
            return Err(SqlError::new(
                3951,
                16,
                1,
                format!(
                    "Transaction failed in database '{name}' because the statement was run under snapshot isolation but the transaction did not start in snapshot isolation. You cannot change the isolation level of the transaction to snapshot after the transaction has started unless the transaction was originally started under snapshot isolation level."
                ),
            ));
        }
        txn.isolation = level;
        Ok(())
    }

    /// Interrupts this transaction's waits.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle { database: self.database.clone(), cancelled: self.waiter.cancelled.clone() }
    }

    /// Uses a flag of the session's instead of the transaction's own, so that one handle serves
    /// all transactions of a session.
    pub fn share_cancellation(&mut self, handle: &CancelHandle) {
        self.waiter.cancelled = handle.cancelled.clone();
    }

    // ---- reading ---------------------------------------------------------------------------

    /// What a statement that starts now may see: this transaction's writes so far, and what was
    /// committed by now (READ COMMITTED and above) or at the first data access (SNAPSHOT).
    ///
    /// # Errors
    /// 3952 for SNAPSHOT in a database that does not allow it.
    pub fn statement_view(&mut self) -> Result<View, SqlError> {
        let mut state = self.database.lock();
        self.fix_snapshot(&mut state)?;
        let sight = state.sight(self.id());
        let snapshot = self.reads_snapshot(&mut state);
        state.register_view(sight.seq);
        let incarnation = state.incarnation;
        drop(state);
        Ok(View::registered(self.database.clone(), sight, incarnation, snapshot))
    }

    /// What NOLOCK sees: everybody's latest writes, committed or not.
    pub fn dirty_view(&mut self) -> View {
        let mut state = self.database.lock();
        let mut sight = state.sight(self.id());
        sight.dirty = true;
        state.register_view(sight.seq);
        let incarnation = state.incarnation;
        drop(state);
        View::registered(self.database.clone(), sight, incarnation, false)
    }

    fn reads_snapshot(&self, state: &mut State) -> bool {
        state.txn(self.id()).is_some_and(|txn| txn.isolation == IsolationLevel::Snapshot)
    }

    /// The first data access of a SNAPSHOT transaction fixes what it sees.
    pub(super) fn fix_snapshot(&self, state: &mut State) -> Result<(), SqlError> {
        let (seq, allowed, name) =
            (state.commits, state.info.allow_snapshot, state.info.name.clone());
        let system = state.info.id <= 4;
        let txn = state.txn(self.id()).ok_or_else(no_transaction)?;
        if txn.isolation != IsolationLevel::Snapshot || txn.snapshot.is_some() {
            return Ok(());
        }
        if !allowed && !system {
            return Err(SqlError::new(
                3952,
                16,
                1,
                format!(
                    "Snapshot isolation transaction failed accessing database '{name}' because snapshot isolation is not allowed in this database. Use ALTER DATABASE to allow snapshot isolation."
                ),
            ));
        }
        txn.snapshot = Some(seq);
        state.register_view(seq);
        Ok(())
    }

    /// Walks rows to be changed (or read with UPDLOCK/XLOCK), locking each with `lock`. Under
    /// SNAPSHOT it walks the snapshot and locks nothing: the write finds the conflict.
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
        self.lock_table(table, TableLock::IntentExclusive)?;
        let mut state = self.database.lock();
        self.fix_snapshot(&mut state)?;
        let sight = state.sight(self.id());
        let snapshot = self.reads_snapshot(&mut state);
        let found = state.tables.get(&table).ok_or_else(|| invalid_object(&table.to_string()))?;
        Ok(UpdateScan {
            table,
            index: found.resolve_index(index),
            range,
            direction,
            lock,
            after: None,
            ahead: VecDeque::new(),
            ended: false,
            sight,
            snapshot,
        })
    }

    // ---- the end ---------------------------------------------------------------------------

    /// A point to roll back to: for each statement, to undo it alone. Writes no log record.
    pub fn savepoint(&mut self) -> Savepoint {
        let mut state = self.database.lock();
        state.txn(self.waiter.txn).map_or(Savepoint { undo: 0, redo: 0 }, |txn| Savepoint {
            undo: txn.undo.len(),
            redo: txn.redo.len(),
        })
    }

    /// SAVE TRANSACTION: as [`savepoint`](Txn::savepoint), and a log record whose LSN
    /// `most_recent_savepoint_lsn` then shows, in a transaction that has not written too.
    pub fn save(&mut self) -> Savepoint {
        let now = self.now();
        let mut state = self.database.lock();
        let lsn = state.write_log(self.waiter.txn, 96, now);
        if let Some(txn) = state.txn(self.waiter.txn) {
            txn.savepoint_lsn = Some(lsn);
        }
        drop(state);
        self.savepoint()
    }

    /// Undoes everything after the savepoint. Locks stay.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        let now = self.now();
        let mut state = self.database.lock();
        state.roll_back(self.waiter.txn, savepoint.undo, savepoint.redo, now);
        drop(state);
        self.database.notify();
    }

    /// A statement is over: lets go of what it held for itself (Sch-S). To be called after
    /// each statement; the end of the transaction does it too.
    pub fn end_statement(&mut self) {
        let me = self.waiter.txn;
        let mut state = self.database.lock();
        let Some(txn) = state.txn(me) else {
            return;
        };
        txn.kept_rows = txn.row_locks.len();
        let locks = std::mem::take(&mut txn.statement_locks);
        let rows = std::mem::take(&mut txn.statement_rows);
        for (table, lock) in &locks {
            state.locks.unlock_table(*table, me, *lock);
        }
        for row in &rows {
            state.locks.unlock_row(*row, me);
        }
        drop(state);
        if !locks.is_empty() || !rows.is_empty() {
            self.database.notify();
        }
    }

    /// Commits: returns once it is durable and visible. Answers the commit LSN, none if nothing
    /// was written.
    ///
    /// # Errors
    /// 3902 if a deadlock has ended it already, 9001 if the log cannot be written.
    pub fn commit(mut self) -> Result<Option<Lsn>, SqlError> {
        self.over = true;
        let (me, now) = (self.id(), self.now());
        let mut state = self.database.lock();
        let txn = state.txn(me).ok_or_else(no_transaction)?;
        if txn.begin_lsn.is_none() && txn.undo.is_empty() {
            state.abort(me, now);
            drop(state);
            self.database.notify();
            return Ok(None);
        }
        let commit_lsn = state.write_log(me, 80, now);
        state.log.lsns.close_block();
        let ticket = self.write_redo(&mut state, commit_lsn, now);
        state.pending.push_back(Pending { txn: me, ticket, commit_lsn, end_time: now });
        let durable = match &self.database.wal {
            None => ticket,
            Some(wal) => {
                drop(state);
                wal.wait(ticket)?;
                state = self.database.lock();
                ticket
            }
        };
        state.finish(durable);
        drop(state);
        self.database.notify();
        if let Some(wal) = &self.database.wal {
            wal.compact_if_due(&self.database);
        }
        Ok(Some(commit_lsn))
    }

    fn write_redo(&self, state: &mut State, commit_lsn: Lsn, end_time: Micros) -> u64 {
        let (Some(wal), Some(txn)) = (&self.database.wal, state.txn(self.id())) else {
            return 0;
        };
        wal.append(|frames| redo::write_transaction(frames, txn, commit_lsn, end_time))
    }

    /// Rolls back.
    pub fn rollback(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if !self.over {
            self.over = true;
            let now = self.now();
            self.database.lock().abort(self.waiter.txn, now);
            self.database.notify();
        }
    }

    pub(super) fn now(&self) -> Micros {
        self.database.now()
    }

    /// Has the log confirmed as captured up to `lsn` when this transaction commits.
    pub fn confirm_captured(&mut self, lsn: Lsn) -> Result<(), SqlError> {
        let now = self.now();
        let mut state = self.database.lock();
        state.write_log(self.waiter.txn, 64, now);
        let txn = state.txn(self.waiter.txn).ok_or_else(no_transaction)?;
        let before = txn.captured.replace(lsn);
        txn.undo.push(Undo::Captured(before));
        txn.redo.push(super::state::Redo::Captured(lsn));
        Ok(())
    }
}

impl Drop for Txn {
    fn drop(&mut self) {
        self.end();
    }
}
