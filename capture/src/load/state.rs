//! What is to be read of the tables of a load, and what has been. No I/O in here.
//!
//! A table's key space is tiled by chunks that are planned from below: each begins where the one
//! before ends, the first is open below, the last open above. A chunk gets its number when it begins,
//! and chunks begin in the order they were planned in, so that everything at or below the entry's
//! `frontier` belongs to a chunk that has begun; those of them that have not ended are its
//! `unfinished`. The entry alone says what is left to read.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use lockstep_common::model::load::{
    ChunkAttributes, ChunkRange, Handoff, LoadMarker, TableLoad, TableStage,
};
use lockstep_common::{Position, Value};
use uuid::Uuid;

use super::proof::Proof;
use crate::source::Table;
use crate::source::load::Survey;

/// Values of a table's key, in key order.
pub type Key = Vec<Value<'static>>;

/// A load that has not ended.
pub struct Load {
    /// Its id.
    pub id: Uuid,
    /// Its tables are loaded again.
    pub reload: bool,
    /// They.
    pub tables: Vec<TableState>,
    /// How far the proof of `consistent` is.
    pub proof: Proof,
    /// When this process began with it, 100 ns since 1970-01-01Z.
    pub started: i64,
}

impl Load {
    /// What says in the log that it begins.
    pub fn begin(&self) -> LoadMarker {
        let tables = self.tables.iter().map(|table| (table.table.id, table.entry.handoff));
        LoadMarker::Begin { load: self.id, reload: self.reload, tables: tables.collect() }
    }

    /// What the log keeps of each of its tables.
    pub fn entries(&self) -> impl Iterator<Item = &TableLoad> {
        self.tables.iter().map(|table| &table.entry)
    }

    /// Every chunk of every table has ended.
    pub fn is_read(&self) -> bool {
        self.tables.iter().all(TableState::is_read)
    }

    /// The highest position that rows of an exact table are of.
    pub fn frozen_at(&self) -> Option<Position> {
        self.tables.iter().filter_map(|table| table.entry.from).max()
    }

    /// Some of its tables are read beside the stream.
    pub fn has_bracketed(&self) -> bool {
        self.tables.iter().any(|table| table.entry.handoff == Handoff::Bracketed)
    }
}

/// A table being loaded.
pub struct TableState {
    /// The table.
    pub table: Table,
    /// What the log knows of its load.
    pub entry: TableLoad,
    /// Rows there are, as the source estimates.
    pub expected: Option<u64>,
    /// When its first chunk began in this process, and its last one ended.
    pub times: (Option<Instant>, Option<Instant>),
    /// When its first chunk began, 100 ns since 1970-01-01Z.
    pub started: i64,
    /// It is one chunk.
    whole: bool,
    /// Planned and not begun: the end of each range.
    ready: VecDeque<Option<Key>>,
    /// To be begun again.
    again: Vec<Again>,
    /// How often each chunk's read has failed.
    failures: HashMap<u32, u32>,
    /// A range is being planned.
    planning: bool,
    /// Where the planned ranges end.
    planned_to: Option<Key>,
    /// The last range is planned.
    all_planned: bool,
    /// Rows of an attempt before may be in the log.
    restart: bool,
}

struct Again {
    range: ChunkRange,
    not_before: Option<Instant>,
}

impl TableState {
    /// A table as the log has it. What has begun and not ended is begun again.
    pub fn new(table: Table, entry: TableLoad, survey: &Survey) -> Self {
        let bracketed = entry.handoff == Handoff::Bracketed;
        let unfinished = entry.unfinished.iter().filter(|_| bracketed).cloned();
        TableState {
            again: unfinished.map(|range| Again { range, not_before: None }).collect(),
            planned_to: entry.frontier.clone().filter(|_| bracketed),
            // An exact table is planned when it is frozen.
            all_planned: entry.planned || !bracketed,
            expected: survey.rows,
            times: (None, None),
            started: 0,
            whole: survey.unranged.is_some(),
            ready: VecDeque::new(),
            failures: HashMap::new(),
            planning: false,
            restart: false,
            table,
            entry,
        }
    }

    /// Every chunk has ended.
    pub fn is_read(&self) -> bool {
        matches!(self.entry.stage, TableStage::Read | TableStage::Done)
    }

    /// It waits to be frozen, or is being read frozen.
    pub fn is_exact(&self) -> bool {
        self.entry.handoff == Handoff::Exact && !self.is_read()
    }

    /// Begins anew, with the rows of `position`.
    pub fn freeze(&mut self, position: Position) {
        self.restart = self.entry.stage != TableStage::Waiting;
        self.entry.next_chunk = 0;
        self.entry.frontier = None;
        self.entry.planned = false;
        self.entry.unfinished.clear();
        self.entry.rows = 0;
        self.entry.bytes = 0;
        self.entry.from = Some(position);
        self.ready.clear();
        self.again.clear();
        self.planning = false;
        self.planned_to = None;
        self.all_planned = false;
        if self.whole {
            self.planned(None);
        }
    }

    /// Whether another range should be planned, when up to `ahead` may wait.
    pub fn wants_range(&self, ahead: usize) -> bool {
        !self.planning && !self.all_planned && self.ready.len() < ahead
    }

    /// Whether some chunk of it has not begun.
    pub fn has_more(&self) -> bool {
        !self.all_planned || !self.ready.is_empty() || !self.again.is_empty()
    }

    /// Begins to plan a range: the key it lies above.
    pub fn plan(&mut self) -> Option<Key> {
        self.planning = true;
        self.planned_to.clone()
    }

    /// A range is planned, up to `upper`.
    pub fn planned(&mut self, upper: Option<Key>) {
        self.planning = false;
        match &upper {
            Some(key) => self.planned_to = Some(key.clone()),
            None => self.all_planned = true,
        }
        self.ready.push_back(upper);
    }

    /// The planning has failed.
    pub fn not_planned(&mut self) {
        self.planning = false;
    }

    /// Begins the next chunk, if one may begin at `now`.
    pub fn begin(&mut self, now: Instant) -> Option<(ChunkRange, ChunkAttributes)> {
        let attributes = ChunkAttributes { from: self.entry.from, restart: self.restart };
        let due = |again: &Again| again.not_before.is_none_or(|time| time <= now);
        if let Some(i) = self.again.iter().position(due) {
            self.entry.stage = TableStage::Reading;
            return Some((self.again.remove(i).range, attributes));
        }
        let upper = self.ready.pop_front()?;
        self.restart = false;
        let range =
            ChunkRange { chunk: self.entry.next_chunk, lower: self.entry.frontier.clone(), upper };
        self.entry.stage = TableStage::Reading;
        self.entry.next_chunk += 1;
        match &range.upper {
            Some(key) => self.entry.frontier = Some(key.clone()),
            None => self.entry.planned = true,
        }
        self.entry.unfinished.push(range.clone());
        Some((range, attributes))
    }

    /// A chunk has ended; whether it was the table's last.
    pub fn ended(&mut self, chunk: u32, rows: u64, bytes: u64) -> bool {
        self.entry.unfinished.retain(|range| range.chunk != chunk);
        self.failures.remove(&chunk);
        self.entry.rows += rows;
        self.entry.bytes += bytes;
        if self.entry.planned && self.entry.unfinished.is_empty() {
            self.entry.stage = TableStage::Read;
        }
        self.is_read()
    }

    /// A chunk's read has failed; how often that makes. It is begun again by [`Self::again`].
    pub fn failed(&mut self, chunk: u32) -> u32 {
        let failures = self.failures.entry(chunk).or_default();
        *failures += 1;
        *failures
    }

    /// A chunk that has not ended is to begin again, not before a time.
    pub fn again(&mut self, range: ChunkRange, not_before: Instant) {
        self.again.push(Again { range, not_before: Some(not_before) });
    }

    /// When a chunk is due to begin again.
    pub fn due(&self) -> Option<Instant> {
        self.again.iter().filter_map(|again| again.not_before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_common::{TableId, TableName, TableVersion};
    use std::sync::Arc;
    use std::time::Duration;

    fn table() -> Table {
        let version = TableVersion {
            dialect: "test".into(),
            object_id: 1,
            origin: None,
            name: TableName { schema: "dbo".into(), table: "t".into() },
            columns: Vec::new(),
            key: Vec::new(),
        };
        Table { id: version.id(), version: Arc::new(version) }
    }

    fn entry(handoff: Handoff) -> TableLoad {
        TableLoad {
            load: Uuid::nil(),
            reload: false,
            object_id: 1,
            table: TableId(1),
            handoff,
            stage: TableStage::Waiting,
            next_chunk: 0,
            frontier: None,
            planned: false,
            unfinished: Vec::new(),
            rows: 0,
            bytes: 0,
            from: None,
            read_at: None,
            begins: None,
            held: false,
        }
    }

    fn survey(unranged: bool) -> Survey {
        let unranged = unranged.then(|| "no key".to_owned());
        Survey { table: TableId(1), rows: None, bytes: None, unranged }
    }

    fn key(n: i64) -> Option<Key> {
        Some(vec![Value::I64(n)])
    }

    fn bounds(range: &ChunkRange) -> (u32, Option<Key>, Option<Key>) {
        (range.chunk, range.lower.clone(), range.upper.clone())
    }

    #[test]
    fn chunks_tile_the_keys_and_a_restart_goes_on_where_they_ended() {
        let now = Instant::now();
        let mut state = TableState::new(table(), entry(Handoff::Bracketed), &survey(false));
        assert!(state.begin(now).is_none());
        for (lower, upper) in [(None, key(10)), (key(10), key(20)), (key(20), key(30))] {
            assert!(state.wants_range(4));
            assert_eq!(state.plan(), lower);
            assert!(!state.wants_range(4));
            state.planned(upper);
        }
        assert!(!state.wants_range(3));
        let (first, _) = state.begin(now).unwrap();
        let (second, _) = state.begin(now).unwrap();
        assert_eq!(bounds(&first), (0, None, key(10)));
        assert_eq!(bounds(&second), (1, key(10), key(20)));
        assert!(!state.ended(0, 7, 70));

        // What was planned and not begun is planned again.
        let mut state = TableState::new(table(), state.entry, &survey(false));
        assert_eq!(state.plan(), key(20));
        state.planned(None);
        assert!(!state.wants_range(9));
        let again = state.begin(now).unwrap().0;
        assert_eq!(bounds(&again), bounds(&second));
        assert_eq!(state.failed(1), 1);
        let later = now + Duration::from_secs(1);
        state.again(again, later);
        let last = state.begin(now).unwrap().0;
        assert_eq!(bounds(&last), (2, key(20), None));
        assert_eq!((state.due(), state.begin(now).is_none()), (Some(later), true));
        assert!(!state.ended(2, 1, 1));
        let again = state.begin(later).unwrap().0;
        assert_eq!((bounds(&again), state.failed(1)), (bounds(&second), 2));
        assert!(state.ended(1, 2, 20));
        assert_eq!((state.entry.rows, state.entry.bytes, state.entry.next_chunk), (10, 91, 3));
        assert!(state.is_read() && state.begin(later).is_none());
    }

    #[test]
    fn a_frozen_table_begins_anew_each_time_and_says_so() {
        let now = Instant::now();
        let (one, two) = (Position::new(1, &[1]).unwrap(), Position::new(1, &[2]).unwrap());
        let mut state = TableState::new(table(), entry(Handoff::Exact), &survey(true));
        assert!(state.is_exact() && !state.wants_range(9) && state.begin(now).is_none());
        state.freeze(one);
        assert!(!state.wants_range(9));
        let (range, attributes) = state.begin(now).unwrap();
        assert_eq!(bounds(&range), (0, None, None));
        assert_eq!(attributes, ChunkAttributes { from: Some(one), restart: false });

        let mut state = TableState::new(table(), state.entry, &survey(false));
        assert!(state.begin(now).is_none());
        state.freeze(two);
        assert_eq!(state.plan(), None);
        state.planned(key(5));
        let (range, attributes) = state.begin(now).unwrap();
        assert_eq!(bounds(&range), (0, None, key(5)));
        assert_eq!(attributes, ChunkAttributes { from: Some(two), restart: true });
        assert_eq!(state.plan(), key(5));
        state.planned(None);
        let (range, attributes) = state.begin(now).unwrap();
        assert_eq!(bounds(&range), (1, key(5), None));
        assert_eq!(attributes, ChunkAttributes { from: Some(two), restart: false });
        assert!(!state.ended(1, 1, 1));
        assert!(state.ended(0, 1, 1));
        assert!(!state.is_exact());
    }
}
