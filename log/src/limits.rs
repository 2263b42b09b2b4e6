//! When a writer commits by itself.

use std::time::{Duration, Instant};

use crate::Entry;

/// Bytes that an entry costs beside its payload and key.
const OVERHEAD: usize = 64;

/// Size of an entry towards the limit.
pub(crate) fn weight(entry: &Entry) -> usize {
    OVERHEAD + entry.payload.len() + entry.key.as_ref().map_or(0, |key| key.len())
}

/// The limits of a log transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// The open log transaction: how much is in it and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    bytes: usize,
    since: Instant,
}

impl Open {
    pub(crate) fn new() -> Self {
        Open { bytes: 0, since: Instant::now() }
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether entries of `more` bytes belong into the next transaction.
    pub(crate) fn is_full_for(&self, more: usize, limits: &Limits) -> bool {
        self.bytes > 0
            && (self.bytes.saturating_add(more) > limits.bytes
                || self.since.elapsed() >= limits.time)
    }

    /// Whether nothing more fits at all: cuts a call that alone exceeds the limits.
    pub(crate) fn is_over(&self, limits: &Limits) -> bool {
        self.bytes >= limits.bytes
    }
}
