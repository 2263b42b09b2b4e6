//! One target table as a source table version is written into it: names, types, key.

use std::sync::Arc;

use lockstep_common::{TableId, TableVersion};

use super::types::PgType;

/// A target table.
#[derive(Debug)]
pub(super) struct Relation {
    /// The source table's version.
    pub(super) id: TableId,
    /// The source table's name, for messages and counts.
    pub(super) source: Arc<str>,
    /// Quoted, with its schema.
    pub(super) name: String,
    /// By the source's column order; none for a column the target leaves out.
    pub(super) columns: Vec<Option<TargetColumn>>,
    /// The key's columns in key order; empty for a table without one.
    pub(super) key: Vec<usize>,
}

/// A column of a target table.
#[derive(Clone, Debug)]
pub(super) struct TargetColumn {
    /// Quoted.
    pub(super) name: String,
    pub(super) ty: PgType,
    /// Part of the key.
    pub(super) key: bool,
    /// Part of a unique index or exclusion constraint other than the key's: its values may pass
    /// through states that a row-by-row check refuses.
    pub(super) contested: bool,
}

impl Relation {
    /// The column, which statements name only when the target has it.
    pub(super) fn column(&self, index: usize) -> &TargetColumn {
        self.columns[index].as_ref().expect("shapes hold only columns that the target has")
    }
}

/// Name of a source table for messages and counts.
pub(super) fn source_name(version: &TableVersion) -> Arc<str> {
    version.name.to_string().into()
}
