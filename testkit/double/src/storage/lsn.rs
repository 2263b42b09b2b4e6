//! Log sequence numbers: `VLF sequence u32 ‖ log block u32 ‖ slot u16`, big-endian, compared as
//! unsigned bytes.

use std::fmt;

use crate::Value;

/// Bytes of one virtual log file; the block field is an offset in units of 512 bytes, so a file
/// of this size rolls over after 16,384 sectors.
const SECTORS_PER_VLF: u32 = 16_384;
/// A log block holds at most 60 KiB.
const BLOCK_BYTES: u32 = 60 * 1024;
/// Slots a block may carry before it is closed for its size.
const SLOTS_PER_BLOCK: u16 = 400;

/// A log sequence number, `binary(10)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub [u8; 10]);

impl Lsn {
    /// `0x00…00`: before every record.
    pub const ZERO: Lsn = Lsn([0; 10]);
    /// `0xFF…FF`.
    pub const MAX: Lsn = Lsn([0xFF; 10]);

    /// From its three parts.
    pub fn new(vlf: u32, block: u32, slot: u16) -> Lsn {
        let mut bytes = [0; 10];
        bytes[..4].copy_from_slice(&vlf.to_be_bytes());
        bytes[4..8].copy_from_slice(&block.to_be_bytes());
        bytes[8..].copy_from_slice(&slot.to_be_bytes());
        Lsn(bytes)
    }

    /// VLF sequence number.
    pub fn vlf(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Offset of the log block in its VLF, in 512-byte sectors.
    pub fn block(self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Slot in the block.
    pub fn slot(self) -> u16 {
        u16::from_be_bytes([self.0[8], self.0[9]])
    }

    /// The next 80-bit number; wraps silently from `0xFF…FF` to zero, as
    /// `sys.fn_cdc_increment_lsn` does.
    pub fn increment(self) -> Lsn {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        Lsn(bytes)
    }

    /// The previous 80-bit number; wraps silently from zero.
    pub fn decrement(self) -> Lsn {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let borrow = *byte == 0;
            *byte = byte.wrapping_sub(1);
            if !borrow {
                break;
            }
        }
        Lsn(bytes)
    }

    /// As `numeric(25,0)`, the form of the dynamic views: `vlf·10^15 + block·10^5 + slot`.
    pub fn to_numeric(self) -> Value {
        Value::Decimal {
            unscaled: i128::from(self.vlf()) * 1_000_000_000_000_000
                + i128::from(self.block()) * 100_000
                + i128::from(self.slot()),
            scale: 0,
        }
    }

    /// As `binary(10)`.
    pub fn to_value(self) -> Value {
        Value::binary(&self.0)
    }

    /// From a binary value of at most ten bytes (shorter ones are padded with zeros on the
    /// right, as an assignment to `binary(10)` does); `None` for NULL and other types.
    pub fn from_value(value: &Value) -> Option<Lsn> {
        let Value::Binary(bytes) = value else {
            return None;
        };
        let mut lsn = [0; 10];
        let taken = bytes.len().min(10);
        lsn[..taken].copy_from_slice(&bytes[..taken]);
        Some(Lsn(lsn))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{:08x}:{:04x}", self.vlf(), self.block(), self.slot())
    }
}

/// Hands out LSNs, strictly increasing: a record takes the next slot of the open block, a commit
/// closes the block (it is flushed), a full block closes by itself, a full VLF gives way to the
/// next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsnAllocator {
    vlf: u32,
    block: u32,
    slot: u16,
    bytes: u32,
}

impl Default for LsnAllocator {
    fn default() -> Self {
        LsnAllocator { vlf: 0x22, block: 0x10, slot: 0, bytes: 0 }
    }
}

impl LsnAllocator {
    /// Continues after `last`, in a fresh block.
    pub fn after(last: Lsn) -> LsnAllocator {
        let mut next = LsnAllocator { vlf: last.vlf(), block: last.block(), slot: 1, bytes: 0 };
        next.close_block();
        next
    }

    /// The LSN of the next record, of about `bytes` bytes. (2^32 virtual log files are 32 PiB of
    /// log: they do not run out.)
    pub fn next(&mut self, bytes: u32) -> Lsn {
        if self.slot >= SLOTS_PER_BLOCK || self.bytes > BLOCK_BYTES {
            self.close_block();
        }
        self.slot += 1;
        self.bytes = self.bytes.saturating_add(bytes.clamp(16, BLOCK_BYTES));
        Lsn::new(self.vlf, self.block, self.slot)
    }

    /// Closes the open block; the next record starts another one.
    pub fn close_block(&mut self) {
        if self.slot == 0 {
            return;
        }
        self.block += self.bytes / 512 + 1;
        self.slot = 0;
        self.bytes = 0;
        if self.block >= SECTORS_PER_VLF {
            self.vlf += 1;
            self.block = 0x10;
        }
    }
}
