//! Conversions to and from the types that are neither numbers nor plain strings: `sql_variant`,
//! `xml`, `json`, `vector`, and those implemented in .NET.
//! <https://learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql#implicit-conversions>

use std::sync::Arc;

use super::{Converted, fit_binary, fit_text, not_allowed, to_text};
use crate::engine::{vector, xml};
use crate::sql_type::Family;
use crate::value::Variant;
use crate::{SqlError, SqlType, Value};

/// How one type becomes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    Never,
    /// With CAST or CONVERT.
    Explicit,
    /// Wherever it is needed.
    Implicit,
}

/// The way between two types if one of them has rules of its own.
pub fn way(from: &SqlType, to: &SqlType) -> Option<Way> {
    use SqlType::*;
    use Way::*;
    let text = |ty: &SqlType| ty.is_text() && !ty.is_old_lob();
    let binary = |ty: &SqlType| matches!(ty, Binary(_) | VarBinary(_));
    let either = |allowed: bool, way: Way| Some(if allowed { way } else { Never });
    match (from, to) {
        (Variant, Variant) | (Xml, Xml) | (Json, Json) | (RowVersion, RowVersion) => Some(Implicit),
        (Vector(l), Vector(r)) => either(l == r, Implicit),
        _ if from.is_clr() && to.is_clr() => either(from == to, Implicit),
        (Variant, to) => either(to.fits_variant() || to.is_max(), Explicit),
        (from, Variant) => either(from.fits_variant(), Implicit),
        (Xml, to) => either(text(to) || binary(to), Explicit),
        (from, Xml) => either(from.is_text() || binary(from), Implicit),
        (Json, Vector(_)) => Some(Implicit),
        (Json, to) => either(text(to), Explicit),
        (from, Json) => either(text(from) || matches!(from, Vector(_)), Implicit),
        (Vector(_), to) => either(text(to), Implicit),
        (from, Vector(_)) => either(text(from), Implicit),
        (from, to) if from.is_clr() => either(text(to) || binary(to), Explicit),
        (from, to) if to.is_clr() => either(text(from) || binary(from), Implicit),
        (Text | NText, to) => either(to.is_text(), Implicit),
        (from, Text | NText) => either(from.is_text(), Implicit),
        (Image, to) => either(to.family() == Family::Binary, Implicit),
        (from, Image) => either(from.family() == Family::Binary || text(from), Implicit),
        (RowVersion, NChar(_) | NVarChar(_)) | (NChar(_) | NVarChar(_), RowVersion) => Some(Never),
        _ => None,
    }
}

/// A value in a `sql_variant`.
pub fn to_variant(value: &Value, from: &SqlType) -> Converted {
    let ty = match (from, value) {
        _ if from.fits_variant() => from.clone(),
        // A parameter has no length of its own.
        (SqlType::VarChar(None), Value::String(bytes)) => {
            SqlType::VarChar(within(bytes.len(), 8000))
        }
        (SqlType::NVarChar(None), Value::NString(units)) => {
            SqlType::NVarChar(within(units.len(), 4000))
        }
        (SqlType::VarBinary(None), Value::Binary(bytes)) => {
            SqlType::VarBinary(within(bytes.len(), 8000))
        }
        _ => return Err(clash(from, &SqlType::Variant)),
    };
    if ty.is_max() {
        return Err(clash(from, &SqlType::Variant));
    }
    Ok(Value::Variant(Arc::new(Variant { ty, value: value.clone() })))
}

fn within(length: usize, limit: u16) -> Option<u16> {
    u16::try_from(length.max(1)).ok().filter(|length| *length <= limit)
}

/// Error 206.
fn clash(from: &SqlType, to: &SqlType) -> SqlError {
    SqlError::new(
        206,
        16,
        2,
        format!("Operand type clash: {} is incompatible with {}", from.name(), to.name()),
    )
}

/// A value as `xml`; style 1 keeps white space.
pub fn to_xml(value: &Value, from: &SqlType, style: Option<i32>) -> Converted {
    let preserve = match style.unwrap_or(0) {
        0 => false,
        1 => true,
        other => return Err(super::binary::invalid_style(other, from.name(), &SqlType::Xml)),
    };
    let text = match value {
        Value::NString(units) => {
            let text = String::from_utf16(units).map_err(|_| {
                SqlError::new(
                    9420,
                    16,
                    1,
                    "XML parsing: line 1, character 1, illegal xml character",
                )
            })?;
            xml::check_unicode_declaration(&text)?;
            text
        }
        Value::Binary(bytes) => xml::decode(bytes)?,
        Value::String(bytes) => {
            let text = value.to_text().unwrap_or_default();
            match xml::declared_encoding(&text) {
                Some(_) => xml::decode(bytes)?,
                None => text,
            }
        }
        _ => return Err(not_allowed(from, &SqlType::Xml)),
    };
    Ok(Value::text(&xml::normalize(&text, preserve)?))
}

/// A value of one of these types as text.
pub fn to_characters(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    let text = match (from, value) {
        (SqlType::Vector(dimensions), Value::Binary(bytes)) => {
            vector::to_json(bytes, *dimensions).ok_or_else(|| not_allowed(from, to))?
        }
        (_, Value::NString(units)) => {
            if shorter(to, units.len()) {
                return Err(match from {
                    SqlType::Xml => SqlError::new(
                        6354,
                        16,
                        10,
                        "Target string size is too small to represent the XML instance",
                    ),
                    _ => SqlError::new(8152, 16, 17, "String or binary data would be truncated."),
                });
            }
            return Ok(fit_text(units, to));
        }
        _ => return Err(not_allowed(from, to)),
    };
    let units: Vec<u16> = text.encode_utf16().collect();
    if shorter(to, units.len()) {
        return Err(SqlError::new(8152, 16, 17, "String or binary data would be truncated."));
    }
    Ok(fit_text(&units, to))
}

/// Whether a text type holds fewer characters.
fn shorter(to: &SqlType, length: usize) -> bool {
    to_text::limit_of(to).is_some_and(|limit| length > limit)
}

/// `xml` as bytes: UTF-16 behind its mark.
pub fn to_bytes(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    match value {
        Value::NString(units) => {
            let mut bytes = vec![0xFF, 0xFE];
            bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
            Ok(fit_binary(&bytes, to))
        }
        _ => Err(not_allowed(from, to)),
    }
}

/// A text as `json`, which keeps it as it was written.
pub fn to_json(value: &Value, from: &SqlType) -> Converted {
    if let (SqlType::Vector(dimensions), Value::Binary(bytes)) = (from, value) {
        let text = vector::to_json(bytes, *dimensions);
        return text
            .map(|text| Value::text(&text))
            .ok_or_else(|| not_allowed(from, &SqlType::Json));
    }
    let text = value.to_text().ok_or_else(|| not_allowed(from, &SqlType::Json))?;
    let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&text);
    let trimmed = text.trim_start();
    match parsed {
        Ok(_) if trimmed.starts_with(['{', '[']) => Ok(Value::text(&text)),
        Ok(_) | Err(_) => Err(SqlError::new(
            13609,
            16,
            4,
            "JSON text is not properly formatted. Unexpected character is found.",
        )),
    }
}

/// A text as `vector`.
pub fn to_vector(value: &Value, from: &SqlType, to: &SqlType, dimensions: u16) -> Converted {
    let text = value.to_text().ok_or_else(|| not_allowed(from, to))?;
    let bytes = vector::from_json(&text, dimensions).ok_or_else(|| {
        SqlError::new(
            42204,
            16,
            2,
            format!("The vector dimensions do not match: the value is not a JSON array of {dimensions} numbers."),
        )
    })?;
    Ok(Value::Binary(bytes.into()))
}
