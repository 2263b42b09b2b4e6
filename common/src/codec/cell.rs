//! Values and rows on the wire.

use super::wire::{self, Input};
use super::{DecodeError, branch, put_enum};
use crate::{LongKind, LongValue, Value};

pub(super) const LONG_KINDS: [LongKind; 3] = [LongKind::Text, LongKind::Utf16, LongKind::Bytes];

/// Appends a row (`Row`, a record of one array).
#[inline]
pub(super) fn put_row(out: &mut Vec<u8>, row: &[Value<'_>]) {
    wire::put_array(out, row, put_value);
}

/// Appends a value: the number of its branch, then itself.
#[inline]
fn put_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => put_branch(out, branch::NULL),
        Value::Bool(v) => {
            put_branch(out, branch::BOOL);
            wire::put_bool(out, *v);
        }
        Value::I64(v) => {
            put_branch(out, branch::I64);
            wire::put_long(out, *v);
        }
        Value::Decimal { unscaled, scale } => put_decimal(out, *unscaled, *scale),
        Value::F32(v) => {
            put_branch(out, branch::F32);
            out.extend_from_slice(&v.to_le_bytes());
        }
        Value::F64(v) => {
            put_branch(out, branch::F64);
            out.extend_from_slice(&v.to_le_bytes());
        }
        Value::String(v) => {
            put_branch(out, branch::STRING);
            wire::put_bytes(out, v.as_bytes());
        }
        Value::Utf16(v) => {
            put_branch(out, branch::UTF16);
            wire::put_bytes(out, v);
        }
        Value::Bytes(v) => {
            put_branch(out, branch::BYTES);
            wire::put_bytes(out, v);
        }
        Value::Uuid(v) => {
            put_branch(out, branch::UUID);
            out.extend_from_slice(v);
        }
        Value::Date(v) => {
            put_branch(out, branch::DATE);
            wire::put_long(out, i64::from(*v));
        }
        Value::Time(v) => {
            put_branch(out, branch::TIME);
            wire::put_long(out, *v);
        }
        Value::Timestamp(v) => {
            put_branch(out, branch::TIMESTAMP);
            wire::put_long(out, *v);
        }
        Value::TimestampTz { ticks, offset } => {
            put_branch(out, branch::TIMESTAMP_TZ);
            wire::put_long(out, *ticks);
            wire::put_long(out, i64::from(*offset));
        }
        Value::Unavailable => put_branch(out, branch::UNAVAILABLE),
        Value::Variant { .. } | Value::Geometry { .. } | Value::Long(_) | Value::Other { .. } => {
            put_rare(out, value);
        }
    }
}

#[inline]
fn put_branch(out: &mut Vec<u8>, branch: u8) {
    wire::put_long(out, i64::from(branch));
}

/// The shortest two's complement, big-endian, as Avro's own decimals.
#[inline]
fn put_decimal(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    put_branch(out, branch::DECIMAL);
    let bits = if unscaled < 0 { !unscaled } else { unscaled };
    let significant = 128 - bits.leading_zeros() + 1;
    let len = significant.div_ceil(8) as usize;
    wire::put_bytes(out, &unscaled.to_be_bytes()[16 - len..]);
    wire::put_long(out, i64::from(scale));
}

/// The kinds too rare to stand in the way of the others.
#[cold]
fn put_rare(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Variant { type_name, value } => {
            assert!(!matches!(**value, Value::Variant { .. }), "a variant never holds a variant");
            put_branch(out, branch::VARIANT);
            wire::put_bytes(out, type_name.as_bytes());
            put_value(out, value);
        }
        Value::Geometry { wkb, srid } => {
            put_branch(out, branch::GEOMETRY);
            wire::put_bytes(out, wkb);
            wire::put_long(out, i64::from(*srid));
        }
        Value::Long(long) => {
            put_branch(out, branch::LONG);
            wire::put_long(out, i64::from(long.id));
            wire::put_unsigned(out, long.length);
            out.extend_from_slice(&long.digest);
            put_enum(out, &LONG_KINDS, long.kind);
        }
        Value::Other { type_name, text } => {
            put_branch(out, branch::OTHER);
            wire::put_bytes(out, type_name.as_bytes());
            wire::put_bytes(out, text.as_bytes());
        }
        _ => unreachable!("put_value has the other kinds"),
    }
}

/// Reads a row.
#[inline]
pub(super) fn row<'a>(input: &mut Input<'a>) -> Result<Vec<Value<'a>>, DecodeError> {
    input.array(push_value)
}

/// Reads a row onto the end of what `row` holds.
#[inline]
pub(super) fn row_into<'a>(
    input: &mut Input<'a>,
    row: &mut Vec<Value<'a>>,
) -> Result<(), DecodeError> {
    input.array_into(row, push_value)
}

/// Reads a value onto the end of a row.
///
/// Each kind pushes for itself: passing a value up inside a result costs as much as decoding it.
#[inline]
fn push_value<'a>(input: &mut Input<'a>, row: &mut Vec<Value<'a>>) -> Result<(), DecodeError> {
    match input.number::<u8>()? {
        branch::NULL => row.push(Value::Null),
        branch::BOOL => row.push(Value::Bool(input.bool()?)),
        branch::I64 => row.push(Value::I64(input.long()?)),
        branch::F32 => row.push(Value::F32(f32::from_le_bytes(input.fixed()?))),
        branch::F64 => row.push(Value::F64(f64::from_le_bytes(input.fixed()?))),
        branch::STRING => row.push(Value::String(input.cow_str()?)),
        branch::BYTES => row.push(Value::Bytes(input.cow_bytes()?)),
        branch::DECIMAL => {
            let unscaled = unscaled(input.bytes()?)?;
            row.push(Value::Decimal { unscaled, scale: input.number()? });
        }
        branch::UUID => row.push(Value::Uuid(input.fixed()?)),
        branch::DATE => row.push(Value::Date(input.number()?)),
        branch::TIME => row.push(Value::Time(input.long()?)),
        branch::TIMESTAMP => row.push(Value::Timestamp(input.long()?)),
        branch::TIMESTAMP_TZ => {
            let ticks = input.long()?;
            row.push(Value::TimestampTz { ticks, offset: input.number()? });
        }
        branch::UNAVAILABLE => row.push(Value::Unavailable),
        branch::VARIANT => row.push(variant(input)?),
        branch => row.push(rare(branch, input)?),
    }
    Ok(())
}

/// The kinds too rare to stand in the way of the others.
#[cold]
fn rare<'a>(branch: u8, input: &mut Input<'a>) -> Result<Value<'a>, DecodeError> {
    Ok(match branch {
        branch::UTF16 => Value::Utf16(input.cow_bytes()?),
        branch::GEOMETRY => Value::Geometry { wkb: input.cow_bytes()?, srid: input.number()? },
        branch::OTHER => Value::Other { type_name: input.cow_str()?, text: input.cow_str()? },
        branch::LONG => Value::Long(LongValue {
            id: input.number()?,
            length: input.number()?,
            digest: input.fixed()?,
            kind: super::get_enum(input, &LONG_KINDS)?,
        }),
        _ => return Err(DecodeError::Corrupt("a value of no known kind")),
    })
}

/// A value with its type's name. The branches of the inner union have the same numbers; a variant is
/// not among them.
#[cold]
fn variant<'a>(input: &mut Input<'a>) -> Result<Value<'a>, DecodeError> {
    let type_name = input.cow_str()?;
    if input.clone().number::<u8>()? == branch::VARIANT {
        return Err(DecodeError::Corrupt("a variant within a variant"));
    }
    let mut inner = Vec::with_capacity(1);
    push_value(input, &mut inner)?;
    let value = inner.pop().expect("one value was pushed");
    Ok(Value::Variant { type_name, value: Box::new(value) })
}

#[inline]
fn unscaled(bytes: &[u8]) -> Result<i128, DecodeError> {
    let (Some(first), true) = (bytes.first(), bytes.len() <= 16) else {
        return Err(DecodeError::Corrupt("a decimal of no or too many bytes"));
    };
    let mut wide = if first & 0x80 == 0 { [0; 16] } else { [0xFF; 16] };
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    Ok(i128::from_be_bytes(wide))
}
