//! Seeded chaos: a random workload over random tables, services that die at random named fail
//! points, a target that dies too, and the oracle after every step.
//!
//! A seed decides the tables, the transactions of every session, and what dies at which fail point;
//! threads and servers decide the rest. With [`What::Loads`] it decides the load's settings too, the
//! tables hold rows before the pipeline comes, and something dies while they are copied. `lockstep-chaos --seed N` runs one again.

mod load;
mod processes;
mod services;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lockstep_apply::failpoints;
use lockstep_capture::fail_points;
use lockstep_common::{Shutdown, config};
use lockstep_servers::{Postgres, PostgresOptions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::harness::{LogKind, Pipeline};
use crate::oracle::Observer;
use crate::workload::random::RandomWork;
use crate::workload::{self, Run, Workload};

/// How a service is run, and so how it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In this process: a fail point drops it where it stands.
    InProcess,
    /// As the real programs: a fail point is SIGKILL.
    Processes,
}

/// What the pipeline is at when things die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It follows changes from the first on.
    Changes,
    /// It loads tables, and follows changes meanwhile and after that.
    Loads,
}

/// What chaos is made over.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The task.
    pub what: What,
    /// The log.
    pub log: LogKind,
    /// The services.
    pub how: How,
    /// Steps of a seed; each has its crash and ends with everything arrived and compared.
    pub steps: u32,
    /// Transactions of each of two sessions in a step.
    pub transactions: u64,
}

/// What a seed did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Source transactions committed.
    pub transactions: u64,
    /// Services that died.
    pub crashes: u64,
    /// Times the target died.
    pub target_crashes: u64,
    /// Snapshots judged.
    pub snapshots: u64,
    /// Different positions among them.
    pub positions: u64,
    /// Snapshots of targets that were converging.
    pub converging: u64,
}

impl Outcome {
    /// Both together.
    pub fn and(self, other: Outcome) -> Outcome {
        Outcome {
            transactions: self.transactions + other.transactions,
            crashes: self.crashes + other.crashes,
            target_crashes: self.target_crashes + other.target_crashes,
            snapshots: self.snapshots + other.snapshots,
            positions: self.positions + other.positions,
            converging: self.converging + other.converging,
        }
    }
}

/// What dies in a step.
#[derive(Clone, Copy, Debug)]
enum Disruption {
    /// Capture at the n-th hit of a fail point.
    Capture(&'static str, u64),
    /// Apply likewise.
    Apply(&'static str, u64),
    /// PostgreSQL loses a server process to SIGKILL and recovers from its log.
    Target,
    /// Both services are dropped at once, wherever they are.
    Everything,
}

const SESSIONS: usize = 2;

const CAPTURE_POINTS: [&str; 5] = [
    fail_points::WINDOW_PLANNED,
    fail_points::FRAGMENT_APPENDED,
    fail_points::COMMIT_BEFORE,
    fail_points::COMMIT_AFTER,
    fail_points::EPOCH_WRITTEN,
];

const CAPTURE_LOAD_POINTS: [&str; 9] = [
    fail_points::LOAD_CHUNK_BEGUN,
    fail_points::LOAD_ROWS_APPENDED,
    fail_points::LOAD_CHUNK_ENDED,
    fail_points::LOAD_TABLE_READ,
    fail_points::LOAD_COMMIT_BEFORE,
    fail_points::LOAD_COMMIT_AFTER,
    fail_points::LOAD_FROZEN,
    fail_points::LOAD_CLOCK_TAKEN,
    fail_points::LOAD_END_APPENDED,
];

impl Disruption {
    /// What dies; while tables are loaded, mostly at the points that only a load comes by.
    fn draw(rng: &mut StdRng, loading: bool) -> Self {
        let n = if rng.random_ratio(1, 2) { 1 } else { rng.random_range(2..12) };
        let mut point = |all: &[&'static str], of_loads: &[&'static str]| {
            let points = if loading && rng.random_ratio(3, 4) { of_loads } else { all };
            *points.choose(rng).expect("there are some")
        };
        let capture = point(&CAPTURE_POINTS, &CAPTURE_LOAD_POINTS);
        let apply = point(&failpoints::ALL, &failpoints::LOAD);
        match rng.random_range(0..10) {
            0..4 => Disruption::Capture(capture, n),
            4..8 => Disruption::Apply(apply, n),
            8 => Disruption::Target,
            _ => Disruption::Everything,
        }
    }
}

/// A PostgreSQL that chaos may kill; seeds that run one after another share it.
///
/// # Errors
/// When it does not start.
pub fn postgres() -> Result<Arc<Postgres>> {
    // Flushing: a killed server must find again what it confirmed as flushed.
    Ok(Arc::new(Postgres::start(PostgresOptions { fsync: true, settings: Vec::new() })?))
}

/// Runs one seed.
///
/// # Errors
/// With the seed in it, when anything the oracle saw was wrong or something did not arrive.
pub async fn run(seed: u64, options: Options, postgres: Arc<Postgres>) -> Result<Outcome> {
    let result = run_seed(seed, options, postgres).await;
    result
        .with_context(|| format!("chaos of seed {seed} over {:?}, {:?}", options.log, options.how))
}

async fn run_seed(seed: u64, options: Options, postgres: Arc<Postgres>) -> Result<Outcome> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut pipeline, work) = match options.what {
        What::Changes => {
            let work = RandomWork::new(seed, SESSIONS);
            let builder = Pipeline::builder(options.log, work.tables());
            let builder = builder.apply(|apply| apply.start = Some("earliest".to_owned()));
            (builder.postgres(Arc::clone(&postgres)).build().await?, work)
        }
        What::Loads => load::pipeline(seed, options.log, &postgres, &mut rng).await?,
    };
    pipeline.change_apply("target", |apply| share_commits(seed, apply))?;
    let mut filler = pipeline.session();
    workload::populate(&work, seed, &mut filler).await?;
    let work = Arc::new(work);

    let stop = Shutdown::new();
    let observing = tokio::spawn(pipeline.new_observer("target")?.run(stop.clone()));
    let mut outcome = Outcome::default();
    let mut result = Ok(());
    for step in 0..options.steps {
        let loading = options.what == What::Loads && step == 0;
        let disruption = Disruption::draw(&mut rng, loading);
        // A load is longer than a step of changes: there is to be work all the while.
        let longer = if loading { 3 } else { 1 };
        let run = Run {
            sessions: SESSIONS,
            seed: rng.random(),
            rate: None,
            limit: Some(options.transactions * longer),
            first_session: pipeline.session_numbers(SESSIONS),
        };
        let stepped = match options.how {
            How::InProcess => {
                services::step(&mut pipeline, &work, run, (disruption, loading), &postgres).await
            }
            How::Processes => {
                processes::step(&mut pipeline, &work, run, (disruption, loading), &postgres).await
            }
        };
        match stepped.with_context(|| format!("step {step}, {disruption:?}")) {
            Ok(crashed) => outcome = outcome.and(crashed),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    stop.cancel();
    judge(observing.await.context("the observer panicked")?, &mut outcome)?;
    result?;
    outcome.transactions = u64::try_from(pipeline.history().committed())?;
    Ok(outcome)
}

/// A third of the seeds each: a commit a transaction, shared commits, and those over several
/// connections.
fn share_commits(seed: u64, apply: &mut config::Apply) {
    let (group_commit, connections) = match seed % 3 {
        0 => (1, 1),
        1 => (50, 1),
        _ => (5, 3),
    };
    apply.group_commit = NonZeroU32::new(group_commit).expect("at least one");
    apply.connections = NonZeroUsize::new(connections).expect("at least one");
}

fn judge(observer: Observer, outcome: &mut Outcome) -> Result<()> {
    let seen = observer.observations();
    ensure!(seen.findings.is_empty(), "the observer saw {:#?}", seen.findings);
    outcome.snapshots = seen.snapshots;
    outcome.positions = seen.positions;
    outcome.converging = seen.converging;
    Ok(())
}

/// The workload of one step, on its own task.
fn start_work(
    pipeline: &Pipeline,
    work: &Arc<RandomWork>,
    run: Run,
) -> tokio::task::JoinHandle<Result<()>> {
    tokio::spawn(workload::run(
        Arc::clone(work),
        pipeline.source().clone(),
        Arc::clone(pipeline.history()),
        Arc::clone(pipeline.tally()),
        run,
        Shutdown::new(),
    ))
}

/// SIGKILL to a server process of the target's: PostgreSQL drops every connection and recovers.
fn kill_target_backend(pipeline: &Pipeline, postgres: &Postgres) -> Result<()> {
    let database = pipeline.target_database_name("target")?;
    let pids = postgres.psql(
        &database,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name LIKE 'lockstep-apply%' LIMIT 1",
    )?;
    let Some(pid) = pids.trim().parse::<i32>().ok().and_then(rustix::process::Pid::from_raw) else {
        // Apply is between two connections: there is nothing to kill.
        return Ok(());
    };
    match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("kill a server process of PostgreSQL"),
    }
}

/// How long everything may take to arrive in a step.
const SETTLE: Duration = Duration::from_secs(90);
