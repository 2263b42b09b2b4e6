//! The tables of schema `cdc`, and their rows as Rust sees them.

use std::sync::Arc;

use crate::storage::{
    ColumnDef, ColumnId, Database, Direction, IndexKind, KeyRange, Lsn, ObjectId, Row, RowId,
    TableDef, Txn, View, invalid_object,
};
use crate::{SqlError, SqlType, Value};

/// Columns of a change table before the captured ones.
pub(super) const CT_PREFIX: usize = 5;

const SYSNAME: SqlType = SqlType::NVarChar(Some(128));
const LSN: SqlType = SqlType::Binary(10);

/// `cdc.change_tables`, positions of its columns.
pub(super) mod change_tables {
    pub const OBJECT_ID: usize = 0;
    pub const SOURCE_OBJECT_ID: usize = 2;
    pub const CAPTURE_INSTANCE: usize = 3;
    pub const START_LSN: usize = 4;
    pub const SUPPORTS_NET_CHANGES: usize = 6;
    pub const ROLE_NAME: usize = 8;
    pub const INDEX_NAME: usize = 9;
    pub const FILEGROUP_NAME: usize = 10;
    pub const CREATE_DATE: usize = 11;
}

/// The index of `cdc.change_tables` by capture instance.
const BY_NAME: &str = "change_tables_unique_idx";

fn not_null(name: &str, ty: SqlType) -> ColumnDef {
    ColumnDef::new(name, ty, false)
}

fn null(name: &str, ty: SqlType) -> ColumnDef {
    ColumnDef::new(name, ty, true)
}

/// The tables that `sp_cdc_enable_db` creates.
pub(super) fn system_tables() -> Vec<TableDef> {
    let int = SqlType::Int;
    let mut tables = vec![
        TableDef::new(
            "cdc",
            "change_tables",
            vec![
                not_null("object_id", int.clone()),
                null("version", int.clone()),
                null("source_object_id", int.clone()),
                not_null("capture_instance", SYSNAME),
                null("start_lsn", LSN),
                null("end_lsn", LSN),
                null("supports_net_changes", SqlType::Bit),
                null("has_drop_pending", SqlType::Bit),
                null("role_name", SYSNAME),
                null("index_name", SYSNAME),
                null("filegroup_name", SYSNAME),
                null("create_date", SqlType::DateTime),
                not_null("partition_switch", SqlType::Bit),
            ],
        )
        .with_index("change_tables_clustered_idx", IndexKind::Index, true, true, &["object_id"])
        .with_index(BY_NAME, IndexKind::Index, true, false, &["capture_instance"])
        .with_index(
            "source_object_id_idx",
            IndexKind::Index,
            false,
            false,
            &["source_object_id"],
        ),
        TableDef::new(
            "cdc",
            "captured_columns",
            vec![
                not_null("object_id", int.clone()),
                not_null("column_name", SYSNAME),
                null("column_id", int.clone()),
                not_null("column_type", SYSNAME),
                not_null("column_ordinal", int.clone()),
                null("is_computed", SqlType::Bit),
                null("masking_function", SqlType::NVarChar(Some(4000))),
            ],
        )
        .with_index(
            "captured_columns_clustered_idx",
            IndexKind::Index,
            true,
            true,
            &["object_id", "column_ordinal"],
        ),
        TableDef::new(
            "cdc",
            "index_columns",
            vec![
                not_null("object_id", int.clone()),
                not_null("column_name", SYSNAME),
                not_null("index_ordinal", SqlType::TinyInt),
                not_null("column_id", int.clone()),
            ],
        )
        .with_index(
            "index_columns_clustered_idx",
            IndexKind::Index,
            true,
            true,
            &["object_id", "index_ordinal", "column_id"],
        ),
        TableDef::new(
            "cdc",
            "ddl_history",
            vec![
                null("source_object_id", int.clone()),
                not_null("object_id", int),
                null("required_column_update", SqlType::Bit),
                null("ddl_command", SqlType::NVarChar(None)),
                not_null("ddl_lsn", LSN),
                null("ddl_time", SqlType::DateTime),
            ],
        )
        .with_index(
            "ddl_history_clustered_idx",
            IndexKind::Index,
            false,
            true,
            &["object_id", "ddl_lsn"],
        ),
        TableDef::new(
            "cdc",
            "lsn_time_mapping",
            vec![
                not_null("start_lsn", LSN),
                null("tran_begin_time", SqlType::DateTime),
                null("tran_end_time", SqlType::DateTime),
                null("tran_id", SqlType::VarBinary(Some(10))),
                null("tran_begin_lsn", LSN),
            ],
        )
        .with_index("lsn_time_mapping_clustered_idx", IndexKind::Index, true, true, &["start_lsn"])
        .with_index(
            "lsn_time_mapping_nonunique_idx",
            IndexKind::Index,
            false,
            false,
            &["tran_end_time"],
        ),
    ];
    tables.iter_mut().for_each(|table| table.ms_shipped = true);
    tables
}

/// What a captured column is in a change table: a `rowversion` would count there itself.
pub(super) fn captured_type(ty: &SqlType) -> SqlType {
    match ty {
        SqlType::RowVersion => SqlType::Binary(8),
        other => other.clone(),
    }
}

/// The change table of an instance. `key` are the identifying columns when net changes are
/// supported.
pub(super) fn change_table(instance: &str, captured: &[ColumnDef], key: &[String]) -> TableDef {
    let mut columns = vec![
        not_null("__$start_lsn", LSN),
        null("__$end_lsn", LSN),
        not_null("__$seqval", LSN),
        not_null("__$operation", SqlType::Int),
        null("__$update_mask", SqlType::VarBinary(Some(128))),
    ];
    columns.extend(captured.iter().map(|column| ColumnDef {
        collation: column.collation.clone(),
        // As sys.sp_cdc_vupgrade puts them on the change tables of older instances.
        mask: column.mask.clone(),
        ..null(&column.name, captured_type(&column.ty))
    }));
    columns.push(null("__$command_id", SqlType::Int));
    let order = ["__$start_lsn", "__$command_id", "__$seqval", "__$operation"];
    let name = format!("{instance}_CT");
    let mut table = TableDef::new("cdc", &name, columns).with_index(
        &format!("{name}_clustered_idx"),
        IndexKind::Index,
        true,
        true,
        &order,
    );
    if !key.is_empty() {
        let columns: Vec<&str> = key.iter().map(String::as_str).chain(order).collect();
        table = table.with_index(&format!("{name}_idx"), IndexKind::Index, true, false, &columns);
    }
    table.ms_shipped = true;
    table
}

/// A captured column.
#[derive(Clone, Debug)]
pub(crate) struct CapturedColumn {
    pub(crate) name: String,
    /// `column_id` in the source table.
    pub(crate) id: ColumnId,
    /// From 1: the place in the update mask.
    pub(crate) ordinal: usize,
    pub(crate) computed: bool,
}

/// A capture instance.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) row_id: RowId,
    pub(crate) row: Row,
    pub(crate) change_table: ObjectId,
    pub(crate) source: ObjectId,
    pub(crate) name: String,
    /// `None` until capture has processed the enabling.
    pub(crate) start_lsn: Option<Lsn>,
    pub(crate) supports_net_changes: bool,
    pub(crate) role_name: Option<String>,
    pub(crate) index_name: Option<String>,
    /// By ordinal.
    pub(crate) columns: Vec<CapturedColumn>,
    /// Names of the identifying index's columns, in order.
    pub(crate) key: Vec<String>,
}

impl Instance {
    pub(crate) fn column_ids(&self) -> Vec<ColumnId> {
        self.columns.iter().map(|column| column.id).collect()
    }
}

/// The `cdc` tables of a database by name.
pub(crate) struct Tables {
    pub(crate) change_tables: Arc<TableDef>,
    pub(crate) captured_columns: Arc<TableDef>,
    pub(crate) index_columns: Arc<TableDef>,
    pub(crate) ddl_history: Arc<TableDef>,
    pub(crate) lsn_time_mapping: Arc<TableDef>,
}

impl Tables {
    /// # Errors
    /// 208 where CDC is off.
    pub(crate) fn open(txn: &mut Txn) -> Result<Tables, SqlError> {
        let mut table = |name: &str| {
            txn.table("cdc", name)?.ok_or_else(|| invalid_object(&format!("cdc.{name}")))
        };
        Ok(Tables {
            lsn_time_mapping: table("lsn_time_mapping")?,
            change_tables: table("change_tables")?,
            captured_columns: table("captured_columns")?,
            index_columns: table("index_columns")?,
            ddl_history: table("ddl_history")?,
        })
    }

    /// All instances by creation (their change tables' ids grow).
    pub(crate) fn instances(&self, view: &View) -> Result<Vec<Instance>, SqlError> {
        let rows = view.scan(self.change_tables.id, None, KeyRange::all(), Direction::Forward)?;
        let mut instances = Vec::new();
        for row in rows {
            let (row_id, row) = row?;
            instances.push(self.instance(view, row_id, row)?);
        }
        Ok(instances)
    }

    /// An instance by name, under the database's collation.
    pub(crate) fn find(&self, view: &View, name: &str) -> Result<Option<Instance>, SqlError> {
        let wanted = Value::text(name);
        // The index finds the name as it is written, which is how nearly everybody writes it.
        let by_name = self.change_tables.indexes.iter().find(|i| i.name == BY_NAME).map(|i| i.id);
        let written = KeyRange::prefix(vec![wanted.clone()]);
        for (index, range) in [(by_name, written), (None, KeyRange::all())] {
            for row in view.scan(self.change_tables.id, index, range, Direction::Forward)? {
                let (row_id, row) = row?;
                let name = &row[change_tables::CAPTURE_INSTANCE];
                if name.compare(&wanted) == std::cmp::Ordering::Equal {
                    return self.instance(view, row_id, row).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn instance(&self, view: &View, row_id: RowId, row: Row) -> Result<Instance, SqlError> {
        use change_tables::*;
        let id = row[OBJECT_ID].clone();
        let columns = self.of_object(view, &self.captured_columns, &id)?;
        let keys = self.of_object(view, &self.index_columns, &id)?;
        Ok(Instance {
            change_table: int(&id),
            source: int(&row[SOURCE_OBJECT_ID]),
            name: row[CAPTURE_INSTANCE].to_text().unwrap_or_default(),
            start_lsn: Lsn::from_value(&row[START_LSN]),
            supports_net_changes: row[SUPPORTS_NET_CHANGES] == Value::Bit(true),
            role_name: row[ROLE_NAME].to_text(),
            index_name: row[INDEX_NAME].to_text(),
            columns: columns
                .iter()
                .map(|(_, column)| CapturedColumn {
                    name: column[1].to_text().unwrap_or_default(),
                    id: int(&column[2]),
                    ordinal: usize::try_from(int(&column[4])).unwrap_or(0),
                    computed: column[5] == Value::Bit(true),
                })
                .collect(),
            key: keys.iter().filter_map(|(_, key)| key[1].to_text()).collect(),
            row_id,
            row,
        })
    }

    /// Rows of a metadata table whose first key column is the change table's id.
    pub(crate) fn of_object(
        &self,
        view: &View,
        table: &TableDef,
        id: &Value,
    ) -> Result<Vec<(RowId, Row)>, SqlError> {
        view.scan(table.id, None, KeyRange::prefix(vec![id.clone()]), Direction::Forward)?.collect()
    }

    /// The newest row of `lsn_time_mapping`.
    pub(crate) fn newest_mapping(&self, view: &View) -> Result<Option<Row>, SqlError> {
        let mut rows =
            view.scan(self.lsn_time_mapping.id, None, KeyRange::all(), Direction::Backward)?;
        Ok(rows.next().transpose()?.map(|(_, row)| row))
    }

    /// The row of `lsn_time_mapping` at an LSN.
    pub(crate) fn mapping(&self, view: &View, lsn: Lsn) -> Result<Option<(RowId, Row)>, SqlError> {
        let range = KeyRange::prefix(vec![lsn.to_value()]);
        let mut rows = view.scan(self.lsn_time_mapping.id, None, range, Direction::Forward)?;
        rows.next().transpose()
    }

    /// The index on `tran_end_time`.
    pub(crate) fn by_end_time(&self) -> i32 {
        let index = self.lsn_time_mapping.indexes.iter().find(|index| !index.clustered);
        index.map_or(2, |index| index.id)
    }
}

pub(crate) fn int(value: &Value) -> i32 {
    value.as_i64().and_then(|value| i32::try_from(value).ok()).unwrap_or(0)
}

pub(crate) fn bit(value: bool) -> Value {
    Value::Bit(value)
}

pub(crate) fn text_or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::text)
}

/// Opens a read of the `cdc` tables in a transaction of its own.
pub(crate) fn read<T>(
    database: &Arc<Database>,
    read: impl FnOnce(&mut Txn, &Tables, &View) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    let mut txn = database.begin(crate::IsolationLevel::ReadCommitted);
    let tables = Tables::open(&mut txn)?;
    let view = txn.statement_view()?;
    read(&mut txn, &tables, &view)
}
