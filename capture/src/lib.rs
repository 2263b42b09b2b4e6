//! Capture: reads whole transactions of a source database and writes them to the log.
//!
//! [`run`] is the service, [`check`] its prerequisites. The [`source`] boundary is all that the
//! service knows of a database; [`source::sqlserver_cdc`] is the one behind it.

mod load;
mod long;
mod newcomers;
mod output;
mod pipeline;
mod recover;
mod report;
pub mod source;
mod task;

use std::sync::Arc;

use lockstep_common::config::{self, SourceKind};
use lockstep_common::model::definition::Definition;
use lockstep_common::service::check::CheckResult;
use lockstep_common::service::reload::Reloads;
use lockstep_common::service::status::{CaptureStatus, StatusSender};
use lockstep_common::{FailPoints, Failure, Position, Shutdown, TableVersion};
use lockstep_log::Log;

use crate::source::Source;
use crate::source::sqlserver_cdc::SqlServer;

/// What a capture service is told.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// Name of the pipeline.
    pub pipeline: String,
    /// What is to be done with the source.
    pub task: config::Task,
    /// The database to read.
    pub source: config::Source,
    /// How to read it.
    pub capture: config::Capture,
    /// Where it is asked to load a table again.
    pub reloads: Reloads,
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
    /// The epoch record is committed, and with it the begin of a new log's load.
    pub const EPOCH_WRITTEN: &str = "capture.epoch.written";
    /// The begin of a table's reload is appended.
    pub const LOAD_BEGIN_APPENDED: &str = "capture.load.begin_appended";
    /// A chunk's begin is appended, and nothing of it is read.
    pub const LOAD_CHUNK_BEGUN: &str = "capture.load.chunk_begun";
    /// Rows of a chunk are appended.
    pub const LOAD_ROWS_APPENDED: &str = "capture.load.rows_appended";
    /// A chunk's end is appended, and it is not its table's last.
    pub const LOAD_CHUNK_ENDED: &str = "capture.load.chunk_ended";
    /// The end of a table's last chunk is appended.
    pub const LOAD_TABLE_READ: &str = "capture.load.table_read";
    /// What was appended of a load is about to be committed.
    pub const LOAD_COMMIT_BEFORE: &str = "capture.load.commit_before";
    /// What was appended of a load is committed and capture does not know it yet.
    pub const LOAD_COMMIT_AFTER: &str = "capture.load.commit_after";
    /// Tables are frozen, and nothing of them is read.
    pub const LOAD_FROZEN: &str = "capture.load.frozen";
    /// The source's clock after the last row is appended.
    pub const LOAD_CLOCK_TAKEN: &str = "capture.load.clock_taken";
    /// The end of a load is appended.
    pub const LOAD_END_APPENDED: &str = "capture.load.end_appended";
    /// The end of the task is appended.
    pub const TASK_END_APPENDED: &str = "capture.task.end_appended";
}

/// Runs capture until it is told to stop or must stop.
///
/// Lost connections, to the source or to the log, are mended inside; `status` says so meanwhile.
/// Returns `Ok` after `shutdown`, when the window in hand is committed, and when the task ends as it
/// should: a full load that is consistent, a stop that is reached.
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
    let weak = settings.source.weaknesses().into_iter().chain(log.weaknesses());
    let notices: Vec<String> = weak.map(|weakness| weakness.what).collect();
    notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    status.send_modify(|status| status.notices = notices);
    let source: Box<dyn Source> = match settings.source.kind {
        SourceKind::Sqlserver => Box::new(SqlServer::new(&settings.source, &settings.capture)?),
    };
    let CaptureSettings { task, capture, reloads, .. } = settings;
    follow(source, Following { task, capture, reloads }, log, status, fail, shutdown).await
}

/// What a capture of any source is told.
#[derive(Clone, Debug)]
pub struct Following {
    /// What is to be done with the source.
    pub task: config::Task,
    /// How to read it.
    pub capture: config::Capture,
    /// Where it is asked to load a table again.
    pub reloads: Reloads,
}

/// As [`run`], of any source.
///
/// # Errors
/// As [`run`].
pub async fn follow(
    source: Box<dyn Source>,
    settings: Following,
    log: Arc<dyn Log>,
    status: StatusSender<CaptureStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    pipeline::run(source, settings, log, status, fail, shutdown).await
}

/// Whether the points where capture is to begin and to end can be read.
pub fn check_points(capture: &config::Capture) -> Vec<CheckResult> {
    let start = task::parse_start(capture.start.as_deref()).map(drop);
    let stop = task::Stop::parse(capture.stop.as_deref()).map(drop);
    let wrong =
        |key: &str, failure: Failure| CheckResult::fail(key, failure.message, failure.remedy);
    let start = start.err().map(|failure| wrong("capture.start", failure));
    let stop = stop.err().map(|failure| wrong("capture.stop", failure));
    start.into_iter().chain(stop).collect()
}

/// Examines every prerequisite of reading `source` and reports all of them, in a fixed order.
pub async fn check(source: &config::Source) -> Vec<CheckResult> {
    let weak = source.weaknesses().into_iter();
    let weak = weak.map(|weakness| CheckResult::warn("transport", weakness.what, weakness.fix));
    let results = match source.kind {
        SourceKind::Sqlserver => source::sqlserver_cdc::prerequisites::check(source).await,
    };
    weak.chain(results).collect()
}

/// Examines what a full load needs of the source beside that.
pub async fn check_load(source: &config::Source, capture: &config::Capture) -> Vec<CheckResult> {
    match source.kind {
        SourceKind::Sqlserver => {
            source::sqlserver_cdc::prerequisites::check_load(source, capture).await
        }
    }
}

/// The tables that a pipeline would follow from now on, and what they have beside their shapes: what
/// a target is built from. Connects to the source, and changes nothing there.
///
/// # Errors
/// As [`check`] says in more words: the source cannot be reached or read, or a table not followed.
pub async fn definitions(
    source: &config::Source,
    capture: &config::Capture,
) -> Result<Vec<(Arc<TableVersion>, Definition)>, Failure> {
    let mut server: Box<dyn Source> = match source.kind {
        SourceKind::Sqlserver => Box::new(SqlServer::new(source, capture)?),
    };
    server.connect().await?;
    let cursor = server.locate(source::Start::Now).await?;
    server.resume(&cursor, &[]).await?;
    // Those too whose capture instance is so new that the source has nothing of it yet.
    let ever = Position::new(u32::MAX, &[u8::MAX; lockstep_common::MAX_SOURCE_BYTES]);
    let tables = server.tables(ever.unwrap_or(cursor.position));
    let definitions = server.loader().definitions(&tables).await?;
    let version = |definition: &Definition| {
        tables.iter().find(|table| table.id == definition.table).map(|t| Arc::clone(&t.version))
    };
    Ok(definitions.into_iter().filter_map(|d| Some((version(&d)?, d))).collect())
}
