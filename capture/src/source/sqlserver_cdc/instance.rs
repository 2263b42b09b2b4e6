//! Capture instances: which one of a table is read, and from where on it has everything.
//!
//! `start_lsn` of an instance is its low-water mark: cleanup raises it *before* it deletes, so a
//! mark at or below the first LSN that is still wanted proves that everything wanted was there when
//! the mark was read. The mark cannot tell "deleted" from "never had it": only for an instance that
//! is proved to have begun after the cursor is a higher mark not a gap (docs/reader-rules.md, rules 8 and 9).
//!
//! Which of two instances of a table is read: see [`super::choice`].

use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::TableName;

use super::lsn::Lsn;

/// A capture instance as `sys.sp_cdc_help_change_data_capture` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// The source table.
    pub table: TableName,
    /// `object_id` of the change table.
    pub change_table_id: i32,
    /// `object_id` of the source table.
    pub table_id: i32,
    /// Low-water mark; none while the capture job has not come to it.
    pub start_lsn: Option<Lsn>,
    /// When it was created, 100 ns since 1970-01-01, server local time.
    pub created: i64,
}

impl Instance {
    /// Whether `other` is this very instance, wherever its low-water mark is now.
    pub fn is(&self, other: &Instance) -> bool {
        (&self.name, self.change_table_id, self.table_id, self.created)
            == (&other.name, other.change_table_id, other.table_id, other.created)
    }
}

/// Where an instance stands to a reader at a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has everything after the cursor.
    Covers,
    /// It began after the cursor, at this LSN.
    Begins(Lsn),
    /// The capture job has not come to it.
    NotReady,
    /// It may have had changes that are gone: those from the first to the second LSN.
    Gap(Lsn, Lsn),
}

/// Judges a low-water mark. `began_after` says that the instance is proved to have begun after the
/// cursor.
pub fn standing(mark: Option<Lsn>, cursor: Lsn, began_after: bool) -> Standing {
    let wanted = cursor.next();
    match mark.filter(|mark| !mark.is_zero()) {
        None => Standing::NotReady,
        Some(mark) if mark <= wanted => Standing::Covers,
        Some(mark) if began_after => Standing::Begins(mark),
        Some(mark) => Standing::Gap(wanted, mark.previous()),
    }
}

/// The failure that a gap is.
pub fn gap(instance: &Instance, from: Lsn, to: Lsn) -> Failure {
    Failure::new(
        Code::SourceGap,
        format!(
            "changes of {} committed at LSN {from} to {to} are no longer in the change table of \
             instance {}: cleanup passed this reader",
            instance.table, instance.name
        ),
    )
    .remedy(
        "the target cannot be brought up to date from here: load it anew with a new pipeline (new \
         log); raise the CDC retention above the longest outage",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(n: u8) -> Lsn {
        let mut bytes = [0; 10];
        bytes[9] = n;
        Lsn::new(bytes)
    }

    #[test]
    fn only_a_proved_beginning_excuses_a_high_mark() {
        assert_eq!(standing(Some(lsn(6)), lsn(5), false), Standing::Covers);
        assert_eq!(standing(Some(lsn(7)), lsn(5), true), Standing::Begins(lsn(7)));
        assert_eq!(standing(Some(lsn(9)), lsn(5), false), Standing::Gap(lsn(6), lsn(8)));
        assert_eq!(standing(None, lsn(5), true), Standing::NotReady);
        assert_eq!(standing(Some(Lsn::ZERO), lsn(5), true), Standing::NotReady);
    }
}
