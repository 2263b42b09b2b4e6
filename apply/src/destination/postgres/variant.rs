//! A `sql_variant` as JSON: `{"type": "decimal(10,2)", "value": 1.50}`.
//!
//! Numbers are JSON numbers with all their digits, which `jsonb` keeps (it stores `numeric`); text is a
//! string; everything else is the string of [`super::text`]. A floating-point -0 is the string `"-0"`,
//! because `numeric` has no such zero. SQL Server has neither infinities nor NaN.

use std::fmt::Write;

use lockstep_common::Value;

use super::encode::{EncodeError, Rules};
use super::text::{Style, render};

/// The JSON text of a variant.
///
/// # Errors
/// When its text has characters that PostgreSQL cannot store, or it has no form.
pub(super) fn json(
    type_name: &str,
    value: &Value<'_>,
    rules: &Rules,
) -> Result<String, EncodeError> {
    let mut out = String::from("{\"type\": ");
    string(&rules.admit(type_name)?, &mut out);
    out.push_str(", \"value\": ");
    match value {
        Value::String(text) | Value::Other { text, .. } => string(&rules.admit(text)?, &mut out),
        Value::Utf16(units) => string(&rules.admit_utf16(units)?, &mut out),
        value => {
            let mut text = String::new();
            if !render(value, Style::named(type_name, 'T'), &mut text) {
                return Err(EncodeError::Unsupported("a variant", "json"));
            }
            let bare = match value {
                Value::F32(v) => v.is_finite() && v.to_bits() != (-0.0_f32).to_bits(),
                Value::F64(v) => v.is_finite() && v.to_bits() != (-0.0_f64).to_bits(),
                Value::Bool(_) | Value::I64(_) | Value::Decimal { .. } => true,
                _ => false,
            };
            if bare { out.push_str(&text) } else { string(&text, &mut out) }
        }
    }
    out.push('}');
    Ok(out)
}

/// The value of a variant as text.
///
/// # Errors
/// As [`json`].
pub(super) fn plain<'v>(
    type_name: &str,
    value: &'v Value<'_>,
    rules: &Rules,
) -> Result<std::borrow::Cow<'v, str>, EncodeError> {
    match value {
        Value::String(text) | Value::Other { text, .. } => rules.admit(text),
        Value::Utf16(units) => rules.admit_utf16(units).map(Into::into),
        value => {
            let mut text = String::new();
            if render(value, Style::named(type_name, ' '), &mut text) {
                Ok(text.into())
            } else {
                Err(EncodeError::Unsupported("a variant", "text"))
            }
        }
    }
}

/// A JSON string (RFC 8259, 7).
fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(type_name: &str, value: Value<'_>) -> String {
        let json = json(type_name, &value, &Rules::default()).unwrap();
        let prefix = format!("{{\"type\": \"{type_name}\", \"value\": ");
        json.strip_prefix(&prefix).and_then(|v| v.strip_suffix('}')).expect(&json).to_owned()
    }

    #[test]
    fn variants_keep_every_digit_and_their_kind() {
        let cases = [
            ("bit", Value::Bool(false), "false"),
            ("bigint", Value::I64(i64::MAX), "9223372036854775807"),
            ("decimal(10,2)", Value::Decimal { unscaled: -150, scale: 2 }, "-1.50"),
            ("float", Value::F64(0.1), "0.1"),
            ("float", Value::F64(-0.0), "\"-0\""),
            ("real", Value::F32(-0.0), "\"-0\""),
            ("float", Value::F64(1e300), "1e+300"),
            ("nvarchar(40)", Value::String("a\"\\\n🦀".into()), "\"a\\\"\\\\\\u000a🦀\""),
            ("varbinary(3)", Value::Bytes(vec![1, 0xfe].into()), "\"0x01FE\""),
            ("datetime2(7)", Value::Timestamp(1), "\"1970-01-01T00:00:00.0000001\""),
            ("datetime", Value::Timestamp(30_000), "\"1970-01-01T00:00:00.003\""),
            ("smalldatetime", Value::Timestamp(0), "\"1970-01-01T00:00:00\""),
            (
                "datetimeoffset(1)",
                Value::TimestampTz { ticks: 0, offset: 60 },
                "\"1970-01-01T01:00:00.0+01:00\"",
            ),
        ];
        for (ty, value, text) in cases {
            assert_eq!(shown(ty, value), text);
        }
        let nul = json("nvarchar(1)", &Value::String("\0".into()), &Rules::default());
        assert_eq!(nul, Err(EncodeError::Nul));
    }
}
