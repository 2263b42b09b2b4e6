//! What capture and apply share by contract. No Kafka and no database in here.
//!
//! | module | what |
//! | --- | --- |
//! | [`model`] | values, tables, positions, records: what the log is about |
//! | [`codec`] | the log's bytes: records, and entries of the schemas stream |
//! | [`failure`] | what goes wrong, by code, and what is done about it |
//! | [`config`] | the configuration file |
//! | [`service`] | what a running program needs: status, metrics, telemetry, fail points |
//! | [`http`] | the HTTP endpoints and the dashboard |

pub mod codec;
pub mod config;
pub mod failure;
pub mod http;
pub mod model;
pub mod service;

pub use failure::{Backoff, Code, Disposition, Failure};
pub use model::{
    Column, LogicalType, LongKind, LongValue, MAX_SOURCE_BYTES, Origin, ParsePositionError,
    Position, SourceBytes, TICKS_PER_DAY, TICKS_PER_SECOND, TableId, TableName, TableRef,
    TableVersion, Value,
};
pub use service::failpoint::FailPoints;

/// Stops a service from outside; services finish the transaction in hand, flush and leave.
pub use tokio_util::sync::CancellationToken as Shutdown;
