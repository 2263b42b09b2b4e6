//! The SQL Server double as a child process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::port::free_port;
use crate::process::{Process, Program, beside_current_exe};

const START_WITHIN: Duration = Duration::from_secs(30);

/// How to run the double.
#[derive(Clone, Debug, Default)]
pub struct DoubleOptions {
    /// Directory of its data; none keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Further arguments.
    pub args: Vec<String>,
}

/// The running double; killed when dropped.
#[derive(Debug)]
pub struct Double {
    process: Process,
    address: SocketAddr,
    password: String,
}

impl Double {
    /// Starts `mssql-double`, which lies beside the running program, on a loopback port.
    ///
    /// # Errors
    /// When it is not built or does not start.
    pub fn start(options: DoubleOptions) -> Result<Self> {
        let password = format!("Sa-{:x}-{}", std::process::id(), free_port());
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut program = Program::new(beside_current_exe("mssql-double")?)
            .env("MSSQL_SA_PASSWORD", &password)
            .arg("--listen")
            .arg(address.to_string());
        program = match options.data {
            Some(data) => program.arg("--data").arg(data),
            None => program.arg("--memory"),
        };
        for arg in options.args {
            program = program.arg(arg);
        }
        let process = program.start()?;
        await_listening(&process, address)?;
        Ok(Double { process, address, password })
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port and data.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process.restart()?;
        await_listening(&self.process, self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Password of `sa`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// What it wrote.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// It says on one line that it accepts connections.
fn await_listening(process: &Process, address: SocketAddr) -> Result<()> {
    let address = address.to_string();
    process
        .wait_for_line(|line| line.contains(&address), START_WITHIN)
        .context("start the SQL Server double")?;
    Ok(())
}
