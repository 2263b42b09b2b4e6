//! Columns of offsets beside `datetimeoffset` columns.

use lockstep_apply::ApplySettings;
use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::{LogicalType, TableVersion, Value};
use uuid::Uuid;

use crate::bed::Bed;
use crate::source::{INT, TEXT, change, delete, insert, int, text, typed, update};

const LOAD: Uuid = Uuid::from_u128(7);

pub fn events(keys: u16) -> TableVersion {
    let zoned = LogicalType::TimestampTz { digits: 7 };
    typed(
        "events",
        keys,
        &[
            ("id", "int", INT),
            ("at", "datetimeoffset(7)", zoned.clone()),
            ("until", "datetimeoffset(0)", zoned),
            ("what", "nvarchar(max)", TEXT),
        ],
    )
}

fn event(id: i64, offset: i16, until: Value<'static>, what: &str) -> Vec<Value<'static>> {
    vec![int(id), Value::TimestampTz { ticks: 0, offset }, until, text(what)]
}

fn zoned(offset: i16) -> Value<'static> {
    Value::TimestampTz { ticks: 10_000_000, offset }
}

const EVENTS: &str = "SELECT id, at_offset, until_offset, what FROM events ORDER BY id, at_offset";

fn with_offsets(bed: &Bed) -> ApplySettings {
    let mut settings = bed.settings();
    settings.config.offset_columns = Some("_offset".into());
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_go_to_columns_of_their_own() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&events(1)).await;
    let unavailable = |mut row: Vec<Value<'static>>, column: usize| {
        row[column] = Value::Unavailable;
        row
    };
    bed.source.commit(&[insert(t, event(1, -330, Value::Null, "one"))]).await;
    bed.source
        .commit(&[
            insert(t, event(2, 0, zoned(60), "two")),
            insert(t, event(3, 840, zoned(-840), "3")),
        ])
        .await;
    bed.source
        .commit(&[update(t, event(2, 0, zoned(60), "two"), event(2, 90, zoned(60), "two"))])
        .await;
    bed.source
        .commit(&[
            update(t, event(1, -330, Value::Null, "one"), event(1, 1, zoned(2), "one")),
            update(t, event(3, 840, zoned(-840), "3"), event(3, 840, Value::Null, "3")),
        ])
        .await;
    // A value that is not given leaves its offset as well.
    bed.source
        .commit(&[change(
            t,
            Operation::Update,
            Before::Key(vec![int(2)]),
            unavailable(unavailable(event(2, 5, zoned(7), "x"), 1), 3),
        )])
        .await;
    bed.catch_up_with(with_offsets(&bed)).await;
    assert_eq!(bed.query(EVENTS).await, ["1|1|2|one", "2|90|7|two", "3|840|NULL|3"]);
    let types = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || \
        CASE WHEN attnotnull THEN '!' ELSE '' END, ',' ORDER BY attnum) \
        FROM pg_attribute WHERE attrelid = 'events'::regclass AND attnum > 4";
    assert_eq!(bed.query(types).await, ["at_offset smallint,until_offset smallint"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_go_into_tables_that_are_there_and_tell_rows_without_a_key_apart() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&events(0)).await;
    let row = |offset| event(1, offset, Value::Null, "same instant");
    bed.source.commit(&[insert(t, row(60)), insert(t, row(120))]).await;
    bed.source.commit(&[update(t, row(120), row(180)), delete(t, row(60))]).await;
    bed.query("CREATE TABLE events (what text, at_offset int, until_offset smallint, id int, at timestamptz, until timestamptz)").await;
    bed.catch_up_with(with_offsets(&bed)).await;
    assert_eq!(bed.query(EVENTS).await, ["1|180|NULL|same instant"]);
    bed.query("ALTER TABLE events DROP COLUMN at_offset").await;
    bed.source.commit(&[insert(t, row(1))]).await;
    let failure = bed.start_with(with_offsets(&bed), Default::default()).halts().await;
    assert!(failure.message.contains("column \"at_offset\" is missing"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_loaded_and_overlaid() {
    let mut bed = Bed::new().await;
    let t = bed.source.defined(&events(1)).await;
    let plain = ChunkAttributes { from: None, restart: false };
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed)]).await;
    bed.source.chunk_begin((LOAD, t, 0), plain).await;
    // The offset of `at` was given, that of `until` was not.
    let mut partial = event(2, 99, zoned(98), "x");
    partial[2] = Value::Unavailable;
    partial[3] = Value::Unavailable;
    bed.source.commit(&[change(t, Operation::Update, Before::Key(vec![int(2)]), partial)]).await;
    let rows = [event(1, 1, zoned(2), "a"), event(2, 3, zoned(4), "b"), event(3, 5, zoned(6), "c")];
    let offsets = bed.source.chunk_rows((LOAD, t, 0), 0, &rows, 2).await;
    bed.source.chunk_end((LOAD, t, 0), 0, offsets, 3).await;
    bed.source.table_read(LOAD, t, 1, 3).await;
    bed.source.end_load(LOAD).await;
    bed.source.commit(&[update(t, event(3, 5, zoned(6), "c"), event(3, 7, zoned(6), "c"))]).await;
    bed.catch_up_with(with_offsets(&bed)).await;
    assert_eq!(bed.query(EVENTS).await, ["1|1|2|a", "2|99|4|b", "3|7|6|c"]);
}
