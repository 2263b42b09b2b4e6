//! What a user may do: computed once for a user and database, checked with every name.

use std::collections::HashSet;
use std::sync::Arc;

use super::{DatabaseSecurity, Entry, On, is_fixed_role};
use crate::SqlError;
use crate::cdc::Access;
use crate::engine::bind::same_name;
use crate::storage::{ColumnId, Database, ObjectId, TableDef};

/// What can be done with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// SELECT
    Select,
    /// INSERT
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
}

impl Permission {
    /// As in GRANT.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Select => "SELECT",
            Permission::Insert => "INSERT",
            Permission::Update => "UPDATE",
            Permission::Delete => "DELETE",
        }
    }
}

/// What is decided of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// DENY
    Denied,
    /// GRANT
    Granted,
    /// Neither.
    Open,
}

/// What a user may do in a database.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Login.
    pub login: String,
    /// User.
    pub user: String,
    /// Member of sysadmin.
    pub sysadmin: bool,
    /// Server permissions of the login.
    pub server: Vec<String>,
    roles: HashSet<String>,
    known_roles: HashSet<String>,
    entries: Vec<Entry>,
}

impl Rights {
    /// Rights of a login in a database.
    ///
    /// # Errors
    /// 916 if it has no user there.
    pub fn of_login(
        login: &str,
        sysadmin: bool,
        server: &[String],
        database: &Database,
    ) -> Result<Rights, SqlError> {
        let security = DatabaseSecurity::load(database)?;
        let user = match (security.user_of(login), sysadmin) {
            (_, true) => "dbo".to_owned(),
            (Some(user), false) => user.name.clone(),
            // The guest user is enabled in these.
            (None, false) if matches!(database.name().as_str(), "master" | "tempdb" | "msdb") => {
                "guest".to_owned()
            }
            (None, false) => {
                return Err(SqlError::new(
                    916,
                    14,
                    2,
                    format!(
                        "The server principal \"{login}\" is not able to access the database \"{}\" under the current security context.",
                        database.name()
                    ),
                ));
            }
        };
        Ok(Rights {
            login: login.to_owned(),
            sysadmin,
            server: server.to_vec(),
            ..Rights::of_user_in(&security, &user)
        })
    }

    /// Rights of a user (EXECUTE AS USER).
    ///
    /// # Errors
    /// 15517 if there is none.
    pub fn of_user(user: &str, database: &Database) -> Result<Rights, SqlError> {
        let security = DatabaseSecurity::load(database)?;
        let Some(known) = security.user(user) else {
            if same_name(user, "dbo") {
                return Ok(Rights {
                    login: "sa".into(),
                    roles: HashSet::from(["db_owner".to_owned(), "public".to_owned()]),
                    ..Rights::of_user_in(&security, "dbo")
                });
            }
            return Err(SqlError::new(
                15517,
                16,
                1,
                format!(
                    "Cannot execute as the database principal because the principal \"{user}\" does not exist, this type of principal cannot be impersonated, or you do not have permission."
                ),
            ));
        };
        Ok(Rights {
            login: known.login.clone().unwrap_or_else(|| known.name.clone()),
            ..Rights::of_user_in(&security, &known.name.clone())
        })
    }

    fn of_user_in(security: &DatabaseSecurity, user: &str) -> Rights {
        let roles = security.roles_of(user);
        let mine = |entry: &&Entry| {
            same_name(&entry.principal, user) || roles.contains(&entry.principal.to_lowercase())
        };
        Rights {
            user: user.to_owned(),
            entries: security.entries.iter().filter(mine).cloned().collect(),
            known_roles: security.roles.iter().map(|role| role.name.to_lowercase()).collect(),
            roles,
            ..Rights::default()
        }
    }

    /// Whether nothing is checked.
    pub fn is_owner(&self) -> bool {
        self.sysadmin || self.roles.contains("db_owner")
    }

    /// Whether the user is in a role; none if there is no such role.
    pub fn is_member(&self, role: &str) -> Option<bool> {
        let role = role.to_lowercase();
        if role == "public" {
            return Some(true);
        }
        if !is_fixed_role(&role) && !self.known_roles.contains(&role) {
            return None;
        }
        Some(
            self.roles.contains(&role)
                || (role == "db_owner" && self.sysadmin)
                || (self.sysadmin && is_fixed_role(&role)),
        )
    }

    /// Whether the user may define things.
    pub fn may_define(&self) -> bool {
        self.is_owner() || self.roles.contains("db_ddladmin")
    }

    /// Whether a permission on a whole table is there.
    pub fn has_object_permission(&self, permission: &str, table: &TableDef) -> bool {
        self.is_owner()
            || table.is_temporary()
            || self.on_object(&permission.to_ascii_uppercase(), table) == Decision::Granted
    }

    /// What is decided of a permission on a whole table.
    fn on_object(&self, permission: &str, table: &TableDef) -> Decision {
        let applies = |entry: &&Entry| {
            let on = match &entry.on {
                On::Database => true,
                On::Schema(schema) => same_name(schema, &table.schema),
                On::Object(id) => *id == table.id,
                On::Column(..) => false,
            };
            on && (entry.permission == permission || entry.permission == "CONTROL")
        };
        let (allowing, denying) = match permission {
            "SELECT" => ("db_datareader", "db_denydatareader"),
            "INSERT" | "UPDATE" | "DELETE" => ("db_datawriter", "db_denydatawriter"),
            "ALTER" | "REFERENCES" => ("db_ddladmin", ""),
            _ => ("", ""),
        };
        let mut entries = self.entries.iter().filter(applies).peekable();
        let granted = entries.peek().is_some();
        if entries.any(|entry| entry.denied) || self.roles.contains(denying) {
            return Decision::Denied;
        }
        // Readable by everybody, as sp_cdc_enable_db grants it.
        let public = permission == "SELECT"
            && same_name(&table.schema, "cdc")
            && same_name(&table.name, "lsn_time_mapping");
        match granted || public || self.roles.contains(allowing) {
            true => Decision::Granted,
            false => Decision::Open,
        }
    }

    /// Whether SELECT on a column is there. A column's own DENY counts over a grant on its table, a
    /// table's DENY over a grant on the column.
    pub fn may_read(&self, table: &TableDef, column: ColumnId) -> bool {
        if self.is_owner() {
            return true;
        }
        let own: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.permission == "SELECT")
            .filter(|entry| entry.on == On::Column(table.id, column))
            .collect();
        if own.iter().any(|entry| entry.denied) {
            return false;
        }
        match self.on_object("SELECT", table) {
            Decision::Granted => true,
            Decision::Denied => false,
            Decision::Open => !own.is_empty(),
        }
    }

    /// Whether the user sees a column's values rather than its mask: with UNMASK (or CONTROL) on
    /// the database, the schema, the table or the column (SQL Server 2022).
    pub fn may_unmask(&self, table: &TableDef, column: ColumnId) -> bool {
        if self.is_owner() || table.is_temporary() {
            return true;
        }
        let mut entries = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.permission.as_str(), "UNMASK" | "CONTROL"))
            .filter(|entry| match &entry.on {
                On::Database => true,
                On::Schema(schema) => same_name(schema, &table.schema),
                On::Object(id) => *id == table.id,
                On::Column(id, own) => *id == table.id && *own == column,
            })
            .peekable();
        entries.peek().is_some() && entries.all(|entry| !entry.denied)
    }

    /// Error 230 for each column (by position) that may not be read.
    pub fn unreadable(&self, database: &str, table: &TableDef) -> Vec<(usize, SqlError)> {
        if self.is_owner()
            || self
                .entries
                .iter()
                .all(|entry| !matches!(entry.on, On::Column(id, _) if id == table.id))
        {
            return Vec::new();
        }
        let hidden =
            table.columns.iter().enumerate().filter(|(_, column)| !self.may_read(table, column.id));
        hidden
            .map(|(at, column)| {
                let message = format!(
                    "The SELECT permission was denied on the column '{}' of the object '{}', database '{database}', schema '{}'.",
                    column.name, table.name, table.schema
                );
                (at, SqlError::new(230, 14, 1, message))
            })
            .collect()
    }

    /// Whether a permission on the database is there.
    pub fn has_database_permission(&self, permission: &str) -> bool {
        if self.is_owner() {
            return true;
        }
        let permission = permission.to_ascii_uppercase();
        if permission == "CONNECT" {
            return true;
        }
        let mut found = self
            .entries
            .iter()
            .filter(|entry| entry.on == On::Database && entry.permission == permission)
            .peekable();
        found.peek().is_some() && found.all(|entry| !entry.denied)
    }

    /// Whether a permission on the server is there.
    pub fn has_server_permission(&self, permission: &str) -> bool {
        let permission = permission.to_ascii_uppercase();
        self.sysadmin
            || permission == "CONNECT SQL"
            || permission == "VIEW ANY DATABASE"
            || self.server.contains(&permission)
    }

    /// Whether the catalogue shows a table to the user: any permission on it does.
    pub fn sees(&self, table: &TableDef) -> bool {
        // Temporary tables are listed in tempdb, and there not by this server.
        if table.is_temporary() {
            return false;
        }
        self.is_owner()
            || [
                "SELECT",
                "INSERT",
                "UPDATE",
                "DELETE",
                "EXECUTE",
                "ALTER",
                "CONTROL",
                "REFERENCES",
                "VIEW DEFINITION",
            ]
            .iter()
            .any(|permission| self.has_object_permission(permission, table))
            || table.columns.iter().any(|column| self.may_read(table, column.id))
    }

    /// Error 229 unless the permission is there; for SELECT, on one column at least
    /// ([`unreadable`](Rights::unreadable) says which).
    ///
    /// # Errors
    /// 229.
    pub fn check_object(
        &self,
        permission: Permission,
        database: &str,
        table: &TableDef,
    ) -> Result<(), SqlError> {
        if table.is_temporary() {
            return Ok(());
        }
        let some_column = || {
            permission == Permission::Select
                && table.columns.iter().any(|column| self.may_read(table, column.id))
        };
        if self.has_object_permission(permission.name(), table) || some_column() {
            return Ok(());
        }
        Err(SqlError::new(
            229,
            14,
            5,
            format!(
                "The {} permission was denied on the object '{}', database '{database}', schema '{}'.",
                permission.name(),
                table.name,
                table.schema
            ),
        ))
    }
}

/// A user's rights as change data capture asks for them.
pub struct CaptureAccess<'a> {
    /// The rights.
    pub rights: &'a Arc<Rights>,
    /// The database's tables.
    pub database: &'a Arc<Database>,
}

impl Access for CaptureAccess<'_> {
    fn is_sysadmin(&self) -> bool {
        self.rights.sysadmin
    }

    fn is_db_owner(&self) -> bool {
        self.rights.is_owner()
    }

    fn is_role_member(&self, role: &str) -> bool {
        self.rights.is_member(role) == Some(true)
    }

    fn can_select(&self, table: ObjectId, columns: &[ColumnId]) -> bool {
        if self.rights.is_owner() {
            return true;
        }
        self.database
            .begin(crate::IsolationLevel::ReadCommitted)
            .listed_table(table)
            .is_some_and(|known| columns.iter().all(|column| self.rights.may_read(&known, *column)))
    }
}
