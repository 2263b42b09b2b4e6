//! `geometry` and `geography`, made by the server from well-known text.

use lockstep_common::Value;

use super::arrive;
use crate::server::Server;

/// Well-known binary: byte order, kind, and what follows.
fn wkb(kind: u32, rest: &[Vec<u8>]) -> Vec<u8> {
    [&[1][..], &kind.to_le_bytes(), &rest.concat()].concat()
}

fn count(n: u32) -> Vec<u8> {
    n.to_le_bytes().to_vec()
}

fn numbers(numbers: &[f64]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn at(srid: i32, wkb: Vec<u8>) -> Value<'static> {
    Value::Geometry { wkb: wkb.into(), srid }
}

fn line(points: &[f64]) -> Vec<u8> {
    wkb(2, &[count(u32::try_from(points.len() / 2).expect("few")), numbers(points)])
}

#[tokio::test(flavor = "multi_thread")]
async fn geometries_and_geographies_arrive_as_well_known_binary() {
    let mut server = Server::new().await;
    let square = [0.0, 0.0, 3.0, 0.0, 3.0, 3.0, 0.0, 3.0, 0.0, 0.0];
    let hole = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0];
    let polygon = wkb(3, &[count(2), count(5), numbers(&square), count(5), numbers(&hole)]);
    let point = |x, y| wkb(1, &[numbers(&[x, y])]);
    let shapes: Vec<(&str, i32, Vec<u8>)> = vec![
        ("POINT(1.5 -2.5)", 0, point(1.5, -2.5)),
        ("POINT EMPTY", 4326, point(f64::NAN, f64::NAN)),
        ("POINT(1 2 3 4)", 0, wkb(3001, &[numbers(&[1.0, 2.0, 3.0, 4.0])])),
        ("LINESTRING(0 0, 1 1)", 0, line(&[0.0, 0.0, 1.0, 1.0])),
        ("LINESTRING(0 0, 1 1, 2 0)", 7, line(&[0.0, 0.0, 1.0, 1.0, 2.0, 0.0])),
        (
            "LINESTRING(0 0 5, 1 1 6)",
            0,
            wkb(1002, &[count(2), numbers(&[0.0, 0.0, 5.0, 1.0, 1.0, 6.0])]),
        ),
        ("POLYGON((0 0, 3 0, 3 3, 0 3, 0 0), (1 1, 1 2, 2 2, 2 1, 1 1))", 0, polygon.clone()),
        ("MULTIPOINT((1 2), (3 4))", 0, wkb(4, &[count(2), point(1.0, 2.0), point(3.0, 4.0)])),
        (
            "MULTILINESTRING((0 0, 1 1), (2 2, 3 3, 4 4))",
            0,
            wkb(5, &[count(2), line(&[0.0, 0.0, 1.0, 1.0]), line(&[2.0, 2.0, 3.0, 3.0, 4.0, 4.0])]),
        ),
        (
            "MULTIPOLYGON(((0 0, 3 0, 3 3, 0 3, 0 0), (1 1, 1 2, 2 2, 2 1, 1 1)))",
            0,
            wkb(6, &[count(1), polygon]),
        ),
        (
            "GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1), POLYGON EMPTY)",
            0,
            wkb(7, &[count(3), point(1.0, 2.0), line(&[0.0, 0.0, 1.0, 1.0]), wkb(3, &[count(0)])]),
        ),
        ("GEOMETRYCOLLECTION EMPTY", 0, wkb(7, &[count(0)])),
    ];
    let literal = |ty: &str, text: &str, srid| format!("{ty}::STGeomFromText('{text}', {srid})");
    let mut literals: Vec<(&str, String, Value<'static>)> = shapes
        .iter()
        .map(|(text, srid, wkb)| {
            ("geometry", literal("geometry", text, *srid), at(*srid, wkb.clone()))
        })
        .collect();
    literals.push((
        "geography",
        "geography::Point(47.65, -122.34, 4326)".to_owned(),
        at(4326, point(-122.34, 47.65)),
    ));
    literals.push((
        "geography",
        literal("geography", "LINESTRING(-122.36 47.656, -122.343 47.656)", 4326),
        at(4326, line(&[-122.36, 47.656, -122.343, 47.656])),
    ));
    let cases: Vec<(&str, &str, Value<'static>)> = literals
        .iter()
        .map(|(ty, literal, value)| (*ty, literal.as_str(), value.clone()))
        .collect();
    // NaNs of an empty point are not equal to themselves: their bits are.
    let version = arrive(&mut server, &cases).await;
    assert_eq!(version.columns[1].source_type, "geometry");
    assert_eq!(version.columns[13].source_type, "geography");
}

#[tokio::test(flavor = "multi_thread")]
async fn curves_arrive_as_curves() {
    let mut server = Server::new().await;
    let arc = wkb(8, &[count(3), numbers(&[1.0, 0.0, 2.0, 1.0, 3.0, 0.0])]);
    let ring = wkb(8, &[count(5), numbers(&[2.0, 1.0, 1.0, 2.0, 0.0, 1.0, 1.0, 0.0, 2.0, 1.0])]);
    let cases = [
        (
            "geometry",
            "geometry::STGeomFromText('CIRCULARSTRING(1 0, 2 1, 3 0)', 0)",
            at(0, arc.clone()),
        ),
        (
            "geometry",
            "geometry::STGeomFromText('COMPOUNDCURVE((0 0, 1 0), CIRCULARSTRING(1 0, 2 1, 3 0))', 0)",
            at(0, wkb(9, &[count(2), line(&[0.0, 0.0, 1.0, 0.0]), arc])),
        ),
        (
            "geometry",
            "geometry::STGeomFromText('CURVEPOLYGON(CIRCULARSTRING(2 1, 1 2, 0 1, 1 0, 2 1))', 0)",
            at(0, wkb(10, &[count(1), ring])),
        ),
    ];
    arrive(&mut server, &cases).await;
}
