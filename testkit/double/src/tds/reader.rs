//! Checked reading of a message's payload.

/// The payload ends early or contradicts itself; names what was being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(super) struct Malformed(pub &'static str);

/// A position in a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

macro_rules! little_endian {
    ($($name:ident: $ty:ty),*) => {
        $(pub(super) fn $name(&mut self) -> Result<$ty, Malformed> {
            self.array().map(<$ty>::from_le_bytes)
        })*
    };
}

impl<'a> Reader<'a> {
    /// Reads `payload`; `what` names it in errors.
    pub(super) fn new(payload: &'a [u8], what: &'static str) -> Self {
        Reader { rest: payload, what }
    }

    little_endian!(u8: u8, u16: u16, u32: u32, u64: u64, i16: i16, i32: i32, i64: i64);

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The complaint this reader makes.
    pub(super) fn malformed(&self) -> Malformed {
        Malformed(self.what)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed(self.what))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// UTF-16 text of `units` units.
    pub(super) fn text(&mut self, units: usize) -> Result<String, Malformed> {
        let bytes = self.bytes(units.checked_mul(2).ok_or(Malformed(self.what))?)?;
        Ok(String::from_utf16_lossy(&units_of(bytes)))
    }

    /// UTF-16 text behind a one-byte count of units (B_VARCHAR).
    pub(super) fn short_text(&mut self) -> Result<String, Malformed> {
        let units = self.u8()?;
        self.text(usize::from(units))
    }
}

/// The UTF-16 units in little-endian `bytes`; an odd last byte is left out.
pub(super) fn units_of(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}
