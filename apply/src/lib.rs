//! Apply: reads a pipeline's log and commits each source transaction as one PostgreSQL transaction.
//!
//! ```text
//! log ──► feed ──► assemble ──► buffer (memory, then spool) ──► write ──► destination
//!          records    transactions                                  one connection, pipelined
//! ```
//!
//! `assemble` argues why no transaction is lost, doubled or torn on the way in, `buffer` and `spool`
//! why what is held is whole, `write` what a crash at each step does, and
//! `destination::postgres::checkpoint` why each transaction is committed exactly once.

mod assemble;
mod buffer;
mod content;
mod destination;
pub mod failpoints;
mod feed;
mod foreign;
mod pipeline;
mod reach;
mod report;
mod schemas;
mod spool;
mod start;
#[cfg(feature = "testing")]
pub mod testing;
mod tsql;
mod unit;
mod write;

use std::sync::Arc;

use lockstep_common::failure::Disposition;
use lockstep_common::model::definition::Definition;
use lockstep_common::service::check::CheckResult;
use lockstep_common::service::status::{ApplyStatus, StatusSender, TaskState};
use lockstep_common::{FailPoints, Failure, Shutdown, TableName, TableVersion, config};
use lockstep_log::Log;

use destination::Destination;
use destination::postgres::Target;
use pipeline::Pipeline;
use report::Report;

/// Which apply this is and what it works on.
#[derive(Clone, Debug)]
pub struct ApplySettings {
    /// The apply's own name: `[apply.<name>]`.
    pub name: String,
    /// The pipeline it follows: the key of its checkpoint in the target.
    pub pipeline: String,
    /// What the pipeline does with its source.
    pub task: config::Task,
    /// Its section of the configuration.
    pub config: config::Apply,
}

/// Follows the log until `shutdown`: reconnects to log and target by itself.
///
/// # Errors
/// `Halt` when an operator must act, `Fenced` when another apply took over this target, and the
/// failure of a crash at a fail point, upon which nothing is flushed.
pub async fn run(
    settings: ApplySettings,
    log: Arc<dyn Log>,
    status: StatusSender<ApplyStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let target = Target::new(&settings.config, &settings.pipeline);
    let target = target.map(|target| target.for_task(settings.task));
    run_on(settings, target, log, status, fail, shutdown).await
}

/// [`run`], into a destination of any kind.
async fn run_on<D: Destination>(
    settings: ApplySettings,
    destination: Result<D, Failure>,
    log: Arc<dyn Log>,
    status: StatusSender<ApplyStatus>,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let report = Report::new(status);
    report.state(TaskState::Starting);
    let weak = settings.config.weakness();
    for weakness in weak.into_iter().chain(log.weaknesses()) {
        report.notice(&weakness.what);
    }
    let result = match destination {
        Ok(destination) => follow(settings, destination, log, &report, fail, shutdown).await,
        Err(failure) => Err(failure),
    };
    match &result {
        Ok(()) => report.state(TaskState::Stopped),
        Err(failure) if failure.disposition() == Disposition::Fenced => {
            report.failed(TaskState::Fenced, failure);
        }
        Err(failure) => report.failed(TaskState::Halted, failure),
    }
    result
}

/// Writes the log into the destination, to the end.
async fn follow<D: Destination>(
    settings: ApplySettings,
    destination: D,
    log: Arc<dyn Log>,
    report: &Report,
    fail: FailPoints,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let pipeline =
        Pipeline::new(settings, destination, log, report.clone(), fail, shutdown).await?;
    pipeline.run().await
}

/// Every prerequisite of this apply, each with its fix when it is not met. Changes nothing.
pub async fn check(settings: &ApplySettings) -> Vec<CheckResult> {
    let config = &settings.config;
    let mut results = vec![spool::check(&config.spool)];
    if let Some(weakness) = config.weakness() {
        results.push(CheckResult::warn("transport", weakness.what, weakness.fix));
    }
    if let Err(failure) = start::parse(config.start.as_deref()) {
        results.push(CheckResult::fail("start point", failure.message, failure.remedy));
    }
    match Target::new(config, &settings.pipeline).map(|target| target.for_task(settings.task)) {
        Ok(target) => results.extend(target.check(&settings.pipeline).await),
        Err(failure) => {
            results.push(CheckResult::fail("configuration", failure.message, failure.remedy));
        }
    }
    results
}

/// Removes the pipeline's checkpoint from the target, so that another start point can be chosen, and
/// fences an apply that still runs. Gives the position the target had reached. The tables stay as
/// they are: whoever resets decides what is in them.
///
/// # Errors
/// `Retry` when the target is away, `Halt` when it refuses.
pub async fn reset(settings: &ApplySettings) -> Result<Option<String>, Failure> {
    Target::new(&settings.config, &settings.pipeline)?.reset(&settings.pipeline).await
}

/// Whether the types that the configuration asks for are in the target, and can hold every value of
/// `tables`; and whether target tables that are there take rows as they are. Changes nothing.
pub async fn check_types(
    settings: &ApplySettings,
    tables: &[(Arc<TableVersion>, Definition)],
) -> Vec<CheckResult> {
    let checked = async {
        let target = Target::new(&settings.config, &settings.pipeline)?.for_task(settings.task);
        target.check_types(&settings.pipeline, tables).await
    };
    match checked.await {
        Ok(results) => results,
        Err(failure) => vec![CheckResult::fail("types", failure.message, failure.remedy)],
    }
}

/// The DDL that a full load of `tables` runs in a target of that major version of PostgreSQL, before
/// and after the load, and as comments what is not made of them and why. The target is asked which
/// types of extensions it has; one that does not answer is taken to have them, and the script says so.
pub async fn schema(
    settings: &ApplySettings,
    version: u32,
    tables: &[(Arc<TableVersion>, Definition)],
) -> String {
    let config = &settings.config;
    let asked = async { Target::new(config, &settings.pipeline)?.extensions().await };
    match asked.await {
        Ok(extensions) => destination::postgres::schema(config, version, tables, Some(extensions)),
        Err(failure) => format!(
            "-- The target was not asked which types of extensions it has: {}\n\n{}",
            failure.message.replace(char::is_control, " "),
            destination::postgres::schema(config, version, tables, None)
        ),
    }
}

/// A script that gives an ordinary role what apply needs in its target, a PostgreSQL of that major
/// version, for these source tables; whoever runs it may create roles and schemas there. Asks nobody.
pub fn grants(config: &config::Apply, version: u32, tables: &[&TableName]) -> String {
    destination::postgres::grants(config, version, tables)
}
