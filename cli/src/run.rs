//! `lockstep run`: capture and every apply, in one process.
//!
//! The services are the same libraries that `lockstep-capture` and `lockstep-apply` run; nothing
//! here has a path of its own. When one of them fails for good the others finish what they have in
//! hand and leave too, and the first reason is the program's. One that has done its task (a full load
//! alone, or a stop point) leaves the others to theirs: capture is done before the applies are.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lockstep_apply::ApplySettings;
use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, Config};
use lockstep_common::http::{self, Endpoints};
use lockstep_common::reload::Reloads;
use lockstep_common::service::{self, Ending};
use lockstep_common::{FailPoints, Failure, Shutdown};
use lockstep_log::Log;
use tokio::sync::watch;

use crate::arguments::RunOptions;
use crate::progress::Progress;

type Task = BoxFuture<'static, (String, Result<(), Failure>)>;

/// Runs everything until shutdown or the first service that stops for good.
pub(crate) async fn run(
    config: Config,
    options: RunOptions,
    shutdown: Shutdown,
) -> Result<(), Ending> {
    if config.source.is_none() && config.apply.is_empty() {
        return Err(Ending::usage(
            "the configuration has neither a [source] nor an [apply.<name>]",
        ));
    }
    let fail = FailPoints::from_env()
        .map_err(|text| Ending::usage(format!("fail point `{text}` is not name:n")))?;
    let log = lockstep_log::open(&config.log, &config.pipeline.name).await?;
    reset(&config, &options.reset).await?;

    let mut tasks: FuturesUnordered<Task> = FuturesUnordered::new();
    let mut progress = Progress::default();
    // The services end when asked to or when one fails; the endpoints answer until all is over.
    let (working, serving) = (shutdown.child_token(), Shutdown::new());
    let ends = (&working, &serving);
    start_capture(&config, &log, &fail, ends, &mut tasks, &mut progress)?;
    start_applies(&config, &log, &fail, ends, &mut tasks, &mut progress)?;

    let ended = Shutdown::new();
    let services = async {
        let result = until_all_have_ended(&mut tasks, &working).await;
        ended.cancel();
        if result.is_err() {
            service::stay(&config.http, &shutdown).await;
        }
        serving.cancel();
        result
    };
    let (result, ()) = tokio::join!(services, progress.run(ended.clone()));
    result
}

/// The first reason of a service to stop that is not that it was asked to, or has done its task.
async fn until_all_have_ended(
    tasks: &mut FuturesUnordered<Task>,
    shutdown: &Shutdown,
) -> Result<(), Ending> {
    let mut first: Result<(), Ending> = Ok(());
    while let Some((name, result)) = tasks.next().await {
        match result {
            Ok(()) if shutdown.is_cancelled() => {}
            Ok(()) => tracing::info!(service = name, "has done its task"),
            Err(failure) => {
                tracing::error!(service = name, error = %failure, "stopped");
                if first.is_ok() {
                    first = Err(failure.into());
                }
                shutdown.cancel();
            }
        }
    }
    first
}

fn start_capture(
    config: &Config,
    log: &Arc<dyn Log>,
    fail: &FailPoints,
    (shutdown, serving): (&Shutdown, &Shutdown),
    tasks: &mut FuturesUnordered<Task>,
    progress: &mut Progress,
) -> Result<(), Ending> {
    let Some(source) = config.source.clone() else { return Ok(()) };
    let reloads = Reloads::default();
    let settings = CaptureSettings {
        pipeline: config.pipeline.name.clone(),
        task: config.pipeline.task,
        source,
        capture: config.capture.clone(),
        reloads: reloads.clone(),
    };
    let (status, seen) = watch::channel(Default::default());
    progress.add_capture(seen.clone());
    if let Some(address) = config.capture.http {
        let endpoints = Endpoints::capture(seen).with_reloads(reloads);
        serve(address, endpoints.with_access(&config.http), serving)?;
    }
    let (log, fail, shutdown) = (log.clone(), fail.clone(), shutdown.clone());
    tasks.push(Box::pin(async move {
        let result = lockstep_capture::run(settings, log, status, fail, shutdown).await;
        ("capture".to_owned(), result)
    }));
    Ok(())
}

fn start_applies(
    config: &Config,
    log: &Arc<dyn Log>,
    fail: &FailPoints,
    (shutdown, serving): (&Shutdown, &Shutdown),
    tasks: &mut FuturesUnordered<Task>,
    progress: &mut Progress,
) -> Result<(), Ending> {
    for (name, apply) in &config.apply {
        let settings = apply_settings(config, name, apply);
        let (status, seen) = watch::channel(Default::default());
        progress.add_apply(name.clone(), seen.clone());
        if let Some(address) = apply.http {
            serve(address, Endpoints::apply(name, seen).with_access(&config.http), serving)?;
        }
        let (log, fail, shutdown) = (log.clone(), fail.clone(), shutdown.clone());
        let task_name = format!("apply.{name}");
        tasks.push(Box::pin(async move {
            let result = lockstep_apply::run(settings, log, status, fail, shutdown).await;
            (task_name, result)
        }));
    }
    Ok(())
}

fn apply_settings(config: &Config, name: &str, apply: &config::Apply) -> ApplySettings {
    ApplySettings {
        name: name.to_owned(),
        pipeline: config.pipeline.name.clone(),
        task: config.pipeline.task,
        config: apply.clone(),
    }
}

fn serve(
    address: std::net::SocketAddr,
    endpoints: Endpoints,
    shutdown: &Shutdown,
) -> Result<(), Ending> {
    http::spawn(address, endpoints, shutdown.clone())
        .map_err(|error| Ending::usage(format!("cannot listen on {address}: {error}")))
}

async fn reset(config: &Config, names: &[String]) -> Result<(), Ending> {
    for name in names {
        let apply = config
            .apply
            .get(name)
            .ok_or_else(|| Ending::usage(format!("--reset {name}: there is no [apply.{name}]")))?;
        if names.iter().filter(|other| *other == name).count() < 2 {
            return Err(Ending::usage(format!(
                "--reset {name} removes the target's checkpoint; say it twice to mean it"
            )));
        }
        let settings = apply_settings(config, name, apply);
        let reached = lockstep_apply::reset(&settings).await?;
        tracing::warn!(
            apply = name,
            position = reached.as_deref().unwrap_or("none"),
            "the target's checkpoint is removed"
        );
    }
    Ok(())
}
