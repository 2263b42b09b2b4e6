//! Types of operators and of places where several expressions meet.

use super::Bound;
use crate::engine::convert;
use crate::engine::decimal::{self, Shape};
use crate::engine::expr::{Node, Typed};
use crate::engine::syntax::ast::BinaryOp;
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

/// Error 206 or 257: a conversion that needs CAST, or none at all.
pub fn not_implicit(from: &SqlType, to: &SqlType) -> SqlError {
    if !convert::explicit_allowed(from, to) {
        return SqlError::new(
            206,
            16,
            2,
            format!("Operand type clash: {} is incompatible with {}", from.name(), to.name()),
        );
    }
    SqlError::new(
        257,
        16,
        3,
        format!(
            "Implicit conversion from data type {} to {} is not allowed. Use the CONVERT function to run this query.",
            from.name(),
            to.name()
        ),
    )
}

/// Converts where that needs no CAST.
///
/// # Errors
/// 206, 257.
pub fn implicit(value: Typed, to: &SqlType) -> Bound<Typed> {
    if let Some(from) = &value.ty
        && from != to
        && !convert::implicit_allowed(from, to)
    {
        return Err(not_implicit(from, to));
    }
    Ok(value.converted(to))
}

/// The shape of an exact number; a literal has only the digits written.
fn shape(value: &Typed) -> Option<Shape> {
    let ty = value.ty.as_ref()?;
    if let (SqlType::Int, Some(Value::Int(literal))) = (ty, value.as_constant()) {
        let digits = literal.unsigned_abs().to_string().len();
        return Some(Shape { precision: u8::try_from(digits).unwrap_or(10), scale: 0 });
    }
    let (precision, scale) = ty.as_decimal()?;
    Some(Shape { precision, scale })
}

/// The type in which values of two types meet.
///
/// # Errors
/// 206 where there is none.
pub fn common(left: &SqlType, right: &SqlType) -> Bound<SqlType> {
    use SqlType::*;
    let (high, low) = if left.rank() >= right.rank() { (left, right) } else { (right, left) };
    if high != low && !convert::implicit_allowed(low, high) {
        return Err(not_implicit(low, high));
    }
    let longest = |a: &Option<u16>, b: &Option<u16>| match (a, b) {
        (Some(a), Some(b)) => Some(*a.max(b)),
        _ => None,
    };
    Ok(match high {
        Decimal { .. } | Numeric { .. } => match (high.as_decimal(), low.as_decimal()) {
            (Some((hp, hs)), Some((lp, ls))) => {
                let common = decimal::common_shape(
                    Shape { precision: hp, scale: hs },
                    Shape { precision: lp, scale: ls },
                );
                match matches!(high, Decimal { .. }) && !matches!(low, Numeric { .. }) {
                    true => Decimal { precision: common.precision, scale: common.scale },
                    false => Numeric { precision: common.precision, scale: common.scale },
                }
            }
            _ => high.clone(),
        },
        VarChar(_) | Char(_) | NVarChar(_) | NChar(_) => {
            let length = longest(&text_length(high), &text_length(low));
            let fixed = matches!((high, low), (Char(_), Char(_)) | (NChar(_), NChar(_)));
            match (high.is_unicode(), fixed, length) {
                (true, true, Some(n)) => NChar(n),
                (true, _, Some(n)) => NVarChar((n <= 4000).then_some(n)),
                (true, _, None) => NVarChar(None),
                (false, true, Some(n)) => Char(n),
                (false, _, length) => VarChar(length),
            }
        }
        VarBinary(_) | Binary(_) => {
            match (high, low, longest(&binary_length(high), &binary_length(low))) {
                (Binary(_), Binary(_), Some(n)) => Binary(n),
                (_, _, length) => VarBinary(length),
            }
        }
        Time(a) => Time((*a).max(low.scale())),
        DateTime2(a) => DateTime2((*a).max(temporal_scale(low))),
        DateTimeOffset(a) => DateTimeOffset((*a).max(temporal_scale(low))),
        other => other.clone(),
    })
}

fn temporal_scale(ty: &SqlType) -> u8 {
    match ty {
        SqlType::Time(n) | SqlType::DateTime2(n) | SqlType::DateTimeOffset(n) => *n,
        SqlType::DateTime => 3,
        _ => 0,
    }
}

/// Characters of a text type, none for MAX; of another type, what it shows as.
fn text_length(ty: &SqlType) -> Option<u16> {
    match ty {
        SqlType::VarChar(n) | SqlType::NVarChar(n) | SqlType::VarBinary(n) => *n,
        other => Some(other.display_length()),
    }
}

fn binary_length(ty: &SqlType) -> Option<u16> {
    match ty {
        SqlType::VarBinary(n) => *n,
        SqlType::Binary(n) => Some(*n),
        other => u16::try_from(other.max_length()).ok(),
    }
}

/// The common type of several expressions; none if all are bare NULLs.
///
/// # Errors
/// 206.
pub fn common_of<'a>(values: impl IntoIterator<Item = &'a Typed>) -> Bound<Option<SqlType>> {
    let mut result: Option<SqlType> = None;
    for ty in values.into_iter().filter_map(|value| value.ty.as_ref()) {
        result = Some(match result {
            Some(known) => common(&known, ty)?,
            None => ty.clone(),
        });
    }
    Ok(result)
}

/// Whether two types have an operator that compares.
///
/// # Errors
/// 305, 402, 403.
pub fn check_comparable(left: &SqlType, right: &SqlType, operator: &str) -> Bound<()> {
    if left.is_comparable() && right.is_comparable() {
        return Ok(());
    }
    if let Some(ty) = [left, right].into_iter().find(|ty| ty.is_clr() && !ty.is_comparable()) {
        return Err(SqlError::new(
            403,
            16,
            1,
            format!(
                "Invalid operator for data type. Operator equals {operator}, type equals {}.",
                ty.name()
            ),
        ));
    }
    if (left, right) == (&SqlType::Xml, &SqlType::Xml) {
        return Err(no_order_of_xml());
    }
    Err(SqlError::new(
        402,
        16,
        1,
        format!(
            "The data types {} and {} are incompatible in the {operator} operator.",
            left.name(),
            right.name()
        ),
    ))
}

fn no_order_of_xml() -> SqlError {
    SqlError::new(
        305,
        16,
        1,
        "The XML data type cannot be compared or sorted, except when using the IS NULL operator.",
    )
}

/// Whether a type can be sorted and grouped by; `clause` is `ORDER BY` or `GROUP BY`.
///
/// # Errors
/// 249, 305, 306.
pub fn check_sortable(ty: Option<&SqlType>, clause: &str) -> Bound<()> {
    match ty {
        Some(ty) if !ty.is_comparable() => Err(match ty {
            SqlType::Xml => no_order_of_xml(),
            _ if ty.is_old_lob() => SqlError::new(
                306,
                16,
                2,
                "The text, ntext, and image data types cannot be compared or sorted, except when using IS NULL or LIKE operator.",
            ),
            _ => SqlError::new(
                249,
                16,
                1,
                format!(
                    "The type \"{}\" is not comparable. It cannot be used in the {clause} clause.",
                    ty.name()
                ),
            ),
        }),
        _ => Ok(()),
    }
}

/// Whether DISTINCT and the operators of sets can tell values of a type apart.
///
/// # Errors
/// 421, 5335.
pub fn check_distinct(ty: Option<&SqlType>, in_set: bool) -> Bound<()> {
    match ty {
        Some(ty) if !ty.is_comparable() => Err(match in_set {
            true => SqlError::new(
                5335,
                16,
                1,
                format!(
                    "The data type {} cannot be used as an operand to the UNION, INTERSECT or EXCEPT operators because it is not comparable.",
                    ty.name()
                ),
            ),
            false => SqlError::new(
                421,
                16,
                1,
                format!(
                    "The {} data type cannot be selected as DISTINCT because it is not comparable.",
                    ty.name()
                ),
            ),
        }),
        _ => Ok(()),
    }
}

/// Brings two operands of a comparison to types that compare.
///
/// # Errors
/// 206, 257, 402.
pub fn comparable(left: Typed, right: Typed) -> Bound<(Typed, Typed)> {
    let (Some(lt), Some(rt)) = (&left.ty, &right.ty) else {
        return Ok((left, right));
    };
    check_comparable(lt, rt, "equal to")?;
    let (lf, rf) = (lt.family(), rt.family());
    // Values of one of these families compare whatever their facets, and so do exact numbers.
    let exact = |family| matches!(family, Family::Integer | Family::Decimal | Family::Money);
    let alike = lf == rf && matches!(lf, Family::Text | Family::Binary | Family::Guid);
    if alike || (exact(lf) && exact(rf)) || lt.name() == rt.name() {
        return Ok((left, right));
    }
    // A text is read as the type beside it; between a decimal and a text digits must not be lost.
    let target = match (lf, rf) {
        (Family::Temporal, Family::Temporal)
            if matches!(
                (lt, rt),
                (SqlType::Time(_), SqlType::Date) | (SqlType::Date, SqlType::Time(_))
            ) =>
        {
            return Err(SqlError::new(
                402,
                16,
                1,
                format!(
                    "The data types {} and {} are incompatible in the equal to operator.",
                    lt.name(),
                    rt.name()
                ),
            ));
        }
        (Family::Temporal, Family::Temporal) => match common(lt, rt)? {
            SqlType::DateTime2(_) => SqlType::DateTime2(7),
            SqlType::DateTimeOffset(_) => SqlType::DateTimeOffset(7),
            other => other,
        },
        _ => common(lt, rt)?,
    };
    Ok((implicit(left, &target)?, implicit(right, &target)?))
}

fn operator_name(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "add",
        BinaryOp::Subtract => "subtract",
        BinaryOp::Multiply => "multiply",
        BinaryOp::Divide => "divide",
        BinaryOp::Modulo => "modulo",
        BinaryOp::BitAnd => "'&'",
        BinaryOp::BitOr => "'|'",
        BinaryOp::BitXor => "'^'",
    }
}

/// Error 8117.
pub fn invalid_operand(ty: &SqlType, operator: &str) -> SqlError {
    SqlError::new(
        8117,
        16,
        1,
        format!("Operand data type {} is invalid for {operator} operator.", ty.message_name()),
    )
}

fn incompatible(left: &SqlType, right: &SqlType, op: BinaryOp) -> SqlError {
    SqlError::new(
        402,
        16,
        1,
        format!(
            "The data types {} and {} are incompatible in the {} operator.",
            left.name(),
            right.name(),
            operator_name(op)
        ),
    )
}

/// An operator over two values.
///
/// # Errors
/// 206, 257, 402, 8117.
pub fn binary(op: BinaryOp, left: Typed, right: Typed) -> Bound<Typed> {
    let nullable = left.nullable || right.nullable;
    let (lt, rt) = match (&left.ty, &right.ty) {
        (Some(l), Some(r)) => (l.clone(), r.clone()),
        (Some(l), None) => (l.clone(), l.clone()),
        (None, Some(r)) => (r.clone(), r.clone()),
        (None, None) => (SqlType::Int, SqlType::Int),
    };
    let (lf, rf) = (lt.family(), rt.family());
    if let Some(ty) = [&lt, &rt].into_iter().find(|ty| matches!(ty, SqlType::Variant)) {
        return Err(invalid_operand(ty, operator_name(op)));
    }
    if !lt.is_comparable() || !rt.is_comparable() || lt.is_clr() || rt.is_clr() {
        return Err(incompatible(&lt, &rt, op));
    }
    let (left, right) = (untyped_as(left, &lt), untyped_as(right, &rt));
    // What is computed of columns may overflow, and then be NULL with ARITHABORT OFF.
    let constants = left.as_constant().is_some() && right.as_constant().is_some();
    let computed = nullable || !constants;
    if matches!(op, BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor) {
        return bits(op, left, right, &lt, &rt, nullable);
    }
    match (lf, rf) {
        (Family::Text, Family::Text) | (Family::Binary, Family::Binary) if op == BinaryOp::Add => {
            concatenation(left, right, &lt, &rt, nullable)
        }
        (Family::Text | Family::Binary, Family::Text | Family::Binary) => match lf == rf {
            true => Err(invalid_operand(&lt, operator_name(op))),
            false => Err(incompatible(&lt, &rt, op)),
        },
        (Family::Temporal, _) | (_, Family::Temporal) => dates(op, left, right, &lt, &rt, nullable),
        (Family::Guid, _) | (_, Family::Guid) => {
            Err(invalid_operand(&SqlType::UniqueIdentifier, operator_name(op)))
        }
        _ => numbers(op, left, right, &lt, &rt, computed),
    }
}

fn untyped_as(value: Typed, ty: &SqlType) -> Typed {
    match value.ty {
        Some(_) => value,
        None => value.converted(ty),
    }
}

fn arithmetic(op: BinaryOp, ty: SqlType, left: Typed, right: Typed, nullable: bool) -> Typed {
    Typed {
        node: Node::Arithmetic {
            op,
            ty: ty.clone(),
            left: Box::new(left.node),
            right: Box::new(right.node),
        },
        ty: Some(ty),
        nullable,
    }
}

fn bits(
    op: BinaryOp,
    left: Typed,
    right: Typed,
    lt: &SqlType,
    rt: &SqlType,
    nullable: bool,
) -> Bound<Typed> {
    let ty = match (lt.family(), rt.family()) {
        (Family::Integer, Family::Integer) if lt.rank() >= rt.rank() => lt.clone(),
        (Family::Integer, Family::Integer) => rt.clone(),
        (Family::Integer, Family::Binary) => lt.clone(),
        (Family::Binary, Family::Integer) => rt.clone(),
        _ => return Err(incompatible(lt, rt, op)),
    };
    let (left, right) = (left.converted(&ty), right.converted(&ty));
    Ok(arithmetic(op, ty, left, right, nullable))
}

fn concatenation(
    left: Typed,
    right: Typed,
    lt: &SqlType,
    rt: &SqlType,
    nullable: bool,
) -> Bound<Typed> {
    let lengths = (text_length(lt), text_length(rt));
    let total = match lengths {
        (Some(l), Some(r)) => Some(u32::from(l) + u32::from(r)),
        _ => None,
    };
    let limited = |limit: u16| total.map(|total| u16::try_from(total).unwrap_or(limit).min(limit));
    let (target, ty) = match lt.family() {
        Family::Binary => (SqlType::VarBinary(None), SqlType::VarBinary(limited(8000))),
        _ if lt.is_unicode() || rt.is_unicode() => {
            (SqlType::NVarChar(None), SqlType::NVarChar(limited(4000)))
        }
        _ => (SqlType::VarChar(None), SqlType::VarChar(limited(8000))),
    };
    let limit = limited(match ty {
        SqlType::NVarChar(_) => 4000,
        _ => 8000,
    });
    // Only a change of kind needs a conversion; lengths do not matter to the operator.
    let same_kind =
        |from: &SqlType| from.family() == Family::Binary || from.is_unicode() == ty.is_unicode();
    let left = if same_kind(lt) { left } else { left.converted(&target) };
    let right = if same_kind(rt) { right } else { right.converted(&target) };
    Ok(Typed {
        node: Node::Concatenate { left: Box::new(left.node), right: Box::new(right.node), limit },
        ty: Some(ty),
        nullable,
    })
}

fn dates(
    op: BinaryOp,
    left: Typed,
    right: Typed,
    lt: &SqlType,
    rt: &SqlType,
    nullable: bool,
) -> Bound<Typed> {
    let old = |ty: &SqlType| matches!(ty, SqlType::DateTime | SqlType::SmallDateTime);
    if !matches!(op, BinaryOp::Add | BinaryOp::Subtract) {
        let culprit = if lt.family() == Family::Temporal { lt } else { rt };
        return Err(invalid_operand(culprit, operator_name(op)));
    }
    for ty in [lt, rt] {
        if ty.family() == Family::Temporal && !old(ty) {
            let other = if ty == lt { rt } else { lt };
            return Err(match other.family() {
                Family::Temporal => invalid_operand(ty, operator_name(op)),
                _ => SqlError::new(
                    206,
                    16,
                    2,
                    format!(
                        "Operand type clash: {} is incompatible with {}",
                        ty.name(),
                        other.name()
                    ),
                ),
            });
        }
    }
    let small =
        [lt, rt].iter().all(|ty| **ty == SqlType::SmallDateTime || ty.family() != Family::Temporal);
    let left = implicit(left, &SqlType::DateTime)?;
    let right = implicit(right, &SqlType::DateTime)?;
    let sum = arithmetic(op, SqlType::DateTime, left, right, nullable);
    Ok(if small { sum.converted(&SqlType::SmallDateTime) } else { sum })
}

fn numbers(
    op: BinaryOp,
    left: Typed,
    right: Typed,
    lt: &SqlType,
    rt: &SqlType,
    nullable: bool,
) -> Bound<Typed> {
    let (high, low) = if lt.rank() >= rt.rank() { (lt, rt) } else { (rt, lt) };
    if *high == SqlType::Bit {
        return Err(invalid_operand(high, operator_name(op)));
    }
    if !low.is_numeric() && !convert::implicit_allowed(low, high) {
        return Err(not_implicit(low, high));
    }
    match high.family() {
        Family::Decimal => {
            let left = if left.ty.as_ref().is_some_and(SqlType::is_numeric) {
                left
            } else {
                implicit(left, high)?
            };
            let right = if right.ty.as_ref().is_some_and(SqlType::is_numeric) {
                right
            } else {
                implicit(right, high)?
            };
            let (Some(ls), Some(rs)) = (shape(&left), shape(&right)) else {
                return Err(incompatible(lt, rt, op));
            };
            let result = match op {
                BinaryOp::Add | BinaryOp::Subtract => decimal::sum_shape(ls, rs),
                BinaryOp::Multiply => decimal::product_shape(ls, rs),
                BinaryOp::Divide => decimal::quotient_shape(ls, rs),
                _ => decimal::remainder_shape(ls, rs),
            };
            let ty = SqlType::Numeric { precision: result.precision, scale: result.scale };
            Ok(arithmetic(op, ty, left, right, nullable))
        }
        Family::Float if op == BinaryOp::Modulo => Err(incompatible(lt, rt, op)),
        // Integers of any width meet in the operator itself.
        Family::Integer if low.family() == Family::Integer => {
            Ok(arithmetic(op, high.clone(), left, right, nullable))
        }
        _ => {
            let left = implicit(left, high)?;
            let right = implicit(right, high)?;
            Ok(arithmetic(op, high.clone(), left, right, nullable))
        }
    }
}
