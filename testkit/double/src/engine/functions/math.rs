//! Functions over numbers.

use super::{Arguments, Bound, Computed, call};
use crate::engine::bind::types;
use crate::engine::convert::overflow;
use crate::engine::decimal;
use crate::engine::env::Env;
use crate::engine::expr::{Node, Typed};
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

/// Binds a function of this module.
///
/// # Errors
/// Numbers and types of arguments.
pub fn bind(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    let function = match name {
        "ABS" => abs,
        "SIGN" => sign,
        "FLOOR" => floor,
        "CEILING" => ceiling,
        "ROUND" => {
            arguments.arity(2, 3)?;
            let value = number(arguments)?;
            let ty = value.type_or_int();
            let places = arguments.int()?;
            let cut =
                if arguments.more() { arguments.int()? } else { Node::Constant(Value::Int(0)) };
            return call(round, vec![value.node, places, cut], ty);
        }
        "POWER" => {
            arguments.arity(2, 2)?;
            let value = number(arguments)?;
            let ty = value.type_or_int();
            let exponent = arguments.of(&SqlType::Float)?.node;
            let base = value.converted(&SqlType::Float).node;
            let result = Typed::call(power, vec![base, exponent], SqlType::Float);
            return Ok(Some(result.converted(&ty)));
        }
        "SQRT" | "EXP" | "LOG" | "LOG10" | "SIN" | "COS" | "TAN" | "SQUARE" => {
            arguments.arity(1, 1)?;
            let value = arguments.of(&SqlType::Float)?;
            let function = match name {
                "SQRT" => sqrt,
                "EXP" => exp,
                "LOG" => log,
                "LOG10" => log10,
                "SIN" => sin,
                "COS" => cos,
                "TAN" => tan,
                _ => square,
            };
            return call(function, vec![value.node], SqlType::Float);
        }
        "PI" => {
            arguments.arity(0, 0)?;
            return Ok(Some(Typed::constant(Value::Float(std::f64::consts::PI), SqlType::Float)));
        }
        "RAND" => {
            // A seed would have to repeat SQL Server's own generator.
            arguments.arity(0, 0)?;
            return call(rand, Vec::new(), SqlType::Float);
        }
        _ => return Ok(None),
    };
    arguments.arity(1, 1)?;
    let value = number(arguments)?;
    let own = value.type_or_int();
    let ty = match (name, &own) {
        ("FLOOR" | "CEILING", SqlType::Decimal { precision, .. }) => {
            SqlType::Decimal { precision: *precision, scale: 0 }
        }
        ("FLOOR" | "CEILING", SqlType::Numeric { precision, .. }) => {
            SqlType::Numeric { precision: *precision, scale: 0 }
        }
        _ => own,
    };
    call(function, vec![value.node], ty)
}

/// The next argument as a number that keeps its type; smaller integers become `int`, `real`
/// becomes `float`, texts too.
fn number(arguments: &mut Arguments) -> Bound<Typed> {
    let value = arguments.any()?;
    let ty = value.type_or_int();
    match (ty.family(), &ty) {
        (Family::Integer, SqlType::BigInt | SqlType::Int) => Ok(value.converted(&ty)),
        (Family::Integer, _) => Ok(value.converted(&SqlType::Int)),
        (Family::Money, _) => Ok(value.converted(&SqlType::Money)),
        (Family::Decimal, _) => Ok(value),
        (Family::Float | Family::Text, _) => types::implicit(value, &SqlType::Float),
        _ => Err(super::string::argument_type(&ty, 1, &arguments.name)),
    }
}

fn out_of_range() -> SqlError {
    SqlError::new(3623, 16, 1, "An invalid floating point operation occurred.")
}

fn expression_overflow(ty: &SqlType) -> SqlError {
    overflow("expression", ty)
}

fn abs(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match &arguments[0] {
        Value::Int(v) => {
            Value::Int(v.checked_abs().ok_or_else(|| expression_overflow(&SqlType::Int))?)
        }
        Value::BigInt(v) => {
            Value::BigInt(v.checked_abs().ok_or_else(|| expression_overflow(&SqlType::BigInt))?)
        }
        Value::Decimal { unscaled, scale } => {
            Value::Decimal { unscaled: unscaled.abs(), scale: *scale }
        }
        Value::Money(v) => {
            Value::Money(v.checked_abs().ok_or_else(|| expression_overflow(&SqlType::Money))?)
        }
        Value::Float(v) => Value::Float(v.abs()),
        _ => Value::Null,
    })
}

fn sign(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match &arguments[0] {
        Value::Int(v) => Value::Int(v.signum()),
        Value::BigInt(v) => Value::BigInt(v.signum()),
        Value::Decimal { unscaled, scale } => Value::Decimal {
            unscaled: unscaled.signum() * decimal::power_of_ten(*scale).unwrap_or(1),
            scale: *scale,
        },
        Value::Money(v) => Value::Money(v.signum() * 10_000),
        Value::Float(v) if *v == 0.0 => Value::Float(0.0),
        Value::Float(v) => Value::Float(v.signum()),
        _ => Value::Null,
    })
}

fn floor_of(value: i128, scale: u8) -> i128 {
    decimal::power_of_ten(scale).map_or(0, |unit| value.div_euclid(unit))
}

fn floor(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match &arguments[0] {
        Value::Decimal { unscaled, scale } => {
            Value::Decimal { unscaled: floor_of(*unscaled, *scale), scale: 0 }
        }
        Value::Money(v) => Value::Money(v.div_euclid(10_000) * 10_000),
        Value::Float(v) => Value::Float(v.floor()),
        other => other.clone(),
    })
}

fn ceiling(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match &arguments[0] {
        Value::Decimal { unscaled, scale } => {
            Value::Decimal { unscaled: -floor_of(-unscaled, *scale), scale: 0 }
        }
        Value::Money(v) => Value::Money(-((-v).div_euclid(10_000)) * 10_000),
        Value::Float(v) => Value::Float(v.ceil()),
        other => other.clone(),
    })
}

/// Rounds or cuts an exact number with `scale` digits to `places`, which may be negative.
fn rounded(value: i128, scale: u8, places: i64, cut: bool) -> Option<i128> {
    if places >= i64::from(scale) {
        return Some(value);
    }
    let dropped = i64::from(scale) - places;
    let Some(unit) = u8::try_from(dropped).ok().and_then(decimal::power_of_ten) else {
        return Some(0);
    };
    let (quotient, rest) = (value / unit, value % unit);
    let carry = !cut && rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs();
    (quotient + i128::from(carry) * value.signum()).checked_mul(unit)
}

fn round(_: &Env<'_>, arguments: &[Value]) -> Computed {
    if arguments.iter().any(Value::is_null) {
        return Ok(Value::Null);
    }
    let places = arguments[1].as_i64().unwrap_or_default();
    let cut = arguments[2].as_i64() != Some(0);
    let exact = |value: i128, scale: u8, ty: &SqlType| {
        rounded(value, scale, places, cut).ok_or_else(|| expression_overflow(ty))
    };
    Ok(match &arguments[0] {
        Value::Int(v) => {
            let value = exact(i128::from(*v), 0, &SqlType::Int)?;
            Value::Int(i32::try_from(value).map_err(|_| expression_overflow(&SqlType::Int))?)
        }
        Value::BigInt(v) => {
            let value = exact(i128::from(*v), 0, &SqlType::BigInt)?;
            Value::BigInt(i64::try_from(value).map_err(|_| expression_overflow(&SqlType::BigInt))?)
        }
        Value::Decimal { unscaled, scale } => Value::Decimal {
            unscaled: exact(*unscaled, *scale, &SqlType::Numeric { precision: 38, scale: *scale })?,
            scale: *scale,
        },
        Value::Money(v) => {
            let value = exact(i128::from(*v), 4, &SqlType::Money)?;
            Value::Money(i64::try_from(value).map_err(|_| expression_overflow(&SqlType::Money))?)
        }
        Value::Float(v) => {
            let power = 10f64.powi(i32::try_from(places.clamp(-400, 400)).unwrap_or(0));
            let scaled = v * power;
            let whole = if cut { scaled.trunc() } else { scaled.round() };
            let result = whole / power;
            Value::Float(if result.is_finite() { result } else { *v })
        }
        _ => Value::Null,
    })
}

fn power(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Value::Float(base), Value::Float(exponent)) = (&arguments[0], &arguments[1]) else {
        return Ok(Value::Null);
    };
    let result = base.powf(*exponent);
    match result.is_finite() {
        true => Ok(Value::Float(result)),
        false => Err(out_of_range()),
    }
}

fn of_float(arguments: &[Value], compute: fn(f64) -> f64) -> Computed {
    let Value::Float(value) = &arguments[0] else {
        return Ok(Value::Null);
    };
    let result = compute(*value);
    match result.is_finite() {
        true => Ok(Value::Float(result)),
        false => Err(out_of_range()),
    }
}

fn sqrt(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_float(arguments, f64::sqrt)
}

fn exp(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_float(arguments, f64::exp)
}

fn log(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_float(arguments, f64::ln)
}

fn log10(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_float(arguments, f64::log10)
}

fn sin(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_float(arguments, f64::sin)
}

fn cos(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_float(arguments, f64::cos)
}

fn tan(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_float(arguments, f64::tan)
}

fn square(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_float(arguments, |value| value * value)
}

fn rand(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(Value::Float(env.random()))
}
