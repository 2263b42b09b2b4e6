//! CREATE, ALTER and DROP.

mod alter;
pub(super) mod constraint;
pub(super) mod create;
pub(super) mod database;
mod filter;
mod index;
mod keeping;
mod masking;
mod module;
mod partition;
mod policy;
mod sequence;
mod switch;
pub mod types;

use crate::SqlError;
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{Binder, unsupported};
use crate::engine::env::Env;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::{Ddl, ObjectName};
use crate::storage::TableDef;
use std::sync::Arc;

/// Error 1088 or 4902: there is no such table, or no right to change it.
pub fn not_found_or_allowed(name: &str) -> SqlError {
    SqlError::new(
        1088,
        16,
        7,
        format!(
            "Cannot find the object \"{name}\" because it does not exist or you do not have permissions."
        ),
    )
}

/// Error 262.
fn denied(statement: &str, database: &str) -> SqlError {
    SqlError::new(262, 14, 1, format!("{statement} permission denied in database '{database}'."))
}

/// Error 3701.
fn cannot_drop(kind: &str, name: &str) -> SqlError {
    SqlError::new(
        3701,
        11,
        5,
        format!(
            "Cannot drop the {kind} '{name}', because it does not exist or you do not have permission."
        ),
    )
}

/// A table of the current database that is to be changed.
fn own_table(env: &Env<'_>, name: &ObjectName) -> Result<Option<Arc<TableDef>>, Fault> {
    let current = env.status.database.name();
    if name.is_temporary() {
        let schema = env.schema_of(name);
        return Ok(env.with_txn(|txn| txn.table(&schema, &name.name))?);
    }
    if name.database.as_ref().is_some_and(|database| !crate::storage::same_name(database, &current))
    {
        return Err(Fault::Compile(unsupported("a definition in another database")));
    }
    let schema = name.schema.as_deref().unwrap_or("dbo");
    Ok(env.with_txn(|txn| txn.table(schema, &name.name))?)
}

fn may_define(env: &Env<'_>, statement: &str) -> Result<(), Fault> {
    if env.status.rights.may_define() || env.status.rights.has_database_permission(statement) {
        return Ok(());
    }
    Err(denied(statement, &env.status.database.name()).into())
}

impl Executor<'_> {
    pub(crate) fn ddl(&mut self, ddl: &Ddl, text: &str) -> Result<Flow, Fault> {
        match ddl {
            Ddl::CreateDatabase { name, filegroups, collation } => {
                self.create_database(name, filegroups, *collation)?
            }
            Ddl::CreatePartitionFunction { name, ty, right, values } => {
                self.with_env(true, |env, variables| {
                    let binder = Binder::new(env, variables);
                    partition::create_function(&binder, name, (ty, *right), values)
                })?
            }
            Ddl::CreatePartitionScheme { name, function, all, spaces } => self
                .with_env(true, |env, _| {
                    partition::create_scheme(env, name, function, *all, spaces)
                })?,
            Ddl::CreateSequence { name, options } => {
                self.with_env(true, |env, _| sequence::create(env, name, options))?
            }
            Ddl::AlterSequence { name, options } => {
                self.with_env(true, |env, _| sequence::alter(env, name, options))?
            }
            Ddl::DropPartitionFunction(name) => {
                self.with_env(true, |env, _| partition::drop_function(env, name))?
            }
            Ddl::DropPartitionScheme(name) => {
                self.with_env(true, |env, _| partition::drop_scheme(env, name))?
            }
            Ddl::DropDatabase { names, if_exists } => self.drop_databases(names, *if_exists)?,
            Ddl::AlterDatabase { name, options } => {
                self.alter_database(name.as_deref(), options)?
            }
            Ddl::CreateSchema { name, owner } => {
                if owner.as_deref().is_some_and(|owner| !owner.eq_ignore_ascii_case("dbo")) {
                    return Err(Fault::Compile(unsupported("AUTHORIZATION")));
                }
                self.with_env(true, |env, _| {
                    may_define(env, "CREATE SCHEMA")?;
                    Ok(env.with_txn(|txn| txn.create_schema(name))?)
                })?;
            }
            Ddl::DropSchema { name, if_exists } => self.with_env(true, |env, _| {
                may_define(env, "ALTER ANY SCHEMA")?;
                let schemas = env.with_txn(|txn| txn.schemas());
                let exists =
                    schemas.iter().any(|(_, known)| crate::storage::same_name(known, name));
                if *if_exists && !exists {
                    return Ok(());
                }
                Ok(env.with_txn(|txn| txn.drop_schema(name))?)
            })?,
            Ddl::CreateType { name, ty, nullable } => {
                self.with_env(true, |env, _| types::create_type(env, name, ty, *nullable))?
            }
            Ddl::DropType { name, if_exists } => {
                self.with_env(true, |env, _| types::drop_type(env, name, *if_exists))?
            }
            Ddl::CreateTable { name, columns, constraints, options, lob_space } => {
                self.with_env(true, |env, variables| {
                    if !name.is_temporary() {
                        may_define(env, "CREATE TABLE")?;
                    }
                    let binder = Binder::new(env, variables);
                    let kept = (options, lob_space.as_deref());
                    create::create_table(&binder, name, columns, constraints, kept)
                })?
            }
            Ddl::DropTable { names, if_exists } => self.with_env(true, |env, _| {
                for name in names {
                    drop_table(env, name, *if_exists)?;
                }
                Ok(())
            })?,
            Ddl::CreateIndex { name, table, index, drop_existing } => {
                self.with_env(true, |env, variables| {
                    let binder = Binder::new(env, variables);
                    let index = (name.as_str(), index);
                    create::create_index(&binder, table, index, *drop_existing, text)
                })?
            }
            Ddl::AlterIndex { name, table, action } => self.with_env(true, |env, _| {
                index::alter_index(env, table, name.as_deref(), action, text)
            })?,
            Ddl::DropIndex { indexes, if_exists } => self.with_env(true, |env, _| {
                let drop = |(name, table)| index::drop_index(env, table, name, *if_exists, text);
                indexes.iter().map(|(name, table)| (name.as_str(), table)).try_for_each(drop)
            })?,
            Ddl::AlterTable { table, action } => self.with_env(true, |env, variables| {
                let binder = Binder::new(env, variables);
                alter::alter_table(&binder, table, action, text)
            })?,
            Ddl::Module(module) => self.with_env(true, |env, variables| {
                module::define(&Binder::new(env, variables), module)
            })?,
            Ddl::Policy(statement) => self.with_env(true, |env, variables| {
                policy::define(&Binder::new(env, variables), statement)
            })?,
            Ddl::DropPolicy { name, if_exists } => {
                self.with_env(true, |env, _| policy::drop_policy(env, name, *if_exists))?
            }
            Ddl::DropModules { kind, names, if_exists } => self.with_env(true, |env, _| {
                names.iter().try_for_each(|name| module::drop_module(env, *kind, name, *if_exists))
            })?,
        }
        self.done()
    }

    /// Databases are made and dropped outside of transactions.
    fn no_transaction(&self, statement: &str) -> Result<(), Fault> {
        if self.session.open.is_none() {
            return Ok(());
        }
        Err(SqlError::new(
            226,
            16,
            6,
            format!("{statement} statement not allowed within multi-statement transaction."),
        )
        .into())
    }

    fn drop_databases(&mut self, names: &[String], if_exists: bool) -> Result<(), Fault> {
        self.no_transaction("DROP DATABASE")?;
        for name in names {
            let storage = &self.session.shared.storage;
            if if_exists && storage.database(name).is_none() {
                continue;
            }
            if !self.session.status.rights.sysadmin {
                return Err(cannot_drop("database", name).into());
            }
            if crate::storage::same_name(name, &self.session.database()) {
                return Err(SqlError::new(
                    3702,
                    16,
                    3,
                    format!("Cannot drop database \"{name}\" because it is currently in use."),
                )
                .into());
            }
            storage.drop_database(name)?;
        }
        Ok(())
    }
}

fn drop_table(env: &Env<'_>, name: &ObjectName, if_exists: bool) -> Result<(), Fault> {
    let Some(table) = own_table(env, name)? else {
        module::check_kind(env, None, name)?;
        return match if_exists {
            true => Ok(()),
            false => Err(cannot_drop("table", &name.to_string()).into()),
        };
    };
    if !env.status.rights.may_define() && !table.is_temporary() {
        return Err(cannot_drop("table", &name.to_string()).into());
    }
    if table.ms_shipped {
        return Err(cannot_drop("table", &name.to_string()).into());
    }
    env.with_txn(|txn| txn.drop_table(table.id))?;
    Ok(())
}
