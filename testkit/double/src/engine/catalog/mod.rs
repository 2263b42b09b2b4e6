//! Catalogue views (`sys.*`, `INFORMATION_SCHEMA.*`), computed from storage when they are read.
//!
//! Each view is one [`Definition`](definition::Definition): its columns, each with what computes
//! it, over a list of items. Columns have SQL Server 2022's names, order and types, except that
//! `sql_variant` columns have the type of what is in them, as the double has no `sql_variant`.
//!
//! A view shows what its reader may know of, as SQL Server's metadata visibility has it: tables
//! (with their columns, indexes and constraints) on which there is any permission; definitions of
//! constraints and computed columns with VIEW DEFINITION; dynamic views with the permission they
//! ask for. Views about things that the double does not have are absent (error 208).

mod absent;
mod capture;
mod columns;
mod compat;
mod constraints;
mod databases;
mod definition;
mod indexes;
mod information_schema;
mod logins;
mod modules;
mod objects;
mod policies;
mod principals;
mod sequences;
mod server;
mod source;
mod spaces;
#[cfg(test)]
mod tests;
mod transactions;
mod types;

use std::sync::Arc;

use super::bind::{Binder, Bound, SourceColumn, invalid_object, same_name};
use super::env::Env;
use super::plan::Producer;
use super::syntax::ast::ObjectName;
use super::syntax::parse_name;
use crate::storage::{ObjectId, Row, TableDef, default_constraint_id};
use crate::{SqlError, Value};
use definition::Definition;
use source::Catalog;

pub use objects::kind_code;
pub use source::sees_definition;
pub use types::{type_id, type_name};

/// `sysname`
const SYSNAME: crate::SqlType = crate::SqlType::NVarChar(Some(128));

type Table = Arc<TableDef>;

/// A view in a query.
pub struct View {
    /// Its columns.
    pub columns: Vec<SourceColumn>,
    /// Makes its rows, anew each time it is opened.
    pub producer: Producer,
    /// Whether values of the first column may be its arguments, to get no other rows.
    pub by_first: bool,
}

/// Every view.
fn all() -> impl Iterator<Item = &'static dyn Definition> {
    [
        databases::VIEWS,
        objects::VIEWS,
        modules::VIEWS,
        columns::VIEWS,
        indexes::VIEWS,
        constraints::VIEWS,
        types::VIEWS,
        principals::VIEWS,
        policies::VIEWS,
        logins::VIEWS,
        server::VIEWS,
        transactions::VIEWS,
        capture::VIEWS,
        information_schema::VIEWS,
        absent::VIEWS,
        spaces::VIEWS,
        compat::VIEWS,
        sequences::VIEWS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

fn find(name: &ObjectName) -> Option<&'static dyn Definition> {
    // The views of old are found without their schema, and as dbo's.
    let schema = match name.schema.as_deref() {
        None | Some("dbo" | "DBO") => {
            return compat::VIEWS.iter().copied().find(|view| same_name(view.name(), &name.name));
        }
        Some(schema) => schema,
    };
    all().find(|view| same_name(view.schema(), schema) && same_name(view.name(), &name.name))
}

/// A catalogue view by name, `sys.tables` or `db.sys.tables`; none if the name is no view's.
///
/// # Errors
/// 208 for an unknown database, 916 for one that may not be entered, and what a test has
/// injected for the view.
pub fn view(binder: &Binder<'_, '_>, name: &ObjectName) -> Bound<Option<View>> {
    let Some(definition) = find(name) else {
        return Ok(None);
    };
    let env = binder.env;
    let current = &env.status.database;
    let elsewhere = match &name.database {
        Some(database) if !same_name(database, &current.name()) => {
            let found = env.shared.storage.database(database);
            let database = found.ok_or_else(|| invalid_object(name))?;
            let rights = env.shared.rights_in(&env.status.rights, &database)?;
            Some((database, rights))
        }
        _ => None,
    };
    let database = elsewhere.as_ref().map_or(current, |(database, _)| database);
    let full_name = format!("{}.{}", definition.schema(), definition.name());
    env.shared.storage.touch(&database.name(), &full_name)?;
    let producer: Producer = Box::new(move |env, objects| {
        let only = object_ids(objects);
        let rows = match &elsewhere {
            None => rows_here(definition, env, only)?,
            Some((database, rights)) => {
                let txn = database.begin(crate::IsolationLevel::ReadCommitted);
                let current = env.with_txn(|txn| txn.info());
                let catalog = Catalog::new(&env.shared.storage, &txn, rights, current);
                definition.rows(&catalog.only(only))?
            }
        };
        Ok(Box::new(rows.into_iter().map(Ok)))
    });
    let by_first = definition.is_by_object();
    Ok(Some(View { columns: definition.columns(), producer, by_first }))
}

/// The objects whose rows are wanted; none for all, and where a value is no number.
fn object_ids(values: &[Value]) -> Option<Vec<ObjectId>> {
    let id = |value: &Value| ObjectId::try_from(value.as_i64()?).ok();
    let ids = values.iter().map(id).collect::<Option<Vec<_>>>()?;
    (!ids.is_empty()).then_some(ids)
}

fn rows_here(
    definition: &dyn Definition,
    env: &Env<'_>,
    only: Option<Vec<ObjectId>>,
) -> Result<Vec<Row>, SqlError> {
    let (storage, rights) = (&env.shared.storage, &env.status.rights);
    env.with_txn(|txn| definition.rows(&Catalog::new(storage, txn, rights, txn.info()).only(only)))
}

/// Whether a possibly quoted name with its schema is a catalogue view's.
pub fn is_view(name: &str) -> bool {
    parse_name(name).is_ok_and(|name| find(&name).is_some())
}

/// `object_id` of a system object by name, with or without its schema: negative, as all system
/// objects' are, and always the same (but not SQL Server's own).
pub fn system_object_id(name: &str) -> i32 {
    let bare = match parse_name(name) {
        Ok(name) => name.name,
        Err(_) => name.to_owned(),
    };
    // FNV-1a: stable over builds and machines.
    let hash = bare
        .to_ascii_lowercase()
        .bytes()
        .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash | 1 << 31).cast_signed()
}
