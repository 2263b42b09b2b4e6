//! Open transactions.

use super::definition::{At, Columns, Definition, ViewOf, null};
use super::source::{Catalog, State};
use crate::SqlError;
use crate::storage::{Lsn, TxnInfo};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("dm_tran_database_transactions", columns, transactions),
    &ViewOf::sys("dm_tran_current_transaction", current_columns, current),
];

struct Transaction {
    database: i32,
    info: TxnInfo,
}

fn transactions(catalog: &Catalog<'_>) -> Result<Vec<Transaction>, SqlError> {
    catalog.need(State::ServerPerformance)?;
    let databases = catalog.storage.databases();
    Ok(databases
        .iter()
        .flat_map(|database| {
            let of_this = |info| Transaction { database: database.id(), info };
            database.transactions().into_iter().map(of_this)
        })
        .collect())
}

/// `database_transaction_state`: 3 without log records, 4 with.
fn state(transaction: &Transaction) -> i32 {
    if transaction.info.begin_lsn.is_some() { 4 } else { 3 }
}

fn columns() -> Columns<Transaction> {
    Columns::new()
        .add("transaction_id", |t: &Transaction| id(&t.info))
        .add("database_id", |t| t.database)
        .add("database_transaction_begin_time", |t| t.info.begin_lsn.map(|_| At(t.info.begin_time)))
        .add("database_transaction_type", |_| 1)
        .add("database_transaction_state", state)
        .add("database_transaction_status", |_| 0)
        .add("database_transaction_status2", |_| 0)
        .add("database_transaction_log_record_count", |t| {
            i64::try_from(t.info.log_records).unwrap_or(i64::MAX)
        })
        .add("database_transaction_replicate_record_count", |_| 0)
        // The double does not count bytes of log.
        .add_each(
            &["database_transaction_log_bytes_used", "database_transaction_log_bytes_reserved"],
            null::<_, i64>,
        )
        .add_each(
            &[
                "database_transaction_log_bytes_used_system",
                "database_transaction_log_bytes_reserved_system",
            ],
            null::<_, i32>,
        )
        .add("database_transaction_begin_lsn", |t| t.info.begin_lsn)
        .add("database_transaction_last_lsn", |t| t.info.last_lsn)
        .add("database_transaction_most_recent_savepoint_lsn", |t| t.info.savepoint_lsn)
        .add_each(
            &[
                "database_transaction_commit_lsn",
                "database_transaction_last_rollback_lsn",
                "database_transaction_next_undo_lsn",
            ],
            null::<_, Lsn>,
        )
}

fn id(info: &TxnInfo) -> i64 {
    i64::try_from(info.id).unwrap_or(i64::MAX)
}

fn current(catalog: &Catalog<'_>) -> Result<Vec<TxnInfo>, SqlError> {
    catalog.need(State::ServerPerformance)?;
    Ok(catalog.current.clone().into_iter().collect())
}

/// The double's row versions have no sequence numbers that could be shown.
fn current_columns() -> Columns<TxnInfo> {
    Columns::new()
        .add("transaction_id", id)
        .add("transaction_sequence_num", null::<_, i64>)
        .add("transaction_is_snapshot", |info| Some(info.snapshot))
        .add_each(
            &[
                "first_snapshot_sequence_num",
                "last_transaction_sequence_num",
                "first_useful_sequence_num",
            ],
            null::<_, i64>,
        )
}
