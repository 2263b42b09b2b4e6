//! What must hold before a source can be read.

use lockstep_common::config;

/// How one prerequisite stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Ok,
    /// Capture will work; something deserves attention.
    Warn,
    /// Capture will not work.
    Fail,
}

/// One prerequisite, examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// What was examined, e.g. `login` or `dbo.orders: change table`.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when it holds.
    pub fix: String,
}

pub(crate) async fn check(source: &config::Source) -> Vec<CheckResult> {
    let _ = source;
    Vec::new()
}
