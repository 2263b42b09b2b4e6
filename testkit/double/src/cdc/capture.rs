//! One scan of the log: committed transactions become rows of change tables.
//!
//! # Why nothing is lost, doubled or seen in part
//! A scan is one storage transaction. It takes the log's tail behind the confirmed position in
//! commit order, writes all rows of all change tables, the mapping rows and the DDL rows, and
//! confirms the new position; all of it commits together, or nothing does and the next scan
//! starts from the same place. A source transaction is split over two scans
//! only where a switch says so (`commands.rs`).
//!
//! # Which instances a change belongs to
//! The record's definition says it: it names the change tables that were active when the change
//! was made, and enabling waits for the table's open writers. So an instance has every
//! transaction that wrote after its enabling, and none before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::commands::{Part, commands};
use super::schema::{CT_PREFIX, Instance, Tables, bit, captured_type, change_tables};
use super::{FreshStart, Modes};
use crate::engine::convert::assign;
use crate::storage::{
    Change, Database, LogRecord, LoggedTxn, Lsn, ObjectId, Row, TableDef, Txn, View, datetime,
};
use crate::{IsolationLevel, SqlError, SqlType, Value};

/// How long a scan waits for a lock before it is given up and tried again.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// What a scan came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanOutcome {
    /// Transactions taken from the log.
    pub transactions: usize,
    /// Rows written to change tables.
    pub rows: usize,
    /// Rows of `ddl_history` written.
    pub schema_changes: usize,
    /// Whether a dummy row was written.
    pub dummy: bool,
    /// The first begin among what it took.
    pub first_begin: Option<Lsn>,
    /// The last commit it took.
    pub last_commit: Option<Lsn>,
}

/// A row of `ddl_history` that is held back, and for how many scans.
pub(super) type HeldBack = (u32, Row);

/// What scans leave to the next one.
#[derive(Default)]
pub(super) struct Left {
    /// Rows of `ddl_history`.
    pub(super) held_back: Vec<HeldBack>,
    /// A transaction of which a part is published: its commit, commands and the last command id.
    part: Option<Part>,
}

/// Scans once: at most `maxtrans` transactions.
pub(super) fn scan(
    database: &Arc<Database>,
    modes: &Modes,
    maxtrans: usize,
    left: &mut Left,
    hold: &dyn Fn(),
) -> Result<ScanOutcome, SqlError> {
    if modes.stalled {
        return Ok(ScanOutcome::default());
    }
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    // Readers and DDL go first where somebody must give way.
    txn.set_deadlock_priority(-1);
    // Nor does it wait for ever: whoever stops the job may hold what it waits for.
    txn.set_lock_timeout(Some(LOCK_PATIENCE));
    let tables = Tables::open(&mut txn)?;
    // The tail first: every instance that it mentions is then in the view.
    let tail = database.log_tail(maxtrans);
    let view = txn.statement_view()?;
    let newest = tables.newest_mapping(&view)?;
    let newest_lsn = newest.as_ref().and_then(|row| Lsn::from_value(&row[0]));
    let mut scan = Scan {
        instances: tables.instances(&view)?.into_iter().map(|i| (i.change_table, i)).collect(),
        tables,
        view,
        modes,
        outcome: ScanOutcome::default(),
        held_back: &mut left.held_back,
        now: database.clock().local_now(),
    };
    let idle = newest.is_some_and(|row| is_older(&row[2], scan.now, modes.dummy_after));
    let due = scan.release_held_back(&mut txn)?;
    if let Some(first) = tail.first() {
        if idle && modes.dummy_meets_commit && newest_lsn < Some(first.commit_lsn) {
            scan.write_dummy(&mut txn, first.commit_lsn)?;
        } else {
            let split = modes.split.filter(|_| database.info().published);
            let mut done = None;
            for logged in &tail {
                let part = left.part.filter(|(commit, ..)| *commit == logged.commit_lsn);
                let next = match split {
                    Some(split) => scan.publish_part(&mut txn, logged, split, part)?,
                    None => {
                        scan.publish(&mut txn, logged)?;
                        None
                    }
                };
                left.part = next;
                // The rest comes with the next scan.
                if next.is_some() {
                    break;
                }
                done = Some(logged.commit_lsn);
            }
            if let Some(last) = done {
                txn.confirm_captured(last)?;
            }
            scan.outcome.first_begin = tail.iter().map(|logged| logged.begin_lsn).min();
            scan.outcome.last_commit = done.or(Some(first.commit_lsn));
        }
    } else if idle {
        scan.write_dummy(&mut txn, database.flushed_lsn())?;
    } else if !due {
        return Ok(scan.outcome);
    }
    let outcome = scan.outcome;
    hold();
    txn.commit()?;
    Ok(outcome)
}

fn is_older(end_time: &Value, now: i64, than: Duration) -> bool {
    let than = i64::try_from(than.as_micros()).unwrap_or(i64::MAX);
    end_time.compare(&datetime(now.saturating_sub(than))) != std::cmp::Ordering::Greater
}

pub(super) struct Scan<'a> {
    pub(super) instances: HashMap<ObjectId, Instance>,
    tables: Tables,
    view: View,
    pub(super) modes: &'a Modes,
    pub(super) outcome: ScanOutcome,
    held_back: &'a mut Vec<HeldBack>,
    now: i64,
}

impl Scan<'_> {
    pub(super) fn publish(&mut self, txn: &mut Txn, logged: &LoggedTxn) -> Result<(), SqlError> {
        self.outcome.transactions += 1;
        let mut command_id = 0;
        let mut enabled = None;
        let last = logged.records.len().saturating_sub(1);
        for (at, record) in logged.records.iter().enumerate() {
            if let Change::Ddl { command, after, time } = &record.change {
                let ddl = (command.as_str(), after.as_ref(), *time);
                enabled = enabled.or(self.follow_ddl(txn, logged, record, ddl)?);
                continue;
            }
            let seqval = match self.modes.seqval_backwards {
                true => logged.records[last - at].lsn,
                false => record.lsn,
            };
            for command in commands(record, seqval) {
                for change_table in &record.table.captures {
                    self.write(txn, logged.commit_lsn, *change_table, &command, &mut command_id)?;
                }
            }
        }
        if command_id > 0 {
            self.map(txn, logged.commit_lsn, mapped(logged))?;
        } else if let Some(created) = enabled
            && self.modes.fresh_start == FreshStart::Mapped
        {
            // As `cdc.sp_ins_instance_enabling_lsn_time_mapping` writes it: the instance's own date.
            self.map(txn, logged.commit_lsn, without_transaction(logged.commit_lsn, created))?;
        }
        Ok(())
    }

    /// Writes the mapping row of `lsn`, in the place of a dummy's where one has it.
    pub(super) fn map(&mut self, txn: &mut Txn, lsn: Lsn, row: Row) -> Result<(), SqlError> {
        let table = self.tables.lsn_time_mapping.id;
        match self.tables.mapping(&self.view, lsn)? {
            None => txn.insert(table, row).map(drop),
            Some(_) if self.modes.hide_commit_behind_dummy => Ok(()),
            Some((dummy, _)) => txn.update(table, vec![(dummy, row)], &[1, 2, 3, 4]),
        }
    }

    fn write_dummy(&mut self, txn: &mut Txn, lsn: Lsn) -> Result<(), SqlError> {
        let row = without_transaction(lsn, datetime(self.now));
        txn.insert(self.tables.lsn_time_mapping.id, row)?;
        self.outcome.dummy = true;
        Ok(())
    }

    /// Follows a DDL record: an enabling gives its instance a start, anything else goes to
    /// `ddl_history` and, where a captured column has another type, into the change tables.
    /// The date of an instance that it enabled.
    fn follow_ddl(
        &mut self,
        txn: &mut Txn,
        logged: &LoggedTxn,
        record: &LogRecord,
        (command, after, time): (&str, Option<&Arc<TableDef>>, i64),
    ) -> Result<Option<Value>, SqlError> {
        let Some(after) = after else {
            // A dropped table took its instances with it.
            return Ok(None);
        };
        if command.is_empty() {
            return self.start_instances(txn, logged.commit_lsn, &record.table, after);
        }
        for change_table in &record.table.captures {
            let Some(instance) = self.instances.get(change_table).cloned() else {
                continue;
            };
            let changed = self.follow_types(txn, &instance, &record.table, after)?;
            let row: Row = Arc::new([
                Value::Int(instance.source),
                Value::Int(instance.change_table),
                bit(changed),
                Value::text(command),
                logged.commit_lsn.to_value(),
                datetime(time - time.rem_euclid(60_000_000)),
            ]);
            self.outcome.schema_changes += 1;
            if self.modes.ddl_history_lag > 0 {
                self.held_back.push((self.modes.ddl_history_lag, row));
            } else {
                txn.insert(self.tables.ddl_history.id, row)?;
            }
        }
        Ok(None)
    }

    fn start_instances(
        &mut self,
        txn: &mut Txn,
        commit: Lsn,
        before: &TableDef,
        after: &TableDef,
    ) -> Result<Option<Value>, SqlError> {
        let mut started = None;
        for change_table in after.captures.iter().filter(|id| !before.captures.contains(id)) {
            let Some(instance) = self.instances.get_mut(change_table) else {
                continue;
            };
            if instance.start_lsn.is_some() {
                continue;
            }
            let mut row = instance.row.to_vec();
            row[change_tables::START_LSN] = commit.to_value();
            instance.row = row.into();
            instance.start_lsn = Some(commit);
            let changed = vec![(instance.row_id, instance.row.clone())];
            txn.update(self.tables.change_tables.id, changed, &[change_tables::START_LSN])?;
            started = Some(instance.row[change_tables::CREATE_DATE].clone());
        }
        Ok(started)
    }

    /// Gives a change table the source's new column types. Whether any differed.
    fn follow_types(
        &self,
        txn: &mut Txn,
        instance: &Instance,
        before: &TableDef,
        after: &TableDef,
    ) -> Result<bool, SqlError> {
        let mut retyped: Vec<(usize, SqlType, SqlType)> = Vec::new();
        for column in &instance.columns {
            let find =
                |table: &TableDef| Some(table.columns[table.position_of(column.id)?].ty.clone());
            if let (Some(from), Some(to)) = (find(before), find(after))
                && from != to
            {
                retyped.push((CT_PREFIX + column.ordinal - 1, from, to));
            }
        }
        if retyped.is_empty() {
            return Ok(false);
        }
        let Some(def) = txn.table_by_id(instance.change_table)? else {
            return Ok(true);
        };
        let database = txn.database().name();
        let mut new = (*def).clone();
        for (at, _, to) in &retyped {
            new.columns[*at].ty = captured_type(to);
        }
        txn.redefine(
            new,
            "",
            Some(&mut |row| {
                let mut row = row.to_vec();
                for (at, from, to) in &retyped {
                    // Like ALTER COLUMN itself: what does not fit stops the scan.
                    let name = || {
                        (format!("{database}.{}", def.full_name()), def.columns[*at].name.clone())
                    };
                    row[*at] = assign(row[*at].clone(), from, to, def.columns[*at].label(), name)?;
                }
                Ok(row.into())
            }),
        )?;
        self.update_captured_types(txn, instance, after)?;
        Ok(true)
    }

    fn update_captured_types(
        &self,
        txn: &mut Txn,
        instance: &Instance,
        after: &TableDef,
    ) -> Result<(), SqlError> {
        let id = Value::Int(instance.change_table);
        let mut changed = Vec::new();
        let view = txn.statement_view()?;
        for (row_id, row) in self.tables.of_object(&view, &self.tables.captured_columns, &id)? {
            let column =
                after.columns.iter().find(|column| Some(i64::from(column.id)) == row[2].as_i64());
            if let Some(column) = column {
                let mut row = row.to_vec();
                row[3] = Value::text(column.ty.name());
                changed.push((row_id, Row::from(row)));
            }
        }
        txn.update(self.tables.captured_columns.id, changed, &[3])
    }

    /// Writes the DDL rows whose time has come; whether there were any.
    fn release_held_back(&mut self, txn: &mut Txn) -> Result<bool, SqlError> {
        let mut due = Vec::new();
        self.held_back.retain_mut(|(scans, row)| {
            *scans -= 1;
            if *scans == 0 {
                due.push(row.clone());
            }
            *scans > 0
        });
        for row in &due {
            let instance = row[1].as_i64().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
            if self.instances.contains_key(&instance) {
                txn.insert(self.tables.ddl_history.id, row.clone())?;
            }
        }
        Ok(!due.is_empty())
    }
}

/// `tran_id`: the transaction's number in six bytes.
fn transaction_id(id: u64) -> [u8; 6] {
    let [_, _, bytes @ ..] = id.to_be_bytes();
    bytes
}

/// The mapping row of a transaction.
pub(super) fn mapped(logged: &LoggedTxn) -> Row {
    Arc::new([
        logged.commit_lsn.to_value(),
        datetime(logged.begin_time),
        datetime(logged.end_time),
        Value::binary(&transaction_id(logged.id)),
        logged.begin_lsn.to_value(),
    ])
}

/// A mapping row that stands for no transaction: a dummy's, or an enabling's.
fn without_transaction(lsn: Lsn, time: Value) -> Row {
    Arc::new([lsn.to_value(), time.clone(), time, Value::binary(&[0]), Lsn::ZERO.to_value()])
}
