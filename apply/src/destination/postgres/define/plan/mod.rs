//! What a load makes in the target, and what it does not: pure.
//!
//! A table comes with its columns, their exact types, `NOT NULL`, its key, and the computed columns
//! that translate. Everything else comes after the load, because a target that still converges passes
//! through states that the source never had: two rows with one unique value, a child without its
//! parent. An object of the source that is not made, or not quite as it was, says why.

mod constraint;
mod index;
mod name;
mod table;

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use lockstep_common::model::definition::Definition;
use lockstep_common::model::name::quote_postgres;
use lockstep_common::{TableName, TableVersion};

use super::super::plan::{Naming, OutputColumn, TablePlan, TargetName};
use super::super::types::PgType;
use super::expression::Scope;

pub(crate) use index::{MOST_ENTRY_BYTES, bytes_of, contested};
pub(crate) use name::{fit, other_index_name};
pub(crate) use table::{create_schema, create_schema_plainly, create_table};

/// What is known of the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// `server_version_num` / 10000.
    pub(crate) version: u32,
    /// Foreign keys do not fire for what apply writes.
    pub(crate) replica: bool,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Computed,
    Index,
    Unique,
    Default,
    Identity,
    Check,
    ForeignKey,
    /// Something that this version has no place for.
    Other,
}

impl Kind {
    /// As in `lockstep.load_object`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Computed => "computed",
            Kind::Index => "index",
            Kind::Unique => "unique",
            Kind::Default => "default",
            Kind::Identity => "identity",
            Kind::Check => "check",
            Kind::ForeignKey => "foreign_key",
            Kind::Other => "other",
        }
    }

    /// Reads [`Kind::as_str`].
    pub(crate) fn parse(text: &str) -> Option<Kind> {
        [
            Kind::Computed,
            Kind::Index,
            Kind::Unique,
            Kind::Default,
            Kind::Identity,
            Kind::Check,
            Kind::ForeignKey,
            Kind::Other,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// In words.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Computed => "computed column",
            Kind::Index => "index",
            Kind::Unique => "unique constraint",
            Kind::Default => "default of column",
            Kind::Identity => "identity of column",
            Kind::Check => "check",
            Kind::ForeignKey => "foreign key",
            Kind::Other => "object",
        })
    }
}

/// An object of a source table that does not come with the target table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// The source table, as `schema.table`.
    pub(crate) source: String,
    pub(crate) kind: Kind,
    /// Its name in the source; of a column where it belongs to one.
    pub(crate) object: String,
    /// The target table.
    pub(crate) table: TargetName,
    /// Its name in the target; of a column where it belongs to one.
    pub(crate) name: String,
    pub(crate) fate: Fate,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is made, by one statement after the other.
    Make {
        action: Action,
        /// In what it differs.
        note: Option<String>,
    },
    /// It is not, because.
    LeaveOut(String),
}

/// How an object is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// An index.
    Index {
        unique: bool,
        /// What follows `ON` and the table.
        what: String,
        /// It becomes a unique constraint.
        constraint: bool,
    },
    /// A constraint, added without a look at the rows.
    Constraint {
        what: String,
        /// The rows are held against it afterwards.
        validate: bool,
    },
    /// A change of a column.
    Column(String),
}

impl Action {
    /// What makes it, in order; each statement is a transaction of its own.
    pub(crate) fn statements(&self, table: &TargetName, name: &str) -> Vec<String> {
        let (table, name) = (table.quoted(), quote_postgres(name));
        match self {
            Action::Index { unique, what, constraint } => {
                let unique = if *unique { "UNIQUE " } else { "" };
                let mut statements =
                    vec![format!("CREATE {unique}INDEX CONCURRENTLY {name} ON {table} {what}")];
                if *constraint {
                    statements.push(format!(
                        "ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"
                    ));
                }
                statements
            }
            Action::Constraint { what, validate } => {
                let mut statements =
                    vec![format!("ALTER TABLE {table} ADD CONSTRAINT {name} {what} NOT VALID")];
                if *validate {
                    statements.push(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"));
                }
                statements
            }
            Action::Column(what) => {
                vec![format!("ALTER TABLE {table} ALTER COLUMN {name} {what}")]
            }
        }
    }
}

/// A table and what it has beside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) version: &'a TableVersion,
    pub(crate) definition: Option<&'a Definition>,
}

impl Planned<'_> {
    /// The table as it is to be made.
    pub(crate) fn plan(&self, naming: &Naming) -> TablePlan {
        TablePlan::new(naming, self.version, self.definition)
    }
}

/// Plans everything that comes after the load of `tables`, in the order in which it is to be made.
/// `others` are source tables, as `schema.table`, that are in the target already.
pub(crate) fn plan(
    naming: &Naming,
    server: Server,
    tables: &[Planned<'_>],
    others: &BTreeSet<String>,
) -> Vec<Object> {
    let (mut taken, _) = names(naming, tables);
    let loaded: HashSet<String> = tables.iter().map(|t| t.version.name.to_string()).collect();
    let is_there = |name: &TableName| {
        let name = name.to_string();
        loaded.contains(&name) || others.contains(&name)
    };
    let mut objects = Vec::new();
    for table in tables {
        let Some(definition) = table.definition else {
            objects.push(undefined(naming, table.version));
            continue;
        };
        let context = Context::new(naming, server, table.version, definition);
        objects.extend(table::computed(&context));
        objects.extend(index::indexes(&context, &mut taken));
        objects.extend(constraint::defaults(&context));
        objects.extend(constraint::identities(&context));
        objects.extend(constraint::checks(&context));
        objects.extend(constraint::foreign_keys(&context, &is_there, tables));
        objects.extend(definition.others.iter().map(|other| {
            let reason = format!("{} has no place in PostgreSQL", other.kind);
            context.object(Kind::Other, &other.name, &other.name, Fate::LeaveOut(reason))
        }));
    }
    // Kinds in their order, so that a foreign key finds the unique index it points to.
    objects.sort_by_key(|object| object.kind);
    objects
}

/// What the keys of tables are called where PostgreSQL's own choice, `<table>_pkey`, is the name of
/// another of the tables.
pub(crate) fn key_names(naming: &Naming, tables: &[Planned<'_>]) -> Vec<Option<String>> {
    names(naming, tables).1
}

/// The names that tables and their keys take.
fn names(naming: &Naming, tables: &[Planned<'_>]) -> (name::Taken, Vec<Option<String>>) {
    let mut taken = name::Taken::default();
    let targets: Vec<TargetName> =
        tables.iter().map(|table| naming.table(&table.version.name)).collect();
    for target in &targets {
        taken.table(&target.schema, &target.table);
    }
    let mut keys = Vec::with_capacity(targets.len());
    for target in &targets {
        let usual = table::key_name(target);
        let name = taken.index(&target.schema, &target.table, &usual);
        keys.push((name != usual).then_some(name));
    }
    (taken, keys)
}

fn undefined(naming: &Naming, version: &TableVersion) -> Object {
    Object {
        source: version.name.to_string(),
        kind: Kind::Other,
        object: "definition".to_owned(),
        table: naming.table(&version.name),
        name: String::new(),
        fate: Fate::LeaveOut(
            "the log does not say what the table has beside columns and key".to_owned(),
        ),
    }
}

/// One table while it is planned.
struct Context<'a> {
    naming: &'a Naming,
    server: Server,
    version: &'a TableVersion,
    definition: &'a Definition,
    scope: Scope<'a>,
    table: TablePlan,
}

impl<'a> Context<'a> {
    fn new(
        naming: &'a Naming,
        server: Server,
        version: &'a TableVersion,
        definition: &'a Definition,
    ) -> Self {
        let scope = table::scope(naming, version, definition);
        let table = TablePlan::new(naming, version, Some(definition));
        Context { naming, server, version, definition, scope, table }
    }

    fn object(&self, kind: Kind, object: &str, name: &str, fate: Fate) -> Object {
        Object {
            source: self.version.name.to_string(),
            kind,
            object: object.to_owned(),
            table: self.table.target.clone(),
            name: name.to_owned(),
            fate,
        }
    }

    /// A column that the target has, quoted.
    ///
    /// # Errors
    /// Why the target has it not.
    fn column(&self, name: &str) -> Result<String, String> {
        self.scope.column(name).map(|(quoted, _)| quoted)
    }

    /// Whether a column is text in the target.
    fn is_text(&self, column: &str) -> bool {
        self.output(column).is_some_and(|column| column.ty.clone().is_ok_and(PgType::is_text))
    }

    /// Whether the target holds texts of a column equal as the source does.
    fn collates(&self, column: &str) -> bool {
        self.output(column).is_some_and(|column| column.folds)
    }

    fn output(&self, column: &str) -> Option<&OutputColumn> {
        self.table.column(column)
    }

    fn columns<'n>(
        &self,
        names: impl IntoIterator<Item = &'n String>,
    ) -> Result<Vec<String>, String> {
        names.into_iter().map(|name| self.column(name)).collect()
    }
}
