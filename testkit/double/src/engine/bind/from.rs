//! FROM: names to sources.

use super::join::{Forced, Leaf, Tree};
use super::object::Target;
use super::{Binder, Bound, Scope, Source, SourceColumn, Used, masking, types, unsupported};
use crate::engine::catalog;
use crate::engine::expr::{Node, Typed};
use crate::engine::mask::Mask;
use crate::engine::plan::{Lock, OutputColumn, RowPlan, Virtual};
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{Expr, Hints, IndexHint, JoinKind, ObjectName, TableRef};
use crate::storage::{ColumnDef, TableDef};
use crate::{Origin, SqlError};

/// Most tables between the commas of one FROM.
const MAX_TABLES: usize = 256;

impl Binder<'_, '_> {
    /// Binds FROM; sources go into the scope, behind those already there.
    ///
    /// # Errors
    /// 208, 229, names and types.
    pub fn from(&self, tables: &[TableRef], scope: &mut Scope<'_>) -> Bound<Option<Tree>> {
        let mut tree = None;
        if tables.len() > MAX_TABLES {
            return Err(SqlError::new(
                106,
                15,
                1,
                "Too many table names in the query. The maximum allowable is 256.",
            ));
        }
        // Queries in FROM do not see its other sources, unless they are applied.
        scope.transparent.set(false);
        for table in tables {
            let bound = self.table(table, scope)?;
            tree = Some(match tree {
                None => bound,
                Some(left) => Tree::Join {
                    kind: JoinKind::Cross,
                    left: Box::new(left),
                    right: Box::new(bound),
                    on: Vec::new(),
                },
            });
        }
        scope.transparent.set(true);
        check_names(&scope.sources)?;
        Ok(tree)
    }

    fn table(&self, table: &TableRef, scope: &mut Scope<'_>) -> Bound<Tree> {
        match table {
            TableRef::Named { name, alias, hints } => {
                self.named(name, alias.as_deref(), hints, scope)
            }
            TableRef::Variable { name, alias } => {
                self.table_variable(name, alias.as_deref(), scope)
            }
            TableRef::Function { name, arguments, alias } => {
                self.table_function(name, arguments, alias.as_deref(), scope)
            }
            TableRef::Derived { query, alias, columns } => {
                self.derived(query, alias, columns, scope)
            }
            TableRef::Values { rows, alias, columns } => self.values(rows, alias, columns, scope),
            TableRef::Join { kind, left, right, on } => {
                let left = self.table(left, scope)?;
                let applied = matches!(kind, JoinKind::CrossApply | JoinKind::OuterApply);
                let before = scope.transparent.replace(applied);
                let right = self.table(right, scope)?;
                if *kind == JoinKind::Right && (left.is_lateral() || right.is_lateral()) {
                    return Err(unsupported("RIGHT JOIN with APPLY"));
                }
                scope.transparent.set(true);
                let on = match on {
                    Some(on) => self.condition(on, scope)?.conjuncts(),
                    None => Vec::new(),
                };
                scope.transparent.set(before);
                Ok(Tree::Join { kind: *kind, left: Box::new(left), right: Box::new(right), on })
            }
        }
    }

    fn named(
        &self,
        name: &ObjectName,
        alias: Option<&str>,
        hints: &Hints,
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        if name.schema.is_none() && name.database.is_none() {
            if let Some(tree) = self.level(name, alias, scope)? {
                return Ok(tree);
            }
            let known = self.ctes.borrow();
            let found = known.iter().rposition(|cte| super::same_name(&cte.name, &name.name));
            if let Some(at) = found {
                let cte = known[at].clone();
                drop(known);
                // A common table expression sees only those before it.
                let inner = self.ctes.borrow_mut().split_off(at);
                let alias = alias.unwrap_or(&cte.name);
                let bound = match super::recursive::is_recursive(&cte) {
                    true => self.recursive(&cte, alias, scope),
                    false => self.derived(&cte.query, alias, &cte.columns, scope),
                };
                self.ctes.borrow_mut().extend(inner);
                return bound;
            }
        }
        let name = &self.placed(name);
        if let Some(view) = catalog::view(self, name)? {
            let slot = scope.sources.len();
            let columns = view.columns;
            let width = columns.len();
            scope.sources.push(Source {
                name: alias.unwrap_or(&name.name).to_owned(),
                schema: alias.is_none().then(|| name.schema.clone()).flatten(),
                slot,
                columns,
                unreadable: Vec::new(),
                used: Default::default(),
                stored: None,
            });
            let leaf = Leaf::Virtual(Virtual {
                slot,
                producer: view.producer,
                arguments: Vec::new(),
                by_first: view.by_first,
                filter: None,
            });
            return Ok(Tree::Leaf(leaf, width));
        }
        let target = self.object(name)?;
        let hints = &self.hints_within(hints);
        if target.table.is_view() {
            self.check(&target, Permission::Select)?;
            return self.view(target, alias, hints, scope);
        }
        let target = self.usable(target, Permission::Select)?;
        let lock = self.lock(&target, hints)?;
        if lock != Lock::None {
            self.env.note_current_read();
        }
        let forced = forced(&target.table, hints)?;
        let mut tree = self.push_table(target, alias, lock, false, scope)?;
        if let Tree::Leaf(Leaf::Table { forced: own, .. }, _) = &mut tree {
            *own = forced;
        }
        Ok(tree)
    }

    /// Adds a stored table to the scope, under the filters of security policies.
    ///
    /// # Errors
    /// Those of binding a policy's predicate.
    pub fn push_table(
        &self,
        target: Target,
        alias: Option<&str>,
        lock: Lock,
        with_row_id: bool,
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        let slot = scope.sources.len();
        let filter = self.row_filter(&target, slot)?;
        let used = Used::default();
        let table = &target.table;
        scope.sources.push(Source {
            name: alias.unwrap_or(&table.name).to_owned(),
            schema: alias.is_none().then(|| table.schema.clone()),
            slot,
            columns: self.visible_columns(&target),
            unreadable: self.unreadable(&target),
            used: Used::clone(&used),
            stored: target.elsewhere.is_none().then_some(table.id),
        });
        let width = table.columns.len();
        let forced = Forced::default();
        Ok(Tree::Leaf(Leaf::Table { slot, target, lock, with_row_id, filter, forced, used }, width))
    }

    fn derived(
        &self,
        query: &crate::engine::syntax::ast::Query,
        alias: &str,
        names: &[String],
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        check_order(query)?;
        let (bound, outer) = self.nested_query(query, scope)?;
        // Applied queries read this query's own sources; seen from here that is depth 0, which
        // the plan's loop provides. Anything further out is noted by the scope itself.
        drop(outer);
        let columns = named_columns(bound.columns, alias, names)?;
        Ok(self.push_derived(alias, columns, bound.plan, scope))
    }

    pub(super) fn push_derived(
        &self,
        alias: &str,
        columns: Vec<SourceColumn>,
        plan: RowPlan,
        scope: &mut Scope<'_>,
    ) -> Tree {
        let slot = scope.sources.len();
        let width = columns.len();
        scope.sources.push(Source {
            name: alias.to_owned(),
            schema: None,
            slot,
            columns,
            unreadable: Vec::new(),
            used: Default::default(),
            stored: None,
        });
        Tree::Leaf(Leaf::Derived { slot, plan: Box::new(plan) }, width)
    }

    fn values(
        &self,
        rows: &[Vec<Expr>],
        alias: &str,
        names: &[String],
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        let (columns, masks, rows) = {
            let inner = Scope::inside(Some(scope));
            let (columns, nodes) = self.value_rows(rows, &inner)?;
            let mask = |at: usize| {
                let masks = nodes.iter().filter_map(|row| masking::mask_of(&row[at], &inner, None));
                masks.reduce(|_, _| Mask::Default)
            };
            let masks: Vec<Option<Mask>> = (0..columns.len()).map(mask).collect();
            (columns, masks, nodes)
        };
        if columns.len() != names.len() {
            return Err(SqlError::new(
                8158,
                16,
                1,
                format!("'{alias}' has more columns than were specified in the column list."),
            ));
        }
        let columns = names
            .iter()
            .zip(columns.into_iter().zip(masks))
            .map(|(name, ((ty, nullable), mask))| SourceColumn {
                name: name.clone(),
                ty,
                nullable,
                origin: Origin::Expression,
                label: None,
                mask,
            })
            .collect();
        Ok(self.push_derived(alias, columns, RowPlan::Values(rows), scope))
    }

    /// Rows of VALUES, each column of one type.
    ///
    /// # Errors
    /// 10709 for rows of different lengths; names and types.
    #[allow(clippy::type_complexity)]
    pub fn value_rows(
        &self,
        rows: &[Vec<Expr>],
        scope: &Scope<'_>,
    ) -> Bound<(Vec<(Option<crate::SqlType>, bool)>, Vec<Vec<Node>>)> {
        let mut bound: Vec<Vec<Typed>> = Vec::new();
        for row in rows {
            let row =
                row.iter().map(|value| self.scalar(value, scope)).collect::<Bound<Vec<Typed>>>()?;
            if bound.first().is_some_and(|first| first.len() != row.len()) {
                return Err(SqlError::new(
                    10709,
                    16,
                    1,
                    "The number of columns for each row in a table value constructor must be the same.",
                ));
            }
            bound.push(row);
        }
        let width = bound.first().map_or(0, Vec::len);
        let mut columns = Vec::new();
        for at in 0..width {
            let ty = types::common_of(bound.iter().map(|row| &row[at]))?;
            let nullable = bound.iter().any(|row| row[at].nullable);
            columns.push((ty, nullable));
        }
        let mut nodes = Vec::new();
        for row in bound {
            let mut converted = Vec::new();
            for (value, (ty, _)) in row.into_iter().zip(&columns) {
                converted.push(match ty {
                    Some(ty) => types::implicit(value, ty)?.node,
                    None => value.node,
                });
            }
            nodes.push(converted);
        }
        Ok((columns, nodes))
    }
}

/// The columns of a query in FROM, under the names given to them.
///
/// # Errors
/// 8155, 8156, 8158.
pub(super) fn named_columns(
    found: Vec<OutputColumn>,
    alias: &str,
    names: &[String],
) -> Bound<Vec<SourceColumn>> {
    if !names.is_empty() && names.len() != found.len() {
        return Err(SqlError::new(
            8158,
            16,
            1,
            format!("'{alias}' has more columns than were specified in the column list."),
        ));
    }
    let mut columns: Vec<SourceColumn> = Vec::new();
    for (at, column) in found.into_iter().enumerate() {
        let name = names.get(at).cloned().unwrap_or(column.name);
        if name.is_empty() {
            return Err(SqlError::new(
                8155,
                16,
                2,
                format!("No column name was specified for column {} of '{alias}'.", at + 1),
            ));
        }
        if columns.iter().any(|known| super::same_name(&known.name, &name)) {
            return Err(SqlError::new(
                8156,
                16,
                1,
                format!("The column '{name}' was specified multiple times for '{alias}'."),
            ));
        }
        columns.push(SourceColumn {
            name,
            ty: column.ty,
            nullable: column.nullable,
            origin: column.origin,
            label: Some(column.label).filter(|label| !label.is_default()),
            mask: column.mask,
        });
    }
    Ok(columns)
}

/// Error 1033: an order that means nothing.
///
/// # Errors
/// 1033.
pub(super) fn check_order(query: &crate::engine::syntax::ast::Query) -> Bound<()> {
    if query.order.is_empty() || query.offset.is_some() || has_top(query) {
        return Ok(());
    }
    Err(SqlError::new(
        1033,
        15,
        1,
        "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table expressions, unless TOP, OFFSET or FOR XML is also specified.",
    ))
}

fn has_top(query: &crate::engine::syntax::ast::Query) -> bool {
    match &query.body {
        crate::engine::syntax::ast::QueryBody::Select(select) => select.top.is_some(),
        crate::engine::syntax::ast::QueryBody::Set(..) => false,
    }
}

/// Columns of a stored table.
pub fn columns_of(table: &TableDef) -> Vec<SourceColumn> {
    table
        .columns
        .iter()
        .map(|column| SourceColumn {
            name: column.name.clone(),
            ty: Some(column.ty.clone()),
            nullable: column.nullable,
            origin: origin_of_stored(column),
            label: Some(column.label()),
            mask: None,
        })
        .collect()
}

fn origin_of_stored(column: &ColumnDef) -> Origin {
    match column {
        column if column.identity.is_some() => Origin::Identity,
        column if column.computed.is_some() => Origin::Computed,
        _ => Origin::Stored,
    }
}

/// The index that hints ask for.
///
/// # Errors
/// 308 where there is none of that name or number.
fn forced(table: &TableDef, hints: &Hints) -> Bound<Forced> {
    let index = match &hints.index {
        None => None,
        Some(IndexHint::Id(0)) => Some(None),
        Some(hint) => {
            let found = table.indexes.iter().find(|index| match hint {
                IndexHint::Name(name) => super::same_name(&index.name, name),
                IndexHint::Id(id) => index.id == *id,
            });
            let Some(found) = found else {
                let name = match hint {
                    IndexHint::Name(name) => name.clone(),
                    IndexHint::Id(id) => id.to_string(),
                };
                return Err(SqlError::new(
                    308,
                    16,
                    1,
                    format!(
                        "Index '{name}' on table '{}' (specified in the FROM clause) does not exist.",
                        table.full_name()
                    ),
                ));
            };
            if !found.is_whole() {
                return Err(unsupported("a hint of a filtered or disabled index"));
            }
            Some((!found.clustered).then_some(found.id))
        }
    };
    Ok(Forced { index, seek: hints.force_seek })
}

/// Error 1011 or 1013 for two sources of one name.
fn check_names(sources: &[Source]) -> Bound<()> {
    for (at, source) in sources.iter().enumerate() {
        let clash = sources[..at].iter().any(|other| {
            super::same_name(&other.name, &source.name)
                && match (&other.schema, &source.schema) {
                    (Some(left), Some(right)) => super::same_name(left, right),
                    _ => true,
                }
        });
        if clash {
            return Err(SqlError::new(
                1013,
                16,
                1,
                format!(
                    "The objects \"{0}\" and \"{0}\" in the FROM clause have the same exposed names. Use correlation names to distinguish them.",
                    source.name
                ),
            ));
        }
    }
    Ok(())
}
