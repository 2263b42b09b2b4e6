//! The double as a whole: an engine behind a wire.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use crate::engine::{self, Server};
use crate::product::Release;
use crate::tds::{Backend, Canceller, Credentials, Encryption, Faults, Session, Wire};
use crate::{Cancelled, Request, ResultSink, SqlError};

/// How a double is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where committed work is kept; `None` keeps it in memory only.
    pub data: Option<PathBuf>,
    /// Password of `sa`.
    pub sa_password: String,
    /// What it says about encryption.
    pub encryption: Encryption,
    /// Which SQL Server it is.
    pub release: Release,
}

impl Config {
    /// In memory, on a free port of the loopback interface.
    pub fn in_memory(sa_password: impl Into<String>) -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: None,
            sa_password: sa_password.into(),
            encryption: Encryption::default(),
            release: Release::default(),
        }
    }
}

/// A running SQL Server double. A process may have any number of them.
///
/// Dropping it closes its port and connections without waiting.
pub struct Double {
    wire: Wire,
    server: Arc<Server>,
}

impl Double {
    /// Opens the databases and the port. Runs on the tokio runtime it is called from.
    ///
    /// # Errors
    /// Data that cannot be read or written, or an address that cannot be listened on.
    pub async fn start(config: Config) -> anyhow::Result<Double> {
        let options = engine::Config {
            data: config.data,
            sa_password: config.sa_password,
            release: config.release,
        };
        let server = tokio::task::spawn_blocking(|| Server::open(options))
            .await
            .context("the engine panicked while opening its data")??;
        let server = Arc::new(server);
        let backend = Arc::new(Engine(Arc::clone(&server)));
        let wire = Wire::serve(config.listen, config.encryption, backend).await?;
        Ok(Double { wire, server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.wire.addr()
    }

    /// The fault switches of its wire.
    pub fn faults(&self) -> &Faults {
        self.wire.faults()
    }

    /// The engine: its clock, its capture jobs.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Closes the port and every connection, waits until what their requests did has ended
    /// (committed, or rolled back), and closes the databases.
    pub async fn stop(self) {
        self.wire.stop().await;
        let server = self.server;
        // Fails only if the runtime is shutting down, which ends everything anyway.
        let _ = tokio::task::spawn_blocking(move || server.shutdown()).await;
    }
}

struct Engine(Arc<Server>);

impl Backend for Engine {
    fn login(&self, credentials: &Credentials) -> Result<Box<dyn Session>, SqlError> {
        let Credentials { user, password, database } = credentials;
        Ok(Box::new(self.0.login(user, password, database)?))
    }

    fn release(&self) -> Release {
        self.0.storage().release()
    }
}

impl Session for engine::Session {
    fn id(&self) -> u16 {
        self.id()
    }

    fn database(&self) -> String {
        self.database()
    }

    fn execute(&mut self, request: Request, sink: &mut dyn ResultSink) -> Result<(), Cancelled> {
        self.execute(request, sink)
    }

    fn canceller(&self) -> Box<dyn Canceller> {
        Box::new(self.canceller())
    }

    fn reset(&mut self, keep_transaction: bool) {
        self.reset(keep_transaction);
    }
}

impl Canceller for engine::Canceller {
    fn cancel(&self) {
        self.cancel();
    }

    fn clear(&self) {
        self.clear();
    }
}
