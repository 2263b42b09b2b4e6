//! The redo records of the log file, and their replay.
//!
//! The log file has redo only: a transaction's records go to it at its commit, so an open
//! transaction has nothing on disk to undo. A big transaction is cut into part frames; parts
//! without their commit frame are ignored. Before-images are not stored: replay runs in commit
//! order, writers of one row exclude each other to the end of their transactions, hence the row
//! as replayed so far *is* the before-image.

use std::collections::HashMap;
use std::sync::Arc;

use super::chain::TxnCell;
use super::codec::{Code, Damaged, Reader};
use super::image::read_image;
use super::log::{Change, LogRecord, LoggedTxn};
use super::state::{Redo, State, TxnState};
use super::table::Table;
use super::wal::Frames;
use super::{ColumnId, DatabaseInfo, Lsn, LsnAllocator, Micros, ObjectId, Row, RowId, TableDef};

/// Cut a transaction's records into parts of about this size.
const PART_BYTES: usize = 1 << 20;

/// A change outside transactions.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Info(DatabaseInfo),
    Text(String, Option<String>),
}

const PART: u8 = 1;
const COMMIT: u8 = 2;
const INFO: u8 = 3;
const TEXT: u8 = 4;

pub(super) fn write_setting(frames: &mut Frames<'_>, setting: &Setting) {
    frames.frame(|out| match setting {
        Setting::Info(info) => {
            INFO.put(out);
            info.put(out);
        }
        Setting::Text(key, value) => {
            TEXT.put(out);
            key.put(out);
            value.put(out);
        }
    });
}

/// Writes a transaction's frames.
pub(super) fn write_transaction(
    frames: &mut Frames<'_>,
    txn: &TxnState,
    commit_lsn: Lsn,
    end_time: Micros,
) {
    let mut records = txn.redo.iter().peekable();
    while records.peek().is_some() {
        frames.frame(|out| {
            PART.put(out);
            txn.cell.id.put(out);
            while out.len() < PART_BYTES
                && let Some(record) = records.next()
            {
                put_redo(record, out);
            }
        });
    }
    frames.frame(|out| {
        COMMIT.put(out);
        txn.cell.id.put(out);
        txn.begin_lsn.unwrap_or(commit_lsn).put(out);
        commit_lsn.put(out);
        txn.begin_time.put(out);
        end_time.put(out);
    });
}

fn put_redo(redo: &Redo, out: &mut Vec<u8>) {
    match redo {
        Redo::Row(record) => put_row_change(record, out),
        Redo::Create(def) => {
            10u8.put(out);
            def.put(out);
        }
        Redo::Alter { def, rows, logged } => {
            11u8.put(out);
            def.put(out);
            rows.put(out);
            ddl_of(logged.as_ref()).put(out);
        }
        Redo::Drop { table, logged } => {
            12u8.put(out);
            table.put(out);
            ddl_of(logged.as_ref()).put(out);
        }
        Redo::Truncate(table) => {
            13u8.put(out);
            table.put(out);
        }
        Redo::Schemas(schemas) => {
            14u8.put(out);
            schemas.put(out);
        }
        Redo::Types(types) => {
            17u8.put(out);
            types.put(out);
        }
        Redo::Defs(defs) => {
            18u8.put(out);
            defs.as_ref().put(out);
        }
        Redo::Cdc(on) => {
            15u8.put(out);
            on.put(out);
        }
        Redo::Captured(lsn) => {
            16u8.put(out);
            lsn.put(out);
        }
    }
}

fn put_row_change(record: &LogRecord, out: &mut Vec<u8>) {
    let tag: u8 = match &record.change {
        Change::Insert { .. } => 1,
        Change::Delete { .. } => 2,
        Change::Update { .. } => 3,
        Change::KeyUpdate { .. } => 4,
        // DDL travels with the catalogue change it belongs to.
        Change::Ddl { .. } => return,
    };
    tag.put(out);
    record.lsn.put(out);
    record.table.id.put(out);
    record.row.put(out);
    match &record.change {
        Change::Insert { row } => row.put(out),
        Change::Update { after, set, pieces, .. } => {
            after.put(out);
            set.put(out);
            pieces.put(out);
        }
        Change::KeyUpdate { after, set, .. } => {
            after.put(out);
            set.put(out);
        }
        _ => {}
    }
}

/// What is stored of a DDL record: LSN, text, time.
type StoredDdl = (Lsn, (String, Micros));

fn ddl_of(record: Option<&LogRecord>) -> Option<StoredDdl> {
    let record = record?;
    match &record.change {
        Change::Ddl { command, time, .. } => Some((record.lsn, (command.clone(), *time))),
        _ => None,
    }
}

/// Builds a database's state from an image and log frames.
pub(super) struct Replay {
    state: State,
    /// Parts of transactions whose commit frame has not come yet.
    parts: HashMap<u64, Vec<u8>>,
    past: Arc<TxnCell>,
    /// Greatest transaction id seen.
    pub(super) last_txn: u64,
}

impl Replay {
    pub(super) fn from_image(bytes: &[u8]) -> Result<Replay, Damaged> {
        let (state, last_txn) = read_image(bytes)?;
        Ok(Replay { state, parts: HashMap::new(), past: TxnCell::past(), last_txn })
    }

    /// Applies one frame.
    pub(super) fn apply(&mut self, frame: &[u8]) -> Result<(), Damaged> {
        let mut from = Reader(frame);
        match from.get()? {
            PART => {
                let txn: u64 = from.get()?;
                self.parts.entry(txn).or_default().extend_from_slice(from.0);
            }
            COMMIT => self.commit(&mut from)?,
            INFO => self.state.info = from.get()?,
            TEXT => match from.get::<(String, Option<String>)>()? {
                (key, Some(value)) => drop(self.state.settings.insert(key, value)),
                (key, None) => drop(self.state.settings.remove(&key)),
            },
            _ => return Err(Damaged("a frame of an unknown kind")),
        }
        Ok(())
    }

    /// The state, its LSNs continuing in a fresh block.
    pub(super) fn finish(mut self) -> State {
        self.state.log.lsns = LsnAllocator::after(self.state.log.last);
        self.state
    }

    fn commit(&mut self, from: &mut Reader<'_>) -> Result<(), Damaged> {
        let id: u64 = from.get()?;
        let (begin_lsn, commit_lsn): (Lsn, Lsn) = from.get()?;
        let (begin_time, end_time): (Micros, Micros) = from.get()?;
        let parts = self.parts.remove(&id).unwrap_or_default();
        let mut parts = Reader(&parts);
        let mut records = Vec::new();
        let mut captured = None;
        while !parts.0.is_empty() {
            records.extend(self.redo(&mut parts, &mut captured)?);
        }
        self.last_txn = self.last_txn.max(id);
        self.state.log.last = commit_lsn;
        if self.state.keeps_log {
            if !records.is_empty() {
                self.state.log.tail.push_back(Arc::new(LoggedTxn {
                    id,
                    begin_lsn,
                    commit_lsn,
                    begin_time,
                    end_time,
                    records,
                }));
            }
        } else {
            self.state.log.tail.clear();
        }
        if let Some(captured) = captured {
            self.state.log.truncate(captured);
        }
        Ok(())
    }

    /// Repeats one record; answers it if capture may want it.
    fn redo(
        &mut self,
        from: &mut Reader<'_>,
        captured: &mut Option<Lsn>,
    ) -> Result<Option<LogRecord>, Damaged> {
        match u8::get(from)? {
            tag @ 1..=4 => self.redo_row(tag, from),
            10 => {
                let def: Arc<TableDef> = Arc::new(from.get()?);
                self.state.next_object = self.state.next_object.max(last_object(&def) + 16);
                self.state.tables.insert(def.id, Table::new(def));
                Ok(None)
            }
            11 => self.redo_alter(from),
            12 => {
                let (table, ddl): (ObjectId, Option<StoredDdl>) = from.get()?;
                let old =
                    self.state.tables.remove(&table).ok_or(Damaged("a table that is not there"))?;
                Ok(ddl.map(|ddl| ddl_record(old.def, None, ddl)))
            }
            13 => {
                let table = self.table(from.get()?)?;
                let next_row = table.next_row;
                *table = Table::new(table.def.clone());
                table.next_row = next_row;
                Ok(None)
            }
            14 => {
                self.state.schemas = from.get()?;
                Ok(None)
            }
            17 => {
                self.state.types = from.get()?;
                Ok(None)
            }
            18 => {
                self.state.defs = Arc::new(from.get()?);
                Ok(None)
            }
            15 => {
                self.state.info.cdc_enabled = from.get()?;
                self.state.keeps_log = self.state.info.cdc_enabled;
                Ok(None)
            }
            16 => {
                *captured = Some(from.get()?);
                Ok(None)
            }
            _ => Err(Damaged("a record of an unknown kind")),
        }
    }

    fn table(&mut self, id: ObjectId) -> Result<&mut Table, Damaged> {
        self.state.tables.get_mut(&id).ok_or(Damaged("a table that is not there"))
    }

    fn redo_row(&mut self, tag: u8, from: &mut Reader<'_>) -> Result<Option<LogRecord>, Damaged> {
        let lsn: Lsn = from.get()?;
        let past = self.past.clone();
        let table = self.table(from.get()?)?;
        let row: RowId = from.get()?;
        let before = table.chain(row).and_then(|chain| Some(chain.head().row.as_ref()?.row()));
        let before = || before.clone().ok_or(Damaged("a row that is not there"));
        let (after, change) = match tag {
            1 => {
                let new: Row = from.get()?;
                table.note_inserted_identity(&new);
                (Some(new.clone()), Change::Insert { row: new })
            }
            2 => (None, Change::Delete { row: before()? }),
            _ => {
                let (after, set): (Row, Arc<[ColumnId]>) = from.get()?;
                let before = before()?;
                let change = if tag == 3 {
                    let pieces = from.get()?;
                    Change::Update { before, after: after.clone(), set, pieces }
                } else {
                    Change::KeyUpdate { before, after: after.clone(), set }
                };
                (Some(after), change)
            }
        };
        table.next_row = table.next_row.max(row.0 + 1);
        table.push(row, &past, 0, after);
        table.prune(row, u64::MAX);
        let def = table.def.clone();
        Ok(def.tracked_by_cdc().then_some(LogRecord { lsn, table: def, row, change }))
    }

    fn redo_alter(&mut self, from: &mut Reader<'_>) -> Result<Option<LogRecord>, Damaged> {
        let def: Arc<TableDef> = Arc::new(from.get()?);
        let rows: Option<Vec<(RowId, Row)>> = from.get()?;
        let ddl: Option<StoredDdl> = from.get()?;
        self.state.next_object = self.state.next_object.max(last_object(&def) + 16);
        let past = self.past.clone();
        let old = self.table(def.id)?;
        let old_def = old.def.clone();
        let mut new = Table::new(def.clone());
        new.identity = old.identity;
        new.next_row = old.next_row;
        let rows = rows.unwrap_or_else(|| {
            old.chains()
                .filter_map(|(id, chain)| Some((id, chain.head().row.as_ref()?.row())))
                .collect()
        });
        for (id, row) in rows {
            new.push(id, &past, 0, Some(row));
        }
        *old = new;
        Ok(ddl.map(|ddl| ddl_record(old_def, Some(def), ddl)))
    }
}

fn ddl_record(
    table: Arc<TableDef>,
    after: Option<Arc<TableDef>>,
    (lsn, (command, time)): StoredDdl,
) -> LogRecord {
    LogRecord { lsn, table, row: RowId(0), change: Change::Ddl { command, after, time } }
}

/// Greatest object id in a definition.
fn last_object(def: &TableDef) -> ObjectId {
    let indexes = def.indexes.iter().map(|index| index.constraint_id);
    let checks = def.checks.iter().map(|check| check.id);
    let keys = def.foreign_keys.iter().map(|key| key.id);
    indexes.chain(checks).chain(keys).fold(def.id, ObjectId::max)
}
