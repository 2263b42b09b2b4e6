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
//! older generation is refused there. Other processes are kept out by RocksDB's own lock file; they may read
//! ([`EmbeddedLog::open_for_reading`]).

mod directory;
mod layout;
mod reader;
mod store;
mod writer;

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use lockstep_common::Code;
use lockstep_common::{Failure, config};

use self::reader::EmbeddedReader;
use self::store::Store;
use self::writer::EmbeddedWriter;
use crate::blocking::blocking;
use crate::limits::Limits;
use crate::{Log, Reader, SNAPSHOT_PARTITIONS, Stream, Tail, Writer, tail};

/// As a Kafka log's defaults: they bound memory and what a commit carries.
const LIMITS: Limits = Limits { bytes: 8 << 20, time: Duration::from_millis(50) };

/// How often a log that another process writes is looked at: a file's change wakes nobody here.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

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
        let store = blocking(move || Store::open(&path, &pipeline, retention)).await??;
        Ok(EmbeddedLog { store: Arc::new(store) })
    }

    /// Opens the log that another process may be writing, to read it and nothing else. Its readers see
    /// what is committed within [`LOOK_AGAIN`]; it has no writer.
    ///
    /// # Errors
    /// `Halt` when there is no log in the directory yet (`log.no_stream`), when it holds something else
    /// or another pipeline's log, or when it cannot be read.
    pub async fn open_for_reading(
        config: &config::EmbeddedLog,
        pipeline: &str,
    ) -> Result<Self, Failure> {
        let (path, pipeline) = (config.path.clone(), pipeline.to_owned());
        let shown = path.display().to_string();
        let store = blocking(move || Store::open_for_reading(&path, &pipeline)).await??;
        let store = store.ok_or_else(|| {
            Failure::new(Code::LogNoStream, format!("there is no embedded log in {shown} yet"))
                .remedy("capture makes it at its first start")
        })?;
        let store = Arc::new(store);
        tokio::spawn(keep_looking(Arc::downgrade(&store)));
        Ok(EmbeddedLog { store })
    }
}

/// Follows what another process commits, for as long as somebody reads.
async fn keep_looking(store: Weak<Store>) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let Some(store) = store.upgrade() else { return };
        if let Err(failure) = blocking(move || store.look_again()).await.flatten() {
            tracing::warn!(error = %failure, "cannot look for newer records");
        }
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn writer(&self) -> Result<(Box<dyn Writer>, Tail), Failure> {
        let generation = self.store.take_over()?;
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
        blocking(move || store.trim(stream, offset)).await?
    }
}
