//! How far an error reaches.

use crate::storage::ATTENTION;
use crate::{Cancelled, SqlError};

/// How a statement stops before its end.
#[derive(Debug)]
pub enum Fault {
    /// An error while it ran.
    Run(SqlError),
    /// An error raised by THROW: it ends the batch.
    Thrown(SqlError),
    /// An error raised by RAISERROR: the batch goes on, whatever XACT_ABORT says.
    Raised(SqlError),
    /// An error in its text: TRY of the same batch does not catch it, and the batch ends.
    Compile(SqlError),
    /// The client is gone or sent an attention.
    Cancelled,
}

impl From<SqlError> for Fault {
    fn from(error: SqlError) -> Self {
        match error.number == ATTENTION {
            true => Fault::Cancelled,
            false => Fault::Run(error),
        }
    }
}

impl From<Cancelled> for Fault {
    fn from(_: Cancelled) -> Self {
        Fault::Cancelled
    }
}

/// What an error of binding is: names and types end the batch; permissions, locks and what a test
/// injects are errors of the run.
pub fn of_binding(error: SqlError) -> Fault {
    let at_run_time =
        matches!(error.number, 229 | 230 | 262 | 297 | 300 | 916 | 3952 | 22000..=23000)
            || matches!(error.number, 1205 | 1222 | 3951 | 3960 | 3961 | ATTENTION)
            || error.class >= 17;
    match at_run_time {
        true => error.into(),
        false => Fault::Compile(error),
    }
}

/// How far an error reaches outside of TRY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The statement; the batch goes on.
    Statement,
    /// The batch; the transaction stays open.
    Batch,
    /// The batch and the transaction.
    Transaction,
}

/// How far an error of the run reaches with XACT_ABORT OFF.
pub fn reach(error: &SqlError) -> Reach {
    match error.number {
        // Failed conversions, deadlocks, update conflicts.
        235 | 241 | 242 | 244 | 245 | 248 | 295 | 8114 | 8169 | 8170 | 1205 | 3960 | 3961
        | 3998 => Reach::Transaction,
        _ if error.class >= 19 => Reach::Transaction,
        _ => Reach::Statement,
    }
}
