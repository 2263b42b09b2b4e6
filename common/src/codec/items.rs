//! Arrays that grow item by item before anything else of their record is written.

use super::wire;

/// Most bytes of what a record written piece by piece has beside its head and the items of its
/// arrays: its own numbers and those of the arrays' blocks.
pub(super) const NUMBERS: usize = 64;

/// Items of an array, encoded, and how many.
#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) count: usize,
    pub(super) bytes: Vec<u8>,
}

impl Items {
    /// Appends the array and empties it.
    pub(super) fn drain_into(&mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            wire::put_len(out, self.count);
            out.append(&mut self.bytes);
            self.count = 0;
        }
        out.push(0);
    }
}
