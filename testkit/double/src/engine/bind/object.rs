//! Stored objects by name: what a name means, what the user may do with it, how it is locked.

use std::sync::Arc;

use super::{Binder, Bound, unsupported};
use crate::engine::plan::Lock;
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{Hints, ObjectName};
use crate::storage::{Database, RowLock, TableDef, TableLock};
use crate::{IsolationLevel, SqlError};

/// A stored table a statement names.
#[derive(Clone)]
pub struct Target {
    /// Definition.
    pub table: Arc<TableDef>,
    /// Its database, where it is not the current one.
    pub elsewhere: Option<Arc<Database>>,
}

impl Binder<'_, '_> {
    /// A stored table by name, if the user may do this with it.
    ///
    /// # Errors
    /// 208, 229, 916, and what a test has injected.
    pub fn resolve(&self, name: &ObjectName, permission: Permission) -> Bound<Target> {
        let target = self.object(name)?;
        if target.table.is_view() {
            return Err(unsupported("a change through a view"));
        }
        self.usable(target, permission)
    }

    /// A table, view or procedure by name, whatever the user may do with it.
    ///
    /// # Errors
    /// 208.
    pub fn object(&self, name: &ObjectName) -> Bound<Target> {
        self.check_temporary(name)?;
        let current = &self.env.status.database;
        let schema = &self.env.schema_of(name);
        let elsewhere = match &name.database {
            Some(_) if name.is_temporary() => None,
            Some(database) if !super::same_name(database, &current.name()) => Some(
                self.env.shared.storage.database(database).ok_or_else(|| invalid_object(name))?,
            ),
            _ => None,
        };
        let table = match &elsewhere {
            Some(database) => {
                let mut txn = database.begin(IsolationLevel::ReadCommitted);
                txn.object(schema, &name.name)?
            }
            None => self.env.with_txn(|txn| txn.object(schema, &name.name))?,
        };
        let table = table.ok_or_else(|| invalid_object(name))?;
        Ok(Target { table, elsewhere })
    }

    /// A table that the user may do this with.
    pub(super) fn usable(&self, target: Target, permission: Permission) -> Bound<Target> {
        if target.table.is_function() {
            return Err(SqlError::new(
                216,
                16,
                1,
                format!("Parameters were not supplied for the function '{}'.", target.table.name),
            ));
        }
        if target.table.module.is_some() {
            let name = &target.table.name;
            return Err(SqlError::new(
                2809,
                16,
                1,
                format!(
                    "The request for procedure '{name}' failed because '{name}' is a procedure object."
                ),
            ));
        }
        let database = target.elsewhere.as_ref().unwrap_or(&self.env.status.database);
        self.env.shared.storage.touch(&database.name(), &target.table.full_name())?;
        self.check(&target, permission)?;
        check_readable(&target.table)?;
        self.read.borrow_mut().push(target.clone());
        Ok(target)
    }

    /// Error 229 unless the user may do this with a table.
    ///
    /// # Errors
    /// 229, 916.
    pub fn check(&self, target: &Target, permission: Permission) -> Bound<()> {
        if self.is_chained(target) {
            return Ok(());
        }
        let own = &self.env.status.rights;
        match &target.elsewhere {
            Some(database) => self.env.shared.rights_in(own, database)?.check_object(
                permission,
                &database.name(),
                &target.table,
            ),
            None => own.check_object(permission, &self.env.status.database.name(), &target.table),
        }
    }

    /// The columns of a table that the user may not read.
    pub(super) fn unreadable(&self, target: &Target) -> Vec<(usize, SqlError)> {
        if self.is_chained(target) {
            return Vec::new();
        }
        let own = &self.env.status.rights;
        match &target.elsewhere {
            // Rights there have been checked when the name was resolved.
            Some(database) => match self.env.shared.rights_in(own, database) {
                Ok(rights) => rights.unreadable(&database.name(), &target.table),
                Err(_) => Vec::new(),
            },
            None => own.unreadable(&self.env.status.database.name(), &target.table),
        }
    }

    /// Takes the locks that hints and isolation ask for at once; answers how rows are read.
    pub(super) fn lock(&self, target: &Target, hints: &Hints) -> Bound<Lock> {
        if target.elsewhere.is_some() {
            return match hints == &Hints::default() {
                true => Ok(Lock::None),
                false => Err(unsupported("hint on a table of another database")),
            };
        }
        let isolation = self.env.status.isolation;
        // Under SNAPSHOT readers take no locks, whatever the hint (but those for writing do).
        let snapshot = isolation == IsolationLevel::Snapshot;
        let holds = hints.hold_lock
            || hints.repeatable_read
            || matches!(isolation, IsolationLevel::RepeatableRead | IsolationLevel::Serializable);
        let table = target.table.id;
        // Two holders of ranges that both mean to write would only deadlock over a shared lock.
        let to_write = holds && (hints.update_lock || hints.exclusive_lock);
        if hints.table_exclusive || (hints.table_lock && hints.exclusive_lock) || to_write {
            self.env.with_txn(|txn| txn.lock_table(table, TableLock::Exclusive))?;
        } else if holds && !snapshot {
            self.env.with_txn(|txn| txn.lock_table(table, TableLock::Shared))?;
        } else if hints.table_lock && !snapshot {
            // Without HOLDLOCK READ COMMITTED lets go of it when the statement ends.
            self.env.with_txn(|txn| txn.lock_table_for_statement(table, TableLock::Shared))?;
        }
        if hints.exclusive_lock {
            return Ok(Lock::Rows(RowLock::Exclusive));
        }
        if hints.update_lock {
            return Ok(Lock::Rows(RowLock::Update));
        }
        if hints.no_lock || (isolation == IsolationLevel::ReadUncommitted && !holds) {
            return Ok(Lock::Dirty);
        }
        // A lock on the table stands for those on its rows.
        if holds || hints.table_lock || snapshot || target.table.is_temporary() {
            return Ok(Lock::None);
        }
        let locks = hints.read_committed_lock || !self.env.status.database.reads_versions();
        Ok(if locks { Lock::Committed } else { Lock::None })
    }
}

/// Error 8655 for a table whose clustered index is disabled.
///
/// # Errors
/// 8655.
fn check_readable(table: &TableDef) -> Result<(), SqlError> {
    match table.clustered().filter(|index| index.disabled) {
        None => Ok(()),
        Some(index) => Err(SqlError::new(
            8655,
            16,
            1,
            format!(
                "The query processor is unable to produce a plan because the index '{}' on table or view '{}' is disabled.",
                index.name, table.name
            ),
        )),
    }
}

/// Error 208.
pub fn invalid_object(name: &ObjectName) -> SqlError {
    SqlError::new(208, 16, 1, format!("Invalid object name '{name}'."))
}
