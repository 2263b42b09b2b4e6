//! What the catalogue says of a database's tables.
//!
//! A [`TableDef`] is immutable: DDL replaces it. Rows are positional: `row[i]` belongs to
//! `columns[i]`, and columns stand in the order of their ids.

use std::sync::Arc;

use super::clock::Micros;
use super::{ModuleDef, ModuleKind, PolicyDef, SequenceDef};
use crate::engine::collation::Label;
use crate::{SqlError, SqlType, Value};

/// `object_id` of a table or constraint, unique in its database.
pub type ObjectId = i32;
/// `index_id`; 1 is the clustered index, 2 and up the others.
pub type IndexId = i32;
/// `column_id`, from 1; never reused after a column is dropped.
pub type ColumnId = i32;
/// One row, in the order of [`TableDef::columns`].
pub type Row = Arc<[Value]>;

/// `IDENTITY(seed, increment)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// First value.
    pub seed: i64,
    /// Step, not zero.
    pub increment: i64,
}

/// A DEFAULT constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultDef {
    /// Constraint name.
    pub name: String,
    /// Expression text.
    pub definition: String,
}

/// A computed column's expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputedDef {
    /// Expression text.
    pub definition: String,
    /// Declared PERSISTED. Rows carry a slot for every computed column either way; who executes
    /// the statement decides what is in it.
    pub persisted: bool,
}

/// `user_type_id` of `sysname`, the alias type that every database has.
pub const SYSNAME_ID: i32 = 256;

/// An alias type: CREATE TYPE … FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeDef {
    /// `user_type_id`; 0 before creation.
    pub id: i32,
    /// Schema name.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Base type.
    pub ty: SqlType,
    /// Whether columns of it may be NULL unless they say so.
    pub nullable: bool,
}

/// What else a column may be declared as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnTraits {
    /// ROWGUIDCOL.
    pub row_guid: bool,
    /// SPARSE.
    pub sparse: bool,
    /// IDENTITY … NOT FOR REPLICATION.
    pub not_for_replication: bool,
    /// Made under ANSI_PADDING OFF: values lose their trailing blanks or zeros.
    pub unpadded: bool,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    /// `column_id`; 0 in a definition handed to [`Txn::create_table`](super::Txn::create_table)
    /// or newly added by [`Txn::alter_table`](super::Txn::alter_table), which number it.
    pub id: ColumnId,
    /// Name.
    pub name: String,
    /// Type.
    pub ty: SqlType,
    /// Whether NULL may be stored. Checked by whoever executes the statement, not here.
    pub nullable: bool,
    /// IDENTITY, if it is one.
    pub identity: Option<Identity>,
    /// DEFAULT, if any.
    pub default: Option<DefaultDef>,
    /// Computed, if it is.
    pub computed: Option<ComputedDef>,
    /// Collation name of a string column.
    pub collation: Option<String>,
    /// `user_type_id` of the alias type it was declared with.
    pub alias: Option<i32>,
    /// What else it was declared as.
    pub traits: ColumnTraits,
    /// Its data masking function; its meaning is the executor's.
    pub mask: Option<String>,
}

impl ColumnDef {
    /// A plain column.
    pub fn new(name: impl Into<String>, ty: SqlType, nullable: bool) -> ColumnDef {
        ColumnDef {
            id: 0,
            name: name.into(),
            ty,
            nullable,
            identity: None,
            default: None,
            computed: None,
            collation: None,
            alias: None,
            traits: ColumnTraits::default(),
            mask: None,
        }
    }
}

impl ColumnDef {
    /// `user_type_id`
    pub fn user_type_id(&self) -> i32 {
        self.alias.unwrap_or_else(|| self.ty.user_type_id())
    }

    /// How its strings compare.
    pub fn label(&self) -> Label {
        self.collation.as_deref().and_then(Label::named).unwrap_or_default()
    }
}

/// What an index stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// CREATE INDEX. A duplicate in a unique one is error 2601.
    Index,
    /// PRIMARY KEY. A duplicate is error 2627.
    PrimaryKey,
    /// UNIQUE constraint. A duplicate is error 2627.
    UniqueConstraint,
}

/// A key column of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexColumn {
    /// Which column.
    pub column: ColumnId,
    /// DESC. Kept for the catalogue; storage orders every index ascending and scans it either
    /// way.
    pub descending: bool,
}

/// A comparison in the filter of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
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

/// What a filtered index asks of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterTest {
    /// `IS NULL`
    IsNull,
    /// `IS NOT NULL`
    IsNotNull,
    /// A comparison with a constant of the column's type.
    Compare(Comparison, Value),
    /// `IN (…)`
    In(Vec<Value>),
}

impl FilterTest {
    /// Whether a value passes; NULL passes no comparison.
    pub fn passes(&self, value: &Value) -> bool {
        match self {
            FilterTest::IsNull => value.is_null(),
            FilterTest::IsNotNull => !value.is_null(),
            FilterTest::In(values) => {
                !value.is_null() && values.iter().any(|other| value.compare(other).is_eq())
            }
            FilterTest::Compare(..) if value.is_null() => false,
            FilterTest::Compare(comparison, other) => {
                let order = value.compare(other);
                match comparison {
                    Comparison::Equal => order.is_eq(),
                    Comparison::NotEqual => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                }
            }
        }
    }
}

/// One of the conditions of a filtered index, all of which must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterTerm {
    /// Column.
    pub column: ColumnId,
    /// What is asked of it.
    pub test: FilterTest,
}

/// `WHERE` of a filtered index.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterDef {
    /// Its text, as `sys.indexes.filter_definition` has it.
    pub definition: String,
    /// Its conditions.
    pub terms: Vec<FilterTerm>,
}

/// How and where an index, or a table without a clustered one, is kept: for the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// FILLFACTOR.
    pub fill_factor: u8,
    /// PAD_INDEX.
    pub padded: bool,
    /// ALLOW_ROW_LOCKS.
    pub row_locks: bool,
    /// ALLOW_PAGE_LOCKS.
    pub page_locks: bool,
    /// OPTIMIZE_FOR_SEQUENTIAL_KEY.
    pub sequential: bool,
    /// DATA_COMPRESSION: 0 none, 1 row, 2 page.
    pub compression: u8,
    /// `data_space_id` of its filegroup or partition scheme.
    pub space: i32,
    /// The column by whose values it is parted, on a partition scheme.
    pub parted_by: Option<ColumnId>,
}

impl Default for Keeping {
    fn default() -> Self {
        Keeping {
            fill_factor: 0,
            padded: false,
            row_locks: true,
            page_locks: true,
            sequential: false,
            compression: 0,
            space: PRIMARY,
            parted_by: None,
        }
    }
}

/// `data_space_id` of the filegroup PRIMARY.
pub const PRIMARY: i32 = 1;

/// An index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexDef {
    /// `index_id`; 0 in a new definition, numbered on creation.
    pub id: IndexId,
    /// Index or constraint name.
    pub name: String,
    /// What it stands for.
    pub kind: IndexKind,
    /// Whether it is the clustered index.
    pub clustered: bool,
    /// Whether it is unique (constraints always are). SQL Server counts NULL as one value.
    pub unique: bool,
    /// Key columns, in order.
    pub keys: Vec<IndexColumn>,
    /// INCLUDE columns, for the catalogue only.
    pub includes: Vec<ColumnId>,
    /// `object_id` of the constraint, 0 for a plain index or before creation.
    pub constraint_id: ObjectId,
    /// Which rows are in it; all without a filter.
    pub filter: Option<FilterDef>,
    /// ALTER INDEX … DISABLE: neither kept up nor enforced, until it is rebuilt.
    pub disabled: bool,
    /// How it is kept.
    pub keeping: Keeping,
}

impl IndexDef {
    /// Whether every row is in it.
    pub fn is_whole(&self) -> bool {
        self.filter.is_none() && !self.disabled
    }

    /// Whether it makes its key unique over all rows.
    pub fn is_key(&self) -> bool {
        self.unique && self.is_whole()
    }
}

/// A CHECK constraint; its meaning is the executor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckDef {
    /// `object_id`, 0 before creation.
    pub id: ObjectId,
    /// Name.
    pub name: String,
    /// Expression text.
    pub definition: String,
    /// NOCHECK CONSTRAINT.
    pub disabled: bool,
    /// Whether rows may be there that were never checked.
    pub not_trusted: bool,
    /// NOT FOR REPLICATION.
    pub not_for_replication: bool,
}

/// What a foreign key does on DELETE or UPDATE of the referenced row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferentialAction {
    /// NO ACTION
    NoAction,
    /// CASCADE
    Cascade,
    /// SET NULL
    SetNull,
    /// SET DEFAULT
    SetDefault,
}

/// A FOREIGN KEY; enforced by the executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKeyDef {
    /// `object_id`, 0 before creation.
    pub id: ObjectId,
    /// Name.
    pub name: String,
    /// Referencing columns.
    pub columns: Vec<ColumnId>,
    /// Referenced table; 0 before creation is the table itself.
    pub referenced_table: ObjectId,
    /// Referenced columns, in step with `columns`.
    pub referenced_columns: Vec<ColumnId>,
    /// ON DELETE
    pub on_delete: ReferentialAction,
    /// ON UPDATE
    pub on_update: ReferentialAction,
    /// NOCHECK CONSTRAINT.
    pub disabled: bool,
    /// Whether rows may be there that were never checked.
    pub not_trusted: bool,
    /// NOT FOR REPLICATION.
    pub not_for_replication: bool,
}

/// A table; or a view or procedure, which shares names, numbers, locks and rights with tables but
/// is none: [`Txn::tables`](super::Txn::tables) and [`Txn::table`](super::Txn::table) never answer
/// it, [`Txn::objects`](super::Txn::objects) and [`Txn::object`](super::Txn::object) do.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDef {
    /// `object_id`; 0 before creation.
    pub id: ObjectId,
    /// Schema name.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// Columns by ascending id.
    pub columns: Vec<ColumnDef>,
    /// The id the next added column gets.
    pub next_column_id: ColumnId,
    /// Indexes, primary key and unique constraints among them.
    pub indexes: Vec<IndexDef>,
    /// CHECK constraints.
    pub checks: Vec<CheckDef>,
    /// FOREIGN KEY constraints.
    pub foreign_keys: Vec<ForeignKeyDef>,
    /// Server-local creation time.
    pub create_date: Micros,
    /// Server-local time of the last DDL.
    pub modify_date: Micros,
    /// `is_ms_shipped`
    pub ms_shipped: bool,
    /// Change tables of the capture instances that record this table's changes; kept by `cdc`.
    pub captures: Vec<ObjectId>,
    /// What it is if it is no table.
    pub module: Option<ModuleDef>,
    /// How it is kept as a heap.
    pub keeping: Keeping,
    /// TEXTIMAGE_ON: `data_space_id`.
    pub lob_space: i32,
    /// Made under ANSI_NULLS OFF.
    pub ansi_nulls_off: bool,
}

impl TableDef {
    /// A definition for [`Txn::create_table`](super::Txn::create_table).
    pub fn new(
        schema: impl Into<String>,
        name: impl Into<String>,
        columns: Vec<ColumnDef>,
    ) -> TableDef {
        TableDef {
            id: 0,
            schema: schema.into(),
            name: name.into(),
            columns,
            next_column_id: 1,
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            create_date: 0,
            modify_date: 0,
            ms_shipped: false,
            captures: Vec::new(),
            module: None,
            keeping: Keeping::default(),
            lob_space: PRIMARY,
            ansi_nulls_off: false,
        }
    }

    /// Adds an index on the columns named (ascending).
    ///
    /// # Panics
    /// If a column does not exist; for definitions written in code.
    pub fn with_index(
        mut self,
        name: &str,
        kind: IndexKind,
        unique: bool,
        clustered: bool,
        columns: &[&str],
    ) -> TableDef {
        // Columns of a new definition have no id yet; they will be numbered in order.
        for (at, column) in self.columns.iter_mut().enumerate() {
            if column.id == 0 {
                column.id = i32::try_from(at + 1).expect("a table has at most 1024 columns");
            }
        }
        let keys = columns
            .iter()
            .map(|name| IndexColumn {
                column: self
                    .column(name)
                    .expect("index columns exist in definitions written in code")
                    .id,
                descending: false,
            })
            .collect();
        self.indexes.push(IndexDef {
            id: 0,
            name: name.to_owned(),
            kind,
            clustered,
            unique: unique || kind != IndexKind::Index,
            keys,
            includes: Vec::new(),
            constraint_id: 0,
            filter: None,
            disabled: false,
            keeping: Keeping::default(),
        });
        self
    }

    /// Its constraints, which are objects of its schema: `object_id`, name and `type`.
    pub fn constraints(&self) -> impl Iterator<Item = (ObjectId, &str, &'static str)> {
        let keys = self.indexes.iter().filter_map(|index| match index.kind {
            IndexKind::Index => None,
            IndexKind::PrimaryKey => Some((index.constraint_id, index.name.as_str(), "PK")),
            IndexKind::UniqueConstraint => Some((index.constraint_id, index.name.as_str(), "UQ")),
        });
        let defaults = self.columns.iter().filter_map(|column| {
            let default = column.default.as_ref()?;
            Some((default_constraint_id(self.id, column.id), default.name.as_str(), "D"))
        });
        keys.chain(defaults)
            .chain(self.checks.iter().map(|check| (check.id, check.name.as_str(), "C")))
            .chain(self.foreign_keys.iter().map(|key| (key.id, key.name.as_str(), "F")))
    }

    /// Their names.
    pub fn constraint_names(&self) -> impl Iterator<Item = &str> {
        self.constraints().map(|(_, name, _)| name)
    }

    /// Position of the `rowversion` column.
    pub fn row_version(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.ty == SqlType::RowVersion)
    }

    /// Column by name (names are case-insensitive).
    pub fn column(&self, name: &str) -> Option<&ColumnDef> {
        self.columns.iter().find(|column| same_name(&column.name, name))
    }

    /// Position of a column in a row, by name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| same_name(&column.name, name))
    }

    /// Position of a column in a row, by id.
    pub fn position_of(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().position(|column| column.id == id)
    }

    /// The clustered index; `None` for a heap.
    pub fn clustered(&self) -> Option<&IndexDef> {
        self.indexes.iter().find(|index| index.clustered)
    }

    /// The primary key.
    pub fn primary_key(&self) -> Option<&IndexDef> {
        self.indexes.iter().find(|index| index.kind == IndexKind::PrimaryKey)
    }

    /// Index by id.
    pub fn index(&self, id: IndexId) -> Option<&IndexDef> {
        self.indexes.iter().find(|index| index.id == id)
    }

    /// Positions of an index's key columns in a row.
    pub fn key_positions(&self, index: &IndexDef) -> Vec<usize> {
        index.keys.iter().filter_map(|key| self.position_of(key.column)).collect()
    }

    /// `is_tracked_by_cdc`
    pub fn tracked_by_cdc(&self) -> bool {
        !self.captures.is_empty()
    }

    /// What it counts, if it is a sequence.
    pub fn sequence(&self) -> Option<&SequenceDef> {
        self.module.as_ref()?.sequence.as_ref()
    }

    /// Whether it is a view.
    pub fn is_view(&self) -> bool {
        self.module.as_ref().is_some_and(|module| module.kind == ModuleKind::View)
    }

    /// Whether it is an inline function.
    pub fn is_function(&self) -> bool {
        self.module.as_ref().is_some_and(|module| module.kind == ModuleKind::Function)
    }

    /// What it says if it is a security policy.
    pub fn policy(&self) -> Option<&PolicyDef> {
        self.module.as_ref()?.policy.as_ref()
    }

    /// Whether this is its name.
    pub fn is_named(&self, schema: &str, name: &str) -> bool {
        same_name(&self.schema, schema) && same_name(&self.name, name)
    }

    /// Whether it is a session's temporary table. Such tables stand in a schema of the session's,
    /// whose name no other schema can have.
    pub fn is_temporary(&self) -> bool {
        self.schema.starts_with('#')
    }

    /// `schema.name`
    pub fn full_name(&self) -> String {
        let schema = if self.is_temporary() { "dbo" } else { self.schema.as_str() };
        format!("{schema}.{}", self.name)
    }
}

/// `object_id` of a column's DEFAULT constraint, which has none of its own: above every id that
/// is handed out, and unique for a million objects of 1024 columns.
pub fn default_constraint_id(table: ObjectId, column: ColumnId) -> ObjectId {
    (1 << 30) | (((table / 16) & 0xF_FFFF) << 10) | (column & 0x3FF)
}

/// Whether two identifiers are the same under the catalogue's collation.
pub fn same_name(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
        || (!left.is_ascii() && !right.is_ascii() && left.to_lowercase() == right.to_lowercase())
}

/// Error 208.
pub fn invalid_object(name: &str) -> SqlError {
    SqlError::new(208, 16, 1, format!("Invalid object name '{name}'."))
}
