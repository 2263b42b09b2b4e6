//! The session, the server, errors, users.

use std::hash::{DefaultHasher, Hasher};

use super::{Arguments, Bound, Computed, call};
use crate::engine::bind::unsupported;
use crate::engine::env::Env;
use crate::engine::expr::{Function, Node, Typed};
use crate::engine::syntax::parse_name;
use crate::product::{self, Release};
use crate::{SqlError, SqlType, Value};

/// `sysname`.
const NAME: SqlType = SqlType::NVarChar(Some(128));
const IDENTITY: SqlType = SqlType::Numeric { precision: 38, scale: 0 };

/// A global variable.
pub fn global(name: &str) -> Option<Typed> {
    let (function, ty): (Function, SqlType) = match name.to_ascii_uppercase().as_str() {
        "@@ROWCOUNT" => (row_count, SqlType::Int),
        "@@ERROR" => (|env, _| Ok(Value::Int(env.status.error)), SqlType::Int),
        "@@DBTS" => (row_version, SqlType::VarBinary(Some(8))),
        "@@TRANCOUNT" => (transactions, SqlType::Int),
        "@@SPID" => (|env, _| Ok(Value::SmallInt(env.status.spid)), SqlType::SmallInt),
        "@@IDENTITY" => (identity, IDENTITY),
        "@@SERVERNAME" => (server_name, NAME),
        "@@SERVICENAME" => (|_, _| Ok(Value::text("MSSQLSERVER")), NAME),
        "@@VERSION" => {
            (|env, _| Ok(Value::text(&version(env.shared.release))), SqlType::NVarChar(Some(300)))
        }
        "@@LOCK_TIMEOUT" => (|env, _| Ok(Value::Int(env.status.lock_timeout)), SqlType::Int),
        "@@TEXTSIZE" => (|env, _| Ok(Value::Int(env.status.text_size)), SqlType::Int),
        "@@DATEFIRST" => (|_, _| Ok(Value::TinyInt(7)), SqlType::TinyInt),
        "@@LANGUAGE" => (|_, _| Ok(Value::text("us_english")), NAME),
        "@@NESTLEVEL" => (|_, _| Ok(Value::Int(0)), SqlType::Int),
        "@@FETCH_STATUS" => (|env, _| Ok(Value::Int(env.status.fetch_status)), SqlType::Int),
        "@@CURSOR_ROWS" => (|env, _| Ok(Value::Int(env.status.cursor_rows)), SqlType::Int),
        "@@MAX_PRECISION" => (|_, _| Ok(Value::TinyInt(38)), SqlType::TinyInt),
        _ => return None,
    };
    let nullable = name.eq_ignore_ascii_case("@@IDENTITY");
    Some(Typed { nullable, ..Typed::call(function, Vec::new(), ty) })
}

/// `@@VERSION`.
fn version(release: Release) -> String {
    let (major, minor, build) = release.version();
    format!(
        "{} {} - {major}.{minor}.{build}.0 (X64) \n\tDeveloper Edition (64-bit) on Linux; a double for tests, not a product of Microsoft",
        product::PRODUCT_NAME,
        release.year()
    )
}

/// Binds a function of this module.
///
/// # Errors
/// Numbers and types of arguments.
pub fn bind(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    let (function, ty): (Function, SqlType) = match name {
        "NEWID" => (new_id, SqlType::UniqueIdentifier),
        "SCOPE_IDENTITY" => (identity, IDENTITY),
        "ROWCOUNT_BIG" => (|env, _| Ok(Value::BigInt(env.status.row_count)), SqlType::BigInt),
        "CURRENT_TRANSACTION_ID" => (
            |env, _| {
                let id = env.with_txn(|txn| txn.id());
                Ok(Value::BigInt(i64::try_from(id).unwrap_or(i64::MAX)))
            },
            SqlType::BigInt,
        ),
        "XACT_STATE" => (transaction_state, SqlType::SmallInt),
        "ERROR_NUMBER" => (|env, _| Ok(caught(env, |e| Value::Int(e.number))), SqlType::Int),
        "ERROR_SEVERITY" => {
            (|env, _| Ok(caught(env, |e| Value::Int(i32::from(e.class)))), SqlType::Int)
        }
        "ERROR_STATE" => {
            (|env, _| Ok(caught(env, |e| Value::Int(i32::from(e.state)))), SqlType::Int)
        }
        "ERROR_LINE" => (
            |env, _| Ok(caught(env, |e| Value::Int(i32::try_from(e.line).unwrap_or(0)))),
            SqlType::Int,
        ),
        "ERROR_MESSAGE" => {
            (|env, _| Ok(caught(env, |e| Value::text(&e.message))), SqlType::NVarChar(Some(4000)))
        }
        "ERROR_PROCEDURE" => (
            |env, _| {
                Ok(caught(env, |e| match e.procedure.is_empty() {
                    true => Value::Null,
                    false => Value::text(&e.procedure),
                }))
            },
            NAME,
        ),
        "ORIGINAL_LOGIN" => (|env, _| Ok(Value::text(&env.status.login)), NAME),
        "SYSTEM_USER" => (|env, _| Ok(Value::text(&env.status.rights.login)), NAME),
        "CURRENT_USER" | "SESSION_USER" | "USER" => {
            (|env, _| Ok(Value::text(&env.status.rights.user)), NAME)
        }
        _ => return with_arguments(name, arguments),
    };
    arguments.arity(0, 0)?;
    call(function, Vec::new(), ty)
}

fn with_arguments(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    match name {
        "SUSER_SNAME" | "SUSER_NAME" => {
            // Of another login there is nothing to say without its sid.
            arguments.arity(0, 0)?;
            call(|env, _| Ok(Value::text(&env.status.rights.login)), Vec::new(), NAME)
        }
        "USER_NAME" => {
            arguments.arity(0, 0)?;
            call(|env, _| Ok(Value::text(&env.status.rights.user)), Vec::new(), NAME)
        }
        "IS_SRVROLEMEMBER" | "IS_MEMBER" | "IS_ROLEMEMBER" => {
            arguments.arity(1, 1)?;
            let role = arguments.of(&NAME)?;
            let function = if name == "IS_SRVROLEMEMBER" { server_role } else { database_role };
            call(function, vec![role.node], SqlType::Int)
        }
        "HAS_PERMS_BY_NAME" => {
            arguments.arity(3, 5)?;
            let mut given = vec![arguments.of(&SqlType::NVarChar(Some(4000)))?.node];
            while arguments.more() {
                given.push(arguments.of(&NAME)?.node);
            }
            call(has_permission, given, SqlType::Int)
        }
        "HAS_DBACCESS" => {
            arguments.arity(1, 1)?;
            let database = arguments.of(&NAME)?;
            call(has_access, vec![database.node], SqlType::Int)
        }
        "DB_ID" => {
            arguments.arity(0, 1)?;
            match arguments.more() {
                true => {
                    let database = arguments.of(&NAME)?;
                    call(database_id, vec![database.node], SqlType::SmallInt)
                }
                false => call(current_database_id, Vec::new(), SqlType::SmallInt),
            }
        }
        "DB_NAME" => {
            arguments.arity(0, 1)?;
            match arguments.more() {
                true => call(database_name, vec![arguments.int()?], NAME),
                false => {
                    call(|env, _| Ok(Value::text(&env.status.database.name())), Vec::new(), NAME)
                }
            }
        }
        "SERVERPROPERTY" => {
            arguments.arity(1, 1)?;
            let property = arguments.any()?;
            let Some(property) = property.as_constant().and_then(Value::to_text) else {
                return Err(unsupported("property that is not a literal"));
            };
            Ok(Some(server_property(&property)))
        }
        "DATABASEPROPERTYEX" => {
            arguments.arity(2, 2)?;
            let database = arguments.of(&NAME)?;
            let property = arguments.any()?;
            let Some(property) = property.as_constant().and_then(Value::to_text) else {
                return Err(unsupported("property that is not a literal"));
            };
            let property = Node::Constant(Value::text(&property.to_ascii_uppercase()));
            let typed = Typed::call(database_property, vec![database.node, property], NAME);
            Ok(Some(typed.converted(&SqlType::Variant)))
        }
        "CHECKSUM" | "BINARY_CHECKSUM" => {
            arguments.arity(1, 254)?;
            let mut values = Vec::new();
            while arguments.more() {
                values.push(arguments.any()?.node);
            }
            call(checksum, values, SqlType::Int)
        }
        _ => Ok(None),
    }
}

fn caught(env: &Env<'_>, take: impl FnOnce(&SqlError) -> Value) -> Value {
    env.status.caught.as_ref().map_or(Value::Null, take)
}

fn row_count(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(Value::Int(i32::try_from(env.status.row_count).unwrap_or(i32::MAX)))
}

fn row_version(env: &Env<'_>, _: &[Value]) -> Computed {
    let last = env.status.database.last_row_version();
    Ok(Value::binary(&last.to_be_bytes()))
}

fn transactions(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(Value::Int(i32::try_from(env.status.transactions).unwrap_or(i32::MAX)))
}

fn transaction_state(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(Value::SmallInt(match (env.status.transactions, env.status.doomed) {
        (0, _) => 0,
        (_, true) => -1,
        (_, false) => 1,
    }))
}

fn identity(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(env
        .status
        .identity
        .map_or(Value::Null, |value| Value::Decimal { unscaled: i128::from(value), scale: 0 }))
}

fn server_name(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(Value::text(&env.shared.storage.server_name()))
}

fn new_id(_: &Env<'_>, _: &[Value]) -> Computed {
    Ok(Value::Guid(*uuid::Uuid::new_v4().as_bytes()))
}

fn server_role(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(role) = arguments[0].to_text() else {
        return Ok(Value::Null);
    };
    Ok(match role.to_ascii_lowercase().as_str() {
        "sysadmin" => Value::Int(i32::from(env.status.rights.sysadmin)),
        "public" => Value::Int(1),
        "securityadmin" | "serveradmin" | "setupadmin" | "processadmin" | "diskadmin"
        | "dbcreator" | "bulkadmin" => Value::Int(i32::from(env.status.rights.sysadmin)),
        _ => Value::Null,
    })
}

fn database_role(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(role) = arguments[0].to_text() else {
        return Ok(Value::Null);
    };
    Ok(match env.status.rights.is_member(&role) {
        Some(member) => Value::Int(i32::from(member)),
        None => Value::Null,
    })
}

fn has_permission(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(permission) = arguments[2].to_text() else {
        return Ok(Value::Null);
    };
    let rights = &env.status.rights;
    let answer = match (arguments[0].to_text(), arguments[1].to_text()) {
        (None, None) => rights.has_server_permission(&permission),
        (Some(_) | None, Some(class)) if class.eq_ignore_ascii_case("DATABASE") => {
            rights.has_database_permission(&permission)
        }
        (Some(name), Some(class)) if class.eq_ignore_ascii_case("OBJECT") => {
            let Ok(name) = parse_name(&name) else {
                return Ok(Value::Null);
            };
            let schema = name.schema.as_deref().unwrap_or("dbo");
            let Some(table) = env.with_txn(|txn| txn.object(schema, &name.name))? else {
                return Ok(Value::Null);
            };
            match arguments.get(3).map(|column| table.position(&column.to_text()?)) {
                None => rights.has_object_permission(&permission, &table),
                Some(None) => return Ok(Value::Null),
                Some(Some(at)) => {
                    let id = table.columns[at].id;
                    match permission.to_ascii_uppercase().as_str() {
                        "SELECT" => rights.may_read(&table, id),
                        "UNMASK" => rights.may_unmask(&table, id),
                        // Other permissions on columns are not kept.
                        _ => rights.has_object_permission(&permission, &table),
                    }
                }
            }
        }
        _ => return Ok(Value::Null),
    };
    Ok(Value::Int(i32::from(answer)))
}

fn has_access(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(database) = arguments[0].to_text().and_then(|name| env.shared.storage.database(&name))
    else {
        return Ok(Value::Null);
    };
    let allowed = env.shared.rights_in(&env.status.rights, &database).is_ok();
    Ok(Value::Int(i32::from(allowed)))
}

fn small(id: i32) -> Value {
    i16::try_from(id).map_or(Value::Null, Value::SmallInt)
}

fn current_database_id(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(small(env.status.database.id()))
}

fn database_id(env: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(arguments[0]
        .to_text()
        .and_then(|name| env.shared.storage.database(&name))
        .map_or(Value::Null, |database| small(database.id())))
}

fn database_name(env: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(arguments[0]
        .as_i64()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(|id| env.shared.storage.database_by_id(id))
        .map_or(Value::Null, |database| Value::text(&database.name())))
}

fn server_property(property: &str) -> Typed {
    let text = |text: &str| Typed::constant(Value::text(text), NAME);
    let int = |value| Typed::constant(Value::Int(value), SqlType::Int);
    let release = |function: Function| Typed::call(function, Vec::new(), NAME);
    let typed = match property.to_ascii_uppercase().as_str() {
        "PRODUCTVERSION" => release(|env, _| {
            let (major, minor, build) = env.shared.release.version();
            Ok(Value::text(&format!("{major}.{minor}.{build}.0")))
        }),
        "PRODUCTMAJORVERSION" => {
            release(|env, _| Ok(Value::text(&env.shared.release.version().0.to_string())))
        }
        "PRODUCTMINORVERSION" => {
            release(|env, _| Ok(Value::text(&env.shared.release.version().1.to_string())))
        }
        "PRODUCTBUILD" => {
            release(|env, _| Ok(Value::text(&env.shared.release.version().2.to_string())))
        }
        "PRODUCTLEVEL" => text("RTM"),
        "EDITION" => text("Developer Edition (64-bit)"),
        "ENGINEEDITION" => int(3),
        "EDITIONID" => Typed::constant(Value::BigInt(-2_117_995_310), SqlType::BigInt),
        "COLLATION" => text(crate::engine::collation::NAME),
        "SERVERNAME" | "MACHINENAME" => release(server_name),
        "ISCLUSTERED"
        | "ISHADRENABLED"
        | "ISFULLTEXTINSTALLED"
        | "ISINTEGRATEDSECURITYONLY"
        | "ISSINGLEUSER" => int(0),
        _ => Typed::constant(Value::Null, NAME),
    };
    Typed { nullable: true, ..typed.converted(&SqlType::Variant) }
}

fn database_property(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let database = arguments[0].to_text().and_then(|name| env.shared.storage.database(&name));
    let (Some(database), Some(property)) = (database, arguments[1].to_text()) else {
        return Ok(Value::Null);
    };
    Ok(match property.as_str() {
        "COLLATION" => Value::text(&database.info().collation),
        "STATUS" => Value::text("ONLINE"),
        "UPDATEABILITY" => Value::text("READ_WRITE"),
        "USERACCESS" => Value::text("MULTI_USER"),
        "RECOVERY" => Value::text("FULL"),
        _ => Value::Null,
    })
}

/// A hash of the values; equal values hash alike, but not to SQL Server's own numbers.
fn checksum(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let mut hasher = DefaultHasher::new();
    for argument in arguments {
        argument.hash_into(&mut hasher);
    }
    let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
    Ok(Value::Int(i32::from_le_bytes([a, b, c, d])))
}
