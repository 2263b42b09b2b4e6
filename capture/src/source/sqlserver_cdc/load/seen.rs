//! What the source showed newest while rows were read: kept in the log beside them, so that a later look
//! tells whether they are of the history that the stream goes on with.
//!
//! The stream's cursor is behind the rows. A forced failover, or a restore, that loses commits after the
//! cursor leaves the cursor's own row where it was, and rows of lost commits in the target. So the newest
//! closed row of `cdc.lsn_time_mapping` that a poll has seen is compared as the cursor is
//! (`super::super::identity`): when a load is taken up, and again before it is said to be consistent.
//!
//! That row is behind the rows by what the capture job is behind the log. The name of the server says
//! the rest: a moment of another server's clock or log is none of this one's, so it is taken anew, and
//! status says that the load came from two servers. (A failover that lost nothing looks the same.)

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use lockstep_common::model::record::SourceTime;

use super::super::lsn::Lsn;
use super::super::window::MappingRow;
use crate::source::CommitFingerprint;
use crate::source::load::SEEN;

/// A row of the mapping, and the server that showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Where.
    pub lsn: Lsn,
    /// The row.
    pub fingerprint: CommitFingerprint,
    /// `@@SERVERNAME`
    pub server: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = &self.fingerprint.source_time;
        write!(f, "{SEEN}{} ", self.lsn)?;
        match &self.fingerprint.transaction_id {
            None => f.write_str("-")?,
            Some(id) => id.iter().try_for_each(|byte| write!(f, "{byte:02X}"))?,
        }
        write!(f, " {} {} {}", time.offset, time.raw.replace(' ', "T"), self.server)
    }
}

impl Seen {
    /// The inverse of its text, which may stand at the end of another.
    pub fn parse(text: &str) -> Option<Self> {
        let (_, text) = text.split_once(SEEN)?;
        let mut words = text.splitn(5, ' ');
        let lsn = Lsn::parse(words.next()?)?;
        let transaction_id = match words.next()? {
            "-" => None,
            digits => Some(bytes(digits)?),
        };
        let offset = words.next()?.parse().ok()?;
        let raw = words.next()?.replace('T', " ");
        let server = words.next()?.to_owned();
        let source_time = SourceTime { raw, offset };
        Some(Seen { lsn, fingerprint: CommitFingerprint { transaction_id, source_time }, server })
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    let byte = |i: usize| u8::from_str_radix(&digits[i..i + 2], 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// What the polls have seen, and what loads have come to because of it.
#[derive(Debug, Default)]
pub struct Sight(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    server: String,
    newest: Option<(MappingRow, i16)>,
    moved: BTreeSet<String>,
}

impl Sight {
    /// The source was connected to.
    pub fn connected(&self, server: &str) {
        let mut inner = self.lock();
        inner.server = server.to_owned();
        inner.newest = None;
    }

    /// A poll saw a closed row.
    pub fn saw(&self, row: &MappingRow, offset: i16) {
        let mut inner = self.lock();
        if inner.newest.as_ref().is_none_or(|(newest, _)| newest.lsn < row.lsn) {
            inner.newest = Some((row.clone(), offset));
        }
    }

    /// The newest of them.
    pub fn seen(&self) -> Option<Seen> {
        let inner = self.lock();
        let (row, offset) = inner.newest.as_ref()?;
        let server = inner.server.clone();
        Some(Seen { lsn: row.lsn, fingerprint: row.fingerprint(*offset), server })
    }

    /// Whether it was seen on the server that is read now; else it is noted.
    pub fn is_here(&self, seen: &Seen) -> bool {
        let mut inner = self.lock();
        if inner.server == seen.server {
            return true;
        }
        let notice = format!(
            "a full load has read rows from server {}, and the source is {} now: if that was a forced \
             failover, rows of commits that it lost may be in the target; load the tables again \
             (lockstep reload)",
            seen.server, inner.server
        );
        inner.moved.insert(notice);
        false
    }

    /// For the operator.
    pub fn notices(&self) -> Vec<String> {
        self.lock().moved.iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_read_as_it_is_written_alone_and_behind_a_clock() {
        for (id, server) in [(None, "A"), (Some(vec![0, 0xab]), "HOST WITH\\BLANKS; seen x")] {
            let raw = "2026-11-26 10:00:00.003".to_owned();
            let source_time = SourceTime { raw, offset: -90 };
            let seen = Seen {
                lsn: Lsn::new([7; 10]),
                fingerprint: CommitFingerprint { transaction_id: id, source_time },
                server: server.to_owned(),
            };
            assert_eq!(Seen::parse(&seen.to_string()), Some(seen.clone()));
            assert_eq!(Seen::parse(&format!("lsn 1; {seen}")), Some(seen));
        }
        assert_eq!(Seen::parse("lsn 00000000:00000000:0005"), None);
    }
}
