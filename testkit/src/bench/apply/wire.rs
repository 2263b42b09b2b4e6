//! The ceiling of the wire: what apply sends, recorded once by a proxy and sent again as fast as the
//! server takes it, with nothing behind it that reads a log, decodes or encodes.
//!
//! The bytes hold the checkpoint's chain, so they fit a target that is as the recorded one was:
//! [`replay`] takes a copy of the same database, raises the epoch as apply's connection had, and lets
//! commits pass that are for another server process.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lockstep_servers::Postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

/// What a client has sent.
type Kept = Arc<Mutex<Vec<u8>>>;

/// Passes connections on to PostgreSQL and keeps what clients send.
pub(super) struct Recorder {
    pub(super) port: u16,
    connections: Arc<Mutex<Vec<Kept>>>,
    task: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    pub(super) async fn new(postgres: &Postgres) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (target, kept) = ((postgres.host(), postgres.port()), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let sent = Kept::default();
                kept.lock().expect("nobody panics with it").push(Arc::clone(&sent));
                tokio::spawn(async move { pass_on(client, target, &sent).await });
            }
        });
        Ok(Recorder { port, connections, task })
    }

    /// What was sent on the connection that carried the most.
    pub(super) fn stream(self) -> Result<Recorded> {
        let connections = self.connections.lock().expect("as above");
        let sent = connections.iter().map(|kept| kept.lock().expect("as above").clone());
        let bytes = sent.max_by_key(Vec::len).context("nothing was recorded")?;
        let statements = behind_login(&bytes)?;
        Ok(Recorded { options: options(&bytes)?, statements: bytes[statements..].to_vec() })
    }
}

/// A recorded connection.
pub(super) struct Recorded {
    /// Its session's settings, as a command line's options.
    options: String,
    /// All messages from the first statement on.
    statements: Vec<u8>,
}

/// The settings in a startup message: behind its length and version, names and values by turns, each
/// ended by a zero. Plans depend on them.
fn options(bytes: &[u8]) -> Result<String> {
    const NO_SETTINGS: [&str; 3] = ["user", "database", "application_name"];
    let end = length_at(bytes, 0)?;
    let texts = bytes.get(8..end).context("a startup message ends early")?;
    let texts: Vec<&str> = std::str::from_utf8(texts)?.split('\0').collect();
    let settings = texts.chunks_exact(2).filter(|pair| !pair[0].is_empty());
    Ok(settings
        .filter(|pair| !NO_SETTINGS.contains(&pair[0]))
        .map(|pair| format!("-c {}={} ", pair[0], pair[1].replace(' ', "\\ ")))
        .collect())
}

async fn pass_on(
    client: TcpStream,
    target: (&str, u16),
    sent: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let server = TcpStream::connect(target).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let forward = async {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = from_client.read(&mut bytes).await?;
            if count == 0 {
                return to_server.shutdown().await;
            }
            sent.lock().expect("as above").extend_from_slice(&bytes[..count]);
            to_server.write_all(&bytes[..count]).await?;
        }
    };
    let back = async { tokio::io::copy(&mut from_server, &mut to_client).await };
    tokio::try_join!(forward, back).map(|_| ())
}

/// Where the first message behind startup and passwords begins.
fn behind_login(bytes: &[u8]) -> Result<usize> {
    let mut at = length_at(bytes, 0)?;
    while bytes.get(at) == Some(&b'p') {
        at += 1 + length_at(bytes, at + 1)?;
    }
    Ok(at)
}

fn length_at(bytes: &[u8], at: usize) -> Result<usize> {
    let word = bytes.get(at..at + 4).context("a recorded message ends early")?;
    Ok(u32::from_be_bytes(word.try_into().expect("four bytes")) as usize)
}

/// Sends a recorded stream into `database` and gives the time until its last commit is confirmed.
pub(super) async fn replay(
    postgres: &Postgres,
    database: &str,
    recorded: &Recorded,
) -> Result<Duration> {
    postgres.psql(database, "UPDATE lockstep.checkpoint SET epoch = epoch + 1")?;
    // The recorded commits are for the server process that they were sent to.
    postgres.psql(
        database,
        "CREATE OR REPLACE FUNCTION lockstep.expect_process(expected integer) RETURNS void \
         LANGUAGE sql AS ''",
    )?;
    let path = postgres.socket_dir().join(format!(".s.PGSQL.{}", postgres.port()));
    let mut stream = UnixStream::connect(path)?;
    log_in(postgres, database, &stream, &recorded.options).await?;
    let bytes = &recorded.statements;
    let commits = syncs(bytes)?;
    let mut sender = stream.try_clone()?;
    let (time, sent) = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let started = Instant::now();
            let sending = scope.spawn(move || {
                bytes.chunks(64 << 10).try_for_each(|chunk| sender.write_all(chunk))
            });
            let time = confirmed(&mut stream, commits).map(|()| started.elapsed());
            // A refusal leaves the sender before a full socket.
            let _ = stream.shutdown(Shutdown::Both);
            (time, sending.join())
        })
    });
    let time = time?;
    sent.ok().context("the sender panicked")??;
    Ok(time)
}

/// Logs in through a driver; the connection stays ours, and the driver is forgotten before it could
/// say goodbye on it.
async fn log_in(
    postgres: &Postgres,
    database: &str,
    stream: &UnixStream,
    options: &str,
) -> Result<()> {
    let theirs = stream.try_clone()?;
    theirs.set_nonblocking(true)?;
    let theirs = tokio::net::UnixStream::from_std(theirs)?;
    let mut config: tokio_postgres::Config = postgres.url(database).parse()?;
    config.options(options);
    drop(config.connect_raw(theirs, NoTls).await?);
    // The flag belongs to both ends' common socket.
    stream.set_nonblocking(false)?;
    Ok(())
}

/// Messages that the server answers with ReadyForQuery: Sync, and simple queries.
fn syncs(bytes: &[u8]) -> Result<u64> {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        count += u64::from(matches!(bytes[at], b'S' | b'Q'));
        at += 1 + length_at(bytes, at + 1)?;
    }
    ensure!(at == bytes.len(), "a recorded message ends early");
    Ok(count)
}

/// Reads replies until so many ReadyForQuery have come.
fn confirmed(stream: &mut UnixStream, mut commits: u64) -> Result<()> {
    let mut input = vec![0; 256 << 10];
    let (mut filled, mut at) = (0, 0);
    while commits > 0 {
        let Some(header) = input[..filled].get(at..at + 5) else {
            input.copy_within(at..filled, 0);
            (filled, at) = (filled - at, 0);
            let count = stream.read(&mut input[filled..])?;
            ensure!(count > 0, "the server closed the connection");
            filled += count;
            continue;
        };
        let length = u32::from_be_bytes(header[1..].try_into().expect("four bytes")) as usize;
        match header[0] {
            b'Z' => commits -= 1,
            b'E' => {
                let text = String::from_utf8_lossy(&input[at..filled]).into_owned();
                bail!("the server refuses what was recorded: {text}")
            }
            _ => {}
        }
        let end = at + 1 + length;
        if end > filled {
            // Few replies are cut in two: they are read again from their header on.
            ensure!(length < input.len() / 2, "a reply of {length} bytes");
            commits += u64::from(header[0] == b'Z');
            input.copy_within(at..filled, 0);
            (filled, at) = (filled - at, 0);
            let count = stream.read(&mut input[filled..])?;
            ensure!(count > 0, "the server closed the connection");
            filled += count;
            continue;
        }
        at = end;
    }
    Ok(())
}
