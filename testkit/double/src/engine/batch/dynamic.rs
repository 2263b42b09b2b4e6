//! Batches inside batches: EXEC of a text and `sp_executesql`.

use std::cell::RefCell;

use super::{Executor, Flow, Stop};
use crate::engine::bind::Variables;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::Expr;
use crate::{Param, SqlError, SqlType};

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
        let batch = self.session.shared.parse(text)?;
        let database = self.session.status.database.name();
        let sink = self.sink.reborrow();
        let mut inner = Executor {
            session: &mut *self.session,
            batch: &batch,
            sink,
            variables: Variables::default(),
            values: RefCell::default(),
            tries: 0,
            tried_outside: self.tries > 0 || self.tried_outside,
            nesting: self.nesting + 1,
        };
        inner.take_params(&params)?;
        let outcome = inner.run(&batch.statements);
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
}
