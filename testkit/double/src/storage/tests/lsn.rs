use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn allocated_lsns_strictly_increase(steps in proptest::collection::vec((0u32..200_000, any::<bool>()), 1..2000)) {
        let mut lsns = LsnAllocator::default();
        let mut last = Lsn::ZERO;
        for (bytes, close) in steps {
            let next = lsns.next(bytes);
            prop_assert!(next > last, "{next} after {last}");
            prop_assert!(next.slot() >= 1);
            last = next;
            if close {
                lsns.close_block();
            }
        }
        prop_assert!(LsnAllocator::after(last).next(1) > last);
    }

    #[test]
    fn byte_order_is_the_order_of_the_parts(a in any::<(u32, u32, u16)>(), b in any::<(u32, u32, u16)>()) {
        let (left, right) = (Lsn::new(a.0, a.1, a.2), Lsn::new(b.0, b.1, b.2));
        prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        prop_assert_eq!(left.to_value().compare(&right.to_value()), a.cmp(&b));
        prop_assert_eq!((left.vlf(), left.block(), left.slot()), a);
    }

    #[test]
    fn increment_and_decrement_undo_each_other(bytes in any::<[u8; 10]>()) {
        let lsn = Lsn(bytes);
        prop_assert_eq!(lsn.increment().decrement(), lsn);
        prop_assert_eq!(lsn.decrement().increment(), lsn);
        if lsn != Lsn::MAX {
            prop_assert!(lsn.increment() > lsn);
        }
    }
}

#[test]
fn the_ends_wrap_silently() {
    assert_eq!(Lsn::MAX.increment(), Lsn::ZERO);
    assert_eq!(Lsn::ZERO.decrement(), Lsn::MAX);
}

#[test]
fn a_long_log_rolls_over_into_the_next_virtual_file() {
    let mut lsns = LsnAllocator::default();
    let first = lsns.next(60_000).vlf();
    let last = (0..1000).map(|_| lsns.next(60_000)).last().expect("a thousand");
    assert!(last.vlf() > first + 3, "{last}");
}

#[test]
fn text_and_numeric_forms() {
    let lsn = Lsn::new(0x27, 0x758, 5);
    assert_eq!(lsn.to_string(), "00000027:00000758:0005");
    let numeric = Value::Decimal { unscaled: 39_000_000_188_000_005, scale: 0 };
    assert_eq!(lsn.to_numeric(), numeric);
}
