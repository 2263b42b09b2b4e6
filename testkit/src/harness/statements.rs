//! A transaction written out by a test.

use anyhow::Result;

use crate::session::{End, Plan, Transaction};
use crate::shape::Key;

/// Statements, what they touch, and how the transaction ends.
#[derive(Clone, Debug)]
pub struct Statements {
    statements: Vec<String>,
    touched: Vec<(usize, Key)>,
    end: End,
}

impl Statements {
    /// A transaction that commits.
    pub fn new() -> Self {
        Statements { statements: Vec::new(), touched: Vec::new(), end: End::Commit }
    }

    /// One more statement, which touches these groups of table `table`.
    pub fn then(
        mut self,
        table: usize,
        keys: impl IntoIterator<Item = Key>,
        sql: impl Into<String>,
    ) -> Self {
        self.statements.push(sql.into());
        self.touched.extend(keys.into_iter().map(|key| (table, key)));
        self
    }

    /// Ends in a rollback instead.
    pub fn rolled_back(mut self) -> Self {
        self.end = End::Rollback;
        self
    }
}

impl Default for Statements {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan for Statements {
    fn kind(&self) -> &'static str {
        "scenario"
    }

    async fn execute(&self, tx: &mut Transaction<'_>) -> Result<End> {
        for sql in &self.statements {
            tx.run(sql).await?;
        }
        for (table, key) in &self.touched {
            tx.touch(*table, key.clone());
        }
        Ok(self.end)
    }
}
