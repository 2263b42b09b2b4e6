//! The tasks that read: each owns a connection, encodes what it reads, and hands it to the one loop
//! that owns the log's writer.
//!
//! Encoded rows wait for that loop in bounded space: a reader that is ahead of the log stops
//! reading. What a reader says of an attempt after its rows stands behind them in the same channel.

use std::sync::Arc;

use bytes::Bytes;
use lockstep_common::Code;
use lockstep_common::codec::{ChunkHead, ChunkWriter};
use lockstep_common::model::load::ChunkRange;
use lockstep_common::{Failure, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::state::Key;
use crate::long;
use crate::source::Table;
use crate::source::load::{Clock, Loader, RowSink, Rows, Snapshot};

/// Most bytes of a record of rows.
const RECORD_BYTES: usize = 512 << 10;
/// Bytes of encoded rows that may wait for the log.
const ROOM_BYTES: usize = 16 << 20;

/// What rows are read over.
pub enum Reader {
    /// The committed rows of the moment.
    Committed(Arc<dyn Loader>),
    /// Those of a frozen position.
    Frozen(Box<dyn Snapshot>),
}

impl Reader {
    async fn boundary(
        &mut self,
        table: &Table,
        lower: Option<&[Value<'static>]>,
        rows: u32,
    ) -> Result<Option<Key>, Failure> {
        match self {
            Reader::Committed(loader) => loader.boundary(table, lower, rows).await,
            Reader::Frozen(snapshot) => snapshot.boundary(table, lower, rows).await,
        }
    }

    async fn rows<'a>(
        &'a mut self,
        table: &Table,
        range: &ChunkRange,
    ) -> Result<Box<dyn Rows + 'a>, Failure> {
        match self {
            Reader::Committed(loader) => Ok(loader.rows(table, range).await?),
            Reader::Frozen(snapshot) => snapshot.rows(table, range).await,
        }
    }
}

/// What a task has to say.
pub enum Event {
    /// Rows of an attempt at a chunk.
    Rows {
        /// The attempt.
        attempt: u64,
        /// The record.
        payload: Bytes,
        /// Rows in it.
        rows: u64,
        /// Held until the record is in the log.
        room: OwnedSemaphorePermit,
    },
    /// An attempt at a chunk is over.
    Read {
        /// The attempt.
        attempt: u64,
        /// What it read over.
        reader: Reader,
        /// Rows, all of them.
        outcome: Result<u64, Failure>,
    },
    /// A range has been planned.
    Range {
        /// The load and the source's identity of the table.
        of: (Uuid, i64),
        /// The reader's number.
        slot: u32,
        /// What it was asked over.
        reader: Reader,
        /// Where it ends.
        outcome: Result<Option<Key>, Failure>,
    },
    /// The source has said what the time is, and may have been given a signal.
    Clock {
        /// The load that asked.
        load: Uuid,
        /// The clock, and the signal's text.
        outcome: Result<(Clock, Option<String>), Failure>,
    },
}

/// A chunk to read.
pub struct ChunkJob {
    /// The attempt.
    pub attempt: u64,
    /// The table.
    pub table: Table,
    /// The chunk.
    pub range: ChunkRange,
    /// What its records have in common.
    pub head: ChunkHead,
}

/// A range to plan.
pub struct RangeJob {
    /// The reader's number.
    pub slot: u32,
    /// The load.
    pub load: Uuid,
    /// The table.
    pub table: Table,
    /// It lies above this key.
    pub lower: Option<Key>,
    /// About how many rows it has.
    pub rows: u32,
}

/// The tasks and what they say.
pub struct Readers {
    tasks: JoinSet<()>,
    sender: mpsc::UnboundedSender<Event>,
    receiver: mpsc::UnboundedReceiver<Event>,
    room: Arc<Semaphore>,
}

impl Readers {
    /// None yet.
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(ROOM_BYTES));
        Readers { tasks: JoinSet::new(), sender, receiver, room }
    }

    /// Waits for what one of them says. Cancel-safe.
    ///
    /// # Panics
    /// When one of them did.
    pub async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                Some(event) = self.receiver.recv() => return event,
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended
                        && let Ok(panic) = error.try_into_panic()
                    {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    }

    /// What one of them has said, if there is something.
    pub fn try_next(&mut self) -> Option<Event> {
        self.receiver.try_recv().ok()
    }

    /// Reads a chunk.
    pub fn read(&mut self, mut reader: Reader, job: ChunkJob) {
        let (sender, room) = (self.sender.clone(), Arc::clone(&self.room));
        self.tasks.spawn(async move {
            let outcome = read(&mut reader, &job, &sender, &room).await;
            // Nobody listens when the attempt at the whole is over.
            let _ = sender.send(Event::Read { attempt: job.attempt, reader, outcome });
        });
    }

    /// Plans a range.
    pub fn plan(&mut self, mut reader: Reader, job: RangeJob) {
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let RangeJob { slot, load, table, lower, rows } = job;
            let outcome = reader.boundary(&table, lower.as_deref(), rows).await;
            let of = (load, table.version.object_id);
            let _ = sender.send(Event::Range { of, slot, reader, outcome });
        });
    }

    /// Asks for the source's clock, and signals if it may.
    pub fn ask_clock(&mut self, loader: Arc<dyn Loader>, load: Uuid, signal: bool) {
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let outcome = clock(loader.as_ref(), signal).await;
            let _ = sender.send(Event::Clock { load, outcome });
        });
    }
}

async fn clock(loader: &dyn Loader, signal: bool) -> Result<(Clock, Option<String>), Failure> {
    let clock = loader.clock().await?;
    let signalled = if signal { loader.signal().await } else { Ok(None) };
    // The clock proves the same, only later.
    let signalled = signalled.unwrap_or_else(|error| {
        tracing::warn!(%error, "the signal table cannot be written to; waiting for the source's commits");
        None
    });
    Ok((clock, signalled))
}

async fn read(
    reader: &mut Reader,
    job: &ChunkJob,
    sender: &mpsc::UnboundedSender<Event>,
    room: &Arc<Semaphore>,
) -> Result<u64, Failure> {
    let mut rows = reader.rows(&job.table, &job.range).await?;
    let mut encoder = Encoder::new(&job.head);
    loop {
        let more = rows.next(&mut encoder).await?;
        if !more {
            encoder.cut();
        }
        for (payload, rows) in encoder.records.drain(..) {
            let size = payload.len().min(ROOM_BYTES);
            let size = u32::try_from(size).expect("the room is below 4 GiB");
            let Ok(room) = Arc::clone(room).acquire_many_owned(size).await else {
                return Err(Failure::new(Code::SourceStopping, "the load is being stopped"));
            };
            let _ = sender.send(Event::Rows { attempt: job.attempt, payload, rows, room });
        }
        if !more {
            return Ok(encoder.writer.rows());
        }
    }
}

/// Makes records of rows.
struct Encoder {
    writer: ChunkWriter,
    /// Long values so far.
    longs: u32,
    /// Rows in the records that are cut.
    cut: u64,
    records: Vec<(Bytes, u64)>,
}

impl Encoder {
    fn new(head: &ChunkHead) -> Self {
        Encoder { writer: ChunkWriter::new(head), longs: 0, cut: 0, records: Vec::new() }
    }

    fn make_room(&mut self, more: usize) {
        if self.writer.len() + more > RECORD_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.writer.nothing_pushed() {
            return;
        }
        let rows = self.writer.rows() - self.cut;
        self.cut += rows;
        let payload = self.writer.cut();
        self.records.push((payload, rows));
    }
}

impl RowSink for Encoder {
    fn row(&mut self, row: &mut Vec<Value<'_>>, _size: usize) {
        for long in long::extract_row(row, &mut self.longs) {
            for part in long.parts() {
                self.make_room(part.data.len());
                self.writer.push_part(&part);
            }
        }
        self.make_room(long::encoded_bytes(row));
        self.writer.push_row(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_common::codec::ChunkReader;
    use lockstep_common::{Position, TableId};

    fn head() -> ChunkHead {
        ChunkHead {
            log_id: Uuid::nil(),
            epoch: 1,
            position: Position::default(),
            after: Position::default(),
            time: 0,
            load: Uuid::nil(),
            chunk: 0,
            table: TableId(1),
        }
    }

    #[test]
    fn records_are_of_bounded_size_and_hold_every_row_once() {
        let mut encoder = Encoder::new(&head());
        let lengths = [10, 100_000, 300_000, 700_000, 250_000, 262_144, 262_145, 5, 511_000];
        for (i, length) in lengths.iter().cycle().take(60).enumerate() {
            let text = "x".repeat(*length);
            let mut row = vec![
                Value::I64(i as i64),
                Value::String(text.as_str().into()),
                Value::String(text.as_str().into()),
            ];
            encoder.row(&mut row, 0);
        }
        encoder.cut();
        let (mut ids, mut counted, mut bytes) = (Vec::new(), 0, 0);
        for (index, (payload, rows)) in encoder.records.iter().enumerate() {
            assert!(payload.len() <= RECORD_BYTES + 64, "{} bytes", payload.len());
            let mut reader = ChunkReader::new(payload).unwrap().unwrap();
            assert_eq!(reader.index() as usize, index);
            while let Some(part) = reader.part().unwrap() {
                bytes += part.data.len();
            }
            let mut row = Vec::new();
            let before = ids.len();
            while reader.row(&mut row).unwrap() {
                let Value::I64(id) = row[0] else { panic!("{row:?}") };
                ids.push(id);
                for value in &row[1..] {
                    if let Value::String(text) = value {
                        bytes += text.len();
                    }
                }
            }
            assert_eq!((ids.len() - before) as u64, *rows);
            counted += rows;
        }
        assert_eq!(ids, (0..60).collect::<Vec<i64>>());
        assert_eq!(counted, encoder.writer.rows());
        assert_eq!(bytes, lengths.iter().cycle().take(60).sum::<usize>() * 2);
    }
}
