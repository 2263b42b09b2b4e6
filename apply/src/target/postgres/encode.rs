//! From values to PostgreSQL's binary form, exactly or by a named rule.
//!
//! A value either arrives as it is, or is changed by one of the [`Rules`], or is an error that the
//! conflict policy decides on. PostgreSQL itself rounds numerics and timestamps to a column's digits
//! and cuts blanks off a `varchar(n)` without a word, so all that is checked here.

use bytes::{BufMut, BytesMut};
use lockstep_common::{TICKS_PER_DAY, Value};

use super::types::PgType;

/// What to do with what PostgreSQL cannot store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// The seventh fractional digit of a time (100 ns) is cut off; else it is an error.
    pub(super) exact_ticks: bool,
}

/// A value that the target's column cannot take. Never shows the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncodeError {
    #[error("text with the character U+0000, which PostgreSQL cannot store")]
    Nul,
    #[error("text with a lone surrogate, which PostgreSQL cannot store")]
    Surrogate,
    #[error("a number out of the range of {0}")]
    Range(&'static str),
    #[error("more digits than its column has")]
    Digits,
    #[error("more characters than its column has")]
    Length,
    #[error("a time with 100 ns digits")]
    Ticks,
    #[error("a value larger than PostgreSQL's 1 GiB")]
    Size,
    #[error("{0}, which has no form in {1}")]
    Unsupported(&'static str, &'static str),
}

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = 10_957 * 86_400_000_000;
/// 100 ns units in a microsecond.
const TICKS_PER_MICRO: i64 = 10;
/// PostgreSQL's limit for one field.
const MOST_BYTES: usize = (1 << 30) - 1;

/// Appends `value` as a field of binary COPY, a Bind parameter or an array element (they are the
/// same): its length and its bytes.
///
/// # Errors
/// When `ty` cannot take the value; `out` is then as it was.
pub(super) fn field(
    value: &Value<'_>,
    ty: PgType,
    rules: Rules,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if matches!(value, Value::Null) {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    let result = bytes(value, ty, rules, out).and_then(|()| {
        let length = out.len() - start - 4;
        i32::try_from(length).ok().filter(|_| length <= MOST_BYTES).ok_or(EncodeError::Size)
    });
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

fn bytes(
    value: &Value<'_>,
    ty: PgType,
    rules: Rules,
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
        (Value::String(v) | Value::Other { text: v, .. }, _) => text(v, ty, out)?,
        (Value::Utf16(_), _) => return Err(EncodeError::Surrogate),
        (Value::Bytes(v), PgType::Bytea) => out.put_slice(v),
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

fn text(value: &str, ty: PgType, out: &mut BytesMut) -> Result<(), EncodeError> {
    let most = match ty {
        PgType::Text | PgType::Varchar(None) | PgType::Xml | PgType::Json => usize::MAX,
        PgType::Varchar(Some(n)) | PgType::Char(n) => n as usize,
        PgType::Jsonb => {
            // jsonb_recv wants the version of its text form first.
            out.put_u8(1);
            usize::MAX
        }
        other => return Err(EncodeError::Unsupported("text", other.base_name())),
    };
    // No text has more characters than bytes.
    if value.len() > most && value.chars().count() > most {
        return Err(EncodeError::Length);
    }
    if value.as_bytes().contains(&0) {
        return Err(EncodeError::Nul);
    }
    out.put_slice(value.as_bytes());
    Ok(())
}

/// 100 ns units to microseconds, with no digit lost but by the rule. Cutting is towards the past,
/// as on the source's clock, so that 23:59:59.9999999 stays within its day.
fn micros(ticks: i64, digits: u8, rules: Rules) -> Result<i64, EncodeError> {
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

/// PostgreSQL's numeric: base-10000 digits around the decimal point, a weight, a sign and the
/// number of decimal digits to show (`numeric_recv` in `numeric.c`).
fn numeric(
    unscaled: i128,
    scale: u8,
    limits: Option<(u16, u16)>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let magnitude = unscaled.unsigned_abs();
    check_numeric(magnitude, scale, limits)?;
    // Make the fraction a whole number of base-10000 digits.
    let missing = (4 - scale % 4) % 4;
    let fraction_digits = u16::from(scale.div_ceil(4));
    let mut digits = [0u16; 20];
    let mut count = 0u16;
    let mut push = |digit: u128| {
        digits[usize::from(count)] = u16::try_from(digit).expect("below 10000");
        count += 1;
    };
    // Least significant first; the first one is filled up with zeros, which needs no wider integer.
    let factor = 10_u128.pow(missing.into());
    let low = 10_u128.pow((4 - missing).into());
    push(magnitude % low * factor);
    let mut rest = magnitude / low;
    while rest > 0 {
        push(rest % 10_000);
        rest /= 10_000;
    }
    let digits = &digits[..usize::from(count)];
    let weight = i32::from(count) - 1 - i32::from(fraction_digits);
    // Zeros at either end are not sent.
    let low = digits.iter().take_while(|d| **d == 0).count();
    let high = digits.iter().rev().take_while(|d| **d == 0).count();
    let zero = low == digits.len();
    let (sent, weight) = if zero {
        (&digits[..0], 0)
    } else {
        let high_zeros = i32::try_from(high).expect("at most 20");
        (&digits[low..digits.len() - high], weight - high_zeros)
    };
    out.put_u16(u16::try_from(sent.len()).expect("at most 20"));
    out.put_i16(i16::try_from(weight).expect("within 20"));
    out.put_u16(if unscaled < 0 && !zero { 0x4000 } else { 0 });
    out.put_u16(scale.into());
    sent.iter().rev().for_each(|digit| out.put_u16(*digit));
    Ok(())
}

fn check_numeric(
    magnitude: u128,
    scale: u8,
    limits: Option<(u16, u16)>,
) -> Result<(), EncodeError> {
    if scale > 38 {
        return Err(EncodeError::Range("numeric"));
    }
    let Some((precision, most_scale)) = limits else { return Ok(()) };
    let scale = u16::from(scale);
    if scale > most_scale {
        let cut = 10_u128.pow((scale - most_scale).into());
        if !magnitude.is_multiple_of(cut) {
            return Err(EncodeError::Digits);
        }
    }
    // Digits before the point.
    let whole = magnitude / 10_u128.pow(scale.into());
    let most = precision - most_scale;
    if most < 39 && whole >= 10_u128.pow(most.into()) {
        return Err(EncodeError::Range("its numeric column"));
    }
    Ok(())
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
    use proptest::prelude::*;

    fn encoded(value: Value<'_>, ty: PgType) -> Result<Vec<u8>, EncodeError> {
        let mut out = BytesMut::new();
        field(&value, ty, Rules::default(), &mut out)?;
        Ok(out.split_off(4).to_vec())
    }

    /// Reads a numeric's binary form back as an unscaled integer at `scale`.
    fn numeric_value(bytes: &[u8], scale: u32) -> i128 {
        let word = |i: usize| u16::from_be_bytes([bytes[2 * i], bytes[2 * i + 1]]);
        let weight = i32::from(word(1) as i16);
        let mut value = 0i128;
        for i in 0..word(0) {
            let digit = i128::from(word(4 + usize::from(i)));
            let exponent = 4 * (weight - i32::from(i)) + scale as i32;
            value += if exponent >= 0 {
                digit * 10i128.pow(exponent as u32)
            } else {
                digit / 10i128.pow(-exponent as u32)
            };
        }
        if word(2) == 0x4000 { -value } else { value }
    }

    proptest! {
        #[test]
        fn numerics_keep_every_digit(
            unscaled in -99_999_999_999_999_999_999_999_999_999_999_999_999i128
                ..=99_999_999_999_999_999_999_999_999_999_999_999_999,
            digits in 0u32..38,
            scale in 0u8..=38,
        ) {
            let unscaled = unscaled / 10i128.pow(digits);
            let bytes = encoded(Value::Decimal { unscaled, scale }, PgType::Numeric(None)).unwrap();
            prop_assert_eq!(numeric_value(&bytes, scale.into()), unscaled);
        }
    }

    #[test]
    fn numerics_as_postgresql_packs_them() {
        // 12345.678 is 1 * 10000 + 2345 + 6780/10000
        let bytes =
            encoded(Value::Decimal { unscaled: 12_345_678, scale: 3 }, PgType::Numeric(None));
        assert_eq!(bytes.unwrap(), [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
        let zero = encoded(Value::Decimal { unscaled: 0, scale: 2 }, PgType::Numeric(None));
        assert_eq!(zero.unwrap(), [0, 0, 0, 0, 0, 0, 0, 2]);
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
        let mut out = BytesMut::new();
        let exact = Rules { exact_ticks: true };
        let refused = field(&Value::Time(1), PgType::Time(6), exact, &mut out);
        assert_eq!((refused, out.len()), (Err(EncodeError::Ticks), 0));
    }
}
