//! The bytes of the spool: keys and values.
//!
//! ```text
//! base          format u8, log id 16 bytes, next offset u64, time i64, position
//! records       offset u64 → payload
//! units         first offset u64 → kind u8, next offset u64, time i64, bytes u64, units u64, weight u64,
//!                                  length of position u8, position, after
//! ```
//! Integers are big-endian, so that keys sort by offset.

use lockstep_common::Position;
use uuid::Uuid;

use super::{Spooled, Tally};
use crate::unit::{Body, Mark, Unit, UnitKind};

/// Changes with the layout of keys or values; another one's spool is dropped.
const FORMAT: u8 = 3;

pub(super) const BASE: &[u8] = b"base";

pub(super) fn key(offset: u64) -> [u8; 8] {
    offset.to_be_bytes()
}

pub(super) fn offset_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

pub(super) fn encode_base(base: &Mark) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(base.log_id.as_bytes());
    out.extend_from_slice(&base.next_offset.to_be_bytes());
    out.extend_from_slice(&base.time.to_be_bytes());
    out.extend_from_slice(&base.position.to_key());
    out
}

pub(super) fn decode_base(bytes: &[u8]) -> Option<Mark> {
    let (format, rest) = bytes.split_first()?;
    let (log_id, rest) = rest.split_first_chunk::<16>()?;
    let (next_offset, rest) = rest.split_first_chunk::<8>()?;
    let (time, key) = rest.split_first_chunk::<8>()?;
    (*format == FORMAT).then_some(())?;
    Some(Mark {
        log_id: Uuid::from_bytes(*log_id),
        position: Position::from_key(key)?,
        next_offset: u64::from_be_bytes(*next_offset),
        time: i64::from_be_bytes(*time),
    })
}

/// `tally` is with the unit.
pub(super) fn encode_unit(unit: &Unit, tally: Tally) -> Vec<u8> {
    let position = unit.mark.position.to_key();
    let kind = match unit.kind {
        UnitKind::Progress => 0,
        UnitKind::Transaction => 1,
        UnitKind::Load => 2,
    };
    let mut out = vec![kind];
    out.extend_from_slice(&unit.mark.next_offset.to_be_bytes());
    out.extend_from_slice(&unit.mark.time.to_be_bytes());
    out.extend_from_slice(&unit.bytes.to_be_bytes());
    out.extend_from_slice(&tally.units.to_be_bytes());
    out.extend_from_slice(&tally.weight.to_be_bytes());
    out.push(u8::try_from(position.len()).expect("a position has at most 28 bytes"));
    out.extend_from_slice(&position);
    out.extend_from_slice(&unit.after.to_key());
    out
}

pub(super) fn decode_unit(key: &[u8], value: &[u8], log_id: Uuid) -> Option<Spooled> {
    let (kind, rest) = value.split_first()?;
    let (next_offset, rest) = rest.split_first_chunk::<8>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (bytes, rest) = rest.split_first_chunk::<8>()?;
    let (units, rest) = rest.split_first_chunk::<8>()?;
    let (weight, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let kind = match kind {
        0 => UnitKind::Progress,
        1 => UnitKind::Transaction,
        2 => UnitKind::Load,
        _ => return None,
    };
    let (position, after) = rest.split_at_checked(usize::from(*length))?;
    let unit = Unit {
        kind,
        mark: Mark {
            log_id,
            position: Position::from_key(position)?,
            next_offset: u64::from_be_bytes(*next_offset),
            time: i64::from_be_bytes(*time),
        },
        after: Position::from_key(after)?,
        first_offset: offset_of(key)?,
        bytes: u64::from_be_bytes(*bytes),
        body: if kind == UnitKind::Progress { Body::Progress } else { Body::Spooled },
    };
    let tally = Tally { units: u64::from_be_bytes(*units), weight: u64::from_be_bytes(*weight) };
    Some(Spooled { unit, tally })
}
