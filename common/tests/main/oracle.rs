//! apache-avro as the judge of the codec: a record as the generic value that
//! `schemas/record.avsc` makes of it, written field by field from the schema and not from the codec.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use lockstep_common::codec::{RECORD_FINGERPRINT, RECORD_SCHEMA};
use lockstep_common::model::record::{
    Before, Body, Boundary, Change, ChunkBegin, ChunkEnd, ChunkRows, Fragment, Operation, Part,
    Record, SchemaChange, SourceTime,
};
use lockstep_common::{LongKind, Position, TableId, Value};
use uuid::Uuid;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse_str(RECORD_SCHEMA).expect("a valid schema"));

/// What apache-avro makes of a record's value.
pub fn encode(value: &Avro) -> Vec<u8> {
    encode_with(&SCHEMA, RECORD_FINGERPRINT, value)
}

/// The same, with another schema.
pub fn encode_with(schema: &Schema, fingerprint: u64, value: &Avro) -> Vec<u8> {
    let mut out = vec![0xC3, 0x01];
    out.extend_from_slice(&fingerprint.to_le_bytes());
    let writer = GenericDatumWriter::builder(schema).build().unwrap();
    writer.write_value_ref(&mut out, value).unwrap();
    out
}

/// What apache-avro reads.
pub fn decode(payload: &[u8]) -> Avro {
    assert_eq!(payload[..2], [0xC3, 0x01]);
    assert_eq!(payload[2..10], RECORD_FINGERPRINT.to_le_bytes());
    let mut datum = &payload[10..];
    let value =
        GenericDatumReader::builder(&SCHEMA).build().unwrap().read_value(&mut datum).unwrap();
    assert!(datum.is_empty(), "apache-avro leaves {} bytes", datum.len());
    value
}

pub fn record(record: &Record<'_>) -> Avro {
    fields([
        ("log_id", uuid(record.log_id)),
        ("epoch", long(record.epoch)),
        ("position", position(&record.position)),
        ("after", position(&record.after)),
        ("time", Avro::Long(record.time)),
        ("skippable", Avro::Boolean(record.skippable)),
        ("attributes", map(&record.attributes)),
        ("body", body(&record.body)),
    ])
}

fn body(body: &Body<'_>) -> Avro {
    match body {
        Body::Fragment(v) => branch(0, fragment(v)),
        Body::Progress(v) => branch(
            1,
            fields([
                ("transaction_id", optional(v.transaction_id.clone().map(Avro::Bytes))),
                ("source_time", optional(v.source_time.as_ref().map(source_time))),
            ]),
        ),
        Body::Epoch(v) => branch(
            2,
            fields([
                ("host", string(&v.host)),
                ("version", string(&v.version)),
                ("source", string(&v.source)),
            ]),
        ),
        Body::Timeline(v) => branch(
            3,
            fields([
                ("old_end", position(&v.old_end)),
                ("new_start", position(&v.new_start)),
                ("reason", string(&v.reason)),
            ]),
        ),
        Body::SchemaChange(v) => branch(4, schema_change(v)),
        Body::ChunkBegin(v) => branch(5, chunk_begin(v)),
        Body::ChunkEnd(v) => branch(6, chunk_end(v)),
        Body::Marker { name } => branch(7, fields([("name", string(name))])),
        Body::ChunkRows(v) => branch(8, chunk_rows(v)),
    }
}

fn fragment(v: &Fragment<'_>) -> Avro {
    let boundary = match v.boundary {
        Boundary::SourceTransaction => symbol(0, "SOURCE_TRANSACTION"),
        Boundary::Batch => symbol(1, "BATCH"),
    };
    fields([
        ("index", long(v.index)),
        ("last", Avro::Boolean(v.last)),
        ("changes_before", long(v.changes_before)),
        ("boundary", boundary),
        ("transaction_id", optional(v.transaction_id.clone().map(Avro::Bytes))),
        ("source_time", optional(v.source_time.as_ref().map(source_time))),
        ("parts", array(&v.parts, part)),
        ("changes", array(&v.changes, change)),
        (
            "totals",
            array(&v.totals, |total| {
                fields([("table", table(total.table)), ("changes", long(total.changes))])
            }),
        ),
    ])
}

fn schema_change(v: &SchemaChange) -> Avro {
    let name = fields([("schema", string(&v.table.schema)), ("table", string(&v.table.table))]);
    fields([
        ("table", name),
        ("old", optional(v.old.map(table))),
        ("new", optional(v.new.map(table))),
        ("ddl", string(&v.ddl)),
    ])
}

fn chunk_begin(v: &ChunkBegin) -> Avro {
    fields([
        ("load", uuid(v.load)),
        ("chunk", long(v.chunk)),
        ("table", table(v.table)),
        ("lower", optional(v.lower.as_deref().map(row))),
        ("upper", optional(v.upper.as_deref().map(row))),
    ])
}

fn chunk_end(v: &ChunkEnd) -> Avro {
    let offsets =
        v.offsets.map(|(first, last)| fields([("first", long(first)), ("last", long(last))]));
    fields([
        ("load", uuid(v.load)),
        ("chunk", long(v.chunk)),
        ("table", table(v.table)),
        ("partition", long(v.partition)),
        ("offsets", optional(offsets)),
        ("rows", long(v.rows)),
    ])
}

fn chunk_rows(v: &ChunkRows<'_>) -> Avro {
    fields([
        ("load", uuid(v.load)),
        ("chunk", long(v.chunk)),
        ("table", table(v.table)),
        ("index", long(v.index)),
        ("parts", array(&v.parts, part)),
        ("rows", array(&v.rows, |r| row(r))),
    ])
}

fn part(part: &Part<'_>) -> Avro {
    fields([("id", long(part.id)), ("data", Avro::Bytes(part.data.to_vec()))])
}

fn change(change: &Change<'_>) -> Avro {
    let operation = match change.operation {
        Operation::Insert => symbol(0, "INSERT"),
        Operation::Update => symbol(1, "UPDATE"),
        Operation::Delete => symbol(2, "DELETE"),
        Operation::Truncate => symbol(3, "TRUNCATE"),
    };
    let before = match &change.before {
        Before::None => branch(0, Avro::Null),
        Before::Key(key) => branch(1, fields([("key", row(key))])),
        Before::Full(full) => branch(2, fields([("row", row(full))])),
    };
    fields([
        ("table", table(change.table)),
        ("operation", operation),
        ("changed", Avro::Bytes(change.changed.to_vec())),
        ("before", before),
        ("after", row(&change.after)),
        ("attributes", map(&change.attributes)),
    ])
}

fn row(cells: &[Value<'_>]) -> Avro {
    fields([("cells", array(cells, cell))])
}

fn cell(value: &Value<'_>) -> Avro {
    match value {
        Value::Null => branch(0, Avro::Null),
        Value::Bool(v) => branch(1, Avro::Boolean(*v)),
        Value::I64(v) => branch(2, Avro::Long(*v)),
        Value::F32(v) => branch(3, Avro::Float(*v)),
        Value::F64(v) => branch(4, Avro::Double(*v)),
        Value::String(v) => branch(5, string(v)),
        Value::Bytes(v) => branch(6, Avro::Bytes(v.to_vec())),
        Value::Decimal { unscaled, scale } => branch(
            7,
            fields([("unscaled", Avro::Bytes(shortest(*unscaled))), ("scale", int(*scale))]),
        ),
        Value::Uuid(v) => branch(8, fields([("uuid", Avro::Fixed(16, v.to_vec()))])),
        Value::Date(v) => branch(9, fields([("date", int(*v))])),
        Value::Time(v) => branch(10, fields([("time", Avro::Long(*v))])),
        Value::Timestamp(v) => branch(11, fields([("timestamp", Avro::Long(*v))])),
        Value::TimestampTz { ticks, offset } => {
            branch(12, fields([("timestamptz", Avro::Long(*ticks)), ("offset", int(*offset))]))
        }
        Value::Utf16(v) => branch(13, fields([("utf16", Avro::Bytes(v.to_vec()))])),
        Value::Geometry { wkb, srid } => {
            branch(14, fields([("wkb", Avro::Bytes(wkb.to_vec())), ("srid", int(*srid))]))
        }
        Value::Other { type_name, text } => {
            branch(15, fields([("type_name", string(type_name)), ("text", string(text))]))
        }
        Value::Unavailable => branch(16, fields([])),
        Value::Long(v) => {
            let kind = match v.kind {
                LongKind::Text => symbol(0, "TEXT"),
                LongKind::Utf16 => symbol(1, "UTF16"),
                LongKind::Bytes => symbol(2, "BYTES"),
            };
            branch(
                17,
                fields([
                    ("long", long(v.id)),
                    ("length", long(v.length)),
                    ("digest", Avro::Fixed(32, v.digest.to_vec())),
                    ("kind", kind),
                ]),
            )
        }
        Value::Variant { type_name, value: inner } => {
            branch(18, fields([("type_name", string(type_name)), ("value", cell(inner))]))
        }
    }
}

/// Drops leading bytes as long as the next one has the same sign.
fn shortest(unscaled: i128) -> Vec<u8> {
    let mut bytes = unscaled.to_be_bytes().to_vec();
    while bytes.len() > 1
        && ((bytes[0] == 0 && bytes[1] < 0x80) || (bytes[0] == 0xFF && bytes[1] >= 0x80))
    {
        bytes.remove(0);
    }
    bytes
}

fn fields<const N: usize>(fields: [(&str, Avro); N]) -> Avro {
    Avro::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn branch(number: u32, value: Avro) -> Avro {
    Avro::Union(number, Box::new(value))
}

fn optional(value: Option<Avro>) -> Avro {
    value.map_or(branch(0, Avro::Null), |value| branch(1, value))
}

fn symbol(number: u32, name: &str) -> Avro {
    Avro::Enum(number, name.to_owned())
}

fn array<T>(items: &[T], item: impl FnMut(&T) -> Avro) -> Avro {
    Avro::Array(items.iter().map(item).collect())
}

fn map(map: &BTreeMap<String, String>) -> Avro {
    Avro::Map(map.iter().map(|(key, value)| (key.clone(), string(value))).collect())
}

fn string(text: &str) -> Avro {
    Avro::String(text.to_owned())
}

fn long(number: impl TryInto<i64>) -> Avro {
    Avro::Long(number.try_into().ok().expect("at most i64::MAX"))
}

fn int(number: impl Into<i32>) -> Avro {
    Avro::Int(number.into())
}

fn uuid(uuid: Uuid) -> Avro {
    Avro::Fixed(16, uuid.as_bytes().to_vec())
}

fn table(table: TableId) -> Avro {
    Avro::Fixed(8, table.0.to_be_bytes().to_vec())
}

fn position(position: &Position) -> Avro {
    fields([
        ("timeline", long(position.timeline())),
        ("source", Avro::Bytes(position.source().to_vec())),
    ])
}

fn source_time(time: &SourceTime) -> Avro {
    fields([("raw", string(&time.raw)), ("offset", int(time.offset))])
}
