//! SELECT.

use super::ddl::create::create_table_into;
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{Binder, Bound, BoundSelect, unsupported};
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::plan::OutputColumn;
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{ObjectName, Query, QueryBody, Select, TableRef};
use crate::engine::write::{RowRules, Verb};
use crate::storage::Identity;
use crate::{Column, Origin, StatementKind, Value};

impl Executor<'_> {
    pub(crate) fn select(&mut self, query: &Query) -> Result<Flow, Fault> {
        let select = first_select(&query.body);
        if let Some(into) = &select.into {
            let rows = self.with_env(true, |env, variables| {
                select_into(&Binder::new(env, variables), query, select, into)
            })?;
            return self.counted(StatementKind::Select, rows);
        }
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

/// The first SELECT of a query, which may have INTO.
pub fn first_select(body: &QueryBody) -> &Select {
    match body {
        QueryBody::Select(select) => select,
        QueryBody::Set(_, left, _) => first_select(left),
    }
}

/// SELECT … INTO: a table of the query's columns, and its rows in it.
fn select_into(
    binder: &Binder<'_, '_>,
    query: &Query,
    select: &Select,
    into: &ObjectName,
) -> Result<u64, Fault> {
    let env = binder.env;
    binder.take_into();
    let bound = binder.statement_query(query).map_err(of_binding)?;
    if bound.assigned.is_some() {
        return Err(Fault::Compile(unsupported("assignment in SELECT … INTO")));
    }
    let columns = &bound.query.columns;
    let identity = inherited_identity(binder, query, select, columns).map_err(of_binding)?;
    // What the query sees is fixed before its table is there.
    env.view()?;
    let table = create_table_into(env, into, columns, identity)?;
    let rules = RowRules::new(binder, &table).map_err(of_binding)?;
    let mut cursor = bound.query.plan.open(None, env)?;
    let (mut row, mut count) = (Vec::new(), 0);
    while count < row_limit(env) && cursor.next(&mut row, None, env)? {
        env.check_interrupt()?;
        let mut values = Vec::with_capacity(row.len());
        for (at, value) in row.drain(..).enumerate() {
            values.push(rules.assign(at, value, &table.columns[at].ty)?);
        }
        if let Some((at, _)) = identity
            && let Some(value) = values[at].as_i64()
        {
            env.with_txn(|txn| txn.note_identity(table.id, value));
        }
        let row = rules.complete(values, Verb::Insert, env)?;
        env.with_txn(|txn| txn.insert(table.id, row))?;
        count += 1;
    }
    Ok(count)
}

/// The identity column that the new table takes over: the only one, straight from a single table.
fn inherited_identity(
    binder: &Binder<'_, '_>,
    query: &Query,
    select: &Select,
    columns: &[OutputColumn],
) -> Bound<Option<(usize, Identity)>> {
    let single = matches!(&query.body, QueryBody::Select(_));
    let [TableRef::Named { name, .. }] = select.from.as_slice() else {
        return Ok(None);
    };
    let mut found =
        columns.iter().enumerate().filter(|(_, column)| column.origin == Origin::Identity);
    let (Some((at, _)), None, true) = (found.next(), found.next(), single) else {
        return Ok(None);
    };
    if binder.object(name)?.table.is_view() {
        return Err(unsupported("an identity column through a view in SELECT … INTO"));
    }
    let target = binder.resolve(name, Permission::Select)?;
    Ok(target.table.columns.iter().find_map(|column| column.identity).map(|own| (at, own)))
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
        cut_to_text_size(env, &columns, &mut row);
        env.sink.row(&row)?;
        count += 1;
    }
    Ok(count)
}

/// SET TEXTSIZE: the most bytes of a MAX type, `text`, `ntext` or `image` that a SELECT sends.
fn cut_to_text_size(env: &Env<'_>, columns: &[Column], row: &mut [Value]) {
    let limit = match usize::try_from(env.status.text_size) {
        Ok(limit) if env.status.text_size < i32::MAX => limit,
        _ => return,
    };
    for (column, value) in columns.iter().zip(row) {
        if !column.ty.is_max() && !column.ty.is_old_lob() {
            continue;
        }
        *value = match &*value {
            Value::String(text) if text.len() > limit => {
                let cut = text.label().page().cut(text, limit);
                Value::String(cut.into()).of_collation(text.label())
            }
            Value::NString(text) if 2 * text.len() > limit => {
                Value::NString(text[..limit / 2].into()).of_collation(text.label())
            }
            Value::Binary(bytes) if bytes.len() > limit => Value::binary(&bytes[..limit]),
            _ => continue,
        };
    }
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
