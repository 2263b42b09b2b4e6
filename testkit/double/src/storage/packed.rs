//! Rows as they are kept: one piece of memory each, values one after another.
//!
//! A row in use is a slice of [`Value`]s, some three hundred bytes for ten columns and as many
//! allocations as it has strings. A table of millions of rows must not cost that, so versions
//! keep this form: a tag for each value and the fewest bytes that hold it. It needs no
//! definition to be read.

use std::sync::Arc;

use super::Row;
use super::codec::{self, Code};
use crate::engine::collation::Label;
use crate::value::{Str, Variant};
use crate::{SqlType, Value};

/// A row in little memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Packed(Box<[u8]>);

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const TINY_INT: u8 = 3;
const SMALL_INT: u8 = 4;
const INT: u8 = 5;
const BIG_INT: u8 = 6;
/// Scale, length, magnitude; the next tag is that of negative ones.
const DECIMAL: u8 = 7;
const NEGATIVE: u8 = 8;
const MONEY: u8 = 9;
const SMALL_MONEY: u8 = 10;
const FLOAT: u8 = 11;
const REAL: u8 = 12;
/// Bytes of the code page.
const STRING: u8 = 13;
/// UTF-16 units below 256, a byte each.
const NARROW: u8 = 14;
/// UTF-16 units.
const WIDE: u8 = 15;
const BINARY: u8 = 16;
const DATE: u8 = 17;
const TIME: u8 = 18;
const SMALL_DATE_TIME: u8 = 19;
const DATE_TIME: u8 = 20;
const DATE_TIME_2: u8 = 21;
const DATE_TIME_OFFSET: u8 = 22;
const GUID: u8 = 23;
/// A `sql_variant`: length, then the base type's code and the value packed.
const VARIANT: u8 = 25;
/// A collation other than the database's, before the string it is of.
const LABEL: u8 = 24;

impl Packed {
    /// Packs a row.
    pub(super) fn new(row: &[Value]) -> Packed {
        let mut out = Vec::with_capacity(row.len() * 8);
        for value in row {
            put(value, &mut out);
        }
        Packed(out.into_boxed_slice())
    }

    /// The row, ready for use.
    pub(super) fn row(&self) -> Row {
        row(&self.0)
    }

    /// Its bytes, for [`row`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// One value; NULL beyond the last.
    pub(super) fn value(&self, at: usize) -> Value {
        let mut from = Reader(&self.0);
        for _ in 0..at {
            from.skip();
        }
        if from.0.is_empty() { Value::Null } else { from.value() }
    }

    /// Bytes it takes.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The row that these bytes of a [`Packed`] are.
pub(super) fn row(bytes: &[u8]) -> Row {
    let mut from = Reader(bytes);
    let mut values = Vec::with_capacity(16);
    while !from.0.is_empty() {
        values.push(from.value());
    }
    values.into()
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    // Seven bits a byte, the lowest first.
    let mut left = length;
    while left >= 0x80 {
        out.push((left & 0x7F) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn put_label(label: Label, out: &mut Vec<u8>) {
    if !label.is_default() {
        out.push(LABEL);
        out.extend_from_slice(&label.code().to_le_bytes());
    }
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_fixed(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn put(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bit(false) => out.push(FALSE),
        Value::Bit(true) => out.push(TRUE),
        Value::TinyInt(v) => put_fixed(TINY_INT, &[*v], out),
        Value::SmallInt(v) => put_fixed(SMALL_INT, &v.to_le_bytes(), out),
        Value::Int(v) => put_fixed(INT, &v.to_le_bytes(), out),
        Value::BigInt(v) => put_fixed(BIG_INT, &v.to_le_bytes(), out),
        Value::Decimal { unscaled, scale } => {
            let bytes = unscaled.unsigned_abs().to_le_bytes();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            out.push(if *unscaled < 0 { NEGATIVE } else { DECIMAL });
            out.extend_from_slice(&[*scale, used as u8]);
            out.extend_from_slice(&bytes[..used]);
        }
        Value::Money(v) => put_fixed(MONEY, &v.to_le_bytes(), out),
        Value::SmallMoney(v) => put_fixed(SMALL_MONEY, &v.to_le_bytes(), out),
        Value::Float(v) => put_fixed(FLOAT, &v.to_le_bytes(), out),
        Value::Real(v) => put_fixed(REAL, &v.to_le_bytes(), out),
        Value::String(text) => {
            put_label(text.label(), out);
            put_bytes(STRING, text, out);
        }
        Value::NString(text) => {
            put_label(text.label(), out);
            if text.iter().all(|unit| *unit < 0x100) {
                out.push(NARROW);
                put_length(text.len(), out);
                out.extend(text.iter().map(|unit| *unit as u8));
            } else {
                out.push(WIDE);
                put_length(text.len(), out);
                out.extend(text.iter().flat_map(|unit| unit.to_le_bytes()));
            }
        }
        Value::Binary(bytes) => put_bytes(BINARY, bytes, out),
        Value::Date(days) => put_fixed(DATE, &days.to_le_bytes()[..3], out),
        Value::Time(time) => put_fixed(TIME, &time.to_le_bytes()[..5], out),
        Value::SmallDateTime { days, minutes } => {
            put_fixed(SMALL_DATE_TIME, &days.to_le_bytes(), out);
            out.extend_from_slice(&minutes.to_le_bytes());
        }
        Value::DateTime { days, ticks } => {
            put_fixed(DATE_TIME, &days.to_le_bytes(), out);
            out.extend_from_slice(&ticks.to_le_bytes());
        }
        Value::DateTime2 { days, time } => {
            put_fixed(DATE_TIME_2, &days.to_le_bytes()[..3], out);
            out.extend_from_slice(&time.to_le_bytes()[..5]);
        }
        Value::DateTimeOffset { days, time, offset } => {
            put_fixed(DATE_TIME_OFFSET, &days.to_le_bytes()[..3], out);
            out.extend_from_slice(&time.to_le_bytes()[..5]);
            out.extend_from_slice(&offset.to_le_bytes());
        }
        Value::Guid(bytes) => put_fixed(GUID, bytes, out),
        Value::Variant(variant) => {
            let mut inner = Vec::new();
            variant.ty.put(&mut inner);
            put(&variant.value, &mut inner);
            put_bytes(VARIANT, &inner, out);
        }
    }
}

/// Reads what [`put`] has written; it is never anything else.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N));
        array
    }

    /// A number of `count` bytes.
    fn number(&mut self, count: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..count].copy_from_slice(self.take(count));
        u64::from_le_bytes(bytes)
    }

    fn length(&mut self) -> usize {
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            length |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return length;
            }
            shift += 7;
        }
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.length();
        self.take(length)
    }

    fn days(&mut self) -> u32 {
        self.number(3) as u32
    }

    fn skip(&mut self) {
        match self.byte() {
            NULL | FALSE | TRUE => {}
            TINY_INT => drop(self.take(1)),
            SMALL_INT => drop(self.take(2)),
            INT | REAL | SMALL_MONEY | SMALL_DATE_TIME => drop(self.take(4)),
            BIG_INT | MONEY | FLOAT | DATE_TIME | DATE_TIME_2 => drop(self.take(8)),
            DECIMAL | NEGATIVE => {
                let used = usize::from(self.take(2)[1]);
                self.take(used);
            }
            WIDE => {
                let length = self.length();
                self.take(2 * length);
            }
            DATE => drop(self.take(3)),
            TIME => drop(self.take(5)),
            DATE_TIME_OFFSET => drop(self.take(10)),
            GUID => drop(self.take(16)),
            LABEL => {
                self.take(4);
                self.skip();
            }
            _ => drop(self.bytes()),
        }
    }

    fn value(&mut self) -> Value {
        match self.byte() {
            FALSE => Value::Bit(false),
            TRUE => Value::Bit(true),
            TINY_INT => Value::TinyInt(self.byte()),
            SMALL_INT => Value::SmallInt(i16::from_le_bytes(self.array())),
            INT => Value::Int(i32::from_le_bytes(self.array())),
            BIG_INT => Value::BigInt(i64::from_le_bytes(self.array())),
            tag @ (DECIMAL | NEGATIVE) => {
                let (scale, used) = (self.byte(), usize::from(self.byte()));
                let mut bytes = [0; 16];
                bytes[..used].copy_from_slice(self.take(used));
                let magnitude = i128::from_le_bytes(bytes);
                let unscaled = if tag == NEGATIVE { -magnitude } else { magnitude };
                Value::Decimal { unscaled, scale }
            }
            MONEY => Value::Money(i64::from_le_bytes(self.array())),
            SMALL_MONEY => Value::SmallMoney(i32::from_le_bytes(self.array())),
            FLOAT => Value::Float(f64::from_le_bytes(self.array())),
            REAL => Value::Real(f32::from_le_bytes(self.array())),
            STRING => Value::String(self.bytes().into()),
            NARROW => Value::NString(Str::from_iter(self.bytes().iter().map(|b| u16::from(*b)))),
            WIDE => {
                let length = self.length();
                let pairs = self.take(2 * length).chunks_exact(2);
                Value::NString(Str::from_iter(pairs.map(|p| u16::from_le_bytes([p[0], p[1]]))))
            }
            BINARY => Value::Binary(self.bytes().into()),
            DATE => Value::Date(self.days()),
            TIME => Value::Time(self.number(5)),
            SMALL_DATE_TIME => Value::SmallDateTime {
                days: u16::from_le_bytes(self.array()),
                minutes: u16::from_le_bytes(self.array()),
            },
            DATE_TIME => Value::DateTime {
                days: i32::from_le_bytes(self.array()),
                ticks: u32::from_le_bytes(self.array()),
            },
            DATE_TIME_2 => Value::DateTime2 { days: self.days(), time: self.number(5) },
            DATE_TIME_OFFSET => Value::DateTimeOffset {
                days: self.days(),
                time: self.number(5),
                offset: i16::from_le_bytes(self.array()),
            },
            GUID => Value::Guid(self.array()),
            VARIANT => {
                let mut inner = codec::Reader(self.bytes());
                match inner.get::<SqlType>() {
                    Ok(ty) => {
                        Value::Variant(Arc::new(Variant { ty, value: Reader(inner.0).value() }))
                    }
                    Err(_) => Value::Null,
                }
            }
            LABEL => {
                let label = Label::from_code(u32::from_le_bytes(self.array()));
                self.value().of_collation(label)
            }
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            9 => plain(),
            1 => (0..8000u16, plain())
                .prop_filter("a sql_variant is not NULL", |(_, value)| !value.is_null())
                .prop_map(|(n, value)| {
                    let ty = SqlType::VarChar(Some(n));
                    Value::Variant(Arc::new(Variant { ty, value }))
                }),
        ]
    }

    fn plain() -> impl Strategy<Value = Value> {
        let label = || {
            any::<bool>().prop_map(|bin| {
                let name = if bin { "Greek_100_BIN2" } else { "SQL_Latin1_General_CP1_CI_AS" };
                Label::named(name).expect("known")
            })
        };
        let date = 0..3_652_059u32;
        let time = 0..864_000_000_000u64;
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bit),
            any::<u8>().prop_map(Value::TinyInt),
            any::<i16>().prop_map(Value::SmallInt),
            any::<i32>().prop_map(Value::Int),
            any::<i64>().prop_map(Value::BigInt),
            (-(10i128.pow(38))..10i128.pow(38), 0..39u8)
                .prop_map(|(unscaled, scale)| Value::Decimal { unscaled, scale }),
            any::<i64>().prop_map(Value::Money),
            any::<i32>().prop_map(Value::SmallMoney),
            (-1e300..1e300f64).prop_map(Value::Float),
            (-1e30..1e30f32).prop_map(Value::Real),
            (prop::collection::vec(any::<u8>(), 0..300), label())
                .prop_map(|(bytes, label)| Value::String(Str::from(bytes).labelled(label))),
            (prop::collection::vec(any::<u16>(), 0..300), label())
                .prop_map(|(units, label)| Value::NString(Str::from(units).labelled(label))),
            prop::collection::vec(0..256u16, 0..300).prop_map(|units| Value::NString(units.into())),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|b| Value::Binary(b.into())),
            date.clone().prop_map(Value::Date),
            time.clone().prop_map(Value::Time),
            (any::<u16>(), 0..1440u16)
                .prop_map(|(days, minutes)| Value::SmallDateTime { days, minutes }),
            (-53_690..2_958_464i32, 0..25_920_000u32)
                .prop_map(|(days, ticks)| Value::DateTime { days, ticks }),
            (date.clone(), time.clone()).prop_map(|(days, time)| Value::DateTime2 { days, time }),
            (date, time, -840..=840i16).prop_map(|(days, time, offset)| Value::DateTimeOffset {
                days,
                time,
                offset
            }),
            any::<[u8; 16]>().prop_map(Value::Guid),
        ]
    }

    proptest! {
        #[test]
        fn rows_come_out_as_they_went_in(row in prop::collection::vec(value(), 0..20)) {
            let packed = Packed::new(&row);
            prop_assert_eq!(&*packed.row(), &row[..]);
            for (at, value) in row.iter().enumerate() {
                let found = packed.value(at);
                prop_assert_eq!(&found, value);
                prop_assert_eq!(found.label(), value.label());
            }
            prop_assert_eq!(packed.value(row.len()), Value::Null);
        }
    }
}
