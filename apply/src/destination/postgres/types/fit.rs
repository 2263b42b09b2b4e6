//! Which type a source column gets, and which others it fits in.
//!
//! A column is created with the exact type (`docs/types.md` has the table). A target that exists
//! already may have a wider one of the same family; anything that could round, cut or refuse a value
//! of the source type is a wrong type. A configuration may also ask for a type of another family that
//! every value has a lossless form in: text for nearly all of them.

use lockstep_common::{Column, LogicalType};

use super::super::text;
use super::{MOST_CHARACTERS, MOST_DIGITS, PgType};

impl PgType {
    /// The type that a created column gets. `postgis`: the target has its types.
    pub(in super::super) fn for_column(column: &Column, postgis: bool) -> PgType {
        match column.ty {
            LogicalType::Bool => PgType::Bool,
            LogicalType::Int { bytes: 1 | 2 } => PgType::Int2,
            LogicalType::Int { bytes: 4 } => PgType::Int4,
            LogicalType::Int { .. } => PgType::Int8,
            LogicalType::Decimal { precision, scale } => {
                PgType::Numeric(Some((precision.into(), scale.into())))
            }
            LogicalType::F32 => PgType::Float4,
            LogicalType::F64 => PgType::Float8,
            LogicalType::String { .. } if is(column, "xml") => PgType::Xml,
            LogicalType::String { .. } if is(column, "json") => PgType::Json,
            LogicalType::String { max: Some(max), .. } if max > MOST_CHARACTERS => PgType::Text,
            LogicalType::String { max: Some(max), fixed: true } => PgType::Char(max),
            LogicalType::String { max: Some(max), fixed: false } => PgType::Varchar(Some(max)),
            LogicalType::Other if is(column, "vector") => PgType::Reals,
            LogicalType::String { max: None, .. } | LogicalType::Other => PgType::Text,
            LogicalType::Bytes { .. } => PgType::Bytea,
            LogicalType::Uuid => PgType::Uuid,
            LogicalType::Date => PgType::Date,
            LogicalType::Time { digits } => PgType::Time(digits.min(MOST_DIGITS)),
            LogicalType::Timestamp { digits } => PgType::Timestamp(digits.min(MOST_DIGITS)),
            LogicalType::TimestampTz { digits } => PgType::TimestampTz(digits.min(MOST_DIGITS)),
            LogicalType::Variant => PgType::Jsonb,
            LogicalType::Geometry if !postgis => PgType::Bytea,
            // PostGIS's geography has neither curves nor positions beyond 180°, its geometry has all.
            LogicalType::Geometry => PgType::Geometry,
        }
    }

    /// Whether every value of the source column fits into this type unchanged (but for the rules).
    pub(in super::super) fn holds(self, column: &Column) -> bool {
        use PgType::{
            Bool, Bytea, Char, Citext, Date, Float4, Float8, Geometry, Int2, Int4, Int8, Json,
            Jsonb, Numeric, Reals, Text, Time, Timestamp, TimestampTz, Uuid, Varchar, Vector, Xml,
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
            | (LogicalType::Variant, Json | Jsonb)
            | (LogicalType::Geometry, Geometry | Bytea)
            | (LogicalType::String { .. } | LogicalType::Other, Text | Varchar(None)) => true,
            (LogicalType::Other, Reals | Vector(None)) => is(column, "vector"),
            (LogicalType::Other, Vector(Some(n))) => {
                is(column, "vector") && first_limit(&column.source_type) == Some(n.into())
            }
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
            (LogicalType::String { .. }, Xml) => is(column, "xml"),
            (LogicalType::String { .. }, Json | Jsonb) => is(column, "json"),
            (LogicalType::String { .. }, Citext) => !is(column, "xml") && !is(column, "json"),
            (LogicalType::Time { digits }, Time(n))
            | (LogicalType::Timestamp { digits }, Timestamp(n))
            | (LogicalType::TimestampTz { digits }, TimestampTz(n)) => {
                (*digits).min(MOST_DIGITS) <= n
            }
            _ => false,
        }
    }

    /// Whether every value of the source column has a lossless form of another family in this type,
    /// which a configuration may ask for.
    pub(in super::super) fn converts(self, column: &Column) -> bool {
        match (&column.ty, self) {
            (LogicalType::Bool, PgType::Int2 | PgType::Int4 | PgType::Int8) => true,
            (LogicalType::Bytes { max: Some(8) }, PgType::Int8) => is(column, "rowversion"),
            // Those that it has; others are refused by value.
            (LogicalType::Geometry, PgType::Geography) => is(column, "geography"),
            (LogicalType::Geometry | LogicalType::String { .. } | LogicalType::Other, _) => false,
            (_, PgType::Text | PgType::Varchar(None)) => true,
            (_, PgType::Varchar(Some(n))) => text::longest(column).is_some_and(|most| most <= n),
            _ => false,
        }
    }

    /// Whether a column that is to have type `wanted` may have this one instead.
    pub(in super::super) fn serves_as(self, wanted: PgType, column: &Column) -> bool {
        self == wanted
            || (self.holds(column) && wanted.holds(column))
            || (self.is_text() == wanted.is_text()
                && self.converts(column)
                && wanted.converts(column))
    }
}

/// `nvarchar(40)` is `nvarchar`; `timestamp`, which no SQL Server type but this one is called, is
/// `rowversion`.
/// <https://learn.microsoft.com/en-us/sql/t-sql/data-types/rowversion-transact-sql>
pub(in super::super) fn base_name(source_type: &str) -> String {
    let base = source_type.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
    if base == "timestamp" { "rowversion".to_owned() } else { base }
}

/// Whether a source type's name has limits behind it.
pub(in super::super) fn is_limited(source_type: &str) -> bool {
    source_type.contains('(')
}

fn is(column: &Column, base: &str) -> bool {
    base_name(&column.source_type) == base
}

/// `vector(3)` has 3.
fn first_limit(source_type: &str) -> Option<u32> {
    let (_, limits) = source_type.split_once('(')?;
    limits.split([',', ')']).next()?.trim().parse().ok()
}

/// Whether `precision` digits of which `scale` stand after the point fit.
fn numeric_holds(limits: Option<(u16, u16)>, precision: u16, scale: u16) -> bool {
    limits.is_none_or(|(p, s)| s >= scale && p >= s && p - s >= precision - scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(ty: LogicalType, source_type: &str) -> Column {
        Column {
            id: None,
            name: "c".into(),
            ty,
            source_type: source_type.into(),
            nullable: true,
            collation: None,
            identity: false,
            computed: false,
        }
    }

    fn column(ty: LogicalType) -> Column {
        typed(ty, "")
    }

    const TEXT: LogicalType = LogicalType::String { max: None, fixed: false };

    #[test]
    fn a_created_type_holds_its_column() {
        let types = [
            (LogicalType::Bool, "bit"),
            (LogicalType::Int { bytes: 1 }, "tinyint"),
            (LogicalType::Int { bytes: 8 }, "bigint"),
            (LogicalType::Decimal { precision: 38, scale: 10 }, "decimal(38,10)"),
            (LogicalType::String { max: Some(40), fixed: false }, "varchar(40)"),
            (LogicalType::String { max: Some(4), fixed: true }, "nchar(4)"),
            (TEXT, "nvarchar(max)"),
            (TEXT, "xml"),
            (TEXT, "json"),
            (LogicalType::Bytes { max: Some(8) }, "timestamp"),
            (LogicalType::Time { digits: 7 }, "time(7)"),
            (LogicalType::Timestamp { digits: 3 }, "datetime"),
            (LogicalType::TimestampTz { digits: 7 }, "datetimeoffset(7)"),
            (LogicalType::Variant, "sql_variant"),
            (LogicalType::Geometry, "geometry"),
            (LogicalType::Geometry, "geography"),
            (LogicalType::Other, "hierarchyid"),
            (LogicalType::Other, "vector(3)"),
        ];
        for (ty, source_type) in types {
            let column = typed(ty, source_type);
            for postgis in [true, false] {
                let created = PgType::for_column(&column, postgis);
                assert!(created.holds(&column), "{source_type}");
                assert!(created.serves_as(created, &column), "{source_type}");
            }
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
        assert!(!PgType::Vector(Some(2)).holds(&typed(LogicalType::Other, "vector(3)")));
        assert!(PgType::Vector(Some(3)).holds(&typed(LogicalType::Other, "vector(3)")));
        for source_type in ["geometry", "geography"] {
            assert!(!PgType::Geography.holds(&typed(LogicalType::Geometry, source_type)));
        }
        assert!(PgType::Geography.converts(&typed(LogicalType::Geometry, "geography")));
        assert!(!PgType::Geography.converts(&typed(LogicalType::Geometry, "geometry")));
        assert!(!PgType::Reals.holds(&typed(LogicalType::Other, "hierarchyid")));
    }

    #[test]
    fn only_what_loses_nothing_converts() {
        let uuid = typed(LogicalType::Uuid, "uniqueidentifier");
        assert!(PgType::Text.converts(&uuid));
        assert!(PgType::Varchar(Some(36)).converts(&uuid));
        assert!(!PgType::Varchar(Some(35)).converts(&uuid));
        let row_version = typed(LogicalType::Bytes { max: Some(8) }, "timestamp");
        assert!(PgType::Int8.converts(&row_version));
        assert!(!PgType::Int8.converts(&typed(LogicalType::Bytes { max: Some(8) }, "binary(8)")));
        assert!(!PgType::Text.converts(&typed(LogicalType::Geometry, "geometry")));
        let money = typed(LogicalType::Decimal { precision: 19, scale: 4 }, "money");
        assert!(!PgType::Numeric(Some((10, 2))).converts(&money));
        assert!(!PgType::Float8.converts(&money));
        let at = typed(LogicalType::Timestamp { digits: 7 }, "datetime2(7)");
        assert!(!PgType::TimestampTz(6).converts(&at) && PgType::Text.converts(&at));
        // A column that is there already: of the type asked for, or wider.
        assert!(PgType::Varchar(None).serves_as(PgType::Text, &at));
        assert!(PgType::Varchar(Some(40)).serves_as(PgType::Varchar(Some(27)), &at));
        assert!(!PgType::Varchar(Some(26)).serves_as(PgType::Text, &at));
        assert!(!PgType::Timestamp(6).serves_as(PgType::Text, &at));
        assert!(!PgType::Text.serves_as(PgType::Timestamp(6), &at));
    }
}
