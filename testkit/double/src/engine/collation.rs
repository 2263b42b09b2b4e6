//! The one collation of the double, `SQL_Latin1_General_CP1_CI_AS`: code page 1252 for
//! `char`/`varchar`, case-insensitive and accent-sensitive comparison for all strings, trailing
//! blanks without meaning.
//!
//! The order is: control characters, punctuation and symbols by code, digits, letters by base
//! letter (accents decide only between otherwise equal strings), everything else by code point.
//! SQL Server orders `nvarchar` punctuation by Windows word sort and knows expansions
//! (`ß` = `ss`) there; this does neither.

use std::cmp::Ordering;

/// Name of the collation.
pub const NAME: &str = "SQL_Latin1_General_CP1_CI_AS";

/// Unicode of the bytes 0x80 to 0x9F of code page 1252 (the five holes map to themselves, as
/// Windows does).
const CP1252_HIGH: [u16; 32] = [
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039,
    0x0152, 0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178,
];

/// The UTF-16 unit of a byte of code page 1252.
pub fn unit_of_byte(byte: u8) -> u16 {
    match byte {
        0x80..=0x9F => CP1252_HIGH[usize::from(byte - 0x80)],
        other => u16::from(other),
    }
}

/// The byte of a UTF-16 unit, `?` where the code page has none.
pub fn byte_of_unit(unit: u16) -> u8 {
    if let Ok(byte) = u8::try_from(unit)
        && !(0x80..=0x9F).contains(&byte)
    {
        return byte;
    }
    (0x80..=0x9Fu8).find(|byte| unit_of_byte(*byte) == unit).unwrap_or(b'?')
}

/// Decodes bytes of the code page.
pub fn decode(bytes: &[u8]) -> Vec<u16> {
    bytes.iter().map(|byte| unit_of_byte(*byte)).collect()
}

/// Encodes UTF-16 into the code page; a surrogate pair becomes two `?`, as SQL Server does.
pub fn encode(units: &[u16]) -> Vec<u8> {
    units.iter().map(|unit| byte_of_unit(*unit)).collect()
}

/// Upper-case form of one UTF-16 unit (one-to-one mappings only).
pub fn upper(unit: u16) -> u16 {
    map_case(unit, |c| single(c.to_uppercase()))
}

/// Lower-case form of one UTF-16 unit (one-to-one mappings only).
pub fn lower(unit: u16) -> u16 {
    map_case(unit, |c| single(c.to_lowercase()))
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next()?;
    mapped.next().is_none().then_some(first)
}

fn map_case(unit: u16, map: impl Fn(char) -> Option<char>) -> u16 {
    char::from_u32(u32::from(unit))
        .and_then(map)
        .and_then(|c| u16::try_from(u32::from(c)).ok())
        .unwrap_or(unit)
}

/// Base letters of U+00C0 to U+00DF; the same letters in lower case follow 0x20 later. A blank
/// marks what has no base letter.
const LATIN1_BASE: &[u8; 32] = b"AAAAAA CEEEEIIII NOOOOO OUUUUY  ";

/// Weight of a character: the upper half decides first (base letter), the lower half (accent)
/// only between strings otherwise equal.
fn weight(unit: u16) -> u32 {
    match unit {
        0x30..=0x39 => (0x1000 + u32::from(unit)) << 8,
        0x41..=0x5A => (0x2000 + u32::from(unit)) << 8,
        0x61..=0x7A => (0x2000 + u32::from(unit) - 0x20) << 8,
        0..=0x7F => u32::from(unit) << 8,
        _ => {
            let folded = upper(unit);
            if let 0xC0..=0xDF = folded {
                let base = LATIN1_BASE[usize::from(folded - 0xC0)];
                if base != b' ' {
                    return ((0x2000 + u32::from(base)) << 8) | u32::from(folded - 0xC0 + 1);
                }
            }
            if folded == 0x178 {
                return ((0x2000 + u32::from(b'Y')) << 8) | 0x40;
            }
            if folded < 0xC0 {
                return u32::from(folded) << 8;
            }
            (0x3000 + u32::from(folded)) << 8
        }
    }
}

const BLANK: u32 = 0x20 << 8;

/// Compares under the collation; the shorter string counts as padded with blanks.
pub fn compare(left: impl Iterator<Item = u16>, right: impl Iterator<Item = u16>) -> Ordering {
    let (mut left, mut right) = (left.fuse(), right.fuse());
    let mut accents = Ordering::Equal;
    loop {
        let (l, r) = match (left.next(), right.next()) {
            (None, None) => return accents,
            (l, r) => (l.map_or(BLANK, weight), r.map_or(BLANK, weight)),
        };
        match (l >> 8).cmp(&(r >> 8)) {
            Ordering::Equal => accents = accents.then(l.cmp(&r)),
            decided => return decided,
        }
    }
}

/// Compares two code-page strings.
pub fn compare_bytes(left: &[u8], right: &[u8]) -> Ordering {
    compare(left.iter().map(|b| unit_of_byte(*b)), right.iter().map(|b| unit_of_byte(*b)))
}

/// Compares two UTF-16 strings.
pub fn compare_units(left: &[u16], right: &[u16]) -> Ordering {
    compare(left.iter().copied(), right.iter().copied())
}

/// Whether two characters are equal under the collation.
pub fn same_char(left: u16, right: u16) -> bool {
    left == right || weight(left) == weight(right)
}

/// Order of two characters, for the ranges of LIKE.
pub fn compare_char(left: u16, right: u16) -> Ordering {
    weight(left).cmp(&weight(right))
}

/// Feeds a hasher so that equal strings hash alike (trailing blanks dropped, case folded).
pub fn hash_units(units: impl DoubleEndedIterator<Item = u16>, state: &mut impl std::hash::Hasher) {
    let mut blanks = 0u32;
    for unit in units {
        let w = weight(unit);
        if w == BLANK {
            blanks += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut blanks) {
            state.write_u32(BLANK);
        }
        state.write_u32(w);
    }
    state.write_u32(u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_trailing_blanks_do_not_count() {
        assert_eq!(compare_bytes(b"Abc", b"aBC  "), Ordering::Equal);
        assert_eq!(compare_bytes(b"ab", b"abc"), Ordering::Less);
        assert_eq!(compare_bytes(b"a\t", b"a"), Ordering::Less);
        assert_eq!(compare_bytes(b"9", b"a"), Ordering::Less);
        assert_eq!(compare_bytes(b"_", b"0"), Ordering::Less);
    }

    #[test]
    fn accents_count_but_last() {
        let e_acute = [0xE9u8];
        assert_eq!(compare_bytes(b"e", &e_acute), Ordering::Less);
        assert_eq!(compare_bytes(b"eb", &[0xE9, b'a']), Ordering::Greater);
        assert_eq!(compare_bytes(&[0xC9], &e_acute), Ordering::Equal);
    }

    #[test]
    fn every_byte_survives_the_round_trip() {
        for byte in 0..=255u8 {
            assert_eq!(byte_of_unit(unit_of_byte(byte)), byte);
        }
        assert_eq!(encode(&[0x4E2D, 0x20AC]), vec![b'?', 0x80]);
    }
}
