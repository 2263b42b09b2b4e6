//! The transaction log: what capture writes and any number of applies read.
//!
//! Three streams to a pipeline: *transactions* (one partition, the total order), *snapshot* (many
//! partitions, rows of full loads) and *schemas* (compacted: table versions, writers' schemas,
//! positions, the log's identity). Two implementations with the same semantics and the same tests:
//! [Kafka](kafka) and the [embedded log](embedded).

use async_trait::async_trait;
use bytes::Bytes;
use lockstep_common::{Failure, Position};
use uuid::Uuid;

/// A stream of a pipeline's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// `<pipeline>.transactions`
    Transactions,
    /// One partition of `<pipeline>.snapshot`
    Snapshot(u32),
    /// `<pipeline>.schemas`
    Schemas,
}

/// A record on its way into the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it goes.
    pub stream: Stream,
    /// Key; only the schemas stream has keys, and compacts by them.
    pub key: Option<Bytes>,
    /// Position and fragment number, written as headers so that general tools show them.
    pub headers: Option<(Position, u32)>,
    /// The encoded record.
    pub payload: Bytes,
}

/// What a writer finds at the end of the log after fencing the writers before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Identity of the log; a new one when the log was new.
    pub log_id: Uuid,
    /// Highest epoch in the log, 0 in a new one.
    pub epoch: u64,
    /// Position of the newest complete transaction or progress, none in a new log.
    pub position: Option<Position>,
    /// Time of that record, 100 ns since 1970-01-01Z.
    pub time: i64,
    /// The encoded record that gave `position`, when the log still has it whole.
    pub record: Option<Bytes>,
    /// The newest position record of the schemas stream, encoded: it tells an emptied log (a
    /// position here, none in the transactions) from a new one.
    pub kept_position: Option<Bytes>,
}

/// The one writer of a pipeline's log.
#[async_trait]
pub trait Writer: Send {
    /// Adds entries to the open log transaction, atomically with everything appended since the last
    /// commit. May commit by itself between calls at the configured size or age, never inside one
    /// call's entries unless they alone exceed the limits.
    ///
    /// # Errors
    /// `Fenced` when a younger writer took over; `Retry` when the log is away (the open transaction
    /// is lost: drop the writer, open a new one, go on from its tail).
    async fn append(&mut self, entries: Vec<Entry>) -> Result<(), Failure>;

    /// Commits the open log transaction; when it returns, readers can see it and it is durable.
    ///
    /// # Errors
    /// As [`Writer::append`]; the outcome of a failed commit is known only from the next tail.
    async fn commit(&mut self) -> Result<(), Failure>;
}

/// A record read from the log.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its offset: rising, not dense.
    pub offset: u64,
    /// Its key, in the schemas stream.
    pub key: Option<Bytes>,
    /// The encoded record.
    pub payload: Bytes,
}

/// What a read gives.
#[derive(Clone, Debug)]
pub enum Batch {
    /// One record or more, in order.
    Items(Vec<Item>),
    /// Everything committed so far has been read; the next record will be at this offset or above.
    /// Given once per catching-up; the next read waits for a record.
    CaughtUp {
        /// Lower bound of the next record's offset.
        next_offset: u64,
    },
}

/// The offsets a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Lowest offset that can still be read.
    pub first: u64,
    /// One past the newest committed record.
    pub end: u64,
}

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The oldest record there is.
    Earliest,
    /// An offset; outside the bounds it is an error, never clamped.
    Offset(u64),
    /// The first record (first fragment) of a position above this one.
    After(Position),
    /// The first record (first fragment) whose time is at or after this, 100 ns since 1970-01-01Z.
    Time(i64),
}

/// A reader of one stream. Sees committed records only.
#[async_trait]
pub trait Reader: Send {
    /// The next records, or that there are none yet. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// `Halt` when the log lost what comes next (trimmed, truncated, re-created); `Retry` when it
    /// is away.
    async fn read(&mut self) -> Result<Batch, Failure>;

    /// What the stream holds now.
    ///
    /// # Errors
    /// `Retry` when the log is away.
    async fn bounds(&mut self) -> Result<Bounds, Failure>;

    /// Goes to a place and returns the offset reading will start at.
    ///
    /// # Errors
    /// `Halt` for an offset outside the bounds; `Retry` when the log is away.
    async fn seek(&mut self, to: Seek) -> Result<u64, Failure>;
}

/// Makes writers and readers of one pipeline's log.
#[async_trait]
pub trait Log: Send + Sync {
    /// Becomes the log's writer: makes absent streams, checks present ones, fences and voids what
    /// the writer before left, and finds the tail.
    ///
    /// # Errors
    /// `Halt` for a stream with the wrong shape (two partitions in transactions, a schemas stream
    /// that is not compacted); `Retry` when the log is away.
    async fn writer(&self) -> Result<(Box<dyn Writer>, Tail), Failure>;

    /// A reader of `stream`, at its beginning until it seeks.
    ///
    /// # Errors
    /// `Halt` for a stream that is not there or has the wrong shape; `Retry` when the log is away.
    async fn reader(&self, stream: Stream) -> Result<Box<dyn Reader>, Failure>;
}
