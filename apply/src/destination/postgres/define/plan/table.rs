//! Schemas and tables.

use lockstep_common::TableVersion;
use lockstep_common::model::definition::{ColumnDefinition, Definition};
use lockstep_common::model::name::{literal_postgres, quote_postgres};

use super::super::super::catalog::{Naming, TargetName};
use super::super::super::mapping;
use super::super::expression::{self, Purpose, Scope};
use super::name::fit;
use super::{Context, Fate, Kind, Object};

/// Names that no column of PostgreSQL can have.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// PostgreSQL's `INDEX_MAX_KEYS` and `MaxHeapAttributeNumber`.
const MOST_KEYS: usize = 32;
const MOST_COLUMNS: usize = 1600;

/// Why no table of PostgreSQL can stand for a version: names that are reserved or not names, two that are
/// one, too many columns.
pub(crate) fn unusable(
    naming: &Naming,
    version: &TableVersion,
    definition: Option<&Definition>,
) -> Vec<String> {
    let target = naming.table(&version.name);
    let mut wrong = Vec::new();
    let schema = target.schema.as_str();
    if schema.starts_with("pg_") || matches!(schema, "lockstep" | "information_schema") {
        wrong.push(format!(
            "schema {} belongs to PostgreSQL or Lockstep: name another one in `schemas`",
            quote_postgres(schema)
        ));
    }
    if schema.is_empty() || fit(schema) != schema {
        wrong.push(format!(
            "schema {} of `schemas` is not a name of PostgreSQL: 1 to 63 bytes",
            quote_postgres(schema)
        ));
    }
    let companions = naming.companions(version, definition);
    let version = &*mapping::expand(version, &companions);
    let mut seen = std::collections::HashMap::new();
    for column in &version.columns {
        let carried = naming.carry(&column.name);
        if SYSTEM_COLUMNS.contains(&carried.as_str()) {
            wrong.push(format!(
                "column {} has a name that PostgreSQL keeps for itself: leave it out of the capture \
                 instance (@captured_column_list), or rename it",
                quote_postgres(&carried)
            ));
        }
        if let Some(first) = seen.insert(carried.clone(), column.name.clone()) {
            wrong.push(format!(
                "columns {first} and {} are both {}",
                column.name,
                quote_postgres(&carried)
            ));
        }
    }
    if version.columns.len() > MOST_COLUMNS {
        let count = version.columns.len();
        wrong.push(format!("it has {count} columns, a table of PostgreSQL at most {MOST_COLUMNS}"));
    }
    if version.key.len() > MOST_KEYS {
        wrong.push(format!(
            "its key has {} columns, those for the seventh fractional digits of its times among them, \
             and a key of PostgreSQL at most {MOST_KEYS}: let such times be text (`types`, `columns`)",
            version.key.len()
        ));
    }
    wrong
}

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

/// `CREATE TABLE` for a version, with the computed columns of `definition` that translate. `key_name`
/// is what its primary key is called, where PostgreSQL is not to choose.
///
/// # Errors
/// Every column whose type is not what it was to be, and a key over a computed column.
pub(crate) fn create_table(
    naming: &Naming,
    version: &TableVersion,
    definition: Option<&Definition>,
    key_name: Option<&str>,
) -> Result<String, Vec<String>> {
    let mut parts = Vec::new();
    let mut wrong = naming.types.strangers(version);
    let companions = naming.companions(version, definition);
    let version = &*mapping::expand(version, &companions);
    for (index, column) in version.columns.iter().enumerate() {
        let key = version.key.iter().any(|k| usize::from(*k) == index);
        let ty = match naming.types.wanted(&version.name, column) {
            Ok(ty) => ty,
            Err(what) => {
                wrong.push(what);
                continue;
            }
        };
        let sql = naming.types.name(ty);
        if column.computed {
            if key {
                wrong.push(format!("key column {} is computed", quote_postgres(&column.name)));
            }
            let computed = definition.and_then(|d| generated(naming, version, d, &column.name));
            if let Some(Ok(expression)) = computed {
                let name = quote_postgres(&naming.carry(&column.name));
                parts.push(format!("{name} {sql} GENERATED ALWAYS AS ({expression}) STORED"));
            }
            continue;
        }
        let null = if column.nullable && !key { "" } else { " NOT NULL" };
        let tells_apart = key || definition.is_some_and(|d| in_unique_index(d, &column.name));
        // From PostgreSQL 18 on both ends of a foreign key need the same collation (42P21).
        let refers = definition.is_some_and(|d| in_foreign_key(d, &column.name));
        let collation = naming.types.collation(column, ty).filter(|_| tells_apart || refers);
        let collate = collation.map_or(String::new(), |name| format!(" COLLATE {name}"));
        parts.push(format!("{} {sql}{collate}{null}", quote_postgres(&naming.carry(&column.name))));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let target = naming.table(&version.name);
    if !version.key.is_empty() {
        let key: Vec<String> = version
            .key
            .iter()
            .filter_map(|k| version.columns.get(usize::from(*k)))
            .map(|c| quote_postgres(&naming.carry(&c.name)))
            .collect();
        let named = key_name.map(|name| format!("CONSTRAINT {} ", quote_postgres(name)));
        parts.push(format!("{}PRIMARY KEY ({})", named.unwrap_or_default(), key.join(", ")));
    }
    Ok(format!("CREATE TABLE {} (\n    {}\n)", target.quoted(), parts.join(",\n    ")))
}

/// Whether rows are told apart by a column beside the key.
fn in_unique_index(definition: &Definition, column: &str) -> bool {
    let mut unique = definition.indexes.iter().filter(|index| index.unique && !index.disabled);
    unique.any(|index| index.columns.iter().any(|c| c.column == column))
}

/// Whether a column refers to another table's key or unique index.
fn in_foreign_key(definition: &Definition, column: &str) -> bool {
    definition.foreign_keys.iter().any(|key| key.columns.iter().any(|c| **c == *column))
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
