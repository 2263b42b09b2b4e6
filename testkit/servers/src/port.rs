//! Ports for servers that must come back on the same one.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that Linux gives to outgoing connections (32768 up), so that nobody takes the
/// port while its server is down.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// A loopback port that nobody listens on now and no client will be given later.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes start at different places so that parallel test binaries seldom meet.
    let start = u16::try_from(std::process::id() % 997).expect("below 997") * 17;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
