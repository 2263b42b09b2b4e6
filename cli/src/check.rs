//! `lockstep check`: every prerequisite of source, log and targets, all failures with their fix.

use lockstep_common::Code;
use std::path::Path;

use lockstep_apply::ApplySettings;
use lockstep_common::Failure;
use lockstep_common::config::{self, Config};
use lockstep_common::failure::exit;
use lockstep_common::service::Ending;
use lockstep_common::service::check::{CheckResult, Verdict};
use lockstep_log::Stream;

use crate::{files, sharing};

/// Runs all checks and prints one line each.
///
/// # Errors
/// When one failed; warnings alone are no failure.
pub(crate) async fn check(path: &Path, config: &Config) -> Result<(), Ending> {
    let mut failed = print("files", files::check(path, config));
    failed += print("configuration", sharing::check(config));
    let mut tables = None;
    if let Some(source) = &config.source {
        let results = lockstep_capture::check(source).await;
        let usable = results.iter().all(|result| result.verdict != Verdict::Fail);
        // What is wrong with the source is said once.
        if usable {
            tables = lockstep_capture::definitions(source, &config.capture).await.ok();
        }
        failed += print("source", results);
        if usable && config.pipeline.task != config::Task::Cdc {
            let results = lockstep_capture::check_load(source, &config.capture).await;
            failed += print("full load", results);
        }
    }
    failed += print("log", check_log(config).await);
    for (name, apply) in &config.apply {
        let settings = ApplySettings {
            name: name.clone(),
            pipeline: config.pipeline.name.clone(),
            task: config.pipeline.task,
            config: apply.clone(),
        };
        let mut results = lockstep_apply::check(&settings).await;
        // A target that cannot be reached has said so.
        if let Some(tables) = &tables
            && results.iter().all(|result| result.verdict != Verdict::Fail)
        {
            results.extend(lockstep_apply::check_types(&settings, tables).await);
        }
        failed += print(&format!("apply.{name}"), results);
    }
    if failed == 0 {
        return Ok(());
    }
    let message = format!("{failed} check(s) failed; each line above says what to do");
    Err(Ending { code: exit::CHECK, message })
}

/// Looks at the log without making anything: a log that is not there yet is made by capture.
async fn check_log(config: &Config) -> Vec<CheckResult> {
    let name = match &config.log {
        config::Log::Kafka(kafka) => format!("Kafka at {}", kafka.brokers),
        config::Log::Embedded(embedded) => format!("embedded log in {}", embedded.path.display()),
    };
    let looked = async {
        let log = lockstep_log::open_for_reading(&config.log, &config.pipeline.name).await?;
        let bounds = log.reader(Stream::Transactions).await?.bounds().await?;
        log.reader(Stream::Schemas).await?;
        Ok::<_, Failure>(format!("offsets {} to {}", bounds.first, bounds.end))
    };
    let looked = match looked.await {
        Ok(found) => CheckResult::pass(name, found),
        Err(failure) if failure.code == Code::LogNoStream => {
            CheckResult::pass(name, "reachable; capture will make the streams")
        }
        Err(failure) => CheckResult::fail(name, failure.message, failure.remedy),
    };
    let weak = config.log.weaknesses().into_iter();
    let weak = weak.map(|weakness| CheckResult::warn("transport", weakness.what, weakness.fix));
    std::iter::once(looked).chain(weak).collect()
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
