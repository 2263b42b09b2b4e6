//! The syntax tree: what the engine executes, and nothing it does not.

use crate::{IsolationLevel, SqlType, Value};

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
    /// `TRUNCATE TABLE t`
    Truncate(ObjectName),
    /// Definition of data or metadata.
    Ddl(Ddl),
    /// Principals and permissions.
    Security(Security),
    /// `USE db`
    Use(String),
    /// `DECLARE @a int = 1, …`
    Declare(Vec<Declaration>),
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
    /// Initial value.
    pub value: Option<Expr>,
}

/// Session options that mean something here.
#[derive(Clone, Debug)]
pub enum SetOption {
    /// `SET TRANSACTION ISOLATION LEVEL …`
    Isolation(IsolationLevel),
    /// `SET NOCOUNT ON|OFF`
    NoCount(bool),
    /// `SET XACT_ABORT ON|OFF`
    XactAbort(bool),
    /// `SET IMPLICIT_TRANSACTIONS OFF`; ON is refused by the parser.
    LockTimeout(Expr),
    /// `SET TEXTSIZE n`
    TextSize(Expr),
    /// `SET DEADLOCK_PRIORITY n`
    DeadlockPriority(i8),
    /// `SET IDENTITY_INSERT t ON|OFF`
    IdentityInsert(ObjectName, bool),
    /// `SET ROWCOUNT 0`, `SET ANSI_NULLS ON` and others in the only state supported.
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

/// An expression; the binder tells conditions from values.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A constant and its type; `None` for NULL.
    Literal(Value, Option<SqlType>),
    /// A column, possibly qualified.
    Column(Vec<String>),
    /// `@x`
    Variable(String),
    /// `@@x`
    Global(String),
    /// `-x`, `+x`, `~x`
    Unary(UnaryOp, Box<Expr>),
    /// Arithmetic, bits, concatenation.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// A function call.
    Call(Box<Call>),
    /// `CAST`, `CONVERT`, `TRY_CAST`, `TRY_CONVERT`
    Convert(Box<Convert>),
    /// `CASE`
    Case(Box<Case>),
    /// `(SELECT …)`
    Subquery(Box<Query>),
    /// A comparison.
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// `AND`
    And(Box<Expr>, Box<Expr>),
    /// `OR`
    Or(Box<Expr>, Box<Expr>),
    /// `NOT`
    Not(Box<Expr>),
    /// `IS [NOT] NULL`
    IsNull(Box<Expr>, bool),
    /// `[NOT] BETWEEN`
    Between {
        /// Value.
        value: Box<Expr>,
        /// Lower bound.
        low: Box<Expr>,
        /// Upper bound.
        high: Box<Expr>,
        /// NOT.
        negated: bool,
    },
    /// `[NOT] IN (a, b)`
    InList(Box<Expr>, Vec<Expr>, bool),
    /// `[NOT] IN (SELECT …)`
    InQuery(Box<Expr>, Box<Query>, bool),
    /// `[NOT] LIKE`
    Like {
        /// Value.
        value: Box<Expr>,
        /// Pattern.
        pattern: Box<Expr>,
        /// Escape character.
        escape: Option<Box<Expr>>,
        /// NOT.
        negated: bool,
    },
    /// `EXISTS (SELECT …)`
    Exists(Box<Query>),
    /// `DEFAULT`, only as a value of INSERT or UPDATE.
    Default,
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Minus,
    /// `+`
    Plus,
    /// `~`
    BitNot,
}

/// Infix operators that give a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Qualified name; one part for built-in functions.
    pub name: Vec<String>,
    /// Arguments.
    pub arguments: Vec<Expr>,
    /// `(*)`
    pub star: bool,
    /// `(DISTINCT …)`
    pub distinct: bool,
    /// `OVER (…)`
    pub over: Option<Over>,
    /// `WITHIN GROUP (ORDER BY …)`
    pub within_group: Vec<OrderItem>,
}

/// A window.
#[derive(Clone, Debug, PartialEq)]
pub struct Over {
    /// `PARTITION BY`
    pub partition: Vec<Expr>,
    /// `ORDER BY`
    pub order: Vec<OrderItem>,
}

/// A conversion.
#[derive(Clone, Debug, PartialEq)]
pub struct Convert {
    /// What is converted.
    pub value: Expr,
    /// To what.
    pub ty: SqlType,
    /// Style.
    pub style: Option<Expr>,
    /// NULL instead of an error.
    pub attempt: bool,
}

/// `CASE`
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Value compared with each WHEN, where given.
    pub operand: Option<Expr>,
    /// WHEN and THEN.
    pub branches: Vec<(Expr, Expr)>,
    /// ELSE.
    pub otherwise: Option<Expr>,
}

/// A query with its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Common table expressions, none recursive.
    pub with: Vec<Cte>,
    /// Body.
    pub body: QueryBody,
    /// `ORDER BY`
    pub order: Vec<OrderItem>,
    /// `OFFSET n ROWS`
    pub offset: Option<Expr>,
    /// `FETCH NEXT n ROWS ONLY`
    pub fetch: Option<Expr>,
}

/// `name (columns) AS (query)`
#[derive(Clone, Debug, PartialEq)]
pub struct Cte {
    /// Name.
    pub name: String,
    /// Column names, where given.
    pub columns: Vec<String>,
    /// Query.
    pub query: Query,
}

/// A SELECT or a set operation.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryBody {
    /// `SELECT …`
    Select(Box<Select>),
    /// `a UNION b` and kin.
    Set(SetOp, Box<QueryBody>, Box<QueryBody>),
}

/// Set operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOp {
    /// `UNION`
    Union,
    /// `UNION ALL`
    UnionAll,
    /// `EXCEPT`
    Except,
    /// `INTERSECT`
    Intersect,
}

/// One SELECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// `DISTINCT`
    pub distinct: bool,
    /// `TOP (n)`
    pub top: Option<Expr>,
    /// Select list.
    pub items: Vec<SelectItem>,
    /// `FROM`
    pub from: Vec<TableRef>,
    /// `WHERE`
    pub filter: Option<Expr>,
    /// `GROUP BY`
    pub group: Vec<Expr>,
    /// `HAVING`
    pub having: Option<Expr>,
}

/// An item of a select or OUTPUT list.
#[derive(Clone, Debug, PartialEq)]
pub enum SelectItem {
    /// `*` or `t.*`
    Wildcard(Vec<String>),
    /// An expression, possibly named.
    Value {
        /// Expression.
        value: Expr,
        /// Alias.
        alias: Option<String>,
    },
    /// `@v = x`
    Assign {
        /// Variable.
        variable: String,
        /// Value.
        value: Expr,
    },
}

/// `x ASC|DESC`
#[derive(Clone, Debug, PartialEq)]
pub struct OrderItem {
    /// Expression.
    pub value: Expr,
    /// `DESC`
    pub descending: bool,
}

/// A source of rows in FROM.
#[derive(Clone, Debug, PartialEq)]
pub enum TableRef {
    /// A table, view or common table expression.
    Named {
        /// Name.
        name: ObjectName,
        /// Alias.
        alias: Option<String>,
        /// Hints.
        hints: Hints,
    },
    /// A table-valued function.
    Function {
        /// Name.
        name: ObjectName,
        /// Arguments.
        arguments: Vec<Expr>,
        /// Alias.
        alias: Option<String>,
    },
    /// `(SELECT …) AS t (columns)`
    Derived {
        /// Query.
        query: Box<Query>,
        /// Alias.
        alias: String,
        /// Column names, where given.
        columns: Vec<String>,
    },
    /// `(VALUES …) AS t (columns)`
    Values {
        /// Rows.
        rows: Vec<Vec<Expr>>,
        /// Alias.
        alias: String,
        /// Column names.
        columns: Vec<String>,
    },
    /// A join.
    Join {
        /// Kind.
        kind: JoinKind,
        /// Left side.
        left: Box<TableRef>,
        /// Right side.
        right: Box<TableRef>,
        /// `ON`; absent for CROSS JOIN and APPLY.
        on: Option<Expr>,
    },
}

/// Joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// INNER
    Inner,
    /// LEFT OUTER
    Left,
    /// RIGHT OUTER
    Right,
    /// FULL OUTER
    Full,
    /// CROSS
    Cross,
    /// CROSS APPLY
    CrossApply,
    /// OUTER APPLY
    OuterApply,
}

/// Table hints. Hints that only choose a plan or a lock granularity are accepted and need no field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `NOLOCK`, `READUNCOMMITTED`
    pub no_lock: bool,
    /// `UPDLOCK`
    pub update_lock: bool,
    /// `XLOCK`
    pub exclusive_lock: bool,
    /// `HOLDLOCK`, `SERIALIZABLE`
    pub hold_lock: bool,
    /// `TABLOCK`
    pub table_lock: bool,
    /// `TABLOCKX`
    pub table_exclusive: bool,
    /// `REPEATABLEREAD`
    pub repeatable_read: bool,
    /// `READCOMMITTEDLOCK`
    pub read_committed_lock: bool,
}

/// `INSERT`
#[derive(Debug)]
pub struct Insert {
    /// Target.
    pub table: ObjectName,
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

/// Rows to insert.
#[derive(Debug)]
pub enum InsertSource {
    /// `VALUES (…), (…)`
    Values(Vec<Vec<Expr>>),
    /// `SELECT …`
    Query(Query),
    /// `DEFAULT VALUES`
    Defaults,
}

/// `OUTPUT items [INTO t (columns)]`
#[derive(Debug)]
pub struct Output {
    /// Items over `inserted` and `deleted`.
    pub items: Vec<SelectItem>,
    /// Table that takes them instead of the client.
    pub into: Option<(ObjectName, Vec<String>)>,
}

/// `UPDATE`
#[derive(Debug)]
pub struct Update {
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
}

/// `DELETE`
#[derive(Debug)]
pub struct Delete {
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

/// Definitions.
#[derive(Debug)]
pub enum Ddl {
    /// `CREATE DATABASE`
    CreateDatabase(String),
    /// `DROP DATABASE [IF EXISTS]`
    DropDatabase {
        /// Names.
        names: Vec<String>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `ALTER DATABASE x SET …`
    AlterDatabase {
        /// Name, none for CURRENT.
        name: Option<String>,
        /// Option.
        option: DatabaseOption,
    },
    /// `CREATE SCHEMA`
    CreateSchema {
        /// Name.
        name: String,
        /// AUTHORIZATION.
        owner: Option<String>,
    },
    /// `DROP SCHEMA`
    DropSchema {
        /// Name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `CREATE TABLE`
    CreateTable {
        /// Name.
        name: ObjectName,
        /// Columns.
        columns: Vec<ColumnDefinition>,
        /// Table constraints.
        constraints: Vec<ConstraintDefinition>,
    },
    /// `DROP TABLE`
    DropTable {
        /// Names.
        names: Vec<ObjectName>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `CREATE INDEX`
    CreateIndex {
        /// Index.
        name: String,
        /// Table.
        table: ObjectName,
        /// UNIQUE.
        unique: bool,
        /// CLUSTERED.
        clustered: bool,
        /// Key columns and whether descending.
        columns: Vec<(String, bool)>,
        /// INCLUDE.
        include: Vec<String>,
    },
    /// `DROP INDEX`
    DropIndex {
        /// Index.
        name: String,
        /// Table.
        table: ObjectName,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `ALTER TABLE`
    AlterTable {
        /// Table.
        table: ObjectName,
        /// Change.
        action: AlterTable,
    },
}

/// Settable options of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseOption {
    /// `ALLOW_SNAPSHOT_ISOLATION ON|OFF`
    AllowSnapshot(bool),
    /// `READ_COMMITTED_SNAPSHOT ON`; OFF is refused when executed.
    ReadCommittedSnapshot(bool),
    /// `RECOVERY …`, `MULTI_USER` and others without effect here.
    Accepted,
}

/// Changes of a table.
#[derive(Debug)]
pub enum AlterTable {
    /// `ADD column …, CONSTRAINT …`
    Add {
        /// Columns.
        columns: Vec<ColumnDefinition>,
        /// Constraints.
        constraints: Vec<ConstraintDefinition>,
    },
    /// `ALTER COLUMN`
    AlterColumn {
        /// Column.
        name: String,
        /// New type.
        ty: SqlType,
        /// NULL or NOT NULL, where given.
        nullable: Option<bool>,
    },
    /// `DROP COLUMN`
    DropColumns {
        /// Columns.
        names: Vec<String>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `DROP CONSTRAINT`
    DropConstraints {
        /// Constraints.
        names: Vec<String>,
        /// IF EXISTS.
        if_exists: bool,
    },
}

/// A column of CREATE TABLE or ADD.
#[derive(Clone, Debug)]
pub struct ColumnDefinition {
    /// Name.
    pub name: String,
    /// Type, or the expression of a computed column.
    pub content: ColumnContent,
    /// NULL or NOT NULL, where given.
    pub nullable: Option<bool>,
    /// IDENTITY (seed, increment).
    pub identity: Option<(i64, i64)>,
    /// DEFAULT.
    pub default: Option<DefaultDefinition>,
    /// Constraints written with the column.
    pub constraints: Vec<ConstraintDefinition>,
}

/// What fills a column.
#[derive(Clone, Debug)]
pub enum ColumnContent {
    /// Values of a type; `user_type` is the alias's name where one was used.
    Stored {
        /// Type.
        ty: SqlType,
        /// `sysname`, `numeric`: the name written when it is not the type's own.
        user_type: Option<String>,
    },
    /// `AS (expression)`
    Computed {
        /// Expression.
        text: SourceText,
        /// PERSISTED.
        persisted: bool,
    },
}

/// An expression kept with its text for the catalogue.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// As SQL Server shows it: in parentheses.
    pub text: String,
    /// Parsed.
    pub value: Expr,
}

/// `[CONSTRAINT name] DEFAULT x`
#[derive(Clone, Debug)]
pub struct DefaultDefinition {
    /// Name, where given.
    pub name: Option<String>,
    /// Value.
    pub value: SourceText,
}

/// A constraint.
#[derive(Clone, Debug)]
pub struct ConstraintDefinition {
    /// Name, where given.
    pub name: Option<String>,
    /// Content.
    pub content: ConstraintContent,
}

/// What a constraint demands.
#[derive(Clone, Debug)]
pub enum ConstraintContent {
    /// PRIMARY KEY or UNIQUE.
    Key {
        /// PRIMARY KEY.
        primary: bool,
        /// CLUSTERED or NONCLUSTERED, where given.
        clustered: Option<bool>,
        /// Columns and whether descending.
        columns: Vec<(String, bool)>,
    },
    /// FOREIGN KEY.
    ForeignKey {
        /// Columns.
        columns: Vec<String>,
        /// Referenced table.
        table: ObjectName,
        /// Referenced columns, empty for its primary key.
        referenced: Vec<String>,
    },
    /// CHECK.
    Check(SourceText),
    /// `DEFAULT x FOR column`
    Default {
        /// Column.
        column: String,
        /// Value.
        value: SourceText,
    },
}

/// Principals and permissions.
#[derive(Debug)]
pub enum Security {
    /// `CREATE LOGIN x WITH PASSWORD = '…'`
    CreateLogin {
        /// Name.
        name: String,
        /// Password.
        password: String,
        /// DEFAULT_DATABASE.
        database: Option<String>,
    },
    /// `ALTER LOGIN x WITH PASSWORD = '…'`
    AlterLogin {
        /// Name.
        name: String,
        /// New password.
        password: String,
    },
    /// `DROP LOGIN x`
    DropLogin(String),
    /// `CREATE USER x FOR LOGIN y` or `WITHOUT LOGIN`
    CreateUser {
        /// Name.
        name: String,
        /// Login; none for WITHOUT LOGIN.
        login: Option<String>,
    },
    /// `DROP USER [IF EXISTS] x`
    DropUser {
        /// Name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `CREATE ROLE x`
    CreateRole(String),
    /// `DROP ROLE x`
    DropRole(String),
    /// `ALTER [SERVER] ROLE x ADD|DROP MEMBER y`
    AlterRole {
        /// A server role.
        server: bool,
        /// Role.
        role: String,
        /// Member.
        member: String,
        /// ADD rather than DROP.
        add: bool,
    },
    /// `GRANT`, `DENY`, `REVOKE`
    Permission {
        /// What happens to the permission.
        action: PermissionAction,
        /// Permissions, upper case.
        permissions: Vec<String>,
        /// What they are on.
        securable: Securable,
        /// Users or roles.
        principals: Vec<String>,
    },
}

/// What happens to a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionAction {
    /// GRANT
    Grant,
    /// DENY
    Deny,
    /// REVOKE
    Revoke,
}

/// What a permission is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Securable {
    /// The database, or the server for permissions of that scope.
    Scope,
    /// A schema.
    Schema(String),
    /// A table, with columns where given.
    Object(ObjectName, Vec<String>),
}
