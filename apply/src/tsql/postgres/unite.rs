//! Values of several types that meet.

use super::super::Refusal;
use super::super::types::{Text, Ty};
use super::{Sql, whole};

/// Two numbers of which one is floating, both as the wider floating type.
pub(super) fn same_floats(left: &Sql, right: &Sql) -> Result<(String, String, Ty), Refusal> {
    let ty = match (&left.ty, &right.ty) {
        (Ty::Float, _) | (_, Ty::Float) => Ty::Float,
        _ => Ty::Real,
    };
    Ok((floating(left, &ty)?, floating(right, &ty)?, ty))
}

/// A number as a floating one of type `ty`, where nothing is rounded but a constant.
pub(super) fn floating(sql: &Sql, ty: &Ty) -> Result<String, Refusal> {
    let name = if *ty == Ty::Real { "real" } else { "double precision" };
    let exact = match (&sql.ty, ty) {
        (from, to) if from == to => return Ok(sql.text.clone()),
        (Ty::Real, Ty::Float) | (Ty::Bit, _) | (Ty::Int(1 | 2), _) | (Ty::Int(4), Ty::Float) => {
            true
        }
        _ => sql.digits().is_some_and(|digits| digits.len() <= 15),
    };
    if exact {
        Ok(format!("({})::{name}", whole(sql)))
    } else {
        Err("an exact number would be rounded to a floating one".to_owned())
    }
}

/// `left + right`, NULL when one of them is.
pub(super) fn concatenated(left: &Sql, right: &Sql) -> Result<Sql, Refusal> {
    let text = format!("({} || {})", left.padded()?, right.padded()?);
    let (left, right) = (left.as_text()?, right.as_text()?);
    let unicode = left.unicode || right.unicode;
    let max = match (left.max, right.max) {
        (Some(left), Some(right)) => Some(left + right),
        _ => None,
    };
    if max.is_some_and(|max| max > if unicode { 4000 } else { 8000 }) {
        return Err("the source would cut a longer text off".to_owned());
    }
    let collation = one_collation(left, right)?;
    Ok(Sql::new(text, Ty::Text(Text { unicode, max, fixed: false, collation })))
}

/// The collation two texts meet under.
pub(super) fn one_collation(left: &Text, right: &Text) -> Result<Option<String>, Refusal> {
    match (&left.collation, &right.collation) {
        (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b) => {
            Err(format!("collations {a} and {b} meet"))
        }
        (a, b) => Ok(a.clone().or_else(|| b.clone())),
    }
}

/// The one type of several values, as CASE and COALESCE take it, and their texts.
pub(super) fn united(values: &[&Sql]) -> Result<(Ty, Vec<String>), Refusal> {
    let mut ty = Ty::Null;
    for value in values {
        ty = wider(&ty, &value.ty)?;
    }
    let texts = values
        .iter()
        .map(|value| match (&ty, &value.ty) {
            (Ty::Text(_), Ty::Text(_)) => value.padded(),
            (Ty::Bit, _) | (_, Ty::Null) => Ok(value.text.clone()),
            (Ty::Real | Ty::Float, _) => floating(value, &ty),
            _ => Ok(whole(value)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok((ty, texts))
}

fn wider(a: &Ty, b: &Ty) -> Result<Ty, Refusal> {
    Ok(match (a, b) {
        (Ty::Null, other) | (other, Ty::Null) => other.clone(),
        (Ty::Text(a), Ty::Text(b)) => Ty::Text(Text {
            unicode: a.unicode || b.unicode,
            max: a.max.zip(b.max).map(|(a, b)| a.max(b)),
            fixed: false,
            collation: one_collation(a, b)?,
        }),
        (a, b) if a == b => a.clone(),
        (Ty::Int(a), Ty::Int(b)) => Ty::Int(*a.max(b)),
        (Ty::Bit, Ty::Int(a)) | (Ty::Int(a), Ty::Bit) => Ty::Int(*a),
        (Ty::Real | Ty::Float, other) | (other, Ty::Real | Ty::Float) => match (a, b, other) {
            (Ty::Float, ..) | (_, Ty::Float, _) => Ty::Float,
            _ => Ty::Real,
        },
        (a, b) => {
            let (Some((p1, s1)), Some((p2, s2))) = (a.exact(), b.exact()) else {
                return Err("values of several types meet".to_owned());
            };
            let money = |ty: &Ty| matches!(ty, Ty::Money | Ty::SmallMoney);
            let decimal = |ty: &Ty| matches!(ty, Ty::Decimal(..));
            if (money(a) || money(b)) && !decimal(a) && !decimal(b) {
                return Ok(Ty::Money);
            }
            let scale = s1.max(s2);
            let precision = (p1 - s1).max(p2 - s2) + scale;
            if precision > 38 {
                return Err("the source would round to 38 digits".to_owned());
            }
            Ty::Decimal(precision, scale)
        }
    })
}
