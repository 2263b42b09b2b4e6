//! GROUP BY with ROLLUP, CUBE and GROUPING SETS.
//!
//! Each element of the list is a list of grouping sets, and the sets of several elements are
//! combined, each with each.

use super::ast::Expr;
use super::parser::{Parsed, Parser};
use crate::SqlError;

/// Most expressions in CUBE and most sets in all, as SQL Server limits them.
const MAX_CUBE: usize = 12;
const MAX_SETS: usize = 4096;

type Set = Vec<Expr>;

/// The expressions of GROUP BY, and which of them each set keeps.
type Keys = (Vec<Expr>, Vec<Vec<usize>>);

fn rollup(parts: &[Set]) -> Vec<Set> {
    (0..=parts.len()).rev().map(|kept| parts[..kept].concat()).collect()
}

fn cube(parts: &[Set]) -> Vec<Set> {
    let all = 1_usize << parts.len();
    let chosen = |bits: usize| {
        let of = parts.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        of.flat_map(|(_, part)| part.clone()).collect()
    };
    (0..all).rev().map(chosen).collect()
}

impl Parser<'_> {
    /// After GROUP BY.
    pub(super) fn grouping(&mut self) -> Parsed<Keys> {
        let mut sets: Vec<Set> = vec![Vec::new()];
        let mut plain = true;
        loop {
            let (element, simple) = self.grouping_element()?;
            plain &= simple;
            let with = |set: &Set| {
                element.iter().map(|more| [set.clone(), more.clone()].concat()).collect::<Vec<_>>()
            };
            sets = sets.iter().flat_map(with).collect();
            if sets.len() > MAX_SETS {
                return Err(self.too_many_sets());
            }
            if !self.accept(",") {
                break;
            }
        }
        if self.is_word("WITH") && (self.word_after(1, "ROLLUP") || self.word_after(1, "CUBE")) {
            if !plain {
                return Err(self.unexpected());
            }
            self.next();
            let parts: Vec<Set> = sets.concat().into_iter().map(|key| vec![key]).collect();
            sets = match self.accept_word("ROLLUP") {
                true => rollup(&parts),
                false => {
                    self.next();
                    self.checked_cube(&parts)?
                }
            };
            plain = false;
        }
        if plain {
            return Ok((sets.concat(), Vec::new()));
        }
        let mut keys: Vec<Expr> = Vec::new();
        let mut kept = Vec::new();
        for set in sets {
            let mut positions = Vec::new();
            for key in set {
                let at = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                    keys.push(key);
                    keys.len() - 1
                });
                if !positions.contains(&at) {
                    positions.push(at);
                }
            }
            kept.push(positions);
        }
        Ok((keys, kept))
    }

    /// The sets of one element, and whether it is a plain expression.
    fn grouping_element(&mut self) -> Parsed<(Vec<Set>, bool)> {
        if self.accept_word("ROLLUP") {
            return Ok((rollup(&self.grouping_parts()?), false));
        }
        if self.accept_word("CUBE") {
            let parts = self.grouping_parts()?;
            return Ok((self.checked_cube(&parts)?, false));
        }
        if self.accept_words(&["GROUPING", "SETS"]) {
            self.expect("(")?;
            let sets = self.comma_list(|p| {
                if p.is_word("ROLLUP") || p.is_word("CUBE") {
                    return p.grouping_element().map(|(sets, _)| sets);
                }
                p.grouping_part().map(|set| vec![set])
            })?;
            self.expect(")")?;
            return Ok((sets.concat(), false));
        }
        if self.accept("(") {
            if self.accept(")") {
                return Ok((vec![Vec::new()], false));
            }
            self.reset(self.mark() - 1);
        }
        Ok((vec![vec![self.expression()?]], true))
    }

    /// `(a, (b, c))`
    fn grouping_parts(&mut self) -> Parsed<Vec<Set>> {
        self.expect("(")?;
        let parts = self.comma_list(Self::grouping_part)?;
        self.expect(")")?;
        Ok(parts)
    }

    /// An expression, or several in parentheses.
    fn grouping_part(&mut self) -> Parsed<Set> {
        let mark = self.mark();
        if self.accept("(") {
            if self.accept(")") {
                return Ok(Vec::new());
            }
            let keys = self.comma_list(Self::expression)?;
            if self.accept(")") && (self.is(",") || self.is(")")) {
                return Ok(keys);
            }
            // It was an expression that begins with a parenthesis.
            self.reset(mark);
        }
        Ok(vec![self.expression()?])
    }

    fn checked_cube(&self, parts: &[Set]) -> Parsed<Vec<Set>> {
        match parts.len() <= MAX_CUBE {
            true => Ok(cube(parts)),
            false => Err(self.too_many_sets()),
        }
    }

    /// Error 10703.
    fn too_many_sets(&self) -> SqlError {
        let mut error =
            SqlError::new(10703, 15, 1, "Too many grouping sets. The maximum number is 4096.");
        error.line = self.token().line;
        error
    }
}
