//! SQL Server through its change data capture tables. The only module that knows the driver and
//! that an LSN has ten bytes.
//!
//! # Why nothing is lost
//!
//! A window `(cursor, end]` ends at a closed LSN ([`window`]): everything at or below it is in the
//! change tables when the window is planned, and nothing will be added there. Rows leave a change
//! table only through cleanup, which raises the instance's low-water mark *before* it deletes. So
//! what was received before a moment at which no mark had passed the cursor is complete; that is
//! what [`Source::verify`] proves: for every instance that is read, and for every other one that the
//! window says nothing of, unless it was proved before ([`probe`]). Rows would also be missed if an
//! instance were dropped and made anew under the same name; then its mark is above the cursor. They
//! would be misread if a column changed its type meanwhile; `verify` compares the change tables'
//! columns after the read.
//!
//! A crash or an error at any line loses nothing: this module keeps no state that the log's cursor
//! does not give back, and the same window read again gives the same changes.

mod captured_table;
mod catalog;
mod choice;
mod connection;
mod counts;
mod ddl;
mod decode;
mod errors;
mod fields;
mod forbidden;
mod held;
mod identity;
mod instance;
mod instance_reader;
mod load;
mod lsn;
mod mask;
mod max_values;
mod merge;
mod merged;
mod order;
pub mod prerequisites;
mod probe;
mod secured;
mod select;
mod spatial;
mod statements;
mod text;
mod time;
mod types;
mod validate;
mod variant;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use lockstep_common::Code;
use lockstep_common::service::status::HeldTable;
use lockstep_common::{Failure, Position, TableId, TableName, TableVersion, config};
use tracing::info;

use self::captured_table::CapturedTable;
use self::catalog::{Access, Accesses, Ddl, Versions};
use self::connection::{Lease, Pool};
use self::ddl::Passed;
use self::errors::wait_for_lock;
use self::fields::Fields;
use self::forbidden::Forbidden;
use self::instance::{Instance, Standing};
use self::instance_reader::{InstanceReader, Range};
use self::lsn::Lsn;
use self::probe::ChangeProbe;
use self::window::MappingRow;
use super::load::Loader;
use super::{
    Admitted, Changes, CommitFingerprint, Cursor, NewTables, Poll, Source, Start, Table, Window,
};

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
    followed: Vec<Arc<CapturedTable>>,
    /// What is to be done with tables that the log does not have, and those that are held.
    new_tables: NewTables,
    held: Vec<Instance>,
    /// Names that the log has of tables, by their `object_id`: a table may be renamed.
    names: HashMap<i64, TableName>,
    /// Captured tables that the login may not read.
    forbidden: Vec<Forbidden>,
    /// The catalogue shows what hides rows and values.
    secures: bool,
    /// Where the followed instances have changes, and what is read of the window planned last.
    probe: ChangeProbe,
    plan: Option<Range>,
    /// The first DDL after the cursor that was seen, if any.
    ddl: Option<Ddl>,
    /// DDL that changed nothing of what is replicated.
    passed: Passed,
    accesses: Accesses,
    /// Rows of the mapping asked for by a poll: few after one that met the capture job's open scan.
    ask: i64,
    /// The server's clock, and when it was read.
    clock: Option<(i64, Instant)>,
    notices: Vec<String>,
    versions: Versions,
    /// Transactional replication publishes the database.
    published: bool,
    /// The cursor's own row, and those of the window planned last: one of them is the next cursor's.
    fingerprints: Vec<(Lsn, CommitFingerprint)>,
    loads: Arc<load::Loads>,
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
            new_tables: NewTables::default(),
            held: Vec::new(),
            names: HashMap::new(),
            forbidden: Vec::new(),
            secures: false,
            probe: ChangeProbe::default(),
            plan: None,
            ddl: None,
            passed: Passed::default(),
            accesses: Accesses::default(),
            ask: window::rows_to_ask(capture.window_transactions),
            clock: None,
            notices: Vec::new(),
            versions: Versions::default(),
            published: false,
            fingerprints: Vec::new(),
            loads: Arc::new(load::Loads::new(source, capture)?),
        })
    }

    fn lsn(&self, position: &Position) -> Result<Lsn, Failure> {
        Lsn::from_position(position).ok_or_else(|| {
            Failure::new(
                Code::SourcePosition,
                format!("{position} is no position of a SQL Server database"),
            )
            .remedy("a position is a timeline and an LSN, such as 1/00000027:00000758:0005")
        })
    }

    fn instances(&self) -> Vec<&instance::Instance> {
        self.followed.iter().map(|followed| &followed.instance).collect()
    }

    /// The instances at these indexes of `followed`.
    fn some_instances(&self, indexes: &[usize]) -> Vec<&instance::Instance> {
        indexes.iter().map(|i| &self.followed[*i].instance).collect()
    }

    fn range(&self, window: &Window) -> Result<Range, Failure> {
        Ok(Range { after: self.lsn(&window.after)?, through: self.lsn(&window.through())? })
    }

    /// What is read of a window, as indexes of `followed`: what was planned, or everything.
    fn to_read(&self, range: Range) -> Vec<usize> {
        match self.is_planned(range) {
            true => self.probe.planned().to_vec(),
            false => (0..self.followed.len()).collect(),
        }
    }

    /// Whether it is the window that was planned last, or a part of it from its beginning on.
    fn is_planned(&self, range: Range) -> bool {
        self.plan.is_some_and(|plan| plan.after == range.after && range.through <= plan.through)
    }

    /// Closed rows after `after`, and what else the mapping shows.
    async fn commits(&self, lease: &mut Lease, after: Lsn) -> Result<Commits, Failure> {
        let (ask, most) = (self.ask, window::rows_to_ask(self.window_transactions));
        let cursor = &after.as_bytes()[..];
        let sql = statements::commits(ask == most);
        let results = lease.query(&sql, &[&ask, &cursor], "look for commits").await?;
        let [rows, newest, own, clock] = results.as_slice() else {
            return Err(wrong_results("look for commits"));
        };
        let (rows, newest) = (fields::mapping_rows(rows)?, fields::mapping_rows(newest)?);
        let (now, offset) = clock_of(clock)?;
        self.is_the_same(lease, after, &fields::mapping_rows(own)?).await?;
        let horizon = window::newest_closed(&newest, self.published);
        if let Some(row) = horizon {
            self.loads.sight.saw(row, offset);
        }
        Ok(Commits {
            newest: rows.last().map(|row| row.lsn),
            more: i64::try_from(rows.len()).is_ok_and(|count| count == ask),
            clock: (now, offset),
            horizon: horizon.map(|row| row.lsn),
            closed: window::closed(rows, self.published),
        })
    }

    /// The fingerprint of the cursor, if it is the one that was read last.
    fn fingerprint_at(&self, cursor: Lsn) -> Option<&CommitFingerprint> {
        self.fingerprints.iter().find(|(lsn, _)| *lsn == cursor).map(|(_, fingerprint)| fingerprint)
    }

    /// Proves that no transaction after `cursor` has been divided, where that may be.
    async fn nothing_split(&self, lease: &mut Lease, cursor: Lsn) -> Result<(), Failure> {
        if !self.published {
            return Ok(());
        }
        let cursor = &cursor.as_bytes()[..];
        let results =
            lease.query(statements::SPLIT, &[&cursor], "look for divided transactions").await?;
        let Some(row) = results.iter().flatten().next() else { return Ok(()) };
        let lsn = Fields::new(row, "cdc.lsn_time_mapping").mapping()?.lsn;
        Err(Failure::new(Code::SourceSplit, format!("the transaction with a part at LSN {lsn} was captured in several parts")).remedy("transactional replication divides it (MaxCmdsInTran of the Log Reader Agent, to be 0): its \
             parts may be out of order, and a target would see it in part. Set that, then begin a new \
             pipeline (new log)"))
    }

    /// Proves that the source still is the one that the cursor was read from. `own` is what it has there.
    async fn is_the_same(
        &self,
        lease: &mut Lease,
        cursor: Lsn,
        own: &[MappingRow],
    ) -> Result<(), Failure> {
        let Some(fingerprint) = self.fingerprint_at(cursor) else { return Ok(()) };
        if own.first().is_some_and(|row| identity::same(row, fingerprint)) {
            return Ok(());
        }
        let evidence = identity::evidence(lease, cursor).await?;
        identity::examine(cursor, Some(fingerprint), &evidence)
    }

    /// Says of which tables rows came or went that no change tells of.
    async fn count_rows(&mut self, cursor: Lsn) -> Result<(), Failure> {
        let Some((clock, read)) = self.clock else { return Ok(()) };
        let now = clock + i64::try_from(read.elapsed().as_nanos() / 100).unwrap_or_default();
        let reached = self.fingerprint_at(cursor).and_then(|fingerprint| {
            let time = &fingerprint.source_time;
            Some(time::to_utc(time::parse_datetime(&time.raw)?, time.offset))
        });
        let tables: Vec<i32> = self.instances().iter().map(|i| i.table_id).collect();
        let mut lease = self.pool.get().await?;
        let rows = load::row_counts(&mut lease, &tables).await?;
        lease.keep();
        let mut counts = self.loads.counts();
        for followed in &self.followed {
            let Some(rows) = rows.get(&followed.instance.table_id) else { continue };
            let (table, rows) = (followed.table.id, i64::try_from(*rows).unwrap_or(i64::MAX));
            let off = counts.look(table, rows, now, reached);
            if off != 0 {
                let name = &followed.instance.table;
                let (many, what) = (off.unsigned_abs(), if off > 0 { "more" } else { "fewer" });
                self.notices.push(format!(
                    "table {name} has {many} rows {what} than the changes that were captured account \
                     for: ALTER TABLE ... SWITCH is never captured; compare it with the target, or load it \
                     again (lockstep reload {name})"
                ));
            }
        }
        Ok(())
    }

    /// Proves that the login sees what it reads: neither masks instead of values nor some of the rows only.
    /// Returns whether the server has a way of hiding them at all.
    async fn nothing_hidden(&self) -> Result<bool, Failure> {
        let objects: Vec<i32> = self
            .instances()
            .iter()
            .flat_map(|instance| [instance.table_id, instance.change_table_id])
            .collect();
        let (lease, hidden) = secured::hidden(self.pool.get().await?, &objects).await?;
        let secures = lease.is_some();
        lease.into_iter().for_each(Lease::keep);
        match self.followed.iter().flat_map(|followed| hidden.of(followed)).next() {
            Some(failure) => Err(failure),
            None => Ok(secures),
        }
    }

    /// Finds out where changes are of a window `(after, last]`, so that it can be planned, and what DDL
    /// there is.
    async fn look(
        &mut self,
        lease: &mut Lease,
        commits: &Commits,
        after: Lsn,
        last: Lsn,
    ) -> Result<(), Failure> {
        // Enabling a table leaves a row without a transaction: its first change may be in here.
        if commits.closed.iter().any(MappingRow::is_dummy) {
            validate::nothing_new(self, lease, last).await?;
        }
        let asked = self.probe.to_ask(last);
        let horizon = commits.horizon.map_or(last, |horizon| horizon.max(last));
        let firsts =
            catalog::first_changes(lease, &self.some_instances(&asked), after, horizon).await?;
        self.probe.answered(&asked, &firsts, last, horizon);
        // Not only of those that changed: a column added to a table without changes would go
        // unnoticed.
        let instances = match self.accesses.ddl {
            Access::Table => self.instances(),
            Access::Each => {
                let read = self.probe.plan(last);
                let both: BTreeSet<usize> = asked.iter().chain(read).copied().collect();
                self.some_instances(&both.into_iter().collect::<Vec<_>>())
            }
        };
        let seen = catalog::ddl(lease, self.accesses.ddl, &instances, after).await?;
        let seen = ddl::that_matter(self, lease, seen).await?;
        self.ddl = self.ddl.take().into_iter().chain(seen).filter(|ddl| ddl.lsn > after).min();
        Ok(())
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

    /// Proves for these instances, given as indexes of `followed`, that cleanup has not passed `after`.
    async fn guard(&self, lease: &mut Lease, guarded: &[usize], after: Lsn) -> Result<(), Failure> {
        let instances = self.some_instances(guarded);
        let marks = catalog::low_water_marks(lease, self.accesses.marks, &instances).await?;
        for (i, mark) in guarded.iter().zip(marks) {
            let followed = &self.followed[*i];
            let floor = followed.begins.map_or(after, |begins| begins.previous().max(after));
            match instance::standing(mark, floor, false) {
                Standing::Covers => {}
                Standing::Gap(from, to) => return Err(instance::gap(&followed.instance, from, to)),
                // Gone, forbidden, or in between: only a new look at the catalogue tells.
                Standing::NotReady | Standing::Begins(_) => {
                    return Err(Failure::new(
                        Code::SourceInstanceNotYet,
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

    /// The shapes and DDL of instances, given as indexes of `followed`, after they were read.
    async fn check_read(
        &mut self,
        lease: &mut Lease,
        read: &[usize],
        range: Range,
    ) -> Result<(), Failure> {
        if read.is_empty() {
            return Ok(());
        }
        let read: Vec<Arc<CapturedTable>> =
            read.iter().map(|i| Arc::clone(&self.followed[*i])).collect();
        let tables = read.iter().map(|followed| followed.instance.change_table_id).collect();
        let columns: BTreeMap<_, _> = catalog::columns(lease, tables).await?;
        for followed in &read {
            let now = columns.get(&followed.instance.change_table_id);
            followed.check_change_table(now.map_or(&[], Vec::as_slice))?;
        }
        let instances: Vec<_> = read.iter().map(|followed| &followed.instance).collect();
        let ddl = catalog::ddl(lease, self.accesses.ddl, &instances, range.after).await?;
        let ddl = ddl::that_matter(self, lease, ddl).await?;
        match ddl.into_iter().find(|ddl| ddl.lsn <= range.through) {
            // It was not shown when the window was planned. The next plan will stop before it.
            Some(ddl) => Err(Failure::new(
                Code::SourceDdlAppeared,
                format!("DDL of {} appeared at LSN {}", ddl.table, ddl.lsn),
            )),
            None => Ok(()),
        }
    }

    async fn poll_once(&mut self, after: Position) -> Result<Poll, Failure> {
        let cursor = self.lsn(&after)?;
        self.plan = None;
        self.probe.forget();
        let mut lease = self.pool.get().await?;
        let mut commits = self.commits(&mut lease, cursor).await?;
        let (now, offset) = commits.clock;
        self.clock = Some((now, Instant::now()));
        self.loads.clock_changes.note(now, offset);
        if let Some(last) = commits.closed.last().map(|row| row.lsn) {
            self.nothing_split(&mut lease, cursor).await?;
            self.look(&mut lease, &commits, cursor, last).await?;
        }
        lease.keep();
        if commits.closed.is_empty() && self.ddl.is_none() {
            return Ok(poll(&commits, self.timeline, None));
        }
        let cut = self.stop_at_ddl(&mut commits.closed)?;
        let (_, offset) = commits.clock;
        let heads: Vec<_> =
            commits.closed.iter().map(|row| row.head(self.timeline, offset)).collect();
        self.fingerprints.retain(|(lsn, _)| *lsn == cursor);
        let fingerprint = |row: &MappingRow| (row.lsn, row.fingerprint(offset));
        self.fingerprints.extend(commits.closed.iter().map(fingerprint));
        let window = Window { after, heads, more: cut || commits.more };
        let range = self.range(&window)?;
        self.probe.plan(range.through);
        self.plan = Some(range);
        Ok(poll(&commits, self.timeline, Some(window)))
    }

    async fn verify_once(&mut self, window: &Window) -> Result<(), Failure> {
        let range = self.range(window)?;
        let mut lease = self.pool.get().await?;
        self.check_read(&mut lease, &self.to_read(range), range).await?;
        let planned = self.is_planned(range);
        let guarded = match planned {
            true => self.probe.to_guard(),
            false => (0..self.followed.len()).collect(),
        };
        self.guard(&mut lease, &guarded, range.after).await?;
        if planned {
            self.probe.proved();
        }
        lease.keep();
        Ok(())
    }
}

/// What the mapping shows after a cursor.
struct Commits {
    /// Closed rows after it.
    closed: Vec<MappingRow>,
    /// The newest closed LSN of all.
    horizon: Option<Lsn>,
    /// The last row after it that was shown.
    newest: Option<Lsn>,
    /// There is more.
    more: bool,
    /// The server's clock with its offset.
    clock: (i64, i16),
}

fn wrong_results(doing: &str) -> Failure {
    Failure::new(
        Code::SourceMetadata,
        format!("cannot {doing}: the server answered with another number of results"),
    )
    .remedy("report this with the server's version")
}

/// The server's clock and its offset.
fn clock_of(rows: &[tiberius::Row]) -> Result<(i64, i16), Failure> {
    let row = rows.first().ok_or_else(|| wrong_results("read the server's clock"))?;
    Fields::new(row, "SYSDATETIMEOFFSET()").datetime_offset("clock")
}

#[async_trait]
impl Source for SqlServer {
    fn captured_before(&mut self) {
        self.pool.established();
        self.loads.followed_before();
    }

    async fn connect(&mut self) -> Result<String, Failure> {
        self.pool.clear();
        let mut lease = self.pool.get().await?;
        let identity = catalog::identity(&mut lease).await?;
        lease.keep();
        if !identity.cdc_enabled {
            return Err(catalog::cdc_off(&identity));
        }
        (self.versions, self.published) = (identity.versions, identity.published);
        self.loads.connected(&identity);
        Ok(format!("{}/{}", identity.server, identity.database))
    }

    async fn locate(&mut self, start: Start) -> Result<Cursor, Failure> {
        let mut lease = self.pool.get().await?;
        let cursor = validate::locate(self, &mut lease, start).await?;
        lease.keep();
        Ok(cursor)
    }

    async fn resume(&mut self, cursor: &Cursor, known: &[TableVersion]) -> Result<(), Failure> {
        self.timeline = cursor.position.timeline();
        let fingerprint = cursor.fingerprint.clone().zip(Lsn::from_position(&cursor.position));
        self.fingerprints =
            fingerprint.map(|(fingerprint, lsn)| (lsn, fingerprint)).into_iter().collect();
        self.plan = None;
        self.ddl = None;
        // A refusal spoils the connection, so each question has one of its own.
        self.accesses.ddl = catalog::ddl_access(&mut self.pool.get().await?).await;
        self.accesses.marks = catalog::marks_access(&mut self.pool.get().await?).await;
        let mut lease = self.pool.get().await?;
        self.names = known.iter().map(|v| (v.object_id, v.name.clone())).collect();
        self.followed = validate::settle(self, &mut lease, cursor, known).await?;
        self.probe = ChangeProbe::new(self.followed.len());
        lease.keep();
        for followed in &self.followed {
            info!(
                table = %followed.instance.table,
                instance = followed.instance.name,
                begins = ?followed.begins,
                "following"
            );
        }
        self.secures = self.nothing_hidden().await?;
        self.loads.resumed(self.timeline, &self.followed, self.secures)
    }

    fn expect_new_tables(&mut self, new_tables: NewTables) {
        self.new_tables = new_tables;
    }

    fn held(&self) -> Vec<HeldTable> {
        match self.new_tables.hold || !self.new_tables.held.is_empty() {
            true => held::list(self),
            false => Vec::new(),
        }
    }

    async fn admit(&mut self, name: &str, after: Position) -> Result<Option<Admitted>, Failure> {
        let mut lease = self.pool.get().await?;
        let Some(admitted) = held::admit(self, &mut lease, name, after).await? else {
            lease.keep();
            return Ok(None);
        };
        lease.keep();
        let seen = match self.nothing_hidden().await {
            Ok(secures) => {
                self.secures = secures;
                self.loads.resumed(self.timeline, &self.followed, secures)
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = seen {
            self.dismiss_table(admitted.table.id);
            return Err(failure);
        }
        Ok(Some(admitted))
    }

    fn dismiss(&mut self, table: TableId) {
        self.dismiss_table(table);
    }

    fn tables(&self, through: Position) -> Vec<Table> {
        // What is loaded belongs to the log, wherever its changes begin.
        let loaded = |followed: &&Arc<CapturedTable>| {
            self.new_tables.begins.contains_key(&followed.table.version.object_id)
        };
        let begun = |followed: &&Arc<CapturedTable>| {
            loaded(followed)
                || followed.begins.is_none_or(|begins| begins.position(self.timeline) <= through)
        };
        self.followed.iter().filter(begun).map(|followed| followed.table.clone()).collect()
    }

    async fn poll(&mut self, after: Position) -> Result<Poll, Failure> {
        let most = window::rows_to_ask(self.window_transactions);
        match self.poll_once(after).await {
            Err(failure) if failure.code == Code::SourceLocked => {
                info!(%failure, "nothing new can be seen yet");
                // What the open scan has not come to is asked for alone.
                self.ask = window::FEWEST;
                let now = self.clock.map(|(clock, read)| {
                    clock + i64::try_from(read.elapsed().as_nanos() / 100).unwrap_or_default()
                });
                Ok(Poll { window: None, newest: None, clock: now })
            }
            polled => {
                self.ask = self.ask.saturating_mul(4).min(most);
                polled
            }
        }
    }

    async fn read(&mut self, window: &Window) -> Result<Box<dyn Changes>, Failure> {
        let range = self.range(window)?;
        let read = self.to_read(range);
        let (pool, instances) = (&self.pool, read.len());
        // One connection stays free for `verify`, which is called while changes stream. Where reads lock,
        // nothing streams: a statement would keep its locks for as long as the log takes to be written.
        let stream = instances < pool.size() && self.versions == Versions::Always;
        let rows = match self.versions {
            Versions::Always => self.page_rows,
            _ => self.page_rows.min(statements::MOST_LOCKED_ROWS),
        };
        let feed = |i: usize| {
            let followed = Arc::clone(&self.followed[i]);
            match stream {
                true => InstanceReader::stream(pool, followed, range),
                false => InstanceReader::pages(pool, followed, range, rows, instances),
            }
        };
        let feeds = read.into_iter().map(feed).collect();
        let lsns = window.heads.iter().map(|head| self.lsn(&head.position));
        Ok(Box::new(merged::Merged::new(feeds, lsns.collect::<Result<_, _>>()?)))
    }

    async fn verify(&mut self, window: &Window) -> Result<(), Failure> {
        while let Err(failure) = self.verify_once(window).await {
            wait_for_lock(failure).await?;
        }
        Ok(())
    }

    fn count_logged_rows(&mut self, table: TableId, more: i64) {
        self.loads.counts().followed(table, more);
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::clone(&self.loads) as _
    }

    async fn inspect(&mut self, after: Position) -> Result<Vec<String>, Failure> {
        let cursor = self.lsn(&after)?;
        let mut lease = self.pool.get().await?;
        match validate::inspect(self, &mut lease, cursor).await {
            // What was known stays so until the next look.
            Err(failure) if failure.code == Code::SourceLocked => return Ok(self.notices.clone()),
            Err(failure) => return Err(failure),
            Ok(notices) => self.notices = notices,
        }
        lease.keep();
        self.nothing_hidden().await?;
        self.count_rows(cursor).await?;
        Ok(self.notices.clone())
    }
}

fn poll(commits: &Commits, timeline: u32, window: Option<Window>) -> Poll {
    Poll {
        window,
        newest: commits.newest.map(|lsn| lsn.position(timeline)),
        clock: Some(commits.clock.0),
    }
}
