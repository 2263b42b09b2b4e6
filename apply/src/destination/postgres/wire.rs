//! The pipelined connection: one task sends, another reads the replies.
//!
//! Nobody waits for a reply before sending on, and replies are always drained, so neither side can
//! block the other on full sockets. What is to be sent waits in a queue of bounded bytes. The task holds each reply against what the [`Pipe`] says must
//! come next. Whatever else comes latches: the first error stays, the connection is of no further
//! use, and every transaction without a confirmation is of unknown outcome until the next
//! connection's epoch tells. Confirmations before the error still count: they came first.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use lockstep_common::Code;
use lockstep_common::Failure;
use postgres_protocol::message::backend::{self, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::error::ServerError;
use super::pipe::{Expectations, Expected, Note, Pipe};
use super::socket::{self, Duplex, Socket};

/// Why a connection is dead.
#[derive(Clone, Debug)]
pub(super) enum Latched {
    /// The server refused the statement; its transaction is the first without a confirmation.
    Server { error: Box<ServerError>, note: Option<Note> },
    /// A statement met another number of rows than it was sent, and its commit is on the way.
    Rows { note: Note, met: Option<u64> },
    /// The connection broke.
    Lost(String),
    /// The server answered something that makes no sense: a defect, here or there.
    Protocol(String),
}

/// Bytes that may wait for the socket of a connection by itself.
pub(super) const QUEUE_BYTES: u32 = 256 << 10;
/// The same of one among several: a whole commit finds room, so that the next connection can be written.
pub(super) const LANE_BYTES: u32 = 2 << 20;

/// What sender and receiver share.
#[derive(Debug)]
struct State {
    committed: AtomicU64,
    /// When bytes last went either way.
    moved: Mutex<Instant>,
    latched: Mutex<Option<Latched>>,
    changed: Arc<Notify>,
}

/// Watches a connection for silence, from outside of whoever writes to it.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    expected: Arc<Expectations>,
    state: Arc<State>,
    /// The server process that it is of.
    pub(super) backend_pid: i32,
}

impl Ear {
    /// How long nothing has gone either way while an answer is due; none while none is.
    pub(super) fn silence(&self) -> Option<Duration> {
        if self.expected.lock().is_empty() {
            return None;
        }
        Some(self.state.moved().elapsed())
    }
}

/// The same of all connections of a session.
#[derive(Clone, Debug)]
pub(super) struct Ears(pub(super) Vec<Ear>);

impl crate::destination::Ears for Ears {
    fn silent_for(&self, patience: Duration) -> Option<Failure> {
        let silent =
            self.0.iter().find(|ear| ear.silence().is_some_and(|for_| for_ >= patience))?;
        Some(Failure::new(
            Code::ApplySilent,
            format!(
                "PostgreSQL has not answered for {} s, in process {}: it waits for a lock, for a standby \
                 that synchronous_standby_names asks for, or for its disk, or the network drops what is \
                 sent (pg_stat_activity of that process says which, in wait_event)",
                patience.as_secs(),
                silent.backend_pid
            ),
        ))
    }
}

impl State {
    fn moved(&self) -> MutexGuard<'_, Instant> {
        self.moved.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn move_on(&self) {
        *self.moved() = Instant::now();
    }

    fn latch(&self, latched: Latched) {
        let mut slot = self.latched.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        slot.get_or_insert(latched);
        drop(slot);
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    fn latched(&self) -> Option<Latched> {
        self.latched.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// The sending half.
pub(super) struct Wire {
    pub(super) pipe: Pipe,
    /// The server process that it is of.
    pub(super) backend_pid: i32,
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    queue_bytes: u32,
    state: Arc<State>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<()>,
    expected: Arc<Expectations>,
}

/// Bytes on their way to the socket, and the room they take.
type Queued = (Bytes, OwnedSemaphorePermit);

impl Drop for Wire {
    fn drop(&mut self) {
        self.sender.abort();
        self.receiver.abort();
    }
}

impl Wire {
    /// `changed` is told of confirmations and errors; `queue_bytes` may wait for the socket.
    pub(super) fn new(socket: Socket, changed: Arc<Notify>, queue_bytes: u32) -> Self {
        let Socket { stream, backend_pid } = socket;
        let (read, write) = tokio::io::split(stream);
        let expected = Arc::new(Expectations::default());
        let state = Arc::new(State {
            committed: AtomicU64::new(0),
            moved: Mutex::new(Instant::now()),
            latched: Mutex::new(None),
            changed,
        });
        let (queue, queued) = mpsc::unbounded_channel();
        let sender = tokio::spawn(send(write, queued, Arc::clone(&state)));
        let pipe = Pipe::new(Arc::clone(&expected));
        let receiver = Receiver {
            read,
            input: BytesMut::with_capacity(16 << 10),
            expected: Arc::clone(&expected),
            state: Arc::clone(&state),
        };
        let receiver = tokio::spawn(receiver.run());
        let room = Arc::new(Semaphore::new(queue_bytes as usize));
        Wire { pipe, backend_pid, queue, room, queue_bytes, state, sender, receiver, expected }
    }

    /// What tells of its silence.
    pub(super) fn ear(&self) -> Ear {
        Ear {
            expected: Arc::clone(&self.expected),
            state: Arc::clone(&self.state),
            backend_pid: self.backend_pid,
        }
    }

    /// Transactions confirmed on this connection.
    pub(super) fn committed(&self) -> u64 {
        self.state.committed.load(Ordering::Acquire)
    }

    /// Whether every statement has been answered, as it has to be.
    pub(super) fn is_answered(&self) -> bool {
        self.expected.lock().is_empty()
    }

    /// Why the connection is dead, if it is.
    pub(super) fn latched(&self) -> Option<Latched> {
        self.state.latched()
    }

    /// Waits until there may be more confirmations, or an error, on one of the connections that share
    /// its notice.
    pub(super) async fn changed(&self) {
        self.state.changed.notified().await;
    }

    /// Hands everything to the socket's queue, as soon as that has room.
    ///
    /// # Errors
    /// Why the connection is dead.
    pub(super) async fn flush(&mut self) -> Result<(), Latched> {
        if let Some(latched) = self.latched() {
            return Err(latched);
        }
        let bytes = self.pipe.out.split().freeze();
        if bytes.is_empty() {
            return Ok(());
        }
        let room = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(self.queue_bytes);
        let permit = Arc::clone(&self.room).acquire_many_owned(room).await;
        let permit = permit.expect("the queue's room is never closed");
        match self.queue.send((bytes, permit)) {
            Ok(()) => Ok(()),
            // What the server said before it went is worth more than the broken pipe.
            Err(_) => Err(self.last_words().await),
        }
    }

    /// Waits until everything handed over is written, or the connection is dead.
    pub(super) async fn written(&self) {
        // Whoever has all of the room has waited for all that took some.
        let _ = self.room.acquire_many(self.queue_bytes).await;
    }

    async fn last_words(&mut self) -> Latched {
        // The receiver ends by itself: the same connection is broken for it too.
        let _ = (&mut self.receiver).await;
        self.latched().unwrap_or_else(|| Latched::Lost("it cannot be written".to_owned()))
    }
}

/// Writes what is queued, until the socket breaks: the receiver says why.
async fn send(
    mut write: WriteHalf<Box<dyn Duplex>>,
    mut queue: mpsc::UnboundedReceiver<Queued>,
    state: Arc<State>,
) {
    while let Some((bytes, room)) = queue.recv().await {
        state.move_on();
        if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
            return;
        }
        state.move_on();
        drop(room);
    }
}

struct Receiver {
    read: ReadHalf<Box<dyn Duplex>>,
    input: BytesMut,
    expected: Arc<Expectations>,
    state: Arc<State>,
}

impl Receiver {
    async fn run(mut self) {
        loop {
            if let Err(latched) = self.drain() {
                self.state.latch(latched);
                return self.discard().await;
            }
            match self.read.read_buf(&mut self.input).await {
                Ok(0) => {
                    return self
                        .state
                        .latch(Latched::Lost("the server closed the connection".into()));
                }
                Ok(_) => self.state.move_on(),
                Err(error) => return self.state.latch(Latched::Lost(error.to_string())),
            }
        }
    }

    /// Reads on and drops what comes: a sender in the middle of a write must not wait for ever on a
    /// server that waits for its replies to be read.
    async fn discard(mut self) {
        loop {
            self.input.clear();
            if !matches!(self.read.read_buf(&mut self.input).await, Ok(1..)) {
                return;
            }
        }
    }

    /// Takes the complete messages that have arrived.
    fn drain(&mut self) -> Result<(), Latched> {
        let mut committed = 0;
        let result = loop {
            match self.message() {
                Ok(Step::Wait) => break Ok(()),
                Ok(Step::Done) => {}
                Ok(Step::Committed) => committed += 1,
                Err(latched) => break Err(latched),
            }
        };
        if committed > 0 {
            self.state.committed.fetch_add(committed, Ordering::Release);
        }
        if committed > 0 || self.expected.lock().is_empty() {
            self.state.changed.notify_one();
        }
        result
    }

    fn message(&mut self) -> Result<Step, Latched> {
        let garbled = |error: io::Error| Latched::Protocol(error.to_string());
        let Some(length) = socket::length(&self.input).map_err(garbled)? else {
            return Ok(Step::Wait);
        };
        if self.input.len() < length {
            self.input.reserve(length - self.input.len());
            return Ok(Step::Wait);
        }
        match self.input[0] {
            backend::PARSE_COMPLETE_TAG
            | backend::BIND_COMPLETE_TAG
            | backend::CLOSE_COMPLETE_TAG
            | backend::COPY_IN_RESPONSE_TAG
            | backend::DATA_ROW_TAG
            | backend::NO_DATA_TAG
            | backend::NOTICE_RESPONSE_TAG
            | backend::PARAMETER_STATUS_TAG
            | backend::NOTIFICATION_RESPONSE_TAG => {
                self.input.advance(length);
                Ok(Step::Done)
            }
            backend::COMMAND_COMPLETE_TAG => {
                let body = self.input.split_to(length);
                self.statement(&body[5..])
            }
            backend::READY_FOR_QUERY_TAG => {
                self.input.advance(length);
                match self.expected.lock().pop_front() {
                    Some(Expected::Ready) => Ok(Step::Committed),
                    other => Err(out_of_order("ReadyForQuery", other.as_ref())),
                }
            }
            backend::ERROR_RESPONSE_TAG => Err(self.error().unwrap_or_else(garbled)),
            tag => Err(Latched::Protocol(format!("unexpected message {:?}", char::from(tag)))),
        }
    }

    /// Holds a CommandComplete against the statement it must be of. What is answered wrongly stays
    /// expected.
    fn statement(&mut self, tag: &[u8]) -> Result<Step, Latched> {
        let mut expected = self.expected.lock();
        match expected.front() {
            // It stays the first: whoever waits for the last reply must not take it for answered.
            Some(Expected::Statement { note })
                if note.counted && number(tag) != Some(note.rows) =>
            {
                return Err(Latched::Rows { note: note.clone(), met: number(tag) });
            }
            Some(Expected::Statement { .. }) => expected.pop_front(),
            other => return Err(out_of_order("CommandComplete", other)),
        };
        Ok(Step::Done)
    }

    fn error(&mut self) -> Result<Latched, io::Error> {
        let Some(Message::ErrorResponse(body)) = Message::parse(&mut self.input)? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let note = match self.expected.lock().front() {
            Some(Expected::Statement { note }) => Some(note.clone()),
            _ => None,
        };
        Ok(Latched::Server { error: Box::new(ServerError::from_response(&body)), note })
    }
}

enum Step {
    Wait,
    Done,
    Committed,
}

/// The number at the end of a command tag.
fn number(tag: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(tag).ok()?.trim_end_matches('\0');
    text.rsplit(' ').next()?.parse().ok()
}

fn out_of_order(what: &str, expected: Option<&Expected>) -> Latched {
    Latched::Protocol(format!("{what} where {expected:?} was expected"))
}

#[cfg(test)]
mod fuzz;
