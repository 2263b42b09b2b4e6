//! What SET options do to the statements after them: IMPLICIT_TRANSACTIONS, FMTONLY, NOEXEC and
//! ROWCOUNT.

use super::{Executor, Stop};
use crate::Value;
use crate::engine::bind::{has_subquery, unsupported};
use crate::engine::fault::Fault;
use crate::engine::statement::is_catalogue_procedure;
use crate::engine::syntax::ast::{
    Query, QueryBody, SelectItem, SetOption, Statement, StatementKind,
};

impl Executor<'_> {
    /// Whether a statement is not run in the ordinary way.
    ///
    /// # Errors
    /// What stops the batch.
    pub(super) fn passed_over(&mut self, statement: &Statement) -> Result<bool, Stop> {
        let status = &self.session.status;
        if status.no_execute {
            let ends =
                matches!(statement.kind, StatementKind::SetOption(SetOption::NoExecute(false)));
            return Ok(!ends);
        }
        match status.format_only {
            true => self.format_only(statement),
            false => Ok(false),
        }
    }

    /// FMTONLY: every branch is gone through, and nothing runs but what tells of columns.
    fn format_only(&mut self, statement: &Statement) -> Result<bool, Stop> {
        match &statement.kind {
            StatementKind::Block(body) => {
                self.run(body)?;
            }
            StatementKind::If { then, otherwise, .. } => {
                self.statement(then)?;
                if let Some(otherwise) = otherwise {
                    self.statement(otherwise)?;
                }
            }
            StatementKind::While { body, .. } => {
                self.statement(body)?;
            }
            StatementKind::TryCatch { attempt, handler } => {
                self.run(attempt)?;
                self.run(handler)?;
            }
            StatementKind::Declare(declarations) => {
                for declaration in declarations {
                    match self.type_of(declaration) {
                        Ok(ty) => self.declare(&declaration.name, &ty, Value::Null),
                        Err(fault) => self.fail(fault, statement.line)?,
                    }
                }
            }
            StatementKind::Select(_)
            | StatementKind::SetOption(_)
            | StatementKind::DeclareTable { .. }
            | StatementKind::Use(_)
            | StatementKind::ExecuteText(_) => return Ok(false),
            StatementKind::Execute(execute) => {
                return Ok(!is_catalogue_procedure(&execute.procedure.name));
            }
            _ => {}
        }
        Ok(true)
    }

    /// Begins the transaction that IMPLICIT_TRANSACTIONS wants around a statement, and refuses
    /// what ROWCOUNT would make another statement of.
    pub(super) fn before(&mut self, kind: &StatementKind) -> Result<(), Fault> {
        let status = &self.session.status;
        let changes = matches!(
            kind,
            StatementKind::Insert(_)
                | StatementKind::Update(_)
                | StatementKind::Delete(_)
                | StatementKind::Merge(_)
        );
        if changes && status.row_limit > 0 {
            return Err(Fault::Compile(unsupported("a change under SET ROWCOUNT")));
        }
        let begins = match kind {
            StatementKind::Select(query) => reads_tables(query),
            // A BEGIN TRANSACTION finds itself in the transaction that it has made necessary.
            StatementKind::Begin(_)
            | StatementKind::Truncate(_)
            | StatementKind::WriteText(_)
            | StatementKind::Ddl(_)
            | StatementKind::Security(_) => true,
            _ => changes,
        };
        if !begins || !status.implicit_transactions || self.session.open.is_some() {
            return Ok(());
        }
        let change = self.session.begin(None);
        self.tell(change)
    }
}

/// Whether a query looks into a table: a SELECT of constants begins no transaction.
fn reads_tables(query: &Query) -> bool {
    fn reads(body: &QueryBody) -> bool {
        match body {
            QueryBody::Set(_, left, right) => reads(left) || reads(right),
            QueryBody::Select(select) => {
                !select.from.is_empty()
                    || select.filter.as_ref().is_some_and(has_subquery)
                    || select.items.iter().any(|item| match item {
                        SelectItem::Wildcard(_) => false,
                        SelectItem::Value { value, .. } | SelectItem::Assign { value, .. } => {
                            has_subquery(value)
                        }
                    })
            }
        }
    }
    !query.with.is_empty() || reads(&query.body)
}
