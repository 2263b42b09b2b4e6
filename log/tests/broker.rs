//! The Kafka broker of a test run.

use lockstep_common::config;

pub fn shared() -> Option<String> {
    None
}

pub fn config(brokers: &str) -> config::Log {
    config::Log::Kafka(config::KafkaLog {
        brokers: brokers.to_owned(),
        properties: Default::default(),
        replication: 1,
        retention: None,
        transaction_bytes: bytesize::ByteSize::mib(8),
        transaction_time: std::time::Duration::from_millis(50),
    })
}
