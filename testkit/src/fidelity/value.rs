//! Values, the literals that write them, and what PostgreSQL shows for them.

use rand::Rng;
use rand::rngs::StdRng;

use super::kind::Kind;
use crate::workload::literal;

/// Which types the target's configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// None: what a column gets by itself.
    Default,
    /// Those of [`configuration`].
    Configured,
}

/// The `types` of an apply's section under [`Mapping::Configured`].
pub fn configuration() -> Vec<(&'static str, &'static str)> {
    vec![
        ("time(7)", "text"),
        ("datetime2(7)", "text"),
        ("datetimeoffset(7)", "text"),
        ("rowversion", "bigint"),
        ("sql_variant", "text"),
        ("json", "jsonb"),
        ("vector", "text"),
    ]
}

/// A value that is not NULL.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// bit
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// Sign, digits and point, all digits of its scale.
    Decimal(String),
    /// real
    F32(f32),
    /// float
    F64(f64),
    /// Text.
    Text(String),
    /// Text that its column pads with blanks.
    Padded(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// In lower case.
    Uuid(String),
    /// yyyy-mm-dd
    Date(String),
    /// hh:mm:ss with its fraction.
    Time(String),
    /// A day and a time of day.
    Timestamp {
        /// yyyy-mm-dd
        date: String,
        /// hh:mm:ss with its fraction.
        time: String,
    },
    /// An instant.
    Instant {
        /// The day in UTC.
        date: String,
        /// The time of day in UTC.
        time: String,
        /// Where it was written, in minutes east of UTC.
        minutes: i32,
    },
    /// An XML document.
    Xml(String),
    /// A hierarchyid.
    Path(String),
    /// A value in a sql_variant.
    Variant(Box<(Kind, Value)>),
    /// A geometry or geography.
    Shape(Shape),
    /// A JSON text.
    Json(String),
    /// A vector.
    Vector(Vec<f32>),
}

impl Value {
    /// The T-SQL expression that makes it, for a column of `kind`.
    pub fn literal(&self, kind: &Kind) -> String {
        match self {
            Value::Bool(v) => u8::from(*v).to_string(),
            Value::Integer(v) => v.to_string(),
            Value::Decimal(v) => v.clone(),
            // Every single is a double, and its shortest digits are read as that one.
            Value::F32(v) => format!("CAST({:e} AS real)", f64::from(*v)),
            Value::F64(v) => format!("{v:e}"),
            Value::Text(v) | Value::Padded(v) | Value::Xml(v) | Value::Json(v) => literal::text(v),
            Value::Bytes(v) => literal::bytes(v),
            Value::Uuid(v) | Value::Date(v) | Value::Time(v) => format!("'{v}'"),
            Value::Timestamp { date, time } => format!("'{date}T{time}'"),
            Value::Instant { date, time, minutes } => {
                let declared = kind.declared();
                format!("SWITCHOFFSET(CAST('{date}T{time}+00:00' AS {declared}), {minutes})")
            }
            Value::Path(v) => format!("CAST('{v}' AS hierarchyid)"),
            Value::Variant(inner) => {
                let (kind, value) = inner.as_ref();
                format!("CAST({} AS {})", value.literal(kind), kind.declared())
            }
            Value::Shape(v) => v.literal(),
            Value::Vector(v) => format!("'{}'", vector(v)),
        }
    }

    /// Whether PostgreSQL's text of the column means this value.
    pub fn is_shown(&self, kind: &Kind, mapping: Mapping, text: &str) -> bool {
        match self {
            Value::F32(v) => text.parse::<f32>().is_ok_and(|t| t.to_bits() == v.to_bits()),
            Value::F64(v) => text.parse::<f64>().is_ok_and(|t| t.to_bits() == v.to_bits()),
            Value::Variant(inner) => {
                let (kind, value) = inner.as_ref();
                if mapping == Mapping::Configured {
                    return value.is_shown_in_variant(kind, text);
                }
                text.split_once(' ').is_some_and(|(ty, text)| {
                    ty == kind.declared() && value.is_shown_in_variant(kind, text)
                })
            }
            Value::Vector(v) => {
                let inner = text.trim_matches(['{', '}', '[', ']']);
                let parts: Vec<&str> = inner.split(',').collect();
                parts.len() == v.len() && v.iter().zip(parts).all(|(v, text)| is_near(*v, text))
            }
            Value::Json(v) if mapping == Mapping::Configured => {
                let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
                read(v).is_some() && read(v) == read(text)
            }
            _ => self.shown(kind, mapping).is_some_and(|shown| shown == text),
        }
    }

    /// PostgreSQL's text, for values that have only one.
    fn shown(&self, kind: &Kind, mapping: Mapping) -> Option<String> {
        let seven = matches!(kind, Kind::Time(7) | Kind::DateTime2(7) | Kind::DateTimeOffset(7));
        let exact = seven && mapping == Mapping::Configured;
        Some(match self {
            Value::Bool(v) => if *v { "true" } else { "false" }.to_owned(),
            Value::Integer(v) => v.to_string(),
            Value::Decimal(v) | Value::Uuid(v) | Value::Date(v) | Value::Path(v) => v.clone(),
            Value::Text(v) | Value::Xml(v) | Value::Json(v) => v.clone(),
            Value::Padded(v) => v.trim_end_matches(' ').to_owned(),
            Value::Bytes(v) if *kind == Kind::RowVersion && mapping == Mapping::Configured => {
                i64::from_be_bytes(v.as_slice().try_into().ok()?).to_string()
            }
            Value::Bytes(v) => hex("\\x", v),
            Value::Time(v) if exact => v.clone(),
            Value::Time(v) => microseconds(v),
            Value::Timestamp { date, time } if exact => format!("{date} {time}"),
            Value::Timestamp { date, time } => format!("{date} {}", microseconds(time)),
            Value::Instant { date, time, minutes } if exact => local(date, time, *minutes)?,
            Value::Instant { date, time, .. } => format!("{date} {}+00", microseconds(time)),
            Value::Shape(v) => hex("\\x", &v.ewkb()),
            Value::F32(_) | Value::F64(_) | Value::Variant(_) | Value::Vector(_) => return None,
        })
    }

    /// Within a sql_variant a value is text with all its digits.
    fn is_shown_in_variant(&self, kind: &Kind, text: &str) -> bool {
        match self {
            Value::Bytes(v) => text.eq_ignore_ascii_case(&hex("0x", v)),
            // A sql_variant keeps the blanks of a char(n).
            Value::Padded(v) => text.trim_end_matches(' ') == v.trim_end_matches(' '),
            Value::Time(v) => text == v,
            Value::Timestamp { date, time } => {
                text.replacen('T', " ", 1) == format!("{date} {time}")
            }
            Value::Instant { date, time, minutes } => {
                local(date, time, *minutes).is_some_and(|local| text.replacen('T', " ", 1) == local)
            }
            _ => self.is_shown(kind, Mapping::Default, text),
        }
    }
}

/// A vector's numbers are text of eight digits between the server and its client, and a `real` in the
/// target: half a unit of the eighth digit, and half of a `real`'s last.
fn is_near(value: f32, text: &str) -> bool {
    let value = f64::from(value);
    text.trim().parse::<f64>().is_ok_and(|text| {
        let most = value.abs() * (5e-8 + f64::from(f32::EPSILON) / 2.0) + f64::from(1e-45_f32);
        (text - value).abs() <= most && text.is_sign_negative() == value.is_sign_negative()
    })
}

fn hex(prefix: &str, bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{prefix}{digits}")
}

/// An instant where it was written, `2024-02-29 10:00:00.1234567+05:30`.
fn local(date: &str, time: &str, minutes: i32) -> Option<String> {
    let number = |text: &str| text.parse::<i32>().ok();
    let (clock, fraction) = time.split_at(8);
    let of_day = number(&clock[..2])? * 60 + number(&clock[3..5])? + minutes;
    let date = neighbour(date, of_day.div_euclid(24 * 60))?;
    let of_day = of_day.rem_euclid(24 * 60);
    let (sign, offset) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
    Some(format!(
        "{date} {:02}:{:02}{}{fraction}{sign}{:02}:{:02}",
        of_day / 60,
        of_day % 60,
        &clock[5..],
        offset / 60,
        offset % 60
    ))
}

/// The day before, the day itself or the day after.
fn neighbour(date: &str, days: i32) -> Option<String> {
    let mut parts = date.split('-').map(|part| part.parse::<i32>().ok());
    let (mut year, mut month, mut day) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = |y: i32| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let length = |y: i32, m: i32| match m {
        2 => 28 + i32::from(leap(y)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    day += days;
    if day < 1 {
        (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
        day = length(year, month);
    } else if day > length(year, month) {
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        day = 1;
    }
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

/// What is below a microsecond is cut off, and PostgreSQL shows no zeros at the end.
fn microseconds(time: &str) -> String {
    match time.split_once('.') {
        None => time.to_owned(),
        Some((clock, fraction)) => {
            let fraction = &fraction[..fraction.len().min(6)];
            match fraction.trim_end_matches('0') {
                "" => clock.to_owned(),
                fraction => format!("{clock}.{fraction}"),
            }
        }
    }
}

fn vector(values: &[f32]) -> String {
    let parts: Vec<String> = values.iter().map(|v| format!("{v:e}")).collect();
    format!("[{}]", parts.join(","))
}

/// A point, or a line through several, of two dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    geography: bool,
    srid: u32,
    points: Vec<(f64, f64)>,
}

impl Shape {
    pub(super) fn draw(geography: bool, rng: &mut StdRng) -> Shape {
        let count = rng.random_range(1..5);
        let (x, y) = if geography { (179.0, 89.0) } else { (1e6, 1e6) };
        let srid = if geography || rng.random() { 4326 } else { 0 };
        let points = (0..count).map(|_| (rng.random_range(-x..x), rng.random_range(-y..y)));
        Shape { geography, srid, points: points.collect() }
    }

    fn literal(&self) -> String {
        let points: Vec<String> = self.points.iter().map(|(x, y)| format!("{x} {y}")).collect();
        let name = if points.len() == 1 { "POINT" } else { "LINESTRING" };
        let ty = if self.geography { "geography" } else { "geometry" };
        format!("{ty}::STGeomFromText('{name} ({})', {})", points.join(", "), self.srid)
    }

    /// PostGIS's form of well-known binary, which says the reference system unless it is 0.
    fn ewkb(&self) -> Vec<u8> {
        let kind = if self.points.len() == 1 { 1 } else { 2_u32 };
        let flag = if self.srid == 0 { 0 } else { 0x2000_0000 };
        let mut all = vec![1];
        all.extend((kind | flag).to_le_bytes());
        if self.srid != 0 {
            all.extend(self.srid.to_le_bytes());
        }
        if kind == 2 {
            all.extend(u32::try_from(self.points.len()).unwrap_or(0).to_le_bytes());
        }
        for (x, y) in &self.points {
            all.extend(x.to_le_bytes());
            all.extend(y.to_le_bytes());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_by_the_rules_and_no_others() {
        let at = |time: &str| Value::Timestamp { date: "9999-12-31".into(), time: time.into() };
        let kind = Kind::DateTime2(7);
        let last = at("23:59:59.9999999");
        assert!(last.is_shown(&kind, Mapping::Default, "9999-12-31 23:59:59.999999"));
        assert!(!last.is_shown(&kind, Mapping::Default, "9999-12-31 23:59:59.9999999"));
        assert!(at("10:00:00.1200000").is_shown(&kind, Mapping::Default, "9999-12-31 10:00:00.12"));
        let west = |date, time| local(date, time, -300);
        assert_eq!(
            west("2024-03-01", "04:20:30.1234567").as_deref(),
            Some("2024-02-29 23:20:30.1234567-05:00")
        );
        assert_eq!(
            local("9998-12-31", "23:59:59", 14 * 60).as_deref(),
            Some("9999-01-01 13:59:59+14:00")
        );
        assert!(Value::F64(-0.0).is_shown(&Kind::Float, Mapping::Default, "-0"));
        assert!(!Value::F64(-0.0).is_shown(&Kind::Float, Mapping::Default, "0"));
        let point = Shape { geography: false, srid: 4326, points: vec![(1.0, 2.0)] };
        assert_eq!(
            hex("", &point.ewkb()),
            "0101000020e6100000000000000000f03f0000000000000040",
            "as PostGIS shows SRID=4326;POINT(1 2)"
        );
    }
}
