//! `decimal` arithmetic with SQL Server's precision and scale rules.
//!
//! Results that need more than 38 digits lose scale first: products are rounded, quotients cut
//! off; what still does not fit is an overflow (`None` here, error 8115 for the caller).

/// Most digits of a `decimal`.
pub const MAX_PRECISION: u8 = 38;

/// Precision and scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Digits in all.
    pub precision: u8,
    /// Digits after the point.
    pub scale: u8,
}

impl Shape {
    fn whole(self) -> u8 {
        self.precision.saturating_sub(self.scale)
    }
}

/// `10^exponent` for exponents up to 38.
pub fn power_of_ten(exponent: u8) -> Option<i128> {
    10i128.checked_pow(u32::from(exponent))
}

/// Type of a sum or difference.
pub fn sum_shape(l: Shape, r: Shape) -> Shape {
    let scale = l.scale.max(r.scale);
    let whole = l.whole().max(r.whole());
    let precision = whole + scale + 1;
    if precision <= MAX_PRECISION {
        return Shape { precision, scale };
    }
    Shape { precision: MAX_PRECISION, scale: scale.min(MAX_PRECISION - whole.min(MAX_PRECISION)) }
}

/// Type of a product.
pub fn product_shape(l: Shape, r: Shape) -> Shape {
    limited(
        u16::from(l.precision) + u16::from(r.precision) + 1,
        u16::from(l.scale) + u16::from(r.scale),
    )
}

/// Type of a quotient.
pub fn quotient_shape(l: Shape, r: Shape) -> Shape {
    let scale = 6.max(u16::from(l.scale) + u16::from(r.precision) + 1);
    let precision = u16::from(l.whole()) + u16::from(r.scale) + scale;
    limited(precision, scale)
}

/// Type of a remainder.
pub fn remainder_shape(l: Shape, r: Shape) -> Shape {
    let scale = l.scale.max(r.scale);
    let precision = (l.whole().min(r.whole()) + scale).clamp(1, MAX_PRECISION);
    Shape { precision, scale }
}

/// The type that holds both operands of CASE, UNION and comparisons.
pub fn common_shape(l: Shape, r: Shape) -> Shape {
    let scale = l.scale.max(r.scale);
    let whole = l.whole().max(r.whole());
    let precision = (whole + scale).clamp(1, MAX_PRECISION);
    Shape { precision, scale: scale.min(MAX_PRECISION - whole.min(MAX_PRECISION)) }
}

/// The documented reduction of products and quotients beyond 38 digits: at least 32 whole digits
/// are kept as long as six places stay.
fn limited(precision: u16, scale: u16) -> Shape {
    let (precision, scale) = if precision <= 38 {
        (precision, scale)
    } else {
        let whole = precision - scale;
        let scale = if whole < 32 { scale.min(38 - whole) } else { scale.min(6) };
        (38, scale)
    };
    Shape {
        precision: u8::try_from(precision).unwrap_or(MAX_PRECISION),
        scale: u8::try_from(scale).unwrap_or(MAX_PRECISION),
    }
}

/// `value` if it has at most `precision` digits.
pub fn fit(value: i128, precision: u8) -> Option<i128> {
    let limit = power_of_ten(precision)?;
    (value.unsigned_abs() < limit.unsigned_abs()).then_some(value)
}

/// Moves the point, rounding half away from zero.
pub fn rescale(value: i128, from: u8, to: u8) -> Option<i128> {
    if to >= from {
        return value.checked_mul(power_of_ten(to - from)?);
    }
    // More than 38 places away nothing is left.
    let Some(divisor) = power_of_ten(from - to) else {
        return Some(0);
    };
    let (quotient, remainder) = (value / divisor, value % divisor);
    let carry =
        i128::from(remainder.unsigned_abs() >= divisor.unsigned_abs() - remainder.unsigned_abs());
    Some(quotient + carry * value.signum())
}

/// Moves the point, cutting digits off.
pub fn truncate(value: i128, from: u8, to: u8) -> Option<i128> {
    if to >= from {
        return rescale(value, from, to);
    }
    Some(power_of_ten(from - to).map_or(0, |divisor| value / divisor))
}

/// Sum of two values, with its shape's scale.
pub fn add(l: (i128, u8), r: (i128, u8), shape: Shape) -> Option<i128> {
    let scale = l.1.max(r.1);
    let exact = || {
        let sum = rescale(l.0, l.1, scale)?.checked_add(rescale(r.0, r.1, scale)?)?;
        rescale(sum, scale, shape.scale)
    };
    let sum = match exact() {
        Some(sum) => sum,
        None => rescale(l.0, l.1, shape.scale)?.checked_add(rescale(r.0, r.1, shape.scale)?)?,
    };
    fit(sum, shape.precision)
}

/// Product of two values.
pub fn multiply(l: (i128, u8), r: (i128, u8), shape: Shape) -> Option<i128> {
    let negative = (l.0 < 0) != (r.0 < 0);
    let (high, low) = multiply_wide(l.0.unsigned_abs(), r.0.unsigned_abs());
    let places = (l.1 + r.1).saturating_sub(shape.scale);
    let magnitude = if places == 0 {
        if high != 0 {
            return None;
        }
        low
    } else {
        let mut divisor = 10u128.checked_pow(u32::from(places.min(38)))?;
        let (mut high, mut low) = (high, low);
        // More than 38 places go in two steps; the first cuts, which cannot change whether the
        // rest is at least a half.
        if places > 38 {
            let first = 10u128.checked_pow(u32::from(places - 38))?;
            let (quotient_high, rest) = (high / first, high % first);
            let (quotient, _) = divide_wide(rest, low, first)?;
            (high, low) = (quotient_high, quotient);
            divisor = 10u128.checked_pow(38)?;
        }
        let (quotient, remainder) = divide_wide(high, low, divisor)?;
        quotient + u128::from(remainder >= divisor - remainder)
    };
    signed(magnitude, negative).and_then(|value| fit(value, shape.precision))
}

/// Quotient of two values, digit by digit; the divisor is not zero.
pub fn divide(l: (i128, u8), r: (i128, u8), shape: Shape) -> Option<i128> {
    let negative = (l.0 < 0) != (r.0 < 0);
    let divisor = r.0.unsigned_abs();
    let dividend = l.0.unsigned_abs();
    let (mut quotient, mut remainder) = (dividend / divisor, dividend % divisor);
    let places = i32::from(shape.scale) + i32::from(r.1) - i32::from(l.1);
    for _ in 0..places.max(0) {
        let (high, low) = multiply_wide(remainder, 10);
        let (digit, rest) = divide_wide(high, low, divisor)?;
        quotient = quotient.checked_mul(10)?.checked_add(digit)?;
        remainder = rest;
    }
    for _ in places..0 {
        quotient /= 10;
    }
    signed(quotient, negative).and_then(|value| fit(value, shape.precision))
}

/// Remainder of two values, with the dividend's sign; the divisor is not zero.
pub fn remainder(l: (i128, u8), r: (i128, u8), shape: Shape) -> Option<i128> {
    let l = rescale(l.0, l.1, shape.scale)?;
    let r = rescale(r.0, r.1, shape.scale)?;
    fit(l % r, shape.precision)
}

fn signed(magnitude: u128, negative: bool) -> Option<i128> {
    let value = i128::try_from(magnitude).ok()?;
    Some(if negative { -value } else { value })
}

/// 128 × 128 → 256 bits, as high and low halves.
fn multiply_wide(l: u128, r: u128) -> (u128, u128) {
    const MASK: u128 = u64::MAX as u128;
    let (l1, l0, r1, r0) = (l >> 64, l & MASK, r >> 64, r & MASK);
    let low = l0 * r0;
    let cross = l1 * r0 + (low >> 64);
    let cross2 = l0 * r1 + (cross & MASK);
    let high = l1 * r1 + (cross >> 64) + (cross2 >> 64);
    (high, (cross2 << 64) | (low & MASK))
}

/// 256 / 128 bits; `None` if the quotient needs more than 128.
fn divide_wide(high: u128, low: u128, divisor: u128) -> Option<(u128, u128)> {
    if high == 0 {
        return Some((low / divisor, low % divisor));
    }
    if high >= divisor {
        return None;
    }
    let (mut remainder, mut quotient) = (high, 0u128);
    for bit in (0..128).rev() {
        let carry = remainder >> 127;
        remainder = (remainder << 1) | ((low >> bit) & 1);
        quotient <<= 1;
        if carry == 1 || remainder >= divisor {
            remainder = remainder.wrapping_sub(divisor);
            quotient |= 1;
        }
    }
    Some((quotient, remainder))
}

/// Reads digits with an optional sign, point and (where `exponent`) exponent; answers unscaled
/// value and scale. Digits beyond the 38th after the point are dropped. `None` if malformed,
/// `Some(Err)` if too large.
pub fn parse(text: &str) -> Option<Result<(i128, u8), ()>> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > 38 {
        return Some(Err(()));
    }
    let kept = fraction.len().min(38 - whole.len());
    let joined = format!("{whole}{}", &fraction[..kept]);
    let mut value: i128 = if joined.is_empty() { 0 } else { joined.parse().ok()? };
    if fraction.as_bytes().get(kept).is_some_and(|b| *b >= b'5') {
        value += 1;
    }
    let scale = u8::try_from(kept).ok()?;
    Some(Ok((if negative { -value } else { value }, scale)))
}

/// Writes a value with all digits of its scale.
pub fn format(value: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(precision: u8, scale: u8) -> Shape {
        Shape { precision, scale }
    }

    #[test]
    fn documented_shapes() {
        assert_eq!(quotient_shape(shape(2, 1), shape(1, 0)), shape(7, 6));
        assert_eq!(product_shape(shape(10, 2), shape(5, 3)), shape(16, 5));
        assert_eq!(sum_shape(shape(10, 2), shape(5, 3)), shape(12, 3));
        // Documented example of scale reduction.
        assert_eq!(product_shape(shape(38, 10), shape(38, 10)), shape(38, 6));
        assert_eq!(sum_shape(shape(38, 10), shape(38, 2)), shape(38, 2));
    }

    #[test]
    fn quotients_are_cut_and_products_rounded() {
        assert_eq!(divide((20, 1), (3, 0), shape(8, 6)), Some(666_666));
        assert_eq!(divide((-20, 1), (3, 0), shape(8, 6)), Some(-666_666));
        assert_eq!(multiply((15, 1), (15, 1), shape(38, 1)), Some(23));
        let nines = 10i128.pow(38) - 1;
        assert_eq!(multiply((nines, 20), (nines, 20), shape(38, 6)), None);
        assert_eq!(multiply((nines, 38), (nines, 38), shape(38, 38)), Some(nines - 1));
        assert_eq!(divide((nines, 0), (nines, 38), shape(38, 0)), None);
        assert_eq!(divide((1, 38), (nines, 0), shape(38, 38)), Some(0));
    }

    #[test]
    fn text_round_trip() {
        assert_eq!(parse("-001.50"), Some(Ok((-150, 2))));
        assert_eq!(parse("."), None);
        assert_eq!(parse("1e3"), None);
        assert_eq!(format(-5, 3), "-0.005");
        assert_eq!(format(1200, 2), "12.00");
        assert_eq!(rescale(-25, 1, 0), Some(-3));
        assert_eq!(rescale(24, 1, 0), Some(2));
    }
}
