//! Functions that choose: COALESCE, ISNULL, NULLIF, IIF.

use super::{Arguments, Bound};
use crate::engine::bind::{Binder, Scope, choice, comparison, types};
use crate::engine::expr::{Condition, Node, Typed};
use crate::engine::syntax::ast::{Call, CompareOp};
use crate::{SqlError, Value};

/// IIF, whose first argument is a condition.
///
/// # Errors
/// Numbers and types of arguments.
pub fn with_conditions(
    binder: &Binder<'_, '_>,
    name: &str,
    call: &Call,
    scope: &Scope<'_>,
) -> Bound<Option<Typed>> {
    if name != "IIF" {
        return Ok(None);
    }
    let [condition, then, otherwise] = &call.arguments[..] else {
        return Err(SqlError::new(174, 15, 1, "The iif function requires 3 argument(s)."));
    };
    let condition = binder.condition(condition, scope)?;
    let then = binder.scalar(then, scope)?;
    let otherwise = binder.scalar(otherwise, scope)?;
    choice(vec![condition], vec![then], otherwise).map(Some)
}

/// Binds a function of this module.
///
/// # Errors
/// Numbers and types of arguments.
pub fn bind(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    match name {
        "COALESCE" => {
            arguments.arity(2, 254)?;
            let mut values = Vec::new();
            while arguments.more() {
                values.push(arguments.any()?);
            }
            let Some(last) = values.pop() else {
                return Ok(None);
            };
            let conditions = values.iter().map(|value| not_null(value.node.clone())).collect();
            let nullable = last.nullable && values.iter().all(|value| value.nullable);
            let chosen = choice(conditions, values, last)?;
            Ok(Some(Typed { nullable, ..chosen }))
        }
        "ISNULL" => {
            arguments.arity(2, 2)?;
            let value = arguments.any()?;
            let other = arguments.any()?;
            // The result has the first argument's type, or the second's for a bare NULL.
            let Some(ty) = value.ty.clone() else {
                return Ok(Some(other));
            };
            let nullable = value.nullable && other.nullable;
            let other = types::implicit(other, &ty)?;
            let node = Node::Case {
                branches: vec![(not_null(value.node.clone()), value.node)],
                otherwise: Box::new(other.node),
            };
            Ok(Some(Typed { node, ty: Some(ty), nullable }))
        }
        "NULLIF" => {
            arguments.arity(2, 2)?;
            let value = arguments.any()?;
            let other = arguments.any()?;
            let ty = value.ty.clone();
            if ty.is_none() {
                return Err(SqlError::new(
                    4151,
                    16,
                    1,
                    "The type of the first argument to NULLIF cannot be the NULL constant because the type of the first argument has to be known.",
                ));
            }
            let result = value.node.clone();
            let equal = comparison(CompareOp::Equal, value, other)?;
            let node = Node::Case {
                branches: vec![(equal, Node::Constant(Value::Null))],
                otherwise: Box::new(result),
            };
            Ok(Some(Typed { node, ty, nullable: true }))
        }
        _ => Ok(None),
    }
}

fn not_null(node: Node) -> Condition {
    Condition::Not(Box::new(Condition::IsNull(node)))
}
