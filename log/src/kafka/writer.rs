//! The transactional producer behind a Kafka log.
//!
//! A call's entries go into the open Kafka transaction; it is committed by the caller, or before a
//! call whose entries would exceed the limits. Any error ends the writer: Kafka may or may not have
//! committed, and only the tail that the next writer finds tells. That writer's `init_transactions`
//! aborts what this one left open, so that nothing is ever appended twice.
//!
//! Being fenced must not be mistaken for a lost connection: the caller would open the next writer
//! and fence the one that rightly took over. So an error that leaves it open is settled by aborting:
//! Kafka refuses that to a fenced producer. The other way about, Kafka says "fenced" as well to a
//! writer whose transaction it has ended for its age, as after a long suspension of the process; with
//! a transaction that old, this one says `Retry`. Should another writer have taken over meanwhile,
//! that one is then fenced: still only one goes on.

use lockstep_common::Code;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use lockstep_common::Failure;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as KafkaCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

use super::client::{Client, Held, PATIENCE, TRANSACTION_TIMEOUT};
use super::failure::{by_code, failure};
use super::producer::Producer;
use crate::blocking::blocking;
use crate::limits::{Limits, Open, weight};
use crate::{Entry, Stream, Writer};

pub(super) struct KafkaWriter {
    client: Arc<Client>,
    producer: Arc<Held<Producer>>,
    limits: Limits,
    open: Option<Open>,
}

impl KafkaWriter {
    /// Fences the writer before and aborts what it left open.
    pub(super) async fn open(client: Arc<Client>, limits: Limits) -> Result<Self, Failure> {
        let producer = Arc::new(client.producer()?);
        let mut writer = KafkaWriter { client, producer, limits, open: None };
        writer.blocking("taking over the log", |p| p.init_transactions(PATIENCE)).await?;
        Ok(writer)
    }

    async fn send(&mut self, entry: &Entry) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_send(entry) {
            let full = error.rdkafka_error_code() == Some(KafkaCode::QueueFull);
            if !full || Instant::now() > deadline {
                return Err(self.settle("appending", error).await);
            }
            self.blocking("appending", move |producer| {
                producer.wait_for_room(deadline);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    fn try_send(&self, entry: &Entry) -> Result<(), KafkaError> {
        let (topic, partition) = self.client.place(entry.stream);
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&topic).partition(partition).payload(&entry.payload);
        if let Some(key) = &entry.key {
            record = record.key(key);
        }
        if let Some((position, fragment)) = &entry.headers {
            let (position, fragment) = (position.to_string(), fragment.to_string());
            let headers = OwnedHeaders::new_with_capacity(2)
                .insert(Header { key: "position", value: Some(&position) })
                .insert(Header { key: "fragment", value: Some(&fragment) });
            record = record.headers(headers);
        }
        self.producer.hand_over(record)
    }

    /// Runs a call of librdkafka that waits, off the async threads.
    async fn blocking(
        &mut self,
        doing: &'static str,
        call: impl FnOnce(&Producer) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), Failure> {
        let producer = self.producer.clone();
        match blocking(move || call(&producer)).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(self.settle(doing, error).await),
        }
    }

    /// What an error means, asking Kafka where it leaves open whether this writer is fenced.
    async fn settle(&mut self, doing: &'static str, error: KafkaError) -> Failure {
        let producer = self.producer.clone();
        let too_old = self.open.is_some_and(|open| open.age() >= TRANSACTION_TIMEOUT);
        let settled = blocking(move || {
            if producer.client().fatal_error().is_none() && needs_abort(&error) {
                // The outcome shows in `fatal_error`.
                let _ = producer.abort_transaction(PATIENCE);
            }
            match producer.client().fatal_error() {
                Some(_) if too_old => Failure::new(
                    Code::LogTransactionTimeout,
                    format!("{doing}: the log transaction was open for too long"),
                ),
                Some((KafkaCode::InvalidProducerEpoch, _)) => {
                    by_code(doing, KafkaCode::ProducerFenced)
                }
                Some((code, _)) => by_code(doing, code).with_source(error),
                None => failure(doing, error),
            }
        });
        settled.await.unwrap_or_else(|stopping| stopping)
    }
}

/// Whether a transaction of this producer may be open and in error: sending into such a one gives
/// `State`, and a record that is not delivered makes it one.
fn needs_abort(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.txn_requires_abort(),
        KafkaError::MessageProduction(code) => *code != KafkaCode::QueueFull,
        _ => false,
    }
}

#[async_trait]
impl Writer for KafkaWriter {
    async fn append(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let more = entries.iter().map(weight).sum();
        if self.open.is_some_and(|open| open.is_full_for(more, &self.limits)) {
            self.commit().await?;
        }
        for entry in entries {
            if self.open.is_some_and(|open| open.is_over(&self.limits)) {
                self.commit().await?;
            }
            if self.open.is_none() {
                if let Err(error) = self.producer.begin_transaction() {
                    return Err(self.settle("beginning a log transaction", error).await);
                }
                self.open = Some(Open::new());
            }
            self.send(&entry).await?;
            if let Some(open) = &mut self.open {
                open.add(weight(&entry));
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        if self.open.is_none() {
            return Ok(());
        }
        let committed = self.blocking("committing", |producer| {
            let deadline = Instant::now() + PATIENCE;
            // Not left to the commit: waiting there goes in steps of 100 ms.
            producer.drain(deadline);
            producer.commit_transaction(deadline.saturating_duration_since(Instant::now()))
        });
        committed.await?;
        // Not before: a writer that failed to commit must not seem to have nothing open.
        self.open = None;
        Ok(())
    }
    async fn newest(&mut self, stream: Stream) -> Result<Option<u64>, Failure> {
        self.blocking("waiting for offsets", |producer| {
            if producer.drain(Instant::now() + PATIENCE) {
                Ok(())
            } else {
                Err(KafkaError::Flush(KafkaCode::OperationTimedOut))
            }
        })
        .await?;
        let (topic, partition) = self.client.place(stream);
        let newest = self.producer.newest(&topic, partition);
        match newest {
            Ok(newest) => Ok(newest),
            Err(error) => Err(self.settle("waiting for offsets", error).await),
        }
    }
}
