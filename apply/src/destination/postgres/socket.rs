//! A connection to PostgreSQL that speaks the protocol itself.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html>

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::service::limits;
use postgres_protocol::message::backend::{self, DataRowBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::ask::TextRow;
use super::authenticate;
use super::connect::{Address, Login};
use super::error::{ServerError, server_failure};
use super::tls::{self, Line};

/// A byte stream in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Duplex for T {}

/// An authenticated connection, ready for queries.
pub(super) struct Socket {
    pub(super) stream: Box<dyn Duplex>,
    /// The server process.
    pub(super) backend_pid: i32,
}

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects and logs in, with `parameters` set for the session.
///
/// # Errors
/// `Retry` when the server cannot be reached, `Halt` when it refuses.
pub(super) async fn connect(login: &Login, parameters: &[(&str, &str)]) -> Result<Socket, Failure> {
    let attempt = async {
        let mut line = open(login).await?;
        let backend_pid = authenticate::log_in(login, parameters, &mut line).await?;
        Ok(Socket { stream: line.stream, backend_pid })
    };
    in_time(login, attempt).await
}

async fn in_time<T>(
    login: &Login,
    attempt: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(HandshakeError::Server(error))) => {
            Err(server_failure(Code::ApplyConnect, &login.refused(), &error))
        }
        Ok(Err(HandshakeError::Io(error))) => {
            let what = format!("{}: {error}", login.unreachable());
            let remedy = limits::of_descriptors(&error).unwrap_or_default();
            Err(Failure::new(Code::ApplyTargetAway, what).remedy(remedy))
        }
        Ok(Err(HandshakeError::Failure(failure))) => Err(failure),
        Ok(Err(HandshakeError::Refused(what))) => Err(Failure::new(Code::ApplyTransport, format!("cannot log in at {}: {what}", login.place())).remedy("let the server have a certificate for this name and `ca_file` name who vouches for it; \
             or let the role's password be stored as SCRAM; or choose a weaker `tls` in words")),
        Err(_) => Err(Failure::new(Code::ApplyTargetAway, format!("{}: no answer within {CONNECT_TIMEOUT:?}", login.unreachable()))),
    }
}

/// Why nobody is logged in.
pub(super) enum HandshakeError {
    Io(io::Error),
    /// The server's word.
    Server(Box<ServerError>),
    /// Whoever is there is not what the configuration wants, or wants what it must not have.
    Refused(String),
    /// Our own files.
    Failure(Failure),
}

impl From<Failure> for HandshakeError {
    fn from(failure: Failure) -> Self {
        HandshakeError::Failure(failure)
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        HandshakeError::Io(error)
    }
}

async fn open(login: &Login) -> Result<Line, HandshakeError> {
    match &login.address {
        Address::Unix(directory) => {
            let path = Path::new(directory).join(format!(".s.PGSQL.{}", login.config.port));
            let stream = Box::new(UnixStream::connect(path).await?);
            Ok(Line { stream, verified: true, end_point: None })
        }
        Address::Tcp(host) => {
            let stream = TcpStream::connect((host.as_str(), login.config.port)).await?;
            stream.set_nodelay(true)?;
            let socket = socket2::SockRef::from(&stream);
            socket.set_tcp_keepalive(
                &socket2::TcpKeepalive::new()
                    .with_time(super::connect::KEEPALIVE_IDLE)
                    .with_interval(super::connect::KEEPALIVE_INTERVAL),
            )?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(super::connect::TCP_USER_TIMEOUT))?;
            tls::secure(login, host, stream).await
        }
    }
}

/// Longest answer that is read, in bytes. Nothing that is asked on these connections has a longer one, and
/// no memory is given to whoever claims it.
const MOST_ANSWER: usize = 16 << 20;

/// The first message's length, its tag included, once all of its head is there.
///
/// # Errors
/// When it cannot be the length of an answer.
pub(super) fn length(input: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = backend::Header::parse(input)? else { return Ok(None) };
    match usize::try_from(header.len()) {
        Ok(length) if length < MOST_ANSWER => Ok(Some(length + 1)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {} bytes, which is no answer of PostgreSQL", header.len()),
        )),
    }
}

/// The next message.
pub(super) async fn next(
    stream: &mut Box<dyn Duplex>,
    input: &mut BytesMut,
) -> io::Result<Message> {
    loop {
        length(input)?;
        if let Some(message) = Message::parse(input)? {
            return Ok(message);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Runs statements and waits for them, before the connection carries anything else; gives their rows
/// as text.
///
/// # Errors
/// The server's error, or the connection's.
pub(super) async fn simple_query(
    socket: &mut Socket,
    sql: &str,
) -> Result<Result<Vec<TextRow>, ServerError>, io::Error> {
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out)?;
    socket.stream.write_all(&out).await?;
    let mut input = BytesMut::new();
    let mut rows = Vec::new();
    let mut failed = None;
    loop {
        let message = match (next(&mut socket.stream, &mut input).await, failed.take()) {
            // What the server said before it went is worth more than the broken connection.
            (Err(_), Some(error)) => return Ok(Err(error)),
            (message, before) => {
                failed = before;
                message?
            }
        };
        match message {
            Message::ErrorResponse(body) => failed = Some(ServerError::from_response(&body)),
            Message::DataRow(body) => rows.push(text_row(&body)?),
            Message::ReadyForQuery(_) => return Ok(failed.map_or(Ok(rows), Err)),
            _ => {}
        }
    }
}

fn text_row(body: &DataRowBody) -> io::Result<TextRow> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let buffer = body.buffer();
    body.ranges().map(|range| Ok(range.map(|range| text(&buffer[range])))).collect()
}
