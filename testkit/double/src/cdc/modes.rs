//! Switches of the capture process, per database: where the documents contradict each other or
//! leave a choice, and faults. The defaults are the harder ones for a reader.

use std::time::Duration;

/// How an instance comes by its `start_lsn`. Both answers are measured of it by readers of change
/// tables: that the newest mapping row is at least as high, and that it is still below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreshStart {
    /// The capture job sets it, and writes a mapping row for it in the same transaction.
    Mapped,
    /// The capture job sets it and writes no mapping row: the newest one stays below it until the
    /// next captured transaction or dummy row.
    Unmapped,
    /// Enabling sets it, and no mapping row is written for it.
    AtOnce,
}

/// Switches of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// What `fn_cdc_get_min_lsn` answers for an instance whose enabling capture has not yet
    /// processed: NULL, or with this `0x00…00` (both are measured).
    pub fresh_min_lsn_is_zero: bool,
    /// When an instance gets its `start_lsn`, and whether `lsn_time_mapping` follows it.
    pub fresh_start: FreshStart,
    /// Capture finds nothing although there is something (as behind a log reader that waits for
    /// a secondary).
    pub stalled: bool,
    /// An idle capture's dummy row takes the LSN of a commit that is already in the log but not
    /// yet captured (KB4521739).
    pub dummy_meets_commit: bool,
    /// Where a dummy row has taken a commit's LSN, it stays, and the commit's own row is left
    /// out (a patched server).
    pub hide_commit_behind_dummy: bool,
    /// Rows of `ddl_history` come this many scans after their transaction.
    pub ddl_history_lag: u32,
    /// A new instance gets copies of the table's older `ddl_history` rows.
    pub ddl_history_backfill: bool,
    /// `__$seqval` runs backwards within a transaction (DBZ-2329).
    pub seqval_backwards: bool,
    /// `sp_cdc_cleanup_change_table` and the cleanup job stop after the low-water mark has
    /// moved; the next call deletes.
    pub cleanup_in_two_calls: bool,
    /// Queries of one table read another index than that of the key, in its order, where one has
    /// all columns that are read and no hint names one.
    pub covering_scan: bool,
    /// Idle time after which a dummy row is written.
    pub dummy_after: Duration,
}

impl Default for Modes {
    fn default() -> Self {
        Modes {
            fresh_min_lsn_is_zero: false,
            fresh_start: FreshStart::Mapped,
            stalled: false,
            dummy_meets_commit: false,
            hide_commit_behind_dummy: false,
            ddl_history_lag: 0,
            ddl_history_backfill: false,
            seqval_backwards: false,
            cleanup_in_two_calls: false,
            covering_scan: false,
            dummy_after: Duration::from_secs(300),
        }
    }
}
