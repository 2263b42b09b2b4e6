//! SQL Server's types: what each is called, what it becomes in the value model, how it is selected
//! and how it is read from the wire.
//!
//! Two rules shape the select list. Text is always selected as the bytes it is stored in, never as
//! text: the driver refuses (or replaces) UTF-16 that is not valid Unicode and does not know every
//! code page, while the bytes lose nothing. UTF-16, UTF-8 and code page 1252 are decoded here; any
//! other code page is converted to UTF-16 by the server, whose own conversion is the truth.
//! And what the driver reads inexactly (money as a float) or not at all is cast to what it reads
//! exactly: `json` and `vector` (SQL Server 2025) to their text, `geometry` and `geography` to the bytes
//! of their serialization (`super::spatial`), `sql_variant` to text of a form of its own
//! (`super::variant`).
//!
//! An alias type (`CREATE TYPE … FROM`) is the type that it stands for: `system_type_id` is that type's.
//!
//! A cast to a bounded length would cut a column that was widened meanwhile; that is why a window's
//! shape is verified after it was read (`Source::verify`), never only before.

use lockstep_common::LogicalType;

use super::variant;

mod key;

pub use key::{KeyType, key_type};

/// A column as `sys.columns` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawColumn {
    /// `name`
    pub name: String,
    /// `column_id`
    pub column_id: i32,
    /// `system_type_id`
    pub system_type: u8,
    /// `user_type_id`: tells the CLR types apart, which share a system type.
    pub user_type: i32,
    /// `max_length`: bytes, -1 for MAX.
    pub max_length: i16,
    /// `precision`
    pub precision: u8,
    /// `scale`
    pub scale: u8,
    /// `collation_name`
    pub collation: Option<String>,
    /// `is_nullable`
    pub nullable: bool,
    /// `is_identity`
    pub identity: bool,
    /// `is_computed`
    pub computed: bool,
}

/// How the wire's value becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// bit, integers, floats, decimals, times, uniqueidentifier: as the driver gives them.
    Plain,
    /// Bytes that are bytes.
    Bytes,
    /// Bytes of UTF-16, little-endian.
    Utf16,
    /// Bytes of UTF-8.
    Utf8,
    /// Bytes of code page 1252.
    Cp1252,
    /// Bytes of UTF-16: the text of a type that has no place in the value model.
    Other,
    /// A variant, in the form that [`variant::expression`] gives it.
    Variant,
    /// A `geometry`, serialized.
    Geometry,
    /// A `geography`, serialized.
    Geography,
}

/// When a NULL in a change table means "not recorded" (docs/reader-rules.md, rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Never.
    Always,
    /// MAX types and xml, and likewise what is stored as they are (`geometry`, `geography`, `json`,
    /// `vector`): in a row of an update, unless its mask says the column was set.
    WhenSet,
    /// text, ntext, image: in the old row of an update and in a delete, and as above in the new row.
    NewOnly,
    /// Computed columns: always.
    Never,
}

/// How a type is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePlan {
    /// Its place in the value model.
    pub logical: LogicalType,
    /// SQL Server's words for it.
    pub source_type: String,
    /// How the wire's value becomes a value.
    pub reading: Reading,
    /// When NULL means unknown.
    pub recording: Recording,
    cast: Cast,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cast {
    None,
    /// `CAST(x AS …)`
    To(String),
    /// `CAST(CAST(x AS …) AS …)`
    Through(&'static str, String),
    /// `CAST(x.ToString() AS nvarchar(4000))`, then to bytes.
    ToText,
    /// [`variant::expression`]
    Variant,
}

impl TypePlan {
    /// The select-list expression for the column that `column` names.
    pub fn expression(&self, column: &str) -> String {
        match &self.cast {
            Cast::None => column.to_owned(),
            Cast::To(ty) => format!("CAST({column} AS {ty})"),
            Cast::Through(first, second) => {
                format!("CAST(CAST({column} AS {first}) AS {second})")
            }
            Cast::ToText => {
                format!("CAST(CAST({column}.ToString() AS nvarchar(4000)) AS varbinary(8000))")
            }
            Cast::Variant => variant::expression(column),
        }
    }
}

/// Numbers of `sys.types.system_type_id`.
mod id {
    pub const IMAGE: u8 = 34;
    pub const TEXT: u8 = 35;
    pub const UNIQUEIDENTIFIER: u8 = 36;
    pub const DATE: u8 = 40;
    pub const TIME: u8 = 41;
    pub const DATETIME2: u8 = 42;
    pub const DATETIMEOFFSET: u8 = 43;
    pub const TINYINT: u8 = 48;
    pub const SMALLINT: u8 = 52;
    pub const INT: u8 = 56;
    pub const SMALLDATETIME: u8 = 58;
    pub const REAL: u8 = 59;
    pub const MONEY: u8 = 60;
    pub const DATETIME: u8 = 61;
    pub const FLOAT: u8 = 62;
    pub const SQL_VARIANT: u8 = 98;
    pub const NTEXT: u8 = 99;
    pub const BIT: u8 = 104;
    pub const DECIMAL: u8 = 106;
    pub const NUMERIC: u8 = 108;
    pub const SMALLMONEY: u8 = 122;
    pub const BIGINT: u8 = 127;
    pub const VARBINARY: u8 = 165;
    pub const VARCHAR: u8 = 167;
    pub const BINARY: u8 = 173;
    pub const CHAR: u8 = 175;
    pub const TIMESTAMP: u8 = 189;
    pub const NVARCHAR: u8 = 231;
    pub const NCHAR: u8 = 239;
    pub const CLR: u8 = 240;
    pub const XML: u8 = 241;
    pub const JSON: u8 = 244;
    /// `user_type_id` of hierarchyid.
    pub const HIERARCHYID: i32 = 128;
    pub const GEOMETRY: i32 = 129;
    pub const GEOGRAPHY: i32 = 130;
    /// `user_type_id` of vector.
    pub const VECTOR: i32 = 255;
}

/// How a column is read; `None` for a type without a rule: user-defined CLR types, and what this
/// version does not know.
pub fn plan(column: &RawColumn) -> Option<TypePlan> {
    use LogicalType as L;
    let plain = |logical| Some((logical, Reading::Plain, Cast::None));
    let max_text = || Cast::Through("nvarchar(max)", "varbinary(max)".to_owned());
    let spatial = |reading| Some((L::Geometry, reading, Cast::To("varbinary(max)".to_owned())));
    let (logical, reading, cast) = match column.system_type {
        // Before varbinary, whose system type it has.
        _ if is_vector(column) => Some((L::Other, Reading::Other, max_text())),
        id::BIT => plain(L::Bool),
        id::TINYINT => plain(L::Int { bytes: 1 }),
        id::SMALLINT => plain(L::Int { bytes: 2 }),
        id::INT => plain(L::Int { bytes: 4 }),
        id::BIGINT => plain(L::Int { bytes: 8 }),
        id::DECIMAL | id::NUMERIC => {
            plain(L::Decimal { precision: column.precision, scale: column.scale })
        }
        id::MONEY => Some(money(19)),
        id::SMALLMONEY => Some(money(10)),
        id::REAL => plain(L::F32),
        id::FLOAT => plain(L::F64),
        id::DATE => plain(L::Date),
        id::TIME => plain(L::Time { digits: column.scale }),
        id::DATETIME => plain(L::Timestamp { digits: 3 }),
        id::SMALLDATETIME => plain(L::Timestamp { digits: 0 }),
        id::DATETIME2 => plain(L::Timestamp { digits: column.scale }),
        id::DATETIMEOFFSET => plain(L::TimestampTz { digits: column.scale }),
        id::UNIQUEIDENTIFIER => plain(L::Uuid),
        id::BINARY | id::VARBINARY | id::TIMESTAMP => {
            Some((L::Bytes { max: bytes(column) }, Reading::Bytes, Cast::None))
        }
        id::IMAGE => {
            Some((L::Bytes { max: None }, Reading::Bytes, Cast::To("varbinary(max)".to_owned())))
        }
        id::NCHAR | id::NVARCHAR | id::NTEXT | id::CHAR | id::VARCHAR | id::TEXT => {
            Some(text(column))
        }
        id::XML | id::JSON => {
            Some((L::String { max: None, fixed: false }, Reading::Utf16, max_text()))
        }
        id::SQL_VARIANT => Some((L::Variant, Reading::Variant, Cast::Variant)),
        id::CLR => match column.user_type {
            id::HIERARCHYID => Some((L::Other, Reading::Other, Cast::ToText)),
            id::GEOMETRY => spatial(Reading::Geometry),
            id::GEOGRAPHY => spatial(Reading::Geography),
            _ => None,
        },
        _ => None,
    }?;
    let recording = recording(column);
    Some(TypePlan { logical, source_type: source_type(column), reading, recording, cast })
}

fn money(precision: u8) -> (LogicalType, Reading, Cast) {
    let ty = format!("decimal({precision},4)");
    (LogicalType::Decimal { precision, scale: 4 }, Reading::Plain, Cast::To(ty))
}

/// Whether the column is a vector. Its user type alone says so: its system type is that of varbinary,
/// as which SQL Server 2025 stores it. (User types of one's own begin at 257.)
pub fn is_vector(column: &RawColumn) -> bool {
    column.user_type == id::VECTOR
}

/// Length limit in bytes; none for MAX.
fn bytes(column: &RawColumn) -> Option<u32> {
    u32::try_from(column.max_length).ok()
}

/// `varbinary(n)` for the column's own length.
fn as_bytes(column: &RawColumn) -> String {
    match bytes(column) {
        Some(n) => format!("varbinary({n})"),
        None => "varbinary(max)".to_owned(),
    }
}

fn text(column: &RawColumn) -> (LogicalType, Reading, Cast) {
    let national = matches!(column.system_type, id::NCHAR | id::NVARCHAR | id::NTEXT);
    let old_lob = matches!(column.system_type, id::NTEXT | id::TEXT);
    let max = bytes(column).filter(|_| !old_lob).map(|n| if national { n / 2 } else { n });
    let fixed = matches!(column.system_type, id::NCHAR | id::CHAR);
    let logical = LogicalType::String { max, fixed };
    let whole = || "varbinary(max)".to_owned();
    if national {
        let cast = if old_lob {
            Cast::Through("nvarchar(max)", whole())
        } else {
            Cast::To(as_bytes(column))
        };
        return (logical, Reading::Utf16, cast);
    }
    match (own_encoding(column), old_lob) {
        (Some(reading), false) => (logical, reading, Cast::To(as_bytes(column))),
        (Some(reading), true) => (logical, reading, Cast::Through("varchar(max)", whole())),
        // n bytes of a code page are at most n UTF-16 units, and nvarchar(4000) is the longest
        // that is not MAX.
        (None, _) => match max {
            Some(n) if n <= 4000 => {
                let twice = format!("varbinary({})", 2 * n);
                (logical, Reading::Utf16, Cast::Through("nvarchar(4000)", twice))
            }
            _ => (logical, Reading::Utf16, Cast::Through("nvarchar(max)", whole())),
        },
    }
}

/// The encoding of a char or varchar column, if it is one that is decoded here. The names are
/// those of SQL Server's collations: `Latin1_General` and `SQL_Latin1_General_CP1` have code page
/// 1252 (`sys.fn_helpcollations`), and `_UTF8` ends the name of every UTF-8 collation.
fn own_encoding(column: &RawColumn) -> Option<Reading> {
    let name = column.collation.as_deref()?.to_ascii_uppercase();
    if name.ends_with("_UTF8") {
        Some(Reading::Utf8)
    } else if name.starts_with("LATIN1_GENERAL_") || name.starts_with("SQL_LATIN1_GENERAL_CP1_") {
        Some(Reading::Cp1252)
    } else {
        None
    }
}

fn recording(column: &RawColumn) -> Recording {
    match column.system_type {
        _ if column.computed => Recording::Never,
        id::TEXT | id::NTEXT | id::IMAGE => Recording::NewOnly,
        id::XML | id::JSON => Recording::WhenSet,
        id::CLR if column.user_type != id::HIERARCHYID => Recording::WhenSet,
        _ if is_vector(column) => Recording::WhenSet,
        id::VARCHAR | id::NVARCHAR | id::VARBINARY if column.max_length == -1 => Recording::WhenSet,
        _ => Recording::Always,
    }
}

/// The type as SQL Server's documents write it: `nvarchar(40)`, `decimal(10,2)`.
pub fn source_type(column: &RawColumn) -> String {
    let length = |divisor: i16| match column.max_length {
        -1 => "(max)".to_owned(),
        n => format!("({})", n / divisor),
    };
    match column.system_type {
        id::CHAR => format!("char{}", length(1)),
        id::VARCHAR => format!("varchar{}", length(1)),
        id::BINARY => format!("binary{}", length(1)),
        // Eight bytes of header, and four for each number.
        _ if is_vector(column) => format!("vector({})", (column.max_length - 8) / 4),
        id::VARBINARY => format!("varbinary{}", length(1)),
        id::NCHAR => format!("nchar{}", length(2)),
        id::NVARCHAR => format!("nvarchar{}", length(2)),
        id::DECIMAL => format!("decimal({},{})", column.precision, column.scale),
        id::NUMERIC => format!("numeric({},{})", column.precision, column.scale),
        id::TIME => format!("time({})", column.scale),
        id::DATETIME2 => format!("datetime2({})", column.scale),
        id::DATETIMEOFFSET => format!("datetimeoffset({})", column.scale),
        other => plain_name(other, column.user_type).to_owned(),
    }
}

fn plain_name(system_type: u8, user_type: i32) -> &'static str {
    match system_type {
        id::BIT => "bit",
        id::TINYINT => "tinyint",
        id::SMALLINT => "smallint",
        id::INT => "int",
        id::BIGINT => "bigint",
        id::MONEY => "money",
        id::SMALLMONEY => "smallmoney",
        id::REAL => "real",
        id::FLOAT => "float",
        id::DATE => "date",
        id::DATETIME => "datetime",
        id::SMALLDATETIME => "smalldatetime",
        id::UNIQUEIDENTIFIER => "uniqueidentifier",
        id::TIMESTAMP => "timestamp",
        id::IMAGE => "image",
        id::TEXT => "text",
        id::NTEXT => "ntext",
        id::XML => "xml",
        id::SQL_VARIANT => "sql_variant",
        id::JSON => "json",
        id::CLR => match user_type {
            id::HIERARCHYID => "hierarchyid",
            id::GEOMETRY => "geometry",
            id::GEOGRAPHY => "geography",
            _ => "a user-defined CLR type",
        },
        _ => "a type unknown to this version",
    }
}

/// text, ntext and image.
pub fn is_old_lob(column: &RawColumn) -> bool {
    matches!(column.system_type, id::TEXT | id::NTEXT | id::IMAGE)
}

/// Whether a text column's code page is not decoded here but by the server, and the change table
/// may hold it damaged (docs/reader-rules.md, rule 16).
pub fn foreign_code_page(column: &RawColumn, database_collation: Option<&str>) -> bool {
    matches!(column.system_type, id::CHAR | id::VARCHAR | id::TEXT)
        && own_encoding(column).is_none()
        && column.collation.as_deref() != database_collation
}

#[cfg(test)]
mod tests;
