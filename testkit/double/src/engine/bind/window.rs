//! Window functions: what they are computed over.

use super::aggregate::{group_column, has_window, names_aggregate};
use super::{Binder, Bound, Scope, label_of, mask_of, types, unsupported};
use crate::engine::collation::Label;
use crate::engine::expr::{Node, Typed};
use crate::engine::plan::{AggregateKind, WindowFunction, WindowKind};
use crate::engine::syntax::ast::{Call, Edge, Expr, Extent, Over};
use crate::{SqlError, SqlType, Value};

/// What the extent is where none is written: with an order, up to the current row and its peers.
const RUNNING: Extent = Extent { rows: false, start: Edge::First, end: Edge::Current };
/// All of the partition.
const WHOLE: Extent = Extent { rows: false, start: Edge::First, end: Edge::Last };

fn error(number: i32, text: impl Into<String>) -> SqlError {
    SqlError::new(number, 15, 1, text.into())
}

impl Binder<'_, '_> {
    /// A function with OVER: a column of the windows' rows.
    pub(super) fn window(&self, call: &Call, scope: &Scope<'_>) -> Bound<Typed> {
        let name = call.name.join(".").to_ascii_uppercase();
        let Some(over) = &call.over else {
            return Err(unsupported(&name));
        };
        let parts = call.arguments.iter().chain(&over.partition);
        if parts.chain(over.order.iter().map(|item| &item.value)).any(has_window) {
            return Err(error(
                4109,
                "Windowed functions cannot be used in the context of another windowed function or aggregate.",
            ));
        }
        let (kind, ty, nullable) = self.window_kind(&name, call, scope)?;
        let extent = extent(&name, &kind, over)?;
        let mut partition = Vec::new();
        for expr in &over.partition {
            let value = self.scalar(expr, scope)?;
            types::check_sortable(value.ty.as_ref(), "PARTITION BY")?;
            partition.push(value.node);
        }
        let mut order = Vec::new();
        for item in &over.order {
            check_order(&item.value)?;
            let value = self.scalar(&item.value, scope)?;
            types::check_sortable(value.ty.as_ref(), "ORDER BY")?;
            order.push((value.node, item.descending));
        }
        let mut windows = scope.windows.borrow_mut();
        let Some((slot, functions)) = windows.as_mut() else {
            return Err(error(
                4108,
                "Windowed functions can only appear in the SELECT or ORDER BY clauses.",
            ));
        };
        let over_masked = kind
            .values()
            .into_iter()
            .any(|value| mask_of(value, scope, scope.grouping.borrow().as_ref()).is_some());
        functions.push(WindowFunction { kind, partition, order, extent });
        let mut column = group_column(*slot, functions.len() - 1, ty, nullable);
        if over_masked {
            column.node = Node::OverMasked(Box::new(column.node));
        }
        drop(windows);
        // Says what collation the strings have.
        let text = column.ty.as_ref().is_some_and(SqlType::is_text);
        let label = match call.arguments.first().filter(|_| text) {
            Some(value) => {
                let value = self.scalar(value, scope)?.node;
                label_of(&value, scope, scope.grouping.borrow().as_ref())
            }
            None => Label::default(),
        };
        Ok(match label.is_default() {
            true => column,
            false => Typed { node: Node::Collate(Box::new(column.node), label), ..column },
        })
    }

    fn window_kind(
        &self,
        name: &str,
        call: &Call,
        scope: &Scope<'_>,
    ) -> Bound<(WindowKind, Option<SqlType>, bool)> {
        if names_aggregate(call) {
            if call.distinct {
                return Err(error(10759, "Use of DISTINCT is not allowed with the OVER clause."));
            }
            let aggregate = self.aggregate(call, scope)?;
            if let AggregateKind::Strings(_) = aggregate.kind {
                return Err(error(
                    4113,
                    format!(
                        "The function '{name}' is not a valid windowing function, and cannot be used with the OVER clause."
                    ),
                ));
            }
            let (ty, nullable) = (aggregate.ty.clone(), aggregate.kind != AggregateKind::Count);
            return Ok((WindowKind::Aggregate(aggregate), Some(ty), nullable));
        }
        if call.star || call.distinct || !call.within_group.is_empty() {
            return Err(unsupported(name));
        }
        let arity = |least: usize, most: usize| match call.arguments.len() {
            given if (least..=most).contains(&given) => Ok(()),
            _ => Err(error(
                174,
                format!("The {} function requires {least} argument(s).", name.to_lowercase()),
            )),
        };
        let argument = |at: usize| self.scalar(&call.arguments[at], scope);
        let big = |kind| Ok((kind, Some(SqlType::BigInt), false));
        match name {
            "ROW_NUMBER" => arity(0, 0).and(big(WindowKind::RowNumber)),
            "RANK" => arity(0, 0).and(big(WindowKind::Rank)),
            "DENSE_RANK" => arity(0, 0).and(big(WindowKind::DenseRank)),
            "PERCENT_RANK" => {
                arity(0, 0)?;
                Ok((WindowKind::PercentRank, Some(SqlType::Float), true))
            }
            "CUME_DIST" => {
                arity(0, 0)?;
                Ok((WindowKind::CumulativeDistribution, Some(SqlType::Float), true))
            }
            "NTILE" => {
                arity(1, 1)?;
                big(WindowKind::Tiles(types::implicit(argument(0)?, &SqlType::BigInt)?.node))
            }
            "LAG" | "LEAD" => {
                arity(1, 3)?;
                let value = argument(0)?;
                let offset = match call.arguments.len() {
                    1 => Node::Constant(Value::BigInt(1)),
                    _ => types::implicit(argument(1)?, &SqlType::BigInt)?.node,
                };
                let default = match (call.arguments.len(), &value.ty) {
                    (3, Some(ty)) => types::implicit(argument(2)?, ty)?.node,
                    (3, None) => argument(2)?.node,
                    _ => Node::Constant(Value::Null),
                };
                let kind =
                    WindowKind::Shift { value: value.node, offset, default, back: name == "LAG" };
                Ok((kind, value.ty, true))
            }
            "FIRST_VALUE" | "LAST_VALUE" => {
                arity(1, 1)?;
                let value = argument(0)?;
                let kind = match name {
                    "FIRST_VALUE" => WindowKind::First(value.node),
                    _ => WindowKind::Last(value.node),
                };
                Ok((kind, value.ty, true))
            }
            _ => Err(error(
                4113,
                format!(
                    "The function '{name}' is not a valid windowing function, and cannot be used with the OVER clause."
                ),
            )),
        }
    }
}

/// The rows that a function looks at, and what of OVER it may have.
fn extent(name: &str, kind: &WindowKind, over: &Over) -> Bound<Extent> {
    let ordered = !over.order.is_empty();
    let aggregate = matches!(kind, WindowKind::Aggregate(_));
    if !ordered && !aggregate {
        return Err(error(
            4112,
            format!("The function '{name}' must have an OVER clause with ORDER BY."),
        ));
    }
    let Some(extent) = over.extent else {
        return Ok(if ordered { RUNNING } else { WHOLE });
    };
    if !aggregate && !matches!(kind, WindowKind::First(_) | WindowKind::Last(_)) {
        return Err(error(10752, format!("The function '{name}' may not have a window frame.")));
    }
    if !ordered {
        return Err(error(10756, "Window frame with ROWS or RANGE must have an ORDER BY clause."));
    }
    let counted = |edge| matches!(edge, Edge::Before(_) | Edge::After(_));
    if !extent.rows && (counted(extent.start) || counted(extent.end)) {
        return Err(error(
            4194,
            "RANGE is only supported with UNBOUNDED and CURRENT ROW window frame delimiters.",
        ));
    }
    Ok(extent)
}

/// Numbers in the order of a window mean neither positions nor anything else.
fn check_order(value: &Expr) -> Bound<()> {
    match value {
        Expr::Literal(Value::Int(_), _) => Err(error(
            5308,
            "Windowed functions, aggregates and NEXT VALUE FOR functions do not support integer indices as ORDER BY clause expressions.",
        )),
        Expr::Literal(..) => Err(error(
            5309,
            "Windowed functions, aggregates and NEXT VALUE FOR functions do not support constants as ORDER BY clause expressions.",
        )),
        _ => Ok(()),
    }
}
