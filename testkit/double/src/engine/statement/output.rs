//! OUTPUT of all changes.

use std::sync::Arc;

use super::insert::{Source as Given, destination, run, shape};
use crate::engine::bind::{
    Binder, Bound, Scope, Source, columns_of, label_of, mask_of, masked, masks, origin_of,
    same_name, unsupported,
};
use crate::engine::env::Env;
use crate::engine::expr::{Frame, Node, Typed};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::plan::{OutputColumn, RowPlan};
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{Expr, InsertTarget, Output};
use crate::engine::write::RowRules;
use crate::storage::{Row, TableDef};
use crate::{Column, SqlError, Value};

/// A bound OUTPUT clause.
pub struct BoundOutput {
    columns: Vec<OutputColumn>,
    nodes: Vec<Node>,
    into: Option<(InsertTarget, Vec<String>)>,
}

impl BoundOutput {
    /// One row of it over the rows its names stand for.
    pub fn row(&self, env: &Env<'_>, rows: &[Row]) -> Result<Vec<Value>, SqlError> {
        crate::engine::expr::evaluate_all(&self.nodes, &Frame { rows, outer: None }, env)
    }
}

/// Binds OUTPUT over `inserted`, `deleted` or both, in the order of their slots.
///
/// # Errors
/// Names and types.
pub fn bind_output(
    binder: &Binder<'_, '_>,
    output: &Output,
    table: &Arc<TableDef>,
    names: &[&str],
) -> Bound<BoundOutput> {
    bind_output_with(binder, output, table, names, Vec::new())
}

/// The same with other sources behind those.
///
/// # Errors
/// Names and types.
pub fn bind_output_with(
    binder: &Binder<'_, '_>,
    output: &Output,
    table: &Arc<TableDef>,
    names: &[&str],
    others: Vec<Source>,
) -> Bound<BoundOutput> {
    use crate::engine::syntax::ast::SelectItem;
    let mut scope = Scope::inside(None);
    // What OUTPUT shows, the user must be allowed to read.
    let (rights, database) = (&binder.env.status.rights, binder.env.status.database.name());
    rights.check_object(Permission::Select, &database, table)?;
    for name in names {
        let mut columns = columns_of(table);
        for (column, mask) in columns.iter_mut().zip(masks(table, rights)) {
            column.mask = mask;
        }
        scope.add_table(name, columns);
    }
    for source in &mut scope.sources {
        source.unreadable = rights.unreadable(&database, table);
        // Of an inserted row nothing was deleted, and the other way round.
        for column in source.columns.iter_mut().filter(|_| !others.is_empty()) {
            column.nullable = true;
        }
    }
    scope.sources.extend(others);
    let (mut columns, mut nodes) = (Vec::new(), Vec::new());
    for item in &output.items {
        match item {
            SelectItem::Wildcard(qualifier) => {
                let source = qualifier.last().and_then(|name| {
                    scope.sources.iter().find(|source| same_name(&source.name, name))
                });
                let Some(source) = source else {
                    return Err(unsupported("* in OUTPUT"));
                };
                for column in &source.columns {
                    let path = Expr::Column(vec![source.name.clone(), column.name.clone()]);
                    let typed = binder.scalar(&path, &scope)?;
                    columns.push(output_column(&column.name, &typed, &scope));
                    nodes.push(shown(typed, &scope));
                }
            }
            SelectItem::Value { value, alias } => {
                let typed = binder.scalar(value, &scope)?;
                let implied = match value {
                    Expr::Column(parts) => parts.last().cloned().unwrap_or_default(),
                    _ => String::new(),
                };
                columns.push(output_column(alias.as_ref().unwrap_or(&implied), &typed, &scope));
                nodes.push(shown(typed, &scope));
            }
            SelectItem::Assign { .. } => return Err(unsupported("assignment in OUTPUT")),
        }
    }
    Ok(BoundOutput { columns, nodes, into: output.into.clone() })
}

fn output_column(name: &str, typed: &Typed, scope: &Scope<'_>) -> OutputColumn {
    OutputColumn {
        name: name.to_owned(),
        ty: typed.ty.clone(),
        nullable: typed.nullable,
        origin: origin_of(&typed.node, &scope.sources),
        label: label_of(&typed.node, scope, None),
        mask: None,
    }
}

/// An expression of OUTPUT as the user may see it.
fn shown(typed: Typed, scope: &Scope<'_>) -> Node {
    let mask = mask_of(&typed.node, scope, None);
    masked(typed.node, typed.ty.as_ref(), mask)
}

/// Hands the rows of OUTPUT to the client, or puts them into a table.
///
/// # Errors
/// Those of inserting.
#[allow(clippy::type_complexity)]
pub fn finish_output(
    binder: &Binder<'_, '_>,
    output: Option<BoundOutput>,
    rows: Vec<Vec<Value>>,
) -> Result<Option<(Vec<Column>, Vec<Vec<Value>>)>, Fault> {
    let Some(output) = output else {
        return Ok(None);
    };
    let Some((target, names)) = &output.into else {
        let columns = output.columns.iter().map(OutputColumn::describe).collect();
        return Ok(Some((columns, rows)));
    };
    let destination = destination(binder, target)?;
    let shape = shape(binder, destination.table(), names, false).map_err(of_binding)?;
    if shape.given.len() != output.nodes.len() {
        return Err(Fault::Compile(SqlError::new(
            213,
            16,
            1,
            "Column name or number of supplied values does not match table definition.",
        )));
    }
    let constants =
        rows.into_iter().map(|row| row.into_iter().map(Node::Constant).collect()).collect();
    let source = Given {
        plan: RowPlan::Values(constants),
        types: output.columns.iter().map(|column| column.ty.clone()).collect(),
    };
    let rules = RowRules::new(binder, destination.table()).map_err(of_binding)?;
    run(binder.env, &destination, &rules, &shape, &[source], false)?;
    Ok(None)
}
