//! ALTER COLUMN … ADD MASKED and DROP MASKED.

use std::sync::Arc;

use super::alter::position;
use super::create::mask_for;
use crate::SqlError;
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::storage::TableDef;

/// Puts a mask on a column, or takes it off.
pub fn alter_mask(
    env: &Env<'_>,
    table: &Arc<TableDef>,
    name: &str,
    function: Option<&str>,
    text: &str,
) -> Result<(), Fault> {
    let at = position(table, name)?;
    let mut new = TableDef::clone(table);
    let column = &mut new.columns[at];
    if column.computed.is_some() {
        return Err(SqlError::new(
            4928,
            16,
            1,
            format!("Cannot alter column '{name}' because it is 'COMPUTED'."),
        )
        .into());
    }
    column.mask = match function {
        Some(function) => Some(mask_for(column, function).map_err(of_binding)?),
        None if column.mask.is_none() => {
            return Err(SqlError::new(
                16007,
                16,
                0,
                format!("The column '{name}' does not have a data masking function."),
            )
            .into());
        }
        None => None,
    };
    env.with_txn(|txn| txn.alter_table(new, text, None))?;
    Ok(())
}
