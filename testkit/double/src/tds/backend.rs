//! What the wire needs of the server behind it.

use crate::product::Release;
use crate::{Cancelled, Request, ResultSink, SqlError};

/// Who wants to log in, and where to.
pub(crate) struct Credentials {
    pub user: String,
    pub password: String,
    /// Empty for the login's default database.
    pub database: String,
}

/// A server that lets clients in.
pub(crate) trait Backend: Send + Sync + 'static {
    /// # Errors
    /// 18456 for a wrong name or password, 4060 for a database that cannot be opened.
    fn login(&self, credentials: &Credentials) -> Result<Box<dyn Session>, SqlError>;
    /// Which SQL Server it says it is.
    fn release(&self) -> Release {
        Release::default()
    }
}

/// A client's session. Dropping it rolls back what is open.
pub(crate) trait Session: Send + 'static {
    /// The server process id.
    fn id(&self) -> u16;
    /// The current database.
    fn database(&self) -> String;
    /// Runs a request. What fails in it is told to the sink.
    fn execute(&mut self, request: Request, sink: &mut dyn ResultSink) -> Result<(), Cancelled>;
    /// What stops a request of this session that waits without looking at its sink.
    fn canceller(&self) -> Box<dyn Canceller>;
    /// Makes the session as it was after login, but for the open transaction where that is kept.
    fn reset(&mut self, keep_transaction: bool);
}

/// Reaches a session while a request of it runs on another thread.
pub(crate) trait Canceller: Send + Sync {
    /// Ends a wait of the request that runs, or of the next one if none does.
    fn cancel(&self);
    /// Takes that back.
    fn clear(&self);
}
