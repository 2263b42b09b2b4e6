//! Asking a running capture to load a table again.
//!
//! [`Reloads`] is held by those who ask (an HTTP endpoint, a program) and by the capture, which
//! serves it while it can begin a load. A question that nobody serves, or whose server goes away, is
//! refused: it never waits for a capture to come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// Why a table is not loaded again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no capture at work.
    #[error("capture is not running: {0}")]
    NotRunning(String),
    /// The table is not one that is followed.
    #[error("table {0} is not captured by this pipeline (write it as schema.table)")]
    UnknownTable(String),
    /// The table is being loaded.
    #[error("table {0} is being loaded already")]
    AlreadyLoading(String),
    /// Beginning it failed.
    #[error("the load could not begin: {0}")]
    Failed(String),
}

/// Where a capture is asked; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reloads(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    serving: bool,
    waiting: VecDeque<Request>,
}

/// A question, to be answered.
#[derive(Debug)]
pub struct Request {
    table: String,
    answer: oneshot::Sender<Result<Uuid, Refused>>,
}

/// Questions are taken while this is held.
#[derive(Debug)]
pub struct Serving(Reloads);

impl Reloads {
    /// Asks for a load of `table`, as `schema.table`; gives the load's id once its begin is in the
    /// log for good.
    ///
    /// # Errors
    /// The reason when there will be none.
    pub async fn ask(&self, table: &str) -> Result<Uuid, Refused> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.lock();
            if !state.serving {
                return Err(not_running());
            }
            state.waiting.push_back(Request { table: table.to_owned(), answer });
        }
        self.0.asked.notify_one();
        answered.await.unwrap_or_else(|_| Err(not_running()))
    }

    /// Begins to take questions.
    pub fn serve(&self) -> Serving {
        self.lock().serving = true;
        Serving(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serving {
    /// Waits for the next question. Cancel-safe.
    pub async fn next(&self) -> Request {
        loop {
            let asked = self.0.0.asked.notified();
            if let Some(request) = self.try_next() {
                return request;
            }
            asked.await;
        }
    }

    /// The next question, if there is one.
    pub fn try_next(&self) -> Option<Request> {
        self.0.lock().waiting.pop_front()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.serving = false;
        // Those who wait hear that nobody will answer.
        state.waiting.clear();
    }
}

impl Request {
    /// The table asked for.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Answers. Nobody may be waiting any more: that does not matter.
    pub fn answer(self, answer: Result<Uuid, Refused>) {
        let _ = self.answer.send(answer);
    }
}

fn not_running() -> Refused {
    Refused::NotRunning("ask again when its status says that it runs".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_are_answered_while_they_are_served_and_refused_otherwise() {
        let reloads = Reloads::default();
        assert_eq!(reloads.ask("dbo.t").await, Err(not_running()));
        let serving = reloads.serve();
        let asking = reloads.clone();
        let asked = tokio::spawn(async move { asking.ask("dbo.t").await });
        let request = serving.next().await;
        assert_eq!(request.table(), "dbo.t");
        request.answer(Ok(Uuid::from_u128(7)));
        assert_eq!(asked.await.unwrap(), Ok(Uuid::from_u128(7)));
        assert!(serving.try_next().is_none());

        let asking = reloads.clone();
        let unanswered = tokio::spawn(async move { asking.ask("dbo.t").await });
        drop(serving.next().await);
        assert_eq!(unanswered.await.unwrap(), Err(not_running()));

        let (one, two) = (reloads.clone(), reloads.clone());
        let waiting = tokio::spawn(async move { one.ask("dbo.t").await });
        while reloads.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        drop(serving);
        assert_eq!(waiting.await.unwrap(), Err(not_running()));
        assert_eq!(two.ask("dbo.t").await, Err(not_running()));
    }
}
