//! Constraints and indexes: syntax to definitions.

use std::sync::Arc;

use super::create::{default_def, generated};
use super::filter::filter_def;
use super::keeping::{keeping, of_table};
use super::own_table;
use crate::SqlError;
use crate::engine::bind::{Binder, Bound, Scope, columns_of, has_subquery, unsupported};
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::{
    ConstraintContent, ConstraintDefinition, ForeignKeyDefinition, IndexDefinition, IndexOptions,
};
use crate::storage::{
    CheckDef, ColumnId, ForeignKeyDef, IndexColumn, IndexDef, IndexKind, Keeping, ObjectId,
    ReferentialAction, TableDef,
};

/// Adds constraints to a definition whose columns are numbered; `checked` says whether the rows
/// there are must fulfil them.
pub fn add_constraints(
    binder: &Binder<'_, '_>,
    table: &mut TableDef,
    constraints: &[&ConstraintDefinition],
    checked: bool,
) -> Result<(), Fault> {
    // A primary key is clustered unless it says otherwise or the table has a clustered index.
    let wants_cluster = |constraint: &&&ConstraintDefinition| match &constraint.content {
        ConstraintContent::Key { clustered, .. } => *clustered == Some(true),
        ConstraintContent::Index(index) => index.clustered,
        _ => false,
    };
    let explicit = constraints.iter().any(|constraint| wants_cluster(&constraint));
    for constraint in constraints {
        let name = constraint.name.clone();
        match &constraint.content {
            ConstraintContent::Index(index) => {
                let name = name.unwrap_or_default();
                add_index(binder, table, &name, index)?;
            }
            ConstraintContent::Key { primary, clustered, columns, options } => {
                if *primary && table.primary_key().is_some() {
                    return Err(SqlError::new(
                        1779,
                        16,
                        0,
                        format!("Table '{}' already has a primary key defined on it.", table.name),
                    )
                    .into());
                }
                let clustered =
                    clustered.unwrap_or(*primary && !explicit && table.clustered().is_none());
                let prefix = if *primary { "PK" } else { "UQ" };
                let name = name.unwrap_or_else(|| generated(prefix, &table.name, None));
                let kind =
                    if *primary { IndexKind::PrimaryKey } else { IndexKind::UniqueConstraint };
                if *primary {
                    require_not_null(table, columns)?;
                }
                let shape = Shape { kind, unique: true, clustered, columns, include: &[] };
                push_index(binder.env, table, name, &shape, options).map_err(of_binding)?;
            }
            ConstraintContent::ForeignKey(written) => {
                let name = name.unwrap_or_else(|| {
                    generated("FK", &table.name, written.columns.first().map(String::as_str))
                });
                let mut foreign = foreign_key(binder.env, table, name, written)?;
                foreign.not_trusted = !checked || written.not_for_replication;
                check_paths(binder.env, table, &foreign)?;
                table.foreign_keys.push(foreign);
            }
            ConstraintContent::Check { text, not_for_replication } => {
                let mut scope = Scope::inside(None);
                scope.add_table(&table.name, columns_of(table));
                binder.condition(&text.value, &scope).map_err(of_binding)?;
                if has_subquery(&text.value) {
                    return Err(SqlError::new(
                        1046,
                        15,
                        1,
                        "Subqueries are not allowed in this context. Only scalar expressions are allowed.",
                    )
                    .into());
                }
                table.checks.push(CheckDef {
                    id: 0,
                    name: name.unwrap_or_else(|| generated("CK", &table.name, None)),
                    definition: text.text.clone(),
                    disabled: false,
                    not_trusted: !checked || *not_for_replication,
                    not_for_replication: *not_for_replication,
                });
            }
            ConstraintContent::Default { column, value } => {
                let at = table.position(column).ok_or_else(|| unknown_column(column))?;
                let ty = table.columns[at].ty.clone();
                if table.columns[at].default.is_some() {
                    return Err(SqlError::new(
                        1781,
                        16,
                        1,
                        "Column already has a DEFAULT bound to it.",
                    )
                    .into());
                }
                let name = name.unwrap_or_else(|| generated("DF", &table.name, Some(column)));
                table.columns[at].default =
                    Some(default_def(binder, name, value, &ty).map_err(of_binding)?);
            }
        }
    }
    Ok(())
}

fn unknown_column(name: &str) -> SqlError {
    SqlError::new(
        1911,
        16,
        1,
        format!("Column name '{name}' does not exist in the target table or view."),
    )
}

/// Columns of a primary key become NOT NULL in a new table, and must be it in an old one.
fn require_not_null(table: &mut TableDef, columns: &[(String, bool)]) -> Result<(), Fault> {
    let is_new = table.id == 0;
    for (name, _) in columns {
        let at = table.position(name).ok_or_else(|| unknown_column(name))?;
        let column = &mut table.columns[at];
        if column.nullable {
            if !is_new {
                return Err(SqlError::new(
                    8111,
                    16,
                    1,
                    format!(
                        "Cannot define PRIMARY KEY constraint on nullable column in table '{}'.",
                        table.name
                    ),
                )
                .into());
            }
            column.nullable = false;
        }
    }
    Ok(())
}

/// What an index is.
pub struct Shape<'a> {
    /// What it stands for.
    pub kind: IndexKind,
    /// UNIQUE.
    pub unique: bool,
    /// CLUSTERED.
    pub clustered: bool,
    /// Key columns and whether descending.
    pub columns: &'a [(String, bool)],
    /// INCLUDE.
    pub include: &'a [String],
}

/// Adds an index as it is written.
pub fn add_index(
    binder: &Binder<'_, '_>,
    table: &mut TableDef,
    name: &str,
    index: &IndexDefinition,
) -> Result<(), Fault> {
    if index.clustered && !index.include.is_empty() {
        return Err(SqlError::new(
            10601,
            16,
            1,
            "Cannot specify included columns for a clustered index.",
        )
        .into());
    }
    let shape = Shape {
        kind: IndexKind::Index,
        unique: index.unique,
        clustered: index.clustered,
        columns: &index.columns,
        include: &index.include,
    };
    push_index(binder.env, table, name.to_owned(), &shape, &index.options).map_err(of_binding)?;
    if let Some(filter) = &index.filter {
        if index.clustered {
            return Err(Fault::Compile(unsupported("WHERE")));
        }
        let filter = filter_def(binder, table, name, filter)?;
        if let Some(last) = table.indexes.last_mut() {
            last.filter = Some(filter);
        }
    }
    Ok(())
}

pub fn push_index(
    env: &Env<'_>,
    table: &mut TableDef,
    name: String,
    shape: &Shape<'_>,
    options: &IndexOptions,
) -> Bound<()> {
    let Shape { kind, unique, clustered, columns, include } = *shape;
    if clustered && table.clustered().is_some() {
        return Err(SqlError::new(
            1902,
            16,
            3,
            format!(
                "Cannot create more than one clustered index on table '{}'.",
                table.full_name()
            ),
        ));
    }
    if table.indexes.iter().any(|index| crate::storage::same_name(&index.name, &name)) {
        return Err(SqlError::new(
            1913,
            16,
            1,
            format!(
                "The operation failed because an index or statistics with name '{name}' already exists on table '{}'.",
                table.full_name()
            ),
        ));
    }
    let mut keys: Vec<IndexColumn> = Vec::new();
    for (column, descending) in columns {
        let known = table.column(column).ok_or_else(|| unknown_column(column))?;
        if known.ty.is_lob() || !known.ty.is_comparable() {
            return Err(SqlError::new(
                1919,
                16,
                1,
                format!(
                    "Column '{column}' in table '{}' is of a type that is invalid for use as a key column in an index.",
                    table.full_name()
                ),
            ));
        }
        if keys.iter().any(|key| key.column == known.id) {
            return Err(SqlError::new(
                1909,
                16,
                1,
                format!(
                    "Cannot use duplicate column names in index. Column name '{column}' listed more than once."
                ),
            ));
        }
        keys.push(IndexColumn { column: known.id, descending: *descending });
    }
    let includes = include
        .iter()
        .map(|name| table.column(name).map(|column| column.id).ok_or_else(|| unknown_column(name)))
        .collect::<Bound<Vec<ColumnId>>>()?;
    let before = if clustered { table.keeping } else { of_table(table) };
    let kept = keeping(env, table, options, Keeping { compression: 0, ..before })?;
    check_parted(table, &name, unique, &keys, &kept)?;
    table.indexes.push(IndexDef {
        id: 0,
        name,
        kind,
        clustered,
        unique,
        keys,
        includes,
        constraint_id: 0,
        filter: None,
        disabled: false,
        keeping: kept,
    });
    Ok(())
}

/// Error 1908: a unique index says of each partition alone what is unique, so that its key must say
/// which one a row is in.
fn check_parted(
    table: &TableDef,
    name: &str,
    unique: bool,
    keys: &[IndexColumn],
    kept: &Keeping,
) -> Bound<()> {
    let Some(column) = kept.parted_by.filter(|_| unique) else {
        return Ok(());
    };
    if keys.iter().any(|key| key.column == column) {
        return Ok(());
    }
    let column = table.columns.iter().find(|known| known.id == column);
    Err(SqlError::new(
        1908,
        16,
        1,
        format!(
            "Column '{}' is partitioning column of the index '{name}'. Partition columns for a unique index must be a subset of the index key.",
            column.map_or("", |column| column.name.as_str())
        ),
    ))
}

fn foreign_key(
    env: &Env<'_>,
    table: &TableDef,
    name: String,
    written: &ForeignKeyDefinition,
) -> Result<ForeignKeyDef, Fault> {
    let (columns, referenced, names) = (&written.columns, &written.table, &written.referenced);
    let ids = |table: &TableDef, names: &[String]| -> Result<Vec<ColumnId>, Fault> {
        let find = |name: &String| {
            table.column(name).map(|column| column.id).ok_or_else(|| {
                SqlError::new(
                    1770,
                    16,
                    0,
                    format!(
                        "Foreign key references invalid column '{name}' in table '{}'.",
                        table.name
                    ),
                )
            })
        };
        names.iter().map(find).collect::<Result<_, SqlError>>().map_err(Fault::from)
    };
    let itself = crate::storage::same_name(&referenced.name, &table.name)
        && crate::storage::same_name(referenced.schema.as_deref().unwrap_or("dbo"), &table.schema);
    let parent: Arc<TableDef> = match itself {
        true => Arc::new(table.clone()),
        false => own_table(env, referenced)?.ok_or_else(|| {
            SqlError::new(
                1767,
                16,
                0,
                format!("Foreign key '{name}' references invalid table '{referenced}'."),
            )
        })?,
    };
    let columns = ids(table, columns)?;
    let referenced_columns = match names.is_empty() {
        true => match parent.primary_key() {
            Some(key) => key.keys.iter().map(|key| key.column).collect(),
            None => {
                return Err(SqlError::new(
                    1773,
                    16,
                    0,
                    format!("Foreign key '{name}' has implicit reference to object '{referenced}' which does not have a primary key defined on it."),
                )
                .into());
            }
        },
        false => ids(&parent, names)?,
    };
    if columns.len() != referenced_columns.len() {
        return Err(SqlError::new(
            8139,
            16,
            0,
            format!("Number of referencing columns in foreign key differs from number of referenced columns, table '{}'.", table.name),
        )
        .into());
    }
    let is_key = parent.indexes.iter().any(|index| {
        index.is_key()
            && index.keys.len() == referenced_columns.len()
            && index.keys.iter().all(|key| referenced_columns.contains(&key.column))
    });
    if !is_key {
        return Err(SqlError::new(
            1776,
            16,
            0,
            format!("There are no primary or candidate keys in the referenced table '{referenced}' that match the referencing column list in the foreign key '{name}'."),
        )
        .into());
    }
    for (own, other) in columns.iter().zip(&referenced_columns) {
        check_pair(&name, (table, *own), (&parent, *other), &referenced.to_string())?;
    }
    for action in [written.on_delete, written.on_update] {
        check_action(table, &name, &columns, action)?;
    }
    Ok(ForeignKeyDef {
        id: 0,
        name,
        columns,
        referenced_table: parent.id,
        referenced_columns,
        on_delete: written.on_delete,
        on_update: written.on_update,
        disabled: false,
        not_trusted: false,
        not_for_replication: written.not_for_replication,
    })
}

/// Errors 1778, 1753 and 1757: columns of a foreign key are of the same type, length, scale and
/// collation as those they refer to.
/// <https://learn.microsoft.com/sql/relational-databases/tables/primary-and-foreign-key-constraints>
fn check_pair(
    name: &str,
    (child, own): (&TableDef, ColumnId),
    (parent, referenced): (&TableDef, ColumnId),
    parent_name: &str,
) -> Result<(), SqlError> {
    let find = |table: &TableDef, id| table.columns.iter().find(|column| column.id == id).cloned();
    let (Some(own), Some(referenced)) = (find(child, own), find(parent, referenced)) else {
        return Ok(());
    };
    let (number, what, rule) = if own.ty.system_type_id() != referenced.ty.system_type_id() {
        (1778, "the same data type", "")
    } else if own.ty != referenced.ty {
        let rule = " Columns participating in a foreign key relationship must be defined with the same length and scale.";
        (1753, "the same length or scale", rule)
    } else if own.ty.is_text() && own.label() != referenced.label() {
        (1757, "of same collation", "")
    } else {
        return Ok(());
    };
    Err(SqlError::new(
        number,
        16,
        0,
        format!(
            "Column '{parent_name}.{}' is not {what} as referencing column '{}.{}' in foreign key '{name}'.{rule}",
            referenced.name, child.name, own.name
        ),
    ))
}

/// Error 1761 or 1762: SET NULL and SET DEFAULT need something to set.
fn check_action(
    table: &TableDef,
    name: &str,
    columns: &[ColumnId],
    action: ReferentialAction,
) -> Result<(), Fault> {
    let fails = |column: &crate::storage::ColumnDef| match action {
        ReferentialAction::SetNull => !column.nullable,
        ReferentialAction::SetDefault => !column.nullable && column.default.is_none(),
        ReferentialAction::NoAction | ReferentialAction::Cascade => false,
    };
    let refused = table.columns.iter().any(|column| columns.contains(&column.id) && fails(column));
    if !refused {
        return Ok(());
    }
    Err(match action {
        ReferentialAction::SetNull => SqlError::new(
            1761,
            16,
            1,
            format!("Cannot create the foreign key \"{name}\" with the SET NULL referential action, because one or more referencing columns are not nullable."),
        ),
        _ => SqlError::new(
            1762,
            16,
            1,
            format!("Cannot create the foreign key \"{name}\" with the SET DEFAULT referential action, because one or more referencing not-nullable columns lack a default constraint."),
        ),
    }
    .into())
}

/// Error 1785: the cascades of one change would come to a table twice. A branch ends where a row is
/// neither deleted nor given another key: behind SET NULL and SET DEFAULT.
/// <https://learn.microsoft.com/sql/relational-databases/tables/primary-and-foreign-key-constraints#cascading-referential-integrity>
fn check_paths(env: &Env<'_>, table: &TableDef, foreign: &ForeignKeyDef) -> Result<(), Fault> {
    type Action = fn(&ForeignKeyDef) -> ReferentialAction;
    let mut tables: Vec<TableDef> =
        env.with_txn(|txn| txn.tables()).iter().map(|known| TableDef::clone(known)).collect();
    let mut own = table.clone();
    own.foreign_keys.push(foreign.clone());
    tables.retain(|known| known.id != own.id);
    tables.push(own);
    let actions: [Action; 2] = [|key| key.on_delete, |key| key.on_update];
    let twice = actions.iter().any(|action| {
        action(foreign) != ReferentialAction::NoAction
            && tables.iter().any(|root| {
                let mut seen = vec![root.id];
                !is_tree(root.id, &tables, *action, &mut seen)
            })
    });
    if !twice {
        return Ok(());
    }
    Err(SqlError::new(
        1785,
        16,
        0,
        format!(
            "Introducing FOREIGN KEY constraint '{}' on table '{}' may cause cycles or multiple cascade paths. Specify ON DELETE NO ACTION or ON UPDATE NO ACTION, or modify other FOREIGN KEY constraints.",
            foreign.name, table.name
        ),
    )
    .into())
}

fn is_tree(
    parent: ObjectId,
    tables: &[TableDef],
    action: fn(&ForeignKeyDef) -> ReferentialAction,
    seen: &mut Vec<ObjectId>,
) -> bool {
    for child in tables {
        let edges = child.foreign_keys.iter().filter(|key| {
            // Before creation 0 stands for the table itself.
            let referenced =
                if key.referenced_table == 0 { child.id } else { key.referenced_table };
            referenced == parent && action(key) != ReferentialAction::NoAction
        });
        for edge in edges {
            if seen.contains(&child.id) {
                return false;
            }
            seen.push(child.id);
            let goes_on = action(edge) == ReferentialAction::Cascade;
            if goes_on && !is_tree(child.id, tables, action, seen) {
                return false;
            }
        }
    }
    true
}
