//! Well-known text.

use super::{Figure, FigureKind, Kind, Segment, Shape, Spatial};

/// Reads well-known text; `geography` has longitude and latitude change places.
///
/// # Errors
/// What is wrong, as SQL Server's number and text.
pub fn parse(text: &str, srid: i32, geography: bool) -> Result<Spatial, String> {
    let mut parser = Parser {
        rest: text,
        geography,
        spatial: Spatial {
            srid,
            points: Vec::new(),
            z: Vec::new(),
            m: Vec::new(),
            figures: Vec::new(),
            shapes: Vec::new(),
            segments: Vec::new(),
        },
    };
    parser.shape(None)?;
    parser.skip();
    if !parser.rest.is_empty() {
        return Err(parser.unexpected());
    }
    let mut spatial = parser.spatial;
    for values in [&mut spatial.z, &mut spatial.m] {
        if values.iter().all(|value| value.is_nan()) {
            values.clear();
        }
    }
    Ok(spatial)
}

struct Parser<'a> {
    rest: &'a str,
    geography: bool,
    spatial: Spatial,
}

type Parsed<T> = Result<T, String>;

impl Parser<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn unexpected(&self) -> String {
        let shown: String = self.rest.chars().take(10).collect();
        format!("24141: A number is expected at \"{shown}\" of the input.")
    }

    fn accept(&mut self, symbol: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, symbol: char) -> Parsed<()> {
        match self.accept(symbol) {
            true => Ok(()),
            false => Err(format!("24142: Expected \"{symbol}\" in the input.")),
        }
    }

    fn word(&mut self) -> String {
        self.skip();
        let length = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        word.to_ascii_uppercase()
    }

    fn accept_word(&mut self, wanted: &str) -> bool {
        let before = self.rest;
        let found = self.word() == wanted;
        if !found {
            self.rest = before;
        }
        found
    }

    /// Items between parentheses.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        self.expect('(')?;
        loop {
            item(self)?;
            if !self.accept(',') {
                return self.expect(')');
            }
        }
    }

    /// A shape with its tag.
    fn shape(&mut self, parent: Option<usize>) -> Parsed<()> {
        let tag = self.word();
        let kind = Kind::ALL
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(&tag))
            .map(|(kind, _)| *kind)
            .filter(|kind| *kind != Kind::FullGlobe || (self.geography && parent.is_none()))
            .ok_or_else(|| {
                format!("24114: The label {tag} in the input well-known text (WKT) is not valid. Valid labels are POINT, LINESTRING, POLYGON, MULTIPOINT, MULTILINESTRING, MULTIPOLYGON, GEOMETRYCOLLECTION, CIRCULARSTRING, COMPOUNDCURVE, CURVEPOLYGON and FULLGLOBE (geography Data Type only).")
            })?;
        let number = self.begin(kind, parent);
        if kind == Kind::FullGlobe || self.accept_word("EMPTY") {
            return Ok(());
        }
        self.content(kind, number)
    }

    fn begin(&mut self, kind: Kind, parent: Option<usize>) -> usize {
        self.spatial.shapes.push(Shape { parent, figure: None, kind });
        self.spatial.shapes.len() - 1
    }

    /// A shape inside a multiple one, which has no tag.
    fn part(&mut self, kind: Kind, parent: usize) -> Parsed<()> {
        let number = self.begin(kind, Some(parent));
        if self.accept_word("EMPTY") {
            return Ok(());
        }
        self.content(kind, number)
    }

    fn content(&mut self, kind: Kind, number: usize) -> Parsed<()> {
        match kind {
            Kind::Point => {
                self.expect('(')?;
                self.figure(number, FigureKind::Point);
                self.coordinates()?;
                self.expect(')')
            }
            Kind::LineString => {
                self.figure(number, FigureKind::Line);
                self.run(2, "24117: The LineString input is not valid because it does not have enough distinct points. A LineString must have at least two distinct points.")
            }
            Kind::CircularString => {
                self.figure(number, FigureKind::Arc);
                self.arcs()
            }
            Kind::Polygon => {
                let mut first = true;
                self.list(|parser| {
                    let kind = if first { FigureKind::Exterior } else { FigureKind::Interior };
                    first = false;
                    parser.figure(number, kind);
                    parser.ring(|parser| parser.run(4, RING_POINTS))
                })
            }
            Kind::MultiPoint => self
                .list(|parser| {
                    parser.skip();
                    if parser.rest.starts_with('(') || parser.rest.starts_with(['E', 'e']) {
                        return parser.part(Kind::Point, number);
                    }
                    let point = parser.begin(Kind::Point, Some(number));
                    parser.figure(point, FigureKind::Point);
                    parser.coordinates()
                })
                .map(|()| self.adopt(number)),
            Kind::MultiLineString => self
                .list(|parser| parser.part(Kind::LineString, number))
                .map(|()| self.adopt(number)),
            Kind::MultiPolygon => {
                self.list(|parser| parser.part(Kind::Polygon, number)).map(|()| self.adopt(number))
            }
            Kind::Collection => {
                self.list(|parser| parser.shape(Some(number))).map(|()| self.adopt(number))
            }
            Kind::CompoundCurve => {
                self.figure(number, FigureKind::Composite);
                self.compound()
            }
            Kind::CurvePolygon => self.list(|parser| {
                parser.ring(|parser| {
                    if parser.accept_word("CIRCULARSTRING") {
                        parser.figure(number, FigureKind::Arc);
                        return parser.arcs();
                    }
                    if parser.accept_word("COMPOUNDCURVE") {
                        parser.figure(number, FigureKind::Composite);
                        return parser.compound();
                    }
                    parser.figure(number, FigureKind::Line);
                    parser.run(4, RING_POINTS)
                })
            }),
            Kind::FullGlobe => Ok(()),
        }
    }

    /// A collection begins with the first figure of what is in it.
    fn adopt(&mut self, number: usize) {
        let first = self.spatial.shapes[number + 1..].iter().find_map(|shape| shape.figure);
        self.spatial.shapes[number].figure = first;
    }

    fn figure(&mut self, shape: usize, kind: FigureKind) {
        let at = self.spatial.figures.len();
        self.spatial.shapes[shape].figure.get_or_insert(at);
        self.spatial.figures.push(Figure { kind, point: self.spatial.points.len() });
    }

    /// A run of at least some points.
    fn run(&mut self, least: usize, complaint: &str) -> Parsed<()> {
        let before = self.spatial.points.len();
        self.list(Self::coordinates)?;
        match self.spatial.points.len() - before >= least {
            true => Ok(()),
            false => Err(complaint.to_owned()),
        }
    }

    fn arcs(&mut self) -> Parsed<()> {
        let before = self.spatial.points.len();
        self.list(Self::coordinates)?;
        let count = self.spatial.points.len() - before;
        match count >= 3 && count % 2 == 1 {
            true => Ok(()),
            false => Err("24303: The CircularString input is not valid because it must have an odd number of points and at least three points.".to_owned()),
        }
    }

    /// A run that ends where it began.
    fn ring(&mut self, run: impl FnOnce(&mut Self) -> Parsed<()>) -> Parsed<()> {
        let before = self.spatial.points.len();
        run(self)?;
        match self.spatial.points.get(before) == self.spatial.points.last() {
            true => Ok(()),
            false => Err("24119: The Polygon input is not valid because the start and end points of the ring are not the same. Each ring of a polygon must have the same start and end points.".to_owned()),
        }
    }

    /// Lines and arcs, each of which begins where the last one ended.
    fn compound(&mut self) -> Parsed<()> {
        let mut first = true;
        self.list(|parser| {
            let arc = parser.accept_word("CIRCULARSTRING");
            let before = parser.spatial.points.len();
            match arc {
                true => parser.arcs()?,
                false => parser.run(2, "24117: The LineString input is not valid because it does not have enough distinct points. A LineString must have at least two distinct points.")?,
            }
            let points = parser.spatial.points.len() - before;
            if !std::mem::take(&mut first) {
                if parser.spatial.points[before] != parser.spatial.points[before - 1] {
                    return Err("24302: The CompoundCurve input is not valid because its parts are not connected.".to_owned());
                }
                parser.spatial.points.remove(before);
                parser.spatial.z.remove(before);
                parser.spatial.m.remove(before);
            }
            let (lead, more, count) = match arc {
                true => (Segment::FirstArc, Segment::Arc, (points - 1) / 2),
                false => (Segment::FirstLine, Segment::Line, points - 1),
            };
            parser.spatial.segments.push(lead);
            parser.spatial.segments.extend(std::iter::repeat_n(more, count - 1));
            Ok(())
        })
    }

    fn coordinates(&mut self) -> Parsed<()> {
        let (x, y) = (self.number()?, self.number()?);
        if self.geography && !(-90.0..=90.0).contains(&y) {
            return Err("24201: Latitude values must be between -90 and 90 degrees.".to_owned());
        }
        if self.geography && !(-15069.0..=15069.0).contains(&x) {
            return Err(
                "24202: Longitude values must be between -15069 and 15069 degrees.".to_owned()
            );
        }
        let z = self.optional()?;
        let m = self.optional()?;
        self.spatial.points.push(if self.geography { [y, x] } else { [x, y] });
        self.spatial.z.push(z);
        self.spatial.m.push(m);
        Ok(())
    }

    fn number(&mut self) -> Parsed<f64> {
        self.skip();
        let length = self
            .rest
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E')))
            .unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(length);
        let parsed: f64 = number.parse().map_err(|_| self.unexpected())?;
        if !parsed.is_finite() {
            return Err(self.unexpected());
        }
        self.rest = rest;
        Ok(parsed)
    }

    /// Z or M: NaN where there is none.
    fn optional(&mut self) -> Parsed<f64> {
        self.skip();
        if self.rest.starts_with([',', ')']) {
            return Ok(f64::NAN);
        }
        if self.accept_word("NULL") {
            return Ok(f64::NAN);
        }
        self.number()
    }
}

const RING_POINTS: &str = "24118: The Polygon input is not valid because the ring does not have enough points. Each ring of a polygon must contain at least four points.";

/// Writes well-known text, with Z and M where wanted.
pub fn format(spatial: &Spatial, geography: bool, extended: bool) -> Option<String> {
    let writer = Writer { spatial, geography, extended };
    let mut out = String::new();
    writer.shape(0, true, &mut out)?;
    Some(out)
}

struct Writer<'a> {
    spatial: &'a Spatial,
    geography: bool,
    extended: bool,
}

impl Writer<'_> {
    fn shape(&self, number: usize, tagged: bool, out: &mut String) -> Option<()> {
        let shape = self.spatial.shapes.get(number)?;
        if tagged {
            out.push_str(&shape.kind.name().to_ascii_uppercase());
            if shape.kind == Kind::FullGlobe {
                return Some(());
            }
            out.push(' ');
        }
        if shape.figure.is_none() {
            out.push_str("EMPTY");
            return Some(());
        }
        let figures = self.spatial.figures_of(number);
        match shape.kind {
            Kind::Point | Kind::LineString | Kind::CircularString => {
                self.run(self.spatial.points_of(figures.start), out);
            }
            Kind::CompoundCurve => self.compound(figures.start, out)?,
            Kind::Polygon | Kind::CurvePolygon => {
                out.push('(');
                for (at, figure) in figures.enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    match self.spatial.figures[figure].kind {
                        FigureKind::Composite => {
                            out.push_str("COMPOUNDCURVE ");
                            self.compound(figure, out)?;
                            continue;
                        }
                        FigureKind::Arc => out.push_str("CIRCULARSTRING "),
                        _ => {}
                    }
                    self.run(self.spatial.points_of(figure), out);
                }
                out.push(')');
            }
            _ => {
                out.push('(');
                for (at, child) in self.spatial.children(number).enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    self.shape(child, shape.kind == Kind::Collection, out)?;
                }
                out.push(')');
            }
        }
        Some(())
    }

    fn compound(&self, figure: usize, out: &mut String) -> Option<()> {
        out.push('(');
        for (at, (arc, run)) in self.spatial.runs_of(figure)?.into_iter().enumerate() {
            out.push_str(if at > 0 { ", " } else { "" });
            out.push_str(if arc { "CIRCULARSTRING " } else { "" });
            self.run(run, out);
        }
        out.push(')');
        Some(())
    }

    fn run(&self, points: std::ops::Range<usize>, out: &mut String) {
        out.push('(');
        for (at, point) in points.enumerate() {
            out.push_str(if at > 0 { ", " } else { "" });
            let [first, second] = self.spatial.points[point];
            let (x, y) = if self.geography { (second, first) } else { (first, second) };
            out.push_str(&format!("{} {}", number(x), number(y)));
            if !self.extended {
                continue;
            }
            let value = |values: &[f64]| values.get(point).copied().filter(|v| !v.is_nan());
            let (z, m) = (value(&self.spatial.z), value(&self.spatial.m));
            if z.is_some() || m.is_some() {
                out.push_str(&format!(" {}", z.map_or("NULL".to_owned(), number)));
            }
            if let Some(m) = m {
                out.push_str(&format!(" {}", number(m)));
            }
        }
        out.push(')');
    }
}

/// The shortest digits that say it all, in .NET's form: an exponent from the fifteenth place on.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-5..15).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}E{sign}{:02}", exponent.unsigned_abs())
}
