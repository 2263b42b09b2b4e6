//! The transaction log as capture reads it.
//!
//! A record takes its LSN when the change is made, so records of neighbouring transactions
//! interleave; a transaction's records reach the tail together when it commits, in the order of
//! commit LSNs. The tail keeps what capture has not yet confirmed (SQL Server's log truncation
//! waits for capture in the same way) and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Value;

use super::{ColumnId, Lsn, LsnAllocator, Micros, Row, RowId, TableDef, TxnId};

/// Columns changed by `.WRITE`, and what it wrote.
pub type Pieces = Arc<[(ColumnId, Value)]>;

/// What a record says happened to a row or a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A row came.
    Insert {
        /// Its content.
        row: Row,
    },
    /// A row went.
    Delete {
        /// What it was.
        row: Row,
    },
    /// A row changed in place.
    Update {
        /// What it was.
        before: Row,
        /// What it is.
        after: Row,
        /// Columns of the SET list.
        set: Arc<[ColumnId]>,
        /// What `.WRITE` wrote into columns of these.
        pieces: Pieces,
    },
    /// A row's primary or clustered key changed in a statement of one row: captured as a delete
    /// and an insert of this one record.
    KeyUpdate {
        /// What it was.
        before: Row,
        /// What it is.
        after: Row,
        /// Columns of the SET list.
        set: Arc<[ColumnId]>,
    },
    /// DDL on the table; the record's definition is the one before it.
    Ddl {
        /// The statement's text; empty where only the capture instances have changed.
        command: String,
        /// The definition after it; `None` for DROP TABLE.
        after: Option<Arc<TableDef>>,
        /// Server-local time.
        time: Micros,
    },
}

/// One log record.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// Its LSN.
    pub lsn: Lsn,
    /// The table as it was defined then, capture instances among it.
    pub table: Arc<TableDef>,
    /// The row (0 for DDL).
    pub row: RowId,
    /// What happened.
    pub change: Change,
}

/// A committed transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedTxn {
    /// `transaction_id`
    pub id: TxnId,
    /// LSN of its begin record.
    pub begin_lsn: Lsn,
    /// LSN of its commit record.
    pub commit_lsn: Lsn,
    /// Server-local times.
    pub begin_time: Micros,
    /// Of the commit record.
    pub end_time: Micros,
    /// Its records, in log order, rolled-back work left out.
    pub records: Vec<LogRecord>,
}

/// The log's LSNs and its tail.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) lsns: LsnAllocator,
    /// LSN of the last record written.
    pub(super) last: Lsn,
    /// Everything up to here is captured.
    pub(super) captured: Lsn,
    pub(super) tail: VecDeque<Arc<LoggedTxn>>,
}

impl Log {
    /// Writes a record of about `bytes` bytes: answers its LSN.
    pub(super) fn write(&mut self, bytes: u64) -> Lsn {
        let lsn = self.lsns.next(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.last = lsn;
        lsn
    }

    /// Forgets what capture has confirmed.
    pub(super) fn truncate(&mut self, captured: Lsn) {
        self.captured = captured;
        while self.tail.front().is_some_and(|txn| txn.commit_lsn <= captured) {
            self.tail.pop_front();
        }
    }
}
