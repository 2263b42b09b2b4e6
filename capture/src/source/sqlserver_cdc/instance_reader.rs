//! The changes of one instance in a window, in order, without ever holding them all.
//!
//! With a connection to spare the instance's rows stream through a task of their own into a channel
//! bounded in bytes. Otherwise they are read in pages: each page is a statement of its own that
//! resumes after the last row's [`ChangeKey`], and between pages the connection serves others. A
//! page is bounded in rows and bytes; one that outgrows its bytes is broken off, at the price of its
//! connection, and later pages are smaller.
//!
//! A statement that ends because somebody else's lock was in its way (the capture job's, whose scan may
//! hold the whole change table) is sent again for what comes after the last row, as often as it takes: what
//! was read stays read.

use std::sync::Arc;

use futures_util::TryStreamExt;
use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::model::record::Change;
use tiberius::{QueryItem, ToSql};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::captured_table::CapturedTable;
use super::connection::Pool;
use super::decode::DecodedRow;
use super::errors::wait_for_lock;
use super::lsn::Lsn;
use super::max_values::MaxValues;
use super::merge::{Contradiction, Pairing};
use super::order::ChangeKey;

/// Bytes after which a batch of a stream is passed on.
const BATCH_BYTES: usize = 64 << 10;
/// Bytes that a stream may be ahead of the merge; a larger change passes alone.
const STREAM_BYTES: usize = 1 << 20;
/// Bytes after which a page is broken off, at most and at least.
const PAGE_BYTES: usize = 4 << 20;
const LEAST_PAGE_BYTES: usize = 64 << 10;
/// Bytes of all pages of a window together, as long as the least page allows it.
const PAGES_BYTES: usize = 64 << 20;

/// A change with its place.
#[derive(Debug)]
pub struct KeyedChange {
    /// Where it stands.
    pub key: ChangeKey,
    /// The change.
    pub change: Change<'static>,
    /// About how many bytes it holds.
    pub size: usize,
}

/// What part of an instance to read: after the first LSN, through the second.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Exclusive.
    pub after: Lsn,
    /// Inclusive.
    pub through: Lsn,
}

/// An instance's changes.
pub enum InstanceReader {
    /// From a task with its own connection.
    Stream(mpsc::UnboundedReceiver<Message>),
    /// Page by page.
    Pages(Box<Pager>),
}

/// What a stream's task sends. It says that it is at its end: one that merely stops sending has
/// died, and what it did not send must not be taken for nothing.
pub enum Message {
    /// Some changes.
    Batch(StreamBatch),
    /// There are no more.
    End,
    /// It failed.
    Failed(Failure),
}

/// A batch and its share of the stream's bytes, given back when the batch is taken out.
pub struct StreamBatch {
    batch: Vec<KeyedChange>,
    _share: OwnedSemaphorePermit,
}

impl InstanceReader {
    /// Streams over a connection of its own.
    pub fn stream(pool: &Arc<Pool>, followed: Arc<CapturedTable>, range: Range) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let stream = Stream {
            pool: Arc::clone(pool),
            reader: RowReader::new(followed),
            sender,
            budget: Arc::new(Semaphore::new(STREAM_BYTES)),
        };
        tokio::spawn(stream.run(range));
        InstanceReader::Stream(receiver)
    }

    /// Reads in pages of at most `rows` rows; `instances` are read like this at once.
    pub fn pages(
        pool: &Arc<Pool>,
        followed: Arc<CapturedTable>,
        range: Range,
        rows: u32,
        instances: usize,
    ) -> Self {
        InstanceReader::Pages(Box::new(Pager {
            bytes: (PAGES_BYTES / instances.max(1)).clamp(LEAST_PAGE_BYTES, PAGE_BYTES),
            pool: Arc::clone(pool),
            reader: RowReader::new(followed),
            range,
            rows: i64::from(rows.max(1)),
            next: Some(NextPage::From(range.after)),
        }))
    }

    /// The next changes; none at the end. Never an empty batch.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyedChange>>, Failure> {
        match self {
            InstanceReader::Stream(receiver) => match receiver.recv().await {
                Some(Message::Batch(parcel)) => Ok(Some(parcel.batch)),
                Some(Message::End) => Ok(None),
                Some(Message::Failed(failure)) => Err(failure),
                None => Err(Failure::new(
                    Code::SourceInternal,
                    "a reader of a change table ended without saying so",
                )
                .remedy("report this with the program's log")),
            },
            InstanceReader::Pages(pager) => pager.next().await,
        }
    }
}

/// Decodes and pairs an instance's rows.
struct RowReader {
    followed: Arc<CapturedTable>,
    pairing: Pairing<DecodedRow>,
    last: Option<ChangeKey>,
    max_values: MaxValues,
    batch: Vec<KeyedChange>,
    bytes: usize,
}

impl RowReader {
    fn new(followed: Arc<CapturedTable>) -> Self {
        RowReader {
            followed,
            pairing: Pairing::default(),
            last: None,
            max_values: MaxValues::default(),
            batch: Vec::new(),
            bytes: 0,
        }
    }

    fn doing(&self) -> String {
        format!("read the changes of {}", self.followed.instance.table)
    }

    fn push(&mut self, row: tiberius::Row) -> Result<(), Failure> {
        let row = self.followed.decoder.row(row).map_err(|error| {
            Failure::new(Code::SourceValue, format!("cannot {}", self.doing())).remedy("a value must arrive exactly or not at all: raise capture.max_value_bytes if that \
                 is the limit, else report this")
            .with_source(error)
        })?;
        self.last = Some(row.key);
        self.max_values.push(&self.followed, &row)?;
        let paired = self.pairing.push(row).map_err(|e| self.contradiction(e))?;
        if let Some(paired) = paired {
            let key = paired.key;
            let (change, size) = self.followed.decoder.change(paired);
            self.bytes += size;
            self.batch.push(KeyedChange { key, change, size });
        }
        Ok(())
    }

    /// What is left of `page` after rows of it were read.
    fn rest_of(&self, page: NextPage) -> NextPage {
        self.last.map_or(page, NextPage::Within)
    }

    /// The statement that reads a page of `rows` rows at most.
    fn statement(&self, page: NextPage, range: Range, rows: Option<i64>) -> PageStatement {
        let reads = &self.followed.reads;
        let through = range.through.as_bytes().to_vec();
        match page {
            NextPage::From(lsn) => PageStatement {
                sql: if rows.is_some() { reads.first_page() } else { reads.window() },
                after: lsn.as_bytes().to_vec(),
                through,
                within: None,
                rows,
            },
            NextPage::Within(key) => PageStatement {
                sql: reads.rest_of_transaction(key.command_id.is_none()),
                after: key.start_lsn.as_bytes().to_vec(),
                through,
                within: Some((key.command_id, key.seqval.as_bytes().to_vec(), key.operation)),
                rows: Some(rows.unwrap_or(i64::MAX)),
            },
        }
    }

    /// Verifies the MAX values of the rows that were read and not taken.
    async fn verify(&mut self, pool: &Arc<Pool>) -> Result<(), Failure> {
        self.max_values.verify(pool, &self.followed).await
    }

    fn take(&mut self) -> (Vec<KeyedChange>, usize) {
        // The next batch will be about as long.
        let next = Vec::with_capacity(self.batch.len());
        (std::mem::replace(&mut self.batch, next), std::mem::take(&mut self.bytes))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        std::mem::take(&mut self.pairing).finish().map_err(|e| self.contradiction(e))
    }

    fn contradiction(&self, error: Contradiction) -> Failure {
        contradiction(error, &self.doing())
    }
}

/// The failure of a server that contradicts itself.
pub fn contradiction(error: Contradiction, doing: &str) -> Failure {
    Failure::new(Code::SourceContradiction, format!("cannot {doing}"))
        .remedy(
            "the change tables do not hold what SQL Server promises: report this with its version",
        )
        .with_source(error)
}

struct Stream {
    pool: Arc<Pool>,
    reader: RowReader,
    sender: mpsc::UnboundedSender<Message>,
    budget: Arc<Semaphore>,
}

impl Stream {
    async fn run(mut self, range: Range) {
        let closed = self.sender.clone();
        let result = tokio::select! {
            biased;
            // Nobody wants the rest: the lease goes, and its connection with it.
            () = closed.closed() => return,
            result = self.read(range) => result,
        };
        // A receiver that is gone wants to know nothing.
        let _ = closed.send(match result {
            Ok(()) => Message::End,
            Err(failure) => Message::Failed(failure),
        });
    }

    async fn read(&mut self, range: Range) -> Result<(), Failure> {
        let mut next = Some(NextPage::From(range.after));
        while let Some(page) = next {
            next = match self.rows(page, range).await {
                Ok(()) => page.after_it(),
                Err(failure) => {
                    wait_for_lock(failure).await?;
                    Some(self.reader.rest_of(page))
                }
            };
        }
        self.reader.finish()?;
        while let Err(failure) = self.pass_on().await {
            wait_for_lock(failure).await?;
        }
        Ok(())
    }

    async fn rows(&mut self, page: NextPage, range: Range) -> Result<(), Failure> {
        let mut lease = self.pool.get().await?;
        let doing = self.reader.doing();
        let statement = self.reader.statement(page, range, None);
        let parameters = statement.parameters();
        let mut items = lease.stream(&statement.sql, &parameters, &doing).await?;
        while let Some(item) =
            items.try_next().await.map_err(|error| self.pool.classify(error, &doing))?
        {
            let QueryItem::Row(row) = item else { continue };
            self.reader.push(row)?;
            if self.reader.bytes >= BATCH_BYTES {
                self.pass_on().await?;
            }
        }
        drop(items);
        lease.keep();
        Ok(())
    }

    async fn pass_on(&mut self) -> Result<(), Failure> {
        self.reader.verify(&self.pool).await?;
        let (batch, bytes) = self.reader.take();
        if batch.is_empty() {
            return Ok(());
        }
        let share = u32::try_from(bytes.clamp(1, STREAM_BYTES)).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.budget).acquire_many_owned(share).await;
        let _share = share.expect("the semaphore is never closed");
        // A receiver that is gone is noticed in `run`.
        let _ = self.sender.send(Message::Batch(StreamBatch { batch, _share }));
        Ok(())
    }
}

/// Where the next page begins.
#[derive(Clone, Copy, Debug)]
enum NextPage {
    /// With the first transaction after an LSN.
    From(Lsn),
    /// Within a transaction, after a row of it.
    Within(ChangeKey),
}

impl NextPage {
    /// What comes after it, when it was read to its end.
    fn after_it(self) -> Option<NextPage> {
        match self {
            NextPage::Within(key) => Some(NextPage::From(key.start_lsn)),
            NextPage::From(_) => None,
        }
    }
}

/// A statement that reads a page, and its parameters.
struct PageStatement {
    sql: String,
    after: Vec<u8>,
    through: Vec<u8>,
    /// Command, sequence and operation of the row it goes on after.
    within: Option<(Option<i32>, Vec<u8>, i32)>,
    /// Most rows, where the statement asks for that.
    rows: Option<i64>,
}

impl PageStatement {
    fn parameters(&self) -> Vec<&dyn ToSql> {
        let mut parameters: Vec<&dyn ToSql> = vec![&self.after];
        match &self.within {
            Some((command, seqval, operation)) => parameters.extend([
                command as &dyn ToSql,
                seqval as &dyn ToSql,
                operation as &dyn ToSql,
            ]),
            None => parameters.push(&self.through),
        }
        parameters.extend(self.rows.as_ref().map(|rows| rows as &dyn ToSql));
        parameters
    }
}

/// Reads an instance page by page.
pub struct Pager {
    pool: Arc<Pool>,
    reader: RowReader,
    range: Range,
    rows: i64,
    /// After which a page is broken off.
    bytes: usize,
    next: Option<NextPage>,
}

impl Pager {
    async fn next(&mut self) -> Result<Option<Vec<KeyedChange>>, Failure> {
        while let Some(page) = self.next {
            match self.page(page).await {
                Ok((rows, whole)) => {
                    let last = self.reader.last.filter(|_| rows > 0);
                    self.next = match last {
                        Some(last) if !whole || rows >= self.rows => Some(NextPage::Within(last)),
                        _ => page.after_it(),
                    };
                    if !whole {
                        self.rows = (rows / 2).max(1);
                    }
                }
                Err(failure) => {
                    wait_for_lock(failure).await?;
                    self.next = Some(self.reader.rest_of(page));
                }
            }
            if self.next.is_none() {
                self.reader.finish()?;
            }
            while let Err(failure) = self.reader.verify(&self.pool).await {
                wait_for_lock(failure).await?;
            }
            let (batch, _) = self.reader.take();
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Reads a page: how many rows it had, and whether it was read to its end.
    async fn page(&mut self, page: NextPage) -> Result<(i64, bool), Failure> {
        let rows = self.rows;
        let statement = self.reader.statement(page, self.range, Some(rows));
        let parameters = statement.parameters();
        let doing = self.reader.doing();
        let mut lease = self.pool.get().await?;
        let mut items = lease.stream(&statement.sql, &parameters, &doing).await?;
        let mut count = 0;
        while let Some(item) =
            items.try_next().await.map_err(|error| self.pool.classify(error, &doing))?
        {
            let QueryItem::Row(row) = item else { continue };
            self.reader.push(row)?;
            count += 1;
            if self.reader.bytes >= self.bytes && count < rows {
                return Ok((count, false));
            }
        }
        drop(items);
        lease.keep();
        Ok((count, true))
    }
}
