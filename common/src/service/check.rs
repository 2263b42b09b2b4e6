//! Results of `lockstep check`.

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It works, with a limit worth knowing.
    Warn,
    /// The service cannot run like this.
    Fail,
}

/// One prerequisite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// What was checked, e.g. `change table cdc.dbo_orders_CT`.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found; one line.
    pub detail: String,
    /// What to do about it; empty for `Pass`.
    pub fix: String,
}

impl CheckResult {
    /// A check that passed.
    pub fn pass(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Pass, detail, "")
    }

    /// A limit worth knowing.
    pub fn warn(
        name: impl Into<String>,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(name, Verdict::Warn, detail, fix)
    }

    /// A check that failed.
    pub fn fail(
        name: impl Into<String>,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(name, Verdict::Fail, detail, fix)
    }

    fn new(
        name: impl Into<String>,
        verdict: Verdict,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        CheckResult { name: name.into(), verdict, detail: detail.into(), fix: fix.into() }
    }
}
