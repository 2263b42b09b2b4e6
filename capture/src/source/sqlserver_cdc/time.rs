//! SQL Server's times as 100 ns counts, and its local time as UTC.
//!
//! Commit times come as `datetime` in the *server's local time* (docs/reader-rules.md, rule 13). They become
//! UTC with the server's offset at the moment of the poll, which is the offset then in force except
//! for what was committed before a clock change and read after it: such times are off by the
//! change. They are metadata: order comes from LSNs, and the log never lets time decrease.

use lockstep_common::model::calendar::{civil, days_of};
use lockstep_common::{TICKS_PER_DAY, TICKS_PER_SECOND};
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};

/// Days from 0001-01-01 to 1970-01-01.
const DAYS_0001_TO_1970: i64 = 719_162;
/// Days from 1900-01-01 to 1970-01-01.
const DAYS_1900_TO_1970: i64 = 25_567;
const TICKS_PER_MINUTE: i64 = 60 * TICKS_PER_SECOND;

/// Days since 1970-01-01.
pub fn date(date: Date) -> i64 {
    i64::from(date.days()) - DAYS_0001_TO_1970
}

/// 100 ns since midnight; `None` for a scale SQL Server does not have or a time beyond the day.
pub fn time(time: Time) -> Option<i64> {
    let digits = 7u32.checked_sub(u32::from(time.scale()))?;
    let ticks = i64::try_from(time.increments()).ok()?.checked_mul(10i64.pow(digits))?;
    (ticks < TICKS_PER_DAY).then_some(ticks)
}

/// 100 ns since 1970-01-01, rounded to the milliseconds that SQL Server shows: a `datetime` counts
/// 1/300 s and is written .000, .003 or .007.
pub fn datetime(value: DateTime) -> i64 {
    let milliseconds = (i64::from(value.seconds_fragments()) * 10 + 1) / 3;
    (i64::from(value.days()) - DAYS_1900_TO_1970) * TICKS_PER_DAY
        + milliseconds * (TICKS_PER_SECOND / 1000)
}

/// 100 ns since 1970-01-01.
pub fn small_datetime(value: SmallDateTime) -> i64 {
    (i64::from(value.days()) - DAYS_1900_TO_1970) * TICKS_PER_DAY
        + i64::from(value.seconds_fragments()) * TICKS_PER_MINUTE
}

/// 100 ns since 1970-01-01; `None` as for [`time`].
pub fn datetime2(value: DateTime2) -> Option<i64> {
    Some(date(value.date()) * TICKS_PER_DAY + time(value.time())?)
}

/// 100 ns since 1970-01-01Z and the offset in minutes; `None` as for [`time`].
pub fn datetime_offset(value: DateTimeOffset) -> Option<(i64, i16)> {
    Some((datetime2(value.datetime2())?, value.offset()))
}

/// A local time as UTC.
pub fn to_utc(local: i64, offset_minutes: i16) -> i64 {
    local - i64::from(offset_minutes) * TICKS_PER_MINUTE
}

/// A time in UTC as local time.
pub fn to_local(utc: i64, offset_minutes: i16) -> i64 {
    utc + i64::from(offset_minutes) * TICKS_PER_MINUTE
}

/// A `datetime` as SQL Server writes it (style 121): `2026-11-23 10:00:00.003`.
pub fn datetime_text(ticks: i64) -> String {
    let (year, month, day) = civil(ticks.div_euclid(TICKS_PER_DAY));
    let milliseconds = ticks.rem_euclid(TICKS_PER_DAY) / (TICKS_PER_SECOND / 1000);
    let (hours, rest) = (milliseconds / 3_600_000, milliseconds % 3_600_000);
    let (minutes, rest) = (rest / 60_000, rest % 60_000);
    let (seconds, millis) = (rest / 1000, rest % 1000);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{millis:03}")
}

/// The inverse of [`datetime_text`].
pub fn parse_datetime(text: &str) -> Option<i64> {
    if text.len() != 23 || !text.is_ascii() {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().ok();
    let days = days_of(number(0..4)?, number(5..7)?, number(8..10)?);
    let seconds = (number(11..13)? * 60 + number(14..16)?) * 60 + number(17..19)?;
    let ticks = seconds * TICKS_PER_SECOND + number(20..23)? * (TICKS_PER_SECOND / 1000);
    let time = days * TICKS_PER_DAY + ticks;
    (datetime_text(time) == text).then_some(time)
}

/// Days since 1970-01-01 of a date that the server wrote as `2026-11-23`.
pub fn parse_date(text: &str) -> Option<i64> {
    let [year, month, day] = numbers(text, '-', [4, 2, 2])?;
    let days = days_of(year, month, day);
    (year > 0 && civil(days) == (year, month, day)).then_some(days)
}

/// 100 ns since midnight of a time that the server wrote as `10:00:00`, with up to seven digits
/// behind a point.
pub fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let [hours, minutes, seconds] = numbers(clock, ':', [2, 2, 2])?;
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| (1..=7).contains(digits))?;
    let fraction = number(fraction)? * 10i64.pow(7 - digits);
    let valid = hours < 24 && minutes < 60 && seconds < 60;
    let seconds = (hours * 60 + minutes) * 60 + seconds;
    valid.then_some(seconds * TICKS_PER_SECOND + fraction)
}

/// 100 ns since 1970-01-01 of a date and a time behind a blank.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(' ')?;
    Some(parse_date(date)? * TICKS_PER_DAY + parse_time(time)?)
}

/// 100 ns since 1970-01-01Z, and the offset in minutes, of a local time with `+05:30` behind it.
pub fn parse_timestamp_tz(text: &str) -> Option<(i64, i16)> {
    let (local, offset) = text.rsplit_once(' ')?;
    let (sign, minutes) = match offset.split_at_checked(1)? {
        ("+", minutes) => (1, minutes),
        ("-", minutes) => (-1, minutes),
        _ => return None,
    };
    let [hours, minutes] = numbers(minutes, ':', [2, 2])?;
    let offset = i16::try_from(sign * (hours * 60 + minutes)).ok()?;
    Some((to_utc(parse_timestamp(local)?, offset), offset))
}

/// Numbers of so many digits each, with `separator` between them.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (of, digits) in numbers.iter_mut().zip(digits) {
        *of = parts.next().filter(|part| part.len() == digits).and_then(number)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Digits, and nothing but digits.
fn number(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn datetimes_show_the_milliseconds_that_the_server_shows() {
        let shown: Vec<String> =
            (0..4).map(|t| datetime_text(datetime(DateTime::new(0, t)))).collect();
        assert_eq!(
            shown,
            [
                "1900-01-01 00:00:00.000",
                "1900-01-01 00:00:00.003",
                "1900-01-01 00:00:00.007",
                "1900-01-01 00:00:00.010"
            ]
        );
        let last = DateTime::new(2_958_463, 25_919_999);
        assert_eq!(datetime_text(datetime(last)), "9999-12-31 23:59:59.997");
        let first = DateTime::new(-53_690, 0);
        assert_eq!(datetime_text(datetime(first)), "1753-01-01 00:00:00.000");
    }

    #[test]
    fn the_ends_of_the_ranges_convert() {
        assert_eq!(date(Date::new(0)), -DAYS_0001_TO_1970);
        assert_eq!(time(Time::new(863_999_999_999, 7)), Some(TICKS_PER_DAY - 1));
        assert_eq!(time(Time::new(864_000_000_000, 7)), None);
        assert_eq!(time(Time::new(1, 8)), None);
        assert_eq!(time(Time::new(86_399, 0)), Some(86_399 * TICKS_PER_SECOND));
        let offset = DateTimeOffset::new(DateTime2::new(Date::new(719_162), Time::new(0, 7)), -840);
        assert_eq!(datetime_offset(offset), Some((0, -840)));
        assert_eq!(to_utc(0, -90), 90 * TICKS_PER_MINUTE);
    }

    #[test]
    fn written_times_are_read_to_the_last_digit() {
        assert_eq!(parse_date("0001-01-01"), Some(-DAYS_0001_TO_1970));
        assert_eq!(parse_date("9999-12-31"), Some(2_932_896));
        assert_eq!(parse_time("23:59:59.9999999"), Some(TICKS_PER_DAY - 1));
        assert_eq!(parse_time("00:00:00.1"), Some(TICKS_PER_SECOND / 10));
        assert_eq!(parse_time("01:02:03"), Some(3723 * TICKS_PER_SECOND));
        assert_eq!(parse_timestamp("1970-01-02 00:00:00.0000001"), Some(TICKS_PER_DAY + 1));
        let east = parse_timestamp_tz("1970-01-01 14:00:00.0000000 +14:00");
        assert_eq!(east, Some((0, 840)));
        let west = parse_timestamp_tz("1969-12-31 23:30:00 -00:30");
        assert_eq!(west, Some((0, -30)));
        for wrong in ["2026-02-29", "0000-01-01", "2026-1-01", "2026-01-01-01", "+026-01-01", ""] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
        for wrong in ["24:00:00", "00:60:00", "00:00:60", "00:00:00.", "00:00:00.00000001", "0:0:0"]
        {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
        assert_eq!(parse_timestamp_tz("1970-01-01 00:00:00 05:30"), None);
        assert_eq!(parse_timestamp_tz("1970-01-01 00:00:00"), None);
    }

    /// All 25,920,000 ticks of a day: each is shown as the nearest millisecond, and told apart.
    #[test]
    fn every_tick_of_a_datetime_has_a_time_of_its_own() {
        let mut last = -1;
        for tick in 0..25_920_000u32 {
            let shown = datetime(DateTime::new(25_567, tick));
            let milliseconds = i64::from(tick / 3) * 10 + [0, 3, 7][(tick % 3) as usize];
            assert!(shown == milliseconds * 10_000 && shown > last, "tick {tick}");
            last = shown;
        }
    }

    proptest! {
        #[test]
        fn times_are_read_as_they_are_written(milliseconds in -62_135_596_800_000i64..253_402_300_800_000) {
            let ticks = milliseconds * (TICKS_PER_SECOND / 1000);
            prop_assert_eq!(parse_datetime(&datetime_text(ticks)), Some(ticks));
        }
    }
}
