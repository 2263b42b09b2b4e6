//! What must hold before a source can be read.

use lockstep_common::check::CheckResult;
use lockstep_common::config;

/// Examines all of it.
pub async fn check(_source: &config::Source) -> Vec<CheckResult> {
    Vec::new()
}
