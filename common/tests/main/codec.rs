//! The codec and apache-avro agree, in both directions.

use lockstep_common::codec::{self, FragmentHeader, Kind};
use lockstep_common::model::record::{Body, Record};
use proptest::prelude::*;

use crate::{arbitrary, oracle};

/// A record's bytes; with them NaNs can be compared.
pub fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode(record, &mut out);
    out
}

/// Equality in which a NaN equals itself and zero has a sign.
fn same(a: &Record<'_>, b: &Record<'_>) -> bool {
    encoded(a) == encoded(b) && format!("{a:?}") == format!("{b:?}")
}

fn kind(body: &Body<'_>) -> Kind {
    match body {
        Body::Fragment(_) => Kind::Fragment,
        Body::Progress(_) => Kind::Progress,
        Body::Epoch(_) => Kind::Epoch,
        Body::Timeline(_) => Kind::Timeline,
        Body::SchemaChange(_) => Kind::SchemaChange,
        Body::ChunkBegin(_) => Kind::ChunkBegin,
        Body::ChunkEnd(_) => Kind::ChunkEnd,
        Body::Marker { .. } => Kind::Marker,
        Body::ChunkRows(_) => Kind::ChunkRows,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn ours_is_what_apache_avro_reads(record in arbitrary::record()) {
        let read = oracle::decode(&encoded(&record));
        prop_assert_eq!(format!("{:?}", sorted(read)), format!("{:?}", sorted(oracle::record(&record))));
    }

    #[test]
    fn what_apache_avro_writes_is_ours(record in arbitrary::record()) {
        let written = oracle::encode(&oracle::record(&record));
        let read = codec::decode(&written).unwrap();
        prop_assert!(same(&read, &record), "{read:?}\n{record:?}");
    }

    #[test]
    fn a_record_round_trips_and_owning_it_changes_nothing(record in arbitrary::record()) {
        let payload = encoded(&record);
        let read = codec::decode(&payload).unwrap();
        prop_assert!(same(&read, &record));
        prop_assert!(same(&read.into_owned(), &record));
    }

    #[test]
    fn the_header_is_the_records(record in arbitrary::record()) {
        let header = codec::header(&encoded(&record)).unwrap();
        prop_assert_eq!(header.log_id, record.log_id);
        prop_assert_eq!(header.epoch, record.epoch);
        prop_assert_eq!(header.position, record.position);
        prop_assert_eq!(header.after, record.after);
        prop_assert_eq!(header.time, record.time);
        prop_assert_eq!(header.skippable, record.skippable);
        prop_assert_eq!(header.kind, kind(&record.body));
        let fragment = match &record.body {
            Body::Fragment(f) => Some(FragmentHeader {
                index: f.index,
                last: f.last,
                changes_before: f.changes_before,
            }),
            _ => None,
        };
        prop_assert_eq!(header.fragment, fragment);
    }
}

/// Maps print in a random order.
fn sorted(value: apache_avro::types::Value) -> apache_avro::types::Value {
    use apache_avro::types::Value as Avro;
    match value {
        Avro::Record(fields) => {
            Avro::Record(fields.into_iter().map(|(name, v)| (name, sorted(v))).collect())
        }
        Avro::Array(items) => Avro::Array(items.into_iter().map(sorted).collect()),
        Avro::Union(n, v) => Avro::Union(n, Box::new(sorted(*v))),
        Avro::Map(map) => {
            let ordered: std::collections::BTreeMap<_, _> = map.into_iter().collect();
            Avro::Record(ordered.into_iter().collect())
        }
        other => other,
    }
}
