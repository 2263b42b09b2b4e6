//! Where a transaction stands in the one total order of a pipeline.
//!
//! A [`Position`] is a timeline and the source's own ordered bytes, compared as unsigned. Only the
//! source knows what the bytes mean (for SQL Server: the commit LSN, ten bytes big-endian).
//! Everything else (envelope, log, spool, checkpoint) stores and compares positions and nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most bytes a source may use for its part of a position.
pub const MAX_SOURCE_BYTES: usize = 24;

/// The source's part of a position: up to [`MAX_SOURCE_BYTES`] bytes in unsigned byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceBytes {
    len: u8,
    bytes: [u8; MAX_SOURCE_BYTES],
}

impl SourceBytes {
    /// Copies `bytes`; `None` if there are more than [`MAX_SOURCE_BYTES`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut out =
            SourceBytes { len: u8::try_from(bytes.len()).ok()?, bytes: [0; MAX_SOURCE_BYTES] };
        out.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(out)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialOrd for SourceBytes {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SourceBytes {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

/// A point in a pipeline's order: first the timeline, then the source's bytes.
///
/// The default is before everything: timeline 0 with no bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    timeline: u32,
    source: SourceBytes,
}

impl Position {
    /// Before every position that a source can give.
    pub const ORIGIN: Position =
        Position { timeline: 0, source: SourceBytes { len: 0, bytes: [0; MAX_SOURCE_BYTES] } };

    /// A position on `timeline`; `None` if `source` is too long.
    pub fn new(timeline: u32, source: &[u8]) -> Option<Self> {
        Some(Position { timeline, source: SourceBytes::new(source)? })
    }

    /// The timeline, from 1; a new one starts only by an operator's command.
    pub fn timeline(&self) -> u32 {
        self.timeline
    }

    /// The source's bytes.
    pub fn source(&self) -> &[u8] {
        self.source.as_slice()
    }

    /// Bytes whose unsigned order is the positions' order: keys of a store.
    pub fn to_key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(4 + self.source().len());
        key.extend_from_slice(&self.timeline.to_be_bytes());
        key.extend_from_slice(self.source());
        key
    }

    /// Reads [`Position::to_key`] back.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let (timeline, source) = key.split_first_chunk::<4>()?;
        Position::new(u32::from_be_bytes(*timeline), source)
    }
}

impl Default for Position {
    fn default() -> Self {
        Position::ORIGIN
    }
}

/// `timeline/` and the bytes in hexadecimal groups of four bytes: `1/00000027:00000758:0005`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.timeline)?;
        for (i, group) in self.source().chunks(4).enumerate() {
            if i > 0 {
                f.write_str(":")?;
            }
            for byte in group {
                write!(f, "{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a position.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a position; expected timeline/bytes such as 1/00000027:00000758:0005")]
pub struct ParsePositionError(String);

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParsePositionError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Position> {
    let (timeline, source) = text.split_once('/')?;
    let digits: Vec<u8> = source.bytes().filter(|b| *b != b':').collect();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    Position::new(timeline.parse().ok()?, &bytes?)
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position() -> impl Strategy<Value = Position> {
        (any::<u32>(), prop::collection::vec(any::<u8>(), 0..=MAX_SOURCE_BYTES))
            .prop_map(|(t, b)| Position::new(t, &b).expect("within the limit"))
    }

    proptest! {
        #[test]
        fn text_and_key_round_trip(p in position()) {
            prop_assert_eq!(p.to_string().parse::<Position>().unwrap(), p);
            prop_assert_eq!(Position::from_key(&p.to_key()).unwrap(), p);
        }

        #[test]
        fn keys_sort_as_positions(a in position(), b in position()) {
            prop_assert_eq!(a.to_key().cmp(&b.to_key()), a.cmp(&b));
        }
    }

    #[test]
    fn reads_as_the_documents_write_it() {
        let p = Position::new(1, &[0, 0, 0, 0x27, 0, 0, 7, 0x58, 0, 5]).unwrap();
        assert_eq!(p.to_string(), "1/00000027:00000758:0005");
        assert!(Position::new(1, &[0; MAX_SOURCE_BYTES + 1]).is_none());
        assert!("1/0g".parse::<Position>().is_err());
        assert!("27".parse::<Position>().is_err());
    }
}
