//! `hierarchyid`: a path of labels, each some integers with points between them, as bits in the
//! order of the tree ([MS-SSCLRT] 2.1.7 and after).
//!
//! Every integer takes a prefix that tells its range, its offset in the range with fixed bits mixed
//! in, and a last bit: 1 where a slash follows, 0 where a point does; before a point the integer is
//! stored one larger. So bytes compare as paths do.

/// Most bytes of a value.
const MAX_BYTES: usize = 892;

/// A range of integers: the first, the last, and the bits; `x` is one of the offset's.
type Range = (i64, i64, &'static str);

const RANGES: [Range; 13] = [
    (0, 3, "01xx"),
    (4, 7, "100xx"),
    (8, 15, "101xxx"),
    (16, 79, "110xx0x1xxx"),
    (80, 1103, "1110xxx0xxx0x1xxx"),
    (1104, 5199, "11110xxxxx0xxx0x1xxx"),
    (5200, 4_294_972_495, "111110xxxxxxxxxxxxxxxxxxx0xxxxxx0xxx0x1xxx"),
    (
        4_294_972_496,
        281_479_271_683_151,
        "111111xxxxxxxxxxxxxx0xxxxxxxxxxxxxxxxxxxxx0xxxxxx0xxx0x1xxx",
    ),
    (-8, -1, "00111xxx"),
    (-72, -9, "0010xx0x1xxx"),
    (-4168, -73, "000110xxxxx0xxx0x1xxx"),
    (-4_294_971_464, -4169, "000101xxxxxxxxxxxxxxxxxxx0xxxxxx0xxx0x1xxx"),
    (
        -281_479_271_682_120,
        -4_294_971_465,
        "000100xxxxxxxxxxxxxx0xxxxxxxxxxxxxxxxxxxxx0xxxxxx0xxx0x1xxx",
    ),
];

/// The labels of a path, from the root.
pub type Path = Vec<Vec<i64>>;

/// Reads `/1/2.3/`.
pub fn parse(text: &str) -> Option<Path> {
    let inside = text.trim().strip_prefix('/')?;
    if inside.is_empty() {
        return Some(Vec::new());
    }
    let label = |label: &str| label.split('.').map(|number| number.parse().ok()).collect();
    inside.strip_suffix('/')?.split('/').map(label).collect()
}

/// Writes a path as it is read.
pub fn format(path: &Path) -> String {
    let mut text = String::from("/");
    for label in path {
        let numbers: Vec<String> = label.iter().map(i64::to_string).collect();
        text.push_str(&numbers.join("."));
        text.push('/');
    }
    text
}

/// The bytes of a path; none if an integer has no range or the path is too long.
pub fn encode(path: &Path) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for label in path {
        for (at, number) in label.iter().enumerate() {
            let last = at + 1 == label.len();
            let stored = if last { *number } else { number.checked_add(1)? };
            let (first, _, pattern) =
                RANGES.iter().find(|(first, last, _)| (*first..=*last).contains(&stored))?;
            let offset = stored - first;
            let mut place = pattern.matches('x').count();
            for bit in pattern.chars() {
                bits.push(match bit {
                    'x' => {
                        place -= 1;
                        (offset >> place) & 1 == 1
                    }
                    fixed => fixed == '1',
                });
            }
            bits.push(last);
        }
    }
    let bytes: Vec<u8> = bits
        .chunks(8)
        .map(|eight| {
            eight.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
        })
        .collect();
    (bytes.len() <= MAX_BYTES).then_some(bytes)
}

/// The path that bytes stand for.
pub fn decode(bytes: &[u8]) -> Option<Path> {
    let bits: Vec<bool> =
        bytes.iter().flat_map(|byte| (0..8).map(move |at| byte >> (7 - at) & 1 == 1)).collect();
    let (mut at, mut path, mut label) = (0, Vec::new(), Vec::new());
    // What is left of the last byte is zeros.
    while bits[at..].len() >= 8 || bits[at..].contains(&true) {
        let (number, length) = RANGES.iter().find_map(|range| read(&bits[at..], range))?;
        let last = *bits.get(at + length)?;
        label.push(if last { number } else { number - 1 });
        at += length + 1;
        if last {
            path.push(std::mem::take(&mut label));
        }
    }
    label.is_empty().then_some(path)
}

/// An integer of the range, if the bits are of it, and their number.
fn read(bits: &[bool], (first, last, pattern): &Range) -> Option<(i64, usize)> {
    let mut offset = 0;
    for (bit, expected) in bits.iter().zip(pattern.chars()) {
        match expected {
            'x' => offset = offset << 1 | i64::from(*bit),
            fixed if (fixed == '1') == *bit => {}
            _ => return None,
        }
    }
    let number = first + offset;
    (bits.len() >= pattern.len() && number <= *last).then_some((number, pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Vec<u8> {
        encode(&parse(text).expect(text)).expect(text)
    }

    #[test]
    fn the_documents_examples_have_their_bytes() {
        assert!(bytes("/").is_empty());
        assert_eq!(bytes("/1/"), [0x58]);
        assert_eq!(bytes("/1/1/3/"), [0x5A, 0xDE]);
        assert_eq!(bytes("/1/-2.18/"), [0x59, 0xFB, 0x05, 0x40]);
        assert_eq!(format(&decode(&[0x59, 0xFB, 0x05, 0x40]).expect("a path")), "/1/-2.18/");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "1/", "/1", "//", "/a/", "/1..2/", "/281479271683152/"] {
            assert!(parse(text).and_then(|path| encode(&path)).is_none(), "{text}");
        }
        assert_eq!(decode(&[0x01]), None);
        assert_eq!(decode(&[0x50]), None, "a path does not end in a point");
    }

    proptest! {
        #[test]
        fn paths_come_back_and_sort_as_their_bytes(
            left in prop::collection::vec(prop::collection::vec(label(), 1..4), 0..6),
            right in prop::collection::vec(prop::collection::vec(label(), 1..4), 0..6),
        ) {
            let (l, r) = (encode(&left).expect("in range"), encode(&right).expect("in range"));
            prop_assert_eq!(decode(&l), Some(left.clone()));
            prop_assert_eq!(parse(&format(&left)), Some(left.clone()));
            prop_assert_eq!(l.cmp(&r), left.cmp(&right));
        }
    }

    fn label() -> impl Strategy<Value = i64> {
        prop_oneof![-20..100i64, -5000..6000i64, -281_479_271_682_120..281_479_271_683_150i64]
    }
}
