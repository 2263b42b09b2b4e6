//! `[log]`, whose keys depend on its `kind`. A derived reader of such a table would lose the place of
//! what is wrong in it, and numbers that a variable gives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::{EmbeddedLog, KafkaLog, Log, Secret, default, lenient};

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Kafka,
    Embedded,
}

/// The keys of every kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    kind: Kind,
    #[serde(default)]
    brokers: Option<String>,
    #[serde(default, deserialize_with = "lenient::toml")]
    properties: BTreeMap<String, Secret>,
    #[serde(default)]
    replication: Option<i32>,
    #[serde(default, with = "humantime_serde")]
    retention: Option<Duration>,
    #[serde(default)]
    transaction_bytes: Option<ByteSize>,
    #[serde(default, with = "humantime_serde")]
    transaction_time: Option<Duration>,
    #[serde(default)]
    path: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Log {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Keys::deserialize(deserializer)?;
        let other = |key: &str, kind: &str| {
            Err(D::Error::custom(format!("`{key}` belongs to kind = \"{kind}\": remove it")))
        };
        match keys.kind {
            Kind::Kafka if keys.path.is_some() => other("path", "embedded"),
            Kind::Kafka => Ok(Log::Kafka(KafkaLog {
                brokers: keys.brokers.ok_or_else(|| D::Error::missing_field("brokers"))?,
                properties: keys.properties,
                replication: keys.replication.unwrap_or_else(default::replication),
                retention: keys.retention,
                transaction_bytes: keys
                    .transaction_bytes
                    .unwrap_or_else(default::transaction_bytes),
                transaction_time: keys.transaction_time.unwrap_or_else(default::transaction_time),
            })),
            Kind::Embedded => {
                let foreign = [
                    ("brokers", keys.brokers.is_some()),
                    ("properties", !keys.properties.is_empty()),
                    ("replication", keys.replication.is_some()),
                    ("transaction_bytes", keys.transaction_bytes.is_some()),
                    ("transaction_time", keys.transaction_time.is_some()),
                ];
                if let Some((key, _)) = foreign.iter().find(|(_, given)| *given) {
                    return other(key, "kafka");
                }
                Ok(Log::Embedded(EmbeddedLog {
                    path: keys.path.ok_or_else(|| D::Error::missing_field("path"))?,
                    retention: keys.retention,
                }))
            }
        }
    }
}
