//! What tests of apply's own logic write into: no cluster, the same contract.
//!
//! Behind the feature `testing`, which no program turns on.

mod loads;
mod memory;
mod session;

use std::sync::Arc;

use lockstep_common::service::status::{ApplyStatus, StatusSender};
use lockstep_common::{FailPoints, Failure, Shutdown};
use lockstep_log::Log;

pub use memory::{Backup, Line, Memory};

use crate::ApplySettings;

/// [`crate::run`], into memory.
///
/// # Errors
/// As [`crate::run`].
pub async fn run(
    settings: ApplySettings,
    memory: Memory,
    log: Arc<dyn Log>,
    status: StatusSender<ApplyStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    crate::run_on(settings, Ok(memory), log, status, fail, shutdown).await
}
