//! A test's log, source, database and apply.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use lockstep_apply::testing::{self, Memory};
use lockstep_apply::{ApplySettings, run};
use lockstep_common::config::{self, TargetTls};
use lockstep_common::service::status::{ApplyStatus, StatusReceiver, StatusSender};
use lockstep_common::{Disposition, FailPoints, Failure, Shutdown};
use lockstep_log::Log;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::source::{Source, at};
use lockstep_servers::cluster::{self, Cluster};

pub const PIPELINE: &str = "shop";
/// How long anything may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// By default on a database; `Bed<Memory>` needs no cluster.
pub struct Bed<T = Database> {
    pub log: Arc<dyn Log>,
    pub source: Source,
    pub database: T,
    directory: TempDir,
}

/// A database of its own in a cluster.
pub struct Database {
    pub port: u16,
    pub name: String,
    client: Client,
}

/// A running apply.
pub struct Apply {
    handle: JoinHandle<Result<(), Failure>>,
    pub status: StatusReceiver<ApplyStatus>,
    shutdown: Shutdown,
}

impl Bed {
    pub async fn new() -> Self {
        Self::on(cluster::shared()).await
    }

    pub async fn on(cluster: &Cluster) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = open_log(&directory, "log").await;
        let source = Source::new(&log).await;
        Bed { log, source, database: Database::new(cluster.port).await, directory }
    }

    /// What an earlier build left in `fixture`: a log, a spool, and a target.
    pub async fn restored(fixture: &Path) -> Self {
        let bed = Self::of_log(fixture).await;
        copy(&fixture.join("spool"), &bed.spool("spool"));
        let dump = std::fs::read_to_string(fixture.join("target.sql")).expect("a dump");
        let database = &bed.database;
        let client = connect(database.port, &database.name, "postgres").await;
        client.batch_execute(&dump).await.expect("the dump is restored");
        bed
    }

    /// The log in `fixture`, and an empty target.
    pub async fn of_log(fixture: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        copy(&fixture.join("log"), &directory.path().join("log"));
        let log = open_log(&directory, "log").await;
        let source = Source::new(&log).await;
        Bed { log, source, database: Database::new(cluster::shared().port).await, directory }
    }

    pub async fn query(&self, sql: &str) -> Vec<String> {
        self.database.query(sql).await
    }

    /// The server's major version.
    pub async fn major(&self) -> u32 {
        let version = "SELECT current_setting('server_version_num')::int / 10000";
        self.query(version).await[0].parse().expect("a number")
    }

    /// What is said of a unique index that the source has: NULLs are equal in it, from 15 on here too.
    pub async fn of_nulls(&self) -> &'static str {
        match self.major().await {
            ..15 => "SQL Server allows one NULL, this PostgreSQL (older than 15) any number",
            _ => "NULL",
        }
    }
}

impl Bed<Memory> {
    pub async fn in_memory() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = open_log(&directory, "log").await;
        let source = Source::new(&log).await;
        Bed { log, source, database: Memory::new(), directory }
    }

    /// Ids of `accounts`.
    pub fn ids(&self) -> Vec<String> {
        ids(self.database.rows("accounts"))
    }
}

fn ids(rows: Vec<String>) -> Vec<String> {
    rows.into_iter().map(|row| row.split('|').next().unwrap_or_default().to_owned()).collect()
}

impl<T: Target> Bed<T> {
    /// Keeps log and spool in `folder`. Nobody may be writing them.
    pub fn keep(&self, folder: &Path) {
        for name in ["log", "spool"] {
            copy(&self.directory.path().join(name), &folder.join(name));
        }
    }

    /// Another log in place of the first.
    pub async fn replace_log(&mut self, name: &str) {
        self.log = open_log(&self.directory, name).await;
        self.source = Source::new(&self.log).await;
    }

    /// Another log of this test.
    pub async fn open_log(&self, name: &str) -> Arc<dyn Log> {
        open_log(&self.directory, name).await
    }

    /// A copy of the log as it is now, for [`Bed::replace_log`]. Nobody may be writing it.
    pub fn copy_log(&self, to: &str) {
        copy(&self.directory.path().join("log"), &self.directory.path().join(to));
    }

    pub fn settings(&self) -> ApplySettings {
        let mut config = config::Apply {
            schemas: [("dbo".to_owned(), "public".to_owned())].into(),
            spool: self.spool("spool"),
            spool_budget: ByteSize::mib(64),
            memory: ByteSize::mib(8),
            load_connections: 2,
            ..config::Apply::default()
        };
        self.database.configure(&mut config);
        let task = config::Task::Cdc;
        ApplySettings { name: "main".into(), pipeline: PIPELINE.into(), task, config }
    }

    pub fn spool(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn start(&self) -> Apply {
        self.start_with(self.settings(), FailPoints::default())
    }

    pub fn start_with(&self, settings: ApplySettings, fail: FailPoints) -> Apply {
        Apply::start_on(&self.database, settings, &self.log, fail)
    }

    /// Runs an apply until the source's newest position is in the target, then stops it.
    pub async fn catch_up(&self) -> ApplyStatus {
        self.catch_up_with(self.settings()).await
    }

    pub async fn catch_up_with(&self, settings: ApplySettings) -> ApplyStatus {
        let mut apply = self.start_with(settings, FailPoints::default());
        apply.reaches(self.source.at).await;
        apply.stop().await
    }
}

/// Where an apply under test writes.
pub trait Target {
    /// Makes a configuration lead to it.
    fn configure(&self, config: &mut config::Apply);

    fn run(
        &self,
        settings: ApplySettings,
        log: Arc<dyn Log>,
        status: StatusSender<ApplyStatus>,
        fail: FailPoints,
        shutdown: Shutdown,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static;

    /// Rows of `accounts` by id, columns between bars; none without the table.
    async fn accounts(&self) -> Vec<String>;

    /// The position of the checkpoint, once there is one.
    async fn checkpoint(&self) -> Option<String>;

    /// How many rows `accounts` has, and the checkpoint's position, at one moment.
    async fn moment(&self) -> (u64, Option<String>);

    /// Transactions that were set aside.
    async fn exceptions(&self) -> Vec<String>;
}

impl Target for Database {
    fn configure(&self, config: &mut config::Apply) {
        config.host = "127.0.0.1".into();
        config.port = self.port;
        config.database.clone_from(&self.name);
        config.user = "postgres".into();
        config.tls = TargetTls::Disable;
    }

    fn run(
        &self,
        settings: ApplySettings,
        log: Arc<dyn Log>,
        status: StatusSender<ApplyStatus>,
        fail: FailPoints,
        shutdown: Shutdown,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        run(settings, log, status, fail, shutdown)
    }

    async fn accounts(&self) -> Vec<String> {
        match self.query("SELECT to_regclass('accounts')").await[0].as_str() {
            "NULL" => Vec::new(),
            _ => self.query("SELECT id, owner, balance FROM accounts ORDER BY id").await,
        }
    }

    async fn checkpoint(&self) -> Option<String> {
        let found = self.query("SELECT position FROM lockstep.checkpoint").await;
        found.into_iter().next().filter(|position| position != "NULL")
    }

    async fn moment(&self) -> (u64, Option<String>) {
        let is_there = "SELECT to_regclass('accounts') IS NOT NULL \
            AND to_regclass('lockstep.checkpoint') IS NOT NULL";
        if self.query(is_there).await != ["t"] {
            return (0, None);
        }
        let both = "SELECT (SELECT count(*) FROM accounts), position FROM lockstep.checkpoint";
        let found = self.query(both).await;
        let (count, position) = found[0].split_once('|').expect("two columns");
        let position = (position != "NULL").then(|| position.to_owned());
        (count.parse().expect("a number"), position)
    }

    async fn exceptions(&self) -> Vec<String> {
        self.query("SELECT position FROM lockstep.exceptions ORDER BY 1").await
    }
}

impl Target for Memory {
    fn configure(&self, config: &mut config::Apply) {
        config.host = "memory".into();
    }

    fn run(
        &self,
        settings: ApplySettings,
        log: Arc<dyn Log>,
        status: StatusSender<ApplyStatus>,
        fail: FailPoints,
        shutdown: Shutdown,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        testing::run(settings, self.clone(), log, status, fail, shutdown)
    }

    async fn accounts(&self) -> Vec<String> {
        self.rows("accounts")
    }

    async fn checkpoint(&self) -> Option<String> {
        Memory::checkpoint(self, PIPELINE).map(|position| position.to_string())
    }

    async fn moment(&self) -> (u64, Option<String>) {
        let (count, position) = Memory::moment(self, "accounts", PIPELINE);
        (count, position.map(|position| position.to_string()))
    }

    async fn exceptions(&self) -> Vec<String> {
        Memory::exceptions(self).iter().map(ToString::to_string).collect()
    }
}

/// Copies the files of a directory.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory for the copy");
    for file in std::fs::read_dir(from).expect("the directory's files") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

async fn open_log(directory: &TempDir, name: &str) -> Arc<dyn Log> {
    let config = config::Log::Embedded(config::EmbeddedLog {
        path: directory.path().join(name),
        retention: None,
    });
    lockstep_log::open(&config, PIPELINE).await.expect("the log opens")
}

impl Database {
    pub async fn new(port: u16) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(port, "postgres", "postgres").await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let client = connect(port, &name, "postgres").await;
        Database { port, name, client }
    }

    pub async fn reconnect(&mut self) {
        self.client = connect(self.port, &self.name, "postgres").await;
    }

    /// Rows as text, columns between bars.
    pub async fn query(&self, sql: &str) -> Vec<String> {
        let messages =
            self.client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|i| row.get(i).unwrap_or("NULL"))
                        .collect::<Vec<_>>()
                        .join("|"),
                ),
                _ => None,
            })
            .collect()
    }

    /// The SQLSTATE of what the server refuses.
    pub async fn refused(&self, sql: &str) -> String {
        let error = self.client.batch_execute(sql).await.expect_err(sql);
        error.code().map(|code| code.code().to_owned()).unwrap_or_default()
    }

    /// Waits until a query gives these rows.
    pub async fn shows(&self, sql: &str, rows: &[&str]) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let found = self.query(sql).await;
            if found == rows {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{sql}: {found:?}, not {rows:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub async fn connect(port: u16, database: &str, user: &str) -> Client {
    let config = format!("host=127.0.0.1 port={port} user={user} dbname={database}");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

impl Apply {
    /// Into whatever database the settings lead to.
    pub fn start(settings: ApplySettings, log: &Arc<dyn Log>, fail: FailPoints) -> Self {
        Self::spawn(|sender, shutdown| run(settings, Arc::clone(log), sender, fail, shutdown))
    }

    pub fn start_on(
        target: &impl Target,
        settings: ApplySettings,
        log: &Arc<dyn Log>,
        fail: FailPoints,
    ) -> Self {
        Self::spawn(|sender, shutdown| {
            target.run(settings, Arc::clone(log), sender, fail, shutdown)
        })
    }

    fn spawn<F>(run: impl FnOnce(StatusSender<ApplyStatus>, Shutdown) -> F) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (sender, status) = tokio::sync::watch::channel(ApplyStatus::default());
        let shutdown = Shutdown::new();
        let handle = tokio::spawn(run(sender, shutdown.clone()));
        Apply { handle, status, shutdown }
    }

    /// Waits until the status is as wanted.
    pub async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&ApplyStatus) -> bool,
    ) -> ApplyStatus {
        let waiting = async { self.status.wait_for(|s| wanted(s)).await.ok().map(|s| s.clone()) };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(Some(status)) => return status,
            Ok(None) => {}
            Err(_) => panic!("{what} does not come: {:#?}", *self.status.borrow()),
        }
        let ended = (&mut self.handle).await.expect("apply does not panic");
        panic!("apply ended before {what}: {ended:?}");
    }

    /// Waits until the checkpoint is at position `n`.
    pub async fn reaches(&mut self, n: u64) -> ApplyStatus {
        self.until(&format!("position {n}"), |status| status.position >= at(n)).await
    }

    /// Waits until it ends by itself.
    pub async fn ends(self) -> ApplyStatus {
        let ended = tokio::time::timeout(DEADLINE, self.handle).await.expect("apply ends");
        ended.expect("apply does not panic").expect("apply ends well");
        self.status.borrow().clone()
    }

    pub async fn stop(self) -> ApplyStatus {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(DEADLINE, self.handle).await.expect("apply ends");
        ended.expect("apply does not panic").expect("apply stops as asked");
        self.status.borrow().clone()
    }

    /// Waits for its failure.
    pub async fn fails(self) -> Failure {
        let ended = tokio::time::timeout(DEADLINE, self.handle).await;
        let ended = ended.unwrap_or_else(|_| panic!("no failure: {:#?}", *self.status.borrow()));
        ended.expect("apply does not panic").expect_err("apply ends with a failure")
    }

    pub async fn halts(self) -> Failure {
        let failure = self.fails().await;
        assert_eq!(failure.disposition(), Disposition::Halt, "{failure}");
        failure
    }

    /// Ends it where it stands, as dropping a process would.
    pub async fn kill(self) {
        self.handle.abort();
        let _ = self.handle.await;
    }
}
