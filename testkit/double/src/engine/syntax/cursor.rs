//! Cursors: forward-only and static ones. What would follow changes of the rows is refused.

use super::ast::{CursorDef, CursorName, FetchFrom, StatementKind};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// `DECLARE name … CURSOR … FOR query`, after DECLARE.
    pub fn declare_cursor(&mut self) -> Parsed<StatementKind> {
        let name = self.identifier()?;
        let mut fixed = self.accept_word("INSENSITIVE");
        let mut scroll = self.accept_word("SCROLL");
        self.expect_word("CURSOR")?;
        let (mut local, mut forward) = (false, false);
        while !self.accept_word("FOR") {
            if self.accept_word("LOCAL") {
                local = true;
            } else if self.accept_word("GLOBAL") {
                local = false;
            } else if self.accept_word("FORWARD_ONLY") || self.accept_word("FAST_FORWARD") {
                forward = true;
            } else if self.accept_word("SCROLL") {
                scroll = true;
            } else if self.accept_word("STATIC") {
                fixed = true;
            } else if !(self.accept_word("READ_ONLY") || self.accept_word("TYPE_WARNING")) {
                return Err(match self.kind() {
                    TokenKind::Word(word) => self.unsupported(&format!("{word} CURSOR")),
                    _ => self.unexpected(),
                });
            }
        }
        if forward && scroll {
            return Err(self.unexpected());
        }
        let query = self.query()?;
        if self.accept_word("FOR") {
            self.expect_word("READ")?;
            self.expect_word("ONLY")?;
        }
        let scroll = scroll || fixed && !forward;
        Ok(StatementKind::DeclareCursor(Box::new(CursorDef { name, local, scroll, fixed, query })))
    }

    /// After FETCH.
    pub fn fetch(&mut self) -> Parsed<StatementKind> {
        let from = if self.accept_word("NEXT") {
            FetchFrom::Next
        } else if self.accept_word("PRIOR") {
            FetchFrom::Prior
        } else if self.accept_word("FIRST") {
            FetchFrom::First
        } else if self.accept_word("LAST") {
            FetchFrom::Last
        } else if self.accept_word("ABSOLUTE") {
            FetchFrom::Absolute(self.expression()?)
        } else if self.accept_word("RELATIVE") {
            FetchFrom::Relative(self.expression()?)
        } else {
            FetchFrom::Next
        };
        self.accept_word("FROM");
        let cursor = self.cursor_name()?;
        let into = match self.accept_word("INTO") {
            true => self.comma_list(Self::variable)?,
            false => Vec::new(),
        };
        Ok(StatementKind::Fetch { cursor, from, into })
    }

    /// `[GLOBAL] name`
    pub fn cursor_name(&mut self) -> Parsed<CursorName> {
        if matches!(self.kind(), TokenKind::Variable(_)) {
            return Err(self.unsupported("a cursor variable"));
        }
        let global = self.is_word("GLOBAL")
            && !matches!(self.kind_after(1), TokenKind::End | TokenKind::Symbol(_));
        if global {
            self.next();
        }
        Ok(CursorName { global, name: self.identifier()? })
    }
}
