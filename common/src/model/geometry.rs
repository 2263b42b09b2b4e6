//! Geometries as bytes that carry their spatial reference system.
//!
//! A [`Value::Geometry`](crate::Value::Geometry) holds ISO well-known binary and a SRID beside it.
//! *Extended* well-known binary (EWKB, PostGIS's) has the SRID within: a flag in the type of the
//! outermost geometry, and the number behind it. The geometries inside have neither, and are the same
//! bytes in both.

/// The bit of a geometry's type that says that a SRID follows.
const HAS_SRID: u32 = 0x2000_0000;
/// Byte order and type.
const HEAD: usize = 5;

/// A geometry with its SRID: its well-known binary as it is when `srid` is 0, which is none. `None`
/// for bytes too short for a geometry, or of one that has a SRID already.
pub fn to_ewkb(wkb: &[u8], srid: i32) -> Option<Vec<u8>> {
    let (little_endian, ty) = head(wkb)?;
    if ty & HAS_SRID != 0 {
        return None;
    }
    if srid == 0 {
        return Some(wkb.to_vec());
    }
    let number = |n: u32| if little_endian { n.to_le_bytes() } else { n.to_be_bytes() };
    let mut ewkb = Vec::with_capacity(wkb.len() + 4);
    ewkb.push(wkb[0]);
    ewkb.extend(number(ty | HAS_SRID));
    ewkb.extend(number(srid.cast_unsigned()));
    ewkb.extend_from_slice(&wkb[HEAD..]);
    Some(ewkb)
}

/// The inverse of [`to_ewkb`]: well-known binary and SRID.
pub fn from_ewkb(ewkb: &[u8]) -> Option<(Vec<u8>, i32)> {
    let (little_endian, ty) = head(ewkb)?;
    if ty & HAS_SRID == 0 {
        return Some((ewkb.to_vec(), 0));
    }
    let (srid, rest) = ewkb[HEAD..].split_first_chunk::<4>()?;
    let srid = if little_endian { i32::from_le_bytes(*srid) } else { i32::from_be_bytes(*srid) };
    let ty = ty & !HAS_SRID;
    let mut wkb = Vec::with_capacity(ewkb.len() - 4);
    wkb.push(ewkb[0]);
    wkb.extend(if little_endian { ty.to_le_bytes() } else { ty.to_be_bytes() });
    wkb.extend_from_slice(rest);
    Some((wkb, srid))
}

/// Byte order and type of the outermost geometry.
fn head(wkb: &[u8]) -> Option<(bool, u32)> {
    let (order, rest) = wkb.split_first()?;
    let ty = *rest.first_chunk::<4>()?;
    match order {
        0 => Some((false, u32::from_be_bytes(ty))),
        1 => Some((true, u32::from_le_bytes(ty))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_srid_goes_in_and_comes_out_in_either_byte_order() {
        let little = [&[1, 1, 0, 0, 0][..], &1.5f64.to_le_bytes(), &2.5f64.to_le_bytes()].concat();
        let ewkb = to_ewkb(&little, 4326).expect("a geometry");
        assert_eq!(ewkb[..9], [1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0]);
        assert_eq!(from_ewkb(&ewkb), Some((little.clone(), 4326)));
        let big = [&[0, 0, 0, 3, 0xe9][..], &[0; 24]].concat();
        let ewkb = to_ewkb(&big, -7).expect("a geometry");
        assert_eq!(ewkb[..9], [0, 0x20, 0, 3, 0xe9, 0xff, 0xff, 0xff, 0xf9]);
        assert_eq!(from_ewkb(&ewkb), Some((big, -7)));
        assert_eq!(to_ewkb(&little, 0), Some(little.clone()));
        assert_eq!(from_ewkb(&little), Some((little, 0)));
    }

    #[test]
    fn bytes_that_are_no_geometry_are_refused() {
        for bytes in [&[][..], &[1], &[1, 1, 0, 0], &[2, 1, 0, 0, 0]] {
            assert_eq!(to_ewkb(bytes, 1), None);
            assert_eq!(from_ewkb(bytes), None);
        }
        assert_eq!(to_ewkb(&[1, 1, 0, 0, 0x20, 1, 0, 0, 0], 1), None);
        assert_eq!(from_ewkb(&[1, 1, 0, 0, 0x20, 1, 0, 0]), None);
    }
}
