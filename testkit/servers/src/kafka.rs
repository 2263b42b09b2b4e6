//! A Kafka broker: the one that `LOCKSTEP_TEST_KAFKA` names, or a private one of `scripts/kafka`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The variable that names an existing broker, `host:port`.
const VARIABLE: &str = "LOCKSTEP_TEST_KAFKA";

/// A broker; a private one is stopped when dropped.
#[derive(Debug)]
pub struct Kafka {
    address: String,
    private: bool,
}

impl Kafka {
    /// The broker that the environment names, or a private one.
    ///
    /// # Errors
    /// When the private one does not start.
    pub fn start() -> Result<Self> {
        if let Ok(address) = std::env::var(VARIABLE) {
            return Ok(Kafka { address, private: false });
        }
        script("start")?;
        // From here on an error stops the broker again.
        let mut kafka = Kafka { address: String::new(), private: true };
        kafka.address = script("address")?;
        Ok(kafka)
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is ours to stop.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Stops and starts a private broker; its topics stay.
    ///
    /// # Errors
    /// For a broker that is not ours, or one that does not come back.
    pub fn restart(&mut self) -> Result<()> {
        if !self.private {
            bail!("{VARIABLE} names a broker that is not ours to restart");
        }
        script("stop")?;
        script("start")?;
        self.address = script("address")?;
        Ok(())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if self.private {
            // Nobody is left to tell; the next start finds what is still there.
            let _ = script("stop");
        }
    }
}

fn script(verb: &str) -> Result<String> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
    let output = Command::new(&path)
        .arg(verb)
        .output()
        .with_context(|| format!("run {} {verb}", path.display()))?;
    if !output.status.success() {
        bail!("scripts/kafka {verb} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
