//! Catalogue views: `sys` and `INFORMATION_SCHEMA`, computed from storage when they are read.
//!
//! They show what the user may know of: an object on which he has any permission.

mod databases;
mod objects;
mod schema;

use std::sync::Arc;

use super::bind::{Binder, Bound, SourceColumn, same_name};
use super::env::Env;
use super::plan::Producer;
use super::security::Rights;
use super::syntax::ast::ObjectName;
use super::syntax::parse_name;
use crate::storage::{Database, Row, TableDef, datetime};
use crate::{IsolationLevel, SqlError, SqlType, Value};

/// `sysname`
const NAME: SqlType = SqlType::NVarChar(Some(128));

/// A view ready to be read.
pub struct View {
    /// Its columns.
    pub columns: Vec<SourceColumn>,
    /// Makes its rows.
    pub producer: Producer,
}

/// What a view is computed from: one database as the statement sees it.
struct Source<'a, 'e> {
    env: &'a Env<'e>,
    database: Arc<Database>,
    rights: Arc<Rights>,
    tables: Vec<Arc<TableDef>>,
    schemas: Vec<(i32, String)>,
}

/// Rows of a view.
type Rows = Vec<Vec<Value>>;

/// A view: its name, its columns, its rows.
struct Definition {
    schema: &'static str,
    name: &'static str,
    columns: &'static [(&'static str, SqlType)],
    rows: fn(&Source<'_, '_>) -> Result<Rows, SqlError>,
}

fn definitions() -> impl Iterator<Item = &'static Definition> {
    databases::VIEWS.iter().chain(objects::VIEWS).chain(schema::VIEWS)
}

fn find(schema: &str, name: &str) -> Option<&'static Definition> {
    definitions().find(|known| same_name(known.schema, schema) && same_name(known.name, name))
}

/// Whether a text names a catalogue view.
pub fn is_view(text: &str) -> bool {
    parse_name(text).is_ok_and(|name| {
        name.schema.as_deref().is_some_and(|schema| find(schema, &name.name).is_some())
    })
}

/// `object_id` of a view or procedure of the system: negative, and always the same.
pub fn system_object_id(text: &str) -> i32 {
    let name = text.rsplit('.').next().unwrap_or(text).trim_matches(['[', ']']).to_lowercase();
    // FNV-1a.
    let hash = name
        .bytes()
        .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    -1 - i32::try_from(hash & 0x3FFF_FFFF).unwrap_or(0)
}

/// A view by name, if it is one.
///
/// # Errors
/// 208 for an unknown view of `sys` and for an unknown database; 916.
pub fn view(binder: &Binder<'_, '_>, name: &ObjectName) -> Bound<Option<View>> {
    let Some(schema) = &name.schema else {
        return Ok(None);
    };
    let system = same_name(schema, "sys") || same_name(schema, "INFORMATION_SCHEMA");
    let Some(definition) = find(schema, &name.name) else {
        return match system {
            true => Err(super::bind::invalid_object(name)),
            false => Ok(None),
        };
    };
    let status = binder.env.status;
    let other = match &name.database {
        Some(other) if !same_name(other, &status.database.name()) => Some(
            binder
                .env
                .shared
                .storage
                .database(other)
                .ok_or_else(|| super::bind::invalid_object(name))?,
        ),
        _ => None,
    };
    let other = match other {
        Some(database) => {
            let rights = binder.env.shared.rights_in(&status.rights, &database)?;
            Some((database, rights))
        }
        None => None,
    };
    let columns = definition
        .columns
        .iter()
        .map(|(name, ty)| SourceColumn {
            name: (*name).to_owned(),
            ty: Some(ty.clone()),
            nullable: true,
            identity: false,
        })
        .collect();
    let producer: Producer = Box::new(move |env, _| {
        let rows = (definition.rows)(&Source::new(env, other.as_ref()))?;
        Ok(Box::new(rows.into_iter().map(|row| Ok(Row::from(row)))))
    });
    Ok(Some(View { columns, producer }))
}

impl<'a, 'e> Source<'a, 'e> {
    fn new(env: &'a Env<'e>, other: Option<&(Arc<Database>, Arc<Rights>)>) -> Source<'a, 'e> {
        let (database, rights) = match other {
            Some((database, rights)) => (Arc::clone(database), Arc::clone(rights)),
            None => (Arc::clone(&env.status.database), Arc::clone(&env.status.rights)),
        };
        let (tables, schemas) = match other {
            Some((database, _)) => {
                let txn = database.begin(IsolationLevel::ReadCommitted);
                (txn.tables(), txn.schemas())
            }
            None => env.with_txn(|txn| (txn.tables(), txn.schemas())),
        };
        let tables = tables.into_iter().filter(|table| rights.sees(table)).collect();
        Source { env, database, rights, tables, schemas }
    }

    fn schema_id(&self, name: &str) -> i32 {
        self.schemas.iter().find(|(_, known)| same_name(known, name)).map_or(0, |(id, _)| *id)
    }
}

fn text(value: &str) -> Value {
    Value::text(value)
}

fn optional(value: Option<&str>) -> Value {
    value.map_or(Value::Null, Value::text)
}

fn bit(value: bool) -> Value {
    Value::Bit(value)
}

fn date(at: crate::storage::Micros) -> Value {
    datetime(at)
}

/// `user_type_id` and name of the types there are.
fn types() -> Vec<(SqlType, &'static str)> {
    vec![
        (SqlType::UniqueIdentifier, "uniqueidentifier"),
        (SqlType::Date, "date"),
        (SqlType::Time(7), "time"),
        (SqlType::DateTime2(7), "datetime2"),
        (SqlType::DateTimeOffset(7), "datetimeoffset"),
        (SqlType::TinyInt, "tinyint"),
        (SqlType::SmallInt, "smallint"),
        (SqlType::Int, "int"),
        (SqlType::SmallDateTime, "smalldatetime"),
        (SqlType::Real, "real"),
        (SqlType::Money, "money"),
        (SqlType::DateTime, "datetime"),
        (SqlType::Float, "float"),
        (SqlType::Bit, "bit"),
        (SqlType::Decimal { precision: 38, scale: 38 }, "decimal"),
        (SqlType::SmallMoney, "smallmoney"),
        (SqlType::BigInt, "bigint"),
        (SqlType::VarBinary(Some(8000)), "varbinary"),
        (SqlType::VarChar(Some(8000)), "varchar"),
        (SqlType::Binary(8000), "binary"),
        (SqlType::Char(8000), "char"),
        (SqlType::NVarChar(Some(4000)), "nvarchar"),
        (SqlType::NChar(4000), "nchar"),
    ]
}

/// Name of a type by its `user_type_id`.
pub fn type_name(id: i32) -> Option<&'static str> {
    if id == 256 {
        return Some("sysname");
    }
    types().into_iter().find(|(ty, _)| i32::from(ty.system_type_id()) == id).map(|(_, name)| name)
}
