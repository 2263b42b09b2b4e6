//! From values to the bytes of COLMETADATA, ROW and RETURNVALUE.
//!
//! A cell is written straight from the value into the outgoing payload: no allocation, no
//! per-cell indirection. Values of MAX types are the exception in one respect: they are cut into
//! chunks by whoever owns the payload (see [`Cell`]), so that a large one need not be framed whole.

use bytes::BufMut;

use super::types::{
    COLLATION, DATE_TIME_DAYS, DAY, DAY_MINUTES, DAY_TICKS, LAST_DAY, MAX_LENGTH, VARIANT_LENGTH,
    decimal_length, time_length, time_unit, token,
};
use crate::engine::collation::Label;
use crate::engine::vector;
use crate::value::{Str, Variant};
use crate::{SqlType, Value};

/// A value that does not belong in its column: a fault of the engine, never sent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a value {value} in a column of type {ty:?}")]
pub(super) struct Mismatch {
    ty: SqlType,
    value: &'static str,
}

/// Writes the TYPE_INFO of a column or return value. Types that have one are sent in their fixed
/// form where NULL cannot come, as SQL Server sends them.
pub(super) fn put_type_info(out: &mut Vec<u8>, ty: &SqlType, nullable: bool, label: Label) {
    let collation = label.wire();
    let mut sized = |fixed: u8, variable: u8, length: u8| {
        if nullable {
            out.extend_from_slice(&[variable, length]);
        } else {
            out.push(fixed);
        }
    };
    match *ty {
        SqlType::Bit => sized(token::BIT, token::BIT_N, 1),
        SqlType::TinyInt => sized(token::INT1, token::INT_N, 1),
        SqlType::SmallInt => sized(token::INT2, token::INT_N, 2),
        SqlType::Int => sized(token::INT4, token::INT_N, 4),
        SqlType::BigInt => sized(token::INT8, token::INT_N, 8),
        SqlType::Money => sized(token::MONEY, token::MONEY_N, 8),
        SqlType::SmallMoney => sized(token::SMALL_MONEY, token::MONEY_N, 4),
        SqlType::Float => sized(token::FLOAT8, token::FLOAT_N, 8),
        SqlType::Real => sized(token::FLOAT4, token::FLOAT_N, 4),
        SqlType::SmallDateTime => sized(token::SMALL_DATE_TIME, token::DATE_TIME_N, 4),
        SqlType::DateTime => sized(token::DATE_TIME, token::DATE_TIME_N, 8),
        SqlType::Decimal { precision, scale } => {
            out.extend_from_slice(&[token::DECIMAL, decimal_length(precision), precision, scale]);
        }
        SqlType::Numeric { precision, scale } => {
            out.extend_from_slice(&[token::NUMERIC, decimal_length(precision), precision, scale]);
        }
        SqlType::UniqueIdentifier => out.extend_from_slice(&[token::GUID, 16]),
        SqlType::Date => out.push(token::DATE),
        SqlType::Time(scale) => out.extend_from_slice(&[token::TIME, scale]),
        SqlType::DateTime2(scale) => out.extend_from_slice(&[token::DATE_TIME_2, scale]),
        SqlType::DateTimeOffset(scale) => out.extend_from_slice(&[token::DATE_TIME_OFFSET, scale]),
        SqlType::Char(length) => put_text_type(out, token::BIG_CHAR, length, collation),
        SqlType::VarChar(length) => {
            put_text_type(out, token::BIG_VARCHAR, length.unwrap_or(MAX_LENGTH), collation);
        }
        SqlType::NChar(units) => put_text_type(out, token::NCHAR, units * 2, collation),
        SqlType::NVarChar(units) => {
            let length = units.map_or(MAX_LENGTH, |units| units * 2);
            put_text_type(out, token::NVARCHAR, length, collation);
        }
        SqlType::Binary(length) => put_binary_type(out, token::BIG_BINARY, length),
        SqlType::VarBinary(length) => {
            put_binary_type(out, token::BIG_VARBINARY, length.unwrap_or(MAX_LENGTH));
        }
        SqlType::RowVersion => put_binary_type(out, token::BIG_BINARY, 8),
        SqlType::Text => put_long_type(out, token::TEXT, i32::MAX, Some(&collation)),
        SqlType::NText => put_long_type(out, token::NTEXT, i32::MAX - 1, Some(&collation)),
        SqlType::Image => put_long_type(out, token::IMAGE, i32::MAX, None),
        // No schema collection.
        SqlType::Xml => out.extend_from_slice(&[token::XML, 0]),
        SqlType::Variant => {
            out.push(token::VARIANT);
            out.put_u32_le(VARIANT_LENGTH);
        }
        SqlType::HierarchyId => put_clr_type(out, 892, "hierarchyid", "SqlHierarchyId"),
        SqlType::Geometry => put_clr_type(out, MAX_LENGTH, "geometry", "SqlGeometry"),
        SqlType::Geography => put_clr_type(out, MAX_LENGTH, "geography", "SqlGeography"),
        // What a client is sent that has not asked for the types' own form.
        SqlType::Json => put_text_type(out, token::NVARCHAR, MAX_LENGTH, COLLATION),
        SqlType::Vector(_) => put_text_type(out, token::BIG_VARCHAR, MAX_LENGTH, COLLATION),
    }
}

/// `text` and its kin: behind the type stands the name of the table, here one empty part, as for
/// an expression.
fn put_long_type(out: &mut Vec<u8>, token: u8, length: i32, collation: Option<&[u8; 5]>) {
    out.push(token);
    out.put_i32_le(length);
    out.extend_from_slice(collation.map_or(&[][..], |collation| collation));
    out.push(1);
    out.put_u16_le(0);
}

/// UDT_INFO of the types that SQL Server implements in .NET ([MS-TDS] 2.2.5.5.2).
fn put_clr_type(out: &mut Vec<u8>, length: u16, name: &str, class: &str) {
    out.push(token::UDT);
    out.put_u16_le(length);
    for part in ["", "sys", name] {
        let units: Vec<u16> = part.encode_utf16().collect();
        out.push(u8::try_from(units.len()).expect("short names"));
        put_units(out, &units);
    }
    let assembly = format!(
        "Microsoft.SqlServer.Types.{class}, Microsoft.SqlServer.Types, Version=11.0.0.0, Culture=neutral, PublicKeyToken=89845dcd8080cc91"
    );
    let units: Vec<u16> = assembly.encode_utf16().collect();
    out.put_u16_le(u16::try_from(units.len()).expect("short names"));
    put_units(out, &units);
}

fn put_text_type(out: &mut Vec<u8>, token: u8, length: u16, collation: [u8; 5]) {
    put_binary_type(out, token, length);
    out.extend_from_slice(&collation);
}

fn put_binary_type(out: &mut Vec<u8>, token: u8, length: u16) {
    out.push(token);
    out.put_u16_le(length);
}

/// Whether values of the type travel partially length-prefixed.
pub(super) fn is_plp(ty: &SqlType) -> bool {
    ty.is_max() || ty.is_clr() || matches!(ty, SqlType::Xml | SqlType::Json | SqlType::Vector(_))
}

/// Bytes a NULL of the column takes in a plain ROW: what NBCROW saves on it.
pub(super) fn null_length(ty: &SqlType, nullable: bool) -> usize {
    match ty {
        _ if !nullable => 0,
        _ if is_plp(ty) => 8,
        SqlType::Char(_) | SqlType::VarChar(_) | SqlType::NChar(_) | SqlType::NVarChar(_) => 2,
        SqlType::Binary(_) | SqlType::VarBinary(_) | SqlType::RowVersion => 2,
        SqlType::Variant => 4,
        _ => 1,
    }
}

/// What [`put_cell`] made of a value.
#[derive(Debug, PartialEq)]
pub(super) enum Cell<'a> {
    /// It is written.
    Written,
    /// The caller has to write it, partially length-prefixed.
    Bytes(&'a [u8]),
    /// The same for UTF-16 text.
    Units(&'a [u16]),
    /// The same for text that is sent in another form than it is kept in.
    Converted(Vec<u8>),
}

/// Writes a value as it stands in a ROW.
pub(super) fn put_cell<'a>(
    out: &mut Vec<u8>,
    ty: &SqlType,
    nullable: bool,
    label: Label,
    value: &'a Value,
) -> Result<Cell<'a>, Mismatch> {
    if let Value::String(text) = value
        && (ty.is_unicode() || text.label().page() != label.page())
    {
        return put_converted(out, ty, label, text)
            .ok_or_else(|| Mismatch { ty: ty.clone(), value: kind_of(value) });
    }
    let mismatch = || Mismatch { ty: ty.clone(), value: kind_of(value) };
    /// Length byte (where the type is sent in its nullable form), then the bytes.
    macro_rules! fixed {
        ($bytes:expr) => {{
            let bytes = $bytes;
            if nullable {
                out.push(bytes.len() as u8);
            }
            out.extend_from_slice(&bytes);
        }};
    }
    match (ty, value) {
        (_, Value::Null) if nullable => put_null(out, ty),
        (SqlType::Bit, Value::Bit(v)) => fixed!([u8::from(*v)]),
        (SqlType::TinyInt, Value::TinyInt(v)) => fixed!([*v]),
        (SqlType::SmallInt, Value::SmallInt(v)) => fixed!(v.to_le_bytes()),
        (SqlType::Int, Value::Int(v)) => fixed!(v.to_le_bytes()),
        (SqlType::BigInt, Value::BigInt(v)) => fixed!(v.to_le_bytes()),
        (SqlType::Float, Value::Float(v)) => fixed!(v.to_le_bytes()),
        (SqlType::Real, Value::Real(v)) => fixed!(v.to_le_bytes()),
        (SqlType::Money, Value::Money(v)) => fixed!(money(*v)),
        (SqlType::SmallMoney, Value::SmallMoney(v)) => fixed!(v.to_le_bytes()),
        (SqlType::SmallDateTime, Value::SmallDateTime { days, minutes })
            if *minutes < DAY_MINUTES =>
        {
            let ([a, b], [c, d]) = (days.to_le_bytes(), minutes.to_le_bytes());
            fixed!([a, b, c, d]);
        }
        (SqlType::DateTime, Value::DateTime { days, ticks })
            if DATE_TIME_DAYS.contains(days) && *ticks < DAY_TICKS =>
        {
            let ([a, b, c, d], [e, f, g, h]) = (days.to_le_bytes(), ticks.to_le_bytes());
            fixed!([a, b, c, d, e, f, g, h]);
        }
        (
            SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale },
            Value::Decimal { unscaled, scale: own },
        ) => {
            if scale != own {
                return Err(mismatch());
            }
            put_decimal(out, *precision, *unscaled).ok_or_else(mismatch)?;
        }
        (SqlType::UniqueIdentifier, Value::Guid(bytes)) => {
            out.push(16);
            out.extend_from_slice(bytes);
        }
        (SqlType::Date, Value::Date(days)) => {
            out.push(3);
            put_days(out, *days).ok_or_else(mismatch)?;
        }
        (SqlType::Time(scale), Value::Time(time)) => {
            out.push(time_length(*scale));
            put_time(out, *scale, *time).ok_or_else(mismatch)?;
        }
        (SqlType::DateTime2(scale), Value::DateTime2 { days, time }) => {
            out.push(time_length(*scale) + 3);
            put_time(out, *scale, *time).ok_or_else(mismatch)?;
            put_days(out, *days).ok_or_else(mismatch)?;
        }
        (SqlType::DateTimeOffset(scale), Value::DateTimeOffset { days, time, offset }) => {
            out.push(time_length(*scale) + 5);
            put_time(out, *scale, *time).ok_or_else(mismatch)?;
            put_days(out, *days).ok_or_else(mismatch)?;
            out.put_i16_le(*offset);
        }
        (SqlType::VarChar(None), Value::String(bytes))
        | (SqlType::VarBinary(None), Value::Binary(bytes)) => return Ok(Cell::Bytes(bytes)),
        (SqlType::NVarChar(None), Value::NString(units)) => return Ok(Cell::Units(units)),
        (SqlType::Xml | SqlType::Json, Value::NString(units)) => return Ok(Cell::Units(units)),
        (ty, Value::Binary(bytes)) if ty.is_clr() => return Ok(Cell::Bytes(bytes)),
        (SqlType::Vector(dimensions), Value::Binary(bytes)) => {
            let text = vector::to_json(bytes, *dimensions).ok_or_else(mismatch)?;
            put_one_chunk(out, text.as_bytes());
        }
        (SqlType::Text, Value::String(bytes)) | (SqlType::Image, Value::Binary(bytes)) => {
            put_text_pointer(out, bytes.len()).ok_or_else(mismatch)?;
            out.extend_from_slice(bytes);
        }
        (SqlType::NText, Value::NString(units)) => {
            put_text_pointer(out, units.len() * 2).ok_or_else(mismatch)?;
            put_units(out, units);
        }
        (SqlType::RowVersion, Value::Binary(bytes)) if bytes.len() == 8 => {
            out.put_u16_le(8);
            out.extend_from_slice(bytes);
        }
        (SqlType::Variant, Value::Variant(variant)) => {
            put_variant(out, variant).ok_or_else(mismatch)?;
        }
        (SqlType::Char(limit) | SqlType::VarChar(Some(limit)), Value::String(bytes))
        | (SqlType::Binary(limit) | SqlType::VarBinary(Some(limit)), Value::Binary(bytes)) => {
            let length = within(bytes.len(), *limit).ok_or_else(mismatch)?;
            out.put_u16_le(length);
            out.extend_from_slice(bytes);
        }
        (SqlType::NChar(limit) | SqlType::NVarChar(Some(limit)), Value::NString(units)) => {
            let length = within(units.len(), *limit).ok_or_else(mismatch)?;
            out.put_u16_le(length * 2);
            put_units(out, units);
        }
        _ => return Err(mismatch()),
    }
    Ok(Cell::Written)
}

/// A string of a code page as UTF-16, for a client that does not know the page, or in the page its
/// column was said to have; none if something would be lost.
fn put_converted<'a>(
    out: &mut Vec<u8>,
    ty: &SqlType,
    label: Label,
    text: &Str<u8>,
) -> Option<Cell<'a>> {
    let units = text.label().page().decode(text);
    let bytes = match ty.is_unicode() {
        true => units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        false => label.page().encode(&units),
    };
    if !ty.is_unicode() && label.page().decode(&bytes) != units {
        return None;
    }
    let limit = match *ty {
        SqlType::VarChar(None) | SqlType::NVarChar(None) => return Some(Cell::Converted(bytes)),
        SqlType::Char(limit) | SqlType::VarChar(Some(limit)) => limit,
        SqlType::NChar(limit) | SqlType::NVarChar(Some(limit)) => limit * 2,
        SqlType::Text | SqlType::NText => {
            put_text_pointer(out, bytes.len())?;
            out.extend_from_slice(&bytes);
            return Some(Cell::Written);
        }
        _ => return None,
    };
    out.put_u16_le(within(bytes.len(), limit)?);
    out.extend_from_slice(&bytes);
    Some(Cell::Written)
}

fn put_null(out: &mut Vec<u8>, ty: &SqlType) {
    let length = null_length(ty, true);
    // A length of zero is NULL where lengths take a byte, and of a sql_variant; all ones else.
    let byte = if length == 1 || *ty == SqlType::Variant { 0 } else { 0xFF };
    out.put_bytes(byte, length);
}

/// The pointer to a `text` and its kin, its timestamp, and the length of what follows. Nobody can
/// use the pointer: there is no READTEXT.
fn put_text_pointer(out: &mut Vec<u8>, length: usize) -> Option<()> {
    let length = i32::try_from(length).ok()?;
    out.push(16);
    out.extend_from_slice(b"dummy textptr\0\0\0");
    out.extend_from_slice(b"dummyTS\0");
    out.put_i32_le(length);
    Some(())
}

/// A partially length-prefixed value in one chunk.
fn put_one_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u64_le(bytes.len() as u64);
    if !bytes.is_empty() {
        out.put_u32_le(u32::try_from(bytes.len()).expect("a short value"));
        out.extend_from_slice(bytes);
    }
    out.put_u32_le(0);
}

/// `sql_variant` ([MS-TDS] 2.2.5.5.4): length, base type, facets, value.
fn put_variant(out: &mut Vec<u8>, variant: &Variant) -> Option<()> {
    let ty = &variant.ty;
    let mut value = Vec::new();
    let label = variant.value.label();
    match put_cell(&mut value, ty, false, label, &variant.value) {
        Ok(Cell::Written) => {}
        Ok(_) | Err(_) => return None,
    }
    let (base, facets, prefix): (u8, Vec<u8>, usize) = match *ty {
        SqlType::UniqueIdentifier => (token::GUID, Vec::new(), 1),
        SqlType::Date => (token::DATE, Vec::new(), 1),
        SqlType::Time(scale) => (token::TIME, vec![scale], 1),
        SqlType::DateTime2(scale) => (token::DATE_TIME_2, vec![scale], 1),
        SqlType::DateTimeOffset(scale) => (token::DATE_TIME_OFFSET, vec![scale], 1),
        SqlType::Decimal { precision, scale } => (token::DECIMAL, vec![precision, scale], 1),
        SqlType::Numeric { precision, scale } => (token::NUMERIC, vec![precision, scale], 1),
        SqlType::Binary(length) => (token::BIG_BINARY, length.to_le_bytes().to_vec(), 2),
        SqlType::VarBinary(Some(length)) => {
            (token::BIG_VARBINARY, length.to_le_bytes().to_vec(), 2)
        }
        SqlType::Char(length) => (token::BIG_CHAR, text_facets(length, label), 2),
        SqlType::VarChar(Some(length)) => (token::BIG_VARCHAR, text_facets(length, label), 2),
        SqlType::NChar(units) => (token::NCHAR, text_facets(units * 2, label), 2),
        SqlType::NVarChar(Some(units)) => (token::NVARCHAR, text_facets(units * 2, label), 2),
        _ => {
            let mut fixed = Vec::new();
            put_type_info(&mut fixed, ty, false, label);
            let [base] = fixed[..] else {
                return None;
            };
            (base, Vec::new(), 0)
        }
    };
    let value = &value[prefix..];
    out.put_u32_le(u32::try_from(2 + facets.len() + value.len()).ok()?);
    out.extend_from_slice(&[base, u8::try_from(facets.len()).ok()?]);
    out.extend_from_slice(&facets);
    out.extend_from_slice(value);
    Some(())
}

/// Collation and length of a string in a `sql_variant`.
fn text_facets(length: u16, label: Label) -> Vec<u8> {
    [&label.wire()[..], &length.to_le_bytes()].concat()
}

fn within(length: usize, limit: u16) -> Option<u16> {
    u16::try_from(length).ok().filter(|length| *length <= limit)
}

/// `money` is sent high half first.
fn money(value: i64) -> [u8; 8] {
    value.rotate_left(32).to_le_bytes()
}

fn put_decimal(out: &mut Vec<u8>, precision: u8, unscaled: i128) -> Option<()> {
    let magnitude = unscaled.unsigned_abs();
    if magnitude >= 10u128.checked_pow(u32::from(precision))? {
        return None;
    }
    let length = decimal_length(precision);
    out.push(length);
    out.push(u8::from(unscaled >= 0));
    out.extend_from_slice(&magnitude.to_le_bytes()[..usize::from(length) - 1]);
    Some(())
}

/// `None` after the year 9999.
fn put_days(out: &mut Vec<u8>, days: u32) -> Option<()> {
    if days > LAST_DAY {
        return None;
    }
    out.extend_from_slice(&days.to_le_bytes()[..3]);
    Some(())
}

/// `None` if the time is not one of a day, or is finer than `scale` digits tell.
fn put_time(out: &mut Vec<u8>, scale: u8, time: u64) -> Option<()> {
    let unit = time_unit(scale);
    if time >= DAY || !time.is_multiple_of(unit) {
        return None;
    }
    let bytes = (time / unit).to_le_bytes();
    out.extend_from_slice(&bytes[..usize::from(time_length(scale))]);
    Some(())
}

/// Writes UTF-16 units, little-endian.
pub(super) fn put_units(out: &mut Vec<u8>, units: &[u16]) {
    let start = out.len();
    out.resize(start + units.len() * 2, 0);
    for (pair, unit) in out[start..].chunks_exact_mut(2).zip(units) {
        pair.copy_from_slice(&unit.to_le_bytes());
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL",
        Value::Bit(_) => "bit",
        Value::TinyInt(_) => "tinyint",
        Value::SmallInt(_) => "smallint",
        Value::Int(_) => "int",
        Value::BigInt(_) => "bigint",
        Value::Decimal { .. } => "decimal",
        Value::Money(_) => "money",
        Value::SmallMoney(_) => "smallmoney",
        Value::Float(_) => "float",
        Value::Real(_) => "real",
        Value::String(_) => "varchar",
        Value::NString(_) => "nvarchar",
        Value::Binary(_) => "varbinary",
        Value::Date(_) => "date",
        Value::Time(_) => "time",
        Value::SmallDateTime { .. } => "smalldatetime",
        Value::DateTime { .. } => "datetime",
        Value::DateTime2 { .. } => "datetime2",
        Value::DateTimeOffset { .. } => "datetimeoffset",
        Value::Guid(_) => "uniqueidentifier",
        Value::Variant(_) => "sql_variant",
    }
}
