//! Grouped queries: what may stand in their select lists, and aggregates.

use super::{Binder, Bound, Scope, types, unsupported};
use crate::engine::expr::{Node, Place, Typed};
use crate::engine::plan::{Aggregate, AggregateKind, SumKind};
use crate::engine::syntax::ast::{Call, Expr, SelectItem};
use crate::sql_type::Family;
use crate::{SqlError, SqlType};

const AGGREGATES: [&str; 7] = ["COUNT", "COUNT_BIG", "SUM", "AVG", "MIN", "MAX", "STRING_AGG"];

/// Whether a call is an aggregate (and not a window function).
pub fn is_aggregate(call: &Call) -> bool {
    names_aggregate(call) && call.over.is_none()
}

/// Whether a call has the name of an aggregate.
pub fn names_aggregate(call: &Call) -> bool {
    matches!(&call.name[..], [name] if AGGREGATES.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

/// Whether an aggregate of this query stands in an expression.
pub fn has_aggregate(expr: &Expr) -> bool {
    any(expr, &|part| matches!(part, Expr::Call(call) if is_aggregate(call) || is_grouping(call)))
}

/// Whether a call asks which keys a group was made by.
fn is_grouping(call: &Call) -> bool {
    let names = ["GROUPING", "GROUPING_ID"];
    matches!(&call.name[..], [name] if names.iter().any(|known| known.eq_ignore_ascii_case(name)))
        && call.over.is_none()
}

/// Whether a window function stands in an expression.
pub fn has_window(expr: &Expr) -> bool {
    any(expr, &|part| matches!(part, Expr::Call(call) if call.over.is_some()))
}

/// Whether a subquery stands in an expression.
pub fn has_subquery(expr: &Expr) -> bool {
    any(expr, &|part| matches!(part, Expr::Subquery(_) | Expr::Exists(_) | Expr::InQuery(..)))
}

/// Functions whose value their arguments alone do not decide.
const VOLATILE: [&str; 16] = [
    "GETDATE",
    "GETUTCDATE",
    "SYSDATETIME",
    "SYSUTCDATETIME",
    "SYSDATETIMEOFFSET",
    "CURRENT_TIMESTAMP",
    "NEWID",
    "RAND",
    "SUSER_SNAME",
    "USER_NAME",
    "CURRENT_USER",
    "SESSION_USER",
    "SYSTEM_USER",
    "DB_NAME",
    "OBJECT_NAME",
    "SCOPE_IDENTITY",
];

/// Whether an expression may have another value tomorrow.
pub fn is_volatile(expr: &Expr) -> bool {
    any(expr, &|part| match part {
        Expr::Global(_) | Expr::Variable(_) | Expr::NextValue(_) => true,
        Expr::Call(call) => call
            .name
            .last()
            .is_some_and(|name| VOLATILE.iter().any(|known| known.eq_ignore_ascii_case(name))),
        _ => false,
    }) || has_subquery(expr)
}

/// Whether either stands in a select item.
pub fn item_has(item: &SelectItem, test: fn(&Expr) -> bool) -> bool {
    match item {
        SelectItem::Wildcard(_) => false,
        SelectItem::Value { value, .. } | SelectItem::Assign { value, .. } => test(value),
    }
}

/// Whether a part of an expression satisfies `test`; subqueries are not searched.
fn any(expr: &Expr, test: &dyn Fn(&Expr) -> bool) -> bool {
    if test(expr) {
        return true;
    }
    let any = |expr: &Expr| any(expr, test);
    match expr {
        Expr::Call(call) => {
            call.arguments.iter().any(any)
                || call.within_group.iter().any(|item| any(&item.value))
                || call.over.as_ref().is_some_and(|over| {
                    over.partition.iter().any(any) || over.order.iter().any(|item| any(&item.value))
                })
        }
        Expr::Unary(_, inner)
        | Expr::Not(inner)
        | Expr::IsNull(inner, _)
        | Expr::Collate(inner, _) => any(inner),
        Expr::Binary(_, left, right)
        | Expr::Compare(_, left, right)
        | Expr::And(left, right)
        | Expr::Or(left, right) => any(left) || any(right),
        Expr::Method(method) => any(&method.value) || method.arguments.iter().flatten().any(any),
        Expr::OfType(_, _, arguments) => arguments.iter().any(any),
        Expr::Convert(convert) => any(&convert.value) || convert.style.as_ref().is_some_and(any),
        Expr::Case(case) => {
            case.operand.as_ref().is_some_and(any)
                || case.branches.iter().any(|(when, then)| any(when) || any(then))
                || case.otherwise.as_ref().is_some_and(any)
        }
        Expr::Between { value, low, high, .. } => any(value) || any(low) || any(high),
        Expr::InList(value, list, _) => any(value) || list.iter().any(any),
        Expr::InQuery(value, _, _) => any(value),
        Expr::Like { value, pattern, escape, .. } => {
            any(value) || any(pattern) || escape.as_ref().is_some_and(|escape| any(escape))
        }
        Expr::Literal(..)
        | Expr::Column(_)
        | Expr::Variable(_)
        | Expr::Global(_)
        | Expr::Subquery(_)
        | Expr::Exists(_)
        | Expr::NextValue(_)
        | Expr::Default => false,
    }
}

/// A column of a row that is computed over tuples.
pub(super) fn group_column(
    slot: usize,
    ordinal: usize,
    ty: Option<SqlType>,
    nullable: bool,
) -> Typed {
    Typed { node: Node::Column(Place { depth: 0, source: slot, ordinal }), ty, nullable }
}

impl Binder<'_, '_> {
    /// In a grouped query: the column of the groups' rows that an expression is, if it is one.
    pub(super) fn grouped(&self, expr: &Expr, scope: &Scope<'_>) -> Bound<Option<Typed>> {
        let Some(mut grouping) = scope.grouping.take() else {
            return Ok(None);
        };
        // While the parts are bound, the scope is an ungrouped one.
        let result = self.grouped_part(expr, scope, &mut grouping);
        scope.grouping.replace(Some(grouping));
        result
    }

    fn grouped_part(
        &self,
        expr: &Expr,
        scope: &Scope<'_>,
        grouping: &mut super::Grouping,
    ) -> Bound<Option<Typed>> {
        if let Expr::Call(call) = expr
            && is_aggregate(call)
        {
            if call.arguments.iter().any(has_aggregate) {
                return Err(SqlError::new(
                    130,
                    15,
                    1,
                    "Cannot perform an aggregate function on an expression containing an aggregate or a subquery.",
                ));
            }
            let aggregate = self.aggregate(call, scope)?;
            let ordinal = grouping.keys.len() + grouping.aggregates.len();
            let (ty, nullable) = (aggregate.ty.clone(), aggregate.kind != AggregateKind::Count);
            grouping.aggregates.push(aggregate);
            return Ok(Some(group_column(grouping.slot, ordinal, Some(ty), nullable)));
        }
        if let Expr::Call(call) = expr
            && is_grouping(call)
        {
            let aggregate = self.grouping_of(call, scope, grouping)?;
            let ordinal = grouping.keys.len() + grouping.aggregates.len();
            let ty = aggregate.ty.clone();
            grouping.aggregates.push(aggregate);
            return Ok(Some(group_column(grouping.slot, ordinal, Some(ty), false)));
        }
        if has_aggregate(expr) || has_window(expr) {
            return Ok(None);
        }
        if matches!(expr, Expr::Literal(..) | Expr::Variable(_) | Expr::Global(_)) {
            return Ok(None);
        }
        let bound = self.scalar(expr, scope)?;
        if let Some(at) = grouping.keys.iter().position(|key| key.node.same(&bound.node)) {
            let key = &grouping.keys[at];
            return Ok(Some(group_column(grouping.slot, at, key.ty.clone(), key.nullable)));
        }
        match expr {
            Expr::Column(parts) if matches!(bound.node, Node::Column(place) if place.depth == 0) => {
                Err(SqlError::new(
                    8120,
                    16,
                    1,
                    format!(
                        "Column '{}' is invalid in the select list because it is not contained in either an aggregate function or the GROUP BY clause.",
                        parts.join(".")
                    ),
                ))
            }
            Expr::Subquery(_) => {
                let mut places = Vec::new();
                bound.node.places(&mut places);
                match places.iter().any(|place| place.depth == 0) {
                    true => Err(unsupported("correlated subquery in a grouped query")),
                    false => Ok(Some(bound)),
                }
            }
            _ => Ok(None),
        }
    }

    /// GROUPING and GROUPING_ID: which of their arguments the group's set leaves out.
    fn grouping_of(
        &self,
        call: &Call,
        scope: &Scope<'_>,
        grouping: &super::Grouping,
    ) -> Bound<Aggregate> {
        let single = call.name.iter().any(|name| name.eq_ignore_ascii_case("GROUPING"));
        if call.arguments.is_empty() || call.star || single && call.arguments.len() != 1 {
            return Err(SqlError::new(
                174,
                15,
                1,
                format!(
                    "The {} function requires 1 argument(s).",
                    call.name.join(".").to_lowercase()
                ),
            ));
        }
        let mut positions = Vec::new();
        for (at, argument) in call.arguments.iter().enumerate() {
            let bound = self.scalar(argument, scope)?;
            let key = grouping.keys.iter().position(|key| key.node.same(&bound.node));
            positions.push(key.ok_or_else(|| {
                SqlError::new(
                    8161,
                    15,
                    1,
                    format!(
                        "Argument {} of the {} function does not match any of the expressions in the GROUP BY clause.",
                        at + 1,
                        call.name.join(".").to_uppercase()
                    ),
                )
            })?);
        }
        Ok(Aggregate {
            kind: AggregateKind::Grouping(positions),
            argument: None,
            order: Vec::new(),
            distinct: false,
            ty: if single { SqlType::TinyInt } else { SqlType::Int },
        })
    }

    /// Binds an aggregate, of a group or over a window.
    pub(super) fn aggregate(&self, call: &Call, scope: &Scope<'_>) -> Bound<Aggregate> {
        let name = call.name.last().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let arity = |expected: usize| -> Bound<()> {
            match call.arguments.len() == expected && !call.star {
                true => Ok(()),
                false => Err(SqlError::new(
                    174,
                    15,
                    1,
                    format!(
                        "The {} function requires {expected} argument(s).",
                        name.to_lowercase()
                    ),
                )),
            }
        };
        let of = |kind, argument: Option<Node>, ty| Aggregate {
            kind,
            argument,
            order: Vec::new(),
            distinct: call.distinct,
            ty,
        };
        if name == "STRING_AGG" {
            arity(2)?;
            return self.string_agg(call, scope);
        }
        if !call.within_group.is_empty() {
            return Err(unsupported("WITHIN GROUP"));
        }
        if name.starts_with("COUNT") {
            let ty = if name == "COUNT" { SqlType::Int } else { SqlType::BigInt };
            if call.star {
                return Ok(of(AggregateKind::Count, None, ty));
            }
            arity(1)?;
            let argument = self.scalar(&call.arguments[0], scope)?;
            if call.distinct
                && let Some(own) = argument.ty.as_ref().filter(|ty| !ty.is_comparable())
            {
                return Err(types::invalid_operand(own, &name.to_lowercase()));
            }
            return Ok(of(AggregateKind::Count, Some(argument.node), ty));
        }
        arity(1)?;
        let argument = self.scalar(&call.arguments[0], scope)?;
        let ty = argument.type_or_int();
        match name.as_str() {
            "MIN" | "MAX" => {
                if ty == SqlType::Bit || !ty.is_comparable() {
                    return Err(types::invalid_operand(&ty, &name.to_lowercase()));
                }
                let kind = if name == "MIN" { AggregateKind::Min } else { AggregateKind::Max };
                Ok(of(kind, Some(argument.node), ty))
            }
            _ => {
                let kind = if name == "SUM" { SumKind::Sum } else { SumKind::Average };
                let result = match (ty.family(), &ty) {
                    (_, SqlType::Bit) => {
                        return Err(types::invalid_operand(&ty, &name.to_lowercase()));
                    }
                    (Family::Integer, SqlType::BigInt) => SqlType::BigInt,
                    (Family::Integer, _) => SqlType::Int,
                    (Family::Decimal, _) => SqlType::Numeric {
                        precision: 38,
                        scale: if kind == SumKind::Sum { ty.scale() } else { ty.scale().max(6) },
                    },
                    (Family::Money, _) => SqlType::Money,
                    (Family::Float, _) => SqlType::Float,
                    _ => return Err(types::invalid_operand(&ty, &name.to_lowercase())),
                };
                let argument = match result.family() {
                    Family::Money | Family::Float => argument.converted(&result),
                    _ => argument,
                };
                Ok(of(AggregateKind::Sum(kind), Some(argument.node), result))
            }
        }
    }

    fn string_agg(&self, call: &Call, scope: &Scope<'_>) -> Bound<Aggregate> {
        let value = self.scalar(&call.arguments[0], scope)?;
        let ty = match value.type_or_int() {
            SqlType::NVarChar(None) => SqlType::NVarChar(None),
            SqlType::VarChar(None) => SqlType::VarChar(None),
            ty if ty.is_text() && !ty.is_unicode() => SqlType::VarChar(Some(8000)),
            _ => SqlType::NVarChar(Some(4000)),
        };
        let separator = self.scalar(&call.arguments[1], scope)?;
        let Some(units) =
            separator.as_constant().and_then(|value| value.units().map(|u| u.into_owned()))
        else {
            return Err(unsupported("separator that is not a literal"));
        };
        let mut order = Vec::new();
        for item in &call.within_group {
            order.push((self.scalar(&item.value, scope)?.node, item.descending));
        }
        let argument = types::implicit(value, &ty)?;
        Ok(Aggregate {
            kind: AggregateKind::Strings(units),
            argument: Some(argument.node),
            order,
            distinct: call.distinct,
            ty,
        })
    }
}
