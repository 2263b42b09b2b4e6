//! SELECT.

use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{Binder, BoundSelect};
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::Query;
use crate::{Column, StatementKind};

impl Executor<'_> {
    pub(crate) fn select(&mut self, query: &Query) -> Result<Flow, Fault> {
        let (rows, assigns) = self.with_env(false, |env, variables| {
            let bound = Binder::new(env, variables).statement_query(query).map_err(of_binding)?;
            match &bound.assigned {
                Some(variables) => Ok((assign(env, &bound, variables)?, true)),
                None => Ok((send(env, &bound)?, false)),
            }
        })?;
        if assigns {
            self.session.status.row_count = i64::try_from(rows).unwrap_or(i64::MAX);
            return Ok(Flow::Next);
        }
        self.counted(StatementKind::Select, rows)
    }
}

/// SET ROWCOUNT.
fn row_limit(env: &Env<'_>) -> u64 {
    match env.status.row_limit {
        0 => u64::MAX,
        limit => limit,
    }
}

/// Sends the rows.
fn send(env: &Env<'_>, bound: &BoundSelect) -> Result<u64, Fault> {
    let columns: Vec<Column> = bound.query.columns.iter().map(|column| column.describe()).collect();
    let mut cursor = bound.query.plan.open(None, env)?;
    env.sink.columns(&columns)?;
    let (mut row, mut count) = (Vec::new(), 0);
    let limit = if env.status.format_only { 0 } else { row_limit(env) };
    while count < limit && cursor.next(&mut row, None, env)? {
        env.sink.row(&row)?;
        count += 1;
    }
    Ok(count)
}

/// Assigns each row's values; the last row's stay.
fn assign(env: &Env<'_>, bound: &BoundSelect, variables: &[usize]) -> Result<u64, Fault> {
    let mut cursor = bound.query.plan.open(None, env)?;
    let (mut row, mut count) = (Vec::new(), 0);
    while count < row_limit(env) && cursor.next(&mut row, None, env)? {
        for (at, value) in variables.iter().zip(row.drain(..)) {
            env.set_variable(*at, value);
        }
        count += 1;
    }
    Ok(count)
}
