//! The test bed: a source workload, an oracle that judges the target, the scenario harness and the
//! demo. No shipped crate depends on it.

pub mod bench;
pub mod chaos;
pub mod compare;
pub mod demo;
pub mod fidelity;
pub mod harness;
pub mod history;
pub mod oracle;
pub mod render;
pub mod session;
pub mod shape;
pub mod source;
pub mod workload;
