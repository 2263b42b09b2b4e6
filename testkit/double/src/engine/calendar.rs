//! Days, clock units, and the texts of dates and times. The double has a calendar of its own: it judges the
//! product's.

use crate::Value;

/// 100 ns units of a day.
pub const DAY: u64 = 864_000_000_000;
/// 100 ns units of a second.
pub const SECOND: u64 = 10_000_000;
/// 100 ns units of a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Days from 0001-01-01 to 1900-01-01.
pub const DAYS_TO_1900: i64 = 693_595;
/// Days from 0001-01-01 to 9999-12-31.
pub const LAST_DAY: i64 = 3_652_058;
/// Days from 1900-01-01 back to 1753-01-01, the first `datetime`.
pub const FIRST_DATETIME_DAY: i64 = -53_690;

/// A date and time of day without zone: days since 0001-01-01 and 100 ns units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Days since 0001-01-01, possibly out of range.
    pub days: i64,
    /// 100 ns units since midnight.
    pub time: u64,
}

/// A date in the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: i64,
    /// Day of month, from 1.
    pub day: i64,
}

/// Days since 0001-01-01 of a date.
pub fn days_of(date: Civil) -> i64 {
    let year = if date.month <= 2 { date.year - 1 } else { date.year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = (date.month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + date.day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 306
}

/// The date that is `days` after 0001-01-01.
pub fn civil_of(days: i64) -> Civil {
    let shifted = days + 306;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil { year, month, day }
}

/// Days of a month.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// Whether a date exists between the years 1 and 9999.
pub fn is_valid(date: Civil) -> bool {
    (1..=9999).contains(&date.year)
        && (1..=12).contains(&date.month)
        && (1..=days_in_month(date.year, date.month)).contains(&date.day)
}

/// Rounds 100 ns units to `scale` fractional digits; may reach a whole day.
pub fn round_time(time: u64, scale: u8) -> u64 {
    let unit = 10u64.pow(u32::from(7 - scale.min(7)));
    (time + unit / 2) / unit * unit
}

/// 1/300 s to 100 ns units, rounded (as compatibility level 130 and up converts to `datetime2`).
/// `datetime` itself is shown rounded to milliseconds: .000, .003, .007.
pub fn ticks_to_time(ticks: u32) -> u64 {
    (u64::from(ticks) * 100_000 + 1) / 3
}

/// 100 ns units to 1/300 s, rounded.
pub fn time_to_ticks(time: u64) -> u64 {
    (time * 3 + 50_000) / 100_000
}

impl Moment {
    /// The same, with days carried.
    pub fn add_time(self, delta: i64) -> Moment {
        let total = i128::from(self.time) + i128::from(delta);
        let day = i128::from(DAY);
        Moment {
            days: self.days + i64::try_from(total.div_euclid(day)).unwrap_or(i64::MAX / 2),
            time: u64::try_from(total.rem_euclid(day)).unwrap_or(0),
        }
    }

    /// Whether the date is between the years 1 and 9999.
    pub fn is_valid(self) -> bool {
        (0..=LAST_DAY).contains(&self.days)
    }
}

/// The moment of a date or time value (a time is on 1900-01-01, a `datetimeoffset` is its local
/// time) and the offset it carries.
pub fn moment_of(value: &Value) -> Option<(Moment, i16)> {
    let moment = |days: i64, time: u64| Moment { days, time };
    Some(match value {
        Value::Date(days) => (moment(i64::from(*days), 0), 0),
        Value::Time(time) => (moment(DAYS_TO_1900, *time), 0),
        Value::SmallDateTime { days, minutes } => {
            (moment(DAYS_TO_1900 + i64::from(*days), u64::from(*minutes) * MINUTE), 0)
        }
        Value::DateTime { days, ticks } => {
            (moment(DAYS_TO_1900 + i64::from(*days), ticks_to_time(*ticks)), 0)
        }
        Value::DateTime2 { days, time } => (moment(i64::from(*days), *time), 0),
        Value::DateTimeOffset { days, time, offset } => {
            let utc = moment(i64::from(*days), *time);
            (utc.add_time(i64::from(*offset) * MINUTE as i64), *offset)
        }
        _ => return None,
    })
}

/// What a text says of a date and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Date, if given; not yet checked.
    pub date: Option<(i64, i64, i64)>,
    /// 100 ns units since midnight, if a time is given.
    pub time: Option<u64>,
    /// Minutes east of UTC, if given.
    pub offset: Option<i16>,
    /// Digits of the fraction.
    pub fraction_digits: usize,
}

/// Order of a date's numbers between separators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    /// us_english
    MonthDayYear,
    /// Styles 103 to 105.
    DayMonthYear,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Name of a month.
pub fn month_name(month: i64) -> &'static str {
    usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).copied().unwrap_or_default()
}

/// Names of the days, Sunday first.
pub const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Reads a date, a time, or both, with an optional offset. `None` where the text has another form.
pub fn parse(text: &str, order: DateOrder) -> Option<Parsed> {
    let mut parsed = Parsed::default();
    let mut rest = text.trim();
    if rest.is_empty() {
        parsed.date = Some((1900, 1, 1));
        parsed.time = Some(0);
        return Some(parsed);
    }
    if let Some((date, tail)) = parse_date(rest, order) {
        parsed.date = Some(date);
        rest = match tail.strip_prefix(['T', 't']) {
            Some(time) if time.starts_with(|c: char| c.is_ascii_digit()) => time,
            _ if tail.is_empty() => return Some(parsed),
            _ => tail.strip_prefix(' ')?.trim_start(),
        };
    }
    let (time, digits, tail) = parse_time(rest)?;
    parsed.time = Some(time);
    parsed.fraction_digits = digits;
    let tail = tail.trim_start();
    if !tail.is_empty() {
        parsed.offset = Some(parse_offset(tail)?);
    }
    Some(parsed)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn number(text: &str, max_digits: usize) -> Option<i64> {
    (!text.is_empty() && text.len() <= max_digits).then(|| text.parse().ok())?
}

/// A two-digit year below 50 is in this century.
fn full_year(text: &str) -> Option<i64> {
    let year = number(text, 4)?;
    match text.len() {
        4 => Some(year),
        2 => Some(if year < 50 { 2000 + year } else { 1900 + year }),
        _ => None,
    }
}

/// A date as numbers or with the name of a month, in the forms that
/// <https://learn.microsoft.com/sql/t-sql/data-types/date-transact-sql> lists.
fn parse_date(text: &str, order: DateOrder) -> Option<((i64, i64, i64), &str)> {
    if let Some(named) = parse_named_month(text) {
        return Some(named);
    }
    let (first, rest) = digits(text);
    if first.len() == 8 && !rest.starts_with(':') {
        let part = |range: std::ops::Range<usize>| first[range].parse::<i64>().ok();
        return Some(((part(0..4)?, part(4..6)?, part(6..8)?), rest));
    }
    if first.len() == 6 && !rest.starts_with(':') {
        return Some((
            (full_year(&first[..2])?, first[2..4].parse().ok()?, first[4..].parse().ok()?),
            rest,
        ));
    }
    // "A four-digit string is interpreted as year."
    if first.len() == 4 && rest.is_empty() {
        return Some(((full_year(first)?, 1, 1), rest));
    }
    let separator = rest.chars().next()?;
    if !matches!(separator, '-' | '/' | '.') {
        return None;
    }
    let (second, rest) = digits(&rest[1..]);
    if second.is_empty() {
        return None;
    }
    let (third, rest) = digits(rest.strip_prefix(separator)?);
    let numbers = if first.len() == 4 {
        (full_year(first)?, number(second, 2)?, number(third, 2)?)
    } else {
        let (month, day) = match order {
            DateOrder::MonthDayYear => (first, second),
            DateOrder::DayMonthYear => (second, first),
        };
        (full_year(third)?, number(month, 2)?, number(day, 2)?)
    };
    Some((numbers, rest))
}

fn named_month(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let month = MONTHS.iter().position(|name| {
        name.eq_ignore_ascii_case(word) || (word.len() == 3 && name[..3].eq_ignore_ascii_case(word))
    })?;
    Some((i64::try_from(month).ok()? + 1, rest))
}

/// A month by its name with the year and perhaps the day before and behind it, in any order that
/// tells them apart: a year has four digits or, behind the day, two. Without a day it is the first.
fn parse_named_month(text: &str) -> Option<((i64, i64, i64), &str)> {
    let mut rest = text;
    let mut month = None;
    let mut numbers: Vec<&str> = Vec::new();
    // A date ends where no further part of one follows; what parts them does not matter.
    loop {
        let next = rest.trim_start_matches([' ', ',', '-', '/', '.']);
        let (found, tail) = digits(next);
        if found.is_empty() {
            match named_month(next) {
                Some((name, tail)) if month.is_none() => (month, rest) = (Some(name), tail),
                _ => break,
            }
        } else {
            if numbers.len() == 2 || begins_time(tail) {
                break;
            }
            numbers.push(found);
            rest = tail;
        }
        if month.is_some() && numbers.len() == 2 {
            break;
        }
    }
    let month = month?;
    let (year, day) = match numbers.as_slice() {
        [year] if year.len() == 4 => (*year, "1"),
        [year, day] if year.len() == 4 => (*year, *day),
        [day, year] => (*year, *day),
        _ => return None,
    };
    let rest = rest.strip_prefix(',').unwrap_or(rest);
    Some(((full_year(year)?, month, number(day, 2)?), rest))
}

/// Whether a number before this is the hour of a time.
fn begins_time(rest: &str) -> bool {
    let mark = rest.trim_start().get(..2);
    rest.starts_with(':')
        || mark
            .is_some_and(|mark| mark.eq_ignore_ascii_case("AM") || mark.eq_ignore_ascii_case("PM"))
}

/// `hh[:mm[:ss[.fffffff]]][AM|PM]`; answers 100 ns units and digits of the fraction.
fn parse_time(text: &str) -> Option<(u64, usize, &str)> {
    let (hour, mut rest) = digits(text);
    let mut hour = u64::try_from(number(hour, 2)?).ok()?;
    let (mut minute, mut second, mut fraction, mut fraction_digits) = (0, 0, 0, 0);
    let mut colon = false;
    if let Some(tail) = rest.strip_prefix(':') {
        colon = true;
        let (part, tail) = digits(tail);
        minute = u64::try_from(number(part, 2)?).ok()?;
        rest = tail;
        if let Some(tail) = rest.strip_prefix(':') {
            let (part, tail) = digits(tail);
            second = u64::try_from(number(part, 2)?).ok()?;
            rest = tail;
            if let Some(tail) = rest.strip_prefix('.') {
                let (part, tail) = digits(tail);
                if part.is_empty() || part.len() > 9 {
                    return None;
                }
                fraction_digits = part.len();
                let nanos = format!("{part:0<9}").parse::<u64>().ok()?;
                fraction = (nanos + 50) / 100;
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix(':') {
                // Behind a colon stand thousandths, however many digits they have.
                let (part, tail) = digits(tail);
                fraction = u64::try_from(number(part, 3)?).ok()? * (SECOND / 1000);
                fraction_digits = 3;
                rest = tail;
            }
        }
    }
    let after = rest.trim_start();
    let half = [("AM", 0), ("PM", 12)].into_iter().find_map(|(mark, add)| {
        after.get(..2).filter(|word| word.eq_ignore_ascii_case(mark)).map(|_| add)
    });
    if let Some(add) = half {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + add;
        rest = &after[2..];
    } else if !colon {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let time = (hour * 3600 + minute * 60 + second) * SECOND + fraction;
    Some((time, fraction_digits, rest))
}

/// `Z`, `+hh:mm` or `-hh:mm`
pub fn parse_offset(text: &str) -> Option<i16> {
    if text.eq_ignore_ascii_case("Z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let hours = number(hours, 2)?;
    let minutes = number(minutes, 2)?;
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= 840).then(|| i16::try_from(sign * total).ok())?
}

/// `+hh:mm`
pub fn format_offset(offset: i16) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.unsigned_abs();
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// `hh:mm:ss[.fff]` with `scale` fractional digits, cut off.
pub fn format_time(time: u64, scale: u8) -> String {
    let seconds = time / SECOND;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if scale > 0 {
        let fraction = format!("{:07}", time % SECOND);
        text.push('.');
        text.push_str(&fraction[..usize::from(scale.min(7))]);
    }
    text
}

/// `YYYY-MM-DD`
pub fn format_date(days: i64) -> String {
    let Civil { year, month, day } = civil_of(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `hh:mmAM` with the hour padded to two places by a blank, and seconds before the mark where
/// `fraction` is given.
pub fn format_half_day(time: u64, fraction: Option<u8>) -> String {
    let seconds = time / SECOND;
    let hour = seconds / 3600;
    let shown = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
    let mark = if hour < 12 { "AM" } else { "PM" };
    let minute = seconds / 60 % 60;
    match fraction {
        None => format!("{shown:>2}:{minute:02}{mark}"),
        Some(scale) => {
            let tail = format_time(time, scale);
            format!("{shown:>2}{}{mark}", &tail[2..].replacen('.', ":", 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree() {
        assert_eq!(days_of(Civil { year: 1, month: 1, day: 1 }), 0);
        assert_eq!(days_of(Civil { year: 1900, month: 1, day: 1 }), DAYS_TO_1900);
        assert_eq!(days_of(Civil { year: 9999, month: 12, day: 31 }), LAST_DAY);
        assert_eq!(
            days_of(Civil { year: 1753, month: 1, day: 1 }) - DAYS_TO_1900,
            FIRST_DATETIME_DAY
        );
        for days in (0..=LAST_DAY).step_by(97) {
            assert_eq!(days_of(civil_of(days)), days);
        }
    }

    #[test]
    fn texts() {
        let parse = |text: &str| parse(text, DateOrder::MonthDayYear);
        let at = |h: u64, m: u64, s: u64| Some((h * 3600 + m * 60 + s) * SECOND);
        let parsed = parse("2026-11-23T17:57:09.1234567+02:30").expect("ISO 8601");
        assert_eq!(parsed.date, Some((2026, 11, 23)));
        assert_eq!(parsed.time, at(17, 57, 9).map(|t| t + 1_234_567));
        assert_eq!(parsed.offset, Some(150));
        assert_eq!(parse("20261123").and_then(|p| p.date), Some((2026, 11, 23)));
        assert_eq!(parse("11/3/2026 1:02 PM").and_then(|p| p.time), at(13, 2, 0));
        assert_eq!(parse("Nov  3 2026 12:05AM").and_then(|p| p.time), at(0, 5, 0));
        assert_eq!(parse("3 Nov 2026").and_then(|p| p.date), Some((2026, 11, 3)));
        for text in [
            "16-JAN-2016",
            "16/jan/2016",
            "16Jan2016",
            "January 16, 2016",
            "Jan 16, 16",
            "JAN 2016 16",
            "16 January, 2016",
            "16 Jan,16",
            "16 2016 jan",
            "2016 JAN 16",
            "2016 16 Jan",
            "2016-Jan-16",
            "Jan-16-2016",
        ] {
            assert_eq!(parse(text).and_then(|p| p.date), Some((2016, 1, 16)), "{text}");
            let later = format!("{text} 13:02");
            let later = parse(&later).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((later.date, later.time), (Some((2016, 1, 16)), at(13, 2, 0)), "{text}");
        }
        for text in ["Jan 2016", "2016 january", "Jan, 2016", "2016"] {
            assert_eq!(parse(text).and_then(|p| p.date), Some((2016, 1, 1)), "{text}");
        }
        let parsed = parse("Jan 2016 1PM").expect("no day");
        assert_eq!((parsed.date, parsed.time), (Some((2016, 1, 1)), at(13, 0, 0)));
        for text in
            ["Jan 16", "16 Jan", "Janu 16 2016", "16 16 2016 Jan", "Jan Feb 2016", "16-JAN-2016x"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("12:30:20:1").and_then(|p| p.time), at(12, 30, 20).map(|t| t + 10_000));
        assert_eq!(parse("12:30:20.1").and_then(|p| p.time), at(12, 30, 20).map(|t| t + 1_000_000));
        assert_eq!(parse("12:00").and_then(|p| p.date), None);
        assert_eq!(parse("hello"), None);
        assert_eq!(parse("2026-11-23x"), None);
        assert_eq!(parse("25:00"), None);
    }

    #[test]
    fn datetime_ticks_show_as_server_rounds() {
        let shown = |ticks| format_time(round_time(ticks_to_time(ticks), 3), 3);
        assert_eq!((shown(1).as_str(), shown(2).as_str()), ("00:00:00.003", "00:00:00.007"));
        assert_eq!(time_to_ticks(70_000), 2);
    }
}
