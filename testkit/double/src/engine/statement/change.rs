//! UPDATE and DELETE.
//!
//! Rows are collected first, each locked and current when it is met, and changed afterwards: a
//! statement never meets its own changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::insert::{Changed, computed_column};
use super::output::{BoundOutput, bind_output, finish_output};
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{
    Binder, Bound, Leaf, Scope, Source, Target, Through, Tree, filtered, mask_of, plan_from,
    same_name, types, unsupported,
};
use crate::engine::cascade;
use crate::engine::env::Env;
use crate::engine::expr::{Frame, Node, Typed};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::plan::{Lock, TuplePlan, empty_rows};
use crate::engine::references;
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{
    Assignment, Delete, Expr, Hints, JoinKind, ObjectName, Output, TableRef, Update,
};
use crate::engine::write::{RowRules, Verb, default_of};
use crate::storage::{ColumnId, Pieces, Row, RowId, RowLock, TableDef, TableLock};
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

/// One bound assignment of SET.
pub(super) struct Set {
    pub(super) column: Option<usize>,
    variable: Option<usize>,
    value: Typed,
    /// Offset and length of `.WRITE`.
    write: Option<(Node, Node)>,
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
