//! `sql_variant`: each value has a type of its own, so each is selected as text that says which.
//!
//! The driver does not read the type, and a cast needs a type that is written in the statement. So one
//! expression asks `SQL_VARIANT_PROPERTY` for the value's base type, precision, scale and length, and
//! appends the value as text, by the style of `CONVERT` that loses nothing of that base type:
//!
//! ```text
//! decimal|10|2|9|-1234.50
//! ```
//!
//! Only then is it cast to bytes, as all text is (`super::types`). A value is first cast to its base
//! type where the style belongs to one, because styles are documented for types and not for
//! `sql_variant`; to the widest of the kind, where the type has a facet, so that nothing is cut.
//! `datetime` and `datetime2` are kept apart: between them the server converts thirds of milliseconds.
//!
//! - [SQL_VARIANT_PROPERTY](https://learn.microsoft.com/en-us/sql/t-sql/functions/sql-variant-property-transact-sql)
//!   names the base types and says that precision and scale are those of the value.
//! - [CAST and CONVERT](https://learn.microsoft.com/en-us/sql/t-sql/functions/cast-and-convert-transact-sql):
//!   style 3 gives 17 digits of a float or real, with which every value is told apart (SQL Server 2016
//!   and later); style 2 four digits of money; style 2 the hexadecimal digits of binary; style 121 the
//!   fields of a date and time in ISO's order, all digits, a `datetimeoffset` with its own time and offset.
//!
//! The collation of text within a variant is not carried over.

use std::borrow::Cow;

use lockstep_common::Value;
use tiberius::Uuid;

use super::text::utf16;
use super::time;

/// Largest selected form: 8000 bytes as hexadecimal digits in UTF-16, and what is before them.
pub const LARGEST_BYTES: u64 = 32_000 + 1_000;

type Refused = &'static str;

const NOT_ITS_TYPES: Refused = "a sql_variant whose text is not of its base type";

/// The select-list expression for the column that `column` names.
pub fn expression(column: &str) -> String {
    let property =
        |name| format!("CAST(SQL_VARIANT_PROPERTY({column}, '{name}') AS nvarchar(128))");
    let base = property("BaseType");
    let facet = |name| format!("ISNULL({}, N'')", property(name));
    let styled =
        |ty: &str, style| format!("CONVERT(nvarchar(max), CAST({column} AS {ty}), {style})");
    let cases = [
        ("real", styled("real", 3)),
        ("float", styled("float", 3)),
        ("money", styled("money", 2)),
        ("smallmoney", styled("smallmoney", 2)),
        ("binary", styled("varbinary(8000)", 2)),
        ("varbinary", styled("varbinary(8000)", 2)),
        ("date", styled("date", 121)),
        ("time", styled("time(7)", 121)),
        ("datetime", styled("datetime", 121)),
        ("smalldatetime", styled("smalldatetime", 121)),
        ("datetime2", styled("datetime2(7)", 121)),
        ("datetimeoffset", styled("datetimeoffset(7)", 121)),
    ];
    let cases: String =
        cases.iter().map(|(ty, text)| format!("WHEN N'{ty}' THEN {text} ")).collect();
    format!(
        "CAST({base} + N'|' + {} + N'|' + {} + N'|' + {} + N'|' + \
         CASE {base} {cases}ELSE CAST({column} AS nvarchar(max)) END AS varbinary(max))",
        facet("Precision"),
        facet("Scale"),
        facet("MaxLength"),
    )
}

/// Reads what [`expression`] gives.
///
/// # Errors
/// Why it cannot be read; never the value.
pub fn decode(bytes: &[u8]) -> Result<Value<'static>, Refused> {
    let (header, text) = split(bytes).ok_or("a sql_variant that does not say its type")?;
    let number =
        |i: usize| header[i].parse::<u32>().map_err(|_| "a sql_variant without its facets");
    let base = header[0].as_str();
    // Text may be any UTF-16, so it is not looked at before.
    if let Some(divisor) = match base {
        "char" | "varchar" => Some(1),
        "nchar" | "nvarchar" => Some(2),
        _ => None,
    } {
        let value = utf16(text.to_vec())?;
        return Ok(variant(format!("{base}({})", number(3)? / divisor), value));
    }
    let text = match utf16(text.to_vec())? {
        Value::String(text) => text,
        _ => return Err(NOT_ITS_TYPES),
    };
    let plain =
        |value: Option<Value<'static>>| Ok(variant(base.to_owned(), value.ok_or(NOT_ITS_TYPES)?));
    let scaled = |value: Option<Value<'static>>| {
        Ok(variant(format!("{base}({})", number(2)?), value.ok_or(NOT_ITS_TYPES)?))
    };
    match base {
        "bit" => plain(match text.as_ref() {
            "0" => Some(Value::Bool(false)),
            "1" => Some(Value::Bool(true)),
            _ => None,
        }),
        "tinyint" | "smallint" | "int" | "bigint" => plain(text.parse().ok().map(Value::I64)),
        "decimal" | "numeric" => {
            let (precision, scale) = (number(1)?, number(2)?);
            let value = decimal(&text, scale).ok_or(NOT_ITS_TYPES)?;
            Ok(variant(format!("{base}({precision},{scale})"), value))
        }
        "money" | "smallmoney" => plain(decimal(&text, 4)),
        "real" => plain(text.parse().ok().filter(|v: &f32| v.is_finite()).map(Value::F32)),
        "float" => plain(text.parse().ok().filter(|v: &f64| v.is_finite()).map(Value::F64)),
        "date" => {
            let date = time::parse_date(&text).and_then(|days| i32::try_from(days).ok());
            plain(date.map(Value::Date))
        }
        "datetime" | "smalldatetime" => plain(time::parse_timestamp(&text).map(Value::Timestamp)),
        "time" => scaled(time::parse_time(&text).map(Value::Time)),
        "datetime2" => scaled(time::parse_timestamp(&text).map(Value::Timestamp)),
        "datetimeoffset" => {
            let parsed = time::parse_timestamp_tz(&text);
            scaled(parsed.map(|(ticks, offset)| Value::TimestampTz { ticks, offset }))
        }
        "uniqueidentifier" => {
            plain(Uuid::parse_str(&text).ok().map(|uuid| Value::Uuid(uuid.into_bytes())))
        }
        "binary" | "varbinary" => {
            let bytes = hexadecimal(&text).ok_or(NOT_ITS_TYPES)?;
            Ok(variant(format!("{base}({})", number(3)?), Value::Bytes(Cow::Owned(bytes))))
        }
        _ => Err("a sql_variant of a base type that this version does not know"),
    }
}

fn variant(type_name: String, value: Value<'static>) -> Value<'static> {
    Value::Variant { type_name: Cow::Owned(type_name), value: Box::new(value) }
}

/// Base type, precision, scale and length, and the bytes of the text behind them.
fn split(bytes: &[u8]) -> Option<([String; 4], &[u8])> {
    let mut header: [String; 4] = Default::default();
    let mut rest = bytes;
    for field in &mut header {
        loop {
            let (unit, behind) = rest.split_first_chunk::<2>()?;
            rest = behind;
            match unit {
                [b'|', 0] => break,
                [byte, 0] if byte.is_ascii_alphanumeric() => field.push(char::from(*byte)),
                _ => return None,
            }
        }
    }
    Some((header, rest))
}

/// Digits with this many behind the point.
fn decimal(text: &str, scale: u32) -> Option<Value<'static>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let wanted = usize::try_from(scale).ok()?;
    if fraction.len() != wanted || digits.is_empty() || !all_digits(whole) || !all_digits(fraction)
    {
        return None;
    }
    // 38 digits at most, so there is room.
    let magnitude: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let unscaled = if negative { -magnitude } else { magnitude };
    Some(Value::Decimal { unscaled, scale: u8::try_from(scale).ok()? })
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_common::TICKS_PER_DAY;

    fn read(text: &str) -> Result<(String, Value<'static>), Refused> {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        match decode(&bytes)? {
            Value::Variant { type_name, value } => Ok((type_name.into_owned(), *value)),
            other => panic!("no variant: {other:?}"),
        }
    }

    #[test]
    fn every_base_type_keeps_its_name_and_its_value() {
        let utc = |ticks, offset| Value::TimestampTz { ticks, offset };
        let nines = 99_999_999_999_999_999_999_999_999_999_999_999_999;
        for (text, name, value) in [
            ("bit|1|0|1|1", "bit", Value::Bool(true)),
            ("tinyint|3|0|1|255", "tinyint", Value::I64(255)),
            ("bigint|19|0|8|-9223372036854775808", "bigint", Value::I64(i64::MIN)),
            (
                "decimal|10|2|9|-1234.50",
                "decimal(10,2)",
                Value::Decimal { unscaled: -123_450, scale: 2 },
            ),
            (
                "numeric|38|38|17|-0.99999999999999999999999999999999999999",
                "numeric(38,38)",
                Value::Decimal { unscaled: -nines, scale: 38 },
            ),
            ("numeric|1|1|5|.5", "numeric(1,1)", Value::Decimal { unscaled: 5, scale: 1 }),
            (
                "money|19|4|8|-922337203685477.5808",
                "money",
                Value::Decimal { unscaled: i64::MIN.into(), scale: 4 },
            ),
            ("smallmoney|10|4|4|0.0001", "smallmoney", Value::Decimal { unscaled: 1, scale: 4 }),
            ("real|24|0|4|1.4012984643248171e-045", "real", Value::F32(f32::from_bits(1))),
            ("float|53|0|8|1.0000000000000001e-001", "float", Value::F64(0.1)),
            ("float|53|0|8|4.9406564584124654e-324", "float", Value::F64(f64::from_bits(1))),
            ("char|0|0|5|ab   ", "char(5)", Value::String("ab   ".into())),
            ("varchar|0|0|8000|", "varchar(8000)", Value::String("".into())),
            (
                "nvarchar|0|0|80|a|b|\u{1f600}",
                "nvarchar(40)",
                Value::String("a|b|\u{1f600}".into()),
            ),
            ("binary|0|0|3|00FF10", "binary(3)", Value::Bytes(vec![0, 255, 16].into())),
            ("varbinary|0|0|8|", "varbinary(8)", Value::Bytes(vec![].into())),
            ("date|10|0|3|0001-01-01", "date", Value::Date(-719_162)),
            ("time|16|7|5|23:59:59.9999999", "time(7)", Value::Time(TICKS_PER_DAY - 1)),
            ("datetime|23|3|8|1970-01-01 00:00:00.003", "datetime", Value::Timestamp(30_000)),
            (
                "smalldatetime|16|0|4|1970-01-02 00:00:00",
                "smalldatetime",
                Value::Timestamp(TICKS_PER_DAY),
            ),
            (
                "datetime2|27|7|8|9999-12-31 23:59:59.9999999",
                "datetime2(7)",
                Value::Timestamp(2_932_897 * TICKS_PER_DAY - 1),
            ),
            (
                "datetimeoffset|30|3|10|1970-01-01 05:30:00.0010000 +05:30",
                "datetimeoffset(3)",
                utc(10_000, 330),
            ),
            (
                "datetimeoffset|34|7|10|1969-12-31 23:59:59.9999999 -00:01",
                "datetimeoffset(7)",
                utc(59 * 10_000_000 + 9_999_999, -1),
            ),
            (
                "uniqueidentifier|0|0|16|00112233-4455-6677-8899-AABBCCDDEEFF",
                "uniqueidentifier",
                Value::Uuid([
                    0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc,
                    0xdd, 0xee, 0xff,
                ]),
            ),
        ] {
            assert_eq!(read(text), Ok((name.to_owned(), value)), "{text}");
        }
        let (_, zero) = read("float|53|0|8|-0.0000000000000000e+000").expect("a float");
        assert!(matches!(zero, Value::F64(v) if v == 0.0 && v.is_sign_negative()));
    }

    #[test]
    fn lone_surrogates_in_text_stay_as_they_are() {
        let mut bytes: Vec<u8> =
            "nvarchar|0|0|4|".encode_utf16().flat_map(u16::to_le_bytes).collect();
        bytes.extend([0x00, 0xd8, b'x', 0]);
        let expected = Value::Utf16(Cow::Owned(vec![0x00, 0xd8, b'x', 0]));
        assert_eq!(decode(&bytes), Ok(variant("nvarchar(2)".to_owned(), expected)));
    }

    #[test]
    fn what_is_not_of_its_type_is_refused() {
        for text in [
            "",
            "int|10|0|4",
            "int|10|0|4|",
            "int|10|0|4|1.5",
            "bit|1|0|1|2",
            "decimal|10|2|9|1.5",
            "decimal|10|2|9|1.5x",
            "decimal|10|0|9|",
            "decimal|10|x|9|1",
            "decimal|38|0|17|999999999999999999999999999999999999999999",
            "float|53|0|8|inf",
            "date|10|0|3|2026-02-30",
            "time|16|7|5|24:00:00.0000000",
            "datetime2|27|7|8|2026-01-01",
            "datetimeoffset|34|7|10|2026-01-01 00:00:00.0000000",
            "uniqueidentifier|0|0|16|x",
            "varbinary|0|0|8|0",
            "varbinary|0|0|8|0g",
            "varchar|0|0||x",
            "sysname||||x",
            "hierarchyid|0|0|5|/1/",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(decode(&[b'i', 0, b'|']).is_err());
        assert!(decode(&[0x00, 0xd8]).is_err());
    }

    #[test]
    fn the_expression_names_the_column_and_nothing_is_cast_to_less_than_it_may_hold() {
        let sql = expression("c.[v]");
        assert!(sql.starts_with("CAST(CAST(SQL_VARIANT_PROPERTY(c.[v], 'BaseType')"), "{sql}");
        assert!(sql.ends_with("ELSE CAST(c.[v] AS nvarchar(max)) END AS varbinary(max))"), "{sql}");
        for styled in [
            "N'float' THEN CONVERT(nvarchar(max), CAST(c.[v] AS float), 3)",
            "N'money' THEN CONVERT(nvarchar(max), CAST(c.[v] AS money), 2)",
            "N'varbinary' THEN CONVERT(nvarchar(max), CAST(c.[v] AS varbinary(8000)), 2)",
            "N'time' THEN CONVERT(nvarchar(max), CAST(c.[v] AS time(7)), 121)",
            "N'datetimeoffset' THEN CONVERT(nvarchar(max), CAST(c.[v] AS datetimeoffset(7)), 121)",
        ] {
            assert!(sql.contains(styled), "{styled} in {sql}");
        }
    }
}
