//! Cleanup: the low-water mark moves first, in a transaction of its own; the rows go after it,
//! batch by batch. A reader can see every state in between.

use std::sync::Arc;

use super::enable::error;
use super::job_rows::JobRow;
use super::schema::{Instance, Tables, change_tables};
use crate::storage::{
    Database, Direction, KeyRange, Lsn, ObjectId, Row, RowLock, Storage, Txn, View, datetime,
};
use crate::{IsolationLevel, SqlError, Value};
use std::cmp::Ordering;
use std::ops::Bound;

/// `sp_cdc_cleanup_change_table`: moves the mark of one instance to `mark` (unless NULL), then
/// deletes what is below it, `threshold` rows at a time.
///
/// # Errors
/// 22964 if the mark is in no mapping row, 22957 if it is outside the timeline.
pub(super) fn change_table(
    storage: &Storage,
    database: &Arc<Database>,
    instance: &str,
    mark: Option<Lsn>,
    threshold: i64,
) -> Result<(), SqlError> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let tables = Tables::open(&mut txn)?;
    let view = txn.statement_view()?;
    let found = tables.find(&view, instance)?.ok_or_else(|| {
        error(22985, format!("The capture instance '{instance}' does not exist or the caller has no permission on it."))
    })?;
    let old = found.start_lsn.unwrap_or(Lsn::ZERO);
    let mark = match mark {
        None => old,
        Some(mark) => {
            check_mark(&tables, &view, &found, mark)?;
            mark
        }
    };
    let moved = mark > old;
    if moved {
        raise(&mut txn, &tables, &found, mark)?;
    }
    txn.commit()?;
    if moved && storage.cdc.modes(database.id()).cleanup_in_two_calls {
        return Ok(());
    }
    delete_rows(database, found.change_table, mark, threshold)?;
    delete_mappings(database, threshold)
}

fn check_mark(
    tables: &Tables,
    view: &View,
    instance: &Instance,
    mark: Lsn,
) -> Result<(), SqlError> {
    let low = instance.start_lsn.unwrap_or(Lsn::ZERO);
    let high =
        tables.newest_mapping(view)?.and_then(|row| Lsn::from_value(&row[0])).unwrap_or(Lsn::ZERO);
    if mark < low || mark > high {
        return Err(error(
            22957,
            format!(
                "LSN {mark}, specified as the new low endpoint for the change table associated with capture instance '{}', is not within the Change Data Capture timeline [{low}, {high}].",
                instance.name
            ),
        ));
    }
    if tables.mapping(view, mark)?.is_none() {
        return Err(error(
            22964,
            format!(
                "LSN {mark}, specified as the new low endpoint for the change table associated with capture instance '{}', is not the start_lsn of an entry in cdc.lsn_time_mapping.",
                instance.name
            ),
        ));
    }
    Ok(())
}

fn raise(txn: &mut Txn, tables: &Tables, instance: &Instance, mark: Lsn) -> Result<(), SqlError> {
    let id = tables.change_tables.id;
    if let Some(row) = txn.lock_row(id, instance.row_id, RowLock::Update)? {
        let mut row = row.to_vec();
        row[change_tables::START_LSN] = mark.to_value();
        txn.update(id, vec![(instance.row_id, Row::from(row))], &[change_tables::START_LSN])?;
    }
    Ok(())
}

/// The cleanup job: everything older than the retention, counted back from the newest mapping
/// row (so an idle database loses its real rows to the dummies' progress).
pub(super) fn run_job(
    storage: &Storage,
    database: &Arc<Database>,
    job: &JobRow,
) -> Result<(), SqlError> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let tables = Tables::open(&mut txn)?;
    let view = txn.statement_view()?;
    let mark = low_mark(&tables, &view, job.retention)?;
    let instances = tables.instances(&view)?;
    let mut moved = false;
    for instance in &instances {
        if let (Some(mark), Some(start)) = (mark, instance.start_lsn)
            && mark > start
        {
            raise(&mut txn, &tables, instance, mark)?;
            moved = true;
        }
    }
    txn.commit()?;
    if moved && storage.cdc.modes(database.id()).cleanup_in_two_calls {
        return Ok(());
    }
    for instance in instances {
        // The mark as it is now, moved by this call or an earlier one.
        if let Some(start) = current_start(database, &instance.name)? {
            delete_rows(database, instance.change_table, start, job.threshold)?;
        }
    }
    delete_mappings(database, job.threshold)
}

fn current_start(database: &Arc<Database>, instance: &str) -> Result<Option<Lsn>, SqlError> {
    super::schema::read(database, |_, tables, view| {
        Ok(tables.find(view, instance)?.and_then(|instance| instance.start_lsn))
    })
}

/// The smallest LSN of the mapping rows that share the latest end time not after the bound.
fn low_mark(tables: &Tables, view: &View, retention: i64) -> Result<Option<Lsn>, SqlError> {
    let table = tables.lsn_time_mapping.id;
    let index = Some(tables.by_end_time());
    let mut newest = view.scan(table, index, KeyRange::all(), Direction::Backward)?;
    let Some((_, newest)) = newest.next().transpose()? else {
        return Ok(None);
    };
    let bound = minutes_before(&newest[2], retention);
    let range = KeyRange { lower: Bound::Unbounded, upper: Bound::Included(vec![bound]) };
    let mut rows = view.scan(table, index, range, Direction::Backward)?;
    let Some((_, last)) = rows.next().transpose()? else {
        return Ok(None);
    };
    let mut mark = Lsn::from_value(&last[0]);
    for row in rows {
        let (_, row) = row?;
        if row[2].compare(&last[2]) != Ordering::Equal {
            break;
        }
        mark = mark.min(Lsn::from_value(&row[0]));
    }
    Ok(mark)
}

fn minutes_before(time: &Value, minutes: i64) -> Value {
    let Value::DateTime { days, ticks } = time else {
        return Value::Null;
    };
    // Through microseconds since 1970; a datetime's ticks survive the round trip.
    let day = i64::from(*days) - 25_567;
    let micros = (i64::from(*ticks) * 1_000_000 + 150) / 300;
    datetime(day * 86_400_000_000 + micros - minutes * 60_000_000)
}

/// Deletes the rows of a change table below `mark`.
pub(super) fn delete_rows(
    database: &Arc<Database>,
    table: ObjectId,
    mark: Lsn,
    threshold: i64,
) -> Result<(), SqlError> {
    let range = KeyRange { lower: Bound::Unbounded, upper: Bound::Excluded(vec![mark.to_value()]) };
    delete_in_batches(database, table, &range, threshold)
}

/// Deletes the mapping rows below every instance's mark.
pub(super) fn delete_mappings(database: &Arc<Database>, threshold: i64) -> Result<(), SqlError> {
    let (table, lowest) = super::schema::read(database, |_, tables, view| {
        let instances = tables.instances(view)?;
        let lowest = instances.iter().map(|instance| instance.start_lsn.unwrap_or(Lsn::ZERO)).min();
        Ok((tables.lsn_time_mapping.id, lowest))
    })?;
    match lowest {
        Some(lowest) => delete_rows(database, table, lowest, threshold),
        None => Ok(()),
    }
}

pub(super) fn delete_in_batches(
    database: &Arc<Database>,
    table: ObjectId,
    range: &KeyRange,
    threshold: i64,
) -> Result<(), SqlError> {
    let threshold = usize::try_from(threshold).unwrap_or(1).max(1);
    loop {
        let mut txn = database.begin(IsolationLevel::ReadCommitted);
        // The Agent's job gives way to readers and capture.
        txn.set_deadlock_priority(-5);
        let view = txn.statement_view()?;
        let rows = view.scan(table, None, range.clone(), Direction::Forward)?;
        let batch: Vec<_> = rows.take(threshold).collect::<Result<_, _>>()?;
        for (row, _) in &batch {
            txn.delete(table, *row)?;
        }
        drop(view);
        txn.commit()?;
        if batch.len() < threshold {
            return Ok(());
        }
    }
}
