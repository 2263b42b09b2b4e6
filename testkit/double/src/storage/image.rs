//! A whole database in bytes: checkpoint and backup are the same thing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::chain::TxnCell;
use super::codec::{Code, Damaged, Reader};
use super::log::{Change, LogRecord, LoggedTxn};
use super::state::State;
use super::table::Table;
use super::{LsnAllocator, Row, RowId, TableDef};

const MAGIC: &[u8; 8] = b"MSSQLDB7";

/// The committed state in bytes. To be called when no catalogue change is under way.
pub(super) fn write_image(state: &State, last_txn: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    state.info.put(&mut out);
    state.settings.put(&mut out);
    state.schemas.put(&mut out);
    state.types.put(&mut out);
    state.defs.as_ref().put(&mut out);
    state.next_object.put(&mut out);
    last_txn.put(&mut out);
    state.log.last.put(&mut out);
    state.log.captured.put(&mut out);
    put_tail(state, &mut out);
    (state.tables.len() as u64).put(&mut out);
    let mut ids: Vec<_> = state.tables.keys().collect();
    ids.sort();
    for table in ids.into_iter().filter_map(|id| state.tables.get(id)) {
        put_table(table, &mut out);
    }
    let sum = super::wal::checksum(&out);
    sum.put(&mut out);
    out
}

fn put_table(table: &Table, out: &mut Vec<u8>) {
    table.def.put(out);
    table.identity.put(out);
    table.next_row.put(out);
    for (id, chain) in table.chains() {
        if let Some(row) = chain.committed().and_then(|version| version.row.as_ref()) {
            true.put(out);
            id.put(out);
            row.row().put(out);
        }
    }
    false.put(out);
}

/// The log's tail; definitions are stored once each.
fn put_tail(state: &State, out: &mut Vec<u8>) {
    let mut defs: Vec<&Arc<TableDef>> = Vec::new();
    let mut places: HashMap<*const TableDef, u64> = HashMap::new();
    for def in state.log.tail.iter().flat_map(|txn| &txn.records).flat_map(definitions) {
        places.entry(Arc::as_ptr(def)).or_insert_with(|| {
            defs.push(def);
            defs.len() as u64 - 1
        });
    }
    let place = |def: &Arc<TableDef>| places.get(&Arc::as_ptr(def)).copied().unwrap_or(u64::MAX);
    (defs.len() as u64).put(out);
    defs.iter().for_each(|def| def.put(out));
    (state.log.tail.len() as u64).put(out);
    for txn in &state.log.tail {
        txn.id.put(out);
        txn.begin_lsn.put(out);
        txn.commit_lsn.put(out);
        txn.begin_time.put(out);
        txn.end_time.put(out);
        (txn.records.len() as u64).put(out);
        for record in &txn.records {
            record.lsn.put(out);
            place(&record.table).put(out);
            record.row.put(out);
            put_change(&record.change, place, out);
        }
    }
}

fn definitions(record: &LogRecord) -> impl Iterator<Item = &Arc<TableDef>> {
    let after = match &record.change {
        Change::Ddl { after, .. } => after.as_ref(),
        _ => None,
    };
    std::iter::once(&record.table).chain(after)
}

fn put_change(change: &Change, place: impl Fn(&Arc<TableDef>) -> u64, out: &mut Vec<u8>) {
    match change {
        Change::Insert { row } => {
            1u8.put(out);
            row.put(out);
        }
        Change::Delete { row } => {
            2u8.put(out);
            row.put(out);
        }
        Change::Update { before, after, set, pieces } => {
            3u8.put(out);
            before.put(out);
            after.put(out);
            set.put(out);
            pieces.put(out);
        }
        Change::KeyUpdate { before, after, set } => {
            4u8.put(out);
            before.put(out);
            after.put(out);
            set.put(out);
        }
        Change::Ddl { command, after, time } => {
            5u8.put(out);
            command.put(out);
            after.as_ref().map(place).put(out);
            time.put(out);
        }
    }
}

fn get_change(from: &mut Reader<'_>, defs: &[Arc<TableDef>]) -> Result<Change, Damaged> {
    Ok(match u8::get(from)? {
        1 => Change::Insert { row: from.get()? },
        2 => Change::Delete { row: from.get()? },
        3 => Change::Update {
            before: from.get()?,
            after: from.get()?,
            set: from.get()?,
            pieces: from.get()?,
        },
        4 => Change::KeyUpdate { before: from.get()?, after: from.get()?, set: from.get()? },
        5 => {
            let command = from.get()?;
            let after: Option<u64> = from.get()?;
            let after = after.map(|place| definition(defs, place)).transpose()?;
            Change::Ddl { command, after, time: from.get()? }
        }
        _ => return Err(Damaged("a log record")),
    })
}

fn definition(defs: &[Arc<TableDef>], place: u64) -> Result<Arc<TableDef>, Damaged> {
    let place = usize::try_from(place).map_err(|_| Damaged("a definition"))?;
    defs.get(place).cloned().ok_or(Damaged("a definition"))
}

fn get_tail(from: &mut Reader<'_>) -> Result<Vec<Arc<LoggedTxn>>, Damaged> {
    let defs: Vec<TableDef> = from.get()?;
    let defs: Vec<Arc<TableDef>> = defs.into_iter().map(Arc::new).collect();
    let count: u64 = from.get()?;
    let mut tail = Vec::new();
    for _ in 0..count {
        let mut txn = LoggedTxn {
            id: from.get()?,
            begin_lsn: from.get()?,
            commit_lsn: from.get()?,
            begin_time: from.get()?,
            end_time: from.get()?,
            records: Vec::new(),
        };
        let records: u64 = from.get()?;
        for _ in 0..records {
            txn.records.push(LogRecord {
                lsn: from.get()?,
                table: definition(&defs, from.get()?)?,
                row: from.get()?,
                change: get_change(from, &defs)?,
            });
        }
        tail.push(Arc::new(txn));
    }
    Ok(tail)
}

/// Reads an image: the state and the greatest transaction id it knows.
pub(super) fn read_image(bytes: &[u8]) -> Result<(State, u64), Damaged> {
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or(Damaged("an image too short"))?;
    if super::wal::checksum(body) != u32::from_le_bytes(*sum) {
        return Err(Damaged("an image with a wrong checksum"));
    }
    let body = body.strip_prefix(MAGIC).ok_or(Damaged("not an image"))?;
    let from = &mut Reader(body);
    let mut state = State::new(from.get()?);
    let settings: BTreeMap<String, String> = from.get()?;
    state.settings = settings;
    state.schemas = from.get()?;
    state.types = from.get()?;
    state.defs = Arc::new(from.get()?);
    state.next_object = from.get()?;
    let last_txn = from.get()?;
    state.log.last = from.get()?;
    state.log.captured = from.get()?;
    state.log.tail = get_tail(from)?.into();
    state.log.lsns = LsnAllocator::after(state.log.last);
    let count: u64 = from.get()?;
    let past = TxnCell::past();
    for _ in 0..count {
        let mut table = Table::new(Arc::new(from.get()?));
        table.identity = from.get()?;
        table.next_row = from.get()?;
        while from.get()? {
            let id: RowId = from.get()?;
            let row: Row = from.get()?;
            table.push(id, &past, 0, Some(row));
        }
        state.tables.insert(table.def.id, table);
    }
    Ok((state, last_txn))
}
