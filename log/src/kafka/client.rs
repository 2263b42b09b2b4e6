//! librdkafka clients and their settings: what Lockstep relies on is set here and cannot be changed.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::{Failure, config};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::failure::failure;
use super::producer::{Deliveries, Producer};
use crate::Stream;

/// How long a call may wait for Kafka before it says `Retry`.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Time after which the broker aborts a transaction that its writer left open. It keeps nobody
/// waiting (the next writer aborts it at once, and there is nothing else to read), but a live writer
/// that meets it cannot tell it from being fenced: so it is long, and below the 15 minutes that
/// brokers allow by default.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(600);

/// Largest record a producer sends and a topic that Lockstep creates takes. Fragments are half a
/// megabyte; only a single row of many wide columns is more.
pub(super) const MAX_RECORD_BYTES: u32 = 16 << 20;

/// Settings that correctness hangs on, whatever name librdkafka knows them by.
const RESERVED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "message.timeout.ms",
    "metadata.broker.list",
    "request.required.acks",
    "transaction.timeout.ms",
    "transactional.id",
];

pub(super) type Consumer = Held<StreamConsumer<Context>>;
pub(super) type Committer = Held<BaseConsumer<Context>>;
pub(super) type Admin = Held<AdminClient<Context>>;

/// A client of librdkafka. Letting go of one waits for its threads, a tenth of a second at times:
/// that happens off the async threads.
pub(super) struct Held<T: Send + 'static>(Option<T>);

impl<T: Send> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until dropped")
    }
}

impl<T: Send + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(client));
        }
    }
}

/// Makes the clients of one pipeline's log.
#[derive(Debug)]
pub(super) struct Client {
    common: Vec<(String, config::Secret)>,
    pub(super) pipeline: String,
}

impl Client {
    pub(super) fn new(config: &config::KafkaLog, pipeline: &str) -> Result<Self, Failure> {
        if let Some(key) = config.properties.keys().find(|key| RESERVED.contains(&key.as_str())) {
            return Err(Failure::new(
                Code::LogReservedProperty,
                format!("[log.properties] sets `{key}`, which Lockstep sets itself"),
            )
            .remedy("remove it; the brokers' addresses go into `brokers`"));
        }
        let ours = [
            ("bootstrap.servers", config.brokers.as_str()),
            ("client.id", "lockstep"),
            ("socket.nagle.disable", "true"),
            // A broker that comes back is noticed within a second.
            ("reconnect.backoff.max.ms", "1000"),
        ];
        let common = ours
            .into_iter()
            .map(|(key, value)| (key.to_owned(), config::Secret::new(value)))
            .chain(config.properties.clone())
            .collect();
        let client = Client { common, pipeline: pipeline.to_owned() };
        client.settings(&[]).create_native_config().map_err(misconfigured)?;
        Ok(client)
    }

    /// Topic and partition of a stream.
    pub(super) fn place(&self, stream: Stream) -> (String, i32) {
        let pipeline = &self.pipeline;
        match stream {
            Stream::Transactions => (format!("{pipeline}.transactions"), 0),
            Stream::Schemas => (format!("{pipeline}.schemas"), 0),
            // A partition beyond Kafka's range is one that is not there.
            Stream::Snapshot(partition) => {
                (format!("{pipeline}.snapshot"), i32::try_from(partition).unwrap_or(i32::MAX))
            }
        }
    }

    /// The pipeline's transactional producer.
    pub(super) fn producer(&self) -> Result<Held<Producer>, Failure> {
        let size = MAX_RECORD_BYTES.to_string();
        let timeout = TRANSACTION_TIMEOUT.as_millis().to_string();
        let base: BaseProducer<Context> = self.make(&[
            ("transactional.id", &self.pipeline),
            ("transaction.timeout.ms", &timeout),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "lz4"),
            ("linger.ms", "1"),
            ("message.max.bytes", &size),
            ("queue.buffering.max.kbytes", "65536"),
        ])?;
        let producer = Producer::start(base).map_err(|error| {
            Failure::new(Code::LogKafkaAway, "no thread for a Kafka producer").with_source(error)
        })?;
        Ok(Held(Some(producer)))
    }

    /// A consumer of one partition. `wait` is how long the broker waits for new records before it
    /// answers that there are none: what being told of the end costs.
    pub(super) fn consumer(&self, wait: Duration) -> Result<Consumer, Failure> {
        self.create(&[
            ("group.id", &self.pipeline),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "error"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"),
            ("check.crcs", "true"),
            ("fetch.wait.max.ms", &wait.as_millis().to_string()),
            ("fetch.error.backoff.ms", "100"),
            ("max.partition.fetch.bytes", "4194304"),
            ("queued.max.messages.kbytes", "16384"),
            // Fetching goes on as soon as the queue has room; the default is a second later.
            ("fetch.queue.backoff.ms", "5"),
            ("receive.message.max.bytes", "104857600"),
        ])
    }

    /// A client that commits the offsets of the reader called `name`, and does nothing else.
    pub(super) fn committer(&self, name: &str) -> Result<Committer, Failure> {
        self.create(&[
            ("group.id", &format!("{}.{name}", self.pipeline)),
            ("enable.auto.commit", "false"),
            ("allow.auto.create.topics", "false"),
        ])
    }

    pub(super) fn admin(&self) -> Result<Admin, Failure> {
        self.create(&[])
    }

    fn create<T: FromClientConfigAndContext<Context> + Send>(
        &self,
        own: &[(&str, &str)],
    ) -> Result<Held<T>, Failure> {
        Ok(Held(Some(self.make(own)?)))
    }

    fn make<T: FromClientConfigAndContext<Context>>(
        &self,
        own: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.settings(own).create_with_context(Context::default()).map_err(misconfigured)
    }

    fn settings(&self, own: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in own {
            config.set(*key, *value);
        }
        for (key, value) in &self.common {
            config.set(key, value.expose());
        }
        config
    }
}

fn misconfigured(error: KafkaError) -> Failure {
    failure("configuring a Kafka client", error)
}

/// Sends librdkafka's own lines to tracing, and keeps what was delivered.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    deliveries: Arc<Deliveries>,
}

impl Context {
    /// What is known of the producer's records.
    pub(super) fn deliveries(&self) -> Arc<Deliveries> {
        Arc::clone(&self.deliveries)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{line}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
        }
    }

    /// Connections come and go; what matters comes back from the calls.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "an acknowledgement was not taken");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    /// A record that could not be delivered makes the transaction's commit fail; that is where it
    /// is handled.
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.deliveries.report(result);
    }
}
