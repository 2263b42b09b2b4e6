//! Every published schema can be read by this version, and what a later one may add is told apart.

use std::path::Path;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::types::Value as Avro;
use lockstep_common::codec::entry::{EntryKey, SchemaEntry, writer_schemas};
use lockstep_common::codec::{self, DecodeError, Decoder, RECORD_SCHEMA};
use lockstep_common::model::record::{Body, Record};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::codec::encoded;
use crate::{arbitrary, oracle};

fn fingerprint(schema: &Schema) -> u64 {
    let bytes = schema.fingerprint::<Rabin>().bytes;
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn name(schema: &Schema) -> String {
    schema.name().unwrap().name().to_owned()
}

/// The schemas this version writes with.
fn current() -> Vec<Schema> {
    writer_schemas()
        .iter()
        .map(|entry| match entry {
            SchemaEntry::WriterSchema { fingerprint: stated, json } => {
                let schema = Schema::parse_str(json).unwrap();
                assert_eq!(*stated, fingerprint(&schema));
                assert_eq!(entry.key(), EntryKey::WriterSchema(*stated).to_bytes());
                schema
            }
            other => panic!("not a schema: {other:?}"),
        })
        .collect()
}

/// `schemas/v1/<name>-<fingerprint>.avsc`: what releases have written with.
fn published() -> Vec<Schema> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/v1");
    let mut schemas = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let schema = Schema::parse_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let expected = format!("{}-{:016x}.avsc", name(&schema), fingerprint(&schema));
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), expected);
        schemas.push(schema);
    }
    schemas
}

#[test]
fn the_current_schemas_are_among_the_published() {
    let published: Vec<u64> = published().iter().map(fingerprint).collect();
    for schema in current() {
        let (name, print) = (name(&schema), fingerprint(&schema));
        assert!(
            published.contains(&print),
            "publish {name} as schemas/v1/{name}-{print:016x}.avsc"
        );
    }
}

#[test]
fn every_published_schema_resolves_with_the_current_one() {
    for writer in published() {
        let reader = current().into_iter().find(|s| s.name() == writer.name()).unwrap();
        SchemaCompatibility::can_read(&writer, &reader).unwrap();
    }
}

/// Our schema with something changed, as another version would have it.
struct Other {
    schema: Schema,
    decoder: Decoder,
}

impl Other {
    fn new(change: impl FnOnce(&mut Json)) -> Self {
        let mut json: Json = serde_json::from_str(RECORD_SCHEMA).unwrap();
        change(&mut json);
        let schema = Schema::parse_str(&json.to_string()).unwrap();
        let mut decoder = Decoder::new();
        decoder.add(fingerprint(&schema), &json.to_string()).unwrap();
        Other { schema, decoder }
    }

    fn encode(&self, value: &Avro) -> Vec<u8> {
        oracle::encode_with(&self.schema, fingerprint(&self.schema), value)
    }
}

fn field<'j>(record: &'j mut Json, name: &str) -> &'j mut Json {
    let fields = record["fields"].as_array_mut().unwrap();
    &mut fields.iter_mut().find(|f| f["name"] == name).unwrap()["type"]
}

/// A later version: a field at the head and in the fragment, a kind, an operation.
fn later() -> Other {
    Other::new(|record| {
        let fields = record["fields"].as_array_mut().unwrap();
        fields.insert(0, json!({"name": "novelty", "type": "string", "default": ""}));
        let body = field(record, "body");
        let fragment = &mut body[0];
        let fields = fragment["fields"].as_array_mut().unwrap();
        fields.push(json!({"name": "checksum", "type": "long", "default": 0}));
        let change = &mut field(fragment, "changes")["items"];
        field(change, "operation")["symbols"].as_array_mut().unwrap().push(json!("MERGE"));
        let beacon = json!({"type": "record", "name": "Beacon", "fields": [
            {"name": "name", "type": "string"}
        ]});
        // Ahead of ours, so that numbers of branches differ too.
        body.as_array_mut().unwrap().insert(7, beacon);
    })
}

fn fields(value: &mut Avro) -> &mut Vec<(String, Avro)> {
    match value {
        Avro::Record(fields) => fields,
        other => panic!("not a record: {other:?}"),
    }
}

/// What the later version would write for the same record.
fn as_later(record: &Record<'_>) -> Avro {
    let mut value = oracle::record(record);
    let fields_of_record = fields(&mut value);
    fields_of_record.insert(0, ("novelty".into(), Avro::String("new".into())));
    let Avro::Union(number, body) = &mut fields_of_record.last_mut().unwrap().1 else {
        unreachable!("the body is a union")
    };
    if *number == 0 {
        fields(body).push(("checksum".into(), Avro::Long(7)));
    } else if *number >= 7 {
        *number += 1;
    }
    value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_later_writer_is_read_with_its_schema(record in arbitrary::record()) {
        let later = later();
        let payload = later.encode(&as_later(&record));
        prop_assert!(matches!(codec::decode(&payload), Err(DecodeError::UnknownSchema(_))));
        let translated = later.decoder.translate(&payload).unwrap();
        let read = codec::decode(&translated).unwrap();
        prop_assert_eq!(encoded(&read), encoded(&record));
        let read = later.decoder.decode(&payload).unwrap();
        prop_assert_eq!(encoded(&read), encoded(&record));
        prop_assert_eq!(
            later.decoder.header(&payload).unwrap(),
            codec::header(&encoded(&record)).unwrap()
        );
    }

    #[test]
    fn a_foreign_payload_cut_short_is_an_error(
        record in arbitrary::record(),
        at in any::<proptest::sample::Index>(),
    ) {
        let later = later();
        let payload = later.encode(&as_later(&record));
        let cut = &payload[..at.index(payload.len())];
        prop_assert!(later.decoder.decode(cut).is_err());
    }
}

fn marker(skippable: bool) -> Record<'static> {
    Record {
        log_id: uuid::Uuid::nil(),
        epoch: 1,
        position: Default::default(),
        after: Default::default(),
        time: 0,
        skippable,
        attributes: Default::default(),
        body: Body::Marker { name: "beacon".into() },
    }
}

#[test]
fn an_unknown_kind_is_named_and_says_whether_it_may_be_skipped() {
    let later = later();
    for skippable in [false, true] {
        let mut value = as_later(&marker(skippable));
        let Avro::Union(number, _) = &mut fields(&mut value).last_mut().unwrap().1 else {
            unreachable!("the body is a union")
        };
        *number = 7;
        match later.decoder.translate(&later.encode(&value)) {
            Err(DecodeError::UnknownKind { kind, skippable: said }) => {
                assert_eq!((kind.as_str(), said), ("Beacon", skippable));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_unknown_operation_or_value_is_refused() {
    let other = Other::new(|record| {
        let fragment = &mut field(record, "body")[0];
        let change = &mut field(fragment, "changes")["items"];
        let symbols = field(change, "operation")["symbols"].as_array_mut().unwrap();
        symbols.push(json!("MERGE"));
        let key = &mut field(change, "before")[1];
        let cells = field(field(key, "key"), "cells")["items"].as_array_mut().unwrap();
        cells.push(json!({"type": "record", "name": "Interval", "fields": [
            {"name": "months", "type": "int"}
        ]}));
    });
    let change = |operation: Avro, cell: Avro| {
        let row = |cells| Avro::Record(vec![("cells".into(), Avro::Array(cells))]);
        Avro::Record(vec![
            ("table".into(), Avro::Fixed(8, vec![0; 8])),
            ("operation".into(), operation),
            ("changed".into(), Avro::Bytes(Vec::new())),
            ("before".into(), Avro::Union(0, Box::new(Avro::Null))),
            ("after".into(), row(vec![cell])),
            ("attributes".into(), Avro::Map(Default::default())),
        ])
    };
    let insert = Avro::Enum(0, "INSERT".into());
    let merge = Avro::Enum(4, "MERGE".into());
    let null = Avro::Union(0, Box::new(Avro::Null));
    let interval = Avro::Union(19, Box::new(Avro::Record(vec![("months".into(), Avro::Int(3))])));
    let cases = [
        (change(insert.clone(), null.clone()), None),
        (change(merge, null), Some("MERGE")),
        (change(insert, interval), Some("Interval")),
    ];
    for (change, refused) in cases {
        let record = Record {
            body: Body::Fragment(lockstep_common::model::record::Fragment {
                boundary: lockstep_common::model::record::Boundary::SourceTransaction,
                transaction_id: None,
                source_time: None,
                index: 0,
                last: true,
                changes_before: 0,
                totals: Vec::new(),
                parts: Vec::new(),
                changes: Vec::new(),
            }),
            ..marker(false)
        };
        let mut value = oracle::record(&record);
        let Avro::Union(_, body) = &mut fields(&mut value).last_mut().unwrap().1 else {
            unreachable!("the body is a union")
        };
        let changes = fields(body).iter_mut().find(|(name, _)| name == "changes").unwrap();
        changes.1 = Avro::Array(vec![change]);
        match (other.decoder.decode(&other.encode(&value)), refused) {
            (Ok(_), None) => {}
            (Err(DecodeError::Unresolved(what)), Some(name)) => assert!(what.contains(name)),
            (other, _) => panic!("{other:?}"),
        }
    }
}
