//! Large tables, compared without holding them: the sum over all rows of a hash of each.
//!
//! Rows are rendered as everywhere in the oracle, by code of each side's own. A sum does not depend
//! on the order of rows, which the two servers do not agree on.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;

use crate::oracle::target::Snapshot;
use crate::render::{self, Row};
use crate::shape::Table;
use crate::source::Connection;

/// What stands for the rows of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many.
    pub rows: u64,
    /// Of two hashes of each.
    sums: [u64; 2],
}

impl Digest {
    fn add(&mut self, row: &Row) {
        self.rows += 1;
        for (salt, sum) in (0_u8..).zip(&mut self.sums) {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            row.hash(&mut hasher);
            *sum = sum.wrapping_add(hasher.finish());
        }
    }

    /// Of a table of the source.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn of_source(source: &mut Connection, table: &Table) -> Result<Self> {
        let mut digest = Digest::default();
        source
            .each(&table.select_sql(), |row| {
                digest.add(&render::source_row(table, row)?);
                Ok(())
            })
            .await?;
        Ok(digest)
    }

    /// Of a table of the target.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn of_target(target: &Snapshot, table: &Table) -> Result<Self> {
        let mut digest = Digest::default();
        target.each(table, |row| digest.add(&row)).await?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[[&str; 2]]) -> Digest {
        let mut digest = Digest::default();
        for row in rows {
            digest.add(&Row(row.iter().map(|v| Some((*v).into())).collect()));
        }
        digest
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let one = of(&[["1", "a"], ["2", "b"]]);
        assert_eq!(one, of(&[["2", "b"], ["1", "a"]]));
        assert_ne!(one, of(&[["1", "b"], ["2", "a"]]));
        assert_ne!(one, of(&[["1", "a"], ["2", "b"], ["2", "b"]]));
        assert_ne!(one, of(&[["1", "a"]]));
    }
}
