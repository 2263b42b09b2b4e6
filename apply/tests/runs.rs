//! Runs against changes one by one: whatever the batching, the table is the same.

use std::collections::BTreeMap;

use lockstep_common::model::record::{Before, Change, Operation};
use lockstep_common::{TableId, Value};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::bed::Bed;
use crate::source::{INT, TEXT, change, delete, insert, int, table, text, update};

type Row = (i64, Option<String>, i64);

/// Tables whose rows are known: two that are alike, and `slots`, which has a second unique column.
struct Model {
    random: StdRng,
    keyed: [BTreeMap<i64, Row>; 2],
    slots: BTreeMap<i64, i64>,
    tables: [TableId; 3],
}

fn keyed_row((id, note, n): &Row) -> Vec<Value<'static>> {
    vec![int(*id), note.as_deref().map_or(Value::Null, text), int(*n)]
}

fn slot_row(id: i64, slot: i64) -> Vec<Value<'static>> {
    vec![int(id), int(slot)]
}

impl Model {
    fn transaction(&mut self) -> Vec<Change<'static>> {
        let mut changes = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            match self.random.random_range(0..10) {
                0 => self.shuffle_slots(&mut changes),
                1 => self.move_slots(&mut changes),
                _ => {
                    for _ in 0..self.random.random_range(1..12) {
                        changes.push(self.keyed_change());
                    }
                }
            }
        }
        changes
    }

    fn keyed_change(&mut self) -> Change<'static> {
        let which = self.random.random_range(0..2);
        let table = self.tables[which];
        let id = self.random.random_range(0..25);
        let row = (id, self.note(), self.random.random_range(0..100));
        let Some(old) = self.keyed[which].get(&id).cloned() else {
            self.keyed[which].insert(id, row.clone());
            return insert(table, keyed_row(&row));
        };
        match self.random.random_range(0..10) {
            0..3 => {
                self.keyed[which].remove(&id);
                delete(table, keyed_row(&old))
            }
            // The key changes, to one that is free.
            3..5 => {
                let rows = &mut self.keyed[which];
                let free = (0..40).find(|id| !rows.contains_key(id)).unwrap_or(id);
                rows.remove(&id);
                let row = (free, row.1, row.2);
                rows.insert(free, row.clone());
                update(table, keyed_row(&old), keyed_row(&row))
            }
            // The note is not touched and not known.
            5..7 => {
                let row = (id, old.1.clone(), row.2);
                self.keyed[which].insert(id, row.clone());
                let mut after = keyed_row(&row);
                after[1] = Value::Unavailable;
                change(table, Operation::Update, Before::Key(vec![int(id)]), after)
            }
            _ => {
                self.keyed[which].insert(id, row.clone());
                update(table, keyed_row(&old), keyed_row(&row))
            }
        }
    }

    fn note(&mut self) -> Option<String> {
        self.random.random_bool(0.8).then(|| format!("note {}", self.random.random_range(0..9)))
    }

    /// Values change places within one statement of the source.
    fn shuffle_slots(&mut self, changes: &mut Vec<Change<'static>>) {
        let ids: Vec<i64> =
            self.slots.keys().copied().filter(|_| self.random.random_bool(0.5)).collect();
        let mut values: Vec<i64> = ids.iter().map(|id| self.slots[id]).collect();
        values.shuffle(&mut self.random);
        for (id, value) in ids.into_iter().zip(values) {
            let old = self.slots.insert(id, value).expect("an id of the map");
            if old != value {
                changes.push(update(self.tables[2], slot_row(id, old), slot_row(id, value)));
            }
        }
    }

    /// Values move to free ones, one after the other, some into what another just left.
    fn move_slots(&mut self, changes: &mut Vec<Change<'static>>) {
        for _ in 0..4 {
            let id = self.random.random_range(0..8);
            let used: Vec<i64> = self.slots.values().copied().collect();
            let free = (0..12).find(|slot| !used.contains(slot)).expect("more slots than rows");
            match self.slots.insert(id, free) {
                None => changes.push(insert(self.tables[2], slot_row(id, free))),
                Some(old) => {
                    changes.push(update(self.tables[2], slot_row(id, old), slot_row(id, free)));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_batching_leaves_the_table_as_single_changes_would() {
    for seed in 0..8 {
        for way in [(1, 1), (16, 1), (4, 3)] {
            any_batching(seed, way).await;
        }
    }
}

/// With so many transactions to a commit, at most, and so many connections.
async fn any_batching(seed: u64, (shared, connections): (u32, usize)) {
    let mut bed = Bed::new().await;
    bed.query("CREATE TABLE slots (id int PRIMARY KEY, slot int UNIQUE)").await;
    let columns = [("id", INT), ("note", TEXT), ("n", INT)];
    let mut tables = Vec::new();
    for name in ["keyed", "alike"] {
        tables.push(bed.source.table(&table(name, 1, &columns)).await);
    }
    let slots = bed.source.table(&table("slots", 1, &[("id", INT), ("slot", INT)])).await;
    let mut model = Model {
        random: StdRng::seed_from_u64(seed),
        keyed: Default::default(),
        slots: BTreeMap::new(),
        tables: [tables[0], tables[1], slots],
    };
    let mut transactions: Vec<_> =
        (0..40).map(|_| model.transaction()).filter(|t| !t.is_empty()).collect();
    for table in tables {
        transactions.push(vec![insert(table, keyed_row(&(1000, None, 0)))]);
    }
    bed.source.commit_all(&transactions).await;
    let mut settings = bed.settings();
    settings.config.group_commit = shared.try_into().expect("at least one");
    settings.config.connections = connections.try_into().expect("at least one");
    bed.catch_up_with(settings).await;
    for (name, rows) in ["keyed", "alike"].into_iter().zip(&model.keyed) {
        let expected: Vec<String> = rows
            .values()
            .map(|(id, note, n)| format!("{id}|{}|{n}", note.as_deref().unwrap_or("NULL")))
            .chain(["1000|NULL|0".to_owned()])
            .collect();
        let found = bed.query(&format!("SELECT * FROM {name} ORDER BY id")).await;
        assert_eq!(
            found, expected,
            "seed {seed}, {shared} to a commit, {connections} connections, {name}"
        );
    }
    let expected: Vec<String> =
        model.slots.iter().map(|(id, slot)| format!("{id}|{slot}")).collect();
    let found = bed.query("SELECT * FROM slots ORDER BY id").await;
    assert_eq!(found, expected, "seed {seed}, {shared} to a commit, {connections} connections");
}
