//! What must hold before tables can be loaded: everything is examined and reported, whatever becomes
//! of the rest.

use std::sync::Arc;

use lockstep_common::Failure;
use lockstep_common::model::load::Handoff;
use lockstep_common::model::name::literal_mssql as literal;
use lockstep_common::service::check::CheckResult;

use super::super::catalog::{self, Versions};
use super::super::fields::Fields;
use super::freeze;
use super::signal::Signal;
use super::table::LoadTable;
use super::{Loads, clock};

/// Examines what the load of all followed tables needs.
pub async fn check(loads: &Loads, handoff: Handoff) -> Vec<CheckResult> {
    let mut tables: Vec<Arc<LoadTable>> = loads.read().tables.values().cloned().collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let mut results = Vec::new();
    for table in &tables {
        results.push(readable(loads, table).await);
    }
    results.push(beside_writers(loads).await);
    let unranged = tables.iter().filter(|table| table.key.is_err()).count();
    if handoff == Handoff::Exact || unranged > 0 {
        results.push(snapshots(loads).await);
        results.push(position(loads).await);
    }
    if let Some(name) = &loads.signal_table {
        results.push(signal(loads, name).await);
    }
    results
}

async fn readable(loads: &Loads, table: &LoadTable) -> CheckResult {
    let name = format!("load of {}", table.name);
    let read = async {
        let mut lease = loads.pool.get().await?;
        let sql = format!("SELECT TOP (1) {} FROM {} AS t", table.list, table.from);
        match lease.try_batch(&sql).await {
            Ok(_) => {
                table.all_shown(lease).await?.keep();
                Ok(())
            }
            Err(error) => Err(table.classify(&lease, error)),
        }
    };
    match (read.await, &table.key) {
        (Err(failure), _) => CheckResult::failed(name, &failure),
        (Ok(()), Err(why)) => CheckResult::warn(
            name,
            format!("{why}: it is loaded in one pass, frozen at one position"),
            "give it a primary key of types that have an order, and it is loaded in parallel ranges \
             that survive a restart",
        ),
        (Ok(()), Ok(_)) => CheckResult::pass(name, "by ranges of its key"),
    }
}

/// How chunks are read while others write.
async fn beside_writers(loads: &Loads) -> CheckResult {
    const NAME: &str = "reads beside writers";
    let identity = async {
        let mut lease = loads.pool.get().await?;
        let identity = catalog::identity(&mut lease).await?;
        lease.keep();
        Ok::<_, Failure>(identity)
    };
    match identity.await.map(|identity| (identity.versions, identity.database)) {
        Ok((Versions::Always, _)) => {
            CheckResult::pass(NAME, "by row versions: READ_COMMITTED_SNAPSHOT is on")
        }
        Ok((Versions::OnRequest, _)) => CheckResult::pass(
            NAME,
            "by row versions: READ_COMMITTED_SNAPSHOT is off and SNAPSHOT is allowed; change tables are \
             read in small statements, which lock",
        ),
        Ok((Versions::Never, database)) => CheckResult::warn(
            NAME,
            "by small statements that lock rows and wait for their writers: READ_COMMITTED_SNAPSHOT is off, \
             and SNAPSHOT is not allowed",
            format!(
                "ALTER DATABASE [{database}] SET ALLOW_SNAPSHOT_ISOLATION ON, and loads read versions"
            ),
        ),
        Err(failure) => CheckResult::failed(NAME, &failure),
    }
}

async fn snapshots(loads: &Loads) -> CheckResult {
    const NAME: &str = "snapshot isolation";
    let allowed = async {
        let mut lease = loads.pool.get().await?;
        freeze::allowed(&mut lease).await?;
        lease.keep();
        Ok::<_, Failure>(())
    };
    match allowed.await {
        Ok(()) => CheckResult::pass(NAME, "allowed"),
        Err(failure) => CheckResult::failed(NAME, &failure),
    }
}

/// Whether the position of a snapshot can be known.
async fn position(loads: &Loads) -> CheckResult {
    const NAME: &str = "position of a snapshot";
    let seen = async {
        let mut lease = loads.pool.get().await?;
        let seen = clock::log_position(&mut lease).await?;
        if seen.is_some() {
            lease.keep();
        }
        Ok::<_, Failure>(seen.is_some())
    };
    match (seen.await, &loads.signal_table) {
        (Ok(true), _) => CheckResult::pass(NAME, "shown by sys.dm_tran_database_transactions"),
        (Ok(false), Some(name)) => CheckResult::pass(NAME, format!("by a row written to {name}")),
        (Ok(false), None) => CheckResult::failed(NAME, &freeze::no_position()),
        (Err(failure), _) => CheckResult::failed(NAME, &failure),
    }
}

async fn signal(loads: &Loads, name: &str) -> CheckResult {
    const NAME: &str = "signal table";
    let may = async {
        let table = loads.signal_target(name)?;
        Signal::new(name, &table)?;
        let right = |right: &str| {
            format!("HAS_PERMS_BY_NAME({}, N'OBJECT', N'{right}')", literal(&table.from))
        };
        let sql = format!("SELECT {} AS i, {} AS d", right("INSERT"), right("DELETE"));
        let mut lease = loads.pool.get().await?;
        let results = lease.batch(&sql, "read the rights on the signal table").await?;
        lease.keep();
        let Some(row) = results.iter().flatten().next() else { return Ok(false) };
        let fields = Fields::new(row, "HAS_PERMS_BY_NAME");
        Ok::<_, Failure>(fields.flag("i")? && fields.flag("d")?)
    };
    match may.await {
        Ok(true) => CheckResult::pass(NAME, name),
        Ok(false) => CheckResult::fail(
            NAME,
            format!("the login may not write to {name}"),
            format!("GRANT SELECT, INSERT, DELETE ON {name} to its user"),
        ),
        Err(failure) => CheckResult::failed(NAME, &failure),
    }
}
