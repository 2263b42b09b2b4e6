//! The oracle: looks at the target as any reader would and compares it with the source's history.
//!
//! It shares nothing with Lockstep but the checkpoint's table name and the text of a position.

mod compare;
mod digest;
mod observer;
mod target;
#[cfg(test)]
mod tests;

pub use compare::{Difference, compare};
pub use digest::Digest;
pub use observer::{Finding, Observations, Observer, ObserverOptions};
pub use target::{Snapshot, Target};
