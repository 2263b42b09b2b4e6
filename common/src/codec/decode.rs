//! From bytes to a record, borrowing from them. The order of reading is the order of the schema's
//! fields.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::record::{
    Before, Body, Change, ChunkBegin, ChunkEnd, ChunkRows, EpochStart, Fragment, Part, Progress,
    Record, SchemaChange, SourceTime, TableTotal, TimelineStart,
};
use crate::{Position, TableId, TableName, Value};

use super::cell::row;
use super::encode::{BEFORE_FULL, BEFORE_KEY, BOUNDARIES, OPERATIONS};
use super::schema::{self, RECORD_FINGERPRINT};
use super::wire::Input;
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
    let mut input = own_datum(payload)?;
    let head = record_head(&mut input)?;
    input.skip_map()?;
    let kind = get_enum(&mut input, &KINDS)?;
    let fragment = match kind {
        Kind::Fragment => Some(fragment_header(&mut input)?),
        _ => None,
    };
    Ok(Header {
        log_id: head.log_id,
        epoch: head.epoch,
        position: head.position,
        after: head.after,
        time: head.time,
        skippable: head.skippable,
        kind,
        fragment,
    })
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
pub(super) struct RecordHead {
    pub(super) log_id: Uuid,
    pub(super) epoch: u64,
    pub(super) position: Position,
    pub(super) after: Position,
    pub(super) time: i64,
    pub(super) skippable: bool,
}

pub(super) fn record_head(input: &mut Input<'_>) -> Result<RecordHead, DecodeError> {
    Ok(RecordHead {
        log_id: uuid(input)?,
        epoch: input.number()?,
        position: position(input)?,
        after: position(input)?,
        time: input.long()?,
        skippable: input.bool()?,
    })
}

fn body<'a>(input: &mut Input<'a>) -> Result<Body<'a>, DecodeError> {
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

fn fragment<'a>(input: &mut Input<'a>) -> Result<Fragment<'a>, DecodeError> {
    let FragmentHeader { index, last, changes_before } = fragment_header(input)?;
    Ok(Fragment {
        index,
        last,
        changes_before,
        boundary: get_enum(input, &BOUNDARIES)?,
        transaction_id: transaction_id(input)?,
        source_time: source_time(input)?,
        parts: array(input, part)?,
        changes: array(input, change)?,
        totals: array(input, total)?,
    })
}

pub(super) fn fragment_header(input: &mut Input<'_>) -> Result<FragmentHeader, DecodeError> {
    Ok(FragmentHeader {
        index: input.number()?,
        last: input.bool()?,
        changes_before: input.number()?,
    })
}

fn chunk_begin(input: &mut Input<'_>) -> Result<ChunkBegin, DecodeError> {
    Ok(ChunkBegin {
        load: uuid(input)?,
        chunk: input.number()?,
        table: table(input)?,
        lower: option(input, owned_row)?,
        upper: option(input, owned_row)?,
    })
}

fn chunk_end(input: &mut Input<'_>) -> Result<ChunkEnd, DecodeError> {
    Ok(ChunkEnd {
        load: uuid(input)?,
        chunk: input.number()?,
        table: table(input)?,
        partition: input.number()?,
        offsets: option(input, |input| Ok((input.number()?, input.number()?)))?,
        rows: input.number()?,
    })
}

fn chunk_rows<'a>(input: &mut Input<'a>) -> Result<ChunkRows<'a>, DecodeError> {
    let (load, chunk, table, index) = chunk_rows_head(input)?;
    let (parts, rows) = (array(input, part)?, array(input, row)?);
    Ok(ChunkRows { load, chunk, table, index, parts, rows })
}

/// Load, chunk, table and index.
pub(super) fn chunk_rows_head(
    input: &mut Input<'_>,
) -> Result<(Uuid, u32, TableId, u32), DecodeError> {
    Ok((uuid(input)?, input.number()?, table(input)?, input.number()?))
}

pub(super) fn part<'a>(input: &mut Input<'a>) -> Result<Part<'a>, DecodeError> {
    Ok(Part { id: input.number()?, data: input.cow_bytes()? })
}

#[inline]
pub(super) fn change<'a>(input: &mut Input<'a>) -> Result<Change<'a>, DecodeError> {
    Ok(Change {
        table: table(input)?,
        operation: get_enum(input, &OPERATIONS)?,
        changed: input.cow_bytes()?,
        before: match input.long()? {
            0 => Before::None,
            BEFORE_KEY => Before::Key(row(input)?),
            BEFORE_FULL => Before::Full(row(input)?),
            _ => return Err(DecodeError::Corrupt("a before image of no known kind")),
        },
        after: row(input)?,
        attributes: attributes(input)?,
    })
}

#[inline]
fn attributes(input: &mut Input<'_>) -> Result<BTreeMap<String, String>, DecodeError> {
    input.map()
}

pub(super) fn total(input: &mut Input<'_>) -> Result<TableTotal, DecodeError> {
    Ok(TableTotal { table: table(input)?, changes: input.number()? })
}

fn position(input: &mut Input<'_>) -> Result<Position, DecodeError> {
    let timeline = input.number()?;
    Position::new(timeline, input.bytes()?)
        .ok_or(DecodeError::Corrupt("a position of more than 24 bytes"))
}

pub(super) fn transaction_id(input: &mut Input<'_>) -> Result<Option<Vec<u8>>, DecodeError> {
    option(input, |input| Ok(input.bytes()?.to_vec()))
}

pub(super) fn source_time(input: &mut Input<'_>) -> Result<Option<SourceTime>, DecodeError> {
    option(input, |input| Ok(SourceTime { raw: text(input)?, offset: input.number()? }))
}

#[inline]
fn table(input: &mut Input<'_>) -> Result<TableId, DecodeError> {
    Ok(TableId(u64::from_be_bytes(input.fixed()?)))
}

fn uuid(input: &mut Input<'_>) -> Result<Uuid, DecodeError> {
    Ok(Uuid::from_bytes(input.fixed()?))
}

fn text(input: &mut Input<'_>) -> Result<String, DecodeError> {
    Ok(input.str()?.to_owned())
}

fn owned_row(input: &mut Input<'_>) -> Result<Vec<Value<'static>>, DecodeError> {
    Ok(row(input)?.into_iter().map(Value::into_owned).collect())
}

#[inline]
fn array<'a, T>(
    input: &mut Input<'a>,
    mut item: impl FnMut(&mut Input<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    input.array(|input, items| {
        items.push(item(input)?);
        Ok(())
    })
}

/// A union of null and something.
fn option<'a, T>(
    input: &mut Input<'a>,
    some: impl FnOnce(&mut Input<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    match input.long()? {
        0 => Ok(None),
        1 => some(input).map(Some),
        _ => Err(DecodeError::Corrupt("an optional field that is neither absent nor present")),
    }
}
