//! MERGE.
//!
//! The target is joined with the source; each pair, and each row without a partner, takes the first
//! clause of its kind whose condition holds. Everything is collected first, and then written:
//! deletes, updates, inserts, so that keys that are given up in the statement are free for its new
//! rows, as they are for SQL Server's plan. Each change is a log record like that of a statement of
//! its own kind.

use std::collections::HashSet;
use std::sync::Arc;

use super::insert::{
    Changed, Destination, Shape, explicit_row_version, new_row, set_by_server, shape,
};
use super::output::{bind_output_with, finish_output};
use super::set::{Set, SetTarget, assigned, bind_sets};
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{
    Binder, Bound, Scope, Source, SourceColumn, Target, Tree, mask_of, plan_from, types,
    unsupported,
};
use crate::engine::cascade;
use crate::engine::convert::implicit_allowed;
use crate::engine::expr::{Condition, Frame, Typed, evaluate_all, internal};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::plan::{Lock, TuplePlan, empty_rows, null_row};
use crate::engine::references;
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{Expr, JoinKind, Merge, MergeAction, MergeClause, MergeWhen};
use crate::engine::write::{RowRules, Verb, default_of};
use crate::storage::{Row, RowId, RowLock, TableDef, TableLock};
use crate::{Origin, SqlError, SqlType, StatementKind, Value};

/// Slot of the target's row.
const TARGET: usize = 0;
/// Slot of the source's row.
const SOURCE: usize = 1;

/// A bound clause.
struct Clause {
    when: MergeWhen,
    condition: Option<Condition>,
    action: Action,
}

enum Action {
    Update(Vec<Set>),
    Delete,
    Insert(Shape, Vec<Typed>),
}

/// What became of a pair.
struct Done {
    clause: usize,
    id: Option<RowId>,
    before: Option<Row>,
    after: Option<Row>,
    source: Row,
}

impl Executor<'_> {
    pub(crate) fn merge(&mut self, merge: &Merge) -> Result<Flow, Fault> {
        let changed =
            self.with_env(true, |env, variables| merge_rows(&Binder::new(env, variables), merge))?;
        if changed.identity.is_some() {
            self.session.status.identity = changed.identity;
        }
        self.changed(StatementKind::Merge, changed)
    }
}

/// The target and everything bound over it.
struct Plan {
    table: Arc<TableDef>,
    plan: TuplePlan,
    clauses: Vec<Clause>,
    limit: u64,
    /// Columns of the source.
    width: usize,
}

fn bind(binder: &Binder<'_, '_>, merge: &Merge, scope: &mut Scope<'_>) -> Bound<Plan> {
    binder.take_ctes(&merge.with, merge.max_recursion);
    if binder.is_cte(&merge.target) {
        return Err(unsupported("a change through a common table expression"));
    }
    let target = binder.resolve(&merge.target, Permission::Select)?;
    if target.elsewhere.is_some() {
        return Err(unsupported("a change in another database"));
    }
    check_permissions(binder, &target, &merge.clauses)?;
    binder.lock_target(&target, &merge.hints)?;
    if merge.hints.hold_lock {
        let table = target.table.id;
        binder.env.with_txn(|txn| txn.lock_table(table, TableLock::Exclusive))?;
    }
    let table = Arc::clone(&target.table);
    let lock = Lock::Rows(RowLock::Update);
    let own = binder.push_table(target, merge.alias.as_deref(), lock, true, scope)?;
    let source = binder.from(std::slice::from_ref(&merge.source), scope)?;
    // A row without a partner in the source has nothing at all there.
    let Some(Tree::Leaf(source, width)) = source else {
        return Err(unsupported("a join in USING"));
    };
    let on = binder.condition(&merge.on, scope)?.conjuncts();
    let has = |when| merge.clauses.iter().any(|clause| clause.when == when);
    let kind = match (has(MergeWhen::NotByTarget), has(MergeWhen::NotBySource)) {
        (true, true) => JoinKind::Full,
        (true, false) => JoinKind::Right,
        (false, true) => JoinKind::Left,
        (false, false) => JoinKind::Inner,
    };
    let tree = Tree::Join { kind, left: Box::new(own), right: Box::new(Tree::Leaf(source, 0)), on };
    let mut clauses = Vec::new();
    for clause in &merge.clauses {
        clauses.push(bind_clause(binder, clause, &table, scope)?);
    }
    let limit = binder.row_limit(merge.top.as_ref())?;
    Ok(Plan { table, plan: plan_from(tree, Vec::new()), clauses, limit, width })
}

fn check_permissions(
    binder: &Binder<'_, '_>,
    target: &Target,
    clauses: &[MergeClause],
) -> Bound<()> {
    for clause in clauses {
        let permission = match clause.action {
            MergeAction::Update(_) => Permission::Update,
            MergeAction::Delete => Permission::Delete,
            MergeAction::Insert { .. } => Permission::Insert,
        };
        binder.check(target, permission)?;
    }
    Ok(())
}

fn bind_clause(
    binder: &Binder<'_, '_>,
    clause: &MergeClause,
    table: &Arc<TableDef>,
    scope: &Scope<'_>,
) -> Bound<Clause> {
    let seen = scope.only(|slot| match clause.when {
        MergeWhen::Matched => true,
        MergeWhen::NotByTarget => slot != TARGET,
        MergeWhen::NotBySource => slot == TARGET,
    });
    let bound = bind_action(binder, clause, table, &seen);
    // What only the other side has is told apart from what nobody has.
    match bound {
        Err(error) if matches!(error.number, 207 | 4104) => {
            match bind_action(binder, clause, table, &scope.only(|_| true)) {
                Ok(_) => Err(hidden(clause.when, &error)),
                Err(error) => Err(error),
            }
        }
        other => other,
    }
}

/// Errors 5333 and 5334.
fn hidden(when: MergeWhen, error: &SqlError) -> SqlError {
    let (_, rest) = error.message.split_once(['\'', '"']).unwrap_or_default();
    let (name, _) = rest.split_once(['\'', '"']).unwrap_or_default();
    match when {
        MergeWhen::NotBySource => SqlError::new(
            5334,
            16,
            2,
            format!(
                "The identifier '{name}' cannot be bound. Only target columns are allowed in the 'WHEN NOT MATCHED BY SOURCE' clause of a MERGE statement."
            ),
        ),
        _ => SqlError::new(
            5333,
            16,
            2,
            format!(
                "The identifier '{name}' cannot be bound. Only source columns are allowed in the 'WHEN NOT MATCHED' clause of a MERGE statement."
            ),
        ),
    }
}

fn bind_action(
    binder: &Binder<'_, '_>,
    clause: &MergeClause,
    table: &Arc<TableDef>,
    scope: &Scope<'_>,
) -> Bound<Clause> {
    let condition = match &clause.condition {
        Some(condition) => Some(binder.condition(condition, scope)?),
        None => None,
    };
    let action = match &clause.action {
        MergeAction::Delete => Action::Delete,
        MergeAction::Update(assignments) => {
            let target = SetTarget { table, slot: TARGET, base: None };
            Action::Update(bind_sets(binder, assignments, target, scope)?)
        }
        MergeAction::Insert { columns, values } => {
            let status = binder.env.status;
            let identity_on = status.identity_insert == Some((status.database.id(), table.id));
            let shape = shape(binder, table, columns, identity_on)?;
            let values = bind_values(binder, table, &shape, values.as_deref(), scope)?;
            Action::Insert(shape, values)
        }
    };
    Ok(Clause { when: clause.when, condition, action })
}

fn bind_values(
    binder: &Binder<'_, '_>,
    table: &TableDef,
    shape: &Shape,
    values: Option<&[Expr]>,
    scope: &Scope<'_>,
) -> Bound<Vec<Typed>> {
    let Some(values) = values else {
        return shape.given.iter().map(|at| default_of(binder, table, *at)).collect();
    };
    if values.len() != shape.given.len() {
        let (number, text) = match values.len() > shape.given.len() {
            true => (
                110,
                "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.",
            ),
            false => (
                109,
                "There are more columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.",
            ),
        };
        return Err(SqlError::new(number, 15, 1, text));
    }
    let mut bound = Vec::new();
    for (value, at) in values.iter().zip(&shape.given) {
        if table.columns[*at].ty == SqlType::RowVersion && !set_by_server(value) {
            return Err(explicit_row_version());
        }
        let typed = match value {
            Expr::Default => default_of(binder, table, *at)?,
            other => binder.scalar(other, scope)?,
        };
        if mask_of(&typed.node, scope, None).is_some() {
            return Err(unsupported("a masked column in MERGE"));
        }
        let to = &table.columns[*at].ty;
        if let Some(from) = &typed.ty
            && !implicit_allowed(from, to)
        {
            return Err(types::not_implicit(from, to));
        }
        bound.push(typed);
    }
    Ok(bound)
}

fn merge_rows(binder: &Binder<'_, '_>, merge: &Merge) -> Result<Changed, Fault> {
    let env = binder.env;
    let mut scope = Scope::inside(None);
    let plan = bind(binder, merge, &mut scope).map_err(of_binding)?;
    let table = &plan.table;
    let rules = RowRules::new(binder, table).map_err(of_binding)?;
    let output = match &merge.output {
        Some(output) => {
            let others = vec![action_source(), source_of_output(&scope)];
            let names = ["inserted", "deleted"];
            let bound = bind_output_with(binder, output, table, &names, others);
            Some(bound.map_err(of_binding)?)
        }
        None => None,
    };
    let (done, identity) = collect(binder, &plan, &rules, scope.sources.len())?;
    write(binder, &plan, &done)?;
    let mut rows_out = Vec::new();
    if let Some(output) = &output {
        let nothing = null_row(table.columns.len());
        for one in &done {
            let action = match plan.clauses[one.clause].action {
                Action::Update(_) => "UPDATE",
                Action::Delete => "DELETE",
                Action::Insert(..) => "INSERT",
            };
            let source = match one.source.is_empty() {
                true => null_row(plan.width),
                false => Row::clone(&one.source),
            };
            let rows = [
                one.after.clone().unwrap_or_else(|| Row::clone(&nothing)),
                one.before.clone().unwrap_or_else(|| Row::clone(&nothing)),
                vec![Value::text(action)].into(),
                source,
            ];
            rows_out.push(output.row(env, &rows)?);
        }
    }
    let output = finish_output(binder, output, rows_out)?;
    Ok(Changed { rows: done.len() as u64, output, identity })
}

/// `$action` in OUTPUT.
fn action_source() -> Source {
    Source {
        name: "$".to_owned(),
        schema: None,
        slot: 2,
        columns: vec![SourceColumn {
            name: "$action".to_owned(),
            ty: Some(SqlType::NVarChar(Some(10))),
            nullable: true,
            origin: Origin::Expression,
            label: None,
            mask: None,
        }],
        unreadable: Vec::new(),
        used: Default::default(),
        stored: None,
    }
}

/// The source's columns in OUTPUT: NULL where there was no partner.
fn source_of_output(scope: &Scope<'_>) -> Source {
    let mut source = scope.sources[SOURCE].clone();
    source.slot = 3;
    source.columns.iter_mut().for_each(|column| column.nullable = true);
    source
}

fn collect(
    binder: &Binder<'_, '_>,
    plan: &Plan,
    rules: &RowRules,
    slots: usize,
) -> Result<(Vec<Done>, Option<i64>), Fault> {
    let (env, width) = (binder.env, plan.table.columns.len());
    let mut rows = empty_rows(slots);
    let mut cursor = plan.plan.open(&mut rows, None, env)?;
    let (mut done, mut identity): (Vec<Done>, Option<i64>) = (Vec::new(), None);
    let mut changed = HashSet::new();
    while (done.len() as u64) < plan.limit && cursor.next(&mut rows, None, env)? {
        let id = match rows[TARGET].get(width).and_then(Value::as_i64) {
            Some(id) => Some(RowId(u64::try_from(id).map_err(|_| internal("a row id"))?)),
            None => None,
        };
        let when = match (id, rows[SOURCE].is_empty()) {
            (Some(_), false) => MergeWhen::Matched,
            (Some(_), true) => MergeWhen::NotBySource,
            (None, _) => MergeWhen::NotByTarget,
        };
        let frame = Frame { rows: &rows, outer: None };
        let mut found = None;
        for (at, clause) in plan.clauses.iter().enumerate().filter(|(_, c)| c.when == when) {
            let holds = match &clause.condition {
                Some(condition) => condition.holds(&frame, env)?,
                None => true,
            };
            if holds {
                found = Some((at, clause));
                break;
            }
        }
        let Some((at, clause)) = found else {
            continue;
        };
        if id.is_some_and(|id| !changed.insert(id)) {
            return Err(SqlError::new(
                8672,
                16,
                1,
                "The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target row matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target table multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use the GROUP BY clause to group the source rows.",
            )
            .into());
        }
        let before = id.map(|_| Row::from(rows[TARGET][..width].to_vec()));
        let after = match &clause.action {
            Action::Delete => None,
            Action::Update(sets) => {
                let old = rows[TARGET][..width].to_vec();
                let new = assigned(binder, rules, sets, old, (&frame, &mut Vec::new()))?;
                Some(rules.complete(new, Verb::Merge, env)?)
            }
            Action::Insert(shape, values) => {
                let nodes: Vec<_> = values.iter().map(|value| value.node.clone()).collect();
                let given = evaluate_all(&nodes, &frame, env)?;
                let types: Vec<_> = values.iter().map(|value| value.ty.clone()).collect();
                let destination = Destination::Table(Arc::clone(&plan.table));
                let given = (given, types.as_slice());
                let (row, next) = new_row(env, &destination, rules, shape, given, Verb::Merge)?;
                identity = next.or(identity);
                Some(row)
            }
        };
        done.push(Done { clause: at, id, before, after, source: Row::clone(&rows[SOURCE]) });
    }
    Ok((done, identity))
}

fn write(binder: &Binder<'_, '_>, plan: &Plan, done: &[Done]) -> Result<(), Fault> {
    let (env, table) = (binder.env, &plan.table);
    let (mut forward, mut backward, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for one in done {
        if let (Some(id), Some(before), None) = (one.id, &one.before, &one.after) {
            env.with_txn(|txn| txn.delete(table.id, id))?;
            gone.push((Row::clone(before), None));
        }
    }
    for (at, clause) in plan.clauses.iter().enumerate() {
        let Action::Update(sets) = &clause.action else {
            continue;
        };
        let positions: Vec<usize> = sets.iter().filter_map(|set| set.column).collect();
        let mut writes = Vec::new();
        for one in done.iter().filter(|one| one.clause == at) {
            if let (Some(id), Some(before), Some(after)) = (one.id, &one.before, &one.after) {
                writes.push((id, Row::clone(after)));
                forward.push((Some(Row::clone(before)), Row::clone(after)));
                backward.push((Row::clone(before), Some(Row::clone(after))));
            }
        }
        if !positions.is_empty() {
            env.with_txn(|txn| txn.update(table.id, writes, &positions))?;
        }
    }
    for one in done {
        if let (None, Some(after)) = (one.id, &one.after) {
            env.with_txn(|txn| txn.insert(table.id, Row::clone(after)))?;
            forward.push((None, Row::clone(after)));
        }
    }
    references::check_referenced(env, table, &forward, Verb::Merge)?;
    cascade::settle(binder, table, &gone, Verb::Merge)?;
    cascade::settle(binder, table, &backward, Verb::Merge)
}
