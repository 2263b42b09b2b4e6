//! Transactions piece by piece: writing fragments without holding the transaction, reading the
//! items of a fragment without holding the fragment decoded.
//!
//! A fragment's parts come before its changes on the wire, so that a reader has every byte of a long
//! value before the change that names it. The writer keeps the two apart until it cuts; whatever
//! order they were pushed in, the record is right as long as a value's parts were pushed before its
//! change.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use crate::model::record::{Boundary, Change, Part, SourceTime, TableTotal};
use crate::{Position, TableId};

use super::decode::{change_into, no_change, own_datum, part, read_header, skip_source, total};
use super::encode::{
    BOUNDARIES, put_change, put_kind, put_part, put_position, put_source_time, put_total,
    put_transaction_id,
};
use super::items::{Items, NUMBERS};
use super::schema::{self, RECORD_FINGERPRINT};
use super::wire::{self, Input, Malformed};
use super::{DecodeError, Header, Kind, put_enum};

/// What all fragments of a transaction have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentHead {
    /// Identity of the log.
    pub log_id: Uuid,
    /// The writer's epoch.
    pub epoch: u64,
    /// The transaction's position.
    pub position: Position,
    /// The position of the complete transaction or progress record before it.
    pub after: Position,
    /// Commit time, 100 ns since 1970-01-01Z.
    pub time: i64,
    /// User, origin and the like, of the whole transaction.
    pub attributes: BTreeMap<String, String>,
    /// What the transaction is in the source.
    pub boundary: Boundary,
    /// The source's identifier of the transaction, where it has one.
    pub transaction_id: Option<Vec<u8>>,
    /// The source's raw commit time.
    pub source_time: Option<SourceTime>,
}

/// Writes one transaction as one record or several.
///
/// Push; when [`FragmentWriter::len`] reaches the limit, [`cut`](FragmentWriter::cut) and go on;
/// [`finish`](FragmentWriter::finish) in the end. Memory is one fragment.
#[derive(Debug)]
pub struct FragmentWriter {
    /// The encoding before the parts, without the fragment's own numbers.
    head: Vec<u8>,
    /// Where in `head` those numbers belong.
    numbers_at: usize,
    index: u32,
    changes_before: u64,
    parts: Items,
    changes: Items,
    totals: BTreeMap<TableId, u64>,
    /// Changes of one table in a row that `totals` has not yet.
    run: TableTotal,
}

/// Most bytes of a table's total.
const TOTAL: usize = 18;

/// Room for what most transactions have before their parts, in bytes.
const HEAD: usize = 192;

/// Room for the changes of a small transaction, in bytes.
const CHANGES: usize = 512;

impl FragmentWriter {
    /// A writer of the transaction with this head.
    pub fn new(head: &FragmentHead) -> Self {
        let mut out = Vec::with_capacity(HEAD);
        schema::put_head(&mut out, RECORD_FINGERPRINT);
        out.extend_from_slice(head.log_id.as_bytes());
        wire::put_unsigned(&mut out, head.epoch);
        put_position(&mut out, &head.position);
        put_position(&mut out, &head.after);
        wire::put_long(&mut out, head.time);
        wire::put_bool(&mut out, false);
        wire::put_map(&mut out, &head.attributes);
        put_kind(&mut out, Kind::Fragment);
        let numbers_at = out.len();
        put_enum(&mut out, &BOUNDARIES, head.boundary);
        put_transaction_id(&mut out, head.transaction_id.as_deref());
        put_source_time(&mut out, head.source_time.as_ref());

        FragmentWriter {
            head: out,
            numbers_at,
            index: 0,
            changes_before: 0,
            parts: Items::default(),
            changes: Items { count: 0, bytes: Vec::with_capacity(CHANGES) },
            totals: BTreeMap::new(),
            run: TableTotal { table: TableId(0), changes: 0 },
        }
    }

    /// Adds a change. The parts of its long values must have been pushed.
    pub fn push_change(&mut self, change: &Change<'_>) {
        put_change(&mut self.changes.bytes, change);
        self.changes.count += 1;
        self.count(change.table);
    }

    /// Adds a piece of a long value; pieces of one value in order.
    pub fn push_part(&mut self, part: &Part<'_>) {
        put_part(&mut self.parts.bytes, part);
        self.parts.count += 1;
    }

    /// Changes come in runs of one table: only a run's end is looked up.
    fn count(&mut self, table: TableId) {
        if self.run.table != table {
            self.end_run();
            self.run = TableTotal { table, changes: 0 };
        }
        self.run.changes += 1;
    }

    fn end_run(&mut self) {
        if self.run.changes > 0 {
            *self.totals.entry(self.run.table).or_default() += self.run.changes;
        }
    }

    /// Upper bound of the encoded size, in bytes, if the record ended here.
    #[expect(clippy::len_without_is_empty, reason = "the head alone has bytes")]
    pub fn len(&self) -> usize {
        let items = self.parts.bytes.len() + self.changes.bytes.len();
        self.head.len() + NUMBERS + items + TOTAL * (self.totals.len() + 1)
    }

    /// Whether nothing has been pushed since the start or the last cut.
    pub fn nothing_pushed(&self) -> bool {
        self.parts.count == 0 && self.changes.count == 0
    }

    /// Number of the fragment being written, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Changes pushed so far, in this fragment and those before.
    pub fn changes(&self) -> u64 {
        self.changes_before + self.changes.count as u64
    }

    /// Ends this fragment, not the transaction, and begins the next.
    ///
    /// # Panics
    /// After 2^32 fragments.
    pub fn cut(&mut self) -> Bytes {
        let record = self.encode(false, &[]);
        self.index = self.index.checked_add(1).expect("fewer than 2^32 fragments");
        record
    }

    /// Ends the transaction with its last fragment, which carries the totals.
    pub fn finish(mut self) -> Bytes {
        if self.totals.is_empty() {
            let only = [self.run];
            let any = usize::from(self.run.changes > 0);
            return self.encode(true, &only[..any]);
        }
        self.end_run();
        let totals = std::mem::take(&mut self.totals);
        let totals: Vec<_> =
            totals.into_iter().map(|(table, changes)| TableTotal { table, changes }).collect();
        self.encode(true, &totals)
    }

    fn encode(&mut self, last: bool, totals: &[TableTotal]) -> Bytes {
        let changes = self.changes();
        let mut out = Vec::with_capacity(self.len() + TOTAL * totals.len());
        let (before, after) = self.head.split_at(self.numbers_at);
        out.extend_from_slice(before);
        wire::put_long(&mut out, i64::from(self.index));
        wire::put_bool(&mut out, last);
        wire::put_unsigned(&mut out, self.changes_before);
        out.extend_from_slice(after);
        self.parts.drain_into(&mut out);
        self.changes.drain_into(&mut out);
        wire::put_array(&mut out, totals, put_total);
        self.changes_before = changes;
        out.into()
    }
}

/// Reads a fragment item by item, borrowing from its payload: parts, then changes, then totals.
///
/// One change is in memory, and the next is read in its place. After an error it gives nothing more.
#[derive(Clone, Debug)]
pub struct FragmentReader<'a> {
    header: Header,
    input: Input<'a>,
    array: Option<Array>,
    left: usize,
    change: Change<'a>,
}

/// Which array of the fragment the reader is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Array {
    Parts,
    Changes,
    Totals,
}

impl<'a> FragmentReader<'a> {
    /// Reads the head; `None` when the record is not a fragment.
    ///
    /// # Errors
    /// As [`decode`](fn@super::decode), as far as it reads.
    pub fn new(payload: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let (header, mut input) = read_header(own_datum(payload)?)?;
        if header.kind != Kind::Fragment {
            return Ok(None);
        }
        skip_source(&mut input)?;
        Ok(Some(FragmentReader {
            header,
            input,
            array: Some(Array::Parts),
            left: 0,
            change: no_change(),
        }))
    }

    /// The record's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next part; none when the changes begin.
    ///
    /// # Errors
    /// As [`decode`](fn@super::decode).
    pub fn part(&mut self) -> Result<Option<Part<'a>>, DecodeError> {
        let read = self.next_part();
        self.checked(read)
    }

    /// The next change, in place of the one before; none when the totals begin. Parts that were not
    /// asked for are passed over.
    ///
    /// # Errors
    /// As [`decode`](fn@super::decode).
    pub fn change(&mut self) -> Result<Option<&mut Change<'a>>, DecodeError> {
        let read = self.next_change();
        Ok(self.checked(read)?.then_some(&mut self.change))
    }

    /// The next total; none at the end. Changes that were not asked for are passed over.
    ///
    /// # Errors
    /// As [`decode`](fn@super::decode).
    pub fn total(&mut self) -> Result<Option<TableTotal>, DecodeError> {
        let read = self.next_total();
        self.checked(read)
    }

    fn next_part(&mut self) -> Result<Option<Part<'a>>, Malformed> {
        match self.enter(Array::Parts)? {
            true => part(&mut self.input).map(Some),
            false => Ok(None),
        }
    }

    fn next_change(&mut self) -> Result<bool, Malformed> {
        while self.next_part()?.is_some() {}
        let there = self.enter(Array::Changes)?;
        if there {
            change_into(&mut self.input, &mut self.change)?;
        }
        Ok(there)
    }

    fn next_total(&mut self) -> Result<Option<TableTotal>, Malformed> {
        while self.next_change()? {}
        match self.enter(Array::Totals)? {
            true => total(&mut self.input).map(Some),
            false => Ok(None),
        }
    }

    /// Whether the next item is one of `wanted`; goes on to the next array, or checks that the
    /// record ends, when that one has no more.
    #[inline]
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
            Array::Parts => Some(Array::Changes),
            Array::Changes => Some(Array::Totals),
            Array::Totals => {
                self.input.end()?;
                None
            }
        };
        Ok(false)
    }

    #[inline]
    fn checked<T>(&mut self, read: Result<T, Malformed>) -> Result<T, DecodeError> {
        if read.is_err() {
            self.array = None;
        }
        Ok(read?)
    }
}
