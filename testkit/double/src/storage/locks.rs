//! Table and row locks, and who waits for whom.
//!
//! A row's writer is not in here: its uncommitted version at the head of the chain is its lock.
//! The book holds table locks, explicit row locks, and the edges of every wait, whatever it
//! waits for. A new wait that closes a circle is found when it begins, so no circle ever stands.

use std::collections::{HashMap, HashSet};

use super::{ObjectId, RowId, RowLock, TableLock, TxnId};

impl TableLock {
    fn conflicts(self, other: TableLock) -> bool {
        use TableLock::*;
        match (self, other) {
            (SchemaModification, _) | (_, SchemaModification) => true,
            (SchemaStability, _) | (_, SchemaStability) => false,
            (IntentShared, other) | (other, IntentShared) => other == Exclusive,
            (IntentExclusive, IntentExclusive) | (Shared, Shared) => false,
            _ => true,
        }
    }
}

impl RowLock {
    /// S goes with S and U, U with S, X with nothing.
    fn conflicts(self, other: RowLock) -> bool {
        use RowLock::*;
        !matches!((self, other), (Shared, Shared | Update) | (Update, Shared))
    }
}

#[derive(Debug, Default)]
struct TableQueue {
    granted: Vec<(TxnId, TableLock)>,
    /// In the order they came: a waiting lock holds later ones back, or a stream of writers
    /// would keep a reader of the whole table out for ever.
    waiting: Vec<(TxnId, TableLock)>,
}

#[derive(Debug)]
struct Wait {
    blockers: Vec<TxnId>,
    priority: i8,
    /// Log records written: what a rollback would cost.
    cost: u64,
}

/// All locks of one database.
#[derive(Debug, Default)]
pub(super) struct LockBook {
    tables: HashMap<ObjectId, TableQueue>,
    rows: HashMap<(ObjectId, RowId), Vec<(TxnId, RowLock)>>,
    waits: HashMap<TxnId, Wait>,
    victims: HashSet<TxnId>,
}

impl LockBook {
    /// Grants a table lock (whether it is new), or answers who stands against it.
    pub(super) fn lock_table(
        &mut self,
        table: ObjectId,
        txn: TxnId,
        lock: TableLock,
    ) -> Result<bool, Vec<TxnId>> {
        let queue = self.tables.entry(table).or_default();
        if queue.granted.contains(&(txn, lock)) {
            return Ok(false);
        }
        let against = |(other, held): &&(TxnId, TableLock)| *other != txn && held.conflicts(lock);
        let mut blockers: Vec<TxnId> =
            queue.granted.iter().filter(against).map(|(t, _)| *t).collect();
        // Whoever holds a lock already converts it, and does not queue behind newcomers.
        if !queue.granted.iter().any(|(holder, _)| *holder == txn) {
            let ahead = queue.waiting.iter().take_while(|(other, _)| *other != txn);
            blockers.extend(ahead.filter(against).map(|(t, _)| *t));
        }
        if blockers.is_empty() {
            queue.waiting.retain(|waiter| *waiter != (txn, lock));
            queue.granted.push((txn, lock));
            return Ok(true);
        }
        if !queue.waiting.contains(&(txn, lock)) {
            queue.waiting.push((txn, lock));
        }
        Err(blockers)
    }

    /// Leaves the queue of a table without a lock.
    pub(super) fn give_up_table(&mut self, table: ObjectId, txn: TxnId) {
        if let Some(queue) = self.tables.get_mut(&table) {
            queue.waiting.retain(|(waiter, _)| *waiter != txn);
        }
    }

    /// Gives one table lock back.
    pub(super) fn unlock_table(&mut self, table: ObjectId, txn: TxnId, lock: TableLock) {
        if let Some(queue) = self.tables.get_mut(&table) {
            queue.granted.retain(|held| *held != (txn, lock));
            if queue.granted.is_empty() && queue.waiting.is_empty() {
                self.tables.remove(&table);
            }
        }
    }

    /// Grants an explicit row lock, or answers who stands against it. Whether it is new.
    pub(super) fn lock_row(
        &mut self,
        row: (ObjectId, RowId),
        txn: TxnId,
        lock: RowLock,
    ) -> Result<bool, Vec<TxnId>> {
        let blockers = self.against_row(row, txn, lock);
        if !blockers.is_empty() {
            return Err(blockers);
        }
        let granted = self.rows.entry(row).or_default();
        match granted.iter_mut().find(|(holder, _)| *holder == txn) {
            Some((_, held)) => {
                *held = (*held).max(lock);
                Ok(false)
            }
            None => {
                granted.push((txn, lock));
                Ok(true)
            }
        }
    }

    /// Whose explicit locks stand against `lock` on a row.
    pub(super) fn against_row(
        &self,
        row: (ObjectId, RowId),
        txn: TxnId,
        lock: RowLock,
    ) -> Vec<TxnId> {
        self.rows
            .get(&row)
            .into_iter()
            .flatten()
            .filter(|(holder, held)| *holder != txn && held.conflicts(lock))
            .map(|(holder, _)| *holder)
            .collect()
    }

    /// Gives a row lock back.
    pub(super) fn unlock_row(&mut self, row: (ObjectId, RowId), txn: TxnId) {
        if let Some(granted) = self.rows.get_mut(&row) {
            granted.retain(|(holder, _)| *holder != txn);
            if granted.is_empty() {
                self.rows.remove(&row);
            }
        }
    }

    /// Notes a wait. If it closes a circle, the cheapest transaction in it (lowest priority,
    /// then fewest log records, then this one) becomes the victim. Whether another one did.
    pub(super) fn wait(
        &mut self,
        txn: TxnId,
        blockers: Vec<TxnId>,
        priority: i8,
        cost: u64,
    ) -> bool {
        let mut others = false;
        self.waits.insert(txn, Wait { blockers, priority, cost });
        while let Some(circle) = self.circle(txn) {
            let victim = circle
                .into_iter()
                .filter_map(|member| {
                    let wait = self.waits.get(&member)?;
                    Some((wait.priority, wait.cost, member != txn, member))
                })
                .min()
                .map(|(.., member)| member);
            let Some(victim) = victim else {
                break;
            };
            self.victims.insert(victim);
            if victim == txn {
                break;
            }
            others = true;
            // It is as good as gone: its edges no longer count.
            self.waits.remove(&victim);
        }
        others
    }

    /// All waits.
    pub(super) fn waits(&self) -> Vec<(TxnId, Vec<TxnId>)> {
        self.waits.iter().map(|(txn, wait)| (*txn, wait.blockers.clone())).collect()
    }

    /// A wait is over; whether it ended as a deadlock victim.
    pub(super) fn waited(&mut self, txn: TxnId) -> bool {
        self.waits.remove(&txn);
        self.victims.remove(&txn)
    }

    /// Whether it has been chosen as a deadlock victim.
    pub(super) fn is_victim(&self, txn: TxnId) -> bool {
        self.victims.contains(&txn)
    }

    fn circle(&self, start: TxnId) -> Option<Vec<TxnId>> {
        let mut seen = HashSet::new();
        let mut path = Vec::new();
        self.search(start, start, &mut seen, &mut path).then_some(path)
    }

    fn search(
        &self,
        at: TxnId,
        start: TxnId,
        seen: &mut HashSet<TxnId>,
        path: &mut Vec<TxnId>,
    ) -> bool {
        let Some(wait) = self.waits.get(&at) else {
            return false;
        };
        path.push(at);
        for blocker in &wait.blockers {
            if *blocker == start
                || (seen.insert(*blocker) && self.search(*blocker, start, seen, path))
            {
                return true;
            }
        }
        path.pop();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_table_lock_holds_newcomers_back() {
        let mut book = LockBook::default();
        assert!(book.lock_table(1, 10, TableLock::IntentExclusive).is_ok());
        assert_eq!(book.lock_table(1, 11, TableLock::Shared), Err(vec![10]));
        assert_eq!(book.lock_table(1, 12, TableLock::IntentExclusive), Err(vec![11]));
        book.unlock_table(1, 10, TableLock::IntentExclusive);
        assert!(book.lock_table(1, 11, TableLock::Shared).is_ok());
        assert_eq!(book.lock_table(1, 12, TableLock::IntentExclusive), Err(vec![11]));
    }

    #[test]
    fn the_cheapest_transaction_of_a_circle_is_the_victim() {
        let mut book = LockBook::default();
        book.wait(1, vec![2], 0, 5);
        book.wait(2, vec![3], 0, 1);
        book.wait(3, vec![1], 0, 9);
        assert!(book.is_victim(2) && !book.is_victim(1) && !book.is_victim(3));
    }

    #[test]
    fn priority_goes_before_cost() {
        let mut book = LockBook::default();
        book.wait(1, vec![2], -5, 100);
        book.wait(2, vec![1], 0, 1);
        assert!(book.is_victim(1) && !book.is_victim(2));
    }
}
