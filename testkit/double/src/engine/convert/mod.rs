//! Conversions between types: CAST, CONVERT, implicit ones and assignment to columns.

mod binary;
pub mod clr;
mod from_text;
mod large;
mod number;
mod temporal;
mod to_text;

use std::borrow::Cow;

use super::collation::Label;
use super::collation::pages::{CodePage, LATIN_1};
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

use large::Way;
pub use temporal::{build, set_level};
pub use to_text::display;

/// Result of a conversion.
pub type Converted = Result<Value, SqlError>;

/// Converts a value of type `from` to type `to`. Strings and binaries that are too long are cut,
/// as CAST and variables do; columns check first, see [`assign`]. `style` is CONVERT's, 0 by
/// default.
///
/// # Errors
/// 220, 241, 242, 244, 245, 248, 529, 8114, 8115, 8169, 8170.
pub fn convert(value: &Value, from: &SqlType, to: &SqlType, style: Option<i32>) -> Converted {
    convert_under(value, from, to, style, value.label())
}

/// The same where a string is to have a collation: what its code page does not have is lost.
fn convert_under(
    value: &Value,
    from: &SqlType,
    to: &SqlType,
    style: Option<i32>,
    label: Label,
) -> Converted {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if to.is_text() && from.is_text() {
        return Ok(match (value, to.is_unicode()) {
            (Value::String(bytes), false) if bytes.label().page() == label.page() => {
                fit_bytes(bytes, to, label.page())
            }
            (_, false) => {
                let units = value.units().unwrap_or_default();
                fit_bytes(&label.page().encode(&units), to, label.page())
            }
            (_, true) => fit_text(&value.units().unwrap_or_default(), to),
        }
        .of_collation(label));
    }
    // What numbers, times and identifiers show as is the same in every code page.
    convert_other(value, from, to, style).map(|converted| converted.of_collation(label))
}

fn convert_other(value: &Value, from: &SqlType, to: &SqlType, style: Option<i32>) -> Converted {
    if let (Value::Variant(variant), false) = (value, *to == SqlType::Variant) {
        return match explicit_allowed(&variant.ty, to) {
            true => convert(&variant.value, &variant.ty, to, style),
            false => Err(not_allowed(&variant.ty, to)),
        };
    }
    match to.family() {
        Family::Variant => match value {
            Value::Variant(_) => Ok(value.clone()),
            _ => large::to_variant(value, from),
        },
        Family::Xml if *from == SqlType::Xml => Ok(value.clone()),
        Family::Xml => large::to_xml(value, from, style),
        Family::Json if *from == SqlType::Json => Ok(value.clone()),
        Family::Json => large::to_json(value, from),
        Family::Vector if from == to => Ok(value.clone()),
        Family::Vector => large::to_vector(value, from, to, vector_dimensions(to)),
        Family::Clr if from == to => Ok(value.clone()),
        Family::Clr => clr::to_clr(value, from, to),
        Family::Text if matches!(from.family(), Family::Xml | Family::Json | Family::Vector) => {
            large::to_characters(value, from, to)
        }
        Family::Text if from.is_clr() => clr::to_characters(value, from, to),
        Family::Binary if from.is_clr() => clr::to_bytes(value, from, to),
        Family::Binary if *from == SqlType::Xml => large::to_bytes(value, from, to),
        Family::Integer | Family::Decimal | Family::Money | Family::Float => {
            number::to_number(value, from, to, style)
        }
        Family::Text => {
            if let (Family::Binary, Value::Binary(bytes)) = (from.family(), value) {
                return binary::to_text(bytes, to, style.unwrap_or(0));
            }
            to_text::to_text(value, from, to, style)
        }
        Family::Binary => binary::to_binary(value, from, to, style.unwrap_or(0)),
        Family::Temporal => temporal::to_temporal(value, from, to, style),
        Family::Guid => match value {
            Value::Guid(bytes) => Ok(Value::Guid(*bytes)),
            Value::Binary(bytes) => {
                let mut guid = [0; 16];
                let length = bytes.len().min(16);
                guid[..length].copy_from_slice(&bytes[..length]);
                Ok(Value::Guid(guid))
            }
            _ => match value.to_text() {
                Some(text) => from_text::guid(&text),
                None => Err(not_allowed(from, to)),
            },
        },
    }
}

fn vector_dimensions(ty: &SqlType) -> u16 {
    match ty {
        SqlType::Vector(dimensions) => *dimensions,
        _ => 0,
    }
}

/// Converts a value for a column of type `to` and a collation, where nothing may be cut off.
///
/// # Errors
/// 2628, and those of [`convert`].
pub fn assign(
    value: Value,
    from: &SqlType,
    to: &SqlType,
    label: Label,
    column: impl Fn() -> (String, String),
) -> Converted {
    let same_page = to.is_unicode() || value.label().page() == label.page();
    if from == to && (same_page || !to.is_text()) {
        return Ok(value);
    }
    // Blanks (and zeros of binaries) beyond the column's length are cut without a word.
    let significant = |blank: Option<usize>| blank.map_or(0, |at| at + 1);
    let too_long = match (&value, to) {
        (Value::String(_) | Value::NString(_), SqlType::Char(n) | SqlType::VarChar(Some(n))) => {
            let bytes: Cow<'_, [u8]> = match &value {
                Value::String(bytes) if same_page => Cow::Borrowed(bytes),
                _ => Cow::Owned(label.page().encode(&value.units().unwrap_or_default())),
            };
            significant(bytes.iter().rposition(|byte| *byte != b' ')) > usize::from(*n)
        }
        (Value::String(_) | Value::NString(_), SqlType::NChar(n) | SqlType::NVarChar(Some(n))) => {
            let units = value.units().unwrap_or_default();
            significant(units.iter().rposition(|unit| *unit != 0x20)) > usize::from(*n)
        }
        (Value::Binary(bytes), SqlType::Binary(n) | SqlType::VarBinary(Some(n))) => {
            significant(bytes.iter().rposition(|byte| *byte != 0)) > usize::from(*n)
        }
        _ => false,
    };
    if too_long {
        let (table, column) = column();
        let shown: String =
            display(&value, from).chars().take(usize::from(to.display_length())).collect();
        return Err(SqlError::new(
            2628,
            16,
            1,
            format!(
                "String or binary data would be truncated in table '{table}', column '{column}'. Truncated value: '{shown}'."
            ),
        ));
    }
    convert_under(&value, from, to, None, label)
}

/// Error 529.
pub fn not_allowed(from: &SqlType, to: &SqlType) -> SqlError {
    SqlError::new(
        529,
        16,
        2,
        format!(
            "Explicit conversion from data type {} to {} is not allowed.",
            from.name(),
            to.name()
        ),
    )
}

/// Error 8115.
pub fn overflow(what: &str, to: &SqlType) -> SqlError {
    SqlError::new(
        8115,
        16,
        2,
        format!("Arithmetic overflow error converting {what} to data type {}.", to.message_name()),
    )
}

/// Whether an explicit conversion between two types exists at all.
pub fn explicit_allowed(from: &SqlType, to: &SqlType) -> bool {
    use Family::*;
    if let Some(way) = large::way(from, to) {
        return way != Way::Never;
    }
    match (from.family(), to.family()) {
        (Text, _) | (_, Text) | (_, Binary) => true,
        (Binary, Float) => false,
        (Binary, _) => true,
        (Guid, Guid) => true,
        (Guid, _) | (_, Guid) => false,
        (Temporal, Temporal) => !matches!(
            (from, to),
            (SqlType::Time(_), SqlType::Date) | (SqlType::Date, SqlType::Time(_))
        ),
        (Temporal, _) => matches!(from, SqlType::DateTime | SqlType::SmallDateTime),
        (_, Temporal) => matches!(to, SqlType::DateTime | SqlType::SmallDateTime),
        _ => true,
    }
}

/// Whether a value of one type becomes the other without CAST (error 257 or 206 otherwise).
pub fn implicit_allowed(from: &SqlType, to: &SqlType) -> bool {
    use Family::*;
    if let Some(way) = large::way(from, to) {
        return way == Way::Implicit;
    }
    match (from.family(), to.family()) {
        (Text, Binary) => false,
        (Binary, Text) => true,
        (Text, Text | Guid | Integer | Decimal | Float | Temporal | Money) => true,
        (Money, Text) => true,
        (Temporal, Integer | Decimal | Money | Float) => false,
        (Temporal, Binary) | (Float, Binary) => false,
        (Binary, Temporal) => matches!(to, SqlType::DateTime | SqlType::SmallDateTime),
        _ => explicit_allowed(from, to),
    }
}

/// A string value of a text type from UTF-16, cut and padded as the type demands.
fn fit_text(units: &[u16], to: &SqlType) -> Value {
    if !to.is_unicode() {
        return fit_bytes(&LATIN_1.encode(units), to, LATIN_1);
    }
    match to {
        SqlType::NChar(n) => {
            let mut fitted = units[..units.len().min(usize::from(*n))].to_vec();
            fitted.resize(usize::from(*n), 0x20);
            Value::NString(fitted.into())
        }
        SqlType::NVarChar(Some(n)) => {
            Value::NString(units[..units.len().min(usize::from(*n))].into())
        }
        _ => Value::NString(units.into()),
    }
}

fn fit_bytes(bytes: &[u8], to: &SqlType, page: CodePage) -> Value {
    match to {
        SqlType::Char(n) => {
            let mut fitted = page.cut(bytes, usize::from(*n)).to_vec();
            fitted.resize(usize::from(*n), b' ');
            Value::String(fitted.into())
        }
        SqlType::VarChar(Some(n)) => Value::String(page.cut(bytes, usize::from(*n)).into()),
        _ => Value::String(bytes.into()),
    }
}

/// A binary value of a binary type, cut and padded on the right.
fn fit_binary(bytes: &[u8], to: &SqlType) -> Value {
    match to {
        SqlType::Binary(n) => {
            let mut fitted = bytes[..bytes.len().min(usize::from(*n))].to_vec();
            fitted.resize(usize::from(*n), 0);
            Value::Binary(fitted.into())
        }
        SqlType::RowVersion => {
            let mut fitted = bytes[..bytes.len().min(8)].to_vec();
            fitted.resize(8, 0);
            Value::Binary(fitted.into())
        }
        SqlType::VarBinary(Some(n)) => {
            Value::Binary(bytes[..bytes.len().min(usize::from(*n))].into())
        }
        _ => Value::Binary(bytes.into()),
    }
}

#[cfg(test)]
mod tests;
