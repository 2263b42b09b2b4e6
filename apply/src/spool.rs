//! The spool on disk: a piece of the log, kept while the target cannot take it.
//!
//! It is a cache of the log and nothing else. It holds the records of whole units from its *base* (a
//! checkpoint that the target has flushed) on, without a hole, because
//!
//! - a unit's index entry is written in the same batch as, or after, its records;
//! - batches go through RocksDB's write-ahead log in order, and recovery after any crash gives a
//!   prefix of them: a tail may be lost, which is then read from the log again, never a middle;
//! - records behind the last index entry belong to a transaction that was not complete, and go when
//!   the spool is opened: the log gives them again;
//! - trimming moves the base and drops what lies below it in one batch, and only up to what the
//!   target has flushed.
//!
//! Nothing is ever synced: what a power cut takes, the log still has.
//!
//! Keys are log offsets, big-endian: `records` holds the payloads, `units` the index by first offset.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lockstep_common::check::CheckResult;
use lockstep_common::{Failure, Position};
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, Direction, IteratorMode, WriteBatch};
use uuid::Uuid;

use crate::unit::{Body, Mark, Unit, UnitKind};

const RECORDS: &str = "records";
const UNITS: &str = "units";
const BASE: &[u8] = b"base";
/// Changes with the layout of keys or values; another one's spool is dropped.
const FORMAT: u8 = 2;

/// RocksDB's memory: few and small buffers, since a crash replays what is in them.
const WRITE_BUFFER: usize = 16 << 20;
const WAL_BYTES: u64 = 64 << 20;

/// A unit larger than this is not read whole.
const WHOLE: u64 = 1 << 20;

/// Code of the failure that the spool's disk is.
pub(crate) const FAILED: &str = "apply.spool";

pub(crate) struct Spool {
    db: DB,
    path: PathBuf,
}

/// What a spool held when it was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    /// The flushed checkpoint it begins after.
    pub(crate) base: Mark,
    /// The end of its last unit; the base when it has none.
    pub(crate) end: Mark,
    /// Units behind the base.
    pub(crate) units: u64,
    /// What all units there weigh, those the base has passed included.
    pub(crate) bytes: u64,
}

impl Spool {
    /// Opens or makes the spool in `path`.
    ///
    /// # Errors
    /// `Halt` when the directory cannot be used, or another process has it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Contents>), Failure> {
        let db = match open(path) {
            Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => {
                tracing::warn!(path = %path.display(), %error, "dropping a damaged spool");
                DB::destroy(&options(), path).and_then(|()| open(path))
            }
            result => result,
        };
        let path = path.to_owned();
        let db = db.map_err(|error| failed("open", &path, &error))?;
        let spool = Spool { db, path };
        let contents = spool.contents()?;
        if contents.is_none() {
            spool.clear()?;
        }
        Ok((spool, contents))
    }

    /// A spool whose disk takes nothing.
    #[cfg(test)]
    pub(crate) fn read_only(path: &Path) -> Self {
        drop(open(path).expect("the spool opens"));
        let db = DB::open_cf_for_read_only(&options(), path, [RECORDS, UNITS], false);
        Spool { db: db.expect("the spool opens again"), path: path.to_owned() }
    }

    fn contents(&self) -> Result<Option<Contents>, Failure> {
        let Some(base) = self.read(self.db.get(BASE))?.and_then(|v| decode_base(&v)) else {
            return Ok(None);
        };
        let mut units = self.db.iterator_cf(self.units(), IteratorMode::End);
        let last = match units.next() {
            None => None,
            Some(entry) => {
                let (key, value) = self.read(entry)?;
                match (decode_key(&key), decode_unit(&key, &value, base.log_id)) {
                    (Some(_), Some(unit)) => Some(unit),
                    _ => return Ok(None),
                }
            }
        };
        let end = last.map_or(base, |unit| unit.mark);
        let end = if end.place() > base.place() { end } else { base };
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(
            self.records(),
            end.next_offset.to_be_bytes(),
            u64::MAX.to_be_bytes(),
        );
        self.write(batch)?;
        let (mut units, mut bytes) = (0, 0);
        for entry in self.db.iterator_cf(self.units(), IteratorMode::Start) {
            let (key, value) = self.read(entry)?;
            let Some(unit) = decode_unit(&key, &value, base.log_id) else { return Ok(None) };
            units += u64::from(unit.mark.place() > base.place());
            bytes += unit.weight();
        }
        Ok(Some(Contents { base, end, units, bytes }))
    }

    /// Adds records, and the index entries of the units that are complete with them.
    ///
    /// # Errors
    /// `Halt` when the disk does not take them.
    pub(crate) fn append(&self, records: &[(u64, Bytes)], units: &[Unit]) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        for (offset, payload) in records {
            batch.put_cf(self.records(), offset.to_be_bytes(), payload);
        }
        for unit in units {
            batch.put_cf(self.units(), unit.first_offset.to_be_bytes(), encode_unit(unit));
        }
        self.write(batch)
    }

    /// Drops the records in `offsets`: an unfinished transaction that was voided.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn discard(&self, offsets: Range<u64>) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        let (from, to) = (offsets.start.to_be_bytes(), offsets.end.to_be_bytes());
        batch.delete_range_cf(self.records(), from, to);
        self.write(batch)
    }

    /// Moves the base to `base` and drops what lies below it.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn trim(&self, base: &Mark) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        let end = base.next_offset.to_be_bytes();
        // Unlike a deleted range, a range of files has its end in it.
        let last = base.next_offset.saturating_sub(1).to_be_bytes();
        batch.put(BASE, encode_base(base));
        batch.delete_range_cf(self.records(), 0u64.to_be_bytes(), end);
        batch.delete_range_cf(self.units(), 0u64.to_be_bytes(), end);
        self.write(batch)?;
        // Whole files go at once; what is left of the range goes when RocksDB compacts.
        for family in [self.records(), self.units()] {
            let dropped = self.db.delete_file_in_range_cf(family, 0u64.to_be_bytes(), last);
            dropped.map_err(|error| failed("trim", &self.path, &error))?;
        }
        Ok(())
    }

    /// Moves the base without dropping anything.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn set_base(&self, base: &Mark) -> Result<(), Failure> {
        self.db.put(BASE, encode_base(base)).map_err(|error| failed("write", &self.path, &error))
    }

    /// Drops everything.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        batch.delete(BASE);
        for family in [self.records(), self.units()] {
            batch.delete_range_cf(family, 0u64.to_be_bytes(), u64::MAX.to_be_bytes());
        }
        self.write(batch)?;
        for family in [self.records(), self.units()] {
            let dropped =
                self.db.delete_file_in_range_cf(family, 0u64.to_be_bytes(), u64::MAX.to_be_bytes());
            dropped.map_err(|error| failed("clear", &self.path, &error))?;
        }
        Ok(())
    }

    /// Units from `first_offset` on, about `most` bytes of them; large ones without their records.
    ///
    /// # Errors
    /// `Halt` when the disk cannot be read.
    pub(crate) fn units_from(
        &self,
        log_id: Uuid,
        first_offset: u64,
        most: u64,
    ) -> Result<Vec<Unit>, Failure> {
        let from = first_offset.to_be_bytes();
        let mut units = Vec::new();
        let mut bytes = 0;
        for entry in
            self.db.iterator_cf(self.units(), IteratorMode::From(&from, Direction::Forward))
        {
            let (key, value) = self.read(entry)?;
            let mut unit =
                decode_unit(&key, &value, log_id).ok_or_else(|| unreadable(&self.path))?;
            if matches!(unit.body, Body::Spooled) && unit.bytes <= WHOLE {
                let records =
                    self.records_in(unit.first_offset..unit.mark.next_offset, u64::MAX)?;
                unit.body = Body::Memory(records.into_iter().map(|(_, payload)| payload).collect());
                bytes += unit.weight();
            }
            units.push(unit);
            if bytes >= most {
                break;
            }
        }
        Ok(units)
    }

    /// Up to ten thousand units from `first_offset` on, none of them with its records.
    ///
    /// # Errors
    /// `Halt` when the disk cannot be read.
    pub(crate) fn heads_from(&self, log_id: Uuid, first_offset: u64) -> Result<Vec<Unit>, Failure> {
        let from = first_offset.to_be_bytes();
        self.db
            .iterator_cf(self.units(), IteratorMode::From(&from, Direction::Forward))
            .take(10_000)
            .map(|entry| {
                let (key, value) = self.read(entry)?;
                decode_unit(&key, &value, log_id).ok_or_else(|| unreadable(&self.path))
            })
            .collect()
    }

    /// Records in `offsets`, about `most` bytes of them.
    ///
    /// # Errors
    /// `Halt` when the disk cannot be read.
    pub(crate) fn records_in(
        &self,
        offsets: Range<u64>,
        most: u64,
    ) -> Result<Vec<(u64, Bytes)>, Failure> {
        let mut records = Vec::new();
        let mut bytes = 0;
        let from = offsets.start.to_be_bytes();
        for entry in
            self.db.iterator_cf(self.records(), IteratorMode::From(&from, Direction::Forward))
        {
            let (key, value) = self.read(entry)?;
            let offset = decode_key(&key).ok_or_else(|| unreadable(&self.path))?;
            if offset >= offsets.end || bytes >= most {
                break;
            }
            bytes += value.len() as u64;
            records.push((offset, Bytes::from(value)));
        }
        Ok(records)
    }

    fn write(&self, batch: WriteBatch) -> Result<(), Failure> {
        self.db.write(batch).map_err(|error| failed("write", &self.path, &error))
    }

    fn read<T>(&self, result: Result<T, rocksdb::Error>) -> Result<T, Failure> {
        result.map_err(|error| failed("read", &self.path, &error))
    }

    fn records(&self) -> &ColumnFamily {
        self.db.cf_handle(RECORDS).expect("opened with this family")
    }

    fn units(&self) -> &ColumnFamily {
        self.db.cf_handle(UNITS).expect("opened with this family")
    }
}

/// Whether a spool can be in `path`. Makes nothing but the directory, which apply would.
pub(crate) fn check(path: &Path) -> CheckResult {
    let name = format!("spool {}", path.display());
    let probe = std::fs::create_dir_all(path).and_then(|()| tempfile_in(path));
    match probe {
        Ok(()) => CheckResult::pass(name, "can be written"),
        Err(error) => CheckResult::fail(
            name,
            format!("cannot be written: {error}"),
            "let `spool` name a directory that apply may write, with room for `spool_budget`",
        ),
    }
}

/// Writes a file there and takes it away again.
fn tempfile_in(path: &Path) -> std::io::Result<()> {
    let file = path.join(format!("check-{}", Uuid::new_v4()));
    std::fs::write(&file, b"lockstep")?;
    std::fs::remove_file(file)
}

fn options() -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options.set_keep_log_file_num(2);
    options.set_max_open_files(256);
    options
}

fn open(path: &Path) -> Result<DB, rocksdb::Error> {
    let families = [RECORDS, UNITS].map(|name| ColumnFamilyDescriptor::new(name, options()));
    DB::open_cf_descriptors(&options(), path, families)
}

fn failed(what: &str, path: &Path, error: &rocksdb::Error) -> Failure {
    Failure::halt(
        FAILED,
        format!("cannot {what} the spool in {}: {error}", path.display()),
        "make room on its disk (or lower `spool_budget`) and see that only this apply uses the \
         directory; nothing is lost, the log still has it",
    )
}

fn unreadable(path: &Path) -> Failure {
    Failure::halt(
        FAILED,
        format!("the spool in {} holds an entry that cannot be read", path.display()),
        "delete the directory: the spool is a cache, the log still has everything",
    )
}

fn decode_key(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

fn encode_base(base: &Mark) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(base.log_id.as_bytes());
    out.extend_from_slice(&base.next_offset.to_be_bytes());
    out.extend_from_slice(&base.time.to_be_bytes());
    out.extend_from_slice(&base.position.to_key());
    out
}

fn decode_base(bytes: &[u8]) -> Option<Mark> {
    let (format, rest) = bytes.split_first()?;
    let (log_id, rest) = rest.split_first_chunk::<16>()?;
    let (next_offset, rest) = rest.split_first_chunk::<8>()?;
    let (time, key) = rest.split_first_chunk::<8>()?;
    (*format == FORMAT).then_some(())?;
    Some(Mark {
        log_id: Uuid::from_bytes(*log_id),
        position: Position::from_key(key)?,
        next_offset: u64::from_be_bytes(*next_offset),
        time: i64::from_be_bytes(*time),
    })
}

/// Kind, next offset, time, bytes, length of `position`, `position`, `after`.
fn encode_unit(unit: &Unit) -> Vec<u8> {
    let position = unit.mark.position.to_key();
    let kind = match unit.kind {
        UnitKind::Progress => 0,
        UnitKind::Transaction => 1,
        UnitKind::Load => 2,
    };
    let mut out = vec![kind];
    out.extend_from_slice(&unit.mark.next_offset.to_be_bytes());
    out.extend_from_slice(&unit.mark.time.to_be_bytes());
    out.extend_from_slice(&unit.bytes.to_be_bytes());
    out.push(u8::try_from(position.len()).expect("a position has at most 28 bytes"));
    out.extend_from_slice(&position);
    out.extend_from_slice(&unit.after.to_key());
    out
}

fn decode_unit(key: &[u8], value: &[u8], log_id: Uuid) -> Option<Unit> {
    let (kind, rest) = value.split_first()?;
    let (next_offset, rest) = rest.split_first_chunk::<8>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (bytes, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let kind = match kind {
        0 => UnitKind::Progress,
        1 => UnitKind::Transaction,
        2 => UnitKind::Load,
        _ => return None,
    };
    let (position, after) = rest.split_at_checked(usize::from(*length))?;
    Some(Unit {
        kind,
        mark: Mark {
            log_id,
            position: Position::from_key(position)?,
            next_offset: u64::from_be_bytes(*next_offset),
            time: i64::from_be_bytes(*time),
        },
        after: Position::from_key(after)?,
        first_offset: decode_key(key)?,
        bytes: u64::from_be_bytes(*bytes),
        body: if kind == UnitKind::Progress { Body::Progress } else { Body::Spooled },
    })
}

/// Runs work that may wait for the disk without holding up the runtime's other tasks.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// A spool that several hands hold.
pub(crate) type SharedSpool = Arc<Spool>;
