//! Texts read as values.

use super::Converted;
use crate::engine::decimal;
use crate::{SqlError, SqlType, Value};

/// Hexadecimal digits, with `0x` where `prefixed`.
pub fn hex(text: &str, prefixed: bool) -> Option<Vec<u8>> {
    let digits = match prefixed {
        true => text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?,
        false => text,
    };
    if digits.len() % 2 != 0 {
        return None;
    }
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        })
        .collect()
}

/// A `uniqueidentifier`, in braces or not; what follows the 36th character is ignored.
pub fn guid(text: &str) -> Converted {
    let failed = || {
        SqlError::new(
            8169,
            16,
            2,
            "Conversion failed when converting from a character string to uniqueidentifier.",
        )
    };
    let text = text.trim_start_matches('{');
    let text = text.get(..36).ok_or_else(failed)?;
    let dashes = [8, 13, 18, 23];
    if dashes.iter().any(|at| text.as_bytes()[*at] != b'-') {
        return Err(failed());
    }
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let bytes = hex(&digits, false).ok_or_else(failed)?;
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| failed())?;
    // The first three groups are little-endian on the wire.
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    Ok(Value::Guid(order.map(|at| bytes[at])))
}

/// A text as a whole number, for the integer types.
pub fn integer(text: &str, from: &SqlType, to: &SqlType) -> Result<i64, SqlError> {
    let trimmed = text.trim();
    let failed = || {
        if *to == SqlType::BigInt {
            return SqlError::new(
                8114,
                16,
                5,
                format!("Error converting data type {} to bigint.", from.name()),
            );
        }
        SqlError::new(
            245,
            16,
            1,
            format!(
                "Conversion failed when converting the {} value '{}' to data type {}.",
                from.name(),
                text.trim_end(),
                to.name()
            ),
        )
    };
    if trimmed.is_empty() {
        return Ok(0);
    }
    if *to == SqlType::Bit {
        if trimmed.eq_ignore_ascii_case("true") {
            return Ok(1);
        }
        if trimmed.eq_ignore_ascii_case("false") {
            return Ok(0);
        }
    }
    let body = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed).trim_start();
    if body.is_empty() || !body.bytes().all(|b| b.is_ascii_digit()) {
        return Err(failed());
    }
    let value: Option<i64> = body.parse::<i128>().ok().and_then(|magnitude| {
        let signed = if trimmed.starts_with('-') { -magnitude } else { magnitude };
        i64::try_from(signed).ok()
    });
    let in_range = |v: &i64| match to {
        SqlType::TinyInt => u8::try_from(*v).is_ok(),
        SqlType::SmallInt => i16::try_from(*v).is_ok(),
        SqlType::Int => i32::try_from(*v).is_ok(),
        _ => true,
    };
    value.filter(in_range).ok_or_else(|| integer_overflow(text, from, to))
}

fn integer_overflow(text: &str, from: &SqlType, to: &SqlType) -> SqlError {
    let (number, column) = match to {
        SqlType::TinyInt => (244, "INT1"),
        SqlType::SmallInt => (244, "INT2"),
        SqlType::Int | SqlType::Bit => {
            return SqlError::new(
                248,
                16,
                1,
                format!(
                    "The conversion of the {} value '{}' overflowed an int column.",
                    from.name(),
                    text.trim_end()
                ),
            );
        }
        _ => return super::overflow("expression", to),
    };
    SqlError::new(
        number,
        16,
        if column == "INT1" { 1 } else { 2 },
        format!(
            "The conversion of the {} value '{}' overflowed an {column} column. Use a larger integer column.",
            from.name(),
            text.trim_end()
        ),
    )
}

/// Error 8114.
pub fn failed(from: &SqlType, to: &SqlType) -> SqlError {
    SqlError::new(
        8114,
        16,
        5,
        format!("Error converting data type {} to {}.", from.name(), to.message_name()),
    )
}

/// A text as an exact number with its scale.
pub fn exact(text: &str, from: &SqlType, to: &SqlType) -> Result<(i128, u8), SqlError> {
    match decimal::parse(text) {
        Some(Ok(parsed)) => Ok(parsed),
        Some(Err(())) => Err(super::overflow(from.name(), to)),
        None => Err(failed(from, to)),
    }
}

/// A text as `money`: with a currency sign and thousands separators.
pub fn money(text: &str, from: &SqlType, to: &SqlType) -> Result<(i128, u8), SqlError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok((0, 0));
    }
    let plain: String = trimmed.chars().filter(|c| !matches!(c, ',' | '$')).collect();
    exact(&plain, from, to).map_err(|error| match error.number {
        8114 => SqlError::new(
            235,
            16,
            0,
            "Cannot convert a char value to money. The char value has incorrect syntax.",
        ),
        _ => error,
    })
}

/// A text as `float`.
pub fn float(text: &str, from: &SqlType, to: &SqlType) -> Result<f64, SqlError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(0.0);
    }
    let plain = trimmed
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    let value: f64 = match plain {
        true => trimmed.parse().map_err(|_| failed(from, to))?,
        false => return Err(failed(from, to)),
    };
    if value.is_finite() { Ok(value) } else { Err(super::overflow(from.name(), to)) }
}
