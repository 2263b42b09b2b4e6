//! Rows that come and go without being captured: `ALTER TABLE … SWITCH` of a table that is not partitioned
//! is never captured, and cannot be forbidden (Microsoft, sys.sp_cdc_enable_table:
//! `@allow_partition_switch` is ignored there, warning 22857).
//!
//! What the catalogue shows of it afterwards is the number of rows. It is held against the inserts and
//! deletes that were followed: their difference is the same at all times, whatever it is. It is looked at
//! when it can be known: the number was the same in two looks, and meanwhile the stream has come past the
//! first of them without a change of the table. So a table that never rests is not judged, nor is what
//! happened while nobody followed; rows that leave while as many come are not noticed.
//!
//! The number includes rows that are not committed: a notice may be of a long open transaction, and
//! goes when that ends.

use std::collections::HashMap;

use lockstep_common::{TICKS_PER_SECOND, TableId};

/// How much later than a look the stream must be: commits are dated to 1/300 s.
const SLACK: i64 = TICKS_PER_SECOND;

/// What is known of each table's number of rows.
#[derive(Debug, Default)]
pub struct RowCounts(HashMap<TableId, Watch>);

#[derive(Debug, Default)]
struct Watch {
    /// Inserts less deletes that were followed.
    followed: i64,
    look: Option<Look>,
    /// The difference that stays.
    fits: Option<i64>,
    /// How far it is off now.
    off: i64,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    rows: i64,
    followed: i64,
    at: i64,
}

impl RowCounts {
    /// So many rows more, by changes that are in the log.
    pub fn followed(&mut self, table: TableId, more: i64) {
        self.0.entry(table).or_default().followed += more;
    }

    /// The table is loaded: whatever was missed before is of no matter any more.
    pub fn forget(&mut self, table: TableId) {
        self.0.remove(&table);
    }

    /// The catalogue said `rows` at `now`, and the stream has come to commits of `reached`; both 100 ns since
    /// 1970-01-01Z by the server's clock. Returns how many rows came (or went) that no change tells of.
    pub fn look(&mut self, table: TableId, rows: i64, now: i64, reached: Option<i64>) -> i64 {
        let watch = self.0.entry(table).or_default();
        let same = |look: &Look| look.rows == rows && look.followed == watch.followed;
        match watch.look.filter(same) {
            None => watch.look = Some(Look { rows, followed: watch.followed, at: now }),
            Some(look) if reached.is_some_and(|reached| reached > look.at + SLACK) => {
                let fit = rows - watch.followed;
                watch.off = fit - *watch.fits.get_or_insert(fit);
            }
            Some(_) => {}
        }
        watch.off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TableId = TableId(1);
    const S: i64 = TICKS_PER_SECOND;

    #[test]
    fn what_was_followed_is_no_difference_and_what_was_not_is() {
        let mut counts = RowCounts::default();
        assert_eq!(counts.look(T, 100, 10 * S, Some(5 * S)), 0);
        assert_eq!(counts.look(T, 100, 20 * S, Some(15 * S)), 0);
        counts.followed(T, -30);
        counts.followed(T, 10);
        assert_eq!(counts.look(T, 80, 30 * S, Some(25 * S)), 0);
        assert_eq!(counts.look(T, 80, 40 * S, Some(35 * S)), 0);
        // Not before the stream is past it.
        assert_eq!(counts.look(T, 0, 50 * S, Some(45 * S)), 0);
        assert_eq!(counts.look(T, 0, 60 * S, Some(50 * S)), 0);
        assert_eq!(counts.look(T, 0, 61 * S, Some(52 * S)), -80);
        // It stays until they are back, or the table is loaded.
        counts.followed(T, 5);
        assert_eq!(counts.look(T, 5, 70 * S, Some(65 * S)), -80);
        assert_eq!(counts.look(T, 85, 80 * S, Some(75 * S)), -80);
        assert_eq!(counts.look(T, 85, 90 * S, Some(85 * S)), 0);
        counts.followed(T, 1);
        counts.forget(T);
        assert_eq!(counts.look(T, 7, 95 * S, Some(91 * S)), 0);
        assert_eq!(counts.look(T, 7, 99 * S, Some(97 * S)), 0);
    }

    #[test]
    fn changes_that_come_later_are_waited_for() {
        let mut counts = RowCounts::default();
        counts.look(T, 10, 10 * S, Some(5 * S));
        counts.look(T, 10, 20 * S, Some(15 * S));
        // The catalogue is ahead of the stream, which comes to it before it is judged.
        counts.look(T, 11, 30 * S, Some(20 * S));
        assert_eq!(counts.look(T, 11, 40 * S, Some(25 * S)), 0);
        counts.followed(T, 1);
        assert_eq!(counts.look(T, 11, 50 * S, Some(35 * S)), 0);
        assert_eq!(counts.look(T, 11, 60 * S, Some(55 * S)), 0);
    }
}
