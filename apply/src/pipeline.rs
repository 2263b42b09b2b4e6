//! One apply from start to end: the feed beside a succession of connections.
//!
//! The feed goes on while the target is away; a connection begins by holding the target's checkpoint
//! against the buffer. When the log ends in a failure for good, what was read before it is still
//! written.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use lockstep_common::Code;
use lockstep_common::config::ConflictPolicy;
use lockstep_common::model::place::Place;
use lockstep_common::{Backoff, FailPoints, Failure, Shutdown};
use lockstep_log::{Log, Stream};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::ApplySettings;
use crate::buffer::{Buffer, Limits};
use crate::destination::{Attached, Claimant, Destination, Ears, Refusal, Session};
use crate::failpoints;
use crate::feed::{Feed, LogReader};
use crate::report::{Progress, Report, Side};
use crate::schemas::LogSchemas;
use crate::spool::{Contents, Spool, blocking};
use crate::start;
use crate::unit::Mark;
use crate::write::{Care, Context, Ended, Sharing, Stopped, Writer};

/// How long a shutdown waits for the transaction in hand; then it is left to be rolled back.
const GRACE: Duration = Duration::from_secs(10);

/// A connection that held for so long worked, even if there was nothing to commit.
const STEADY: Duration = Duration::from_secs(60);

/// How long the target may not answer before the status says so, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(2);

/// How long opening the spool is tried.
const SPOOL_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Pipeline<D> {
    settings: ApplySettings,
    target: D,
    /// As configured.
    start: Option<Place>,
    /// Where reading begins on a target without a checkpoint.
    begin: Place,
    claimant: Claimant,
    report: Report,
    context: Context,
    reader: LogReader,
    feed: Option<Feeding>,
    /// The target has taken this apply in.
    attached: bool,
    shutdown: Shutdown,
}

/// The feed's task; ends when this is dropped.
struct Feeding(Option<JoinHandle<Failure>>);

impl Feeding {
    /// Waits for its end, once; for ever after that.
    async fn ended(&mut self) -> Failure {
        let Some(task) = &mut self.0 else { return std::future::pending().await };
        let failure = task.await;
        self.0 = None;
        failure.unwrap_or_else(|error| {
            let what = format!("reading the log ended: {error}");
            Failure::new(Code::ApplyInternal, what).remedy("report this")
        })
    }

    fn is_running(&self) -> bool {
        self.0.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Ends it, and waits until its hold on buffer and spool is gone.
    async fn stop(mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl<D: Destination> Pipeline<D> {
    pub(crate) async fn new(
        settings: ApplySettings,
        target: D,
        log: Arc<dyn Log>,
        report: Report,
        fail: FailPoints,
        shutdown: Shutdown,
    ) -> Result<Self, Failure> {
        let config = &settings.config;
        let start = match &config.start {
            None => None,
            Some(text) => Some(start::parse(Some(text))?),
        };
        let (spool, contents) = open_spool(&config.spool).await?;
        let limits = Limits { memory: config.memory.as_u64(), disk: config.spool_budget.as_u64() };
        let context = Context {
            schemas: LogSchemas::new(Arc::clone(&log)),
            log,
            buffer: Arc::new(Buffer::new(spool, contents, limits, fail.clone())),
            progress: Progress::new(report.clone(), target.replaced()),
            durability: config.durability,
            sharing: Sharing::new(config),
            flushed_offset: Arc::new(AtomicU64::new(0)),
            fail,
            care: Care::default(),
            commits: 0,
        };
        let claimant = Claimant {
            pipeline: settings.pipeline.clone(),
            apply: settings.name.clone(),
            instance: Uuid::new_v4(),
            epoch: 0,
            applied: false,
        };
        let reader = LogReader::new(Arc::clone(&context.log));
        let feed = None;
        let attached = false;
        Ok(Pipeline {
            settings,
            target,
            begin: start.unwrap_or(Place::Earliest),
            start,
            claimant,
            report,
            context,
            reader,
            feed,
            attached,
            shutdown,
        })
    }

    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let result = self.follow().await;
        if let Some(feed) = self.feed.take() {
            feed.stop().await;
        }
        if result.is_ok() {
            self.context.buffer.save_base()?;
        }
        result
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        let mut backoff = Backoff::default();
        self.reader.begin();
        self.context.schemas.begin();
        if self.context.buffer.end().is_some() {
            // What the spool ends with tells where to read on, target or no target.
            self.start_feed();
        }
        loop {
            match self.attach().await.map_err(|failure| self.judge(failure)) {
                Ok(None) => return Ok(()),
                Ok(Some((session, attached))) => {
                    let (before, began) = (self.context.commits, Instant::now());
                    if self.write(session, &attached).await? {
                        return Ok(());
                    }
                    // A connection alone proves nothing: a full disk lets everybody in.
                    let committed = self.context.commits > before;
                    self.claimant.applied |= committed;
                    if committed || began.elapsed() >= STEADY {
                        backoff.reset();
                    }
                }
                Err(failure) if failure.disposition().is_tried_again() => {
                    tracing::warn!(error = %failure, "cannot take up the target");
                    self.report.trouble(Side::Target, &failure);
                }
                Err(failure) => return Err(failure),
            }
            if !self.wait(&mut backoff).await? {
                return Ok(());
            }
        }
    }

    /// A target that took this apply in before and refuses it now is not a mistake of the
    /// configuration: a password is being changed, and will be known here, too.
    fn judge(&self, failure: Failure) -> Failure {
        match failure.code {
            Code::ApplyConnect if self.attached => Failure {
                code: Code::ApplyConnectRefused,
                remedy: "give the role back its rights, or write its new password into \
                         password_file, which is read at every attempt"
                    .into(),
                ..failure
            },
            _ => failure,
        }
    }

    /// Connects; none when shutdown came first.
    async fn attach(&mut self) -> Result<Option<(D::Session, Attached)>, Failure> {
        let careful = self.context.care.until.is_some();
        let (log, fail) = (&self.context.log, &self.context.fail);
        let attaching = self.target.attach(&self.claimant, careful, log, fail);
        let attached = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Ok(None),
            attached = attaching => attached?,
        };
        self.attached = true;
        self.claimant.epoch = attached.1.epoch;
        self.claimant.applied |= attached.1.mark.is_some();
        self.context.fail.hit(failpoints::EPOCH_TAKEN)?;
        Ok(Some(attached))
    }

    /// Waits before the next attempt; `false` at shutdown.
    async fn wait(&mut self, backoff: &mut Backoff) -> Result<bool, Failure> {
        let waiting = backoff.wait(&self.shutdown);
        match &mut self.feed {
            Some(feed) => tokio::select! {
                go_on = waiting => Ok(go_on),
                failure = feed.ended() => {
                    if ends_at_once(&failure) {
                        return Err(failure);
                    }
                    // Without the target nobody knows whether the spool is what it needs: the feed
                    // is started anew, from the checkpoint, when the target is back.
                    tracing::warn!(error = %failure, "reading ahead of the target ended");
                    self.feed = None;
                    Ok(!self.shutdown.is_cancelled())
                }
            },
            _ => Ok(waiting.await),
        }
    }

    fn start_feed(&mut self) {
        self.context.buffer.open();
        let feed = Feed {
            log: Arc::clone(&self.context.log),
            reader: self.reader.clone(),
            buffer: Arc::clone(&self.context.buffer),
            start: self.begin,
            name: format!("{}.{}", self.settings.pipeline, self.settings.name),
            flushed_offset: Arc::clone(&self.context.flushed_offset),
            report: self.report.clone(),
            fail: self.context.fail.clone(),
            shutdown: self.shutdown.clone(),
        };
        self.feed = Some(Feeding(Some(tokio::spawn(feed.run()))));
    }

    /// Makes buffer and feed go on from the target's checkpoint.
    async fn align(&mut self, session: &D::Session, attached: &Attached) -> Result<(), Failure> {
        let checkpoint: Option<&Mark> = attached.mark.as_ref();
        let stored = attached.start.as_deref();
        start::agree(self.start, stored, checkpoint.map(|mark| mark.position))?;
        if checkpoint.is_none() {
            let start = self.first_start(stored).await?;
            session.store_start(&start).await?;
        }
        let covered = self.context.buffer.rewind(checkpoint)?;
        if !covered {
            tracing::info!(
                checkpoint = ?checkpoint.map(|mark| mark.position),
                "the buffer does not cover the target's checkpoint: reading the log from there"
            );
            if let Some(feed) = self.feed.take() {
                feed.stop().await;
            }
            self.context.buffer.reset(checkpoint.copied())?;
        }
        if !self.feed.as_ref().is_some_and(Feeding::is_running) {
            self.start_feed();
        }
        Ok(())
    }

    /// Where a target without a checkpoint begins, as it is stored. `now` is the end of the log at the
    /// first attach, and stays it: what comes before the first commit is not passed over by a restart.
    async fn first_start(&mut self, stored: Option<&str>) -> Result<String, Failure> {
        if self.start != Some(Place::Now) {
            return Ok(start::stored_text(self.start.unwrap_or(Place::Earliest)));
        }
        let offset = match stored.and_then(start::stored_now) {
            Some(offset) => offset,
            None => self.context.log.reader(Stream::Transactions).await?.bounds().await?.end,
        };
        self.begin = Place::Offset(offset);
        Ok(start::now_at(offset))
    }

    /// Writes over one connection; `true` when apply is done.
    async fn write(&mut self, session: D::Session, attached: &Attached) -> Result<bool, Failure> {
        self.align(&session, attached).await?;
        self.report.attached(attached);
        tracing::info!(epoch = attached.epoch, "writing to the target");
        let shutdown = self.shutdown.clone();
        let buffer = Arc::clone(&self.context.buffer);
        let at = attached.mark.as_ref();
        let reached = at.map(|mark| mark.position);
        let chosen = self.start.map(start::stored_text);
        let start = attached.start.clone().or(chosen);
        let earliest = start.is_none_or(|start| start == start::stored_text(Place::Earliest));
        let mut log_ended = None;
        let mut silence = Silence { ears: session.ears(), report: self.report.clone(), looks: 0 };
        let ended = {
            let feed = self.feed.as_mut().expect("align starts the feed");
            let writer =
                Writer::new(&mut self.context, session, reached, earliest, shutdown.clone());
            let mut writing = std::pin::pin!(writer.run(at));
            loop {
                tokio::select! {
                    ended = &mut writing => break ended,
                    failure = feed.ended() => {
                        if ends_at_once(&failure) {
                            return Err(failure);
                        }
                        buffer.close();
                        log_ended = Some(failure);
                    }
                    () = tokio::time::sleep(LOOK) => silence.look(),
                    () = grace(&shutdown) => {
                        tracing::warn!("the target does not answer: leaving its transaction undone");
                        break Ok(Ended::Shutdown);
                    }
                }
            }
        };
        if log_ended.is_some() {
            // The next connection reads on from the buffer's end, and comes to the same end.
            self.feed = None;
        }
        match (ended, log_ended) {
            (Ok(Ended::Finished), Some(failure)) if !shutdown.is_cancelled() => Err(failure),
            (Ok(_), _) => Ok(true),
            (Err(stopped), _) => self.decide(stopped).map(|()| false),
        }
    }

    /// What a stop means; an error ends apply.
    fn decide(&mut self, stopped: Stopped) -> Result<(), Failure> {
        match stopped {
            Stopped::Failure(failure) if failure.disposition().is_tried_again() => {
                tracing::warn!(error = %failure, "connecting to the target again");
                self.report.trouble(Side::Target, &failure);
                Ok(())
            }
            Stopped::Failure(failure) => Err(failure),
            Stopped::Refused { unit, first_offset, refusal } => {
                self.refused(&unit, first_offset, *refusal)
            }
            Stopped::Shared { until, why } => {
                tracing::info!(%why, "transactions that shared a commit are written one by one");
                self.context.care.until = Some(until);
                Ok(())
            }
        }
    }

    /// The target refuses a transaction. Under `exceptions` it is tried once more alone, one row to a
    /// statement, so that the offending change is known; if it fails again it is set aside.
    fn refused(&mut self, unit: &Mark, first_offset: u64, refusal: Refusal) -> Result<(), Failure> {
        let what = format!(
            "the target refuses transaction {} (offsets {first_offset} to {}): {refusal}",
            unit.position,
            unit.next_offset - 1
        );
        if self.settings.config.on_conflict != ConflictPolicy::Exceptions {
            return Err(Failure::new(Code::ApplyConflict, what).remedy(refusal.remedy));
        }
        let care = &mut self.context.care;
        if care.until == Some(unit.place()) {
            tracing::warn!("{what}; it is set aside");
            care.condemned = Some((unit.place(), refusal));
        } else {
            tracing::warn!("{what}; trying it alone");
            care.until = Some(unit.place());
        }
        Ok(())
    }
}

/// Says in the status that the target does not answer, and that it does again.
struct Silence {
    ears: Box<dyn Ears>,
    report: Report,
    /// So many in a row found it silent.
    looks: u32,
}

impl Silence {
    fn look(&mut self) {
        match self.ears.silent_for(PATIENCE) {
            // What was sent after a quiet spell looks silent until it is on the wire.
            Some(failure) if self.looks > 0 => {
                if self.looks == 1 {
                    tracing::warn!(%failure, "waiting for the target");
                    self.report.trouble(Side::Target, &failure);
                }
                self.looks = 2;
            }
            Some(_) => self.looks = 1,
            None => {
                if self.looks > 1 {
                    self.report.recovered(Side::Target);
                }
                self.looks = 0;
            }
        }
    }
}

/// Whether a failure of the feed ends apply wherever it stands. The spool's does: the operator has to
/// see it, and the target may be away or blocked for long.
fn ends_at_once(failure: &Failure) -> bool {
    failure.code == Code::Failpoint || failure.code == Code::ApplySpool
}

/// Opens the spool; a predecessor that is just ending may still hold it for a moment.
async fn open_spool(path: &Path) -> Result<(Spool, Option<Contents>), Failure> {
    let deadline = Instant::now() + SPOOL_PATIENCE;
    loop {
        match blocking(|| Spool::open(path)) {
            Err(failure) if Instant::now() >= deadline => return Err(failure),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            opened => return opened,
        }
    }
}

/// Ends when a shutdown has waited long enough.
async fn grace(shutdown: &Shutdown) {
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}
