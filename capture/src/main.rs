//! `lockstep-capture`: the capture service of one pipeline.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lockstep_capture::CaptureSettings;
use lockstep_common::http::{self, Endpoints};
use lockstep_common::service::reload::Reloads;
use lockstep_common::service::status::CaptureStatus;
use lockstep_common::service::telemetry::{self, LogFormat};
use lockstep_common::service::{self, Ending};
use lockstep_common::{FailPoints, Shutdown, config};
use tokio::sync::watch;

/// Reads a SQL Server database's changes and writes them to the pipeline's log.
#[derive(Parser)]
#[command(name = "lockstep-capture", version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, short, env = "LOCKSTEP_CONFIG", default_value = "lockstep.toml")]
    config: PathBuf,
    /// Form of the program's own log lines, on standard error.
    #[arg(long, env = "LOCKSTEP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init("lockstep-capture", arguments.log_format);
    service::run(|shutdown| capture(arguments, shutdown))
}

async fn capture(arguments: Arguments, shutdown: Shutdown) -> Result<(), Ending> {
    let config = config::load(&arguments.config)?;
    let source = config.source.ok_or_else(|| {
        Ending::usage(format!("{}: there is no [source]", arguments.config.display()))
    })?;
    let fail = FailPoints::from_env().map_err(|text| {
        Ending::usage(format!(
            "{}={text}: not name:n",
            lockstep_common::service::failpoint::VARIABLE
        ))
    })?;
    let (pipeline, task) = (config.pipeline.name, config.pipeline.task);
    let reloads = Reloads::default();
    let (status, watched) = watch::channel(CaptureStatus::default());
    let served = config.capture.http.is_some();
    if let Some(address) = config.capture.http {
        let endpoints =
            Endpoints::capture(watched).with_reloads(reloads.clone()).with_access(&config.http);
        http::spawn(address, endpoints, shutdown.clone())
            .map_err(|error| Ending::usage(format!("capture.http = {address}: {error}")))?;
    }
    let access = config.http;
    let settings = CaptureSettings { pipeline, task, source, capture: config.capture, reloads };
    let result = async {
        let log = lockstep_log::open(&config.log, &settings.pipeline).await?;
        lockstep_capture::run(settings, log, status.clone(), fail, shutdown.clone()).await
    };
    let Err(failure) = result.await else { return Ok(()) };
    if served {
        status.send_modify(|status| status.ended(&failure));
        tracing::error!(error = %failure, "stopped");
        service::stay(&access, &shutdown).await;
    }
    Err(failure.into())
}
