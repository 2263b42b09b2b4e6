//! Random tables and random transactions, for chaos.
//!
//! Rules that keep the recorded history exact while sessions collide: anybody may update or delete
//! a row, but only its *owner* (the session whose slot is the key's ordinal modulo the number of
//! sessions) makes a key appear. So what is absent under its owner's eyes stays absent, and
//! what a statement has changed is locked. Groups of a table without a key belong to one session.

use std::fmt::Write;

use anyhow::Result;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};

use crate::session::{End, Plan, Transaction};
use crate::shape::{Column, Key, KeyPart, Table, Type, column, nullable};
use crate::workload::{Workload, literal};

/// Distinct keys of a table: few, so that sessions meet and keys come back.
const ORDINALS: i64 = 24;

/// Rows of one INSERT that fills a table.
const FILLED_AT_ONCE: usize = 40;

const KEY_TYPES: &[Type] = &[
    Type::Int,
    Type::BigInt,
    Type::UniqueIdentifier,
    Type::VarChar(20),
    Type::NVarChar(20),
    Type::Decimal(12, 3),
    Type::Date,
    Type::DateTime2(3),
    Type::VarBinary(8),
];

/// Keys that a full load has to cut into ranges: each type alone, and some together.
const RANGED_KEYS: &[&[Type]] = &[
    &[Type::Int],
    &[Type::BigInt],
    &[Type::UniqueIdentifier],
    &[Type::VarChar(20)],
    &[Type::NVarChar(20)],
    &[Type::Decimal(12, 3)],
    &[Type::DateTime2(3)],
    &[Type::Date, Type::VarBinary(8)],
    &[Type::SmallInt, Type::VarChar(20), Type::Int],
];

const COLUMN_TYPES: &[Type] = &[
    Type::Bit,
    Type::TinyInt,
    Type::SmallInt,
    Type::Int,
    Type::BigInt,
    Type::Decimal(38, 10),
    Type::Decimal(9, 0),
    Type::Money,
    Type::SmallMoney,
    Type::Float,
    Type::Real,
    Type::Char(12),
    Type::VarChar(80),
    Type::VarCharMax,
    Type::NChar(12),
    Type::NVarChar(80),
    Type::NVarCharMax,
    Type::Binary(16),
    Type::VarBinary(64),
    Type::VarBinaryMax,
    Type::Date,
    Type::Time(7),
    Type::Time(0),
    Type::DateTime,
    Type::SmallDateTime,
    Type::DateTime2(7),
    Type::DateTime2(0),
    Type::DateTimeOffset(7),
    Type::UniqueIdentifier,
];

/// The workload: its tables are drawn from a seed.
#[derive(Clone, Debug)]
pub struct RandomWork {
    tables: Vec<Table>,
    sessions: i64,
    /// Distinct keys of a table.
    ordinals: i64,
    /// How many of them have rows before the sessions begin.
    filled: i64,
}

impl RandomWork {
    /// Tables drawn from `seed`, for `sessions` sessions.
    pub fn new(seed: u64, sessions: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut tables: Vec<Table> =
            (0..rng.random_range(2..=4)).map(|i| random_table(i, &mut rng)).collect();
        tables.push(heap(&mut rng));
        let sessions = i64::try_from(sessions.max(1)).expect("a handful of sessions");
        RandomWork { tables, sessions, ordinals: ORDINALS, filled: 1 }
    }

    /// The same, with rows for a full load to copy: `filled` of `ordinals` keys of each table.
    pub fn filled(seed: u64, sessions: usize, filled: i64, ordinals: i64) -> Self {
        RandomWork { ordinals, filled, ..RandomWork::new(seed, sessions) }
    }

    /// Filled tables of every kind of key, their other columns drawn from `seed`.
    pub fn every_key(seed: u64, sessions: usize, filled: i64, ordinals: i64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut tables: Vec<Table> = RANGED_KEYS
            .iter()
            .enumerate()
            .map(|(i, keys)| {
                let mut table = table_of_keys(i, keys, &mut rng);
                // What an update leaves alone of a MAX column the stream does not know.
                table.columns.push(nullable("long", Type::NVarCharMax));
                table
            })
            .collect();
        tables.push(heap(&mut rng));
        RandomWork { tables, ..RandomWork::filled(seed, sessions, filled, ordinals) }
    }

    /// Its tables but the last, which has no key.
    pub fn tables_with_key(&self) -> &[Table] {
        &self.tables[..self.heap()]
    }

    fn keyed(&self, rng: &mut StdRng) -> usize {
        rng.random_range(0..self.heap())
    }

    /// Index of the table without a key.
    fn heap(&self) -> usize {
        self.tables.len() - 1
    }

    /// A key that the session in `slot` may make appear.
    fn own(&self, slot: i64, rng: &mut StdRng) -> i64 {
        let per_session = (self.ordinals / self.sessions).max(1);
        rng.random_range(0..per_session) * self.sessions + slot
    }

    fn key(&self, table: usize, ordinal: i64) -> Key {
        Key(self.tables[table].group().map(|column| key_part(column.ty, ordinal)).collect())
    }

    fn step(&self, slot: i64, rng: &mut StdRng) -> Step {
        let table = self.keyed(rng);
        let any = rng.random_range(0..self.ordinals);
        match rng.random_range(0..100) {
            0..35 => self.insert_or_update(table, self.own(slot, rng), rng),
            35..55 => self.update(table, any, rng),
            55..65 => Step::Delete { table, key: self.key(table, any) },
            65..72 => self.reinsert(table, self.own(slot, rng), rng),
            72..82 => self.rekey(table, any, self.own(slot, rng)),
            82..88 => self.set_based(table, slot, rng),
            88..92 => self.set_based_rekey(slot, rng),
            _ => self.heap_step(slot, rng),
        }
    }

    fn insert_or_update(&self, table: usize, ordinal: i64, rng: &mut StdRng) -> Step {
        let key = self.key(table, ordinal);
        let insert = self.insert_sql(table, &key, rng);
        let update = self.update_sql(table, &key, rng);
        Step::InsertOrUpdate { table, key, insert, update }
    }

    fn update(&self, table: usize, ordinal: i64, rng: &mut StdRng) -> Step {
        let key = self.key(table, ordinal);
        let sql = self.update_sql(table, &key, rng);
        Step::Update { table, key, sql }
    }

    /// Deletes its own key and makes it anew, whether or not it was there.
    fn reinsert(&self, table: usize, ordinal: i64, rng: &mut StdRng) -> Step {
        let key = self.key(table, ordinal);
        let t = &self.tables[table];
        let delete = format!("DELETE FROM dbo.[{}] WHERE {}", t.name, t.where_group(&key));
        let insert = self.insert_sql(table, &key, rng);
        Step::Batch { sql: format!("{delete};\n{insert}"), touched: vec![(table, key)] }
    }

    fn rekey(&self, table: usize, from: i64, to: i64) -> Step {
        let (from, to) = (self.key(table, from), self.key(table, to));
        let t = &self.tables[table];
        let set: Vec<String> = t
            .group()
            .zip(&to.0)
            .map(|(column, part)| format!("[{}] = {}", column.name, part.literal))
            .collect();
        let sql = format!(
            "UPDATE dbo.[{}] SET {} WHERE {}",
            t.name,
            set.join(", "),
            t.where_group(&from)
        );
        Step::Rekey { table, from, to, sql }
    }

    /// One UPDATE or DELETE over several of its own keys.
    fn set_based(&self, table: usize, slot: i64, rng: &mut StdRng) -> Step {
        let keys: Vec<Key> = self.own_keys(slot, rng).map(|o| self.key(table, o)).collect();
        let t = &self.tables[table];
        let which: Vec<String> =
            keys.iter().map(|key| format!("({})", t.where_group(key))).collect();
        let which = which.join(" OR ");
        let sql = if rng.random_ratio(1, 4) {
            format!("DELETE FROM dbo.[{}] WHERE {which}", t.name)
        } else {
            format!("UPDATE dbo.[{}] SET {} WHERE {which}", t.name, assignments(t, rng))
        };
        Step::Batch { sql, touched: keys.into_iter().map(|key| (table, key)).collect() }
    }

    /// Moves all its own keys of the first table (which has an integer key) at once, far away or
    /// each to where the next one was: SQL Server logs all deletes before all inserts.
    fn set_based_rekey(&self, slot: i64, rng: &mut StdRng) -> Step {
        let (name, column) = (&self.tables[0].name, &self.tables[0].columns[0].name);
        let per_session = (self.ordinals / self.sessions).max(1);
        let far = self.ordinals * self.sessions;
        // Every distance is a multiple of the number of sessions: a key keeps its owner.
        let (base, by) = [(0, far), (far, -far), (0, self.sessions)][rng.random_range(0..3)];
        let from: Vec<i64> = (0..per_session).map(|n| base + n * self.sessions + slot).collect();
        let to: Vec<i64> = from.iter().map(|key| key + by).collect();
        let entered: Vec<i64> = to.iter().filter(|key| !from.contains(key)).copied().collect();
        let list = |keys: &[i64]| keys.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        Step::SetRekey {
            occupied: format!(
                "SELECT COUNT(*) FROM dbo.[{name}] WHERE [{column}] IN ({})",
                list(&entered)
            ),
            sql: format!(
                "UPDATE dbo.[{name}] SET [{column}] = [{column}] + {by} WHERE [{column}] IN ({})",
                list(&from)
            ),
            keys: from.into_iter().chain(entered).map(|ordinal| self.key(0, ordinal)).collect(),
        }
    }

    fn own_keys(&self, slot: i64, rng: &mut StdRng) -> impl Iterator<Item = i64> {
        let per_session = (self.ordinals / self.sessions).max(1);
        let count = rng.random_range(1..=4);
        let sessions = self.sessions;
        (0..per_session).choose_multiple(rng, count).into_iter().map(move |n| n * sessions + slot)
    }

    /// Adds, changes or removes rows of its group of the table without a key; rows may be equal.
    fn heap_step(&self, slot: i64, rng: &mut StdRng) -> Step {
        let t = &self.tables[self.heap()];
        let key = Key::of([slot]);
        let which = rng.random_range(0..4);
        let one = format!("[bucket] = {slot} AND [slot] = {which}");
        let sql = match rng.random_range(0..5) {
            0 => format!("DELETE FROM dbo.[{}] WHERE {one}", t.name),
            1 | 2 => format!("UPDATE dbo.[{}] SET {} WHERE {one}", t.name, assignments(t, rng)),
            _ => {
                let rest = t.columns[2..].iter().map(|c| value(c, rng));
                let cells: Vec<String> =
                    [slot.to_string(), which.to_string()].into_iter().chain(rest).collect();
                let row = format!("({})", cells.join(", "));
                let rows = vec![row; rng.random_range(1..=2)].join(", ");
                format!("INSERT INTO dbo.[{}] VALUES {rows}", t.name)
            }
        };
        Step::Batch { sql, touched: vec![(self.heap(), key)] }
    }

    fn insert_sql(&self, table: usize, key: &Key, rng: &mut StdRng) -> String {
        let t = &self.tables[table];
        let rest = t.columns[t.group_columns..].iter().map(|c| value(c, rng));
        let cells: Vec<String> =
            key.0.iter().map(|part| part.literal.clone()).chain(rest).collect();
        format!("INSERT INTO dbo.[{}] VALUES ({})", t.name, cells.join(", "))
    }

    /// Several new rows in one statement.
    fn fill(&self, table: usize, ordinals: &[i64], rng: &mut StdRng) -> Step {
        let t = &self.tables[table];
        let keys: Vec<Key> = ordinals.iter().map(|ordinal| self.key(table, *ordinal)).collect();
        let rows: Vec<String> = keys
            .iter()
            .map(|key| {
                let rest = t.columns[t.group_columns..].iter().map(|c| value(c, rng));
                let cells: Vec<String> =
                    key.0.iter().map(|part| part.literal.clone()).chain(rest).collect();
                format!("({})", cells.join(", "))
            })
            .collect();
        Step::Batch {
            sql: format!("INSERT INTO dbo.[{}] VALUES {}", t.name, rows.join(",\n")),
            touched: keys.into_iter().map(|key| (table, key)).collect(),
        }
    }

    /// Rows of a session's group of the table without a key, some of them equal.
    fn fill_heap(&self, slot: i64, rng: &mut StdRng) -> Step {
        let t = &self.tables[self.heap()];
        let rows: Vec<String> = (0..self.filled / self.sessions)
            .flat_map(|_| {
                let which = rng.random_range(0..4);
                let rest: Vec<String> = t.columns[2..].iter().map(|c| value(c, rng)).collect();
                let row = format!("({slot}, {which}, {})", rest.join(", "));
                vec![row; rng.random_range(1..=2)]
            })
            .collect();
        Step::Batch {
            sql: format!("INSERT INTO dbo.[{}] VALUES {}", t.name, rows.join(",\n")),
            touched: vec![(self.heap(), Key::of([slot]))],
        }
    }

    fn update_sql(&self, table: usize, key: &Key, rng: &mut StdRng) -> String {
        let t = &self.tables[table];
        let set = assignments(t, rng);
        format!("UPDATE dbo.[{}] SET {set} WHERE {}", t.name, t.where_group(key))
    }
}

impl Workload for RandomWork {
    type Plan = RandomPlan;

    fn tables(&self) -> Vec<Table> {
        self.tables.clone()
    }

    fn initial(&self, rng: &mut StdRng) -> Vec<RandomPlan> {
        // A first transaction over everything makes every table known to the target.
        let mut steps: Vec<Step> =
            (0..self.heap()).map(|table| self.insert_or_update(table, 0, rng)).collect();
        steps.push(self.heap_step(0, rng));
        let mut plans = vec![RandomPlan { steps, end: End::Commit }];
        let rest: Vec<i64> = (1..self.ordinals).collect();
        for table in 0..self.heap() {
            let count = usize::try_from(self.filled - 1).unwrap_or(0);
            let chosen: Vec<i64> = rest.choose_multiple(rng, count).copied().collect();
            let steps = chosen
                .chunks(FILLED_AT_ONCE)
                .map(|ordinals| self.fill(table, ordinals, rng))
                .collect();
            plans.push(RandomPlan { steps, end: End::Commit });
        }
        if self.filled > 1 {
            let steps = (0..self.sessions).map(|slot| self.fill_heap(slot, rng)).collect();
            plans.push(RandomPlan { steps, end: End::Commit });
        }
        plans
    }

    fn next(&self, slot: usize, rng: &mut StdRng) -> RandomPlan {
        let slot = i64::try_from(slot).expect("a handful of sessions");
        let count = if rng.random_ratio(1, 15) { 40 } else { rng.random_range(1..=6) };
        let steps = (0..count).map(|_| self.step(slot, rng)).collect();
        let end = if rng.random_ratio(1, 10) { End::Rollback } else { End::Commit };
        RandomPlan { steps, end }
    }
}

/// One transaction of the random workload.
#[derive(Clone, Debug)]
pub struct RandomPlan {
    steps: Vec<Step>,
    end: End,
}

#[derive(Clone, Debug)]
enum Step {
    InsertOrUpdate { table: usize, key: Key, insert: String, update: String },
    Update { table: usize, key: Key, sql: String },
    Delete { table: usize, key: Key },
    Rekey { table: usize, from: Key, to: Key, sql: String },
    SetRekey { occupied: String, sql: String, keys: Vec<Key> },
    Batch { sql: String, touched: Vec<(usize, Key)> },
}

impl Plan for RandomPlan {
    fn kind(&self) -> &'static str {
        "random"
    }

    async fn execute(&self, tx: &mut Transaction<'_>) -> Result<End> {
        for step in &self.steps {
            step.execute(tx).await?;
        }
        Ok(self.end)
    }
}

impl Step {
    async fn execute(&self, tx: &mut Transaction<'_>) -> Result<()> {
        match self {
            Step::InsertOrUpdate { table, key, insert, update } => {
                if tx.change(*table, key.clone(), update).await? == 0 {
                    tx.change(*table, key.clone(), insert).await?;
                }
            }
            Step::Update { table, key, sql } => {
                tx.change(*table, key.clone(), sql).await?;
            }
            Step::Delete { table, key } => {
                let t = tx.table(*table);
                let sql = format!("DELETE FROM dbo.[{}] WHERE {}", t.name, t.where_group(key));
                tx.change(*table, key.clone(), &sql).await?;
            }
            Step::Rekey { table, from, to, sql } => {
                let t = tx.table(*table);
                let count =
                    format!("SELECT COUNT(*) FROM dbo.[{}] WHERE {}", t.name, t.where_group(to));
                if from != to && tx.integer(&count).await? == Some(0) && tx.execute(sql).await? > 0
                {
                    tx.touch(*table, from.clone());
                    tx.touch(*table, to.clone());
                }
            }
            Step::SetRekey { occupied, sql, keys } => {
                if tx.integer(occupied).await? == Some(0) && tx.execute(sql).await? > 0 {
                    for key in keys {
                        tx.touch(0, key.clone());
                    }
                }
            }
            Step::Batch { sql, touched } => {
                tx.run(sql).await?;
                for (table, key) in touched {
                    tx.touch(*table, key.clone());
                }
            }
        }
        Ok(())
    }
}

/// The first table has one integer key, for set-based key changes; the others whatever comes.
fn random_table(index: usize, rng: &mut StdRng) -> Table {
    let keys: Vec<Type> = if index == 0 {
        vec![Type::Int]
    } else {
        let count = if rng.random_ratio(1, 3) { 2 } else { 1 };
        KEY_TYPES.choose_multiple(rng, count).copied().collect()
    };
    table_of_keys(index, &keys, rng)
}

fn table_of_keys(index: usize, keys: &[Type], rng: &mut StdRng) -> Table {
    let mut columns: Vec<Column> =
        keys.iter().enumerate().map(|(i, ty)| column(&format!("k{i}"), *ty)).collect();
    columns.extend(random_columns(COLUMN_TYPES, rng));
    Table::keyed(&format!("random_{index}"), keys.len(), columns)
}

/// Rows of a table without a key are found by their whole before-image, which has no MAX columns.
fn heap(rng: &mut StdRng) -> Table {
    let short: Vec<Type> = COLUMN_TYPES
        .iter()
        .filter(|ty| !matches!(ty, Type::VarCharMax | Type::NVarCharMax | Type::VarBinaryMax))
        .copied()
        .collect();
    let mut columns = vec![column("bucket", Type::Int), column("slot", Type::Int)];
    columns.extend(random_columns(&short, rng));
    Table::keyless("random_heap", columns)
}

fn random_columns(types: &[Type], rng: &mut StdRng) -> Vec<Column> {
    let count = rng.random_range(2..=10);
    (0..count)
        .map(|i| {
            let ty = *types.choose(rng).expect("there are types");
            let name = format!("c{i}");
            if rng.random() { nullable(&name, ty) } else { column(&name, ty) }
        })
        .collect()
}

fn value(column: &Column, rng: &mut StdRng) -> String {
    if column.nullable && rng.random_ratio(1, 5) {
        return "NULL".to_owned();
    }
    literal::random(column.ty, rng)
}

/// `SET` of one to all columns that are not of the group.
fn assignments(table: &Table, rng: &mut StdRng) -> String {
    let first = if table.has_key { table.group_columns } else { 2 };
    let candidates = &table.columns[first..];
    let count = rng.random_range(1..=candidates.len());
    let mut set = String::new();
    for column in candidates.choose_multiple(rng, count) {
        let comma = if set.is_empty() { "" } else { ", " };
        write!(set, "{comma}[{}] = {}", column.name, value(column, rng))
            .expect("a string takes text");
    }
    set
}

/// The key value of an ordinal, with the text a reader will see.
fn key_part(ty: Type, ordinal: i64) -> KeyPart {
    let plain = |text: String| KeyPart { literal: text.clone(), canonical: text };
    let quoted = |text: String| KeyPart { literal: format!("'{text}'"), canonical: text };
    match ty {
        Type::BigInt => plain((ordinal * 1_000_000_007 - 5_000_000_000).to_string()),
        // The server orders by the last group first, where small differences are; text by the first.
        Type::UniqueIdentifier => quoted(format!(
            "{:08x}-1234-5678-9abc-{ordinal:012x}",
            ordinal.wrapping_mul(2_654_435_761) & 0xFFFF_FFFF
        )),
        // Upper and lower case in turns: a server that does not care orders them otherwise than bytes.
        Type::VarChar(_) if ordinal % 2 == 0 => quoted(format!("KEY {ordinal:05}")),
        Type::VarChar(_) => quoted(format!("key {ordinal:05}")),
        Type::NVarChar(_) => {
            let text = format!("ключ 🔑 {ordinal}");
            KeyPart { literal: literal::text(&text), canonical: text }
        }
        Type::Decimal(..) => plain(format!("{ordinal}.125")),
        Type::Date => quoted(format!("2{:03}-02-28", ordinal % 1000)),
        Type::DateTime2(_) => {
            let clock =
                format!("{:02}:{:02}:{:02}", ordinal / 3600, ordinal / 60 % 60, ordinal % 60);
            KeyPart {
                literal: format!("'2024-02-29T{clock}.500'"),
                canonical: format!("2024-02-29 {clock}.5"),
            }
        }
        Type::VarBinary(_) => {
            KeyPart { literal: format!("0x{ordinal:08X}"), canonical: format!("\\x{ordinal:08x}") }
        }
        _ => plain(ordinal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_ordinals_differ() {
        for ty in KEY_TYPES {
            assert!(RANGED_KEYS.iter().any(|keys| keys.contains(ty)), "{ty}");
            let keys: std::collections::HashSet<KeyPart> =
                (0..ORDINALS * 16).map(|o| key_part(*ty, o)).collect();
            assert_eq!(keys.len(), usize::try_from(ORDINALS * 16).unwrap(), "{ty}");
        }
    }

    #[test]
    fn only_owners_make_keys_appear() {
        let work = RandomWork::new(9, 3);
        let mut rng = StdRng::seed_from_u64(1);
        for slot in 0..3 {
            for _ in 0..200 {
                assert_eq!(work.own(slot, &mut rng) % 3, slot);
                assert!(work.own_keys(slot, &mut rng).all(|key| key % 3 == slot));
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_tables_and_plans() {
        let text = |seed| {
            let work = RandomWork::new(seed, 2);
            let mut rng = StdRng::seed_from_u64(seed);
            let plans: Vec<RandomPlan> = (0..20).map(|_| work.next(1, &mut rng)).collect();
            format!("{:?}{plans:?}", work.tables())
        };
        assert_eq!(text(4), text(4));
        assert_ne!(text(4), text(5));
    }
}
