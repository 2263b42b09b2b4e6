//! The token cursor and the entry points of the parser.

use super::ast::{Batch, Declaration, Expr, ObjectName, Statement};
use super::keywords::is_reserved;
use super::lexer::{Token, TokenKind, tokenize};
use crate::SqlError;

/// Result of parsing.
pub type Parsed<T> = Result<T, SqlError>;

/// Longest chain of operators that group from the left: it nests as deep as it is long.
pub const MAX_CHAIN: usize = 250;

/// Deepest nesting of expressions, queries and blocks: a bound on the parser's own stack.
const MAX_DEPTH: u32 = 128;

/// Parses a batch.
pub fn parse_batch(text: &str) -> Parsed<Batch> {
    let mut parser = Parser::new(text)?;
    let mut statements = Vec::new();
    loop {
        while parser.accept(";") {}
        if parser.at_end() {
            break;
        }
        statements.push(parser.statement()?);
    }
    Ok(Batch { text: text.to_owned(), statements })
}

/// Parses a lone value expression: a default or computed column of the catalogue.
pub fn parse_scalar(text: &str) -> Parsed<Expr> {
    let mut parser = Parser::new(text)?;
    let value = parser.expression()?;
    parser.expect_end()?;
    Ok(value)
}

/// Parses a lone condition: a check constraint of the catalogue.
pub fn parse_condition(text: &str) -> Parsed<Expr> {
    let mut parser = Parser::new(text)?;
    let value = parser.condition()?;
    parser.expect_end()?;
    Ok(value)
}

/// Parses a possibly qualified name, as `OBJECT_ID` takes it.
pub fn parse_name(text: &str) -> Parsed<ObjectName> {
    let mut parser = Parser::new(text)?;
    let name = parser.object_name()?;
    parser.expect_end()?;
    Ok(name)
}

/// Parses the parameter declarations of `sp_executesql`: `@a int, @b nvarchar(9) OUTPUT`.
pub fn parse_declarations(text: &str) -> Parsed<Vec<(Declaration, bool)>> {
    let mut parser = Parser::new(text)?;
    let mut declarations = Vec::new();
    while !parser.at_end() {
        if !declarations.is_empty() {
            parser.expect(",")?;
        }
        let declaration = parser.declaration()?;
        // The wire knows no database to look an alias type up in.
        if let Some(alias) = declaration.user_type.as_ref().filter(|name| name.name != "sysname") {
            return Err(SqlError::new(2715, 16, 3, format!("Cannot find data type {alias}.")));
        }
        let output = parser.accept_word("OUTPUT") || parser.accept_word("OUT");
        declarations.push((declaration, output));
    }
    Ok(declarations)
}

/// The variables that a text names, in order.
pub fn variables(text: &str) -> Parsed<Vec<String>> {
    let named = tokenize(text)?.into_iter().filter_map(|token| match token.kind {
        TokenKind::Variable(name) => Some(name),
        _ => None,
    });
    Ok(named.collect())
}

fn has_double_quotes(text: &str, tokens: &[Token]) -> bool {
    tokens.iter().any(|token| {
        matches!(token.kind, TokenKind::Quoted(_)) && text[token.start..].starts_with('"')
    })
}

/// Whether QUOTED_IDENTIFIER OFF would read a text another way: a name in double quotes were a
/// string.
///
/// # Errors
/// Of its tokens.
pub fn quotes_names(text: &str) -> Parsed<bool> {
    Ok(text.contains('"') && has_double_quotes(text, &tokenize(text)?))
}

/// A cursor over tokens.
pub struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
    declared: Vec<String>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parsed<Self> {
        Ok(Parser { text, tokens: tokenize(text)?, at: 0, depth: 0, declared: Vec::new() })
    }

    /// Parses one statement with its span.
    pub fn statement(&mut self) -> Parsed<Statement> {
        let line = self.token().line;
        let start = self.token().start;
        let kind = self.nested(Self::statement_kind)?;
        let end = self.previous_end();
        while self.accept(";") {}
        Ok(Statement { line, span: (start, end), kind })
    }

    /// Runs `parse` one level deeper.
    pub fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Whether a name of the text stands in double quotes.
    pub(super) fn has_double_quotes(&self) -> bool {
        has_double_quotes(self.text, &self.tokens)
    }

    /// Error 191.
    pub(super) fn too_deep(&self) -> SqlError {
        let mut error = SqlError::new(
            191,
            15,
            1,
            "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries.",
        );
        error.line = self.token().line;
        error
    }

    pub(super) fn token(&self) -> &Token {
        &self.tokens[self.at]
    }

    pub(super) fn kind(&self) -> &TokenKind {
        &self.token().kind
    }

    pub(super) fn kind_after(&self, ahead: usize) -> &TokenKind {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.at + ahead).min(last)].kind
    }

    pub(super) fn previous_end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |before| self.tokens[before].end)
    }

    pub(super) fn next(&mut self) -> TokenKind {
        let kind = self.kind().clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        kind
    }

    pub(super) fn mark(&self) -> usize {
        self.at
    }

    pub(super) fn reset(&mut self, mark: usize) {
        self.at = mark;
    }

    pub(super) fn at_end(&self) -> bool {
        *self.kind() == TokenKind::End
    }

    fn expect_end(&self) -> Parsed<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Error 102 or 156 at the current token.
    pub fn unexpected(&self) -> SqlError {
        let token = self.token();
        let shown = if token.kind == TokenKind::End {
            self.at.checked_sub(1).map_or("", |before| self.slice(&self.tokens[before]))
        } else {
            self.slice(token)
        };
        let mut error = match &token.kind {
            TokenKind::Word(word) if is_reserved(word) => {
                SqlError::new(156, 15, 1, format!("Incorrect syntax near the keyword '{word}'."))
            }
            _ => SqlError::new(102, 15, 1, format!("Incorrect syntax near '{shown}'.")),
        };
        error.line = token.line;
        error
    }

    /// Error 102 that also says what the double does not cover.
    pub fn unsupported(&self, what: &str) -> SqlError {
        let mut error = SqlError::new(
            102,
            15,
            1,
            format!("Incorrect syntax near '{what}'. This server does not support it."),
        );
        error.line = self.token().line;
        error
    }

    fn slice(&self, token: &Token) -> &str {
        &self.text[token.start..token.end]
    }

    /// Takes the symbol if it is next.
    pub fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self.kind(), TokenKind::Symbol(s) if *s == symbol)
    }

    /// Takes the symbol or fails.
    pub fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.accept(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.word_after(0, word)
    }

    pub(super) fn word_after(&self, ahead: usize, word: &str) -> bool {
        matches!(self.kind_after(ahead), TokenKind::Word(w) if w.eq_ignore_ascii_case(word))
    }

    /// Takes the keyword if it is next.
    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.next();
        }
        found
    }

    /// Takes all the keywords if they are next, in this order.
    pub fn accept_words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(ahead, word)| self.word_after(ahead, word));
        if found {
            for _ in words {
                self.next();
            }
        }
        found
    }

    /// Takes the keyword or fails.
    pub fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.accept_word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes whichever of the keywords is next.
    pub fn one_of<T: Copy>(&mut self, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| self.is_word(word))?.1;
        self.next();
        Some(found)
    }

    /// Takes `ON` or `OFF`.
    pub fn on_or_off(&mut self) -> Parsed<bool> {
        self.one_of(&[("ON", true), ("OFF", false)]).ok_or_else(|| self.unexpected())
    }

    pub(super) fn is_identifier(&self) -> bool {
        match self.kind() {
            TokenKind::Quoted(_) => true,
            TokenKind::Word(word) => !is_reserved(word),
            _ => false,
        }
    }

    /// Takes an identifier.
    pub fn identifier(&mut self) -> Parsed<String> {
        if !self.is_identifier() {
            return Err(self.unexpected());
        }
        match self.next() {
            TokenKind::Quoted(name) | TokenKind::Word(name) => Ok(name),
            _ => Err(self.unexpected()),
        }
    }

    /// Takes an identifier if one is next.
    pub fn accept_identifier(&mut self) -> Option<String> {
        self.is_identifier().then(|| self.identifier().ok())?
    }

    /// Takes a variable.
    pub fn variable(&mut self) -> Parsed<String> {
        match self.kind() {
            TokenKind::Variable(name) => {
                let name = name.clone();
                self.next();
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Notes a variable of the batch.
    ///
    /// # Errors
    /// 134 for a name declared before.
    pub fn declare(&mut self, name: &str) -> Parsed<()> {
        if self.declared.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            let mut error = SqlError::new(
                134,
                15,
                2,
                format!(
                    "The variable name '{name}' has already been declared. Variable names must be unique within a query batch or stored procedure."
                ),
            );
            error.line = self.token().line;
            return Err(error);
        }
        self.declared.push(name.to_owned());
        Ok(())
    }

    /// Takes a qualified name of up to three parts; an empty schema is the session's.
    pub fn object_name(&mut self) -> Parsed<ObjectName> {
        let mut parts = vec![Some(self.identifier()?)];
        while self.accept(".") {
            if self.is(".") {
                parts.push(None);
            } else {
                parts.push(Some(self.identifier()?));
            }
        }
        if parts.len() > 3 {
            return Err(self.unsupported("four-part name"));
        }
        let mut parts = parts.into_iter().rev();
        let name = parts.next().flatten().ok_or_else(|| self.unexpected())?;
        Ok(ObjectName { name, schema: parts.next().flatten(), database: parts.next().flatten() })
    }

    /// Takes `(a, b)`.
    pub fn name_list(&mut self) -> Parsed<Vec<String>> {
        self.expect("(")?;
        let names = self.comma_list(Self::identifier)?;
        self.expect(")")?;
        Ok(names)
    }

    /// Takes one or more items between commas.
    pub fn comma_list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.accept(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Takes an integer literal, possibly negative.
    pub fn integer(&mut self) -> Parsed<i64> {
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let TokenKind::Number(digits) = self.kind() else {
            return Err(self.unexpected());
        };
        let value: i64 = digits.parse().map_err(|_| self.unexpected())?;
        self.next();
        Ok(if negative { -value } else { value })
    }

    /// Takes a string literal of either kind.
    pub fn string(&mut self) -> Parsed<String> {
        match self.kind() {
            TokenKind::String(text) | TokenKind::NString(text) => {
                let text = text.clone();
                self.next();
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }
}
