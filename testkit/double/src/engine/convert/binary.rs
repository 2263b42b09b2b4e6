//! Conversions from and to `binary` and `varbinary`.

use super::{Converted, fit_binary, fit_text, from_text, not_allowed};
use crate::engine::collation::pages::LATIN_1;
use crate::{SqlError, SqlType, Value};

/// Binary to text: the bytes themselves (style 0), or as hexadecimal digits with `0x` (1) or
/// without (2).
pub fn to_text(bytes: &[u8], to: &SqlType, style: i32) -> Converted {
    let prefix = match style {
        0 if to.is_unicode() => {
            let units: Vec<u16> = bytes
                .chunks(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
                .collect();
            return Ok(fit_text(&units, to));
        }
        0 => return Ok(super::fit_bytes(bytes, to, LATIN_1)),
        1 => "0x",
        2 => "",
        _ => return Err(invalid_style(style, "varbinary", to)),
    };
    let text = prefix.to_owned() + &hex(bytes);
    let limit = match to {
        SqlType::Char(n) | SqlType::NChar(n) => Some(*n),
        SqlType::VarChar(n) | SqlType::NVarChar(n) => *n,
        _ => None,
    };
    if limit.is_some_and(|limit| text.len() > usize::from(limit)) {
        return Err(SqlError::new(8152, 16, 17, "String or binary data would be truncated."));
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    Ok(fit_text(&units, to))
}

/// Upper-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Error 281.
pub fn invalid_style(style: i32, from: &str, to: &SqlType) -> SqlError {
    SqlError::new(
        281,
        16,
        1,
        format!(
            "{style} is not a valid style number when converting from {from} to {}.",
            to.name()
        ),
    )
}

/// Anything to binary. Numbers are big-endian and padded on the left, everything else on the
/// right.
pub fn to_binary(value: &Value, from: &SqlType, to: &SqlType, style: i32) -> Converted {
    let number = |bytes: &[u8]| Ok(fit_number(bytes, to));
    match value {
        Value::Binary(bytes) => Ok(fit_binary(bytes, to)),
        Value::String(_) | Value::NString(_) if style != 0 => {
            let text = value.to_text().unwrap_or_default();
            let bytes = match style {
                1 => from_text::hex(text.trim_end(), true),
                2 => from_text::hex(text.trim_end(), false),
                _ => return Err(invalid_style(style, from.name(), to)),
            };
            match bytes {
                Some(bytes) => Ok(fit_binary(&bytes, to)),
                None => Err(SqlError::new(
                    8114,
                    16,
                    5,
                    format!("Error converting data type {} to {}.", from.name(), to.name()),
                )),
            }
        }
        Value::String(bytes) => Ok(fit_binary(bytes, to)),
        Value::NString(units) => {
            let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            Ok(fit_binary(&bytes, to))
        }
        Value::Bit(v) => number(&[u8::from(*v)]),
        Value::TinyInt(v) => number(&[*v]),
        Value::SmallInt(v) => number(&v.to_be_bytes()),
        Value::Int(v) => number(&v.to_be_bytes()),
        Value::BigInt(v) => number(&v.to_be_bytes()),
        Value::Money(v) => number(&v.to_be_bytes()),
        Value::SmallMoney(v) => number(&v.to_be_bytes()),
        Value::Float(v) => number(&v.to_be_bytes()),
        Value::Real(v) => number(&v.to_be_bytes()),
        Value::Guid(bytes) => Ok(fit_binary(bytes, to)),
        Value::DateTime { days, ticks } => {
            let mut bytes = days.to_be_bytes().to_vec();
            bytes.extend(ticks.to_be_bytes());
            number(&bytes)
        }
        Value::SmallDateTime { days, minutes } => {
            let mut bytes = days.to_be_bytes().to_vec();
            bytes.extend(minutes.to_be_bytes());
            number(&bytes)
        }
        // The storage formats of these are not reproduced here.
        _ => Err(not_allowed(from, to)),
    }
}

fn fit_number(bytes: &[u8], to: &SqlType) -> Value {
    let length = match to {
        SqlType::Binary(n) | SqlType::VarBinary(Some(n)) => usize::from(*n),
        SqlType::RowVersion => 8,
        _ => bytes.len(),
    };
    let kept = &bytes[bytes.len().saturating_sub(length)..];
    let mut fitted = match to {
        SqlType::Binary(_) | SqlType::RowVersion => vec![0; length - kept.len()],
        _ => Vec::new(),
    };
    fitted.extend(kept);
    Value::Binary(fitted.into())
}
