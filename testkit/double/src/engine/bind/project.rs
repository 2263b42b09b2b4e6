//! From a bound select list and order to a plan over plain rows.

use super::{Bound, Grouping, Scope, Source, access, types};
use crate::engine::collation::Label;
use crate::engine::expr::{Node, Place, Typed};
use crate::engine::mask::Mask;
use crate::engine::plan::{OutputColumn, Query, RowPlan, TuplePlan};
use crate::engine::syntax::ast::Expr;
use crate::{Origin, SqlError, Value};

/// A select list item, bound.
pub struct Item {
    /// Value.
    pub value: Typed,
    /// Name.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Collation of a string.
    pub label: Label,
    /// How it is to be masked.
    pub mask: Option<Mask>,
    /// Variable it is assigned to.
    pub variable: Option<usize>,
}

/// The column an integer literal in ORDER BY means; none for another expression.
pub fn position(expr: &Expr, columns: usize) -> Bound<Option<usize>> {
    match expr {
        Expr::Literal(Value::Int(at), _) => usize::try_from(*at)
            .ok()
            .and_then(|at| at.checked_sub(1))
            .filter(|at| *at < columns)
            .map(Some)
            .ok_or_else(|| {
                SqlError::new(
                    108,
                    15,
                    1,
                    format!("The ORDER BY position number {at} is out of range of the number of items in the select list."),
                )
            }),
        Expr::Literal(..) => Err(SqlError::new(
            408,
            16,
            1,
            "A constant expression was encountered in the ORDER BY list.",
        )),
        _ => Ok(None),
    }
}

pub fn implied_name(value: &Expr) -> String {
    match value {
        Expr::Column(parts) => parts.last().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// What a value of a select list comes from.
pub fn origin_of(node: &Node, sources: &[Source]) -> Origin {
    match node {
        Node::Column(place) if place.depth == 0 => sources
            .iter()
            .find(|source| source.slot == place.source)
            .and_then(|source| source.columns.get(place.ordinal))
            .map_or(Origin::Expression, |column| column.origin),
        _ => Origin::Expression,
    }
}

/// The collation that the strings of an expression have; the database's where nothing says it.
pub fn label_of(node: &Node, scope: &Scope<'_>, grouping: Option<&Grouping>) -> Label {
    let of = |node: &Node| label_of(node, scope, grouping);
    match node {
        Node::Constant(value) => value.label(),
        Node::Column(place) if place.depth > 0 => Label::default(),
        Node::Column(place) => match grouping {
            Some(grouping) if grouping.slot == place.source => {
                let inside = |node: &Node| label_of(node, scope, None);
                match place.ordinal.checked_sub(grouping.keys.len()) {
                    None => inside(&grouping.keys[place.ordinal].node),
                    Some(at) => grouping
                        .aggregates
                        .get(at)
                        .and_then(|aggregate| aggregate.argument.as_ref())
                        .map_or(Label::default(), inside),
                }
            }
            _ => scope
                .sources
                .iter()
                .find(|source| source.slot == place.source)
                .and_then(|source| source.columns.get(place.ordinal)?.label)
                .unwrap_or_default(),
        },
        Node::Collate(_, label) => label.implicit(),
        Node::OverMasked(value) => of(value),
        Node::Masked(parts) => of(&parts.0),
        Node::Concatenate { left, right, .. } => of(left).with(of(right)),
        Node::Convert { value, from, to, .. } if from.is_text() && to.is_text() => of(value),
        Node::Case { branches, otherwise } => {
            branches.iter().fold(of(otherwise), |label, (_, result)| of(result).with(label))
        }
        Node::Call { arguments, .. } => {
            arguments.iter().fold(Label::default(), |label, argument| label.with(of(argument)))
        }
        _ => Label::default(),
    }
}

pub fn assigned(items: &[Item]) -> Bound<Option<Vec<usize>>> {
    let variables: Vec<usize> = items.iter().filter_map(|item| item.variable).collect();
    if variables.is_empty() {
        return Ok(None);
    }
    if variables.len() != items.len() {
        return Err(SqlError::new(
            141,
            15,
            1,
            "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.",
        ));
    }
    Ok(Some(variables))
}

/// The rows of a query with its columns' types changed.
pub fn converted(query: Query, columns: &[OutputColumn]) -> Bound<RowPlan> {
    let same = query.columns.iter().zip(columns).all(|(own, wanted)| own.ty == wanted.ty);
    if same {
        return Ok(query.plan);
    }
    let mut items = Vec::new();
    for (at, (own, wanted)) in query.columns.iter().zip(columns).enumerate() {
        let typed = Typed {
            node: Node::Column(Place { depth: 0, source: 0, ordinal: at }),
            ty: own.ty.clone(),
            nullable: own.nullable,
        };
        items.push(match &wanted.ty {
            Some(ty) => types::implicit(typed, ty)?.node,
            None => typed.node,
        });
    }
    Ok(RowPlan::Map { input: Box::new(query.plan), items })
}

/// The select list over tuples, distinct and in order.
pub fn project(
    mut plan: TuplePlan,
    slots: usize,
    distinct: bool,
    items: Vec<Item>,
    order: Vec<(Typed, bool)>,
) -> Bound<Query> {
    let columns: Vec<OutputColumn> = items
        .iter()
        .map(|item| OutputColumn {
            name: item.name.clone(),
            ty: item.value.ty.clone(),
            nullable: item.value.nullable,
            origin: item.origin,
            label: item.label,
            mask: item.mask.clone(),
        })
        .collect();
    let width = items.len();
    let mut nodes: Vec<Node> = items.into_iter().map(|item| item.value.node).collect();
    let order: Vec<(Node, bool)> = order.into_iter().map(|(key, desc)| (key.node, desc)).collect();
    let sorted = order.is_empty() || (!distinct && access::satisfy_order(&mut plan, &order));
    if sorted {
        let mut rows = RowPlan::Project { input: Box::new(plan), slots, items: nodes };
        if distinct {
            rows = RowPlan::Distinct(Box::new(rows));
        }
        return Ok(Query { columns, plan: rows });
    }
    let mut keys = Vec::new();
    for (key, descending) in order {
        let at = match nodes.iter().position(|node| node.same(&key)) {
            Some(at) => at,
            None if distinct => {
                return Err(SqlError::new(
                    145,
                    15,
                    1,
                    "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.",
                ));
            }
            None => {
                nodes.push(key);
                nodes.len() - 1
            }
        };
        keys.push((at, descending));
    }
    let wide = nodes.len() > width;
    let mut rows = RowPlan::Project { input: Box::new(plan), slots, items: nodes };
    if distinct {
        rows = RowPlan::Distinct(Box::new(rows));
    }
    rows = RowPlan::Sort { input: Box::new(rows), keys };
    if wide {
        rows = RowPlan::Narrow { input: Box::new(rows), width };
    }
    Ok(Query { columns, plan: rows })
}
