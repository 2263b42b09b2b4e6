//! A table's rows and the indexes over them.
//!
//! A row keeps its [`RowId`] through updates. Its chain holds the version its last writer made
//! (the head) and older ones that some view may still need. An index has one entry per distinct
//! key that any version in a chain has, so a view finds a row under the key the row had *then*;
//! whoever walks an index checks that the version it sees has the entry's key. Chains with one
//! version need no check, because entries leave together with the versions they stand for.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::chain::{Chain, Sight, TxnCell, Version};
use super::duplicate::duplicate_key;
use super::packed::Packed;
use super::rows::Rows;
use super::sorted::Sorted;
use super::{
    Direction, FilterTest, IndexDef, IndexId, KeyRange, Rewrite, Row, RowId, TableDef, TxnId,
};
use crate::engine::collation::Label;
use crate::{SqlError, Value};

pub(super) fn same_key(positions: &[usize], left: &Row, right: &Row) -> bool {
    positions.iter().all(|at| left[*at].compare(&right[*at]) == Ordering::Equal)
}

/// Whether a stored row has the key of `row`.
fn has_same_key(positions: &[usize], stored: &Packed, row: &Row) -> bool {
    positions.iter().all(|at| stored.value(*at).compare(&row[*at]) == Ordering::Equal)
}

/// Whether two stored rows have the same key.
pub(super) fn same_stored_key(positions: &[usize], left: &Packed, right: &Packed) -> bool {
    positions.iter().all(|at| left.value(*at).compare(&right.value(*at)) == Ordering::Equal)
}

/// A key of an index; most have one column.
#[derive(Clone, Debug)]
enum Key {
    One(Value),
    Many(Box<[Value]>),
}

impl Key {
    fn values(&self) -> &[Value] {
        match self {
            Key::One(value) => std::slice::from_ref(value),
            Key::Many(values) => values,
        }
    }
}

impl FromIterator<Value> for Key {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Key {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Key::One(only),
            (first, second) => Key::Many(first.into_iter().chain(second).chain(values).collect()),
        }
    }
}

/// An entry of an index. A shorter key than the index has is a probe: with row 0 it stands
/// before, with row `u64::MAX` behind everything that begins with it.
#[derive(Debug)]
struct Entry {
    key: Key,
    row: RowId,
}

const FIRST: RowId = RowId(0);
const LAST: RowId = RowId(u64::MAX);

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.key.values(), other.key.values());
        for (left, right) in own.iter().zip(others) {
            match left.compare(right) {
                Ordering::Equal => {}
                decided => return decided,
            }
        }
        match own.len().cmp(&others.len()) {
            Ordering::Equal => self.row.cmp(&other.row),
            Ordering::Less if self.row == LAST => Ordering::Greater,
            Ordering::Less => Ordering::Less,
            Ordering::Greater if other.row == LAST => Ordering::Less,
            Ordering::Greater => Ordering::Greater,
        }
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[derive(Debug)]
pub(super) struct Index {
    pub(super) id: IndexId,
    positions: Vec<usize>,
    /// How the columns' strings compare.
    labels: Vec<Label>,
    unique: bool,
    /// Only rows that pass are in it: positions, and what is asked of them.
    filter: Vec<(usize, FilterTest)>,
    entries: Sorted<Entry>,
}

impl Index {
    fn new(def: &IndexDef, table: &TableDef) -> Index {
        let positions = table.key_positions(def);
        Index {
            id: def.id,
            labels: positions.iter().map(|at| table.columns[*at].label()).collect(),
            positions,
            unique: def.unique,
            filter: def
                .filter
                .iter()
                .flat_map(|filter| &filter.terms)
                .filter_map(|term| Some((table.position_of(term.column)?, term.test.clone())))
                .collect(),
            entries: Sorted::default(),
        }
    }

    fn entry(&self, id: RowId, row: &Row) -> Entry {
        Entry { key: self.key(row), row: id }
    }

    /// Whether a row is in it.
    fn has(&self, row: &Row) -> bool {
        self.filter.iter().all(|(at, test)| test.passes(&row[*at]))
    }

    /// The same of a stored row.
    fn has_stored(&self, row: &Packed) -> bool {
        self.filter.iter().all(|(at, test)| test.passes(&row.value(*at)))
    }

    fn key(&self, row: &Row) -> Key {
        self.positions.iter().map(|at| row[*at].clone()).collect()
    }
}

/// Where a scan stands: behind this row.
#[derive(Clone, Debug)]
pub(super) struct Position {
    key: Key,
    row: RowId,
}

impl Position {
    pub(super) fn row_id(&self) -> RowId {
        self.row
    }
}

/// A step of a walk.
pub(super) struct Step {
    pub(super) at: Position,
    /// Whether the row's key in this index may differ from the entry's.
    check: bool,
}

/// What keeps a key from being written.
pub(super) enum KeyConflict {
    /// Another transaction's uncommitted write.
    Wait(TxnId),
    /// A row that has it.
    Duplicate(SqlError),
}

/// A table of one database.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) def: Arc<TableDef>,
    rows: Rows,
    indexes: Vec<Index>,
    pub(super) next_row: u64,
    /// Last identity value handed out.
    pub(super) identity: Option<i64>,
    /// Place of the last DDL in the order of commits; older SNAPSHOT views are refused (3961).
    pub(super) changed: u64,
    /// Created, and not yet committed, by this transaction.
    pub(super) created_by: Option<TxnId>,
    /// Dropped, and not yet committed, by this transaction.
    pub(super) dropped_by: Option<TxnId>,
    bytes: u64,
    /// Versions that were ever pushed, to tell whether anything was written.
    pub(super) writes: u64,
}

impl Table {
    pub(super) fn new(def: Arc<TableDef>) -> Table {
        let kept = def.indexes.iter().filter(|index| !index.disabled);
        let indexes = kept.map(|index| Index::new(index, &def)).collect();
        Table {
            def,
            rows: Rows::default(),
            indexes,
            next_row: 1,
            identity: None,
            changed: 0,
            created_by: None,
            dropped_by: None,
            bytes: 0,
            writes: 0,
        }
    }

    pub(super) fn size(&self) -> (u64, u64) {
        (self.rows.len() as u64, self.bytes)
    }

    pub(super) fn chain(&self, id: RowId) -> Option<&Chain> {
        self.rows.get(id)
    }

    pub(super) fn chains(&self) -> impl Iterator<Item = (RowId, &Chain)> {
        self.rows.iter()
    }

    pub(super) fn take_row_id(&mut self) -> RowId {
        let id = RowId(self.next_row);
        self.next_row += 1;
        id
    }

    /// Identity values that come from outside move the current one on, never back.
    pub(super) fn note_identity(&mut self, value: i64) {
        let identity = self.def.columns.iter().find_map(|column| column.identity);
        let further = match (identity, self.identity) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(identity), Some(last)) => (value > last) == (identity.increment > 0),
        };
        if further {
            self.identity = Some(value);
        }
    }

    /// The same for the identity value of a row.
    pub(super) fn note_inserted_identity(&mut self, row: &Row) {
        let at = self.def.columns.iter().position(|column| column.identity.is_some());
        let value = at.and_then(|at| match row.get(at)? {
            Value::Decimal { unscaled, .. } => i64::try_from(*unscaled).ok(),
            value => value.as_i64(),
        });
        if let Some(value) = value {
            self.note_identity(value);
        }
    }

    /// Puts a version at the head of a row's chain (a new row's first version too).
    pub(super) fn push(&mut self, id: RowId, txn: &Arc<TxnCell>, write: u64, row: Option<Row>) {
        self.writes += 1;
        let packed = row.as_ref().map(|row| Packed::new(row));
        if let (Some(row), Some(packed)) = (&row, &packed) {
            self.bytes += stored_bytes(packed);
            for index in self.indexes.iter_mut().filter(|index| index.has(row)) {
                let entry = index.entry(id, row);
                index.entries.insert(entry);
            }
        }
        let version = Version { txn: txn.clone(), write, row: packed };
        match self.rows.get_mut(id) {
            Some(chain) => chain.push(version),
            None => self.rows.insert(id, Chain::new(version)),
        }
    }

    /// Takes the head off again.
    pub(super) fn pop(&mut self, id: RowId) {
        let Some(chain) = self.rows.get_mut(id) else {
            return;
        };
        let popped = match chain.pop() {
            Some(popped) => popped,
            None => match self.rows.remove(id) {
                Some(chain) => chain.head,
                None => return,
            },
        };
        self.forget(id, popped);
    }

    /// Drops every version behind the newest one committed at or before `horizon`, and the row
    /// if that one is a deletion.
    pub(super) fn prune(&mut self, id: RowId, horizon: u64) {
        let old = |version: &Version| version.txn.committed().is_some_and(|seq| seq <= horizon);
        let Some(chain) = self.rows.get_mut(id) else {
            return;
        };
        let dead = if old(&chain.head) {
            chain.older().len()
        } else {
            match chain.older().iter().rposition(old) {
                Some(keep) => keep,
                None => return,
            }
        };
        let dead = chain.drop_oldest(dead);
        if chain.older().is_empty() && chain.head.row.is_none() && old(&chain.head) {
            self.rows.remove(id);
        }
        for version in dead {
            self.forget(id, version);
        }
    }

    /// Removes the index entries that only this version needed.
    fn forget(&mut self, id: RowId, version: Version) {
        let Some(row) = version.row else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(stored_bytes(&row));
        let chain = self.rows.get(id);
        let content = row.row();
        for index in self.indexes.iter_mut().filter(|index| index.has(&content)) {
            let needed =
                |chain: &Chain| chain.has_key(&index.positions, &row, |row| index.has_stored(row));
            if !chain.is_some_and(needed) {
                let entry = index.entry(id, &content);
                index.entries.remove(&entry);
            }
        }
    }

    /// What stands against `row` (of `id`, if it exists already) in the unique indexes.
    pub(super) fn conflict(&self, id: Option<RowId>, row: &Row, me: TxnId) -> Option<KeyConflict> {
        self.indexes.iter().filter(|index| index.unique && index.has(row)).find_map(|index| {
            let from = Entry { key: index.key(row), row: FIRST };
            let key = &from.key;
            index
                .entries
                .range(Bound::Included(&from), Bound::Unbounded)
                .take_while(|entry| keys_equal(&entry.key, key))
                .filter(|entry| Some(entry.row) != id)
                .find_map(|entry| self.conflict_with(index, entry.row, row, me))
        })
    }

    fn conflict_with(
        &self,
        index: &Index,
        other: RowId,
        row: &Row,
        me: TxnId,
    ) -> Option<KeyConflict> {
        let chain = self.rows.get(other)?;
        if let Some(writer) = chain.writer()
            && writer != me
        {
            // Its commit may leave the key free or taken, and so may its rollback, whole or to a
            // savepoint.
            let holds = chain
                .outcomes()
                .any(|found| index.has_stored(found) && has_same_key(&index.positions, found, row));
            return holds.then_some(KeyConflict::Wait(writer));
        }
        let found = chain.head().row.as_ref()?;
        (index.has_stored(found) && has_same_key(&index.positions, found, row)).then(|| {
            KeyConflict::Duplicate(duplicate_key(&self.def, index.id, &index.positions, row))
        })
    }

    /// Whether `sight` still sees another row under one of the unique keys of `row`.
    pub(super) fn key_seen(&self, id: Option<RowId>, row: &Row, sight: &Sight) -> bool {
        self.indexes.iter().filter(|index| index.unique && index.has(row)).any(|index| {
            let from = Entry { key: index.key(row), row: FIRST };
            let mut entries = index
                .entries
                .range(Bound::Included(&from), Bound::Unbounded)
                .take_while(|entry| keys_equal(&entry.key, &from.key));
            entries.any(|entry| {
                let seen = self.rows.get(entry.row).and_then(|chain| chain.seen(sight));
                Some(entry.row) != id
                    && seen.is_some_and(|seen| {
                        index.has_stored(seen) && has_same_key(&index.positions, seen, row)
                    })
            })
        })
    }

    /// Whether a change from `before` to `after` moves the row in any of these indexes.
    pub(super) fn moves(
        &self,
        before: &Row,
        after: &Row,
        which: impl Fn(&IndexDef) -> bool,
    ) -> bool {
        self.indexes.iter().any(|index| {
            self.def.index(index.id).is_some_and(&which)
                && (!same_key(&index.positions, before, after)
                    || index.has(before) != index.has(after))
        })
    }

    /// The index a scan walks: the one named, the clustered one, or none (a heap).
    pub(super) fn resolve_index(&self, index: Option<IndexId>) -> Option<IndexId> {
        index.or_else(|| self.def.clustered().map(|clustered| clustered.id))
    }

    /// The next entries of an index (`None`: row ids) behind `after` within `range`.
    pub(super) fn walk(
        &self,
        index: Option<IndexId>,
        range: &KeyRange,
        direction: Direction,
        after: Option<&Position>,
        limit: usize,
    ) -> Vec<Step> {
        match index.and_then(|id| self.indexes.iter().find(|index| index.id == id)) {
            Some(index) => self.walk_index(index, range, direction, after, limit),
            None => self.walk_heap(direction, after, limit),
        }
    }

    fn walk_heap(&self, direction: Direction, after: Option<&Position>, limit: usize) -> Vec<Step> {
        let step = |row: RowId| Step {
            at: Position { key: Key::Many(Box::default()), row },
            check: false,
        };
        let after = after.map(|at| at.row);
        match direction {
            Direction::Forward => self.rows.after(after).take(limit).map(step).collect(),
            Direction::Backward => self.rows.before(after).take(limit).map(step).collect(),
        }
    }

    fn walk_index(
        &self,
        index: &Index,
        range: &KeyRange,
        direction: Direction,
        after: Option<&Position>,
        limit: usize,
    ) -> Vec<Step> {
        // Two bounds are compared with each other, too, so they have the index's collations.
        let probe = |key: &[Value], row: RowId| {
            let labelled =
                key.iter().zip(&index.labels).map(|(value, label)| value.clone().labelled(*label));
            Bound::Excluded(Entry { key: labelled.collect(), row })
        };
        let mut lower = match &range.lower {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(key) => probe(key, FIRST),
            Bound::Excluded(key) => probe(key, LAST),
        };
        let mut upper = match &range.upper {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(key) => probe(key, LAST),
            Bound::Excluded(key) => probe(key, FIRST),
        };
        if let Some(at) = after {
            match direction {
                Direction::Forward => lower = probe(at.key.values(), at.row),
                Direction::Backward => upper = probe(at.key.values(), at.row),
            }
        }
        let step = |entry: &Entry| Step {
            at: Position { key: entry.key.clone(), row: entry.row },
            check: self.rows.get(entry.row).is_some_and(|chain| !chain.older().is_empty()),
        };
        let entries = index.entries.range(lower.as_ref(), upper.as_ref());
        match direction {
            Direction::Forward => entries.take(limit).map(step).collect(),
            Direction::Backward => entries.rev().take(limit).map(step).collect(),
        }
    }

    /// The row at a step as `sight` sees it, if it is to be found there.
    pub(super) fn seen_at(
        &self,
        index: Option<IndexId>,
        step: &Step,
        sight: &Sight,
    ) -> Option<&Packed> {
        let row = self.rows.get(step.at.row)?.seen(sight)?;
        (!step.check || self.found_at(index, &step.at, row)).then_some(row)
    }

    /// Whether `row` belongs at `at` in this index.
    pub(super) fn found_at(&self, index: Option<IndexId>, at: &Position, row: &Packed) -> bool {
        let index = index.and_then(|id| self.indexes.iter().find(|index| index.id == id));
        index.is_none_or(|index| {
            let mut key = index.positions.iter().zip(at.key.values());
            index.has_stored(row)
                && key.all(|(p, key)| row.value(*p).compare(key) == Ordering::Equal)
        })
    }

    /// The same of a row in use.
    pub(super) fn row_at(&self, index: Option<IndexId>, at: &Position, row: &Row) -> bool {
        let index = index.and_then(|id| self.indexes.iter().find(|index| index.id == id));
        index.is_none_or(|index| {
            let mut key = index.positions.iter().zip(at.key.values());
            index.has(row) && key.all(|(p, key)| row[*p].compare(key) == Ordering::Equal)
        })
    }

    /// Whether a row belongs, or may come to belong, at `at` in this index for anybody who writes
    /// now. A key that only old views still see does not count.
    pub(super) fn current_at(&self, index: Option<IndexId>, at: &Position) -> bool {
        let Some(chain) = self.rows.get(at.row) else {
            return false;
        };
        chain.outcomes().any(|row| self.found_at(index, at, row))
    }

    /// A table of the same rows under a new definition.
    ///
    /// # Errors
    /// 1505 where a unique index meets duplicates; what `rewrite` answers.
    pub(super) fn rebuilt(
        &self,
        def: Arc<TableDef>,
        me: TxnId,
        mut rewrite: Option<Rewrite<'_>>,
    ) -> Result<Table, SqlError> {
        let mut table = Table::new(def);
        table.next_row = self.next_row;
        table.identity = self.identity;
        table.created_by = self.created_by;
        for (id, chain) in self.rows.iter() {
            // The heads are what the statement itself sees; nobody else may write now, so the
            // versions behind them matter only to views that the change refuses anyway.
            let row = match (&chain.head.row, &mut rewrite) {
                (None, _) => None,
                (Some(row), None) => Some(row.row()),
                (Some(row), Some(rewrite)) => Some(rewrite(&row.row())?),
            };
            if let Some(row) = &row
                && let Some(KeyConflict::Duplicate(error)) = table.conflict(Some(id), row, me)
            {
                return Err(SqlError::new(
                    1505,
                    16,
                    1,
                    format!(
                        "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name '{}'. {}",
                        table.def.full_name(),
                        error.message
                    ),
                ));
            }
            table.push(id, &chain.head.txn, chain.head.write, row);
        }
        Ok(table)
    }
}

impl Step {
    pub(super) fn row(&self) -> RowId {
        self.at.row
    }
}

fn keys_equal(left: &Key, right: &Key) -> bool {
    left.values().iter().zip(right.values()).all(|(l, r)| l.compare(r) == Ordering::Equal)
}

/// Bytes a stored row counts for in the views.
fn stored_bytes(row: &Packed) -> u64 {
    row.len() + 8
}

/// About how many bytes a row takes.
pub(super) fn row_bytes(row: &[Value]) -> u64 {
    row.iter()
        .map(|value| match value {
            Value::String(bytes) | Value::Binary(bytes) => 8 + bytes.len() as u64,
            Value::NString(units) => 8 + 2 * units.len() as u64,
            _ => 8,
        })
        .sum::<u64>()
        + 8
}
