//! TRUNCATE TABLE, SET IDENTITY_INSERT, and the declaration of table variables.

use super::ddl;
use crate::SqlError;
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{Binder, unsupported};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::security::Permission;
use crate::engine::syntax::ast::{
    ColumnDefinition, ConstraintContent, ConstraintDefinition, ObjectName,
};
use crate::engine::table_variable::TableVariable;
use crate::storage::TableDef;

impl Executor<'_> {
    pub(crate) fn truncate(&mut self, name: &ObjectName) -> Result<Flow, Fault> {
        self.with_env(true, |env, variables| {
            let binder = Binder::new(env, variables);
            if binder.object(name).map_err(of_binding)?.table.is_view() {
                let text = format!("Could not truncate object '{name}' because it is not a table.");
                return Err(SqlError::new(4708, 16, 2, text).into());
            }
            let target = binder.resolve(name, Permission::Delete).map_err(of_binding)?;
            if target.elsewhere.is_some() {
                return Err(Fault::Compile(unsupported("TRUNCATE in another database")));
            }
            if !env.status.rights.may_define()
                && !env.status.rights.has_object_permission("ALTER", &target.table)
            {
                return Err(super::ddl::not_found_or_allowed(&target.table.name).into());
            }
            Ok(env.with_txn(|txn| txn.truncate(target.table.id))?)
        })?;
        self.done()
    }

    pub(crate) fn identity_insert(&mut self, name: &ObjectName, on: bool) -> Result<(), Fault> {
        let table = self.with_env(false, |env, variables| {
            let binder = Binder::new(env, variables);
            let target = binder.resolve(name, Permission::Insert).map_err(of_binding)?;
            match target.elsewhere {
                None => Ok(target.table),
                Some(_) => Err(Fault::Compile(unsupported("IDENTITY_INSERT in another database"))),
            }
        })?;
        if !table.columns.iter().any(|column| column.identity.is_some()) {
            return Err(SqlError::new(
                8106,
                16,
                1,
                format!(
                    "Table '{}' does not have the identity property. Cannot perform SET operation.",
                    table.name
                ),
            )
            .into());
        }
        let key = (self.session.status.database.id(), table.id);
        match (self.session.status.identity_insert, on) {
            (Some(other), true) if other != key => {
                return Err(SqlError::new(
                    8107,
                    16,
                    1,
                    format!("IDENTITY_INSERT is already ON for another table. Cannot perform SET operation for table '{}'.", table.name),
                )
                .into());
            }
            (_, true) => self.session.status.identity_insert = Some(key),
            (Some(known), false) if known == key => self.session.status.identity_insert = None,
            (_, false) => {}
        }
        Ok(())
    }

    pub(crate) fn declare_table(
        &mut self,
        name: &str,
        columns: &[ColumnDefinition],
        constraints: &[ConstraintDefinition],
    ) -> Result<Flow, Fault> {
        let table = self.with_env(false, |env, variables| {
            let binder = Binder::new(env, variables);
            // No schema: no database has it.
            let mut table = TableDef::new("", name, Vec::new());
            ddl::create::add_columns(&binder, &mut table, columns).map_err(of_binding)?;
            let all: Vec<&ConstraintDefinition> =
                columns.iter().flat_map(|column| &column.constraints).chain(constraints).collect();
            if columns.iter().any(|column| column.traits.row_guid || column.traits.sparse) {
                return Err(Fault::Compile(unsupported(
                    "ROWGUIDCOL or SPARSE of a table variable",
                )));
            }
            let checks =
                |content: &ConstraintContent| matches!(content, ConstraintContent::Check { .. });
            if !all.iter().all(|constraint| checks(&constraint.content)) {
                return Err(Fault::Compile(unsupported("key of a table variable")));
            }
            ddl::constraint::add_constraints(&binder, &mut table, &all, true)?;
            Ok(table)
        })?;
        self.variables.declare_table(TableVariable::new(table));
        Ok(Flow::Next)
    }
}
