//! Views in FROM: the stored text is parsed and bound again each time it is named.
//!
//! A view's columns are those found when it was defined. A table that has grown since shows only
//! its old columns through `SELECT *`, as Microsoft says of views that were not refreshed; a change
//! after which stored and found columns cannot be told to be the same is refused.
//!
//! Objects here have one owner, so that the right to read a view is enough to read what it reads in
//! its own database (an unbroken ownership chain).

use std::rc::Rc;
use std::sync::Arc;

use super::from::check_order;
use super::join::{Leaf, Tree};
use super::{Binder, Bound, Scope, Source, Target, Variables, columns_of, same_name, unsupported};
use crate::SqlError;
use crate::engine::plan::{OutputColumn, RowPlan};
use crate::engine::syntax::ast::{
    Ddl, Hints, Module, ModuleContent, ObjectName, Query, StatementKind,
};
use crate::storage::{ColumnDef, TableDef};

/// Deepest nesting of views.
const MAX_NESTING: u32 = 32;

/// Where the names of a view's query are looked for.
#[derive(Clone)]
pub(super) struct Within {
    /// The view's database, where it is not the current one.
    database: Option<String>,
    schema: String,
    /// Hints on the view, which hold for what it reads.
    hints: Hints,
    depth: u32,
    /// A function, whose variables are its parameters.
    pub(super) function: bool,
}

impl Binder<'_, '_> {
    /// A name of a view's query as it is meant there; any other as it is.
    pub(super) fn placed(&self, name: &ObjectName) -> ObjectName {
        let mut name = name.clone();
        let within = self.within.borrow();
        let Some(within) = within.as_ref() else {
            return name;
        };
        if name.is_temporary() || name.database.is_some() {
            return name;
        }
        name.database.clone_from(&within.database);
        if name.schema.is_none() && !same_name(&within.schema, "dbo") {
            let here = ObjectName { schema: Some(within.schema.clone()), ..name.clone() };
            if self.object(&here).is_ok() {
                return here;
            }
        }
        name
    }

    /// Whether it is a view or function that is bound.
    pub(super) fn is_within(&self) -> bool {
        self.within.borrow().is_some()
    }

    /// Error 4508 for a temporary table in a view.
    pub(super) fn check_temporary(&self, name: &ObjectName) -> Bound<()> {
        if !name.is_temporary() || self.within.borrow().is_none() {
            return Ok(());
        }
        Err(SqlError::new(
            4508,
            16,
            1,
            "Views or functions are not allowed on temporary tables. Table names that begin with '#' denote temporary tables.",
        ))
    }

    /// Hints on a table, and on the view that it is read through.
    pub(super) fn hints_within(&self, own: &Hints) -> Hints {
        let Some(around) = self.within.borrow().as_ref().map(|within| within.hints.clone()) else {
            return own.clone();
        };
        Hints {
            no_lock: own.no_lock || around.no_lock,
            update_lock: own.update_lock || around.update_lock,
            exclusive_lock: own.exclusive_lock || around.exclusive_lock,
            hold_lock: own.hold_lock || around.hold_lock,
            table_lock: own.table_lock || around.table_lock,
            table_exclusive: own.table_exclusive || around.table_exclusive,
            repeatable_read: own.repeatable_read || around.repeatable_read,
            read_committed_lock: own.read_committed_lock || around.read_committed_lock,
            // Those of the view would be hints on the view's own indexes.
            force_seek: own.force_seek,
            index: own.index.clone(),
        }
    }

    /// Whether the right to read the view around stands for the right to read this.
    pub(super) fn is_chained(&self, target: &Target) -> bool {
        let within = self.within.borrow();
        let Some(within) = within.as_ref() else {
            return false;
        };
        match (&target.elsewhere, &within.database) {
            (None, None) => true,
            (Some(database), Some(own)) => same_name(&database.name(), own),
            _ => false,
        }
    }

    /// Adds a view to the scope.
    ///
    /// # Errors
    /// Those of binding its query; 217, 4502.
    pub(super) fn view(
        &self,
        target: Target,
        alias: Option<&str>,
        hints: &Hints,
        scope: &mut Scope<'_>,
    ) -> Bound<Tree> {
        let view = Arc::clone(&target.table);
        let text = view.module.as_ref().map(|module| module.definition.as_str());
        let batch = self.env.shared.parse(text.unwrap_or_default())?;
        let [statement] = batch.statements.as_slice() else {
            return Err(unsupported("a view"));
        };
        let StatementKind::Ddl(Ddl::Module(module)) = &statement.kind else {
            return Err(unsupported("a view"));
        };
        let ModuleContent::View { columns: names, query, .. } = &module.content else {
            return Err(unsupported("a view"));
        };
        let database = target.elsewhere.as_ref().map(|database| database.name());
        let mut bound = self.view_query(query, &view.schema, database, hints.clone())?;
        let plan = match fitted(&view, names, &bound.0)? {
            true => bound.1,
            false => RowPlan::Narrow { input: Box::new(bound.1), width: view.columns.len() },
        };
        bound.0.truncate(view.columns.len());
        let mut columns = columns_of(&view);
        for (column, found) in columns.iter_mut().zip(bound.0) {
            column.ty = found.ty;
            column.nullable = found.nullable;
            column.origin = found.origin;
            column.mask = found.mask;
        }
        let slot = scope.sources.len();
        let width = columns.len();
        let unreadable = self.unreadable(&target);
        scope.sources.push(Source {
            name: alias.unwrap_or(&view.name).to_owned(),
            schema: alias.is_none().then(|| view.schema.clone()),
            slot,
            columns,
            unreadable,
            used: Default::default(),
            stored: None,
        });
        Ok(Tree::Leaf(Leaf::Derived { slot, plan: Box::new(plan) }, width))
    }

    /// One level of nesting deeper: inside a view, a function or a policy's predicate.
    ///
    /// # Errors
    /// 217.
    pub(super) fn deeper(
        &self,
        database: Option<String>,
        schema: &str,
        hints: Hints,
    ) -> Bound<Within> {
        let depth = self.within.borrow().as_ref().map_or(0, |within| within.depth) + 1;
        if depth > MAX_NESTING {
            return Err(SqlError::new(
                217,
                16,
                1,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            ));
        }
        Ok(Within { database, schema: schema.to_owned(), hints, depth, function: false })
    }

    /// Binds a view's query, which sees nothing of the statement around it.
    fn view_query(
        &self,
        query: &Query,
        schema: &str,
        database: Option<String>,
        hints: Hints,
    ) -> Bound<(Vec<OutputColumn>, RowPlan)> {
        let within = self.deeper(database, schema, hints)?;
        let none = Variables::default();
        let inner = Binder { read: Rc::clone(&self.read), ..Binder::new(self.env, &none) };
        inner.within.replace(Some(within));
        let bound = inner.inner_query(query)?;
        match bound.assigned {
            None => Ok((bound.query.columns, bound.query.plan)),
            Some(_) => Err(unsupported("assignment in a view")),
        }
    }

    /// The columns that a view will have.
    ///
    /// # Errors
    /// Those of binding its query; 1033, 4506, 4508, 4511, 8158, 8159.
    pub fn view_columns(
        &self,
        module: &Module,
        schema: &str,
        names: &[String],
        query: &Query,
    ) -> Bound<Vec<ColumnDef>> {
        check_order(query)?;
        let (found, _) = self.view_query(query, schema, None, Hints::default())?;
        stored_columns(&module.name.name, names, found)
    }
}

/// The columns of a query as those of a stored view or function.
pub(super) fn stored_columns(
    view: &str,
    names: &[String],
    found: Vec<OutputColumn>,
) -> Bound<Vec<ColumnDef>> {
    {
        let count = |number, word| {
            SqlError::new(
                number,
                16,
                1,
                format!("'{view}' has {word} columns than were specified in the column list."),
            )
        };
        if !names.is_empty() && names.len() < found.len() {
            return Err(count(8158, "more"));
        }
        if names.len() > found.len() {
            return Err(count(8159, "fewer"));
        }
        let mut columns: Vec<ColumnDef> = Vec::new();
        for (at, column) in found.into_iter().enumerate() {
            let name = names.get(at).cloned().unwrap_or(column.name);
            if name.is_empty() {
                return Err(SqlError::new(
                    4511,
                    16,
                    1,
                    format!(
                        "Create View or Function failed because no column name was specified for column {}.",
                        at + 1
                    ),
                ));
            }
            if columns.iter().any(|known| same_name(&known.name, &name)) {
                return Err(SqlError::new(
                    4506,
                    16,
                    1,
                    format!(
                        "Column names in each view or function must be unique. Column name '{name}' in view or function '{view}' is specified more than once."
                    ),
                ));
            }
            let ty = column.ty.unwrap_or(crate::SqlType::Int);
            let collation = ty.is_text().then(|| column.label.name());
            columns.push(ColumnDef { collation, ..ColumnDef::new(name, ty, column.nullable) });
        }
        Ok(columns)
    }
}

/// Whether the columns found are those stored; false if there are new ones behind them.
fn fitted(view: &TableDef, names: &[String], found: &[OutputColumn]) -> Bound<bool> {
    if found.len() < view.columns.len() {
        return Err(SqlError::new(
            4502,
            16,
            1,
            format!(
                "View or function '{}' has more column names specified than columns defined.",
                view.full_name()
            ),
        ));
    }
    let same = view.columns.iter().zip(found).all(|(own, found)| same_name(&own.name, &found.name));
    let grown = found.len() > view.columns.len();
    match names.is_empty() && same || !names.is_empty() && !grown {
        true => Ok(!grown),
        false => Err(unsupported("a view whose tables have changed")),
    }
}
