//! DDL: the catalogue changes in place under Sch-M, and a rollback puts the old table back.
//!
//! Other transactions that name a changed table wait for the lock; a statement that holds a
//! definition keeps it stable by Sch-S. A SNAPSHOT view older than the change is refused (3961),
//! so no view ever needs the rows in their old shape.

use std::sync::Arc;

use super::log::{Change, LogRecord};
use super::state::{Redo, State, Undo};
use super::table::Table;
use super::{
    ObjectId, Row, RowId, SYSNAME_ID, TableDef, TableLock, Txn, TypeDef, invalid_object, same_name,
};
use crate::SqlError;

/// What makes stored rows fit a changed definition.
pub type Rewrite<'a> = &'a mut dyn FnMut(&Row) -> Result<Row, SqlError>;

impl Txn {
    /// CREATE SCHEMA.
    ///
    /// # Errors
    /// 2714 if it exists.
    pub fn create_schema(&mut self, name: &str) -> Result<(), SqlError> {
        self.change_schemas(|schemas| {
            if schemas.iter().any(|(_, other)| same_name(other, name)) {
                return Err(exists(name));
            }
            let id = schemas.iter().map(|(id, _)| *id).max().unwrap_or(0).max(4) + 1;
            schemas.push((id, name.to_owned()));
            Ok(())
        })
    }

    /// DROP SCHEMA.
    ///
    /// # Errors
    /// 15151 if there is none, 3729 if it is not empty.
    pub fn drop_schema(&mut self, name: &str) -> Result<(), SqlError> {
        if let Some(table) = self.objects().iter().find(|table| same_name(&table.schema, name)) {
            return Err(SqlError::new(
                3729,
                16,
                1,
                format!(
                    "Cannot drop schema '{name}' because it is being referenced by object '{}'.",
                    table.name
                ),
            ));
        }
        if let Some(ty) = self.types().iter().find(|ty| same_name(&ty.schema, name)) {
            return Err(SqlError::new(
                3729,
                16,
                1,
                format!(
                    "Cannot drop schema '{name}' because it is being referenced by object '{}'.",
                    ty.name
                ),
            ));
        }
        self.change_schemas(|schemas| {
            let before = schemas.len();
            schemas.retain(|(_, other)| !same_name(other, name));
            if schemas.len() == before {
                return Err(SqlError::new(
                    15151,
                    16,
                    1,
                    format!("Cannot drop the schema '{name}', because it does not exist or you do not have permission."),
                ));
            }
            Ok(())
        })
    }

    /// CREATE TYPE.
    ///
    /// # Errors
    /// 219 if it exists, 2760 for an unknown schema.
    pub fn create_type(&mut self, ty: TypeDef) -> Result<(), SqlError> {
        if !self.schemas().iter().any(|(_, name)| same_name(name, &ty.schema)) {
            return Err(no_schema(&ty.schema));
        }
        self.change_types(|types| {
            let taken = |known: &TypeDef| {
                same_name(&known.schema, &ty.schema) && same_name(&known.name, &ty.name)
            };
            if types.iter().any(taken) {
                return Err(SqlError::new(
                    219,
                    16,
                    1,
                    format!(
                        "The type '{}.{}' already exists, or you do not have permission to create it.",
                        ty.schema, ty.name
                    ),
                ));
            }
            let id = types.iter().map(|known| known.id).max().unwrap_or(SYSNAME_ID) + 1;
            types.push(TypeDef { id, ..ty });
            Ok(())
        })
    }

    /// DROP TYPE.
    ///
    /// # Errors
    /// 3732 if a column is of it.
    pub fn drop_type(&mut self, id: i32) -> Result<(), SqlError> {
        let tables = self.tables();
        let user =
            tables.iter().find(|table| table.columns.iter().any(|column| column.alias == Some(id)));
        self.change_types(|types| {
            let known = types.iter().position(|known| known.id == id);
            match (known, user) {
                (Some(at), Some(table)) => Err(SqlError::new(
                    3732,
                    16,
                    1,
                    format!(
                        "Cannot drop type '{}.{}' because it is being referenced by object '{}'. There may be other objects that reference this type.",
                        types[at].schema, types[at].name, table.name
                    ),
                )),
                (Some(at), None) => {
                    types.remove(at);
                    Ok(())
                }
                (None, _) => Ok(()),
            }
        })
    }

    fn change_types(
        &mut self,
        change: impl FnOnce(&mut Vec<TypeDef>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let (me, now) = (self.id(), self.now());
        let mut state = self.database.lock();
        let before = state.types.clone();
        let mut after = before.clone();
        change(&mut after)?;
        state.types = after.clone();
        state.write_log(me, 200, now);
        state.note_ddl(me, Undo::Types(before), Redo::Types(after));
        Ok(())
    }

    fn change_schemas(
        &mut self,
        change: impl FnOnce(&mut Vec<(i32, String)>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let (me, now) = (self.id(), self.now());
        let mut state = self.database.lock();
        let before = state.schemas.clone();
        let mut after = before.clone();
        change(&mut after)?;
        state.schemas = after.clone();
        state.write_log(me, 200, now);
        state.note_ddl(me, Undo::Schemas(before), Redo::Schemas(after));
        Ok(())
    }

    /// Turns the database's `is_cdc_enabled` on or off.
    ///
    /// # Errors
    /// None today; a rollback undoes it.
    pub fn set_cdc_enabled(&mut self, on: bool) -> Result<(), SqlError> {
        let (me, now) = (self.id(), self.now());
        let mut state = self.database.lock();
        let before = std::mem::replace(&mut state.info.cdc_enabled, on);
        state.write_log(me, 200, now);
        state.note_ddl(me, Undo::Cdc(before), Redo::Cdc(on));
        Ok(())
    }

    /// CREATE TABLE: numbers the table, its columns (by position), indexes and constraints.
    ///
    /// # Errors
    /// 2714 if the name is taken, 2760 for an unknown schema, 2705 for a column named twice.
    pub fn create_table(&mut self, mut table: TableDef) -> Result<Arc<TableDef>, SqlError> {
        let (me, now) = (self.id(), self.now());
        {
            let mut state = self.database.lock();
            let known = state.schemas.iter().any(|(_, name)| same_name(name, &table.schema));
            if !known && !table.is_temporary() {
                return Err(no_schema(&table.schema));
            }
            if state.find_table(&table.schema, &table.name, me).is_some() {
                return Err(exists(&table.name));
            }
            check_names(&state, &table, me)?;
            number(&mut state, &mut table)?;
            table.create_date = now;
            table.modify_date = now;
            let def = Arc::new(table);
            let mut created = Table::new(def.clone());
            created.created_by = Some(me);
            created.changed = state.commits;
            state.tables.insert(def.id, created);
            state.write_log(me, 400, now);
            state.note_ddl(me, Undo::Create(def.id), Redo::Create(def.clone()));
            // Nobody has seen the table yet: the lock is granted as a matter of course.
            let lock = TableLock::SchemaModification;
            if state.locks.lock_table(def.id, me, lock).is_ok()
                && let Some(txn) = state.txn(me)
            {
                txn.table_locks.push((def.id, lock));
            }
            Ok(def)
        }
    }

    /// What [`drop_table`](Txn::drop_table) comes to once the capture instances are gone.
    ///
    /// # Errors
    /// 208; 3726 while a foreign key of another table refers to it.
    pub(crate) fn remove_table(&mut self, id: ObjectId) -> Result<(), SqlError> {
        self.lock_table(id, TableLock::SchemaModification)?;
        let (me, now) = (self.id(), self.now());
        let mut state = self.database.lock();
        state.check_unreferenced(id, me, |name| {
            SqlError::new(
                3726,
                16,
                1,
                format!("Could not drop object '{name}' because it is referenced by a FOREIGN KEY constraint."),
            )
        })?;
        let lsn = state.write_log(me, 200, now);
        let Some(found) = state.tables.get_mut(&id) else {
            return Err(invalid_object(&id.to_string()));
        };
        found.dropped_by = Some(me);
        let def = found.def.clone();
        let logged = def.tracked_by_cdc().then(|| logged_ddl(&def, None, lsn, "DROP TABLE", now));
        state.note_ddl(me, Undo::Drop(id), Redo::Drop { table: id, logged });
        state.drop_properties(me, now, &def, None);
        Ok(())
    }

    /// What [`alter_table`](Txn::alter_table) comes to once CDC has nothing against it. Without a
    /// `command` nothing is recorded in `cdc.ddl_history`.
    ///
    /// # Errors
    /// 208; 1505 if a new unique index meets duplicates; 2705; what `rewrite` answers.
    pub(crate) fn redefine(
        &mut self,
        mut new: TableDef,
        command: &str,
        rewrite: Option<Rewrite<'_>>,
    ) -> Result<Arc<TableDef>, SqlError> {
        self.lock_table(new.id, TableLock::SchemaModification)?;
        let (me, now) = (self.id(), self.now());
        let mut state = self.database.lock();
        check_names(&state, &new, me)?;
        number(&mut state, &mut new)?;
        new.modify_date = now;
        let def = Arc::new(new);
        let old = state.tables.get(&def.id).ok_or_else(|| invalid_object(&def.full_name()))?;
        let rewritten = rewrite.is_some();
        let table = old.rebuilt(def.clone(), me, rewrite)?;
        let old_def = old.def.clone();
        let lsn = state.write_log(me, 400, now);
        let for_capture = if command.is_empty() {
            old_def.captures != def.captures
        } else {
            old_def.tracked_by_cdc()
        };
        let logged =
            for_capture.then(|| logged_ddl(&old_def, Some(def.clone()), lsn, command, now));
        let rows = rewritten.then(|| current_rows(&table));
        if let Some(old) = state.tables.insert(def.id, table) {
            let redo = Redo::Alter { def: def.clone(), rows, logged };
            state.note_ddl(me, Undo::Replace(Box::new(old)), redo);
        }
        state.drop_properties(me, now, &old_def, Some(&def));
        Ok(def)
    }

    /// `sp_rename` of a table: allowed on a captured table, and recorded nowhere.
    ///
    /// # Errors
    /// 208, 15335 if the name is taken.
    pub fn rename_table(&mut self, id: ObjectId, name: &str) -> Result<(), SqlError> {
        self.lock_table(id, TableLock::SchemaModification)?;
        let old = self.database.peek_table(id).ok_or_else(|| invalid_object(&id.to_string()))?;
        let taken = self.database.lock().find_table(&old.schema, name, self.id());
        if taken.is_some_and(|taken| taken != id) {
            return Err(SqlError::new(
                15335,
                11,
                1,
                format!(
                    "Error: The new name '{name}' is already in use as a object name and would cause a duplicate that is not permitted."
                ),
            ));
        }
        let new = TableDef { name: name.to_owned(), ..(*old).clone() };
        self.redefine(new, "", None).map(drop)
    }

    /// Sets which change tables record a table's changes from the end of this transaction on.
    /// Capture learns of it from the log: a DDL record without text.
    ///
    /// # Errors
    /// 208, and of waiting for the table's open writers 1205 and 1222.
    pub fn set_captures(&mut self, id: ObjectId, captures: Vec<ObjectId>) -> Result<(), SqlError> {
        self.lock_table(id, TableLock::SchemaModification)?;
        let old = self.database.peek_table(id).ok_or_else(|| invalid_object(&id.to_string()))?;
        let new = TableDef { captures, ..(*old).clone() };
        self.redefine(new, "", None).map(drop)
    }

    /// SWITCH of tables that are not partitioned: every row of `from` becomes one of `to`. Nothing of it
    /// is for capture.
    ///
    /// # Errors
    /// 208; 4905 if `to` is not empty; 4967 if a foreign key refers to `from`.
    pub fn switch(&mut self, from: ObjectId, to: ObjectId) -> Result<(), SqlError> {
        self.lock_table(from, TableLock::SchemaModification)?;
        self.lock_table(to, TableLock::SchemaModification)?;
        let (me, now) = (self.id(), self.now());
        let mut state = self.database.lock();
        state.check_unreferenced(from, me, |name| {
            SqlError::new(
                4967,
                16,
                1,
                format!("ALTER TABLE SWITCH statement failed. SWITCH is not allowed because source table '{name}' contains primary key that a foreign key refers to."),
            )
        })?;
        let gone = |id: ObjectId| invalid_object(&id.to_string());
        let target = state.tables.get(&to).ok_or_else(|| gone(to))?;
        if !current_rows(target).is_empty() {
            return Err(SqlError::new(
                4905,
                16,
                1,
                format!(
                    "ALTER TABLE SWITCH statement failed. The target table '{}' must be empty.",
                    target.def.full_name()
                ),
            ));
        }
        let rows = current_rows(state.tables.get(&from).ok_or_else(|| gone(from))?);
        let cell = state.txn(me).ok_or_else(super::database::no_transaction)?.cell.clone();
        state.write_log(me, 400, now);
        let target = state.tables.get(&to).ok_or_else(|| gone(to))?;
        let mut filled = target.rebuilt(target.def.clone(), me, None)?;
        for (_, row) in rows {
            let id = filled.take_row_id();
            filled.push(id, &cell, 0, Some(row));
        }
        let kept = current_rows(&filled);
        let def = filled.def.clone();
        if let Some(old) = state.tables.insert(to, filled) {
            let redo = Redo::Alter { def, rows: Some(kept), logged: None };
            state.note_ddl(me, Undo::Replace(Box::new(old)), redo);
        }
        state.empty_table(me, from);
        Ok(())
    }

    /// TRUNCATE TABLE. Identity starts again at its seed.
    ///
    /// # Errors
    /// 208; 4711 for a captured table; 4712 for one that a foreign key refers to.
    pub fn truncate(&mut self, id: ObjectId) -> Result<(), SqlError> {
        self.lock_table(id, TableLock::SchemaModification)?;
        let (me, now) = (self.id(), self.now());
        let mut state = self.database.lock();
        let def = state.tables.get(&id).map(|table| table.def.clone());
        let def = def.ok_or_else(|| invalid_object(&id.to_string()))?;
        if def.tracked_by_cdc() {
            return Err(SqlError::new(
                4711,
                16,
                1,
                format!(
                    "Cannot truncate table '{}' because it is published for replication or enabled for Change Data Capture.",
                    def.full_name()
                ),
            ));
        }
        state.check_unreferenced(id, me, |name| {
            SqlError::new(
                4712,
                16,
                1,
                format!("Cannot truncate table '{name}' because it is being referenced by a FOREIGN KEY constraint."),
            )
        })?;
        state.write_log(me, 200, now);
        state.empty_table(me, id);
        Ok(())
    }
}

impl State {
    /// Leaves nothing in a table.
    fn empty_table(&mut self, me: u64, id: ObjectId) {
        let Some(known) = self.tables.get(&id) else {
            return;
        };
        let mut empty = Table::new(known.def.clone());
        empty.next_row = known.next_row;
        empty.created_by = known.created_by;
        if let Some(old) = self.tables.insert(id, empty) {
            self.note_ddl(me, Undo::Replace(Box::new(old)), Redo::Truncate(id));
        }
    }

    /// Notes a catalogue change of a transaction: how to undo and how to repeat it.
    pub(super) fn note_ddl(&mut self, txn: u64, undo: Undo, redo: Redo) {
        if let Some(txn) = self.txn(txn) {
            txn.ddl = true;
            txn.undo.push(undo);
            txn.redo.push(redo);
        }
    }

    fn check_unreferenced(
        &self,
        id: ObjectId,
        me: u64,
        error: impl Fn(&str) -> SqlError,
    ) -> Result<(), SqlError> {
        let referenced = self.tables.values().any(|table| {
            table.def.id != id
                && table.dropped_by != Some(me)
                && table.def.foreign_keys.iter().any(|key| key.referenced_table == id)
        });
        let name =
            self.tables.get(&id).map_or_else(|| id.to_string(), |table| table.def.name.clone());
        if referenced { Err(error(&name)) } else { Ok(()) }
    }
}

/// Error 2714: constraints are objects of the table's schema and share their names with all others.
fn check_names(state: &State, table: &TableDef, me: u64) -> Result<(), SqlError> {
    let before = state.tables.get(&table.id).map(|known| &known.def);
    let names: Vec<&str> = table.constraint_names().collect();
    for (at, name) in names.iter().enumerate() {
        let is_it = |other: &str| same_name(other, name);
        let kept = before.is_some_and(|before| before.constraint_names().any(is_it));
        let elsewhere = || {
            state.tables.values().any(|known| {
                known.def.id != table.id
                    && known.dropped_by != Some(me)
                    && same_name(&known.def.schema, &table.schema)
                    && (is_it(&known.def.name) || known.def.constraint_names().any(is_it))
            })
        };
        let taken = is_it(&table.name) || (!kept && elsewhere());
        if taken || names[..at].iter().any(|other| is_it(other)) {
            return Err(exists(name));
        }
    }
    let renamed = before.is_none_or(|before| !same_name(&before.name, &table.name));
    let constraint_of_another = |known: &Table| {
        known.def.id != table.id
            && known.dropped_by != Some(me)
            && same_name(&known.def.schema, &table.schema)
            && known.def.constraint_names().any(|name| same_name(name, &table.name))
    };
    if renamed && state.tables.values().any(constraint_of_another) {
        return Err(exists(&table.name));
    }
    Ok(())
}

/// Gives ids to what has none: table, columns, indexes, constraints.
fn number(state: &mut State, table: &mut TableDef) -> Result<(), SqlError> {
    if table.id == 0 {
        table.id = state.take_object_id();
    }
    for at in 0..table.columns.len() {
        let name = table.columns[at].name.clone();
        if table.columns[..at].iter().any(|other| same_name(&other.name, &name)) {
            return Err(SqlError::new(
                2705,
                16,
                3,
                format!(
                    "Column names in each table must be unique. Column name '{name}' in table '{}' is specified more than once.",
                    table.full_name()
                ),
            ));
        }
        if table.columns[at].id == 0 {
            table.columns[at].id = table.next_column_id;
        }
        table.next_column_id = table.next_column_id.max(table.columns[at].id + 1);
    }
    for at in 0..table.indexes.len() {
        if table.indexes[at].id == 0 {
            let last = table.indexes.iter().map(|index| index.id).max().unwrap_or(0);
            table.indexes[at].id = if table.indexes[at].clustered { 1 } else { last.max(1) + 1 };
        }
        if table.indexes[at].kind != super::IndexKind::Index && table.indexes[at].constraint_id == 0
        {
            table.indexes[at].constraint_id = state.take_object_id();
        }
    }
    for check in table.checks.iter_mut().filter(|check| check.id == 0) {
        check.id = state.take_object_id();
    }
    for key in table.foreign_keys.iter_mut().filter(|key| key.id == 0) {
        key.id = state.take_object_id();
        if key.referenced_table == 0 {
            key.referenced_table = table.id;
        }
    }
    Ok(())
}

fn logged_ddl(
    before: &Arc<TableDef>,
    after: Option<Arc<TableDef>>,
    lsn: super::Lsn,
    command: &str,
    time: super::Micros,
) -> LogRecord {
    LogRecord {
        lsn,
        table: before.clone(),
        row: RowId(0),
        change: Change::Ddl { command: command.to_owned(), after, time },
    }
}

fn current_rows(table: &Table) -> Vec<(RowId, Row)> {
    table.chains().filter_map(|(id, chain)| Some((id, chain.head().row.as_ref()?.row()))).collect()
}

fn exists(name: &str) -> SqlError {
    SqlError::new(
        2714,
        16,
        6,
        format!("There is already an object named '{name}' in the database."),
    )
}

/// Error 2760.
fn no_schema(name: &str) -> SqlError {
    SqlError::new(
        2760,
        16,
        1,
        format!(
            "The specified schema name \"{name}\" either does not exist or you do not have permission to use it."
        ),
    )
}
