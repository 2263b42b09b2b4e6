//! CREATE TABLE and CREATE INDEX: syntax to definitions.

use std::sync::Arc;

use super::{may_define, not_found_or_allowed, own_table};
use crate::engine::bind::{
    Binder, Bound, Scope, columns_of, has_subquery, is_volatile, types, unsupported,
};
use crate::engine::collation;
use crate::engine::convert;
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::{
    ColumnContent, ColumnDefinition, ConstraintContent, ConstraintDefinition, ObjectName,
    SourceText,
};
use crate::storage::{
    CheckDef, ColumnDef, ColumnId, ComputedDef, DefaultDef, ForeignKeyDef, Identity, IndexColumn,
    IndexDef, IndexKind, ReferentialAction, TableDef,
};
use crate::{SqlError, SqlType};

/// A CREATE INDEX.
pub struct NewIndex<'a> {
    /// Name.
    pub name: &'a str,
    /// UNIQUE.
    pub unique: bool,
    /// CLUSTERED.
    pub clustered: bool,
    /// Key columns.
    pub columns: &'a [(String, bool)],
    /// INCLUDE.
    pub include: &'a [String],
}

/// Eight hexadecimal digits for generated names.
fn tag() -> String {
    format!("{:08X}", rand::random::<u32>())
}

fn generated(prefix: &str, table: &str, column: Option<&str>) -> String {
    let part = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    match column {
        Some(column) => format!("{prefix}__{}__{}__{}", part(table, 9), part(column, 5), tag()),
        None => format!("{prefix}__{}__{}{}", part(table, 8), tag(), tag()),
    }
}

/// CREATE TABLE.
pub fn create_table(
    binder: &Binder<'_, '_>,
    name: &ObjectName,
    columns: &[ColumnDefinition],
    constraints: &[ConstraintDefinition],
) -> Result<(), Fault> {
    let env = binder.env;
    if own_table(env, name)?.is_some() {
        return Err(SqlError::new(
            2714,
            16,
            6,
            format!("There is already an object named '{}' in the database.", name.name),
        )
        .into());
    }
    let schema = name.schema.as_deref().unwrap_or("dbo");
    let mut table = TableDef::new(schema, &name.name, Vec::new());
    add_columns(binder, &mut table, columns).map_err(of_binding)?;
    // Constraints name columns by id; a new table's are numbered in order.
    for (at, column) in table.columns.iter_mut().enumerate() {
        column.id = i32::try_from(at + 1).map_err(|_| crate::engine::expr::internal("columns"))?;
    }
    let all: Vec<&ConstraintDefinition> =
        columns.iter().flat_map(|column| &column.constraints).chain(constraints).collect();
    add_constraints(binder, &mut table, &all)?;
    if table.columns.iter().all(|column| column.computed.is_some()) {
        return Err(SqlError::new(
            1734,
            16,
            1,
            format!(
                "Cannot create the table '{}' because it has no column that is not computed.",
                name.name
            ),
        )
        .into());
    }
    env.with_txn(|txn| txn.create_table(table))?;
    Ok(())
}

/// Adds columns to a definition.
///
/// # Errors
/// Names and types.
pub fn add_columns(
    binder: &Binder<'_, '_>,
    table: &mut TableDef,
    columns: &[ColumnDefinition],
) -> Bound<()> {
    // Computed columns may use any stored one, wherever it stands.
    let mut known = table.clone();
    let mut made: Vec<Option<ColumnDef>> = Vec::new();
    for definition in columns {
        let twice = columns
            .iter()
            .filter(|other| crate::storage::same_name(&other.name, &definition.name))
            .count()
            > 1;
        if twice || table.column(&definition.name).is_some() {
            return Err(SqlError::new(
                2705,
                16,
                3,
                format!(
                    "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than once.",
                    definition.name, table.name
                ),
            ));
        }
        made.push(match &definition.content {
            ColumnContent::Stored { ty, .. } => {
                let column = stored(binder, &known, definition, ty)?;
                known.columns.push(column.clone());
                Some(column)
            }
            ColumnContent::Computed { .. } => None,
        });
    }
    for (definition, made) in columns.iter().zip(made) {
        let column = match (made, &definition.content) {
            (Some(column), _) => column,
            (None, ColumnContent::Computed { text, persisted }) => {
                computed(binder, &known, definition, text, *persisted)?
            }
            (None, ColumnContent::Stored { ty, .. }) => stored(binder, table, definition, ty)?,
        };
        table.columns.push(column);
    }
    Ok(())
}

fn stored(
    binder: &Binder<'_, '_>,
    table: &TableDef,
    definition: &ColumnDefinition,
    ty: &SqlType,
) -> Bound<ColumnDef> {
    let key_part = definition.constraints.iter().any(|constraint| {
        matches!(constraint.content, ConstraintContent::Key { primary: true, .. })
    });
    let nullable = match (definition.nullable, definition.identity) {
        (Some(true), Some(_)) => {
            return Err(SqlError::new(
                8147,
                16,
                1,
                format!(
                    "Could not create IDENTITY attribute on nullable column '{}', table '{}'.",
                    definition.name, table.name
                ),
            ));
        }
        (Some(nullable), _) => nullable && !key_part,
        (None, Some(_)) => false,
        (None, None) => !key_part,
    };
    let mut column = ColumnDef::new(&definition.name, ty.clone(), nullable);
    column.collation = ty.is_text().then(|| collation::NAME.to_owned());
    if let Some((seed, increment)) = definition.identity {
        let whole =
            matches!(ty, SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt)
                || matches!(ty, SqlType::Decimal { scale: 0, .. });
        if !whole {
            return Err(SqlError::new(
                2749,
                16,
                2,
                format!(
                    "Identity column '{}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a scale of 0, unencrypted, and constrained to be nonnullable.",
                    definition.name
                ),
            ));
        }
        if table.columns.iter().any(|known| known.identity.is_some()) {
            return Err(SqlError::new(
                2744,
                16,
                2,
                format!(
                    "Multiple identity columns specified for table '{}'. Only one identity column per table is allowed.",
                    table.name
                ),
            ));
        }
        column.identity = Some(Identity { seed, increment });
    }
    if let Some(default) = &definition.default {
        if definition.identity.is_some() {
            return Err(SqlError::new(
                1754,
                16,
                0,
                format!(
                    "Defaults cannot be created on columns with an IDENTITY attribute. Table '{}', column '{}'.",
                    table.name, definition.name
                ),
            ));
        }
        let name = default
            .name
            .clone()
            .unwrap_or_else(|| generated("DF", &table.name, Some(&definition.name)));
        column.default = Some(default_def(binder, name, &default.value, ty)?);
    }
    Ok(column)
}

fn default_def(
    binder: &Binder<'_, '_>,
    name: String,
    value: &SourceText,
    ty: &SqlType,
) -> Bound<DefaultDef> {
    let bound = binder.scalar(&value.value, &Scope::inside(None))?;
    if let Some(from) = &bound.ty
        && !convert::implicit_allowed(from, ty)
    {
        return Err(types::not_implicit(from, ty));
    }
    Ok(DefaultDef { name, definition: value.text.clone() })
}

fn computed(
    binder: &Binder<'_, '_>,
    table: &TableDef,
    definition: &ColumnDefinition,
    text: &SourceText,
    persisted: bool,
) -> Bound<ColumnDef> {
    if definition.identity.is_some() || definition.default.is_some() {
        return Err(unsupported("property of a computed column"));
    }
    if is_volatile(&text.value) {
        return Err(unsupported("computed column that is not deterministic"));
    }
    let mut scope = Scope::inside(None);
    scope.add_table(&table.name, columns_of(table));
    let value = binder.scalar(&text.value, &scope)?;
    let ty = value.type_or_int();
    let nullable = match definition.nullable {
        Some(false) if persisted => false,
        Some(_) => return Err(unsupported("NULL on a computed column")),
        None => value.nullable,
    };
    let mut column = ColumnDef::new(&definition.name, ty.clone(), nullable);
    column.collation = ty.is_text().then(|| collation::NAME.to_owned());
    column.computed = Some(ComputedDef { definition: text.text.clone(), persisted });
    Ok(column)
}

/// Adds constraints to a definition whose columns are numbered.
pub fn add_constraints(
    binder: &Binder<'_, '_>,
    table: &mut TableDef,
    constraints: &[&ConstraintDefinition],
) -> Result<(), Fault> {
    // A primary key is clustered unless it says otherwise or the table has a clustered index.
    let wants_cluster = |constraint: &&&ConstraintDefinition| {
        matches!(constraint.content, ConstraintContent::Key { clustered: Some(true), .. })
    };
    let explicit = constraints.iter().any(|constraint| wants_cluster(&constraint));
    for constraint in constraints {
        let name = constraint.name.clone();
        match &constraint.content {
            ConstraintContent::Key { primary, clustered, columns } => {
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
                push_index(table, name, kind, true, clustered, columns, &[]).map_err(of_binding)?;
            }
            ConstraintContent::ForeignKey { columns, table: referenced, referenced: names } => {
                let name = name.unwrap_or_else(|| {
                    generated("FK", &table.name, columns.first().map(String::as_str))
                });
                let foreign = foreign_key(binder.env, table, name, columns, referenced, names)?;
                table.foreign_keys.push(foreign);
            }
            ConstraintContent::Check(text) => {
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

fn push_index(
    table: &mut TableDef,
    name: String,
    kind: IndexKind,
    unique: bool,
    clustered: bool,
    columns: &[(String, bool)],
    include: &[String],
) -> Bound<()> {
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
        if known.ty.is_max() {
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
    table.indexes.push(IndexDef {
        id: 0,
        name,
        kind,
        clustered,
        unique,
        keys,
        includes,
        constraint_id: 0,
    });
    Ok(())
}

fn foreign_key(
    env: &Env<'_>,
    table: &TableDef,
    name: String,
    columns: &[String],
    referenced: &ObjectName,
    names: &[String],
) -> Result<ForeignKeyDef, Fault> {
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
    if itself && table.id == 0 {
        return Err(Fault::Compile(unsupported("foreign key to the table being created")));
    }
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
        index.unique
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
    Ok(ForeignKeyDef {
        id: 0,
        name,
        columns,
        referenced_table: parent.id,
        referenced_columns,
        on_delete: ReferentialAction::NoAction,
        on_update: ReferentialAction::NoAction,
        disabled: false,
    })
}

/// CREATE INDEX.
pub fn create_index(
    env: &Env<'_>,
    name: &ObjectName,
    index: &NewIndex<'_>,
    text: &str,
) -> Result<(), Fault> {
    let table = own_table(env, name)?.ok_or_else(|| not_found_or_allowed(&name.to_string()))?;
    may_define(env, "ALTER ANY SCHEMA").map_err(|_| not_found_or_allowed(&name.to_string()))?;
    let mut new = TableDef::clone(&table);
    push_index(
        &mut new,
        index.name.to_owned(),
        IndexKind::Index,
        index.unique,
        index.clustered,
        index.columns,
        index.include,
    )
    .map_err(of_binding)?;
    env.with_txn(|txn| txn.alter_table(new, text, None))?;
    Ok(())
}
