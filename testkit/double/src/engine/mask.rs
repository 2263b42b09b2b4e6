//! Dynamic data masking: what a reader without UNMASK gets in the place of a column's values.
//!
//! A column of a result is masked by the column's own function; any expression over a masked column
//! "will always be masked with the default function" (Microsoft, Dynamic data masking, remarks).
//! Masks work on results alone: predicates, joins, sorting and grouping see what is stored. NULL
//! stays NULL. [`Mask`] is what a function does; `bind/masking.rs` says which columns have one.

use super::calendar::{DAYS_TO_1900, MINUTE, Moment, civil_of, days_in_month, days_of};
use super::convert;
use super::expr::internal;
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

/// A part of a date or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `Y`
    Year,
    /// `M`
    Month,
    /// `D`
    Day,
    /// `h`
    Hour,
    /// `m`
    Minute,
    /// `s`
    Second,
}

/// A masking function.
#[derive(Clone, Debug, PartialEq)]
pub enum Mask {
    /// `default()`
    Default,
    /// `email()`
    Email,
    /// `partial(prefix, "padding", suffix)`
    Partial {
        /// Characters shown at the start.
        prefix: usize,
        /// What stands between.
        padding: String,
        /// Characters shown at the end.
        suffix: usize,
    },
    /// `random(low, high)`
    Random {
        /// Least value.
        low: f64,
        /// Greatest value.
        high: f64,
    },
    /// `datetime("Y")` and its kin (SQL Server 2022).
    DateTime(Part),
}

impl Mask {
    /// A function as written in MASKED WITH; none if it is none.
    pub fn parse(text: &str) -> Option<Mask> {
        let (name, rest) = text.trim().split_once('(')?;
        let inside = rest.trim_end().strip_suffix(')')?;
        match name.trim().to_ascii_lowercase().as_str() {
            "default" if inside.trim().is_empty() => Some(Mask::Default),
            "email" if inside.trim().is_empty() => Some(Mask::Email),
            "partial" => {
                let (prefix, rest) = inside.split_once(',')?;
                let (padding, suffix) = rest.rsplit_once(',')?;
                Some(Mask::Partial {
                    prefix: prefix.trim().parse().ok()?,
                    padding: quoted(padding)?.to_owned(),
                    suffix: suffix.trim().parse().ok()?,
                })
            }
            "random" => {
                let (low, high) = inside.split_once(',')?;
                let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
                (low <= high).then_some(Mask::Random { low, high })
            }
            "datetime" => Some(Mask::DateTime(match quoted(inside)? {
                "Y" => Part::Year,
                "M" => Part::Month,
                "D" => Part::Day,
                "h" => Part::Hour,
                "m" => Part::Minute,
                "s" => Part::Second,
                _ => return None,
            })),
            _ => None,
        }
    }

    /// Whether values of a type can be masked by it.
    pub fn fits(&self, ty: &SqlType) -> bool {
        match self {
            Mask::Default => !matches!(
                ty,
                SqlType::Geometry | SqlType::Geography | SqlType::Json | SqlType::Vector(_)
            ),
            Mask::Email | Mask::Partial { .. } => ty.is_text(),
            Mask::Random { .. } => ty.is_numeric() && *ty != SqlType::Bit,
            Mask::DateTime(_) => ty.family() == Family::Temporal,
        }
    }

    /// What is shown of a value.
    ///
    /// # Errors
    /// 8624 if the mask does not fit the type.
    pub fn apply(&self, value: Value, ty: &SqlType) -> Result<Value, SqlError> {
        if value.is_null() {
            return Ok(value);
        }
        let label = value.label();
        let of_text = |text: &str| -> Result<Value, SqlError> {
            let text = Value::text(text).of_collation(label);
            let wide = SqlType::NVarChar(None);
            Ok(convert::convert(&cut(text, ty), &wide, ty, None)?.labelled(label))
        };
        match self {
            Mask::Default => default_of(&value, ty, of_text),
            Mask::Email => {
                let first: String = value.to_text().unwrap_or_default().chars().take(1).collect();
                of_text(&format!("{first}XXX@XXXX.com"))
            }
            Mask::Partial { prefix, padding, suffix } => {
                let text: Vec<char> = value.to_text().unwrap_or_default().chars().collect();
                // "If the original value is too short to complete the entire mask, part of the
                // prefix or suffix isn't exposed" (Microsoft).
                let (prefix, suffix) = match prefix + suffix < text.len() {
                    true => (*prefix, *suffix),
                    false => (0, 0),
                };
                let head: String = text[..prefix].iter().collect();
                let tail: String = text[text.len() - suffix..].iter().collect();
                of_text(&format!("{head}{padding}{tail}"))
            }
            Mask::Random { low, high } => {
                let share: f64 = rand::random();
                let number = low + share * (high - low);
                let whole = matches!(ty.family(), Family::Integer);
                let number = if whole { number.round() } else { number };
                convert::convert(&Value::Float(number), &SqlType::Float, ty, None)
            }
            Mask::DateTime(part) => without(*part, &value, ty),
        }
    }
}

fn quoted(text: &str) -> Option<&str> {
    text.trim().strip_prefix('"')?.strip_suffix('"')
}

/// As much of a string as its type holds, in characters: a mask is never an error of length.
fn cut(text: Value, ty: &SqlType) -> Value {
    let most = match ty {
        SqlType::Char(n) | SqlType::NChar(n) => usize::from(*n),
        SqlType::VarChar(Some(n)) | SqlType::NVarChar(Some(n)) => usize::from(*n),
        _ => return text,
    };
    match text {
        Value::NString(units) if units.len() > most => {
            Value::NString(units[..most].into()).of_collation(units.label())
        }
        other => other,
    }
}

/// Full masking by type, as documented.
fn default_of(
    value: &Value,
    ty: &SqlType,
    of_text: impl Fn(&str) -> Result<Value, SqlError>,
) -> Result<Value, SqlError> {
    Ok(match ty {
        SqlType::Xml => Value::text("<masked />"),
        SqlType::UniqueIdentifier => Value::Guid([0; 16]),
        SqlType::RowVersion => Value::binary(&[0; 8]),
        SqlType::HierarchyId => Value::binary(&[]),
        SqlType::Variant => match value {
            Value::Variant(inside) => {
                let masked = Mask::Default.apply(inside.value.clone(), &inside.ty)?;
                let inside = crate::value::Variant { ty: inside.ty.clone(), value: masked };
                Value::Variant(std::sync::Arc::new(inside))
            }
            _ => return Err(internal("a mask of a sql_variant")),
        },
        _ if ty.is_text() => of_text("xxxx")?,
        _ if ty.is_numeric() => convert::convert(&Value::Int(0), &SqlType::Int, ty, None)?,
        _ if ty.family() == Family::Temporal => {
            let start = Value::DateTime2 { days: day(DAYS_TO_1900)?, time: 0 };
            convert::convert(&start, &SqlType::DateTime2(7), ty, None)?
        }
        // "A single byte of ASCII value 0", behind which a fixed length has more of them.
        _ if ty.family() == Family::Binary || *ty == SqlType::Image => match ty {
            SqlType::Binary(n) => Value::binary(&vec![0; usize::from(*n)]),
            _ => Value::binary(&[0]),
        },
        _ => return Err(internal("a mask of this type")),
    })
}

/// A time with one part as it is at the start of 1900.
fn without(part: Part, value: &Value, ty: &SqlType) -> Result<Value, SqlError> {
    let (Moment { days, time }, offset) =
        super::calendar::moment_of(value).ok_or_else(|| internal("a mask of a time"))?;
    let mut civil = civil_of(days);
    let (mut hour, mut minute, mut rest) =
        (time / (60 * MINUTE), time / MINUTE % 60, time % MINUTE);
    match part {
        Part::Year => civil.year = 1900,
        Part::Month => civil.month = 1,
        Part::Day => civil.day = 1,
        Part::Hour => hour = 0,
        Part::Minute => minute = 0,
        Part::Second => rest = 0,
    }
    civil.day = civil.day.min(days_in_month(civil.year, civil.month));
    let local = Moment { days: days_of(civil), time: (hour * 60 + minute) * MINUTE + rest };
    if let SqlType::DateTimeOffset(_) = ty {
        let utc = local.add_time(-i64::from(offset) * MINUTE.cast_signed());
        return Ok(Value::DateTimeOffset { days: day(utc.days)?, time: utc.time, offset });
    }
    let local = Value::DateTime2 { days: day(local.days)?, time: local.time };
    convert::convert(&local, &SqlType::DateTime2(7), ty, None)
}

fn day(days: i64) -> Result<u32, SqlError> {
    u32::try_from(days).map_err(|_| internal("a masked date"))
}
