//! PostgreSQL's types: which one a source column gets, which others it fits in, their numbers.
//!
//! A column is created with the exact type (`docs/types.md` has the table). A target that exists
//! already may have a wider one of the same family; anything that could round, cut or refuse a value
//! of the source type is a wrong type.

use std::fmt;

use lockstep_common::{Column, LogicalType};

/// A column's type in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Precision and scale; none for unlimited.
    Numeric(Option<(u16, u16)>),
    Text,
    /// Characters; none for unlimited.
    Varchar(Option<u32>),
    /// Characters, padded with blanks.
    Char(u32),
    Bytea,
    Uuid,
    Date,
    /// Fractional digits, 0 to 6.
    Time(u8),
    /// Fractional digits, 0 to 6.
    Timestamp(u8),
    /// Fractional digits, 0 to 6.
    TimestampTz(u8),
    Xml,
    Json,
    Jsonb,
}

/// PostgreSQL stores no more than microseconds.
const MOST_DIGITS: u8 = 6;

/// PostgreSQL's limit on the length of `varchar(n)` and `char(n)`.
const MOST_CHARACTERS: u32 = 10_485_760;

impl PgType {
    /// The type a created column gets; none for a logical type that has no place yet.
    pub(super) fn for_column(column: &Column) -> Option<PgType> {
        Some(match column.ty {
            LogicalType::Bool => PgType::Bool,
            LogicalType::Int { bytes: 1 | 2 } => PgType::Int2,
            LogicalType::Int { bytes: 4 } => PgType::Int4,
            LogicalType::Int { .. } => PgType::Int8,
            LogicalType::Decimal { precision, scale } => {
                PgType::Numeric(Some((precision.into(), scale.into())))
            }
            LogicalType::F32 => PgType::Float4,
            LogicalType::F64 => PgType::Float8,
            LogicalType::String { .. } if is_xml(column) => PgType::Xml,
            LogicalType::String { max: Some(max), .. } if max > MOST_CHARACTERS => PgType::Text,
            LogicalType::String { max: Some(max), fixed: true } => PgType::Char(max),
            LogicalType::String { max: Some(max), fixed: false } => PgType::Varchar(Some(max)),
            LogicalType::String { max: None, .. } | LogicalType::Other => PgType::Text,
            LogicalType::Bytes { .. } => PgType::Bytea,
            LogicalType::Uuid => PgType::Uuid,
            LogicalType::Date => PgType::Date,
            LogicalType::Time { digits } => PgType::Time(digits.min(MOST_DIGITS)),
            LogicalType::Timestamp { digits } => PgType::Timestamp(digits.min(MOST_DIGITS)),
            LogicalType::TimestampTz { digits } => PgType::TimestampTz(digits.min(MOST_DIGITS)),
            LogicalType::Variant | LogicalType::Geometry => return None,
        })
    }

    /// Whether every value of the source column fits into this type unchanged (but for the rules).
    pub(super) fn holds(self, column: &Column) -> bool {
        use PgType::{
            Bool, Bytea, Char, Date, Float4, Float8, Int2, Int4, Int8, Json, Jsonb, Numeric, Text,
            Time, Timestamp, TimestampTz, Uuid, Varchar, Xml,
        };
        match (&column.ty, self) {
            (LogicalType::Bool, Bool)
            | (LogicalType::F32, Float4 | Float8)
            | (LogicalType::F64, Float8)
            | (LogicalType::Int { bytes: 1 | 2 }, Int2 | Int4 | Int8)
            | (LogicalType::Int { bytes: 4 }, Int4 | Int8)
            | (LogicalType::Int { .. }, Int8)
            | (LogicalType::Bytes { .. }, Bytea)
            | (LogicalType::Uuid, Uuid)
            | (LogicalType::Date, Date)
            | (LogicalType::String { .. } | LogicalType::Other, Text | Varchar(None)) => true,
            (LogicalType::Int { bytes }, Numeric(limits)) => {
                let digits = match bytes {
                    1 => 3,
                    2 => 5,
                    4 => 10,
                    _ => 19,
                };
                numeric_holds(limits, digits, 0)
            }
            (LogicalType::Decimal { precision, scale }, Numeric(limits)) => {
                numeric_holds(limits, (*precision).into(), (*scale).into())
            }
            (LogicalType::String { max, .. }, Varchar(Some(n))) => max.is_some_and(|max| max <= n),
            (LogicalType::String { max, fixed: true }, Char(n)) => max.is_some_and(|max| max <= n),
            (LogicalType::String { .. }, Xml) => is_xml(column),
            (LogicalType::String { .. }, Json | Jsonb) => {
                column.source_type.to_ascii_lowercase().starts_with("json")
            }
            (LogicalType::Time { digits }, Time(n))
            | (LogicalType::Timestamp { digits }, Timestamp(n))
            | (LogicalType::TimestampTz { digits }, TimestampTz(n)) => {
                (*digits).min(MOST_DIGITS) <= n
            }
            _ => false,
        }
    }

    /// From `pg_attribute.atttypid` and `atttypmod`; none for a type that apply does not write.
    pub(super) fn from_catalog(oid: u32, typmod: i32) -> Option<PgType> {
        let characters = u32::try_from(typmod - 4).ok();
        let digits = u8::try_from(typmod).unwrap_or(MOST_DIGITS);
        Some(match oid {
            16 => PgType::Bool,
            21 => PgType::Int2,
            23 => PgType::Int4,
            20 => PgType::Int8,
            700 => PgType::Float4,
            701 => PgType::Float8,
            1700 => PgType::Numeric(numeric_limits(typmod)),
            25 => PgType::Text,
            1043 => PgType::Varchar(characters),
            1042 => PgType::Char(characters?),
            17 => PgType::Bytea,
            2950 => PgType::Uuid,
            1082 => PgType::Date,
            1083 => PgType::Time(digits),
            1114 => PgType::Timestamp(digits),
            1184 => PgType::TimestampTz(digits),
            142 => PgType::Xml,
            114 => PgType::Json,
            3802 => PgType::Jsonb,
            _ => return None,
        })
    }

    /// Its number in `pg_type`, and that of its array: both are fixed in PostgreSQL's `pg_type.dat`.
    pub(super) fn oids(self) -> (u32, u32) {
        match self {
            PgType::Bool => (16, 1000),
            PgType::Int2 => (21, 1005),
            PgType::Int4 => (23, 1007),
            PgType::Int8 => (20, 1016),
            PgType::Float4 => (700, 1021),
            PgType::Float8 => (701, 1022),
            PgType::Numeric(_) => (1700, 1231),
            PgType::Text => (25, 1009),
            PgType::Varchar(_) => (1043, 1015),
            PgType::Char(_) => (1042, 1014),
            PgType::Bytea => (17, 1001),
            PgType::Uuid => (2950, 2951),
            PgType::Date => (1082, 1182),
            PgType::Time(_) => (1083, 1183),
            PgType::Timestamp(_) => (1114, 1115),
            PgType::TimestampTz(_) => (1184, 1185),
            PgType::Xml => (142, 143),
            PgType::Json => (114, 199),
            PgType::Jsonb => (3802, 3807),
        }
    }

    /// The type's name without its limits, for casts in statements.
    pub(super) fn base_name(self) -> &'static str {
        match self {
            PgType::Bool => "boolean",
            PgType::Int2 => "smallint",
            PgType::Int4 => "integer",
            PgType::Int8 => "bigint",
            PgType::Float4 => "real",
            PgType::Float8 => "double precision",
            PgType::Numeric(_) => "numeric",
            PgType::Text => "text",
            PgType::Varchar(_) => "varchar",
            PgType::Char(_) => "bpchar",
            PgType::Bytea => "bytea",
            PgType::Uuid => "uuid",
            PgType::Date => "date",
            PgType::Time(_) => "time",
            PgType::Timestamp(_) => "timestamp",
            PgType::TimestampTz(_) => "timestamptz",
            PgType::Xml => "xml",
            PgType::Json => "json",
            PgType::Jsonb => "jsonb",
        }
    }
}

/// As it stands in `CREATE TABLE`.
impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PgType::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            PgType::Varchar(Some(n)) => write!(f, "varchar({n})"),
            PgType::Char(n) => write!(f, "char({n})"),
            PgType::Time(n) => write!(f, "time({n})"),
            PgType::Timestamp(n) => write!(f, "timestamp({n})"),
            PgType::TimestampTz(n) => write!(f, "timestamptz({n})"),
            other => f.write_str(other.base_name()),
        }
    }
}

fn is_xml(column: &Column) -> bool {
    column.source_type.eq_ignore_ascii_case("xml")
}

/// Whether `precision` digits of which `scale` stand after the point fit.
fn numeric_holds(limits: Option<(u16, u16)>, precision: u16, scale: u16) -> bool {
    limits.is_none_or(|(p, s)| s >= scale && p - s >= precision - scale)
}

/// `numeric_in`'s typmod: precision and scale (11 bits, signed) behind the header's four bytes. A
/// negative scale, or one above the precision, is a limit no source type has: taken as the tightest.
fn numeric_limits(typmod: i32) -> Option<(u16, u16)> {
    let packed = u32::try_from(typmod - 4).ok()?;
    let precision = u16::try_from(packed >> 16).ok()?;
    let scale = u16::try_from(packed & 0x7ff).ok()?;
    Some(if scale <= precision { (precision, scale) } else { (0, 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(ty: LogicalType) -> Column {
        Column {
            name: "c".into(),
            ty,
            source_type: String::new(),
            nullable: true,
            collation: None,
            identity: false,
            computed: false,
        }
    }

    #[test]
    fn a_created_type_holds_its_column() {
        let types = [
            LogicalType::Bool,
            LogicalType::Int { bytes: 1 },
            LogicalType::Int { bytes: 8 },
            LogicalType::Decimal { precision: 38, scale: 10 },
            LogicalType::String { max: Some(40), fixed: false },
            LogicalType::String { max: Some(4), fixed: true },
            LogicalType::String { max: None, fixed: false },
            LogicalType::Time { digits: 7 },
            LogicalType::Timestamp { digits: 3 },
            LogicalType::TimestampTz { digits: 7 },
        ];
        for ty in types {
            let column = column(ty);
            assert!(PgType::for_column(&column).unwrap().holds(&column), "{:?}", column.ty);
        }
    }

    #[test]
    fn narrower_types_do_not_hold() {
        let decimal = column(LogicalType::Decimal { precision: 10, scale: 4 });
        assert!(PgType::Numeric(None).holds(&decimal));
        assert!(PgType::Numeric(Some((12, 4))).holds(&decimal));
        assert!(!PgType::Numeric(Some((10, 2))).holds(&decimal));
        assert!(!PgType::Numeric(Some((10, 5))).holds(&decimal));
        assert!(
            !PgType::Varchar(Some(9))
                .holds(&column(LogicalType::String { max: Some(10), fixed: false }))
        );
        assert!(!PgType::Timestamp(0).holds(&column(LogicalType::Timestamp { digits: 3 })));
        assert!(!PgType::Int2.holds(&column(LogicalType::Int { bytes: 4 })));
    }

    #[test]
    fn reads_the_catalogue_as_it_packs() {
        // numeric(18,4): ((18 << 16) | 4) + 4
        assert_eq!(
            PgType::from_catalog(1700, (18 << 16 | 4) + 4),
            Some(PgType::Numeric(Some((18, 4))))
        );
        assert_eq!(PgType::from_catalog(1700, -1), Some(PgType::Numeric(None)));
        assert_eq!(PgType::from_catalog(1043, 44), Some(PgType::Varchar(Some(40))));
        assert_eq!(PgType::from_catalog(1114, -1), Some(PgType::Timestamp(6)));
        assert_eq!(PgType::from_catalog(600, -1), None);
    }
}
