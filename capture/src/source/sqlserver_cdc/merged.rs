//! A window's changes over all instances, merged.

use async_trait::async_trait;
use futures_util::future;
use lockstep_common::Failure;

use super::instance_reader::{self, InstanceReader, KeyedChange};
use super::lsn::Lsn;
use super::merge::{Merge, TransactionIndex};
use crate::source::{Changes, LocatedChange};

/// Changes and bytes given at a time.
const BATCH_CHANGES: usize = 1024;
const BATCH_BYTES: usize = 256 << 10;

/// Merges feeds.
pub struct Merged {
    feeds: Vec<Head>,
    merge: Merge,
    places: TransactionIndex,
    primed: bool,
    /// Changes in the last batch.
    last: usize,
}

/// A feed and what was taken from it and is not given yet.
struct Head {
    feed: InstanceReader,
    batch: std::vec::IntoIter<KeyedChange>,
    next: Option<KeyedChange>,
}

impl Head {
    /// Brings up the feed's next change.
    async fn advance(&mut self) -> Result<(), Failure> {
        if let Some(next) = self.batch.next() {
            self.next = Some(next);
            return Ok(());
        }
        self.batch = self.feed.next().await?.unwrap_or_default().into_iter();
        self.next = self.batch.next();
        Ok(())
    }
}

impl Merged {
    /// Of `feeds`, over a window's LSNs.
    pub fn new(feeds: Vec<InstanceReader>, lsns: Vec<Lsn>) -> Self {
        let head = |feed| Head { feed, batch: Vec::new().into_iter(), next: None };
        Merged {
            feeds: feeds.into_iter().map(head).collect(),
            merge: Merge::default(),
            places: TransactionIndex::new(lsns),
            primed: false,
            last: 0,
        }
    }

    /// Gets every feed's first change, all at once.
    async fn prime(&mut self) -> Result<(), Failure> {
        future::try_join_all(self.feeds.iter_mut().map(Head::advance)).await?;
        for (i, head) in self.feeds.iter().enumerate() {
            if let Some(next) = &head.next {
                self.merge.push(next.key, i);
            }
        }
        self.primed = true;
        Ok(())
    }
}

#[async_trait]
impl Changes for Merged {
    async fn next(&mut self) -> Result<Option<Vec<LocatedChange>>, Failure> {
        if !self.primed {
            self.prime().await?;
        }
        let mut batch = Vec::with_capacity(self.last);
        let mut bytes = 0;
        while batch.len() < BATCH_CHANGES && bytes < BATCH_BYTES {
            let Some(i) = self.merge.pop() else { break };
            let feed = &mut self.feeds[i];
            let Some(KeyedChange { key, change, size }) = feed.next.take() else { continue };
            feed.advance().await?;
            if let Some(next) = &feed.next {
                self.merge.push(next.key, i);
            }
            let place = self.places.find(key.start_lsn);
            let head = place.map_err(|error| {
                instance_reader::contradiction(error, "order the changes of a window")
            })?;
            batch.push(LocatedChange { head, change, size });
            bytes += size;
        }
        self.last = batch.len();
        Ok((!batch.is_empty()).then_some(batch))
    }
}
