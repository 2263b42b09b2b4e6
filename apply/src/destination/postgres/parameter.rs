//! Parameters of a Bind message, as a length and the bytes.

use bytes::{BufMut, BytesMut};

/// A one-dimensional array of elements that are encoded already.
pub(super) fn put_array(element: u32, count: u64, elements: &[u8], out: &mut BytesMut) {
    const HEADER: usize = 20;
    out.put_u32(u32::try_from(HEADER + elements.len()).unwrap_or(u32::MAX));
    out.put_u32(1);
    // "May hold nulls": the server looks for itself.
    out.put_u32(1);
    out.put_u32(element);
    out.put_u32(u32::try_from(count).expect("a run has few rows"));
    out.put_u32(1);
    out.put_slice(elements);
}

/// An int4 parameter.
pub(super) fn put_int4(value: i32, out: &mut BytesMut) {
    out.put_u32(4);
    out.put_i32(value);
}

/// An int8 parameter.
pub(super) fn put_int8(value: u64, out: &mut BytesMut) {
    out.put_u32(8);
    out.put_u64(value);
}

/// A text parameter.
pub(super) fn put_text(value: &str, out: &mut BytesMut) {
    out.put_u32(u32::try_from(value.len()).expect("names and positions are short"));
    out.put_slice(value.as_bytes());
}
