//! `geometry` and `geography`: well-known text in, the documented serialization kept, and what can
//! be read off it. Nothing here computes with shapes; the flag for valid ones is always set.
//!
//! A [`Spatial`] has the form of the serialization ([MS-SSCLRT] 2.1.1 to 2.1.6): points, figures
//! that are runs of points, shapes that are runs of figures, and parents of shapes. Points of a
//! `geography` stand in it with the latitude first.

mod binary;
mod wkb;
mod wkt;

pub use binary::{deserialize, serialize};
pub use wkb::to_wkb;
pub use wkt::{format, parse};

/// Kinds of shapes, by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Point
    Point = 1,
    /// LineString
    LineString = 2,
    /// Polygon
    Polygon = 3,
    /// MultiPoint
    MultiPoint = 4,
    /// MultiLineString
    MultiLineString = 5,
    /// MultiPolygon
    MultiPolygon = 6,
    /// GeometryCollection
    Collection = 7,
    /// CircularString
    CircularString = 8,
    /// CompoundCurve
    CompoundCurve = 9,
    /// CurvePolygon
    CurvePolygon = 10,
    /// FullGlobe
    FullGlobe = 11,
}

impl Kind {
    /// Every kind with its name.
    pub const ALL: [(Kind, &'static str); 11] = [
        (Kind::Point, "Point"),
        (Kind::LineString, "LineString"),
        (Kind::Polygon, "Polygon"),
        (Kind::MultiPoint, "MultiPoint"),
        (Kind::MultiLineString, "MultiLineString"),
        (Kind::MultiPolygon, "MultiPolygon"),
        (Kind::Collection, "GeometryCollection"),
        (Kind::CircularString, "CircularString"),
        (Kind::CompoundCurve, "CompoundCurve"),
        (Kind::CurvePolygon, "CurvePolygon"),
        (Kind::FullGlobe, "FullGlobe"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.iter().map(|(kind, _)| *kind).find(|kind| *kind as u8 == code)
    }

    /// Whether only the second version of the serialization has it.
    fn is_curved(self) -> bool {
        matches!(
            self,
            Kind::CircularString | Kind::CompoundCurve | Kind::CurvePolygon | Kind::FullGlobe
        )
    }
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureKind {
    /// A point.
    Point,
    /// A line, or a ring of lines.
    Line,
    /// A ring of lines: the outer one of a polygon.
    Exterior,
    /// A ring of lines: a hole.
    Interior,
    /// A circular string.
    Arc,
    /// Lines and arcs, as its segments tell.
    Composite,
}

/// A run of points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What it is.
    pub kind: FigureKind,
    /// Its first point.
    pub point: usize,
}

/// A run of figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// The shape it is part of.
    pub parent: Option<usize>,
    /// Its first figure; none if it is empty.
    pub figure: Option<usize>,
    /// What it is.
    pub kind: Kind,
}

/// A part of a composite figure, by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A further line.
    Line = 0,
    /// A further arc.
    Arc = 1,
    /// The first of some lines.
    FirstLine = 2,
    /// The first of some arcs.
    FirstArc = 3,
}

/// A `geometry` or `geography`.
#[derive(Clone, Debug, PartialEq)]
pub struct Spatial {
    /// Reference system.
    pub srid: i32,
    /// First and second coordinate as stored.
    pub points: Vec<[f64; 2]>,
    /// Z of every point, NaN for none; empty if no point has one.
    pub z: Vec<f64>,
    /// M likewise.
    pub m: Vec<f64>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Shapes; the first is the whole.
    pub shapes: Vec<Shape>,
    /// Segments of composite figures, in their order.
    pub segments: Vec<Segment>,
}

impl Spatial {
    /// A point.
    pub fn point(first: f64, second: f64, srid: i32) -> Spatial {
        Spatial {
            srid,
            points: vec![[first, second]],
            z: Vec::new(),
            m: Vec::new(),
            figures: vec![Figure { kind: FigureKind::Point, point: 0 }],
            shapes: vec![Shape { parent: None, figure: Some(0), kind: Kind::Point }],
            segments: Vec::new(),
        }
    }

    /// What the whole is.
    pub fn kind(&self) -> Option<Kind> {
        self.shapes.first().map(|shape| shape.kind)
    }

    /// Whether there is no point in it.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.kind() != Some(Kind::FullGlobe)
    }

    /// Shapes directly in a shape.
    fn children(&self, of: usize) -> impl Iterator<Item = usize> + '_ {
        let parts = self.shapes.iter().enumerate();
        parts.filter(move |(_, shape)| shape.parent == Some(of)).map(|(at, _)| at)
    }

    /// Figures of a shape, those of the shapes in it left out.
    fn figures_of(&self, shape: usize) -> std::ops::Range<usize> {
        let Some(first) = self.shapes[shape].figure else {
            return 0..0;
        };
        let next = self.shapes[shape + 1..].iter().find_map(|shape| shape.figure);
        first..next.unwrap_or(self.figures.len())
    }

    /// Points of a figure.
    fn points_of(&self, figure: usize) -> std::ops::Range<usize> {
        let end = self.figures.get(figure + 1).map_or(self.points.len(), |next| next.point);
        self.figures[figure].point..end
    }

    /// The runs of points of a composite figure, and whether they are arcs. Neighbours share a
    /// point.
    fn runs_of(&self, figure: usize) -> Option<Vec<(bool, std::ops::Range<usize>)>> {
        let composite = |figure: &&Figure| figure.kind == FigureKind::Composite;
        let before = self.figures[..figure].iter().filter(composite).count();
        let points = self.points_of(figure);
        let mut segments = self.segments.iter();
        let mut runs: Vec<(bool, std::ops::Range<usize>)> = Vec::new();
        // Segments have no owner: they are dealt out figure by figure.
        for number in 0..=before {
            let of = self.figures.iter().enumerate().filter(|(_, f)| composite(f)).nth(number)?.0;
            let own = self.points_of(of);
            let (mut at, mut dealt) = (own.start, Vec::new());
            while at + 1 < own.end {
                let segment = segments.next()?;
                let arc = matches!(segment, Segment::Arc | Segment::FirstArc);
                let end = at + if arc { 2 } else { 1 };
                let first = matches!(segment, Segment::FirstLine | Segment::FirstArc);
                match dealt.last_mut() {
                    Some((kind, run)) if !first && *kind == arc => {
                        let run: &mut std::ops::Range<usize> = run;
                        run.end = end + 1;
                    }
                    _ => dealt.push((arc, at..end + 1)),
                }
                at = end;
            }
            runs = dealt;
        }
        (runs.last()?.1.end == points.end).then_some(runs)
    }
}
