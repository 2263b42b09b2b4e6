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
    /// The source's identity of the column within its table, stable under rename and never given again;
    /// none in versions written before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i32>,
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
    /// What else tells the table object apart from every other; none in versions written before it was
    /// recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Name at this version.
    pub name: TableName,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the key that identifies a row; empty for a table without one.
    pub key: Vec<u16>,
}

/// Where and when a table object came to be. Its number alone does not identify it: a restored database
/// gives numbers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The timeline of the log under which the table was first seen.
    pub timeline: u32,
    /// When the source made it, 100 ns since 1970-01-01 on the source's clock.
    pub created: i64,
}

/// A table object of the source: the same under every name and in every shape, and another one once
/// it has been dropped and made again, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableRef {
    /// The source's identity of the table object.
    pub object_id: i64,
    /// None where it is known only from versions that did not record it.
    pub origin: Option<Origin>,
}

impl TableRef {
    /// Whether two refs may be of one table: what one of them does not record cannot tell them apart.
    pub fn matches(&self, other: &TableRef) -> bool {
        let origins = self.origin.zip(other.origin);
        self.object_id == other.object_id && origins.is_none_or(|(own, other)| own == other)
    }
}

/// `object_id`, and behind it, where it is recorded, `@timeline/created`.
impl std::fmt::Display for TableRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.object_id)?;
        match self.origin {
            Some(Origin { timeline, created }) => write!(f, "@{timeline}/{created}"),
            None => Ok(()),
        }
    }
}

/// Reads what [`TableRef`]'s `Display` writes.
impl std::str::FromStr for TableRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let Some((object_id, origin)) = text.split_once('@') else {
                return Some(TableRef { object_id: text.parse().ok()?, origin: None });
            };
            let (timeline, created) = origin.split_once('/')?;
            let origin =
                Origin { timeline: timeline.parse().ok()?, created: created.parse().ok()? };
            Some(TableRef { object_id: object_id.parse().ok()?, origin: Some(origin) })
        };
        parse().ok_or_else(|| format!("{text} does not identify a table"))
    }
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
    /// The table whose shape it is.
    pub fn table_ref(&self) -> TableRef {
        TableRef { object_id: self.object_id, origin: self.origin }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> TableVersion {
        TableVersion {
            dialect: "sqlserver".into(),
            object_id: 5,
            origin: None,
            name: TableName { schema: "dbo".into(), table: "t".into() },
            columns: vec![Column {
                id: None,
                name: "a".into(),
                ty: LogicalType::Bool,
                source_type: "bit".into(),
                nullable: false,
                collation: None,
                identity: false,
                computed: false,
            }],
            key: vec![0],
        }
    }

    fn with_column_id(id: i32) -> TableVersion {
        let mut version = version();
        version.columns[0].id = Some(id);
        version
    }

    /// Logs and targets of earlier builds name versions by these numbers.
    #[test]
    fn a_version_without_new_fields_keeps_its_identity() {
        let json = r#"{"dialect":"sqlserver","object_id":5,"name":{"schema":"dbo","table":"t"},"columns":[{"name":"a","ty":"bool","source_type":"bit","nullable":false,"collation":null,"identity":false,"computed":false}],"key":[0]}"#;
        assert_eq!(serde_json::to_string(&version()).unwrap(), json);
        assert_eq!(serde_json::from_str::<TableVersion>(json).unwrap(), version());
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(json);
        assert_eq!(version().id().0.to_be_bytes(), digest[..8]);
    }

    #[test]
    fn a_column_made_again_and_a_table_made_again_are_other_versions() {
        let origin = |created| Some(Origin { timeline: 1, created });
        let versions = [
            version(),
            with_column_id(1),
            with_column_id(2),
            TableVersion { origin: origin(1), ..with_column_id(1) },
            TableVersion { origin: origin(2), ..with_column_id(1) },
        ];
        let ids: std::collections::HashSet<_> = versions.iter().map(TableVersion::id).collect();
        assert_eq!(ids.len(), versions.len());
    }

    #[test]
    fn refs_are_read_as_they_are_written_and_match_what_records_less() {
        let of = |object_id, origin| TableRef { object_id, origin };
        let origin = |timeline, created| Some(Origin { timeline, created });
        let refs =
            [of(-5, None), of(7, origin(1, 10)), of(7, origin(2, 10)), of(7, origin(1, -11))];
        for one in refs {
            assert_eq!(one.to_string().parse(), Ok(one));
            assert!(one.matches(&one) && of(one.object_id, None).matches(&one));
            assert!(!one.matches(&of(8, one.origin)));
        }
        assert!(!refs[1].matches(&refs[2]) && !refs[1].matches(&refs[3]));
        for wrong in ["", "x", "7@1", "7@1/", "7@/1", "7/1", "7@1/2/3"] {
            assert!(wrong.parse::<TableRef>().is_err(), "{wrong}");
        }
    }
}
