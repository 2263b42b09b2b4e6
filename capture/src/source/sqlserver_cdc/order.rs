//! The one order of changes.
//!
//! A [`ChangeKey`] is at once the comparator of the merge, the `ORDER BY` of the reads and the
//! place a paged read resumes after; [`COLUMNS`] and the derived order must say the same, column by
//! column, and a test holds them to it. The order is that of a change table's own clustered index
//! (docs/reader-rules.md, rule 2), so the server never sorts.
//!
//! Why each column: `__$start_lsn` is the commit; `__$command_id` counts the commands of a
//! transaction over *all* change tables, which is what orders rows of different tables (absent or
//! NULL on builds before KB3030352: NULL sorts first, here as on the server); `__$seqval` keeps the
//! two rows of an update together; `__$operation` puts delete before insert and old before new.

use super::lsn::Lsn;

/// The columns of the order, as a change table names them.
pub const COLUMNS: [&str; 4] = ["__$start_lsn", "__$command_id", "__$seqval", "__$operation"];

/// A change row's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeKey {
    /// `__$start_lsn`: LSN of the commit.
    pub start_lsn: Lsn,
    /// `__$command_id`.
    pub command_id: Option<i32>,
    /// `__$seqval`: LSN of the change.
    pub seqval: Lsn,
    /// `__$operation`: 1 delete, 2 insert, 3 and 4 update's old and new row.
    pub operation: i32,
}

impl ChangeKey {
    /// Whether two rows tell of the same change: the two halves of an update.
    pub fn same_change(&self, other: &ChangeKey) -> bool {
        (self.start_lsn, self.command_id, self.seqval)
            == (other.start_lsn, other.command_id, other.seqval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derived_order_compares_the_columns_in_their_order() {
        let low = Lsn::new([0; 10]);
        let high = Lsn::new([1; 10]);
        let base = ChangeKey { start_lsn: low, command_id: Some(1), seqval: low, operation: 1 };
        // Each key is greater in one column and smaller in all that follow it.
        let ascending = [
            base,
            ChangeKey { operation: 2, ..base },
            ChangeKey { seqval: high, ..base },
            ChangeKey { command_id: Some(2), ..base },
            ChangeKey { start_lsn: high, command_id: None, ..base },
            ChangeKey { start_lsn: high, ..base },
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
        assert_eq!(COLUMNS, ["__$start_lsn", "__$command_id", "__$seqval", "__$operation"]);
    }
}
