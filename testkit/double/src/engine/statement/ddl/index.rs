//! ALTER INDEX and DROP INDEX.

use super::keeping::{keeping, settle};
use super::{cannot_drop, not_found_or_allowed, own_table};
use crate::SqlError;
use crate::engine::env::Env;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::{AlterIndex, ObjectName};
use crate::storage::{IndexKind, TableDef};

/// ALTER INDEX: one index, or all of a table.
pub fn alter_index(
    env: &Env<'_>,
    name: &ObjectName,
    index: Option<&str>,
    action: &AlterIndex,
    text: &str,
) -> Result<(), Fault> {
    let missing = || not_found_or_allowed(&name.to_string());
    let table = own_table(env, name)?.ok_or_else(missing)?;
    if !env.status.rights.may_define() && !env.status.rights.has_object_permission("ALTER", &table)
    {
        return Err(missing().into());
    }
    let mut new = TableDef::clone(&table);
    let meant = |known: &str| index.is_none_or(|index| crate::storage::same_name(index, known));
    if let Some(index) = index
        && !new.indexes.iter().any(|known| meant(&known.name))
    {
        return Err(SqlError::new(2727, 11, 1, format!("Cannot find index '{index}'.")).into());
    }
    let disables = match action {
        AlterIndex::Disable => true,
        AlterIndex::Rebuild(_) => false,
        AlterIndex::Set(options) => {
            for at in 0..new.indexes.len() {
                if meant(&new.indexes[at].name) {
                    new.indexes[at].keeping =
                        keeping(env, &table, options, new.indexes[at].keeping)?;
                }
            }
            env.with_txn(|txn| txn.alter_table(new, text, None))?;
            return Ok(());
        }
        AlterIndex::Reorganize => return Ok(()),
    };
    let clustered_goes =
        disables && new.indexes.iter().any(|known| known.clustered && meant(&known.name));
    for known in &mut new.indexes {
        // Without its clustered index no other index of a table can be used.
        if meant(&known.name) || clustered_goes {
            known.disabled = disables;
            if let AlterIndex::Rebuild(options) = action {
                known.keeping = keeping(env, &table, options, known.keeping)?;
            }
        }
    }
    // A foreign key goes off with the key it refers to, and stays off.
    if disables {
        for child in env.with_txn(|txn| txn.tables()) {
            let mut changed = match child.id == table.id {
                true => new.clone(),
                false => TableDef::clone(&child),
            };
            let mut any = false;
            for key in &mut changed.foreign_keys {
                let whole = new.indexes.iter().any(|index| {
                    index.is_key()
                        && index.keys.len() == key.referenced_columns.len()
                        && index.keys.iter().all(|k| key.referenced_columns.contains(&k.column))
                });
                if key.referenced_table == table.id && !whole && !key.disabled {
                    (key.disabled, key.not_trusted, any) = (true, true, true);
                }
            }
            match child.id == table.id {
                true => new = changed,
                false if any => drop(env.with_txn(|txn| txn.alter_table(changed, text, None))?),
                false => {}
            }
        }
    }
    env.with_txn(|txn| txn.alter_table(new, text, None))?;
    Ok(())
}

/// DROP INDEX.
pub fn drop_index(
    env: &Env<'_>,
    name: &ObjectName,
    index: &str,
    if_exists: bool,
    text: &str,
) -> Result<(), Fault> {
    let table = own_table(env, name)?.ok_or_else(|| not_found_or_allowed(&name.to_string()))?;
    let full = format!("{name}.{index}");
    let found = table.indexes.iter().find(|known| crate::storage::same_name(&known.name, index));
    let Some(found) = found else {
        return match if_exists {
            true => Ok(()),
            false => Err(cannot_drop("index", &full).into()),
        };
    };
    if !env.status.rights.may_define() && !table.is_temporary() {
        return Err(cannot_drop("index", &full).into());
    }
    if found.kind != IndexKind::Index {
        return Err(SqlError::new(
            3723,
            16,
            4,
            format!("An explicit DROP INDEX is not allowed on index '{full}'. It is being used for a constraint."),
        )
        .into());
    }
    let id = found.id;
    let mut new = TableDef::clone(&table);
    new.indexes.retain(|known| known.id != id);
    settle(&table, &mut new);
    env.with_txn(|txn| txn.alter_table(new, text, None))?;
    Ok(())
}
