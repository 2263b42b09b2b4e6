//! Operators over plain rows.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use super::{Outcome, RowPlan, TupleCursor, empty_rows};
use crate::engine::env::Env;
use crate::engine::expr::{Frame, Node};
use crate::engine::syntax::ast::SetOp;
use crate::storage::Row;
use crate::{SqlError, Value};

/// A running source of rows.
pub trait RowCursor {
    /// Puts the next row into `out`; false at the end.
    ///
    /// # Errors
    /// Those of storage and expressions.
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool>;
}

impl RowPlan {
    /// Starts it.
    ///
    /// # Errors
    /// Those of storage and expressions.
    pub fn open<'p>(
        &'p self,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn RowCursor + 'p>> {
        Ok(match self {
            RowPlan::Project { input, slots, items } => {
                let mut rows = empty_rows(*slots);
                let input = input.open(&mut rows, outer, env)?;
                Box::new(Project { input, rows, items })
            }
            RowPlan::Values(rows) => Box::new(Values { rows, at: 0 }),
            RowPlan::Map { input, items } => {
                Box::new(Map { input: input.open(outer, env)?, items })
            }
            RowPlan::Distinct(input) => {
                Box::new(Distinct { input: input.open(outer, env)?, seen: RowSet::default() })
            }
            RowPlan::Sort { input, keys } => {
                let mut rows = collect(&mut *input.open(outer, env)?, outer, env)?;
                rows.sort_by(|left, right| compare_by(keys, left, right));
                Box::new(Stored(rows.into_iter()))
            }
            RowPlan::Limit { input, offset, count } => {
                open_limit(input, offset.as_ref(), count.as_ref(), outer, env)?
            }
            RowPlan::Narrow { input, width } => {
                Box::new(Narrow { input: input.open(outer, env)?, width: *width })
            }
            RowPlan::Merge { left, right, keys } => {
                let side = |plan: &'p RowPlan| {
                    Ok::<_, SqlError>(Side { input: plan.open(outer, env)?, head: None })
                };
                Box::new(Merge { sides: [side(left)?, side(right)?], keys })
            }
            RowPlan::Recursive(recursive) => recursive.open(outer, env)?,
            RowPlan::Level(key) => Box::new(Stored(env.level(*key).to_vec().into_iter())),
            RowPlan::Set { op, left, right } => open_set(*op, left, right, outer, env)?,
        })
    }
}

pub(super) fn collect(
    cursor: &mut dyn RowCursor,
    outer: Option<&Frame<'_>>,
    env: &Env<'_>,
) -> Outcome<Vec<Vec<Value>>> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    while cursor.next(&mut row, outer, env)? {
        rows.push(std::mem::take(&mut row));
    }
    Ok(rows)
}

/// Order by columns, descending where told.
pub fn compare_by(keys: &[(usize, bool)], left: &[Value], right: &[Value]) -> Ordering {
    for (at, descending) in keys {
        let order = left[*at].compare(&right[*at]);
        if order != Ordering::Equal {
            return if *descending { order.reverse() } else { order };
        }
    }
    Ordering::Equal
}

struct Project<'p> {
    input: Box<dyn TupleCursor + 'p>,
    rows: Vec<Row>,
    items: &'p [Node],
}

impl RowCursor for Project<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        if !self.input.next(&mut self.rows, outer, env)? {
            return Ok(false);
        }
        out.clear();
        let frame = Frame { rows: &self.rows, outer };
        for item in self.items {
            out.push(item.eval(&frame, env)?.into_owned());
        }
        Ok(true)
    }
}

struct Values<'p> {
    rows: &'p [Vec<Node>],
    at: usize,
}

impl RowCursor for Values<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        let Some(row) = self.rows.get(self.at) else {
            return Ok(false);
        };
        self.at += 1;
        out.clear();
        let frame = Frame { rows: &[], outer };
        for item in row {
            out.push(item.eval(&frame, env)?.into_owned());
        }
        Ok(true)
    }
}

struct Map<'p> {
    input: Box<dyn RowCursor + 'p>,
    items: &'p [Node],
}

impl RowCursor for Map<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        let mut row = Vec::new();
        if !self.input.next(&mut row, outer, env)? {
            return Ok(false);
        }
        let rows = [Row::from(row)];
        let frame = Frame { rows: &rows, outer };
        out.clear();
        for item in self.items {
            out.push(item.eval(&frame, env)?.into_owned());
        }
        Ok(true)
    }
}

/// Rows told apart as DISTINCT does: NULLs are equal.
#[derive(Default)]
struct RowSet {
    buckets: HashMap<u64, Vec<Vec<Value>>>,
}

impl RowSet {
    fn hash(row: &[Value]) -> u64 {
        let mut hasher = DefaultHasher::new();
        for value in row {
            value.hash_into(&mut hasher);
        }
        hasher.finish()
    }

    fn same(left: &[Value], right: &[Value]) -> bool {
        left.iter().zip(right).all(|(l, r)| l.compare(r).is_eq())
    }

    fn contains(&self, row: &[Value]) -> bool {
        self.buckets
            .get(&Self::hash(row))
            .is_some_and(|bucket| bucket.iter().any(|known| Self::same(known, row)))
    }

    /// Whether it is new.
    fn insert(&mut self, row: &[Value]) -> bool {
        let bucket = self.buckets.entry(Self::hash(row)).or_default();
        if bucket.iter().any(|known| Self::same(known, row)) {
            return false;
        }
        bucket.push(row.to_vec());
        true
    }
}

struct Distinct<'p> {
    input: Box<dyn RowCursor + 'p>,
    seen: RowSet,
}

impl RowCursor for Distinct<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        while self.input.next(out, outer, env)? {
            if self.seen.insert(out) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

struct Stored(std::vec::IntoIter<Vec<Value>>);

impl RowCursor for Stored {
    fn next(&mut self, out: &mut Vec<Value>, _: Option<&Frame<'_>>, _: &Env<'_>) -> Outcome<bool> {
        match self.0.next() {
            Some(row) => {
                *out = row;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

fn row_count(
    node: &Node,
    outer: Option<&Frame<'_>>,
    env: &Env<'_>,
    negative: (i32, &str),
) -> Outcome<u64> {
    let frame = Frame { rows: &[], outer };
    let value = node.eval(&frame, env).map(Cow::into_owned)?;
    let fault = |(number, message): (i32, &str)| SqlError::new(number, 15, 1, message);
    let count = value.as_i64().ok_or_else(|| {
        fault((
            1060,
            "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
        ))
    })?;
    u64::try_from(count).map_err(|_| fault(negative))
}

fn open_limit<'p>(
    input: &'p RowPlan,
    offset: Option<&Node>,
    count: Option<&Node>,
    outer: Option<&Frame<'_>>,
    env: &Env<'_>,
) -> Outcome<Box<dyn RowCursor + 'p>> {
    let skip = match offset {
        Some(node) => row_count(
            node,
            outer,
            env,
            (10742, "The offset specified in a OFFSET clause may not be negative."),
        )?,
        None => 0,
    };
    let left = match count {
        Some(node) => Some(row_count(
            node,
            outer,
            env,
            (
                1060,
                "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
            ),
        )?),
        None => None,
    };
    // TOP (0) must not even start what is below it.
    if left == Some(0) {
        return Ok(Box::new(Stored(Vec::new().into_iter())));
    }
    Ok(Box::new(Limit { input: input.open(outer, env)?, skip, left }))
}

struct Limit<'p> {
    input: Box<dyn RowCursor + 'p>,
    skip: u64,
    left: Option<u64>,
}

impl RowCursor for Limit<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        while self.skip > 0 {
            if !self.input.next(out, outer, env)? {
                return Ok(false);
            }
            self.skip -= 1;
        }
        if let Some(left) = &mut self.left {
            if *left == 0 {
                return Ok(false);
            }
            *left -= 1;
        }
        self.input.next(out, outer, env)
    }
}

struct Narrow<'p> {
    input: Box<dyn RowCursor + 'p>,
    width: usize,
}

impl RowCursor for Narrow<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        let more = self.input.next(out, outer, env)?;
        out.truncate(self.width);
        Ok(more)
    }
}

fn open_set<'p>(
    op: SetOp,
    left: &'p RowPlan,
    right: &'p RowPlan,
    outer: Option<&Frame<'_>>,
    env: &Env<'_>,
) -> Outcome<Box<dyn RowCursor + 'p>> {
    let wanted = match op {
        SetOp::UnionAll | SetOp::Union => {
            let all = UnionAll { left: Some(left.open(outer, env)?), right, running: None };
            if op == SetOp::UnionAll {
                return Ok(Box::new(all));
            }
            return Ok(Box::new(Distinct { input: Box::new(all), seen: RowSet::default() }));
        }
        SetOp::Except => false,
        SetOp::Intersect => true,
    };
    let mut known = RowSet::default();
    let mut cursor = right.open(outer, env)?;
    let mut row = Vec::new();
    while cursor.next(&mut row, outer, env)? {
        known.insert(&row);
    }
    drop(cursor);
    Ok(Box::new(Distinct {
        input: Box::new(Select { input: left.open(outer, env)?, known, wanted }),
        seen: RowSet::default(),
    }))
}

/// A side of a merge, one row ahead.
struct Side<'p> {
    input: Box<dyn RowCursor + 'p>,
    /// `None` before it is read, then the next row or the end.
    head: Option<Option<Vec<Value>>>,
}

impl Side<'_> {
    fn head(
        &mut self,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<&mut Option<Vec<Value>>> {
        if self.head.is_none() {
            let mut row = Vec::new();
            self.head = Some(self.input.next(&mut row, outer, env)?.then_some(row));
        }
        Ok(self.head.get_or_insert(None))
    }
}

struct Merge<'p> {
    sides: [Side<'p>; 2],
    keys: &'p [(usize, bool)],
}

impl RowCursor for Merge<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        let [left, right] = &mut self.sides;
        let first = match (left.head(outer, env)?, right.head(outer, env)?) {
            (Some(l), Some(r)) if compare_by(self.keys, l, r).is_gt() => right,
            (Some(_), _) => left,
            (None, _) => right,
        };
        if let Some(row) = first.head(outer, env)?.take() {
            *out = row;
            first.head = None;
            return Ok(true);
        }
        Ok(false)
    }
}

struct UnionAll<'p> {
    left: Option<Box<dyn RowCursor + 'p>>,
    right: &'p RowPlan,
    running: Option<Box<dyn RowCursor + 'p>>,
}

impl RowCursor for UnionAll<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        if let Some(left) = &mut self.left {
            if left.next(out, outer, env)? {
                return Ok(true);
            }
            self.left = None;
            self.running = Some(self.right.open(outer, env)?);
        }
        match &mut self.running {
            Some(right) => right.next(out, outer, env),
            None => Ok(false),
        }
    }
}

/// Rows that are, or are not, among known ones.
struct Select<'p> {
    input: Box<dyn RowCursor + 'p>,
    known: RowSet,
    wanted: bool,
}

impl RowCursor for Select<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        while self.input.next(out, outer, env)? {
            if self.known.contains(out) == self.wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
