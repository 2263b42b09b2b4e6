//! PostgreSQL is away while five million changes arrive.
//!
//! Over Kafka and over the embedded log: a product follows a source, PostgreSQL is stopped, the source
//! goes on. In the middle apply is killed (SIGKILL) and has to come back without its target. When
//! everything waits, apply is killed once more, PostgreSQL comes back, and the time from the start of
//! the program to the first new commit is taken, then the rate at which the spool drains; at the end the
//! same start with nothing spooled. Two more targets follow the same Kafka log: one without any outage,
//! whose rate is the limit; and one with a budget that is far too small, which has to stop reading.
//!
//! While there is something to see, an observer looks at the target: transactions whole, in order, none
//! missing.

mod source;
mod target;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lockstep_common::status::{ApplyStatus, TaskState};
use lockstep_servers::{Double, DoubleOptions, Kafka, Postgres, Scratch, Stop};

use self::source::{Feed, PARTS};
use self::target::Target;
use super::Options;
use super::figures::Report;
use super::product::{Configured, Product};
use super::services::Services;
use super::watch::{Watch, resident};
use crate::source::Source;

const CHANGES: u64 = 5_000_000;
/// Transactions before the outage.
const BEFORE: u64 = 50;
/// Starts with nothing spooled.
const STARTS: usize = 5;
/// How long a full spool is looked at.
const FULL_FOR: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(60);
const WITHIN: Duration = Duration::from_secs(3600);

/// The servers.
struct Stage {
    source: Source,
    postgres: Postgres,
    memory: u64,
}

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let transactions = options.scaled(CHANGES).div_ceil(PARTS).max(10 * BEFORE);
    let changes = transactions * PARTS;
    report.part(&format!("outage: {changes} changes in {transactions} transactions"));
    let double = Double::start(DoubleOptions::default())?;
    let source = Source::on(&double, "outage");
    let mut feed = Feed::install(&source).await?;
    let mut stage = Stage {
        source,
        postgres: super::postgres()?,
        // So that it does not fit at any scale.
        memory: (changes * 12).clamp(1 << 20, 64 << 20),
    };
    let kafka = Kafka::start()?;
    let spooled = stage.away(report, &mut feed, Some(kafka.address()), transactions).await?;
    report.line("  the double's own resident memory", &mib(resident(double.pid())?));
    stage.undisturbed(report, &feed, kafka.address()).await?;
    stage.too_small(report, &feed, kafka.address(), spooled / 8).await?;
    stage.away(report, &mut feed, None, transactions).await?;
    stage.postgres.stop(Stop::Fast)?;
    Ok(())
}

impl Stage {
    fn configure(
        &self,
        database: &str,
        directory: &Scratch,
        brokers: Option<&str>,
        more: &str,
    ) -> Result<Configured> {
        self.postgres.create_database(database)?;
        Product {
            source: &self.source,
            postgres: &self.postgres,
            pipeline: "outage",
            database,
            directory: directory.path(),
            brokers,
            task: "cdc",
            capture: "start = \"earliest\"",
            apply: &format!("start = \"earliest\"\nmemory = \"{} B\"\n{more}", self.memory),
        }
        .configure()
    }

    /// The outage with room for everything; gives the bytes that were spooled at last. The source has
    /// no transactions yet, or all of them, which the log is to get while the target is away.
    async fn away(
        &mut self,
        report: &mut Report,
        feed: &mut Feed,
        brokers: Option<&str>,
        transactions: u64,
    ) -> Result<u64> {
        let name = if brokers.is_some() { "away_kafka" } else { "away_embedded" };
        let log = if brokers.is_some() { "over Kafka" } else { "over the embedded log" };
        report.line(&format!("  {log}, room for everything"), "");
        let directory = Scratch::new("lockstep-outage-")?;
        let configured = self.configure(name, &directory, brokers, "")?;
        let watch = Watch::begin(&configured.spool);
        if feed.written() == 0 {
            feed.write(BEFORE).await?;
        }
        let mut services = Services::start(configured, brokers.is_some(), &watch)?;
        let mut target = Target::connect(&self.postgres, name).await?;
        let before = target.reaches(BEFORE, &mut services).await?.newest;
        self.postgres.stop(Stop::Fast)?;
        services
            .apply_says("the target is missed", SOON, |s| s.state == TaskState::Retrying)
            .await?;

        let began = Instant::now();
        let half = (transactions / 2).saturating_sub(feed.written());
        feed.write(half).await?;
        let waits = |at_least| move |s: &ApplyStatus| s.waiting_transactions >= at_least;
        services.apply_says("half of it waits", WITHIN, waits(transactions / 2 - before)).await?;
        services.kill_apply();
        let started = Instant::now();
        services.start_apply(&watch)?;
        services.apply_is_ready(SOON).await?;
        report.line("  apply killed; ready again, without the target, after", &ms(started));
        feed.write(transactions.saturating_sub(feed.written())).await?;
        let all = feed.written() - before;
        let status = services.apply_says("all of it waits", WITHIN, waits(all)).await?;
        ensure!(status.state == TaskState::Retrying && !status.back_pressure, "{status:?}");
        report.line("  … and everything waits there after", &seconds(began.elapsed()));
        report.line("  spooled", &mib(status.spool_bytes));

        services.kill_apply();
        self.postgres.start_again()?;
        let mut target = Target::connect(&self.postgres, name).await?;
        let observer = target::observe(&self.postgres, name).await?;
        let started = Instant::now();
        services.start_apply(&watch)?;
        let first = target.reaches(before + 1, &mut services).await?;
        report.line("  apply started to the first new commit", &ms_of(first.at - started));
        let last = target.reaches(feed.written(), &mut services).await?;
        let changes = (last.newest - first.newest) * PARTS;
        report.rate("  drained", changes, "changes", last.at - first.at);
        report.line("  looks of the observer", &observer.end().await?.to_string());
        target.has_all(&self.source, feed.written()).await?;

        let mut starts = Vec::new();
        for _ in 0..STARTS {
            starts.push(self.start_with_nothing(feed, &mut services, &mut target, &watch).await?);
        }
        starts.sort_unstable();
        let name = format!("  started with nothing spooled, of {STARTS} the least / the median");
        let [least, median] = [starts[0], starts[STARTS / 2]].map(ms_of);
        report.line(&name, &format!("{least} / {median}"));
        watch.end().await?.print(report, "spool");
        Ok(status.spool_bytes)
    }

    /// The time from the start of the program to the commit of the one transaction that it finds in
    /// the log, or in the source, when capture is in the same process.
    async fn start_with_nothing(
        &self,
        feed: &mut Feed,
        services: &mut Services,
        target: &mut Target,
        watch: &Watch,
    ) -> Result<Duration> {
        services
            .apply_says("nothing is spooled", SOON, |s| {
                s.spool_bytes == 0 && s.waiting_transactions == 0
            })
            .await?;
        services.kill_apply();
        feed.write(1).await?;
        services.logged(feed.written(), SOON).await?;
        let started = Instant::now();
        services.start_apply(watch)?;
        Ok(target.reaches(feed.written(), services).await?.at - started)
    }

    /// A target that is there follows the whole log: the limit.
    async fn undisturbed(&mut self, report: &mut Report, feed: &Feed, brokers: &str) -> Result<()> {
        let name = "undisturbed";
        let directory = Scratch::new("lockstep-outage-")?;
        let configured = self.configure(name, &directory, Some(brokers), "")?;
        let watch = Watch::begin(&configured.spool);
        let mut target = Target::connect(&self.postgres, name).await?;
        let mut services = Services::start_without_capture(configured, &watch)?;
        let first = target.reaches(1, &mut services).await?;
        let last = target.reaches(feed.written(), &mut services).await?;
        let changes = (last.newest - first.newest) * PARTS;
        report.line("  over Kafka, no outage: all of it is in the log", "");
        report.rate("limit: applied", changes, "changes", last.at - first.at);
        target.has_all(&self.source, feed.written()).await?;
        watch.end().await?.print(report, "spool");
        Ok(())
    }

    /// A target that goes away at once, with a budget that is too small by far.
    async fn too_small(
        &mut self,
        report: &mut Report,
        feed: &Feed,
        brokers: &str,
        budget: u64,
    ) -> Result<()> {
        let name = "too_small";
        let budget = budget.max(2 * self.memory);
        report.line(&format!("  over Kafka, a budget of {}", mib(budget)), "");
        let directory = Scratch::new("lockstep-outage-")?;
        let more = format!("spool_budget = \"{budget} B\"");
        let configured = self.configure(name, &directory, Some(brokers), &more)?;
        let watch = Watch::begin(&configured.spool);
        let mut target = Target::connect(&self.postgres, name).await?;
        let mut services = Services::start_without_capture(configured, &watch)?;
        target.reaches(1, &mut services).await?;
        self.postgres.stop(Stop::Immediate)?;
        for start in ["reads", "reads after a SIGKILL"] {
            let full = services.apply_says("back-pressure", WITHIN, |s| s.back_pressure).await?;
            tokio::time::sleep(FULL_FOR).await;
            let later = services.apply_status().await.context("apply's status")?;
            ensure!(
                (later.fetched_offset, later.spool_bytes)
                    == (full.fetched_offset, full.spool_bytes),
                "still reading: {full:?} and then {later:?}"
            );
            let offset = later.fetched_offset;
            report.line(&format!("  {start} up to offset"), &offset.to_string());
            services.kill_apply();
            services.start_apply(&watch)?;
        }
        let largest = watch.largest();
        ensure!(largest <= budget, "the spool took {largest} of {budget} bytes");
        self.postgres.start_again()?;
        let mut target = Target::connect(&self.postgres, name).await?;
        let observer = target::observe(&self.postgres, name).await?;
        let first = target.reaches(1, &mut services).await?;
        let last = target.reaches(feed.written(), &mut services).await?;
        let changes = (last.newest - first.newest) * PARTS;
        report.rate("  drained, and the rest of the log", changes, "changes", last.at - first.at);
        report.line("  looks of the observer", &observer.end().await?.to_string());
        target.has_all(&self.source, feed.written()).await?;
        let seen = watch.end().await?;
        ensure!(seen.largest <= budget, "the spool took {} of {budget} bytes", seen.largest);
        seen.print(report, "spool");
        Ok(())
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn ms(since: Instant) -> String {
    ms_of(since.elapsed())
}

fn ms_of(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
