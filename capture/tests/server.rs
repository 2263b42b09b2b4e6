//! A SQL Server double with a database `shop`, driven by T-SQL alone, its capture job stopped so
//! that tests say when it scans; and a login that has SELECT on what is captured and nothing else.

use std::sync::Arc;

use lockstep_capture::CaptureSettings;
use lockstep_common::config::{self, Encrypt, Secret};
use lockstep_common::service::status::CaptureStatus;
use lockstep_common::{FailPoints, Position, Shutdown, Value};
use lockstep_log::Log;
use mssql_double::product::Release;
use mssql_double::{Config, Double};
use tiberius::{AuthMethod, Client, EncryptionLevel, Row, ToSql};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::contents::{self, Contents};
use crate::service::{Bed, Running, capture};

const SA_PASSWORD: &str = "Sa-Passw0rd!";
const READER_PASSWORD: &str = "Reader-Passw0rd!";

/// A session of a client.
pub struct Session(Client<Compat<TcpStream>>);

impl Session {
    /// Runs a batch.
    pub async fn run(&mut self, sql: &str) -> Vec<Row> {
        let answer = self.try_run(sql).await;
        answer.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs a statement with parameters.
    pub async fn run_with(&mut self, sql: &str, parameters: &[&dyn ToSql]) {
        let answer = match self.0.query(sql, parameters).await {
            Ok(answer) => answer.into_results().await.map(drop),
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs a batch that may fail.
    pub async fn try_run(&mut self, sql: &str) -> Result<Vec<Row>, tiberius::error::Error> {
        let results = self.0.simple_query(sql).await?.into_results().await?;
        Ok(results.into_iter().flatten().collect())
    }
}

/// The server and its administrator.
pub struct Server {
    pub double: Double,
    pub admin: Session,
}

impl Server {
    /// With change data capture on in `shop` and no table in it.
    pub async fn new() -> Self {
        Self::with(Config::in_memory(SA_PASSWORD)).await
    }

    /// The same, of SQL Server 2025.
    pub async fn of_2025() -> Self {
        Self::with(Config { release: Release::V2025, ..Config::in_memory(SA_PASSWORD) }).await
    }

    async fn with(config: Config) -> Self {
        let double = Double::start(config).await.expect("the double starts");
        let mut master = session(&double, "sa", SA_PASSWORD, "master").await;
        master.run("CREATE DATABASE shop").await;
        master
            .run(&format!(
                "CREATE LOGIN reader WITH PASSWORD = N'{READER_PASSWORD}', CHECK_POLICY = OFF"
            ))
            .await;
        double.server().storage().set_max_text_repl_size(-1).expect("no limit is a size");
        let mut admin = session(&double, "sa", SA_PASSWORD, "shop").await;
        admin.run("CREATE USER reader FOR LOGIN reader").await;
        admin.run("EXEC sys.sp_cdc_enable_db").await;
        Server { double, admin }
    }

    /// Another session of the administrator.
    pub async fn session(&self) -> Session {
        session(&self.double, "sa", SA_PASSWORD, "shop").await
    }

    /// Creates `dbo.<name>` and captures it; the reader may read it.
    pub async fn table(&mut self, name: &str, columns: &str) {
        self.admin.run(&format!("CREATE TABLE dbo.{name} ({columns})")).await;
        self.capture(name, &format!("dbo_{name}")).await;
        self.admin.run(&format!("GRANT SELECT ON dbo.{name} TO reader")).await;
    }

    /// Creates and captures `dbo.t` with as many columns as a capture instance can have; how many
    /// they are. (A change table has six columns of its own, and a table at most 1024.)
    pub async fn widest_captured(&mut self, columns: fn(usize) -> String) -> usize {
        const ENABLE: &str = "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', \
             @source_name = N't', @role_name = NULL, @supports_net_changes = 0";
        for width in [1024, 1018] {
            self.admin.run(&format!("CREATE TABLE dbo.t ({})", columns(width))).await;
            if self.admin.try_run(ENABLE).await.is_ok() {
                self.stop_job().await;
                self.admin.run("GRANT SELECT ON dbo.t TO reader").await;
                self.admin.run("GRANT SELECT ON cdc.dbo_t_CT TO reader").await;
                self.scan().await;
                return width;
            }
            self.admin.run("DROP TABLE dbo.t").await;
        }
        panic!("no wide table can be captured")
    }

    /// Makes a capture instance of `dbo.<name>` that the reader may read.
    pub async fn capture(&mut self, name: &str, instance: &str) {
        self.admin
            .run(&format!(
                "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{name}', \
                 @capture_instance = N'{instance}', @role_name = NULL, @supports_net_changes = 0"
            ))
            .await;
        self.stop_job().await;
        self.admin.run(&format!("GRANT SELECT ON cdc.[{instance}_CT] TO reader")).await;
        self.scan().await;
    }

    /// Stops the capture job, which enabling the first table and a restore start.
    pub async fn stop_job(&mut self) {
        // It may not run.
        let _ = self.admin.try_run("EXEC sys.sp_cdc_stop_job @job_type = N'capture'").await;
    }

    /// Lets the capture job come to everything that is committed.
    pub async fn scan(&mut self) {
        self.admin.run("EXEC sys.sp_cdc_scan @maxtrans = 10000, @maxscans = 100").await;
    }

    /// Runs a batch and captures it.
    pub async fn captured(&mut self, sql: &str) {
        self.admin.run(sql).await;
        self.scan().await;
    }

    /// Throws a switch of the double.
    pub async fn fault(&mut self, name: &str, value: &str) {
        self.admin
            .run(&format!("EXEC [double].set_fault @name = N'{name}', @value = N'{value}'"))
            .await;
    }

    /// The newest commit that stands for a transaction.
    pub async fn newest(&mut self) -> Position {
        let rows = self
            .admin
            .run("SELECT TOP (1) start_lsn FROM cdc.lsn_time_mapping WHERE tran_id <> 0x00 ORDER BY start_lsn DESC")
            .await;
        let lsn: &[u8] = rows[0].get(0).expect("an LSN");
        Position::new(1, lsn).expect("ten bytes")
    }

    /// The reader's configuration.
    pub fn source(&self) -> config::Source {
        config::Source {
            host: self.double.addr().ip().to_string(),
            port: self.double.addr().port(),
            database: "shop".to_owned(),
            user: "reader".to_owned(),
            password: Some(Secret::new(READER_PASSWORD)),
            encrypt: Encrypt::Off,
            ..config::Source::default()
        }
    }

    /// Starts capture over the double.
    pub fn follow(&self, log: &Arc<dyn Log>) -> Running {
        self.follow_with(log, capture(), FailPoints::default())
    }

    /// Starts capture with settings.
    pub fn follow_with(
        &self,
        log: &Arc<dyn Log>,
        capture: config::Capture,
        fail: FailPoints,
    ) -> Running {
        follow(self.source(), log, capture, fail)
    }

    /// Lets capture come to the newest commit and stop; what the log holds then.
    pub async fn run_through(&mut self, bed: &Bed) -> Contents {
        self.run_through_with(bed, capture()).await
    }

    /// As [`Server::run_through`], with settings.
    pub async fn run_through_with(&mut self, bed: &Bed, capture: config::Capture) -> Contents {
        let newest = self.newest().await;
        let mut running = self.follow_with(&bed.log, capture, FailPoints::default());
        running.reaches(newest).await;
        running.stop().await.expect("it stops as asked");
        contents::read(bed.log.as_ref()).await
    }
}

/// Starts capture of any source.
pub fn follow(
    source: config::Source,
    log: &Arc<dyn Log>,
    capture: config::Capture,
    fail: FailPoints,
) -> Running {
    let (sender, status) = watch::channel(CaptureStatus::default());
    let shutdown = Shutdown::new();
    let settings = CaptureSettings {
        pipeline: "test".to_owned(),
        task: config::Task::Cdc,
        source,
        capture,
        reloads: Default::default(),
    };
    let service = lockstep_capture::run(settings, Arc::clone(log), sender, fail, shutdown.clone());
    Running::of(service, status, shutdown)
}

async fn session(double: &Double, user: &str, password: &str, database: &str) -> Session {
    let mut config = tiberius::Config::new();
    config.host(double.addr().ip());
    config.port(double.addr().port());
    config.database(database);
    config.authentication(AuthMethod::sql_server(user, password));
    config.encryption(EncryptionLevel::NotSupported);
    let stream = TcpStream::connect(double.addr()).await.expect("the double listens");
    let client = Client::connect(config, stream.compat_write()).await;
    Session(client.expect("the double lets the client in"))
}

/// Text as a value.
pub fn text(text: &str) -> Value<'static> {
    Value::String(text.to_owned().into())
}
