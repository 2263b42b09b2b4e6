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

/// What a change table has of a MAX value that `.WRITE` changed. Nobody documents it: before-images
/// have the old value with `Full` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxWrite {
    /// The whole value, as of any other assignment.
    Full,
    /// NULL, under a set bit of the mask.
    Null,
    /// What was written, under a set bit.
    Piece,
    /// The whole value, and the bit is not set.
    Unmarked,
    /// NULL, and the bit is not set.
    UnmarkedNull,
    /// The bit is not set, and there is no row where no other captured column was set.
    Lost,
}

impl MaxWrite {
    /// Whether the column's bit is left out of the mask.
    pub fn is_unmarked(self) -> bool {
        matches!(self, MaxWrite::Unmarked | MaxWrite::UnmarkedNull | MaxWrite::Lost)
    }
}

/// How transactions are divided in a published database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Most commands of a part.
    pub commands: usize,
    /// Each part but the last has an LSN of its own, and a mapping row; else all have the commit's.
    pub own_lsn: bool,
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
    /// What capture has of a MAX value that `.WRITE` changed.
    pub max_write: MaxWrite,
    /// The insert of a key update has NULL for a MAX value off its row that was not set.
    pub key_update_max_null: bool,
    /// In a published database a scan takes only so many commands of a transaction, and commits.
    pub split: Option<Split>,
    /// A scan that has written something stays open: its transaction does not commit.
    pub scan_open: bool,
    /// A captured column that is NULL in old images, whatever it was.
    pub null_in_old_image: Option<String>,
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
            max_write: MaxWrite::Full,
            key_update_max_null: false,
            split: None,
            scan_open: false,
            null_in_old_image: None,
            dummy_after: Duration::from_secs(300),
        }
    }
}
