//! Arithmetic and bit operators over operands already of their common type.

use crate::engine::calendar;
use crate::engine::convert::overflow;
use crate::engine::decimal::{self, Shape};
use crate::engine::syntax::ast::BinaryOp;
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

/// Result of an operator.
type Computed = Result<Value, SqlError>;

/// Applies an operator; `ty` is the result's type. Operands of decimals keep their own scales.
///
/// # Errors
/// 8115 and 8134.
pub fn apply(op: BinaryOp, ty: &SqlType, left: &Value, right: &Value) -> Computed {
    if left.is_null() || right.is_null() {
        return Ok(Value::Null);
    }
    match ty.family() {
        Family::Integer => integer(op, ty, left, right),
        Family::Decimal => exact(op, ty, left, right),
        Family::Money => money(op, ty, left, right),
        Family::Float => float(op, ty, left, right),
        Family::Temporal => datetime(op, left, right),
        _ => Err(super::internal("arithmetic over this type")),
    }
}

/// Error 8134.
fn divide_by_zero() -> SqlError {
    SqlError::new(8134, 16, 1, "Divide by zero error encountered.")
}

fn integer(op: BinaryOp, ty: &SqlType, left: &Value, right: &Value) -> Computed {
    let (Some(l), Some(r)) = (left.as_i64(), right.as_i64()) else {
        return Err(super::internal("integer operands"));
    };
    let (l, r) = (i128::from(l), i128::from(r));
    let result = match op {
        BinaryOp::Add => l + r,
        BinaryOp::Subtract => l - r,
        BinaryOp::Multiply => l * r,
        BinaryOp::Divide | BinaryOp::Modulo if r == 0 => return Err(divide_by_zero()),
        BinaryOp::Divide => l / r,
        BinaryOp::Modulo => l % r,
        BinaryOp::BitAnd => l & r,
        BinaryOp::BitOr => l | r,
        BinaryOp::BitXor => l ^ r,
    };
    let fitted = match ty {
        SqlType::Bit => Some(Value::Bit(result != 0)),
        SqlType::TinyInt => u8::try_from(result).ok().map(Value::TinyInt),
        SqlType::SmallInt => i16::try_from(result).ok().map(Value::SmallInt),
        SqlType::Int => i32::try_from(result).ok().map(Value::Int),
        _ => i64::try_from(result).ok().map(Value::BigInt),
    };
    fitted.ok_or_else(|| overflow("expression", ty))
}

fn exact(op: BinaryOp, ty: &SqlType, left: &Value, right: &Value) -> Computed {
    let (Some(l), Some(r)) = (left.exact(), right.exact()) else {
        return Err(super::internal("decimal operands"));
    };
    let shape = Shape { precision: ty.precision(), scale: ty.scale() };
    if matches!(op, BinaryOp::Divide | BinaryOp::Modulo) && r.0 == 0 {
        return Err(divide_by_zero());
    }
    let result = match op {
        BinaryOp::Add => decimal::add(l, r, shape),
        BinaryOp::Subtract => decimal::add(l, (-r.0, r.1), shape),
        BinaryOp::Multiply => decimal::multiply(l, r, shape),
        BinaryOp::Divide => decimal::divide(l, r, shape),
        BinaryOp::Modulo => decimal::remainder(l, r, shape),
        _ => return Err(super::internal("bits of a decimal")),
    };
    match result {
        Some(unscaled) => Ok(Value::Decimal { unscaled, scale: shape.scale }),
        None => Err(overflow("expression", ty)),
    }
}

fn money(op: BinaryOp, ty: &SqlType, left: &Value, right: &Value) -> Computed {
    let (Some((l, _)), Some((r, _))) = (left.exact(), right.exact()) else {
        return Err(super::internal("money operands"));
    };
    let result = match op {
        BinaryOp::Add => Some(l + r),
        BinaryOp::Subtract => Some(l - r),
        BinaryOp::Multiply => decimal::rescale(l * r, 8, 4),
        BinaryOp::Divide | BinaryOp::Modulo if r == 0 => return Err(divide_by_zero()),
        // Money divides into four places and cuts the rest off.
        BinaryOp::Divide => Some(l * 10_000 / r),
        BinaryOp::Modulo => Some(l % r),
        _ => return Err(super::internal("bits of money")),
    };
    let fitted = match ty {
        SqlType::SmallMoney => result.and_then(|v| i32::try_from(v).ok()).map(Value::SmallMoney),
        _ => result.and_then(|v| i64::try_from(v).ok()).map(Value::Money),
    };
    fitted.ok_or_else(|| overflow("expression", ty))
}

fn float(op: BinaryOp, ty: &SqlType, left: &Value, right: &Value) -> Computed {
    if let (Value::Real(l), Value::Real(r)) = (left, right) {
        let result = match op {
            BinaryOp::Add => l + r,
            BinaryOp::Subtract => l - r,
            BinaryOp::Multiply => l * r,
            BinaryOp::Divide if *r == 0.0 => return Err(divide_by_zero()),
            BinaryOp::Divide => l / r,
            _ => return Err(super::internal("operator over real")),
        };
        return match result.is_finite() {
            true => Ok(Value::Real(result)),
            false => Err(overflow("expression", ty)),
        };
    }
    let (Value::Float(l), Value::Float(r)) = (left, right) else {
        return Err(super::internal("float operands"));
    };
    let result = match op {
        BinaryOp::Add => l + r,
        BinaryOp::Subtract => l - r,
        BinaryOp::Multiply => l * r,
        BinaryOp::Divide if *r == 0.0 => return Err(divide_by_zero()),
        BinaryOp::Divide => l / r,
        _ => return Err(super::internal("operator over float")),
    };
    match result.is_finite() {
        true => Ok(Value::Float(result)),
        false => Err(overflow("expression", ty)),
    }
}

/// Sums of `datetime`s count from 1900-01-01 00:00, as if they were numbers of days.
fn datetime(op: BinaryOp, left: &Value, right: &Value) -> Computed {
    let (Value::DateTime { days: ld, ticks: lt }, Value::DateTime { days: rd, ticks: rt }) =
        (left, right)
    else {
        return Err(super::internal("datetime operands"));
    };
    const TICKS: i64 = 86_400 * 300;
    let whole = |days: i32, ticks: u32| i64::from(days) * TICKS + i64::from(ticks);
    let result = match op {
        BinaryOp::Add => whole(*ld, *lt) + whole(*rd, *rt),
        BinaryOp::Subtract => whole(*ld, *lt) - whole(*rd, *rt),
        _ => return Err(super::internal("operator over datetime")),
    };
    let days = result.div_euclid(TICKS);
    let last = calendar::LAST_DAY - calendar::DAYS_TO_1900;
    if !(calendar::FIRST_DATETIME_DAY..=last).contains(&days) {
        return Err(SqlError::new(
            517,
            16,
            1,
            "Adding a value to a 'datetime' column caused an overflow.",
        ));
    }
    match (i32::try_from(days), u32::try_from(result.rem_euclid(TICKS))) {
        (Ok(days), Ok(ticks)) => Ok(Value::DateTime { days, ticks }),
        _ => Err(super::internal("datetime range")),
    }
}
