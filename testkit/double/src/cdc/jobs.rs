//! The capture and cleanup jobs: their rows in `msdb.dbo.cdc_jobs`, and the threads that run
//! them as the Agent would.
//!
//! A running capture job holds the database's log-scan session from its start to its end, also
//! while it sleeps; whoever scans by hand meanwhile gets 22903.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::capture::{self, Left, ScanOutcome};
use super::enable::error;
use super::job_rows::{JobKind, JobRow, add_job, drop_jobs, job};
use super::{Modes, cleanup};
use crate::SqlError;
use crate::storage::{Database, Storage};

/// Scan sessions kept for the dynamic view, per database.
const SESSIONS_KEPT: usize = 32;

/// A past or running scan session, for `sys.dm_cdc_log_scan_sessions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanSession {
    /// `session_id`, from 1.
    pub id: i32,
    /// Server-local times.
    pub start_time: i64,
    /// End.
    pub end_time: i64,
    /// What it came to.
    pub outcome: ScanOutcome,
    /// Number and text of the error it ended with.
    pub error: Option<SqlError>,
}

/// What the server keeps of a database's capture.
#[derive(Default)]
struct Capture {
    modes: Modes,
    left: Arc<Mutex<Left>>,
    /// Whether somebody has the log-scan session.
    session: Arc<AtomicBool>,
    job: Option<Running>,
    sessions: Vec<ScanSession>,
    last_session: i32,
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The Agent and everything about capture that is not in tables.
#[derive(Default)]
pub(crate) struct Server {
    captures: Mutex<HashMap<i32, Capture>>,
    /// Told when switches change.
    changed: Condvar,
    agent_stopped: AtomicBool,
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Capture>> {
        self.captures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new(agent_stopped: bool) -> Server {
        Server { agent_stopped: AtomicBool::new(agent_stopped), ..Server::default() }
    }

    /// Starts the capture jobs of all databases, as the Agent does when it starts.
    pub(crate) fn start(storage: &Arc<Storage>) {
        for database in storage.databases() {
            Server::start_capture(storage, &database);
        }
    }

    /// Starts a database's capture job if it has one and it does not run.
    pub(crate) fn start_capture(storage: &Arc<Storage>, database: &Arc<Database>) {
        if storage.cdc.agent_stopped.load(Ordering::Relaxed) || !database.info().cdc_enabled {
            return;
        }
        // A server without msdb tables has no jobs.
        let job = job(storage, database.id(), JobKind::Capture).ok().flatten();
        if let Some((_, job)) = job {
            // Already running is as good as started.
            let _ = storage.cdc.run_capture(storage, database, job);
        }
    }

    fn run_capture(
        &self,
        storage: &Arc<Storage>,
        database: &Arc<Database>,
        job: JobRow,
    ) -> Result<(), SqlError> {
        let mut captures = self.lock();
        let capture = captures.entry(database.id()).or_default();
        if capture.job.as_ref().is_some_and(|job| !job.thread.is_finished())
            || capture.session.swap(true, Ordering::AcqRel)
        {
            return Err(error(
                22022,
                format!(
                    "SQLServerAgent Error: Request to run job cdc.{}_capture refused because the job is already running from a request by user sa.",
                    database.name()
                ),
            ));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            storage: Arc::downgrade(storage),
            database: database.clone(),
            stop: stop.clone(),
            session: capture.session.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("capture {}", database.name()))
            .spawn(move || worker.run(&job));
        match thread {
            Ok(thread) => {
                capture.job = Some(Running { stop, thread });
                Ok(())
            }
            Err(cause) => {
                capture.session.store(false, Ordering::Release);
                Err(error(22022, format!("SQLServerAgent Error: {cause}.")))
            }
        }
    }

    /// Stops a database's capture job and waits for it; whether it ran.
    pub(crate) fn stop_capture(&self, database: &Database) -> bool {
        let running = self.lock().get_mut(&database.id()).and_then(|capture| capture.job.take());
        let Some(running) = running else {
            return false;
        };
        let ran = !running.thread.is_finished();
        running.stop.store(true, Ordering::Release);
        database.clock().wake();
        // The job itself may be what drops the last reference to the server.
        if running.thread.thread().id() != std::thread::current().id() {
            // A job that panicked has said so; it is stopped either way.
            let _ = running.thread.join();
        }
        ran
    }

    /// Whether somebody has the log-scan session.
    pub(crate) fn is_scanning(&self, database: &Database) -> bool {
        self.lock()
            .get(&database.id())
            .is_some_and(|capture| capture.session.load(Ordering::Acquire))
    }

    /// Switches of a database.
    pub(crate) fn modes(&self, database: i32) -> Modes {
        self.lock().get(&database).map(|capture| capture.modes.clone()).unwrap_or_default()
    }

    pub(crate) fn set_modes(&self, database: i32, change: impl FnOnce(&mut Modes)) {
        change(&mut self.lock().entry(database).or_default().modes);
        self.changed.notify_all();
    }

    /// Keeps a scan open as long as the switch says.
    fn hold(&self, database: i32, stopped: &dyn Fn() -> bool) {
        let mut captures = self.lock();
        while captures.get(&database).is_some_and(|capture| capture.modes.scan_open) && !stopped() {
            // A job that is stopped does not tell.
            let patience = Duration::from_millis(20);
            captures = self
                .changed
                .wait_timeout(captures, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub(crate) fn agent_runs(&self) -> bool {
        !self.agent_stopped.load(Ordering::Relaxed)
    }

    /// Stops or starts the Agent with all its jobs.
    pub(crate) fn set_agent(storage: &Arc<Storage>, runs: bool) {
        storage.cdc.agent_stopped.store(!runs, Ordering::Relaxed);
        for database in storage.databases() {
            if runs {
                Server::start_capture(storage, &database);
            } else {
                storage.cdc.stop_capture(&database);
            }
        }
    }

    pub(crate) fn shutdown(&self, storage: &Storage) {
        for database in storage.databases() {
            self.stop_capture(&database);
        }
    }

    /// One cycle of scans by whoever has the session.
    fn cycle(
        &self,
        database: &Arc<Database>,
        maxtrans: i32,
        maxscans: i32,
        stopped: &dyn Fn() -> bool,
    ) -> Result<ScanOutcome, SqlError> {
        let mut total = ScanOutcome::default();
        let maxtrans = usize::try_from(maxtrans).unwrap_or(1).max(1);
        for _ in 0..maxscans.max(1) {
            let (modes, left) = {
                let mut captures = self.lock();
                let capture = captures.entry(database.id()).or_default();
                (capture.modes.clone(), capture.left.clone())
            };
            let start = database.clock().local_now();
            let scanned = {
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                let hold = || self.hold(database.id(), stopped);
                capture::scan(database, &modes, maxtrans, &mut left, &hold)
            };
            self.note_session(database, start, &scanned);
            let outcome = scanned?;
            total.transactions += outcome.transactions;
            total.rows += outcome.rows;
            total.schema_changes += outcome.schema_changes;
            total.dummy |= outcome.dummy;
            total.first_begin = total.first_begin.or(outcome.first_begin);
            total.last_commit = outcome.last_commit.or(total.last_commit);
            if outcome.transactions < maxtrans {
                break;
            }
        }
        Ok(total)
    }

    fn note_session(
        &self,
        database: &Database,
        start: i64,
        scanned: &Result<ScanOutcome, SqlError>,
    ) {
        let mut captures = self.lock();
        let capture = captures.entry(database.id()).or_default();
        capture.last_session += 1;
        capture.sessions.push(ScanSession {
            id: capture.last_session,
            start_time: start,
            end_time: database.clock().local_now(),
            outcome: scanned.clone().unwrap_or_default(),
            error: scanned.as_ref().err().cloned(),
        });
        if capture.sessions.len() > SESSIONS_KEPT {
            capture.sessions.remove(0);
        }
    }
}

/// The thread of a running capture job.
struct Worker {
    storage: Weak<Storage>,
    database: Arc<Database>,
    stop: Arc<AtomicBool>,
    session: Arc<AtomicBool>,
}

impl Worker {
    fn run(self, job: &JobRow) {
        let stopped = || self.stop.load(Ordering::Acquire);
        while !stopped() {
            let Some(storage) = self.storage.upgrade() else {
                break;
            };
            if let Err(error) =
                storage.cdc.cycle(&self.database, job.maxtrans, job.maxscans, &stopped)
            {
                // As on the server: noted in dm_cdc_errors, and tried again next time.
                tracing::debug!(%error, "a log scan failed");
            }
            drop(storage);
            if !job.continuous {
                break;
            }
            let pause = u64::try_from(job.pollinginterval).unwrap_or(0);
            if pause == 0 {
                self.database.wait_for_log(Duration::from_millis(20), stopped);
            } else {
                self.database.clock().sleep(Duration::from_secs(pause), stopped);
            }
        }
        self.session.store(false, Ordering::Release);
    }
}

/// A database's capture, for tests in the same process.
pub struct CaptureJob {
    storage: Arc<Storage>,
    database: Arc<Database>,
}

impl CaptureJob {
    /// Of a database.
    pub fn of(storage: &Arc<Storage>, database: &Arc<Database>) -> CaptureJob {
        CaptureJob { storage: storage.clone(), database: database.clone() }
    }

    /// Starts the job.
    ///
    /// # Errors
    /// 22022 if it runs already or there is none.
    pub fn start(&self) -> Result<(), SqlError> {
        start_job(&self.storage, &self.database, JobKind::Capture)
    }

    /// Stops the job and waits for it; whether it ran.
    pub fn stop(&self) -> bool {
        self.storage.cdc.stop_capture(&self.database)
    }

    /// Whether the job runs.
    pub fn is_running(&self) -> bool {
        let captures = self.storage.cdc.lock();
        let job = captures.get(&self.database.id()).and_then(|capture| capture.job.as_ref());
        job.is_some_and(|job| !job.thread.is_finished())
    }

    /// Scans all there is in one call, at most `maxtrans` transactions per scan.
    ///
    /// # Errors
    /// 22903 while the job runs; what a scan fails with.
    pub fn step(&self, maxtrans: i32, maxscans: i32) -> Result<ScanOutcome, SqlError> {
        manual_scan(&self.storage, &self.database, maxtrans, maxscans)
    }

    /// The switches.
    pub fn modes(&self) -> Modes {
        self.storage.cdc.modes(self.database.id())
    }

    /// Changes switches.
    pub fn set_modes(&self, change: impl FnOnce(&mut Modes)) {
        self.storage.cdc.set_modes(self.database.id(), change);
    }

    /// Latest scan sessions, oldest first.
    pub fn sessions(&self) -> Vec<ScanSession> {
        self.storage
            .cdc
            .lock()
            .get(&self.database.id())
            .map(|c| c.sessions.clone())
            .unwrap_or_default()
    }
}

/// Scan sessions of a database, oldest first (`sys.dm_cdc_log_scan_sessions`).
pub fn scan_sessions(storage: &Arc<Storage>, database: &Arc<Database>) -> Vec<ScanSession> {
    CaptureJob::of(storage, database).sessions()
}

/// `sp_cdc_scan`.
pub(super) fn manual_scan(
    storage: &Arc<Storage>,
    database: &Arc<Database>,
    maxtrans: i32,
    maxscans: i32,
) -> Result<ScanOutcome, SqlError> {
    let session = storage.cdc.lock().entry(database.id()).or_default().session.clone();
    if session.swap(true, Ordering::AcqRel) {
        return Err(error(
            22903,
            "Another connection is already running 'sp_replcmds' for Change Data Capture in the current database. Disconnect the existing connection and execute the procedure again.",
        ));
    }
    let outcome = storage.cdc.cycle(database, maxtrans, maxscans, &|| false);
    session.store(false, Ordering::Release);
    outcome
}

/// Forgets a database that is dropped.
pub(crate) fn forget_jobs(storage: &Storage, database: i32) -> Result<(), SqlError> {
    storage.cdc.lock().remove(&database);
    drop_jobs(storage, database, None)
}

/// What the first `sp_cdc_enable_table` of a database creates and starts.
pub(super) fn create_default_jobs(storage: &Arc<Storage>, database: i32) -> Result<(), SqlError> {
    for kind in [JobKind::Capture, JobKind::Cleanup] {
        if job(storage, database, kind)?.is_none() {
            add_job(storage, database, &JobRow::new(kind))?;
        }
    }
    if let Some(database) = storage.database_by_id(database) {
        Server::start_capture(storage, &database);
    }
    Ok(())
}

/// `sp_cdc_start_job`. The cleanup job runs once.
pub(super) fn start_job(
    storage: &Arc<Storage>,
    database: &Arc<Database>,
    kind: JobKind,
) -> Result<(), SqlError> {
    if !storage.cdc.agent_runs() {
        return Err(error(
            22022,
            "SQLServerAgent is not currently running so it cannot be notified of this action.",
        ));
    }
    let (_, job) = job(storage, database.id(), kind)?.ok_or_else(|| {
        error(
            22963,
            format!(
                "Parameter @job_type: there is no {} job for the current database.",
                kind.name()
            ),
        )
    })?;
    match kind {
        JobKind::Capture => storage.cdc.run_capture(storage, database, job),
        JobKind::Cleanup => cleanup::run_job(storage, database, &job),
    }
}

/// `sp_cdc_stop_job`.
pub(super) fn stop_job(
    storage: &Arc<Storage>,
    database: &Arc<Database>,
    kind: JobKind,
) -> Result<(), SqlError> {
    let stopped = kind == JobKind::Capture && storage.cdc.stop_capture(database);
    if stopped {
        return Ok(());
    }
    Err(error(
        22022,
        format!(
            "SQLServerAgent Error: Request to stop job cdc.{}_{} refused because the job is not currently running.",
            database.name(),
            kind.name()
        ),
    ))
}
