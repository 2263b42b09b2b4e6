//! Moments of the server, and which commits lie after them.
//!
//! A load is consistent at a commit before which everything lies that was committed when its last
//! row was read. Two proofs of that, the better one where it is allowed:
//!
//! - **The log's own number.** A transaction that does nothing but set a savepoint has a log record,
//!   and `sys.dm_tran_database_transactions` (VIEW SERVER STATE) shows its LSN. What was committed
//!   before has lower ones. A closed place above it is the proof; no clock is read.
//! - **The time.** `cdc.lsn_time_mapping` has the time of each commit, in the server's local time to
//!   1/300 s. LSNs are in the order of commits, so everything that was committed before a moment
//!   lies below a commit whose time is later than that moment, with a second to spare for the
//!   coarser type. Local time goes back when its UTC offset becomes smaller: a commit of the hour
//!   before then has a time of the hour after. So an hour (or more, where the offsets differ by
//!   more) is added wherever such a change may lie between the commit and the moment: when the two
//!   were read under different offsets, when this process has seen the offset become smaller within
//!   a day, and when the newest commits are dated later than the clock.
//!
//! Not provided against: somebody sets the server's clock back by more than a second.

use std::sync::{Arc, Mutex, PoisonError};

use lockstep_common::{Failure, TICKS_PER_DAY, TICKS_PER_SECOND};

use super::super::connection::{Lease, Pool};
use super::super::fields::{self, Fields};
use super::super::lsn::Lsn;
use super::super::{clock_of, statements, time, wrong_results};
use crate::source::Head;
use crate::source::load::Clock;

/// Error numbers of a right that is missing.
pub const FORBIDDEN: [u32; 4] = [229, 262, 297, 300];

const MINUTE: i64 = 60 * TICKS_PER_SECOND;
/// How much later than a moment a commit must be dated.
const SLACK: i64 = TICKS_PER_SECOND;
/// Least of what is added where the clock may have gone back.
const HOUR: i64 = 60 * MINUTE;

/// Times at which the server's UTC offset was seen to become smaller.
#[derive(Debug, Default)]
pub struct ClockChanges(Mutex<ClockReading>);

#[derive(Debug, Default)]
struct ClockReading {
    offset: Option<i16>,
    /// When, and by how much.
    back: Option<(i64, i64)>,
}

impl ClockChanges {
    /// The server's clock (100 ns since 1970-01-01Z) and offset were read.
    pub fn note(&self, now: i64, offset: i16) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = seen.offset.filter(|before| *before > offset) {
            seen.back = Some((now, i64::from(before - offset) * MINUTE));
        }
        seen.offset = Some(offset);
    }

    /// How far it went back within a day before `now`.
    fn back(&self, now: i64) -> i64 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.back {
            Some((at, by)) if now - at < TICKS_PER_DAY => by.max(HOUR),
            _ => 0,
        }
    }
}

/// Reads the server's clock.
pub async fn read(pool: &Arc<Pool>, changes: &ClockChanges) -> Result<Clock, Failure> {
    // A refusal spoils the connection, so the question has one of its own.
    let mut lease = pool.get().await?;
    if let Some(lsn) = log_position(&mut lease).await? {
        lease.keep();
        return Ok(format!("lsn {lsn}"));
    }
    drop(lease);
    let mut lease = pool.get().await?;
    let results = lease.batch(statements::NEWEST, "read the server's clock").await?;
    lease.keep();
    let [rows, clock] = results.as_slice() else {
        return Err(wrong_results("read the server's clock"));
    };
    let (now, offset) = clock_of(clock)?;
    changes.note(now, offset);
    let local = now + i64::from(offset) * MINUTE;
    let mut back = changes.back(now);
    let newest = fields::mapping_rows(rows)?.iter().map(|row| row.end_time).max();
    if newest.is_some_and(|newest| newest > local + SLACK) {
        back = back.max(HOUR);
    }
    Ok(format!("time {} {offset}", time::datetime_text(local + SLACK + back)))
}

/// The log's position now, where the login may see it.
pub async fn log_position(lease: &mut Lease) -> Result<Option<Lsn>, Failure> {
    const DOING: &str = "read the log's position";
    let sql =
        format!("BEGIN TRANSACTION; SAVE TRANSACTION lockstep; {SAVEPOINT}; ROLLBACK TRANSACTION");
    match lease.try_batch(&sql).await {
        Ok(results) => savepoint(&results, DOING).map(Some),
        Err(error) if error.code().is_some_and(|code| FORBIDDEN.contains(&code)) => Ok(None),
        Err(error) => Err(lease.classify(error, DOING)),
    }
}

/// The transaction's newest savepoint, as text that has no code page: the driver does not know every one
/// that a database may have (`sys.dm_tran_database_transactions`,
/// `sys.dm_tran_current_transaction`).
pub const SAVEPOINT: &str = "SELECT \
     CAST(t.database_transaction_most_recent_savepoint_lsn AS nvarchar(30)) AS lsn \
     FROM sys.dm_tran_database_transactions AS t INNER JOIN sys.dm_tran_current_transaction AS c \
     ON c.transaction_id = t.transaction_id WHERE t.database_id = DB_ID()";

/// The LSN in an answer to [`SAVEPOINT`].
pub fn savepoint(results: &[Vec<tiberius::Row>], doing: &str) -> Result<Lsn, Failure> {
    let row = results.iter().flatten().next().ok_or_else(|| wrong_results(doing))?;
    let text = Fields::new(row, "sys.dm_tran_database_transactions").name("lsn")?;
    Lsn::from_number(&text).ok_or_else(|| wrong_results(doing))
}

/// See [`Loader::proves`](crate::source::load::Loader::proves).
pub fn proves(head: &Head, clock: &Clock) -> bool {
    // What was seen newest stands behind it.
    let clock = clock.split_once("; ").map_or(clock.as_str(), |(clock, _)| clock);
    match clock.split_once(' ') {
        Some(("lsn", lsn)) => {
            let at = Lsn::parse(lsn);
            Lsn::from_position(&head.position).zip(at).is_some_and(|(head, at)| head > at)
        }
        Some(("time", rest)) => {
            let Some((bound, offset)) = rest.rsplit_once(' ') else { return false };
            let (Some(bound), Ok(offset)) = (time::parse_datetime(bound), offset.parse::<i16>())
            else {
                return false;
            };
            let Some(committed) = time::parse_datetime(&head.fingerprint.source_time.raw) else {
                return false;
            };
            let apart = (i64::from(head.fingerprint.source_time.offset) - i64::from(offset)).abs();
            let back = if apart == 0 { 0 } else { (apart * MINUTE).max(HOUR) };
            committed > bound + back
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_common::model::record::SourceTime;

    use crate::source::CommitFingerprint;
    use crate::source::load::SEEN;

    fn head(raw: &str, offset: i16, last: u8) -> Head {
        let mut lsn = [0; 10];
        lsn[9] = last;
        let source_time = SourceTime { raw: raw.to_owned(), offset };
        Head {
            position: Lsn::new(lsn).position(3),
            time: 0,
            fingerprint: CommitFingerprint { transaction_id: None, source_time },
        }
    }

    #[test]
    fn a_commit_is_later_by_its_lsn() {
        let clock = "lsn 00000000:00000000:0005".to_owned();
        assert!(!proves(&head("2026-11-26 10:00:00.000", 0, 5), &clock));
        assert!(proves(&head("1999-01-01 00:00:00.000", 0, 6), &clock));
        let seen = format!("{clock}; {SEEN}00000000:00000000:0004 - 0 1999-01-01T00:00:00.000 S");
        assert!(!proves(&head("2026-11-26 10:00:00.000", 0, 5), &seen));
        assert!(proves(&head("1999-01-01 00:00:00.000", 0, 6), &seen));
    }

    #[test]
    fn a_commit_is_later_by_its_time_and_an_hour_across_a_change_of_offset() {
        let clock = "time 2026-10-25 02:30:01.000 120".to_owned();
        assert!(!proves(&head("2026-10-25 02:30:01.000", 120, 9), &clock));
        assert!(proves(&head("2026-10-25 02:30:01.003", 120, 9), &clock));
        assert!(!proves(&head("2026-10-25 03:30:01.000", 60, 9), &clock));
        assert!(proves(&head("2026-10-25 03:30:01.003", 60, 9), &clock));
        assert!(!proves(&head("", 120, 9), &clock));
        assert!(!proves(&head("2026-10-25 03:30:01.003", 120, 9), &"sometime".to_owned()));
    }

    #[test]
    fn a_clock_that_went_back_is_remembered_for_a_day() {
        let changes = ClockChanges::default();
        changes.note(0, 60);
        changes.note(1, 120);
        assert_eq!(changes.back(2), 0);
        changes.note(2, 60);
        assert_eq!(changes.back(3), HOUR);
        assert_eq!(changes.back(TICKS_PER_DAY + 2), 0);
        changes.note(TICKS_PER_DAY * 2, -90);
        assert_eq!(changes.back(TICKS_PER_DAY * 2), 150 * MINUTE);
    }
}
