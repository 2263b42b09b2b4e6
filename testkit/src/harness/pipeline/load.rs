//! What tests of full loads need of a pipeline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_common::config::Task;
use lockstep_common::service::reload::{Refused, Reloads};
use lockstep_common::service::status::{ApplyStatus, LoadState, LoadStatus};
use uuid::Uuid;

use super::super::servers::is_real_source;
use super::{APPLY, Pipeline};
use crate::harness::{DEADLINE, Service, Statements};
use crate::session::Session;
use crate::source::Source;

/// The table that capture writes to where a test lets it.
pub(super) const SIGNAL_TABLE: &str = "dbo.lockstep_signal";

/// Between two commits that a load waits for.
const NUDGE: Duration = Duration::from_millis(100);

/// What the exact handoff needs of the database.
pub(super) async fn allow_snapshots(source: &Source) -> Result<()> {
    let mut db = source.connect().await?;
    let name = source.database.replace(']', "]]");
    db.run(&format!("ALTER DATABASE [{name}] SET ALLOW_SNAPSHOT_ISOLATION ON")).await?;
    Ok(())
}

/// Makes the signal table, captured like any other.
pub(super) async fn make_signal_table(source: &Source) -> Result<()> {
    let mut db = source.connect().await?;
    db.run("CREATE TABLE dbo.lockstep_signal (id varchar(64) NOT NULL PRIMARY KEY)").await?;
    db.run(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'lockstep_signal', \
         @role_name = NULL, @supports_net_changes = 0",
    )
    .await?;
    Ok(())
}

/// Makes the source go on, so that a load without a signal table can tell that its rows are behind
/// a position of the stream: it commits, and moves the double's clock.
#[derive(Debug)]
pub struct Nudge {
    session: Session,
    source: Source,
}

impl Nudge {
    /// Commits a transaction that nothing depends on, two seconds later by the double's clock.
    ///
    /// # Errors
    /// When the source refuses.
    pub async fn give(&mut self) -> Result<()> {
        if !is_real_source() {
            let mut db = self.source.connect().await?;
            db.run("EXEC [double].set_fault 'clock_advance', '2'").await?;
        }
        self.session.run(&Statements::new()).await.map(drop)
    }
}

impl Pipeline {
    /// Changes the task from the next start of capture on.
    pub fn change_task(&mut self, task: Task) {
        self.task = task;
    }

    /// What makes the source go on.
    pub fn nudge(&mut self) -> Nudge {
        Nudge { session: self.session(), source: self.source().clone() }
    }

    /// Where capture is asked to load a table again.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Loads a table again, once capture can.
    ///
    /// # Errors
    /// When it is refused for another reason than that capture has only just started.
    pub async fn reload(&self, table: &str) -> Result<Uuid> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.reloads.ask(table).await {
                Err(Refused::NotRunning(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// Waits until the first target's load is done, constraints and all, with the source going on.
    ///
    /// # Errors
    /// When the apply ends before, or it is not done in time.
    pub async fn await_loaded(&mut self, apply: &mut Service<ApplyStatus>) -> Result<LoadStatus> {
        self.await_load_state(apply, LoadState::Done).await
    }

    /// The same until the load is in that state or beyond it.
    ///
    /// # Errors
    /// When the apply ends before, or it is not there in time.
    pub async fn await_load_state(
        &mut self,
        apply: &mut Service<ApplyStatus>,
        wanted: LoadState,
    ) -> Result<LoadStatus> {
        let mut nudge = self.nudge();
        let deadline = Instant::now() + DEADLINE;
        let mut status = apply.watch();
        loop {
            let state = status.borrow_and_update().load.as_ref().map(|load| load.state);
            if state.is_some_and(|state| reached(state, wanted)) {
                return status.borrow().load.clone().context("it was there just now");
            }
            // Before that it would only make more rows to load.
            if state == Some(LoadState::Converging) {
                nudge.give().await?;
            }
            let next = tokio::time::Instant::now() + NUDGE;
            let waited = tokio::time::timeout_at(
                next,
                status.wait_for(|s| s.load.as_ref().is_some_and(|l| reached(l.state, wanted))),
            );
            if let Ok(Err(_)) = waited.await {
                // The sender is gone: so is the service.
                let ended = apply.ended().await?;
                bail!("the apply ended before its load was {wanted:?}: {:?}", ended.0);
            }
            if Instant::now() > deadline {
                let apply = apply.status();
                let capture = self.capture_status.as_ref().map(|capture| {
                    let status = capture.borrow();
                    (status.state, status.last_error.clone(), status.load.clone())
                });
                bail!(
                    "the load is not {wanted:?} within {DEADLINE:?}: apply {:?} {:?} {:#?}; \
                     capture {capture:#?}",
                    apply.state,
                    apply.last_error,
                    apply.load
                );
            }
        }
    }

    /// Whether the target holds the rows of the load for good: what it says in its own tables.
    ///
    /// # Errors
    /// When the target is away.
    pub async fn is_loaded(&self, name: &str) -> Result<bool> {
        let snapshot = self.target(name)?.snapshot().await.context("look at the target")?;
        Ok(snapshot.loads() > 0 && snapshot.converging().is_empty())
    }

    /// The first target's.
    ///
    /// # Errors
    /// When the target is away.
    pub async fn is_first_loaded(&self) -> Result<bool> {
        self.is_loaded(APPLY).await
    }
}

fn reached(state: LoadState, wanted: LoadState) -> bool {
    let order = [LoadState::Loading, LoadState::Converging, LoadState::Finishing, LoadState::Done];
    let place = |state| order.iter().position(|s| *s == state);
    place(state) >= place(wanted)
}
