//! How tables and indexes are kept: options, filegroups, partition schemes.

use crate::SqlError;
use crate::engine::env::Env;
use crate::engine::syntax::ast::IndexOptions;
use crate::storage::{Keeping, SpaceDef, TableDef, same_name};

/// A filegroup or partition scheme by name.
///
/// # Errors
/// 1921 for neither.
pub fn space(env: &Env<'_>, name: &str) -> Result<SpaceDef, SqlError> {
    let defs = env.with_txn(|txn| txn.defs());
    defs.spaces.iter().find(|space| same_name(&space.name, name)).cloned().ok_or_else(|| {
        SqlError::new(
            1921,
            16,
            1,
            format!("Invalid filegroup or partition scheme name '{name}' specified."),
        )
    })
}

/// What the options make of how something was kept. Columns of the table have their numbers.
///
/// # Errors
/// 1921; 1911, 7726 and 1922 for a partition scheme without a fitting column.
pub fn keeping(
    env: &Env<'_>,
    table: &TableDef,
    options: &IndexOptions,
    before: Keeping,
) -> Result<Keeping, SqlError> {
    let mut kept = Keeping {
        fill_factor: options.fill_factor.unwrap_or(before.fill_factor),
        padded: options.padded.unwrap_or(before.padded),
        row_locks: options.row_locks.unwrap_or(before.row_locks),
        page_locks: options.page_locks.unwrap_or(before.page_locks),
        sequential: options.sequential.unwrap_or(before.sequential),
        compression: options.compression.unwrap_or(before.compression),
        ..before
    };
    let Some((name, column)) = &options.space else {
        return Ok(kept);
    };
    let space = space(env, name)?;
    kept.space = space.id;
    kept.parted_by = None;
    let defs = env.with_txn(|txn| txn.defs());
    match (defs.function_of(space.id), column) {
        (None, None) => {}
        (None, Some(_)) => {
            return Err(SqlError::new(
                1921,
                16,
                1,
                format!("Invalid partition scheme name '{name}' specified."),
            ));
        }
        (Some(_), None) => {
            return Err(SqlError::new(
                1922,
                16,
                1,
                format!(
                    "Filegroup '{name}' is a partition scheme, for which a column must be specified."
                ),
            ));
        }
        (Some(function), Some(column)) => {
            let column = table.column(column).ok_or_else(|| {
                SqlError::new(
                    1911,
                    16,
                    1,
                    format!("Column name '{column}' does not exist in the target table or view."),
                )
            })?;
            if column.ty != function.ty {
                return Err(SqlError::new(
                    7726,
                    16,
                    1,
                    format!(
                        "Partition column '{}' has data type {} which is different from the partition function '{}' parameter data type {}.",
                        column.name, column.ty, function.name, function.ty
                    ),
                ));
            }
            kept.parted_by = Some(column.id);
        }
    }
    Ok(kept)
}

/// A table stays where its clustered index was when that goes.
pub fn settle(before: &TableDef, after: &mut TableDef) {
    if let (Some(gone), None) = (before.clustered(), after.clustered()) {
        let Keeping { space, parted_by, compression, .. } = gone.keeping;
        after.keeping = Keeping { space, parted_by, compression, ..after.keeping };
    }
}

/// Where an index is kept that does not say it: with its table.
pub fn of_table(table: &TableDef) -> Keeping {
    let Keeping { space, parted_by, .. } =
        table.clustered().map_or(table.keeping, |clustered| clustered.keeping);
    Keeping { space, parted_by, ..Keeping::default() }
}
