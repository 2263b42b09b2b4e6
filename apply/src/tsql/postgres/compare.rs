//! Comparisons and LIKE.

use super::super::types::Ty;
use super::super::{Refusal, literal_text};
use super::literal;
use super::unite::{one_collation, same_floats};
use super::{Sql, Translator, whole};

impl Translator<'_> {
    /// `=`, `<>`, `<`, `>`, `<=`, `>=`
    pub(super) fn comparison(&self, operator: &str, a: &Sql, b: &Sql) -> Result<String, Refusal> {
        if a.ty == Ty::Null || b.ty == Ty::Null {
            return Err("a comparison with NULL is never true".to_owned());
        }
        if let Some(swapped) = swap(operator) {
            // Constants to the right.
            if a.constant.is_some() && b.constant.is_none() {
                return self.comparison(swapped, b, a);
            }
        }
        let plain = |left: &str, right: &str| Ok(format!("({left} {operator} {right})"));
        match (&a.ty, &b.ty) {
            (Ty::Text(_), Ty::Text(_)) => texts(operator, a, b),
            (Ty::Bit, _) if b.integer().or(b.characters().and_then(truth)).is_some() => {
                match (operator, b.integer().or(b.characters().and_then(truth))) {
                    ("=" | "<>", Some(0)) => plain(&a.text, "false"),
                    ("=" | "<>", Some(1)) => plain(&a.text, "true"),
                    (_, number) => plain(&whole(a), &number.unwrap_or_default().to_string()),
                }
            }
            (Ty::Bit, Ty::Bit) => plain(&a.text, &b.text),
            (Ty::Uuid, Ty::Uuid) if matches!(operator, "=" | "<>") => plain(&a.text, &b.text),
            (Ty::Uuid, Ty::Text(_)) if matches!(operator, "=" | "<>") => {
                plain(&a.text, &uuid(b.characters())?)
            }
            (Ty::Uuid, _) => Err("uniqueidentifier has another order".to_owned()),
            (Ty::Text(_), Ty::Bit) | (Ty::Bit, Ty::Text(_)) => {
                Err("a text is compared with a bit".to_owned())
            }
            (Ty::Text(_), other) | (other, Ty::Text(_)) if other.exact().is_some() => {
                let (number, text, turned) = if a.ty == *other {
                    (a, b, operator)
                } else {
                    (b, a, swap(operator).unwrap_or(operator))
                };
                let digits = text.characters().map(|text| text.trim_matches(' '));
                let digits = digits.filter(|digits| digits.parse::<i32>().is_ok());
                let digits = digits.ok_or("a text is compared with a number")?;
                Ok(format!("({} {turned} {digits})", whole(number)))
            }
            (Ty::Real | Ty::Float, _) | (_, Ty::Real | Ty::Float) => {
                let (left, right, _) = same_floats(a, b)?;
                plain(&left, &right)
            }
            (left, right) if left.exact().is_some() && right.exact().is_some() => {
                plain(&whole(a), &whole(b))
            }
            (ty, Ty::Text(_)) if ty.is_timestamp() || matches!(ty, Ty::Time(_)) => {
                // Digits cut towards the past: only these two cannot notice.
                if ty.is_cut() && !matches!(operator, ">=" | "<") {
                    return Err(cut());
                }
                let text = b.characters().ok_or("a text that is no constant stands for a time")?;
                plain(&a.text, &literal::temporal(text, ty)?)
            }
            (left, right) if left.is_cut() || right.is_cut() => Err(cut()),
            (Ty::DateTime, Ty::DateTime2(_)) | (Ty::DateTime2(_), Ty::DateTime) => {
                Err("datetime is compared with datetime2 by 1/300 s".to_owned())
            }
            (left, right) if left.is_timestamp() && right.is_timestamp() => plain(&a.text, &b.text),
            (Ty::Time(_), Ty::Time(_)) | (Ty::DateTimeOffset(_), Ty::DateTimeOffset(_)) => {
                plain(&a.text, &b.text)
            }
            _ => Err("values of such types are compared".to_owned()),
        }
    }

    /// `LIKE`, under binary collations.
    pub(super) fn like(
        &self,
        text: &Sql,
        pattern: &Sql,
        escape: Option<&Sql>,
    ) -> Result<String, Refusal> {
        if text.constant.is_some() {
            return Err("LIKE of a constant is not translated".to_owned());
        }
        let (left, right) = (text.as_text()?, pattern.as_text()?);
        let mut met = left.clone();
        met.collation = one_collation(left, right)?;
        if !met.binary() {
            return Err(by_collation(met.collation.as_deref()));
        }
        let pattern = pattern.characters().ok_or("the pattern of LIKE is no constant")?;
        let escape = match escape {
            None => None,
            Some(escape) => {
                let mut characters = escape.characters().unwrap_or_default().chars();
                match (characters.next(), characters.next()) {
                    (Some(one), None) => Some(one),
                    _ => return Err("ESCAPE is not one character".to_owned()),
                }
            }
        };
        let parts = pattern_parts(pattern, escape)?;
        // Trailing blanks of text that is not Unicode mean nothing to LIKE.
        if !left.unicode && parts.last() != Some(&Part::Any) {
            return Err("LIKE passes over trailing blanks of text that is not Unicode".to_owned());
        }
        // A set of characters of the first plane cannot meet half of a pair.
        let counts = parts.iter().any(|part| match part {
            Part::One => true,
            Part::Set(members, negated) => {
                *negated || members.iter().any(|(_, high)| *high > '\u{d7ff}')
            }
            Part::Any | Part::Literal(_) => false,
        });
        if counts && !met.counts_characters() {
            return Err("LIKE counts UTF-16 units".to_owned());
        }
        let expression: String = parts.iter().map(Part::expression).collect();
        Ok(format!(
            "({} COLLATE \"C\" ~ {})",
            text.padded()?,
            literal_text(&format!("^{expression}$"))?
        ))
    }
}

/// Text is compared by code alone, or not at all; trailing blanks mean nothing.
fn texts(operator: &str, a: &Sql, b: &Sql) -> Result<String, Refusal> {
    let (left, right) = (a.as_text()?, b.as_text()?);
    let mut met = left.clone();
    met.collation = one_collation(left, right)?;
    if !met.binary() {
        return Err(by_collation(met.collation.as_deref()));
    }
    if !matches!(operator, "=" | "<>") {
        return Err("text has another order".to_owned());
    }
    Ok(format!("({} {operator} {})", a.trimmed()?, b.trimmed()?))
}

pub(super) fn by_collation(collation: Option<&str>) -> Refusal {
    match collation {
        Some(collation) => {
            format!("it compares text by collation {collation}, which PostgreSQL does not have")
        }
        None => "it compares text by the database's collation".to_owned(),
    }
}

fn cut() -> Refusal {
    "the seventh fractional digit, which the target cuts off, may decide".to_owned()
}

/// The operator with its sides exchanged.
fn swap(operator: &str) -> Option<&'static str> {
    Some(match operator {
        "=" => "=",
        "<>" => "<>",
        "<" => ">",
        ">" => "<",
        "<=" => ">=",
        ">=" => "<=",
        _ => return None,
    })
}

fn truth(text: &str) -> Option<i64> {
    match text.trim_matches(' ').to_ascii_lowercase().as_str() {
        "1" | "true" => Some(1),
        "0" | "false" => Some(0),
        _ => None,
    }
}

/// A constant uuid.
pub(super) fn uuid(text: Option<&str>) -> Result<String, Refusal> {
    let text = text.ok_or("a text stands for a uniqueidentifier")?;
    let inner = text.trim_matches(['{', '}']);
    match (inner.len(), uuid::Uuid::try_parse(inner)) {
        (36, Ok(uuid)) => Ok(format!("'{uuid}'::uuid")),
        _ => Err("a constant is no uniqueidentifier".to_owned()),
    }
}

/// A piece of a pattern.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// `%`
    Any,
    /// `_`
    One,
    Literal(char),
    /// `[…]`: members, and whether it is everything else.
    Set(Vec<(char, char)>, bool),
}

impl Part {
    /// In the words of PostgreSQL's regular expressions.
    fn expression(&self) -> String {
        match self {
            Part::Any => ".*".to_owned(),
            Part::One => ".".to_owned(),
            Part::Literal(c) => escaped(*c),
            Part::Set(members, negated) => {
                let members: Vec<String> = members
                    .iter()
                    .map(|(low, high)| {
                        if low == high {
                            escaped(*low)
                        } else {
                            format!("{}-{}", escaped(*low), escaped(*high))
                        }
                    })
                    .collect();
                format!("[{}{}]", if *negated { "^" } else { "" }, members.concat())
            }
        }
    }
}

fn escaped(c: char) -> String {
    if c.is_alphanumeric() { c.to_string() } else { format!("\\U{:08x}", u32::from(c)) }
}

/// <https://learn.microsoft.com/en-us/sql/t-sql/language-elements/like-transact-sql>
fn pattern_parts(pattern: &str, escape: Option<char>) -> Result<Vec<Part>, Refusal> {
    let mut parts = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        parts.push(match c {
            _ if Some(c) == escape => {
                Part::Literal(rest.next().ok_or("the pattern of LIKE ends with its ESCAPE")?)
            }
            '%' => Part::Any,
            '_' => Part::One,
            '[' => {
                let negated = rest.next_if_eq(&'^').is_some();
                let mut members = Vec::new();
                loop {
                    let low = rest.next().ok_or("a set in the pattern of LIKE does not end")?;
                    match low {
                        ']' if members.is_empty() => {
                            return Err("a set in the pattern of LIKE is empty".to_owned());
                        }
                        ']' => break,
                        _ if Some(low) == escape => {
                            return Err("ESCAPE in a set of LIKE is not translated".to_owned());
                        }
                        '-' => members.push(('-', '-')),
                        _ if rest.next_if_eq(&'-').is_some() => {
                            let high = rest.next().filter(|high| *high != ']' && *high >= low);
                            members.push((low, high.ok_or("a range of LIKE is not translated")?));
                        }
                        _ => members.push((low, low)),
                    }
                }
                Part::Set(members, negated)
            }
            _ => Part::Literal(c),
        });
    }
    Ok(parts)
}
