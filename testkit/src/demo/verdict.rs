//! What the demo has proved, or not.

use std::fmt;

use crate::oracle::Observations;

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Tables compared at the end.
    pub tables: usize,
    /// Their rows in the target.
    pub rows: u64,
    /// Rows of the large tables in the target, each compared too.
    pub large_rows: u64,
    /// Indexes, constraints, defaults and identities that both have.
    pub objects: String,
    /// How the full load went.
    pub load: String,
    /// Source transactions committed.
    pub committed: u64,
    /// Source transactions rolled back on purpose.
    pub rolled_back: u64,
    /// Deadlocks on the source, each run again.
    pub deadlocks: u64,
    /// What the observer has seen.
    pub observations: Observations,
    /// Conditions checked in every snapshot.
    pub conditions: usize,
    /// What went wrong on purpose.
    pub disruptions: Vec<String>,
    /// What went wrong otherwise.
    pub failures: Vec<String>,
    /// Seed of the run.
    pub seed: u64,
}

impl Verdict {
    /// Whether everything was proved: something was observed, nothing wrong was found, and every
    /// transaction arrived exactly once.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
            && self.observations.findings.is_empty()
            && self.observations.snapshots > 0
            && self.arrived() == self.committed
            && self.committed > 0
    }

    fn arrived(&self) -> u64 {
        u64::try_from(self.observations.transactions).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.observations;
        writeln!(
            f,
            "source      {} transactions committed, {} rolled back, {} deadlocks run again",
            self.committed, self.rolled_back, self.deadlocks
        )?;
        writeln!(f, "target      {} of {} transactions arrived", self.arrived(), self.committed)?;
        writeln!(f, "full load   {}", self.load)?;
        writeln!(
            f,
            "compared    {} tables, {} rows, value by value with the source",
            self.tables,
            self.rows + self.large_rows
        )?;
        writeln!(f, "            {}: the target has all that the source has", self.objects)?;
        writeln!(
            f,
            "observed    {} snapshots at {} positions, each compared in full and checked for {} \
             conditions; {} while the load converged; {} times the target was away",
            seen.snapshots, seen.positions, self.conditions, seen.converging, seen.unreachable
        )?;
        if seen.taken_back > 0 {
            writeln!(
                f,
                "replayed    {} times PostgreSQL's crash took unflushed commits back, data and \
                 checkpoint together",
                seen.taken_back
            )?;
        }
        for disruption in &self.disruptions {
            writeln!(f, "disrupted   {disruption}")?;
        }
        for finding in &seen.findings {
            writeln!(f, "WRONG       at {}: {}", finding.position, finding.what)?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED      {failure}")?;
        }
        let verdict = if self.passed() {
            "PASSED: every row was copied, and every transaction arrived exactly once, whole and in \
             order"
        } else {
            "FAILED"
        };
        write!(f, "verdict     {verdict} (seed {})", self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Lsn;
    use crate::oracle::Finding;

    fn good() -> Verdict {
        Verdict {
            tables: 11,
            rows: 100,
            large_rows: 1000,
            objects: "3 indexes".into(),
            load: "1100 rows".into(),
            committed: 10,
            rolled_back: 1,
            deadlocks: 0,
            observations: Observations { snapshots: 5, transactions: 10, ..Default::default() },
            conditions: 11,
            disruptions: Vec::new(),
            failures: Vec::new(),
            seed: 1,
        }
    }

    #[test]
    fn nothing_observed_lost_doubled_or_torn_passes() {
        assert!(good().passed());
        let mut blind = good();
        blind.observations.snapshots = 0;
        assert!(!blind.passed());
        let mut lost = good();
        lost.observations.transactions = 9;
        assert!(!lost.passed());
        let mut torn = good();
        torn.observations.findings =
            vec![Finding { position: Lsn::default(), what: "torn state".into() }];
        assert!(!torn.passed() && torn.to_string().contains("torn state"));
        let mut failed = good();
        failed.failures = vec!["lockstep left with exit status 1".into()];
        assert!(!failed.passed());
    }
}
