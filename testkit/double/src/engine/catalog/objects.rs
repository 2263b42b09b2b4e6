//! `sys.objects` and the views that add to it.

use std::sync::Arc;

use super::definition::{
    At, Code, Columns, Definition, Desc, Name, Text, ViewOf, null, off, off_null,
};
use super::source::Catalog;
use super::{Table, default_constraint_id, system_object_id};
use crate::SqlError;
use crate::storage::{IndexKind, Micros, ModuleKind, ObjectId, TableDef};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("objects", object_columns, user_objects),
    &ViewOf::sys("all_objects", object_columns, all_objects),
    &ViewOf::sys("tables", table_columns, tables),
    &ViewOf::sys("views", view_columns, views),
];

/// `schema_id` of `sys`.
const SYS: i32 = 4;

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    View,
    Procedure,
    Function,
    Policy,
    Sequence,
    PrimaryKey,
    Unique,
    ForeignKey,
    Check,
    Default,
}

/// What a stored object is.
fn kind_of(object: &TableDef) -> Kind {
    match object.module.as_ref().map(|module| module.kind) {
        None => Kind::Table,
        Some(ModuleKind::View) => Kind::View,
        Some(ModuleKind::Procedure) => Kind::Procedure,
        Some(ModuleKind::Function) => Kind::Function,
        Some(ModuleKind::Policy) => Kind::Policy,
        Some(ModuleKind::Sequence) => Kind::Sequence,
    }
}

/// `type` of a stored object in `sys.objects`, without blanks.
pub fn kind_code(object: &TableDef) -> &'static str {
    kind_of(object).code()
}

impl Kind {
    pub(super) fn code(self) -> &'static str {
        match self {
            Kind::Table => "U",
            Kind::View => "V",
            Kind::Procedure => "P",
            Kind::Function => "IF",
            Kind::Policy => "SP",
            Kind::Sequence => "SO",
            Kind::PrimaryKey => "PK",
            Kind::Unique => "UQ",
            Kind::ForeignKey => "F",
            Kind::Check => "C",
            Kind::Default => "D",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Kind::Table => "USER_TABLE",
            Kind::View => "VIEW",
            Kind::Procedure => "SQL_STORED_PROCEDURE",
            Kind::Function => "SQL_INLINE_TABLE_VALUED_FUNCTION",
            Kind::Policy => "SECURITY_POLICY",
            Kind::Sequence => "SEQUENCE_OBJECT",
            Kind::PrimaryKey => "PRIMARY_KEY_CONSTRAINT",
            Kind::Unique => "UNIQUE_CONSTRAINT",
            Kind::ForeignKey => "FOREIGN_KEY_CONSTRAINT",
            Kind::Check => "CHECK_CONSTRAINT",
            Kind::Default => "DEFAULT_CONSTRAINT",
        }
    }
}

/// A row of `sys.objects`.
#[derive(Clone)]
pub(super) struct Object {
    pub id: ObjectId,
    pub name: String,
    pub kind: Kind,
    pub schema_id: i32,
    pub parent: ObjectId,
    pub created: Micros,
    pub modified: Micros,
    pub ms_shipped: bool,
}

impl Object {
    pub fn of_table(catalog: &Catalog<'_>, table: &Table) -> Object {
        Object {
            id: table.id,
            name: table.name.clone(),
            kind: kind_of(table),
            schema_id: catalog.schema_id(&table.schema),
            parent: 0,
            created: table.create_date,
            modified: table.modify_date,
            ms_shipped: table.ms_shipped,
        }
    }

    /// A constraint of a table.
    pub fn within(
        catalog: &Catalog<'_>,
        table: &Table,
        kind: Kind,
        id: ObjectId,
        name: &str,
    ) -> Object {
        Object {
            id,
            name: name.to_owned(),
            kind,
            parent: table.id,
            ..Object::of_table(catalog, table)
        }
    }
}

/// A table and everything of it that has an `object_id` of its own.
fn with_constraints(catalog: &Catalog<'_>, table: &Table) -> Vec<Object> {
    let within = |kind, id, name: &str| Object::within(catalog, table, kind, id, name);
    let keys = table.indexes.iter().filter_map(|index| {
        let kind = match index.kind {
            IndexKind::PrimaryKey => Kind::PrimaryKey,
            IndexKind::UniqueConstraint => Kind::Unique,
            IndexKind::Index => return None,
        };
        Some(within(kind, index.constraint_id, &index.name))
    });
    let checks = table.checks.iter().map(|check| within(Kind::Check, check.id, &check.name));
    let foreign = table.foreign_keys.iter().map(|key| within(Kind::ForeignKey, key.id, &key.name));
    let defaults = table.columns.iter().filter_map(|column| {
        let default = column.default.as_ref()?;
        Some(within(Kind::Default, default_constraint_id(table.id, column.id), &default.name))
    });
    [Object::of_table(catalog, table)]
        .into_iter()
        .chain(keys)
        .chain(checks)
        .chain(foreign)
        .chain(defaults)
        .collect()
}

pub(super) fn user_objects(catalog: &Catalog<'_>) -> Result<Vec<Object>, SqlError> {
    Ok(catalog.objects().iter().flat_map(|object| with_constraints(catalog, object)).collect())
}

/// The catalogue views of schema `sys`, which everybody sees.
fn all_objects(catalog: &Catalog<'_>) -> Result<Vec<Object>, SqlError> {
    let created = catalog.storage.database("master").map_or(0, |master| master.info().create_date);
    let system = super::all().filter(|view| view.schema() == "sys").map(|view| Object {
        id: system_object_id(view.name()),
        name: view.name().to_owned(),
        kind: Kind::View,
        schema_id: SYS,
        parent: 0,
        created,
        modified: created,
        ms_shipped: true,
    });
    Ok(user_objects(catalog)?.into_iter().chain(system).collect())
}

/// The columns that every view of objects begins with.
pub(super) fn object_columns() -> Columns<Object> {
    Columns::new()
        .add("name", |o: &Object| Name(o.name.clone()))
        .add("object_id", |o| o.id)
        .add("principal_id", null::<_, i32>)
        .add("schema_id", |o| o.schema_id)
        .add("parent_object_id", |o| o.parent)
        .add("type", |o| Some(Code::<2>(o.kind.code())))
        .add("type_desc", |o| Some(Desc(o.kind.description())))
        .add("create_date", |o| At(o.created))
        .add("modify_date", |o| At(o.modified))
        .add("is_ms_shipped", |o| o.ms_shipped)
        .add("is_published", off)
        .add("is_schema_published", off)
}

struct TableObject {
    object: Object,
    table: Table,
}

fn tables(catalog: &Catalog<'_>) -> Result<Vec<TableObject>, SqlError> {
    let tables = catalog.tables();
    Ok(tables
        .iter()
        .map(|table| TableObject {
            object: Object::of_table(catalog, table),
            table: Arc::clone(table),
        })
        .collect())
}

fn table_columns() -> Columns<TableObject> {
    Columns::new()
        .extend(object_columns(), |t: &TableObject| &t.object)
        .add("lob_data_space_id", |t| {
            // Where there is anything to put there.
            let any = t.table.columns.iter().any(|column| column.ty.is_max());
            if any { t.table.lob_space } else { 0 }
        })
        .add("filestream_data_space_id", null::<_, i32>)
        .add("max_column_id_used", |t| t.table.next_column_id - 1)
        .add("lock_on_bulk_load", off)
        .add("uses_ansi_nulls", |t| Some(!t.table.ansi_nulls_off))
        .add_each(
            &[
                "is_replicated",
                "has_replication_filter",
                "is_merge_published",
                "is_sync_tran_subscribed",
            ],
            off_null,
        )
        .add("has_unchecked_assembly_data", off)
        .add("text_in_row_limit", |_| Some(0))
        .add("large_value_types_out_of_row", off_null)
        .add("is_tracked_by_cdc", |t| Some(t.table.tracked_by_cdc()))
        .add("lock_escalation", |_| Some(0_u8))
        .add("lock_escalation_desc", |_| Some(Desc("TABLE")))
        .add_each(&["is_filetable", "is_memory_optimized"], off_null)
        .add("durability", |_| Some(0_u8))
        .add("durability_desc", |_| Some(Desc("SCHEMA_AND_DATA")))
        .add("temporal_type", |_| Some(0_u8))
        .add("temporal_type_desc", |_| Some(Desc("NON_TEMPORAL_TABLE")))
        .add("history_table_id", null::<_, i32>)
        .add("is_remote_data_archive_enabled", off_null)
        .add("is_external", off)
        .add_each(&["history_retention_period", "history_retention_period_unit"], null::<_, i32>)
        .add("history_retention_period_unit_desc", null::<_, super::definition::NVar<10>>)
        .add_each(&["is_node", "is_edge"], off_null)
        .add_each(&["data_retention_period", "data_retention_period_unit"], |_| Some(-1))
        .add("data_retention_period_unit_desc", |_| {
            Some(super::definition::NVar::<10>("INFINITE".to_owned()))
        })
        .add("ledger_type", |_| Some(0_u8))
        .add("ledger_type_desc", |_| Some(Desc("NON_LEDGER_TABLE")))
        .add("ledger_view_id", null::<_, i32>)
        .add("is_dropped_ledger_table", off_null)
}

/// Views and procedures with their text.
pub(super) struct ModuleObject {
    pub object: Object,
    pub def: Table,
    /// The text, if its reader may see it.
    pub definition: Option<String>,
}

/// Those of one kind, or all.
pub(super) fn modules(catalog: &Catalog<'_>, kind: Option<ModuleKind>) -> Vec<ModuleObject> {
    let of = |def: Table| {
        let module = def.module.as_ref().filter(|module| match kind {
            Some(kind) => kind == module.kind,
            None => !matches!(module.kind, ModuleKind::Policy | ModuleKind::Sequence),
        })?;
        let shown = catalog.sees_definitions(&def);
        Some(ModuleObject {
            object: Object::of_table(catalog, &def),
            definition: shown.then(|| module.definition.clone()),
            def: Arc::clone(&def),
        })
    };
    catalog.objects().into_iter().filter_map(of).collect()
}

fn views(catalog: &Catalog<'_>) -> Result<Vec<ModuleObject>, SqlError> {
    Ok(modules(catalog, Some(ModuleKind::View)))
}

fn view_columns() -> Columns<ModuleObject> {
    Columns::new()
        .extend(object_columns(), |v: &ModuleObject| &v.object)
        .add_each(
            &[
                "is_replicated",
                "has_replication_filter",
                "has_opaque_metadata",
                "has_unchecked_assembly_data",
            ],
            off,
        )
        .add("with_check_option", |v| v.def.module.as_ref().is_some_and(|m| m.check_option))
        .add("is_date_correlation_view", off)
        .add("is_tracked_by_cdc", off_null)
        .add("has_snapshot", off_null)
        .add("ledger_view_type", |_| Some(0_u8))
        .add("ledger_view_type_desc", |_| Some(Desc("NON_LEDGER_VIEW")))
        .add("is_dropped_ledger_view", off_null)
}

/// The text of an expression, for those who may see it.
pub(super) fn definition_text(catalog: &Catalog<'_>, table: &Table, text: &str) -> Option<Text> {
    catalog.sees_definitions(table).then(|| Text(text.to_owned()))
}
