//! T-SQL expressions as a tree.
//!
//! Precedence is T-SQL's, where `&`, `|` and `^` stand beside `+` and `-`:
//! <https://learn.microsoft.com/en-us/sql/t-sql/language-elements/operator-precedence-transact-sql>.
//! (The parsers on crates.io read T-SQL with the precedence of other dialects: `a & b + c` would
//! change its meaning.) Conditions and values share one tree; whoever walks it tells them apart.

use super::Refusal;
use super::token::{Token, tokens};

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Null,
    Number(String),
    Money(String),
    Text {
        value: String,
        unicode: bool,
    },
    Bytes(Vec<u8>),
    /// A column, or an argument that is a word (`day`).
    Name(String),
    /// `+`, `-`, `~`
    Unary(&'static str, Box<Expr>),
    /// Arithmetic, bits, comparisons.
    Binary(&'static str, Box<Expr>, Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>, bool),
    In(Box<Expr>, Vec<Expr>, bool),
    Between(Box<Expr>, Box<Expr>, Box<Expr>, bool),
    Like {
        text: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<Box<Expr>>,
        negated: bool,
    },
    Case {
        operand: Option<Box<Expr>>,
        whens: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Convert {
        ty: TypeName,
        value: Box<Expr>,
        style: Option<Box<Expr>>,
    },
    Collate(Box<Expr>, String),
    /// A function by its name in lower case.
    Call(String, Vec<Expr>),
}

/// A type as it is written: its name in lower case and its numbers; `max` is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TypeName {
    pub(super) name: String,
    pub(super) arguments: Vec<Option<u32>>,
}

/// Deeper expressions are refused: the tree is walked by recursion.
const DEPTH: usize = 100;

/// Reads a text as one expression.
///
/// # Errors
/// What in it is not understood.
pub(super) fn parse(text: &str) -> Result<Expr, Refusal> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.any()?;
    match parser.tokens.get(parser.at) {
        None => Ok(expr),
        Some(token) => Err(format!("{} is not understood", describe(token))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

fn describe(token: &Token) -> String {
    match token {
        Token::Word { text, .. } => format!("`{text}`"),
        Token::Mark(mark) => format!("`{mark}`"),
        Token::Number(_) | Token::Money(_) | Token::Text { .. } | Token::Bytes(_) => {
            "a constant at its place".to_owned()
        }
    }
}

impl Parser {
    /// A condition or a value.
    fn any(&mut self) -> Result<Expr, Refusal> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let first = self.conjunction()?;
        let mut parts = vec![first];
        while self.word("or") {
            parts.push(self.conjunction()?);
        }
        self.depth -= 1;
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expr::Or(parts) })
    }

    fn conjunction(&mut self) -> Result<Expr, Refusal> {
        let first = self.negation()?;
        let mut parts = vec![first];
        while self.word("and") {
            parts.push(self.negation()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expr::And(parts) })
    }

    fn negation(&mut self) -> Result<Expr, Refusal> {
        let mut negations = 0;
        while self.word("not") {
            negations += 1;
        }
        let predicate = self.predicate()?;
        Ok(if negations % 2 == 1 { Expr::Not(Box::new(predicate)) } else { predicate })
    }

    fn predicate(&mut self) -> Result<Expr, Refusal> {
        let left = self.sum()?;
        for (mark, operator) in [
            ("<=", "<="),
            (">=", ">="),
            ("<>", "<>"),
            ("!=", "<>"),
            ("!<", ">="),
            ("!>", "<="),
            ("=", "="),
            ("<", "<"),
            (">", ">"),
        ] {
            if self.mark(mark) {
                return Ok(Expr::Binary(operator, Box::new(left), Box::new(self.sum()?)));
            }
        }
        if self.word("is") {
            let negated = self.word("not");
            self.expect_word("null")?;
            return Ok(Expr::IsNull(Box::new(left), negated));
        }
        let negated = self.word("not");
        if self.word("in") {
            return Ok(Expr::In(Box::new(left), self.list()?, negated));
        }
        if self.word("between") {
            let low = self.sum()?;
            self.expect_word("and")?;
            let high = self.sum()?;
            return Ok(Expr::Between(Box::new(left), Box::new(low), Box::new(high), negated));
        }
        if self.word("like") {
            let pattern = Box::new(self.sum()?);
            let escape = if self.word("escape") { Some(Box::new(self.sum()?)) } else { None };
            return Ok(Expr::Like { text: Box::new(left), pattern, escape, negated });
        }
        if negated {
            return Err("`NOT` is not understood at its place".to_owned());
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr, Refusal> {
        let mut left = self.product()?;
        let depth = self.depth;
        while let Some(operator) = self.one_of(&["+", "-", "&", "|", "^"]) {
            self.deeper()?;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.product()?));
        }
        self.depth = depth;
        Ok(left)
    }

    fn product(&mut self) -> Result<Expr, Refusal> {
        // A sign is as weak as a sum: it stands before the whole product.
        if let Some(sign) = self.one_of(&["+", "-"]) {
            self.deeper()?;
            let operand = self.product()?;
            self.depth -= 1;
            return Ok(Expr::Unary(sign, Box::new(operand)));
        }
        let mut left = self.factor()?;
        let depth = self.depth;
        while let Some(operator) = self.one_of(&["*", "/", "%"]) {
            self.deeper()?;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.factor()?));
        }
        self.depth = depth;
        Ok(left)
    }

    fn deeper(&mut self) -> Result<(), Refusal> {
        self.depth += 1;
        if self.depth > DEPTH { Err("it is nested too deeply".to_owned()) } else { Ok(()) }
    }

    fn factor(&mut self) -> Result<Expr, Refusal> {
        if let Some(operator) = self.one_of(&["~", "-", "+"]) {
            self.deeper()?;
            let operand = self.factor()?;
            self.depth -= 1;
            return Ok(Expr::Unary(operator, Box::new(operand)));
        }
        let mut operand = self.operand()?;
        let depth = self.depth;
        while self.word("collate") {
            self.deeper()?;
            let (name, _) = self.name()?;
            operand = Expr::Collate(Box::new(operand), name);
        }
        self.depth = depth;
        Ok(operand)
    }

    fn operand(&mut self) -> Result<Expr, Refusal> {
        if self.mark("(") {
            let inner = self.any()?;
            self.expect_mark(")")?;
            return Ok(inner);
        }
        let token = self.tokens.get(self.at).ok_or("it ends too early")?.clone();
        self.at += 1;
        match token {
            Token::Number(text) => Ok(Expr::Number(text)),
            Token::Money(text) => Ok(Expr::Money(text)),
            Token::Text { value, unicode } => Ok(Expr::Text { value, unicode }),
            Token::Bytes(value) => Ok(Expr::Bytes(value)),
            Token::Word { text, quoted: true } => self.named(text, true),
            Token::Word { text, quoted: false } => {
                let lower = text.to_lowercase();
                match lower.as_str() {
                    "null" => Ok(Expr::Null),
                    "case" => self.case(),
                    "cast" => self.cast(),
                    "convert" => self.convert(),
                    "try_cast" | "try_convert" | "parse" | "try_parse" => {
                        Err(format!("{} has no equal", text.to_uppercase()))
                    }
                    "next" => Err("NEXT VALUE FOR is not translated".to_owned()),
                    "select" | "exists" => Err("it holds a query".to_owned()),
                    _ => self.named(text, false),
                }
            }
            Token::Mark(_) => Err(format!("{} is not understood at its place", describe(&token))),
        }
    }

    /// A column, or a call when a parenthesis follows; `dbo.f(x)` is a function of the user's.
    fn named(&mut self, text: String, quoted: bool) -> Result<Expr, Refusal> {
        let mut parts = vec![text];
        while self.mark(".") {
            parts.push(self.name()?.0);
        }
        let called = matches!(self.tokens.get(self.at), Some(Token::Mark("(")));
        if parts.len() > 1 {
            let what = if called { "the function" } else { "the name" };
            return Err(format!("{what} {} is not translated", parts.join(".")));
        }
        let name = parts.swap_remove(0);
        if called {
            return Ok(Expr::Call(name.to_lowercase(), self.list()?));
        }
        // Functions without parentheses.
        let niladic = ["current_timestamp", "current_user", "session_user", "system_user", "user"];
        if !quoted && niladic.contains(&name.to_lowercase().as_str()) {
            return Ok(Expr::Call(name.to_lowercase(), Vec::new()));
        }
        Ok(Expr::Name(name))
    }

    /// `( … , … )`
    fn list(&mut self) -> Result<Vec<Expr>, Refusal> {
        self.expect_mark("(")?;
        let mut items = Vec::new();
        if self.mark(")") {
            return Ok(items);
        }
        loop {
            items.push(self.any()?);
            if self.mark(")") {
                return Ok(items);
            }
            self.expect_mark(",")?;
        }
    }

    fn case(&mut self) -> Result<Expr, Refusal> {
        let operand = if self.peek_word("when") { None } else { Some(Box::new(self.any()?)) };
        let mut whens = Vec::new();
        while self.word("when") {
            let when = self.any()?;
            self.expect_word("then")?;
            whens.push((when, self.any()?));
        }
        let otherwise = if self.word("else") { Some(Box::new(self.any()?)) } else { None };
        self.expect_word("end")?;
        if whens.is_empty() {
            return Err("CASE has no WHEN".to_owned());
        }
        Ok(Expr::Case { operand, whens, otherwise })
    }

    fn cast(&mut self) -> Result<Expr, Refusal> {
        self.expect_mark("(")?;
        let value = Box::new(self.any()?);
        self.expect_word("as")?;
        let ty = self.type_name()?;
        self.expect_mark(")")?;
        Ok(Expr::Convert { ty, value, style: None })
    }

    fn convert(&mut self) -> Result<Expr, Refusal> {
        self.expect_mark("(")?;
        let ty = self.type_name()?;
        self.expect_mark(",")?;
        let value = Box::new(self.any()?);
        let style = if self.mark(",") { Some(Box::new(self.any()?)) } else { None };
        self.expect_mark(")")?;
        Ok(Expr::Convert { ty, value, style })
    }

    fn type_name(&mut self) -> Result<TypeName, Refusal> {
        let (name, _) = self.name()?;
        let mut arguments = Vec::new();
        if self.mark("(") {
            loop {
                match self.tokens.get(self.at) {
                    Some(Token::Number(digits)) => {
                        arguments.push(Some(digits.parse().map_err(|_| "a type's length is odd")?));
                        self.at += 1;
                    }
                    _ => {
                        self.expect_word("max")?;
                        arguments.push(None);
                    }
                }
                if self.mark(")") {
                    break;
                }
                self.expect_mark(",")?;
            }
        }
        Ok(TypeName { name: name.to_lowercase(), arguments })
    }

    fn name(&mut self) -> Result<(String, bool), Refusal> {
        match self.tokens.get(self.at) {
            Some(Token::Word { text, quoted }) => {
                let name = (text.clone(), *quoted);
                self.at += 1;
                Ok(name)
            }
            _ => Err("a name is missing".to_owned()),
        }
    }

    fn peek_word(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at),
            Some(Token::Word { text, quoted: false }) if text.eq_ignore_ascii_case(word))
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        self.at += usize::from(found);
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Refusal> {
        if self.word(word) { Ok(()) } else { Err(format!("{} is missing", word.to_uppercase())) }
    }

    fn mark(&mut self, mark: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Mark(found)) if *found == mark);
        self.at += usize::from(found);
        found
    }

    fn one_of(&mut self, marks: &[&'static str]) -> Option<&'static str> {
        marks.iter().copied().find(|mark| self.mark(mark))
    }

    fn expect_mark(&mut self, mark: &str) -> Result<(), Refusal> {
        if self.mark(mark) { Ok(()) } else { Err(format!("`{mark}` is missing")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Box<Expr> {
        Box::new(Expr::Name(name.into()))
    }

    #[test]
    fn bits_stand_beside_sums() {
        let sum = Expr::Binary(
            "+",
            Box::new(Expr::Binary("&", name("a"), name("b"))),
            Box::new(Expr::Binary("*", name("c"), name("d"))),
        );
        assert_eq!(parse("a & b + c * d").unwrap(), sum);
    }

    #[test]
    fn conditions_nest() {
        let parsed = parse("NOT [a]=[b] AND ([c] IS NOT NULL OR [d] NOT IN ((1),(2)))").unwrap();
        let Expr::And(parts) = parsed else { panic!("{parsed:?}") };
        assert_eq!(parts[0], Expr::Not(Box::new(Expr::Binary("=", name("a"), name("b")))));
        let Expr::Or(parts) = &parts[1] else { panic!("{parts:?}") };
        assert_eq!(parts[0], Expr::IsNull(name("c"), true));
        assert!(matches!(&parts[1], Expr::In(_, items, true) if items.len() == 2));
    }

    #[test]
    fn refuses_what_is_no_expression() {
        let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
        let signs = format!("{}1", "- ".repeat(5000));
        let sums = format!("1{}", "+1".repeat(5000));
        let others = ["", "(", "1 2", "a =", "case end", "cast(a int)", "[dbo].[f](1)", "a is 1"];
        for text in others.into_iter().chain([deep.as_str(), signs.as_str(), sums.as_str()]) {
            assert!(parse(text).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }
}
