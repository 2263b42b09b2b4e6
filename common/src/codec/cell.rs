//! Values and rows on the wire.

use super::wire::{self, Input, MOST_RESERVED, Malformed};
use super::{branch, put_enum};
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
pub(super) fn row<'a>(input: &mut Input<'a>) -> Result<Vec<Value<'a>>, Malformed> {
    let mut row = Vec::new();
    row_into(input, &mut row)?;
    Ok(row)
}

/// Reads a row in place of what `row` holds; after an error `row` holds anything.
///
/// Values are read into slots that are there already: one that is made elsewhere and then moved is
/// loaded wider than it was just stored, which stalls for longer than decoding it takes.
pub(super) fn row_into<'a>(
    input: &mut Input<'a>,
    row: &mut Vec<Value<'a>>,
) -> Result<(), Malformed> {
    let mut cursor = input.clone();
    let mut filled = 0;
    loop {
        let mut left = cursor.block()?;
        if left == 0 {
            break;
        }
        while left > 0 {
            let some = left.min(MOST_RESERVED);
            if row.len() < filled + some {
                row.resize_with(filled + some, || Value::Null);
            }
            for slot in &mut row[filled..filled + some] {
                read_value(&mut cursor, slot)?;
            }
            filled += some;
            left -= some;
        }
    }
    row.truncate(filled);
    *input = cursor;
    Ok(())
}

/// Reads a value in place of what `slot` holds.
#[inline(always)]
fn read_value<'a>(input: &mut Input<'a>, slot: &mut Value<'a>) -> Result<(), Malformed> {
    match input.number::<u8>()? {
        branch::NULL => *slot = Value::Null,
        branch::BOOL => *slot = Value::Bool(input.bool()?),
        branch::I64 => *slot = Value::I64(input.long()?),
        branch::F32 => *slot = Value::F32(f32::from_le_bytes(input.fixed()?)),
        branch::F64 => *slot = Value::F64(f64::from_le_bytes(input.fixed()?)),
        branch::STRING => *slot = Value::String(input.cow_str()?),
        branch::BYTES => *slot = Value::Bytes(input.cow_bytes()?),
        branch::DECIMAL => {
            let unscaled = input.decimal()?;
            *slot = Value::Decimal { unscaled, scale: input.number()? };
        }
        branch::UUID => *slot = Value::Uuid(input.fixed()?),
        branch::DATE => *slot = Value::Date(input.number()?),
        branch::TIME => *slot = Value::Time(input.long()?),
        branch::TIMESTAMP => *slot = Value::Timestamp(input.long()?),
        branch::TIMESTAMP_TZ => {
            let ticks = input.long()?;
            *slot = Value::TimestampTz { ticks, offset: input.number()? };
        }
        branch::UNAVAILABLE => *slot = Value::Unavailable,
        branch => {
            let mut aside = input.clone();
            *slot = rare(branch, &mut aside)?;
            *input = aside;
        }
    }
    Ok(())
}

/// The kinds too rare to stand in the way of the others.
#[cold]
fn rare<'a>(branch: u8, input: &mut Input<'a>) -> Result<Value<'a>, Malformed> {
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
        branch::VARIANT => variant(input)?,
        _ => return Err(Malformed("a value of no known kind")),
    })
}

/// A value with its type's name. The branches of the inner union have the same numbers; a variant is
/// not among them.
#[cold]
fn variant<'a>(input: &mut Input<'a>) -> Result<Value<'a>, Malformed> {
    let type_name = input.cow_str()?;
    if input.clone().number::<u8>()? == branch::VARIANT {
        return Err(Malformed("a variant within a variant"));
    }
    let mut value = Value::Null;
    read_value(input, &mut value)?;
    Ok(Value::Variant { type_name, value: Box::new(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the numbers from 0 on, in blocks of so many.
    fn in_blocks(blocks: [usize; 2]) -> Vec<u8> {
        let (mut out, mut numbers) = (Vec::new(), 0..);
        for count in blocks.into_iter().filter(|count| *count > 0) {
            wire::put_len(&mut out, count);
            numbers.by_ref().take(count).for_each(|n| put_value(&mut out, &Value::I64(n)));
        }
        out.push(0);
        out
    }

    #[test]
    fn a_row_of_any_length_and_blocks_takes_the_place_of_any_other() {
        let lens = [0, 1, 10, MOST_RESERVED, MOST_RESERVED + 1, 3 * MOST_RESERVED];
        let pairs = lens.iter().flat_map(|first| lens.iter().map(move |second| [*first, *second]));
        let encoded: Vec<_> = pairs.map(|blocks| (blocks, in_blocks(blocks))).collect();
        let mut row = Vec::new();
        for (blocks, bytes) in &encoded {
            let mut input = Input::new(bytes);
            row_into(&mut input, &mut row).unwrap();
            input.end().unwrap();
            let expected: Vec<_> = (0..).take(blocks.iter().sum()).map(Value::I64).collect();
            assert!(row == expected, "blocks of {blocks:?} values");
            row_into(&mut Input::new(&bytes[..bytes.len() - 1]), &mut Vec::new()).unwrap_err();
        }
    }

    #[test]
    fn a_count_that_only_claims_reserves_little() {
        let mut bytes = Vec::new();
        wire::put_len(&mut bytes, 1 << 20);
        bytes.resize(bytes.len() + (1 << 20), 0xFF);
        let mut row = Vec::new();
        row_into(&mut Input::new(&bytes), &mut row).unwrap_err();
        assert!(row.capacity() <= MOST_RESERVED, "room for {} values", row.capacity());
    }
}
