//! One source transaction of ten million changes, from the double into PostgreSQL, with small ones before,
//! behind and beside it.
//!
//! The source has it all when a product starts; a session goes on writing small transactions. An
//! observer looks at the target again and again: of the huge transaction it may see nothing or
//! everything, and the small ones only in their order, those behind it never without it. Three products
//! follow the same source into three databases: undisturbed over Kafka; over Kafka again, capture killed
//! (SIGKILL) in the middle of publishing and apply in the middle of writing; and as one process over
//! the embedded log, killed in the middle of writing. The limit is one COPY of as many rows.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lockstep_common::Shutdown;
use lockstep_common::service::status::Counts;
use lockstep_servers::{Double, DoubleOptions, Kafka, Postgres, Scratch};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::figures::{Report, per_second};
use super::product::Product;
use super::services::{LOOK, Services};
use super::watch::{STORE, Seen, Watch, resident};
use super::{Options, limits, row};
use crate::source::{Connection, Source};

const CHANGES: u64 = 10_000_000;
/// Rows that one INSERT makes of those before.
const AT_ONCE: u64 = 500_000;
/// Small transactions before the huge one and as many behind it.
const SMALL: u64 = 100;
/// Pause between two small transactions beside it.
const BESIDE: Duration = Duration::from_millis(50);
/// Between two looks of the observer.
const OBSERVE: Duration = Duration::from_millis(20);
/// Disk that the spool may take, for each change.
const BUDGET: u64 = 250;
const WITHIN: Duration = Duration::from_secs(3600);

/// What the huge transaction does: of ten changes eight insert a row each, one updates one of the first
/// of them and one deletes one of the last.
#[derive(Clone, Copy)]
struct Work {
    tenth: u64,
}

impl Work {
    fn changes(self) -> u64 {
        10 * self.tenth
    }

    fn is_all(self, counts: &Counts) -> bool {
        counts.inserts + counts.updates + counts.deletes >= self.changes()
    }

    fn inserts(self) -> u64 {
        8 * self.tenth
    }

    /// Rows that it leaves: ids below this.
    fn rows(self) -> u64 {
        7 * self.tenth
    }
}

/// The servers, and what is the same for all products.
struct Stage<'a> {
    source: &'a Source,
    postgres: &'a Postgres,
    work: Work,
    memory: u64,
    contents: Vec<String>,
}

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let work = Work { tenth: (options.scaled(CHANGES) / 10).max(100) };
    report.part(&format!("huge: one transaction of {} changes", work.changes()));
    let double = Double::start(DoubleOptions::default())?;
    let source = Source::on(&double, "huge");
    fill(&double, &source, work, report).await?;
    let mut postgres = super::postgres()?;
    let time = limits::copy_from_file(&postgres, work.changes()).await?;
    let limit = per_second(work.changes(), time);
    report.rate("limit: one binary COPY of as many rows", work.changes(), "rows", time);

    let kafka = Kafka::start()?;
    let stage = Stage {
        source: &source,
        postgres: &postgres,
        work,
        // So that it does not fit at any scale.
        memory: (work.changes() * 8).clamp(1 << 20, 64 << 20),
        contents: contents_of_source(&source).await?,
    };
    let undisturbed = stage.follow("huge_kafka", Some(kafka.address()), None).await?;
    undisturbed.print(report, "over Kafka, undisturbed", limit, work);
    let figures = stage.follow("huge_killed", Some(kafka.address()), Some(&undisturbed)).await?;
    figures.print(report, "over Kafka, each killed in the middle", limit, work);
    let figures = stage.follow("huge_embedded", None, Some(&undisturbed)).await?;
    figures.print(report, "over the embedded log, killed in the middle", limit, work);
    postgres.stop(lockstep_servers::Stop::Fast)?;
    Ok(())
}

/// The source's database, with the small transactions before, the huge one, and those behind it, all of
/// them in the change tables.
async fn fill(double: &Double, source: &Source, work: Work, report: &mut Report) -> Result<()> {
    source.with_database("master").connect().await?.run("CREATE DATABASE huge").await?;
    let mut connection = source.connect_for(WITHIN).await?;
    for statement in [
        row::CREATE,
        "CREATE TABLE dbo.beside (id int NOT NULL PRIMARY KEY)",
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'bench', \
         @role_name = NULL, @supports_net_changes = 0",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'beside', \
         @role_name = NULL, @supports_net_changes = 0",
        "EXEC sys.sp_cdc_stop_job @job_type = N'capture'",
    ] {
        connection.run(statement).await.with_context(|| statement.to_owned())?;
    }
    let started = Instant::now();
    small(&mut connection, 1, SMALL).await?;
    connection.run("BEGIN TRANSACTION").await?;
    huge(&mut connection, work).await.context("the huge transaction")?;
    connection.run("COMMIT").await?;
    small(&mut connection, SMALL + 1, 2 * SMALL).await?;
    report.line("  written into the double, in one transaction", &seconds(started.elapsed()));
    let started = Instant::now();
    scan(&mut connection).await?;
    report.line("  scanned into its change tables", &seconds(started.elapsed()));
    let memory = resident(double.pid())?;
    report.line("  the double's own resident memory", &format!("{} MiB", memory >> 20));
    Ok(())
}

async fn huge(connection: &mut Connection, work: Work) -> Result<()> {
    let first = super::tds::ROWS_PER_TRANSACTION.min(work.inserts());
    connection.run(&super::tds::insert(0)).await?;
    let mut filled = first;
    while filled < work.inserts() {
        let more = filled.min(work.inserts() - filled).min(AT_ONCE);
        connection
            .run(&format!(
                "INSERT INTO dbo.bench SELECT TOP ({more}) id + {filled}, (a + {filled}) % 1000003, \
                 (b + {filled}) % 30011, amount + {filled}, ratio + {filled}, made, seen, name, \
                 note, flag FROM dbo.bench WHERE id < {more}"
            ))
            .await?;
        filled += more;
    }
    let (updated, kept) = (work.tenth, work.rows());
    connection.run(&format!("UPDATE dbo.bench SET a = -a WHERE id < {updated}")).await?;
    connection.run(&format!("DELETE FROM dbo.bench WHERE id >= {kept}")).await?;
    Ok(())
}

/// One transaction for each id.
async fn small(connection: &mut Connection, first: u64, last: u64) -> Result<()> {
    let batch: String =
        (first..=last).map(|id| format!("INSERT dbo.beside VALUES ({id});")).collect();
    Ok(connection.run(&format!("SET NOCOUNT ON;{batch}")).await?)
}

async fn scan(connection: &mut Connection) -> Result<()> {
    Ok(connection.run("EXEC sys.sp_cdc_scan @maxtrans = 1000000, @maxscans = 100").await?)
}

/// Writes small transactions until it is stopped; gives the last one's id.
async fn beside(source: Source, stop: Shutdown) -> Result<u64> {
    let mut connection = source.connect().await?;
    let last = connection.integer("SELECT MAX(id) FROM dbo.beside").await?.context("an id")?;
    let mut last = u64::try_from(last)?;
    while !stop.is_cancelled() {
        last += 1;
        small(&mut connection, last, last).await?;
        scan(&mut connection).await?;
        let _ = tokio::time::timeout(BESIDE, stop.cancelled()).await;
    }
    Ok(last)
}

/// What both sides must agree on, in text.
const CONTENTS: [&str; 6] = [
    "COUNT(*)",
    "SUM(CAST(id AS decimal(38, 0)))",
    "SUM(CAST(a AS decimal(38, 0)))",
    "SUM(CAST(b AS decimal(38, 0)))",
    "SUM(CAST(amount AS decimal(38, 4)))",
    "MAX(id)",
];

async fn contents_of_source(source: &Source) -> Result<Vec<String>> {
    let columns = CONTENTS.map(|sum| format!("CAST({sum} AS varchar(60))")).join(", ");
    let mut connection = source.connect_for(WITHIN).await?;
    let rows = connection.rows(&format!("SELECT {columns} FROM dbo.bench")).await?;
    let row = rows.first().context("the sums")?;
    (0..CONTENTS.len())
        .map(|i| Ok(row.try_get::<&str, _>(i)?.context("a sum")?.to_owned()))
        .collect()
}

async fn contents_of_target(client: &Client) -> Result<Vec<String>> {
    let columns = CONTENTS.map(|sum| format!("CAST({sum} AS varchar(60))")).join(", ");
    let row = client.query_one(&format!("SELECT {columns} FROM dbo.bench"), &[]).await?;
    (0..CONTENTS.len()).map(|i| Ok(row.try_get(i)?)).collect()
}

/// What a product showed.
struct Figures {
    /// From the start of the processes until capture said that all of the huge transaction is in the log.
    logged: Duration,
    /// … and until it was in the target.
    there: Duration,
    /// … and everything behind it.
    all: Duration,
    /// The most bytes that waited at apply.
    waiting: u64,
    /// Bytes of the target's table.
    table: u64,
    kills: Vec<String>,
    looks: Looks,
    beside: u64,
    seen: Seen,
}

impl Figures {
    fn print(&self, report: &mut Report, name: &str, limit: f64, work: Work) {
        report.line(&format!("  {name}"), "");
        for kill in &self.kills {
            report.line(&format!("    {kill}"), "");
        }
        report.line("  in the log after", &seconds(self.logged));
        report.line("  visible after", &seconds(self.there));
        let figure = (work.changes(), "changes", self.there);
        report.rate_of("  changes from the start until visible", figure, limit);
        let what = format!("  the {} small ones behind and beside it after", self.beside - SMALL);
        report.line(&what, &seconds(self.all));
        let what = "  looks of the observer: before it, and with all of it";
        report.line(what, &format!("{} + {}", self.looks.without, self.looks.with));
        report.line("  bytes waiting at apply, at most", &format!("{} MiB", self.waiting >> 20));
        self.seen.print(report, "spool");
    }
}

impl Stage<'_> {
    /// Starts a product on a database of its own and follows it to the end; with `middle`, what an
    /// undisturbed product showed, its processes are killed half-way.
    async fn follow(
        &self,
        name: &str,
        brokers: Option<&str>,
        middle: Option<&Figures>,
    ) -> Result<Figures> {
        self.postgres.create_database(name)?;
        let directory = Scratch::new("lockstep-huge-")?;
        let budget = self.work.changes() * BUDGET;
        let configured = Product {
            source: self.source,
            postgres: self.postgres,
            // The broker may be one that an earlier run has used.
            pipeline: &format!("{name}-{}", Uuid::new_v4()),
            database: name,
            directory: directory.path(),
            brokers,
            task: "cdc",
            capture: "start = \"earliest\"",
            apply: &format!(
                "start = \"earliest\"\nmemory = \"{} B\"\nspool_budget = \"{budget} B\"",
                self.memory
            ),
        }
        .configure()?;
        let watch = Watch::begin(&configured.spool);
        let url = self.postgres.url(name);
        let stop = Shutdown::new();
        let looks = tokio::spawn(observe(url.clone(), self.work, stop.clone()));
        let stop_beside = Shutdown::new();
        let beside = tokio::spawn(beside(self.source.clone(), stop_beside.clone()));
        let client = limits::connect(self.postgres, name).await?;

        let started = Instant::now();
        let mut services = Services::start(configured, brokers.is_some(), &watch)?;
        let kills = match middle {
            Some(middle) => self.kill(&mut services, &watch, &client, brokers, middle).await?,
            None => Vec::new(),
        };
        let (mut waiting, mut logged) = (0, None);
        let there = loop {
            services.check()?;
            if let Some(status) = services.apply_status().await {
                waiting = waiting.max(status.memory_bytes + status.spool_bytes);
            }
            if logged.is_none()
                && let Some(status) = services.capture_status().await
                && status.tables.get("dbo.bench").is_some_and(|table| self.work.is_all(table))
            {
                logged = Some(started.elapsed());
            }
            if exists(&client, "SELECT FROM dbo.bench WHERE id = 0").await? {
                break started.elapsed();
            }
            ensure!(started.elapsed() < WITHIN, "the huge transaction does not arrive");
            tokio::time::sleep(LOOK).await;
        };
        stop_beside.cancel();
        let last = beside.await.context("the writer panicked")??;
        let arrived = format!("SELECT FROM dbo.beside WHERE id = {last}");
        while !exists(&client, &arrived).await? {
            services.check()?;
            ensure!(started.elapsed() < WITHIN, "what is behind the huge one does not arrive");
            tokio::time::sleep(LOOK).await;
        }
        let all = started.elapsed();
        stop.cancel();
        let looks = looks.await.context("the observer panicked")??;
        let found = contents_of_target(&client).await?;
        ensure!(found == self.contents, "the target has {found:?}, the source {:?}", self.contents);
        let seen = watch.end().await?;
        ensure!(
            seen.largest <= budget + STORE,
            "the spool took {} bytes, its budget is {budget}",
            seen.largest
        );
        let table = table_bytes(&client).await?;
        drop(services);
        self.postgres.psql("postgres", "CHECKPOINT")?;
        Ok(Figures {
            logged: logged.unwrap_or(there),
            there,
            all,
            waiting,
            table,
            kills,
            looks,
            beside: last,
            seen,
        })
    }

    /// Kills capture, when there is one to itself, once half of the huge transaction has come to apply,
    /// and apply once half of it is written; starts each again. Says where they were.
    async fn kill(
        &self,
        services: &mut Services,
        watch: &Watch,
        client: &Client,
        brokers: Option<&str>,
        middle: &Figures,
    ) -> Result<Vec<String>> {
        let mut kills = Vec::new();
        if brokers.is_some() {
            let half = middle.waiting / 2;
            let come = services
                .apply_says("half of the transaction comes", WITHIN, |status| {
                    status.memory_bytes + status.spool_bytes >= half
                })
                .await?;
            services.kill_capture();
            services.start_capture(watch)?;
            let come = come.memory_bytes + come.spool_bytes;
            let of = middle.waiting;
            kills.push(format!("capture killed when {come} of {of} bytes had come to apply"));
        }
        let deadline = Instant::now() + WITHIN;
        loop {
            let bytes = table_bytes(client).await?;
            if bytes >= middle.table / 2 {
                ensure!(
                    !exists(client, "SELECT FROM dbo.bench WHERE id = 0").await?,
                    "the transaction was there before apply could be killed"
                );
                services.kill_apply();
                services.start_apply(watch)?;
                kills.push(format!(
                    "apply killed when it had written {bytes} of {} bytes",
                    middle.table
                ));
                return Ok(kills);
            }
            services.check()?;
            ensure!(Instant::now() < deadline, "the transaction is not written");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// How often the observer looked.
struct Looks {
    without: u64,
    with: u64,
}

/// Looks until it is stopped, and fails on a state that must never be seen.
async fn observe(url: String, work: Work, stop: Shutdown) -> Result<Looks> {
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let mut looks = Looks { without: 0, with: 0 };
    while !stop.is_cancelled() {
        // Of rows that it leaves some are probed by key, others each time; one that it has updated and
        // one that it has deleted besides. One statement sees one state.
        let any = (looks.without * 7_919) % work.rows();
        let (last, gone) = (work.rows() - 1, work.rows());
        let question = format!(
            "SELECT (SELECT count(*) FROM dbo.bench WHERE id IN (0, {last})), \
             (SELECT count(*) FROM dbo.bench WHERE id IN ({any}, {gone})), \
             (SELECT count(*) FROM dbo.bench WHERE id = 1 AND a = -1), \
             (SELECT count(*) FROM dbo.beside), \
             (SELECT coalesce(max(id), 0)::bigint FROM dbo.beside)"
        );
        match client.query_one(&question, &[]).await {
            Ok(row) => {
                let seen: [i64; 5] = [row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)];
                let [ends, inner, updated, small, newest] = seen;
                let whole = match (ends, inner, updated) {
                    (0, 0, 0) => false,
                    (2, 1, 1) => true,
                    _ => anyhow::bail!("part of the huge transaction is visible: {seen:?}"),
                };
                ensure!(small == newest, "small transactions out of order: {seen:?}");
                ensure!(
                    whole == (newest > i64::try_from(SMALL)?) || newest == i64::try_from(SMALL)?,
                    "small transactions on the wrong side of the huge one: {seen:?}"
                );
                *if whole { &mut looks.with } else { &mut looks.without } += 1;
            }
            // The tables are made by apply.
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error).context("observe"),
        }
        let _ = tokio::time::timeout(OBSERVE, stop.cancelled()).await;
    }
    Ok(looks)
}

async fn exists(client: &Client, question: &str) -> Result<bool> {
    match client.query_opt(question, &[]).await {
        Ok(row) => Ok(row.is_some()),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_absent(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME))
}

/// What the table has on the disk, whoever may see it.
async fn table_bytes(client: &Client) -> Result<u64> {
    let question = "SELECT coalesce(pg_relation_size(to_regclass('dbo.bench')), 0)::bigint";
    Ok(u64::try_from(client.query_one(question, &[]).await?.get::<_, i64>(0))?)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
