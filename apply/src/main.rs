//! `lockstep-apply`: one apply of a pipeline as a service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lockstep_apply::{ApplySettings, run};
use lockstep_common::service::{self, Ending};
use lockstep_common::status::ApplyStatus;
use lockstep_common::{FailPoints, Shutdown, config};

/// Commits a pipeline's source transactions in PostgreSQL, each as one transaction, in order.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, env = "LOCKSTEP_CONFIG")]
    config: PathBuf,
    /// Which apply of the file: `[apply.<name>]`.
    #[arg(long)]
    name: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    service::run(|shutdown| serve(arguments, shutdown))
}

async fn serve(arguments: Arguments, shutdown: Shutdown) -> Result<(), Ending> {
    let config = config::load(&arguments.config)?;
    let name = arguments.name;
    let Some(apply) = config.apply.get(&name).cloned() else {
        return Err(Ending::usage(format!(
            "{} has no section [apply.{name}]",
            arguments.config.display()
        )));
    };
    let fail = FailPoints::from_env()
        .map_err(|text| Ending::usage(format!("`{text}` is not a fail point (name:n)")))?;
    let log = lockstep_log::open(&config.log, &config.pipeline.name).await?;
    let settings = ApplySettings { name, pipeline: config.pipeline.name, config: apply };
    let (status, _) = tokio::sync::watch::channel(ApplyStatus::default());
    Ok(run(settings, log, status, fail, shutdown).await?)
}
