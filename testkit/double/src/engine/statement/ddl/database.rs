//! CREATE and ALTER DATABASE.

use std::sync::Arc;

use super::{denied, partition};
use crate::engine::batch::Executor;
use crate::engine::collation::Label;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::DatabaseOption;
use crate::storage::Database;
use crate::{IsolationLevel, SqlError};

/// Under what name a database keeps an option that the catalogue shows.
pub fn option_key(name: &str) -> String {
    format!("option/{name}")
}

impl Executor<'_> {
    pub(super) fn create_database(
        &mut self,
        name: &str,
        filegroups: &[String],
        collation: Option<Label>,
    ) -> Result<(), Fault> {
        self.no_transaction("CREATE DATABASE")?;
        let rights = &self.session.status.rights;
        if !rights.sysadmin && !rights.has_server_permission("CREATE ANY DATABASE") {
            return Err(denied("CREATE DATABASE", "master").into());
        }
        let database = self.session.shared.storage.create_database(name)?;
        if let Some(label) = collation {
            database.set_collation(label)?;
        }
        for filegroup in filegroups {
            add_filegroup(&database, filegroup)?;
        }
        Ok(())
    }

    pub(super) fn alter_database(
        &mut self,
        name: Option<&str>,
        options: &[DatabaseOption],
    ) -> Result<(), Fault> {
        let refused = |name: &str| {
            SqlError::new(
                5011,
                14,
                5,
                format!(
                    "User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks."
                ),
            )
        };
        let database = match name {
            None => Arc::clone(&self.session.status.database),
            Some(name) => {
                self.session.shared.storage.database(name).ok_or_else(|| refused(name))?
            }
        };
        let rights = self.session.shared.rights_in(&self.session.status.rights, &database)?;
        if !rights.is_owner() {
            return Err(refused(&database.name()).into());
        }
        for option in options {
            match option {
                DatabaseOption::AllowSnapshot(on) => database.set_allow_snapshot(*on)?,
                DatabaseOption::ReadCommittedSnapshot(on) => {
                    database.set_read_committed_snapshot(*on)?;
                }
                DatabaseOption::CompatibilityLevel(level) => {
                    self.set_compatibility_level(&database, *level)?;
                }
                DatabaseOption::Collate(label) => database.set_collation(*label)?,
                DatabaseOption::AddFilegroup(name) => add_filegroup(&database, name)?,
                DatabaseOption::RemoveFilegroup(name) => {
                    let mut txn = database.begin(IsolationLevel::ReadCommitted);
                    partition::remove_space(&mut txn, name)?;
                    txn.commit()?;
                }
                DatabaseOption::Shown(name, value) => {
                    database.set_setting(&option_key(name), Some(value))?;
                }
                DatabaseOption::Accepted => {}
            }
        }
        Ok(())
    }

    fn set_compatibility_level(&self, database: &Arc<Database>, level: i64) -> Result<(), Fault> {
        let newest = self.session.shared.release.compatibility_level();
        let known = |level: &u8| level.is_multiple_of(10) && (100..=newest).contains(level);
        let Some(level) = u8::try_from(level).ok().filter(known) else {
            let levels: Vec<String> =
                (100..newest).step_by(10).map(|level| level.to_string()).collect();
            return Err(SqlError::new(
                15048,
                16,
                3,
                format!(
                    "Valid values of the database compatibility level are {}, or {newest}.",
                    levels.join(", ")
                ),
            )
            .into());
        };
        Ok(database.set_compatibility_level(level)?)
    }
}

fn add_filegroup(database: &Arc<Database>, name: &str) -> Result<(), SqlError> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    partition::add_filegroup(&mut txn, name)?;
    txn.commit().map(drop)
}
