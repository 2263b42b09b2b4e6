//! The listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backend::Backend;
use super::connection::{Shared, serve};
use super::faults::Faults;
use super::tls;

/// Pause before the next try when the system refuses a socket.
const RETRY: Duration = Duration::from_millis(20);

/// What the server says about encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// There is none.
    NotSupported,
    /// Of the login always where the client can, of everything where it asks.
    #[default]
    Supported,
    /// Of everything, whatever the client asks ("Force Encryption").
    Required,
}

/// An open port and the connections that came through it.
///
/// Dropping it closes them without waiting; [`stop`](Self::stop) waits for their requests to end.
pub(crate) struct Wire {
    address: SocketAddr,
    faults: Arc<Faults>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Wire {
    pub(crate) async fn serve(
        listen: SocketAddr,
        encryption: Encryption,
        backend: Arc<dyn Backend>,
    ) -> anyhow::Result<Wire> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults::new());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let shared = Arc::new(Shared {
            backend,
            acceptor: tls::acceptor().context("cannot make a certificate")?,
            encryption,
            faults: Arc::clone(&faults),
            tasks: tasks.clone(),
        });
        let acceptor = Acceptor { address, down: faults.watch_down(), stop: stop.clone(), shared };
        tasks.spawn(acceptor.run(listener));
        Ok(Wire { address, faults, stop, tasks })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The fault switches of its wire.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Closes the port and every connection, and waits until the requests that ran have ended.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Acceptor {
    address: SocketAddr,
    down: watch::Receiver<bool>,
    stop: CancellationToken,
    shared: Arc<Shared>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let stop = self.stop.clone();
        // Ends only by being stopped.
        let _ = stop.run_until_cancelled(self.accept(listener)).await;
    }

    async fn accept(&mut self, mut listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = wait_until(&mut self.down, true) => {
                    drop(listener);
                    listener = self.stay_down().await;
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, _)) => self.admit(tcp),
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn admit(&self, tcp: TcpStream) {
        let dropped = self.shared.faults.connection_token();
        let stop = self.stop.clone();
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            tokio::select! {
                served = serve(tcp, shared) => {
                    if let Err(error) = served {
                        tracing::info!(%error, "connection ended");
                    }
                }
                () = dropped.cancelled() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// The port is closed; opens it again when the fault is taken back.
    async fn stay_down(&mut self) -> TcpListener {
        self.shared.faults.set_listening(false);
        wait_until(&mut self.down, false).await;
        loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => {
                    self.shared.faults.set_listening(true);
                    return listener;
                }
                Err(error) => {
                    tracing::warn!(%error, "listen");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

async fn wait_until(down: &mut watch::Receiver<bool>, wanted: bool) {
    if down.wait_for(|down| *down == wanted).await.is_err() {
        // The switches are gone, and with them whoever could turn them.
        std::future::pending().await
    }
}
