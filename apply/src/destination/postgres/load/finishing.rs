//! What is made after a load, in a task beside the stream.

use std::sync::Arc;
use std::sync::Mutex;

use lockstep_common::{Backoff, Failure, Shutdown};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::super::connect::Login;
use super::super::define::{self, Finish, Report};

/// It ends with this.
pub(super) struct Finishing {
    load: Uuid,
    shutdown: Shutdown,
    task: JoinHandle<()>,
    end: Arc<End>,
}

#[derive(Default)]
struct End {
    result: Mutex<Option<Result<Report, Failure>>>,
    there: Notify,
}

impl Finishing {
    pub(super) fn start(login: Login, finish: Finish) -> Self {
        let shutdown = Shutdown::new();
        let end = Arc::<End>::default();
        let load = finish.load;
        let task = tokio::spawn(work(login, finish, shutdown.clone(), Arc::clone(&end)));
        Finishing { load, shutdown, task, end }
    }

    /// What it came to, once.
    pub(super) fn ended(&mut self) -> Option<(Uuid, Result<Report, Failure>)> {
        let mut result = self.end.result.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Some((self.load, result.take()?))
    }

    pub(super) async fn changed(&self) {
        self.end.there.notified().await;
    }

    /// Ends it at its next step.
    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.task.abort();
    }
}

async fn work(login: Login, finish: Finish, shutdown: Shutdown, end: Arc<End>) {
    let mut backoff = Backoff::default();
    loop {
        let result = define::finish(&login, &finish, &shutdown).await;
        if shutdown.is_cancelled() {
            return;
        }
        if let Err(failure) = &result
            && failure.disposition().is_tried_again()
        {
            tracing::warn!(error = %failure, "making indexes and constraints again");
            if backoff.wait(&shutdown).await {
                continue;
            }
            return;
        }
        *end.result.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(result);
        end.there.notify_one();
        return;
    }
}
