//! The work that apply is measured with: transactions of one kind of change, or of five changes over
//! three tables.

use std::borrow::Cow;

use bytes::Bytes;
use lockstep_common::codec::FragmentWriter;
use lockstep_common::model::record::{Before, Change, Operation};
use lockstep_common::{TableId, TableVersion, Value};
use uuid::Uuid;

use super::super::row;

/// What transactions are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// New rows of one table.
    Inserts,
    /// Rows of one table, all columns given, each row once.
    Updates,
    /// Rows of one table.
    Deletes,
    /// Over and over: a new row in each of the first two tables, an update in the second and in the
    /// third, a delete in the first.
    Mix,
}

/// Rows that are there before the first transaction go into the target by this many.
const FILL: u64 = 1000;

/// Prime to every power of ten and two, so that steps by it meet each row once.
const STRIDE: u64 = 7919;

/// Transactions of one case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) work: Work,
    /// Changes of each transaction.
    pub(super) changes: u64,
    /// How many transactions.
    pub(super) transactions: u64,
}

impl Case {
    /// Changes of all transactions.
    pub(super) fn total(&self) -> u64 {
        self.changes * self.transactions
    }

    /// Whether delays on the way to the target are measured with it.
    pub(super) fn is_measured_far_away(&self) -> bool {
        self.changes == 10 && matches!(self.work, Work::Inserts | Work::Mix)
    }

    /// The tables it changes.
    pub(super) fn tables(&self) -> Vec<TableVersion> {
        let tables = if self.work == Work::Mix { 3 } else { 1 };
        (1..=tables).map(row::numbered).collect()
    }

    /// Rows that each table has before the first transaction: as many as are updated or deleted of
    /// it, so that none is met twice; at least one, so that the tables are made.
    fn rows(&self) -> u64 {
        match self.work {
            Work::Inserts => 1,
            Work::Updates | Work::Deletes => self.total(),
            // A fifth of the changes in each of its roles, rounded up.
            Work::Mix => self.total().div_ceil(5) + 1,
        }
    }

    /// Transactions that put those rows in.
    pub(super) fn fills(&self) -> u64 {
        self.rows().div_ceil(FILL) * self.tables().len() as u64
    }

    /// The record of transaction `n`, from 1; the first [`Case::fills`] of them fill the tables.
    pub(super) fn payload(&self, log_id: Uuid, epoch: u64, n: u64) -> Bytes {
        let tables: Vec<TableId> = self.tables().iter().map(TableVersion::id).collect();
        let mut writer = FragmentWriter::new(&row::head(log_id, epoch, n));
        let fills = self.fills();
        if n <= fills {
            let (part, table) = ((n - 1) / tables.len() as u64, (n - 1) % tables.len() as u64);
            let table = tables[usize::try_from(table).expect("one of three")];
            for id in part * FILL..((part + 1) * FILL).min(self.rows()) {
                writer.push_change(&row::insert(table, signed(id)));
            }
        } else {
            let first = (n - fills - 1) * self.changes;
            for k in first..first + self.changes {
                writer.push_change(&self.change(&tables, k));
            }
        }
        writer.finish()
    }

    /// The `k`th change of all.
    fn change(&self, tables: &[TableId], k: u64) -> Change<'static> {
        let fresh = |k: u64| signed(self.rows() + k);
        let met = |k: u64| signed(k * STRIDE % self.rows());
        match self.work {
            Work::Inserts => row::insert(tables[0], fresh(k)),
            Work::Updates => update(tables[0], met(k)),
            Work::Deletes => delete(tables[0], met(k)),
            Work::Mix => match k % 5 {
                0 => row::insert(tables[0], fresh(k / 5)),
                1 => update(tables[2], met(k / 5)),
                2 => row::insert(tables[1], fresh(k / 5)),
                3 => update(tables[1], met(k / 5)),
                _ => delete(tables[0], met(k / 5)),
            },
        }
    }
}

/// An update as SQL Server records it: both images whole. Everything but the key is new.
fn update(table: TableId, id: i64) -> Change<'static> {
    let mut after = row::values(id + 1);
    after[0] = Value::I64(id);
    Change {
        table,
        operation: Operation::Update,
        changed: Cow::Borrowed(&[0b1111_1110, 0b11]),
        before: Before::Full(row::values(id)),
        after,
        attributes: Default::default(),
    }
}

fn delete(table: TableId, id: i64) -> Change<'static> {
    Change {
        table,
        operation: Operation::Delete,
        changed: Cow::Borrowed(&[]),
        before: Before::Full(row::values(id)),
        after: Vec::new(),
        attributes: Default::default(),
    }
}

fn signed(id: u64) -> i64 {
    i64::try_from(id).expect("a count of rows")
}
