//! FROM: tables, hints, and the order and method of joins.
//!
//! Inner joins are ordered greedily: next comes the source that can be reached best (by a unique
//! key, a key prefix, a range, a hash) from what is there already, and among equals the one
//! written first. Outer joins and APPLY stay as written.

use std::sync::Arc;

use super::access::{self, Score};
use super::{Binder, Bound, Scope, Source, SourceColumn, types, unsupported};
use crate::engine::catalog;
use crate::engine::expr::{Condition, Node, Typed, all};
use crate::engine::plan::{Hash, Join, Lock, Loop, RowPlan, Scan, TuplePlan, Virtual};
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{CompareOp, Expr, Hints, JoinKind, ObjectName, TableRef};
use crate::storage::{Database, RowLock, TableDef, TableLock};
use crate::{IsolationLevel, SqlError};

/// A stored table a statement names.
#[derive(Clone)]
pub struct Target {
    /// Definition.
    pub table: Arc<TableDef>,
    /// Its database, where it is not the current one.
    pub elsewhere: Option<Arc<Database>>,
}

/// A source before its conditions are known.
pub enum Leaf {
    /// A stored table.
    Table {
        /// Slot.
        slot: usize,
        /// Table.
        target: Target,
        /// Locking.
        lock: Lock,
        /// Append row ids.
        with_row_id: bool,
    },
    /// Rows that are computed.
    Virtual(Virtual),
    /// A query.
    Derived {
        /// Slot.
        slot: usize,
        /// Query.
        plan: Box<RowPlan>,
    },
}

/// The joins as written.
pub enum Tree {
    /// A source and the width of its row.
    Leaf(Leaf, usize),
    /// A join.
    Join {
        /// Kind: inner, left, full, applied.
        kind: JoinKind,
        /// Left side.
        left: Box<Tree>,
        /// Right side.
        right: Box<Tree>,
        /// Condition.
        on: Vec<Condition>,
    },
}

impl Leaf {
    fn slot(&self) -> usize {
        match self {
            Leaf::Table { slot, .. } | Leaf::Derived { slot, .. } => *slot,
            Leaf::Virtual(table) => table.slot,
        }
    }

    /// A plan of the leaf under conditions that read only it and `known` slots.
    fn plan(self, conditions: Vec<Condition>, known: &[usize]) -> TuplePlan {
        match self {
            Leaf::Table { slot, target, lock, with_row_id } => {
                let (access, _) = access::choose(&target.table, slot, &conditions, known);
                TuplePlan::Scan(Scan {
                    slot,
                    table: target.table,
                    elsewhere: target.elsewhere,
                    access,
                    lock,
                    filter: all(conditions),
                    with_row_id,
                })
            }
            Leaf::Virtual(mut table) => {
                table.filter = all(conditions);
                TuplePlan::Virtual(table)
            }
            Leaf::Derived { slot, plan } => filtered(TuplePlan::Derived { slot, plan }, conditions),
        }
    }

    fn score(&self, conditions: &[Condition], known: &[usize]) -> Score {
        match self {
            Leaf::Table { slot, target, .. } => {
                access::choose(&target.table, *slot, conditions, known).1
            }
            _ => Score::Scan,
        }
    }
}

/// A plan under conditions.
pub fn filtered(plan: TuplePlan, conditions: Vec<Condition>) -> TuplePlan {
    match all(conditions) {
        Some(condition) => TuplePlan::Filter { input: Box::new(plan), condition },
        None => plan,
    }
}

impl Tree {
    /// Slots and widths of its rows.
    pub fn slots(&self) -> Vec<(usize, usize)> {
        match self {
            Tree::Leaf(leaf, width) => vec![(leaf.slot(), *width)],
            Tree::Join { left, right, .. } => {
                let mut slots = left.slots();
                slots.extend(right.slots());
                slots
            }
        }
    }

    fn is_lateral(&self) -> bool {
        match self {
            Tree::Leaf(..) => false,
            Tree::Join { kind, left, right, .. } => {
                matches!(kind, JoinKind::CrossApply | JoinKind::OuterApply)
                    || left.is_lateral()
                    || right.is_lateral()
            }
        }
    }
}

/// Whether a condition reads no source of its query but these.
fn within(condition: &Condition, slots: &[usize]) -> bool {
    condition.places().iter().all(|place| place.depth > 0 || slots.contains(&place.source))
}

fn slot_numbers(slots: &[(usize, usize)]) -> Vec<usize> {
    slots.iter().map(|(slot, _)| *slot).collect()
}

fn split(conditions: Vec<Condition>, slots: &[usize]) -> (Vec<Condition>, Vec<Condition>) {
    conditions.into_iter().partition(|condition| within(condition, slots))
}

/// Plans a join tree under the conditions of WHERE.
pub fn plan(tree: Tree, conditions: Vec<Condition>) -> TuplePlan {
    match tree {
        Tree::Leaf(leaf, _) => leaf.plan(conditions, &[]),
        Tree::Join { kind: JoinKind::Inner | JoinKind::Cross, .. } => {
            let mut parts = Vec::new();
            let mut conditions = conditions;
            flatten(tree, &mut parts, &mut conditions);
            plan_inner(parts, conditions)
        }
        Tree::Join { kind, left, right, on } => plan_outer(kind, *left, *right, on, conditions),
    }
}

/// The sides of nested inner joins; their conditions join those of WHERE.
fn flatten(tree: Tree, parts: &mut Vec<Tree>, conditions: &mut Vec<Condition>) {
    match tree {
        Tree::Join { kind: JoinKind::Inner | JoinKind::Cross, left, right, on } => {
            conditions.extend(on);
            flatten(*left, parts, conditions);
            flatten(*right, parts, conditions);
        }
        other => parts.push(other),
    }
}

fn plan_inner(mut parts: Vec<Tree>, mut conditions: Vec<Condition>) -> TuplePlan {
    let mut known: Vec<(usize, usize)> = Vec::new();
    let mut joined: Option<TuplePlan> = None;
    while !parts.is_empty() {
        let numbers = slot_numbers(&known);
        let mut best = (0, Score::Nothing);
        for (at, part) in parts.iter().enumerate() {
            let score = score(part, &conditions, &numbers);
            if score > best.1 {
                best = (at, score);
            }
        }
        let part = parts.remove(best.0);
        let own = part.slots();
        let mut reachable = numbers.clone();
        reachable.extend(slot_numbers(&own));
        let (now, later) = split(conditions, &reachable);
        conditions = later;
        joined = Some(match joined {
            None => plan(part, now),
            Some(left) => join(left, known.clone(), part, Join::Inner, now, Vec::new()),
        });
        known.extend(own);
    }
    filtered(joined.unwrap_or(TuplePlan::Once), conditions)
}

fn score(part: &Tree, conditions: &[Condition], known: &[usize]) -> Score {
    let Tree::Leaf(leaf, _) = part else {
        return Score::Scan;
    };
    let mut reachable = known.to_vec();
    reachable.push(leaf.slot());
    let usable: Vec<Condition> =
        conditions.iter().filter(|condition| within(condition, &reachable)).cloned().collect();
    let score = leaf.score(&usable, known);
    if score == Score::Scan && !known.is_empty() {
        let hashable =
            usable.iter().any(|condition| equi_sides(condition, known, &[leaf.slot()]).is_some());
        if hashable {
            return Score::Hash;
        }
    }
    score
}

/// The two sides of `left = right` where each reads only its own sources.
fn equi_sides(condition: &Condition, left: &[usize], right: &[usize]) -> Option<(Node, Node)> {
    let Condition::Compare(CompareOp::Equal, l, r) = condition else {
        return None;
    };
    let reads = |node: &Node, slots: &[usize]| {
        let mut places = Vec::new();
        node.places(&mut places);
        let local: Vec<_> = places.iter().filter(|place| place.depth == 0).collect();
        !local.is_empty() && local.iter().all(|place| slots.contains(&place.source))
    };
    if reads(l, left) && reads(r, right) {
        return Some((l.clone(), r.clone()));
    }
    (reads(r, left) && reads(l, right)).then(|| (r.clone(), l.clone()))
}

/// Joins `part` to what is there. `on` decides matches; `after` are conditions over the result.
fn join(
    left: TuplePlan,
    left_slots: Vec<(usize, usize)>,
    part: Tree,
    kind: Join,
    on: Vec<Condition>,
    after: Vec<Condition>,
) -> TuplePlan {
    let right_slots = part.slots();
    let numbers = slot_numbers(&left_slots);
    let right_numbers = slot_numbers(&right_slots);
    let seekable = match &part {
        Tree::Leaf(leaf @ Leaf::Table { .. }, _) => {
            // Only conditions that read the left side can make a seek worth it here.
            leaf.score(&on, &numbers) >= Score::Prefix
                && leaf.score(&split(on.clone(), &right_numbers).0, &[]) < leaf.score(&on, &numbers)
        }
        _ => false,
    };
    if seekable && let Tree::Leaf(leaf, _) = part {
        let right = leaf.plan(on, &numbers);
        return filtered(
            TuplePlan::Loop(Loop {
                left: Box::new(left),
                right: Box::new(right),
                join: kind,
                on: None,
                right_slots,
            }),
            after,
        );
    }
    let (own, across) = split(on, &right_numbers);
    let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
    for condition in &across {
        if let Some((l, r)) = equi_sides(condition, &numbers, &right_numbers) {
            left_keys.push(l);
            right_keys.push(r);
        }
    }
    let right = plan(part, own);
    filtered(
        TuplePlan::Hash(Hash {
            left: Box::new(left),
            right: Box::new(right),
            join: kind,
            left_keys,
            right_keys,
            on: all(across),
            left_slots,
            right_slots,
        }),
        after,
    )
}

fn plan_outer(
    kind: JoinKind,
    left: Tree,
    right: Tree,
    on: Vec<Condition>,
    conditions: Vec<Condition>,
) -> TuplePlan {
    let (left, right, join_kind) = match kind {
        JoinKind::Right => (right, left, Join::Left),
        JoinKind::Full => (left, right, Join::Full),
        JoinKind::CrossApply => (left, right, Join::Inner),
        _ => (left, right, Join::Left),
    };
    let left_slots = left.slots();
    let right_slots = right.slots();
    let numbers = slot_numbers(&left_slots);
    // WHERE over the kept side may come first; over the other side it must see the NULLs.
    let (pushed, after) = match join_kind {
        Join::Full => (Vec::new(), conditions),
        _ => split(conditions, &numbers),
    };
    let left_plan = plan(left, pushed);
    if matches!(kind, JoinKind::CrossApply | JoinKind::OuterApply) {
        return filtered(
            TuplePlan::Loop(Loop {
                left: Box::new(left_plan),
                right: Box::new(plan(right, Vec::new())),
                join: join_kind,
                on: all(on),
                right_slots,
            }),
            after,
        );
    }
    if join_kind == Join::Full {
        // A full join's own conditions must not drop rows of a side.
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for condition in &on {
            if let Some((l, r)) = equi_sides(condition, &numbers, &slot_numbers(&right_slots)) {
                left_keys.push(l);
                right_keys.push(r);
            }
        }
        return filtered(
            TuplePlan::Hash(Hash {
                left: Box::new(left_plan),
                right: Box::new(plan(right, Vec::new())),
                join: Join::Full,
                left_keys,
                right_keys,
                on: all(on),
                left_slots,
                right_slots,
            }),
            after,
        );
    }
    join(left_plan, left_slots, right, join_kind, on, after)
}

impl Binder<'_, '_> {
    /// Binds FROM; sources go into the scope, behind those already there.
    ///
    /// # Errors
    /// 208, 229, names and types.
    pub fn from(&self, tables: &[TableRef], scope: &mut Scope<'_>) -> Bound<Option<Tree>> {
        let mut tree = None;
        // Queries in FROM do not see its other sources, unless they are applied.
        scope.transparent.set(false);
        for table in tables {
            let bound = self.table(table, scope)?;
            tree = Some(match tree {
                None => bound,
                Some(left) => Tree::Join {
                    kind: JoinKind::Cross,
                    left: Box::new(left),
                    right: Box::new(bound),
                    on: Vec::new(),
                },
            });
        }
        scope.transparent.set(true);
        check_names(&scope.sources)?;
        Ok(tree)
    }

    fn table(&self, table: &TableRef, scope: &mut Scope<'_>) -> Bound<Tree> {
        match table {
            TableRef::Named { name, alias, hints } => {
                self.named(name, alias.as_deref(), hints, scope)
            }
            TableRef::Function { name, arguments, alias } => {
                self.table_function(name, arguments, alias.as_deref(), scope)
            }
            TableRef::Derived { query, alias, columns } => {
                self.derived(query, alias, columns, scope)
            }
            TableRef::Values { rows, alias, columns } => self.values(rows, alias, columns, scope),
            TableRef::Join { kind, left, right, on } => {
                let left = self.table(left, scope)?;
                let applied = matches!(kind, JoinKind::CrossApply | JoinKind::OuterApply);
                let before = scope.transparent.replace(applied);
                let right = self.table(right, scope)?;
                if *kind == JoinKind::Right && (left.is_lateral() || right.is_lateral()) {
                    return Err(unsupported("RIGHT JOIN with APPLY"));
                }
                scope.transparent.set(true);
                let on = match on {
                    Some(on) => self.condition(on, scope)?.conjuncts(),
                    None => Vec::new(),
                };
                scope.transparent.set(before);
                Ok(Tree::Join { kind: *kind, left: Box::new(left), right: Box::new(right), on })
            }
        }
    }

    fn named(
        &self,
        name: &ObjectName,
        alias: Option<&str>,
        hints: &Hints,
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        if name.schema.is_none() && name.database.is_none() {
            let known = self.ctes.borrow();
            let found = known.iter().rposition(|cte| super::same_name(&cte.name, &name.name));
            if let Some(at) = found {
                let cte = known[at].clone();
                drop(known);
                // A common table expression sees only those before it.
                let inner = self.ctes.borrow_mut().split_off(at);
                let bound =
                    self.derived(&cte.query, alias.unwrap_or(&cte.name), &cte.columns, scope);
                self.ctes.borrow_mut().extend(inner);
                return bound;
            }
        }
        if let Some(view) = catalog::view(self, name)? {
            let slot = scope.sources.len();
            let columns = view.columns;
            let width = columns.len();
            scope.sources.push(Source {
                name: alias.unwrap_or(&name.name).to_owned(),
                schema: alias.is_none().then(|| name.schema.clone()).flatten(),
                slot,
                columns,
            });
            let leaf = Leaf::Virtual(Virtual {
                slot,
                producer: view.producer,
                arguments: Vec::new(),
                filter: None,
            });
            return Ok(Tree::Leaf(leaf, width));
        }
        let target = self.resolve(name, Permission::Select)?;
        let lock = self.lock(&target, hints)?;
        Ok(self.push_table(target, alias, lock, false, scope))
    }

    /// Adds a stored table to the scope.
    pub fn push_table(
        &self,
        target: Target,
        alias: Option<&str>,
        lock: Lock,
        with_row_id: bool,
        scope: &mut Scope<'_>,
    ) -> Tree {
        let slot = scope.sources.len();
        let table = &target.table;
        scope.sources.push(Source {
            name: alias.unwrap_or(&table.name).to_owned(),
            schema: alias.is_none().then(|| table.schema.clone()),
            slot,
            columns: columns_of(table),
        });
        let width = table.columns.len();
        Tree::Leaf(Leaf::Table { slot, target, lock, with_row_id }, width)
    }

    /// A stored table by name, if the user may do this with it.
    ///
    /// # Errors
    /// 208, 229, 916, and what a test has injected.
    pub fn resolve(&self, name: &ObjectName, permission: Permission) -> Bound<Target> {
        let current = &self.env.status.database;
        let schema = name.schema.as_deref().unwrap_or("dbo");
        let elsewhere = match &name.database {
            Some(database) if !super::same_name(database, &current.name()) => Some(
                self.env.shared.storage.database(database).ok_or_else(|| invalid_object(name))?,
            ),
            _ => None,
        };
        let database = elsewhere.as_ref().unwrap_or(current);
        let table = match &elsewhere {
            Some(database) => {
                let mut txn = database.begin(IsolationLevel::ReadCommitted);
                txn.table(schema, &name.name)?
            }
            None => self.env.with_txn(|txn| txn.table(schema, &name.name))?,
        };
        let table = table.ok_or_else(|| invalid_object(name))?;
        self.env.shared.storage.touch(&database.name(), &table.full_name())?;
        let target = Target { table, elsewhere };
        self.check(&target, permission)?;
        Ok(target)
    }

    /// Error 229 unless the user may do this with a table.
    ///
    /// # Errors
    /// 229, 916.
    pub fn check(&self, target: &Target, permission: Permission) -> Bound<()> {
        let own = &self.env.status.rights;
        match &target.elsewhere {
            Some(database) => self.env.shared.rights_in(own, database)?.check_object(
                permission,
                &database.name(),
                &target.table,
            ),
            None => own.check_object(permission, &self.env.status.database.name(), &target.table),
        }
    }

    /// Takes the locks that hints and isolation ask for at once; answers how rows are read.
    fn lock(&self, target: &Target, hints: &Hints) -> Bound<Lock> {
        if target.elsewhere.is_some() {
            return match *hints == Hints::default() {
                true => Ok(Lock::None),
                false => Err(unsupported("hint on a table of another database")),
            };
        }
        let isolation = self.env.status.isolation;
        // Under SNAPSHOT readers take no locks, whatever the hint (but those for writing do).
        let snapshot = isolation == IsolationLevel::Snapshot;
        let holds = hints.hold_lock
            || hints.repeatable_read
            || matches!(isolation, IsolationLevel::RepeatableRead | IsolationLevel::Serializable);
        let table = target.table.id;
        // Two holders of ranges that both mean to write would only deadlock over a shared lock.
        let to_write = holds && (hints.update_lock || hints.exclusive_lock);
        if hints.table_exclusive || (hints.table_lock && hints.exclusive_lock) || to_write {
            self.env.with_txn(|txn| txn.lock_table(table, TableLock::Exclusive))?;
        } else if (holds || hints.table_lock) && !snapshot {
            self.env.with_txn(|txn| txn.lock_table(table, TableLock::Shared))?;
        }
        if hints.exclusive_lock {
            return Ok(Lock::Rows(RowLock::Exclusive));
        }
        if hints.update_lock {
            return Ok(Lock::Rows(RowLock::Update));
        }
        if hints.no_lock || (isolation == IsolationLevel::ReadUncommitted && !holds) {
            return Ok(Lock::Dirty);
        }
        if hints.read_committed_lock && !snapshot {
            return Ok(Lock::Rows(RowLock::Shared));
        }
        Ok(Lock::None)
    }

    fn derived(
        &self,
        query: &crate::engine::syntax::ast::Query,
        alias: &str,
        names: &[String],
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        if !query.order.is_empty() && query.offset.is_none() && !has_top(query) {
            return Err(SqlError::new(
                1033,
                15,
                1,
                "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table expressions, unless TOP, OFFSET or FOR XML is also specified.",
            ));
        }
        let (bound, outer) = self.nested_query(query, scope)?;
        // Applied queries read this query's own sources; seen from here that is depth 0, which
        // the plan's loop provides. Anything further out is noted by the scope itself.
        drop(outer);
        if !names.is_empty() && names.len() != bound.columns.len() {
            return Err(SqlError::new(
                8158,
                16,
                1,
                format!("'{alias}' has more columns than were specified in the column list."),
            ));
        }
        let mut columns: Vec<SourceColumn> = Vec::new();
        for (at, column) in bound.columns.into_iter().enumerate() {
            let name = names.get(at).cloned().unwrap_or(column.name);
            if name.is_empty() {
                return Err(SqlError::new(
                    8155,
                    16,
                    2,
                    format!("No column name was specified for column {} of '{alias}'.", at + 1),
                ));
            }
            if columns.iter().any(|known| super::same_name(&known.name, &name)) {
                return Err(SqlError::new(
                    8156,
                    16,
                    1,
                    format!("The column '{name}' was specified multiple times for '{alias}'."),
                ));
            }
            columns.push(SourceColumn {
                name,
                ty: column.ty,
                nullable: column.nullable,
                identity: column.identity,
            });
        }
        Ok(self.push_derived(alias, columns, bound.plan, scope))
    }

    fn push_derived(
        &self,
        alias: &str,
        columns: Vec<SourceColumn>,
        plan: RowPlan,
        scope: &mut Scope<'_>,
    ) -> Tree {
        let slot = scope.sources.len();
        let width = columns.len();
        scope.sources.push(Source { name: alias.to_owned(), schema: None, slot, columns });
        Tree::Leaf(Leaf::Derived { slot, plan: Box::new(plan) }, width)
    }

    fn values(
        &self,
        rows: &[Vec<Expr>],
        alias: &str,
        names: &[String],
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        let (columns, rows) = {
            let inner = Scope::inside(Some(scope));
            self.value_rows(rows, &inner)?
        };
        if columns.len() != names.len() {
            return Err(SqlError::new(
                8158,
                16,
                1,
                format!("'{alias}' has more columns than were specified in the column list."),
            ));
        }
        let columns = names
            .iter()
            .zip(columns)
            .map(|(name, (ty, nullable))| SourceColumn {
                name: name.clone(),
                ty,
                nullable,
                identity: false,
            })
            .collect();
        Ok(self.push_derived(alias, columns, RowPlan::Values(rows), scope))
    }

    /// Rows of VALUES, each column of one type.
    ///
    /// # Errors
    /// 10709 for rows of different lengths; names and types.
    #[allow(clippy::type_complexity)]
    pub fn value_rows(
        &self,
        rows: &[Vec<Expr>],
        scope: &Scope<'_>,
    ) -> Bound<(Vec<(Option<crate::SqlType>, bool)>, Vec<Vec<Node>>)> {
        let mut bound: Vec<Vec<Typed>> = Vec::new();
        for row in rows {
            let row =
                row.iter().map(|value| self.scalar(value, scope)).collect::<Bound<Vec<Typed>>>()?;
            if bound.first().is_some_and(|first| first.len() != row.len()) {
                return Err(SqlError::new(
                    10709,
                    16,
                    1,
                    "The number of columns for each row in a table value constructor must be the same.",
                ));
            }
            bound.push(row);
        }
        let width = bound.first().map_or(0, Vec::len);
        let mut columns = Vec::new();
        for at in 0..width {
            let ty = types::common_of(bound.iter().map(|row| &row[at]))?;
            let nullable = bound.iter().any(|row| row[at].nullable);
            columns.push((ty, nullable));
        }
        let mut nodes = Vec::new();
        for row in bound {
            let mut converted = Vec::new();
            for (value, (ty, _)) in row.into_iter().zip(&columns) {
                converted.push(match ty {
                    Some(ty) => types::implicit(value, ty)?.node,
                    None => value.node,
                });
            }
            nodes.push(converted);
        }
        Ok((columns, nodes))
    }

    fn table_function(
        &self,
        name: &ObjectName,
        arguments: &[Expr],
        alias: Option<&str>,
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        let schema = name.schema.as_deref().unwrap_or("dbo");
        let full = format!("{schema}.{}", name.name);
        let found = match &name.database {
            None => self.env.with_capture(|context| crate::cdc::table_function(context, &full))?,
            Some(_) => return Err(unsupported("function of another database")),
        };
        let function = found.ok_or_else(|| invalid_object(name))?;
        if arguments.len() > function.parameters.len() {
            return Err(SqlError::new(
                8144,
                16,
                3,
                format!("Procedure or function {full} has too many arguments specified."),
            ));
        }
        let mut bound = Vec::new();
        for (at, parameter) in function.parameters.iter().enumerate() {
            let value = match (arguments.get(at), &parameter.default) {
                (Some(Expr::Default), Some(default)) => {
                    Typed::constant(default.clone(), parameter.ty.clone())
                }
                (Some(value), _) => types::implicit(self.scalar(value, scope)?, &parameter.ty)?,
                (None, _) => {
                    return Err(SqlError::new(
                        313,
                        16,
                        3,
                        format!(
                            "An insufficient number of arguments were supplied for the procedure or function {full}."
                        ),
                    ));
                }
            };
            bound.push(value.node);
        }
        let columns: Vec<SourceColumn> = function
            .columns
            .iter()
            .map(|column| SourceColumn {
                name: column.name.clone(),
                ty: Some(column.ty.clone()),
                nullable: column.nullable,
                identity: column.identity,
            })
            .collect();
        let width = columns.len();
        let slot = scope.sources.len();
        scope.sources.push(Source {
            name: alias.unwrap_or(&name.name).to_owned(),
            schema: None,
            slot,
            columns,
        });
        let leaf = Leaf::Virtual(Virtual {
            slot,
            producer: Box::new(move |env, arguments| {
                let rows = env.with_capture(|context| function.open(context, arguments))?;
                Ok(Box::new(rows))
            }),
            arguments: bound,
            filter: None,
        });
        Ok(Tree::Leaf(leaf, width))
    }
}

fn has_top(query: &crate::engine::syntax::ast::Query) -> bool {
    match &query.body {
        crate::engine::syntax::ast::QueryBody::Select(select) => select.top.is_some(),
        crate::engine::syntax::ast::QueryBody::Set(..) => false,
    }
}

/// Columns of a stored table.
pub fn columns_of(table: &TableDef) -> Vec<SourceColumn> {
    table
        .columns
        .iter()
        .map(|column| SourceColumn {
            name: column.name.clone(),
            ty: Some(column.ty.clone()),
            nullable: column.nullable,
            identity: column.identity.is_some(),
        })
        .collect()
}

/// Error 208.
pub fn invalid_object(name: &ObjectName) -> SqlError {
    SqlError::new(208, 16, 1, format!("Invalid object name '{name}'."))
}

/// Error 1011 or 1013 for two sources of one name.
fn check_names(sources: &[Source]) -> Bound<()> {
    for (at, source) in sources.iter().enumerate() {
        let clash = sources[..at].iter().any(|other| {
            super::same_name(&other.name, &source.name)
                && match (&other.schema, &source.schema) {
                    (Some(left), Some(right)) => super::same_name(left, right),
                    _ => true,
                }
        });
        if clash {
            return Err(SqlError::new(
                1013,
                16,
                1,
                format!(
                    "The objects \"{0}\" and \"{0}\" in the FROM clause have the same exposed names. Use correlation names to distinguish them.",
                    source.name
                ),
            ));
        }
    }
    Ok(())
}
