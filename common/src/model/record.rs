//! What stands in the log: the records of `<pipeline>.transactions` and `<pipeline>.snapshot`,
//! major version 1.
//!
//! Every kind of the major version is here, produced yet or not, so that a reader of this version
//! can tell what it may pass over from what must stop it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{Position, TableId, TableName, Value};

/// A record of the transaction or a snapshot stream.
///
/// Numbers that are unsigned here are Avro `long`s: at most `i64::MAX`.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// Identity of the log, made when the log was; a reader halts on another one.
    pub log_id: Uuid,
    /// Which writer wrote it: each capture start takes the next epoch. A higher epoch voids
    /// unfinished fragments before it; a lower one after it is an error.
    pub epoch: u64,
    /// The position it brings the reader to.
    pub position: Position,
    /// The position of the complete transaction or progress record before it. A reader whose
    /// checkpoint is below this has lost something and halts.
    pub after: Position,
    /// Commit (or observation) time, 100 ns since 1970-01-01Z, never decreasing along the log.
    pub time: i64,
    /// A reader that does not know the kind may pass over it.
    pub skippable: bool,
    /// User, origin and the like.
    pub attributes: BTreeMap<String, String>,
    /// What it says.
    pub body: Body<'a>,
}

/// The kinds of record.
#[derive(Clone, Debug, PartialEq)]
pub enum Body<'a> {
    /// A transaction, or a piece of one.
    Fragment(Fragment<'a>),
    /// The source is here and had nothing more up to it.
    Progress(Progress),
    /// A writer took over.
    Epoch(EpochStart),
    /// An operator declared a new timeline.
    Timeline(TimelineStart),
    /// A table changed its shape.
    SchemaChange(SchemaChange),
    /// A chunk of a full load is about to be read.
    ChunkBegin(ChunkBegin),
    /// A chunk has been read.
    ChunkEnd(ChunkEnd),
    /// A named point.
    Marker {
        /// Its name.
        name: String,
    },
    /// Rows of a chunk; in a snapshot stream only. Not part of the order: its record repeats the
    /// position, `after` and time of the chunk's begin.
    ChunkRows(ChunkRows<'a>),
}

/// The source's own row for a position at which nothing was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The source's identifier of the transaction there, where it has one.
    pub transaction_id: Option<Vec<u8>>,
    /// The source's raw time of it.
    pub source_time: Option<SourceTime>,
}

/// What a fragment's transaction is in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// A transaction of the source.
    SourceTransaction,
    /// Changes the source could not group.
    Batch,
}

/// A transaction whole (`index` 0 and `last`) or the `index`th piece of it.
///
/// Order within: parts first, then changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragment<'a> {
    /// What the transaction is in the source.
    pub boundary: Boundary,
    /// The source's identifier of the transaction, where it has one.
    pub transaction_id: Option<Vec<u8>>,
    /// The source's raw commit time, as its own text, and the UTC offset valid then in minutes.
    pub source_time: Option<SourceTime>,
    /// From 0.
    pub index: u32,
    /// No more fragments of this transaction follow.
    pub last: bool,
    /// Changes in the fragments before this one.
    pub changes_before: u64,
    /// Changes per table over the whole transaction; on the last fragment only.
    pub totals: Vec<TableTotal>,
    /// Pieces of long values, ahead of the changes that name them.
    pub parts: Vec<Part<'a>>,
    /// The changes, in source order.
    pub changes: Vec<Change<'a>>,
}

/// A time as the source gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTime {
    /// The source's text of it, e.g. `2026-11-23 10:00:00.003`.
    pub raw: String,
    /// UTC offset of the source in force at that moment, minutes.
    pub offset: i16,
}

/// How many changes a transaction made to one table version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableTotal {
    /// Which version.
    pub table: TableId,
    /// Changes, of any operation.
    pub changes: u64,
}

/// A piece of a long value; pieces of one value come in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'a> {
    /// The value's number within its transaction.
    pub id: u32,
    /// The bytes.
    pub data: Cow<'a, [u8]>,
}

/// Operations on rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A row appeared; `after` is it.
    Insert,
    /// A row changed; `after` is what is known of it now.
    Update,
    /// A row went; `before` is what is known of it.
    Delete,
    /// All rows went.
    Truncate,
}

/// What a before image holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Before<'a> {
    /// Nothing.
    None,
    /// The key's columns, in key order.
    Key(Vec<Value<'a>>),
    /// Every column, in column order; some may be [`Value::Unavailable`].
    Full(Vec<Value<'a>>),
}

/// One change of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'a> {
    /// Table version the row is in.
    pub table: TableId,
    /// What happened.
    pub operation: Operation,
    /// For an update: bit `i % 8` of byte `i / 8` says that column `i` was set. Empty otherwise.
    pub changed: Cow<'a, [u8]>,
    /// The row before.
    pub before: Before<'a>,
    /// The row after, in column order; empty for deletes and truncates.
    pub after: Vec<Value<'a>>,
    /// User, origin and the like.
    pub attributes: BTreeMap<String, String>,
}

/// The first record of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// Host of the writer.
    pub host: String,
    /// Version of the writer.
    pub version: String,
    /// The source's identity (server, database), for people.
    pub source: String,
}

/// An operator's declaration after a halt: what follows is another history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineStart {
    /// Where the old timeline ended.
    pub old_end: Position,
    /// Where the new one starts.
    pub new_start: Position,
    /// Why.
    pub reason: String,
}

/// A change of a table's shape, in commit order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// The table.
    pub table: TableName,
    /// Version before, if it was known.
    pub old: Option<TableId>,
    /// Version after, none when dropped.
    pub new: Option<TableId>,
    /// The source's statement.
    pub ddl: String,
}

/// The bracket before a chunk's rows are read.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkBegin {
    /// The load it belongs to.
    pub load: Uuid,
    /// Number of the chunk within the load.
    pub chunk: u32,
    /// Table version being loaded.
    pub table: TableId,
    /// Key the range begins above; none is open.
    pub lower: Option<Vec<Value<'static>>>,
    /// Key the range ends at, inclusive; none is open.
    pub upper: Option<Vec<Value<'static>>>,
}

/// The bracket after a chunk's rows are in the snapshot stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkEnd {
    /// The load it belongs to.
    pub load: Uuid,
    /// Number of the chunk within the load.
    pub chunk: u32,
    /// Table version loaded.
    pub table: TableId,
    /// Snapshot partition the rows are in.
    pub partition: u32,
    /// Offsets of its first and last record there; none for an empty chunk.
    pub offsets: Option<(u64, u64)>,
    /// Rows.
    pub rows: u64,
}

/// Some of the rows of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkRows<'a> {
    /// The load it belongs to.
    pub load: Uuid,
    /// Number of the chunk within the load.
    pub chunk: u32,
    /// Table version being loaded.
    pub table: TableId,
    /// Number of this record within the chunk, from 0.
    pub index: u32,
    /// Pieces of long values, ahead of the rows that name them; ids are counted per chunk.
    pub parts: Vec<Part<'a>>,
    /// The rows, in column order.
    pub rows: Vec<Vec<Value<'a>>>,
}

impl Record<'_> {
    /// The same record, owning its bytes.
    pub fn into_owned(self) -> Record<'static> {
        Record { body: self.body.into_owned(), ..self }
    }
}

impl Body<'_> {
    /// The same body, owning its bytes.
    pub fn into_owned(self) -> Body<'static> {
        match self {
            Body::Fragment(v) => Body::Fragment(v.into_owned()),
            Body::Progress(v) => Body::Progress(v),
            Body::Epoch(v) => Body::Epoch(v),
            Body::Timeline(v) => Body::Timeline(v),
            Body::SchemaChange(v) => Body::SchemaChange(v),
            Body::ChunkBegin(v) => Body::ChunkBegin(v),
            Body::ChunkEnd(v) => Body::ChunkEnd(v),
            Body::Marker { name } => Body::Marker { name },
            Body::ChunkRows(v) => Body::ChunkRows(v.into_owned()),
        }
    }
}

impl Fragment<'_> {
    /// The same fragment, owning its bytes.
    pub fn into_owned(self) -> Fragment<'static> {
        Fragment {
            boundary: self.boundary,
            transaction_id: self.transaction_id,
            source_time: self.source_time,
            index: self.index,
            last: self.last,
            changes_before: self.changes_before,
            totals: self.totals,
            parts: self.parts.into_iter().map(Part::into_owned).collect(),
            changes: self.changes.into_iter().map(Change::into_owned).collect(),
        }
    }
}

impl ChunkRows<'_> {
    /// The same rows, owning their bytes.
    pub fn into_owned(self) -> ChunkRows<'static> {
        ChunkRows {
            load: self.load,
            chunk: self.chunk,
            table: self.table,
            index: self.index,
            parts: self.parts.into_iter().map(Part::into_owned).collect(),
            rows: self.rows.into_iter().map(own_row).collect(),
        }
    }
}

impl Part<'_> {
    /// The same part, owning its bytes.
    pub fn into_owned(self) -> Part<'static> {
        Part { id: self.id, data: Cow::Owned(self.data.into_owned()) }
    }
}

impl Change<'_> {
    /// The same change, owning its bytes.
    pub fn into_owned(self) -> Change<'static> {
        Change {
            table: self.table,
            operation: self.operation,
            changed: Cow::Owned(self.changed.into_owned()),
            before: match self.before {
                Before::None => Before::None,
                Before::Key(row) => Before::Key(own_row(row)),
                Before::Full(row) => Before::Full(own_row(row)),
            },
            after: own_row(self.after),
            attributes: self.attributes,
        }
    }
}

fn own_row(row: Vec<Value<'_>>) -> Vec<Value<'static>> {
    row.into_iter().map(Value::into_owned).collect()
}
