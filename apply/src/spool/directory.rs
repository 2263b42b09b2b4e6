//! The spool's directory: whose it is.
//!
//! A spool is dropped and made again when it is damaged or of no use, and it is written to without
//! asking. So it must be certain that a directory is a spool: it is one when it has the mark, a file that
//! is made in an empty directory before anything else. A directory with anything in it and without the
//! mark is left as it is, whatever it holds: an embedded log is a RocksDB directory too, and the only
//! copy of what it holds. (Spools made before there was a mark are known by their column families.)

use lockstep_common::Code;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use lockstep_common::service::check::CheckResult;
use lockstep_common::{Failure, service::private};
use rocksdb::{DB, Options};

use super::{RECORDS, UNITS};

/// The file that says that a directory is a spool.
const MARK: &str = "lockstep-spool";

/// What a directory is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Not there, or empty.
    Free,
    /// A spool with its mark.
    Spool,
    /// A spool of a version that made no mark.
    Unmarked,
    /// Something else.
    Foreign,
}

/// Makes the directory, or sees that it is a spool.
///
/// # Errors
/// `Halt` when it holds something else, or cannot be used.
pub(super) fn claim(path: &Path) -> Result<(), Failure> {
    let kind = kind(path).map_err(|error| unusable(path, &error))?;
    if kind == Kind::Foreign {
        return Err(foreign(path));
    }
    let marked = private::directory(path).and_then(|()| match kind {
        Kind::Spool => Ok(()),
        _ => OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(MARK))
            .map(drop),
    });
    // Again: the mark is new.
    marked.and_then(|()| private::directory(path)).map_err(|error| unusable(path, &error))
}

/// Whether a spool can be in `path`. Changes nothing: what a check makes would be its user's, not the
/// service's.
pub(crate) fn check(path: &Path) -> CheckResult {
    let name = format!("spool {}", path.display());
    let remedy = "let `spool` name a directory that apply may write, with room for `spool_budget`";
    match kind(path).and_then(|kind| writable(path).map(|()| kind)) {
        Ok(Kind::Foreign) => {
            let failure = foreign(path);
            CheckResult::fail(name, failure.message, failure.remedy)
        }
        Ok(_) if path.exists() => CheckResult::pass(name, "can be written"),
        Ok(_) => CheckResult::pass(name, "will be made"),
        Err(error) => CheckResult::fail(name, format!("cannot be written: {error}"), remedy),
    }
}

fn kind(path: &Path) -> io::Result<Kind> {
    let empty = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    if empty {
        return Ok(Kind::Free);
    }
    if path.join(MARK).exists() {
        return Ok(Kind::Spool);
    }
    let families = DB::list_cf(&Options::default(), path).unwrap_or_default();
    let old =
        families.len() == 3 && [RECORDS, UNITS].iter().all(|f| families.iter().any(|g| g == f));
    Ok(if old { Kind::Unmarked } else { Kind::Foreign })
}

/// Whether this process may write there, or where the directory would have to be made.
fn writable(path: &Path) -> io::Result<()> {
    let there = path.ancestors().find(|path| path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is not a directory", there.display()),
        ));
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(there, access).map_err(io::Error::from)
}

fn foreign(path: &Path) -> Failure {
    Failure::new(
        Code::ApplySpool,
        format!("{} is not empty and is no spool: nothing in it was changed", path.display()),
    )
    .remedy("let `spool` name a directory of its own: an empty one, or one that is not there yet")
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::ApplySpool, format!("cannot use the spool in {}: {error}", path.display())).remedy("let `spool` name a directory that apply may write, with room for `spool_budget`; nothing is \
         lost, the log still has it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Spool;

    fn files(path: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                (entry.file_name().into_string().unwrap(), bytes)
            })
            .collect();
        files.sort();
        files
    }

    fn refused(path: &Path) {
        let before = files(path);
        let failure = Spool::open(path).map(drop).unwrap_err();
        assert_eq!(failure.code, Code::ApplySpool, "{failure}");
        assert!(failure.message.contains("is no spool"), "{failure}");
        assert_eq!(check(path).verdict, lockstep_common::service::check::Verdict::Fail);
        assert_eq!(files(path), before, "something was changed");
    }

    #[test]
    fn what_is_no_spool_is_not_touched() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("other");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("letter"), "keep me").unwrap();
        refused(&path);
    }

    #[test]
    fn another_database_is_not_touched_whole_or_damaged() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("log");
        let db = DB::open_default(&path).unwrap();
        db.put("key", "value").unwrap();
        drop(db);
        refused(&path);
        std::fs::write(path.join("CURRENT"), "damaged").unwrap();
        refused(&path);
    }

    #[test]
    fn a_spool_without_its_mark_is_taken_on_and_marked() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("spool");
        drop(Spool::open(&path).unwrap());
        std::fs::remove_file(path.join(MARK)).unwrap();
        drop(Spool::open(&path).unwrap());
        assert!(path.join(MARK).exists());
    }

    #[test]
    fn a_damaged_spool_is_made_again() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("spool");
        drop(Spool::open(&path).unwrap());
        std::fs::write(path.join("CURRENT"), "damaged").unwrap();
        drop(Spool::open(&path).unwrap());
        assert!(path.join(MARK).exists(), "dropping the database must leave the mark");
    }

    #[test]
    fn a_check_makes_nothing() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a/b");
        assert_eq!(check(&path).verdict, lockstep_common::service::check::Verdict::Pass);
        assert!(!top.path().join("a").exists());
        std::fs::write(top.path().join("a"), "a file").unwrap();
        assert_eq!(check(&path).verdict, lockstep_common::service::check::Verdict::Fail);
    }
}
