//! Random records of every kind, with values of every kind.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lockstep_common::model::record::{
    Before, Body, Boundary, Change, ChunkBegin, ChunkEnd, ChunkRows, EpochStart, Fragment,
    Operation, Part, Progress, Record, SchemaChange, SourceTime, TableTotal, TimelineStart,
};
use lockstep_common::{
    LongKind, LongValue, MAX_SOURCE_BYTES, Position, TICKS_PER_DAY, TableId, TableName, Value,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

pub fn uuid() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(Uuid::from_bytes)
}

pub fn position() -> impl Strategy<Value = Position> {
    (any::<u32>(), vec(any::<u8>(), 0..=MAX_SOURCE_BYTES))
        .prop_map(|(timeline, source)| Position::new(timeline, &source).expect("within the limit"))
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..150)
}

fn unsigned() -> impl Strategy<Value = u64> {
    any::<u64>().prop_map(|n| n >> 1)
}

pub fn attributes() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn unscaled() -> impl Strategy<Value = i128> {
    let widths = (0..=126u32).prop_flat_map(|shift| any::<i128>().prop_map(move |n| n >> shift));
    prop_oneof![
        widths,
        Just(0),
        Just(-1),
        Just(127),
        Just(128),
        Just(-128),
        Just(-129),
        Just(i128::MIN),
        Just(i128::MAX)
    ]
}

/// Every bit pattern: NaNs with payloads, negative zero, subnormals.
fn floats() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits))),
        any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        Just(Value::F32(-0.0)),
        Just(Value::F64(-0.0)),
        Just(Value::F64(f64::NAN)),
        Just(Value::F32(f32::from_bits(0x7F80_0001))),
    ]
}

/// A value that a variant may hold.
fn bare_value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unavailable),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<i8>().prop_map(|n| Value::I64(n.into())),
        (unscaled(), 0..=38u8).prop_map(|(unscaled, scale)| Value::Decimal { unscaled, scale }),
        floats(),
        text().prop_map(|v| Value::String(Cow::Owned(v))),
        bytes().prop_map(|v| Value::Utf16(Cow::Owned(v))),
        bytes().prop_map(|v| Value::Bytes(Cow::Owned(v))),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        any::<i32>().prop_map(Value::Date),
        (0..TICKS_PER_DAY).prop_map(Value::Time),
        any::<i64>().prop_map(Value::Timestamp),
        (any::<i64>(), -840..=840i16)
            .prop_map(|(ticks, offset)| Value::TimestampTz { ticks, offset }),
        (bytes(), any::<i32>())
            .prop_map(|(wkb, srid)| Value::Geometry { wkb: Cow::Owned(wkb), srid }),
        long_value().prop_map(Value::Long),
        (text(), text()).prop_map(|(type_name, text)| Value::Other {
            type_name: Cow::Owned(type_name),
            text: Cow::Owned(text)
        }),
    ]
}

fn long_value() -> impl Strategy<Value = LongValue> {
    let kind = prop_oneof![Just(LongKind::Text), Just(LongKind::Utf16), Just(LongKind::Bytes)];
    (any::<u32>(), unsigned(), any::<[u8; 32]>(), kind)
        .prop_map(|(id, length, digest, kind)| LongValue { id, length, digest, kind })
}

pub fn value() -> impl Strategy<Value = Value<'static>> {
    let variant = (text(), bare_value()).prop_map(|(type_name, value)| Value::Variant {
        type_name: Cow::Owned(type_name),
        value: Box::new(value),
    });
    prop_oneof![10 => bare_value(), 1 => variant]
}

pub fn row() -> impl Strategy<Value = Vec<Value<'static>>> {
    vec(value(), 0..12)
}

pub fn table() -> impl Strategy<Value = TableId> {
    any::<u64>().prop_map(TableId)
}

fn source_time() -> impl Strategy<Value = SourceTime> {
    (text(), any::<i16>()).prop_map(|(raw, offset)| SourceTime { raw, offset })
}

pub fn part() -> impl Strategy<Value = Part<'static>> {
    (any::<u32>(), bytes()).prop_map(|(id, data)| Part { id, data: Cow::Owned(data) })
}

pub fn change() -> impl Strategy<Value = Change<'static>> {
    let operation = prop_oneof![
        Just(Operation::Insert),
        Just(Operation::Update),
        Just(Operation::Delete),
        Just(Operation::Truncate)
    ];
    let before =
        prop_oneof![Just(Before::None), row().prop_map(Before::Key), row().prop_map(Before::Full)];
    let changed = vec(any::<u8>(), 0..4);
    // Few tables, so that totals count.
    ((0..4u64), operation, changed, before, row(), attributes()).prop_map(
        |(table, operation, changed, before, after, attributes)| Change {
            table: TableId(table.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            operation,
            changed: Cow::Owned(changed),
            before,
            after,
            attributes,
        },
    )
}

pub fn boundary() -> impl Strategy<Value = Boundary> {
    prop_oneof![Just(Boundary::SourceTransaction), Just(Boundary::Batch)]
}

pub fn transaction() -> impl Strategy<Value = (Option<Vec<u8>>, Option<SourceTime>)> {
    (option::of(bytes()), option::of(source_time()))
}

fn fragment() -> impl Strategy<Value = Fragment<'static>> {
    let total = (table(), unsigned()).prop_map(|(table, changes)| TableTotal { table, changes });
    (
        boundary(),
        transaction(),
        (any::<u32>(), any::<bool>(), unsigned()),
        vec(total, 0..3),
        vec(part(), 0..3),
        vec(change(), 0..5),
    )
        .prop_map(|(boundary, transaction, numbers, totals, parts, changes)| Fragment {
            boundary,
            transaction_id: transaction.0,
            source_time: transaction.1,
            index: numbers.0,
            last: numbers.1,
            changes_before: numbers.2,
            totals,
            parts,
            changes,
        })
}

fn chunk_begin() -> impl Strategy<Value = ChunkBegin> {
    (uuid(), any::<u32>(), table(), option::of(row()), option::of(row())).prop_map(
        |(load, chunk, table, lower, upper)| ChunkBegin { load, chunk, table, lower, upper },
    )
}

fn chunk_end() -> impl Strategy<Value = ChunkEnd> {
    let offsets = option::of((unsigned(), unsigned()));
    (uuid(), any::<u32>(), table(), any::<u32>(), offsets, unsigned()).prop_map(
        |(load, chunk, table, partition, offsets, rows)| ChunkEnd {
            load,
            chunk,
            table,
            partition,
            offsets,
            rows,
        },
    )
}

fn chunk_rows() -> impl Strategy<Value = ChunkRows<'static>> {
    (uuid(), any::<u32>(), table(), any::<u32>(), vec(part(), 0..3), vec(row(), 0..5)).prop_map(
        |(load, chunk, table, index, parts, rows)| ChunkRows {
            load,
            chunk,
            table,
            index,
            parts,
            rows,
        },
    )
}

fn body() -> impl Strategy<Value = Body<'static>> {
    let name = (text(), text()).prop_map(|(schema, table)| TableName { schema, table });
    prop_oneof![
        6 => fragment().prop_map(Body::Fragment),
        1 => transaction().prop_map(|(transaction_id, source_time)| {
            Body::Progress(Progress { transaction_id, source_time })
        }),
        1 => (text(), text(), text()).prop_map(|(host, version, source)| {
            Body::Epoch(EpochStart { host, version, source })
        }),
        1 => (position(), position(), text()).prop_map(|(old_end, new_start, reason)| {
            Body::Timeline(TimelineStart { old_end, new_start, reason })
        }),
        1 => (name, option::of(table()), option::of(table()), text()).prop_map(
            |(table, old, new, ddl)| Body::SchemaChange(SchemaChange { table, old, new, ddl })
        ),
        1 => chunk_begin().prop_map(Body::ChunkBegin),
        1 => chunk_end().prop_map(Body::ChunkEnd),
        1 => text().prop_map(|name| Body::Marker { name }),
        2 => chunk_rows().prop_map(Body::ChunkRows),
    ]
}

pub fn record() -> impl Strategy<Value = Record<'static>> {
    (
        (uuid(), unsigned(), position(), position(), any::<i64>()),
        any::<bool>(),
        attributes(),
        body(),
    )
        .prop_map(|((log_id, epoch, position, after, time), skippable, attributes, body)| {
            Record { log_id, epoch, position, after, time, skippable, attributes, body }
        })
}
