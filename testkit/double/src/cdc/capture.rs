//! One scan of the log: committed transactions become rows of change tables.
//!
//! # Why nothing is lost, doubled or seen in part
//! A scan is one storage transaction. It takes the log's tail behind the confirmed position in
//! commit order, writes all rows of all change tables, the mapping rows and the DDL rows, and
//! confirms the new position; all of it commits together, or nothing does and the next scan
//! starts from the same place. A source transaction is never split over two scans.
//!
//! # Which instances a change belongs to
//! The record's definition says it: it names the change tables that were active when the change
//! was made, and enabling waits for the table's open writers. So an instance has every
//! transaction that wrote after its enabling, and none before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::schema::{CT_PREFIX, Instance, Tables, bit, captured_type, change_tables};
use super::{FreshStart, MaxWrite, Modes, Split};
use crate::engine::convert::assign;
use crate::storage::{
    Change, ColumnId, Database, LogRecord, LoggedTxn, Lsn, ObjectId, Row, TableDef, Txn, View,
    datetime,
};
use crate::{IsolationLevel, SqlError, SqlType, Value};

/// How long a scan waits for a lock before it is given up and tried again.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a value above which it is surely stored off its row.
const IN_ROW: usize = 8000;

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
    part: Option<(Lsn, usize, i32)>,
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

struct Scan<'a> {
    instances: HashMap<ObjectId, Instance>,
    tables: Tables,
    view: View,
    modes: &'a Modes,
    outcome: ScanOutcome,
    held_back: &'a mut Vec<HeldBack>,
    now: i64,
}

/// A change of one row as a change table will show it.
struct Command<'a> {
    record: &'a LogRecord,
    seqval: Lsn,
    /// (operation, row), one or two of them under one command id.
    images: Vec<(i32, &'a Row)>,
    /// Columns of the SET list; `None` sets every bit of the mask.
    set: Option<&'a [ColumnId]>,
    /// What `.WRITE` wrote.
    pieces: &'a [(ColumnId, Value)],
    /// Columns of an insert that is the second half of a key update, and were in its SET list.
    moved: Option<&'a [ColumnId]>,
}

impl Scan<'_> {
    fn publish(&mut self, txn: &mut Txn, logged: &LoggedTxn) -> Result<(), SqlError> {
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

    /// Publishes the next commands of a transaction, as the Log Reader Agent divides it where
    /// transactional replication runs beside capture (`MaxCmdsInTran`). Answers where to go on.
    fn publish_part(
        &mut self,
        txn: &mut Txn,
        logged: &LoggedTxn,
        split: Split,
        part: Option<(Lsn, usize, i32)>,
    ) -> Result<Option<(Lsn, usize, i32)>, SqlError> {
        let ddl = logged.records.iter().any(|record| matches!(record.change, Change::Ddl { .. }));
        let all: Vec<Command<'_>> =
            logged.records.iter().flat_map(|record| commands(record, record.lsn)).collect();
        if ddl || (part.is_none() && all.len() <= split.commands) {
            self.publish(txn, logged)?;
            return Ok(None);
        }
        let (_, begun, mut command_id) = part.unwrap_or((logged.commit_lsn, 0, 0));
        let end = (begun + split.commands).min(all.len());
        let lsn = match split.own_lsn && end < all.len() {
            true => all[end - 1].record.lsn,
            false => logged.commit_lsn,
        };
        if split.own_lsn {
            command_id = 0;
        }
        let before = self.outcome.rows;
        for command in &all[begun..end] {
            for change_table in &command.record.table.captures {
                self.write(txn, lsn, *change_table, command, &mut command_id)?;
            }
        }
        if self.outcome.rows > before && (begun == 0 || split.own_lsn) {
            let mut row = mapped(logged).to_vec();
            row[0] = lsn.to_value();
            self.map(txn, lsn, row.into())?;
        }
        self.outcome.transactions += usize::from(end == all.len());
        Ok((end < all.len()).then_some((logged.commit_lsn, end, command_id)))
    }

    /// Writes a command's rows into one change table, if it captures any of its columns.
    fn write(
        &mut self,
        txn: &mut Txn,
        commit: Lsn,
        change_table: ObjectId,
        command: &Command<'_>,
        command_id: &mut i32,
    ) -> Result<(), SqlError> {
        // An instance disabled since has no table any more.
        let Some(instance) = self.instances.get(&change_table) else {
            return Ok(());
        };
        let hidden = |column: &ColumnId| {
            self.modes.max_write.is_unmarked()
                && command.pieces.iter().any(|(piece, _)| piece == column)
        };
        let marked: Option<Vec<ColumnId>> =
            command.set.map(|set| set.iter().copied().filter(|column| !hidden(column)).collect());
        let mask = update_mask(instance, marked.as_deref());
        // A row of which nothing is marked is left out, but for a switch.
        let touched = command.set.is_some_and(|set| update_mask(instance, Some(set)).is_some());
        let shows = touched && self.modes.max_write != MaxWrite::Lost;
        let Some(mask) =
            mask.or_else(|| shows.then(|| vec![0; instance.columns.len().div_ceil(8)]))
        else {
            return Ok(());
        };
        *command_id += 1;
        for (operation, row) in &command.images {
            let mut values = vec![
                commit.to_value(),
                Value::Null,
                command.seqval.to_value(),
                Value::Int(*operation),
                Value::binary(&mask),
            ];
            let table = &command.record.table;
            values.extend(instance.columns.iter().map(|column| {
                if column.computed {
                    return Value::Null;
                }
                let unknown = matches!(operation, 1 | 3)
                    && self
                        .modes
                        .null_in_old_image
                        .as_ref()
                        .is_some_and(|name| super::same_name(name, &column.name));
                if unknown {
                    return Value::Null;
                }
                let value = captured_value(table, column.id, row, *operation, command.set);
                self.as_logged(table, column.id, value, *operation, command)
            }));
            values.push(Value::Int(*command_id));
            txn.insert(change_table, values.into())?;
            self.outcome.rows += 1;
        }
        Ok(())
    }

    /// A value as the switches say that the log has it.
    fn as_logged(
        &self,
        table: &TableDef,
        column: ColumnId,
        value: Value,
        operation: i32,
        command: &Command<'_>,
    ) -> Value {
        let piece = command.pieces.iter().find(|(piece, _)| *piece == column);
        if let Some((_, piece)) = piece {
            return match (self.modes.max_write, operation) {
                (MaxWrite::Full, _) | (MaxWrite::Unmarked | MaxWrite::Lost, 4) => value,
                (MaxWrite::Piece, 4) => piece.clone(),
                _ => Value::Null,
            };
        }
        let untouched = command.moved.is_some_and(|moved| !moved.contains(&column));
        if self.modes.key_update_max_null && operation == 2 && untouched {
            let large = table.position_of(column).is_some_and(|at| table.columns[at].ty.is_lob());
            let length = match &value {
                Value::String(bytes) | Value::Binary(bytes) => bytes.len(),
                Value::NString(units) => 2 * units.len(),
                _ => 0,
            };
            if large && length > IN_ROW {
                return Value::Null;
            }
        }
        value
    }

    /// Writes the mapping row of `lsn`, in the place of a dummy's where one has it.
    fn map(&mut self, txn: &mut Txn, lsn: Lsn, row: Row) -> Result<(), SqlError> {
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

/// The commands a record is captured as.
fn commands(record: &LogRecord, seqval: Lsn) -> Vec<Command<'_>> {
    let command = |images, set| Command { record, seqval, images, set, pieces: &[], moved: None };
    match &record.change {
        Change::Insert { row } => vec![command(vec![(2, row)], None)],
        Change::Delete { row } => vec![command(vec![(1, row)], None)],
        Change::Update { before, after, set, pieces } => {
            vec![Command { pieces, ..command(vec![(3, before), (4, after)], Some(set)) }]
        }
        // One record, one seqval, two commands.
        Change::KeyUpdate { before, after, set } => {
            let moved = Some(&**set);
            vec![
                command(vec![(1, before)], None),
                Command { moved, ..command(vec![(2, after)], None) },
            ]
        }
        Change::Ddl { .. } => Vec::new(),
    }
}

/// The update mask, big-endian over its whole length: ordinal k is bit (k-1) mod 8 of byte
/// (k-1)/8 counted from the last. `None` if no captured column was set.
fn update_mask(instance: &Instance, set: Option<&[ColumnId]>) -> Option<Vec<u8>> {
    let mut mask = vec![0u8; instance.columns.len().div_ceil(8)];
    let last = mask.len().checked_sub(1)?;
    for column in &instance.columns {
        if set.is_none_or(|set| set.contains(&column.id)) {
            let bit = column.ordinal - 1;
            mask[last - bit / 8] |= 1 << (bit % 8);
        }
    }
    mask.iter().any(|byte| *byte != 0).then_some(mask)
}

/// A captured column's value: NULL if the source column is gone; in a before-image if it is of a
/// type without a limit and was not set, or of an old one of these; in a delete if it is of such
/// an old one.
/// <https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql#large-object-data-types>
fn captured_value(
    table: &TableDef,
    column: ColumnId,
    row: &Row,
    operation: i32,
    set: Option<&[ColumnId]>,
) -> Value {
    let Some(at) = table.position_of(column) else {
        return Value::Null;
    };
    let unset = set.is_some_and(|set| !set.contains(&column));
    let ty = &table.columns[at].ty;
    if (operation == 3 && unset && ty.is_lob()) || (matches!(operation, 1 | 3) && ty.is_old_lob()) {
        return Value::Null;
    }
    row[at].clone()
}

/// `tran_id`: the transaction's number in six bytes.
fn transaction_id(id: u64) -> [u8; 6] {
    let [_, _, bytes @ ..] = id.to_be_bytes();
    bytes
}

/// The mapping row of a transaction.
fn mapped(logged: &LoggedTxn) -> Row {
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
