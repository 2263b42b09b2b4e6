//! What a database has beside its objects: filegroups, partition schemes and functions, extended
//! properties.

use std::sync::Arc;

use super::state::{Redo, State, Undo};
use super::{ColumnId, Micros, PRIMARY, TableDef, Txn};
use crate::{SqlError, SqlType, Value};

/// A filegroup or a partition scheme.
#[derive(Clone, Debug, PartialEq)]
pub struct SpaceDef {
    /// `data_space_id`
    pub id: i32,
    /// Name.
    pub name: String,
    /// What makes it a partition scheme.
    pub scheme: Option<SchemeDef>,
}

/// A partition scheme.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemeDef {
    /// `function_id` of its function.
    pub function: i32,
    /// The filegroup of each partition.
    pub spaces: Vec<i32>,
}

/// A partition function.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionFunctionDef {
    /// `function_id`
    pub id: i32,
    /// Name.
    pub name: String,
    /// Type of the column by which rows are parted.
    pub ty: SqlType,
    /// RANGE RIGHT: a boundary is the first value of its partition, else the last of the one before.
    pub right: bool,
    /// Boundaries in order.
    pub values: Vec<Value>,
    /// Server-local creation time.
    pub create_date: Micros,
}

impl PartitionFunctionDef {
    /// The partition of a value, from 1; NULL is below all others.
    pub fn partition(&self, value: &Value) -> usize {
        let below = |boundary: &&Value| {
            let order = boundary.compare(value);
            !value.is_null() && if self.right { order.is_le() } else { order.is_lt() }
        };
        1 + self.values.iter().filter(below).count()
    }
}

/// An extended property.
#[derive(Clone, Debug, PartialEq)]
pub struct PropertyDef {
    /// What has it.
    pub of: Owner,
    /// Name.
    pub name: String,
    /// Value, a `sql_variant`.
    pub value: Value,
}

/// What has an extended property: `class`, `major_id` and `minor_id` of `sys.extended_properties`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Class.
    pub class: u8,
    /// Object, schema or type.
    pub major: i32,
    /// Column or index.
    pub minor: i32,
}

/// What a database has beside its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseDefs {
    /// Filegroups and partition schemes.
    pub spaces: Vec<SpaceDef>,
    /// Partition functions.
    pub functions: Vec<PartitionFunctionDef>,
    /// Extended properties.
    pub properties: Vec<PropertyDef>,
}

impl Default for DatabaseDefs {
    fn default() -> Self {
        let primary = SpaceDef { id: PRIMARY, name: "PRIMARY".to_owned(), scheme: None };
        DatabaseDefs { spaces: vec![primary], functions: Vec::new(), properties: Vec::new() }
    }
}

impl DatabaseDefs {
    /// The function of a partition scheme; none for a filegroup.
    pub fn function_of(&self, space: i32) -> Option<&PartitionFunctionDef> {
        let scheme = self.spaces.iter().find(|known| known.id == space)?.scheme.as_ref()?;
        self.functions.iter().find(|function| function.id == scheme.function)
    }
}

/// Class of objects and columns.
pub const CLASS_OBJECT: u8 = 1;
/// Class of indexes.
pub const CLASS_INDEX: u8 = 7;

impl Txn {
    /// What the database has beside its objects, as this transaction and the committed ones left it.
    pub fn defs(&self) -> Arc<DatabaseDefs> {
        self.database().lock().defs.clone()
    }

    /// Changes it.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn change_defs(
        &mut self,
        change: impl FnOnce(&mut DatabaseDefs, Micros) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let (me, now) = (self.id(), self.now());
        let database = self.database().clone();
        let mut state = database.lock();
        let mut after = DatabaseDefs::clone(&state.defs);
        change(&mut after, now)?;
        state.set_defs(me, now, after);
        Ok(())
    }
}

impl State {
    fn set_defs(&mut self, txn: u64, now: Micros, after: DatabaseDefs) {
        let after = Arc::new(after);
        let before = std::mem::replace(&mut self.defs, after.clone());
        self.write_log(txn, 200, now);
        self.note_ddl(txn, Undo::Defs(before), Redo::Defs(after));
    }

    /// Extended properties go with what has them: the object itself, or what a change takes from it.
    pub(super) fn drop_properties(
        &mut self,
        txn: u64,
        now: Micros,
        before: &TableDef,
        after: Option<&TableDef>,
    ) {
        let gone = |of: &Owner| match (of.class, after) {
            (CLASS_OBJECT | CLASS_INDEX, None) if of.major == before.id => true,
            (CLASS_OBJECT, Some(after)) if of.major == before.id && of.minor != 0 => {
                column_is_gone(of.minor, before, after)
            }
            (CLASS_INDEX, Some(after)) if of.major == before.id => {
                let has = |table: &TableDef| table.index(of.minor).is_some();
                has(before) && !has(after)
            }
            (CLASS_OBJECT, _) => {
                let has = |table: &TableDef| table.constraints().any(|(id, ..)| id == of.major);
                has(before) && !after.is_some_and(has)
            }
            _ => false,
        };
        if self.defs.properties.iter().any(|property| gone(&property.of)) {
            let mut left = DatabaseDefs::clone(&self.defs);
            left.properties.retain(|property| !gone(&property.of));
            self.set_defs(txn, now, left);
        }
    }
}

fn column_is_gone(column: ColumnId, before: &TableDef, after: &TableDef) -> bool {
    before.position_of(column).is_some() && after.position_of(column).is_none()
}
