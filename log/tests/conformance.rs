//! What both logs must do alike.

use std::time::Duration;

use lockstep_common::codec::entry::{KeptPosition, SchemaEntry};
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::{Handoff, TableLoad, TableStage};
use lockstep_common::{Column, Disposition, LogicalType, TableId, TableName, TableVersion, Value};
use lockstep_log::{Batch, Entry, Item, Schemas, Seek, Stream};
use uuid::Uuid;

use crate::bed::{Bed, drain, halted, read};
use crate::records::{at, place, places, raw, time};

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::bed::Bed::embedded().await).await;
            })*
        }
        mod kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(bed) = crate::bed::Bed::kafka().await {
                    super::$name(bed).await;
                }
            })*
        }
    };
}

conformance!(
    what_is_committed_is_read_in_order_and_nothing_else,
    a_commit_spans_the_streams,
    an_aborted_attempt_is_never_seen,
    a_second_writer_fences_the_first,
    entries_beyond_the_limit_are_committed_between_calls,
    a_large_call_arrives_whole,
    a_new_log_gets_an_identity_once,
    streams_of_different_logs_halt,
    the_tail_of_progress_only,
    the_tail_of_a_complete_transaction,
    the_tail_of_an_unfinished_transaction,
    the_tail_behind_aborted_attempts,
    the_tail_behind_epochs_without_data,
    a_kept_position_outlives_the_transactions,
    a_reader_catches_up_once_and_wakes_on_commit,
    a_dropped_read_loses_nothing,
    an_offset_outside_the_bounds_halts,
    a_position_is_found_at_its_first_fragment,
    a_time_is_found,
    positions_are_found_among_many,
    a_trimmed_log_halts_the_reader_behind,
    the_schemas_stream_compacts_by_key,
    table_versions_are_found_by_id,
    the_newest_definition_and_load_are_given,
    streams_that_are_not_there_halt,
    an_acknowledgement_is_taken,
    a_writer_knows_the_offsets_of_what_it_appended,
    a_fenced_writer_is_given_no_offset,
);

async fn what_is_committed_is_read_in_order_and_nothing_else(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    for n in 1..=100 {
        writer.append(vec![scribe.transaction(n, n - 1)]).await.unwrap();
        if n % 7 == 0 {
            writer.commit().await.unwrap();
        }
    }
    writer.commit().await.unwrap();
    writer.commit().await.expect("a commit of nothing is one too");
    let items = bed.all(Stream::Transactions, 101).await;
    assert_eq!(places(&items), (0..=100).map(|n| (n, 0)).collect::<Vec<_>>());
    assert!(items.windows(2).all(|pair| pair[0].offset < pair[1].offset));
}

async fn a_commit_spans_the_streams(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    let call = vec![
        raw(Stream::Snapshot(0), None, "zero"),
        raw(Stream::Snapshot(3), None, "three"),
        raw(Stream::Schemas, Some("key"), "value"),
        scribe.transaction(1, 0),
    ];
    let before = bed.all(Stream::Schemas, 1).await.len();
    writer.append(call).await.unwrap();
    assert_eq!(bed.all(Stream::Transactions, 1).await.len(), 1);
    assert_eq!(bed.all(Stream::Snapshot(3), 0).await.len(), 0);
    assert_eq!(bed.all(Stream::Schemas, before).await.len(), before);
    writer.commit().await.unwrap();
    assert_eq!(bed.all(Stream::Transactions, 2).await.len(), 2);
    assert_eq!(bed.all(Stream::Snapshot(0), 1).await[0].payload, "zero");
    assert_eq!(bed.all(Stream::Snapshot(1), 0).await.len(), 0);
    assert_eq!(bed.all(Stream::Snapshot(3), 1).await[0].payload, "three");
    let schemas = bed.all(Stream::Schemas, before + 1).await;
    let last = schemas.last().expect("the entry");
    assert_eq!((last.key.as_deref(), &last.payload[..]), (Some(&b"key"[..]), &b"value"[..]));
    assert_eq!(bed.log.snapshot_partitions().await.unwrap(), 4);
}

async fn an_aborted_attempt_is_never_seen(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    writer.append(vec![scribe.transaction(1, 0), scribe.fragment(2, 1, 0, false)]).await.unwrap();
    drop(writer);
    let (mut writer, scribe) = bed.scribe(0).await;
    assert_eq!(scribe.epoch, 2);
    writer.append(vec![scribe.transaction(3, 0)]).await.unwrap();
    writer.commit().await.unwrap();
    let seen = places(&bed.all(Stream::Transactions, 3).await);
    assert_eq!(seen, [(0, 0), (0, 0), (3, 0)]);
}

async fn a_second_writer_fences_the_first(bed: Bed) {
    let (mut first, scribe) = bed.scribe(0).await;
    first.append(vec![scribe.transaction(1, 0)]).await.unwrap();
    let (mut second, younger) = bed.scribe(0).await;
    let mut outcome = first.append(vec![scribe.transaction(2, 1)]).await;
    if outcome.is_ok() {
        outcome = first.commit().await;
    }
    let failure = outcome.expect_err("the first writer is fenced");
    assert_eq!(failure.disposition(), Disposition::Fenced, "{failure}");
    second.append(vec![younger.transaction(5, 0)]).await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(places(&bed.all(Stream::Transactions, 3).await), [(0, 0), (0, 0), (5, 0)]);
}

async fn entries_beyond_the_limit_are_committed_between_calls(bed: Bed) {
    let (mut writer, _) = bed.scribe(0).await;
    let text = "x".repeat(700_000);
    for _ in 0..30 {
        writer.append(vec![raw(Stream::Snapshot(0), None, &text)]).await.unwrap();
    }
    let committed = bed.all(Stream::Snapshot(0), 10).await.len();
    assert!((10..30).contains(&committed), "{committed} of 30 are visible before the commit");
    writer.commit().await.unwrap();
    assert_eq!(bed.all(Stream::Snapshot(0), 30).await.len(), 30);
}

async fn a_large_call_arrives_whole(bed: Bed) {
    let (mut writer, _) = bed.scribe(0).await;
    let text = "y".repeat(500_000);
    let call: Vec<Entry> =
        (0..50).map(|n| raw(Stream::Snapshot(1), None, &format!("{n} {text}"))).collect();
    writer.append(call).await.unwrap();
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Snapshot(1)).await;
    let mut seen = 0;
    while seen < 50 {
        let Batch::Items(items) = read(&mut *reader).await else { continue };
        let bytes: usize = items.iter().map(|item| item.payload.len()).sum();
        assert!(bytes < 4 << 20, "a batch of {bytes} bytes");
        for item in items {
            assert!(item.payload.starts_with(format!("{seen} ").as_bytes()));
            seen += 1;
        }
    }
    assert_eq!(seen, 50);
}

async fn a_new_log_gets_an_identity_once(bed: Bed) {
    let (_, new) = bed.writer().await;
    assert_eq!((new.epoch, new.position, new.time), (0, None, 0));
    assert_eq!((new.kept_log_id, &new.record, &new.kept_position), (None, &None, &None));
    let entries = bed.all(Stream::Schemas, 1).await.len();
    let (_, again) = bed.writer().await;
    assert_eq!((again.log_id, again.kept_log_id), (new.log_id, Some(new.log_id)));
    assert_eq!(bed.all(Stream::Schemas, 1).await.len(), entries, "nothing is written twice");
}

async fn streams_of_different_logs_halt(bed: Bed) {
    let (mut writer, _) = bed.scribe(0).await;
    let other = SchemaEntry::Log { log_id: Uuid::new_v4(), created: 0 };
    writer.append(vec![schema(&other)]).await.unwrap();
    writer.commit().await.unwrap();
    let failure = halted(bed.log.writer().await.map(drop));
    assert_eq!(failure.code.as_str(), "log.identity");
}

async fn the_tail_of_progress_only(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(3).await;
    let progress = scribe.progress(4, 3);
    writer.append(vec![progress.clone()]).await.unwrap();
    writer.commit().await.unwrap();
    let (_, tail) = bed.writer().await;
    assert_eq!((tail.epoch, tail.position, tail.time), (1, Some(at(4)), time(4)));
    assert_eq!(tail.record, Some(progress.payload));
    assert_eq!(tail.log_id, scribe.log_id);
}

async fn the_tail_of_a_complete_transaction(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    let last = scribe.fragment(9, 0, 2, true);
    let call = vec![scribe.fragment(9, 0, 0, false), scribe.fragment(9, 0, 1, false), last.clone()];
    writer.append(call).await.unwrap();
    writer.commit().await.unwrap();
    let (_, tail) = bed.writer().await;
    assert_eq!((tail.position, tail.record), (Some(at(9)), Some(last.payload)));
}

async fn the_tail_of_an_unfinished_transaction(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    let complete = scribe.transaction(6, 0);
    writer.append(vec![scribe.transaction(2, 0), complete.clone()]).await.unwrap();
    for index in 0..40 {
        writer.append(vec![scribe.fragment(9, 6, index, false)]).await.unwrap();
        writer.commit().await.unwrap();
    }
    let (_, tail) = bed.writer().await;
    assert_eq!((tail.epoch, tail.position, tail.time), (1, Some(at(6)), time(9)));
    assert_eq!(tail.record, Some(complete.payload));
}

async fn the_tail_behind_aborted_attempts(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    let complete = scribe.transaction(1, 0);
    writer.append(vec![complete.clone()]).await.unwrap();
    writer.commit().await.unwrap();
    for _ in 0..12 {
        for index in 0..20 {
            writer.append(vec![scribe.fragment(2, 1, index, false)]).await.unwrap();
        }
        drop(writer);
        let tail;
        (writer, tail) = bed.writer().await;
        assert_eq!((tail.epoch, tail.position), (1, Some(at(1))));
        assert_eq!(tail.record, Some(complete.payload.clone()));
    }
}

async fn the_tail_behind_epochs_without_data(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    let complete = scribe.transaction(7, 0);
    writer.append(vec![complete.clone(), scribe.fragment(8, 7, 0, false)]).await.unwrap();
    writer.commit().await.unwrap();
    for epoch in 2..6 {
        let (_, scribe) = bed.scribe(7).await;
        assert_eq!(scribe.epoch, epoch);
    }
    let (_, tail) = bed.writer().await;
    assert_eq!((tail.epoch, tail.position), (5, Some(at(7))));
    assert_eq!(tail.record, Some(complete.payload));
}

async fn a_kept_position_outlives_the_transactions(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    let kept = SchemaEntry::Position(KeptPosition {
        log_id: scribe.log_id,
        epoch: scribe.epoch,
        position: at(1),
        time: time(1),
        transaction_id: None,
        source_time: None,
    });
    writer.append(vec![scribe.transaction(1, 0), schema(&kept)]).await.unwrap();
    writer.commit().await.unwrap();
    let end = bed.reader(Stream::Transactions).await.bounds().await.unwrap().end;
    bed.log.trim(Stream::Transactions, end).await.unwrap();
    let (_, tail) = bed.writer().await;
    assert_eq!((tail.position, tail.epoch, tail.record), (None, 0, None));
    assert_eq!(tail.kept_position.as_deref(), Some(&kept.encode()[..]));
    assert_eq!((tail.log_id, tail.kept_log_id), (scribe.log_id, Some(scribe.log_id)));
}

async fn a_reader_catches_up_once_and_wakes_on_commit(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    let mut reader = bed.reader(Stream::Transactions).await;
    assert_eq!(drain(&mut *reader).await.len(), 1);
    let mut waiting = tokio::spawn(async move {
        let batch = read(&mut *reader).await;
        (reader, batch)
    });
    writer.append(vec![scribe.transaction(1, 0)]).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "nothing is committed, yet the reader woke");
    writer.commit().await.unwrap();
    let (mut reader, batch) = waiting.await.unwrap();
    let Batch::Items(items) = batch else { panic!("caught up twice: {batch:?}") };
    assert_eq!(places(&items), [(1, 0)]);
    let Batch::CaughtUp { next_offset } = read(&mut *reader).await else { panic!("no more items") };
    assert!(next_offset > items[0].offset);
    let bounds = reader.bounds().await.unwrap();
    assert!(next_offset <= bounds.end && bounds.first == 0);
}

async fn a_dropped_read_loses_nothing(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    let mut reader = bed.reader(Stream::Transactions).await;
    let mut seen = Vec::new();
    for n in 1..=200 {
        writer.append(vec![scribe.transaction(n, n - 1)]).await.unwrap();
        if n % 10 == 0 {
            writer.commit().await.unwrap();
        }
        let hurried = tokio::time::timeout(Duration::from_micros(n * 7 % 900), reader.read()).await;
        if let Ok(batch) = hurried
            && let Batch::Items(items) = batch.unwrap()
        {
            seen.extend(items);
        }
    }
    while seen.len() < 201 {
        if let Batch::Items(items) = read(&mut *reader).await {
            seen.extend(items);
        }
    }
    assert_eq!(places(&seen), (0..=200).map(|n| (n, 0)).collect::<Vec<_>>());
}

async fn an_offset_outside_the_bounds_halts(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    writer.append(vec![scribe.transaction(1, 0)]).await.unwrap();
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Transactions).await;
    let end = reader.bounds().await.unwrap().end;
    let failure = halted(reader.seek(Seek::Offset(end + 1)).await);
    assert!(failure.message.contains(&format!("offset {}", end + 1)), "{failure}");
    assert_eq!(reader.seek(Seek::Offset(end)).await.unwrap(), end);
    assert!(matches!(read(&mut *reader).await, Batch::CaughtUp { .. }));
    bed.log.trim(Stream::Transactions, 1).await.unwrap();
    let failure = halted(reader.seek(Seek::Offset(0)).await);
    assert!(failure.message.contains("offset 0 "), "{failure}");
}

async fn a_position_is_found_at_its_first_fragment(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(10).await;
    for call in [
        vec![scribe.transaction(20, 10)],
        vec![scribe.fragment(30, 20, 0, false), scribe.fragment(30, 20, 1, false)],
        vec![scribe.fragment(30, 20, 2, true), scribe.progress(40, 30)],
        vec![scribe.fragment(50, 40, 0, false), scribe.fragment(50, 40, 1, false)],
    ] {
        writer.append(call).await.unwrap();
        writer.commit().await.unwrap();
    }
    // Position 50 is voided here, and then sent again.
    let (mut writer, scribe) = bed.scribe(40).await;
    let again = [(0, false), (1, false), (2, true)];
    for (index, last) in again {
        writer.append(vec![scribe.fragment(50, 40, index, last)]).await.unwrap();
        writer.commit().await.unwrap();
    }
    writer.append(vec![scribe.fragment(60, 50, 0, false)]).await.unwrap();
    writer.commit().await.unwrap();
    writer.append(vec![scribe.fragment(60, 50, 1, false)]).await.unwrap();
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Transactions).await;
    for (after, epoch, expected) in [
        (0, 1, (10, 0)),
        (10, 1, (20, 0)),
        (15, 1, (20, 0)),
        (20, 1, (30, 0)),
        (29, 1, (30, 0)),
        (30, 1, (40, 0)),
        (40, 2, (50, 0)),
        (45, 2, (50, 0)),
        (50, 2, (60, 0)),
    ] {
        reader.seek(Seek::After(at(after))).await.unwrap();
        let Batch::Items(items) = read(&mut *reader).await else { panic!("nothing after {after}") };
        assert_eq!(place(&items[0].payload), expected, "after {after}");
        let header = lockstep_common::codec::header(&items[0].payload).unwrap();
        assert_eq!(header.epoch, epoch, "after {after}");
    }
    reader.seek(Seek::After(at(60))).await.unwrap();
    assert!(matches!(read(&mut *reader).await, Batch::CaughtUp { .. }));
}

async fn a_time_is_found(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(10).await;
    writer.append(vec![scribe.transaction(20, 10)]).await.unwrap();
    writer.commit().await.unwrap();
    writer.append(vec![scribe.fragment(30, 20, 0, false)]).await.unwrap();
    writer.commit().await.unwrap();
    writer.append(vec![scribe.fragment(30, 20, 1, true)]).await.unwrap();
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Transactions).await;
    for (wanted, expected) in [(0, 10), (10, 10), (11, 20), (20, 20), (21, 30), (30, 30)] {
        reader.seek(Seek::Time(time(wanted))).await.unwrap();
        let Batch::Items(items) = read(&mut *reader).await else { panic!("nothing at {wanted}") };
        assert_eq!(place(&items[0].payload), (expected, 0), "at {wanted}");
    }
    let end = reader.seek(Seek::Now).await.unwrap();
    assert_eq!(end, reader.bounds().await.unwrap().end);
    assert!(matches!(read(&mut *reader).await, Batch::CaughtUp { .. }));
    let offset = reader.seek(Seek::Time(time(31))).await.unwrap();
    assert!(offset <= reader.bounds().await.unwrap().end);
    assert!(matches!(read(&mut *reader).await, Batch::CaughtUp { .. }));
    let mut schemas = bed.reader(Stream::Schemas).await;
    halted(schemas.seek(Seek::Time(0)).await);
}

async fn positions_are_found_among_many(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    for n in (10..=3000).step_by(10) {
        writer.append(vec![scribe.transaction(n, n - 10)]).await.unwrap();
        if n % 30 == 0 {
            writer.commit().await.unwrap();
        }
    }
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Transactions).await;
    for n in (5..3000).step_by(405) {
        reader.seek(Seek::After(at(n))).await.unwrap();
        let Batch::Items(items) = read(&mut *reader).await else { panic!("nothing after {n}") };
        assert_eq!(place(&items[0].payload), (n / 10 * 10 + 10, 0));
    }
}

async fn a_trimmed_log_halts_the_reader_behind(bed: Bed) {
    let (mut writer, scribe) = bed.scribe(0).await;
    for n in 1..=20 {
        writer.append(vec![scribe.transaction(n, n - 1)]).await.unwrap();
        writer.commit().await.unwrap();
    }
    let mut behind = bed.reader(Stream::Transactions).await;
    let items = bed.all(Stream::Transactions, 21).await;
    bed.log.trim(Stream::Transactions, items[10].offset).await.unwrap();
    let failure = loop {
        match behind.read().await {
            Ok(Batch::Items(items)) => assert_eq!(place(&items[0].payload), (0, 0), "skipped"),
            Ok(batch) => panic!("passed over the gap: {batch:?}"),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.disposition(), Disposition::Halt, "{failure}");
    assert_eq!(failure.code.as_str(), "log.gap");
    let left = places(&bed.all(Stream::Transactions, 11).await);
    assert_eq!(left, (10..=20).map(|n| (n, 0)).collect::<Vec<_>>());
    let (_, tail) = bed.writer().await;
    assert_eq!(tail.position, Some(at(20)));
    halted(bed.log.trim(Stream::Transactions, 1_000_000).await);
    halted(bed.log.trim(Stream::Schemas, 0).await);
}

async fn the_schemas_stream_compacts_by_key(bed: Bed) {
    let (mut writer, _) = bed.scribe(0).await;
    for n in 0..5 {
        let value = format!("{n}");
        let call = vec![
            raw(Stream::Schemas, Some("a"), &value),
            raw(Stream::Schemas, Some("b"), "b"),
            raw(Stream::Schemas, Some("a"), &value),
        ];
        writer.append(call).await.unwrap();
        writer.commit().await.unwrap();
    }
    // A last entry shows that all before it are there. Kafka compacts when it likes: of each key, the
    // newest is there and comes last.
    let mut reader = bed.reader(Stream::Schemas).await;
    writer.append(vec![raw(Stream::Schemas, Some("end"), "")]).await.unwrap();
    writer.commit().await.unwrap();
    let mut items = Vec::new();
    while items.last().is_none_or(|item: &Item| item.key.as_deref() != Some(b"end")) {
        if let Batch::Items(more) = read(&mut *reader).await {
            items.extend(more);
        }
    }
    for (key, value) in [("a", "4"), ("b", "b")] {
        let newest = items.iter().rfind(|item| item.key.as_deref() == Some(key.as_bytes()));
        assert_eq!(newest.expect("it is kept").payload, value);
    }
}

async fn table_versions_are_found_by_id(bed: Bed) {
    let (mut writer, _) = bed.scribe(0).await;
    let mut schemas = Schemas::open(&*bed.log).await.unwrap();
    let version = table("late");
    let id = version.id();
    let finding = tokio::spawn(async move {
        let found = schemas.table(id).await;
        (schemas, found)
    });
    writer.append(vec![schema(&SchemaEntry::Table(version.clone()))]).await.unwrap();
    writer.commit().await.unwrap();
    let (mut schemas, found) = finding.await.unwrap();
    assert_eq!(*found.unwrap(), version);
    let failure = halted(schemas.table(TableId(17)).await);
    assert!(failure.message.contains(&TableId(17).to_string()), "{failure}");
}

async fn the_newest_definition_and_load_are_given(bed: Bed) {
    let (mut writer, _) = bed.scribe(0).await;
    let mut schemas = Schemas::open(&*bed.log).await.unwrap();
    let (one, two) = (TableId(1), TableId(2));
    assert!(schemas.definition(one).is_none());
    let load = |object_id, chunks| {
        SchemaEntry::Load(TableLoad {
            load: Uuid::from_u128(7),
            reload: false,
            object_id,
            table: one,
            handoff: Handoff::Bracketed,
            stage: TableStage::Reading,
            next_chunk: chunks,
            frontier: Some(vec![Value::I64(i64::from(chunks))]),
            planned: false,
            unfinished: Vec::new(),
            rows: 0,
            bytes: 0,
            from: None,
            read_at: None,
            begins: None,
            held: false,
        })
    };
    for (id, name, chunks) in [(one, "old", 1), (one, "new", 2), (two, "last", 3)] {
        let definition = Definition {
            table: id,
            name: TableName { schema: "dbo".into(), table: name.into() },
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            checks: Vec::new(),
            others: Vec::new(),
        };
        let entries = [load(-7, chunks), SchemaEntry::Definition(definition)];
        writer.append(entries.iter().map(schema).collect()).await.unwrap();
        writer.commit().await.unwrap();
    }
    // What is asked for last came last: when it is there, everything is.
    assert_eq!(schemas.await_definition(two).await.unwrap().name.table, "last");
    assert_eq!(schemas.definition(one).unwrap().name.table, "new");
    let loads: Vec<_> = schemas.loads().cloned().map(SchemaEntry::Load).collect();
    assert_eq!(loads, [load(-7, 3)]);
}

fn schema(entry: &SchemaEntry) -> Entry {
    Entry {
        stream: Stream::Schemas,
        key: Some(entry.key().into()),
        headers: None,
        payload: entry.encode().into(),
    }
}

fn table(name: &str) -> TableVersion {
    TableVersion {
        dialect: "sqlserver".into(),
        object_id: 7,
        origin: None,
        name: TableName { schema: "dbo".into(), table: name.into() },
        columns: vec![Column {
            id: None,
            name: "id".into(),
            ty: LogicalType::Int { bytes: 4 },
            source_type: "int".into(),
            nullable: false,
            collation: None,
            identity: true,
            computed: false,
        }],
        key: vec![0],
    }
}

async fn streams_that_are_not_there_halt(bed: Bed) {
    let _ = bed.writer().await;
    halted(bed.log.reader(Stream::Snapshot(4)).await);
}

async fn an_acknowledgement_is_taken(bed: Bed) {
    let (_, _) = bed.scribe(0).await;
    let mut reader = bed.reader(Stream::Transactions).await;
    drain(&mut *reader).await;
    reader.acknowledge("reporting", 1).await.unwrap();
}

async fn a_writer_knows_the_offsets_of_what_it_appended(bed: Bed) {
    let (mut writer, _) = bed.scribe(0).await;
    assert_eq!(writer.newest(Stream::Snapshot(1)).await.unwrap(), None);
    let mut claims = Vec::new();
    for n in 0..60 {
        let partition = n % 3;
        let stream = Stream::Snapshot(partition);
        let texts: Vec<String> =
            (0..=n % 4).map(|i| format!("{n} {i} {}", "x".repeat(2000))).collect();
        writer.append(texts.iter().map(|text| raw(stream, None, text)).collect()).await.unwrap();
        let newest = writer.newest(stream).await.unwrap().expect("an offset");
        claims.push((partition, newest, texts.last().expect("one at least").clone()));
        if n % 7 == 0 {
            writer.commit().await.unwrap();
            assert_eq!(writer.newest(stream).await.unwrap(), Some(newest), "after the commit");
        }
        if n == 30 {
            // What an earlier writer appended last is not this one's.
            writer.commit().await.unwrap();
            (writer, _) = bed.scribe(0).await;
            assert_eq!(writer.newest(stream).await.unwrap(), None);
        }
    }
    writer.commit().await.unwrap();
    assert_eq!(writer.newest(Stream::Snapshot(3)).await.unwrap(), None);
    for partition in 0..3 {
        let claimed: Vec<_> = claims.iter().filter(|(p, ..)| *p == partition).collect();
        let items = bed.all(Stream::Snapshot(partition), 50).await;
        for (_, offset, text) in claimed {
            let item = items.iter().find(|item| item.offset == *offset).expect("it is there");
            assert_eq!(item.payload, text.as_bytes());
        }
    }
}

async fn a_fenced_writer_is_given_no_offset(bed: Bed) {
    let (mut first, scribe) = bed.scribe(0).await;
    let (_second, _) = bed.scribe(0).await;
    let mut outcome = first.append(vec![scribe.transaction(2, 1)]).await.map(|()| None);
    if outcome.is_ok() {
        outcome = first.newest(Stream::Transactions).await;
    }
    let failure = outcome.expect_err("the first writer is fenced");
    assert_eq!(failure.disposition(), Disposition::Fenced, "{failure}");
}
