//! The value model: lossless and neutral between databases.
//!
//! A value borrows from the record it was read from or owns its bytes. All times are in units of
//! 100 ns, the finest a source has.

use std::borrow::Cow;

/// 100 ns units in a second.
pub const TICKS_PER_SECOND: i64 = 10_000_000;

/// 100 ns units in a day.
pub const TICKS_PER_DAY: i64 = 86_400 * TICKS_PER_SECOND;

/// One value of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// The source did not record it. Never written to a target.
    Unavailable,
    /// A truth value.
    Bool(bool),
    /// Any integer type.
    I64(i64),
    /// `unscaled` × 10^-`scale`; money too.
    Decimal {
        /// At most 38 digits.
        unscaled: i128,
        /// Digits after the point, 0 to 38.
        scale: u8,
    },
    /// Single precision.
    F32(f32),
    /// Double precision.
    F64(f64),
    /// Unicode text.
    String(Cow<'a, str>),
    /// Little-endian UTF-16 that is not valid Unicode (lone surrogates).
    Utf16(Cow<'a, [u8]>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A UUID in network order.
    Uuid([u8; 16]),
    /// Days since 1970-01-01.
    Date(i32),
    /// 100 ns since midnight, 0 to [`TICKS_PER_DAY`] - 1.
    Time(i64),
    /// 100 ns since 1970-01-01T00:00 without a time zone.
    Timestamp(i64),
    /// An instant and the offset it was written with.
    TimestampTz {
        /// 100 ns since 1970-01-01T00:00Z.
        ticks: i64,
        /// Minutes east of UTC.
        offset: i16,
    },
    /// A value that carries its own type.
    Variant {
        /// The source's name of the type, with its facets.
        type_name: Cow<'a, str>,
        /// The value itself, never another variant.
        value: Box<Value<'a>>,
    },
    /// A geometry or geography.
    Geometry {
        /// Well-known binary.
        wkb: Cow<'a, [u8]>,
        /// Spatial reference system.
        srid: i32,
    },
    /// A value whose bytes went ahead in part records.
    Long(LongValue),
    /// A type that has no place above, as the source's text.
    Other {
        /// The source's name of the type.
        type_name: Cow<'a, str>,
        /// The source's own text for the value.
        text: Cow<'a, str>,
    },
}

/// What stands in a change for a value too large to stand there itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongValue {
    /// Number of the value within its transaction, from 0.
    pub id: u32,
    /// Bytes in all its parts together.
    pub length: u64,
    /// SHA-256 of those bytes.
    pub digest: [u8; 32],
    /// What the bytes are.
    pub kind: LongKind,
}

/// What the bytes of a long value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongKind {
    /// UTF-8 text: a [`Value::String`].
    Text,
    /// Invalid UTF-16: a [`Value::Utf16`].
    Utf16,
    /// Bytes: a [`Value::Bytes`].
    Bytes,
}

impl Value<'_> {
    /// The same value, owning its bytes.
    pub fn into_owned(self) -> Value<'static> {
        fn own<T: ToOwned + ?Sized>(cow: Cow<'_, T>) -> Cow<'static, T> {
            Cow::Owned(cow.into_owned())
        }
        match self {
            Value::Null => Value::Null,
            Value::Unavailable => Value::Unavailable,
            Value::Bool(v) => Value::Bool(v),
            Value::I64(v) => Value::I64(v),
            Value::Decimal { unscaled, scale } => Value::Decimal { unscaled, scale },
            Value::F32(v) => Value::F32(v),
            Value::F64(v) => Value::F64(v),
            Value::String(v) => Value::String(own(v)),
            Value::Utf16(v) => Value::Utf16(own(v)),
            Value::Bytes(v) => Value::Bytes(own(v)),
            Value::Uuid(v) => Value::Uuid(v),
            Value::Date(v) => Value::Date(v),
            Value::Time(v) => Value::Time(v),
            Value::Timestamp(v) => Value::Timestamp(v),
            Value::TimestampTz { ticks, offset } => Value::TimestampTz { ticks, offset },
            Value::Variant { type_name, value } => {
                Value::Variant { type_name: own(type_name), value: Box::new(value.into_owned()) }
            }
            Value::Geometry { wkb, srid } => Value::Geometry { wkb: own(wkb), srid },
            Value::Long(v) => Value::Long(v),
            Value::Other { type_name, text } => {
                Value::Other { type_name: own(type_name), text: own(text) }
            }
        }
    }

    /// Whether this stands for a value the source did not give.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Value::Unavailable)
    }
}
