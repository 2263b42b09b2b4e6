//! BACKUP and RESTORE DATABASE.

use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::same_name;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::Expr;
use crate::{SqlError, SqlType};

impl Executor<'_> {
    fn backup_file(&mut self, statement: &str, file: &Expr) -> Result<String, Fault> {
        if self.session.open.is_some() {
            return Err(SqlError::new(
                3021,
                16,
                0,
                "Cannot perform a backup or restore operation within a transaction.",
            )
            .into());
        }
        let rights = &self.session.status.rights;
        if !(rights.sysadmin || statement == "BACKUP DATABASE" && rights.is_owner()) {
            return Err(SqlError::new(
                262,
                14,
                1,
                format!("{statement} permission denied in database '{}'.", self.session.database()),
            )
            .into());
        }
        let file = self.evaluate_as(file, &SqlType::NVarChar(Some(4000)))?;
        Ok(file.to_text().unwrap_or_default())
    }

    pub(crate) fn backup(&mut self, database: &str, file: &Expr) -> Result<Flow, Fault> {
        let file = self.backup_file("BACKUP DATABASE", file)?;
        if !self.session.status.rights.sysadmin && !same_name(database, &self.session.database()) {
            return Err(SqlError::new(
                262,
                14,
                1,
                format!("BACKUP DATABASE permission denied in database '{database}'."),
            )
            .into());
        }
        self.session.shared.storage.backup(database, &file)?;
        self.done()
    }

    pub(crate) fn restore(
        &mut self,
        database: &str,
        file: &Expr,
        keep_cdc: bool,
        replace: bool,
    ) -> Result<Flow, Fault> {
        let file = self.backup_file("RESTORE DATABASE", file)?;
        if same_name(database, &self.session.database()) {
            return Err(SqlError::new(
                3102,
                16,
                1,
                format!("RESTORE cannot process database '{database}' because it is in use by this session. It is recommended that the master database be used when performing this operation."),
            )
            .into());
        }
        let storage = &self.session.shared.storage;
        if storage.database(database).is_some() && !replace {
            return Err(SqlError::new(
                3159,
                16,
                1,
                format!("The tail of the log for the database \"{database}\" has not been backed up. Use the WITH REPLACE clause of the RESTORE statement to just overwrite the contents of the log."),
            )
            .into());
        }
        storage.restore(database, &file, keep_cdc)?;
        self.session.shared.security_changed();
        self.done()
    }
}
