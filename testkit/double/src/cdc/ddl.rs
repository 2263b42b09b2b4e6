//! DDL on tables that may be captured.

use std::sync::Arc;

use super::enable::{drop_instance, error};
use super::same_name;
use super::schema::Tables;
use crate::SqlError;
use crate::storage::{IndexKind, ObjectId, Rewrite, TableDef, Txn, invalid_object};

/// DROP TABLE: a captured table's instances go with it, at once.
///
/// # Errors
/// Those of [`Txn::drop_table`].
pub fn drop_table(txn: &mut Txn, id: ObjectId) -> Result<(), SqlError> {
    let def = txn.table_by_id(id)?.ok_or_else(|| invalid_object(&id.to_string()))?;
    if def.tracked_by_cdc() {
        let tables = Tables::open(txn)?;
        let view = txn.statement_view()?;
        for instance in tables.instances(&view)? {
            if instance.source == id {
                drop_instance(txn, &tables, &instance)?;
            }
        }
    }
    txn.drop_table(id)
}

/// ALTER TABLE, CREATE INDEX, DROP INDEX and column renames on a table that may be captured:
/// refuses what CDC refuses, then [`Txn::alter_table`]. A change of indexes, checks or foreign
/// keys alone is handed over without text by the caller, because only ALTER TABLE is recorded.
///
/// # Errors
/// 4928 for the rename of a captured column; 22979 and 22983 if an index that an instance uses
/// would change; those of [`Txn::alter_table`].
pub fn alter_table(
    txn: &mut Txn,
    new: TableDef,
    command: &str,
    rewrite: Option<Rewrite<'_>>,
) -> Result<Arc<TableDef>, SqlError> {
    let old = txn.table_by_id(new.id)?.ok_or_else(|| invalid_object(&new.full_name()))?;
    if old.tracked_by_cdc() {
        check_alter(txn, &old, &new)?;
    }
    txn.alter_table(new, command, rewrite)
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
        if before.as_ref().map(|index| &index.keys) != after.as_ref().map(|index| &index.keys) {
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
