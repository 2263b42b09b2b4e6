//! A SQL Server double: a TDS 7.4 server with T-SQL, transactions and change data capture.

mod boundary;
pub mod cdc;
mod double;
pub mod engine;
mod error;
pub mod product;
pub(crate) mod sql_type;
pub mod storage;
pub mod tds;
pub(crate) mod value;

pub use boundary::*;
pub use double::{Config, Double};
pub use error::SqlError;
pub use sql_type::SqlType;
pub use value::Value;
