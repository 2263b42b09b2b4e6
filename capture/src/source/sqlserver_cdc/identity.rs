//! Whether the source still is the one that was read: decided from `cdc.lsn_time_mapping` alone,
//! which every user may read (docs/reader-rules.md, rule 15).
//!
//! The cursor's own row, kept in the log as its fingerprint, must still be there, unchanged; or it must
//! be older than the oldest row, when cleanup took it and the low-water marks decide. A newest row
//! below the cursor, another row in its place or a hole where it should be mean another history: a
//! restored backup, or change data capture disabled and enabled anew. GUIDs and names are not
//! asked: they change in a legitimate failover.

use lockstep_common::Code;
use lockstep_common::Failure;

use super::connection::Lease;
use super::lsn::Lsn;
use super::window::MappingRow;
use super::{fields, statements, wrong_results};
use crate::source::CommitFingerprint;

/// What the mapping shows.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The row at the cursor.
    pub own: Option<MappingRow>,
    /// The first row.
    pub oldest: Option<MappingRow>,
    /// The last row.
    pub newest: Option<MappingRow>,
    /// Where the last instance begins; looked for where there is no fingerprint.
    pub begins: Option<Lsn>,
}

const REMEDY: &str = "if the database was restored, rebuilt or failed over with loss, its history is \
     another one: begin a new pipeline (new log), which loads the target anew";

/// Asks for the evidence at `lsn`.
///
/// # Errors
/// As the server.
pub async fn evidence(lease: &mut Lease, lsn: Lsn) -> Result<Evidence, Failure> {
    let lsn = &lsn.as_bytes()[..];
    let results = lease.query(statements::WITNESSES, &[&lsn], "identify the source").await?;
    let first =
        |result: &Vec<_>| Ok::<_, Failure>(fields::mapping_rows(result)?.into_iter().next());
    let [own, oldest, newest] = results.as_slice() else {
        return Err(wrong_results("identify the source"));
    };
    Ok(Evidence { own: first(own)?, oldest: first(oldest)?, newest: first(newest)?, begins: None })
}

/// Judges where the log ends.
///
/// # Errors
/// `Halt` with code `source.rewound` when it is another history.
pub fn examine(
    cursor: Lsn,
    fingerprint: Option<&CommitFingerprint>,
    evidence: &Evidence,
) -> Result<(), Failure> {
    judge(&format!("the log ends at LSN {cursor}"), cursor, fingerprint, evidence)
}

/// Judges what was seen newest when rows of a load were read.
///
/// # Errors
/// As [`examine`].
pub fn examine_rows(
    seen: Lsn,
    fingerprint: &CommitFingerprint,
    evidence: &Evidence,
) -> Result<(), Failure> {
    let what = format!("rows of a full load were read when the source had come to LSN {seen}");
    judge(&what, seen, Some(fingerprint), evidence)
}

fn judge(
    what: &str,
    lsn: Lsn,
    fingerprint: Option<&CommitFingerprint>,
    evidence: &Evidence,
) -> Result<(), Failure> {
    let rewound = |but: String| {
        Err(Failure::new(Code::SourceRewound, format!("{what}, but {but}")).remedy(REMEDY))
    };
    // Nothing was read yet, so there is nothing to be inconsistent with.
    if fingerprint.is_none() && evidence.newest.is_none() {
        return Ok(());
    }
    let Some(newest) = &evidence.newest else {
        return rewound(
            "cdc.lsn_time_mapping is empty: change data capture was disabled and enabled again, or \
             the database is another one"
                .to_owned(),
        );
    };
    // A start before an instance begins lies in its history, and for a while the mapping may show
    // nothing as high: the capture job has not come there.
    let ahead = fingerprint.is_none() && evidence.begins.is_some_and(|begins| lsn < begins);
    if newest.lsn < lsn && !ahead {
        return rewound(format!(
            "the source's newest is {}: the database was restored to an earlier state",
            newest.lsn
        ));
    }
    let Some(fingerprint) = fingerprint else { return Ok(()) };
    match &evidence.own {
        Some(row) if same(row, fingerprint) => Ok(()),
        Some(row) => rewound(format!(
            "the source has another transaction there now (committed {}, not {})",
            row.fingerprint(0).source_time.raw,
            fingerprint.source_time.raw
        )),
        None if evidence.oldest.as_ref().is_some_and(|oldest| lsn < oldest.lsn) => Ok(()),
        None => rewound(
            "that LSN is gone from cdc.lsn_time_mapping while older rows are still there: the \
             database was restored and has gone another way since"
                .to_owned(),
        ),
    }
}

/// Whether a row is the fingerprint's own.
pub fn same(row: &MappingRow, fingerprint: &CommitFingerprint) -> bool {
    let now = row.fingerprint(fingerprint.source_time.offset);
    now.transaction_id == fingerprint.transaction_id
        && now.source_time.raw == fingerprint.source_time.raw
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u8, tran: u8) -> MappingRow {
        let mut lsn = [0; 10];
        lsn[9] = n;
        MappingRow { lsn: Lsn::new(lsn), end_time: i64::from(n), tran_id: vec![tran] }
    }

    fn evidence(rows: &[MappingRow], cursor: u8) -> Evidence {
        Evidence {
            own: rows.iter().find(|r| r.lsn == row(cursor, 0).lsn).cloned(),
            oldest: rows.first().cloned(),
            newest: rows.last().cloned(),
            begins: None,
        }
    }

    fn judge(rows: &[MappingRow], cursor: u8, fingerprint: Option<MappingRow>) -> bool {
        let fingerprint = fingerprint.map(|row| row.fingerprint(0));
        examine(row(cursor, 0).lsn, fingerprint.as_ref(), &evidence(rows, cursor)).is_ok()
    }

    #[test]
    fn the_same_history_goes_on() {
        let rows = [row(3, 1), row(5, 2), row(9, 0)];
        assert!(judge(&rows, 5, Some(row(5, 2))));
        assert!(judge(&rows, 9, Some(row(9, 0))));
        // Cleanup took the cursor's row: the low-water marks decide.
        assert!(judge(&rows, 2, Some(row(2, 7))));
        // A chosen start has no row to compare.
        assert!(judge(&rows, 4, None));
        assert!(judge(&[], 0, None));
        // A start that was chosen because an instance begins there, which the mapping does not show yet.
        let ahead = |cursor: u8, begins: u8| {
            let begins = Some(row(begins, 0).lsn);
            let evidence = Evidence { begins, ..evidence(&rows, cursor) };
            examine(row(cursor, 0).lsn, None, &evidence).is_ok()
        };
        assert!(ahead(19, 20));
        assert!(!ahead(20, 20) && !ahead(20, 9));
        let evidence = Evidence { begins: Some(row(20, 0).lsn), ..evidence(&rows, 19) };
        let read = row(19, 1).fingerprint(0);
        assert!(examine(row(19, 0).lsn, Some(&read), &evidence).is_err(), "it was read");
    }

    #[test]
    fn another_history_is_refused() {
        let rows = [row(3, 1), row(5, 2), row(9, 4)];
        assert!(!judge(&rows, 10, Some(row(10, 1))), "newest below the cursor");
        assert!(!judge(&rows, 5, Some(row(5, 3))), "another transaction");
        assert!(
            !judge(&rows, 5, Some(MappingRow { end_time: 77_000_000, ..row(5, 2) })),
            "another time"
        );
        assert!(!judge(&rows, 5, Some(row(5, 0))), "a dummy became a transaction");
        assert!(!judge(&rows, 4, Some(row(4, 1))), "a hole");
        assert!(!judge(&[], 4, Some(row(4, 1))), "empty");
        assert!(!judge(&rows, 20, None), "a chosen start above everything");
    }
}
