//! Expressions and queries.

use super::ObjectName;
use crate::engine::collation::Label;
use crate::{SqlType, Value};

/// An expression; the binder tells conditions from values.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `NEXT VALUE FOR`
    NextValue(Box<super::ObjectName>),
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
    /// `x.Method(…)`, `x.Property`
    Method(Box<Method>),
    /// `type::Method(…)`
    OfType(SqlType, String, Vec<Expr>),
    /// `CAST`, `CONVERT`, `TRY_CAST`, `TRY_CONVERT`
    Convert(Box<Convert>),
    /// `x COLLATE name`
    Collate(Box<Expr>, Label),
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

/// A method or property of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// Value.
    pub value: Expr,
    /// Name, which is sensitive to case.
    pub name: String,
    /// Arguments; none for a property.
    pub arguments: Option<Vec<Expr>>,
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
    /// `ROWS` or `RANGE`
    pub extent: Option<Extent>,
}

/// Which rows of its partition a window function looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// ROWS rather than RANGE.
    pub rows: bool,
    /// First row.
    pub start: Edge,
    /// Last row.
    pub end: Edge,
}

/// An end of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// UNBOUNDED PRECEDING
    First,
    /// `n PRECEDING`
    Before(std::cmp::Reverse<usize>),
    /// CURRENT ROW
    Current,
    /// `n FOLLOWING`
    After(usize),
    /// UNBOUNDED FOLLOWING
    Last,
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
    /// Written as TRY_CONVERT or CONVERT rather than as a cast.
    pub by_function: bool,
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
    /// Common table expressions.
    pub with: Vec<Cte>,
    /// `OPTION (MAXRECURSION n)`
    pub max_recursion: Option<u32>,
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
    /// `INTO`
    pub into: Option<ObjectName>,
    /// `FROM`
    pub from: Vec<TableRef>,
    /// `WHERE`
    pub filter: Option<Expr>,
    /// `GROUP BY`
    pub group: Vec<Expr>,
    /// Which of them each grouping set keeps, by position; none for one set of all.
    pub sets: Vec<Vec<usize>>,
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
    /// A table variable.
    Variable {
        /// Name with its `@`.
        name: String,
        /// Alias.
        alias: Option<String>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// `FORCESEEK`
    pub force_seek: bool,
    /// `INDEX (…)`, `FORCESEEK (…)`
    pub index: Option<IndexHint>,
}

/// The index of a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexHint {
    /// By name.
    Name(String),
    /// By `index_id`; 0 is the clustered index or the heap.
    Id(i32),
}
