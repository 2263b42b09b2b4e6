//! What somebody who may write the log could write: refused, without a panic and in bounded memory.

use lockstep_common::codec::{DecodeError, Decoder, RECORD_SCHEMA};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::arbitrary;

/// A record as another version writes it: some fields more.
fn schema_with(field: Value) -> String {
    let mut schema: Value = serde_json::from_str(RECORD_SCHEMA).unwrap();
    schema["fields"].as_array_mut().unwrap().push(json!({ "name": "more", "type": field }));
    schema.to_string()
}

fn added(json: &str) -> Result<(Decoder, u64), DecodeError> {
    let mut decoder = Decoder::new();
    // The wrong fingerprint is named only of a schema that is accepted.
    let message = match decoder.add(0, json) {
        Err(DecodeError::BadSchema(message)) => message,
        other => panic!("{other:?}"),
    };
    let Some((_, actual)) = message.split_once("its fingerprint is ") else {
        return Err(DecodeError::BadSchema(message));
    };
    let fingerprint = u64::from_str_radix(actual, 16).unwrap();
    decoder.add(fingerprint, json)?;
    Ok((decoder, fingerprint))
}

#[test]
fn a_schema_that_a_value_could_abuse_is_refused() {
    let within = json!({ "type": "record", "name": "Within", "fields": [
        { "name": "next", "type": ["null", "Within"] }] });
    let by_array = json!({ "type": "record", "name": "Tree", "fields": [
        { "name": "below", "type": { "type": "array", "items": "Tree" } }] });
    let two = json!({ "type": "record", "name": "One", "fields": [{ "name": "two", "type":
        { "type": "record", "name": "Two", "fields": [{ "name": "one", "type": ["null", "One"] }] } }] });
    let empty = json!({ "type": "record", "name": "Empty", "fields": [] });
    let holder = json!({ "type": "record", "name": "Holder",
        "fields": [{ "name": "none", "type": "null" }] });
    let mut deep = json!("long");
    for _ in 0..60 {
        deep = json!({ "type": "array", "items": deep });
    }
    let chain: Vec<Value> = (0..2000)
        .map(|n| {
            let next = if n == 1999 { json!("long") } else { json!(format!("N{}", n + 1)) };
            json!({ "type": "record", "name": format!("N{n}"), "fields": [{ "name": "n", "type": next }] })
        })
        .rev()
        .collect();
    for field in [
        within,
        by_array,
        two,
        json!({ "type": "array", "items": "null" }),
        json!({ "type": "map", "values": "null" }),
        json!({ "type": "array", "items": empty }),
        json!({ "type": "array", "items": holder }),
        json!({ "type": "array", "items": { "type": "fixed", "name": "Nothing", "size": 0 } }),
        deep,
        Value::Array(chain),
        json!({ "type": "string", "doc": "x".repeat(300 << 10) }),
    ] {
        let refused = added(&schema_with(field.clone()));
        let shown: String = field.to_string().chars().take(200).collect();
        assert!(matches!(refused, Err(DecodeError::BadSchema(_))), "{shown}");
    }
    for text in ["[".repeat(100_000), "{\"type\":".repeat(100_000), "\u{0}".into(), "\"[[\"".into()]
    {
        assert!(matches!(Decoder::new().add(0, &text), Err(DecodeError::BadSchema(_))));
    }
    // What a later version may well write is not.
    for field in [
        json!(["null", "long"]),
        json!({ "type": "array", "items": ["null", { "type": "record", "name": "E", "fields": [] }] }),
        json!({ "type": "map", "values": { "type": "array", "items": "string" } }),
    ] {
        added(&schema_with(field)).unwrap();
    }
    added(RECORD_SCHEMA).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_of_a_foreign_schema_do_no_harm(
        record in arbitrary::record(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..8),
        noise in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (decoder, fingerprint) = added(&schema_with(json!({ "type": "array", "items": "string" })))
            .unwrap();
        let head = [&[0xC3, 0x01][..], &fingerprint.to_le_bytes()].concat();
        let mut payload = [&head[..], &crate::codec::encoded(&record)[10..], &[0]].concat();
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        for payload in [payload, [head, noise].concat()] {
            let _ = decoder.decode(&payload);
            let _ = decoder.header(&payload);
        }
    }

    #[test]
    fn a_count_of_a_foreign_schema_is_believed_only_as_far_as_bytes_follow(
        record in arbitrary::record(),
    ) {
        let (decoder, fingerprint) =
            added(&schema_with(json!({ "type": "array", "items": "string" }))).unwrap();
        let head = [&[0xC3, 0x01][..], &fingerprint.to_le_bytes()].concat();
        // 2^33 items, and 2^47 of them, and a text of 2^33 bytes.
        for claim in [
            &[0x80, 0x80, 0x80, 0x80, 0x40][..],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40],
            &[0x02, 0x80, 0x80, 0x80, 0x80, 0x40],
        ] {
            let own = &crate::codec::encoded(&record)[10..];
            let payload = [&head[..], own, claim, &[0; 64]].concat();
            prop_assert!(matches!(decoder.decode(&payload), Err(DecodeError::Corrupt(_))));
        }
    }
}
