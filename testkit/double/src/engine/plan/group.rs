//! GROUP BY with aggregates.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use super::{Outcome, TupleCursor, TuplePlan};
use crate::engine::collation::Label;
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
    /// GROUPING and GROUPING_ID of keys by position.
    Grouping(Vec<usize>),
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
    /// Which keys each grouping set keeps; none for one set of all.
    pub sets: Vec<Vec<bool>>,
    /// Aggregates.
    pub aggregates: Vec<Aggregate>,
    /// Where the rows go.
    pub slot: usize,
}

/// An aggregate on its way.
pub(super) struct State {
    count: i64,
    sum: Option<Value>,
    extreme: Value,
    strings: Vec<(Vec<Value>, Value)>,
    seen: HashSet<u64>,
    seen_values: Vec<Value>,
}

impl State {
    pub(super) fn new() -> State {
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
        if let AggregateKind::Grouping(_) = self.kind {
            return Ok(());
        }
        let Some(argument) = &self.argument else {
            state.count += 1;
            return Ok(());
        };
        let value = argument.eval(frame, env)?.into_owned();
        if let AggregateKind::Strings(_) = self.kind {
            if !value.is_null() && (!self.distinct || state.is_new(&value)) {
                let keys: Vec<Node> = self.order.iter().map(|(node, _)| node.clone()).collect();
                let key = evaluate_all(&keys, frame, env)?;
                state.strings.push((key, value));
            }
            return Ok(());
        }
        self.take(state, value)
    }

    /// Counts one more value of the argument; for COUNT(*) any value but NULL.
    pub(super) fn take(&self, state: &mut State, value: Value) -> Outcome<()> {
        if value.is_null() || (self.distinct && !state.is_new(&value)) {
            return Ok(());
        }
        state.count += 1;
        match &self.kind {
            AggregateKind::Count | AggregateKind::Grouping(_) => {}
            AggregateKind::Sum(_) => {
                state.sum = Some(match state.sum.take() {
                    None => value,
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
                    state.extreme = value;
                }
            }
            AggregateKind::Strings(_) => return Err(internal("STRING_AGG over a window")),
        }
        Ok(())
    }

    /// The result so far.
    pub(super) fn finish(&self, state: &State) -> Outcome<Value> {
        match &self.kind {
            AggregateKind::Grouping(_) if self.ty == SqlType::TinyInt => {
                Ok(Value::TinyInt(u8::from(state.count != 0)))
            }
            AggregateKind::Count if self.ty == SqlType::BigInt => Ok(Value::BigInt(state.count)),
            AggregateKind::Count | AggregateKind::Grouping(_) => i32::try_from(state.count)
                .map(Value::Int)
                .map_err(|_| overflow("expression", &self.ty)),
            AggregateKind::Sum(kind) => match &state.sum {
                None => Ok(Value::Null),
                Some(sum) => self.finish_sum(*kind, sum, state.count),
            },
            AggregateKind::Min | AggregateKind::Max => Ok(state.extreme.clone()),
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
                let mut strings: Vec<&(Vec<Value>, Value)> = state.strings.iter().collect();
                strings.sort_by(|(l, _), (r, _)| super::output::compare_by(&directions, l, r));
                Ok(self.join(&strings, separator))
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

    fn join(&self, strings: &[&(Vec<Value>, Value)], separator: &[u16]) -> Value {
        let mut units: Vec<u16> = Vec::new();
        for (at, (_, text)) in strings.iter().enumerate() {
            if at > 0 {
                units.extend_from_slice(separator);
            }
            units.extend(text.units().unwrap_or_default().iter());
        }
        match self.ty.is_unicode() {
            true => Value::NString(units.into()),
            false => {
                let label = strings.first().map_or(Label::default(), |(_, text)| text.label());
                let bytes = label.page().encode(&units);
                Value::String(bytes.into()).of_collation(label)
            }
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
        let one = [vec![true; self.keys.len()]];
        let sets = if self.sets.is_empty() { &one[..] } else { &self.sets[..] };
        let mut groups: Vec<Found> = Vec::new();
        let mut index: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut input = self.input.open(rows, outer, env)?;
        while input.next(rows, outer, env)? {
            let frame = Frame { rows, outer };
            let mut whole = evaluate_all(&self.keys, &frame, env)?;
            for (set, kept) in sets.iter().enumerate() {
                let key: Vec<Value> = match self.sets.is_empty() {
                    true => std::mem::take(&mut whole),
                    false => {
                        let of = |(value, kept): (&Value, &bool)| match kept {
                            true => value.clone(),
                            false => Value::Null,
                        };
                        whole.iter().zip(kept).map(of).collect()
                    }
                };
                let mut hasher = DefaultHasher::new();
                hasher.write_usize(set);
                for value in &key {
                    value.hash_into(&mut hasher);
                }
                let bucket = index.entry(hasher.finish()).or_default();
                let same = |at: &&usize| {
                    let known = &groups[**at];
                    known.set == set
                        && known.key.iter().zip(&key).all(|(l, r)| l.compare(r).is_eq())
                };
                let at = match bucket.iter().find(same) {
                    Some(at) => *at,
                    None => {
                        bucket.push(groups.len());
                        groups.push(self.group(set, kept, key));
                        groups.len() - 1
                    }
                };
                for (aggregate, state) in self.aggregates.iter().zip(&mut groups[at].states) {
                    aggregate.add(state, &frame, env)?;
                }
            }
        }
        drop(input);
        // A set without keys has a group even of nothing.
        for (set, kept) in sets.iter().enumerate() {
            if !kept.contains(&true) && !groups.iter().any(|group| group.set == set) {
                groups.push(self.group(set, kept, vec![Value::Null; self.keys.len()]));
            }
        }
        Ok(Box::new(Groups { plan: self, groups: groups.into_iter() }))
    }
}

/// A group on its way.
struct Found {
    set: usize,
    key: Vec<Value>,
    states: Vec<State>,
}

impl Group {
    /// A new group of a set.
    fn group(&self, set: usize, kept: &[bool], key: Vec<Value>) -> Found {
        let state = |aggregate: &Aggregate| {
            let mut state = State::new();
            if let AggregateKind::Grouping(positions) = &aggregate.kind {
                let bits = |bits: i64, at: &usize| bits << 1 | i64::from(!kept[*at]);
                state.count = positions.iter().fold(0, bits);
            }
            state
        };
        Found { set, key, states: self.aggregates.iter().map(state).collect() }
    }
}

struct Groups<'p> {
    plan: &'p Group,
    groups: std::vec::IntoIter<Found>,
}

impl TupleCursor for Groups<'_> {
    fn next(&mut self, rows: &mut Vec<Row>, _: Option<&Frame<'_>>, _: &Env<'_>) -> Outcome<bool> {
        let Some(Found { key: mut row, states, .. }) = self.groups.next() else {
            return Ok(false);
        };
        for (aggregate, state) in self.plan.aggregates.iter().zip(states) {
            row.push(aggregate.finish(&state)?);
        }
        rows[self.plan.slot] = row.into();
        Ok(true)
    }
}
