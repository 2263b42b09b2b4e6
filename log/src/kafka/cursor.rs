//! Reading one partition from an offset on: what readers and searches share.

use lockstep_common::Code;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lockstep_common::Failure;
use rdkafka::Message;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as KafkaCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Client, Consumer, PATIENCE};
use super::failure::failure;
use crate::blocking::blocking;
use crate::failures::missing;
use crate::search::Probe;
use crate::{Bounds, Item, Stream};

/// How long a broker that has sent nothing may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);

/// Between two questions for a partition's leader.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// What comes next in the partition.
#[derive(Debug)]
pub(super) enum Step {
    Item(Item),
    /// Everything committed has been read. May come again without a record in between.
    End,
}

/// A consumer assigned to one partition.
pub(super) struct Cursor {
    consumer: Arc<Consumer>,
    stream: Stream,
    topic: String,
    partition: i32,
    /// No record below this may come any more.
    next: u64,
    sent: Sent,
}

/// Where the consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nowhere,
    Elsewhere,
    There,
}

impl Cursor {
    /// A cursor that waits for [`Cursor::go_to`]; `wait` as for [`Client::consumer`].
    pub(super) fn new(client: &Client, stream: Stream, wait: Duration) -> Result<Self, Failure> {
        let (topic, partition) = client.place(stream);
        let consumer = Arc::new(client.consumer(wait)?);
        Ok(Cursor { consumer, stream, topic, partition, next: 0, sent: Sent::Nowhere })
    }

    pub(super) fn consumer(&self) -> &Arc<Consumer> {
        &self.consumer
    }

    pub(super) fn next_offset(&self) -> u64 {
        self.next
    }

    /// Reads from `offset` on. What was fetched for an earlier place is dropped.
    pub(super) fn go_to(&mut self, offset: u64) {
        self.next = offset;
        if self.sent == Sent::There {
            self.sent = Sent::Elsewhere;
        }
    }

    /// The offsets the partition holds now; its end is that of the committed records.
    pub(super) async fn bounds(&self) -> Result<Bounds, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (consumer, topic, partition) =
                (self.consumer.clone(), self.topic.clone(), self.partition);
            let found =
                blocking(move || consumer.fetch_watermarks(&topic, partition, PATIENCE)).await?;
            match found {
                Ok((first, end)) => {
                    return Ok(Bounds {
                        first: u64::try_from(first).unwrap_or_default(),
                        end: u64::try_from(end).unwrap_or_default(),
                    });
                }
                Err(error) if between_leaders(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(LEADER_PAUSE).await;
                }
                Err(error) => {
                    return Err(failure(
                        &format!("asking for the bounds of {}", self.stream),
                        error,
                    ));
                }
            }
        }
    }

    /// Sees that the partition's leader answers.
    ///
    /// # Errors
    /// `Retry` when it does not.
    pub(super) async fn answers(&self) -> Result<(), Failure> {
        let (consumer, topic, partition) =
            (self.consumer.clone(), self.topic.clone(), self.partition);
        let asked = blocking(move || consumer.fetch_watermarks(&topic, partition, ANSWER)).await?;
        match asked {
            Err(error) if !between_leaders(&error) => {
                Err(failure(&format!("reading {}", self.stream), error))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the next step. Cancel-safe.
    pub(super) async fn step(&mut self) -> Result<Step, Failure> {
        self.assign().await?;
        let consumer = self.consumer.clone();
        let mut stream = consumer.stream();
        loop {
            let received = stream.next().await.unwrap_or(Err(KafkaError::Canceled));
            if let Some(step) = self.take(received.map(|message| own(&message))).await? {
                return Ok(step);
            }
        }
    }

    /// Steps that are there already, until `sink` has enough or they end.
    pub(super) async fn steps_at_hand(
        &mut self,
        mut sink: impl FnMut(Step) -> bool,
    ) -> Result<(), Failure> {
        let consumer = self.consumer.clone();
        let mut stream = consumer.stream();
        while let Some(received) = stream.next().now_or_never().flatten() {
            if let Some(step) = self.take(received.map(|message| own(&message))).await?
                && !sink(step)
            {
                break;
            }
        }
        Ok(())
    }

    /// Sends the consumer to `next`. Seeking is much quicker than assigning, and drops what was
    /// fetched before as well; but only its success says that it did.
    async fn assign(&mut self) -> Result<(), Failure> {
        if self.sent == Sent::Elsewhere {
            let (consumer, topic, partition, next) =
                (self.consumer.clone(), self.topic.clone(), self.partition, offset(self.next));
            let sought = blocking(move || consumer.seek(&topic, partition, next, PATIENCE)).await?;
            self.sent = if sought.is_ok() { Sent::There } else { Sent::Nowhere };
        }
        if self.sent == Sent::Nowhere {
            place_at(&self.topic, self.partition, self.next)
                .and_then(|list| self.consumer.assign(&list))
                .map_err(|error| failure(&format!("reading {}", self.stream), error))?;
            self.sent = Sent::There;
        }
        Ok(())
    }

    /// None for what only says that librdkafka is at work on something.
    async fn take(&mut self, received: KafkaResult<Item>) -> Result<Option<Step>, Failure> {
        match received {
            Ok(item) if item.offset < self.next => {
                self.sent = Sent::Nowhere;
                let bounds = Bounds { first: item.offset, end: item.offset };
                Err(missing(self.stream, self.next, bounds))
            }
            Ok(item) => {
                self.next = item.offset + 1;
                Ok(Some(Step::Item(item)))
            }
            Err(KafkaError::PartitionEOF(_)) => Ok(Some(Step::End)),
            Err(error) => match error.rdkafka_error_code() {
                // librdkafka connects again by itself, and says so when no broker is left.
                Some(
                    KafkaCode::BrokerTransportFailure
                    | KafkaCode::Resolve
                    | KafkaCode::OperationTimedOut,
                ) => Ok(None),
                // The group that librdkafka wants decides nothing here.
                Some(
                    KafkaCode::GroupAuthorizationFailed
                    | KafkaCode::CoordinatorNotAvailable
                    | KafkaCode::CoordinatorLoadInProgress
                    | KafkaCode::NotCoordinator,
                ) => Ok(None),
                Some(
                    KafkaCode::AutoOffsetReset
                    | KafkaCode::OffsetOutOfRange
                    | KafkaCode::LogTruncation,
                ) => {
                    self.sent = Sent::Nowhere;
                    Err(missing(self.stream, self.next, self.bounds().await?).with_source(error))
                }
                Some(KafkaCode::AllBrokersDown) => {
                    Err(failure(&format!("reading {}", self.stream), error))
                }
                _ => {
                    self.sent = Sent::Nowhere;
                    Err(failure(&format!("reading {}", self.stream), error))
                }
            },
        }
    }
}

#[async_trait]
impl Probe for Cursor {
    async fn at_or_after(&mut self, from: u64, end: u64) -> Result<Option<Item>, Failure> {
        self.go_to(from);
        match tokio::time::timeout(PATIENCE, self.step()).await {
            Ok(Ok(Step::Item(item))) => Ok((item.offset < end).then_some(item)),
            Ok(Ok(Step::End)) => Ok(None),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::new(
                Code::LogKafkaAway,
                format!("no answer while searching {} at offset {from}", self.stream),
            )),
        }
    }
}

/// A partition that has just been made, or whose leader changes, has none for a moment, and nothing
/// tells when it has.
fn between_leaders(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            KafkaCode::NotLeaderForPartition
                | KafkaCode::LeaderNotAvailable
                | KafkaCode::ReplicaNotAvailable
        )
    )
}

/// One partition at one offset.
pub(super) fn place_at(
    topic: &str,
    partition: i32,
    offset: u64,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, self::offset(offset))?;
    Ok(list)
}

fn offset(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

/// Copies a record out of librdkafka's memory.
fn own(message: &BorrowedMessage<'_>) -> Item {
    Item {
        offset: u64::try_from(message.offset()).unwrap_or_default(),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
    }
}
