//! A client's session: its state, its transaction, and how requests enter.
//!
//! A session has at most one transaction open between statements. A statement outside of one runs
//! in a transaction of its own. What an error leaves behind: the statement is undone alone, by a
//! savepoint; errors that SQL Server says end the batch or doom the transaction do so here (see
//! [`reach`](super::fault::reach)).

use std::sync::{Arc, Mutex, PoisonError};

use super::batch::Executor;
use super::env::Status;
use super::security::Rights;
use super::server::Shared;
use super::syntax::ast::Batch;
use super::syntax::quotes_names;
use crate::storage::{CancelHandle, Database, Savepoint, Txn};
use crate::{
    Cancelled, EnvChange, IsolationLevel, Param, Request, ResultSink, SqlError, TransactionRequest,
};

/// Handles of server cursors are above this number, and odd.
const FIRST_SERVER_CURSOR: i32 = 180_150_001;

/// An open transaction.
pub struct Open {
    /// The transaction.
    pub txn: Txn,
    /// SAVE TRANSACTION points, in order.
    pub savepoints: Vec<(String, Savepoint)>,
    /// Name given by BEGIN TRAN.
    pub name: Option<String>,
}

/// A client's session.
pub struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) status: Status,
    pub(super) open: Option<Open>,
    pub(super) cursors: super::cursor::Cursors,
    /// Cursors that the client opened by calls, by their handles.
    pub(super) server_cursors: std::collections::HashMap<i32, super::batch::ServerCursor>,
    last_server_cursor: i32,
    /// The INSERT BULK whose rows come next.
    pub(super) bulk: Option<Arc<super::syntax::ast::InsertBulk>>,
    /// Number of the next batch.
    next_scope: u64,
    /// Database of the login.
    home: Arc<Database>,
    /// Users to return to by REVERT.
    pub(super) impersonated: Vec<Arc<Rights>>,
    security_epoch: u64,
    waiting: Canceller,
}

/// Reaches a session while a request of it runs on another thread.
#[derive(Clone, Default)]
pub struct Canceller {
    handle: Arc<Mutex<(Option<CancelHandle>, bool)>>,
}

impl Canceller {
    /// Ends a wait of the request that runs, or of the next one if none does.
    pub fn cancel(&self) {
        let mut state = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = true;
        if let Some(handle) = &state.0 {
            handle.cancel();
        }
    }

    /// Takes that back.
    pub fn clear(&self) {
        let mut state = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = false;
        if let Some(handle) = &state.0 {
            handle.reset();
        }
    }

    /// Whether a cancellation stands.
    pub fn is_cancelled(&self) -> bool {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Says which transaction waits from now on.
    pub(super) fn watch(&self, txn: &Txn) {
        let mut state = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = txn.cancel_handle();
        if state.1 {
            handle.cancel();
        }
        state.0 = Some(handle);
    }
}

fn initial_status(
    spid: i16,
    login: String,
    database: Arc<Database>,
    rights: Arc<Rights>,
) -> Status {
    Status {
        spid,
        login,
        database,
        rights,
        row_count: 0,
        error: 0,
        transactions: 0,
        doomed: false,
        identity: None,
        caught: None,
        isolation: IsolationLevel::ReadCommitted,
        lock_timeout: -1,
        text_size: i32::MAX,
        no_count: false,
        implicit_transactions: false,
        format_only: false,
        no_execute: false,
        row_limit: 0,
        xact_abort: false,
        off: crate::engine::env::OptionsOff::default(),
        deadlock_priority: 0,
        identity_insert: None,
        cursor_close_on_commit: false,
        fetch_status: 0,
        cursor_rows: 0,
        cursor_states: Vec::new(),
    }
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        spid: i16,
        login: String,
        database: Arc<Database>,
        rights: Arc<Rights>,
    ) -> Session {
        let session = Session {
            security_epoch: shared.security_epoch(),
            shared,
            status: initial_status(spid, login, Arc::clone(&database), rights),
            home: database,
            open: None,
            cursors: Default::default(),
            server_cursors: Default::default(),
            last_server_cursor: FIRST_SERVER_CURSOR,
            bulk: None,
            next_scope: 0,
            impersonated: Vec::new(),
            waiting: Canceller::default(),
        };
        // A server that was killed may have left some.
        session.drop_temporary_tables();
        session
    }

    /// Drops the session's temporary tables, and those that it made for all once nobody uses them any
    /// more; what a broken log file keeps is dropped by the next session of this number.
    fn drop_temporary_tables(&self) {
        let own = super::env::temporary_schema(self.status.spid);
        let global = super::env::global_schema(self.status.spid);
        for database in self.shared.storage.databases() {
            let mut txn = database.begin(IsolationLevel::ReadCommitted);
            let mut tables = txn.tables();
            tables.retain(|table| table.schema == own || table.schema == global);
            if tables.is_empty() {
                continue;
            }
            let dropped = tables.iter().try_for_each(|table| txn.drop_table(table.id));
            if let Err(error) = dropped.and_then(|()| txn.commit().map(drop)) {
                tracing::warn!(%error, "temporary tables stay");
            }
        }
    }

    /// A transaction ends: cursors close, all of them or those that are not static.
    fn end_cursors(&mut self, committed: bool) {
        let all = committed || self.status.cursor_close_on_commit;
        self.cursors.close(all);
        self.server_cursors.retain(|_, cursor| cursor.fixed && !all);
        self.status.cursor_states = self.cursors.states();
    }

    /// A handle for a server cursor.
    pub(super) fn next_server_cursor(&mut self) -> i32 {
        self.last_server_cursor += 2;
        self.last_server_cursor
    }

    /// A number for a batch, to which local cursors belong.
    pub(super) fn begin_scope(&mut self) -> u64 {
        self.next_scope += 1;
        self.next_scope
    }

    /// That batch has ended.
    pub(super) fn end_scope(&mut self, scope: u64) {
        self.cursors.end_scope(scope);
        self.status.cursor_states = self.cursors.states();
    }

    /// `@@SPID`.
    pub fn id(&self) -> u16 {
        u16::try_from(self.status.spid).unwrap_or_default()
    }

    /// Name of the current database.
    pub fn database(&self) -> String {
        self.status.database.name()
    }

    /// What stops a request that waits without looking at its sink.
    pub fn canceller(&self) -> Canceller {
        self.waiting.clone()
    }

    /// Makes the session as it was after login, but for the open transaction where that is kept
    /// (with its database), and for the isolation level: that leaks over a reset on SQL Server.
    pub fn reset(&mut self, keep_transaction: bool) {
        let open = self.open.take().filter(|_| keep_transaction);
        let before = self.status.clone();
        let rights = self.impersonated.drain(..).next().unwrap_or(before.rights);
        let database = if open.is_some() { before.database } else { Arc::clone(&self.home) };
        self.status = initial_status(before.spid, before.login, database, rights);
        self.status.isolation = before.isolation;
        if open.is_some() {
            self.status.transactions = before.transactions;
            self.status.doomed = before.doomed;
        }
        self.open = open;
        self.cursors = Default::default();
        self.server_cursors.clear();
        if self.open.is_none() {
            self.drop_temporary_tables();
        }
        // Rights are those of a database: they are found again with the next request.
        self.security_epoch = u64::MAX;
    }

    /// Runs a request. What fails in it is told to the sink.
    ///
    /// # Errors
    /// [`Cancelled`] if the peer is gone or sent an attention.
    pub fn execute(
        &mut self,
        request: Request,
        sink: &mut dyn ResultSink,
    ) -> Result<(), Cancelled> {
        if let Err(error) = self.refresh_database().and_then(|()| self.refresh_rights()) {
            return sink.message(&error);
        }
        if !matches!(request, Request::Bulk { .. }) {
            self.bulk = None;
        }
        match request {
            Request::Batch(text) => self.run(&text, Vec::new(), sink),
            Request::Statement { sql, params } => self.run(&sql, params, sink),
            Request::Procedure { name, params } => self.call(&name, params, sink),
            Request::Bulk { columns, rows } => {
                let batch =
                    super::syntax::ast::Batch { text: String::new(), statements: Vec::new() };
                Executor::new(self, &batch, sink).bulk_request(columns, rows)
            }
            Request::Transaction(request) => match self.transaction_request(request, sink)? {
                Ok(()) => Ok(()),
                Err(error) => sink.message(&error),
            },
        }
    }

    fn run(
        &mut self,
        text: &str,
        params: Vec<Param>,
        sink: &mut dyn ResultSink,
    ) -> Result<(), Cancelled> {
        let batch = match self.parse(text) {
            Ok(batch) => batch,
            Err(error) => {
                self.status.error = error.number;
                return sink.message(&error);
            }
        };
        Executor::new(self, &batch, sink).request(params)
    }

    /// A batch under this session's options.
    ///
    /// # Errors
    /// 102 and its kin.
    pub(super) fn parse(&self, text: &str) -> Result<Arc<Batch>, SqlError> {
        if self.status.off.quoted && quotes_names(text)? {
            let what = "a double quote under QUOTED_IDENTIFIER OFF";
            return Err(super::bind::unsupported(what));
        }
        self.shared.parse(text)
    }

    fn call(
        &mut self,
        name: &str,
        params: Vec<Param>,
        sink: &mut dyn ResultSink,
    ) -> Result<(), Cancelled> {
        let batch =
            Arc::new(super::syntax::ast::Batch { text: String::new(), statements: Vec::new() });
        Executor::new(self, &batch, sink).procedure_request(name, params)
    }

    /// Finds the current database again: a RESTORE puts another one in its place.
    fn refresh_database(&mut self) -> Result<(), SqlError> {
        if self.open.is_some() {
            return Ok(());
        }
        let name = self.status.database.name();
        match self.shared.storage.database(&name) {
            Some(database) => self.status.database = database,
            None => return Err(no_database(&name)),
        }
        Ok(())
    }

    /// Takes up changes that others made to principals and permissions.
    fn refresh_rights(&mut self) -> Result<(), SqlError> {
        let epoch = self.shared.security_epoch();
        if epoch == self.security_epoch {
            return Ok(());
        }
        self.status.rights = match self.impersonated.is_empty() {
            true => self.shared.rights_of(
                &self.status.rights.login,
                self.status.rights.sysadmin && self.status.login == "sa",
                &self.status.database,
            )?,
            false => Arc::new(Rights::of_user(&self.status.rights.user, &self.status.database)?),
        };
        self.security_epoch = epoch;
        Ok(())
    }

    /// Changes the current database.
    ///
    /// # Errors
    /// 911, 916.
    pub(super) fn use_database(&mut self, name: &str) -> Result<EnvChange, SqlError> {
        let database = self.shared.storage.database(name).ok_or_else(|| no_database(name))?;
        if self.open.is_some() && database.id() != self.status.database.id() {
            // A transaction lives in one database here.
            return Err(super::bind::unsupported("USE in a transaction"));
        }
        let rights = self.shared.rights_in(&self.status.rights, &database)?;
        let change = EnvChange::Database { new: database.name(), old: self.status.database.name() };
        self.status.database = database;
        self.status.rights = rights;
        Ok(change)
    }

    /// Prepares a transaction for a statement of this session.
    pub(super) fn prepare(&self, txn: &mut Txn) {
        let timeout =
            u64::try_from(self.status.lock_timeout).ok().map(std::time::Duration::from_millis);
        txn.set_lock_timeout(timeout);
        txn.set_deadlock_priority(self.status.deadlock_priority);
        self.waiting.watch(txn);
    }

    /// Begins a transaction, or counts one more.
    pub(super) fn begin(&mut self, name: Option<&str>) -> Option<EnvChange> {
        self.status.transactions += 1;
        if self.open.is_some() {
            return None;
        }
        let txn = self.status.database.begin(self.status.isolation);
        let id = txn.id();
        self.status.doomed = false;
        self.open = Some(Open { txn, savepoints: Vec::new(), name: name.map(str::to_owned) });
        Some(EnvChange::TransactionBegun(id))
    }

    /// Commits, or counts one less.
    ///
    /// # Errors
    /// 3902 without a transaction, 3930 if it is doomed, 9001.
    pub(super) fn commit(&mut self) -> Result<Option<EnvChange>, SqlError> {
        if self.status.transactions == 0 || self.open.is_none() {
            return Err(SqlError::new(
                3902,
                16,
                1,
                "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            ));
        }
        if self.status.doomed {
            return Err(doomed());
        }
        if self.status.transactions > 1 {
            self.status.transactions -= 1;
            return Ok(None);
        }
        self.status.transactions = 0;
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        let id = open.txn.id();
        open.txn.commit()?;
        if self.status.cursor_close_on_commit {
            self.end_cursors(true);
        }
        Ok(Some(EnvChange::TransactionCommitted(id)))
    }

    /// Rolls everything back; says so if there was a transaction.
    pub(super) fn rollback_all(&mut self) -> Option<EnvChange> {
        self.status.transactions = 0;
        self.status.doomed = false;
        let open = self.open.take()?;
        self.end_cursors(false);
        let id = open.txn.id();
        open.txn.rollback();
        Some(EnvChange::TransactionRolledBack(id))
    }

    /// Rolls back to a savepoint, or all.
    ///
    /// # Errors
    /// 3903 without a transaction, 6401 for an unknown name, 3931 for a doomed one.
    pub(super) fn rollback(&mut self, name: Option<&str>) -> Result<Option<EnvChange>, SqlError> {
        let Some(open) = &mut self.open else {
            return Err(SqlError::new(
                3903,
                16,
                1,
                "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            ));
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(self.rollback_all());
        };
        let found = open.savepoints.iter().rposition(|(known, _)| known == name);
        let Some(at) = found else {
            if open.name.as_deref() == Some(name) {
                return Ok(self.rollback_all());
            }
            return Err(SqlError::new(
                6401,
                16,
                1,
                format!(
                    "Cannot roll back {name}. No transaction or savepoint of that name was found."
                ),
            ));
        };
        if self.status.doomed {
            return Err(SqlError::new(
                3931,
                16,
                1,
                "The current transaction cannot be committed and cannot be rolled back to a savepoint. Roll back the entire transaction.",
            ));
        }
        let point = open.savepoints[at].1;
        open.txn.rollback_to(point);
        open.savepoints.truncate(at + 1);
        Ok(None)
    }

    /// Sets a savepoint.
    ///
    /// # Errors
    /// 628 without a transaction, 3930 in a doomed one.
    pub(super) fn save(&mut self, name: &str) -> Result<(), SqlError> {
        if self.status.doomed {
            return Err(doomed());
        }
        match &mut self.open {
            Some(open) => {
                let point = open.txn.save();
                open.savepoints.push((name.to_owned(), point));
                Ok(())
            }
            None => Err(SqlError::new(
                628,
                16,
                0,
                "Cannot issue SAVE TRANSACTION when there is no active transaction.",
            )),
        }
    }

    /// A transaction-manager request.
    fn transaction_request(
        &mut self,
        request: TransactionRequest,
        sink: &mut dyn ResultSink,
    ) -> Result<Result<(), SqlError>, Cancelled> {
        let mut tell = |change: Option<EnvChange>| match change {
            Some(change) => sink.env_change(&change),
            None => Ok(()),
        };
        match request {
            TransactionRequest::Begin(level) => {
                if let Some(level) = level {
                    self.status.isolation = level;
                }
                tell(self.begin(None))?;
            }
            TransactionRequest::Commit { begin_again } => match self.commit() {
                Ok(change) => {
                    tell(change)?;
                    if begin_again {
                        tell(self.begin(None))?;
                    }
                }
                Err(error) => return Ok(Err(error)),
            },
            TransactionRequest::Rollback { savepoint, begin_again } => {
                match self.rollback(Some(&savepoint)) {
                    Ok(change) => {
                        tell(change)?;
                        if begin_again {
                            tell(self.begin(None))?;
                        }
                    }
                    Err(error) => return Ok(Err(error)),
                }
            }
            TransactionRequest::Save(name) => return Ok(self.save(&name)),
        }
        Ok(Ok(()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Its locks first.
        self.open = None;
        self.drop_temporary_tables();
    }
}

/// Error 911.
pub(super) fn no_database(name: &str) -> SqlError {
    SqlError::new(
        911,
        16,
        1,
        format!("Database '{name}' does not exist. Make sure that the name is entered correctly."),
    )
}

/// Error 3930.
pub(super) fn doomed() -> SqlError {
    SqlError::new(
        3930,
        16,
        1,
        "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
    )
}
