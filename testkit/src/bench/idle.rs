//! What idle tables cost: the same rows of one table, captured alone and among a thousand others, and
//! how many statements capture sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, EmbeddedLog};
use lockstep_common::service::status::CaptureStatus;
use lockstep_common::{FailPoints, Shutdown};
use lockstep_log::Log;
use lockstep_servers::{Double, DoubleOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::figures::{Report, per_second, processor_time};
use super::{Options, latency};
use crate::source::{Connection, Source};

const TABLES: u64 = 1000;
/// Rows of the active table, each a transaction of its own.
const ROWS: u64 = 40_000;
/// How often so many rows wait; the best time is the figure.
const ROUNDS: u64 = 5;
/// Rows written and scanned at once.
const AT_ONCE: u64 = 500;
/// Transactions that come one after the other, each awaited.
const SINGLE: u64 = 200;
/// Short, so that what is measured is work and not waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Milliseconds for which polls of a source where nothing happens are counted: some at any scale.
const COUNTED: u64 = 5_000;
const COUNTED_AT_LEAST: u64 = 600;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let (tables, rows) = (options.scaled(TABLES), options.scaled(ROWS));
    report.part(&format!("idle tables, {rows} transactions of one row in one table"));
    let work = Work {
        rows,
        single: options.scaled(SINGLE),
        counted: Duration::from_millis(options.scaled(COUNTED).max(COUNTED_AT_LEAST)),
    };
    let alone = one(1, Rights::All, &work).await?;
    report.rate("the only captured table", rows, "rows", alone.behind);
    shown(report, rows, &alone);
    for (rights, name) in [
        (Rights::All, format!("one of {tables} captured tables")),
        (Rights::Least, "the same, by a login with SELECT on the tables alone".to_owned()),
    ] {
        let among = one(tables, rights, &work).await?;
        let limit = per_second(rows, alone.behind);
        report.rate_of(&name, (rows, "rows", among.behind), limit);
        shown(report, rows, &among);
    }
    Ok(())
}

fn shown(report: &mut Report, rows: u64, figures: &Figures) {
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    report.processor(rows, figures.behind_processor);
    report.line("  statements for all of them", &figures.statements.to_string());
    report.line("  a transaction that comes alone, over the poll", &milliseconds(figures.single));
    report.line("  processor time of it", &milliseconds(figures.single_processor));
    report.line("  statements for it", &format!("{:.2}", figures.single_statements));
    report.line("  statements a poll of the idle source", &format!("{:.2}", figures.idle));
}

/// What capture is to do.
struct Work {
    rows: u64,
    single: u64,
    counted: Duration,
}

/// What its login may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    All,
    Least,
}

struct Figures {
    /// For a backlog: from when it is visible to when it is in the log.
    behind: Duration,
    /// Processor time of this process, which writes nothing meanwhile.
    behind_processor: Duration,
    /// Statements for it.
    statements: u64,
    /// The same of a transaction that comes while capture has nothing else to do, at the median.
    single: Duration,
    single_processor: Duration,
    single_statements: f64,
    /// Statements a poll when nothing happens.
    idle: f64,
}

async fn one(tables: u64, rights: Rights, work: &Work) -> Result<Figures> {
    let double = Double::start(DoubleOptions::default())?;
    let mut source = latency::prepare(&double).await?;
    let mut connection = source.connect().await?;
    for table in 1..tables {
        capture_idle(&mut connection, table).await?;
    }
    if rights == Rights::Least {
        source = least_rights(source, &mut connection, tables).await?;
    }
    // The first row tells that capture has settled.
    latency::write(&mut connection, 0, 1).await?;
    latency::scan(&mut connection).await?;
    let counter = Counter::before(&source).await?;
    let directory = tempfile::tempdir()?;
    let log =
        config::Log::Embedded(EmbeddedLog { path: directory.path().join("log"), retention: None });
    let log: Arc<dyn Log> = lockstep_log::open(&log, "bench").await?;
    let (status, seen) = watch::channel(CaptureStatus::default());
    let service = lockstep_capture::run(
        settings(&source, counter.port)?,
        log,
        status,
        FailPoints::default(),
        Shutdown::new(),
    );
    let work = async {
        await_rows(&seen, 1).await?;
        let mut figures = backlogs(&mut connection, &seen, &counter, work).await?;
        singles(&mut connection, &seen, &counter, work, &mut figures).await?;
        let (before, polls) = (counter.statements(), counter.polls());
        tokio::time::sleep(work.counted).await;
        figures.idle =
            (counter.statements() - before) as f64 / (counter.polls() - polls).max(1) as f64;
        anyhow::Ok(figures)
    };
    tokio::select! {
        result = service => {
            result?;
            bail!("capture ended before the last row");
        }
        figures = work => figures,
    }
}

async fn capture_idle(connection: &mut Connection, table: u64) -> Result<()> {
    let create = format!("CREATE TABLE dbo.idle_{table} (id int NOT NULL PRIMARY KEY, a int NULL)");
    connection.run(&create).await?;
    let enable = format!(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'idle_{table}', \
         @role_name = NULL, @supports_net_changes = 0"
    );
    connection.run(&enable).await?;
    Ok(())
}

/// The source through a login that may SELECT from the captured tables and their change tables.
async fn least_rights(source: Source, connection: &mut Connection, tables: u64) -> Result<Source> {
    let (user, password) = ("reader".to_owned(), "Reader-Passw0rd!".to_owned());
    let login = format!("CREATE LOGIN {user} WITH PASSWORD = N'{password}', CHECK_POLICY = OFF");
    connection.run(&login).await?;
    connection.run(&format!("CREATE USER {user} FOR LOGIN {user}")).await?;
    let idle = (1..tables).map(|table| format!("idle_{table}"));
    for table in idle.chain(["bench".to_owned()]) {
        let grant = format!(
            "GRANT SELECT ON dbo.{table} TO {user}; GRANT SELECT ON cdc.dbo_{table}_CT TO {user}"
        );
        connection.run(&grant).await?;
    }
    Ok(Source { user, password, ..source })
}

fn settings(source: &Source, port: u16) -> Result<CaptureSettings> {
    let text = format!(
        "host = \"127.0.0.1\"\nport = {port}\ndatabase = {:?}\nuser = {:?}\npassword = {:?}\n\
         encrypt = \"off\"",
        source.database, source.user, source.password
    );
    Ok(CaptureSettings {
        pipeline: "bench".to_owned(),
        task: config::Task::Cdc,
        source: toml::from_str(&text)?,
        capture: config::Capture {
            start: Some("earliest".to_owned()),
            poll_interval: POLL_INTERVAL,
            ..Default::default()
        },
        reloads: Default::default(),
    })
}

/// Lets rows wait and then be captured, some times; the best of them.
async fn backlogs(
    connection: &mut Connection,
    seen: &watch::Receiver<CaptureStatus>,
    counter: &Counter,
    work: &Work,
) -> Result<Figures> {
    let (mut best, mut processor): (Option<Figures>, _) = (None, Duration::MAX);
    for round in 0..ROUNDS {
        let (first, mut written) = (round * work.rows + 1, 0);
        while written < work.rows {
            let now = AT_ONCE.min(work.rows - written);
            latency::write(connection, first + written, now).await?;
            written += now;
        }
        let (before, used) = (counter.statements(), processor_time()?);
        // All of them at once: what capture finds is a backlog.
        latency::scan(connection).await?;
        let started = Instant::now();
        await_rows(seen, first + work.rows).await?;
        let behind = started.elapsed();
        processor = processor.min(processor_time()?.saturating_sub(used));
        if best.as_ref().is_none_or(|best| behind < best.behind) {
            best = Some(Figures {
                behind,
                behind_processor: Duration::ZERO,
                statements: counter.statements() - before,
                single: Duration::ZERO,
                single_processor: Duration::ZERO,
                single_statements: 0.0,
                idle: 0.0,
            });
        }
    }
    let best = best.context("at least one round")?;
    Ok(Figures { behind_processor: processor, ..best })
}

/// Lets transactions come one after the other.
async fn singles(
    connection: &mut Connection,
    seen: &watch::Receiver<CaptureStatus>,
    counter: &Counter,
    work: &Work,
    figures: &mut Figures,
) -> Result<()> {
    let used = processor_time()?;
    let (mut times, mut statements, first) = (Vec::new(), 0, ROUNDS * work.rows + 1);
    for id in first..first + work.single {
        latency::write(connection, id, 1).await?;
        let (before, polls) = (counter.statements(), counter.polls());
        latency::scan(connection).await?;
        let started = Instant::now();
        await_rows(seen, id + 1).await?;
        times.push(started.elapsed());
        // Without the polls that came too early.
        let idle = (counter.polls() - polls).saturating_sub(1);
        statements += (counter.statements() - before).saturating_sub(idle);
    }
    times.sort_unstable();
    figures.single = times[times.len() / 2].saturating_sub(POLL_INTERVAL / 2);
    let single = u32::try_from(work.single)?;
    figures.single_processor = processor_time()?.saturating_sub(used) / single;
    figures.single_statements = statements as f64 / work.single as f64;
    Ok(())
}

async fn await_rows(seen: &watch::Receiver<CaptureStatus>, rows: u64) -> Result<()> {
    let all = |status: &CaptureStatus| {
        status.tables.values().map(|table| table.inserts).sum::<u64>() >= rows
    };
    seen.clone().wait_for(all).await.context("capture's status")?;
    Ok(())
}

/// Stands before the source and counts the statements that go through.
struct Counter {
    port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    statements: AtomicU64,
    polls: AtomicU64,
}

impl Counter {
    async fn before(source: &Source) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (counts, server) = (Arc::new(Counts::default()), (source.host.clone(), source.port));
        let shared = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, counts) = (server.clone(), Arc::clone(&shared));
                // A connection that breaks on one side ends on the other.
                tokio::spawn(async move { forward(client, server, &counts).await });
            }
        });
        Ok(Counter { port, counts })
    }

    fn statements(&self) -> u64 {
        self.counts.statements.load(Ordering::Relaxed)
    }

    fn polls(&self) -> u64 {
        self.counts.polls.load(Ordering::Relaxed)
    }
}

async fn forward(client: TcpStream, server: (String, u16), counts: &Counts) -> Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    // [MS-TDS] 2.2.3.1: type, status (bit 0: the message's last packet), length with the header's
    // eight bytes.
    const BATCH: u8 = 1;
    const RPC: u8 = 3;
    // Every poll asks for commits after the cursor, and nothing else does.
    let poll: Vec<u8> = "FROM cdc.lsn_time_mapping AS m WHERE m.start_lsn > "
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut header = [0; 8];
    while from_client.read_exact(&mut header).await.is_ok() {
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let mut packet = vec![0; length.saturating_sub(header.len())];
        from_client.read_exact(&mut packet).await?;
        if matches!(header[0], BATCH | RPC) && header[1] & 1 != 0 {
            counts.statements.fetch_add(1, Ordering::Relaxed);
            if packet.windows(poll.len()).any(|window| window == poll) {
                counts.polls.fetch_add(1, Ordering::Relaxed);
            }
        }
        to_server.write_all(&header).await?;
        to_server.write_all(&packet).await?;
    }
    back.abort();
    Ok(())
}
