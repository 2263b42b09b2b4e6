//! SQL Server through its change data capture tables. The only module that knows the driver and
//! that an LSN has ten bytes.
//!
//! # Why nothing is lost
//!
//! A window `(cursor, end]` ends at a closed LSN ([`window`]): everything at or below it is in the
//! change tables when the window is planned, and nothing will be added there. Rows leave a change
//! table only through cleanup, which raises the instance's low-water mark *before* it deletes. So
//! what was received before a moment at which no mark had passed the cursor is complete; that is
//! what [`Source::verify`] proves, for every followed instance, changed or not. Rows would also be
//! missed if an instance were dropped and made anew under the same name; then its mark is above
//! the cursor. They would be misread if a column changed its type meanwhile; `verify` compares the
//! change tables' columns after the read.
//!
//! A crash or an error at any line loses nothing: this module keeps no state that the log's cursor
//! does not give back, and the same window read again gives the same changes.

mod catalog;
mod connection;
mod decode;
mod errors;
mod feed;
mod fields;
mod followed;
mod identity;
mod instance;
mod load;
mod lsn;
mod mask;
mod merge;
mod merged;
mod order;
pub mod prerequisites;
mod settle;
mod spatial;
mod statements;
mod text;
mod time;
mod types;
mod variant;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use lockstep_common::{Failure, Position, TableVersion, config};
use tracing::info;

use self::catalog::{Ddl, DdlAccess};
use self::connection::{Lease, Pool};
use self::feed::{Feed, Range};
use self::fields::Fields;
use self::followed::Followed;
use self::instance::Standing;
use self::lsn::Lsn;
use self::window::MappingRow;
use super::load::Loader;
use super::{Changes, Cursor, Poll, Source, Start, Table, Window};

/// The timeline of a log that was never given another.
const FIRST_TIMELINE: u32 = 1;

/// A SQL Server database with change data capture.
pub struct SqlServer {
    pool: Arc<Pool>,
    database: String,
    /// Tables to follow, all when empty.
    tables: Vec<String>,
    window_transactions: u32,
    page_rows: u32,
    max_value_bytes: u64,
    timeline: u32,
    /// Instances that need no proof of when they began, by change table: those that were there when
    /// a new log was begun, and those seen before the capture job came to them.
    accepted: HashMap<i32, Option<Lsn>>,
    followed: Vec<Arc<Followed>>,
    plan: Option<Plan>,
    /// The first DDL after the cursor that was seen, if any.
    ddl: Option<Ddl>,
    ddl_access: DdlAccess,
    loads: Arc<load::Loads>,
}

/// What is to be read of the window that was planned last.
struct Plan {
    through: Position,
    /// Indexes into `followed`.
    changed: Vec<usize>,
}

impl SqlServer {
    /// Of the configured database. Connects to nothing yet.
    ///
    /// # Errors
    /// `Halt` when the password's file cannot be read.
    pub fn new(source: &config::Source, capture: &config::Capture) -> Result<Self, Failure> {
        let max_value_bytes = capture.max_value_bytes.as_u64();
        Ok(SqlServer {
            pool: Pool::new(source, capture.max_connections, max_value_bytes)?,
            database: source.database.clone(),
            tables: source.tables.clone(),
            window_transactions: capture.window_transactions,
            page_rows: capture.page_rows,
            max_value_bytes,
            timeline: FIRST_TIMELINE,
            accepted: HashMap::new(),
            followed: Vec::new(),
            plan: None,
            ddl: None,
            ddl_access: DdlAccess::default(),
            loads: Arc::new(load::Loads::new(source, capture)?),
        })
    }

    fn lsn(&self, position: &Position) -> Result<Lsn, Failure> {
        Lsn::from_position(position).ok_or_else(|| {
            Failure::halt(
                "source.position",
                format!("{position} is no position of a SQL Server database"),
                "a position is a timeline and an LSN, such as 1/00000027:00000758:0005",
            )
        })
    }

    fn instances(&self) -> Vec<&instance::Instance> {
        self.followed.iter().map(|followed| &followed.instance).collect()
    }

    /// Closed rows after `after`, the newest row of all that were shown, whether there is more, and
    /// the clock with its offset.
    async fn commits(&self, lease: &mut Lease, after: Lsn) -> Result<Commits, Failure> {
        let ask = window::rows_to_ask(self.window_transactions);
        let cursor = &after.as_bytes()[..];
        let results =
            lease.query(statements::COMMITS, &[&ask, &cursor], "look for commits").await?;
        let [rows, clock] = results.as_slice() else {
            return Err(wrong_results("look for commits"));
        };
        let rows = fields::mapping_rows(rows)?;
        Ok(Commits {
            newest: rows.last().map(|row| row.lsn),
            more: i64::try_from(rows.len()).is_ok_and(|count| count == ask),
            clock: clock_of(clock)?,
            closed: window::closed(rows),
        })
    }

    /// Leaves out what DDL has touched.
    ///
    /// # Errors
    /// The DDL itself, when everything before it has been read.
    fn stop_at_ddl(&self, rows: &mut Vec<MappingRow>) -> Result<bool, Failure> {
        let Some(ddl) = &self.ddl else { return Ok(false) };
        let before = rows.len();
        window::before(rows, ddl.lsn);
        if rows.is_empty() {
            return Err(ddl.failure());
        }
        Ok(rows.len() < before)
    }

    /// Proves for every followed instance that cleanup has not passed `after`.
    async fn guard(&self, lease: &mut Lease, after: Lsn) -> Result<(), Failure> {
        let instances = self.instances();
        let marks = catalog::low_water_marks(lease, &instances).await?;
        for (followed, mark) in self.followed.iter().zip(marks) {
            let floor = followed.begins.map_or(after, |begins| begins.previous().max(after));
            match instance::standing(mark, floor, false) {
                Standing::Covers => {}
                Standing::Gap(from, to) => return Err(instance::gap(&followed.instance, from, to)),
                // Gone, forbidden, or in between: only a new look at the catalogue tells.
                Standing::NotReady | Standing::Begins(_) => {
                    return Err(Failure::retry(
                        "source.instance",
                        format!(
                            "instance {} ({}) has no low-water mark",
                            followed.instance.name, followed.instance.table
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The planned instances' shapes and DDL after they were read.
    async fn check_read(
        &self,
        lease: &mut Lease,
        plan: &Plan,
        after: Lsn,
        through: Lsn,
    ) -> Result<(), Failure> {
        if plan.changed.is_empty() {
            return Ok(());
        }
        let read: Vec<&Followed> = plan.changed.iter().map(|i| &*self.followed[*i]).collect();
        let tables = read.iter().map(|followed| followed.instance.change_table_id).collect();
        let columns: BTreeMap<_, _> = catalog::columns(lease, tables).await?;
        for followed in &read {
            let now = columns.get(&followed.instance.change_table_id);
            followed.check_change_table(now.map_or(&[], Vec::as_slice))?;
        }
        let instances: Vec<_> = read.iter().map(|followed| &followed.instance).collect();
        let ddl = catalog::ddl(lease, self.ddl_access, &instances, after).await?;
        match ddl.into_iter().find(|ddl| ddl.lsn <= through) {
            // It was not shown when the window was planned. The next plan will stop before it.
            Some(ddl) => Err(Failure::retry(
                "source.ddl_appeared",
                format!("DDL of {} appeared at LSN {}", ddl.table, ddl.lsn),
            )),
            None => Ok(()),
        }
    }
}

/// What the mapping shows after a cursor.
struct Commits {
    closed: Vec<MappingRow>,
    newest: Option<Lsn>,
    more: bool,
    clock: (i64, i16),
}

fn wrong_results(doing: &str) -> Failure {
    Failure::halt(
        "source.metadata",
        format!("cannot {doing}: the server answered with another number of results"),
        "report this with the server's version",
    )
}

/// The server's clock and its offset.
fn clock_of(rows: &[tiberius::Row]) -> Result<(i64, i16), Failure> {
    let row = rows.first().ok_or_else(|| wrong_results("read the server's clock"))?;
    Fields::new(row, "SYSDATETIMEOFFSET()").datetime_offset("clock")
}

#[async_trait]
impl Source for SqlServer {
    async fn connect(&mut self) -> Result<String, Failure> {
        self.pool.clear();
        let mut lease = self.pool.get().await?;
        let identity = catalog::identity(&mut lease).await?;
        lease.keep();
        if !identity.cdc_enabled {
            return Err(catalog::cdc_off(&identity));
        }
        self.loads.connected(identity.collation);
        Ok(format!("{}/{}", identity.server, identity.database))
    }

    async fn locate(&mut self, start: Start) -> Result<Cursor, Failure> {
        let mut lease = self.pool.get().await?;
        let cursor = settle::locate(self, &mut lease, start).await?;
        lease.keep();
        Ok(cursor)
    }

    async fn resume(&mut self, cursor: &Cursor, known: &[TableVersion]) -> Result<(), Failure> {
        self.timeline = cursor.position.timeline();
        self.plan = None;
        self.ddl = None;
        // A refusal spoils the connection, so the question has one of its own.
        self.ddl_access = catalog::ddl_access(&mut self.pool.get().await?).await;
        let mut lease = self.pool.get().await?;
        self.followed = settle::settle(self, &mut lease, cursor, known).await?;
        lease.keep();
        for followed in &self.followed {
            info!(
                table = %followed.instance.table,
                instance = followed.instance.name,
                begins = ?followed.begins,
                "following"
            );
        }
        self.loads.resumed(self.timeline, &self.followed)
    }

    fn tables(&self, through: Position) -> Vec<Table> {
        let begun = |followed: &&Arc<Followed>| {
            followed.begins.is_none_or(|begins| begins.position(self.timeline) <= through)
        };
        self.followed.iter().filter(begun).map(|followed| followed.table.clone()).collect()
    }

    async fn poll(&mut self, after: Position) -> Result<Poll, Failure> {
        let cursor = self.lsn(&after)?;
        self.plan = None;
        let mut lease = self.pool.get().await?;
        let mut commits = self.commits(&mut lease, cursor).await?;
        let (now, offset) = commits.clock;
        self.loads.clock_changes.note(now, offset);
        let mut changed = Vec::new();
        if let Some(last) = commits.closed.last() {
            // Enabling a table leaves a row without a transaction: its first change may be in here.
            if commits.closed.iter().any(MappingRow::is_dummy) {
                settle::nothing_new(self, &mut lease, last.lsn).await?;
            }
            let instances = self.instances();
            changed = catalog::changed(&mut lease, &instances, cursor, last.lsn).await?;
            // Of all instances: a column added to a table without changes would go unnoticed.
            let ddl = catalog::ddl(&mut lease, self.ddl_access, &instances, cursor).await?;
            self.ddl = ddl.into_iter().next();
        }
        lease.keep();
        if commits.closed.is_empty() && self.ddl.is_none() {
            return Ok(poll(&commits, self.timeline, None));
        }
        let cut = self.stop_at_ddl(&mut commits.closed)?;
        let (_, offset) = commits.clock;
        let heads: Vec<_> =
            commits.closed.iter().map(|row| row.head(self.timeline, offset)).collect();
        let window = Window { after, heads, more: cut || commits.more };
        self.plan = Some(Plan { through: window.through(), changed });
        Ok(poll(&commits, self.timeline, Some(window)))
    }

    async fn read(&mut self, window: &Window) -> Result<Box<dyn Changes>, Failure> {
        let range =
            Range { after: self.lsn(&window.after)?, through: self.lsn(&window.through())? };
        let changed = match &self.plan {
            Some(plan) if plan.through == window.through() => plan.changed.clone(),
            _ => (0..self.followed.len()).collect(),
        };
        let (pool, rows, instances) = (&self.pool, self.page_rows, changed.len());
        // One connection stays free for `verify`, which is called while changes stream.
        let stream = changed.len() < pool.size();
        let feed = |i: usize| {
            let followed = Arc::clone(&self.followed[i]);
            match stream {
                true => Feed::stream(pool, followed, range),
                false => Feed::pages(pool, followed, range, rows, instances),
            }
        };
        let feeds = changed.into_iter().map(feed).collect();
        let lsns = window.heads.iter().map(|head| self.lsn(&head.position));
        Ok(Box::new(merged::Merged::new(feeds, lsns.collect::<Result<_, _>>()?)))
    }

    async fn verify(&mut self, window: &Window) -> Result<(), Failure> {
        let (after, through) = (self.lsn(&window.after)?, self.lsn(&window.through())?);
        let mut lease = self.pool.get().await?;
        if let Some(plan) = &self.plan {
            self.check_read(&mut lease, plan, after, through).await?;
        }
        self.guard(&mut lease, after).await?;
        lease.keep();
        Ok(())
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::clone(&self.loads) as _
    }

    async fn inspect(&mut self, after: Position) -> Result<Vec<String>, Failure> {
        let cursor = self.lsn(&after)?;
        let mut lease = self.pool.get().await?;
        let inspection = settle::inspect(self, &mut lease, cursor).await?;
        lease.keep();
        self.ddl = inspection.ddl;
        Ok(inspection.notices)
    }
}

fn poll(commits: &Commits, timeline: u32, window: Option<Window>) -> Poll {
    Poll {
        window,
        newest: commits.newest.map(|lsn| lsn.position(timeline)),
        clock: commits.clock.0,
    }
}
