//! Constants of dates and times.
//!
//! Only forms that mean the same in every language and date format of a session:
//! <https://learn.microsoft.com/en-us/sql/t-sql/data-types/datetime-transact-sql#supported-string-literal-formats-for-datetime>

use super::super::Refusal;
use super::super::types::Ty;

/// A text as a constant of a date or time type.
///
/// # Errors
/// A form that depends on the session, or digits that the type would round.
pub(super) fn temporal(text: &str, ty: &Ty) -> Result<String, Refusal> {
    let text = text.trim_matches(' ');
    if let Ty::Time(digits) = ty {
        let clock = clock(text)?;
        check_digits(&clock, *digits)?;
        return Ok(format!("'{clock}'::time"));
    }
    if !ty.is_timestamp() {
        return Err("a text stands for such a value".to_owned());
    }
    // An empty text is the beginning of the twentieth century.
    let (date, clock) = if text.is_empty() {
        ("1900-01-01".to_owned(), "00:00:00".to_owned())
    } else {
        moment(text, ty)?
    };
    match ty {
        Ty::Date if clock.trim_matches(['0', ':', '.']).is_empty() => Ok(format!("'{date}'::date")),
        Ty::Date => Err("a date constant has a time".to_owned()),
        Ty::DateTime2(digits) => {
            check_digits(&clock, *digits)?;
            Ok(format!("'{date} {clock}'::timestamp"))
        }
        // Steps of 1/300 s.
        Ty::DateTime => {
            check_digits(&clock, 0)?;
            if date.as_str() < "1753" {
                return Err("a datetime constant lies before 1753".to_owned());
            }
            Ok(format!("'{date} {clock}'::timestamp"))
        }
        _ => {
            check_digits(&clock, 0)?;
            if !clock
                .get(5..)
                .is_some_and(|seconds| seconds.trim_matches([':', '0', '.']).is_empty())
            {
                return Err("a smalldatetime constant would be rounded to minutes".to_owned());
            }
            Ok(format!("'{date} {clock}'::timestamp"))
        }
    }
}

/// A date and a time of day.
fn moment(text: &str, ty: &Ty) -> Result<(String, String), Refusal> {
    let depends = || "a date constant depends on the session's language".to_owned();
    let iso = text.len() >= 10 && text.as_bytes()[4] == b'-';
    let (date, rest) = if iso {
        let date = text.get(..10).ok_or_else(depends)?;
        (date.to_owned(), &text[10..])
    } else {
        let digits = text.get(..8).ok_or_else(depends)?;
        let part = |range| digits.get(range).ok_or_else(depends);
        (format!("{}-{}-{}", part(0..4)?, part(4..6)?, part(6..8)?), &text[8..])
    };
    // The old types read `2020-01-02` by the session's date format, unless a `T` follows.
    let old = matches!(ty, Ty::DateTime | Ty::SmallDateTime);
    if iso && old && !rest.starts_with('T') {
        return Err(depends());
    }
    let clock = match rest.chars().next() {
        None => "00:00:00".to_owned(),
        Some('T') if iso => clock(&rest[1..])?,
        Some(' ') => clock(rest.trim_start())?,
        Some(_) => return Err(depends()),
    };
    let number = |range: std::ops::Range<usize>| {
        let part = date.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u32>().ok())?
    };
    let separated = date.as_bytes()[7] == b'-';
    match (number(0..4), number(5..7), number(8..10)) {
        (Some(year), Some(month), Some(day)) if separated && year >= 1 => {
            if day < 1 || day > days(year, month) {
                return Err("a date constant is no date".to_owned());
            }
        }
        _ => return Err(depends()),
    }
    Ok((date, clock))
}

fn days(year: u32, month: u32) -> u32 {
    let divides = |by: u32| year.is_multiple_of(by);
    let leap = divides(4) && (!divides(100) || divides(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fffffff`.
fn clock(text: &str) -> Result<String, Refusal> {
    let odd = || "a time constant is not hh:mm:ss.fffffff".to_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<&str> = whole.split(':').collect();
    let two = |part: &&str, below: u32| {
        let fits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        fits && part.parse::<u32>().is_ok_and(|n| n < below)
    };
    let digits = fraction.len() <= 7 && fraction.bytes().all(|b| b.is_ascii_digit());
    let seconds = match parts.as_slice() {
        [hours, minutes] if two(hours, 24) && two(minutes, 60) && fraction.is_empty() => "00",
        [hours, minutes, seconds] if two(hours, 24) && two(minutes, 60) && two(seconds, 60) => {
            seconds
        }
        _ => return Err(odd()),
    };
    if !digits {
        return Err(odd());
    }
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{}:{}:{seconds}{point}{fraction}", parts[0], parts[1]))
}

/// No digit beyond those of the type, nor beyond the six that PostgreSQL has.
fn check_digits(clock: &str, digits: u8) -> Result<(), Refusal> {
    let fraction = clock.split_once('.').map_or("", |(_, fraction)| fraction);
    if fraction.len() > usize::from(digits.min(6)) {
        return Err("a time constant has more digits than its type".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_mean_one_thing() {
        let date = |text| temporal(text, &Ty::Date);
        assert_eq!(date("20240229").unwrap(), "'2024-02-29'::date");
        assert_eq!(date("2024-02-29").unwrap(), "'2024-02-29'::date");
        assert_eq!(date("").unwrap(), "'1900-01-01'::date");
        let wrong =
            ["20230229", "2024-13-01", "02/29/2024", "2024", "1 Jan 2024", "2024-1-1", "ä2024-1-"];
        for text in wrong {
            assert!(date(text).is_err(), "{text}");
        }
        let old = |text| temporal(text, &Ty::DateTime);
        assert_eq!(old("20240229 12:30").unwrap(), "'2024-02-29 12:30:00'::timestamp");
        assert_eq!(old("2024-02-29T12:30:01").unwrap(), "'2024-02-29 12:30:01'::timestamp");
        assert!(old("2024-02-29").is_err());
        assert!(old("20240229 12:30:00.123").is_err());
        let new = temporal("2024-02-29 12:30:01.1230000", &Ty::DateTime2(3));
        assert_eq!(new.unwrap(), "'2024-02-29 12:30:01.123'::timestamp");
        assert!(temporal("2024-02-29 12:30:01.1234567", &Ty::DateTime2(7)).is_err());
        assert!(temporal("20240229 12:30:01", &Ty::SmallDateTime).is_err());
        assert_eq!(temporal("08:00", &Ty::Time(0)).unwrap(), "'08:00:00'::time");
    }
}
