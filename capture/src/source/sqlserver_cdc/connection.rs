//! Connections to the server: at most so many, each used by one statement at a time, each thrown
//! away after anything but a clean end.
//!
//! A response that was not read to its end leaves the connection out of step with the server, and
//! the driver cannot tell on which side of an error a session's settings are. So a [`Lease`] that is
//! dropped, by an error or a cancelled future, takes its connection with it; only [`Lease::keep`]
//! puts it back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_common::Failure;
use lockstep_common::config::{self, Encrypt};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, QueryStream, Row, ToSql};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use super::{errors, statements};

/// Time for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of the server within a response. Reads of a change table need no sort, so a
/// silence this long means a stuck server or a dead network.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);
/// The same where tables are read for a full load: a boundary of a key that no index has in order is
/// found by sorting the table.
const LOAD_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// Longest wait for a lock: in the stream, whose loop has readers of loads to serve meanwhile, and where
/// tables are read, whose writers may take longer.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOAD_LOCK_TIMEOUT: Duration = Duration::from_secs(30);
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
    idle: Mutex<Vec<Client<Compat<TcpStream>>>>,
    established: AtomicBool,
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
            address: format!("{}:{}", source.host, source.port),
            session: statements::session(max_value_bytes, lock_timeout),
            size,
            permits: Arc::new(Semaphore::new(size)),
            idle: Mutex::new(Vec::new()),
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
            Some(client) => client,
            None => self.connect().await?,
        };
        Ok(Lease { client, pool: Arc::clone(self), _permit: permit })
    }

    /// Forgets all idle connections.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What an error of the driver means here.
    pub fn classify(&self, error: tiberius::error::Error, doing: &str) -> Failure {
        errors::classify(error, doing, self.established.load(Ordering::Relaxed))
    }

    /// With the password as it is now: its file changes while capture runs.
    fn config(&self) -> Result<Config, Failure> {
        let mut config = self.config.clone();
        config.authentication(authentication(&self.source)?);
        Ok(config)
    }

    async fn connect(&self) -> Result<Client<Compat<TcpStream>>, Failure> {
        let doing = || format!("connect to {}", self.address);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address))
            .await
            .map_err(|_| errors::timed_out(&self.address, CONNECT_TIMEOUT))?
            .map_err(|error| errors::unreachable(error, &self.address))?;
        stream.set_nodelay(true).map_err(|error| errors::unreachable(error, &self.address))?;
        let mut client = Client::connect(self.config()?, stream.compat_write())
            .await
            .map_err(|error| self.classify(error, &doing()))?;
        let prepared = match client.simple_query(self.session.as_str()).await {
            Ok(answer) => answer.into_results().await,
            Err(error) => Err(error),
        };
        prepared.map_err(|error| self.classify(error, &doing()))?;
        self.established.store(true, Ordering::Relaxed);
        Ok(client)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Client<Compat<TcpStream>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn authentication(source: &config::Source) -> Result<AuthMethod, Failure> {
    let password = source.secret().map_err(|error| {
        Failure::halt("source.password", error.to_string(), "check source.password_file")
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
    client: Client<Compat<TcpStream>>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Puts the connection back for others. Only after every statement's answer was read to its
    /// end.
    pub fn keep(self) {
        self.pool.lock().push(self.client);
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
