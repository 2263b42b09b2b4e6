//! Apply: reads a pipeline's log and commits each source transaction as one PostgreSQL transaction.

use std::sync::Arc;

use lockstep_common::status::{ApplyStatus, StatusSender};
use lockstep_common::{FailPoints, Failure, Shutdown, config};
use lockstep_log::Log;

/// Which apply this is and what it works on.
#[derive(Clone, Debug)]
pub struct ApplySettings {
    /// The apply's own name: `[apply.<name>]`.
    pub name: String,
    /// The pipeline it follows: the key of its checkpoint in the target.
    pub pipeline: String,
    /// Its section of the configuration.
    pub config: config::Apply,
}

/// Follows the log until `shutdown`: reconnects to log and target by itself.
///
/// # Errors
/// `Halt` when an operator must act, `Fenced` when another apply took over this target, and the
/// failure of a crash at a fail point, upon which nothing is flushed.
pub async fn run(
    settings: ApplySettings,
    log: Arc<dyn Log>,
    status: StatusSender<ApplyStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let _ = (settings, log, status, fail, shutdown);
    Err(Failure::halt("apply.absent", "apply is not part of this build", ""))
}
