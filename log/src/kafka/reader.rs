//! Readers of a Kafka log: assigned, never subscribed; read committed; an offset that is gone is an
//! error.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockstep_common::Code;
use lockstep_common::Failure;
use rdkafka::consumer::{CommitMode, Consumer as _};

use super::client::{Client, Committer};
use super::cursor::{Cursor, Step, place_at};
use super::failure::failure;
use super::topics;
use crate::failures::{outside, unsearchable};
use crate::search::Search;
use crate::tail::Kept;
use crate::{Batch, Bounds, Reader, Seek, Stream};

/// Payload bytes after which a batch ends.
const BATCH_BYTES: usize = 1 << 20;
/// How late a reader may learn that it has caught up. Records come at once.
const END_WAIT: Duration = Duration::from_millis(100);
/// The same for searches, which meet the end often, and for a start, which waits for the schemas' end.
pub(super) const SEARCH_WAIT: Duration = Duration::from_millis(5);

/// After so long without a record the broker is asked whether it is there: librdkafka goes on trying
/// one that is frozen for a minute before it says so, and then tells no reader.
const QUIET: Duration = Duration::from_secs(5);

pub(super) struct KafkaReader {
    client: Arc<Client>,
    stream: Stream,
    cursor: Cursor,
    /// The cursor learns of the end after [`SEARCH_WAIT`]: only up to the first one, for a consumer
    /// that asks so often is a burden to the broker.
    quick: bool,
    /// [`Batch::CaughtUp`] has been given and nothing since.
    told: bool,
    /// What came behind the items of the last batch.
    pending: Option<Result<(), Failure>>,
    committer: Option<(String, Committer)>,
}

impl KafkaReader {
    /// A reader at the stream's beginning.
    pub(super) async fn open(client: Arc<Client>, stream: Stream) -> Result<Self, Failure> {
        let quick = stream == Stream::Schemas;
        let wait = if quick { SEARCH_WAIT } else { END_WAIT };
        let mut cursor = Cursor::new(&client, stream, wait)?;
        let (topic, partition) = client.place(stream);
        let partitions = topics::partitions(cursor.consumer(), &topic).await?;
        let there = partitions.is_some_and(|count| i64::from(partition) < i64::from(count));
        if !there {
            return Err(Failure::new(
                Code::LogNoStream,
                format!("topic {topic} has no partition {partition}"),
            )
            .remedy(
                "capture makes the topics at its first start; if they were deleted, the log is \
                 lost: load the targets again",
            ));
        }
        if stream == Stream::Transactions && partitions != Some(1) {
            return Err(Failure::new(
                Code::LogTopicShape,
                format!("topic {topic} has {partitions:?} partitions and must have exactly one"),
            )
            .remedy("its order is lost: make the pipeline anew under another name"));
        }
        let first = cursor.bounds().await?.first;
        cursor.go_to(first);
        let (told, pending, committer) = (false, None, None);
        Ok(KafkaReader { client, stream, cursor, quick, told, pending, committer })
    }

    /// What a search of this reader's stream needs.
    async fn searchable(&self) -> Result<(Cursor, Kept), Failure> {
        if self.stream != Stream::Transactions {
            return Err(unsearchable(self.stream));
        }
        let mut schemas = KafkaReader::open(self.client.clone(), Stream::Schemas).await?;
        let kept = Kept::read(&mut schemas).await?;
        Ok((Cursor::new(&self.client, self.stream, SEARCH_WAIT)?, kept))
    }

    fn caught_up(&mut self) -> Result<Batch, Failure> {
        self.told = true;
        let next_offset = self.cursor.next_offset();
        if self.quick {
            // It asks for nothing before it is read.
            self.cursor = Cursor::new(&self.client, self.stream, END_WAIT)?;
            self.cursor.go_to(next_offset);
            self.quick = false;
        }
        Ok(Batch::CaughtUp { next_offset })
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn read(&mut self) -> Result<Batch, Failure> {
        if let Some(pending) = self.pending.take() {
            pending?;
            return self.caught_up();
        }
        let first = loop {
            match tokio::time::timeout(QUIET, self.cursor.step()).await {
                Ok(step) => match step? {
                    Step::Item(item) => break item,
                    Step::End if self.told => {}
                    Step::End => return self.caught_up(),
                },
                Err(_) => self.cursor.answers().await?,
            }
        };
        self.told = false;
        let mut bytes = first.payload.len();
        let mut items = vec![first];
        let mut ended = false;
        let rest = self.cursor.steps_at_hand(|step| {
            match step {
                Step::Item(item) => {
                    bytes += item.payload.len();
                    items.push(item);
                }
                Step::End => ended = true,
            }
            bytes < BATCH_BYTES && !ended
        });
        let rest = rest.await;
        self.pending = match rest {
            Ok(()) => ended.then_some(Ok(())),
            Err(failure) => Some(Err(failure)),
        };
        Ok(Batch::Items(items))
    }

    async fn bounds(&mut self) -> Result<Bounds, Failure> {
        self.cursor.bounds().await
    }

    async fn seek(&mut self, to: Seek) -> Result<u64, Failure> {
        let bounds = self.cursor.bounds().await?;
        let offset = match to {
            Seek::Earliest => bounds.first,
            Seek::Now => bounds.end,
            Seek::Offset(offset) if (bounds.first..=bounds.end).contains(&offset) => offset,
            Seek::Offset(offset) => return Err(outside(self.stream, offset, bounds)),
            Seek::After(position) => {
                let (mut cursor, kept) = self.searchable().await?;
                Search::new(&mut cursor, &kept.decoder).after(bounds, position).await?
            }
            Seek::Time(time) => {
                let (mut cursor, kept) = self.searchable().await?;
                Search::new(&mut cursor, &kept.decoder).at_time(bounds, time).await?
            }
        };
        self.cursor.go_to(offset);
        self.told = false;
        self.pending = None;
        Ok(offset)
    }

    /// Commits to the group `<pipeline>.<name>`, without waiting for the outcome.
    async fn acknowledge(&mut self, name: &str, next_offset: u64) -> Result<(), Failure> {
        let committer = match self.committer.take() {
            Some((known, committer)) if known == name => committer,
            _ => self.client.committer(name)?,
        };
        let (topic, partition) = self.client.place(self.stream);
        let committed = place_at(&topic, partition, next_offset)
            .and_then(|list| committer.commit(&list, CommitMode::Async));
        // Serves the outcomes of earlier commits.
        let _ = committer.poll(Duration::ZERO);
        self.committer = Some((name.to_owned(), committer));
        committed.map_err(|error| failure("acknowledging", error))
    }
}
