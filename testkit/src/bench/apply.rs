//! Apply, from an embedded log that is already filled into PostgreSQL, beside the same bytes sent
//! again without anything behind them (the ceiling of the wire), and beside one plain COPY.
//!
//! Every case begins with a database in which its tables have their rows; recording, the measured run
//! and the ceiling each get a copy of it. Time counts from apply's first session to its last commit.

mod delay;
mod wire;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use lockstep_apply::ApplySettings;
use lockstep_common::codec::entry::SchemaEntry;
use lockstep_common::config::{self, Durability, EmbeddedLog};
use lockstep_common::service::status::{ApplyStatus, TaskState};
use lockstep_common::{FailPoints, Position, Shutdown};
use lockstep_log::{Entry, Log, Stream, Writer};
use lockstep_servers::Postgres;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::figures::{Report, per_second};
use super::{Options, row};
use delay::Delayed;
use wire::Recorder;
use work::{Case, Work};

/// How commits are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commits {
    /// One a source transaction, flushed together with others.
    Group,
    /// One a source transaction, each flushed.
    Strict,
    /// One for up to [`SHARED`] source transactions, flushed together with others.
    Shared,
    /// The same on two connections side by side.
    Lanes,
}

/// Delays on the way to the target that some cases are measured with as well: a round trip of 1 and of
/// 5 ms.
const DELAYS: [Duration; 2] = [Duration::from_micros(500), Duration::from_micros(2500)];

/// Source transactions that may share a commit where they do.
const SHARED: u32 = 500;

/// Changes of a transaction that are measured.
const SIZES: [u64; 4] = [1, 10, 100, 1000];
/// The same of the mix: all of its changes once, too.
const MIX_SIZES: [u64; 5] = [1, 5, 10, 100, 1000];

/// Transactions of a size for a full run.
fn transactions(changes: u64) -> u64 {
    (300_000 / changes).clamp(400, 60_000)
}

/// The sizes of a work, and the one that `--only` names in its third word.
fn sizes(options: &Options, work: Work) -> Vec<u64> {
    let sizes = if work == Work::Mix { &MIX_SIZES[..] } else { &SIZES[..] };
    let named = options.only.as_deref().and_then(|only| only.split(' ').nth(2)?.parse().ok());
    let named = named.filter(|size| *size > 0 && !sizes.contains(size));
    sizes.iter().copied().chain(named).collect()
}

pub(super) async fn measure(
    options: &Options,
    report: &mut Report,
    postgres: &Postgres,
    copy: f64,
) -> Result<()> {
    for work in [Work::Inserts, Work::Updates, Work::Deletes, Work::Mix] {
        report.part(&format!("apply, {work:?}, checkpoint in every commit"));
        for changes in sizes(options, work) {
            let wanted = |commits: &Commits| {
                let middling = (10..=100).contains(&changes);
                options.wants_case(&format!("apply {work:?} {changes} {commits:?}"))
                    && (middling || *commits != Commits::Lanes)
            };
            let all = [Commits::Group, Commits::Strict, Commits::Shared, Commits::Lanes];
            let mut all = all.into_iter().filter(wanted).peekable();
            if all.peek().is_none() {
                continue;
            }
            let transactions = options.scaled(transactions(changes));
            let case = Case { work, changes, transactions };
            let bed = Bed::new(postgres, case, options.rounds.get()).await?;
            for commits in all {
                bed.measure(report, commits, copy).await?;
            }
        }
    }
    Ok(())
}

/// A case's log, and the database that its runs begin with.
struct Bed<'a> {
    postgres: &'a Postgres,
    case: Case,
    /// How often each figure is taken.
    rounds: usize,
    directory: TempDir,
    log: Arc<dyn Log>,
}

/// Times of a case's runs.
#[derive(Default)]
struct Times {
    local: Vec<Duration>,
    /// The same bytes, sent again.
    ceiling: Vec<Duration>,
    /// Through a proxy.
    near: Vec<Duration>,
    /// Through one that delays by each of [`DELAYS`].
    far: [Vec<Duration>; 2],
}

fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// What a run of apply does differently.
struct Run<'a> {
    database: &'a str,
    /// Host and port, or a socket's directory.
    host: (PathBuf, u16),
    commits: Commits,
    /// Position to wait for.
    until: Position,
}

impl<'a> Bed<'a> {
    async fn new(postgres: &'a Postgres, case: Case, rounds: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("log");
        let log = config::Log::Embedded(EmbeddedLog { path, retention: None });
        let log: Arc<dyn Log> = lockstep_log::open(&log, "bench").await?;
        let mut filler = Filler::new(log.as_ref(), &case).await?;
        filler.write_until(case.fills()).await?;
        let bed = Bed { postgres, case, rounds, directory, log: Arc::clone(&log) };
        postgres.psql("postgres", "DROP DATABASE IF EXISTS filled WITH (FORCE)")?;
        postgres.create_database("filled")?;
        let until = row::position(case.fills());
        let (database, commits) = ("filled", Commits::Group);
        bed.apply(Run { database, host: bed.socket(), commits, until }).await?;
        filler.write_until(case.fills() + case.transactions).await?;
        Ok(bed)
    }

    fn socket(&self) -> (PathBuf, u16) {
        (self.postgres.socket_dir().to_owned(), self.postgres.port())
    }

    /// Takes every figure of a case some times by turns, and reports their medians.
    async fn measure(&self, report: &mut Report, commits: Commits, copy: f64) -> Result<()> {
        let mut times = Times::default();
        for _ in 0..self.rounds {
            times.local.push(self.run_on_copy("measured", self.socket(), commits).await?);
            // What goes over several connections cannot be sent again in its order.
            if commits != Commits::Lanes {
                times.ceiling.push(self.ceiling(commits).await?);
            }
            if self.case.is_measured_far_away() {
                times.near.push(self.run_delayed(Duration::ZERO, commits).await?);
                for (far, delay) in times.far.iter_mut().zip(DELAYS) {
                    far.push(self.run_delayed(delay, commits).await?);
                }
            }
        }
        self.report(report, commits, times, copy);
        Ok(())
    }

    fn report(&self, report: &mut Report, commits: Commits, mut times: Times, copy: f64) {
        let Case { changes, transactions, .. } = self.case;
        let total = self.case.total();
        let Some(local) = median(&mut times.local) else { return };
        let name = format!("{changes} changes a transaction, {commits:?}");
        if let Some(ceiling) = median(&mut times.ceiling) {
            report.rate("limit: the same bytes, prebuilt", total, "changes", ceiling);
            report.rate_of(&name, (total, "changes", local), per_second(total, ceiling));
        } else {
            report.rate(&name, total, "changes", local);
        }
        let share = 100.0 * per_second(total, local) / copy;
        let rate = format!("{share:.1} % of COPY, {:.0} tx/s", per_second(transactions, local));
        report.line("", &rate);
        // The proxy's own work, which has the same two cores, is in the speed of the target nearby.
        let Some(near) = median(&mut times.near) else { return };
        let name = "… through a proxy that delays nothing";
        report.rate_of(name, (total, "changes", near), per_second(total, local));
        for (far, delay) in times.far.iter_mut().zip(DELAYS) {
            let Some(far) = median(far) else { return };
            let name = format!("… that delays by {delay:?} each way");
            report.rate_of(&name, (total, "changes", far), per_second(total, near));
        }
    }

    async fn run_delayed(&self, delay: Duration, commits: Commits) -> Result<Duration> {
        let proxy = Delayed::new(self.postgres, delay)?;
        let host = (Path::new(self.postgres.host()).to_owned(), proxy.port);
        self.run_on_copy("delayed", host, commits).await
    }

    /// The time of the same bytes, sent again.
    async fn ceiling(&self, commits: Commits) -> Result<Duration> {
        let recorder = Recorder::new(self.postgres).await?;
        let host = (Path::new(self.postgres.host()).to_owned(), recorder.port);
        self.run_on_copy("recorded", host, commits).await?;
        let recorded = recorder.stream()?;
        self.copy_filled("replayed")?;
        wire::replay(self.postgres, "replayed", &recorded).await
    }

    /// Makes `database` a copy of the filled one and applies the case to it.
    async fn run_on_copy(
        &self,
        database: &str,
        host: (PathBuf, u16),
        commits: Commits,
    ) -> Result<Duration> {
        self.copy_filled(database)?;
        let until = row::position(self.case.fills() + self.case.transactions);
        self.apply(Run { database, host, commits, until }).await
    }

    fn copy_filled(&self, database: &str) -> Result<()> {
        let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
        self.postgres.psql("postgres", &drop)?;
        let copy = format!("CREATE DATABASE {database} TEMPLATE filled STRATEGY file_copy");
        self.postgres.psql("postgres", &copy)?;
        self.postgres.psql("postgres", "CHECKPOINT")?;
        Ok(())
    }

    /// Applies the log; gives the time from the first session to the commit of the last position.
    async fn apply(&self, run: Run<'_>) -> Result<Duration> {
        let until = run.until;
        let spool = tempfile::tempdir_in(self.directory.path())?;
        let settings = ApplySettings {
            name: "bench".to_owned(),
            pipeline: "bench".to_owned(),
            task: lockstep_common::config::Task::Cdc,
            config: self.target(&run, spool.path())?,
        };
        let (status, mut seen) = watch::channel(ApplyStatus::default());
        let shutdown = Shutdown::new();
        let fail = FailPoints::default();
        let log = Arc::clone(&self.log);
        let service = lockstep_apply::run(settings, log, status, fail, shutdown.clone());
        let mut service = std::pin::pin!(service);
        let reached = async {
            seen.wait_for(|status| status.state == TaskState::Running).await?;
            let started = Instant::now();
            seen.wait_for(|status| status.position >= until).await?;
            Ok::<_, watch::error::RecvError>(started.elapsed())
        };
        let time = tokio::select! {
            result = &mut service => {
                result?;
                anyhow::bail!("apply ended before the log's end");
            }
            time = reached => time?,
        };
        shutdown.cancel();
        service.await?;
        Ok(time)
    }

    fn target(&self, run: &Run<'_>, spool: &Path) -> Result<config::Apply> {
        let text = format!(
            "host = {:?}\nport = {}\ndatabase = {:?}\nuser = {:?}\npassword = {:?}\n\
             spool = {:?}\nstart = \"earliest\"\ntls = \"disable\"",
            run.host.0.display().to_string(),
            run.host.1,
            run.database,
            self.postgres.user(),
            self.postgres.password(),
            spool.display().to_string(),
        );
        let mut config: config::Apply = toml::from_str(&text)?;
        match run.commits {
            Commits::Group => {}
            Commits::Strict => config.durability = Durability::Strict,
            Commits::Shared => config.group_commit = SHARED.try_into()?,
            Commits::Lanes => {
                config.group_commit = SHARED.try_into()?;
                config.connections = 2.try_into()?;
            }
        }
        Ok(config)
    }
}

/// Writes a case's records into its log.
struct Filler<'a> {
    case: &'a Case,
    writer: Box<dyn Writer>,
    log_id: Uuid,
    epoch: u64,
    written: u64,
}

impl<'a> Filler<'a> {
    /// Writes the tables' versions.
    async fn new(log: &dyn Log, case: &'a Case) -> Result<Self> {
        let (mut writer, tail) = log.writer().await?;
        for table in case.tables() {
            let table = SchemaEntry::Table(table);
            let (stream, key) = (Stream::Schemas, Some(table.key().into()));
            let payload = table.encode().into();
            writer.append(vec![Entry { stream, key, headers: None, payload }]).await?;
        }
        writer.commit().await?;
        Ok(Filler { case, writer, log_id: tail.log_id, epoch: tail.epoch + 1, written: 0 })
    }

    /// Writes the transactions that are missing up to number `last`.
    async fn write_until(&mut self, last: u64) -> Result<()> {
        for n in self.written + 1..=last {
            let payload = self.case.payload(self.log_id, self.epoch, n);
            let (stream, headers) = (Stream::Transactions, Some((row::position(n), 0)));
            self.writer.append(vec![Entry { stream, key: None, headers, payload }]).await?;
            if n.is_multiple_of(500) {
                self.writer.commit().await?;
            }
        }
        self.written = last;
        self.writer.commit().await?;
        Ok(())
    }
}
