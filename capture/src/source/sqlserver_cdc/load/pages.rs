//! A range read by statements that lock, beside writers.
//!
//! Each statement reads few rows, by the key's index, and is read to its end before any of them is handed
//! on: its locks last as long as the server takes, not as long as the log does. A statement begins after
//! the last key of the one before, so that together they read the range as one would.
//!
//! Rows are held in memory meanwhile. How many a statement asks for follows from how large the rows
//! before were; a table with MAX values begins with a few.

use lockstep_common::Code;
use lockstep_common::model::load::ChunkRange;
use lockstep_common::model::name::quote_mssql as quote;
use lockstep_common::{Failure, Value};
use tiberius::{Row, ToSql};

use super::super::connection::Lease;
use super::super::fields::Fields;
use super::super::statements::MOST_LOCKED_ROWS;
use super::super::types::Recording;
use super::key::Parameter;
use super::range::{self, Bounds};
use super::table::{LoadTable, row_weight};

/// Rows of the first statement of a table whose rows may be large.
const FEW_ROWS: usize = 16;
/// Bytes that a statement's rows should have together.
const PAGE_BYTES: usize = 4 << 20;

/// What is left of a range.
pub struct Pages {
    hint: String,
    lower: Option<Vec<Value<'static>>>,
    upper: Option<Vec<Value<'static>>>,
    rows: usize,
    done: bool,
}

impl Pages {
    /// Of a range of `table`.
    ///
    /// # Errors
    /// `Retry` when the index of the table's key is not there any more.
    pub async fn new(
        table: &LoadTable,
        lease: &mut Lease,
        range: &ChunkRange,
    ) -> Result<Self, Failure> {
        let large = table.columns.iter().any(|c| c.plan.recording != Recording::Always);
        let most = usize::try_from(MOST_LOCKED_ROWS).unwrap_or(usize::MAX);
        Ok(Pages {
            hint: format!(" WITH (INDEX({}))", quote(&key_index(table, lease).await?)),
            lower: range.lower.clone(),
            upper: range.upper.clone(),
            rows: if large { FEW_ROWS } else { most },
            done: false,
        })
    }

    /// The next rows, none at the end.
    pub async fn next(
        &mut self,
        table: &LoadTable,
        lease: &mut Lease,
    ) -> Result<Option<Vec<Row>>, Failure> {
        if self.done {
            return Ok(None);
        }
        let key = table.key.as_ref().map_err(|_| table.not_of_key(range::NotOfKey))?;
        let bounds = Bounds { lower: self.lower.as_deref(), upper: self.upper.as_deref() };
        let (pieces, parameters) = range::first(&table.list, &table.from, &self.hint, key, bounds)
            .map_err(|error| table.not_of_key(error))?;
        let mut page = Vec::new();
        for sql in pieces {
            let left = self.rows - page.len();
            if left == 0 {
                break;
            }
            let left = Parameter::number(i64::try_from(left).unwrap_or(i64::MAX));
            let parameters: Vec<&dyn ToSql> =
                parameters.iter().chain([&left]).map(|value| value as &dyn ToSql).collect();
            match lease.try_query(&sql, &parameters).await {
                Ok(results) => page.extend(results.into_iter().flatten()),
                Err(error) => return Err(table.classify(lease, error)),
            }
        }
        self.done = page.len() < self.rows;
        if let Some(last) = page.last() {
            let last = table.key_of(last)?;
            if self.lower.as_ref() == Some(&last) {
                return Err(table.never_ends());
            }
            self.lower = Some(last);
            self.rows = rows_after(page.len(), page.iter().map(row_weight).sum());
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

/// How many rows to ask for when so many had so many bytes. Growth is by steps: the next rows may be
/// larger.
fn rows_after(rows: usize, bytes: usize) -> usize {
    let most = usize::try_from(MOST_LOCKED_ROWS).unwrap_or(usize::MAX);
    let fit = rows.saturating_mul(PAGE_BYTES) / bytes.max(1);
    fit.min(rows.saturating_mul(4)).clamp(1, most)
}

/// The name of the index whose columns are the key's, in their order (`sys.indexes`).
async fn key_index(table: &LoadTable, lease: &mut Lease) -> Result<String, Failure> {
    let key = table.key.as_ref().map_err(|_| table.not_of_key(range::NotOfKey))?;
    let wanted: Vec<i32> = key.iter().filter_map(|column| table.column_id(column.index)).collect();
    let sql = format!(
        "SELECT i.name, k.column_id FROM sys.indexes AS i INNER JOIN sys.index_columns AS k \
         ON k.object_id = i.object_id AND k.index_id = i.index_id \
         WHERE i.object_id = {} AND i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 \
         AND k.key_ordinal > 0 ORDER BY i.is_primary_key DESC, i.index_id, k.key_ordinal",
        table.object_id
    );
    let mut indexes: Vec<(String, Vec<i32>)> = Vec::new();
    for row in lease.batch(&sql, "read sys.indexes").await?.iter().flatten() {
        let fields = Fields::new(row, "sys.indexes");
        let (name, column) = (fields.name("name")?, fields.integer("column_id")?);
        match indexes.last_mut() {
            Some((last, columns)) if *last == name => columns.push(column),
            _ => indexes.push((name, vec![column])),
        }
    }
    let found = indexes.into_iter().find(|(_, columns)| *columns == wanted);
    found.map(|(name, _)| name).ok_or_else(|| {
        Failure::new(
            Code::SourceLoadAgain,
            format!("the index of the key of {} is gone", table.name),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_grow_by_steps_and_shrink_at_once() {
        assert_eq!(rows_after(16, 1600), 64);
        assert_eq!(rows_after(1000, 100_000), 1000);
        assert_eq!(rows_after(64, 64 << 20), 4);
        assert_eq!(rows_after(1, 1 << 30), 1);
        assert_eq!(rows_after(1, 0), 4);
    }
}
