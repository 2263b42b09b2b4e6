//! Storage against models and under crashes.

mod durability;
mod locking;
mod lsn;
mod model;
mod versions;

use std::sync::Arc;

use super::*;
use crate::{IsolationLevel, SqlError, SqlType, Value};

/// A server in memory with one database.
pub(super) fn memory() -> (Arc<Storage>, Arc<Database>) {
    let storage = Storage::open(StorageOptions::default()).expect("a server in memory opens");
    let database = storage.create_database("d").expect("a new name");
    (storage, database)
}

/// A table of `k int primary key, v int`.
pub(super) fn pairs(database: &Arc<Database>) -> ObjectId {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let columns =
        vec![ColumnDef::new("k", SqlType::Int, false), ColumnDef::new("v", SqlType::Int, true)];
    let table = TableDef::new("dbo", "t", columns).with_index(
        "pk",
        IndexKind::PrimaryKey,
        true,
        true,
        &["k"],
    );
    let id = txn.create_table(table).expect("a new table").id;
    txn.commit().expect("nothing stands against it");
    id
}

pub(super) fn pair(k: i32, v: i32) -> Row {
    Arc::new([Value::Int(k), Value::Int(v)])
}

pub(super) fn key(k: i32) -> KeyRange {
    KeyRange::prefix(vec![Value::Int(k)])
}

pub(super) fn number(value: &Value) -> i32 {
    value.as_i64().and_then(|v| i32::try_from(v).ok()).expect("an int")
}

/// All pairs a view sees, in key order.
pub(super) fn contents(view: &View, table: ObjectId) -> Vec<(i32, i32)> {
    view.scan(table, None, KeyRange::all(), Direction::Forward)
        .expect("the table is there")
        .map(|row| row.map(|(_, row)| (number(&row[0]), number(&row[1]))))
        .collect::<Result<_, _>>()
        .expect("a scan does not fail")
}

/// What is committed now.
pub(super) fn committed(database: &Arc<Database>, table: ObjectId) -> Vec<(i32, i32)> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    contents(&txn.statement_view().expect("READ COMMITTED needs nothing"), table)
}

/// UPDATE t SET v = `v` WHERE k = `k`, as a statement: rows changed.
pub(super) fn set_value(txn: &mut Txn, table: ObjectId, k: i32, v: i32) -> Result<usize, SqlError> {
    let mut scan = txn.scan_for_update(table, None, key(k), Direction::Forward, RowLock::Update)?;
    let mut rows = Vec::new();
    while let Some((id, row)) = scan.next(txn)? {
        rows.push((id, pair(number(&row[0]), v)));
    }
    let count = rows.len();
    txn.update(table, rows, &[1])?;
    Ok(count)
}

/// DELETE FROM t WHERE k = `k`.
pub(super) fn remove(txn: &mut Txn, table: ObjectId, k: i32) -> Result<usize, SqlError> {
    let mut scan = txn.scan_for_update(table, None, key(k), Direction::Forward, RowLock::Update)?;
    let mut count = 0;
    while let Some((id, _)) = scan.next(txn)? {
        count += usize::from(txn.delete(table, id)?);
    }
    Ok(count)
}

/// UPDATE t SET k = `to` WHERE k = `from`.
pub(super) fn set_key(
    txn: &mut Txn,
    table: ObjectId,
    from: i32,
    to: i32,
) -> Result<usize, SqlError> {
    let mut scan =
        txn.scan_for_update(table, None, key(from), Direction::Forward, RowLock::Update)?;
    let mut rows = Vec::new();
    while let Some((id, row)) = scan.next(txn)? {
        rows.push((id, pair(to, number(&row[1]))));
    }
    let count = rows.len();
    txn.update(table, rows, &[0])?;
    Ok(count)
}
