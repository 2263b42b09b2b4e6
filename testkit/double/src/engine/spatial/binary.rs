//! The serialization ([MS-SSCLRT] 2.1.1 to 2.1.6), version 1, or 2 where there are curves.

use super::{Figure, FigureKind, Kind, Segment, Shape, Spatial};

const HAS_Z: u8 = 0x01;
const HAS_M: u8 = 0x02;
const IS_VALID: u8 = 0x04;
const IS_POINT: u8 = 0x08;
const IS_LINE: u8 = 0x10;
const IS_LARGE: u8 = 0x20;

/// The bytes of a value.
pub fn serialize(spatial: &Spatial) -> Vec<u8> {
    let curved = spatial.shapes.iter().any(|shape| shape.kind.is_curved());
    let point = spatial.kind() == Some(Kind::Point) && spatial.points.len() == 1;
    let line = spatial.kind() == Some(Kind::LineString) && spatial.points.len() == 2;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let mut out = spatial.srid.to_le_bytes().to_vec();
    out.push(if curved { 2 } else { 1 });
    out.push(
        IS_VALID
            | flag(!spatial.z.is_empty(), HAS_Z)
            | flag(!spatial.m.is_empty(), HAS_M)
            | flag(point, IS_POINT)
            | flag(line, IS_LINE)
            | flag(spatial.kind() == Some(Kind::FullGlobe), IS_LARGE),
    );
    let count = |out: &mut Vec<u8>, count: usize| {
        out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    };
    if !point && !line {
        count(&mut out, spatial.points.len());
    }
    for number in spatial.points.iter().flatten().chain(&spatial.z).chain(&spatial.m) {
        out.extend(number.to_le_bytes());
    }
    if point || line {
        return out;
    }
    count(&mut out, spatial.figures.len());
    for figure in &spatial.figures {
        out.push(attribute(figure.kind, curved));
        count(&mut out, figure.point);
    }
    let place = |out: &mut Vec<u8>, at: Option<usize>| {
        let at = at.map_or(-1, |at| i32::try_from(at).unwrap_or(i32::MAX));
        out.extend(at.to_le_bytes());
    };
    count(&mut out, spatial.shapes.len());
    for shape in &spatial.shapes {
        place(&mut out, shape.parent);
        place(&mut out, shape.figure);
        out.push(shape.kind as u8);
    }
    if !spatial.segments.is_empty() {
        count(&mut out, spatial.segments.len());
        out.extend(spatial.segments.iter().map(|segment| *segment as u8));
    }
    out
}

/// The versions number figures differently.
fn attribute(kind: FigureKind, curved: bool) -> u8 {
    match (kind, curved) {
        (FigureKind::Interior | FigureKind::Exterior | FigureKind::Line, true) => 1,
        (FigureKind::Point, true) => 0,
        (FigureKind::Arc, _) => 2,
        (FigureKind::Composite, _) => 3,
        (FigureKind::Interior, false) => 0,
        (FigureKind::Point | FigureKind::Line, false) => 1,
        (FigureKind::Exterior, false) => 2,
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A count of things of `size` bytes that are there.
    fn count(&mut self, size: usize) -> Option<usize> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        (count.checked_mul(size)? <= self.0.len()).then_some(count)
    }

    fn numbers(&mut self, count: usize) -> Option<Vec<f64>> {
        (0..count).map(|_| self.array().map(f64::from_le_bytes)).collect()
    }

    /// A place in a list, or none for -1.
    fn place(&mut self) -> Option<Option<usize>> {
        match i32::from_le_bytes(self.array()?) {
            -1 => Some(None),
            at => usize::try_from(at).ok().map(Some),
        }
    }
}

/// Reads what [`serialize`] writes, and whatever else is of the format.
pub fn deserialize(bytes: &[u8]) -> Option<Spatial> {
    let mut from = Reader(bytes);
    let srid = i32::from_le_bytes(from.array()?);
    let [version @ 1..=2, flags] = from.array()? else {
        return None;
    };
    let count = match flags & (IS_POINT | IS_LINE) {
        IS_POINT => 1,
        IS_LINE => 2,
        0 => from.count(16)?,
        _ => return None,
    };
    let points = (0..count)
        .map(|_| Some([f64::from_le_bytes(from.array()?), f64::from_le_bytes(from.array()?)]))
        .collect::<Option<Vec<_>>>()?;
    let z = from.numbers(if flags & HAS_Z != 0 { count } else { 0 })?;
    let m = from.numbers(if flags & HAS_M != 0 { count } else { 0 })?;
    let mut spatial = Spatial {
        srid,
        points,
        z,
        m,
        figures: Vec::new(),
        shapes: Vec::new(),
        segments: Vec::new(),
    };
    if flags & (IS_POINT | IS_LINE) != 0 {
        let (kind, figure) = match flags & IS_POINT {
            0 => (Kind::LineString, FigureKind::Line),
            _ => (Kind::Point, FigureKind::Point),
        };
        spatial.figures.push(Figure { kind: figure, point: 0 });
        spatial.shapes.push(Shape { parent: None, figure: Some(0), kind });
        return from.0.is_empty().then_some(spatial);
    }
    let mut attributes = Vec::new();
    for _ in 0..from.count(5)? {
        let [attribute] = from.array()?;
        let point = from.place()??;
        attributes.push(attribute);
        spatial.figures.push(Figure { kind: FigureKind::Line, point });
    }
    for at in 0..from.count(9)? {
        let (parent, figure) = (from.place()?, from.place()?);
        let [code] = from.array()?;
        let kind = Kind::from_code(code)?;
        let placed = parent.is_none_or(|parent| parent < at) && parent.is_none() == (at == 0);
        let there = figure.is_none_or(|figure| figure < spatial.figures.len());
        if !placed || !there || (version == 1 && kind.is_curved()) {
            return None;
        }
        spatial.shapes.push(Shape { parent, figure, kind });
    }
    if !from.0.is_empty() {
        for _ in 0..from.count(1)? {
            spatial.segments.push(match from.array()? {
                [0] => Segment::Line,
                [1] => Segment::Arc,
                [2] => Segment::FirstLine,
                [3] => Segment::FirstArc,
                _ => return None,
            });
        }
    }
    name_figures(&mut spatial, &attributes, version)?;
    (from.0.is_empty() && is_sound(&spatial)).then_some(spatial)
}

/// Gives figures their kinds, from their attributes and the shapes that they are of.
fn name_figures(spatial: &mut Spatial, attributes: &[u8], version: u8) -> Option<()> {
    for shape in 0..spatial.shapes.len() {
        let figures = spatial.figures_of(shape);
        let polygon = spatial.shapes[shape].kind == Kind::Polygon;
        let point = spatial.shapes[shape].kind == Kind::Point;
        for (number, figure) in figures.enumerate() {
            let kind = match (version, *attributes.get(figure)?) {
                (2, 2) => FigureKind::Arc,
                (2, 3) => FigureKind::Composite,
                (1, 0..=2) | (2, 0..=1) if point => FigureKind::Point,
                (1, 0..=2) | (2, 0..=1) if polygon && number == 0 => FigureKind::Exterior,
                (1, 0..=2) | (2, 0..=1) if polygon => FigureKind::Interior,
                (1, 0..=2) | (2, 0..=1) => FigureKind::Line,
                _ => return None,
            };
            spatial.figures[figure].kind = kind;
        }
    }
    Some(())
}

/// Whether runs go on where the last one ended.
fn is_sound(spatial: &Spatial) -> bool {
    let points: Vec<usize> = spatial.figures.iter().map(|figure| figure.point).collect();
    let figures: Vec<usize> = spatial.shapes.iter().filter_map(|shape| shape.figure).collect();
    !spatial.shapes.is_empty()
        && points.is_sorted()
        && figures.is_sorted()
        && points.iter().all(|point| *point < spatial.points.len())
        && (0..spatial.figures.len()).all(|figure| {
            spatial.figures[figure].kind != FigureKind::Composite
                || spatial.runs_of(figure).is_some()
        })
}
