//! Plans and their execution: every operator is pulled for one row at a time, so that nothing is
//! held that the operator does not need (a sort, a hash table, an aggregate).
//!
//! Below the select list a *tuple* flows: one row per source of the query, in the source's slot,
//! shared with storage and never copied. Above it plain rows flow.

mod group;
mod join;
mod output;
mod recursive;
mod scan;
mod subquery;
mod window;

use std::sync::Arc;

use super::collation::Label;
use super::env::Env;
use super::expr::{Condition, Frame, Node};
use super::mask::Mask;
use super::syntax::ast::SetOp;
use crate::storage::Row;
use crate::{Column, Origin, SqlError, SqlType, Value};

pub use group::{Aggregate, AggregateKind, Group, SumKind};
pub use join::{Hash, Join, Loop};
pub use output::RowCursor;
pub use recursive::Recursive;
pub use scan::{Access, KeyBound, Lock, Producer, Scan, Virtual};
pub use subquery::{Cached, Subquery};
pub use window::{Window, WindowFunction, WindowKind};

/// Result of running.
pub type Outcome<T> = Result<T, SqlError>;

/// A bound query.
pub struct Query {
    /// Its columns.
    pub columns: Vec<OutputColumn>,
    /// How it runs.
    pub plan: RowPlan,
}

/// A column of a query's result.
#[derive(Clone)]
pub struct OutputColumn {
    /// Name, empty for an unnamed expression.
    pub name: String,
    /// Type; none for a bare NULL.
    pub ty: Option<SqlType>,
    /// Whether NULL may come.
    pub nullable: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Collation of a string.
    pub label: Label,
    /// How it is to be masked where it leaves the statement.
    pub mask: Option<Mask>,
}

impl OutputColumn {
    /// As the client is told.
    pub fn describe(&self) -> Column {
        Column {
            name: self.name.clone(),
            ty: self.ty.clone().unwrap_or(SqlType::Int),
            nullable: self.nullable,
            origin: self.origin,
            label: self.label,
        }
    }
}

/// A source of plain rows.
pub enum RowPlan {
    /// The select list over tuples of `slots` rows.
    Project {
        /// Tuples.
        input: Box<TuplePlan>,
        /// Rows in a tuple.
        slots: usize,
        /// Select list, and what the sort above needs.
        items: Vec<Node>,
    },
    /// Rows of expressions.
    Values(Vec<Vec<Node>>),
    /// Expressions over each row.
    Map {
        /// Rows.
        input: Box<RowPlan>,
        /// Over slot 0.
        items: Vec<Node>,
    },
    /// Without duplicates.
    Distinct(Box<RowPlan>),
    /// Sorted by columns, descending where told; a stable sort.
    Sort {
        /// Rows.
        input: Box<RowPlan>,
        /// Positions and directions.
        keys: Vec<(usize, bool)>,
    },
    /// A part of the rows.
    Limit {
        /// Rows.
        input: Box<RowPlan>,
        /// Rows left out first.
        offset: Option<Node>,
        /// Most rows.
        count: Option<Node>,
    },
    /// Only the first columns.
    Narrow {
        /// Rows.
        input: Box<RowPlan>,
        /// Columns kept.
        width: usize,
    },
    /// UNION ALL of two sides that are both in this order, kept in it.
    Merge {
        /// Left side, whose rows come first among equals.
        left: Box<RowPlan>,
        /// Right side.
        right: Box<RowPlan>,
        /// Positions and directions.
        keys: Vec<(usize, bool)>,
    },
    /// A recursive common table expression.
    Recursive(Recursive),
    /// The rows of a recursive common table expression's last level, by its key.
    Level(usize),
    /// UNION and kin, over rows of the same types.
    Set {
        /// Operation.
        op: SetOp,
        /// Left side.
        left: Box<RowPlan>,
        /// Right side.
        right: Box<RowPlan>,
    },
}

/// A source of tuples.
pub enum TuplePlan {
    /// One tuple without content: no FROM.
    Once,
    /// A stored table.
    Scan(Scan),
    /// A catalogue view or table-valued function.
    Virtual(Virtual),
    /// A query in FROM.
    Derived {
        /// Where its rows go.
        slot: usize,
        /// The query.
        plan: Box<RowPlan>,
    },
    /// Tuples for which a condition holds.
    Filter {
        /// Tuples.
        input: Box<TuplePlan>,
        /// Condition.
        condition: Condition,
    },
    /// A join that runs its right side once for each left tuple.
    Loop(Loop),
    /// A join through a hash table of the right side.
    Hash(Hash),
    /// GROUP BY and aggregates.
    Group(Group),
    /// Window functions.
    Window(Window),
    /// Tuples with a row of expressions over them.
    Compute {
        /// Tuples.
        input: Box<TuplePlan>,
        /// Expressions.
        items: Vec<Node>,
        /// Where their row goes.
        slot: usize,
    },
}

/// A running source of tuples.
pub trait TupleCursor {
    /// Puts the next tuple's rows into their slots; false at the end.
    ///
    /// # Errors
    /// Those of storage and expressions.
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool>;
}

impl TuplePlan {
    /// Starts it; `rows` holds what stands left of it in a join.
    ///
    /// # Errors
    /// Those of storage and expressions.
    pub fn open<'p>(
        &'p self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn TupleCursor + 'p>> {
        Ok(match self {
            TuplePlan::Once => Box::new(Once(false)),
            TuplePlan::Scan(scan) => scan.open(rows, outer, env)?,
            TuplePlan::Virtual(table) => table.open(rows, outer, env)?,
            TuplePlan::Derived { slot, plan } => {
                let frame = Frame { rows, outer };
                let input = plan.open(Some(&frame), env)?;
                Box::new(Derived { slot: *slot, input })
            }
            TuplePlan::Filter { input, condition } => {
                Box::new(Filter { input: input.open(rows, outer, env)?, condition })
            }
            TuplePlan::Loop(join) => join.open(rows, outer, env)?,
            TuplePlan::Hash(join) => join.open(rows, outer, env)?,
            TuplePlan::Group(group) => group.open(rows, outer, env)?,
            TuplePlan::Window(window) => window.open(rows, outer, env)?,
            TuplePlan::Compute { input, items, slot } => {
                Box::new(Compute { input: input.open(rows, outer, env)?, items, slot: *slot })
            }
        })
    }
}

struct Once(bool);

impl TupleCursor for Once {
    fn next(&mut self, _: &mut Vec<Row>, _: Option<&Frame<'_>>, _: &Env<'_>) -> Outcome<bool> {
        Ok(!std::mem::replace(&mut self.0, true))
    }
}

struct Derived<'p> {
    slot: usize,
    input: Box<dyn RowCursor + 'p>,
}

impl TupleCursor for Derived<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        let mut row = Vec::new();
        let frame = Frame { rows, outer };
        if !self.input.next(&mut row, Some(&frame), env)? {
            return Ok(false);
        }
        rows[self.slot] = row.into();
        Ok(true)
    }
}

struct Filter<'p> {
    input: Box<dyn TupleCursor + 'p>,
    condition: &'p Condition,
}

impl TupleCursor for Filter<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        while self.input.next(rows, outer, env)? {
            if self.condition.holds(&Frame { rows, outer }, env)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

struct Compute<'p> {
    input: Box<dyn TupleCursor + 'p>,
    items: &'p [Node],
    slot: usize,
}

impl TupleCursor for Compute<'_> {
    fn next(
        &mut self,
        rows: &mut Vec<Row>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        if !self.input.next(rows, outer, env)? {
            return Ok(false);
        }
        let row = super::expr::evaluate_all(self.items, &Frame { rows, outer }, env)?;
        rows[self.slot] = row.into();
        Ok(true)
    }
}

/// A row of NULLs.
pub fn null_row(width: usize) -> Row {
    vec![Value::Null; width].into()
}

/// Slots before anything is in them.
pub fn empty_rows(slots: usize) -> Vec<Row> {
    let empty: Row = Arc::from(Vec::new());
    vec![empty; slots]
}
