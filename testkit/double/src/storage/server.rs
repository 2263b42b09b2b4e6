//! The server: its databases, clock and faults.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Clock, Database};
use crate::SqlError;

/// How a server is opened.
#[derive(Clone, Debug, Default)]
pub struct StorageOptions {
    /// Where committed work is kept; `None` keeps it in memory only.
    pub data: Option<PathBuf>,
}

/// Everything behind one server: databases by name, the clock, faults.
pub struct Storage {
}

impl Storage {
    /// Opens a server: replays what its directory holds, or starts with the system databases
    /// (master 1, tempdb 2, model 3, msdb 4).
    ///
    /// # Errors
    /// What the directory's files cannot be read or written for.
    pub fn open(options: StorageOptions) -> anyhow::Result<Arc<Storage>> {
        let _ = options;
        unimplemented!()
    }

    /// The server's clock.
    pub fn clock(&self) -> &Arc<Clock> {
        unimplemented!()
    }

    /// A database by name (case-insensitive).
    pub fn database(&self, name: &str) -> Option<Arc<Database>> {
        let _ = name;
        unimplemented!()
    }

    /// A database by `database_id`.
    pub fn database_by_id(&self, id: i32) -> Option<Arc<Database>> {
        let _ = id;
        unimplemented!()
    }

    /// All databases by id.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        unimplemented!()
    }

    /// CREATE DATABASE.
    ///
    /// # Errors
    /// 1801 if it exists.
    pub fn create_database(&self, name: &str) -> Result<Arc<Database>, SqlError> {
        let _ = name;
        unimplemented!()
    }

    /// DROP DATABASE.
    ///
    /// # Errors
    /// 3701 if there is none, 3702 while transactions are open in it (of which sessions *use* it
    /// without one only the engine knows), 3708 for a system database.
    pub fn drop_database(&self, name: &str) -> Result<(), SqlError> {
        let _ = name;
        unimplemented!()
    }

    /// BACKUP DATABASE … TO DISK = `file`: the committed state of now, LSNs included. Files live
    /// in the data directory's `backup` folder (in memory without one); only the last part of
    /// the path counts.
    ///
    /// # Errors
    /// 911 for an unknown database, 3201 if the file cannot be written.
    pub fn backup(&self, database: &str, file: &str) -> Result<(), SqlError> {
        let _ = (database, file);
        unimplemented!()
    }

    /// RESTORE DATABASE … FROM DISK = `file`: everything as at the backup, LSNs rewound, a new
    /// `recovery_fork_guid`, over the database of that name or as a new one. CDC stays when the
    /// database has the name it was backed up under (SQL Server's rule for the same server), and
    /// is dropped otherwise unless `keep_cdc`.
    ///
    /// # Errors
    /// 3201 without such a file, 3101 while transactions are open in the database.
    pub fn restore(&self, database: &str, file: &str, keep_cdc: bool) -> Result<(), SqlError> {
        let _ = (database, file, keep_cdc);
        unimplemented!()
    }

    /// To be called once per object a statement touches, before it runs: answers the error a
    /// test has asked for (see `cdc::faults`), counting down.
    ///
    /// # Errors
    /// The injected one.
    pub fn touch(&self, database: &str, object: &str) -> Result<(), SqlError> {
        let _ = (database, object);
        unimplemented!()
    }

    /// Ends background work and flushes. Idempotent; dropping the last reference does the same.
    pub fn shutdown(&self) {
        unimplemented!()
    }
}
