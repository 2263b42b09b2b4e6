//! The pipeline's topics: made when absent, checked when present.

use lockstep_common::Code;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_common::{Failure, config};
use rdkafka::admin::{AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as KafkaCode;

use super::client::{Admin, Client, Consumer, MAX_RECORD_BYTES, PATIENCE};
use super::failure::{by_code, failure};
use crate::blocking::blocking;
use crate::{SNAPSHOT_PARTITIONS, Stream};

/// Fragments are half a megabyte, uncompressed, and one change more.
const LEAST_MAX_MESSAGE_BYTES: u64 = 1_000_000;

/// A new topic reaches the brokers a moment after it was made, and nothing tells when; this is the
/// time between two looks.
const SPREAD_PAUSE: Duration = Duration::from_millis(20);

/// What a topic must be.
struct Shape {
    topic: String,
    /// Of a topic that Lockstep makes.
    partitions: u32,
    /// Another number of partitions breaks the order.
    exactly: bool,
    /// Settings that a present topic must have too.
    required: Vec<(&'static str, &'static str)>,
    /// Settings of a topic that Lockstep makes.
    chosen: Vec<(&'static str, String)>,
}

impl Shape {
    fn all(client: &Client, config: &config::KafkaLog) -> [Shape; 3] {
        let retention = match config.retention {
            Some(age) => age.as_millis().to_string(),
            None => "-1".to_owned(),
        };
        let size = ("max.message.bytes", MAX_RECORD_BYTES.to_string());
        let kept = |stream, partitions, exactly| Shape {
            topic: client.place(stream).0,
            partitions,
            exactly,
            // Retention counts from append time: a source's commit time may be old on arrival.
            required: vec![
                ("cleanup.policy", "delete"),
                ("message.timestamp.type", "LogAppendTime"),
            ],
            chosen: vec![
                size.clone(),
                ("retention.ms", retention.clone()),
                ("retention.bytes", "-1".to_owned()),
            ],
        };
        [
            kept(Stream::Transactions, 1, true),
            kept(Stream::Snapshot(0), SNAPSHOT_PARTITIONS, false),
            Shape {
                topic: client.place(Stream::Schemas).0,
                partitions: 1,
                exactly: true,
                required: vec![("cleanup.policy", "compact")],
                chosen: vec![size],
            },
        ]
    }

    fn new_topic<'a>(&'a self, replication: i32) -> NewTopic<'a> {
        let partitions = i32::try_from(self.partitions).unwrap_or(i32::MAX);
        let mut topic =
            NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(replication));
        for (key, value) in &self.required {
            topic = topic.set(key, value);
        }
        for (key, value) in &self.chosen {
            topic = topic.set(key, value);
        }
        topic
    }

    /// Says what is wrong with the partitions, one clause.
    fn check_partitions(&self, found: u32) -> Option<String> {
        (self.exactly && found != self.partitions).then(|| {
            format!(
                "topic {} has {found} partitions and must have exactly {} (delete it before first \
                 use, or choose another pipeline name)",
                self.topic, self.partitions
            )
        })
    }

    /// Says what is wrong with the settings, one clause each.
    fn check_settings(&self, found: &ConfigResource) -> Vec<String> {
        let value = |key: &str| found.get(key).and_then(|entry| entry.value.as_deref());
        let topic = &self.topic;
        let mut wrong: Vec<String> = self
            .required
            .iter()
            .filter(|(key, wanted)| value(key).is_some_and(|found| found != *wanted))
            .map(|(key, wanted)| {
                let found = value(key).unwrap_or_default();
                format!(
                    "topic {topic} has {key}={found} and must have {wanted} (kafka-configs.sh \
                     --alter --entity-type topics --entity-name {topic} --add-config {key}={wanted})"
                )
            })
            .collect();
        let size = value("max.message.bytes").and_then(|found| found.parse::<u64>().ok());
        if let Some(size) = size.filter(|size| *size < LEAST_MAX_MESSAGE_BYTES) {
            wrong.push(format!(
                "topic {topic} has max.message.bytes={size} and must have {LEAST_MAX_MESSAGE_BYTES} \
                 or more (kafka-configs.sh --alter --entity-type topics --entity-name {topic} \
                 --add-config max.message.bytes={MAX_RECORD_BYTES})"
            ));
        }
        wrong
    }
}

/// Makes the topics that are absent and checks those that are present. Whether any was absent: not
/// every broker need know the new ones at once.
pub(super) async fn ensure(client: &Client, config: &config::KafkaLog) -> Result<bool, Failure> {
    let consumer = Arc::new(client.consumer(PATIENCE)?);
    let admin = client.admin()?;
    let shapes = Shape::all(client, config);
    let mut wrong = Vec::new();
    let mut absent = Vec::new();
    for shape in &shapes {
        match partitions(&consumer, &shape.topic).await? {
            Some(found) => wrong.extend(shape.check_partitions(found)),
            None => absent.push(shape),
        }
    }
    wrong.extend(check_settings(&admin, &shapes, &absent).await?);
    if !wrong.is_empty() {
        return Err(Failure::new(Code::LogTopicShape, wrong.join("; "))
            .remedy("correct the topics and start again"));
    }
    create(&admin, &absent, config.replication).await?;
    let deadline = Instant::now() + PATIENCE;
    for shape in &absent {
        while partitions(&consumer, &shape.topic).await?.is_none() && Instant::now() < deadline {
            tokio::time::sleep(SPREAD_PAUSE).await;
        }
    }
    Ok(!absent.is_empty())
}

/// How many partitions `topic` has, none when it does not exist. Does not create it.
pub(super) async fn partitions(
    consumer: &Arc<Consumer>,
    topic: &str,
) -> Result<Option<u32>, Failure> {
    let doing = format!("looking up topic {topic}");
    let (consumer, name) = (consumer.clone(), topic.to_owned());
    let metadata =
        blocking(move || consumer.client().fetch_metadata(Some(&name), PATIENCE)).await?;
    let metadata = metadata.map_err(|error| failure(&doing, error))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(None);
    };
    match found.error().map(KafkaCode::from) {
        None => Ok(Some(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX))),
        Some(KafkaCode::UnknownTopicOrPartition) => Ok(None),
        Some(code) => Err(by_code(&doing, code)),
    }
}

async fn check_settings(
    admin: &Admin,
    shapes: &[Shape],
    absent: &[&Shape],
) -> Result<Vec<String>, Failure> {
    let present: Vec<&Shape> =
        shapes.iter().filter(|shape| absent.iter().all(|a| a.topic != shape.topic)).collect();
    if present.is_empty() {
        return Ok(Vec::new());
    }
    let doing = "reading the topics' settings";
    let names: Vec<_> =
        present.iter().map(|shape| ResourceSpecifier::Topic(&shape.topic)).collect();
    let found = admin.describe_configs(&names, &options()).await;
    let mut wrong = Vec::new();
    for (shape, found) in present.iter().zip(found.map_err(|error| failure(doing, error))?) {
        match found {
            Ok(settings) => wrong.extend(shape.check_settings(&settings)),
            Err(KafkaCode::TopicAuthorizationFailed | KafkaCode::ClusterAuthorizationFailed) => {
                tracing::warn!(
                    topic = shape.topic,
                    "no right to read the topic's settings (DescribeConfigs): not checked"
                );
            }
            Err(code) => return Err(by_code(doing, code)),
        }
    }
    Ok(wrong)
}

async fn create(admin: &Admin, absent: &[&Shape], replication: i32) -> Result<(), Failure> {
    if absent.is_empty() {
        return Ok(());
    }
    let topics: Vec<NewTopic<'_>> =
        absent.iter().map(|shape| shape.new_topic(replication)).collect();
    let created = admin.create_topics(&topics, &options()).await;
    for result in created.map_err(|error| failure("creating the topics", error))? {
        match result {
            Ok(topic) => tracing::info!(topic, "created"),
            Err((_, KafkaCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(by_code(&format!("creating topic {topic}"), code));
            }
        }
    }
    Ok(())
}

/// Removes the records of a partition below `offset`.
pub(super) async fn delete_records(
    client: &Client,
    stream: Stream,
    offset: u64,
) -> Result<(), Failure> {
    let doing = format!("trimming {stream}");
    let (topic, partition) = client.place(stream);
    let list = super::cursor::place_at(&topic, partition, offset)
        .map_err(|error| failure(&doing, error))?;
    let admin = client.admin()?;
    let deleted = admin.delete_records(&list, &options()).await;
    for element in deleted.map_err(|error| failure(&doing, error))?.elements() {
        element.error().map_err(|error| failure(&doing, error))?;
    }
    Ok(())
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}
