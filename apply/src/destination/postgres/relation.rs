//! One target table as a source table version is written into it: names, types, key.

use std::sync::Arc;

use lockstep_common::{TableId, TableVersion};

use super::encode::Form;
use super::hazards::Hazards;
use super::plan::Projection;
use super::types::PgType;

/// A target table.
///
/// Its columns are those of its plan, in that order: rows and changes of the source go through
/// [`Relation::projection`] first.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// The source table's version.
    pub(super) id: TableId,
    /// The target table's number, which another table of its name does not have.
    pub(super) oid: u32,
    /// The source table's name, for messages and counts.
    pub(super) source: Arc<str>,
    /// Quoted, with its schema.
    pub(super) name: String,
    /// By the plan's order; none for a column the target leaves out.
    pub(super) columns: Vec<Option<TargetColumn>>,
    /// The key's columns in key order; empty for a table without one.
    pub(super) key: Vec<usize>,
    /// What of it may lose or alter rows.
    pub(super) hazards: Hazards,
    /// What makes the target's rows of the source's.
    pub(super) projection: Arc<Projection>,
    /// Derived columns of key columns that the target lacks, quoted: a table made by hand, or by a version that
    /// had none.
    pub(super) lacking: Vec<String>,
}

/// A column of a target table.
#[derive(Clone, Debug)]
pub(super) struct TargetColumn {
    /// Quoted.
    pub(super) name: String,
    /// Its type, and how values are written.
    pub(super) form: Form,
    /// The type's number in the target, and that of its array (0 for none).
    pub(super) oids: (u32, u32),
    /// The quoted schema of a type of an extension.
    pub(super) schema: Option<Arc<str>>,
    /// The collation, quoted with its schema, if it holds texts equal whose characters differ.
    pub(super) folding: Option<Arc<str>>,
    /// Part of the key.
    pub(super) key: bool,
    /// Rows are told apart by it: it is part of the key or of a unique index, or there is no key.
    pub(super) tells: bool,
    /// Part of the key, and without a place for the seventh fractional digit of its times.
    pub(super) cut: bool,
    /// Part of a unique index or exclusion constraint other than the key's: its values may pass
    /// through states that a row-by-row check refuses.
    pub(super) contested: bool,
}

impl Relation {
    /// The column, which statements name only when the target has it.
    pub(super) fn column(&self, index: usize) -> &TargetColumn {
        self.columns[index].as_ref().expect("shapes hold only columns that the target has")
    }

    /// Whether two keys that differ may be one in the target.
    pub(super) fn folds_keys(&self) -> bool {
        self.key.iter().any(|column| self.column(*column).folds())
    }

    /// Whether rows of different keys have nothing to do with each other.
    pub(super) fn tells_rows_by_key_alone(&self) -> bool {
        let contested = self.columns.iter().flatten().any(|column| column.contested);
        !self.key.is_empty() && !contested && !self.folds_keys()
    }
}

impl TargetColumn {
    pub(super) fn ty(&self) -> PgType {
        self.form.ty
    }

    /// Whether two values that differ may be equal in the target.
    pub(super) fn folds(&self) -> bool {
        self.folding.is_some() || self.ty() == PgType::Citext
    }

    /// Equality as the column's indexes have it. An operator of an extension is found wherever that was
    /// installed; without its schema another one, between other types, could be taken.
    pub(super) fn equals(&self, left: &str, right: &str) -> String {
        match (self.ty(), &self.schema) {
            (PgType::Citext, Some(schema)) => format!("{left} OPERATOR({schema}.=) {right}"),
            _ => format!("{left} = {right}"),
        }
    }

    /// Whether two values that are equal there are the same; none where equal ones always are.
    pub(super) fn spelt_alike(&self, left: &str, right: &str) -> Option<String> {
        self.folds().then(|| format!("{left}::text COLLATE \"C\" = {right}::text COLLATE \"C\""))
    }

    /// The same between two values that do not stand in the column.
    pub(super) fn equals_detached(&self, left: &str, right: &str) -> String {
        match &self.folding {
            Some(collation) => self.equals(left, &format!("({right} COLLATE {collation})")),
            None => self.equals(left, right),
        }
    }

    /// Equality that tells apart what PostgreSQL's own may not: 0 and -0, texts that a collation makes
    /// equal, digits of a JSON number. Where the plain comparison says more than nothing, it stays, so
    /// that an index can serve it.
    pub(super) fn identical(&self, parameter: usize) -> String {
        let name = &self.name;
        let plain = format!("{name} = ${parameter}");
        let sent = |function: &str| format!("{function}({name}) = {function}(${parameter})");
        let shown = format!("{name}::text = ${parameter}::text");
        let of_extension = |function: &str| match &self.schema {
            Some(schema) => sent(&format!("{schema}.{function}")),
            None => shown.clone(),
        };
        match self.ty() {
            PgType::Float4 => format!("({plain} AND {})", sent("float4send")),
            PgType::Float8 => format!("({plain} AND {})", sent("float8send")),
            PgType::Text | PgType::Varchar(_) | PgType::Char(_) => {
                format!("({plain} AND {name} COLLATE \"C\" = ${parameter} COLLATE \"C\")")
            }
            PgType::Jsonb => format!("({plain} AND {shown})"),
            PgType::Citext => {
                format!("{name}::text COLLATE \"C\" = ${parameter}::text COLLATE \"C\"")
            }
            PgType::Xml | PgType::Json | PgType::Vector(_) => shown,
            PgType::Reals => sent("array_send"),
            PgType::Geometry => of_extension("geometry_send"),
            PgType::Geography => of_extension("geography_send"),
            _ => plain,
        }
    }
}

/// Name of a source table for messages and counts.
pub(super) fn source_name(version: &TableVersion) -> Arc<str> {
    version.name.to_string().into()
}
