//! Rows of a chunk written and read piece by piece are those written and read whole.

use lockstep_common::Value;
use lockstep_common::codec::{self, ChunkHead, ChunkReader, ChunkWriter};
use lockstep_common::model::record::{Body, ChunkRows, Part, Record};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::codec::encoded;
use crate::{arbitrary, oracle};

#[derive(Clone, Debug)]
enum Step {
    Part(Part<'static>),
    Row(Vec<Value<'static>>),
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => arbitrary::part().prop_map(Step::Part),
        8 => arbitrary::row().prop_map(Step::Row),
        2 => Just(Step::Cut),
    ]
}

fn head() -> impl Strategy<Value = ChunkHead> {
    (
        (arbitrary::uuid(), 0..u64::MAX / 2, arbitrary::position(), arbitrary::position()),
        (any::<i64>(), arbitrary::uuid(), any::<u32>(), arbitrary::table()),
    )
        .prop_map(|((log_id, epoch, position, after), (time, load, chunk, table))| ChunkHead {
            log_id,
            epoch,
            position,
            after,
            time,
            load,
            chunk,
            table,
        })
}

/// The record that the pieces should be.
fn whole(head: &ChunkHead, index: u32, steps: &[Step]) -> Record<'static> {
    let mut rows = ChunkRows {
        load: head.load,
        chunk: head.chunk,
        table: head.table,
        index,
        parts: Vec::new(),
        rows: Vec::new(),
    };
    for step in steps {
        match step {
            Step::Part(part) => rows.parts.push(part.clone()),
            Step::Row(row) => rows.rows.push(row.clone()),
            Step::Cut => {}
        }
    }
    Record {
        log_id: head.log_id,
        epoch: head.epoch,
        position: head.position,
        after: head.after,
        time: head.time,
        skippable: false,
        attributes: Default::default(),
        body: Body::ChunkRows(rows),
    }
}

fn read<'a>(payload: &'a [u8], parts: bool) -> (Vec<Part<'a>>, Vec<Vec<Value<'a>>>) {
    let mut reader = ChunkReader::new(payload).unwrap().expect("rows of a chunk");
    let mut read = (Vec::new(), Vec::new());
    while let Some(part) = if parts { reader.part().unwrap() } else { None } {
        read.0.push(part);
    }
    let mut row = vec![Value::Bool(true)];
    while reader.row(&mut row).unwrap() {
        read.1.push(row.clone());
    }
    assert!(!reader.row(&mut row).unwrap() && row.is_empty());
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_chunk_comes_back_whole(head in head(), mut steps in vec(step(), 0..40)) {
        steps.push(Step::Cut);
        let mut writer = ChunkWriter::new(&head);
        let (mut index, mut rows) = (0, 0);
        for steps in steps.split_inclusive(|step| matches!(step, Step::Cut)) {
            for step in steps {
                match step {
                    Step::Part(part) => writer.push_part(part),
                    Step::Row(row) => writer.push_row(row),
                    Step::Cut => {}
                }
            }
            prop_assert_eq!(writer.nothing_pushed(), steps.len() == 1);
            let bound = writer.len();
            let payload = writer.cut();
            prop_assert!(payload.len() <= bound);
            prop_assert!(writer.nothing_pushed());

            // As apache-avro and the codec for whole records have it.
            let record = whole(&head, index, steps);
            prop_assert_eq!(&payload[..], &encoded(&record)[..]);
            prop_assert_eq!(&payload[..], &oracle::encode(&oracle::record(&record))[..]);

            let Body::ChunkRows(expected) = &record.body else { unreachable!("it is one") };
            let reader = ChunkReader::new(&payload).unwrap().unwrap();
            prop_assert_eq!((reader.load(), reader.chunk()), (head.load, head.chunk));
            prop_assert_eq!((reader.table(), reader.index()), (head.table, index));
            prop_assert_eq!(reader.header(), &codec::header(&payload).unwrap());
            let (parts, got) = read(&payload, true);
            prop_assert_eq!(format!("{parts:?}"), format!("{:?}", expected.parts));
            prop_assert_eq!(format!("{got:?}"), format!("{:?}", expected.rows));
            prop_assert_eq!(format!("{:?}", read(&payload, false).1), format!("{got:?}"));
            rows += got.len() as u64;
            prop_assert_eq!(writer.rows(), rows);
            index += 1;
        }
    }

    #[test]
    fn rows_cut_short_are_an_error(
        head in head(),
        steps in vec(step(), 1..20),
        at in any::<proptest::sample::Index>(),
    ) {
        let payload = encoded(&whole(&head, 0, &steps));
        let cut = &payload[..at.index(payload.len())];
        let mut failed = false;
        match ChunkReader::new(cut) {
            Err(_) => failed = true,
            Ok(reader) => {
                let mut reader = reader.expect("rows of a chunk");
                let mut row = Vec::new();
                loop {
                    match reader.row(&mut row) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(_) => {
                            failed = true;
                            prop_assert!(!reader.row(&mut row).unwrap());
                            break;
                        }
                    }
                }
            }
        }
        prop_assert!(failed);
    }
}

#[test]
fn a_record_of_another_kind_is_no_rows() {
    let head = ChunkHead {
        log_id: uuid::Uuid::nil(),
        epoch: 1,
        position: Default::default(),
        after: Default::default(),
        time: 0,
        load: uuid::Uuid::nil(),
        chunk: 0,
        table: lockstep_common::TableId(1),
    };
    let record = Record { body: Body::Marker { name: "here".into() }, ..whole(&head, 0, &[]) };
    assert!(ChunkReader::new(&encoded(&record)).unwrap().is_none());
}
