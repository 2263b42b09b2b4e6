//! The transaction log: what capture writes and any number of applies read.
//!
//! Three streams to a pipeline: *transactions* (one partition, the total order), *snapshot* (many
//! partitions, rows of full loads) and *schemas* (compacted: table versions, writers' schemas,
//! positions, the log's identity). Two implementations with the same semantics and the same tests:
//! [Kafka](kafka) and the [embedded log](embedded); [`open`] makes the one that is configured.
//! [`Schemas`] is the readers' view of the schemas stream.
//!
//! Along the transactions stream (epoch, position) never decreases, and neither does time: that is
//! the writers' duty, and what [seeking](Reader::seek) and finding the [`Tail`] rely on.

mod blocking;
pub mod embedded;
mod failures;
pub mod kafka;
mod limits;
mod schemas;
mod search;
mod tail;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lockstep_common::config::Weakness;
use lockstep_common::model::place::Place;
use lockstep_common::{Failure, Position, config};
use uuid::Uuid;

pub use schemas::Schemas;

/// Partitions of a snapshot stream that Lockstep creates.
pub const SNAPSHOT_PARTITIONS: u32 = 4;

/// Opens the configured log of `pipeline`.
///
/// # Errors
/// `Halt` when the configuration asks for what cannot be, or when another process holds an embedded
/// log. A Kafka that is away is no error here: the calls on the log say so.
pub async fn open(config: &config::Log, pipeline: &str) -> Result<Arc<dyn Log>, Failure> {
    match config {
        config::Log::Kafka(kafka) => Ok(Arc::new(kafka::KafkaLog::open(kafka, pipeline)?)),
        config::Log::Embedded(embedded) => {
            Ok(Arc::new(embedded::EmbeddedLog::open(embedded, pipeline).await?))
        }
    }
}

/// Opens the configured log of `pipeline` for its readers alone: an embedded log may be another
/// process's, and is neither made nor changed.
///
/// # Errors
/// As [`open`]; `Halt` with the code `log.no_stream` where there is no embedded log yet.
pub async fn open_for_reading(
    config: &config::Log,
    pipeline: &str,
) -> Result<Arc<dyn Log>, Failure> {
    match config {
        config::Log::Kafka(kafka) => Ok(Arc::new(kafka::KafkaLog::open(kafka, pipeline)?)),
        config::Log::Embedded(embedded) => {
            Ok(Arc::new(embedded::EmbeddedLog::open_for_reading(embedded, pipeline).await?))
        }
    }
}

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

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stream::Transactions => f.write_str("transactions"),
            Stream::Snapshot(partition) => write!(f, "snapshot[{partition}]"),
            Stream::Schemas => f.write_str("schemas"),
        }
    }
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
    /// Identity of the log: of its records when it has any, else what the schemas stream kept, else
    /// a new one (which is then in the schemas stream already).
    pub log_id: Uuid,
    /// The identity the schemas stream held. None beside a `position` says that the schemas stream
    /// has been emptied.
    pub kept_log_id: Option<Uuid>,
    /// Highest epoch in the log, 0 in a new one.
    pub epoch: u64,
    /// Position of the newest complete transaction or progress, none in a new log.
    pub position: Option<Position>,
    /// Time of the newest record, 100 ns since 1970-01-01Z, 0 in a new log: no later record may be
    /// below it. When that record belongs to an unfinished transaction, it is that one's time.
    pub time: i64,
    /// The encoded record (progress, or the last fragment) that gave `position`, when the log still
    /// has it.
    pub record: Option<Bytes>,
    /// The newest position record of the schemas stream, encoded: it tells an emptied log (a
    /// position here, none in the transactions) from a new one.
    pub kept_position: Option<Bytes>,
}

/// The one writer of a pipeline's log.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Adds entries to the open log transaction, atomically with everything appended since the last
    /// commit. May commit by itself between calls at the configured size or age, never inside one
    /// call's entries unless they alone exceed the limits.
    ///
    /// # Errors
    /// `Fenced` when a younger writer took over; `Retry` when the log is away (the open transaction
    /// is lost: drop the writer, open a new one, go on from its tail).
    async fn append(&mut self, entries: Vec<Entry>) -> Result<(), Failure>;

    /// Commits the open log transaction. When it returns, it is durable, and readers see it: at once
    /// in the embedded log, in Kafka a moment later and in each partition on its own.
    ///
    /// # Errors
    /// As [`Writer::append`]; the outcome of a failed commit is known only from the next tail.
    async fn commit(&mut self) -> Result<(), Failure>;

    /// Waits until every entry appended to `stream` has its offset, and gives the newest one's; none
    /// when this writer has appended nothing to it. The entry need not be committed yet.
    ///
    /// # Errors
    /// As [`Writer::append`].
    async fn newest(&mut self, stream: Stream) -> Result<Option<u64>, Failure>;
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
    /// Above the newest committed record, and at or below every record to come.
    pub end: u64,
}

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The oldest record there is.
    Earliest,
    /// Behind the newest record there is.
    Now,
    /// An offset; outside the bounds it is an error, never clamped.
    Offset(u64),
    /// The first record (first fragment) of a position above this one. Transactions stream only.
    After(Position),
    /// The first record (first fragment) whose time is at or after this, 100 ns since 1970-01-01Z.
    /// Transactions stream only.
    Time(i64),
}

impl Seek {
    /// Where a reader of the transactions stream goes for a place.
    pub fn to(place: Place) -> Self {
        match place {
            Place::Earliest => Seek::Earliest,
            Place::Now => Seek::Now,
            Place::Offset(offset) => Seek::Offset(offset),
            Place::Position(position) => Seek::After(position),
            Place::Time(time) => Seek::Time(time),
        }
    }
}

/// A reader of one stream. Sees committed records only.
#[async_trait]
pub trait Reader: Send + Sync {
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

    /// Tells the log's own tools how far the reader called `name` has come: everything below
    /// `next_offset` is done with. Advice for people who look at lag, never read back.
    ///
    /// # Errors
    /// `Retry` when the log is away.
    async fn acknowledge(&mut self, name: &str, next_offset: u64) -> Result<(), Failure> {
        let _ = (name, next_offset);
        Ok(())
    }
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

    /// The identity that the schemas stream keeps; none when it keeps none. It is the identity of the
    /// transactions' records too, and is there when the log has none.
    ///
    /// # Errors
    /// As [`Log::reader`].
    async fn identity(&self) -> Result<Option<Uuid>, Failure> {
        tail::kept_identity(&mut *self.reader(Stream::Schemas).await?).await
    }

    /// What of the connections to it is not protected.
    fn weaknesses(&self) -> Vec<Weakness> {
        Vec::new()
    }

    /// How many partitions the snapshot stream has, at least 1.
    ///
    /// # Errors
    /// As [`Log::reader`].
    async fn snapshot_partitions(&self) -> Result<u32, Failure>;

    /// Removes the records of `stream` below `offset` for good. For operators; readers that are not
    /// past it halt. The schemas stream cannot be trimmed.
    ///
    /// # Errors
    /// `Halt` for an offset outside the bounds and for the schemas stream; `Retry` when the log is
    /// away.
    async fn trim(&self, stream: Stream, offset: u64) -> Result<(), Failure>;
}
