//! What change data capture says of its log scans: the latest 32 sessions.
//!
//! The row of all sessions since the start (`session_id` 0) is absent, as earlier sessions are
//! not kept; a scan without transactions has a row of its own, where SQL Server counts such scans
//! in one.

use std::sync::Arc;

use super::definition::{At, Columns, Definition, Field, NVar, ViewOf, null};
use super::source::{Catalog, State};
use crate::cdc::{ScanSession, scan_sessions};
use crate::storage::{Database, Direction, KeyRange, Lsn, Micros};
use crate::{IsolationLevel, SqlError, SqlType, Value};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("dm_cdc_log_scan_sessions", session_columns, sessions),
    &ViewOf::sys("dm_cdc_errors", error_columns, errors),
];

/// An LSN as `00000021:00000050:0003` and U+0000 behind it: SQL Server fills all 23 characters of
/// the column, as readers who compare it have found.
struct LsnText(Lsn);

impl Field for LsnText {
    const TYPE: SqlType = SqlType::NVarChar(Some(23));
    fn value(self) -> Value {
        Value::text(&format!("{}\0", self.0))
    }
}

struct Session {
    session: ScanSession,
    /// Server-local time of the last commit it took.
    last_commit: Option<Micros>,
    /// Scans without transactions up to this one.
    empty: i32,
}

impl Session {
    fn seconds(from: Micros, to: Micros) -> i64 {
        (to - from) / 1_000_000
    }

    /// Zero for one without transactions.
    fn duration(&self) -> i64 {
        let session = &self.session;
        let seconds = Session::seconds(session.start_time, session.end_time);
        if session.outcome.transactions == 0 { 0 } else { seconds }
    }

    fn latency(&self) -> i32 {
        let since = |commit| Session::seconds(commit, self.session.end_time).max(0);
        i32::try_from(self.last_commit.map_or(0, since)).unwrap_or(i32::MAX)
    }
}

fn sessions(catalog: &Catalog<'_>) -> Result<Vec<Session>, SqlError> {
    catalog.need(State::DatabasePerformance)?;
    let mut empty = 0;
    let mut sessions = Vec::new();
    for session in scan_sessions(catalog.storage, catalog.database()) {
        empty = if session.outcome.transactions == 0 { empty + 1 } else { 0 };
        let last_commit = match session.outcome.last_commit {
            Some(lsn) => commit_time(catalog.database(), lsn)?,
            None => None,
        };
        sessions.push(Session { session, last_commit, empty });
    }
    Ok(sessions)
}

/// Time of a commit by `cdc.lsn_time_mapping`, if its row is still there.
fn commit_time(database: &Arc<Database>, lsn: Lsn) -> Result<Option<Micros>, SqlError> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let Some(mapping) = txn.tables().into_iter().find(|t| t.is_named("cdc", "lsn_time_mapping"))
    else {
        return Ok(None);
    };
    let range = KeyRange::prefix(vec![Value::binary(&lsn.0)]);
    let view = txn.statement_view()?;
    let mut rows = view.scan(mapping.id, None, range, Direction::Forward)?;
    let Some((_, row)) = rows.next().transpose()? else {
        return Ok(None);
    };
    Ok(mapping.position("tran_end_time").and_then(|at| micros(&row[at])))
}

/// A `datetime` as server-local microseconds since 1970.
fn micros(value: &Value) -> Option<Micros> {
    const DAYS_1900_TO_1970: i64 = 25_567;
    match value {
        Value::DateTime { days, ticks } => {
            let days = i64::from(*days) - DAYS_1900_TO_1970;
            Some(days * 86_400_000_000 + i64::from(*ticks) * 10_000 / 3)
        }
        _ => None,
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn session_columns() -> Columns<Session> {
    Columns::new()
        .add("session_id", |s: &Session| Some(s.session.id))
        .add("start_time", |s| Some(At(s.session.start_time)))
        .add("end_time", |s| Some(At(s.session.end_time)))
        .add("duration", |s| Some(s.duration()))
        .add("scan_phase", |_| Some(NVar::<200>("Done".to_owned())))
        .add("error_count", |s| Some(i32::from(s.session.error.is_some())))
        // Zeros where there was nothing to scan.
        .add("start_lsn", |s| Some(LsnText(s.session.outcome.first_begin.unwrap_or(Lsn::ZERO))))
        .add_each(&["current_lsn", "end_lsn"], |s| {
            Some(LsnText(s.session.outcome.last_commit.unwrap_or(Lsn::ZERO)))
        })
        .add("tran_count", |s| Some(count(s.session.outcome.transactions)))
        .add("last_commit_lsn", |s| s.session.outcome.last_commit.map(LsnText))
        .add("last_commit_time", |s| s.last_commit.map(At))
        .add("log_record_count", null::<_, i64>)
        .add("schema_change_count", |s| {
            Some(i32::try_from(s.session.outcome.schema_changes).unwrap_or(i32::MAX))
        })
        .add("command_count", |s| Some(count(s.session.outcome.rows)))
        .add("first_begin_cdc_lsn", |s| s.session.outcome.first_begin.map(LsnText))
        .add("last_commit_cdc_lsn", |s| s.session.outcome.last_commit.map(LsnText))
        .add("last_commit_cdc_time", |s| s.last_commit.map(At))
        .add("latency", |s| Some(s.latency()))
        .add("empty_scan_count", |s| Some(s.empty))
        .add("failed_sessions_count", |s| Some(i32::from(s.session.error.is_some())))
}

struct ScanError {
    session: i32,
    at: Micros,
    error: SqlError,
}

fn errors(catalog: &Catalog<'_>) -> Result<Vec<ScanError>, SqlError> {
    catalog.need(State::DatabasePerformance)?;
    let sessions = scan_sessions(catalog.storage, catalog.database());
    Ok(sessions
        .into_iter()
        .filter_map(|session| {
            Some(ScanError { session: session.id, at: session.end_time, error: session.error? })
        })
        .collect())
}

fn error_columns() -> Columns<ScanError> {
    Columns::new()
        .add("session_id", |e: &ScanError| Some(e.session))
        .add("phase_number", null::<_, i32>)
        .add("entry_time", |e| Some(At(e.at)))
        .add("error_number", |e| Some(e.error.number))
        .add("error_severity", |e| Some(i32::from(e.error.class)))
        .add("error_state", |e| Some(i32::from(e.error.state)))
        .add("error_message", |e| Some(NVar::<1024>(e.error.message.clone())))
        .add_each(&["start_lsn", "begin_lsn", "sequence_value"], null::<_, LsnText>)
}
