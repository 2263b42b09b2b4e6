//! Filegroups, partition functions and schemes.

use super::keeping::space;
use super::may_define;
use crate::engine::bind::{Binder, Scope, types};
use crate::engine::env::Env;
use crate::engine::expr::Frame;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::Expr;
use crate::storage::{
    PRIMARY, PartitionFunctionDef, SchemeDef, SpaceDef, TableDef, Txn, same_name,
};
use crate::{SqlError, SqlType, Value};

/// `function_id` of the first partition function, as SQL Server counts.
const FIRST_FUNCTION: i32 = 65_536;
/// `data_space_id` of the first partition scheme.
const FIRST_SCHEME: i32 = 65_601;
/// Most partitions.
const MAX_PARTITIONS: usize = 15_000;

fn exists(name: &str) -> SqlError {
    SqlError::new(
        2714,
        16,
        6,
        format!("There is already an object named '{name}' in the database."),
    )
}

/// ALTER DATABASE … ADD FILEGROUP.
///
/// # Errors
/// 1828 if it exists.
pub fn add_filegroup(txn: &mut Txn, name: &str) -> Result<(), SqlError> {
    txn.change_defs(|defs, _| {
        if defs.spaces.iter().any(|known| same_name(&known.name, name)) {
            return Err(SqlError::new(
                1828,
                16,
                5,
                format!("The logical file or filegroup name \"{name}\" is already in use. Choose a different name."),
            ));
        }
        let groups = defs.spaces.iter().filter(|space| space.scheme.is_none());
        let id = groups.map(|space| space.id).max().unwrap_or(PRIMARY) + 1;
        defs.spaces.push(SpaceDef { id, name: name.to_owned(), scheme: None });
        Ok(())
    })
}

/// ALTER DATABASE … REMOVE FILEGROUP.
///
/// # Errors
/// 5014 for none of the name, 5042 for one in use.
pub fn remove_space(txn: &mut Txn, name: &str) -> Result<(), SqlError> {
    let tables = txn.tables();
    txn.change_defs(|defs, _| {
        let found = defs.spaces.iter().position(|known| {
            same_name(&known.name, name) && known.scheme.is_none() && known.id != PRIMARY
        });
        let Some(at) = found else {
            let text = format!("The filegroup '{name}' does not exist in database.");
            return Err(SqlError::new(5014, 16, 1, text));
        };
        let id = defs.spaces[at].id;
        let scheme =
            |space: &SpaceDef| space.scheme.as_ref().is_some_and(|s| s.spaces.contains(&id));
        if tables.iter().any(|table| uses(table, id)) || defs.spaces.iter().any(scheme) {
            let text = format!("The filegroup '{name}' cannot be removed because it is not empty.");
            return Err(SqlError::new(5042, 16, 8, text));
        }
        defs.spaces.remove(at);
        Ok(())
    })
}

fn uses(table: &TableDef, space: i32) -> bool {
    table.keeping.space == space
        || table.lob_space == space
        || table.indexes.iter().any(|index| index.keeping.space == space)
}

/// CREATE PARTITION FUNCTION.
pub fn create_function(
    binder: &Binder<'_, '_>,
    name: &str,
    (ty, right): (&SqlType, bool),
    values: &[Expr],
) -> Result<(), Fault> {
    let env = binder.env;
    may_define(env, "ALTER ANY DATASPACE")?;
    if ty.is_lob() || !ty.is_comparable() || *ty == SqlType::RowVersion {
        let text = format!("The type '{ty}' is not valid for this operation.");
        return Err(SqlError::new(7702, 16, 1, text).into());
    }
    if values.len() >= MAX_PARTITIONS {
        let text = format!(
            "CREATE/ALTER partition function failed as only a maximum of {MAX_PARTITIONS} partitions can be created."
        );
        return Err(SqlError::new(7719, 16, 1, text).into());
    }
    let mut boundaries: Vec<Value> = Vec::new();
    for value in values {
        let typed = binder.scalar(value, &Scope::inside(None)).map_err(of_binding)?;
        let node = types::implicit(typed, ty).map_err(of_binding)?.node;
        boundaries.push(node.eval(&Frame::empty(), env)?.into_owned());
    }
    boundaries.sort_by(Value::compare);
    if boundaries.windows(2).any(|pair| pair[0].compare(&pair[1]).is_eq()) {
        let text = "Duplicate values are not allowed in partition function boundary values list.";
        return Err(SqlError::new(7708, 15, 1, text).into());
    }
    env.with_txn(|txn| {
        txn.change_defs(|defs, now| {
            if defs.functions.iter().any(|known| same_name(&known.name, name)) {
                return Err(exists(name));
            }
            let last = defs.functions.iter().map(|function| function.id).max();
            defs.functions.push(PartitionFunctionDef {
                id: last.map_or(FIRST_FUNCTION, |id| id + 1),
                name: name.to_owned(),
                ty: ty.clone(),
                right,
                values: boundaries,
                create_date: now,
            });
            Ok(())
        })
    })?;
    Ok(())
}

/// CREATE PARTITION SCHEME.
pub fn create_scheme(
    env: &Env<'_>,
    name: &str,
    function: &str,
    all: bool,
    spaces: &[String],
) -> Result<(), Fault> {
    may_define(env, "ALTER ANY DATASPACE")?;
    let mut ids = Vec::new();
    for name in spaces {
        let found = space(env, name)?;
        if found.scheme.is_some() {
            let text = format!("Invalid filegroup '{name}' specified.");
            return Err(SqlError::new(1921, 16, 1, text).into());
        }
        ids.push(found.id);
    }
    env.with_txn(|txn| {
        txn.change_defs(|defs, _| {
            if defs.spaces.iter().any(|known| same_name(&known.name, name)) {
                return Err(exists(name));
            }
            let found = defs.functions.iter().find(|known| same_name(&known.name, function));
            let found = found.ok_or_else(|| {
                SqlError::new(208, 16, 58, format!("Invalid object name '{function}'."))
            })?;
            let wanted = found.values.len() + 1;
            if all {
                ids = vec![ids[0]; wanted];
            }
            if ids.len() < wanted {
                return Err(SqlError::new(
                    7707,
                    16,
                    1,
                    format!("The associated partition function '{function}' generates more partitions than there are file groups mentioned in the scheme '{name}'."),
                ));
            }
            // One more filegroup is the next that is used; further ones are ignored.
            ids.truncate(wanted);
            let schemes = defs.spaces.iter().filter(|space| space.scheme.is_some());
            let last = schemes.map(|space| space.id).max();
            defs.spaces.push(SpaceDef {
                id: last.map_or(FIRST_SCHEME, |id| id + 1),
                name: name.to_owned(),
                scheme: Some(SchemeDef { function: found.id, spaces: ids }),
            });
            Ok(())
        })
    })?;
    Ok(())
}

/// DROP PARTITION FUNCTION.
pub fn drop_function(env: &Env<'_>, name: &str) -> Result<(), Fault> {
    may_define(env, "ALTER ANY DATASPACE")?;
    env.with_txn(|txn| {
        txn.change_defs(|defs, _| {
            let found = defs.functions.iter().position(|known| same_name(&known.name, name));
            let at = found.ok_or_else(|| super::cannot_drop("partition function", name))?;
            let id = defs.functions[at].id;
            let uses = |space: &SpaceDef| space.scheme.as_ref().is_some_and(|s| s.function == id);
            if defs.spaces.iter().any(uses) {
                return Err(SqlError::new(
                    7706,
                    16,
                    1,
                    format!("Partition function '{name}' is being used by one or more partition schemes."),
                ));
            }
            defs.functions.remove(at);
            Ok(())
        })
    })?;
    Ok(())
}

/// DROP PARTITION SCHEME.
pub fn drop_scheme(env: &Env<'_>, name: &str) -> Result<(), Fault> {
    may_define(env, "ALTER ANY DATASPACE")?;
    let tables = env.with_txn(|txn| txn.tables());
    env.with_txn(|txn| {
        txn.change_defs(|defs, _| {
            let found = defs
                .spaces
                .iter()
                .position(|known| known.scheme.is_some() && same_name(&known.name, name));
            let at = found.ok_or_else(|| super::cannot_drop("partition scheme", name))?;
            if tables.iter().any(|table| uses(table, defs.spaces[at].id)) {
                return Err(SqlError::new(
                    7717,
                    16,
                    1,
                    format!("The partition scheme \"{name}\" is currently being used to partition one or more tables."),
                ));
            }
            defs.spaces.remove(at);
            Ok(())
        })
    })?;
    Ok(())
}
