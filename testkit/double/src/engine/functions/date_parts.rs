//! Dates from parts, other offsets, and back.

use super::Computed;
use crate::engine::calendar::{self, Civil, SECOND};
use crate::engine::convert;
use crate::engine::env::Env;
use crate::{SqlError, SqlType, Value};

fn cannot_construct(ty: &str) -> SqlError {
    SqlError::new(
        289,
        16,
        1,
        format!(
            "Cannot construct data type {ty}, some of the arguments have values which are not valid."
        ),
    )
}

pub fn date_from_parts(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let numbers: Option<Vec<i64>> = arguments.iter().map(Value::as_i64).collect();
    let Some([year, month, day]) = numbers.as_deref() else {
        return Ok(Value::Null);
    };
    let date = Civil { year: *year, month: *month, day: *day };
    if !calendar::is_valid(date) {
        return Err(cannot_construct("date"));
    }
    Ok(Value::Date(u32::try_from(calendar::days_of(date)).unwrap_or_default()))
}

pub fn datetime2_from_parts(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let numbers: Option<Vec<i64>> = arguments.iter().map(Value::as_i64).collect();
    let Some([year, month, day, hour, minute, second, fraction, scale]) = numbers.as_deref() else {
        return Ok(Value::Null);
    };
    let date = Civil { year: *year, month: *month, day: *day };
    let digits = u32::try_from(*scale).unwrap_or(7);
    let valid = calendar::is_valid(date)
        && (0..24).contains(hour)
        && (0..60).contains(minute)
        && (0..60).contains(second)
        && (0..10i64.pow(digits)).contains(fraction);
    if !valid {
        return Err(cannot_construct("datetime2"));
    }
    let units =
        (hour * 3600 + minute * 60 + second) * SECOND as i64 + fraction * 10i64.pow(7 - digits);
    Ok(Value::DateTime2 {
        days: u32::try_from(calendar::days_of(date)).unwrap_or_default(),
        time: u64::try_from(units).unwrap_or_default(),
    })
}

pub fn end_of_month(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some((moment, _)) = calendar::moment_of(&arguments[0]) else {
        return Ok(Value::Null);
    };
    let date = calendar::civil_of(moment.days);
    let last = Civil { day: calendar::days_in_month(date.year, date.month), ..date };
    Ok(Value::Date(u32::try_from(calendar::days_of(last)).unwrap_or_default()))
}

fn offset_of(value: &Value) -> Result<Option<i16>, SqlError> {
    let offset = match value {
        Value::Null => return Ok(None),
        Value::Int(minutes) => i16::try_from(*minutes).ok().filter(|m| (-840..=840).contains(m)),
        other => other.to_text().and_then(|text| calendar::parse_offset(text.trim())),
    };
    offset.map(Some).ok_or_else(|| {
        SqlError::new(
            9812,
            16,
            1,
            "The timezone provided to builtin function todatetimeoffset is invalid.",
        )
    })
}

pub fn switch_offset(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Value::DateTimeOffset { days, time, .. }, Some(offset)) =
        (&arguments[0], offset_of(&arguments[1])?)
    else {
        return Ok(Value::Null);
    };
    Ok(Value::DateTimeOffset { days: *days, time: *time, offset })
}

pub fn to_offset(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some((moment, _)), Some(offset)) =
        (calendar::moment_of(&arguments[0]), offset_of(&arguments[1])?)
    else {
        return Ok(Value::Null);
    };
    Ok(convert::build(moment, offset, &SqlType::DateTimeOffset(7)).unwrap_or(Value::Null))
}

pub fn is_date(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let valid = arguments[0].to_text().is_some_and(|text| {
        let value = Value::text(&text);
        convert::convert(&value, &SqlType::NVarChar(None), &SqlType::DateTime, None).is_ok()
    });
    Ok(Value::Int(i32::from(valid)))
}
