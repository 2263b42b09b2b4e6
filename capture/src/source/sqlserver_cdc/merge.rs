//! Rows of many change tables become changes in one order, each with the transaction it belongs to.
//!
//! Three pure steps. [`Pairing`] joins the two rows of an update, per table: a 3 is followed by its
//! 4, with equal commit, command and sequence; 1 and 2 stay a delete and an insert, in that order,
//! which is how SQL Server writes a change of a unique key. [`Merge`] picks the least head of all
//! tables by [`ChangeKey`], the order in which each of them arrives. [`TransactionIndex`] finds a change's
//! transaction among the window's closed LSNs.
//!
//! A table whose rows come out of order, an unpaired half of an update or a change at an LSN that
//! the mapping does not know contradict what the server promises; they stop capture, because any
//! way of going on would be a guess.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lockstep_common::model::record::Operation;

use super::lsn::Lsn;
use super::order::ChangeKey;

/// A row of a change table.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeRow<R> {
    /// Its place.
    pub key: ChangeKey,
    /// Its mask and columns.
    pub row: R,
}

/// A change: one row, or the two of an update.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedChange<R> {
    /// Place of its first row.
    pub key: ChangeKey,
    /// What happened.
    pub operation: Operation,
    /// The row before: of updates and deletes.
    pub before: Option<R>,
    /// The row after: of updates and inserts.
    pub after: Option<R>,
}

/// What the server should never send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Rows out of order.
    #[error("a row at {next:?} came after one at {last:?}")]
    Order {
        /// The row before.
        last: ChangeKey,
        /// The row after it.
        next: ChangeKey,
    },
    /// Half an update.
    #[error("the row at {0:?} is one half of an update without the other")]
    Unpaired(ChangeKey),
    /// An operation that is none of 1 to 4.
    #[error("the row at {0:?} has an unknown operation")]
    Operation(ChangeKey),
    /// A commit that `cdc.lsn_time_mapping` does not have.
    #[error("changes committed at LSN {0} have no row in cdc.lsn_time_mapping")]
    Unmapped(Lsn),
}

/// Joins the rows of one table's updates and checks their order.
#[derive(Debug)]
pub struct Pairing<R> {
    last: Option<ChangeKey>,
    old: Option<ChangeRow<R>>,
}

impl<R> Default for Pairing<R> {
    fn default() -> Self {
        Pairing { last: None, old: None }
    }
}

impl<R> Pairing<R> {
    /// Takes the next row; gives the change that it completes.
    pub fn push(&mut self, next: ChangeRow<R>) -> Result<Option<PairedChange<R>>, Contradiction> {
        if let Some(last) = self.last.replace(next.key).filter(|last| *last >= next.key) {
            return Err(Contradiction::Order { last, next: next.key });
        }
        let key = next.key;
        let single =
            |operation, before, after| Ok(Some(PairedChange { key, operation, before, after }));
        match (self.old.take(), key.operation) {
            (None, 1) => single(Operation::Delete, Some(next.row), None),
            (None, 2) => single(Operation::Insert, None, Some(next.row)),
            (None, 3) => {
                self.old = Some(next);
                Ok(None)
            }
            (Some(old), 4) if old.key.same_change(&key) => Ok(Some(PairedChange {
                key: old.key,
                operation: Operation::Update,
                before: Some(old.row),
                after: Some(next.row),
            })),
            (None, 4) => Err(Contradiction::Unpaired(key)),
            (Some(old), _) => Err(Contradiction::Unpaired(old.key)),
            (None, _) => Err(Contradiction::Operation(key)),
        }
    }

    /// The table has no more rows.
    pub fn finish(self) -> Result<(), Contradiction> {
        match self.old {
            None => Ok(()),
            Some(old) => Err(Contradiction::Unpaired(old.key)),
        }
    }
}

/// The heads of the tables being merged.
#[derive(Debug, Default)]
pub struct Merge {
    heads: BinaryHeap<Reverse<(ChangeKey, usize)>>,
}

impl Merge {
    /// The next change of `table` is at `key`. Every table that is not at its end must have its
    /// head in here before the next [`Merge::pop`].
    pub fn push(&mut self, key: ChangeKey, table: usize) {
        self.heads.push(Reverse((key, table)));
    }

    /// The table whose head comes first; it leaves, and its table must push its next one.
    pub fn pop(&mut self) -> Option<usize> {
        self.heads.pop().map(|Reverse((_, table))| table)
    }
}

/// Finds changes' transactions: both come in order, so one pass does.
#[derive(Debug)]
pub struct TransactionIndex {
    lsns: Vec<Lsn>,
    at: usize,
}

impl TransactionIndex {
    /// Over a window's LSNs, ascending.
    pub fn new(lsns: Vec<Lsn>) -> Self {
        TransactionIndex { lsns, at: 0 }
    }

    /// Index of the transaction committed at `lsn`; asked in ascending order.
    pub fn find(&mut self, lsn: Lsn) -> Result<usize, Contradiction> {
        while self.lsns.get(self.at).is_some_and(|place| *place < lsn) {
            self.at += 1;
        }
        match self.lsns.get(self.at) {
            Some(place) if *place == lsn => Ok(self.at),
            _ => Err(Contradiction::Unmapped(lsn)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lsn(n: u8) -> Lsn {
        let mut bytes = [0; 10];
        bytes[9] = n;
        Lsn::new(bytes)
    }

    fn key(start: u8, command: i32, seq: u8, operation: i32) -> ChangeKey {
        ChangeKey { start_lsn: lsn(start), command_id: Some(command), seqval: lsn(seq), operation }
    }

    fn pair(keys: &[ChangeKey]) -> Result<Vec<(Operation, ChangeKey)>, Contradiction> {
        let mut pairing = Pairing::default();
        let mut changes = Vec::new();
        for key in keys {
            let change = pairing.push(ChangeRow { key: *key, row: () })?;
            changes.extend(change.map(|change| (change.operation, change.key)));
        }
        pairing.finish().map(|()| changes)
    }

    #[test]
    fn halves_of_an_update_join_and_a_key_change_stays_delete_then_insert() {
        // A key update has one sequence for both rows; a set-based one has all deletes first.
        let keys = [key(1, 1, 1, 3), key(1, 1, 1, 4), key(1, 2, 5, 1), key(1, 3, 5, 2)];
        assert_eq!(
            pair(&keys),
            Ok(vec![
                (Operation::Update, keys[0]),
                (Operation::Delete, keys[2]),
                (Operation::Insert, keys[3])
            ])
        );
    }

    #[test]
    fn what_the_server_never_sends_is_refused() {
        assert_eq!(pair(&[key(1, 1, 1, 3)]), Err(Contradiction::Unpaired(key(1, 1, 1, 3))));
        assert_eq!(pair(&[key(1, 1, 1, 4)]), Err(Contradiction::Unpaired(key(1, 1, 1, 4))));
        assert_eq!(
            pair(&[key(1, 1, 1, 3), key(1, 2, 1, 4)]),
            Err(Contradiction::Unpaired(key(1, 1, 1, 3)))
        );
        assert_eq!(pair(&[key(1, 1, 1, 5)]), Err(Contradiction::Operation(key(1, 1, 1, 5))));
        assert!(matches!(
            pair(&[key(2, 1, 1, 2), key(1, 1, 1, 2)]),
            Err(Contradiction::Order { .. })
        ));
        assert!(matches!(
            pair(&[key(1, 1, 1, 2), key(1, 1, 1, 2)]),
            Err(Contradiction::Order { .. })
        ));
    }

    #[test]
    fn changes_find_their_transactions_and_a_stranger_is_refused() {
        let mut places = TransactionIndex::new(vec![lsn(1), lsn(3), lsn(5)]);
        assert_eq!(places.find(lsn(1)), Ok(0));
        assert_eq!(places.find(lsn(1)), Ok(0));
        assert_eq!(places.find(lsn(5)), Ok(2));
        assert_eq!(places.find(lsn(6)), Err(Contradiction::Unmapped(lsn(6))));
        assert_eq!(
            TransactionIndex::new(vec![lsn(2)]).find(lsn(1)),
            Err(Contradiction::Unmapped(lsn(1)))
        );
    }

    proptest! {
        /// Merging sorted tables is sorting everything.
        #[test]
        fn the_merge_is_a_sort(
            rows in prop::collection::btree_set(
                (1u8..4, 0i32..6, 0u8..4, 1i32..5), 0..60),
            tables in 1usize..6,
            seed in prop::collection::vec(any::<prop::sample::Index>(), 60),
        ) {
            let keys: Vec<_> = rows.into_iter().map(|(a, b, c, d)| key(a, b, c, d)).collect();
            let mut streams = vec![Vec::new(); tables];
            for (key, choice) in keys.iter().zip(&seed) {
                streams[choice.index(tables)].push(*key);
            }
            let mut streams: Vec<_> = streams.into_iter().map(|s| s.into_iter().peekable()).collect();
            let mut merge = Merge::default();
            for (i, stream) in streams.iter_mut().enumerate() {
                if let Some(key) = stream.peek() {
                    merge.push(*key, i);
                }
            }
            let mut merged = Vec::new();
            while let Some(i) = merge.pop() {
                merged.extend(streams[i].next());
                if let Some(key) = streams[i].peek() {
                    merge.push(*key, i);
                }
            }
            prop_assert_eq!(merged, keys);
        }
    }
}
