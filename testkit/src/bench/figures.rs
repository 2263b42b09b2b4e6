//! How figures are taken and printed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Prints figures as they come.
#[derive(Debug)]
pub(super) struct Report {
    started: Instant,
}

impl Report {
    pub(super) fn new() -> Self {
        Report { started: Instant::now() }
    }

    /// A heading.
    pub(super) fn part(&mut self, name: &str) {
        println!("\n{name}  (at {:.0} s)", self.started.elapsed().as_secs_f64());
    }

    /// `amount` units in `time`.
    pub(super) fn rate(&mut self, what: &str, amount: u64, unit: &str, time: Duration) {
        println!("  {what:<58} {:>14} {unit}/s", group(per_second(amount, time)));
    }

    /// The same beside a limit, as a share of it.
    pub(super) fn rate_of(
        &mut self,
        what: &str,
        (amount, unit, time): (u64, &str, Duration),
        limit: f64,
    ) {
        let rate = per_second(amount, time);
        let share = 100.0 * rate / limit;
        println!("  {what:<58} {:>14} {unit}/s  {share:>5.1} % of the limit", group(rate));
    }

    /// Processor time of this process for each of `amount`, in nanoseconds.
    pub(super) fn processor(&mut self, amount: u64, time: Duration) {
        let each = time.as_secs_f64() * 1e9 / amount as f64;
        println!("  {:<58} {each:>14.0} ns", "  processor time of it, for each");
    }

    /// Nanoseconds for each of `amount`.
    pub(super) fn each(&mut self, what: &str, amount: u64, time: Duration) {
        println!("  {what:<58} {:>14.1} ns", time.as_secs_f64() * 1e9 / amount as f64);
    }

    /// Anything else.
    pub(super) fn line(&mut self, what: &str, value: &str) {
        println!("  {what:<58} {value:>14}");
    }
}

/// Processor time that this process has used, in steps of ten milliseconds (`proc_pid_stat(5)`).
pub(super) fn processor_time() -> Result<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    // Fields 14 and 15; the second is a name in parentheses, which may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("a process's name")?;
    let fields = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let ticks = fields.sum::<Result<u32, _>>().context("a process's times")?;
    Ok(TICK * ticks)
}

/// Units in a second.
pub(super) fn per_second(amount: u64, time: Duration) -> f64 {
    amount as f64 / time.as_secs_f64()
}

/// 1234567.8 as `1,234,568`.
fn group(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
