//! The log in Apache Kafka.
//!
//! # Why nothing is lost, doubled or reordered
//! - One transactional, idempotent producer writes a pipeline's topics (`transactional.id` is the
//!   pipeline's name): retries neither double nor reorder, and taking the id over fences whoever had
//!   it before and aborts what it had left open.
//! - `acks=all`: what is committed is on as many brokers as the topic demands (`min.insync.replicas`
//!   is the broker's setting and the operator's choice).
//! - Readers read committed records only. They are assigned, never subscribed: no group decides
//!   where they read. An offset that is gone is an error, never a jump to another one.
//! - *A writer dies before its commit*: its records stay invisible, and the next writer, or the
//!   broker after ten minutes, aborts them. *In the commit*: Kafka has either noted it or not; the next
//!   writer waits for that to settle and then finds the tail.
//! - A Kafka transaction becomes visible in each partition on its own, a moment after the commit
//!   returned. So what a record refers to is committed in an earlier one ([`Schemas`]), and readers
//!   wait for it for a moment.
//!
//! Kafka's transactions carry many of the source's or a part of one: their borders mean nothing.
//!
//! [`Schemas`]: crate::Schemas

mod client;
mod cursor;
mod failure;
mod producer;
mod reader;
mod topics;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use lockstep_common::Code;
use lockstep_common::config::Weakness;
use lockstep_common::{Failure, config};

use self::client::{Client, PATIENCE};
use self::cursor::Cursor;
use self::reader::{KafkaReader, SEARCH_WAIT};
use self::writer::KafkaWriter;
use crate::failures::{outside, untrimmable};
use crate::limits::Limits;
use crate::{Log, Reader, Stream, Tail, Writer, tail};

/// A pipeline's log in Kafka.
#[derive(Debug)]
pub struct KafkaLog {
    client: Arc<Client>,
    config: config::KafkaLog,
    limits: Limits,
}

impl KafkaLog {
    /// Takes the configuration; connects to nothing yet.
    ///
    /// # Errors
    /// `Halt` for a property that Lockstep sets itself, or limits beyond what Kafka would bear.
    pub fn open(config: &config::KafkaLog, pipeline: &str) -> Result<Self, Failure> {
        let limits = limits(config)?;
        let client = Arc::new(Client::new(config, pipeline)?);
        Ok(KafkaLog { client, config: config.clone(), limits })
    }
}

/// A Kafka transaction must end long before the broker would end it.
fn limits(config: &config::KafkaLog) -> Result<Limits, Failure> {
    let bytes = usize::try_from(config.transaction_bytes.as_u64()).unwrap_or(usize::MAX);
    let time = config.transaction_time;
    if time > PATIENCE || bytes == 0 || bytes > 1 << 30 {
        return Err(Failure::new(
            Code::LogKafkaConfig,
            format!(
                "transaction_time is {time:?}, transaction_bytes {}: out of range",
                config.transaction_bytes
            ),
        )
        .remedy(format!(
            "give a transaction_time of at most {PATIENCE:?} and transaction_bytes up to 1 GiB"
        )));
    }
    Ok(Limits { bytes, time })
}

#[async_trait]
impl Log for KafkaLog {
    fn weaknesses(&self) -> Vec<Weakness> {
        self.config.weaknesses()
    }

    async fn writer(&self) -> Result<(Box<dyn Writer>, Tail), Failure> {
        let created = topics::ensure(&self.client, &self.config).await?;
        let mut writer = KafkaWriter::open(self.client.clone(), self.limits).await?;
        let schemas = KafkaReader::open(self.client.clone(), Stream::Schemas).await;
        let mut schemas = schemas.map_err(|failure| match failure.code {
            Code::LogNoStream if created => {
                Failure::new(Code::LogNotYet, "the topics are not known everywhere")
            }
            _ => failure,
        })?;
        let mut probe = Cursor::new(&self.client, Stream::Transactions, SEARCH_WAIT)?;
        let bounds = probe.bounds().await?;
        let tail = tail::find(&mut writer, &mut schemas, &mut probe, bounds).await?;
        Ok((Box::new(writer), tail))
    }

    async fn reader(&self, stream: Stream) -> Result<Box<dyn Reader>, Failure> {
        Ok(Box::new(KafkaReader::open(self.client.clone(), stream).await?))
    }

    async fn snapshot_partitions(&self) -> Result<u32, Failure> {
        let (topic, _) = self.client.place(Stream::Snapshot(0));
        let consumer = Arc::new(self.client.consumer(SEARCH_WAIT)?);
        topics::partitions(&consumer, &topic).await?.ok_or_else(|| {
            Failure::new(Code::LogNoStream, format!("topic {topic} is not there"))
                .remedy("capture makes the topics at its first start")
        })
    }

    async fn trim(&self, stream: Stream, offset: u64) -> Result<(), Failure> {
        if stream == Stream::Schemas {
            return Err(untrimmable());
        }
        let bounds = Cursor::new(&self.client, stream, SEARCH_WAIT)?.bounds().await?;
        if !(bounds.first..=bounds.end).contains(&offset) {
            return Err(outside(stream, offset, bounds));
        }
        topics::delete_records(&self.client, stream, offset).await
    }
}
