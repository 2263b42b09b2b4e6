//! Whoever is between apply and its target, or answers in its place.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use lockstep_servers::cluster::self_signed;

/// What it does about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Has none.
    Nothing,
    /// Shows a certificate of its own making, for the right name.
    OwnCertificate,
}

/// What it asks a client for that has logged in.
pub const IN_THE_CLEAR: &[u8] = &[b'R', 0, 0, 0, 8, 0, 0, 0, 3];
pub const AS_MD5: &[u8] = &[b'R', 0, 0, 0, 12, 0, 0, 0, 5, 1, 2, 3, 4];
/// It lets everybody in.
pub const NOTHING: &[u8] = &[b'R', 0, 0, 0, 8, 0, 0, 0, 0];

pub struct Middle {
    pub port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Middle {
    /// Answers in the server's place: asks for what it wants, and notes everything that comes.
    pub async fn impostor(offer: Offer, asks: &'static [u8]) -> Self {
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let noted = Arc::clone(&heard);
        Self::new(heard, move |client| {
            let noted = Arc::clone(&noted);
            async move {
                let mut client = accept(client, offer).await?;
                let length = client.read_u32().await.ok()?;
                let mut startup = vec![0; length as usize - 4];
                client.read_exact(&mut startup).await.ok()?;
                client.write_all(asks).await.ok()?;
                let mut more = Vec::new();
                let _ = client.read_to_end(&mut more).await;
                noted.lock().unwrap().extend(more);
                Some(())
            }
        })
        .await
    }

    /// Stands between the client and the real server, each behind TLS of its own.
    pub async fn relay(server: u16) -> Self {
        Self::new(Arc::default(), move |client| async move {
            let mut client = accept(client, Offer::OwnCertificate).await?;
            let mut server = TcpStream::connect(("127.0.0.1", server)).await.ok()?;
            server.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.ok()?;
            assert_eq!(server.read_u8().await.ok()?, b'S');
            let connector = native_tls::TlsConnector::builder()
                .danger_accept_invalid_certs(true)
                .danger_accept_invalid_hostnames(true)
                .build()
                .unwrap();
            let connector = tokio_native_tls::TlsConnector::from(connector);
            let mut server = connector.connect("localhost", server).await.ok()?;
            copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
        })
        .await
    }

    async fn new<F>(
        heard: Arc<Mutex<Vec<u8>>>,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client));
            }
        });
        Middle { port, heard, task }
    }

    /// What a client said after its login.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

/// Up to the client's startup message.
async fn accept(mut client: TcpStream, offer: Offer) -> Option<Box<dyn Stream>> {
    let mut first = [0; 8];
    if client.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    let wants_tls = first[4..] == [4, 210, 22, 47];
    if !wants_tls {
        return Some(Box::new(client));
    }
    client.read_exact(&mut first).await.ok()?;
    if offer == Offer::Nothing {
        client.write_all(b"N").await.ok()?;
        return Some(Box::new(client));
    }
    client.write_all(b"S").await.ok()?;
    let (certificate, key) = self_signed("localhost");
    let identity = native_tls::Identity::from_pkcs8(&certificate, &key).unwrap();
    let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
    let acceptor = tokio_native_tls::TlsAcceptor::from(acceptor);
    Some(Box::new(acceptor.accept(client).await.ok()?))
}
