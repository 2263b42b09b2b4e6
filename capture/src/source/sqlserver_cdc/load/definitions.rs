//! What tables have beside their shapes, from the catalogue: a few statements for a hundred tables.
//!
//! The catalogue shows what the login has a right on. With SELECT on a table it shows that a check, a
//! default or a computed column is there, and its text only with VIEW DEFINITION. What cannot be
//! seen is told among the definition's `others`, never passed over in silence and never an error.
//! So is what names a column that is not captured: the target does not have it.

use std::collections::HashMap;

use lockstep_common::model::definition::{
    Check, ColumnDefinition, Definition, ForeignKey, Identity, Index, IndexColumn, IndexKind,
    OtherObject, Referential,
};
use lockstep_common::{Failure, TableName};

use super::super::connection::Lease;
use super::super::fields::Fields;
use crate::source::Table;

/// Tables asked for in one batch.
const AT_ONCE: usize = 100;

/// Reads the definitions of `tables`.
pub async fn read(lease: &mut Lease, tables: &[Table]) -> Result<Vec<Definition>, Failure> {
    let mut definitions = Vec::with_capacity(tables.len());
    for some in tables.chunks(AT_ONCE) {
        let objects: Vec<String> =
            some.iter().map(|table| table.version.object_id.to_string()).collect();
        let results = lease.batch(&batch(&objects.join(", ")), "read the definitions").await?;
        let mut builders: HashMap<i64, Builder> =
            some.iter().map(|table| (table.version.object_id, Builder::new(table))).collect();
        if results.len() != PARTS.len() {
            return Err(super::super::wrong_results("read the definitions"));
        }
        for ((of, handle), rows) in PARTS.into_iter().zip(&results) {
            for row in rows {
                let fields = Fields::new(row, of);
                if let Some(builder) = builders.get_mut(&fields.integer::<i64>("table_id")?) {
                    handle(builder, fields)?;
                }
            }
        }
        for table in some {
            if let Some(builder) = builders.remove(&table.version.object_id) {
                definitions.push(builder.finish());
            }
        }
    }
    Ok(definitions)
}

type Handle = fn(&mut Builder, Fields<'_>) -> Result<(), Failure>;

/// The batch's results, in its order.
const PARTS: [(&str, Handle); 10] = [
    ("sys.tables", Builder::table),
    ("sys.identity_columns", Builder::identity),
    ("sys.default_constraints", Builder::default),
    ("sys.computed_columns", Builder::computed),
    ("sys.indexes", Builder::index),
    ("sys.index_columns", Builder::index_column),
    ("sys.foreign_keys", Builder::foreign_key),
    ("sys.foreign_key_columns", Builder::foreign_key_column),
    ("sys.check_constraints", Builder::check),
    ("sys.triggers", Builder::trigger),
];

fn batch(objects: &str) -> String {
    [
        // Tables that are more than tables; partitions are public where dm_db_partition_stats is not.
        format!(
            "SELECT t.object_id AS table_id, t.temporal_type, t.is_memory_optimized, \
             (SELECT COUNT(*) FROM sys.partitions AS p WHERE p.object_id = t.object_id \
             AND p.index_id IN (0, 1)) AS partitions \
             FROM sys.tables AS t WHERE t.object_id IN ({objects})"
        ),
        format!(
            "SELECT c.object_id AS table_id, c.name, \
             TRY_CAST(c.seed_value AS bigint) AS seed, \
             TRY_CAST(c.increment_value AS bigint) AS increment \
             FROM sys.identity_columns AS c WHERE c.object_id IN ({objects})"
        ),
        format!(
            "SELECT d.parent_object_id AS table_id, c.name AS column_name, d.definition \
             FROM sys.default_constraints AS d INNER JOIN sys.columns AS c \
             ON c.object_id = d.parent_object_id AND c.column_id = d.parent_column_id \
             WHERE d.parent_object_id IN ({objects}) ORDER BY d.parent_object_id, c.column_id"
        ),
        format!(
            "SELECT c.object_id AS table_id, c.name, c.definition, c.is_persisted \
             FROM sys.computed_columns AS c WHERE c.object_id IN ({objects}) \
             ORDER BY c.object_id, c.column_id"
        ),
        format!(
            "SELECT i.object_id AS table_id, i.index_id, i.name, i.type, i.type_desc, i.is_unique, \
             i.is_primary_key, i.is_unique_constraint, i.is_disabled, i.has_filter, \
             i.filter_definition FROM sys.indexes AS i \
             WHERE i.index_id > 0 AND i.is_hypothetical = 0 AND i.object_id IN ({objects}) \
             ORDER BY i.object_id, i.index_id"
        ),
        format!(
            "SELECT k.object_id AS table_id, k.index_id, c.name, k.is_descending_key, \
             k.is_included_column, k.key_ordinal \
             FROM sys.index_columns AS k INNER JOIN sys.columns AS c \
             ON c.object_id = k.object_id AND c.column_id = k.column_id \
             WHERE k.object_id IN ({objects}) \
             ORDER BY k.object_id, k.index_id, k.key_ordinal, k.index_column_id"
        ),
        format!(
            "SELECT f.parent_object_id AS table_id, f.object_id AS key_id, f.name, \
             OBJECT_SCHEMA_NAME(f.referenced_object_id) AS referenced_schema, \
             OBJECT_NAME(f.referenced_object_id) AS referenced_table, \
             f.delete_referential_action, f.update_referential_action, f.is_disabled, \
             f.is_not_trusted FROM sys.foreign_keys AS f \
             WHERE f.parent_object_id IN ({objects}) ORDER BY f.parent_object_id, f.name"
        ),
        format!(
            "SELECT k.parent_object_id AS table_id, k.constraint_object_id AS key_id, \
             COL_NAME(k.parent_object_id, k.parent_column_id) AS column_name, \
             COL_NAME(k.referenced_object_id, k.referenced_column_id) AS referenced_column \
             FROM sys.foreign_key_columns AS k WHERE k.parent_object_id IN ({objects}) \
             ORDER BY k.constraint_object_id, k.constraint_column_id"
        ),
        format!(
            "SELECT k.parent_object_id AS table_id, k.name, k.definition, k.is_disabled, \
             k.is_not_trusted FROM sys.check_constraints AS k \
             WHERE k.parent_object_id IN ({objects}) ORDER BY k.parent_object_id, k.name"
        ),
        format!(
            "SELECT t.parent_id AS table_id, t.name, t.type_desc FROM sys.triggers AS t \
             WHERE t.parent_id IN ({objects}) ORDER BY t.parent_id, t.name"
        ),
    ]
    .join("; ")
}

/// A foreign key whose columns come later.
struct Key {
    id: i64,
    key: Option<ForeignKey>,
    name: String,
    columns: Vec<Option<String>>,
    referenced: Vec<Option<String>>,
}

struct Builder {
    definition: Definition,
    /// Names of the table version's columns.
    columns: Vec<String>,
    indexes: Vec<(i64, Index)>,
    keys: Vec<Key>,
}

impl Builder {
    fn new(table: &Table) -> Self {
        Builder {
            definition: Definition {
                table: table.id,
                name: table.version.name.clone(),
                columns: Vec::new(),
                indexes: Vec::new(),
                foreign_keys: Vec::new(),
                checks: Vec::new(),
                others: Vec::new(),
            },
            columns: table.version.columns.iter().map(|column| column.name.clone()).collect(),
            indexes: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn other(&mut self, kind: impl Into<String>, name: impl Into<String>) {
        self.definition.others.push(OtherObject { kind: kind.into(), name: name.into() });
    }

    /// The definition of a captured column.
    fn column(&mut self, name: String) -> Option<&mut ColumnDefinition> {
        if !self.columns.contains(&name) {
            return None;
        }
        let columns = &mut self.definition.columns;
        let at = columns.iter().position(|column| column.column == name).unwrap_or_else(|| {
            columns.push(ColumnDefinition { column: name, ..ColumnDefinition::default() });
            columns.len() - 1
        });
        columns.get_mut(at)
    }

    fn table(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let name = self.definition.name.to_string();
        if fields.number("temporal_type")?.is_some_and(|ty| ty != 0) {
            self.other("SYSTEM_VERSIONED_TEMPORAL_TABLE", &name);
        }
        if fields.flag("is_memory_optimized")? {
            self.other("MEMORY_OPTIMIZED_TABLE", &name);
        }
        if fields.number("partitions")?.is_some_and(|partitions| partitions > 1) {
            self.other("PARTITIONED_TABLE", &name);
        }
        Ok(())
    }

    fn identity(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let name = fields.name("name")?;
        let (seed, increment) = (fields.number("seed")?, fields.number("increment")?);
        match (seed, increment.filter(|increment| *increment != 0)) {
            (Some(seed), Some(increment)) => {
                if let Some(column) = self.column(name) {
                    column.identity = Some(Identity { seed, increment });
                }
            }
            _ => self.other("IDENTITY (beyond bigint, or not visible)", name),
        }
        Ok(())
    }

    fn default(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let name = fields.name("column_name")?;
        match fields.text("definition")? {
            None => self.invisible("DEFAULT", name),
            definition => {
                if let Some(column) = self.column(name) {
                    column.default = definition;
                }
            }
        }
        Ok(())
    }

    fn computed(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let (name, persisted) = (fields.name("name")?, fields.flag("is_persisted")?);
        match fields.text("definition")? {
            None => self.invisible("COMPUTED COLUMN", name),
            definition => match self.column(name.clone()) {
                Some(column) => {
                    column.computed = definition;
                    column.persisted = persisted;
                }
                None => self.other("COMPUTED COLUMN (not captured)", name),
            },
        }
        Ok(())
    }

    fn invisible(&mut self, kind: &str, name: String) {
        self.other(format!("{kind} (not visible: GRANT VIEW DEFINITION on the table)"), name);
    }

    fn index(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let name = fields.text("name")?.unwrap_or_default();
        // Rows in order of a tree: clustered or not. The rest (XML, spatial, columnstore, hash) has
        // no keys that say it all.
        if !matches!(fields.number("type")?, Some(1 | 2)) {
            let kind = fields.text("type_desc")?.unwrap_or_default();
            self.other(kind, name);
            return Ok(());
        }
        let filter = fields.text("filter_definition")?;
        if fields.flag("has_filter")? && filter.is_none() {
            self.invisible("FILTERED INDEX", name);
            return Ok(());
        }
        let kind = if fields.flag("is_primary_key")? {
            IndexKind::Primary
        } else if fields.flag("is_unique_constraint")? {
            IndexKind::Constraint
        } else {
            IndexKind::Plain
        };
        let index = Index {
            name,
            kind,
            unique: fields.flag("is_unique")?,
            columns: Vec::new(),
            included: Vec::new(),
            filter,
            disabled: fields.flag("is_disabled")?,
        };
        self.indexes.push((fields.integer("index_id")?, index));
        Ok(())
    }

    fn index_column(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let id: i64 = fields.integer("index_id")?;
        let Some((_, index)) = self.indexes.iter_mut().find(|(other, _)| *other == id) else {
            return Ok(());
        };
        let name = fields.name("name")?;
        if fields.flag("is_included_column")? {
            index.included.push(name);
        // 0 for a column that is there for the partitioning alone.
        } else if fields.number("key_ordinal")? != Some(0) {
            let descending = fields.flag("is_descending_key")?;
            index.columns.push(IndexColumn { column: name, descending });
        }
        Ok(())
    }

    fn foreign_key(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let name = fields.name("name")?;
        let referenced = (fields.text("referenced_schema")?, fields.text("referenced_table")?);
        let key = match referenced {
            (Some(schema), Some(table)) => Some(ForeignKey {
                name: name.clone(),
                columns: Vec::new(),
                referenced: TableName { schema, table },
                referenced_columns: Vec::new(),
                on_delete: referential(fields.number("delete_referential_action")?),
                on_update: referential(fields.number("update_referential_action")?),
                disabled: fields.flag("is_disabled")?,
                unchecked: fields.flag("is_not_trusted")?,
            }),
            _ => None,
        };
        let id = fields.integer("key_id")?;
        self.keys.push(Key { id, key, name, columns: Vec::new(), referenced: Vec::new() });
        Ok(())
    }

    fn foreign_key_column(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let id: i64 = fields.integer("key_id")?;
        if let Some(key) = self.keys.iter_mut().find(|key| key.id == id) {
            key.columns.push(fields.text("column_name")?);
            key.referenced.push(fields.text("referenced_column")?);
        }
        Ok(())
    }

    fn check(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let name = fields.name("name")?;
        match fields.text("definition")? {
            None => self.invisible("CHECK", name),
            Some(condition) => self.definition.checks.push(Check {
                name,
                condition,
                disabled: fields.flag("is_disabled")?,
                unchecked: fields.flag("is_not_trusted")?,
            }),
        }
        Ok(())
    }

    fn trigger(&mut self, fields: Fields<'_>) -> Result<(), Failure> {
        let kind = fields.text("type_desc")?.unwrap_or_default();
        self.other(kind, fields.name("name")?);
        Ok(())
    }

    fn finish(mut self) -> Definition {
        for (_, index) in std::mem::take(&mut self.indexes) {
            let keys = index.columns.iter().map(|column| &column.column);
            let missing = self.missing(keys.chain(&index.included));
            if index.columns.is_empty() {
                self.other("INDEX (its columns are not visible)", index.name);
            } else if missing.is_empty() {
                self.definition.indexes.push(index);
            } else {
                self.other(format!("INDEX (columns not captured: {missing})"), index.name);
            }
        }
        for key in std::mem::take(&mut self.keys) {
            let columns: Option<Vec<String>> = key.columns.into_iter().collect();
            let referenced: Option<Vec<String>> = key.referenced.into_iter().collect();
            match (key.key, columns, referenced) {
                (Some(mut found), Some(columns), Some(referenced)) if !columns.is_empty() => {
                    let missing = self.missing(columns.iter());
                    if missing.is_empty() {
                        found.columns = columns;
                        found.referenced_columns = referenced;
                        self.definition.foreign_keys.push(found);
                    } else {
                        let kind = format!("FOREIGN KEY (columns not captured: {missing})");
                        self.other(kind, key.name);
                    }
                }
                _ => self.other("FOREIGN KEY (the table it points to is not visible)", key.name),
            }
        }
        self.definition
    }

    /// Columns that are not captured, for people.
    fn missing<'a>(&self, columns: impl Iterator<Item = &'a String>) -> String {
        let missing = columns.filter(|column| !self.columns.contains(column));
        missing.map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn referential(action: Option<i64>) -> Referential {
    match action {
        Some(1) => Referential::Cascade,
        Some(2) => Referential::SetNull,
        Some(3) => Referential::SetDefault,
        _ => Referential::NoAction,
    }
}
