//! For PostgreSQL: values and conditions.

mod compare;
mod convert;
mod date;
mod function;
mod literal;
mod unite;

use std::cell::Cell;

use super::parse::{Expr, TypeName};
use super::types::{Text, Ty};
use super::{Purpose, Refusal, Scope, literal_text};
use unite::{concatenated, same_floats, united};

#[cfg(test)]
pub(super) use function::FUNCTIONS;

/// A value in PostgreSQL's words, and what it is in the source.
#[derive(Clone, Debug)]
pub(super) struct Sql {
    /// An expression that can stand anywhere.
    pub(super) text: String,
    pub(super) ty: Ty,
    /// Its value, where it is a constant.
    pub(super) constant: Option<Constant>,
    /// The length to which the source pads it with blanks that `text` lacks.
    pub(super) pad: Option<u32>,
}

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Constant {
    /// Digits with a sign, a point or an exponent.
    Number(String),
    Text(String),
}

impl Sql {
    pub(super) fn new(text: impl Into<String>, ty: Ty) -> Self {
        Sql { text: text.into(), ty, constant: None, pad: None }
    }

    fn constant(text: impl Into<String>, ty: Ty, constant: Constant) -> Self {
        Sql { constant: Some(constant), ..Sql::new(text, ty) }
    }

    /// The digits of a constant number.
    pub(super) fn digits(&self) -> Option<&str> {
        match &self.constant {
            Some(Constant::Number(digits)) => Some(digits),
            _ => None,
        }
    }

    /// A constant integer.
    pub(super) fn integer(&self) -> Option<i64> {
        self.digits()?.parse().ok()
    }

    /// The characters of a constant text.
    pub(super) fn characters(&self) -> Option<&str> {
        match &self.constant {
            Some(Constant::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Precision and scale of an exact number; a constant integer has as many digits as it shows.
    fn exact(&self) -> Option<(u8, u8)> {
        match (&self.ty, self.integer()) {
            (Ty::Int(_), Some(number)) => {
                let digits = number.unsigned_abs().to_string().len();
                Some((u8::try_from(digits).unwrap_or(u8::MAX), 0))
            }
            (ty, _) => ty.exact(),
        }
    }

    /// Its text type.
    ///
    /// # Errors
    /// When it is no text.
    pub(super) fn as_text(&self) -> Result<&Text, Refusal> {
        match &self.ty {
            Ty::Text(text) => Ok(text),
            _ => Err("a value that is no text stands for one".to_owned()),
        }
    }

    /// The text with the blanks that the source pads it with.
    ///
    /// # Errors
    /// When their number is not known.
    pub(super) fn padded(&self) -> Result<String, Refusal> {
        match self.pad {
            None => Ok(self.text.clone()),
            Some(length) if self.as_text()?.single_byte() => {
                Ok(format!("rpad({}, {length})", self.text))
            }
            Some(_) => Err("the padding of a fixed-length text is not known".to_owned()),
        }
    }

    /// The text without trailing blanks.
    pub(super) fn trimmed(&self) -> Result<String, Refusal> {
        match self.characters() {
            Some(text) => literal_text(text.trim_end_matches(' ')),
            None if self.pad.is_some() => Ok(self.text.clone()),
            None => Ok(format!("rtrim({}, ' ')", self.text)),
        }
    }
}

/// What an expression turned out to do.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    /// It looks at the clock.
    clock: bool,
    /// It is random.
    random: bool,
    /// It looks at the session's time zone.
    local: bool,
    /// It may fail for some rows.
    fails: bool,
}

/// Walks an expression.
pub(super) struct Translator<'a> {
    scope: &'a Scope<'a>,
    pub(super) purpose: Purpose,
    traits: Cell<Traits>,
}

impl<'a> Translator<'a> {
    pub(super) fn new(scope: &'a Scope<'a>, purpose: Purpose) -> Self {
        Translator { scope, purpose, traits: Cell::default() }
    }

    /// Whether what was found has a place in what the expression is for.
    pub(super) fn admit(&self) -> Result<(), Refusal> {
        let traits = self.traits.get();
        if self.purpose == Purpose::Default {
            return Ok(());
        }
        if traits.clock {
            return Err("it looks at the clock, which is another one here".to_owned());
        }
        if traits.random {
            return Err("it is random".to_owned());
        }
        if traits.fails && self.purpose == (Purpose::Computed { persisted: false }) {
            return Err(
                "it may fail for some rows: the source would notice when they are read, the target \
                 when they are written"
                    .to_owned(),
            );
        }
        Ok(())
    }

    pub(super) fn is_local(&self) -> bool {
        self.traits.get().local
    }

    pub(super) fn looks_at_clock(&self, local: bool) {
        let traits = self.traits.get();
        self.traits.set(Traits { clock: true, local: traits.local || local, ..traits });
    }

    pub(super) fn is_random(&self) {
        self.traits.set(Traits { random: true, ..self.traits.get() });
    }

    pub(super) fn may_fail(&self) {
        self.traits.set(Traits { fails: true, ..self.traits.get() });
    }

    /// A condition.
    pub(super) fn condition(&self, expr: &Expr) -> Result<String, Refusal> {
        Ok(match expr {
            Expr::And(parts) => self.joined(parts, " AND ")?,
            Expr::Or(parts) => self.joined(parts, " OR ")?,
            Expr::Not(inner) => format!("(NOT {})", self.condition(inner)?),
            Expr::IsNull(inner, negated) => {
                let not = if *negated { "NOT " } else { "" };
                format!("({} IS {not}NULL)", self.value(inner)?.text)
            }
            Expr::Binary(operator @ ("=" | "<>" | "<" | ">" | "<=" | ">="), left, right) => {
                self.comparison(operator, &self.value(left)?, &self.value(right)?)?
            }
            Expr::In(left, items, negated) => {
                let left = self.value(left)?;
                let parts = items
                    .iter()
                    .map(|item| self.comparison("=", &left, &self.value(item)?))
                    .collect::<Result<Vec<_>, _>>()?;
                if parts.is_empty() {
                    return Err("IN has nothing in it".to_owned());
                }
                let not = if *negated { "NOT " } else { "" };
                format!("({not}({}))", parts.join(" OR "))
            }
            Expr::Between(value, low, high, negated) => {
                let value = self.value(value)?;
                let low = self.comparison(">=", &value, &self.value(low)?)?;
                let high = self.comparison("<=", &value, &self.value(high)?)?;
                let not = if *negated { "NOT " } else { "" };
                format!("({not}({low} AND {high}))")
            }
            Expr::Like { text, pattern, escape, negated } => {
                let escape = escape.as_ref().map(|escape| self.value(escape)).transpose()?;
                let like = self.like(&self.value(text)?, &self.value(pattern)?, escape.as_ref())?;
                if *negated { format!("(NOT {like})") } else { like }
            }
            _ => return Err("a value stands where a condition is wanted".to_owned()),
        })
    }

    fn joined(&self, parts: &[Expr], with: &str) -> Result<String, Refusal> {
        let parts: Vec<String> =
            parts.iter().map(|part| self.condition(part)).collect::<Result<_, _>>()?;
        Ok(format!("({})", parts.join(with)))
    }

    /// A value.
    pub(super) fn value(&self, expr: &Expr) -> Result<Sql, Refusal> {
        match expr {
            Expr::Null => Ok(Sql::new("NULL", Ty::Null)),
            Expr::Number(digits) => number(digits),
            Expr::Money(digits) if digits.is_empty() => self.value(&Expr::Money("0".to_owned())),
            Expr::Money(digits) => {
                let text = format!("{digits}::numeric(19,4)");
                Ok(Sql::constant(text, Ty::Money, Constant::Number(digits.clone())))
            }
            Expr::Text { value, unicode } => {
                if !unicode && !value.is_ascii() {
                    return Err(
                        "a constant without N depends on the database's code page".to_owned()
                    );
                }
                let units = if *unicode { value.encode_utf16().count() } else { value.len() };
                let max = u32::try_from(units).ok().map(|units| units.max(1));
                let ty = Ty::Text(Text { unicode: *unicode, max, fixed: false, collation: None });
                Ok(Sql::constant(literal_text(value)?, ty, Constant::Text(value.clone())))
            }
            Expr::Bytes(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let max = u32::try_from(bytes.len()).ok();
                Ok(Sql::new(format!("'\\x{digits}'::bytea"), Ty::Bytes(max)))
            }
            Expr::Name(name) => self.column(name),
            Expr::Unary(operator, operand) => self.unary(operator, self.value(operand)?),
            Expr::Binary(operator, left, right) => {
                self.arithmetic(operator, self.value(left)?, self.value(right)?)
            }
            Expr::Case { operand, whens, otherwise } => {
                self.case(operand.as_deref(), whens, otherwise.as_deref())
            }
            Expr::Convert { ty, value, style } => self.convert(ty, value, style.as_deref()),
            Expr::Collate(inner, collation) => {
                let inner = self.value(inner)?;
                let before = inner.as_text()?;
                let text = Text { collation: Some(collation.clone()), ..before.clone() };
                let same_page = before.unicode
                    || inner.characters().is_some()
                    || before.latin() && text.latin();
                if !same_page {
                    return Err("COLLATE may convert the text to another code page".to_owned());
                }
                Ok(Sql { ty: Ty::Text(text), ..inner })
            }
            Expr::Call(name, arguments) => self.call(name, arguments),
            _ => Err("a condition stands where a value is wanted".to_owned()),
        }
    }

    fn column(&self, name: &str) -> Result<Sql, Refusal> {
        let (quoted, column) = self.scope.operand(name)?;
        let ty = Ty::of(column)?;
        Ok(match &ty {
            // The cast takes the padding away, whatever type the target has for it.
            Ty::Text(Text { fixed: true, max, .. }) => {
                let pad = *max;
                Sql { pad, ..Sql::new(format!("rtrim(({quoted})::text, ' ')"), ty) }
            }
            _ => Sql::new(quoted, ty),
        })
    }

    fn unary(&self, operator: &str, operand: Sql) -> Result<Sql, Refusal> {
        match (operator, &operand.ty) {
            ("+", _) => Ok(operand),
            (
                "-",
                Ty::Int(2..) | Ty::Decimal(..) | Ty::Money | Ty::SmallMoney | Ty::Real | Ty::Float,
            ) => {
                let text = format!("(-{})", operand.text);
                let constant = operand.digits().map(|digits| {
                    Constant::Number(match digits.strip_prefix('-') {
                        Some(positive) => positive.to_owned(),
                        None => format!("-{digits}"),
                    })
                });
                Ok(Sql { constant, ..Sql::new(text, operand.ty) })
            }
            ("~", Ty::Int(2..)) => Ok(Sql::new(format!("(~{})", operand.text), operand.ty)),
            ("~", Ty::Bit) => Ok(Sql::new(format!("(NOT {})", operand.text), Ty::Bit)),
            _ => Err(format!("`{operator}` before such a value is not translated")),
        }
    }

    /// `+ - * / % & | ^`
    fn arithmetic(&self, operator: &str, left: Sql, right: Sql) -> Result<Sql, Refusal> {
        let refused = || Err(format!("`{operator}` of such values is not translated"));
        match (&left.ty, &right.ty) {
            (Ty::Text(_), Ty::Text(_)) if operator == "+" => concatenated(&left, &right),
            (Ty::DateTime | Ty::SmallDateTime, Ty::Int(_)) if matches!(operator, "+" | "-") => {
                self.may_fail();
                let days = format!("make_interval(days => {})", right.text);
                Ok(Sql::new(format!("({} {operator} {days})", left.text), left.ty))
            }
            (Ty::Int(_), Ty::DateTime | Ty::SmallDateTime) if operator == "+" => {
                self.arithmetic(operator, right, left)
            }
            (Ty::Bit, Ty::Bit) if matches!(operator, "&" | "|" | "^") => {
                let bits = bits(operator, &whole(&left), &whole(&right));
                Ok(Sql::new(format!("({bits} <> 0)"), Ty::Bit))
            }
            (Ty::Bit, Ty::Bit) => refused(),
            (Ty::Int(_) | Ty::Bit, Ty::Int(_) | Ty::Bit) => {
                let bytes = |ty: &Ty| if let Ty::Int(bytes) = ty { *bytes } else { 1 };
                let ty = Ty::Int(bytes(&left.ty).max(bytes(&right.ty)));
                let harmless = right.integer().is_some_and(|divisor| divisor > 0);
                let (left, right) = (whole(&left), whole(&right));
                Ok(Sql::new(
                    match operator {
                        "&" | "|" | "^" => bits(operator, &left, &right),
                        "/" | "%" => {
                            if !harmless {
                                self.may_fail();
                            }
                            format!("({left} {operator} {right})")
                        }
                        _ => format!("({left} {operator} {right})"),
                    },
                    ty,
                ))
            }
            (Ty::Real | Ty::Float, _) | (_, Ty::Real | Ty::Float) => {
                self.floating(operator, &left, &right)
            }
            _ => match (left.exact(), right.exact()) {
                (Some(a), Some(b)) => self.decimals(operator, &left, a, &right, b),
                _ => refused(),
            },
        }
    }

    /// <https://learn.microsoft.com/en-us/sql/t-sql/data-types/precision-scale-and-length-transact-sql>
    fn decimals(
        &self,
        operator: &str,
        left: &Sql,
        (p1, s1): (u8, u8),
        right: &Sql,
        (p2, s2): (u8, u8),
    ) -> Result<Sql, Refusal> {
        let money = |ty: &Ty| matches!(ty, Ty::Money | Ty::SmallMoney);
        let decimal = |ty: &Ty| matches!(ty, Ty::Decimal(..));
        let text = format!("({} {operator} {})", whole(left), whole(right));
        if (money(&left.ty) || money(&right.ty)) && !decimal(&left.ty) && !decimal(&right.ty) {
            // Money keeps four digits: of two factors only one may have any.
            let exact = matches!(operator, "+" | "-")
                || operator == "*" && money(&left.ty) != money(&right.ty);
            return if exact {
                Ok(Sql::new(text, Ty::Money))
            } else {
                Err(format!("`{operator}` of money rounds"))
            };
        }
        let (precision, scale) = match operator {
            "+" | "-" => {
                let scale = s1.max(s2);
                ((p1 - s1).max(p2 - s2) + scale + 1, scale)
            }
            "*" => (p1 + p2 + 1, s1 + s2),
            "%" => {
                self.may_fail();
                let scale = s1.max(s2);
                ((p1 - s1).min(p2 - s2) + scale, scale)
            }
            "/" => return Err("the scale of a quotient of decimals is another one".to_owned()),
            _ => return Err(format!("`{operator}` of decimals is not translated")),
        };
        if precision > 38 {
            return Err("the source would round to 38 digits".to_owned());
        }
        Ok(Sql::new(text, Ty::Decimal(precision, scale)))
    }

    fn floating(&self, operator: &str, left: &Sql, right: &Sql) -> Result<Sql, Refusal> {
        let (left, right, ty) = same_floats(left, right)?;
        match operator {
            "+" | "-" | "*" => {}
            "/" => self.may_fail(),
            _ => return Err(format!("`{operator}` of floating-point numbers is not translated")),
        }
        Ok(Sql::new(format!("({left} {operator} {right})"), ty))
    }

    fn case(
        &self,
        operand: Option<&Expr>,
        whens: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
    ) -> Result<Sql, Refusal> {
        let operand = operand.map(|operand| self.value(operand)).transpose()?;
        let mut conditions = Vec::new();
        let mut values = Vec::new();
        for (when, then) in whens {
            conditions.push(match &operand {
                Some(operand) => self.comparison("=", operand, &self.value(when)?)?,
                None => self.condition(when)?,
            });
            values.push(self.value(then)?);
        }
        let last = otherwise.map(|otherwise| self.value(otherwise)).transpose()?;
        let all: Vec<&Sql> = values.iter().chain(last.as_ref()).collect();
        let (ty, texts) = united(&all)?;
        let mut sql = "CASE".to_owned();
        for (condition, value) in conditions.iter().zip(&texts) {
            sql.push_str(&format!(" WHEN {condition} THEN {value}"));
        }
        if last.is_some() {
            sql.push_str(&format!(" ELSE {}", texts[texts.len() - 1]));
        }
        Ok(Sql::new(format!("({sql} END)"), ty))
    }

    fn convert(&self, ty: &TypeName, value: &Expr, style: Option<&Expr>) -> Result<Sql, Refusal> {
        let to = Ty::written(ty)?;
        let from = self.value(value)?;
        let style = match style {
            None => None,
            Some(style) => {
                let style = self.value(style)?.integer();
                Some(style.ok_or("the style of CONVERT is no constant")?)
            }
        };
        self.converted(from, &to, style)
    }
}

/// A number as SQL Server types it.
fn number(digits: &str) -> Result<Sql, Refusal> {
    let constant = Constant::Number(digits.to_owned());
    if digits.contains(['e', 'E']) {
        let text = format!("'{digits}'::double precision");
        return Ok(Sql::constant(text, Ty::Float, constant));
    }
    if digits.parse::<i32>().is_ok() {
        return Ok(Sql::constant(digits, Ty::Int(4), constant));
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let precision = (whole.len() + fraction.len()).max(1);
    let (Ok(precision), Ok(scale)) = (u8::try_from(precision), u8::try_from(fraction.len())) else {
        return Err("a number has too many digits".to_owned());
    };
    if precision > 38 {
        return Err("a number has too many digits".to_owned());
    }
    let text = format!("{digits}::numeric");
    Ok(Sql::constant(text, Ty::Decimal(precision, scale), constant))
}

/// A number's text; a bit becomes one.
pub(super) fn whole(sql: &Sql) -> String {
    match sql.ty {
        Ty::Bit => format!("({})::integer", sql.text),
        _ => sql.text.clone(),
    }
}

fn bits(operator: &str, left: &str, right: &str) -> String {
    // In PostgreSQL `^` is a power and `#` is "exclusive or".
    let operator = if operator == "^" { "#" } else { operator };
    format!("({left} {operator} {right})")
}
