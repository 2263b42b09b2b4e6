//! The failures that both logs have in common, worded once.

use lockstep_common::Code;
use lockstep_common::Failure;

use crate::{Bounds, Stream};

/// What a reader must read next is not there any more, or not there again.
pub(crate) fn missing(stream: Stream, next: u64, bounds: Bounds) -> Failure {
    let Bounds { first, end } = bounds;
    let what = if next < first {
        format!(
            "offsets {next} to {} of {stream} have been removed (it begins at {first})",
            first - 1
        )
    } else {
        format!(
            "{stream} ends at {end}, below the next offset {next}: it was truncated or made anew"
        )
    };
    Failure::new(Code::LogGap, what).remedy(
        "the target cannot be brought up to date from this log: load it again, or restore the log",
    )
}

/// A start point that the stream does not hold.
pub(crate) fn outside(stream: Stream, offset: u64, bounds: Bounds) -> Failure {
    let Bounds { first, end } = bounds;
    Failure::new(Code::LogOffsetOutOfRange, format!(
            "offset {offset} is outside of {stream}, which holds {first} up to, not including, {end}"
        )).remedy("if it is a checkpoint's, the log lost records (retention, trimming, a topic made anew): \
         load the target again, or restore the log; else choose an offset inside")
}

/// Only transaction records can be searched for.
pub(crate) fn unsearchable(stream: Stream) -> Failure {
    Failure::new(Code::LogUnsearchable, format!("{stream} cannot be searched by position or time"))
        .remedy("search the transactions stream")
}

/// The schemas stream is compacted, never trimmed.
pub(crate) fn untrimmable() -> Failure {
    Failure::new(
        Code::LogUntrimmable,
        "the schemas stream cannot be trimmed: readers need all of it",
    )
    .remedy("trim the transactions or the snapshot stream")
}
