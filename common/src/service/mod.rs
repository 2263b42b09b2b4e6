//! How every program of Lockstep begins and ends: signals become a shutdown, results become exit
//! codes, and the last line on standard error says why.

pub mod check;
pub mod failpoint;
pub mod limits;
pub mod metrics;
pub mod private;
pub mod reload;
pub mod status;
pub mod telemetry;

use std::future::Future;
use std::process::ExitCode;

use crate::config::{ConfigError, Http};
use crate::failure::exit;
use crate::{Failure, Shutdown};

/// Why a program ends with something other than success.
#[derive(Debug)]
pub struct Ending {
    /// Exit code; see [`exit`].
    pub code: u8,
    /// One line for a person.
    pub message: String,
}

impl Ending {
    /// A command line that cannot be followed.
    pub fn usage(message: impl Into<String>) -> Self {
        Ending { code: exit::USAGE, message: message.into() }
    }

    /// Something unforeseen.
    pub fn internal(message: impl Into<String>) -> Self {
        Ending { code: exit::INTERNAL, message: message.into() }
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Ending { code: failure.exit_code(), message: failure.to_string() }
    }
}

impl From<ConfigError> for Ending {
    fn from(error: ConfigError) -> Self {
        Ending { code: exit::USAGE, message: error.to_string() }
    }
}

/// After a failure for good: keeps the endpoints answering until the program is told to end, where the
/// configuration wants it.
pub async fn stay(access: &Http, shutdown: &Shutdown) {
    if access.stay_after_halt && !shutdown.is_cancelled() {
        tracing::warn!("stopped; the HTTP endpoints answer until SIGTERM or SIGINT");
        shutdown.cancelled().await;
    }
}

/// Runs `work` on a new runtime until it ends; SIGTERM and SIGINT cancel the [`Shutdown`] it gets.
pub fn run<W, F>(work: W) -> ExitCode
where
    W: FnOnce(Shutdown) -> F,
    F: Future<Output = Result<(), Ending>>,
{
    // Spool, log and whatever else is written holds rows.
    private::umask();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return report(Ending::internal(format!("cannot start: {error}"))),
    };
    let result = runtime.block_on(async {
        let shutdown = Shutdown::new();
        let signals = tokio::spawn(cancel_on_signal(shutdown.clone()));
        let result = work(shutdown).await;
        signals.abort();
        result
    });
    // Blocking work that hangs in a peer's library must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(()) => ExitCode::from(exit::OK),
        Err(ending) => report(ending),
    }
}

fn report(ending: Ending) -> ExitCode {
    eprintln!("error: {}", ending.message);
    ExitCode::from(ending.code)
}

async fn cancel_on_signal(shutdown: Shutdown) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught; stop this program by SIGKILL only");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: finishing the transaction in hand");
    shutdown.cancel();
}
