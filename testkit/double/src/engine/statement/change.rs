//! UPDATE and DELETE.
//!
//! Rows are collected first, each locked and current when it is met, and changed afterwards: a
//! statement never meets its own changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::insert::Changed;
use super::output::{BoundOutput, bind_output, finish_output};
use super::set::{SetTarget, assigned, bind_sets};
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{
    Binder, Bound, Leaf, Scope, Target, Through, Tree, filtered, plan_from, same_name, types,
    unsupported,
};
use crate::engine::cascade;
use crate::engine::env::Env;
use crate::engine::expr::Frame;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::plan::{Lock, TuplePlan, empty_rows};
use crate::engine::references;
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{
    Delete, Expr, Hints, JoinKind, ObjectName, Output, TableRef, Update,
};
use crate::engine::write::{RowRules, Verb};
use crate::storage::{Pieces, Row, RowId, RowLock, TableDef, TableLock};
use crate::{SqlError, SqlType, StatementKind, Value};

/// What UPDATE and DELETE have in common.
struct Parts<'q> {
    target: &'q ObjectName,
    hints: &'q Hints,
    top: Option<&'q Expr>,
    from: &'q [TableRef],
    filter: Option<&'q Expr>,
    permission: Permission,
}

/// The rows to change, bound.
struct Rows {
    table: Arc<TableDef>,
    slot: usize,
    slots: usize,
    plan: TuplePlan,
    limit: u64,
    /// Where the change goes through an expression: its slot, and which column of the table each of
    /// its columns is.
    base: Option<(usize, Vec<Option<usize>>)>,
}

/// The exposed name of the source of FROM that a target name means: an alias, or a table.
fn target_ref(target: &ObjectName, tables: &[TableRef]) -> Option<String> {
    fn search(target: &ObjectName, table: &TableRef, by_alias: bool) -> Option<String> {
        match table {
            TableRef::Join { left, right, .. } => {
                search(target, left, by_alias).or_else(|| search(target, right, by_alias))
            }
            TableRef::Named { name, alias, .. } => {
                let exposed = alias.as_ref().unwrap_or(&name.name);
                let schema = |name: &ObjectName| {
                    name.schema.clone().unwrap_or_else(|| "dbo".to_owned()).to_lowercase()
                };
                let found = match by_alias {
                    true => {
                        alias.is_some()
                            && target.schema.is_none()
                            && same_name(exposed, &target.name)
                    }
                    false => same_name(&name.name, &target.name) && schema(name) == schema(target),
                };
                found.then(|| exposed.clone())
            }
            _ => None,
        }
    }
    [true, false]
        .into_iter()
        .find_map(|by_alias| tables.iter().find_map(|table| search(target, table, by_alias)))
}

/// The stored table in a slot.
fn target_of(tree: &Tree, wanted: usize) -> Option<Target> {
    match tree {
        Tree::Leaf(Leaf::Table { slot, target, .. }, _) if *slot == wanted => Some(target.clone()),
        Tree::Leaf(..) => None,
        Tree::Join { left, right, .. } => {
            target_of(left, wanted).or_else(|| target_of(right, wanted))
        }
    }
}

impl Binder<'_, '_> {
    /// Binds what is to be changed; sources go into `scope`.
    fn rows_to_change(&self, parts: &Parts<'_>, scope: &mut Scope<'_>) -> Bound<Rows> {
        let named = target_ref(parts.target, parts.from);
        if named.is_none()
            && let Some(through) = self.through(parts.target, parts.permission)?
        {
            return self.rows_through(parts, through, scope);
        }
        let (mut tree, target, slot) = match named {
            None => {
                let target = self.resolve(parts.target, parts.permission)?;
                if parts.filter.is_some() || !parts.from.is_empty() {
                    self.check(&target, Permission::Select)?;
                }
                let lock = Lock::Rows(RowLock::Update);
                let own = self.push_table(target.clone(), None, lock, true, scope)?;
                let tree = match self.from(parts.from, scope)? {
                    Some(others) => Tree::Join {
                        kind: JoinKind::Cross,
                        left: Box::new(own),
                        right: Box::new(others),
                        on: Vec::new(),
                    },
                    None => own,
                };
                (tree, target, 0)
            }
            Some(exposed) => {
                let tree = self.from(parts.from, scope)?.ok_or_else(|| unsupported("FROM"))?;
                let slot = scope
                    .sources
                    .iter()
                    .find(|source| same_name(&source.name, &exposed))
                    .map(|source| source.slot)
                    .ok_or_else(|| unsupported("FROM"))?;
                let target = target_of(&tree, slot).ok_or_else(|| {
                    SqlError::new(
                        4421,
                        16,
                        1,
                        format!("'{exposed}' is not updatable because it is not a table."),
                    )
                })?;
                self.check(&target, parts.permission)?;
                (tree, target, slot)
            }
        };
        if target.elsewhere.is_some() {
            return Err(unsupported("a change in another database"));
        }
        if parts.permission == Permission::Delete {
            self.row_blocks(&target)?;
        }
        self.lock_target(&target, parts.hints)?;
        let table = Arc::clone(&target.table);
        mark_target(&mut tree, slot);
        let conditions = match parts.filter {
            Some(filter) => self.condition(filter, scope)?.conjuncts(),
            None => Vec::new(),
        };
        Ok(Rows {
            table,
            slot,
            slots: scope.sources.len(),
            plan: plan_from(tree, conditions),
            limit: self.row_limit(parts.top)?,
            base: None,
        })
    }

    /// Binds what is to be changed through a common table expression.
    fn rows_through(
        &self,
        parts: &Parts<'_>,
        through: Through,
        scope: &mut Scope<'_>,
    ) -> Bound<Rows> {
        if !parts.from.is_empty() {
            return Err(unsupported("FROM in a change through a common table expression"));
        }
        if through.target.elsewhere.is_some() {
            return Err(unsupported("a change in another database"));
        }
        self.lock_target(&through.target, parts.hints)?;
        let slot = through.source.slot;
        scope.sources.push(through.source);
        let conditions = match parts.filter {
            Some(filter) => self.condition(filter, scope)?.conjuncts(),
            None => Vec::new(),
        };
        Ok(Rows {
            table: through.target.table,
            slot: 0,
            slots: through.slots,
            plan: filtered(through.plan, conditions),
            limit: self.row_limit(parts.top)?,
            base: Some((slot, through.base)),
        })
    }

    /// The number of TOP.
    ///
    /// # Errors
    /// 1060.
    pub(super) fn row_limit(&self, top: Option<&Expr>) -> Bound<u64> {
        let Some(top) = top else {
            return Ok(u64::MAX);
        };
        let count = types::implicit(self.scalar(top, &Scope::inside(None))?, &SqlType::BigInt)?;
        let value = count.node.eval(&Frame::empty(), self.env)?.into_owned();
        value.as_i64().and_then(|count| u64::try_from(count).ok()).ok_or_else(|| {
            SqlError::new(
                1060,
                15,
                1,
                "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
            )
        })
    }

    pub(super) fn lock_target(&self, target: &Target, hints: &Hints) -> Bound<()> {
        if hints.no_lock {
            return Err(SqlError::new(
                1065,
                15,
                1,
                "The NOLOCK and READUNCOMMITTED lock hints are not allowed for target tables of INSERT, UPDATE, DELETE or MERGE statements.",
            ));
        }
        if hints.table_lock || hints.table_exclusive {
            let table = target.table.id;
            self.env.with_txn(|txn| txn.lock_table(table, TableLock::Exclusive))?;
        }
        Ok(())
    }
}

/// Makes the target's leaf lock its rows and tell their ids.
fn mark_target(tree: &mut Tree, target: usize) {
    match tree {
        Tree::Leaf(Leaf::Table { slot, lock, with_row_id, .. }, _) if *slot == target => {
            *lock = Lock::Rows(RowLock::Update);
            *with_row_id = true;
        }
        Tree::Leaf(..) => {}
        Tree::Join { left, right, .. } => {
            mark_target(left, target);
            mark_target(right, target);
        }
    }
}

impl Rows {
    /// Runs the plan; `take` gets each row to change once, with its tuple.
    fn each(
        &self,
        env: &Env<'_>,
        mut take: impl FnMut(RowId, &[Row]) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let mut rows = empty_rows(self.slots);
        let mut cursor = self.plan.open(&mut rows, None, env)?;
        let mut met = HashSet::new();
        let mut left = self.limit;
        while left > 0 && cursor.next(&mut rows, None, env)? {
            // A target row that an outer join did not find has no id.
            let Some(id) = rows[self.slot].get(self.table.columns.len()).and_then(Value::as_i64)
            else {
                continue;
            };
            let id =
                RowId(u64::try_from(id).map_err(|_| crate::engine::expr::internal("a row id"))?);
            if met.insert(id) {
                take(id, &rows)?;
                left -= 1;
            }
        }
        Ok(())
    }

    fn set_target(&self) -> SetTarget<'_> {
        let (slot, base) = match &self.base {
            None => (self.slot, None),
            Some((slot, base)) => (*slot, Some(base.as_slice())),
        };
        SetTarget { table: &self.table, slot, base }
    }

    /// A target row without its id.
    fn content(&self, tuple: &[Row]) -> Vec<Value> {
        tuple[self.slot][..self.table.columns.len()].to_vec()
    }
}

impl Executor<'_> {
    pub(crate) fn update(&mut self, update: &Update) -> Result<Flow, Fault> {
        let changed = self.with_env(true, |env, variables| {
            let binder = Binder::new(env, variables);
            update_rows(&binder, update)
        })?;
        self.changed(StatementKind::Update, changed)
    }

    pub(crate) fn delete(&mut self, delete: &Delete) -> Result<Flow, Fault> {
        let changed = self.with_env(true, |env, variables| {
            let binder = Binder::new(env, variables);
            delete_rows(&binder, delete)
        })?;
        self.changed(StatementKind::Delete, changed)
    }
}

fn update_rows(binder: &Binder<'_, '_>, update: &Update) -> Result<Changed, Fault> {
    let env = binder.env;
    let mut scope = Scope::inside(None);
    binder.take_ctes(&update.with, update.max_recursion);
    let parts = Parts {
        target: &update.target,
        hints: &update.hints,
        top: update.top.as_ref(),
        from: &update.from,
        filter: update.filter.as_ref(),
        permission: Permission::Update,
    };
    let rows = binder.rows_to_change(&parts, &mut scope).map_err(of_binding)?;
    let sets =
        bind_sets(binder, &update.assignments, rows.set_target(), &scope).map_err(of_binding)?;
    let rules = RowRules::new(binder, &rows.table).map_err(of_binding)?;
    let output =
        bind_change_output(binder, update.output.as_ref(), &rows.table, &["inserted", "deleted"])?;
    let positions: Vec<usize> = sets.iter().filter_map(|set| set.column).collect();
    let mut changes: Vec<(RowId, Row, Row)> = Vec::new();
    let mut pieces: Vec<Pieces> = Vec::new();
    rows.each(env, |id, tuple| {
        let frame = Frame { rows: tuple, outer: None };
        let old = rows.content(tuple);
        let mut parts = Vec::new();
        let new = assigned(binder, &rules, &sets, old.clone(), (&frame, &mut parts))?;
        let new = rules.complete(new, Verb::Update, env)?;
        changes.push((id, old.into(), new));
        pieces.push(parts.into());
        Ok(())
    })?;
    let in_part = pieces.iter().any(|parts| !parts.is_empty());
    if !positions.is_empty() {
        if in_part {
            for ((id, _, new), parts) in changes.iter().zip(&pieces) {
                env.with_txn(|txn| {
                    txn.update_in_part(rows.table.id, (*id, new), &positions, parts)
                })?;
            }
        } else {
            let writes = changes.iter().map(|(id, _, new)| (*id, Row::clone(new))).collect();
            env.with_txn(|txn| txn.update(rows.table.id, writes, &positions))?;
        }
        env.escalate(rows.table.id, changes.len());
        let forward: Vec<(Option<Row>, Row)> =
            changes.iter().map(|(_, old, new)| (Some(Row::clone(old)), Row::clone(new))).collect();
        references::check_referenced(env, &rows.table, &forward, Verb::Update)?;
        let backward: Vec<(Row, Option<Row>)> =
            changes.iter().map(|(_, old, new)| (Row::clone(old), Some(Row::clone(new)))).collect();
        cascade::settle(binder, &rows.table, &backward, Verb::Update)?;
    }
    let mut output_rows = Vec::new();
    if let Some(output) = &output {
        for (_, old, new) in &changes {
            output_rows.push(output.row(env, &[Row::clone(new), Row::clone(old)])?);
        }
    }
    Ok(Changed {
        rows: changes.len() as u64,
        output: finish_output(binder, output, output_rows)?,
        identity: None,
    })
}

fn bind_change_output(
    binder: &Binder<'_, '_>,
    output: Option<&Output>,
    table: &Arc<TableDef>,
    names: &[&str],
) -> Result<Option<BoundOutput>, Fault> {
    match output {
        Some(output) => bind_output(binder, output, table, names).map(Some).map_err(of_binding),
        None => Ok(None),
    }
}

fn delete_rows(binder: &Binder<'_, '_>, delete: &Delete) -> Result<Changed, Fault> {
    let env = binder.env;
    let mut scope = Scope::inside(None);
    binder.take_ctes(&delete.with, delete.max_recursion);
    let parts = Parts {
        target: &delete.target,
        hints: &delete.hints,
        top: delete.top.as_ref(),
        from: &delete.from,
        filter: delete.filter.as_ref(),
        permission: Permission::Delete,
    };
    let rows = binder.rows_to_change(&parts, &mut scope).map_err(of_binding)?;
    env.status.off.check("DELETE", &rows.table)?;
    let output = bind_change_output(binder, delete.output.as_ref(), &rows.table, &["deleted"])?;
    let mut gone: Vec<(RowId, Row)> = Vec::new();
    rows.each(env, |id, tuple| {
        gone.push((id, rows.content(tuple).into()));
        Ok(())
    })?;
    for (id, _) in &gone {
        env.with_txn(|txn| txn.delete(rows.table.id, *id))?;
    }
    env.escalate(rows.table.id, gone.len());
    let changes: Vec<(Row, Option<Row>)> =
        gone.iter().map(|(_, row)| (Row::clone(row), None)).collect();
    cascade::settle(binder, &rows.table, &changes, Verb::Delete)?;
    let mut output_rows = Vec::new();
    if let Some(output) = &output {
        for (_, row) in &gone {
            output_rows.push(output.row(env, &[Row::clone(row)])?);
        }
    }
    Ok(Changed {
        rows: gone.len() as u64,
        output: finish_output(binder, output, output_rows)?,
        identity: None,
    })
}
