//! Functions of dates and times.

use super::super::Refusal;
use super::super::parse::Expr;
use super::super::types::Ty;
use super::literal;
use super::{Sql, Translator};

impl Translator<'_> {
    /// The clock, as of the statement.
    pub(super) fn now(&self, local: bool, ty: Ty) -> Sql {
        self.looks_at_clock(local);
        let text = if local {
            "(statement_timestamp()::timestamp)"
        } else {
            "(statement_timestamp() AT TIME ZONE 'UTC')"
        };
        Sql::new(text, ty)
    }

    /// A date or a timestamp; a constant text is read as type `constant`.
    pub(super) fn moment(&self, expr: &Expr, constant: &Ty) -> Result<String, Refusal> {
        let value = self.value(expr)?;
        match (&value.ty, value.characters()) {
            (Ty::Text(_), Some(text)) => literal::temporal(text, constant),
            (ty, _) if ty.is_timestamp() => Ok(value.text),
            (Ty::DateTimeOffset(_), _) => Err("the target does not keep the offset".to_owned()),
            _ => Err("a value that is no date stands for one".to_owned()),
        }
    }

    pub(super) fn date_add(
        &self,
        part: &Expr,
        number: &Expr,
        value: &Expr,
    ) -> Result<Sql, Refusal> {
        let (number, value) = (self.int(number)?.text, self.value(value)?);
        self.may_fail();
        let date_only = value.ty == Ty::Date;
        let interval = match (date_part(part)?, date_only) {
            (Part::Year, _) => format!("make_interval(years => {number})"),
            (Part::Quarter, _) => format!("make_interval(months => 3 * {number})"),
            (Part::Month, _) => format!("make_interval(months => {number})"),
            (Part::Week, _) => format!("make_interval(weeks => {number})"),
            (Part::Day, _) => format!("make_interval(days => {number})"),
            (Part::Hour, false) => format!("make_interval(hours => {number})"),
            (Part::Minute, false) => format!("make_interval(mins => {number})"),
            (Part::Second, false) => format!("make_interval(secs => {number})"),
            _ => return Err("DATEADD of hours to a date is not translated".to_owned()),
        };
        match value.ty {
            Ty::Date => Ok(Sql::new(format!("(({} + {interval})::date)", value.text), Ty::Date)),
            Ty::SmallDateTime if interval.contains("secs") => {
                Err("DATEADD of seconds to a smalldatetime rounds".to_owned())
            }
            Ty::DateTime | Ty::DateTime2(_) | Ty::SmallDateTime => {
                Ok(Sql::new(format!("({} + {interval})", value.text), value.ty))
            }
            Ty::DateTimeOffset(_) => Err("the target does not keep the offset".to_owned()),
            _ => Err("DATEADD to such a value is not translated".to_owned()),
        }
    }

    /// How many borders of a part lie between two moments.
    pub(super) fn date_diff(&self, part: &Expr, from: &Expr, to: &Expr) -> Result<Sql, Refusal> {
        let constant = Ty::DateTime2(6);
        let (from, to) = (self.moment(from, &constant)?, self.moment(to, &constant)?);
        let of = |field: &str, moment: &str| format!("extract({field} FROM {moment})");
        let years = format!("({} - {})", of("year", &to), of("year", &from));
        let within = |field: &str| format!("{} - {}", of(field, &to), of(field, &from));
        let truncated = |unit: &str, seconds: u32| {
            let at = |moment: &str| format!("date_trunc('{unit}', ({moment})::timestamp)");
            format!("extract(epoch FROM {} - {}) / {seconds}", at(&to), at(&from))
        };
        let text = match date_part(part)? {
            Part::Year => years,
            Part::Quarter => format!("{years} * 4 + {}", within("quarter")),
            Part::Month => format!("{years} * 12 + {}", within("month")),
            // Weeks begin on Sunday, whatever DATEFIRST says; the first of January of the year 1 was
            // a Monday.
            Part::Week => {
                let week =
                    |moment: &str| format!("(({moment})::date - '0001-01-01'::date + 1) / 7");
                format!("{} - {}", week(&to), week(&from))
            }
            Part::Day => format!("({to})::date - ({from})::date"),
            Part::Hour => truncated("hour", 3600),
            Part::Minute => truncated("minute", 60),
            Part::Second => {
                self.may_fail();
                truncated("second", 1)
            }
        };
        Ok(Sql::new(format!("(({text})::integer)"), Ty::Int(4)))
    }
}

/// What DATEADD and DATEDIFF count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
}

fn date_part(expr: &Expr) -> Result<Part, Refusal> {
    let Expr::Name(name) = expr else {
        return Err("a part of a date is no name".to_owned());
    };
    Ok(match name.to_lowercase().as_str() {
        "year" | "yy" | "yyyy" => Part::Year,
        "quarter" | "qq" | "q" => Part::Quarter,
        "month" | "mm" | "m" => Part::Month,
        "week" | "wk" | "ww" => Part::Week,
        "day" | "dd" | "d" => Part::Day,
        "hour" | "hh" => Part::Hour,
        "minute" | "mi" | "n" => Part::Minute,
        "second" | "ss" | "s" => Part::Second,
        other => return Err(format!("part {other} of a date is not translated")),
    })
}
