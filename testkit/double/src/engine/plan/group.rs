//! GROUP BY with aggregates, and ranking functions.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use super::{Outcome, TupleCursor, TuplePlan};
use crate::engine::convert::overflow;
use crate::engine::decimal::{self, Shape};
use crate::engine::env::Env;
use crate::engine::expr::{Frame, Node, arithmetic, evaluate_all, internal};
use crate::engine::syntax::ast::BinaryOp;
use crate::storage::Row;
use crate::{SqlType, Value};

/// How a sum is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumKind {
    /// SUM
    Sum,
    /// AVG
    Average,
}

/// What an aggregate computes.
#[derive(Clone, Debug, PartialEq)]
pub enum AggregateKind {
    /// COUNT(*) or COUNT(x)
    Count,
    /// SUM or AVG over a numeric argument of the result's family.
    Sum(SumKind),
    /// MIN
    Min,
    /// MAX
    Max,
    /// STRING_AGG: separator, and positions and directions of its own order.
    Strings(Vec<u16>),
}

/// An aggregate.
#[derive(Clone)]
pub struct Aggregate {
    /// What it computes.
    pub kind: AggregateKind,
    /// Argument; none for COUNT(*).
    pub argument: Option<Node>,
    /// Order of STRING_AGG.
    pub order: Vec<(Node, bool)>,
    /// DISTINCT.
    pub distinct: bool,
    /// Type of its result.
    pub ty: SqlType,
}

/// Grouping: answers one row of keys and aggregates for each group.
pub struct Group {
    /// Tuples.
    pub input: Box<TuplePlan>,
    /// Keys; without any there is exactly one group.
    pub keys: Vec<Node>,
    /// Aggregates.
    pub aggregates: Vec<Aggregate>,
    /// Where the rows go.
    pub slot: usize,
}

struct State {
    count: i64,
    sum: Option<Value>,
    extreme: Value,
    strings: Vec<(Vec<Value>, Value)>,
    seen: HashSet<u64>,
    seen_values: Vec<Value>,
}

impl State {
    fn new() -> State {
        State {
            count: 0,
            sum: None,
            extreme: Value::Null,
            strings: Vec::new(),
            seen: HashSet::new(),
            seen_values: Vec::new(),
        }
    }

    /// Whether a DISTINCT value is new.
    fn is_new(&mut self, value: &Value) -> bool {
        let mut hasher = DefaultHasher::new();
        value.hash_into(&mut hasher);
        let fresh = self.seen.insert(hasher.finish())
            || !self.seen_values.iter().any(|known| known.compare(value).is_eq());
        if fresh {
            self.seen_values.push(value.clone());
        }
        fresh
    }
}

impl Aggregate {
    /// Type in which a sum runs: wide enough for what the result's division needs.
    fn running(&self) -> SqlType {
        match &self.ty {
            SqlType::Int => SqlType::BigInt,
            SqlType::Decimal { scale, .. } | SqlType::Numeric { scale, .. } => {
                SqlType::Numeric { precision: decimal::MAX_PRECISION, scale: *scale }
            }
            other => other.clone(),
        }
    }

    fn add(&self, state: &mut State, frame: &Frame<'_>, env: &Env<'_>) -> Outcome<()> {
        let Some(argument) = &self.argument else {
            state.count += 1;
            return Ok(());
        };
        let value = argument.eval(frame, env)?;
        if value.is_null() || (self.distinct && !state.is_new(&value)) {
            return Ok(());
        }
        state.count += 1;
        match &self.kind {
            AggregateKind::Count => {}
            AggregateKind::Sum(_) => {
                state.sum = Some(match state.sum.take() {
                    None => value.into_owned(),
                    Some(sum) => arithmetic::apply(BinaryOp::Add, &self.running(), &sum, &value)
                        .map_err(|_| overflow("expression", &self.ty))?,
                });
            }
            AggregateKind::Min | AggregateKind::Max => {
                let wanted = match self.kind {
                    AggregateKind::Min => Ordering::Less,
                    _ => Ordering::Greater,
                };
                if state.extreme.is_null() || value.compare(&state.extreme) == wanted {
                    state.extreme = value.into_owned();
                }
            }
            AggregateKind::Strings(_) => {
                let keys: Vec<Node> = self.order.iter().map(|(node, _)| node.clone()).collect();
                let key = evaluate_all(&keys, frame, env)?;
                state.strings.push((key, value.into_owned()));
            }
        }
        Ok(())
    }

    fn finish(&self, mut state: State) -> Outcome<Value> {
        match &self.kind {
            AggregateKind::Count if self.ty == SqlType::BigInt => Ok(Value::BigInt(state.count)),
            AggregateKind::Count => i32::try_from(state.count)
                .map(Value::Int)
                .map_err(|_| overflow("expression", &self.ty)),
            AggregateKind::Sum(kind) => match state.sum {
                None => Ok(Value::Null),
                Some(sum) => self.finish_sum(*kind, &sum, state.count),
            },
            AggregateKind::Min | AggregateKind::Max => Ok(state.extreme),
            AggregateKind::Strings(separator) => {
                if state.strings.is_empty() {
                    return Ok(Value::Null);
                }
                let directions: Vec<(usize, bool)> = self
                    .order
                    .iter()
                    .enumerate()
                    .map(|(at, (_, descending))| (at, *descending))
                    .collect();
                state
                    .strings
                    .sort_by(|(l, _), (r, _)| super::output::compare_by(&directions, l, r));
                Ok(self.join(&state.strings, separator))
            }
        }
    }

    fn finish_sum(&self, kind: SumKind, sum: &Value, count: i64) -> Outcome<Value> {
        if kind == SumKind::Sum {
            return match (&self.ty, sum.as_i64()) {
                (SqlType::Int, Some(whole)) => i32::try_from(whole)
                    .map(Value::Int)
                    .map_err(|_| overflow("expression", &self.ty)),
                _ => Ok(sum.clone()),
            };
        }
        match (&self.ty, sum) {
            (SqlType::Int, _) => {
                let whole = sum.as_i64().ok_or_else(|| internal("a sum"))? / count;
                i32::try_from(whole).map(Value::Int).map_err(|_| overflow("expression", &self.ty))
            }
            (SqlType::BigInt, _) => {
                let whole = sum.as_i64().ok_or_else(|| internal("a sum"))?;
                Ok(Value::BigInt(whole / count))
            }
            (
                SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale },
                Value::Decimal { unscaled, scale: from },
            ) => {
                let shape = Shape { precision: *precision, scale: *scale };
                decimal::divide((*unscaled, *from), (i128::from(count), 0), shape)
                    .map(|unscaled| Value::Decimal { unscaled, scale: *scale })
                    .ok_or_else(|| overflow("expression", &self.ty))
            }
            (_, Value::Money(units)) => Ok(Value::Money(units / count)),
            (_, Value::Float(total)) => Ok(Value::Float(total / count as f64)),
            _ => Err(internal("an average")),
        }
    }

    fn join(&self, strings: &[(Vec<Value>, Value)], separator: &[u16]) -> Value {
        let mut units: Vec<u16> = Vec::new();
        for (at, (_, text)) in strings.iter().enumerate() {
            if at > 0 {
                units.extend_from_slice(separator);
            }
            units.extend(text.units().unwrap_or_default().iter());
        }
        match self.ty.is_unicode() {
            true => Value::NString(units.into()),
            false => Value::String(crate::engine::collation::encode(&units).into()),
        }
    }
}

impl Group {
    /// Starts it: reads everything below.
    ///
    /// # Errors
    /// Those of its input and aggregates.
    pub fn open<'p>(
        &'p self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn TupleCursor + 'p>> {
        let mut groups: Vec<(Vec<Value>, Vec<State>)> = Vec::new();
        let mut index: HashMap<u64, Vec<usize>> = HashMap::new();
        let fresh = || self.aggregates.iter().map(|_| State::new()).collect();
        let mut input = self.input.open(rows, outer, env)?;
        while input.next(rows, outer, env)? {
            let frame = Frame { rows, outer };
            let key = evaluate_all(&self.keys, &frame, env)?;
            let mut hasher = DefaultHasher::new();
            for value in &key {
                value.hash_into(&mut hasher);
            }
            let bucket = index.entry(hasher.finish()).or_default();
            let same =
                |at: &&usize| groups[**at].0.iter().zip(&key).all(|(l, r)| l.compare(r).is_eq());
            let at = match bucket.iter().find(same) {
                Some(at) => *at,
                None => {
                    bucket.push(groups.len());
                    groups.push((key, fresh()));
                    groups.len() - 1
                }
            };
            for (aggregate, state) in self.aggregates.iter().zip(&mut groups[at].1) {
                aggregate.add(state, &frame, env)?;
            }
        }
        drop(input);
        if self.keys.is_empty() && groups.is_empty() {
            groups.push((Vec::new(), fresh()));
        }
        Ok(Box::new(Groups { plan: self, groups: groups.into_iter() }))
    }
}

struct Groups<'p> {
    plan: &'p Group,
    groups: std::vec::IntoIter<(Vec<Value>, Vec<State>)>,
}

impl TupleCursor for Groups<'_> {
    fn next(&mut self, rows: &mut Vec<Row>, _: Option<&Frame<'_>>, _: &Env<'_>) -> Outcome<bool> {
        let Some((mut row, states)) = self.groups.next() else {
            return Ok(false);
        };
        for (aggregate, state) in self.plan.aggregates.iter().zip(states) {
            row.push(aggregate.finish(state)?);
        }
        rows[self.plan.slot] = row.into();
        Ok(true)
    }
}

/// Ranking functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// ROW_NUMBER
    RowNumber,
    /// RANK
    Rank,
    /// DENSE_RANK
    DenseRank,
}

/// One window function: kind, PARTITION BY, ORDER BY.
#[derive(Clone)]
pub struct Ranking {
    /// Kind.
    pub kind: WindowKind,
    /// PARTITION BY
    pub partition: Vec<Node>,
    /// ORDER BY with directions
    pub order: Vec<(Node, bool)>,
}

/// Window functions: answers each tuple with a row of their values.
pub struct Window {
    /// Tuples.
    pub input: Box<TuplePlan>,
    /// Functions.
    pub rankings: Vec<Ranking>,
    /// Where the row of values goes.
    pub slot: usize,
    /// Whether tuples come in the order of every function: then none is kept.
    pub in_order: bool,
}

impl Window {
    /// Starts it: reads everything below, unless that is in order.
    ///
    /// # Errors
    /// Those of its input.
    pub fn open<'p>(
        &'p self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn TupleCursor + 'p>> {
        if self.in_order {
            let input = self.input.open(rows, outer, env)?;
            let counts = self.rankings.iter().map(|_| Counts::default()).collect();
            return Ok(Box::new(Counting { plan: self, input, counts }));
        }
        let mut tuples: Vec<(Vec<Row>, Vec<Value>)> = Vec::new();
        let mut keys: Vec<Vec<(Vec<Value>, Vec<Value>)>> = vec![Vec::new(); self.rankings.len()];
        let mut input = self.input.open(rows, outer, env)?;
        while input.next(rows, outer, env)? {
            let frame = Frame { rows, outer };
            for (ranking, keys) in self.rankings.iter().zip(&mut keys) {
                let partition = evaluate_all(&ranking.partition, &frame, env)?;
                let order: Vec<Node> = ranking.order.iter().map(|(node, _)| node.clone()).collect();
                keys.push((partition, evaluate_all(&order, &frame, env)?));
            }
            tuples.push((rows.clone(), Vec::new()));
        }
        drop(input);
        let mut last = Vec::new();
        for (ranking, keys) in self.rankings.iter().zip(&keys) {
            last = ranking.rank(keys, &mut tuples);
        }
        // In the order of the last function, as a plan that sorts for each of them leaves it.
        let mut taken: Vec<Option<(Vec<Row>, Vec<Value>)>> = tuples.into_iter().map(Some).collect();
        let ordered: Vec<_> = last.into_iter().filter_map(|at| taken[at].take()).collect();
        Ok(Box::new(Windowed { slot: self.slot, tuples: ordered.into_iter() }))
    }
}

impl Ranking {
    /// Appends each tuple's value; answers the tuples' positions in order.
    fn rank(
        &self,
        keys: &[(Vec<Value>, Vec<Value>)],
        tuples: &mut [(Vec<Row>, Vec<Value>)],
    ) -> Vec<usize> {
        let ascending: Vec<(usize, bool)> =
            (0..self.partition.len()).map(|at| (at, false)).collect();
        let directions: Vec<(usize, bool)> =
            self.order.iter().enumerate().map(|(at, (_, descending))| (at, *descending)).collect();
        let by_partition =
            |l: usize, r: usize| super::output::compare_by(&ascending, &keys[l].0, &keys[r].0);
        let by_order =
            |l: usize, r: usize| super::output::compare_by(&directions, &keys[l].1, &keys[r].1);
        let mut positions: Vec<usize> = (0..keys.len()).collect();
        positions.sort_by(|l, r| by_partition(*l, *r).then_with(|| by_order(*l, *r)));
        let mut counts = Counts::default();
        let mut before: Option<usize> = None;
        for at in positions.iter().copied() {
            let same_partition = before.is_some_and(|b| by_partition(b, at).is_eq());
            let peer = same_partition && before.is_some_and(|b| by_order(b, at).is_eq());
            tuples[at].1.push(counts.next(self.kind, same_partition, peer));
            before = Some(at);
        }
        positions
    }
}

/// Where a ranking function stands in its partition.
#[derive(Default)]
struct Counts {
    row: i64,
    rank: i64,
    dense: i64,
    /// Partition and order of the tuple before.
    before: Option<(Vec<Value>, Vec<Value>)>,
}

impl Counts {
    /// The next tuple's value.
    fn next(&mut self, kind: WindowKind, same_partition: bool, peer: bool) -> Value {
        if !same_partition {
            (self.row, self.rank, self.dense) = (0, 0, 0);
        }
        self.row += 1;
        if !peer {
            self.rank = self.row;
            self.dense += 1;
        }
        Value::BigInt(match kind {
            WindowKind::RowNumber => self.row,
            WindowKind::Rank => self.rank,
            WindowKind::DenseRank => self.dense,
        })
    }
}

/// Ranking functions over tuples that come in their order.
struct Counting<'p> {
    plan: &'p Window,
    input: Box<dyn TupleCursor + 'p>,
    counts: Vec<Counts>,
}

impl TupleCursor for Counting<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        if !self.input.next(rows, outer, env)? {
            return Ok(false);
        }
        let mut values = Vec::with_capacity(self.counts.len());
        let same = |l: &[Value], r: &[Value]| l.iter().zip(r).all(|(l, r)| l.compare(r).is_eq());
        for (ranking, counts) in self.plan.rankings.iter().zip(&mut self.counts) {
            if ranking.kind == WindowKind::RowNumber && ranking.partition.is_empty() {
                values.push(counts.next(ranking.kind, true, false));
                continue;
            }
            let frame = Frame { rows, outer };
            let partition = evaluate_all(&ranking.partition, &frame, env)?;
            let order = ranking.order.iter().map(|(node, _)| node);
            let order: Vec<Value> = order
                .map(|node| node.eval(&frame, env).map(Cow::into_owned))
                .collect::<Outcome<_>>()?;
            let before = counts.before.as_ref();
            let same_partition = before.is_some_and(|(known, _)| same(known, &partition));
            let peer = same_partition && before.is_some_and(|(_, known)| same(known, &order));
            values.push(counts.next(ranking.kind, same_partition, peer));
            counts.before = Some((partition, order));
        }
        rows[self.plan.slot] = values.into();
        Ok(true)
    }
}

struct Windowed {
    slot: usize,
    tuples: std::vec::IntoIter<(Vec<Row>, Vec<Value>)>,
}

impl TupleCursor for Windowed {
    fn next(&mut self, rows: &mut Vec<Row>, _: Option<&Frame<'_>>, _: &Env<'_>) -> Outcome<bool> {
        let Some((tuple, values)) = self.tuples.next() else {
            return Ok(false);
        };
        *rows = tuple;
        rows[self.slot] = values.into();
        Ok(true)
    }
}
