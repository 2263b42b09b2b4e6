//! A step with the real programs, which die by SIGKILL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_common::service::failpoint;
use lockstep_servers::{Postgres, Process, Program, beside_current_exe};

use super::{Disruption, Outcome, SETTLE, kill_target_backend, start_work};
use crate::harness::{LogKind, Pipeline};
use crate::history::Lsn;
use crate::workload::Run;
use crate::workload::random::RandomWork;

/// Between two looks at the processes: their ends are events of the kernel's, seen by asking.
const LOOK: Duration = Duration::from_millis(10);

/// Between two commits that a load may be waiting for.
const SELDOM: Duration = Duration::from_millis(250);

/// Runs the workload while a process dies, starts it again, waits until all has arrived, compares.
pub(super) async fn step(
    pipeline: &mut Pipeline,
    work: &Arc<RandomWork>,
    run: Run,
    (disruption, loading): (Disruption, bool),
    postgres: &Postgres,
) -> Result<Outcome> {
    // The embedded log belongs to one process: it must not be open in this one.
    pipeline.close_log();
    let mut programs = Programs::start(pipeline, disruption)?;
    let mut working = start_work(pipeline, work, run);
    match disruption {
        Disruption::Target => {
            programs.await_checkpoint(pipeline).await?;
            kill_target_backend(pipeline, postgres)?;
            programs.outcome.target_crashes += 1;
        }
        Disruption::Everything => {
            programs.await_checkpoint(pipeline).await?;
            programs.kill()?;
        }
        Disruption::Capture(..) | Disruption::Apply(..) => {}
    }
    loop {
        tokio::select! {
            done = &mut working => {
                done.context("the workload panicked")??;
                break;
            }
            () = tokio::time::sleep(LOOK) => programs.restart_ended()?,
        }
    }
    if loading {
        programs.await_loaded(pipeline).await?;
    }
    let newest = pipeline.await_captured_by_source().await?;
    programs.await_position(pipeline, newest).await?;
    pipeline.compare("target").await?;
    programs.leave()
}

/// The pipeline's processes, and the programs to start in their place.
struct Programs {
    running: Vec<(Process, Program)>,
    outcome: Outcome,
}

impl Programs {
    fn start(pipeline: &Pipeline, disruption: Disruption) -> Result<Self> {
        let config = pipeline.write_config()?;
        let program = |name: &str, arguments: &[&str]| -> Result<Program> {
            let mut program = Program::new(beside_current_exe(name)?)
                .arg("--config")
                .arg(&config)
                .env("LOCKSTEP_SOURCE__PASSWORD", pipeline.source().password.clone())
                .env("LOCKSTEP_APPLY__TARGET__PASSWORD", pipeline.target_password("target")?);
            for argument in arguments {
                program = program.arg(argument);
            }
            Ok(program)
        };
        let armed = |program: &Program, name: &str, n: u64| {
            program.clone().env(failpoint::VARIABLE, format!("{name}:{n}"))
        };
        let programs = match pipeline.log_kind() {
            LogKind::Embedded => {
                let both = program("lockstep", &["run"])?;
                let first = match disruption {
                    Disruption::Capture(name, n) | Disruption::Apply(name, n) => {
                        armed(&both, name, n)
                    }
                    _ => both.clone(),
                };
                vec![(first, both)]
            }
            LogKind::Kafka => {
                let capture = program("lockstep-capture", &[])?;
                let apply = program("lockstep-apply", &["--name", "target"])?;
                let first = match disruption {
                    Disruption::Capture(name, n) => (armed(&capture, name, n), apply.clone()),
                    Disruption::Apply(name, n) => (capture.clone(), armed(&apply, name, n)),
                    _ => (capture.clone(), apply.clone()),
                };
                vec![(first.0, capture), (first.1, apply)]
            }
        };
        let running: Result<Vec<_>> =
            programs.into_iter().map(|(first, next)| Ok((first.start()?, next))).collect();
        Ok(Programs { running: running?, outcome: Outcome::default() })
    }

    /// SIGKILL to all, then starts them again.
    fn kill(&mut self) -> Result<()> {
        for (process, program) in &mut self.running {
            process.kill();
            self.outcome.crashes += 1;
            *process = program.start()?;
        }
        Ok(())
    }

    /// Starts again what died by its fail point; any other end is an error.
    fn restart_ended(&mut self) -> Result<()> {
        use std::os::unix::process::ExitStatusExt;
        for (process, program) in &mut self.running {
            let Some(status) = process.exited() else { continue };
            if status.signal() != Some(rustix::process::Signal::KILL.as_raw()) {
                bail!("a process ended with {status}:\n{}", process.output());
            }
            self.outcome.crashes += 1;
            *process = program.start()?;
        }
        Ok(())
    }

    /// Waits until the target has any checkpoint, or a newer one than before.
    async fn await_checkpoint(&mut self, pipeline: &Pipeline) -> Result<()> {
        self.await_position(pipeline, Lsn([0; 10])).await
    }

    /// Waits until the target says that it is loaded, with the source going on.
    async fn await_loaded(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        let mut nudge = pipeline.nudge();
        while !pipeline.is_first_loaded().await.unwrap_or(false) {
            self.restart_ended()?;
            // Seldom: nobody here knows how far the load is, and each one is a row more to load.
            nudge.give().await?;
            if Instant::now() > deadline {
                let outputs: Vec<String> = self.running.iter().map(|(p, _)| p.output()).collect();
                bail!("the load is not done:\n{}", outputs.join("\n"));
            }
            tokio::time::sleep(SELDOM).await;
        }
        Ok(())
    }

    async fn await_position(&mut self, pipeline: &Pipeline, wanted: Lsn) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        let target = pipeline.target("target")?;
        loop {
            // The target may be recovering from its own crash.
            if let Ok(snapshot) = target.snapshot().await
                && snapshot.position().is_some_and(|position| position >= wanted)
            {
                return Ok(());
            }
            self.restart_ended()?;
            if Instant::now() > deadline {
                let outputs: Vec<String> = self.running.iter().map(|(p, _)| p.output()).collect();
                bail!("{wanted} did not arrive:\n{}", outputs.join("\n"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGTERM to all; each must leave as asked, unless its fail point is met on the way out.
    fn leave(mut self) -> Result<Outcome> {
        use std::os::unix::process::ExitStatusExt;
        for (process, _) in &mut self.running {
            // One that has died at its fail point just now cannot be asked; its status says so below.
            let _ = process.terminate();
        }
        for (process, _) in &mut self.running {
            let status = process.wait(SETTLE)?;
            match status.signal() {
                Some(_) => self.outcome.crashes += 1,
                None if status.success() => {}
                None => bail!("a process left with {status}:\n{}", process.output()),
            }
        }
        Ok(self.outcome)
    }
}
