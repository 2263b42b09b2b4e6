//! Packets and messages ([MS-TDS] 2.2.3): an eight-byte header before every piece of a message,
//! the last piece marked end-of-message.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a packet header.
pub(super) const HEADER: usize = 8;
/// Packet size before LOGIN7 has agreed on another.
pub(super) const DEFAULT_PACKET_SIZE: usize = 4096;
/// Smallest and largest packet size a client may ask for.
pub(super) const PACKET_SIZES: std::ops::RangeInclusive<usize> = 512..=32767;
/// Largest message accepted: a request with a value of SQL Server's own limit of 2 GiB is refused
/// rather than buffered.
const MAX_MESSAGE: usize = 1 << 30;

const END_OF_MESSAGE: u8 = 0x01;
const IGNORE: u8 = 0x02;
const RESET_CONNECTION: u8 = 0x08;
const RESET_CONNECTION_SKIP_TRAN: u8 = 0x10;

/// What a packet is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PacketType {
    Batch = 0x01,
    Rpc = 0x03,
    Response = 0x04,
    Attention = 0x06,
    BulkLoad = 0x07,
    Transaction = 0x0E,
    Login = 0x10,
    PreLogin = 0x12,
}

impl PacketType {
    fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Batch,
            0x03 => Self::Rpc,
            0x04 => Self::Response,
            0x06 => Self::Attention,
            0x07 => Self::BulkLoad,
            0x0E => Self::Transaction,
            0x10 => Self::Login,
            0x12 => Self::PreLogin,
            _ => return None,
        })
    }
}

/// Whether the session is to be reset before the request runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    No,
    Session,
    /// All but the open transaction.
    KeepTransaction,
}

/// A whole message of the client.
#[derive(Debug)]
pub(super) struct Message {
    pub kind: PacketType,
    pub payload: Vec<u8>,
    pub reset: Reset,
    /// The client gave the request up while sending it: it must not run.
    pub ignored: bool,
}

struct Header {
    kind: PacketType,
    status: u8,
    body: usize,
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn parse_header(bytes: [u8; HEADER]) -> io::Result<Header> {
    let kind = PacketType::parse(bytes[0])
        .ok_or_else(|| invalid(format!("packet type 0x{:02X}", bytes[0])))?;
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    let body =
        length.checked_sub(HEADER).ok_or_else(|| invalid(format!("packet length {length}")))?;
    Ok(Header { kind, status: bytes[1], body })
}

/// Reads one header; `None` if the peer closed the connection between packets.
async fn read_header(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER];
    if reader.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut bytes[1..]).await?;
    parse_header(bytes).map(Some)
}

/// Reads one message; `None` if the peer closed the connection between messages.
///
/// An attention between the packets of a request supersedes that request, which is dropped.
pub(super) async fn read_message(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<Message>> {
    let Some(first) = read_header(reader).await? else {
        return Ok(None);
    };
    let reset = match first.status & (RESET_CONNECTION | RESET_CONNECTION_SKIP_TRAN) {
        0 => Reset::No,
        RESET_CONNECTION => Reset::Session,
        _ => Reset::KeepTransaction,
    };
    let mut message = Message { kind: first.kind, payload: Vec::new(), reset, ignored: false };
    let mut header = first;
    loop {
        append_body(reader, &mut message.payload, header.body).await?;
        if header.status & END_OF_MESSAGE != 0 {
            message.ignored = header.status & IGNORE != 0;
            return Ok(Some(message));
        }
        header = read_header(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if header.kind == PacketType::Attention {
            message.kind = PacketType::Attention;
            message.payload.clear();
        } else if header.kind != message.kind {
            return Err(invalid(format!(
                "a {:?} packet inside a {:?} message",
                header.kind, message.kind
            )));
        }
    }
}

async fn append_body(
    reader: &mut (impl AsyncRead + Unpin),
    payload: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    let start = payload.len();
    if start + length > MAX_MESSAGE {
        return Err(invalid(format!("a message over {MAX_MESSAGE} bytes")));
    }
    payload.resize(start + length, 0);
    reader.read_exact(&mut payload[start..]).await?;
    Ok(())
}

/// Puts headers before the pieces of outgoing messages.
#[derive(Debug)]
pub(super) struct Framer {
    kind: PacketType,
    packet_size: usize,
    session: u16,
    next_id: u8,
}

impl Framer {
    pub(super) fn new(kind: PacketType, packet_size: usize, session: u16) -> Self {
        Framer { kind, packet_size, session, next_id: 1 }
    }

    /// Bytes of payload one packet carries.
    pub(super) fn body(&self) -> usize {
        self.packet_size - HEADER
    }

    /// Frames as many full packets of `payload` as leave something for the last packet of the
    /// message; returns the number of payload bytes framed.
    pub(super) fn frame_full(&mut self, payload: &[u8], out: &mut Vec<u8>) -> usize {
        let body = self.body();
        let full = payload.len().saturating_sub(1) / body;
        out.reserve(full * self.packet_size);
        for piece in payload[..full * body].chunks_exact(body) {
            self.frame(piece, false, out);
        }
        full * body
    }

    /// Frames all of `payload`, the last packet marked end-of-message.
    pub(super) fn frame_last(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let framed = self.frame_full(payload, out);
        self.frame(&payload[framed..], true, out);
        self.next_id = 1;
    }

    /// Frames all of `payload` without ending the message.
    pub(super) fn frame_open(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let framed = self.frame_full(payload, out);
        self.frame(&payload[framed..], false, out);
    }

    fn frame(&mut self, piece: &[u8], last: bool, out: &mut Vec<u8>) {
        let length = u16::try_from(piece.len() + HEADER).expect("packet sizes fit u16");
        out.push(self.kind as u8);
        out.push(if last { END_OF_MESSAGE } else { 0 });
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.session.to_be_bytes());
        out.push(self.next_id);
        out.push(0);
        out.extend_from_slice(piece);
        self.next_id = self.next_id.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(length: usize, packet_size: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let mut out = Vec::new();
        Framer::new(PacketType::Batch, packet_size, 51).frame_last(&payload, &mut out);
        out
    }

    async fn read(mut bytes: &[u8]) -> io::Result<Option<Message>> {
        read_message(&mut bytes).await
    }

    #[tokio::test]
    async fn messages_of_every_length_survive_framing() {
        for length in [0, 1, 503, 504, 505, 1008, 1009, 70_000] {
            let bytes = framed(length, 512);
            let message = read(&bytes).await.expect("reads").expect("a message");
            let expected: Vec<u8> = (0..length).map(|i| i as u8).collect();
            assert_eq!(message.payload, expected, "length {length}");
            assert_eq!(bytes.len(), length + HEADER * length.div_ceil(504).max(1));
        }
    }

    #[tokio::test]
    async fn a_closed_connection_is_told_from_a_cut_one() {
        assert!(read(&[]).await.expect("closed").is_none());
        let bytes = framed(100, 512);
        for cut in 1..bytes.len() {
            let error = read(&bytes[..cut]).await.expect_err("cut");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn bad_headers_are_refused() {
        for header in [[0x55, 1, 0, 8, 0, 0, 1, 0], [0x01, 1, 0, 7, 0, 0, 1, 0]] {
            let error = read(&header).await.expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn status_bits_are_read_from_the_first_and_last_packet() {
        let bytes = [[0x01, 0x08, 0, 8, 0, 0, 1, 0], [0x01, 0x03, 0, 8, 0, 0, 2, 0]].concat();
        let message = read(&bytes).await.expect("reads").expect("a message");
        assert_eq!(message.reset, Reset::Session);
        assert!(message.ignored);
    }

    #[tokio::test]
    async fn an_attention_supersedes_the_request_it_interrupts() {
        let bytes = [[0x01, 0x00, 0, 8, 0, 0, 1, 0], [0x06, 0x01, 0, 8, 0, 0, 2, 0]].concat();
        let message = read(&bytes).await.expect("reads").expect("a message");
        assert_eq!(message.kind, PacketType::Attention);
    }
}
