//! Lockstep over Kafka: capture and apply as programs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use lockstep_servers::{Process, Program, beside_current_exe, free_port};

use super::{Place, System};
use crate::demo::ask;

/// SIGTERM lets a service finish what it has in hand.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);

/// Both programs.
pub(super) struct Lockstep {
    capture: Process,
    apply: Process,
    capture_http: SocketAddr,
}

impl Lockstep {
    pub(super) fn start(place: &Place<'_>) -> Result<Self> {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (capture_http, apply_http) = (address(), address());
        let config = place.directory.join("lockstep.toml");
        std::fs::write(&config, configuration(place, capture_http, apply_http))?;
        let program = |name: &str, args: &[&str], config: &Path| -> Result<Process> {
            let mut program = Program::new(beside_current_exe(name)?).arg("--config").arg(config);
            for arg in args {
                program = program.arg(arg);
            }
            program.start()
        };
        Ok(Lockstep {
            capture: program("lockstep-capture", &[], &config)?,
            apply: program("lockstep-apply", &["--name", "main"], &config)?,
            capture_http,
        })
    }
}

fn configuration(place: &Place<'_>, capture: SocketAddr, apply: SocketAddr) -> String {
    let (source, postgres) = (place.source, place.postgres);
    format!(
        "[pipeline]\nname = {:?}\ntask = \"cdc\"\n\
         [source]\nhost = {:?}\nport = {}\ndatabase = {:?}\nuser = {:?}\npassword = {:?}\n\
         encrypt = \"off\"\n\
         [log]\nkind = \"kafka\"\nbrokers = {:?}\n\
         [capture]\nstart = \"earliest\"\npoll_interval = \"{}ms\"\nhttp = \"{capture}\"\n\
         [apply.main]\nhost = \"127.0.0.1\"\nport = {}\ndatabase = {:?}\nuser = {:?}\n\
         password = {:?}\ntls = \"disable\"\nspool = {:?}\nstart = \"earliest\"\n\
         http = \"{apply}\"\n",
        place.name,
        source.host,
        source.port,
        source.database,
        source.user,
        source.password,
        place.brokers,
        place.poll.as_millis(),
        postgres.port(),
        place.name,
        postgres.user(),
        postgres.password(),
        place.directory.join("spool").display().to_string(),
    )
}

impl System for Lockstep {
    fn processes(&self) -> Vec<(&'static str, u32)> {
        vec![("capture", self.capture.pid()), ("apply", self.apply.pid())]
    }

    fn check(&mut self) -> Result<()> {
        for process in [&mut self.capture, &mut self.apply] {
            if let Some(status) = process.exited() {
                bail!("Lockstep ended with {status}:\n{}", process.output());
            }
        }
        Ok(())
    }

    async fn in_log(&mut self, transactions: i64) -> Result<bool> {
        // Not listening yet, or busy: the next look will tell.
        let Ok(status) = ask(self.capture_http).await else { return Ok(false) };
        let table = &status["capture"]["tables"]["dbo.journal"]["inserts"];
        Ok(table.as_i64().is_some_and(|inserts| inserts >= transactions))
    }

    fn stop(mut self) -> Result<()> {
        for process in [&mut self.capture, &mut self.apply] {
            process.terminate()?;
            let status = process.wait(LEAVE_WITHIN)?;
            anyhow::ensure!(status.success(), "Lockstep left with {status}: {}", process.output());
        }
        Ok(())
    }
}
