//! Common table expressions as targets of UPDATE and DELETE: a change goes through one that is a
//! plain SELECT over one table to the rows of that table. Duplicates are deleted by `ROW_NUMBER`
//! and tables emptied bit by bit with `TOP … ORDER BY` that way.

use std::sync::Arc;

use super::aggregate::{has_aggregate, item_has};
use super::from::{check_order, named_columns};
use super::{Binder, Bound, Scope, Source, Target, access, join, same_name, types, unsupported};
use crate::SqlType;
use crate::engine::expr::{Condition, Node, Place};
use crate::engine::plan::{Lock, OutputColumn, TuplePlan, Window, WindowFunction, WindowKind};
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{
    CompareOp, Cte, Edge, Extent, Hints, ObjectName, QueryBody, Select, TableRef,
};
use crate::storage::RowLock;

/// Slot of the window functions' values.
const WINDOWS: usize = 1;
/// Slot of the expression's row; that of the table is the first.
const ROW: usize = 2;
/// Slots in all.
const SLOTS: usize = 3;

/// The rows of a table behind a common table expression.
pub struct Through {
    /// Table, in slot 0 with its row ids.
    pub target: Target,
    /// The rows, with the expression's row behind them.
    pub plan: TuplePlan,
    /// Slots of a tuple.
    pub slots: usize,
    /// The expression as a source.
    pub source: Source,
    /// Which column of the table each of its columns is.
    pub base: Vec<Option<usize>>,
}

impl Binder<'_, '_> {
    /// The rows behind a common table expression, if the name is one's.
    ///
    /// # Errors
    /// 102 for one that is more than a SELECT over one table; names, types and permissions.
    pub fn through(&self, name: &ObjectName, permission: Permission) -> Bound<Option<Through>> {
        if !self.is_cte(name) {
            return Ok(None);
        }
        let known = self.ctes.borrow();
        let Some(at) = known.iter().rposition(|cte| same_name(&cte.name, &name.name)) else {
            return Ok(None);
        };
        let cte = known[at].clone();
        drop(known);
        // It sees only those before it.
        let behind = self.ctes.borrow_mut().split_off(at);
        let bound = self.through_cte(&cte, permission);
        self.ctes.borrow_mut().extend(behind);
        bound.map(Some)
    }

    fn through_cte(&self, cte: &Cte, permission: Permission) -> Bound<Through> {
        check_order(&cte.query)?;
        let refused = || unsupported("a change through this common table expression");
        let QueryBody::Select(select) = &cte.query.body else {
            return Err(refused());
        };
        let plain = !select.distinct
            && select.into.is_none()
            && select.group.is_empty()
            && select.having.is_none()
            && cte.query.offset.is_none()
            && !select.items.iter().any(|item| item_has(item, has_aggregate));
        let [TableRef::Named { name, alias, hints }] = select.from.as_slice() else {
            return Err(refused());
        };
        if !plain || self.is_cte(name) || hints.no_lock {
            return Err(refused());
        }
        let target = self.resolve(name, permission)?;
        self.check(&target, Permission::Select)?;
        self.through_select(cte, select, (target, alias.as_deref(), hints.clone()))
    }

    fn through_select(
        &self,
        cte: &Cte,
        select: &Select,
        (target, alias, hints): (Target, Option<&str>, Hints),
    ) -> Bound<Through> {
        if hints.table_lock || hints.table_exclusive {
            let table = target.table.id;
            let lock = crate::storage::TableLock::Exclusive;
            self.env.with_txn(|txn| txn.lock_table(table, lock))?;
        }
        let mut scope = Scope::inside(None);
        let lock = Lock::Rows(RowLock::Update);
        let tree = self.push_table(target.clone(), alias, lock, true, &mut scope)?;
        let filter = match &select.filter {
            Some(filter) => self.condition(filter, &scope)?.conjuncts(),
            None => Vec::new(),
        };
        let mut plan = join::plan(tree, filter);
        scope.windows.replace(Some((WINDOWS, Vec::new())));
        let items = self.items(&select.items, &scope)?;
        let order = self.order_keys(&cte.query.order, &items, &scope)?;
        let (_, mut functions) = scope.windows.take().unwrap_or_default();
        let mut first = None;
        if let Some(top) = &select.top {
            let count = self.scalar(top, &Scope::inside(None))?;
            let count = types::implicit(count, &SqlType::BigInt)?.node;
            let place = Place { depth: 0, source: WINDOWS, ordinal: functions.len() };
            first = Some(Condition::Compare(CompareOp::LessOrEqual, Node::Column(place), count));
            functions.push(WindowFunction {
                kind: WindowKind::RowNumber,
                partition: Vec::new(),
                order: order.into_iter().map(|(key, descending)| (key.node, descending)).collect(),
                extent: Extent { rows: false, start: Edge::First, end: Edge::Current },
            });
        }
        if !functions.is_empty() {
            let in_order = access::rank_in_order(&mut plan, &functions);
            let input = Box::new(plan);
            plan = TuplePlan::Window(Window { input, functions, slot: WINDOWS, in_order });
        }
        plan = join::filtered(plan, first.into_iter().collect());
        let found = items
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
        let columns = named_columns(found, &cte.name, &cte.columns)?;
        let base = items
            .iter()
            .map(|item| match item.value.node {
                Node::Column(place) if place.depth == 0 && place.source == 0 => Some(place.ordinal),
                _ => None,
            })
            .collect();
        let items = items.into_iter().map(|item| item.value.node).collect();
        Ok(Through {
            target: Target { table: Arc::clone(&target.table), elsewhere: target.elsewhere },
            plan: TuplePlan::Compute { input: Box::new(plan), items, slot: ROW },
            slots: SLOTS,
            source: Source {
                name: cte.name.clone(),
                schema: None,
                slot: ROW,
                columns,
                unreadable: Vec::new(),
                used: Default::default(),
                stored: None,
            },
            base,
        })
    }
}
