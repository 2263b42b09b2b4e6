//! What a running statement may use: its transaction and views, its session's state, variables.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::plan::Cached;
use super::security::Rights;
use super::server::Shared;
use crate::storage::{
    ATTENTION, Database, Micros, Row, RowId, Scan, TableDef, Txn, View, same_name,
};
use crate::{
    Cancelled, Column, EnvChange, IsolationLevel, Param, ResultSink, SqlError, StatementKind, Value,
};

/// The session's state as a statement sees it.
#[derive(Clone)]
pub struct Status {
    /// `@@SPID`
    pub spid: i16,
    /// Login the session came with.
    pub login: String,
    /// Current database.
    pub database: Arc<Database>,
    /// What the current user may do there.
    pub rights: Arc<Rights>,
    /// `@@ROWCOUNT`
    pub row_count: i64,
    /// `@@ERROR`
    pub error: i32,
    /// `@@TRANCOUNT`
    pub transactions: u32,
    /// Whether the transaction can only be rolled back.
    pub doomed: bool,
    /// `@@IDENTITY`, and `SCOPE_IDENTITY()` as no trigger can tell them apart.
    pub identity: Option<i64>,
    /// The error a CATCH block handles.
    pub caught: Option<SqlError>,
    /// `SET TRANSACTION ISOLATION LEVEL`
    pub isolation: IsolationLevel,
    /// `SET LOCK_TIMEOUT`, -1 for ever.
    pub lock_timeout: i32,
    /// `SET TEXTSIZE`
    pub text_size: i32,
    /// `SET NOCOUNT ON`
    pub no_count: bool,
    /// `SET IMPLICIT_TRANSACTIONS ON`
    pub implicit_transactions: bool,
    /// `SET FMTONLY ON`: queries tell their columns only, and nothing else runs.
    pub format_only: bool,
    /// `SET NOEXEC ON`: nothing runs.
    pub no_execute: bool,
    /// `SET ROWCOUNT n`, 0 for all.
    pub row_limit: u64,
    /// `SET XACT_ABORT ON`
    pub xact_abort: bool,
    /// `SET DEADLOCK_PRIORITY`
    pub deadlock_priority: i8,
    /// `SET CURSOR_CLOSE_ON_COMMIT ON`
    pub cursor_close_on_commit: bool,
    /// `@@FETCH_STATUS`
    pub fetch_status: i32,
    /// `@@CURSOR_ROWS`
    pub cursor_rows: i32,
    /// What `CURSOR_STATUS` answers: name, whether local, state.
    pub cursor_states: Vec<(String, bool, i16)>,
    /// Table of `SET IDENTITY_INSERT … ON`: database and object.
    pub identity_insert: Option<(i32, i32)>,
    /// ANSI options that are off.
    pub off: OptionsOff,
}

/// The options of ANSI behaviour that a session has turned off. What would then be another answer
/// than with them on is refused; the rest is what the catalogue keeps of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionsOff {
    /// ANSI_NULLS
    pub nulls: bool,
    /// ANSI_PADDING
    pub padding: bool,
    /// ANSI_WARNINGS: what it would cut or make NULL is an error all the same.
    pub warnings: bool,
    /// CONCAT_NULL_YIELDS_NULL
    pub concat: bool,
    /// QUOTED_IDENTIFIER
    pub quoted: bool,
}

impl OptionsOff {
    /// Error 1934: filtered indexes and indexes over computed columns need all of them on.
    /// <https://learn.microsoft.com/sql/t-sql/statements/set-statements-transact-sql>
    ///
    /// # Errors
    /// 1934.
    pub fn check(&self, verb: &str, table: &TableDef) -> Result<(), SqlError> {
        if *self == OptionsOff::default() {
            return Ok(());
        }
        let computed = |id: i32| {
            table.columns.iter().any(|column| column.id == id && column.computed.is_some())
        };
        let needs = table.indexes.iter().any(|index| {
            index.filter.is_some() || index.keys.iter().any(|key| computed(key.column))
        });
        if !needs {
            return Ok(());
        }
        let names = [
            (self.nulls, "ANSI_NULLS"),
            (self.padding, "ANSI_PADDING"),
            (self.warnings, "ANSI_WARNINGS"),
            (self.concat, "CONCAT_NULL_YIELDS_NULL"),
            (self.quoted, "QUOTED_IDENTIFIER"),
        ];
        let off: Vec<&str> = names.iter().filter(|(off, _)| *off).map(|(_, name)| *name).collect();
        Err(SqlError::new(
            1934,
            16,
            1,
            format!(
                "{verb} failed because the following SET options have incorrect settings: '{}'. Verify that SET options are correct for use with indexed views and/or indexes on computed columns and/or filtered indexes and/or query notifications and/or XML data type methods and/or spatial index operations.",
                off.join(", ")
            ),
        ))
    }
}

/// The request's results, which the statement and those around it share.
pub struct Outlet<'a>(RefCell<&'a mut dyn ResultSink>);

impl<'a> Outlet<'a> {
    /// Wraps a sink.
    pub fn new(sink: &'a mut dyn ResultSink) -> Outlet<'a> {
        Outlet(RefCell::new(sink))
    }

    /// The same sink for a batch inside.
    pub fn reborrow(&mut self) -> Outlet<'_> {
        Outlet(RefCell::new(&mut **self.0.get_mut()))
    }

    /// The sink itself.
    pub fn get_mut(&mut self) -> &mut dyn ResultSink {
        &mut **self.0.get_mut()
    }
}

/// [`ResultSink`] behind a shared reference.
pub trait Results {
    /// A result set begins.
    fn columns(&self, columns: &[Column]) -> Result<(), Cancelled>;
    /// One row of it.
    fn row(&self, row: &[Value]) -> Result<(), Cancelled>;
    /// A statement ended.
    fn done(&self, rows: Option<u64>) -> Result<(), Cancelled>;
    /// Kind of the statement the next end is of.
    fn statement(&self, kind: StatementKind);
    /// An EXEC of a procedure begins.
    fn begin_call(&self);
    /// It has ended.
    fn end_call(&self, status: Option<i32>) -> Result<(), Cancelled>;
    /// An error or message.
    fn message(&self, message: &SqlError) -> Result<(), Cancelled>;
    /// A change of session state.
    fn env_change(&self, change: &EnvChange) -> Result<(), Cancelled>;
    /// A procedure's return status.
    fn return_status(&self, status: i32) -> Result<(), Cancelled>;
    /// An OUTPUT parameter's value.
    fn return_value(&self, param: &Param) -> Result<(), Cancelled>;
    /// Whether the request is to stop.
    fn is_cancelled(&self) -> bool;
}

impl Results for Outlet<'_> {
    fn columns(&self, columns: &[Column]) -> Result<(), Cancelled> {
        self.0.borrow_mut().columns(columns)
    }

    fn row(&self, row: &[Value]) -> Result<(), Cancelled> {
        self.0.borrow_mut().row(row)
    }

    fn done(&self, rows: Option<u64>) -> Result<(), Cancelled> {
        self.0.borrow_mut().done(rows)
    }

    fn statement(&self, kind: StatementKind) {
        self.0.borrow_mut().statement(kind);
    }

    fn begin_call(&self) {
        self.0.borrow_mut().begin_call();
    }

    fn end_call(&self, status: Option<i32>) -> Result<(), Cancelled> {
        self.0.borrow_mut().end_call(status)
    }

    fn message(&self, message: &SqlError) -> Result<(), Cancelled> {
        self.0.borrow_mut().message(message)
    }

    fn env_change(&self, change: &EnvChange) -> Result<(), Cancelled> {
        self.0.borrow_mut().env_change(change)
    }

    fn return_status(&self, status: i32) -> Result<(), Cancelled> {
        self.0.borrow_mut().return_status(status)
    }

    fn return_value(&self, param: &Param) -> Result<(), Cancelled> {
        self.0.borrow_mut().return_value(param)
    }

    fn is_cancelled(&self) -> bool {
        self.0.borrow().is_cancelled()
    }
}

/// Another database than the current one, and what the current user may do there.
#[derive(Clone)]
pub struct Elsewhere {
    /// Database.
    pub database: Arc<Database>,
    /// Rights.
    pub rights: Arc<Rights>,
}

/// The environment of one statement.
pub struct Env<'s> {
    /// The server.
    pub shared: &'s Arc<Shared>,
    /// The session.
    pub status: &'s Status,
    txn: RefCell<&'s mut Txn>,
    view: OnceCell<View>,
    dirty: OnceCell<View>,
    variables: &'s RefCell<Vec<Value>>,
    /// Where results go.
    pub sink: &'s dyn Results,
    now: Cell<Option<Micros>>,
    random: Cell<Option<f64>>,
    cached: RefCell<HashMap<usize, Rc<Cached>>>,
    next_cache: Cell<usize>,
    reads_current: Cell<bool>,
    levels: RefCell<HashMap<usize, Arc<[Vec<Value>]>>>,
}

impl<'s> Env<'s> {
    /// An environment for one statement.
    pub fn new(
        shared: &'s Arc<Shared>,
        status: &'s Status,
        txn: &'s mut Txn,
        variables: &'s RefCell<Vec<Value>>,
        sink: &'s dyn Results,
    ) -> Env<'s> {
        Env {
            shared,
            status,
            txn: RefCell::new(txn),
            view: OnceCell::new(),
            dirty: OnceCell::new(),
            variables,
            sink,
            now: Cell::new(None),
            random: Cell::new(None),
            cached: RefCell::default(),
            next_cache: Cell::new(0),
            reads_current: Cell::new(false),
            levels: RefCell::default(),
        }
    }

    /// Works with the transaction.
    pub fn with_txn<T>(&self, work: impl FnOnce(&mut Txn) -> T) -> T {
        work(&mut self.txn.borrow_mut())
    }

    /// What the statement sees, fixed at its first data access.
    ///
    /// # Errors
    /// 3952.
    pub fn view(&self) -> Result<&View, SqlError> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let view = self.with_txn(Txn::statement_view)?;
        Ok(self.view.get_or_init(|| view))
    }

    /// What NOLOCK sees.
    pub fn dirty_view(&self) -> &View {
        self.dirty.get_or_init(|| self.with_txn(Txn::dirty_view))
    }

    /// Notes that the statement reads rows as they are now, and so would meet its own.
    pub fn note_current_read(&self) {
        self.reads_current.set(true);
    }

    /// Whether it does.
    pub fn reads_current(&self) -> bool {
        self.reads_current.get()
    }

    /// The schema of a name: the session's own for temporary tables.
    pub fn schema_of(&self, name: &super::syntax::ast::ObjectName) -> String {
        if name.is_global() {
            // Whoever made it: there is one of the name.
            let tables = self.with_txn(|txn| txn.tables());
            let known = tables
                .iter()
                .find(|table| table.schema.starts_with("##") && same_name(&table.name, &name.name));
            return known
                .map_or_else(|| global_schema(self.status.spid), |table| table.schema.clone());
        }
        if name.is_temporary() {
            return temporary_schema(self.status.spid);
        }
        name.schema.clone().unwrap_or_else(|| "dbo".to_owned())
    }

    /// A variable's value.
    pub fn variable(&self, at: usize) -> Value {
        self.variables.borrow().get(at).cloned().unwrap_or(Value::Null)
    }

    /// Sets a variable.
    pub fn set_variable(&self, at: usize, value: Value) {
        if let Some(slot) = self.variables.borrow_mut().get_mut(at) {
            // Variables have the database's collation.
            *slot = value.labelled(Default::default());
        }
    }

    /// The statement's moment, UTC: the same wherever it is asked for.
    pub fn now(&self) -> Micros {
        let now = self.now.get().unwrap_or_else(|| self.shared.storage.clock().now());
        self.now.set(Some(now));
        now
    }

    /// `RAND()`: one value a statement.
    pub fn random(&self) -> f64 {
        let value = self.random.get().unwrap_or_else(rand::random);
        self.random.set(Some(value));
        value
    }

    /// Stops the statement if its request was cancelled.
    ///
    /// # Errors
    /// [`ATTENTION`].
    pub fn check_interrupt(&self) -> Result<(), SqlError> {
        match self.sink.is_cancelled() {
            true => Err(attention()),
            false => Ok(()),
        }
    }

    /// Calls change data capture.
    pub fn with_capture<T>(&self, work: impl FnOnce(&mut crate::cdc::Context<'_>) -> T) -> T {
        let access = super::security::CaptureAccess {
            rights: &self.status.rights,
            database: &self.status.database,
        };
        let mut txn = self.txn.borrow_mut();
        work(&mut crate::cdc::Context {
            storage: &self.shared.storage,
            txn: &mut txn,
            access: &access,
        })
    }

    /// Another database by name, if the name is not the current one's.
    ///
    /// # Errors
    /// 911, 916.
    pub fn elsewhere(&self, name: Option<&str>) -> Result<Option<Elsewhere>, SqlError> {
        let current = self.status.database.name();
        let Some(name) = name.filter(|name| !super::bind::same_name(name, &current)) else {
            return Ok(None);
        };
        let found = self.shared.storage.database(name);
        let database = found.ok_or_else(|| super::session::no_database(name))?;
        let rights = self.shared.rights_in(&self.status.rights, &database)?;
        Ok(Some(Elsewhere { database, rights }))
    }

    /// Calls change data capture of a database.
    pub fn with_capture_of<T>(
        &self,
        elsewhere: Option<&Elsewhere>,
        work: impl FnOnce(&mut crate::cdc::Context<'_>) -> T,
    ) -> T {
        let Some(Elsewhere { database, rights }) = elsewhere else {
            return self.with_capture(work);
        };
        let access = super::security::CaptureAccess { rights, database };
        let mut txn = database.begin(IsolationLevel::ReadCommitted);
        work(&mut crate::cdc::Context {
            storage: &self.shared.storage,
            txn: &mut txn,
            access: &access,
        })
    }

    /// A number for a subquery whose result does not change during the statement.
    pub fn cache_key(&self) -> usize {
        let key = self.next_cache.get();
        self.next_cache.set(key + 1);
        key
    }

    /// A result computed once.
    ///
    /// # Errors
    /// Those of computing it.
    pub fn cached(
        &self,
        key: usize,
        compute: impl FnOnce() -> Result<Cached, SqlError>,
    ) -> Result<Rc<Cached>, SqlError> {
        if let Some(cached) = self.cached.borrow().get(&key) {
            return Ok(Rc::clone(cached));
        }
        let computed = Rc::new(compute()?);
        self.cached.borrow_mut().insert(key, Rc::clone(&computed));
        Ok(computed)
    }

    /// The rows over which a recursive common table expression goes on.
    pub fn level(&self, key: usize) -> Arc<[Vec<Value>]> {
        self.levels.borrow().get(&key).cloned().unwrap_or_default()
    }

    /// Sets them.
    pub fn set_level(&self, key: usize, rows: Arc<[Vec<Value>]>) {
        self.levels.borrow_mut().insert(key, rows);
    }

    /// A statement has changed so many rows of a table that their locks become one on the table,
    /// unless somebody stands against it. Where rows have versions it stays at the rows, to which
    /// readers of this server do not come.
    pub fn escalate(&self, table: crate::storage::ObjectId, rows: usize) {
        if rows >= crate::storage::ESCALATION && !self.status.database.reads_versions() {
            let lock = crate::storage::TableLock::Exclusive;
            self.with_txn(|txn| txn.escalate(table, lock, false));
        }
    }

    /// Whether plans read another index than that of the key where one covers the query (a switch).
    pub fn prefers_covering_indexes(&self) -> bool {
        self.shared.storage.cdc.modes(self.status.database.id()).covering_scan
    }

    /// The next row of a storage scan.
    ///
    /// # Errors
    /// The scan's, and [`ATTENTION`].
    pub fn next_row(&self, scan: &mut Scan) -> Result<Option<(RowId, Row)>, SqlError> {
        self.check_interrupt()?;
        match scan.next() {
            Some(row) => row.map(Some),
            None => Ok(None),
        }
    }
}

/// The schema of a session's temporary tables.
pub fn temporary_schema(spid: i16) -> String {
    format!("#{spid}")
}

/// The schema of the global temporary tables that a session has made.
pub fn global_schema(spid: i16) -> String {
    format!("##{spid}")
}

/// The error that ends a cancelled request; it never reaches a client.
pub fn attention() -> SqlError {
    SqlError::new(ATTENTION, 16, 1, "Operation cancelled by user.")
}
