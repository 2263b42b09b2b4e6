//! `lockstep-apply`: one apply of a pipeline as a service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lockstep_apply::{ApplySettings, run};
use lockstep_common::http::{self, Endpoints};
use lockstep_common::service::status::ApplyStatus;
use lockstep_common::service::telemetry::{self, LogFormat};
use lockstep_common::service::{self, Ending};
use lockstep_common::{FailPoints, Shutdown, config};

/// Commits a pipeline's source transactions in PostgreSQL, each as one transaction, in order.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, short, env = "LOCKSTEP_CONFIG", default_value = "lockstep.toml")]
    config: PathBuf,
    /// Which apply of the file: `[apply.<name>]`.
    #[arg(long)]
    name: String,
    /// Form of the log lines.
    #[arg(long, env = "LOCKSTEP_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init("lockstep-apply", arguments.log_format);
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
    let (status, watched) = tokio::sync::watch::channel(ApplyStatus::default());
    let served = apply.http.is_some();
    if let Some(address) = apply.http {
        http::spawn(
            address,
            Endpoints::apply(name.clone(), watched).with_access(&config.http),
            shutdown.clone(),
        )
        .map_err(|error| Ending::usage(format!("apply.{name}.http = {address}: {error}")))?;
    }
    let (log, pipeline, access) = (config.log, config.pipeline.name, config.http);
    let settings = ApplySettings { name, pipeline, task: config.pipeline.task, config: apply };
    let result = async {
        let log = lockstep_log::open(&log, &settings.pipeline).await?;
        run(settings, log, status.clone(), fail, shutdown.clone()).await
    };
    let Err(failure) = result.await else { return Ok(()) };
    if served {
        status.send_modify(|status| status.ended(&failure));
        tracing::error!(error = %failure, "stopped");
        service::stay(&access, &shutdown).await;
    }
    Err(failure.into())
}
