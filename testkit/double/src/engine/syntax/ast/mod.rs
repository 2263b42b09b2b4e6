//! The syntax tree: what the engine executes, and nothing it does not.

mod definition;
mod module;
mod query;

use crate::{IsolationLevel, SqlType};

pub use definition::*;
pub use module::*;
pub use query::*;

/// A parsed batch.
#[derive(Debug)]
pub struct Batch {
    /// Its text, which DDL statements quote.
    pub text: String,
    /// Its statements.
    pub statements: Vec<Statement>,
}

/// A statement and where it stands.
#[derive(Debug)]
pub struct Statement {
    /// Line of its first token.
    pub line: u32,
    /// Byte range in the batch's text.
    pub span: (usize, usize),
    /// What it does.
    pub kind: StatementKind,
}

/// A possibly qualified object name; absent parts are the session's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    /// Database.
    pub database: Option<String>,
    /// Schema.
    pub schema: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectName {
    /// Whether it is a global temporary table's.
    pub fn is_global(&self) -> bool {
        self.name.starts_with("##")
    }

    /// Whether it is a temporary table's, whatever database and schema are written before it.
    pub fn is_temporary(&self) -> bool {
        self.name.starts_with('#')
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{database}.")?;
        }
        match &self.schema {
            Some(schema) => write!(f, "{schema}.")?,
            None if self.database.is_some() => f.write_str(".")?,
            None => {}
        }
        f.write_str(&self.name)
    }
}

/// What a statement does.
#[derive(Debug)]
pub enum StatementKind {
    /// `SELECT …`, also assigning variables.
    Select(Query),
    /// `INSERT …`
    Insert(Insert),
    /// `UPDATE …`
    Update(Update),
    /// `DELETE …`
    Delete(Delete),
    /// `MERGE …`
    Merge(Box<Merge>),
    /// `INSERT BULK …`
    InsertBulk(std::sync::Arc<InsertBulk>),
    /// `TRUNCATE TABLE t`
    Truncate(ObjectName),
    /// `WRITETEXT`, `UPDATETEXT`
    WriteText(Box<WriteText>),
    /// Definition of data or metadata.
    Ddl(Ddl),
    /// Principals and permissions.
    Security(Security),
    /// `USE db`
    Use(String),
    /// `DECLARE @a int = 1, …`
    Declare(Vec<Declaration>),
    /// `DECLARE @t TABLE (…)`
    DeclareTable {
        /// Name with its `@`.
        name: String,
        /// Columns.
        columns: Vec<ColumnDefinition>,
        /// Constraints that are no column's.
        constraints: Vec<ConstraintDefinition>,
    },
    /// `DECLARE c CURSOR FOR …`
    DeclareCursor(Box<CursorDef>),
    /// `OPEN c`
    OpenCursor(CursorName),
    /// `FETCH … FROM c INTO …`
    Fetch {
        /// Cursor.
        cursor: CursorName,
        /// Which row.
        from: FetchFrom,
        /// Variables, empty where the client gets the row.
        into: Vec<String>,
    },
    /// `CLOSE c`
    CloseCursor(CursorName),
    /// `DEALLOCATE c`
    Deallocate(CursorName),
    /// `SET @a = …`
    Assign {
        /// Variable.
        variable: String,
        /// Its new value.
        value: Expr,
    },
    /// `SET option …`
    SetOption(SetOption),
    /// `IF … ELSE …`
    If {
        /// Condition.
        condition: Expr,
        /// Taken when true.
        then: Box<Statement>,
        /// Taken otherwise.
        otherwise: Option<Box<Statement>>,
    },
    /// `WHILE … …`
    While {
        /// Condition.
        condition: Expr,
        /// Body.
        body: Box<Statement>,
    },
    /// `BREAK`
    Break,
    /// `CONTINUE`
    Continue,
    /// `RETURN`
    Return(Option<Expr>),
    /// `BEGIN … END`
    Block(Vec<Statement>),
    /// `BEGIN TRY … END TRY BEGIN CATCH … END CATCH`
    TryCatch {
        /// Tried statements.
        attempt: Vec<Statement>,
        /// Statements run after an error.
        handler: Vec<Statement>,
    },
    /// `PRINT …`
    Print(Expr),
    /// `RAISERROR (message, severity, state, …)`
    RaiseError {
        /// Message text or number.
        message: Expr,
        /// Severity.
        severity: Expr,
        /// State.
        state: Expr,
        /// Values for the message's placeholders.
        arguments: Vec<Expr>,
    },
    /// `THROW` with number, message, state, or alone in a CATCH block.
    Throw(Option<Box<(Expr, Expr, Expr)>>),
    /// `BEGIN TRAN [name]`
    Begin(Option<String>),
    /// `COMMIT`
    Commit,
    /// `ROLLBACK [name]`
    Rollback(Option<String>),
    /// `SAVE TRAN name`
    Save(String),
    /// `WAITFOR DELAY …`
    WaitForDelay(Expr),
    /// `EXEC procedure …`
    Execute(Execute),
    /// `EXEC (text)`
    ExecuteText(Expr),
    /// `EXECUTE AS USER = …` or `LOGIN = …`
    ExecuteAs {
        /// A login rather than a database user.
        login: bool,
        /// Its name.
        name: String,
    },
    /// `REVERT`
    Revert,
    /// `CHECKPOINT` and `RECONFIGURE`, which this server needs not do.
    Nothing,
    /// `BACKUP DATABASE x TO DISK = '…'`
    Backup {
        /// Database.
        database: String,
        /// File.
        file: Expr,
    },
    /// `RESTORE DATABASE x FROM DISK = '…'`
    Restore {
        /// Database.
        database: String,
        /// File.
        file: Expr,
        /// KEEP_CDC.
        keep_cdc: bool,
        /// REPLACE.
        replace: bool,
    },
}

/// One variable of a DECLARE.
#[derive(Debug)]
pub struct Declaration {
    /// Name with its `@`.
    pub name: String,
    /// Type.
    pub ty: SqlType,
    /// Name of the alias type, which then says what `ty` is.
    pub user_type: Option<ObjectName>,
    /// Initial value.
    pub value: Option<Expr>,
}

/// An option of ANSI behaviour that may be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsiOption {
    /// `ANSI_NULLS`
    Nulls,
    /// `ANSI_PADDING`
    Padding,
    /// `ANSI_WARNINGS`
    Warnings,
    /// `CONCAT_NULL_YIELDS_NULL`
    Concat,
    /// `QUOTED_IDENTIFIER`
    Quoted,
    /// `ARITHABORT`, which changes nothing: what it would let pass is an error.
    Arithmetic,
}

/// Session options that mean something here.
#[derive(Clone, Debug)]
pub enum SetOption {
    /// `ANSI_NULLS` and kin, ON or OFF.
    Ansi(Vec<AnsiOption>, bool),
    /// `SET TRANSACTION ISOLATION LEVEL …`
    Isolation(IsolationLevel),
    /// `SET NOCOUNT ON|OFF`
    NoCount(bool),
    /// `SET XACT_ABORT ON|OFF`
    XactAbort(bool),
    /// `SET LOCK_TIMEOUT n`
    LockTimeout(Expr),
    /// `SET CURSOR_CLOSE_ON_COMMIT ON|OFF`
    CursorCloseOnCommit(bool),
    /// `SET IMPLICIT_TRANSACTIONS ON|OFF`
    ImplicitTransactions(bool),
    /// `SET FMTONLY ON|OFF`
    FormatOnly(bool),
    /// `SET NOEXEC ON|OFF`
    NoExecute(bool),
    /// `SET ROWCOUNT n`
    RowCount(Expr),
    /// `SET TEXTSIZE n`
    TextSize(Expr),
    /// `SET DEADLOCK_PRIORITY n`
    DeadlockPriority(i8),
    /// `SET IDENTITY_INSERT t ON|OFF`
    IdentityInsert(ObjectName, bool),
    /// `SET ANSI_NULLS ON` and others in the only state supported.
    Accepted,
}

/// `EXEC [@r =] procedure argument, …`
#[derive(Debug)]
pub struct Execute {
    /// Variable that takes the return status.
    pub status: Option<String>,
    /// Procedure.
    pub procedure: ObjectName,
    /// Arguments.
    pub arguments: Vec<Argument>,
}

/// One argument of an EXEC.
#[derive(Debug)]
pub struct Argument {
    /// Name with its `@`, where given by name.
    pub name: Option<String>,
    /// A literal or variable, or none for DEFAULT.
    pub value: Option<Expr>,
    /// Followed by OUTPUT.
    pub output: bool,
}

/// `INSERT`
#[derive(Debug)]
pub struct Insert {
    /// Common table expressions before it.
    pub with: Vec<Cte>,
    /// Target.
    pub target: InsertTarget,
    /// `TOP (n)`
    pub top: Option<Expr>,
    /// Target hints.
    pub hints: Hints,
    /// Named columns, empty when not given.
    pub columns: Vec<String>,
    /// `OUTPUT`
    pub output: Option<Output>,
    /// Rows.
    pub source: InsertSource,
}

/// What rows are inserted into.
#[derive(Clone, Debug)]
pub enum InsertTarget {
    /// A table.
    Table(ObjectName),
    /// A table variable.
    Variable(String),
}

/// Rows to insert.
#[derive(Debug)]
pub enum InsertSource {
    /// `VALUES (…), (…)`
    Values(Vec<Vec<Expr>>),
    /// `SELECT …`
    Query(Query),
    /// `DEFAULT VALUES`
    Defaults,
    /// `EXEC …`: the rows of all results of a procedure or a text.
    Execute(Box<StatementKind>),
}

/// `OUTPUT items [INTO t (columns)]`
#[derive(Debug)]
pub struct Output {
    /// Items over `inserted` and `deleted`.
    pub items: Vec<SelectItem>,
    /// Table that takes them instead of the client.
    pub into: Option<(InsertTarget, Vec<String>)>,
}

/// `UPDATE`
#[derive(Debug)]
pub struct Update {
    /// Common table expressions before it.
    pub with: Vec<Cte>,
    /// `OPTION (MAXRECURSION n)`
    pub max_recursion: Option<u32>,
    /// Target: a table or an alias of FROM.
    pub target: ObjectName,
    /// Target hints.
    pub hints: Hints,
    /// `TOP (n)`
    pub top: Option<Expr>,
    /// `SET`
    pub assignments: Vec<Assignment>,
    /// `OUTPUT`
    pub output: Option<Output>,
    /// `FROM`
    pub from: Vec<TableRef>,
    /// `WHERE`
    pub filter: Option<Expr>,
}

/// `[@v =] [column =] value`
#[derive(Debug)]
pub struct Assignment {
    /// Variable that takes the value.
    pub variable: Option<String>,
    /// Column, possibly qualified.
    pub column: Option<Vec<String>>,
    /// Value.
    pub value: Expr,
    /// Written as `column op= value`: the column in the value is the target's.
    pub compound: bool,
    /// `.WRITE (value, offset, length)`: offset and length.
    pub write: Option<Box<(Expr, Expr)>>,
}

/// `WRITETEXT`, `UPDATETEXT`
#[derive(Debug)]
pub struct WriteText {
    /// Table.
    pub table: ObjectName,
    /// Column.
    pub column: String,
    /// Text pointer.
    pub pointer: Expr,
    /// Offset and length of UPDATETEXT.
    pub place: Option<(Expr, Expr)>,
    /// What is written; nothing where UPDATETEXT only deletes.
    pub data: Option<Expr>,
}

/// `DELETE`
#[derive(Debug)]
pub struct Delete {
    /// Common table expressions before it.
    pub with: Vec<Cte>,
    /// `OPTION (MAXRECURSION n)`
    pub max_recursion: Option<u32>,
    /// Target: a table or an alias of FROM.
    pub target: ObjectName,
    /// Target hints.
    pub hints: Hints,
    /// `TOP (n)`
    pub top: Option<Expr>,
    /// `OUTPUT`
    pub output: Option<Output>,
    /// `FROM`
    pub from: Vec<TableRef>,
    /// `WHERE`
    pub filter: Option<Expr>,
}

/// `MERGE`
#[derive(Debug)]
pub struct Merge {
    /// Common table expressions before it.
    pub with: Vec<Cte>,
    /// `OPTION (MAXRECURSION n)`
    pub max_recursion: Option<u32>,
    /// `TOP (n)`
    pub top: Option<Expr>,
    /// Target.
    pub target: ObjectName,
    /// Target hints.
    pub hints: Hints,
    /// Alias of the target.
    pub alias: Option<String>,
    /// `USING`
    pub source: TableRef,
    /// `ON`
    pub on: Expr,
    /// `WHEN …`
    pub clauses: Vec<MergeClause>,
    /// `OUTPUT`
    pub output: Option<Output>,
}

/// Which pairs a WHEN clause is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeWhen {
    /// `WHEN MATCHED`
    Matched,
    /// `WHEN NOT MATCHED [BY TARGET]`
    NotByTarget,
    /// `WHEN NOT MATCHED BY SOURCE`
    NotBySource,
}

/// One WHEN clause.
#[derive(Debug)]
pub struct MergeClause {
    /// Which pairs.
    pub when: MergeWhen,
    /// `AND`
    pub condition: Option<Expr>,
    /// `THEN`
    pub action: MergeAction,
}

/// What a WHEN clause does.
#[derive(Debug)]
pub enum MergeAction {
    /// `UPDATE SET …`
    Update(Vec<Assignment>),
    /// `DELETE`
    Delete,
    /// `INSERT`
    Insert {
        /// Named columns, empty when not given.
        columns: Vec<String>,
        /// Values; none for DEFAULT VALUES.
        values: Option<Vec<Expr>>,
    },
}

/// A cursor as it is declared.
#[derive(Clone, Debug)]
pub struct CursorDef {
    /// Name.
    pub name: String,
    /// LOCAL.
    pub local: bool,
    /// Whether it goes backward, too.
    pub scroll: bool,
    /// STATIC or INSENSITIVE.
    pub fixed: bool,
    /// Query.
    pub query: Query,
}

/// A cursor by name; a local one is meant first, unless it says GLOBAL.
#[derive(Debug)]
pub struct CursorName {
    /// GLOBAL
    pub global: bool,
    /// Name.
    pub name: String,
}

/// Which row FETCH goes to.
#[derive(Debug)]
pub enum FetchFrom {
    /// NEXT
    Next,
    /// PRIOR
    Prior,
    /// FIRST
    First,
    /// LAST
    Last,
    /// ABSOLUTE
    Absolute(Expr),
    /// RELATIVE
    Relative(Expr),
}

/// `INSERT BULK`: says where the rows of the next message go.
#[derive(Debug)]
pub struct InsertBulk {
    /// Target.
    pub target: ObjectName,
    /// Columns, with the types that the client sends.
    pub columns: Vec<String>,
    /// CHECK_CONSTRAINTS: CHECK and FOREIGN KEY count.
    pub check: bool,
    /// KEEP_NULLS: NULL is not replaced by a default.
    pub keep_nulls: bool,
    /// TABLOCK
    pub table_lock: bool,
}
