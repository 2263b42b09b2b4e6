//! A source made up: writes transactions into a log as capture would.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lockstep_common::codec::entry::{EntryKey, SchemaEntry};
use lockstep_common::codec::{self, ChunkHead, ChunkWriter, FragmentHead, FragmentWriter};
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::model::record::{
    Before, Body, Boundary, Change, ChunkBegin, ChunkEnd, EpochStart, Operation, Part, Progress,
    Record,
};
use lockstep_common::{Column, LogicalType, Position, TableId, TableName, TableVersion, Value};
use lockstep_log::{Entry, Log, Stream, Writer};
use uuid::Uuid;

pub struct Source {
    writer: Box<dyn Writer>,
    pub log_id: Uuid,
    pub epoch: u64,
    /// Number of the newest position.
    pub at: u64,
}

/// Position number `n`.
pub fn at(n: u64) -> Position {
    Position::new(1, &n.to_be_bytes()).expect("eight bytes fit")
}

/// A second per position.
pub fn time(n: u64) -> i64 {
    i64::try_from(n).unwrap() * 10_000_000
}

impl Source {
    /// Takes the log over, as a capture does when it starts.
    pub async fn new(log: &Arc<dyn Log>) -> Self {
        let (writer, tail) = log.writer().await.expect("a writer");
        let number = |position: Position| {
            position.source().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
        };
        let mut source = Source {
            writer,
            log_id: tail.log_id,
            epoch: tail.epoch + 1,
            at: tail.position.map_or(0, number),
        };
        let start = EpochStart { host: "h".into(), version: "v".into(), source: "s".into() };
        source.append_body(source.at, source.at, Body::Epoch(start)).await;
        source
    }

    pub async fn table(&mut self, version: &TableVersion) -> TableId {
        let id = version.id();
        let payload = SchemaEntry::Table(version.clone()).encode();
        self.append(vec![Entry {
            stream: Stream::Schemas,
            key: Some(EntryKey::Table(id).to_bytes().into()),
            headers: None,
            payload: payload.into(),
        }])
        .await;
        id
    }

    pub async fn append(&mut self, entries: Vec<Entry>) {
        self.writer.append(entries).await.expect("appended");
        self.writer.commit().await.expect("committed");
    }

    pub async fn append_body(&mut self, n: u64, after: u64, body: Body<'_>) {
        self.append_record(n, after, BTreeMap::new(), body).await;
    }

    async fn append_record(
        &mut self,
        n: u64,
        after: u64,
        attributes: BTreeMap<String, String>,
        body: Body<'_>,
    ) {
        let record = Record {
            log_id: self.log_id,
            epoch: self.epoch,
            position: at(n),
            after: at(after),
            time: time(n),
            skippable: false,
            attributes,
            body,
        };
        let mut payload = Vec::new();
        codec::encode(&record, &mut payload);
        self.append(vec![entry(n, 0, payload.into())]).await;
    }

    /// One transaction in one fragment; gives its number.
    pub async fn commit(&mut self, changes: &[Change<'_>]) -> u64 {
        self.commit_all(&[changes.to_vec()]).await
    }

    /// Many transactions in one log transaction; gives the last one's number.
    pub async fn commit_all(&mut self, transactions: &[Vec<Change<'_>>]) -> u64 {
        let mut entries = Vec::new();
        for changes in transactions {
            let mut writer = self.begin();
            changes.iter().for_each(|change| writer.push_change(change));
            entries.push(entry(self.at, 0, writer.finish()));
        }
        self.append(entries).await;
        self.at
    }

    /// One transaction, so many changes to a fragment.
    pub async fn commit_in_fragments(&mut self, changes: &[Change<'_>], each: usize) -> u64 {
        let entries = self.fragments(changes, each);
        self.append(entries).await;
        self.at
    }

    /// The records of the next transaction.
    pub fn fragments(&mut self, changes: &[Change<'_>], each: usize) -> Vec<Entry> {
        let mut writer = self.begin();
        let mut entries = Vec::new();
        let mut chunks = changes.chunks(each).peekable();
        while let Some(chunk) = chunks.next() {
            chunk.iter().for_each(|change| writer.push_change(change));
            if chunks.peek().is_some() {
                let index = writer.index();
                entries.push(entry(self.at, index, writer.cut()));
            }
        }
        let index = writer.index();
        entries.push(entry(self.at, index, writer.finish()));
        entries
    }

    /// A transaction whose long values go ahead in parts of `piece` bytes, a fragment each.
    pub async fn commit_long(
        &mut self,
        longs: &[(u32, &[u8])],
        changes: &[Change<'_>],
        piece: usize,
    ) -> u64 {
        let mut writer = self.begin();
        let mut entries = Vec::new();
        for (id, bytes) in longs {
            for data in bytes.chunks(piece) {
                writer.push_part(&Part { id: *id, data: Cow::Borrowed(data) });
                let index = writer.index();
                entries.push(entry(self.at, index, writer.cut()));
            }
        }
        changes.iter().for_each(|change| writer.push_change(change));
        let index = writer.index();
        entries.push(entry(self.at, index, writer.finish()));
        self.append(entries).await;
        self.at
    }

    // --- Full loads -----------------------------------------------------------------------------

    /// A table with a definition that has nothing.
    pub async fn defined(&mut self, version: &TableVersion) -> TableId {
        let definition = bare(version);
        self.table_with(version, definition).await
    }

    pub async fn table_with(&mut self, version: &TableVersion, definition: Definition) -> TableId {
        let id = self.table(version).await;
        let entry = SchemaEntry::Definition(definition);
        let (key, payload) = (entry.key(), entry.encode());
        self.append(vec![Entry {
            stream: Stream::Schemas,
            key: Some(key.into()),
            headers: None,
            payload: payload.into(),
        }])
        .await;
        id
    }

    pub async fn marker(&mut self, marker: LoadMarker) {
        let (name, attributes) = marker.to_marker();
        self.append_record(self.at, self.at, attributes, Body::Marker { name }).await;
    }

    pub async fn begin_load(&mut self, load: Uuid, tables: &[(TableId, Handoff)]) {
        let tables = tables.to_vec();
        self.marker(LoadMarker::Begin { load, reload: false, tables }).await;
    }

    pub async fn end_load(&mut self, load: Uuid) {
        self.marker(LoadMarker::End { load, consistent: at(self.at) }).await;
    }

    pub async fn chunk_begin(
        &mut self,
        (load, table, chunk): (Uuid, TableId, u32),
        attributes: ChunkAttributes,
    ) {
        let begin = ChunkBegin { load, chunk, table, lower: None, upper: None };
        let attributes = attributes.to_attributes();
        self.append_record(self.at, self.at, attributes, Body::ChunkBegin(begin)).await;
    }

    /// Rows of a chunk, so many to a record; gives where they are.
    pub async fn chunk_rows(
        &mut self,
        (load, table, chunk): (Uuid, TableId, u32),
        partition: u32,
        rows: &[Vec<Value<'static>>],
        each: usize,
    ) -> Option<(u64, u64)> {
        let mut writer = ChunkWriter::new(&self.chunk_head(load, table, chunk));
        let mut payloads = Vec::new();
        for some in rows.chunks(each) {
            some.iter().for_each(|row| writer.push_row(row));
            payloads.push(writer.cut());
        }
        self.chunk_records(partition, payloads).await
    }

    pub fn chunk_head(&self, load: Uuid, table: TableId, chunk: u32) -> ChunkHead {
        ChunkHead {
            log_id: self.log_id,
            epoch: self.epoch,
            position: at(self.at),
            after: at(self.at),
            time: time(self.at),
            load,
            chunk,
            table,
        }
    }

    pub async fn chunk_records(
        &mut self,
        partition: u32,
        payloads: Vec<Bytes>,
    ) -> Option<(u64, u64)> {
        let stream = Stream::Snapshot(partition);
        let count = payloads.len() as u64;
        let entry = |payload| Entry { stream, key: None, headers: None, payload };
        self.append(payloads.into_iter().map(entry).collect()).await;
        let last = self.writer.newest(stream).await.expect("an offset")?;
        (count > 0).then(|| (last + 1 - count, last))
    }

    pub async fn chunk_end(
        &mut self,
        (load, table, chunk): (Uuid, TableId, u32),
        partition: u32,
        offsets: Option<(u64, u64)>,
        rows: usize,
    ) {
        let rows = rows as u64;
        let end = ChunkEnd { load, chunk, table, partition, offsets, rows };
        self.append_body(self.at, self.at, Body::ChunkEnd(end)).await;
    }

    /// A whole chunk, in one go.
    pub async fn chunk(
        &mut self,
        chunk: (Uuid, TableId, u32),
        attributes: ChunkAttributes,
        rows: &[Vec<Value<'static>>],
    ) {
        let partition = chunk.2 % 4;
        self.chunk_begin(chunk, attributes).await;
        let offsets = self.chunk_rows(chunk, partition, rows, 2).await;
        self.chunk_end(chunk, partition, offsets, rows.len()).await;
    }

    pub async fn table_read(&mut self, load: Uuid, table: TableId, chunks: u32, rows: u64) {
        self.marker(LoadMarker::TableRead { load, table, chunks, rows }).await;
    }

    pub async fn progress(&mut self) -> u64 {
        self.at += 1;
        self.append_body(self.at, self.at - 1, Body::Progress(Progress::default())).await;
        self.at
    }

    fn begin(&mut self) -> FragmentWriter {
        self.at += 1;
        FragmentWriter::new(&self.head(self.at, self.at - 1))
    }

    pub fn head(&self, n: u64, after: u64) -> FragmentHead {
        FragmentHead {
            log_id: self.log_id,
            epoch: self.epoch,
            position: at(n),
            after: at(after),
            time: time(n),
            attributes: BTreeMap::new(),
            boundary: Boundary::SourceTransaction,
            transaction_id: None,
            source_time: None,
        }
    }
}

pub fn entry(n: u64, index: u32, payload: Bytes) -> Entry {
    Entry { stream: Stream::Transactions, key: None, headers: Some((at(n), index)), payload }
}

/// A table of schema `dbo`; the first `keys` columns are its key.
pub fn table(name: &str, keys: u16, columns: &[(&str, LogicalType)]) -> TableVersion {
    TableVersion {
        dialect: "sqlserver".into(),
        object_id: 1,
        origin: None,
        name: TableName { schema: "dbo".into(), table: name.into() },
        columns: columns
            .iter()
            .enumerate()
            .map(|(i, (name, ty))| Column {
                id: None,
                name: (*name).into(),
                ty: ty.clone(),
                source_type: format!("{ty:?}"),
                nullable: i >= usize::from(keys),
                collation: None,
                identity: false,
                computed: false,
            })
            .collect(),
        key: (0..keys).collect(),
    }
}

/// A table of schema `dbo` whose columns have these source types; the first `keys` are its key.
/// A definition that says nothing beyond the table.
pub fn bare(version: &TableVersion) -> Definition {
    Definition {
        table: version.id(),
        name: version.name.clone(),
        columns: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        others: Vec::new(),
    }
}

pub fn typed(name: &str, keys: u16, columns: &[(&str, &str, LogicalType)]) -> TableVersion {
    let plain: Vec<_> = columns.iter().map(|(name, _, ty)| (*name, ty.clone())).collect();
    let mut version = table(name, keys, &plain);
    for (column, (_, source_type, _)) in version.columns.iter_mut().zip(columns) {
        column.source_type = (*source_type).to_owned();
    }
    version
}

/// A text column's collation, for tables whose keys are text.
pub fn collated(version: &mut TableVersion, column: &str, collation: &str) {
    let found: Option<&mut Column> = version.columns.iter_mut().find(|c| c.name == column);
    found.expect("a column").collation = Some(collation.to_owned());
}

pub const INT: LogicalType = LogicalType::Int { bytes: 4 };
pub const BIGINT: LogicalType = LogicalType::Int { bytes: 8 };
pub const TEXT: LogicalType = LogicalType::String { max: None, fixed: false };

/// `accounts(id int key, owner text, balance int)`
pub fn accounts() -> TableVersion {
    table("accounts", 1, &[("id", INT), ("owner", TEXT), ("balance", INT)])
}

pub fn int(value: i64) -> Value<'static> {
    Value::I64(value)
}

pub fn text(value: &str) -> Value<'static> {
    Value::String(Cow::Owned(value.to_owned()))
}

pub fn account(id: i64, owner: &str, balance: i64) -> Vec<Value<'static>> {
    vec![int(id), text(owner), int(balance)]
}

pub fn insert(table: TableId, after: Vec<Value<'static>>) -> Change<'static> {
    change(table, Operation::Insert, Before::None, after)
}

pub fn update(
    table: TableId,
    before: Vec<Value<'static>>,
    after: Vec<Value<'static>>,
) -> Change<'static> {
    change(table, Operation::Update, Before::Full(before), after)
}

pub fn delete(table: TableId, before: Vec<Value<'static>>) -> Change<'static> {
    change(table, Operation::Delete, Before::Full(before), Vec::new())
}

pub fn change(
    table: TableId,
    operation: Operation,
    before: Before<'static>,
    after: Vec<Value<'static>>,
) -> Change<'static> {
    let changed = match (&operation, &before) {
        (Operation::Update, Before::Full(before)) => {
            let mut mask = vec![0u8; after.len().div_ceil(8)];
            for (i, (old, new)) in before.iter().zip(&after).enumerate() {
                mask[i / 8] |= u8::from(old != new) << (i % 8);
            }
            mask
        }
        _ => Vec::new(),
    };
    Change {
        table,
        operation,
        changed: Cow::Owned(changed),
        before,
        after,
        attributes: BTreeMap::new(),
    }
}
