//! Statements that read, change, define or administer.

mod backup;
mod bulk;
mod change;
mod ddl;
mod insert;
mod merge;
mod metadata;
mod option;
mod output;
mod procedure;
mod property;
mod raise;
mod rename;
pub(in crate::engine) mod security;
mod select;
mod set;
mod table;
pub(in crate::engine) mod text_pointer;

pub use ddl::database::option_key;
pub use ddl::types::{check_release, declared};
pub use metadata::is_catalogue_procedure;
pub use procedure::Called;
pub use select::first_select;

use super::batch::{Executor, Flow};
use super::fault::Fault;
use crate::StatementKind;

impl Executor<'_> {
    /// A statement that counted rows has ended.
    fn counted(&mut self, kind: StatementKind, rows: u64) -> Result<Flow, Fault> {
        self.session.status.row_count = i64::try_from(rows).unwrap_or(i64::MAX);
        self.report(kind, rows)?;
        Ok(Flow::Next)
    }

    fn report(&self, kind: StatementKind, rows: u64) -> Result<(), Fault> {
        use super::env::Results;
        self.sink.statement(kind);
        let shown = (!self.session.status.no_count).then_some(rows);
        Ok(self.sink.done(shown)?)
    }
}
