//! PostgreSQL is away while five million changes arrive.
//!
//! A product follows a source, PostgreSQL is stopped, the source goes on. In the middle apply is killed
//! (SIGKILL) and has to come back without its target. When everything waits, apply is killed once more,
//! PostgreSQL comes back, and the time from the start of the program to the first new commit is taken,
//! then the rate at which the spool drains; at the end the same start with nothing spooled.
//!
//! Over Kafka two more targets follow the same log. One has a budget that is too small by far: in the
//! same outage it has to stop reading, also after a SIGKILL. One comes when all is over and the whole log
//! is there: its rate is the limit. Then the same over the embedded log, everything in one process.
//!
//! While there is something to see, an observer looks at the target: transactions whole, in order, none
//! missing. At the end everything is counted, and payloads are compared with the source's.

mod source;
mod target;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lockstep_common::service::status::{ApplyStatus, TaskState};
use lockstep_servers::{Double, DoubleOptions, Kafka, Postgres, Scratch, Stop};
use uuid::Uuid;

use self::source::{Feed, PARTS};
use self::target::Target;
use super::Options;
use super::figures::Report;
use super::product::{Configured, Product};
use super::services::Services;
use super::watch::{STORE, Watch, resident};
use crate::source::Source;

const CHANGES: u64 = 5_000_000;
/// Transactions before the outage.
const BEFORE: u64 = 50;
/// A budget that is too small, for each change: an eighth of what there is.
const TOO_SMALL: u64 = 25;
/// Starts with nothing spooled.
const STARTS: usize = 5;
/// How long a full spool is looked at.
const FULL_FOR: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(60);
const WITHIN: Duration = Duration::from_secs(3600);

/// The servers, and how much there is.
struct Stage {
    postgres: Postgres,
    /// A name of its own: the broker may be one that an earlier run has used.
    pipeline: String,
    transactions: u64,
    memory: u64,
}

/// A product and its target.
struct Pair {
    name: &'static str,
    services: Services,
    watch: Watch,
    /// Transactions in the target before the outage.
    before: u64,
    /// Goes with it.
    _directory: Scratch,
}

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let transactions = options.scaled(CHANGES).div_ceil(PARTS).max(10 * BEFORE);
    let changes = transactions * PARTS;
    report.part(&format!("outage: {changes} changes in {transactions} transactions"));
    let mut stage = Stage {
        postgres: super::postgres()?,
        pipeline: format!("outage-{}", Uuid::new_v4()),
        transactions,
        // So that it does not fit at any scale.
        memory: (changes * 12).clamp(1 << 20, 64 << 20),
    };
    stage.over_kafka(report).await?;
    stage.over_embedded_log(report).await?;
    stage.postgres.stop(Stop::Fast)?;
    Ok(())
}

impl Stage {
    async fn over_kafka(&mut self, report: &mut Report) -> Result<()> {
        let double = Double::start(DoubleOptions::default())?;
        let mut feed = Feed::install(&Source::on(&double, "outage")).await?;
        feed.write(BEFORE).await?;
        let kafka = Kafka::start()?;
        let brokers = kafka.address();
        let budget = (self.transactions * PARTS * TOO_SMALL).max(2 * self.memory);
        let more = format!("spool_budget = \"{budget} B\"");
        let configured = self.configure("away", &feed, Some(brokers), "")?;
        let mut roomy = self.begin("away", configured, |c, w| Services::start(c, true, w)).await?;
        let configured = self.configure("too_small", &feed, Some(brokers), &more)?;
        let mut small =
            self.begin("too_small", configured, Services::start_without_capture).await?;

        report.line("  over Kafka, room for everything", "");
        self.go_away(&mut [&mut roomy, &mut small]).await?;
        self.fill(report, &mut feed, &mut roomy).await?;
        report.line(&format!("  over Kafka, a budget of {}", mib(budget)), "");
        full(report, &mut small, budget).await?;
        small.services.kill_apply();
        roomy.services.kill_apply();
        self.postgres.start_again()?;
        report.line("  over Kafka, room for everything: the target is back", "");
        self.drain(report, &feed, &mut roomy).await?;
        self.start_with_nothing(report, &mut feed, &mut roomy).await?;
        roomy.end(report).await?;
        report.line("  over Kafka, a budget too small: the target is back", "");
        self.drain(report, &feed, &mut small).await?;
        within(budget, small.end(report).await?)?;
        report.line("  over Kafka, no outage, the whole log is there", "");
        self.undisturbed(report, &feed, brokers).await?;
        report.line("  the double's own resident memory", &mib(resident(double.pid())?));
        Ok(())
    }

    async fn over_embedded_log(&mut self, report: &mut Report) -> Result<()> {
        let double = Double::start(DoubleOptions::default())?;
        let mut feed = Feed::install(&Source::on(&double, "outage")).await?;
        feed.write(BEFORE).await?;
        let configured = self.configure("embedded", &feed, None, "")?;
        let mut pair =
            self.begin("embedded", configured, |c, w| Services::start(c, false, w)).await?;
        report.line("  over the embedded log, one process, room for everything", "");
        self.go_away(&mut [&mut pair]).await?;
        self.fill(report, &mut feed, &mut pair).await?;
        pair.services.kill_apply();
        self.postgres.start_again()?;
        report.line("  over the embedded log: the target is back", "");
        self.drain(report, &feed, &mut pair).await?;
        self.start_with_nothing(report, &mut feed, &mut pair).await?;
        pair.end(report).await.map(drop)
    }

    fn configure(
        &self,
        database: &str,
        feed: &Feed,
        brokers: Option<&str>,
        more: &str,
    ) -> Result<(Configured, Scratch)> {
        self.postgres.create_database(database)?;
        let directory = Scratch::new("lockstep-outage-")?;
        let configured = Product {
            source: feed.source(),
            postgres: &self.postgres,
            pipeline: &self.pipeline,
            database,
            directory: directory.path(),
            brokers,
            task: "cdc",
            capture: "start = \"earliest\"",
            apply: &format!("start = \"earliest\"\nmemory = \"{} B\"\n{more}", self.memory),
        }
        .configure()?;
        Ok((configured, directory))
    }

    /// Starts a product, and waits until its target has what there is.
    async fn begin(
        &self,
        name: &'static str,
        (configured, directory): (Configured, Scratch),
        start: impl FnOnce(Configured, &Watch) -> Result<Services>,
    ) -> Result<Pair> {
        let watch = Watch::begin(&configured.spool);
        let mut services = start(configured, &watch)?;
        let mut target = Target::connect(&self.postgres, name).await?;
        let before = target.reaches(BEFORE, &mut services).await?.newest;
        services.apply_says("what there is is settled", SOON, |s| s.transactions >= before).await?;
        Ok(Pair { name, services, watch, before, _directory: directory })
    }

    async fn go_away(&mut self, pairs: &mut [&mut Pair]) -> Result<()> {
        self.postgres.stop(Stop::Fast)?;
        for pair in pairs {
            let missed = |s: &ApplyStatus| s.state == TaskState::Retrying;
            pair.services.apply_says("the target is missed", SOON, missed).await?;
        }
        Ok(())
    }

    /// Everything arrives; apply is killed in the middle of it.
    async fn fill(&self, report: &mut Report, feed: &mut Feed, pair: &mut Pair) -> Result<()> {
        let Pair { services, watch, before, .. } = pair;
        let began = Instant::now();
        let half = self.transactions / 2;
        feed.write(half - feed.written()).await?;
        let waits = |at_least: u64| move |s: &ApplyStatus| s.waiting_transactions >= at_least;
        services.apply_says("half of it waits", WITHIN, waits(half - *before)).await?;
        services.kill_apply();
        let started = Instant::now();
        services.start_apply(watch)?;
        services.apply_is_ready(SOON).await?;
        report.line("  killed; ready again, without the target, after", &ms(started.elapsed()));
        feed.write(self.transactions - feed.written()).await?;
        let all = feed.written() - *before;
        let status = services.apply_says("all of it waits", WITHIN, waits(all)).await?;
        ensure!(status.state == TaskState::Retrying && !status.back_pressure, "{status:?}");
        report.line("  everything waits, from the beginning of the outage", &s(began.elapsed()));
        report.line("  spooled", &mib(status.spool_bytes));
        Ok(())
    }

    /// The target is back: apply is started, and everything has to arrive.
    async fn drain(&self, report: &mut Report, feed: &Feed, pair: &mut Pair) -> Result<()> {
        let Pair { services, watch, before, name, .. } = pair;
        let mut target = Target::connect(&self.postgres, name).await?;
        let observer = target::observe(&self.postgres, name).await?;
        let started = Instant::now();
        services.start_apply(watch)?;
        let first = target.reaches(*before + 1, services).await?;
        report.line("  apply started to the first new commit", &ms(first.at - started));
        let last = target.reaches(feed.written(), services).await?;
        let changes = (last.newest - first.newest) * PARTS;
        report.rate("  drained from then on", changes, "changes", last.at - first.at);
        report.line("  looks of the observer", &observer.end().await?.to_string());
        target.has_all(feed.source(), feed.written()).await
    }

    /// The time from the start of the program to the commit of the one transaction that it finds in
    /// the log, or in the source when capture is in the same process.
    async fn start_with_nothing(
        &self,
        report: &mut Report,
        feed: &mut Feed,
        pair: &mut Pair,
    ) -> Result<()> {
        let Pair { services, watch, name, .. } = pair;
        let mut target = Target::connect(&self.postgres, name).await?;
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            let nothing = |s: &ApplyStatus| s.spool_bytes == 0 && s.waiting_transactions == 0;
            services.apply_says("nothing is spooled", SOON, nothing).await?;
            services.kill_apply();
            feed.write(1).await?;
            services.logged(feed.written(), SOON).await?;
            let started = Instant::now();
            services.start_apply(watch)?;
            starts.push(target.reaches(feed.written(), services).await?.at - started);
        }
        starts.sort_unstable();
        let name = format!("  the same with nothing spooled, of {STARTS} the least / the median");
        let [least, median] = [starts[0], starts[STARTS / 2]].map(ms);
        report.line(&name, &format!("{least} / {median}"));
        Ok(())
    }

    /// A target that is there follows the whole log: the limit.
    async fn undisturbed(&self, report: &mut Report, feed: &Feed, brokers: &str) -> Result<()> {
        let configured = self.configure("undisturbed", feed, Some(brokers), "")?;
        let mut pair =
            self.begin("undisturbed", configured, Services::start_without_capture).await?;
        let mut target = Target::connect(&self.postgres, pair.name).await?;
        let first = target.reaches(BEFORE, &mut pair.services).await?;
        let last = target.reaches(feed.written(), &mut pair.services).await?;
        let changes = (last.newest - first.newest) * PARTS;
        report.rate("limit: applied", changes, "changes", last.at - first.at);
        target.has_all(feed.source(), feed.written()).await?;
        pair.end(report).await.map(drop)
    }
}

impl Pair {
    /// Ends it; gives the most that its spool took on the disk.
    async fn end(self, report: &mut Report) -> Result<u64> {
        let seen = self.watch.end().await?;
        seen.print(report, "spool");
        Ok(seen.largest)
    }
}

/// A spool at its budget: the log is not read any further, also by the next process.
async fn full(report: &mut Report, pair: &mut Pair, budget: u64) -> Result<()> {
    for what in ["  reads no further than offset", "  the same after a SIGKILL"] {
        let services = &mut pair.services;
        let full = services.apply_says("back-pressure", WITHIN, |s| s.back_pressure).await?;
        tokio::time::sleep(FULL_FOR).await;
        let later = services.apply_status().await.context("apply's status")?;
        ensure!(
            (later.fetched_offset, later.spool_bytes) == (full.fetched_offset, full.spool_bytes),
            "still reading: {full:?} and then {later:?}"
        );
        within(budget, pair.watch.largest())?;
        report.line(what, &later.fetched_offset.to_string());
        services.kill_apply();
        services.start_apply(&pair.watch)?;
    }
    Ok(())
}

fn within(budget: u64, largest: u64) -> Result<()> {
    ensure!(largest <= budget + STORE, "the spool took {largest} bytes, its budget is {budget}");
    Ok(())
}

fn s(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
