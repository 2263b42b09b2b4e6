//! What a source table has beside its shape: indexes, constraints, defaults, identities. A target
//! is built from it; no row is decoded by it.
//!
//! Expressions are the source's own text; translating them is the target's business. A definition
//! is a picture of the moment it was taken at, and the newest one of a table version counts.

use serde::{Deserialize, Serialize};

use crate::{TableId, TableName};

/// The definition of a source table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The table version it goes with: its columns are named there.
    pub table: TableId,
    /// Name of the table.
    pub name: TableName,
    /// Columns that have more than a type; the others are not listed.
    pub columns: Vec<ColumnDefinition>,
    /// Indexes, those of primary keys and unique constraints among them.
    pub indexes: Vec<Index>,
    /// Foreign keys of this table to another or to itself.
    pub foreign_keys: Vec<ForeignKey>,
    /// CHECK constraints.
    pub checks: Vec<Check>,
    /// What the source has and this model has no place for (columnstore and spatial indexes,
    /// triggers, partitioning, …): reported, never made.
    pub others: Vec<OtherObject>,
}

/// What a column has beside its type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Name of the column.
    pub column: String,
    /// Its default, as the source writes it, e.g. `(getdate())`.
    pub default: Option<String>,
    /// Its identity.
    pub identity: Option<Identity>,
    /// What it is computed from, as the source writes it.
    pub computed: Option<String>,
    /// The computed value is stored in the source's rows.
    pub persisted: bool,
}

/// An identity column's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// First number.
    pub seed: i64,
    /// Step, never 0.
    pub increment: i64,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Name, unique within the table.
    pub name: String,
    /// What it stands for.
    pub kind: IndexKind,
    /// It keeps equal keys out.
    pub unique: bool,
    /// Key columns in order.
    pub columns: Vec<IndexColumn>,
    /// Columns carried along.
    pub included: Vec<String>,
    /// Condition of a filtered index, as the source writes it.
    pub filter: Option<String>,
    /// Disabled in the source: it holds nothing there.
    pub disabled: bool,
}

/// What an index stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum IndexKind {
    /// The primary key.
    Primary,
    /// A unique constraint.
    Constraint,
    /// Nothing but itself.
    Plain,
}

/// A key column of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexColumn {
    /// Name.
    pub column: String,
    /// Sorted downwards.
    pub descending: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table it points to.
    pub referenced: TableName,
    /// The columns there, in the same order.
    pub referenced_columns: Vec<String>,
    /// What a delete there does here.
    pub on_delete: Referential,
    /// What an update of the key there does here.
    pub on_update: Referential,
    /// Not enforced in the source.
    pub disabled: bool,
    /// Enforced for what is written, but rows from before were never checked (`WITH NOCHECK`).
    pub unchecked: bool,
}

/// What a change of a referenced key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Referential {
    /// It is refused.
    NoAction,
    /// It is done here too.
    Cascade,
    /// The columns here become NULL.
    SetNull,
    /// The columns here get their defaults.
    SetDefault,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name.
    pub name: String,
    /// The condition, as the source writes it.
    pub condition: String,
    /// Not enforced in the source.
    pub disabled: bool,
    /// Rows from before it were never checked.
    pub unchecked: bool,
}

/// Something of a table that is only reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherObject {
    /// What it is, in the source's words, e.g. `CLUSTERED COLUMNSTORE` or `SQL_TRIGGER`.
    pub kind: String,
    /// Its name.
    pub name: String,
}
