//! One SQL Server value, held exactly as the server would hold it.

use std::cmp::Ordering;
use std::hash::Hasher;
use std::sync::Arc;

use crate::SqlType;
use crate::engine::collation::{self, Label};
use crate::engine::convert;
use crate::sql_type::Family;

/// The content of a string or binary, and the collation a string compares under. Two are equal in
/// the sense of `==` if they have the same content.
#[derive(Clone, Debug)]
pub struct Str<T> {
    units: Arc<[T]>,
    collation: Label,
}

impl<T> Str<T> {
    /// Its collation.
    pub fn label(&self) -> Label {
        self.collation
    }

    /// The same content under another collation.
    pub fn labelled(self, collation: Label) -> Str<T> {
        Str { collation, ..self }
    }
}

impl<T> std::ops::Deref for Str<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.units
    }
}

impl<T: PartialEq> PartialEq for Str<T> {
    fn eq(&self, other: &Str<T>) -> bool {
        self.units == other.units
    }
}

impl<T> From<Arc<[T]>> for Str<T> {
    fn from(units: Arc<[T]>) -> Str<T> {
        Str { units, collation: Label::default() }
    }
}

impl<T> From<Vec<T>> for Str<T> {
    fn from(units: Vec<T>) -> Str<T> {
        Arc::<[T]>::from(units).into()
    }
}

impl<T: Copy> From<&[T]> for Str<T> {
    fn from(units: &[T]) -> Str<T> {
        Arc::<[T]>::from(units).into()
    }
}

impl<T: Copy, const N: usize> From<&[T; N]> for Str<T> {
    fn from(units: &[T; N]) -> Str<T> {
        units.as_slice().into()
    }
}

impl<T, const N: usize> From<[T; N]> for Str<T> {
    fn from(units: [T; N]) -> Str<T> {
        Arc::<[T]>::from(units).into()
    }
}

impl<T> FromIterator<T> for Str<T> {
    fn from_iter<I: IntoIterator<Item = T>>(units: I) -> Str<T> {
        units.into_iter().collect::<Arc<[T]>>().into()
    }
}

/// A value. Its declared facets (length, precision, scale of times) are those of the
/// [`SqlType`](crate::SqlType) beside it; decimals carry their own scale.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// `bit`
    Bit(bool),
    /// `tinyint`
    TinyInt(u8),
    /// `smallint`
    SmallInt(i16),
    /// `int`
    Int(i32),
    /// `bigint`
    BigInt(i64),
    /// `decimal`: `unscaled` × 10^-`scale`.
    Decimal {
        /// At most 38 digits.
        unscaled: i128,
        /// Digits after the point.
        scale: u8,
    },
    /// `money`, in 1/10,000.
    Money(i64),
    /// `smallmoney`, in 1/10,000.
    SmallMoney(i32),
    /// `float`
    Float(f64),
    /// `real`
    Real(f32),
    /// `char`, `varchar`: bytes in the collation's code page.
    String(Str<u8>),
    /// `nchar`, `nvarchar`: UTF-16 units, which need not be well-formed.
    NString(Str<u16>),
    /// `binary`, `varbinary`
    Binary(Str<u8>),
    /// `date`: days since 0001-01-01.
    Date(u32),
    /// `time`: 100 ns units since midnight.
    Time(u64),
    /// `smalldatetime`: days since 1900-01-01, minutes since midnight.
    SmallDateTime {
        /// Days since 1900-01-01.
        days: u16,
        /// Minutes since midnight.
        minutes: u16,
    },
    /// `datetime`: days since 1900-01-01, 1/300 s since midnight.
    DateTime {
        /// Days since 1900-01-01, negative back to 1753.
        days: i32,
        /// 1/300 seconds since midnight.
        ticks: u32,
    },
    /// `datetime2`
    DateTime2 {
        /// Days since 0001-01-01.
        days: u32,
        /// 100 ns units since midnight.
        time: u64,
    },
    /// `datetimeoffset`, held in UTC as on the wire.
    DateTimeOffset {
        /// UTC days since 0001-01-01.
        days: u32,
        /// UTC 100 ns units since midnight.
        time: u64,
        /// Minutes east of UTC.
        offset: i16,
    },
    /// `uniqueidentifier`, in wire order (first three groups little-endian).
    Guid([u8; 16]),
    /// `sql_variant`
    Variant(Arc<Variant>),
}

/// What is in a `sql_variant`: never NULL, and never a `sql_variant`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its base type.
    pub ty: SqlType,
    /// A value of that type.
    pub value: Value,
}

/// Byte order in which SQL Server compares a `uniqueidentifier`.
const GUID_ORDER: [usize; 16] = [10, 11, 12, 13, 14, 15, 8, 9, 6, 7, 4, 5, 0, 1, 2, 3];

impl Value {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// An `nvarchar` from Rust text.
    pub fn text(text: &str) -> Value {
        Value::NString(text.encode_utf16().collect())
    }

    /// A `varchar` from Rust text; what code page 1252 lacks becomes `?`.
    pub fn ansi(text: &str) -> Value {
        let units: Vec<u16> = text.encode_utf16().collect();
        Value::String(collation::encode(&units).into())
    }

    /// A `binary` or `varbinary`.
    pub fn binary(bytes: &[u8]) -> Value {
        Value::Binary(bytes.into())
    }

    /// The UTF-16 units of a string value.
    pub fn units(&self) -> Option<std::borrow::Cow<'_, [u16]>> {
        match self {
            Value::String(bytes) => Some(bytes.label().page().decode(bytes).into()),
            Value::NString(units) => Some((&**units).into()),
            _ => None,
        }
    }

    /// A string value as Rust text; lone surrogates become U+FFFD.
    pub fn to_text(&self) -> Option<String> {
        self.units().map(|units| String::from_utf16_lossy(&units))
    }

    /// The collation of a string value; the database's for anything else.
    pub fn label(&self) -> Label {
        match self {
            Value::String(text) => text.label(),
            Value::NString(text) => text.label(),
            _ => Label::default(),
        }
    }

    /// A string value whose content is of a collation; anything else as it is.
    pub fn of_collation(self, label: Label) -> Value {
        match self {
            Value::String(text) => Value::String(text.labelled(label)),
            Value::NString(text) => Value::NString(text.labelled(label)),
            other => other,
        }
    }

    /// A string value under another collation; anything else as it is. Bytes change where the code
    /// page does, and what it does not have is lost.
    pub fn labelled(self, label: Label) -> Value {
        match self {
            Value::String(text) if text.label().page() != label.page() => {
                let units = text.label().page().decode(&text);
                Value::String(Str::from(label.page().encode(&units)).labelled(label))
            }
            Value::String(text) => Value::String(text.labelled(label)),
            Value::NString(text) => Value::NString(text.labelled(label)),
            other => other,
        }
    }

    /// An integer value of any width.
    pub fn as_i64(&self) -> Option<i64> {
        Some(match self {
            Value::Bit(v) => i64::from(*v),
            Value::TinyInt(v) => i64::from(*v),
            Value::SmallInt(v) => i64::from(*v),
            Value::Int(v) => i64::from(*v),
            Value::BigInt(v) => *v,
            _ => return None,
        })
    }

    /// An exact number as unscaled value and scale.
    pub fn exact(&self) -> Option<(i128, u8)> {
        match self {
            Value::Decimal { unscaled, scale } => Some((*unscaled, *scale)),
            Value::Money(v) => Some((i128::from(*v), 4)),
            Value::SmallMoney(v) => Some((i128::from(*v), 4)),
            other => other.as_i64().map(|v| (i128::from(v), 0)),
        }
    }

    /// Total order over values of one type: NULL first, strings under the collation, binaries as
    /// if padded with zeros, `uniqueidentifier` in SQL Server's own byte order. All exact numbers
    /// and both string kinds compare with each other; anything else of two different types orders
    /// by type, which no plan relies on.
    pub fn compare(&self, other: &Value) -> Ordering {
        use Value::*;
        match (self, other) {
            (Null, Null) => Ordering::Equal,
            (Null, _) => Ordering::Less,
            (_, Null) => Ordering::Greater,
            (Int(l), Int(r)) => l.cmp(r),
            (BigInt(l), BigInt(r)) => l.cmp(r),
            (Binary(l), Binary(r)) => compare_binary(l, r),
            (String(l), String(r)) if l.label() == r.label() => {
                l.label().collation().compare_bytes(l, r)
            }
            (String(l), String(r)) => {
                let label = l.label().with(r.label());
                match (label.page() == l.label().page(), label.page() == r.label().page()) {
                    (true, true) => label.collation().compare_bytes(l, r),
                    _ => self.clone().labelled(label).compare(&other.clone().labelled(label)),
                }
            }
            (NString(l), NString(r)) => l.label().with(r.label()).collation().compare_units(l, r),
            (String(_) | NString(_), String(_) | NString(_)) => {
                let rule = self.label().with(other.label()).collation();
                let (l, r) = (self.units(), other.units());
                rule.compare_units(&l.unwrap_or_default(), &r.unwrap_or_default())
            }
            (Decimal { unscaled: l, scale: ls }, Decimal { unscaled: r, scale: rs }) => {
                compare_decimal(*l, *ls, *r, *rs)
            }
            (Money(l), Money(r)) => l.cmp(r),
            (SmallMoney(l), SmallMoney(r)) => l.cmp(r),
            // `+ 0.0` makes the two zeros one.
            (Float(l), Float(r)) => (l + 0.0).total_cmp(&(r + 0.0)),
            (Real(l), Real(r)) => (l + 0.0).total_cmp(&(r + 0.0)),
            (Date(l), Date(r)) => l.cmp(r),
            (Time(l), Time(r)) => l.cmp(r),
            (SmallDateTime { days: ld, minutes: lm }, SmallDateTime { days: rd, minutes: rm }) => {
                (ld, lm).cmp(&(rd, rm))
            }
            (DateTime { days: ld, ticks: lt }, DateTime { days: rd, ticks: rt }) => {
                (ld, lt).cmp(&(rd, rt))
            }
            (DateTime2 { days: ld, time: lt }, DateTime2 { days: rd, time: rt }) => {
                (ld, lt).cmp(&(rd, rt))
            }
            (
                DateTimeOffset { days: ld, time: lt, .. },
                DateTimeOffset { days: rd, time: rt, .. },
            ) => (ld, lt).cmp(&(rd, rt)),
            (Variant(l), Variant(r)) => l.compare(r),
            (Guid(l), Guid(r)) => GUID_ORDER.map(|i| l[i]).cmp(&GUID_ORDER.map(|i| r[i])),
            _ => match (self.exact(), other.exact()) {
                (Some((l, ls)), Some((r, rs))) => compare_decimal(l, ls, r, rs),
                _ => self.rank().cmp(&other.rank()),
            },
        }
    }

    /// Hashes so that values which [`compare`](Value::compare) equal hash alike.
    pub fn hash_into(&self, state: &mut impl Hasher) {
        use Value::*;
        match self {
            Null => state.write_u8(0),
            Bit(_)
            | TinyInt(_)
            | SmallInt(_)
            | Int(_)
            | BigInt(_)
            | Decimal { .. }
            | Money(_)
            | SmallMoney(_) => {
                let (mut unscaled, mut scale) = self.exact().unwrap_or_default();
                while scale > 0 && unscaled % 10 == 0 {
                    unscaled /= 10;
                    scale -= 1;
                }
                state.write_i128(unscaled);
                state.write_u8(scale);
            }
            Float(v) => state.write_u64((v + 0.0).to_bits()),
            Real(v) => state.write_u32((v + 0.0).to_bits()),
            String(bytes) => {
                collation::hash_units(bytes.label().page().decode(bytes).into_iter(), state);
            }
            NString(units) => collation::hash_units(units.iter().copied(), state),
            Binary(bytes) => {
                let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
                state.write(&bytes[..end]);
            }
            Date(v) => state.write_u32(*v),
            Time(v) => state.write_u64(*v),
            SmallDateTime { days, minutes } => {
                state.write_u16(*days);
                state.write_u16(*minutes);
            }
            DateTime { days, ticks } => {
                state.write_i32(*days);
                state.write_u32(*ticks);
            }
            DateTime2 { days, time } | DateTimeOffset { days, time, .. } => {
                state.write_u32(*days);
                state.write_u64(*time);
            }
            Guid(bytes) => state.write(bytes),
            Variant(variant) => variant.hash_into(state),
        }
    }

    fn rank(&self) -> u8 {
        use Value::*;
        match self {
            Null => 0,
            Bit(_) | TinyInt(_) | SmallInt(_) | Int(_) | BigInt(_) => 1,
            Decimal { .. } => 2,
            Money(_) => 3,
            SmallMoney(_) => 4,
            Float(_) => 5,
            Real(_) => 6,
            String(_) | NString(_) => 7,
            Binary(_) => 8,
            Date(_) => 9,
            Time(_) => 10,
            SmallDateTime { .. } => 11,
            DateTime { .. } => 12,
            DateTime2 { .. } => 13,
            DateTimeOffset { .. } => 14,
            Guid(_) => 15,
            Variant(_) => 16,
        }
    }
}

impl Variant {
    /// Place of the base type's family: values of a higher one are greater, whatever they are.
    /// <https://learn.microsoft.com/sql/t-sql/data-types/sql-variant-transact-sql#comparing-sql_variant-values>
    fn family(&self) -> u8 {
        match self.ty.family() {
            Family::Temporal => 5,
            Family::Float => 4,
            Family::Integer | Family::Decimal | Family::Money => 3,
            Family::Text => 2,
            Family::Binary => 1,
            _ => 0,
        }
    }

    /// The value in the type in which all of its family compare.
    fn common(&self) -> Value {
        let common = match self.ty.family() {
            Family::Temporal => SqlType::DateTimeOffset(7),
            Family::Float => SqlType::Float,
            _ => return self.value.clone(),
        };
        convert::convert(&self.value, &self.ty, &common, None)
            .unwrap_or_else(|_| self.value.clone())
    }

    /// By family, then as values of one type. Strings of different collations are ordered by
    /// these.
    fn compare(&self, other: &Variant) -> Ordering {
        self.family().cmp(&other.family()).then_with(|| {
            let (left, right) = (self.value.label().implicit(), other.value.label().implicit());
            match self.ty.is_text() && left != right {
                true => left.code().cmp(&right.code()),
                false => self.common().compare(&other.common()),
            }
        })
    }

    fn hash_into(&self, state: &mut impl Hasher) {
        state.write_u8(self.family());
        self.common().hash_into(state);
    }
}

fn compare_binary(left: &[u8], right: &[u8]) -> Ordering {
    let common = left.len().min(right.len());
    left[..common].cmp(&right[..common]).then_with(|| {
        let (longer, sign) = if left.len() > common {
            (&left[common..], Ordering::Greater)
        } else {
            (&right[common..], Ordering::Less)
        };
        if longer.iter().all(|b| *b == 0) { Ordering::Equal } else { sign }
    })
}

fn compare_decimal(left: i128, left_scale: u8, right: i128, right_scale: u8) -> Ordering {
    let gap = u32::from(left_scale.abs_diff(right_scale));
    let raised = |v: i128| 10i128.checked_pow(gap).and_then(|f| v.checked_mul(f));
    match left_scale.cmp(&right_scale) {
        Ordering::Equal => left.cmp(&right),
        // A side too large to be raised to the other's scale has the larger magnitude.
        Ordering::Less => match raised(left) {
            Some(left) => left.cmp(&right),
            None => left.cmp(&0),
        },
        Ordering::Greater => match raised(right) {
            Some(right) => left.cmp(&right),
            None => 0.cmp(&right),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(unscaled: i128, scale: u8) -> Value {
        Value::Decimal { unscaled, scale }
    }

    #[test]
    fn decimals_compare_over_scales() {
        assert_eq!(decimal(150, 2).compare(&decimal(15, 1)), Ordering::Equal);
        assert_eq!(decimal(i128::MAX / 2, 0).compare(&decimal(1, 38)), Ordering::Greater);
        assert_eq!(decimal(1, 38).compare(&decimal(-(i128::MAX / 2), 0)), Ordering::Greater);
    }

    #[test]
    fn exact_numbers_of_all_types_compare() {
        let hash = |value: &Value| {
            let mut state = std::hash::DefaultHasher::new();
            value.hash_into(&mut state);
            state.finish()
        };
        let same = [Value::Int(15), Value::TinyInt(15), decimal(1500, 2), Value::Money(150_000)];
        for (left, right) in same.iter().zip(same.iter().rev()) {
            assert_eq!(left.compare(right), Ordering::Equal);
            assert_eq!(hash(left), hash(right));
        }
        assert_eq!(Value::Int(1).compare(&decimal(i128::MAX / 2, 38)), Ordering::Greater);
    }

    #[test]
    fn binaries_compare_as_padded() {
        let binary = |b: &[u8]| Value::Binary(b.into());
        assert_eq!(binary(&[1]).compare(&binary(&[1, 0])), Ordering::Equal);
        assert_eq!(binary(&[1]).compare(&binary(&[1, 1])), Ordering::Less);
        assert_eq!(binary(&[2]).compare(&binary(&[1, 1])), Ordering::Greater);
    }

    #[test]
    fn guids_compare_by_their_last_group_first() {
        let mut low = [0xFFu8; 16];
        low[10] = 0;
        let high = [1u8; 16];
        assert_eq!(Value::Guid(low).compare(&Value::Guid(high)), Ordering::Less);
    }

    #[test]
    fn nulls_come_first() {
        assert_eq!(Value::Null.compare(&Value::Int(i32::MIN)), Ordering::Less);
    }
}
