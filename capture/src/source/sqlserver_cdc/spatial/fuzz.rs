//! Mutated serializations: `corpus/spatial` has the documents' examples and values of a server.

use lockstep_fuzz::{Kind, attack};

use super::decode;

/// Whatever is decoded is no longer than what was given allows, and has an end that a reader of
/// well-known binary finds.
#[test]
fn values() {
    attack(env!("CARGO_MANIFEST_DIR"), "spatial", Kind::Bytes, |bytes| {
        for geography in [false, true] {
            let Ok(Some(value)) = decode(bytes, geography) else { continue };
            // The head of a shape, 9 bytes, may stand for as little as a shape's 9 bytes there; each
            // figure has 4 of 5; each point has all of its coordinates.
            assert!(
                value.wkb.len() <= 32 + 2 * bytes.len(),
                "{} of {}",
                value.wkb.len(),
                bytes.len()
            );
            assert_eq!(value.wkb.first(), Some(&1), "little-endian");
        }
    });
}
