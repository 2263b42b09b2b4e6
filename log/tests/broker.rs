//! The Kafka broker of a test run.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use lockstep_common::config;
use tempfile::TempDir;

/// The broker all tests share: its script ends it when this process, and with it the script's
/// standard input, is gone.
static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let mut script = Command::new(script())
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/kafka runs");
    let output = script.stdout.take().expect("its output is piped");
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address).expect("scripts/kafka says where");
    assert!(!address.is_empty(), "no Kafka broker; LOCKSTEP_TEST_SKIP_KAFKA=1 goes without");
    Shared { address: address.trim().to_owned(), _script: script }
});

struct Shared {
    address: String,
    _script: Child,
}

/// The shared broker's address; none when Kafka tests are switched off.
pub fn shared() -> Option<String> {
    if skipped() { None } else { Some(SHARED.address.clone()) }
}

/// Whether Kafka tests are switched off; if so, counts the test and says so where the test harness
/// does not swallow it.
pub fn skipped() -> bool {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    let skipped = std::env::var("LOCKSTEP_TEST_SKIP_KAFKA").is_ok_and(|value| value == "1");
    if skipped {
        let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        let line = format!("skipped {test} ({count} so far): LOCKSTEP_TEST_SKIP_KAFKA=1\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
    }
    skipped
}

pub fn config(brokers: &str) -> config::Log {
    config::Log::Kafka(config::KafkaLog {
        brokers: brokers.to_owned(),
        replication: 1,
        ..config::KafkaLog::default()
    })
}

/// A broker that a test may stop.
pub struct OwnBroker {
    directory: TempDir,
    /// It speaks TLS only, and only to who has a certificate of its authority's.
    tls: bool,
}

impl OwnBroker {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let broker = OwnBroker { directory, tls: false };
        broker.start();
        broker
    }

    /// One that wants certificates.
    pub fn certified() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let broker = OwnBroker { directory, tls: true };
        broker.certify();
        broker.start();
        broker
    }

    /// Another authority, and certificates of its; the broker knows it with its next start.
    pub fn certify(&self) {
        self.script("certify");
    }

    /// A file of the authority's: `ca.pem`, `client.pem`, `client.key`.
    pub fn certificate(&self, file: &str) -> PathBuf {
        self.path().join("tls").join(file)
    }

    pub fn start(&self) {
        self.script("start");
    }

    pub fn stop(&self) {
        self.script("stop");
    }

    pub fn kill(&self) {
        self.script("kill");
    }

    /// Lets it answer nothing, and keep its connections: as a frozen machine does.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Ends [`OwnBroker::freeze`].
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.path().join("pid")).expect("a broker has a pid");
        let status = Command::new("kill").args([signal, pid.trim()]).status();
        assert!(status.expect("kill runs").success(), "kill {signal} failed");
    }

    pub fn address(&self) -> String {
        self.script("status")
    }

    fn script(&self, command: &str) -> String {
        let output = Command::new(script())
            .arg(command)
            .arg(self.path())
            .env_remove("LOCKSTEP_TEST_KAFKA")
            .env("LOCKSTEP_TEST_KAFKA_TLS", if self.tls { "1" } else { "0" })
            .stderr(Stdio::inherit())
            .output()
            .expect("scripts/kafka runs");
        assert!(output.status.success(), "scripts/kafka {command} failed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("broker")
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka")
}
