//! Runs the service over a log of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockstep_capture::CaptureOptions;
use lockstep_capture::source::Source;
use lockstep_common::config::Task;
use lockstep_common::service::reload::Reloads;
use lockstep_common::service::status::{CaptureStatus, StatusReceiver};
use lockstep_common::{FailPoints, Failure, Position, Shutdown, config};
use lockstep_log::Log;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long anything may take before a test is taken to hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A log in a directory.
pub struct Bed {
    pub log: Arc<dyn Log>,
    _directory: TempDir,
}

impl Bed {
    pub async fn new() -> Self {
        Bed::with_log(|directory| directory.join("log")).await
    }

    /// With the log in a place of its own.
    pub async fn with_log(place: impl FnOnce(&Path) -> PathBuf) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = place(directory.path());
        let config = config::Log::Embedded(config::EmbeddedLog { path, retention: None });
        let log = lockstep_log::open(&config, "test").await.expect("the log opens");
        Bed { log, _directory: directory }
    }
}

/// A capture configuration for tests: quick polls, progress at once.
pub fn capture() -> config::Capture {
    config::Capture {
        poll_interval: Duration::from_millis(5),
        progress_interval: Duration::ZERO,
        ..config::Capture::default()
    }
}

/// A service at work.
pub struct Running {
    task: JoinHandle<Result<(), Failure>>,
    pub status: StatusReceiver<CaptureStatus>,
    pub shutdown: Shutdown,
}

impl Running {
    /// Starts it over `source`, to follow changes only.
    pub fn start(
        source: Box<dyn Source>,
        capture: config::Capture,
        log: &Arc<dyn Log>,
        fail: FailPoints,
    ) -> Self {
        let settings = CaptureOptions { task: Task::Cdc, capture, reloads: Reloads::default() };
        Running::start_task(source, settings, log, fail)
    }

    /// Starts it over `source`.
    pub fn start_task(
        source: Box<dyn Source>,
        settings: CaptureOptions,
        log: &Arc<dyn Log>,
        fail: FailPoints,
    ) -> Self {
        let (sender, status) = watch::channel(CaptureStatus::default());
        let shutdown = Shutdown::new();
        let service = lockstep_capture::follow(
            source,
            settings,
            Arc::clone(log),
            sender,
            fail,
            shutdown.clone(),
        );
        Running::of(service, status, shutdown)
    }

    /// Runs `service`.
    pub fn of(
        service: impl Future<Output = Result<(), Failure>> + Send + 'static,
        status: StatusReceiver<CaptureStatus>,
        shutdown: Shutdown,
    ) -> Self {
        Running { task: tokio::spawn(service), status, shutdown }
    }

    /// Waits until the log has reached `position`.
    pub async fn reaches(&mut self, position: Position) {
        self.shows(&format!("to reach {position}"), |status| status.position >= position).await;
    }

    /// Waits until the status is as wanted; a service that ends before is a failure.
    pub async fn shows(&mut self, what: &str, wanted: impl Fn(&CaptureStatus) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)).await;
        let shown = matches!(waited, Ok(Ok(_)));
        drop(waited);
        assert!(shown, "waited {what} in vain: {:?}", *self.status.borrow());
    }

    /// Waits for its end by itself.
    pub async fn ends(self) -> Result<(), Failure> {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the service ends in time")
            .expect("the service does not panic")
    }

    /// Tells it to stop and waits.
    pub async fn stop(self) -> Result<(), Failure> {
        self.shutdown.cancel();
        self.ends().await
    }
}
