//! The real program, as `lockstep run` over the embedded log.

use std::path::Path;

use anyhow::Result;
use lockstep_servers::{Postgres, Process, Program};

use crate::source::Source;

/// What it runs between and how.
pub(super) struct Product<'a> {
    pub(super) source: &'a Source,
    pub(super) postgres: &'a Postgres,
    /// The target's database.
    pub(super) database: &'a str,
    /// Where its log, its spool and its configuration go.
    pub(super) directory: &'a Path,
    /// `pipeline.task`
    pub(super) task: &'a str,
    /// Lines of the sections `[capture]` and `[apply.main]`.
    pub(super) capture: &'a str,
    pub(super) apply: &'a str,
}

impl Product<'_> {
    /// Starts it; it ends when what is returned is dropped.
    pub(super) fn start(&self) -> Result<Process> {
        let Product { source, postgres, database, task, capture, apply, .. } = self;
        let config = self.directory.join("lockstep.toml");
        let text = format!(
            "[pipeline]\nname = \"bench\"\ntask = \"{task}\"\n\
             [source]\nhost = {:?}\nport = {}\ndatabase = {:?}\nuser = {:?}\npassword = {:?}\n\
             encrypt = \"off\"\n\
             [log]\nkind = \"embedded\"\npath = {:?}\n\
             [capture]\n{capture}\n\
             [apply.main]\nhost = {:?}\nport = {}\ndatabase = {database:?}\nuser = {:?}\n\
             password = {:?}\nspool = {:?}\ntls = \"disable\"\n{apply}\n",
            source.host,
            source.port,
            source.database,
            source.user,
            source.password,
            self.directory.join("log").display().to_string(),
            postgres.host(),
            postgres.port(),
            postgres.user(),
            postgres.password(),
            self.directory.join("spool").display().to_string(),
        );
        std::fs::write(&config, text)?;
        Program::new(lockstep_servers::beside_current_exe("lockstep")?)
            .arg("--config")
            .arg(config)
            .arg("run")
            .start()
    }
}
