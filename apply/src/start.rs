//! Where apply starts on a target that has no checkpoint.
//!
//! A target with a checkpoint goes on from it. The start that was chosen is kept beside the
//! checkpoint, so that leaving it in the configuration is harmless, and choosing another one is
//! refused: it would skip or repeat transactions. Only a reset takes a checkpoint away.

use std::fmt;
use std::time::UNIX_EPOCH;

use lockstep_common::Code;
use lockstep_common::{Failure, Position};
use lockstep_log::Seek;

/// A start point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The oldest record of the log.
    Earliest,
    /// The first transaction that begins at or after an offset.
    Offset(u64),
    /// The first transaction above a position.
    After(Position),
    /// The first transaction at or after a time, 100 ns since 1970-01-01Z.
    Time(i64),
}

impl Start {
    /// Reads `earliest`, `offset:N`, `position:P` or `time:T`; none is `earliest`.
    ///
    /// # Errors
    /// `Halt` for anything else.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text.map(str::trim) else { return Ok(Start::Earliest) };
        let parsed = match text.split_once(':') {
            None if text == "earliest" => Some(Start::Earliest),
            Some(("offset", offset)) => offset.parse().ok().map(Start::Offset),
            Some(("position", position)) => position.parse().ok().map(Start::After),
            Some(("time", time)) => parse_time(time).map(Start::Time),
            _ => None,
        };
        parsed.ok_or_else(|| {
            Failure::new(Code::ApplyStart, format!("`{text}` is not a start point")).remedy(
                "use `earliest`, `offset:N`, `position:1/00000027:00000758:0005` or \
                 `time:2026-11-23T10:00:00Z`",
            )
        })
    }

    /// Where the log's reader goes.
    pub(crate) fn seek(self) -> Seek {
        match self {
            Start::Earliest => Seek::Earliest,
            Start::Offset(offset) => Seek::Offset(offset),
            Start::After(position) => Seek::After(position),
            Start::Time(time) => Seek::Time(time),
        }
    }
}

/// As it is stored beside the checkpoint: the same start has the same text.
impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Earliest => f.write_str("earliest"),
            Start::Offset(offset) => write!(f, "offset:{offset}"),
            Start::After(position) => write!(f, "position:{position}"),
            Start::Time(ticks) => write!(f, "time:{ticks}"),
        }
    }
}

fn parse_time(text: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    let nanos = time.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    i64::try_from(nanos / 100).ok()
}

/// Holds the configured start against what the target says.
///
/// # Errors
/// `Halt` for another start than the one the target's checkpoint began with.
pub(crate) fn agree(
    configured: Option<Start>,
    stored: Option<&str>,
    checkpoint: Option<Position>,
) -> Result<(), Failure> {
    let (Some(start), Some(position)) = (configured, checkpoint) else { return Ok(()) };
    if stored == Some(start.to_string().as_str()) {
        return Ok(());
    }
    Err(Failure::new(
        Code::ApplyStart,
        format!(
            "the target has a checkpoint at {position}; start point `{start}` would skip or repeat \
             transactions"
        ),
    )
    .remedy("remove `start` to go on from the checkpoint, or reset the target first"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_start_points() {
        let start = |text: &str| Start::parse(Some(text)).unwrap();
        assert_eq!(Start::parse(None).unwrap(), Start::Earliest);
        assert_eq!(start("offset:7"), Start::Offset(7));
        assert_eq!(
            start("position:1/00000027:00000758:0005").to_string(),
            "position:1/00000027:00000758:0005"
        );
        assert_eq!(start("time:1970-01-01T00:00:01Z"), Start::Time(10_000_000));
        for wrong in ["now", "offset:x", "time:yesterday", "position:7", "latest:"] {
            assert!(Start::parse(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn another_start_than_the_checkpoints_is_refused() {
        let at = Position::new(1, &[1]);
        assert!(agree(None, Some("earliest"), at).is_ok());
        assert!(agree(Some(Start::Earliest), Some("earliest"), at).is_ok());
        assert!(agree(Some(Start::Offset(3)), Some("earliest"), None).is_ok());
        assert!(agree(Some(Start::Offset(3)), Some("earliest"), at).is_err());
    }
}
