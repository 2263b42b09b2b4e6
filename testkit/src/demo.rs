//! The demo: a database with rows in it and work going on, the real programs as child processes, a
//! full load, an outage of PostgreSQL, SIGKILL for each process of the pipeline, and a verdict.
//!
//! ```text
//!  workload ──► SQL Server (or the double) ──► lockstep ──► PostgreSQL ◄── observer
//!      └────────────── what each transaction did ───────────────────────────┘
//! ```

mod disruption;
mod load;
mod objects;
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
use indicatif::HumanCount;
use lockstep_common::Shutdown;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time;

use crate::harness::Statements;
use crate::history::{History, Lsn, Tag};
use crate::oracle::{Observations, Observer, ObserverOptions, Target};
use crate::session::{Session, Tally};
use crate::workload::order_entry::{OrderEntry, SHAPE, conditions::CONDITIONS};
use crate::workload::{self, Run, Workload, archive};

use disruption::Disruptions;
pub use options::Options;
use servers::Servers;
use services::Services;
pub(crate) use status::ask;
pub use verdict::Verdict;
use view::{Progress, Scene, View};

/// The pipeline's name.
const PIPELINE: &str = "demo";
/// Number of the session that fills the tables.
const POPULATING: i64 = 0;
/// Number of the session that commits the last transaction.
const MARKING: i64 = 1;
/// The longest time that arriving may take after the workload has ended, beyond what it ran.
const DRAIN: Duration = Duration::from_secs(120);

/// Runs the demo from beginning to end.
///
/// # Errors
/// When a server or a program cannot be run; a wrong state in the target is no error but a verdict.
pub async fn run(options: Options) -> Result<Verdict> {
    let work = Arc::new(OrderEntry::new(options.scale));
    let setting = Setting::prepare(options, work.as_ref()).await?;
    let stop = Shutdown::new();
    let sessions = setting.start_sessions(work, &stop);
    let in_archive = setting.start_archive_work(&stop);
    let mut stage = setting.start_pipeline()?;

    let (load, mut disruptions) = stage.load(&sessions).await?;
    disruptions.extend(stage.play(&sessions).await?);
    stop.cancel();
    sessions.await.context("the workload panicked")??;
    in_archive.await.context("the work in the archive panicked")??;

    stage.view.event("the workload has ended; waiting until everything has arrived");
    let last = stage.mark().await?;
    let newest = stage.learn_all().await?;
    stage.view.event(&format!("the source's last transaction is {last:?} at {newest}"));
    let arrived = stage.drain(newest).await;
    stage.judge(load, disruptions, arrived).await
}

/// The servers, with rows in the source and work to come; no pipeline yet.
struct Setting {
    options: Options,
    view: View,
    servers: Servers,
    history: Arc<History>,
    tally: Arc<Tally>,
}

impl Setting {
    async fn prepare(options: Options, work: &OrderEntry) -> Result<Setting> {
        let view = View::new();
        view.event("starting servers");
        let servers = Servers::start(&options)?;
        servers.describe(&view);
        let history = History::new(work.tables());
        let shape: Vec<String> = SHAPE.iter().map(|sql| (*sql).to_owned()).collect();
        workload::install_with(&servers.source, history.tables(), &shape).await?;
        view.event(&format!(
            "filling the tables: {} rows in the largest",
            HumanCount(options.rows)
        ));
        let said = std::cell::Cell::new(Instant::now());
        let tell = |rows| {
            if said.get().elapsed() > Duration::from_secs(3) {
                said.set(Instant::now());
                view.event(&format!("{} rows", HumanCount(rows)));
            }
        };
        archive::install(&servers.source, options.rows, tell).await?;
        if servers.has_private_source() {
            workload::hasten_capture(&servers.source).await?;
        }
        let tally = Arc::new(Tally::default());
        let setting = Setting { options, view, servers, history, tally };
        workload::populate(work, setting.options.seed, &mut setting.session(POPULATING)).await?;
        Ok(setting)
    }

    fn session(&self, number: i64) -> Session {
        let (source, history) = (self.servers.source.clone(), Arc::clone(&self.history));
        Session::new(number, source, history, Arc::clone(&self.tally))
    }

    fn start_sessions(&self, work: Arc<OrderEntry>, stop: &Shutdown) -> JoinHandle<Result<()>> {
        let run = Run {
            sessions: self.options.sessions,
            seed: self.options.seed,
            rate: Some(self.options.rate),
            limit: None,
            first_session: MARKING + 1,
        };
        let (source, history) = (self.servers.source.clone(), Arc::clone(&self.history));
        let tally = Arc::clone(&self.tally);
        tokio::spawn(workload::run(work, source, history, tally, run, stop.clone()))
    }

    fn start_archive_work(&self, stop: &Shutdown) -> JoinHandle<Result<u64>> {
        let (source, options) = (self.servers.source.clone(), &self.options);
        tokio::spawn(archive::work(source, options.rows, options.seed, stop.clone()))
    }

    fn start_pipeline(self) -> Result<Stage> {
        let services = Services::start(&self.options, &self.servers)?;
        services.describe(&self.view);
        let observing = observe(&self.servers, &self.history)?;
        let Setting { options, view, servers, history, tally } = self;
        Ok(Stage { options, view, services, observing, servers, history, tally })
    }
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
    /// One more transaction, which is the last: everything else, recorded or not, lies before it.
    async fn mark(&self) -> Result<Tag> {
        let (source, history) = (self.servers.source.clone(), Arc::clone(&self.history));
        let mut session = Session::new(MARKING, source, history, Arc::clone(&self.tally));
        session.run(&Statements::new()).await?;
        Ok(Tag { session: MARKING, n: 1 })
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
            self.show("workload", Progress::Time { elapsed: began.elapsed(), whole }).await;
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
            let progress = Progress::Time { elapsed: began.elapsed(), whole: DRAIN };
            self.show("arriving", progress).await;
            // A new observation, or a look at the programs now and then.
            let _ = time::timeout(view::INTERVAL, seen.changed()).await;
        }
        Ok(())
    }

    /// Compares everything at rest, stops the programs and says what was proved.
    async fn judge(
        mut self,
        load: String,
        disruptions: Vec<String>,
        arrived: Result<(), String>,
    ) -> Result<Verdict> {
        self.observing.stop.cancel();
        let committed = self.committed();
        let mut observer = self.observing.task.await.context("the observer panicked")?;
        self.view.event("comparing every table value by value");
        let rows = observer.compare_all().await?;
        let target = Target::new(&self.servers.target_url, PIPELINE)?.snapshot().await?;
        let mut source = self.servers.source.connect().await?;
        let large = load::compare_archive(&mut source, &target).await?;
        let mut tables = self.history.tables().to_vec();
        tables.extend(archive::tables());
        let objects = objects::compare(&mut source, &target, &tables).await?;
        drop(target);
        let left_cleanly = self.services.stop();
        self.view.finish();
        let ends = [arrived.err(), left_cleanly.err(), large.different];
        Ok(Verdict {
            tables: tables.len(),
            rows,
            large_rows: large.rows,
            objects: objects.equal,
            load,
            committed,
            rolled_back: self.tally.rolled_back.load(Ordering::Relaxed),
            deadlocks: self.tally.deadlocks.load(Ordering::Relaxed),
            observations: observer.observations().clone(),
            conditions: CONDITIONS.len() + 1,
            disruptions,
            failures: ends.into_iter().flatten().chain(objects.different).collect(),
            seed: self.options.seed,
        })
    }

    fn committed(&self) -> u64 {
        self.tally.committed.load(Ordering::Relaxed)
    }

    async fn show(&self, phase: &'static str, progress: Progress) {
        let statuses = self.services.statuses().await;
        self.view.show(&Scene {
            phase,
            progress,
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
