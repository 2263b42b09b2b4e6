//! Schemas and tables.

use lockstep_common::TableVersion;
use lockstep_common::model::definition::{ColumnDefinition, Definition};
use lockstep_common::model::name::{literal_postgres, quote_postgres};

use super::super::super::plan::{Naming, TablePlan, TargetName};
use super::super::expression::{self, Purpose, Scope};
use super::{Context, Fate, Kind, Object};

/// Makes a schema that is absent. A role that may create in an existing schema need not be able to
/// create one, and "if not exists" would ask for that right all the same.
pub(crate) fn create_schema(schema: &str) -> String {
    let quoted = quote_postgres(schema);
    let body = format!(
        "BEGIN IF to_regnamespace(quote_ident({})) IS NULL THEN EXECUTE {}; END IF; END",
        literal_postgres(schema),
        literal_postgres(&format!("CREATE SCHEMA {quoted}")),
    );
    // As a literal: a name may have any dollar quote in it.
    format!("DO {}", literal_postgres(&body))
}

/// The same for people to read and run.
pub(crate) fn create_schema_plainly(schema: &str) -> String {
    format!("CREATE SCHEMA IF NOT EXISTS {}", quote_postgres(schema))
}

/// `CREATE TABLE` for a plan, with the computed columns of `definition` that translate. `key_name`
/// is what its primary key is called, where PostgreSQL is not to choose.
///
/// # Errors
/// Every column whose type is not what it was to be, and a key over a computed column.
pub(crate) fn create_table(
    naming: &Naming,
    plan: &TablePlan,
    version: &TableVersion,
    definition: Option<&Definition>,
    key_name: Option<&str>,
) -> Result<String, Vec<String>> {
    let wrong = plan.mistyped();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut parts = Vec::new();
    for column in &plan.columns {
        let (name, ty) = (column.quoted(), &column.type_name);
        if column.column.computed {
            let source = &column.column.name;
            let computed = definition.and_then(|d| generated(naming, version, d, source));
            if let Some(Ok(expression)) = computed {
                parts.push(format!("{name} {ty} GENERATED ALWAYS AS ({expression}) STORED"));
            }
            continue;
        }
        let null = if column.column.nullable && !column.key { "" } else { " NOT NULL" };
        // From PostgreSQL 18 on both ends of a foreign key need the same collation (42P21).
        let collate = column.collation.map_or(String::new(), |name| format!(" COLLATE {name}"));
        parts.push(format!("{name} {ty}{collate}{null}"));
    }
    if !plan.key.is_empty() {
        let key: Vec<String> = plan.key.iter().map(|at| plan.columns[*at].quoted()).collect();
        let named = key_name.map(|name| format!("CONSTRAINT {} ", quote_postgres(name)));
        parts.push(format!("{}PRIMARY KEY ({})", named.unwrap_or_default(), key.join(", ")));
    }
    Ok(format!("CREATE TABLE {} (\n    {}\n)", plan.target.quoted(), parts.join(",\n    ")))
}

/// What PostgreSQL calls the key's constraint.
pub(super) fn key_name(target: &TargetName) -> String {
    // PostgreSQL cuts the table's part (`makeObjectName`).
    let mut end = target.table.len().min(63 - "_pkey".len());
    while !target.table.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_pkey", &target.table[..end])
}

/// What expressions of a table may name: its columns, but for computed ones that are not made.
pub(super) fn scope<'a>(
    naming: &'a Naming,
    version: &'a TableVersion,
    definition: &Definition,
) -> Scope<'a> {
    let mut scope = expression::scope(naming, version);
    for column in version.columns.iter().filter(|column| column.computed) {
        if !matches!(generated(naming, version, definition, &column.name), Some(Ok(_))) {
            scope.leave_out(&column.name);
        }
    }
    scope
}

/// A computed column's expression; none when the definition does not have it.
fn generated(
    naming: &Naming,
    version: &TableVersion,
    definition: &Definition,
    name: &str,
) -> Option<Result<String, String>> {
    let has = |c: &&ColumnDefinition| c.column == name && c.computed.is_some();
    let found = definition.columns.iter().find(has)?;
    let text = found.computed.as_deref()?;
    let column = version.columns.iter().find(|column| column.name == name)?;
    // A generated column of PostgreSQL must not name another one.
    let mut scope = expression::scope(naming, version);
    for other in version.columns.iter().filter(|column| column.computed) {
        scope.leave_out(&other.name);
    }
    if naming.types.asked(&version.name, column).is_some() {
        return Some(Err("its type is mapped".to_owned()));
    }
    let purpose = Purpose::Computed { persisted: found.persisted };
    Some(expression::value(version, text, &scope, purpose, column).map(|made| made.sql))
}

/// What becomes of the computed columns.
pub(super) fn computed(context: &Context<'_>) -> Vec<Object> {
    let Context { naming, version, definition, .. } = context;
    let mut objects = Vec::new();
    for column in version.columns.iter().filter(|column| column.computed) {
        let reason = match generated(naming, version, definition, &column.name) {
            Some(Ok(_)) => continue,
            Some(Err(reason)) => reason,
            None => "the log does not say what it is computed from".to_owned(),
        };
        let name = naming.carry(&column.name);
        objects.push(context.object(Kind::Computed, &column.name, &name, Fate::LeaveOut(reason)));
    }
    objects
}
