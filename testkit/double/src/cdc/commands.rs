//! From log records to rows of change tables: commands, their masks and images, and what switches make
//! of them.

use super::capture::{Scan, mapped};
use super::schema::Instance;
use super::{MaxWrite, Split};
use crate::storage::{Change, ColumnId, LogRecord, LoggedTxn, Lsn, ObjectId, Row, TableDef, Txn};
use crate::{SqlError, Value};

/// Bytes of a value above which it is surely stored off its row.
const IN_ROW: usize = 8000;

/// A transaction of which a part is published: its commit, commands so far and the last command id.
pub(super) type Part = (Lsn, usize, i32);

/// A change of one row as a change table will show it.
pub(super) struct Command<'a> {
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
    /// Publishes the next commands of a transaction, as the Log Reader Agent divides it where
    /// transactional replication runs beside capture (`MaxCmdsInTran`). Answers where to go on.
    pub(super) fn publish_part(
        &mut self,
        txn: &mut Txn,
        logged: &LoggedTxn,
        split: Split,
        part: Option<Part>,
    ) -> Result<Option<Part>, SqlError> {
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
    pub(super) fn write(
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
}

/// The commands a record is captured as.
pub(super) fn commands(record: &LogRecord, seqval: Lsn) -> Vec<Command<'_>> {
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
