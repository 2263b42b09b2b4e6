//! What commits on their way on other connections touch, and so which changes have to wait for them.
//!
//! Two commits are written side by side when no change of the later one could tell whether the earlier
//! one has been committed. It could not when the rules by which changes pass each other in runs let it
//! pass every change of the earlier one: other tables, or other keys of a table whose rows only its key
//! tells apart. A change for which that does not hold waits until the earlier commits are confirmed.
//! Nothing waits the other way round, because the earlier commits' statements were all sent before:
//! they find no lock of the later one on a row of theirs.

use std::collections::HashSet;
use std::hash::BuildHasher;

use lockstep_common::TableId;
use lockstep_common::model::record::{Change, Operation};

use super::super::image::{changes_key, key_value};
use super::super::relation::Relation;
use super::open::Order;
use super::{ChangeError, Runs};

/// Keys of one commit that are worth remembering; beyond them it touches everything.
const MOST_KEYS: usize = 1 << 18;

/// What one change touches.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Claim {
    table: TableId,
    order: Order,
    /// Hashes of table and key, old and new.
    keys: [Option<u64>; 2],
}

/// What the changes of one commit touch.
#[derive(Debug, Default)]
pub(in super::super) struct Claims {
    keys: HashSet<u64>,
    /// Tables of which rows are touched.
    tables: HashSet<TableId>,
    /// Tables that are touched as a whole.
    whole: HashSet<TableId>,
    all: bool,
}

impl Claims {
    /// Whether a change has to wait for this commit.
    pub(in super::super) fn meet(&self, claim: &Claim) -> bool {
        match claim.order {
            _ if self.all || self.whole.contains(&claim.table) => true,
            Order::All => true,
            Order::Table => self.tables.contains(&claim.table),
            Order::Key => claim.keys.iter().flatten().any(|key| self.keys.contains(key)),
        }
    }

    /// Adds a change.
    pub(in super::super) fn add(&mut self, claim: &Claim) {
        match claim.order {
            Order::All => self.all = true,
            Order::Table => {
                self.whole.insert(claim.table);
            }
            Order::Key => {
                self.tables.insert(claim.table);
                self.keys.extend(claim.keys.iter().flatten());
            }
        }
        self.all |= self.keys.len() > MOST_KEYS;
    }
}

impl Runs {
    /// What a change touches; `loading` says that its table is being loaded.
    ///
    /// # Errors
    /// When it does not say which row it is of.
    pub(in super::super) fn claim(
        &mut self,
        relation: &Relation,
        loading: bool,
        change: &Change<'_>,
    ) -> Result<Claim, ChangeError> {
        // A loader writes the table from a connection of its own.
        let clears = change.operation == Operation::Truncate;
        let order = match self.order_of(relation, loading, clears) {
            _ if loading => Order::All,
            order => order,
        };
        self.notes = None;
        let mut claim = Claim { table: relation.id, order, keys: [None, None] };
        if order != Order::Key {
            return Ok(claim);
        }
        if change.operation != Operation::Insert {
            self.put_key(relation, |place| key_value(relation, change, place))?;
            claim.keys[0] = Some(self.hasher.hash_one((relation.id.0, &self.key[..])));
        }
        if change.operation == Operation::Insert
            || (change.operation == Operation::Update && changes_key(relation, change))
        {
            self.put_key(relation, |place| change.after.get(relation.key[place]))?;
            claim.keys[1] = Some(self.hasher.hash_one((relation.id.0, &self.key[..])));
        }
        Ok(claim)
    }
}
