//! What a Kafka error means for the service: decided here and nowhere else.

use lockstep_common::Code;
use lockstep_common::Failure;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as KafkaCode};

/// The failure of `doing` (in words) something with Kafka.
pub(super) fn failure(doing: &str, error: KafkaError) -> Failure {
    let failure = match &error {
        // Its text holds the value, which may be a secret.
        KafkaError::ClientConfig(_, _, key, _) => {
            return Failure::new(
                Code::LogKafkaConfig,
                format!("{doing} failed: librdkafka has no setting `{key}`, or refuses its value"),
            )
            .remedy("correct [log.properties]");
        }
        KafkaError::ClientCreation(_) => {
            Failure::new(Code::LogKafkaConfig, format!("{doing} failed"))
                .remedy("correct [log] brokers and [log.properties]")
        }
        KafkaError::AdminOp(code) => by_code(doing, *code),
        other => by_code(doing, other.rdkafka_error_code().unwrap_or(KafkaCode::Unknown)),
    };
    failure.with_source(error)
}

/// The failure of `doing` (in words) something, by Kafka's code alone.
pub(super) fn by_code(doing: &str, code: KafkaCode) -> Failure {
    match code {
        KafkaCode::Fenced | KafkaCode::ProducerFenced => {
            Failure::new(Code::LogFenced, format!("{doing}: another writer of this log took over"))
        }
        KafkaCode::TopicAuthorizationFailed
        | KafkaCode::GroupAuthorizationFailed
        | KafkaCode::ClusterAuthorizationFailed
        | KafkaCode::TransactionalIdAuthorizationFailed
        | KafkaCode::SaslAuthenticationFailed
        | KafkaCode::Authentication
        | KafkaCode::UnsupportedSASLMechanism
        | KafkaCode::SecurityDisabled => {
            Failure::new(Code::LogKafkaRights, format!("{doing}: Kafka refused us ({code})"))
                .remedy(
                    "give Lockstep's Kafka user its rights on the pipeline's topics, group and \
             transactional id, all of which begin with the pipeline's name; check [log.properties]",
                )
        }
        KafkaCode::MessageSizeTooLarge
        | KafkaCode::MessageBatchTooLarge
        | KafkaCode::InvalidMessageSize => Failure::new(
            Code::LogRecordTooLarge,
            format!("{doing}: a record is larger than the topic or the broker takes"),
        )
        .remedy(
            "raise max.message.bytes of the pipeline's topics (16777216 is what Lockstep sets \
                 on topics it creates)",
        ),
        KafkaCode::UnknownTopicOrPartition
        | KafkaCode::UnknownTopic
        | KafkaCode::UnknownPartition
        | KafkaCode::UnknownTopicId => Failure::new(
            Code::LogNoStream,
            format!("{doing}: the topic or its partition is not there"),
        )
        .remedy(
            "capture makes the topics at its first start; if they were deleted, the log is lost: \
             load the targets again",
        ),
        KafkaCode::InvalidTransactionTimeout
        | KafkaCode::UnsupportedVersion
        | KafkaCode::UnsupportedFeature
        | KafkaCode::InvalidConfig
        | KafkaCode::InvalidReplicationFactor
        | KafkaCode::InvalidPartitions
        | KafkaCode::InvalidTopic
        | KafkaCode::PolicyViolation => {
            Failure::new(Code::LogKafkaRefused, format!("{doing}: Kafka refused it ({code})"))
                .remedy("see docs/errors.md")
        }
        _ => Failure::new(Code::LogKafkaAway, format!("{doing} failed for now ({code})")),
    }
}
