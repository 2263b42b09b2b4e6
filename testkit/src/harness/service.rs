//! A service in this process.

use std::future::Future;

use anyhow::{Context, Result, bail};
use lockstep_common::{Failure, Shutdown};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{DEADLINE, Ended};

/// A running (or ended) service with the status `S`. Dropping it is a crash: its task is dropped
/// where it stands.
#[derive(Debug)]
pub struct Service<S> {
    task: Option<JoinHandle<Result<(), Failure>>>,
    shutdown: Shutdown,
    status: watch::Receiver<S>,
}

impl<S: Clone + Default + std::fmt::Debug + Send + Sync + 'static> Service<S> {
    /// Spawns what `start` makes of a status sender and a shutdown.
    pub fn start<F>(start: impl FnOnce(watch::Sender<S>, Shutdown) -> F) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (sender, status) = watch::channel(S::default());
        let shutdown = Shutdown::new();
        let task = tokio::spawn(start(sender, shutdown.clone()));
        Service { task: Some(task), shutdown, status }
    }

    /// What it says of itself now.
    pub fn status(&self) -> S {
        self.status.borrow().clone()
    }

    /// Its status as it changes.
    pub fn watch(&self) -> watch::Receiver<S> {
        self.status.clone()
    }

    /// Waits until its status is as `wanted`.
    ///
    /// # Errors
    /// When it ends first (with its failure) or the deadline passes (with its status).
    pub async fn until(&mut self, what: &str, wanted: impl FnMut(&S) -> bool) -> Result<S> {
        let mut status = self.status.clone();
        match timeout(DEADLINE, status.wait_for(wanted)).await {
            Ok(Ok(status)) => return Ok(status.clone()),
            Ok(Err(_)) => {}
            Err(_) => bail!("waited {DEADLINE:?} until {what}; its status is {:#?}", self.status()),
        }
        // The sender is gone: so is the service.
        let ended = self.ended().await?;
        bail!("the service ended before {what}: {:?}", ended.0)
    }

    /// Asks it to stop (SIGTERM, for a process) and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(&mut self) -> Result<Ended> {
        self.shutdown.cancel();
        self.ended().await
    }

    /// Stops it and expects it to leave as asked.
    ///
    /// # Errors
    /// When it does not end in time.
    ///
    /// # Panics
    /// When it ends with a failure.
    pub async fn finish(&mut self) -> Result<()> {
        self.stop().await.map(Ended::expect_stopped)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(&mut self) -> Result<Ended> {
        match timeout(DEADLINE, self.ended_whenever()).await {
            Ok(ended) => ended,
            Err(_) => bail!(
                "the service did not end within {DEADLINE:?}; its status is {:#?}",
                self.status()
            ),
        }
    }

    /// The same without a deadline, for waiting beside something else. Cancel-safe.
    ///
    /// # Errors
    /// When the end was seen before, or the service panicked.
    pub async fn ended_whenever(&mut self) -> Result<Ended> {
        let task = self.task.as_mut().context("the service's end was seen already")?;
        let joined = task.await;
        self.task = None;
        Ok(Ended(joined.context("the service panicked")?))
    }

    /// Crashes it where it stands, and waits until nothing of it is left.
    pub async fn crash(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // It is cancelled, or it had ended just before.
            let _ = task.await;
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }
}

impl<S> Drop for Service<S> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
