//! The log file of a database.
//!
//! Frames of `length u32 ‖ crc32 u32 ‖ payload`, appended; a commit is durable when the file is
//! synced behind its frames. Whoever waits first syncs for all who have appended by then.
//!
//! # Generations
//! `image.<g>` is a whole database, `log.<g>` what came after it. A checkpoint, under the
//! database's mutex: sync everything, make every durable commit visible, write the image into
//! memory, start `log.<g+1>`; then, beside the traffic, `image.<g+1>` is written under another
//! name, synced and renamed, and the older generation removed. A crash before the rename leaves
//! `image.<g>`, `log.<g>` and `log.<g+1>`, which together are the same database; one after it
//! leaves files that the next start removes. A torn frame can only be the last one of the last
//! log: it and what follows were never acknowledged, and are cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};

use super::Database;
use super::image::{self, write_image};
use super::redo::Replay;
use super::state::State;
use crate::SqlError;

/// A log shorter than this is not worth a checkpoint.
const MIN_CHECKPOINT_BYTES: u64 = 64 << 20;

/// CRC-32 (IEEE 802.3, reflected).
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [[u32; 256]; 8] = crc_table();
    let mut crc = u32::MAX;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let low = crc ^ u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        let [a, b, c, d] = low.to_le_bytes().map(usize::from);
        crc = TABLE[7][a]
            ^ TABLE[6][b]
            ^ TABLE[5][c]
            ^ TABLE[4][d]
            ^ TABLE[3][usize::from(chunk[4])]
            ^ TABLE[2][usize::from(chunk[5])]
            ^ TABLE[1][usize::from(chunk[6])]
            ^ TABLE[0][usize::from(chunk[7])];
    }
    for byte in chunks.remainder() {
        crc = (crc >> 8) ^ TABLE[0][usize::from(*byte ^ crc.to_le_bytes()[0])];
    }
    !crc
}

const fn crc_table() -> [[u32; 256]; 8] {
    let mut table = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let below = table[slice - 1][byte];
            table[slice][byte] = (below >> 8) ^ table[0][(below & 0xFF) as usize];
            byte += 1;
        }
        slice += 1;
    }
    table
}

/// Frames being appended.
pub(super) struct Frames<'a>(&'a mut Vec<u8>);

impl Frames<'_> {
    /// Appends one frame of what `write` puts into an empty buffer.
    pub(super) fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut payload = Vec::new();
        write(&mut payload);
        let length = u32::try_from(payload.len())
            .expect("a frame holds one part of a transaction, far below 4 GiB");
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(&checksum(&payload).to_le_bytes());
        self.0.extend_from_slice(&payload);
    }
}

/// The log file and who waits for it.
pub(super) struct Wal {
    folder: PathBuf,
    inner: Mutex<Inner>,
    synced: Condvar,
    checkpointing: AtomicBool,
    /// Log bytes at which a checkpoint is due, at least.
    checkpoint_bytes: u64,
}

struct Inner {
    file: File,
    generation: u64,
    buffer: Vec<u8>,
    /// Bytes ever appended, the position a commit waits for.
    appended: u64,
    durable: u64,
    syncing: bool,
    failed: Option<String>,
    /// Bytes in the current log file.
    log_bytes: u64,
    image_bytes: u64,
}

impl Wal {
    /// Starts the files of a new database.
    pub(super) fn create(folder: &Path, state: &State, last_txn: u64) -> anyhow::Result<Wal> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let image = write_image(state, last_txn);
        // The log first: an image stands for a whole database.
        let file = open_log(folder, 1)?;
        write_durably(folder, "image.1", &image)?;
        sync_folder(folder)?;
        Ok(Wal::new(folder, file, 1, image.len() as u64))
    }

    fn new(folder: &Path, file: File, generation: u64, image_bytes: u64) -> Wal {
        let log_bytes = file.metadata().map_or(0, |meta| meta.len());
        Wal {
            folder: folder.to_owned(),
            inner: Mutex::new(Inner {
                file,
                generation,
                buffer: Vec::new(),
                appended: 0,
                durable: 0,
                syncing: false,
                failed: None,
                log_bytes,
                image_bytes,
            }),
            synced: Condvar::new(),
            checkpointing: AtomicBool::new(false),
            checkpoint_bytes: MIN_CHECKPOINT_BYTES,
        }
    }

    pub(super) fn set_checkpoint_bytes(&mut self, bytes: u64) {
        self.checkpoint_bytes = bytes;
    }

    /// Opens a database's files: its state, its log, and the greatest transaction id. `None` if
    /// the folder has no image (its creation was never finished).
    pub(super) fn open(folder: &Path) -> anyhow::Result<Option<(State, Wal, u64)>> {
        let Some(first) = generations(folder, "image.")?.into_iter().max() else {
            return Ok(None);
        };
        let path = folder.join(format!("image.{first}"));
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut replay = Replay::from_image(&bytes).with_context(|| path.display().to_string())?;
        let mut logs = generations(folder, "log.")?;
        logs.retain(|generation| *generation >= first);
        logs.sort_unstable();
        let last = logs.last().copied().unwrap_or(first);
        for generation in logs {
            replay_log(folder, generation, generation == last, &mut replay)?;
        }
        let last_txn = replay.last_txn;
        let file = open_log(folder, last)?;
        remove_older(folder, first)?;
        let wal = Wal::new(folder, file, last, bytes.len() as u64);
        Ok(Some((replay.finish(), wal, last_txn)))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends frames; answers the position to wait for. To be called under the database's
    /// mutex, which is what orders the file.
    pub(super) fn append(&self, write: impl FnOnce(&mut Frames<'_>)) -> u64 {
        let mut inner = self.inner();
        let before = inner.buffer.len();
        write(&mut Frames(&mut inner.buffer));
        let grown = (inner.buffer.len() - before) as u64;
        inner.appended += grown;
        inner.log_bytes += grown;
        inner.appended
    }

    /// Waits until the file is durable up to a position, syncing it if nobody else does.
    ///
    /// # Errors
    /// 9001 if the file cannot be written: the outcome of the commit is unknown to the client,
    /// and nothing more is written.
    pub(super) fn wait(&self, position: u64) -> Result<(), SqlError> {
        let mut inner = self.inner();
        loop {
            if let Some(cause) = &inner.failed {
                return Err(SqlError::new(
                    9001,
                    21,
                    1,
                    format!("The log for the database is not available: {cause}."),
                ));
            }
            if inner.durable >= position {
                return Ok(());
            }
            if inner.syncing {
                inner = self.synced.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            inner = self.sync(inner);
        }
    }

    fn sync<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        inner.syncing = true;
        let bytes = std::mem::take(&mut inner.buffer);
        let upto = inner.appended;
        let file = inner.file.try_clone();
        drop(inner);
        let written = file.and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_data()
        });
        let mut inner = self.inner();
        inner.syncing = false;
        match written {
            Ok(()) => inner.durable = upto,
            Err(error) => inner.failed = Some(error.to_string()),
        }
        self.synced.notify_all();
        inner
    }

    /// Writes a checkpoint if the log has grown enough.
    pub(super) fn compact_if_due(&self, database: &Database) {
        let due = {
            let inner = self.inner();
            inner.log_bytes > self.checkpoint_bytes.max(2 * inner.image_bytes)
        };
        if !due || self.checkpointing.swap(true, Ordering::AcqRel) {
            return;
        }
        // A checkpoint that fails is tried again at the next commit; the log has everything.
        if let Err(error) = self.checkpoint(database) {
            tracing::warn!(%error, "cannot write a checkpoint");
        }
        self.checkpointing.store(false, Ordering::Release);
    }

    fn checkpoint(&self, database: &Database) -> anyhow::Result<()> {
        let mut state = database.lock();
        if state.ddl_under_way() {
            return Ok(());
        }
        self.settle(&mut state)?;
        let image = write_image(&state, database.last_txn());
        let generation = self.rotate(image.len() as u64)?;
        drop(state);
        database.notify();
        write_durably(&self.folder, &format!("image.{generation}"), &image)?;
        remove_older(&self.folder, generation)
    }

    /// Puts another database in the place of this one (RESTORE).
    pub(super) fn replace(
        &self,
        state: &mut State,
        with: &State,
        last_txn: u64,
    ) -> anyhow::Result<()> {
        self.settle(state)?;
        let image = write_image(with, last_txn);
        let generation = self.rotate(image.len() as u64)?;
        write_durably(&self.folder, &format!("image.{generation}"), &image)?;
        remove_older(&self.folder, generation)
    }

    /// Makes all that was appended durable, and visible.
    pub(super) fn settle(&self, state: &mut State) -> Result<(), SqlError> {
        let appended = self.inner().appended;
        self.wait(appended)?;
        state.finish(appended);
        Ok(())
    }

    fn rotate(&self, image_bytes: u64) -> anyhow::Result<u64> {
        let mut inner = self.inner();
        let generation = inner.generation + 1;
        inner.file = open_log(&self.folder, generation)?;
        sync_folder(&self.folder)?;
        inner.generation = generation;
        inner.log_bytes = 0;
        inner.image_bytes = image_bytes;
        Ok(generation)
    }

    /// Removes the files (DROP DATABASE).
    pub(super) fn remove(&self) -> std::io::Result<()> {
        fs::remove_dir_all(&self.folder)
    }
}

fn replay_log(
    folder: &Path,
    generation: u64,
    last: bool,
    replay: &mut Replay,
) -> anyhow::Result<()> {
    let path = folder.join(format!("log.{generation}"));
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut rest = bytes.as_slice();
    while let Some((frame, after)) = next_frame(rest) {
        replay.apply(frame).with_context(|| path.display().to_string())?;
        rest = after;
    }
    if rest.is_empty() {
        return Ok(());
    }
    if !last {
        bail!("{} is damaged before its end", path.display());
    }
    let whole = (bytes.len() - rest.len()) as u64;
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(())
}

/// The first whole frame and what follows it.
fn next_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (frame, rest) = rest.split_at_checked(length)?;
    // A file grown but not yet written reads as zeros, an empty frame of sum zero.
    (length > 0 && checksum(frame) == u32::from_le_bytes(*sum)).then_some((frame, rest))
}

fn open_log(folder: &Path, generation: u64) -> anyhow::Result<File> {
    let path = folder.join(format!("log.{generation}"));
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Writes a file under another name, syncs and renames it.
pub(super) fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    let mut file = File::create(&temporary)
        .with_context(|| format!("cannot write {}", temporary.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn generations(folder: &Path, prefix: &str) -> anyhow::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let suffix = name.to_str().and_then(|name| name.strip_prefix(prefix));
        found.extend(suffix.and_then(|suffix| suffix.parse::<u64>().ok()));
    }
    Ok(found)
}

fn remove_older(folder: &Path, generation: u64) -> anyhow::Result<()> {
    for prefix in ["image.", "log."] {
        for older in generations(folder, prefix)?.into_iter().filter(|other| *other < generation) {
            fs::remove_file(folder.join(format!("{prefix}{older}")))?;
        }
    }
    Ok(())
}

/// Reads a backup.
pub(super) fn read_backup(bytes: &[u8]) -> anyhow::Result<(State, u64)> {
    Ok(image::read_image(bytes)?)
}
