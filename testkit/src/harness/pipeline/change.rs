//! What a test changes about a pipeline between two runs of its services: their settings, the
//! target's server and contents, the log as a whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lockstep_common::config::{self, Apply, Capture};
use lockstep_common::service::status::ApplyStatus;
use lockstep_log::Stream;
use lockstep_servers::Postgres;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{DEADLINE, Pipeline, judge};
use crate::harness::Service;
use crate::history::Lsn;

impl Pipeline {
    /// Changes capture's settings from its next start on.
    pub fn change_capture(&mut self, change: impl FnOnce(&mut Capture)) {
        change(&mut self.capture_config);
    }

    /// Changes the settings of the apply of the target `name` from its next start on.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn change_apply(&mut self, name: &str, change: impl FnOnce(&mut Apply)) -> Result<()> {
        let mut settings = self.apply_config(name)?;
        change(&mut settings);
        self.targets.get_mut(name).context("it was found before")?.settings = Some(settings);
        Ok(())
    }

    /// The server of the target `name`, to stop and to start: one of the test's own
    /// ([`PipelineBuilder::postgres`](super::PipelineBuilder::postgres)) that nobody else holds.
    ///
    /// # Errors
    /// When others use it too.
    pub fn target_server(&mut self, name: &str) -> Result<&mut Postgres> {
        let target = self.targets.get_mut(name).with_context(|| format!("no target {name}"))?;
        Arc::get_mut(&mut target.postgres).context("the target's server is shared")
    }

    /// Runs a query on the target `name` as an operator and returns its unaligned output.
    ///
    /// # Errors
    /// The server's.
    pub fn query_target(&self, name: &str, sql: &str) -> Result<String> {
        let target = self.target_database(name)?;
        target.postgres.psql(&target.database, sql)
    }

    /// Runs a query on the target `name` as the role that applies to it, which then owns what it makes.
    ///
    /// # Errors
    /// The server's.
    pub fn query_target_as_apply(&self, name: &str, sql: &str) -> Result<String> {
        let role = self.apply_config(name)?.user;
        self.query_target(name, &format!("SET ROLE \"{role}\"; {sql}"))
    }

    /// Makes the target `to` with the contents of `from`, checkpoint and all. Nobody may be
    /// connected to `from`.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn copy_target(&mut self, from: &str, to: &str) -> Result<()> {
        let postgres = Arc::clone(&self.target_database(from)?.postgres);
        let template = self.target_database_name(from)?;
        self.add_target(to, Arc::clone(&postgres))?;
        let database = self.target_database_name(to)?;
        replace_database(&postgres, &database, &template)?;
        self.grant(to)
    }

    /// Replaces the contents of `name` with those of `backup`, as an operator who restores one.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn restore_target(&mut self, name: &str, backup: &str) -> Result<()> {
        let template = self.target_database_name(backup)?;
        let target = self.target_database(name)?;
        replace_database(&target.postgres, &target.database, &template)?;
        self.grant(name)?;
        self.forget_observations(name)
    }

    /// Takes the whole log away, as an operator who deletes its directory or topics. No service may
    /// run.
    ///
    /// # Errors
    /// When it does not go.
    pub async fn delete_log(&mut self) -> Result<()> {
        self.close_log();
        match &self.log_config {
            config::Log::Embedded(log) => {
                std::fs::remove_dir_all(&log.path).context("remove the log's directory")
            }
            config::Log::Kafka(log) => {
                let topics = ["transactions", "schemas", "snapshot"];
                delete_topics(&log.brokers, &topics.map(|s| format!("{}.{s}", self.name))).await
            }
        }
    }

    /// Takes the transactions out of the log: by trimming it, or by deleting their topic. No service
    /// may run.
    ///
    /// # Errors
    /// When they do not go.
    pub async fn empty_log(&mut self) -> Result<()> {
        if let config::Log::Kafka(log) = &self.log_config {
            return delete_topics(&log.brokers, &[format!("{}.transactions", self.name)]).await;
        }
        let log = self.log().await?;
        let end = log.reader(Stream::Transactions).await?.bounds().await?.end;
        log.trim(Stream::Transactions, end).await?;
        Ok(())
    }

    /// Waits until the apply of any target is at the source's newest transaction, whatever the
    /// target then holds, and returns where that is.
    ///
    /// # Errors
    /// When it does not get there in time.
    pub async fn await_position(&self, apply: &mut Service<ApplyStatus>) -> Result<Lsn> {
        let newest = self.await_captured_by_source().await?;
        let arrived = |status: &ApplyStatus| status.position.source() >= newest.0.as_slice();
        apply.until(&format!("the target is at {newest}"), arrived).await?;
        Ok(newest)
    }

    /// Compares one table (an index into the history's) of source and target value by value, for
    /// targets that hold less than the whole history on purpose.
    ///
    /// # Errors
    /// When a server is away, or the tables differ.
    pub async fn compare_table(&mut self, name: &str, table: usize) -> Result<()> {
        let observer = self.observer(name)?;
        if let Some(difference) = observer.compare_one(table).await? {
            bail!("the target differs from the source: {difference}");
        }
        judge(observer)
    }
}

fn replace_database(postgres: &Postgres, database: &str, template: &str) -> Result<()> {
    postgres.psql("postgres", &format!("DROP DATABASE \"{database}\" WITH (FORCE)"))?;
    postgres
        .psql("postgres", &format!("CREATE DATABASE \"{database}\" TEMPLATE \"{template}\""))
        .map(drop)
}

async fn delete_topics(brokers: &str, topics: &[String]) -> Result<()> {
    let mut settings = rdkafka::ClientConfig::new();
    settings.set("bootstrap.servers", brokers);
    let admin: AdminClient<DefaultClientContext> = settings.create()?;
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    for deleted in admin.delete_topics(&names, &AdminOptions::new()).await? {
        deleted.map_err(|(topic, code)| anyhow::anyhow!("delete {topic}: {code}"))?;
    }
    let consumer: BaseConsumer = settings.create()?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let all = consumer.fetch_metadata(None, DEADLINE)?;
        if !all.topics().iter().any(|topic| names.contains(&topic.name())) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{names:?} do not go");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
