//! Debezium's SQL Server connector and its JDBC sink, unmodified, in one Kafka Connect worker
//! (standalone), as their documentation sets them up.
//!
//! Options: <https://debezium.io/documentation/reference/3.5/connectors/sqlserver.html>,
//! <https://debezium.io/documentation/reference/3.5/connectors/jdbc.html>. The sink needs records with
//! schemas. Avro converters need a schema registry, and none comes from Maven Central as a library, so
//! that JSON with schemas is what there is; the schema travels with every record, which
//! [`Setting::flat`] makes three times smaller.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lockstep_servers::{Process, Program};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{Place, System, shop};

const START_WITHIN: Duration = Duration::from_secs(120);
/// Tasks end and offsets are flushed.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// What the start scripts of Kafka Connect give the JVM
/// (`bin/connect-standalone.sh`, `bin/kafka-run-class.sh`).
const JVM: &[&str] = &[
    "-Xms256M",
    "-Xmx2G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

/// How the peer is set up, beside `insert.mode=upsert`, `primary.key.mode=record_key` and
/// `delete.enabled=true`, without which it would repeat rows after a restart or keep deleted ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// What differs from the one before.
    pub(super) about: &'static str,
    /// The sink's `batch.size` and its consumer's `max.poll.records`, and more bytes at once.
    large_batches: bool,
    /// `time.precision.mode` of the source, its default if none.
    times: Option<&'static str>,
    /// `dialect.postgres.unnest.insert.enabled`
    unnest: bool,
    /// `use.reduction.buffer`
    reduction: bool,
    /// `ExtractNewRecordState` at the source: after images only, deletes as tombstones.
    flat: bool,
    /// `tasks.max` of the sink: a task for each table.
    tasks: bool,
}

const DEFAULTS: Setting = Setting {
    name: "defaults",
    about: "whole envelopes, batch.size 500",
    large_batches: false,
    times: None,
    unnest: false,
    reduction: false,
    flat: false,
    tasks: false,
};

/// All that is tried, each with what the one before has.
pub(super) const SETTINGS: &[Setting] = &[DEFAULTS, BATCHES, REDUCTION, FLAT, TASKS, UNNEST];

const BATCHES: Setting = Setting {
    name: "batches",
    about: "batch.size and max.poll.records 5000, max.batch.size 8192, max.queue.size 32768, more \
            bytes at once; time.precision.mode microseconds, which holds the year 9999",
    large_batches: true,
    times: Some("microseconds"),
    ..DEFAULTS
};
const REDUCTION: Setting = Setting {
    name: "reduction",
    about: "and use.reduction.buffer, with the driver's reWriteBatchedInserts",
    reduction: true,
    ..BATCHES
};
const FLAT: Setting = Setting {
    name: "flat",
    about: "and ExtractNewRecordState at the source",
    flat: true,
    ..REDUCTION
};
const TASKS: Setting =
    Setting { name: "tasks", about: "and tasks.max 6, a task for each table", tasks: true, ..FLAT };
// Under this option the release hands encoded times to PostgreSQL as they are, and its driver takes no
// arrays of bytes; as text both arrive.
const UNNEST: Setting = Setting {
    name: "unnest",
    about: "and dialect.postgres.unnest.insert.enabled, with time.precision.mode isostring and \
            binary.handling.mode hex",
    times: Some("isostring"),
    unnest: true,
    ..TASKS
};

impl Setting {
    fn batch(&self) -> u32 {
        if self.large_batches { 5000 } else { 500 }
    }

    fn topic(&self, database: &str, table: &str) -> String {
        format!("{}.{database}.dbo.{table}", self.name)
    }

    fn topics(&self, database: &str) -> Vec<String> {
        shop::tables().iter().map(|table| self.topic(database, &table.name)).collect()
    }
}

/// Where its jars are and which offsets it goes on from.
#[derive(Clone, Debug)]
pub(super) struct Jars(pub(super) PathBuf);

/// A running worker.
pub(super) struct Debezium {
    connect: Process,
    journal: String,
    consumer: BaseConsumer,
}

impl Debezium {
    /// Starts source connectors only, for all of `settings`, over empty tables; calls `fill`; and
    /// leaves when all of it is in the topics. From then on each can be started alone, and goes on
    /// from there.
    pub(super) async fn prepare(
        jars: &Jars,
        place: &Place<'_>,
        settings: &[Setting],
        fill: impl Future<Output = Result<()>>,
        rows: &[(&str, i64)],
    ) -> Result<()> {
        let database = &place.source.database;
        let topics: Vec<String> = settings.iter().flat_map(|s| s.topics(database)).collect();
        make_topics(place.brokers, &topics).await?;
        let mut files = vec![worker(place, &DEFAULTS)?];
        for setting in settings {
            files.push(source(place, setting)?);
        }
        let mut connect = start(jars, &files)?;
        for setting in settings {
            let thread = format!("-{}-change-event-source-coordinator", setting.name);
            let ready = |line: &str| line.contains(&thread) && line.contains("Starting streaming");
            connect.wait_for_line(ready, START_WITHIN).context("start Debezium's connector")?;
        }
        fill.await?;
        let consumer = consumer(place.brokers)?;
        let deadline = std::time::Instant::now() + START_WITHIN;
        for setting in settings {
            for (table, rows) in rows {
                while end(&consumer, &setting.topic(database, table))? < *rows {
                    if std::time::Instant::now() > deadline || connect.exited().is_some() {
                        bail!("Debezium did not publish {table}:\n{}", tail(&connect.output()));
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        leave(connect)
    }

    /// Starts source and sink.
    pub(super) fn start(jars: &Jars, place: &Place<'_>, setting: &Setting) -> Result<Self> {
        let files = [worker(place, setting)?, source(place, setting)?, sink(place, setting)?];
        Ok(Debezium {
            connect: start(jars, &files)?,
            journal: setting.topic(&place.source.database, "journal"),
            consumer: consumer(place.brokers)?,
        })
    }
}

impl System for Debezium {
    fn processes(&self) -> Vec<(&'static str, u32)> {
        vec![("Connect", self.connect.pid())]
    }

    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.connect.exited() {
            bail!("Connect ended with {status}:\n{}", tail(&self.connect.output()));
        }
        let output = self.connect.output();
        if output.contains("Task is being killed and will not recover") {
            bail!("a task of Connect has failed:\n{}", failures(&output));
        }
        Ok(())
    }

    async fn in_log(&mut self, transactions: i64) -> Result<bool> {
        Ok(end(&self.consumer, &self.journal)? >= transactions)
    }

    fn stop(self) -> Result<()> {
        leave(self.connect)
    }
}

fn start(jars: &Jars, files: &[PathBuf]) -> Result<Process> {
    let mut program = Program::new("java");
    for flag in JVM {
        program = program.arg(flag);
    }
    program = program
        .arg("-Dorg.slf4j.simpleLogger.showThreadName=true")
        .arg("-cp")
        .arg(jars.0.join("*"))
        .arg("org.apache.kafka.connect.cli.ConnectStandalone");
    for file in files {
        program = program.arg(file);
    }
    program.start()
}

fn leave(mut connect: Process) -> Result<()> {
    connect.terminate()?;
    connect.wait(LEAVE_WITHIN).map(drop)
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// The lines that say what failed.
fn failures(output: &str) -> String {
    let said = |line: &&str| line.contains("ERROR") || line.starts_with("Caused by");
    // Statements are repeated whole; how a line begins and how it ends tells what it is about.
    let short = |line: &str| {
        let letters: Vec<char> = line.chars().collect();
        match letters.len() {
            0..=400 => line.to_owned(),
            n => [&letters[..200], &[' ', '…', ' '], &letters[n - 200..]].concat().iter().collect(),
        }
    };
    output.lines().filter(said).take(6).map(short).collect::<Vec<_>>().join("\n")
}

fn consumer(brokers: &str) -> Result<BaseConsumer> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "lockstep-compare")
        .create();
    consumer.context("make a Kafka consumer")
}

fn end(consumer: &BaseConsumer, topic: &str) -> Result<i64> {
    Ok(consumer.fetch_watermarks(topic, 0, ASK_WITHIN)?.1)
}

async fn make_topics(brokers: &str, topics: &[String]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let new: Vec<_> =
        topics.iter().map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1))).collect();
    for made in admin.create_topics(&new, &AdminOptions::new()).await? {
        made.map_err(|(topic, code)| anyhow::anyhow!("create {topic}: {code}"))?;
    }
    Ok(())
}

/// A properties file, readable by its owner only: it may hold a password.
fn write(directory: &Path, name: &str, properties: &[(&str, String)]) -> Result<PathBuf> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    let path = directory.join(name);
    let mut text = String::new();
    for (key, value) in properties {
        writeln!(text, "{key}={value}")?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

fn worker(place: &Place<'_>, setting: &Setting) -> Result<PathBuf> {
    const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";
    let mut properties = vec![
        ("bootstrap.servers", place.brokers.to_owned()),
        ("key.converter", JSON.to_owned()),
        ("value.converter", JSON.to_owned()),
        ("key.converter.schemas.enable", "true".to_owned()),
        ("value.converter.schemas.enable", "true".to_owned()),
        ("offset.storage.file.filename", place.directory.join("offsets").display().to_string()),
        ("plugin.discovery", "service_load".to_owned()),
        ("listeners", "HTTP://127.0.0.1:0".to_owned()),
        ("producer.compression.type", "lz4".to_owned()),
    ];
    if setting.large_batches {
        properties.extend([
            ("consumer.max.poll.records", setting.batch().to_string()),
            ("consumer.max.partition.fetch.bytes", (16 << 20).to_string()),
            ("producer.batch.size", (256 << 10).to_string()),
        ]);
    }
    write(place.directory, "worker.properties", &properties)
}

fn source(place: &Place<'_>, setting: &Setting) -> Result<PathBuf> {
    let source = place.source;
    let tables: Vec<String> =
        shop::tables().iter().map(|table| format!("dbo.{}", table.name)).collect();
    let mut properties = vec![
        ("name", format!("{}-source", setting.name)),
        ("connector.class", "io.debezium.connector.sqlserver.SqlServerConnector".to_owned()),
        ("database.hostname", source.host.clone()),
        ("database.port", source.port.to_string()),
        ("database.user", source.user.clone()),
        ("database.password", source.password.clone()),
        ("database.names", source.database.clone()),
        ("database.encrypt", "false".to_owned()),
        ("topic.prefix", setting.name.to_owned()),
        ("table.include.list", tables.join(",")),
        ("snapshot.mode", "no_data".to_owned()),
        ("poll.interval.ms", place.poll.as_millis().to_string()),
        ("schema.history.internal.kafka.bootstrap.servers", place.brokers.to_owned()),
        ("schema.history.internal.kafka.topic", format!("{}.history", setting.name)),
        ("topic.creation.enable", "true".to_owned()),
        ("topic.creation.default.partitions", "1".to_owned()),
        ("topic.creation.default.replication.factor", "1".to_owned()),
    ];
    if setting.large_batches {
        properties.extend([
            ("max.batch.size", "8192".to_owned()),
            ("max.queue.size", "32768".to_owned()),
        ]);
    }
    properties.extend(setting.times.map(|mode| ("time.precision.mode", mode.to_owned())));
    if setting.unnest {
        properties.push(("binary.handling.mode", "hex".to_owned()));
    }
    if setting.flat {
        properties.extend([
            ("transforms", "flat".to_owned()),
            ("transforms.flat.type", "io.debezium.transforms.ExtractNewRecordState".to_owned()),
            ("transforms.flat.delete.tombstone.handling.mode", "tombstone".to_owned()),
        ]);
    }
    write(place.directory, &format!("{}-source.properties", setting.name), &properties)
}

fn sink(place: &Place<'_>, setting: &Setting) -> Result<PathBuf> {
    let postgres = place.postgres;
    // Without the reduction buffer a batch may hold a row twice, which PostgreSQL refuses when the
    // driver has made one statement of it.
    let rewrite = if setting.reduction { "?reWriteBatchedInserts=true" } else { "" };
    let topics = setting.topics(&place.source.database);
    let tasks = if setting.tasks { topics.len() } else { 1 };
    let mut properties = vec![
        ("name", format!("{}-sink", setting.name)),
        ("connector.class", "io.debezium.connector.jdbc.JdbcSinkConnector".to_owned()),
        ("tasks.max", tasks.to_string()),
        ("topics", topics.join(",")),
        (
            "connection.url",
            format!("jdbc:postgresql://127.0.0.1:{}/{}{rewrite}", postgres.port(), place.name),
        ),
        ("connection.username", postgres.user().to_owned()),
        ("connection.password", postgres.password().to_owned()),
        ("insert.mode", "upsert".to_owned()),
        ("delete.enabled", "true".to_owned()),
        ("primary.key.mode", "record_key".to_owned()),
        ("schema.evolution", "basic".to_owned()),
        ("batch.size", setting.batch().to_string()),
        ("use.reduction.buffer", setting.reduction.to_string()),
        ("dialect.postgres.unnest.insert.enabled", setting.unnest.to_string()),
        // Topics are named prefix.database.schema.table.
        ("transforms", "route".to_owned()),
        ("transforms.route.type", "org.apache.kafka.connect.transforms.RegexRouter".to_owned()),
        ("transforms.route.regex", ".*\\\\.([^.]+)".to_owned()),
        ("transforms.route.replacement", "$1".to_owned()),
        ("collection.name.format", "dbo.${topic}".to_owned()),
    ];
    properties.sort_by_key(|(key, _)| *key);
    write(place.directory, &format!("{}-sink.properties", setting.name), &properties)
}
