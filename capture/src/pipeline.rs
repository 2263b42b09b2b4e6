//! The loop: poll, read a window, write it, commit; and what happens when something fails.
//!
//! # Why a crash at any line is as if nothing had happened
//!
//! The only state that outlives a moment is the log. A window's records become visible in log
//! transactions that are appended only after the source proved them complete (`Source::verify`),
//! and a record says which position it follows. A new attempt, in this process or another, takes
//! the next epoch, which voids an unfinished transaction at the log's end, finds the newest
//! complete position there, proves that the source is still the one it was read from, and reads on
//! after it. The same window read twice gives the same records.
//!
//! Before the epoch record is committed nothing is written but table versions, which mean nothing
//! until a record names them. A commit whose reply is lost is either in the log, and then the new
//! attempt's cursor is behind it, or it is not, and then the window comes again.
//!
//! # Failures
//!
//! `Retry` ends the attempt: writer and source connections are dropped and the next attempt begins
//! after a pause. A halt of the source is looked at once more before it is believed: a dropped
//! instance shows as any of several errors, and the operator should read the one that names it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_common::status::{CaptureStatus, StatusSender, TaskState};
use lockstep_common::{
    Backoff, Disposition, FailPoints, Failure, Position, Shutdown, TableId, config,
};
use lockstep_log::Log;
use tracing::{info, warn};

use crate::fail_points;
use crate::output::Output;
use crate::recover::{self, From};
use crate::report::Reporter;
use crate::source::{Poll, Source, Window};

/// Bytes collected before they are verified and handed to the log.
const FLUSH_BYTES: usize = 4 << 20;

pub(crate) async fn run(
    source: Box<dyn Source>,
    capture: config::Capture,
    log: Arc<dyn Log>,
    status: StatusSender<CaptureStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let status = Reporter::new(status);
    Service { source, capture, log, status, fail, shutdown }.run().await
}

struct Service {
    source: Box<dyn Source>,
    capture: config::Capture,
    log: Arc<dyn Log>,
    status: Reporter,
    fail: FailPoints,
    shutdown: Shutdown,
}

impl Service {
    /// Attempts until one ends for good.
    async fn run(mut self) -> Result<(), Failure> {
        let mut backoff = Backoff::default();
        loop {
            let before = self.status.position();
            let result = self.attempt().await;
            let failure = match result {
                Ok(()) => {
                    self.status.state(TaskState::Stopped);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            self.status.failed(&failure);
            if failure.disposition != Disposition::Retry {
                return Err(failure);
            }
            warn!(error = %failure, "capture will try again");
            if self.status.position() != before {
                backoff.reset();
            }
            if !backoff.wait(&self.shutdown).await {
                self.status.state(TaskState::Stopped);
                return Ok(());
            }
        }
    }

    /// From connecting to the first failure; `Ok` is shutdown.
    async fn attempt(&mut self) -> Result<(), Failure> {
        let shutdown = self.shutdown.clone();
        // Nothing is half done before the first window, so it may be cancelled anywhere.
        let begun = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            begun = self.begin() => begun,
        };
        let (mut output, mut cursor) = begun?;
        let mut due = Due::new(&self.capture);
        while !shutdown.is_cancelled() {
            let poll = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                poll = self.poll(cursor) => poll?,
            };
            let more = poll.window.as_ref().is_some_and(|window| window.more);
            let found = poll.window.is_some();
            if let Some(window) = poll.window.as_ref() {
                cursor = self.window(&mut output, window, &mut due).await?;
            }
            self.status.polled(&poll, &output);
            if due.inspect() {
                self.inspect(cursor).await?;
            }
            // Behind, or something came: look again at once. Idle: wait.
            if !more && !found {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(self.capture.poll_interval) => {}
                }
            }
        }
        Ok(())
    }

    /// Connects, recovers, and writes the epoch's first record.
    async fn begin(&mut self) -> Result<(Output, Position), Failure> {
        let identity = self.source.connect().await?;
        let recovered = recover::recover(self.log.as_ref(), self.capture.start.as_deref()).await?;
        let (cursor, new_log) = match recovered.from {
            From::Cursor(cursor) => (cursor, false),
            From::Start(start) => (self.source.locate(start).await?, true),
        };
        let (ids, known): (Vec<TableId>, Vec<_>) = recovered.known.into_iter().unzip();
        self.source.resume(&cursor, &known).await?;
        let (writer, fail) = (recovered.writer, self.fail.clone());
        let (epoch, log_id) = (recovered.epoch, recovered.log_id);
        let position = cursor.position;
        let mut output = Output::new(writer, fail, log_id, epoch, cursor, recovered.time);
        output.already_published(ids);
        output.publish(self.source.tables(position)).await?;
        output.begin(&identity, new_log).await?;
        info!(source = identity, %log_id, epoch, %position, "capturing");
        self.status.began(epoch, &output);
        Ok((output, position))
    }

    async fn poll(&mut self, cursor: Position) -> Result<Poll, Failure> {
        match self.source.poll(cursor).await {
            Err(failure) => Err(self.explain(cursor, failure).await),
            polled => polled,
        }
    }

    /// Reads and writes a window; gives the new cursor.
    async fn window(
        &mut self,
        output: &mut Output,
        window: &Window,
        due: &mut Due,
    ) -> Result<Position, Failure> {
        self.fail.hit(fail_points::WINDOW_PLANNED)?;
        let tables = self.source.tables(window.through());
        self.status.know(&tables);
        output.publish(tables).await?;
        let copied = self.copy(output, window).await;
        let reached = match copied {
            Err(failure) => return Err(self.explain_read(window, failure).await),
            Ok(reached) => reached,
        };
        let wrote = output.collected() > 0 || output.position() > window.after;
        if !wrote && due.progress() {
            let last = window.heads.last().expect("a window has at least one place");
            output.progress(last);
        }
        if output.collected() > 0 || wrote {
            output.commit().await?;
            self.status.committed(output);
        }
        Ok(reached)
    }

    /// Copies a window's changes into the output, verified; gives how far it came, which is less
    /// than the window on shutdown.
    async fn copy(&mut self, output: &mut Output, window: &Window) -> Result<Position, Failure> {
        let mut changes = self.source.read(window).await?;
        let mut current = None;
        let mut reached = window.through();
        'window: while let Some(batch) = changes.next().await? {
            for located in batch {
                if current != Some(located.head) {
                    output.close();
                    if current.is_some() && self.shutdown.is_cancelled() {
                        reached = output.position();
                        break 'window;
                    }
                    self.status.transaction();
                    output.open(&window.heads[located.head]);
                    current = Some(located.head);
                }
                self.status.change(located.change.table, located.change.operation);
                output.push(located.change, located.size);
                if output.collected() >= FLUSH_BYTES {
                    self.source.verify(window).await?;
                    output.pass_on().await?;
                }
            }
        }
        output.close();
        drop(changes);
        self.source.verify(window).await?;
        Ok(reached)
    }

    async fn inspect(&mut self, cursor: Position) -> Result<(), Failure> {
        match self.source.inspect(cursor).await {
            Ok(notices) => {
                self.status.notices(notices);
                Ok(())
            }
            Err(failure) => Err(self.explain(cursor, failure).await),
        }
    }

    /// What lies behind a failure of reading a window: a gap explains all others.
    async fn explain_read(&mut self, window: &Window, failure: Failure) -> Failure {
        if failure.disposition == Disposition::Halt
            && let Err(gap) = self.source.verify(window).await
            && gap.code == "source.gap"
        {
            return gap;
        }
        self.explain(window.after, failure).await
    }

    /// What lies behind a halt of the source, if a look at the catalogue tells. (It may tell that
    /// the table has another instance that can be read, and then there is no need to halt.)
    async fn explain(&mut self, cursor: Position, failure: Failure) -> Failure {
        let of_source = failure.code.starts_with("source.");
        if failure.disposition != Disposition::Halt || !of_source {
            return failure;
        }
        match self.source.inspect(cursor).await {
            Err(behind) => behind,
            Ok(_) => failure,
        }
    }
}

/// What is done now and then.
struct Due {
    every: Duration,
    progress: Option<Instant>,
    inspect: Option<Instant>,
}

impl Due {
    fn new(capture: &config::Capture) -> Self {
        Due { every: capture.progress_interval, progress: None, inspect: None }
    }

    fn progress(&mut self) -> bool {
        Self::due(self.every, &mut self.progress)
    }

    fn inspect(&mut self) -> bool {
        Self::due(self.every, &mut self.inspect)
    }

    fn due(every: Duration, last: &mut Option<Instant>) -> bool {
        let due = last.is_none_or(|at| at.elapsed() >= every);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
