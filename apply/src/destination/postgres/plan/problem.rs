//! Why no table of PostgreSQL can stand for a source table.

use std::collections::HashMap;

use lockstep_common::model::name::quote_postgres;

use super::super::define::fit;
use super::TablePlan;

/// Names that no column of PostgreSQL can have.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// PostgreSQL's `INDEX_MAX_KEYS` and `MaxHeapAttributeNumber`.
const MOST_KEYS: usize = 32;
const MOST_COLUMNS: usize = 1600;

/// Names that are reserved or not names, two that are one, too many columns.
pub(super) fn unusable(plan: &TablePlan) -> Vec<String> {
    let mut wrong = Vec::new();
    let schema = plan.target.schema.as_str();
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
    let mut seen = HashMap::new();
    for column in &plan.columns {
        let name = column.name.as_str();
        if SYSTEM_COLUMNS.contains(&name) {
            wrong.push(format!(
                "column {} has a name that PostgreSQL keeps for itself: leave it out of the capture \
                 instance (@captured_column_list), or rename it",
                quote_postgres(name)
            ));
        }
        let source = column.column.name.as_str();
        if let Some(first) = seen.insert(name, source) {
            wrong.push(format!("columns {first} and {source} are both {}", quote_postgres(name)));
        }
    }
    let columns = plan.columns.len();
    if columns > MOST_COLUMNS {
        wrong.push(format!(
            "it has {columns} columns, a table of PostgreSQL at most {MOST_COLUMNS}"
        ));
    }
    if plan.key.len() > MOST_KEYS {
        wrong.push(format!(
            "its key has {} columns, those for the seventh fractional digits of its times among them, \
             and a key of PostgreSQL at most {MOST_KEYS}: let such times be text (`types`, `columns`)",
            plan.key.len()
        ));
    }
    wrong
}
