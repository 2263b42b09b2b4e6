//! The record's Avro schema and the numbers the codec takes from it.
//!
//! apache-avro defines, fingerprints and checks; the codec only repeats the order of fields and the
//! numbers of branches and symbols. Tests hold both against the schema.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;

use super::{DecodeError, bound};

/// The schema of the records of the transactions and snapshot streams.
pub const RECORD_SCHEMA: &str = include_str!("../../../schemas/record.avsc");

/// CRC-64-AVRO fingerprint of [`RECORD_SCHEMA`]'s parsing canonical form.
pub const RECORD_FINGERPRINT: u64 = 0x6503_60a5_6ff3_36d7;

/// [`RECORD_SCHEMA`], parsed.
pub(super) static RECORD: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse_str(RECORD_SCHEMA).expect("the embedded schema is valid"));

/// The CRC-64-AVRO fingerprint of a schema's parsing canonical form.
pub(crate) fn fingerprint(schema: &Schema) -> u64 {
    let digest = schema.fingerprint::<Rabin>().bytes;
    let bytes = digest.first_chunk::<8>().expect("CRC-64 has eight bytes");
    u64::from_le_bytes(*bytes)
}

/// Parses a schema, which must be one that can be read by without harm, and fingerprints it.
pub(crate) fn parse(json: &str) -> Result<(u64, Schema), DecodeError> {
    bound::text(json).map_err(DecodeError::BadSchema)?;
    let schema = Schema::parse_str(json).map_err(DecodeError::schema)?;
    bound::types(&schema).map_err(DecodeError::BadSchema)?;
    Ok((fingerprint(&schema), schema))
}

/// The two bytes that open an Avro single-object encoding.
pub(crate) const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];

/// Splits a single-object encoding into the fingerprint of its schema and the datum.
pub(crate) fn split(payload: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let Some((head, datum)) = payload.split_first_chunk::<10>() else {
        return Err(DecodeError::NotSingleObject);
    };
    let [a, b, fingerprint @ ..] = *head;
    if [a, b] != SINGLE_OBJECT {
        return Err(DecodeError::NotSingleObject);
    }
    Ok((u64::from_le_bytes(fingerprint), datum))
}

/// Appends the head of a single-object encoding.
pub(crate) fn put_head(out: &mut Vec<u8>, fingerprint: u64) {
    out.extend_from_slice(&SINGLE_OBJECT);
    out.extend_from_slice(&fingerprint.to_le_bytes());
}

/// Numbers of the branches of `Row.cells`, and so of `Variant.value`.
pub(super) mod branch {
    pub(in crate::codec) const NULL: u8 = 0;
    pub(in crate::codec) const BOOL: u8 = 1;
    pub(in crate::codec) const I64: u8 = 2;
    pub(in crate::codec) const F32: u8 = 3;
    pub(in crate::codec) const F64: u8 = 4;
    pub(in crate::codec) const STRING: u8 = 5;
    pub(in crate::codec) const BYTES: u8 = 6;
    pub(in crate::codec) const DECIMAL: u8 = 7;
    pub(in crate::codec) const UUID: u8 = 8;
    pub(in crate::codec) const DATE: u8 = 9;
    pub(in crate::codec) const TIME: u8 = 10;
    pub(in crate::codec) const TIMESTAMP: u8 = 11;
    pub(in crate::codec) const TIMESTAMP_TZ: u8 = 12;
    pub(in crate::codec) const UTF16: u8 = 13;
    pub(in crate::codec) const GEOMETRY: u8 = 14;
    pub(in crate::codec) const OTHER: u8 = 15;
    pub(in crate::codec) const UNAVAILABLE: u8 = 16;
    pub(in crate::codec) const LONG: u8 = 17;
    pub(in crate::codec) const VARIANT: u8 = 18;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a union's branches, in order.
    fn branches(schema: &Schema) -> Vec<String> {
        let Schema::Union(union) = schema else { panic!("not a union: {schema:?}") };
        union
            .variants()
            .iter()
            .map(|s| match s.name() {
                Some(name) => name.name().to_owned(),
                None => format!("{:?}", s.clone()).to_lowercase(),
            })
            .collect()
    }

    fn field<'s>(schema: &'s Schema, name: &str) -> &'s Schema {
        let Schema::Record(record) = schema else { panic!("not a record: {schema:?}") };
        &record.fields.iter().find(|f| f.name == name).expect("a field of the schema").schema
    }

    fn items(schema: &Schema) -> &Schema {
        let Schema::Array(array) = schema else { panic!("not an array: {schema:?}") };
        &array.items
    }

    #[test]
    fn the_fingerprint_is_the_schemas() {
        assert_eq!(fingerprint(&RECORD), RECORD_FINGERPRINT, "{:#018x}", fingerprint(&RECORD));
        // The specification's own example of byte order and algorithm.
        let (int, _) = parse("\"int\"").unwrap();
        assert_eq!(int, 0x7275_d51a_3f39_5c8f);
    }

    #[test]
    fn branch_numbers_are_the_schemas() {
        let Schema::Union(bodies) = field(&RECORD, "body") else { panic!("body is a union") };
        let fragment = &bodies.variants()[0];
        let change = items(field(fragment, "changes"));
        let Schema::Union(before) = field(change, "before") else { panic!("before is a union") };
        let cells = items(field(field(&before.variants()[1], "key"), "cells"));
        let names = branches(cells);
        let expected = [
            (branch::NULL, "null"),
            (branch::BOOL, "boolean"),
            (branch::I64, "long"),
            (branch::F32, "float"),
            (branch::F64, "double"),
            (branch::STRING, "string"),
            (branch::BYTES, "bytes"),
            (branch::DECIMAL, "Decimal"),
            (branch::UUID, "Uuid"),
            (branch::DATE, "Date"),
            (branch::TIME, "Time"),
            (branch::TIMESTAMP, "Timestamp"),
            (branch::TIMESTAMP_TZ, "TimestampTz"),
            (branch::UTF16, "Utf16"),
            (branch::GEOMETRY, "Geometry"),
            (branch::OTHER, "Other"),
            (branch::UNAVAILABLE, "Unavailable"),
            (branch::LONG, "Long"),
            (branch::VARIANT, "Variant"),
        ];
        assert_eq!(names.len(), expected.len());
        for (number, name) in expected {
            assert_eq!(names[usize::from(number)], name);
        }
        let Schema::Union(union) = cells else { unreachable!() };
        let variant = &union.variants()[usize::from(branch::VARIANT)];
        assert_eq!(branches(field(variant, "value")), names[..names.len() - 1]);
    }

    #[test]
    fn kinds_are_the_schemas() {
        let kinds: Vec<_> = super::super::KINDS.iter().map(|k| k.name().to_owned()).collect();
        assert_eq!(branches(field(&RECORD, "body")), kinds);
    }
}
