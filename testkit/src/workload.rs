//! Work for the source: tables, transactions, and sessions that run them at once.

pub mod archive;
pub mod literal;
pub mod order_entry;
pub mod random;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lockstep_common::Shutdown;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior};

use crate::history::History;
use crate::session::{Plan, Session, Tally};
use crate::shape::Table;
use crate::source::{Source, SourceError};

/// How long a session waits before it asks again for a source that is away.
const SOURCE_AWAY: Duration = Duration::from_millis(100);

/// A kind of work.
pub trait Workload: Send + Sync + 'static {
    /// One transaction of it.
    type Plan: Plan + 'static;

    /// Its tables.
    fn tables(&self) -> Vec<Table>;

    /// Transactions that fill the tables, to be run one after another by one session.
    fn initial(&self, rng: &mut StdRng) -> Vec<Self::Plan>;

    /// The next transaction of the session in `slot` (from 0, below the number of sessions).
    fn next(&self, slot: usize, rng: &mut StdRng) -> Self::Plan;
}

/// How to run a workload.
#[derive(Clone, Debug)]
pub struct Run {
    /// Sessions at once.
    pub sessions: usize,
    /// Makes plans repeatable: each session draws from its own generator.
    pub seed: u64,
    /// Transactions a second over all sessions; none is as fast as it goes.
    pub rate: Option<f64>,
    /// Transactions each session runs; none is until stopped.
    pub limit: Option<u64>,
    /// Number of the first session. Numbers are never used twice in one history.
    pub first_session: i64,
}

/// Makes the database where it is absent, turns CDC on and makes the tables, dropping what another
/// run left.
///
/// # Errors
/// When the server refuses.
pub async fn install(source: &Source, tables: &[Table]) -> Result<()> {
    install_with(source, tables, &[]).await
}

/// The same; the statements of `shape` are run between the tables and their capture instances,
/// because each of them would be DDL on a captured table after that.
///
/// # Errors
/// When the server refuses.
pub async fn install_with(source: &Source, tables: &[Table], shape: &[String]) -> Result<()> {
    create_database(source).await?;
    let mut db = source.connect().await.context("connect to the source database")?;
    let name = literal::text(&source.database);
    let enabled =
        format!("SELECT CAST(is_cdc_enabled AS int) FROM sys.databases WHERE name = {name}");
    if db.integer(&enabled).await? != Some(1) {
        db.run("EXEC sys.sp_cdc_enable_db").await.context("turn CDC on")?;
    }
    for table in tables {
        let id = format!("SELECT OBJECT_ID(N'dbo.{}')", table.name);
        if db.integer(&id).await?.is_some() {
            db.run(&format!("DROP TABLE dbo.[{}]", table.name)).await?;
        }
        db.run(&table.create_sql()).await.with_context(|| format!("create {}", table.name))?;
    }
    for statement in shape {
        db.run(statement).await.with_context(|| statement.clone())?;
    }
    for table in tables {
        db.run(&table.enable_cdc_sql()).await.with_context(|| format!("capture {}", table.name))?;
    }
    Ok(())
}

/// Makes the database's capture job scan without pauses, instead of every five seconds. For
/// databases of our own: an operator's job is not ours to change.
///
/// # Errors
/// When the server refuses.
pub async fn hasten_capture(source: &Source) -> Result<()> {
    let mut db = source.connect().await?;
    // A changed job takes the change up when it is started next.
    for call in [
        "sp_cdc_change_job @job_type = N'capture', @pollinginterval = 0",
        "sp_cdc_stop_job @job_type = N'capture'",
        "sp_cdc_start_job @job_type = N'capture'",
    ] {
        db.run(&format!("EXEC sys.{call}")).await.with_context(|| call.to_owned())?;
    }
    Ok(())
}

async fn create_database(source: &Source) -> Result<()> {
    let mut master =
        source.with_database("master").connect().await.context("connect to the source server")?;
    let name = literal::text(&source.database);
    let id = format!("SELECT database_id FROM sys.databases WHERE name = {name}");
    if master.integer(&id).await?.is_none() {
        let quoted = source.database.replace(']', "]]");
        master.run(&format!("CREATE DATABASE [{quoted}]")).await?;
    }
    Ok(())
}

/// Fills the tables.
///
/// # Errors
/// When the source refuses a statement.
pub async fn populate<W: Workload>(workload: &W, seed: u64, session: &mut Session) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    for plan in workload.initial(&mut rng) {
        session.run(&plan).await?;
    }
    Ok(())
}

/// Runs `workload` until its limit or until stopped; returns when every session has left. A source
/// that is away is waited for.
///
/// # Errors
/// When the source refuses a statement: the workload is written so that it never does.
pub async fn run<W: Workload>(
    workload: Arc<W>,
    source: Source,
    history: Arc<History>,
    tally: Arc<Tally>,
    run: Run,
    stop: Shutdown,
) -> Result<()> {
    let mut sessions = JoinSet::new();
    for (slot, id) in (0..run.sessions).zip(run.first_session..) {
        let session = Session::new(id, source.clone(), Arc::clone(&history), Arc::clone(&tally));
        sessions.spawn(run_session(
            Arc::clone(&workload),
            slot,
            session,
            run.clone(),
            stop.clone(),
        ));
    }
    while let Some(done) = sessions.join_next().await {
        // The first failure drops the set, which stops the others.
        done.context("a session panicked")??;
    }
    Ok(())
}

async fn run_session<W: Workload>(
    workload: Arc<W>,
    slot: usize,
    mut session: Session,
    run: Run,
    stop: Shutdown,
) -> Result<()> {
    // Odd multipliers keep the generators of neighbouring seeds and slots apart.
    let mut rng = StdRng::seed_from_u64(
        run.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ session.id().unsigned_abs().wrapping_mul(0xD1B5_4A32_D192_ED03),
    );
    let mut ticks = run.rate.map(|rate| {
        let period = f64::from(u32::try_from(run.sessions).unwrap_or(u32::MAX)) / rate.max(0.001);
        let mut ticks = time::interval(Duration::from_secs_f64(period));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let mut done = 0;
    while !stop.is_cancelled() && run.limit.is_none_or(|limit| done < limit) {
        if let Some(ticks) = &mut ticks {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
        }
        let plan = workload.next(slot, &mut rng);
        while let Err(error) = session.run(&plan).await {
            let away = error.downcast_ref::<SourceError>().is_some_and(SourceError::is_disconnect);
            if !away {
                return Err(error);
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            time::sleep(SOURCE_AWAY).await;
        }
        done += 1;
    }
    Ok(())
}
