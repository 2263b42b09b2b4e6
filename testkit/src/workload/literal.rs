//! T-SQL literals, given and random.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::shape::Type;

/// `N'…'`
pub fn text(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// `0x…`
pub fn bytes(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
    format!("0x{digits}")
}

/// A value of `ty`: ordinary ones, and now and then one from an edge of its range.
pub fn random(ty: Type, rng: &mut StdRng) -> String {
    match ty {
        Type::Bit => rng.random_range(0..=1u8).to_string(),
        Type::TinyInt => edge(rng, &["0", "255"], |rng| rng.random::<u8>().to_string()),
        Type::SmallInt => edge(rng, &["-32768", "32767"], |rng| rng.random::<i16>().to_string()),
        Type::Int => {
            edge(rng, &["-2147483648", "2147483647"], |rng| rng.random::<i32>().to_string())
        }
        Type::BigInt => edge(rng, &["-9223372036854775808", "9223372036854775807"], |rng| {
            rng.random::<i64>().to_string()
        }),
        Type::Decimal(precision, scale) => decimal(precision, scale, rng),
        Type::Money => {
            edge(rng, &["-922337203685477.5808", "922337203685477.5807"], |rng| decimal(16, 4, rng))
        }
        Type::SmallMoney => edge(rng, &["-214748.3648", "214748.3647"], |rng| decimal(9, 4, rng)),
        Type::Float => {
            edge(rng, &["0e0", "1.7976931348623157e308", "2.2250738585072014e-308"], |rng| {
                format!("{:e}", (rng.random::<f64>() - 0.5) * 10f64.powi(rng.random_range(-30..30)))
            })
        }
        Type::Real => edge(rng, &["0e0", "3.4028235e38", "1.1754944e-38"], |rng| {
            format!("{:e}", (rng.random::<f32>() - 0.5) * 10f32.powi(rng.random_range(-20..20)))
        }),
        Type::Char(n) | Type::VarChar(n) => text(&letters(rng, usize::from(n), LATIN)),
        Type::VarCharMax => text(&long_letters(rng, LATIN)),
        Type::NChar(n) | Type::NVarChar(n) => text(&letters(rng, usize::from(n), ANY)),
        Type::NVarCharMax => text(&long_letters(rng, ANY)),
        Type::Binary(n) | Type::VarBinary(n) => {
            let length = rng.random_range(0..=usize::from(n));
            bytes(&random_bytes(rng, length))
        }
        Type::VarBinaryMax => {
            let length = long_length(rng);
            bytes(&random_bytes(rng, length))
        }
        Type::Date => {
            edge(rng, &["'0001-01-01'", "'9999-12-31'"], |rng| format!("'{}'", date(rng, 1, 9999)))
        }
        Type::Time(digits) => format!("'{}'", clock(rng, digits)),
        Type::DateTime => {
            edge(rng, &["'1753-01-01T00:00:00.000'", "'9999-12-31T23:59:59.997'"], |rng| {
                format!("'{}T{}'", date(rng, 1753, 9998), clock(rng, 3))
            })
        }
        Type::SmallDateTime => format!(
            "'{}T{:02}:{:02}:00'",
            date(rng, 1900, 2078),
            rng.random_range(0..24),
            rng.random_range(0..60)
        ),
        Type::DateTime2(digits) => format!("'{}T{}'", date(rng, 1, 9999), clock(rng, digits)),
        Type::DateTimeOffset(digits) => {
            let minutes: i32 = rng.random_range(-14 * 60..=14 * 60);
            let sign = if minutes < 0 { '-' } else { '+' };
            let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
            format!("'{}T{}{sign}{hours:02}:{rest:02}'", date(rng, 2, 9998), clock(rng, digits))
        }
        Type::UniqueIdentifier => format!("'{}'", uuid(rng)),
    }
}

/// A random UUID in lower case.
pub fn uuid(rng: &mut StdRng) -> uuid::Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

fn edge(rng: &mut StdRng, edges: &[&str], ordinary: impl Fn(&mut StdRng) -> String) -> String {
    match edges.choose(rng) {
        Some(edge) if rng.random_ratio(1, 12) => (*edge).to_owned(),
        _ => ordinary(rng),
    }
}

fn decimal(precision: u8, scale: u8, rng: &mut StdRng) -> String {
    let mut digits = |n: u8| -> String {
        (0..n).map(|_| char::from(b'0' + rng.random_range(0..10u8))).collect()
    };
    let whole = digits(precision - scale);
    let fraction = digits(scale);
    let sign = if rng.random() { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { &whole };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// What code page 1252 holds.
const LATIN: &[char] =
    &['a', 'b', 'Z', '0', '9', ' ', '\'', '"', '\\', '%', '\t', '\n', 'é', 'ß', 'Ø', '€', '\u{a0}'];
/// What UTF-16 holds: also what needs a surrogate pair.
const ANY: &[char] =
    &['a', 'Z', '7', ' ', '\'', '\\', '|', '\r', '\n', 'é', 'Ж', 'あ', '漢', '\u{200d}', '🚚', '𝄞'];

/// Text of at most `max` UTF-16 units.
fn letters(rng: &mut StdRng, max: usize, alphabet: &[char]) -> String {
    let length = rng.random_range(0..=max);
    let mut units = 0;
    (0..length)
        .map_while(|_| {
            let letter = *alphabet.choose(rng).expect("an alphabet has letters");
            units += letter.len_utf16();
            (units <= max).then_some(letter)
        })
        .collect()
}

fn long_letters(rng: &mut StdRng, alphabet: &[char]) -> String {
    let max = long_length(rng);
    letters(rng, max, alphabet)
}

/// Lengths of MAX values: mostly short, sometimes over a page, seldom over several packets. Never
/// over 65,536 bytes, which is all that a server replicates before `max text repl size` is raised.
fn long_length(rng: &mut StdRng) -> usize {
    match rng.random_range(0..20) {
        0 => rng.random_range(16_000..32_000),
        1..4 => rng.random_range(4_000..12_000),
        _ => rng.random_range(0..200),
    }
}

fn random_bytes(rng: &mut StdRng, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    rng.fill(out.as_mut_slice());
    out
}

fn date(rng: &mut StdRng, first_year: u32, last_year: u32) -> String {
    let year = rng.random_range(first_year..=last_year);
    format!("{year:04}-{:02}-{:02}", rng.random_range(1..=12), rng.random_range(1..=28))
}

fn clock(rng: &mut StdRng, digits: u8) -> String {
    let (hour, minute, second) =
        (rng.random_range(0..24), rng.random_range(0..60), rng.random_range(0..60));
    let whole = format!("{hour:02}:{minute:02}:{second:02}");
    if digits == 0 {
        return whole;
    }
    let fraction: String =
        (0..digits).map(|_| char::from(b'0' + rng.random_range(0..10u8))).collect();
    format!("{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn text_stays_within_its_units_and_quotes_are_doubled() {
        let mut rng = StdRng::seed_from_u64(1);
        for max in [1, 2, 10, 40] {
            for _ in 0..500 {
                assert!(letters(&mut rng, max, ANY).encode_utf16().count() <= max);
            }
        }
        assert_eq!(text("it's"), "N'it''s'");
        assert_eq!(bytes(&[0, 255]), "0x00FF");
    }

    #[test]
    fn the_same_seed_gives_the_same_values() {
        let draw = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            (0..50).map(|_| random(Type::DateTimeOffset(7), &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
