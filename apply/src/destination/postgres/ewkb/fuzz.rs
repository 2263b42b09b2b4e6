//! Mutated geometries: `corpus/ewkb` has well-known binary of every kind of shape.

use lockstep_fuzz::{Kind, attack};

use super::*;

/// What is written is at most the reference system's number longer, and is read again as what it was.
#[test]
fn geometries() {
    attack(env!("CARGO_MANIFEST_DIR"), "ewkb", Kind::Bytes, |wkb| {
        for ty in [PgType::Geometry, PgType::Geography] {
            let mut out = BytesMut::new();
            if put(wkb, 4326, ty, &mut out).is_err() {
                continue;
            }
            assert_eq!(out.len(), wkb.len() + 4);
            let mut again = BytesMut::new();
            put_extended(&out, ty, &mut again).expect("what was written is read");
            assert_eq!(out, again);
        }
    });
}
