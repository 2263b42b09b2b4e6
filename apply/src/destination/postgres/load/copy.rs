//! One chunk into the target, over a connection of its own, in one transaction.
//!
//! ```text
//! claim the chunk's row     locked; it has to be pending, and the epoch ours
//! the rows                  by COPY, see below
//! the chunk's row is done
//! Sync                      the commit
//! ```
//!
//! All of it is the protocol's implicit transaction: an error anywhere, or a connection that ends,
//! leaves nothing. Whoever comes after finds the chunk pending and does it, or done and does nothing;
//! the row's lock keeps two from doing it at once. An apply that has been replaced finds another epoch.
//!
//! Rows go by COPY into the table itself. Of a table that the stream writes beside the load, that is
//! right for keys which no change has named since the load began: neither the row nor a note of it can
//! be there. The others go through a staging table (`staging`): out of memory when they are few, in a
//! second pass over the chunk when they are not. Where nobody knows which keys were named, all go that
//! way. The stream sends nothing that touches the table until the chunk is done, so that neither the
//! rows nor the notes change meanwhile.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use lockstep_common::Code;
use lockstep_common::codec::ChunkReader;
use lockstep_common::model::record::Operation;
use lockstep_common::{FailPoints, Failure, Value};

use super::super::checkpoint;
use super::super::connect::Login;
use super::super::encode::EncodeError;
use super::super::error::{self, Class, ServerError};
use super::super::image::key_in_words;
use super::super::parameter::{put_int8, put_text};
use super::super::pipe::Note;
use super::super::run::{COPY_HEADER, ChangeError, put};
use super::super::settings;
use super::super::statement::{self, Kind, Mask, Shape, Sql};
use super::super::trouble;
use super::super::wire::{Latched, QUEUE_BYTES, Wire};
use super::chunk::{ChunkSource, damaged};
use super::{ChunkJob, staging};
use crate::content::Longs;
use crate::failpoints;

/// Bytes of a CopyData message.
const MESSAGE_BYTES: usize = 64 << 10;
/// Bytes of rows that are held for the staging table; beyond it they are read a second time.
const ASIDE_BYTES: usize = 1 << 20;

/// Raised by `lockstep.claim_chunk`: somebody did the chunk, or it was given up.
const NOT_PENDING: &str = "LS002";
/// Raised by `lockstep.claim_chunk`: another apply has taken over.
const ANOTHER_EPOCH: &str = "LS003";
/// Raised by `lockstep.expect_placed`: rows of the chunk have no place.
const NOT_PLACED: &str = "LS005";
const UNIQUE: &str = "23505";

/// Why a chunk is not in the target.
#[derive(Debug)]
pub(super) enum Stop {
    /// Somebody else did it, or it was given up.
    NotPending,
    /// The table has a row of one of its keys, or of another unique index's.
    Present(Failure),
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failure(failure)
    }
}

/// A connection that loads chunks. After an error it is of no further use.
pub(super) struct Copier {
    wire: Wire,
    committed: u64,
}

/// Which rows of a pass go where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// All into the table itself.
    Direct,
    /// Those of keys that no change has named into the table itself, the others aside.
    Untouched,
    /// The others, into the staging table.
    Touched,
    /// All into the staging table.
    Staged,
}

/// Rows of a pass, as they are read.
struct Rows<'j> {
    job: &'j ChunkJob,
    pass: Pass,
    /// Columns that the rows give and the target has; known with the first row.
    columns: Option<Mask>,
    /// The COPY has begun.
    begun: bool,
    longs: Longs,
    key: BytesMut,
    /// Rows read.
    read: u64,
    /// Rows of this pass's COPY.
    copied: u64,
    /// Rows for the staging table, while they are few.
    aside: BytesMut,
    aside_rows: u64,
    /// Bytes of the records.
    bytes: u64,
}

impl Copier {
    pub(super) async fn connect(login: &Login) -> Result<Self, Failure> {
        let mut socket = login.load().await?;
        // Where it may not, triggers and foreign keys fire; the stream's connection has said so.
        settings::enter_replica_role(&mut socket, login).await?;
        Ok(Copier { wire: Wire::new(socket, Arc::default(), QUEUE_BYTES), committed: 0 })
    }

    /// Puts the rows of a chunk into the target; gives the bytes of its records. `staged` takes the
    /// second way for all rows.
    pub(super) async fn load(
        &mut self,
        job: &ChunkJob,
        source: &mut ChunkSource,
        staged: bool,
        fail: &FailPoints,
    ) -> Result<u64, Stop> {
        self.claim(job);
        let first = match &job.notes {
            _ if staged => Pass::Staged,
            None => Pass::Direct,
            Some(_) => Pass::Untouched,
        };
        let rows = self.pass(job, source, first).await?;
        let bytes = rows.bytes;
        if rows.aside_rows > 0 {
            self.merge_touched(job, source, rows).await?;
        } else if first == Pass::Staged
            && let Some(columns) = &rows.columns
        {
            self.merge(job, columns, rows.copied)?;
        }
        // All rows are there, or there is no commit.
        self.answered(job).await?;
        self.done(job, bytes);
        if let Err(crash) = fail.hit(failpoints::CHUNK_COPIED) {
            // On the wire they have to be.
            let _ = self.wire.flush().await;
            return Err(Failure::from(crash).into());
        }
        self.wire.pipe.sync();
        self.flush(job).await?;
        self.confirmed(job).await?;
        fail.hit(failpoints::CHUNK_COMMITTED).map_err(Failure::from)?;
        Ok(bytes)
    }

    /// Reads the chunk's rows and sends those of the pass.
    async fn pass<'j>(
        &mut self,
        job: &'j ChunkJob,
        source: &mut ChunkSource,
        pass: Pass,
    ) -> Result<Rows<'j>, Stop> {
        let mut rows = Rows::new(job, pass);
        let mut stream = source.open(job).await?;
        let mut out = BytesMut::with_capacity(MESSAGE_BYTES + (16 << 10));
        while let Some(payload) = stream.next().await? {
            self.record(&mut rows, &payload, &mut out).await?;
        }
        if rows.read != job.rows {
            let what = format!("it has {} rows, its end says {}", rows.read, job.rows);
            return Err(damaged(job, &what).into());
        }
        if rows.columns.is_some() {
            out.put_i16(-1);
            self.wire.pipe.copy_data(&out);
            self.wire.pipe.copy_end(rows.copied);
        }
        Ok(rows)
    }

    async fn record(
        &mut self,
        rows: &mut Rows<'_>,
        payload: &Bytes,
        out: &mut BytesMut,
    ) -> Result<(), Stop> {
        rows.bytes += payload.len() as u64;
        let Some(mut reader) = ChunkReader::new(payload).map_err(Failure::from)? else {
            return Ok(());
        };
        while let Some(part) = reader.part().map_err(Failure::from)? {
            rows.longs.part(&part);
        }
        let mut row = Vec::new();
        loop {
            let more = rows.fill(&mut reader, &mut row, out)?;
            if rows.begins() {
                self.copy_begin(rows)?;
            }
            if !more {
                return Ok(());
            }
            self.wire.pipe.copy_data(out);
            out.clear();
            self.flush(rows.job).await?;
        }
    }

    // --- Statements -----------------------------------------------------------------------------

    fn claim(&mut self, job: &ChunkJob) {
        let name = self.wire.pipe.prepare(&Shape::of(Kind::ChunkClaim), || Sql {
            text: "SELECT lockstep.claim_chunk($1, $2, $3, $4, $5)".to_owned(),
            parameters: vec![25, 2950, 25, 23, 20],
        });
        let parameters = |out: &mut BytesMut| {
            put_chunk(job, out);
            put_int8(job.epoch, out);
        };
        self.wire.pipe.execute(name, 5, parameters, note(job)).expect("a claim is small");
    }

    fn done(&mut self, job: &ChunkJob, bytes: u64) {
        let name = self.wire.pipe.prepare(&Shape::of(Kind::ChunkDone), || Sql {
            text: "WITH w AS (UPDATE lockstep.load_chunk SET state = 'done', bytes = $5 \
                   WHERE pipeline = $1 AND load = $2 AND version = $3 AND chunk = $4 \
                   AND state = 'pending' RETURNING 1) \
                   SELECT lockstep.expect_rows(count(*), 1::int8) FROM w"
                .to_owned(),
            parameters: vec![25, 2950, 25, 23, 20],
        });
        let parameters = |out: &mut BytesMut| {
            put_chunk(job, out);
            put_int8(bytes, out);
        };
        self.wire.pipe.execute(name, 5, parameters, note(job)).expect("a claim is small");
    }

    fn copy_begin(&mut self, rows: &Rows<'_>) -> Result<(), Stop> {
        let job = rows.job;
        let columns = rows.columns.clone().unwrap_or_default();
        let pipe = &mut self.wire.pipe;
        let name = match rows.pass {
            Pass::Direct | Pass::Untouched => {
                let shape = Shape { table: job.table, after: columns, ..Shape::of(Kind::Copy) };
                pipe.prepare(&shape, || statement::sql(&job.relation, None, &shape))
            }
            Pass::Touched | Pass::Staged => {
                self.stage(job)?;
                let shape =
                    Shape { table: job.table, after: columns, ..Shape::of(Kind::StageCopy) };
                self.wire.pipe.prepare(&shape, || Sql {
                    text: staging::copy(&job.relation, &shape.after),
                    parameters: Vec::new(),
                })
            }
        };
        let pipe = &mut self.wire.pipe;
        pipe.copy_begin(name, note(job)).map_err(|e| too_large(job, e))?;
        pipe.copy_data(COPY_HEADER);
        Ok(())
    }

    fn stage(&mut self, job: &ChunkJob) -> Result<(), Stop> {
        let shape = Shape { table: job.table, ..Shape::of(Kind::Stage) };
        let name = self.wire.pipe.prepare(&shape, || Sql {
            text: staging::create(&job.relation),
            parameters: Vec::new(),
        });
        let made = self.wire.pipe.execute(name, 0, |_| (), note(job));
        made.map_err(|e| too_large(job, e).into())
    }

    /// Merges the staged rows, `staged` in number, and has the server see that each has its place.
    fn merge(&mut self, job: &ChunkJob, columns: &Mask, staged: u64) -> Result<(), Stop> {
        let shape =
            Shape { table: job.table, after: columns.clone(), ..Shape::of(Kind::StageMerge) };
        let name = self.wire.pipe.prepare(&shape, || Sql {
            text: staging::merge(&job.relation, columns, job.notes.as_deref(), job.keep),
            parameters: Vec::new(),
        });
        let merged = self.wire.pipe.execute(name, 0, |_| (), note(job));
        merged.map_err(|e| too_large(job, e))?;
        let shape = Shape { table: job.table, ..Shape::of(Kind::StageCheck) };
        let name = self.wire.pipe.prepare(&shape, || Sql {
            text: staging::check(&job.relation, job.notes.as_deref(), job.keep),
            parameters: vec![20],
        });
        let parameters = |out: &mut BytesMut| put_int8(staged, out);
        let checked = self.wire.pipe.execute(name, 1, parameters, note(job));
        checked.map_err(|e| too_large(job, e).into())
    }

    /// The rows that the first pass left aside.
    async fn merge_touched(
        &mut self,
        job: &ChunkJob,
        source: &mut ChunkSource,
        first: Rows<'_>,
    ) -> Result<(), Stop> {
        let Some(columns) = first.columns.clone() else { return Ok(()) };
        let staged = first.aside_rows;
        if first.holds_aside() {
            let held = Rows { pass: Pass::Touched, ..first };
            self.copy_begin(&held)?;
            self.wire.pipe.copy_data(&held.aside);
            self.wire.pipe.copy_data(&(-1_i16).to_be_bytes());
            self.wire.pipe.copy_end(held.aside_rows);
        } else {
            self.pass(job, source, Pass::Touched).await?;
        }
        self.merge(job, &columns, staged)
    }

    // --- Replies --------------------------------------------------------------------------------

    async fn flush(&mut self, job: &ChunkJob) -> Result<(), Stop> {
        self.wire.flush().await.map_err(|latched| stop(job, latched))
    }

    /// Waits until the server has answered everything, which is not committed yet: a COPY that took in
    /// fewer rows is an error like any other.
    async fn answered(&mut self, job: &ChunkJob) -> Result<(), Stop> {
        self.wire.pipe.ask_answers();
        self.flush(job).await?;
        loop {
            if let Some(latched) = self.wire.latched() {
                return Err(stop(job, latched));
            }
            if self.wire.is_answered() {
                return Ok(());
            }
            self.wire.changed().await;
        }
    }

    async fn confirmed(&mut self, job: &ChunkJob) -> Result<(), Stop> {
        loop {
            if self.wire.committed() > self.committed {
                self.committed += 1;
                return Ok(());
            }
            if let Some(latched) = self.wire.latched() {
                return Err(stop(job, latched));
            }
            self.wire.changed().await;
        }
    }
}

impl<'j> Rows<'j> {
    fn new(job: &'j ChunkJob, pass: Pass) -> Self {
        Rows {
            job,
            pass,
            columns: None,
            begun: false,
            longs: Longs::default(),
            key: BytesMut::new(),
            read: 0,
            copied: 0,
            aside: BytesMut::new(),
            aside_rows: 0,
            bytes: 0,
        }
    }

    /// Whether the pass's COPY is to begin: its columns are known with the first row.
    fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, self.columns.is_some()) && self.begun
    }

    /// Whether all rows of the second way are held.
    fn holds_aside(&self) -> bool {
        self.aside.len() < ASIDE_BYTES
    }

    /// Encodes rows until a message is full; `false` at the record's end.
    fn fill<'p>(
        &mut self,
        reader: &mut ChunkReader<'p>,
        row: &mut Vec<Value<'p>>,
        out: &mut BytesMut,
    ) -> Result<bool, Failure> {
        let job = self.job;
        let touched = match (&job.notes, self.pass) {
            (Some(notes), Pass::Untouched | Pass::Touched) => Some((notes, notes.touched.keys())),
            _ => None,
        };
        while out.len() < MESSAGE_BYTES {
            if !reader.row(row)? {
                return Ok(false);
            }
            self.read += 1;
            self.check(row)?;
            let named = match &touched {
                None => false,
                Some((notes, keys)) => match keys.as_ref() {
                    None => true,
                    Some(keys) if keys.is_empty() => false,
                    Some(keys) => keys.contains(&self.hash_key(&notes.touched.hasher, row)?),
                },
            };
            match (self.pass, named) {
                (Pass::Direct | Pass::Staged, _)
                | (Pass::Untouched, false)
                | (Pass::Touched, true) => {
                    self.put(row, out)?;
                    self.copied += 1;
                }
                (Pass::Untouched, true) => {
                    self.aside_rows += 1;
                    if self.holds_aside() {
                        let mut aside = std::mem::take(&mut self.aside);
                        self.put(row, &mut aside)?;
                        self.aside = aside;
                    }
                }
                (Pass::Touched, false) => {}
            }
        }
        Ok(true)
    }

    /// Settles a row's long values, and holds it against the target and the rows before it: all of
    /// them give the same columns.
    fn check(&mut self, row: &mut Vec<Value<'_>>) -> Result<(), Failure> {
        let relation = &self.job.relation;
        if row.len() != relation.projection.width() {
            return Err(damaged(self.job, "a row does not have its table version's columns"));
        }
        for value in row.iter_mut() {
            self.longs.settle(value).map_err(|what| damaged(self.job, what))?;
        }
        relation.projection.apply_row(row);
        let gives =
            |column: usize| relation.columns[column].is_some() && !row[column].is_unavailable();
        match &self.columns {
            Some(columns) => {
                if (0..row.len()).any(|column| gives(column) != columns.contains(column)) {
                    return Err(damaged(self.job, "its rows do not give the same columns"));
                }
            }
            None => {
                let mut columns = Mask::default();
                columns.clear(row.len());
                (0..row.len()).filter(|c| gives(*c)).for_each(|c| columns.insert(c));
                self.columns = Some(columns);
            }
        }
        Ok(())
    }

    /// A row as COPY takes it.
    fn put(&self, row: &[Value<'_>], out: &mut BytesMut) -> Result<(), Failure> {
        let start = out.len();
        out.put_u16(0);
        let mut count = 0u16;
        for (column, value) in row.iter().enumerate() {
            if self.job.relation.columns[column].is_some() && !value.is_unavailable() {
                self.field(column, row, out)?;
                count += 1;
            }
        }
        out[start..start + 2].copy_from_slice(&count.to_be_bytes());
        Ok(())
    }

    fn hash_key(&mut self, hasher: &RandomState, row: &[Value<'_>]) -> Result<u64, Failure> {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        for column in &self.job.relation.key {
            self.field(*column, row, &mut key)?;
        }
        let hash = hasher.hash_one(&key[..]);
        self.key = key;
        Ok(hash)
    }

    fn field(&self, column: usize, row: &[Value<'_>], out: &mut BytesMut) -> Result<(), Failure> {
        let relation = &self.job.relation;
        let put = put(relation, column, &row[column], &self.job.rules, out);
        put.map_err(|error| match error {
            ChangeError::Value { column, error } => {
                let key = key_in_words(relation, |place| row.get(relation.key[place]));
                let of_row = key.map_or(String::new(), |key| format!(", in the row with {key}"));
                refused_value(self.job, &format!("column {column} holds {error}{of_row}"))
            }
            ChangeError::Unidentified(what) | ChangeError::Corrupt(what) => damaged(self.job, what),
        })
    }
}

/// Pipeline, load, table version, number.
fn put_chunk(job: &ChunkJob, out: &mut BytesMut) {
    put_text(&job.pipeline, out);
    out.put_u32(16);
    out.put_slice(job.load.as_bytes());
    put_text(&job.table.to_string(), out);
    out.put_u32(4);
    out.put_u32(job.chunk);
}

fn note(job: &ChunkJob) -> Note {
    Note {
        table: Some(Arc::clone(&job.relation.source)),
        operation: Some(Operation::Insert),
        first_change: 0,
        last_change: 0,
        rows: job.rows,
        counted: false,
    }
}

/// What an error of the connection means for the chunk.
fn stop(job: &ChunkJob, latched: Latched) -> Stop {
    let what = format!("chunk {} of {}", job.chunk, job.relation.source);
    match latched {
        Latched::Server { error, .. } => match error.code.as_str() {
            NOT_PENDING => Stop::NotPending,
            ANOTHER_EPOCH => Stop::Failure(checkpoint::displaced(&job.pipeline)),
            UNIQUE => Stop::Present(refused(&what, &error)),
            NOT_PLACED => Stop::Failure(not_placed(&what, &error.to_string())),
            _ => match error.class() {
                Class::Retry => {
                    Stop::Failure(error::gave_up(&format!("the target gave up {what}"), &error))
                }
                Class::Conflict | Class::Halt => Stop::Failure(refused(&what, &error)),
            },
        },
        Latched::Lost(lost) => Stop::Failure(Failure::new(
            Code::ApplyConnection,
            format!("lost the connection to the target that loads {what}: {lost}"),
        )),
        Latched::Rows { note, met } => {
            Stop::Failure(not_placed(&what, &trouble::miscounted(&note, met)))
        }
        Latched::Protocol(answer) => Stop::Failure(
            Failure::new(
                Code::ApplyProtocol,
                format!("the target's answers to {what} make no sense: {answer}"),
            )
            .remedy("report this with the log"),
        ),
    }
}

/// Rows that the source has and the target has not.
fn not_placed(what: &str, how: &str) -> Failure {
    Failure::new(Code::ApplyLoadUnplaced, format!("not every row of {what} has a place in the target: {how}")).remedy("two keys of the source are one in the target, or a trigger of the target keeps rows out: let \
         `key_collation` be \"exact\" and key columns have a type that tells the values apart \
         (docs/types.md), drop the trigger, then load the table again")
}

fn refused(what: &str, error: &ServerError) -> Failure {
    if error.code == UNIQUE {
        return Failure::new(Code::ApplyLoadRefused, format!("the target refuses {what}: {error}")).remedy("two rows of the source are one by that key or unique index in the target, or a row was \
             there before: let `key_collation` be \"exact\" and key columns have a type that tells the \
             values apart (docs/types.md), drop a unique index that the source has not, remove foreign \
             rows, then load the table again");
    }
    if error.code == error::TOO_LARGE {
        let message = format!("the target refuses {what}: {error}");
        return Failure::new(Code::ApplyLoadRefused, message).remedy(error::remedy(error));
    }
    Failure::new(Code::ApplyLoadRefused, format!("the target refuses {what}: {error}")).remedy(
        "while a table is loaded it needs the source's key and no other constraint: drop what \
         refuses the rows (it can be made again once the load is consistent), or correct the \
         target's rows, then start apply again",
    )
}

fn refused_value(job: &ChunkJob, what: &str) -> Failure {
    Failure::new(Code::ApplyLoadValue, format!("chunk {} of {}: {what}", job.chunk, job.relation.source)).remedy("change the value at the source and load the table again, or give the target's column a type \
         that holds it, as the line may say, and start apply again")
}

fn too_large(job: &ChunkJob, error: EncodeError) -> Failure {
    refused_value(job, &format!("it holds {error}"))
}
