//! Capture: reads whole transactions of a source database and writes them to the log.
//!
//! [`run`] is the service, [`check`] its prerequisites. The [`source`] boundary is all that the
//! service knows of a database; [`source::sqlserver_cdc`] is the one behind it.

mod long;
mod output;
mod pipeline;
mod recover;
mod report;
pub mod source;

use std::sync::Arc;

use lockstep_common::check::CheckResult;
use lockstep_common::config;
use lockstep_common::status::{CaptureStatus, StatusSender};
use lockstep_common::{FailPoints, Failure, Shutdown};
use lockstep_log::Log;

use crate::source::Source;
use crate::source::sqlserver_cdc::SqlServer;

/// What a capture service is told.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// Name of the pipeline.
    pub pipeline: String,
    /// The database to read.
    pub source: config::Source,
    /// How to read it.
    pub capture: config::Capture,
}

/// The places where a test may make capture die; see [`FailPoints`].
pub mod fail_points {
    /// A window is chosen, nothing of it is read.
    pub const WINDOW_PLANNED: &str = "capture.window.planned";
    /// Records were appended to the log's open transaction.
    pub const FRAGMENT_APPENDED: &str = "capture.fragment.appended";
    /// A window is appended whole and not yet committed.
    pub const COMMIT_BEFORE: &str = "capture.commit.before";
    /// A window is committed and capture does not know it yet.
    pub const COMMIT_AFTER: &str = "capture.commit.after";
    /// The epoch record is committed.
    pub const EPOCH_WRITTEN: &str = "capture.epoch.written";
}

/// Runs capture until it is told to stop or must stop.
///
/// Lost connections, to the source or to the log, are mended inside; `status` says so meanwhile.
/// Returns `Ok` after `shutdown`, when the window in hand is committed.
///
/// # Errors
/// `Halt` when an operator must act, `Fenced` when another capture took over, the crash of an armed
/// fail point (everything is dropped as it stands). Never `Retry`.
pub async fn run(
    settings: CaptureSettings,
    log: Arc<dyn Log>,
    status: StatusSender<CaptureStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let source = Box::new(SqlServer::new(&settings.source, &settings.capture)?);
    follow(source, settings.capture, log, status, fail, shutdown).await
}

/// As [`run`], of any source.
///
/// # Errors
/// As [`run`].
pub async fn follow(
    source: Box<dyn Source>,
    capture: config::Capture,
    log: Arc<dyn Log>,
    status: StatusSender<CaptureStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    pipeline::run(source, capture, log, status, fail, shutdown).await
}

/// Examines every prerequisite of reading `source` and reports all of them, in a fixed order.
pub async fn check(source: &config::Source) -> Vec<CheckResult> {
    source::sqlserver_cdc::prerequisites::check(source).await
}
