//! Principals, permissions, EXECUTE AS.

use std::sync::Arc;

use crate::SqlError;
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{same_name, unsupported};
use crate::engine::fault::Fault;
use crate::engine::security::{
    DatabaseSecurity, Entry, Login, On, Rights, Role, User, is_fixed_role, load_logins,
    store_logins,
};
use crate::engine::syntax::ast::{PermissionAction, Securable, Security};
use crate::storage::TableDef;

/// Permissions on tables and schemas.
pub(in crate::engine) const OBJECT_PERMISSIONS: [&str; 10] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "EXECUTE",
    "ALTER",
    "CONTROL",
    "REFERENCES",
    "VIEW DEFINITION",
    "UNMASK",
];
/// Permissions on the database.
pub(in crate::engine) const DATABASE_PERMISSIONS: [&str; 14] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CONNECT",
    "VIEW DATABASE STATE",
    "VIEW DATABASE PERFORMANCE STATE",
    "VIEW DEFINITION",
    "CREATE TABLE",
    "CREATE SCHEMA",
    "ALTER ANY SCHEMA",
    "ALTER ANY MASK",
    "ALTER ANY SECURITY POLICY",
    "UNMASK",
];
/// Permissions on the server.
pub(in crate::engine) const SERVER_PERMISSIONS: [&str; 6] = [
    "VIEW SERVER STATE",
    "VIEW SERVER PERFORMANCE STATE",
    "VIEW ANY DATABASE",
    "VIEW ANY DEFINITION",
    "CREATE ANY DATABASE",
    "CONNECT SQL",
];

/// Error 15151.
fn not_found(kind: &str, name: &str) -> SqlError {
    SqlError::new(
        15151,
        16,
        1,
        format!(
            "Cannot find the {kind} '{name}', because it does not exist or you do not have permission."
        ),
    )
}

/// Error 15247.
fn denied() -> SqlError {
    SqlError::new(15247, 16, 1, "User does not have permission to perform this action.")
}

impl Executor<'_> {
    pub(crate) fn security(&mut self, security: &Security) -> Result<Flow, Fault> {
        let server = matches!(
            security,
            Security::CreateLogin { .. }
                | Security::AlterLogin { .. }
                | Security::DropLogin(_)
                | Security::AlterRole { server: true, .. }
        );
        let rights = &self.session.status.rights;
        if (server && !rights.sysadmin) || !rights.is_owner() {
            return Err(denied().into());
        }
        match security {
            Security::Permission { action, permissions, securable, principals } => {
                self.permission(*action, permissions, securable, principals)?
            }
            other if server => self.change_logins(other)?,
            other => self.change_principals(other)?,
        }
        self.session.shared.security_changed();
        self.done()
    }

    fn change_logins(&mut self, security: &Security) -> Result<(), Fault> {
        let storage = &self.session.shared.storage;
        let mut logins = load_logins(storage)?;
        let find = |logins: &mut Vec<Login>, name: &str| {
            logins.iter().position(|login| same_name(&login.name, name))
        };
        match security {
            Security::CreateLogin { name, password, database } => {
                if find(&mut logins, name).is_some() || name.eq_ignore_ascii_case("sa") {
                    return Err(SqlError::new(
                        15025,
                        16,
                        1,
                        format!("The server principal '{name}' already exists."),
                    )
                    .into());
                }
                logins.push(Login::new(name, password, database.clone())?);
            }
            Security::AlterLogin { name, password } => {
                let at = find(&mut logins, name).ok_or_else(|| not_found("login", name))?;
                logins[at].set_password(password)?;
            }
            Security::DropLogin(name) => {
                let at = find(&mut logins, name).ok_or_else(|| not_found("login", name))?;
                logins.remove(at);
            }
            Security::AlterRole { role, member, add, .. } => {
                if !role.eq_ignore_ascii_case("sysadmin") {
                    return Err(Fault::Compile(unsupported("server role")));
                }
                let at = find(&mut logins, member).ok_or_else(|| not_found("login", member))?;
                logins[at].sysadmin = *add;
            }
            _ => return Err(crate::engine::expr::internal("a login statement").into()),
        }
        store_logins(storage, &logins)?;
        Ok(())
    }

    fn change_principals(&mut self, security: &Security) -> Result<(), Fault> {
        let database = Arc::clone(&self.session.status.database);
        let mut known = DatabaseSecurity::load(&database)?;
        match security {
            Security::CreateUser { name, login } => {
                self.create_user(&mut known, name, login.as_deref())?;
            }
            Security::DropUser { name, if_exists } => {
                let Some(at) = known.users.iter().position(|user| same_name(&user.name, name))
                else {
                    return match if_exists {
                        true => Ok(()),
                        false => Err(not_found("user", name).into()),
                    };
                };
                known.users.remove(at);
                known.entries.retain(|entry| !same_name(&entry.principal, name));
                for role in &mut known.roles {
                    role.members.retain(|member| !same_name(member, name));
                }
            }
            Security::CreateRole(name) => {
                if known.has_role(name) || known.user(name).is_some() {
                    return Err(exists(name).into());
                }
                known.roles.push(Role { name: name.clone(), members: Vec::new() });
            }
            Security::DropRole(name) => {
                let at = known
                    .roles
                    .iter()
                    .position(|role| same_name(&role.name, name))
                    .filter(|_| !is_fixed_role(name))
                    .ok_or_else(|| not_found("role", name))?;
                if !known.roles[at].members.is_empty() {
                    return Err(SqlError::new(
                        15144,
                        16,
                        1,
                        "The role has members. It must be empty before it can be dropped.",
                    )
                    .into());
                }
                known.roles.remove(at);
                known.entries.retain(|entry| !same_name(&entry.principal, name));
            }
            Security::AlterRole { role, member, add, .. } => {
                change_members(&mut known, role, member, *add)?
            }
            _ => return Err(crate::engine::expr::internal("a user statement").into()),
        }
        known.store(&database)?;
        Ok(())
    }

    fn create_user(
        &self,
        known: &mut DatabaseSecurity,
        name: &str,
        login: Option<&str>,
    ) -> Result<(), Fault> {
        if known.user(name).is_some() || known.has_role(name) || same_name(name, "dbo") {
            return Err(exists(name).into());
        }
        if let Some(login) = login
            && self.session.shared.login(login)?.is_none()
        {
            return Err(SqlError::new(
                15007,
                16,
                1,
                format!("'{login}' is not a valid login or you do not have permission."),
            )
            .into());
        }
        known.users.push(User { name: name.to_owned(), login: login.map(str::to_owned) });
        Ok(())
    }

    fn permission(
        &mut self,
        action: PermissionAction,
        permissions: &[String],
        securable: &Securable,
        principals: &[String],
    ) -> Result<(), Fault> {
        let on_server = *securable == Securable::Scope
            && permissions
                .iter()
                .all(|permission| SERVER_PERMISSIONS.contains(&permission.as_str()));
        if on_server {
            return self.server_permission(action, permissions, principals);
        }
        let allowed: &[&str] = match securable {
            Securable::Scope => &DATABASE_PERMISSIONS,
            _ => &OBJECT_PERMISSIONS,
        };
        if let Some(unknown) =
            permissions.iter().find(|permission| !allowed.contains(&permission.as_str()))
        {
            return Err(Fault::Compile(unsupported(unknown)));
        }
        let all_on = match securable {
            Securable::Scope => vec![On::Database],
            Securable::Schema(name) => {
                let name = name.clone();
                let exists = self.with_env(false, |env, _| {
                    let schemas = env.with_txn(|txn| txn.schemas());
                    Ok(schemas.iter().any(|(_, known)| same_name(known, &name)))
                })?;
                if !exists {
                    return Err(not_found("schema", &name).into());
                }
                vec![On::Schema(name)]
            }
            Securable::Object(name, columns) => {
                if !columns.is_empty()
                    && permissions.iter().any(|name| !matches!(name.as_str(), "SELECT" | "UNMASK"))
                {
                    return Err(Fault::Compile(unsupported("permission on columns")));
                }
                if name.database.is_some() {
                    return Err(Fault::Compile(unsupported("permission in another database")));
                }
                let schema = name.schema.as_deref().unwrap_or("dbo");
                let table = self.with_env(false, |env, _| {
                    Ok(env.with_txn(|txn| txn.object(schema, &name.name))?)
                })?;
                let table = table.ok_or_else(|| not_found("object", &name.name))?;
                match columns.is_empty() {
                    true => vec![On::Object(table.id)],
                    false => columns_on(&table, columns)?,
                }
            }
        };
        let database = Arc::clone(&self.session.status.database);
        let mut known = DatabaseSecurity::load(&database)?;
        for principal in principals {
            let exists = known.user(principal).is_some()
                || known.has_role(principal)
                || same_name(principal, "public");
            if !exists {
                return Err(not_found("user", principal).into());
            }
            for permission in permissions {
                for on in &all_on {
                    set_entry(&mut known, principal, permission, on, action);
                }
            }
        }
        known.store(&database)?;
        Ok(())
    }

    fn server_permission(
        &mut self,
        action: PermissionAction,
        permissions: &[String],
        principals: &[String],
    ) -> Result<(), Fault> {
        if !self.session.status.rights.sysadmin {
            return Err(denied().into());
        }
        if !same_name(&self.session.database(), "master") {
            return Err(SqlError::new(
                4621,
                16,
                10,
                "Permissions at the server scope can only be granted when the current database is master.",
            )
            .into());
        }
        let storage = &self.session.shared.storage;
        let mut logins = load_logins(storage)?;
        for principal in principals {
            let login = logins
                .iter_mut()
                .find(|login| same_name(&login.name, principal))
                .ok_or_else(|| not_found("login", principal))?;
            for permission in permissions {
                login.permissions.retain(|known| known != permission);
                match action {
                    PermissionAction::Grant => login.permissions.push(permission.clone()),
                    PermissionAction::Revoke => {}
                    PermissionAction::Deny => {
                        return Err(Fault::Compile(unsupported("DENY on the server")));
                    }
                }
            }
        }
        store_logins(storage, &logins)?;
        Ok(())
    }

    pub(crate) fn execute_as(&mut self, login: bool, name: &str) -> Result<Flow, Fault> {
        let current = Arc::clone(&self.session.status.rights);
        if !current.is_owner() || (login && !current.sysadmin) {
            return Err(SqlError::new(
                15517,
                16,
                1,
                format!(
                    "Cannot execute as the database principal because the principal \"{name}\" does not exist, this type of principal cannot be impersonated, or you do not have permission."
                ),
            )
            .into());
        }
        let rights = match login {
            true => {
                let known = self.session.shared.login(name)?.ok_or_else(|| {
                    SqlError::new(
                        15406,
                        16,
                        1,
                        format!("Cannot execute as the server principal because the principal \"{name}\" does not exist, this type of principal cannot be impersonated, or you do not have permission."),
                    )
                })?;
                self.session.shared.rights_of(&known.name, false, &self.session.status.database)?
            }
            false => Arc::new(Rights::of_user(name, &self.session.status.database)?),
        };
        self.session.impersonated.push(current);
        self.session.status.rights = rights;
        self.done()
    }

    pub(crate) fn revert(&mut self) -> Result<Flow, Fault> {
        if let Some(rights) = self.session.impersonated.pop() {
            self.session.status.rights = rights;
        }
        self.done()
    }
}

fn columns_on(table: &TableDef, names: &[String]) -> Result<Vec<On>, SqlError> {
    let find = |name: &String| match table.column(name) {
        Some(column) => Ok(On::Column(table.id, column.id)),
        None => Err(SqlError::new(
            1911,
            16,
            1,
            format!("Column name '{name}' does not exist in the target table or view."),
        )),
    };
    names.iter().map(find).collect()
}

/// Grants, denies or revokes one permission of one principal. Revoking it on a table takes what
/// was said of its columns along.
fn set_entry(
    known: &mut DatabaseSecurity,
    principal: &str,
    permission: &str,
    on: &On,
    action: PermissionAction,
) {
    let covered = |entry: &On| match (on, entry) {
        (On::Object(table), On::Column(of, _)) => action == PermissionAction::Revoke && of == table,
        _ => entry == on,
    };
    known.entries.retain(|entry| {
        !(same_name(&entry.principal, principal)
            && entry.permission == permission
            && covered(&entry.on))
    });
    if action != PermissionAction::Revoke {
        known.entries.push(Entry {
            principal: principal.to_owned(),
            permission: permission.to_owned(),
            on: on.clone(),
            denied: action == PermissionAction::Deny,
        });
    }
}

/// Error 15023.
fn exists(name: &str) -> SqlError {
    SqlError::new(
        15023,
        16,
        1,
        format!("User, group, or role '{name}' already exists in the current database."),
    )
}

pub(super) fn change_members(
    known: &mut DatabaseSecurity,
    role: &str,
    member: &str,
    add: bool,
) -> Result<(), SqlError> {
    if known.user(member).is_none() && !known.has_role(member) {
        return Err(not_found("user", member));
    }
    let role = known.role_mut(role).ok_or_else(|| not_found("role", role))?;
    role.members.retain(|known| !same_name(known, member));
    if add {
        role.members.push(member.to_owned());
    }
    Ok(())
}
