//! Long values: their bytes go ahead of the change, in parts, so that no record is larger than a
//! fragment may be.
//!
//! A long value is text or bytes. A long geometry is the bytes of its EWKB, which hold its SRID; of a
//! long value of another type the text goes, and the column says which type it is.

use std::borrow::Cow;

use lockstep_common::model::geometry::to_ewkb;
use lockstep_common::model::record::{Before, Change, Part};
use lockstep_common::{LongKind, LongValue, Value};
use sha2::{Digest, Sha256};

/// A value with more bytes than this is long.
pub const LONG_BYTES: usize = 256 << 10;
/// What a change may hold beside its long values; when it has more, smaller values are long too.
const CHANGE_BYTES: usize = 384 << 10;
/// No value of this size or less is made long: its stand-in is hardly smaller.
const SHORTEST_BYTES: usize = 1 << 10;
/// Bytes of a part.
pub const PART_BYTES: usize = 256 << 10;

/// A long value's bytes, taken out of its change.
pub struct Long {
    id: u32,
    bytes: Vec<u8>,
}

impl Long {
    /// Its parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.bytes.chunks(PART_BYTES).map(|data| Part { id: self.id, data: Cow::Borrowed(data) })
    }
}

/// Takes the long values out of a change; `next_id` counts them over the transaction.
pub fn extract(change: &mut Change<'static>, next_id: &mut u32) -> Vec<Long> {
    // With no more than this in all, no value is long and the rest is small enough.
    if values(change).map(|value| length(value)).sum::<usize>() <= LONG_BYTES {
        return Vec::new();
    }
    take_long(&mut values(change).collect::<Vec<_>>(), next_id)
}

/// Takes the long values out of a row; `next_id` counts them over the chunk.
pub fn extract_row(row: &mut [Value<'_>], next_id: &mut u32) -> Vec<Long> {
    if row.iter().map(length).sum::<usize>() <= LONG_BYTES {
        return Vec::new();
    }
    take_long(&mut row.iter_mut().collect::<Vec<_>>(), next_id)
}

/// Upper bound of a row's encoding in bytes.
pub fn encoded_bytes(row: &[Value<'_>]) -> usize {
    row.iter().map(encoded).sum()
}

fn encoded(value: &Value<'_>) -> usize {
    /// Of what a value has beside its text or bytes: numbers, lengths, a stand-in.
    const FIXED: usize = 64;
    FIXED
        + match value {
            Value::Variant { type_name, value } => type_name.len() + encoded(value),
            Value::Other { type_name, text } => type_name.len() + text.len(),
            other => length(other),
        }
}

fn take_long(values: &mut [&mut Value<'_>], next_id: &mut u32) -> Vec<Long> {
    let mut limit = LONG_BYTES;
    while limit > SHORTEST_BYTES && rest(values, limit) > CHANGE_BYTES {
        limit /= 4;
    }
    let mut longs = Vec::new();
    for value in values.iter_mut().filter(|value| length(value) > limit) {
        let Some((kind, bytes)) = take(value) else { continue };
        let id = *next_id;
        *next_id += 1;
        **value = Value::Long(LongValue {
            id,
            length: bytes.len() as u64,
            digest: Sha256::digest(&bytes).into(),
            kind,
        });
        longs.push(Long { id, bytes });
    }
    longs
}

/// Bytes of the values that are not long by `limit`.
fn rest(values: &[&mut Value<'_>], limit: usize) -> usize {
    values.iter().map(|value| length(value)).filter(|length| *length <= limit).sum()
}

fn values<'c>(change: &'c mut Change<'static>) -> impl Iterator<Item = &'c mut Value<'static>> {
    let before = match &mut change.before {
        Before::None => &mut [],
        Before::Key(values) | Before::Full(values) => values.as_mut_slice(),
    };
    before.iter_mut().chain(&mut change.after)
}

fn length(value: &Value<'_>) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Utf16(bytes) | Value::Bytes(bytes) | Value::Geometry { wkb: bytes, .. } => {
            bytes.len()
        }
        Value::Other { text, .. } => text.len(),
        _ => 0,
    }
}

fn take(value: &mut Value<'_>) -> Option<(LongKind, Vec<u8>)> {
    Some(match value {
        Value::String(text) => (LongKind::Text, std::mem::take(text).into_owned().into_bytes()),
        Value::Utf16(bytes) => (LongKind::Utf16, std::mem::take(bytes).into_owned()),
        Value::Bytes(bytes) => (LongKind::Bytes, std::mem::take(bytes).into_owned()),
        Value::Geometry { wkb, srid } => (LongKind::Bytes, to_ewkb(wkb, *srid)?),
        Value::Other { text, .. } => {
            (LongKind::Text, std::mem::take(text).into_owned().into_bytes())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_common::TableId;
    use lockstep_common::model::record::Operation;

    fn change(after: Vec<Value<'static>>) -> Change<'static> {
        Change {
            table: TableId(1),
            operation: Operation::Insert,
            changed: Cow::Borrowed(&[]),
            before: Before::None,
            after,
            attributes: Default::default(),
        }
    }

    fn text(length: usize) -> Value<'static> {
        Value::String(Cow::Owned("x".repeat(length)))
    }

    #[test]
    fn only_what_is_over_the_limit_goes_and_it_comes_back_from_its_parts() {
        let mut change = change(vec![text(LONG_BYTES), text(LONG_BYTES + 1), Value::I64(1)]);
        let mut next_id = 4;
        let longs = extract(&mut change, &mut next_id);
        assert_eq!(next_id, 5);
        assert_eq!(change.after[0], text(LONG_BYTES));
        let Value::Long(long) = &change.after[1] else { panic!("not long: {:?}", change.after[1]) };
        let bytes: Vec<u8> = longs[0].parts().flat_map(|part| part.data.into_owned()).collect();
        assert_eq!((long.id, long.length, long.kind), (4, bytes.len() as u64, LongKind::Text));
        assert_eq!(long.digest, <[u8; 32]>::from(Sha256::digest(&bytes)));
        assert_eq!(longs[0].parts().count(), 2);
    }

    #[test]
    fn a_long_geometry_goes_with_its_srid_and_a_long_other_as_its_text() {
        let wkb = [&[1, 2, 0, 0, 0][..], &[7; LONG_BYTES]].concat();
        let geometry = Value::Geometry { wkb: Cow::Owned(wkb.clone()), srid: 4326 };
        let words = "v".repeat(LONG_BYTES + 1);
        let other = Value::Other { type_name: "vector(3)".into(), text: words.clone().into() };
        let mut change = change(vec![geometry, other]);
        let longs = extract(&mut change, &mut 0);
        let bytes = |i: usize| -> Vec<u8> {
            longs[i].parts().flat_map(|part| part.data.into_owned()).collect()
        };
        assert_eq!(lockstep_common::model::geometry::from_ewkb(&bytes(0)), Some((wkb, 4326)));
        assert_eq!(bytes(1), words.into_bytes());
        let kinds = change.after.iter().map(|value| match value {
            Value::Long(long) => long.kind,
            other => panic!("not long: {other:?}"),
        });
        assert_eq!(kinds.collect::<Vec<_>>(), [LongKind::Bytes, LongKind::Text]);
    }

    #[test]
    fn a_change_of_many_middling_values_is_made_to_fit() {
        let mut change = change((0..100).map(|_| text(8000)).collect());
        let longs = extract(&mut change, &mut 0);
        assert_eq!(longs.len(), 100);
        assert!(values(&mut change).map(|value| length(value)).sum::<usize>() <= CHANGE_BYTES);
    }
}
