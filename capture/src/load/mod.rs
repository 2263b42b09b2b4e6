//! Full loads: the rows that are there, beside the stream of changes.
//!
//! # Why no row is lost or doubled
//!
//! *The log alone says what is left.* What a table's load has come to ([`TableLoad`](lockstep_common::model::load::TableLoad)) is written in the
//! same log transaction as the bracket that brought it there. So after a crash the next attempt knows
//! every chunk that has begun and not ended, and the key up to which chunks have begun; nothing
//! else about a load is remembered anywhere. Chunks tile the key space ([`state`]), so every row that is
//! there all the time lies in exactly one of them.
//!
//! *Bracketed tables.* A chunk's begin is handed to the log before its SELECT is sent, by the loop that
//! writes the stream too. Whatever stands before it in the log was committed in the source before the
//! SELECT, so the rows have it already. Whatever the rows do not have comes behind it, where apply
//! lays the stream's word over the chunk's. A chunk's end follows its rows, and says between which
//! offsets all of them are: rows of an earlier attempt lie below ([`offsets`]). A chunk that has
//! begun again has the same number and range, and reads rows of a later moment: that is only more of
//! the same. Which rows two attempts gave never matters, because only an ended attempt counts.
//!
//! *Exact tables.* The stream stands still while they are read, over snapshots of one position, which
//! their brackets carry. Apply passes over the stream's changes to the table up to it. Snapshots die
//! with their connections, and with the attempt: a table that is not read whole is frozen again and
//! begins anew with its first chunk, which says so. It keeps nothing of what was read before.
//!
//! *From `consistent` on* the target equals the source: see [`proof`].
//!
//! # What a crash does
//!
//! - Before a chunk's begin is committed: it has not begun; the same range is planned again.
//! - After it, before its end is committed: it is begun again. Its rows in the log mean nothing.
//! - After its end: it is done. The end, the table's `table_read` when it was the last, and the entry
//!   of the schemas stream are one append, so the log has all of them or none.
//! - After the clock was taken and before it is in the log: it is taken again, later.
//! - The end of a load is one append with the entries that make its tables done. A task that ends with
//!   its load ends again at the next start, should the marker of its end not be there.
//!
//! # Failures
//!
//! A read of committed rows that fails for now is begun again, a bounded number of times with growing
//! pauses; then the attempt at everything ends, as with every such failure, and the next one takes up
//! the loads as the log has them. Nothing but a chunk's last row ends it, so an outage never does.

pub mod begin;
mod exact;
mod offsets;
mod progress;
mod proof;
mod readers;
mod state;
mod work;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_common::model::load::{ChunkRange, LoadMarker, TableStage};
use lockstep_common::model::record::Change;
use lockstep_common::service::status::{CaptureStatus, StatusSender};
use lockstep_common::{FailPoints, Failure, Position, config};
use tracing::info;
use uuid::Uuid;

use self::offsets::Offsets;
use self::proof::Proof;
use self::readers::{Event, Reader, Readers};
pub use self::state::Load;
use crate::fail_points;
use crate::output::Output;
use crate::source::load::Loader;
use crate::source::{Head, Window};

/// What was handed to the log is committed this much later at most.
const COMMIT_AFTER: Duration = Duration::from_millis(50);

/// The loads that have not ended, and those who read their rows.
pub struct Loads {
    loader: Arc<dyn Loader>,
    readers: usize,
    chunk_rows: u32,
    signal: bool,
    loads: Vec<Load>,
    tasks: Readers,
    /// What the tasks have said and nobody has looked at.
    events: VecDeque<Event>,
    slots: Vec<Slot>,
    attempts: HashMap<u64, Attempt>,
    next_attempt: u64,
    /// A range is being planned over a connection of its own.
    planning: bool,
    /// Exact tables are being read: nothing else begins.
    frozen: bool,
    /// Failures of planning and of asking for the clock, in a row.
    failures: u32,
    /// Nothing is planned and no clock is asked for before this.
    not_before: Option<Instant>,
    offsets: Offsets,
    status: StatusSender<CaptureStatus>,
    shown: Instant,
    fail: FailPoints,
}

/// A reader that has nothing to do.
struct Slot {
    /// Which one; it decides the partition.
    index: u32,
    reader: Reader,
}

/// A chunk being read.
struct Attempt {
    /// The load and the source's identity of the table.
    of: (Uuid, i64),
    range: ChunkRange,
    slot: u32,
    frozen: bool,
    partition: u32,
    /// Lower bound of its records' offsets, once one of them is in the log.
    first: Option<u64>,
    rows: u64,
    bytes: u64,
}

impl Loads {
    /// Takes up what `loads` have come to. `partitions` are those of the log's snapshot stream.
    pub fn new(
        loader: Arc<dyn Loader>,
        capture: &config::Capture,
        loads: Vec<Load>,
        partitions: u32,
        status: StatusSender<CaptureStatus>,
        fail: FailPoints,
    ) -> Self {
        let readers = capture.load_readers.max(1);
        let slots = (0..readers)
            .filter_map(|i| u32::try_from(i).ok())
            .map(|index| Slot { index, reader: Reader::Committed(Arc::clone(&loader)) });
        Loads {
            slots: slots.collect(),
            readers,
            chunk_rows: capture.chunk_rows.max(1),
            signal: capture.signal_table.is_some(),
            loads,
            tasks: Readers::new(),
            events: VecDeque::new(),
            attempts: HashMap::new(),
            next_attempt: 0,
            planning: false,
            frozen: false,
            failures: 0,
            not_before: None,
            offsets: Offsets::new(partitions),
            status,
            shown: Instant::now(),
            fail,
            loader,
        }
    }

    /// Nothing is being loaded.
    pub fn is_idle(&self) -> bool {
        self.loads.is_empty()
    }

    /// Readers wait for what only [`Loads::step`] does.
    pub fn want_turn(&self) -> bool {
        // Rows do not stay there.
        !self.events.is_empty()
    }

    /// A load of the table has not ended.
    pub fn is_loading(&self, object_id: i64) -> bool {
        let mut tables = self.loads.iter().flat_map(|load| &load.tables);
        tables.any(|table| table.entry.object_id == object_id)
    }

    /// Begins a load: when this returns, its begin is in the log for good.
    ///
    /// # Errors
    /// As the log.
    pub async fn begin(&mut self, load: Load, output: &mut Output) -> Result<(), Failure> {
        output.table_loads(load.entries());
        output.load_marker(&load.begin());
        output.append_load().await?;
        self.fail.hit(fail_points::LOAD_BEGIN_APPENDED)?;
        output.commit_load().await?;
        self.loads.push(load);
        self.show(true);
        Ok(())
    }

    /// A signal is being given, and nobody knows yet how it reads. It takes a statement's time.
    pub fn is_signalling(&self) -> bool {
        self.signal && self.loads.iter().any(|load| matches!(load.proof, Proof::Asking))
    }

    /// Some change may carry a signal that is waited for.
    pub fn awaits_signal(&self) -> bool {
        self.loads.iter().any(Load::awaits_signal)
    }

    /// Looks for signals in a change.
    pub fn look_for_signal(&mut self, change: &Change<'_>, position: Position) {
        for load in &mut self.loads {
            load.look_for_signal(change, position);
        }
    }

    /// Does some other work, and writes the rows that come meanwhile. May be called while a transaction
    /// of the stream is open. Dropping it loses nothing that a new attempt would miss.
    ///
    /// # Errors
    /// As [`Output::rows`].
    pub async fn beside<T>(
        &mut self,
        output: &mut Output,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        if self.is_idle() {
            return Ok(work.await);
        }
        let mut work = pin!(work);
        loop {
            self.write_rows(output).await?;
            let commit = output.load_appended().map(|at| at + COMMIT_AFTER);
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                event = self.tasks.next() => self.events.push_back(event),
                () = until(commit) => output.commit_load().await?,
            }
        }
    }

    /// Waits until there is something to do for the loads; for ever when there are none. Cancel-safe.
    pub async fn wait(&mut self, output: &Output) {
        if self.is_idle() {
            return std::future::pending().await;
        }
        let commit = output.load_appended().map(|at| at + COMMIT_AFTER);
        let due = [commit, self.due()].into_iter().flatten().min();
        tokio::select! {
            event = self.tasks.next() => self.events.push_back(event),
            () = until(due) => {}
        }
    }

    /// Does what there is to do for the loads. No transaction may be open.
    ///
    /// # Errors
    /// As the source and the log; `Retry` when a read has failed too often.
    pub async fn step(&mut self, output: &mut Output) -> Result<(), Failure> {
        if self.is_idle() {
            return Ok(());
        }
        loop {
            self.write_rows(output).await?;
            let Some(event) = self.events.pop_front() else { break };
            self.handle(event, output).await?;
        }
        self.begin_work(output).await?;
        if output.load_appended().is_some_and(|at| at.elapsed() >= COMMIT_AFTER) {
            output.commit_load().await?;
        }
        self.show(false);
        Ok(())
    }

    /// The stream has come to `reached` within this window, and everything up to it is committed: ends the
    /// loads that are consistent there.
    ///
    /// # Errors
    /// As the log.
    pub async fn reached(
        &mut self,
        output: &mut Output,
        window: &Window,
        reached: Position,
    ) -> Result<(), Failure> {
        let within = window.heads.partition_point(|head| head.position <= reached);
        let heads = &window.heads[..within];
        let mut ended = false;
        for i in (0..self.loads.len()).rev() {
            if let Some(consistent) = self.loads[i].consistent(heads, self.loader.as_ref()) {
                self.loads[i].recognised(self.loader.as_ref()).await?;
                self.end(i, output, heads, consistent).await?;
                ended = true;
            }
        }
        if ended {
            output.commit_load().await?;
            self.show(true);
        }
        Ok(())
    }

    /// Ends a load at `consistent`, which lies at or before the last of `heads`.
    async fn end(
        &mut self,
        i: usize,
        output: &mut Output,
        heads: &[Head],
        consistent: Position,
    ) -> Result<(), Failure> {
        // Places after the last change are not in the log yet.
        if let Some(last) = heads.last()
            && output.position() < last.position
        {
            output.progress(last);
        }
        let mut load = self.loads.remove(i);
        for table in &mut load.tables {
            table.entry.stage = TableStage::Done;
        }
        output.load_marker(&LoadMarker::End { load: load.id, consistent });
        for table in &load.tables {
            output.table_load(&table.entry);
        }
        output.append_load().await?;
        self.fail.hit(fail_points::LOAD_END_APPENDED)?;
        info!(load = %load.id, %consistent, "the load is consistent");
        self.show_ended(load, consistent);
        Ok(())
    }
}

/// Waits for a moment; for ever when there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
