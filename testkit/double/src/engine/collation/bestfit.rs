//! What Windows puts in the place of a character that a code page does not have: another that
//! looks like it, where there is one. SQL Server converts as Windows does, so that `č` in page 1252
//! is `c`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::pages::CodePage;

/// Bytes by page and character.
static TABLE: LazyLock<HashMap<(u16, u16), Vec<u8>>> = LazyLock::new(|| {
    let mut table = HashMap::new();
    let mut page = 0;
    for line in include_str!("bestfit.txt").lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("page ").map(str::parse) {
            Some(Ok(number)) => page = number,
            _ => line.split_whitespace().filter_map(read).for_each(|run| {
                for at in 0..=run.last - run.first {
                    table.insert((page, run.first + at), run.bytes(at));
                }
            }),
        }
    }
    table
});

/// Characters that follow each other, with bytes that do.
struct Run {
    first: u16,
    last: u16,
    code: u16,
    wide: bool,
}

impl Run {
    fn bytes(&self, at: u16) -> Vec<u8> {
        let bytes = (self.code + at).to_be_bytes();
        bytes[usize::from(!self.wide)..].to_vec()
    }
}

/// `0100=41` or `FF01-FF5E=21`
fn read(text: &str) -> Option<Run> {
    let number = |digits| u16::from_str_radix(digits, 16).ok();
    let (characters, code) = text.split_once('=')?;
    let (first, last) = characters.split_once('-').unwrap_or((characters, characters));
    Some(Run {
        first: number(first)?,
        last: number(last)?,
        code: number(code)?,
        wide: code.len() == 4,
    })
}

/// The bytes that stand for a character in a page that does not have it.
pub fn best_fit(page: CodePage, unit: u16) -> Option<&'static [u8]> {
    TABLE.get(&(page.0, unit)).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        // Counted in the source.
        for (page, count) in [
            (437, 472),
            (850, 468),
            (874, 137),
            (932, 83),
            (936, 412),
            (949, 394),
            (950, 480),
            (1250, 435),
            (1251, 383),
            (1252, 441),
            (1253, 365),
            (1254, 437),
            (1255, 95),
            (1256, 277),
            (1257, 93),
            (1258, 93),
        ] {
            assert_eq!(TABLE.keys().filter(|(known, _)| *known == page).count(), count, "{page}");
        }
    }

    #[test]
    fn a_fit_is_a_character_of_the_page_and_not_the_one_itself() {
        for ((page, unit), bytes) in TABLE.iter() {
            let back = CodePage(*page).decode(bytes);
            assert_eq!(back.len(), 1, "{page} {unit:04X}");
            // Of page 874 the fit of a few is a byte that stands for no character of Unicode.
            let hole = back[0] == 0xFFFD && *page != 874;
            assert!(back[0] != *unit && !hole, "{page} {unit:04X} {bytes:02X?}");
        }
    }
}
