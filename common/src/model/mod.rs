//! What moves through Lockstep: values, rows of typed columns, tables and their definitions, positions,
//! and the records of the log.

pub mod calendar;
pub mod definition;
pub mod geometry;
pub mod load;
pub mod name;
pub mod place;
mod position;
pub mod record;
mod table;
mod value;

pub use position::{MAX_SOURCE_BYTES, ParsePositionError, Position, SourceBytes};
pub use table::{Column, LogicalType, Origin, TableId, TableName, TableRef, TableVersion};
pub use value::{LongKind, LongValue, TICKS_PER_DAY, TICKS_PER_SECOND, Value};
