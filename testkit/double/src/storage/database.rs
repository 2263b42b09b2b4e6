//! One database.

use std::sync::Arc;

use super::{Micros, Row, TableDef, Txn, TxnInfo};
use crate::{IsolationLevel, SqlError};

/// What `sys.databases` and its kin say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// `database_id`
    pub id: i32,
    /// Name.
    pub name: String,
    /// Server-local creation (or restore) time.
    pub create_date: Micros,
    /// ALLOW_SNAPSHOT_ISOLATION; OFF at first, as on SQL Server.
    pub allow_snapshot: bool,
    /// `is_cdc_enabled`
    pub cdc_enabled: bool,
    /// `database_guid`, in wire order.
    pub database_guid: [u8; 16],
    /// `family_guid`: the same over restores.
    pub family_guid: [u8; 16],
    /// `recovery_fork_guid`: new after every restore.
    pub recovery_fork_guid: [u8; 16],
}

/// One database.
pub struct Database {
}

impl Database {
    /// What `sys.databases` says.
    pub fn info(&self) -> DatabaseInfo {
        unimplemented!()
    }

    /// `database_id`
    pub fn id(&self) -> i32 {
        unimplemented!()
    }

    /// Name.
    pub fn name(&self) -> String {
        unimplemented!()
    }

    /// ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION.
    pub fn set_allow_snapshot(&self, on: bool) -> Result<(), SqlError> {
        let _ = on;
        unimplemented!()
    }

    /// Begins a transaction. It costs nothing until it writes; an autocommit statement is a
    /// transaction of its own. Dropping a [`Txn`] rolls it back.
    pub fn begin(self: &Arc<Self>, isolation: IsolationLevel) -> Txn {
        let _ = isolation;
        unimplemented!()
    }

    /// Durable, non-transactional name-value settings for whoever builds on this (users, grants
    /// and such that are not tables).
    pub fn setting(&self, key: &str) -> Option<String> {
        let _ = key;
        unimplemented!()
    }

    /// Sets or (with `None`) removes a setting.
    pub fn set_setting(&self, key: &str, value: Option<&str>) -> Result<(), SqlError> {
        let _ = (key, value);
        unimplemented!()
    }

    /// Open transactions (`sys.dm_tran_database_transactions`).
    pub fn transactions(&self) -> Vec<TxnInfo> {
        unimplemented!()
    }

    /// Approximate number of rows and bytes of a table, committed or not
    /// (`sys.dm_db_partition_stats`).
    pub fn table_size(&self, table: super::ObjectId) -> Option<(u64, u64)> {
        let _ = table;
        unimplemented!()
    }

    #[allow(dead_code)]
    fn _unused(_: &TableDef, _: &Row) {}
}
