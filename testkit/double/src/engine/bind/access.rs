//! Which part of which index a scan reads, and whether that saves a sort.

use super::join::Forced;
use crate::engine::expr::{Condition, Node, Place};
use crate::engine::plan::{Access, Join, KeyBound, RowPlan, Scan, TuplePlan, WindowFunction};
use crate::engine::syntax::ast::{CompareOp, SetOp};
use crate::sql_type::Family;
use crate::storage::{IndexDef, IndexId, TableDef};

/// How well a source can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Score {
    /// Worse than anything.
    Nothing,
    /// Row by row.
    Scan,
    /// Through a hash table.
    Hash,
    /// A range of an index.
    Range,
    /// The first columns of an index.
    Prefix,
    /// One row of a unique index.
    Unique,
}

/// `column op value` where the value can be computed before the row is read.
struct Bounded {
    ordinal: usize,
    op: CompareOp,
    value: Node,
}

/// Looks through conversions that keep the order of every value.
fn bare_column(node: &Node) -> Option<Place> {
    match node {
        Node::Column(place) => Some(*place),
        Node::Convert { value, from, to, style: None, attempt: false } => {
            let widens = match (from.family(), to.family()) {
                (Family::Integer, Family::Integer) => {
                    to.rank() >= from.rank() && from.name() != "bit"
                }
                (Family::Text, Family::Text) => {
                    to.is_max() || to.display_length() >= from.display_length()
                }
                (Family::Integer | Family::Decimal | Family::Money, Family::Decimal) => {
                    match (from.as_decimal(), to.as_decimal()) {
                        (Some((p, s)), Some((wide, scale))) => {
                            scale >= s && wide - scale >= p - s && from.name() != "bit"
                        }
                        _ => false,
                    }
                }
                (Family::Binary, Family::Binary) => {
                    to.is_max() || to.display_length() >= from.display_length()
                }
                (Family::Temporal, Family::Temporal) => {
                    from.name() == to.name() && to.scale() >= from.scale()
                }
                _ => false,
            };
            if widens { bare_column(value) } else { None }
        }
        _ => None,
    }
}

/// Whether a value can be computed with `known` slots at hand.
fn computable(node: &Node, known: &[usize]) -> bool {
    let mut places = Vec::new();
    node.places(&mut places);
    // A value under a collation of its own finds nothing in an index of another one.
    let mut collated = false;
    node.visit(&mut |part| collated |= matches!(part, Node::Collate(..)));
    !collated && places.iter().all(|place| place.depth > 0 || known.contains(&place.source))
}

fn bounded(condition: &Condition, slot: usize, known: &[usize]) -> Option<Bounded> {
    let Condition::Compare(op, left, right) = condition else {
        return None;
    };
    let computable = |node: &Node| computable(node, known);
    let own =
        |node: &Node| bare_column(node).filter(|place| place.depth == 0 && place.source == slot);
    if let Some(place) = own(left)
        && computable(right)
    {
        return Some(Bounded { ordinal: place.ordinal, op: *op, value: right.clone() });
    }
    let place = own(right)?;
    computable(left).then(|| Bounded {
        ordinal: place.ordinal,
        op: mirrored(*op),
        value: left.clone(),
    })
}

/// Values of the first column beyond which no row of `slot` can satisfy AND-ed conditions, with
/// `known` slots at hand; none if the conditions do not say.
pub fn first_values(slot: usize, conditions: &[Condition], known: &[usize]) -> Vec<Node> {
    let listed = |condition: &Condition| match condition {
        Condition::InList(node, values) => {
            let first =
                bare_column(node).is_some_and(|p| (p.depth, p.source, p.ordinal) == (0, slot, 0));
            (first && values.iter().all(|value| computable(value, known))).then(|| values.clone())
        }
        other => bounded(other, slot, known)
            .filter(|bound| bound.ordinal == 0 && bound.op == CompareOp::Equal)
            .map(|bound| vec![bound.value]),
    };
    conditions.iter().find_map(listed).unwrap_or_default()
}

fn mirrored(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Less => CompareOp::Greater,
        CompareOp::LessOrEqual => CompareOp::GreaterOrEqual,
        CompareOp::Greater => CompareOp::Less,
        CompareOp::GreaterOrEqual => CompareOp::LessOrEqual,
        other => other,
    }
}

/// The best access to a table under AND-ed conditions, with `known` slots at hand.
pub fn choose(
    table: &TableDef,
    slot: usize,
    conditions: &[Condition],
    known: &[usize],
    forced: Forced,
) -> (Access, Score) {
    let bounds: Vec<Bounded> =
        conditions.iter().filter_map(|condition| bounded(condition, slot, known)).collect();
    if let Some(index) = forced.index {
        let found = match index {
            Some(id) => table.index(id),
            None => table.clustered(),
        };
        let (mut access, score) = match found {
            Some(index) => through(table, index, &bounds),
            None => (Access::default(), Score::Scan),
        };
        access.pinned = true;
        access.impossible = forced.seek && score == Score::Scan;
        return (access, score);
    }
    let mut best = (Access::default(), Score::Scan, 0);
    // The clustered index first: among equals it wins.
    let mut indexes: Vec<&IndexDef> =
        table.indexes.iter().filter(|index| index.is_whole()).collect();
    indexes.sort_by_key(|index| !index.clustered);
    for index in indexes {
        let (access, score) = through(table, index, &bounds);
        let weight = access.equal.len();
        if (score, weight) > (best.1, best.2) {
            best = (access, score, weight);
        }
    }
    best.0.impossible = forced.seek && best.1 == Score::Scan;
    best.0.pinned = forced.seek;
    (best.0, best.1)
}

/// Has a scan of one table read another index that has all columns that are read, in that index's
/// order, as an optimizer may: it is smaller.
pub fn prefer_covering(plan: &mut TuplePlan) {
    let TuplePlan::Scan(scan) = plan else {
        return;
    };
    if scan.access.pinned || !scan.access.equal.is_empty() {
        return;
    }
    let table = &scan.table;
    let clustered = table.clustered().map(|index| table.key_positions(index)).unwrap_or_default();
    let used = scan.used.borrow();
    let covers = |index: &&IndexDef| {
        let keys = table.key_positions(index);
        let has = |at: &usize| {
            let Some(id) = table.columns.get(*at).map(|column| column.id) else {
                return true;
            };
            keys.contains(at) || clustered.contains(at) || index.includes.contains(&id)
        };
        !index.clustered && index.is_whole() && used.iter().all(has)
    };
    let Some(index) = table.indexes.iter().find(covers).map(|index| index.id) else {
        return;
    };
    drop(used);
    scan.access = Access { index: Some(index), pinned: true, ..Access::default() };
}

fn through(table: &TableDef, index: &IndexDef, bounds: &[Bounded]) -> (Access, Score) {
    let mut access = Access { index: (!index.clustered).then_some(index.id), ..Access::default() };
    let positions = table.key_positions(index);
    for position in &positions {
        let equal =
            bounds.iter().find(|bound| bound.ordinal == *position && bound.op == CompareOp::Equal);
        if let Some(bound) = equal {
            access.equal.push(bound.value.clone());
            continue;
        }
        for bound in bounds.iter().filter(|bound| bound.ordinal == *position) {
            let inclusive = matches!(bound.op, CompareOp::GreaterOrEqual | CompareOp::LessOrEqual);
            let edge = KeyBound { value: bound.value.clone(), inclusive };
            match bound.op {
                CompareOp::Greater | CompareOp::GreaterOrEqual if access.lower.is_none() => {
                    access.lower = Some(edge);
                }
                CompareOp::Less | CompareOp::LessOrEqual if access.upper.is_none() => {
                    access.upper = Some(edge);
                }
                _ => {}
            }
        }
        break;
    }
    let score = if access.equal.len() == positions.len() && index.unique {
        Score::Unique
    } else if !access.equal.is_empty() {
        Score::Prefix
    } else if access.lower.is_some() || access.upper.is_some() {
        Score::Range
    } else {
        Score::Scan
    };
    (access, score)
}

/// Makes rows come in this order by itself: through indexes, and by merging the sides of UNION ALL.
/// The plan is unchanged where that cannot be.
pub fn order_rows(plan: &mut RowPlan, keys: &[(usize, bool)]) -> bool {
    can_order(plan, keys) && apply_order(plan, keys)
}

/// Keys of a projection's rows as keys of what is below it.
fn below(items: &[Node], keys: &[(usize, bool)]) -> Option<Vec<(Node, bool)>> {
    keys.iter().map(|(at, descending)| Some((items.get(*at)?.clone(), *descending))).collect()
}

/// The same over plain rows, where every key is a column of theirs.
fn below_map(items: &[Node], keys: &[(usize, bool)]) -> Option<Vec<(usize, bool)>> {
    let below = below(items, keys)?;
    below
        .into_iter()
        .map(|(node, descending)| match node {
            Node::Column(place) if place.depth == 0 && place.source == 0 => {
                Some((place.ordinal, descending))
            }
            _ => None,
        })
        .collect()
}

fn can_order(plan: &RowPlan, keys: &[(usize, bool)]) -> bool {
    match plan {
        RowPlan::Project { input, items, .. } => {
            below(items, keys).is_some_and(|order| access_in_order(input, &order).is_some())
        }
        RowPlan::Map { input, items } => {
            below_map(items, keys).is_some_and(|keys| can_order(input, &keys))
        }
        RowPlan::Set { op: SetOp::UnionAll, left, right } | RowPlan::Merge { left, right, .. } => {
            can_order(left, keys) && can_order(right, keys)
        }
        _ => false,
    }
}

fn apply_order(plan: &mut RowPlan, keys: &[(usize, bool)]) -> bool {
    match plan {
        RowPlan::Project { input, items, .. } => {
            below(items, keys).is_some_and(|order| satisfy_order(input, &order))
        }
        RowPlan::Map { input, items } => {
            below_map(items, keys).is_some_and(|keys| apply_order(input, &keys))
        }
        RowPlan::Set { left, right, .. } | RowPlan::Merge { left, right, .. } => {
            let done = apply_order(left, keys) && apply_order(right, keys);
            let empty = || Box::new(RowPlan::Values(Vec::new()));
            let (left, right) =
                (std::mem::replace(left, empty()), std::mem::replace(right, empty()));
            *plan = RowPlan::Merge { left, right, keys: keys.to_vec() };
            done
        }
        _ => false,
    }
}

/// Makes the plan deliver this order (columns and directions) by itself, if an index can.
pub fn satisfy_order(plan: &mut TuplePlan, order: &[(Node, bool)]) -> bool {
    if let TuplePlan::Derived { slot, plan } = plan {
        let slot = *slot;
        let keys: Option<Vec<(usize, bool)>> = order
            .iter()
            .map(|(node, descending)| match node {
                Node::Column(place) if place.depth == 0 && place.source == slot => {
                    Some((place.ordinal, *descending))
                }
                _ => None,
            })
            .collect();
        return keys.is_some_and(|keys| order_rows(plan, &keys));
    }
    let Some((index, descending)) = access_in_order(plan, order) else {
        return false;
    };
    let Some(scan) = driving_scan(plan) else {
        return false;
    };
    scan.access.index = index;
    scan.access.descending = descending;
    true
}

/// Whether tuples come, or can be made to come, in the order of every ranking function.
pub fn rank_in_order(plan: &mut TuplePlan, rankings: &[WindowFunction]) -> bool {
    if !rankings.iter().all(|function| function.kind.runs_along()) {
        return false;
    }
    let constant = |node: &Node| {
        let mut places = Vec::new();
        node.places(&mut places);
        let mut calls = false;
        node.visit(&mut |part| calls |= matches!(part, Node::Call { .. } | Node::Capture { .. }));
        !calls && places.iter().all(|place| place.depth > 0)
    };
    let any_order = |ranking: &WindowFunction| {
        ranking.partition.is_empty() && ranking.order.iter().all(|(node, _)| constant(node))
    };
    if rankings.iter().all(any_order) {
        return true;
    }
    let [ranking] = rankings else {
        return false;
    };
    let descending = ranking.order.first().is_some_and(|(_, descending)| *descending);
    let mut order: Vec<(Node, bool)> =
        ranking.partition.iter().map(|node| (node.clone(), descending)).collect();
    order.extend(ranking.order.iter().cloned());
    satisfy_order(plan, &order)
}

/// The index, and the direction, through which the driving scan delivers this order.
fn access_in_order(plan: &TuplePlan, order: &[(Node, bool)]) -> Option<(Option<IndexId>, bool)> {
    let scan = driving_scan_ref(plan)?;
    let mut wanted = Vec::new();
    for (node, descending) in order {
        match node {
            Node::Column(place) if place.depth == 0 && place.source == scan.slot => {
                wanted.push((place.ordinal, *descending));
            }
            _ => return None,
        }
    }
    let (_, descending) = *wanted.first()?;
    if wanted.iter().any(|(_, other)| *other != descending) {
        return None;
    }
    let unbounded =
        scan.access.equal.is_empty() && scan.access.lower.is_none() && scan.access.upper.is_none();
    let table = &scan.table;
    let current = match scan.access.index {
        Some(id) => table.index(id),
        None => table.clustered(),
    };
    let ordinals: Vec<usize> = wanted.iter().map(|(ordinal, _)| *ordinal).collect();
    if let Some(index) = current
        && delivers(table, index, scan.access.equal.len(), &ordinals)
    {
        return Some((scan.access.index, descending));
    }
    if !unbounded || scan.access.pinned {
        return None;
    }
    let mut whole = table.indexes.iter().filter(|index| index.is_whole());
    let index = whole.find(|index| delivers(table, index, 0, &ordinals))?;
    Some(((!index.clustered).then_some(index.id), descending))
}

/// Whether an index, its first `fixed` columns equal to one value each, is in this order.
fn delivers(table: &TableDef, index: &IndexDef, fixed: usize, wanted: &[usize]) -> bool {
    let positions = table.key_positions(index);
    let (equal, mut rest) =
        (&positions[..fixed.min(positions.len())], &positions[fixed.min(positions.len())..]);
    for ordinal in wanted {
        // A column fixed to one value, or one already sorted by, orders nothing any more.
        let sorted = &positions[..positions.len() - rest.len()];
        if equal.contains(ordinal) || sorted.contains(ordinal) {
            continue;
        }
        match rest {
            [first, tail @ ..] if first == ordinal => rest = tail,
            // Behind a whole unique key nothing is left to order.
            [] => return index.unique,
            _ => return false,
        }
    }
    true
}

/// The scan whose order the tuples keep.
fn driving_scan(plan: &mut TuplePlan) -> Option<&mut Scan> {
    match plan {
        TuplePlan::Scan(scan) => Some(scan),
        TuplePlan::Filter { input, .. } => driving_scan(input),
        TuplePlan::Loop(join) => driving_scan(&mut join.left),
        TuplePlan::Hash(join) if join.join != Join::Full => driving_scan(&mut join.left),
        _ => None,
    }
}

fn driving_scan_ref(plan: &TuplePlan) -> Option<&Scan> {
    match plan {
        TuplePlan::Scan(scan) => Some(scan),
        TuplePlan::Filter { input, .. } => driving_scan_ref(input),
        TuplePlan::Loop(join) => driving_scan_ref(&join.left),
        TuplePlan::Hash(join) if join.join != Join::Full => driving_scan_ref(&join.left),
        _ => None,
    }
}
