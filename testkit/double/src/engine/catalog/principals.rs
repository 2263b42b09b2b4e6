//! Users, roles and permissions of a database.
//!
//! They have no numbers of their own in the double: users and roles are numbered in the order of
//! their creation (users odd, roles even, from 5), which a DROP of an earlier one changes.

use super::Table;
use super::definition::{At, Code, Columns, Definition, Desc, Name, Sid, ViewOf, null, off};
use super::logins::{OWNER_SID, sid_of};
use super::source::Catalog;
use crate::SqlError;
use crate::engine::bind::same_name;
use crate::engine::security::{DatabaseSecurity, Entry, On, is_fixed_role};
use crate::storage::Micros;

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("database_principals", principal_columns, visible_principals),
    &ViewOf::sys("database_role_members", member_columns, members),
    &ViewOf::sys("database_permissions", permission_columns, permissions),
];

/// The roles every database has, and their `principal_id`s.
const FIXED: [(&str, i32); 10] = [
    ("public", 0),
    ("db_owner", 16384),
    ("db_accessadmin", 16385),
    ("db_securityadmin", 16386),
    ("db_ddladmin", 16387),
    ("db_backupoperator", 16389),
    ("db_datareader", 16390),
    ("db_datawriter", 16391),
    ("db_denydatareader", 16392),
    ("db_denydatawriter", 16393),
];

/// The users every database has; the last two cannot log in.
const BUILT_IN: [(&str, i32); 4] =
    [("dbo", 1), ("guest", 2), ("INFORMATION_SCHEMA", 3), ("sys", 4)];

/// A principal of a database.
struct Principal {
    id: i32,
    name: String,
    role: bool,
    sid: Option<Vec<u8>>,
    /// Whether it comes with the database.
    built_in: bool,
    created: Micros,
}

fn principals(catalog: &Catalog<'_>, security: &DatabaseSecurity) -> Vec<Principal> {
    let created = catalog.database().info().create_date;
    let built_in = |name: &str, id, role| Principal {
        id,
        name: name.to_owned(),
        role,
        sid: (id == 1).then(|| OWNER_SID.to_vec()),
        built_in: true,
        created,
    };
    let users = (5..).step_by(2).zip(&security.users).map(|(id, user)| Principal {
        id,
        name: user.name.clone(),
        role: false,
        sid: user.login.as_deref().map(sid_of),
        built_in: false,
        created,
    });
    let own_roles = security.roles.iter().filter(|role| !is_fixed_role(&role.name));
    let roles = (6..).step_by(2).zip(own_roles).map(|(id, role)| Principal {
        id,
        name: role.name.clone(),
        role: true,
        sid: None,
        built_in: false,
        created,
    });
    let mut all: Vec<Principal> = BUILT_IN
        .map(|(name, id)| built_in(name, id, false))
        .into_iter()
        .chain(FIXED.map(|(name, id)| built_in(name, id, true)))
        .chain(users)
        .chain(roles)
        .collect();
    all.sort_by_key(|principal| principal.id);
    all
}

/// Everybody sees what every database has, and themselves and their roles; more needs ALTER ANY
/// USER or ALTER ANY ROLE.
fn visible_principals(catalog: &Catalog<'_>) -> Result<Vec<Principal>, SqlError> {
    let security = DatabaseSecurity::load(catalog.database())?;
    let rights = catalog.rights;
    let mut principals = principals(catalog, &security);
    principals.retain(|principal| {
        let (any, own) = match principal.role {
            true => ("ALTER ANY ROLE", rights.is_member(&principal.name) == Some(true)),
            false => ("ALTER ANY USER", same_name(&rights.user, &principal.name)),
        };
        principal.built_in || own || rights.has_database_permission(any)
    });
    Ok(principals)
}

fn principal_columns() -> Columns<Principal> {
    Columns::new()
        .add("name", |p: &Principal| Name(p.name.clone()))
        .add("principal_id", |p| p.id)
        .add("type", |p| Code::<1>(if p.role { "R" } else { "S" }))
        .add("type_desc", |p| Some(Desc(if p.role { "DATABASE_ROLE" } else { "SQL_USER" })))
        .add("default_schema_name", |p| {
            let has_one = !p.role && !matches!(p.id, 3 | 4);
            has_one.then(|| Name(if p.id == 2 { "guest" } else { "dbo" }.to_owned()))
        })
        .add("create_date", |p| At(p.created))
        .add("modify_date", |p| At(p.created))
        .add("owning_principal_id", |p| p.role.then_some(1))
        .add("sid", |p| p.sid.clone().map(Sid))
        .add("is_fixed_role", |p| is_fixed_role(&p.name))
        .add("authentication_type", |p| i32::from(p.sid.is_some()))
        .add("authentication_type_desc", |p| {
            Some(Desc(if p.sid.is_some() { "INSTANCE" } else { "NONE" }))
        })
        .add("default_language_name", null::<_, Name>)
        .add("default_language_lcid", null::<_, i32>)
        .add("allow_encrypted_value_modifications", off)
}

struct Member {
    role: i32,
    member: i32,
}

fn members(catalog: &Catalog<'_>) -> Result<Vec<Member>, SqlError> {
    let security = DatabaseSecurity::load(catalog.database())?;
    let visible = visible_principals(catalog)?;
    let id = |name: &str| Some(visible.iter().find(|known| same_name(&known.name, name))?.id);
    let given = security
        .roles
        .iter()
        .flat_map(|role| role.members.iter().map(|member| (role.name.as_str(), member.as_str())));
    Ok([("db_owner", "dbo")]
        .into_iter()
        .chain(given)
        .filter_map(|(role, member)| Some(Member { role: id(role)?, member: id(member)? }))
        .collect())
}

fn member_columns() -> Columns<Member> {
    Columns::new()
        .add("role_principal_id", |m: &Member| m.role)
        .add("member_principal_id", |m| m.member)
}

struct Permission {
    entry: Entry,
    grantee: i32,
    /// `object_id` or `schema_id`; 0 for the database.
    major: i32,
}

/// Those whose principal and securable the reader sees, and every user's CONNECT.
fn permissions(catalog: &Catalog<'_>) -> Result<Vec<Permission>, SqlError> {
    let security = DatabaseSecurity::load(catalog.database())?;
    let (visible, tables) = (visible_principals(catalog)?, catalog.objects());
    let connect = security.users.iter().map(|user| Entry {
        principal: user.name.clone(),
        permission: "CONNECT".to_owned(),
        on: On::Database,
        denied: false,
    });
    Ok(connect
        .chain(security.entries.iter().cloned())
        .filter_map(|entry| {
            let grantee = visible.iter().find(|known| same_name(&known.name, &entry.principal))?;
            let major = major_id(catalog, &tables, &entry.on)?;
            Some(Permission { grantee: grantee.id, major, entry })
        })
        .collect())
}

fn major_id(catalog: &Catalog<'_>, tables: &[Table], on: &On) -> Option<i32> {
    match on {
        On::Database => Some(0),
        On::Schema(name) => Some(catalog.schema_id(name)),
        On::Object(id) | On::Column(id, _) => {
            tables.iter().find(|table| table.id == *id).map(|table| table.id)
        }
    }
}

/// `class` of what a permission is on.
fn class(on: &On) -> (u8, &'static str) {
    match on {
        On::Database => (0, "DATABASE"),
        On::Object(_) | On::Column(..) => (1, "OBJECT_OR_COLUMN"),
        On::Schema(_) => (3, "SCHEMA"),
    }
}

/// `type`: the short name of a permission.
fn code(permission: &str) -> &'static str {
    match permission {
        "SELECT" => "SL",
        "INSERT" => "IN",
        "UPDATE" => "UP",
        "DELETE" => "DL",
        "EXECUTE" => "EX",
        "REFERENCES" => "RF",
        "ALTER" => "AL",
        "CONTROL" => "CL",
        "CONNECT" => "CO",
        "TAKE OWNERSHIP" => "TO",
        "VIEW DEFINITION" => "VW",
        "VIEW CHANGE TRACKING" => "VWCT",
        "VIEW DATABASE STATE" => "VWDS",
        "VIEW DATABASE PERFORMANCE STATE" => "VDP",
        "VIEW DATABASE SECURITY STATE" => "VDS",
        "CREATE TABLE" => "CRTB",
        "CREATE SCHEMA" => "CRSM",
        "CREATE ROLE" => "CRRL",
        "ALTER ANY USER" => "ALUS",
        "ALTER ANY ROLE" => "ALRL",
        "ALTER ANY SCHEMA" => "ALSM",
        "ALTER ANY MASK" => "AAMK",
        "ALTER ANY SECURITY POLICY" => "ALSP",
        "UNMASK" => "UMSK",
        _ => "",
    }
}

fn permission_columns() -> Columns<Permission> {
    Columns::new()
        .add("class", |p: &Permission| class(&p.entry.on).0)
        .add("class_desc", |p| Some(Desc(class(&p.entry.on).1)))
        .add("major_id", |p| p.major)
        .add("minor_id", |p| match p.entry.on {
            On::Column(_, column) => column,
            _ => 0,
        })
        .add("grantee_principal_id", |p| p.grantee)
        .add("grantor_principal_id", |_| 1)
        .add("type", |p| Code::<4>(code(&p.entry.permission)))
        .add("permission_name", |p| Some(Name(p.entry.permission.clone())))
        .add("state", |p| Code::<1>(if p.entry.denied { "D" } else { "G" }))
        .add("state_desc", |p| Some(Desc(if p.entry.denied { "DENY" } else { "GRANT" })))
}
