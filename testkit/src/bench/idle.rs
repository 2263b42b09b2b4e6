//! What idle tables cost: the same rows of one table, captured alone and among a thousand others, and
//! how many statements capture sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, EmbeddedLog};
use lockstep_common::status::CaptureStatus;
use lockstep_common::{FailPoints, Shutdown};
use lockstep_log::Log;
use lockstep_servers::{Double, DoubleOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::figures::{Report, per_second};
use super::{Options, latency};
use crate::source::Source;

const TABLES: u64 = 1000;
/// Rows of the active table, each a transaction of its own.
const ROWS: u64 = 40_000;
/// Rows written and scanned at once.
const AT_ONCE: u64 = 500;
/// Milliseconds for which polls of a source where nothing happens are counted: some at any scale.
const COUNTED: u64 = 5_000;
const COUNTED_AT_LEAST: u64 = 600;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let (tables, rows) = (options.scaled(TABLES), options.scaled(ROWS));
    report.part(&format!("idle tables, {rows} transactions of one row in one table"));
    let counted = Duration::from_millis(options.scaled(COUNTED).max(COUNTED_AT_LEAST));
    let alone = one(1, rows, counted).await?;
    report.rate("the only captured table", rows, "rows", alone.time);
    shown(report, &alone);
    let among = one(tables, rows, counted).await?;
    let name = format!("one of {tables} captured tables");
    let limit = per_second(rows, alone.time);
    report.rate_of(&name, (rows, "rows", among.time), limit);
    shown(report, &among);
    Ok(())
}

fn shown(report: &mut Report, figures: &Figures) {
    report.line("  statements for all of them", &figures.busy.to_string());
    report.line("  statements a poll of the idle source", &format!("{:.2}", figures.idle));
}

struct Figures {
    /// From the first change in the log to the last.
    time: Duration,
    /// Statements from start to the last change, without those that settle what to follow.
    busy: u64,
    /// Statements a poll when nothing happens.
    idle: f64,
}

async fn one(tables: u64, rows: u64, counted: Duration) -> Result<Figures> {
    let double = Double::start(DoubleOptions::default())?;
    let source = latency::prepare(&double).await?;
    let mut connection = source.connect().await?;
    for table in 1..tables {
        let create =
            format!("CREATE TABLE dbo.idle_{table} (id int NOT NULL PRIMARY KEY, a int NULL)");
        connection.run(&create).await?;
        connection
            .run(&format!(
                "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', \
                 @source_name = N'idle_{table}', @role_name = NULL, @supports_net_changes = 0"
            ))
            .await?;
    }
    // The first row tells that capture has settled.
    latency::write(&mut connection, 0, 1).await?;
    latency::scan(&mut connection).await?;
    let counter = Counter::before(&source).await?;
    let directory = tempfile::tempdir()?;
    let log =
        config::Log::Embedded(EmbeddedLog { path: directory.path().join("log"), retention: None });
    let log: Arc<dyn Log> = lockstep_log::open(&log, "bench").await?;
    let text = format!(
        "host = \"127.0.0.1\"\nport = {}\ndatabase = {:?}\nuser = {:?}\npassword = {:?}\n\
         encrypt = \"off\"",
        counter.port, source.database, source.user, source.password
    );
    let settings = CaptureSettings {
        pipeline: "bench".to_owned(),
        task: config::Task::Cdc,
        source: toml::from_str(&text)?,
        capture: config::Capture { start: Some("earliest".to_owned()), ..Default::default() },
        reloads: Default::default(),
    };
    let (status, seen) = watch::channel(CaptureStatus::default());
    let service =
        lockstep_capture::run(settings, log, status, FailPoints::default(), Shutdown::new());
    let work = async {
        await_rows(seen.clone(), 1).await?;
        let mut written = 0;
        while written < rows {
            let now = AT_ONCE.min(rows - written);
            latency::write(&mut connection, written + 1, now).await?;
            written += now;
        }
        let (before, started) = (counter.statements(), Instant::now());
        // All of them at once: what capture finds is a backlog.
        latency::scan(&mut connection).await?;
        let scanned = started.elapsed();
        await_rows(seen, rows + 1).await?;
        let (time, busy) =
            (started.elapsed().saturating_sub(scanned), counter.statements() - before);
        let (before, polls) = (counter.statements(), counter.polls());
        tokio::time::sleep(counted).await;
        let idle = (counter.statements() - before) as f64 / (counter.polls() - polls).max(1) as f64;
        anyhow::Ok(Figures { time, busy, idle })
    };
    tokio::select! {
        result = service => {
            result?;
            bail!("capture ended before the last row");
        }
        figures = work => figures,
    }
}

async fn await_rows(mut seen: watch::Receiver<CaptureStatus>, rows: u64) -> Result<()> {
    let all = |status: &CaptureStatus| {
        status.tables.values().map(|table| table.inserts).sum::<u64>() >= rows
    };
    seen.wait_for(all).await.context("capture's status")?;
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
