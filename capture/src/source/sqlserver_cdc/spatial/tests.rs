use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::*;

/// Fields of the serialization, one after the other.
#[derive(Clone, Copy)]
enum F {
    B(u8),
    I(i32),
    D(f64),
}
use F::{B, D, I};

fn bytes(fields: &[F]) -> Vec<u8> {
    let field = |field: &F| match field {
        B(v) => vec![*v],
        I(v) => v.to_le_bytes().to_vec(),
        D(v) => v.to_le_bytes().to_vec(),
    };
    fields.iter().flat_map(field).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn geometry(bytes: &[u8]) -> Spatial {
    decode(bytes, false).expect("it decodes").expect("it is not null")
}

/// Well-known binary of one shape's head and then `fields`.
fn wkb(kind: i32, fields: &[F]) -> Vec<u8> {
    [bytes(&[B(1), I(kind)]), bytes(fields)].concat()
}

// The examples of [MS-SSCLRT], section 3.

#[test]
fn the_documents_empty_point() {
    let value = bytes(&[I(0), B(1), B(4), I(0), I(0), I(1), I(-1), I(-1), B(1)]);
    let nan = f64::NAN;
    assert_eq!(geometry(&value), Spatial { wkb: wkb(1, &[D(nan), D(nan)]), srid: 0 });
}

#[test]
fn the_documents_point() {
    let value = bytes(&[I(4326), B(1), B(0x0c), D(5.0), D(10.0)]);
    let point = |x, y| Spatial { wkb: wkb(1, &[D(x), D(y)]), srid: 4326 };
    assert_eq!(geometry(&value), point(5.0, 10.0));
    // The same bytes as a geography have the latitude first.
    assert_eq!(decode(&value, true), Ok(Some(point(10.0, 5.0))));
}

#[test]
fn the_documents_line_string_lacks_one_z() {
    let points = [D(0.0), D(1.0), D(3.0), D(2.0), D(4.0), D(5.0)];
    let z = [D(1.0), D(2.0), D(f64::NAN)];
    let rest = [I(1), B(1), I(0), I(1), I(-1), I(0), B(2)];
    let head = [I(4326), B(1), B(5), I(3)];
    let value = bytes(&[&head[..], &points, &z, &rest].concat());
    let d = D;
    let expected = wkb(
        1002,
        &[I(3), d(0.0), d(1.0), d(1.0), d(3.0), d(2.0), d(2.0), d(4.0), d(5.0), d(f64::NAN)],
    );
    assert_eq!(geometry(&value), Spatial { wkb: expected, srid: 4326 });
}

const OUTER: [F; 10] =
    [D(0.0), D(0.0), D(0.0), D(3.0), D(3.0), D(3.0), D(3.0), D(0.0), D(0.0), D(0.0)];
const INNER: [F; 10] =
    [D(1.0), D(1.0), D(2.0), D(1.0), D(2.0), D(2.0), D(1.0), D(2.0), D(1.0), D(1.0)];

#[test]
fn the_documents_collection() {
    let points = [D(0.0), D(4.0), D(2.0), D(4.0), D(3.0), D(5.0)];
    let figures = [I(4), B(1), I(0), B(1), I(1), B(2), I(3), B(0), I(8)];
    let shapes = [I(4), I(-1), I(0), B(7), I(0), I(0), B(1), I(0), I(1), B(2), I(0), I(2), B(3)];
    let head = [I(4326), B(1), B(4), I(13)];
    let value = bytes(&[&head[..], &points, &OUTER, &INNER, &figures, &shapes].concat());
    let expected = [
        wkb(7, &[I(3)]),
        wkb(1, &[D(0.0), D(4.0)]),
        wkb(2, &[I(2), D(2.0), D(4.0), D(3.0), D(5.0)]),
        wkb(3, &[&[I(2), I(5)][..], &OUTER, &[I(5)], &INNER].concat()),
    ];
    assert_eq!(geometry(&value), Spatial { wkb: expected.concat(), srid: 4326 });
}

/// The document writes the shape's kind as 0x10; its table of kinds has 10.
#[test]
fn the_documents_curve_polygon() {
    let points = [D(0.0), D(0.0), D(2.0), D(0.0), D(2.0), D(2.0), D(0.0), D(1.0), D(0.0), D(0.0)];
    let rest = [I(1), B(3), I(0), I(1), I(-1), I(0), B(10), I(3), B(2), B(0), B(3)];
    let value = bytes(&[&[I(4326), B(2), B(0x24), I(5)][..], &points, &rest].concat());
    let expected = [
        wkb(10, &[I(1)]),
        wkb(9, &[I(2)]),
        wkb(2, &[&[I(3)][..], &points[..6]].concat()),
        wkb(8, &[&[I(3)][..], &points[4..]].concat()),
    ];
    assert_eq!(geometry(&value), Spatial { wkb: expected.concat(), srid: 4326 });
}

// What a SQL Server made of well-known text, as others have published it.

#[test]
fn a_servers_values() {
    let empty = "000000000104000000000000000001000000FFFFFFFFFFFFFFFF";
    for kind in 2..=7 {
        assert_eq!(geometry(&hex(&format!("{empty}{kind:02X}"))).wkb, wkb(kind, &[I(0)]));
    }
    let zm = "00000000010F000000000000F03F000000000000004000000000000008400000000000001040";
    assert_eq!(geometry(&hex(zm)).wkb, wkb(3001, &[D(1.0), D(2.0), D(3.0), D(4.0)]));
    let line = "000000000114000000000000000000000000000000000000000000000000000000000000F03F";
    assert_eq!(geometry(&hex(line)).wkb, wkb(2, &[I(2), D(0.0), D(0.0), D(0.0), D(1.0)]));
    // CIRCULARSTRING (0 0, 1 1, 2 0)
    let arc = "0000000002040300000000000000000000000000000000000000000000000000F03F000000000000F03F\
               0000000000000040000000000000000001000000020000000001000000FFFFFFFF0000000008";
    let arc_points = [D(0.0), D(0.0), D(1.0), D(1.0), D(2.0), D(0.0)];
    assert_eq!(geometry(&hex(arc)).wkb, wkb(8, &[&[I(3)][..], &arc_points].concat()));
    // COMPOUNDCURVE ((0 0, 1 0), CIRCULARSTRING (1 0, 2 1, 3 0))
    let curve = "0000000002040400000000000000000000000000000000000000000000000000F03F00000000000000\
                 000000000000000040000000000000F03F000000000000084000000000000000000100000003000000\
                 0001000000FFFFFFFF0000000009020000000203";
    let expected = [
        wkb(9, &[I(2)]),
        wkb(2, &[I(2), D(0.0), D(0.0), D(1.0), D(0.0)]),
        wkb(8, &[I(3), D(1.0), D(0.0), D(2.0), D(1.0), D(3.0), D(0.0)]),
    ];
    assert_eq!(geometry(&hex(curve)).wkb, expected.concat());
    // GEOMETRYCOLLECTION (POINT (0 0), GEOMETRYCOLLECTION (POINT (0 1)))
    let nested = "00000000010402000000000000000000000000000000000000000000000000000000000000000000F0\
                  3F020000000100000000010100000004000000FFFFFFFF000000000700000000000000000100000000\
                  0100000007020000000100000001";
    let expected =
        [wkb(7, &[I(2)]), wkb(1, &[D(0.0), D(0.0)]), wkb(7, &[I(1)]), wkb(1, &[D(0.0), D(1.0)])];
    assert_eq!(geometry(&hex(nested)).wkb, expected.concat());
}

/// Client libraries may list shapes breadth first.
#[test]
fn parts_may_come_behind_their_parents_siblings() {
    let points = [D(1.0), D(2.0), D(3.0), D(4.0)];
    let figures = [I(2), B(1), I(0), B(1), I(1)];
    let shapes = [I(4), I(-1), I(0), B(7), I(0), I(0), B(7), I(0), I(0), B(1), I(1), I(1), B(1)];
    let value = bytes(&[&[I(0), B(1), B(4), I(2)][..], &points, &figures, &shapes].concat());
    let expected =
        [wkb(7, &[I(2)]), wkb(7, &[I(1)]), wkb(1, &[D(3.0), D(4.0)]), wkb(1, &[D(1.0), D(2.0)])];
    assert_eq!(geometry(&value).wkb, expected.concat());
}

#[test]
fn the_serializations_null_is_null() {
    assert_eq!(decode(&[0xff; 4], true), Ok(None));
    assert_eq!(decode(&[0xff; 5], true), Err(LEFT_OVER));
}

#[test]
fn what_has_no_counterpart_or_is_not_documented_is_refused() {
    let full_globe = hex("E61000000224000000000000000001000000FFFFFFFFFFFFFFFF0B");
    let error = decode(&full_globe, true).expect_err("no counterpart");
    assert!(error.contains("FULLGLOBE"), "{error}");
    let empty = |version, properties, kind| {
        bytes(&[I(0), B(version), B(properties), I(0), I(0), I(1), I(-1), I(-1), B(kind)])
    };
    for bad in [
        empty(3, 4, 1),
        empty(0, 4, 1),
        empty(1, 0x44, 1),
        empty(1, 0x1c, 1),
        empty(1, 4, 0),
        empty(1, 4, 8),
        empty(2, 4, 16),
    ] {
        assert!(decode(&bad, false).is_err(), "{bad:?}");
    }
    let of = |figures: &[F], shapes: &[F]| {
        let points = [D(0.0), D(0.0), D(1.0), D(1.0), D(2.0), D(0.0)];
        let value = bytes(&[&[I(0), B(2), B(4), I(3)][..], &points, figures, shapes].concat());
        decode(&value, false)
    };
    let line = [I(1), I(-1), I(0), B(2)];
    assert!(of(&[I(1), B(1), I(0)], &line).is_ok());
    for figures in [
        // Arcs in a line, points before the first figure and behind the last, no figure at all.
        &[I(1), B(2), I(0)][..],
        &[I(1), B(1), I(1)],
        &[I(2), B(1), I(0), B(1), I(3)],
        &[I(2), B(1), I(0), B(1), I(-1)],
        &[I(2), B(1), I(0), B(1), I(0)],
        &[I(0)],
        &[I(1), B(4), I(0)],
        &[I(1), B(3), I(0)],
    ] {
        assert!(of(figures, &line).is_err());
    }
    for shapes in [
        // No shape, two wholes, a part of a line, a part before its whole, figures of nobody.
        &[I(0)][..],
        &[I(2), I(-1), I(0), B(2), I(-1), I(-1), B(2)],
        &[I(2), I(-1), I(0), B(2), I(0), I(-1), B(1)],
        &[I(2), I(-1), I(0), B(7), I(1), I(0), B(2)],
        &[I(1), I(-1), I(-1), B(2)],
        &[I(1), I(-1), I(1), B(2)],
        &[I(1), I(-1), I(2), B(2)],
        &[I(1), I(-1), I(0), B(1)],
        &[I(2), I(-1), I(0), B(6), I(0), I(0), B(2)],
    ] {
        assert!(of(&[I(1), B(1), I(0)], shapes).is_err());
    }
    // Two segments where there is room for one, and one that nothing uses.
    let curve = [I(1), I(-1), I(0), B(9)];
    let with = |segments: &[F]| of(&[I(1), B(3), I(0)], &[&curve[..], segments].concat());
    assert!(with(&[I(1), B(3)]).is_ok());
    assert!(with(&[I(2), B(2), B(0)]).is_ok());
    for segments in [&[I(1), B(2)][..], &[I(2), B(2), B(3)], &[I(2), B(3), B(2)], &[I(1), B(4)]] {
        assert!(with(segments).is_err());
    }
}

/// A huge count must not be believed.
#[test]
fn counts_are_held_against_what_is_there() {
    for value in [
        bytes(&[I(0), B(1), B(4), I(-1)]),
        bytes(&[I(0), B(1), B(4), I(0), I(i32::MAX)]),
        bytes(&[I(0), B(1), B(4), I(0), I(0), I(i32::MAX)]),
        bytes(&[I(0), B(2), B(4), I(0), I(0), I(1), I(-1), I(-1), B(1), I(i32::MAX)]),
    ] {
        assert_eq!(decode(&value, false), Err(CUT_OFF));
    }
}

/// Collections within collections, as deep as the bytes go.
#[test]
fn depth_is_no_limit() {
    const DEPTH: i32 = 100_000;
    let mut value = bytes(&[I(0), B(1), B(4), I(0), I(0), I(DEPTH)]);
    for i in 0..DEPTH {
        value.extend(bytes(&[I(i - 1), I(-1), B(7)]));
    }
    let length = 9 * usize::try_from(DEPTH).expect("positive");
    assert_eq!(geometry(&value).wkb.len(), length);
}

// Random values, written twice: as the document says and as well-known binary.

type Point = [f64; 4];

#[derive(Clone, Debug)]
enum Curve {
    Line(Vec<Point>),
    Arcs(Vec<Point>),
    /// The pieces after the first point: lines (one point) or arcs (two), each begun or gone on with.
    Mixed(Point, Vec<(bool, Vec<Vec<Point>>)>),
}

#[derive(Clone, Debug)]
enum Geo {
    Point(Option<Point>),
    Line(Option<Vec<Point>>),
    Arcs(Option<Vec<Point>>),
    Compound(Option<Curve>),
    Polygon(Vec<Vec<Point>>),
    CurvePolygon(Vec<Curve>),
    Multi(u8, Vec<Geo>),
}

impl Geo {
    fn kind(&self) -> u8 {
        match self {
            Geo::Point(_) => 1,
            Geo::Line(_) => 2,
            Geo::Polygon(_) => 3,
            Geo::Multi(kind, _) => *kind,
            Geo::Arcs(_) => 8,
            Geo::Compound(_) => 9,
            Geo::CurvePolygon(_) => 10,
        }
    }
}

fn point() -> BoxedStrategy<Point> {
    // Any bits: infinities and NaNs with payloads stay what they are.
    let number = || any::<u64>().prop_map(f64::from_bits);
    (number(), number(), number(), number()).prop_map(|(x, y, z, m)| [x, y, z, m]).boxed()
}

fn points() -> BoxedStrategy<Vec<Point>> {
    prop::collection::vec(point(), 1..5).boxed()
}

fn curve() -> BoxedStrategy<Curve> {
    let piece = any::<bool>().prop_flat_map(|arc| {
        let segment = prop::collection::vec(point(), if arc { 2 } else { 1 });
        prop::collection::vec(segment, 1..4).prop_map(move |segments| (arc, segments))
    });
    prop_oneof![
        points().prop_map(Curve::Line),
        points().prop_map(Curve::Arcs),
        (point(), prop::collection::vec(piece, 1..4))
            .prop_map(|(p, pieces)| Curve::Mixed(p, pieces)),
    ]
    .boxed()
}

fn geo() -> BoxedStrategy<Geo> {
    let some = prop::option::of(points());
    let polygon = || prop::collection::vec(points(), 0..3).prop_map(Geo::Polygon);
    let leaf = prop_oneof![
        prop::option::of(point()).prop_map(Geo::Point),
        some.clone().prop_map(Geo::Line),
        some.prop_map(Geo::Arcs),
        prop::option::of(curve()).prop_map(Geo::Compound),
        polygon(),
        prop::collection::vec(curve(), 0..3).prop_map(Geo::CurvePolygon),
        prop::collection::vec(prop::option::of(point()).prop_map(Geo::Point), 0..4)
            .prop_map(|parts| Geo::Multi(4, parts)),
        prop::collection::vec(prop::option::of(points()).prop_map(Geo::Line), 0..4)
            .prop_map(|parts| Geo::Multi(5, parts)),
        prop::collection::vec(polygon(), 0..4).prop_map(|parts| Geo::Multi(6, parts)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(|parts| Geo::Multi(7, parts))
    })
    .boxed()
}

/// What the value has beside its first two coordinates.
#[derive(Clone, Copy, Debug)]
struct Dimensions {
    z: bool,
    m: bool,
}

/// Writes the serialization, version 2.
#[derive(Default)]
struct Serialized {
    points: Vec<Point>,
    figures: Vec<u8>,
    shapes: Vec<u8>,
    segments: Vec<u8>,
    figure_count: i32,
    shape_count: i32,
}

impl Serialized {
    fn figure(&mut self, attribute: u8, points: &[Point]) {
        let offset = i32::try_from(self.points.len()).expect("few");
        self.figures.extend(bytes(&[B(attribute), I(offset)]));
        self.figure_count += 1;
        self.points.extend_from_slice(points);
    }

    fn curve(&mut self, curve: &Curve) {
        match curve {
            Curve::Line(points) => self.figure(1, points),
            Curve::Arcs(points) => self.figure(2, points),
            Curve::Mixed(first, pieces) => {
                self.figure(3, &[*first]);
                for (arc, segments) in pieces {
                    for (i, segment) in segments.iter().enumerate() {
                        self.segments.push(u8::from(*arc) + if i == 0 { 2 } else { 0 });
                        self.points.extend_from_slice(segment);
                    }
                }
            }
        }
    }

    fn shape(&mut self, geo: &Geo, parent: i32) {
        let this = self.shape_count;
        let at = self.shapes.len();
        let first = self.figure_count;
        self.shape_count += 1;
        self.shapes.extend(bytes(&[I(parent), I(-1), B(geo.kind())]));
        match geo {
            Geo::Point(p) => p.iter().for_each(|p| self.figure(0, &[*p])),
            Geo::Line(points) => points.iter().for_each(|points| self.figure(1, points)),
            Geo::Arcs(points) => points.iter().for_each(|points| self.figure(2, points)),
            Geo::Compound(curve) => curve.iter().for_each(|curve| self.curve(curve)),
            Geo::Polygon(rings) => rings.iter().for_each(|ring| self.figure(1, ring)),
            Geo::CurvePolygon(rings) => rings.iter().for_each(|ring| self.curve(ring)),
            Geo::Multi(_, parts) => parts.iter().for_each(|part| self.shape(part, this)),
        }
        if self.figure_count > first {
            self.shapes[at + 4..at + 8].copy_from_slice(&first.to_le_bytes());
        }
    }

    fn finish(self, srid: i32, geography: bool, dimensions: Dimensions) -> Vec<u8> {
        let flags = 4 + u8::from(dimensions.z) + 2 * u8::from(dimensions.m);
        let count = i32::try_from(self.points.len()).expect("few");
        let mut out = bytes(&[I(srid), B(2), B(flags), I(count)]);
        for [x, y, _, _] in &self.points {
            let (first, second) = if geography { (y, x) } else { (x, y) };
            out.extend(bytes(&[D(*first), D(*second)]));
        }
        if dimensions.z {
            self.points.iter().for_each(|p| out.extend(p[2].to_le_bytes()));
        }
        if dimensions.m {
            self.points.iter().for_each(|p| out.extend(p[3].to_le_bytes()));
        }
        out.extend(self.figure_count.to_le_bytes());
        out.extend(self.figures);
        out.extend(self.shape_count.to_le_bytes());
        out.extend(self.shapes);
        if !self.segments.is_empty() {
            out.extend(i32::try_from(self.segments.len()).expect("few").to_le_bytes());
            out.extend(self.segments);
        }
        out
    }
}

/// Writes well-known binary.
struct Wkb(Dimensions);

impl Wkb {
    fn head(&self, kind: u8) -> Vec<u8> {
        let dimensions = if self.0.z { 1000 } else { 0 } + if self.0.m { 2000 } else { 0 };
        bytes(&[B(1), I(i32::from(kind) + dimensions)])
    }

    fn counted(&self, points: &[Point]) -> Vec<u8> {
        let count = i32::try_from(points.len()).expect("few");
        let points = points.iter().map(|p| self.coordinates(p));
        std::iter::once(bytes(&[I(count)])).chain(points).collect::<Vec<_>>().concat()
    }

    fn coordinates(&self, [x, y, z, m]: &Point) -> Vec<u8> {
        let mut all = vec![D(*x), D(*y)];
        all.extend(self.0.z.then_some(D(*z)));
        all.extend(self.0.m.then_some(D(*m)));
        bytes(&all)
    }

    fn curve(&self, curve: &Curve) -> Vec<u8> {
        match curve {
            Curve::Line(points) => [self.head(2), self.counted(points)].concat(),
            Curve::Arcs(points) => [self.head(8), self.counted(points)].concat(),
            Curve::Mixed(..) => [self.head(9), self.pieces(curve)].concat(),
        }
    }

    fn pieces(&self, curve: &Curve) -> Vec<u8> {
        let Curve::Mixed(first, pieces) = curve else {
            return [bytes(&[I(1)]), self.curve(curve)].concat();
        };
        let mut out = bytes(&[I(i32::try_from(pieces.len()).expect("few"))]);
        let mut last = *first;
        for (arc, segments) in pieces {
            let points: Vec<Point> =
                std::iter::once(last).chain(segments.iter().flatten().copied()).collect();
            last = *points.last().expect("a piece has points");
            out.extend(self.head(if *arc { 8 } else { 2 }));
            out.extend(self.counted(&points));
        }
        out
    }

    fn write(&self, geo: &Geo) -> Vec<u8> {
        let empty = || vec![0; 4];
        let each = |parts: Vec<Vec<u8>>| {
            let count = i32::try_from(parts.len()).expect("few");
            [bytes(&[I(count)]), parts.concat()].concat()
        };
        let body = match geo {
            Geo::Point(p) => self.coordinates(&p.unwrap_or([f64::NAN; 4])),
            Geo::Line(points) | Geo::Arcs(points) => {
                points.as_ref().map_or_else(empty, |points| self.counted(points))
            }
            Geo::Compound(curve) => curve.as_ref().map_or_else(empty, |curve| self.pieces(curve)),
            Geo::Polygon(rings) => each(rings.iter().map(|ring| self.counted(ring)).collect()),
            Geo::CurvePolygon(rings) => each(rings.iter().map(|ring| self.curve(ring)).collect()),
            Geo::Multi(_, parts) => each(parts.iter().map(|part| self.write(part)).collect()),
        };
        [self.head(geo.kind()), body].concat()
    }
}

fn dimensions() -> impl Strategy<Value = Dimensions> {
    (any::<bool>(), any::<bool>()).prop_map(|(z, m)| Dimensions { z, m })
}

fn serialize(geo: &Geo, srid: i32, geography: bool, dimensions: Dimensions) -> Vec<u8> {
    let mut serialized = Serialized::default();
    serialized.shape(geo, -1);
    serialized.finish(srid, geography, dimensions)
}

proptest! {
    #[test]
    fn random_values_are_what_was_written(
        geo in geo(), srid in 0..1_000_000i32, geography: bool, dimensions in dimensions(),
    ) {
        let value = serialize(&geo, srid, geography, dimensions);
        let expected = Spatial { wkb: Wkb(dimensions).write(&geo), srid };
        prop_assert_eq!(decode(&value, geography), Ok(Some(expected)));
    }

    /// Whatever the bytes are, an answer comes, and a value that ends too early is not one.
    #[test]
    fn damaged_values_never_panic(
        geo in geo(), dimensions in dimensions(), at in any::<prop::sample::Index>(), flip: u8,
    ) {
        let mut value = serialize(&geo, 0, false, dimensions);
        let cut = at.index(value.len());
        prop_assert!(decode(&value[..cut], false).is_err());
        value[cut] ^= flip;
        let _ = decode(&value, false);
    }
}
