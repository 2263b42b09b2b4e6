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

use crate::record::{Boundary, Change, Part, SourceTime, TableTotal};
use crate::{Position, TableId};

use super::decode::{
    change, fragment_header, own_datum, part, record_head, source_time, total, transaction_id,
};
use super::encode::{
    BOUNDARIES, put_change, put_kind, put_part, put_position, put_source_time, put_total,
    put_transaction_id,
};
use super::items::{Items, NUMBERS};
use super::schema::{self, RECORD_FINGERPRINT};
use super::wire::{self, Input};
use super::{DecodeError, Header, KINDS, Kind, get_enum, put_enum};

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
    /// The encoding before the fragment's index.
    before: Vec<u8>,
    /// The encoding between the fragment's own numbers and its parts.
    between: Vec<u8>,
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

impl FragmentWriter {
    /// A writer of the transaction with this head.
    pub fn new(head: &FragmentHead) -> Self {
        let mut before = Vec::with_capacity(128);
        schema::put_head(&mut before, RECORD_FINGERPRINT);
        before.extend_from_slice(head.log_id.as_bytes());
        wire::put_unsigned(&mut before, head.epoch);
        put_position(&mut before, &head.position);
        put_position(&mut before, &head.after);
        wire::put_long(&mut before, head.time);
        wire::put_bool(&mut before, false);
        wire::put_map(&mut before, &head.attributes);
        put_kind(&mut before, Kind::Fragment);

        let mut between = Vec::with_capacity(64);
        put_enum(&mut between, &BOUNDARIES, head.boundary);
        put_transaction_id(&mut between, head.transaction_id.as_deref());
        put_source_time(&mut between, head.source_time.as_ref());

        FragmentWriter {
            before,
            between,
            index: 0,
            changes_before: 0,
            parts: Items::default(),
            changes: Items::default(),
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
        self.before.len() + self.between.len() + NUMBERS + items + TOTAL * (self.totals.len() + 1)
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
        self.end_run();
        let totals = std::mem::take(&mut self.totals);
        let totals: Vec<_> =
            totals.into_iter().map(|(table, changes)| TableTotal { table, changes }).collect();
        self.encode(true, &totals)
    }

    fn encode(&mut self, last: bool, totals: &[TableTotal]) -> Bytes {
        let changes = self.changes();
        let mut out = Vec::with_capacity(self.len() + TOTAL * totals.len());
        out.extend_from_slice(&self.before);
        wire::put_long(&mut out, i64::from(self.index));
        wire::put_bool(&mut out, last);
        wire::put_unsigned(&mut out, self.changes_before);
        out.extend_from_slice(&self.between);
        self.parts.drain_into(&mut out);
        self.changes.drain_into(&mut out);
        wire::put_array(&mut out, totals, put_total);
        self.changes_before = changes;
        out.into()
    }
}

/// Something in a fragment.
#[derive(Clone, Debug, PartialEq)]
pub enum FragmentItem<'a> {
    /// A piece of a long value.
    Part(Part<'a>),
    /// A change.
    Change(Change<'a>),
    /// Changes of one table over the whole transaction; on the last fragment only.
    Total(TableTotal),
}

/// Reads a fragment item by item, borrowing from its payload: parts, then changes, then totals.
///
/// After an error it gives nothing more.
#[derive(Clone, Debug)]
pub struct FragmentReader<'a> {
    header: Header,
    attributes: BTreeMap<String, String>,
    boundary: Boundary,
    transaction_id: Option<Vec<u8>>,
    source_time: Option<SourceTime>,
    input: Input<'a>,
    array: Option<Array>,
    left: usize,
}

/// Which array of the fragment the reader is in.
#[derive(Clone, Copy, Debug)]
enum Array {
    Parts,
    Changes,
    Totals,
}

impl<'a> FragmentReader<'a> {
    /// Reads the head; `None` when the record is not a fragment.
    ///
    /// # Errors
    /// As [`decode`](super::decode), as far as it reads.
    pub fn new(payload: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let mut input = own_datum(payload)?;
        let head = record_head(&mut input)?;
        let attributes = input.map()?;
        if get_enum(&mut input, &KINDS)? != Kind::Fragment {
            return Ok(None);
        }
        let fragment = fragment_header(&mut input)?;
        Ok(Some(FragmentReader {
            header: Header {
                log_id: head.log_id,
                epoch: head.epoch,
                position: head.position,
                after: head.after,
                time: head.time,
                skippable: head.skippable,
                kind: Kind::Fragment,
                fragment: Some(fragment),
            },
            attributes,
            boundary: get_enum(&mut input, &BOUNDARIES)?,
            transaction_id: transaction_id(&mut input)?,
            source_time: source_time(&mut input)?,
            input,
            array: Some(Array::Parts),
            left: 0,
        }))
    }

    /// The record's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The record's attributes.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }

    /// What the transaction is in the source.
    pub fn boundary(&self) -> Boundary {
        self.boundary
    }

    /// The source's identifier of the transaction.
    pub fn transaction_id(&self) -> Option<&[u8]> {
        self.transaction_id.as_deref()
    }

    /// The source's raw commit time.
    pub fn source_time(&self) -> Option<&SourceTime> {
        self.source_time.as_ref()
    }

    fn item(&mut self) -> Result<Option<FragmentItem<'a>>, DecodeError> {
        while let Some(array) = self.array {
            if self.left == 0 {
                self.left = self.input.block()?;
            }
            if self.left > 0 {
                self.left -= 1;
                return Ok(Some(match array {
                    Array::Parts => FragmentItem::Part(part(&mut self.input)?),
                    Array::Changes => FragmentItem::Change(change(&mut self.input)?),
                    Array::Totals => FragmentItem::Total(total(&mut self.input)?),
                }));
            }
            self.array = match array {
                Array::Parts => Some(Array::Changes),
                Array::Changes => Some(Array::Totals),
                Array::Totals => {
                    self.input.end()?;
                    None
                }
            };
        }
        Ok(None)
    }
}

impl<'a> Iterator for FragmentReader<'a> {
    type Item = Result<FragmentItem<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.item().transpose();
        if matches!(item, Some(Err(_))) {
            self.array = None;
        }
        item
    }
}
