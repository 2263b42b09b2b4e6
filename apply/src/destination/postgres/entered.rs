//! A connection on which somebody is logged in already, for a driver that wants to log in itself: its
//! startup message goes nowhere, and it reads that it is let in.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Duplex;

/// AuthenticationOk, and ReadyForQuery outside of a transaction.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

pub(super) struct Entered {
    stream: Box<dyn Duplex>,
    /// What the driver has yet to read.
    welcome: &'static [u8],
    startup: Startup,
}

/// The startup message: four bytes of length, which counts itself, and the rest.
enum Startup {
    Length { bytes: u32, read: usize },
    Rest(usize),
}

impl Entered {
    pub(super) fn new(stream: Box<dyn Duplex>) -> Self {
        Entered { stream, welcome: WELCOME, startup: Startup::Length { bytes: 0, read: 0 } }
    }

    /// How many of these bytes are of the startup message.
    fn swallow(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Startup::Length { bytes: length, read } = &mut self.startup {
            let Some(byte) = bytes.get(taken) else { return taken };
            (*length, *read, taken) = (*length << 8 | u32::from(*byte), *read + 1, taken + 1);
            if *read == 4 {
                self.startup = Startup::Rest((*length as usize).saturating_sub(4));
            }
        }
        if let Startup::Rest(rest) = &mut self.startup {
            let more = (*rest).min(bytes.len() - taken);
            (*rest, taken) = (*rest - more, taken + more);
        }
        taken
    }
}

impl AsyncRead for Entered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.welcome.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, later) = self.welcome.split_at(self.welcome.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.welcome = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Entered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.swallow(bytes) {
            0 => Pin::new(&mut self.stream).poll_write(context, bytes),
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn nothing_of_a_login_reaches_the_server() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut entered = Entered::new(Box::new(ours));
        for piece in [&[0, 0][..], &[0, 9, 1, 2], &[3, 4, 5, b'Q'], b"uery"] {
            entered.write_all(piece).await.unwrap();
        }
        theirs.write_all(b"answer").await.unwrap();
        let mut read = vec![0; WELCOME.len() + 6];
        entered.read_exact(&mut read).await.unwrap();
        assert_eq!(read, [WELCOME, b"answer"].concat());
        drop(entered);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, b"Query");
    }
}
