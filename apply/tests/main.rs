//! Apply against a real PostgreSQL and the embedded log, fed by synthetic transactions. What is apply's own
//! logic is tested on a destination in memory; `conformance` holds both to one contract.
//!
//! One private cluster serves the whole binary, a database each test; tests that stop their server
//! have a cluster of their own.

mod artefacts;
mod bad_input;
mod bed;
mod changes;
mod conformance;
mod digits;
mod disk;
mod durability;
mod fencing;
mod gaps;
mod hazards;
mod held;
mod keys;
mod least;
mod load_faults;
mod load_model;
mod loads;
mod mapping;
mod middle;
mod names;
mod offsets;
mod policies;
mod pooler;
mod proxy;
mod recovery;
mod remedies;
mod room;
mod runs;
mod sessions;
mod sharing;
mod silence;
mod source;
mod spooling;
mod starts;
mod transport;
mod trust;
mod types;
mod values;
