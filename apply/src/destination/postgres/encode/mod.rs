//! From values to PostgreSQL's binary form, exactly or by a named rule.
//!
//! A value either arrives as it is, or is changed by one of the [`Rules`], or is an error that the
//! conflict policy decides on. PostgreSQL itself rounds numerics and timestamps to a column's digits
//! and cuts blanks off a `varchar(n)` without a word, so all that is checked here.

mod numeric;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, BytesMut};
use lockstep_common::{TICKS_PER_DAY, Value};

use super::text::{self, Style};
use super::types::PgType;
use super::{ewkb, variant};
use numeric::numeric;

/// What to do with what PostgreSQL cannot store.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// The seventh fractional digit of a time (100 ns) is an error; else it is cut off.
    pub(super) exact_ticks: bool,
    /// U+FFFD is written for each character that PostgreSQL has not, and counted; else such text is an
    /// error.
    pub(super) replaced: Option<Arc<AtomicU64>>,
    /// Nothing of the target keeps two rows apart whose keys differ in what is cut off: there a key whose
    /// digit has no place is an error.
    pub(super) whole_keys: bool,
}

impl Rules {
    /// The rules of a column by which rows are told apart: nothing is replaced. `cut`: it has no place for
    /// the seventh digit of its times.
    pub(super) fn of_key(&self, cut: bool) -> Self {
        Rules { exact_ticks: cut && self.whole_keys, replaced: None, whole_keys: self.whole_keys }
    }

    /// Text as PostgreSQL can store it.
    ///
    /// # Errors
    /// `Nul`, when it cannot and nothing is replaced.
    pub(super) fn admit<'v>(&self, text: &'v str) -> Result<Cow<'v, str>, EncodeError> {
        if !text.as_bytes().contains(&0) {
            return Ok(Cow::Borrowed(text));
        }
        let Some(count) = &self.replaced else { return Err(EncodeError::Nul) };
        let nuls = text.bytes().filter(|byte| *byte == 0).count();
        count.fetch_add(nuls as u64, Ordering::Relaxed);
        Ok(Cow::Owned(text.replace('\0', "\u{fffd}")))
    }

    /// The same of little-endian UTF-16 with lone surrogates.
    ///
    /// # Errors
    /// `Surrogate`, when nothing is replaced.
    pub(super) fn admit_utf16(&self, bytes: &[u8]) -> Result<String, EncodeError> {
        let Some(count) = &self.replaced else { return Err(EncodeError::Surrogate) };
        let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let mut lone = 0;
        let text: String = char::decode_utf16(units)
            .map(|c| {
                lone += u64::from(c.is_err());
                c.unwrap_or(char::REPLACEMENT_CHARACTER)
            })
            .collect();
        count.fetch_add(lone, Ordering::Relaxed);
        self.admit(&text).map(Cow::into_owned)
    }
}

/// How values of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// The target's type.
    pub(super) ty: PgType,
    /// From what.
    pub(super) way: Way,
}

/// How values come to their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// They are of its kind.
    Direct,
    /// They are written as text.
    Text(Style),
    /// They are geometries, long ones as bytes.
    Geometry,
    /// They are the eight bytes of a number.
    Number,
}

/// A value that the target's column cannot take. Never shows the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncodeError {
    #[error("text with the character U+0000, which PostgreSQL cannot store")]
    Nul,
    #[error("text with a lone surrogate, which PostgreSQL cannot store")]
    Surrogate,
    #[error(
        "text that PostgreSQL cannot store, and that is not replaced in a column by which rows are told \
         apart: two of them might become one"
    )]
    InKey,
    #[error("a number out of the range of {0}")]
    Range(&'static str),
    #[error("more digits than its column has")]
    Digits,
    #[error("more characters than its column has")]
    Length,
    #[error("a time with 100 ns, which the key has no place for: see docs/types.md, rule T")]
    Ticks,
    #[error("a value larger than PostgreSQL's 1 GiB")]
    Size,
    #[error("a geometry {0}")]
    Geometry(&'static str),
    #[error("a vector whose text is no list of its column's many numbers")]
    Vector,
    #[error("{0}, which has no form in {1}")]
    Unsupported(&'static str, &'static str),
}

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = 10_957 * 86_400_000_000;
/// 100 ns units in a microsecond.
const TICKS_PER_MICRO: i64 = 10;
/// PostgreSQL's limit for one field: `MaxAllocSize`, less the four bytes of its length.
const MOST_BYTES: usize = 0x3fff_ffff - 4;

/// Appends `value` as a field of binary COPY, a Bind parameter or an array element (they are the
/// same): its length and its bytes.
///
/// # Errors
/// When `form` cannot take the value; `out` is then as it was.
pub(super) fn field(
    value: &Value<'_>,
    form: Form,
    rules: &Rules,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if matches!(value, Value::Null) {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    let result = bytes(value, form, rules, out).and_then(|()| sized(out.len() - start - 4));
    match result {
        Ok(length) => {
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// The length of a field, if PostgreSQL has room for it.
fn sized(length: usize) -> Result<i32, EncodeError> {
    i32::try_from(length).ok().filter(|_| length <= MOST_BYTES).ok_or(EncodeError::Size)
}

fn bytes(
    value: &Value<'_>,
    form: Form,
    rules: &Rules,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    match form.way {
        Way::Direct => direct(value, form.ty, rules, out),
        Way::Text(style) => {
            let shown = match value {
                Value::Variant { type_name, value } => variant::plain(type_name, value, rules)?,
                value => {
                    let mut shown = String::new();
                    if !text::render(value, style, &mut shown) {
                        return Err(EncodeError::Unsupported(kind(value), form.ty.base_name()));
                    }
                    Cow::Owned(shown)
                }
            };
            characters(&shown, form.ty, out)
        }
        Way::Geometry => match value {
            Value::Geometry { wkb, srid } => ewkb::put(wkb, *srid, form.ty, out),
            Value::Bytes(bytes) => ewkb::put_extended(bytes, form.ty, out),
            other => Err(EncodeError::Unsupported(kind(other), form.ty.base_name())),
        },
        Way::Number => match value {
            Value::Bytes(bytes) if bytes.len() == 8 && form.ty == PgType::Int8 => {
                out.put_slice(bytes);
                Ok(())
            }
            Value::Bool(v) => direct(&Value::I64((*v).into()), form.ty, rules, out),
            other => Err(EncodeError::Unsupported(kind(other), form.ty.base_name())),
        },
    }
}

fn direct(
    value: &Value<'_>,
    ty: PgType,
    rules: &Rules,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    match (value, ty) {
        (Value::I64(v), PgType::Int4) => {
            out.put_i32(i32::try_from(*v).map_err(|_| EncodeError::Range("integer"))?);
        }
        (Value::I64(v), PgType::Int8) => out.put_i64(*v),
        (Value::I64(v), PgType::Int2) => {
            out.put_i16(i16::try_from(*v).map_err(|_| EncodeError::Range("smallint"))?);
        }
        (Value::Bool(v), PgType::Bool) => out.put_u8(u8::from(*v)),
        (Value::I64(v), PgType::Numeric(limits)) => numeric((*v).into(), 0, limits, out)?,
        (Value::Decimal { unscaled, scale }, PgType::Numeric(limits)) => {
            numeric(*unscaled, *scale, limits, out)?;
        }
        (Value::F32(v), PgType::Float4) => out.put_f32(*v),
        (Value::F32(v), PgType::Float8) => out.put_f64((*v).into()),
        (Value::F64(v), PgType::Float8) => out.put_f64(*v),
        (Value::String(v) | Value::Other { text: v, .. }, PgType::Reals | PgType::Vector(_)) => {
            vector(v, ty, out)?;
        }
        (Value::String(v) | Value::Other { text: v, .. }, _) => {
            characters(&rules.admit(v)?, ty, out)?;
        }
        (Value::Utf16(v), _) => characters(&rules.admit_utf16(v)?, ty, out)?,
        (Value::Variant { type_name, value }, PgType::Json | PgType::Jsonb) => {
            characters(&variant::json(type_name, value, rules)?, ty, out)?;
        }
        (Value::Bytes(v), PgType::Bytea) => {
            sized(v.len())?;
            out.put_slice(v);
        }
        (Value::Uuid(v), PgType::Uuid) => out.put_slice(v),
        (Value::Date(v), PgType::Date) => {
            // The lowest number would be taken for -infinity.
            let days = v.checked_sub(EPOCH_DAYS).filter(|days| *days != i32::MIN);
            out.put_i32(days.ok_or(EncodeError::Range("date"))?);
        }
        (Value::Time(v), PgType::Time(digits)) => {
            if !(0..TICKS_PER_DAY).contains(v) {
                return Err(EncodeError::Range("time"));
            }
            out.put_i64(micros(*v, digits, rules)?);
        }
        (Value::Timestamp(v), PgType::Timestamp(digits))
        | (Value::TimestampTz { ticks: v, .. }, PgType::TimestampTz(digits)) => {
            out.put_i64(micros(*v, digits, rules)? - EPOCH_MICROS);
        }
        (value, ty) => return Err(EncodeError::Unsupported(kind(value), ty.base_name())),
    }
    Ok(())
}

/// Text that has no U+0000.
fn characters(value: &str, ty: PgType, out: &mut BytesMut) -> Result<(), EncodeError> {
    let most = match ty {
        PgType::Text | PgType::Varchar(None) | PgType::Citext | PgType::Xml | PgType::Json => {
            usize::MAX
        }
        PgType::Varchar(Some(n)) | PgType::Char(n) => n as usize,
        PgType::Jsonb => {
            // jsonb_recv wants the version of its text form first.
            out.put_u8(1);
            usize::MAX
        }
        other => return Err(EncodeError::Unsupported("text", other.base_name())),
    };
    sized(value.len())?;
    // No text has more characters than bytes.
    if value.len() > most && value.chars().count() > most {
        return Err(EncodeError::Length);
    }
    out.put_slice(value.as_bytes());
    Ok(())
}

/// `[1.5,-2e-3]` as `real[]` (`array_recv` in `arrayfuncs.c`) or as pgvector's type (`vector_recv` in
/// `vector.c`: dimensions, two unused bytes, the numbers).
fn vector(text: &str, ty: PgType, out: &mut BytesMut) -> Result<(), EncodeError> {
    const REAL: u32 = 700;
    let inner = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let numbers: Vec<f32> = inner
        .ok_or(EncodeError::Vector)?
        .split(',')
        .map(|number| number.trim().parse().ok().filter(|v: &f32| v.is_finite()))
        .collect::<Option<_>>()
        .ok_or(EncodeError::Vector)?;
    match ty {
        PgType::Vector(dimensions) => {
            let count = u16::try_from(numbers.len()).map_err(|_| EncodeError::Vector)?;
            if dimensions.is_some_and(|n| n != count) {
                return Err(EncodeError::Vector);
            }
            out.put_u16(count);
            out.put_u16(0);
            numbers.iter().for_each(|v| out.put_f32(*v));
        }
        _ => {
            let count = u32::try_from(numbers.len()).map_err(|_| EncodeError::Vector)?;
            // One dimension, no nulls; the first number is number one.
            for word in [1, 0, REAL, count, 1] {
                out.put_u32(word);
            }
            for v in numbers {
                out.put_u32(4);
                out.put_f32(v);
            }
        }
    }
    Ok(())
}

/// 100 ns units to microseconds, with no digit lost but by the rule. Cutting is towards the past,
/// as on the source's clock, so that 23:59:59.9999999 stays within its day.
fn micros(ticks: i64, digits: u8, rules: &Rules) -> Result<i64, EncodeError> {
    if rules.exact_ticks && ticks.rem_euclid(TICKS_PER_MICRO) != 0 {
        return Err(EncodeError::Ticks);
    }
    let micros = ticks.div_euclid(TICKS_PER_MICRO);
    let unit = 10_i64.pow(6 - u32::from(digits.min(6)));
    if micros.rem_euclid(unit) != 0 {
        return Err(EncodeError::Digits);
    }
    Ok(micros)
}

/// The name of a value's kind, for messages.
fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Unavailable => "an unavailable value",
        Value::Bool(_) => "a truth value",
        Value::I64(_) => "an integer",
        Value::Decimal { .. } => "a decimal",
        Value::F32(_) | Value::F64(_) => "a floating-point number",
        Value::String(_) | Value::Utf16(_) | Value::Other { .. } => "text",
        Value::Bytes(_) => "bytes",
        Value::Uuid(_) => "a UUID",
        Value::Date(_) => "a date",
        Value::Time(_) => "a time",
        Value::Timestamp(_) => "a timestamp",
        Value::TimestampTz { .. } => "a timestamp with offset",
        Value::Variant { .. } => "a variant",
        Value::Geometry { .. } => "a geometry",
        Value::Long(_) => "a long value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formed(value: &Value<'_>, form: Form, rules: &Rules) -> Result<Vec<u8>, EncodeError> {
        let mut out = BytesMut::new();
        let result = field(value, form, rules, &mut out);
        assert!(result.is_ok() || out.is_empty());
        result.map(|()| out.split_off(4).to_vec())
    }

    fn encoded(value: Value<'_>, ty: PgType) -> Result<Vec<u8>, EncodeError> {
        formed(&value, Form { ty, way: Way::Direct }, &Rules::default())
    }

    #[test]
    fn nothing_is_rounded_or_cut_in_silence() {
        let decimal = |unscaled, scale| Value::Decimal { unscaled, scale };
        let tight = PgType::Numeric(Some((5, 2)));
        assert_eq!(encoded(decimal(12_345, 3), tight), Err(EncodeError::Digits));
        assert!(encoded(decimal(12_340, 3), tight).is_ok());
        assert_eq!(
            encoded(decimal(100_000, 2), tight),
            Err(EncodeError::Range("its numeric column"))
        );
        assert_eq!(encoded(Value::I64(40_000), PgType::Int2), Err(EncodeError::Range("smallint")));
        let varchar = PgType::Varchar(Some(2));
        assert_eq!(encoded(Value::String("ab ".into()), varchar), Err(EncodeError::Length));
        assert!(encoded(Value::String("éé".into()), varchar).is_ok());
        assert_eq!(encoded(Value::String("a\0".into()), PgType::Text), Err(EncodeError::Nul));
        assert_eq!(
            encoded(Value::Utf16(vec![0, 0xd8].into()), PgType::Text),
            Err(EncodeError::Surrogate)
        );
        assert_eq!(encoded(Value::Timestamp(10), PgType::Timestamp(3)), Err(EncodeError::Digits));
    }

    #[test]
    fn the_last_100_ns_of_a_day_stay_in_it() {
        let bytes = encoded(Value::Time(TICKS_PER_DAY - 1), PgType::Time(6)).unwrap();
        assert_eq!(bytes, 86_399_999_999_i64.to_be_bytes());
        // 100 ns before 1970: cut towards the past.
        let bytes = encoded(Value::Timestamp(-1), PgType::Timestamp(6)).unwrap();
        assert_eq!(bytes, (-1 - EPOCH_MICROS).to_be_bytes());
        let exact = Rules { exact_ticks: true, ..Rules::default() };
        let form = Form { ty: PgType::Time(6), way: Way::Direct };
        assert_eq!(formed(&Value::Time(1), form, &exact), Err(EncodeError::Ticks));
    }

    #[test]
    fn a_field_may_have_all_of_postgresqls_gibibyte_and_no_more() {
        assert_eq!(sized(0), Ok(0));
        assert_eq!(sized(1_073_741_819), Ok(1_073_741_819));
        for length in [1_073_741_820, 1 << 30, 1 << 31, 1 << 40] {
            assert_eq!(sized(length), Err(EncodeError::Size));
        }
    }

    #[test]
    fn what_postgresql_has_no_character_for_is_replaced_and_counted() {
        let count = Arc::new(AtomicU64::new(0));
        let rules = Rules { replaced: Some(Arc::clone(&count)), ..Rules::default() };
        let form = Form { ty: PgType::Varchar(Some(4)), way: Way::Direct };
        let shown = |value: &Value<'_>| {
            formed(value, form, &rules).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
        };
        assert_eq!(shown(&Value::String("a\0b\0".into())).unwrap(), "a\u{fffd}b\u{fffd}");
        assert_eq!(count.load(Ordering::Relaxed), 2);
        // High alone, pair, U+0000, low alone.
        let units = [0xd83d_u16, 0xd83e, 0xdd80, 0, 0xdc00];
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        assert_eq!(shown(&Value::Utf16(bytes.into())).unwrap(), "\u{fffd}🦀\u{fffd}\u{fffd}");
        assert_eq!(count.load(Ordering::Relaxed), 5);
        assert_eq!(shown(&Value::String("abcde".into())), Err(EncodeError::Length));
    }

    #[test]
    fn forms_of_another_kind() {
        let rules = Rules::default();
        let number = Form { ty: PgType::Int8, way: Way::Number };
        let version = Value::Bytes(vec![0xff, 0, 0, 0, 0, 0, 7, 0xd1].into());
        let bits = 0xff00_0000_0000_07d1_u64.cast_signed().to_be_bytes();
        assert_eq!(formed(&version, number, &rules).unwrap(), bits);
        assert!(formed(&Value::Bytes(vec![1].into()), number, &rules).is_err());
        let style = Style { digits: 7, between: ' ' };
        let text = Form { ty: PgType::Text, way: Way::Text(style) };
        assert_eq!(formed(&Value::Time(1), text, &rules).unwrap(), b"00:00:00.0000001");
        let short = Form { ty: PgType::Varchar(Some(3)), way: Way::Text(style) };
        assert_eq!(formed(&Value::I64(1234), short, &rules), Err(EncodeError::Length));
    }

    #[test]
    fn a_long_geometry_is_the_same_as_a_short_one() {
        let wkb = [&[1, 0xe9, 3, 0, 0][..], &[0; 24]].concat();
        let rules = Rules::default();
        for (ty, srid) in [(PgType::Geometry, 0), (PgType::Bytea, 27700), (PgType::Geography, 4326)]
        {
            let form = Form { ty, way: Way::Geometry };
            let long = lockstep_common::model::geometry::to_ewkb(&wkb, srid).unwrap();
            let short = Value::Geometry { wkb: wkb.clone().into(), srid };
            let short = formed(&short, form, &rules).unwrap();
            assert_eq!(formed(&Value::Bytes(long.into()), form, &rules).unwrap(), short);
        }
    }

    #[test]
    fn vectors_are_lists_of_finite_numbers() {
        let other =
            |text: &'static str| Value::Other { type_name: "vector(2)".into(), text: text.into() };
        let reals = encoded(other("[1.0000000e+000, -2.5e-1]"), PgType::Reals).unwrap();
        let words = [1, 0, 700, 2, 1, 4, 1.0f32.to_bits(), 4, (-0.25f32).to_bits()];
        assert_eq!(reals, words.iter().flat_map(|w: &u32| w.to_be_bytes()).collect::<Vec<_>>());
        let two = encoded(other("[1,2]"), PgType::Vector(Some(2))).unwrap();
        assert_eq!(two, [0, 2, 0, 0, 0x3f, 0x80, 0, 0, 0x40, 0, 0, 0]);
        assert_eq!(encoded(other("[1,2]"), PgType::Vector(Some(3))), Err(EncodeError::Vector));
        for wrong in ["", "[]", "[1,]", "1,2", "[1;2]", "[nan]", "[1e99]"] {
            assert_eq!(encoded(other(wrong), PgType::Reals), Err(EncodeError::Vector), "{wrong}");
        }
    }
}
