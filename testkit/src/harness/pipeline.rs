//! One pipeline under test.

mod change;
mod load;

pub use load::Nudge;

use lockstep_common::Code;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lockstep_apply::ApplySettings;
use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, Apply, Capture, EmbeddedLog, Encrypt, KafkaLog, Secret, Task};
use lockstep_common::service::reload::Reloads;
use lockstep_common::service::status::{ApplyStatus, CaptureStatus, StatusReceiver};
use lockstep_common::{FailPoints, TableName};
use lockstep_log::Log;
use lockstep_servers::{Double, Kafka, Postgres, Scratch};

use super::DEADLINE;
use super::servers::{self, shared_kafka, shared_postgres, unique};
use super::service::Service;
use crate::history::{History, Lsn};
use crate::oracle::{Observer, ObserverOptions, Target};
use crate::session::{Session, Tally};
use crate::shape::Table;
use crate::source::Source;
use crate::workload;

/// Name of the apply that a pipeline has from the beginning.
const APPLY: &str = "target";

/// Which log a pipeline runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// The embedded log.
    Embedded,
    /// Kafka.
    Kafka,
}

/// What is special about a pipeline.
#[derive(Debug)]
pub struct PipelineBuilder {
    log: LogKind,
    tables: Vec<Table>,
    shape: Vec<String>,
    task: Task,
    signal: bool,
    snapshots: bool,
    double: Option<Arc<Double>>,
    postgres: Option<Arc<Postgres>>,
    kafka: Option<Arc<Kafka>>,
    capture: Capture,
    apply: ApplyChange,
}

/// Changes an apply's section after the harness has filled in the target.
type ApplyChange = fn(&mut Apply);

impl PipelineBuilder {
    /// A source of the test's own.
    pub fn double(mut self, double: Arc<Double>) -> Self {
        self.double = Some(double);
        self
    }

    /// A PostgreSQL of the test's own.
    pub fn postgres(mut self, postgres: Arc<Postgres>) -> Self {
        self.postgres = Some(postgres);
        self
    }

    /// A broker of the test's own.
    pub fn kafka(mut self, kafka: Arc<Kafka>) -> Self {
        self.kafka = Some(kafka);
        self
    }

    /// What the pipeline does, if not to follow changes only. Tasks that load have no start point.
    pub fn task(mut self, task: Task) -> Self {
        self.task = task;
        if task != Task::Cdc {
            self.capture.start = None;
        }
        self
    }

    /// A statement that shapes the source's tables further, before they are captured.
    pub fn shape(mut self, sql: impl Into<String>) -> Self {
        self.shape.push(sql.into());
        self
    }

    /// Gives capture a signal table, which is no part of the history.
    pub fn signal(mut self) -> Self {
        self.signal = true;
        self
    }

    /// Leaves SNAPSHOT isolation off in the source, as SQL Server does; tasks that load have it on.
    pub fn without_snapshots(mut self) -> Self {
        self.snapshots = false;
        self
    }

    /// Settings of capture.
    pub fn capture(mut self, change: impl FnOnce(&mut Capture)) -> Self {
        change(&mut self.capture);
        self
    }

    /// Settings of every apply.
    pub fn apply(mut self, change: ApplyChange) -> Self {
        self.apply = change;
        self
    }

    /// Makes the databases and the log; starts no service.
    ///
    /// # Errors
    /// When a server is not there or refuses.
    pub async fn build(self) -> Result<Pipeline> {
        let name = unique("t");
        let history = History::new(self.tables);
        let source = match &self.double {
            Some(double) => Source::on(double, &name),
            None => servers::source(&name)?,
        };
        workload::install_with(&source, history.tables(), &self.shape).await?;
        if self.snapshots && self.task != Task::Cdc {
            load::allow_snapshots(&source).await?;
        }
        let mut capture_config = self.capture;
        if self.signal {
            load::make_signal_table(&source).await?;
            capture_config.signal_table = Some(load::SIGNAL_TABLE.to_owned());
        }
        workload::hasten_capture(&source).await?;
        let dir = Scratch::new("lockstep-test-")?;
        let log_config = match self.log {
            LogKind::Embedded => {
                config::Log::Embedded(EmbeddedLog { path: dir.path().join("log"), retention: None })
            }
            LogKind::Kafka => {
                let kafka = self.kafka.map_or_else(shared_kafka, Ok)?;
                config::Log::Kafka(kafka_log(kafka.address()))
            }
        };
        let mut pipeline = Pipeline {
            observers: BTreeMap::new(),
            targets: BTreeMap::new(),
            apply_change: self.apply,
            task: self.task,
            capture_config,
            reloads: Reloads::default(),
            capture_status: None,
            sessions: 0,
            tally: Arc::new(Tally::default()),
            log: None,
            log_config,
            history,
            source,
            name,
            dir,
        };
        let postgres = self.postgres.map_or_else(shared_postgres, Ok)?;
        pipeline.add_target(APPLY, postgres)?;
        Ok(pipeline)
    }
}

fn kafka_log(brokers: &str) -> KafkaLog {
    KafkaLog { brokers: brokers.to_owned(), replication: 1, ..KafkaLog::default() }
}

/// One pipeline under test. Fields are dropped in order: observers before what they look at, the
/// directory last.
pub struct Pipeline {
    observers: BTreeMap<String, Observer>,
    targets: BTreeMap<String, TargetDatabase>,
    apply_change: ApplyChange,
    task: Task,
    capture_config: Capture,
    reloads: Reloads,
    /// Of the capture that was started last.
    capture_status: Option<StatusReceiver<CaptureStatus>>,
    sessions: i64,
    tally: Arc<Tally>,
    log: Option<Arc<dyn Log>>,
    log_config: config::Log,
    history: Arc<History>,
    source: Source,
    name: String,
    dir: Scratch,
}

#[derive(Debug)]
struct TargetDatabase {
    postgres: Arc<Postgres>,
    database: String,
    /// The apply's settings, once a test has changed them.
    settings: Option<Apply>,
}

impl Pipeline {
    /// A pipeline for `tables` over a log of this kind.
    pub fn builder(log: LogKind, tables: Vec<Table>) -> PipelineBuilder {
        PipelineBuilder {
            log,
            tables,
            shape: Vec::new(),
            task: Task::Cdc,
            signal: false,
            snapshots: true,
            double: None,
            postgres: None,
            kafka: None,
            capture: Capture {
                poll_interval: Duration::from_millis(20),
                start: Some("earliest".to_owned()),
                ..Capture::default()
            },
            apply: |_| {},
        }
    }

    /// Its name, which is also the source database's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source database.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What the source has done.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// What the sessions have done.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// The log's configuration.
    pub fn log_config(&self) -> &config::Log {
        &self.log_config
    }

    /// A new session on the source.
    pub fn session(&mut self) -> Session {
        let id = self.session_numbers(1);
        Session::new(id, self.source.clone(), Arc::clone(&self.history), Arc::clone(&self.tally))
    }

    /// Sets session numbers aside for a [`workload::Run`]; returns the first.
    pub fn session_numbers(&mut self, count: usize) -> i64 {
        let first = self.sessions;
        self.sessions += i64::try_from(count).expect("a handful of sessions");
        first
    }

    /// The log, opened at the first call and after [`Pipeline::close_log`].
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn log(&mut self) -> Result<Arc<dyn Log>> {
        if let Some(log) = &self.log {
            return Ok(Arc::clone(log));
        }
        let deadline = Instant::now() + DEADLINE;
        let log = loop {
            match lockstep_log::open(&self.log_config, &self.name).await {
                // What a crashed service had running on blocking threads holds it a moment longer.
                Err(failure) if failure.code == Code::LogLocked && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                opened => break opened?,
            }
        };
        self.log = Some(Arc::clone(&log));
        Ok(log)
    }

    /// Lets go of the log, as a process does that ends. No service may run.
    pub fn close_log(&mut self) {
        self.log = None;
    }

    /// Starts capture.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub async fn start_capture(&mut self, fail: FailPoints) -> Result<Service<CaptureStatus>> {
        let log = self.log().await?;
        let settings = CaptureSettings {
            pipeline: self.name.clone(),
            source: self.source_config(),
            task: self.task,
            capture: self.capture_config.clone(),
            reloads: self.reloads.clone(),
        };
        let service = Service::start(|status, shutdown| {
            lockstep_capture::run(settings, log, status, fail, shutdown)
        });
        self.capture_status = Some(service.watch());
        Ok(service)
    }

    /// Starts the apply of the first target.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub async fn start_apply(&mut self, fail: FailPoints) -> Result<Service<ApplyStatus>> {
        self.start_apply_to(APPLY, fail).await
    }

    /// Starts the apply of the target `name`.
    ///
    /// # Errors
    /// When the log cannot be opened or there is no such target.
    pub async fn start_apply_to(
        &mut self,
        name: &str,
        fail: FailPoints,
    ) -> Result<Service<ApplyStatus>> {
        let log = self.log().await?;
        let settings = ApplySettings {
            name: name.to_owned(),
            pipeline: self.name.clone(),
            task: self.task,
            config: self.apply_config(name)?,
        };
        Ok(Service::start(|status, shutdown| {
            lockstep_apply::run(settings, log, status, fail, shutdown)
        }))
    }

    /// Another empty target database.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn add_target(&mut self, name: &str, postgres: Arc<Postgres>) -> Result<()> {
        let database = format!("{}_{name}", self.name);
        postgres.create_database(&database)?;
        self.targets.insert(name.to_owned(), TargetDatabase { postgres, database, settings: None });
        self.grant(name)?;
        self.observers.insert(name.to_owned(), self.new_observer(name)?);
        Ok(())
    }

    /// Makes the ordinary role that applies to a target, with what `lockstep schema --grants` says that
    /// it needs there.
    fn grant(&self, name: &str) -> Result<()> {
        let TargetDatabase { postgres, database, .. } = self.target_database(name)?;
        let config = self.apply_config(name)?;
        if config.user == postgres.user() {
            return Ok(());
        }
        let version = postgres.psql(database, "SHOW server_version_num")?;
        let version = version.trim().parse::<u32>().context("a version")? / 10_000;
        let sources: Vec<TableName> = self
            .history
            .tables()
            .iter()
            .map(|table| TableName { schema: "dbo".into(), table: table.name.clone() })
            .collect();
        let sources: Vec<&TableName> = sources.iter().collect();
        postgres.psql(database, &lockstep_apply::grants(&config, version, &sources))?;
        let password = postgres.password();
        let role = &config.user;
        postgres.psql(database, &format!("ALTER ROLE \"{role}\" PASSWORD '{password}'"))?;
        Ok(())
    }

    /// Forgets what the observer of a target has seen: for tests that take a target back on
    /// purpose.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn forget_observations(&mut self, name: &str) -> Result<()> {
        self.observers.insert(name.to_owned(), self.new_observer(name)?);
        Ok(())
    }

    /// The target database, for reading and for meddling.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn target(&self, name: &str) -> Result<Target> {
        Target::new(&self.target_url(name)?, &self.name)
    }

    /// `postgres://…` of a target.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn target_url(&self, name: &str) -> Result<String> {
        let target = self.target_database(name)?;
        Ok(target.postgres.url(&target.database))
    }

    /// Name of a target's database.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn target_database_name(&self, name: &str) -> Result<String> {
        Ok(self.target_database(name)?.database.clone())
    }

    /// Password of a target's role.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn target_password(&self, name: &str) -> Result<String> {
        Ok(self.target_database(name)?.postgres.password().to_owned())
    }

    /// Which log it runs over.
    pub fn log_kind(&self) -> LogKind {
        match &self.log_config {
            config::Log::Embedded(_) => LogKind::Embedded,
            config::Log::Kafka(_) => LogKind::Kafka,
        }
    }

    /// Writes the whole configuration to a file for the real programs and returns its path. Secrets
    /// are not in it: they go by variables.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self) -> Result<std::path::PathBuf> {
        let mut apply = BTreeMap::new();
        for name in self.targets.keys() {
            apply.insert(name.clone(), self.apply_config(name)?);
        }
        let config = config::Config {
            http: config::Http::default(),
            pipeline: config::Pipeline { name: self.name.clone(), task: self.task },
            source: Some(self.source_config()),
            log: self.log_config.clone(),
            capture: self.capture_config.clone(),
            apply,
        };
        let path = self.config_path();
        std::fs::write(&path, toml::to_string(&config)?)?;
        Ok(path)
    }

    /// Where [`Pipeline::write_config`] puts it.
    pub fn config_path(&self) -> std::path::PathBuf {
        self.dir.path().join("lockstep.toml")
    }

    /// Runs `sql` in a transaction on the target `name` that stays open while what is returned is
    /// held.
    ///
    /// # Errors
    /// When there is no such target or the server refuses.
    pub async fn hold_target(&self, name: &str, sql: &str) -> Result<tokio_postgres::Client> {
        let (client, connection) =
            tokio_postgres::connect(&self.target_url(name)?, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; {sql}")).await?;
        Ok(client)
    }

    /// Waits until the source's change tables hold all that was committed; returns its last
    /// position.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn await_captured_by_source(&self) -> Result<Lsn> {
        let committed = self.tally.committed.load(std::sync::atomic::Ordering::Relaxed);
        let mut source = self.source.connect().await?;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let newest = self.history.learn(&mut source).await?;
            if u64::try_from(self.history.committed())? >= committed {
                return Ok(newest);
            }
            ensure!(Instant::now() < deadline, "the source's capture job is behind: {newest}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until everything committed at the source is in the target of `apply`, then compares
    /// target, source and history value by value.
    ///
    /// # Errors
    /// When it does not arrive in time, or anything was or is wrong in the target.
    pub async fn await_arrived(&mut self, apply: &mut Service<ApplyStatus>) -> Result<()> {
        self.await_arrived_at(APPLY, apply).await
    }

    /// The same for the target `name`.
    ///
    /// # Errors
    /// As [`Pipeline::await_arrived`].
    pub async fn await_arrived_at(
        &mut self,
        name: &str,
        apply: &mut Service<ApplyStatus>,
    ) -> Result<()> {
        let newest = self.await_captured_by_source().await?;
        let arrived = |status: &ApplyStatus| status.position.source() >= newest.0.as_slice();
        apply.until(&format!("the target is at {newest}"), arrived).await?;
        self.compare(name).await
    }

    /// Takes one snapshot of the first target and judges it.
    ///
    /// # Errors
    /// When a server is away, or anything was or is wrong in the target.
    pub async fn observe(&mut self) -> Result<()> {
        let observer = self.observer(APPLY)?;
        observer.observe().await?;
        judge(observer)
    }

    /// Compares the target `name` with source and history value by value, at rest.
    ///
    /// # Errors
    /// When a server is away, or anything was or is wrong in the target.
    pub async fn compare(&mut self, name: &str) -> Result<()> {
        let observer = self.observer(name)?;
        observer.observe().await?;
        observer.compare_all().await?;
        judge(observer)
    }

    /// The observer of a target, to run beside a workload.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn new_observer(&self, name: &str) -> Result<Observer> {
        Ok(Observer::new(ObserverOptions {
            target: self.target(name)?,
            source: self.source.clone(),
            history: Arc::clone(&self.history),
            conditions: &[],
            pause: Duration::from_millis(10),
        }))
    }

    fn observer(&mut self, name: &str) -> Result<&mut Observer> {
        self.observers.get_mut(name).with_context(|| format!("there is no target {name}"))
    }

    fn target_database(&self, name: &str) -> Result<&TargetDatabase> {
        self.targets.get(name).with_context(|| format!("there is no target {name}"))
    }

    fn source_config(&self) -> config::Source {
        config::Source {
            host: self.source.host.clone(),
            port: self.source.port,
            database: self.source.database.clone(),
            user: self.source.user.clone(),
            password: Some(Secret::new(self.source.password.clone())),
            encrypt: Encrypt::Login,
            trust_server_certificate: true,
            ..config::Source::default()
        }
    }

    fn apply_config(&self, name: &str) -> Result<Apply> {
        let TargetDatabase { postgres, database, settings } = self.target_database(name)?;
        if let Some(settings) = settings {
            return Ok(settings.clone());
        }
        let section = toml::toml! {
            host = "127.0.0.1"
            database = ""
            user = ""
            tls = "disable"
            spool = ""
        };
        let mut apply: Apply = section.try_into()?;
        apply.host = postgres.host().to_owned();
        apply.port = postgres.port();
        apply.database = database.clone();
        // As documented, an ordinary one.
        apply.user = format!("role_{}", self.name);
        apply.password = Some(Secret::new(postgres.password()));
        apply.spool = self.dir.path().join(format!("spool-{name}"));
        (self.apply_change)(&mut apply);
        Ok(apply)
    }
}

fn judge(observer: &Observer) -> Result<()> {
    match observer.observations().findings.first() {
        None => Ok(()),
        Some(finding) => bail!("at {}: {}", finding.position, finding.what),
    }
}
