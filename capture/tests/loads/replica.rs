//! What a target makes of a log with full loads, by the rule of the log's format and nothing else; it
//! holds the log to its promises on the way.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lockstep_common::codec::{self, ChunkReader};
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::model::record::{
    Before, Body, Change, ChunkBegin, ChunkEnd, Operation, Record,
};
use lockstep_common::{LongKind, Position, TableId, Value};
use lockstep_log::{Batch, Item, Log, Schemas, Seek, Stream};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::world::{Row, World, number, play, sorted};

/// A load that has ended.
pub struct Ended {
    pub load: Uuid,
    pub reload: bool,
    pub tables: Vec<TableId>,
    pub consistent: Position,
}

/// What a log says, read to its end.
#[derive(Default)]
pub struct Replica {
    pub tables: BTreeMap<TableId, Vec<Row>>,
    pub ended: Vec<Ended>,
    /// Chunk begins and ends, with numbers.
    pub begins: usize,
    pub ends: usize,
    /// Loads that have begun and not ended.
    pub open: BTreeSet<Uuid>,
    pub end: Position,
    /// The last record says that the task ends.
    pub task_end: bool,
    keyed: BTreeMap<TableId, bool>,
    loading: HashMap<TableId, Loading>,
    /// What each table held at each position while a load of it went on.
    past: Vec<(Position, BTreeMap<TableId, Vec<Row>>)>,
    epoch: u64,
}

struct Loading {
    load: Uuid,
    handoff: Handoff,
    reload: bool,
    from: Option<Position>,
    begun: BTreeMap<u32, ChunkBegin>,
    ended: BTreeMap<u32, u64>,
    read: bool,
    /// What the stream said of keys while a chunk was open.
    notes: HashMap<String, Note>,
}

impl Loading {
    fn open(&self) -> bool {
        self.begun.len() > self.ended.len()
    }
}

#[derive(Clone)]
enum Note {
    Gone,
    Columns(Row),
}

/// Reads a whole log and checks it against the world it was read from.
pub async fn read(log: &dyn Log, world: &World) -> Replica {
    read_with(log, Some(world)).await
}

/// Reads a whole log that is of some other source.
pub async fn read_log(log: &dyn Log) -> Replica {
    read_with(log, None).await
}

async fn read_with(log: &dyn Log, world: Option<&World>) -> Replica {
    let schemas = Schemas::open(log).await.expect("the schemas stream is readable");
    let keyed = schemas.tables().map(|(id, version)| (id, !version.key.is_empty())).collect();
    let mut snapshot = Vec::new();
    for partition in 0..log.snapshot_partitions().await.expect("partitions") {
        snapshot.push(all(log, Stream::Snapshot(partition)).await);
    }
    let mut replica = Replica { keyed, ..Replica::default() };
    replica.tables = replica.keyed.keys().map(|id| (*id, Vec::new())).collect();
    for item in all(log, Stream::Transactions).await {
        let record = codec::decode(&item.payload).expect("a record of this version");
        replica.take(record, &snapshot, world);
    }
    replica.check_kept(&schemas);
    replica
}

async fn all(log: &dyn Log, stream: Stream) -> Vec<Item> {
    let mut reader = log.reader(stream).await.expect("a reader");
    reader.seek(Seek::Earliest).await.expect("the beginning");
    let mut items = Vec::new();
    while let Batch::Items(more) = reader.read().await.expect("the log is readable") {
        items.extend(more);
    }
    items
}

impl Replica {
    fn take(&mut self, record: Record<'_>, snapshot: &[Vec<Item>], world: Option<&World>) {
        assert!(record.epoch >= self.epoch, "epoch goes back at {}", record.position);
        self.epoch = record.epoch;
        self.task_end = false;
        match &record.body {
            Body::Epoch(_) | Body::Progress(_) | Body::Fragment(_) => {}
            _ => assert_eq!(
                (record.position, record.after),
                (self.end, self.end),
                "a record of a load stands where the stream is"
            ),
        }
        match record.body {
            Body::Epoch(_) => {}
            Body::Progress(_) => self.complete(record.position, world),
            Body::Fragment(fragment) => {
                assert_eq!(record.after, self.end);
                assert!(fragment.last && fragment.index == 0, "the world's transactions are small");
                for change in &fragment.changes {
                    self.change(change, record.position);
                }
                self.complete(record.position, world);
            }
            Body::Marker { name } => {
                let marker = LoadMarker::parse(&name, &record.attributes).expect("a whole marker");
                self.marker(marker.expect("a marker of a load"), world);
            }
            Body::ChunkBegin(begin) => {
                let attributes = ChunkAttributes::parse(&record.attributes).expect("attributes");
                self.begin(begin, attributes);
            }
            Body::ChunkEnd(end) => {
                let attributes = ChunkAttributes::parse(&record.attributes).expect("attributes");
                self.end(end, attributes, snapshot);
            }
            other => panic!("a record that capture does not write: {other:?}"),
        }
    }

    fn complete(&mut self, position: Position, world: Option<&World>) {
        self.end = position;
        let Some(world) = world else { return };
        if self.loading.is_empty() && self.ended.is_empty() {
            return;
        }
        let content: BTreeMap<_, _> =
            self.tables.iter().map(|(id, rows)| (*id, sorted(rows.clone()))).collect();
        let truth = world.at(number(&position));
        for (id, rows) in &content {
            let loaded = self.ended.iter().any(|ended| ended.tables.contains(id));
            if loaded && !self.loading.contains_key(id) {
                assert_eq!(*rows, truth[id], "{id} at {position}");
            }
        }
        self.past.push((position, content));
    }

    fn marker(&mut self, marker: LoadMarker, world: Option<&World>) {
        match marker {
            LoadMarker::Begin { load, reload, tables } => {
                assert!(self.open.insert(load));
                // A begin in the log's first transaction stands behind its first progress.
                for (table, handoff) in tables {
                    if reload {
                        self.tables.insert(table, Vec::new());
                    }
                    let loading = Loading {
                        load,
                        handoff,
                        reload,
                        from: None,
                        begun: BTreeMap::new(),
                        ended: BTreeMap::new(),
                        read: false,
                        notes: HashMap::new(),
                    };
                    assert!(self.loading.insert(table, loading).is_none(), "{table} twice");
                }
            }
            LoadMarker::TableRead { load, table, chunks, rows } => {
                let loading = self.loading.get_mut(&table).expect("a table that is loaded");
                assert_eq!(loading.load, load);
                let numbers: Vec<u32> = loading.ended.keys().copied().collect();
                assert_eq!(numbers, (0..chunks).collect::<Vec<_>>(), "a chunk is missing");
                assert_eq!(loading.ended.values().sum::<u64>(), rows);
                let ranges: Vec<_> = loading.begun.values().collect();
                assert!(ranges[0].lower.is_none() && ranges[ranges.len() - 1].upper.is_none());
                for pair in ranges.windows(2) {
                    assert!(pair[0].upper.is_some());
                    assert_eq!(pair[0].upper, pair[1].lower, "ranges do not tile");
                }
                loading.read = true;
            }
            LoadMarker::End { load, consistent } => {
                assert!(self.open.remove(&load));
                assert!(consistent <= self.end, "{consistent} is ahead of {}", self.end);
                let of_load = self.loading.iter().filter(|(_, loading)| loading.load == load);
                let tables: Vec<TableId> = of_load.map(|(id, _)| *id).collect();
                let mut reload = false;
                for id in &tables {
                    let loading = self.loading.remove(id).expect("it was there");
                    assert!(loading.read, "{id} is not read");
                    reload |= loading.reload;
                }
                if let Some(world) = world {
                    self.check(&tables, consistent, world);
                }
                self.ended.push(Ended { load, reload, tables, consistent });
            }
            LoadMarker::TaskEnd => self.task_end = true,
        }
    }

    /// From `consistent` on, tables hold what the world did.
    fn check(&self, tables: &[TableId], consistent: Position, world: &World) {
        let since = self.past.iter().filter(|(position, _)| *position >= consistent);
        for (position, content) in since {
            let truth = world.at(number(position));
            for id in tables {
                assert_eq!(content[id], truth[id], "{id} at {position}, of {consistent}");
            }
        }
        let truth = world.at(number(&self.end));
        for id in tables {
            let rows = sorted(self.tables[id].clone());
            assert_eq!(rows, truth[id], "{id} at the end of its load");
        }
    }

    fn begin(&mut self, begin: ChunkBegin, attributes: ChunkAttributes) {
        self.begins += 1;
        let loading = self.loading.get_mut(&begin.table).expect("a table that is loaded");
        assert_eq!(loading.load, begin.load);
        assert!(!loading.read);
        assert_eq!(loading.handoff == Handoff::Exact, attributes.from.is_some());
        if loading.from != attributes.from {
            assert_eq!(attributes.restart, !loading.begun.is_empty());
            assert_eq!(begin.chunk, 0, "an attempt begins with the first chunk");
        }
        if attributes.restart {
            self.tables.insert(begin.table, Vec::new());
            loading.begun.clear();
            loading.ended.clear();
        }
        loading.from = attributes.from;
        assert!(!loading.ended.contains_key(&begin.chunk), "a chunk that has ended begins");
        let number = begin.chunk;
        if let Some(before) = loading.begun.insert(number, begin) {
            assert_eq!(before, loading.begun[&number], "begun again with another range");
        } else {
            assert_eq!(number as usize + 1, loading.begun.len(), "numbers rise by one");
        }
    }

    fn end(&mut self, end: ChunkEnd, attributes: ChunkAttributes, snapshot: &[Vec<Item>]) {
        self.ends += 1;
        let rows = chunk_rows(&end, snapshot);
        let loading = self.loading.get_mut(&end.table).expect("a table that is loaded");
        assert_eq!((loading.load, loading.from), (end.load, attributes.from));
        assert!(loading.begun.contains_key(&end.chunk));
        assert!(loading.ended.insert(end.chunk, end.rows).is_none(), "a chunk ends twice");
        let content = self.tables.get_mut(&end.table).expect("a known table");
        for mut row in rows {
            if loading.handoff == Handoff::Exact {
                let known = self.keyed[&end.table] && content.iter().any(|r| r[0] == row[0]);
                assert!(!known, "a row of a frozen table comes twice: {row:?}");
                content.push(row);
                continue;
            }
            if content.iter().any(|present| present[0] == row[0]) {
                continue;
            }
            match loading.notes.get(&format!("{:?}", row[0])) {
                Some(Note::Gone) => continue,
                Some(Note::Columns(columns)) => overlay(&mut row, columns),
                None => {}
            }
            content.push(row);
        }
        if !loading.open() {
            loading.notes.clear();
        }
    }

    fn change(&mut self, change: &Change<'_>, position: Position) {
        let keyed = self.keyed[&change.table];
        let rows = self.tables.get_mut(&change.table).expect("a known table");
        let Some(loading) = self.loading.get_mut(&change.table) else {
            if self.ended.iter().any(|ended| ended.tables.contains(&change.table)) {
                play(rows, keyed, change);
            }
            return;
        };
        if loading.handoff == Handoff::Exact {
            if loading.from.is_some_and(|from| position > from) {
                assert!(loading.read, "the stream goes on while a frozen table is read");
                play(rows, keyed, change);
            }
            return;
        }
        let open = loading.open();
        let after: Row = change.after.iter().map(|v| v.clone().into_owned()).collect();
        let whole = !after.contains(&Value::Unavailable);
        match (change.operation, &change.before) {
            (Operation::Insert, _) => upsert(rows, after),
            (Operation::Update, _) if whole => upsert(rows, after),
            (Operation::Update, _) => {
                if let Some(row) = rows.iter_mut().find(|row| row[0] == after[0]) {
                    overlay(row, &after);
                }
                if open {
                    let key = format!("{:?}", after[0]);
                    match loading.notes.get_mut(&key) {
                        Some(Note::Columns(columns)) => overlay(columns, &after),
                        _ => drop(loading.notes.insert(key, Note::Columns(after))),
                    }
                }
            }
            (Operation::Delete, Before::Key(key) | Before::Full(key)) => {
                rows.retain(|row| row[0] != key[0]);
                if open {
                    let key = key[0].clone().into_owned();
                    loading.notes.insert(format!("{key:?}"), Note::Gone);
                }
            }
            other => panic!("not a change of the world: {other:?}"),
        }
    }

    /// What the schemas stream keeps of the loads agrees.
    fn check_kept(&self, schemas: &Schemas) {
        use lockstep_common::model::load::TableStage;
        for load in schemas.loads() {
            let open = self.open.contains(&load.load);
            assert_eq!(open, load.stage != TableStage::Done, "{load:?}");
            assert!(schemas.definition(load.table).is_some());
            let Some(loading) = self.loading.get(&load.table) else { continue };
            assert_eq!(loading.load, load.load);
            let unfinished: Vec<u32> = loading
                .begun
                .keys()
                .filter(|chunk| !loading.ended.contains_key(chunk))
                .copied()
                .collect();
            let mut kept: Vec<u32> = load.unfinished.iter().map(|range| range.chunk).collect();
            kept.sort_unstable();
            assert_eq!(kept, unfinished);
            assert_eq!(load.next_chunk as usize, loading.begun.len());
        }
    }
}

fn overlay(row: &mut Row, columns: &Row) {
    for (old, new) in row.iter_mut().zip(columns) {
        if *new != Value::Unavailable {
            *old = new.clone();
        }
    }
}

fn upsert(rows: &mut Vec<Row>, row: Row) {
    match rows.iter_mut().find(|present| present[0] == row[0]) {
        Some(present) => *present = row,
        None => rows.push(row),
    }
}

/// The rows of an attempt that ended, found as any reader would.
fn chunk_rows(end: &ChunkEnd, snapshot: &[Vec<Item>]) -> Vec<Row> {
    let Some((first, last)) = end.offsets else {
        assert_eq!(end.rows, 0);
        return Vec::new();
    };
    let (mut rows, mut next) = (Vec::new(), 0);
    let mut longs: HashMap<u32, Vec<u8>> = HashMap::new();
    let within = |item: &&Item| (first..=last).contains(&item.offset);
    for item in snapshot[end.partition as usize].iter().filter(within) {
        let mut reader = ChunkReader::new(&item.payload).unwrap().expect("rows of a chunk");
        if (reader.load(), reader.table(), reader.chunk()) != (end.load, end.table, end.chunk) {
            continue;
        }
        assert_eq!(reader.index(), next, "records of two attempts are mixed");
        next += 1;
        while let Some(part) = reader.part().unwrap() {
            longs.entry(part.id).or_default().extend_from_slice(&part.data);
        }
        let mut row = Vec::new();
        while reader.row(&mut row).unwrap() {
            rows.push(row.iter().map(|value| whole(value, &longs)).collect());
        }
    }
    assert_eq!(rows.len() as u64, end.rows, "of {end:?}");
    rows
}

fn whole(value: &Value<'_>, longs: &HashMap<u32, Vec<u8>>) -> Value<'static> {
    let Value::Long(long) = value else { return value.clone().into_owned() };
    let bytes = &longs[&long.id];
    assert_eq!(bytes.len() as u64, long.length);
    assert_eq!(<[u8; 32]>::from(Sha256::digest(bytes)), long.digest);
    assert_eq!(long.kind, LongKind::Text);
    Value::String(String::from_utf8(bytes.clone()).expect("text").into())
}
