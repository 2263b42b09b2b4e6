//! TLS as TDS 7.x does it: the handshake travels inside PRELOGIN packets, what follows does not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslAcceptor, SslMethod, SslVersion};
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_openssl::SslStream;

use super::packet::{DEFAULT_PACKET_SIZE, Framer, HEADER, PacketType};

/// An acceptor with a certificate made on the spot, as SQL Server makes one when it has none.
///
/// TLS 1.2 is the highest version: with TDS 7.4 SQL Server itself goes no higher, and the session
/// tickets of TLS 1.3 would arrive among the plain packets of a connection that encrypts only its
/// login.
pub(super) fn acceptor() -> Result<SslAcceptor, ErrorStack> {
    let (certificate, key) = self_signed()?;
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_private_key(&key)?;
    builder.set_certificate(&certificate)?;
    builder.check_private_key()?;
    Ok(builder.build())
}

fn self_signed() -> Result<(X509, PKey<Private>), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "SSL_Self_Signed_Fallback")?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(3650)?.as_ref())?;
    builder.set_pubkey(&key)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build(), key))
}

/// Does the server's side of the handshake over `stream`, which from then on carries TLS records
/// without packets around them.
pub(super) async fn accept<S>(
    acceptor: &SslAcceptor,
    stream: S,
) -> io::Result<SslStream<HandshakeStream<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ssl = Ssl::new(acceptor.context())?;
    let mut tls = SslStream::new(ssl, HandshakeStream::new(stream))?;
    Pin::new(&mut tls).accept().await.map_err(io::Error::other)?;
    tls.get_mut().finish_handshake();
    Ok(tls)
}

/// Wraps what is written in PRELOGIN packets and unwraps what is read, until the handshake is done.
#[derive(Debug)]
pub(super) struct HandshakeStream<S> {
    stream: S,
    handshaking: bool,
    framer: Framer,
    /// Written by TLS, not yet framed: one flight becomes one message.
    outgoing: Vec<u8>,
    /// Framed, not yet sent.
    framed: Vec<u8>,
    sent: usize,
    header: [u8; HEADER],
    header_read: usize,
    /// Bytes left of the packet being read.
    body: usize,
}

impl<S> HandshakeStream<S> {
    fn new(stream: S) -> Self {
        HandshakeStream {
            stream,
            handshaking: true,
            framer: Framer::new(PacketType::PreLogin, DEFAULT_PACKET_SIZE, 0),
            outgoing: Vec::new(),
            framed: Vec::new(),
            sent: 0,
            header: [0; HEADER],
            header_read: 0,
            body: 0,
        }
    }

    fn finish_handshake(&mut self) {
        self.handshaking = false;
    }
}

impl<S: AsyncWrite + Unpin> HandshakeStream<S> {
    /// Frames and sends all that TLS has written so far.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.outgoing.is_empty() {
            self.framer.frame_last(&self.outgoing, &mut self.framed);
            self.outgoing.clear();
        }
        while self.sent < self.framed.len() {
            let sent =
                ready!(Pin::new(&mut self.stream).poll_write(cx, &self.framed[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.framed.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> HandshakeStream<S> {
    /// Reads a packet's header; `false` at the end of the stream.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.header_read < HEADER {
            let mut buffer = ReadBuf::new(&mut self.header[self.header_read..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => return Poll::Ready(Ok(false)),
                read => self.header_read += read,
            }
        }
        self.header_read = 0;
        let length = usize::from(u16::from_be_bytes([self.header[2], self.header[3]]));
        if self.header[0] != PacketType::PreLogin as u8 || length <= HEADER {
            let what = "a TLS handshake outside PRELOGIN packets";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        self.body = length - HEADER;
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for HandshakeStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.handshaking {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        // The flight has to leave before its answer can come.
        ready!(this.poll_send(cx))?;
        if this.body == 0 && !ready!(this.poll_header(cx))? {
            return Poll::Ready(Ok(()));
        }
        let mut piece = [0; DEFAULT_PACKET_SIZE];
        let room = this.body.min(buffer.remaining()).min(piece.len());
        let mut piece = ReadBuf::new(&mut piece[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut piece))?;
        buffer.put_slice(piece.filled());
        this.body -= piece.filled().len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HandshakeStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.handshaking {
            ready!(this.poll_send(cx))?;
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        this.outgoing.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
