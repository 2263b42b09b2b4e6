//! Storage of the double: tables, transactions, versions, locks and the log.
//!
//! # Why an engine of our own
//! Change data capture is a reading of the transaction log, so the log is the centre here: every
//! row change takes the next LSN at the moment it is made, and the commit record's LSN alone
//! decides the order of transactions. The embedded engines on the shelf do not fit: SQLite,
//! LMDB and redb have one writer at a time (neighbouring transactions could never interleave in
//! the log, which is the case a capture reader gets wrong), the LSM stores hide their log, and
//! none holds SQL Server's types exactly (`datetime` in 1/300 s, `decimal(38)`, unpaired
//! surrogates, `uniqueidentifier` order) nor its locks, lock errors and two kinds of snapshot.
//!
//! # How it hangs together
//! - [`Storage`] is the server: databases, the clock, faults. [`Database`] holds tables. [`Txn`]
//!   is one transaction in one database; [`View`] is what a statement may see.
//! - Rows have version chains. A writer puts its version at the head of the chain and so owns
//!   the row; another writer waits for it. Readers do not wait: READ COMMITTED reads a statement's
//!   snapshot with READ_COMMITTED_SNAPSHOT (without it, rows are locked as they are read:
//!   `committed.rs`), SNAPSHOT reads one that is fixed at the first data access.
//! - Locks on tables and explicit row locks are held to the end of the transaction. A wait that
//!   closes a circle kills the cheapest transaction in it (1205).
//! - Versions nobody can see any more are dropped as soon as the oldest view passes them.
//! - Committed work becomes visible in the order of its commit LSNs, and with `--data` only
//!   after it is on disk (see `wal`).
//!
//! # How to execute a statement
//! 1. `txn.table(schema, name)` for every table named: waits for DDL, answers the definition.
//! 2. Read: `txn.statement_view()` and [`View::scan`]. Rows stream; nothing is materialised.
//! 3. Write: `txn.savepoint()`; collect the rows to change with [`Txn::scan_for_update`] (each
//!    row is locked and current when it is handed out; give back rows that do not qualify with
//!    [`Txn::release_row`]); then one [`Txn::update`], or [`Txn::delete`]/[`Txn::insert`] per
//!    row. On an error, `txn.rollback_to(savepoint)`: a failed statement leaves nothing behind.
//! 4. `txn.end_statement()`.
//!
//! Errors 1205 and 3960 have rolled the whole transaction back when they are returned
//! ([`Txn::is_active`] is false then).

mod catalog;
mod chain;
mod clock;
mod codec;
mod committed;
mod database;
mod ddl;
mod defs;
mod duplicate;
mod faults;
mod hold;
mod image;
mod locks;
mod log;
mod lsn;
mod module;
mod packed;
mod redo;
mod rows;
mod scan;
mod sequence;
mod server;
mod sorted;
mod state;
mod table;
mod txn;
mod wal;
mod write;

pub use catalog::*;
pub use clock::{Clock, Micros, datetime, datetime2};
pub use committed::{CommittedScan, ESCALATION};
pub use database::{Database, DatabaseInfo};
pub use ddl::Rewrite;
pub use defs::*;
pub use faults::Injection;
pub use log::{Change, LogRecord, LoggedTxn, Pieces};
pub use lsn::{Lsn, LsnAllocator};
pub use module::*;
pub use scan::{Direction, KeyRange, RowId, Scan, UpdateScan, View};
pub use server::{Storage, StorageOptions};
pub use txn::{ATTENTION, CancelHandle, RowLock, Savepoint, TableLock, Txn, TxnId, TxnInfo};

#[cfg(test)]
mod tests;
