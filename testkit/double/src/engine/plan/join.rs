//! Joins.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use super::{Outcome, TupleCursor, TuplePlan, null_row};
use crate::Value;
use crate::engine::env::Env;
use crate::engine::expr::{Condition, Frame, Node, evaluate_all};
use crate::storage::Row;

/// What happens to tuples without a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Dropped.
    Inner,
    /// Left ones are kept.
    Left,
    /// All are kept.
    Full,
}

/// Slots a side fills, with the widths of their rows.
pub type Slots = Vec<(usize, usize)>;

fn fill_null(rows: &mut [Row], slots: &Slots) {
    for (slot, width) in slots {
        rows[*slot] = null_row(*width);
    }
}

/// A join that runs its right side once for each left tuple.
pub struct Loop {
    /// Left side.
    pub left: Box<TuplePlan>,
    /// Right side; may read the left tuple.
    pub right: Box<TuplePlan>,
    /// Kind; not FULL.
    pub join: Join,
    /// Condition.
    pub on: Option<Condition>,
    /// Slots of the right side.
    pub right_slots: Slots,
}

impl Loop {
    /// Starts it.
    ///
    /// # Errors
    /// Those of its left side.
    pub fn open<'p>(
        &'p self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn TupleCursor + 'p>> {
        Ok(Box::new(LoopCursor {
            plan: self,
            left: self.left.open(rows, outer, env)?,
            right: None,
            matched: false,
        }))
    }
}

struct LoopCursor<'p> {
    plan: &'p Loop,
    left: Box<dyn TupleCursor + 'p>,
    right: Option<Box<dyn TupleCursor + 'p>>,
    matched: bool,
}

impl TupleCursor for LoopCursor<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        loop {
            let Some(right) = &mut self.right else {
                if !self.left.next(rows, outer, env)? {
                    return Ok(false);
                }
                self.right = Some(self.plan.right.open(rows, outer, env)?);
                self.matched = false;
                continue;
            };
            while right.next(rows, outer, env)? {
                let holds = match &self.plan.on {
                    Some(on) => on.holds(&Frame { rows, outer }, env)?,
                    None => true,
                };
                if holds {
                    self.matched = true;
                    return Ok(true);
                }
            }
            self.right = None;
            if !self.matched && self.plan.join == Join::Left {
                fill_null(rows, &self.plan.right_slots);
                return Ok(true);
            }
        }
    }
}

/// A join through a hash table of the right side; without keys, through all of it.
pub struct Hash {
    /// Left side.
    pub left: Box<TuplePlan>,
    /// Right side; reads nothing of the left tuple.
    pub right: Box<TuplePlan>,
    /// Kind.
    pub join: Join,
    /// Left expressions that must equal the right ones.
    pub left_keys: Vec<Node>,
    /// Right expressions, of the same types.
    pub right_keys: Vec<Node>,
    /// The whole condition.
    pub on: Option<Condition>,
    /// Slots of the left side.
    pub left_slots: Slots,
    /// Slots of the right side.
    pub right_slots: Slots,
}

struct Entry {
    rows: Vec<Row>,
    matched: bool,
}

/// Hash of a key, none if a part is NULL (which equals nothing).
fn hash_of(key: &[Value]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    for value in key {
        if value.is_null() {
            return None;
        }
        value.hash_into(&mut hasher);
    }
    Some(hasher.finish())
}

impl Hash {
    /// Starts it: reads the whole right side.
    ///
    /// # Errors
    /// Those of its sides.
    pub fn open<'p>(
        &'p self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn TupleCursor + 'p>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut table: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut right = self.right.open(rows, outer, env)?;
        while right.next(rows, outer, env)? {
            let key = evaluate_all(&self.right_keys, &Frame { rows, outer }, env)?;
            if let Some(hash) = hash_of(&key) {
                table.entry(hash).or_default().push(entries.len());
            }
            entries.push(Entry {
                rows: self.right_slots.iter().map(|(slot, _)| Row::clone(&rows[*slot])).collect(),
                matched: false,
            });
        }
        drop(right);
        Ok(Box::new(HashCursor {
            plan: self,
            left: Some(self.left.open(rows, outer, env)?),
            entries,
            table,
            candidates: Vec::new(),
            at: 0,
            in_left: false,
            matched: false,
        }))
    }
}

struct HashCursor<'p> {
    plan: &'p Hash,
    /// Gone once the left side is through.
    left: Option<Box<dyn TupleCursor + 'p>>,
    entries: Vec<Entry>,
    table: HashMap<u64, Vec<usize>>,
    candidates: Vec<usize>,
    at: usize,
    in_left: bool,
    matched: bool,
}

impl HashCursor<'_> {
    fn next_partner(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        while let Some(candidate) = self.candidates.get(self.at).copied() {
            self.at += 1;
            let entry = &mut self.entries[candidate];
            for ((slot, _), row) in self.plan.right_slots.iter().zip(&entry.rows) {
                rows[*slot] = Row::clone(row);
            }
            let holds = match &self.plan.on {
                Some(on) => on.holds(&Frame { rows, outer }, env)?,
                None => true,
            };
            if holds {
                entry.matched = true;
                self.matched = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The right tuples nobody matched.
    fn next_lonely(&mut self, rows: &mut [Row]) -> bool {
        while let Some(entry) = self.entries.get(self.at) {
            self.at += 1;
            if entry.matched {
                continue;
            }
            fill_null(rows, &self.plan.left_slots);
            for ((slot, _), row) in self.plan.right_slots.iter().zip(&entry.rows) {
                rows[*slot] = Row::clone(row);
            }
            return true;
        }
        false
    }
}

impl TupleCursor for HashCursor<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        loop {
            env.check_interrupt()?;
            if self.in_left {
                if self.next_partner(rows, outer, env)? {
                    return Ok(true);
                }
                self.in_left = false;
                if !self.matched && self.plan.join != Join::Inner {
                    fill_null(rows, &self.plan.right_slots);
                    return Ok(true);
                }
            }
            let Some(left) = &mut self.left else {
                return Ok(self.next_lonely(rows));
            };
            if !left.next(rows, outer, env)? {
                self.left = None;
                self.at = 0;
                if self.plan.join != Join::Full {
                    self.entries.clear();
                }
                continue;
            }
            let key = evaluate_all(&self.plan.left_keys, &Frame { rows, outer }, env)?;
            self.candidates =
                hash_of(&key).and_then(|hash| self.table.get(&hash).cloned()).unwrap_or_default();
            (self.at, self.in_left, self.matched) = (0, true, false);
        }
    }
}
