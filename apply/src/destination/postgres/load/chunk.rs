//! The rows of a chunk that has ended, out of the snapshot stream, record by record.
//!
//! Its end says between which offsets all records of the attempt lie, and that none of an earlier
//! attempt does. Others' records may lie between them; a chunk's own are numbered without a gap. Rows
//! are counted by whoever takes them, against the number in the chunk's end. So nothing is missing or
//! doubled, or it is a halt.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::codec::{ChunkReader, Kind};
use lockstep_log::{Batch, Item, Log, Reader, Seek, Stream};

use super::ChunkJob;
use crate::foreign::Foreign;

/// Reads chunks; keeps the reader of the partition it read last.
pub(super) struct ChunkSource {
    log: Arc<dyn Log>,
    foreign: Foreign,
    reader: Option<(u32, Box<dyn Reader>)>,
}

/// A chunk being read.
pub(super) struct ChunkStream<'s> {
    source: &'s mut ChunkSource,
    job: &'s ChunkJob,
    last: u64,
    /// Records read and not given.
    items: VecDeque<Item>,
    /// Number of the chunk's next record.
    index: u32,
    ended: bool,
}

impl ChunkSource {
    pub(super) fn new(log: Arc<dyn Log>) -> Self {
        ChunkSource { foreign: Foreign::new(Arc::clone(&log)), log, reader: None }
    }

    /// Goes to the first record of a chunk.
    ///
    /// # Errors
    /// `Halt` when the log has lost it, `Retry` when the log is away.
    pub(super) async fn open<'s>(
        &'s mut self,
        job: &'s ChunkJob,
    ) -> Result<ChunkStream<'s>, Failure> {
        let opened = self.seek(job).await;
        if opened.is_err() {
            self.reader = None;
        }
        opened?;
        Ok(ChunkStream {
            source: self,
            job,
            last: job.offsets.1,
            items: VecDeque::new(),
            index: 0,
            ended: false,
        })
    }

    async fn seek(&mut self, job: &ChunkJob) -> Result<(), Failure> {
        let reader = match &mut self.reader {
            Some((partition, reader)) if *partition == job.partition => reader,
            other => {
                let reader = self.log.reader(Stream::Snapshot(job.partition)).await?;
                &mut other.insert((job.partition, reader)).1
            }
        };
        let (first, _) = job.offsets;
        let bounds = reader.bounds().await?;
        if first < bounds.first {
            return Err(lost(job, bounds.first));
        }
        // A partition may show what is committed a moment later than another one.
        reader.seek(Seek::Offset(first.min(bounds.end))).await?;
        Ok(())
    }
}

impl ChunkStream<'_> {
    /// The next record of the chunk; none at its end.
    ///
    /// # Errors
    /// `Halt` when the log has lost one or is damaged, `Retry` when it is away.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            while let Some(item) = self.items.pop_front() {
                self.ended |= item.offset >= self.last;
                if item.offset < self.job.offsets.0 || item.offset > self.last {
                    continue;
                }
                if let Some(payload) = self.own(item).await? {
                    return Ok(Some(payload));
                }
            }
            if self.ended {
                return Ok(None);
            }
            let Some((_, reader)) = &mut self.source.reader else { return Ok(None) };
            match reader.read().await {
                Ok(Batch::Items(items)) => self.items.extend(items),
                Ok(Batch::CaughtUp { next_offset }) => self.ended = next_offset > self.last,
                Err(failure) => {
                    self.source.reader = None;
                    return Err(failure);
                }
            }
        }
    }

    /// The record, if it is of this chunk.
    async fn own(&mut self, item: Item) -> Result<Option<Bytes>, Failure> {
        let Some((payload, header)) = self.source.foreign.read(item.payload).await? else {
            return Ok(None);
        };
        if header.kind != Kind::ChunkRows || header.log_id != self.job.log_id {
            return Err(damaged(self.job, "another kind of record stands among its rows"));
        }
        let Some(record) = ChunkReader::new(&payload)? else { return Ok(None) };
        let own = record.load() == self.job.load
            && record.table() == self.job.table
            && record.chunk() == self.job.chunk;
        if !own {
            return Ok(None);
        }
        if record.index() != self.index {
            return Err(damaged(
                self.job,
                &format!("its record {} is absent, found {}", self.index, record.index()),
            ));
        }
        self.index += 1;
        Ok(Some(payload))
    }
}

/// A chunk that is not what its end says.
pub(super) fn damaged(job: &ChunkJob, what: &str) -> Failure {
    Failure::new(
        Code::ApplyLoadDamaged,
        format!("chunk {} of {} (load {}): {what}", job.chunk, job.relation.source, job.load),
    )
    .remedy("the snapshot stream is damaged: restore it, or load the table again")
}

fn lost(job: &ChunkJob, first: u64) -> Failure {
    Failure::new(
        Code::ApplyLoadLost,
        format!(
            "the log has lost rows of chunk {} of {} (load {}): snapshot partition {} begins at \
             offset {first}, the chunk at {}",
            job.chunk, job.relation.source, job.load, job.partition, job.offsets.0
        ),
    )
    .remedy(
        "keep the snapshot stream until every target has loaded from it; load the table again \
         (`lockstep reload`), or reset the target and choose a start point behind the load",
    )
}
