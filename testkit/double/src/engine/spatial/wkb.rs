//! Well-known binary, little-endian, as ISO 13249 numbers its types.

use super::{FigureKind, Kind, Spatial};

/// The bytes of a value, with Z and M where wanted; none for the whole globe.
pub fn to_wkb(spatial: &Spatial, geography: bool, extended: bool) -> Option<Vec<u8>> {
    let writer = Writer {
        spatial,
        geography,
        z: extended && !spatial.z.is_empty(),
        m: extended && !spatial.m.is_empty(),
    };
    let mut out = Vec::new();
    writer.shape(0, &mut out)?;
    Some(out)
}

struct Writer<'a> {
    spatial: &'a Spatial,
    geography: bool,
    z: bool,
    m: bool,
}

impl Writer<'_> {
    fn head(&self, kind: Kind, out: &mut Vec<u8>) {
        let code = kind as u32 + if self.z { 1000 } else { 0 } + if self.m { 2000 } else { 0 };
        out.push(1);
        out.extend(code.to_le_bytes());
    }

    fn count(&self, count: usize, out: &mut Vec<u8>) {
        out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn shape(&self, number: usize, out: &mut Vec<u8>) -> Option<()> {
        let shape = self.spatial.shapes.get(number)?;
        if shape.kind == Kind::FullGlobe {
            return None;
        }
        self.head(shape.kind, out);
        let figures = self.spatial.figures_of(number);
        match shape.kind {
            Kind::Point if figures.is_empty() => {
                let numbers = 2 + usize::from(self.z) + usize::from(self.m);
                (0..numbers).for_each(|_| out.extend(f64::NAN.to_le_bytes()));
            }
            Kind::Point => self.points(self.spatial.points_of(figures.start), out),
            Kind::LineString | Kind::CircularString => match figures.is_empty() {
                true => self.count(0, out),
                false => self.run(self.spatial.points_of(figures.start), out),
            },
            Kind::CompoundCurve => match figures.is_empty() {
                true => self.count(0, out),
                false => self.compound(figures.start, out)?,
            },
            Kind::Polygon => {
                self.count(figures.len(), out);
                figures.for_each(|figure| self.run(self.spatial.points_of(figure), out));
            }
            Kind::CurvePolygon => {
                self.count(figures.len(), out);
                for figure in figures {
                    let points = self.spatial.points_of(figure);
                    match self.spatial.figures[figure].kind {
                        FigureKind::Composite => {
                            self.head(Kind::CompoundCurve, out);
                            self.compound(figure, out)?;
                        }
                        FigureKind::Arc => {
                            self.head(Kind::CircularString, out);
                            self.run(points, out);
                        }
                        _ => {
                            self.head(Kind::LineString, out);
                            self.run(points, out);
                        }
                    }
                }
            }
            _ => {
                let children: Vec<usize> = self.spatial.children(number).collect();
                self.count(children.len(), out);
                for child in children {
                    self.shape(child, out)?;
                }
            }
        }
        Some(())
    }

    fn compound(&self, figure: usize, out: &mut Vec<u8>) -> Option<()> {
        let runs = self.spatial.runs_of(figure)?;
        self.count(runs.len(), out);
        for (arc, run) in runs {
            self.head(if arc { Kind::CircularString } else { Kind::LineString }, out);
            self.run(run, out);
        }
        Some(())
    }

    fn run(&self, points: std::ops::Range<usize>, out: &mut Vec<u8>) {
        self.count(points.len(), out);
        self.points(points, out);
    }

    fn points(&self, points: std::ops::Range<usize>, out: &mut Vec<u8>) {
        for point in points {
            let [first, second] = self.spatial.points[point];
            let pair = if self.geography { [second, first] } else { [first, second] };
            pair.iter().for_each(|number| out.extend(number.to_le_bytes()));
            for (wanted, values) in [(self.z, &self.spatial.z), (self.m, &self.spatial.m)] {
                if wanted {
                    out.extend(values[point].to_le_bytes());
                }
            }
        }
    }
}
