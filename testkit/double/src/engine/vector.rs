//! `vector`: single-precision numbers, kept as [MS-TDS] sends them: a header of eight bytes (0xA9, a
//! version, the count, the base type, three reserved), then the numbers, little-endian.

/// First byte of every value.
const MAGIC: u8 = 0xA9;
/// Layout of the header.
const VERSION: u8 = 1;
/// Base type: `float32`.
const SINGLE: u8 = 0;
const HEADER: usize = 8;

/// Most dimensions of a vector.
pub const MAX_DIMENSIONS: u16 = 1998;

/// The bytes of a vector.
pub fn from_numbers(numbers: &[f32]) -> Option<Vec<u8>> {
    let count = u16::try_from(numbers.len()).ok().filter(|count| *count <= MAX_DIMENSIONS)?;
    let [low, high] = count.to_le_bytes();
    let mut bytes = vec![MAGIC, VERSION, low, high, SINGLE, 0, 0, 0];
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    Some(bytes)
}

/// The numbers of a vector.
pub fn numbers(bytes: &[u8]) -> Option<Vec<f32>> {
    let (header, content) = bytes.split_at_checked(HEADER)?;
    let [MAGIC, VERSION, low, high, SINGLE, ..] = header else {
        return None;
    };
    let numbers: Vec<f32> = content
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect();
    let count = usize::from(u16::from_le_bytes([*low, *high]));
    (numbers.len() == count && content.len() == 4 * count).then_some(numbers)
}

/// As text: a JSON array of numbers with seven digits behind the point.
pub fn to_json(bytes: &[u8], dimensions: u16) -> Option<String> {
    let numbers = numbers(bytes).filter(|numbers| numbers.len() == usize::from(dimensions))?;
    let shown: Vec<String> = numbers
        .iter()
        .map(|number| {
            let text = format!("{number:.7e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:03}", exponent.unsigned_abs())
        })
        .collect();
    Some(format!("[{}]", shown.join(",")))
}

/// From a JSON array of as many numbers as the type has dimensions.
pub fn from_json(text: &str, dimensions: u16) -> Option<Vec<u8>> {
    let parsed: Vec<f64> = serde_json::from_str(text).ok()?;
    if parsed.len() != usize::from(dimensions) {
        return None;
    }
    let numbers: Vec<f32> = parsed.iter().map(|number| *number as f32).collect();
    numbers.iter().all(|number| number.is_finite()).then(|| from_numbers(&numbers))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_keep_their_numbers() {
        let bytes = from_json("[1, -2.5, 1e-3]", 3).expect("three numbers");
        assert_eq!(numbers(&bytes), Some(vec![1.0, -2.5, 0.001]));
        assert_eq!(
            to_json(&bytes, 3).as_deref(),
            Some("[1.0000000e+000,-2.5000000e+000,1.0000000e-003]")
        );
        assert_eq!(from_json("[1, 2]", 3), None);
        assert_eq!(from_json("[1, 1e300, 2]", 3), None);
        assert_eq!(numbers(&bytes[..bytes.len() - 1]), None);
    }
}
