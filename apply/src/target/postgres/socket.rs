//! A connection to PostgreSQL that speaks the protocol itself: socket, TLS, startup, authentication.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html>

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use lockstep_common::Failure;
use lockstep_common::config::TargetTls;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::ask::TextRow;
use super::connect::{Address, Login};
use super::error::{ServerError, server_failure};

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
        let mut stream = open(login).await?;
        let backend_pid = handshake(login, parameters, &mut stream).await?;
        Ok(Socket { stream, backend_pid })
    };
    in_time(login, attempt).await
}

/// Connects, encrypted where it is to be; nobody is logged in.
///
/// # Errors
/// As [`connect`].
pub(super) async fn stream(login: &Login) -> Result<Box<dyn Duplex>, Failure> {
    in_time(login, open(login)).await
}

async fn in_time<T>(
    login: &Login,
    attempt: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(HandshakeError::Server(error))) => {
            Err(server_failure("apply.connect", &login.refused(), &error))
        }
        Ok(Err(HandshakeError::Io(error))) => {
            Err(Failure::retry("apply.connect", format!("{}: {error}", login.unreachable())))
        }
        Ok(Err(HandshakeError::Refused(what))) => Err(Failure::halt(
            "apply.connect",
            format!("{}: {what}", login.refused()),
            "correct `tls`, `ca_file` or the authentication method of this apply's role",
        )),
        Err(_) => Err(Failure::retry(
            "apply.connect",
            format!("{}: no answer within {CONNECT_TIMEOUT:?}", login.unreachable()),
        )),
    }
}

enum HandshakeError {
    Io(io::Error),
    Server(ServerError),
    Refused(String),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        HandshakeError::Io(error)
    }
}

async fn open(login: &Login) -> Result<Box<dyn Duplex>, HandshakeError> {
    match &login.address {
        Address::Unix(directory) => {
            let path = Path::new(directory).join(format!(".s.PGSQL.{}", login.port));
            Ok(Box::new(UnixStream::connect(path).await?))
        }
        Address::Tcp(host) => {
            let stream = TcpStream::connect((host.as_str(), login.port)).await?;
            stream.set_nodelay(true)?;
            let socket = socket2::SockRef::from(&stream);
            socket.set_tcp_keepalive(
                &socket2::TcpKeepalive::new()
                    .with_time(super::connect::KEEPALIVE_IDLE)
                    .with_interval(super::connect::KEEPALIVE_INTERVAL),
            )?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(super::connect::TCP_USER_TIMEOUT))?;
            secure(login, host, stream).await
        }
    }
}

async fn secure(
    login: &Login,
    host: &str,
    mut stream: TcpStream,
) -> Result<Box<dyn Duplex>, HandshakeError> {
    if login.tls == TargetTls::Disable {
        return Ok(Box::new(stream));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    match stream.read_u8().await? {
        b'S' => {
            let connector = login.tls_connector().map_err(HandshakeError::Refused)?;
            let connector = tokio_native_tls::TlsConnector::from(connector);
            let stream = connector
                .connect(host, stream)
                .await
                .map_err(|error| HandshakeError::Refused(format!("TLS: {error}")))?;
            Ok(Box::new(stream))
        }
        b'N' if login.tls == TargetTls::Prefer => Ok(Box::new(stream)),
        b'N' => Err(HandshakeError::Refused("the server does not offer TLS".into())),
        _ => Err(HandshakeError::Refused("the server does not speak PostgreSQL's protocol".into())),
    }
}

/// Startup and authentication, up to the first ReadyForQuery; gives the server process's number.
async fn handshake(
    login: &Login,
    parameters: &[(&str, &str)],
    stream: &mut Box<dyn Duplex>,
) -> Result<i32, HandshakeError> {
    let mut out = BytesMut::new();
    let identity = [("user", login.user.as_str()), ("database", login.database.as_str())];
    frontend::startup_message(identity.iter().chain(parameters).copied(), &mut out)?;
    stream.write_all(&out).await?;
    let mut input = BytesMut::new();
    let mut scram: Option<ScramSha256> = None;
    let mut backend_pid = 0;
    loop {
        out.clear();
        match next(stream, &mut input).await? {
            Message::AuthenticationOk
            | Message::ParameterStatus(_)
            | Message::NoticeResponse(_) => {}
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(login.password.expose().as_bytes(), &mut out)?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(
                    login.user.as_bytes(),
                    login.password.expose().as_bytes(),
                    body.salt(),
                );
                frontend::password_message(hash.as_bytes(), &mut out)?;
            }
            Message::AuthenticationSasl(body) => {
                let offered = body.mechanisms().any(|mechanism| Ok(mechanism == SCRAM_SHA_256))?;
                if !offered {
                    return Err(HandshakeError::Refused("no known SASL mechanism offered".into()));
                }
                let client = ScramSha256::new(
                    login.password.expose().as_bytes(),
                    ChannelBinding::unsupported(),
                );
                frontend::sasl_initial_response(SCRAM_SHA_256, client.message(), &mut out)?;
                scram = Some(client);
            }
            Message::AuthenticationSaslContinue(body) => {
                let client = scram.as_mut().ok_or_else(unexpected)?;
                client.update(body.data())?;
                frontend::sasl_response(client.message(), &mut out)?;
            }
            Message::AuthenticationSaslFinal(body) => {
                scram.as_mut().ok_or_else(unexpected)?.finish(body.data())?;
            }
            Message::BackendKeyData(body) => backend_pid = body.process_id(),
            Message::ReadyForQuery(_) => return Ok(backend_pid),
            Message::ErrorResponse(body) => {
                return Err(HandshakeError::Server(ServerError::from_response(&body)));
            }
            _ => {
                return Err(HandshakeError::Refused(
                    "the server asks for an authentication method that is not supported".into(),
                ));
            }
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
        }
    }
}

fn unexpected() -> HandshakeError {
    HandshakeError::Refused("the server's authentication messages are out of order".into())
}

async fn next(stream: &mut Box<dyn Duplex>, input: &mut BytesMut) -> io::Result<Message> {
    loop {
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
