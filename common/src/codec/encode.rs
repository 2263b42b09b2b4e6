//! From a record to bytes. The order of writing is the order of the schema's fields.

use uuid::Uuid;

use crate::model::record::{
    Before, Body, Boundary, Change, ChunkBegin, ChunkEnd, ChunkRows, Fragment, Operation, Part,
    Progress, Record, SchemaChange, SourceTime, TableTotal,
};
use crate::{Position, TableId, Value};

use super::cell::put_row;
use super::schema::{self, RECORD_FINGERPRINT};
use super::{KINDS, Kind, put_enum, wire};

pub(super) const BOUNDARIES: [Boundary; 2] = [Boundary::SourceTransaction, Boundary::Batch];

pub(super) const OPERATIONS: [Operation; 4] =
    [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate];

/// Appends a record, in single-object encoding.
///
/// # Panics
/// If a [`Value::Variant`] holds another variant, which the model forbids.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    put_record_head(out, record);
    match &record.body {
        Body::Fragment(v) => put_fragment(out, v),
        Body::Progress(v) => put_progress(out, v),
        Body::Epoch(v) => {
            put_kind(out, Kind::Epoch);
            put_text(out, &v.host);
            put_text(out, &v.version);
            put_text(out, &v.source);
        }
        Body::Timeline(v) => {
            put_kind(out, Kind::Timeline);
            put_position(out, &v.old_end);
            put_position(out, &v.new_start);
            put_text(out, &v.reason);
        }
        Body::SchemaChange(v) => put_schema_change(out, v),
        Body::ChunkBegin(v) => put_chunk_begin(out, v),
        Body::ChunkEnd(v) => put_chunk_end(out, v),
        Body::Marker { name } => {
            put_kind(out, Kind::Marker);
            put_text(out, name);
        }
        Body::ChunkRows(v) => put_chunk_rows(out, v),
    }
}

/// Everything before the body.
fn put_record_head(out: &mut Vec<u8>, record: &Record<'_>) {
    schema::put_head(out, RECORD_FINGERPRINT);
    out.extend_from_slice(record.log_id.as_bytes());
    wire::put_unsigned(out, record.epoch);
    put_position(out, &record.position);
    put_position(out, &record.after);
    wire::put_long(out, record.time);
    wire::put_bool(out, record.skippable);
    wire::put_map(out, &record.attributes);
}

fn put_fragment(out: &mut Vec<u8>, fragment: &Fragment<'_>) {
    put_kind(out, Kind::Fragment);
    wire::put_long(out, i64::from(fragment.index));
    wire::put_bool(out, fragment.last);
    wire::put_unsigned(out, fragment.changes_before);
    put_enum(out, &BOUNDARIES, fragment.boundary);
    put_transaction_id(out, fragment.transaction_id.as_deref());
    put_source_time(out, fragment.source_time.as_ref());
    wire::put_array(out, &fragment.parts, put_part);
    wire::put_array(out, &fragment.changes, put_change);
    wire::put_array(out, &fragment.totals, put_total);
}

fn put_progress(out: &mut Vec<u8>, progress: &Progress) {
    put_kind(out, Kind::Progress);
    put_transaction_id(out, progress.transaction_id.as_deref());
    put_source_time(out, progress.source_time.as_ref());
}

fn put_schema_change(out: &mut Vec<u8>, change: &SchemaChange) {
    put_kind(out, Kind::SchemaChange);
    put_text(out, &change.table.schema);
    put_text(out, &change.table.table);
    put_option(out, change.old.as_ref(), |out, id| put_table(out, *id));
    put_option(out, change.new.as_ref(), |out, id| put_table(out, *id));
    put_text(out, &change.ddl);
}

fn put_chunk_begin(out: &mut Vec<u8>, chunk: &ChunkBegin) {
    put_kind(out, Kind::ChunkBegin);
    out.extend_from_slice(chunk.load.as_bytes());
    wire::put_long(out, i64::from(chunk.chunk));
    put_table(out, chunk.table);
    put_option(out, chunk.lower.as_deref(), put_row);
    put_option(out, chunk.upper.as_deref(), put_row);
}

fn put_chunk_end(out: &mut Vec<u8>, chunk: &ChunkEnd) {
    put_kind(out, Kind::ChunkEnd);
    out.extend_from_slice(chunk.load.as_bytes());
    wire::put_long(out, i64::from(chunk.chunk));
    put_table(out, chunk.table);
    wire::put_long(out, i64::from(chunk.partition));
    put_option(out, chunk.offsets.as_ref(), |out, (first, last)| {
        wire::put_unsigned(out, *first);
        wire::put_unsigned(out, *last);
    });
    wire::put_unsigned(out, chunk.rows);
}

fn put_chunk_rows(out: &mut Vec<u8>, rows: &ChunkRows<'_>) {
    put_kind(out, Kind::ChunkRows);
    put_chunk_rows_head(out, rows.load, rows.chunk, rows.table);
    wire::put_long(out, i64::from(rows.index));
    wire::put_array(out, &rows.parts, put_part);
    wire::put_array(out, &rows.rows, |out, row: &Vec<Value<'_>>| put_row(out, row));
}

/// What stands before the index.
pub(super) fn put_chunk_rows_head(out: &mut Vec<u8>, load: Uuid, chunk: u32, table: TableId) {
    out.extend_from_slice(load.as_bytes());
    wire::put_long(out, i64::from(chunk));
    put_table(out, table);
}

pub(super) fn put_kind(out: &mut Vec<u8>, kind: Kind) {
    put_enum(out, &KINDS, kind);
}

pub(super) fn put_position(out: &mut Vec<u8>, position: &Position) {
    wire::put_long(out, i64::from(position.timeline()));
    wire::put_bytes(out, position.source());
}

pub(super) fn put_transaction_id(out: &mut Vec<u8>, id: Option<&[u8]>) {
    put_option(out, id, wire::put_bytes);
}

pub(super) fn put_source_time(out: &mut Vec<u8>, time: Option<&SourceTime>) {
    put_option(out, time, |out, time| {
        put_text(out, &time.raw);
        wire::put_long(out, i64::from(time.offset));
    });
}

pub(super) fn put_part(out: &mut Vec<u8>, part: &Part<'_>) {
    wire::put_long(out, i64::from(part.id));
    wire::put_bytes(out, &part.data);
}

pub(super) fn put_total(out: &mut Vec<u8>, total: &TableTotal) {
    put_table(out, total.table);
    wire::put_unsigned(out, total.changes);
}

#[inline]
pub(super) fn put_change(out: &mut Vec<u8>, change: &Change<'_>) {
    put_table(out, change.table);
    put_enum(out, &OPERATIONS, change.operation);
    wire::put_bytes(out, &change.changed);
    match &change.before {
        Before::None => out.push(0),
        Before::Key(row) => {
            wire::put_long(out, BEFORE_KEY);
            put_row(out, row);
        }
        Before::Full(row) => {
            wire::put_long(out, BEFORE_FULL);
            put_row(out, row);
        }
    }
    put_row(out, &change.after);
    wire::put_map(out, &change.attributes);
}

/// Branches of `Change.before`, after null.
pub(super) const BEFORE_KEY: i64 = 1;
pub(super) const BEFORE_FULL: i64 = 2;

#[inline]
fn put_table(out: &mut Vec<u8>, id: TableId) {
    out.extend_from_slice(&id.0.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    wire::put_bytes(out, text.as_bytes());
}

/// A union of null and something.
#[inline]
fn put_option<T: ?Sized>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    match value {
        None => wire::put_long(out, 0),
        Some(value) => {
            wire::put_long(out, 1);
            put(out, value);
        }
    }
}
