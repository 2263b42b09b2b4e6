//! What the loop does for the loads between transactions: begins chunks, ends those that were read,
//! begins those again whose read failed.

use lockstep_common::Code;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_common::Failure;
use lockstep_common::model::load::{ChunkAttributes, ChunkRange, Handoff, LoadMarker};
use lockstep_common::model::record::{Body, ChunkBegin, ChunkEnd};
use tracing::{info, warn};
use uuid::Uuid;

use super::proof::{Moment, Proof};
use super::readers::{ChunkJob, Event, RangeJob, Reader};
use super::state::{Key, Load, TableState};
use super::{Attempt, Loads, Slot};
use crate::fail_points;
use crate::output::Output;
use crate::source::load::{Clock, SEEN};

/// Reads of one chunk that may fail for now in a row.
const MOST_FAILURES: u32 = 5;
/// The pause after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

impl Loads {
    /// Hands rows that have been read to the log.
    pub(super) async fn write_rows(&mut self, output: &mut Output) -> Result<(), Failure> {
        while let Some(event) = self.tasks.try_next() {
            self.events.push_back(event);
        }
        for _ in 0..self.events.len() {
            let Some(event) = self.events.pop_front() else { break };
            let Event::Rows { attempt, payload, rows, room } = event else {
                self.events.push_back(event);
                continue;
            };
            let Some(attempt) = self.attempts.get_mut(&attempt) else { continue };
            attempt.rows += rows;
            attempt.bytes += payload.len() as u64;
            output.rows(attempt.partition, payload).await?;
            if attempt.first.is_none() {
                attempt.first = Some(self.offsets.first(output, attempt.partition).await?);
            }
            drop(room);
        }
        Ok(())
    }

    pub(super) async fn handle(
        &mut self,
        event: Event,
        output: &mut Output,
    ) -> Result<(), Failure> {
        match event {
            Event::Read { attempt, reader, outcome } => {
                let Some(attempt) = self.attempts.remove(&attempt) else { return Ok(()) };
                let failed = outcome.is_err();
                match outcome {
                    Ok(rows) => self.ended(&attempt, rows, output).await?,
                    Err(failure) => self.failed(&attempt, failure, output).await?,
                }
                // A snapshot whose read failed is of no more use, but then the attempt is over.
                if !failed || !attempt.frozen {
                    self.slots.push(Slot { index: attempt.slot, reader });
                }
                Ok(())
            }
            Event::Range { of, slot, reader, outcome } => {
                let frozen = matches!(reader, Reader::Frozen(_));
                if frozen {
                    self.slots.push(Slot { index: slot, reader });
                } else {
                    self.planning = false;
                }
                self.planned(of, frozen, outcome)
            }
            Event::Clock { load, outcome } => self.clock(load, outcome, output).await,
            Event::Rows { .. } => {
                unreachable!("rows are written before anything else is looked at")
            }
        }
    }

    /// When something is due that no task will say.
    pub(super) fn due(&self) -> Option<Instant> {
        let tables = self.loads.iter().flat_map(|load| &load.tables);
        // Without a reader that is free, one of the tasks will say something first.
        let may_begin = !self.frozen && self.slots.iter().any(|slot| self.fits(slot));
        tables.filter_map(TableState::due).filter(|_| may_begin).chain(self.not_before).min()
    }

    /// Begins what may begin.
    pub(super) async fn begin_work(&mut self, output: &mut Output) -> Result<(), Failure> {
        let now = Instant::now();
        let planning_may = self.not_before.is_none_or(|time| time <= now);
        if planning_may {
            self.not_before = None;
        }
        while let Some(slot) = self.take_slot() {
            if let Some((of, range, attributes)) = self.next_chunk(now) {
                self.begin_chunk(slot, of, range, attributes, output).await?;
                continue;
            }
            let ahead = if self.frozen && planning_may { 1 } else { 0 };
            let Some(of) = self.next_range(ahead) else {
                self.slots.push(slot);
                break;
            };
            self.plan(of, slot);
        }
        if !self.frozen
            && !self.planning
            && planning_may
            && let Some(of) = self.next_range(self.readers)
        {
            self.planning = true;
            let reader = Reader::Committed(Arc::clone(&self.loader));
            self.plan(of, Slot { index: 0, reader });
        }
        if planning_may {
            self.ask_clocks(output).await?;
        }
        Ok(())
    }

    /// A reader that may read now.
    fn take_slot(&mut self) -> Option<Slot> {
        let i = self.slots.iter().position(|slot| self.fits(slot))?;
        Some(self.slots.swap_remove(i))
    }

    fn fits(&self, slot: &Slot) -> bool {
        matches!(slot.reader, Reader::Frozen(_)) == self.frozen
    }

    /// Tables that may be read now. Of those that are frozen one after the other: a table that is read
    /// whole stays read, should the snapshots be lost.
    fn readable(&mut self) -> impl Iterator<Item = (Uuid, &mut TableState)> {
        let (handoff, most) =
            if self.frozen { (Handoff::Exact, 1) } else { (Handoff::Bracketed, usize::MAX) };
        let tables = self.loads.iter_mut().flat_map(move |load| {
            let id = load.id;
            load.tables.iter_mut().map(move |table| (id, table))
        });
        tables
            .filter(move |(_, t)| t.entry.handoff == handoff && !t.is_read() && t.has_more())
            .take(most)
    }

    fn next_chunk(&mut self, now: Instant) -> Option<((Uuid, i64), ChunkRange, ChunkAttributes)> {
        self.readable().find_map(|(load, table)| {
            let (range, attributes) = table.begin(now)?;
            Some(((load, table.entry.object_id), range, attributes))
        })
    }

    fn next_range(&mut self, ahead: usize) -> Option<(Uuid, i64)> {
        let (load, table) = self.readable().find(|(_, table)| table.wants_range(ahead))?;
        Some((load, table.entry.object_id))
    }

    fn plan(&mut self, of: (Uuid, i64), slot: Slot) {
        let rows = self.chunk_rows;
        let Some(state) = self.table(of) else { return };
        let (table, lower) = (state.table.clone(), state.plan());
        let job = RangeJob { slot: slot.index, load: of.0, table, lower, rows };
        self.tasks.plan(slot.reader, job);
    }

    fn planned(
        &mut self,
        of: (Uuid, i64),
        frozen: bool,
        outcome: Result<Option<Key>, Failure>,
    ) -> Result<(), Failure> {
        let Some(table) = self.table(of) else { return Ok(()) };
        match outcome {
            Ok(upper) => {
                table.planned(upper);
                self.failures = 0;
                Ok(())
            }
            Err(failure) => {
                table.not_planned();
                if frozen { Err(failure) } else { self.pause(failure) }
            }
        }
    }

    /// Puts off what failed, or gives up.
    fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        if failure.code != Code::SourceLocked {
            self.failures += 1;
        }
        if !failure.disposition().is_tried_again() || self.failures >= MOST_FAILURES {
            return Err(failure);
        }
        warn!(error = %failure, "the load will try again");
        self.not_before = Some(Instant::now() + pause_after(self.failures));
        Ok(())
    }

    /// Writes a chunk's begin, and only then has it read.
    async fn begin_chunk(
        &mut self,
        slot: Slot,
        of: (Uuid, i64),
        range: ChunkRange,
        attributes: ChunkAttributes,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let now = wall_clock();
        let Some(state) = self.table(of) else { return Ok(()) };
        if state.times.0.is_none() {
            state.times.0 = Some(Instant::now());
            state.started = now;
        }
        let table = state.table.clone();
        let head = output.chunk_head(of.0, range.chunk, table.id);
        let begin = ChunkBegin {
            load: of.0,
            chunk: range.chunk,
            table: table.id,
            lower: range.lower.clone(),
            upper: range.upper.clone(),
        };
        output.load_record(Body::ChunkBegin(begin), attributes.to_attributes());
        output.table_load(&state.entry);
        output.append_load().await?;
        self.fail.hit(fail_points::LOAD_CHUNK_BEGUN)?;
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        let partition = self.offsets.partition(slot.index);
        self.attempts.insert(
            attempt,
            Attempt {
                of,
                range: range.clone(),
                slot: slot.index,
                frozen: self.frozen,
                partition,
                first: None,
                rows: 0,
                bytes: 0,
            },
        );
        self.tasks.read(slot.reader, ChunkJob { attempt, table, range, head });
        Ok(())
    }

    /// Writes a chunk's end, and the table's when it was its last.
    async fn ended(
        &mut self,
        attempt: &Attempt,
        rows: u64,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let offsets = match attempt.first {
            None => None,
            Some(first) => {
                let newest = self.offsets.newest(output, attempt.partition).await?;
                newest.map(|newest| (first, newest))
            }
        };
        let mark = self.loader.mark();
        let Some(state) = self.table(attempt.of) else { return Ok(()) };
        let was_last = state.ended(attempt.range.chunk, rows, attempt.bytes);
        state.entry.read_at = mark.or(state.entry.read_at.take());
        let end = ChunkEnd {
            load: attempt.of.0,
            chunk: attempt.range.chunk,
            table: state.table.id,
            partition: attempt.partition,
            offsets,
            rows,
        };
        let attributes = ChunkAttributes { from: state.entry.from, restart: false };
        output.load_record(Body::ChunkEnd(end), attributes.to_attributes());
        if was_last {
            state.times.1 = Some(Instant::now());
            output.load_marker(&LoadMarker::TableRead {
                load: attempt.of.0,
                table: state.table.id,
                chunks: state.entry.next_chunk,
                rows: state.entry.rows,
            });
            info!(table = %state.table.version.name, rows = state.entry.rows, "the table is read");
        }
        output.table_load(&state.entry);
        output.append_load().await?;
        self.fail.hit(if was_last {
            fail_points::LOAD_TABLE_READ
        } else {
            fail_points::LOAD_CHUNK_ENDED
        })?;
        Ok(())
    }

    /// Begins a chunk again whose read failed, unless that is of no use.
    async fn failed(
        &mut self,
        attempt: &Attempt,
        failure: Failure,
        output: &mut Output,
    ) -> Result<(), Failure> {
        // What was frozen is so no more.
        if attempt.frozen || !failure.disposition().is_tried_again() {
            return Err(failure);
        }
        if attempt.first.is_some() {
            self.offsets.newest(output, attempt.partition).await?;
        }
        let Some(state) = self.table(attempt.of) else { return Ok(()) };
        // Somebody else's lock is given up when it is given up.
        let failures = match failure.code {
            Code::SourceLocked => 1,
            _ => state.failed(attempt.range.chunk),
        };
        if failures >= MOST_FAILURES {
            return Err(failure);
        }
        warn!(
            table = %state.table.version.name, chunk = attempt.range.chunk, error = %failure,
            "a chunk will be read again"
        );
        state.again(attempt.range.clone(), Instant::now() + pause_after(failures));
        Ok(())
    }

    /// Has the clock taken for loads whose rows are all read.
    async fn ask_clocks(&mut self, output: &mut Output) -> Result<(), Failure> {
        for load in &mut self.loads {
            if !load.is_read() || !matches!(load.proof, Proof::Reading) {
                continue;
            }
            let clock = |table: &TableState| {
                table.entry.read_at.clone().filter(|text| !text.starts_with(SEEN))
            };
            let known = load.tables.iter().find_map(clock);
            if !self.signal && (known.is_some() || !load.has_bracketed()) {
                load.proof = Proof::Awaiting(Moment { clock: known, ..Moment::default() });
                continue;
            }
            // The rows are in the log for good before the wait for what proves them.
            output.commit_load().await?;
            load.proof = Proof::Asking;
            self.tasks.ask_clock(Arc::clone(&self.loader), load.id, self.signal);
        }
        Ok(())
    }

    /// The clock was taken after the last row was read: it is kept, and a place after it awaited.
    async fn clock(
        &mut self,
        load: Uuid,
        outcome: Result<(Clock, Option<String>), Failure>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let Some(load) = self.loads.iter_mut().find(|other| other.id == load) else {
            return Ok(());
        };
        let (clock, signal) = match outcome {
            Ok(told) => told,
            Err(failure) => {
                load.proof = Proof::Reading;
                return self.pause(failure);
            }
        };
        for table in &mut load.tables {
            table.entry.read_at = Some(clock.clone());
            output.table_load(&table.entry);
        }
        load.proof = Proof::Awaiting(Moment { clock: Some(clock), signal, signalled: None });
        self.failures = 0;
        output.append_load().await?;
        Ok(self.fail.hit(fail_points::LOAD_CLOCK_TAKEN)?)
    }

    pub(super) fn table(&mut self, of: (Uuid, i64)) -> Option<&mut TableState> {
        let load: &mut Load = self.loads.iter_mut().find(|load| load.id == of.0)?;
        load.tables.iter_mut().find(|table| table.entry.object_id == of.1)
    }
}

fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE * 2u32.pow(failures.saturating_sub(1).min(5))
}

/// 100 ns since 1970-01-01Z.
pub(super) fn wall_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos() / 100).unwrap_or(i64::MAX))
}
