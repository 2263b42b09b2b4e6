//! INSERT.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use super::output::{bind_output, finish_output};
use crate::engine::batch::dynamic::ResultSet;
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{Binder, Bound, Scope, unsupported};
use crate::engine::env::Env;
use crate::engine::expr::{Frame, Node, Typed};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::plan::RowPlan;
use crate::engine::references;
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{Expr, Insert, InsertSource, InsertTarget};
use crate::engine::table_variable::TableVariable;
use crate::engine::write::{RowRules, Verb, default_of};
use crate::storage::{Row, TableDef, TableLock};
use crate::{Column, SqlError, SqlType, StatementKind, Value};

/// Where each column of a new row comes from.
pub(super) struct Shape {
    /// Positions of the columns that the source gives, in its order.
    pub(super) given: Vec<usize>,
    /// Defaults of the others.
    defaults: Vec<(usize, Typed)>,
    /// Position of an identity column that is not given.
    identity: Option<usize>,
    /// Position of an identity column that is.
    pub(super) explicit_identity: Option<usize>,
}

/// The rows of an INSERT's source and their columns' types.
pub(super) struct Source {
    pub(super) plan: RowPlan,
    pub(super) types: Vec<Option<SqlType>>,
}

/// Result of changing rows.
pub struct Changed {
    /// Rows changed.
    pub rows: u64,
    /// Rows of OUTPUT, and their columns, for the client.
    pub output: Option<(Vec<Column>, Vec<Vec<Value>>)>,
    /// Last identity value.
    pub identity: Option<i64>,
}

impl Executor<'_> {
    pub(crate) fn insert(&mut self, insert: &Insert) -> Result<Flow, Fault> {
        let sets = match &insert.source {
            InsertSource::Execute(call) => {
                // A target that is not there is found before anything runs.
                self.with_env(false, |env, variables| {
                    destination(&Binder::new(env, variables), &insert.target).map(|_| ())
                })?;
                self.collect(call)?
            }
            _ => Vec::new(),
        };
        let writes = matches!(insert.target, InsertTarget::Table(_));
        let changed = self.with_env(writes, |env, variables| {
            let binder = Binder::new(env, variables);
            insert_rows(&binder, insert, sets)
        })?;
        if changed.identity.is_some() {
            self.session.status.identity = changed.identity;
        }
        self.changed(StatementKind::Insert, changed)
    }

    /// Sends what a change has to say.
    pub(super) fn changed(&mut self, kind: StatementKind, changed: Changed) -> Result<Flow, Fault> {
        use crate::engine::env::Results;
        if let Some((columns, rows)) = &changed.output {
            self.sink.columns(columns)?;
            for row in rows {
                self.sink.row(row)?;
            }
        }
        self.counted(kind, changed.rows)
    }
}

/// Where rows go.
pub(super) enum Destination {
    Table(Arc<TableDef>),
    Variable(Rc<TableVariable>),
}

impl Destination {
    pub(super) fn table(&self) -> &Arc<TableDef> {
        match self {
            Destination::Table(table) => table,
            Destination::Variable(variable) => variable.table(),
        }
    }

    fn next_identity(&self, env: &Env<'_>) -> Result<i64, SqlError> {
        match self {
            Destination::Table(table) => env.with_txn(|txn| txn.next_identity(table.id)),
            Destination::Variable(variable) => Ok(variable.next_identity()),
        }
    }

    /// Takes a row; one of a variable waits until the whole statement has succeeded.
    fn insert(&self, env: &Env<'_>, row: &Row) -> Result<(), SqlError> {
        match self {
            Destination::Table(table) => {
                env.with_txn(|txn| txn.insert(table.id, Row::clone(row)))?;
                Ok(())
            }
            Destination::Variable(_) => Ok(()),
        }
    }

    /// Whether [`complete`](Self::complete) looks at the rows.
    fn needs_rows(&self) -> bool {
        match self {
            Destination::Table(table) => !table.foreign_keys.is_empty(),
            Destination::Variable(_) => true,
        }
    }

    /// The statement has its rows, where they are needed.
    fn complete(&self, env: &Env<'_>, rows: &[Row]) -> Result<(), Fault> {
        match self {
            Destination::Table(table) => {
                let changes: Vec<(Option<Row>, Row)> =
                    rows.iter().map(|row| (None, Row::clone(row))).collect();
                Ok(references::check_referenced(env, table, &changes, Verb::Insert)?)
            }
            Destination::Variable(variable) => {
                variable.add(rows);
                Ok(())
            }
        }
    }
}

pub(super) fn destination(
    binder: &Binder<'_, '_>,
    target: &InsertTarget,
) -> Result<Destination, Fault> {
    let name = match target {
        InsertTarget::Table(name) => name,
        InsertTarget::Variable(name) => {
            let variable = binder.variables.table(name).map_err(Fault::Compile)?;
            return Ok(Destination::Variable(Rc::clone(variable)));
        }
    };
    let target = binder.resolve(name, Permission::Insert).map_err(of_binding)?;
    if target.elsewhere.is_some() {
        return Err(Fault::Compile(unsupported("INSERT into another database")));
    }
    Ok(Destination::Table(target.table))
}

fn insert_rows(
    binder: &Binder<'_, '_>,
    insert: &Insert,
    sets: Vec<ResultSet>,
) -> Result<Changed, Fault> {
    let env = binder.env;
    binder.take_ctes(&insert.with, None);
    let destination = destination(binder, &insert.target)?;
    let table = Arc::clone(destination.table());
    if insert.hints.table_exclusive || insert.hints.table_lock {
        env.with_txn(|txn| txn.lock_table(table.id, TableLock::Exclusive))?;
    }
    let identity_on = env.status.identity_insert == Some((env.status.database.id(), table.id));
    let shape = shape(binder, &table, &insert.columns, identity_on).map_err(of_binding)?;
    refuse_row_version(insert, &table, &shape).map_err(of_binding)?;
    let sources = match &insert.source {
        InsertSource::Execute(_) => executed(insert, &shape, sets).map_err(of_binding)?,
        _ => vec![source(binder, insert, &table, &shape).map_err(of_binding)?],
    };
    let rules = RowRules::new(binder, &table).map_err(of_binding)?;
    let output = match &insert.output {
        Some(output) => {
            Some(bind_output(binder, output, &table, &["inserted"]).map_err(of_binding)?)
        }
        None => None,
    };
    let inserted = run(env, &destination, &rules, &shape, &sources, output.is_some())?;
    if matches!(insert.target, InsertTarget::Table(_)) {
        env.escalate(table.id, usize::try_from(inserted.count).unwrap_or(usize::MAX));
    }
    let mut rows_out = Vec::new();
    if let Some(output) = &output {
        for row in &inserted.rows {
            rows_out.push(output.row(env, &[Row::clone(row)])?);
        }
    }
    let output = finish_output(binder, output, rows_out)?;
    Ok(Changed { rows: inserted.count, output, identity: inserted.identity })
}

pub(super) fn shape(
    binder: &Binder<'_, '_>,
    table: &Arc<TableDef>,
    names: &[String],
    identity_on: bool,
) -> Bound<Shape> {
    let identity = table.columns.iter().position(|column| column.identity.is_some());
    let mut given = Vec::new();
    for name in names {
        let at = table
            .position(name)
            .ok_or_else(|| SqlError::new(207, 16, 1, format!("Invalid column name '{name}'.")))?;
        if given.contains(&at) {
            return Err(SqlError::new(
                264,
                16,
                1,
                format!(
                    "The column name '{name}' is specified more than once in the SET clause or column list of an INSERT. A column cannot be assigned more than one value in the same clause."
                ),
            ));
        }
        if table.columns[at].computed.is_some() {
            return Err(computed_column(name));
        }
        given.push(at);
    }
    if names.is_empty() {
        if identity_on {
            return Err(SqlError::new(
                8101,
                16,
                1,
                format!(
                    "An explicit value for the identity column in table '{}' can only be specified when a column list is used and IDENTITY_INSERT is ON.",
                    table.name
                ),
            ));
        }
        given = (0..table.columns.len())
            .filter(|at| table.columns[*at].computed.is_none() && Some(*at) != identity)
            .collect();
    }
    let explicit_identity = identity.filter(|at| given.contains(at));
    if explicit_identity.is_some() && !identity_on {
        return Err(SqlError::new(
            544,
            16,
            1,
            format!(
                "Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.",
                table.name
            ),
        ));
    }
    if identity.is_some() && explicit_identity.is_none() && identity_on {
        return Err(SqlError::new(
            545,
            16,
            1,
            format!(
                "Explicit value must be specified for identity column in table '{}' either when IDENTITY_INSERT is set to ON or when a replication user is inserting into a NOT FOR REPLICATION identity column.",
                table.name
            ),
        ));
    }
    let mut defaults = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        if !given.contains(&at) && column.identity.is_none() && column.default.is_some() {
            defaults.push((at, default_of(binder, table, at)?));
        }
    }
    Ok(Shape {
        given,
        defaults,
        identity: identity.filter(|_| explicit_identity.is_none()),
        explicit_identity,
    })
}

/// Error 271.
pub fn computed_column(name: &str) -> SqlError {
    SqlError::new(
        271,
        16,
        1,
        format!(
            "The column \"{name}\" cannot be modified because it is either a computed column or is the result of a UNION operator."
        ),
    )
}

fn source(
    binder: &Binder<'_, '_>,
    insert: &Insert,
    table: &Arc<TableDef>,
    shape: &Shape,
) -> Bound<Source> {
    let scope = Scope::inside(None);
    let width = |count: usize| -> Bound<()> {
        if count == shape.given.len() {
            return Ok(());
        }
        Err(match (insert.columns.is_empty(), count > shape.given.len()) {
            (true, _) => SqlError::new(
                213,
                16,
                1,
                "Column name or number of supplied values does not match table definition.",
            ),
            (false, true) => SqlError::new(
                110,
                15,
                1,
                "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.",
            ),
            (false, false) => SqlError::new(
                109,
                15,
                1,
                "There are more columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.",
            ),
        })
    };
    let mut source = match &insert.source {
        InsertSource::Execute(_) => return Err(unsupported("EXEC")),
        InsertSource::Defaults => {
            let mut row = Vec::new();
            let mut types = Vec::new();
            for at in &shape.given {
                let value = default_of(binder, table, *at)?;
                types.push(value.ty.clone());
                row.push(value.node);
            }
            Source { plan: RowPlan::Values(vec![row]), types }
        }
        InsertSource::Values(rows) => {
            for row in rows {
                width(row.len())?;
            }
            values(binder, rows, table, shape, &scope)?
        }
        InsertSource::Query(query) => {
            let bound = binder.statement_query(query)?;
            if bound.assigned.is_some() {
                return Err(unsupported("assignment in INSERT … SELECT"));
            }
            width(bound.query.columns.len())?;
            Source {
                types: bound.query.columns.iter().map(|column| column.ty.clone()).collect(),
                plan: bound.query.plan,
            }
        }
    };
    if let Some(top) = &insert.top {
        let count = binder.scalar(top, &scope)?.converted(&SqlType::BigInt);
        source.plan =
            RowPlan::Limit { input: Box::new(source.plan), offset: None, count: Some(count.node) };
    }
    Ok(source)
}

/// Whether a value leaves the column to the server.
pub(super) fn set_by_server(value: &Expr) -> bool {
    matches!(value, Expr::Default | Expr::Literal(Value::Null, _))
}

/// Error 273.
pub(super) fn explicit_row_version() -> SqlError {
    SqlError::new(
        273,
        16,
        1,
        "Cannot insert an explicit value into a timestamp column. Use INSERT with a column list to exclude the timestamp column, or insert a DEFAULT into the timestamp column.",
    )
}

/// Error 273: a value for the column that the server sets.
fn refuse_row_version(insert: &Insert, table: &TableDef, shape: &Shape) -> Bound<()> {
    let Some(place) =
        shape.given.iter().position(|at| table.columns[*at].ty == SqlType::RowVersion)
    else {
        return Ok(());
    };
    let allowed = match &insert.source {
        InsertSource::Defaults => true,
        InsertSource::Values(rows) => {
            rows.iter().filter_map(|row| row.get(place)).all(set_by_server)
        }
        InsertSource::Query(_) | InsertSource::Execute(_) => false,
    };
    if allowed {
        return Ok(());
    }
    Err(explicit_row_version())
}

/// The results of an EXEC, each of which must fit.
fn executed(insert: &Insert, shape: &Shape, sets: Vec<ResultSet>) -> Bound<Vec<Source>> {
    if insert.top.is_some() {
        return Err(unsupported("TOP in INSERT … EXEC"));
    }
    let sources = sets.into_iter().map(|set| {
        if set.columns.len() != shape.given.len() {
            return Err(SqlError::new(
                213,
                16,
                7,
                "Column name or number of supplied values does not match table definition.",
            ));
        }
        let constants = |row: Vec<Value>| row.into_iter().map(Node::Constant).collect();
        Ok(Source {
            plan: RowPlan::Values(set.rows.into_iter().map(constants).collect()),
            types: set.columns.into_iter().map(|column| Some(column.ty)).collect(),
        })
    });
    sources.collect()
}

/// VALUES: DEFAULT stands for the column's own; other columns take their rows' common type.
fn values(
    binder: &Binder<'_, '_>,
    rows: &[Vec<Expr>],
    table: &Arc<TableDef>,
    shape: &Shape,
    scope: &Scope<'_>,
) -> Bound<Source> {
    // One row needs no common type, and keeps the error of its own conversion.
    let has_default = rows.iter().flatten().any(|value| *value == Expr::Default);
    if rows.len() == 1 || has_default {
        let mut nodes = Vec::new();
        let mut types: Vec<Option<SqlType>> = vec![None; shape.given.len()];
        for row in rows {
            let mut bound = Vec::new();
            for (place, (value, at)) in row.iter().zip(&shape.given).enumerate() {
                let typed = match value {
                    Expr::Default => default_of(binder, table, *at)?,
                    other => binder.shown(other, scope)?,
                };
                if rows.len() == 1 {
                    types[place].clone_from(&typed.ty);
                    bound.push(typed.node);
                } else {
                    // Several rows with DEFAULT among them: each value takes the column's type.
                    types[place] = Some(table.columns[*at].ty.clone());
                    let ty = &table.columns[*at].ty;
                    bound.push(crate::engine::bind::types::implicit(typed, ty)?.node);
                }
            }
            nodes.push(bound);
        }
        return Ok(Source { plan: RowPlan::Values(nodes), types });
    }
    let (columns, nodes) = binder.value_rows(rows, scope)?;
    Ok(Source {
        plan: RowPlan::Values(nodes),
        types: columns.into_iter().map(|(ty, _)| ty).collect(),
    })
}

pub(super) struct Inserted {
    /// Whether the rows are kept.
    keeps: bool,
    rows: Vec<Row>,
    pub(super) count: u64,
    identity: Option<i64>,
}

pub(super) fn run(
    env: &Env<'_>,
    destination: &Destination,
    rules: &RowRules,
    shape: &Shape,
    sources: &[Source],
    keeps: bool,
) -> Result<Inserted, Fault> {
    let keeps = keeps || destination.needs_rows();
    let mut inserted = Inserted { keeps, rows: Vec::new(), count: 0, identity: None };
    for source in sources {
        run_source(env, destination, rules, shape, source, &mut inserted)?;
    }
    destination.complete(env, &inserted.rows)?;
    Ok(inserted)
}

fn run_source(
    env: &Env<'_>,
    destination: &Destination,
    rules: &RowRules,
    shape: &Shape,
    source: &Source,
    inserted: &mut Inserted,
) -> Result<(), Fault> {
    let table = &rules.table;
    for (at, ty) in shape.given.iter().zip(&source.types) {
        if let Some(from) = ty
            && !crate::engine::convert::implicit_allowed(from, &table.columns[*at].ty)
        {
            return Err(Fault::Compile(crate::engine::bind::types::not_implicit(
                from,
                &table.columns[*at].ty,
            )));
        }
    }
    let mut insert = |given: Vec<Value>| -> Result<(), Fault> {
        env.check_interrupt()?;
        let values = (given, source.types.as_slice());
        let (row, identity) = new_row(env, destination, rules, shape, values, Verb::Insert)?;
        inserted.identity = identity.or(inserted.identity);
        destination.insert(env, &row)?;
        inserted.count += 1;
        if inserted.keeps {
            inserted.rows.push(row);
        }
        Ok(())
    };
    // What the statement sees is fixed before its first row comes in, so that it never meets its
    // own rows; but a scan that locks meets rows as they are, and is read to its end before.
    let mut cursor = source.plan.open(None, env)?;
    let mut row = Vec::new();
    if !env.reads_current() {
        env.view()?;
        while cursor.next(&mut row, None, env)? {
            insert(std::mem::take(&mut row))?;
        }
        return Ok(());
    }
    let mut sources = Vec::new();
    while cursor.next(&mut row, None, env)? {
        sources.push(std::mem::take(&mut row));
    }
    drop(cursor);
    sources.into_iter().try_for_each(insert)
}

/// A new row of what its source gives (with the types of that), and its identity value.
pub(super) fn new_row(
    env: &Env<'_>,
    destination: &Destination,
    rules: &RowRules,
    shape: &Shape,
    (given, types): (Vec<Value>, &[Option<SqlType>]),
    verb: Verb,
) -> Result<(Row, Option<i64>), SqlError> {
    let table = &rules.table;
    let mut values = vec![Value::Null; table.columns.len()];
    for ((at, value), from) in shape.given.iter().zip(given).zip(types) {
        let from = from.as_ref().unwrap_or(&table.columns[*at].ty);
        values[*at] = rules.assign(*at, value, from)?;
    }
    for (at, default) in &shape.defaults {
        let value = default.node.eval(&Frame::empty(), env).map(Cow::into_owned)?;
        values[*at] = rules.assign(*at, value, &default.type_or_int())?;
    }
    let mut identity = None;
    if let Some(at) = shape.identity {
        let next = destination.next_identity(env)?;
        values[at] = identity_value(next, &table.columns[at].ty)?;
        identity = Some(next);
    }
    if let Some(at) = shape.explicit_identity
        && let Some(value) = whole(&values[at])
    {
        env.with_txn(|txn| txn.note_identity(table.id, value));
        identity = Some(value);
    }
    Ok((rules.complete(values, verb, env)?, identity))
}

fn identity_value(next: i64, ty: &SqlType) -> Result<Value, SqlError> {
    crate::engine::convert::convert(&Value::BigInt(next), &SqlType::BigInt, ty, None)
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Decimal { unscaled, scale: 0 } => i64::try_from(*unscaled).ok(),
        other => other.as_i64(),
    }
}
