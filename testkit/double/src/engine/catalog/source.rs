//! What views are computed from, and what of it their reader may see.

use std::sync::Arc;

use super::Table;
use crate::SqlError;
use crate::engine::security::Rights;
use crate::product::Release;
use crate::storage::{Database, ObjectId, Storage, TableDef, Txn, TxnInfo};

/// A database's catalogue in the eyes of one user, at one moment.
pub(super) struct Catalog<'a> {
    /// The server.
    pub storage: &'a Arc<Storage>,
    /// The transaction through which it is read.
    pub txn: &'a Txn,
    /// The reader's rights in this database.
    pub rights: &'a Rights,
    /// The reader's own transaction, which is another one where this is another database.
    pub current: Option<TxnInfo>,
    /// The objects that are asked for, where it is only some.
    pub only: Option<Vec<ObjectId>>,
}

/// Permissions that dynamic views ask for; SQL Server 2022 splits the STATE permissions in two,
/// and the old names still hold both parts.
#[derive(Clone, Copy)]
pub(super) enum State {
    /// VIEW SERVER PERFORMANCE STATE
    ServerPerformance,
    /// VIEW SERVER SECURITY STATE
    ServerSecurity,
    /// VIEW DATABASE PERFORMANCE STATE
    DatabasePerformance,
}

impl<'a> Catalog<'a> {
    /// The catalogue of a transaction's database.
    pub fn new(
        storage: &'a Arc<Storage>,
        txn: &'a Txn,
        rights: &'a Rights,
        current: Option<TxnInfo>,
    ) -> Catalog<'a> {
        Catalog { storage, txn, rights, current, only: None }
    }

    /// The same for a view of [`super::definition::Definition::is_by_object`], for these objects alone.
    pub fn only(self, objects: Option<Vec<ObjectId>>) -> Catalog<'a> {
        Catalog { only: objects, ..self }
    }

    /// The database.
    pub fn database(&self) -> &Arc<Database> {
        self.txn.database()
    }

    /// Whether the server has the types that SQL Server 2025 brought.
    pub fn has_new_types(&self) -> bool {
        self.storage.release() >= Release::V2025
    }

    /// Its tables that the reader may know of, by `object_id`.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = self.txn.tables();
        tables.retain(|table| self.is_wanted(table) && self.rights.sees(table));
        tables
    }

    /// Its tables, views and procedures that the reader may know of, by `object_id`.
    pub fn objects(&self) -> Vec<Table> {
        let mut objects = self.txn.objects();
        objects.retain(|object| self.is_wanted(object) && self.rights.sees(object));
        objects
    }

    fn is_wanted(&self, object: &TableDef) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&object.id))
    }

    /// One item or more of each visible table.
    pub fn of_tables<T, I: IntoIterator<Item = T>>(&self, items: impl Fn(&Table) -> I) -> Vec<T> {
        self.tables().iter().flat_map(items).collect()
    }

    /// Whether the texts of a table's constraints and computed columns are shown.
    pub fn sees_definitions(&self, table: &TableDef) -> bool {
        sees_definition(self.rights, table)
    }

    /// `schema_id` by name.
    pub fn schema_id(&self, name: &str) -> i32 {
        let schemas = self.txn.schemas();
        let known = schemas.iter().find(|(_, known)| crate::storage::same_name(known, name));
        known.map_or(1, |(id, _)| *id)
    }

    /// Whether the reader has the permission of a dynamic view.
    pub fn has_state(&self, state: State) -> bool {
        let server = |permission| self.rights.has_server_permission(permission);
        let database = |permission| self.rights.has_database_permission(permission);
        server("VIEW SERVER STATE")
            || match state {
                State::ServerPerformance => server("VIEW SERVER PERFORMANCE STATE"),
                State::ServerSecurity => server("VIEW SERVER SECURITY STATE"),
                State::DatabasePerformance => {
                    server("VIEW SERVER PERFORMANCE STATE")
                        || database("VIEW DATABASE STATE")
                        || database("VIEW DATABASE PERFORMANCE STATE")
                }
            }
    }

    /// Refuses a reader without it.
    ///
    /// # Errors
    /// 300 for a permission on the server, 262 for one in the database.
    pub fn need(&self, state: State) -> Result<(), SqlError> {
        if self.has_state(state) {
            return Ok(());
        }
        let denied = |permission: &str| {
            SqlError::new(
                300,
                14,
                1,
                format!(
                    "{permission} permission was denied on object 'server', database 'master'."
                ),
            )
        };
        Err(match state {
            State::ServerPerformance => denied("VIEW SERVER PERFORMANCE STATE"),
            State::ServerSecurity => denied("VIEW SERVER SECURITY STATE"),
            State::DatabasePerformance => SqlError::new(
                262,
                14,
                1,
                format!(
                    "VIEW DATABASE PERFORMANCE STATE permission denied in database '{}'.",
                    self.database().name()
                ),
            ),
        })
    }
}

/// Whether the texts of an object are shown to a user.
pub fn sees_definition(rights: &Rights, object: &TableDef) -> bool {
    rights.is_owner()
        || ["VIEW DEFINITION", "CONTROL", "ALTER"]
            .iter()
            .any(|permission| rights.has_object_permission(permission, object))
}
