//! Queries: select lists, grouping, order, set operations.

use super::project::{
    Item, assigned, converted, implied_name, label_of, origin_of, position, project,
};
use super::{
    Binder, Bound, Grouping, Scope, Source, access, aggregate, join, masking, types, unsupported,
};
use crate::engine::collation::Label;
use crate::engine::expr::{Node, Place, Typed};
use crate::engine::plan::{Group, OutputColumn, Query, RowPlan, TuplePlan, Window};
use crate::engine::syntax::ast::{self, Expr, OrderItem, QueryBody, Select, SelectItem, SetOp};
use crate::{Origin, SqlError, SqlType};

/// A bound SELECT, and the variables it assigns by column where it does.
pub struct BoundSelect {
    /// The query.
    pub query: Query,
    /// Variables, one for each column, if it assigns.
    pub assigned: Option<Vec<usize>>,
}

impl Binder<'_, '_> {
    /// Binds a statement's query, whose rows leave it: what the user may not see is masked.
    ///
    /// # Errors
    /// Names, types and permissions.
    pub fn statement_query(&self, query: &ast::Query) -> Bound<BoundSelect> {
        let bound = self.inner_query(query)?;
        let query = masking::masked_rows(bound.query);
        Ok(BoundSelect { query: self.in_database_collation(query), ..bound })
    }

    /// Strings that come from no column have the collation of the database.
    fn in_database_collation(&self, mut query: Query) -> Query {
        let label = self.env.status.database.collation();
        let takes = |column: &OutputColumn| {
            column.origin == Origin::Expression
                && column.label.is_default()
                && column.ty.as_ref().is_some_and(SqlType::is_text)
        };
        if label.is_default() || !query.columns.iter().any(takes) {
            return query;
        }
        let mut items = Vec::new();
        for (ordinal, column) in query.columns.iter_mut().enumerate() {
            let node = Node::Column(Place { depth: 0, source: 0, ordinal });
            items.push(match takes(column) {
                true => {
                    column.label = label;
                    Node::Collate(Box::new(node), label)
                }
                false => node,
            });
        }
        Query { plan: RowPlan::Map { input: Box::new(query.plan), items }, columns: query.columns }
    }

    /// The same where the rows stay inside a statement, as those of a view do.
    pub(super) fn inner_query(&self, query: &ast::Query) -> Bound<BoundSelect> {
        let root = Scope::inside(None);
        self.query(query, &root)
    }

    /// Binds a query inside `scope`; answers what it reads of the queries around it (seen from
    /// the inside).
    pub(super) fn nested_query(
        &self,
        query: &ast::Query,
        scope: &Scope<'_>,
    ) -> Bound<(Query, Vec<Place>)> {
        let inner = Scope::inside(Some(scope));
        let bound = self.query(query, &inner)?;
        if bound.assigned.is_some() {
            return Err(SqlError::new(
                141,
                15,
                1,
                "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.",
            ));
        }
        let outer = inner.outer.take();
        Ok((bound.query, outer))
    }

    /// `place` is the scope the query's own scope is like: same parent, none of its names.
    fn query(&self, query: &ast::Query, place: &Scope<'_>) -> Bound<BoundSelect> {
        let depth = self.ctes.borrow().len();
        if query.max_recursion.is_some() {
            self.max_recursion.set(query.max_recursion);
        }
        self.ctes.borrow_mut().extend(query.with.iter().cloned());
        let bound = self.query_body(query, place);
        self.ctes.borrow_mut().truncate(depth);
        bound
    }

    fn query_body(&self, query: &ast::Query, place: &Scope<'_>) -> Bound<BoundSelect> {
        match &query.body {
            QueryBody::Select(select) => self.select(select, query, place),
            QueryBody::Set(op, left, right) => {
                let mut bound = self.set_operation(*op, left, right, place)?;
                if !query.order.is_empty() {
                    bound = self.order_output(bound, &query.order)?;
                }
                let bound = self.limited(bound, None, query, place)?;
                Ok(BoundSelect { query: bound, assigned: None })
            }
        }
    }

    pub(super) fn body(&self, body: &QueryBody, place: &Scope<'_>) -> Bound<Query> {
        match body {
            QueryBody::Set(op, left, right) => self.set_operation(*op, left, right, place),
            QueryBody::Select(select) => {
                let bare = ast::Query {
                    with: Vec::new(),
                    max_recursion: None,
                    body: QueryBody::Select(select.clone()),
                    order: Vec::new(),
                    offset: None,
                    fetch: None,
                };
                let bound = self.select(select, &bare, place)?;
                match bound.assigned {
                    None => Ok(bound.query),
                    Some(_) => Err(unsupported("assignment in a set operation")),
                }
            }
        }
    }

    fn set_operation(
        &self,
        op: SetOp,
        left: &QueryBody,
        right: &QueryBody,
        place: &Scope<'_>,
    ) -> Bound<Query> {
        let left = self.body(left, place)?;
        let right = self.body(right, place)?;
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::new(
                205,
                16,
                1,
                "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.",
            ));
        }
        let mut columns = Vec::new();
        for (l, r) in left.columns.iter().zip(&right.columns) {
            let ty = match (&l.ty, &r.ty) {
                (Some(l), Some(r)) => Some(types::common(l, r)?),
                (l, r) => l.clone().or_else(|| r.clone()),
            };
            if op != SetOp::UnionAll {
                types::check_distinct(ty.as_ref(), true)?;
            }
            columns.push(OutputColumn {
                name: l.name.clone(),
                ty,
                nullable: l.nullable || r.nullable,
                origin: Origin::Expression,
                label: l.label.with(r.label),
                mask: masking::either(&l.mask, &r.mask),
            });
        }
        let plan = RowPlan::Set {
            op,
            left: Box::new(converted(left, &columns)?),
            right: Box::new(converted(right, &columns)?),
        };
        Ok(Query { columns, plan })
    }

    /// ORDER BY of a set operation: by name or position of its columns.
    fn order_output(&self, mut query: Query, order: &[OrderItem]) -> Bound<Query> {
        let mut keys = Vec::new();
        for item in order {
            let at = match &item.value {
                Expr::Column(parts) if parts.len() == 1 => query
                    .columns
                    .iter()
                    .position(|column| super::same_name(&column.name, &parts[0])),
                other => position(other, query.columns.len())?,
            };
            let at = at.ok_or_else(|| {
                SqlError::new(
                    104,
                    16,
                    1,
                    "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or EXCEPT operator.",
                )
            })?;
            types::check_sortable(query.columns[at].ty.as_ref(), "ORDER BY")?;
            keys.push((at, item.descending));
        }
        if !access::order_rows(&mut query.plan, &keys) {
            query.plan = RowPlan::Sort { input: Box::new(query.plan), keys };
        }
        Ok(query)
    }

    fn limited(
        &self,
        mut query: Query,
        top: Option<&Expr>,
        source: &ast::Query,
        place: &Scope<'_>,
    ) -> Bound<Query> {
        let count = |expr: &Expr| -> Bound<Node> {
            let value = self.scalar(expr, place)?;
            Ok(types::implicit(value, &SqlType::BigInt)?.node)
        };
        if top.is_some() && source.offset.is_some() {
            return Err(SqlError::new(
                10741,
                15,
                2,
                "A TOP can not be used in the same query or sub-query as a OFFSET.",
            ));
        }
        let limit = match top {
            Some(top) => Some(count(top)?),
            None => source.fetch.as_ref().map(&count).transpose()?,
        };
        let offset = source.offset.as_ref().map(&count).transpose()?;
        if limit.is_some() || offset.is_some() {
            query.plan = RowPlan::Limit { input: Box::new(query.plan), offset, count: limit };
        }
        Ok(query)
    }

    fn select(&self, select: &Select, query: &ast::Query, place: &Scope<'_>) -> Bound<BoundSelect> {
        if !self.takes_into.replace(false) && select.into.is_some() {
            return Err(unsupported("INTO"));
        }
        let mut scope = Scope::inside(place.parent);
        let tree = self.from(&select.from, &mut scope)?;
        let scope = scope;
        let sources = scope.sources.len();
        let filter = match &select.filter {
            Some(filter) => self.condition(filter, &scope)?.conjuncts(),
            None => Vec::new(),
        };
        let mut plan = match tree {
            Some(tree) => join::plan(tree, filter),
            None => join::filtered(TuplePlan::Once, filter),
        };
        let grouped = self.begin_grouping(select, query, &scope, sources)?;
        let items = {
            scope.windows.replace(Some((sources + 1, Vec::new())));
            self.items(&select.items, &scope)?
        };
        let order = self.order_keys(&query.order, &items, &scope)?;
        let windows = scope.windows.take();
        let having = match &select.having {
            Some(having) => Some(self.condition(having, &scope)?),
            None => None,
        };
        if grouped {
            let grouping = scope.grouping.take().unwrap_or_default();
            plan = TuplePlan::Group(Group {
                input: Box::new(plan),
                keys: grouping.keys.into_iter().map(|key| key.node).collect(),
                sets: grouping.sets,
                aggregates: grouping.aggregates,
                slot: grouping.slot,
            });
        }
        if let Some(having) = having {
            plan = join::filtered(plan, vec![having]);
        }
        if let Some((slot, functions)) = windows
            && !functions.is_empty()
        {
            let in_order = access::rank_in_order(&mut plan, &functions);
            plan = TuplePlan::Window(Window { input: Box::new(plan), functions, slot, in_order });
        }
        place.outer.borrow_mut().extend(scope.outer.take());
        let assigned = assigned(&items)?;
        if select.distinct {
            for item in &items {
                types::check_distinct(item.value.ty.as_ref(), false)?;
            }
        }
        if self.env.prefers_covering_indexes() {
            access::prefer_covering(&mut plan);
        }
        let bound = project(plan, sources + 2, select.distinct, items, order)?;
        let bound = self.limited(bound, select.top.as_ref(), query, place)?;
        Ok(BoundSelect { query: bound, assigned })
    }

    fn begin_grouping(
        &self,
        select: &Select,
        query: &ast::Query,
        scope: &Scope<'_>,
        slot: usize,
    ) -> Bound<bool> {
        let aggregates =
            select.items.iter().any(|item| aggregate::item_has(item, aggregate::has_aggregate))
                || query.order.iter().any(|item| aggregate::has_aggregate(&item.value));
        if !aggregates && select.group.is_empty() && select.having.is_none() {
            return Ok(false);
        }
        let mut keys = Vec::new();
        for key in &select.group {
            if aggregate::has_aggregate(key) || matches!(key, Expr::Subquery(_)) {
                return Err(SqlError::new(
                    144,
                    15,
                    1,
                    "Cannot use an aggregate or a subquery in an expression used for the group by list of a GROUP BY clause.",
                ));
            }
            let bound = self.scalar(key, scope)?;
            let mut places = Vec::new();
            bound.node.places(&mut places);
            if !places.iter().any(|place| place.depth == 0) {
                return Err(SqlError::new(
                    164,
                    15,
                    1,
                    "Each GROUP BY expression must contain at least one column that is not an outer reference.",
                ));
            }
            types::check_sortable(bound.ty.as_ref(), "GROUP BY")?;
            keys.push(bound);
        }
        let kept = |set: &Vec<usize>| (0..keys.len()).map(|at| set.contains(&at)).collect();
        let sets: Vec<Vec<bool>> = select.sets.iter().map(kept).collect();
        for (at, key) in keys.iter_mut().enumerate() {
            key.nullable |= sets.iter().any(|set| !set[at]);
        }
        scope.grouping.replace(Some(Grouping { keys, sets, aggregates: Vec::new(), slot }));
        Ok(true)
    }

    pub(super) fn items(&self, items: &[SelectItem], scope: &Scope<'_>) -> Bound<Vec<Item>> {
        let mut bound = Vec::new();
        for item in items {
            match item {
                SelectItem::Wildcard(qualifier) => self.wildcard(qualifier, scope, &mut bound)?,
                SelectItem::Value { value, alias } => {
                    let typed = self.scalar(value, scope)?;
                    let origin = origin_of(&typed.node, &scope.sources);
                    let label = label_of(&typed.node, scope, scope.grouping.borrow().as_ref());
                    let mask =
                        masking::mask_of(&typed.node, scope, scope.grouping.borrow().as_ref());
                    bound.push(Item {
                        label,
                        mask,
                        name: alias.clone().unwrap_or_else(|| implied_name(value)),
                        value: typed,
                        origin,
                        variable: None,
                    });
                }
                SelectItem::Assign { variable, value } => {
                    let (at, ty) = self.variables.get(variable)?;
                    let typed = types::implicit(self.scalar(value, scope)?, ty)?;
                    let grouping = scope.grouping.borrow();
                    bound.push(Item {
                        mask: masking::mask_of(&typed.node, scope, grouping.as_ref()),
                        name: String::new(),
                        value: typed,
                        origin: Origin::Expression,
                        label: Label::default(),
                        variable: Some(at),
                    });
                }
            }
        }
        Ok(bound)
    }

    fn wildcard(
        &self,
        qualifier: &[String],
        scope: &Scope<'_>,
        bound: &mut Vec<Item>,
    ) -> Bound<()> {
        let matching: Vec<&Source> =
            scope.sources.iter().filter(|source| source.answers_to(qualifier)).collect();
        if matching.is_empty() {
            return Err(match qualifier.last() {
                Some(name) => SqlError::new(
                    107,
                    15,
                    1,
                    format!(
                        "The column prefix '{name}' does not match with a table name or alias name used in the query."
                    ),
                ),
                None => SqlError::new(263, 16, 1, "Must specify table to select from."),
            });
        }
        for source in matching {
            for column in &source.columns {
                let mut parts: Vec<String> = source.schema.iter().cloned().collect();
                parts.push(source.name.clone());
                parts.push(column.name.clone());
                let value = self.scalar(&Expr::Column(parts), scope)?;
                let grouping = scope.grouping.borrow();
                bound.push(Item {
                    label: column.label.unwrap_or_default(),
                    mask: masking::mask_of(&value.node, scope, grouping.as_ref()),
                    value,
                    name: column.name.clone(),
                    origin: column.origin,
                    variable: None,
                });
            }
        }
        Ok(())
    }

    /// ORDER BY: by alias, position or expression.
    pub(super) fn order_keys(
        &self,
        order: &[OrderItem],
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Bound<Vec<(Typed, bool)>> {
        let mut keys = Vec::new();
        for item in order {
            let by_alias = match &item.value {
                Expr::Column(parts) if parts.len() == 1 => {
                    let mut named =
                        items.iter().filter(|known| super::same_name(&known.name, &parts[0]));
                    let first = named.next();
                    // Several columns of the name are one only if they are the same.
                    if let Some(first) = first
                        && named.any(|other| !other.value.node.same(&first.value.node))
                    {
                        return Err(SqlError::new(
                            209,
                            16,
                            1,
                            format!("Ambiguous column name '{}'.", parts[0]),
                        ));
                    }
                    first
                }
                other => position(other, items.len())?.map(|at| &items[at]),
            };
            let key = match by_alias {
                Some(known) => known.value.clone(),
                None => self.scalar(&item.value, scope)?,
            };
            types::check_sortable(key.ty.as_ref(), "ORDER BY")?;
            keys.push((key, item.descending));
        }
        Ok(keys)
    }
}
