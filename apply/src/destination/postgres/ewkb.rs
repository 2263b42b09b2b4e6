//! Geometries as PostGIS takes them: extended well-known binary, which says the spatial reference
//! system (<https://postgis.net/docs/using_postgis_dbmanagement.html#EWKB_EWKT>). A `bytea` column
//! holds the same bytes.
//!
//! The log has ISO well-known binary, where the type's thousands say Z and M; in EWKB they are flags of
//! the type. All of it is read here, so that nothing malformed is sent, and so that what PostGIS would
//! change without an error is refused: a reference system's number out of its range, and positions of a
//! `geography` that are beyond the poles or around the world, which it moves.

use bytes::{BufMut, BytesMut};

use super::encode::EncodeError;
use super::types::PgType;

const HAS_Z: u32 = 0x8000_0000;
const HAS_M: u32 = 0x4000_0000;
const HAS_SRID: u32 = 0x2000_0000;

/// PostGIS's largest number of a reference system (`SRID_MAXIMUM` of `liblwgeom.h`).
const MOST_SRID: i32 = 999_999;

/// Geometries within geometries; SQL Server's own limit is lower.
const MOST_DEPTH: usize = 100;

/// Points, lines, polygons, several of these, and collections: what `geography` has.
const LINEAR: std::ops::RangeInclusive<u32> = 1..=7;

/// Appends a geometry for a column of type `ty`. A `srid` of 0 or -1 is none.
///
/// # Errors
/// When the column cannot take it as it is.
pub(super) fn put(
    wkb: &[u8],
    srid: i32,
    ty: PgType,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let geography = ty == PgType::Geography;
    let srid = match srid {
        // The serialization says -1 where it means none.
        -1 | 0 => None,
        srid if (1..=MOST_SRID).contains(&srid) => u32::try_from(srid).ok(),
        _ => {
            return Err(EncodeError::Geometry(
                "of a spatial reference system PostGIS cannot number",
            ));
        }
    };
    if geography && srid.is_none() {
        return Err(EncodeError::Geometry(
            "without a spatial reference system, which PostGIS's geography needs and its geometry does not: \
             ALTER COLUMN … TYPE geometry USING …::geometry",
        ));
    }
    let mut walk = Walk { rest: wkb, geography, out };
    walk.geometry(srid, MOST_DEPTH)?;
    if walk.rest.is_empty() { Ok(()) } else { Err(MALFORMED) }
}

/// The same for bytes that are extended well-known binary already.
///
/// # Errors
/// As [`put`].
pub(super) fn put_extended(ewkb: &[u8], ty: PgType, out: &mut BytesMut) -> Result<(), EncodeError> {
    let (wkb, srid) = lockstep_common::model::geometry::from_ewkb(ewkb).ok_or(MALFORMED)?;
    put(&wkb, srid, ty, out)
}

const MALFORMED: EncodeError = EncodeError::Geometry("that is not well-known binary");

struct Walk<'a> {
    rest: &'a [u8],
    geography: bool,
    out: &'a mut BytesMut,
}

impl Walk<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EncodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(MALFORMED)?;
        self.rest = rest;
        Ok(*head)
    }

    fn number(&mut self, little: bool) -> Result<u32, EncodeError> {
        let bytes = self.take::<4>()?;
        Ok(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn put_number(&mut self, number: u32, little: bool) {
        if little { self.out.put_u32_le(number) } else { self.out.put_u32(number) }
    }

    fn geometry(&mut self, srid: Option<u32>, depth: usize) -> Result<(), EncodeError> {
        let depth = depth.checked_sub(1).ok_or(MALFORMED)?;
        let little = match self.take::<1>()? {
            [0] => false,
            [1] => true,
            _ => return Err(MALFORMED),
        };
        let ty = self.number(little)?;
        if ty & HAS_SRID != 0 {
            return Err(MALFORMED);
        }
        let iso = ty & !(HAS_Z | HAS_M);
        let (base, thousands) = (iso % 1000, iso / 1000);
        let z = ty & HAS_Z != 0 || matches!(thousands, 1 | 3);
        let m = ty & HAS_M != 0 || matches!(thousands, 2 | 3);
        if thousands > 3 {
            return Err(MALFORMED);
        }
        if self.geography && !LINEAR.contains(&base) {
            return Err(EncodeError::Geometry(
                "with a curve, which PostGIS's geography has not. Its geometry has: ALTER COLUMN … TYPE \
                 geometry USING …::geometry",
            ));
        }
        let mut flags = base;
        flags |= if z { HAS_Z } else { 0 };
        flags |= if m { HAS_M } else { 0 };
        flags |= if srid.is_some() { HAS_SRID } else { 0 };
        self.out.put_u8(u8::from(little));
        self.put_number(flags, little);
        if let Some(srid) = srid {
            self.put_number(srid, little);
        }
        let dimensions = 2 + usize::from(z) + usize::from(m);
        match base {
            1 => self.position(little, dimensions),
            2 | 8 => self.positions(little, dimensions),
            3 => {
                for _ in 0..self.count(little)? {
                    self.positions(little, dimensions)?;
                }
                Ok(())
            }
            4..=7 | 9..=12 => {
                for _ in 0..self.count(little)? {
                    self.geometry(None, depth)?;
                }
                Ok(())
            }
            _ => Err(MALFORMED),
        }
    }

    fn count(&mut self, little: bool) -> Result<u32, EncodeError> {
        let count = self.number(little)?;
        self.put_number(count, little);
        Ok(count)
    }

    fn positions(&mut self, little: bool, dimensions: usize) -> Result<(), EncodeError> {
        for _ in 0..self.count(little)? {
            self.position(little, dimensions)?;
        }
        Ok(())
    }

    fn position(&mut self, little: bool, dimensions: usize) -> Result<(), EncodeError> {
        for axis in 0..dimensions {
            let bytes = self.take::<8>()?;
            let at = if little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) };
            let most = match axis {
                0 => 180.0,
                1 => 90.0,
                _ => f64::INFINITY,
            };
            // An empty point is one of NaNs.
            if self.geography && at.abs() > most {
                return Err(EncodeError::Geometry(
                    "beyond 180° or 90°, which PostGIS's geography would move. Its geometry has room: \
                     ALTER COLUMN … TYPE geometry USING …::geometry",
                ));
            }
            self.out.put_slice(&bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    fn point(ty: u32, at: &[f64]) -> Vec<u8> {
        let mut wkb = vec![1];
        wkb.extend(ty.to_le_bytes());
        at.iter().for_each(|v| wkb.extend(v.to_le_bytes()));
        wkb
    }

    fn several(ty: u32, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut wkb = vec![1];
        wkb.extend(ty.to_le_bytes());
        wkb.extend(u32::try_from(parts.len()).unwrap().to_le_bytes());
        parts.iter().for_each(|part| wkb.extend(part));
        wkb
    }

    fn encoded(wkb: &[u8], srid: i32, ty: PgType) -> Result<Vec<u8>, EncodeError> {
        let mut out = BytesMut::new();
        put(wkb, srid, ty, &mut out).map(|()| out.to_vec())
    }

    #[test]
    fn the_outermost_geometry_says_the_reference_system() {
        let plain = point(1, &[1.0, 2.0]);
        assert_eq!(encoded(&plain, 0, PgType::Geometry).unwrap(), plain);
        assert_eq!(encoded(&plain, -1, PgType::Bytea).unwrap(), plain);
        let with = encoded(&plain, 4326, PgType::Bytea).unwrap();
        assert_eq!(with[..9], [1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0]);
        assert_eq!(with[9..], plain[5..]);
        // MULTIPOINT ZM: flags in every geometry, the number in the first.
        let deep = several(3004, &[point(3001, &[1.0, 2.0, 3.0, 4.0])]);
        let with = encoded(&deep, 27700, PgType::Geometry).unwrap();
        assert_eq!(with[..5], [1, 4, 0, 0, 0xe0]);
        assert_eq!(with[13..18], [1, 1, 0, 0, 0xc0]);
        let mut big = BytesMut::new();
        put_extended(&with, PgType::Geometry, &mut big).unwrap();
        assert_eq!(big[..], with[..]);
    }

    #[test]
    fn what_postgis_would_change_or_refuse_is_refused_by_name() {
        let plain = point(1, &[1.0, 2.0]);
        for srid in [-2, 1_000_000, i32::MAX] {
            assert!(encoded(&plain, srid, PgType::Geometry).is_err(), "{srid}");
        }
        assert!(encoded(&plain, 4326, PgType::Geography).is_ok());
        assert!(encoded(&plain, 0, PgType::Geography).is_err());
        assert!(encoded(&point(1, &[180.5, 2.0]), 4326, PgType::Geography).is_err());
        assert!(encoded(&point(1, &[180.5, 2.0]), 4326, PgType::Geometry).is_ok());
        assert!(encoded(&point(1, &[f64::NAN; 2]), 4326, PgType::Geography).is_ok());
        let arc = several(8, &[]);
        assert!(encoded(&arc, 4326, PgType::Geography).is_err());
        assert!(encoded(&arc, 4326, PgType::Geometry).is_ok());
        let mut long = plain.clone();
        long.push(0);
        let mut endless = plain.clone();
        for _ in 0..200 {
            endless = several(7, &[endless]);
        }
        let huge = [&[1, 2, 0, 0, 0][..], &[255; 4]].concat();
        for wrong in [&long[..], &plain[..20], &[], &[2], &endless, &huge, &point(99, &[1.0, 2.0])]
        {
            assert_eq!(encoded(wrong, 0, PgType::Geometry), Err(MALFORMED));
        }
    }
}
