//! Snapshots of one position, for the exact handoff.
//!
//! # The protocol
//!
//! Connection A holds locks, connections B1 … Bn become the snapshots. All are made, and everything
//! that can be refused is asked for, before the first lock is taken.
//!
//! 1. A, at READ COMMITTED, takes a shared lock on every table and keeps it (`TABLOCK, HOLDLOCK`; an
//!    empty table is locked as well as another). Each waits for the writers of its table and keeps
//!    new ones out; readers are not hindered.
//! 2. Each B, at SNAPSHOT, begins a transaction and reads a row: only the first access to data fixes
//!    what a snapshot sees. Then it sets a savepoint, which writes a log record, and reads that
//!    record's LSN.
//! 3. A rolls back. The frozen position L is the smallest of the LSNs.
//!
//! # Why L is exact
//!
//! Take any transaction that changed a frozen table. Its lock on the table conflicts with A's, so it
//! ended wholly before A had its lock, or it got its lock after A's rollback.
//!
//! - *Before*: its commit record was written before A's lock was granted, so it is below every
//!   savepoint, hence `<= L`; and every B fixed its sight after the grant, so it sees the transaction.
//! - *After*: its commit record is above every savepoint, hence `> L`; and every B had fixed its sight
//!   before, so none sees it.
//!
//! So what was committed at or below L is in every snapshot, all of it, and nothing else is; and all
//! snapshots show the same. Transactions on other tables may commit between the savepoints: they are
//! in none of the frozen tables. Neither capture's lag nor a clock matters.
//!
//! # Without the right to see LSNs
//!
//! Step 2's LSN needs VIEW SERVER STATE. Without it, and with a signal table ([`super::signal`]), a
//! connection M writes a signal between steps 1 and 2 and keeps its transaction open, with an
//! exclusive lock on the signal table; it commits between steps 2 and 3. Its commit lies after every
//! *before* and ahead of every *after*, so L is its commit LSN, which the change table tells once the
//! capture job has come to it. The signal table itself may be among the frozen ones: then M's lock
//! freezes it, in A's place, and M's own row comes and goes within one transaction that no snapshot
//! sees anything of.
//!
//! # Waits
//!
//! A takes its locks within `capture.lock_timeout`, all of them together, or none: writers wait no
//! longer than that, and as long again for the snapshots, which take milliseconds. A B waits for no
//! writer. It may queue behind DDL that waits for A's lock, so it has the same limit, or A and B would
//! wait for ever. In a deadlock with writers A is the one that yields.
//!
//! # Crashes
//!
//! Locks and snapshots live in connections. Whatever fails, at whichever line, every connection of
//! the freeze is dropped, and the server rolls back what was open; a process that dies drops them
//! too, and a lock wait that the server has not noticed to be abandoned ends by its own limit. M
//! leaves no row behind, committed or not. Nothing has been written to the log yet: the caller freezes
//! anew. A snapshot that dies later takes its table's load with it, which begins anew at its own L.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use lockstep_common::Code;
use lockstep_common::model::load::ChunkRange;
use lockstep_common::{Failure, TableId, Value};
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::super::connection::Lease;
use super::super::errors::wait_for_lock;
use super::super::fields::Fields;
use super::super::lsn::Lsn;
use super::super::wrong_results;
use super::clock;
use super::read::{Home, TaskRows, Work};
use super::signal::Signal;
use super::table::LoadTable;
use super::{Loads, boundary, statement};
use crate::source::Table;
use crate::source::load::{Frozen, Rows, Snapshot};

/// Longest wait for the capture job to come to a signal, and how often it is looked for.
const SIGNAL_WAIT: Duration = Duration::from_secs(300);
const SIGNAL_POLL: Duration = Duration::from_millis(200);

/// Freezes tables and opens `readers` snapshots of them.
pub async fn freeze(
    loads: &Loads,
    tables: &[(TableId, Arc<LoadTable>)],
    readers: usize,
) -> Result<Frozen, Failure> {
    let way = position_method(loads).await?;
    let mut locks = loads.pool.get().await?;
    allowed(&mut locks).await?;
    let mut leases = Vec::new();
    for _ in 0..readers.clamp(1, loads.readers) {
        leases.push(loads.pool.get().await?);
    }
    let mut marker = match &way {
        PositionMethod::Savepoint => None,
        PositionMethod::Signal(signal, _) => Some((signal, loads.pool.get().await?)),
    };
    let limit = loads.lock_timeout;
    let but = match &way {
        PositionMethod::Savepoint => None,
        PositionMethod::Signal(_, table) => Some(*table),
    };
    within(limit, lock(&mut locks, tables, but, limit)).await?;
    let opened = async {
        let text = match &mut marker {
            None => None,
            Some((signal, lease)) => Some(signal.hold(lease, limit).await?),
        };
        let first = tables.iter().find(|(_, table)| Some(table.object_id) != but);
        let snapshots =
            leases.into_iter().map(|lease| open(lease, first.map(|(_, t)| t), limit, &way));
        let opened = try_join_all(snapshots).await?;
        if let Some((_, lease)) = &mut marker {
            lease.batch("COMMIT TRANSACTION", "commit the signal").await?;
        }
        locks.batch("ROLLBACK TRANSACTION", "release the locks of the freeze").await?;
        Ok((text, opened))
    };
    let (text, opened) = within(limit, opened).await?;
    // Settings of the freeze stay with their connections, which are not used again.
    drop(locks);
    let (leases, lsns): (Vec<Lease>, Vec<Option<Lsn>>) = opened.into_iter().unzip();
    let frozen_at = match (text, marker) {
        (Some(text), Some((signal, lease))) => {
            drop(lease);
            Some(await_signal(loads, signal, &text).await?)
        }
        _ => lsns.into_iter().flatten().min(),
    };
    let lsn = frozen_at.ok_or_else(|| wrong_results("read the position of the snapshots"))?;
    let tables = Arc::new(tables.to_vec());
    Ok(Frozen {
        position: lsn.position(loads.timeline()),
        snapshots: leases
            .into_iter()
            .map(|lease| {
                let tables = Arc::clone(&tables);
                Box::new(SnapshotReader { tables, lease: Some(lease) }) as Box<dyn Snapshot>
            })
            .collect(),
    })
}

/// How the frozen position is found out.
enum PositionMethod {
    /// By the savepoints' LSNs.
    Savepoint,
    /// By a signal in the table with this `object_id`.
    Signal(Signal, i32),
}

async fn position_method(loads: &Loads) -> Result<PositionMethod, Failure> {
    // A refusal spoils the connection, so the question has one of its own.
    let mut lease = loads.pool.get().await?;
    if clock::log_position(&mut lease).await?.is_some() {
        lease.keep();
        return Ok(PositionMethod::Savepoint);
    }
    let Some(name) = &loads.signal_table else {
        return Err(no_position());
    };
    let table = loads.signal_target(name)?;
    Ok(PositionMethod::Signal(Signal::new(name, &table)?, table.object_id))
}

/// The failure of a login that may neither see positions nor write signals.
pub fn no_position() -> Failure {
    Failure::new(
        Code::SourceFreeze,
        "the exact handoff must learn the log's position, and the login may not",
    )
    .remedy(
        "GRANT VIEW SERVER STATE to it (from SQL Server 2022 on, VIEW SERVER PERFORMANCE STATE is \
         enough; on Azure SQL Database, VIEW DATABASE STATE), or name a captured table in \
         capture.signal_table that it may write to",
    )
}

/// Whether the database allows snapshots (`sys.databases.snapshot_isolation_state`).
pub async fn allowed(lease: &mut Lease) -> Result<(), Failure> {
    const SQL: &str = "SELECT d.name, d.snapshot_isolation_state AS state \
         FROM sys.databases AS d WHERE d.database_id = DB_ID()";
    let results = lease.batch(SQL, "read sys.databases").await?;
    let row = results.iter().flatten().next().ok_or_else(|| wrong_results("read sys.databases"))?;
    let fields = Fields::new(row, "sys.databases");
    match fields.number("state")? {
        Some(1) => Ok(()),
        Some(3) => Err(Failure::new(
            Code::SourceUnavailable,
            "the database is on its way to allowing snapshot isolation",
        )),
        _ => Err(no_snapshots(&fields.name("name")?)),
    }
}

/// The failure of a database without snapshot isolation.
pub fn no_snapshots(database: &str) -> Failure {
    Failure::new(Code::SourceSnapshotIsolation, format!(
            "database {database} does not allow snapshot isolation, which the exact handoff needs"
        )).remedy(format!(
            "ALTER DATABASE [{database}] SET ALLOW_SNAPSHOT_ISOLATION ON; tables with a key can be loaded with \
         capture.handoff = \"bracketed\" without it"
        ))
}

/// Within the freeze's limit.
async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout(limit.saturating_add(Duration::from_millis(500)), step).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(
            Code::SourceBusy,
            format!(
                "the tables could not be frozen within capture.lock_timeout ({} s): writers hold \
                 their locks for longer",
                limit.as_secs_f64()
            ),
        )),
    }
}

fn milliseconds(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
}

/// Takes the shared locks, but for the table `but`, and keeps them.
async fn lock(
    lease: &mut Lease,
    tables: &[(TableId, Arc<LoadTable>)],
    but: Option<i32>,
    limit: Duration,
) -> Result<(), Failure> {
    let mut tables: Vec<&Arc<LoadTable>> = tables
        .iter()
        .map(|(_, table)| table)
        .filter(|table| Some(table.object_id) != but)
        .collect();
    // One order for all freezes: two of them cannot wait for each other.
    tables.sort_by_key(|table| table.object_id);
    let lock = |(i, table): (usize, &&Arc<LoadTable>)| {
        format!(
            "SET @at = {i}; SELECT TOP (1) @found = 1 FROM {} WITH (TABLOCK, HOLDLOCK); ",
            table.from
        )
    };
    let locks: String = tables.iter().enumerate().map(lock).collect();
    let sql = format!(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCK_TIMEOUT {}; \
         DECLARE @at int, @found int; SET @at = 0; BEGIN TRANSACTION; \
         BEGIN TRY {locks} END TRY \
         BEGIN CATCH IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION; \
         SELECT @at AS failed, ERROR_NUMBER() AS number, ERROR_MESSAGE() AS message END CATCH",
        milliseconds(limit)
    );
    let results = match lease.try_batch(&sql).await {
        Ok(results) => results,
        // A name that is gone ends the batch before it begins; the message says which.
        Err(error) => match tables.first() {
            Some(table) if tables.len() == 1 => return Err(table.classify(lease, error)),
            _ => return Err(lease.classify(error, "lock the tables of the load")),
        },
    };
    let Some(row) = results.iter().flatten().next() else { return Ok(()) };
    let fields = Fields::new(row, "the locks of the freeze");
    let at: usize = fields.integer("failed")?;
    let table = tables.get(at).map_or_else(String::new, |table| table.name.to_string());
    let (number, message) = (fields.number("number")?, fields.text("message")?);
    let message = message.unwrap_or_default();
    match number {
        Some(1222) => Err(Failure::new(
            Code::SourceBusy,
            format!(
                "table {table} could not be locked within capture.lock_timeout ({} s): a writer \
                 holds its locks for longer",
                limit.as_secs_f64()
            ),
        )),
        Some(1205) => {
            Err(Failure::new(Code::SourceBusy, format!("cannot lock {table}: {message}")))
        }
        number => Err(Failure::new(
            Code::SourceFreeze,
            format!("cannot lock {table}: error {}: {message}", number.unwrap_or_default()),
        )
        .remedy("GRANT SELECT on it, or take it out of source.tables")),
    }
}

/// Begins a snapshot and makes it real; its savepoint's LSN where it may be seen.
async fn open(
    mut lease: Lease,
    first: Option<&Arc<LoadTable>>,
    limit: Duration,
    way: &PositionMethod,
) -> Result<(Lease, Option<Lsn>), Failure> {
    const DOING: &str = "open a snapshot";
    // The mapping has a row whenever a table is captured; the table may be empty.
    let table = first.map_or_else(String::new, |table| {
        format!("SELECT TOP (1) @found = 1 FROM {}; ", table.from)
    });
    let end = match way {
        PositionMethod::Savepoint => format!("SAVE TRANSACTION lockstep; {}", clock::SAVEPOINT),
        PositionMethod::Signal(..) => String::new(),
    };
    let sql = format!(
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SET LOCK_TIMEOUT {}; DECLARE @found int; \
         BEGIN TRANSACTION; SELECT TOP (1) @found = 1 FROM cdc.lsn_time_mapping; {table}{end}",
        milliseconds(limit)
    );
    let results = match lease.try_batch(&sql).await {
        Ok(results) => results,
        Err(error) if error.code() == Some(3952) => {
            return Err(no_snapshots("of the source").with_source(error));
        }
        Err(error) => return Err(lease.classify(error, DOING)),
    };
    let lsn = match way {
        PositionMethod::Savepoint => Some(clock::savepoint(&results, DOING)?),
        PositionMethod::Signal(..) => None,
    };
    Ok((lease, lsn))
}

/// The commit LSN of a signal, once the capture job has come to it.
async fn await_signal(loads: &Loads, signal: &Signal, text: &str) -> Result<Lsn, Failure> {
    let deadline = Instant::now() + SIGNAL_WAIT;
    let mut ticks = tokio::time::interval(SIGNAL_POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // The server tells nobody when the capture job has written: it must be asked.
        ticks.tick().await;
        let mut lease = loads.pool.get().await?;
        match signal.find(&mut lease, text).await {
            Ok(Some(lsn)) => {
                lease.keep();
                return Ok(lsn);
            }
            Ok(None) => lease.keep(),
            Err(failure) => wait_for_lock(failure).await?,
        }
        if Instant::now() > deadline {
            return Err(Failure::new(
                Code::SourceBusy,
                format!(
                    "the capture job has not come to the signal of the freeze within {} s: check \
                     SQL Server Agent and the capture job",
                    SIGNAL_WAIT.as_secs()
                ),
            ));
        }
    }
}

/// A snapshot on its connection.
struct SnapshotReader {
    tables: Arc<Vec<(TableId, Arc<LoadTable>)>>,
    /// None once it is lost.
    lease: Option<Lease>,
}

impl SnapshotReader {
    fn table(&self, table: &Table) -> Result<Arc<LoadTable>, Failure> {
        let found = self.tables.iter().find(|(id, _)| *id == table.id);
        found.map(|(_, table)| Arc::clone(table)).ok_or_else(|| {
            let name = &table.version.name;
            Failure::new(Code::SourceLoad, format!("table {name} is not in the snapshot"))
                .remedy("report this")
        })
    }

    /// Its connection; what does not put it back loses the snapshot.
    fn take(&mut self) -> Result<Lease, Failure> {
        self.lease.take().ok_or_else(|| Failure::new(Code::SourceLoadAgain, "the snapshot is gone"))
    }
}

#[async_trait]
impl Snapshot for SnapshotReader {
    async fn boundary(
        &mut self,
        table: &Table,
        lower: Option<&[Value<'static>]>,
        rows: u32,
    ) -> Result<Option<Vec<Value<'static>>>, Failure> {
        let table = self.table(table)?;
        let mut lease = self.take()?;
        let found = boundary(&mut lease, &table, lower, rows).await?;
        self.lease = Some(lease);
        Ok(found)
    }

    async fn rows<'a>(
        &'a mut self,
        table: &Table,
        range: &ChunkRange,
    ) -> Result<Box<dyn Rows + 'a>, Failure> {
        let table = self.table(table)?;
        let statement = statement(&table, range)?;
        let lease = self.take()?;
        let work = Work::Statement(statement);
        Ok(Box::new(TaskRows::start(table, work, lease, Home::Snapshot(&mut self.lease))))
    }
}
