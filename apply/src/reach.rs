//! Whether the log reaches a target's checkpoint: looked at before an apply takes the target over.
//!
//! An apply that could not write anyway must not stop one that can: one whose log cannot be opened, is
//! another one, or is a copy that ends before what the target has been given.

use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_log::{Batch, Bounds, Log, Reader, Seek, Stream};

use crate::feed::{another_log, awaiting_capture, unknown_log};
use crate::foreign::Foreign;
use crate::unit::Mark;

/// Returns when `log` is the one that `checkpoint` is of, and holds what comes up to it.
///
/// # Errors
/// `Retry` while the log is away or ends before the checkpoint, `Halt` when it is another one.
pub(crate) async fn reaches(log: &Arc<dyn Log>, checkpoint: Option<&Mark>) -> Result<(), Failure> {
    let opened = log.reader(Stream::Transactions).await;
    let mut reader = opened.map_err(|failure| awaiting_capture(failure, checkpoint.is_none()))?;
    let bounds = reader.bounds().await?;
    let Some(mark) = checkpoint else { return Ok(()) };
    match log.identity().await? {
        Some(log_id) if log_id != mark.log_id => return Err(another_log(mark, log_id)),
        known => {
            if holds(log, &mut *reader, bounds, mark).await? {
                return Ok(());
            }
            known.ok_or_else(|| unknown_log(mark))?;
        }
    }
    Err(Failure::new(
        Code::ApplyLogBehind,
        format!(
            "the log ends before {}, which the target has been given: waiting until capture has read \
             again what is missing, and leaving the target to whoever follows it meanwhile",
            mark.position
        ),
    ))
}

/// Whether a record at or above the checkpoint's position is there, or was.
async fn holds(
    log: &Arc<dyn Log>,
    reader: &mut dyn Reader,
    bounds: Bounds,
    mark: &Mark,
) -> Result<bool, Failure> {
    // What lies before the log's beginning was removed: whether something is missing behind it is for
    // the feed to find.
    if mark.next_offset <= bounds.first {
        return Ok(true);
    }
    let mut foreign = Foreign::new(Arc::clone(log));
    // Mostly the record is where it was. Otherwise offsets say nothing, and the position decides: time
    // never decreases along the log.
    let last = mark.next_offset - 1;
    let places = [(last < bounds.end).then_some(Seek::Offset(last)), Some(Seek::Time(mark.time))];
    for (place, all) in places.into_iter().flatten().zip([last >= bounds.end, true]) {
        reader.seek(place).await?;
        while let Batch::Items(items) = reader.read().await? {
            for item in items {
                let Some((_, header)) = foreign.read(item.payload).await? else { continue };
                if header.log_id == mark.log_id && header.position >= mark.position {
                    return Ok(true);
                }
                if !all {
                    break;
                }
            }
            if !all {
                break;
            }
        }
    }
    Ok(false)
}
