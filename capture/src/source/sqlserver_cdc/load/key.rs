//! Key columns as parameters: each value is sent in the wire's own type and converted, by the
//! statement, to exactly the column's type.
//!
//! The conversion stands on the parameter's side, so the column is compared as it is stored, by its
//! own rules (collation, byte groups of a uniqueidentifier, instants of a datetimeoffset), and its
//! index is sought. Nothing here knows how the server orders values, or which of them it takes to be
//! equal.
//!
//! Text goes as the bytes of its UTF-16, which no driver and no code page can change on the way.
//! For `char` and `varchar` the server makes it text of the column's own collation, hence of its own
//! code page, before it is compared. Decimals go as digits: a `numeric(38,38)` has one digit more
//! than the wire's description of the value allows.

use std::borrow::Cow;

use lockstep_common::model::name::quote_mssql as quote;
use lockstep_common::{TICKS_PER_DAY, TICKS_PER_SECOND, Value};
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, Time};
use tiberius::{ColumnData, ToSql, Uuid};

use super::super::types::{self, KeyType, RawColumn};

/// Days from 0001-01-01 to 1970-01-01, and from 1900-01-01 to it.
const DAYS_0001_TO_1970: i64 = 719_162;
const DAYS_1900_TO_1970: i64 = 25_567;

/// A column of the key by which a table is cut into ranges.
#[derive(Clone, Debug)]
pub struct KeyColumn {
    /// It in a statement, `t.[id]`.
    pub column: String,
    /// Its place in the table version.
    pub index: usize,
    ty: KeyType,
    source_type: String,
    /// Named where it is not the one that text without a name has in the database.
    collation: Option<String>,
}

impl KeyColumn {
    /// Of a column.
    ///
    /// # Errors
    /// Why it cannot be cut into ranges.
    pub fn new(
        column: &RawColumn,
        index: usize,
        database_collation: Option<&str>,
    ) -> Result<Self, String> {
        let source_type = types::source_type(column);
        if column.nullable {
            return Err(format!("key column {} may be NULL", column.name));
        }
        let ty = types::key_type(column).ok_or_else(|| {
            format!("key column {} is {source_type}, which has no ranges", column.name)
        })?;
        let collation = match (&ty, &column.collation) {
            (KeyType::National | KeyType::CodePage, Some(name)) => {
                let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !plain {
                    return Err(format!("key column {} has collation {name}", column.name));
                }
                (Some(name.as_str()) != database_collation).then(|| name.clone())
            }
            _ => None,
        };
        let quoted = format!("t.{}", quote(&column.name));
        Ok(KeyColumn { column: quoted, index, ty, source_type, collation })
    }

    /// Parameter `number` as a value of the column's type.
    pub fn typed(&self, number: usize) -> String {
        let ty = &self.source_type;
        let text = format!("CONVERT(nvarchar(4000), @P{number})");
        match (&self.ty, &self.collation) {
            (KeyType::National, None) => format!("CONVERT({ty}, {text})"),
            (KeyType::National, Some(collation)) => {
                format!("CONVERT({ty}, {text}) COLLATE {collation}")
            }
            (KeyType::CodePage, None) => format!("CONVERT({ty}, {text})"),
            // In this order: the collation first, so that its code page is converted to.
            (KeyType::CodePage, Some(collation)) => {
                format!("CONVERT({ty}, {text} COLLATE {collation})")
            }
            _ => format!("CONVERT({ty}, @P{number})"),
        }
    }

    /// Whether the server may take two values to be equal that are not the same.
    pub fn may_equal(&self) -> bool {
        matches!(
            self.ty,
            KeyType::National
                | KeyType::CodePage
                | KeyType::Binary
                | KeyType::Real
                | KeyType::Float
                | KeyType::DateTimeOffset
        )
    }

    /// A value of the column as the wire has it; none for a value that is not of its type.
    pub fn parameter(&self, value: &Value<'_>) -> Option<Parameter> {
        let data = match (&self.ty, value) {
            (KeyType::Bit, Value::Bool(v)) => ColumnData::Bit(Some(*v)),
            (KeyType::Integer, Value::I64(v)) => ColumnData::I64(Some(*v)),
            (KeyType::Decimal, Value::Decimal { unscaled, scale }) => {
                ColumnData::String(Some(Cow::Owned(digits(*unscaled, *scale))))
            }
            (KeyType::Real, Value::F32(v)) => ColumnData::F32(Some(*v)),
            (KeyType::Float, Value::F64(v)) => ColumnData::F64(Some(*v)),
            (KeyType::Date, Value::Date(v)) => ColumnData::Date(Some(date(i64::from(*v))?)),
            (KeyType::Time, Value::Time(v)) => ColumnData::Time(Some(time(*v)?)),
            (KeyType::DateTime, Value::Timestamp(v)) => ColumnData::DateTime(Some(datetime(*v)?)),
            (KeyType::DateTime2, Value::Timestamp(v)) => {
                ColumnData::DateTime2(Some(datetime2(*v)?))
            }
            (KeyType::DateTimeOffset, Value::TimestampTz { ticks, offset }) => {
                ColumnData::DateTimeOffset(Some(DateTimeOffset::new(datetime2(*ticks)?, *offset)))
            }
            (KeyType::Uuid, Value::Uuid(v)) => ColumnData::Guid(Some(Uuid::from_bytes(*v))),
            (KeyType::Binary, Value::Bytes(v)) => bytes(v.to_vec()),
            (KeyType::National | KeyType::CodePage, Value::String(v)) => {
                bytes(v.encode_utf16().flat_map(u16::to_le_bytes).collect())
            }
            (KeyType::National | KeyType::CodePage, Value::Utf16(v)) => bytes(v.to_vec()),
            _ => return None,
        };
        Some(Parameter(data))
    }
}

fn bytes(bytes: Vec<u8>) -> ColumnData<'static> {
    ColumnData::Binary(Some(Cow::Owned(bytes)))
}

/// A parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter(ColumnData<'static>);

impl Parameter {
    /// A number.
    pub fn number(value: i64) -> Self {
        Parameter(ColumnData::I64(Some(value)))
    }
}

impl ToSql for Parameter {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

/// `unscaled` × 10^-`scale` in digits.
fn digits(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let magnitude = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = magnitude.split_at(magnitude.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

fn date(days: i64) -> Option<Date> {
    // Behind 9999-12-31 the driver panics.
    let days = u32::try_from(days + DAYS_0001_TO_1970).ok()?;
    (days <= 3_652_058).then(|| Date::new(days))
}

fn time(ticks: i64) -> Option<Time> {
    let ticks = u64::try_from(ticks).ok()?;
    Some(Time::new(ticks, 7))
}

fn datetime2(ticks: i64) -> Option<DateTime2> {
    Some(DateTime2::new(
        date(ticks.div_euclid(TICKS_PER_DAY))?,
        time(ticks.rem_euclid(TICKS_PER_DAY))?,
    ))
}

/// The 1/300 s that are shown as these milliseconds: the inverse of
/// [`datetime`](super::super::time::datetime).
fn datetime(ticks: i64) -> Option<DateTime> {
    let days = ticks.div_euclid(TICKS_PER_DAY) + DAYS_1900_TO_1970;
    let milliseconds = ticks.rem_euclid(TICKS_PER_DAY) / (TICKS_PER_SECOND / 1000);
    let fragments = (milliseconds * 3 + 5) / 10;
    Some(DateTime::new(i32::try_from(days).ok()?, u32::try_from(fragments).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::super::time as source_time;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_written_in_full() {
        assert_eq!(digits(0, 0), "0");
        assert_eq!(digits(-5, 2), "-0.05");
        assert_eq!(digits(12_345, 2), "123.45");
        let nines = 99_999_999_999_999_999_999_999_999_999_999_999_999;
        assert_eq!(digits(nines, 38), "0.99999999999999999999999999999999999999");
        assert_eq!(digits(-nines, 0), "-99999999999999999999999999999999999999");
    }

    proptest! {
        #[test]
        fn datetimes_come_back(day in -53_690i32..2_958_464, fragments in 0u32..25_920_000) {
            let value = DateTime::new(day, fragments);
            prop_assert_eq!(datetime(source_time::datetime(value)), Some(value));
        }

        #[test]
        fn hundreds_of_nanoseconds_come_back(day in 0u32..3_652_059, ticks in 0u64..864_000_000_000) {
            let value = DateTime2::new(Date::new(day), Time::new(ticks, 7));
            let read = source_time::datetime2(value).expect("within a day");
            prop_assert_eq!(datetime2(read), Some(value));
        }
    }

    #[test]
    fn text_is_converted_in_its_own_collation() {
        let raw = |system_type, max_length, collation: &str| RawColumn {
            name: "k]".to_owned(),
            column_id: 1,
            system_type,
            user_type: i32::from(system_type),
            max_length,
            precision: 0,
            scale: 0,
            collation: Some(collation.to_owned()),
            nullable: false,
            identity: false,
            computed: false,
        };
        let typed = |column: &RawColumn| {
            KeyColumn::new(column, 0, Some("Latin1_General_CI_AS")).map(|key| key.typed(2))
        };
        assert_eq!(
            typed(&raw(167, 20, "Latin1_General_CI_AS")).as_deref(),
            Ok("CONVERT(varchar(20), CONVERT(nvarchar(4000), @P2))")
        );
        assert_eq!(
            typed(&raw(175, 20, "Greek_BIN2")).as_deref(),
            Ok("CONVERT(char(20), CONVERT(nvarchar(4000), @P2) COLLATE Greek_BIN2)")
        );
        assert_eq!(
            typed(&raw(231, 40, "Greek_BIN2")).as_deref(),
            Ok("CONVERT(nvarchar(20), CONVERT(nvarchar(4000), @P2)) COLLATE Greek_BIN2")
        );
        assert!(typed(&raw(231, 40, "x; DROP")).is_err());
        let hierarchy = RawColumn { user_type: 128, ..raw(240, 892, "x") };
        assert!(typed(&hierarchy).unwrap_err().contains("hierarchyid"));
        let nullable = RawColumn { nullable: true, ..raw(56, 4, "x") };
        assert!(typed(&nullable).unwrap_err().contains("NULL"));
    }
}
