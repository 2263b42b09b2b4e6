//! CREATE and ALTER SEQUENCE, NEXT VALUE FOR.

use super::ast::{Expr, ObjectName, SequenceOptions};
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// After CREATE or ALTER SEQUENCE.
    pub(super) fn sequence(&mut self, altered: bool) -> Parsed<(ObjectName, SequenceOptions)> {
        let name = self.object_name()?;
        let mut options = SequenceOptions::default();
        if !altered && self.accept_word("AS") {
            options.ty = Some(self.declared_type()?.0);
        }
        while self.sequence_option(altered, &mut options)? {}
        Ok((name, options))
    }

    fn sequence_option(&mut self, altered: bool, options: &mut SequenceOptions) -> Parsed<bool> {
        if !altered && self.accept_words(&["START", "WITH"]) {
            options.start = Some(self.integer()?);
        } else if altered && self.accept_word("RESTART") {
            let with = self.accept_word("WITH");
            options.restart = Some(if with { Some(self.integer()?) } else { None });
        } else if self.accept_words(&["INCREMENT", "BY"]) {
            options.increment = Some(self.integer()?);
        } else if self.accept_words(&["NO", "MINVALUE"]) {
            options.least = Some(None);
        } else if self.accept_word("MINVALUE") {
            options.least = Some(Some(self.integer()?));
        } else if self.accept_words(&["NO", "MAXVALUE"]) {
            options.most = Some(None);
        } else if self.accept_word("MAXVALUE") {
            options.most = Some(Some(self.integer()?));
        } else if self.accept_words(&["NO", "CYCLE"]) {
            options.cycle = Some(false);
        } else if self.accept_word("CYCLE") {
            options.cycle = Some(true);
        } else if self.accept_words(&["NO", "CACHE"]) {
            options.cache = Some(None);
        } else if self.accept_word("CACHE") {
            let given = matches!(self.kind(), super::lexer::TokenKind::Number(_));
            let values = if given { self.integer()? } else { 0 };
            let values = i32::try_from(values).map_err(|_| self.unexpected())?;
            options.cache = Some(Some(values));
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// `NEXT VALUE FOR sequence`, if it is next.
    pub(super) fn next_value(&mut self) -> Parsed<Option<Expr>> {
        if !self.accept_words(&["NEXT", "VALUE", "FOR"]) {
            return Ok(None);
        }
        let name = self.object_name()?;
        if self.is_word("OVER") {
            return Err(self.unsupported("OVER of NEXT VALUE FOR"));
        }
        Ok(Some(Expr::NextValue(Box::new(name))))
    }
}
