//! A place in the log as people write it: in the configuration and on command lines.

use std::str::FromStr;

use lockstep_common::Position;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Seek;

/// `earliest`, `offset:N`, `position:P` (the first transaction after P) or `time:T` (RFC 3339).
impl FromStr for Seek {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = match text.split_once(':') {
            None if text == "earliest" => Some(Seek::Earliest),
            Some(("offset", offset)) => offset.parse().ok().map(Seek::Offset),
            Some(("position", position)) => position.parse::<Position>().ok().map(Seek::After),
            Some(("time", time)) => ticks(time).map(Seek::Time),
            _ => None,
        };
        place.ok_or_else(|| {
            format!(
                "`{text}` is not a place in the log; use earliest, offset:N, position:P (such as \
                 1/00000027:00000758:0005) or time:T (such as 2026-11-23T10:00:00Z)"
            )
        })
    }
}

/// 100 ns since 1970-01-01Z.
fn ticks(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_documented() {
        assert_eq!("earliest".parse(), Ok(Seek::Earliest));
        assert_eq!("offset:7".parse(), Ok(Seek::Offset(7)));
        let position = "1/00000027:00000758:0005";
        let expected = position.parse().expect("a position");
        assert_eq!(format!("position:{position}").parse(), Ok(Seek::After(expected)));
        assert_eq!("time:1970-01-01T01:00:01.0000001+01:00".parse(), Ok(Seek::Time(10_000_001)));
        for wrong in ["", "latest", "offset:-1", "time:yesterday", "position:1"] {
            assert!(wrong.parse::<Seek>().is_err(), "{wrong}");
        }
    }
}
