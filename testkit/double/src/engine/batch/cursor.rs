//! DECLARE, OPEN, FETCH and CLOSE of cursors.

use std::cell::RefCell;

use super::{Executor, Flow};
use crate::engine::bind::{Binder, Variables, unsupported};
use crate::engine::convert;
use crate::engine::cursor::{Cursor, OpenCursor, Stamp};
use crate::engine::env::{Env, Results};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::{CursorDef, CursorName, Expr, FetchFrom, Query};
use crate::{SqlError, SqlType, Value};

impl Executor<'_> {
    /// What `CURSOR_STATUS` answers from now on.
    pub(super) fn cursors_changed(&mut self) {
        self.session.status.cursor_states = self.session.cursors.states();
    }

    pub(super) fn declare_cursor(&mut self, def: &CursorDef) -> Result<Flow, Fault> {
        // The query is bound to find its errors here.
        self.with_env(false, |env, variables| {
            let bound = Binder::new(env, variables).statement_query(&def.query);
            match bound.map_err(of_binding)?.assigned {
                None => Ok(()),
                Some(_) => Err(Fault::Compile(unsupported("assignment in a cursor"))),
            }
        })?;
        let values = self.values.borrow();
        let variables = self
            .variables
            .scalars()
            .zip(values.iter())
            .map(|((name, ty), value)| (name.clone(), ty.clone(), value.clone()))
            .collect();
        drop(values);
        let scope = def.local.then_some(self.scope);
        let cursor = Cursor { def: def.clone(), scope, variables, open: None };
        self.session.cursors.declare(cursor)?;
        self.cursors_changed();
        Ok(Flow::Next)
    }

    pub(super) fn open_cursor(&mut self, name: &CursorName) -> Result<Flow, Fault> {
        let cursor = self.session.cursors.get(name, self.scope)?;
        if cursor.open.is_some() {
            return Err(SqlError::new(16905, 16, 1, "The cursor is already open.").into());
        }
        let (def, fixed) = (cursor.def.query.clone(), cursor.def.fixed);
        // Variables keep the values that they had at the declaration.
        let mut variables = Variables::with_tables_of(&self.variables);
        let mut values = Vec::new();
        for (name, ty, value) in &cursor.variables {
            variables.declare(name, ty);
            values.push(value.clone());
        }
        let mut inner = self.with_variables(variables, values);
        let open = inner.with_env(false, |env, variables| read(env, variables, &def))?;
        let rows = i32::try_from(open.rows.len()).unwrap_or(i32::MAX);
        self.session.cursors.get(name, self.scope)?.open = Some(open);
        self.session.status.cursor_rows = if fixed { rows } else { -1 };
        self.cursors_changed();
        Ok(Flow::Next)
    }

    /// The same executor over other variables.
    pub(super) fn with_variables(
        &mut self,
        variables: Variables,
        values: Vec<Value>,
    ) -> Executor<'_> {
        Executor {
            scope: self.scope,
            session: &mut *self.session,
            batch: self.batch,
            sink: self.sink.reborrow(),
            variables,
            values: RefCell::new(values),
            tries: self.tries,
            tried_outside: self.tried_outside,
            nesting: self.nesting,
            collected: self.collected,
        }
    }

    pub(super) fn close_cursor(&mut self, name: &CursorName) -> Result<Flow, Fault> {
        self.session.cursors.get_open(name, self.scope)?;
        self.session.cursors.get(name, self.scope)?.open = None;
        self.session.status.cursor_rows = 0;
        self.cursors_changed();
        Ok(Flow::Next)
    }

    pub(super) fn fetch(
        &mut self,
        name: &CursorName,
        from: &FetchFrom,
        into: &[String],
    ) -> Result<Flow, Fault> {
        let number = match from {
            FetchFrom::Absolute(number) | FetchFrom::Relative(number) => self.whole(number)?,
            _ => 0,
        };
        let (def, open) = self.session.cursors.get_open(name, self.scope)?;
        let word = match from {
            FetchFrom::Next => None,
            FetchFrom::Prior => Some("prior"),
            FetchFrom::First => Some("first"),
            FetchFrom::Last => Some("last"),
            FetchFrom::Absolute(_) => Some("absolute"),
            FetchFrom::Relative(_) => Some("relative"),
        };
        if let Some(word) = word.filter(|_| !def.scroll) {
            return Err(SqlError::new(
                16911,
                16,
                1,
                format!("fetch: The fetch type {word} cannot be used with forward only cursors."),
            )
            .into());
        }
        if !def.fixed && open.is_stale() {
            return Err(unsupported(
                "FETCH from a cursor that is not STATIC, over a table that was changed after OPEN",
            )
            .into());
        }
        if !into.is_empty() && into.len() != open.columns.len() {
            return Err(SqlError::new(
                16924,
                16,
                1,
                "Cursorfetch: The number of variables declared in the INTO list must match that of selected columns.",
            )
            .into());
        }
        let count = open.rows.len();
        let to = match from {
            FetchFrom::Next => Some(open.at + 1),
            FetchFrom::Prior => open.at.checked_sub(1),
            FetchFrom::First => Some(1),
            FetchFrom::Last => Some(count),
            FetchFrom::Absolute(_) => place(if number < 0 { count + 1 } else { 0 }, number),
            FetchFrom::Relative(_) => place(open.at, number),
        };
        let columns = open.columns.clone();
        let row = open.go(to).map(<[_]>::to_vec);
        let status = &mut self.session.status;
        status.fetch_status = if row.is_some() { 0 } else { -1 };
        status.row_count = i64::from(row.is_some());
        if into.is_empty() {
            self.sink.columns(&columns)?;
            if let Some(row) = &row {
                self.sink.row(row)?;
            }
            let rows = u64::from(row.is_some());
            self.sink.done((!self.session.status.no_count).then_some(rows))?;
            return Ok(Flow::Next);
        }
        for ((variable, column), value) in into.iter().zip(&columns).zip(row.into_iter().flatten())
        {
            let (_, ty) = self.variables.get(variable).map_err(Fault::Compile)?;
            let value = convert::convert(&value, &column.ty, ty, None)?;
            self.assign(variable, value)?;
        }
        Ok(Flow::Next)
    }

    fn whole(&mut self, number: &Expr) -> Result<i64, Fault> {
        let value = self.evaluate_as(number, &SqlType::BigInt)?;
        Ok(value.as_i64().unwrap_or(0))
    }
}

/// A place so many rows from another.
fn place(from: usize, by: i64) -> Option<usize> {
    let from = i64::try_from(from).ok()?;
    usize::try_from(from.saturating_add(by)).ok()
}

/// Runs a cursor's query to its end.
pub(super) fn read(
    env: &Env<'_>,
    variables: &Variables,
    query: &Query,
) -> Result<OpenCursor, Fault> {
    let binder = Binder::new(env, variables);
    let bound = binder.statement_query(query).map_err(of_binding)?;
    let current = &env.status.database;
    let read: Vec<Stamp> = binder
        .tables_read()
        .into_iter()
        .map(|target| {
            let database = target.elsewhere.unwrap_or_else(|| std::sync::Arc::clone(current));
            let writes = database.table_writes(target.table.id);
            (database, target.table.id, writes)
        })
        .collect();
    let mut cursor = bound.query.plan.open(None, env)?;
    let (mut rows, mut row) = (Vec::new(), Vec::new());
    while cursor.next(&mut row, None, env)? {
        env.check_interrupt()?;
        rows.push(std::mem::take(&mut row));
    }
    let columns = bound.query.columns.iter().map(|column| column.describe()).collect();
    Ok(OpenCursor { columns, rows, at: 0, read })
}
