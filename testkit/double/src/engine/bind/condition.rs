//! Conditions.

use std::rc::Rc;

use super::{Binder, Bound, Scope, types, unsupported};
use crate::engine::expr::{Condition, Node, Typed};
use crate::engine::plan::RowPlan;
use crate::engine::syntax::ast::{CompareOp, Expr, Query};
use crate::{SqlError, SqlType, Value};

impl Binder<'_, '_> {
    /// Binds a condition.
    ///
    /// # Errors
    /// Names, types and permissions; 4145 for a value in place of a condition.
    pub fn condition(&self, expr: &Expr, scope: &Scope<'_>) -> Bound<Condition> {
        match expr {
            Expr::And(left, right) => Ok(Condition::And(
                Box::new(self.condition(left, scope)?),
                Box::new(self.condition(right, scope)?),
            )),
            Expr::Or(left, right) => Ok(Condition::Or(
                Box::new(self.condition(left, scope)?),
                Box::new(self.condition(right, scope)?),
            )),
            Expr::Not(inner) => Ok(Condition::Not(Box::new(self.condition(inner, scope)?))),
            Expr::Compare(op, left, right) => {
                self.check_nulls(&[left, right])?;
                check_collations(*op, left, right, scope)?;
                let left = self.scalar(left, scope)?;
                let right = self.scalar(right, scope)?;
                comparison(*op, left, right)
            }
            Expr::IsNull(value, negated) => {
                let value = self.scalar(value, scope)?;
                Ok(negate_if(*negated, Condition::IsNull(value.node)))
            }
            Expr::Between { value, low, high, negated } => {
                self.check_nulls(&[value, low, high])?;
                let low = comparison(
                    CompareOp::GreaterOrEqual,
                    self.scalar(value, scope)?,
                    self.scalar(low, scope)?,
                )?;
                let high = comparison(
                    CompareOp::LessOrEqual,
                    self.scalar(value, scope)?,
                    self.scalar(high, scope)?,
                )?;
                let both = Condition::And(Box::new(low), Box::new(high));
                Ok(negate_if(*negated, both))
            }
            Expr::InList(value, list, negated) => {
                self.check_nulls(&list.iter().chain([&**value]).collect::<Vec<_>>())?;
                let list = list
                    .iter()
                    .map(|item| self.scalar(item, scope))
                    .collect::<Bound<Vec<Typed>>>()?;
                let value = self.scalar(value, scope)?;
                Ok(negate_if(*negated, in_list(value, list)?))
            }
            Expr::InQuery(value, query, negated) => {
                let value = self.scalar(value, scope)?;
                Ok(negate_if(*negated, self.in_query(value, query, scope)?))
            }
            Expr::Like { value, pattern, escape, negated } => {
                let escape = match escape {
                    Some(escape) => Some(as_text(self.scalar(escape, scope)?)?.node),
                    None => None,
                };
                let like = Condition::Like {
                    value: as_text(self.scalar(value, scope)?)?.node,
                    pattern: as_text(self.scalar(pattern, scope)?)?.node,
                    escape,
                };
                Ok(negate_if(*negated, like))
            }
            Expr::Exists(query) => {
                let (subquery, _) = self.subquery(query, scope)?;
                Ok(Condition::Exists(Rc::new(subquery)))
            }
            _ => Err(SqlError::new(
                4145,
                15,
                1,
                "An expression of non-boolean type specified in a context where a condition is expected.",
            )),
        }
    }

    /// Under ANSI_NULLS OFF a NULL and a variable compare otherwise: refused.
    pub(super) fn check_nulls(&self, operands: &[&Expr]) -> Bound<()> {
        let differs =
            |operand: &&Expr| matches!(operand, Expr::Variable(_) | Expr::Literal(Value::Null, _));
        match self.env.status.off.nulls && operands.iter().any(differs) {
            true => Err(unsupported("a comparison with NULL or a variable under ANSI_NULLS OFF")),
            false => Ok(()),
        }
    }

    fn in_query(&self, value: Typed, query: &Query, scope: &Scope<'_>) -> Bound<Condition> {
        let (mut subquery, columns) = self.subquery(query, scope)?;
        let [column] = &columns[..] else {
            return Err(super::scalar::too_many_columns());
        };
        let inside = Typed {
            node: Node::Column(crate::engine::expr::Place { depth: 0, source: 0, ordinal: 0 }),
            ty: column.ty.clone(),
            nullable: true,
        };
        let (value, inside) = types::comparable(value, inside)?;
        // The column is converted inside the subquery, so that its values can be hashed.
        if !matches!(inside.node, Node::Column(_)) {
            subquery.plan =
                RowPlan::Map { input: Box::new(subquery.plan), items: vec![inside.node] };
        }
        Ok(Condition::InQuery(value.node, Rc::new(subquery)))
    }
}

/// Error 468: two columns of different collations, and no COLLATE.
fn check_collations(op: CompareOp, left: &Expr, right: &Expr, scope: &Scope<'_>) -> Bound<()> {
    let (Expr::Column(left), Expr::Column(right)) = (left, right) else {
        return Ok(());
    };
    let (Some(left), Some(right)) = (scope.label_of(left), scope.label_of(right)) else {
        return Ok(());
    };
    if left == right {
        return Ok(());
    }
    let operation = operation(op);
    Err(SqlError::new(
        468,
        16,
        9,
        format!(
            "Cannot resolve the collation conflict between \"{}\" and \"{}\" in the {operation} operation.",
            right.name(),
            left.name()
        ),
    ))
}

/// A comparison as messages name it.
fn operation(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Equal => "equal to",
        CompareOp::NotEqual => "not equal to",
        CompareOp::Less => "less than",
        CompareOp::LessOrEqual => "less than or equal to",
        CompareOp::Greater => "greater than",
        CompareOp::GreaterOrEqual => "greater than or equal to",
    }
}

fn negate_if(negated: bool, condition: Condition) -> Condition {
    if negated { Condition::Not(Box::new(condition)) } else { condition }
}

/// A comparison of two values.
///
/// # Errors
/// 206, 257, 402.
pub fn comparison(op: CompareOp, left: Typed, right: Typed) -> Bound<Condition> {
    if let (Some(left), Some(right)) = (&left.ty, &right.ty) {
        types::check_comparable(left, right, operation(op))?;
    }
    let (left, right) = types::comparable(left, right)?;
    Ok(Condition::Compare(op, left.node, right.node))
}

/// IN over values. Each is compared in the common type of all.
fn in_list(value: Typed, list: Vec<Typed>) -> Bound<Condition> {
    let Some(ty) = types::common_of(list.iter().chain([&value]))? else {
        return Ok(Condition::InList(value.node, list.into_iter().map(|item| item.node).collect()));
    };
    let meet = |item: Typed| -> Bound<Node> {
        let anchor = Typed {
            node: Node::Constant(crate::Value::Null),
            ty: Some(ty.clone()),
            nullable: true,
        };
        Ok(types::comparable(item, anchor)?.0.node)
    };
    let value = meet(value)?;
    let list = list.into_iter().map(meet).collect::<Bound<Vec<Node>>>()?;
    Ok(Condition::InList(value, list))
}

/// A value as text, for LIKE.
fn as_text(value: Typed) -> Bound<Typed> {
    match &value.ty {
        Some(ty) if ty.is_text() => Ok(value),
        Some(ty) if !ty.is_comparable() || ty.is_clr() || *ty == SqlType::Variant => {
            Err(crate::engine::functions::argument_type(ty, 1, "like"))
        }
        Some(ty) => {
            let length = ty.display_length();
            types::implicit(value, &SqlType::VarChar(Some(length)))
        }
        None => Ok(value.converted(&SqlType::VarChar(Some(1)))),
    }
}
