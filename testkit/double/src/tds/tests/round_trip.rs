//! What is encoded decodes to itself, and nothing that arrives makes a parser panic.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::engine::collation::Label;
use crate::tds::decode::read_param;
use crate::tds::encode::{Cell, put_cell, put_type_info, put_units};
use crate::tds::login::Login;
use crate::tds::prelogin::PreLogin;
use crate::tds::reader::Reader;
use crate::tds::request::{parse_batch, parse_transaction};
use crate::tds::rpc;
use crate::value::Variant;

const DAY: u64 = 864_000_000_000;

fn number() -> BoxedStrategy<(SqlType, Value)> {
    let decimal = (1..=38u8, 0..=38u8, any::<i128>()).prop_map(|(precision, scale, n)| {
        let scale = scale.min(precision);
        let unscaled = n % 10i128.pow(u32::from(precision));
        (SqlType::Decimal { precision, scale }, Value::Decimal { unscaled, scale })
    });
    let numeric = decimal.clone().prop_map(|(ty, value)| match ty {
        SqlType::Decimal { precision, scale } => (SqlType::Numeric { precision, scale }, value),
        other => (other, value),
    });
    prop_oneof![
        any::<bool>().prop_map(|v| (SqlType::Bit, Value::Bit(v))),
        any::<u8>().prop_map(|v| (SqlType::TinyInt, Value::TinyInt(v))),
        any::<i16>().prop_map(|v| (SqlType::SmallInt, Value::SmallInt(v))),
        any::<i32>().prop_map(|v| (SqlType::Int, Value::Int(v))),
        any::<i64>().prop_map(|v| (SqlType::BigInt, Value::BigInt(v))),
        any::<i64>().prop_map(|v| (SqlType::Money, Value::Money(v))),
        any::<i32>().prop_map(|v| (SqlType::SmallMoney, Value::SmallMoney(v))),
        any::<f64>().prop_map(|v| (SqlType::Float, Value::Float(v))),
        any::<f32>().prop_map(|v| (SqlType::Real, Value::Real(v))),
        any::<[u8; 16]>().prop_map(|v| (SqlType::UniqueIdentifier, Value::Guid(v))),
        decimal,
        numeric,
    ]
    .boxed()
}

fn moment() -> BoxedStrategy<(SqlType, Value)> {
    let parts = (0..=7u8, 0..=3_652_058u32, 0..DAY, -840..=840i16);
    let scaled = |scale: u8, time: u64| time - time % 10u64.pow(u32::from(7 - scale));
    prop_oneof![
        (0..=3_652_058u32).prop_map(|days| (SqlType::Date, Value::Date(days))),
        (any::<u16>(), 0..1440u16).prop_map(|(days, minutes)| (
            SqlType::SmallDateTime,
            Value::SmallDateTime { days, minutes }
        )),
        (-53_690..=2_958_463i32, 0..25_920_000u32)
            .prop_map(|(days, ticks)| (SqlType::DateTime, Value::DateTime { days, ticks })),
        parts.clone().prop_map(move |(scale, _, time, _)| (
            SqlType::Time(scale),
            Value::Time(scaled(scale, time))
        )),
        parts.clone().prop_map(move |(scale, days, time, _)| (
            SqlType::DateTime2(scale),
            Value::DateTime2 { days, time: scaled(scale, time) }
        )),
        parts.prop_map(move |(scale, days, time, offset)| (
            SqlType::DateTimeOffset(scale),
            Value::DateTimeOffset { days, time: scaled(scale, time), offset }
        )),
    ]
    .boxed()
}

fn string() -> BoxedStrategy<(SqlType, Value)> {
    let bytes = (vec(any::<u8>(), 0..300), any::<bool>());
    let units = (vec(any::<u16>(), 0..300), any::<bool>());
    let limit = |length: usize, max: bool| (!max).then_some(length.max(1) as u16);
    prop_oneof![
        bytes.clone().prop_map(move |(b, max)| (
            SqlType::VarChar(limit(b.len(), max)),
            Value::String(b.into())
        )),
        bytes.clone().prop_map(move |(b, max)| (
            SqlType::VarBinary(limit(b.len(), max)),
            Value::Binary(b.into())
        )),
        bytes.prop_map(|(b, _)| (SqlType::Binary(b.len().max(1) as u16), Value::Binary(b.into()))),
        units.clone().prop_map(move |(u, max)| (
            SqlType::NVarChar(limit(u.len(), max)),
            Value::NString(u.into())
        )),
        units.prop_map(|(u, _)| (SqlType::NChar(u.len().max(1) as u16), Value::NString(u.into()))),
    ]
    .boxed()
}

/// A `sql_variant`, and the types that travel like MAX ones.
fn large() -> BoxedStrategy<(SqlType, Value)> {
    let variant = prop_oneof![number(), moment(), string()]
        .prop_filter("what fits a sql_variant", |(ty, _)| ty.fits_variant())
        .prop_map(|(ty, value)| {
            (SqlType::Variant, Value::Variant(Arc::new(Variant { ty, value })))
        });
    let units = vec(0x20..0xD800u16, 0..300).prop_map(|u| Value::NString(u.into()));
    prop_oneof![
        3 => variant,
        1 => units.prop_map(|value| (SqlType::Xml, value)),
    ]
    .boxed()
}

/// Encodes as a parameter; MAX values in chunks of `chunk` bytes, their length told or not.
fn encode(ty: &SqlType, nullable: bool, value: &Value, chunk: usize, told: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_type_info(&mut out, ty, nullable, Label::default());
    let mut units_as_bytes = Vec::new();
    let bytes: &[u8] =
        match put_cell(&mut out, ty, nullable, Label::default(), value).expect("of its type") {
            Cell::Written => return out,
            Cell::Bytes(bytes) => bytes,
            Cell::Units(units) => {
                put_units(&mut units_as_bytes, units);
                &units_as_bytes
            }
            Cell::Converted(_) => panic!("of the server's own page"),
        };
    let total = if told { bytes.len() as u64 } else { u64::MAX - 1 };
    out.extend_from_slice(&total.to_le_bytes());
    for chunk in bytes.chunks(chunk) {
        out.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out.extend_from_slice(&[0; 4]);
    out
}

proptest! {
    #[test]
    fn every_value_decodes_to_itself(
        (ty, value) in prop_oneof![number(), moment(), string(), large()],
        nullable: bool,
        null: bool,
        chunk in 1..100usize,
        told: bool,
    ) {
        let value = if null && nullable { Value::Null } else { value };
        let bytes = encode(&ty, nullable, &value, chunk, told);
        let mut reader = Reader::new(&bytes, "test");
        prop_assert_eq!(read_param(&mut reader), Ok((ty, value)));
        prop_assert!(reader.is_empty());
        // No part of it passes for the whole.
        for cut in 0..bytes.len() {
            prop_assert!(read_param(&mut Reader::new(&bytes[..cut], "test")).is_err());
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused(
        (ty, _) in prop_oneof![number(), moment(), string()],
        (other, value) in prop_oneof![number(), moment(), string()],
        nullable: bool,
    ) {
        prop_assume!(std::mem::discriminant(&ty) != std::mem::discriminant(&other));
        if let Ok(Cell::Written) = put_cell(&mut Vec::new(), &ty, nullable, Label::default(), &value) {
            // Only strings of one kind share their values, within the length.
            prop_assert!(matches!(value, Value::String(_) | Value::NString(_) | Value::Binary(_)));
        }
    }

    #[test]
    fn nothing_that_arrives_makes_a_parser_panic(
        noise in vec(any::<u8>(), 0..400),
        headers: bool,
    ) {
        let payload = if headers { [&4u32.to_le_bytes()[..], &noise].concat() } else { noise };
        let _ = PreLogin::parse(&payload);
        let _ = Login::parse(&payload);
        let _ = parse_batch(&payload);
        let _ = parse_transaction(&payload);
        let _ = rpc::parse(&payload);
        let _ = read_param(&mut Reader::new(&payload, "test"));
    }
}
