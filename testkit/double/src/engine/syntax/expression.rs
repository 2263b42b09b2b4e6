//! Expressions. Precedence, tightest first: `~` and signs; `* / %`; `+ - & ^ |`; comparisons,
//! LIKE, IN, BETWEEN, IS NULL; NOT; AND; OR. Operators of one level group from the left.

use super::ast::{
    BinaryOp, Call, Case, CompareOp, Convert, Expr, Method, OrderItem, Query, UnaryOp,
};
use super::lexer::TokenKind;
use super::parser::{MAX_CHAIN, Parsed, Parser};
use crate::engine::collation::Label;
use crate::{SqlType, Value};

const COMPARISONS: [(&str, CompareOp); 9] = [
    ("=", CompareOp::Equal),
    ("<>", CompareOp::NotEqual),
    ("!=", CompareOp::NotEqual),
    ("<=", CompareOp::LessOrEqual),
    ("!>", CompareOp::LessOrEqual),
    ("<", CompareOp::Less),
    (">=", CompareOp::GreaterOrEqual),
    ("!<", CompareOp::GreaterOrEqual),
    (">", CompareOp::Greater),
];

const ADDITIVE: [(&str, BinaryOp); 5] = [
    ("+", BinaryOp::Add),
    ("-", BinaryOp::Subtract),
    ("&", BinaryOp::BitAnd),
    ("|", BinaryOp::BitOr),
    ("^", BinaryOp::BitXor),
];

const MULTIPLICATIVE: [(&str, BinaryOp); 3] =
    [("*", BinaryOp::Multiply), ("/", BinaryOp::Divide), ("%", BinaryOp::Modulo)];

/// Keywords that are functions without parentheses.
const NILADIC: [&str; 5] =
    ["CURRENT_TIMESTAMP", "CURRENT_USER", "SESSION_USER", "SYSTEM_USER", "USER"];

/// Reserved words that are also function names.
const RESERVED_FUNCTIONS: [&str; 4] = ["COALESCE", "NULLIF", "LEFT", "RIGHT"];

impl Parser<'_> {
    /// A condition: anything, down to OR. The binder tells conditions from values.
    pub fn condition(&mut self) -> Parsed<Expr> {
        self.nested(|p| {
            let mut terms = vec![p.conjunction()?];
            while p.accept_word("OR") {
                terms.push(p.conjunction()?);
            }
            Ok(balanced(terms, Expr::Or))
        })
    }

    fn conjunction(&mut self) -> Parsed<Expr> {
        let mut terms = vec![self.negation()?];
        while self.accept_word("AND") {
            terms.push(self.negation()?);
        }
        Ok(balanced(terms, Expr::And))
    }

    fn negation(&mut self) -> Parsed<Expr> {
        if self.accept_word("NOT") {
            return Ok(Expr::Not(Box::new(self.nested(Self::negation)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        let left = self.expression()?;
        for (symbol, op) in COMPARISONS {
            if self.accept(symbol) {
                if self.is_word("ALL") || self.is_word("ANY") || self.is_word("SOME") {
                    return Err(self.unsupported("quantified comparison"));
                }
                let right = self.expression()?;
                return Ok(Expr::Compare(op, Box::new(left), Box::new(right)));
            }
        }
        if self.accept_word("IS") {
            let negated = self.accept_word("NOT");
            if self.is_word("DISTINCT") {
                return Err(self.unsupported("IS DISTINCT FROM"));
            }
            self.expect_word("NULL")?;
            return Ok(Expr::IsNull(Box::new(left), negated));
        }
        let mark = self.mark();
        let negated = self.accept_word("NOT");
        if self.accept_word("BETWEEN") {
            let low = self.expression()?;
            self.expect_word("AND")?;
            let high = self.expression()?;
            return Ok(Expr::Between {
                value: Box::new(left),
                low: Box::new(low),
                high: Box::new(high),
                negated,
            });
        }
        if self.accept_word("IN") {
            return self.in_list(left, negated);
        }
        if self.accept_word("LIKE") {
            let pattern = self.expression()?;
            let escape = match self.accept_word("ESCAPE") {
                true => Some(Box::new(self.expression()?)),
                false => None,
            };
            return Ok(Expr::Like {
                value: Box::new(left),
                pattern: Box::new(pattern),
                escape,
                negated,
            });
        }
        self.reset(mark);
        Ok(left)
    }

    fn in_list(&mut self, left: Expr, negated: bool) -> Parsed<Expr> {
        self.expect("(")?;
        let list = if self.starts_query() {
            Expr::InQuery(Box::new(left), Box::new(self.query()?), negated)
        } else {
            let items = self.comma_list(Self::expression)?;
            Expr::InList(Box::new(left), items, negated)
        };
        self.expect(")")?;
        Ok(list)
    }

    /// A value.
    pub fn expression(&mut self) -> Parsed<Expr> {
        self.nested(|p| p.binary_level(&ADDITIVE, |p| p.binary_level(&MULTIPLICATIVE, Self::unary)))
    }

    fn binary_level(
        &mut self,
        operators: &[(&str, BinaryOp)],
        mut operand: impl FnMut(&mut Self) -> Parsed<Expr>,
    ) -> Parsed<Expr> {
        let mut left = operand(self)?;
        for _ in 0..MAX_CHAIN {
            let Some((_, op)) = operators.iter().find(|(symbol, _)| self.is(symbol)) else {
                return Ok(left);
            };
            self.next();
            let right = operand(self)?;
            left = Expr::Binary(*op, Box::new(left), Box::new(right));
        }
        Err(self.too_deep())
    }

    fn unary(&mut self) -> Parsed<Expr> {
        for (symbol, op) in [("-", UnaryOp::Minus), ("+", UnaryOp::Plus), ("~", UnaryOp::BitNot)] {
            if self.accept(symbol) {
                let operand = self.nested(Self::unary)?;
                return Ok(Expr::Unary(op, Box::new(operand)));
            }
        }
        let mut value = self.primary()?;
        while self.accept(".") {
            value = self.method(value)?;
        }
        if self.accept_word("COLLATE") {
            value = Expr::Collate(Box::new(value), self.collation()?);
        }
        if self.is_word("AT") && self.word_after(1, "TIME") {
            return Err(self.unsupported("AT TIME ZONE"));
        }
        Ok(value)
    }

    /// Takes the name of a collation.
    pub fn collation(&mut self) -> Parsed<Label> {
        let line = self.token().line;
        let name = self.identifier()?;
        if name.eq_ignore_ascii_case("DATABASE_DEFAULT") {
            return Ok(Label::default());
        }
        Label::named(&name).ok_or_else(|| {
            // Other collations that SQL Server has look like these.
            let mut error = match name.contains('_') {
                true => self.unsupported("collation"),
                false => crate::SqlError::new(448, 16, 1, format!("Invalid collation '{name}'.")),
            };
            error.line = line;
            error
        })
    }

    fn primary(&mut self) -> Parsed<Expr> {
        match self.kind().clone() {
            TokenKind::Number(digits) => {
                let literal =
                    number_literal(&digits).ok_or_else(|| self.number_too_long(&digits))?;
                self.next();
                Ok(literal)
            }
            TokenKind::Float(text) => {
                let value: f64 = text.parse().map_err(|_| self.unexpected())?;
                if !value.is_finite() {
                    return Err(self.unexpected());
                }
                self.next();
                Ok(Expr::Literal(Value::Float(value), Some(SqlType::Float)))
            }
            TokenKind::Money(digits) => {
                let units = money_literal(&digits).ok_or_else(|| self.unexpected())?;
                self.next();
                Ok(Expr::Literal(Value::Money(units), Some(SqlType::Money)))
            }
            TokenKind::Hex(bytes) => {
                self.next();
                let ty = SqlType::VarBinary(literal_length(bytes.len(), 8000));
                Ok(Expr::Literal(Value::Binary(bytes.into()), Some(ty)))
            }
            TokenKind::String(text) => {
                self.next();
                let value = Value::ansi(&text);
                let length = value.units().map_or(0, |units| units.len());
                let ty = SqlType::VarChar(literal_length(length, 8000));
                Ok(Expr::Literal(value, Some(ty)))
            }
            TokenKind::NString(text) => {
                self.next();
                let value = Value::text(&text);
                let length = value.units().map_or(0, |units| units.len());
                let ty = SqlType::NVarChar(literal_length(length, 4000));
                Ok(Expr::Literal(value, Some(ty)))
            }
            TokenKind::Variable(name) => {
                self.next();
                Ok(Expr::Variable(name))
            }
            TokenKind::Global(name) => {
                self.next();
                Ok(Expr::Global(name))
            }
            TokenKind::Symbol("(") => self.parenthesised(),
            TokenKind::Word(_) | TokenKind::Quoted(_) => match self.next_value()? {
                Some(next) => Ok(next),
                None => self.word_expression(),
            },
            _ => Err(self.unexpected()),
        }
    }

    fn number_too_long(&self, digits: &str) -> crate::SqlError {
        let mut error = crate::SqlError::new(
            1007,
            15,
            1,
            format!(
                "The number '{digits}' is out of the range for numeric representation (maximum precision 38)."
            ),
        );
        error.line = self.token().line;
        error
    }

    fn parenthesised(&mut self) -> Parsed<Expr> {
        self.expect("(")?;
        let inner = if self.starts_query() {
            Expr::Subquery(Box::new(self.query()?))
        } else {
            self.condition()?
        };
        self.expect(")")?;
        Ok(inner)
    }

    fn word_expression(&mut self) -> Parsed<Expr> {
        if self.accept_word("NULL") {
            return Ok(Expr::Literal(Value::Null, None));
        }
        if self.accept_word("CASE") {
            return self.case();
        }
        if self.accept_word("EXISTS") {
            self.expect("(")?;
            let query = self.query()?;
            self.expect(")")?;
            return Ok(Expr::Exists(Box::new(query)));
        }
        if self.accept_word("DEFAULT") {
            return Ok(Expr::Default);
        }
        if self.accept_word("CONVERT") {
            return self.convert(false);
        }
        if self.accept_word("TRY_CONVERT") {
            return self.convert(true);
        }
        for word in NILADIC {
            if self.accept_word(word) {
                return Ok(call(vec![word.to_owned()], Vec::new()));
            }
        }
        for word in RESERVED_FUNCTIONS {
            if self.is_word(word) && *self.kind_after(1) == TokenKind::Symbol("(") {
                self.next();
                return self.call(vec![word.to_owned()]);
            }
        }
        let unquoted = matches!(self.kind(), TokenKind::Word(_));
        if unquoted && *self.kind_after(1) == TokenKind::Symbol("(") {
            if self.accept_word("CAST") {
                return self.cast(false);
            }
            if self.accept_word("TRY_CAST") {
                return self.cast(true);
            }
        }
        let mark = self.mark();
        let mut parts = vec![self.identifier()?];
        if self.accept("::") {
            self.reset(mark);
            let ty = self.cast_type()?;
            self.expect("::")?;
            let name = self.identifier()?;
            return Ok(Expr::OfType(ty, name, self.arguments()?));
        }
        while self.accept(".") {
            parts.push(self.identifier()?);
        }
        if self.is("(") {
            return self.call(parts);
        }
        if parts.len() > 4 {
            return Err(self.unexpected());
        }
        Ok(Expr::Column(parts))
    }

    /// A method or property, behind its point.
    fn method(&mut self, value: Expr) -> Parsed<Expr> {
        let name = self.identifier()?;
        let arguments = match self.is("(") {
            true => Some(self.arguments()?),
            false => None,
        };
        Ok(Expr::Method(Box::new(Method { value, name, arguments })))
    }

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect("(")?;
        let arguments = match self.is(")") {
            true => Vec::new(),
            false => self.comma_list(Self::expression)?,
        };
        self.expect(")")?;
        Ok(arguments)
    }

    fn case(&mut self) -> Parsed<Expr> {
        let operand = match self.is_word("WHEN") {
            true => None,
            false => Some(self.expression()?),
        };
        let mut branches = Vec::new();
        while self.accept_word("WHEN") {
            let when = match operand {
                Some(_) => self.expression()?,
                None => self.condition()?,
            };
            self.expect_word("THEN")?;
            branches.push((when, self.expression()?));
        }
        if branches.is_empty() {
            return Err(self.unexpected());
        }
        let otherwise = match self.accept_word("ELSE") {
            true => Some(self.expression()?),
            false => None,
        };
        self.expect_word("END")?;
        Ok(Expr::Case(Box::new(Case { operand, branches, otherwise })))
    }

    fn cast(&mut self, attempt: bool) -> Parsed<Expr> {
        self.expect("(")?;
        let value = self.expression()?;
        self.expect_word("AS")?;
        let ty = self.cast_type()?;
        self.expect(")")?;
        Ok(Expr::Convert(Box::new(Convert { value, ty, style: None, attempt, by_function: false })))
    }

    fn convert(&mut self, attempt: bool) -> Parsed<Expr> {
        self.expect("(")?;
        let ty = self.cast_type()?;
        self.expect(",")?;
        let value = self.expression()?;
        let style = match self.accept(",") {
            true => Some(self.expression()?),
            false => None,
        };
        self.expect(")")?;
        Ok(Expr::Convert(Box::new(Convert { value, ty, style, attempt, by_function: true })))
    }

    fn call(&mut self, name: Vec<String>) -> Parsed<Expr> {
        self.expect("(")?;
        let mut parsed = Call {
            name,
            arguments: Vec::new(),
            star: false,
            distinct: false,
            over: None,
            within_group: Vec::new(),
        };
        if self.accept("*") {
            parsed.star = true;
        } else if !self.is(")") {
            parsed.distinct = self.accept_word("DISTINCT");
            if !parsed.distinct {
                self.accept_word("ALL");
            }
            let is_iif = parsed.name.len() == 1 && parsed.name[0].eq_ignore_ascii_case("IIF");
            if is_iif {
                parsed.arguments.push(self.condition()?);
                self.expect(",")?;
            }
            parsed.arguments.extend(self.comma_list(|p| p.call_argument())?);
        }
        self.expect(")")?;
        if self.is_word("WITHIN") && self.word_after(1, "GROUP") {
            self.next();
            self.next();
            self.expect("(")?;
            self.expect_word("ORDER")?;
            self.expect_word("BY")?;
            parsed.within_group = self.order_items()?;
            self.expect(")")?;
        }
        if self.accept_word("OVER") {
            parsed.over = Some(self.over()?);
        }
        Ok(Expr::Call(Box::new(parsed)))
    }

    /// An argument; table-valued functions also take DEFAULT, which binding refuses elsewhere.
    fn call_argument(&mut self) -> Parsed<Expr> {
        self.expression()
    }

    /// The items after ORDER BY.
    pub fn order_items(&mut self) -> Parsed<Vec<OrderItem>> {
        self.comma_list(|p| {
            let value = p.expression()?;
            let descending = p.one_of(&[("ASC", false), ("DESC", true)]).unwrap_or_default();
            Ok(OrderItem { value, descending })
        })
    }

    /// Whether a query starts here, possibly in parentheses.
    pub fn starts_query(&self) -> bool {
        let mut ahead = 0;
        while *self.kind_after(ahead) == TokenKind::Symbol("(") {
            ahead += 1;
        }
        self.word_after(ahead, "SELECT")
    }

    /// A query in parentheses.
    pub fn parenthesised_query(&mut self) -> Parsed<Query> {
        self.expect("(")?;
        let query = self.query()?;
        self.expect(")")?;
        Ok(query)
    }
}

/// Joins terms into a tree of the least depth, in their order: AND and OR group either way.
fn balanced(mut terms: Vec<Expr>, join: fn(Box<Expr>, Box<Expr>) -> Expr) -> Expr {
    while terms.len() > 1 {
        let mut pairs = terms.into_iter();
        let mut joined = Vec::new();
        while let Some(left) = pairs.next() {
            joined.push(match pairs.next() {
                Some(right) => join(Box::new(left), Box::new(right)),
                None => left,
            });
        }
        terms = joined;
    }
    terms.pop().unwrap_or(Expr::Default)
}

/// A call of a plain function.
fn call(name: Vec<String>, arguments: Vec<Expr>) -> Expr {
    Expr::Call(Box::new(Call {
        name,
        arguments,
        star: false,
        distinct: false,
        over: None,
        within_group: Vec::new(),
    }))
}

/// Length facet of a string or binary literal: at least 1, MAX beyond `limit`.
fn literal_length(length: usize, limit: u16) -> Option<u16> {
    u16::try_from(length).ok().filter(|length| *length <= limit).map(|length| length.max(1))
}

/// An exact number: `int` where it fits and has no point, else `numeric(p, s)` as written.
fn number_literal(digits: &str) -> Option<Expr> {
    if let Ok(value) = digits.parse::<i32>() {
        return Some(Expr::Literal(Value::Int(value), Some(SqlType::Int)));
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let joined = format!("{whole}{fraction}");
    let precision = joined.len().max(1);
    if precision > 38 {
        return None;
    }
    let unscaled: i128 = if joined.is_empty() { 0 } else { joined.parse().ok()? };
    let scale = u8::try_from(fraction.len()).ok()?;
    let precision = u8::try_from(precision).ok()?;
    Some(Expr::Literal(
        Value::Decimal { unscaled, scale },
        Some(SqlType::Numeric { precision, scale }),
    ))
}

/// `money` in 1/10,000; digits beyond the fourth are rounded.
fn money_literal(digits: &str) -> Option<i64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut units = 0;
    for place in 0..4 {
        let digit = fraction.as_bytes().get(place).map_or(0, |b| i64::from(b - b'0'));
        units = units * 10 + digit;
    }
    if fraction.as_bytes().get(4).is_some_and(|b| *b >= b'5') {
        units += 1;
    }
    whole.checked_mul(10_000)?.checked_add(units)
}
