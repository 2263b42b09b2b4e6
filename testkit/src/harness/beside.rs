//! What goes on beside a test: work on the source, and the observer of a target.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lockstep_common::Shutdown;
use tokio::task::JoinHandle;

use super::{DEADLINE, Pipeline};
use crate::oracle::{Observations, Observer};
use crate::session::Tally;
use crate::workload::{self, Run, Workload};

/// Transactions a second: every one is a row more in the ledger, which a load in small chunks has to
/// come to the end of.
const RATE: f64 = 30.0;

/// Sessions at work until they are stopped.
#[derive(Debug)]
pub struct Working {
    stop: Shutdown,
    task: JoinHandle<Result<()>>,
    tally: Arc<Tally>,
}

impl Working {
    /// Waits until they have committed `more` transactions.
    ///
    /// # Errors
    /// When they do not in time, or a statement was refused.
    pub async fn commit(&mut self, more: u64) -> Result<()> {
        let committed = || self.tally.committed.load(Ordering::Relaxed);
        let (wanted, deadline) = (committed() + more, Instant::now() + DEADLINE);
        while committed() < wanted {
            ensure!(Instant::now() < deadline, "the work does not go on");
            ensure!(!self.task.is_finished(), "the work has ended: {:?}", (&mut self.task).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When a statement was refused.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await.context("the work panicked")?
    }
}

/// An observer at work.
#[derive(Debug)]
pub struct Watching {
    stop: Shutdown,
    task: JoinHandle<Observer>,
}

impl Watching {
    /// Ends it; returns what it has seen.
    ///
    /// # Errors
    /// When it has seen what must never be.
    pub async fn stop(self) -> Result<Observations> {
        self.stop.cancel();
        let seen = self.task.await.context("the observer panicked")?.observations().clone();
        ensure!(seen.findings.is_empty(), "the observer saw {:#?}", seen.findings);
        Ok(seen)
    }
}

impl Pipeline {
    /// Starts `sessions` sessions of `work` on the source.
    pub fn start_work<W: Workload>(
        &mut self,
        work: &Arc<W>,
        sessions: usize,
        seed: u64,
    ) -> Working {
        let stop = Shutdown::new();
        let run = Run {
            sessions,
            seed,
            rate: Some(RATE),
            limit: None,
            first_session: self.session_numbers(sessions),
        };
        let tally = Arc::clone(self.tally());
        let task = tokio::spawn(workload::run(
            Arc::clone(work),
            self.source().clone(),
            Arc::clone(self.history()),
            Arc::clone(&tally),
            run,
            stop.clone(),
        ));
        Working { stop, task, tally }
    }

    /// Starts an observer of the target `name`.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn start_watching(&self, name: &str) -> Result<Watching> {
        let (observer, stop) = (self.new_observer(name)?, Shutdown::new());
        Ok(Watching { task: tokio::spawn(observer.run(stop.clone())), stop })
    }
}
