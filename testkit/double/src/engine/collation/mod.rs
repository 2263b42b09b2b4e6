//! Collations: the Windows ones of most languages and SQL Server's older ones, sensitive to case
//! and accents or not, and binary, with their code pages. That of the server and of every database
//! is `SQL_Latin1_General_CP1_CI_AS`. In all of them trailing blanks are without meaning.
//!
//! The order is the same in every language: control characters, punctuation and symbols by code,
//! digits, letters by base letter (accents, then case, decide only between otherwise equal strings),
//! everything else by code point. SQL Server orders `nvarchar` punctuation by Windows word sort,
//! knows expansions (`ß` = `ss`), and gives languages their own order (`å` behind `z`); this does
//! none of it. Kana and width always count.

mod bestfit;
mod names;
pub mod pages;
mod tables;

use std::cmp::Ordering;

use names::Style;
pub use names::page_of_wire;
use pages::{CodePage, UTF_8};

/// Name of the server's collation.
pub const NAME: &str = "SQL_Latin1_General_CP1_CI_AS";

/// Which collation a string has, and whether COLLATE gave it. The default is the database's.
///
/// Eight bits are the family's place, the others say what the name says; zero is the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label(u32);

const FAMILY: u32 = 0xFF;
const CASE: u32 = 1 << 8;
const NO_ACCENTS: u32 = 1 << 9;
const KANA: u32 = 1 << 10;
const WIDTH: u32 = 1 << 11;
const SUPPLEMENTARY: u32 = 1 << 12;
const UTF8: u32 = 1 << 13;
const BINARY: u32 = 1 << 14;
const BINARY_2: u32 = 1 << 15;
const VERSION_SHIFT: u32 = 16;
const EXPLICIT: u32 = 1 << 31;

/// The versions of Windows collations, by number.
const VERSIONS: [u8; 4] = [0, 90, 100, 140];

impl Label {
    /// The label of a collation by name.
    pub fn named(name: &str) -> Option<Label> {
        // Nearly every column has the server's.
        if name.eq_ignore_ascii_case(NAME) {
            return Some(Label::default());
        }
        let (family, style) = names::parse(name)?;
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let version = VERSIONS.iter().position(|known| *known == style.version)?;
        Some(Label(
            u32::try_from(family).ok()?
                | flag(style.case, CASE)
                | flag(style.no_accents, NO_ACCENTS)
                | flag(style.kana, KANA)
                | flag(style.width, WIDTH)
                | flag(style.supplementary, SUPPLEMENTARY)
                | flag(style.utf8, UTF8)
                | flag(style.binary, BINARY)
                | flag(style.binary2, BINARY_2)
                | u32::try_from(version).ok()? << VERSION_SHIFT,
        ))
    }

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    fn family(self) -> &'static names::Family {
        names::family(usize::try_from(self.0 & FAMILY).unwrap_or_default())
    }

    fn style(self) -> Style {
        let version = usize::try_from(self.0 >> VERSION_SHIFT & 3).unwrap_or_default();
        Style {
            version: VERSIONS[version],
            case: self.has(CASE),
            no_accents: self.has(NO_ACCENTS),
            kana: self.has(KANA),
            width: self.has(WIDTH),
            supplementary: self.has(SUPPLEMENTARY),
            utf8: self.has(UTF8),
            binary: self.has(BINARY),
            binary2: self.has(BINARY_2),
        }
    }

    /// Its name.
    pub fn name(self) -> String {
        names::name(self.family(), self.style())
    }

    /// As clients are told of it.
    pub fn wire(self) -> [u8; 5] {
        names::wire(self.family(), self.style())
    }

    /// LCID, without its sort.
    pub fn lcid(self) -> u32 {
        self.family().lcid
    }

    /// Version of the collation, as COLLATIONPROPERTY counts.
    pub fn version(self) -> u32 {
        self.0 >> VERSION_SHIFT & 3
    }

    /// What does not count, in the numbers of Windows: case 1, accents 2, kana 65536, width 131072.
    pub fn comparison_style(self) -> u32 {
        let ignored = |counts: bool, number: u32| if counts { 0 } else { number };
        match self.is_binary() {
            true => 0,
            false => {
                ignored(self.has(CASE), 1)
                    + ignored(!self.has(NO_ACCENTS), 2)
                    + ignored(self.has(KANA), 65536)
                    + ignored(self.has(WIDTH), 131_072)
            }
        }
    }

    /// Code page of its `char` and `varchar`.
    pub fn page(self) -> CodePage {
        match self.has(UTF8) {
            true => UTF_8,
            false => CodePage(self.family().page),
        }
    }

    /// Whether its `char` and `varchar` are UTF-8.
    pub fn is_utf8(self) -> bool {
        self.has(UTF8)
    }

    /// Whether codes decide.
    pub fn is_binary(self) -> bool {
        self.has(BINARY | BINARY_2)
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
    pub fn collation(self) -> Collation {
        Collation(self.implicit())
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
    pub fn code(self) -> u32 {
        self.0
    }

    /// From a file.
    pub fn from_code(code: u32) -> Label {
        Label(code)
    }
}

/// A collation: how strings compare.
#[derive(Clone, Copy, Debug)]
pub struct Collation(Label);

impl Collation {
    /// Compares two UTF-16 strings; the shorter counts as padded with blanks.
    pub fn compare_units(&self, left: &[u16], right: &[u16]) -> Ordering {
        self.compare(left.iter().copied(), right.iter().copied())
    }

    /// Compares two strings in the collation's own code page.
    pub fn compare_bytes(&self, left: &[u8], right: &[u8]) -> Ordering {
        if self.0.is_binary() {
            return compare_codes(
                left.iter().map(|byte| u16::from(*byte)),
                right.iter().map(|byte| u16::from(*byte)),
            );
        }
        match self.0.page() {
            pages::LATIN_1 => self.compare(
                left.iter().map(|byte| unit_of_byte(*byte)),
                right.iter().map(|byte| unit_of_byte(*byte)),
            ),
            page => self.compare_units(&page.decode(left), &page.decode(right)),
        }
    }

    fn compare(
        &self,
        left: impl Iterator<Item = u16>,
        right: impl Iterator<Item = u16>,
    ) -> Ordering {
        if self.0.is_binary() {
            return compare_codes(left, right);
        }
        let (accents, case) = (!self.0.has(NO_ACCENTS), self.0.has(CASE));
        // Whether `A` comes before `a`.
        let upper_first = self.0 == SQL_CASE_SENSITIVE;
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

/// `SQL_Latin1_General_CP1_CS_AS`, in which capitals come first.
const SQL_CASE_SENSITIVE: Label = Label(CASE);

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

/// The byte of a UTF-16 unit; where the code page has none its best fit, or `?`.
pub fn byte_of_unit(unit: u16) -> u8 {
    if let Ok(byte) = u8::try_from(unit)
        && !(0x80..=0x9F).contains(&byte)
    {
        return byte;
    }
    (0x80..=0x9Fu8)
        .find(|byte| unit_of_byte(*byte) == unit)
        .or_else(|| bestfit::best_fit(pages::LATIN_1, unit)?.first().copied())
        .unwrap_or(b'?')
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
            let marked = tables::MARKED.binary_search_by_key(&folded, |(letter, ..)| *letter);
            if let Ok(at) = marked {
                let (_, base, place) = tables::MARKED[at];
                return weight(base) | u32::from(place);
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
        assert_eq!(none.explicit().with(bin).name(), NAME);
        assert_eq!(bin.with(none.explicit()).name(), NAME);
    }

    #[test]
    fn every_byte_survives_the_round_trip() {
        for byte in 0..=255u8 {
            assert_eq!(byte_of_unit(unit_of_byte(byte)), byte);
        }
        assert_eq!(encode(&[0x4E2D, 0x20AC]), vec![b'?', 0x80]);
    }

    #[test]
    fn names_say_what_they_say_and_come_back() {
        for name in [
            NAME,
            "SQL_Latin1_General_CP1_CS_AS",
            "SQL_Latin1_General_CP850_BIN2",
            "SQL_Polish_CP1250_CI_AS",
            "Latin1_General_100_CI_AS_SC_UTF8",
            "Latin1_General_100_BIN2_UTF8",
            "Latin1_General_BIN",
            "Cyrillic_General_CI_AI",
            "Chinese_PRC_Stroke_CI_AS_WS",
            "Chinese_PRC_90_CI_AS",
            "Japanese_XJIS_140_CS_AS_KS_WS",
            "Japanese_XJIS_140_CI_AS_UTF8",
            "Slovenian_100_CS_AS",
        ] {
            let label = Label::named(&name.to_lowercase()).expect(name);
            assert_eq!(label.name(), name);
            assert_eq!(Label::from_code(label.explicit().code()).implicit(), label);
        }
        for name in [
            "nope",
            "Latin1_General",
            "Latin1_General_CI",
            "Latin1_General_CI_AS_UTF8",
            "Latin1_General_101_CI_AS",
            "SQL_Latin1_General_CP1_CS_AI",
            "SQL_Latin1_General_CP1251_BIN2",
            "Latin1_General_CI_AS_XX",
        ] {
            assert_eq!(Label::named(name), None, "{name}");
        }
    }

    #[test]
    fn clients_are_told_of_collations_as_documented() {
        let wire = |name: &str| Label::named(name).expect(name).wire();
        assert_eq!(wire(NAME), [0x09, 0x04, 0xD0, 0x00, 0x34]);
        assert_eq!(wire("Latin1_General_100_BIN2_UTF8"), [0x09, 0x04, 0x00, 0x26, 0]);
        assert_eq!(wire("Latin1_General_100_CI_AS_SC_UTF8"), [0x09, 0x04, 0xD0, 0x24, 0]);
        assert_eq!(wire("Cyrillic_General_CS_AS_KS_WS"), [0x19, 0x04, 0x00, 0x00, 0]);
        assert_eq!(wire("Chinese_Taiwan_Bopomofo_CI_AI"), [0x04, 0x04, 0xF3, 0x00, 0]);
        for family in &names::FAMILIES {
            let style = match family.sorts {
                [] => "CI_AS",
                sorts => sorts[0].0,
            };
            let label = Label::named(&format!("{}_{style}", family.prefix)).expect(family.prefix);
            assert_eq!(page_of_wire(label.wire()), Some(label.page()), "{}", family.prefix);
        }
    }

    #[test]
    fn letters_of_other_languages_have_base_letters() {
        let order = |name: &str, left: &str, right: &str| {
            let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
            Label::named(name).expect(name).collation().compare_units(&units(left), &units(right))
        };
        assert_eq!(order("Polish_CI_AI", "za\u{17C}", "ZAZ"), Ordering::Equal);
        assert_eq!(order("Polish_CI_AS", "za\u{17C}", "zaz"), Ordering::Greater);
        assert_eq!(order("Greek_CI_AI", "\u{3AC}", "\u{391}"), Ordering::Equal);
        assert_eq!(order("Cyrillic_General_CI_AS", "\u{41F}", "\u{43F}"), Ordering::Equal);
    }
}
