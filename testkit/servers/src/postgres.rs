//! A private PostgreSQL cluster.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, geteuid};

use crate::child::User;
use crate::port::free_port;
use crate::process::{Process, Program};
use crate::scratch::Scratch;

const SUPERUSER: &str = "postgres";
/// How long it may say nothing while it starts, and take to stop.
const START_WITHIN: Duration = Duration::from_secs(60);

/// When we are killed, the kernel tells the server to quit; its files go after that.
const AFTER_SHUTDOWN: &str = r#"i=0
while pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null &&
  [ $i -lt 100 ]; do sleep 0.05; i=$((i+1)); done"#;

/// How to run a cluster.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Wait for the disk. Off is faster and safe against every crash but that of the machine: what
    /// the server has written stays in the kernel's cache.
    pub fsync: bool,
    /// Further settings (`name`, `value`) of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

/// How a cluster goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Open transactions are rolled back, everything is flushed (SIGINT).
    Fast,
    /// No flush; the next start recovers from the log (SIGQUIT).
    Immediate,
    /// The postmaster is killed (SIGKILL); its children notice and leave.
    Kill,
}

/// A cluster of its own in a temporary directory, on a loopback port, with password
/// authentication; gone when dropped.
#[derive(Debug)]
pub struct Postgres {
    // Before the directory, so that it ends before its files go.
    server: Option<Process>,
    program: Program,
    psql: PathBuf,
    port: u16,
    password: String,
    dir: Scratch,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start(options: PostgresOptions) -> Result<Self> {
        let bin = find_binaries()?;
        let user = if geteuid().is_root() { Some(unprivileged_user()?) } else { None };
        let dir = Scratch::with_last_act("lockstep-pg-", AFTER_SHUTDOWN, &[])?;
        if let Some(User { uid, gid }) = user {
            chown(dir.path(), Some(uid), Some(gid))?;
        }
        let password = format!("pg-{:x}-{}", std::process::id(), free_port());
        initdb(&bin, user, dir.path(), &password)?;
        let port = free_port();
        let program = server_program(&bin, user, dir.path(), port, &options);
        let psql = find_psql(&bin)?;
        let mut postgres = Postgres { server: None, program, psql, port, password, dir };
        postgres.start_again()?;
        Ok(postgres)
    }

    /// Starts the server of a stopped cluster, on the port it had.
    ///
    /// # Errors
    /// When it does not accept connections in time.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_some() {
            bail!("PostgreSQL is running already");
        }
        // After a kill the last backends may hold the shared memory for a moment, and a start is
        // refused until they are gone.
        let mut tries = 0;
        loop {
            let server = self.program.start()?;
            let ready =
                |line: &str| line.contains("database system is ready to accept connections");
            // Recovery says every ten seconds how far it is.
            match server.wait_for_line_unless_silent(ready, START_WITHIN) {
                Ok(_) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(_) if server.output().contains("shared memory block") && tries < 100 => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the server down.
    ///
    /// # Errors
    /// When it is down already or does not go.
    pub fn stop(&mut self, how: Stop) -> Result<()> {
        let mut server = self.server.take().context("PostgreSQL is not running")?;
        match how {
            Stop::Fast => server.signal(Signal::INT)?,
            Stop::Immediate => server.signal(Signal::QUIT)?,
            Stop::Kill => server.kill(),
        }
        server.wait(START_WITHIN)?;
        Ok(())
    }

    /// Down and up again.
    ///
    /// # Errors
    /// As [`Postgres::stop`] and [`Postgres::start_again`].
    pub fn restart(&mut self, how: Stop) -> Result<()> {
        self.stop(how)?;
        self.start_again()
    }

    /// Whether the server was started and not stopped since.
    pub fn is_running(&self) -> bool {
        self.server.is_some()
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// When it exists already or the server is down.
    pub fn create_database(&self, name: &str) -> Result<()> {
        self.psql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")))?;
        Ok(())
    }

    /// Runs statements through `psql` and returns its unaligned output.
    ///
    /// # Errors
    /// The server's message of the first statement that failed.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        run(Command::new(&self.psql)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1", "--command", sql])
            .arg(self.url(database)))
    }

    /// `postgres://user:password@host:port/database`
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Loopback address.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// TCP port, kept over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser.
    pub fn user(&self) -> &'static str {
        SUPERUSER
    }

    /// Its password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Directory of the unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the server wrote to its log since it was last started.
    pub fn log(&self) -> String {
        self.server.as_ref().map(Process::output).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Backends end with their postmaster, and only then can the directory go.
        if self.server.is_some() && self.stop(Stop::Immediate).is_err() {
            self.server = None;
        }
    }
}

fn server_program(
    bin: &Path,
    user: Option<User>,
    dir: &Path,
    port: u16,
    options: &PostgresOptions,
) -> Program {
    let socket = dir.display().to_string();
    let fsync = if options.fsync { "on" } else { "off" };
    let ours = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", &socket),
        ("fsync", fsync),
        ("full_page_writes", fsync),
        ("max_connections", "100"),
        ("logging_collector", "off"),
        ("lc_messages", "C"),
    ];
    let mut program = Program::new(bin.join("postgres"))
        .user(user)
        .quit_on_our_death()
        .arg("-D")
        .arg(dir.join("data"))
        .arg("-p")
        .arg(port.to_string());
    let theirs = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in ours.into_iter().chain(theirs) {
        program = program.arg("-c").arg(format!("{name}={value}"));
    }
    program
}

fn initdb(bin: &Path, user: Option<User>, dir: &Path, password: &str) -> Result<()> {
    let password_file = dir.join("password");
    fs::write(&password_file, password)?;
    if let Some(User { uid, gid }) = user {
        chown(&password_file, Some(uid), Some(gid))?;
    }
    let mut command =
        crate::child::command(&bin.join("initdb"), user, crate::child::OnOurDeath::Kill);
    command
        .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
        .args(["--auth=scram-sha-256", "--username", SUPERUSER])
        .arg("--pwfile")
        .arg(&password_file)
        .arg("--pgdata")
        .arg(dir.join("data"))
        // `initdb` looks at the current directory, which its user may not be able to enter.
        .current_dir(dir);
    run(&mut command)?;
    Ok(())
}

/// The first installation of a server among `PATH`, `pg_config` and the distribution's own folders, of
/// these the newest.
pub(crate) fn find_binaries() -> Result<PathBuf> {
    let server = |dir: &PathBuf| ["initdb", "postgres"].iter().all(|p| dir.join(p).is_file());
    places()
        .into_iter()
        .find(server)
        .context("no PostgreSQL server on this machine; `scripts/setup` installs one")
}

/// The server's own client, or another one: not every server comes with one.
fn find_psql(bin: &Path) -> Result<PathBuf> {
    let places = std::iter::once(bin.to_owned()).chain(places());
    let psql = places.map(|dir| dir.join("psql")).find(|psql| psql.is_file());
    psql.context("no psql on this machine; `scripts/setup` installs one")
}

fn places() -> Vec<PathBuf> {
    let on_path = std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect());
    let from_config = run(Command::new("pg_config").arg("--bindir")).ok().map(PathBuf::from);
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let on_path: Vec<PathBuf> = on_path.unwrap_or_default();
    on_path
        .into_iter()
        .chain(from_config)
        .chain(versions.into_iter().rev().map(|(_, dir)| dir))
        .collect()
}

/// PostgreSQL refuses to run as root.
fn unprivileged_user() -> Result<User> {
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        Some(User { uid: ids.next()?.parse().ok()?, gid: ids.next()?.parse().ok()? })
    };
    find("postgres").or_else(|| find("nobody")).context("neither user postgres nor nobody exists")
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        let program = command.get_program().to_string_lossy().into_owned();
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_keeps_its_data_and_port_over_every_kind_of_stop() {
        let mut postgres = Postgres::start(PostgresOptions::default()).unwrap();
        postgres.create_database("odd \" name").unwrap();
        postgres.create_database("t").unwrap();
        postgres.psql("t", "CREATE TABLE n (i int)").unwrap();
        for (i, how) in [Stop::Fast, Stop::Immediate, Stop::Kill].into_iter().enumerate() {
            postgres.psql("t", &format!("INSERT INTO n VALUES ({i})")).unwrap();
            let port = postgres.port();
            postgres.stop(how).unwrap();
            assert!(postgres.psql("t", "SELECT 1").is_err(), "down after {how:?}");
            postgres.start_again().unwrap();
            assert_eq!(postgres.port(), port);
            assert_eq!(postgres.psql("t", "SELECT count(*) FROM n").unwrap(), (i + 1).to_string());
        }
    }

    #[test]
    fn a_wrong_password_is_refused_and_nothing_stays_behind() {
        let postgres = Postgres::start(PostgresOptions::default()).unwrap();
        let dir = postgres.socket_dir().to_owned();
        let wrong = postgres.url("postgres").replace(postgres.password(), "wrong");
        let psql = Command::new(&postgres.psql).arg(wrong).args(["-c", "SELECT 1"]).output();
        assert!(!psql.unwrap().status.success());
        drop(postgres);
        assert!(!dir.exists());
    }
}
