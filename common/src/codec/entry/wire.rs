//! The entries as `schemas/*.avsc` lay them out, for serde.

use serde::{Deserialize, Serialize};

use super::KeptPosition;
use crate::codec::DecodeError;
use crate::model::record::SourceTime;
use crate::{Column, LogicalType, Origin, Position, TableId, TableName, TableVersion};

#[derive(Serialize, Deserialize)]
pub(super) struct Log {
    pub(super) log_id: String,
    pub(super) created: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WriterSchema {
    pub(super) fingerprint: i64,
    pub(super) json: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "KeptPosition")]
pub(super) struct Kept {
    log_id: String,
    epoch: i64,
    position: Position,
    time: i64,
    #[serde(with = "apache_avro::serde::bytes_opt")]
    transaction_id: Option<Vec<u8>>,
    source_time: Option<Time>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "SourceTime")]
struct Time {
    raw: String,
    offset: i16,
}

impl From<&KeptPosition> for Kept {
    fn from(kept: &KeptPosition) -> Self {
        Kept {
            log_id: kept.log_id.to_string(),
            epoch: kept.epoch.cast_signed(),
            position: kept.position,
            time: kept.time,
            transaction_id: kept.transaction_id.clone(),
            source_time: kept
                .source_time
                .as_ref()
                .map(|time| Time { raw: time.raw.clone(), offset: time.offset }),
        }
    }
}

impl TryFrom<Kept> for KeptPosition {
    type Error = DecodeError;

    fn try_from(kept: Kept) -> Result<Self, DecodeError> {
        Ok(KeptPosition {
            log_id: log_id(&kept.log_id)?,
            epoch: u64::try_from(kept.epoch)
                .map_err(|_| DecodeError::Corrupt("an epoch below zero"))?,
            position: kept.position,
            time: kept.time,
            transaction_id: kept.transaction_id,
            source_time: kept
                .source_time
                .map(|time| SourceTime { raw: time.raw, offset: time.offset }),
        })
    }
}

pub(super) fn log_id(text: &str) -> Result<uuid::Uuid, DecodeError> {
    text.parse().map_err(|_| DecodeError::Corrupt("a log id that is no UUID"))
}

pub(super) fn table_id(text: &str) -> Result<TableId, DecodeError> {
    let id = u64::from_str_radix(text, 16);
    id.map(TableId).map_err(|_| DecodeError::Corrupt("a table id that is no hexadecimal number"))
}

#[derive(Serialize, Deserialize)]
pub(super) struct Table {
    dialect: String,
    object_id: i64,
    schema: String,
    table: String,
    columns: Vec<TableColumn>,
    key: Vec<u16>,
    origin: Option<Origin>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Column")]
struct TableColumn {
    name: String,
    #[serde(rename = "type")]
    ty: TypeName,
    width: Option<u8>,
    precision: Option<u8>,
    scale: Option<u8>,
    max: Option<u32>,
    fixed: Option<bool>,
    digits: Option<u8>,
    source_type: String,
    nullable: bool,
    collation: Option<String>,
    identity: bool,
    computed: bool,
    column_id: Option<i32>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename = "LogicalType", rename_all = "UPPERCASE")]
enum TypeName {
    Bool,
    Int,
    Decimal,
    F32,
    F64,
    String,
    Bytes,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Variant,
    Geometry,
    Other,
}

impl From<&TableVersion> for Table {
    fn from(version: &TableVersion) -> Self {
        Table {
            dialect: version.dialect.clone(),
            object_id: version.object_id,
            schema: version.name.schema.clone(),
            table: version.name.table.clone(),
            columns: version.columns.iter().map(TableColumn::from).collect(),
            key: version.key.clone(),
            origin: version.origin,
        }
    }
}

impl TryFrom<Table> for TableVersion {
    type Error = DecodeError;

    fn try_from(table: Table) -> Result<Self, DecodeError> {
        let columns: Vec<Column> =
            table.columns.into_iter().map(Column::try_from).collect::<Result<_, _>>()?;
        if table.key.iter().any(|i| usize::from(*i) >= columns.len()) {
            return Err(DecodeError::Corrupt("a key column that its table lacks"));
        }
        Ok(TableVersion {
            dialect: table.dialect,
            object_id: table.object_id,
            origin: table.origin,
            name: TableName { schema: table.schema, table: table.table },
            columns,
            key: table.key,
        })
    }
}

impl From<&Column> for TableColumn {
    fn from(column: &Column) -> Self {
        let mut out = TableColumn {
            name: column.name.clone(),
            ty: TypeName::Other,
            width: None,
            precision: None,
            scale: None,
            max: None,
            fixed: None,
            digits: None,
            source_type: column.source_type.clone(),
            nullable: column.nullable,
            collation: column.collation.clone(),
            identity: column.identity,
            computed: column.computed,
            column_id: column.id,
        };
        out.ty = match column.ty {
            LogicalType::Bool => TypeName::Bool,
            LogicalType::Int { bytes } => {
                out.width = Some(bytes);
                TypeName::Int
            }
            LogicalType::Decimal { precision, scale } => {
                (out.precision, out.scale) = (Some(precision), Some(scale));
                TypeName::Decimal
            }
            LogicalType::F32 => TypeName::F32,
            LogicalType::F64 => TypeName::F64,
            LogicalType::String { max, fixed } => {
                (out.max, out.fixed) = (max, Some(fixed));
                TypeName::String
            }
            LogicalType::Bytes { max } => {
                out.max = max;
                TypeName::Bytes
            }
            LogicalType::Uuid => TypeName::Uuid,
            LogicalType::Date => TypeName::Date,
            LogicalType::Time { digits } => {
                out.digits = Some(digits);
                TypeName::Time
            }
            LogicalType::Timestamp { digits } => {
                out.digits = Some(digits);
                TypeName::Timestamp
            }
            LogicalType::TimestampTz { digits } => {
                out.digits = Some(digits);
                TypeName::TimestampTz
            }
            LogicalType::Variant => TypeName::Variant,
            LogicalType::Geometry => TypeName::Geometry,
            LogicalType::Other => TypeName::Other,
        };
        out
    }
}

impl TryFrom<TableColumn> for Column {
    type Error = DecodeError;

    fn try_from(column: TableColumn) -> Result<Self, DecodeError> {
        let ty = column.logical_type().ok_or(DecodeError::Corrupt("a type without its facets"))?;
        Ok(Column {
            id: column.column_id,
            name: column.name,
            ty,
            source_type: column.source_type,
            nullable: column.nullable,
            collation: column.collation,
            identity: column.identity,
            computed: column.computed,
        })
    }
}

impl TableColumn {
    /// `None` when a facet that the type needs is absent.
    fn logical_type(&self) -> Option<LogicalType> {
        Some(match self.ty {
            TypeName::Bool => LogicalType::Bool,
            TypeName::Int => LogicalType::Int { bytes: self.width? },
            TypeName::Decimal => {
                LogicalType::Decimal { precision: self.precision?, scale: self.scale? }
            }
            TypeName::F32 => LogicalType::F32,
            TypeName::F64 => LogicalType::F64,
            TypeName::String => LogicalType::String { max: self.max, fixed: self.fixed? },
            TypeName::Bytes => LogicalType::Bytes { max: self.max },
            TypeName::Uuid => LogicalType::Uuid,
            TypeName::Date => LogicalType::Date,
            TypeName::Time => LogicalType::Time { digits: self.digits? },
            TypeName::Timestamp => LogicalType::Timestamp { digits: self.digits? },
            TypeName::TimestampTz => LogicalType::TimestampTz { digits: self.digits? },
            TypeName::Variant => LogicalType::Variant,
            TypeName::Geometry => LogicalType::Geometry,
            TypeName::Other => LogicalType::Other,
        })
    }
}
