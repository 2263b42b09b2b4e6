//! The directory of an embedded log: whose it is, and that nobody else's is written to.

use std::path::{Path, PathBuf};

use lockstep_common::Code;
use lockstep_common::{Failure, service::private};
use rocksdb::{DB, Options, WriteBatch, WriteOptions};

use super::layout;
use super::store::failed;

/// Makes the directory, for this user alone, or sees that it holds a log.
///
/// # Errors
/// `Halt` when it holds something else, or cannot be used.
pub(super) fn claim(path: &Path) -> Result<(), Failure> {
    check_contents(path)?;
    private::directory(path).map_err(|error| unreachable_path(path, &error))
}

/// Whether there is a database of RocksDB: each has this file.
pub(super) fn holds_database(path: &Path) -> bool {
    path.join("CURRENT").exists()
}

/// Where RocksDB writes its own notes about a log that is open for reading only.
#[derive(Debug)]
pub(super) struct Aside(pub(super) PathBuf);

impl Aside {
    /// For reading the log in `log`.
    pub(super) fn new(log: &Path) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("lockstep-{}", uuid::Uuid::new_v4()));
        private::directory(&path).map_err(|error| unreachable_path(log, &error))?;
        Ok(Aside(path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Refuses a directory that holds something else, before anything is written to it.
fn check_contents(path: &Path) -> Result<(), Failure> {
    let empty = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(unreachable_path(path, &error)),
    };
    if empty {
        return Ok(());
    }
    // The log has one family; a spool, for one, has more.
    match DB::list_cf(&Options::default(), path) {
        Ok(families) if families.iter().all(|family| family == "default") => Ok(()),
        // Whatever is wrong with it, opening says; nothing is written to a database that does not open.
        Err(_) if holds_database(path) => Ok(()),
        _ => Err(Failure::new(Code::LogNotALog, format!("{} is not empty and holds no embedded log", path.display())).remedy("let `log.path` name a directory of its own: an empty one, or one that is not there yet")),
    }
}

/// Whether the database is this pipeline's log; `false` when it is new.
///
/// # Errors
/// It is of another format or pipeline.
pub(super) fn is_log_of(db: &DB, path: &Path, pipeline: &str) -> Result<bool, Failure> {
    let path = path.display();
    let format = db.get(layout::FORMAT_KEY).map_err(failed)?;
    let name = db.get(layout::PIPELINE_KEY).map_err(failed)?;
    match (format.as_deref(), name) {
        (None, None) => Ok(false),
        (Some([layout::FORMAT]), Some(name)) if name == pipeline.as_bytes() => Ok(true),
        (Some([layout::FORMAT]), Some(name)) => Err(Failure::new(
            Code::LogOtherPipeline,
            format!(
                "{path} holds the log of pipeline `{}`, not of `{pipeline}`",
                String::from_utf8_lossy(&name)
            ),
        )
        .remedy("give each pipeline its own [log] path")),
        (format, _) => Err(Failure::new(
            Code::LogFormat,
            format!(
                "{path} has the format {format:?}; this version reads format {}",
                layout::FORMAT
            ),
        )
        .remedy("use the version of Lockstep that wrote it, or another directory")),
    }
}

/// Makes a new database this pipeline's log.
pub(super) fn mark(db: &DB, pipeline: &str) -> Result<(), Failure> {
    let mut batch = WriteBatch::default();
    batch.put(layout::FORMAT_KEY, [layout::FORMAT]);
    batch.put(layout::PIPELINE_KEY, pipeline);
    let mut options = WriteOptions::default();
    options.set_sync(true);
    db.write_opt(batch, &options).map_err(failed)
}

fn unreachable_path(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Code::LogOpen,
        format!("cannot open the embedded log in {}: {error}", path.display()),
    )
    .remedy("check the directory's rights and disk; if it is damaged, restore it")
}

pub(super) fn failure(path: &Path, error: rocksdb::Error) -> Failure {
    let shown = path.display();
    let failure = if error.as_ref().contains("LOCK") {
        Failure::new(Code::LogLocked, format!("another process holds the embedded log in {shown}"))
            .remedy(
                "an embedded log belongs to one `lockstep run`; stop the other one, or use Kafka",
            )
    } else {
        Failure::new(Code::LogOpen, format!("cannot open the embedded log in {shown}"))
            .remedy("check the directory's rights and disk; if it is damaged, restore it")
    };
    failure.with_source(error)
}
