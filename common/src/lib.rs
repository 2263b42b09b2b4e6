//! What capture and apply share: the value model, positions, the log's records and their codec,
//! configuration, failures, fail points, status and telemetry. No Kafka and no database in here.

mod backoff;
pub mod check;
pub mod code;
pub mod codec;
pub mod config;
pub mod definition;
pub mod disposition;
pub mod entry;
pub mod failpoint;
pub mod geometry;
pub mod http;
pub mod load;
pub mod metrics;
pub mod name;
mod position;
pub mod private;
pub mod record;
pub mod reload;
pub mod service;
pub mod status;
mod table;
pub mod telemetry;
mod value;

pub use backoff::Backoff;
pub use code::Code;
pub use disposition::{Disposition, Failure};
pub use failpoint::FailPoints;
pub use position::{MAX_SOURCE_BYTES, ParsePositionError, Position, SourceBytes};
pub use table::{Column, LogicalType, TableId, TableName, TableVersion};
pub use value::{LongKind, LongValue, TICKS_PER_DAY, TICKS_PER_SECOND, Value};

/// Stops a service from outside; services finish the transaction in hand, flush and leave.
pub use tokio_util::sync::CancellationToken as Shutdown;
