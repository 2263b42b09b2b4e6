//! The pipeline's processes.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lockstep_servers::{Process, Program, beside_current_exe, free_port};
use tokio_postgres::config::SslMode;
use toml::{Table, Value, toml};

use super::PIPELINE;
use super::options::Options;
use super::servers::Servers;
use super::status::{self, Statuses};
use super::view::View;

const APPLY: &str = "target";
/// SIGTERM lets a service finish the transaction in hand.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);

/// One process.
#[derive(Debug)]
struct Service {
    name: &'static str,
    process: Process,
}

/// All of them: one over the embedded log, two over Kafka.
#[derive(Debug)]
pub(super) struct Services {
    services: Vec<Service>,
    capture: SocketAddr,
    apply: SocketAddr,
}

impl Services {
    /// Writes the configuration and starts the programs.
    pub(super) fn start(options: &Options, servers: &Servers) -> Result<Self> {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (capture, apply) = (address(), address());
        let config = servers.dir.path().join("lockstep.toml");
        write_config(&config, &configuration(options, servers, capture, apply)?)?;
        let program = |name: &'static str, args: &[&str]| -> Result<Service> {
            let mut program = Program::new(beside_current_exe(name)?).arg("--config").arg(&config);
            for arg in args {
                program = program.arg(arg);
            }
            Ok(Service { name, process: program.start()? })
        };
        let services = if options.kafka {
            vec![program("lockstep-capture", &[])?, program("lockstep-apply", &["--name", APPLY])?]
        } else {
            vec![program("lockstep", &["run"])?]
        };
        Ok(Services { services, capture, apply })
    }

    pub(super) fn describe(&self, view: &View) {
        for service in &self.services {
            view.event(&format!("{} runs as process {}", service.name, service.process.pid()));
        }
        view.event(&format!("status pages: http://{}/ and http://{}/", self.capture, self.apply));
    }

    /// How many processes there are.
    pub(super) fn count(&self) -> usize {
        self.services.len()
    }

    /// SIGKILL to one process, and a new one in its place. Returns what was done.
    pub(super) fn kill_and_restart(&mut self, index: usize) -> Result<String> {
        let service = &mut self.services[index];
        let old = service.process.pid();
        service.process.restart()?;
        let new = service.process.pid();
        Ok(format!("{} killed (SIGKILL to {old}) and started again as {new}", service.name))
    }

    /// Fails when a process ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        for service in &mut self.services {
            if let Some(status) = service.process.exited() {
                bail!("{} ended: {status}\n{}", service.name, tail(&service.process.output()));
            }
        }
        Ok(())
    }

    /// What the services say of themselves; nothing where one does not answer.
    pub(super) async fn statuses(&self) -> Statuses {
        let (capture, apply) = tokio::join!(status::ask(self.capture), status::ask(self.apply));
        Statuses::of(&capture, &apply, APPLY)
    }

    /// SIGTERM to all; each must leave with exit code 0.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        for service in &mut self.services {
            let left =
                service.process.terminate().and_then(|()| service.process.wait(LEAVE_WITHIN));
            match left {
                Ok(status) if status.success() => {}
                Ok(status) => return Err(format!("{} left with {status}", service.name)),
                Err(error) => return Err(format!("{}: {error:#}", service.name)),
            }
        }
        Ok(())
    }

    /// The last lines of every process.
    pub(super) fn output(&self) -> String {
        let outputs =
            self.services.iter().map(|s| format!("{}:\n{}", s.name, tail(&s.process.output())));
        outputs.collect::<Vec<_>>().join("\n")
    }
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

fn configuration(
    options: &Options,
    servers: &Servers,
    capture: SocketAddr,
    apply: SocketAddr,
) -> Result<Table> {
    let source = &servers.source;
    let (capture, apply) = (capture.to_string(), apply.to_string());
    let mut config = toml! {
        [pipeline]
        name = "demo"
        task = "full_load_and_cdc"
        [source]
        encrypt = "login"
        trust_server_certificate = true
        [log]
        [capture]
        poll_interval = "100ms"
        [apply.target]
    };
    set(&mut config, &["pipeline", "name"], PIPELINE);
    set(&mut config, &["source", "host"], source.host.as_str());
    set(&mut config, &["source", "port"], i64::from(source.port));
    set(&mut config, &["source", "database"], source.database.as_str());
    set(&mut config, &["source", "user"], source.user.as_str());
    set(&mut config, &["source", "password"], source.password.as_str());
    set(&mut config, &["capture", "http"], capture);
    // Chunks enough that some are done when the process dies.
    set(&mut config, &["capture", "chunk_rows"], i64::try_from((options.rows / 40).max(500))?);
    set(&mut config, &["apply", APPLY, "http"], apply);
    let spool = servers.dir.path().join("spool");
    set(&mut config, &["apply", APPLY, "spool"], spool.display().to_string());
    target(&mut config, &servers.target_url)?;
    match &servers.kafka {
        Some(kafka) => {
            set(&mut config, &["log", "kind"], "kafka");
            set(&mut config, &["log", "brokers"], kafka.address());
        }
        None => {
            set(&mut config, &["log", "kind"], "embedded");
            let log = servers.dir.path().join("log");
            set(&mut config, &["log", "path"], log.display().to_string());
        }
    }
    Ok(config)
}

fn target(config: &mut Table, url: &str) -> Result<()> {
    let target: tokio_postgres::Config = url.parse().context("read the target's URL")?;
    let host = match target.get_hosts().first().context("the target URL names no host")? {
        tokio_postgres::config::Host::Tcp(host) => host.clone(),
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    };
    let port = target.get_ports().first().copied().unwrap_or(5432);
    set(config, &["apply", APPLY, "host"], host);
    set(config, &["apply", APPLY, "port"], i64::from(port));
    set(
        config,
        &["apply", APPLY, "database"],
        target.get_dbname().context("the target URL names no database")?,
    );
    set(
        config,
        &["apply", APPLY, "user"],
        target.get_user().context("the target URL names no user")?,
    );
    // The product verifies certificates unless the URL says otherwise, in words.
    if url.contains("sslmode=") {
        let tls = match target.get_ssl_mode() {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            _ => "require",
        };
        set(config, &["apply", APPLY, "tls"], tls);
    }
    if let Some(password) = target.get_password() {
        let password =
            std::str::from_utf8(password).context("the target's password is not UTF-8")?;
        set(config, &["apply", APPLY, "password"], password);
    }
    Ok(())
}

fn set(config: &mut Table, path: &[&str], value: impl Into<Value>) {
    let (key, sections) = path.split_last().expect("a path has a key");
    let mut at = config;
    for section in sections {
        let next = at.entry(*section).or_insert_with(|| Value::Table(Table::new()));
        at = next.as_table_mut().expect("sections are tables");
    }
    at.insert((*key).to_owned(), value.into());
}

/// It holds passwords: only its owner may read it.
fn write_config(path: &Path, config: &Table) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(config.to_string().as_bytes())?;
    Ok(())
}
