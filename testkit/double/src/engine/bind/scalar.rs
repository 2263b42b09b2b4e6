//! Value expressions.

use std::rc::Rc;

use super::{Binder, Bound, Scope, types, unsupported};
use crate::engine::convert;
use crate::engine::expr::{Condition, Node, Place, Typed};
use crate::engine::functions;
use crate::engine::plan::Subquery;
use crate::engine::syntax::ast::{self, BinaryOp, CompareOp, Expr, UnaryOp};
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

impl Binder<'_, '_> {
    /// Binds a value expression.
    ///
    /// # Errors
    /// Names, types and permissions.
    pub fn scalar(&self, expr: &Expr, scope: &Scope<'_>) -> Bound<Typed> {
        if let Some(grouped) = self.grouped(expr, scope)? {
            return Ok(grouped);
        }
        match expr {
            Expr::Literal(value, ty) => Ok(Typed {
                node: Node::Constant(value.clone()),
                ty: ty.clone(),
                nullable: value.is_null(),
            }),
            Expr::Column(parts) => self.column(parts, scope),
            Expr::Variable(name) if self.in_function() => self.parameter(name, scope),
            Expr::Variable(name) => {
                let (at, ty) = self.variables.get(name)?;
                Ok(Typed { node: Node::Variable(at), ty: Some(ty.clone()), nullable: true })
            }
            Expr::Global(name) => functions::global(name),
            Expr::Unary(op, operand) => unary(*op, self.scalar(operand, scope)?),
            Expr::Binary(op, left, right) => {
                let left = self.scalar(left, scope)?;
                let right = self.scalar(right, scope)?;
                let bound = types::binary(*op, left, right)?;
                if self.env.status.off.concat && matches!(bound.node, Node::Concatenate { .. }) {
                    return Err(unsupported("+ of strings under CONCAT_NULL_YIELDS_NULL OFF"));
                }
                Ok(bound)
            }
            Expr::Call(call) => self.call(call, scope),
            Expr::Method(method) => {
                let value = self.scalar(&method.value, scope)?;
                let arguments = match &method.arguments {
                    Some(arguments) => Some(self.all(arguments, scope)?),
                    None => None,
                };
                functions::method(value, &method.name, arguments)
            }
            Expr::OfType(ty, name, arguments) => {
                functions::of_type(ty, name, self.all(arguments, scope)?)
            }
            Expr::Convert(conversion) => self.conversion(conversion, scope),
            Expr::Collate(value, label) => {
                let value = self.scalar(value, scope)?;
                match &value.ty {
                    Some(ty) if !ty.is_text() => Err(SqlError::new(
                        447,
                        16,
                        0,
                        format!("Expression type {} is invalid for COLLATE clause.", ty.name()),
                    )),
                    _ => Ok(Typed {
                        node: Node::Collate(Box::new(value.node), label.explicit()),
                        ..value
                    }),
                }
            }
            Expr::Case(case) => self.case(case, scope),
            Expr::Subquery(query) => self.scalar_subquery(query, scope),
            Expr::Default => Err(unsupported("DEFAULT")),
            Expr::NextValue(name) => self.next_value(name),
            Expr::Compare(..)
            | Expr::And(..)
            | Expr::Or(..)
            | Expr::Not(_)
            | Expr::IsNull(..)
            | Expr::Between { .. }
            | Expr::InList(..)
            | Expr::InQuery(..)
            | Expr::Like { .. }
            | Expr::Exists(_) => Err(SqlError::new(
                102,
                15,
                1,
                "Incorrect syntax: a condition stands where a value is expected.",
            )),
        }
    }

    /// Error 195 for a function that the database's compatibility level does not know.
    ///
    /// # Errors
    /// 195.
    pub fn needs_level(&self, level: u8, function: &str) -> Bound<()> {
        if self.env.status.database.compatibility_level() >= level {
            return Ok(());
        }
        Err(SqlError::new(
            195,
            15,
            10,
            format!("'{function}' is not a recognized built-in function name."),
        ))
    }

    /// TEXTPTR: which row of which table, for WRITETEXT.
    ///
    /// # Errors
    /// 102 for anything but an own column of a stored table; 8116 for another type.
    pub fn text_pointer(&self, column: &Expr, scope: &Scope<'_>) -> Bound<Typed> {
        let value = self.scalar(column, scope)?;
        let source = match (&value.node, &value.ty) {
            (Node::Column(place), Some(ty)) if place.depth == 0 && ty.is_old_lob() => {
                scope.sources.iter().find(|source| source.slot == place.source)
            }
            _ => None,
        };
        let stored = source.and_then(|source| Some((source, source.stored?)));
        let Some((source, table)) = stored else {
            return Err(unsupported("TEXTPTR of this"));
        };
        // A scan whose rows are asked for it puts the row's number behind its columns.
        let ordinal = source.columns.len();
        source.used.borrow_mut().insert(ordinal);
        let row = Node::Column(Place { depth: 0, source: source.slot, ordinal });
        let table = Node::Constant(Value::Int(table));
        let function = |_: &crate::engine::env::Env<'_>, arguments: &[Value]| {
            Ok(match (&arguments[0], arguments[1].as_i64(), &arguments[2]) {
                (_, _, Value::Null) => Value::Null,
                (Value::Int(table), Some(row), _) => {
                    crate::engine::statement::text_pointer::pointer(*table, row)
                }
                _ => Value::Null,
            })
        };
        let arguments = vec![table, row, value.node];
        Ok(Typed::call(function, arguments, SqlType::VarBinary(Some(16))))
    }

    fn all(&self, values: &[Expr], scope: &Scope<'_>) -> Bound<Vec<Typed>> {
        values.iter().map(|value| self.scalar(value, scope)).collect()
    }

    /// A column, or a property of one.
    fn column(&self, parts: &[String], scope: &Scope<'_>) -> Bound<Typed> {
        let found = scope.resolve(parts);
        if found.is_err()
            && let Some((name, column @ [_, ..])) = parts.split_last()
            && functions::is_property(name)
            && let Ok(value) = scope.resolve(column)
        {
            return functions::method(value, name, None);
        }
        found
    }

    fn call(&self, call: &ast::Call, scope: &Scope<'_>) -> Bound<Typed> {
        if call.over.is_some() {
            return self.window(call, scope);
        }
        if super::aggregate::is_aggregate(call) {
            return Err(SqlError::new(
                147,
                15,
                1,
                "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING clause or a select list, and the column being aggregated is an outer reference.",
            ));
        }
        if call.distinct || call.star || !call.within_group.is_empty() {
            return Err(unsupported(&call.name.join(".")));
        }
        functions::bind(self, call, scope)
    }

    fn conversion(&self, conversion: &ast::Convert, scope: &Scope<'_>) -> Bound<Typed> {
        // "TRY_CONVERT is a reserved keyword in compatibility level 110 and higher"; TRY_CAST is none, and
        // known at every level (Microsoft).
        if conversion.attempt && conversion.by_function {
            self.needs_level(110, "TRY_CONVERT")?;
        }
        let value = self.scalar(&conversion.value, scope)?;
        crate::engine::statement::check_release(self.env, &conversion.ty)?;
        let style = match &conversion.style {
            None => None,
            Some(style) => {
                let style = self.scalar(style, scope)?;
                match style.as_constant() {
                    Some(Value::Null) => {
                        return Ok(Typed::constant(Value::Null, conversion.ty.clone()));
                    }
                    Some(value) => Some(
                        value
                            .as_i64()
                            .and_then(|style| i32::try_from(style).ok())
                            .ok_or_else(|| types::invalid_operand(&style.type_or_int(), "style"))?,
                    ),
                    None => return Err(unsupported("variable style")),
                }
            }
        };
        let Some(from) = value.ty.clone() else {
            return Ok(value.converted(&conversion.ty));
        };
        if !convert::explicit_allowed(&from, &conversion.ty) {
            return Err(convert::not_allowed(&from, &conversion.ty));
        }
        // A literal keeps its conversion: only a bare one counts as having the digits written.
        if from == conversion.ty && style.is_none() && value.as_constant().is_none() {
            return Ok(value);
        }
        let read = from.family() == Family::Binary && conversion.ty.is_text();
        let mut node = Node::Convert {
            value: Box::new(value.node),
            from,
            to: conversion.ty.clone(),
            style,
            attempt: conversion.attempt,
        };
        let collation = self.env.status.database.collation();
        if read && !collation.is_default() {
            // Bytes become characters of the database's page.
            let function = |env: &crate::engine::env::Env<'_>, arguments: &[Value]| {
                Ok(arguments[0].clone().of_collation(env.status.database.collation()))
            };
            node =
                Node::Collate(Box::new(Node::Call { function, arguments: vec![node] }), collation);
        }
        Ok(Typed {
            nullable: value.nullable || conversion.attempt,
            node,
            ty: Some(conversion.ty.clone()),
        })
    }

    fn case(&self, case: &ast::Case, scope: &Scope<'_>) -> Bound<Typed> {
        let mut conditions = Vec::new();
        let mut results = Vec::new();
        for (when, then) in &case.branches {
            conditions.push(match &case.operand {
                Some(operand) => {
                    self.check_nulls(&[operand, when])?;
                    let operand = self.scalar(operand, scope)?;
                    let when = self.scalar(when, scope)?;
                    let (left, right) = types::comparable(operand, when)?;
                    Condition::Compare(CompareOp::Equal, left.node, right.node)
                }
                None => self.condition(when, scope)?,
            });
            results.push(self.scalar(then, scope)?);
        }
        let otherwise = match &case.otherwise {
            Some(value) => self.scalar(value, scope)?,
            None => Typed { node: Node::Constant(Value::Null), ty: None, nullable: true },
        };
        choice(conditions, results, otherwise)
    }

    /// Binds a query inside an expression.
    pub(super) fn subquery(
        &self,
        query: &ast::Query,
        scope: &Scope<'_>,
    ) -> Bound<(Subquery, Vec<crate::engine::plan::OutputColumn>)> {
        let (bound, outer) = self.nested_query(query, scope)?;
        let outer_places: Vec<Place> =
            outer.into_iter().map(|place| Place { depth: place.depth - 1, ..place }).collect();
        let cache = outer_places.is_empty().then(|| self.env.cache_key());
        let subquery = Subquery { plan: bound.plan, outer_places, cache };
        Ok((subquery, bound.columns))
    }

    fn scalar_subquery(&self, query: &ast::Query, scope: &Scope<'_>) -> Bound<Typed> {
        let (subquery, columns) = self.subquery(query, scope)?;
        let [column] = &columns[..] else {
            return Err(too_many_columns());
        };
        let (ty, label) = (column.ty.clone(), column.label);
        let mut node = Node::Subquery(Rc::new(subquery));
        if column.mask.is_some() {
            node = Node::OverMasked(Box::new(node));
        }
        // Says what collation the value has.
        if !label.is_default() {
            node = Node::Collate(Box::new(node), label);
        }
        Ok(Typed { node, ty, nullable: true })
    }
}

/// Error 116.
pub fn too_many_columns() -> SqlError {
    SqlError::new(
        116,
        16,
        1,
        "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.",
    )
}

/// CASE over bound parts: all results take their common type.
///
/// # Errors
/// 206; 8133 if every result is a bare NULL.
pub fn choice(conditions: Vec<Condition>, results: Vec<Typed>, otherwise: Typed) -> Bound<Typed> {
    let Some(ty) = types::common_of(results.iter().chain([&otherwise]))? else {
        return Err(SqlError::new(
            8133,
            16,
            1,
            "At least one of the result expressions in a CASE specification must be an expression other than the NULL constant.",
        ));
    };
    let nullable = results.iter().chain([&otherwise]).any(|result| result.nullable);
    let results = results
        .into_iter()
        .map(|result| types::implicit(result, &ty).map(|typed| typed.node))
        .collect::<Bound<Vec<Node>>>()?;
    let otherwise = types::implicit(otherwise, &ty)?;
    Ok(Typed {
        node: Node::Case {
            branches: conditions.into_iter().zip(results).collect(),
            otherwise: Box::new(otherwise.node),
        },
        ty: Some(ty),
        nullable,
    })
}

fn unary(op: UnaryOp, operand: Typed) -> Bound<Typed> {
    let ty = operand.type_or_int();
    match op {
        UnaryOp::Plus if ty.is_numeric() => Ok(operand),
        UnaryOp::Plus => Err(types::invalid_operand(&ty, "plus")),
        UnaryOp::Minus => negate(operand, ty),
        UnaryOp::BitNot => {
            let mask = match ty {
                SqlType::Bit => Value::Bit(true),
                SqlType::TinyInt => Value::TinyInt(u8::MAX),
                SqlType::SmallInt => Value::SmallInt(-1),
                SqlType::Int => Value::Int(-1),
                SqlType::BigInt => Value::BigInt(-1),
                _ => return Err(types::invalid_operand(&ty, "'~'")),
            };
            types::binary(BinaryOp::BitXor, operand, Typed::constant(mask, ty))
        }
    }
}

fn negate(operand: Typed, ty: SqlType) -> Bound<Typed> {
    let negated = match operand.as_constant() {
        Some(Value::Int(v)) => v.checked_neg().map(Value::Int),
        Some(Value::Decimal { unscaled, scale }) => {
            Some(Value::Decimal { unscaled: -unscaled, scale: *scale })
        }
        Some(Value::Float(v)) => Some(Value::Float(-v)),
        _ => None,
    };
    if let Some(value) = negated {
        return Ok(Typed::constant(value, ty));
    }
    let (zero, ty) = match ty.family() {
        _ if ty == SqlType::Bit => return Err(types::invalid_operand(&ty, "minus")),
        Family::Integer if ty == SqlType::TinyInt => (Value::SmallInt(0), SqlType::SmallInt),
        Family::Integer => (Value::Int(0), ty),
        Family::Decimal => (Value::Int(0), ty),
        Family::Money if ty == SqlType::SmallMoney => (Value::SmallMoney(0), ty),
        Family::Money => (Value::Money(0), ty),
        Family::Float if ty == SqlType::Real => (Value::Real(0.0), ty),
        Family::Float => (Value::Float(0.0), ty),
        _ => return Err(types::invalid_operand(&ty, "minus")),
    };
    Ok(Typed {
        nullable: operand.nullable,
        node: Node::Arithmetic {
            op: BinaryOp::Subtract,
            ty: ty.clone(),
            left: Box::new(Node::Constant(zero)),
            right: Box::new(operand.converted(&ty).node),
        },
        ty: Some(ty),
    })
}
