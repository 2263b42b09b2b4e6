//! What may end a request early: the client's attention, or its disappearance.
//!
//! The task that reads the connection raises attentions; the task that answers counts those it has
//! acknowledged. A request is to stop while the two differ. An attention that finds no request
//! running is acknowledged on its own when the answering task meets it in its queue; one that was
//! acknowledged together with the response it interrupted is then skipped there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by the two tasks of a connection and the thread that runs its request.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    raised: AtomicU64,
    acknowledged: AtomicU64,
    gone: AtomicBool,
}

impl Interrupt {
    /// Notes an attention; returns its number.
    pub(super) fn raise(&self) -> u64 {
        self.raised.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Notes that the peer is gone, or is to be treated so.
    pub(super) fn hang_up(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether the request running is to stop.
    pub(super) fn is_pending(&self) -> bool {
        self.gone.load(Ordering::Acquire) || self.attention()
    }

    fn attention(&self) -> bool {
        self.raised.load(Ordering::Acquire) != self.acknowledged.load(Ordering::Acquire)
    }

    /// Takes the attentions raised so far for acknowledged; whether there were any.
    pub(super) fn acknowledge(&self) -> bool {
        let raised = self.raised.load(Ordering::Acquire);
        self.acknowledged.swap(raised, Ordering::AcqRel) != raised
    }

    /// Whether the attention of this number has its acknowledgement already.
    pub(super) fn is_acknowledged(&self, number: u64) -> bool {
        self.acknowledged.load(Ordering::Acquire) >= number
    }
}
