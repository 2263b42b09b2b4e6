//! Who logs in where.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lockstep_common::config::{self, Secret, TargetTls};
use lockstep_common::{Failure, config::ConfigError};

use super::error;
use super::pooler::Greeted;
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
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) tls: TargetTls,
    /// Certificate authority to trust beside the system's, PEM.
    authority: Option<Vec<u8>>,
    /// `lockstep-apply/<pipeline>`, seen in `pg_stat_activity`.
    application: String,
}

impl Login {
    /// From a configuration; reads the password's and the authority's files.
    ///
    /// # Errors
    /// `Halt` when such a file cannot be read.
    pub(super) fn new(config: &config::Apply, pipeline: &str) -> Result<Self, Failure> {
        let unreadable = |error: ConfigError| {
            Failure::halt("apply.config", error.to_string(), "correct `password_file`")
        };
        let authority = match &config.ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                Failure::halt(
                    "apply.config",
                    format!("cannot read {}: {error}", path.display()),
                    "correct `ca_file`",
                )
            })?),
        };
        Ok(Login {
            address: if config.host.starts_with('/') {
                Address::Unix(config.host.clone())
            } else {
                Address::Tcp(config.host.clone())
            },
            port: config.port,
            database: config.database.clone(),
            user: config.user.clone(),
            password: config.secret().map_err(unreadable)?,
            tls: config.tls,
            authority,
            application: format!("lockstep-apply/{pipeline}"),
        })
    }

    pub(super) fn tls_connector(&self) -> Result<native_tls::TlsConnector, String> {
        let mut builder = native_tls::TlsConnector::builder();
        if self.tls != TargetTls::VerifyFull {
            builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
        if let Some(pem) = &self.authority {
            let certificate = native_tls::Certificate::from_pem(pem)
                .map_err(|error| format!("`ca_file` holds no certificate: {error}"))?;
            builder.add_root_certificate(certificate);
        }
        builder.build().map_err(|error| format!("TLS: {error}"))
    }

    /// Host and port.
    pub(super) fn place(&self) -> String {
        match &self.address {
            Address::Tcp(host) | Address::Unix(host) => format!("{host}:{}", self.port),
        }
    }

    pub(super) fn unreachable(&self) -> String {
        format!("cannot reach PostgreSQL at {}", self.place())
    }

    pub(super) fn refused(&self) -> String {
        format!(
            "PostgreSQL at {} refuses user {} on database {}",
            self.place(),
            self.user,
            self.database
        )
    }

    /// The connection for everything that is not the stream: catalogue, epoch, tables.
    ///
    /// # Errors
    /// As [`socket::connect`] and [`settings::pin`].
    pub(super) async fn cold(&self) -> Result<tokio_postgres::Client, Failure> {
        let (stream, greeting) = Greeted::new(socket::stream(self).await?);
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .password(self.password.expose())
            .dbname(&self.database)
            .application_name(&self.application)
            // `stream` is encrypted already where it is to be.
            .ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (mut client, connection) = config
            .connect_raw(stream, tokio_postgres::NoTls)
            .await
            .map_err(|e| error::failure("apply.connect", &self.refused(), &e))?;
        // Ends with the client; its errors come out of the client's calls.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let greeted = greeting.load(Ordering::Acquire);
        settings::pin(&mut client, self, Purpose::Cold, greeted).await?;
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
