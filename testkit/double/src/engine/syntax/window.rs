//! OVER.

use super::ast::{Edge, Extent, Over};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// After OVER.
    pub(super) fn over(&mut self) -> Parsed<Over> {
        self.expect("(")?;
        let partition = match self.accept_word("PARTITION") {
            true => {
                self.expect_word("BY")?;
                self.comma_list(Self::expression)?
            }
            false => Vec::new(),
        };
        let order = match self.accept_word("ORDER") {
            true => {
                self.expect_word("BY")?;
                self.order_items()?
            }
            false => Vec::new(),
        };
        let extent = match self.one_of(&[("ROWS", true), ("RANGE", false)]) {
            Some(rows) => Some(self.extent(rows)?),
            None => None,
        };
        self.expect(")")?;
        Ok(Over { partition, order, extent })
    }

    fn extent(&mut self, rows: bool) -> Parsed<Extent> {
        if !self.accept_word("BETWEEN") {
            let start = self.edge()?;
            if start > Edge::Current {
                return Err(self.unexpected());
            }
            return Ok(Extent { rows, start, end: Edge::Current });
        }
        let start = self.edge()?;
        self.expect_word("AND")?;
        let end = self.edge()?;
        let kind = |edge| match edge {
            Edge::First => 0,
            Edge::Before(_) => 1,
            Edge::Current => 2,
            Edge::After(_) => 3,
            Edge::Last => 4,
        };
        if start == Edge::Last || end == Edge::First || kind(start) > kind(end) {
            return Err(self.unexpected());
        }
        Ok(Extent { rows, start, end })
    }

    fn edge(&mut self) -> Parsed<Edge> {
        if self.accept_words(&["CURRENT", "ROW"]) {
            return Ok(Edge::Current);
        }
        let count = match self.accept_word("UNBOUNDED") {
            true => None,
            false => match self.kind() {
                TokenKind::Number(_) => {
                    Some(usize::try_from(self.integer()?).map_err(|_| self.unexpected())?)
                }
                _ => return Err(self.unexpected()),
            },
        };
        let before = self
            .one_of(&[("PRECEDING", true), ("FOLLOWING", false)])
            .ok_or_else(|| self.unexpected())?;
        Ok(match (count, before) {
            (None, true) => Edge::First,
            (None, false) => Edge::Last,
            (Some(rows), true) => Edge::Before(std::cmp::Reverse(rows)),
            (Some(rows), false) => Edge::After(rows),
        })
    }
}
