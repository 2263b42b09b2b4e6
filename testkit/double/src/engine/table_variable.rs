//! Table variables: rows of one batch, in memory.
//!
//! They are no part of any transaction: a rollback leaves them as they are. What a statement adds
//! it adds at its end, all or nothing.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::storage::{Row, TableDef};

/// A table variable.
pub struct TableVariable {
    table: Arc<TableDef>,
    rows: RefCell<Vec<Row>>,
    next_identity: Cell<i64>,
}

impl TableVariable {
    /// An empty one, of a definition that no database has.
    pub fn new(table: TableDef) -> TableVariable {
        let identity = table.columns.iter().find_map(|column| column.identity.as_ref());
        TableVariable {
            next_identity: Cell::new(identity.map_or(0, |identity| identity.seed)),
            table: Arc::new(table),
            rows: RefCell::default(),
        }
    }

    /// Name with its `@`.
    pub fn name(&self) -> &str {
        &self.table.name
    }

    /// Whether this is its name.
    pub fn is_named(&self, name: &str) -> bool {
        self.table.name.eq_ignore_ascii_case(name)
    }

    /// Definition.
    pub fn table(&self) -> &Arc<TableDef> {
        &self.table
    }

    /// The rows as they are now.
    pub fn rows(&self) -> Vec<Row> {
        self.rows.borrow().clone()
    }

    /// Adds rows.
    pub fn add(&self, rows: &[Row]) {
        self.rows.borrow_mut().extend(rows.iter().cloned());
    }

    /// The next value of the identity column.
    pub fn next_identity(&self) -> i64 {
        let identity = self.table.columns.iter().find_map(|column| column.identity.as_ref());
        let increment = identity.map_or(0, |identity| identity.increment);
        let value = self.next_identity.get();
        self.next_identity.set(value.saturating_add(increment));
        value
    }
}
