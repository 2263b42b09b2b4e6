//! `lockstep run`: capture and every apply, in one process.
//!
//! The services are the same libraries that `lockstep-capture` and `lockstep-apply` run; nothing
//! here has a path of its own. An apply that fails for good leaves capture and the other applies to their
//! work, and says so at its own address. When capture fails, or no apply is left, everything finishes what
//! it has in hand and leaves; the first reason is the program's, whenever it ends. One that has done its
//! task (a full load alone, or a stop point) leaves the others to theirs: capture is done before the
//! applies are.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lockstep_apply::ApplySettings;
use lockstep_capture::CaptureSettings;
use lockstep_common::Code;
use lockstep_common::config::{self, Config};
use lockstep_common::http::{self, Endpoints};
use lockstep_common::service::reload::Reloads;
use lockstep_common::service::{self, Ending};
use lockstep_common::{FailPoints, Failure, Shutdown};
use lockstep_log::Log;
use tokio::sync::watch;

use crate::arguments::RunOptions;
use crate::progress::ProgressBars;

/// The name of capture's task; those of applies begin otherwise.
const CAPTURE: &str = "capture";
type Task = BoxFuture<'static, (String, Result<(), Failure>)>;

/// Runs everything until shutdown, or until nothing is left that works on its own.
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
    let mut progress = ProgressBars::default();
    // The services end when asked to or when one fails; the endpoints answer until all is over.
    let (working, serving) = (shutdown.child_token(), Shutdown::new());
    let ends = (&working, &serving);
    start_capture(&config, &log, &fail, ends, &mut tasks, &mut progress)?;
    start_applies(&config, &log, &fail, ends, &mut tasks, &mut progress)?;

    let ended = Shutdown::new();
    let services = async {
        let result = until_all_have_ended(&mut tasks, config.apply.len(), &working).await;
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
    mut applies: usize,
    shutdown: &Shutdown,
) -> Result<(), Ending> {
    let mut first: Result<(), Ending> = Ok(());
    while let Some((name, result)) = tasks.next().await {
        match result {
            Ok(()) if shutdown.is_cancelled() => {}
            Ok(()) => tracing::info!(service = name, "has done its task"),
            Err(failure) => {
                tracing::error!(service = name, error = %failure, "stopped");
                let of_apply = name != CAPTURE;
                applies -= usize::from(of_apply);
                // A crash at a fail point is one of the whole process.
                if of_apply && applies > 0 && failure.code != Code::Failpoint {
                    tracing::warn!(service = name, "the other services go on without it");
                } else {
                    shutdown.cancel();
                }
                if first.is_ok() {
                    first = Err(failure.into());
                }
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
    progress: &mut ProgressBars,
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
        (CAPTURE.to_owned(), result)
    }));
    Ok(())
}

fn start_applies(
    config: &Config,
    log: &Arc<dyn Log>,
    fail: &FailPoints,
    (shutdown, serving): (&Shutdown, &Shutdown),
    tasks: &mut FuturesUnordered<Task>,
    progress: &mut ProgressBars,
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

#[cfg(test)]
mod tests {
    use lockstep_common::failure::exit;
    use tokio::sync::oneshot;

    use super::*;

    /// A service that ends as it is told, or when it is asked to.
    fn service(
        tasks: &FuturesUnordered<Task>,
        name: &str,
        shutdown: &Shutdown,
    ) -> oneshot::Sender<Result<(), Failure>> {
        let (end, ended) = oneshot::channel();
        let (name, shutdown) = (name.to_owned(), shutdown.clone());
        tasks.push(Box::pin(async move {
            let result = tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                Ok(result) = ended => result,
            };
            (name, result)
        }));
        end
    }

    fn halt() -> Result<(), Failure> {
        Err(Failure::new(Code::ApplyConflict, "refused").remedy("correct it"))
    }

    #[tokio::test]
    async fn a_halted_apply_leaves_the_others_to_their_work_and_is_told_at_the_end() {
        let (mut tasks, shutdown) = (FuturesUnordered::new(), Shutdown::new());
        let _capture = service(&tasks, CAPTURE, &shutdown);
        let (one, _two) =
            (service(&tasks, "apply.one", &shutdown), service(&tasks, "apply.two", &shutdown));
        let running = until_all_have_ended(&mut tasks, 2, &shutdown);
        let mut running = std::pin::pin!(running);
        one.send(halt()).unwrap();
        assert!(futures_util::poll!(&mut running).is_pending());
        assert!(!shutdown.is_cancelled());
        shutdown.cancel();
        let ending = running.await.unwrap_err();
        assert_eq!(ending.code, exit::HALT);
        assert!(ending.message.contains("apply.conflict"), "{}", ending.message);
    }

    #[tokio::test]
    async fn without_capture_or_without_any_apply_all_end() {
        for last in [vec!["capture"], vec!["apply.one", "apply.two"]] {
            let (mut tasks, shutdown) = (FuturesUnordered::new(), Shutdown::new());
            let ends: Vec<_> = [CAPTURE, "apply.one", "apply.two"]
                .map(|name| (name, service(&tasks, name, &shutdown)))
                .into();
            let mut kept = Vec::new();
            for (name, end) in ends {
                if last.contains(&name) { end.send(halt()).unwrap() } else { kept.push(end) }
            }
            let ending = until_all_have_ended(&mut tasks, 2, &shutdown).await.unwrap_err();
            assert_eq!(ending.code, exit::HALT, "{last:?}");
        }
    }

    #[tokio::test]
    async fn what_has_done_its_task_does_not_end_the_others() {
        let (mut tasks, shutdown) = (FuturesUnordered::new(), Shutdown::new());
        let (capture, one) =
            (service(&tasks, CAPTURE, &shutdown), service(&tasks, "apply.one", &shutdown));
        let running = until_all_have_ended(&mut tasks, 1, &shutdown);
        let mut running = std::pin::pin!(running);
        capture.send(Ok(())).unwrap();
        assert!(futures_util::poll!(&mut running).is_pending());
        one.send(Ok(())).unwrap();
        assert!(running.await.is_ok());
        assert!(!shutdown.is_cancelled());
    }
}
