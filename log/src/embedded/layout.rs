//! The bytes of the embedded log: keys and values.
//!
//! ```text
//! record key    tag u8 (1 transactions, 2 snapshot, 3 schemas), partition u32, offset u64
//! record value  appended i64 (ms since 1970-01-01Z), key length u32, key, payload
//! meta keys     0 'f'                      the format's version, one byte
//!               0 'p'                      the pipeline's name
//!               0 'b' tag u8 partition u32 the stream's bounds: first u64, end u64
//! ```
//! Integers are big-endian, so that keys sort by stream and offset. A key length of 0 is no key.

use bytes::{BufMut, Bytes, BytesMut};
use lockstep_common::Code;
use lockstep_common::Failure;

use crate::{Bounds, Entry, Item, Stream};

/// Version of this layout; a directory with another one is refused.
pub(super) const FORMAT: u8 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"\0f";
pub(super) const PIPELINE_KEY: &[u8] = b"\0p";

const VALUE_HEAD: usize = 12;

/// Tag and partition of a stream.
fn prefix(stream: Stream) -> [u8; 5] {
    let (tag, partition) = match stream {
        Stream::Transactions => (1, 0),
        Stream::Snapshot(partition) => (2, partition),
        Stream::Schemas => (3, 0),
    };
    let [a, b, c, d] = u32::to_be_bytes(partition);
    [tag, a, b, c, d]
}

/// Key of the record at `offset`.
pub(super) fn record_key(stream: Stream, offset: u64) -> [u8; 13] {
    let mut key = [0; 13];
    key[..5].copy_from_slice(&prefix(stream));
    key[5..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The offset in a record's key.
pub(super) fn offset_of(key: &[u8]) -> Result<u64, Failure> {
    match key.last_chunk::<8>() {
        Some(offset) if key.len() == 13 => Ok(u64::from_be_bytes(*offset)),
        _ => Err(damaged("a record key has the wrong length")),
    }
}

/// Key of a stream's bounds.
pub(super) fn bounds_key(stream: Stream) -> [u8; 7] {
    let [tag, a, b, c, d] = prefix(stream);
    [0, b'b', tag, a, b, c, d]
}

pub(super) fn encode_bounds(bounds: Bounds) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&bounds.first.to_be_bytes());
    value[8..].copy_from_slice(&bounds.end.to_be_bytes());
    value
}

pub(super) fn decode_bounds(value: &[u8]) -> Result<Bounds, Failure> {
    match (value.first_chunk::<8>(), value.last_chunk::<8>()) {
        (Some(first), Some(end)) if value.len() == 16 => {
            Ok(Bounds { first: u64::from_be_bytes(*first), end: u64::from_be_bytes(*end) })
        }
        _ => Err(damaged("the bounds of a stream have the wrong length")),
    }
}

/// The value of a record appended at `appended`; the caller has checked that the key's length is
/// below 2^32.
pub(super) fn encode_value(entry: &Entry, key_len: u32, appended: i64) -> BytesMut {
    let key = entry.key.as_deref().unwrap_or_default();
    let mut value = BytesMut::with_capacity(VALUE_HEAD + key.len() + entry.payload.len());
    value.put_i64(appended);
    value.put_u32(key_len);
    value.put_slice(key);
    value.put_slice(&entry.payload);
    value
}

/// When the record of `value` was appended.
pub(super) fn appended(value: &[u8]) -> Result<i64, Failure> {
    let head = value.first_chunk::<8>().ok_or_else(|| damaged("a record is too short"))?;
    Ok(i64::from_be_bytes(*head))
}

/// The record with this key and value.
pub(super) fn decode_item(key: &[u8], value: &[u8]) -> Result<Item, Failure> {
    let offset = offset_of(key)?;
    let short = || damaged("a record is too short");
    let (head, rest) = value.split_first_chunk::<VALUE_HEAD>().ok_or_else(short)?;
    let [.., a, b, c, d] = *head;
    let key_len = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| short())?;
    if rest.len() < key_len {
        return Err(short());
    }
    let mut payload = Bytes::copy_from_slice(rest);
    let key = payload.split_to(key_len);
    Ok(Item { offset, key: (!key.is_empty()).then_some(key), payload })
}

/// The directory holds something that this code never wrote.
pub(super) fn damaged(what: &str) -> Failure {
    Failure::new(Code::LogCorrupt, format!("the embedded log is damaged: {what}"))
        .remedy("restore the directory, or remove it and load the target again")
}
