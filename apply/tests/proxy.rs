//! A TCP proxy before the target that can be unplugged.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Passes everything on.
    Up,
    /// Passes requests on and swallows the answers.
    Mute,
    /// Cuts connections and takes none.
    Down,
}

pub struct Proxy {
    pub port: u16,
    line: Arc<watch::Sender<Line>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn new(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let line = Arc::new(watch::Sender::new(Line::Up));
        let state = Arc::clone(&line);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target, state.subscribe()));
            }
        });
        Proxy { port, line, task }
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn serve(client: TcpStream, target: u16, mut line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Down {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = line.clone();
    let forward = async { tokio::io::copy(&mut from_client, &mut to_server).await };
    let back = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
            if *answers.borrow() == Line::Up && to_client.write_all(&bytes[..n]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = forward => {}
        () = back => {}
        _ = line.wait_for(|line| *line == Line::Down) => {}
    }
}
