//! What is about to go over the wire: messages of PostgreSQL's extended protocol, written without
//! waiting for replies, and for each of them what reply must come.
//!
//! A transaction of ours is the protocol's implicit one: everything between two Syncs. The server
//! commits at the Sync, or, after an error, skips to it; ReadyForQuery without an error before it
//! *is* the commit's confirmation. So there is no COMMIT whose reply could be a `ROLLBACK` in
//! disguise. An error in one transaction does not stop the next one by itself: the checkpoint's chain
//! does (see `checkpoint`).
//!
//! COPY is pipelined like any statement: Bind, Execute, CopyData, CopyDone without waiting for
//! CopyInResponse. After an error the server passes over what is left of it, up to Sync.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{BufMut, BytesMut};
use lockstep_common::model::record::Operation;

use super::encode::EncodeError;
use super::statement::{Shape, Sql};
use crate::destination::Changes;

/// PostgreSQL refuses longer messages (`PQ_LARGE_MESSAGE_LIMIT`).
const MOST_MESSAGE: usize = (1 << 30) - 1;

/// Statements a connection keeps prepared; each costs the server some tens of kilobytes. The one
/// unused for longest goes when another is needed.
const MOST_STATEMENTS: usize = 1000;

/// What a statement does, for messages about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    /// Source table; none for the checkpoint.
    pub(crate) table: Option<Arc<str>>,
    /// What it does there.
    pub(crate) operation: Option<Operation>,
    /// First change it carries, counted from 0 within the transaction.
    pub(crate) first_change: u64,
    /// The last one; others may lie between.
    pub(crate) last_change: u64,
    /// Rows it carries.
    pub(crate) rows: u64,
    /// The reply says how many rows it met, and they are to be as many as it carries.
    pub(crate) counted: bool,
}

impl Note {
    /// What it says of changes; nothing for the checkpoint.
    pub(super) fn changes(&self) -> Option<Changes> {
        let (operation, first, last) = (self.operation, self.first_change, self.last_change);
        Some(Changes { table: Arc::clone(self.table.as_ref()?), operation, first, last })
    }
}

/// The reply that must come next.
#[derive(Debug)]
pub(super) enum Expected {
    /// CommandComplete of a statement.
    Statement { note: Note },
    /// ReadyForQuery: the transaction is committed.
    Ready,
}

/// Replies still to come, oldest first.
#[derive(Debug, Default)]
pub(super) struct Expectations(Mutex<VecDeque<Expected>>);

impl Expectations {
    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Expected>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The messages not yet handed to the socket.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) out: BytesMut,
    expected: Arc<Expectations>,
    prepared: HashMap<Shape, Prepared>,
    names: u32,
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Prepared {
    name: u32,
    used: u64,
}

/// A prepared statement's number on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(u32);

impl Pipe {
    pub(super) fn new(expected: Arc<Expectations>) -> Self {
        Pipe { out: BytesMut::new(), expected, prepared: HashMap::new(), names: 0, clock: 0 }
    }

    /// The statement of `shape`, prepared on the way when it is new.
    pub(super) fn prepare(&mut self, shape: &Shape, sql: impl FnOnce() -> Sql) -> Name {
        self.clock += 1;
        if let Some(prepared) = self.prepared.get_mut(shape) {
            prepared.used = self.clock;
            return Name(prepared.name);
        }
        if self.prepared.len() >= MOST_STATEMENTS {
            self.close_oldest();
        }
        self.names += 1;
        let name = self.names;
        self.prepared.insert(shape.clone(), Prepared { name, used: self.clock });
        let Sql { text, parameters } = sql();
        let out = &mut self.out;
        message(b'P', out, |out| {
            put_name(name, out);
            out.put_slice(text.as_bytes());
            out.put_u8(0);
            out.put_u16(u16::try_from(parameters.len()).expect("statements are kept below 65536"));
            parameters.iter().for_each(|oid| out.put_u32(*oid));
        });
        Name(name)
    }

    fn close_oldest(&mut self) {
        let oldest =
            self.prepared.iter().min_by_key(|(_, p)| p.used).map(|(s, p)| (s.clone(), p.name));
        if let Some((shape, name)) = oldest {
            self.prepared.remove(&shape);
            message(b'C', &mut self.out, |out| {
                out.put_u8(b'S');
                put_name(name, out);
            });
        }
    }

    /// Binds and executes: `parameters` appends each parameter as a length and its bytes.
    ///
    /// # Errors
    /// When the parameters are more than one message may carry; nothing is then written.
    pub(super) fn execute(
        &mut self,
        name: Name,
        count: usize,
        parameters: impl FnOnce(&mut BytesMut),
        note: Note,
    ) -> Result<(), EncodeError> {
        self.bind(name, count, parameters)?;
        self.run(Expected::Statement { note });
        Ok(())
    }

    fn bind(
        &mut self,
        name: Name,
        count: usize,
        parameters: impl FnOnce(&mut BytesMut),
    ) -> Result<(), EncodeError> {
        let start = self.out.len();
        message(b'B', &mut self.out, |out| {
            out.put_u8(0);
            put_name(name.0, out);
            // One format for all parameters: binary.
            out.put_u16(1);
            out.put_u16(1);
            out.put_u16(u16::try_from(count).expect("statements are kept below 65536"));
            parameters(out);
            out.put_u16(0);
        });
        if self.out.len() - start > MOST_MESSAGE {
            self.out.truncate(start);
            return Err(EncodeError::Size);
        }
        Ok(())
    }

    fn run(&mut self, expected: Expected) {
        message(b'E', &mut self.out, |out| {
            out.put_u8(0);
            out.put_i32(0);
        });
        self.expected.lock().push_back(expected);
    }

    /// Begins a COPY; its rows follow by [`Pipe::copy_data`].
    pub(super) fn copy_begin(&mut self, name: Name, note: Note) -> Result<(), EncodeError> {
        self.bind(name, 0, |_| ())?;
        self.run(Expected::Statement { note });
        Ok(())
    }

    /// Some of a COPY's bytes.
    pub(super) fn copy_data(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(MOST_MESSAGE - 8) {
            message(b'd', &mut self.out, |out| out.put_slice(chunk));
        }
    }

    /// Ends a COPY of `rows` rows. It has to be the statement begun last.
    pub(super) fn copy_end(&mut self, rows: u64) {
        message(b'c', &mut self.out, |_| ());
        // The reply cannot have come yet, unless the COPY failed and nothing matters any more.
        if let Some(Expected::Statement { note }) = self.expected.lock().back_mut() {
            (note.rows, note.counted) = (rows, true);
        }
    }

    /// Has the server send the answers that it holds back; nothing is committed by that.
    pub(super) fn ask_answers(&mut self) {
        message(b'H', &mut self.out, |_| ());
    }

    /// Commits what stands between this and the Sync before.
    pub(super) fn sync(&mut self) {
        message(b'S', &mut self.out, |_| ());
        self.expected.lock().push_back(Expected::Ready);
    }
}

/// Appends a message: its tag, the length of the rest, the rest.
fn message(tag: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    // A message beyond 32 bits is taken back by whoever could make one.
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_name(name: u32, out: &mut BytesMut) {
    use std::io::Write;
    write!(out.writer(), "s{name}").expect("a buffer grows");
    out.put_u8(0);
}
