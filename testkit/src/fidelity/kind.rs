//! The types: how each is declared, what it becomes, and values of it.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::value::{Mapping, Shape, Value};

/// The four types of bounded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are SQL Server's own")]
pub enum TextType {
    Char,
    VarChar,
    NChar,
    NVarChar,
}

/// A type that a column is declared as.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are SQL Server's own")]
pub enum Kind {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Decimal {
        numeric: bool,
        precision: u8,
        scale: u8,
    },
    Money,
    SmallMoney,
    Real,
    Float,
    /// Length in SQL Server's units, none for MAX.
    Text {
        ty: TextType,
        length: Option<u16>,
        script: &'static Script,
    },
    OldText {
        national: bool,
    },
    Xml,
    Binary(u16),
    /// None for MAX.
    VarBinary(Option<u16>),
    Image,
    RowVersion,
    UniqueIdentifier,
    Date,
    Time(u8),
    SmallDateTime,
    DateTime,
    DateTime2(u8),
    DateTimeOffset(u8),
    HierarchyId,
    SqlVariant,
    Geometry,
    Geography,
    /// Another type under the name `dbo.<name>`.
    Alias {
        name: &'static str,
        of: Box<Kind>,
    },
    Json,
    Vector(u16),
}

/// What a text column may hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Its collation; none for the database's.
    pub collation: Option<&'static str>,
    /// Letters of its code page.
    pub letters: &'static str,
    /// The most bytes that one of them takes in that code page.
    pub bytes: u16,
}

const ASCII: &str = "aZ09 '\"\\%\t\r\n|";

/// Collations of every code page, and every kind of sensitivity.
pub const SCRIPTS: &[Script] = &[
    Script { collation: None, letters: "éßØ€\u{a0}Ÿ", bytes: 1 },
    Script { collation: Some("Latin1_General_BIN2"), letters: "éßØ€", bytes: 1 },
    Script { collation: Some("Latin1_General_CI_AI"), letters: "éßØ€", bytes: 1 },
    Script { collation: Some("Czech_CI_AS"), letters: "řžŁ€", bytes: 1 },
    Script { collation: Some("Cyrillic_General_CI_AS"), letters: "жЯё№", bytes: 1 },
    Script { collation: Some("Greek_CI_AS"), letters: "αΩή€", bytes: 1 },
    Script { collation: Some("Turkish_CI_AS"), letters: "ıİğş", bytes: 1 },
    Script { collation: Some("Hebrew_CI_AS"), letters: "אש₪", bytes: 1 },
    Script { collation: Some("Arabic_CI_AS"), letters: "شعپ", bytes: 1 },
    Script { collation: Some("Thai_CI_AS"), letters: "กฮ฿", bytes: 1 },
    Script { collation: Some("SQL_Latin1_General_CP437_CI_AS"), letters: "é│█π", bytes: 1 },
    Script { collation: Some("SQL_Latin1_General_CP850_CI_AS"), letters: "é│█Ø", bytes: 1 },
    Script { collation: Some("Japanese_CI_AS"), letters: "あ漢ｱ", bytes: 2 },
    Script { collation: Some("Chinese_PRC_CI_AS"), letters: "汉字，", bytes: 2 },
    Script { collation: Some("Korean_Wansung_CI_AS"), letters: "한글", bytes: 2 },
    Script { collation: Some("Chinese_Taiwan_Stroke_CI_AS"), letters: "漢字", bytes: 2 },
    Script { collation: Some("Latin1_General_100_CI_AS_SC_UTF8"), letters: UNICODE, bytes: 4 },
];

const UNICODE: &str = "éЖあ漢\u{200d}🚚𝄞\u{ffff}\u{1}";

/// What a national column may hold; the collation is one of any script.
const NATIONAL: Script = Script { collation: None, letters: UNICODE, bytes: 4 };

impl Kind {
    /// Every type once, with facets drawn from `rng`: text in every script, times of all precisions.
    pub fn all(rng: &mut StdRng) -> Vec<Kind> {
        let mut all = vec![
            Kind::Bit,
            Kind::TinyInt,
            Kind::SmallInt,
            Kind::Int,
            Kind::BigInt,
            decimal(false, 38, rng.random_range(0..=38)),
            decimal(true, 38, rng.random_range(0..=38)),
            decimal(rng.random(), rng.random_range(1..=38), 0),
            Kind::Money,
            Kind::SmallMoney,
            Kind::Real,
            Kind::Float,
            Kind::OldText { national: false },
            Kind::OldText { national: true },
            Kind::Xml,
            Kind::Binary(rng.random_range(1..=8000)),
            Kind::VarBinary(Some(rng.random_range(1..=8000))),
            Kind::VarBinary(None),
            Kind::Image,
            Kind::RowVersion,
            Kind::UniqueIdentifier,
            Kind::Date,
            Kind::SmallDateTime,
            Kind::DateTime,
            Kind::HierarchyId,
            Kind::SqlVariant,
            Kind::Geometry,
            Kind::Geography,
            Kind::Alias { name: "phone", of: Box::new(text(TextType::VarChar, Some(20), 0)) },
            Kind::Alias { name: "amount", of: Box::new(decimal(false, 19, 5)) },
        ];
        for digits in [0, rng.random_range(1..=6), 7] {
            all.extend([Kind::Time(digits), Kind::DateTime2(digits), Kind::DateTimeOffset(digits)]);
        }
        for script in 0..SCRIPTS.len() {
            let length = rng.random_range(1..=200);
            all.push(text(TextType::Char, Some(length), script));
            all.push(text(TextType::VarChar, Some(rng.random_range(1..=8000)), script));
            all.push(text(TextType::VarChar, None, script));
            all.push(text(TextType::NVarChar, Some(rng.random_range(1..=4000)), script));
        }
        all.push(text(TextType::NChar, Some(rng.random_range(1..=200)), 0));
        all.push(text(TextType::NVarChar, None, 0));
        all
    }

    /// The types of SQL Server 2025.
    pub fn recent() -> Vec<Kind> {
        vec![Kind::Json, Kind::Vector(3), Kind::Vector(1)]
    }

    /// As it stands in `CREATE TABLE`.
    pub fn declared(&self) -> String {
        let length = |n: &Option<u16>| n.map_or("max".to_owned(), |n| n.to_string());
        match self {
            Kind::Decimal { numeric, precision, scale } => {
                let name = if *numeric { "numeric" } else { "decimal" };
                format!("{name}({precision},{scale})")
            }
            Kind::Text { ty, length: n, script } => {
                let name = format!("{ty:?}").to_lowercase();
                let collate = script.collation.map(|c| format!(" COLLATE {c}")).unwrap_or_default();
                format!("{name}({}){collate}", length(n))
            }
            Kind::OldText { national } => if *national { "ntext" } else { "text" }.to_owned(),
            Kind::Binary(n) => format!("binary({n})"),
            Kind::VarBinary(n) => format!("varbinary({})", length(n)),
            Kind::Time(n) => format!("time({n})"),
            Kind::DateTime2(n) => format!("datetime2({n})"),
            Kind::DateTimeOffset(n) => format!("datetimeoffset({n})"),
            Kind::SqlVariant => "sql_variant".to_owned(),
            Kind::Alias { name, .. } => format!("dbo.{name}"),
            Kind::Vector(n) => format!("vector({n})"),
            // The others are one word, and Rust's name for them is T-SQL's.
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// A statement that has to run before a column is declared so.
    pub fn before(&self) -> Option<String> {
        match self {
            Kind::Alias { name, of } => {
                Some(format!("CREATE TYPE dbo.{name} FROM {}", of.declared()))
            }
            _ => None,
        }
    }

    /// The first column of its row in `docs/types.md`'s table.
    pub fn documented(&self) -> &'static str {
        match self {
            Kind::Bit => "bit",
            Kind::TinyInt | Kind::SmallInt => "tinyint, smallint",
            Kind::Int => "int",
            Kind::BigInt => "bigint",
            Kind::Decimal { .. } => "decimal(p,s), numeric(p,s)",
            Kind::Money => "money",
            Kind::SmallMoney => "smallmoney",
            Kind::Real => "real",
            Kind::Float => "float",
            Kind::Text { ty: TextType::Char | TextType::NChar, .. } => "char(n), nchar(n)",
            Kind::Text { length: Some(_), .. } => "varchar(n), nvarchar(n)",
            Kind::Text { length: None, .. } => "varchar(max), nvarchar(max)",
            Kind::OldText { .. } => "text, ntext",
            Kind::Xml => "xml",
            Kind::Binary(_) | Kind::VarBinary(Some(_)) => "binary(n), varbinary(n)",
            Kind::VarBinary(None) => "varbinary(max)",
            Kind::Image => "image",
            Kind::RowVersion => "rowversion, timestamp",
            Kind::UniqueIdentifier => "uniqueidentifier",
            Kind::Date => "date",
            Kind::Time(_) => "time(d)",
            Kind::SmallDateTime => "smalldatetime",
            Kind::DateTime => "datetime",
            Kind::DateTime2(_) => "datetime2(d)",
            Kind::DateTimeOffset(_) => "datetimeoffset(d)",
            Kind::HierarchyId => "hierarchyid",
            Kind::SqlVariant => "sql_variant",
            Kind::Geometry | Kind::Geography => "geometry, geography",
            Kind::Alias { .. } => "an alias type",
            Kind::Json => "json",
            Kind::Vector(_) => "vector(n)",
        }
    }

    /// What `format_type` says of its column in the target.
    pub fn arrives_as(&self, mapping: Mapping) -> String {
        let mapped = mapping == Mapping::Configured;
        let digits = |n: u8| n.min(6);
        match self {
            Kind::Bit => "boolean".to_owned(),
            Kind::TinyInt | Kind::SmallInt => "smallint".to_owned(),
            Kind::Int => "integer".to_owned(),
            Kind::BigInt => "bigint".to_owned(),
            Kind::Decimal { precision, scale, .. } => format!("numeric({precision},{scale})"),
            Kind::Money => "numeric(19,4)".to_owned(),
            Kind::SmallMoney => "numeric(10,4)".to_owned(),
            Kind::Real => "real".to_owned(),
            Kind::Float => "double precision".to_owned(),
            Kind::Text { length: None, .. } | Kind::OldText { .. } => "text".to_owned(),
            Kind::Text { ty: TextType::Char | TextType::NChar, length: Some(n), .. } => {
                format!("character({n})")
            }
            Kind::Text { length: Some(n), .. } => format!("character varying({n})"),
            Kind::Xml => "xml".to_owned(),
            Kind::RowVersion if mapped => "bigint".to_owned(),
            Kind::Binary(_) | Kind::VarBinary(_) | Kind::Image | Kind::RowVersion => {
                "bytea".to_owned()
            }
            Kind::UniqueIdentifier => "uuid".to_owned(),
            Kind::Date => "date".to_owned(),
            Kind::Time(7) | Kind::DateTime2(7) | Kind::DateTimeOffset(7) if mapped => {
                "text".to_owned()
            }
            Kind::Time(n) => format!("time({}) without time zone", digits(*n)),
            Kind::SmallDateTime => "timestamp(0) without time zone".to_owned(),
            Kind::DateTime => "timestamp(3) without time zone".to_owned(),
            Kind::DateTime2(n) => format!("timestamp({}) without time zone", digits(*n)),
            Kind::DateTimeOffset(n) => format!("timestamp({}) with time zone", digits(*n)),
            Kind::HierarchyId => "text".to_owned(),
            Kind::SqlVariant => if mapped { "text" } else { "jsonb" }.to_owned(),
            Kind::Geometry | Kind::Geography => "bytea".to_owned(),
            Kind::Alias { of, .. } => of.arrives_as(mapping),
            Kind::Json => if mapped { "jsonb" } else { "json" }.to_owned(),
            Kind::Vector(_) => if mapped { "text" } else { "real[]" }.to_owned(),
        }
    }

    /// A value: an ordinary one, and now and then one from an edge of the range. A `rowversion` has
    /// none that could be given.
    pub fn draw(&self, rng: &mut StdRng) -> Value {
        match self {
            Kind::Bit => Value::Bool(rng.random()),
            Kind::TinyInt => integer(0, 255, rng),
            Kind::SmallInt => integer(i16::MIN.into(), i16::MAX.into(), rng),
            Kind::Int => integer(i32::MIN.into(), i32::MAX.into(), rng),
            Kind::BigInt => integer(i64::MIN, i64::MAX, rng),
            Kind::Decimal { precision, scale, .. } => digits(*precision, *scale, rng),
            Kind::Money => edge(rng, &["-922337203685477.5808", "922337203685477.5807", "0.0000"])
                .unwrap_or_else(|| digits(17, 4, rng)),
            Kind::SmallMoney => edge(rng, &["-214748.3648", "214748.3647", "0.0000"])
                .unwrap_or_else(|| digits(9, 4, rng)),
            Kind::Real => Value::F32(real(rng)),
            Kind::Float => Value::F64(float(rng)),
            Kind::Text { ty, length, script } => draw_text(*ty, *length, script, rng),
            Kind::OldText { national: true } => Value::Text(letters(&NATIONAL, 5000, rng)),
            Kind::OldText { national: false } => Value::Text(letters(&SCRIPTS[0], 9000, rng)),
            Kind::Xml => Value::Xml(xml(rng)),
            Kind::Binary(n) => {
                let mut all = bytes((*n).into(), rng);
                all.resize((*n).into(), 0);
                Value::Bytes(all)
            }
            Kind::VarBinary(n) => Value::Bytes(bytes(n.unwrap_or(20_000).into(), rng)),
            Kind::Image => Value::Bytes(bytes(20_000, rng)),
            Kind::RowVersion => Value::Bytes(Vec::new()),
            Kind::UniqueIdentifier => Value::Uuid(crate::workload::literal::uuid(rng).to_string()),
            Kind::Date => Value::Date(date(1, 9999, rng)),
            Kind::Time(n) => Value::Time(time(*n, rng)),
            Kind::SmallDateTime => Value::Timestamp {
                date: date(1900, 2078, rng),
                time: format!("{}:00", &time(0, rng)[..5]),
            },
            Kind::DateTime => Value::Timestamp { date: date(1753, 9999, rng), time: third(rng) },
            Kind::DateTime2(n) => {
                Value::Timestamp { date: date(1, 9999, rng), time: time(*n, rng) }
            }
            Kind::DateTimeOffset(n) => Value::Instant {
                date: date(2, 9998, rng),
                time: time(*n, rng),
                minutes: rng.random_range(-14 * 60..=14 * 60),
            },
            Kind::HierarchyId => Value::Path(path(rng)),
            Kind::SqlVariant => {
                let inner = variant(rng);
                let value = inner.draw(rng);
                Value::Variant(Box::new((inner, value)))
            }
            Kind::Geometry => Value::Shape(Shape::draw(false, rng)),
            Kind::Geography => Value::Shape(Shape::draw(true, rng)),
            Kind::Alias { of, .. } => of.draw(rng),
            Kind::Json => Value::Json(json(rng)),
            Kind::Vector(n) => Value::Vector((0..*n).map(|_| real(rng)).collect()),
        }
    }
}

fn decimal(numeric: bool, precision: u8, scale: u8) -> Kind {
    Kind::Decimal { numeric, precision, scale }
}

fn text(ty: TextType, length: Option<u16>, script: usize) -> Kind {
    Kind::Text { ty, length, script: &SCRIPTS[script] }
}

/// A type that a `sql_variant` may hold.
fn variant(rng: &mut StdRng) -> Kind {
    let length = Some(rng.random_range(1..=200));
    match rng.random_range(0..22) {
        0 => Kind::Bit,
        1 => Kind::TinyInt,
        2 => Kind::SmallInt,
        3 => Kind::Int,
        4 => Kind::BigInt,
        5 => decimal(false, 38, rng.random_range(0..=38)),
        6 => decimal(true, 10, 2),
        7 => Kind::Money,
        8 => Kind::SmallMoney,
        9 => Kind::Real,
        10 => Kind::Float,
        11 => text(TextType::Char, length, 0),
        12 => text(TextType::VarChar, length, 0),
        13 => text(TextType::NChar, length, 0),
        14 => text(TextType::NVarChar, length, 0),
        15 => Kind::VarBinary(length),
        16 => Kind::UniqueIdentifier,
        17 => Kind::Date,
        18 => Kind::Time(rng.random_range(0..=7)),
        19 => Kind::DateTime,
        20 => Kind::DateTime2(rng.random_range(0..=7)),
        _ => Kind::DateTimeOffset(rng.random_range(0..=7)),
    }
}

fn edge(rng: &mut StdRng, edges: &[&str]) -> Option<Value> {
    let edge = edges.choose(rng).copied();
    edge.filter(|_| rng.random_ratio(1, 6)).map(|digits| Value::Decimal(digits.to_owned()))
}

fn integer(least: i64, most: i64, rng: &mut StdRng) -> Value {
    Value::Integer(match rng.random_range(0..6) {
        0 => least,
        1 => most,
        2 => 0.max(least),
        _ => rng.random_range(least..=most),
    })
}

/// `precision` digits, or fewer, or the largest there are.
fn digits(precision: u8, scale: u8, rng: &mut StdRng) -> Value {
    let nines = rng.random_ratio(1, 6);
    let (whole, scale) = (usize::from(precision - scale), usize::from(scale));
    let mut draw = |count: usize| -> String {
        (0..count)
            .map(|_| if nines { '9' } else { char::from(rng.random_range(b'0'..=b'9')) })
            .collect()
    };
    let (whole, fraction) = (draw(whole), draw(scale));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let zero = whole == "0" && fraction.bytes().all(|b| b == b'0');
    let sign = if !zero && rng.random() { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    Value::Decimal(format!("{sign}{whole}{point}{fraction}"))
}

fn float(rng: &mut StdRng) -> f64 {
    let edges = [0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 0.1, 1e22, 1e23];
    match edges.choose(rng) {
        Some(edge) if rng.random_ratio(1, 3) => *edge,
        _ => Some(f64::from_bits(rng.random())).filter(|f| f.is_finite()).unwrap_or(1.5),
    }
}

fn real(rng: &mut StdRng) -> f32 {
    let edges = [0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, 0.1, 16_777_216.0];
    match edges.choose(rng) {
        Some(edge) if rng.random_ratio(1, 3) => *edge,
        _ => Some(f32::from_bits(rng.random())).filter(|f| f.is_finite()).unwrap_or(1.5),
    }
}

fn draw_text(
    ty: TextType,
    length: Option<u16>,
    script: &'static Script,
    rng: &mut StdRng,
) -> Value {
    let national = matches!(ty, TextType::NChar | TextType::NVarChar);
    let script = if national { &NATIONAL } else { script };
    let most = match length {
        // UTF-16 takes two units for what it takes four bytes.
        Some(n) if national => n / 2,
        Some(n) => n / script.bytes,
        None => 9000,
    };
    let text = letters(script, most.into(), rng);
    match ty {
        TextType::Char | TextType::NChar => Value::Padded(text),
        _ => Value::Text(text),
    }
}

/// At most `most` letters of the script, in ASCII or not, with blanks at their end or not.
fn letters(script: &Script, most: usize, rng: &mut StdRng) -> String {
    let alphabet: Vec<char> = ASCII.chars().chain(script.letters.chars()).collect();
    let count = match rng.random_range(0..8) {
        0 => most,
        1 => 0,
        _ => rng.random_range(0..=most.min(60)),
    };
    (0..count).filter_map(|_| alphabet.choose(rng)).collect()
}

fn bytes(most: usize, rng: &mut StdRng) -> Vec<u8> {
    let count = match rng.random_range(0..8) {
        0 => most,
        1 => 0,
        _ => rng.random_range(0..=most.min(60)),
    };
    let mut all = vec![0; count];
    rng.fill(all.as_mut_slice());
    all
}

/// A document as the server stores it: no insignificant blanks, no empty element written in two.
fn xml(rng: &mut StdRng) -> String {
    let letters = ["a", "é", "🚚", "&amp;", "&lt;", " b"];
    let text: String =
        (0..rng.random_range(1..30)).filter_map(|_| letters.choose(rng).copied()).collect();
    format!("<r n=\"{}\"><e/>x{text}</r>", rng.random::<u16>())
}

fn date(first_year: u32, last_year: u32, rng: &mut StdRng) -> String {
    match rng.random_range(0..6) {
        0 => format!("{first_year:04}-01-01"),
        1 => format!("{last_year:04}-12-31"),
        2 => "2000-02-29".to_owned(),
        _ => format!(
            "{:04}-{:02}-{:02}",
            rng.random_range(first_year..=last_year),
            rng.random_range(1..=12),
            rng.random_range(1..=28)
        ),
    }
}

fn time(digits: u8, rng: &mut StdRng) -> String {
    let last = rng.random_ratio(1, 6);
    let clock = if last {
        "23:59:59".to_owned()
    } else {
        let (h, m, s) = (rng.random_range(0..24), rng.random_range(0..60), rng.random_range(0..60));
        format!("{h:02}:{m:02}:{s:02}")
    };
    let fraction: String = (0..digits)
        .map(|_| if last { '9' } else { char::from(rng.random_range(b'0'..=b'9')) })
        .collect();
    if digits == 0 { clock } else { format!("{clock}.{fraction}") }
}

/// A time of day in 1/300 s, as the server shows it.
fn third(rng: &mut StdRng) -> String {
    let clock = &time(0, rng)[..8].to_owned();
    let tick = rng.random_range(0..300u32);
    format!("{clock}.{:03}", (tick * 10 + 1) / 3)
}

fn path(rng: &mut StdRng) -> String {
    let depth = rng.random_range(0..6);
    let mut path = "/".to_owned();
    for _ in 0..depth {
        let mut label = rng.random_range(-5000..5000_i32).to_string();
        if rng.random_ratio(1, 4) {
            label = format!("{label}.{}", rng.random_range(1..100));
        }
        path = format!("{path}{label}/");
    }
    path
}

fn json(rng: &mut StdRng) -> String {
    let number: i64 = rng.random();
    format!("{{\"z\":{number},\"a\":[1.50,\"é🚚\",null,true],\"n\":{{}}}}")
}
