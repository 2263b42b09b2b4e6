//! Conversions.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/functions/cast-and-convert-transact-sql>

use super::super::types::{Text, Ty};
use super::super::{Purpose, Refusal, literal_text};
use super::compare::uuid;
use super::function::unfixed;
use super::literal;
use super::unite::floating;
use super::{Constant, Sql, Translator, whole};

impl Translator<'_> {
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
                Some(max) if source.single_byte() => format!("left({}, {max})", from.padded()?),
                _ => {
                    return Err(
                        "the source would cut the text off by UTF-16 units or bytes".to_owned()
                    );
                }
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
    pub(super) fn implicit(&self, from: Sql, to: &Ty) -> Result<String, Refusal> {
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
    pub(crate) fn store(&self, value: Sql, to: &Ty) -> Result<String, Refusal> {
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
