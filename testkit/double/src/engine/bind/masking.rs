//! Which columns and expressions are masked for the user, and where masks are put on: on rows that
//! leave a statement (to the client, a table or variables), and nowhere before.

use std::sync::Arc;

use super::{Binder, Bound, Grouping, Scope, SourceColumn, Target, columns_of};
use crate::engine::env::Elsewhere;
use crate::engine::expr::{Node, Place, Typed};
use crate::engine::mask::Mask;
use crate::engine::plan::{Query, RowPlan};
use crate::engine::security::Rights;
use crate::engine::syntax::ast::Expr;
use crate::engine::syntax::parse_scalar;
use crate::storage::TableDef;

impl Binder<'_, '_> {
    /// The columns of a stored table with the masks that the user sees on them.
    pub(super) fn visible_columns(&self, target: &Target) -> Vec<SourceColumn> {
        let table = &target.table;
        let mut columns = columns_of(table);
        if table.columns.iter().all(|column| column.mask.is_none()) {
            return columns;
        }
        let own = &self.env.status.rights;
        let rights = match &target.elsewhere {
            None => Arc::clone(own),
            Some(database) => match self.env.shared.rights_in(own, database) {
                Ok(rights) => rights,
                Err(_) => return columns,
            },
        };
        for (column, mask) in columns.iter_mut().zip(masks(table, &rights)) {
            column.mask = mask;
        }
        self.mask_computed(table, &mut columns);
        columns
    }

    /// "If the computed column depends on a column with a MASK, then the computed column returns
    /// masked data" (Microsoft).
    fn mask_computed(&self, table: &TableDef, columns: &mut [SourceColumn]) {
        let mut scope = Scope::inside(None);
        scope.add_table(&table.name, columns.to_vec());
        for (column, definition) in columns.iter_mut().zip(&table.columns) {
            let Some(computed) = &definition.computed else {
                continue;
            };
            let bound =
                parse_scalar(&computed.definition).and_then(|value| self.scalar(&value, &scope));
            if bound.is_ok_and(|value| mask_of(&value.node, &scope, None).is_some()) {
                column.mask = Some(Mask::Default);
            }
        }
    }

    /// An expression whose value leaves the statement, masked if the user may not see it.
    ///
    /// # Errors
    /// Those of [`Binder::scalar`].
    pub fn shown(&self, expr: &Expr, scope: &Scope<'_>) -> Bound<Typed> {
        let typed = self.scalar(expr, scope)?;
        let mask = mask_of(&typed.node, scope, None);
        Ok(Typed { node: masked(typed.node, typed.ty.as_ref(), mask), ..typed })
    }

    /// The masks of a change table that a function reads, by column name.
    pub(super) fn masks_of_function(
        &self,
        table: &TableDef,
        elsewhere: Option<&Elsewhere>,
    ) -> Vec<(String, Mask)> {
        let rights = elsewhere.map_or(&self.env.status.rights, |elsewhere| &elsewhere.rights);
        let masks = table.columns.iter().zip(masks(table, rights));
        masks.filter_map(|(column, mask)| Some((column.name.clone(), mask?))).collect()
    }
}

/// The masks of a table's columns for a user.
pub fn masks(table: &TableDef, rights: &Rights) -> Vec<Option<Mask>> {
    let of = |column: &crate::storage::ColumnDef| {
        let mask = Mask::parse(column.mask.as_ref()?)?;
        (!rights.may_unmask(table, column.id)).then_some(mask)
    };
    table.columns.iter().map(of).collect()
}

/// How the value of an expression is masked: a column by its own function, anything that is made of
/// masked columns by the default one.
pub fn mask_of(node: &Node, scope: &Scope<'_>, grouping: Option<&Grouping>) -> Option<Mask> {
    if let Node::Column(place) = node {
        return column_mask(*place, scope, grouping);
    }
    let mut masked = false;
    node.visit(&mut |part| {
        masked |= match part {
            Node::Column(place) => column_mask(*place, scope, grouping).is_some(),
            Node::OverMasked(_) => true,
            _ => false,
        };
    });
    masked.then_some(Mask::Default)
}

fn column_mask(place: Place, scope: &Scope<'_>, grouping: Option<&Grouping>) -> Option<Mask> {
    if let Some(grouping) = grouping.filter(|grouping| grouping.slot == place.source)
        && place.depth == 0
    {
        return match place.ordinal.checked_sub(grouping.keys.len()) {
            None => mask_of(&grouping.keys[place.ordinal].node, scope, None),
            Some(at) => {
                let argument = grouping.aggregates.get(at)?.argument.as_ref()?;
                mask_of(argument, scope, None).and(Some(Mask::Default))
            }
        };
    }
    let mut around = scope;
    for _ in 0..place.depth {
        around = around.parent?;
    }
    let source = around.sources.iter().find(|source| source.slot == place.source)?;
    source.columns.get(place.ordinal)?.mask.clone()
}

/// The mask of a column that comes from either of two queries.
pub(super) fn either(left: &Option<Mask>, right: &Option<Mask>) -> Option<Mask> {
    match (left, right) {
        (Some(left), Some(right)) if left != right => Some(Mask::Default),
        (left, right) => left.clone().or_else(|| right.clone()),
    }
}

/// An expression whose value leaves the statement, masked if the user may not see it.
pub fn masked(node: Node, ty: Option<&crate::SqlType>, mask: Option<Mask>) -> Node {
    match (mask, ty) {
        (Some(mask), Some(ty)) => Node::Masked(Box::new((node, mask, ty.clone()))),
        _ => node,
    }
}

/// A query with masks on its rows.
pub(super) fn masked_rows(query: Query) -> Query {
    if query.columns.iter().all(|column| column.mask.is_none()) {
        return query;
    }
    let items = query
        .columns
        .iter()
        .enumerate()
        .map(|(ordinal, column)| {
            let node = Node::Column(Place { depth: 0, source: 0, ordinal });
            masked(node, column.ty.as_ref(), column.mask.clone())
        })
        .collect();
    Query { plan: RowPlan::Map { input: Box::new(query.plan), items }, columns: query.columns }
}
