//! What only the Kafka log has: topics others may have made, a broker that goes away.

use lockstep_common::config::Secret;
use lockstep_common::{Disposition, Failure, config};
use lockstep_log::{Batch, Item, Reader, Stream, open};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

use crate::bed::{Bed, drain, halted, read};
use crate::broker::{self, OwnBroker};
use crate::records::{Scribe, at, places};

const WAIT: Duration = Duration::from_secs(30);

fn brokers(bed: &Bed) -> &str {
    match &bed.config {
        config::Log::Kafka(kafka) => &kafka.brokers,
        config::Log::Embedded(_) => panic!("a Kafka bed"),
    }
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

async fn make(brokers: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let made = admin(brokers).create_topics([&topic], &AdminOptions::new()).await.unwrap();
    made[0].as_ref().expect("the topic is made");
}

fn consumer(brokers: &str, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap()
}

#[tokio::test]
async fn topics_of_the_wrong_shape_are_refused_all_at_once() {
    let Some(bed) = Bed::kafka().await else { return };
    let (brokers, pipeline) = (brokers(&bed), &bed.pipeline);
    let good = [("message.timestamp.type", "LogAppendTime"), ("cleanup.policy", "delete")];
    make(brokers, &format!("{pipeline}.transactions"), 2, &good).await;
    make(brokers, &format!("{pipeline}.snapshot"), 3, &[("cleanup.policy", "delete")]).await;
    make(brokers, &format!("{pipeline}.schemas"), 1, &[("cleanup.policy", "compact,delete")]).await;
    let failure = halted(bed.log.writer().await.map(drop));
    assert_eq!(failure.code.as_str(), "log.topic_shape");
    for part in [
        "transactions has 2 partitions and must have exactly 1",
        "snapshot has message.timestamp.type=CreateTime and must have LogAppendTime",
        "schemas has cleanup.policy=compact,delete and must have compact",
        "--add-config cleanup.policy=compact)",
    ] {
        assert!(failure.message.contains(part), "`{part}` is not in: {failure}");
    }
    halted(bed.log.reader(Stream::Transactions).await.map(drop));
    assert_eq!(bed.log.snapshot_partitions().await.unwrap(), 3);
}

#[tokio::test]
async fn a_compacted_transactions_topic_is_refused() {
    let Some(bed) = Bed::kafka().await else { return };
    let settings = [("message.timestamp.type", "LogAppendTime"), ("cleanup.policy", "compact")];
    make(brokers(&bed), &format!("{}.transactions", bed.pipeline), 1, &settings).await;
    let failure = halted(bed.log.writer().await.map(drop));
    assert!(failure.message.contains("transactions has cleanup.policy=compact"), "{failure}");
}

#[tokio::test]
async fn topics_are_made_as_configured() {
    let Some(bed) = Bed::kafka().await else { return };
    let _ = bed.writer().await;
    let admin = admin(brokers(&bed));
    for (topic, expected) in [
        (
            "transactions",
            [
                ("cleanup.policy", "delete"),
                ("message.timestamp.type", "LogAppendTime"),
                ("retention.ms", "-1"),
            ],
        ),
        (
            "schemas",
            [
                ("cleanup.policy", "compact"),
                ("message.timestamp.type", "CreateTime"),
                ("max.message.bytes", "16777216"),
            ],
        ),
    ] {
        let name = format!("{}.{topic}", bed.pipeline);
        let found = admin
            .describe_configs([&ResourceSpecifier::Topic(&name)], &AdminOptions::new())
            .await
            .unwrap();
        let found = found[0].as_ref().unwrap();
        for (key, value) in expected {
            let entry = found.get(key).unwrap();
            assert_eq!(entry.value.as_deref(), Some(value), "{name} {key}");
        }
    }
}

#[tokio::test]
async fn a_schemas_topic_made_anew_shows_in_the_tail() {
    let Some(bed) = Bed::kafka().await else { return };
    let (writer, scribe) = bed.scribe(4).await;
    drop(writer);
    let topic = format!("{}.schemas", bed.pipeline);
    let admin = admin(brokers(&bed));
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let tail = loop {
        match bed.log.writer().await {
            Ok((_, tail)) => break tail,
            // Kafka says for a moment that the topic is there still.
            Err(failure) => assert!(failure.code.as_str().starts_with("log."), "{failure}"),
        }
    };
    assert_eq!((tail.log_id, tail.kept_log_id), (scribe.log_id, None));
    assert_eq!(tail.position, Some(at(4)));
}

#[tokio::test]
async fn a_reader_makes_no_topics() {
    let Some(bed) = Bed::kafka().await else { return };
    for _ in 0..2 {
        let failure = halted(bed.log.reader(Stream::Transactions).await.map(drop));
        assert_eq!(failure.code.as_str(), "log.no_stream");
    }
    halted(bed.log.snapshot_partitions().await);
}

#[tokio::test]
async fn settings_that_lockstep_relies_on_are_refused() {
    let mut config = broker::config("127.0.0.1:1");
    if let config::Log::Kafka(kafka) = &mut config {
        kafka.properties.insert("isolation.level".into(), config::Secret::new("x"));
    }
    let failure = halted(open(&config, "p").await.map(drop));
    assert!(failure.message.contains("`isolation.level`"), "{failure}");
}

#[tokio::test]
async fn a_misspelt_setting_is_refused_without_its_value() {
    let mut config = broker::config("127.0.0.1:1");
    if let config::Log::Kafka(kafka) = &mut config {
        kafka.properties.insert("sasl.pasword".into(), config::Secret::new("hunter2"));
    }
    let failure = halted(open(&config, "p").await.map(drop));
    assert!(failure.to_string().contains("sasl.pasword"), "{failure}");
    assert!(!failure.to_string().contains("hunter2"), "{failure}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_retried() {
    let log = open(&broker::config("127.0.0.1:1"), "p").await.unwrap();
    let failure = log.reader(Stream::Transactions).await.map(drop).unwrap_err();
    assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
}

#[tokio::test]
async fn an_acknowledgement_is_the_groups_offset() {
    let Some(bed) = Bed::kafka().await else { return };
    let (_writer, _) = bed.scribe(0).await;
    let mut reader = bed.reader(Stream::Transactions).await;
    let group = consumer(brokers(&bed), &format!("{}.reporting", bed.pipeline));
    let mut list = TopicPartitionList::new();
    list.add_partition(&format!("{}.transactions", bed.pipeline), 0);
    let deadline = std::time::Instant::now() + WAIT;
    loop {
        reader.acknowledge("reporting", 1).await.unwrap();
        let committed = group.committed_offsets(list.clone(), WAIT).unwrap();
        if committed.elements()[0].offset() == Offset::Offset(1) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{committed:?}");
    }
}

#[tokio::test]
async fn general_tools_see_position_and_fragment() {
    let Some(bed) = Bed::kafka().await else { return };
    let (mut writer, scribe) = bed.scribe(0).await;
    writer.append(vec![scribe.fragment(3, 0, 7, false)]).await.unwrap();
    writer.commit().await.unwrap();
    let tool = consumer(brokers(&bed), "tool");
    let mut list = TopicPartitionList::new();
    let topic = format!("{}.transactions", bed.pipeline);
    list.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
    tool.assign(&list).unwrap();
    let mut last = Vec::new();
    while last.first().is_none_or(|(_, value)| *value != at(3).to_string()) {
        let message = tool.poll(WAIT).expect("a record").unwrap();
        let headers = message.headers().expect("headers");
        last = headers
            .iter()
            .map(|header| {
                let value = header.value.map(|v| String::from_utf8_lossy(v).into_owned());
                (header.key.to_owned(), value.unwrap_or_default())
            })
            .collect();
    }
    assert_eq!(last[1], ("fragment".to_owned(), "7".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_halts_its_reader() {
    let Some(bed) = Bed::kafka().await else { return };
    let (mut writer, scribe) = bed.scribe(0).await;
    for n in 1..=10 {
        writer.append(vec![scribe.transaction(n, n - 1)]).await.unwrap();
        writer.commit().await.unwrap();
    }
    drop(writer);
    bed.all(Stream::Transactions, 11).await;
    let mut reader = bed.reader(Stream::Transactions).await;
    drain(&mut *reader).await;
    let topic = format!("{}.transactions", bed.pipeline);
    let admin = admin(brokers(&bed));
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let (mut writer, tail) = loop {
        match bed.log.writer().await {
            Ok(writer) => break writer,
            // Kafka says for a moment that the topic is there still.
            Err(failure) => assert!(failure.code.as_str().starts_with("log."), "{failure}"),
        }
    };
    assert_eq!((tail.position, tail.kept_log_id), (None, Some(scribe.log_id)));
    writer.append(vec![scribe.epoch(0)]).await.unwrap();
    writer.commit().await.unwrap();
    let failure = loop {
        match tokio::time::timeout(WAIT, reader.read()).await.expect("the reader notices") {
            Ok(Batch::CaughtUp { .. }) => {}
            Ok(Batch::Items(items)) => panic!("read on in another log: {:?}", places(&items)),
            Err(failure) if failure.disposition() == Disposition::Retry => {}
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.disposition(), Disposition::Halt, "{failure}");
}

/// Reads until `count` items have come, through however many retries.
async fn read_through(reader: &mut dyn Reader, count: usize) -> (Vec<Item>, u32) {
    let mut all = Vec::new();
    let mut retries = 0;
    while all.len() < count {
        match reader.read().await {
            Ok(Batch::Items(items)) => all.extend(items),
            Ok(Batch::CaughtUp { .. }) => {}
            Err(failure) => {
                assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
                retries += 1;
            }
        }
    }
    (all, retries)
}

/// Opens writers until one works.
async fn next_writer(bed: &Bed) -> (Box<dyn lockstep_log::Writer>, lockstep_log::Tail) {
    loop {
        match bed.log.writer().await {
            Ok(writer) => return writer,
            Err(failure) => assert_eq!(failure.disposition(), Disposition::Retry, "{failure}"),
        }
    }
}

fn retried(result: Result<(), Failure>) {
    let failure = result.expect_err("the broker is away");
    assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_broker_is_waited_for() {
    if broker::skipped() {
        return;
    }
    let broker = OwnBroker::new();
    let bed = Bed::new(broker::config(&broker.address()), "p".into(), None).await;
    let (mut writer, scribe) = bed.scribe(0).await;
    writer.append(vec![scribe.transaction(1, 0)]).await.unwrap();
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Transactions).await;
    while !matches!(read(&mut *reader).await, Batch::CaughtUp { .. }) {}
    writer.append(vec![scribe.transaction(2, 1)]).await.unwrap();
    broker.stop();
    let failure = reader.read().await.expect_err("the broker is away");
    assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
    retried(writer.commit().await);
    // Alive, it would still commit when the broker is back: the outcome is open until the next tail.
    drop(writer);
    retried(bed.log.writer().await.map(drop));
    broker.start();
    let (mut writer, tail) = next_writer(&bed).await;
    assert_eq!((tail.position, tail.epoch), (Some(at(1)), 1));
    let scribe = Scribe { epoch: 2, ..scribe };
    writer.append(vec![scribe.epoch(1), scribe.transaction(2, 1)]).await.unwrap();
    writer.commit().await.unwrap();
    let (items, _) = read_through(&mut *reader, 2).await;
    assert_eq!(places(&items), [(1, 0), (2, 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_is_noticed_by_a_reader_that_waits_and_by_a_writer() {
    if broker::skipped() {
        return;
    }
    let broker = OwnBroker::new();
    let bed = Bed::new(broker::config(&broker.address()), "p".into(), None).await;
    let (mut writer, scribe) = bed.scribe(0).await;
    writer.append(vec![scribe.transaction(1, 0)]).await.unwrap();
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Transactions).await;
    while !matches!(read(&mut *reader).await, Batch::CaughtUp { .. }) {}
    broker.freeze();
    writer.append(vec![scribe.transaction(2, 1)]).await.unwrap();
    let (read, committed) = tokio::join!(reader.read(), writer.commit());
    let failure = read.expect_err("the broker does not answer");
    assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
    retried(committed);
    drop(writer);
    broker.thaw();
    let (mut writer, tail) = next_writer(&bed).await;
    let done = tail.position.map(|position| position.source().to_vec());
    let scribe = Scribe { epoch: tail.epoch + 1, ..scribe };
    if done == Some(at(1).source().to_vec()) {
        writer.append(vec![scribe.epoch(1), scribe.transaction(2, 1)]).await.unwrap();
        writer.commit().await.unwrap();
    }
    let items = drain(&mut *bed.reader(Stream::Transactions).await).await;
    assert_eq!(places(&items).iter().filter(|(n, _)| *n == 2).count(), 1, "once, whoever wrote it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_loses_and_doubles_nothing() {
    if broker::skipped() {
        return;
    }
    let broker = OwnBroker::new();
    let bed = Bed::new(broker::config(&broker.address()), "p".into(), None).await;
    let (mut writer, mut scribe) = bed.scribe(0).await;
    let mut reader = bed.reader(Stream::Transactions).await;
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.last() != Some(&600) {
            let (items, _) = read_through(&mut *reader, 1).await;
            // The epochs' own records stand at the position before.
            seen.extend(places(&items).into_iter().map(|(n, _)| n));
            seen.dedup();
        }
        seen
    });
    let mut n = 1;
    while n <= 600 {
        if n == 200 || n == 400 {
            broker.kill();
            broker.start();
        }
        let mut outcome = writer.append(vec![scribe.transaction(n, n - 1)]).await;
        if outcome.is_ok() && (n % 10 == 0 || n == 600) {
            outcome = writer.commit().await;
        }
        n += 1;
        if let Err(failure) = outcome {
            assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
            let tail;
            (writer, tail) = next_writer(&bed).await;
            let position = tail.position.expect("the log is not empty");
            let done = u64::from_be_bytes(*position.source().first_chunk().unwrap());
            scribe.epoch = tail.epoch + 1;
            writer.append(vec![scribe.epoch(done)]).await.unwrap();
            n = done + 1;
        }
    }
    let seen = tokio::time::timeout(Duration::from_secs(120), reading).await.unwrap().unwrap();
    assert_eq!(seen, (0..=600).collect::<Vec<_>>());
}

// --- Transport ------------------------------------------------------------------------------------

/// The configuration of a client that knows the broker's authority; `certificate` is whether it has one.
fn certified(broker: &OwnBroker, certificate: bool) -> config::Log {
    let config::Log::Kafka(mut kafka) = broker::config(&broker.address()) else {
        panic!("a Kafka log");
    };
    let file = |name: &str| Secret::new(broker.certificate(name).display().to_string());
    let mut properties =
        vec![("security.protocol", Secret::new("ssl")), ("ssl.ca.location", file("ca.pem"))];
    if certificate {
        properties.push(("ssl.certificate.location", file("client.pem")));
        properties.push(("ssl.key.location", file("client.key")));
    }
    let named = |(key, value): (&str, Secret)| (key.to_owned(), value);
    kafka.properties = properties.into_iter().map(named).collect();
    config::Log::Kafka(kafka)
}

/// A broker that wants a certificate of its clients gives nothing to who has none; and after the
/// authority, the broker's certificate and the client's were changed, whoever runs goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_wanted_both_ways_and_may_be_rotated() {
    if broker::skipped() {
        return;
    }
    let broker = OwnBroker::certified();
    let bed = Bed::new(certified(&broker, true), "p".into(), None).await;
    let (mut writer, scribe) = bed.scribe(0).await;
    writer.append(vec![scribe.transaction(1, 0)]).await.unwrap();
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Transactions).await;
    while !matches!(read(&mut *reader).await, Batch::CaughtUp { .. }) {}

    // Nobody without a certificate, nobody in the clear, and no broker of another authority.
    let stranger = certified(&broker, false);
    let config::Log::Kafka(plain) = broker::config(&broker.address()) else { panic!("Kafka") };
    for stranger in [stranger, config::Log::Kafka(plain)] {
        let log = open(&stranger, "p").await.expect("nothing is asked yet");
        let failure = log.reader(Stream::Transactions).await.map(drop).expect_err("a stranger");
        assert_eq!(failure.disposition(), Disposition::Retry, "{failure}");
    }

    broker.stop();
    broker.certify();
    broker.start();
    retried(reader_fails(&mut *reader).await);
    drop(writer);
    // The log is the one that was opened with the files of before.
    let (mut writer, tail) = next_writer(&bed).await;
    assert_eq!((tail.position, tail.epoch), (Some(at(1)), 1));
    let scribe = Scribe { epoch: 2, ..scribe };
    writer.append(vec![scribe.epoch(1), scribe.transaction(2, 1)]).await.unwrap();
    writer.commit().await.unwrap();
    let mut reader = bed.reader(Stream::Transactions).await;
    let (items, _) = read_through(&mut *reader, 2).await;
    assert_eq!(places(&items), [(0, 0), (1, 0), (1, 0), (2, 0)]);
}

/// Reads until something is wrong.
async fn reader_fails(reader: &mut dyn Reader) -> Result<(), Failure> {
    loop {
        reader.read().await?;
    }
}
