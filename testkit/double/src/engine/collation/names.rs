//! Names of collations, and what a name says: a family, a version, what counts.
//!
//! <https://learn.microsoft.com/sql/t-sql/statements/windows-collation-name-transact-sql>,
//! <https://learn.microsoft.com/sql/t-sql/statements/sql-server-collation-name-transact-sql>

use super::pages::{CodePage, LATIN_1, UTF_8};

/// Collations of one name but for what follows it.
pub struct Family {
    /// The beginning of the name.
    pub prefix: &'static str,
    /// Code page.
    pub page: u16,
    /// LCID, with its sort in the upper bits.
    pub lcid: u32,
    /// Styles and their sort orders of a family older than Windows collations; none for one of
    /// Windows.
    pub sorts: &'static [(&'static str, u8)],
}

const fn windows(prefix: &'static str, page: u16, lcid: u32) -> Family {
    Family { prefix, page, lcid, sorts: &[] }
}

/// All families; their places are kept in files, so new ones go to the end. The first is the
/// server's.
pub static FAMILIES: [Family; 56] = [
    Family {
        prefix: "SQL_Latin1_General_CP1",
        page: 1252,
        lcid: 0x0409,
        sorts: &[("CI_AS", 52), ("CS_AS", 51), ("CI_AI", 54)],
    },
    windows("Latin1_General", 1252, 0x0409),
    Family {
        prefix: "SQL_Latin1_General_CP437",
        page: 437,
        lcid: 0x0409,
        sorts: &[("BIN", 30), ("CS_AS", 31), ("CI_AS", 32), ("CI_AI", 34), ("BIN2", 35)],
    },
    Family {
        prefix: "SQL_Latin1_General_CP850",
        page: 850,
        lcid: 0x0409,
        sorts: &[("BIN", 40), ("CS_AS", 41), ("CI_AS", 42), ("CI_AI", 44), ("BIN2", 45)],
    },
    Family {
        prefix: "SQL_Latin1_General_CP1250",
        page: 1250,
        lcid: 0x0409,
        sorts: &[("CS_AS", 81), ("CI_AS", 82)],
    },
    Family {
        prefix: "SQL_Latin1_General_CP1251",
        page: 1251,
        lcid: 0x0409,
        sorts: &[("CS_AS", 105), ("CI_AS", 106)],
    },
    Family {
        prefix: "SQL_Latin1_General_CP1253",
        page: 1253,
        lcid: 0x0408,
        sorts: &[("CS_AS", 113), ("CI_AS", 114), ("CI_AI", 124)],
    },
    Family {
        prefix: "SQL_Latin1_General_CP1254",
        page: 1254,
        lcid: 0x041F,
        sorts: &[("CS_AS", 129), ("CI_AS", 130)],
    },
    Family {
        prefix: "SQL_Latin1_General_CP1255",
        page: 1255,
        lcid: 0x040D,
        sorts: &[("CS_AS", 137), ("CI_AS", 138)],
    },
    Family {
        prefix: "SQL_Latin1_General_CP1256",
        page: 1256,
        lcid: 0x0401,
        sorts: &[("CS_AS", 145), ("CI_AS", 146)],
    },
    Family {
        prefix: "SQL_Latin1_General_CP1257",
        page: 1257,
        lcid: 0x0425,
        sorts: &[("CS_AS", 153), ("CI_AS", 154)],
    },
    Family {
        prefix: "SQL_Czech_CP1250",
        page: 1250,
        lcid: 0x0405,
        sorts: &[("CS_AS", 83), ("CI_AS", 84)],
    },
    Family {
        prefix: "SQL_Hungarian_CP1250",
        page: 1250,
        lcid: 0x040E,
        sorts: &[("CS_AS", 85), ("CI_AS", 86)],
    },
    Family {
        prefix: "SQL_Polish_CP1250",
        page: 1250,
        lcid: 0x0415,
        sorts: &[("CS_AS", 87), ("CI_AS", 88)],
    },
    Family {
        prefix: "SQL_Ukrainian_CP1251",
        page: 1251,
        lcid: 0x0422,
        sorts: &[("CS_AS", 107), ("CI_AS", 108)],
    },
    windows("Albanian", 1250, 0x041C),
    windows("Arabic", 1256, 0x0401),
    windows("Chinese_PRC", 936, 0x0804),
    windows("Chinese_PRC_Stroke", 936, 0x2_0804),
    windows("Chinese_Simplified_Pinyin", 936, 0x0804),
    windows("Chinese_Taiwan_Stroke", 950, 0x0404),
    windows("Chinese_Taiwan_Bopomofo", 950, 0x3_0404),
    windows("Chinese_Traditional_Stroke_Count", 950, 0x0404),
    windows("Croatian", 1250, 0x041A),
    windows("Cyrillic_General", 1251, 0x0419),
    windows("Czech", 1250, 0x0405),
    windows("Danish_Norwegian", 1252, 0x0406),
    windows("Danish_Greenlandic", 1252, 0x0406),
    windows("Norwegian", 1252, 0x0414),
    windows("Estonian", 1257, 0x0425),
    windows("Finnish_Swedish", 1252, 0x040B),
    windows("French", 1252, 0x040C),
    windows("Georgian_Modern_Sort", 1252, 0x1_0437),
    windows("German_PhoneBook", 1252, 0x1_0407),
    windows("Greek", 1253, 0x0408),
    windows("Hebrew", 1255, 0x040D),
    windows("Hungarian", 1250, 0x040E),
    windows("Icelandic", 1252, 0x040F),
    windows("Japanese", 932, 0x0411),
    windows("Japanese_XJIS", 932, 0x0411),
    windows("Japanese_Bushu_Kakusu", 932, 0x4_0411),
    windows("Korean", 949, 0x0412),
    windows("Korean_Wansung", 949, 0x0412),
    windows("Latvian", 1257, 0x0426),
    windows("Lithuanian", 1257, 0x0427),
    windows("Modern_Spanish", 1252, 0x0C0A),
    windows("Traditional_Spanish", 1252, 0x040A),
    windows("Polish", 1250, 0x0415),
    windows("Romanian", 1250, 0x0418),
    windows("Thai", 874, 0x041E),
    windows("Turkish", 1254, 0x041F),
    windows("Ukrainian", 1251, 0x0422),
    windows("Slovak", 1250, 0x041B),
    windows("Slovenian", 1250, 0x0424),
    windows("Vietnamese", 1258, 0x042A),
    windows("Serbian_Latin", 1250, 0x241A),
];

/// A family by its place.
pub fn family(at: usize) -> &'static Family {
    FAMILIES.get(at).unwrap_or(&FAMILIES[0])
}

/// What a name says behind its family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// 0, 90, 100 or 140.
    pub version: u8,
    /// `CS`
    pub case: bool,
    /// `AI`
    pub no_accents: bool,
    /// `KS`
    pub kana: bool,
    /// `WS`
    pub width: bool,
    /// `SC`
    pub supplementary: bool,
    /// `UTF8`
    pub utf8: bool,
    /// `BIN`
    pub binary: bool,
    /// `BIN2`
    pub binary2: bool,
}

/// Family and style of a name.
pub fn parse(name: &str) -> Option<(usize, Style)> {
    let strip = |prefix: &str| {
        let rest = name
            .get(prefix.len()..)
            .filter(|_| name[..prefix.len()].eq_ignore_ascii_case(prefix))?;
        rest.strip_prefix('_')
    };
    FAMILIES
        .iter()
        .enumerate()
        .filter(|(_, family)| name.is_char_boundary(family.prefix.len().min(name.len())))
        .filter(|(_, family)| name.len() > family.prefix.len())
        .find_map(|(at, family)| Some((at, style(strip(family.prefix)?, family)?)))
}

fn style(rest: &str, family: &Family) -> Option<Style> {
    let rest = rest.to_ascii_uppercase();
    let mut parts = rest.split('_').peekable();
    let mut style = Style::default();
    if let Some(version) = parts.peek().and_then(|part| part.parse().ok()) {
        style.version = version;
        parts.next();
    }
    match parts.next()? {
        "BIN" => style.binary = true,
        "BIN2" => style.binary2 = true,
        case @ ("CI" | "CS") => {
            style.case = case == "CS";
            style.no_accents = match parts.next()? {
                "AI" => true,
                "AS" => false,
                _ => return None,
            };
            for (part, flag) in [
                ("KS", &mut style.kana),
                ("WS", &mut style.width),
                ("SC", &mut style.supplementary),
            ] {
                *flag = parts.next_if(|next| *next == part).is_some();
            }
        }
        _ => return None,
    }
    style.utf8 = parts.next_if(|next| *next == "UTF8").is_some();
    let fits = match family.sorts {
        [] => {
            matches!(style.version, 0 | 90 | 100 | 140)
                && (!style.supplementary || style.version >= 90)
                && (!style.utf8
                    || (style.version >= 100
                        && (style.supplementary || style.binary2 || style.version >= 140)))
        }
        sorts => sorts.iter().any(|(known, _)| *known == rest),
    };
    (fits && parts.next().is_none()).then_some(style)
}

/// The name of a family and style.
pub fn name(family: &Family, style: Style) -> String {
    let mut name = family.prefix.to_owned();
    let mut add = |part: &str| {
        name.push('_');
        name.push_str(part);
    };
    if style.version > 0 {
        add(&style.version.to_string());
    }
    if style.binary || style.binary2 {
        add(if style.binary { "BIN" } else { "BIN2" });
    } else {
        add(if style.case { "CS" } else { "CI" });
        add(if style.no_accents { "AI" } else { "AS" });
        for (part, flag) in [("KS", style.kana), ("WS", style.width), ("SC", style.supplementary)] {
            if flag {
                add(part);
            }
        }
    }
    if style.utf8 {
        add("UTF8");
    }
    name
}

/// The five bytes that tell clients of a collation ([MS-TDS] 2.2.5.1.2).
pub fn wire(family: &Family, style: Style) -> [u8; 5] {
    let flag = |set: bool, bit: u32| if set { 1 << bit } else { 0 };
    let dictionary = !style.binary && !style.binary2;
    let info = family.lcid
        | flag(dictionary && !style.case, 20)
        | flag(dictionary && style.no_accents, 21)
        | flag(dictionary && !style.kana, 22)
        | flag(dictionary && !style.width, 23)
        | flag(style.binary, 24)
        | flag(style.binary2, 25)
        | flag(style.utf8, 26)
        | match style.version {
            0 => 0,
            90 => 1 << 28,
            100 => 2 << 28,
            _ => 3 << 28,
        };
    let own = name(family, style);
    let of =
        |(style, _): &&(&str, u8)| own[family.prefix.len()..].trim_start_matches('_') == *style;
    let sort = family.sorts.iter().find(of).map_or(0, |(_, sort)| *sort);
    let [a, b, c, d] = info.to_le_bytes();
    [a, b, c, d, sort]
}

/// The code page of strings under a collation that a client names; none if it is not known.
pub fn page_of_wire([a, b, c, d, sort]: [u8; 5]) -> Option<CodePage> {
    let info = u32::from_le_bytes([a, b, c, d]);
    if info & (1 << 26) != 0 {
        return Some(UTF_8);
    }
    let page = match sort {
        0 => return page_of_language(info & 0xFFFF),
        30..=35 => 437,
        40..=49 | 55..=61 => 850,
        50..=54 | 71..=75 | 183..=186 | 210..=217 => 1252,
        80..=98 => 1250,
        104..=108 => 1251,
        112..=124 => 1253,
        128..=130 => 1254,
        136..=138 => 1255,
        144..=146 => 1256,
        152..=160 => 1257,
        192 | 193 | 200 => 932,
        194 | 195 | 201 => 949,
        196 | 197 | 202 => 950,
        198 | 199 | 203 => 936,
        204..=206 => 874,
        _ => return None,
    };
    Some(CodePage(page))
}

/// The page of a language; a collation of zeros means the server's own.
fn page_of_language(language: u32) -> Option<CodePage> {
    let cyrillic = matches!(language, 0x0C1A | 0x1C1A | 0x201A | 0x082C | 0x0843);
    let page = match (language & 0x3FF, language) {
        _ if cyrillic => 1251,
        (
            0x00
            | 0x03
            | 0x06
            | 0x07
            | 0x09..=0x0C
            | 0x0F
            | 0x10
            | 0x13
            | 0x14
            | 0x16
            | 0x17
            | 0x1D,
            _,
        ) => {
            return Some(LATIN_1);
        }
        (0x01 | 0x20 | 0x29 | 0x80 | 0x8C, _) => 1256,
        (0x02 | 0x19 | 0x22 | 0x23 | 0x28 | 0x2F | 0x3F | 0x40 | 0x44 | 0x50 | 0x6D | 0x85, _) => {
            1251
        }
        (0x04, 0x0404 | 0x0C04 | 0x1404) => 950,
        (0x04, _) => 936,
        (0x05 | 0x0E | 0x15 | 0x18 | 0x1A | 0x1B | 0x1C | 0x24 | 0x42, _) => 1250,
        (0x08, _) => 1253,
        (0x0D, _) => 1255,
        (0x11, _) => 932,
        (0x12, _) => 949,
        (0x1E, _) => 874,
        (0x1F | 0x2C | 0x43, _) => 1254,
        (0x25..=0x27, _) => 1257,
        (0x2A, _) => 1258,
        (0x21 | 0x2D | 0x2E | 0x36 | 0x38 | 0x37 | 0x3E | 0x41 | 0x52 | 0x56 | 0x6E, _) => 1252,
        _ => return None,
    };
    Some(CodePage(page))
}
