//! What a Kafka error means for the service: decided here and nowhere else.

use lockstep_common::Failure;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Code of the failure for a topic or partition that is not there.
pub(super) const NO_STREAM: &str = "log.no_stream";

/// The failure of `doing` (in words) something with Kafka.
pub(super) fn failure(doing: &str, error: KafkaError) -> Failure {
    let failure = match &error {
        // Its text holds the value, which may be a secret.
        KafkaError::ClientConfig(_, _, key, _) => {
            return Failure::halt(
                "log.kafka_config",
                format!("{doing} failed: librdkafka has no setting `{key}`, or refuses its value"),
                "correct [log.properties]",
            );
        }
        KafkaError::ClientCreation(_) => Failure::halt(
            "log.kafka_config",
            format!("{doing} failed"),
            "correct [log] brokers and [log.properties]",
        ),
        KafkaError::AdminOp(code) => by_code(doing, *code),
        other => by_code(doing, other.rdkafka_error_code().unwrap_or(Code::Unknown)),
    };
    failure.with_source(error)
}

/// The failure of `doing` (in words) something, by Kafka's code alone.
pub(super) fn by_code(doing: &str, code: Code) -> Failure {
    match code {
        Code::Fenced | Code::ProducerFenced => {
            Failure::fenced("log.fenced", format!("{doing}: another writer of this log took over"))
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedSASLMechanism
        | Code::SecurityDisabled => Failure::halt(
            "log.kafka_rights",
            format!("{doing}: Kafka refused us ({code})"),
            "give Lockstep's Kafka user its rights on the pipeline's topics, group and \
             transactional id, all of which begin with the pipeline's name; check [log.properties]",
        ),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            Failure::halt(
                "log.record_too_large",
                format!("{doing}: a record is larger than the topic or the broker takes"),
                "raise max.message.bytes of the pipeline's topics (16777216 is what Lockstep sets \
                 on topics it creates)",
            )
        }
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => Failure::halt(
            NO_STREAM,
            format!("{doing}: the topic or its partition is not there"),
            "capture makes the topics at its first start; if they were deleted, the log is lost: \
             load the targets again",
        ),
        Code::InvalidTransactionTimeout
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::InvalidConfig
        | Code::InvalidReplicationFactor
        | Code::InvalidPartitions
        | Code::InvalidTopic
        | Code::PolicyViolation => Failure::halt(
            "log.kafka_refused",
            format!("{doing}: Kafka refused it ({code})"),
            "see docs/errors.md",
        ),
        _ => Failure::retry("log.kafka_away", format!("{doing} failed for now ({code})")),
    }
}
