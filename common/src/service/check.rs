//! Results of `lockstep check`.

use crate::Failure;

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

    /// A check that a failure ended: what happened, why, and its remedy.
    pub fn failed(name: impl Into<String>, failure: &Failure) -> Self {
        let detail = match &failure.source {
            Some(source) => format!("{}: {source}", failure.message),
            None => failure.message.clone(),
        };
        let fix = match failure.remedy.as_str() {
            "" => "it may pass by itself: try again",
            remedy => remedy,
        };
        Self::fail(name, detail, fix)
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
