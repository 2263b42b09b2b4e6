//! What processes have used, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks a second of the times in `/proc`: part of Linux's interface to user space, the same on
/// every machine (`USER_HZ`, proc(5)).
const TICKS: u64 = 100;

/// The most that a process was ever resident with, in bytes (`VmHWM`).
pub(super) fn peak(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}

/// Processor time of a process, with that of the children it has waited for.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    Stat::of(pid).map(|stat| stat.cpu)
}

/// The same with that of its living children: a server with a process for each connection.
pub(super) fn cpu_of_family(pid: u32) -> Result<Duration> {
    let mut sum = cpu(pid)?;
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that has just ended is no child any more.
        if let Ok(stat) = Stat::of(child)
            && stat.parent == pid
        {
            sum += stat.cpu;
        }
    }
    Ok(sum)
}

/// Our child that runs the program `name`.
pub(super) fn child(name: &str) -> Result<u32> {
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Ok(stat) = Stat::of(pid)
            && stat.parent == std::process::id()
            && stat.name == name
        {
            return Ok(pid);
        }
    }
    anyhow::bail!("no {name} runs below this process")
}

struct Stat {
    name: String,
    parent: u32,
    cpu: Duration,
}

impl Stat {
    /// proc(5): the name in parentheses, which may hold any character, and then fields from the third
    /// (the state) on; the fourth is the parent, 14 to 17 are times.
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (head, tail) = text.rsplit_once(") ").context("a process has a name")?;
        let (_, name) = head.split_once('(').context("a process has a name")?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let field = |n: usize| fields.get(n - 3).context("a field of stat").copied();
        let mut ticks = 0;
        for n in 14..=17 {
            ticks += field(n)?.parse::<u64>()?;
        }
        Ok(Stat {
            name: name.to_owned(),
            parent: field(4)?.parse()?,
            cpu: Duration::from_millis(ticks * 1000 / TICKS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself_and_its_children() {
        let me = std::process::id();
        assert!(peak(me).unwrap() > 1 << 20);
        let mut child_process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(child("sleep").unwrap(), child_process.id());
        // In this order: neither ever falls.
        let mine = cpu(me).unwrap();
        assert!(cpu_of_family(me).unwrap() >= mine);
        child_process.kill().unwrap();
        child_process.wait().unwrap();
    }
}
