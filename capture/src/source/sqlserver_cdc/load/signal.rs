//! A place in the stream, marked by a row of a captured table.
//!
//! The row is inserted and deleted in one transaction: the table is as it was, nothing is left
//! behind by a crash at any line, and the change table has both under the transaction's commit LSN.
//! What was committed before the call has a lower one.

use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::model::name::{literal_mssql as literal, quote_mssql as quote};
use lockstep_common::{Failure, LogicalType};
use uuid::Uuid;

use super::super::connection::Lease;
use super::super::decode::ColumnPlan;
use super::super::fields::Fields;
use super::super::lsn::Lsn;
use super::super::statements::change_table;
use super::table::LoadTable;

/// Characters of a UUID.
const TEXT_LENGTH: u32 = 36;

/// The table of signals.
#[derive(Clone, Debug)]
pub struct Signal {
    /// In a FROM clause.
    table: String,
    /// The column that takes the text.
    column: String,
    change_table: String,
}

/// What must hold of `capture.signal_table`.
const FIX: &str = "name a captured table in capture.signal_table (schema.table) that capture \
     follows, with a varchar or nvarchar column of 36 or more characters and no other column that an \
     INSERT must give, and GRANT SELECT, INSERT, DELETE on it";

impl Signal {
    /// In a table that is followed.
    ///
    /// # Errors
    /// `Halt` when it has no column for the text.
    pub fn new(name: &str, table: &LoadTable) -> Result<Self, Failure> {
        let takes = |plan: &&ColumnPlan| {
            let own = table.source.iter().find(|column| column.name == plan.name);
            let length = match &plan.plan.logical {
                LogicalType::String { max, fixed: false } => {
                    max.is_none_or(|max| max >= TEXT_LENGTH)
                }
                LogicalType::String { max, fixed: true } => *max == Some(TEXT_LENGTH),
                _ => false,
            };
            length && own.is_some_and(|own| !own.computed)
        };
        let column = table.columns.iter().find(takes).ok_or_else(|| {
            let what = format!("signal table {name} has no captured column for a text");
            Failure::new(Code::SourceSignalTable, what).remedy(FIX)
        })?;
        Ok(Signal {
            table: table.from.clone(),
            column: quote(&column.name),
            change_table: change_table(&table.instance),
        })
    }

    /// The failure of a table that is not followed.
    pub fn not_followed(name: &str) -> Failure {
        let what = format!("signal table {name} is not among the tables that are followed");
        Failure::new(Code::SourceSignalTable, what).remedy(FIX)
    }

    /// Commits a signal and returns its text.
    pub async fn send(&self, lease: &mut Lease) -> Result<String, Failure> {
        let text = Uuid::new_v4().to_string();
        let sql = format!(
            "SET XACT_ABORT ON; {}; COMMIT TRANSACTION; SET XACT_ABORT OFF",
            self.write(&text, "")
        );
        match lease.try_batch(&sql).await {
            Ok(_) => Ok(text),
            Err(error) => Err(self.failure(lease, error)),
        }
    }

    /// Writes a signal in a transaction that stays open and keeps every other writer of the table
    /// out.
    pub async fn hold(&self, lease: &mut Lease, limit: Duration) -> Result<String, Failure> {
        let text = Uuid::new_v4().to_string();
        let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        let write = self.write(&text, " WITH (TABLOCKX, HOLDLOCK)");
        let sql = format!("SET XACT_ABORT ON; SET LOCK_TIMEOUT {limit}; {write}");
        match lease.try_batch(&sql).await {
            Ok(_) => Ok(text),
            Err(error) => Err(self.failure(lease, error)),
        }
    }

    fn write(&self, text: &str, hint: &str) -> String {
        let (table, column, text) = (&self.table, &self.column, literal(text));
        format!(
            "BEGIN TRANSACTION; INSERT INTO {table}{hint} ({column}) VALUES ({text}); \
             DELETE FROM {table} WHERE {column} = {text}"
        )
    }

    /// Where the change table has a signal, once the capture job has come to it.
    pub async fn find(&self, lease: &mut Lease, text: &str) -> Result<Option<Lsn>, Failure> {
        let sql = format!(
            "SELECT TOP (1) c.[__$start_lsn] AS lsn FROM {} AS c WHERE c.{} = {}",
            self.change_table,
            self.column,
            literal(text)
        );
        let results = lease.batch(&sql, "look for the signal").await?;
        match results.iter().flatten().next() {
            Some(row) => Fields::new(row, "the signal's change table").lsn("lsn"),
            None => Ok(None),
        }
    }

    fn failure(&self, lease: &Lease, error: tiberius::error::Error) -> Failure {
        let table = &self.table;
        match error.code() {
            // No right, a column without a value, a check, a foreign key, a unique key, read-only.
            Some(229 | 230 | 207 | 208 | 515 | 544 | 547 | 2601 | 2627 | 3906) => Failure::new(
                Code::SourceSignalTable,
                format!("cannot write to the signal table {table}"),
            )
            .remedy(FIX)
            .with_source(error),
            _ => lease.classify(error, &format!("write to the signal table {table}")),
        }
    }
}
