//! NULL where a change of a key may have left a value out.
//!
//! SQL Server writes a change of a key as a delete and an insert with one sequence number. The delete has
//! the row's MAX values (Microsoft, cdc.&lt;capture_instance&gt;_CT). Whether the insert has one that was not
//! touched and lies off the row is not documented. So where the delete has a value and the insert has
//! NULL, the statement may have set it to NULL, or SQL Server may have left it out.
//!
//! The row itself tells. If it has no value now, NULL is what the target comes to. If it has one, somebody
//! has written it since, and there is a change that has it, once the capture job has come to what
//! was committed before the row was looked at; or nobody has, and the insert left it out. Then going on
//! would put NULL in the place of a value.

use std::sync::Arc;
use std::time::Duration;

use lockstep_common::name::quote_mssql as quote;
use lockstep_common::{Failure, Value};
use tiberius::ToSql;

use super::connection::Pool;
use super::decode::DecodedRow;
use super::fields::{self, Fields};
use super::followed::Followed;
use super::load::KeyColumn;
use super::merge::ChangeRow;
use super::order::ChangeKey;
use super::types::Recording;
use super::{clock_of, statements, time, wrong_results};

/// How often the capture job's progress is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// How much later a commit must be dated than a moment that it lies after, in 100 ns.
const SLACK: i64 = lockstep_common::TICKS_PER_SECOND;

/// What there is to settle of an insert.
#[derive(Debug)]
pub struct Doubt {
    at: ChangeKey,
    columns: Vec<usize>,
    row: Vec<Value<'static>>,
}

/// Looks for doubts in the rows of one instance, in their order.
#[derive(Debug, Default)]
pub struct Doubts {
    /// The delete before, and which of its values the next insert may lack.
    deleted: Option<(ChangeKey, Vec<usize>)>,
    found: Vec<Doubt>,
}

impl Doubts {
    /// Takes the next row.
    pub fn push(&mut self, followed: &Followed, row: &ChangeRow<DecodedRow>) {
        let last = self.deleted.take();
        let (key, values) = (row.key, &row.row.values);
        if key.operation == 1 {
            let may_lack = |i: &usize| {
                followed.decoder.recording(*i) == Recording::WhenSet
                    && !matches!(values[*i], Value::Null | Value::Unavailable)
            };
            let columns: Vec<usize> = (0..values.len()).filter(may_lack).collect();
            self.deleted = (!columns.is_empty()).then_some((key, columns));
        } else if key.operation == 2
            && let Some((before, mut columns)) = last
            && (before.start_lsn, before.seqval) == (key.start_lsn, key.seqval)
        {
            columns.retain(|i| values[*i] == Value::Null);
            if !columns.is_empty() {
                self.found.push(Doubt { at: key, columns, row: values.clone() });
            }
        }
    }

    /// Settles what was found.
    ///
    /// # Errors
    /// `Halt` when a value is missing.
    pub async fn settle(&mut self, pool: &Arc<Pool>, followed: &Followed) -> Result<(), Failure> {
        while let Some(doubt) = self.found.last() {
            for column in &doubt.columns {
                doubt.settle(pool, followed, *column).await?;
            }
            self.found.pop();
        }
        Ok(())
    }
}

impl Doubt {
    async fn settle(
        &self,
        pool: &Arc<Pool>,
        followed: &Followed,
        column: usize,
    ) -> Result<(), Failure> {
        let version = &followed.table.version;
        let name = &version.columns[column].name;
        let doing = format!("look whether {} has a value in {name}", version.name);
        let (conditions, parameters) = self.key(followed)?;
        let table = format!("{}.{}", quote(&version.name.schema), quote(&version.name.table));
        let has = format!("{conditions} AND t.{} IS NOT NULL", quote(name));
        let mut parameters: Vec<&dyn ToSql> =
            parameters.iter().map(|parameter| parameter as &dyn ToSql).collect();
        let now = format!(
            "SELECT COUNT_BIG(*) AS total FROM {table} AS t WHERE {has}; \
             SELECT SYSDATETIMEOFFSET() AS clock"
        );
        let mut lease = pool.get().await?;
        let results = lease.query(&now, &parameters, &doing).await?;
        lease.keep();
        let [rows, clock] = results.as_slice() else { return Err(wrong_results(&doing)) };
        if total(rows, &doing)? == 0 {
            return Ok(());
        }
        captured_through(pool, clock_of(clock)?.0).await?;
        let lsn = &self.at.start_lsn.as_bytes()[..];
        parameters.push(&lsn);
        let later = format!(
            "SELECT COUNT_BIG(*) AS total FROM {} AS t WHERE t.[__$start_lsn] >= \
             CONVERT(binary(10), @P{}) AND t.[__$operation] IN (2, 4) AND {has}",
            statements::change_table(&followed.instance.name),
            parameters.len()
        );
        let mut lease = pool.get().await?;
        let results = lease.query(&later, &parameters, &doing).await?;
        lease.keep();
        if total(results.first().map_or(&[], Vec::as_slice), &doing)? > 0 {
            return Ok(());
        }
        Err(Failure::halt(
            "source.left_out",
            format!(
                "the key of a row of {} was changed at LSN {}, and its new row lacks the value of {name}",
                version.name, self.at.start_lsn
            ),
            "the server does not record such values: begin a new pipeline (new log), change keys and these \
             values in one statement, and report this with the server's version",
        ))
    }

    /// Conditions for the row, and their parameters.
    fn key(&self, followed: &Followed) -> Result<(String, Vec<super::load::Parameter>), Failure> {
        let version = &followed.table.version;
        let no_key = || {
            Failure::halt(
                "source.left_out",
                format!(
                    "a row of {} lacks a value, and has no key to look for it by",
                    version.name
                ),
                "begin a new pipeline (new log), and give the table a primary key",
            )
        };
        let (mut conditions, mut parameters) = (Vec::new(), Vec::new());
        for index in &version.key {
            let index = usize::from(*index);
            let name = &version.columns[index].name;
            let source = followed.shape.source.iter().find(|column| column.name == *name);
            let column = source.and_then(|source| KeyColumn::new(source, index, None).ok());
            let (Some(column), Some(value)) = (column, self.row.get(index)) else {
                return Err(no_key());
            };
            parameters.push(column.parameter(value).ok_or_else(no_key)?);
            conditions.push(format!("{} = {}", column.column, column.typed(parameters.len())));
        }
        if conditions.is_empty() {
            return Err(no_key());
        }
        Ok((conditions.join(" AND "), parameters))
    }
}

fn total(rows: &[tiberius::Row], doing: &str) -> Result<i64, Failure> {
    let row = rows.first().ok_or_else(|| wrong_results(doing))?;
    Ok(Fields::new(row, "a count").number("total")?.unwrap_or(0))
}

/// Waits until the capture job has come past a moment of the server's clock.
async fn captured_through(pool: &Arc<Pool>, moment: i64) -> Result<(), Failure> {
    const DOING: &str = "read the newest commit";
    loop {
        let mut lease = pool.get().await?;
        let results = lease.batch(statements::NEWEST, DOING).await?;
        lease.keep();
        let [rows, clock] = results.as_slice() else { return Err(wrong_results(DOING)) };
        let (_, offset) = clock_of(clock)?;
        let newest = fields::mapping_rows(rows)?.into_iter().next();
        if newest.is_some_and(|row| time::to_utc(row.end_time, offset) > moment + SLACK) {
            return Ok(());
        }
        // The server tells nobody when the capture job has written: it must be asked.
        tokio::time::sleep(PAUSE).await;
    }
}
