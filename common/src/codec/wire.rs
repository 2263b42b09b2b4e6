//! Avro's primitive encodings: writing them to a `Vec`, reading them from a slice.
//!
//! Reading trusts nothing: every length is checked against what is left before anything is taken
//! or allocated, so that corrupted input costs an error and no memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::DecodeError;

/// Why bytes are no encoding of anything: [`DecodeError::Corrupt`] without the other variants' size,
/// so that what a step of reading returns fits registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Malformed(pub(super) &'static str);

impl Malformed {
    const TRUNCATED: Malformed = Malformed("it ends too early");
}

impl From<Malformed> for DecodeError {
    fn from(Malformed(what): Malformed) -> Self {
        DecodeError::Corrupt(what)
    }
}

/// Appends a `long` (an `int` is encoded the same way): zigzag, then a [varint](put_varint).
#[inline]
pub(super) fn put_long(out: &mut Vec<u8>, value: i64) {
    let raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    if raw < 0x80 {
        out.push(raw.to_le_bytes()[0]);
    } else {
        put_varint(out, raw);
    }
}

/// Appends a varint of two bytes or more: seven bits a byte, lowest first; all bytes but its last
/// have the high bit set.
///
/// What eight bytes can hold is put as one word, of which the bytes beyond the varint's last go
/// again: no loop, and no copy of a length that is known only here.
fn put_varint(out: &mut Vec<u8>, raw: u64) {
    let len = (70 - raw.leading_zeros() as usize) / 7;
    if len > 8 {
        return put_varint_by_bytes(out, raw);
    }
    let fours = (raw & 0x0FFF_FFFF) | ((raw & (0x0FFF_FFFF << 28)) << 4);
    let pairs = (fours & 0x0000_3FFF_0000_3FFF) | ((fours & 0x0FFF_C000_0FFF_C000) << 2);
    let sevens = (pairs & SEVENS_LOW) | ((pairs & (SEVENS_LOW << 7)) << 1);
    let more = HIGH & ((1 << (8 * (len - 1))) - 1);
    out.extend_from_slice(&(sevens | more).to_le_bytes());
    out.truncate(out.len() - 8 + len);
}

#[cold]
fn put_varint_by_bytes(out: &mut Vec<u8>, raw: u64) {
    let mut rest = raw;
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// The bit of each byte of a word that says that a varint goes on.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Seven bits of every other byte of a word.
const SEVENS_LOW: u64 = 0x007F_007F_007F_007F;

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
///
/// Every step is inlined, and what is too rare for that takes and gives an input by value: once the
/// address of an input is taken it lives in memory, where each step has to wait for the one before
/// to be stored. Where that counts, a function reads with an input of its own and stores it at its
/// end.
#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Input { rest: bytes }
    }

    #[inline(always)]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline(always)]
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::TRUNCATED)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline(always)]
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.rest.split_first().ok_or(Malformed::TRUNCATED)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline(always)]
    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        let raw = match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                u64::from(byte)
            }
            _ => self.varint()?,
        };
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A varint: seven bits a byte, lowest first; all bytes but its last have the high bit set.
    ///
    /// Up to eight bytes are read as one word, in which the groups of seven move together; longer
    /// ones, and those within the last eight bytes of a record, go byte by byte.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        if let Some(word) = self.rest.first_chunk() {
            let word = u64::from_le_bytes(*word);
            let ends = !word & HIGH;
            if ends != 0 {
                let through_the_last = ends ^ (ends - 1);
                let sevens = word & through_the_last & !HIGH;
                let pairs = (sevens & SEVENS_LOW) | ((sevens & (SEVENS_LOW << 8)) >> 1);
                let fours =
                    (pairs & 0x0000_3FFF_0000_3FFF) | ((pairs & 0x3FFF_0000_3FFF_0000) >> 2);
                let all = (fours & 0x0FFF_FFFF) | ((fours & 0x0FFF_FFFF_0000_0000) >> 4);
                self.take(ends.trailing_zeros() as usize / 8 + 1)?;
                return Ok(all);
            }
        }
        let (raw, rest) = varint_by_bytes(self.rest)?;
        self.rest = rest;
        Ok(raw)
    }

    /// A `long` or `int` of the narrower type `T`.
    #[inline(always)]
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.long()?).map_err(|_| Malformed("a number out of its range"))
    }

    #[inline(always)]
    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a boolean that is neither 0 nor 1")),
        }
    }

    #[inline(always)]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.number::<usize>()?;
        self.take(len)
    }

    /// Two's complement, big-endian, after its length: 1 to 16 bytes.
    #[inline(always)]
    pub(super) fn decimal(&mut self) -> Result<i128, Malformed> {
        let len = self.number::<usize>()?;
        if let (1..=8, Some(word)) = (len, self.rest.first_chunk()) {
            self.take(len)?;
            return Ok((i64::from_be_bytes(*word) >> (64 - 8 * len)).into());
        }
        wide_decimal(self.take(len)?)
    }

    #[inline(always)]
    pub(super) fn str(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text that is not UTF-8"))
    }

    #[inline(always)]
    pub(super) fn cow_bytes(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        self.bytes().map(Cow::Borrowed)
    }

    #[inline(always)]
    pub(super) fn cow_str(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.str().map(Cow::Borrowed)
    }

    /// The number of items in the next block of an array or map, 0 at its end.
    ///
    /// Every item of our schema takes a byte or more, so that a larger count is a lie.
    #[inline(always)]
    pub(super) fn block(&mut self) -> Result<usize, Malformed> {
        let mut count = self.long()?;
        if count < 0 {
            let _bytes_in_block = self.long()?;
            count = count.checked_neg().ok_or(Malformed("a block too large"))?;
        }
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() => Ok(count),
            _ => Err(Malformed::TRUNCATED),
        }
    }

    /// An array; `push` reads an item onto the end of what it is given.
    #[inline(always)]
    pub(super) fn array<T>(
        &mut self,
        mut push: impl FnMut(&mut Self, &mut Vec<T>) -> Result<(), Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut items = Vec::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(items);
            }
            items.reserve_exact(count.min(MOST_RESERVED));
            for _ in 0..count {
                push(self, &mut items)?;
            }
        }
    }

    /// A map of strings.
    #[inline(always)]
    pub(super) fn map(&mut self) -> Result<BTreeMap<String, String>, Malformed> {
        match self.rest.split_first() {
            Some((0, rest)) => {
                self.rest = rest;
                Ok(BTreeMap::new())
            }
            _ => {
                let (map, rest) = full_map(self.clone())?;
                *self = rest;
                Ok(map)
            }
        }
    }

    /// Passes over a map of strings.
    #[inline(always)]
    pub(super) fn skip_map(&mut self) -> Result<(), Malformed> {
        self.map().map(drop)
    }

    /// The record must end here.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes after the end of the record"))
        }
    }
}

/// Items an array reserves before it has seen them: a count is only a claim, and an item in memory
/// is many times its least encoding. More items than this grow the array as they come.
pub(super) const MOST_RESERVED: usize = 1024;

/// The number of a decimal of any width.
#[cold]
fn wide_decimal(bytes: &[u8]) -> Result<i128, Malformed> {
    let (Some(first), 1..=16) = (bytes.first(), bytes.len()) else {
        return Err(Malformed("a decimal of no or too many bytes"));
    };
    let sign = i128::from(first.cast_signed() >> 7);
    Ok(bytes.iter().fold(sign, |number, byte| (number << 8) | i128::from(*byte)))
}

/// A varint of any length and what follows it.
#[cold]
fn varint_by_bytes(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut raw = 0;
    let mut rest = bytes;
    for shift in (0..=63).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(Malformed::TRUNCATED)?;
        if shift == 63 && byte > 1 {
            break;
        }
        raw |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok((raw, after));
        }
        rest = after;
    }
    Err(Malformed("a number longer than 64 bits"))
}

/// A map that has something, and what follows it.
#[cold]
fn full_map(mut input: Input<'_>) -> Result<(BTreeMap<String, String>, Input<'_>), Malformed> {
    let mut map = BTreeMap::new();
    loop {
        let count = input.block()?;
        if count == 0 {
            return Ok((map, input));
        }
        for _ in 0..count {
            let key = input.str()?.to_owned();
            map.insert(key, input.str()?.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A varint as the specification says it, byte by byte.
    fn plain(value: i64) -> Vec<u8> {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        let mut out = Vec::new();
        while rest >= 0x80 {
            out.push(u8::try_from(rest & 0x7F).unwrap() | 0x80);
            rest >>= 7;
        }
        out.push(u8::try_from(rest).unwrap());
        out
    }

    /// Numbers of all widths alike.
    fn number() -> impl Strategy<Value = i64> {
        (0..64u32).prop_flat_map(|shift| any::<i64>().prop_map(move |n| n >> shift))
    }

    fn read(bytes: &[u8]) -> Result<(i64, usize), Malformed> {
        let mut input = Input::new(bytes);
        let number = input.long()?;
        Ok((number, bytes.len() - input.rest.len()))
    }

    /// Whether `value` is written as the specification says and comes back, with `after` behind it.
    fn check(value: i64, after: &[u8]) {
        let mut bytes = vec![0xAA];
        put_long(&mut bytes, value);
        let expected = plain(value);
        assert_eq!(bytes[1..], expected, "{value}");
        bytes.extend_from_slice(after);
        assert_eq!(read(&bytes[1..]).ok(), Some((value, expected.len())), "{value}");
        for cut in 0..expected.len() {
            assert!(read(&expected[..cut]).is_err(), "{value} cut to {cut} bytes");
        }
    }

    #[test]
    fn numbers_at_every_change_of_width_come_back() {
        for bit in 0..64 {
            let power = (1u64 << bit).cast_signed();
            for value in [power, power.wrapping_sub(1), power.wrapping_neg(), !power] {
                for after in 0..10 {
                    check(value, &vec![0x80; after]);
                    check(value, &vec![0x7F; after]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in number(), after in prop::collection::vec(any::<u8>(), 0..12)) {
            check(value, &after);
        }

        #[test]
        fn a_number_of_more_bytes_than_it_needs_is_read(
            value in 0..1_000_000i64,
            zeros in 1..4usize,
            after in 0..10usize,
        ) {
            let mut bytes = plain(value);
            *bytes.last_mut().unwrap() |= 0x80;
            bytes.resize(bytes.len() + zeros - 1, 0x80);
            bytes.push(0);
            let len = bytes.len();
            bytes.resize(len + after, 0xFF);
            prop_assert_eq!(read(&bytes).ok(), Some((value, len)));
        }

        #[test]
        fn decimals_come_back(
            number in (0..128u32)
                .prop_flat_map(|shift| any::<i128>().prop_map(move |number| number >> shift)),
            padding in 0..3usize,
            after in 0..9usize,
        ) {
            let wide = number.to_be_bytes();
            let sign = if number < 0 { 0xFF } else { 0 };
            let spare = wide.windows(2).take_while(|b| b[0] == sign && (b[0] ^ b[1]) < 0x80).count();
            let mut bytes = Vec::new();
            put_bytes(&mut bytes, &wide[spare.saturating_sub(padding)..]);
            let len = bytes.len();
            bytes.resize(len + after, 0x55);
            let mut input = Input::new(&bytes);
            prop_assert_eq!(input.decimal().ok(), Some(number));
            prop_assert_eq!(input.rest.len(), after);
            prop_assert!(Input::new(&bytes[..len - 1]).decimal().is_err());
        }
    }

    #[test]
    fn a_number_too_long_is_an_error() {
        for last in [0x02, 0x7F, 0x80] {
            let mut bytes = [0x80; 12];
            bytes[9] = last;
            assert!(read(&bytes).is_err(), "{bytes:?}");
        }
        for len in [0, 17, 18] {
            let mut bytes = Vec::new();
            put_bytes(&mut bytes, &vec![1; len]);
            bytes.resize(64, 0);
            assert!(Input::new(&bytes).decimal().is_err(), "{len} bytes");
        }
    }
}
