//! Chunks of a full load piece by piece: writing their rows without holding them decoded, reading
//! the parts and rows of a record one at a time.
//!
//! As with fragments, a record's parts come before its rows on the wire, and the writer keeps the two
//! apart until it cuts: the record is right as long as a value's parts were pushed before its row.

use bytes::Bytes;
use uuid::Uuid;

use crate::model::record::Part;
use crate::{Position, TableId, Value};

use super::cell::{put_row, row_into};
use super::decode::{chunk_rows_head, own_datum, part, read_header};
use super::encode::{put_chunk_rows_head, put_kind, put_part, put_position};
use super::items::{Items, NUMBERS};
use super::schema::{self, RECORD_FINGERPRINT};
use super::wire::{self, Input, Malformed};
use super::{DecodeError, Header, Kind};

/// What all records of an attempt at a chunk have in common: the head of the chunk's begin, and which
/// chunk it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    /// Identity of the log.
    pub log_id: Uuid,
    /// The writer's epoch.
    pub epoch: u64,
    /// The position of the chunk's begin.
    pub position: Position,
    /// The position before that record.
    pub after: Position,
    /// The time of the chunk's begin, 100 ns since 1970-01-01Z.
    pub time: i64,
    /// The load it belongs to.
    pub load: Uuid,
    /// Number of the chunk within the table's load.
    pub chunk: u32,
    /// Table version being loaded.
    pub table: TableId,
}

/// Writes the rows of one attempt at a chunk as any number of records.
///
/// Push; when [`ChunkWriter::len`] reaches the limit, [`cut`](ChunkWriter::cut) and go on. Memory is
/// one record.
#[derive(Debug)]
pub struct ChunkWriter {
    /// The encoding before the record's index.
    before: Vec<u8>,
    index: u32,
    rows_before: u64,
    parts: Items,
    rows: Items,
}

impl ChunkWriter {
    /// A writer of the attempt with this head.
    pub fn new(head: &ChunkHead) -> Self {
        let mut before = Vec::with_capacity(128);
        schema::put_head(&mut before, RECORD_FINGERPRINT);
        before.extend_from_slice(head.log_id.as_bytes());
        wire::put_unsigned(&mut before, head.epoch);
        put_position(&mut before, &head.position);
        put_position(&mut before, &head.after);
        wire::put_long(&mut before, head.time);
        wire::put_bool(&mut before, false);
        wire::put_map(&mut before, &Default::default());
        put_kind(&mut before, Kind::ChunkRows);
        put_chunk_rows_head(&mut before, head.load, head.chunk, head.table);
        ChunkWriter {
            before,
            index: 0,
            rows_before: 0,
            parts: Items::default(),
            rows: Items::default(),
        }
    }

    /// Adds a row, in column order. The parts of its long values must have been pushed.
    #[inline]
    pub fn push_row(&mut self, row: &[Value<'_>]) {
        put_row(&mut self.rows.bytes, row);
        self.rows.count += 1;
    }

    /// Adds a piece of a long value; pieces of one value in order.
    pub fn push_part(&mut self, part: &Part<'_>) {
        put_part(&mut self.parts.bytes, part);
        self.parts.count += 1;
    }

    /// Upper bound of the encoded size, in bytes, if the record ended here.
    #[expect(clippy::len_without_is_empty, reason = "the head alone has bytes")]
    #[inline]
    pub fn len(&self) -> usize {
        self.before.len() + NUMBERS + self.parts.bytes.len() + self.rows.bytes.len()
    }

    /// Whether nothing has been pushed since the start or the last cut.
    pub fn nothing_pushed(&self) -> bool {
        self.parts.count == 0 && self.rows.count == 0
    }

    /// Rows pushed so far, in this record and those before.
    pub fn rows(&self) -> u64 {
        self.rows_before + self.rows.count as u64
    }

    /// Ends this record and begins the next.
    ///
    /// # Panics
    /// After 2^32 records.
    pub fn cut(&mut self) -> Bytes {
        self.rows_before = self.rows();
        let mut out = Vec::with_capacity(self.len());
        out.extend_from_slice(&self.before);
        wire::put_long(&mut out, i64::from(self.index));
        self.parts.drain_into(&mut out);
        self.rows.drain_into(&mut out);
        self.index = self.index.checked_add(1).expect("fewer than 2^32 records");
        out.into()
    }
}

/// Reads some of the rows of a chunk one at a time, borrowing from the payload: parts, then rows.
///
/// After an error it gives nothing more.
#[derive(Clone, Debug)]
pub struct ChunkReader<'a> {
    header: Header,
    load: Uuid,
    chunk: u32,
    table: TableId,
    index: u32,
    input: Input<'a>,
    array: Option<Array>,
    left: usize,
}

/// Which array of the record the reader is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Array {
    Parts,
    Rows,
}

impl<'a> ChunkReader<'a> {
    /// Reads the head; `None` when the record is not rows of a chunk.
    ///
    /// # Errors
    /// As [`decode`](fn@super::decode), as far as it reads.
    pub fn new(payload: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let (header, mut input) = read_header(own_datum(payload)?)?;
        if header.kind != Kind::ChunkRows {
            return Ok(None);
        }
        let (load, chunk, table, index) = chunk_rows_head(&mut input)?;
        Ok(Some(ChunkReader {
            header,
            load,
            chunk,
            table,
            index,
            input,
            array: Some(Array::Parts),
            left: 0,
        }))
    }

    /// The record's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The load the rows belong to.
    pub fn load(&self) -> Uuid {
        self.load
    }

    /// Number of the chunk within the table's load.
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    /// The table version the rows are in.
    pub fn table(&self) -> TableId {
        self.table
    }

    /// Number of this record within its attempt at the chunk, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The next part; none when the rows begin.
    ///
    /// # Errors
    /// As [`decode`](fn@super::decode).
    pub fn part(&mut self) -> Result<Option<Part<'a>>, DecodeError> {
        let read = self.enter(Array::Parts).and_then(|there| match there {
            true => part(&mut self.input).map(Some),
            false => Ok(None),
        });
        self.checked(read)
    }

    /// The next row, in place of what `row` holds; `false` at the end. Parts that were not asked for
    /// are passed over. After an error `row` holds anything.
    ///
    /// # Errors
    /// As [`decode`](fn@super::decode).
    pub fn row(&mut self, row: &mut Vec<Value<'a>>) -> Result<bool, DecodeError> {
        while self.part()?.is_some() {}
        let read = self.enter(Array::Rows).and_then(|there| {
            match there {
                true => row_into(&mut self.input, row)?,
                false => row.clear(),
            }
            Ok(there)
        });
        self.checked(read)
    }

    /// Whether the next item is one of `wanted`; goes on to the next array, or checks that the
    /// record ends, when that one has no more.
    fn enter(&mut self, wanted: Array) -> Result<bool, Malformed> {
        if self.array != Some(wanted) {
            return Ok(false);
        }
        if self.left == 0 {
            self.left = self.input.block()?;
        }
        if self.left > 0 {
            self.left -= 1;
            return Ok(true);
        }
        self.array = match wanted {
            Array::Parts => Some(Array::Rows),
            Array::Rows => {
                self.input.end()?;
                None
            }
        };
        Ok(false)
    }

    fn checked<T>(&mut self, read: Result<T, Malformed>) -> Result<T, DecodeError> {
        if read.is_err() {
            self.array = None;
        }
        Ok(read?)
    }
}
