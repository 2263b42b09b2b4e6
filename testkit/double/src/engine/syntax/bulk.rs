//! INSERT BULK, as clients send it before the rows.

use super::ast::{InsertBulk, StatementKind};
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// After INSERT BULK.
    pub(super) fn insert_bulk(&mut self) -> Parsed<StatementKind> {
        let target = self.object_name()?;
        let mut bulk = InsertBulk {
            target,
            columns: Vec::new(),
            check: false,
            keep_nulls: false,
            table_lock: false,
        };
        self.expect("(")?;
        bulk.columns = self.comma_list(|p| {
            let name = p.identifier()?;
            p.declared_type()?;
            if p.accept_word("COLLATE") {
                p.collation()?;
            }
            Ok(name)
        })?;
        self.expect(")")?;
        if self.accept_word("WITH") {
            self.expect("(")?;
            self.comma_list(|p| p.bulk_option(&mut bulk))?;
            self.expect(")")?;
        }
        Ok(StatementKind::InsertBulk(bulk.into()))
    }

    fn bulk_option(&mut self, bulk: &mut InsertBulk) -> Parsed<()> {
        if self.accept_word("CHECK_CONSTRAINTS") {
            bulk.check = true;
        } else if self.accept_word("KEEP_NULLS") {
            bulk.keep_nulls = true;
        } else if self.accept_word("TABLOCK") {
            bulk.table_lock = true;
        } else if self.accept_word("ROWS_PER_BATCH") || self.accept_word("KILOBYTES_PER_BATCH") {
            self.expect("=")?;
            self.integer()?;
        } else if self.accept_word("ORDER") {
            // Rows that are said to be sorted need not be, here.
            self.expect("(")?;
            self.order_items()?;
            self.expect(")")?;
        } else if !self.accept_word("FIRE_TRIGGERS") {
            return Err(self.unexpected());
        }
        Ok(())
    }
}
