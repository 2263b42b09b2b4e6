//! Logins, users, roles, permissions.
//!
//! They live in the settings of their databases (logins in `master`) as JSON, and are read anew
//! when those change. Rights are computed once for a user and database, and every name a statement
//! resolves is checked against them. DENY beats GRANT; members of `db_owner` and `sysadmin` are
//! not checked at all.

mod rights;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::bind::same_name;
use crate::SqlError;
use crate::storage::{ColumnId, Database, ObjectId, Storage};

pub use rights::*;

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
    /// A column of a table.
    Column(ObjectId, ColumnId),
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
    pub fn user_of(&self, login: &str) -> Option<&User> {
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
    pub fn roles_of(&self, principal: &str) -> HashSet<String> {
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
