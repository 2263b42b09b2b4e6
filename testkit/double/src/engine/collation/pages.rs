//! Code pages of `char`, `varchar` and `text`.
//!
//! Those of Windows are the Encoding Standard's, which are Windows' own but for what stands in
//! their holes; those of DOS are tables. What a page does not have becomes its best fit or `?`, twice
//! for a surrogate pair, as SQL Server does; bytes that are no character become U+FFFD.

use std::collections::HashMap;
use std::sync::LazyLock;

use encoding_rs::{EncoderResult, Encoding};

use super::bestfit::best_fit;
use super::tables::{CP437_HIGH, CP850_HIGH};

/// A code page by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodePage(pub u16);

/// UTF-8.
pub const UTF_8: CodePage = CodePage(65001);
/// That of the server's collation.
pub const LATIN_1: CodePage = CodePage(1252);

/// A page of one byte a character.
struct Table {
    units: [u16; 256],
    bytes: HashMap<u16, u8>,
}

impl Table {
    fn new(units: [u16; 256]) -> Table {
        let known = (0..=255u8).filter(|byte| units[usize::from(*byte)] != REPLACEMENT);
        let bytes = known.map(|byte| (units[usize::from(byte)], byte)).collect();
        Table { units, bytes }
    }
}

const REPLACEMENT: u16 = 0xFFFD;

/// Every page of one byte a character.
static TABLES: LazyLock<HashMap<u16, Table>> = LazyLock::new(|| {
    let mut tables = HashMap::new();
    for number in [874, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258] {
        let Some(encoding) = CodePage(number).encoding() else {
            continue;
        };
        let mut units = [REPLACEMENT; 256];
        for byte in 0..=255u8 {
            let bytes = [byte];
            let (text, _) = encoding.decode_without_bom_handling(&bytes);
            let mut found = text.encode_utf16();
            if let (Some(unit), None) = (found.next(), found.next()) {
                units[usize::from(byte)] = unit;
            }
        }
        tables.insert(number, Table::new(units));
    }
    for (number, high) in [(437, CP437_HIGH), (850, CP850_HIGH)] {
        let mut units = [0; 256];
        for (byte, unit) in (0..).zip(&mut units) {
            *unit = byte;
        }
        units[128..].copy_from_slice(&high);
        tables.insert(number, Table::new(units));
    }
    tables
});

impl CodePage {
    fn encoding(self) -> Option<&'static Encoding> {
        let label = match self.0 {
            932 => "shift_jis",
            936 => "gbk",
            949 => "euc-kr",
            950 => "big5",
            874 => "windows-874",
            1250 => "windows-1250",
            1251 => "windows-1251",
            1252 => "windows-1252",
            1253 => "windows-1253",
            1254 => "windows-1254",
            1255 => "windows-1255",
            1256 => "windows-1256",
            1257 => "windows-1257",
            1258 => "windows-1258",
            65001 => "utf-8",
            _ => return None,
        };
        Encoding::for_label(label.as_bytes())
    }

    /// Whether a character may take more than one byte.
    pub fn is_wide(self) -> bool {
        matches!(self.0, 932 | 936 | 949 | 950 | 65001)
    }

    /// The UTF-16 of bytes in this page.
    pub fn decode(self, bytes: &[u8]) -> Vec<u16> {
        if self == LATIN_1 {
            return bytes.iter().map(|byte| super::unit_of_byte(*byte)).collect();
        }
        if let Some(table) = TABLES.get(&self.0) {
            return bytes.iter().map(|byte| table.units[usize::from(*byte)]).collect();
        }
        match self.encoding() {
            Some(encoding) => {
                encoding.decode_without_bom_handling(bytes).0.encode_utf16().collect()
            }
            None => bytes.iter().map(|byte| u16::from(*byte)).collect(),
        }
    }

    /// The bytes of UTF-16 in this page.
    pub fn encode(self, units: &[u16]) -> Vec<u8> {
        if self == LATIN_1 {
            return units.iter().map(|unit| super::byte_of_unit(*unit)).collect();
        }
        if let Some(table) = TABLES.get(&self.0) {
            let byte_of = |unit: &u16| match table.bytes.get(unit) {
                Some(byte) => *byte,
                None => best_fit(self, *unit).and_then(|fit| fit.first().copied()).unwrap_or(b'?'),
            };
            return units.iter().map(byte_of).collect();
        }
        let mut out = Vec::with_capacity(units.len() * 2);
        for decoded in char::decode_utf16(units.iter().copied()) {
            match decoded {
                Ok(c) if self == UTF_8 => {
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Ok(c) => self.encode_char(c, &mut out),
                // UTF-8 has no lone surrogates.
                Err(_) if self == UTF_8 => out.extend_from_slice("\u{FFFD}".as_bytes()),
                Err(_) => out.push(b'?'),
            }
        }
        out
    }

    fn encode_char(self, c: char, out: &mut Vec<u8>) {
        let mut bytes = [0; 8];
        let encoded = self.encoding().and_then(|encoding| {
            let mut encoder = encoding.new_encoder();
            let text = &*c.encode_utf8(&mut [0; 4]).to_owned();
            match encoder.encode_from_utf8_without_replacement(text, &mut bytes, true) {
                (EncoderResult::InputEmpty, _, written) => Some(written),
                _ => None,
            }
        });
        let fit = || u16::try_from(u32::from(c)).ok().and_then(|unit| best_fit(self, unit));
        match encoded.map(|written| &bytes[..written]).or_else(fit) {
            Some(bytes) => out.extend_from_slice(bytes),
            None => out.extend(std::iter::repeat_n(b'?', c.len_utf16())),
        }
    }

    /// The longest part of at most `limit` bytes that ends between two characters.
    pub fn cut(self, bytes: &[u8], limit: usize) -> &[u8] {
        if bytes.len() <= limit || !self.is_wide() {
            return &bytes[..bytes.len().min(limit)];
        }
        let mut at = 0;
        while at < limit {
            let length = self.character_length(&bytes[at..]);
            if at + length > limit {
                break;
            }
            at += length;
        }
        &bytes[..at]
    }

    /// Bytes of the first character.
    fn character_length(self, bytes: &[u8]) -> usize {
        let length = match (self.0, bytes.first().copied().unwrap_or_default()) {
            (65001, 0xC0..=0xDF) => 2,
            (65001, 0xE0..=0xEF) => 3,
            (65001, 0xF0..) => 4,
            (65001, _) | (_, 0..=0x80) => 1,
            // Half-width kana take a byte.
            (932, 0xA0..=0xDF) => 1,
            _ => 2,
        };
        length.min(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn pages_keep_their_own_letters_and_nothing_else() {
        for (number, text) in [
            (1250, "Za\u{17C}\u{F3}\u{142}\u{107}"),
            (1251, "\u{41F}\u{440}\u{438}\u{432}\u{435}\u{442}"),
            (1252, "na\u{EF}ve \u{20AC}"),
            (1253, "\u{3B1}\u{3B2}\u{3B3}"),
            (1254, "\u{130}\u{131}\u{15F}"),
            (1255, "\u{5E9}\u{5DC}"),
            (1256, "\u{633}\u{644}"),
            (1257, "\u{101}\u{161}"),
            (1258, "\u{111}\u{20AB}"),
            (874, "\u{E01}\u{E02}"),
            (932, "\u{65E5}\u{672C} \u{FF76}"),
            (936, "\u{4E2D}\u{6587} \u{20AC}"),
            (949, "\u{D55C}\u{AE00}"),
            (950, "\u{7E41}\u{9AD4}"),
            (437, "\u{2554}\u{E9}\u{3B1}"),
            (850, "\u{2554}\u{E9}\u{C0}"),
            (65001, "\u{1F600} \u{E9}"),
        ] {
            let page = CodePage(number);
            let bytes = page.encode(&units(text));
            assert_eq!(page.decode(&bytes), units(text), "{number}");
            if number != 65001 {
                assert_eq!(page.encode(&units("\u{1F600}")), b"??", "{number}");
            }
            for byte in 0..0x80 {
                assert_eq!(page.decode(&[byte]), [u16::from(byte)], "{number}");
            }
        }
        assert_eq!(CodePage(1251).encode(&units("\u{E9}\u{410}\u{4E2D}")), [b'e', 0xC0, b'?']);
        assert_eq!(CodePage(437).encode(&units("\u{E9}")), [0x82]);
        assert_eq!(UTF_8.encode(&[0xD800]), "\u{FFFD}".as_bytes());
    }

    #[test]
    fn what_a_page_does_not_have_becomes_its_best_fit() {
        // `c` with caron, `A` with macron, full-width `A`, infinity, a Greek letter, a Chinese one.
        let text = "c\u{10D}\u{100}\u{FF21}\u{221E}\u{3B1}\u{4E2D}";
        for (page, wanted) in [
            (1252, "ccAA8a?"),
            (1254, "ccAA???"),
            (1250, "c\u{10D}AA???"),
            (1257, "c\u{10D}\u{100}A???"),
        ] {
            let page = CodePage(page);
            assert_eq!(page.decode(&page.encode(&units(text))), units(wanted), "{page:?}");
        }
        assert_eq!(CodePage(932).encode(&units("\u{E9}\u{A9}\u{AE}\u{1F600}")), b"ecR??");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(UTF_8.cut("a\u{E9}\u{4E16}".as_bytes(), 5), "a\u{E9}".as_bytes());
        assert_eq!(UTF_8.cut("\u{1F600}".as_bytes(), 3), b"");
        let japanese = CodePage(932).encode(&units("\u{65E5}\u{FF76}\u{65E5}"));
        assert_eq!(CodePage(932).cut(&japanese, 4), &japanese[..3]);
        assert_eq!(LATIN_1.cut(b"abc", 2), b"ab");
    }
}
