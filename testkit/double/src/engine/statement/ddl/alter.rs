//! ALTER TABLE.

use std::borrow::Cow;
use std::sync::Arc;

use super::constraint::add_constraints;
use super::create::{
    add_columns, check_row_guid, check_sparse, column_collation, database_collation, mask_for,
};
use super::keeping::{keeping, settle};
use super::own_table;
use super::types::declared;
use crate::engine::bind::{Binder, unsupported};
use crate::engine::collation::Label;
use crate::engine::convert;
use crate::engine::env::Env;
use crate::engine::expr::{Frame, Typed};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::references;
use crate::engine::syntax::ast::{
    AlterTable, ColumnDefinition, ConstraintDefinition, Enabling, ObjectName,
};
use crate::engine::write::{RowRules, Verb, default_of};
use crate::storage::{ColumnDef, ColumnTraits, Direction, IndexKind, KeyRange, Row, TableDef};
use crate::{SqlError, SqlType, Value};

/// ALTER TABLE.
pub fn alter_table(
    binder: &Binder<'_, '_>,
    name: &ObjectName,
    action: &AlterTable,
    text: &str,
) -> Result<(), Fault> {
    let env = binder.env;
    let missing = || {
        SqlError::new(
            4902,
            16,
            1,
            format!(
                "Cannot find the object \"{name}\" because it does not exist or you do not have permissions."
            ),
        )
    };
    let table = own_table(env, name)?.ok_or_else(missing)?;
    if !env.status.rights.may_define() && !env.status.rights.has_object_permission("ALTER", &table)
    {
        return Err(missing().into());
    }
    match action {
        AlterTable::Add { columns, constraints, checked } => {
            let added = Added { columns, constraints, checked: *checked };
            add(binder, &table, &added, text)
        }
        AlterTable::Constraints { names, enable } => {
            enable_constraints(binder, &table, names.as_deref(), *enable, text)
        }
        AlterTable::Switch { target } => super::switch::switch(env, &table, target),
        AlterTable::Mask { name, function } => {
            super::masking::alter_mask(env, &table, name, function.as_deref(), text)
        }
        AlterTable::AlterColumn { name, ty, user_type, nullable, collation, mask } => {
            let declared = declared(env, ty, user_type.as_ref()).map_err(of_binding)?;
            let altered = Altered {
                name,
                ty: &declared.ty,
                alias: declared.alias,
                nullable: nullable.or(declared.nullable),
                collation: *collation,
                mask: mask.as_deref(),
            };
            alter_column(env, &table, &altered, text)
        }
        AlterTable::AlterTrait { name, which, on } => {
            alter_trait(env, &table, name, (*which, *on), text)
        }
        AlterTable::Rebuild(options) => {
            let mut new = TableDef::clone(&table);
            let kept = match new.indexes.iter_mut().find(|index| index.clustered) {
                Some(clustered) => &mut clustered.keeping,
                None => &mut new.keeping,
            };
            *kept = keeping(env, &table, options, *kept)?;
            env.with_txn(|txn| txn.alter_table(new, text, None))?;
            Ok(())
        }
        AlterTable::DropColumns { names, if_exists } => {
            drop_columns(env, &table, names, *if_exists, text)
        }
        AlterTable::DropConstraints { names, if_exists } => {
            drop_constraints(env, &table, names, *if_exists, text)
        }
    }
}

fn has_rows(env: &Env<'_>, table: &TableDef) -> Result<bool, SqlError> {
    let view = env.with_txn(|txn| txn.statement_view())?;
    let mut scan = view.scan(table.id, None, KeyRange::all(), Direction::Forward)?;
    scan.next().transpose().map(|row| row.is_some())
}

/// What an ADD adds.
struct Added<'a> {
    columns: &'a [ColumnDefinition],
    constraints: &'a [ConstraintDefinition],
    /// Whether the rows there are must fulfil the constraints.
    checked: bool,
}

fn add(
    binder: &Binder<'_, '_>,
    table: &Arc<TableDef>,
    parts: &Added<'_>,
    text: &str,
) -> Result<(), Fault> {
    let Added { columns, constraints, checked } = *parts;
    let env = binder.env;
    let mut new = TableDef::clone(table);
    add_columns(binder, &mut new, columns).map_err(of_binding)?;
    let added: Vec<usize> = (table.columns.len()..new.columns.len()).collect();
    // Keys over new columns need their numbers, which storage gives in this order.
    for (offset, at) in added.iter().enumerate() {
        let offset = i32::try_from(offset).map_err(|_| crate::engine::expr::internal("columns"))?;
        new.columns[*at].id = table.next_column_id + offset;
    }
    let all: Vec<&ConstraintDefinition> =
        columns.iter().flat_map(|column| &column.constraints).chain(constraints).collect();
    add_constraints(binder, &mut new, &all, checked)?;
    let filled = has_rows(env, table)?;
    let mut values: Vec<Option<Typed>> = Vec::new();
    for at in &added {
        let column = &new.columns[*at];
        if column.identity.is_some() && filled {
            return Err(Fault::Compile(unsupported("IDENTITY column for existing rows")));
        }
        // Existing rows take the default where the column is NOT NULL or they are told to.
        let told = columns
            .iter()
            .filter(|own| crate::storage::same_name(&own.name, &column.name))
            .any(|own| own.default.as_ref().is_some_and(|default| default.for_rows));
        let takes_default = (!column.nullable || told)
            && column.computed.is_none()
            && column.identity.is_none()
            && column.ty != SqlType::RowVersion;
        if takes_default && column.default.is_none() && filled {
            return Err(SqlError::new(
                4901,
                16,
                1,
                format!(
                    "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified, or the column being added is an identity or timestamp column, or alternatively if none of the previous conditions are satisfied the table must be empty to allow addition of this column. Column '{}' cannot be added to non-empty table '{}' because it does not satisfy these conditions.",
                    column.name, table.name
                ),
            )
            .into());
        }
        values.push(match takes_default {
            true => Some(default_of(binder, &new, *at).map_err(of_binding)?),
            false => None,
        });
    }
    // Only what is new is checked: what was there before need not be trusted.
    let mut fresh = new.clone();
    fresh.checks.drain(..table.checks.len());
    fresh.checks.retain(|check| !check.not_trusted);
    let rules = RowRules::new(binder, &Arc::new(fresh)).map_err(of_binding)?;
    let mut rewrite = |row: &Row| -> Result<Row, SqlError> {
        let mut content = row.to_vec();
        for (at, value) in added.iter().zip(&values) {
            content.push(match value {
                Some(typed) => {
                    let value = typed.node.eval(&Frame::empty(), env).map(Cow::into_owned)?;
                    rules.assign(*at, value, &typed.type_or_int())?
                }
                None => Value::Null,
            });
        }
        rules.complete(content, Verb::Alter, env)
    };
    let new_table = if added.is_empty() {
        check_existing(env, table, &rules)?;
        env.with_txn(|txn| txn.alter_table(new, text, None))?
    } else {
        env.with_txn(|txn| txn.alter_table(new, text, Some(&mut rewrite)))?
    };
    let mut fresh = TableDef::clone(&new_table);
    fresh.foreign_keys.drain(..table.foreign_keys.len());
    fresh.foreign_keys.retain(|key| !key.not_trusted);
    if !fresh.foreign_keys.is_empty() {
        check_references(env, &Arc::new(fresh))?;
    }
    Ok(())
}

/// CHECK CONSTRAINT and NOCHECK CONSTRAINT.
fn enable_constraints(
    binder: &Binder<'_, '_>,
    table: &Arc<TableDef>,
    names: Option<&[String]>,
    enable: Enabling,
    text: &str,
) -> Result<(), Fault> {
    let env = binder.env;
    let mut new = TableDef::clone(table);
    let mut missing: Vec<&String> = names.unwrap_or_default().iter().collect();
    let (mut checks, mut keys) = (Vec::new(), Vec::new());
    let mut meant = |name: &str| {
        let before = missing.len();
        missing.retain(|wanted| !crate::storage::same_name(wanted, name));
        names.is_none() || missing.len() < before
    };
    for check in &mut new.checks {
        if meant(&check.name) {
            set_enabled(
                (&mut check.disabled, &mut check.not_trusted),
                check.not_for_replication,
                enable,
            );
            checks.push(check.clone());
        }
    }
    for key in &mut new.foreign_keys {
        if meant(&key.name) {
            set_enabled((&mut key.disabled, &mut key.not_trusted), key.not_for_replication, enable);
            keys.push(key.clone());
        }
    }
    if let Some(name) = missing.first() {
        return Err(
            SqlError::new(4917, 16, 0, format!("Constraint '{name}' does not exist.")).into()
        );
    }
    if enable == (Enabling::On { checked: true }) {
        let checked = Arc::new(TableDef { checks, foreign_keys: keys, ..new.clone() });
        let rules = RowRules::new(binder, &checked).map_err(of_binding)?;
        check_existing(env, table, &rules)?;
        env.with_txn(|txn| txn.alter_table(new, text, None))?;
        return check_references(env, &checked);
    }
    env.with_txn(|txn| txn.alter_table(new, text, None))?;
    Ok(())
}

/// A constraint that is off is not trusted, and one that is only on again is not either.
fn set_enabled(
    (disabled, not_trusted): (&mut bool, &mut bool),
    not_for_replication: bool,
    enable: Enabling,
) {
    match enable {
        Enabling::Off => (*disabled, *not_trusted) = (true, true),
        Enabling::On { checked } => {
            *disabled = false;
            if checked {
                *not_trusted = not_for_replication;
            }
        }
    }
}

/// New checks hold for the rows there are.
fn check_existing(env: &Env<'_>, table: &TableDef, rules: &RowRules) -> Result<(), Fault> {
    let view = env.with_txn(|txn| txn.statement_view())?;
    for row in view.scan(table.id, None, KeyRange::all(), Direction::Forward)? {
        env.check_interrupt()?;
        let (_, row) = row?;
        rules.complete(row.to_vec(), Verb::Alter, env)?;
    }
    Ok(())
}

fn check_references(env: &Env<'_>, table: &Arc<TableDef>) -> Result<(), Fault> {
    let view = env.with_txn(|txn| txn.statement_view())?;
    let mut rows = Vec::new();
    for row in view.scan(table.id, None, KeyRange::all(), Direction::Forward)? {
        rows.push((None, row?.1));
    }
    references::check_referenced(env, table, &rows, Verb::Alter)?;
    Ok(())
}

/// What ALTER COLUMN makes of a column.
struct Altered<'a> {
    name: &'a str,
    ty: &'a SqlType,
    alias: Option<i32>,
    nullable: Option<bool>,
    collation: Option<Label>,
    mask: Option<&'a str>,
}

fn alter_column(
    env: &Env<'_>,
    table: &Arc<TableDef>,
    altered: &Altered<'_>,
    text: &str,
) -> Result<(), Fault> {
    let Altered { name, ty, alias, nullable, collation, mask } = *altered;
    let at = position(table, name)?;
    let column = &table.columns[at];
    if column.ty == SqlType::RowVersion {
        return Err(SqlError::new(
            4928,
            16,
            1,
            format!("Cannot alter column '{name}' because it is 'timestamp'."),
        )
        .into());
    }
    if *ty == SqlType::RowVersion {
        return Err(SqlError::new(
            4927,
            16,
            1,
            format!("Cannot alter column '{name}' to be data type timestamp."),
        )
        .into());
    }
    if column.computed.is_some() {
        return Err(SqlError::new(
            4928,
            16,
            1,
            format!("Cannot alter column '{name}' because it is 'COMPUTED'."),
        )
        .into());
    }
    if column.traits.unpadded {
        return Err(Fault::Compile(unsupported("ALTER COLUMN of one made under ANSI_PADDING OFF")));
    }
    if column.identity.is_some()
        && !matches!(ty, SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt)
    {
        return Err(Fault::Compile(unsupported("ALTER COLUMN of an identity column")));
    }
    let mut changed = ColumnDef::new(name, ty.clone(), true);
    let own = collation.or_else(|| database_collation(env, table, &changed));
    changed.collation = column_collation(&changed, own)?;
    let label = changed.label();
    let used = dependents(table, at, ty != &column.ty || label != column.label());
    if let Some(object) = used {
        return Err(SqlError::new(
            5074,
            16,
            1,
            format!("The object '{object}' is dependent on column '{name}'."),
        )
        .into());
    }
    // Without NULL or NOT NULL the column becomes nullable, as ANSI_NULL_DFLT_ON says.
    let nullable = nullable.unwrap_or(true);
    if nullable
        && table.primary_key().is_some_and(|key| key.keys.iter().any(|k| k.column == column.id))
    {
        return Err(SqlError::new(
            4922,
            16,
            9,
            format!("ALTER TABLE ALTER COLUMN {name} failed because one or more objects access this column."),
        )
        .into());
    }
    let from = column.ty.clone();
    if !convert::explicit_allowed(&from, ty) || !convert::implicit_allowed(&from, ty) {
        return Err(crate::engine::bind::types::not_implicit(&from, ty).into());
    }
    let mut new = TableDef::clone(table);
    new.columns[at].ty = ty.clone();
    new.columns[at].alias = alias;
    new.columns[at].nullable = nullable;
    new.columns[at].collation = changed.collation;
    if let Some(function) = mask {
        new.columns[at].mask = Some(mask_for(&new.columns[at], function).map_err(of_binding)?);
    }
    let full = format!("{}.{}", env.status.database.name(), table.full_name());
    let mut rewrite = |row: &Row| -> Result<Row, SqlError> {
        let mut content = row.to_vec();
        let value = std::mem::replace(&mut content[at], Value::Null);
        if value.is_null() && !nullable {
            return Err(SqlError::new(
                515,
                16,
                2,
                format!(
                    "Cannot insert the value NULL into column '{name}', table '{full}'; column does not allow nulls. UPDATE fails."
                ),
            ));
        }
        content[at] = convert::assign(value, &from, ty, label, || (full.clone(), name.to_owned()))?
            .labelled(label);
        Ok(content.into())
    };
    env.with_txn(|txn| txn.alter_table(new, text, Some(&mut rewrite)))?;
    Ok(())
}

/// ADD or DROP of what else a column is.
fn alter_trait(
    env: &Env<'_>,
    table: &Arc<TableDef>,
    name: &str,
    (which, on): (ColumnTraits, bool),
    text: &str,
) -> Result<(), Fault> {
    let at = position(table, name)?;
    let mut new = TableDef::clone(table);
    let column = &mut new.columns[at];
    if which.row_guid {
        column.traits.row_guid = on;
        if on {
            check_row_guid(table, column)?;
        }
    } else if which.sparse {
        column.traits.sparse = on;
        let plain = column.identity.is_none() && column.default.is_none();
        if on {
            check_sparse(column, plain && !column.traits.row_guid && column.computed.is_none())?;
        }
    } else if column.identity.is_some() {
        column.traits.not_for_replication = on;
    } else {
        return Err(Fault::Compile(unsupported("NOT FOR REPLICATION")));
    }
    env.with_txn(|txn| txn.alter_table(new, text, None))?;
    Ok(())
}

pub(super) fn position(table: &TableDef, name: &str) -> Result<usize, SqlError> {
    table.position(name).ok_or_else(|| {
        SqlError::new(
            4924,
            16,
            1,
            format!("ALTER TABLE ALTER COLUMN failed because column '{name}' does not exist in table '{}'.", table.name),
        )
    })
}

/// An object that uses a column and so keeps it from being dropped or retyped. A wider type of
/// the same kind is allowed under an index.
fn dependents(table: &TableDef, at: usize, retyped: bool) -> Option<String> {
    let column = &table.columns[at];
    let words = |text: &str| text.to_lowercase().contains(&column.name.to_lowercase());
    let computed = table
        .columns
        .iter()
        .find(|other| other.computed.as_ref().is_some_and(|computed| words(&computed.definition)));
    let check = table.checks.iter().find(|check| words(&check.definition));
    let foreign = table.foreign_keys.iter().find(|foreign| foreign.columns.contains(&column.id));
    let index = table.indexes.iter().find(|index| {
        index.keys.iter().any(|key| key.column == column.id) || index.includes.contains(&column.id)
    });
    if !retyped {
        return None;
    }
    computed
        .map(|other| other.name.clone())
        .or_else(|| check.map(|check| check.name.clone()))
        .or_else(|| foreign.map(|foreign| foreign.name.clone()))
        .or_else(|| index.map(|index| index.name.clone()))
}

fn drop_columns(
    env: &Env<'_>,
    table: &Arc<TableDef>,
    names: &[String],
    if_exists: bool,
    text: &str,
) -> Result<(), Fault> {
    let mut new = TableDef::clone(table);
    let mut kept: Vec<usize> = (0..table.columns.len()).collect();
    for name in names {
        let Some(at) = table.position(name) else {
            if if_exists {
                continue;
            }
            return Err(SqlError::new(
                4924,
                16,
                1,
                format!("ALTER TABLE DROP COLUMN failed because column '{name}' does not exist in table '{}'.", table.name),
            )
            .into());
        };
        let object = dependents(table, at, true)
            .or_else(|| table.columns[at].default.as_ref().map(|default| default.name.clone()));
        if let Some(object) = object {
            return Err(SqlError::new(
                5074,
                16,
                1,
                format!("The object '{object}' is dependent on column '{name}'."),
            )
            .into());
        }
        kept.retain(|position| *position != at);
    }
    if kept.len() == table.columns.len() {
        return Ok(());
    }
    if kept.is_empty() {
        return Err(SqlError::new(
            4923,
            16,
            1,
            format!("ALTER TABLE DROP COLUMN failed because '{}' is the only data column in table '{}'. A table must have at least one data column.", names.join(", "), table.name),
        )
        .into());
    }
    new.columns = kept.iter().map(|at| table.columns[*at].clone()).collect();
    let mut rewrite = |row: &Row| -> Result<Row, SqlError> {
        Ok(kept.iter().map(|at| row[*at].clone()).collect())
    };
    env.with_txn(|txn| txn.alter_table(new, text, Some(&mut rewrite)))?;
    Ok(())
}

fn drop_constraints(
    env: &Env<'_>,
    table: &Arc<TableDef>,
    names: &[String],
    if_exists: bool,
    text: &str,
) -> Result<(), Fault> {
    let mut new = TableDef::clone(table);
    for name in names {
        if !remove_constraint(&mut new, name) && !if_exists {
            return Err(SqlError::new(3728, 16, 1, format!("'{name}' is not a constraint.")).into());
        }
    }
    settle(table, &mut new);
    let gone: Vec<_> = table
        .indexes
        .iter()
        .filter(|index| !new.indexes.iter().any(|kept| kept.id == index.id))
        .collect();
    for index in gone {
        refuse_if_referenced(
            env,
            table,
            index.keys.iter().map(|key| key.column).collect(),
            &index.name,
        )?;
    }
    env.with_txn(|txn| txn.alter_table(new, text, None))?;
    Ok(())
}

fn remove_constraint(table: &mut TableDef, name: &str) -> bool {
    let same = |known: &str| crate::storage::same_name(known, name);
    let before = (table.checks.len(), table.foreign_keys.len(), table.indexes.len());
    table.checks.retain(|check| !same(&check.name));
    table.foreign_keys.retain(|foreign| !same(&foreign.name));
    table.indexes.retain(|index| index.kind == IndexKind::Index || !same(&index.name));
    let mut found = before != (table.checks.len(), table.foreign_keys.len(), table.indexes.len());
    for column in &mut table.columns {
        if column.default.as_ref().is_some_and(|default| same(&default.name)) {
            column.default = None;
            found = true;
        }
    }
    found
}

fn refuse_if_referenced(
    env: &Env<'_>,
    table: &TableDef,
    mut columns: Vec<i32>,
    name: &str,
) -> Result<(), Fault> {
    columns.sort_unstable();
    let tables = env.with_txn(|txn| txn.tables());
    for child in tables {
        for foreign in &child.foreign_keys {
            let mut referenced = foreign.referenced_columns.clone();
            referenced.sort_unstable();
            if foreign.referenced_table == table.id && referenced == columns {
                return Err(SqlError::new(
                    3725,
                    16,
                    0,
                    format!(
                        "The constraint '{name}' is being referenced by table '{}', foreign key constraint '{}'.",
                        child.name, foreign.name
                    ),
                )
                .into());
            }
        }
    }
    Ok(())
}
