//! Every type of a source column, exactly or by rule, through COPY and through arrays.

use std::borrow::Cow;

use lockstep_common::{LogicalType, TICKS_PER_DAY, Value};

use crate::bed::Bed;
use crate::source::{BIGINT, INT, TEXT, insert, int, table, text, update};

/// 2026-11-23T10:20:30 in seconds since 1970.
const MOMENT: i64 = 1_795_429_230;

fn columns() -> Vec<(&'static str, LogicalType)> {
    vec![
        ("id", INT),
        ("flag", LogicalType::Bool),
        ("tiny", LogicalType::Int { bytes: 1 }),
        ("small", LogicalType::Int { bytes: 2 }),
        ("big", BIGINT),
        ("amount", LogicalType::Decimal { precision: 38, scale: 4 }),
        ("money", LogicalType::Decimal { precision: 19, scale: 4 }),
        ("single", LogicalType::F32),
        ("double", LogicalType::F64),
        ("fixed", LogicalType::String { max: Some(5), fixed: true }),
        ("short", LogicalType::String { max: Some(40), fixed: false }),
        ("long", TEXT),
        ("raw", LogicalType::Bytes { max: None }),
        ("guid", LogicalType::Uuid),
        ("day", LogicalType::Date),
        ("clock", LogicalType::Time { digits: 7 }),
        ("stamp", LogicalType::Timestamp { digits: 3 }),
        ("exact", LogicalType::Timestamp { digits: 7 }),
        ("zoned", LogicalType::TimestampTz { digits: 7 }),
    ]
}

fn row(id: i64) -> Vec<Value<'static>> {
    vec![
        int(id),
        Value::Bool(true),
        int(255),
        int(-32_768),
        int(i64::MIN),
        Value::Decimal { unscaled: -99_999_999_999_999_999_999_999_999_999_999_999_999, scale: 4 },
        Value::Decimal { unscaled: 9_223_372_036_854_775_807, scale: 4 },
        Value::F32(1.1),
        Value::F64(-0.1),
        text("ab   "),
        text("naïve 🦀"),
        text("trailing  "),
        Value::Bytes(Cow::Owned(vec![0, 1, 255])),
        Value::Uuid([0x11; 16]),
        Value::Date(-719_162),
        Value::Time(TICKS_PER_DAY - 1),
        Value::Timestamp((MOMENT * 1000 + 7) * 10_000),
        Value::Timestamp(MOMENT * 10_000_000 + 1_234_567),
        Value::TimestampTz { ticks: MOMENT * 10_000_000 + 1_234_567, offset: -300 },
    ]
}

fn shown(id: i64) -> String {
    [
        &id.to_string(),
        "t",
        "255",
        "-32768",
        "-9223372036854775808",
        "-9999999999999999999999999999999999.9999",
        "922337203685477.5807",
        "1.1",
        "-0.1",
        "ab   ",
        "naïve 🦀",
        "trailing  ",
        "\\x0001ff",
        "11111111-1111-1111-1111-111111111111",
        "0001-01-01",
        "23:59:59.999999",
        "2026-11-23 10:20:30.007",
        "2026-11-23 10:20:30.123456",
        "2026-11-23 10:20:30.123456+00",
    ]
    .join("|")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_arrives_by_every_statement() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&table("types", 1, &columns())).await;
    let nulls = |id| {
        let mut row = vec![Value::Null; columns().len()];
        row[0] = int(id);
        row
    };
    // One row: INSERT. Many: COPY.
    bed.source.commit(&[insert(t, row(1))]).await;
    bed.source.commit(&[insert(t, row(2)), insert(t, nulls(3)), insert(t, nulls(4))]).await;
    bed.source.commit(&[insert(t, nulls(5)), insert(t, nulls(6))]).await;
    // One row: parameters. Many: arrays, nulls among them.
    bed.source.commit(&[update(t, nulls(3), row(3))]).await;
    bed.source
        .commit(&[
            update(t, nulls(4), row(4)),
            update(t, row(1), nulls(1)),
            update(t, nulls(5), row(5)),
        ])
        .await;
    bed.catch_up().await;
    let found = bed.query("SELECT * FROM types WHERE flag ORDER BY id").await;
    assert_eq!(found, [2, 3, 4, 5].map(shown));
    let empty = bed.query("SELECT id FROM types WHERE num_nulls(types.*) > 0 ORDER BY id").await;
    let nulls = bed
        .query(
            "SELECT id FROM types WHERE flag IS NULL AND zoned IS NULL AND raw IS NULL ORDER BY id",
        )
        .await;
    assert_eq!((nulls, empty.len()), (vec!["1".to_owned(), "6".to_owned()], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_rows_of_every_type_identify() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&table("heap", 0, &columns())).await;
    let mut other = row(1);
    other[7] = Value::Null;
    bed.source.commit(&[insert(t, row(1)), insert(t, other.clone()), insert(t, row(2))]).await;
    bed.source.commit(&[crate::source::delete(t, other), update(t, row(1), row(7))]).await;
    bed.catch_up().await;
    let found = bed.query("SELECT * FROM heap ORDER BY id").await;
    // Behind the columns the seventh digits of the times, by which rows are matched too.
    assert_eq!(found, [2, 7].map(|id| shown(id) + "|9|7|7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn created_columns_have_exact_types() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&table("types", 1, &columns())).await;
    bed.source.commit(&[insert(t, row(1))]).await;
    bed.catch_up().await;
    let types = bed
        .query(
            "SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) \
             FROM pg_attribute WHERE attrelid = 'types'::regclass AND attnum > 0",
        )
        .await;
    assert_eq!(
        types,
        ["integer,boolean,smallint,smallint,bigint,numeric(38,4),numeric(19,4),real,\
          double precision,character(5),character varying(40),text,bytea,uuid,date,\
          time(6) without time zone,timestamp(3) without time zone,\
          timestamp(6) without time zone,timestamp(6) with time zone"]
    );
}
