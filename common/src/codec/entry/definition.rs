//! Definitions of tables as `schemas/definition.avsc` lays them out, for serde.

use serde::{Deserialize, Serialize};

use crate::TableName;
use crate::codec::DecodeError;
use crate::model::definition::{
    Check, ColumnDefinition, Definition, ForeignKey, Index, OtherObject, Referential,
};

#[derive(Serialize, Deserialize)]
#[serde(rename = "Definition")]
pub(super) struct Wire {
    id: String,
    schema: String,
    table: String,
    columns: Vec<ColumnDefinition>,
    indexes: Vec<Index>,
    foreign_keys: Vec<Foreign>,
    checks: Vec<Check>,
    others: Vec<OtherObject>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "ForeignKey")]
struct Foreign {
    name: String,
    columns: Vec<String>,
    referenced_schema: String,
    referenced_table: String,
    referenced_columns: Vec<String>,
    on_delete: Referential,
    on_update: Referential,
    disabled: bool,
    unchecked: bool,
}

impl From<&Definition> for Wire {
    fn from(definition: &Definition) -> Self {
        Wire {
            id: definition.table.to_string(),
            schema: definition.name.schema.clone(),
            table: definition.name.table.clone(),
            columns: definition.columns.clone(),
            indexes: definition.indexes.clone(),
            foreign_keys: definition.foreign_keys.iter().map(Foreign::from).collect(),
            checks: definition.checks.clone(),
            others: definition.others.clone(),
        }
    }
}

impl TryFrom<Wire> for Definition {
    type Error = DecodeError;

    fn try_from(wire: Wire) -> Result<Self, DecodeError> {
        Ok(Definition {
            table: super::wire::table_id(&wire.id)?,
            name: TableName { schema: wire.schema, table: wire.table },
            columns: wire.columns,
            indexes: wire.indexes,
            foreign_keys: wire.foreign_keys.into_iter().map(ForeignKey::from).collect(),
            checks: wire.checks,
            others: wire.others,
        })
    }
}

impl From<&ForeignKey> for Foreign {
    fn from(key: &ForeignKey) -> Self {
        Foreign {
            name: key.name.clone(),
            columns: key.columns.clone(),
            referenced_schema: key.referenced.schema.clone(),
            referenced_table: key.referenced.table.clone(),
            referenced_columns: key.referenced_columns.clone(),
            on_delete: key.on_delete,
            on_update: key.on_update,
            disabled: key.disabled,
            unchecked: key.unchecked,
        }
    }
}

impl From<Foreign> for ForeignKey {
    fn from(wire: Foreign) -> Self {
        ForeignKey {
            name: wire.name,
            columns: wire.columns,
            referenced: TableName { schema: wire.referenced_schema, table: wire.referenced_table },
            referenced_columns: wire.referenced_columns,
            on_delete: wire.on_delete,
            on_update: wire.on_update,
            disabled: wire.disabled,
            unchecked: wire.unchecked,
        }
    }
}
