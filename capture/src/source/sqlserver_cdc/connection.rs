//! Connections to the server: at most so many, each used by one statement at a time, each thrown
//! away after anything but a clean end.
//!
//! A response that was not read to its end leaves the connection out of step with the server, and
//! the driver cannot tell on which side of an error a session's settings are. So a [`Lease`] that is
//! dropped, by an error or a cancelled future, takes its connection with it; only [`Lease::keep`]
//! puts it back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::config::{self, Encrypt};
use socket2::{SockRef, TcpKeepalive};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, QueryStream, Row, ToSql};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use super::{errors, statements};

/// Time for a TCP connection, and for a login on it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of the server within a response. Reads of a change table need no sort, so a
/// silence this long means a stuck server or a dead network.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// The same where tables are read for a full load: a boundary of a key that no index has in order is
/// found by sorting the table.
const LOAD_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// Longest wait for a lock: in the stream, whose loop has readers of loads to serve meanwhile, and where
/// tables are read, whose writers may take longer.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOAD_LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that was not used for so long is asked whether it is still there before it is used:
/// firewalls and load balancers forget a silent connection and tell neither end.
const TRUSTED: Duration = Duration::from_secs(5);
/// How long that may take.
const ANSWER: Duration = Duration::from_secs(5);
/// When the kernel asks the other end of a silent connection, how often, and after how long without an
/// acknowledgement it gives one up.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most servers that one login is sent on to.
const MAX_ROUTES: usize = 4;
/// TDS packets: few round trips for wide rows. An encrypted session allows at most 16383 bytes.
const PACKET_BYTES: u32 = 16_000;

/// How to connect, and the connections made.
pub struct Pool {
    config: Config,
    source: config::Source,
    address: String,
    session: String,
    size: usize,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    /// See [`TRUSTED`].
    trusted: Duration,
    established: AtomicBool,
}

type Connection = Client<Compat<TcpStream>>;

/// A connection that waits to be used, and since when.
struct Idle {
    client: Connection,
    since: Instant,
}

impl Pool {
    /// For at most `size` connections (at least one). Connects to nothing yet.
    ///
    /// # Errors
    /// When the password's file cannot be read.
    pub fn new(
        source: &config::Source,
        size: usize,
        max_value_bytes: u64,
    ) -> Result<Arc<Self>, Failure> {
        Self::with_timeouts(source, size, max_value_bytes, (COMMAND_TIMEOUT, LOCK_TIMEOUT))
    }

    /// As [`Pool::new`], for full loads.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn for_loads(
        source: &config::Source,
        size: usize,
        max_value_bytes: u64,
    ) -> Result<Arc<Self>, Failure> {
        Self::with_timeouts(source, size, max_value_bytes, (LOAD_TIMEOUT, LOAD_LOCK_TIMEOUT))
    }

    fn with_timeouts(
        source: &config::Source,
        size: usize,
        max_value_bytes: u64,
        (timeout, lock_timeout): (Duration, Duration),
    ) -> Result<Arc<Self>, Failure> {
        let size = size.max(1);
        let mut config = driver_config(source)?;
        config.command_timeout(Some(timeout));
        Ok(Arc::new(Pool {
            config,
            source: source.clone(),
            address: source.address(),
            session: statements::session(max_value_bytes, lock_timeout),
            size,
            permits: Arc::new(Semaphore::new(size)),
            idle: Mutex::new(Vec::new()),
            trusted: TRUSTED,
            established: AtomicBool::new(false),
        }))
    }

    /// Most connections at a time.
    pub fn size(&self) -> usize {
        self.size
    }

    /// A connection: an idle one, a new one, or the next that is put back.
    pub async fn get(self: &Arc<Self>) -> Result<Lease, Failure> {
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let idle = self.lock().pop();
        let client = match idle {
            Some(idle) => self.revive(idle).await,
            None => None,
        };
        let client = match client {
            Some(client) => client,
            None => self.connect().await?,
        };
        Ok(Lease { client, pool: Arc::clone(self), _permit: permit })
    }

    /// The connection if it is still there. If it is not, those that are as old are not trusted either.
    async fn revive(&self, mut idle: Idle) -> Option<Connection> {
        if idle.since.elapsed() < self.trusted {
            return Some(idle.client);
        }
        let asking = async { idle.client.simple_query("SELECT 1").await?.into_results().await };
        match tokio::time::timeout(ANSWER, asking).await {
            Ok(Ok(_)) => Some(idle.client),
            Ok(Err(error)) => {
                tracing::debug!(%error, "an idle connection to the source is gone");
                self.lock().retain(|other| other.since.elapsed() < self.trusted);
                None
            }
            Err(_) => {
                tracing::info!("an idle connection to the source does not answer: making another");
                self.lock().retain(|other| other.since.elapsed() < self.trusted);
                None
            }
        }
    }

    /// The log knows this source: what a login is refused for is no mistake of the configuration.
    pub fn established(&self) {
        self.established.store(true, Ordering::Relaxed);
    }

    /// Forgets all idle connections.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What an error of the driver means here.
    pub fn classify(&self, error: tiberius::error::Error, doing: &str) -> Failure {
        errors::classify(error, doing, self.is_established())
    }

    /// With the password as it is now: its file changes while capture runs.
    fn config(&self) -> Result<Config, Failure> {
        let mut config = self.config.clone();
        config.authentication(authentication(&self.source)?);
        Ok(config)
    }

    /// Logs in, at the server that the login is sent on to if it is.
    async fn connect(&self) -> Result<Connection, Failure> {
        let mut config = self.config()?;
        let mut address = self.address.clone();
        for _ in 0..=MAX_ROUTES {
            match self.log_in(&config, &address).await? {
                LogIn::Done(client) => return self.prepare(*client, &address).await,
                LogIn::SentOn { host, port } => {
                    tracing::debug!(from = address, host, port, "the login is sent on");
                    // The certificate has to be the new host's.
                    config.host(&host);
                    config.port(port);
                    address = format!("{host}:{port}");
                }
            }
        }
        Err(errors::sent_in_circles(&self.address, MAX_ROUTES))
    }

    async fn log_in(&self, config: &Config, address: &str) -> Result<LogIn, Failure> {
        let unreachable = |error| errors::unreachable(error, address);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| errors::timed_out(address, CONNECT_TIMEOUT))?
            .map_err(unreachable)?;
        watch(&stream).map_err(unreachable)?;
        let connecting = Client::connect(config.clone(), stream.compat_write());
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| errors::timed_out(address, CONNECT_TIMEOUT))?;
        match connected {
            Ok(client) => Ok(LogIn::Done(Box::new(client))),
            Err(tiberius::error::Error::Routing { host, port }) => Ok(LogIn::SentOn { host, port }),
            Err(error) => Err(errors::login(error, address, self.is_established())),
        }
    }

    async fn prepare(&self, mut client: Connection, address: &str) -> Result<Connection, Failure> {
        let preparing =
            async { client.simple_query(self.session.as_str()).await?.into_results().await };
        let prepared = tokio::time::timeout(CONNECT_TIMEOUT, preparing).await;
        prepared
            .map_err(|_| errors::timed_out(address, CONNECT_TIMEOUT))?
            .map_err(|error| self.classify(error, &format!("connect to {address}")))?;
        self.established();
        Ok(client)
    }

    fn is_established(&self) -> bool {
        self.established.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a login comes to.
enum LogIn {
    Done(Box<Connection>),
    /// The server names another one to log in to: Azure SQL Database under its Redirect policy, an
    /// availability group under read-only routing ([MS-TDS] 2.2.7.9, type 20).
    SentOn {
        host: String,
        port: u16,
    },
}

/// Lets the kernel notice when the other end is gone.
fn watch(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(())
}

fn authentication(source: &config::Source) -> Result<AuthMethod, Failure> {
    let password = source.secret().map_err(|error| {
        Failure::new(Code::SourcePassword, error.to_string()).remedy("check source.password_file")
    })?;
    Ok(AuthMethod::sql_server(&source.user, password.expose()))
}

fn driver_config(source: &config::Source) -> Result<Config, Failure> {
    let mut config = Config::new();
    config.host(&source.host);
    config.port(source.port);
    config.database(&source.database);
    config.application_name("lockstep-capture");
    config.authentication(authentication(source)?);
    config.encryption(match source.encrypt {
        Encrypt::Required => EncryptionLevel::Required,
        Encrypt::Login => EncryptionLevel::Off,
        Encrypt::Off => EncryptionLevel::NotSupported,
    });
    if source.trust_server_certificate {
        config.trust_cert();
    } else if let Some(file) = &source.ca_file {
        config.trust_cert_ca(file.display());
    }
    config.packet_size(PACKET_BYTES);
    Ok(config)
}

/// A connection in use.
pub struct Lease {
    client: Connection,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Puts the connection back for others. Only after every statement's answer was read to its
    /// end.
    pub fn keep(self) {
        self.pool.lock().push(Idle { client: self.client, since: Instant::now() });
    }

    /// What an error of the driver means here.
    pub fn classify(&self, error: tiberius::error::Error, doing: &str) -> Failure {
        self.pool.classify(error, doing)
    }

    /// Runs a batch without parameters and returns the rows of each result.
    pub async fn batch(&mut self, sql: &str, doing: &str) -> Result<Vec<Vec<Row>>, Failure> {
        self.try_batch(sql).await.map_err(|error| self.classify(error, doing))
    }

    /// As [`Lease::batch`], with the driver's error, for callers that expect one.
    pub async fn try_batch(&mut self, sql: &str) -> Result<Vec<Vec<Row>>, tiberius::error::Error> {
        self.client.simple_query(sql).await?.into_results().await
    }

    /// Runs statements with parameters and returns the rows of each result.
    pub async fn query(
        &mut self,
        sql: &str,
        parameters: &[&dyn ToSql],
        doing: &str,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        self.try_query(sql, parameters).await.map_err(|error| self.classify(error, doing))
    }

    /// As [`Lease::query`], with the driver's error, for callers that expect one.
    pub async fn try_query(
        &mut self,
        sql: &str,
        parameters: &[&dyn ToSql],
    ) -> Result<Vec<Vec<Row>>, tiberius::error::Error> {
        self.client.query(sql, parameters).await?.into_results().await
    }

    /// Runs a statement with parameters and streams its rows.
    pub async fn stream<'a>(
        &'a mut self,
        sql: &'a str,
        parameters: &'a [&'a dyn ToSql],
        doing: &str,
    ) -> Result<QueryStream<'a>, Failure> {
        let pool = Arc::clone(&self.pool);
        self.client.query(sql, parameters).await.map_err(|error| pool.classify(error, doing))
    }

    /// As [`Lease::stream`], with the driver's error, for callers that expect one.
    pub async fn try_stream<'a>(
        &'a mut self,
        sql: &'a str,
        parameters: &'a [&'a dyn ToSql],
    ) -> Result<QueryStream<'a>, tiberius::error::Error> {
        self.client.query(sql, parameters).await
    }
}

#[cfg(test)]
mod tests;
