//! Procedures that answer result sets about instances and jobs.

use super::enable::{error, require_enabled, require_owner};
use super::functions::{authorised, open, visible_instance};
use super::schema::{CT_PREFIX, Instance, Tables, change_tables, text_or_null};
use super::{Context, ProcedureError, same_name};
use crate::engine::collation::Label;
use crate::storage::{ObjectId, TableDef, View};
use crate::{Column, Origin, ResultSink, SqlError, SqlType, Value};

type Outcome = Result<(), ProcedureError>;

fn column(name: &str, ty: SqlType) -> Column {
    Column {
        name: name.to_owned(),
        ty,
        nullable: true,
        origin: Origin::Stored,
        label: Label::default(),
    }
}

const NAME: SqlType = SqlType::NVarChar(Some(128));
const LSN: SqlType = SqlType::Binary(10);

fn send(sink: &mut dyn ResultSink, columns: &[Column], rows: &[Vec<Value>]) -> Outcome {
    sink.columns(columns)?;
    for row in rows {
        sink.row(row)?;
    }
    sink.done(Some(rows.len() as u64))?;
    Ok(())
}

/// Schema and name of a source table; those at the time of the call.
fn source_name(context: &mut Context<'_>, source: ObjectId) -> Result<(String, String), SqlError> {
    let table = context.txn.table_by_id(source)?;
    Ok(table.map_or_else(Default::default, |table| (table.schema.clone(), table.name.clone())))
}

/// `sp_cdc_help_change_data_capture`: the instances whose columns the caller may SELECT.
pub(super) fn change_data_capture(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    sink: &mut dyn ResultSink,
) -> Outcome {
    require_enabled(context)?;
    let wanted = match (arguments[0].to_text(), arguments[1].to_text()) {
        (Some(schema), Some(table)) => Some((schema, table)),
        (None, None) => None,
        _ => return Err(error(22972, "When calling stored procedure 'sys.sp_cdc_help_change_data_capture', if either @source_schema or @source_name is non-null and non-empty, the other parameter must also be non-null and non-empty.").into()),
    };
    let (tables, view) = open(context)?;
    let mut rows = Vec::new();
    // The all-tables form shows the previous row's index columns where an instance has no index.
    let mut leaked = Value::Null;
    for instance in tables.instances(&view)? {
        if !authorised(context, &instance) {
            continue;
        }
        let (schema, table) = source_name(context, instance.source)?;
        if let Some((wanted_schema, wanted_table)) = &wanted
            && !(same_name(wanted_schema, &schema) && same_name(wanted_table, &table))
        {
            continue;
        }
        let index_columns = match bracketed(instance.key.iter()) {
            Value::Null if wanted.is_none() => leaked.clone(),
            columns => columns,
        };
        leaked = index_columns.clone();
        rows.push(help_row(&instance, schema, table, index_columns));
    }
    if rows.is_empty() && wanted.is_some() {
        return Err(error(22981, "Object does not exist or access is denied.").into());
    }
    send(sink, &help_columns(), &rows)
}

fn help_columns() -> Vec<Column> {
    vec![
        column("source_schema", NAME),
        column("source_table", NAME),
        column("capture_instance", NAME),
        column("object_id", SqlType::Int),
        column("source_object_id", SqlType::Int),
        column("start_lsn", LSN),
        column("end_lsn", LSN),
        column("supports_net_changes", SqlType::Bit),
        column("has_drop_pending", SqlType::Bit),
        column("role_name", NAME),
        column("index_name", NAME),
        column("filegroup_name", NAME),
        column("create_date", SqlType::DateTime),
        column("index_column_list", SqlType::NVarChar(None)),
        column("captured_column_list", SqlType::NVarChar(None)),
    ]
}

fn help_row(
    instance: &Instance,
    schema: String,
    table: String,
    index_columns: Value,
) -> Vec<Value> {
    let row = &instance.row;
    vec![
        Value::text(&schema),
        Value::text(&table),
        Value::text(&instance.name),
        Value::Int(instance.change_table),
        Value::Int(instance.source),
        row[change_tables::START_LSN].clone(),
        Value::Null,
        Value::Bit(instance.supports_net_changes),
        Value::Null,
        text_or_null(instance.role_name.as_deref()),
        text_or_null(instance.index_name.as_deref()),
        row[change_tables::FILEGROUP_NAME].clone(),
        row[change_tables::CREATE_DATE].clone(),
        index_columns,
        bracketed(instance.columns.iter().map(|column| &column.name)),
    ]
}

/// `[a], [b]`, NULL for none.
fn bracketed<'a>(names: impl Iterator<Item = &'a String>) -> Value {
    let names: Vec<String> = names.map(|name| format!("[{}]", name.replace(']', "]]"))).collect();
    if names.is_empty() { Value::Null } else { Value::text(&names.join(", ")) }
}

fn require_instance(context: &mut Context<'_>, name: &Value) -> Result<Instance, SqlError> {
    visible_instance(context, name)?.ok_or_else(|| {
        error(22985, format!("The user does not have permission to access change data capture instance '{}', or it does not exist.", name.to_text().unwrap_or_default()))
    })
}

/// `sp_cdc_get_captured_columns`
pub(super) fn captured_columns(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    sink: &mut dyn ResultSink,
) -> Outcome {
    require_enabled(context)?;
    let instance = require_instance(context, &arguments[0])?;
    let (schema, table) = source_name(context, instance.source)?;
    let change_table = context.txn.table_by_id(instance.change_table)?;
    let types = |ordinal: usize| type_of(change_table.as_deref(), ordinal);
    let rows: Vec<Vec<Value>> = instance
        .columns
        .iter()
        .map(|captured| {
            let mut row = vec![
                Value::text(&schema),
                Value::text(&table),
                Value::text(&instance.name),
                Value::text(&captured.name),
                Value::Int(captured.id),
                Value::Int(i32::try_from(captured.ordinal).unwrap_or(0)),
            ];
            row.extend(facets(types(captured.ordinal)));
            row
        })
        .collect();
    let columns = [
        column("source_schema", NAME),
        column("source_table", NAME),
        column("capture_instance", NAME),
        column("column_name", NAME),
        column("column_id", SqlType::Int),
        column("column_ordinal", SqlType::Int),
        column("data_type", NAME),
        column("character_maximum_length", SqlType::Int),
        column("numeric_precision", SqlType::TinyInt),
        column("numeric_precision_radix", SqlType::SmallInt),
        column("numeric_scale", SqlType::Int),
        column("datetime_precision", SqlType::SmallInt),
    ];
    send(sink, &columns, &rows)
}

fn type_of(change_table: Option<&TableDef>, ordinal: usize) -> Option<&SqlType> {
    Some(&change_table?.columns.get(CT_PREFIX + ordinal - 1)?.ty)
}

/// Type name, length, precision, radix, scale and time precision as INFORMATION_SCHEMA has them.
fn facets(ty: Option<&SqlType>) -> Vec<Value> {
    use SqlType::*;
    let Some(ty) = ty else {
        return vec![Value::Null; 6];
    };
    let length = match ty {
        Char(n) | NChar(n) | Binary(n) => Value::Int(i32::from(*n)),
        VarChar(n) | NVarChar(n) | VarBinary(n) => Value::Int(n.map_or(-1, i32::from)),
        other => other.large_length().map_or(Value::Null, |(characters, _)| Value::Int(characters)),
    };
    let number = |precision: u8, radix: i16, scale: Option<i32>| {
        let scale = scale.map_or(Value::Null, Value::Int);
        (Value::TinyInt(precision), Value::SmallInt(radix), scale)
    };
    let (precision, radix, scale) = match ty {
        TinyInt => number(3, 10, Some(0)),
        SmallInt => number(5, 10, Some(0)),
        Int => number(10, 10, Some(0)),
        BigInt => number(19, 10, Some(0)),
        Decimal { precision, scale } | Numeric { precision, scale } => {
            number(*precision, 10, Some(i32::from(*scale)))
        }
        Money => number(19, 10, Some(4)),
        SmallMoney => number(10, 10, Some(4)),
        Float => number(53, 2, None),
        Real => number(24, 2, None),
        _ => (Value::Null, Value::Null, Value::Null),
    };
    let time = match ty {
        Date | SmallDateTime => Value::SmallInt(0),
        DateTime => Value::SmallInt(3),
        Time(n) | DateTime2(n) | DateTimeOffset(n) => Value::SmallInt(i16::from(*n)),
        _ => Value::Null,
    };
    vec![Value::text(ty.name()), length, precision, radix, scale, time]
}

/// `sp_cdc_get_ddl_history`
pub(super) fn ddl_history(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    sink: &mut dyn ResultSink,
) -> Outcome {
    require_enabled(context)?;
    let instance = require_instance(context, &arguments[0])?;
    let (schema, table) = source_name(context, instance.source)?;
    let (tables, view) = open(context)?;
    let rows = ddl_rows(&tables, &view, &instance, &schema, &table)?;
    let columns = [
        column("source_schema", NAME),
        column("source_table", NAME),
        column("capture_instance", NAME),
        column("required_column_update", SqlType::Bit),
        column("ddl_command", SqlType::NVarChar(None)),
        column("ddl_lsn", LSN),
        column("ddl_time", SqlType::DateTime),
    ];
    send(sink, &columns, &rows)
}

fn ddl_rows(
    tables: &Tables,
    view: &View,
    instance: &Instance,
    schema: &str,
    table: &str,
) -> Result<Vec<Vec<Value>>, SqlError> {
    let id = Value::Int(instance.change_table);
    let rows = tables.of_object(view, &tables.ddl_history, &id)?;
    let row = |row: &[Value]| {
        let mut values = vec![Value::text(schema), Value::text(table), Value::text(&instance.name)];
        values.extend(row[2..].iter().cloned());
        values
    };
    Ok(rows.iter().map(|(_, found)| row(found)).collect())
}

/// `sp_cdc_help_jobs`
pub(super) fn jobs(
    context: &mut Context<'_>,
    _: &mut [Value],
    sink: &mut dyn ResultSink,
) -> Outcome {
    require_owner(context)?;
    let database = context.txn.database().id();
    let columns = [
        column("job_id", SqlType::UniqueIdentifier),
        column("job_type", SqlType::NVarChar(Some(20))),
        column("job_name", NAME),
        column("maxtrans", SqlType::Int),
        column("maxscans", SqlType::Int),
        column("continuous", SqlType::Bit),
        column("pollinginterval", SqlType::BigInt),
        column("retention", SqlType::BigInt),
        column("threshold", SqlType::BigInt),
    ];
    let name = context.txn.database().name();
    let rows: Vec<Vec<Value>> = super::job_rows::all_jobs(context.storage)?
        .into_iter()
        .filter(|(owner, _)| *owner == database)
        .map(|(_, job)| {
            vec![
                Value::Guid(job.job_id),
                Value::text(job.kind.name()),
                Value::text(&format!("cdc.{name}_{}", job.kind.name())),
                Value::Int(job.maxtrans),
                Value::Int(job.maxscans),
                Value::Bit(job.continuous),
                Value::BigInt(job.pollinginterval),
                Value::BigInt(job.retention),
                Value::BigInt(job.threshold),
            ]
        })
        .collect();
    send(sink, &columns, &rows)
}
