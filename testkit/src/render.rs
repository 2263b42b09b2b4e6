//! Rows as canonical text, made independently on both sides.
//!
//! The source's side renders what tiberius decoded; the target's side takes PostgreSQL's own text
//! of a column. Nothing here shares code with Lockstep's decoders or encoders: when both agree on
//! a value, two implementations agree. The rules that the documents allow to change a value are
//! written out once more here: digits below a microsecond are cut off, a datetimeoffset keeps its
//! instant, trailing blanks of fixed-width text carry no meaning.

use anyhow::{Context, Result, bail};
use tiberius::ColumnData;

use crate::shape::{Table, Type};

const DAYS_TO_1900: i64 = 693_595;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A row, one canonical text a column; none is NULL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(pub Box<[Option<Box<str>>]>);

impl Row {
    /// The values of the first `columns` columns in one text.
    pub fn group(&self, columns: usize) -> String {
        let parts: Vec<&str> =
            self.0.iter().take(columns).map(|v| v.as_deref().unwrap_or("NULL")).collect();
        parts.join("|")
    }
}

/// A row of the source, read with [`Table::select_list`].
///
/// # Errors
/// When a column is not of the type the table says.
pub fn source_row(table: &Table, row: &tiberius::Row) -> Result<Row> {
    let cells: Result<Vec<Option<Box<str>>>> = table
        .columns
        .iter()
        .zip(row.cells())
        .map(|(column, (_, data))| {
            let text = source_cell(column.ty, data);
            text.with_context(|| format!("{}.{}", table.name, column.name))
                .map(|text| text.map(String::into_boxed_str))
        })
        .collect();
    let cells = cells?;
    if cells.len() != table.columns.len() {
        bail!("{} has {} columns, read {}", table.name, table.columns.len(), cells.len());
    }
    Ok(Row(cells.into()))
}

pub(crate) fn source_cell(ty: Type, data: &ColumnData<'_>) -> Result<Option<String>> {
    Ok(match data {
        ColumnData::Bit(v) => v.map(|v| u8::from(v).to_string()),
        ColumnData::U8(v) => v.map(|v| v.to_string()),
        ColumnData::I16(v) => v.map(|v| v.to_string()),
        ColumnData::I32(v) => v.map(|v| v.to_string()),
        ColumnData::I64(v) => v.map(|v| v.to_string()),
        ColumnData::F32(v) => v.map(|v| format!("{v:?}")),
        ColumnData::F64(v) => v.map(|v| format!("{v:?}")),
        ColumnData::Numeric(v) => v.map(|v| decimal(v.value(), v.scale())),
        ColumnData::String(v) => v.as_deref().map(|v| text(ty, v)),
        ColumnData::Binary(v) => v.as_deref().map(hex),
        ColumnData::Guid(v) => v.map(|v| v.hyphenated().to_string()),
        ColumnData::Date(v) => v.map(|v| date(i64::from(v.days()))),
        ColumnData::Time(v) => v.map(|v| time_of_day(micros(v.increments(), v.scale()))),
        ColumnData::DateTime(v) => v.map(|v| {
            // 1/300 s shown as SQL Server shows them: to the nearest millisecond.
            let millis = (i64::from(v.seconds_fragments()) * 10 + 1) / 3;
            timestamp(DAYS_TO_1900 + i64::from(v.days()), millis * 1000)
        }),
        ColumnData::SmallDateTime(v) => v.map(|v| {
            let minutes = i64::from(v.seconds_fragments());
            timestamp(DAYS_TO_1900 + i64::from(v.days()), minutes * 60_000_000)
        }),
        ColumnData::DateTime2(v) => v.map(|v| {
            let time = v.time();
            timestamp(i64::from(v.date().days()), micros(time.increments(), time.scale()))
        }),
        ColumnData::DateTimeOffset(v) => v.map(|v| {
            let (date, time) = (v.datetime2().date(), v.datetime2().time());
            let utc = timestamp(i64::from(date.days()), micros(time.increments(), time.scale()));
            format!("{utc}+00")
        }),
        other => bail!("no rule to render {other:?}"),
    })
}

/// A column of the target in PostgreSQL's text, read with `TimeZone = UTC` and ISO dates.
///
/// # Errors
/// When the text is not of the type that `ty` arrives as.
pub fn target_cell(ty: Type, text_of_column: &str) -> Result<String> {
    let bad = || format!("`{text_of_column}` is not how PostgreSQL shows a {ty}");
    Ok(match ty {
        Type::Bit => match text_of_column {
            "t" => "1".to_owned(),
            "f" => "0".to_owned(),
            _ => bail!(bad()),
        },
        Type::Float => format!("{:?}", text_of_column.parse::<f64>().with_context(bad)?),
        Type::Real => format!("{:?}", text_of_column.parse::<f32>().with_context(bad)?),
        Type::Char(_) | Type::NChar(_) => text(ty, text_of_column),
        _ => text_of_column.to_owned(),
    })
}

fn text(ty: Type, value: &str) -> String {
    match ty {
        Type::Char(_) | Type::NChar(_) => value.trim_end_matches(' ').to_owned(),
        _ => value.to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("\\x{digits}")
}

fn decimal(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Microseconds in `increments` of 10^-`scale` seconds, what is below cut off.
fn micros(increments: u64, scale: u8) -> i64 {
    let scale = u32::from(scale);
    let micros = if scale > 6 {
        increments / 10u64.pow(scale - 6)
    } else {
        increments * 10u64.pow(6 - scale)
    };
    i64::try_from(micros).expect("a day has fewer microseconds than an i64")
}

fn timestamp(days: i64, micros: i64) -> String {
    let days = days + micros.div_euclid(MICROS_PER_DAY);
    format!("{} {}", date(days), time_of_day(micros.rem_euclid(MICROS_PER_DAY)))
}

fn time_of_day(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 {
        return clock;
    }
    format!("{clock}.{}", format!("{fraction:06}").trim_end_matches('0'))
}

/// Proleptic Gregorian date of a day counted from 0001-01-01.
fn date(days: i64) -> String {
    // Whole 400-, 100-, 4- and 1-year cycles, of which the last of each has no extra day.
    let (cycles, mut rest) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let mut year = cycles * 400 + 1;
    for (length, years, last) in [(36_524, 100, 3), (1_461, 4, 24), (365, 1, 3)] {
        let n = (rest / length).min(last);
        year += n * years;
        rest -= n * length;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_known_days() {
        assert_eq!(date(0), "0001-01-01");
        assert_eq!(date(DAYS_TO_1900), "1900-01-01");
        assert_eq!(date(DAYS_TO_1900 + 36_524 + 59), "2000-02-29");
        assert_eq!(date(DAYS_TO_1900 + 36_524 + 60), "2000-03-01");
        assert_eq!(date(719_162), "1970-01-01");
        assert_eq!(date(3_652_058), "9999-12-31");
        assert_eq!(date(146_096), "0400-12-31");
        assert_eq!(date(36_523), "0100-12-31");
    }

    #[test]
    fn dates_step_by_one_day_over_every_kind_of_year() {
        let mut seen = std::collections::HashSet::new();
        let mut last = String::new();
        for day in 0..300_000 {
            let date = date(day);
            assert!(date > last, "{last} then {date}");
            assert!(seen.insert(date.clone()));
            last = date;
        }
        assert_eq!(last, "0822-05-16");
    }

    #[test]
    fn numbers() {
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(12_345, 0), "12345");
        assert_eq!(decimal(i128::from(u64::MAX), 4), "1844674407370955.1615");
        assert_eq!(target_cell(Type::Float, "1e+20").unwrap(), format!("{:?}", 1e20));
        assert_eq!(target_cell(Type::Bit, "t").unwrap(), "1");
        assert!(target_cell(Type::Bit, "true").is_err());
    }

    #[test]
    fn times() {
        assert_eq!(time_of_day(micros(863_999_999_999, 7)), "23:59:59.999999");
        assert_eq!(time_of_day(micros(3_661, 0)), "01:01:01");
        // datetime shows 1/300 s as .000, .003, .007.
        let shown: Vec<String> = [0u32, 1, 2, 3]
            .into_iter()
            .map(|ticks| {
                let value = tiberius::time::DateTime::new(0, ticks);
                source_cell(Type::DateTime, &ColumnData::DateTime(Some(value))).unwrap().unwrap()
            })
            .collect();
        assert_eq!(
            shown,
            [
                "1900-01-01 00:00:00",
                "1900-01-01 00:00:00.003",
                "1900-01-01 00:00:00.007",
                "1900-01-01 00:00:00.01"
            ]
        );
    }
}
