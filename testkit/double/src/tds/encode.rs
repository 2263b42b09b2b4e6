//! From values to the bytes of COLMETADATA, ROW and RETURNVALUE.
//!
//! A cell is written straight from the value into the outgoing payload: no allocation, no
//! per-cell indirection. Values of MAX types are the exception in one respect: they are cut into
//! chunks by whoever owns the payload (see [`Cell`]), so that a large one need not be framed whole.

use bytes::BufMut;

use super::types::{
    COLLATION, DATE_TIME_DAYS, DAY, DAY_MINUTES, DAY_TICKS, LAST_DAY, MAX_LENGTH, decimal_length,
    time_length, time_unit, token,
};
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
pub(super) fn put_type_info(out: &mut Vec<u8>, ty: &SqlType, nullable: bool) {
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
        SqlType::UniqueIdentifier => out.extend_from_slice(&[token::GUID, 16]),
        SqlType::Date => out.push(token::DATE),
        SqlType::Time(scale) => out.extend_from_slice(&[token::TIME, scale]),
        SqlType::DateTime2(scale) => out.extend_from_slice(&[token::DATE_TIME_2, scale]),
        SqlType::DateTimeOffset(scale) => out.extend_from_slice(&[token::DATE_TIME_OFFSET, scale]),
        SqlType::Char(length) => put_text_type(out, token::BIG_CHAR, length),
        SqlType::VarChar(length) => {
            put_text_type(out, token::BIG_VARCHAR, length.unwrap_or(MAX_LENGTH));
        }
        SqlType::NChar(units) => put_text_type(out, token::NCHAR, units * 2),
        SqlType::NVarChar(units) => {
            let length = units.map_or(MAX_LENGTH, |units| units * 2);
            put_text_type(out, token::NVARCHAR, length);
        }
        SqlType::Binary(length) => put_binary_type(out, token::BIG_BINARY, length),
        SqlType::VarBinary(length) => {
            put_binary_type(out, token::BIG_VARBINARY, length.unwrap_or(MAX_LENGTH));
        }
    }
}

fn put_text_type(out: &mut Vec<u8>, token: u8, length: u16) {
    put_binary_type(out, token, length);
    out.extend_from_slice(&COLLATION);
}

fn put_binary_type(out: &mut Vec<u8>, token: u8, length: u16) {
    out.push(token);
    out.put_u16_le(length);
}

/// Whether values of the type travel partially length-prefixed.
pub(super) fn is_plp(ty: &SqlType) -> bool {
    matches!(ty, SqlType::VarChar(None) | SqlType::NVarChar(None) | SqlType::VarBinary(None))
}

/// Bytes a NULL of the column takes in a plain ROW: what NBCROW saves on it.
pub(super) fn null_length(ty: &SqlType, nullable: bool) -> usize {
    match ty {
        _ if !nullable => 0,
        _ if is_plp(ty) => 8,
        SqlType::Char(_) | SqlType::VarChar(_) | SqlType::NChar(_) | SqlType::NVarChar(_) => 2,
        SqlType::Binary(_) | SqlType::VarBinary(_) => 2,
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
}

/// Writes a value as it stands in a ROW.
pub(super) fn put_cell<'a>(
    out: &mut Vec<u8>,
    ty: &SqlType,
    nullable: bool,
    value: &'a Value,
) -> Result<Cell<'a>, Mismatch> {
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
        (SqlType::Decimal { precision, scale }, Value::Decimal { unscaled, scale: own }) => {
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

fn put_null(out: &mut Vec<u8>, ty: &SqlType) {
    let length = null_length(ty, true);
    // A length of zero is NULL where lengths take a byte, all ones where they take more.
    let byte = if length == 1 { 0 } else { 0xFF };
    out.put_bytes(byte, length);
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
    }
}
