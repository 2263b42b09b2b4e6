//! Servers that all tests of a process share; each test has databases of its own on them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use lockstep_servers::{Double, DoubleOptions, Kafka, Postgres, PostgresOptions};

use crate::source::Source;

/// Names a real SQL Server, `mssql://user:password@host:port/master`, whose login may make
/// databases.
const REAL_SOURCE: &str = "LOCKSTEP_TEST_MSSQL";

/// The PostgreSQL that tests share which do not stop theirs. It ends with the process.
///
/// # Errors
/// When it does not start.
pub fn shared_postgres() -> Result<Arc<Postgres>> {
    static SHARED: OnceLock<Result<Arc<Postgres>, String>> = OnceLock::new();
    shared(&SHARED, || Postgres::start(PostgresOptions::default()))
}

/// The broker that tests share which do not stop theirs.
pub(super) fn shared_kafka() -> Result<Arc<Kafka>> {
    static SHARED: OnceLock<Result<Arc<Kafka>, String>> = OnceLock::new();
    shared(&SHARED, Kafka::start)
}

fn shared_double() -> Result<Arc<Double>> {
    static SHARED: OnceLock<Result<Arc<Double>, String>> = OnceLock::new();
    shared(&SHARED, || Double::start(DoubleOptions::default()))
}

fn shared<T>(
    place: &OnceLock<Result<Arc<T>, String>>,
    start: impl FnOnce() -> Result<T>,
) -> Result<Arc<T>> {
    place
        .get_or_init(|| start().map(Arc::new).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// A source database that exists nowhere yet.
pub(super) fn source(database: &str) -> Result<Source> {
    match std::env::var(REAL_SOURCE) {
        Ok(url) => Ok(Source::parse(&url).context(REAL_SOURCE)?.with_database(database)),
        Err(_) => Ok(Source::on(shared_double()?.as_ref(), database)),
    }
}

/// Whether this run's source is a real SQL Server.
pub(super) fn is_real_source() -> bool {
    std::env::var_os(REAL_SOURCE).is_some()
}

/// Whether a scenario must be left out on this run's source, because it needs a fault switch of the
/// double; says so on standard error when it does.
pub fn skipped(scenario: &str, switch: &str) -> bool {
    let real = is_real_source();
    if real {
        eprintln!("skipped on a real SQL Server: {scenario} (needs {switch})");
    }
    real
}

/// A name no other test has used, on this machine's long-lived servers either.
pub(super) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{prefix}_{:x}_{}_{n}", since_1970.as_secs(), std::process::id())
}
