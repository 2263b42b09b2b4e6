//! The sockets: how many, and for how long. Whoever opens connections and says nothing must not take
//! the descriptors that the pipeline needs for its databases.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::access::Link;
use crate::Shutdown;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(2);

/// How long a connection lives at most: a request to load a table waits for the window in hand.
const WHOLE: Duration = Duration::from_secs(150);

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;

/// After an accept that failed: nothing tells when descriptors are free again.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that all servers of the process may serve at once: an eighth of its descriptors, and
/// never many. Those beyond wait in the kernel's queue.
fn slots() -> Arc<Semaphore> {
    static SLOTS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let made = || {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(limit / 8).unwrap_or(usize::MAX).clamp(4, 64);
        Arc::new(Semaphore::new(most))
    };
    Arc::clone(SLOTS.get_or_init(made))
}

/// Serves `routes` on a listener until `shutdown`, and then to the end of the requests in hand.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    shutdown: Shutdown,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let connections = TaskTracker::new();
    loop {
        // Each listener holds one connection at most that it cannot serve yet.
        let next = async {
            let (stream, peer) = listener.accept().await?;
            let slot = slots().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((stream, peer, slot))
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let served = connection(stream, peer, slot, routes.clone(), shutdown.clone());
                connections.spawn(served);
            }
            Err(error) => {
                tracing::debug!(%error, "no connection to the HTTP endpoints");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

/// One connection, one request.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    _slot: OwnedSemaphorePermit,
    routes: Router,
    shutdown: Shutdown,
) {
    let Ok(local) = stream.local_addr() else { return };
    let link = Link { local: local.ip().to_canonical(), peer: peer.ip().to_canonical() };
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(link);
        routes.clone().call(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let whole = async {
        tokio::select! {
            result = served.as_mut() => return result,
            () = shutdown.cancelled() => {}
        }
        served.as_mut().graceful_shutdown();
        served.await
    };
    // A peer that leaves, or talks nonsense, is not ours to report.
    let _ = tokio::time::timeout(WHOLE, whole).await;
}
