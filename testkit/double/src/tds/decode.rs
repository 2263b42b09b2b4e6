//! From the bytes of an RPC parameter to its type and value ([MS-TDS] 2.2.5.4, 2.2.5.5).
//!
//! Clients send every type in every form: fixed or nullable, bounded or MAX, old (`text`) or new.
//! The form is read as a [`Layout`] (how the length travels) beside the type it stands for, so
//! that a value's bytes are found in one place and understood in another.

use std::borrow::Cow;
use std::sync::Arc;

use super::reader::{Malformed, Reader, units_of};
use super::types::{
    COLLATION, DATE_TIME_DAYS, DAY, DAY_MINUTES, DAY_TICKS, LAST_DAY, MAX_LENGTH, MAX_OFFSET,
    PLP_NULL, PLP_UNKNOWN, time_length, time_unit, token,
};
use crate::engine::collation::page_of_wire;
use crate::engine::collation::pages::{LATIN_1, UTF_8};
use crate::value::{Str, Variant};
use crate::{SqlType, Value};

/// Why a parameter cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum DecodeError {
    /// The stream cannot be read on.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The bytes are no value of the type.
    #[error("not a valid instance of data type {0}")]
    Invalid(&'static str),
    /// A type the double does not know.
    #[error("parameters of type {0} are not supported")]
    Unsupported(String),
}

type Decoded<T> = Result<T, DecodeError>;

/// How the length of a value travels.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// NULL, of no length.
    Nothing,
    /// Always this many bytes.
    Fixed(usize),
    /// A byte, 0 for NULL.
    Byte,
    /// Two bytes, all ones for NULL.
    Short,
    /// Partially length-prefixed.
    Plp,
    /// Four bytes, all ones for NULL: `text` and its kin.
    Long,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TypeInfo {
    pub(super) ty: SqlType,
    layout: Layout,
    collation: [u8; 5],
}

/// Reads a parameter's TYPE_INFO and value.
pub(super) fn read_param(reader: &mut Reader<'_>) -> Decoded<(SqlType, Value)> {
    let byte = reader.u8()?;
    if byte == token::VARIANT {
        let _limit = reader.u32()?;
        return Ok((SqlType::Variant, read_variant(reader)?));
    }
    let info = read_type_info(reader, byte)?;
    let value = match read_bytes(reader, info.layout)? {
        None => Value::Null,
        Some(bytes) => read_value(&info, &bytes)?,
    };
    Ok((info.ty, value))
}

/// Reads the TYPE_INFO of a column.
pub(super) fn read_column_type(reader: &mut Reader<'_>) -> Decoded<TypeInfo> {
    let byte = reader.u8()?;
    if byte == token::VARIANT {
        let _limit = reader.u32()?;
        return Ok(plain(SqlType::Variant, Layout::Nothing));
    }
    if matches!(byte, token::TEXT | token::NTEXT | token::IMAGE) {
        return Err(DecodeError::Unsupported("text, ntext or image in a bulk load".to_owned()));
    }
    read_type_info(reader, byte)
}

/// Reads a value of a column in a row.
pub(super) fn read_column_value(reader: &mut Reader<'_>, info: &TypeInfo) -> Decoded<Value> {
    if info.ty == SqlType::Variant {
        return read_variant(reader);
    }
    match read_bytes(reader, info.layout)? {
        None => Ok(Value::Null),
        Some(bytes) => read_value(info, &bytes),
    }
}

fn plain(ty: SqlType, layout: Layout) -> TypeInfo {
    TypeInfo { ty, layout, collation: COLLATION }
}

/// The type a fixed-length token stands for.
fn fixed_type(byte: u8) -> Option<(SqlType, usize)> {
    Some(match byte {
        token::INT1 => (SqlType::TinyInt, 1),
        token::BIT => (SqlType::Bit, 1),
        token::INT2 => (SqlType::SmallInt, 2),
        token::INT4 => (SqlType::Int, 4),
        token::INT8 => (SqlType::BigInt, 8),
        token::FLOAT4 => (SqlType::Real, 4),
        token::FLOAT8 => (SqlType::Float, 8),
        token::MONEY => (SqlType::Money, 8),
        token::SMALL_MONEY => (SqlType::SmallMoney, 4),
        token::SMALL_DATE_TIME => (SqlType::SmallDateTime, 4),
        token::DATE_TIME => (SqlType::DateTime, 8),
        _ => return None,
    })
}

/// The type a token with a length stands for.
fn sized_type(byte: u8, length: u8) -> Option<SqlType> {
    Some(match (byte, length) {
        (token::BIT_N, 1) => SqlType::Bit,
        (token::INT_N, 1) => SqlType::TinyInt,
        (token::INT_N, 2) => SqlType::SmallInt,
        (token::INT_N, 4) => SqlType::Int,
        (token::INT_N, 8) => SqlType::BigInt,
        (token::FLOAT_N, 4) => SqlType::Real,
        (token::FLOAT_N, 8) => SqlType::Float,
        (token::MONEY_N, 4) => SqlType::SmallMoney,
        (token::MONEY_N, 8) => SqlType::Money,
        (token::DATE_TIME_N, 4) => SqlType::SmallDateTime,
        (token::DATE_TIME_N, 8) => SqlType::DateTime,
        (token::GUID, 16) => SqlType::UniqueIdentifier,
        _ => return None,
    })
}

fn read_type_info(reader: &mut Reader<'_>, byte: u8) -> Decoded<TypeInfo> {
    if let Some((ty, length)) = fixed_type(byte) {
        return Ok(plain(ty, Layout::Fixed(length)));
    }
    Ok(match byte {
        token::NULL => plain(SqlType::NVarChar(Some(4000)), Layout::Nothing),
        token::BIT_N
        | token::INT_N
        | token::FLOAT_N
        | token::MONEY_N
        | token::DATE_TIME_N
        | token::GUID => {
            let length = reader.u8()?;
            let ty = sized_type(byte, length).ok_or_else(|| reader.malformed())?;
            plain(ty, Layout::Byte)
        }
        token::DECIMAL | token::NUMERIC => {
            let [_length, precision, scale] = reader.array()?;
            if !(1..=38).contains(&precision) || scale > precision {
                return Err(DecodeError::Invalid("numeric"));
            }
            let ty = match byte {
                token::DECIMAL => SqlType::Decimal { precision, scale },
                _ => SqlType::Numeric { precision, scale },
            };
            plain(ty, Layout::Byte)
        }
        token::DATE => plain(SqlType::Date, Layout::Byte),
        token::TIME => plain(SqlType::Time(read_scale(reader)?), Layout::Byte),
        token::DATE_TIME_2 => plain(SqlType::DateTime2(read_scale(reader)?), Layout::Byte),
        token::DATE_TIME_OFFSET => {
            plain(SqlType::DateTimeOffset(read_scale(reader)?), Layout::Byte)
        }
        token::BIG_BINARY
        | token::BIG_VARBINARY
        | token::BIG_CHAR
        | token::BIG_VARCHAR
        | token::NCHAR
        | token::NVARCHAR => read_string_type(reader, byte)?,
        token::TEXT | token::NTEXT | token::IMAGE => read_long_type(reader, byte)?,
        token::XML => {
            read_xml_schema(reader)?;
            plain(SqlType::Xml, Layout::Plp)
        }
        token::UDT => plain(read_clr_type(reader)?, Layout::Plp),
        other => return Err(DecodeError::Unsupported(format!("0x{other:02X}"))),
    })
}

fn read_scale(reader: &mut Reader<'_>) -> Decoded<u8> {
    match reader.u8()? {
        scale @ 0..=7 => Ok(scale),
        _ => Err(reader.malformed().into()),
    }
}

fn read_string_type(reader: &mut Reader<'_>, byte: u8) -> Decoded<TypeInfo> {
    let length = reader.u16()?;
    let max = length == MAX_LENGTH;
    let binary = matches!(byte, token::BIG_BINARY | token::BIG_VARBINARY);
    let bounded = |n: u16| (!max).then_some(n.max(1));
    let ty = match byte {
        token::BIG_BINARY => SqlType::Binary(length.max(1)),
        token::BIG_CHAR => SqlType::Char(length.max(1)),
        token::NCHAR => SqlType::NChar((length / 2).max(1)),
        token::BIG_VARBINARY => SqlType::VarBinary(bounded(length)),
        token::BIG_VARCHAR => SqlType::VarChar(bounded(length)),
        _ => SqlType::NVarChar(bounded(length / 2)),
    };
    let collation = if binary { COLLATION } else { reader.array()? };
    Ok(TypeInfo { ty, layout: if max { Layout::Plp } else { Layout::Short }, collation })
}

fn read_long_type(reader: &mut Reader<'_>, byte: u8) -> Decoded<TypeInfo> {
    let _limit = reader.u32()?;
    let (ty, collation) = match byte {
        token::TEXT => (SqlType::VarChar(None), reader.array()?),
        token::NTEXT => (SqlType::NVarChar(None), reader.array()?),
        _ => (SqlType::VarBinary(None), COLLATION),
    };
    Ok(TypeInfo { ty, layout: Layout::Long, collation })
}

/// UDT_INFO as a client sends it: database, schema and name of the type.
fn read_clr_type(reader: &mut Reader<'_>) -> Decoded<SqlType> {
    let (_database, _schema) = (reader.short_text()?, reader.short_text()?);
    let name = reader.short_text()?;
    match &*name.to_ascii_lowercase() {
        "hierarchyid" => Ok(SqlType::HierarchyId),
        "geometry" => Ok(SqlType::Geometry),
        "geography" => Ok(SqlType::Geography),
        _ => Err(DecodeError::Unsupported(name)),
    }
}

fn read_xml_schema(reader: &mut Reader<'_>) -> Decoded<()> {
    if reader.u8()? != 0 {
        reader.short_text()?;
        reader.short_text()?;
        let units = reader.u16()?;
        reader.text(usize::from(units))?;
    }
    Ok(())
}

fn read_bytes<'a>(reader: &mut Reader<'a>, layout: Layout) -> Decoded<Option<Cow<'a, [u8]>>> {
    let length = match layout {
        Layout::Nothing => return Ok(None),
        Layout::Fixed(length) => length,
        Layout::Byte => match reader.u8()? {
            0 => return Ok(None),
            length => usize::from(length),
        },
        Layout::Short => match reader.u16()? {
            MAX_LENGTH => return Ok(None),
            length => usize::from(length),
        },
        Layout::Long => match reader.u32()? {
            u32::MAX => return Ok(None),
            length => usize::try_from(length).map_err(|_| reader.malformed())?,
        },
        Layout::Plp => return read_plp(reader),
    };
    Ok(Some(Cow::Borrowed(reader.bytes(length)?)))
}

/// A value in chunks, of a length told ahead or not, ended by an empty chunk.
fn read_plp<'a>(reader: &mut Reader<'a>) -> Decoded<Option<Cow<'a, [u8]>>> {
    let total = match reader.u64()? {
        PLP_NULL => return Ok(None),
        PLP_UNKNOWN => None,
        total => Some(total),
    };
    let mut value = Cow::Borrowed(&[][..]);
    loop {
        let length = usize::try_from(reader.u32()?).map_err(|_| reader.malformed())?;
        let chunk = reader.bytes(length)?;
        if chunk.is_empty() {
            break;
        }
        if value.is_empty() {
            value = Cow::Borrowed(chunk);
        } else {
            value.to_mut().extend_from_slice(chunk);
        }
    }
    if total.is_some_and(|total| total != value.len() as u64) {
        return Err(reader.malformed().into());
    }
    Ok(Some(value))
}

fn read_value(info: &TypeInfo, bytes: &[u8]) -> Decoded<Value> {
    let mut reader = Reader::new(bytes, "parameter value");
    let value = match info.ty {
        SqlType::Bit => Value::Bit(reader.u8()? != 0),
        SqlType::TinyInt => Value::TinyInt(reader.u8()?),
        SqlType::SmallInt => Value::SmallInt(reader.i16()?),
        SqlType::Int => Value::Int(reader.i32()?),
        SqlType::BigInt => Value::BigInt(reader.i64()?),
        SqlType::Money => Value::Money(reader.i64()?.rotate_left(32)),
        SqlType::SmallMoney => Value::SmallMoney(reader.i32()?),
        SqlType::Float => Value::Float(finite(f64::from_le_bytes(reader.array()?))?),
        SqlType::Real => Value::Real(finite(f32::from_le_bytes(reader.array()?))?),
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            read_decimal(&mut reader, precision, scale)?
        }
        SqlType::UniqueIdentifier => Value::Guid(reader.array()?),
        SqlType::Date => Value::Date(read_days(&mut reader)?),
        SqlType::Time(scale) => Value::Time(read_time(&mut reader, scale)?),
        SqlType::DateTime2(scale) => {
            Value::DateTime2 { time: read_time(&mut reader, scale)?, days: read_days(&mut reader)? }
        }
        SqlType::DateTimeOffset(scale) => Value::DateTimeOffset {
            time: read_time(&mut reader, scale)?,
            days: read_days(&mut reader)?,
            offset: read_offset(&mut reader)?,
        },
        SqlType::SmallDateTime => read_small_date_time(&mut reader)?,
        SqlType::DateTime => read_date_time(&mut reader)?,
        SqlType::Char(_) | SqlType::VarChar(_) => {
            return read_code_page(info.collation, bytes).map(|text| Value::String(text.into()));
        }
        SqlType::NChar(_) | SqlType::NVarChar(_) if bytes.len().is_multiple_of(2) => {
            return Ok(Value::NString(units_of(bytes).into()));
        }
        SqlType::NChar(_) | SqlType::NVarChar(_) => return Err(DecodeError::Invalid("nvarchar")),
        SqlType::Binary(_) | SqlType::VarBinary(_) => return Ok(Value::Binary(bytes.into())),
        SqlType::HierarchyId | SqlType::Geometry | SqlType::Geography => {
            return Ok(Value::Binary(bytes.into()));
        }
        SqlType::Xml => return Ok(Value::NString(xml_units(bytes)?)),
        SqlType::RowVersion
        | SqlType::Text
        | SqlType::NText
        | SqlType::Image
        | SqlType::Variant
        | SqlType::Json
        | SqlType::Vector(_) => return Err(DecodeError::Unsupported(info.ty.to_string())),
    };
    if reader.is_empty() { Ok(value) } else { Err(reader.malformed().into()) }
}

/// XML is sent as UTF-16, with or without a byte order mark.
fn xml_units(bytes: &[u8]) -> Decoded<Str<u16>> {
    if !bytes.len().is_multiple_of(2) {
        return Err(DecodeError::Invalid("xml"));
    }
    let units = units_of(bytes);
    Ok(units.strip_prefix(&[0xFEFF]).unwrap_or(&units).into())
}

/// SQL Server has no NaN and no infinities, and refuses them at the door.
fn finite<T: Copy + Into<f64>>(value: T) -> Decoded<T> {
    if value.into().is_finite() { Ok(value) } else { Err(DecodeError::Invalid("float")) }
}

fn read_decimal(reader: &mut Reader<'_>, precision: u8, scale: u8) -> Decoded<Value> {
    const INVALID: DecodeError = DecodeError::Invalid("numeric");
    let positive = reader.u8()? != 0;
    let length = reader.rest().len();
    let mut magnitude = [0; 16];
    magnitude.get_mut(..length).ok_or(INVALID)?.copy_from_slice(reader.bytes(length)?);
    let magnitude = i128::try_from(u128::from_le_bytes(magnitude)).map_err(|_| INVALID)?;
    if magnitude >= 10i128.pow(u32::from(precision)) {
        return Err(INVALID);
    }
    Ok(Value::Decimal { unscaled: if positive { magnitude } else { -magnitude }, scale })
}

fn read_days(reader: &mut Reader<'_>) -> Decoded<u32> {
    let [a, b, c] = reader.array()?;
    match u32::from_le_bytes([a, b, c, 0]) {
        days @ 0..=LAST_DAY => Ok(days),
        _ => Err(DecodeError::Invalid("date")),
    }
}

fn read_time(reader: &mut Reader<'_>, scale: u8) -> Decoded<u64> {
    let mut units = [0; 8];
    let length = usize::from(time_length(scale));
    units[..length].copy_from_slice(reader.bytes(length)?);
    // Five bytes of the largest unit stay far below 2^64.
    match u64::from_le_bytes(units) * time_unit(scale) {
        time @ 0..DAY => Ok(time),
        _ => Err(DecodeError::Invalid("time")),
    }
}

fn read_offset(reader: &mut Reader<'_>) -> Decoded<i16> {
    let offset = reader.i16()?;
    if offset.unsigned_abs() > MAX_OFFSET {
        return Err(DecodeError::Invalid("datetimeoffset"));
    }
    Ok(offset)
}

fn read_small_date_time(reader: &mut Reader<'_>) -> Decoded<Value> {
    let (days, minutes) = (reader.u16()?, reader.u16()?);
    if minutes >= DAY_MINUTES {
        return Err(DecodeError::Invalid("smalldatetime"));
    }
    Ok(Value::SmallDateTime { days, minutes })
}

fn read_date_time(reader: &mut Reader<'_>) -> Decoded<Value> {
    let (days, ticks) = (reader.i32()?, reader.u32()?);
    if !DATE_TIME_DAYS.contains(&days) || ticks >= DAY_TICKS {
        return Err(DecodeError::Invalid("datetime"));
    }
    Ok(Value::DateTime { days, ticks })
}

/// Text in the code page of the collation that was sent with it, as the server's own has it: where
/// a parameter arrives, it has the database's collation, and loses what that does not have.
fn read_code_page(sent: [u8; 5], bytes: &[u8]) -> Decoded<Arc<[u8]>> {
    let page = page_of_wire(sent).ok_or_else(|| {
        DecodeError::Unsupported(format!("varchar with the collation {sent:02X?}"))
    })?;
    if page == UTF_8 && str::from_utf8(bytes).is_err() {
        return Err(DecodeError::Invalid("varchar"));
    }
    match page == LATIN_1 || bytes.is_ascii() {
        true => Ok(bytes.into()),
        false => Ok(LATIN_1.encode(&page.decode(bytes)).into()),
    }
}

/// `sql_variant`: the value's own type and facets stand before it.
fn read_variant(reader: &mut Reader<'_>) -> Decoded<Value> {
    let length = usize::try_from(reader.u32()?).map_err(|_| reader.malformed())?;
    if length == 0 {
        return Ok(Value::Null);
    }
    let mut inner = Reader::new(reader.bytes(length)?, "sql_variant");
    let byte = inner.u8()?;
    let facets_length = usize::from(inner.u8()?);
    let mut facets = Reader::new(inner.bytes(facets_length)?, "sql_variant");
    let info = read_variant_type(&mut facets, byte)?;
    let value = read_value(&info, inner.rest())?;
    if !info.ty.fits_variant() {
        return Err(DecodeError::Invalid("sql_variant"));
    }
    Ok(Value::Variant(Arc::new(Variant { ty: info.ty, value })))
}

fn read_variant_type(facets: &mut Reader<'_>, byte: u8) -> Decoded<TypeInfo> {
    if let Some((ty, length)) = fixed_type(byte) {
        return Ok(plain(ty, Layout::Fixed(length)));
    }
    match byte {
        token::GUID => Ok(plain(SqlType::UniqueIdentifier, Layout::Fixed(16))),
        token::DATE => Ok(plain(SqlType::Date, Layout::Fixed(3))),
        token::TIME | token::DATE_TIME_2 | token::DATE_TIME_OFFSET => read_type_info(facets, byte),
        token::DECIMAL | token::NUMERIC => {
            let [precision, scale] = facets.array()?;
            let whole = [0, precision, scale];
            read_type_info(&mut Reader::new(&whole, "sql_variant"), byte)
        }
        token::BIG_BINARY | token::BIG_VARBINARY => read_string_type(facets, byte),
        token::BIG_CHAR | token::BIG_VARCHAR | token::NCHAR | token::NVARCHAR => {
            // Here the collation stands before the length.
            let collation: [u8; 5] = facets.array()?;
            let length: [u8; 2] = facets.array()?;
            let whole = [&length[..], &collation[..]].concat();
            read_string_type(&mut Reader::new(&whole, "sql_variant"), byte)
        }
        other => Err(DecodeError::Unsupported(format!("sql_variant of 0x{other:02X}"))),
    }
}
