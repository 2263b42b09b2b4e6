//! A network that is far away: a proxy before PostgreSQL that hands on what it takes after a while.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lockstep_servers::Postgres;

/// Bytes under way in one direction, as a long line holds them.
const UNDER_WAY: usize = 64 << 20;

/// Threads of its own: a timer of the runtime is no finer than a millisecond.
pub(super) struct Delayed {
    pub(super) port: u16,
}

impl Delayed {
    /// With `delay` in each direction. It lives as long as the process, its connections as their ends.
    pub(super) fn new(postgres: &Postgres, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let target = (postgres.host(), postgres.port());
        thread::spawn(move || {
            for client in listener.incoming() {
                let both = || -> std::io::Result<()> {
                    let client = client?;
                    let server = TcpStream::connect(target)?;
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    carry(client.try_clone()?, server.try_clone()?, delay);
                    carry(server, client, delay);
                    Ok(())
                };
                if both().is_err() {
                    // Whoever connected sees it end.
                    continue;
                }
            }
        });
        Ok(Delayed { port })
    }
}

/// What is under way, and when each piece arrives; `None` at its end.
#[derive(Default)]
struct Line {
    pieces: VecDeque<(Instant, Option<Vec<u8>>)>,
    bytes: usize,
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let line = Arc::new((Mutex::new(Line::default()), Condvar::new()));
    let far = Arc::clone(&line);
    thread::spawn(move || {
        let (line, changed) = &*line;
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut bytes).unwrap_or(0);
            let piece = (count > 0).then(|| bytes[..count].to_vec());
            let mut line = line.lock().expect("nobody panics with it");
            while line.bytes > UNDER_WAY {
                line = changed.wait(line).expect("as above");
            }
            line.bytes += count;
            line.pieces.push_back((Instant::now() + delay, piece));
            changed.notify_all();
            if count == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        let (line, changed) = &*far;
        loop {
            let (at, piece) = {
                let mut line = line.lock().expect("as above");
                loop {
                    match line.pieces.pop_front() {
                        Some(piece) => break piece,
                        None => line = changed.wait(line).expect("as above"),
                    }
                }
            };
            thread::sleep(at.saturating_duration_since(Instant::now()));
            let Some(piece) = piece else {
                let _ = to.shutdown(Shutdown::Write);
                return;
            };
            let broken = to.write_all(&piece).is_err();
            let mut line = line.lock().expect("as above");
            // What comes for a broken end is dropped, so that the other one is read on.
            line.bytes -= piece.len();
            changed.notify_all();
            if broken {
                let _ = to.shutdown(Shutdown::Both);
            }
        }
    });
}
