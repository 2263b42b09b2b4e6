//! The log's schemas, opened beside everything else that a start waits for.

use std::sync::Arc;

use lockstep_common::Failure;
use lockstep_log::{Log, Schemas};
use tokio::task::JoinHandle;

/// The schemas stream of the log that apply follows.
pub(crate) struct LogSchemas {
    log: Arc<dyn Log>,
    opened: Option<Schemas>,
    opening: Option<Opening>,
}

/// Ends when it is dropped.
struct Opening(JoinHandle<Option<Schemas>>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl LogSchemas {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        LogSchemas { log, opened: None, opening: None }
    }

    /// Begins to open them. A failure is not told: the log may be away, or not be there yet, and
    /// whoever asks finds out for himself.
    pub(crate) fn begin(&mut self) {
        let log = Arc::clone(&self.log);
        let opening = tokio::spawn(async move { Schemas::open(log.as_ref()).await.ok() });
        self.opening = Some(Opening(opening));
    }

    /// What is known now; opened if it is not. Cancel-safe.
    ///
    /// # Errors
    /// As [`Schemas::open`].
    pub(crate) async fn get(&mut self) -> Result<&mut Schemas, Failure> {
        if let Some(opening) = &mut self.opening {
            let opened = (&mut opening.0).await;
            self.opening = None;
            self.opened = opened.ok().flatten();
        }
        Ok(match &mut self.opened {
            Some(schemas) => schemas,
            none => none.insert(Schemas::open(self.log.as_ref()).await?),
        })
    }
}
