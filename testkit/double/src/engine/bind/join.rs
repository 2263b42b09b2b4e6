//! Join order and join methods: from the sources of FROM and the conditions of WHERE to a plan.
//!
//! Inner joins are ordered greedily: next comes the source that can be reached best (by a unique
//! key, a key prefix, a range, a hash) from what is there already, and among equals the one
//! written first. Outer joins and APPLY stay as written.

use super::Used;
use super::access::{self, Score};
use super::object::Target;
use crate::engine::expr::{Condition, Node, all};
use crate::engine::plan::{Hash, Join, Lock, Loop, RowPlan, Scan, TuplePlan, Virtual};
use crate::engine::syntax::ast::{CompareOp, JoinKind};
use crate::storage::IndexId;

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
        /// What a security policy lets through.
        filter: Vec<Condition>,
        /// What hints ask for.
        forced: Forced,
        /// Columns that are read.
        used: Used,
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

/// An access path that hints ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forced {
    /// An index; none inside for the clustered one or the heap.
    pub index: Option<Option<IndexId>>,
    /// FORCESEEK
    pub seek: bool,
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
            Leaf::Table { slot, target, lock, with_row_id, filter, forced, used } => {
                let (access, _) = access::choose(&target.table, slot, &conditions, known, forced);
                let conditions: Vec<_> = filter.into_iter().chain(conditions).collect();
                TuplePlan::Scan(Scan {
                    slot,
                    table: target.table,
                    elsewhere: target.elsewhere,
                    access,
                    lock,
                    filter: all(conditions),
                    with_row_id,
                    used,
                })
            }
            Leaf::Virtual(mut table) => {
                if table.by_first {
                    table.arguments = access::first_values(table.slot, &conditions, known);
                }
                table.filter = all(conditions);
                TuplePlan::Virtual(table)
            }
            Leaf::Derived { slot, plan } => filtered(TuplePlan::Derived { slot, plan }, conditions),
        }
    }

    fn score(&self, conditions: &[Condition], known: &[usize]) -> Score {
        match self {
            Leaf::Table { slot, target, forced, .. } => {
                access::choose(&target.table, *slot, conditions, known, *forced).1
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

    /// Whether an applied query is in it.
    pub fn is_lateral(&self) -> bool {
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
