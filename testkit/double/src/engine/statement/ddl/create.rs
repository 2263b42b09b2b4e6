//! CREATE TABLE and CREATE INDEX: syntax to definitions.

use super::constraint::{add_constraints, add_index};
use super::keeping::{keeping, space};
use super::types::{Declared, declared};
use super::{may_define, not_found_or_allowed, own_table};
use std::sync::Arc;

use crate::engine::bind::{
    Binder, Bound, Scope, columns_of, is_volatile, label_of, types, unsupported,
};
use crate::engine::collation::Label;
use crate::engine::convert;
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::mask::Mask;
use crate::engine::plan::OutputColumn;
use crate::engine::syntax::ast::{
    ColumnContent, ColumnDefinition, ConstraintContent, ConstraintDefinition, IndexDefinition,
    IndexOptions, ObjectName, SourceText,
};
use crate::storage::{ColumnDef, ComputedDef, DefaultDef, Identity, IndexDef, IndexKind, TableDef};
use crate::{SqlError, SqlType};

/// Most columns of a table.
const MAX_COLUMNS: usize = 1024;

/// Eight hexadecimal digits for generated names.
fn tag() -> String {
    format!("{:08X}", rand::random::<u32>())
}

pub fn generated(prefix: &str, table: &str, column: Option<&str>) -> String {
    let part = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    match column {
        Some(column) => format!("{prefix}__{}__{}__{}", part(table, 9), part(column, 5), tag()),
        None => format!("{prefix}__{}__{}{}", part(table, 8), tag(), tag()),
    }
}

/// CREATE TABLE.
pub fn create_table(
    binder: &Binder<'_, '_>,
    name: &ObjectName,
    columns: &[ColumnDefinition],
    constraints: &[ConstraintDefinition],
    (options, lob_space): (&IndexOptions, Option<&str>),
) -> Result<(), Fault> {
    let env = binder.env;
    if own_table(env, name)?.is_some() {
        return Err(SqlError::new(
            2714,
            16,
            6,
            format!("There is already an object named '{}' in the database.", name.name),
        )
        .into());
    }
    let mut table = TableDef::new(env.schema_of(name), &name.name, Vec::new());
    add_columns(binder, &mut table, columns).map_err(of_binding)?;
    // Constraints name columns by id; a new table's are numbered in order.
    for (at, column) in table.columns.iter_mut().enumerate() {
        column.id = i32::try_from(at + 1).map_err(|_| crate::engine::expr::internal("columns"))?;
    }
    table.keeping = keeping(env, &table, options, table.keeping)?;
    table.ansi_nulls_off = env.status.off.nulls;
    if let Some(name) = lob_space {
        table.lob_space = space(env, name)?.id;
    }
    let all: Vec<&ConstraintDefinition> =
        columns.iter().flat_map(|column| &column.constraints).chain(constraints).collect();
    add_constraints(binder, &mut table, &all, true)?;
    env.status.off.check("CREATE TABLE", &table)?;
    // What is said of the table is said of its clustered index.
    let compression = table.keeping.compression;
    for index in table.indexes.iter_mut().filter(|index| index.clustered) {
        index.keeping.compression = index.keeping.compression.max(compression);
    }
    if table.columns.iter().all(|column| column.computed.is_some()) {
        return Err(SqlError::new(
            1734,
            16,
            1,
            format!(
                "Cannot create the table '{}' because it has no column that is not computed.",
                name.name
            ),
        )
        .into());
    }
    env.with_txn(|txn| txn.create_table(table))?;
    Ok(())
}

/// Makes the table of a SELECT … INTO for rows of these columns; a column with an identity in
/// `identity` goes on counting as its source does.
///
/// # Errors
/// 2714, 2760, 1038 for a column without a name, 2705 for two of one name.
pub fn create_table_into(
    env: &Env<'_>,
    name: &ObjectName,
    columns: &[OutputColumn],
    identity: Option<(usize, Identity)>,
) -> Result<Arc<TableDef>, Fault> {
    if !name.is_temporary() {
        may_define(env, "CREATE TABLE")?;
    }
    if own_table(env, name)?.is_some() {
        return Err(SqlError::new(
            2714,
            16,
            6,
            format!("There is already an object named '{}' in the database.", name.name),
        )
        .into());
    }
    let mut definitions = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        if column.name.is_empty() {
            return Err(Fault::Compile(SqlError::new(
                1038,
                15,
                5,
                "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name. For other statements, look for empty alias names. Aliases defined as \"\" or [] are not allowed. Change the alias to a valid name.",
            )));
        }
        let ty = column.ty.clone().unwrap_or(SqlType::Int);
        let mut definition = ColumnDef::new(&column.name, ty, column.nullable);
        let label = definition.ty.is_text().then_some(column.label);
        definition.collation = column_collation(&definition, label).map_err(of_binding)?;
        definition.identity = identity.filter(|(of, _)| *of == at).map(|(_, identity)| identity);
        definitions.push(definition);
    }
    let table = TableDef::new(env.schema_of(name), &name.name, definitions);
    Ok(env.with_txn(|txn| txn.create_table(table))?)
}

/// Adds columns to a definition.
///
/// # Errors
/// Names and types.
pub fn add_columns(
    binder: &Binder<'_, '_>,
    table: &mut TableDef,
    columns: &[ColumnDefinition],
) -> Bound<()> {
    // Computed columns may use any stored one, wherever it stands.
    let mut known = table.clone();
    let mut made: Vec<Option<ColumnDef>> = Vec::new();
    for definition in columns {
        let twice = columns
            .iter()
            .filter(|other| crate::storage::same_name(&other.name, &definition.name))
            .count()
            > 1;
        if twice || table.column(&definition.name).is_some() {
            return Err(SqlError::new(
                2705,
                16,
                3,
                format!(
                    "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than once.",
                    definition.name, table.name
                ),
            ));
        }
        made.push(match &definition.content {
            ColumnContent::Stored { ty, user_type } => {
                let declared = declared(binder.env, ty, user_type.as_ref())?;
                let column = stored(binder, &known, definition, &declared)?;
                known.columns.push(column.clone());
                Some(column)
            }
            ColumnContent::Computed { .. } => None,
        });
    }
    for (definition, made) in columns.iter().zip(made) {
        let column = match (made, &definition.content) {
            (Some(column), _) => column,
            (None, ColumnContent::Computed { text, persisted }) => {
                computed(binder, &known, definition, text, *persisted)?
            }
            (None, ColumnContent::Stored { ty, user_type }) => {
                let declared = declared(binder.env, ty, user_type.as_ref())?;
                stored(binder, table, definition, &declared)?
            }
        };
        if table.columns.len() == MAX_COLUMNS {
            return Err(SqlError::new(
                1702,
                16,
                1,
                format!(
                    "CREATE TABLE failed because column '{}' in table '{}' exceeds the maximum of {MAX_COLUMNS} columns.",
                    column.name, table.name
                ),
            ));
        }
        table.columns.push(column);
    }
    Ok(())
}

fn stored(
    binder: &Binder<'_, '_>,
    table: &TableDef,
    definition: &ColumnDefinition,
    declared: &Declared,
) -> Bound<ColumnDef> {
    let ty = &declared.ty;
    if *ty == SqlType::RowVersion {
        check_row_version(table, definition)?;
    }
    let key_part = definition.constraints.iter().any(|constraint| {
        matches!(constraint.content, ConstraintContent::Key { primary: true, .. })
    });
    let nullable = match (definition.nullable, definition.identity) {
        (Some(true), Some(_)) => {
            return Err(SqlError::new(
                8147,
                16,
                1,
                format!(
                    "Could not create IDENTITY attribute on nullable column '{}', table '{}'.",
                    definition.name, table.name
                ),
            ));
        }
        (Some(nullable), _) => nullable && !key_part,
        (None, Some(_)) => false,
        (None, None) => {
            let by_type = *ty != SqlType::RowVersion;
            !key_part && declared.nullable.unwrap_or(by_type)
        }
    };
    let mut column = ColumnDef::new(&definition.name, ty.clone(), nullable);
    column.alias = declared.alias;
    let own = definition.collation.or_else(|| database_collation(binder.env, table, &column));
    column.collation = column_collation(&column, own)?;
    column.traits = definition.traits;
    let can_be_padded = matches!(
        ty,
        SqlType::Char(_) | SqlType::VarChar(_) | SqlType::Binary(_) | SqlType::VarBinary(_)
    );
    column.traits.unpadded = binder.env.status.off.padding && can_be_padded;
    check_traits(table, &column, definition)?;
    column.mask = match &definition.mask {
        Some(function) => Some(mask_for(&column, function)?),
        None => None,
    };
    if let Some((seed, increment)) = definition.identity {
        let whole =
            matches!(ty, SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt)
                || matches!(
                    ty,
                    SqlType::Decimal { scale: 0, .. } | SqlType::Numeric { scale: 0, .. }
                );
        if !whole {
            return Err(SqlError::new(
                2749,
                16,
                2,
                format!(
                    "Identity column '{}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a scale of 0, unencrypted, and constrained to be nonnullable.",
                    definition.name
                ),
            ));
        }
        if table.columns.iter().any(|known| known.identity.is_some()) {
            return Err(SqlError::new(
                2744,
                16,
                2,
                format!(
                    "Multiple identity columns specified for table '{}'. Only one identity column per table is allowed.",
                    table.name
                ),
            ));
        }
        column.identity = Some(Identity { seed, increment });
    }
    if let Some(default) = &definition.default {
        if definition.identity.is_some() {
            return Err(SqlError::new(
                1754,
                16,
                0,
                format!(
                    "Defaults cannot be created on columns with an IDENTITY attribute. Table '{}', column '{}'.",
                    table.name, definition.name
                ),
            ));
        }
        let name = default
            .name
            .clone()
            .unwrap_or_else(|| generated("DF", &table.name, Some(&definition.name)));
        column.default = Some(default_def(binder, name, &default.value, ty)?);
    }
    Ok(column)
}

/// What ROWGUIDCOL and SPARSE ask of a column.
fn check_traits(table: &TableDef, column: &ColumnDef, definition: &ColumnDefinition) -> Bound<()> {
    if column.traits.row_guid {
        check_row_guid(table, column)?;
    }
    if column.traits.sparse {
        let plain = definition.identity.is_none() && definition.default.is_none();
        check_sparse(column, plain && !column.traits.row_guid)?;
    }
    Ok(())
}

/// Errors 2761 and 8196: one `uniqueidentifier` column of a table is the ROWGUIDCOL.
pub fn check_row_guid(table: &TableDef, column: &ColumnDef) -> Bound<()> {
    if column.ty != SqlType::UniqueIdentifier {
        let text =
            "The ROWGUIDCOL property can only be specified on the uniqueidentifier data type.";
        return Err(SqlError::new(2761, 16, 2, text));
    }
    if table.columns.iter().any(|known| known.traits.row_guid && known.name != column.name) {
        let text = "Duplicate column specified as ROWGUIDCOL.";
        return Err(SqlError::new(8196, 16, 1, text));
    }
    Ok(())
}

/// Error 1731: what a sparse column cannot be.
/// <https://learn.microsoft.com/sql/relational-databases/tables/use-sparse-columns#restrictions-for-using-sparse-columns>
pub fn check_sparse(column: &ColumnDef, plain: bool) -> Bound<()> {
    let kept_whole = matches!(
        column.ty,
        SqlType::Text
            | SqlType::NText
            | SqlType::Image
            | SqlType::RowVersion
            | SqlType::Geometry
            | SqlType::Geography
    );
    if column.nullable && plain && !kept_whole && column.alias.is_none() {
        return Ok(());
    }
    Err(SqlError::new(
        1731,
        16,
        1,
        format!(
            "Cannot create the sparse column '{}' in the table because an option or data type specified is not valid. A sparse column must be nullable and cannot have the ROWGUIDCOL, IDENTITY, or FILESTREAM properties. A sparse column cannot be of the following data types: text, ntext, image, geometry, geography, or user-defined type.",
            column.name
        ),
    ))
}

/// A masking function for a column.
///
/// # Errors
/// 16003 where it does not mask the column's type, 16006 where it is none.
pub fn mask_for(column: &ColumnDef, function: &str) -> Bound<String> {
    let name = function.split('(').next().unwrap_or_default().trim();
    let Some(mask) = Mask::parse(function) else {
        return Err(SqlError::new(
            16006,
            16,
            0,
            format!(
                "Invalid data masking format for function '{name}' in column '{}'.",
                column.name
            ),
        ));
    };
    if !mask.fits(&column.ty) {
        return Err(SqlError::new(
            16003,
            16,
            0,
            format!(
                "The data type of column '{}' does not support data masking function '{name}'.",
                column.name
            ),
        ));
    }
    Ok(function.trim().to_owned())
}

/// A table has one `rowversion` column, without a default.
fn check_row_version(table: &TableDef, definition: &ColumnDefinition) -> Bound<()> {
    if table.row_version().is_some() {
        return Err(SqlError::new(
            2738,
            16,
            2,
            format!(
                "A table can only have one timestamp column. Because table '{}' already has one, the column '{}' cannot be added.",
                table.name, definition.name
            ),
        ));
    }
    if definition.default.is_some() {
        return Err(SqlError::new(
            1755,
            16,
            0,
            format!(
                "Defaults cannot be created on columns of data type timestamp. Table '{}', column '{}'.",
                table.name, definition.name
            ),
        ));
    }
    Ok(())
}

/// What the strings of a new column have if nothing says it. Temporary tables stand in `tempdb`.
pub fn database_collation(env: &Env<'_>, table: &TableDef, column: &ColumnDef) -> Option<Label> {
    (column.ty.is_text() && !table.is_temporary()).then(|| env.status.database.collation())
}

/// The name of a column's collation: its own, or the database's.
///
/// # Errors
/// 447 for a column that is no string.
pub fn column_collation(column: &ColumnDef, label: Option<Label>) -> Bound<Option<String>> {
    if !column.ty.is_text() {
        return match label {
            None => Ok(None),
            Some(_) => Err(SqlError::new(
                447,
                16,
                0,
                format!("Expression type {} is invalid for COLLATE clause.", column.ty.name()),
            )),
        };
    }
    Ok(Some(label.unwrap_or_default().name()))
}

pub fn default_def(
    binder: &Binder<'_, '_>,
    name: String,
    value: &SourceText,
    ty: &SqlType,
) -> Bound<DefaultDef> {
    let bound = binder.scalar(&value.value, &Scope::inside(None))?;
    if let Some(from) = &bound.ty
        && !convert::implicit_allowed(from, ty)
    {
        return Err(types::not_implicit(from, ty));
    }
    Ok(DefaultDef { name, definition: value.text.clone() })
}

fn computed(
    binder: &Binder<'_, '_>,
    table: &TableDef,
    definition: &ColumnDefinition,
    text: &SourceText,
    persisted: bool,
) -> Bound<ColumnDef> {
    if definition.identity.is_some() || definition.default.is_some() || definition.mask.is_some() {
        return Err(unsupported("property of a computed column"));
    }
    if is_volatile(&text.value) {
        return Err(unsupported("computed column that is not deterministic"));
    }
    let mut scope = Scope::inside(None);
    scope.add_table(&table.name, columns_of(table));
    let value = binder.scalar(&text.value, &scope)?;
    let ty = value.type_or_int();
    let nullable = match definition.nullable {
        Some(false) if persisted => false,
        Some(_) => return Err(unsupported("NULL on a computed column")),
        None => value.nullable,
    };
    let mut column = ColumnDef::new(&definition.name, ty.clone(), nullable);
    column.collation = ty.is_text().then(|| label_of(&value.node, &scope, None).name());
    column.computed = Some(ComputedDef { definition: text.text.clone(), persisted });
    Ok(column)
}

/// CREATE INDEX.
pub fn create_index(
    binder: &Binder<'_, '_>,
    name: &ObjectName,
    index: (&str, &IndexDefinition),
    drop_existing: bool,
    text: &str,
) -> Result<(), Fault> {
    let env = binder.env;
    let table = own_table(env, name)?.ok_or_else(|| not_found_or_allowed(&name.to_string()))?;
    if !table.is_temporary() {
        may_define(env, "ALTER ANY SCHEMA").map_err(|_| not_found_or_allowed(&name.to_string()))?;
    }
    let (index_name, index) = index;
    let mut new = TableDef::clone(&table);
    let known = table.indexes.iter().position(|i| crate::storage::same_name(&i.name, index_name));
    let before = match (drop_existing, known) {
        (false, _) => None,
        (true, Some(at)) => Some(new.indexes.remove(at)),
        (true, None) => {
            return Err(SqlError::new(
                7999,
                16,
                9,
                format!("Could not find any index named '{index_name}' for table '{name}'."),
            )
            .into());
        }
    };
    add_index(binder, &mut new, index_name, index)?;
    env.status.off.check("CREATE INDEX", &new)?;
    if let (Some(before), Some(made)) = (before, new.indexes.last_mut()) {
        replace_index(&before, made)?;
    }
    env.with_txn(|txn| txn.alter_table(new, text, None))?;
    Ok(())
}

/// DROP_EXISTING: an index takes another's place. One that stands for a constraint goes on doing so.
fn replace_index(before: &IndexDef, made: &mut IndexDef) -> Result<(), SqlError> {
    if before.clustered && !made.clustered {
        return Err(SqlError::new(
            1925,
            16,
            2,
            "Cannot convert a clustered index to a nonclustered index by using the DROP_EXISTING option. To change the index type from clustered to nonclustered, delete the clustered index, and then create a nonclustered index by using two separate statements.",
        ));
    }
    let same = before.unique == made.unique
        && before.keys == made.keys
        && made.filter.is_none()
        && made.includes.is_empty();
    if before.kind != IndexKind::Index && !same {
        return Err(SqlError::new(
            1907,
            16,
            1,
            format!(
                "Cannot recreate index '{}'. The new index definition does not match the constraint being enforced by the existing index.",
                before.name
            ),
        ));
    }
    made.kind = before.kind;
    made.constraint_id = before.constraint_id;
    made.id = if made.clustered { 1 } else { before.id };
    Ok(())
}
