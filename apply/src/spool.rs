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
//! - trimming moves the base and then lets go what lies below it, and only up to what the target has
//!   flushed.
//!
//! What lies below the base may be there or not: nobody reads it. Offsets of one log are never used for
//! another record, and the records of another log come only after everything was dropped.
//!
//! Its directory carries a mark; nothing is written to, and nothing dropped in, a directory without it
//! ([`directory`]).
//!
//! Nothing is ever synced: what a power cut takes, the log still has.
//!
//! Opening it takes as long whatever it holds: each index entry says how many units were spooled until
//! then and what they weigh, so that the first and the last tell of all.

mod directory;
mod layout;
mod memory;

use lockstep_common::Code;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lockstep_common::Failure;
use rocksdb::{ColumnFamily, DB, DBRawIteratorWithThreadMode as Cursor, Options, WriteBatch};
use uuid::Uuid;

use crate::unit::{Body, Mark, Place, Unit};

pub(crate) use directory::check;

const RECORDS: &str = "records";
const UNITS: &str = "units";

/// Bytes of records written at once; a larger record goes alone.
const BATCH: usize = 2 << 20;

/// A unit larger than this is not read whole.
const WHOLE: u64 = 1 << 20;

pub(crate) struct Spool {
    db: DB,
    path: PathBuf,
}

/// How much has been spooled up to a unit and with it, since the spool was last empty or before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) units: u64,
    /// Sum of [`Unit::weight`].
    pub(crate) weight: u64,
}

impl Tally {
    /// With one unit more.
    pub(crate) fn with(self, unit: &Unit) -> Self {
        Tally { units: self.units + 1, weight: self.weight + unit.weight() }
    }

    /// Without its last unit.
    fn without(self, unit: &Unit) -> Self {
        Tally {
            units: self.units.saturating_sub(1),
            weight: self.weight.saturating_sub(unit.weight()),
        }
    }
}

/// A unit that is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Spooled {
    pub(crate) unit: Unit,
    /// With it.
    pub(crate) tally: Tally,
}

impl Spooled {
    /// The tally before it.
    pub(crate) fn before(&self) -> Tally {
        self.tally.without(&self.unit)
    }
}

/// What a spool held when it was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    /// The flushed checkpoint it begins after.
    pub(crate) base: Mark,
    /// The end of its last unit; the base when it has none.
    pub(crate) end: Mark,
    /// Tally of what the base has passed, which is gone or goes with the next trim.
    pub(crate) passed: Tally,
    /// Tally of all.
    pub(crate) last: Tally,
    /// First offset of the first unit behind the base, if there is one.
    pub(crate) next: Option<u64>,
}

impl Spool {
    /// Opens or makes the spool in `path`.
    ///
    /// # Errors
    /// `Halt` when the directory cannot be used, or another process has it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Contents>), Failure> {
        directory::claim(path)?;
        let db = match open(path) {
            Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => {
                tracing::warn!(path = %path.display(), %error, "dropping a damaged spool");
                DB::destroy(&Options::default(), path).and_then(|()| open(path))
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
        let db = DB::open_cf_for_read_only(&memory::database(), path, [RECORDS, UNITS], false);
        Spool { db: db.expect("the spool opens again"), path: path.to_owned() }
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn contents(&self) -> Result<Option<Contents>, Failure> {
        let Some(base) =
            self.read(self.db.get(layout::BASE))?.and_then(|v| layout::decode_base(&v))
        else {
            return Ok(None);
        };
        let mut index = self.db.raw_iterator_cf(self.units());
        index.seek_to_last();
        let last = match index.item() {
            None => None,
            Some((key, value)) => match layout::decode_unit(key, value, base.log_id) {
                None => return Ok(None),
                last => last,
            },
        };
        self.read(index.status())?;
        drop(index);
        let newest = last.as_ref().map(|last| last.unit.mark);
        let end = newest.filter(|mark| mark.place() > base.place()).unwrap_or(base);
        let last = last.map_or(Tally::default(), |last| last.tally);
        self.drop_from(end.next_offset)?;
        self.trim(&base)?;
        let next = self.above(base.log_id, base.place())?;
        let passed = next.as_ref().map_or(last, Spooled::before);
        let next = next.map(|next| next.unit.first_offset);
        Ok(Some(Contents { base, end, passed, last, next }))
    }

    /// Adds records, and then the index entries of the units that are complete with them. However
    /// many they are, RocksDB gets so few at once that its memory stays what it is.
    ///
    /// # Errors
    /// `Halt` when the disk does not take them.
    pub(crate) fn append(
        &self,
        records: &[(u64, Bytes)],
        units: &[Spooled],
    ) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        for (offset, payload) in records {
            if !batch.is_empty() && batch.size_in_bytes() + payload.len() > BATCH {
                self.write(std::mem::take(&mut batch))?;
            }
            batch.put_cf(self.records(), layout::key(*offset), payload);
        }
        for Spooled { unit, tally } in units {
            let value = layout::encode_unit(unit, *tally);
            batch.put_cf(self.units(), layout::key(unit.first_offset), value);
        }
        self.write(batch)
    }

    /// Drops the records from `offset` on: an unfinished transaction that was voided.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn drop_from(&self, offset: u64) -> Result<(), Failure> {
        self.drop_range(self.records(), offset)
    }

    /// Drops what a family has from `from` on.
    fn drop_range(&self, family: &ColumnFamily, from: u64) -> Result<(), Failure> {
        let mut cursor = self.db.raw_iterator_cf(family);
        cursor.seek_to_last();
        let last = cursor.key().and_then(layout::offset_of).filter(|last| *last >= from);
        self.read(cursor.status())?;
        // No range is deleted where nothing is, and none further than there is something.
        let Some(last) = last else { return Ok(()) };
        drop(cursor);
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(family, layout::key(from), layout::key(last + 1));
        self.write(batch)?;
        self.drop_files(family, from, last)
    }

    /// Gives back the files that hold nothing but what is in that range, its end included.
    fn drop_files(&self, family: &ColumnFamily, from: u64, last: u64) -> Result<(), Failure> {
        let dropped = self.db.delete_file_in_range_cf(family, layout::key(from), layout::key(last));
        dropped.map_err(|error| failed("trim", &self.path, &error))
    }

    /// Moves the base to `base` and lets go what lies below it: files that hold nothing else. The rest
    /// of it is less than the memtables and a few files; it goes with the next trim.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn trim(&self, base: &Mark) -> Result<(), Failure> {
        self.set_base(base)?;
        let Some(last) = base.next_offset.checked_sub(1) else { return Ok(()) };
        for family in [self.records(), self.units()] {
            self.drop_files(family, 0, last)?;
        }
        Ok(())
    }

    /// Moves the base without dropping anything.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn set_base(&self, base: &Mark) -> Result<(), Failure> {
        let put = self.db.put(layout::BASE, layout::encode_base(base));
        put.map_err(|error| failed("write", &self.path, &error))
    }

    /// Drops everything.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        batch.delete(layout::BASE);
        self.write(batch)?;
        for family in [self.units(), self.records()] {
            self.drop_range(family, 0)?;
            // What comes now may be another log's, which has the same offsets: nothing of what was
            // there may be left under them. It is little, the files are gone.
            self.db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
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
    ) -> Result<Vec<Spooled>, Failure> {
        let mut units = Vec::new();
        let mut bytes = 0;
        let mut index = self.db.raw_iterator_cf(self.units());
        index.seek(layout::key(first_offset));
        let mut records = self.db.raw_iterator_cf(self.records());
        records.seek(layout::key(first_offset));
        while bytes < most
            && let Some((key, value)) = index.item()
        {
            let mut spooled = self.decode(key, value, log_id)?;
            let unit = &mut spooled.unit;
            if matches!(unit.body, Body::Spooled) && unit.bytes <= WHOLE {
                let offsets = unit.first_offset..unit.mark.next_offset;
                let found = self.take(&mut records, offsets, u64::MAX)?;
                unit.body = Body::Memory(found.into_iter().map(|(_, payload)| payload).collect());
            } else if matches!(unit.body, Body::Spooled) {
                records.seek(layout::key(unit.mark.next_offset));
            }
            // What it costs to hold, which is little for one that stays on disk.
            let elsewhere = if matches!(unit.body, Body::Spooled) { unit.bytes } else { 0 };
            bytes += unit.weight() - elsewhere;
            units.push(spooled);
            index.next();
        }
        self.read(index.status())?;
        Ok(units)
    }

    /// The first unit above `place`, without its records.
    ///
    /// # Errors
    /// `Halt` when the disk cannot be read.
    pub(crate) fn above(&self, log_id: Uuid, place: Place) -> Result<Option<Spooled>, Failure> {
        let (_, next_offset) = place;
        let mut index = self.db.raw_iterator_cf(self.units());
        index.seek_for_prev(layout::key(next_offset));
        while let Some((key, value)) = index.item() {
            if self.decode(key, value, log_id)?.unit.mark.place() <= place {
                break;
            }
            index.prev();
        }
        self.read(index.status())?;
        if !index.valid() {
            index.seek_to_first();
        }
        // The offset is a hint: from here on there is at most one unit at or below the place, unless
        // the log's offsets are others than when the place was noted.
        while let Some((key, value)) = index.item() {
            let spooled = self.decode(key, value, log_id)?;
            if spooled.unit.mark.place() > place {
                return Ok(Some(spooled));
            }
            index.next();
        }
        self.read(index.status())?;
        Ok(None)
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
        let mut cursor = self.db.raw_iterator_cf(self.records());
        cursor.seek(layout::key(offsets.start));
        self.take(&mut cursor, offsets, most)
    }

    /// Takes the records in `offsets` from a cursor that is at or before them, about `most` bytes.
    fn take(
        &self,
        cursor: &mut Cursor<'_, DB>,
        offsets: Range<u64>,
        most: u64,
    ) -> Result<Vec<(u64, Bytes)>, Failure> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < most
            && let Some((key, value)) = cursor.item()
        {
            let offset = layout::offset_of(key).ok_or_else(|| unreadable(&self.path))?;
            if offset >= offsets.end {
                break;
            }
            if offset >= offsets.start {
                bytes += value.len() as u64;
                records.push((offset, Bytes::copy_from_slice(value)));
            }
            cursor.next();
        }
        self.read(cursor.status())?;
        Ok(records)
    }

    fn decode(&self, key: &[u8], value: &[u8], log_id: Uuid) -> Result<Spooled, Failure> {
        layout::decode_unit(key, value, log_id).ok_or_else(|| unreadable(&self.path))
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

fn open(path: &Path) -> Result<DB, rocksdb::Error> {
    DB::open_cf_descriptors(&memory::database(), path, memory::families(RECORDS, UNITS))
}

fn failed(what: &str, path: &Path, error: &rocksdb::Error) -> Failure {
    Failure::new(
        Code::ApplySpool,
        format!("cannot {what} the spool in {}: {error}", path.display()),
    )
    .remedy(
        "make room on its disk (or lower `spool_budget`) and see that only this apply uses the \
         directory; nothing is lost, the log still has it",
    )
}

fn unreadable(path: &Path) -> Failure {
    Failure::new(
        Code::ApplySpool,
        format!("the spool in {} holds an entry that cannot be read", path.display()),
    )
    .remedy("delete the directory: the spool is a cache, the log still has everything")
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
