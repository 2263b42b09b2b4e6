//! PostgreSQL's types: their names, their limits, their numbers. `fit` says which one a source column
//! gets, `mapping` what a configuration says of that.

mod fit;
mod parse;

use std::fmt;

pub(super) use fit::{base_name, is_limited};

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
    /// `real[]`, of one dimension.
    Reals,
    /// Of the extension citext: text whose equality ignores case.
    Citext,
    /// Of PostGIS.
    Geometry,
    /// Of PostGIS.
    Geography,
    /// Of pgvector; dimensions, none for any.
    Vector(Option<u16>),
}

/// PostgreSQL stores no more than microseconds.
pub(super) const MOST_DIGITS: u8 = 6;

/// PostgreSQL's limit on the length of `varchar(n)` and `char(n)`.
pub(super) const MOST_CHARACTERS: u32 = 10_485_760;

impl PgType {
    /// From `pg_attribute.atttypid` and `atttypmod`; none for a type that is not one of the server's
    /// own, or that apply does not write.
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
            1021 => PgType::Reals,
            _ => return None,
        })
    }

    /// From what an extension calls its type; none for one that apply does not write.
    pub(super) fn of_extension(extension: &str, name: &str, typmod: i32) -> Option<PgType> {
        Some(match (extension, name) {
            ("citext", "citext") => PgType::Citext,
            // Limits of PostGIS (a kind of geometry, a reference system) may refuse what a source
            // column holds: only those without any are taken.
            ("postgis", "geometry") if typmod == -1 => PgType::Geometry,
            ("postgis", "geography") if typmod == -1 => PgType::Geography,
            ("vector", "vector") => PgType::Vector(u16::try_from(typmod).ok()),
            _ => return None,
        })
    }

    /// The extension that a type belongs to, if it is not one of the server's own.
    pub(super) fn extension(self) -> Option<&'static str> {
        match self {
            PgType::Citext => Some("citext"),
            PgType::Geometry | PgType::Geography => Some("postgis"),
            PgType::Vector(_) => Some("vector"),
            _ => None,
        }
    }

    /// Its number in `pg_type`, and that of its array: both are fixed in PostgreSQL's `pg_type.dat`.
    /// None for a type of an extension: each database has its own. An array has no array.
    pub(super) fn oids(self) -> Option<(u32, u32)> {
        Some(match self {
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
            PgType::Reals => (1021, 0),
            PgType::Citext | PgType::Geometry | PgType::Geography | PgType::Vector(_) => {
                return None;
            }
        })
    }

    /// Whether it is made of characters.
    pub(super) fn is_text(self) -> bool {
        matches!(self, PgType::Text | PgType::Varchar(_) | PgType::Char(_) | PgType::Citext)
    }

    /// The type's name without its limits and its schema.
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
            PgType::Reals => "real[]",
            PgType::Citext => "citext",
            PgType::Geometry => "geometry",
            PgType::Geography => "geography",
            PgType::Vector(_) => "vector",
        }
    }
}

/// As it stands in `CREATE TABLE`, without a schema.
impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PgType::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            PgType::Varchar(Some(n)) => write!(f, "varchar({n})"),
            PgType::Char(n) => write!(f, "char({n})"),
            PgType::Time(n) => write!(f, "time({n})"),
            PgType::Timestamp(n) => write!(f, "timestamp({n})"),
            PgType::TimestampTz(n) => write!(f, "timestamptz({n})"),
            PgType::Vector(Some(n)) => write!(f, "vector({n})"),
            other => f.write_str(other.base_name()),
        }
    }
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
        assert_eq!(PgType::of_extension("vector", "vector", 3), Some(PgType::Vector(Some(3))));
        assert_eq!(PgType::of_extension("postgis", "geometry", 16), None);
        assert_eq!(PgType::of_extension("mine", "citext", -1), None);
    }
}
