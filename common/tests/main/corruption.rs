//! Damaged payloads: an error, never a panic, never a record that was not written, and no memory for
//! a length that only claims to be there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lockstep_common::codec::entry::SchemaEntry;
use lockstep_common::codec::{
    self, ChunkReader, DecodeError, Decoder, FragmentHead, FragmentReader, FragmentWriter,
    RECORD_FINGERPRINT, RECORD_SCHEMA,
};
use lockstep_common::model::record::{Before, Boundary, Change, Operation, SourceTime};
use lockstep_common::{TableId, Value};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::arbitrary;
use crate::codec::encoded;

/// Everything that reads a payload, reads it.
pub fn read_all(payload: &[u8]) {
    let _ = codec::decode(payload);
    let _ = codec::header(payload);
    if let Ok(Some(mut reader)) = FragmentReader::new(payload) {
        let mut read = 0;
        while reader.part().is_ok_and(|part| part.is_some())
            || reader.change().is_ok_and(|change| change.is_some())
            || reader.total().is_ok_and(|total| total.is_some())
        {
            read += 1;
            assert!(read <= payload.len(), "a reader that does not end");
        }
    }
    if let Ok(Some(mut reader)) = ChunkReader::new(payload) {
        let (mut row, mut read) = (Vec::new(), 0);
        while reader.row(&mut row).is_ok_and(|more| more) {
            read += 1;
            assert!(read <= payload.len(), "a reader that does not end");
        }
    }
    let _ = SchemaEntry::decode(payload, &Decoder::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_truncated_record_is_an_error(record in arbitrary::record(), at in any::<Index>()) {
        let payload = encoded(&record);
        let cut = &payload[..at.index(payload.len())];
        read_all(cut);
        prop_assert!(codec::decode(cut).is_err());
    }

    #[test]
    fn bytes_after_a_record_are_an_error(record in arbitrary::record(), more in 1..5usize) {
        let mut payload = encoded(&record);
        payload.resize(payload.len() + more, 0);
        prop_assert!(codec::decode(&payload).is_err());
        if let Some(mut reader) = FragmentReader::new(&payload).unwrap() {
            let end = loop {
                match reader.total() {
                    Ok(Some(_)) => {}
                    end => break end,
                }
            };
            prop_assert!(end.is_err());
        }
    }

    #[test]
    fn changed_bytes_do_no_harm(
        record in arbitrary::record(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let mut payload = encoded(&record);
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        read_all(&payload);
    }

    #[test]
    fn noise_does_no_harm(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut payload = vec![0xC3, 0x01];
        payload.extend_from_slice(&RECORD_FINGERPRINT.to_le_bytes());
        payload.extend_from_slice(&noise);
        read_all(&payload);
        read_all(&noise);
    }
}

fn head() -> FragmentHead {
    FragmentHead {
        log_id: uuid::Uuid::nil(),
        epoch: 1,
        position: Default::default(),
        after: Default::default(),
        time: 0,
        attributes: Default::default(),
        boundary: Boundary::SourceTransaction,
        transaction_id: None,
        source_time: None,
    }
}

/// A fragment's encoding up to its arrays, each of which is empty.
fn empty_fragment() -> Vec<u8> {
    FragmentWriter::new(&head()).finish().to_vec()
}

#[test]
fn a_count_is_believed_only_as_far_as_bytes_follow() {
    let mut payload = empty_fragment();
    assert!(codec::decode(&payload).is_ok());
    // Parts, changes, totals: three empty arrays at the end. Claim 2^40 parts instead.
    payload.truncate(payload.len() - 3);
    payload.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
    payload.extend_from_slice(&[0; 64]);
    assert!(matches!(codec::decode(&payload), Err(DecodeError::Corrupt(_))));
}

#[test]
fn blocks_with_sizes_and_several_blocks_are_read() {
    let mut payload = empty_fragment();
    payload.truncate(payload.len() - 3);
    // One part in a block of count -1 and size 3, one in a plain block: `id 1, "a"`, `id 1, "b"`.
    payload.extend_from_slice(&[0x01, 0x06, 0x02, 0x02, b'a', 0x02, 0x02, 0x02, b'b', 0x00]);
    payload.extend_from_slice(&[0x00, 0x00]);
    let record = codec::decode(&payload).unwrap();
    let lockstep_common::model::record::Body::Fragment(fragment) = record.body else {
        unreachable!()
    };
    let data: Vec<_> = fragment.parts.iter().map(|p| (p.id, &*p.data)).collect();
    assert_eq!(data, [(1, &b"a"[..]), (1, &b"b"[..])]);
}

#[test]
fn text_that_is_not_utf8_is_an_error_wherever_it_stands() {
    let mark = |n: u32| format!("text {n}");
    let attributes = |n| BTreeMap::from([(mark(n), mark(n + 1))]);
    let mut writer = FragmentWriter::new(&FragmentHead {
        attributes: attributes(0),
        source_time: Some(SourceTime { raw: mark(2), offset: 0 }),
        ..head()
    });
    writer.push_change(&Change {
        table: TableId(1),
        operation: Operation::Update,
        changed: Cow::Borrowed(&[1]),
        before: Before::Key(vec![Value::String(mark(3).into())]),
        after: vec![
            Value::String(mark(4).into()),
            Value::Other { type_name: mark(5).into(), text: mark(6).into() },
            Value::Variant {
                type_name: mark(7).into(),
                value: Box::new(Value::String(mark(8).into())),
            },
        ],
        attributes: attributes(9),
    });
    let good = writer.finish();
    let read = |payload: &[u8]| {
        let mut reader = FragmentReader::new(payload)?.expect("a fragment");
        while reader.total()?.is_some() {}
        codec::decode(payload).map(drop)
    };
    read(&good).unwrap();
    for n in 0..=10 {
        let mark = mark(n);
        let at = good.windows(mark.len() + 1).position(|bytes| bytes[1..] == *mark.as_bytes());
        let mut payload = good.to_vec();
        payload[at.expect("it is there") + 1] = 0xFF;
        let not_utf8 =
            |error: DecodeError| matches!(error, DecodeError::Corrupt("text that is not UTF-8"));
        assert!(read(&payload).is_err_and(not_utf8), "{mark}");
        assert!(codec::decode(&payload).is_err_and(not_utf8), "{mark}");
        // The header's own text; what the body says is not looked at.
        assert_eq!(codec::header(&payload).is_err(), n < 2, "{mark}");
    }
}

#[test]
fn what_is_not_ours_is_named() {
    assert!(matches!(codec::decode(b"{}"), Err(DecodeError::NotSingleObject)));
    let mut payload = empty_fragment();
    payload[2] ^= 1;
    assert!(matches!(
        codec::decode(&payload),
        Err(DecodeError::UnknownSchema(f)) if f == RECORD_FINGERPRINT ^ 1
    ));
    let mut decoder = Decoder::new();
    assert!(matches!(decoder.add(1, RECORD_SCHEMA), Err(DecodeError::BadSchema(_))));
    assert!(matches!(decoder.add(1, "not a schema"), Err(DecodeError::BadSchema(_))));
}
