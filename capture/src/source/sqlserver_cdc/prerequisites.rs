//! What must hold before a source can be read: every prerequisite is examined and reported, whatever
//! becomes of the others.
//!
//! What needs rights that capture itself does not need (Agent's state, the CDC jobs) degrades to a
//! warning that says which right would show it.

use lockstep_common::Code;
use lockstep_common::config;
use lockstep_common::service::check::CheckResult;
use lockstep_common::{Failure, TICKS_PER_SECOND};

use super::catalog::{self, Identity};
use super::choice::{self, Candidate};
use super::connection::{Lease, Pool};
use super::fields::{self, Fields};
use super::followed::Followed;
use super::forbidden::{self, Forbidden};
use super::instance::Instance;
use super::lsn::Lsn;
use super::settle::STALLED_SECONDS;
use super::window::MappingRow;
use super::{SqlServer, load, secured, select, statements, time, types};
use crate::source::{Source, Start};

const INSTANCES: &str = "capture instances";
const ENABLE: &str = "EXEC sys.sp_cdc_enable_table for the table; GRANT SELECT on the table and on its \
     change table to the login's user (and the instance's role, if it has one)";
/// Headroom below which retention is too short for comfort: an outage over a weekend.
const HEADROOM_SECONDS: i64 = 24 * 60 * 60;
/// SQL Server's default of `max text repl size`.
const DEFAULT_TEXT_REPLICATION: i64 = 65_536;

/// Examines what a full load of the tables needs beside what [`check`] examines: rights on the tables
/// themselves, keys, and what freezes tables where that is wanted or needed.
pub async fn check_load(source: &config::Source, capture: &config::Capture) -> Vec<CheckResult> {
    let settled = async {
        let mut server = SqlServer::new(source, capture)?;
        server.connect().await?;
        let cursor = server.locate(Start::Now).await?;
        server.resume(&cursor, &[]).await?;
        Ok::<_, Failure>(server)
    };
    match settled.await {
        Ok(server) => load::prerequisites::check(&server.loads, capture.handoff).await,
        Err(failure) => vec![CheckResult::failed("full load", &failure)],
    }
}

/// Examines all of it, in a fixed order.
pub async fn check(source: &config::Source) -> Vec<CheckResult> {
    let max_value_bytes = config::Capture::default().max_value_bytes.as_u64();
    let mut results = Vec::new();
    let pool = match Pool::new(source, 1, max_value_bytes) {
        Ok(pool) => pool,
        Err(failure) => return vec![CheckResult::failed("login", &failure)],
    };
    let mut lease = match pool.get().await {
        Ok(lease) => lease,
        Err(failure) => return vec![CheckResult::failed("login", &failure)],
    };
    let address = source.address();
    results.push(CheckResult::pass("login", format!("{} at {address}", source.user)));
    let identity = match catalog::identity(&mut lease).await {
        Ok(identity) => identity,
        Err(failure) => {
            results.push(CheckResult::failed("database", &failure));
            return results;
        }
    };
    let what = format!("{} on {}", identity.database, identity.server);
    results.push(CheckResult::pass("database", what));
    if !identity.cdc_enabled {
        results.push(CheckResult::failed("change data capture", &catalog::cdc_off(&identity)));
        return results;
    }
    results.push(CheckResult::pass("change data capture", "enabled"));
    // Every further question on a connection of its own: an error must not spoil the next answer.
    drop(lease);
    let examined = Examined { pool, source, identity };
    results.push(examined.agent().await);
    results.push(examined.jobs().await);
    results.push(examined.mapping().await);
    results.push(examined.text_replication().await);
    results.push(examined.partition_switch().await);
    results.push(examined.policies().await);
    results.extend(examined.replication());
    results.extend(examined.tables().await);
    results
}

struct Examined<'a> {
    pool: std::sync::Arc<Pool>,
    source: &'a config::Source,
    identity: Identity,
}

impl Examined<'_> {
    async fn lease(&self) -> Result<Lease, Failure> {
        self.pool.get().await
    }

    async fn agent(&self) -> CheckResult {
        const NAME: &str = "SQL Server Agent";
        let found = async {
            let mut lease = self.lease().await?;
            let results = lease.batch(statements::AGENT, "read sys.dm_server_services").await?;
            lease.keep();
            let row = results.first().and_then(|rows| rows.first());
            row.map(|row| Fields::new(row, "sys.dm_server_services").text("status_desc"))
                .transpose()
        };
        match found.await {
            Ok(Some(Some(state))) if state == "Running" => CheckResult::pass(NAME, "running"),
            Ok(Some(state)) => CheckResult::fail(
                NAME,
                format!("it is {}", state.as_deref().unwrap_or("in an unknown state")),
                "start it: the capture job runs in it",
            ),
            Ok(None) => CheckResult::warn(
                NAME,
                "the server does not show it",
                "on Azure SQL Database there is none; elsewhere make sure that it runs",
            ),
            Err(_) => CheckResult::warn(
                NAME,
                "its state cannot be read",
                "GRANT VIEW SERVER STATE to see it; capture does not need it",
            ),
        }
    }

    async fn jobs(&self) -> CheckResult {
        const NAME: &str = "capture job";
        let found = async {
            let mut lease = self.lease().await?;
            let results = lease.batch(statements::JOBS, "list the CDC jobs").await?;
            lease.keep();
            let kinds = results
                .iter()
                .flatten()
                .map(|row| Fields::new(row, "sys.sp_cdc_help_jobs").name("job_type"));
            kinds.collect::<Result<Vec<_>, Failure>>()
        };
        match found.await {
            Ok(kinds) if kinds.iter().any(|kind| kind == "capture") => {
                CheckResult::pass(NAME, format!("jobs: {}", kinds.join(", ")))
            }
            Ok(_) => CheckResult::fail(
                NAME,
                "the database has no capture job",
                "EXEC sys.sp_cdc_add_job @job_type = N'capture' (after a failover, on the new \
                 primary)",
            ),
            Err(_) => CheckResult::warn(
                NAME,
                "the CDC jobs cannot be listed",
                "db_owner sees them; capture does not need it",
            ),
        }
    }

    /// Whether the capture job writes: its newest row is never older than about 305 s.
    async fn mapping(&self) -> CheckResult {
        const NAME: &str = "capture progress";
        let found = async {
            let mut lease = self.lease().await?;
            let results = lease.batch(statements::NEWEST, "read the newest commit").await?;
            lease.keep();
            let [rows, clock] = results.as_slice() else {
                return Err(super::wrong_results("read the newest commit"));
            };
            let newest = fields::mapping_rows(rows)?.into_iter().next();
            let (clock, offset) = super::clock_of(clock)?;
            Ok(newest.map(|row| age(&row, clock, offset)))
        };
        match found.await {
            Ok(Some(seconds)) if seconds <= STALLED_SECONDS => {
                CheckResult::pass(NAME, format!("last seen {seconds} s ago"))
            }
            Ok(Some(seconds)) => CheckResult::fail(
                NAME,
                format!("the capture job has written nothing for {seconds} s"),
                "start SQL Server Agent and the capture job (sys.sp_cdc_start_job)",
            ),
            Ok(None) => match self.oldest_instance().await.ok().flatten() {
                Some(age) if age <= STALLED_SECONDS => CheckResult::pass(
                    NAME,
                    format!("the first table is captured since {age} s: the job is to come to it"),
                ),
                _ => CheckResult::warn(
                    NAME,
                    "the capture job has not run yet",
                    "wait for its first scan, or start it (sys.sp_cdc_start_job)",
                ),
            },
            Err(failure) => CheckResult::failed(NAME, &failure),
        }
    }

    async fn text_replication(&self) -> CheckResult {
        const NAME: &str = "max text repl size";
        let found = async {
            let mut lease = self.lease().await?;
            let doing = "read sys.configurations";
            let results = lease.batch(statements::MAX_TEXT_REPLICATION, doing).await?;
            lease.keep();
            let row = results.first().and_then(|rows| rows.first());
            row.map(|row| Fields::new(row, "sys.configurations").number("bytes")).transpose()
        };
        match found.await.ok().flatten().flatten() {
            Some(-1) => CheckResult::pass(NAME, "unlimited"),
            Some(bytes) => CheckResult::warn(
                NAME,
                format!("the source refuses to write values over {bytes} bytes to captured tables"),
                "EXEC sys.sp_configure 'max text repl size', -1; RECONFIGURE",
            ),
            None => CheckResult::warn(
                NAME,
                format!("it cannot be read; the default is {DEFAULT_TEXT_REPLICATION} bytes"),
                "EXEC sys.sp_configure 'max text repl size', -1; RECONFIGURE",
            ),
        }
    }

    async fn partition_switch(&self) -> CheckResult {
        const NAME: &str = "ALTER TABLE ... SWITCH";
        const FIX: &str = "rows switched in or out are never captured: enable partitioned tables with \
             @allow_partition_switch = 0 (of others it is ignored: load them again after a SWITCH)";
        let found = async {
            let mut lease = self.lease().await?;
            let doing = "read cdc.change_tables";
            let results = lease.batch(statements::PARTITION_SWITCH, doing).await?;
            lease.keep();
            let names = results
                .iter()
                .flatten()
                .map(|row| Fields::new(row, "cdc.change_tables").name("capture_instance"));
            names.collect::<Result<Vec<_>, Failure>>()
        };
        match found.await {
            Ok(names) if names.is_empty() => CheckResult::pass(
                NAME,
                "no partitioned table that is captured allows it. Nothing forbids it for the others, and \
                 it is never captured: load a table again after it (status tells by the number of rows)",
            ),
            Ok(names) => {
                let names = names.join(", ");
                CheckResult::warn(NAME, format!("allowed for the partitions of {names}"), FIX)
            }
            Err(_) => CheckResult::warn(NAME, "cdc.change_tables cannot be read", FIX),
        }
    }

    async fn tables(&self) -> Vec<CheckResult> {
        match self.try_tables().await {
            Ok(results) => results,
            Err(failure) => vec![CheckResult::failed("capture instances", &failure)],
        }
    }

    async fn try_tables(&self) -> Result<Vec<CheckResult>, Failure> {
        let mut server = SqlServer::new(self.source, &config::Capture::default())?;
        server.accesses.marks = catalog::marks_access(&mut self.lease().await?).await;
        let mut lease = self.lease().await?;
        let listed = catalog::instances(&mut lease).await?;
        let (mut results, wanted) = match self.source.tables.is_empty() {
            true => self.all(&server, &mut lease, listed).await?,
            false => self.selection(&server, &mut lease, listed).await?,
        };
        let others: Vec<i32> = wanted.iter().map(|instance| instance.table_id).collect();
        let most = u64::MAX;
        let chosen =
            choice::choose(&mut lease, server.timeline, wanted, Lsn::MAX, &[], most).await?;
        lease.keep();
        for Candidate { instance, followed, .. } in chosen {
            let others = others.iter().filter(|id| **id == instance.table_id).count();
            results.extend(self.table(instance, followed, others).await);
        }
        Ok(results)
    }

    /// Every captured table that the login may read; the others by name.
    async fn all(
        &self,
        server: &SqlServer,
        lease: &mut Lease,
        listed: Vec<Instance>,
    ) -> Result<(Vec<CheckResult>, Vec<Instance>), Failure> {
        let (readable, forbidden) = forbidden::readable(server, lease, listed).await?;
        let mut results = vec![match readable.len() {
            0 => CheckResult::fail(INSTANCES, "none that the login may read", ENABLE),
            n => CheckResult::pass(INSTANCES, format!("{n} that the login may read")),
        }];
        results.extend(forbidden.iter().map(|table| {
            let what = "it is captured and left out: the login may not read it";
            CheckResult::warn(table.name(), what, table.fix())
        }));
        results.extend(self.untracked(lease).await?);
        Ok((results, readable))
    }

    /// The user's tables that have no capture instance.
    async fn untracked(&self, lease: &mut Lease) -> Result<Option<CheckResult>, Failure> {
        let doing = "look for tables that are not captured";
        let mut names = Vec::new();
        let mut first = None;
        for row in lease.batch(statements::UNTRACKED_TABLES, doing).await?.iter().flatten() {
            let fields = Fields::new(row, "sys.tables");
            let (schema, table) = (fields.name("schema_name")?, fields.name("table_name")?);
            names.push(format!("{schema}.{table}"));
            first.get_or_insert_with(|| statements::enable(&schema, &table));
        }
        Ok(first.map(|statement| {
            let tables = if names.len() == 1 { "table" } else { "tables" };
            CheckResult::warn(
                "tables that are not captured",
                format!("{} {tables}: {}", names.len(), names.join(", ")),
                format!("for each that is wanted, as db_owner: {statement}"),
            )
        }))
    }

    /// Whether every configured table has an instance.
    async fn selection(
        &self,
        server: &SqlServer,
        lease: &mut Lease,
        listed: Vec<Instance>,
    ) -> Result<(Vec<CheckResult>, Vec<Instance>), Failure> {
        let forbidden = forbidden::list(lease, server.accesses.marks, &listed).await;
        let mut results = Vec::new();
        let mut found = Vec::new();
        for name in &self.source.tables {
            match select::find(server, lease, &listed, name).await? {
                Some(id) => found.push(id),
                None => {
                    let what = "no capture instance that the login may read";
                    let fix = forbidden.iter().find(|table| table.is(name)).map(Forbidden::fix);
                    results.push(CheckResult::fail(name, what, fix.as_deref().unwrap_or(ENABLE)));
                }
            }
        }
        if !found.is_empty() {
            let detail = format!("{} of {} tables", found.len(), self.source.tables.len());
            results.insert(0, CheckResult::pass(INSTANCES, detail));
        }
        let wanted = listed.into_iter().filter(|i| found.contains(&i.table_id)).collect();
        Ok((results, wanted))
    }

    async fn table(
        &self,
        instance: Instance,
        followed: Result<Followed, Failure>,
        instances: usize,
    ) -> Vec<CheckResult> {
        let name = instance.table.to_string();
        let mut results = Vec::new();
        let read = match &followed {
            Ok(followed) => self.read(followed).await,
            Err(_) => Ok(()),
        };
        match read {
            Ok(()) => results.push(CheckResult::pass(&name, format!("instance {}", instance.name))),
            Err(failure) => results.push(CheckResult::failed(&name, &failure)),
        }
        if instances > 1 {
            results.push(CheckResult::warn(
                &name,
                "it has two capture instances: the one is read that gives what the log has of the \
                 table; for a new log, the one that captures most",
                "drop the other one when nothing reads it any more",
            ));
        }
        match followed {
            Ok(followed) => {
                results.extend(self.columns(&followed));
                results.extend(self.hidden(&followed).await);
            }
            Err(failure) => results.push(CheckResult::failed(&name, &failure)),
        }
        match self.headroom(&instance).await {
            Ok(result) => results.extend(result),
            Err(failure) => results.push(CheckResult::failed(&name, &failure)),
        }
        results
    }

    /// Reads the instance as capture would: SELECT on every column of the change table is needed.
    async fn read(&self, followed: &Followed) -> Result<(), Failure> {
        let mut lease = self.lease().await?;
        let (after, through) = (Lsn::MAX.previous(), Lsn::MAX);
        let (after, through) = (&after.as_bytes()[..], &through.as_bytes()[..]);
        let instance = &followed.instance;
        let doing = format!("read the change table of {}", instance.table);
        match lease.query(&followed.reads.window(), &[&after, &through], &doing).await {
            Ok(_) => {
                lease.keep();
                Ok(())
            }
            Err(failure) if failure.code == Code::SourcePermission => {
                let table = statements::change_table(&instance.name);
                let remedy = format!(
                    "GRANT SELECT ON {table} TO the user of login {}, and of each of its columns that \
                     was denied",
                    self.source.user
                );
                Err(Failure { remedy, ..failure })
            }
            Err(failure) => Err(failure),
        }
    }

    fn columns(&self, followed: &Followed) -> Vec<CheckResult> {
        let (name, shape) = (followed.instance.table.to_string(), &followed.shape);
        let mut results = Vec::new();
        if followed.table.version.key.is_empty() {
            results.push(CheckResult::warn(
                &name,
                "it has no usable key: changes are matched by their whole old rows",
                "give it a primary key",
            ));
        }
        if !shape.change_table.is_empty()
            && !shape.change_table.iter().any(|c| c.name == "__$command_id")
        {
            results.push(CheckResult::warn(
                &name,
                "its change table has no __$command_id (a build before KB3030352): changes of one \
                 transaction are ordered by __$seqval",
                "update the server and run sp_vupgrade_replication",
            ));
        }
        let captured = |column: &&types::RawColumn| {
            shape.captured.iter().any(|captured| captured.column_id == column.column_id)
        };
        let listed = |wanted: &dyn Fn(&types::RawColumn) -> bool| {
            let names = shape.source.iter().filter(captured).filter(|c| wanted(c));
            names.map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let mut warn = |columns: String, detail: &str, fix: &str| {
            if !columns.is_empty() {
                results.push(CheckResult::warn(&name, format!("{detail}: {columns}"), fix));
            }
        };
        warn(
            listed(&|column| column.computed),
            "computed columns are never captured and arrive as unavailable",
            "let the target compute them",
        );
        warn(
            listed(&types::is_old_lob),
            "text, ntext and image columns have no old values, and what WRITETEXT and UPDATETEXT write is \
             not captured",
            "change them to varchar(max), nvarchar(max) or varbinary(max)",
        );
        warn(
            listed(&types::is_vector),
            "vector columns arrive as the server's text, with eight digits of each number",
            "nothing is lost if eight digits are enough; else leave them out of the capture instance",
        );
        warn(
            listed(&|column| types::foreign_code_page(column, self.identity.collation.as_deref())),
            "columns with another code page than the database's may be damaged by SQL Server itself",
            "compare their values, or change them to nvarchar",
        );
        let uncaptured: Vec<&str> =
            followed.uncaptured().map(|column| column.name.as_str()).collect();
        warn(
            uncaptured.join(", "),
            "columns that are not captured",
            "create a capture instance that has them, if they are wanted",
        );
        results
    }

    /// Seconds since an instance was made.
    async fn age_of(&self, instance: &Instance) -> Result<i64, Failure> {
        let mut lease = self.lease().await?;
        let results = lease.batch(statements::NEWEST, "read the server's clock").await?;
        lease.keep();
        let clock =
            results.get(1).ok_or_else(|| super::wrong_results("read the server's clock"))?;
        let (clock, offset) = super::clock_of(clock)?;
        Ok((clock - time::to_utc(instance.created, offset)) / TICKS_PER_SECOND)
    }

    /// The oldest instance's age in seconds, as far as the login sees any.
    async fn oldest_instance(&self) -> Result<Option<i64>, Failure> {
        let mut lease = self.lease().await?;
        let instances = catalog::instances(&mut lease).await?;
        lease.keep();
        match instances.iter().min_by_key(|instance| instance.created) {
            Some(oldest) => self.age_of(oldest).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether transactional replication runs beside capture.
    fn replication(&self) -> Option<CheckResult> {
        self.identity.published.then(|| {
            CheckResult::warn(
                "transactional replication",
                "it publishes the database too, so that its Log Reader Agent captures the changes: a commit \
                 is read once the next one, or a dummy (about every 5 min), is there; and capture halts \
                 where the agent divides a transaction (MaxCmdsInTran)",
                "leave MaxCmdsInTran of the Log Reader Agent at 0",
            )
        })
    }

    /// Values and rows that the login does not see.
    async fn hidden(&self, followed: &Followed) -> Vec<CheckResult> {
        let instance = &followed.instance;
        let name = instance.table.to_string();
        let found = async {
            let objects = [instance.table_id, instance.change_table_id];
            let (lease, hidden) = secured::hidden(self.lease().await?, &objects).await?;
            lease.into_iter().for_each(Lease::keep);
            Ok::<_, Failure>(hidden.of(followed))
        };
        match found.await {
            Ok(failures) => {
                failures.iter().map(|failure| CheckResult::failed(&name, failure)).collect()
            }
            Err(failure) => vec![CheckResult::failed(&name, &failure)],
        }
    }

    /// Whether the login would see security policies, which hide rows.
    async fn policies(&self) -> CheckResult {
        const NAME: &str = "security policies";
        let seen = async {
            let mut lease = self.lease().await?;
            let sees = secured::sees_policies(&mut lease).await?;
            lease.keep();
            Ok::<_, Failure>(sees)
        };
        match seen.await {
            Ok(true) => CheckResult::pass(NAME, "the login sees those of captured tables"),
            _ => CheckResult::warn(
                NAME,
                "the login does not see them: before a load it counts the rows that it is shown, a \
                 million of a table at most, against what the server holds",
                "GRANT VIEW DEFINITION on the database to its user, and they are looked at themselves",
            ),
        }
    }

    /// How far back changes are kept.
    async fn headroom(&self, instance: &Instance) -> Result<Option<CheckResult>, Failure> {
        let Some(start) = instance.start_lsn else {
            let (name, age) = (instance.table.to_string(), self.age_of(instance).await?);
            return Ok(Some(match age {
                age if age <= STALLED_SECONDS => CheckResult::pass(
                    name,
                    format!("captured since {age} s: the capture job is to come to it"),
                ),
                age => CheckResult::warn(
                    name,
                    format!("the capture job has not come to its instance in {age} s"),
                    "start SQL Server Agent and the capture job (sys.sp_cdc_start_job)",
                ),
            }));
        };
        let mut lease = self.lease().await?;
        let results = lease
            .query(statements::HEADROOM, &[&&start.as_bytes()[..]], "read the headroom")
            .await?;
        lease.keep();
        let [rows, clock] = results.as_slice() else {
            return Err(super::wrong_results("read the headroom"));
        };
        let (clock, offset) = super::clock_of(clock)?;
        let Some(first) = fields::mapping_rows(rows)?.into_iter().next() else { return Ok(None) };
        let created = (clock - time::to_utc(instance.created, offset)) / TICKS_PER_SECOND;
        let seconds = age(&first, clock, offset);
        // A young instance has not had the time to keep more.
        let short = seconds < HEADROOM_SECONDS && created > 2 * HEADROOM_SECONDS;
        Ok(short.then(|| {
            CheckResult::warn(
                instance.table.to_string(),
                format!("its changes are kept for {} min only", seconds / 60),
                "raise the retention above the longest outage: EXEC sys.sp_cdc_change_job \
                 @job_type = N'cleanup', @retention = 10080",
            )
        }))
    }
}

/// Seconds since a commit.
fn age(row: &MappingRow, clock: i64, offset: i16) -> i64 {
    (clock - time::to_utc(row.end_time, offset)) / TICKS_PER_SECOND
}
