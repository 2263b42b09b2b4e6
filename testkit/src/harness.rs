//! The scenario harness: one pipeline with a database of its own on each side.
//!
//! A [`Pipeline`] has a source database (on the double, or on the server that
//! `LOCKSTEP_TEST_MSSQL` names), a log (embedded or Kafka), a target database on a private
//! PostgreSQL, and the services in this process, each with the fail points a test arms. A test
//! writes to the source through [`Session`](crate::session::Session)s, so that the
//! [`History`](crate::history::History) knows what every transaction did; the oracle judges every
//! state of the target that anybody looks at. Tests wait for what services and target say, never
//! for time to pass.

mod beside;
mod ended;
mod pipeline;
mod servers;
mod service;
mod statements;

pub use beside::{Watching, Working};
pub use ended::Ended;
pub use pipeline::{LogKind, Nudge, Pipeline, PipelineBuilder};
pub use servers::{shared_postgres, skipped};
pub use service::Service;
pub use statements::Statements;

/// How long a test waits for what must happen; only a failing test ever waits that long.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);
