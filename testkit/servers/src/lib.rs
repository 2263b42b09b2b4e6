//! Servers for tests and the demo: private PostgreSQL clusters, a Kafka broker, the SQL Server
//! double and Lockstep's own programs as child processes.
//!
//! Nothing outlives its owner: a child is ended by its process id when its value is dropped, and
//! the kernel ends it (`PR_SET_PDEATHSIG`) when the owning process dies without dropping anything.
//! The calls block; from async code they are short enough for a test, or go to `spawn_blocking`.

mod child;
pub mod cluster;
mod double;
mod kafka;
mod port;
mod postgres;
mod process;
mod scratch;

pub use double::{Double, DoubleOptions};
pub use kafka::Kafka;
pub use port::free_port;
pub use postgres::{Postgres, PostgresOptions, Stop};
pub use process::{Process, Program, beside_current_exe};
pub use scratch::Scratch;
