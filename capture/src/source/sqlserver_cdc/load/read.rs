//! Rows of a range, streamed: nothing of a chunk is held but what is on its way.
//!
//! A task owns the connection and passes rows on in batches through a channel of a few, so that the
//! driver decodes the next rows while these are worked on. A batch is bounded in rows and in bytes;
//! one row, however large, is always a batch. A reader that is dropped takes the task and its
//! connection with it: the rest of an answer that nobody wants is not waited for.
//!
//! The task says that it is at its end. One that merely stops sending has died, and what it did not
//! send must not be taken for nothing.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use lockstep_common::Code;
use lockstep_common::model::load::ChunkRange;
use lockstep_common::{Failure, Value};
use tiberius::{QueryItem, Row, ToSql};
use tokio::sync::mpsc;

use super::super::connection::Lease;
use super::pages;
use super::range::RangeStatement;
use super::table::{LoadTable, row_weight};
use crate::source::load::{RowSink, Rows};

/// Rows and bytes after which a batch is passed on.
const BATCH_ROWS: usize = 256;
const BATCH_BYTES: usize = 128 << 10;
/// Batches that a reader may be ahead.
const BATCHES_AHEAD: usize = 4;

enum Message {
    Batch(Vec<Row>),
    End(Box<Lease>),
    Failed(Failure),
}

/// How rows are read.
pub enum Work {
    /// By a statement, as the session reads.
    Statement(RangeStatement),
    /// By a statement under SNAPSHOT.
    Versions(RangeStatement),
    /// By statements of few rows, which lock.
    Pages(ChunkRange),
}

/// Where a connection goes once its rows are read.
pub enum Home<'a> {
    /// To the pool.
    Pool,
    /// To the snapshot that lent it.
    Snapshot(&'a mut Option<Lease>),
}

/// Rows that a task reads.
pub struct TaskRows<'a> {
    table: Arc<LoadTable>,
    receiver: mpsc::Receiver<Message>,
    values: Vec<Value<'static>>,
    home: Home<'a>,
    ended: bool,
}

impl<'a> TaskRows<'a> {
    /// Sends the statement and begins to read.
    pub fn start(table: Arc<LoadTable>, work: Work, lease: Lease, home: Home<'a>) -> TaskRows<'a> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        tokio::spawn(run(Arc::clone(&table), work, lease, sender));
        TaskRows { table, receiver, values: Vec::new(), home, ended: false }
    }
}

#[async_trait]
impl Rows for TaskRows<'_> {
    async fn next(&mut self, sink: &mut dyn RowSink) -> Result<bool, Failure> {
        if self.ended {
            return Ok(false);
        }
        match self.receiver.recv().await {
            Some(Message::Batch(rows)) => {
                for row in rows {
                    let size = self.table.row(row, &mut self.values)?;
                    sink.row(&mut self.values, size);
                }
                Ok(true)
            }
            Some(Message::End(lease)) => {
                self.ended = true;
                match &mut self.home {
                    Home::Pool => lease.keep(),
                    Home::Snapshot(slot) => **slot = Some(*lease),
                }
                Ok(false)
            }
            Some(Message::Failed(failure)) => Err(failure),
            None => Err(Failure::new(
                Code::SourceInternal,
                "a reader of a table ended without saying so",
            )
            .remedy("report this with the program's log")),
        }
    }
}

async fn run(table: Arc<LoadTable>, work: Work, lease: Lease, sender: mpsc::Sender<Message>) {
    let result = tokio::select! {
        biased;
        // Nobody wants the rest.
        () = sender.closed() => return,
        result = read(&table, &work, lease, &sender) => result,
    };
    // A receiver that is gone wants to know nothing.
    let _ = sender
        .send(match result {
            Ok(lease) => Message::End(Box::new(lease)),
            Err(failure) => Message::Failed(failure),
        })
        .await;
}

async fn read(
    table: &LoadTable,
    work: &Work,
    mut lease: Lease,
    sender: &mpsc::Sender<Message>,
) -> Result<Lease, Failure> {
    match work {
        Work::Statement(statement) => one(table, statement, &mut lease, sender).await?,
        Work::Versions(statement) => {
            isolation(table, &mut lease, "SNAPSHOT").await?;
            one(table, statement, &mut lease, sender).await?;
            isolation(table, &mut lease, "READ COMMITTED").await?;
        }
        Work::Pages(range) => {
            let mut pages = pages::Pages::new(table, &mut lease, range).await?;
            while let Some(rows) = pages.next(table, &mut lease).await? {
                pass_on(rows, sender).await;
            }
        }
    }
    table.same_shape(&mut lease).await?;
    table.nothing_hidden(lease).await
}

async fn isolation(table: &LoadTable, lease: &mut Lease, level: &str) -> Result<(), Failure> {
    let sql = format!("SET TRANSACTION ISOLATION LEVEL {level}");
    lease.batch(&sql, &table.doing()).await.map(drop)
}

/// Hands rows that were read on, in batches.
async fn pass_on(rows: Vec<Row>, sender: &mpsc::Sender<Message>) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for row in rows {
        bytes += row_weight(&row);
        batch.push(row);
        if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
            bytes = 0;
            // A receiver that is gone is noticed in `run`.
            let _ = sender.send(Message::Batch(std::mem::take(&mut batch))).await;
        }
    }
    if !batch.is_empty() {
        let _ = sender.send(Message::Batch(batch)).await;
    }
}

async fn one(
    table: &LoadTable,
    statement: &RangeStatement,
    lease: &mut Lease,
    sender: &mpsc::Sender<Message>,
) -> Result<(), Failure> {
    let parameters: Vec<&dyn ToSql> =
        statement.parameters.iter().map(|parameter| parameter as &dyn ToSql).collect();
    let failed = stream(lease, &statement.sql, &parameters, sender).await.err();
    failed.map_or(Ok(()), |error| Err(table.classify(lease, error)))
}

async fn stream(
    lease: &mut Lease,
    sql: &str,
    parameters: &[&dyn ToSql],
    sender: &mpsc::Sender<Message>,
) -> Result<(), tiberius::error::Error> {
    let mut items = lease.try_stream(sql, parameters).await?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(item) = items.try_next().await? {
        let QueryItem::Row(row) = item else { continue };
        bytes += row_weight(&row);
        batch.push(row);
        if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
            bytes = 0;
            // A receiver that is gone is noticed in `run`.
            let _ = sender.send(Message::Batch(std::mem::take(&mut batch))).await;
        }
    }
    if !batch.is_empty() {
        let _ = sender.send(Message::Batch(batch)).await;
    }
    Ok(())
}
