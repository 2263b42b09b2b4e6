//! The RocksDB directory under the embedded log: the only file that names RocksDB.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::service::limits::Room;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, Options, ReadOptions,
    WriteBatch, WriteOptions,
};
use tokio::sync::watch;

use super::directory::{self, Aside};
use super::layout;
use crate::failures::{missing, outside, untrimmable};
use crate::{Bounds, Entry, Item, SNAPSHOT_PARTITIONS, Stream};

/// What may wait in memory and in the WAL before it goes to a file, over by a commit at most; there are
/// two such, and writers wait when both are full. Also what a start after a crash has to replay.
const MEMTABLE_BYTES: usize = 16 << 20;
/// Blocks read are kept in so much memory; of each open file the index of its blocks stays besides,
/// about 0.2 % of the file.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
const BLOCK_BYTES: usize = 16 << 10;
const OPEN_FILES: i32 = 128;
/// Retention is looked at no more often than this.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// The committed bounds of every stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams {
    transactions: Bounds,
    schemas: Bounds,
    snapshot: [Bounds; SNAPSHOT_PARTITIONS as usize],
}

impl Streams {
    fn all() -> impl Iterator<Item = Stream> {
        let snapshots = (0..SNAPSHOT_PARTITIONS).map(Stream::Snapshot);
        [Stream::Transactions, Stream::Schemas].into_iter().chain(snapshots)
    }

    fn slot(&mut self, stream: Stream) -> Result<&mut Bounds, Failure> {
        let slot = match stream {
            Stream::Transactions => Some(&mut self.transactions),
            Stream::Schemas => Some(&mut self.schemas),
            Stream::Snapshot(partition) => {
                usize::try_from(partition).ok().and_then(|p| self.snapshot.get_mut(p))
            }
        };
        slot.ok_or_else(|| {
            Failure::new(Code::LogNoStream, format!("the embedded log has no stream {stream}"))
                .remedy(format!("its snapshot stream has {SNAPSHOT_PARTITIONS} partitions"))
        })
    }

    pub(super) fn bounds(mut self, stream: Stream) -> Result<Bounds, Failure> {
        self.slot(stream).copied()
    }
}

#[derive(Debug)]
pub(super) struct Store {
    db: DB,
    /// Of a log that is open for reading only. Closed after the database.
    aside: Option<Aside>,
    retention: Option<Duration>,
    room: Room,
    state: Mutex<StoreState>,
    committed: watch::Sender<Streams>,
}

#[derive(Debug)]
struct StoreState {
    /// Of the youngest writer.
    generation: u64,
    /// A write failed: what is on disk is known only after a new start.
    failed: bool,
    /// Where each key of the schemas stream stands.
    schemas: HashMap<Bytes, u64>,
    retention_checked: Option<Instant>,
    /// Append time of the newest record: append times never decrease, whatever the clock does.
    appended: i64,
}

impl Store {
    pub(super) fn open(
        path: &Path,
        pipeline: &str,
        retention: Option<Duration>,
    ) -> Result<Self, Failure> {
        directory::claim(path)?;
        let db = DB::open(&options(), path).map_err(|error| directory::failure(path, error))?;
        if !directory::is_log_of(&db, path, pipeline)? {
            directory::mark(&db, pipeline)?;
        }
        Self::over(db, path, None, retention)
    }

    /// Looks into a log that this or another process may be writing, and changes nothing: a *secondary*
    /// of RocksDB, which takes no lock. None where there is no log yet. What is committed later shows
    /// after [`Store::look_again`].
    pub(super) fn open_for_reading(path: &Path, pipeline: &str) -> Result<Option<Self>, Failure> {
        if !directory::holds_database(path) {
            return Ok(None);
        }
        let aside = Aside::new(path)?;
        let mut options = options();
        options.create_if_missing(false);
        // A file that is open stays readable when the writer lets go of it.
        options.set_max_open_files(-1);
        let db = DB::open_as_secondary(&options, path, &aside.0)
            .map_err(|error| directory::failure(path, error))?;
        if !directory::is_log_of(&db, path, pipeline)? {
            return Ok(None);
        }
        Self::over(db, path, Some(aside), None).map(Some)
    }

    fn over(
        db: DB,
        path: &Path,
        aside: Option<Aside>,
        retention: Option<Duration>,
    ) -> Result<Self, Failure> {
        let empty = Bounds { first: 0, end: 0 };
        let mut streams = Streams {
            transactions: empty,
            schemas: empty,
            snapshot: [empty; SNAPSHOT_PARTITIONS as usize],
        };
        read_bounds(&db, &mut streams)?;
        let state = StoreState {
            generation: 0,
            failed: false,
            schemas: HashMap::new(),
            retention_checked: None,
            appended: 0,
        };
        let (committed, _) = watch::channel(streams);
        let room = Room::of(path);
        let store = Store { db, aside, retention, room, state: Mutex::new(state), committed };
        store.index_schemas()?;
        store.lock().appended = store.newest_append()?;
        Ok(store)
    }

    /// Shows what the writing process has committed since.
    pub(super) fn look_again(&self) -> Result<(), Failure> {
        self.db.try_catch_up_with_primary().map_err(failed)?;
        let mut streams = *self.committed.borrow();
        read_bounds(&self.db, &mut streams)?;
        self.committed.send_if_modified(|known| std::mem::replace(known, streams) != streams);
        Ok(())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Streams> {
        self.committed.subscribe()
    }

    pub(super) fn bounds(&self, stream: Stream) -> Result<Bounds, Failure> {
        let streams = *self.committed.borrow();
        streams.bounds(stream)
    }

    /// Makes the caller's the only generation that may commit.
    ///
    /// # Errors
    /// `Halt` when the log is open for reading only.
    pub(super) fn take_over(&self) -> Result<u64, Failure> {
        self.check_writable()?;
        let mut state = self.lock();
        state.generation += 1;
        Ok(state.generation)
    }

    fn check_writable(&self) -> Result<(), Failure> {
        match self.aside {
            Some(_) => Err(unusable("it is open for reading only")),
            None => Ok(()),
        }
    }

    /// # Errors
    /// `Fenced` when a younger writer took over.
    pub(super) fn check_generation(&self, generation: u64) -> Result<(), Failure> {
        self.lock().check(generation)
    }

    /// Writes `entries` durably as one batch, then shows them to the readers.
    pub(super) fn commit(&self, generation: u64, entries: &[Entry]) -> Result<(), Failure> {
        let mut state = self.lock();
        state.check(generation)?;
        if entries.is_empty() {
            return Ok(());
        }
        if !self.room.is_left() {
            // What is too old makes room.
            self.retain(&mut state)?;
            return Err(Failure::new(Code::LogFull, self.room.shortage()).remedy(
                "make room on that disk, or shorten `log.retention`: capture goes on by itself, from \
                 where it is",
            ));
        }
        let mut streams = *self.committed.borrow();
        let mut batch = WriteBatch::default();
        let mut keyed: HashMap<&Bytes, u64> = HashMap::new();
        let now = now_millis().max(state.appended);
        for entry in entries {
            let bounds = streams.slot(entry.stream)?;
            let offset = bounds.end;
            bounds.end += 1;
            let key_len = entry.key.as_ref().map_or(Ok(0), |key| u32::try_from(key.len()));
            let key_len = key_len.map_err(|_| layout::damaged("a key of 4 GiB"))?;
            let value = layout::encode_value(entry, key_len, now);
            batch.put(layout::record_key(entry.stream, offset), value);
            let key = entry.key.as_ref().filter(|_| entry.stream == Stream::Schemas);
            if let Some(key) = key {
                let older = keyed.insert(key, offset).or_else(|| state.schemas.get(key).copied());
                if let Some(older) = older {
                    batch.delete(layout::record_key(Stream::Schemas, older));
                }
            }
        }
        self.publish(&mut state, streams, batch)?;
        state.appended = now;
        for (key, offset) in keyed {
            state.schemas.insert(key.clone(), offset);
        }
        self.retain(&mut state)
    }

    /// Up to `max_bytes` of payload (but one record at least, if there is one) from the records in
    /// `[from, end)`.
    pub(super) fn read(
        &self,
        stream: Stream,
        from: u64,
        end: u64,
        max_bytes: usize,
    ) -> Result<Vec<Item>, Failure> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(layout::record_key(stream, end));
        // Each reader comes by once.
        options.fill_cache(false);
        let mut cursor = self.db.raw_iterator_opt(options);
        cursor.seek(layout::record_key(stream, from));
        let mut items = Vec::new();
        let mut bytes = 0;
        while let Some((key, value)) = cursor.item() {
            let item = layout::decode_item(key, value)?;
            if items.is_empty() && stream != Stream::Schemas && item.offset != from {
                return Err(missing(stream, from, Bounds { first: item.offset, end }));
            }
            bytes += item.payload.len();
            items.push(item);
            if bytes >= max_bytes {
                break;
            }
            cursor.next();
        }
        cursor.status().map_err(failed)?;
        if items.is_empty() && from < end && stream != Stream::Schemas {
            return Err(missing(stream, from, self.bounds(stream)?));
        }
        Ok(items)
    }

    /// Removes the records of `stream` below `offset`.
    pub(super) fn trim(&self, stream: Stream, offset: u64) -> Result<(), Failure> {
        let mut state = self.lock();
        let bounds = self.bounds(stream)?;
        if stream == Stream::Schemas {
            return Err(untrimmable());
        }
        if !(bounds.first..=bounds.end).contains(&offset) {
            return Err(outside(stream, offset, bounds));
        }
        self.trim_locked(&mut state, stream, offset)
    }

    fn trim_locked(&self, state: &mut StoreState, stream: Stream, to: u64) -> Result<(), Failure> {
        let mut streams = *self.committed.borrow();
        let bounds = streams.slot(stream)?;
        if to <= bounds.first {
            return Ok(());
        }
        let from = layout::record_key(stream, bounds.first);
        bounds.first = to;
        let mut batch = WriteBatch::default();
        batch.delete_range(from, layout::record_key(stream, to));
        self.publish(state, streams, batch)?;
        // Whole files go at once; what is left of the range goes with the next compactions. The end
        // of this range, unlike that of the other, is inclusive: a file may end with the first
        // record that stays.
        let last = layout::record_key(stream, to - 1);
        self.db.delete_file_in_range(from, last).map_err(failed)
    }

    /// Removes what is older than the retention, by the time it was appended.
    fn retain(&self, state: &mut StoreState) -> Result<(), Failure> {
        let Some(retention) = self.retention else { return Ok(()) };
        let interval = RETENTION_INTERVAL.min(retention / 2);
        if state.retention_checked.is_some_and(|at| at.elapsed() < interval) {
            return Ok(());
        }
        state.retention_checked = Some(Instant::now());
        let age = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let cutoff = now_millis().saturating_sub(age);
        for stream in Streams::all().filter(|stream| *stream != Stream::Schemas) {
            let bounds = self.bounds(stream)?;
            let keep_from = self.first_appended_at(stream, bounds, cutoff)?;
            if keep_from > bounds.first {
                tracing::info!(%stream, from = bounds.first, to = keep_from, "retention trims the log");
                self.trim_locked(state, stream, keep_from)?;
            }
        }
        Ok(())
    }

    fn first_appended_at(
        &self,
        stream: Stream,
        bounds: Bounds,
        cutoff: i64,
    ) -> Result<u64, Failure> {
        let (mut low, mut high) = (bounds.first, bounds.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let key = layout::record_key(stream, middle);
            let value = self.db.get_pinned(key).map_err(failed)?;
            let value =
                value.ok_or_else(|| layout::damaged("a record within the bounds is gone"))?;
            if layout::appended(&value)? < cutoff {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Writes `batch` with the new bounds, synced, and only then makes them the committed ones.
    fn publish(
        &self,
        state: &mut StoreState,
        streams: Streams,
        mut batch: WriteBatch,
    ) -> Result<(), Failure> {
        state.check_usable()?;
        self.check_writable()?;
        let before = *self.committed.borrow();
        for stream in Streams::all() {
            let bounds = streams.bounds(stream)?;
            if before.bounds(stream)? != bounds {
                batch.put(layout::bounds_key(stream), layout::encode_bounds(bounds));
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        if let Err(error) = self.db.write_opt(batch, &options) {
            state.failed = true;
            return Err(unusable("a write failed").with_source(error));
        }
        self.committed.send_replace(streams);
        Ok(())
    }

    fn newest_append(&self) -> Result<i64, Failure> {
        let mut newest = 0;
        for stream in Streams::all() {
            let Bounds { first, end } = self.bounds(stream)?;
            if first < end
                && let Some(value) =
                    self.db.get_pinned(layout::record_key(stream, end - 1)).map_err(failed)?
            {
                newest = newest.max(layout::appended(&value)?);
            }
        }
        Ok(newest)
    }

    fn index_schemas(&self) -> Result<(), Failure> {
        let bounds = self.bounds(Stream::Schemas)?;
        let items = self.read(Stream::Schemas, bounds.first, bounds.end, usize::MAX)?;
        let mut state = self.lock();
        for item in items {
            if let Some(key) = item.key {
                state.schemas.insert(key, item.offset);
            }
        }
        Ok(())
    }

    /// The state is consistent whenever the lock is free: a panic cannot leave it half changed.
    fn lock(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreState {
    fn check(&self, generation: u64) -> Result<(), Failure> {
        if generation != self.generation {
            let what = "another writer of this embedded log took over";
            return Err(Failure::new(Code::LogFenced, what));
        }
        self.check_usable()
    }

    fn check_usable(&self) -> Result<(), Failure> {
        if self.failed { Err(unusable("an earlier write failed")) } else { Ok(()) }
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bytes_per_sync(1 << 20);
    options.set_max_open_files(OPEN_FILES);
    options.set_keep_log_file_num(4);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    table.set_block_size(BLOCK_BYTES);
    options.set_block_based_table_factory(&table);
    // Reads files when it is opened, only to choose compactions better.
    options.set_skip_stats_update_on_db_open(true);
    // Every commit is synced, so that only the tail of the WAL can be torn; anything else is damage.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options
}

fn read_bounds(db: &DB, streams: &mut Streams) -> Result<(), Failure> {
    for stream in Streams::all() {
        if let Some(value) = db.get_pinned(layout::bounds_key(stream)).map_err(failed)? {
            *streams.slot(stream)? = layout::decode_bounds(&value)?;
        }
    }
    Ok(())
}

pub(super) fn failed(error: rocksdb::Error) -> Failure {
    unusable("its storage failed").with_source(error)
}

fn unusable(what: &str) -> Failure {
    Failure::new(Code::LogStorage, format!("the embedded log cannot go on: {what}"))
        .remedy("check the disk (space, rights, health) and start again")
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
