//! `lockstep check`: every prerequisite of source, log and targets, all failures with their fix.

use lockstep_common::check::{CheckResult, Verdict};
use lockstep_common::config::Config;
use lockstep_common::disposition::exit;
use lockstep_common::service::Ending;

/// Runs all checks and prints one line each.
///
/// # Errors
/// When one failed; warnings alone are no failure.
pub(crate) async fn check(config: &Config) -> Result<(), Ending> {
    let mut failed = 0;
    if let Some(source) = &config.source {
        failed += print("source", lockstep_capture::check(source).await);
    }
    failed += print("log", lockstep_log::check(&config.log, &config.pipeline.name).await);
    for (name, apply) in &config.apply {
        let results = lockstep_apply::check(&config.pipeline.name, apply).await;
        failed += print(&format!("apply.{name}"), results);
    }
    if failed == 0 {
        return Ok(());
    }
    let message = format!("{failed} check(s) failed; each line above says what to do");
    Err(Ending { code: exit::CHECK, message })
}

/// Prints a part's results and counts its failures.
fn print(part: &str, results: Vec<CheckResult>) -> usize {
    for result in &results {
        let mark = match result.verdict {
            Verdict::Pass => "ok  ",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        println!("{mark} {part}: {}: {}", result.name, result.detail);
        if !result.fix.is_empty() && result.verdict != Verdict::Pass {
            println!("     fix: {}", result.fix);
        }
    }
    results.iter().filter(|result| result.verdict == Verdict::Fail).count()
}
