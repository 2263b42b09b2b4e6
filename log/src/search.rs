//! Finding records in the transactions stream without an index.
//!
//! One primitive is enough: a [`Probe`] gives the first readable record at or above an offset. Most
//! offsets need not hold one (in Kafka: commit markers and aborted attempts), so that "the last
//! record" and "the record before" are searches too. Searches run within bounds taken at their
//! start; what is committed meanwhile lies above them.
//!
//! What makes bisection right. Along the stream
//! - (epoch, position) never decreases: a writer goes forward, and the next epoch's first record
//!   stands at the position where the complete records before it ended;
//! - the *settled* position never decreases: a record's own position, or, for a fragment that is not
//!   the last, the one before its transaction. It does not fall back where an epoch voids unfinished
//!   fragments, which the position alone does;
//! - time never decreases.

use async_trait::async_trait;
use bytes::Bytes;
use lockstep_common::codec::{Decoder, Header};
use lockstep_common::{Failure, Position};

use crate::{Bounds, Item};

/// Random access to the transactions stream.
#[async_trait]
pub(crate) trait Probe: Send {
    /// The first record at or above `from` and below `end`.
    async fn at_or_after(&mut self, from: u64, end: u64) -> Result<Option<Item>, Failure>;
}

/// A record found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) header: Header,
    pub(crate) payload: Bytes,
}

impl Found {
    fn is_unfinished(&self) -> bool {
        self.header.fragment.is_some_and(|fragment| !fragment.last)
    }

    /// The position that is complete once this record has been read.
    fn settled(&self) -> Position {
        if self.is_unfinished() { self.header.after } else { self.header.position }
    }

    fn rank(&self) -> (u64, Position) {
        (self.header.epoch, self.header.position)
    }
}

/// What the newest records say.
#[derive(Debug)]
pub(crate) struct Newest {
    /// The last record of all.
    pub(crate) last: Found,
    /// The position that is complete.
    pub(crate) position: Position,
    /// The record that completed it, if the log still has it.
    pub(crate) record: Option<Bytes>,
}

/// Searches of the transactions stream; `decoder` knows the schemas of its writers.
pub(crate) struct Search<'a> {
    probe: &'a mut dyn Probe,
    decoder: &'a Decoder,
}

impl<'a> Search<'a> {
    pub(crate) fn new(probe: &'a mut dyn Probe, decoder: &'a Decoder) -> Self {
        Search { probe, decoder }
    }

    /// Looks at the stream's end; none when it holds no record.
    pub(crate) async fn newest(&mut self, bounds: Bounds) -> Result<Option<Newest>, Failure> {
        let Some(last) = self.last(bounds).await? else { return Ok(None) };
        let position = last.settled();
        let record = if last.header.completes() {
            Some(last.payload.clone())
        } else {
            self.completing(Bounds { first: bounds.first, end: last.offset }, position).await?
        };
        Ok(Some(Newest { last, position, record }))
    }

    /// The first record (first fragment) of a position above `position`; the end when there is none.
    pub(crate) async fn after(
        &mut self,
        bounds: Bounds,
        position: Position,
    ) -> Result<u64, Failure> {
        let above = self.first_where(bounds, |found| found.settled() > position).await?;
        let target = match above {
            Some(found) => Some(found),
            // The transaction above may have begun and not ended yet.
            None => self.last(bounds).await?.filter(|found| found.header.position > position),
        };
        let Some(target) = target else { return Ok(bounds.end) };
        let up_to = Bounds { first: bounds.first, end: target.offset + 1 };
        let first = self.first_where(up_to, |found| found.rank() >= target.rank()).await?;
        Ok(first.map_or(target.offset, |found| found.offset))
    }

    /// The first record whose time is at or after `time`; the end when there is none.
    pub(crate) async fn at_time(&mut self, bounds: Bounds, time: i64) -> Result<u64, Failure> {
        let found = self.first_where(bounds, |found| found.header.time >= time).await?;
        Ok(found.map_or(bounds.end, |found| found.offset))
    }

    /// The transaction's last fragment or the progress that brought the stream to `position`. Other
    /// records may stand at that position before it (the epoch record of a new log, a timeline).
    async fn completing(
        &mut self,
        bounds: Bounds,
        position: Position,
    ) -> Result<Option<Bytes>, Failure> {
        let mut next = self.first_where(bounds, |found| found.settled() >= position).await?;
        while let Some(found) = next {
            if found.is_unfinished() || found.header.position != position {
                return Ok(None);
            }
            if found.header.completes() {
                return Ok(Some(found.payload));
            }
            next = self.at_or_after(found.offset + 1, bounds.end).await?;
        }
        Ok(None)
    }

    /// The last record: steps back from the end in doubling strides until there is something to
    /// read, then bisects forward.
    async fn last(&mut self, bounds: Bounds) -> Result<Option<Found>, Failure> {
        let mut stride = 1;
        let mut empty_from = bounds.end;
        let mut newest = loop {
            if empty_from <= bounds.first {
                return Ok(None);
            }
            let from = bounds.end.saturating_sub(stride).max(bounds.first);
            if let Some(found) = self.at_or_after(from, empty_from).await? {
                break found;
            }
            empty_from = from;
            stride = stride.saturating_mul(2);
        };
        while newest.offset + 1 < empty_from {
            let middle = newest.offset + (empty_from - newest.offset) / 2;
            match self.at_or_after(middle, empty_from).await? {
                Some(found) => newest = found,
                None => empty_from = middle,
            }
        }
        Ok(Some(newest))
    }

    /// The first record that `wanted` is true of, when it is true of all the records after that one.
    async fn first_where(
        &mut self,
        bounds: Bounds,
        wanted: impl Fn(&Found) -> bool + Send,
    ) -> Result<Option<Found>, Failure> {
        let (mut low, mut high) = (bounds.first, bounds.end);
        let mut best = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at_or_after(middle, high).await? {
                Some(found) if !wanted(&found) => low = found.offset + 1,
                Some(found) => {
                    best = Some(found);
                    high = middle;
                }
                None => high = middle,
            }
        }
        Ok(best)
    }

    async fn at_or_after(&mut self, from: u64, end: u64) -> Result<Option<Found>, Failure> {
        let Some(Item { offset, payload, .. }) = self.probe.at_or_after(from, end).await? else {
            return Ok(None);
        };
        let header = self.decoder.header(&payload).map_err(|error| {
            let mut failure = Failure::from(error);
            failure.message =
                format!("transactions record at offset {offset}: {}", failure.message);
            failure
        })?;
        Ok(Some(Found { offset, header, payload }))
    }
}
