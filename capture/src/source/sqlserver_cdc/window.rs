//! Which part of the source's order may be read next: pure planning over rows of
//! `cdc.lsn_time_mapping`.
//!
//! An LSN is *closed* when everything at or below it is in the change tables. A row of a real
//! transaction is: the capture job commits it together with all the transaction's change rows. A
//! dummy row (`tran_id` 0x00, added when nothing was captured for a while) is closed only once a
//! higher row exists: a transaction with the very same LSN may still be captured later
//! (docs/reader-rules.md, rule 1). So a window ends at a closed LSN when the last row of the answer, while it is a
//! dummy, is left out.
//!
//! In a database that transactional replication publishes, the Log Reader Agent captures the changes, and it
//! may be told to divide large transactions (`MaxCmdsInTran`). What becomes of their rows is not
//! documented. If they come under one LSN bit by bit, the row of that LSN is closed once a higher one
//! exists, since transactions are captured one after the other: there the newest row never is. If each
//! part has an LSN of its own, they have one transaction id, and that is looked for
//! (`statements::SPLIT`).
//!
//! Rows found in a change table at a dummy's LSN are a real transaction whose own row was lost to
//! the dummy (KB4521739): its identifier is unknown, its time the dummy's.

use lockstep_common::model::record::SourceTime;

use super::lsn::Lsn;
use super::time;
use crate::source::{CommitFingerprint, Head};

/// A row of `cdc.lsn_time_mapping`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingRow {
    /// `start_lsn`: LSN of a commit.
    pub lsn: Lsn,
    /// `tran_end_time`, 100 ns since 1970-01-01 in server local time.
    pub end_time: i64,
    /// `tran_id`.
    pub tran_id: Vec<u8>,
}

impl MappingRow {
    /// Whether it stands for no transaction.
    pub fn is_dummy(&self) -> bool {
        self.tran_id.iter().all(|byte| *byte == 0)
    }

    /// What the log keeps of it.
    pub fn fingerprint(&self, offset_minutes: i16) -> CommitFingerprint {
        CommitFingerprint {
            transaction_id: (!self.is_dummy()).then(|| self.tran_id.clone()),
            source_time: SourceTime {
                raw: time::datetime_text(self.end_time),
                offset: offset_minutes,
            },
        }
    }

    /// It as a place of a window.
    pub fn head(&self, timeline: u32, offset_minutes: i16) -> Head {
        Head {
            position: self.lsn.position(timeline),
            time: time::to_utc(self.end_time, offset_minutes),
            fingerprint: self.fingerprint(offset_minutes),
        }
    }
}

/// The rows of a window: those of `rows` (in order, all after the cursor) that are known to be
/// closed. Of a published database the last never is.
pub fn closed(mut rows: Vec<MappingRow>, published: bool) -> Vec<MappingRow> {
    if rows.last().is_some_and(|last| published || last.is_dummy()) {
        rows.pop();
    }
    rows
}

/// The newest closed row, of the mapping's two newest, the newest first.
pub fn newest_closed(rows: &[MappingRow], published: bool) -> Option<&MappingRow> {
    let open = |row: &MappingRow| published || row.is_dummy();
    rows.iter().enumerate().find(|(i, row)| *i > 0 || !open(row)).map(|(_, row)| row)
}

/// Leaves out what is at or above `limit`.
pub fn before(rows: &mut Vec<MappingRow>, limit: Lsn) {
    rows.retain(|row| row.lsn < limit);
}

/// Fewest rows to ask for: see [`rows_to_ask`].
pub const FEWEST: i64 = 2;

/// Rows to ask for so that a window may hold `transactions` after the last row is left out. At
/// least two: with one, a lone dummy in front would hide what is behind it for ever.
pub fn rows_to_ask(transactions: u32) -> i64 {
    i64::from(transactions.max(1)) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(n: u8, real: bool) -> MappingRow {
        let mut lsn = [0; 10];
        lsn[9] = n;
        MappingRow {
            lsn: Lsn::new(lsn),
            end_time: i64::from(n),
            tran_id: if real { vec![0, 0, n] } else { vec![0] },
        }
    }

    fn lsns(rows: &[MappingRow]) -> Vec<u8> {
        rows.iter().map(|row| row.lsn.as_bytes()[9]).collect()
    }

    #[test]
    fn the_newest_dummy_is_not_closed_and_one_below_another_row_is() {
        assert_eq!(lsns(&closed(vec![row(1, false)], false)), [] as [u8; 0]);
        assert_eq!(lsns(&closed(vec![row(1, false), row(2, false)], false)), [1]);
        assert_eq!(lsns(&closed(vec![row(1, false), row(2, true)], false)), [1, 2]);
        assert_eq!(lsns(&closed(vec![row(1, true), row(2, false)], false)), [1]);
        assert_eq!(lsns(&closed(vec![], false)), [] as [u8; 0]);
        assert_eq!(lsns(&closed(vec![row(1, true), row(2, true)], true)), [1]);
        assert_eq!(lsns(&closed(vec![row(1, true)], true)), [] as [u8; 0]);
    }

    #[test]
    fn the_newest_closed_place_is_the_newest_row_or_what_is_below_a_dummy() {
        let newest =
            |rows: &[MappingRow]| newest_closed(rows, false).map(|row| row.lsn.as_bytes()[9]);
        assert_eq!(newest(&[row(2, true), row(1, false)]), Some(2));
        assert_eq!(newest(&[row(2, false), row(1, false)]), Some(1));
        assert_eq!(newest(&[row(2, false)]), None);
        assert_eq!(newest(&[]), None);
    }

    #[test]
    fn a_dummy_has_no_transaction_id() {
        assert_eq!(row(1, false).fingerprint(0).transaction_id, None);
        assert_eq!(row(1, true).fingerprint(60).transaction_id, Some(vec![0, 0, 1]));
        let zeros = MappingRow { tran_id: vec![0; 10], ..row(1, false) };
        assert!(zeros.is_dummy());
    }

    proptest! {
        /// Whatever arrives later, windows of any size visit every row once, in order, and never
        /// end at a row that was the newest dummy when it was read.
        #[test]
        fn windows_tile_the_mapping(real in prop::collection::vec(any::<bool>(), 0..40), n in 1u32..5) {
            let all: Vec<_> = (1u8..).zip(&real).map(|(i, real)| row(i, *real)).collect();
            let mut seen = Vec::new();
            for visible in 1..=all.len() {
                loop {
                    let from = seen.len();
                    let ask = usize::try_from(rows_to_ask(n)).unwrap();
                    let rows = all[from..visible].iter().take(ask).cloned().collect();
                    let window = closed(rows, false);
                    let Some(last) = window.last() else { break };
                    prop_assert!(!last.is_dummy() || last != &all[visible - 1]);
                    seen.extend(window);
                }
            }
            let expected = match all.last() {
                Some(last) if last.is_dummy() => all.len() - 1,
                _ => all.len(),
            };
            prop_assert_eq!(seen.len(), expected);
            prop_assert_eq!(&seen[..], &all[..expected]);
        }
    }
}
