//! The line between the wire (`tds`) and the server behind it (`engine`).
//!
//! A connection owns one [`Session`](crate::engine::Session) and runs its requests one after
//! another on a blocking thread; results leave through a [`ResultSink`], which applies the
//! connection's back-pressure by blocking and reports attention or a lost peer as [`Cancelled`].

use crate::engine::collation::Label;
use crate::{SqlError, SqlType, Value};

/// Where the values of a result column come from: what a client is told of writing them
/// ([MS-TDS] 2.2.7.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// An expression.
    #[default]
    Expression,
    /// A column of a table.
    Stored,
    /// An identity column.
    Identity,
    /// A computed column.
    Computed,
}

/// A result column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name, empty for an unnamed expression.
    pub name: String,
    /// Type.
    pub ty: SqlType,
    /// Whether NULL may come.
    pub nullable: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Collation of a string.
    pub label: Label,
}

/// A parameter of a remote procedure call or of `sp_executesql`.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Name with its `@`, or empty.
    pub name: String,
    /// In a [`Request::Statement`] the type the statement's parameter list declares, to which the
    /// engine converts `value`; in a [`Request::Procedure`] the type as sent.
    pub ty: SqlType,
    /// Value as sent.
    pub value: Value,
    /// Passed by reference (OUTPUT).
    pub output: bool,
}

/// What a client can ask of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A language batch.
    Batch(String),
    /// A statement with parameters (`sp_executesql` and the prepared calls are unwrapped by the wire).
    Statement {
        /// The text.
        sql: String,
        /// Its parameters, by name.
        params: Vec<Param>,
    },
    /// Any other procedure by name.
    Procedure {
        /// Possibly qualified name, as sent.
        name: String,
        /// Named or positional parameters.
        params: Vec<Param>,
    },
    /// A transaction-manager request.
    Transaction(TransactionRequest),
    /// Rows for the INSERT BULK before it.
    Bulk {
        /// Columns as sent.
        columns: Vec<(String, SqlType)>,
        /// Rows.
        rows: Vec<Vec<Value>>,
    },
}

/// Transaction-manager requests of TDS ([MS-TDS] 2.2.7.17).
#[derive(Clone, Debug, PartialEq)]
pub enum TransactionRequest {
    /// Begin, with a level if the client names one.
    Begin(Option<IsolationLevel>),
    /// Commit, and begin anew where asked.
    Commit {
        /// Start the next transaction at once.
        begin_again: bool,
    },
    /// Roll back to the savepoint named, or all.
    Rollback {
        /// Savepoint, empty for the whole transaction.
        savepoint: String,
        /// Start the next transaction at once.
        begin_again: bool,
    },
    /// Set a savepoint.
    Save(String),
}

/// Isolation levels the double honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// READ UNCOMMITTED
    ReadUncommitted,
    /// READ COMMITTED
    ReadCommitted,
    /// REPEATABLE READ
    RepeatableRead,
    /// SERIALIZABLE
    Serializable,
    /// SNAPSHOT
    Snapshot,
}

/// The peer sent an attention or is gone: stop the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

/// What kind of statement a row count belongs to (the CurCmd of a DONE token).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatementKind {
    /// SELECT
    Select,
    /// INSERT
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
    /// MERGE
    Merge,
    /// Anything else.
    #[default]
    Other,
}

/// Changes of session state that the client is told of (ENVCHANGE).
#[derive(Clone, Debug, PartialEq)]
pub enum EnvChange {
    /// Current database, new and old.
    Database {
        /// New.
        new: String,
        /// Old.
        old: String,
    },
    /// A transaction began; its descriptor.
    TransactionBegun(u64),
    /// It committed; the descriptor it had.
    TransactionCommitted(u64),
    /// It rolled back; the descriptor it had.
    TransactionRolledBack(u64),
}

/// Where a request's results go, in order.
pub trait ResultSink {
    /// A result set begins.
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled>;
    /// One row of it; blocks while the connection is full.
    fn row(&mut self, row: &[Value]) -> Result<(), Cancelled>;
    /// A statement ended: with a row count where it has one (none under SET NOCOUNT ON).
    fn done(&mut self, rows: Option<u64>) -> Result<(), Cancelled>;
    /// An error or informational message.
    fn message(&mut self, message: &SqlError) -> Result<(), Cancelled>;
    /// A change of session state.
    fn env_change(&mut self, change: &EnvChange) -> Result<(), Cancelled>;
    /// Says what kind of statement the next [`done`](Self::done) ends.
    fn statement(&mut self, kind: StatementKind) {
        let _ = kind;
    }
    /// An EXEC of a procedure begins: what ends until [`end_call`](Self::end_call) is within it.
    fn begin_call(&mut self) {}
    /// It has ended, with a return status unless it failed.
    ///
    /// # Errors
    /// [`Cancelled`].
    fn end_call(&mut self, status: Option<i32>) -> Result<(), Cancelled> {
        let _ = status;
        Ok(())
    }
    /// Whether the request is to stop: for loops and waits that produce nothing for a while.
    fn is_cancelled(&self) -> bool {
        false
    }
    /// A procedure's return status.
    fn return_status(&mut self, status: i32) -> Result<(), Cancelled>;
    /// An OUTPUT parameter's value.
    fn return_value(&mut self, param: &Param) -> Result<(), Cancelled>;
}
