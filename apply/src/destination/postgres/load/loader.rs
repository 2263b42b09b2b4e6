//! Connections that load chunks beside the stream, several chunks and tables at once.
//!
//! A loader retries by itself what time may mend; the rest ends apply. Its tasks end with the session
//! that made them: a chunk in hand is then undone by the target, or done, and the next session's claim
//! finds out.

use std::sync::Arc;

use lockstep_common::{Backoff, FailPoints, Failure, Shutdown, TableId};
use lockstep_log::Log;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::super::connect::Login;
use super::ChunkJob;
use super::chunk::ChunkSource;
use super::copy::{Copier, Stop};

/// A chunk that is in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkDone {
    pub(crate) load: Uuid,
    pub(crate) table: TableId,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// The connections of one session.
pub(in super::super) struct Loaders {
    shared: Arc<Shared>,
    jobs: UnboundedSender<ChunkJob>,
    outcomes: UnboundedReceiver<Result<ChunkDone, Failure>>,
    workers: JoinSet<()>,
    /// Chunks submitted whose outcome has not been taken.
    outstanding: usize,
    most: usize,
}

struct Shared {
    login: Login,
    log: Arc<dyn Log>,
    fail: FailPoints,
    jobs: Mutex<UnboundedReceiver<ChunkJob>>,
    outcomes: UnboundedSender<Result<ChunkDone, Failure>>,
}

impl Loaders {
    pub(in super::super) fn new(
        login: Login,
        log: Arc<dyn Log>,
        fail: FailPoints,
        most: usize,
    ) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (sender, outcomes) = mpsc::unbounded_channel();
        let shared = Shared { login, log, fail, jobs: Mutex::new(queue), outcomes: sender };
        Loaders {
            shared: Arc::new(shared),
            jobs,
            outcomes,
            workers: JoinSet::new(),
            outstanding: 0,
            most: most.max(1),
        }
    }

    /// Takes a chunk whose end is committed in the target.
    pub(in super::super) fn submit(&mut self, job: ChunkJob) {
        self.outstanding += 1;
        if self.outstanding > self.workers.len() && self.workers.len() < self.most {
            self.workers.spawn(work(Arc::clone(&self.shared)));
        }
        // The queue's other end is ours.
        let _ = self.jobs.send(job);
    }

    /// Chunks that have been submitted and not come to an end.
    pub(in super::super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The next chunk that came to an end, if there is one now.
    pub(in super::super) fn outcome(&mut self) -> Option<Result<ChunkDone, Failure>> {
        let outcome = self.outcomes.try_recv().ok()?;
        self.outstanding -= 1;
        Some(outcome)
    }

    /// Waits for the next chunk that comes to an end.
    pub(in super::super) async fn changed(&mut self) -> Result<ChunkDone, Failure> {
        match self.outcomes.recv().await {
            Some(outcome) => {
                self.outstanding -= 1;
                outcome
            }
            None => std::future::pending().await,
        }
    }

    /// Ends the connections when there is nothing to load for now.
    pub(in super::super) fn rest(&mut self) {
        if self.outstanding == 0 {
            self.workers.abort_all();
            self.workers = JoinSet::new();
        }
    }
}

async fn work(shared: Arc<Shared>) {
    let mut source = ChunkSource::new(Arc::clone(&shared.log));
    let mut copier = None;
    loop {
        let job = shared.jobs.lock().await.recv().await;
        let Some(job) = job else { return };
        let outcome = load(&shared, &job, &mut source, &mut copier).await;
        if shared.outcomes.send(outcome).is_err() {
            return;
        }
    }
}

async fn load(
    shared: &Shared,
    job: &ChunkJob,
    source: &mut ChunkSource,
    copier: &mut Option<Copier>,
) -> Result<ChunkDone, Failure> {
    let done = |bytes| ChunkDone { load: job.load, table: job.table, rows: job.rows, bytes };
    let mut backoff = Backoff::default();
    let mut staged = job.is_staged();
    loop {
        let stop = match attempt(shared, job, source, copier, staged).await {
            Ok(bytes) => return Ok(done(bytes)),
            Err(stop) => stop,
        };
        // An error ends the connection.
        *copier = None;
        match stop {
            Stop::NotPending => return Ok(done(0)),
            Stop::Present(_) if !staged && job.may_stage() => {
                tracing::info!(
                    table = %job.relation.source,
                    chunk = job.chunk,
                    "the target has rows of a chunk already: merging it"
                );
                staged = true;
            }
            Stop::Failure(failure) if failure.disposition().is_tried_again() => {
                tracing::warn!(error = %failure, "loading a chunk again");
                backoff.wait(&Shutdown::new()).await;
            }
            Stop::Present(failure) | Stop::Failure(failure) => return Err(failure),
        }
    }
}

async fn attempt(
    shared: &Shared,
    job: &ChunkJob,
    source: &mut ChunkSource,
    copier: &mut Option<Copier>,
    staged: bool,
) -> Result<u64, Stop> {
    let copier = match copier {
        Some(copier) => copier,
        none => none.insert(Copier::connect(&shared.login).await?),
    };
    copier.load(job, source, staged, &shared.fail).await
}
