//! Recursive common table expressions: anchors, `UNION ALL`, members that name the expression.

use super::aggregate::{has_aggregate, item_has};
use super::from::{check_order, named_columns};
use super::join::Tree;
use super::{Binder, Bound, Scope, SourceColumn, same_name, unsupported};
use crate::engine::plan::{OutputColumn, Recursive, RowPlan};
use crate::engine::syntax::ast::{
    Cte, JoinKind, ObjectName, Query, QueryBody, Select, SetOp, TableRef,
};
use crate::{Origin, SqlError, SqlType};

/// MAXRECURSION where none is given.
const DEFAULT_LIMIT: u32 = 100;

/// A recursive expression whose members are being bound.
pub(super) struct Recursion {
    name: String,
    columns: Vec<SourceColumn>,
    key: usize,
    /// Whether the member has named it.
    named: bool,
}

/// Whether a common table expression names itself.
pub(super) fn is_recursive(cte: &Cte) -> bool {
    names(&cte.query.body, &cte.name)
}

/// Whether FROM of a query names an expression.
fn names(body: &QueryBody, name: &str) -> bool {
    match body {
        QueryBody::Set(_, left, right) => names(left, name) || names(right, name),
        QueryBody::Select(select) => select.from.iter().any(|table| table_names(table, name)),
    }
}

fn table_names(table: &TableRef, name: &str) -> bool {
    let query = |query: &Query| names(&query.body, name);
    match table {
        TableRef::Named {
            name: ObjectName { database: None, schema: None, name: own }, ..
        } => same_name(own, name),
        TableRef::Join { left, right, .. } => table_names(left, name) || table_names(right, name),
        TableRef::Derived { query: derived, .. } => query(derived),
        _ => false,
    }
}

/// The sides of UNION ALL, in order.
fn members<'q>(body: &'q QueryBody, found: &mut Vec<&'q QueryBody>) {
    match body {
        QueryBody::Set(SetOp::UnionAll, left, right) => {
            members(left, found);
            found.push(right);
        }
        other => found.push(other),
    }
}

fn outer_join(table: &TableRef) -> bool {
    match table {
        TableRef::Join { kind, left, right, .. } => {
            matches!(kind, JoinKind::Left | JoinKind::Right | JoinKind::Full | JoinKind::OuterApply)
                || outer_join(left)
                || outer_join(right)
        }
        _ => false,
    }
}

fn error(number: i32, text: String) -> SqlError {
    SqlError::new(number, 16, 1, text)
}

/// What a recursive member may not have.
fn check_member(name: &str, select: &Select) -> Bound<()> {
    let part = format!("in the recursive part of a recursive common table expression '{name}'.");
    if select.distinct {
        return Err(error(460, format!("DISTINCT operator is not allowed {part}")));
    }
    if select.top.is_some() {
        return Err(error(461, format!("The TOP or OFFSET operator is not allowed {part}")));
    }
    if select.from.iter().any(outer_join) {
        return Err(error(462, format!("Outer join is not allowed {part}")));
    }
    let grouped = !select.group.is_empty()
        || select.having.is_some()
        || select.items.iter().any(|item| item_has(item, has_aggregate));
    if grouped {
        let what = "GROUP BY, HAVING, or aggregate functions are not allowed";
        return Err(error(467, format!("{what} {part}")));
    }
    Ok(())
}

impl Binder<'_, '_> {
    /// The level before, where a recursive member names its expression.
    pub(super) fn level(
        &self,
        name: &ObjectName,
        alias: Option<&str>,
        scope: &mut Scope<'_>,
    ) -> Bound<Option<Tree>> {
        let mut recursions = self.recursions.borrow_mut();
        let found = recursions.iter_mut().rev().find(|known| same_name(&known.name, &name.name));
        let Some(recursion) = found else {
            return Ok(None);
        };
        if scope.parent.is_some() {
            return Err(error(465, "Recursive references are not allowed in subqueries.".into()));
        }
        if std::mem::replace(&mut recursion.named, true) {
            return Err(error(
                253,
                format!(
                    "Recursive member of a common table expression '{}' has multiple recursive references.",
                    recursion.name
                ),
            ));
        }
        let (columns, plan) = (recursion.columns.clone(), RowPlan::Level(recursion.key));
        drop(recursions);
        Ok(Some(self.push_derived(alias.unwrap_or(&name.name), columns, plan, scope)))
    }

    /// Binds a recursive common table expression.
    pub(super) fn recursive(&self, cte: &Cte, alias: &str, scope: &mut Scope<'_>) -> Bound<Tree> {
        check_order(&cte.query)?;
        let mut parts = Vec::new();
        members(&cte.query.body, &mut parts);
        let anchors = parts.iter().take_while(|part| !names(part, &cte.name)).count();
        if parts.len() < 2 || anchors == 0 {
            return Err(error(
                252,
                format!(
                    "Recursive common table expression '{}' does not contain a top-level UNION ALL operator.",
                    cte.name
                ),
            ));
        }
        if parts[anchors..].iter().any(|part| !names(part, &cte.name)) {
            return Err(error(
                247,
                format!(
                    "An anchor member was found in the recursive part of recursive query '{}'.",
                    cte.name
                ),
            ));
        }
        let all = |left: QueryBody, right: &&QueryBody| {
            QueryBody::Set(SetOp::UnionAll, Box::new(left), Box::new((*right).clone()))
        };
        let anchor = parts[1..anchors].iter().fold(parts[0].clone(), all);
        let root = Scope::inside(None);
        let anchor = self.body(&anchor, &root)?;
        let recursive = |column: OutputColumn| OutputColumn {
            ty: Some(column.ty.unwrap_or(SqlType::Int)),
            nullable: true,
            origin: Origin::Expression,
            ..column
        };
        let found = anchor.columns.into_iter().map(recursive).collect();
        let columns = named_columns(found, &cte.name, &cte.columns)?;
        let key = self.env.cache_key();
        let mut bound = Vec::new();
        for member in &parts[anchors..] {
            bound.push(self.recursive_member(cte, member, &columns, key)?);
        }
        let plan = RowPlan::Recursive(Recursive {
            anchor: Box::new(anchor.plan),
            members: bound,
            key,
            limit: self.max_recursion.get().unwrap_or(DEFAULT_LIMIT),
        });
        Ok(self.push_derived(alias, columns, plan, scope))
    }

    fn recursive_member(
        &self,
        cte: &Cte,
        member: &QueryBody,
        columns: &[SourceColumn],
        key: usize,
    ) -> Bound<RowPlan> {
        let QueryBody::Select(select) = member else {
            return Err(unsupported("a set operation in a recursive member"));
        };
        check_member(&cte.name, select)?;
        self.recursions.borrow_mut().push(Recursion {
            name: cte.name.clone(),
            columns: columns.to_vec(),
            key,
            named: false,
        });
        let member = self.body(member, &Scope::inside(None));
        self.recursions.borrow_mut().pop();
        let member = member?;
        if member.columns.len() != columns.len() {
            return Err(error(
                205,
                "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.".into(),
            ));
        }
        for (own, column) in member.columns.iter().zip(columns) {
            if own.mask.is_some() && column.mask.is_none() {
                return Err(unsupported("a masked column in a recursive member"));
            }
            if own.ty.is_some() && own.ty != column.ty {
                return Err(error(
                    240,
                    format!(
                        "Types don't match between the anchor and the recursive part in column \"{}\" of recursive query \"{}\".",
                        column.name, cte.name
                    ),
                ));
            }
        }
        Ok(member.plan)
    }
}
