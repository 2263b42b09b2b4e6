//! Cursors of a session.
//!
//! The rows of a cursor are those that its query has when it is opened. That is what STATIC means;
//! any other cursor could show changes that are made while it is open, so it is refused (error 102)
//! as soon as a table that it read has been written to since.

use std::sync::Arc;

use super::syntax::ast::{CursorDef, CursorName};
use crate::storage::{Database, ObjectId};
use crate::{Column, SqlError, SqlType, Value};

/// A declared cursor.
pub struct Cursor {
    /// As declared.
    pub def: CursorDef,
    /// The batch that a local one belongs to.
    pub scope: Option<u64>,
    /// The variables of its query, with the values that they had when it was declared.
    pub variables: Vec<(String, SqlType, Value)>,
    /// Its rows while it is open.
    pub open: Option<OpenCursor>,
}

/// A table that was read, and how often it had been written to.
pub type Stamp = (Arc<Database>, ObjectId, u64);

/// The rows of an open cursor.
pub struct OpenCursor {
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: Vec<Vec<Value>>,
    /// Number of the current row, from 1; 0 is before the first one.
    pub at: usize,
    /// Tables that were read.
    pub read: Vec<Stamp>,
}

impl OpenCursor {
    /// Whether a table has been written to since.
    pub fn is_stale(&self) -> bool {
        self.read.iter().any(|(database, table, writes)| database.table_writes(*table) != *writes)
    }

    /// Moves; answers the row there.
    pub fn go(&mut self, to: Option<usize>) -> Option<&[Value]> {
        let last = self.rows.len() + 1;
        self.at = to.unwrap_or(0).min(last);
        let at = self.at.checked_sub(1)?;
        self.rows.get(at).map(Vec::as_slice)
    }
}

/// The cursors of a session.
#[derive(Default)]
pub struct Cursors(Vec<Cursor>);

fn error(number: i32, text: String) -> SqlError {
    SqlError::new(number, 16, 1, text)
}

impl Cursors {
    /// Adds one.
    ///
    /// # Errors
    /// 16915 if there is one of the name.
    pub fn declare(&mut self, cursor: Cursor) -> Result<(), SqlError> {
        let name = &cursor.def.name;
        let same = |known: &Cursor| {
            known.scope == cursor.scope && known.def.name.eq_ignore_ascii_case(name)
        };
        if self.0.iter().any(same) {
            return Err(error(16915, format!("A cursor with the name '{name}' already exists.")));
        }
        self.0.push(cursor);
        Ok(())
    }

    fn position(&self, name: &CursorName, scope: u64) -> Result<usize, SqlError> {
        let of = |scope: Option<u64>| {
            self.0.iter().position(|known| {
                known.scope == scope && known.def.name.eq_ignore_ascii_case(&name.name)
            })
        };
        let local = if name.global { None } else { of(Some(scope)) };
        local.or_else(|| of(None)).ok_or_else(|| {
            error(16916, format!("A cursor with the name '{}' does not exist.", name.name))
        })
    }

    /// The one of a name, local to a batch before the session's own.
    ///
    /// # Errors
    /// 16916.
    pub fn get(&mut self, name: &CursorName, scope: u64) -> Result<&mut Cursor, SqlError> {
        let at = self.position(name, scope)?;
        Ok(&mut self.0[at])
    }

    /// An open one.
    ///
    /// # Errors
    /// 16916, 16917.
    pub fn get_open(
        &mut self,
        name: &CursorName,
        scope: u64,
    ) -> Result<(&CursorDef, &mut OpenCursor), SqlError> {
        let cursor = self.get(name, scope)?;
        match &mut cursor.open {
            Some(open) => Ok((&cursor.def, open)),
            None => Err(error(16917, "Cursor is not open.".to_owned())),
        }
    }

    /// DEALLOCATE
    ///
    /// # Errors
    /// 16916.
    pub fn deallocate(&mut self, name: &CursorName, scope: u64) -> Result<(), SqlError> {
        let at = self.position(name, scope)?;
        self.0.remove(at);
        Ok(())
    }

    /// A batch has ended: its local cursors go.
    pub fn end_scope(&mut self, scope: u64) {
        self.0.retain(|cursor| cursor.scope != Some(scope));
    }

    /// Closes all cursors, or those that are not static.
    pub fn close(&mut self, all: bool) {
        for cursor in self.0.iter_mut().filter(|cursor| all || !cursor.def.fixed) {
            cursor.open = None;
        }
    }

    /// `CURSOR_STATUS`: name, whether local, 1 if open, 0 if open without rows, -1 if closed.
    pub fn states(&self) -> Vec<(String, bool, i16)> {
        let of = |cursor: &Cursor| {
            let state = match &cursor.open {
                None => -1,
                Some(open) if open.rows.is_empty() => 0,
                Some(_) => 1,
            };
            (cursor.def.name.clone(), cursor.scope.is_some(), state)
        };
        self.0.iter().map(of).collect()
    }
}
