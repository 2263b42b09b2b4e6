//! Log sequence numbers: ten bytes, big-endian, whose unsigned order is the log's order
//! (VLF, block, slot; shown as `00000027:00000758:0005`).

use std::fmt;

use lockstep_common::Position;

/// Bytes in an LSN.
pub const BYTES: usize = 10;

/// An LSN. Its order is the order of the source's log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn([u8; BYTES]);

impl Lsn {
    /// Before every LSN that a server gives.
    pub const ZERO: Lsn = Lsn([0; BYTES]);

    /// After every LSN that a server gives.
    pub const MAX: Lsn = Lsn([0xff; BYTES]);

    /// From its bytes.
    #[cfg(test)]
    pub const fn new(bytes: [u8; BYTES]) -> Self {
        Lsn(bytes)
    }

    /// From a `binary(10)`; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Lsn)
    }

    /// From the number that `sys.dm_tran_database_transactions` shows, in digits: VLF × 10^15 +
    /// block × 10^5 + slot.
    pub fn from_number(digits: &str) -> Option<Self> {
        let number: u128 = digits.trim().parse().ok()?;
        let vlf = u32::try_from(number / 1_000_000_000_000_000).ok()?;
        let block = u32::try_from(number / 100_000 % 10_000_000_000).ok()?;
        let slot = u16::try_from(number % 100_000).ok()?;
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&vlf.to_be_bytes());
        bytes[4..8].copy_from_slice(&block.to_be_bytes());
        bytes[8..].copy_from_slice(&slot.to_be_bytes());
        Some(Lsn(bytes))
    }

    /// From its text, `00000027:00000758:0005`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.split(':').collect();
        if digits.len() != 2 * BYTES || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; BYTES];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Lsn(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Whether it is the value that stands for "none".
    pub fn is_zero(&self) -> bool {
        *self == Lsn::ZERO
    }

    /// The next number of the 80-bit count; the highest stays. (The server's own
    /// `fn_cdc_increment_lsn` wraps to zero silently.)
    #[must_use]
    pub fn next(self) -> Self {
        self.widen().checked_add(1).and_then(Lsn::narrow).unwrap_or(Lsn::MAX)
    }

    /// The number before; zero stays.
    #[must_use]
    pub fn previous(self) -> Self {
        self.widen().checked_sub(1).and_then(Lsn::narrow).unwrap_or(Lsn::ZERO)
    }

    /// Its place in the pipeline's order.
    pub fn position(&self, timeline: u32) -> Position {
        Position::new(timeline, &self.0).expect("ten bytes are fewer than a position's limit")
    }

    /// The LSN of a position; `None` for a position of another kind of source.
    pub fn from_position(position: &Position) -> Option<Self> {
        Lsn::from_slice(position.source())
    }

    fn widen(self) -> u128 {
        self.0.iter().fold(0, |number, byte| (number << 8) | u128::from(*byte))
    }

    fn narrow(number: u128) -> Option<Self> {
        let bytes = number.to_be_bytes();
        let (high, low) = bytes.split_last_chunk::<BYTES>()?;
        high.iter().all(|byte| *byte == 0).then_some(Lsn(*low))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, group) in self.0.chunks(4).enumerate() {
            if i > 0 {
                f.write_str(":")?;
            }
            group.iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn next_and_previous_are_inverse_and_order_preserving(bytes in any::<[u8; BYTES]>()) {
            let lsn = Lsn::new(bytes);
            if lsn != Lsn([0xff; BYTES]) {
                prop_assert!(lsn.next() > lsn);
                prop_assert_eq!(lsn.next().previous(), lsn);
            }
            if !lsn.is_zero() {
                prop_assert!(lsn.previous() < lsn);
                prop_assert_eq!(lsn.previous().next(), lsn);
            }
        }

        #[test]
        fn positions_keep_the_order(a in any::<[u8; BYTES]>(), b in any::<[u8; BYTES]>()) {
            let (a, b) = (Lsn::new(a), Lsn::new(b));
            prop_assert_eq!(a.cmp(&b), a.position(1).cmp(&b.position(1)));
            prop_assert_eq!(Lsn::from_position(&a.position(7)), Some(a));
            prop_assert_eq!(Lsn::parse(&a.to_string()), Some(a));
        }

        #[test]
        fn the_number_of_the_catalogue_is_the_lsn(vlf: u32, block: u32, slot: u16) {
            let number = u128::from(vlf) * 1_000_000_000_000_000
                + u128::from(block) * 100_000
                + u128::from(slot);
            let lsn = Lsn::parse(&format!("{vlf:08X}:{block:08X}:{slot:04X}"));
            prop_assert_eq!(Lsn::from_number(&number.to_string()), lsn);
            prop_assert!(lsn.is_some());
        }
    }

    #[test]
    fn carries_over_the_groups_and_never_wraps() {
        let lsn = Lsn::new([0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(lsn.next().to_string(), "00000002:00000000:0000");
        assert_eq!(Lsn([0xff; BYTES]).next(), Lsn([0xff; BYTES]));
        assert_eq!(Lsn::ZERO.previous(), Lsn::ZERO);
        assert_eq!(Lsn::from_slice(&[0; 9]), None);
    }
}
