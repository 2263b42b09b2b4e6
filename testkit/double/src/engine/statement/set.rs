//! SET of UPDATE and MERGE.

use super::insert::computed_column;
use crate::engine::bind::{Binder, Bound, Scope, Source, mask_of, same_name, types, unsupported};
use crate::engine::expr::{Frame, Node, Typed};
use crate::engine::syntax::ast::{Assignment, Expr};
use crate::engine::write::{RowRules, default_of};
use crate::storage::{ColumnId, TableDef};
use crate::{SqlError, SqlType, Value};

/// What SET assigns to.
#[derive(Clone, Copy)]
pub(super) struct SetTarget<'t> {
    /// Table.
    pub(super) table: &'t TableDef,
    /// Slot of the source that has its columns.
    pub(super) slot: usize,
    /// Which column of the table each of the source's columns is, where they are not the same.
    pub(super) base: Option<&'t [Option<usize>]>,
}

/// One bound assignment of SET.
pub(super) struct Set {
    pub(super) column: Option<usize>,
    pub(super) variable: Option<usize>,
    pub(super) value: Typed,
    /// Offset and length of `.WRITE`.
    pub(super) write: Option<(Node, Node)>,
}

/// A row after SET, and what `.WRITE` wrote into which columns.
pub(super) fn assigned(
    binder: &Binder<'_, '_>,
    rules: &RowRules,
    sets: &[Set],
    mut new: Vec<Value>,
    (frame, pieces): (&Frame<'_>, &mut Vec<(ColumnId, Value)>),
) -> Result<Vec<Value>, SqlError> {
    let (env, columns) = (binder.env, &rules.table.columns);
    for set in sets {
        let value = set.value.node.eval(frame, env)?.into_owned();
        let from = set.value.type_or_int();
        let value = match set.column {
            Some(at) => {
                let from = set.value.ty.as_ref().unwrap_or(&columns[at].ty);
                let mut value = rules.assign(at, value, from)?;
                if let Some((offset, length)) = &set.write {
                    let place = (offset.eval(frame, env)?, length.eval(frame, env)?);
                    pieces.push((columns[at].id, value.clone()));
                    value = super::text_pointer::spliced(&new[at], &value, (&place.0, &place.1))?;
                }
                new[at] = value.clone();
                value
            }
            None => value,
        };
        if let Some(variable) = set.variable {
            let (_, ty) = binder.variables.at(variable);
            let own = set.column.map_or(from, |at| columns[at].ty.clone());
            env.set_variable(variable, crate::engine::convert::convert(&value, &own, ty, None)?);
        }
    }
    Ok(new)
}

/// Binds assignments.
///
/// # Errors
/// Names and types; 264 for a column that is set twice, and for columns that cannot be set.
pub(super) fn bind_sets(
    binder: &Binder<'_, '_>,
    assignments: &[Assignment],
    target: SetTarget<'_>,
    scope: &Scope<'_>,
) -> Bound<Vec<Set>> {
    let table = target.table;
    let mut sets: Vec<Set> = Vec::new();
    for assignment in assignments {
        let column = match &assignment.column {
            None => None,
            Some(path) => Some(settable(target, scope, path)?),
        };
        if let Some(at) = column
            && sets.iter().any(|set| set.column == Some(at))
        {
            return Err(SqlError::new(
                264,
                16,
                1,
                format!(
                    "The column name '{}' is specified more than once in the SET clause or column list of an INSERT. A column cannot be assigned more than one value in the same clause. Modify the clause to make sure that a column is updated only once.",
                    table.columns[at].name
                ),
            ));
        }
        let value = match (&assignment.value, column) {
            (Expr::Default, Some(at)) => default_of(binder, table, at)?,
            (Expr::Binary(op, _, right), Some(at)) if assignment.compound => {
                let source = scope.sources.iter().find(|source| source.slot == target.slot);
                let name = assignment.column.as_ref().and_then(|path| path.last());
                let name = name.unwrap_or(&table.columns[at].name).clone();
                let path = source.map(|source| source.name.clone()).into_iter().chain([name]);
                let path = path.collect();
                let own = Box::new(Expr::Column(path));
                binder.scalar(&Expr::Binary(*op, own, right.clone()), scope)?
            }
            (value, _) => binder.scalar(value, scope)?,
        };
        if mask_of(&value.node, scope, None).is_some() {
            return Err(unsupported("a masked column in SET"));
        }
        let variable = match &assignment.variable {
            Some(name) => Some(binder.variables.get(name)?),
            None => None,
        };
        let target = match (column, variable) {
            (Some(at), _) => Some(&table.columns[at].ty),
            (None, Some((_, ty))) => Some(ty),
            (None, None) => None,
        };
        let write = match (&assignment.write, column) {
            (None, _) => None,
            (Some(_), Some(at)) if !table.columns[at].ty.is_max() => {
                return Err(SqlError::new(
                    8141,
                    16,
                    1,
                    format!("Cannot call methods on {}.", table.columns[at].ty.name()),
                ));
            }
            (Some(place), _) => {
                let of = |value: &Expr| -> Bound<Node> {
                    Ok(types::implicit(binder.scalar(value, scope)?, &SqlType::BigInt)?.node)
                };
                Some((of(&place.0)?, of(&place.1)?))
            }
        };
        if let (Some(from), Some(to)) = (&value.ty, target)
            && !crate::engine::convert::implicit_allowed(from, to)
        {
            return Err(types::not_implicit(from, to));
        }
        sets.push(Set { column, variable: variable.map(|(at, _)| at), value, write });
    }
    Ok(sets)
}

fn settable(target: SetTarget<'_>, scope: &Scope<'_>, path: &[String]) -> Bound<usize> {
    let table = target.table;
    let (name, qualifier) = path.split_last().ok_or_else(|| unsupported("SET"))?;
    let source = scope
        .sources
        .iter()
        .find(|source| source.slot == target.slot && source.answers_to(qualifier));
    let position = |source: &Source| match target.base {
        None => table.position(name).map(Some),
        Some(base) => {
            let of = source.columns.iter().position(|column| same_name(&column.name, name))?;
            Some(base[of])
        }
    };
    let at = source.and_then(position).ok_or_else(|| {
        SqlError::new(207, 16, 1, format!("Invalid column name '{}'.", path.join(".")))
    })?;
    let at = at.ok_or_else(|| {
        let of = source.map_or("", |source| source.name.as_str());
        SqlError::new(
            4406,
            16,
            1,
            format!("Update or insert of view or function '{of}' failed because it contains a derived or constant field."),
        )
    })?;
    let column = &table.columns[at];
    if column.computed.is_some() {
        return Err(computed_column(&column.name));
    }
    if column.ty == SqlType::RowVersion {
        return Err(SqlError::new(272, 16, 1, "Cannot update a timestamp column."));
    }
    if column.identity.is_some() {
        return Err(SqlError::new(
            8102,
            16,
            1,
            format!("Cannot update identity column '{}'.", column.name),
        ));
    }
    Ok(at)
}
