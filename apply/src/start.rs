//! Where apply starts on a target that has no checkpoint.
//!
//! A target with a checkpoint goes on from it. The start that was chosen is kept beside the
//! checkpoint, so that leaving it in the configuration is harmless, and choosing another one is
//! refused: it would skip or repeat transactions. Only a reset takes a checkpoint away.

use lockstep_common::Code;
use lockstep_common::model::place::Place;
use lockstep_common::{Failure, Position};

/// Reads `apply.start`; none is `earliest`.
///
/// # Errors
/// `Halt` for what is no place.
pub(crate) fn parse(text: Option<&str>) -> Result<Place, Failure> {
    let Some(text) = text else { return Ok(Place::Earliest) };
    text.parse().map_err(|why: String| {
        Failure::new(Code::ApplyStart, format!("apply.start: {why}"))
            .remedy("correct `start`, or remove it to begin with the oldest record")
    })
}

/// A start as it is stored beside the checkpoint: the same start has the same text.
pub(crate) fn stored_text(start: Place) -> String {
    match start {
        Place::Time(ticks) => format!("time:{ticks}"),
        place => place.to_string(),
    }
}

/// `now`, as it is stored: with the offset that it was at the first attach.
pub(crate) fn now_at(offset: u64) -> String {
    format!("now=offset:{offset}")
}

/// Reads [`now_at`].
pub(crate) fn stored_now(stored: &str) -> Option<u64> {
    stored.strip_prefix("now=offset:")?.parse().ok()
}

/// Holds the configured start against what the target says.
///
/// # Errors
/// `Halt` for another start than the one the target's checkpoint began with.
pub(crate) fn agree(
    configured: Option<Place>,
    stored: Option<&str>,
    checkpoint: Option<Position>,
) -> Result<(), Failure> {
    let (Some(start), Some(position)) = (configured, checkpoint) else { return Ok(()) };
    let is_now = start == Place::Now && stored.is_some_and(|stored| stored_now(stored).is_some());
    if is_now || stored == Some(stored_text(start).as_str()) {
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
    fn a_start_is_stored_as_the_same_text() {
        let stored = |text: &str| stored_text(parse(Some(text)).unwrap());
        assert_eq!(parse(None).unwrap(), Place::Earliest);
        for text in ["earliest", "now", "offset:7", "position:1/00000027:00000758:0005"] {
            assert_eq!(stored(text), text);
        }
        assert_eq!(stored("1/00000027:00000758:0005"), "position:1/00000027:00000758:0005");
        assert_eq!(stored("time:1970-01-01T00:00:01Z"), "time:10000000");
        assert!(parse(Some("latest")).is_err());
    }

    #[test]
    fn another_start_than_the_checkpoints_is_refused() {
        let at = Position::new(1, &[1]);
        assert!(agree(None, Some("earliest"), at).is_ok());
        assert!(agree(Some(Place::Earliest), Some("earliest"), at).is_ok());
        assert!(agree(Some(Place::Offset(3)), Some("earliest"), None).is_ok());
        assert!(agree(Some(Place::Offset(3)), Some("earliest"), at).is_err());
        assert!(agree(Some(Place::Now), Some(now_at(7).as_str()), at).is_ok());
        assert!(agree(Some(Place::Now), Some("offset:7"), at).is_err());
        assert_eq!(stored_now(&now_at(7)), Some(7));
    }
}
