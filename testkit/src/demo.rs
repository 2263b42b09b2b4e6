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
use tokio::task::JoinHandle;
use tokio::time;

use crate::history::{History, Lsn};
use crate::oracle::{Observer, ObserverOptions, Target};
use crate::session::{Session, Tally};
use crate::source::Source;
use crate::workload::order_entry::{OrderEntry, conditions::CONDITIONS};
use crate::workload::{self, Run, Workload};

use disruption::Disruptions;
pub use options::Options;
use servers::Servers;
use services::Services;
pub use verdict::Verdict;
use view::View;

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
    let view = View::new();
    view.event("starting servers");
    let mut servers = Servers::start(&options)?;
    let work = Arc::new(OrderEntry::new(options.scale));
    let history = History::new(work.tables());
    let tally = Arc::new(Tally::default());
    servers.describe(&view);
    workload::install(&servers.source, history.tables()).await?;
    if servers.has_private_source() {
        workload::hasten_capture(&servers.source).await?;
    }

    let mut services = Services::start(&options, &servers)?;
    services.describe(&view);
    let observer = observe(&servers, &history)?;

    view.event("filling the tables");
    let mut filler =
        Session::new(POPULATING, servers.source.clone(), Arc::clone(&history), Arc::clone(&tally));
    workload::populate(work.as_ref(), options.seed, &mut filler).await?;

    let stop = Shutdown::new();
    let sessions = start_sessions(&options, work, &servers.source, &history, &tally, &stop);
    let disruptions =
        disturb(&options, &view, &tally, &observer, &mut servers, &mut services, &sessions).await?;
    stop.cancel();
    sessions.await.context("the workload panicked")??;

    view.event("the workload has ended; waiting until everything has arrived");
    let committed = tally.committed.load(Ordering::Relaxed);
    let newest = learn_all(&servers.source, &history, committed).await?;
    view.begin_draining();
    let arrived = drain(&view, &tally, &observer, &mut services, newest).await;

    let mut observer = observer.stop().await?;
    view.event("comparing every table value by value");
    let rows = observer.compare_all().await?;
    let left_cleanly = services.stop();
    view.finish();
    Ok(Verdict {
        tables: history.tables().len(),
        rows,
        committed,
        rolled_back: tally.rolled_back.load(Ordering::Relaxed),
        deadlocks: tally.deadlocks.load(Ordering::Relaxed),
        observations: observer.observations().clone(),
        conditions: CONDITIONS.len() + 1,
        disruptions,
        failures: [arrived.err(), left_cleanly.err()].into_iter().flatten().collect(),
        seed: options.seed,
    })
}

/// An observer at work beside everything else.
struct Observing {
    stop: Shutdown,
    task: JoinHandle<Observer>,
    seen: tokio::sync::watch::Receiver<crate::oracle::Observations>,
}

impl Observing {
    async fn stop(self) -> Result<Observer> {
        self.stop.cancel();
        self.task.await.context("the observer panicked")
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

fn start_sessions(
    options: &Options,
    work: Arc<OrderEntry>,
    source: &Source,
    history: &Arc<History>,
    tally: &Arc<Tally>,
    stop: &Shutdown,
) -> JoinHandle<Result<()>> {
    let run = Run {
        sessions: options.sessions,
        seed: options.seed,
        rate: Some(options.rate),
        limit: None,
        first_session: POPULATING + 1,
    };
    let (source, history, tally) = (source.clone(), Arc::clone(history), Arc::clone(tally));
    tokio::spawn(workload::run(work, source, history, tally, run, stop.clone()))
}

/// Lets the time of the workload pass, with everything that goes wrong in it.
async fn disturb(
    options: &Options,
    view: &View,
    tally: &Tally,
    observer: &Observing,
    servers: &mut Servers,
    services: &mut Services,
    sessions: &JoinHandle<Result<()>>,
) -> Result<Vec<String>> {
    let began = Instant::now();
    let mut disruptions = Disruptions::plan(options, servers, services);
    let mut ticks = time::interval(view.interval());
    while began.elapsed() < options.duration() {
        ticks.tick().await;
        if sessions.is_finished() {
            // It never ends by itself: the caller finds out why.
            break;
        }
        disruptions.due(began.elapsed(), view, servers, services)?;
        services.check()?;
        let statuses = services.statuses().await;
        view.show(began.elapsed(), options.duration(), tally, &statuses, &observer.seen.borrow());
    }
    disruptions.end(view, servers, services)
}

/// Waits until the source's own change tables have all that was committed, and returns the position
/// of the last of it.
async fn learn_all(source: &Source, history: &History, committed: u64) -> Result<Lsn> {
    let deadline = Instant::now() + DRAIN;
    let mut connection = source.connect().await?;
    loop {
        let newest = history.learn(&mut connection).await?;
        if u64::try_from(history.committed()).is_ok_and(|known| known >= committed) {
            return Ok(newest);
        }
        if Instant::now() > deadline {
            bail!(
                "the source's capture job has published {} of {committed} transactions; \
                 is SQL Server Agent running?",
                history.committed()
            );
        }
        time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the target has shown the newest position to the observer.
async fn drain(
    view: &View,
    tally: &Tally,
    observer: &Observing,
    services: &mut Services,
    newest: Lsn,
) -> Result<(), String> {
    let began = Instant::now();
    let mut seen = observer.seen.clone();
    while seen.borrow().position < newest {
        services.check().map_err(|error| format!("{error:#}"))?;
        if began.elapsed() > DRAIN {
            let at = seen.borrow().position;
            return Err(format!(
                "the target stands at {at} and the source at {newest} after {DRAIN:?}:\n{}",
                services.output()
            ));
        }
        let statuses = services.statuses().await;
        view.show(began.elapsed(), DRAIN, tally, &statuses, &seen.borrow());
        // A new observation, or a look at the programs now and then.
        let _ = time::timeout(view.interval(), seen.changed()).await;
    }
    Ok(())
}
