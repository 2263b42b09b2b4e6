//! The way of a response from the thread that produces it to the socket.
//!
//! Tokens gather in one contiguous payload; whole packets of it are framed and handed through a
//! bounded channel to the task that writes the socket. When the client reads slowly the channel
//! fills and the producing thread blocks: that is the connection's back-pressure. When the writing
//! task is gone, so is its end of the channel, and the producer is told [`Cancelled`].

use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use tokio::sync::mpsc;

use super::encode::put_units;
use super::faults::{Faults, SlowChunks};
use super::interrupt::Interrupt;
use super::packet::Framer;
use super::types::PLP_UNKNOWN;
use crate::Cancelled;

/// Payload that is handed on even while the writer is busy: larger pieces mean fewer wake-ups and
/// writes, smaller ones less memory per connection.
const FULL: usize = 64 * 1024;
/// Pieces that may wait for the writer.
const QUEUE: usize = 4;
/// Bytes in a chunk of a partially length-prefixed value.
const CHUNK: usize = 32 * 1024;

/// What the producer asks of the writer.
#[derive(Debug)]
pub(super) enum Piece {
    /// Framed packets to send.
    Packets(Vec<u8>),
    /// A pause (a fault switch).
    Pause(Duration),
    /// The connection's sudden end (a fault switch).
    Cut,
}

/// A response being produced.
pub(super) struct Response {
    payload: Vec<u8>,
    framer: Framer,
    pieces: mpsc::Sender<Piece>,
    interrupt: Arc<Interrupt>,
    faults: Arc<Faults>,
    spilled: bool,
}

impl Response {
    pub(super) fn new(
        framer: Framer,
        interrupt: Arc<Interrupt>,
        faults: Arc<Faults>,
    ) -> (Self, mpsc::Receiver<Piece>) {
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let response = Response {
            payload: Vec::with_capacity(FULL / 4),
            framer,
            pieces,
            interrupt,
            faults,
            spilled: false,
        };
        (response, receiver)
    }

    /// Where tokens are written.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.payload
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.interrupt.is_pending()
    }

    pub(super) fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Marks a place to which [`rewind`](Self::rewind) may go back.
    pub(super) fn mark(&mut self) -> usize {
        self.spilled = false;
        self.payload.len()
    }

    /// Takes back what was written since `mark`; `false` if some of it is on its way already.
    pub(super) fn rewind(&mut self, mark: usize) -> bool {
        if !self.spilled {
            self.payload.truncate(mark);
        }
        !self.spilled
    }

    /// Takes back the second half of what was written since `mark` and is not on its way.
    pub(super) fn halve(&mut self, mark: usize) {
        let start = if self.spilled { 0 } else { mark };
        self.payload.truncate(start + (self.payload.len() - start) / 2);
    }

    /// Hands on what fills packets: all of it once there is much, or as soon as the writer has
    /// nothing else to do.
    pub(super) fn spill(&mut self) -> Result<(), Cancelled> {
        let idle = || self.pieces.capacity() == QUEUE;
        if self.payload.len() > FULL || (self.payload.len() > self.framer.body() && idle()) {
            self.send_full()?;
        }
        Ok(())
    }

    fn send_full(&mut self) -> Result<(), Cancelled> {
        let mut packets = Vec::new();
        let framed = self.framer.frame_full(&self.payload, &mut packets);
        self.payload.drain(..framed);
        self.spilled = true;
        self.send(Piece::Packets(packets))
    }

    /// Sends all there is, in a packet that does not end the message.
    fn send_open(&mut self) -> Result<(), Cancelled> {
        let mut packets = Vec::new();
        self.framer.frame_open(&self.payload, &mut packets);
        self.payload.clear();
        self.spilled = true;
        self.send(Piece::Packets(packets))
    }

    fn send(&self, piece: Piece) -> Result<(), Cancelled> {
        self.pieces.blocking_send(piece).map_err(|_| Cancelled)
    }

    /// Sends what there is and ends the connection in the middle of it.
    pub(super) fn cut(&mut self) -> Cancelled {
        // Either way there is no connection afterwards.
        let _ = self.send_open().and_then(|()| self.send(Piece::Cut));
        Cancelled
    }

    /// Writes a partially length-prefixed value.
    pub(super) fn put_plp(&mut self, bytes: &[u8]) -> Result<(), Cancelled> {
        if let Some(slow) = self.faults.chunks() {
            return self.put_plp_slowly(bytes, slow);
        }
        self.payload.put_u64_le(bytes.len() as u64);
        for chunk in bytes.chunks(CHUNK) {
            self.put_chunk_length(chunk.len());
            self.payload.extend_from_slice(chunk);
            self.spill()?;
        }
        self.payload.put_u32_le(0);
        Ok(())
    }

    /// Writes partially length-prefixed UTF-16 text.
    pub(super) fn put_plp_units(&mut self, units: &[u16]) -> Result<(), Cancelled> {
        if let Some(slow) = self.faults.chunks() {
            let mut bytes = Vec::new();
            put_units(&mut bytes, units);
            return self.put_plp_slowly(&bytes, slow);
        }
        self.payload.put_u64_le(units.len() as u64 * 2);
        for chunk in units.chunks(CHUNK / 2) {
            self.put_chunk_length(chunk.len() * 2);
            put_units(&mut self.payload, chunk);
            self.spill()?;
        }
        self.payload.put_u32_le(0);
        Ok(())
    }

    fn put_chunk_length(&mut self, length: usize) {
        self.payload.put_u32_le(u32::try_from(length).expect("chunks are small"));
    }

    /// Each chunk leaves at once and nothing follows for a while; the length is not told ahead.
    fn put_plp_slowly(&mut self, bytes: &[u8], slow: SlowChunks) -> Result<(), Cancelled> {
        self.payload.put_u64_le(PLP_UNKNOWN);
        for chunk in bytes.chunks(slow.bytes.clamp(1, CHUNK)) {
            self.put_chunk_length(chunk.len());
            self.payload.extend_from_slice(chunk);
            self.send_open()?;
            if !self.is_cancelled() {
                self.send(Piece::Pause(slow.pause))?;
            }
        }
        self.payload.put_u32_le(0);
        Ok(())
    }

    /// What is not sent yet, and the framer that goes on where this response stopped.
    pub(super) fn into_rest(self) -> (Vec<u8>, Framer) {
        (self.payload, self.framer)
    }
}
