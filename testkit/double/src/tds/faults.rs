//! Faults of the wire that a test can switch on.
//!
//! All of them happen where a real network or server would make them: below the tokens, so that
//! clients see truncated packets, silence and refused connections, never a polite error.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::SqlError;

/// Cuts a value of a MAX type into chunks of this size with a pause after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowChunks {
    /// Bytes in a chunk, at least 1; odd numbers split UTF-16 units.
    pub bytes: usize,
    /// Pause after each.
    pub pause: Duration,
}

/// What a login that is right is answered with.
#[derive(Clone, Debug)]
pub enum LoginFault {
    /// An error, as of a server that is starting, being patched or failing over.
    Error(SqlError),
    /// The address of another server to log in to ([MS-TDS] 2.2.7.9, type 20): what Azure SQL Database
    /// answers under its Redirect policy, and an availability group under read-only routing.
    Route {
        /// Its host.
        host: String,
        /// Its TCP port.
        port: u16,
    },
}

/// The switches of one [`Double`](crate::Double).
#[derive(Debug)]
pub struct Faults {
    login: Mutex<Option<LoginFault>>,
    /// Whether any of the two below is set: one relaxed load per row while none is.
    armed: AtomicBool,
    cut_after_rows: Mutex<Option<u64>>,
    slow_chunks: Mutex<Option<SlowChunks>>,
    down: watch::Sender<bool>,
    listening: watch::Sender<bool>,
    connections: Mutex<CancellationToken>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Faults {
            login: Mutex::new(None),
            armed: AtomicBool::new(false),
            cut_after_rows: Mutex::new(None),
            slow_chunks: Mutex::new(None),
            down: watch::Sender::new(false),
            listening: watch::Sender::new(true),
            connections: Mutex::new(CancellationToken::new()),
        }
    }

    /// After `rows` more rows, counted over all connections, cuts the connection that sends the
    /// next one in the middle of that row. Happens once.
    pub fn cut_after_rows(&self, rows: u64) {
        *self.cut_after_rows.lock().expect("no panic under this lock") = Some(rows);
        self.rearm();
    }

    /// Sends MAX values in slow chunks from now on, or with `None` as usual again.
    pub fn slow_chunks(&self, chunks: Option<SlowChunks>) {
        *self.slow_chunks.lock().expect("no panic under this lock") = chunks;
        self.rearm();
    }

    /// Answers every login with this from now on, or with `None` as usual again.
    pub fn answer_logins(&self, fault: Option<LoginFault>) {
        *self.login.lock().expect("no panic under this lock") = fault;
    }

    pub(super) fn login(&self) -> Option<LoginFault> {
        self.login.lock().expect("no panic under this lock").clone()
    }

    /// Drops every connection now; new ones are accepted.
    pub fn drop_connections(&self) {
        let mut connections = self.connections.lock().expect("no panic under this lock");
        std::mem::take(&mut *connections).cancel();
    }

    /// Drops every connection and refuses new ones. Returns once the port is closed.
    pub async fn go_down(&self) {
        self.down.send_replace(true);
        self.await_listening(false).await;
        self.drop_connections();
    }

    /// Accepts connections again, on the same port. Returns once the port is open.
    pub async fn come_up(&self) {
        self.down.send_replace(false);
        self.await_listening(true).await;
    }

    async fn await_listening(&self, wanted: bool) {
        let mut listening = self.listening.subscribe();
        // The sender lives in `self`: it cannot be gone.
        let _ = listening.wait_for(|listening| *listening == wanted).await;
    }

    fn rearm(&self) {
        let cut = self.cut_after_rows.lock().expect("no panic under this lock");
        let slow = self.slow_chunks.lock().expect("no panic under this lock");
        self.armed.store(cut.is_some() || slow.is_some(), Ordering::Release);
    }

    /// Counts a row; whether it is the one to cut.
    pub(super) fn cuts_this_row(&self) -> bool {
        if !self.armed.load(Ordering::Relaxed) {
            return false;
        }
        let mut cut = self.cut_after_rows.lock().expect("no panic under this lock");
        match *cut {
            None => false,
            Some(0) => {
                *cut = None;
                true
            }
            Some(rows) => {
                *cut = Some(rows - 1);
                false
            }
        }
    }

    pub(super) fn chunks(&self) -> Option<SlowChunks> {
        if !self.armed.load(Ordering::Relaxed) {
            return None;
        }
        *self.slow_chunks.lock().expect("no panic under this lock")
    }

    /// Cancelled when the connections of now are dropped.
    pub(super) fn connection_token(&self) -> CancellationToken {
        self.connections.lock().expect("no panic under this lock").clone()
    }

    pub(super) fn watch_down(&self) -> watch::Receiver<bool> {
        self.down.subscribe()
    }

    pub(super) fn set_listening(&self, listening: bool) {
        self.listening.send_replace(listening);
    }
}
