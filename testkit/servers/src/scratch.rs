//! A temporary directory that goes even when its owner is killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A directory that is removed when dropped, or when this process dies without dropping anything.
///
/// A small shell waits at the end of a pipe that only we hold open; when the pipe closes, however
/// that came about, it does its last act and removes the directory.
#[derive(Debug)]
pub struct Scratch {
    watcher: Child,
    dir: TempDir,
}

impl Scratch {
    /// A new directory whose name begins with `prefix`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(prefix: &str) -> Result<Self> {
        Self::with_last_act(prefix, ":", &[])
    }

    /// One with a shell command that runs before the directory goes; its `$0` is the directory, its
    /// `$1` and so on are `args`.
    pub(crate) fn with_last_act(prefix: &str, last_act: &str, args: &[&Path]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir()?;
        // A key press that ends us must not end it before its time.
        let script = format!("trap '' INT TERM HUP; cat >/dev/null; {last_act}; rm -rf \"$0\"");
        let watcher = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(dir.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("watch over a temporary directory")?;
        Ok(Scratch { watcher, dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        // There is nobody to tell if it failed; the directory's own drop tries once more.
        let _ = self.watcher.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Program;

    #[test]
    fn it_goes_with_its_value() {
        let scratch = Scratch::new("lockstep-scratch-test-").unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "content").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    /// The child is this test again, told to make a directory and to be killed.
    #[test]
    fn it_goes_with_its_process() {
        const TOLD: &str = "LOCKSTEP_TEST_SCRATCH_CHILD";
        if std::env::var_os(TOLD).is_some() {
            let scratch = Scratch::new("lockstep-scratch-test-").unwrap();
            println!("\nscratch={}", scratch.path().display());
            loop {
                std::thread::park();
            }
        }
        let mut child = Program::new(std::env::current_exe().unwrap())
            .env(TOLD, "1")
            .arg("--nocapture")
            .arg("it_goes_with_its_process")
            .start()
            .unwrap();
        let line = child.wait_for_line(|l| l.starts_with("scratch="), Duration::from_secs(20));
        let path = line.unwrap().replace("scratch=", "");
        assert!(Path::new(&path).exists());
        child.kill();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while Path::new(&path).exists() {
            assert!(std::time::Instant::now() < deadline, "{path} is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
