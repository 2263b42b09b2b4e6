//! Where the loads stand, as a session knows it.

use std::sync::Arc;

use lockstep_common::model::load::Handoff;
use lockstep_common::service::status::{LoadState, LoadStatus, TableLoadState, TableLoadStatus};
use lockstep_common::{Position, TableId};
use uuid::Uuid;

use super::super::define::LoadTable;
use super::super::relation::Relation;
use super::loader::ChunkDone;
use super::{Notes, Regime, record};

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Loading,
    Consistent,
    Done,
}

/// How far a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableStage {
    Loading,
    Read,
    Superseded,
}

impl Stage {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "loading" => Some(Stage::Loading),
            "consistent" => Some(Stage::Consistent),
            "done" => Some(Stage::Done),
            _ => None,
        }
    }
}

impl TableStage {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "loading" => Some(TableStage::Loading),
            "read" => Some(TableStage::Read),
            "superseded" => Some(TableStage::Superseded),
            _ => None,
        }
    }
}

/// A load as the target's tables have it.
#[derive(Clone, Debug)]
pub(crate) struct StoredLoad {
    pub(crate) id: Uuid,
    pub(crate) reload: bool,
    pub(crate) stage: Stage,
    pub(crate) consistent: Option<Position>,
    /// 100 ns since 1970-01-01Z.
    pub(crate) started: i64,
    pub(crate) tables: Vec<StoredTable>,
}

/// A table of it.
#[derive(Clone, Debug)]
pub(crate) struct StoredTable {
    pub(crate) id: TableId,
    pub(crate) source: String,
    pub(crate) handoff: Handoff,
    pub(crate) stage: TableStage,
    /// Exact: the position its rows are of.
    pub(crate) from: Option<Position>,
    pub(crate) notes: Option<String>,
    pub(crate) chunks: u32,
    pub(crate) chunks_total: Option<u32>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// 100 ns since 1970-01-01Z, 0 before its first chunk.
    pub(crate) started: i64,
    pub(crate) ended: Option<i64>,
}

/// A table of a load that is not done.
#[derive(Debug)]
pub(in super::super) struct Table {
    pub(in super::super) stored: StoredTable,
    /// None once the load is done.
    pub(in super::super) live: Option<Live>,
    /// Chunks that have ended and are not in the target.
    pub(in super::super) pending: u32,
}

/// What changes and chunks of it are written with.
#[derive(Clone, Debug)]
pub(in super::super) struct Live {
    pub(in super::super) table: LoadTable,
    pub(in super::super) relation: Arc<Relation>,
    /// Bracketed, until the load's end.
    pub(in super::super) notes: Option<Arc<Notes>>,
}

/// A load.
#[derive(Debug)]
pub(in super::super) struct Load {
    pub(in super::super) id: Uuid,
    pub(in super::super) reload: bool,
    pub(in super::super) stage: Stage,
    pub(in super::super) consistent: Option<Position>,
    pub(in super::super) started: i64,
    pub(in super::super) tables: Vec<Table>,
}

/// The loads that are not done, oldest first, and the newest one.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(in super::super) loads: Vec<Load>,
}

impl Book {
    pub(in super::super) fn load(&mut self, id: Uuid) -> Option<&mut Load> {
        self.loads.iter_mut().find(|load| load.id == id)
    }

    pub(in super::super) fn table(&mut self, load: Uuid, table: TableId) -> Option<&mut Table> {
        self.load(load)?.tables.iter_mut().find(|t| t.stored.id == table)
    }

    /// A load begins: its tables leave others.
    pub(in super::super) fn begin(&mut self, load: Load) {
        for table in self.loads.iter_mut().flat_map(|load| &mut load.tables) {
            let source = &table.stored.source;
            if load.tables.iter().any(|t| t.stored.source == *source) {
                table.stored.stage = TableStage::Superseded;
                table.live = None;
            }
        }
        self.loads.retain(|load| load.stage != Stage::Done);
        self.loads.push(load);
    }

    /// How changes of a target table are written.
    pub(in super::super) fn regime(&self, relation: &Relation) -> Regime {
        for load in self.loads.iter().filter(|load| load.stage == Stage::Loading) {
            for table in &load.tables {
                let Some(live) = &table.live else { continue };
                if live.relation.name != relation.name {
                    continue;
                }
                return match (&live.notes, table.stored.stage) {
                    (Some(notes), _) => Regime::Loading(Arc::clone(notes)),
                    (None, TableStage::Read) => Regime::Beyond(table.stored.from),
                    (None, _) => Regime::Beyond(None),
                };
            }
        }
        Regime::Stream
    }

    /// What the log says of the source of a target table whose indexes are still to be made.
    pub(in super::super) fn defined(&self, name: &str) -> Option<&LoadTable> {
        let tables = self.loads.iter().rev().flat_map(|load| &load.tables);
        let live = tables.filter_map(|table| table.live.as_ref());
        live.filter(|live| live.relation.name == name).map(|live| &live.table).next()
    }

    /// Whether a table waits for rows of chunks that have ended.
    pub(crate) fn is_pending(&self, of: impl Fn(TableId) -> bool) -> bool {
        let mut tables = self.loads.iter().flat_map(|load| &load.tables);
        tables.any(|table| table.pending > 0 && of(table.stored.id))
    }

    /// A chunk is in the target.
    pub(in super::super) fn chunk_done(&mut self, done: &ChunkDone) {
        if let Some(table) = self.table(done.load, done.table) {
            table.pending = table.pending.saturating_sub(1);
            table.stored.chunks += 1;
            table.stored.rows += done.rows;
            table.stored.bytes += done.bytes;
        }
    }

    /// Whether no load has rows to come.
    pub(in super::super) fn is_settled(&self) -> bool {
        self.loads.iter().all(|load| load.stage != Stage::Loading)
    }

    /// The newest load, for people.
    pub(crate) fn status(&self) -> Option<LoadStatus> {
        let load = self.loads.last()?;
        let all_read = load.tables.iter().all(|t| t.stored.stage != TableStage::Loading);
        let state = match load.stage {
            Stage::Loading if all_read => LoadState::Converging,
            Stage::Loading => LoadState::Loading,
            Stage::Consistent => LoadState::Finishing,
            Stage::Done => LoadState::Done,
        };
        let waiting = match state {
            LoadState::Converging => Some("the stream reaching the load's end".to_owned()),
            LoadState::Finishing => Some("indexes and constraints".to_owned()),
            LoadState::Loading | LoadState::Done => None,
        };
        Some(LoadStatus {
            id: load.id.to_string(),
            state,
            tables: load
                .tables
                .iter()
                .map(|table| (table.stored.source.clone(), table.status()))
                .collect(),
            consistent: load.consistent,
            waiting,
            started: load.started,
        })
    }
}

impl Table {
    fn status(&self) -> TableLoadStatus {
        let stored = &self.stored;
        let state = match stored.stage {
            TableStage::Read | TableStage::Superseded => TableLoadState::Loaded,
            TableStage::Loading if stored.started == 0 => TableLoadState::Waiting,
            TableStage::Loading => TableLoadState::Loading,
        };
        let until = stored.ended.unwrap_or_else(record::now);
        let ticks = if stored.started == 0 { 0 } else { (until - stored.started).max(0) };
        // A duration is shown to the millisecond.
        let millis = u32::try_from(ticks / 10_000).unwrap_or(u32::MAX);
        TableLoadStatus {
            state,
            rows: stored.rows,
            rows_expected: None,
            bytes: stored.bytes,
            chunks: stored.chunks,
            chunks_total: stored.chunks_total,
            started: stored.started,
            seconds: f64::from(millis) / 1000.0,
        }
    }
}

impl Load {
    /// As the target's tables have it; what changes are written with comes later.
    pub(in super::super) fn restored(stored: StoredLoad) -> Self {
        let table = |stored| Table { stored, live: None, pending: 0 };
        Load {
            id: stored.id,
            reload: stored.reload,
            stage: stored.stage,
            consistent: stored.consistent,
            started: stored.started,
            tables: stored.tables.into_iter().map(table).collect(),
        }
    }
}
