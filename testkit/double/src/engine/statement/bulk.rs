//! INSERT BULK and the rows behind it.
//!
//! CHECK and FOREIGN KEY constraints do not count in a bulk load unless it says CHECK_CONSTRAINTS,
//! and are not trusted afterwards. This server has no such state to leave behind: it refuses a load
//! past constraints.

use std::sync::Arc;

use super::insert::{Destination, Shape, Source, destination, run, shape};
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{Binder, unsupported};
use crate::engine::expr::{Frame, Node};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::plan::RowPlan;
use crate::engine::syntax::ast::{InsertBulk, InsertTarget};
use crate::engine::write::{RowRules, default_of};
use crate::storage::TableLock;
use crate::{SqlError, SqlType, StatementKind, Value};

/// Where the rows go. An identity column that is named takes the values sent.
fn target(binder: &Binder<'_, '_>, bulk: &InsertBulk) -> Result<(Destination, Shape), Fault> {
    let destination = destination(binder, &InsertTarget::Table(bulk.target.clone()))?;
    let table = destination.table();
    let named = |name: &String| table.column(name).is_some_and(|c| c.identity.is_some());
    let with_identity = bulk.columns.iter().any(named);
    let shape = shape(binder, table, &bulk.columns, with_identity).map_err(of_binding)?;
    let constrained = table.checks.iter().any(|check| !check.disabled)
        || table.foreign_keys.iter().any(|key| !key.disabled);
    if constrained && !bulk.check {
        return Err(Fault::Compile(unsupported("a bulk load past constraints")));
    }
    Ok((destination, shape))
}

impl Executor<'_> {
    pub(crate) fn insert_bulk(&mut self, bulk: &Arc<InsertBulk>) -> Result<Flow, Fault> {
        self.with_env(false, |env, variables| {
            target(&Binder::new(env, variables), bulk).map(drop)
        })?;
        self.session.bulk = Some(Arc::clone(bulk));
        self.done()
    }

    pub(crate) fn bulk(
        &mut self,
        columns: Vec<(String, SqlType)>,
        rows: Vec<Vec<Value>>,
    ) -> Result<Flow, Fault> {
        let Some(bulk) = self.session.bulk.take() else {
            let text = "Bulk load data was sent without an INSERT BULK.";
            return Err(SqlError::new(4002, 16, 1, text).into());
        };
        if columns.len() != bulk.columns.len() {
            return Err(SqlError::new(
                4804,
                16,
                1,
                "While reading the rows of a bulk load, another number of columns was found than INSERT BULK has.",
            )
            .into());
        }
        let count = self.with_env(true, |env, variables| {
            let binder = Binder::new(env, variables);
            let (destination, shape) = target(&binder, &bulk)?;
            let table = Arc::clone(destination.table());
            if bulk.table_lock {
                env.with_txn(|txn| txn.lock_table(table.id, TableLock::Exclusive))?;
            }
            let rules = RowRules::new(&binder, &table).map_err(of_binding)?;
            let types: Vec<Option<SqlType>> =
                columns.iter().map(|(_, ty)| Some(ty.clone())).collect();
            let mut defaults = Vec::new();
            for at in &shape.given {
                let has = table.columns[*at].default.is_some() && !bulk.keep_nulls;
                defaults.push(match has {
                    true => Some(default_of(&binder, &table, *at).map_err(of_binding)?),
                    false => None,
                });
            }
            let mut nodes = Vec::with_capacity(rows.len());
            for row in rows {
                let mut values = Vec::with_capacity(row.len());
                for ((value, default), ty) in row.into_iter().zip(&defaults).zip(&types) {
                    let value = match (default, value) {
                        (Some(default), Value::Null) => {
                            let from = default.type_or_int();
                            let value = default.node.eval(&Frame::empty(), env)?.into_owned();
                            let to = ty.as_ref().unwrap_or(&from);
                            crate::engine::convert::convert(&value, &from, to, None)?
                        }
                        (_, value) => value,
                    };
                    values.push(Node::Constant(value));
                }
                nodes.push(values);
            }
            let source = Source { plan: RowPlan::Values(nodes), types };
            let inserted = run(env, &destination, &rules, &shape, &[source], false)?;
            Ok(inserted.count)
        })?;
        self.counted(StatementKind::Insert, count)
    }
}
