//! A log to test: either kind, each its own pipeline.

use std::sync::Arc;
use std::time::Duration;

use lockstep_common::{Disposition, Failure, config};
use lockstep_log::{Batch, Item, Log, Reader, Seek, Stream, Tail, Writer, open};
use tempfile::TempDir;
use uuid::Uuid;

use crate::broker;
use crate::records::Scribe;

pub struct Bed {
    pub log: Arc<dyn Log>,
    pub pipeline: String,
    pub config: config::Log,
    _directory: Option<TempDir>,
}

impl Bed {
    pub async fn embedded() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = config::Log::Embedded(config::EmbeddedLog {
            path: directory.path().join("log"),
            retention: None,
        });
        Self::new(config, "embedded".to_owned(), Some(directory)).await
    }

    /// None when Kafka tests are switched off.
    pub async fn kafka() -> Option<Self> {
        let brokers = broker::shared()?;
        let pipeline = format!("t{}", Uuid::new_v4().simple());
        Some(Self::new(broker::config(&brokers), pipeline, None).await)
    }

    pub async fn new(config: config::Log, pipeline: String, directory: Option<TempDir>) -> Self {
        let log = open(&config, &pipeline).await.expect("the log opens");
        Bed { log, pipeline, config, _directory: directory }
    }

    pub async fn writer(&self) -> (Box<dyn Writer>, Tail) {
        self.log.writer().await.expect("a writer")
    }

    /// A writer that has written and committed its epoch record at position `n`.
    pub async fn scribe(&self, n: u64) -> (Box<dyn Writer>, Scribe) {
        let (mut writer, tail) = self.writer().await;
        let scribe = Scribe { log_id: tail.log_id, epoch: tail.epoch + 1 };
        writer.append(vec![scribe.epoch(n)]).await.expect("the epoch record is appended");
        writer.commit().await.expect("the epoch record is committed");
        (writer, scribe)
    }

    pub async fn reader(&self, stream: Stream) -> Box<dyn Reader> {
        self.log.reader(stream).await.expect("a reader")
    }

    /// Everything committed in `stream`, once that is `least` records: a Kafka commit shows a moment
    /// after it returned.
    pub async fn all(&self, stream: Stream, least: usize) -> Vec<Item> {
        let mut reader = self.reader(stream).await;
        reader.seek(Seek::Earliest).await.expect("seeks to the start");
        let mut all = Vec::new();
        loop {
            match read(&mut *reader).await {
                Batch::Items(items) => all.extend(items),
                Batch::CaughtUp { .. } if all.len() >= least => return all,
                Batch::CaughtUp { .. } => {}
            }
        }
    }
}

/// Reads until caught up.
pub async fn drain(reader: &mut dyn Reader) -> Vec<Item> {
    let mut all = Vec::new();
    while let Batch::Items(items) = read(reader).await {
        all.extend(items);
    }
    all
}

/// One read that must come, and soon enough for a person to wait for it.
pub async fn read(reader: &mut dyn Reader) -> Batch {
    let read = tokio::time::timeout(Duration::from_secs(60), reader.read());
    read.await.expect("the log answers within a minute").expect("a batch")
}

/// The failure of what must halt.
pub fn halted<T>(result: Result<T, Failure>) -> Failure {
    match result {
        Err(failure) if failure.disposition() == Disposition::Halt => failure,
        Err(failure) => panic!("not a halt: {failure}"),
        Ok(_) => panic!("this must halt"),
    }
}
