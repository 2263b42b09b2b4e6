//! The demo: order entry on the source, the real programs as child processes, an outage of
//! PostgreSQL, a SIGKILL for each process of the pipeline, and a verdict.
//!
//! ```text
//!  workload ──► SQL Server (or the double) ──► lockstep ──► PostgreSQL ◄── observer
//!      └────────────── what each transaction did ───────────────────────────┘
//! ```

mod disruption;
mod options;
mod servers;
mod services;
mod status;
mod verdict;
mod view;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_common::Shutdown;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time;

use crate::history::{History, Lsn};
use crate::oracle::{Observations, Observer, ObserverOptions, Target};
use crate::session::{Session, Tally};
use crate::workload::order_entry::{OrderEntry, conditions::CONDITIONS};
use crate::workload::{self, Run, Workload};

use disruption::Disruptions;
pub use options::Options;
use servers::Servers;
use services::Services;
pub use verdict::Verdict;
use view::{Scene, View};

/// The pipeline's name.
const PIPELINE: &str = "demo";
/// Number of the session that fills the tables.
const POPULATING: i64 = 0;
/// The longest time that arriving may take after the workload has ended, beyond what it ran.
const DRAIN: Duration = Duration::from_secs(120);

/// Runs the demo from beginning to end.
///
/// # Errors
/// When a server or a program cannot be run; a wrong state in the target is no error but a verdict.
pub async fn run(options: Options) -> Result<Verdict> {
    let work = Arc::new(OrderEntry::new(options.scale));
    let mut stage = Stage::set(options, work.as_ref()).await?;
    stage.view.event("filling the tables");
    let mut filler = stage.filler();
    workload::populate(work.as_ref(), stage.options.seed, &mut filler).await?;

    let stop = Shutdown::new();
    let sessions = stage.start_sessions(work, &stop);
    let disruptions = stage.play(&sessions).await?;
    stop.cancel();
    sessions.await.context("the workload panicked")??;

    stage.view.event("the workload has ended; waiting until everything has arrived");
    let newest = stage.learn_all().await?;
    let arrived = stage.drain(newest).await;
    stage.judge(disruptions, arrived).await
}

/// Everything that runs during the demo.
struct Stage {
    options: Options,
    view: View,
    services: Services,
    observing: Observing,
    servers: Servers,
    history: Arc<History>,
    tally: Arc<Tally>,
}

/// An observer at work beside everything else.
struct Observing {
    stop: Shutdown,
    task: JoinHandle<Observer>,
    seen: watch::Receiver<Observations>,
}

impl Stage {
    /// Starts servers, pipeline and observer, with empty tables on the source.
    async fn set(options: Options, work: &OrderEntry) -> Result<Stage> {
        let view = View::new();
        view.event("starting servers");
        let servers = Servers::start(&options)?;
        servers.describe(&view);
        let history = History::new(work.tables());
        workload::install(&servers.source, history.tables()).await?;
        if servers.has_private_source() {
            workload::hasten_capture(&servers.source).await?;
        }
        let services = Services::start(&options, &servers)?;
        services.describe(&view);
        let observing = observe(&servers, &history)?;
        let tally = Arc::new(Tally::default());
        Ok(Stage { options, view, services, observing, servers, history, tally })
    }

    fn filler(&self) -> Session {
        let (source, history) = (self.servers.source.clone(), Arc::clone(&self.history));
        Session::new(POPULATING, source, history, Arc::clone(&self.tally))
    }

    fn start_sessions(&self, work: Arc<OrderEntry>, stop: &Shutdown) -> JoinHandle<Result<()>> {
        let run = Run {
            sessions: self.options.sessions,
            seed: self.options.seed,
            rate: Some(self.options.rate),
            limit: None,
            first_session: POPULATING + 1,
        };
        let (source, history) = (self.servers.source.clone(), Arc::clone(&self.history));
        let tally = Arc::clone(&self.tally);
        tokio::spawn(workload::run(work, source, history, tally, run, stop.clone()))
    }

    /// Lets the time of the workload pass, with everything that goes wrong in it; returns what did.
    async fn play(&mut self, sessions: &JoinHandle<Result<()>>) -> Result<Vec<String>> {
        let (began, whole) = (Instant::now(), self.options.duration());
        let mut disruptions = Disruptions::plan(&self.options, &self.servers, &self.services);
        let mut ticks = time::interval(view::INTERVAL);
        // Sessions never end by themselves: if they did, the caller finds out why.
        while began.elapsed() < whole && !sessions.is_finished() {
            ticks.tick().await;
            disruptions.due(began.elapsed(), &self.view, &mut self.servers, &mut self.services)?;
            self.services.check()?;
            self.show("workload", began, whole).await;
        }
        disruptions.end(&self.view, &mut self.servers, &mut self.services)
    }

    /// Waits until the source's own change tables have all that was committed, and returns the
    /// position of the last of it.
    async fn learn_all(&self) -> Result<Lsn> {
        let committed = self.committed();
        let deadline = Instant::now() + DRAIN;
        let mut connection = self.servers.source.connect().await?;
        loop {
            let newest = self.history.learn(&mut connection).await?;
            if u64::try_from(self.history.committed()).is_ok_and(|known| known >= committed) {
                return Ok(newest);
            }
            if Instant::now() > deadline {
                bail!(
                    "the source's capture job has published {} of {committed} transactions; \
                     is SQL Server Agent running?",
                    self.history.committed()
                );
            }
            time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the target has shown the newest position to the observer.
    async fn drain(&mut self, newest: Lsn) -> Result<(), String> {
        let began = Instant::now();
        let mut seen = self.observing.seen.clone();
        while seen.borrow().position < newest {
            self.services.check().map_err(|error| format!("{error:#}"))?;
            if began.elapsed() > DRAIN {
                let at = seen.borrow().position;
                return Err(format!(
                    "the target stands at {at} and the source at {newest} after {DRAIN:?}:\n{}",
                    self.services.output()
                ));
            }
            self.show("arriving", began, DRAIN).await;
            // A new observation, or a look at the programs now and then.
            let _ = time::timeout(view::INTERVAL, seen.changed()).await;
        }
        Ok(())
    }

    /// Compares everything at rest, stops the programs and says what was proved.
    async fn judge(
        mut self,
        disruptions: Vec<String>,
        arrived: Result<(), String>,
    ) -> Result<Verdict> {
        self.observing.stop.cancel();
        let committed = self.committed();
        let mut observer = self.observing.task.await.context("the observer panicked")?;
        self.view.event("comparing every table value by value");
        let rows = observer.compare_all().await?;
        let left_cleanly = self.services.stop();
        self.view.finish();
        Ok(Verdict {
            tables: self.history.tables().len(),
            rows,
            committed,
            rolled_back: self.tally.rolled_back.load(Ordering::Relaxed),
            deadlocks: self.tally.deadlocks.load(Ordering::Relaxed),
            observations: observer.observations().clone(),
            conditions: CONDITIONS.len() + 1,
            disruptions,
            failures: [arrived.err(), left_cleanly.err()].into_iter().flatten().collect(),
            seed: self.options.seed,
        })
    }

    fn committed(&self) -> u64 {
        self.tally.committed.load(Ordering::Relaxed)
    }

    async fn show(&self, phase: &'static str, began: Instant, whole: Duration) {
        let statuses = self.services.statuses().await;
        self.view.show(&Scene {
            phase,
            elapsed: began.elapsed(),
            whole,
            tally: &self.tally,
            statuses: &statuses,
            seen: &self.observing.seen.borrow(),
        });
    }
}

fn observe(servers: &Servers, history: &Arc<History>) -> Result<Observing> {
    let observer = Observer::new(ObserverOptions {
        target: Target::new(&servers.target_url, PIPELINE)?,
        source: servers.source.clone(),
        history: Arc::clone(history),
        conditions: CONDITIONS,
        pause: Duration::from_millis(100),
    });
    let (stop, seen) = (Shutdown::new(), observer.watch());
    let task = tokio::spawn(observer.run(stop.clone()));
    Ok(Observing { stop, task, seen })
}
