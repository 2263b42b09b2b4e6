//! A version of a source table's shape, and the identity of that version.

use serde::{Deserialize, Serialize};

use crate::model::name::written_mssql;

/// Name of a source table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Schema, e.g. `dbo`.
    pub schema: String,
    /// Table.
    pub table: String,
}

/// `schema.table`, and no two tables alike: what has a dot or a bracket in it stands in brackets.
impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (schema, table) = (written_mssql(&self.schema), written_mssql(&self.table));
        write!(f, "{schema}.{table}")
    }
}

/// The neutral type of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogicalType {
    /// [`Value::Bool`](crate::Value::Bool)
    Bool,
    /// An integer of 1 (unsigned), 2, 4 or 8 bytes.
    Int {
        /// 1, 2, 4 or 8.
        bytes: u8,
    },
    /// A decimal.
    Decimal {
        /// 1 to 38.
        precision: u8,
        /// 0 to `precision`.
        scale: u8,
    },
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// Text.
    String {
        /// Length limit in the source's units, none for unlimited.
        max: Option<u32>,
        /// Padded with blanks to `max`.
        fixed: bool,
    },
    /// Bytes.
    Bytes {
        /// Length limit, none for unlimited.
        max: Option<u32>,
    },
    /// A UUID.
    Uuid,
    /// A date.
    Date,
    /// A time of day.
    Time {
        /// Fractional digits, 0 to 7.
        digits: u8,
    },
    /// A timestamp without time zone.
    Timestamp {
        /// Fractional digits, 0 to 7.
        digits: u8,
    },
    /// A timestamp with offset.
    TimestampTz {
        /// Fractional digits, 0 to 7.
        digits: u8,
    },
    /// A value that carries its type.
    Variant,
    /// A geometry or geography.
    Geometry,
    /// The source's text of a type without a place above.
    Other,
}

/// One column of a table version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Neutral type.
    pub ty: LogicalType,
    /// The source's own words for the type, e.g. `nvarchar(40)`.
    pub source_type: String,
    /// Whether the source table allows NULL.
    pub nullable: bool,
    /// The source's collation of a text column.
    pub collation: Option<String>,
    /// Whether the source generates it as an identity.
    pub identity: bool,
    /// Whether the source computes it. Computed columns that the source never refreshes arrive as
    /// [`Value::Unavailable`](crate::Value::Unavailable).
    pub computed: bool,
}

/// A table's shape from some point of the order on. Rows are arrays in its column order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableVersion {
    /// The source's dialect, e.g. `sqlserver`.
    pub dialect: String,
    /// The source's identity of the table object, stable under rename.
    pub object_id: i64,
    /// Name at this version.
    pub name: TableName,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the key that identifies a row; empty for a table without one.
    pub key: Vec<u16>,
}

/// The identity of a table version: a fingerprint of its content, so that the same thing has the
/// same id wherever it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableId(pub u64);

impl std::fmt::Display for TableId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TableVersion {
    /// First eight bytes of the SHA-256 over the version's canonical JSON.
    pub fn id(&self) -> TableId {
        use sha2::{Digest, Sha256};
        let canonical =
            serde_json::to_vec(self).expect("a table version has only JSON-able fields");
        let digest = Sha256::digest(&canonical);
        let head = digest.first_chunk::<8>().expect("SHA-256 has 32 bytes");
        TableId(u64::from_be_bytes(*head))
    }
}
