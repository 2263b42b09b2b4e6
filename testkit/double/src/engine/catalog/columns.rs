//! `sys.columns`, and its identity and computed columns.

use super::definition::{
    Columns, Definition, Desc, Inside, NVar, Name, Text, ViewOf, null, off, off_null, on_null,
};
use super::objects::definition_text;
use super::source::Catalog;
use super::{default_constraint_id, system_object_id};
use crate::engine::bind::SourceColumn;
use crate::engine::collation;
use crate::sql_type::Family;
use crate::storage::{ColumnDef, ColumnId, ColumnTraits, Identity, ObjectId};
use crate::{SqlError, SqlType};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("columns", column_columns, user_columns).by_object(),
    &ViewOf::sys("all_columns", column_columns, all_columns),
    &ViewOf::sys("identity_columns", identity_columns, identities),
    &ViewOf::sys("computed_columns", computed_columns, computed),
    &ViewOf::sys("masked_columns", masked_columns, masked),
];

/// A row of `sys.columns`.
struct Column {
    object_id: ObjectId,
    name: String,
    id: ColumnId,
    ty: SqlType,
    /// `user_type_id`
    user_type: i32,
    collation: Option<String>,
    nullable: bool,
    identity: bool,
    computed: bool,
    mask: Option<String>,
    /// Its DEFAULT constraint, or 0.
    default: ObjectId,
    traits: ColumnTraits,
}

impl Column {
    fn of_table(table: ObjectId, column: &ColumnDef) -> Column {
        Column {
            object_id: table,
            name: column.name.clone(),
            id: column.id,
            ty: column.ty.clone(),
            user_type: column.user_type_id(),
            collation: column.collation.clone(),
            nullable: column.nullable,
            identity: column.identity.is_some(),
            computed: column.computed.is_some(),
            mask: column.mask.clone(),
            default: match column.default {
                Some(_) => default_constraint_id(table, column.id),
                None => 0,
            },
            traits: column.traits,
        }
    }

    fn of_view(view: ObjectId, at: usize, column: SourceColumn) -> Column {
        Column {
            object_id: view,
            name: column.name,
            id: i32::try_from(at + 1).unwrap_or(i32::MAX),
            user_type: column.ty.as_ref().unwrap_or(&SqlType::Int).user_type_id(),
            ty: column.ty.unwrap_or(SqlType::Int),
            collation: None,
            nullable: column.nullable,
            identity: false,
            computed: false,
            mask: None,
            default: 0,
            traits: ColumnTraits::default(),
        }
    }

    fn collation(&self) -> Option<Name> {
        let own = || self.collation.clone().unwrap_or_else(|| collation::NAME.to_owned());
        self.ty.is_text().then(|| Name(own()))
    }
}

fn user_columns(catalog: &Catalog<'_>) -> Result<Vec<Column>, SqlError> {
    let of = |object: super::Table| {
        let columns = object.columns.iter().map(|column| Column::of_table(object.id, column));
        columns.collect::<Vec<_>>()
    };
    Ok(catalog.objects().into_iter().flat_map(of).collect())
}

fn all_columns(catalog: &Catalog<'_>) -> Result<Vec<Column>, SqlError> {
    let system = super::all().filter(|view| view.schema() == "sys").flat_map(|view| {
        let id = system_object_id(view.name());
        let columns = view.columns().into_iter().enumerate();
        columns.map(move |(at, column)| Column::of_view(id, at, column))
    });
    Ok(user_columns(catalog)?.into_iter().chain(system).collect())
}

fn first_columns() -> Columns<Column> {
    Columns::new()
        .add("object_id", |c: &Column| c.object_id)
        .add("name", |c| Some(Name(c.name.clone())))
        .add("column_id", |c| c.id)
        .add("system_type_id", |c| c.ty.system_type_id())
        .add("user_type_id", |c| c.user_type)
        .add("max_length", |c| c.ty.max_length())
        .add("precision", |c| c.ty.precision())
        .add("scale", |c| c.ty.scale())
        .add("collation_name", Column::collation)
        .add("is_nullable", |c| Some(c.nullable))
        .add("is_ansi_padded", |c| {
            matches!(c.ty.family(), Family::Text | Family::Binary) && !c.traits.unpadded
        })
        .add("is_rowguidcol", |c| c.traits.row_guid)
        .add("is_identity", |c| c.identity)
}

fn replication_columns(columns: Columns<Column>) -> Columns<Column> {
    columns
        .add("is_filestream", off)
        .add_each(
            &["is_replicated", "is_non_sql_subscribed", "is_merge_published", "is_dts_replicated"],
            off_null,
        )
        .add("is_xml_document", off)
}

fn middle_columns(columns: Columns<Column>) -> Columns<Column> {
    columns
        .add("xml_collection_id", |_| 0)
        .add("default_object_id", |c| c.default)
        .add("rule_object_id", |_| 0)
}

fn last_columns(columns: Columns<Column>) -> Columns<Column> {
    columns
        .add("is_sparse", |c| Some(c.traits.sparse))
        .add("is_column_set", off_null)
        .add("generated_always_type", |_| Some(0_u8))
        .add("generated_always_type_desc", |_| Some(Desc("NOT_APPLICABLE")))
        .add("encryption_type", null::<_, i32>)
        .add("encryption_type_desc", null::<_, super::definition::NVar<64>>)
        .add("encryption_algorithm_name", null::<_, Name>)
        .add("column_encryption_key_id", null::<_, i32>)
        .add("column_encryption_key_database_name", null::<_, Name>)
        .add("is_hidden", off_null)
        .add("is_masked", |c| c.mask.is_some())
        .add("graph_type", null::<_, i32>)
        .add("graph_type_desc", null::<_, Desc>)
        .add("is_data_deletion_filter_column", off_null)
        .add("ledger_view_column_type", null::<_, u8>)
        .add("ledger_view_column_type_desc", null::<_, Desc>)
        .add("is_dropped_ledger_column", off_null)
}

fn column_columns() -> Columns<Column> {
    let columns = first_columns().add("is_computed", |c| c.computed);
    last_columns(middle_columns(replication_columns(columns)))
}

fn masked(catalog: &Catalog<'_>) -> Result<Vec<Column>, SqlError> {
    Ok(user_columns(catalog)?.into_iter().filter(|column| column.mask.is_some()).collect())
}

/// Those of `sys.columns`, and the function.
fn masked_columns() -> Columns<Column> {
    column_columns().add("masking_function", |c| c.mask.clone().map(NVar::<4000>))
}

struct IdentityColumn {
    column: Column,
    identity: Identity,
    /// None before the first row.
    last: Option<i64>,
}

impl IdentityColumn {
    /// A number in the column's type.
    fn variant(&self, number: i64) -> Inside {
        Inside::number(&self.column.ty, number)
    }
}

/// The last value handed out; storage says the seed before the first, which an empty table with
/// that value has therefore not reached.
fn last_identity(catalog: &Catalog<'_>, table: ObjectId, identity: Identity) -> Option<i64> {
    let last = catalog.txn.identity_current(table)?;
    let (rows, _) = catalog.database().table_size(table)?;
    (last != identity.seed || rows > 0).then_some(last)
}

fn identities(catalog: &Catalog<'_>) -> Result<Vec<IdentityColumn>, SqlError> {
    Ok(catalog.of_tables(|table| {
        table.columns.iter().find_map(|column| {
            let identity = column.identity?;
            Some(IdentityColumn {
                column: Column::of_table(table.id, column),
                identity,
                last: last_identity(catalog, table.id, identity),
            })
        })
    }))
}

fn identity_columns() -> Columns<IdentityColumn> {
    let before = middle_columns(replication_columns(first_columns()));
    let after = last_columns(Columns::new().add("is_computed", |c: &Column| c.computed));
    Columns::new()
        .extend(before, |i: &IdentityColumn| &i.column)
        .add("seed_value", |i| Some(i.variant(i.identity.seed)))
        .add("increment_value", |i| Some(i.variant(i.identity.increment)))
        .add("last_value", |i| i.last.map(|last| i.variant(last)))
        .add("is_not_for_replication", |i| Some(i.column.traits.not_for_replication))
        .extend(after, |i| &i.column)
}

struct ComputedColumn {
    column: Column,
    definition: Option<Text>,
    persisted: bool,
}

fn computed(catalog: &Catalog<'_>) -> Result<Vec<ComputedColumn>, SqlError> {
    Ok(catalog.of_tables(|table| {
        let computed = table.columns.iter().filter_map(|column| {
            let computed = column.computed.as_ref()?;
            Some(ComputedColumn {
                column: Column::of_table(table.id, column),
                definition: definition_text(catalog, table, &computed.definition),
                persisted: computed.persisted,
            })
        });
        computed.collect::<Vec<_>>()
    }))
}

fn computed_columns() -> Columns<ComputedColumn> {
    let before = middle_columns(replication_columns(first_columns()));
    let after = last_columns(Columns::new().add("is_computed", |c: &Column| c.computed));
    Columns::new()
        .extend(before, |c: &ComputedColumn| &c.column)
        .add("definition", |c| c.definition.as_ref().map(|text| Text(text.0.clone())))
        .add("uses_database_collation", on_null)
        .add("is_persisted", |c| c.persisted)
        .extend(after, |c| &c.column)
}
