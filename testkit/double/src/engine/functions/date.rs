//! Functions over dates and times.

use super::date_parts::{
    date_from_parts, datetime2_from_parts, end_of_month, is_date, switch_offset, to_offset,
};
use super::{Arguments, Bound, Computed, bare_word, call};
use crate::engine::bind::{Binder, Scope, types};
use crate::engine::calendar::{self, Civil, DAY, DAYS_TO_1900, MINUTE, Moment, SECOND};
use crate::engine::convert;
use crate::engine::env::Env;
use crate::engine::expr::{Node, Typed};
use crate::engine::syntax::ast::Call;
use crate::sql_type::Family;
use crate::storage;
use crate::{SqlError, SqlType, Value};

/// Parts of a date, as DATEPART, DATEADD and DATEDIFF name them.
const PARTS: [(&str, i32); 37] = [
    ("year", 0),
    ("yyyy", 0),
    ("yy", 0),
    ("quarter", 1),
    ("qq", 1),
    ("q", 1),
    ("month", 2),
    ("mm", 2),
    ("m", 2),
    ("dayofyear", 3),
    ("dy", 3),
    ("y", 3),
    ("day", 4),
    ("dd", 4),
    ("d", 4),
    ("week", 5),
    ("wk", 5),
    ("ww", 5),
    ("weekday", 6),
    ("dw", 6),
    ("w", 6),
    ("hour", 7),
    ("hh", 7),
    ("minute", 8),
    ("mi", 8),
    ("n", 8),
    ("second", 9),
    ("ss", 9),
    ("s", 9),
    ("millisecond", 10),
    ("ms", 10),
    ("microsecond", 11),
    ("mcs", 11),
    ("nanosecond", 12),
    ("ns", 12),
    ("tzoffset", 13),
    ("tz", 13),
];

const YEAR: i32 = 0;
const QUARTER: i32 = 1;
const MONTH: i32 = 2;
const DAY_OF_YEAR: i32 = 3;
const DAY_OF_MONTH: i32 = 4;
const WEEK: i32 = 5;
const WEEKDAY: i32 = 6;
const HOUR: i32 = 7;
const MINUTE_PART: i32 = 8;
const SECOND_PART: i32 = 9;
const MILLISECOND: i32 = 10;
const MICROSECOND: i32 = 11;
const NANOSECOND: i32 = 12;
const OFFSET: i32 = 13;

fn part(call: &Call) -> Bound<i32> {
    let word = bare_word(call.arguments.first()).unwrap_or_default();
    PARTS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map(|(_, part)| *part)
        .ok_or_else(|| {
            SqlError::new(
                155,
                15,
                1,
                format!(
                    "'{word}' is not a recognized {} option.",
                    call.name[0].to_ascii_lowercase()
                ),
            )
        })
}

/// Functions whose first argument names a part.
///
/// # Errors
/// 155; numbers and types of arguments.
pub fn with_part(
    binder: &Binder<'_, '_>,
    name: &str,
    call: &Call,
    scope: &Scope<'_>,
) -> Bound<Option<Typed>> {
    if !matches!(name, "DATEPART" | "DATENAME" | "DATEADD" | "DATEDIFF" | "DATEDIFF_BIG") {
        return Ok(None);
    }
    let part = part(call)?;
    let values = call.arguments[1..]
        .iter()
        .map(|argument| binder.scalar(argument, scope))
        .collect::<Bound<Vec<Typed>>>()?;
    let mut arguments = Arguments::new(name, values);
    let tag = Node::Constant(Value::Int(part));
    if matches!(name, "DATEPART" | "DATENAME") {
        arguments.arity(1, 1)?;
        let date = date(&mut arguments)?;
        let (function, ty): (crate::engine::expr::Function, _) = match name {
            "DATEPART" => (date_part, SqlType::Int),
            _ => (date_name, SqlType::NVarChar(Some(30))),
        };
        return super::call(function, vec![tag, date.node], ty);
    }
    arguments.arity(2, 2)?;
    if matches!(part, WEEKDAY | OFFSET) && name != "DATEADD" || part == OFFSET {
        return Err(SqlError::new(
            9810,
            16,
            1,
            format!(
                "The datepart is not supported by date function {} here.",
                name.to_ascii_lowercase()
            ),
        ));
    }
    if name == "DATEADD" {
        let number = arguments.int()?;
        let date = arguments.any()?;
        let date = match date.type_or_int().family() {
            Family::Temporal => date,
            _ => types::implicit(date, &SqlType::DateTime)?,
        };
        let ty = date.type_or_int();
        let scale = Node::Constant(Value::Int(i32::from(ty.scale())));
        return super::call(date_add, vec![tag, number, date.node, scale], ty);
    }
    let (start, end) = (date(&mut arguments)?, date(&mut arguments)?);
    let ty = if name == "DATEDIFF" { SqlType::Int } else { SqlType::BigInt };
    let difference = Typed::call(date_diff, vec![tag, start.node, end.node], SqlType::BigInt);
    if ty == SqlType::BigInt {
        return Ok(Some(difference));
    }
    super::call(to_int_difference, vec![difference.node], SqlType::Int)
}

/// The next argument as a date or time; texts and numbers become `datetime` or `datetime2`.
fn date(arguments: &mut Arguments) -> Bound<Typed> {
    let value = arguments.any()?;
    match value.type_or_int().family() {
        Family::Temporal => Ok(value),
        Family::Text => types::implicit(value, &SqlType::DateTimeOffset(7))
            .map(|typed| typed.converted(&SqlType::DateTime2(7))),
        _ => types::implicit(value, &SqlType::DateTime),
    }
}

/// Binds a function of this module.
///
/// # Errors
/// Numbers and types of arguments.
pub fn bind(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    let now = |function, ty| call(function, Vec::new(), ty).map(|bound| bound.map(never_null));
    match name {
        "GETDATE" | "CURRENT_TIMESTAMP" => {
            arguments.arity(0, 0)?;
            now(get_date, SqlType::DateTime)
        }
        "GETUTCDATE" => {
            arguments.arity(0, 0)?;
            now(get_utc_date, SqlType::DateTime)
        }
        "SYSDATETIME" => {
            arguments.arity(0, 0)?;
            now(sys_date_time, SqlType::DateTime2(7))
        }
        "SYSUTCDATETIME" => {
            arguments.arity(0, 0)?;
            now(sys_utc_date_time, SqlType::DateTime2(7))
        }
        "SYSDATETIMEOFFSET" => {
            arguments.arity(0, 0)?;
            now(sys_date_time_offset, SqlType::DateTimeOffset(7))
        }
        "YEAR" | "MONTH" | "DAY" => {
            arguments.arity(1, 1)?;
            let tag = match name {
                "YEAR" => YEAR,
                "MONTH" => MONTH,
                _ => DAY_OF_MONTH,
            };
            let date = date(arguments)?;
            call(date_part, vec![Node::Constant(Value::Int(tag)), date.node], SqlType::Int)
        }
        "DATEFROMPARTS" => {
            arguments.arity(3, 3)?;
            let parts = vec![arguments.int()?, arguments.int()?, arguments.int()?];
            call(date_from_parts, parts, SqlType::Date)
        }
        "DATETIME2FROMPARTS" => {
            arguments.arity(8, 8)?;
            let mut parts = Vec::new();
            for _ in 0..7 {
                parts.push(arguments.int()?);
            }
            let scale = arguments.any()?;
            let scale = match scale.as_constant().and_then(Value::as_i64) {
                Some(scale @ 0..=7) => u8::try_from(scale).unwrap_or(7),
                _ => {
                    return Err(SqlError::new(
                        10760,
                        16,
                        1,
                        "Scale argument is not valid. Valid expressions for data type datetime2 scale argument are integer constants and integer constant expressions.",
                    ));
                }
            };
            parts.push(Node::Constant(Value::Int(i32::from(scale))));
            call(datetime2_from_parts, parts, SqlType::DateTime2(scale))
        }
        "EOMONTH" => {
            arguments.arity(1, 1)?;
            let date = date(arguments)?;
            call(end_of_month, vec![date.node], SqlType::Date)
        }
        "SWITCHOFFSET" | "TODATETIMEOFFSET" => {
            arguments.arity(2, 2)?;
            let keep = name == "TODATETIMEOFFSET";
            let value = arguments.any()?;
            let scale = match value.type_or_int() {
                SqlType::DateTimeOffset(n) | SqlType::DateTime2(n) => n,
                _ => 7,
            };
            let inner =
                if keep { SqlType::DateTime2(scale) } else { SqlType::DateTimeOffset(scale) };
            let value = types::implicit(value, &inner)?;
            let offset = arguments.any()?;
            let offset = match offset.type_or_int().family() {
                Family::Text => offset,
                _ => types::implicit(offset, &SqlType::Int)?,
            };
            let function = if keep { to_offset } else { switch_offset };
            call(function, vec![value.node, offset.node], SqlType::DateTimeOffset(scale))
        }
        "ISDATE" => {
            arguments.arity(1, 1)?;
            let value = arguments.text()?;
            call(is_date, vec![value.node], SqlType::Int)
        }
        _ => Ok(None),
    }
}

fn never_null(typed: Typed) -> Typed {
    Typed { nullable: false, ..typed }
}

fn get_date(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(storage::datetime(local(env)))
}

fn get_utc_date(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(storage::datetime(env.now()))
}

fn sys_date_time(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(storage::datetime2(local(env)))
}

fn sys_utc_date_time(env: &Env<'_>, _: &[Value]) -> Computed {
    Ok(storage::datetime2(env.now()))
}

fn local(env: &Env<'_>) -> storage::Micros {
    env.now() + i64::from(env.shared.storage.clock().utc_offset_minutes()) * 60_000_000
}

fn sys_date_time_offset(env: &Env<'_>, _: &[Value]) -> Computed {
    let offset = env.shared.storage.clock().utc_offset_minutes();
    Ok(match storage::datetime2(env.now()) {
        Value::DateTime2 { days, time } => Value::DateTimeOffset { days, time, offset },
        other => other,
    })
}

/// A value's local moment; `datetime` in whole milliseconds, as it is shown.
fn shown(value: &Value) -> Option<(Moment, i16)> {
    let (mut moment, offset) = calendar::moment_of(value)?;
    if matches!(value, Value::DateTime { .. }) {
        moment.time = calendar::round_time(moment.time, 3);
    }
    Some((moment, offset))
}

/// Weekday from 1 (Sunday), as DATEFIRST 7 counts.
fn weekday(days: i64) -> i64 {
    (days + 1).rem_euclid(7) + 1
}

fn first_of_year(year: i64) -> i64 {
    calendar::days_of(Civil { year, month: 1, day: 1 })
}

fn part_of(part: i32, moment: Moment, offset: i16) -> i64 {
    let date = calendar::civil_of(moment.days);
    let time = i64::try_from(moment.time).unwrap_or(0);
    let second = SECOND as i64;
    let start = first_of_year(date.year);
    match part {
        YEAR => date.year,
        QUARTER => (date.month + 2) / 3,
        MONTH => date.month,
        DAY_OF_YEAR => moment.days - start + 1,
        DAY_OF_MONTH => date.day,
        WEEK => (moment.days - start + weekday(start) - 1) / 7 + 1,
        WEEKDAY => weekday(moment.days),
        HOUR => time / (3600 * second),
        MINUTE_PART => time / (60 * second) % 60,
        SECOND_PART => time / second % 60,
        MILLISECOND => time % second / 10_000,
        MICROSECOND => time % second / 10,
        NANOSECOND => time % second * 100,
        _ => i64::from(offset),
    }
}

fn date_part(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let part = i32::try_from(arguments[0].as_i64().unwrap_or_default()).unwrap_or_default();
    Ok(match shown(&arguments[1]) {
        Some((moment, offset)) => {
            Value::Int(i32::try_from(part_of(part, moment, offset)).unwrap_or_default())
        }
        None => Value::Null,
    })
}

fn date_name(env: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some((moment, offset)) = shown(&arguments[1]) else {
        return Ok(Value::Null);
    };
    Ok(match arguments[0].as_i64().and_then(|part| i32::try_from(part).ok()) {
        Some(MONTH) => Value::text(calendar::month_name(calendar::civil_of(moment.days).month)),
        Some(WEEKDAY) => {
            let at = usize::try_from(weekday(moment.days) - 1).unwrap_or(0);
            Value::text(calendar::WEEKDAYS.get(at).copied().unwrap_or_default())
        }
        Some(OFFSET) => Value::text(&calendar::format_offset(offset)),
        _ => match date_part(env, arguments)?.as_i64() {
            Some(number) => Value::text(&number.to_string()),
            None => Value::Null,
        },
    })
}

/// Adds to a moment.
fn added(part: i32, moment: Moment, number: i64) -> Option<Moment> {
    let months = |count: i64| {
        let date = calendar::civil_of(moment.days);
        let month = date.year * 12 + date.month - 1 + count;
        let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
        if !(1..=9999).contains(&year) {
            return None;
        }
        let day = date.day.min(calendar::days_in_month(year, month));
        Some(Moment { days: calendar::days_of(Civil { year, month, day }), time: moment.time })
    };
    let days = |count: i64| Some(Moment { days: moment.days + count, time: moment.time });
    let ticks = |unit: i64| number.checked_mul(unit).map(|delta| moment.add_time(delta));
    match part {
        YEAR => months(number.checked_mul(12)?),
        QUARTER => months(number.checked_mul(3)?),
        MONTH => months(number),
        DAY_OF_YEAR | DAY_OF_MONTH | WEEKDAY => days(number),
        WEEK => days(number.checked_mul(7)?),
        HOUR => ticks(60 * MINUTE as i64),
        MINUTE_PART => ticks(MINUTE as i64),
        SECOND_PART => ticks(SECOND as i64),
        MILLISECOND => ticks(10_000),
        MICROSECOND => ticks(10),
        // Nanoseconds count in the type's own hundreds.
        NANOSECOND => Some(moment.add_time((number + 50).div_euclid(100))),
        _ => None,
    }
}

fn date_add(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(part), Some(number)) = (arguments[0].as_i64(), arguments[1].as_i64()) else {
        return Ok(Value::Null);
    };
    let Some((moment, offset)) = calendar::moment_of(&arguments[2]) else {
        return Ok(Value::Null);
    };
    let part = i32::try_from(part).unwrap_or_default();
    let scale = u8::try_from(arguments[3].as_i64().unwrap_or(7)).unwrap_or(7);
    let (ty, name) = match &arguments[2] {
        Value::Date(_) => (SqlType::Date, "date"),
        Value::Time(_) => (SqlType::Time(scale), "time"),
        Value::SmallDateTime { .. } => (SqlType::SmallDateTime, "smalldatetime"),
        Value::DateTime { .. } => (SqlType::DateTime, "datetime"),
        Value::DateTime2 { .. } => (SqlType::DateTime2(scale), "datetime2"),
        _ => (SqlType::DateTimeOffset(scale), "datetimeoffset"),
    };
    let unfit = match ty {
        SqlType::Date => part >= HOUR,
        SqlType::Time(_) => part < HOUR,
        _ => false,
    };
    if unfit {
        return Err(SqlError::new(
            9810,
            16,
            1,
            format!("The datepart is not supported by date function dateadd for data type {name}."),
        ));
    }
    added(part, moment, number)
        .and_then(|moment| {
            let moment = match ty {
                SqlType::Time(_) => Moment { days: DAYS_TO_1900, time: moment.time },
                _ => moment,
            };
            convert::build(moment, offset, &ty)
        })
        .ok_or_else(|| {
            SqlError::new(
                517,
                16,
                1,
                format!("Adding a value to a '{name}' column caused an overflow."),
            )
        })
}

/// Boundaries of the part that lie between two moments.
fn date_diff(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let part = i32::try_from(arguments[0].as_i64().unwrap_or_default()).unwrap_or_default();
    let utc = |value: &Value| {
        let (moment, offset) = shown(value)?;
        // Two offsets are compared in UTC.
        Some(moment.add_time(-i64::from(offset) * MINUTE as i64))
    };
    let (Some(start), Some(end)) = (utc(&arguments[1]), utc(&arguments[2])) else {
        return Ok(Value::Null);
    };
    let total =
        |moment: Moment| i128::from(moment.days) * i128::from(DAY) + i128::from(moment.time);
    let boundaries = |unit: i128| total(end).div_euclid(unit) - total(start).div_euclid(unit);
    let (from, to) = (calendar::civil_of(start.days), calendar::civil_of(end.days));
    let months = |date: Civil| i128::from(date.year * 12 + date.month - 1);
    let minute = i128::from(MINUTE);
    let difference = match part {
        YEAR => i128::from(to.year - from.year),
        QUARTER => months(to).div_euclid(3) - months(from).div_euclid(3),
        MONTH => months(to) - months(from),
        DAY_OF_YEAR | DAY_OF_MONTH => boundaries(i128::from(DAY)),
        // Weeks begin on Sunday whatever DATEFIRST says.
        WEEK => i128::from((end.days + 1).div_euclid(7) - (start.days + 1).div_euclid(7)),
        HOUR => boundaries(60 * minute),
        MINUTE_PART => boundaries(minute),
        SECOND_PART => boundaries(i128::from(SECOND)),
        MILLISECOND => boundaries(10_000),
        MICROSECOND => boundaries(10),
        _ => (total(end) - total(start)) * 100,
    };
    i64::try_from(difference).map(Value::BigInt).map_err(|_| difference_overflow("datediff_big"))
}

fn difference_overflow(function: &str) -> SqlError {
    SqlError::new(
        535,
        16,
        0,
        format!(
            "The {function} function resulted in an overflow. The number of dateparts separating two date/time instances is too large. Try to use {function} with a less precise datepart."
        ),
    )
}

fn to_int_difference(_: &Env<'_>, arguments: &[Value]) -> Computed {
    match arguments[0].as_i64() {
        None => Ok(Value::Null),
        Some(difference) => {
            i32::try_from(difference).map(Value::Int).map_err(|_| difference_overflow("datediff"))
        }
    }
}
