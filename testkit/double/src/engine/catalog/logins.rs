//! Logins and roles of the server. A login's SID is made from its name.

use super::definition::{At, Code, Columns, Definition, Desc, Name, Sid, ViewOf, null};
use super::source::Catalog;
use crate::SqlError;
use crate::engine::bind::same_name;
use crate::engine::security::load_logins;
use crate::storage::Micros;

pub(super) const VIEWS: &[&dyn Definition] =
    &[&ViewOf::sys("server_principals", login_columns, logins)];

/// SID of `sa`, who owns every database.
pub(super) const OWNER_SID: [u8; 1] = [1];

/// SID of a SQL login.
pub(super) fn sid_of(login: &str) -> Vec<u8> {
    if same_name(login, "sa") {
        return OWNER_SID.to_vec();
    }
    openssl::sha::sha256(login.to_lowercase().as_bytes())[..16].to_vec()
}

/// A principal of the server.
struct Login {
    id: i32,
    name: String,
    role: bool,
    database: Option<String>,
    created: Micros,
}

const SERVER_ROLES: [(&str, i32); 9] = [
    ("public", 2),
    ("sysadmin", 3),
    ("securityadmin", 4),
    ("serveradmin", 5),
    ("setupadmin", 6),
    ("processadmin", 7),
    ("diskadmin", 8),
    ("dbcreator", 9),
    ("bulkadmin", 10),
];

/// Everybody sees `sa`, the roles and themselves; more needs ALTER ANY LOGIN.
fn logins(catalog: &Catalog<'_>) -> Result<Vec<Login>, SqlError> {
    let created = catalog.storage.database("master").map_or(0, |master| master.info().create_date);
    let all = catalog.rights.has_server_permission("ALTER ANY LOGIN");
    let login = |id, name: &str, role, database: Option<&str>| Login {
        id,
        name: name.to_owned(),
        role,
        database: database.map(str::to_owned),
        created,
    };
    let known = load_logins(catalog.storage)?;
    let others = (257..).zip(known.iter().filter(|known| !same_name(&known.name, "sa")));
    let others = others.filter(|(_, other)| all || same_name(&other.name, &catalog.rights.login));
    Ok([login(1, "sa", false, Some("master"))]
        .into_iter()
        .chain(SERVER_ROLES.map(|(name, id)| login(id, name, true, None)))
        .chain(others.map(|(id, other)| {
            login(id, &other.name, false, Some(other.database.as_deref().unwrap_or("master")))
        }))
        .collect())
}

fn login_columns() -> Columns<Login> {
    Columns::new()
        .add("name", |l: &Login| Name(l.name.clone()))
        .add("principal_id", |l| l.id)
        .add("sid", |l| {
            let number = u8::try_from(l.id).unwrap_or(0);
            Some(Sid(if l.role { vec![number] } else { sid_of(&l.name) }))
        })
        .add("type", |l| Code::<1>(if l.role { "R" } else { "S" }))
        .add("type_desc", |l| Some(Desc(if l.role { "SERVER_ROLE" } else { "SQL_LOGIN" })))
        .add("is_disabled", |l| (!l.role).then_some(false))
        .add("create_date", |l| At(l.created))
        .add("modify_date", |l| At(l.created))
        .add("default_database_name", |l| l.database.clone().map(Name))
        .add("default_language_name", |l| (!l.role).then(|| Name("us_english".to_owned())))
        .add("credential_id", null::<_, i32>)
        .add("owning_principal_id", |l| l.role.then_some(1))
        .add("is_fixed_role", |l| l.role && l.id > 2)
}
