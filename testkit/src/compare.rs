//! Lockstep beside Debezium and its JDBC sink: the same source, PostgreSQL, broker and work, one
//! system after the other.
//!
//! ```text
//!            ┌─► capture ──► Kafka ──► apply ─────────┐
//!  double ───┤                                         ├──► PostgreSQL ◄── observer, watcher
//!            └─► Connect: Debezium ─► Kafka ─► JDBC ──┘
//! ```
//!
//! Each system finds changes waiting and is started: how fast are they in the target? Then work goes
//! on at a steady rate: how long does each order take from being visible in the change table to being
//! visible in the target? Meanwhile an observer that knows nothing of either asks the target for what
//! holds in every state of the source. At the end all rows are compared with the source's.

mod feed;
mod peer;
mod product;
mod report;
mod shop;
mod target;
mod usage;
mod values;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lockstep_servers::{Double, DoubleOptions, Kafka, Postgres, PostgresOptions, Scratch};

use crate::source::Source;
use feed::Feed;
use peer::{Debezium, Jars, SETTINGS, Setting};
use product::Lockstep;
pub(crate) use report::percentile;
use report::{CatchUp, Cpu, Outcome, Steady};
use shop::Totals;
use target::{Arrivals, Observer, Progress};

/// The source's database.
const DATABASE: &str = "shop";
/// The peer's directory: its settings share the file of offsets.
const PEER: &str = "debezium";
/// The longest that a system may take for what waits.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(900);
/// The longest that the rest of steady work may take after its end.
const ARRIVE_WITHIN: Duration = Duration::from_secs(180);
/// Between two looks at the log.
const LOG_LOOK: Duration = Duration::from_millis(100);

/// What to compare and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Transactions that wait when a system is started.
    pub transactions: u64,
    /// How long steady work goes on.
    pub seconds: u64,
    /// Transactions a second of steady work.
    pub rate: f64,
    /// Both sides' wait between polls of an idle source.
    pub poll: Duration,
    /// Which of the peer's settings, all if empty.
    pub settings: Vec<String>,
    /// Directory of the jars of Kafka Connect and Debezium; without them only our side is run.
    pub jars: Option<PathBuf>,
    /// Whether a peer that does not work is only said, whatever was asked for.
    pub peer_may_fail: bool,
}

/// Runs everything, prints the results and what went on before.
///
/// # Errors
/// When a server cannot be run, when Lockstep does not get there or shows anything wrong, or, unless
/// the peer may fail, when a setting of it that was asked for by name does not work.
pub async fn run(options: &Options) -> Result<()> {
    let mut settings = settings(options)?;
    let stage = Stage::start(options)?;
    let mut feed = Feed::install(&stage.source, 1).await?;
    if let Err(error) = stage.prepare(&settings, &mut feed).await {
        ensure!(options.peer_may_fail, "{error:#}");
        println!("Debezium cannot be run: {error:#}");
        settings.clear();
    }
    println!("writing {} transactions", options.transactions);
    feed.bulk(options.transactions).await?;

    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let place = stage.place("lockstep", "lockstep")?;
    let lockstep = Lockstep::start(&place.borrow(&stage))?;
    outcomes.push(stage.measure("Lockstep", &place, lockstep, started, &mut feed).await?);
    for setting in &settings {
        let jars = stage.jars.as_ref().context("settings have jars")?;
        let place = stage.place(&format!("debezium_{}", setting.name), PEER)?;
        let started = Instant::now();
        let name = format!("Debezium, {}", setting.name);
        let measured = match Debezium::start(jars, &place.borrow(&stage), setting) {
            Ok(debezium) => stage.measure(&name, &place, debezium, started, &mut feed).await,
            Err(error) => Err(error),
        };
        match measured {
            Ok(outcome) => outcomes.push(outcome),
            // One setting that does not work is a result, too.
            Err(error) => {
                println!("{name}: {error:#}");
                failed.push(setting.name);
            }
        }
    }
    println!("\n{}", report::markdown(&outcomes));
    for setting in &settings {
        println!("Debezium, {}: {}", setting.name, setting.about);
    }
    if settings.is_empty() {
        println!("Debezium was not run");
    }
    outcomes[0].expect_right()?;
    ensure!(
        options.peer_may_fail || options.settings.is_empty() || failed.is_empty(),
        "did not work: {}",
        failed.join(", ")
    );
    Ok(())
}

fn settings(options: &Options) -> Result<Vec<Setting>> {
    if options.jars.is_none() {
        return Ok(Vec::new());
    }
    for name in &options.settings {
        ensure!(SETTINGS.iter().any(|s| s.name == name), "no such setting: {name}");
    }
    let wanted = |setting: &&Setting| {
        options.settings.is_empty() || options.settings.iter().any(|name| setting.name == name)
    };
    Ok(SETTINGS.iter().filter(wanted).copied().collect())
}

/// A system under comparison.
trait System {
    /// Its processes by name.
    fn processes(&self) -> Vec<(&'static str, u32)>;

    /// Fails when it does not work any more.
    fn check(&mut self) -> Result<()>;

    /// Whether the log has so many transactions.
    async fn in_log(&mut self, transactions: i64) -> Result<bool>;

    /// Ends it as an operator would.
    fn stop(self) -> Result<()>;
}

/// Where a system finds everything.
struct Place<'a> {
    /// The target's database, and the system's name.
    name: &'a str,
    source: &'a Source,
    postgres: &'a Postgres,
    brokers: &'a str,
    directory: &'a Path,
    poll: Duration,
}

/// The same, owned.
struct Home {
    name: String,
    directory: PathBuf,
}

impl Home {
    fn borrow<'a>(&'a self, stage: &'a Stage) -> Place<'a> {
        Place {
            name: &self.name,
            source: &stage.source,
            postgres: &stage.postgres,
            brokers: stage.kafka.address(),
            directory: &self.directory,
            poll: stage.options.poll,
        }
    }
}

/// The servers, which are the same for all.
struct Stage {
    options: Options,
    source: Source,
    postgres: Postgres,
    kafka: Kafka,
    jars: Option<Jars>,
    // The double ends with it.
    _double: Double,
    scratch: Scratch,
}

impl Stage {
    fn start(options: &Options) -> Result<Self> {
        let double = Double::start(DoubleOptions::default())?;
        let source = Source::on(&double, DATABASE);
        let settings =
            [("shared_buffers", "1GB"), ("max_wal_size", "8GB"), ("checkpoint_timeout", "30min")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Ok(Stage {
            options: options.clone(),
            source,
            postgres: Postgres::start(PostgresOptions { fsync: true, settings })?,
            kafka: Kafka::start().context("start Kafka")?,
            jars: options.jars.clone().map(Jars),
            _double: double,
            scratch: Scratch::new("lockstep-compare-")?,
        })
    }

    fn place(&self, name: &str, directory: &str) -> Result<Home> {
        let directory = self.scratch.path().join(directory);
        std::fs::create_dir_all(&directory)?;
        self.postgres.create_database(name)?;
        self.postgres.psql(name, "CREATE SCHEMA dbo")?;
        Ok(Home { name: name.to_owned(), directory })
    }

    /// Fills customers and stock while the peer's connectors follow: they go on from there, and know
    /// no way to begin at what is in the change tables already.
    async fn prepare(&self, settings: &[Setting], feed: &mut Feed) -> Result<()> {
        let Some(jars) = self.jars.as_ref().filter(|_| !settings.is_empty()) else {
            return feed.fill().await;
        };
        println!("starting {} source connectors of Debezium over empty tables", settings.len());
        let place = self.place(PEER, PEER)?;
        let rows = [("customers", shop::CUSTOMERS), ("stock", shop::ITEMS)];
        Debezium::prepare(jars, &place.borrow(self), settings, feed.fill(), &rows).await
    }

    async fn measure<S: System>(
        &self,
        name: &str,
        home: &Home,
        mut system: S,
        started: Instant,
        feed: &mut Feed,
    ) -> Result<Outcome> {
        let url = self.postgres.url(&home.name);
        let catch_up = self.catch_up(&url, &mut system, started, feed.totals()).await?;
        println!(
            "{name}: {} changes in {:.1} s; {} of {} samples torn",
            catch_up.changes,
            catch_up.time.as_secs_f64(),
            catch_up.samples.torn,
            catch_up.samples.taken
        );
        let steady = self.steady(&url, &mut system, feed).await?;
        let mut peaks = Vec::new();
        for (process, pid) in system.processes() {
            peaks.push((process, usage::peak(pid)?));
        }
        system.stop()?;
        let (findings, rows) = values::compare(&self.source, &url, &shop::tables()).await?;
        Ok(Outcome { name: name.to_owned(), catch_up, steady, peaks, findings, rows })
    }

    async fn catch_up<S: System>(
        &self,
        url: &str,
        system: &mut S,
        started: Instant,
        totals: Totals,
    ) -> Result<CatchUp> {
        let servers = cpu(&[])?;
        let observer = Observer::watch(url).await?;
        let pids: Vec<u32> = system.processes().into_iter().map(|(_, pid)| pid).collect();
        let (mut in_log, mut looked) = (None, Instant::now());
        let mut progress = Progress::of(url, totals).await?;
        let reached = loop {
            system.check()?;
            if in_log.is_none() && looked.elapsed() >= LOG_LOOK {
                looked = Instant::now();
                in_log = system.in_log(totals.transactions).await?.then(|| started.elapsed());
            }
            if let Some(reached) = progress.look(CATCH_UP_WITHIN).await? {
                break reached;
            }
        };
        let after = cpu(&pids)?;
        Ok(CatchUp {
            changes: totals.changes,
            time: reached.all - started,
            from_first: reached.all - reached.first,
            in_log,
            samples: observer.end().await?,
            cpu: Cpu {
                system: after.system,
                postgres: after.postgres.saturating_sub(servers.postgres),
                double: after.double.saturating_sub(servers.double),
            },
        })
    }

    async fn steady<S: System>(
        &self,
        url: &str,
        system: &mut S,
        feed: &mut Feed,
    ) -> Result<Steady> {
        let observer = Observer::watch(url).await?;
        let arrivals = Arrivals::watch(url).await?;
        let (before, began) = (feed.totals().transactions, Instant::now());
        let visible =
            feed.steady(self.options.rate, Duration::from_secs(self.options.seconds)).await?;
        let (time, totals) = (began.elapsed(), feed.totals());
        let mut progress = Progress::of(url, totals).await?;
        while progress.look(ARRIVE_WITHIN).await?.is_none() {
            system.check()?;
        }
        Ok(Steady {
            latencies: arrivals.latencies(&visible).await?,
            transactions: totals.transactions - before,
            time,
            samples: observer.end().await?,
        })
    }
}

/// What a system's processes and the servers have used so far.
fn cpu(system: &[u32]) -> Result<Cpu> {
    let mut sum = Duration::ZERO;
    for pid in system {
        sum += usage::cpu(*pid)?;
    }
    Ok(Cpu {
        system: sum,
        postgres: usage::cpu_of_family(usage::child("postgres")?)?,
        double: usage::cpu(usage::child("mssql-double")?)?,
    })
}
