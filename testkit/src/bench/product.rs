//! The real programs: `lockstep run` over the embedded log, or capture and apply over Kafka.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use lockstep_servers::{Postgres, Process, Program, beside_current_exe, free_port};

use crate::source::Source;

/// What it runs between and how.
pub(super) struct Product<'a> {
    pub(super) source: &'a Source,
    pub(super) postgres: &'a Postgres,
    pub(super) pipeline: &'a str,
    /// The target's database.
    pub(super) database: &'a str,
    /// Where its log, its spool and its configuration go.
    pub(super) directory: &'a Path,
    /// A Kafka log is at this address; none is the embedded log.
    pub(super) brokers: Option<&'a str>,
    /// `pipeline.task`
    pub(super) task: &'a str,
    /// Lines of the sections `[capture]` and `[apply.main]`.
    pub(super) capture: &'a str,
    pub(super) apply: &'a str,
}

/// A product that is configured: its programs can be started, any number of times.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    config: PathBuf,
    /// Where capture and apply answer; of one process both do.
    pub(super) capture_http: SocketAddr,
    pub(super) apply_http: SocketAddr,
    /// The spool's directory.
    pub(super) spool: PathBuf,
}

impl Product<'_> {
    /// Starts `lockstep run`; it ends when what is returned is dropped.
    pub(super) fn start(&self) -> Result<Process> {
        self.configure()?.run()
    }

    /// Writes the configuration.
    pub(super) fn configure(&self) -> Result<Configured> {
        let Product { source, postgres, pipeline, database, task, capture, apply, .. } = self;
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (capture_http, apply_http) = (address(), address());
        let spool = self.directory.join("spool");
        let log = match self.brokers {
            Some(brokers) => format!("kind = \"kafka\"\nbrokers = {brokers:?}"),
            None => {
                let path = self.directory.join("log").display().to_string();
                format!("kind = \"embedded\"\npath = {path:?}")
            }
        };
        let text = format!(
            "[pipeline]\nname = {pipeline:?}\ntask = \"{task}\"\n\
             [source]\nhost = {:?}\nport = {}\ndatabase = {:?}\nuser = {:?}\npassword = {:?}\n\
             encrypt = \"off\"\n\
             [log]\n{log}\n\
             [capture]\nhttp = \"{capture_http}\"\n{capture}\n\
             [apply.main]\nhost = {:?}\nport = {}\ndatabase = {database:?}\nuser = {:?}\n\
             password = {:?}\nspool = {:?}\ntls = \"disable\"\nhttp = \"{apply_http}\"\n{apply}\n",
            source.host,
            source.port,
            source.database,
            source.user,
            source.password,
            postgres.host(),
            postgres.port(),
            postgres.user(),
            postgres.password(),
            spool.display().to_string(),
        );
        let config = self.directory.join("lockstep.toml");
        std::fs::write(&config, text)?;
        Ok(Configured { config, capture_http, apply_http, spool })
    }
}

impl Configured {
    /// Both in one process.
    pub(super) fn run(&self) -> Result<Process> {
        self.program("lockstep")?.arg("run").start()
    }

    /// `lockstep-capture`
    pub(super) fn capture(&self) -> Result<Process> {
        self.program("lockstep-capture")?.start()
    }

    /// `lockstep-apply`
    pub(super) fn apply(&self) -> Result<Process> {
        self.program("lockstep-apply")?.arg("--name").arg("main").start()
    }

    fn program(&self, name: &str) -> Result<Program> {
        Ok(Program::new(beside_current_exe(name)?).arg("--config").arg(&self.config))
    }
}
