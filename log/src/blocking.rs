//! Work that waits for a disk or a server on its own thread.

use lockstep_common::{Code, Failure};

/// Runs what may wait for long off the async threads. A panic of the work is the caller's.
///
/// # Errors
/// `log.stopping` when the runtime is going down.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Ok(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Failure::new(Code::LogStopping, "the runtime is shutting down")),
        },
    }
}
