//! A source whose rows change while they are read: whatever capture asks it, it may commit something
//! first. What a seed decides, and nothing else, is what happens.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use lockstep_capture::source::load::{
    Clock, Frozen, Loader, RowSink, Rows, SEEN, Snapshot, Survey,
};
use lockstep_capture::source::{
    Changes, Cursor, Head, Located, Poll, Source, Start, Table, Window, Witness,
};
use lockstep_common::Code;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::ChunkRange;
use lockstep_common::model::record::{Before, Change, Operation, SourceTime};
use lockstep_common::{
    Column, Failure, LogicalType, Position, TICKS_PER_SECOND, TableId, TableName, TableVersion,
    Value,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;

use crate::scripted::position;

pub type Row = Vec<Value<'static>>;

/// Rows by key; a table without a key gives each row a number that nobody sees.
pub type Content = BTreeMap<i64, Row>;

/// What happens.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Tables with a key, and without.
    pub tables: (usize, usize),
    /// Rows of each table before anything happens.
    pub rows: i64,
    /// Transactions that are committed until it is quiet.
    pub transactions: usize,
    /// One of so many reads fails for now; none when 0.
    pub failing: u32,
    /// The first keyed table is one that capture may signal in.
    pub signals: bool,
    /// Values of one column have this length.
    pub length: usize,
    /// Reads of rows beside the stream that are let through at first; all when none.
    pub permits: Option<usize>,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Plan {
            seed,
            tables: (2, 1),
            rows: 30,
            transactions: 60,
            failing: 0,
            signals: false,
            length: 5,
            permits: None,
        }
    }
}

struct Inner {
    rng: StdRng,
    plan: Plan,
    tables: Vec<WorldTable>,
    /// Changes of each commit; the first is number 1.
    history: Vec<Vec<Change<'static>>>,
    /// The stream shows so many.
    captured: usize,
    left: usize,
    next_key: i64,
    reads: u32,
    /// It has lost what it showed, and shows it again when it has come as far.
    forgetful: bool,
    /// Reads that fail from now on, and how.
    faults: VecDeque<fn() -> Failure>,
    /// One of these is taken by each read of rows beside the stream.
    permits: Arc<Semaphore>,
}

struct WorldTable {
    table: Table,
    first: Content,
    now: Content,
}

impl WorldTable {
    fn is_keyed(&self) -> bool {
        !self.table.version.key.is_empty()
    }
}

#[derive(Clone)]
pub struct World(Arc<Mutex<Inner>>);

fn version(object_id: i64, keyed: bool) -> TableVersion {
    let column = |name: &str, ty| Column {
        id: None,
        name: name.to_owned(),
        ty,
        source_type: "of no matter".to_owned(),
        nullable: true,
        collation: None,
        identity: false,
        computed: false,
    };
    TableVersion {
        dialect: "world".to_owned(),
        object_id,
        origin: None,
        name: TableName { schema: "dbo".to_owned(), table: format!("t{object_id}") },
        columns: vec![
            column("id", LogicalType::Int { bytes: 8 }),
            column("text", LogicalType::String { max: None, fixed: false }),
            column("lob", LogicalType::String { max: None, fixed: false }),
        ],
        key: if keyed { vec![0] } else { Vec::new() },
    }
}

pub fn number(position: &Position) -> usize {
    let bytes: [u8; 8] = position.source()[2..].try_into().expect("ten bytes");
    u64::from_be_bytes(bytes) as usize
}

fn text(rng: &mut StdRng, length: usize) -> Value<'static> {
    let text: String = (0..length).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
    Value::String(text.into())
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let (keyed, keyless) = plan.tables;
        let mut tables = Vec::new();
        let mut next_key = 1;
        for i in 0..keyed + keyless {
            let version = version(i as i64 + 1, i < keyed);
            let mut first = Content::new();
            for _ in 0..plan.rows {
                next_key += rng.random_range(1..5);
                // Rows of a table without a key may be equal.
                let shown = if i < keyed { next_key } else { next_key % 7 };
                let length = if i < keyed { plan.length } else { 1 };
                let row = vec![Value::I64(shown), text(&mut rng, 1), text(&mut rng, length)];
                first.insert(next_key, row);
            }
            let table = Table { id: version.id(), version: Arc::new(version) };
            tables.push(WorldTable { table, now: first.clone(), first });
        }
        let (left, permits) =
            (plan.transactions, plan.permits.unwrap_or(Semaphore::MAX_PERMITS / 2));
        World(Arc::new(Mutex::new(Inner {
            rng,
            plan,
            tables,
            history: Vec::new(),
            captured: 0,
            left,
            next_key,
            reads: 0,
            forgetful: false,
            faults: VecDeque::new(),
            permits: Arc::new(Semaphore::new(permits)),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn source(&self) -> Box<dyn Source> {
        Box::new(WorldSource(self.clone()))
    }

    pub fn tables(&self) -> Vec<Table> {
        self.lock().tables.iter().map(|table| table.table.clone()).collect()
    }

    /// Loses history, as a forced failover does.
    pub fn forget(&self) {
        self.lock().forgetful = true;
    }

    /// Commits so far.
    pub fn commits(&self) -> usize {
        self.lock().history.len()
    }

    /// The next reads of rows fail like this, one after the other.
    pub fn fail(&self, faults: impl IntoIterator<Item = fn() -> Failure>) {
        self.lock().faults.extend(faults);
    }

    /// More reads are let through.
    pub fn permit(&self, reads: usize) {
        self.lock().permits.add_permits(reads);
    }

    /// More transactions are to come.
    pub fn stir(&self, transactions: usize) {
        self.lock().left += transactions;
    }

    /// The rows of each table after so many commits, sorted.
    pub fn at(&self, commits: usize) -> BTreeMap<TableId, Vec<Row>> {
        let inner = self.lock();
        let mut content: BTreeMap<TableId, (bool, Vec<Row>)> = inner
            .tables
            .iter()
            .map(|t| (t.table.id, (t.is_keyed(), t.first.values().cloned().collect())))
            .collect();
        for change in inner.history[..commits].iter().flatten() {
            let (keyed, rows) = content.get_mut(&change.table).expect("a table of the world");
            play(rows, *keyed, change);
        }
        content.into_iter().map(|(id, (_, rows))| (id, sorted(rows))).collect()
    }
}

/// Applies a change that must fit.
pub fn play(rows: &mut Vec<Row>, keyed: bool, change: &Change<'_>) {
    let find = |rows: &[Row], wanted: &[Value<'_>]| {
        let same = |row: &Row| if keyed { row[0] == wanted[0] } else { row[..] == *wanted };
        rows.iter().position(same)
    };
    let own = |row: &[Value<'_>]| row.iter().map(|v| v.clone().into_owned()).collect::<Row>();
    let before = match &change.before {
        Before::None => None,
        Before::Key(row) | Before::Full(row) => {
            Some(find(rows, row).unwrap_or_else(|| panic!("no row for {change:?}")))
        }
    };
    match (change.operation, before) {
        (Operation::Insert, _) => {
            assert!(!keyed || find(rows, &change.after).is_none(), "a row is there: {change:?}");
            rows.push(own(&change.after));
        }
        (Operation::Update, Some(i)) => {
            for (old, new) in rows[i].iter_mut().zip(own(&change.after)) {
                if new != Value::Unavailable {
                    *old = new;
                }
            }
        }
        (Operation::Delete, Some(i)) => drop(rows.swap_remove(i)),
        other => panic!("not a change of the world: {other:?}"),
    }
}

pub fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(|row| format!("{row:?}"));
    rows
}

impl Inner {
    /// Something may be committed.
    fn act(&mut self) {
        while self.left > 0 && self.rng.random_bool(0.5) {
            self.left -= 1;
            self.commit();
        }
    }

    fn commit(&mut self) {
        let mut changes = Vec::new();
        for _ in 0..self.rng.random_range(0..4) {
            self.change(&mut changes);
        }
        self.history.push(changes);
    }

    fn change(&mut self, changes: &mut Vec<Change<'static>>) {
        let i = self.rng.random_range(0..self.tables.len());
        let keyed = self.tables[i].is_keyed();
        let length = if keyed { self.plan.length } else { 1 };
        let keys: Vec<i64> = self.tables[i].now.keys().copied().collect();
        let insert = keys.is_empty() || self.rng.random_bool(0.3);
        if insert {
            // Within the keys there are, and beyond them; a deleted one comes again at times.
            let mut key = self.rng.random_range(1..self.next_key + 4);
            while self.tables[i].now.contains_key(&key) {
                key += 1;
            }
            self.next_key = self.next_key.max(key);
            let shown = if keyed { key } else { key % 7 };
            let row = vec![Value::I64(shown), text(&mut self.rng, 1), text(&mut self.rng, length)];
            changes.push(self.insert(i, key, row));
            return;
        }
        let key = keys[self.rng.random_range(0..keys.len())];
        match self.rng.random_range(0..4) {
            0 => changes.push(self.delete(i, key)),
            1 if keyed => {
                // A change of the key is a delete and an insert.
                let mut row = self.tables[i].now[&key].clone();
                changes.push(self.delete(i, key));
                let mut to = self.rng.random_range(1..self.next_key + 4);
                while self.tables[i].now.contains_key(&to) {
                    to += 1;
                }
                self.next_key = self.next_key.max(to);
                row[0] = Value::I64(to);
                changes.push(self.insert(i, to, row));
            }
            kind => {
                let mut after = self.tables[i].now[&key].clone();
                let before = if keyed {
                    Before::Key(vec![after[0].clone()])
                } else {
                    Before::Full(after.clone())
                };
                after[1] = text(&mut self.rng, 1);
                let whole = kind == 2;
                if whole {
                    after[2] = text(&mut self.rng, length);
                }
                self.tables[i].now.insert(key, after.clone());
                if !whole {
                    after[2] = Value::Unavailable;
                }
                changes.push(Change {
                    table: self.tables[i].table.id,
                    operation: Operation::Update,
                    changed: vec![if whole { 0b110 } else { 0b010 }].into(),
                    before,
                    after,
                    attributes: Default::default(),
                });
            }
        }
    }

    fn insert(&mut self, i: usize, key: i64, row: Row) -> Change<'static> {
        self.tables[i].now.insert(key, row.clone());
        Change {
            table: self.tables[i].table.id,
            operation: Operation::Insert,
            changed: Vec::new().into(),
            before: Before::None,
            after: row,
            attributes: Default::default(),
        }
    }

    fn delete(&mut self, i: usize, key: i64) -> Change<'static> {
        let keyed = self.tables[i].is_keyed();
        let row = self.tables[i].now.remove(&key).expect("it is there");
        let before = if keyed { Before::Key(vec![row[0].clone()]) } else { Before::Full(row) };
        Change {
            table: self.tables[i].table.id,
            operation: Operation::Delete,
            changed: Vec::new().into(),
            before,
            after: Vec::new(),
            attributes: Default::default(),
        }
    }

    /// A read may fail.
    fn read(&mut self) -> Result<(), Failure> {
        self.act();
        if let Some(fault) = self.faults.pop_front() {
            return Err(fault());
        }
        self.reads += 1;
        if self.plan.failing > 0 && self.reads.is_multiple_of(self.plan.failing) {
            return Err(Failure::new(Code::SourceLoadAgain, "the world does not hold still"));
        }
        Ok(())
    }

    fn head(&self, n: usize) -> Head {
        let empty = self.history[n - 1].is_empty();
        Head {
            position: position(n),
            time: n as i64 * TICKS_PER_SECOND,
            witness: Witness {
                transaction_id: (!empty).then(|| (n as u64).to_be_bytes().to_vec()),
                source_time: SourceTime { raw: format!("moment {n}"), offset: 0 },
            },
        }
    }

    fn table(&self, table: &Table) -> &WorldTable {
        self.tables.iter().find(|other| other.table.id == table.id).expect("a table of the world")
    }
}

struct WorldSource(World);

#[async_trait]
impl Source for WorldSource {
    async fn connect(&mut self) -> Result<String, Failure> {
        Ok("world".to_owned())
    }

    async fn locate(&mut self, start: Start) -> Result<Cursor, Failure> {
        let inner = self.0.lock();
        let at = match start {
            Start::Now | Start::Load => inner.captured,
            Start::Earliest => 0,
            Start::After(position) => number(&position),
            Start::Time(time) => (time / TICKS_PER_SECOND).max(0) as usize,
        };
        let witness = (at > 0).then(|| inner.head(at).witness);
        Ok(Cursor { position: position(at), witness })
    }

    async fn resume(&mut self, cursor: &Cursor, _: &[TableVersion]) -> Result<(), Failure> {
        let inner = self.0.lock();
        let n = number(&cursor.position);
        assert!(n <= inner.captured, "{n} is ahead of what the stream shows");
        if let Some(witness) = &cursor.witness {
            assert_eq!(*witness, inner.head(n).witness);
        }
        Ok(())
    }

    fn tables(&self, _: Position) -> Vec<Table> {
        self.0.tables()
    }

    async fn poll(&mut self, after: Position) -> Result<Poll, Failure> {
        let mut inner = self.0.lock();
        inner.act();
        if inner.left == 0 {
            // What an idle source does now and then.
            inner.history.push(Vec::new());
        }
        // The stream is behind the tables.
        let all = inner.history.len();
        let from = number(&after);
        let captured = inner.captured.max(from);
        inner.captured = if inner.left == 0 {
            all
        } else {
            let lag = inner.rng.random_range(0..4);
            captured.max(all.saturating_sub(lag)).min(all)
        };
        let captured = inner.captured;
        let to = captured.min(from + inner.rng.random_range(1..6));
        let heads: Vec<Head> = (from + 1..=to).map(|n| inner.head(n)).collect();
        let window = Window { after, heads, more: to < captured };
        Ok(Poll {
            window: (!window.heads.is_empty()).then_some(window),
            newest: Some(position(captured)),
            clock: Some(all as i64 * TICKS_PER_SECOND),
        })
    }

    async fn read(&mut self, window: &Window) -> Result<Box<dyn Changes>, Failure> {
        let inner = self.0.lock();
        let located = window.heads.iter().enumerate().flat_map(|(i, head)| {
            let changes = inner.history[number(&head.position) - 1].clone();
            changes.into_iter().map(move |change| Located { head: i, change, size: 100 })
        });
        Ok(Box::new(Batches(located.collect(), self.0.clone())))
    }

    async fn verify(&mut self, _: &Window) -> Result<(), Failure> {
        Ok(())
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::new(WorldLoader(self.0.clone()))
    }

    async fn inspect(&mut self, _: Position) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }
}

struct Batches(VecDeque<Located>, World);

#[async_trait]
impl Changes for Batches {
    async fn next(&mut self) -> Result<Option<Vec<Located>>, Failure> {
        self.1.lock().act();
        // Readers of rows get their turn in the middle of a transaction.
        tokio::task::yield_now().await;
        let some = self.0.len().min(2);
        let batch: Vec<Located> = self.0.drain(..some).collect();
        Ok((!batch.is_empty()).then_some(batch))
    }
}

struct WorldLoader(World);

fn key_of(key: Option<&[Value<'static>]>) -> Option<i64> {
    key.map(|key| match key {
        [Value::I64(key)] => *key,
        other => panic!("not a key of the world: {other:?}"),
    })
}

fn boundary(content: &Content, lower: Option<&[Value<'static>]>, rows: u32) -> Option<Row> {
    let lower = key_of(lower).map_or(Bound::Unbounded, Bound::Excluded);
    let nth = content.range((lower, Bound::Unbounded)).nth(rows as usize - 1);
    nth.map(|(key, _)| vec![Value::I64(*key)])
}

/// Up to three rows of a range, above `after`.
fn some_rows(content: &Content, after: Option<i64>, upper: Option<i64>) -> Vec<(i64, Row)> {
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = content.range((after, Bound::Unbounded));
    let rows = rows.take_while(|(key, _)| upper.is_none_or(|upper| **key <= upper));
    rows.take(3).map(|(key, row)| (*key, row.clone())).collect()
}

fn give(sink: &mut dyn RowSink, rows: Vec<(i64, Row)>, after: &mut Option<i64>) {
    for (key, mut row) in rows {
        *after = Some(key);
        sink.row(&mut row, 100);
    }
}

#[async_trait]
impl Loader for WorldLoader {
    async fn definitions(&self, tables: &[Table]) -> Result<Vec<Definition>, Failure> {
        let definition = |table: &Table| Definition {
            table: table.id,
            name: table.version.name.clone(),
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            checks: Vec::new(),
            others: Vec::new(),
        };
        Ok(tables.iter().map(definition).collect())
    }

    async fn survey(&self, tables: &[Table]) -> Result<Vec<Survey>, Failure> {
        let inner = self.0.lock();
        let survey = |table: &Table| {
            let found = inner.table(table);
            Survey {
                table: table.id,
                rows: Some(found.now.len() as u64),
                bytes: None,
                unranged: (!found.is_keyed()).then(|| "it has no key".to_owned()),
            }
        };
        Ok(tables.iter().map(survey).collect())
    }

    async fn boundary(
        &self,
        table: &Table,
        lower: Option<&[Value<'static>]>,
        rows: u32,
    ) -> Result<Option<Vec<Value<'static>>>, Failure> {
        let mut inner = self.0.lock();
        inner.read()?;
        Ok(boundary(&inner.table(table).now, lower, rows))
    }

    async fn rows(&self, table: &Table, range: &ChunkRange) -> Result<Box<dyn Rows>, Failure> {
        self.0.lock().read()?;
        Ok(Box::new(LiveRows {
            world: self.0.clone(),
            table: table.clone(),
            after: key_of(range.lower.as_deref()),
            upper: key_of(range.upper.as_deref()),
        }))
    }

    async fn clock(&self) -> Result<Clock, Failure> {
        let mut inner = self.0.lock();
        inner.act();
        Ok(inner.history.len().to_string())
    }

    fn mark(&self) -> Option<Clock> {
        let inner = self.0.lock();
        Some(format!("{SEEN}{}", inner.captured))
    }

    async fn recognise(&self, mark: &Clock) -> Result<Clock, Failure> {
        if self.0.lock().forgetful {
            return Err(
                Failure::new(Code::SourceRewound, format!("{mark} is gone")).remedy("load anew")
            );
        }
        Ok(mark.clone())
    }

    fn proves(&self, head: &Head, clock: &Clock) -> bool {
        number(&head.position) > clock.parse().expect("a clock of the world")
    }

    async fn signal(&self) -> Result<Option<String>, Failure> {
        let mut inner = self.0.lock();
        inner.act();
        if !inner.plan.signals {
            return Ok(None);
        }
        let text = format!("signal {}", inner.history.len());
        let key = inner.next_key + 1;
        inner.next_key = key;
        let row =
            vec![Value::I64(key), Value::String(text.clone().into()), Value::String("x".into())];
        let change = inner.insert(0, key, row);
        inner.history.push(vec![change]);
        Ok(Some(text))
    }

    async fn freeze(&self, tables: &[Table], readers: usize) -> Result<Frozen, Failure> {
        let mut inner = self.0.lock();
        inner.read()?;
        assert!(!tables.is_empty());
        let content: BTreeMap<TableId, Content> =
            tables.iter().map(|table| (table.id, inner.table(table).now.clone())).collect();
        let content = Arc::new(content);
        let snapshot = |_| {
            let (world, content) = (self.0.clone(), Arc::clone(&content));
            Box::new(WorldSnapshot { world, content }) as Box<dyn Snapshot>
        };
        Ok(Frozen {
            position: position(inner.history.len()),
            snapshots: (0..readers).map(snapshot).collect(),
        })
    }
}

/// The rows of the moment, a few at a time.
struct LiveRows {
    world: World,
    table: Table,
    after: Option<i64>,
    upper: Option<i64>,
}

#[async_trait]
impl Rows for LiveRows {
    async fn next(&mut self, sink: &mut dyn RowSink) -> Result<bool, Failure> {
        let permits = Arc::clone(&self.world.lock().permits);
        permits.acquire().await.expect("it is never closed").forget();
        let rows = {
            let mut inner = self.world.lock();
            inner.read()?;
            some_rows(&inner.table(&self.table).now, self.after, self.upper)
        };
        tokio::task::yield_now().await;
        let more = !rows.is_empty();
        give(sink, rows, &mut self.after);
        Ok(more)
    }
}

struct WorldSnapshot {
    world: World,
    content: Arc<BTreeMap<TableId, Content>>,
}

#[async_trait]
impl Snapshot for WorldSnapshot {
    async fn boundary(
        &mut self,
        table: &Table,
        lower: Option<&[Value<'static>]>,
        rows: u32,
    ) -> Result<Option<Vec<Value<'static>>>, Failure> {
        self.world.lock().read()?;
        Ok(boundary(&self.content[&table.id], lower, rows))
    }

    async fn rows<'a>(
        &'a mut self,
        table: &Table,
        range: &ChunkRange,
    ) -> Result<Box<dyn Rows + 'a>, Failure> {
        Ok(Box::new(FrozenRows {
            world: &self.world,
            content: &self.content[&table.id],
            after: key_of(range.lower.as_deref()),
            upper: key_of(range.upper.as_deref()),
        }))
    }
}

struct FrozenRows<'a> {
    world: &'a World,
    content: &'a Content,
    after: Option<i64>,
    upper: Option<i64>,
}

#[async_trait]
impl Rows for FrozenRows<'_> {
    async fn next(&mut self, sink: &mut dyn RowSink) -> Result<bool, Failure> {
        self.world.lock().read()?;
        tokio::task::yield_now().await;
        let rows = some_rows(self.content, self.after, self.upper);
        let more = !rows.is_empty();
        give(sink, rows, &mut self.after);
        Ok(more)
    }
}
