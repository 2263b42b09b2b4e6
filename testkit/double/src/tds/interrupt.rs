//! What may end a request early: the client's attention, or its disappearance.
//!
//! The task that reads the connection raises an attention and queues it behind the request; the
//! task that answers acknowledges it when it meets it in the queue. A request is to stop while
//! there are attentions raised and not yet acknowledged. So an attention that comes too late to
//! interrupt anything is acknowledged all the same, and each exactly once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::backend::Canceller;

/// Shared by the two tasks of a connection and the thread that runs its request.
pub(super) struct Interrupt {
    attentions: AtomicU64,
    gone: AtomicBool,
    canceller: Box<dyn Canceller>,
}

impl Interrupt {
    /// Interrupts the requests of a session that `canceller` reaches.
    pub(super) fn new(canceller: Box<dyn Canceller>) -> Self {
        Interrupt { attentions: AtomicU64::new(0), gone: AtomicBool::new(false), canceller }
    }

    /// Notes an attention.
    pub(super) fn raise(&self) {
        self.attentions.fetch_add(1, Ordering::AcqRel);
        self.canceller.cancel();
    }

    /// Notes that one has been acknowledged. No request runs then.
    pub(super) fn acknowledge(&self) {
        self.attentions.fetch_sub(1, Ordering::AcqRel);
        if !self.is_pending() {
            self.canceller.clear();
        }
    }

    /// Notes that the peer is gone, or is to be treated so.
    pub(super) fn hang_up(&self) {
        self.gone.store(true, Ordering::Release);
        self.canceller.cancel();
    }

    /// Whether the request running is to stop.
    pub(super) fn is_pending(&self) -> bool {
        self.gone.load(Ordering::Acquire) || self.attentions.load(Ordering::Acquire) > 0
    }
}
