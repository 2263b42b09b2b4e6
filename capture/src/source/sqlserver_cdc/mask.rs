//! Update masks.
//!
//! `__$update_mask` is big-endian over the whole varbinary: the bit of column ordinal `k` (from 1)
//! is bit `(k-1) % 8`, least significant first, of byte `(k-1) / 8` counted *from the end*
//! (docs/reader-rules.md, rule 5).

/// Whether `mask` says that the column of `ordinal` (from 1) was set. A mask too short for the
/// column says no.
pub fn is_set(mask: &[u8], ordinal: u32) -> bool {
    let Some(index) = ordinal.checked_sub(1) else { return false };
    let from_end = usize::try_from(index / 8).unwrap_or(usize::MAX);
    let byte = from_end.checked_add(1).and_then(|n| mask.len().checked_sub(n)).map(|at| mask[at]);
    byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// The mask over a row's columns, whose ordinals are given in row order: bit `i % 8` of byte
/// `i / 8` for column `i`.
pub fn changed(mask: &[u8], ordinals: impl ExactSizeIterator<Item = u32>) -> Vec<u8> {
    let mut bits = vec![0; ordinals.len().div_ceil(8)];
    for (i, ordinal) in ordinals.enumerate() {
        if is_set(mask, ordinal) {
            bits[i / 8] |= 1 << (i % 8);
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_mask_of_ten_columns_has_them_all() {
        let mask = [0x03, 0xff];
        assert!((1..=10).all(|k| is_set(&mask, k)));
        assert!((11..=40).all(|k| !is_set(&mask, k)));
        assert!(!is_set(&mask, 0));
        assert!(!is_set(&[], 1));
    }

    #[test]
    fn the_ninth_column_is_in_the_byte_before_the_last() {
        assert!(is_set(&[0x01, 0x00], 9));
        assert!(!is_set(&[0x01, 0x00], 1));
        assert_eq!(changed(&[0x01, 0x01], [9, 1, 2].into_iter()), [0b011]);
    }

    proptest! {
        /// The server's own definition, on numbers: bit `k-1` of the mask as one big integer.
        #[test]
        fn agrees_with_the_mask_as_one_number(number in any::<u64>(), ordinal in 1u32..=64) {
            prop_assert_eq!(is_set(&number.to_be_bytes(), ordinal), number >> (ordinal - 1) & 1 == 1);
        }
    }
}
