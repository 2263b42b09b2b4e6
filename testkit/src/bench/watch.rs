//! What processes and a directory take, over time.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lockstep_common::Shutdown;
use tokio::task::JoinHandle;

use super::figures::Report;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// What a spool takes on the disk beside its budget, at most: the store's own logs, files that are
/// about to go.
pub(super) const STORE: u64 = 40 << 20;
/// Lines of a printed table.
const LINES: usize = 16;
/// Bytes of a block in `st_blocks`, whatever the file system's are (stat(2)).
const BLOCK: u64 = 512;

/// Looks at processes and a directory until it is asked what it saw.
pub(super) struct Watch {
    shared: Arc<Mutex<Seen>>,
    stop: Shutdown,
    task: JoinHandle<()>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Processes by name; one that is killed and started again keeps its name.
    pids: BTreeMap<&'static str, u32>,
    samples: Vec<Sample>,
    /// The most that any process of that name was ever resident with, in bytes.
    peaks: BTreeMap<&'static str, u64>,
    /// The most that the directory took on the disk, in bytes.
    pub(super) largest: u64,
}

#[derive(Debug)]
struct Sample {
    at: Duration,
    resident: BTreeMap<&'static str, u64>,
    directory: u64,
}

impl Watch {
    /// Begins to look at `directory`, and at the processes it is told of.
    pub(super) fn begin(directory: &Path) -> Self {
        let (shared, stop) = (Arc::new(Mutex::new(Seen::default())), Shutdown::new());
        let task = tokio::spawn(look(Arc::clone(&shared), directory.to_owned(), stop.clone()));
        Watch { shared, stop, task }
    }

    /// The process that has this name from now on.
    pub(super) fn process(&self, name: &'static str, pid: u32) {
        lock(&self.shared).pids.insert(name, pid);
    }

    /// The most that the directory took so far.
    pub(super) fn largest(&self) -> u64 {
        lock(&self.shared).largest
    }

    /// Ends it.
    pub(super) async fn end(self) -> Result<Seen> {
        self.stop.cancel();
        self.task.await.context("the watch panicked")?;
        Ok(std::mem::take(&mut *lock(&self.shared)))
    }
}

async fn look(shared: Arc<Mutex<Seen>>, directory: PathBuf, stop: Shutdown) {
    let began = Instant::now();
    while !stop.is_cancelled() {
        let size = size(&directory);
        {
            let mut seen = lock(&shared);
            let mut now = BTreeMap::new();
            for (name, pid) in seen.pids.clone() {
                // One that has just been killed has nothing.
                now.insert(name, resident(pid).unwrap_or(0));
                let peak = field(pid, "VmHWM:").unwrap_or(0);
                let highest = seen.peaks.entry(name).or_default();
                *highest = peak.max(*highest);
            }
            seen.largest = seen.largest.max(size);
            seen.samples.push(Sample { at: began.elapsed(), resident: now, directory: size });
        }
        let _ = tokio::time::timeout(EVERY, stop.cancelled()).await;
    }
}

/// What is in it is whole whenever the lock is free.
fn lock(shared: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    /// Prints the samples, the latest of each of so many equal spans, and the peaks.
    pub(super) fn print(&self, report: &mut Report, directory: &str) {
        let Some(last) = self.samples.last() else { return };
        let names: Vec<&str> = self.pids.keys().copied().collect();
        let head: String = names.iter().map(|name| format!("{name:>12}")).collect();
        println!("    {:>8}{head}{directory:>12}   (MiB)", "s");
        let mut line = 1;
        for sample in &self.samples {
            let due = last.at.mul_f64(line as f64 / LINES as f64);
            if sample.at < due {
                continue;
            }
            while last.at.mul_f64(line as f64 / LINES as f64) <= sample.at {
                line += 1;
            }
            let mib = |bytes: u64| format!("{:>12}", bytes >> 20);
            let row: String = names
                .iter()
                .map(|name| mib(sample.resident.get(name).copied().unwrap_or(0)))
                .collect();
            println!("    {:>8.1}{row}{}", sample.at.as_secs_f64(), mib(sample.directory));
        }
        for (name, peak) in &self.peaks {
            let what = format!("  {name}: resident memory at its highest (VmHWM)");
            report.line(&what, &format!("{} MiB", peak >> 20));
        }
        let what = format!("  {directory} on the disk, at most");
        report.line(&what, &format!("{} MiB", self.largest >> 20));
    }
}

/// Resident bytes of a process.
pub(super) fn resident(pid: u32) -> Result<u64> {
    field(pid, "VmRSS:")
}

/// Bytes of one line of `/proc/PID/status`.
fn field(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib: u64 =
        line.with_context(|| name.to_owned())?.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}

/// What a directory's files take on the disk; files that go meanwhile take nothing.
fn size(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sum += size(&entry.path()),
            Ok(metadata) => sum += metadata.blocks() * BLOCK,
            Err(_) => {}
        }
    }
    sum
}
