//! Full loads under random histories: a source that goes on while chunks are read from its present, a
//! stream that lags behind it, an apply that crashes, is killed and loses its connections. From
//! `consistent` on the target has to equal the source at every position.
//!
//! `LOCKSTEP_LOAD_SEED` runs one seed, `LOCKSTEP_LOAD_SEEDS` so many.

use std::collections::{BTreeMap, VecDeque};

use bytesize::ByteSize;
use lockstep_apply::failpoints;
use lockstep_common::config::Prepare;
use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::model::record::{Before, Change, Operation};
use lockstep_common::{FailPoints, TableId, Value};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::bed::{Apply, Bed};
use crate::source::{INT, TEXT, at, change, delete, insert, int, table, text, update};

const LOAD: Uuid = Uuid::from_u128(7);
const KEYS: i64 = 12;

type Row = (i64, String);
type Rows = BTreeMap<i64, Row>;

/// A chunk: keys from `first` on, below `end`.
struct Chunk {
    table: usize,
    number: u32,
    first: i64,
    end: i64,
    /// What its SELECT found, once it has been.
    found: Option<Vec<(i64, Row)>>,
}

struct Model {
    random: StdRng,
    ids: Vec<TableId>,
    now: Vec<Rows>,
    /// The tables at each position.
    history: Vec<Vec<Rows>>,
    /// Transactions that the stream has not published.
    lagging: VecDeque<Vec<Change<'static>>>,
    todo: Vec<Chunk>,
    open: Vec<Chunk>,
    /// Chunks of each table that have not ended, and rows of those that have.
    left: Vec<(usize, u64)>,
    chunks: Vec<u32>,
    /// The source's position at the last SELECT.
    read: u64,
    value: i64,
}

fn values(key: i64, row: &Row) -> Vec<Value<'static>> {
    vec![int(key), int(row.0), text(&row.1)]
}

impl Model {
    fn new(seed: u64, ids: Vec<TableId>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let now: Vec<Rows> = ids
            .iter()
            .map(|_| {
                let keys = (0..KEYS).filter(|_| random.random_bool(0.6)).collect::<Vec<_>>();
                keys.into_iter().map(|key| (key, (0, format!("L{key}")))).collect()
            })
            .collect();
        let mut todo = Vec::new();
        let mut chunks = Vec::new();
        for table in 0..ids.len() {
            let mut first = i64::MIN;
            let mut number = 0;
            while first < KEYS {
                let next = first.max(0) + random.random_range(1..6);
                let end = if next >= KEYS { i64::MAX } else { next };
                todo.push(Chunk { table, number, first, end, found: None });
                number += 1;
                first = end;
            }
            chunks.push(number);
        }
        let left = chunks.iter().map(|n| (*n as usize, 0)).collect();
        // Position 1 is before everything.
        let history = vec![now.clone(), now.clone()];
        Model {
            random,
            ids,
            now,
            history,
            lagging: VecDeque::new(),
            todo,
            open: Vec::new(),
            left,
            chunks,
            read: 1,
            value: 0,
        }
    }

    fn newest(&self) -> u64 {
        self.history.len() as u64 - 1
    }

    /// The source commits.
    fn commit(&mut self) {
        let count = *[1, 1, 2, 3, 8].choose(&mut self.random).unwrap();
        let mut changes = Vec::new();
        for _ in 0..count {
            self.change(&mut changes);
        }
        self.history.push(self.now.clone());
        self.lagging.push_back(changes);
    }

    fn change(&mut self, changes: &mut Vec<Change<'static>>) {
        let table = self.random.random_range(0..self.ids.len());
        let id = self.ids[table];
        let key = self.random.random_range(0..KEYS);
        self.value += 1;
        let value = self.value;
        let rows = &mut self.now[table];
        let Some(old) = rows.get(&key).cloned() else {
            let row = (value, format!("l{value}"));
            changes.push(insert(id, values(key, &row)));
            rows.insert(key, row);
            return;
        };
        match self.random.random_range(0..10) {
            0..3 => {
                // What was not set is not given.
                let row = (value, old.1);
                let after = vec![int(key), int(value), Value::Unavailable];
                changes.push(change(id, Operation::Update, Before::Key(vec![int(key)]), after));
                rows.insert(key, row);
            }
            3..5 => {
                let row = (old.0, format!("l{value}"));
                changes.push(update(id, values(key, &old), values(key, &row)));
                rows.insert(key, row);
            }
            5..7 => {
                changes.push(delete(id, values(key, &old)));
                rows.remove(&key);
            }
            other => {
                let to = self.random.random_range(0..KEYS);
                if rows.contains_key(&to) {
                    return;
                }
                rows.remove(&key);
                rows.insert(to, old.clone());
                if other == 7 {
                    changes.push(update(id, values(key, &old), values(to, &old)));
                } else {
                    changes.push(delete(id, values(key, &old)));
                    changes.push(insert(id, values(to, &old)));
                }
            }
        }
    }

    async fn publish(&mut self, bed: &mut Bed) {
        if let Some(changes) = self.lagging.pop_front() {
            let n = if changes.is_empty() {
                bed.source.progress().await
            } else if self.random.random_bool(0.2) {
                bed.source.commit_in_fragments(&changes, 1).await
            } else {
                bed.source.commit(&changes).await
            };
            assert_eq!(n + self.lagging.len() as u64, self.newest());
        }
    }

    /// One step of a chunk: begin, SELECT, end.
    async fn chunk(&mut self, bed: &mut Bed) {
        let begin = self.open.is_empty() || (!self.todo.is_empty() && self.random.random_bool(0.4));
        if begin {
            if self.todo.is_empty() {
                return;
            }
            let chunk = self.todo.swap_remove(self.random.random_range(0..self.todo.len()));
            let place = (LOAD, self.ids[chunk.table], chunk.number);
            bed.source.chunk_begin(place, ChunkAttributes::default()).await;
            if self.random.random_bool(0.1) {
                // Capture starts anew: the bracket is void and comes again.
                bed.source.chunk_begin(place, ChunkAttributes::default()).await;
            }
            self.open.push(chunk);
            return;
        }
        let index = self.random.random_range(0..self.open.len());
        if self.open[index].found.is_none() {
            let chunk = &mut self.open[index];
            let rows = &self.now[chunk.table];
            let found = rows.range(chunk.first..).take_while(|(key, _)| **key < chunk.end);
            chunk.found = Some(found.map(|(key, row)| (*key, row.clone())).collect());
            self.read = self.newest();
            return;
        }
        let chunk = self.open.swap_remove(index);
        let id = self.ids[chunk.table];
        let place = (LOAD, id, chunk.number);
        let rows: Vec<_> =
            chunk.found.unwrap().iter().map(|(key, row)| values(*key, row)).collect();
        let partition = self.random.random_range(0..4);
        let offsets = bed.source.chunk_rows(place, partition, &rows, 2).await;
        bed.source.chunk_end(place, partition, offsets, rows.len()).await;
        let left = &mut self.left[chunk.table];
        left.0 -= 1;
        left.1 += rows.len() as u64;
        if left.0 == 0 {
            let total = left.1;
            bed.source.table_read(LOAD, id, self.chunks[chunk.table], total).await;
        }
    }

    fn expected(&self, position: u64, table: usize) -> Vec<String> {
        let rows = &self.history[usize::try_from(position).unwrap()][table];
        rows.iter().map(|(key, (a, lob))| format!("{key}|{a}|{lob}")).collect()
    }
}

async fn compare(bed: &Bed, model: &Model, position: u64, seed: u64, kept: &[Rows]) {
    for (table, kept) in kept.iter().enumerate() {
        let sql = format!("SELECT id, a, lob FROM t{table} ORDER BY id");
        let mut found = bed.query(&sql).await;
        let stale = |row: &String| {
            let key: i64 = row.split('|').next().unwrap().parse().unwrap();
            kept.contains_key(&key) && row.ends_with("|stale")
        };
        found.retain(|row| !stale(row));
        let expected = model.expected(position, table);
        assert_eq!(found, expected, "seed {seed}, t{table} at {position}");
    }
}

/// Starts an apply that a crash may end.
fn start(bed: &Bed, settings: &lockstep_apply::ApplySettings, random: &mut StdRng) -> Apply {
    let points: Vec<&str> = failpoints::ALL.iter().chain(&failpoints::LOAD).copied().collect();
    let fail = if random.random_bool(0.7) {
        FailPoints::armed(points.choose(random).unwrap(), random.random_range(1..6))
    } else {
        FailPoints::default()
    };
    bed.start_with(settings.clone(), fail)
}

const CONNECTIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE application_name LIKE 'lockstep-apply%' AND datname = current_database()";

async fn run(seed: u64) {
    let mut bed = Bed::new().await;
    let mut random = StdRng::seed_from_u64(seed ^ 0xabcd);
    let columns = [("id", INT), ("a", INT), ("lob", TEXT)];
    let mut ids = Vec::new();
    for i in 0..random.random_range(1..4) {
        let mut version = table(&format!("t{i}"), 1, &columns);
        version.object_id = i;
        ids.push(bed.source.defined(&version).await);
    }
    let mut settings = bed.settings();
    settings.config.memory = ByteSize::kib(if random.random_bool(0.3) { 2 } else { 512 });
    let mut kept = vec![Rows::new(); ids.len()];
    if random.random_bool(0.3) {
        settings.config.prepare = Prepare::Keep;
        for (i, kept) in kept.iter_mut().enumerate() {
            bed.query(&format!("CREATE TABLE t{i} (id int PRIMARY KEY, a int, lob text)")).await;
            for key in (0..KEYS).filter(|_| random.random_bool(0.5)) {
                bed.query(&format!("INSERT INTO t{i} VALUES ({key}, -1, 'stale')")).await;
                kept.insert(key, (-1, "stale".into()));
            }
        }
    }
    let mut model = Model::new(seed, ids.clone());
    assert_eq!(bed.source.progress().await, 1);
    let tables: Vec<_> = ids.iter().map(|id| (*id, Handoff::Bracketed)).collect();
    bed.source.begin_load(LOAD, &tables).await;
    let mut apply = Some(start(&bed, &settings, &mut random));
    let mut steps = 0;
    while !(model.todo.is_empty() && model.open.is_empty()) || steps < 60 {
        steps += 1;
        match model.random.random_range(0..100) {
            0..35 if model.newest() < 60 => model.commit(),
            0..65 => model.publish(&mut bed).await,
            65..90 => model.chunk(&mut bed).await,
            90..93 => {
                if let Some(apply) = apply.take() {
                    apply.kill().await;
                }
                apply = Some(start(&bed, &settings, &mut random));
            }
            93..95 => drop(bed.query(CONNECTIONS).await),
            95..98 => {
                // Sometimes it gets time to catch up, or to die.
                if let Some(apply) = &mut apply {
                    let near = at(bed.source.at.saturating_sub(1));
                    let _ = apply.status.wait_for(|status| status.position >= near).await;
                }
            }
            _ => {}
        }
    }
    while bed.source.at < model.read {
        model.publish(&mut bed).await;
    }
    bed.source.end_load(LOAD).await;
    let consistent = bed.source.at;
    if let Some(apply) = apply.take() {
        apply.kill().await;
    }
    for _ in 0..4 {
        // Whatever is armed may end it, or nothing.
        let mut apply = start(&bed, &settings, &mut random);
        let _ = apply.status.wait_for(|s| s.position >= at(bed.source.at)).await;
        apply.kill().await;
    }
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    apply.reaches(consistent).await;
    apply
        .until("the load's end", |s| s.load.as_ref().is_some_and(|l| l.consistent.is_some()))
        .await;
    compare(&bed, &model, consistent, seed, &kept).await;
    for table in 0..ids.len() {
        // Rows that were kept and that the source never had would be in the way of its inserts.
        bed.query(&format!("DELETE FROM t{table} WHERE lob = 'stale'")).await;
    }
    for _ in 0..10 {
        model.commit();
    }
    while !model.lagging.is_empty() {
        model.publish(&mut bed).await;
        let n = bed.source.at;
        apply.reaches(n).await;
        compare(&bed, &model, n, seed, &kept).await;
    }
    apply.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_consistent_on_the_target_equals_the_source() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("LOCKSTEP_LOAD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("LOCKSTEP_LOAD_SEEDS").unwrap_or(12) + 1,
    };
    for seed in seeds {
        println!("seed {seed}");
        run(seed).await;
    }
}
