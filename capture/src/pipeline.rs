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
//! # Full loads
//!
//! The loop owns the log's writer, and so it writes what readers of full loads have read, between
//! windows, while it is idle and while the source takes its time ([`Loads`]). Chunks begin and end
//! between windows only, so that a window that takes long gives way between two transactions when a
//! reader waits for that; what is left of it is planned anew. With no load nothing of the kind happens.
//!
//! # Failures
//!
//! `Retry` ends the attempt: writer and source connections are dropped and the next attempt begins
//! after a pause. A halt of the source is looked at once more before it is believed: a dropped
//! instance shows as any of several errors, and the operator should read the one that names it.

mod loads;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_common::Code;
use lockstep_common::config::{self, Task};
use lockstep_common::failure::code::Group;
use lockstep_common::model::definition::Definition;
use lockstep_common::service::reload::{Reloads, Serving};
use lockstep_common::service::status::{CaptureStatus, StatusSender, TaskState};
use lockstep_common::{
    Backoff, Disposition, FailPoints, Failure, Position, Shutdown, TICKS_PER_SECOND, TableId,
};
use lockstep_log::{Log, Stream};
use tracing::{info, warn};

use crate::load::Loads;
use crate::newcomers;
use crate::output::Output;
use crate::recover::{self, From};
use crate::report::{Reporter, watch};
use crate::source::load::Loader;
use crate::source::{Poll, Source, Start, Window};
use crate::task::Stop;
use crate::{Following, fail_points};

/// How long the source may take to give more of a window once it is time to stop.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long something that the stream does for somebody else may keep it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a shutdown waits for the attempt.
const GRACE: Duration = Duration::from_secs(8);

/// How far the source's clock must be past the time of `capture.stop`: commits are dated to 1/300 s.
const STOP_SLACK: i64 = TICKS_PER_SECOND;

/// Bytes collected before they are verified and handed to the log.
const FLUSH_BYTES: usize = 4 << 20;

pub(crate) async fn run(
    source: Box<dyn Source>,
    settings: Following,
    log: Arc<dyn Log>,
    status: StatusSender<CaptureStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let status = Reporter::new(status);
    let Following { task, capture, reloads } = settings;
    let stop = Stop::parse(capture.stop.as_deref())?;
    let definitions = HashMap::new();
    Service { source, task, capture, stop, reloads, definitions, log, status, fail, shutdown }
        .run()
        .await
}

struct Service {
    source: Box<dyn Source>,
    task: Task,
    capture: config::Capture,
    stop: Option<Stop>,
    reloads: Reloads,
    /// Definitions that the log has.
    definitions: HashMap<TableId, Arc<Definition>>,
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
            let shutdown = self.shutdown.clone();
            let result = tokio::select! {
                result = self.attempt() => result,
                () = grace(&shutdown) => {
                    warn!("leaving without an answer that has not come: what is not committed comes again");
                    Ok(())
                }
            };
            let failure = match result {
                Ok(()) => {
                    self.status.state(TaskState::Stopped);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            self.status.failed(&failure);
            if !failure.disposition().is_tried_again() {
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

    /// From connecting to the first failure; `Ok` is shutdown, or the end of the task.
    async fn attempt(&mut self) -> Result<(), Failure> {
        let shutdown = self.shutdown.clone();
        // Nothing is half done before the first window, so it may be cancelled anywhere.
        let begun = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            begun = self.begin() => begun,
        };
        let Begun { mut output, mut cursor, mut loads, epoch } = begun?;
        let serving = self.reloads.serve();
        self.status.began(epoch, &output);
        self.status.held(self.source.held());
        loads.show_now();
        let mut due = Due::new(&self.capture);
        let mut stopped = self.stop.is_some_and(|stop| stop.is_reached(cursor));
        while !shutdown.is_cancelled() {
            if let Some(request) = serving.try_next() {
                self.reload(&mut output, &mut loads, cursor, request).await?;
            }
            self.load(&mut output, &mut loads, cursor).await?;
            // The stream must not pass a signal whose text is not known yet.
            while loads.is_signalling() && !shutdown.is_cancelled() {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = loads.wait(&output) => {}
                }
                self.load(&mut output, &mut loads, cursor).await?;
            }
            if stopped || self.task == Task::FullLoad && loads.is_idle() {
                return self.end(&mut output, &mut loads).await;
            }
            let polling = watch(self.status.sender(), "looking for changes", self.poll(cursor));
            let mut poll = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                poll = loads.beside(&mut output, polling) => poll??,
            };
            self.status.held(self.source.held());
            let found = poll.window.is_some();
            if let (Some(stop), Some(window)) = (self.stop, &mut poll.window) {
                stopped = stop.cut(window);
                poll.window = poll.window.filter(|window| !window.heads.is_empty());
            }
            let more = poll.window.as_ref().is_some_and(|window| window.more);
            if let Some(window) = poll.window.as_ref() {
                cursor = self.window(&mut output, &mut loads, window, &mut due).await?;
                loads.reached(&mut output, window, cursor).await?;
                // The log ends where the task does, whether there was a change at last or not.
                if stopped
                    && let Some(last) = window.heads.last()
                    && output.position() < cursor
                    && cursor == last.position
                {
                    output.progress(last);
                }
            }
            self.status.polled(&poll, &output, more, self.capture.poll_interval);
            if !found
                && self.capture.signal_table.is_some()
                && due.ask_for_the_end(self.stop, poll.clock)
            {
                loads.beside(&mut output, ask_for_the_end(self.source.loader())).await?;
            }
            if due.inspect() {
                let sender = self.status.sender();
                let inspecting = watch(sender, "looking at the catalogue", self.inspect(cursor));
                loads.beside(&mut output, inspecting).await??;
            }
            // Behind, or something came: look again at once. Idle: wait.
            if !more && !found {
                self.idle(&mut output, &mut loads, &serving, cursor).await?;
            }
        }
        output.commit_load().await
    }

    /// Connects. What is refused before anything was ever read is a mistake of the configuration; with
    /// a log that has followed this source it is an outage.
    async fn connect(&mut self) -> Result<String, Failure> {
        match self.source.connect().await {
            Err(failure)
                if failure.disposition() == Disposition::Halt
                    && has_records(self.log.as_ref()).await =>
            {
                self.source.followed_before();
                self.source.connect().await
            }
            connected => connected,
        }
    }

    /// Connects, recovers, and writes the epoch's first record.
    async fn begin(&mut self) -> Result<Begun, Failure> {
        let identity = self.connect().await?;
        let start = self.capture.start.as_deref();
        let recovered = recover::recover(self.log.as_ref(), self.task, start).await?;
        let (cursor, new_log) = match recovered.from {
            From::Cursor(cursor) => (cursor, None),
            From::Start(start) => (self.source.locate(start).await?, Some(start)),
        };
        let expected = newcomers::expected(self.task, new_log.is_some(), &recovered.loads);
        self.source.expect(expected);
        let known: Vec<_> = recovered.known.iter().map(|(_, version)| version.clone()).collect();
        self.source.resume(&cursor, &known).await?;
        self.definitions = recovered.definitions;
        let position = cursor.position;
        let tables = self.source.tables(position);
        let never_loaded = recovered.loads.iter().all(|load| load.held);
        let left = newcomers::left(self.task, &recovered.known, &recovered.loads, &tables);
        let first = match new_log {
            Some(Start::Load) => Some(self.plan(&tables, false).await?),
            Some(_) => None,
            None if self.task == Task::FullLoad && never_loaded => {
                return Err(loads::loads_too_late());
            }
            None => None,
        };
        let resumed = self.resume(recovered.loads, &tables).await?;
        let (writer, fail) = (recovered.writer, self.fail.clone());
        let (epoch, log_id) = (recovered.epoch, recovered.log_id);
        let mut output = Output::new(writer, fail, log_id, epoch, cursor, recovered.time);
        output.already_published(recovered.known.iter().map(|(id, _)| *id));
        output.publish(tables).await?;
        for load in first.iter().chain(&resumed) {
            self.define(load, &mut output).await?;
        }
        let begin = first.as_ref().map(|load| (load.begin(), load.entries().cloned().collect()));
        output.begin(&identity, new_log.is_some(), begin, &left).await?;
        info!(source = identity, %log_id, epoch, %position, "capturing");
        let partitions = self.partitions().await?;
        let loads = Loads::new(
            self.source.loader(),
            &self.capture,
            first.into_iter().chain(resumed).collect(),
            partitions,
            self.status.sender(),
            self.fail.clone(),
        );
        Ok(Begun { output, cursor: position, loads, epoch })
    }

    /// Waits until it is time to look at the source again, and does meanwhile what there is to do for
    /// loads.
    async fn idle(
        &mut self,
        output: &mut Output,
        loads: &mut Loads,
        serving: &Serving,
        cursor: Position,
    ) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + self.capture.poll_interval;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(until) => return Ok(()),
                request = serving.next() => self.reload(output, loads, cursor, request).await?,
                () = loads.wait(output) => {}
            }
            self.load(output, loads, cursor).await?;
        }
    }

    /// Ends the task as configured.
    async fn end(&mut self, output: &mut Output, loads: &mut Loads) -> Result<(), Failure> {
        if !loads.is_idle() {
            return Err(Failure::new(
                Code::ConfigStop,
                "capture.stop is reached, and the full load is not consistent yet",
            )
            .remedy("remove capture.stop or set it later; the load goes on where it is"));
        }
        output.task_end().await?;
        self.status.committed(output);
        info!(position = %output.position(), "the task has ended");
        Ok(())
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
        loads: &mut Loads,
        window: &Window,
        due: &mut Due,
    ) -> Result<Position, Failure> {
        self.fail.hit(fail_points::WINDOW_PLANNED)?;
        let tables = self.source.tables(window.through());
        self.status.know(&tables);
        output.publish(tables).await?;
        let copied = self.copy(output, loads, window).await;
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
            for (table, more) in self.status.committed(output) {
                self.source.followed(table, more);
            }
        }
        Ok(reached)
    }

    /// Copies a window's changes into the output, verified; gives how far it came, which is less
    /// than the window on shutdown, and when it takes long and readers of a load wait meanwhile.
    async fn copy(
        &mut self,
        output: &mut Output,
        loads: &mut Loads,
        window: &Window,
    ) -> Result<Position, Failure> {
        let mut changes = self.source.read(window).await?;
        let mut current = None;
        let mut reached = window.through();
        let signal = loads.awaits_signal();
        let begun = Instant::now();
        let shutdown = self.shutdown.clone();
        'window: loop {
            let next = unless_stopped(&shutdown, changes.next());
            let next = watch(self.status.sender(), "reading changes", next);
            let Some(batch) = loads.beside(output, next).await?? else { break };
            for located in batch {
                if current != Some(located.head) {
                    output.close();
                    let interrupted = self.shutdown.is_cancelled()
                        || loads.want_turn() && begun.elapsed() >= self.capture.poll_interval;
                    if current.is_some() && interrupted {
                        reached = output.position();
                        break 'window;
                    }
                    self.status.transaction();
                    output.open(&window.heads[located.head]);
                    current = Some(located.head);
                }
                self.status.change(located.change.table, located.change.operation);
                if signal {
                    let position = window.heads[located.head].position;
                    loads.look_for_signal(&located.change, position);
                }
                output.push(located.change, located.size);
                if output.collected() >= FLUSH_BYTES {
                    let verified = unless_stopped(&shutdown, self.source.verify(window));
                    let verified = watch(self.status.sender(), "verifying what was read", verified);
                    loads.beside(output, verified).await??;
                    output.pass_on().await?;
                }
            }
        }
        output.close();
        drop(changes);
        let verified = unless_stopped(&shutdown, self.source.verify(window));
        let verified = watch(self.status.sender(), "verifying what was read", verified);
        loads.beside(output, verified).await??;
        Ok(reached)
    }

    async fn inspect(&mut self, cursor: Position) -> Result<(), Failure> {
        match self.source.inspect(cursor).await {
            Ok(notices) => {
                self.status.notices(notices);
                self.status.held(self.source.held());
                Ok(())
            }
            Err(failure) => Err(self.explain(cursor, failure).await),
        }
    }

    /// What lies behind a failure of reading a window: a gap explains all others.
    async fn explain_read(&mut self, window: &Window, failure: Failure) -> Failure {
        if failure.disposition() == Disposition::Halt
            && let Err(gap) = self.source.verify(window).await
            && gap.code == Code::SourceGap
        {
            return gap;
        }
        self.explain(window.after, failure).await
    }

    /// What lies behind a halt of the source, if a look at the catalogue tells. (It may tell that
    /// the table has another instance that can be read, and then there is no need to halt.)
    async fn explain(&mut self, cursor: Position, failure: Failure) -> Failure {
        let of_source = failure.code.group() == Group::Source;
        if failure.disposition() != Disposition::Halt || !of_source {
            return failure;
        }
        match self.source.inspect(cursor).await {
            Err(behind) => behind,
            Ok(_) => failure,
        }
    }
}

/// Ends when a shutdown has waited long enough for whatever the attempt waits for. Dropping that is a
/// crash, and as harmless.
async fn grace(shutdown: &Shutdown) {
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Whether the log has records already.
async fn has_records(log: &dyn Log) -> bool {
    let Ok(mut reader) = log.reader(Stream::Transactions).await else { return false };
    reader.bounds().await.is_ok_and(|bounds| bounds.end > 0)
}

/// Lets a commit come after the time of `capture.stop`, which shows that none is to come before it: an
/// idle source may take ten minutes for the next.
async fn ask_for_the_end(loader: Arc<dyn Loader>) {
    match tokio::time::timeout(PATIENCE, loader.signal()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(%error, "the signal table cannot be written to"),
        Err(_) => warn!("the signal table cannot be written to in time"),
    }
}

/// Work of the source, given up some time after it is time to stop: it may be waiting for a lock that
/// nobody gives up. What the window has come to so far is void then, and comes again.
async fn unless_stopped<T>(
    shutdown: &Shutdown,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = too_long => Err(Failure::new(Code::SourceStopping, "the source takes too long to stop")),
    }
}

/// An attempt that has written its epoch.
struct Begun {
    output: Output,
    cursor: Position,
    loads: Loads,
    epoch: u64,
}

/// What is done now and then.
struct Due {
    every: Duration,
    progress: Option<Instant>,
    inspect: Option<Instant>,
    asked_for_the_end: bool,
}

impl Due {
    fn new(capture: &config::Capture) -> Self {
        Due {
            every: capture.progress_interval,
            progress: None,
            inspect: None,
            asked_for_the_end: false,
        }
    }

    fn progress(&mut self) -> bool {
        Self::due(self.every, &mut self.progress)
    }

    /// Whether the source's clock has passed the time of `capture.stop`; once.
    fn ask_for_the_end(&mut self, stop: Option<Stop>, clock: Option<i64>) -> bool {
        let passed = matches!((stop, clock), (Some(Stop::Time(stop)), Some(clock)) if clock > stop + STOP_SLACK);
        passed && !std::mem::replace(&mut self.asked_for_the_end, true)
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
