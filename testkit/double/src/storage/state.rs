//! What a database's mutex guards, and how a transaction ends.
//!
//! # Commit
//! 1. Under the mutex the transaction takes its commit LSN, hands its redo records to the log
//!    file's buffer and joins the queue of pending commits. Its locks stay.
//! 2. Without the mutex it waits until the file is durable up to its records.
//! 3. Under the mutex, whoever comes first finishes every pending commit that is durable, in the
//!    order of the queue: versions become visible, records reach the log's tail, locks go.
//!
//! So commits become visible in LSN order, never before they are durable, and a crash between
//! the steps leaves either a whole transaction in the file that nobody has seen yet (it is
//! there after the restart) or none. Without a file step 2 is empty.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::chain::{Sight, TxnCell};
use super::locks::LockBook;
use super::log::{Log, LogRecord, LoggedTxn};
use super::table::Table;
use super::{
    DatabaseDefs, DatabaseInfo, Lsn, Micros, ObjectId, RowId, RowLock, TableDef, TableLock, TxnId,
    TxnInfo, TypeDef,
};
use crate::{IsolationLevel, Value};

/// `@@DBTS` of a new database.
const FIRST_ROW_VERSION: u64 = 2000;

/// First `object_id` handed out.
const FIRST_OBJECT: ObjectId = 245_575_913;

/// A catalogue change as the redo log has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Redo {
    /// A row change; the log record carries it.
    Row(LogRecord),
    /// A table as it was created.
    Create(Arc<TableDef>),
    /// A table's new definition, with its rows where the change rewrote them.
    Alter { def: Arc<TableDef>, rows: Option<Vec<(RowId, super::Row)>>, logged: Option<LogRecord> },
    /// A table gone.
    Drop { table: ObjectId, logged: Option<LogRecord> },
    /// All rows of a table gone.
    Truncate(ObjectId),
    /// All schemas.
    Schemas(Vec<(i32, String)>),
    /// All alias types.
    Types(Vec<TypeDef>),
    /// All that the database has beside its objects.
    Defs(Arc<DatabaseDefs>),
    /// CDC of the database on or off.
    Cdc(bool),
    /// Capture is done up to here.
    Captured(Lsn),
}

/// How to take a step back.
pub(super) enum Undo {
    Row {
        table: ObjectId,
        row: RowId,
    },
    Create(ObjectId),
    Drop(ObjectId),
    Replace(Box<Table>),
    Schemas(Vec<(i32, String)>),
    Types(Vec<TypeDef>),
    Defs(Arc<DatabaseDefs>),
    Cdc(bool),
    /// A captured position that was to be confirmed.
    Captured(Option<Lsn>),
}

/// An open transaction.
pub(super) struct TxnState {
    pub(super) cell: Arc<TxnCell>,
    pub(super) isolation: IsolationLevel,
    pub(super) began_as: IsolationLevel,
    /// Commits a SNAPSHOT transaction sees, fixed at its first data access.
    pub(super) snapshot: Option<u64>,
    pub(super) undo: Vec<Undo>,
    pub(super) redo: Vec<Redo>,
    pub(super) begin_time: Micros,
    pub(super) begin_lsn: Option<Lsn>,
    pub(super) last_lsn: Option<Lsn>,
    pub(super) savepoint_lsn: Option<Lsn>,
    pub(super) log_records: u64,
    pub(super) table_locks: Vec<(ObjectId, TableLock)>,
    pub(super) statement_locks: Vec<(ObjectId, TableLock)>,
    pub(super) row_locks: Vec<(ObjectId, RowId)>,
    /// Rows that its statement keeps locked to its end.
    pub(super) statement_rows: Vec<(ObjectId, RowId)>,
    /// How many of them earlier statements took.
    pub(super) kept_rows: usize,
    /// Whether it has changed the catalogue.
    pub(super) ddl: bool,
    /// Position to confirm with the commit.
    pub(super) captured: Option<Lsn>,
}

impl TxnState {
    pub(super) fn new(id: TxnId, isolation: IsolationLevel, now: Micros) -> TxnState {
        TxnState {
            cell: TxnCell::open(id),
            isolation,
            began_as: isolation,
            snapshot: None,
            undo: Vec::new(),
            redo: Vec::new(),
            begin_time: now,
            begin_lsn: None,
            last_lsn: None,
            savepoint_lsn: None,
            log_records: 0,
            table_locks: Vec::new(),
            statement_locks: Vec::new(),
            row_locks: Vec::new(),
            statement_rows: Vec::new(),
            kept_rows: 0,
            ddl: false,
            captured: None,
        }
    }

    pub(super) fn info(&self) -> TxnInfo {
        TxnInfo {
            id: self.cell.id,
            begin_time: self.begin_time,
            begin_lsn: self.begin_lsn,
            last_lsn: self.last_lsn,
            savepoint_lsn: self.savepoint_lsn,
            log_records: self.log_records,
            snapshot: self.isolation == IsolationLevel::Snapshot,
        }
    }
}

/// A commit between its LSN and its visibility.
pub(super) struct Pending {
    pub(super) txn: TxnId,
    /// Position in the log file to wait for.
    pub(super) ticket: u64,
    pub(super) commit_lsn: Lsn,
    pub(super) end_time: Micros,
}

/// A row with versions that no view younger than `seq` can see.
struct Garbage {
    seq: u64,
    table: ObjectId,
    row: RowId,
}

pub(super) struct State {
    pub(super) info: DatabaseInfo,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) schemas: Vec<(i32, String)>,
    pub(super) types: Vec<TypeDef>,
    pub(super) defs: Arc<DatabaseDefs>,
    pub(super) tables: HashMap<ObjectId, Table>,
    /// Where a name was found last. Only a hint: what it leads to is looked at.
    found: RefCell<HashMap<String, HashMap<String, ObjectId>>>,
    pub(super) next_object: ObjectId,
    pub(super) txns: HashMap<TxnId, TxnState>,
    pub(super) pending: VecDeque<Pending>,
    pub(super) locks: LockBook,
    pub(super) log: Log,
    /// Commits made visible so far.
    pub(super) commits: u64,
    /// Row writes so far.
    pub(super) writes: u64,
    /// How many views stand at which commit.
    views: BTreeMap<u64, usize>,
    garbage: VecDeque<Garbage>,
    /// Whether CDC is on as committed: the log's tail is kept for capture.
    pub(super) keeps_log: bool,
    /// Counts restores: what was read before one means nothing after it.
    pub(super) incarnation: u64,
}

impl State {
    pub(super) fn new(info: DatabaseInfo) -> State {
        let schemas = [(1, "dbo"), (2, "guest"), (3, "INFORMATION_SCHEMA"), (4, "sys")];
        State {
            keeps_log: info.cdc_enabled,
            info,
            settings: BTreeMap::new(),
            schemas: schemas.map(|(id, name)| (id, name.to_owned())).to_vec(),
            types: Vec::new(),
            defs: Arc::default(),
            tables: HashMap::new(),
            found: RefCell::default(),
            next_object: FIRST_OBJECT,
            txns: HashMap::new(),
            pending: VecDeque::new(),
            locks: LockBook::default(),
            log: Log::default(),
            commits: 1,
            writes: 0,
            views: BTreeMap::new(),
            garbage: VecDeque::new(),
            incarnation: 0,
        }
    }

    /// A `rowversion` behind every one that is stored.
    pub(super) fn last_row_version(&self) -> u64 {
        let stored = self.tables.values().filter_map(|table| {
            let at = table.def.row_version()?;
            let versions = table.chains().filter_map(|(_, chain)| {
                match chain.head().row.as_ref()?.value(at) {
                    Value::Binary(bytes) => Some(u64::from_be_bytes(*bytes.first_chunk()?)),
                    _ => None,
                }
            });
            versions.max()
        });
        // Some may have been given to rows that are gone.
        stored.max().map_or(FIRST_ROW_VERSION, |last| last + 1000)
    }

    /// Object ids are not consecutive on a server, so that nobody comes to rely on it.
    pub(super) fn take_object_id(&mut self) -> ObjectId {
        let id = self.next_object;
        self.next_object = self.next_object.checked_add(16).unwrap_or(FIRST_OBJECT / 2);
        id
    }

    pub(super) fn txn(&mut self, id: TxnId) -> Option<&mut TxnState> {
        self.txns.get_mut(&id)
    }

    /// Writes a log record for a transaction; the first one is preceded by its begin record.
    pub(super) fn write_log(&mut self, txn: TxnId, bytes: u64, now: Micros) -> Lsn {
        let State { txns, log, .. } = self;
        let Some(state) = txns.get_mut(&txn) else {
            return log.write(bytes);
        };
        if state.begin_lsn.is_none() {
            state.begin_lsn = Some(log.write(100));
            state.begin_time = now;
            state.log_records += 1;
        }
        let lsn = log.write(bytes);
        state.last_lsn = Some(lsn);
        state.log_records += 1;
        lsn
    }

    // ---- views -----------------------------------------------------------------------------

    pub(super) fn register_view(&mut self, seq: u64) {
        *self.views.entry(seq).or_default() += 1;
    }

    pub(super) fn release_view(&mut self, seq: u64) {
        if let Some(count) = self.views.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                self.views.remove(&seq);
            }
        }
        self.collect_garbage();
    }

    fn collect_garbage(&mut self) {
        let horizon = self.views.keys().next().copied().unwrap_or(self.commits);
        while let Some(garbage) = self.garbage.front()
            && garbage.seq <= horizon
        {
            if let Some(table) = self.tables.get_mut(&garbage.table) {
                table.prune(garbage.row, horizon);
            }
            self.garbage.pop_front();
        }
    }

    // ---- the end of a transaction ----------------------------------------------------------

    /// Undoes a transaction's steps down to the first `undo` and `redo` ones. Every step back
    /// writes a compensation record.
    pub(super) fn roll_back(&mut self, txn: TxnId, undo: usize, redo: usize, now: Micros) {
        let Some(state) = self.txns.get_mut(&txn) else {
            return;
        };
        let steps = state.undo.split_off(undo.min(state.undo.len()));
        state.redo.truncate(redo);
        for step in steps.into_iter().rev() {
            self.write_log(txn, 64, now);
            self.step_back(txn, step);
        }
    }

    fn step_back(&mut self, txn: TxnId, step: Undo) {
        match step {
            Undo::Row { table, row } => {
                if let Some(table) = self.tables.get_mut(&table) {
                    table.pop(row);
                }
            }
            Undo::Create(table) => {
                self.tables.remove(&table);
            }
            Undo::Drop(table) => {
                if let Some(table) = self.tables.get_mut(&table) {
                    table.dropped_by = None;
                }
            }
            Undo::Replace(table) => {
                self.tables.insert(table.def.id, *table);
            }
            Undo::Schemas(schemas) => self.schemas = schemas,
            Undo::Types(types) => self.types = types,
            Undo::Defs(defs) => self.defs = defs,
            Undo::Cdc(on) => self.info.cdc_enabled = on,
            Undo::Captured(lsn) => {
                if let Some(state) = self.txns.get_mut(&txn) {
                    state.captured = lsn;
                }
            }
        }
    }

    /// Rolls a whole transaction back and forgets it.
    pub(super) fn abort(&mut self, txn: TxnId, now: Micros) {
        self.roll_back(txn, 0, 0, now);
        if self.txns.get(&txn).is_some_and(|state| state.begin_lsn.is_some()) {
            self.write_log(txn, 64, now);
        }
        if let Some(state) = self.txns.remove(&txn) {
            self.release(state);
        }
    }

    /// Makes every pending commit visible whose records are durable up to `durable`.
    pub(super) fn finish(&mut self, durable: u64) -> bool {
        let mut any = false;
        while let Some(pending) = self.pending.front()
            && pending.ticket <= durable
        {
            if let Some(pending) = self.pending.pop_front()
                && let Some(state) = self.txns.remove(&pending.txn)
            {
                self.make_visible(&pending, state);
                any = true;
            }
        }
        if any {
            self.collect_garbage();
        }
        any
    }

    fn make_visible(&mut self, pending: &Pending, mut state: TxnState) {
        self.commits += 1;
        let seq = self.commits;
        state.cell.commit(seq);
        for step in &state.undo {
            match step {
                Undo::Row { table, row } => {
                    // A row that has only just come has nothing behind it.
                    let chain = self.tables.get(table).and_then(|table| table.chain(*row));
                    let dead = chain.is_some_and(|chain| {
                        !chain.older().is_empty() || chain.head().row.is_none()
                    });
                    if dead {
                        self.garbage.push_back(Garbage { seq, table: *table, row: *row });
                    }
                }
                Undo::Create(table) => {
                    if let Some(table) = self.tables.get_mut(table) {
                        table.created_by = None;
                        table.changed = seq;
                    }
                }
                Undo::Drop(table) => {
                    self.tables.remove(table);
                }
                Undo::Replace(old) => {
                    if let Some(table) = self.tables.get_mut(&old.def.id) {
                        table.changed = seq;
                    }
                }
                Undo::Cdc(_) => self.keeps_log = self.info.cdc_enabled,
                Undo::Schemas(_) | Undo::Types(_) | Undo::Defs(_) | Undo::Captured(_) => {}
            }
        }
        let records = logged(std::mem::take(&mut state.redo));
        if self.keeps_log && !records.is_empty() {
            self.log.tail.push_back(Arc::new(LoggedTxn {
                id: state.cell.id,
                begin_lsn: state.begin_lsn.unwrap_or(pending.commit_lsn),
                commit_lsn: pending.commit_lsn,
                begin_time: state.begin_time,
                end_time: pending.end_time,
                records,
            }));
        }
        if !self.keeps_log {
            self.log.tail.clear();
        }
        if let Some(captured) = state.captured {
            self.log.truncate(captured);
        }
        self.release(state);
    }

    fn release(&mut self, state: TxnState) {
        let id = state.cell.id;
        for (table, lock) in state.table_locks {
            self.locks.unlock_table(table, id, lock);
        }
        for (table, lock) in state.statement_locks {
            self.locks.unlock_table(table, id, lock);
        }
        for row in state.row_locks.into_iter().chain(state.statement_rows) {
            self.locks.unlock_row(row, id);
        }
        if let Some(seq) = state.snapshot {
            self.release_view(seq);
        }
    }

    /// A table by name as a transaction sees the catalogue: its own DDL; of others', a table
    /// created (the caller will wait for it) and not yet one dropped.
    pub(super) fn find_table(&self, schema: &str, name: &str, txn: TxnId) -> Option<ObjectId> {
        let is_it =
            |table: &&Table| table.def.is_named(schema, name) && table.dropped_by != Some(txn);
        let mut found = self.found.borrow_mut();
        let hint = found.get(schema).and_then(|names| names.get(name));
        if let Some(table) = hint.and_then(|id| self.tables.get(id)).filter(is_it) {
            return Some(table.def.id);
        }
        // A name may be written in many ways, and few of them are.
        let id = self.tables.values().find(is_it)?.def.id;
        if !found.contains_key(schema) {
            found.insert(schema.to_owned(), HashMap::new());
        }
        let names = found.get_mut(schema)?;
        if names.len() > 2 * self.tables.len() {
            names.clear();
        }
        names.insert(name.to_owned(), id);
        Some(id)
    }

    /// Whether a transaction has changed the catalogue without an end yet.
    pub(super) fn ddl_under_way(&self) -> bool {
        self.txns.values().any(|txn| txn.ddl)
    }

    /// What a transaction sees now.
    pub(super) fn sight(&self, txn: TxnId) -> Sight {
        let snapshot = self.txns.get(&txn).and_then(|state| state.snapshot);
        Sight { seq: snapshot.unwrap_or(self.commits), txn, own: self.writes, dirty: false }
    }

    /// Whose locks and writes stand against `lock` on a row.
    pub(super) fn row_blockers(
        &self,
        table: ObjectId,
        row: RowId,
        txn: TxnId,
        lock: RowLock,
    ) -> Vec<TxnId> {
        let mut blockers = self.locks.against_row((table, row), txn, lock);
        let writer = self.tables.get(&table).and_then(|table| table.chain(row)?.writer());
        blockers.extend(writer.filter(|writer| *writer != txn));
        blockers
    }
}

/// The records that capture may want.
pub(super) fn logged(redo: Vec<Redo>) -> Vec<LogRecord> {
    redo.into_iter()
        .filter_map(|redo| match redo {
            Redo::Row(record) => record.table.tracked_by_cdc().then_some(record),
            Redo::Alter { logged, .. } | Redo::Drop { logged, .. } => logged,
            _ => None,
        })
        .collect()
}
