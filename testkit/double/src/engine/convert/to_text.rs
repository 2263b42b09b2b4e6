//! Values written as text.

use super::{Converted, binary, fit_text, not_allowed, overflow};
use crate::engine::calendar::{self, Moment};
use crate::engine::decimal;
use crate::{SqlError, SqlType, Value};

/// A value as text for messages and PRINT.
pub fn display(value: &Value, ty: &SqlType) -> String {
    match value {
        Value::Null => String::new(),
        Value::Binary(bytes) => format!("0x{}", binary::hex(bytes)),
        _ => value.to_text().or_else(|| write(value, ty, None).ok()).unwrap_or_default(),
    }
}

/// Anything but strings and binaries to text.
pub fn to_text(value: &Value, from: &SqlType, to: &SqlType, style: Option<i32>) -> Converted {
    let text = write(value, from, style)?;
    if limit_of(to).is_some_and(|limit| text.len() > limit) {
        return too_narrow(&text, from, to);
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    Ok(fit_text(&units, to))
}

/// Characters that a text type holds, if they are limited.
pub fn limit_of(to: &SqlType) -> Option<usize> {
    match to {
        SqlType::Char(n) | SqlType::NChar(n) => Some(usize::from(*n)),
        SqlType::VarChar(n) | SqlType::NVarChar(n) => n.map(usize::from),
        _ => None,
    }
}

/// What a text type too short for a value makes of it.
fn too_narrow(text: &str, from: &SqlType, to: &SqlType) -> Converted {
    use crate::sql_type::Family;
    let unicode = to.is_unicode();
    match from.family() {
        Family::Integer if !unicode => Ok(fit_text(&[u16::from(b'*')], to)),
        Family::Temporal => {
            let units: Vec<u16> = text.encode_utf16().collect();
            Ok(fit_text(&units, to))
        }
        Family::Guid => Err(SqlError::new(
            8170,
            16,
            2,
            "Insufficient result space to convert uniqueidentifier value to char.",
        )),
        Family::Money => Err(SqlError::new(
            234,
            16,
            2,
            format!(
                "There is insufficient result space to convert a money value to {}.",
                to.name()
            ),
        )),
        _ => Err(overflow(
            if from.family() == Family::Integer { "expression" } else { from.message_name() },
            to,
        )),
    }
}

fn write(value: &Value, from: &SqlType, style: Option<i32>) -> Result<String, SqlError> {
    Ok(match value {
        Value::Decimal { unscaled, scale } => decimal::format(*unscaled, *scale),
        Value::Money(v) => money(i128::from(*v), style.unwrap_or(0)),
        Value::SmallMoney(v) => money(i128::from(*v), style.unwrap_or(0)),
        Value::Float(v) => float(*v, style.unwrap_or(0)),
        Value::Real(v) => match style.unwrap_or(0) {
            // Nine digits are enough for a real.
            3 => scientific(f64::from(*v), 8),
            other => float(f64::from(*v), other),
        },
        Value::Guid(bytes) => guid(bytes),
        other => match (other.as_i64(), calendar::moment_of(other)) {
            (Some(whole), _) => whole.to_string(),
            (None, Some((moment, offset))) => temporal(moment, offset, from, style)?,
            (None, None) => return Err(not_allowed(from, &SqlType::VarChar(None))),
        },
    })
}

fn guid(bytes: &[u8; 16]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let digits = binary::hex(&order.map(|at| bytes[at]));
    format!(
        "{}-{}-{}-{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    )
}

/// Two places (style 0), with thousands separators (1), or four places (2).
fn money(units: i128, style: i32) -> String {
    if style == 2 || style == 126 {
        return decimal::format(units, 4);
    }
    let cents = decimal::rescale(units, 4, 2).unwrap_or_default();
    let text = decimal::format(cents, 2);
    if style != 1 {
        return text;
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "00"));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}.{fraction}")
}

/// Six digits where they say it all (style 0), eight (1), sixteen (2) or seventeen (3) always in
/// scientific notation.
fn float(value: f64, style: i32) -> String {
    match style {
        1 => scientific(value, 7),
        2 => scientific(value, 15),
        3 => scientific(value, 16),
        _ => general(value),
    }
}

fn scientific(value: f64, places: usize) -> String {
    let text = format!("{value:.places$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:03}", exponent.unsigned_abs())
}

/// `%g` with six digits and three digits of exponent.
fn general(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let rounded = scientific(value, 5);
    let (mantissa, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if !(-5..6).contains(&exponent) || exponent == -5 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:03}", trim(mantissa), exponent.unsigned_abs());
    }
    let places = usize::try_from(5 - exponent).unwrap_or(0);
    trim(&format!("{value:.places$}"))
}

fn temporal(
    moment: Moment,
    offset: i16,
    from: &SqlType,
    style: Option<i32>,
) -> Result<String, SqlError> {
    let legacy = matches!(from, SqlType::DateTime | SqlType::SmallDateTime);
    // The style with a Z shows UTC.
    let moment = match style {
        Some(127) => moment.add_time(-i64::from(offset) * calendar::MINUTE as i64),
        _ => moment,
    };
    let style = style.unwrap_or(if legacy { 0 } else { 121 });
    // A datetime is shown in milliseconds, rounded.
    let scale = if *from == SqlType::SmallDateTime { 0 } else { from.scale() };
    let time = match legacy {
        true => calendar::round_time(moment.time, 3),
        false => moment.time,
    };
    let parts =
        Parts { date: calendar::civil_of(moment.days), days: moment.days, time, scale, legacy };
    let has_date = !matches!(from, SqlType::Time(_));
    let has_time = !matches!(from, SqlType::Date);
    let (date, clock) = parts
        .text(style)
        .ok_or_else(|| binary::invalid_style(style, from.name(), &SqlType::VarChar(None)))?;
    let separator = if matches!(style, 126 | 127) { "T" } else { " " };
    let mut text = match (has_date && !date.is_empty(), has_time && !clock.is_empty()) {
        (true, true) => format!("{date}{separator}{clock}"),
        (true, false) => date,
        (false, true) => clock.trim_start().to_owned(),
        (false, false) => {
            return Err(binary::invalid_style(style, from.name(), &SqlType::VarChar(None)));
        }
    };
    if matches!(from, SqlType::DateTimeOffset(_))
        && matches!(style, 0 | 20 | 21 | 25 | 100 | 120 | 121 | 126)
    {
        if style != 126 {
            text.push(' ');
        }
        text.push_str(&calendar::format_offset(offset));
    }
    if style == 127 {
        text.push('Z');
    }
    Ok(text)
}

struct Parts {
    date: calendar::Civil,
    days: i64,
    time: u64,
    scale: u8,
    legacy: bool,
}

impl Parts {
    /// Date and time of day in a style; an empty part does not belong to the style.
    fn text(&self, style: i32) -> Option<(String, String)> {
        let calendar::Civil { year, month, day } = self.date;
        let name = calendar::month_name(month).get(..3).unwrap_or_default();
        let fraction = if self.legacy && self.scale > 0 { 3 } else { self.scale };
        let seconds = || calendar::format_time(self.time, 0);
        let full = || calendar::format_time(self.time, fraction);
        let iso = || calendar::format_date(self.days);
        let none = String::new;
        // ISO 8601 leaves out the fraction of a whole second of the old types.
        let iso_time = || match self.legacy && self.time.is_multiple_of(calendar::SECOND) {
            true => seconds(),
            false => full(),
        };
        Some(match style {
            0 | 100 => {
                (format!("{name} {day:>2} {year}"), calendar::format_half_day(self.time, None))
            }
            9 | 109 => (
                format!("{name} {day:>2} {year}"),
                calendar::format_half_day(self.time, Some(fraction)),
            ),
            101 => (format!("{month:02}/{day:02}/{year}"), none()),
            102 => (format!("{year}.{month:02}.{day:02}"), none()),
            103 => (format!("{day:02}/{month:02}/{year}"), none()),
            104 => (format!("{day:02}.{month:02}.{year}"), none()),
            105 => (format!("{day:02}-{month:02}-{year}"), none()),
            106 => (format!("{day:02} {name} {year}"), none()),
            107 => (format!("{name} {day:02}, {year}"), none()),
            8 | 24 | 108 => (none(), seconds()),
            110 => (format!("{month:02}-{day:02}-{year}"), none()),
            111 => (format!("{year}/{month:02}/{day:02}"), none()),
            112 => (format!("{year:04}{month:02}{day:02}"), none()),
            114 => (none(), full().replacen('.', ":", 1)),
            20 | 120 => (iso(), seconds()),
            21 | 25 | 121 => (iso(), full()),
            23 => (iso(), none()),
            126 | 127 => (iso(), iso_time()),
            _ => return None,
        })
    }
}
