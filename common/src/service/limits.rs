//! What the machine gives a process: room on its disks, descriptors.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// Room that is left on a disk for what a database there does by itself: what waits in its memory goes to
/// files, and a compaction writes before it deletes.
pub const RESERVE: u64 = 64 << 20;

/// Looks whether there is room on the disk that has a directory. To be asked before each write: a
/// database whose write fails has to be opened again, and one that is asked in time goes on.
#[derive(Clone, Debug)]
pub struct Room(PathBuf);

impl Room {
    /// On the disk that has `directory`.
    pub fn of(directory: &Path) -> Self {
        Room(directory.to_owned())
    }

    /// Whether more than [`RESERVE`] is left. Where nobody can tell, a write does.
    pub fn is_left(&self) -> bool {
        free(&self.0).is_none_or(|free| free > RESERVE)
    }

    /// What is said where none is left.
    pub fn shortage(&self) -> String {
        format!(
            "less than {} MiB are free on the disk of {}: nothing more is written there",
            RESERVE >> 20,
            self.0.display()
        )
    }
}

/// Bytes that the disk of a directory has for this user.
fn free(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// What to do about an error of opening a socket or a file, where the process has no descriptor left.
pub fn of_descriptors(error: &io::Error) -> Option<String> {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error)?;
    let most = getrlimit(Resource::Nofile).current;
    let most = most.map_or_else(|| "any number of".to_owned(), |most| most.to_string());
    match code {
        rustix::io::Errno::MFILE => Some(format!(
            "this process has opened all of the {most} descriptors that it may: raise its limit \
             (`ulimit -n`, systemd's LimitNOFILE), or lower the `connections` of its services"
        )),
        rustix::io::Errno::NFILE => {
            Some("the machine has no descriptor left: raise fs.file-max".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_disk_says() {
        let directory = std::env::temp_dir();
        assert!(free(&directory).is_some());
        assert!(Room::of(&directory.join("not there")).is_left());
        assert_eq!(free(&directory.join("not there")), None);
    }

    #[test]
    fn the_limit_of_descriptors_is_named() {
        let full = io::Error::from(rustix::io::Errno::MFILE);
        let said = of_descriptors(&full).expect("it is one of them");
        assert!(said.contains("ulimit -n"), "{said}");
        assert!(said.contains(char::is_numeric), "{said}");
        assert_eq!(of_descriptors(&io::Error::from(rustix::io::Errno::CONNREFUSED)), None);
    }
}
