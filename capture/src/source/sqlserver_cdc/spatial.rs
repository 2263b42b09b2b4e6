//! `geometry` and `geography` values: from SQL Server's serialization to well-known binary.
//!
//! The serialization is documented as [\[MS-SSCLRT\]]: all points of a value in one array, behind them
//! their Z and their M values; *figures*, each a run of points (a point, a line, a ring); *shapes*,
//! each a run of figures and the shape that it is part of; and, where figures mix lines and arcs, the
//! *segments* that say which. Version 1 has the shapes of OGC's simple features, version 2 adds
//! circular strings, compound curves and curve polygons.
//!
//! What comes out is ISO well-known binary, little-endian: the same coordinates to the last bit (a Z
//! or M that a single point lacks is NaN in both), in the same order. A `geography` stores latitude
//! before longitude; well-known binary has the longitude first. An empty point has NaN for
//! coordinates, as everywhere where well-known binary is spoken. Whether SQL Server takes the value to
//! be valid is not carried over, nor whether a `geography` is larger than a hemisphere: the order of its
//! ring says that.
//!
//! # Nothing is lost and nothing is made up
//!
//! Every length is held against the bytes that are there before anything is allocated. Figures tile the
//! points, the shapes without parts tile the figures, segments tile the figures that are made of them, and
//! nothing may be left over at the end: so every point of the value is written once. What is not of
//! this form, and `FullGlobe`, which well-known binary has no words for, is refused.
//!
//! [\[MS-SSCLRT\]]: https://learn.microsoft.com/en-us/openspecs/sql_server_protocols/ms-ssclrt/

use std::ops::Range;

/// What cannot be decoded, and why.
type Refused = &'static str;

const CUT_OFF: Refused = "a spatial value that ends too early";
const LEFT_OVER: Refused = "a spatial value with bytes behind its end";
const TOO_FEW_SHAPES: Refused = "a spatial value whose shapes do not cover its points";
const ILL_ORDERED: Refused = "a spatial value whose parts are out of order";
const BAD_SHAPE: Refused = "a spatial value with a shape that its kind cannot have";
const BAD_SEGMENTS: Refused = "a spatial value whose segments do not fit its points";

/// A decoded value.
#[derive(Clone, Debug, PartialEq)]
pub struct Spatial {
    /// ISO well-known binary.
    pub wkb: Vec<u8>,
    /// Spatial reference system.
    pub srid: i32,
}

/// Decodes a value; `None` is the serialization's own null.
///
/// # Errors
/// Why it cannot be decoded.
pub fn decode(bytes: &[u8], geography: bool) -> Result<Option<Spatial>, Refused> {
    let mut input = Input(bytes);
    let srid = i32::from_le_bytes(input.array()?);
    // "A value of -1 indicates a null": nothing follows it.
    if srid == -1 {
        return if input.0.is_empty() { Ok(None) } else { Err(LEFT_OVER) };
    }
    let parts = Parts::read(&mut input, geography)?;
    Ok(Some(Spatial { wkb: parts.write()?, srid }))
}

/// Bits of the serialization properties.
mod property {
    pub const Z: u8 = 0x01;
    pub const M: u8 = 0x02;
    pub const VALID: u8 = 0x04;
    pub const SINGLE_POINT: u8 = 0x08;
    pub const SINGLE_SEGMENT: u8 = 0x10;
    pub const LARGER_THAN_A_HEMISPHERE: u8 = 0x20;
    pub const ALL: u8 = Z | M | VALID | SINGLE_POINT | SINGLE_SEGMENT | LARGER_THAN_A_HEMISPHERE;
}

/// Kinds of shapes. Well-known binary has the same numbers.
mod kind {
    pub const POINT: u8 = 1;
    pub const LINE_STRING: u8 = 2;
    pub const POLYGON: u8 = 3;
    pub const MULTI_POINT: u8 = 4;
    pub const MULTI_LINE_STRING: u8 = 5;
    pub const MULTI_POLYGON: u8 = 6;
    pub const COLLECTION: u8 = 7;
    pub const CIRCULAR_STRING: u8 = 8;
    pub const COMPOUND_CURVE: u8 = 9;
    pub const CURVE_POLYGON: u8 = 10;
    pub const FULL_GLOBE: u8 = 11;
}

/// What a figure's points are. (Version 1 says of rings whether they are outer ones instead.)
#[derive(Clone, Debug, PartialEq, Eq)]
enum Course {
    /// A point, or a line from point to point.
    Straight,
    /// Arcs of three points each.
    Arcs,
    /// Both: these segments.
    Mixed(Range<usize>),
}

/// A run of points.
#[derive(Clone, Debug)]
struct Figure {
    points: Range<usize>,
    course: Course,
}

#[derive(Clone, Debug)]
struct Shape {
    kind: u8,
    /// The shape it is part of.
    parent: Option<usize>,
    /// Its figures, and those of its parts.
    first_figure: Option<usize>,
}

/// A value in its parts.
struct Parts<'a> {
    geography: bool,
    points: &'a [u8],
    z: Option<&'a [u8]>,
    m: Option<&'a [u8]>,
    figures: Vec<Figure>,
    shapes: Vec<Shape>,
    segments: &'a [u8],
}

/// Bytes of a point's two coordinates, of a Z or M value, of a figure, of a shape.
const POINT_BYTES: usize = 16;
const VALUE_BYTES: usize = 8;
const FIGURE_BYTES: usize = 5;
const SHAPE_BYTES: usize = 9;

impl<'a> Parts<'a> {
    fn read(input: &mut Input<'a>, geography: bool) -> Result<Self, Refused> {
        let [version, properties] = input.array()?;
        let curves = match version {
            1 => false,
            2 => true,
            _ => return Err("a spatial value of an unknown version"),
        };
        if properties & !property::ALL != 0 {
            return Err("a spatial value with unknown properties");
        }
        let has = |bit| properties & bit != 0;
        let single = match (has(property::SINGLE_POINT), has(property::SINGLE_SEGMENT)) {
            (false, false) => None,
            (true, false) => Some((kind::POINT, 1)),
            (false, true) => Some((kind::LINE_STRING, 2)),
            (true, true) => return Err("a spatial value that is a point and a line"),
        };
        let count = match single {
            Some((_, count)) => count,
            None => input.count()?,
        };
        let points = input.items(count, POINT_BYTES)?;
        let z = has(property::Z).then(|| input.items(count, VALUE_BYTES)).transpose()?;
        let m = has(property::M).then(|| input.items(count, VALUE_BYTES)).transpose()?;
        let mut parts = Parts {
            geography,
            points,
            z,
            m,
            figures: Vec::new(),
            shapes: Vec::new(),
            segments: &[],
        };
        if let Some((kind, count)) = single {
            parts.figures.push(Figure { points: 0..count, course: Course::Straight });
            parts.shapes.push(Shape { kind, parent: None, first_figure: Some(0) });
        } else {
            let figures = input.count()?;
            let figures = input.items(figures, FIGURE_BYTES)?;
            let shapes = input.count()?;
            parts.shapes = shapes_of(input.items(shapes, SHAPE_BYTES)?, curves)?;
            // The number of segments is there only if there are any.
            if curves && !input.0.is_empty() {
                let segments = input.count()?;
                parts.segments = input.items(segments, 1)?;
            }
            parts.figures = figures_of(figures, count, curves, parts.segments)?;
        }
        if input.0.is_empty() { Ok(parts) } else { Err(LEFT_OVER) }
    }

    fn write(&self) -> Result<Vec<u8>, Refused> {
        let runs = self.runs()?;
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.shapes.len()];
        for (i, shape) in self.shapes.iter().enumerate() {
            if let Some(parent) = shape.parent {
                children[parent].push(i);
            }
        }
        let mut wkb = Vec::with_capacity(16 + 2 * self.points.len());
        let mut written = 0;
        // Depth first, without recursion: how deep collections nest is up to the sender.
        let mut waiting = vec![0];
        while let Some(i) = waiting.pop() {
            let parts = &children[i];
            self.head(&mut wkb, self.shapes[i].kind);
            if is_collection(self.shapes[i].kind) {
                put_count(&mut wkb, parts.len());
                waiting.extend(parts.iter().rev());
            } else {
                written += runs[i].len();
                self.shape(&mut wkb, self.shapes[i].kind, &self.figures[runs[i].clone()])?;
            }
        }
        if written == self.figures.len() { Ok(wkb) } else { Err(TOO_FEW_SHAPES) }
    }

    /// The figures of each shape that has no parts: up to the next shape's.
    fn runs(&self) -> Result<Vec<Range<usize>>, Refused> {
        let mut end = self.figures.len();
        let mut runs = vec![0..0; self.shapes.len()];
        for (shape, run) in self.shapes.iter().zip(&mut runs).rev() {
            let Some(first) = shape.first_figure else { continue };
            if first > end {
                return Err(ILL_ORDERED);
            }
            if !is_collection(shape.kind) {
                *run = first..end;
            }
            end = first;
        }
        Ok(runs)
    }

    /// Byte order and type.
    fn head(&self, wkb: &mut Vec<u8>, kind: u8) {
        let dimensions = 1000 * u32::from(self.z.is_some()) + 2000 * u32::from(self.m.is_some());
        wkb.push(1);
        wkb.extend((u32::from(kind) + dimensions).to_le_bytes());
    }

    /// What is behind the head of a shape without parts.
    fn shape(&self, wkb: &mut Vec<u8>, kind: u8, figures: &[Figure]) -> Result<(), Refused> {
        match (kind, figures) {
            (kind::POLYGON, rings) => {
                put_count(wkb, rings.len());
                for ring in rings {
                    self.line(wkb, ring, &Course::Straight)?;
                }
                Ok(())
            }
            (kind::CURVE_POLYGON, rings) => {
                put_count(wkb, rings.len());
                rings.iter().try_for_each(|ring| self.curve(wkb, ring))
            }
            (kind::POINT, []) => {
                let coordinates = 2 + usize::from(self.z.is_some()) + usize::from(self.m.is_some());
                wkb.extend(std::iter::repeat_n(f64::NAN.to_le_bytes(), coordinates).flatten());
                Ok(())
            }
            (_, []) => {
                put_count(wkb, 0);
                Ok(())
            }
            (kind::POINT, [figure]) if figure.points.len() == 1 => {
                self.points(wkb, figure.points.clone());
                Ok(())
            }
            (kind::LINE_STRING, [figure]) => self.line(wkb, figure, &Course::Straight),
            (kind::CIRCULAR_STRING, [figure]) => self.line(wkb, figure, &Course::Arcs),
            (kind::COMPOUND_CURVE, [figure]) => {
                let pieces = self.pieces(figure)?;
                put_count(wkb, pieces.len());
                for (kind, points) in pieces {
                    self.head(wkb, kind);
                    self.run(wkb, points);
                }
                Ok(())
            }
            _ => Err(BAD_SHAPE),
        }
    }

    /// A figure that takes this course, without a head.
    fn line(&self, wkb: &mut Vec<u8>, figure: &Figure, course: &Course) -> Result<(), Refused> {
        if figure.course != *course {
            return Err(BAD_SHAPE);
        }
        self.run(wkb, figure.points.clone());
        Ok(())
    }

    /// A figure as the kind of curve that it is.
    fn curve(&self, wkb: &mut Vec<u8>, figure: &Figure) -> Result<(), Refused> {
        let kind = match figure.course {
            Course::Straight => kind::LINE_STRING,
            Course::Arcs => kind::CIRCULAR_STRING,
            Course::Mixed(_) => kind::COMPOUND_CURVE,
        };
        self.head(wkb, kind);
        self.shape(wkb, kind, std::slice::from_ref(figure))
    }

    /// The lines and circular strings that a compound curve is made of. Each begins with the last
    /// point of the one before.
    fn pieces(&self, figure: &Figure) -> Result<Vec<(u8, Range<usize>)>, Refused> {
        let segments = match &figure.course {
            Course::Straight => return Ok(vec![(kind::LINE_STRING, figure.points.clone())]),
            Course::Arcs => return Ok(vec![(kind::CIRCULAR_STRING, figure.points.clone())]),
            Course::Mixed(segments) => &self.segments[segments.clone()],
        };
        let mut pieces: Vec<(u8, Range<usize>)> = Vec::new();
        let mut at = figure.points.start;
        for segment in segments {
            let (kind, begins, more) = segment_of(*segment)?;
            match pieces.last_mut() {
                Some((of, points)) if *of == kind && !begins => points.end += more,
                _ => pieces.push((kind, at..at + more + 1)),
            }
            at += more;
        }
        Ok(pieces)
    }

    /// How many points, and they.
    fn run(&self, wkb: &mut Vec<u8>, points: Range<usize>) {
        put_count(wkb, points.len());
        self.points(wkb, points);
    }

    fn points(&self, wkb: &mut Vec<u8>, points: Range<usize>) {
        for i in points {
            let (first, second) = item(self.points, POINT_BYTES, i).split_at(VALUE_BYTES);
            let (x, y) = if self.geography { (second, first) } else { (first, second) };
            wkb.extend_from_slice(x);
            wkb.extend_from_slice(y);
            for values in [self.z, self.m].into_iter().flatten() {
                wkb.extend_from_slice(item(values, VALUE_BYTES, i));
            }
        }
    }
}

fn item(items: &[u8], size: usize, i: usize) -> &[u8] {
    &items[i * size..(i + 1) * size]
}

fn put_count(wkb: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("counts come from numbers of four bytes");
    wkb.extend(count.to_le_bytes());
}

fn is_collection(kind: u8) -> bool {
    matches!(
        kind,
        kind::MULTI_POINT | kind::MULTI_LINE_STRING | kind::MULTI_POLYGON | kind::COLLECTION
    )
}

/// The curve that a segment is of, whether it begins one, and its points behind its first.
fn segment_of(segment: u8) -> Result<(u8, bool, usize), Refused> {
    match segment {
        0 => Ok((kind::LINE_STRING, false, 1)),
        1 => Ok((kind::CIRCULAR_STRING, false, 2)),
        2 => Ok((kind::LINE_STRING, true, 1)),
        3 => Ok((kind::CIRCULAR_STRING, true, 2)),
        _ => Err(BAD_SEGMENTS),
    }
}

/// Figures of `count` points, and the segments of each.
fn figures_of(
    bytes: &[u8],
    count: usize,
    curves: bool,
    segments: &[u8],
) -> Result<Vec<Figure>, Refused> {
    let mut figures: Vec<Figure> = Vec::with_capacity(bytes.len() / FIGURE_BYTES);
    let mut attributes = Vec::with_capacity(figures.capacity());
    for figure in bytes.chunks_exact(FIGURE_BYTES) {
        let start = index(&figure[1..]).ok_or(ILL_ORDERED)?;
        match figures.last_mut() {
            Some(last) if last.points.start < start => last.points.end = start,
            None if start == 0 => {}
            _ => return Err(ILL_ORDERED),
        }
        attributes.push(figure[0]);
        figures.push(Figure { points: start..count, course: Course::Straight });
    }
    match figures.last() {
        Some(last) if last.points.is_empty() => return Err(ILL_ORDERED),
        None if count > 0 => return Err(TOO_FEW_SHAPES),
        _ => {}
    }
    let mut used = 0;
    for (figure, attribute) in figures.iter_mut().zip(attributes) {
        figure.course = match (curves, attribute) {
            // Version 1: an inner ring, a stroke, an outer ring. Version 2: a point, a line.
            (false, 0..=2) | (true, 0 | 1) => Course::Straight,
            (true, 2) => Course::Arcs,
            (true, 3) => {
                let begin = used;
                let mut left = figure.points.len() - 1;
                while left > 0 {
                    let segment = segments.get(used).ok_or(BAD_SEGMENTS)?;
                    left = left.checked_sub(segment_of(*segment)?.2).ok_or(BAD_SEGMENTS)?;
                    used += 1;
                }
                Course::Mixed(begin..used)
            }
            _ => return Err("a spatial value with an unknown kind of figure"),
        };
    }
    if used == segments.len() { Ok(figures) } else { Err(BAD_SEGMENTS) }
}

/// Shapes; the first is the whole, every other one is part of one before it.
fn shapes_of(bytes: &[u8], curves: bool) -> Result<Vec<Shape>, Refused> {
    let mut shapes: Vec<Shape> = Vec::with_capacity(bytes.len() / SHAPE_BYTES);
    for shape in bytes.chunks_exact(SHAPE_BYTES) {
        let (parent, first_figure, kind) = (&shape[..4], &shape[4..8], shape[8]);
        let parent = link(parent)?;
        match kind {
            kind::POINT..=kind::COLLECTION => {}
            kind::CIRCULAR_STRING..=kind::CURVE_POLYGON if curves => {}
            kind::FULL_GLOBE => return Err("the geography FULLGLOBE, which has no counterpart"),
            _ => return Err("a spatial value with an unknown kind of shape"),
        }
        let fits = match parent {
            None => shapes.is_empty(),
            Some(parent) => {
                let parent = shapes.get(parent).ok_or(ILL_ORDERED)?;
                match parent.kind {
                    kind::MULTI_POINT => kind == kind::POINT,
                    kind::MULTI_LINE_STRING => kind == kind::LINE_STRING,
                    kind::MULTI_POLYGON => kind == kind::POLYGON,
                    kind::COLLECTION => true,
                    _ => false,
                }
            }
        };
        if !fits {
            return Err(BAD_SHAPE);
        }
        shapes.push(Shape { kind, parent, first_figure: link(first_figure)? });
    }
    if shapes.is_empty() { Err(TOO_FEW_SHAPES) } else { Ok(shapes) }
}

/// An index, or none for -1.
fn link(bytes: &[u8]) -> Result<Option<usize>, Refused> {
    if bytes == [0xff; 4] { Ok(None) } else { index(bytes).map(Some).ok_or(ILL_ORDERED) }
}

/// A number that is not negative.
fn index(bytes: &[u8]) -> Option<usize> {
    let number = i32::from_le_bytes(bytes.try_into().ok()?);
    usize::try_from(number).ok()
}

/// Bytes that are not read yet.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(*array)
    }

    fn count(&mut self) -> Result<usize, Refused> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| CUT_OFF)
    }

    /// `count` items of `size` bytes.
    fn items(&mut self, count: usize, size: usize) -> Result<&'a [u8], Refused> {
        let length = count.checked_mul(size).filter(|length| *length <= self.0.len());
        let (items, rest) = self.0.split_at(length.ok_or(CUT_OFF)?);
        self.0 = rest;
        Ok(items)
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
