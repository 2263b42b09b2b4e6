//! Names and ids of objects.

use std::sync::Arc;

use super::{Arguments, Bound, Computed, call};
use crate::engine::catalog;
use crate::engine::env::Env;
use crate::engine::expr::{Node, Typed};
use crate::engine::syntax::parse_name;
use crate::storage::{Database, TableDef, same_name};
use crate::{IsolationLevel, SqlError, SqlType, Value};

const NAME: SqlType = SqlType::NVarChar(Some(128));

/// Binds a function of this module.
///
/// # Errors
/// Numbers and types of arguments.
pub fn bind(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    match name {
        "OBJECT_ID" => {
            arguments.arity(1, 2)?;
            let object = arguments.of(&SqlType::NVarChar(Some(4000)))?.node;
            let kind = match arguments.more() {
                true => arguments.of(&SqlType::NVarChar(Some(2)))?.node,
                false => Node::Constant(Value::Null),
            };
            call(object_id, vec![object, kind], SqlType::Int)
        }
        "OBJECT_NAME" | "OBJECT_SCHEMA_NAME" => {
            arguments.arity(1, 2)?;
            let id = arguments.int()?;
            let database = match arguments.more() {
                true => arguments.int()?,
                false => Node::Constant(Value::Null),
            };
            let function = if name == "OBJECT_NAME" { object_name } else { object_schema };
            call(function, vec![id, database], NAME)
        }
        "CURSOR_STATUS" => {
            arguments.arity(2, 2)?;
            let scope = arguments.of(&NAME)?.node;
            call(cursor_status, vec![scope, arguments.of(&NAME)?.node], SqlType::SmallInt)
        }
        "OBJECT_DEFINITION" => {
            arguments.arity(1, 1)?;
            call(object_definition, vec![arguments.int()?], SqlType::NVarChar(None))
        }
        "OBJECTPROPERTY" => {
            arguments.arity(2, 2)?;
            call(object_property, vec![arguments.int()?, arguments.of(&NAME)?.node], SqlType::Int)
        }
        "SCHEMA_NAME" => {
            arguments.arity(0, 1)?;
            match arguments.more() {
                true => call(schema_name, vec![arguments.int()?], NAME),
                false => call(|_, _| Ok(Value::text("dbo")), Vec::new(), NAME),
            }
        }
        "SCHEMA_ID" => {
            arguments.arity(0, 1)?;
            match arguments.more() {
                true => {
                    let schema = arguments.of(&NAME)?;
                    call(schema_id, vec![schema.node], SqlType::Int)
                }
                false => call(|_, _| Ok(Value::Int(1)), Vec::new(), SqlType::Int),
            }
        }
        "COL_NAME" => {
            arguments.arity(2, 2)?;
            call(column_name, vec![arguments.int()?, arguments.int()?], NAME)
        }
        "COL_LENGTH" => {
            arguments.arity(2, 2)?;
            let table = arguments.of(&SqlType::NVarChar(Some(4000)))?.node;
            let column = arguments.of(&NAME)?.node;
            call(column_length, vec![table, column], SqlType::SmallInt)
        }
        "TYPE_NAME" => {
            arguments.arity(1, 1)?;
            call(type_name, vec![arguments.int()?], NAME)
        }
        "TYPE_ID" => {
            arguments.arity(1, 1)?;
            let name = arguments.of(&SqlType::NVarChar(Some(512)))?.node;
            call(type_id, vec![name], SqlType::Int)
        }
        "IDENT_CURRENT" => {
            arguments.arity(1, 1)?;
            let table = arguments.of(&SqlType::NVarChar(Some(4000)))?.node;
            call(identity_current, vec![table], SqlType::Numeric { precision: 38, scale: 0 })
        }
        _ => Ok(None),
    }
}

fn id_of(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|id| i32::try_from(id).ok())
}

/// The tables, views and procedures of a database that the user may know of.
fn tables(env: &Env<'_>, database: Option<&Arc<Database>>) -> Vec<Arc<TableDef>> {
    match database {
        Some(database) if database.id() != env.status.database.id() => {
            database.begin(IsolationLevel::ReadCommitted).objects()
        }
        _ => env
            .with_txn(|txn| txn.objects())
            .into_iter()
            .filter(|table| env.status.rights.sees(table))
            .collect(),
    }
}

fn find(env: &Env<'_>, name: &Value) -> Result<Option<Arc<TableDef>>, SqlError> {
    let Some(name) = name.to_text().and_then(|text| parse_name(&text).ok()) else {
        return Ok(None);
    };
    if name.is_temporary() {
        let schema = env.schema_of(&name);
        return env.with_txn(|txn| txn.table(&schema, &name.name));
    }
    let database = match &name.database {
        Some(database) => match env.shared.storage.database(database) {
            Some(database) => Some(database),
            None => return Ok(None),
        },
        None => None,
    };
    let schema = name.schema.as_deref().unwrap_or("dbo");
    Ok(tables(env, database.as_ref()).into_iter().find(|table| {
        crate::storage::same_name(&table.schema, schema)
            && crate::storage::same_name(&table.name, &name.name)
    }))
}

fn object_id(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(text) = arguments[0].to_text() else {
        return Ok(Value::Null);
    };
    let kind = arguments[1].to_text().map(|kind| kind.trim_end().to_ascii_uppercase());
    let wants = |own: &str| kind.as_deref().is_none_or(|kind| kind == own);
    if let Some(object) = find(env, &arguments[0])?
        && wants(catalog::kind_code(&object))
    {
        return Ok(Value::Int(object.id));
    }
    if let Some(id) = constraint_id(env, &text, &wants) {
        return Ok(Value::Int(id));
    }
    if wants("P") && crate::cdc::procedure(&text).is_some() {
        return Ok(Value::Int(catalog::system_object_id(&text)));
    }
    if wants("V") && catalog::is_view(&text) {
        return Ok(Value::Int(catalog::system_object_id(&text)));
    }
    Ok(Value::Null)
}

/// A constraint by name: it stands in the schema of its table.
fn constraint_id(env: &Env<'_>, text: &str, wants: &dyn Fn(&str) -> bool) -> Option<i32> {
    let name = parse_name(text).ok()?;
    let database = match &name.database {
        Some(database) => Some(env.shared.storage.database(database)?),
        None => None,
    };
    let schema = name.schema.as_deref().unwrap_or("dbo");
    let tables = tables(env, database.as_ref());
    let own = tables.iter().filter(|table| same_name(&table.schema, schema));
    let mut constraints = own.flat_map(|table| table.constraints());
    let found = constraints.find(|(_, known, kind)| same_name(known, &name.name) && wants(kind));
    found.map(|(id, ..)| id)
}

/// The table of a constraint, with the constraint's name and kind.
fn constraint_by_id(
    env: &Env<'_>,
    arguments: &[Value],
) -> Option<(Arc<TableDef>, String, &'static str)> {
    let id = id_of(&arguments[0])?;
    let database = match id_of(&arguments[1]) {
        Some(database) => Some(env.shared.storage.database_by_id(database)?),
        None => None,
    };
    tables(env, database.as_ref()).into_iter().find_map(|table| {
        let (_, name, kind) = table.constraints().find(|(known, ..)| *known == id)?;
        Some((Arc::clone(&table), name.to_owned(), kind))
    })
}

fn by_id(env: &Env<'_>, arguments: &[Value]) -> Option<Arc<TableDef>> {
    let id = id_of(&arguments[0])?;
    let database = match id_of(&arguments[1]) {
        Some(database) => Some(env.shared.storage.database_by_id(database)?),
        None => None,
    };
    tables(env, database.as_ref()).into_iter().find(|table| table.id == id)
}

fn object_name(env: &Env<'_>, arguments: &[Value]) -> Computed {
    if let Some(object) = by_id(env, arguments) {
        return Ok(Value::text(&object.name));
    }
    Ok(constraint_by_id(env, arguments).map_or(Value::Null, |(_, name, _)| Value::text(&name)))
}

fn cursor_status(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(scope), Some(name)) = (arguments[0].to_text(), arguments[1].to_text()) else {
        return Ok(Value::Null);
    };
    let local = match scope.to_ascii_lowercase().as_str() {
        "local" => true,
        "global" => false,
        _ => return Err(crate::engine::bind::unsupported("a cursor variable")),
    };
    let of = |known: &&(String, bool, i16)| known.1 == local && known.0.eq_ignore_ascii_case(&name);
    let state = env.status.cursor_states.iter().find(of).map_or(-3, |known| known.2);
    Ok(Value::SmallInt(state))
}

/// The text of a view, procedure or constraint's table, for those who may see it.
fn object_definition(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let object = by_id(env, &[arguments[0].clone(), Value::Null]);
    Ok(object
        .filter(|object| catalog::sees_definition(&env.status.rights, object))
        .and_then(|object| Some(Value::text(&object.module.as_ref()?.definition)))
        .unwrap_or(Value::Null))
}

fn object_property(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let here = [arguments[0].clone(), Value::Null];
    let Some(property) = arguments[1].to_text() else {
        return Ok(Value::Null);
    };
    let Some(object) = by_id(env, &here) else {
        let constraint = constraint_by_id(env, &here);
        return Ok(constraint.map_or(Value::Null, |(_, _, kind)| of_constraint(kind, &property)));
    };
    let kind = catalog::kind_code(&object);
    let table = kind == "U";
    let answer = match property.to_ascii_lowercase().as_str() {
        "istable" | "isusertable" => table,
        "isview" => kind == "V",
        "isprocedure" => kind == "P",
        "ismsshipped" => object.ms_shipped,
        "isschemabound" if kind != "U" => false,
        "tablehasprimarykey" if table => object.primary_key().is_some(),
        "tablehasidentity" if table => object.columns.iter().any(|c| c.identity.is_some()),
        "tablehasclustindex" if table => object.clustered().is_some(),
        "tablehasforeignkey" if table => !object.foreign_keys.is_empty(),
        "tablehascheckcnst" if table => !object.checks.is_empty(),
        "tablehastimestamp" | "tablehastextimage" => {
            return Err(crate::engine::bind::unsupported(&property));
        }
        "isscalarfunction" | "istablefunction" | "isinlinefunction" | "istrigger"
        | "isconstraint" | "isprimarykey" | "isforeignkey" | "isuniquecnst" | "ischeckcnst"
        | "isdefaultcnst" | "issystemtable" => false,
        _ => return Ok(Value::Null),
    };
    Ok(Value::Int(i32::from(answer)))
}

fn of_constraint(kind: &str, property: &str) -> Value {
    let answer = match property.to_ascii_lowercase().as_str() {
        "isconstraint" => true,
        "isprimarykey" => kind == "PK",
        "isuniquecnst" => kind == "UQ",
        "isforeignkey" => kind == "F",
        "ischeckcnst" => kind == "C",
        "isdefaultcnst" => kind == "D",
        "istable" | "isusertable" | "isview" | "isprocedure" | "issystemtable" | "istrigger"
        | "isscalarfunction" | "istablefunction" | "isinlinefunction" | "ismsshipped" => false,
        _ => return Value::Null,
    };
    Value::Int(i32::from(answer))
}

fn object_schema(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let table =
        by_id(env, arguments).or_else(|| constraint_by_id(env, arguments).map(|(table, ..)| table));
    Ok(table.map_or(Value::Null, |table| Value::text(&table.schema)))
}

fn schema_name(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let id = id_of(&arguments[0]);
    let schemas = env.with_txn(|txn| txn.schemas());
    Ok(schemas
        .into_iter()
        .find(|(known, _)| Some(*known) == id)
        .map_or(Value::Null, |(_, name)| Value::text(&name)))
}

fn schema_id(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(name) = arguments[0].to_text() else {
        return Ok(Value::Null);
    };
    let schemas = env.with_txn(|txn| txn.schemas());
    Ok(schemas
        .into_iter()
        .find(|(_, known)| crate::storage::same_name(known, &name))
        .map_or(Value::Null, |(id, _)| Value::Int(id)))
}

fn column_name(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let table = by_id(env, &[arguments[0].clone(), Value::Null]);
    let column = id_of(&arguments[1]);
    Ok(table
        .and_then(|table| {
            let column = table.columns.iter().find(|known| Some(known.id) == column)?;
            Some(Value::text(&column.name))
        })
        .unwrap_or(Value::Null))
}

fn column_length(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(table), Some(column)) = (find(env, &arguments[0])?, arguments[1].to_text()) else {
        return Ok(Value::Null);
    };
    Ok(table.column(&column).map_or(Value::Null, |column| Value::SmallInt(column.ty.max_length())))
}

fn type_name(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(id) = id_of(&arguments[0]) else {
        return Ok(Value::Null);
    };
    if let Some(name) = catalog::type_name(id) {
        return Ok(Value::text(name));
    }
    let types = env.with_txn(|txn| txn.types());
    let alias = types.iter().find(|known| known.id == id);
    Ok(alias.map_or(Value::Null, |known| Value::text(&known.name)))
}

fn type_id(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(name) = arguments[0].to_text().and_then(|text| parse_name(&text).ok()) else {
        return Ok(Value::Null);
    };
    let schema = name.schema.as_deref();
    if schema.is_none_or(|schema| crate::storage::same_name(schema, "sys"))
        && let Some(id) = catalog::type_id(&name.name)
    {
        return Ok(Value::Int(id));
    }
    let types = env.with_txn(|txn| txn.types());
    let alias = types.iter().find(|known| {
        crate::storage::same_name(&known.schema, schema.unwrap_or("dbo"))
            && crate::storage::same_name(&known.name, &name.name)
    });
    Ok(alias.map_or(Value::Null, |known| Value::Int(known.id)))
}

fn identity_current(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(table) = find(env, &arguments[0])? else {
        return Ok(Value::Null);
    };
    Ok(env
        .with_txn(|txn| txn.identity_current(table.id))
        .map_or(Value::Null, |value| Value::Decimal { unscaled: i128::from(value), scale: 0 }))
}
