//! Values as text, where a column is mapped to text and within a `sql_variant`.
//!
//! Nothing is lost: reading the text as a value of the source's type gives the same value.
//!
//! | value | text |
//! | --- | --- |
//! | truth value | `true`, `false` |
//! | integer, decimal | all digits, those of its scale among them: `-0.0500` |
//! | floating-point number | the shortest digits that are read as the same number, laid out as PostgreSQL does: `0.1`, `1e-07`, `-0` |
//! | bytes | `0x` and two hexadecimal digits each, as SQL Server writes them |
//! | UUID | as PostgreSQL writes it |
//! | date, time | ISO 8601, with as many fractional digits as the source's type has |
//! | date and time | the same with a blank between them (in JSON a `T`), and the offset behind |

use std::fmt::Write;

use lockstep_common::model::calendar::civil;
use lockstep_common::{Column, LogicalType, TICKS_PER_DAY, TICKS_PER_SECOND, Value};

/// Digits of 100 ns.
const TICK_DIGITS: u8 = 7;

/// How a value that has several texts is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Fractional digits of times.
    pub(super) digits: u8,
    /// What stands between a date and a time.
    pub(super) between: char,
}

impl Style {
    /// Of a column whose values are written as text.
    pub(super) fn of(column: &Column) -> Self {
        Style { digits: digits(&column.ty), between: ' ' }
    }

    /// Of the value in a variant of this type: `datetime2(3)` has three digits.
    pub(super) fn named(type_name: &str, between: char) -> Self {
        let limit = type_name
            .split_once('(')
            .and_then(|(_, rest)| rest.trim_end_matches(')').trim().parse().ok());
        let base = type_name.split('(').next().unwrap_or_default().trim();
        let digits = match base.to_ascii_lowercase().as_str() {
            "datetime" => 3,
            "smalldatetime" => 0,
            _ => limit.unwrap_or(TICK_DIGITS),
        };
        Style { digits: digits.min(TICK_DIGITS), between }
    }
}

fn digits(ty: &LogicalType) -> u8 {
    match ty {
        LogicalType::Time { digits }
        | LogicalType::Timestamp { digits }
        | LogicalType::TimestampTz { digits } => (*digits).min(TICK_DIGITS),
        _ => TICK_DIGITS,
    }
}

/// The most characters that a text of the column's values has; none for one without a limit.
pub(super) fn longest(column: &Column) -> Option<u32> {
    let fraction = |digits: u8| if digits == 0 { 0 } else { u32::from(digits) + 1 };
    Some(match &column.ty {
        LogicalType::Bool => 5,
        LogicalType::Int { bytes: 1 } => 3,
        LogicalType::Int { bytes: 2 } => 6,
        LogicalType::Int { bytes: 4 } => 11,
        LogicalType::Int { .. } => 20,
        // Sign, point, a zero before it.
        LogicalType::Decimal { precision, .. } => u32::from(*precision) + 3,
        LogicalType::F32 => 15,
        LogicalType::F64 => 24,
        LogicalType::Bytes { max } => max.as_ref()?.checked_mul(2)?.checked_add(2)?,
        LogicalType::Uuid => 36,
        LogicalType::Date => 10,
        LogicalType::Time { digits } => 8 + fraction(*digits),
        LogicalType::Timestamp { digits } => 19 + fraction(*digits),
        LogicalType::TimestampTz { digits } => 25 + fraction(*digits),
        LogicalType::String { .. }
        | LogicalType::Variant
        | LogicalType::Geometry
        | LogicalType::Other => return None,
    })
}

/// Appends the text of a value that is not text itself; `false` when it has none.
pub(super) fn render(value: &Value<'_>, style: Style, out: &mut String) -> bool {
    let written = match value {
        Value::Bool(v) => write!(out, "{v}"),
        Value::I64(v) => write!(out, "{v}"),
        Value::Decimal { unscaled, scale } => decimal(*unscaled, *scale, out),
        Value::F32(v) => float(&format!("{v:e}"), SINGLE_DIGITS, out),
        Value::F64(v) => float(&format!("{v:e}"), DOUBLE_DIGITS, out),
        Value::Bytes(v) => hex(v, out),
        Value::Uuid(v) => write!(out, "{}", uuid::Uuid::from_bytes(*v)),
        Value::Date(v) => date((*v).into(), out),
        Value::Time(v) => time(*v, style.digits, out),
        Value::Timestamp(v) => timestamp(*v, style, out),
        Value::TimestampTz { ticks, offset } => zoned(*ticks, *offset, style, out),
        _ => return false,
    };
    written.is_ok()
}

fn decimal(unscaled: i128, scale: u8, out: &mut String) -> std::fmt::Result {
    let sign = if unscaled < 0 { "-" } else { "" };
    let magnitude = unscaled.unsigned_abs();
    if scale == 0 {
        return write!(out, "{sign}{magnitude}");
    }
    let width = usize::from(scale) + 1;
    let digits = format!("{magnitude:0width$}");
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    write!(out, "{sign}{whole}.{fraction}")
}

/// Decimal digits before which PostgreSQL writes no exponent (`FLT_DIG`, `DBL_DIG`).
const SINGLE_DIGITS: i32 = 6;
const DOUBLE_DIGITS: i32 = 15;

/// The shortest digits come as `-1.25e-7`; they are laid out as PostgreSQL's `float8out` does.
fn float(shortest: &str, most: i32, out: &mut String) -> std::fmt::Result {
    let (sign, rest) = match shortest.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", shortest),
    };
    let parts = rest.split_once('e').and_then(|(m, e)| Some((m, e.parse::<i32>().ok()?)));
    let Some((mantissa, exponent)) = parts else {
        return match rest {
            "inf" => write!(out, "{sign}Infinity"),
            _ => write!(out, "NaN"),
        };
    };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    out.write_str(sign)?;
    if exponent < -4 || exponent >= most {
        let (first, rest) = digits.split_at(1);
        out.write_str(first)?;
        if !rest.is_empty() {
            write!(out, ".{rest}")?;
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "e{sign}{:02}", exponent.abs());
    }
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    if exponent < 0 {
        return write!(out, "0.{}{digits}", zeros(-exponent - 1));
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    if digits.len() > whole {
        return write!(out, "{}.{}", &digits[..whole], &digits[whole..]);
    }
    write!(out, "{digits}{}", "0".repeat(whole - digits.len()))
}

fn hex(bytes: &[u8], out: &mut String) -> std::fmt::Result {
    out.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}"))
}

/// Days since 1970-01-01.
fn date(days: i64, out: &mut String) -> std::fmt::Result {
    let (year, month, day) = civil(days);
    write!(out, "{year:04}-{month:02}-{day:02}")
}

fn time(ticks: i64, digits: u8, out: &mut String) -> std::fmt::Result {
    let (seconds, fraction) = (ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    // Digits that the type does not have are shown all the same, rather than lost.
    let seven = format!("{fraction:07}");
    let shown = usize::from(digits).max(seven.trim_end_matches('0').len());
    if shown > 0 {
        write!(out, ".{}", &seven[..shown])?;
    }
    Ok(())
}

fn timestamp(ticks: i64, style: Style, out: &mut String) -> std::fmt::Result {
    date(ticks.div_euclid(TICKS_PER_DAY), out)?;
    out.push(style.between);
    time(ticks.rem_euclid(TICKS_PER_DAY), style.digits, out)
}

/// The time where it was written, and how far that is from UTC.
fn zoned(ticks: i64, offset: i16, style: Style, out: &mut String) -> std::fmt::Result {
    timestamp(ticks.saturating_add(i64::from(offset) * 60 * TICKS_PER_SECOND), style, out)?;
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
    write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(value: Value<'_>, digits: u8) -> String {
        let mut out = String::new();
        assert!(render(&value, Style { digits, between: ' ' }, &mut out));
        out
    }

    #[test]
    fn texts_are_exact() {
        let cases = [
            (Value::Bool(true), 7, "true"),
            (Value::I64(i64::MIN), 7, "-9223372036854775808"),
            (Value::Decimal { unscaled: -5, scale: 4 }, 7, "-0.0005"),
            (Value::Decimal { unscaled: 120, scale: 2 }, 7, "1.20"),
            (
                Value::Decimal { unscaled: 0, scale: 38 },
                7,
                "0.00000000000000000000000000000000000000",
            ),
            (Value::Bytes(vec![0, 0xab, 255].into()), 7, "0x00ABFF"),
            (Value::Bytes(vec![].into()), 7, "0x"),
            (Value::Uuid([0xab; 16]), 7, "abababab-abab-abab-abab-abababababab"),
            (Value::Date(-719_162), 7, "0001-01-01"),
            (Value::Date(2_932_896), 7, "9999-12-31"),
            (Value::Date(11_016), 7, "2000-02-29"),
            (Value::Time(TICKS_PER_DAY - 1), 7, "23:59:59.9999999"),
            (Value::Time(0), 0, "00:00:00"),
            (Value::Time(1_200_000), 3, "00:00:00.120"),
            (Value::Time(1_200_001), 3, "00:00:00.1200001"),
            (Value::Timestamp(-1), 7, "1969-12-31 23:59:59.9999999"),
            (Value::Timestamp(-621_355_968_000_000_000), 7, "0001-01-01 00:00:00.0000000"),
            (Value::TimestampTz { ticks: 0, offset: -330 }, 0, "1969-12-31 18:30:00-05:30"),
            (Value::TimestampTz { ticks: 0, offset: 840 }, 7, "1970-01-01 14:00:00.0000000+14:00"),
        ];
        for (value, digits, text) in cases {
            assert_eq!(shown(value, digits), text);
        }
        assert!(!render(&Value::Null, Style { digits: 7, between: ' ' }, &mut String::new()));
        assert_eq!(Style::named("datetimeoffset(3)", 'T').digits, 3);
        assert_eq!(
            (Style::named("datetime", 'T').digits, Style::named("time", 'T').digits),
            (3, 7)
        );
    }

    #[test]
    fn floats_are_laid_out_as_postgresql_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (1e-4, "0.0001"),
            (1.25e-5, "1.25e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.234_567_890_123_456_8e17, "1.2345678901234568e+17"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ];
        for (value, text) in cases {
            assert_eq!(shown(Value::F64(value), 7), text);
        }
        assert_eq!(shown(Value::F32(1.1), 7), "1.1");
        assert_eq!(shown(Value::F32(1e6), 7), "1e+06");
        assert_eq!(shown(Value::F32(123_456.0), 7), "123456");
    }

    proptest! {
        #[test]
        fn floats_are_read_back(bits in any::<u64>(), single in any::<u32>()) {
            let (double, single) = (f64::from_bits(bits), f32::from_bits(single));
            prop_assume!(double.is_finite() && single.is_finite());
            let read: f64 = shown(Value::F64(double), 7).parse().unwrap();
            prop_assert_eq!(read.to_bits(), double.to_bits());
            let read: f32 = shown(Value::F32(single), 7).parse().unwrap();
            prop_assert_eq!(read.to_bits(), single.to_bits());
        }

        #[test]
        fn no_text_is_longer_than_its_column_says(
            unscaled in -99_999_999_999_999_999_999_999_999_999_999_999_999i128
                ..=99_999_999_999_999_999_999_999_999_999_999_999_999,
            bits in any::<u64>(),
        ) {
            let column = |ty| Column {
                id: None,
                name: "c".into(), ty, source_type: String::new(), nullable: true, collation: None,
                identity: false, computed: false,
            };
            let most = |ty| usize::try_from(longest(&column(ty)).unwrap()).unwrap();
            let text = shown(Value::Decimal { unscaled, scale: 38 }, 7);
            let ty = LogicalType::Decimal { precision: 38, scale: 38 };
            let limit = most(ty);
            prop_assert!(text.len() <= limit);
            let double = f64::from_bits(bits);
            prop_assume!(double.is_finite());
            prop_assert!(shown(Value::F64(double), 7).len() <= most(LogicalType::F64));
            let single = f32::from_bits(u32::try_from(bits >> 32).unwrap());
            prop_assume!(single.is_finite());
            prop_assert!(shown(Value::F32(single), 7).len() <= most(LogicalType::F32));
        }
    }
}
