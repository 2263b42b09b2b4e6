//! Conversions to dates and times.

use std::cell::Cell;

use super::{Converted, not_allowed, number, overflow};
use crate::engine::calendar::{
    self, Civil, DAY, DAYS_TO_1900, DateOrder, FIRST_DATETIME_DAY, LAST_DAY, MINUTE, Moment,
};
use crate::{SqlError, SqlType, Value};

thread_local! {
    /// Whether statements of this thread convert `datetime` to `datetime2` as before level 130.
    static MILLISECONDS: Cell<bool> = const { Cell::new(false) };
}

/// Says at which compatibility level the thread's next statement runs: "under database compatibility
/// level 130, conversions from datetime to datetime2 show improved accuracy by accounting for the
/// fractional milliseconds" (Microsoft, ALTER DATABASE compatibility level).
pub fn set_level(level: u8) {
    MILLISECONDS.set(level < 130);
}

/// Anything to a date or time type.
pub fn to_temporal(value: &Value, from: &SqlType, to: &SqlType, style: Option<i32>) -> Converted {
    if let Some((mut moment, offset)) = calendar::moment_of(value) {
        match (value, to) {
            (Value::DateTime { .. }, SqlType::DateTime2(_)) if MILLISECONDS.get() => {
                moment.time = calendar::round_time(moment.time, 3);
            }
            (Value::Date(_), SqlType::Time(_)) | (Value::Time(_), SqlType::Date) => {
                return Err(not_allowed(from, to));
            }
            _ => {}
        }
        return build(moment, offset, to).ok_or_else(|| out_of_range(from, to));
    }
    if let Some(text) = value.to_text() {
        return from_string(&text, from, to, style.unwrap_or(0));
    }
    if !matches!(to, SqlType::DateTime | SqlType::SmallDateTime) {
        return Err(not_allowed(from, to));
    }
    if let Value::Binary(bytes) = value {
        return from_binary(bytes, from, to);
    }
    // Numbers are days since 1900-01-01.
    let days = number::float_of(value).ok_or_else(|| not_allowed(from, to))?;
    if days.abs() > 4e6 {
        return Err(overflow("expression", to));
    }
    let whole = days.floor();
    let moment = Moment { days: DAYS_TO_1900 + whole as i64, time: 0 };
    let moment = moment.add_time(((days - whole) * DAY as f64).round() as i64);
    build(moment, 0, to).ok_or_else(|| overflow("expression", to))
}

fn from_binary(bytes: &[u8], from: &SqlType, to: &SqlType) -> Converted {
    let mut wide = [0u8; 8];
    let kept = &bytes[bytes.len().saturating_sub(8)..];
    wide[8 - kept.len()..].copy_from_slice(kept);
    let [a, b, c, d, e, f, g, h] = wide;
    let days = i32::from_be_bytes([a, b, c, d]);
    let ticks = u32::from_be_bytes([e, f, g, h]);
    let valid = u64::from(ticks) < 86_400 * 300;
    if *to != SqlType::DateTime || !valid {
        return Err(not_allowed(from, to));
    }
    Ok(Value::DateTime { days, ticks })
}

fn from_string(text: &str, from: &SqlType, to: &SqlType, style: i32) -> Converted {
    let failed = || {
        SqlError::new(
            241,
            16,
            1,
            "Conversion failed when converting date and/or time from character string.",
        )
    };
    let order = match style {
        0 | 9 | 20 | 21 | 23 | 25 | 100 | 101 | 109 | 112 | 120 | 121 | 126 | 127 => {
            DateOrder::MonthDayYear
        }
        103..=105 | 113 => DateOrder::DayMonthYear,
        _ => return Err(super::binary::invalid_style(style, from.name(), to)),
    };
    let parsed = calendar::parse(text, order).ok_or_else(failed)?;
    let (year, month, day) = parsed.date.unwrap_or((1900, 1, 1));
    let date = Civil { year, month, day };
    let legacy = matches!(to, SqlType::DateTime | SqlType::SmallDateTime);
    if !calendar::is_valid(date) {
        return Err(if legacy { out_of_range(from, to) } else { failed() });
    }
    if legacy
        && (parsed.fraction_digits > 3
            || (parsed.offset.is_some() && !text.trim_end().ends_with(['Z', 'z'])))
    {
        return Err(failed());
    }
    let moment = Moment { days: calendar::days_of(date), time: parsed.time.unwrap_or(0) };
    build(moment, parsed.offset.unwrap_or(0), to)
        .ok_or_else(|| if legacy { out_of_range(from, to) } else { failed() })
}

/// Error 242.
fn out_of_range(from: &SqlType, to: &SqlType) -> SqlError {
    SqlError::new(
        242,
        16,
        3,
        format!(
            "The conversion of a {} data type to a {} data type resulted in an out-of-range value.",
            from.name(),
            to.name()
        ),
    )
}

/// A value of the type from a local moment and its offset; `None` out of its range.
pub fn build(moment: Moment, offset: i16, to: &SqlType) -> Option<Value> {
    match to {
        SqlType::Date => day_number(moment).map(Value::Date),
        SqlType::Time(scale) => {
            let rounded = calendar::round_time(moment.time, *scale);
            // A time that rounds up to midnight begins the next day, which a time cannot say.
            Some(Value::Time(rounded % DAY))
        }
        SqlType::DateTime2(scale) => {
            let moment = rounded(moment, *scale);
            Some(Value::DateTime2 { days: day_number(moment)?, time: moment.time })
        }
        SqlType::DateTimeOffset(scale) => {
            let local = rounded(moment, *scale);
            let utc = local.add_time(-i64::from(offset) * MINUTE as i64);
            day_number(local)?;
            Some(Value::DateTimeOffset { days: day_number(utc)?, time: utc.time, offset })
        }
        SqlType::DateTime => {
            let mut days = moment.days - DAYS_TO_1900;
            let mut ticks = calendar::time_to_ticks(moment.time);
            if ticks >= 86_400 * 300 {
                days += 1;
                ticks = 0;
            }
            let in_range = (FIRST_DATETIME_DAY..=LAST_DAY - DAYS_TO_1900).contains(&days);
            in_range.then_some(Value::DateTime {
                days: i32::try_from(days).ok()?,
                ticks: u32::try_from(ticks).ok()?,
            })
        }
        SqlType::SmallDateTime => {
            let mut days = moment.days - DAYS_TO_1900;
            let mut minutes = (moment.time + 30 * calendar::SECOND) / MINUTE;
            if minutes >= 1440 {
                days += 1;
                minutes = 0;
            }
            Some(Value::SmallDateTime {
                days: u16::try_from(days).ok()?,
                minutes: u16::try_from(minutes).ok()?,
            })
        }
        _ => None,
    }
}

fn day_number(moment: Moment) -> Option<u32> {
    moment.is_valid().then(|| u32::try_from(moment.days).ok())?
}

fn rounded(moment: Moment, scale: u8) -> Moment {
    let time = calendar::round_time(moment.time, scale);
    // Beyond the last day there is nothing to round up to.
    if time >= DAY && moment.days == LAST_DAY {
        let unit = 10u64.pow(u32::from(7 - scale.min(7)));
        return Moment { days: moment.days, time: DAY - unit };
    }
    Moment { days: moment.days, time: 0 }.add_time(i64::try_from(time).unwrap_or(i64::MAX))
}
