//! Functions, but for those of dates.

use super::super::parse::Expr;
use super::super::types::{Text, Ty};
use super::super::{Refusal, literal_text};
use super::unite::{concatenated, united};
use super::{Sql, Translator};

/// Every function that is translated; the documentation's list is held against it.
pub(crate) const FUNCTIONS: &[&str] = &[
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

    pub(super) fn int(&self, expr: &Expr) -> Result<Sql, Refusal> {
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
            // Of a constant, here and now: the database's collation, which would count, is not known.
            "len" | "datalength" if value.constant.is_some() => match value.characters() {
                Some(text) if text.is_ascii() => {
                    let units = if name == "len" { text.trim_end_matches(' ') } else { text }.len();
                    let bytes = if name == "datalength" && ty.unicode { 2 * units } else { units };
                    int(bytes.to_string())
                }
                _ => Err(format!("{} of a constant that is not ASCII", name.to_uppercase())),
            },
            "len" if ty.counts_characters() => int(format!("char_length({})", value.trimmed()?)),
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
}

/// A text type without padding.
pub(super) fn unfixed(ty: Ty) -> Ty {
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
    format!(
        "char_length(regexp_replace({text} COLLATE \"C\", '[^\\U00010000-\\U0010ffff]+', '', 'g'))"
    )
}
