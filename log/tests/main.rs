//! One suite over both logs, then what only one of them has.
//!
//! The Kafka half runs against `LOCKSTEP_TEST_KAFKA` (host:port), or against a broker of its own
//! started by `scripts/kafka`. Where neither can be had it fails, unless `LOCKSTEP_TEST_SKIP_KAFKA`
//! is 1: then each of its tests says that it was skipped.

mod bed;
mod broker;
mod conformance;
mod embedded;
mod kafka;
mod records;
