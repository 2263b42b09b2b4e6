//! Keys, foreign keys, checks and defaults.

use super::definition::{Columns, Definition, Desc, Text, ViewOf, on_null};
use super::objects::{Kind, Object, definition_text, object_columns};
use super::source::Catalog;
use super::{Table, default_constraint_id};
use crate::SqlError;
use crate::storage::{ColumnId, ForeignKeyDef, IndexId, IndexKind, ObjectId, ReferentialAction};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("key_constraints", key_columns, keys),
    &ViewOf::sys("check_constraints", check_columns, checks),
    &ViewOf::sys("default_constraints", default_columns, defaults),
    &ViewOf::sys("foreign_keys", foreign_key_columns, foreign_keys),
    &ViewOf::sys("foreign_key_columns", reference_columns, references),
];

/// Whether a constraint's name looks made by the server: `PK__orders__3213E83F5C2B7A11`.
fn is_system_named(object: &Object) -> bool {
    let Some((head, tail)) = object.name.rsplit_once("__") else {
        return false;
    };
    let prefix = head.get(..4).unwrap_or_default().to_ascii_uppercase();
    matches!(&*prefix, "PK__" | "UQ__" | "CK__" | "DF__" | "FK__")
        && matches!(tail.len(), 8 | 16)
        && tail.bytes().all(|byte| byte.is_ascii_hexdigit())
}

struct Key {
    object: Object,
    index: IndexId,
}

fn keys(catalog: &Catalog<'_>) -> Result<Vec<Key>, SqlError> {
    let of_table = |table: &Table| {
        let keys = table.indexes.iter().filter_map(|index| {
            let kind = match index.kind {
                IndexKind::PrimaryKey => Kind::PrimaryKey,
                IndexKind::UniqueConstraint => Kind::Unique,
                IndexKind::Index => return None,
            };
            let id = index.constraint_id;
            let object = Object::within(catalog, table, kind, id, &index.name);
            Some(Key { object, index: index.id })
        });
        keys.collect::<Vec<_>>()
    };
    Ok(catalog.of_tables(of_table))
}

fn key_columns() -> Columns<Key> {
    Columns::new()
        .extend(object_columns(), |k: &Key| &k.object)
        .add("unique_index_id", |k| Some(k.index))
        .add("is_system_named", |k| is_system_named(&k.object))
        .add("is_enforced", on_null)
}

/// A constraint with an expression.
struct Expression {
    object: Object,
    /// 0 for a constraint of the table.
    column: ColumnId,
    definition: Option<Text>,
    disabled: bool,
    not_trusted: bool,
    not_for_replication: bool,
}

impl Expression {
    fn definition(&self) -> Option<Text> {
        self.definition.as_ref().map(|text| Text(text.0.clone()))
    }
}

fn checks(catalog: &Catalog<'_>) -> Result<Vec<Expression>, SqlError> {
    let of_table = |table: &Table| {
        let checks = table.checks.iter().map(|check| Expression {
            object: Object::within(catalog, table, Kind::Check, check.id, &check.name),
            column: 0,
            definition: definition_text(catalog, table, &check.definition),
            disabled: check.disabled,
            not_trusted: check.not_trusted,
            not_for_replication: check.not_for_replication,
        });
        checks.collect::<Vec<_>>()
    };
    Ok(catalog.of_tables(of_table))
}

fn check_columns() -> Columns<Expression> {
    Columns::new()
        .extend(object_columns(), |c: &Expression| &c.object)
        .add("is_disabled", |c| c.disabled)
        .add("is_not_for_replication", |c| c.not_for_replication)
        .add("is_not_trusted", |c| c.not_trusted)
        .add("parent_column_id", |c| c.column)
        .add("definition", Expression::definition)
        .add("uses_database_collation", on_null)
        .add("is_system_named", |c| is_system_named(&c.object))
}

fn defaults(catalog: &Catalog<'_>) -> Result<Vec<Expression>, SqlError> {
    let of_table = |table: &Table| {
        let defaults = table.columns.iter().filter_map(|column| {
            let default = column.default.as_ref()?;
            let id = default_constraint_id(table.id, column.id);
            Some(Expression {
                object: Object::within(catalog, table, Kind::Default, id, &default.name),
                column: column.id,
                definition: definition_text(catalog, table, &default.definition),
                disabled: false,
                not_trusted: false,
                not_for_replication: false,
            })
        });
        defaults.collect::<Vec<_>>()
    };
    Ok(catalog.of_tables(of_table))
}

fn default_columns() -> Columns<Expression> {
    Columns::new()
        .extend(object_columns(), |d: &Expression| &d.object)
        .add("parent_column_id", |d| d.column)
        .add("definition", Expression::definition)
        .add("is_system_named", |d| is_system_named(&d.object))
}

struct ForeignKey {
    object: Object,
    key: ForeignKeyDef,
    /// Index of the referenced table that makes its columns unique.
    referenced_index: Option<IndexId>,
}

fn foreign_keys(catalog: &Catalog<'_>) -> Result<Vec<ForeignKey>, SqlError> {
    let all = catalog.txn.tables();
    let of_table = |table: &Table| {
        let keys = table.foreign_keys.iter().map(|key| ForeignKey {
            object: Object::within(catalog, table, Kind::ForeignKey, key.id, &key.name),
            key: key.clone(),
            referenced_index: referenced_index(&all, key).map(|(_, id)| id),
        });
        keys.collect::<Vec<_>>()
    };
    Ok(catalog.of_tables(of_table))
}

/// The key that a foreign key refers to: its name and `index_id`.
pub(super) fn referenced_index(tables: &[Table], key: &ForeignKeyDef) -> Option<(String, IndexId)> {
    let table = tables.iter().find(|table| table.id == key.referenced_table)?;
    let mut wanted = key.referenced_columns.clone();
    wanted.sort_unstable();
    let index = table.indexes.iter().filter(|index| index.is_key()).find(|index| {
        let mut columns: Vec<ColumnId> = index.keys.iter().map(|key| key.column).collect();
        columns.sort_unstable();
        columns == wanted
    })?;
    Some((index.name.clone(), index.id))
}

fn action(action: ReferentialAction) -> (u8, &'static str) {
    match action {
        ReferentialAction::NoAction => (0, "NO_ACTION"),
        ReferentialAction::Cascade => (1, "CASCADE"),
        ReferentialAction::SetNull => (2, "SET_NULL"),
        ReferentialAction::SetDefault => (3, "SET_DEFAULT"),
    }
}

fn foreign_key_columns() -> Columns<ForeignKey> {
    Columns::new()
        .extend(object_columns(), |f: &ForeignKey| &f.object)
        .add("referenced_object_id", |f| Some(f.key.referenced_table))
        .add("key_index_id", |f| f.referenced_index)
        .add("is_disabled", |f| f.key.disabled)
        .add("is_not_for_replication", |f| f.key.not_for_replication)
        .add("is_not_trusted", |f| f.key.not_trusted)
        .add("delete_referential_action", |f| Some(action(f.key.on_delete).0))
        .add("delete_referential_action_desc", |f| Some(Desc(action(f.key.on_delete).1)))
        .add("update_referential_action", |f| Some(action(f.key.on_update).0))
        .add("update_referential_action_desc", |f| Some(Desc(action(f.key.on_update).1)))
        .add("is_system_named", |f| is_system_named(&f.object))
}

/// A pair of columns of a foreign key.
struct Reference {
    constraint: ObjectId,
    /// From 1.
    id: i32,
    table: ObjectId,
    column: ColumnId,
    referenced_table: ObjectId,
    referenced_column: ColumnId,
}

fn references(catalog: &Catalog<'_>) -> Result<Vec<Reference>, SqlError> {
    let of_key = |table: ObjectId, key: &ForeignKeyDef| {
        let pairs = key.columns.iter().zip(&key.referenced_columns);
        let numbered = (1..).zip(pairs).map(|(id, (column, referenced_column))| Reference {
            constraint: key.id,
            id,
            table,
            column: *column,
            referenced_table: key.referenced_table,
            referenced_column: *referenced_column,
        });
        numbered.collect::<Vec<_>>()
    };
    Ok(catalog.of_tables(|table| {
        table.foreign_keys.iter().flat_map(|key| of_key(table.id, key)).collect::<Vec<_>>()
    }))
}

fn reference_columns() -> Columns<Reference> {
    Columns::new()
        .add("constraint_object_id", |r: &Reference| r.constraint)
        .add("constraint_column_id", |r| r.id)
        .add("parent_object_id", |r| r.table)
        .add("parent_column_id", |r| r.column)
        .add("referenced_object_id", |r| r.referenced_table)
        .add("referenced_column_id", |r| r.referenced_column)
}
