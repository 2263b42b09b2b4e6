//! One client, from PRELOGIN to the end of its connection.

use std::io;
use std::sync::Arc;

use openssl::ssl::SslAcceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::Encryption;
use super::backend::{Backend, Credentials, Session};
use super::faults::{Faults, LoginFault};
use super::interrupt::Interrupt;
use super::login::{Login, OLDEST_VERSION};
use super::packet::{
    DEFAULT_PACKET_SIZE, Framer, Message, PACKET_SIZES, PacketType, Reset, read_message,
};
use super::prelogin::{PreLogin, Protection};
use super::prepared::Prepared;
use super::reader::Malformed;
use super::request::{parse_batch, parse_transaction};
use super::response::{Piece, Response};
use super::rpc::{self, Call};
use super::sink::{Reads, Sink};
use super::tls;
use super::tokens::{
    Done, DoneToken, LoginAnswer, put_attention_acknowledgement, put_done, put_login_answer,
    put_message, put_reset_acknowledgement, put_routing, status,
};
use crate::{Cancelled, Request, ResultSink, SqlError, StatementKind, TransactionRequest};

/// Bytes read from the socket at once.
const READ_BUFFER: usize = 32 * 1024;
/// The largest packet of an encrypted connection, as SQL Server has it.
const MAX_ENCRYPTED_PACKET: usize = 16_383;
/// Requests read ahead of the one that runs. Clients wait for each answer; only an attention
/// comes out of turn.
const READ_AHEAD: usize = 8;

/// What all connections of a server share.
pub(super) struct Shared {
    pub backend: Arc<dyn Backend>,
    pub acceptor: SslAcceptor,
    pub encryption: Encryption,
    pub faults: Arc<Faults>,
    /// Counts connections and running requests, so that a stop can wait for all of them.
    pub tasks: TaskTracker,
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Serves one client until it leaves.
pub(super) async fn serve(mut tcp: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let Some(message) = read_message(&mut tcp).await? else {
        return Ok(());
    };
    if message.kind != PacketType::PreLogin {
        return Err(invalid(format!("{:?} before PRELOGIN", message.kind)));
    }
    let prelogin = PreLogin::parse(&message.payload).map_err(invalid)?;
    let (answer, protection) = prelogin.answer(shared.encryption, shared.backend.release());
    send(&mut tcp, DEFAULT_PACKET_SIZE, 0, &answer).await?;
    match protection {
        Protection::Nothing => {
            let login = read_login(&mut tcp).await?;
            converse(tcp, login, PACKET_SIZES, shared).await
        }
        Protection::Login => {
            let login = {
                let mut tls = tls::accept(&shared.acceptor, &mut tcp).await?;
                read_login(&mut tls).await?
            };
            converse(tcp, login, PACKET_SIZES, shared).await
        }
        Protection::Everything => {
            let mut tls = tls::accept(&shared.acceptor, tcp).await?;
            let login = read_login(&mut tls).await?;
            let sizes = *PACKET_SIZES.start()..=MAX_ENCRYPTED_PACKET;
            converse(tls, login, sizes, shared).await
        }
        Protection::Impossible => Ok(()),
    }
}

/// Sends a whole message.
async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    packet_size: usize,
    session: u16,
    payload: &[u8],
) -> io::Result<()> {
    let mut packets = Vec::new();
    Framer::new(PacketType::Response, packet_size, session).frame_last(payload, &mut packets);
    stream.write_all(&packets).await?;
    stream.flush().await
}

async fn read_login(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Login> {
    let message = read_message(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if message.kind != PacketType::Login {
        return Err(invalid(format!("{:?} before LOGIN7", message.kind)));
    }
    Login::parse(&message.payload).map_err(invalid)
}

/// What the wire itself has against a login.
fn objection(login: &Login) -> Option<SqlError> {
    if login.version < OLDEST_VERSION {
        let text = "The TDS version of the client is not supported; 7.3 is the oldest.";
        return Some(SqlError::new(17830, 20, 1, text));
    }
    if login.integrated || login.federated {
        let text = "Login failed. The login is from an untrusted domain and cannot be used with \
                    Integrated authentication.";
        return Some(SqlError::new(18452, 14, 1, text));
    }
    login.changes_password.then(|| {
        let text =
            format!("Login failed for user '{}'. Reason: Password change failed.", login.user);
        SqlError::new(18463, 14, 1, text)
    })
}

/// Logs the client in and answers its requests.
async fn converse<S>(
    mut stream: S,
    login: Login,
    sizes: std::ops::RangeInclusive<usize>,
    shared: Arc<Shared>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let fault = shared.faults.login();
    if let Some(LoginFault::Error(error)) = &fault {
        return send(&mut stream, DEFAULT_PACKET_SIZE, 0, &refusal(&login, error)).await;
    }
    let session = match admit(&login, &shared).await? {
        Ok(session) => session,
        Err(error) => {
            tracing::info!(user = login.user, %error, "login refused");
            return send(&mut stream, DEFAULT_PACKET_SIZE, 0, &refusal(&login, &error)).await;
        }
    };
    let packet_size = match usize::try_from(login.packet_size) {
        Ok(0) => DEFAULT_PACKET_SIZE,
        Ok(wanted) => wanted.clamp(*sizes.start(), *sizes.end()),
        Err(_) => *sizes.end(),
    };
    let mut answer = Vec::new();
    put_login_answer(
        &mut answer,
        &LoginAnswer {
            version: login.negotiated_version(),
            packet_size,
            previous_packet_size: DEFAULT_PACKET_SIZE,
            database: &session.database(),
            utf8: login.utf8,
            release: shared.backend.release(),
        },
    );
    if let Some(LoginFault::Route { host, port }) = &fault {
        put_routing(&mut answer, host, *port);
    }
    put_done(&mut answer, end(0));
    let id = session.id();
    send(&mut stream, DEFAULT_PACKET_SIZE, id, &answer).await?;
    tracing::debug!(session = id, ?login, "logged in");

    let interrupt = Arc::new(Interrupt::new(session.canceller()));
    let _hang_up = HangUp(Arc::clone(&interrupt));
    let (reader, writer) = tokio::io::split(stream);
    let (events, requests) = mpsc::channel(READ_AHEAD);
    let reader = BufReader::with_capacity(READ_BUFFER, reader);
    let reading = read_requests(reader, events, Arc::clone(&interrupt));
    // The socket closes when both its halves are gone, whichever way this function ends.
    let _reading = AbortOnDropHandle::new(tokio::spawn(reading));
    let connection = Connection {
        writer,
        packet_size,
        id,
        reads: Reads { null_bitmaps: login.knows_null_bitmaps(), utf8: login.utf8 },
        state: Some(State { session, prepared: Prepared::default(), in_transaction: false }),
        interrupt,
        shared,
    };
    connection.run(requests).await
}

/// Asks the backend, on a thread that may block.
async fn admit(login: &Login, shared: &Shared) -> io::Result<Result<Box<dyn Session>, SqlError>> {
    if let Some(error) = objection(login) {
        return Ok(Err(error));
    }
    let credentials = Credentials {
        user: login.user.clone(),
        password: login.password.clone(),
        database: login.database.clone(),
    };
    let backend = Arc::clone(&shared.backend);
    shared.tasks.spawn_blocking(move || backend.login(&credentials)).await.map_err(io::Error::other)
}

/// The answer to a login that failed: any other reason is followed by the general one.
fn refusal(login: &Login, error: &SqlError) -> Vec<u8> {
    let mut out = Vec::new();
    put_message(&mut out, error);
    if error.number == 4060 {
        let text = format!("Login failed for user '{}'.", login.user);
        put_message(&mut out, &SqlError::new(18456, 14, 1, text));
    }
    put_done(&mut out, end(status::ERROR));
    out
}

/// A DONE that ends a response of no statement.
fn end(status: u16) -> Done {
    Done { token: DoneToken::Done, status, kind: StatementKind::Other, rows: 0 }
}

/// Tells the request that may still run that nobody waits for it.
struct HangUp(Arc<Interrupt>);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

/// What the client sends.
enum Event {
    Request(Message),
    Attention,
}

async fn read_requests(
    mut reader: impl AsyncRead + Unpin,
    events: mpsc::Sender<Event>,
    interrupt: Arc<Interrupt>,
) {
    loop {
        let event = match read_message(&mut reader).await {
            Ok(Some(message)) if message.kind == PacketType::Attention => {
                interrupt.raise();
                Event::Attention
            }
            Ok(Some(message)) => Event::Request(message),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "connection lost");
                break;
            }
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    interrupt.hang_up();
}

/// What a session keeps between requests.
struct State {
    session: Box<dyn Session>,
    prepared: Prepared,
    in_transaction: bool,
}

/// A request, read.
enum Job {
    Engine(Request),
    Transaction(Vec<TransactionRequest>),
    Calls(Vec<Call>),
    Refused(SqlError),
}

impl Job {
    fn parse(message: &Message) -> Result<Self, Malformed> {
        match message.kind {
            PacketType::Batch => parse_batch(&message.payload).map(Job::Engine),
            PacketType::Rpc => rpc::parse(&message.payload)
                .map(|calls| calls.map_or_else(Job::Refused, Job::Calls)),
            PacketType::Transaction => parse_transaction(&message.payload)
                .map(|requests| requests.map_or_else(Job::Refused, Job::Transaction)),
            PacketType::BulkLoad => super::bulk::parse(&message.payload)
                .map(|request| request.map_or_else(Job::Refused, Job::Engine)),
            _ => Err(Malformed("message type")),
        }
    }

    fn run(self, state: &mut State, sink: &mut Sink) -> Result<(), Cancelled> {
        match self {
            Job::Engine(request) => state.session.execute(request, sink),
            Job::Transaction(requests) => requests
                .into_iter()
                .try_for_each(|request| state.session.execute(Request::Transaction(request), sink)),
            Job::Calls(calls) => {
                for call in calls {
                    run_call(call, state, sink)?;
                    if sink.is_fatal() {
                        break;
                    }
                }
                Ok(())
            }
            Job::Refused(error) => sink.message(&error),
        }
    }
}

fn run_call(call: Call, state: &mut State, sink: &mut Sink) -> Result<(), Cancelled> {
    let resolved = match state.prepared.resolve(call) {
        Ok(resolved) => resolved,
        Err(error) => {
            sink.begin_procedure(Vec::new());
            sink.message(&error)?;
            return sink.end_procedure(false);
        }
    };
    sink.begin_procedure(resolved.outputs);
    if let Some(handle) = resolved.handle.as_ref().filter(|_| resolved.handle_first) {
        sink.return_value(handle)?;
    }
    if let Some(request) = resolved.request {
        state.session.execute(request, sink)?;
    }
    if let Some(handle) = resolved.handle.as_ref().filter(|_| !resolved.handle_first) {
        sink.return_value(handle)?;
    }
    sink.end_procedure(resolved.statement)
}

fn reset(reset: Reset, state: &mut State, sink: &mut Sink) {
    if reset == Reset::No {
        return;
    }
    let keep_transaction = reset == Reset::KeepTransaction;
    state.session.reset(keep_transaction);
    state.prepared.clear();
    state.in_transaction &= keep_transaction;
    put_reset_acknowledgement(sink.response().out());
}

/// What a request leaves for the connection to send and to keep.
struct Ran {
    state: State,
    payload: Vec<u8>,
    framer: Framer,
    last: Done,
    fatal: bool,
}

fn run(message_reset: Reset, job: Job, mut state: State, response: Response, reads: Reads) -> Ran {
    let in_transaction = state.in_transaction && message_reset != Reset::Session;
    let mut sink = Sink::new(response, reads, in_transaction);
    reset(message_reset, &mut state, &mut sink);
    let outcome = job.run(&mut state, &mut sink);
    let finished = sink.finish(outcome);
    state.in_transaction = finished.in_transaction;
    let (payload, framer) = finished.response.into_rest();
    Ran { state, payload, framer, last: finished.last, fatal: finished.fatal }
}

struct Connection<S> {
    writer: WriteHalf<S>,
    packet_size: usize,
    id: u16,
    reads: Reads,
    /// Away only while a request runs.
    state: Option<State>,
    interrupt: Arc<Interrupt>,
    shared: Arc<Shared>,
}

/// Whether the connection goes on.
#[derive(PartialEq)]
enum After {
    GoOn,
    Close,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(mut self, mut requests: mpsc::Receiver<Event>) -> io::Result<()> {
        while let Some(event) = requests.recv().await {
            let after = match event {
                Event::Request(message) => self.answer(message).await?,
                Event::Attention => self.acknowledge().await?,
            };
            if after == After::Close {
                break;
            }
        }
        Ok(())
    }

    async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        send(&mut self.writer, self.packet_size, self.id, payload).await
    }

    /// Acknowledges an attention, in a message of its own: the response it interrupted, if any,
    /// has ended with an error before, as it does on SQL Server.
    async fn acknowledge(&mut self) -> io::Result<After> {
        let mut out = Vec::new();
        put_attention_acknowledgement(&mut out);
        self.interrupt.acknowledge();
        self.send(&out).await?;
        Ok(After::GoOn)
    }

    async fn answer(&mut self, message: Message) -> io::Result<After> {
        if message.ignored {
            let mut out = Vec::new();
            put_done(&mut out, end(status::ERROR));
            self.send(&out).await?;
            return Ok(After::GoOn);
        }
        match Job::parse(&message) {
            Ok(job) => self.execute(message.reset, job).await,
            Err(malformed) => self.complain(malformed).await,
        }
    }

    /// The stream cannot be trusted any further.
    async fn complain(&mut self, malformed: Malformed) -> io::Result<After> {
        tracing::warn!(session = self.id, %malformed, "protocol error");
        let text = format!(
            "The incoming tabular data stream (TDS) protocol stream is incorrect: {malformed}."
        );
        let mut out = Vec::new();
        put_message(&mut out, &SqlError::new(4002, 16, 1, text));
        put_done(&mut out, end(status::ERROR));
        self.send(&out).await?;
        Ok(After::Close)
    }

    async fn execute(&mut self, reset: Reset, job: Job) -> io::Result<After> {
        let framer = Framer::new(PacketType::Response, self.packet_size, self.id);
        let interrupt = Arc::clone(&self.interrupt);
        let faults = Arc::clone(&self.shared.faults);
        let (response, mut pieces) = Response::new(framer, interrupt, faults);
        let state = self.state.take().expect("one request runs at a time");
        let reads = self.reads;
        let running =
            self.shared.tasks.spawn_blocking(move || run(reset, job, state, response, reads));
        let forwarded = self.forward(&mut pieces).await;
        // Without its receiver the request cannot go on sending.
        drop(pieces);
        if !matches!(forwarded, Ok(After::GoOn)) {
            self.interrupt.hang_up();
        }
        let ran = running.await.map_err(io::Error::other)?;
        match forwarded? {
            After::GoOn => self.finish(ran).await,
            After::Close => Ok(After::Close),
        }
    }

    /// Writes what the request produces, until it has produced all.
    async fn forward(&mut self, pieces: &mut mpsc::Receiver<Piece>) -> io::Result<After> {
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Packets(packets) => {
                    self.writer.write_all(&packets).await?;
                    self.writer.flush().await?;
                }
                Piece::Pause(pause) => tokio::time::sleep(pause).await,
                Piece::Cut => return Ok(After::Close),
            }
        }
        Ok(After::GoOn)
    }

    /// Sends the end of the response.
    async fn finish(&mut self, ran: Ran) -> io::Result<After> {
        let Ran { state, mut payload, mut framer, last, fatal } = ran;
        self.state = Some(state);
        put_done(&mut payload, last);
        let mut packets = Vec::new();
        framer.frame_last(&payload, &mut packets);
        self.writer.write_all(&packets).await?;
        self.writer.flush().await?;
        Ok(if fatal { After::Close } else { After::GoOn })
    }
}
