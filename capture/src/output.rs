//! From changes to records: fragments, progress, kept positions, table versions.
//!
//! The output knows where the log ends (`after` of the next record) and that time never decreases
//! along it. Records are collected in memory and handed to the log only by [`Output::pass_on`] and
//! [`Output::commit`], which the pipeline calls when the source has proved that what is in them is complete; so no reader can
//! see a record that the source might yet take back.
//!
//! A crash anywhere leaves either nothing of a log transaction or all of it. What is left of a
//! source transaction without its last fragment is void as soon as the next epoch's first record
//! stands behind it, and comes again.

mod loads;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_common::codec::entry::{KeptPosition, SchemaEntry};
use lockstep_common::codec::{self, FragmentHead, FragmentWriter};
use lockstep_common::model::load::{LoadMarker, TableLoad};
use lockstep_common::model::record::{Body, Boundary, Change, EpochStart, Progress, Record};
use lockstep_common::{FailPoints, Failure, Position, TableId};
use lockstep_log::{Entry, Stream, Writer};
use uuid::Uuid;

use crate::fail_points;
use crate::long;
use crate::newcomers;
use crate::source::{Cursor, Head, Table, Witness};

/// Most bytes of a fragment.
const FRAGMENT_BYTES: usize = 512 << 10;
/// The kept position is written at least this often while there is something to write.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// Writes the log.
pub struct Output {
    writer: Box<dyn Writer>,
    fail: FailPoints,
    log_id: Uuid,
    epoch: u64,
    /// Where the log ends, with the records collected here.
    end: Cursor,
    time: i64,
    published: HashSet<TableId>,
    open: Option<Transaction>,
    entries: Vec<Entry>,
    bytes: usize,
    kept: Instant,
    /// Bytes handed to the log in all.
    written: u64,
    /// Since when something of a load is in the log's open transaction.
    load_appended: Option<Instant>,
}

/// A transaction being written.
struct Transaction {
    position: Position,
    witness: Witness,
    fragments: FragmentWriter,
    longs: u32,
}

impl Output {
    /// Over a writer that has just been opened on a log that ends at `end`.
    pub fn new(
        writer: Box<dyn Writer>,
        fail: FailPoints,
        log_id: Uuid,
        epoch: u64,
        end: Cursor,
        time: i64,
    ) -> Self {
        Output {
            writer,
            fail,
            log_id,
            epoch,
            end,
            time,
            published: HashSet::new(),
            open: None,
            entries: Vec::new(),
            bytes: 0,
            kept: Instant::now(),
            written: 0,
            load_appended: None,
        }
    }

    /// The position the log ends at, with what is collected.
    pub fn position(&self) -> Position {
        self.end.position
    }

    /// The time of the newest record.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Bytes handed to the log in all.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes collected and not handed to the log.
    pub fn collected(&self) -> usize {
        self.bytes
    }

    /// Makes table versions that the log has already count as published.
    pub fn already_published(&mut self, tables: impl IntoIterator<Item = TableId>) {
        self.published.extend(tables);
    }

    /// Stores the versions that the log does not have, in a log transaction of their own: readers
    /// must be able to find a version before the first record that names it.
    pub async fn publish(&mut self, tables: Vec<Table>) -> Result<(), Failure> {
        let entries: Vec<Entry> = tables
            .into_iter()
            .filter(|table| self.published.insert(table.id))
            .map(|table| schemas_entry(&SchemaEntry::Table((*table.version).clone())))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.writer.append(entries).await?;
        self.writer.commit().await
    }

    /// As [`Output::publish`], of a table that is to be loaded: until its load begins, the log says
    /// that it does not have its changes.
    pub async fn publish_held(&mut self, table: &Table) -> Result<(), Failure> {
        self.published.insert(table.id);
        let held = newcomers::held_entry(table.id, table.version.object_id);
        let version = SchemaEntry::Table((*table.version).clone());
        let entries = [version, SchemaEntry::Load(held)];
        self.writer.append(entries.iter().map(schemas_entry).collect()).await?;
        self.load_appended = None;
        self.writer.commit().await
    }

    /// Writes the epoch's first record. A new log gets its first position with it, and the begin of
    /// its load if it has one, in the same log transaction: a log with an epoch and no position, or
    /// one that should have begun a load and has not, cannot be. `left` are tables whose changes the log
    /// does not have from here on.
    pub async fn begin(
        &mut self,
        source: &str,
        new_log: bool,
        load: Option<(LoadMarker, Vec<TableLoad>)>,
        left: &[TableLoad],
    ) -> Result<(), Failure> {
        left.iter().for_each(|entry| self.table_load(entry));
        let (begin, tables) = load.unzip();
        self.table_loads(tables.iter().flatten());
        let epoch = Body::Epoch(EpochStart {
            host: host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: source.to_owned(),
        });
        self.record(epoch, self.end.position);
        if new_log {
            self.record(Body::Progress(progress_of(&self.end)), self.end.position);
        }
        if let Some(begin) = begin {
            self.load_marker(&begin);
        }
        self.keep();
        self.flush().await?;
        self.writer.commit().await?;
        Ok(self.fail.hit(fail_points::EPOCH_WRITTEN)?)
    }

    /// Begins the transaction at `head`.
    pub fn open(&mut self, head: &Head) {
        self.time = self.time.max(head.time);
        let fragments = FragmentWriter::new(&FragmentHead {
            log_id: self.log_id,
            epoch: self.epoch,
            position: head.position,
            after: self.end.position,
            time: self.time,
            attributes: Default::default(),
            boundary: Boundary::SourceTransaction,
            transaction_id: head.witness.transaction_id.clone(),
            source_time: Some(head.witness.source_time.clone()),
        });
        let witness = head.witness.clone();
        self.open = Some(Transaction { position: head.position, witness, fragments, longs: 0 });
    }

    /// Adds a change of about `size` bytes to the open transaction.
    pub fn push(&mut self, mut change: Change<'static>, size: usize) {
        let Some(mut open) = self.open.take() else { return };
        let mut size = size;
        for long in long::extract(&mut change, &mut open.longs) {
            for part in long.parts() {
                self.make_room(&mut open, part.data.len());
                size = size.saturating_sub(part.data.len());
                open.fragments.push_part(&part);
            }
        }
        self.make_room(&mut open, size);
        open.fragments.push_change(&change);
        self.open = Some(open);
    }

    /// Ends the open transaction, if there is one.
    pub fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let index = open.fragments.index();
        self.end = Cursor { position: open.position, witness: Some(open.witness) };
        self.collect(open.position, index, open.fragments.finish());
    }

    /// Says that the source has nothing up to `head`.
    pub fn progress(&mut self, head: &Head) {
        self.time = self.time.max(head.time);
        let after = self.end.position;
        self.end = Cursor { position: head.position, witness: Some(head.witness.clone()) };
        self.record(Body::Progress(progress_of(&self.end)), after);
        self.keep();
    }

    /// Hands what is collected to the log.
    async fn flush(&mut self) -> Result<(), Failure> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.written += self.bytes as u64;
        self.bytes = 0;
        self.writer.append(std::mem::take(&mut self.entries)).await?;
        Ok(self.fail.hit(fail_points::FRAGMENT_APPENDED)?)
    }

    /// Hands what is collected to the log and commits it, within a window: a log transaction must
    /// not stay open while the source takes its time.
    pub async fn pass_on(&mut self) -> Result<(), Failure> {
        self.flush().await?;
        self.load_appended = None;
        self.writer.commit().await
    }

    /// Commits everything, with a kept position when one is due. No transaction may be open.
    pub async fn commit(&mut self) -> Result<(), Failure> {
        if self.kept.elapsed() >= KEEP_EVERY {
            self.keep();
        }
        self.flush().await?;
        self.fail.hit(fail_points::COMMIT_BEFORE)?;
        self.load_appended = None;
        self.writer.commit().await?;
        Ok(self.fail.hit(fail_points::COMMIT_AFTER)?)
    }

    /// Cuts the fragment when `more` bytes would be too many.
    fn make_room(&mut self, open: &mut Transaction, more: usize) {
        if !open.fragments.nothing_pushed() && open.fragments.len() + more > FRAGMENT_BYTES {
            let index = open.fragments.index();
            let payload = open.fragments.cut();
            self.collect(open.position, index, payload);
        }
    }

    fn record(&mut self, body: Body<'_>, after: Position) {
        self.record_with(body, after, BTreeMap::new());
    }

    fn record_with(
        &mut self,
        body: Body<'_>,
        after: Position,
        attributes: BTreeMap<String, String>,
    ) {
        let record = Record {
            log_id: self.log_id,
            epoch: self.epoch,
            position: self.end.position,
            after,
            time: self.time,
            skippable: false,
            attributes,
            body,
        };
        let mut payload = Vec::with_capacity(256);
        codec::encode(&record, &mut payload);
        self.collect(self.end.position, 0, payload.into());
    }

    fn collect(&mut self, position: Position, index: u32, payload: Bytes) {
        self.bytes += payload.len();
        let headers = Some((position, index));
        self.entries.push(Entry { stream: Stream::Transactions, key: None, headers, payload });
    }

    /// Keeps the position outside the transactions stream.
    fn keep(&mut self) {
        let witness = self.end.witness.clone();
        let (transaction_id, source_time) = match witness {
            Some(witness) => (witness.transaction_id, Some(witness.source_time)),
            None => (None, None),
        };
        let entry = schemas_entry(&SchemaEntry::Position(KeptPosition {
            log_id: self.log_id,
            epoch: self.epoch,
            position: self.end.position,
            time: self.time,
            transaction_id,
            source_time,
        }));
        self.bytes += entry.payload.len();
        self.entries.push(entry);
        self.kept = Instant::now();
    }
}

fn progress_of(end: &Cursor) -> Progress {
    match &end.witness {
        Some(witness) => Progress {
            transaction_id: witness.transaction_id.clone(),
            source_time: Some(witness.source_time.clone()),
        },
        None => Progress::default(),
    }
}

fn schemas_entry(entry: &SchemaEntry) -> Entry {
    Entry {
        stream: Stream::Schemas,
        key: Some(entry.key().into()),
        headers: None,
        payload: entry.encode().into(),
    }
}

/// This machine's name, for people who read the log.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}
