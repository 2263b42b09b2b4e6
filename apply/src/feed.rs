//! From the log into the buffer: reads committed records, puts transactions together, hands them on.
//!
//! Runs beside the writing and knows nothing of the target. What is in the buffer and what the log
//! says next always fit together: after any failure reading goes on from the buffer's end, and the
//! fragments of an unfinished transaction are dropped and read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_common::Code;
use lockstep_common::codec::{self, Header, Kind};
use lockstep_common::model::load::LoadMarker;
use lockstep_common::model::place::Place;
use lockstep_common::model::record::Body;
use lockstep_common::{Backoff, FailPoints, Failure, Shutdown};
use lockstep_log::{Batch, Item, Log, Reader, Seek, Stream};
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

use crate::assemble::{Action, Assembler};
use crate::buffer::Buffer;
use crate::failpoints;
use crate::foreign::Foreign;
use crate::report::{Report, Side};
use crate::unit::Mark;

/// The reader that one feed leaves to the next: opening one takes longer than sending it elsewhere.
#[derive(Clone)]
pub(crate) struct LogReader {
    log: Arc<dyn Log>,
    reader: Arc<Mutex<Option<Box<dyn Reader>>>>,
}

impl LogReader {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        LogReader { log, reader: Arc::default() }
    }

    /// The reader, wherever it is; opened if there is none.
    async fn open(&self) -> Result<OwnedMutexGuard<Option<Box<dyn Reader>>>, Failure> {
        let LogReader { log, reader } = self.clone();
        // It goes on when nobody waits for it any more.
        let opening = tokio::spawn(async move {
            let mut reader = reader.lock_owned().await;
            if reader.is_none() {
                *reader = Some(log.reader(Stream::Transactions).await?);
            }
            Ok(reader)
        });
        opening.await.unwrap_or_else(|error| {
            let what = format!("opening the log ended: {error}");
            Err(Failure::new(Code::ApplyInternal, what).remedy("report this"))
        })
    }

    /// Begins to open it for the first feed, which says it when that fails.
    pub(crate) fn begin(&self) {
        let reader = self.clone();
        tokio::spawn(async move { reader.open().await.map(drop) });
    }
}

pub(crate) struct Feed {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) reader: LogReader,
    pub(crate) buffer: Arc<Buffer>,
    /// Where to begin while the buffer has no end.
    pub(crate) start: Place,
    /// Name under which the log's tools see how far this apply is.
    pub(crate) name: String,
    /// Everything below it is flushed in the target.
    pub(crate) flushed_offset: Arc<AtomicU64>,
    pub(crate) report: Report,
    pub(crate) fail: FailPoints,
    pub(crate) shutdown: Shutdown,
}

impl Feed {
    /// Reads until something stops it for good; that it gives.
    pub(crate) async fn run(self) -> Failure {
        let mut backoff = Backoff::default();
        let mut away = false;
        loop {
            let Err(failure) = self.follow(&mut backoff, &mut away).await else { continue };
            if !failure.disposition().is_tried_again() {
                return failure;
            }
            tracing::warn!(error = %failure, "cannot read the log");
            self.report.trouble(Side::Log, &failure);
            away = true;
            if !backoff.wait(&self.shutdown).await {
                return failure;
            }
        }
    }

    async fn follow(&self, backoff: &mut Backoff, away: &mut bool) -> Result<(), Failure> {
        self.buffer.void()?;
        let from = self.buffer.end();
        let opened = self.reader.open().await;
        let mut opened = opened.map_err(|failure| awaiting_capture(failure, from.is_none()))?;
        let Some(reader) = opened.as_deref_mut() else { return Ok(()) };
        let read = self.read(reader, from, backoff, away).await;
        // What a reader is good for after a failure is not known.
        *opened = None;
        read
    }

    async fn read(
        &self,
        reader: &mut dyn Reader,
        from: Option<Mark>,
        backoff: &mut Backoff,
        away: &mut bool,
    ) -> Result<(), Failure> {
        let (mut assembler, mut last) = match from {
            None => (self.begin(reader).await?, None),
            Some(mark) => self.go_on(reader, mark).await?,
        };
        let mut foreign = Foreign::new(Arc::clone(&self.log));
        let mut acknowledged = 0;
        loop {
            let batch = reader.read().await?;
            backoff.reset();
            if std::mem::take(away) {
                self.report.recovered(Side::Log);
            }
            match batch {
                Batch::Items(items) => {
                    self.buffer.set_caught_up(false);
                    self.fail.hit(failpoints::FETCHED)?;
                    let mut items = items.into_iter().peekable();
                    if let Some(mark) = last.take() {
                        match is_end_of(&mark, items.peek(), &mut foreign).await? {
                            true => drop(items.next()),
                            false => {
                                assembler = self.join_again(reader, mark).await?;
                                continue;
                            }
                        }
                    }
                    for item in items {
                        self.take(&mut assembler, &mut foreign, item).await?;
                    }
                }
                Batch::CaughtUp { next_offset } => {
                    if let Some(mark) = last.take() {
                        assembler = self.join_again(reader, mark).await?;
                        continue;
                    }
                    self.report.fetched(next_offset, self.buffer.levels(), false);
                    self.buffer.set_caught_up(true);
                }
            }
            let flushed = self.flushed_offset.load(Ordering::Relaxed);
            if flushed > acknowledged {
                reader.acknowledge(&self.name, flushed).await?;
                acknowledged = flushed;
            }
        }
    }

    /// Begins at the chosen start.
    async fn begin(&self, reader: &mut dyn Reader) -> Result<Assembler, Failure> {
        let offset = reader.seek(Seek::to(self.start)).await?;
        tracing::info!(offset, start = %self.start, "reading the log");
        Ok(match self.start {
            Place::Position(position) => Assembler::after(position),
            Place::Time(time) => {
                let first = reader.bounds().await?.first;
                if offset == first && first > 0 {
                    Assembler::since(time)
                } else {
                    Assembler::new(None)
                }
            }
            _ => Assembler::new(None),
        })
    }

    /// Goes on after `mark`. With the assembler comes the mark itself when the first record that is read
    /// must be the one that ends there: the position is the truth, and the offset is only as good as
    /// that record.
    async fn go_on(
        &self,
        reader: &mut dyn Reader,
        mark: Mark,
    ) -> Result<(Assembler, Option<Mark>), Failure> {
        let bounds = reader.bounds().await?;
        if mark.next_offset > bounds.end {
            return Ok((self.join_again(reader, mark).await?, None));
        }
        let last = mark.next_offset.checked_sub(1).filter(|last| *last >= bounds.first);
        let to = match last {
            Some(last) => Seek::Offset(last),
            None if mark.next_offset >= bounds.first => Seek::Offset(mark.next_offset),
            None if bounds.first == bounds.end => return Err(nothing_follows(&mark, bounds.end)),
            // An offset that the log no longer has is no loss if the next record continues from our
            // position, which the assembler checks.
            None => Seek::Earliest,
        };
        let offset = reader.seek(to).await?;
        tracing::info!(offset, position = %mark.position, "reading the log");
        Ok((Assembler::new(Some(&mark)), last.map(|_| mark)))
    }

    /// Joins a log again that has lost its end, of which the target has been given a part: after a crash
    /// of the machine that took what the disk had not got, or when a copy of the log was brought back.
    /// Capture reads again what is missing, and gives the same positions to it; what is at or below ours
    /// is passed over, and a gap above it halts as ever. The offsets are given again to other records:
    /// so nothing of before may be left in the buffer.
    ///
    /// Records of loads have no position of their own. One that is met here at our position is taken for
    /// a new one; if it is one of before, the target refuses it as out of order.
    async fn join_again(&self, reader: &mut dyn Reader, mark: Mark) -> Result<Assembler, Failure> {
        match self.log.identity().await? {
            Some(log_id) if log_id == mark.log_id => {}
            Some(log_id) => return Err(another_log(&mark, log_id)),
            None => return Err(unknown_log(&mark)),
        }
        self.report.notice(&format!(
            "the log has lost records up to position {} that this target has been given: going on \
             by position when capture has read them again",
            mark.position
        ));
        // Time never decreases along the log: nothing after our position lies before this.
        let offset = reader.seek(Seek::Time(mark.time)).await?;
        self.buffer.renumber(offset).await?;
        tracing::info!(offset, position = %mark.position, "joining the log again");
        Ok(Assembler::new(Some(&Mark { next_offset: offset, ..mark })))
    }

    async fn take(
        &self,
        assembler: &mut Assembler,
        foreign: &mut Foreign,
        item: Item,
    ) -> Result<(), Failure> {
        if !self.buffer.has_room() {
            self.report.fetched(item.offset, self.buffer.levels(), true);
            let mut waited = false;
            let waits = |failure: Failure| {
                if !std::mem::replace(&mut waited, true) {
                    tracing::warn!(error = %failure, "waiting for room");
                    self.report.trouble(Side::Log, &failure);
                }
            };
            self.buffer.room(waits).await?;
            if waited {
                self.report.recovered(Side::Log);
            }
        }
        let Some((payload, header)) = foreign.read(item.payload).await? else {
            return Ok(());
        };
        let load = is_of_load(item.offset, &header, &payload)?;
        let outcome = assembler.push(item.offset, &header, load)?;
        if outcome.voided {
            self.buffer.void()?;
        }
        match outcome.action {
            Action::Skip => {}
            Action::Keep => {
                self.buffer.keep(item.offset, payload)?;
                // Of a large transaction, which shows no other sign of life for a while.
                self.report.fetched(item.offset + 1, self.buffer.levels(), false);
            }
            Action::Complete(unit) => {
                self.buffer.complete(&unit, (item.offset, payload))?;
                self.report.fetched_lazily(item.offset + 1, || self.buffer.levels());
            }
        }
        if let Some(position) = assembler.take_cut() {
            self.report.notice(&format!(
                "the start point lies inside transaction {position}, which is left out"
            ));
        }
        Ok(())
    }
}

/// Whether a record is one of a full load. Markers of other names are other programs' business.
fn is_of_load(offset: u64, header: &Header, payload: &[u8]) -> Result<bool, Failure> {
    match header.kind {
        Kind::ChunkBegin | Kind::ChunkEnd => Ok(true),
        Kind::Marker => {
            let record = codec::decode(payload)?;
            let Body::Marker { name } = &record.body else { return Ok(false) };
            let marker = LoadMarker::parse(name, &record.attributes);
            marker.map(|marker| marker.is_some()).map_err(|error| unreadable(offset, &error))
        }
        _ => Ok(false),
    }
}

/// A record of a load that does not say what it must.
pub(crate) fn unreadable(offset: u64, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Code::ApplyCorrupt,
        format!("the record of a full load at offset {offset} cannot be read: {error}"),
    )
    .remedy(
        "the log is damaged, or its writer is newer than this apply: restore it, or upgrade apply",
    )
}

/// Whether `item` is the record that ends at `mark`.
async fn is_end_of(
    mark: &Mark,
    item: Option<&Item>,
    foreign: &mut Foreign,
) -> Result<bool, Failure> {
    let Some(item) = item.filter(|item| item.offset + 1 == mark.next_offset) else {
        return Ok(false);
    };
    let read = foreign.read(item.payload.clone()).await?;
    Ok(read.is_some_and(|(_, header)| {
        header.position == mark.position && header.log_id == mark.log_id
    }))
}

fn nothing_follows(mark: &Mark, end: u64) -> Failure {
    Failure::new(Code::ApplyGap, format!(
            "the log no longer holds what lies after {}: offsets {} to {end} were removed and nothing \
             follows",
            mark.position, mark.next_offset
        )).remedy("restore the log's records, or reset the target and choose a start point")
}

pub(crate) fn another_log(mark: &Mark, found: Uuid) -> Failure {
    Failure::new(Code::ApplyAnotherLog, format!("this is log {found}, the target follows log {}", mark.log_id)).remedy("the log was re-created or this is another pipeline's: restore the log, or reset the target \
         and choose a start point")
}

pub(crate) fn unknown_log(mark: &Mark) -> Failure {
    Failure::new(Code::ApplyLogShorter, format!(
            "the log has lost what the target has been given up to position {}, and with it what tells \
             that it is the same log",
            mark.position
        )).remedy("the log was emptied or re-created: restore it, or reset the target and choose a start point")
}

/// A target without a checkpoint may be started before capture has made the log: that is to be waited
/// for. With a checkpoint there was a log, and its absence stays what it is.
pub(crate) fn awaiting_capture(failure: Failure, nothing_applied: bool) -> Failure {
    if failure.code == Code::LogNoStream && nothing_applied {
        let what = "the log is not there yet: waiting for capture's first start";
        return Failure::new(Code::LogNotYet, what).with_source(failure);
    }
    failure
}
