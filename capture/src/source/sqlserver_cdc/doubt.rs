//! NULL where a change may have left a value out.
//!
//! SQL Server writes a change of a key as a delete and an insert with one sequence number. The delete has
//! the row's MAX values (Microsoft, cdc.&lt;capture_instance&gt;_CT). Whether the insert has one that was not
//! touched and lies off the row is not documented. So where the delete has a value and the insert has
//! NULL, the statement may have set it to NULL, or SQL Server may have left it out.
//!
//! What an update has of a value that `.WRITE` changed in part is not documented either. So where an update
//! set MAX columns alone, or none, and they are NULL before and after, it may have been that: an update
//! that shows no change at all.
//!
//! The row itself tells. If it has no value now, NULL is what the target comes to. If it has one, somebody
//! has written it since, and there is a change that has it, once the capture job has come to what
//! was committed before the row was looked at; or nobody has, and the change left it out. Then going on
//! would leave the target without it.

use std::sync::Arc;
use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::model::name::quote_mssql as quote;
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

/// What there is to settle of a new row.
#[derive(Debug)]
pub struct Doubt {
    at: ChangeKey,
    columns: Vec<usize>,
    row: Vec<Value<'static>>,
}

/// Looks for doubts in the rows of one instance, in their order.
#[derive(Debug, Default)]
pub struct Doubts {
    /// The row before: a delete, and which of its values the next insert may lack; or an old row, and which it
    /// lacks itself.
    before: Option<(ChangeKey, Vec<usize>)>,
    found: Vec<Doubt>,
}

impl Doubts {
    /// Takes the next row.
    pub fn push(&mut self, followed: &Followed, row: &ChangeRow<DecodedRow>) {
        if !followed.decoder.has_max() {
            return;
        }
        let last = self.before.take();
        let (key, values) = (row.key, &row.row.values);
        let is_max = |i: usize| followed.decoder.recording(i) == Recording::WhenSet;
        let is_null = |i: usize| matches!(values[i], Value::Null | Value::Unavailable);
        match key.operation {
            1 | 3 => {
                let lacks = key.operation == 3;
                let of = (0..values.len()).filter(|i| is_max(*i) && is_null(*i) == lacks);
                let columns: Vec<usize> = of.collect();
                self.before = (!columns.is_empty()).then_some((key, columns));
            }
            2 | 4 => {
                let Some((before, mut columns)) = last else { return };
                if (before.start_lsn, before.seqval) != (key.start_lsn, key.seqval) {
                    return;
                }
                let is_set = |i: usize| row.row.changed[i / 8] >> (i % 8) & 1 == 1;
                if key.operation == 4 {
                    if followed.table.version.key.is_empty() {
                        // There is nothing to look for the row by, and NULL is what is documented.
                        return;
                    }
                    let set: Vec<usize> = (0..values.len()).filter(|i| is_set(*i)).collect();
                    if !set.iter().all(|i| columns.contains(i)) {
                        return;
                    }
                    columns.retain(|i| set.is_empty() || set.contains(i));
                }
                columns.retain(|i| is_null(*i));
                if !columns.is_empty() {
                    self.found.push(Doubt { at: key, columns, row: values.clone() });
                }
            }
            _ => {}
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
        let looked = clock_of(clock)?.0;
        let lsn = &self.at.start_lsn.as_bytes()[..];
        parameters.push(&lsn);
        let later = format!(
            "SELECT COUNT_BIG(*) AS total FROM {} AS t WHERE t.[__$start_lsn] >= \
             CONVERT(binary(10), @P{}) AND t.[__$operation] IN (2, 4) AND {has}",
            statements::change_table(&followed.instance.name),
            parameters.len()
        );
        // A change that has the value may be there before it is certain that none is to come: an idle
        // source takes ten minutes for that.
        loop {
            let is_last = has_captured(pool, looked).await?;
            let mut lease = pool.get().await?;
            let results = lease.query(&later, &parameters, &doing).await?;
            lease.keep();
            if total(results.first().map_or(&[], Vec::as_slice), &doing)? > 0 {
                return Ok(());
            }
            if is_last {
                break;
            }
            // The server tells nobody when the capture job has written: it must be asked.
            tokio::time::sleep(PAUSE).await;
        }
        Err(Failure::new(Code::SourceLeftOut, format!(
                "a row of {} that was changed at LSN {} has a value in {name} that no change has",
                version.name, self.at.start_lsn
            )).remedy("the server does not record such values: begin a new pipeline (new log), assign them whole (not \
             by .WRITE, and along with a change of the key), and report this with the server's version"))
    }

    /// Conditions for the row, and their parameters.
    fn key(&self, followed: &Followed) -> Result<(String, Vec<super::load::Parameter>), Failure> {
        let version = &followed.table.version;
        let no_key = || {
            Failure::new(
                Code::SourceLeftOut,
                format!(
                    "a row of {} lacks a value, and has no key to look for it by",
                    version.name
                ),
            )
            .remedy("begin a new pipeline (new log), and give the table a primary key")
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

/// Whether the capture job has come past a moment of the server's clock.
async fn has_captured(pool: &Arc<Pool>, moment: i64) -> Result<bool, Failure> {
    const DOING: &str = "read the newest commit";
    let mut lease = pool.get().await?;
    let results = lease.batch(statements::NEWEST, DOING).await?;
    lease.keep();
    let [rows, clock] = results.as_slice() else { return Err(wrong_results(DOING)) };
    let (_, offset) = clock_of(clock)?;
    let newest = fields::mapping_rows(rows)?.into_iter().next();
    Ok(newest.is_some_and(|row| time::to_utc(row.end_time, offset) > moment + SLACK))
}
