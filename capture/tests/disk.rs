//! A small disk of its own, to be full.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory; gone when dropped.
pub struct Disk {
    mounted: TempDir,
}

impl Disk {
    /// None, with a word, where this user may not mount one.
    pub fn new(mebibytes: u32, owner: u32) -> Option<Self> {
        let mounted = tempfile::tempdir().expect("a temporary directory");
        let options = format!("size={mebibytes}m,mode=0700,uid={owner},gid={owner}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(mounted.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Disk { mounted });
        }
        eprintln!("this user may not mount a file system: nothing is tested");
        None
    }

    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Takes so much of it, until [`Disk::empty`].
    pub fn fill(&self, mebibytes: usize) {
        std::fs::write(self.filler(), vec![0; mebibytes << 20]).expect("there is room");
    }

    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What has files open there holds it until it closes them.
        let _ = Command::new("umount").arg("--lazy").arg(self.mounted.path()).status();
    }
}
