//! Waiting between attempts: exponential, jittered, ended at once by shutdown.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The waits of one series of failed attempts.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits grow from `first` by doubling up to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Backoff { first, most, next: first }
    }

    /// Something worked: the next series starts small again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// Waits between half and all of the current step; `false` when shutdown came first.
    pub async fn wait(&mut self, shutdown: &CancellationToken) -> bool {
        let wait = self.next.mul_f64(0.5 + 0.5 * jitter());
        self.next = (self.next * 2).min(self.most);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}

impl Default for Backoff {
    /// From 100 ms to 5 s.
    fn default() -> Self {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
    }
}

/// A fraction in [0, 1): enough randomness to keep instances apart.
fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / (f64::from(u32::MAX) + 1.0)
}
