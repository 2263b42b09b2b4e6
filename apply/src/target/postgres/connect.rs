//! Who logs in where, and what a session is set to.

use std::time::Duration;

use lockstep_common::config::{self, Secret, TargetTls};
use lockstep_common::{Failure, config::ConfigError};

use super::error;
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
    /// As [`socket::connect`].
    pub(super) async fn cold(&self) -> Result<tokio_postgres::Client, Failure> {
        let stream = socket::stream(self).await?;
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .password(self.password.expose())
            .dbname(&self.database)
            .application_name(&self.application)
            .options(COLD_OPTIONS)
            // `stream` is encrypted already where it is to be.
            .ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config
            .connect_raw(stream, tokio_postgres::NoTls)
            .await
            .map_err(|e| error::failure("apply.connect", &self.refused(), &e))?;
        // Ends with the client; its errors come out of the client's calls.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(client)
    }

    /// The connection for the stream.
    ///
    /// # Errors
    /// As [`socket::connect`].
    pub(super) async fn hot(&self) -> Result<Socket, Failure> {
        let mut parameters = vec![("application_name", self.application.as_str())];
        parameters.extend(WIRE_PARAMETERS);
        parameters.extend(STREAM_PARAMETERS);
        socket::connect(self, &parameters).await
    }

    /// A connection for rows of a full load.
    ///
    /// # Errors
    /// As [`socket::connect`].
    pub(super) async fn load(&self) -> Result<Socket, Failure> {
        let mut parameters = vec![("application_name", self.application.as_str())];
        parameters.extend(WIRE_PARAMETERS);
        socket::connect(self, &parameters).await
    }
}

/// A role or database may have set any of these to what would break or stall apply.
const COLD_OPTIONS: &str = "-c statement_timeout=60s -c lock_timeout=30s \
    -c idle_in_transaction_session_timeout=60s -c default_transaction_isolation=read\\ committed \
    -c default_transaction_read_only=off -c synchronous_commit=on -c timezone=UTC \
    -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_user_timeout=60000";

/// No statement timeout: a large transaction takes its time, and a lock's holder is waited for.
const WIRE_PARAMETERS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("TimeZone", "UTC"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_user_timeout", "60000"),
    ("xmloption", "content"),
];

/// Plans are made once per statement, before its table has grown: an index has to be used even where a
/// scan of today's few rows would be cheaper, and rows are met in the order sent.
const STREAM_PARAMETERS: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];
