//! Records of the log as JSON for programs and as lines for people.

use lockstep_common::model::record::{Before, Body, Change, Operation, Record};
use lockstep_common::{TableVersion, Value};
use serde_json::{Map, json};
use time::{Duration, OffsetDateTime};

/// A value as JSON. What JSON cannot hold exactly (integers beyond 2^53, decimals, bytes, times) is
/// text; what is not there is an object that says so.
pub(crate) fn to_json(value: &Value<'_>) -> serde_json::Value {
    const EXACT: i64 = 1 << 53;
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Unavailable => json!({"unavailable": true}),
        Value::Bool(v) => json!(v),
        Value::I64(v) if (-EXACT..=EXACT).contains(v) => json!(v),
        Value::I64(v) => json!(v.to_string()),
        Value::Decimal { unscaled, scale } => json!(decimal(*unscaled, *scale)),
        Value::F32(v) => json!(v),
        Value::F64(v) => json!(v),
        Value::String(v) => json!(v),
        Value::Utf16(v) => json!({"utf16": hex(v)}),
        Value::Bytes(v) => json!(format!("0x{}", hex(v))),
        Value::Uuid(v) => json!(uuid(v)),
        Value::Date(days) => json!(date(i64::from(*days))),
        Value::Time(ticks) => json!(time_of_day(*ticks)),
        Value::Timestamp(ticks) => json!(timestamp(*ticks)),
        Value::TimestampTz { ticks, offset } => json!(timestamp_tz(*ticks, *offset)),
        Value::Variant { type_name, value: inner } => {
            json!({"type": type_name, "value": to_json(inner)})
        }
        Value::Geometry { wkb, srid } => json!({"wkb": hex(wkb), "srid": srid}),
        Value::Long(long) => {
            json!({"long": {"id": long.id, "length": long.length, "sha256": hex(&long.digest)}})
        }
        Value::Other { type_name, text } => json!({"type": type_name, "text": text}),
    }
}

fn decimal(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uuid(bytes: &[u8; 16]) -> String {
    let text = hex(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// Days since 1970-01-01 as a date of the proleptic Gregorian calendar.
fn date(days: i64) -> String {
    let date = OffsetDateTime::UNIX_EPOCH.date().checked_add(Duration::days(days));
    match date {
        Some(date) => {
            format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
        }
        // Only a record nobody's capture wrote has one; it is shown as what it is.
        None => format!("day {days}"),
    }
}

fn time_of_day(ticks: i64) -> String {
    let (seconds, fraction) = (ticks / 10_000_000, ticks % 10_000_000);
    format!("{:02}:{:02}:{:02}.{fraction:07}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// 100 ns since 1970 as text without a zone.
pub(crate) fn timestamp(ticks: i64) -> String {
    use lockstep_common::TICKS_PER_DAY;
    format!(
        "{}T{}",
        date(ticks.div_euclid(TICKS_PER_DAY)),
        time_of_day(ticks.rem_euclid(TICKS_PER_DAY))
    )
}

fn timestamp_tz(ticks: i64, offset: i16) -> String {
    let local = timestamp(ticks + i64::from(offset) * 600_000_000);
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.unsigned_abs();
    format!("{local}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// The name of an operation.
pub(crate) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Truncate => "truncate",
    }
}

/// The name of a record's kind.
pub(crate) fn kind(body: &Body<'_>) -> &'static str {
    match body {
        Body::Fragment(_) => "transaction",
        Body::Progress(_) => "progress",
        Body::Epoch(_) => "epoch",
        Body::Timeline(_) => "timeline",
        Body::SchemaChange(_) => "schema_change",
        Body::ChunkBegin(_) => "chunk_begin",
        Body::ChunkEnd(_) => "chunk_end",
        Body::Marker { .. } => "marker",
        Body::ChunkRows(_) => "chunk_rows",
    }
}

/// What every record has, as the start of its JSON.
pub(crate) fn head(offset: u64, record: &Record<'_>) -> Map<String, serde_json::Value> {
    let mut out = Map::new();
    out.insert("offset".into(), json!(offset));
    out.insert("kind".into(), json!(kind(&record.body)));
    out.insert("position".into(), json!(record.position));
    out.insert("after".into(), json!(record.after));
    out.insert("epoch".into(), json!(record.epoch));
    out.insert("time".into(), json!(format!("{}Z", timestamp(record.time))));
    if !record.attributes.is_empty() {
        out.insert("attributes".into(), json!(record.attributes));
    }
    out
}

/// A change with its columns' names.
pub(crate) fn change(change: &Change<'_>, table: &TableVersion) -> serde_json::Value {
    let mut out = Map::new();
    out.insert("table".into(), json!(table.name.to_string()));
    out.insert("operation".into(), json!(operation(change.operation)));
    let all = || table.columns.iter().map(|column| column.name.as_str());
    match &change.before {
        Before::None => {}
        Before::Key(values) => {
            let names = table.key.iter().filter_map(|i| table.columns.get(usize::from(*i)));
            out.insert("key".into(), row(names.map(|column| column.name.as_str()), values));
        }
        Before::Full(values) => {
            out.insert("before".into(), row(all(), values));
        }
    }
    if !change.after.is_empty() {
        out.insert("after".into(), row(all(), &change.after));
    }
    serde_json::Value::Object(out)
}

fn row<'n>(names: impl Iterator<Item = &'n str>, values: &[Value<'_>]) -> serde_json::Value {
    names.zip(values).map(|(name, v)| (name.to_owned(), to_json(v))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_people_write_them() {
        let text = |v: Value<'_>| to_json(&v).to_string();
        assert_eq!(text(Value::Decimal { unscaled: -5, scale: 4 }), "\"-0.0005\"");
        assert_eq!(text(Value::Decimal { unscaled: 12_345, scale: 0 }), "\"12345\"");
        assert_eq!(text(Value::Date(0)), "\"1970-01-01\"");
        assert_eq!(text(Value::Date(-719_162)), "\"0001-01-01\"");
        assert_eq!(text(Value::Date(11_016)), "\"2000-02-29\"");
        assert_eq!(text(Value::Timestamp(-1)), "\"1969-12-31T23:59:59.9999999\"");
        assert_eq!(
            text(Value::TimestampTz { ticks: 0, offset: -330 }),
            "\"1969-12-31T18:30:00.0000000-05:30\""
        );
        assert_eq!(text(Value::I64(i64::MAX)), "\"9223372036854775807\"");
    }
}
