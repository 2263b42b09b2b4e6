//! ALTER TABLE … SWITCH TO: the rows of one table become those of another, empty one of the same shape.
//!
//! Capture sees nothing of it: "SWITCH_PARTITION is a metadata operation but causes data changes. The
//! data changes that are associated with this operation are not captured in the change data capture
//! change tables" (Microsoft, sys.sp_cdc_enable_table, remarks); and of a table that is not partitioned
//! "the switch setting is always 1, and the actual setting ignored".

use std::sync::Arc;

use super::own_table;
use crate::SqlError;
use crate::engine::bind::unsupported;
use crate::engine::env::Env;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::ObjectName;
use crate::storage::{IndexDef, TableDef, same_name};

fn failed(number: i32, text: String) -> Fault {
    SqlError::new(number, 16, 1, format!("ALTER TABLE SWITCH statement failed. {text}")).into()
}

/// Moves the rows of `source`.
pub fn switch(env: &Env<'_>, source: &Arc<TableDef>, target: &ObjectName) -> Result<(), Fault> {
    let found = own_table(env, target)?.ok_or_else(|| {
        failed(4902, format!("Cannot find the object \"{target}\" because it does not exist or you do not have permissions."))
    })?;
    if found.id == source.id {
        return Err(Fault::Compile(unsupported("SWITCH of a table to itself")));
    }
    if !env.status.rights.may_define() && !env.status.rights.has_object_permission("ALTER", &found)
    {
        return Err(super::not_found_or_allowed(&target.to_string()).into());
    }
    check_shape(source, &found)?;
    env.with_txn(|txn| txn.switch(source.id, found.id))?;
    Ok(())
}

fn check_shape(source: &TableDef, target: &TableDef) -> Result<(), Fault> {
    let (from, to) = (source.full_name(), target.full_name());
    if source.columns.len() != target.columns.len() {
        return Err(failed(
            4943,
            format!(
                "Table '{from}' has {} columns and table '{to}' has {} columns.",
                source.columns.len(),
                target.columns.len()
            ),
        ));
    }
    for (at, (own, other)) in source.columns.iter().zip(&target.columns).enumerate() {
        if !same_name(&own.name, &other.name) {
            return Err(failed(
                4957,
                format!(
                    "Column '{}' at ordinal {} in table '{from}' has a different name than the column '{}' at the same ordinal in table '{to}'.",
                    own.name,
                    at + 1,
                    other.name
                ),
            ));
        }
        let computed = |column: &crate::storage::ColumnDef| {
            column.computed.as_ref().map(|computed| computed.definition.clone())
        };
        if own.ty != other.ty
            || own.nullable != other.nullable
            || own.collation != other.collation
            || computed(own) != computed(other)
        {
            return Err(failed(
                4944,
                format!(
                    "Column '{}' has data type {} in source table '{from}' which is different from its type {} in target table '{to}'.",
                    own.name,
                    own.ty.name(),
                    other.ty.name()
                ),
            ));
        }
    }
    let shape = |table: &TableDef, index: &IndexDef| {
        (index.clustered, index.unique, table.key_positions(index), index.filter.is_some())
    };
    let of = |table: &TableDef| -> Vec<_> {
        table.indexes.iter().map(|index| shape(table, index)).collect()
    };
    let (own, others) = (of(source), of(target));
    let lacks = target.indexes.iter().find(|index| !own.contains(&shape(target, index)));
    if let Some(index) = lacks {
        return Err(failed(
            4947,
            format!(
                "There is no identical index in source table '{from}' for the index '{}' in target table '{to}'.",
                index.name
            ),
        ));
    }
    if source.clustered().is_some_and(|index| !others.contains(&shape(source, index))) {
        return Err(Fault::Compile(unsupported("SWITCH to a table without the clustered index")));
    }
    let promised = |check: &crate::storage::CheckDef| {
        source.checks.iter().any(|own| own.definition == check.definition && !own.not_trusted)
    };
    if !target.checks.iter().all(promised) || !target.foreign_keys.is_empty() {
        return Err(Fault::Compile(unsupported("SWITCH to a table with constraints of its own")));
    }
    Ok(())
}
