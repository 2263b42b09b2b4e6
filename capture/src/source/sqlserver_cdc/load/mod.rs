//! Full loads from SQL Server: rows of the tables themselves, beside the change tables.
//!
//! # What a chunk holds
//!
//! A chunk is read by statements of READ COMMITTED, set explicitly on every connection, never
//! NOLOCK: every row it gives was committed at the moment it was read, which lies after the call, so
//! after the bracket that opened the chunk was written. Nothing more is claimed, and nothing more is
//! needed:
//!
//! - With `READ_COMMITTED_SNAPSHOT` each of a chunk's statements ([`range`]) sees one moment. Where the
//!   database allows SNAPSHOT, the statements are sent under it, and it is the same.
//! - Elsewhere a statement takes and gives back its locks row by row, while it goes through an index.
//!   That index must be the key's, and a hint says so: through another one a row may be missed whose
//!   entry there moves, by a change of a column that need not even be captured, so that nothing would
//!   ever bring it. Through the key's, a row whose key is changed
//!   meanwhile may be met at its old key and again at its new one, or at neither; a row that is
//!   deleted and inserted again likewise. Each of these changes was committed after the statement
//!   began, so the stream carries it behind the bracket, where the target lays the stream's word
//!   over the chunk's: the old key's delete removes or withholds what was read there, the new key's
//!   insert brings the whole row. A row that no change touches meanwhile is met exactly once, since
//!   pieces and chunks tile the key space and are read in the key's order.
//!   Locks of rows with MAX values are kept to the end of the statement, and many become a lock of the
//!   table. So the range is read by statements of few rows, each read to its end before anybody waits for
//!   the log ([`pages`]).
//! - Rows are read from the table in the shape that it was settled with, and that the table still
//!   has it is proved on the same connection after the last row ([`table`]); a chunk that was not
//!   proved does not end.
//!
//! Exact loads read the same statements in snapshots ([`freeze`]).
//!
//! A crash or an error at any line loses nothing: this module keeps no state of a load. A chunk that
//! has not ended is read again.

mod clock;
mod definitions;
mod freeze;
mod key;
mod pages;
pub mod prerequisites;
mod range;
mod read;
mod seen;
mod signal;
mod survey;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use lockstep_common::Code;
use lockstep_common::config;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::ChunkRange;
use lockstep_common::{Failure, TableId, Value};
use tiberius::ToSql;

pub use self::clock::ClockChanges;
pub use self::key::{KeyColumn, Parameter};
use self::range::Bounds;
use self::read::{Home, TaskRows, Work};
use self::seen::Seen;
pub use self::seen::Sight;
pub use self::survey::row_counts;
use self::table::LoadTable;
use super::captured_table::CapturedTable;
use super::catalog::{Identity, Versions};
use super::connection::{Lease, Pool};
use super::counts::RowCounts;
use super::errors::wait_for_lock;
use super::identity;
use crate::source::load::{Clock, Frozen, Loader, Rows, Survey};
use crate::source::{Head, Table};

/// Connections beside the readers': the planner's, and the one that holds the locks of a freeze.
const OTHER_CONNECTIONS: usize = 2;

/// Reads rows of full loads.
pub struct Loads {
    pool: Arc<Pool>,
    validated: RwLock<Validated>,
    signal_table: Option<String>,
    lock_timeout: Duration,
    readers: usize,
    max_value_bytes: u64,
    /// Changes of the server's clock that the stream has seen.
    pub clock_changes: ClockChanges,
    /// The newest that the stream has seen.
    pub sight: Sight,
    counts: Mutex<RowCounts>,
}

/// What the stream has settled on.
#[derive(Default)]
struct Validated {
    timeline: u32,
    database_collation: Option<String>,
    versions: Versions,
    tables: HashMap<TableId, Arc<LoadTable>>,
}

impl Loads {
    /// Of the configured database. Connects to nothing yet.
    ///
    /// # Errors
    /// `Halt` when the password's file cannot be read.
    pub fn new(source: &config::Source, capture: &config::Capture) -> Result<Self, Failure> {
        let max_value_bytes = capture.max_value_bytes.as_u64();
        let readers = capture.load_readers.max(1);
        Ok(Loads {
            pool: Pool::for_loads(source, readers + OTHER_CONNECTIONS, max_value_bytes)?,
            validated: RwLock::default(),
            signal_table: capture.signal_table.clone(),
            lock_timeout: capture.lock_timeout,
            readers,
            max_value_bytes,
            clock_changes: ClockChanges::default(),
            sight: Sight::default(),
            counts: Mutex::default(),
        })
    }

    /// The log knows this source.
    pub fn followed_before(&self) {
        self.pool.established();
    }

    /// The source was connected to anew.
    pub fn connected(&self, identity: &Identity) {
        self.pool.clear();
        self.sight.connected(&identity.server);
        let mut settled = self.write();
        settled.database_collation = identity.collation.clone();
        settled.versions = identity.versions;
    }

    /// The stream has settled on what it follows.
    ///
    /// # Errors
    /// As [`LoadTable::new`].
    pub fn resumed(
        &self,
        timeline: u32,
        followed: &[Arc<CapturedTable>],
        secures: bool,
    ) -> Result<(), Failure> {
        let mut settled = self.write();
        let collation = settled.database_collation.clone();
        let table = |followed: &Arc<CapturedTable>| {
            let mut table = LoadTable::new(followed, collation.as_deref(), self.max_value_bytes)?;
            table.secures = secures;
            Ok((followed.table.id, Arc::new(table)))
        };
        settled.tables = followed.iter().map(table).collect::<Result<_, Failure>>()?;
        settled.timeline = timeline;
        Ok(())
    }

    /// What is known of the tables' numbers of rows.
    pub fn counts(&self) -> MutexGuard<'_, RowCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Validated> {
        self.validated.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Validated> {
        self.validated.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self, table: &Table) -> Result<Arc<LoadTable>, Failure> {
        self.read().tables.get(&table.id).cloned().ok_or_else(|| {
            Failure::new(
                Code::SourceLoad,
                format!("table {} is loaded in a version that is not followed", table.version.name),
            )
            .remedy("begin a new pipeline (new log) with the table as it is now or without it")
        })
    }

    fn timeline(&self) -> u32 {
        self.read().timeline
    }

    /// The followed table with this name.
    fn signal_target(&self, name: &str) -> Result<Arc<LoadTable>, Failure> {
        let settled = self.read();
        let found = settled.tables.values().find(|table| table.name.to_string() == name);
        found.cloned().ok_or_else(|| signal::Signal::not_followed(name))
    }

    fn tables(&self, tables: &[Table]) -> Result<Vec<Arc<LoadTable>>, Failure> {
        tables.iter().map(|table| self.table(table)).collect()
    }
}

#[async_trait]
impl Loader for Loads {
    async fn definitions(&self, tables: &[Table]) -> Result<Vec<Definition>, Failure> {
        let mut lease = self.pool.get().await?;
        let definitions = definitions::read(&mut lease, tables).await?;
        lease.keep();
        Ok(definitions)
    }

    async fn survey(&self, tables: &[Table]) -> Result<Vec<Survey>, Failure> {
        tables.iter().for_each(|table| self.counts().forget(table.id));
        survey::survey(&self.pool, tables, &self.tables(tables)?).await
    }

    async fn boundary(
        &self,
        table: &Table,
        lower: Option<&[Value<'static>]>,
        rows: u32,
    ) -> Result<Option<Vec<Value<'static>>>, Failure> {
        let table = self.table(table)?;
        let mut lease = self.pool.get().await?;
        let boundary = boundary(&mut lease, &table, lower, rows).await?;
        lease.keep();
        Ok(boundary)
    }

    async fn rows(&self, table: &Table, range: &ChunkRange) -> Result<Box<dyn Rows>, Failure> {
        let table = self.table(table)?;
        let work = match self.read().versions {
            Versions::Always => Work::Statement(statement(&table, range)?),
            Versions::OnRequest => Work::Versions(statement(&table, range)?),
            Versions::Never => Work::Pages(range.clone()),
        };
        let lease = self.pool.get().await?;
        Ok(Box::new(TaskRows::start(table, work, lease, Home::Pool)))
    }

    async fn clock(&self) -> Result<Clock, Failure> {
        let clock = clock::read(&self.pool, &self.clock_changes).await?;
        Ok(match self.mark() {
            Some(mark) => format!("{clock}; {mark}"),
            None => clock,
        })
    }

    fn mark(&self) -> Option<Clock> {
        self.sight.seen().map(|seen| seen.to_string())
    }

    async fn recognise(&self, mark: &Clock) -> Result<Clock, Failure> {
        let Some(seen) = Seen::parse(mark) else { return Ok(mark.clone()) };
        let evidence = loop {
            let mut lease = self.pool.get().await?;
            match identity::evidence(&mut lease, seen.lsn).await {
                Ok(evidence) => {
                    lease.keep();
                    break evidence;
                }
                Err(failure) => wait_for_lock(failure).await?,
            }
        };
        identity::examine_rows(seen.lsn, &seen.fingerprint, &evidence)?;
        Ok(if self.sight.is_here(&seen) { mark.clone() } else { seen.to_string() })
    }

    fn proves(&self, head: &Head, clock: &Clock) -> bool {
        clock::proves(head, clock)
    }

    async fn signal(&self) -> Result<Option<String>, Failure> {
        let Some(name) = &self.signal_table else { return Ok(None) };
        let target = self.signal_target(name)?;
        let signal = signal::Signal::new(name, &target)?;
        let mut lease = self.pool.get().await?;
        let text = signal.send(&mut lease).await?;
        lease.keep();
        Ok(Some(text))
    }

    async fn freeze(&self, tables: &[Table], readers: usize) -> Result<Frozen, Failure> {
        let shapes = self.tables(tables)?;
        let tables: Vec<_> = tables.iter().map(|table| table.id).zip(shapes).collect();
        freeze::freeze(self, &tables, readers).await
    }
}

/// The statement that reads a range.
fn statement(table: &LoadTable, range: &ChunkRange) -> Result<range::RangeStatement, Failure> {
    let bounds = Bounds { lower: range.lower.as_deref(), upper: range.upper.as_deref() };
    let key = match &table.key {
        Ok(key) => key.as_slice(),
        Err(_) => &[],
    };
    range::rows(&table.list, &table.from, key, bounds).map_err(|error| table.not_of_key(error))
}

/// The key of the `rows`th row above `lower`.
async fn boundary(
    lease: &mut Lease,
    table: &LoadTable,
    lower: Option<&[Value<'static>]>,
    rows: u32,
) -> Result<Option<Vec<Value<'static>>>, Failure> {
    let key = table.key.as_ref().map_err(|_| table.not_of_key(range::NotOfKey))?;
    let statement = range::boundary(&table.key_list, &table.from, key, lower, rows)
        .map_err(|error| table.not_of_key(error))?;
    let parameters: Vec<&dyn ToSql> =
        statement.parameters.iter().map(|parameter| parameter as &dyn ToSql).collect();
    let results = match lease.try_query(&statement.sql, &parameters).await {
        Ok(results) => results,
        Err(error) => return Err(table.classify(lease, error)),
    };
    let Some(row) = results.into_iter().flatten().next() else { return Ok(None) };
    let found = table.key_row(row)?;
    if lower == Some(found.as_slice()) {
        return Err(table.never_ends());
    }
    Ok(Some(found))
}
