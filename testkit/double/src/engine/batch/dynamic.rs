//! Batches inside batches: EXEC of a text and `sp_executesql`, and INSERT … EXEC.

use std::cell::RefCell;

use super::{Executor, Flow, Stop};
use crate::engine::bind::Variables;
use crate::engine::env::Outlet;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::{Expr, StatementKind};
use crate::{Cancelled, Column, EnvChange, Param, ResultSink, SqlError, SqlType, Value};

/// Nesting of EXEC, as SQL Server limits it.
const MAX_NESTING: u32 = 32;

impl Executor<'_> {
    pub(in crate::engine) fn execute_text(&mut self, text: &Expr) -> Result<Flow, Fault> {
        let text = self.evaluate_as(text, &SqlType::NVarChar(None))?;
        let text = text.to_text().unwrap_or_default();
        self.run_text(&text, Vec::new())?;
        Ok(Flow::Next)
    }

    /// Runs a text in a scope of its own with parameters; answers their values at its end. Errors
    /// of its text are errors of the run for the batch around it.
    pub(in crate::engine) fn run_text(
        &mut self,
        text: &str,
        params: Vec<Param>,
    ) -> Result<Vec<Param>, Fault> {
        if self.nesting >= MAX_NESTING {
            return Err(SqlError::new(
                217,
                16,
                1,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            )
            .into());
        }
        let batch = self.session.parse(text)?;
        let database = self.session.status.database.name();
        let scope = self.session.begin_scope();
        let sink = self.sink.reborrow();
        let mut inner = Executor {
            scope,
            session: &mut *self.session,
            batch: &batch,
            sink,
            variables: Variables::default(),
            values: RefCell::default(),
            tries: 0,
            tried_outside: self.tries > 0 || self.tried_outside,
            nesting: self.nesting + 1,
            collected: self.collected,
        };
        inner.take_params(&params)?;
        let outcome = inner.run(&batch.statements);
        inner.session.end_scope(scope);
        let mut results = params;
        for param in &mut results {
            if let Some((at, _)) = inner.variables.find(&param.name) {
                param.value = inner.values.borrow()[at].clone();
            }
        }
        // USE inside lasts as long as the inner batch.
        if self.session.status.database.name() != database && self.session.open.is_none() {
            let change = self.session.use_database(&database)?;
            self.tell(Some(change))?;
        }
        match outcome {
            Ok(_) => Ok(results),
            Err(Stop::Cancelled) => Err(Fault::Cancelled),
            Err(Stop::Caught(error)) => Err(Fault::Run(error)),
            // The inner batch is over and the client knows why; a batch whose transaction was
            // rolled back is over as well.
            Err(Stop::Aborted) => Ok(results),
        }
    }

    /// Runs the EXEC of an INSERT and keeps its results instead of sending them.
    ///
    /// # Errors
    /// 8164 inside of another one, and those of the call.
    pub(in crate::engine) fn collect(
        &mut self,
        call: &StatementKind,
    ) -> Result<Vec<ResultSet>, Fault> {
        if self.collected {
            let text = "An INSERT EXEC statement cannot be nested.";
            return Err(SqlError::new(8164, 16, 1, text).into());
        }
        let mut collector = Collector { outer: self.sink.reborrow(), sets: Vec::new() };
        let mut inner = Executor {
            scope: self.scope,
            session: &mut *self.session,
            batch: self.batch,
            sink: Outlet::new(&mut collector),
            variables: std::mem::take(&mut self.variables),
            values: std::mem::take(&mut self.values),
            tries: self.tries,
            tried_outside: self.tried_outside,
            nesting: self.nesting,
            collected: true,
        };
        let outcome = match call {
            StatementKind::Execute(execute) => inner.execute(execute),
            StatementKind::ExecuteText(text) => inner.execute_text(text),
            _ => Err(crate::engine::expr::internal("INSERT … EXEC").into()),
        };
        let (variables, values) = (inner.variables, inner.values);
        let sets = collector.sets;
        (self.variables, self.values) = (variables, values);
        outcome.map(|_| sets)
    }
}

/// A result that an INSERT … EXEC takes.
pub struct ResultSet {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Vec<Value>>,
}

/// Keeps rows; messages and changes of the session go on to the client.
struct Collector<'a> {
    outer: Outlet<'a>,
    sets: Vec<ResultSet>,
}

impl ResultSink for Collector<'_> {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.sets.push(ResultSet { columns: columns.to_vec(), rows: Vec::new() });
        Ok(())
    }

    fn row(&mut self, row: &[Value]) -> Result<(), Cancelled> {
        if let Some(set) = self.sets.last_mut() {
            set.rows.push(row.to_vec());
        }
        Ok(())
    }

    fn done(&mut self, _: Option<u64>) -> Result<(), Cancelled> {
        Ok(())
    }

    fn message(&mut self, message: &SqlError) -> Result<(), Cancelled> {
        self.outer.get_mut().message(message)
    }

    fn env_change(&mut self, change: &EnvChange) -> Result<(), Cancelled> {
        self.outer.get_mut().env_change(change)
    }

    fn is_cancelled(&self) -> bool {
        use crate::engine::env::Results;
        self.outer.is_cancelled()
    }

    fn return_status(&mut self, _: i32) -> Result<(), Cancelled> {
        Ok(())
    }

    fn return_value(&mut self, _: &Param) -> Result<(), Cancelled> {
        Ok(())
    }
}
