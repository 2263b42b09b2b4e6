//! Functions and conversions.

use super::compare::uuid;
use super::emit::{Constant, Sql, Translator, concatenated, floating, united, whole};
use super::parse::Expr;
use super::types::{Text, Ty};
use super::{Purpose, Refusal, literal, literal_text};

/// Every function that is translated; the documentation's list is held against it.
pub(super) const FUNCTIONS: &[&str] = &[
    "abs",
    "ceiling",
    "choose",
    "coalesce",
    "concat",
    "current_timestamp",
    "datalength",
    "dateadd",
    "datediff",
    "day",
    "floor",
    "getdate",
    "getutcdate",
    "iif",
    "isnull",
    "left",
    "len",
    "lower",
    "ltrim",
    "month",
    "newid",
    "newsequentialid",
    "nullif",
    "power",
    "replace",
    "right",
    "round",
    "rtrim",
    "sign",
    "substring",
    "sysdatetime",
    "sysdatetimeoffset",
    "sysutcdatetime",
    "trim",
    "upper",
    "year",
];

/// Letters of code page 1252 in both cases, but for those whose other case is not in it.
const LOWER: &str = "abcdefghijklmnopqrstuvwxyzàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿšœž";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞŸŠŒŽ";

impl Translator<'_> {
    pub(super) fn call(&self, name: &str, arguments: &[Expr]) -> Result<Sql, Refusal> {
        if !FUNCTIONS.contains(&name) {
            return Err(format!("function {} is not translated", name.to_uppercase()));
        }
        match (name, arguments) {
            ("getdate" | "current_timestamp", []) => Ok(self.now(true, Ty::DateTime)),
            ("sysdatetime", []) => Ok(self.now(true, Ty::DateTime2(7))),
            ("getutcdate", []) => Ok(self.now(false, Ty::DateTime)),
            ("sysutcdatetime", []) => Ok(self.now(false, Ty::DateTime2(7))),
            ("sysdatetimeoffset", []) => {
                self.looks_at_clock(false);
                Ok(Sql::new("statement_timestamp()", Ty::DateTimeOffset(7)))
            }
            ("newid" | "newsequentialid", []) => {
                self.is_random();
                Ok(Sql::new("gen_random_uuid()", Ty::Uuid))
            }
            ("isnull", [value, other]) => {
                let value = self.value(value)?;
                let other = self.value(other)?;
                if value.ty == Ty::Null {
                    return Ok(other);
                }
                let ty = value.ty.clone();
                let first = match ty {
                    Ty::Text(_) => value.padded()?,
                    _ => value.text,
                };
                let other = self.implicit(other, &ty)?;
                Ok(Sql::new(format!("COALESCE({first}, {other})"), unfixed(ty)))
            }
            ("coalesce", [_, _, ..]) => {
                let values = self.values(arguments)?;
                let (ty, texts) = united(&values.iter().collect::<Vec<_>>())?;
                Ok(Sql::new(format!("COALESCE({})", texts.join(", ")), ty))
            }
            ("nullif", [left, right]) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                let same = self.comparison("=", &left, &right)?;
                let value = if let Ty::Text(_) = left.ty { left.padded()? } else { left.text };
                let text = format!("(CASE WHEN {same} THEN NULL ELSE {value} END)");
                Ok(Sql::new(text, unfixed(left.ty)))
            }
            ("iif", [condition, yes, no]) => self.value(&Expr::Case {
                operand: None,
                whens: vec![(condition.clone(), yes.clone())],
                otherwise: Some(Box::new(no.clone())),
            }),
            ("choose", [index, choices @ ..]) if !choices.is_empty() => {
                let numbers = (1..=choices.len()).map(|n| Expr::Number(n.to_string()));
                self.value(&Expr::Case {
                    operand: Some(Box::new(index.clone())),
                    whens: numbers.zip(choices.iter().cloned()).collect(),
                    otherwise: None,
                })
            }
            ("len" | "datalength" | "upper" | "lower" | "ltrim" | "rtrim" | "trim", [value]) => {
                let value = self.value(value)?;
                self.of_text(name, value)
            }
            ("left" | "right", [value, length]) => {
                let value = counted(self.value(value)?)?;
                let length = self.value(length)?.integer().filter(|length| *length >= 0);
                let length = length.ok_or("the length of LEFT and RIGHT is no constant")?;
                Ok(Sql::new(format!("{name}({}, {length})", value.padded()?), unfixed(value.ty)))
            }
            ("substring", [value, from, length]) => {
                let value = counted(self.value(value)?)?;
                let (from, length) = (self.int(from)?, self.int(length)?);
                if length.integer().is_none_or(|length| length < 0) {
                    self.may_fail();
                }
                let text = format!("substr({}, {}, {})", value.padded()?, from.text, length.text);
                Ok(Sql::new(text, unfixed(value.ty)))
            }
            ("replace", [value, from, to]) => {
                let (value, from, to) = (self.value(value)?, self.value(from)?, self.value(to)?);
                if !value.as_text()?.binary() || !value.as_text()?.counts_characters() {
                    return Err(super::compare::by_collation(
                        value.as_text()?.collation.as_deref(),
                    ));
                }
                let (from, to) = match (from.characters(), to.characters()) {
                    (Some(from), Some(to)) if to.chars().count() <= from.chars().count() => {
                        (literal_text(from)?, literal_text(to)?)
                    }
                    _ => return Err("REPLACE may make the text longer".to_owned()),
                };
                Ok(Sql::new(
                    format!("replace({}, {from}, {to})", value.padded()?),
                    unfixed(value.ty),
                ))
            }
            ("concat", [_, _, ..]) => {
                let mut joined: Option<Sql> = None;
                for argument in arguments {
                    let value = self.value(argument)?;
                    let text = match value.ty {
                        Ty::Null => literal_text("")?,
                        Ty::Text(_) => format!("COALESCE({}, '')", value.padded()?),
                        _ => return Err("CONCAT of what is no text is not translated".to_owned()),
                    };
                    let ty = match value.ty {
                        Ty::Text(_) => unfixed(value.ty),
                        _ => Ty::Text(Text {
                            unicode: false,
                            max: Some(1),
                            fixed: false,
                            collation: None,
                        }),
                    };
                    let value = Sql::new(text, ty);
                    joined = Some(match joined {
                        None => value,
                        Some(before) => concatenated(&before, &value)?,
                    });
                }
                joined.ok_or_else(|| "CONCAT has nothing in it".to_owned())
            }
            ("abs" | "ceiling" | "floor" | "sign", [value]) => {
                self.of_number(name, self.value(value)?)
            }
            ("round", [value, digits]) => self.round(self.value(value)?, digits, false),
            ("round", [value, digits, function]) => {
                let cut =
                    self.value(function)?.integer().ok_or("ROUND's function is no constant")?;
                self.round(self.value(value)?, digits, cut != 0)
            }
            ("power", [value, exponent]) => {
                let (value, exponent) = (self.value(value)?, self.value(exponent)?.integer());
                match (&value.ty, exponent) {
                    (Ty::Int(1 | 2 | 4), Some(exponent @ 0..=31)) => {
                        self.may_fail();
                        let text =
                            format!("(power(({})::numeric, {exponent}))::integer", value.text);
                        Ok(Sql::new(text, Ty::Int(4)))
                    }
                    _ => Err("POWER of other than an int and a small constant rounds".to_owned()),
                }
            }
            ("year" | "month" | "day", [value]) => {
                let value = self.moment(value, &Ty::DateTime)?;
                Ok(Sql::new(format!("(extract({name} FROM {value}))::integer"), Ty::Int(4)))
            }
            ("dateadd", [part, number, value]) => self.date_add(part, number, value),
            ("datediff", [part, from, to]) => self.date_diff(part, from, to),
            _ => Err(format!("{} has other arguments than are translated", name.to_uppercase())),
        }
    }

    fn values(&self, arguments: &[Expr]) -> Result<Vec<Sql>, Refusal> {
        arguments.iter().map(|argument| self.value(argument)).collect()
    }

    /// The clock, as of the statement.
    fn now(&self, local: bool, ty: Ty) -> Sql {
        self.looks_at_clock(local);
        let text = if local {
            "(statement_timestamp()::timestamp)"
        } else {
            "(statement_timestamp() AT TIME ZONE 'UTC')"
        };
        Sql::new(text, ty)
    }

    fn int(&self, expr: &Expr) -> Result<Sql, Refusal> {
        let value = self.value(expr)?;
        match value.ty {
            Ty::Int(1 | 2 | 4) => Ok(value),
            _ => Err("a number that is no int counts".to_owned()),
        }
    }

    fn of_text(&self, name: &str, value: Sql) -> Result<Sql, Refusal> {
        if let ("datalength", Ty::Bytes(_)) = (name, &value.ty) {
            return Ok(Sql::new(format!("octet_length({})", value.text), Ty::Int(4)));
        }
        let ty = value.as_text()?.clone();
        let int = |text: String| Ok(Sql::new(text, Ty::Int(if ty.max.is_none() { 8 } else { 4 })));
        match name {
            "len" if ty.counts_characters() || value.characters().is_some_and(str::is_ascii) => {
                int(format!("char_length({})", value.trimmed()?))
            }
            // A character beyond the first plane is two UTF-16 units.
            "len" if ty.unicode => {
                int(format!("(char_length({}) + {})", value.trimmed()?, pairs(&value.text)))
            }
            "datalength" if value.pad.is_none() && ty.unicode => {
                int(format!("(2 * (char_length({}) + {}))", value.text, pairs(&value.text)))
            }
            "len" | "datalength" => Err(format!("{} counts bytes", name.to_uppercase())),
            "ltrim" => Ok(Sql::new(format!("ltrim({}, ' ')", value.padded()?), unfixed(value.ty))),
            "rtrim" => Ok(Sql::new(format!("rtrim({}, ' ')", value.text), unfixed(value.ty))),
            "trim" => Ok(Sql::new(format!("btrim({}, ' ')", value.text), unfixed(value.ty))),
            _ if ty.latin() => {
                let (from, to) = if name == "upper" { (LOWER, UPPER) } else { (UPPER, LOWER) };
                let text = format!("translate({}, '{from}', '{to}')", value.padded()?);
                Ok(Sql::new(text, unfixed(value.ty)))
            }
            _ => Err(format!(
                "{} of text that is not of code page 1252 follows the source's collation",
                name.to_uppercase()
            )),
        }
    }

    fn of_number(&self, name: &str, value: Sql) -> Result<Sql, Refusal> {
        let ty = value.ty.clone();
        let called = |function: &str, ty| Ok(Sql::new(format!("{function}({})", value.text), ty));
        match (name, &ty) {
            ("abs", Ty::Int(2..) | Ty::Decimal(..) | Ty::Money | Ty::Real | Ty::Float) => {
                called("abs", ty)
            }
            ("ceiling" | "floor", Ty::Int(_)) => Ok(value),
            ("ceiling" | "floor", Ty::Decimal(precision, _)) => {
                let ty = Ty::Decimal(*precision, 0);
                called(if name == "floor" { "floor" } else { "ceil" }, ty)
            }
            ("ceiling" | "floor", Ty::Money | Ty::Float) => {
                called(if name == "floor" { "floor" } else { "ceil" }, ty)
            }
            ("sign", Ty::Int(bytes @ (4 | 8))) => {
                let bytes = *bytes;
                let name = Ty::Int(bytes).postgres();
                Ok(Sql::new(format!("(sign({})::{name})", value.text), Ty::Int(bytes)))
            }
            ("sign", Ty::Decimal(..) | Ty::Money | Ty::Float) => called("sign", ty),
            _ => Err(format!("{} of such a value is not translated", name.to_uppercase())),
        }
    }

    fn round(&self, value: Sql, digits: &Expr, cut: bool) -> Result<Sql, Refusal> {
        let digits = self.value(digits)?.integer().ok_or("ROUND's length is no constant")?;
        if digits.abs() > 38 {
            return Err("ROUND's length is odd".to_owned());
        }
        let function = if cut { "trunc" } else { "round" };
        match value.ty {
            Ty::Decimal(..) | Ty::Money | Ty::SmallMoney => {
                self.may_fail();
                Ok(Sql::new(format!("{function}({}, {digits})", value.text), value.ty))
            }
            Ty::Int(_) if digits >= 0 => Ok(value),
            Ty::Int(4 | 8) => {
                self.may_fail();
                let name = value.ty.postgres();
                let text = format!("{function}(({})::numeric, {digits})::{name}", value.text);
                Ok(Sql::new(format!("({text})"), value.ty))
            }
            _ => Err("ROUND of a floating-point number is not translated".to_owned()),
        }
    }

    /// A date or a timestamp; a constant text is read as type `constant`.
    fn moment(&self, expr: &Expr, constant: &Ty) -> Result<String, Refusal> {
        let value = self.value(expr)?;
        match (&value.ty, value.characters()) {
            (Ty::Text(_), Some(text)) => literal::temporal(text, constant),
            (ty, _) if ty.is_timestamp() => Ok(value.text),
            (Ty::DateTimeOffset(_), _) => Err("the target does not keep the offset".to_owned()),
            _ => Err("a value that is no date stands for one".to_owned()),
        }
    }

    fn date_add(&self, part: &Expr, number: &Expr, value: &Expr) -> Result<Sql, Refusal> {
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
    fn date_diff(&self, part: &Expr, from: &Expr, to: &Expr) -> Result<Sql, Refusal> {
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

    /// An explicit conversion.
    pub(super) fn converted(&self, from: Sql, to: &Ty, style: Option<i64>) -> Result<Sql, Refusal> {
        if let (Ty::Text(text), true) = (to, from.ty.is_timestamp()) {
            return dated(&from, text, style);
        }
        let neutral = matches!(style, None | Some(0));
        if let (true, Some(text)) = (to.is_timestamp(), from.characters()) {
            let compact = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit());
            let fits = neutral || (style == Some(112) && compact) || style == Some(126);
            if !fits {
                return Err("CONVERT with such a style is not translated".to_owned());
            }
            return Ok(Sql::new(literal::temporal(text, to)?, to.clone()));
        }
        if !neutral {
            return Err("CONVERT with such a style is not translated".to_owned());
        }
        if let (Ty::Text(target), Ty::Text(source)) = (to, &from.ty) {
            if target.fixed {
                return Err("a conversion to a padded text is not translated".to_owned());
            }
            let collation = source.collation.clone();
            let result = Ty::Text(Text { collation, ..target.clone() });
            recoded(&from, target)?;
            let fits =
                target.max.is_none() || source.max.is_some_and(|max| Some(max) <= target.max);
            let text = match target.max {
                _ if fits => from.padded()?,
                Some(max) if counted(from.clone()).is_ok() => {
                    format!("left({}, {max})", from.padded()?)
                }
                _ => return Err("the source would cut the text off by UTF-16 units".to_owned()),
            };
            return Ok(Sql { constant: from.constant.filter(|_| fits), ..Sql::new(text, result) });
        }
        if let (Ty::Text(target), Ty::Uuid) = (to, &from.ty) {
            if target.fixed && target.max != Some(36) || target.max.is_some_and(|max| max < 36) {
                return Err("a uniqueidentifier has 36 characters".to_owned());
            }
            let ty = unfixed(to.clone());
            return Ok(Sql::new(format!("upper(({})::text)", from.text), ty));
        }
        let text = self.implicit(from, to)?;
        Ok(Sql::new(text, to.clone()))
    }

    /// A value where the source converts by itself; the result has the target's type.
    fn implicit(&self, from: Sql, to: &Ty) -> Result<String, Refusal> {
        let name = to.postgres();
        let refused = || Err(format!("a conversion to {name} is not translated"));
        if from.ty == Ty::Null || (from.ty == *to && !matches!(to, Ty::Text(_))) {
            return Ok(from.text);
        }
        // What the clock shows is rounded here and there; nobody can tell.
        let clock = self.purpose_is_default() && from.constant.is_none();
        match (&from.ty, to) {
            (Ty::Text(_), Ty::Bit) => {
                match from.characters().map(str::to_ascii_lowercase).as_deref() {
                    Some("1" | "true") => Ok("true".to_owned()),
                    Some("0" | "false") => Ok("false".to_owned()),
                    _ => refused(),
                }
            }
            (Ty::Text(_), Ty::Int(_)) => match from.characters() {
                Some(text) if text.trim().parse::<i32>().is_ok() => {
                    Ok(format!("{}::{name}", parenthesised(text.trim())))
                }
                Some("") => Ok(format!("0::{name}")),
                _ => refused(),
            },
            (Ty::Text(_), Ty::Uuid) => uuid(from.characters()),
            (Ty::Text(_), _) if to.is_timestamp() || matches!(to, Ty::Time(_)) => {
                let text =
                    from.characters().ok_or("a text that is no constant stands for a time")?;
                literal::temporal(text, to)
            }
            (Ty::Text(source), Ty::Text(target)) => {
                recoded(&from, target)?;
                let fits =
                    target.max.is_none() || source.max.is_some_and(|max| Some(max) <= target.max);
                if fits {
                    from.padded()
                } else {
                    Err("a text is too long for its place".to_owned())
                }
            }
            (Ty::Int(_) | Ty::Bit, Ty::Text(target)) if !target.fixed => {
                let digits = match (&from.constant, &from.ty) {
                    (Some(Constant::Number(digits)), _) => {
                        u32::try_from(digits.len()).unwrap_or(u32::MAX)
                    }
                    (_, Ty::Bit) => 1,
                    (_, Ty::Int(1)) => 3,
                    (_, Ty::Int(2)) => 6,
                    (_, Ty::Int(4)) => 11,
                    _ => 20,
                };
                if target.max.is_some_and(|max| max < digits) {
                    return Err("a number may be too long for its text".to_owned());
                }
                match from.digits() {
                    Some(digits) => literal_text(digits),
                    None => Ok(format!("(({})::text)", whole(&from))),
                }
            }
            (Ty::Real | Ty::Float, Ty::Real | Ty::Float) if *to == Ty::Float => floating(&from, to),
            (Ty::Real | Ty::Float, Ty::Int(_)) => {
                self.may_fail();
                Ok(format!("((trunc({}))::{name})", from.text))
            }
            (_, Ty::Bit) => match (from.integer(), from.ty.exact()) {
                (Some(0), _) => Ok("false".to_owned()),
                (Some(_), _) => Ok("true".to_owned()),
                (None, Some(_)) => Ok(format!("({} <> 0)", from.text)),
                _ => refused(),
            },
            (_, Ty::Real | Ty::Float) => floating(&from, to),
            (Ty::Bytes(source), Ty::Bytes(target)) => {
                let fits = target.is_none() || source.is_some_and(|n| Some(n) <= *target);
                if fits { Ok(from.text) } else { refused() }
            }
            (Ty::Int(_), Ty::DateTime | Ty::SmallDateTime) => {
                // Days since 1900.
                self.may_fail();
                Ok(format!("('1900-01-01'::timestamp + make_interval(days => {}))", from.text))
            }
            (source, Ty::Int(bytes)) if source.exact().is_some() => {
                let narrower = source.exact().is_some_and(|(precision, scale)| {
                    precision - scale > Ty::Int(*bytes).exact().unwrap_or_default().0 || scale > 0
                });
                if narrower {
                    self.may_fail();
                }
                Ok(match source {
                    // Decimals are cut, money is rounded.
                    Ty::Decimal(_, 1..) => format!("((trunc({}))::{name})", from.text),
                    Ty::Money | Ty::SmallMoney => format!("((round({}))::{name})", from.text),
                    _ => format!("(({})::{name})", from.text),
                })
            }
            (source, Ty::Decimal(..) | Ty::Money | Ty::SmallMoney) if source.exact().is_some() => {
                let fits = source
                    .exact()
                    .zip(to.exact())
                    .is_some_and(|((p1, s1), (p2, s2))| p1 - s1 <= p2 - s2 && s1 <= s2);
                if !fits {
                    self.may_fail();
                }
                Ok(format!("(({})::{name})", whole(&from)))
            }
            (source, Ty::Date) if source.is_timestamp() => Ok(format!("(({})::date)", from.text)),
            (Ty::Date, _) if to.is_timestamp() => Ok(format!("(({})::timestamp)", from.text)),
            (Ty::SmallDateTime, Ty::DateTime | Ty::DateTime2(_)) => Ok(from.text),
            (Ty::DateTime, Ty::DateTime2(3)) => Ok(from.text),
            (Ty::DateTime2(a), Ty::DateTime2(b)) if a <= b => Ok(from.text),
            (Ty::DateTime2(a), Ty::Time(b)) if a <= b => Ok(format!("(({})::time)", from.text)),
            (Ty::DateTime, Ty::Time(3)) => Ok(format!("(({})::time)", from.text)),
            (source, _)
                if clock
                    && source.is_timestamp()
                    && (to.is_timestamp() || matches!(to, Ty::Time(_))) =>
            {
                Ok(format!("(({})::{name})", from.text))
            }
            (Ty::DateTimeOffset(_), Ty::DateTimeOffset(_)) if clock => Ok(from.text),
            _ => refused(),
        }
    }

    /// A value as it is stored in a column of type `to`.
    pub(super) fn store(&self, value: Sql, to: &Ty) -> Result<String, Refusal> {
        match (&value.ty, to) {
            (Ty::Text(_), Ty::Text(target)) if target.fixed => {
                // The column pads by itself.
                let loose = Ty::Text(Text { fixed: false, ..target.clone() });
                self.implicit(value, &loose)
            }
            (Ty::Int(_) | Ty::Bit, Ty::Text(target)) if target.fixed => {
                let loose = Ty::Text(Text { fixed: false, ..target.clone() });
                self.implicit(value, &loose)
            }
            _ => self.implicit(value, to),
        }
    }

    fn purpose_is_default(&self) -> bool {
        self.purpose == Purpose::Default
    }
}

fn parenthesised(digits: &str) -> String {
    if digits.starts_with('-') { format!("({digits})") } else { digits.to_owned() }
}

/// A text type without padding.
fn unfixed(ty: Ty) -> Ty {
    match ty {
        Ty::Text(text) => Ty::Text(Text { fixed: false, ..text }),
        other => other,
    }
}

/// A text whose characters are what the source counts.
fn counted(value: Sql) -> Result<Sql, Refusal> {
    let text = value.as_text()?;
    if text.counts_characters() {
        return Ok(value);
    }
    Err("the source counts UTF-16 units or bytes of the text".to_owned())
}

/// How many characters of a text are two UTF-16 units.
fn pairs(text: &str) -> String {
    format!("char_length(regexp_replace({text}, '[^\\U00010000-\\U0010ffff]+', '', 'g'))")
}

/// Unicode text in a code page loses what the page does not have.
fn recoded(from: &Sql, target: &Text) -> Result<(), Refusal> {
    let source = from.as_text()?;
    let plain = from.characters().is_some_and(str::is_ascii);
    if source.unicode && !target.unicode && !plain {
        return Err(
            "the source would replace characters that its code page does not have".to_owned()
        );
    }
    Ok(())
}

/// A date as text, in the two forms that are the same everywhere.
fn dated(from: &Sql, target: &Text, style: Option<i64>) -> Result<Sql, Refusal> {
    let (separator, length) = match style {
        Some(23) => ("-", 10),
        Some(112) => ("", 8),
        _ => return Err("CONVERT of a date to text has styles 23 and 112 only".to_owned()),
    };
    if target.max.is_some_and(|max| max < length) || target.fixed && target.max != Some(length) {
        return Err("a date may be too long for its text".to_owned());
    }
    let part = |field: &str, width: u32| {
        format!("lpad((extract({field} FROM {}))::integer::text, {width}, '0')", from.text)
    };
    let parts = [part("year", 4), part("month", 2), part("day", 2)];
    let joined = parts.join(&format!(" || '{separator}' || "));
    let ty = Ty::Text(Text { max: Some(length), fixed: false, ..target.clone() });
    Ok(Sql::new(format!("({joined})"), ty))
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
