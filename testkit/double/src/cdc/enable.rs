//! Turning CDC on and off, for a database and for a table.

use std::sync::Arc;

use super::column_list::column_list;
use super::schema::{Instance, Tables, bit, change_table, system_tables, text_or_null};
use super::{Context, FreshStart, same_name};
use crate::storage::{ColumnDef, Database, IndexDef, ObjectId, Row, TableDef, Txn, datetime};
use crate::{IsolationLevel, SqlError, Value};

/// Most columns that the index identifying a table's rows may have.
const MAX_INDEX_COLUMNS: usize = 14;
/// Most captured columns: a change table has six of its own, and no table more than 1024.
const MAX_CAPTURED: usize = 1018;

pub(super) fn error(number: i32, message: impl Into<String>) -> SqlError {
    SqlError::new(number, 16, 1, message)
}

/// `sp_cdc_enable_db`. Answers 22905 as an informational message if it is enabled already.
pub(super) fn enable_db(context: &mut Context<'_>) -> Result<Option<SqlError>, SqlError> {
    let database = context.txn.database().clone();
    let info = database.info();
    if !context.access.is_sysadmin() {
        return Err(error(
            22902,
            "Caller is not authorized to initiate the requested action. Sysadmin privileges are required.",
        ));
    }
    if info.id <= 4 {
        return Err(error(
            22989,
            format!(
                "Could not enable Change Data Capture for database '{}'. Change data capture is not supported on system databases, or on a distribution database.",
                info.name
            ),
        ));
    }
    if info.cdc_enabled {
        return Ok(Some(SqlError::new(
            22905,
            10,
            1,
            format!(
                "Database '{}' is already enabled for Change Data Capture. Ensure that the correct database context is set, and retry the operation. To report on the databases enabled for Change Data Capture, query the is_cdc_enabled column in the sys.databases catalog view.",
                info.name
            ),
        )));
    }
    if context.txn.schemas().iter().any(|(_, schema)| same_name(schema, "cdc")) {
        return Err(error(
            22906,
            format!(
                "The database '{}' cannot be enabled for Change Data Capture because a database user named 'cdc' or a schema named 'cdc' already exists in the current database. These objects are required exclusively by Change Data Capture. Drop or rename the user or schema and retry the operation.",
                info.name
            ),
        ));
    }
    context.txn.create_schema("cdc")?;
    for table in system_tables() {
        context.txn.create_table(table)?;
    }
    context.txn.set_cdc_enabled(true)?;
    Ok(None)
}

/// `sp_cdc_disable_db`: everything of schema `cdc` goes, and the jobs.
///
/// It competes with the capture job for the log-scan session: 22831 while a manual scan has it.
pub(super) fn disable_db(context: &mut Context<'_>) -> Result<(), SqlError> {
    if !context.access.is_sysadmin() {
        return Err(error(
            22902,
            "Caller is not authorized to initiate the requested action. Sysadmin privileges are required.",
        ));
    }
    let database = context.txn.database().clone();
    if !database.info().cdc_enabled {
        return Ok(());
    }
    context.storage.cdc.stop_capture(&database);
    if context.storage.cdc.is_scanning(&database) {
        return Err(error(
            22831,
            "Could not update the metadata that indicates database is not enabled for Change Data Capture. The failure occurred when executing the command 'sp_repldone'. The error returned was 22912: 'sp_repldone failed'. Use the action and error to determine the cause of the failure and resubmit the request.",
        ));
    }
    drop_everything(context.txn)?;
    super::job_rows::drop_jobs(context.storage, database.id(), None)
}

fn drop_everything(txn: &mut Txn) -> Result<(), SqlError> {
    for table in txn.tables() {
        if table.tracked_by_cdc() {
            txn.set_captures(table.id, Vec::new())?;
        }
        if same_name(&table.schema, "cdc") {
            txn.remove_table(table.id)?;
        }
    }
    txn.drop_schema("cdc")?;
    txn.set_cdc_enabled(false)
}

/// Drops CDC from a database restored without it.
pub(crate) fn drop_database_cdc(database: &Arc<Database>) -> Result<(), SqlError> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    drop_everything(&mut txn)?;
    txn.commit().map(drop)
}

/// Error 22901 where the database is not enabled.
pub(super) fn require_enabled(context: &Context<'_>) -> Result<(), SqlError> {
    let info = context.txn.database().info();
    if info.cdc_enabled {
        return Ok(());
    }
    Err(error(
        22901,
        format!(
            "The database '{}' is not enabled for Change Data Capture. Ensure that the correct database context is set and retry the operation. To report on the databases enabled for Change Data Capture, query the is_cdc_enabled column in the sys.databases catalog view.",
            info.name
        ),
    ))
}

pub(super) fn require_owner(context: &Context<'_>) -> Result<(), SqlError> {
    if context.access.is_db_owner() {
        return Ok(());
    }
    Err(error(
        22904,
        "Caller is not authorized to initiate the requested action. DBO privileges are required.",
    ))
}

/// What `sp_cdc_enable_table` is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct EnableTable {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) instance: Option<String>,
    pub(super) net_changes: Option<bool>,
    pub(super) role: Option<String>,
    pub(super) index: Option<String>,
    pub(super) columns: Option<String>,
    pub(super) filegroup: Option<String>,
    pub(super) partition_switch: bool,
}

/// `sp_cdc_enable_table`.
pub(super) fn enable_table(
    context: &mut Context<'_>,
    wanted: &EnableTable,
) -> Result<(), SqlError> {
    require_enabled(context)?;
    require_owner(context)?;
    let source = source_table(context.txn, &wanted.schema, &wanted.table)?;
    let name = match &wanted.instance {
        Some(name) => name.clone(),
        None => format!("{}_{}", source.schema, source.name),
    };
    if name.encode_utf16().count() > 100 {
        return Err(error(
            22927,
            format!(
                "Capture instance name '{name}' exceeds the length limit of 100 characters. Specify a name that satisfies the length constraint."
            ),
        ));
    }
    let tables = Tables::open(context.txn)?;
    let view = context.txn.statement_view()?;
    let instances = tables.instances(&view)?;
    check_free(&instances, &source, &name)?;
    let index = identifying_index(&source, wanted.index.as_deref())?;
    if wanted.net_changes == Some(true) && index.is_none() {
        return Err(error(
            22939,
            "The parameter @supports_net_changes is set to 1, but the source table does not have a primary key defined and no alternate unique index has been specified.",
        ));
    }
    let net_changes = wanted.net_changes.unwrap_or(index.is_some());
    let captured = captured_columns(&source, wanted.columns.as_deref(), index)?;
    let key: Vec<ColumnDef> = index
        .iter()
        .flat_map(|index| source.key_positions(index))
        .map(|at| source.columns[at].clone())
        .collect();
    let net_key: Vec<String> =
        if net_changes { key.iter().map(|c| c.name.clone()).collect() } else { Vec::new() };
    let first = instances.is_empty();
    let created = context
        .txn
        .create_table(change_table(&name, &captured, &net_key))
        .map_err(|inner| if inner.number == 2714 { in_use(&name) } else { inner })?;
    // From here on the table's open writers are waited for, and new ones wait.
    let mut captures = source.captures.clone();
    captures.push(created.id);
    context.txn.set_captures(source.id, captures)?;
    let described = Described {
        source: &source,
        name: &name,
        table: created.id,
        index,
        key: &key,
        captured: &captured,
        net_changes,
    };
    let modes = context.storage.cdc.modes(context.txn.database().id());
    // Whoever wrote to the table before has committed below this, whoever writes after, above.
    let start = (modes.fresh_start == FreshStart::AtOnce)
        .then(|| context.txn.database().last_lsn().increment().to_value());
    describe(context.txn, &tables, &described, wanted, start)?;
    if modes.ddl_history_backfill {
        backfill_ddl(context.txn, &tables, &instances, &source, created.id)?;
    }
    if first {
        super::jobs::create_default_jobs(context.storage, context.txn.database().id())?;
    }
    Ok(())
}

/// A captured table, or 22931.
fn source_table(txn: &mut Txn, schema: &str, name: &str) -> Result<Arc<TableDef>, SqlError> {
    let table = txn.table(schema, name)?.filter(|table| !table.ms_shipped);
    table.ok_or_else(|| {
        error(22931, format!("Source table '{schema}.{name}' does not exist in the current database. Ensure that the correct database context is set. Specify a valid schema and table name for the database."))
    })
}

fn in_use(name: &str) -> SqlError {
    error(
        22926,
        format!(
            "Could not create a capture instance because the capture instance name '{name}' already exists in the current database. Specify an explicit unique name for the parameter @capture_instance."
        ),
    )
}

fn check_free(instances: &[Instance], source: &TableDef, name: &str) -> Result<(), SqlError> {
    if instances.iter().any(|instance| same_name(&instance.name, name)) {
        return Err(in_use(name));
    }
    let of_source = instances.iter().filter(|instance| instance.source == source.id).count();
    if of_source >= 2 {
        return Err(error(
            22962,
            format!(
                "Two capture instances already exist for source table '{}'. A table can have at most two capture instances. If the current tracking options are not appropriate, disable change tracking for the obsolete instance by using sys.sp_cdc_disable_table and retry the operation.",
                source.full_name()
            ),
        ));
    }
    Ok(())
}

/// The index that identifies rows: the one named, else the primary key.
fn identifying_index<'a>(
    source: &'a TableDef,
    name: Option<&str>,
) -> Result<Option<&'a IndexDef>, SqlError> {
    let Some(name) = name else {
        return Ok(source.primary_key());
    };
    let full = source.full_name();
    let index = source.indexes.iter().find(|index| same_name(&index.name, name)).ok_or_else(|| {
        error(22942, format!("Index '{name}' specified for the parameter @index_name is not an index on table '{full}'. Specify a valid index name for the table."))
    })?;
    let nullable = source.key_positions(index).into_iter().any(|at| source.columns[at].nullable);
    if !index.is_key() || nullable {
        return Err(error(
            22943,
            format!(
                "The index '{name}' on table '{full}' is not a unique index with non-null columns, and cannot be used to identify rows."
            ),
        ));
    }
    if index.keys.len() > MAX_INDEX_COLUMNS {
        return Err(error(
            22865,
            format!(
                "The number of columns captured by the index '{name}' exceeds the limit of {MAX_INDEX_COLUMNS}."
            ),
        ));
    }
    Ok(Some(index))
}

/// The columns to capture, in the table's order whatever the order of the list.
fn captured_columns(
    source: &TableDef,
    list: Option<&str>,
    index: Option<&IndexDef>,
) -> Result<Vec<ColumnDef>, SqlError> {
    let full = source.full_name();
    let chosen = match list {
        None => source.columns.clone(),
        Some(list) => {
            let names = column_list(list).ok_or_else(|| {
                error(22928, format!("The column list '{list}' is not a list of column names. Specify one or more names separated by commas."))
            })?;
            if let Some(unknown) = names.iter().find(|name| source.column(name).is_none()) {
                return Err(error(
                    22930,
                    format!(
                        "Could not locate column '{unknown}' in the source table '{full}'. Specify a valid column name for the table."
                    ),
                ));
            }
            for (at, name) in names.iter().enumerate() {
                if names[..at].iter().any(|other| same_name(other, name)) {
                    return Err(error(
                        22929,
                        format!(
                            "The column '{name}' is listed more than once in the captured column list."
                        ),
                    ));
                }
            }
            let listed =
                |column: &&ColumnDef| names.iter().any(|name| same_name(name, &column.name));
            source.columns.iter().filter(listed).cloned().collect()
        }
    };
    if chosen.len() > MAX_CAPTURED {
        return Err(error(
            22925,
            format!(
                "The number of columns captured for table '{full}' exceeds the limit of {MAX_CAPTURED}."
            ),
        ));
    }
    let missing = index
        .into_iter()
        .flat_map(|index| &index.keys)
        .find(|key| !chosen.iter().any(|column| column.id == key.column));
    match missing.and_then(|key| source.columns.iter().find(|column| column.id == key.column)) {
        Some(column) => Err(error(
            22938,
            format!(
                "The captured column list specified with the parameter @captured_column_list must contain the column '{}' of the index that identifies rows of '{full}'.",
                column.name
            ),
        )),
        None => Ok(chosen),
    }
}

struct Described<'a> {
    source: &'a TableDef,
    name: &'a str,
    table: ObjectId,
    index: Option<&'a IndexDef>,
    key: &'a [ColumnDef],
    captured: &'a [ColumnDef],
    net_changes: bool,
}

/// Writes an instance's metadata. Without a start it is NULL: capture sets it when it meets the
/// enabling in the log.
fn describe(
    txn: &mut Txn,
    tables: &Tables,
    new: &Described<'_>,
    wanted: &EnableTable,
    start: Option<Value>,
) -> Result<(), SqlError> {
    let table = Value::Int(new.table);
    let row: Row = Arc::new([
        table.clone(),
        Value::Int(0),
        Value::Int(new.source.id),
        Value::text(new.name),
        start.unwrap_or(Value::Null),
        Value::Null,
        bit(new.net_changes),
        Value::Null,
        text_or_null(wanted.role.as_deref()),
        text_or_null(new.index.map(|index| index.name.as_str())),
        text_or_null(wanted.filegroup.as_deref()),
        datetime(txn.database().clock().local_now()),
        bit(wanted.partition_switch),
    ]);
    txn.insert(tables.change_tables.id, row)?;
    for (at, column) in new.captured.iter().enumerate() {
        let row: Row = Arc::new([
            table.clone(),
            Value::text(&column.name),
            Value::Int(column.id),
            Value::text(column.ty.name()),
            Value::Int(i32::try_from(at + 1).unwrap_or(i32::MAX)),
            bit(column.computed.is_some()),
            text_or_null(column.mask.as_deref()),
        ]);
        txn.insert(tables.captured_columns.id, row)?;
    }
    for (at, column) in new.key.iter().enumerate() {
        let ordinal = Value::TinyInt(u8::try_from(at + 1).unwrap_or(u8::MAX));
        let row: Row =
            Arc::new([table.clone(), Value::text(&column.name), ordinal, Value::Int(column.id)]);
        txn.insert(tables.index_columns.id, row)?;
    }
    Ok(())
}

fn backfill_ddl(
    txn: &mut Txn,
    tables: &Tables,
    instances: &[Instance],
    source: &TableDef,
    new: ObjectId,
) -> Result<(), SqlError> {
    let Some(older) = instances.iter().find(|instance| instance.source == source.id) else {
        return Ok(());
    };
    let view = txn.statement_view()?;
    for (_, row) in tables.of_object(&view, &tables.ddl_history, &Value::Int(older.change_table))? {
        let mut row = row.to_vec();
        row[1] = Value::Int(new);
        txn.insert(tables.ddl_history.id, row.into())?;
    }
    Ok(())
}

/// `sp_cdc_disable_table`: at once, and all that belongs to the instance. Waits for statements
/// that read the change table. `instance` may be `all`.
pub(super) fn disable_table(
    context: &mut Context<'_>,
    schema: &str,
    table: &str,
    instance: &str,
) -> Result<(), SqlError> {
    require_enabled(context)?;
    require_owner(context)?;
    let source = source_table(context.txn, schema, table)?;
    let tables = Tables::open(context.txn)?;
    let view = context.txn.statement_view()?;
    let all = same_name(instance, "all");
    let doomed: Vec<Instance> = tables
        .instances(&view)?
        .into_iter()
        .filter(|found| found.source == source.id && (all || same_name(&found.name, instance)))
        .collect();
    if doomed.is_empty() && !all {
        return Err(error(
            22960,
            format!(
                "Change data capture instance '{instance}' has not been enabled for the source table '{}'. Use sys.sp_cdc_help_change_data_capture to verify the capture instance name for the source table.",
                source.full_name()
            ),
        ));
    }
    let kept = source
        .captures
        .iter()
        .copied()
        .filter(|id| !doomed.iter().any(|d| d.change_table == *id))
        .collect();
    context.txn.set_captures(source.id, kept)?;
    doomed.iter().try_for_each(|instance| drop_instance(context.txn, &tables, instance))
}

pub(super) fn drop_instance(
    txn: &mut Txn,
    tables: &Tables,
    instance: &Instance,
) -> Result<(), SqlError> {
    let id = Value::Int(instance.change_table);
    let view = txn.statement_view()?;
    for table in [
        &tables.captured_columns,
        &tables.index_columns,
        &tables.ddl_history,
        &tables.change_tables,
    ] {
        for (row, _) in tables.of_object(&view, table, &id)? {
            txn.delete(table.id, row)?;
        }
    }
    txn.remove_table(instance.change_table)
}
