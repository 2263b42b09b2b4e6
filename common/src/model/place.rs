//! A place in the order of the source's transactions, as people write it: in the configuration and on
//! command lines.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Position;

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `earliest`: the oldest there is.
    Earliest,
    /// `now`: after everything there is.
    Now,
    /// `offset:N`: an offset of the log.
    Offset(u64),
    /// `position:P`: after the transaction at this position, `position:1/00000027:00000758:0005`.
    Position(Position),
    /// `time:T`: the first transaction committed at or after this time, 100 ns since 1970-01-01Z, written as
    /// in RFC 3339, `time:2026-11-23T10:00:00Z`.
    Time(i64),
}

/// Every way to write a place.
pub const PLACES: &str = "`earliest`, `now`, `offset:N`, `position:P` (such as \
                          position:1/00000027:00000758:0005) or `time:T` (such as time:2026-11-23T10:00:00Z)";

/// A position may also stand alone.
impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let place = match text.split_once(':') {
            None if text == "earliest" => Some(Place::Earliest),
            None if text == "now" => Some(Place::Now),
            Some(("offset", offset)) => offset.parse().ok().map(Place::Offset),
            Some(("position", position)) => position.parse().ok().map(Place::Position),
            Some(("time", time)) => ticks(time).map(Place::Time),
            _ => text.parse().ok().map(Place::Position),
        };
        place.ok_or_else(|| format!("`{text}` is not a place: write {PLACES}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Earliest => f.write_str("earliest"),
            Place::Now => f.write_str("now"),
            Place::Offset(offset) => write!(f, "offset:{offset}"),
            Place::Position(position) => write!(f, "position:{position}"),
            Place::Time(ticks) => {
                let nanos = i128::from(*ticks) * 100;
                let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
                match time.and_then(|time| time.format(&Rfc3339).ok()) {
                    Some(time) => write!(f, "time:{time}"),
                    None => Err(fmt::Error),
                }
            }
        }
    }
}

/// 100 ns since 1970-01-01Z. A time without an offset is UTC, and a blank may stand for the T.
fn ticks(text: &str) -> Option<i64> {
    let with_t = text.replacen(' ', "T", 1);
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let time = parse(&with_t).or_else(|| parse(&format!("{with_t}Z")))?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_documented_and_written_the_same() {
        let position = "1/00000027:00000758:0005";
        let at = position.parse().expect("a position");
        for (text, place) in [
            ("earliest", Place::Earliest),
            ("now", Place::Now),
            ("offset:7", Place::Offset(7)),
            (" offset:7 ", Place::Offset(7)),
            (position, Place::Position(at)),
            (&format!("position:{position}"), Place::Position(at)),
            ("time:1970-01-01T01:00:01.0000001+01:00", Place::Time(10_000_001)),
            ("time:1970-01-01T00:00:01Z", Place::Time(10_000_000)),
            ("time:1970-01-01 00:00:01", Place::Time(10_000_000)),
            ("time:1969-12-31T23:59:59Z", Place::Time(-10_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
            assert_eq!(place.to_string().parse(), Ok(place), "{text}");
        }
        for wrong in ["", "latest", "offset:-1", "time:yesterday", "position:1", "time:", "NOW"] {
            let refused = wrong.parse::<Place>().expect_err(wrong);
            assert!(refused.contains("time:2026-11-23T10:00:00Z"), "{refused}");
        }
    }
}
