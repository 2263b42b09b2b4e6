//! Avro's primitive encodings: writing them to a `Vec`, reading them from a slice.
//!
//! Reading trusts nothing: every length is checked against what is left before anything is taken
//! or allocated, so that corrupted input costs an error and no memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::DecodeError;

/// Appends a `long` (an `int` is encoded the same way): zigzag, then seven bits a byte.
#[inline]
pub(super) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    if rest < 0x80 {
        out.push(rest.to_le_bytes()[0]);
        return;
    }
    let mut bytes = [0; 10];
    let mut len = 0;
    while rest >= 0x80 {
        bytes[len] = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
        len += 1;
    }
    bytes[len] = rest.to_le_bytes()[0];
    out.extend_from_slice(&bytes[..=len]);
}

/// Appends an unsigned number as a `long`; the model keeps them at or below `i64::MAX`.
#[inline]
pub(super) fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    put_long(out, value.cast_signed());
}

/// Appends a count or a length.
#[inline]
pub(super) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_long(out, i64::try_from(len).expect("no buffer is longer than i64::MAX"));
}

#[inline]
pub(super) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Appends `bytes` or a `string`: its length, then itself.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends an array: one block of all items, then the empty block that ends it.
#[inline]
pub(super) fn put_array<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    if !items.is_empty() {
        put_len(out, items.len());
        for item in items {
            put(out, item);
        }
    }
    out.push(0);
}

/// Appends a map of strings.
#[inline]
pub(super) fn put_map(out: &mut Vec<u8>, map: &BTreeMap<String, String>) {
    if !map.is_empty() {
        put_len(out, map.len());
        for (key, value) in map {
            put_bytes(out, key.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
    out.push(0);
}

/// What is left of an encoded record.
#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Input { rest: bytes }
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::TRUNCATED)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::TRUNCATED)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, DecodeError> {
        let byte = self.byte()?;
        let raw = if byte < 0x80 { u64::from(byte) } else { self.long_tail(byte)? };
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// The bytes of a varint after the first.
    fn long_tail(&mut self, first: u8) -> Result<u64, DecodeError> {
        let mut raw = u64::from(first & 0x7F);
        for shift in (7..=63).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            raw |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(raw);
            }
        }
        Err(DecodeError::Corrupt("a number longer than 64 bits"))
    }

    /// A `long` or `int` of the narrower type `T`.
    #[inline]
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.long()?).map_err(|_| DecodeError::Corrupt("a number out of its range"))
    }

    #[inline]
    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Corrupt("a boolean that is neither 0 nor 1")),
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.number::<usize>()?;
        self.take(len)
    }

    #[inline]
    pub(super) fn str(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|_| DecodeError::Corrupt("text that is not UTF-8"))
    }

    #[inline]
    pub(super) fn cow_bytes(&mut self) -> Result<Cow<'a, [u8]>, DecodeError> {
        self.bytes().map(Cow::Borrowed)
    }

    #[inline]
    pub(super) fn cow_str(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.str().map(Cow::Borrowed)
    }

    /// The number of items in the next block of an array or map, 0 at its end.
    ///
    /// Every item of our schema takes a byte or more, so that a larger count is a lie.
    #[inline]
    pub(super) fn block(&mut self) -> Result<usize, DecodeError> {
        let mut count = self.long()?;
        if count < 0 {
            let _bytes_in_block = self.long()?;
            count = count.checked_neg().ok_or(DecodeError::Corrupt("a block too large"))?;
        }
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() => Ok(count),
            _ => Err(DecodeError::TRUNCATED),
        }
    }

    /// An array; `push` reads an item onto the end of what it is given.
    #[inline]
    pub(super) fn array<T>(
        &mut self,
        push: impl FnMut(&mut Self, &mut Vec<T>) -> Result<(), DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut items = Vec::new();
        self.array_into(&mut items, push)?;
        Ok(items)
    }

    /// As [`Input::array`], onto the end of `items`.
    #[inline]
    pub(super) fn array_into<T>(
        &mut self,
        items: &mut Vec<T>,
        mut push: impl FnMut(&mut Self, &mut Vec<T>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            items.reserve_exact(count.min(MOST_RESERVED));
            for _ in 0..count {
                push(self, items)?;
            }
        }
    }

    /// A map of strings.
    #[inline]
    pub(super) fn map(&mut self) -> Result<BTreeMap<String, String>, DecodeError> {
        let mut map = BTreeMap::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(map);
            }
            for _ in 0..count {
                let key = self.str()?.to_owned();
                map.insert(key, self.str()?.to_owned());
            }
        }
    }

    /// Passes over a map of strings.
    pub(super) fn skip_map(&mut self) -> Result<(), DecodeError> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..2 * count {
                self.bytes()?;
            }
        }
    }

    /// The record must end here.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Corrupt("bytes after the end of the record"))
        }
    }
}

/// Items an array reserves before it has seen them: a count is only a claim, and an item in memory
/// is many times its least encoding. More items than this grow the array as they come.
const MOST_RESERVED: usize = 1024;
