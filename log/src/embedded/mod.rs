//! The embedded log: a RocksDB directory that one process holds.
//!
//! # On disk
//! One key space; see [`layout`] for the bytes. A record's key is its stream and its offset, offsets
//! are dense from 0 in each stream and never used twice. Beside the records stand the format's
//! version, the pipeline's name and each stream's bounds, which are written in the same batch as the
//! records they count.
//!
//! # Why nothing is lost, and what a crash does
//! - *While entries are appended*: they are in memory only; nothing is on disk, nobody saw them.
//! - *In a commit*: the entries of all streams and the new bounds are one RocksDB batch, written to
//!   its log (WAL) and synced before anything else happens. A crash before the sync leaves a torn
//!   WAL tail, which recovery drops as a whole: the commit did not happen. A crash after it: the
//!   commit did happen, whoever may have heard of it.
//! - *After the sync*: only now do the bounds in memory move and the readers wake. A reader never
//!   reads at or above the end it was told, so it sees whole commits and durable ones only.
//! - *In a trim*: the range delete and the new lower bound are one batch too. Giving the files back
//!   comes after it and may be repeated.
//! - A WAL that is damaged anywhere but at its tail, or an SST that fails its checksum, is an error
//!   of RocksDB and halts: it is never read past.
//! - A failed write leaves the store refusing every later one: what RocksDB did with it is known
//!   only after it has been opened again.
//!
//! # One writer
//! Each [`Log::writer`] takes the next generation under the lock that commits take; a commit of an
//! older generation is refused there. Other processes are kept out by RocksDB's own lock file.

mod layout;
mod reader;
mod store;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockstep_common::{Failure, config};

use self::reader::EmbeddedReader;
use self::store::Store;
use self::writer::EmbeddedWriter;
use crate::limits::Limits;
use crate::{Log, Reader, SNAPSHOT_PARTITIONS, Stream, Tail, Writer, tail};

/// As a Kafka log's defaults: they bound memory and what a commit carries.
const LIMITS: Limits = Limits { bytes: 8 << 20, time: Duration::from_millis(50) };

/// A pipeline's log in a directory of this machine.
#[derive(Debug)]
pub struct EmbeddedLog {
    store: Arc<Store>,
}

impl EmbeddedLog {
    /// Opens the directory, or makes it.
    ///
    /// # Errors
    /// `Halt` when another process has it open, when it holds something else or another pipeline's
    /// log, or when its disk fails.
    pub async fn open(config: &config::EmbeddedLog, pipeline: &str) -> Result<Self, Failure> {
        let (path, retention) = (config.path.clone(), config.retention);
        let pipeline = pipeline.to_owned();
        let store = blocking(move || Store::open(&path, &pipeline, retention)).await?;
        Ok(EmbeddedLog { store: Arc::new(store) })
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn writer(&self) -> Result<(Box<dyn Writer>, Tail), Failure> {
        let generation = self.store.take_over();
        let mut writer = EmbeddedWriter::new(self.store.clone(), generation, LIMITS);
        let mut probe = EmbeddedReader::new(self.store.clone(), Stream::Transactions)?;
        let mut schemas = EmbeddedReader::new(self.store.clone(), Stream::Schemas)?;
        let bounds = self.store.bounds(Stream::Transactions)?;
        let tail = tail::find(&mut writer, &mut schemas, &mut probe, bounds).await?;
        Ok((Box::new(writer), tail))
    }

    async fn reader(&self, stream: Stream) -> Result<Box<dyn Reader>, Failure> {
        Ok(Box::new(EmbeddedReader::new(self.store.clone(), stream)?))
    }

    async fn snapshot_partitions(&self) -> Result<u32, Failure> {
        Ok(SNAPSHOT_PARTITIONS)
    }

    async fn trim(&self, stream: Stream, offset: u64) -> Result<(), Failure> {
        let store = self.store.clone();
        blocking(move || store.trim(stream, offset)).await
    }
}

/// Runs what may wait for a disk off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Failure::retry("log.stopping", "the runtime is shutting down")),
        },
    }
}
