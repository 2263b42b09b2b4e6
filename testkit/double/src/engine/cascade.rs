//! What becomes of rows that refer to keys that are gone: cascades, then NO ACTION's check.
//!
//! The referenced rows have been changed when this runs, so their log records come first and the
//! referencing rows' behind them: the order of the Sequence operator in SQL Server's plans, and
//! the harder one for a reader that applies changes one by one under foreign keys. A table is
//! reached once only, which error 1785 sees to where keys are made.

use std::sync::Arc;

use super::bind::Binder;
use super::env::Env;
use super::expr::Frame;
use super::fault::{Fault, of_binding};
use super::references::{self, key_of, leading_index, same};
use super::write::{RowRules, Verb, default_of};
use crate::Value;
use crate::storage::{
    Direction, ForeignKeyDef, KeyRange, ReferentialAction, Row, RowId, RowLock, TableDef,
};

/// A key that is gone, and what its row has instead.
type Gone = (Vec<Value>, Option<Vec<Value>>);
/// A row that refers to one, and what the key becomes.
type Referring = (RowId, Row, Option<Vec<Value>>);

/// Follows changed rows of a table (before, and after unless deleted) to those that refer to them.
///
/// # Errors
/// 547; those of changing the referencing rows.
pub fn settle(
    binder: &Binder<'_, '_>,
    table: &Arc<TableDef>,
    changes: &[(Row, Option<Row>)],
    verb: Verb,
) -> Result<(), Fault> {
    if changes.is_empty() {
        return Ok(());
    }
    let env = binder.env;
    for child in env.with_txn(|txn| txn.tables()) {
        for foreign in child.foreign_keys.iter().filter(|foreign| !foreign.disabled) {
            if foreign.referenced_table != table.id {
                continue;
            }
            let gone = gone_keys(table, foreign, changes);
            let deletes = changes.iter().all(|(_, new)| new.is_none());
            let action = if deletes { foreign.on_delete } else { foreign.on_update };
            if !gone.is_empty() && action != ReferentialAction::NoAction {
                follow(binder, &child, (foreign, action, deletes), &gone, verb)?;
            }
        }
    }
    references::check_referencing(env, table, changes, verb)?;
    Ok(())
}

fn gone_keys(
    table: &TableDef,
    foreign: &ForeignKeyDef,
    changes: &[(Row, Option<Row>)],
) -> Vec<Gone> {
    let key = |row: &Row| key_of(table, &foreign.referenced_columns, row);
    changes
        .iter()
        .filter_map(|(old, new)| {
            let before = key(old)?;
            let after = new.as_ref().and_then(&key);
            let stays = after.as_ref().is_some_and(|after| same(after, &before));
            (!stays).then_some((before, after))
        })
        .collect()
}

/// Rows of `child` that refer to a key that is gone, locked, and what their key becomes.
fn referring(
    env: &Env<'_>,
    child: &TableDef,
    foreign: &ForeignKeyDef,
    gone: &[Gone],
) -> Result<Vec<Referring>, crate::SqlError> {
    let index = leading_index(child, &foreign.columns);
    let ranges: Vec<KeyRange> = match index {
        Some(_) => gone.iter().map(|(key, _)| KeyRange::prefix(key.clone())).collect(),
        None => vec![KeyRange::all()],
    };
    let id = index.filter(|index| !index.clustered).map(|index| index.id);
    let mut found: Vec<Referring> = Vec::new();
    for range in ranges {
        let mut scan = env.with_txn(|txn| {
            txn.scan_for_update(child.id, id, range, Direction::Forward, RowLock::Update)
        })?;
        while let Some((row_id, row)) = env.with_txn(|txn| scan.next(txn))? {
            env.check_interrupt()?;
            let becomes = key_of(child, &foreign.columns, &row)
                .and_then(|key| gone.iter().find(|(gone, _)| same(gone, &key)));
            match becomes {
                Some((_, after)) => found.push((row_id, row, after.clone())),
                None => env.with_txn(|txn| txn.release_row(child.id, row_id)),
            }
        }
    }
    Ok(found)
}

fn follow(
    binder: &Binder<'_, '_>,
    child: &Arc<TableDef>,
    (foreign, action, deletes): (&ForeignKeyDef, ReferentialAction, bool),
    gone: &[Gone],
    verb: Verb,
) -> Result<(), Fault> {
    let env = binder.env;
    let rows = referring(env, child, foreign, gone)?;
    if rows.is_empty() {
        return Ok(());
    }
    if action == ReferentialAction::Cascade && deletes {
        let mut changes = Vec::new();
        for (id, row, _) in rows {
            env.with_txn(|txn| txn.delete(child.id, id))?;
            changes.push((row, None));
        }
        return settle(binder, child, &changes, verb);
    }
    let positions: Vec<usize> =
        foreign.columns.iter().filter_map(|column| child.position_of(*column)).collect();
    let rules = RowRules::new(binder, child).map_err(of_binding)?;
    let defaults = match action {
        ReferentialAction::SetDefault => {
            let mut values = Vec::new();
            for at in &positions {
                let default = default_of(binder, child, *at).map_err(of_binding)?;
                let value = default.node.eval(&Frame::empty(), env)?.into_owned();
                values.push(rules.assign(*at, value, &default.type_or_int())?);
            }
            values
        }
        _ => vec![Value::Null; positions.len()],
    };
    let (mut writes, mut forward, mut backward) = (Vec::new(), Vec::new(), Vec::new());
    for (id, row, after) in rows {
        let key = match (action, after) {
            (ReferentialAction::Cascade, Some(after)) => after,
            _ => defaults.clone(),
        };
        let mut values = row.to_vec();
        for (at, value) in positions.iter().zip(key) {
            values[*at] = value;
        }
        let new = rules.complete(values, verb, env)?;
        writes.push((id, Row::clone(&new)));
        forward.push((Some(Row::clone(&row)), Row::clone(&new)));
        backward.push((row, Some(new)));
    }
    env.with_txn(|txn| txn.update(child.id, writes, &positions))?;
    references::check_referenced(env, child, &forward, verb)?;
    settle(binder, child, &backward, verb)
}
