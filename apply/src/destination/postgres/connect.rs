//! Who logs in where.

use std::sync::Arc;
use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::config::{self, Secret};
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;

use super::entered::Entered;
use super::error;
use super::settings::{self, Purpose};
use super::socket::{self, Socket};

/// Idle time after which a silent peer is probed, and between probes.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unacknowledged before the connection counts as lost.
pub(super) const TCP_USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the server is.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// Host name or address.
    Tcp(String),
    /// Directory of the socket.
    Unix(String),
}

/// What a connection needs.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) address: Address,
    pub(super) config: Arc<config::Apply>,
    /// `lockstep-apply/<pipeline>`, seen in `pg_stat_activity`.
    application: String,
}

impl Login {
    /// From a configuration. Its files are read at each connection: they change while apply runs.
    ///
    /// # Errors
    /// `Halt` when its keys contradict each other.
    pub(super) fn new(config: &config::Apply, pipeline: &str) -> Result<Self, Failure> {
        if let Some((key, what)) = config.contradiction() {
            let what = format!("`{key}` {what}");
            return Err(Failure::new(Code::ApplyConfig, what).remedy("correct the configuration"));
        }
        Ok(Login {
            address: if config.host.starts_with('/') {
                Address::Unix(config.host.clone())
            } else {
                Address::Tcp(config.host.clone())
            },
            config: Arc::new(config.clone()),
            application: format!("lockstep-apply/{pipeline}"),
        })
    }

    /// The password as it is now.
    ///
    /// # Errors
    /// `Halt` when its file cannot be read.
    pub(super) fn password(&self) -> Result<Secret, Failure> {
        self.config.secret().map_err(|error| {
            Failure::new(Code::ApplyConfig, error.to_string()).remedy("correct `password_file`")
        })
    }

    /// Host and port.
    pub(super) fn place(&self) -> String {
        match &self.address {
            Address::Tcp(host) | Address::Unix(host) => format!("{host}:{}", self.config.port),
        }
    }

    pub(super) fn unreachable(&self) -> String {
        format!("cannot reach PostgreSQL at {}", self.place())
    }

    pub(super) fn refused(&self) -> String {
        format!(
            "PostgreSQL at {} refuses user {} on database {}",
            self.place(),
            self.config.user,
            self.config.database
        )
    }

    /// The connection for everything that is not the stream: catalogue, epoch, tables.
    ///
    /// # Errors
    /// As [`socket::connect`] and [`settings::pin`].
    pub(super) async fn cold(&self) -> Result<tokio_postgres::Client, Failure> {
        let socket::Socket { stream, backend_pid } = self.bare().await?;
        let mut config = tokio_postgres::Config::new();
        config.user(&self.config.user).ssl_mode(SslMode::Disable);
        let (mut client, connection) = config
            .connect_raw(Entered::new(stream), NoTls)
            .await
            .map_err(|e| error::failure(Code::ApplyConnect, &self.refused(), &e))?;
        // Ends with the client; its errors come out of the client's calls.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        settings::pin(&mut client, self, Purpose::Cold, backend_pid).await?;
        Ok(client)
    }

    /// A connection for the stream.
    ///
    /// # Errors
    /// As [`Login::cold`].
    pub(super) async fn hot(&self) -> Result<Socket, Failure> {
        self.pinned(Purpose::Stream).await
    }

    /// A connection for rows of a full load.
    ///
    /// # Errors
    /// As [`Login::cold`].
    pub(super) async fn load(&self) -> Result<Socket, Failure> {
        self.pinned(Purpose::Load).await
    }

    async fn pinned(&self, purpose: Purpose) -> Result<Socket, Failure> {
        let mut socket = self.bare().await?;
        let greeted = socket.backend_pid;
        socket.backend_pid = settings::pin(&mut socket, self, purpose, greeted).await?;
        Ok(socket)
    }

    /// A connection as it comes.
    ///
    /// # Errors
    /// As [`socket::connect`].
    pub(super) async fn bare(&self) -> Result<Socket, Failure> {
        let application = ("application_name", self.application.as_str());
        socket::connect(self, &[application, ("client_encoding", "UTF8")]).await
    }
}
