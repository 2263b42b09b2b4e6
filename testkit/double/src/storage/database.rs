//! One database: its state behind a mutex, and waiting for others.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clock::deadline;
use super::state::{State, TxnState};
use super::wal::Wal;
use super::{ATTENTION, Clock, LoggedTxn, Lsn, Micros, ObjectId, TableDef, Txn, TxnId, TxnInfo};
use crate::engine::collation::Label;
use crate::{IsolationLevel, SqlError};

/// What `sys.databases` and its kin say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// `database_id`
    pub id: i32,
    /// Name.
    pub name: String,
    /// Server-local creation (or restore) time.
    pub create_date: Micros,
    /// ALLOW_SNAPSHOT_ISOLATION; OFF at first, as on SQL Server.
    pub allow_snapshot: bool,
    /// READ_COMMITTED_SNAPSHOT; a new database has what `model` has.
    pub read_committed_snapshot: bool,
    /// `is_cdc_enabled`
    pub cdc_enabled: bool,
    /// `is_published`
    pub published: bool,
    /// `compatibility_level`
    pub compatibility_level: u8,
    /// `collation_name`
    pub collation: String,
    /// `database_guid`, in wire order.
    pub database_guid: [u8; 16],
    /// `family_guid`: the same over restores.
    pub family_guid: [u8; 16],
    /// `recovery_fork_guid`: new after every restore.
    pub recovery_fork_guid: [u8; 16],
}

/// What all databases of a server share.
pub(super) struct Shared {
    pub(super) clock: Arc<Clock>,
    pub(super) next_txn: AtomicU64,
    /// `max text repl size`, bytes; -1 is no limit.
    pub(super) max_text_repl_size: AtomicI64,
}

/// One database.
pub struct Database {
    id: i32,
    pub(super) shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
    /// `@@DBTS`: the last `rowversion` handed out.
    row_version: AtomicU64,
    pub(super) wal: Option<Wal>,
}

/// What an attempt that may have to wait comes to.
pub(super) enum Attempt<T> {
    Done(T),
    /// These transactions stand against it.
    Blocked(Vec<TxnId>),
}

/// How a transaction waits.
#[derive(Clone)]
pub(super) struct Waiter {
    pub(super) txn: TxnId,
    pub(super) timeout: Option<Duration>,
    pub(super) priority: i8,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Database {
    pub(super) fn new(state: State, shared: Arc<Shared>, wal: Option<Wal>) -> Arc<Database> {
        Arc::new(Database {
            id: state.info.id,
            row_version: AtomicU64::new(state.last_row_version()),
            shared,
            state: Mutex::new(state),
            changed: Condvar::new(),
            wal,
        })
    }

    /// What `sys.databases` says.
    pub fn info(&self) -> DatabaseInfo {
        self.lock().info.clone()
    }

    /// `database_id`
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Name.
    pub fn name(&self) -> String {
        self.lock().info.name.clone()
    }

    /// Takes the next `rowversion`. Not undone by a rollback.
    pub fn next_row_version(&self) -> u64 {
        self.row_version.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// `@@DBTS`
    pub fn last_row_version(&self) -> u64 {
        self.row_version.load(Ordering::Relaxed)
    }

    /// The server's clock.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.shared.clock
    }

    /// ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION.
    ///
    /// # Errors
    /// 9001 if the log cannot be written.
    pub fn set_allow_snapshot(&self, on: bool) -> Result<(), SqlError> {
        let mut state = self.lock();
        state.info.allow_snapshot = on;
        let info = state.info.clone();
        self.log_settings(state, &super::redo::Setting::Info(info))
    }

    /// ALTER DATABASE … SET READ_COMMITTED_SNAPSHOT.
    ///
    /// # Errors
    /// 9001 if the log cannot be written.
    pub fn set_read_committed_snapshot(&self, on: bool) -> Result<(), SqlError> {
        let mut state = self.lock();
        state.info.read_committed_snapshot = on;
        let info = state.info.clone();
        self.log_settings(state, &super::redo::Setting::Info(info))
    }

    /// Whether it is published for transactional replication: a name only, nothing replicates here.
    ///
    /// # Errors
    /// 9001 if the log cannot be written.
    pub fn set_published(&self, on: bool) -> Result<(), SqlError> {
        let mut state = self.lock();
        state.info.published = on;
        let info = state.info.clone();
        self.log_settings(state, &super::redo::Setting::Info(info))
    }

    /// CREATE and ALTER DATABASE … COLLATE. Columns that are there keep theirs.
    ///
    /// # Errors
    /// 9001 if the log cannot be written.
    pub fn set_collation(&self, collation: Label) -> Result<(), SqlError> {
        let mut state = self.lock();
        state.info.collation = collation.name();
        let info = state.info.clone();
        self.log_settings(state, &super::redo::Setting::Info(info))
    }

    /// The collation of its new columns, and of strings that come from none.
    pub fn collation(&self) -> Label {
        Label::named(&self.lock().info.collation).unwrap_or_default()
    }

    /// ALTER DATABASE … SET COMPATIBILITY_LEVEL.
    ///
    /// # Errors
    /// 9001 if the log cannot be written.
    pub fn set_compatibility_level(&self, level: u8) -> Result<(), SqlError> {
        let mut state = self.lock();
        state.info.compatibility_level = level;
        let info = state.info.clone();
        self.log_settings(state, &super::redo::Setting::Info(info))
    }

    /// `compatibility_level`
    pub fn compatibility_level(&self) -> u8 {
        self.lock().info.compatibility_level
    }

    /// Whether READ COMMITTED reads versions.
    pub fn reads_versions(&self) -> bool {
        self.lock().info.read_committed_snapshot
    }

    /// Begins a transaction. It costs nothing until it writes; an autocommit statement is a
    /// transaction of its own. Dropping a [`Txn`] rolls it back.
    pub fn begin(self: &Arc<Self>, isolation: IsolationLevel) -> Txn {
        let id = self.shared.next_txn.fetch_add(1, Ordering::Relaxed);
        let now = self.shared.clock.local_now();
        self.lock().txns.insert(id, TxnState::new(id, isolation, now));
        Txn::new(self.clone(), id)
    }

    /// Durable, non-transactional name-value settings for whoever builds on this (users, grants
    /// and such that are not tables).
    pub fn setting(&self, key: &str) -> Option<String> {
        self.lock().settings.get(key).cloned()
    }

    /// Sets or (with `None`) removes a setting.
    ///
    /// # Errors
    /// 9001 if the log cannot be written.
    pub fn set_setting(&self, key: &str, value: Option<&str>) -> Result<(), SqlError> {
        let mut state = self.lock();
        match value {
            Some(value) => state.settings.insert(key.to_owned(), value.to_owned()),
            None => state.settings.remove(key),
        };
        let setting = super::redo::Setting::Text(key.to_owned(), value.map(str::to_owned));
        self.log_settings(state, &setting)
    }

    /// Notes how far a sequence has been reserved.
    pub(super) fn reserve(
        &self,
        mut state: MutexGuard<'_, State>,
        key: String,
        end: i64,
    ) -> Result<(), SqlError> {
        state.settings.insert(key.clone(), end.to_string());
        self.log_settings(state, &super::redo::Setting::Text(key, Some(end.to_string())))
    }

    fn log_settings(
        &self,
        state: MutexGuard<'_, State>,
        setting: &super::redo::Setting,
    ) -> Result<(), SqlError> {
        let Some(wal) = &self.wal else {
            return Ok(());
        };
        let ticket = wal.append(|frames| super::redo::write_setting(frames, setting));
        drop(state);
        wal.wait(ticket)
    }

    /// Open transactions (`sys.dm_tran_database_transactions`).
    pub fn transactions(&self) -> Vec<TxnInfo> {
        let mut infos: Vec<TxnInfo> = self.lock().txns.values().map(TxnState::info).collect();
        infos.sort_by_key(|info| info.id);
        infos
    }

    /// Waiting transactions, each with those it waits for (`sys.dm_os_waiting_tasks`).
    pub fn blocked(&self) -> Vec<(TxnId, Vec<TxnId>)> {
        self.lock().locks.waits()
    }

    /// Number of rows and approximate bytes of a table, old versions included
    /// (`sys.dm_db_partition_stats`).
    pub fn table_size(&self, table: ObjectId) -> Option<(u64, u64)> {
        self.lock().tables.get(&table).map(super::table::Table::size)
    }

    /// How often a table was written to, to be compared with an earlier answer.
    pub fn table_writes(&self, table: ObjectId) -> u64 {
        self.lock().tables.get(&table).map_or(u64::MAX, |table| table.writes)
    }

    /// A committed or uncommitted table's definition, without any lock.
    pub fn peek_table(&self, id: ObjectId) -> Option<Arc<TableDef>> {
        self.lock().tables.get(&id).map(|table| table.def.clone())
    }

    /// Committed transactions that capture has not yet confirmed, in commit order, the first
    /// `limit` of them.
    pub fn log_tail(&self, limit: usize) -> Vec<Arc<LoggedTxn>> {
        self.lock().log.tail.iter().take(limit).cloned().collect()
    }

    /// How many there are.
    pub fn log_tail_len(&self) -> usize {
        self.lock().log.tail.len()
    }

    /// Waits until there is something to capture, `patience` has passed or `stop` says so.
    pub fn wait_for_log(&self, patience: Duration, stop: impl Fn() -> bool) {
        let until = Instant::now() + patience;
        drop(self.wait_until(until, |state| stop() || !state.log.tail.is_empty()));
    }

    /// Everything committed up to here is captured.
    pub fn captured_lsn(&self) -> Lsn {
        self.lock().log.captured
    }

    /// LSN of the last record written by anybody.
    pub fn last_lsn(&self) -> Lsn {
        self.lock().log.last
    }

    /// Flushes the log: closes the open block and answers the LSN of the last record. Every
    /// later record has a greater one.
    pub fn flushed_lsn(&self) -> Lsn {
        let mut state = self.lock();
        state.log.lsns.close_block();
        state.log.last
    }

    /// How many restores this database has seen since the server started.
    pub fn incarnation(&self) -> u64 {
        self.lock().incarnation
    }

    pub(super) fn now(&self) -> Micros {
        self.shared.clock.local_now()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test's thread must not take the server with it; the state is changed in
        // steps that cannot panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes every waiting transaction.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Tries until it is done, waiting for others in between.
    ///
    /// # Errors
    /// 1205, 1222, [`ATTENTION`], and what the attempt answers. After 1205 the transaction is
    /// rolled back.
    pub(super) fn wait_for<T>(
        &self,
        waiter: &Waiter,
        mut attempt: impl FnMut(&mut State) -> Result<Attempt<T>, SqlError>,
    ) -> Result<T, SqlError> {
        let mut state = self.lock();
        let mut until: Option<Option<Instant>> = None;
        loop {
            if !state.txns.contains_key(&waiter.txn) {
                return Err(no_transaction());
            }
            let blockers = match attempt(&mut state)? {
                Attempt::Done(done) => return Ok(done),
                Attempt::Blocked(blockers) => blockers,
            };
            let until = *until.get_or_insert_with(|| deadline(waiter.timeout));
            let cost = state.txns.get(&waiter.txn).map_or(0, |txn| txn.log_records);
            if state.locks.wait(waiter.txn, blockers, waiter.priority, cost) {
                self.changed.notify_all();
            }
            let outcome;
            (state, outcome) = self.sleep(state, waiter, until);
            state.locks.waited(waiter.txn);
            match outcome {
                Wake::Changed => {}
                Wake::Victim => {
                    state.abort(waiter.txn, self.now());
                    self.changed.notify_all();
                    return Err(deadlock(waiter.txn));
                }
                Wake::Timeout => return Err(lock_timeout()),
                Wake::Cancelled => return Err(SqlError::new(ATTENTION, 16, 1, "Interrupted.")),
            }
        }
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        waiter: &Waiter,
        until: Option<Instant>,
    ) -> (MutexGuard<'a, State>, Wake) {
        let wake = |state: &State| {
            if state.locks.is_victim(waiter.txn) {
                Some(Wake::Victim)
            } else if waiter.cancelled.load(Ordering::Relaxed) {
                Some(Wake::Cancelled)
            } else {
                None
            }
        };
        if let Some(wake) = wake(&state) {
            return (state, wake);
        }
        match until {
            None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return (state, Wake::Timeout);
                }
                state = self
                    .changed
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
        let outcome = wake(&state).unwrap_or(Wake::Changed);
        (state, outcome)
    }

    /// Waits until `ready` of the state, or `deadline`; whether it came.
    pub(super) fn wait_until(
        &self,
        until: Instant,
        ready: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'_, State>, bool) {
        let mut state = self.lock();
        loop {
            if ready(&state) {
                return (state, true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return (state, false);
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

enum Wake {
    Changed,
    Victim,
    Timeout,
    Cancelled,
}

/// Error for a transaction that is over.
pub(super) fn no_transaction() -> SqlError {
    SqlError::new(
        3902,
        16,
        1,
        "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.",
    )
}

fn deadlock(txn: TxnId) -> SqlError {
    SqlError::new(
        1205,
        13,
        51,
        format!(
            "Transaction (Process ID {txn}) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction."
        ),
    )
}

fn lock_timeout() -> SqlError {
    SqlError::new(1222, 16, 51, "Lock request time out period exceeded.")
}
