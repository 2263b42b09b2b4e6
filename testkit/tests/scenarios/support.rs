//! What several subjects use: one small table, its transactions, and looks into the log.

use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use lockstep_common::Failure;
use lockstep_common::codec::{self, Header};
use lockstep_log::{Batch, Stream};
use lockstep_testkit::harness::{DEADLINE, Ended, Pipeline, Service, Statements};
use lockstep_testkit::session::Session;
use lockstep_testkit::shape::{Key, Table, Type, column, nullable};

pub const ITEMS: usize = 0;

/// One table: key, number, text.
pub fn items() -> Vec<Table> {
    let columns = vec![
        column("id", Type::Int),
        column("v", Type::Int),
        nullable("note", Type::NVarChar(4000)),
    ];
    vec![Table::keyed("items", 1, columns)]
}

pub fn keys(ids: RangeInclusive<i64>) -> impl Iterator<Item = Key> {
    ids.map(|id| Key::of([id]))
}

/// Inserts items with `v` as their number.
pub fn insert(ids: RangeInclusive<i64>, v: i64) -> Statements {
    insert_with(ids, v, "NULL")
}

/// The same with a note, given in T-SQL.
pub fn insert_with(ids: RangeInclusive<i64>, v: i64, note: &str) -> Statements {
    let rows: Vec<String> = ids.clone().map(|id| format!("({id}, {v}, {note})")).collect();
    let sql = format!("INSERT INTO dbo.items (id, v, note) VALUES {}", rows.join(", "));
    Statements::new().then(ITEMS, keys(ids), sql)
}

/// Inserts the items 1 to `rows`, 500 a transaction.
pub async fn insert_rows(session: &mut Session, rows: i64) -> Result<()> {
    let mut first = 1;
    while first <= rows {
        let last = (first + 499).min(rows);
        session.run(&insert(first..=last, 0)).await?;
        first = last + 1;
    }
    Ok(())
}

/// Adds to the items' numbers.
pub fn add(ids: RangeInclusive<i64>, more: i64) -> Statements {
    let (from, to) = (ids.start(), ids.end());
    let sql = format!("UPDATE dbo.items SET v = v + {more} WHERE id BETWEEN {from} AND {to}");
    Statements::new().then(ITEMS, keys(ids), sql)
}

pub fn delete(id: i64) -> Statements {
    let sql = format!("DELETE FROM dbo.items WHERE id = {id}");
    Statements::new().then(ITEMS, [Key::of([id])], sql)
}

/// The failure has this code, and its line says all of this.
#[track_caller]
pub fn assert_says(failure: &Failure, code: &str, words: &[&str]) {
    let line = failure.to_string();
    assert_eq!(failure.code.as_str(), code, "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    assert!(!failure.remedy.is_empty(), "{line}");
}

/// Offset and header of every record of the transactions stream.
pub async fn records(pipeline: &mut Pipeline) -> Result<Vec<(u64, Header)>> {
    let mut reader = pipeline.log().await?.reader(Stream::Transactions).await?;
    let mut found = Vec::new();
    loop {
        match reader.read().await? {
            Batch::CaughtUp { .. } => return Ok(found),
            Batch::Items(items) => {
                for item in items {
                    found.push((item.offset, codec::header(&item.payload)?));
                }
            }
        }
    }
}

/// Runs a batch on the source as an operator.
pub async fn administer(pipeline: &Pipeline, sql: &str) -> Result<()> {
    Ok(pipeline.source().connect().await?.run(sql).await?)
}

/// Commits `plan` again and again until the service has ended by itself.
pub async fn work_until_ended<S>(
    pipeline: &Pipeline,
    session: &mut Session,
    plan: &Statements,
    service: &mut Service<S>,
) -> Result<Ended>
where
    S: Clone + Default + std::fmt::Debug + Send + Sync + 'static,
{
    let work = async {
        loop {
            session.run(plan).await?;
            tokio::select! {
                biased;
                ended = service.ended_whenever() => return ended,
                newest = pipeline.await_captured_by_source() => newest?,
            };
        }
    };
    tokio::time::timeout(DEADLINE, work).await.context("the service does not end")?
}
