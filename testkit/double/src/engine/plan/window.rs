//! Window functions.
//!
//! Each function sorts the tuples by its own partition and order, and gives each of them a value
//! that it computes over the tuple's partition. The tuples leave in the order of the last function,
//! as a plan that sorts for each of them leaves them.

use std::borrow::Cow;
use std::ops::Range;

use super::group::{Aggregate, State};
use super::output::compare_by;
use super::{Outcome, TupleCursor, TuplePlan};
use crate::engine::env::Env;
use crate::engine::expr::{Frame, Node, evaluate_all};
use crate::engine::syntax::ast::{Edge, Extent};
use crate::storage::Row;
use crate::{SqlError, Value};

/// What a window function computes.
#[derive(Clone)]
pub enum WindowKind {
    /// ROW_NUMBER
    RowNumber,
    /// RANK
    Rank,
    /// DENSE_RANK
    DenseRank,
    /// PERCENT_RANK
    PercentRank,
    /// CUME_DIST
    CumulativeDistribution,
    /// NTILE
    Tiles(Node),
    /// LAG, or LEAD.
    Shift {
        /// Value.
        value: Node,
        /// How many rows away.
        offset: Node,
        /// Value where there is no such row.
        default: Node,
        /// LAG
        back: bool,
    },
    /// FIRST_VALUE
    First(Node),
    /// LAST_VALUE
    Last(Node),
    /// An aggregate.
    Aggregate(Aggregate),
}

/// One window function.
#[derive(Clone)]
pub struct WindowFunction {
    /// What it computes.
    pub kind: WindowKind,
    /// PARTITION BY
    pub partition: Vec<Node>,
    /// ORDER BY with directions
    pub order: Vec<(Node, bool)>,
    /// The rows that it looks at; without an order, all of the partition.
    pub extent: Extent,
}

/// Window functions: answers each tuple with a row of their values.
pub struct Window {
    /// Tuples.
    pub input: Box<TuplePlan>,
    /// Functions.
    pub functions: Vec<WindowFunction>,
    /// Where the row of values goes.
    pub slot: usize,
    /// Whether tuples come in the order of every function: then none is kept.
    pub in_order: bool,
}

/// A tuple's partition and order, and the function's arguments over it.
struct Key {
    partition: Vec<Value>,
    order: Vec<Value>,
    arguments: Vec<Value>,
}

impl Window {
    /// Starts it: reads everything below, unless that is in order.
    ///
    /// # Errors
    /// Those of its input and functions.
    pub fn open<'p>(
        &'p self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn TupleCursor + 'p>> {
        if self.in_order {
            let input = self.input.open(rows, outer, env)?;
            let counts = self.functions.iter().map(|_| Counts::default()).collect();
            return Ok(Box::new(Counting { plan: self, input, counts }));
        }
        let mut tuples: Vec<Vec<Row>> = Vec::new();
        let mut keys: Vec<Vec<Key>> = self.functions.iter().map(|_| Vec::new()).collect();
        let mut input = self.input.open(rows, outer, env)?;
        while input.next(rows, outer, env)? {
            let frame = Frame { rows, outer };
            for (function, keys) in self.functions.iter().zip(&mut keys) {
                keys.push(function.key(&frame, env)?);
            }
            tuples.push(rows.clone());
        }
        drop(input);
        let mut values: Vec<Vec<Value>> = tuples.iter().map(|_| Vec::new()).collect();
        let mut last = Vec::new();
        for (function, keys) in self.functions.iter().zip(&keys) {
            last = function.compute(keys, &mut values, env)?;
        }
        let mut taken: Vec<Option<(Vec<Row>, Vec<Value>)>> =
            tuples.into_iter().zip(values).map(Some).collect();
        let ordered: Vec<_> = last.into_iter().filter_map(|at| taken[at].take()).collect();
        Ok(Box::new(Windowed { slot: self.slot, tuples: ordered.into_iter() }))
    }
}

impl WindowKind {
    /// Whether tuples in order are enough to compute it as they come.
    pub fn runs_along(&self) -> bool {
        matches!(self, WindowKind::RowNumber | WindowKind::Rank | WindowKind::DenseRank)
    }

    /// The expressions whose values it answers or computes from.
    pub fn values(&self) -> Vec<&Node> {
        match self {
            WindowKind::Tiles(node) | WindowKind::First(node) | WindowKind::Last(node) => {
                vec![node]
            }
            WindowKind::Shift { value, default, .. } => vec![value, default],
            WindowKind::Aggregate(aggregate) => aggregate.argument.iter().collect(),
            _ => Vec::new(),
        }
    }

    fn arguments(&self, frame: &Frame<'_>, env: &Env<'_>) -> Outcome<Vec<Value>> {
        let of = |node: &Node| node.eval(frame, env).map(Cow::into_owned);
        Ok(match self {
            WindowKind::Tiles(node) | WindowKind::First(node) | WindowKind::Last(node) => {
                vec![of(node)?]
            }
            WindowKind::Shift { value, offset, default, .. } => {
                vec![of(value)?, of(offset)?, of(default)?]
            }
            WindowKind::Aggregate(Aggregate { argument: Some(node), .. }) => vec![of(node)?],
            WindowKind::Aggregate(_) => vec![Value::Bit(true)],
            _ => Vec::new(),
        })
    }
}

impl WindowFunction {
    fn key(&self, frame: &Frame<'_>, env: &Env<'_>) -> Outcome<Key> {
        let order: Vec<Node> = self.order.iter().map(|(node, _)| node.clone()).collect();
        Ok(Key {
            partition: evaluate_all(&self.partition, frame, env)?,
            order: evaluate_all(&order, frame, env)?,
            arguments: self.kind.arguments(frame, env)?,
        })
    }

    /// Appends each tuple's value; answers the tuples' positions in order.
    fn compute(
        &self,
        keys: &[Key],
        values: &mut [Vec<Value>],
        env: &Env<'_>,
    ) -> Outcome<Vec<usize>> {
        let ascending: Vec<(usize, bool)> =
            (0..self.partition.len()).map(|at| (at, false)).collect();
        let directions: Vec<(usize, bool)> =
            self.order.iter().enumerate().map(|(at, (_, descending))| (at, *descending)).collect();
        let by_partition =
            |l: usize, r: usize| compare_by(&ascending, &keys[l].partition, &keys[r].partition);
        let by_order = |l: usize, r: usize| compare_by(&directions, &keys[l].order, &keys[r].order);
        let mut positions: Vec<usize> = (0..keys.len()).collect();
        positions.sort_by(|l, r| by_partition(*l, *r).then_with(|| by_order(*l, *r)));
        for part in positions.chunk_by(|l, r| by_partition(*l, *r).is_eq()) {
            let mut peers: Vec<Range<usize>> = Vec::with_capacity(part.len());
            for group in part.chunk_by(|l, r| by_order(*l, *r).is_eq()) {
                let start = peers.len();
                peers.extend(group.iter().map(|_| start..start + group.len()));
            }
            let partition = Partition { keys, part, peers: &peers };
            for (at, value) in part.iter().zip(partition.values(self, env)?) {
                values[*at].push(value);
            }
        }
        Ok(positions)
    }
}

/// The tuples of one partition, in order.
struct Partition<'k> {
    keys: &'k [Key],
    /// Positions of the tuples.
    part: &'k [usize],
    /// For each, those that are equal by the order.
    peers: &'k [Range<usize>],
}

impl Partition<'_> {
    fn argument(&self, at: usize, number: usize) -> &Value {
        &self.keys[self.part[at]].arguments[number]
    }

    fn values(&self, function: &WindowFunction, env: &Env<'_>) -> Outcome<Vec<Value>> {
        let count = self.part.len();
        let whole = |at: usize| Value::BigInt(i64::try_from(at).unwrap_or(i64::MAX));
        let all = 0..count;
        Ok(match &function.kind {
            WindowKind::RowNumber => all.map(|at| whole(at + 1)).collect(),
            WindowKind::Rank => all.map(|at| whole(self.peers[at].start + 1)).collect(),
            WindowKind::DenseRank => {
                let mut rank = 0;
                all.map(|at| {
                    rank += usize::from(self.peers[at].start == at);
                    whole(rank)
                })
                .collect()
            }
            WindowKind::PercentRank => all
                .map(|at| match count {
                    1 => Value::Float(0.0),
                    _ => Value::Float(self.peers[at].start as f64 / (count - 1) as f64),
                })
                .collect(),
            WindowKind::CumulativeDistribution => {
                all.map(|at| Value::Float(self.peers[at].end as f64 / count as f64)).collect()
            }
            WindowKind::Tiles(_) => {
                let mut tiles = Vec::with_capacity(count);
                for at in all {
                    tiles.push(whole(self.tile(at)?));
                }
                tiles
            }
            WindowKind::Shift { back, .. } => {
                let mut shifted = Vec::with_capacity(count);
                for at in all {
                    shifted.push(self.shift(at, *back)?);
                }
                shifted
            }
            WindowKind::First(_) => all
                .map(|at| self.extent(at, function.extent))
                .map(|extent| match extent.is_empty() {
                    true => Value::Null,
                    false => self.argument(extent.start, 0).clone(),
                })
                .collect(),
            WindowKind::Last(_) => all
                .map(|at| self.extent(at, function.extent))
                .map(|extent| match extent.is_empty() {
                    true => Value::Null,
                    false => self.argument(extent.end - 1, 0).clone(),
                })
                .collect(),
            WindowKind::Aggregate(aggregate) => self.aggregate(aggregate, function.extent, env)?,
        })
    }

    /// NTILE: the first groups have one row more where they cannot all be of one size.
    fn tile(&self, at: usize) -> Outcome<usize> {
        let tiles = self.argument(at, 0).as_i64().and_then(|n| usize::try_from(n).ok());
        let Some(tiles) = tiles.filter(|tiles| *tiles > 0) else {
            return Err(SqlError::new(
                4116,
                16,
                1,
                "The function 'ntile' takes only a positive int or bigint expression as its input.",
            ));
        };
        let (small, bigger) = (self.part.len() / tiles, self.part.len() % tiles);
        let in_bigger = bigger * (small + 1);
        Ok(match at < in_bigger {
            true => at / (small + 1) + 1,
            false => bigger + (at - in_bigger) / small + 1,
        })
    }

    fn shift(&self, at: usize, back: bool) -> Outcome<Value> {
        let offset = self.argument(at, 1).as_i64();
        let offset = offset.and_then(|offset| usize::try_from(offset).ok()).ok_or_else(|| {
            SqlError::new(
                8730,
                16,
                1,
                "Offset parameter for Lag and Lead functions cannot be a negative value.",
            )
        })?;
        let other = match back {
            true => at.checked_sub(offset),
            false => at.checked_add(offset).filter(|other| *other < self.part.len()),
        };
        Ok(match other {
            Some(other) => self.argument(other, 0).clone(),
            None => self.argument(at, 2).clone(),
        })
    }

    /// The rows that the function looks at from one of them.
    fn extent(&self, at: usize, extent: Extent) -> Range<usize> {
        let count = self.part.len();
        let peers = match extent.rows {
            true => at..at + 1,
            false => self.peers[at].clone(),
        };
        let start = match extent.start {
            Edge::First => 0,
            Edge::Before(rows) => at.saturating_sub(rows.0),
            Edge::Current => peers.start,
            Edge::After(rows) => at.saturating_add(rows),
            Edge::Last => count,
        };
        let end = match extent.end {
            Edge::First => 0,
            Edge::Before(rows) => (at + 1).saturating_sub(rows.0),
            Edge::Current => peers.end,
            Edge::After(rows) => at.saturating_add(rows).saturating_add(1),
            Edge::Last => count,
        };
        let end = end.min(count);
        start.min(end)..end
    }

    fn aggregate(
        &self,
        aggregate: &Aggregate,
        extent: Extent,
        env: &Env<'_>,
    ) -> Outcome<Vec<Value>> {
        let mut values: Vec<Value> = Vec::with_capacity(self.part.len());
        let mut state = State::new();
        let mut counted = 0..0;
        for at in 0..self.part.len() {
            env.check_interrupt()?;
            let wanted = self.extent(at, extent);
            if at > 0 && wanted == counted {
                values.push(values[at - 1].clone());
                continue;
            }
            // What has been counted stays counted while rows only join.
            if wanted.start != counted.start || wanted.end < counted.end {
                state = State::new();
                counted = wanted.start..wanted.start;
            }
            for row in counted.end..wanted.end {
                aggregate.take(&mut state, self.argument(row, 0).clone())?;
            }
            counted = wanted;
            values.push(aggregate.finish(&state)?);
        }
        Ok(values)
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
    fn next(&mut self, kind: &WindowKind, same_partition: bool, peer: bool) -> Value {
        if !same_partition {
            (self.row, self.rank, self.dense) = (0, 0, 0);
        }
        self.row += 1;
        if !peer {
            self.rank = self.row;
            self.dense += 1;
        }
        Value::BigInt(match kind {
            WindowKind::Rank => self.rank,
            WindowKind::DenseRank => self.dense,
            _ => self.row,
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
        for (function, counts) in self.plan.functions.iter().zip(&mut self.counts) {
            if matches!(function.kind, WindowKind::RowNumber) && function.partition.is_empty() {
                values.push(counts.next(&function.kind, true, false));
                continue;
            }
            let frame = Frame { rows, outer };
            let Key { partition, order, .. } = function.key(&frame, env)?;
            let before = counts.before.as_ref();
            let same_partition = before.is_some_and(|(known, _)| same(known, &partition));
            let peer = same_partition && before.is_some_and(|(_, known)| same(known, &order));
            values.push(counts.next(&function.kind, same_partition, peer));
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
