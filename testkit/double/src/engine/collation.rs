//! Collations: those of Latin1_General and SQL_Latin1_General_CP1 with code page 1252, sensitive
//! to case and accents or not, and binary. That of the server and of every database is
//! `SQL_Latin1_General_CP1_CI_AS`. In all of them trailing blanks are without meaning.
//!
//! The order is: control characters, punctuation and symbols by code, digits, letters by base
//! letter (accents, then case, decide only between otherwise equal strings), everything else by
//! code point. SQL Server orders `nvarchar` punctuation by Windows word sort and knows expansions
//! (`ß` = `ss`) there; this does neither.

use std::cmp::Ordering;

/// Name of the server's collation.
pub const NAME: &str = "SQL_Latin1_General_CP1_CI_AS";

/// What counts between two strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Letters, with or without their accents and case.
    Letters {
        accents: bool,
        case: bool,
        /// Whether `A` comes before `a`.
        upper_first: bool,
    },
    /// Codes: of bytes in the code page, of UTF-16 units.
    Codes,
}

/// A collation.
#[derive(Debug)]
pub struct Collation {
    /// Name.
    pub name: &'static str,
    rule: Rule,
}

const fn letters(name: &'static str, case: bool, accents: bool) -> Collation {
    Collation { name, rule: Rule::Letters { accents, case, upper_first: false } }
}

const fn codes(name: &'static str) -> Collation {
    Collation { name, rule: Rule::Codes }
}

/// All of them; the first is the server's.
static COLLATIONS: [Collation; 16] = [
    letters(NAME, false, true),
    Collation {
        name: "SQL_Latin1_General_CP1_CS_AS",
        rule: Rule::Letters { accents: true, case: true, upper_first: true },
    },
    letters("SQL_Latin1_General_CP1_CI_AI", false, false),
    letters("Latin1_General_CI_AS", false, true),
    letters("Latin1_General_CS_AS", true, true),
    letters("Latin1_General_CI_AI", false, false),
    letters("Latin1_General_CS_AI", true, false),
    codes("Latin1_General_BIN2"),
    letters("Latin1_General_100_CI_AS", false, true),
    letters("Latin1_General_100_CS_AS", true, true),
    letters("Latin1_General_100_CI_AI", false, false),
    letters("Latin1_General_100_CS_AI", true, false),
    codes("Latin1_General_100_BIN2"),
    letters("Latin1_General_CI_AS_KS_WS", false, true),
    letters("Latin1_General_CS_AS_KS_WS", true, true),
    letters("Latin1_General_100_CS_AS_KS_WS", true, true),
];

/// Which collation a string has, and whether COLLATE gave it. The default is the database's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label(u8);

const EXPLICIT: u8 = 0x80;

impl Label {
    /// The label of a collation by name.
    pub fn named(name: &str) -> Option<Label> {
        let at = COLLATIONS.iter().position(|known| known.name.eq_ignore_ascii_case(name))?;
        u8::try_from(at).ok().map(Label)
    }

    /// The same, given by COLLATE.
    pub fn explicit(self) -> Label {
        Label(self.0 | EXPLICIT)
    }

    /// The same, as a column has it.
    pub fn implicit(self) -> Label {
        Label(self.0 & !EXPLICIT)
    }

    /// Its collation.
    pub fn collation(self) -> &'static Collation {
        &COLLATIONS[usize::from(self.0 & !EXPLICIT) % COLLATIONS.len()]
    }

    /// Whether it is the database's, and not by COLLATE.
    pub fn is_default(self) -> bool {
        self.0 == 0
    }

    /// What two strings are compared under: what COLLATE says, else a column's, else the
    /// database's.
    pub fn with(self, other: Label) -> Label {
        if self.0 & EXPLICIT != 0 || (other.0 & EXPLICIT == 0 && self.0 != 0) {
            self
        } else {
            other
        }
    }

    /// As it is kept in files.
    pub fn code(self) -> u8 {
        self.0
    }

    /// From a file.
    pub fn from_code(code: u8) -> Label {
        Label(code)
    }
}

impl Collation {
    /// Compares two UTF-16 strings; the shorter counts as padded with blanks.
    pub fn compare_units(&self, left: &[u16], right: &[u16]) -> Ordering {
        self.compare(left.iter().copied(), right.iter().copied())
    }

    /// Compares two code-page strings.
    pub fn compare_bytes(&self, left: &[u8], right: &[u8]) -> Ordering {
        match self.rule {
            Rule::Codes => compare_codes(
                left.iter().map(|byte| u16::from(*byte)),
                right.iter().map(|byte| u16::from(*byte)),
            ),
            Rule::Letters { .. } => self.compare(
                left.iter().map(|byte| unit_of_byte(*byte)),
                right.iter().map(|byte| unit_of_byte(*byte)),
            ),
        }
    }

    fn compare(
        &self,
        left: impl Iterator<Item = u16>,
        right: impl Iterator<Item = u16>,
    ) -> Ordering {
        let Rule::Letters { accents, case, upper_first } = self.rule else {
            return compare_codes(left, right);
        };
        let (mut left, mut right) = (left.fuse(), right.fuse());
        let (mut by_accent, mut by_case) = (Ordering::Equal, Ordering::Equal);
        loop {
            let (l, r) = match (left.next(), right.next()) {
                (None, None) => return by_accent.then(by_case),
                (l, r) => (l.unwrap_or(BLANK_UNIT), r.unwrap_or(BLANK_UNIT)),
            };
            if l == r {
                continue;
            }
            let (wl, wr) = (weight(l), weight(r));
            match (wl >> 8).cmp(&(wr >> 8)) {
                Ordering::Equal if wl != wr => {
                    if accents {
                        by_accent = by_accent.then(wl.cmp(&wr));
                    }
                }
                Ordering::Equal => {}
                decided => return decided,
            }
            if case {
                let order = is_upper(l).cmp(&is_upper(r));
                by_case = by_case.then(if upper_first { order.reverse() } else { order });
            }
        }
    }

    /// Whether two characters are the same.
    pub fn same_char(&self, left: u16, right: u16) -> bool {
        self.compare_char(left, right).is_eq()
    }

    /// Order of two characters.
    pub fn compare_char(&self, left: u16, right: u16) -> Ordering {
        self.compare(std::iter::once(left), std::iter::once(right))
    }
}

/// By codes; the shorter counts as padded with blanks.
fn compare_codes(left: impl Iterator<Item = u16>, right: impl Iterator<Item = u16>) -> Ordering {
    let (mut left, mut right) = (left.fuse(), right.fuse());
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (l, r) => l.unwrap_or(BLANK_UNIT).cmp(&r.unwrap_or(BLANK_UNIT)),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

const BLANK_UNIT: u16 = 0x20;

fn is_upper(unit: u16) -> bool {
    lower(unit) != unit
}

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

/// Feeds a hasher so that strings hash alike that are equal under any collation: trailing blanks
/// dropped, base letters only.
pub fn hash_units(units: impl DoubleEndedIterator<Item = u16>, state: &mut impl std::hash::Hasher) {
    let mut blanks = 0u32;
    for unit in units {
        let w = weight(unit) >> 8;
        if unit == BLANK_UNIT {
            blanks += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut blanks) {
            state.write_u32(u32::from(BLANK_UNIT));
        }
        state.write_u32(w);
    }
    state.write_u32(u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(name: &str, left: &[u8], right: &[u8]) -> Ordering {
        Label::named(name).expect(name).collation().compare_bytes(left, right)
    }

    fn compare_bytes(left: &[u8], right: &[u8]) -> Ordering {
        under(NAME, left, right)
    }

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
    fn collations_differ_in_case_accents_and_codes() {
        let (cs, windows) = ("SQL_Latin1_General_CP1_CS_AS", "latin1_general_100_cs_as");
        assert_eq!(under(cs, b"A", b"a"), Ordering::Less);
        assert_eq!(under(windows, b"A", b"a "), Ordering::Greater);
        assert_eq!(under(windows, b"Ab", b"aC"), Ordering::Less);
        assert_eq!(under("Latin1_General_CI_AI", &[0xE9], b"E"), Ordering::Equal);
        assert_eq!(under("Latin1_General_CS_AI", &[0xE9], b"E"), Ordering::Less);
        let binary = "Latin1_General_100_BIN2";
        assert_eq!(under(binary, b"B", b"a"), Ordering::Less);
        assert_eq!(under(binary, b"a ", b"a"), Ordering::Equal);
        assert_eq!(under(binary, &[0x80], &[0xE9]), Ordering::Less);
        let rule = Label::named(binary).expect("known").collation();
        assert_eq!(rule.compare_units(&[0x20AC], &[0xE9]), Ordering::Greater);
    }

    #[test]
    fn collate_wins_over_columns_and_columns_over_the_rest() {
        let bin = Label::named("Latin1_General_BIN2").expect("known");
        let none = Label::default();
        assert_eq!(bin.with(none), bin);
        assert_eq!(none.with(bin), bin);
        assert_eq!(none.explicit().with(bin).collation().name, NAME);
        assert_eq!(bin.with(none.explicit()).collation().name, NAME);
    }

    #[test]
    fn every_byte_survives_the_round_trip() {
        for byte in 0..=255u8 {
            assert_eq!(byte_of_unit(unit_of_byte(byte)), byte);
        }
        assert_eq!(encode(&[0x4E2D, 0x20AC]), vec![b'?', 0x80]);
    }
}
