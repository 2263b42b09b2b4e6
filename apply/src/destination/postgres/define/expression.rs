//! Expressions of a source table, translated by the dialect that they are written in.

use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Column, TableVersion};

use super::super::plan::{Naming, TSQL};
use crate::tsql;

pub(super) use crate::tsql::{Made, Purpose, Scope, is_binary_text, is_unicode};

/// All columns of a version, for its expressions to name.
pub(super) fn scope<'a>(naming: &Naming, version: &'a TableVersion) -> Scope<'a> {
    let types = &naming.types;
    Scope::new(version.columns.iter().map(|column| {
        let asked = types.asked(&version.name, column);
        let mapped = asked.is_some_and(|ty| ty != types.own(column));
        (column, quote_postgres(&naming.carry(&column.name)), mapped)
    }))
}

/// Translates a condition of a table.
///
/// # Errors
/// Why it is not translated.
pub(super) fn condition(
    version: &TableVersion,
    text: &str,
    scope: &Scope<'_>,
    purpose: Purpose,
) -> Result<String, String> {
    match version.dialect.as_str() {
        TSQL => tsql::condition(text, scope, purpose),
        other => Err(unknown(other)),
    }
}

/// Translates a value to be stored in `column` of a table.
///
/// # Errors
/// Why it is not translated.
pub(super) fn value(
    version: &TableVersion,
    text: &str,
    scope: &Scope<'_>,
    purpose: Purpose,
    column: &Column,
) -> Result<Made, String> {
    match version.dialect.as_str() {
        TSQL => tsql::value(text, scope, purpose, column),
        other => Err(unknown(other)),
    }
}

fn unknown(dialect: &str) -> String {
    format!("expressions of dialect {dialect} are not translated")
}
