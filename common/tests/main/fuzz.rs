//! Mutated payloads of the log: `corpus/record` has records of every kind, `corpus/entry` entries of the
//! schemas stream.

use lockstep_common::codec::entry::{EntryKey, SchemaEntry};
use lockstep_common::codec::{self, Decoder};
use lockstep_fuzz::{Kind, attack};

use crate::codec::encoded;
use crate::corruption::read_all;

/// What is decoded is a record: written again it is the same one, and its header agrees.
#[test]
fn records() {
    attack(env!("CARGO_MANIFEST_DIR"), "record", Kind::Bytes, |payload| {
        read_all(payload);
        let Ok(record) = codec::decode(payload) else { return };
        let again = encoded(&record);
        let read = codec::decode(&again).expect("what was written is read");
        assert_eq!(encoded(&read), again);
        let header = codec::header(payload).expect("a record that is read has a header");
        assert_eq!(header.position, record.position);
    });
}

#[test]
fn entries() {
    let decoder = Decoder::new();
    attack(env!("CARGO_MANIFEST_DIR"), "entry", Kind::Bytes, |payload| {
        let Ok(entry) = SchemaEntry::decode(payload, &decoder) else { return };
        let again =
            SchemaEntry::decode(&entry.encode(), &decoder).expect("what was written is read");
        assert_eq!(again, entry);
    });
}

/// Keys of the schemas stream, of which another build may write more.
#[test]
fn keys() {
    attack(env!("CARGO_MANIFEST_DIR"), "key", Kind::Bytes, |key| {
        if let Some(read) = EntryKey::parse(key) {
            assert_eq!(EntryKey::parse(&read.to_bytes()), Some(read));
        }
    });
}
