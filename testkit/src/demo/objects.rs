//! Indexes, constraints, defaults and identities: what the source has and what the target has, each
//! asked of its own catalogue.

use anyhow::{Context, Result};

use crate::oracle::Snapshot;
use crate::shape::Table;
use crate::source::Connection;

/// A kind of object, a query on the source and one on the target that count it.
type Kind = (&'static str, &'static str, &'static str);

/// `{tables}` stands for the list of the demo's tables.
const KINDS: &[Kind] = &[
    (
        "indexes",
        "SELECT COUNT(*) FROM sys.indexes i JOIN sys.tables t ON t.object_id = i.object_id \
         WHERE i.index_id > 0 AND t.name IN ({tables}) AND SCHEMA_NAME(t.schema_id) = N'dbo'",
        "SELECT count(*) FROM pg_index i WHERE i.indisvalid AND i.indrelid IN ({relations})",
    ),
    (
        "foreign keys",
        "SELECT COUNT(*) FROM sys.foreign_keys f JOIN sys.tables t \
         ON t.object_id = f.parent_object_id WHERE t.name IN ({tables})",
        "SELECT count(*) FROM pg_constraint \
         WHERE contype = 'f' AND convalidated AND conrelid IN ({relations})",
    ),
    (
        "checks",
        "SELECT COUNT(*) FROM sys.check_constraints c JOIN sys.tables t \
         ON t.object_id = c.parent_object_id WHERE t.name IN ({tables})",
        "SELECT count(*) FROM pg_constraint \
         WHERE contype = 'c' AND convalidated AND conrelid IN ({relations})",
    ),
    (
        "defaults",
        "SELECT COUNT(*) FROM sys.default_constraints d JOIN sys.tables t \
         ON t.object_id = d.parent_object_id WHERE t.name IN ({tables})",
        "SELECT count(*) FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid \
         AND a.attnum = d.adnum WHERE a.attgenerated = '' AND d.adrelid IN ({relations})",
    ),
    (
        "identities",
        "SELECT COUNT(*) FROM sys.identity_columns i JOIN sys.tables t \
         ON t.object_id = i.object_id WHERE t.name IN ({tables})",
        "SELECT count(*) FROM pg_attribute WHERE attidentity <> '' AND attrelid IN ({relations})",
    ),
];

/// What was compared, in words, and what is not equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    pub(super) equal: String,
    pub(super) different: Vec<String>,
}

/// Counts the objects of `tables` on both sides.
pub(super) async fn compare(
    source: &mut Connection,
    target: &Snapshot,
    tables: &[Table],
) -> Result<Objects> {
    let quoted = |with: &dyn Fn(&str) -> String| {
        tables.iter().map(|table| with(&table.name)).collect::<Vec<_>>().join(", ")
    };
    let names = quoted(&|name| format!("N'{name}'"));
    let relations = quoted(&|name| format!("to_regclass('dbo.\"{name}\"')"));
    let (mut equal, mut different) = (Vec::new(), Vec::new());
    for (kind, of_source, of_target) in KINDS {
        let in_source = source.integer(&of_source.replace("{tables}", &names)).await?;
        let in_source = in_source.context("a count is a number")?.to_string();
        let in_target = target.text(&of_target.replace("{relations}", &relations)).await?;
        if in_source == in_target {
            equal.push(format!("{in_source} {kind}"));
        } else {
            different.push(format!("the source has {in_source} {kind}, the target {in_target}"));
        }
    }
    Ok(Objects { equal: equal.join(", "), different })
}
