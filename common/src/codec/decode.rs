//! From bytes to a record, borrowing from them. The order of reading is the order of the schema's
//! fields.

use std::borrow::Cow;
use std::collections::BTreeMap;

use uuid::Uuid;

use crate::model::record::{
    Before, Body, Change, ChunkBegin, ChunkEnd, ChunkRows, EpochStart, Fragment, Operation, Part,
    Progress, Record, SchemaChange, SourceTime, TableTotal, TimelineStart,
};
use crate::{Position, TableId, TableName, Value};

use super::cell::{row, row_into};
use super::encode::{BEFORE_FULL, BEFORE_KEY, BOUNDARIES, OPERATIONS};
use super::schema::{self, RECORD_FINGERPRINT};
use super::wire::{Input, Malformed};
use super::{DecodeError, FragmentHeader, Header, KINDS, Kind, get_enum};

/// Reads a whole record of our own schema.
///
/// # Errors
/// [`DecodeError::UnknownSchema`] for any other schema (see [`Decoder`](super::Decoder)), and as
/// the variants say for bytes that are no record.
pub fn decode(payload: &[u8]) -> Result<Record<'_>, DecodeError> {
    let mut input = own_datum(payload)?;
    let head = record_head(&mut input)?;
    let attributes = input.map()?;
    let body = body(&mut input)?;
    input.end()?;
    Ok(Record {
        log_id: head.log_id,
        epoch: head.epoch,
        position: head.position,
        after: head.after,
        time: head.time,
        skippable: head.skippable,
        attributes,
        body,
    })
}

/// Reads what stands before a record's body; the body is not looked at.
///
/// # Errors
/// As [`decode`], as far as it reads.
pub fn header(payload: &[u8]) -> Result<Header, DecodeError> {
    let (header, _) = read_header(own_datum(payload)?)?;
    Ok(header)
}

/// Reads a record as far as [`header`] does; gives the rest too.
pub(super) fn read_header(mut input: Input<'_>) -> Result<(Header, Input<'_>), Malformed> {
    let head = record_head(&mut input)?;
    input.skip_map()?;
    let kind = get_enum(&mut input, &KINDS)?;
    let fragment = match kind {
        Kind::Fragment => Some(fragment_header(&mut input)?),
        _ => None,
    };
    let header = Header {
        log_id: head.log_id,
        epoch: head.epoch,
        position: head.position,
        after: head.after,
        time: head.time,
        skippable: head.skippable,
        kind,
        fragment,
    };
    Ok((header, input))
}

/// The datum of a payload of our schema.
pub(super) fn own_datum(payload: &[u8]) -> Result<Input<'_>, DecodeError> {
    let (fingerprint, datum) = schema::split(payload)?;
    if fingerprint != RECORD_FINGERPRINT {
        return Err(DecodeError::UnknownSchema(fingerprint));
    }
    Ok(Input::new(datum))
}

/// The fields of a record before its attributes.
struct RecordHead {
    log_id: Uuid,
    epoch: u64,
    position: Position,
    after: Position,
    time: i64,
    skippable: bool,
}

#[inline(always)]
fn record_head(input: &mut Input<'_>) -> Result<RecordHead, Malformed> {
    Ok(RecordHead {
        log_id: uuid(input)?,
        epoch: input.number()?,
        position: position(input)?,
        after: position(input)?,
        time: input.long()?,
        skippable: input.bool()?,
    })
}

fn body<'a>(input: &mut Input<'a>) -> Result<Body<'a>, Malformed> {
    Ok(match get_enum(input, &KINDS)? {
        Kind::Fragment => Body::Fragment(fragment(input)?),
        Kind::Progress => Body::Progress(Progress {
            transaction_id: transaction_id(input)?,
            source_time: source_time(input)?,
        }),
        Kind::Epoch => Body::Epoch(EpochStart {
            host: text(input)?,
            version: text(input)?,
            source: text(input)?,
        }),
        Kind::Timeline => Body::Timeline(TimelineStart {
            old_end: position(input)?,
            new_start: position(input)?,
            reason: text(input)?,
        }),
        Kind::SchemaChange => Body::SchemaChange(SchemaChange {
            table: TableName { schema: text(input)?, table: text(input)? },
            old: option(input, table)?,
            new: option(input, table)?,
            ddl: text(input)?,
        }),
        Kind::ChunkBegin => Body::ChunkBegin(chunk_begin(input)?),
        Kind::ChunkEnd => Body::ChunkEnd(chunk_end(input)?),
        Kind::Marker => Body::Marker { name: text(input)? },
        Kind::ChunkRows => Body::ChunkRows(chunk_rows(input)?),
    })
}

fn fragment<'a>(input: &mut Input<'a>) -> Result<Fragment<'a>, Malformed> {
    let FragmentHeader { index, last, changes_before } = fragment_header(input)?;
    Ok(Fragment {
        index,
        last,
        changes_before,
        boundary: get_enum(input, &BOUNDARIES)?,
        transaction_id: transaction_id(input)?,
        source_time: source_time(input)?,
        parts: array(input, part)?,
        changes: input.array(push_change)?,
        totals: array(input, total)?,
    })
}

#[inline(always)]
fn fragment_header(input: &mut Input<'_>) -> Result<FragmentHeader, Malformed> {
    Ok(FragmentHeader {
        index: input.number()?,
        last: input.bool()?,
        changes_before: input.number()?,
    })
}

fn chunk_begin(input: &mut Input<'_>) -> Result<ChunkBegin, Malformed> {
    Ok(ChunkBegin {
        load: uuid(input)?,
        chunk: input.number()?,
        table: table(input)?,
        lower: option(input, owned_row)?,
        upper: option(input, owned_row)?,
    })
}

fn chunk_end(input: &mut Input<'_>) -> Result<ChunkEnd, Malformed> {
    Ok(ChunkEnd {
        load: uuid(input)?,
        chunk: input.number()?,
        table: table(input)?,
        partition: input.number()?,
        offsets: option(input, |input| Ok((input.number()?, input.number()?)))?,
        rows: input.number()?,
    })
}

fn chunk_rows<'a>(input: &mut Input<'a>) -> Result<ChunkRows<'a>, Malformed> {
    let (load, chunk, table, index) = chunk_rows_head(input)?;
    let (parts, rows) = (array(input, part)?, array(input, row)?);
    Ok(ChunkRows { load, chunk, table, index, parts, rows })
}

/// Load, chunk, table and index.
pub(super) fn chunk_rows_head(
    input: &mut Input<'_>,
) -> Result<(Uuid, u32, TableId, u32), Malformed> {
    Ok((uuid(input)?, input.number()?, table(input)?, input.number()?))
}

pub(super) fn part<'a>(input: &mut Input<'a>) -> Result<Part<'a>, Malformed> {
    Ok(Part { id: input.number()?, data: input.cow_bytes()? })
}

/// Reads a change onto the end of `changes`.
fn push_change<'a>(input: &mut Input<'a>, changes: &mut Vec<Change<'a>>) -> Result<(), Malformed> {
    changes.push(no_change());
    change_into(input, changes.last_mut().expect("one has been pushed"))
}

/// A change to read into.
pub(super) fn no_change() -> Change<'static> {
    Change {
        table: TableId(0),
        operation: Operation::Truncate,
        changed: Cow::Borrowed(&[]),
        before: Before::None,
        after: Vec::new(),
        attributes: BTreeMap::new(),
    }
}

/// Reads a change in place of what `change` holds, keeping the room that its rows take.
#[inline]
pub(super) fn change_into<'a>(
    input: &mut Input<'a>,
    change: &mut Change<'a>,
) -> Result<(), Malformed> {
    change.table = table(input)?;
    change.operation = get_enum(input, &OPERATIONS)?;
    change.changed = input.cow_bytes()?;
    before_into(input, &mut change.before)?;
    row_into(input, &mut change.after)?;
    change.attributes = input.map()?;
    Ok(())
}

fn before_into<'a>(input: &mut Input<'a>, before: &mut Before<'a>) -> Result<(), Malformed> {
    let mut row = match std::mem::replace(before, Before::None) {
        Before::None => Vec::new(),
        Before::Key(row) | Before::Full(row) => row,
    };
    *before = match input.long()? {
        0 => Before::None,
        BEFORE_KEY => {
            row_into(input, &mut row)?;
            Before::Key(row)
        }
        BEFORE_FULL => {
            row_into(input, &mut row)?;
            Before::Full(row)
        }
        _ => return Err(Malformed("a before image of no known kind")),
    };
    Ok(())
}

pub(super) fn total(input: &mut Input<'_>) -> Result<TableTotal, Malformed> {
    Ok(TableTotal { table: table(input)?, changes: input.number()? })
}

#[inline(always)]
fn position(input: &mut Input<'_>) -> Result<Position, Malformed> {
    let timeline = input.number()?;
    Position::new(timeline, input.bytes()?).ok_or(Malformed("a position of more than 24 bytes"))
}

fn transaction_id(input: &mut Input<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    Ok(option(input, Input::bytes)?.map(<[u8]>::to_vec))
}

fn source_time(input: &mut Input<'_>) -> Result<Option<SourceTime>, Malformed> {
    option(input, |input| Ok(SourceTime { raw: text(input)?, offset: input.number()? }))
}

/// Passes over what a fragment says of its transaction in the source.
pub(super) fn skip_source(input: &mut Input<'_>) -> Result<(), Malformed> {
    get_enum(input, &BOUNDARIES)?;
    option(input, Input::bytes)?;
    option(input, |input| Ok((input.str()?, input.number::<i16>()?)))?;
    Ok(())
}

#[inline]
fn table(input: &mut Input<'_>) -> Result<TableId, Malformed> {
    Ok(TableId(u64::from_be_bytes(input.fixed()?)))
}

#[inline(always)]
fn uuid(input: &mut Input<'_>) -> Result<Uuid, Malformed> {
    Ok(Uuid::from_bytes(input.fixed()?))
}

fn text(input: &mut Input<'_>) -> Result<String, Malformed> {
    Ok(input.str()?.to_owned())
}

fn owned_row(input: &mut Input<'_>) -> Result<Vec<Value<'static>>, Malformed> {
    Ok(row(input)?.into_iter().map(Value::into_owned).collect())
}

#[inline]
fn array<'a, T>(
    input: &mut Input<'a>,
    mut item: impl FnMut(&mut Input<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    input.array(|input, items| {
        items.push(item(input)?);
        Ok(())
    })
}

/// A union of null and something.
#[inline(always)]
fn option<'a, T>(
    input: &mut Input<'a>,
    some: impl FnOnce(&mut Input<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match input.long()? {
        0 => Ok(None),
        1 => some(input).map(Some),
        _ => Err(Malformed("an optional field that is neither absent nor present")),
    }
}
