//! Readers of the embedded log: any number, woken by commits.

use std::sync::Arc;

use async_trait::async_trait;
use lockstep_common::Code;
use lockstep_common::Failure;
use tokio::sync::watch;

use super::store::{Store, Streams};
use crate::blocking::blocking;
use crate::failures::{missing, outside, unsearchable};
use crate::search::{Probe, Search};
use crate::tail::Kept;
use crate::{Batch, Bounds, Item, Reader, Seek, Stream};

/// Payload bytes after which a batch ends.
const BATCH_BYTES: usize = 1 << 20;

pub(super) struct EmbeddedReader {
    store: Arc<Store>,
    stream: Stream,
    committed: watch::Receiver<Streams>,
    next: u64,
    /// [`Batch::CaughtUp`] has been given and nothing since.
    told: bool,
}

impl EmbeddedReader {
    pub(super) fn new(store: Arc<Store>, stream: Stream) -> Result<Self, Failure> {
        let next = store.bounds(stream)?.first;
        let committed = store.subscribe();
        Ok(EmbeddedReader { store, stream, committed, next, told: false })
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn read(&mut self) -> Result<Batch, Failure> {
        loop {
            let bounds = self.committed.borrow_and_update().bounds(self.stream)?;
            if !(bounds.first..=bounds.end).contains(&self.next) {
                return Err(missing(self.stream, self.next, bounds));
            }
            if self.next < bounds.end {
                let (store, stream, from) = (self.store.clone(), self.stream, self.next);
                let items =
                    blocking(move || store.read(stream, from, bounds.end, BATCH_BYTES)).await??;
                let Some(last) = items.last() else {
                    // Only compaction leaves nothing up to the end.
                    self.next = bounds.end;
                    continue;
                };
                self.next = last.offset + 1;
                self.told = false;
                return Ok(Batch::Items(items));
            }
            if !self.told {
                self.told = true;
                return Ok(Batch::CaughtUp { next_offset: self.next });
            }
            if self.committed.changed().await.is_err() {
                return Err(Failure::new(Code::LogClosed, "the embedded log has been closed"));
            }
        }
    }

    async fn bounds(&mut self) -> Result<Bounds, Failure> {
        self.store.bounds(self.stream)
    }

    async fn seek(&mut self, to: Seek) -> Result<u64, Failure> {
        let bounds = self.store.bounds(self.stream)?;
        let offset = match to {
            Seek::Earliest => bounds.first,
            Seek::Now => bounds.end,
            Seek::Offset(offset) if (bounds.first..=bounds.end).contains(&offset) => offset,
            Seek::Offset(offset) => return Err(outside(self.stream, offset, bounds)),
            Seek::After(position) => {
                let kept = self.searchable().await?;
                Search::new(self, &kept.decoder).after(bounds, position).await?
            }
            Seek::Time(time) => {
                let kept = self.searchable().await?;
                Search::new(self, &kept.decoder).at_time(bounds, time).await?
            }
        };
        self.next = offset;
        self.told = false;
        Ok(offset)
    }
}

impl EmbeddedReader {
    /// What it takes to read the records of a stream that can be searched.
    async fn searchable(&self) -> Result<Kept, Failure> {
        match self.stream {
            Stream::Transactions => {
                Kept::read(&mut EmbeddedReader::new(self.store.clone(), Stream::Schemas)?).await
            }
            other => Err(unsearchable(other)),
        }
    }
}

#[async_trait]
impl Probe for EmbeddedReader {
    async fn at_or_after(&mut self, from: u64, end: u64) -> Result<Option<Item>, Failure> {
        let (store, stream) = (self.store.clone(), self.stream);
        Ok(blocking(move || store.read(stream, from, end, 1)).await??.pop())
    }
}
