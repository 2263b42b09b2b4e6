//! A step with the services in this process.

use lockstep_common::Code;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::service::status::{ApplyStatus, CaptureStatus, LoadState};
use lockstep_servers::Postgres;
use tokio::time::timeout;

use super::{Disruption, Outcome, SETTLE, kill_target_backend, start_work};
use crate::harness::{Ended, Pipeline, Service};
use crate::workload::Run;
use crate::workload::random::RandomWork;

/// Runs the workload while something dies, brings it back, waits until all has arrived, compares.
pub(super) async fn step(
    pipeline: &mut Pipeline,
    work: &Arc<RandomWork>,
    run: Run,
    (disruption, loading): (Disruption, bool),
    postgres: &Postgres,
) -> Result<Outcome> {
    let mut services = Services::start(pipeline, disruption).await?;
    let mut working = start_work(pipeline, work, run);
    match disruption {
        Disruption::Target => {
            let begun =
                |status: &ApplyStatus| status.epoch > 0 && (!loading || status.load.is_some());
            services.apply.until("apply runs", begun).await?;
            kill_target_backend(pipeline, postgres)?;
            services.outcome.target_crashes += 1;
        }
        Disruption::Everything => {
            services.capture.until("capture runs", |status| status.transactions > 0).await?;
            services.crash(pipeline).await?;
        }
        Disruption::Capture(..) | Disruption::Apply(..) => {}
    }
    loop {
        tokio::select! {
            done = &mut working => {
                done.context("the workload panicked")??;
                break;
            }
            again = services.restart_ended(pipeline) => again?,
        }
    }
    if loading {
        services.load(pipeline).await?;
    }
    services.settle(pipeline).await?;
    services.leave(pipeline).await
}

/// Between two commits that a load waits for.
const NUDGE: Duration = Duration::from_millis(100);

struct Services {
    capture: Service<CaptureStatus>,
    apply: Service<ApplyStatus>,
    outcome: Outcome,
}

impl Services {
    async fn start(pipeline: &mut Pipeline, disruption: Disruption) -> Result<Self> {
        let (capture, apply) = match disruption {
            Disruption::Capture(name, n) => (FailPoints::armed(name, n), FailPoints::default()),
            Disruption::Apply(name, n) => (FailPoints::default(), FailPoints::armed(name, n)),
            _ => Default::default(),
        };
        Ok(Services {
            capture: pipeline.start_capture(capture).await?,
            apply: pipeline.start_apply(apply).await?,
            outcome: Outcome::default(),
        })
    }

    /// Drops both where they stand and starts them again over a log opened anew.
    async fn crash(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        self.capture.crash().await;
        self.apply.crash().await;
        pipeline.close_log();
        self.capture = pipeline.start_capture(FailPoints::default()).await?;
        self.apply = pipeline.start_apply(FailPoints::default()).await?;
        self.outcome.crashes += 2;
        Ok(())
    }

    /// Waits for a service to end, which must be its crash, and starts it again.
    async fn restart_ended(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        tokio::select! {
            ended = self.capture.ended_whenever() => {
                crashed(ended?)?;
                self.capture = pipeline.start_capture(FailPoints::default()).await?;
            }
            ended = self.apply.ended_whenever() => {
                crashed(ended?)?;
                self.apply = pipeline.start_apply(FailPoints::default()).await?;
            }
        }
        self.outcome.crashes += 1;
        Ok(())
    }

    /// Waits until the load is done, with the source going on.
    async fn load(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        let mut nudge = pipeline.nudge();
        let done = async {
            loop {
                match self.apply.status().load.map(|load| load.state) {
                    Some(LoadState::Done) => return Ok(()),
                    Some(LoadState::Converging) => nudge.give().await?,
                    _ => {}
                }
                let next = tokio::time::Instant::now() + NUDGE;
                let mut status = self.apply.watch();
                let done = |status: &ApplyStatus| {
                    status.load.as_ref().is_some_and(|load| load.state == LoadState::Done)
                };
                tokio::select! {
                    again = self.restart_ended(pipeline) => again?,
                    _ = tokio::time::timeout_at(next, status.wait_for(done)) => {}
                }
            }
        };
        match timeout(SETTLE, done).await {
            Ok(done) => done,
            Err(_) => {
                let (capture, apply) = (self.capture.status(), self.apply.status());
                anyhow::bail!("the load is not done: {capture:#?} {apply:#?}");
            }
        }
    }

    /// Waits until everything committed is in the target, then compares.
    async fn settle(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        let newest = pipeline.await_captured_by_source().await?;
        let arrive = async {
            loop {
                let mut status = self.apply.watch();
                let arrived = status.wait_for(|s| s.position.source() >= newest.0.as_slice());
                tokio::select! {
                    biased;
                    // An apply that ended has dropped its status: the other branch says why.
                    Ok(_) = arrived => return Ok(()),
                    again = self.restart_ended(pipeline) => again?,
                }
            }
        };
        match timeout(SETTLE, arrive).await {
            Ok(arrived) => arrived.map_err(|error: anyhow::Error| error)?,
            Err(_) => {
                let (capture, apply) = (self.capture.status(), self.apply.status());
                anyhow::bail!("{newest} did not arrive: {capture:#?} {apply:#?}");
            }
        }
        pipeline.compare("target").await
    }

    /// Stops both; a fail point may still be in the way of leaving.
    async fn leave(mut self, _: &mut Pipeline) -> Result<Outcome> {
        for ended in [self.capture.stop().await?, self.apply.stop().await?] {
            if ended.0.is_err() {
                crashed(ended)?;
                self.outcome.crashes += 1;
            }
        }
        Ok(self.outcome)
    }
}

/// Fails unless a service ended at a fail point.
fn crashed(ended: Ended) -> Result<()> {
    ensure!(
        matches!(&ended.0, Err(failure) if failure.code == Code::Failpoint),
        "a service ended by itself: {:?}",
        ended.0
    );
    Ok(())
}
