//! Foreign keys, checked at the end of each statement over the rows it changed.
//!
//! A referenced row is looked up under a shared lock that is given back at once: whoever deletes
//! it later meets our uncommitted row and waits. Referencing rows are looked for among committed
//! and uncommitted ones alike, and those found are locked before they count.

use std::sync::Arc;

use super::env::Env;
use super::write::Verb;
use crate::storage::{Direction, ForeignKeyDef, IndexDef, KeyRange, Row, RowId, RowLock, TableDef};
use crate::{SqlError, Value};

/// Values of some columns of a row; none if one of them is NULL.
pub(super) fn key_of(table: &TableDef, columns: &[i32], row: &Row) -> Option<Vec<Value>> {
    let mut key = Vec::new();
    for column in columns {
        let value = row.get(table.position_of(*column)?)?;
        if value.is_null() {
            return None;
        }
        key.push(value.clone());
    }
    Some(key)
}

pub(super) fn same(left: &[Value], right: &[Value]) -> bool {
    left.iter().zip(right).all(|(l, r)| l.compare(r).is_eq())
}

/// Checks that what new rows refer to is there. `old` are the rows before, for updates.
///
/// # Errors
/// 547; those of locks.
pub fn check_referenced(
    env: &Env<'_>,
    table: &Arc<TableDef>,
    changes: &[(Option<Row>, Row)],
    verb: Verb,
) -> Result<(), SqlError> {
    for foreign in table.foreign_keys.iter().filter(|foreign| !foreign.disabled) {
        for (old, new) in changes {
            let Some(key) = key_of(table, &foreign.columns, new) else {
                continue;
            };
            let before = old.as_ref().and_then(|old| key_of(table, &foreign.columns, old));
            if before.is_some_and(|before| same(&before, &key)) {
                continue;
            }
            if !is_referenced_there(env, foreign, &key)? {
                let parent = parent_of(env, foreign)?;
                return Err(conflict(
                    env,
                    verb,
                    "FOREIGN KEY",
                    foreign,
                    &parent,
                    &foreign.referenced_columns,
                ));
            }
        }
    }
    Ok(())
}

fn parent_of(env: &Env<'_>, foreign: &ForeignKeyDef) -> Result<Arc<TableDef>, SqlError> {
    env.with_txn(|txn| txn.table_by_id(foreign.referenced_table))?
        .ok_or_else(|| super::expr::internal("a referenced table is gone"))
}

fn is_referenced_there(
    env: &Env<'_>,
    foreign: &ForeignKeyDef,
    key: &[Value],
) -> Result<bool, SqlError> {
    let parent = parent_of(env, foreign)?;
    let mut found = None;
    // The referenced columns are those of a unique index, in some order.
    for index in parent.indexes.iter().filter(|index| index.is_key()) {
        let columns: Vec<i32> = index.keys.iter().map(|key| key.column).collect();
        let mut ordered = Vec::new();
        for column in &columns {
            match foreign.referenced_columns.iter().position(|known| known == column) {
                Some(at) => ordered.push(key[at].clone()),
                None => break,
            }
        }
        if ordered.len() == columns.len() && columns.len() == key.len() {
            found = Some((index, ordered));
            break;
        }
    }
    let Some((index, ordered)) = found else {
        return Err(super::expr::internal("a foreign key without a unique index"));
    };
    let id = (!index.clustered).then_some(index.id);
    env.with_txn(|txn| {
        let range = KeyRange::prefix(ordered);
        let mut scan =
            txn.scan_for_update(parent.id, id, range, Direction::Forward, RowLock::Shared)?;
        match scan.next(txn)? {
            Some((row, _)) => {
                txn.release_row(parent.id, row);
                Ok(true)
            }
            None => Ok(false),
        }
    })
}

/// Checks that nothing refers to keys that are gone. `old` are the rows before, with their new
/// content for updates.
///
/// # Errors
/// 547; those of locks.
pub fn check_referencing(
    env: &Env<'_>,
    table: &Arc<TableDef>,
    changes: &[(Row, Option<Row>)],
    verb: Verb,
) -> Result<(), SqlError> {
    if changes.is_empty() {
        return Ok(());
    }
    let tables = env.with_txn(|txn| txn.tables());
    for child in tables {
        for foreign in child.foreign_keys.iter() {
            if foreign.referenced_table != table.id || foreign.disabled {
                continue;
            }
            let mut gone = Vec::new();
            for (old, new) in changes {
                let Some(key) = key_of(table, &foreign.referenced_columns, old) else {
                    continue;
                };
                let now =
                    new.as_ref().and_then(|new| key_of(table, &foreign.referenced_columns, new));
                if !now.is_some_and(|now| same(&now, &key)) {
                    gone.push(key);
                }
            }
            check_child(env, &child, foreign, &gone, verb)?;
        }
    }
    Ok(())
}

/// An index that begins with these columns.
pub(super) fn leading_index<'t>(table: &'t TableDef, columns: &[i32]) -> Option<&'t IndexDef> {
    table.indexes.iter().find(|index| {
        index.is_whole()
            && index.keys.len() >= columns.len()
            && index.keys.iter().zip(columns).all(|(key, column)| key.column == *column)
    })
}

fn check_child(
    env: &Env<'_>,
    child: &Arc<TableDef>,
    foreign: &ForeignKeyDef,
    gone: &[Vec<Value>],
    verb: Verb,
) -> Result<(), SqlError> {
    if gone.is_empty() {
        return Ok(());
    }
    match leading_index(child, &foreign.columns) {
        Some(index) => {
            let id = (!index.clustered).then_some(index.id);
            for key in gone {
                let range = KeyRange::prefix(key.clone());
                check_candidates(env, child, foreign, id, &range, gone, verb)?;
            }
            Ok(())
        }
        None => check_candidates(env, child, foreign, None, &KeyRange::all(), gone, verb),
    }
}

fn check_candidates(
    env: &Env<'_>,
    child: &Arc<TableDef>,
    foreign: &ForeignKeyDef,
    index: Option<i32>,
    range: &KeyRange,
    gone: &[Vec<Value>],
    verb: Verb,
) -> Result<(), SqlError> {
    let refers = |row: &Row| {
        key_of(child, &foreign.columns, row)
            .is_some_and(|key| gone.iter().any(|gone| same(gone, &key)))
    };
    let views = env.with_txn(|txn| Ok::<_, SqlError>([txn.dirty_view(), txn.statement_view()?]))?;
    let mut candidates: Vec<RowId> = Vec::new();
    for view in &views {
        for row in view.scan(child.id, index, range.clone(), Direction::Forward)? {
            let (id, row) = row?;
            if refers(&row) && !candidates.contains(&id) {
                candidates.push(id);
            }
        }
    }
    drop(views);
    for id in candidates {
        let row = env.with_txn(|txn| txn.lock_row(child.id, id, RowLock::Shared))?;
        let key =
            row.filter(|row| refers(row)).and_then(|row| key_of(child, &foreign.columns, &row));
        // The statement may have put the same key back in another row.
        if let Some(key) = key
            && !is_referenced_there(env, foreign, &key)?
        {
            return Err(conflict(env, verb, "REFERENCE", foreign, child, &foreign.columns));
        }
        env.with_txn(|txn| txn.release_row(child.id, id));
    }
    Ok(())
}

fn conflict(
    env: &Env<'_>,
    verb: Verb,
    kind: &str,
    foreign: &ForeignKeyDef,
    table: &TableDef,
    columns: &[i32],
) -> SqlError {
    let column = match columns {
        [only] => table
            .columns
            .iter()
            .find(|column| column.id == *only)
            .map(|column| format!(", column '{}'", column.name))
            .unwrap_or_default(),
        _ => String::new(),
    };
    SqlError::new(
        547,
        16,
        0,
        format!(
            "The {} statement conflicted with the {kind} constraint \"{}\". The conflict occurred in database \"{}\", table \"{}\"{column}.",
            verb.name(),
            foreign.name,
            env.status.database.name(),
            table.full_name()
        ),
    )
}
