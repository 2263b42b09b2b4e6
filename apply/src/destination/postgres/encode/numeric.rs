//! Decimals in PostgreSQL's binary form.

use bytes::{BufMut, BytesMut};

use super::EncodeError;

/// PostgreSQL's numeric: base-10000 digits around the decimal point, a weight, a sign and the
/// number of decimal digits to show (`numeric_recv` in `numeric.c`).
pub(super) fn numeric(
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(unscaled: i128, scale: u8) -> Vec<u8> {
        let mut out = BytesMut::new();
        numeric(unscaled, scale, None, &mut out).unwrap();
        out.to_vec()
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
            let bytes = encoded(unscaled, scale);
            prop_assert_eq!(numeric_value(&bytes, scale.into()), unscaled);
        }
    }

    #[test]
    fn numerics_as_postgresql_packs_them() {
        // 12345.678 is 1 * 10000 + 2345 + 6780/10000
        let bytes = encoded(12_345_678, 3);
        assert_eq!(bytes, [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
        assert_eq!(encoded(0, 2), [0, 0, 0, 0, 0, 0, 0, 2]);
    }
}
