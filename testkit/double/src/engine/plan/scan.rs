//! Leaves: stored tables through their indexes, catalogue views, table-valued functions.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use super::{Outcome, TupleCursor};
use crate::engine::bind::Used;
use crate::engine::env::Env;
use crate::engine::expr::{Condition, Frame, Node, evaluate_all};
use crate::storage::{
    self, CommittedScan, Direction, IndexId, KeyRange, Row, RowId, RowLock, TableDef, UpdateScan,
};
use crate::{SqlError, Value};

/// How a scan treats the rows it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Reads the statement's view.
    None,
    /// Reads uncommitted writes too.
    Dirty,
    /// Locks each row while it is read: READ COMMITTED without row versions.
    Committed,
    /// Locks each row and reads it as it is.
    Rows(RowLock),
}

/// A bound of the key column behind the equal ones.
#[derive(Clone)]
pub struct KeyBound {
    /// Value.
    pub value: Node,
    /// Whether the value itself belongs to the range.
    pub inclusive: bool,
}

/// Which part of which index is read. It only narrows: every condition is checked on every row,
/// too.
#[derive(Clone, Default)]
pub struct Access {
    /// Index; none for the clustered one.
    pub index: Option<IndexId>,
    /// Values of its first key columns.
    pub equal: Vec<Node>,
    /// Lower bounds of the next one; the largest counts.
    pub lower: Option<KeyBound>,
    /// Upper bound of the next one.
    pub upper: Option<KeyBound>,
    /// Backward.
    pub descending: bool,
    /// No other index may be read instead.
    pub pinned: bool,
    /// Hints ask for what cannot be.
    pub impossible: bool,
}

/// A stored table.
pub struct Scan {
    /// Where its rows go.
    pub slot: usize,
    /// Table.
    pub table: Arc<TableDef>,
    /// Another database than the statement's, read on its own.
    pub elsewhere: Option<Arc<storage::Database>>,
    /// Part read.
    pub access: Access,
    /// Locking.
    pub lock: Lock,
    /// Conditions over this table and what stands left of it.
    pub filter: Option<Condition>,
    /// Append each row's id as a `bigint`, for statements that change the row.
    pub with_row_id: bool,
    /// Columns that the statement reads.
    pub used: Used,
}

impl Scan {
    /// The range to read; `None` if a NULL makes it empty.
    fn range(&self, frame: &Frame<'_>, env: &Env<'_>) -> Outcome<Option<KeyRange>> {
        // The index is in the order of its columns' collations, which it gives to these values.
        let equal: Vec<Value> = evaluate_all(&self.access.equal, frame, env)?;
        if equal.iter().any(Value::is_null) {
            return Ok(None);
        }
        let bound = |bound: &Option<KeyBound>| -> Outcome<Option<(Value, bool)>> {
            match bound {
                Some(bound) => {
                    let value = bound.value.eval(frame, env).map(Cow::into_owned)?;
                    Ok(Some((value, bound.inclusive)))
                }
                None => Ok(None),
            }
        };
        let (lower, upper) = (bound(&self.access.lower)?, bound(&self.access.upper)?);
        if [&lower, &upper].into_iter().flatten().any(|(value, _)| value.is_null()) {
            return Ok(None);
        }
        let prefix = |value: Value| {
            let mut key = equal.clone();
            key.push(value);
            key
        };
        let of = |(value, inclusive): (Value, bool)| match inclusive {
            true => Bound::Included(prefix(value)),
            false => Bound::Excluded(prefix(value)),
        };
        let open = match equal.is_empty() {
            true => Bound::Unbounded,
            false => Bound::Included(equal.clone()),
        };
        Ok(Some(KeyRange {
            lower: match (lower, &upper) {
                (Some(lower), _) => of(lower),
                // NULLs come first in an index and satisfy no comparison.
                (None, Some(_)) => Bound::Excluded(prefix(Value::Null)),
                (None, None) => open.clone(),
            },
            upper: upper.map_or(open, of),
        }))
    }

    /// Starts it.
    ///
    /// # Errors
    /// Those of storage and expressions.
    pub fn open<'p>(
        &'p self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn TupleCursor + 'p>> {
        if self.access.impossible {
            return Err(SqlError::new(
                8622,
                16,
                1,
                "Query processor could not produce a query plan because of the hints defined in this query. Resubmit the query without specifying any hints and without using SET FORCEPLAN.",
            ));
        }
        let Some(range) = self.range(&Frame { rows, outer }, env)? else {
            return Ok(Box::new(Rows {
                slot: self.slot,
                rows: Vec::new().into_iter(),
                filter: None,
            }));
        };
        let direction = match self.access.descending {
            true => Direction::Backward,
            false => Direction::Forward,
        };
        let (table, index) = (self.table.id, self.access.index);
        if let Some(database) = &self.elsewhere {
            let mut txn = database.begin(crate::IsolationLevel::ReadCommitted);
            let scan = txn.statement_view()?.scan(table, index, range, direction)?;
            return Ok(Box::new(Read { plan: self, ids: self.wants_ids(), scan }));
        }
        Ok(match self.lock {
            Lock::None => Box::new(Read {
                plan: self,
                ids: self.wants_ids(),
                scan: env.view()?.scan(table, index, range, direction)?,
            }),
            Lock::Dirty => Box::new(Read {
                plan: self,
                ids: self.wants_ids(),
                scan: env.dirty_view().scan(table, index, range, direction)?,
            }),
            Lock::Committed => {
                let used = self.used.borrow();
                let columns = &self.table.columns;
                let is_large =
                    |at: &usize| columns.get(*at).is_some_and(|column| column.ty.is_lob());
                let large = used.iter().copied().filter(is_large).collect();
                let scan =
                    env.with_txn(|txn| txn.scan_committed(table, index, range, direction, large))?;
                Box::new(Committed { plan: self, ids: self.wants_ids(), scan })
            }
            Lock::Rows(lock) => Box::new(Locking {
                plan: self,
                ids: self.wants_ids(),
                scan: env
                    .with_txn(|txn| txn.scan_for_update(table, index, range, direction, lock))?,
            }),
        })
    }

    fn accepts(&self, rows: &[Row], outer: Option<&Frame<'_>>, env: &Env<'_>) -> Outcome<bool> {
        match &self.filter {
            Some(filter) => filter.holds(&Frame { rows, outer }, env),
            None => Ok(true),
        }
    }

    /// Whether the statement changes the row, or asks for a pointer to it.
    fn wants_ids(&self) -> bool {
        self.with_row_id || self.used.borrow().contains(&self.table.columns.len())
    }

    fn with_id(&self, wanted: bool, id: RowId, row: Row) -> Outcome<Row> {
        if !wanted {
            return Ok(row);
        }
        let id = i64::try_from(id.0).map_err(|_| crate::engine::expr::internal("a row id"))?;
        Ok(row.iter().cloned().chain([Value::BigInt(id)]).collect())
    }
}

struct Read<'p> {
    plan: &'p Scan,
    /// Whether rows carry their ids.
    ids: bool,
    scan: storage::Scan,
}

impl TupleCursor for Read<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        while let Some((id, row)) = env.next_row(&mut self.scan)? {
            rows[self.plan.slot] = self.plan.with_id(self.ids, id, row)?;
            if self.plan.accepts(rows, outer, env)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

struct Committed<'p> {
    plan: &'p Scan,
    /// Whether rows carry their ids.
    ids: bool,
    scan: CommittedScan,
}

impl TupleCursor for Committed<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        loop {
            env.check_interrupt()?;
            let Some((id, row)) = env.with_txn(|txn| self.scan.next(txn))? else {
                return Ok(false);
            };
            rows[self.plan.slot] = self.plan.with_id(self.ids, id, row)?;
            if self.plan.accepts(rows, outer, env)? {
                return Ok(true);
            }
        }
    }
}

struct Locking<'p> {
    plan: &'p Scan,
    /// Whether rows carry their ids.
    ids: bool,
    scan: UpdateScan,
}

impl TupleCursor for Locking<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        loop {
            env.check_interrupt()?;
            let Some((id, row)) = env.with_txn(|txn| self.scan.next(txn))? else {
                return Ok(false);
            };
            rows[self.plan.slot] = self.plan.with_id(self.ids, id, row)?;
            if self.plan.accepts(rows, outer, env)? {
                return Ok(true);
            }
            env.with_txn(|txn| txn.release_row(self.plan.table.id, id));
        }
    }
}

/// Opens a catalogue view or table-valued function with its arguments.
pub type Producer = Box<
    dyn Fn(&Env<'_>, &[Value]) -> Result<Box<dyn Iterator<Item = Result<Row, SqlError>>>, SqlError>,
>;

/// A table that is computed.
pub struct Virtual {
    /// Where its rows go.
    pub slot: usize,
    /// Makes the rows.
    pub producer: Producer,
    /// Arguments of a function; of a catalogue view the values of its first column that are wanted,
    /// none for all.
    pub arguments: Vec<Node>,
    /// Whether values of the first column may be arguments.
    pub by_first: bool,
    /// Conditions over this table and what stands left of it.
    pub filter: Option<Condition>,
}

impl Virtual {
    /// Starts it.
    ///
    /// # Errors
    /// The producer's.
    pub fn open<'p>(
        &'p self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn TupleCursor + 'p>> {
        let arguments = evaluate_all(&self.arguments, &Frame { rows, outer }, env)?;
        Ok(Box::new(Produced { plan: self, rows: (self.producer)(env, &arguments)? }))
    }
}

struct Produced<'p> {
    plan: &'p Virtual,
    rows: Box<dyn Iterator<Item = Result<Row, SqlError>>>,
}

impl TupleCursor for Produced<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        for row in self.rows.by_ref() {
            env.check_interrupt()?;
            rows[self.plan.slot] = row?;
            let holds = match &self.plan.filter {
                Some(filter) => filter.holds(&Frame { rows, outer }, env)?,
                None => true,
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Rows at hand.
pub struct Rows<'p> {
    /// Where they go.
    pub slot: usize,
    /// The rows.
    pub rows: std::vec::IntoIter<Row>,
    /// Conditions.
    pub filter: Option<&'p Condition>,
}

impl TupleCursor for Rows<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        for row in self.rows.by_ref() {
            rows[self.slot] = row;
            let holds = match self.filter {
                Some(filter) => filter.holds(&Frame { rows, outer }, env)?,
                None => true,
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
