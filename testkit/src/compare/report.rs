//! The results as Markdown.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::target::Samples;
use super::values::Finding;

/// What one system did.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) catch_up: CatchUp,
    pub(super) steady: Steady,
    /// Peak of each process, in bytes.
    pub(super) peaks: Vec<(&'static str, u64)>,
    pub(super) findings: Vec<Finding>,
    pub(super) rows: usize,
}

impl Outcome {
    /// Fails when anything seen of the target was not the source.
    pub(super) fn expect_right(&self) -> Result<()> {
        let torn = self.catch_up.samples.torn + self.steady.samples.torn;
        ensure!(torn == 0, "{}: {torn} samples were torn", self.name);
        let different: Vec<&str> = self.findings.iter().map(|f| f.what.as_str()).collect();
        ensure!(different.is_empty(), "{}: values differ in {}", self.name, different.join(", "));
        Ok(())
    }
}

/// Changes that were there before it was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchUp {
    pub(super) changes: u64,
    /// From the start of the processes until the target had everything.
    pub(super) time: Duration,
    /// Of that, from the first transaction's being there.
    pub(super) from_first: Duration,
    /// Until the log had everything; none when it was not seen before the end.
    pub(super) in_log: Option<Duration>,
    pub(super) samples: Samples,
    pub(super) cpu: Cpu,
}

/// Processor time of everybody over one phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    pub(super) system: Duration,
    pub(super) postgres: Duration,
    pub(super) double: Duration,
}

/// Work at a steady rate.
#[derive(Clone, Debug)]
pub(super) struct Steady {
    /// Sorted.
    pub(super) latencies: Vec<Duration>,
    pub(super) transactions: i64,
    pub(super) time: Duration,
    pub(super) samples: Samples,
}

/// The value below which `share` of the sorted ones lie.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small index")]
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// The table of all outcomes, one column each, and what differs in their targets.
pub(super) fn markdown(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    line(&mut out, "", outcomes, |o| o.name.clone());
    line(&mut out, "---", outcomes, |_| "--:".to_owned());
    line(&mut out, "catching up, changes/s from the start of the processes", outcomes, |o| {
        rate(o.catch_up.changes, o.catch_up.time)
    });
    line(&mut out, "… from the first transaction in the target", outcomes, |o| {
        rate(o.catch_up.changes, o.catch_up.from_first)
    });
    line(&mut out, "… from the start until all is in Kafka", outcomes, |o| {
        o.catch_up.in_log.map_or("-".to_owned(), |time| rate(o.catch_up.changes, time))
    });
    line(&mut out, "… processor time of the programs / PostgreSQL / the double", outcomes, |o| {
        let Cpu { system, postgres, double } = o.catch_up.cpu;
        format!("{} / {} / {} s", seconds(system), seconds(postgres), seconds(double))
    });
    line(&mut out, "… changes a second of the programs' processor time", outcomes, |o| {
        rate(o.catch_up.changes, o.catch_up.cpu.system)
    });
    line(&mut out, "… torn samples of all", outcomes, |o| samples(o.catch_up.samples));
    line(&mut out, "steady, transactions/s", outcomes, |o| {
        format!("{:.0}", o.steady.transactions as f64 / o.steady.time.as_secs_f64())
    });
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        line(&mut out, &format!("… {name} from visible to visible"), outcomes, |o| {
            format!("{:.0} ms", percentile(&o.steady.latencies, share).as_secs_f64() * 1e3)
        });
    }
    line(&mut out, "… torn samples of all", outcomes, |o| samples(o.steady.samples));
    line(&mut out, "resident memory at its highest", outcomes, |o| {
        let peaks: Vec<String> =
            o.peaks.iter().map(|(name, bytes)| format!("{name} {} MiB", bytes >> 20)).collect();
        peaks.join(", ")
    });
    line(&mut out, "columns whose values differ from the source's at the end", outcomes, |o| {
        o.findings.len().to_string()
    });
    for outcome in outcomes {
        out.push_str(&differences(outcome));
    }
    out
}

fn differences(outcome: &Outcome) -> String {
    let mut out = format!("\n{}: ", outcome.name);
    if outcome.findings.is_empty() {
        out.push_str(&format!("all {} rows equal the source's\n", outcome.rows));
        return out;
    }
    out.push_str("\n\n| column | types | rows that differ | source | target |\n");
    out.push_str("| --- | --- | --: | --- | --- |\n");
    for finding in &outcome.findings {
        let Finding { what, types, rows, different, example } = finding;
        out.push_str(&format!(
            "| {what} | {} → {} | {different} of {rows} | `{}` | `{}` |\n",
            types.0, types.1, example.0, example.1
        ));
    }
    out
}

fn line(out: &mut String, name: &str, outcomes: &[Outcome], cell: impl Fn(&Outcome) -> String) {
    let cells: Vec<String> = outcomes.iter().map(cell).collect();
    out.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
}

fn rate(amount: u64, time: Duration) -> String {
    format!("{:.0}", amount as f64 / time.as_secs_f64().max(1e-3))
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

fn samples(samples: Samples) -> String {
    format!("{} of {}", samples.torn, samples.taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let ms: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        assert_eq!(percentile(&ms, 0.5), Duration::from_millis(500));
        assert_eq!(percentile(&ms, 0.99), Duration::from_millis(990));
        assert_eq!(percentile(&ms, 1.0), Duration::from_millis(1000));
        assert_eq!(percentile(&ms[..1], 0.999), Duration::from_millis(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
