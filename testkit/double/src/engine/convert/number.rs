//! Conversions to numbers.

use super::{Converted, from_text, not_allowed, overflow};
use crate::engine::calendar::{self, DAYS_TO_1900};
use crate::engine::decimal;
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

/// Anything to a number type.
pub fn to_number(value: &Value, from: &SqlType, to: &SqlType, style: Option<i32>) -> Converted {
    match to.family() {
        Family::Integer => to_integer(value, from, to),
        Family::Decimal => to_decimal(value, from, to),
        Family::Money => to_money(value, from, to),
        _ => {
            let wide = to_float(value, from, to)?;
            let _ = style;
            if *to == SqlType::Float {
                return Ok(Value::Float(wide));
            }
            let narrow = wide as f32;
            if narrow.is_finite() {
                Ok(Value::Real(narrow))
            } else {
                Err(overflow(from.name(), to))
            }
        }
    }
}

/// A number as `float`.
pub fn float_of(value: &Value) -> Option<f64> {
    match value {
        Value::Float(v) => Some(*v),
        Value::Real(v) => Some(f64::from(*v)),
        other => {
            let (unscaled, scale) = other.exact()?;
            // Through text: dividing two rounded floats would round twice.
            decimal::format(unscaled, scale).parse().ok()
        }
    }
}

/// A float as exact number with `scale` digits, rounded half away from zero.
fn exact_of_float(value: f64, scale: u8) -> Option<(i128, u8)> {
    // A float has at most 17 significant digits; the shortest text carries them all.
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (unscaled, places) = decimal::parse(mantissa)?.ok()?;
    let shift = exponent - i32::from(places);
    if shift >= 0 {
        let factor = decimal::power_of_ten(u8::try_from(shift).ok()?)?;
        return Some((unscaled.checked_mul(factor)?, 0));
    }
    let places = u32::try_from(-shift).ok()?;
    match u8::try_from(places) {
        Ok(places) if places <= 76 => {
            let rounded = match places > scale {
                true => decimal::rescale(unscaled, places, scale)?,
                false => return Some((unscaled, places)),
            };
            Some((rounded, scale))
        }
        _ => Some((0, 0)),
    }
}

fn to_integer(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    if *to == SqlType::Bit {
        return to_bit(value, from, to);
    }
    let whole: i128 = match value {
        Value::Decimal { unscaled, scale } => {
            decimal::truncate(*unscaled, *scale, 0).ok_or_else(|| overflow("numeric", to))?
        }
        Value::Money(_) | Value::SmallMoney(_) => {
            let (unscaled, scale) = value.exact().unwrap_or_default();
            decimal::rescale(unscaled, scale, 0).ok_or_else(|| overflow("money", to))?
        }
        Value::Float(_) | Value::Real(_) => {
            let truncated = float_of(value).unwrap_or_default().trunc();
            if truncated.abs() > 1e20 {
                return Err(overflow(from.name(), to));
            }
            truncated as i128
        }
        Value::String(_) | Value::NString(_) => {
            let text = value.to_text().unwrap_or_default();
            i128::from(from_text::integer(&text, from, to)?)
        }
        Value::Binary(bytes) => {
            let mut last = [0u8; 8];
            let width = match to {
                SqlType::TinyInt => 1,
                SqlType::SmallInt => 2,
                SqlType::Int => 4,
                _ => 8,
            };
            let kept = &bytes[bytes.len().saturating_sub(width)..];
            last[8 - kept.len()..].copy_from_slice(kept);
            let wide = u64::from_be_bytes(last);
            // The bytes are the number's own, sign included, once all of them are there.
            return Ok(match to {
                SqlType::TinyInt => Value::TinyInt(wide as u8),
                SqlType::SmallInt => Value::SmallInt(wide as u16 as i16),
                SqlType::Int => Value::Int(wide as u32 as i32),
                _ => Value::BigInt(wide as i64),
            });
        }
        Value::DateTime { .. } | Value::SmallDateTime { .. } => {
            days_since_1900(value).unwrap_or_default().round() as i128
        }
        other => match other.as_i64() {
            Some(value) => i128::from(value),
            None => return Err(not_allowed(from, to)),
        },
    };
    from_whole(whole, from, to)
}

/// A whole number as an integer type.
pub fn from_whole(whole: i128, from: &SqlType, to: &SqlType) -> Converted {
    let fitted = match to {
        SqlType::TinyInt => u8::try_from(whole).ok().map(Value::TinyInt),
        SqlType::SmallInt => i16::try_from(whole).ok().map(Value::SmallInt),
        SqlType::Int => i32::try_from(whole).ok().map(Value::Int),
        _ => i64::try_from(whole).ok().map(Value::BigInt),
    };
    fitted.ok_or_else(|| match (to, from.family()) {
        (SqlType::TinyInt | SqlType::SmallInt, Family::Integer | Family::Float) => SqlError::new(
            220,
            16,
            if *to == SqlType::TinyInt { 2 } else { 1 },
            format!("Arithmetic overflow error for data type {}, value = {whole}.", to.name()),
        ),
        (_, Family::Integer) => overflow("expression", to),
        _ => overflow(from.message_name(), to),
    })
}

fn to_bit(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    let set = match value {
        Value::String(_) | Value::NString(_) => {
            from_text::integer(&value.to_text().unwrap_or_default(), from, to)? != 0
        }
        Value::Binary(bytes) => bytes.iter().any(|b| *b != 0),
        Value::Float(_) | Value::Real(_) => float_of(value) != Some(0.0),
        other => match other.exact() {
            Some((unscaled, _)) => unscaled != 0,
            None => return Err(not_allowed(from, to)),
        },
    };
    Ok(Value::Bit(set))
}

/// Days since 1900-01-01 with their fraction.
fn days_since_1900(value: &Value) -> Option<f64> {
    let (moment, _) = calendar::moment_of(value)?;
    Some((moment.days - DAYS_TO_1900) as f64 + moment.time as f64 / calendar::DAY as f64)
}

fn to_decimal(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    let (SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale }) = *to
    else {
        return Err(not_allowed(from, to));
    };
    let (unscaled, places) = match value {
        Value::String(_) | Value::NString(_) => {
            from_text::exact(&value.to_text().unwrap_or_default(), from, to)?
        }
        Value::Float(_) | Value::Real(_) => {
            float_places(value, scale).ok_or_else(|| overflow(from.name(), to))?
        }
        Value::DateTime { .. } | Value::SmallDateTime { .. } => {
            exact_of_float(days_since_1900(value).unwrap_or_default(), scale)
                .ok_or_else(|| overflow(from.name(), to))?
        }
        other => other.exact().ok_or_else(|| not_allowed(from, to))?,
    };
    let fitted = decimal::rescale(unscaled, places, scale).and_then(|v| decimal::fit(v, precision));
    match fitted {
        Some(unscaled) => Ok(Value::Decimal { unscaled, scale }),
        None => Err(overflow(from.message_name(), to)),
    }
}

/// `real` goes through its own shortest text: 0.1 stays 0.1.
fn float_places(value: &Value, scale: u8) -> Option<(i128, u8)> {
    match value {
        Value::Real(v) => exact_of_float(format!("{v}").parse().ok()?, scale),
        other => exact_of_float(float_of(other)?, scale),
    }
}

fn to_money(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    let (unscaled, places) = match value {
        Value::String(_) | Value::NString(_) => {
            from_text::money(&value.to_text().unwrap_or_default(), from, to)?
        }
        Value::Float(_) | Value::Real(_) => {
            float_places(value, 4).ok_or_else(|| overflow(from.name(), to))?
        }
        Value::Binary(bytes) => {
            let wide = to_integer(&Value::Binary(bytes.clone()), from, &SqlType::BigInt)?;
            (i128::from(wide.as_i64().unwrap_or_default()), 4)
        }
        Value::DateTime { .. } | Value::SmallDateTime { .. } => {
            exact_of_float(days_since_1900(value).unwrap_or_default(), 4)
                .ok_or_else(|| overflow(from.name(), to))?
        }
        other => other.exact().ok_or_else(|| not_allowed(from, to))?,
    };
    let units = decimal::rescale(unscaled, places, 4);
    let fitted = match to {
        SqlType::SmallMoney => units.and_then(|v| i32::try_from(v).ok()).map(Value::SmallMoney),
        _ => units.and_then(|v| i64::try_from(v).ok()).map(Value::Money),
    };
    fitted.ok_or_else(|| overflow(from.message_name(), to))
}

fn to_float(value: &Value, from: &SqlType, to: &SqlType) -> Result<f64, SqlError> {
    match value {
        Value::String(_) | Value::NString(_) => {
            from_text::float(&value.to_text().unwrap_or_default(), from, to)
        }
        Value::DateTime { .. } | Value::SmallDateTime { .. } => {
            Ok(days_since_1900(value).unwrap_or_default())
        }
        other => float_of(other).ok_or_else(|| not_allowed(from, to)),
    }
}
