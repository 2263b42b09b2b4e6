//! Logins, users, roles, permissions.
//!
//! They live in the settings of their databases (logins in `master`) as JSON, and are read anew
//! when those change. Rights are computed once for a user and database, and every name a statement
//! resolves is checked against them. DENY beats GRANT; members of `db_owner` and `sysadmin` are
//! not checked at all.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bind::same_name;
use crate::SqlError;
use crate::cdc::Access;
use crate::storage::{ColumnId, Database, ObjectId, Storage, TableDef};

/// Setting that holds a database's users, roles and permissions.
pub const DATABASE_SETTING: &str = "security";
/// Setting of `master` that holds the logins.
pub const LOGIN_SETTING: &str = "logins";
/// Rounds of the password hash.
const ROUNDS: usize = 1000;

/// Fixed database roles, and those of the `cdc` schema's kin are ordinary ones.
const FIXED_ROLES: [&str; 9] = [
    "db_owner",
    "db_accessadmin",
    "db_securityadmin",
    "db_ddladmin",
    "db_backupoperator",
    "db_datareader",
    "db_datawriter",
    "db_denydatareader",
    "db_denydatawriter",
];

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

/// A SQL login.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Login {
    /// Name.
    pub name: String,
    salt: Vec<u8>,
    hash: Vec<u8>,
    /// DEFAULT_DATABASE.
    pub database: Option<String>,
    /// Member of `sysadmin`.
    pub sysadmin: bool,
    /// Server permissions granted.
    #[serde(default)]
    pub permissions: Vec<String>,
}

impl Login {
    /// A login with a password.
    ///
    /// # Errors
    /// 15151 if it cannot be hashed.
    pub fn new(name: &str, password: &str, database: Option<String>) -> Result<Login, SqlError> {
        let salt: [u8; 16] = rand::random();
        Ok(Login {
            name: name.to_owned(),
            hash: hash(password, &salt)?,
            salt: salt.to_vec(),
            database,
            sysadmin: false,
            permissions: Vec::new(),
        })
    }

    /// Takes a new password.
    ///
    /// # Errors
    /// As [`new`](Login::new).
    pub fn set_password(&mut self, password: &str) -> Result<(), SqlError> {
        self.hash = hash(password, &self.salt)?;
        Ok(())
    }

    /// Whether a password is this login's.
    pub fn accepts(&self, password: &str) -> bool {
        hash(password, &self.salt).is_ok_and(|hash| openssl::memcmp::eq(&hash, &self.hash))
    }
}

fn hash(password: &str, salt: &[u8]) -> Result<Vec<u8>, SqlError> {
    let mut hash = vec![0; 32];
    openssl::pkcs5::pbkdf2_hmac(
        password.as_bytes(),
        salt,
        ROUNDS,
        openssl::hash::MessageDigest::sha256(),
        &mut hash,
    )
    .map_err(|_| super::expr::internal("the password could not be hashed"))?;
    Ok(hash)
}

/// What a permission is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum On {
    /// The database.
    Database,
    /// A schema.
    Schema(String),
    /// A table.
    Object(ObjectId),
}

/// A permission given or denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// User or role.
    pub principal: String,
    /// Permission, upper case.
    pub permission: String,
    /// On what.
    pub on: On,
    /// DENY rather than GRANT.
    pub denied: bool,
}

/// A user of a database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// Name.
    pub name: String,
    /// Its login.
    pub login: Option<String>,
}

/// A role made by CREATE ROLE, or a fixed one with members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Role {
    /// Name.
    pub name: String,
    /// Users and roles in it.
    pub members: Vec<String>,
}

/// The principals and permissions of a database.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DatabaseSecurity {
    /// Users.
    pub users: Vec<User>,
    /// Roles.
    pub roles: Vec<Role>,
    /// Permissions.
    pub entries: Vec<Entry>,
}

impl DatabaseSecurity {
    /// Reads a database's.
    ///
    /// # Errors
    /// 8624 if the setting is damaged.
    pub fn load(database: &Database) -> Result<DatabaseSecurity, SqlError> {
        match database.setting(DATABASE_SETTING) {
            None => Ok(DatabaseSecurity::default()),
            Some(text) => {
                serde_json::from_str(&text).map_err(|_| super::expr::internal("damaged users"))
            }
        }
    }

    /// Writes a database's.
    ///
    /// # Errors
    /// Those of storage.
    pub fn store(&self, database: &Database) -> Result<(), SqlError> {
        let text = serde_json::to_string(self).map_err(|_| super::expr::internal("users"))?;
        database.set_setting(DATABASE_SETTING, Some(&text))
    }

    /// A user by name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| same_name(&user.name, name))
    }

    /// The user of a login.
    fn user_of(&self, login: &str) -> Option<&User> {
        self.users.iter().find(|user| user.login.as_ref().is_some_and(|own| same_name(own, login)))
    }

    /// Whether a role exists, fixed ones included.
    pub fn has_role(&self, name: &str) -> bool {
        is_fixed_role(name) || self.roles.iter().any(|role| same_name(&role.name, name))
    }

    /// A role's members, which may be set.
    pub fn role_mut(&mut self, name: &str) -> Option<&mut Role> {
        if !self.has_role(name) {
            return None;
        }
        if !self.roles.iter().any(|role| same_name(&role.name, name)) {
            self.roles.push(Role { name: name.to_owned(), members: Vec::new() });
        }
        self.roles.iter_mut().find(|role| same_name(&role.name, name))
    }

    /// Every role a principal is in, directly or not, `public` among them.
    fn roles_of(&self, principal: &str) -> HashSet<String> {
        let mut found = HashSet::from(["public".to_owned()]);
        let mut open = vec![principal.to_owned()];
        while let Some(member) = open.pop() {
            for role in &self.roles {
                let is_member = role.members.iter().any(|known| same_name(known, &member));
                if is_member && found.insert(role.name.to_lowercase()) {
                    open.push(role.name.clone());
                }
            }
        }
        found
    }
}

/// Whether a role is a fixed database role.
pub fn is_fixed_role(name: &str) -> bool {
    FIXED_ROLES.iter().any(|fixed| fixed.eq_ignore_ascii_case(name))
}

/// The logins of a server.
///
/// # Errors
/// 8624 if the setting is damaged.
pub fn load_logins(storage: &Storage) -> Result<Vec<Login>, SqlError> {
    let text = storage.database("master").and_then(|master| master.setting(LOGIN_SETTING));
    match text {
        None => Ok(Vec::new()),
        Some(text) => {
            serde_json::from_str(&text).map_err(|_| super::expr::internal("damaged logins"))
        }
    }
}

/// Stores the logins of a server.
///
/// # Errors
/// Those of storage.
pub fn store_logins(storage: &Storage, logins: &[Login]) -> Result<(), SqlError> {
    let text = serde_json::to_string(logins).map_err(|_| super::expr::internal("logins"))?;
    match storage.database("master") {
        Some(master) => master.set_setting(LOGIN_SETTING, Some(&text)),
        None => Err(super::expr::internal("no master database")),
    }
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

    /// Whether a permission on a table is there.
    pub fn has_object_permission(&self, permission: &str, table: &TableDef) -> bool {
        if self.is_owner() {
            return true;
        }
        let permission = permission.to_ascii_uppercase();
        let applies = |entry: &&Entry| {
            let on = match &entry.on {
                On::Database => true,
                On::Schema(schema) => same_name(schema, &table.schema),
                On::Object(id) => *id == table.id,
            };
            on && (entry.permission == permission || entry.permission == "CONTROL")
        };
        let denied = |entry: &Entry| entry.denied;
        if self.entries.iter().filter(applies).any(denied) {
            return false;
        }
        let by_role = match permission.as_str() {
            "SELECT" => {
                if self.roles.contains("db_denydatareader") {
                    return false;
                }
                self.roles.contains("db_datareader")
            }
            "INSERT" | "UPDATE" | "DELETE" => {
                if self.roles.contains("db_denydatawriter") {
                    return false;
                }
                self.roles.contains("db_datawriter")
            }
            "ALTER" | "REFERENCES" => self.roles.contains("db_ddladmin"),
            _ => false,
        };
        // Readable by everybody, as sp_cdc_enable_db grants it.
        let public = permission == "SELECT"
            && same_name(&table.schema, "cdc")
            && same_name(&table.name, "lsn_time_mapping");
        by_role || public || self.entries.iter().any(|entry| applies(&entry))
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
        self.is_owner()
            || [
                "SELECT",
                "INSERT",
                "UPDATE",
                "DELETE",
                "ALTER",
                "CONTROL",
                "REFERENCES",
                "VIEW DEFINITION",
            ]
            .iter()
            .any(|permission| self.has_object_permission(permission, table))
    }

    /// Error 229 unless the permission is there.
    ///
    /// # Errors
    /// 229.
    pub fn check_object(
        &self,
        permission: Permission,
        database: &str,
        table: &TableDef,
    ) -> Result<(), SqlError> {
        if self.has_object_permission(permission.name(), table) {
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

    /// Columns are granted with their table only.
    fn can_select(&self, table: ObjectId, _: &[ColumnId]) -> bool {
        if self.rights.is_owner() {
            return true;
        }
        self.database
            .begin(crate::IsolationLevel::ReadCommitted)
            .tables()
            .iter()
            .find(|known| known.id == table)
            .is_some_and(|known| self.rights.has_object_permission("SELECT", known))
    }
}
