//! A product's processes, which are killed and started again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lockstep_common::http::client::Client;
use lockstep_common::service::status::{ApplyStatus, CaptureStatus};
use lockstep_servers::Process;
use serde::Deserialize;
use serde_json::Value;

use super::product::Configured;
use super::watch::Watch;
use crate::demo::ask;

/// Between two looks at something that tells nobody when it changes.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// One process over the embedded log, capture and apply or one of them over Kafka.
pub(super) struct Services {
    configured: Configured,
    running: Running,
}

enum Running {
    Both(Process),
    /// Either may be down for a while.
    Each {
        capture: Option<Process>,
        apply: Option<Process>,
    },
}

impl Services {
    /// Starts them; `apart` is capture and apply as two processes.
    pub(super) fn start(configured: Configured, apart: bool, watch: &Watch) -> Result<Self> {
        let running = if apart {
            Running::Each { capture: None, apply: None }
        } else {
            Running::Both(configured.run()?)
        };
        let mut services = Services { configured, running };
        if let Running::Both(process) = &services.running {
            watch.process("lockstep", process.pid());
        } else {
            services.start_capture(watch)?;
            services.start_apply(watch)?;
        }
        Ok(services)
    }

    /// Apply alone, over Kafka.
    pub(super) fn start_without_capture(configured: Configured, watch: &Watch) -> Result<Self> {
        let running = Running::Each { capture: None, apply: None };
        let mut services = Services { configured, running };
        services.start_apply(watch)?;
        Ok(services)
    }

    /// SIGKILL; of one process both go.
    pub(super) fn kill_capture(&mut self) {
        match &mut self.running {
            Running::Both(process) => process.kill(),
            Running::Each { capture, .. } => drop(capture.take()),
        }
    }

    /// The same for apply.
    pub(super) fn kill_apply(&mut self) {
        match &mut self.running {
            Running::Both(process) => process.kill(),
            Running::Each { apply, .. } => drop(apply.take()),
        }
    }

    /// Starts what was killed.
    pub(super) fn start_capture(&mut self, watch: &Watch) -> Result<()> {
        match &mut self.running {
            Running::Both(_) => self.start_again(watch),
            Running::Each { capture, .. } => {
                let process = capture.insert(self.configured.capture()?);
                watch.process("capture", process.pid());
                Ok(())
            }
        }
    }

    /// The same for apply.
    pub(super) fn start_apply(&mut self, watch: &Watch) -> Result<()> {
        match &mut self.running {
            Running::Both(_) => self.start_again(watch),
            Running::Each { apply, .. } => {
                let process = apply.insert(self.configured.apply()?);
                watch.process("apply", process.pid());
                Ok(())
            }
        }
    }

    fn start_again(&mut self, watch: &Watch) -> Result<()> {
        let process = self.configured.run()?;
        watch.process("lockstep", process.pid());
        self.running = Running::Both(process);
        Ok(())
    }

    /// Fails when one has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        let processes: Vec<&mut Process> = match &mut self.running {
            Running::Both(process) => vec![process],
            Running::Each { capture, apply } => capture.iter_mut().chain(apply).collect(),
        };
        for process in processes {
            if let Some(status) = process.exited() {
                bail!("a service ended with {status}:\n{}", process.output());
            }
        }
        Ok(())
    }

    /// Waits until apply says that it is ready.
    pub(super) async fn apply_is_ready(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        // Not listening yet, or busy: the next look will tell.
        while !is_ready(self.configured.apply_http).await.unwrap_or(false) {
            self.check()?;
            anyhow::ensure!(Instant::now() < deadline, "apply is not ready within {within:?}");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// What apply says; none while it does not answer.
    pub(super) async fn apply_status(&self) -> Option<ApplyStatus> {
        let answer = ask(self.configured.apply_http).await.ok()?;
        read(answer.get("apply")?.get("main")?)
    }

    /// What capture says; none while it does not answer.
    pub(super) async fn capture_status(&self) -> Option<CaptureStatus> {
        let answer = ask(self.configured.capture_http).await.ok()?;
        read(answer.get("capture")?)
    }

    /// Waits until apply says something of itself that `wanted` accepts.
    pub(super) async fn apply_says(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&ApplyStatus) -> bool,
    ) -> Result<ApplyStatus> {
        let deadline = Instant::now() + within;
        loop {
            self.check()?;
            if let Some(status) = self.apply_status().await
                && wanted(&status)
            {
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < deadline, "{what}: not within {within:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until capture has so many transactions in the log, counted from its start; not when it is
    /// down, as in one process with an apply that is.
    pub(super) async fn logged(&mut self, transactions: u64, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        if matches!(self.running, Running::Both(_)) {
            return Ok(());
        }
        loop {
            self.check()?;
            if let Some(status) = self.capture_status().await
                && status.transactions >= transactions
            {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "capture is not there within {within:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// How long a service may take to say whether it is ready.
const DEADLINE: Duration = Duration::from_secs(5);

/// Whether the service at `address` says that it is ready.
async fn is_ready(address: SocketAddr) -> Result<bool> {
    Ok(Client::default().get(address, "/readyz", DEADLINE).await?.status == 200)
}

fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}
