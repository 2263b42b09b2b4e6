//! Rows and changes of the source as those of the target.

use std::borrow::Cow;

use lockstep_common::Value;
use lockstep_common::model::record::{Before, Change};

use super::derived::Part;

/// Gives derived columns their values. It is made with the plan, so that a row costs no look-up.
#[derive(Clone, Debug)]
pub(in super::super) struct Projection {
    /// Columns of the source.
    width: usize,
    /// The columns behind them: parts of which.
    derived: Vec<(usize, Part)>,
    /// The key's columns in key order.
    key: Vec<usize>,
}

impl Projection {
    pub(super) fn new(width: usize, derived: Vec<(usize, Part)>, key: Vec<usize>) -> Self {
        Projection { width, derived, key }
    }

    /// Columns that rows of the source have.
    pub(in super::super) fn width(&self) -> usize {
        self.width
    }

    /// A row of the source's columns as one of the target's.
    pub(in super::super) fn apply_row(&self, row: &mut Vec<Value<'_>>) {
        if row.len() != self.width {
            // It is refused for that.
            return;
        }
        for &(column, part) in &self.derived {
            row.push(part.of(&row[column]));
        }
    }

    /// The same for a key: its derived columns stand each behind its column.
    fn apply_key(&self, key: &mut Vec<Value<'_>>) {
        let own = |column: &&usize| **column < self.width;
        if key.len() != self.key.iter().filter(own).count() {
            return;
        }
        let mut given = std::mem::take(key).into_iter();
        for column in &self.key {
            let value = match column.checked_sub(self.width) {
                None => given.next(),
                Some(place) => key.last().map(|before| self.derived[place].1.of(before)),
            };
            key.extend(value);
        }
    }

    /// The same for a change: both images, and which columns were set.
    pub(in super::super) fn apply<'c, 'v>(&self, change: &'c Change<'v>) -> Cow<'c, Change<'v>> {
        if self.derived.is_empty() {
            return Cow::Borrowed(change);
        }
        let mut wide = change.clone();
        self.apply_row(&mut wide.after);
        match &mut wide.before {
            Before::None => {}
            Before::Key(key) => self.apply_key(key),
            Before::Full(row) => self.apply_row(row),
        }
        if !wide.changed.is_empty() {
            let columns = self.width + self.derived.len();
            let mut changed = wide.changed.into_owned();
            changed.resize(columns.div_ceil(8).max(changed.len()), 0);
            for (place, (column, _)) in self.derived.iter().enumerate() {
                let at = self.width + place;
                let bit = changed[column / 8] >> (column % 8) & 1;
                changed[at / 8] |= bit << (at % 8);
            }
            wide.changed = changed.into();
        }
        Cow::Owned(wide)
    }
}
