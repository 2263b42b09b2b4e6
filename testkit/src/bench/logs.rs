//! Appending to the logs, beside RocksDB's own batches and a plain idempotent producer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use lockstep_common::codec::FragmentWriter;
use lockstep_common::config::{self, EmbeddedLog, KafkaLog};
use lockstep_log::{Entry, Log, Stream};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rocksdb::{DB, WriteBatch, WriteOptions};
use uuid::Uuid;

use super::figures::{Report, per_second};
use super::{Options, row};

/// Rows of a source transaction, and transactions between two commits of the log.
const ROWS: u64 = 10;
const COMMIT_EVERY: u64 = 200;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    report.part("log append, transactions of 10 rows, committed every 200");
    let transactions = options.scaled(200_000);
    let raw = raw_rocksdb(transactions)?;
    report.rate("limit: RocksDB batches of 200, synced", transactions, "tx", raw);

    let directory = tempfile::tempdir()?;
    let log =
        config::Log::Embedded(EmbeddedLog { path: directory.path().join("log"), retention: None });
    let log = lockstep_log::open(&log, "bench").await?;
    let time = append(log.as_ref(), transactions).await?;
    let figure = (transactions, "tx", time);
    report.rate_of("embedded log", figure, per_second(transactions, raw));

    let Some(brokers) = &options.kafka else {
        report.line("Kafka", "left out: no broker given (--kafka)");
        return Ok(());
    };
    let pipeline = format!("bench-{}", Uuid::new_v4());
    let log = config::Log::Kafka(KafkaLog {
        brokers: brokers.clone(),
        replication: 1,
        ..KafkaLog::default()
    });
    let log = lockstep_log::open(&log, &pipeline).await?;
    // The topics exist once a writer was there; the limit is measured into the same topic.
    drop(log.writer().await?);
    let raw = raw_kafka(brokers, &format!("{pipeline}.snapshot"), transactions)?;
    report.rate("limit: plain idempotent producer, acks=all", transactions, "tx", raw);
    let time = append(log.as_ref(), transactions).await?;
    let figure = (transactions, "tx", time);
    report.rate_of("Kafka log", figure, per_second(transactions, raw));
    Ok(())
}

/// The encoded `n`th transaction.
pub(super) fn payload(log_id: Uuid, epoch: u64, n: u64, rows: u64) -> Bytes {
    let table = row::table().id();
    let mut writer = FragmentWriter::new(&row::head(log_id, epoch, n));
    for i in 0..rows {
        let id = i64::try_from((n - 1) * rows + i).expect("a count of rows");
        writer.push_change(&row::insert(table, id));
    }
    writer.finish()
}

async fn append(log: &dyn Log, transactions: u64) -> Result<Duration> {
    let (mut writer, tail) = log.writer().await?;
    let started = Instant::now();
    for n in 1..=transactions {
        let entry = Entry {
            stream: Stream::Transactions,
            key: None,
            headers: Some((row::position(n), 0)),
            payload: payload(tail.log_id, tail.epoch + 1, n, ROWS),
        };
        writer.append(vec![entry]).await?;
        if n % COMMIT_EVERY == 0 {
            writer.commit().await?;
        }
    }
    writer.commit().await?;
    Ok(started.elapsed())
}

fn raw_rocksdb(transactions: u64) -> Result<Duration> {
    let directory = tempfile::tempdir()?;
    let db = DB::open_default(directory.path())?;
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let value = payload(Uuid::nil(), 1, 1, ROWS);
    let started = Instant::now();
    let mut batch = WriteBatch::default();
    for n in 1..=transactions {
        batch.put(n.to_be_bytes(), &value);
        if n % COMMIT_EVERY == 0 {
            db.write_opt(std::mem::take(&mut batch), &synced)?;
        }
    }
    db.write_opt(batch, &synced)?;
    Ok(started.elapsed())
}

fn raw_kafka(brokers: &str, topic: &str, transactions: u64) -> Result<Duration> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .context("make a producer")?;
    let value = payload(Uuid::nil(), 1, 1, ROWS);
    let started = Instant::now();
    for _ in 0..transactions {
        let mut record = BaseRecord::<(), _>::to(topic).partition(0).payload(value.as_ref());
        while let Err((error, back)) = producer.send(record) {
            let full = rdkafka::types::RDKafkaErrorCode::QueueFull;
            anyhow::ensure!(error.rdkafka_error_code() == Some(full), "produce: {error}");
            producer.poll(Duration::from_millis(5));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(started.elapsed())
}
