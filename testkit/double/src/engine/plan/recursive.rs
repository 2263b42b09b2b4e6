//! Recursive common table expressions, level by level: the recursive members run over the rows of
//! the level before, until one is empty. Microsoft documents that functions over sets see one level
//! of recursion there; in which order rows come is not documented.

use std::sync::Arc;

use super::output::collect;
use super::{Outcome, RowCursor, RowPlan};
use crate::engine::env::Env;
use crate::engine::expr::Frame;
use crate::{SqlError, Value};

/// A recursive common table expression.
pub struct Recursive {
    /// What begins it.
    pub anchor: Box<RowPlan>,
    /// What goes on from the level before.
    pub members: Vec<RowPlan>,
    /// Key under which the members find that level.
    pub key: usize,
    /// Most levels after the first; 0 is no limit.
    pub limit: u32,
}

impl Recursive {
    /// Starts it: reads the anchor.
    ///
    /// # Errors
    /// The anchor's.
    pub fn open<'p>(
        &'p self,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<Box<dyn RowCursor + 'p>> {
        let level: Arc<[Vec<Value>]> =
            collect(&mut *self.anchor.open(outer, env)?, outer, env)?.into();
        Ok(Box::new(Levels { plan: self, level, next: 0, depth: 0 }))
    }
}

struct Levels<'p> {
    plan: &'p Recursive,
    level: Arc<[Vec<Value>]>,
    next: usize,
    depth: u32,
}

impl Levels<'_> {
    fn descend(&mut self, outer: Option<&Frame<'_>>, env: &Env<'_>) -> Outcome<()> {
        env.set_level(self.plan.key, Arc::clone(&self.level));
        let mut below = Vec::new();
        for member in &self.plan.members {
            env.check_interrupt()?;
            below.extend(collect(&mut *member.open(outer, env)?, outer, env)?);
        }
        self.depth += 1;
        if !below.is_empty() && self.plan.limit > 0 && self.depth > self.plan.limit {
            return Err(SqlError::new(
                530,
                16,
                1,
                format!(
                    "The statement terminated. The maximum recursion {} has been exhausted before statement completion.",
                    self.plan.limit
                ),
            ));
        }
        (self.level, self.next) = (below.into(), 0);
        Ok(())
    }
}

impl RowCursor for Levels<'_> {
    fn next(
        &mut self,
        out: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        env: &Env<'_>,
    ) -> Outcome<bool> {
        if self.next == self.level.len() && !self.level.is_empty() {
            self.descend(outer, env)?;
        }
        let Some(row) = self.level.get(self.next) else {
            return Ok(false);
        };
        out.clone_from(row);
        self.next += 1;
        Ok(true)
    }
}
