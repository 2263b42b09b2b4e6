//! After the load: indexes, constraints, defaults and identities, beside the running stream.
//!
//! - **The stream goes on.** Indexes are built `CONCURRENTLY`; constraints are added `NOT VALID` and
//!   then validated, which lets writers through. What needs a table's lock for a moment asks for it
//!   for half a second only, steps back and tries again: whoever queues behind it waits no longer.
//! - **One at a time.** A session lock keeps a second finish of the pipeline out, in another process
//!   too; a server process that goes on with a statement after its client is gone keeps it as well.
//! - **A restart goes on.** An object's row in `lockstep.load_object` says `making` before the first
//!   statement and is settled after the last. A crash in between leaves an object that is found and
//!   accepted by its name, or an index that is not valid, which is dropped and made again; or one half
//!   of it (a constraint that is not validated), whose other half comes next.
//! - **What the target refuses** (rows that the index's or the constraint's meaning here does not
//!   allow) is noted as failed and taken back, because half of it would refuse the stream's rows too;
//!   everything else goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::{Backoff, Failure, Shutdown};
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use super::super::connect::Login;
use super::super::error;
use super::super::plan::TargetName;
use super::objects::{self, LOCK, Row, State};
use super::plan::{Fate, Kind, Object, Planned, Server, plan};
use super::role::may_be_replica;
use super::{Design, LoadTable, make};

/// What is to be finished.
#[derive(Clone, Debug)]
pub(crate) struct Finish {
    /// The pipeline.
    pub(crate) pipeline: String,
    /// The load.
    pub(crate) load: Uuid,
    /// How.
    pub(crate) design: Design,
    /// The load's tables.
    pub(crate) tables: Vec<LoadTable>,
    /// Other tables of the pipeline that lost objects while a table was loaded again.
    pub(crate) others: Vec<LoadTable>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Objects made.
    pub(crate) made: usize,
    /// Objects made that differ, and in what, for people.
    pub(crate) differing: Vec<String>,
    /// Objects left out and why, for people.
    pub(crate) left_out: Vec<String>,
    /// Objects that the target refused and why, for people.
    pub(crate) failed: Vec<String>,
}

impl Report {
    /// For the status: nothing when everything was made as it was.
    pub(crate) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if !self.failed.is_empty() {
            notices.push(format!(
                "{} object(s) of the load could not be made (lockstep.load_object): {}",
                self.failed.len(),
                self.failed.join("; ")
            ));
        }
        if !self.left_out.is_empty() {
            notices.push(format!(
                "{} object(s) of the source were left out (lockstep.load_object says why)",
                self.left_out.len()
            ));
        }
        notices
    }

    fn of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Self {
        let mut report = Report::default();
        let mut rows: Vec<&Row> = rows.into_iter().collect();
        rows.sort_by(|a, b| (a.kind, &a.source, &a.object).cmp(&(b.kind, &b.source, &b.object)));
        for row in rows {
            let what = format!("{} {} of {}", row.kind, row.object, row.source);
            let line = match &row.reason {
                Some(reason) => format!("{what}: {reason}"),
                None => what,
            };
            match row.state {
                State::Made => {
                    report.made += 1;
                    if row.reason.is_some() {
                        report.differing.push(line);
                    }
                }
                State::LeftOut => report.left_out.push(line),
                State::Failed => report.failed.push(line),
                State::Making | State::Unmade => {}
            }
        }
        report
    }

    fn log(&self) {
        for line in &self.differing {
            tracing::info!("made, with a difference: {line}");
        }
        for line in &self.left_out {
            tracing::warn!("left out: {line}");
        }
        for line in &self.failed {
            tracing::warn!("could not be made: {line}");
        }
        tracing::info!(
            made = self.made,
            left_out = self.left_out.len(),
            failed = self.failed.len(),
            "indexes, constraints, defaults and identities are done"
        );
    }
}

/// Makes everything that comes after the load; goes on where an earlier call was.
///
/// # Errors
/// `Retry` when the target is away: call it again. `Halt` when `lockstep.load_object` cannot be
/// written.
pub(crate) async fn finish(
    login: &Login,
    work: &Finish,
    stop: &Shutdown,
) -> Result<Report, Failure> {
    if !work.design.constraints {
        return Ok(Report::default());
    }
    let connected = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        client = connect(login, &work.pipeline, stop) => client?,
    };
    let Some(mut client) = connected else { return Ok(Report::default()) };
    let failed = |e: Error| {
        error::failure(Code::ApplyFinish, "cannot make indexes and constraints in the target", &e)
    };
    let mut pending = list(&client, work).await.map_err(failed)?;
    let maker = make::Maker { login, pipeline: &work.pipeline, load: work.load, stop };
    let mut backoff = Backoff::default();
    while !pending.is_empty() && !stop.is_cancelled() {
        let round = std::mem::take(&mut pending);
        let before = round.len();
        for row in round {
            // A foreign key needs the unique index that it points to.
            let waits = row.kind == Kind::ForeignKey
                && pending.iter().any(|p| matches!(p.kind, Kind::Index | Kind::Unique));
            if waits || stop.is_cancelled() {
                pending.push(row);
                continue;
            }
            match maker.make(&mut client, row).await.map_err(failed)? {
                make::Outcome::Settled => {}
                make::Outcome::Locked(row) => pending.push(row),
            }
        }
        if pending.len() < before {
            backoff.reset();
        } else if !backoff.wait(stop).await {
            break;
        }
    }
    let rows = objects::read(&client, &work.pipeline).await.map_err(failed)?;
    // At once, rather than when the server notices that the connection is gone.
    client.batch_execute("SELECT pg_advisory_unlock_all()").await.map_err(failed)?;
    let load = work.load.to_string();
    let report = Report::of(rows.values().filter(|row| row.load == load));
    if pending.is_empty() {
        report.log();
    }
    Ok(report)
}

/// A connection that holds the pipeline's lock, until it ends; none when the finish is to stop.
///
/// The lock is tried for, not waited for: whoever waits in a statement holds a snapshot, and an index
/// that is built concurrently by the lock's holder would wait for that.
async fn connect(
    login: &Login,
    pipeline: &str,
    stop: &Shutdown,
) -> Result<Option<Client>, Failure> {
    let client = login.cold().await?;
    let failed =
        |e: Error| error::failure(Code::ApplyFinish, "cannot begin the finish of a load", &e);
    client
        .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")
        .await
        .map_err(failed)?;
    let lock = format!("SELECT pg_try_advisory_lock({LOCK})");
    let mut backoff = Backoff::default();
    while !client.query_one(&lock, &[&pipeline]).await.map_err(failed)?.get::<_, bool>(0) {
        if !backoff.wait(stop).await {
            return Ok(None);
        }
    }
    Ok(Some(client))
}

/// What remains to be done, in order. What is left out is noted at once.
async fn list(client: &Client, work: &Finish) -> Result<Vec<Row>, Error> {
    let version: i32 =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get(0);
    let server = Server {
        version: u32::try_from(version / 10_000).unwrap_or(0),
        replica: may_be_replica(client).await?,
    };
    let others = client
        .query("SELECT source FROM lockstep.tables WHERE pipeline = $1", &[&work.pipeline])
        .await?;
    let others: BTreeSet<String> = others.iter().map(|row| row.get(0)).collect();
    let tables = planned(&work.tables);
    let known = objects::read(client, &work.pipeline).await?;
    let loading = Loading::read(client, work).await?;
    let load = work.load.to_string();
    let mut rows = Vec::new();
    for object in plan(&work.design.naming, server, &tables, &others) {
        let key = (object.source.clone(), object.kind, object.object.clone());
        let before = known.get(&key);
        if before.is_some_and(|row| row.load == load && row.state.is_settled()) {
            continue;
        }
        // What it was called once it is called again.
        let name = match before {
            Some(row) if row.table == object.table && row.state != State::LeftOut => {
                row.name.clone()
            }
            _ => object.name,
        };
        let (state, statements, reason) = match object.fate {
            Fate::Make { action, note } => {
                (State::Making, action.statements(&object.table, &name), note)
            }
            Fate::LeaveOut(reason) => (State::LeftOut, Vec::new(), Some(reason)),
        };
        let row = Row {
            source: object.source,
            kind: object.kind,
            object: object.object,
            load: load.clone(),
            table: object.table,
            name,
            state,
            statements,
            reason,
        };
        if state == State::LeftOut {
            objects::write(client, &work.pipeline, work.load, &row).await?;
        } else if loading.touch(&row) {
            let later = Row { state: State::Unmade, ..row };
            objects::write(client, &work.pipeline, work.load, &later).await?;
        } else {
            rows.push(row);
        }
    }
    // What went while a table was loaded again, of other tables too.
    let listed: BTreeSet<_> = rows.iter().map(Row::key).collect();
    let unmade: Vec<Row> = known
        .into_values()
        .filter(|row| row.state == State::Unmade && !listed.contains(&row.key()))
        .collect();
    let names: BTreeSet<String> = work.tables.iter().map(source_of).collect();
    let again = plan(&work.design.naming, server, &planned(&work.others), &(&names | &others));
    rows.extend(unmade.into_iter().filter_map(|row| planned_again(row, &again, &loading)));
    rows.sort_by(|a, b| (a.kind, &a.source, &a.object).cmp(&(b.kind, &b.source, &b.object)));
    // Unique ones first: they are what refuses, and what foreign keys need.
    rows.sort_by_key(|row| {
        (row.kind, !row.statements.iter().any(|s| s.starts_with("CREATE UNIQUE")))
    });
    Ok(rows)
}

fn planned(tables: &[LoadTable]) -> Vec<Planned<'_>> {
    tables
        .iter()
        .map(|LoadTable { version, definition, .. }| Planned {
            version,
            definition: definition.as_deref(),
        })
        .collect()
}

fn source_of(table: &LoadTable) -> String {
    table.version.name.to_string()
}

/// An object that went, with its statements as the plan has them; none while its table is being loaded
/// again, or where its table is not known yet: it stays as it is.
fn planned_again(row: Row, plan: &[Object], loading: &Loading) -> Option<Row> {
    let object = plan.iter().find(|object| {
        (&object.source, object.kind, &object.object) == (&row.source, row.kind, &row.object)
    })?;
    let Fate::Make { action, .. } = &object.fate else { return None };
    let name = if row.table == object.table { row.name.clone() } else { object.name.clone() };
    let statements = action.statements(&object.table, &name);
    let row = Row { table: object.table.clone(), name, statements, ..row };
    (!loading.touch(&row)).then_some(row)
}

/// Tables that are being loaded again meanwhile. What would refuse a state that they pass through is
/// left to the finish of that load.
struct Loading {
    /// As `schema.table` in the source.
    sources: BTreeSet<String>,
    /// How a foreign key names them.
    references: Vec<String>,
}

impl Loading {
    async fn read(client: &Client, work: &Finish) -> Result<Self, Error> {
        let rows = client
            .query(
                "SELECT DISTINCT n.source, n.schema_name, n.table_name FROM lockstep.load l \
                 JOIN lockstep.load_table t USING (pipeline, load) \
                 JOIN lockstep.tables n USING (pipeline, source) \
                 WHERE l.pipeline = $1 AND l.state = 'loading' AND t.state <> 'superseded' \
                 AND l.load <> $2::text::uuid",
                &[&work.pipeline, &work.load.to_string()],
            )
            .await?;
        let target = |row: &tokio_postgres::Row| {
            let name = TargetName { schema: row.get(1), table: row.get(2) };
            format!(" REFERENCES {} (", name.quoted())
        };
        Ok(Loading {
            sources: rows.iter().map(|row| row.get(0)).collect(),
            references: rows.iter().map(target).collect(),
        })
    }

    /// Whether an object would refuse rows of such a table.
    fn touch(&self, row: &Row) -> bool {
        let statement = row.statements.first().map_or("", String::as_str);
        let refuses = match row.kind {
            Kind::Index | Kind::Unique => statement.starts_with("CREATE UNIQUE"),
            Kind::Check | Kind::ForeignKey => true,
            Kind::Computed | Kind::Default | Kind::Identity | Kind::Other => false,
        };
        refuses
            && (self.sources.contains(&row.source)
                || self.references.iter().any(|name| statement.contains(name)))
    }
}

/// Sets the identity sequences that we made past what their columns hold. For an orderly stop: the
/// stream writes numbers without asking the sequences.
///
/// # Errors
/// `Retry` when the target is away, `Halt` when it refuses.
pub(crate) async fn set_sequences(client: &Client, pipeline: &str) -> Result<(), Failure> {
    let failed =
        |e: Error| error::failure(Code::ApplySequences, "cannot set the identity sequences", &e);
    for row in objects::read(client, pipeline).await.map_err(failed)?.into_values() {
        if row.kind == Kind::Identity && row.state == State::Made {
            make::set_sequence(client, &row.table, &row.name).await.map_err(failed)?;
        }
    }
    Ok(())
}

/// How long a lock that stops writers is asked for.
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(500);
