//! A Kafka broker: the one that `LOCKSTEP_TEST_KAFKA` names, or a private one of `scripts/kafka`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::scratch::Scratch;

/// The variable that names an existing broker, `host:port`.
const VARIABLE: &str = "LOCKSTEP_TEST_KAFKA";

/// The broker's folder inside our directory.
const BROKER: &str = "broker";

/// A broker; a private one is stopped when dropped.
#[derive(Debug)]
pub struct Kafka {
    address: String,
    /// Where a private one lives; it is killed before the directory goes.
    private: Option<Scratch>,
}

impl Kafka {
    /// The broker that the environment names, or a private one.
    ///
    /// # Errors
    /// When the private one does not start.
    pub fn start() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(address) => Ok(Kafka { address, private: None }),
            Err(_) => Self::start_private(),
        }
    }

    /// A broker of our own, whatever the environment names: for tests that restart it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_private() -> Result<Self> {
        let kill = format!("env -u {VARIABLE} \"$1\" kill \"$0/{BROKER}\"");
        let dir = Scratch::with_last_act("lockstep-kafka-", &kill, &[&script()])?;
        let address = run("start", dir.path())?;
        Ok(Kafka { address, private: Some(dir) })
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops a private broker; its topics stay.
    ///
    /// # Errors
    /// For a broker that is not ours.
    pub fn stop(&self) -> Result<()> {
        run("stop", self.private_dir()?).map(drop)
    }

    /// Ends a private broker as a power cut would; its topics stay.
    ///
    /// # Errors
    /// For a broker that is not ours.
    pub fn kill(&self) -> Result<()> {
        run("kill", self.private_dir()?).map(drop)
    }

    /// Starts a private broker again, on the port it had.
    ///
    /// # Errors
    /// For a broker that is not ours, or one that does not come back.
    pub fn start_again(&self) -> Result<()> {
        run("start", self.private_dir()?).map(drop)
    }

    fn private_dir(&self) -> Result<&Path> {
        let dir = self.private.as_ref().map(Scratch::path);
        dir.with_context(|| format!("{VARIABLE} names a broker that is not ours"))
    }
}

/// `scripts/kafka VERB DIR` with a broker of its own; returns what it prints.
fn run(verb: &str, dir: &Path) -> Result<String> {
    let output = Command::new(script())
        .arg(verb)
        .arg(dir.join(BROKER))
        .env_remove(VARIABLE)
        .output()
        .context("run scripts/kafka")?;
    if !output.status.success() {
        bail!("scripts/kafka {verb} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka")
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_private_broker_comes_back_on_its_port_and_leaves_nothing() {
        let kafka = Kafka::start_private().unwrap();
        TcpStream::connect(kafka.address()).unwrap();
        kafka.kill().unwrap();
        assert!(TcpStream::connect(kafka.address()).is_err());
        kafka.start_again().unwrap();
        TcpStream::connect(kafka.address()).unwrap();
        let (address, dir) = (kafka.address().to_owned(), kafka.private_dir().unwrap().to_owned());
        drop(kafka);
        assert!(TcpStream::connect(address).is_err());
        assert!(!dir.exists());
    }
}
