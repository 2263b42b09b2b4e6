//! DDL on tables that may be captured.

use std::sync::Arc;

use super::enable::{drop_instance, error};
use super::same_name;
use super::schema::Tables;
use crate::SqlError;
use crate::storage::{IndexDef, IndexKind, ObjectId, Rewrite, TableDef, Txn, invalid_object};

impl Txn {
    /// DROP TABLE. A captured table's instances go with it, at once.
    ///
    /// # Errors
    /// 208; 3726 while a foreign key of another table refers to it.
    pub fn drop_table(&mut self, id: ObjectId) -> Result<(), SqlError> {
        let def = self.table_by_id(id)?.ok_or_else(|| invalid_object(&id.to_string()))?;
        if def.tracked_by_cdc() {
            let tables = Tables::open(self)?;
            let view = self.statement_view()?;
            for instance in tables.instances(&view)? {
                if instance.source == id {
                    drop_instance(self, &tables, &instance)?;
                }
            }
        }
        self.remove_table(id)
    }

    /// ALTER TABLE, column renames, CREATE INDEX, DROP INDEX: puts `new` (the old definition,
    /// changed; new columns, indexes and constraints with id 0) in the place of the table. Where
    /// columns are added, dropped or retyped, `rewrite` makes each stored row fit and answers
    /// errors of its own (8115, 515 …). `command` is the statement's text; that of an ALTER TABLE
    /// goes to `cdc.ddl_history` if the table is captured.
    ///
    /// # Errors
    /// 208; 4928 for the rename of a captured column; 22979 and 22983 if an index that an
    /// instance uses would change; 1505 if a new unique index meets duplicates; 2705; what
    /// `rewrite` answers.
    pub fn alter_table(
        &mut self,
        new: TableDef,
        command: &str,
        rewrite: Option<Rewrite<'_>>,
    ) -> Result<Arc<TableDef>, SqlError> {
        let old = self.table_by_id(new.id)?.ok_or_else(|| invalid_object(&new.full_name()))?;
        if old.tracked_by_cdc() {
            check_alter(self, &old, &new)?;
        }
        self.redefine(new, if is_alter(command) { command } else { "" }, rewrite)
    }
}

fn is_alter(command: &str) -> bool {
    let mut words = command.split_whitespace();
    ["alter", "table"].iter().all(|word| words.next().is_some_and(|found| same_name(found, word)))
}

fn check_alter(txn: &mut Txn, old: &TableDef, new: &TableDef) -> Result<(), SqlError> {
    let tables = Tables::open(txn)?;
    let view = txn.statement_view()?;
    for instance in tables.instances(&view)? {
        if instance.source != old.id {
            continue;
        }
        for column in &instance.columns {
            let name =
                |table: &TableDef| Some(table.columns[table.position_of(column.id)?].name.clone());
            if let (Some(before), Some(after)) = (name(old), name(new))
                && before != after
            {
                return Err(SqlError::new(
                    4928,
                    16,
                    1,
                    format!("Cannot alter column '{before}' because it is 'REPLICATED'."),
                ));
            }
        }
        let Some(index) = &instance.index_name else {
            continue;
        };
        let used = |table: &TableDef| {
            table.indexes.iter().find(|found| same_name(&found.name, index)).cloned()
        };
        let (before, after) = (used(old), used(new));
        let identifies = |index: &Option<IndexDef>| {
            index.as_ref().map(|index| (index.keys.clone(), index.disabled))
        };
        if identifies(&before) != identifies(&after) {
            let number = if before.is_some_and(|index| index.kind == IndexKind::PrimaryKey) {
                22983
            } else {
                22979
            };
            return Err(error(
                number,
                format!(
                    "The unique index '{index}' on table '{}' is used by Change Data Capture. The constraint or index cannot be altered or dropped while capture instance '{}' uses it.",
                    old.full_name(),
                    instance.name
                ),
            ));
        }
    }
    Ok(())
}
