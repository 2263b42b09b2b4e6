//! SET options and WAITFOR.

use std::time::{Duration, Instant};

use crate::engine::batch::{Executor, Flow};
use crate::engine::convert;
use crate::engine::env::Results;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::{AnsiOption, Expr, SetOption};
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

/// Longest step of a wait without a look at the client.
const WAIT_STEP: Duration = Duration::from_millis(20);

impl Executor<'_> {
    pub(crate) fn set_option(&mut self, option: &SetOption) -> Result<Flow, Fault> {
        match option {
            SetOption::Isolation(level) => {
                if let Some(open) = &mut self.session.open {
                    open.txn.set_isolation(*level)?;
                }
                self.session.status.isolation = *level;
            }
            SetOption::NoCount(on) => self.session.status.no_count = *on,
            SetOption::XactAbort(on) => self.session.status.xact_abort = *on,
            SetOption::ImplicitTransactions(on) => self.session.status.implicit_transactions = *on,
            SetOption::CursorCloseOnCommit(on) => self.session.status.cursor_close_on_commit = *on,
            SetOption::FormatOnly(on) => self.session.status.format_only = *on,
            SetOption::NoExecute(on) => self.session.status.no_execute = *on,
            SetOption::RowCount(value) => {
                let limit = self.integer(value)?.unwrap_or(0);
                self.session.status.row_limit = u64::try_from(limit).map_err(|_| {
                    let text = "SET ROWCOUNT does not accept a negative value.";
                    SqlError::new(1060, 15, 1, text)
                })?;
            }
            SetOption::LockTimeout(value) => {
                self.session.status.lock_timeout = self.integer(value)?.unwrap_or(-1).max(-1);
            }
            SetOption::TextSize(value) => {
                let size = self.integer(value)?.unwrap_or(0);
                self.session.status.text_size = if size <= 0 { i32::MAX } else { size };
            }
            SetOption::DeadlockPriority(priority) => {
                self.session.status.deadlock_priority = *priority;
            }
            SetOption::IdentityInsert(table, on) => self.identity_insert(table, *on)?,
            SetOption::Ansi(options, on) => {
                let off = &mut self.session.status.off;
                for option in options {
                    match option {
                        AnsiOption::Nulls => off.nulls = !on,
                        AnsiOption::Padding => off.padding = !on,
                        AnsiOption::Warnings => off.warnings = !on,
                        AnsiOption::Concat => off.concat = !on,
                        AnsiOption::Quoted => off.quoted = !on,
                        AnsiOption::Arithmetic => {}
                    }
                }
            }
            SetOption::Accepted => {}
        }
        self.done()
    }

    pub(crate) fn wait(&mut self, delay: &Expr) -> Result<Flow, Fault> {
        let (value, ty) = self.evaluate(delay)?;
        let from = ty.unwrap_or(SqlType::VarChar(Some(1)));
        let time = match from.family() {
            Family::Text => {
                convert::convert(&value, &from, &SqlType::Time(3), None).map_err(|_| {
                    SqlError::new(
                        148,
                        15,
                        1,
                        format!(
                            "Incorrect time syntax in time string '{}' used with WAITFOR.",
                            value.to_text().unwrap_or_default()
                        ),
                    )
                })?
            }
            _ => convert::convert(&value, &from, &SqlType::Time(3), None)?,
        };
        let Value::Time(units) = time else {
            return self.done();
        };
        let deadline = Instant::now() + Duration::from_micros(units / 10);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.done();
            }
            if self.sink.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            std::thread::sleep(left.min(WAIT_STEP));
        }
    }
}
